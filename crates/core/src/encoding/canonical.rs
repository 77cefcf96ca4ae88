//! RFC 8785 (JCS) canonical JSON, in one pass over the text.
//!
//! Members are written in the order of the text and sorted when their object ends; no tree is built. Input that would
//! give two different documents the same bytes is refused: duplicate keys, lone surrogates, and numbers that a double
//! does not hold exactly. A [`Scope`] says what to leave out.
//!
//! The file is longer than 500 lines, because the tests of each rule of RFC 8785 are next to the writer.

use std::{borrow::Cow, cmp::Ordering};

use crate::encoding::number::{self, NumberError};

/// The limit of `serde_json` as well. Deeper text could exhaust the stack.
const MAX_DEPTH: usize = 128;

/// The text has no canonical form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CanonicalError {
    /// The text is not JSON.
    #[error("not JSON at byte {at}: expected {expected}")]
    Syntax {
        /// Offset in bytes.
        at: usize,
        /// What was expected.
        expected: &'static str,
    },
    /// It has more than 128 levels.
    #[error("nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// An object has a key twice.
    #[error("the key {key:?} appears twice in one object")]
    DuplicateKey {
        /// The key.
        key: String,
    },
    /// A double does not hold a number exactly, so two numbers would have one hash.
    #[error("the number {number} cannot be hashed: a double does not hold it exactly (integers go to 2^53)")]
    InexactNumber {
        /// The first 40 characters of the number.
        number: String,
    },
    /// A text contains U+FFFD.
    #[error(
        "a text contains U+FFFD, which the API server writes for bytes that are not UTF-8, so two texts would have one \
         hash; remove the character"
    )]
    ReplacementCharacter,
}

/// What is left out while a document is written, by where the writer is in it.
///
/// A scope belongs to one value of the document. Left to itself, a scope keeps every member of an object.
pub(crate) trait Scope: Copy {
    /// The scope of an object whose text begins `rest`. Projections that depend on a member of the object look ahead.
    fn of_object(self, _rest: &str) -> Self {
        self
    }

    /// The scope of the value under `key`.
    fn of_member(self, key: &str) -> Self;

    /// The scope of an array's items.
    fn of_item(self) -> Self;

    /// Whether the member is left out; `value` is its canonical form.
    fn leaves_out(self, _key: &str, _value: &[u8]) -> bool {
        false
    }

    /// Whether the member is left out once everything in it was.
    fn leaves_out_emptied(self, _key: &str) -> bool {
        false
    }

    /// Whether a document with U+FFFD is refused.
    ///
    /// The API server stores bytes that are not UTF-8, and containers get these bytes. In JSON, all of them are U+FFFD.
    fn refuses_replacement_characters(self) -> bool {
        false
    }
}

/// Plain RFC 8785: nothing is left out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Everything;

impl Scope for Everything {
    fn of_member(self, _key: &str) -> Self {
        self
    }

    fn of_item(self) -> Self {
        self
    }
}

/// Appends the canonical form of `text`, a JSON document, to `out`.
pub(crate) fn append(out: &mut Vec<u8>, text: &str, scope: impl Scope) -> Result<(), CanonicalError> {
    let start = out.len();
    let mut writer = Writer {
        text,
        at: 0,
        depth: 0,
        out,
        members: Vec::with_capacity(32),
        sorted: Vec::new(),
        has_control_characters: smallest(text) < b' ',
        has_wide_keys: !text.is_ascii(),
    };
    writer.value(scope)?;
    writer.white_space();
    if writer.at != text.len() {
        return Err(writer.expected("the end of the document"));
    }
    // The canonical form does not escape it.
    if scope.refuses_replacement_characters() && contains(out.get(start..).unwrap_or_default(), "\u{fffd}") {
        return Err(CanonicalError::ReplacementCharacter);
    }
    Ok(())
}

fn contains(text: &[u8], part: &str) -> bool {
    memchr::memmem::find(text, part.as_bytes()).is_some()
}

/// Whether the JSON text may contain U+FFFD, as it is or escaped.
pub(crate) fn may_contain_replacement_character(text: &str) -> bool {
    let is_escape = |at: usize| text.get(at..at + 6).is_some_and(|escape| escape.eq_ignore_ascii_case("\\ufffd"));
    contains(text.as_bytes(), "\u{fffd}") || memchr::memmem::find_iter(text.as_bytes(), "\\u").any(is_escape)
}

/// The canonical form of `text`.
pub(crate) fn canonical(text: &str, scope: impl Scope) -> Result<Vec<u8>, CanonicalError> {
    let mut out = Vec::with_capacity(text.len());
    append(&mut out, text, scope)?;
    Ok(out)
}

/// A member of an object that is still open: its key, and its range in the output, including its comma.
struct ObjectMember<'t> {
    key: Cow<'t, str>,
    start: usize,
    end: usize,
}

struct Writer<'t, 'o> {
    text: &'t str,
    at: usize,
    depth: usize,
    out: &'o mut Vec<u8>,
    /// The members of all open objects, the innermost object's last.
    members: Vec<ObjectMember<'t>>,
    /// A buffer for sorting the members of an object, reused.
    sorted: Vec<u8>,
    /// Whether the text has control characters, such as line breaks between its tokens. The API server sends none.
    has_control_characters: bool,
    /// Whether a key may have other characters than ASCII. Bytes sort ASCII as UTF-16 code units do.
    has_wide_keys: bool,
}

/// Whether the scope left out every member of an object that had members.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Emitted {
    Unchanged,
    Emptied,
}

impl<'t> Writer<'t, '_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn expected(&self, expected: &'static str) -> CanonicalError {
        CanonicalError::Syntax { at: self.at, expected }
    }

    fn white_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn value(&mut self, scope: impl Scope) -> Result<Emitted, CanonicalError> {
        self.white_space();
        match self.peek() {
            Some(b'{') => return self.nested(|writer| writer.object(scope)),
            Some(b'[') => return self.nested(|writer| writer.array(scope.of_item())),
            Some(b'"') => {
                self.string()?;
            }
            Some(b'-' | b'0'..=b'9') => self.number()?,
            _ => self.word()?,
        }
        Ok(Emitted::Unchanged)
    }

    fn nested(
        &mut self,
        write: impl FnOnce(&mut Self) -> Result<Emitted, CanonicalError>,
    ) -> Result<Emitted, CanonicalError> {
        if self.depth == MAX_DEPTH {
            return Err(CanonicalError::TooDeep);
        }
        self.depth += 1;
        let written = write(self)?;
        self.depth -= 1;
        Ok(written)
    }

    fn object(&mut self, scope: impl Scope) -> Result<Emitted, CanonicalError> {
        let scope = scope.of_object(self.rest());
        self.at += 1;
        self.out.push(b'{');
        let (body, first) = (self.out.len(), self.members.len());
        let mut left_out = false;
        self.white_space();
        if self.peek() == Some(b'}') {
            self.at += 1;
        } else {
            loop {
                left_out |= self.member(scope)?;
                self.white_space();
                match self.peek() {
                    Some(b',') => self.at += 1,
                    Some(b'}') => {
                        self.at += 1;
                        break;
                    }
                    _ => return Err(self.expected("a comma or the end of the object")),
                }
            }
        }
        self.order(body, first)?;
        let emptied = left_out && self.out.len() == body;
        self.close(body, b'}');
        Ok(if emptied { Emitted::Emptied } else { Emitted::Unchanged })
    }

    /// Writes one member, or removes it from the output if the scope leaves it out. Returns whether it was left out.
    fn member(&mut self, scope: impl Scope) -> Result<bool, CanonicalError> {
        self.white_space();
        if self.peek() != Some(b'"') {
            return Err(self.expected("a key"));
        }
        let start = self.out.len();
        let key = self.string()?;
        self.white_space();
        if self.peek() != Some(b':') {
            return Err(self.expected("a colon"));
        }
        self.at += 1;
        self.out.push(b':');
        let value = self.out.len();
        let written = self.value(scope.of_member(&key))?;
        let is_emptied = written == Emitted::Emptied && scope.leaves_out_emptied(&key);
        if is_emptied || scope.leaves_out(&key, self.out.get(value..).unwrap_or_default()) {
            self.out.truncate(start);
            return Ok(true);
        }
        self.out.push(b',');
        let end = self.out.len();
        self.members.push(ObjectMember { key, start, end });
        Ok(false)
    }

    /// Sorts the members from `first` on by the UTF-16 code units of their keys (RFC 8785 section 3.2.3).
    fn order(&mut self, body: usize, first: usize) -> Result<(), CanonicalError> {
        let Some(open) = self.members.get_mut(first..) else { return Ok(()) };
        let compare = if self.has_wide_keys { by_utf16 } else { str::cmp };
        if !open.is_sorted_by(|a, b| compare(&a.key, &b.key) == Ordering::Less) {
            open.sort_by(|a, b| compare(&a.key, &b.key));
            for (a, b) in open.iter().zip(open.iter().skip(1)) {
                if a.key == b.key {
                    return Err(CanonicalError::DuplicateKey { key: a.key.clone().into_owned() });
                }
            }
            self.sorted.clear();
            for member in &*open {
                self.sorted.extend_from_slice(self.out.get(member.start..member.end).unwrap_or_default());
            }
            self.out.truncate(body);
            self.out.extend_from_slice(&self.sorted);
        }
        self.members.truncate(first);
        Ok(())
    }

    fn array(&mut self, items: impl Scope) -> Result<Emitted, CanonicalError> {
        self.at += 1;
        self.out.push(b'[');
        let body = self.out.len();
        self.white_space();
        if self.peek() == Some(b']') {
            self.at += 1;
        } else {
            loop {
                self.value(items)?;
                self.out.push(b',');
                self.white_space();
                match self.peek() {
                    Some(b',') => self.at += 1,
                    Some(b']') => {
                        self.at += 1;
                        break;
                    }
                    _ => return Err(self.expected("a comma or the end of the array")),
                }
            }
        }
        self.close(body, b']');
        Ok(Emitted::Unchanged)
    }

    /// Replaces the last comma, if any, with the bracket.
    fn close(&mut self, body: usize, bracket: u8) {
        if self.out.len() > body {
            self.out.pop();
        }
        self.out.push(bracket);
    }

    /// Writes a string and returns its value.
    fn string(&mut self) -> Result<Cow<'t, str>, CanonicalError> {
        let opening = self.at;
        let bytes = self.text.as_bytes();
        let mut at = opening + 1;
        let mut escaped = false;
        loop {
            let ahead = bytes.get(at..).unwrap_or_default();
            let Some(found) = memchr::memchr2(b'"', b'\\', ahead) else {
                return Err(self.expected("the end of the string"));
            };
            at += found;
            if bytes.get(at) == Some(&b'"') {
                break;
            }
            escaped = true;
            at += 2;
        }
        let quoted = self.text.get(opening..=at).ok_or_else(|| self.expected("a string"))?;
        if escaped {
            // Escapes have many spellings. serde_json reads them all, refuses lone surrogates, and writes the spelling
            // that RFC 8785 section 3.2.2.2 requires.
            let meant: String = serde_json::from_str(quoted).map_err(|_| self.expected("a string of valid escapes"))?;
            serde_json::to_writer(&mut *self.out, &meant).map_err(|_| self.expected("a string"))?;
            self.has_wide_keys |= !meant.is_ascii();
            self.at = at + 1;
            return Ok(Cow::Owned(meant));
        }
        if self.has_control_characters && smallest(quoted) < b' ' {
            return Err(self.expected("a string without raw control characters"));
        }
        self.out.extend_from_slice(quoted.as_bytes());
        self.at = at + 1;
        Ok(Cow::Borrowed(quoted.get(1..quoted.len() - 1).unwrap_or_default()))
    }

    fn word(&mut self) -> Result<(), CanonicalError> {
        for word in ["true", "false", "null"] {
            if self.rest().starts_with(word) {
                self.out.extend_from_slice(word.as_bytes());
                self.at += word.len();
                return Ok(());
            }
        }
        Err(self.expected("a value"))
    }

    fn number(&mut self) -> Result<(), CanonicalError> {
        let rest = self.rest();
        match number::append(self.out, rest) {
            Ok(length) => {
                self.at += length;
                Ok(())
            }
            Err(NumberError::Syntax) => Err(self.expected("a number")),
            Err(NumberError::Inexact(length)) => {
                Err(CanonicalError::InexactNumber { number: rest.chars().take(length.min(40)).collect() })
            }
        }
    }
}

fn by_utf16(a: &str, b: &str) -> Ordering {
    a.encode_utf16().cmp(b.encode_utf16())
}

/// The smallest byte. Unlike a search, this has no branches, so it takes a fraction of an instruction for each byte.
fn smallest(text: &str) -> u8 {
    text.bytes().fold(u8::MAX, u8::min)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(json: &str) -> Result<String, CanonicalError> {
        canonical(json, Everything).map(|bytes| String::from_utf8(bytes).expect("UTF-8 in, UTF-8 out"))
    }

    #[test]
    fn sorts_keys_by_utf16_code_units() {
        // RFC 8785 section 3.2.3
        let input = r#"{"\u20ac":"Euro Sign","\r":"Carriage Return","\ufb33":"Hebrew Letter Dalet With Dagesh","1":"One","\ud83d\ude00":"Emoji: Grinning Face","\u0080":"Control","\u00f6":"Latin Small Letter O With Diaeresis"}"#;
        let output = text(input).expect("canonical");
        let order = ["Carriage", "One", "Control", "Latin", "Euro", "Emoji", "Hebrew"];
        let places: Vec<_> = order.iter().map(|word| output.find(word).expect("kept")).collect();
        assert!(places.is_sorted(), "{output}");
    }

    #[test]
    fn writes_numbers_as_ecmascript_does() {
        let input = "[1.0, 1e3, 0.5, -0, 0.0, 4.50, 2e-3, 1E-27, 9007199254740992, -9007199254740992, 0.1, 1e-7]";
        let expected = "[1,1000,0.5,0,0,4.5,0.002,1e-27,9007199254740992,-9007199254740992,0.1,1e-7]";
        assert_eq!(text(input).as_deref(), Ok(expected));
    }

    #[test]
    fn refuses_a_number_that_a_double_does_not_hold() {
        for number in
            ["9007199254740993", "-9007199254740993", "18446744073709551616", "1e16", "1e400", "0.1000000000000000055"]
        {
            assert!(
                matches!(text(number), Err(CanonicalError::InexactNumber { .. } | CanonicalError::Syntax { .. })),
                "{number}"
            );
        }
    }

    #[test]
    fn refuses_a_text_that_is_not_json() {
        for broken in [
            "",
            "{",
            "[1,]",
            "{\"a\":1,}",
            "{\"a\" 1}",
            "01",
            "1.",
            "--1",
            "nul",
            "\"a",
            "\"\\ud800\"",
            "\"\u{1}\"",
            "1 2",
            "{a:1}",
            "\"\\x\"",
            "+1",
        ] {
            assert!(matches!(text(broken), Err(CanonicalError::Syntax { .. })), "{broken:?} gave {:?}", text(broken));
        }
    }

    #[test]
    fn refuses_a_duplicate_key_however_it_is_escaped() {
        for twice in [r#"{"a":1,"a":1}"#, r#"{"a":1,"b":2,"\u0061":3}"#] {
            assert_eq!(text(twice), Err(CanonicalError::DuplicateKey { key: "a".into() }));
        }
    }

    #[test]
    fn refuses_more_than_the_maximum_depth() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(text(&nested(MAX_DEPTH)).is_ok());
        assert_eq!(text(&nested(MAX_DEPTH + 1)), Err(CanonicalError::TooDeep));
        assert_eq!(text(&"[".repeat(1_000_000)), Err(CanonicalError::TooDeep));
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            (-(1_i64 << 53)..=(1_i64 << 53)).prop_map(Into::into),
            any::<String>().prop_map(Into::into),
        ];
        leaf.prop_recursive(5, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                prop::collection::btree_map(any::<String>(), inner, 0..6)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn ignores_white_space_and_the_order_of_keys(value in json()) {
            let pretty = serde_json::to_string_pretty(&value).expect("serializes");
            let compact = serde_json::to_string(&value).expect("serializes");
            prop_assert_eq!(text(&pretty), text(&compact));
        }

        #[test]
        fn the_canonical_form_is_its_own_canonical_form_and_has_the_same_value(value in json()) {
            let once = text(&value.to_string()).expect("canonical");
            prop_assert_eq!(&text(&once).expect("canonical"), &once);
            let back: serde_json::Value = serde_json::from_str(&once).expect("JSON");
            prop_assert_eq!(back, value);
        }

        #[test]
        fn never_panics_for_any_text(input in any::<String>(), cut in any::<prop::sample::Index>()) {
            let _ = text(&input);
            let spec = r#"{"a":[1,-2.5e3,"x\u00e9"],"template":{"metadata":{"labels":{}}}}"#;
            let _ = text(spec.get(..cut.index(spec.len())).unwrap_or_default());
        }
    }
}
