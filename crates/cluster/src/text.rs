//! Text for people, made of parts that strangers chose: bounded, and with nothing in it that a terminal obeys.
//!
//! Called by whatever renders a decision for a person: `admission::respond` and `events::event`.

use std::fmt::Write as _;

/// Leaves line breaks and visible characters, and spells out the rest: escape sequences, and marks that reorder what
/// one reads.
#[must_use]
pub fn visible(text: &str) -> String {
    if text.bytes().all(|byte| byte == b'\n' || (b' '..=b'~').contains(&byte)) {
        return text.to_owned();
    }
    let mut shown = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '\n' | ' '..='~' => shown.push(char),
            _ => shown.extend(char.escape_debug()),
        }
    }
    shown
}

/// Lower-case hexadecimal digits, two for each byte.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// Cuts `text` to at most `max` bytes, at a character, and says so.
#[must_use]
pub fn bounded(text: &str, max: usize) -> String {
    const MORE: &str = "…";
    if text.len() <= max {
        return text.to_owned();
    }
    let mut end = max.saturating_sub(MORE.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{MORE}", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_spelled_out() {
        assert_eq!(visible("a\u{1b}[31mred\r\n\u{202e}x"), "a\\u{1b}[31mred\\r\n\\u{202e}x");
        assert_eq!(visible("\"quoted\" C:\\x 'é'"), "\"quoted\" C:\\x 'é'");
    }

    #[test]
    fn a_cut_is_at_a_character_and_within_the_bound() {
        assert_eq!(bounded("short", 5), "short");
        for max in 3..12 {
            let cut = bounded("ääääääää", max);
            assert!(cut.len() <= max && cut.ends_with('…'), "{max}: {cut}");
        }
    }
}
