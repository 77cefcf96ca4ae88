//! Text for people that contains what somebody else wrote: escaped, bounded, and without anything that a terminal obeys.
//!
//! Every message passes through [`escape`], so a name or an annotation can neither start a new line of a denial nor
//! write escape sequences or marks that reorder what one reads. Characters that are blank, invisible or a copy of an ASCII
//! character are spelled out. Words in other scripts stay readable, so a letter can still look like a letter of another
//! script; whoever shows names for a decision remarks words that mix scripts. Quotes and backslashes stay as they are:
//! escaping an escaped text changes nothing, so the parts of a message may be escaped before the whole is.

use std::borrow::Cow;

/// Characters of somebody else's text in a message.
const MAX_QUOTED: usize = 100;

/// Characters of a message that quotes somebody else's text.
const MAX_LINE: usize = 1000;

/// Characters that Unicode counts as letters or symbols, and that fonts show as blanks.
const BLANK: [char; 5] = ['\u{115f}', '\u{1160}', '\u{2800}', '\u{3164}', '\u{ffa0}'];

/// Items of a list that a message names.
const MAX_LISTED: usize = 3;

/// Escapes everything but line breaks and visible characters.
#[must_use]
pub fn escape(text: &str) -> String {
    escape_bounded(text, usize::MAX).into_owned()
}

/// Escapes as [`escape`] does, and cuts as [`bounded`] does.
#[must_use]
pub fn escape_bounded(text: &str, max: usize) -> Cow<'_, str> {
    let escaped = if is_plain(text, b'\n') {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(escape_chars(text.chars(), |char| char == '\n'))
    };
    if escaped.len() <= max { escaped } else { Cow::Owned(bounded(&escaped, max)) }
}

/// Escapes line breaks as well, for a text that must stay on one line, and spells out spaces that cannot be counted by
/// eye.
#[must_use]
pub fn escape_line(text: &str) -> String {
    spell_out_spaces(escape_chars(text.chars(), |_| false))
}

/// A value that somebody else wrote, as a part of a message: on one line and cut to 100 characters.
#[must_use]
pub fn quoted(text: &(impl AsRef<str> + ?Sized)) -> String {
    spell_out_spaces(cut(text.as_ref(), MAX_QUOTED))
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
    if text.len() <= max && is_plain(text, b' ') {
        return text.to_owned();
    }
    let mut line = escape_chars(text.chars().take(max), |_| false);
    if text.chars().nth(max).is_some() {
        line.push('…');
    }
    line
}

/// Whether nothing has to be escaped: every byte is visible ASCII, a space, or `also`.
#[expect(clippy::needless_bitwise_bool, reason = "a lazy operator is a branch for each byte")]
fn is_plain(text: &str, also: u8) -> bool {
    // Without branches, this takes a fraction of an instruction for each byte.
    text.bytes().fold(true, |plain, byte| plain & (matches!(byte, b' '..=b'~') | (byte == also)))
}

fn escape_chars(chars: impl Iterator<Item = char>, keeps: impl Fn(char) -> bool) -> String {
    let mut escaped = String::with_capacity(chars.size_hint().0);
    for char in chars {
        match char {
            ' '..='~' => escaped.push(char),
            _ if BLANK.contains(&char) => escaped.extend(char.escape_unicode()),
            _ if keeps(char) => escaped.push(char),
            _ if is_blank(char) || is_copy_of_ascii(char) => escaped.extend(char.escape_unicode()),
            // This escapes control, format and combining characters, and every space but the ASCII one.
            _ => escaped.extend(char.escape_debug()),
        }
    }
    escaped
}

/// Whether a character counts as visible in Unicode, but is drawn as nothing or as a blank.
fn is_blank(char: char) -> bool {
    matches!(
        char,
        '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' // fillers of Hangul
        | '\u{2800}' // a Braille pattern without dots
        | '\u{fffc}' // stands for an object that is not there
        | '\u{1d159}' // a musical note without a head
    )
}

/// Whether a character is a full-width or mathematical copy of an ASCII character. The full-width punctuation of Chinese
/// and Japanese sentences is not.
fn is_copy_of_ascii(char: char) -> bool {
    match char {
        '\u{ff01}' | '\u{ff08}' | '\u{ff09}' | '\u{ff0c}' | '\u{ff1a}' | '\u{ff1b}' | '\u{ff1f}' => false,
        '\u{ff01}'..='\u{ff5e}' | '\u{1d400}'..='\u{1d7ff}' => true,
        _ => false,
    }
}

/// The longest indentation of a line that stays as it is.
const MAX_INDENTATION: usize = 40;

/// Spells out spaces at the start and the end, and those after another space. The indentation of a line in a quoted JSON
/// text stays, because the quote or the escaped line break in front shows where it begins.
fn spell_out_spaces(text: String) -> String {
    const SPACE: &str = "\\u{20}";
    if !text.contains(' ') {
        return text;
    }
    let mut spelled = String::with_capacity(text.len());
    let mut rest = &*text;
    while let Some(at) = rest.find(' ') {
        let (before, after) = rest.split_at(at);
        spelled.push_str(before);
        let count = after.len() - after.trim_start_matches(' ').len();
        rest = after.get(count..).unwrap_or_default();
        let is_indentation = spelled == "\"" || spelled.ends_with("\\n");
        if is_indentation && count <= MAX_INDENTATION {
            spelled.push_str(&" ".repeat(count));
        } else if spelled.is_empty() || rest.is_empty() {
            spelled.push_str(&SPACE.repeat(count));
        } else {
            spelled.push(' ');
            spelled.push_str(&SPACE.repeat(count - 1));
        }
    }
    spelled + rest
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
    fn spells_out_letters_that_are_blank() {
        assert_eq!(
            escape_line("a\u{115f}\u{1160}\u{2800}\u{3164}\u{ffa0}b"),
            "a\\u{115f}\\u{1160}\\u{2800}\\u{3164}\\u{ffa0}b"
        );
    }

    #[test]
    fn keeps_visible_characters_and_does_not_escape_twice() {
        let text = "the key `a` is \"there\" twice in C:\\x 'é'";
        assert_eq!(escape(text), text);
        assert_eq!(quoted(&quoted(HOSTILE)), quoted(HOSTILE));
    }

    #[test]
    fn spells_out_what_nobody_sees_and_copies_of_ascii() {
        let hidden = [
            '\u{3164}',
            '\u{2800}',
            '\u{115f}',
            '\u{1160}',
            '\u{ffa0}',
            '\u{fffc}',
            '\u{1d159}', // blank
            '\u{ad}',
            '\u{200b}',
            '\u{200d}',
            '\u{2060}',
            '\u{feff}',
            '\u{34f}',
            '\u{180e}', // of no width
            '\u{202e}',
            '\u{2066}',
            '\u{61c}',
            '\u{fe0f}',
            '\u{e0100}',
            '\u{e0041}',
            '\u{301}',
            '\u{20e3}',
            '\u{a0}',
            '\u{2003}',
            '\u{3000}', // other spaces
            'ａ',
            'Ｚ',
            '０',
            '．',
            '／',
            '＝',
            '＠',
            '𝐚',
            '𝟎', // copies of ASCII
        ];
        for char in hidden {
            let spelled = format!("a{}b", char.escape_unicode());
            let text = format!("a{char}b");
            for escaped in [escape(&text), escape_line(&text), quoted(&text), on_one_line(&text)] {
                assert_eq!(escaped, spelled);
            }
        }
    }

    #[test]
    fn words_of_other_scripts_stay_readable() {
        for text in ["платёж", "Größe", "決済（本番）：はい！", "결제", "δοκιμή", "שלום", "₿ → €"]
        {
            assert_eq!(escape_line(text), text);
        }
    }

    #[test]
    fn spells_out_spaces_that_cannot_be_counted() {
        let cases = [
            ("a b c", "a b c"),
            ("a  b", "a \\u{20}b"),
            (" a", "\\u{20}a"),
            ("a ", "a\\u{20}"),
            ("  ", "\\u{20}\\u{20}"),
            ("\"  a\\n    b\"", "\"  a\\n    b\""),
            ("\"a   b\"", "\"a \\u{20}\\u{20}b\""),
        ];
        for (text, expected) in cases {
            assert_eq!(escape_line(text), expected, "{text:?}");
            assert_eq!(quoted(text), expected, "{text:?}");
            assert_eq!(quoted(&quoted(text)), expected, "{text:?}");
        }
        let far = format!("\"{}x\"", " ".repeat(MAX_INDENTATION + 1));
        assert!(escape_line(&far).contains("\\u{20}"));
        assert_eq!(escape("a\n  - b"), "a\n  - b", "an indented line of a message");
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
        assert_eq!(escape_bounded("short\n", 6), "short\n");
        assert_eq!(escape_bounded("shorter", 6), "sho…");
        assert_eq!(escape_bounded("a\t", 3), "a\\t");
        assert_eq!(escape_bounded("ab\t", 3), "…", "cut after it is escaped");
        for max in 3..12 {
            let cut = bounded("ääääääää", max);
            assert!(cut.len() <= max && cut.ends_with('…'), "{max}: {cut}");
        }
    }
}
