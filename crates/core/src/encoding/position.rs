//! The line and column of a field in a YAML text, found by a path such as `actions.deploy.quorum[0].count`.
//!
//! Reading with positions costs more than reading values, so a text is read this way only to report a problem in it.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::{Location, Spanned};

/// The documents of a YAML text, as trees of positions.
pub(crate) struct SourcePositions(Vec<Spanned<PositionNode>>);

impl SourcePositions {
    /// Reads `text`. A text that cannot be parsed has no positions.
    pub(crate) fn parse(text: &str) -> Self {
        Self(serde_saphyr::from_multiple(text).unwrap_or_default())
    }

    /// The line and column, counted from 1, of `path` in the document with this index.
    ///
    /// A field is at its name, and an item of a list is at its first character. For a path that does not exist, the
    /// result is the position of its closest ancestor. `None`: the document does not exist or has no positions.
    pub(crate) fn find(&self, document: usize, path: &str) -> Option<(u64, u64)> {
        let Spanned { value, referenced, .. } = self.0.get(document)?;
        let (mut node, mut at, mut rest) = (value, *referenced, path);
        while let Some((inner, begins, left)) = node.step(rest) {
            (node, at, rest) = (inner, begins, left);
        }
        // The reader marks an unknown position with line 0.
        if at.line() > 0 { Some((at.line(), at.column())) } else { None }
    }
}

/// A value with the positions of its members. A scalar has none, since no path leads into it.
enum PositionNode {
    Mapping(Vec<(Spanned<Key>, PositionNode)>),
    Sequence(Vec<Spanned<PositionNode>>),
    Scalar,
}

impl PositionNode {
    /// The member that the beginning of `path` names, its position, and the rest of the path.
    fn step<'p>(&self, path: &'p str) -> Option<(&Self, Location, &'p str)> {
        match self {
            Self::Mapping(members) => {
                let path = path.strip_prefix('.').unwrap_or(path);
                let named = members.iter().filter_map(|(key, value)| {
                    let left = path.strip_prefix(key.value.0.as_str())?;
                    let ends = left.is_empty() || left.starts_with(['.', '[']);
                    (ends && !path.is_empty()).then_some((value, key.referenced, left))
                });
                // A name may contain a dot. If both `a` and `a.b` are members, the longer name wins.
                named.min_by_key(|(_, _, left)| left.len())
            }
            Self::Sequence(items) => {
                let (index, left) = path.strip_prefix('[')?.split_once(']')?;
                let item = items.get(index.parse::<usize>().ok()?)?;
                Some((&item.value, item.referenced, left))
            }
            Self::Scalar => None,
        }
    }
}

/// A mapping's key, as paths write it.
struct Key(String);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}

impl<'de> Deserialize<'de> for PositionNode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PositionNodeVisitor(PhantomData))
    }
}

struct PositionNodeVisitor(PhantomData<PositionNode>);

impl<'de> Visitor<'de> for PositionNodeVisitor {
    type Value = PositionNode;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<PositionNode, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(PositionNode::Mapping(members))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<PositionNode, A::Error> {
        let mut sequence = Vec::new();
        while let Some(item) = items.next_element()? {
            sequence.push(item);
        }
        Ok(PositionNode::Sequence(sequence))
    }

    fn visit_unit<E: de::Error>(self) -> Result<PositionNode, E> {
        Ok(PositionNode::Scalar)
    }

    fn visit_none<E: de::Error>(self) -> Result<PositionNode, E> {
        Ok(PositionNode::Scalar)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<PositionNode, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| PositionNode::Scalar)
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<PositionNode, E> {
        Ok(PositionNode::Scalar)
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<PositionNode, E> {
        Ok(PositionNode::Scalar)
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<PositionNode, E> {
        Ok(PositionNode::Scalar)
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<PositionNode, E> {
        Ok(PositionNode::Scalar)
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<PositionNode, E> {
        Ok(PositionNode::Scalar)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn position(text: &str, document: usize, path: &str) -> Option<(u64, u64)> {
        SourcePositions::parse(text).find(document, path)
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
