//! Where in a YAML text a field is, for messages about it: a path such as `actions.deploy.quorum[0].count` to line
//! and column.
//!
//! The text is read again, with positions, and only where something is wrong in it. Called by `posture_set`.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::{Location, Spanned};

/// The documents of a text, as far as positions go.
pub(crate) struct Positions(Vec<Spanned<Node>>);

impl Positions {
    /// Reads `text`; what cannot be read has no positions.
    pub(crate) fn of(text: &str) -> Self {
        Self(serde_saphyr::from_multiple(text).unwrap_or_default())
    }

    /// Line and column, counted from 1, of `path` in the document of this index: a field at its name, an item where
    /// it begins. What is not there is where it would belong; `None` where not even that can be told.
    pub(crate) fn find(&self, document: usize, path: &str) -> Option<(u64, u64)> {
        let Spanned { value, referenced, .. } = self.0.get(document)?;
        let (mut node, mut at, mut rest) = (value, *referenced, path);
        while let Some((inner, begins, left)) = node.step(rest) {
            (node, at, rest) = (inner, begins, left);
        }
        Some((at.line(), at.column())).filter(|&(line, _)| line > 0)
    }
}

/// A value, as far as paths lead into it.
enum Node {
    Mapping(Vec<(Spanned<Key>, Node)>),
    Sequence(Vec<Spanned<Node>>),
    Scalar,
}

impl Node {
    /// The first member that `path` names, where it begins, and what is left of the path.
    fn step<'p>(&self, path: &'p str) -> Option<(&Self, Location, &'p str)> {
        match self {
            Self::Mapping(members) => {
                let path = path.strip_prefix('.').unwrap_or(path);
                let named = members.iter().filter_map(|(key, value)| {
                    let left = path.strip_prefix(key.value.0.as_str())?;
                    let ends = left.is_empty() || left.starts_with(['.', '[']);
                    (ends && !path.is_empty()).then_some((value, key.referenced, left))
                });
                // A name may hold a dot, so that of `a` and `a.b` the longer one is meant.
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

/// A mapping's key as paths write it.
struct Key(String);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor(PhantomData))
    }
}

struct NodeVisitor(PhantomData<Node>);

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Node::Mapping(members))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut sequence = Vec::new();
        while let Some(item) = items.next_element()? {
            sequence.push(item);
        }
        Ok(Node::Sequence(sequence))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_none<E: de::Error>(self) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Node::Scalar)
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<Node, E> {
        Ok(Node::Scalar)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn position(text: &str, document: usize, path: &str) -> Option<(u64, u64)> {
        Positions::of(text).find(document, path)
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
    fn fields_are_found_at_their_names_and_items_where_they_begin() {
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
    fn what_is_not_there_is_where_it_would_belong() {
        assert_eq!(position(TEXT, 0, "actions.deploy.maxLifetime"), Some((4, 3)));
        assert_eq!(position(TEXT, 0, "actions.deploy.quorum[7].count"), Some((5, 5)));
        assert_eq!(position(TEXT, 0, "kin"), Some((2, 1)), "the document");
        assert_eq!(position(TEXT, 2, "kind"), None);
        assert_eq!(position("a: [", 0, "a"), None);
    }

    proptest! {
        #[test]
        fn no_text_and_no_path_panics(text in "[a:\\[\\]{}\n -]{0,30}", path in "[a.\\[\\]0-9]{0,12}") {
            let _ = position(&text, 0, &path);
        }
    }
}
