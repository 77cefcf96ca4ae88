//! The outline of a YAML text: where each value is written, by line and column and by bytes.
//!
//! Reading an outline costs more than reading values, so a text is read this way only to report a problem in it or to
//! edit it.

use std::{fmt, ops::Range};

use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::{Location, Spanned};

/// The documents of a YAML text, each as a tree of nodes.
#[derive(Clone, Debug, Default)]
pub struct Outline(Vec<OutlineNode>);

impl Outline {
    /// Reads `text`. The outline of a text that cannot be parsed has no documents.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Self(serde_saphyr::from_multiple(text).unwrap_or_default())
    }

    /// The documents. Empty documents are skipped.
    #[must_use]
    pub fn documents(&self) -> &[OutlineNode] {
        &self.0
    }

    /// The object at a path of indices: of its document, then of the item in each enclosing List.
    #[must_use]
    pub fn object(&self, path: &[usize]) -> Option<&OutlineNode> {
        let (&document, items) = path.split_first()?;
        let mut object = self.0.get(document)?;
        for &item in items {
            object = object.get("items")?.items().get(item)?;
        }
        Some(object)
    }

    /// The line and column, counted from 1, of `path` in the document with this index. A path is written like
    /// `actions.deploy.quorum[0].count`.
    ///
    /// A field is at its name, and an item of a list is at its first character. For a path that does not exist, the
    /// result is the position of its closest ancestor. `None`: the document does not exist or has no positions.
    #[must_use]
    pub fn position(&self, document: usize, path: &str) -> Option<(u64, u64)> {
        let mut node = self.0.get(document)?;
        let (mut location, mut rest) = (node.0.referenced, path);
        while let Some((inner, begins, left)) = node.step(rest) {
            (node, location, rest) = (inner, begins, left);
        }
        position(location)
    }
}

/// A value of a YAML text.
#[derive(Clone, Debug)]
pub struct OutlineNode(Spanned<Content>);

#[derive(Clone, Debug)]
enum Content {
    Mapping(Vec<(Spanned<Key>, OutlineNode)>),
    Sequence(Vec<OutlineNode>),
    Scalar,
    Null,
}

impl OutlineNode {
    /// The value of a key, if this is a mapping with the key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        match &self.0.value {
            Content::Mapping(members) => members.iter().find(|(name, _)| name.value.0 == key).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The bytes of the text that hold a key and its value; `None` as for [`OutlineNode::range`].
    #[must_use]
    pub fn entry(&self, key: &str) -> Option<Range<usize>> {
        let Content::Mapping(members) = &self.0.value else { return None };
        let (name, value) = members.iter().find(|(name, _)| name.value.0 == key)?;
        Some(range(name.referenced)?.start..value.range()?.end)
    }

    /// The items of a list; none if this is not a list.
    #[must_use]
    pub fn items(&self) -> &[Self] {
        match &self.0.value {
            Content::Sequence(items) => items,
            _ => &[],
        }
    }

    /// Whether the value is null, or nothing is written at all.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self.0.value, Content::Null)
    }

    /// The line on which the value begins, counted from 1; `None` if it is unknown.
    #[must_use]
    pub fn line(&self) -> Option<u64> {
        position(self.0.referenced).map(|(line, _)| line)
    }

    /// The bytes of the text that hold the value; `None` for an alias, and if they are unknown.
    ///
    /// A mapping or list begins at its first entry, or at its bracket. Its end is not the end of its last entry.
    #[must_use]
    pub fn range(&self) -> Option<Range<usize>> {
        if self.0.referenced == self.0.defined { range(self.0.referenced) } else { None }
    }

    /// The member that the beginning of `path` names, its position, and the rest of the path.
    fn step<'p>(&self, path: &'p str) -> Option<(&Self, Location, &'p str)> {
        match &self.0.value {
            Content::Mapping(members) => {
                let path = path.strip_prefix('.').unwrap_or(path);
                let named = members.iter().filter_map(|(key, value)| {
                    let left = path.strip_prefix(key.value.0.as_str())?;
                    let ends = left.is_empty() || left.starts_with(['.', '[']);
                    (ends && !path.is_empty()).then_some((value, key.referenced, left))
                });
                // A name may contain a dot. If both `a` and `a.b` are members, the longer name wins.
                named.min_by_key(|(_, _, left)| left.len())
            }
            Content::Sequence(items) => {
                let (index, left) = path.strip_prefix('[')?.split_once(']')?;
                let item = items.get(index.parse::<usize>().ok()?)?;
                Some((item, item.0.referenced, left))
            }
            Content::Scalar | Content::Null => None,
        }
    }
}

fn range(location: Location) -> Option<Range<usize>> {
    let span = location.span();
    let start = usize::try_from(span.byte_offset()?).ok()?;
    Some(start..start + usize::try_from(span.byte_len()?).ok()?)
}

/// The reader marks an unknown position with line 0.
fn position(location: Location) -> Option<(u64, u64)> {
    if location.line() > 0 { Some((location.line(), location.column())) } else { None }
}

/// A mapping's key, as paths write it.
#[derive(Clone, Debug)]
struct Key(String);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}

impl<'de> Deserialize<'de> for OutlineNode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Spanned::deserialize(deserializer).map(Self)
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Content, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Content::Mapping(members))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Content, A::Error> {
        let mut sequence = Vec::new();
        while let Some(item) = items.next_element()? {
            sequence.push(item);
        }
        Ok(Content::Sequence(sequence))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Content, E> {
        Ok(Content::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Content, E> {
        Ok(Content::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Content, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Content::Scalar)
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Content, E> {
        Ok(Content::Scalar)
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Content, E> {
        Ok(Content::Scalar)
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Content, E> {
        Ok(Content::Scalar)
    }

    fn visit_i128<E: de::Error>(self, _: i128) -> Result<Content, E> {
        Ok(Content::Scalar)
    }

    fn visit_u128<E: de::Error>(self, _: u128) -> Result<Content, E> {
        Ok(Content::Scalar)
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Content, E> {
        Ok(Content::Scalar)
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<Content, E> {
        Ok(Content::Scalar)
    }

    fn visit_bytes<E: de::Error>(self, _: &[u8]) -> Result<Content, E> {
        Ok(Content::Scalar)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn position(text: &str, document: usize, path: &str) -> Option<(u64, u64)> {
        Outline::parse(text).position(document, path)
    }

    const TEXT: &str = "\
# a comment
kind: Posture
actions:
  deploy:
    quorum:
      - {group: sre, count: 0}
      - count: -1
namespaces: {a.b: c, a: d}
---
kind: Other
";

    #[test]
    fn finds_a_field_at_its_name_and_an_item_at_its_beginning() {
        for (path, expected) in [
            ("kind", (2, 1)),
            ("actions.deploy", (4, 3)),
            ("actions.deploy.quorum[0]", (6, 9)),
            ("actions.deploy.quorum[0].count", (6, 22)),
            ("actions.deploy.quorum[1].count", (7, 9)),
            ("namespaces.a.b", (8, 14)),
            ("namespaces.a", (8, 22)),
        ] {
            assert_eq!(position(TEXT, 0, path), Some(expected), "{path}");
        }
        assert_eq!(position(TEXT, 1, "kind"), Some((10, 1)));
        assert_eq!(position(r#"{"a": [1, {"b": 2}]}"#, 0, "a[1].b"), Some((1, 12)));
    }

    #[test]
    fn a_missing_field_has_the_position_of_its_closest_ancestor() {
        assert_eq!(position(TEXT, 0, "actions.deploy.maxLifetime"), Some((4, 3)));
        assert_eq!(position(TEXT, 0, "actions.deploy.quorum[7].count"), Some((5, 5)));
        assert_eq!(position(TEXT, 0, "kin"), Some((2, 1)), "falls back to the document");
        assert_eq!(position(TEXT, 2, "kind"), None);
        assert_eq!(position("a: [", 0, "a"), None);
    }

    proptest! {
        #[test]
        fn never_panics_for_any_text_and_path(text in "[a:\\[\\]{}\n -]{0,30}", path in "[a.\\[\\]0-9]{0,12}") {
            let _ = position(&text, 0, &path);
        }
    }
}
