//! Prints rows to standard output as they are found: as a table, lines of JSON, documents of YAML, or CSV.
//!
//! Only the first rows of a table are buffered, to choose the widths of its columns.

use std::{
    borrow::Cow,
    fmt::Write as _,
    io::{self, BufWriter, Stdout, Write},
};

use clap::ValueEnum;
use serde_json::Value;
use writgate_core::text::{escape, on_one_line};

use crate::{
    command::audit::row::Row,
    failure::Failure,
    terminal::{
        output::{self, shown},
        style,
    },
};

/// Output format of decisions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// A table for people; may change between versions
    #[default]
    Table,
    /// A table with more columns
    Wide,
    /// The records, one per line; stable
    Json,
    /// The records, one per document; stable
    Yaml,
    /// One decision per line, RFC 4180; stable
    Csv,
}

/// Rows that determine the widths of a table. A wider cell in a later row shifts the cells to its right.
const SAMPLE: usize = 100;
/// Width of a column, at most: each row is padded.
const MAX_WIDTH: usize = 120;

/// A column's name, and its value for a row.
type Column = (&'static str, fn(&Row) -> String);

const COLUMNS: [Column; 10] = [
    ("TIME", |row| row.time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
    ("DECISION", decision),
    ("WHO", who),
    ("ACTION", |row| row.action.clone()),
    ("OBJECT", |row| format!("{} {}", row.object.kind, joined([&row.object.namespace, &row.object.name], "/"))),
    ("ENVIRONMENT/PROJECT", |row| joined([&row.environment, &row.project], "/")),
    ("REQUIRED", |row| row.required.as_str().to_owned()),
    ("APPROVAL", approval),
    ("CAPABILITIES", |row| row.capabilities.join(", ")),
    ("REASONS", reasons),
];

const WIDE: [Column; 5] = [
    ("OPERATION", |row| row.operation.clone()),
    ("BASIS", |row| row.basis.clone()),
    ("SPEC HASH", |row| row.spec_hash.clone()),
    ("POSTURE", |row| row.posture_version.clone()),
    ("ID", |row| row.id.clone()),
];

/// One fact per column. Lists are joined by a space, since no id and no code contains one.
const CSV: [Column; 26] = [
    ("time", |row| row.time.to_string()),
    ("decision", |row| row.decision.clone()),
    ("remarks", |row| row.remarks.join(", ")),
    ("initiator", |row| row.initiator.clone()),
    ("impersonatedBy", |row| row.impersonator.clone()),
    ("requestedBy", |row| row.requested_by.clone()),
    ("operation", |row| row.operation.clone()),
    ("action", |row| row.action.clone()),
    ("apiVersion", |row| row.object.api_version.clone()),
    ("kind", |row| row.object.kind.clone()),
    ("namespace", |row| row.object.namespace.clone()),
    ("name", |row| row.object.name.clone()),
    ("cluster", |row| row.cluster.clone()),
    ("environment", |row| row.environment.clone()),
    ("project", |row| row.project.clone()),
    ("approvalRequired", |row| row.required.as_str().to_owned()),
    ("approvals", |row| row.approvals.join(" ")),
    ("reviewers", |row| row.reviewers.join(", ")),
    ("requiredCapabilities", |row| row.capabilities.join(" ")),
    ("reasons", |row| row.reasons.join(" ")),
    ("times", |row| row.times.map(|times| times.to_string()).unwrap_or_default()),
    ("basis", |row| row.basis.clone()),
    ("enforcement", |row| row.enforcement.clone()),
    ("specHash", |row| row.spec_hash.clone()),
    ("postureVersion", |row| row.posture_version.clone()),
    ("id", |row| row.id.clone()),
];

fn joined(parts: [&str; 2], separator: &str) -> String {
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join(separator)
}

fn decision(row: &Row) -> String {
    if row.remarks.is_empty() { row.decision.clone() } else { format!("{} ({})", row.decision, row.remarks.join(", ")) }
}

fn who(row: &Row) -> String {
    let mut who = row.initiator.clone();
    if !row.impersonator.is_empty() {
        who = format!("{} as {who}", row.impersonator);
    }
    if !row.requested_by.is_empty() {
        who = format!("{who} for {}", row.requested_by);
    }
    who
}

fn approval(row: &Row) -> String {
    let ids = row.approvals.join(", ");
    if row.reviewers.is_empty() { ids } else { format!("{ids} by {}", row.reviewers.join(", ")) }
}

fn reasons(row: &Row) -> String {
    let reasons = row.reasons.join(", ");
    match row.times {
        Some(times) if times > 1 => format!("{reasons} ({times} times)"),
        _ => reasons,
    }
}

/// Prints rows to standard output.
pub(super) struct Printer<W: Write = Stdout> {
    out: BufWriter<W>,
    format: Format,
    /// The first rows of a table, until the widths are chosen.
    sample: Vec<Vec<String>>,
    widths: Option<Vec<usize>>,
    begun: bool,
    /// Whether the output is a terminal with colours.
    styled: bool,
}

impl<W: Write> Printer<W> {
    pub(super) fn new(out: W, format: Format, styled: bool) -> Self {
        let out = BufWriter::with_capacity(64 * 1024, out);
        Self { out, format, sample: Vec::new(), widths: None, begun: false, styled }
    }

    /// Prints a row. `json` is its source, on one line.
    pub(super) fn print(&mut self, row: &Row, json: &str) -> Result<(), Failure> {
        let printed = match self.format {
            Format::Table => self.table(&COLUMNS, row),
            Format::Wide => self.table(&[&COLUMNS[..], &WIDE[..]].concat(), row),
            Format::Json => writeln!(self.out, "{}", one_line(json)),
            Format::Yaml => self.yaml(json)?,
            Format::Csv => self.csv(row),
        };
        printed.map_err(|error| cannot_print(&error))
    }

    /// Prints everything that is buffered: before a wait, and at the end.
    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        self.settle().and_then(|()| self.out.flush()).map_err(|error| cannot_print(&error))
    }

    fn table(&mut self, columns: &[Column], row: &Row) -> io::Result<()> {
        if !self.begun {
            self.begun = true;
            self.sample.push(columns.iter().map(|(name, _)| (*name).to_owned()).collect());
        }
        let cell = |(_, of): &Column| {
            let text = on_one_line(&of(row));
            if text.trim().is_empty() { "-".to_owned() } else { apart(&text).into_owned() }
        };
        let cells: Vec<String> = columns.iter().map(cell).collect();
        if let Some(widths) = &self.widths {
            return write_cells(&mut self.out, widths, &cells, self.styled);
        }
        self.sample.push(cells);
        if self.sample.len() > SAMPLE { self.settle() } else { Ok(()) }
    }

    /// Chooses the widths, and prints the buffered rows.
    fn settle(&mut self) -> io::Result<()> {
        let sample = std::mem::take(&mut self.sample);
        let Some(first) = sample.first() else { return Ok(()) };
        let width =
            |column: usize| sample.iter().filter_map(|cells| cells.get(column)).map(|cell| output::width(cell)).max();
        let widths: Vec<usize> =
            (0..first.len()).map(|column| width(column).unwrap_or_default().min(MAX_WIDTH)).collect();
        for cells in &sample {
            write_cells(&mut self.out, &widths, cells, self.styled)?;
        }
        self.widths = Some(widths);
        Ok(())
    }

    fn yaml(&mut self, json: &str) -> Result<io::Result<()>, Failure> {
        let value: Value = serde_json::from_str(json)
            .map_err(|error| Failure::Undetermined(format!("cannot read a record: {error}")))?;
        let text = serde_saphyr::to_string(&value)
            .map_err(|error| Failure::Undetermined(format!("cannot write YAML: {error}")))?;
        if escape(&text) == text {
            return Ok(write!(self.out, "---\n{text}"));
        }
        Ok(writeln!(self.out, "---\n{}", visible(&value)))
    }

    fn csv(&mut self, row: &Row) -> io::Result<()> {
        if !self.begun {
            self.begun = true;
            write!(self.out, "{}\r\n", CSV.map(|(name, _)| name).join(","))?;
        }
        write!(self.out, "{}\r\n", CSV.map(|(_, of)| quoted(&shown(&of(row)))).join(","))
    }
}

fn write_cells(out: &mut impl Write, widths: &[usize], cells: &[String], styled: bool) -> io::Result<()> {
    let (last, cells) = cells.split_last().map_or(("", &[][..]), |(last, cells)| (last.as_str(), cells));
    for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let padding = width.saturating_sub(output::width(cell));
        let cell = format!("{cell}{}", " ".repeat(padding));
        let cell = if styled && COLUMNS.get(column).is_some_and(|(name, _)| *name == "DECISION") {
            in_style(&cell)
        } else {
            cell
        };
        write!(out, "{cell}   ")?;
    }
    writeln!(out, "{last}")
}

/// Colours a decision: red for a denial or a finding, yellow for something to look at, green for an admission.
fn in_style(decision: &str) -> String {
    match decision.trim_end() {
        "admitted" => style::good(decision),
        "DECISION" | "not-an-action" => decision.to_owned(),
        word if word.starts_with("admitted") && !AGAINST.iter().any(|against| word.contains(against)) => {
            style::careful(decision)
        }
        _ => style::bad(decision),
    }
}

/// Findings of `--verify` about a record that is not trusted.
const AGAINST: [&str; 4] = ["forged", "altered", "unsigned", "forked"];

/// A cell without two spaces in a row, which separate columns.
fn apart(cell: &str) -> Cow<'_, str> {
    if !cell.contains("  ") {
        return Cow::Borrowed(cell);
    }
    let mut apart = String::with_capacity(cell.len());
    for char in cell.chars() {
        if char == ' ' && apart.ends_with(' ') { apart.push_str("\\u{20}") } else { apart.push(char) }
    }
    Cow::Owned(apart)
}

/// The value as JSON, which is YAML, with an escape for each character that is not visible. YAML knows no surrogates.
fn visible(value: &Value) -> String {
    let mut text = String::new();
    for char in value.to_string().chars() {
        if shown(char.encode_utf8(&mut [0; 4])).starts_with(char) {
            text.push(char);
        } else {
            // Writing to a String cannot fail.
            let _ = write!(text, "\\U{:08x}", u32::from(char));
        }
    }
    text
}

/// JSON on one line, without characters that a terminal interprets. They occur only inside strings, where an escape
/// means the same.
fn one_line(json: &str) -> String {
    if json.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return json.to_owned();
    }
    let mut line = String::with_capacity(json.len());
    for char in json.chars() {
        match char {
            ' '..='~' => line.push(char),
            '\t' | '\n' | '\r' => line.push(' '), // unescaped, they occur only between strings
            _ => {
                for unit in char.encode_utf16(&mut [0; 2]) {
                    // Writing to a String cannot fail.
                    let _ = write!(line, "\\u{unit:04x}");
                }
            }
        }
    }
    line
}

/// A cell of RFC 4180 that no spreadsheet takes for a formula.
fn quoted(cell: &str) -> String {
    let cell = guarded(cell);
    if cell.contains([',', '"', '\r', '\n']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell }
}

/// Characters that begin a formula, with the wide and small forms that spreadsheets take for them.
const FORMULA: [char; 12] = ['=', '+', '-', '@', '＝', '＋', '－', '＠', '﹦', '﹢', '﹣', '﹫'];
/// Characters at which a spreadsheet may split a cell, whatever quotes are around it.
const SEPARATORS: [char; 10] = [';', ',', '\t', '|', '\n', '\r', '\u{b}', '\u{c}', '\u{2028}', '\u{2029}'];

/// `cell` with an apostrophe before each formula: at the beginning, or after a separator, white space and quotes. An
/// apostrophe there gets another one, so that the guard can be told from the text.
fn guarded(cell: &str) -> String {
    let mut guarded = String::with_capacity(cell.len() + 1);
    let mut begins = true;
    for (at, char) in cell.char_indices() {
        let is_blank_start = at == 0 && matches!(char, '\t' | '\r');
        if begins && (FORMULA.contains(&char) || char == '\'' || is_blank_start) {
            guarded.push('\'');
        }
        guarded.push(char);
        begins = SEPARATORS.contains(&char) || (begins && (char == '"' || char.is_whitespace()));
    }
    guarded
}

/// The reader has closed the pipe. That is not an error, and no more output is wanted.
pub(super) const READER_GONE: &str = "standard output was closed";

fn cannot_print(error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Failure::Undetermined(READER_GONE.to_owned());
    }
    Failure::Undetermined(format!("cannot write to standard output: {error}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;
    use writgate_core::encoding::read_yaml;

    use super::*;

    fn printed(format: Format, rows: &[(Row, String)]) -> String {
        let mut bytes = Vec::new();
        let mut printer = Printer::new(&mut bytes, format, false);
        for (row, json) in rows {
            printer.print(row, json).unwrap();
        }
        printer.flush().unwrap();
        drop(printer);
        String::from_utf8(bytes).unwrap()
    }

    fn row(initiator: &str) -> Row {
        Row { initiator: initiator.into(), decision: "denied".into(), ..Row::default() }
    }

    #[test]
    fn a_hostile_name_controls_no_terminal_and_breaks_no_line() {
        let table = printed(Format::Table, &[(row("a\n\u{1b}[31m\u{202e}x"), String::new())]);
        assert_eq!(table.lines().count(), 2, "{table}");
        assert!(table.contains("a\\n\\u{1b}[31m\\u{202e}x"), "{table}");
        let json = json!({"who": "\u{1b}[31m\u{202e}ä\u{1f600}"});
        let line = printed(Format::Json, &[(row(""), json.to_string())]);
        assert!(line.trim_end().bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{line}");
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), json);
    }

    #[test]
    fn a_cell_is_never_a_formula_or_two_cells() {
        for plain in ["alice", "a-b", "a=b", "system:serviceaccount:gitops:applier", "CHG-1, bob@acme.example", "it's"]
        {
            assert_eq!(guarded(plain), plain);
        }
        for formula in FORMULA {
            assert_eq!(guarded(&format!("{formula}1+1")), format!("'{formula}1+1"));
            for before in ["a", "", " \"", "a b\u{a0}"] {
                for separator in SEPARATORS {
                    for between in ["", " ", "\"", "\u{3000}\""] {
                        let guard = guarded(&format!("{before}{separator}{between}{formula}1"));
                        assert!(guard.ends_with(&format!("{separator}{between}'{formula}1")), "{guard:?}");
                    }
                }
            }
        }
        assert_eq!(quoted("=cmd|'/c calc'!A1"), "'=cmd|''/c calc'!A1");
        for (begin, guard) in
            [("\tx", "'\tx"), ("\rx", "'\rx"), ("'x", "''x"), (" =x", " '=x"), ("x;=y;z;@", "x;'=y;z;'@")]
        {
            assert_eq!(guarded(begin), guard);
        }
        assert_eq!(quoted("a,\"b\"\r\nc"), "\"a,\"\"b\"\"\r\nc\"");
        let csv = printed(Format::Csv, &[(row("=1+1,2"), String::new())]);
        assert!(csv.ends_with("\r\n") && csv.contains(",\"'=1+1,2\","), "{csv}");
    }

    #[test]
    fn a_hostile_name_is_one_line_of_csv_and_yaml() {
        let name = "a\u{1b}[2J\r\n2026-11-22T11:00:00Z,admitted,,alice\u{202e}\u{2028}";
        let csv = printed(Format::Csv, &[(row(name), String::new())]);
        assert_eq!(csv.lines().count(), 2, "{csv}");
        assert!(csv.contains(r"a\u{1b}[2J\r\n2026-11-22T11:00:00Z,admitted,,alice\u{202e}\u{2028}"), "{csv}");
        for name in [name, "\u{202e}x", "\u{2066}\u{e0041}\u{1f600}", "\u{ad}", "a\u{7f}"] {
            let record = json!({"initiator": name});
            let yaml = printed(Format::Yaml, &[(row(""), record.to_string())]);
            assert_eq!(escape(&yaml), yaml);
            assert_eq!(read_yaml(&yaml).unwrap(), vec![record], "{yaml}");
        }
    }

    #[test]
    fn a_hostile_name_is_one_cell() {
        let table = printed(Format::Table, &[(row("a   deploy   Deployment x/y"), String::new())]);
        assert!(table.contains(r"a \u{20} deploy \u{20} Deployment x/y   -   "), "{table}");
    }

    #[test]
    fn a_long_cell_neither_panics_nor_widens_other_rows() {
        let long = "x".repeat(100_000);
        let table = printed(Format::Table, &[(row(&long), String::new()), (row("alice"), String::new())]);
        let lines: Vec<&str> = table.lines().collect();
        assert!(lines[1].contains(&format!("{}…   -", &long[..1_000])), "{}", lines[1].len());
        assert!(lines[2].len() < 400, "{}", lines[2].len());
    }

    #[test]
    fn columns_align_with_their_names() {
        let table = printed(Format::Table, &[(row("a"), String::new()), (row("somebody-else"), String::new())]);
        let column = |line: &str| line.split("  ").filter(|cell| !cell.is_empty()).nth(2).map(str::len);
        let lines: Vec<&str> = table.lines().collect();
        let at = lines[0].find("ACTION").unwrap();
        assert!(lines[1..].iter().all(|line| line[at..].starts_with("-  ")), "{table} {:?}", column(lines[1]));
    }

    proptest! {
        #[test]
        fn yaml_means_what_the_record_says(text in "\\PC{0,12}|[yYnN0-9.:~-]{0,6}|(yes|null|0644|1e3|- a|#b|2026-11-22)") {
            let record = json!({"initiator": {"username": text, "groups": [text, "b"]}, "reasons": [], "dryRun": false});
            let yaml = printed(Format::Yaml, &[(row(""), record.to_string()), (row(""), record.to_string())]);
            prop_assert_eq!(read_yaml(&yaml).unwrap(), vec![record.clone(), record]);
        }
    }
}
