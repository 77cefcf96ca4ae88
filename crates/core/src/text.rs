//! Text for people that contains what somebody else wrote: escaped, bounded, and without anything that a terminal obeys.
//!
//! Every message passes through [`escape`], so a name or an annotation can neither start a new line of a denial nor
//! write escape sequences or marks that reorder what one reads. Quotes and backslashes stay as they are: escaping an
//! escaped text changes nothing, so the parts of a message may be escaped before the whole is.

/// Characters of somebody else's text in a message.
const MAX_QUOTED: usize = 100;

/// Characters of a message that quotes somebody else's text.
const MAX_LINE: usize = 1000;

/// Items of a list that a message names.
const MAX_LISTED: usize = 3;

/// Escapes everything but line breaks and visible characters.
#[must_use]
pub fn escape(text: &str) -> String {
    escape_chars(text.chars(), |char| char == '\n')
}

/// Escapes line breaks as well, for a text that must stay on one line.
#[must_use]
pub fn escape_line(text: &str) -> String {
    escape_chars(text.chars(), |_| false)
}

/// A value that somebody else wrote, as a part of a message: on one line and cut to 100 characters.
#[must_use]
pub fn quoted(text: &(impl AsRef<str> + ?Sized)) -> String {
    cut(text.as_ref(), MAX_QUOTED)
}

/// A message that contains what somebody else wrote: on one line and cut to 1,000 characters.
#[must_use]
pub fn on_one_line(message: &str) -> String {
    cut(message, MAX_LINE)
}

/// The first few of `items`, and how many more there are.
#[must_use]
pub fn listed(items: impl ExactSizeIterator<Item = String>) -> String {
    let all = items.len();
    let shown = items.take(MAX_LISTED).collect::<Vec<_>>().join(", ");
    if all > MAX_LISTED { format!("{shown} and {} more", all - MAX_LISTED) } else { shown }
}

/// Cuts `text` to at most `max` bytes, at a character, and marks the cut with an ellipsis.
#[must_use]
pub fn bounded(text: &str, max: usize) -> String {
    const MORE: &str = "…";
    if text.len() <= max {
        return text.to_owned();
    }
    let most = max.saturating_sub(MORE.len());
    let kept = (0..=most).rev().find_map(|end| text.get(..end)).unwrap_or_default();
    format!("{kept}{MORE}")
}

fn cut(text: &str, max: usize) -> String {
    let mut line = escape_chars(text.chars().take(max), |_| false);
    if text.chars().nth(max).is_some() {
        line.push('…');
    }
    line
}

fn escape_chars(chars: impl Iterator<Item = char>, keeps: impl Fn(char) -> bool) -> String {
    let mut escaped = String::with_capacity(chars.size_hint().0);
    for char in chars {
        match char {
            ' '..='~' => escaped.push(char),
            _ if keeps(char) => escaped.push(char),
            _ => escaped.extend(char.escape_debug()),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "a\u{1b}[31mred\r\n\u{202e}x\u{7f}\u{85}\u{2028}";

    #[test]
    fn spells_out_what_a_terminal_would_obey() {
        assert_eq!(escape(HOSTILE), "a\\u{1b}[31mred\\r\n\\u{202e}x\\u{7f}\\u{85}\\u{2028}");
        for escaped in [escape_line(HOSTILE), quoted(HOSTILE), on_one_line(HOSTILE)] {
            assert_eq!(escaped, "a\\u{1b}[31mred\\r\\n\\u{202e}x\\u{7f}\\u{85}\\u{2028}");
        }
    }

    #[test]
    fn keeps_visible_characters_and_does_not_escape_twice() {
        let text = "the key `a` is \"there\" twice in C:\\x 'é'";
        assert_eq!(escape(text), text);
        assert_eq!(quoted(&quoted(HOSTILE)), quoted(HOSTILE));
    }

    #[test]
    fn a_message_is_cut() {
        assert_eq!(quoted(&"x".repeat(101)).chars().count(), 101);
        assert_eq!(on_one_line(&"x".repeat(1001)).chars().count(), 1001);
        assert_eq!(listed(["1", "2", "3", "4", "5"].iter().map(ToString::to_string)), "1, 2, 3 and 2 more");
    }

    #[test]
    fn bounded_cuts_at_a_character_and_stays_within_the_bound() {
        assert_eq!(bounded("short", 5), "short");
        for max in 3..12 {
            let cut = bounded("ääääääää", max);
            assert!(cut.len() <= max && cut.ends_with('…'), "{max}: {cut}");
        }
    }
}
