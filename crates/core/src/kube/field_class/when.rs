//! Which values of a field are unusual, as predicates about a value and its live counterpart.

use serde_json::Value;

use super::values;
use crate::kube::image;

/// The values that are unusual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// Any value, also none.
    Any,
    /// Any value but null, false, and empty ones.
    Set,
    True,
    False,
    Zero,
    NonZero,
    /// One of these texts, or a list that contains one of them.
    Is(&'static [&'static str]),
    /// Another text than these, or a list that contains another one.
    Not(&'static [&'static str]),
    /// A text that begins with one of these.
    Begins(&'static [&'static str]),
    /// A text that ends with one of these. A slash at the end of the text does not count.
    Ends(&'static [&'static str]),
    /// A path that is one of the first or below one of them, or that is one of the second.
    Below(&'static [&'static str], &'static [&'static str]),
    /// A map's key, or the name of a list's item, matches one of these patterns.
    Key(&'static [values::Pattern]),
    /// A map's key matches one of these patterns, and its text begins with none of the others.
    KeyBut(&'static [values::Pattern], &'static [&'static str]),
    /// A map's key is the name of a resource that is not Kubernetes' own.
    ExtendedResource,
    /// A toleration of the control plane's taints, or of all taints.
    ToleratesControlPlane,
    /// A requirement of node affinity that selects nodes of the control plane, or single nodes.
    SelectsSpecialNodes,
    /// The live value had this property, and the new one does not.
    Lost(&'static When),
    /// An item of the live list that the new list does not have.
    Removed,
    /// An image without a tag and a digest, or with the tag `latest`.
    LatestImage,
    /// An image with another tag, and without a digest.
    TaggedImage,
    /// An image of another registry than the live one.
    OtherRegistry,
    /// An image with another tag than the live one, and with the same digest.
    OtherTag,
    /// An image with another digest than the live one, and with the same tag.
    OtherDigest,
}

/// A value and its live counterpart.
#[derive(Clone, Copy)]
pub(super) struct Pair<'a> {
    pub(super) new: &'a Value,
    pub(super) live: Option<&'a Value>,
    /// Whether the object that contains the value has a live counterpart.
    pub(super) has_live_parent: bool,
}

impl When {
    /// Whether the value is unusual. `key` is the key of the map or the name of the item.
    pub(super) fn holds(self, key: Option<&str>, pair: Pair<'_>) -> bool {
        let Pair { new, live, .. } = pair;
        let text = new.as_str().unwrap_or_default();
        let live_text = live.and_then(Value::as_str);
        match self {
            Self::Any => true,
            Self::Set => is_set(new),
            Self::True => new.as_bool() == Some(true),
            Self::False => new.as_bool() == Some(false),
            Self::Zero => new.as_i64() == Some(0),
            Self::NonZero => new.as_i64().is_some_and(|number| number != 0),
            Self::Is(texts) => any_text(new, |text| texts.contains(&text)),
            Self::Not(texts) => any_text(new, |text| !text.is_empty() && !texts.contains(&text)),
            Self::Begins(texts) => texts.iter().any(|start| text.starts_with(start)),
            Self::Ends(texts) => texts.iter().any(|end| text.trim_end_matches('/').ends_with(end)),
            Self::Below(paths, folders) => {
                let text = plain_path(text);
                let is_in = |outer: &&str| {
                    text.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
                };
                !new.is_null() && (paths.iter().any(is_in) || folders.iter().any(|folder| plain_path(folder) == text))
            }
            Self::Key(patterns) => key.is_some_and(|key| values::find(patterns, key).is_some()),
            Self::KeyBut(patterns, but) => {
                let listed = key.is_some_and(|key| values::find(patterns, key).is_some());
                listed && !text.is_empty() && !but.iter().any(|start| text.starts_with(start))
            }
            Self::ExtendedResource => key.is_some_and(values::is_extended_resource),
            Self::ToleratesControlPlane => tolerates_control_plane(new),
            Self::SelectsSpecialNodes => selects_special_nodes(new),
            Self::Lost(property) => {
                let live = live.map(|live| Pair { new: live, live: None, has_live_parent: false });
                live.is_some_and(|live| property.holds(key, live)) && !property.holds(key, pair)
            }
            Self::Removed => live.is_some_and(|live| std::ptr::eq(live, new)),
            Self::LatestImage => is_latest(text),
            Self::TaggedImage => !is_latest(text) && !is_pinned(text),
            Self::OtherRegistry => live_text.is_some_and(|live| image::registry(live) != image::registry(text)),
            Self::OtherTag => live_text.is_some_and(|live| {
                let (old, new) = (image::tag_and_digest(live), image::tag_and_digest(text));
                new.1.is_some() && old.1 == new.1 && old.0 != new.0
            }),
            Self::OtherDigest => live_text.is_some_and(|live| {
                let (old, new) = (image::tag_and_digest(live), image::tag_and_digest(text));
                new.0.is_some() && old.0 == new.0 && old.1.is_some() && old.1 != new.1
            }),
        }
    }
}

fn is_pinned(image: &str) -> bool {
    image::pinned(image).is_some()
}

fn is_latest(image: &str) -> bool {
    !is_pinned(image) && matches!(image::tag_and_digest(image).0, None | Some("latest"))
}

fn is_set(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(set) => *set,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        // A volume source such as `persistentVolumeClaim: {}` has an effect.
        Value::Number(_) | Value::Object(_) => true,
    }
}

fn any_text(value: &Value, is: impl Fn(&str) -> bool) -> bool {
    match value {
        Value::String(text) => is(text),
        Value::Array(items) => items.iter().filter_map(Value::as_str).any(is),
        _ => false,
    }
}

fn tolerates_control_plane(toleration: &Value) -> bool {
    let text = |field: &str| toleration.get(field).and_then(Value::as_str).unwrap_or_default();
    let key = text("key");
    values::CONTROL_PLANE.contains(&key) || (key.is_empty() && text("operator") == "Exists")
}

fn selects_special_nodes(requirement: &Value) -> bool {
    let text = |field: &str| requirement.get(field).and_then(Value::as_str).unwrap_or_default();
    // The only field of a node is its name.
    let is_special = |key: &str| key == "metadata.name" || values::find(values::CONTROL_PLANE_LABELS, key).is_some();
    is_special(text("key")) && !matches!(text("operator"), "NotIn" | "DoesNotExist")
}

/// A path without `.`, `..` and empty parts, as the kernel resolves it without links: `/etc` of `/srv/..//etc/.`, and
/// an empty text of the root.
fn plain_path(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.iter().flat_map(|part| ["/", *part]).collect()
}
