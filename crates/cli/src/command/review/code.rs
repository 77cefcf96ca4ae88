//! The code of a review: a digest of all that a review shows, short enough to compare by phone.
//!
//! `review` prints it and `approve` prints it again, so that a reviewer notices a request that was exchanged in between.
//! The author of a request can write many versions of it, so the code has to resist collisions and not only second
//! preimages: 125 bits are as few as that permits (docs/adr/0018-review-codes.md).
//!
//! Times that pass between a review and a signature are not part of the digest. Everything else is, and a field that is
//! added to the report is part of it without a change here.

use std::{collections::BTreeSet, fmt, str::FromStr};

use serde::{Serialize, Serializer};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::{command::review::ReviewReport, failure::Failure, terminal::output};

/// Separates these digests from all others.
const DOMAIN: &[u8] = b"writgate.dev/review-code/v1\0";
/// Crockford's alphabet: no letter looks or sounds like a digit.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Characters of a code, five bits each.
const LENGTH: usize = 25;
/// Characters between hyphens.
const GROUP: usize = 5;
/// Differences that a message lists, at most, and the length of a value in it.
const MOST: usize = 20;
const LONG: usize = 100;
/// Codes of hints that depend on the time of the review.
const TIMED: [&str; 3] = ["long-lived", "old-request", "future-request"];

/// The code of a review.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReviewCode([u8; LENGTH]);

/// The code of `report`, which does not depend on the time of the review.
pub(super) fn of(report: &ReviewReport) -> Result<ReviewCode, Failure> {
    let value = timeless(report)?;
    // Canonical for this purpose: serde_json's maps are sorted, and all numbers come from JSON texts.
    Ok(ReviewCode::of_digest(&Sha256::new().chain_update(DOMAIN).chain_update(value.to_string()).finalize().into()))
}

/// The report as JSON, without what depends on the time of the review.
pub(super) fn timeless(report: &ReviewReport) -> Result<Value, Failure> {
    let mut value = serde_json::to_value(report)
        .map_err(|error| Failure::Undetermined(format!("cannot compute the code of the review: {error}")))?;
    for (fact, shown) in report.asked.iter().zip(items(&mut value, "asked")) {
        if let Some(timeless) = &fact.timeless {
            shown["value"] = timeless.as_str().into();
        }
    }
    for (item, shown) in report.checklist.iter().zip(items(&mut value, "checklist")) {
        if item.is_timed {
            *shown = Value::Null;
        }
    }
    items(&mut value, "unusual").retain(|unusual| !TIMED.iter().any(|timed| unusual["code"] == *timed));
    if let Some(fields) = value.as_object_mut() {
        fields.remove("code");
    }
    Ok(value)
}

/// Where two reviews differ, for people: `workloads[0].changes[2].old`, with both values.
pub(crate) fn differences(shown: &Value, now: &Value) -> Vec<String> {
    let mut found = Vec::new();
    collect(&mut found, "", shown, now);
    let more = found.len().saturating_sub(MOST);
    found.truncate(MOST);
    if more > 0 {
        found.push(format!("and {more} more"));
    }
    found
}

fn collect(found: &mut Vec<String>, path: &str, shown: &Value, now: &Value) {
    match (shown, now) {
        (Value::Object(one), Value::Object(other)) => {
            let names: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
            for name in names {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                collect(found, &path, &shown[name], &now[name]);
            }
        }
        (Value::Array(one), Value::Array(other)) => {
            let index = |list: &[Value], index: usize| list.get(index).cloned().unwrap_or_default();
            for at in 0..one.len().max(other.len()) {
                // An item of the report has a name, which says more than its place.
                let (one, other) = (index(one, at), index(other, at));
                let name = ["name", "subject", "path", "line", "capability", "keyid"]
                    .iter()
                    .find_map(|field| one[field].as_str().or(other[field].as_str()))
                    .map_or(at.to_string(), output::shown);
                collect(found, &format!("{path}[{name}]"), &one, &other);
            }
        }
        _ if shown == now => {}
        _ => found.push(format!("{path}: {} -> {}", short(shown), short(now))),
    }
}

fn short(value: &Value) -> String {
    let text = output::shown(&value.to_string());
    match text.char_indices().nth(LONG) {
        Some((at, _)) => format!("{}[...]", &text[..at]),
        None => text,
    }
}

fn items<'v>(value: &'v mut Value, name: &str) -> &'v mut Vec<Value> {
    value[name].as_array_mut().expect("a list of the report")
}

impl ReviewCode {
    fn of_digest(digest: &[u8; 32]) -> Self {
        let (first, _) = digest.split_first_chunk().expect("a digest is longer");
        let mut rest = u128::from_be_bytes(*first);
        Self([(); LENGTH].map(|()| {
            let index = usize::try_from(rest >> 123).expect("five bits");
            rest <<= 5;
            ALPHABET[index]
        }))
    }

    /// The last lines of a review.
    pub(super) fn text(self) -> String {
        format!(
            "\nCode of this review: {self}\n  approve prints it again; --expect CODE refuses to sign what has another code\n"
        )
    }
}

impl fmt::Display for ReviewCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, group) in self.0.chunks(GROUP).enumerate() {
            if index > 0 {
                f.write_str("-")?;
            }
            group.iter().try_for_each(|byte| write!(f, "{}", char::from(*byte)))?;
        }
        Ok(())
    }
}

impl FromStr for ReviewCode {
    type Err = String;

    /// Reads a code as people write it: in any case, with or without hyphens, with O for 0, and I or L for 1.
    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || "expected the code of a review, 25 letters and digits such as 7K3QX-9M2DP-…".to_owned();
        let read = |letter: char| {
            let letter = match letter.to_ascii_uppercase() {
                'O' => '0',
                'I' | 'L' => '1',
                other => other,
            };
            u8::try_from(letter).ok().filter(|byte| ALPHABET.contains(byte)).ok_or_else(expected)
        };
        let letters = text.chars().filter(|letter| !matches!(letter, '-' | ' '));
        let bytes: Vec<u8> = letters.map(read).collect::<Result<_, _>>()?;
        bytes.try_into().map(Self).map_err(|_| expected())
    }
}

impl Serialize for ReviewCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_read_as_people_write_it() {
        let code = ReviewCode::of_digest(&[0x5a; 32]);
        let text = code.to_string();
        assert_eq!(text.len(), 29);
        let zero = ReviewCode::of_digest(&[0; 32]);
        for (written, read) in [
            (text.clone(), code),
            (text.to_lowercase(), code),
            (text.replace('-', " "), code),
            (text.replace('-', ""), code),
            ("OOOOO-ooooo-00000-00000-00000".to_owned(), zero),
        ] {
            assert_eq!(written.parse(), Ok(read), "{written}");
        }
        for bad in ["", "7K3QX", &text[1..], &format!("{text}0"), &text.replacen(|_| true, "U", 1)] {
            assert!(bad.parse::<ReviewCode>().is_err(), "{bad}");
        }
    }

    #[test]
    fn every_bit_of_the_code_depends_on_the_digest() {
        for bit in 0..125 {
            let mut digest = [0; 32];
            digest[bit / 8] = 0x80 >> (bit % 8);
            assert_ne!(ReviewCode::of_digest(&digest), ReviewCode::of_digest(&[0; 32]), "{bit}");
        }
    }
}
