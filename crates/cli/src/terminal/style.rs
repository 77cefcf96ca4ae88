//! How things look on a terminal. Elsewhere, and where `NO_COLOR` says so, anstream takes the styles out again on the way
//! to the stream, so whoever writes a text need not know where it goes.

use anstyle::{AnsiColor, Style};

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const GREEN: Style = AnsiColor::Green.on_default();
const RED: Style = AnsiColor::Red.on_default();
const YELLOW: Style = AnsiColor::Yellow.on_default();

fn in_style(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// What a paragraph is about.
pub(crate) fn heading(text: &str) -> String {
    in_style(BOLD, text)
}

/// What is as it should be; what a change adds.
pub(crate) fn good(text: &str) -> String {
    in_style(GREEN, text)
}

/// What is refused or wrong; what a change takes away.
pub(crate) fn bad(text: &str) -> String {
    in_style(RED, text)
}

/// What a person should look at.
pub(crate) fn careful(text: &str) -> String {
    in_style(YELLOW, text)
}

/// What may be passed over.
pub(crate) fn faint(text: &str) -> String {
    in_style(DIM, text)
}
