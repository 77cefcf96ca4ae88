//! The spellings of JSON strings: a character may be written as it is or as an escape. This file undoes escapes without
//! parsing, so that a search for a word finds every spelling of the word, in JSON and in broken JSON.

use std::borrow::Cow;

use memchr::{memchr, memmem};

/// `json` with the escapes of ASCII characters replaced. A string of `json` that means a word of printable ASCII without
/// quotes and backslashes contains that word afterwards. Text without `\/` and `\u` is returned as it is: no other
/// escape spells such a character.
#[must_use]
pub fn unescaped(json: &[u8]) -> Cow<'_, [u8]> {
    if memmem::find(json, br"\/").is_none() && memmem::find(json, br"\u").is_none() {
        return Cow::Borrowed(json);
    }
    Cow::Owned(unescape(json))
}

/// `text` with its escapes of printable ASCII replaced once: `\\u0076` becomes `\u0076`.
pub(crate) fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memchr(b'\\', rest) {
        let (before, escape) = rest.split_at(at);
        out.extend_from_slice(before);
        let (meant, length) = meaning(escape);
        match meant {
            Some(byte) => out.push(byte),
            None => out.extend_from_slice(escape.get(..length).unwrap_or(escape)),
        }
        rest = escape.get(length..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    out
}

/// The character that an escape means, if it is ASCII and not a control character, and the length of the escape.
fn meaning(escape: &[u8]) -> (Option<u8>, usize) {
    match escape.get(1) {
        Some(char @ (b'"' | b'\\' | b'/')) => (Some(*char), 2),
        Some(b'u') => {
            let digits = escape.get(2..6).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
            let Some(digits) = digits.and_then(|digits| str::from_utf8(digits).ok()) else { return (None, 1) };
            (u8::from_str_radix(digits, 16).ok().filter(|byte| matches!(byte, b' '..=b'~')), 6)
        }
        _ => (None, 1),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(json: &str) -> String {
        String::from_utf8(unescaped(json.as_bytes()).into_owned()).unwrap()
    }

    #[test]
    fn replaces_the_escapes_of_ascii_characters() {
        assert_eq!(text(r#""a\/b\u0076\u002F\u00e9\ud83d\ude00\n\u000a""#), r#""a/bv/\u00e9\ud83d\ude00\n\u000a""#);
        assert_eq!(text(r#""\\u0076\/""#), r#""\u0076/""#);
        assert_eq!(text(r"\u00 \u+076 \"), r"\u00 \u+076 \");
        assert!(matches!(unescaped(br#""a\"b\\c""#), Cow::Borrowed(_)));
    }

    proptest! {
        #[test]
        fn every_spelling_of_a_word_contains_the_word(word in "[a-z./]{1,8}", around in "\\PC{0,4}", spell in prop::collection::vec(0..4_u8, 8)) {
            let spelled: String = word.chars().zip(&spell).map(|(char, how)| match (how, char) {
                (0, _) => format!("\\u{:04x}", u32::from(char)),
                (1, _) => format!("\\u{:04X}", u32::from(char)),
                (2, '/') => "\\/".to_owned(),
                _ => char.to_string(),
            }).collect();
            let around = serde_json::to_string(&around).unwrap();
            let around = &around[1..around.len() - 1];
            let json = format!("\"{around}{spelled}{around}\"");
            let meant: String = serde_json::from_str(&json).unwrap();
            prop_assert!(meant.contains(&word));
            prop_assert!(text(&json).contains(&word), "{}", json);
        }
    }
}
