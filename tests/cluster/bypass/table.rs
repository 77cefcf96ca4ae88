//! The table of outcomes. Tests note its lines, and at the end it is printed and compared with `docs/bypasses.md`.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use writgate_testing::harness::Outcome;

/// The rows of the catalogue. Each must have an outcome.
const CATALOGUE: RangeInclusive<u32> = 1..=80;

/// The variable that makes a run write `docs/bypasses.md` instead of comparing it.
const WRITE: &str = "WRITGATE_WRITE_BYPASSES";

const HEAD: &str = "# Ways around Writgate, tried

`tests/cluster/bypass` writes this page. It tries each way with the real kubectl on a real API server. Unless the row names another user,
a user with the `edit` role in a governed namespace tries it. Run the tests with `make bypass`. They fail if this page differs from
the outcomes, and `WRITGATE_WRITE_BYPASSES=1 make bypass` updates the page. Rows 1 to 80 are a catalogue of ways around an
admission webhook. Rows above 80 were found during development.

| Outcome | Meaning |
|---|---|
| denied | The webhook denies the request, and the first reason is the one given. A record says so, and nothing in the namespace has changed. |
| unchanged | The API server performs the request without an approval. It is not an action, and what runs is unchanged. |
| admitted and recorded | A valid approval covers the request, or none is required, and one record says who, what and with which approval. |
| guarded | A guard or a policy denies the request, because it would change the objects that governance depends on, or the records. |
| refused by the API server | The API does not offer the request, or RBAC does not permit it for a tenant. |
| documented limit | The request succeeds, and the [threat model](threat-model.md#where-it-ends) says so. |

| Row | Attempt | Outcome | Reason | Shown by |
|---:|---|---|---|---|
";

/// One attempt and its outcome.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Line {
    pub(crate) number: u32,
    /// File and line where the test begins, and the order of the attempts in it.
    pub(crate) position: (&'static str, u32, usize),
    pub(crate) attempt: String,
    pub(crate) outcome: String,
    pub(crate) code: String,
    pub(crate) shown: String,
}

thread_local! {
    static ORDER: Cell<usize> = const { Cell::new(0) };
}

/// Numbers the lines of a test, which runs in one thread.
pub(crate) fn next_in_order() -> usize {
    ORDER.with(|order| order.replace(order.get() + 1))
}

static LINES: Mutex<BTreeSet<Line>> = Mutex::new(BTreeSet::new());

/// Notes a line.
pub(crate) fn note(line: Line) {
    LINES.lock().unwrap_or_else(PoisonError::into_inner).insert(line);
}

/// Prints the table. If every row ran, compares it with `docs/bypasses.md`. Returns whether the tests and the comparison
/// succeeded.
pub(crate) fn is_right(ran: &Outcome) -> bool {
    let lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    let table = lines.iter().fold(HEAD.to_owned(), |mut table, line| {
        let Line { number, attempt, outcome, code, shown, .. } = line;
        writeln!(table, "| {number} | {attempt} | {outcome} | {code} | {shown} |")
            .expect("writing to a String succeeds");
        table
    });
    for line in &*lines {
        println!("{:>3}  {:<25} {:<26} {}", line.number, line.outcome, line.code, line.attempt);
    }
    if !ran.is_success() || !ran.is_whole("bypass") {
        return ran.is_success();
    }
    let untried: Vec<u32> = CATALOGUE.filter(|row| lines.iter().all(|line| line.number != *row)).collect();
    if !untried.is_empty() {
        eprintln!("rows of the catalogue without an outcome: {untried:?}");
        return false;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/bypasses.md");
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&path, table).expect("docs/ can be written");
        return true;
    }
    let is_current = std::fs::read_to_string(&path).is_ok_and(|stored| stored == table);
    if !is_current {
        eprintln!("docs/bypasses.md differs from the table above; to update it, run {WRITE}=1 make bypass");
    }
    is_current
}
