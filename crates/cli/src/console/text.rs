//! How a page shows what somebody else wrote: names, reasons, values of manifests, messages of the API server.
//!
//! Two rules apply. maud escapes markup in every text. [`foreign`] spells out, as the terminal's output does, characters that
//! are invisible, blank, reorder what one reads, or copy ASCII characters: `\u{202e}`.

use maud::{Escaper, Render};
use std::fmt::Write as _;

use crate::terminal::output::shown;

/// A text that somebody else wrote, as content or as the value of an attribute.
pub(crate) struct Foreign(String);

/// A text that somebody else wrote. Escaping an escaped text changes nothing, so a text that is safe to print stays as it
/// is.
pub(crate) fn foreign(text: impl AsRef<str>) -> Foreign {
    Foreign(shown(text.as_ref()))
}

impl Render for Foreign {
    fn render_to(&self, buffer: &mut String) {
        // Writing to a String cannot fail.
        let _ = Escaper::new(buffer).write_str(&self.0);
    }
}
