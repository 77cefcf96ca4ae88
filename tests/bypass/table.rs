//! The table of outcomes: noted while the cases run, printed at the end, and kept in `docs/bypasses.md`.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

/// The catalogue's rows; each must have an outcome.
const CATALOGUE: RangeInclusive<u32> = 1..=80;

/// Set it to write `docs/bypasses.md` instead of comparing it.
const WRITE: &str = "WRITGATE_WRITE_BYPASSES";

const HEAD: &str = "# Ways around the gate, tried

Written by `tests/bypass`, which tries each of them with the real kubectl on a real API server, as somebody with the `edit` role
in a governed namespace unless the row says otherwise (`make bypass`; `WRITGATE_WRITE_BYPASSES=1 make bypass` writes this file
again, and the test fails where it differs). Rows 1 to 80 are a catalogue of ways around such a webhook; those above 80 were found
while it was built.

| outcome | means |
|---|---|
| denied | by the gate, for this reason first; a record tells so, and afterwards nothing in the namespace is other than before |
| unchanged | the API server does it without an approval: it is no action, and what runs is what ran before |
| admitted and recorded | a valid approval covers it, and one record tells who, what and by which |
| guarded | refused by one of the gate's other entries: it protects the gate itself, or its records |
| refused by the API server | the API has no such way, or RBAC does not let a tenant go it |
| documented limit | it works, and the [threat model](threat-model.md#where-it-ends) says so |

| row | attempt | outcome | reason | shown by |
|---:|---|---|---|---|
";

/// One attempt and what came of it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Line {
    pub(crate) number: u32,
    /// File and line where the case begins, and the order in it.
    pub(crate) place: (&'static str, u32, usize),
    pub(crate) attempt: String,
    pub(crate) outcome: String,
    pub(crate) code: String,
    pub(crate) shown: String,
}

thread_local! {
    static ORDER: Cell<usize> = const { Cell::new(0) };
}

/// Numbers the lines of a case, which is run by one thread.
pub(crate) fn next_in_order() -> usize {
    ORDER.with(|order| order.replace(order.get() + 1))
}

static LINES: Mutex<BTreeSet<Line>> = Mutex::new(BTreeSet::new());

/// Notes a line.
pub(crate) fn note(line: Line) {
    LINES.lock().unwrap_or_else(PoisonError::into_inner).insert(line);
}

/// Prints the table, and where all cases ran and held, compares it with the one that is kept.
pub(crate) fn finish(ran: ExitCode, whole: bool) -> ExitCode {
    let lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    let table = lines.iter().fold(HEAD.to_owned(), |mut table, line| {
        let Line { number, attempt, outcome, code, shown, .. } = line;
        writeln!(table, "| {number} | {attempt} | {outcome} | {code} | {shown} |").expect("a String takes it all");
        table
    });
    for line in &*lines {
        println!("{:>3}  {:<25} {:<26} {}", line.number, line.outcome, line.code, line.attempt);
    }
    if ran != ExitCode::SUCCESS || !whole {
        return ran;
    }
    let untried: Vec<u32> = CATALOGUE.filter(|row| lines.iter().all(|line| line.number != *row)).collect();
    if !untried.is_empty() {
        eprintln!("rows of the catalogue without an outcome: {untried:?}");
        return ExitCode::FAILURE;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/bypasses.md");
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&path, table).expect("docs/ can be written");
        return ran;
    }
    if std::fs::read_to_string(&path).unwrap_or_default() == table {
        return ran;
    }
    eprintln!("docs/bypasses.md is not what ran: see the table above, then {WRITE}=1 make bypass");
    ExitCode::FAILURE
}
