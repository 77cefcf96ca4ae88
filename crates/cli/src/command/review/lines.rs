//! A change as lines, each with the marker of what it shows.
//!
//! A value is printed whole, in pieces that are quoted JSON strings, so that no value can look like another line. Of a
//! changed value, every differing part is printed. [`Room`] bounds both, and counts what it leaves out.

use std::ops::Range;

use serde_json::Value;
use similar::{Algorithm, DiffOp, DiffTag, capture_diff_slices};

use crate::{command::review::diff::FieldChange, terminal::output::shown};

/// A value with a longer JSON text is printed in pieces.
const LONG: usize = 160;
/// Characters of one piece.
const PIECE: usize = 100;
/// Equal lines that are printed before and after a difference.
const CONTEXT_LINES: usize = 3;
/// Equal characters that are printed before and after a difference within one line.
const CONTEXT: usize = 24;
/// Bytes of one value without `--full`. A larger value is a file rather than an argument.
const MAX_VALUE: usize = 64 * 1024;
/// Lines of a review's changes without `--full`. Many terminals keep about a thousand lines, and a reader must be able to
/// scroll back to the first one.
const MAX_LINES: usize = 1000;
/// Words of one text that are compared. Of a longer text, everything between the first and the last difference is one
/// difference.
const MAX_WORDS: usize = 20_000;

/// What a line shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Marker {
    /// A new value, or a part of one.
    Added,
    /// An old value, or a part of one.
    Removed,
    /// A field whose value changes.
    Changed,
    /// Equal parts around a difference.
    Same,
}

/// One printed line, without its indentation. It is safe to print.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) marker: Marker,
    pub(crate) text: String,
    /// A remark after the text.
    pub(crate) note: &'static str,
    /// Whether the line says how much of a value is not shown.
    pub(crate) is_cut: bool,
}

impl Marker {
    pub(crate) fn sign(self) -> char {
        match self {
            Self::Added => '+',
            Self::Removed => '-',
            Self::Changed => '~',
            Self::Same => '=',
        }
    }
}

/// How much more may be printed.
pub(super) struct Room {
    lines: usize,
    value: usize,
    is_full: bool,
}

impl Room {
    /// The bounds of a review without `--full`.
    pub(super) fn bounded() -> Self {
        Self { lines: MAX_LINES, value: MAX_VALUE, is_full: false }
    }

    /// Room for everything.
    pub(super) fn full() -> Self {
        Self { lines: usize::MAX, value: usize::MAX, is_full: true }
    }

    /// Whether not a line more may be printed.
    pub(super) fn is_used_up(&self) -> bool {
        self.lines == 0
    }
}

/// The lines of a change, and whether they show it whole. `path` is the path to print, and `note` a remark about the
/// field.
pub(super) fn of(change: &FieldChange, path: &str, note: &'static str, room: &mut Room) -> (Vec<Line>, bool) {
    let mut printer = Printer { lines: Vec::new(), value: room.value, room, left_out: (0, 0) };
    let path = shown(path);
    let marker = match (&change.old, &change.new) {
        (None, Some(_)) => Marker::Added,
        (Some(_), None) => Marker::Removed,
        _ => Marker::Changed,
    };
    match (&change.old, &change.new) {
        (None, Some(value)) | (Some(value), None) if is_short(value) => {
            printer.line(marker, format!("{path}: {}", json(value)));
        }
        (None, Some(value)) | (Some(value), None) => {
            printer.line(marker, format!("{path}: {}", extent(value)));
            printer.whole(marker, "", value);
        }
        (Some(old), Some(new)) if is_short(old) && is_short(new) => {
            printer.line(marker, format!("{path}: {} -> {}", json(old), json(new)));
        }
        (Some(old), Some(new)) => {
            printer.line(marker, format!("{path}: {} -> {}", extent(old), extent(new)));
            printer.changed(old, new);
        }
        (None, None) => printer.line(marker, path),
    }
    if let Some(first) = printer.lines.first_mut() {
        first.note = note;
    }
    let (lines, bytes) = printer.left_out;
    if lines > 0 {
        let text = format!("  {lines} more lines of this value ({bytes} bytes) are not shown");
        printer.lines.push(Line { marker, text, note: "", is_cut: true });
    }
    (printer.lines, lines == 0)
}

struct Printer<'r> {
    lines: Vec<Line>,
    /// Bytes that may be printed of this value.
    value: usize,
    room: &'r mut Room,
    /// Lines and bytes that were not printed.
    left_out: (usize, usize),
}

impl Printer<'_> {
    fn line(&mut self, marker: Marker, text: String) {
        let fits = text.len() <= self.value && self.room.lines > 0;
        // What follows a cut is left out as well: a value with a hole is misread.
        if !fits || self.left_out.0 > 0 {
            self.left_out.0 += 1;
            self.left_out.1 += text.len();
            return;
        }
        self.room.lines -= 1;
        self.value -= text.len();
        self.lines.push(Line { marker, text, note: "", is_cut: false });
    }

    /// The pieces of a value. `label` is printed before the first one.
    fn pieces(&mut self, marker: Marker, label: &str, pieces: impl IntoIterator<Item = String>) {
        let blank = " ".repeat(label.len());
        for (index, piece) in pieces.into_iter().enumerate() {
            let label = if index == 0 { label } else { &blank };
            self.line(marker, format!("  {label}{piece}"));
        }
    }

    fn whole(&mut self, marker: Marker, label: &str, value: &Value) {
        match value {
            Value::String(text) => self.pieces(marker, label, pieces(text)),
            Value::Array(items) if label.is_empty() => {
                for (index, item) in items.iter().enumerate() {
                    self.whole(marker, &format!("[{index}] "), item);
                }
            }
            other => {
                let text = other.to_string();
                self.pieces(marker, label, cut(&text, PIECE).map(shown));
            }
        }
    }

    fn changed(&mut self, old: &Value, new: &Value) {
        match (old, new) {
            (Value::String(old), Value::String(new)) => self.texts("", old, new),
            (Value::Array(old), Value::Array(new)) => self.items(old, new),
            _ => {
                self.whole(Marker::Removed, "", old);
                self.whole(Marker::Added, "", new);
            }
        }
    }

    fn items(&mut self, old: &[Value], new: &[Value]) {
        let [old_texts, new_texts] = [old, new].map(|items| items.iter().map(Value::to_string).collect::<Vec<_>>());
        for op in capture_diff_slices(Algorithm::Myers, &old_texts, &new_texts) {
            let (before, after) = (op.old_range(), op.new_range());
            if op.tag() == DiffTag::Equal {
                self.same(before.len(), "items");
                continue;
            }
            let paired = if before.len() == after.len() { before.len() } else { 0 };
            for (old_index, new_index) in before.clone().zip(after.clone()).take(paired) {
                let label = format!("[{new_index}] ");
                match (old.get(old_index), new.get(new_index)) {
                    (Some(Value::String(old)), Some(Value::String(new))) if is_long(old) || is_long(new) => {
                        self.texts(&label, old, new);
                    }
                    (old, new) => {
                        if let Some(old) = old {
                            self.whole(Marker::Removed, &label, old);
                        }
                        if let Some(new) = new {
                            self.whole(Marker::Added, &label, new);
                        }
                    }
                }
            }
            for (marker, range, items) in [(Marker::Removed, before, old), (Marker::Added, after, new)] {
                for index in range.skip(paired) {
                    let item = items.get(index);
                    if let Some(item) = item {
                        self.whole(marker, &format!("[{index}] "), item);
                    }
                }
            }
        }
    }

    /// The differences of two texts: line by line, and within a long line word by word.
    fn texts(&mut self, label: &str, old: &str, new: &str) {
        let [old, new] = [old, new].map(|text| text.split_inclusive('\n').collect::<Vec<_>>());
        let ops = capture_diff_slices(Algorithm::Myers, &old, &new);
        for (index, op) in ops.iter().enumerate() {
            let (before, after) = (op.old_range(), op.new_range());
            if op.tag() == DiffTag::Equal {
                self.context(label, old.get(before).unwrap_or_default(), index == 0, index + 1 == ops.len());
                continue;
            }
            let (before, after) = (old.get(before).unwrap_or_default(), new.get(after).unwrap_or_default());
            if before.len() == after.len() && before.iter().chain(after).any(|line| line.len() > LONG) {
                before.iter().zip(after).for_each(|(old, new)| self.words(label, old, new));
                continue;
            }
            for line in before {
                self.pieces(Marker::Removed, label, pieces(line));
            }
            for line in after {
                self.pieces(Marker::Added, label, pieces(line));
            }
        }
    }

    /// Equal lines, without those that are far from a difference.
    fn context(&mut self, label: &str, lines: &[&str], is_first: bool, is_last: bool) {
        let head = if is_first { 0 } else { CONTEXT_LINES };
        let tail = if is_last { 0 } else { CONTEXT_LINES };
        let skipped = lines.len().saturating_sub(head + tail);
        let skipped = if self.room.is_full || skipped < 2 { 0 } else { skipped };
        let (head, rest) = if skipped == 0 { (lines, &[][..]) } else { lines.split_at(head) };
        for line in head {
            self.pieces(Marker::Same, label, pieces(line));
        }
        if skipped > 0 {
            self.same(skipped, "lines");
            let tail = rest.get(skipped..).unwrap_or_default();
            for line in tail {
                self.pieces(Marker::Same, label, pieces(line));
            }
        }
    }

    fn same(&mut self, count: usize, what: &str) {
        self.line(Marker::Same, format!("  {count} equal {what}"));
    }

    /// Every differing part of two lines, with some characters around it.
    fn words(&mut self, label: &str, old: &str, new: &str) {
        for (before, after) in differing(old, new) {
            for (marker, text, range) in [(Marker::Removed, old, before), (Marker::Added, new, after)] {
                let position = text.get(..range.start).unwrap_or_default().chars().count() + 1;
                let part = text.get(range).unwrap_or_default();
                self.pieces(marker, &format!("{label}from character {position}: "), pieces(part));
            }
        }
    }
}

/// Whether a value is printed on one line.
fn is_short(value: &Value) -> bool {
    let is_one_line = |value: &Value| value.as_str().is_none_or(|text| !has_lines(text));
    let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
    is_one_line(value) && items.iter().all(is_one_line) && value.to_string().len() <= LONG
}

fn is_long(text: &str) -> bool {
    has_lines(text) || text.len() > LONG
}

/// Whether a text has more than one line.
fn has_lines(text: &str) -> bool {
    text.trim_end_matches('\n').contains('\n')
}

fn json(value: &Value) -> String {
    shown(&value.to_string())
}

/// How large a value is.
fn extent(value: &Value) -> String {
    match value {
        Value::String(text) if has_lines(text) => counted(text.split_inclusive('\n').count(), "line"),
        Value::String(text) => counted(text.chars().count(), "character"),
        Value::Array(items) => counted(items.len(), "item"),
        other => json(other),
    }
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// The lines of a text, the long ones cut, as JSON strings.
fn pieces(text: &str) -> impl Iterator<Item = String> {
    let lines = text.split_inclusive('\n').chain(text.is_empty().then_some(""));
    lines.flat_map(|line| cut(line, PIECE)).map(|piece| json(&piece.into()))
}

/// Pieces of at most `most` characters; one empty piece of an empty text.
fn cut(text: &str, most: usize) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = text.char_indices().nth(most).map_or(text.len(), |(end, _)| end);
        let (piece, after) = text.split_at_checked(end)?;
        rest = (!after.is_empty()).then_some(after);
        Some(piece)
    })
}

/// The differing ranges of two texts with the characters around them. Ranges that touch are one.
fn differing(old: &str, new: &str) -> Vec<(Range<usize>, Range<usize>)> {
    let (old_words, new_words) = (words(old), words(new));
    let ops = if old_words.len().max(new_words.len()) > MAX_WORDS {
        vec![between_the_ends(&old_words, &new_words)]
    } else {
        capture_diff_slices(Algorithm::Myers, &old_words, &new_words)
    };
    let (old_starts, new_starts) = (starts(&old_words), starts(&new_words));
    let bytes = |starts: &[usize], words: Range<usize>| {
        let at = |word: usize| starts.get(word).copied().unwrap_or_default();
        at(words.start)..at(words.end)
    };
    let mut found: Vec<(Range<usize>, Range<usize>)> = Vec::new();
    for op in ops.iter().filter(|op| op.tag() != DiffTag::Equal) {
        let before = around(old, &bytes(&old_starts, op.old_range()));
        let after = around(new, &bytes(&new_starts, op.new_range()));
        match found.last_mut() {
            Some((old, new)) if before.start <= old.end || after.start <= new.end => {
                *old = old.start..before.end;
                *new = new.start..after.end;
            }
            _ => found.push((before, after)),
        }
    }
    found
}

/// One replacement of everything but the equal words at both ends.
fn between_the_ends(old: &[&str], new: &[&str]) -> DiffOp {
    let equal = |(old, new): &(&&str, &&str)| old == new;
    let head = old.iter().zip(new).take_while(equal).count();
    let most = old.len().min(new.len()) - head;
    let tail = old.iter().rev().zip(new.iter().rev()).take(most).take_while(equal).count();
    let (old_len, new_len) = (old.len() - head - tail, new.len() - head - tail);
    DiffOp::Replace { old_index: head, old_len, new_index: head, new_len }
}

/// Runs of letters and digits, and single other characters.
fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut start = 0;
    let mut in_word = false;
    for (at, char) in text.char_indices() {
        let continues = char.is_alphanumeric() || char == '_';
        if at > start && !(in_word && continues) {
            words.extend(text.get(start..at));
            start = at;
        }
        in_word = continues;
    }
    words.extend(text.get(start..).filter(|word| !word.is_empty()));
    words
}

/// Where each word begins, and where the last one ends.
fn starts(words: &[&str]) -> Vec<usize> {
    let mut end = 0;
    let ends = words.iter().map(|word| {
        end += word.len();
        end
    });
    std::iter::once(0).chain(ends).collect()
}

fn around(text: &str, range: &Range<usize>) -> Range<usize> {
    let before = text.get(..range.start).unwrap_or_default().char_indices().rev().take(CONTEXT).last();
    let after = text.get(range.end..).unwrap_or_default().char_indices().nth(CONTEXT);
    before.map_or(range.start, |(at, _)| at)..after.map_or(text.len(), |(at, _)| range.end + at)
}

#[cfg(test)]
mod tests;
