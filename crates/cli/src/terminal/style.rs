//! Styles on a terminal. anstream removes them from other streams and if `NO_COLOR` is set, so the code that writes a
//! text does not depend on its destination.

use anstyle::{AnsiColor, Style};

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const GREEN: Style = AnsiColor::Green.on_default();
const RED: Style = AnsiColor::Red.on_default();
const YELLOW: Style = AnsiColor::Yellow.on_default();

fn in_style(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// A heading.
pub(crate) fn heading(text: &str) -> String {
    in_style(BOLD, text)
}

/// A good result, or an addition.
pub(crate) fn good(text: &str) -> String {
    in_style(GREEN, text)
}

/// A refusal or an error, or a removal.
pub(crate) fn bad(text: &str) -> String {
    in_style(RED, text)
}

/// Something to look at.
pub(crate) fn careful(text: &str) -> String {
    in_style(YELLOW, text)
}

/// A minor detail.
pub(crate) fn faint(text: &str) -> String {
    in_style(DIM, text)
}
