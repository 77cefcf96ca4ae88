//! Prints rows to standard output as they are found: as a table, lines of JSON, documents of YAML, or CSV.
//!
//! Only the first rows of a table are buffered, to choose the widths of its columns.

#[cfg(test)]
mod tests;

use std::{
    borrow::Cow,
    fmt::Write as _,
    io::{self, BufWriter, Stdout, Write},
};

use clap::ValueEnum;
use serde_json::Value;
use writgate_core::text::{escape, on_one_line};

use crate::{
    command::audit::{RowSink, row::Row},
    failure::Failure,
    terminal::{
        output::{self, shown},
        style,
    },
};

/// Output format of decisions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
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

/// The first column, if decisions of several contexts are read.
const CONTEXT: Column = ("CONTEXT", |row| row.context.clone());

const COLUMNS: [Column; 10] = [
    ("TIME", |row| row.time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
    ("DECISION", Row::outcome),
    ("WHO", Row::who),
    ("ACTION", |row| row.action.clone()),
    ("OBJECT", Row::object),
    ("ENVIRONMENT/PROJECT", Row::place),
    ("REQUIRED", |row| row.required.as_str().to_owned()),
    ("APPROVAL", Row::approval),
    ("CAPABILITIES", |row| row.capabilities.join(", ")),
    ("REASONS", Row::reasons),
];

const WIDE: [Column; 6] = [
    ("CLAIMED INITIATOR", |row| row.claimed_initiators.clone()),
    ("OPERATION", |row| row.operation.clone()),
    ("BASIS", |row| row.basis.clone()),
    ("SPEC HASH", |row| row.spec_hash.clone()),
    ("POSTURE", |row| row.posture_version.clone()),
    ("ID", |row| row.id.clone()),
];

/// `CONTEXT` in CSV.
const CSV_CONTEXT: Column = ("context", |row| row.context.clone());

/// One fact per column. Lists are joined by a space, since no id and no code contains one.
const CSV: [Column; 27] = [
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
    ("initiatedBy", |row| row.claimed_initiators.clone()),
];

/// Prints rows to standard output, or another writer.
pub(crate) struct Printer<W: Write = Stdout> {
    out: BufWriter<W>,
    format: Format,
    columns: Vec<Column>,
    /// The first rows of a table, until the widths are chosen.
    sample: Vec<Vec<String>>,
    widths: Option<Vec<usize>>,
    begun: bool,
    /// Whether the output is a terminal with colours.
    styled: bool,
}

impl<W: Write> Printer<W> {
    pub(crate) fn new(out: W, format: Format, styled: bool) -> Self {
        let out = BufWriter::with_capacity(64 * 1024, out);
        let columns = match format {
            Format::Table => COLUMNS.to_vec(),
            Format::Wide => [&COLUMNS[..], &WIDE[..]].concat(),
            Format::Csv => CSV.to_vec(),
            Format::Json | Format::Yaml => Vec::new(),
        };
        Self { out, format, columns, sample: Vec::new(), widths: None, begun: false, styled }
    }

    /// The same, with the context of each row first. JSON and YAML have it in the member `context` if a row has one.
    pub(super) fn with_contexts(mut self) -> Self {
        match self.format {
            Format::Table | Format::Wide => self.columns.insert(0, CONTEXT),
            Format::Csv => self.columns.insert(0, CSV_CONTEXT),
            Format::Json | Format::Yaml => {}
        }
        self
    }

    /// Prints a row. `json` is its source, on one line.
    fn print(&mut self, row: &Row, json: &str) -> Result<(), Failure> {
        let printed = match self.format {
            Format::Table | Format::Wide => self.table(row),
            Format::Json => writeln!(self.out, "{}", one_line(&in_context(json, &row.context)?)),
            Format::Yaml => self.yaml(&in_context(json, &row.context)?)?,
            Format::Csv => self.csv(row),
        };
        printed.map_err(|error| cannot_print(&error))
    }

    fn table(&mut self, row: &Row) -> io::Result<()> {
        if !self.begun {
            self.begun = true;
            self.sample.push(self.columns.iter().map(|(name, _)| (*name).to_owned()).collect());
        }
        let cell = |(_, of): &Column| {
            let text = on_one_line(&of(row));
            if text.trim().is_empty() { "-".to_owned() } else { apart(&text).into_owned() }
        };
        let cells: Vec<String> = self.columns.iter().map(cell).collect();
        let styled = self.styled_column();
        if let Some(widths) = &self.widths {
            return write_cells(&mut self.out, widths, &cells, styled);
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
        let styled = self.styled_column();
        for cells in &sample {
            write_cells(&mut self.out, &widths, cells, styled)?;
        }
        self.widths = Some(widths);
        Ok(())
    }

    /// The column that has colours.
    fn styled_column(&self) -> Option<usize> {
        self.styled.then(|| self.columns.iter().position(|(name, _)| *name == "DECISION")).flatten()
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
            let names: Vec<&str> = self.columns.iter().map(|(name, _)| *name).collect();
            write!(self.out, "{}\r\n", names.join(","))?;
        }
        let cells: Vec<String> = self.columns.iter().map(|(_, of)| quoted(&shown(&of(row)))).collect();
        write!(self.out, "{}\r\n", cells.join(","))
    }
}

impl<W: Write> RowSink for Printer<W> {
    fn row(&mut self, row: Row, json: &str) -> Result<(), Failure> {
        self.print(&row, json)
    }

    fn flush(&mut self) -> Result<(), Failure> {
        self.settle().and_then(|()| self.out.flush()).map_err(|error| cannot_print(&error))
    }

    fn unreadable(&mut self, place: &str, why: &str) {
        output::note(&format!("cannot read {place}: {why}"));
    }
}

fn write_cells(out: &mut impl Write, widths: &[usize], cells: &[String], styled: Option<usize>) -> io::Result<()> {
    let (last, cells) = cells.split_last().map_or(("", &[][..]), |(last, cells)| (last.as_str(), cells));
    for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let padding = width.saturating_sub(output::width(cell));
        let cell = format!("{cell}{}", " ".repeat(padding));
        let cell = if styled == Some(column) { in_style(&cell) } else { cell };
        write!(out, "{cell}   ")?;
    }
    writeln!(out, "{last}")
}

/// The record with the member `context`, if there is a context. It replaces one that the record claims to have.
fn in_context<'j>(json: &'j str, context: &str) -> Result<Cow<'j, str>, Failure> {
    if context.is_empty() {
        return Ok(Cow::Borrowed(json));
    }
    let mut record: serde_json::Map<String, Value> =
        serde_json::from_str(json).map_err(|error| Failure::Undetermined(format!("cannot read a record: {error}")))?;
    record.insert("context".to_owned(), context.into());
    Ok(Value::from(record).to_string().into())
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
