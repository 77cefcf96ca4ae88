//! A review as text for a terminal: the blocks of `view` with styles and indentation.

use std::fmt::Write as _;

use crate::{
    command::review::{
        ReviewReport,
        checklist::CheckResult,
        lines::{Line, Marker},
        view::{self, Block, CheckedItem, Marked, ShownChanges, Tone, WorkloadView},
    },
    terminal::{output::columns, style},
};

/// The whole report. `full` shows the API server's defaults of new objects, and values of any length.
pub(super) fn of(review: &ReviewReport, full: bool) -> String {
    let mut text = String::new();
    for block in view::of(review, full) {
        if !text.is_empty() {
            text.push('\n');
        }
        match block {
            Block::Facts { title, facts } => {
                let _ = writeln!(text, "{}", style::heading(title));
                text.push_str(&columns(facts.iter().map(|(name, value)| (*name, marked(value)))));
            }
            Block::Lines { title, tone, lines } => {
                section(&mut text, title, lines.iter().map(|line| toned(tone, line)));
            }
            Block::Workload(one) => workload(&mut text, &one),
            Block::NotWhole(named) => {
                section(&mut text, "Not shown whole: read these with --full before you sign", named.into_iter());
            }
            Block::Checklist { title, items } => section(&mut text, title, items.iter().map(item)),
        }
    }
    text
}

fn section(text: &mut String, title: &str, lines: impl Iterator<Item = String>) {
    let _ = writeln!(text, "{}", style::heading(title));
    lines.for_each(|line| {
        let _ = writeln!(text, "  {line}");
    });
}

fn toned(tone: Tone, line: &Marked) -> String {
    match tone {
        Tone::Plain => marked(line),
        Tone::Wrong => style::bad(&line.text),
        Tone::Careful => style::careful(&format!("! {}", line.text)),
    }
}

fn marked(value: &Marked) -> String {
    if value.mark.is_empty() { value.text.clone() } else { format!("{}{}", value.text, style::faint(&value.mark)) }
}

fn item(item: &CheckedItem) -> String {
    let verdict = match item.verdict {
        CheckResult::Ok(_) => style::good("ok  "),
        CheckResult::No => style::bad("NO  "),
        CheckResult::Look => style::careful("look"),
    };
    format!("{verdict}  {}: {}", item.line, item.found)
}

fn workload(text: &mut String, one: &WorkloadView) {
    let subject = style::heading(&one.subject);
    let _ = writeln!(text, "{subject}: {}\n  spec hash {} (computed here)", one.how, one.spec_hash);
    changes(text, &one.changes);
    let Some((claimed, cut)) = &one.claimed else { return };
    let _ = writeln!(text, "  changes, claimed by the request; no cluster was contacted");
    if claimed.is_empty() && *cut == 0 {
        let _ = writeln!(text, "    none");
    }
    for line in claimed {
        print(text, line);
    }
    if *cut > 0 {
        let _ = writeln!(text, "    {cut} more claimed changes are not shown whole; --full shows them");
    }
}

fn changes(text: &mut String, changes: &ShownChanges) {
    for (title, lines) in &changes.groups {
        let _ = writeln!(text, "  {title}");
        for line in lines {
            print(text, line);
        }
    }
    if changes.left_out > 0 {
        let _ = writeln!(text, "  {} more fields are not shown; --full shows them", changes.left_out);
    }
    if !changes.defaults.is_empty() {
        let _ = writeln!(text, "  defaults: {}; --full shows them", changes.defaults.join(", "));
    }
}

fn print(text: &mut String, line: &Line) {
    let note = if line.note.is_empty() { String::new() } else { style::faint(&format!("  {}", line.note)) };
    let how = if line.is_cut { "; --full shows them" } else { "" };
    let printed = format!("{} {}{note}{how}", line.marker.sign(), line.text);
    let styled = match line.marker {
        Marker::Added => style::good(&printed),
        Marker::Removed => style::bad(&printed),
        Marker::Changed => style::careful(&printed),
        Marker::Same => printed,
    };
    let _ = writeln!(text, "    {styled}");
}
