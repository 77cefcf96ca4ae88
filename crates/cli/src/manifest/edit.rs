//! Adds an annotation to the text of manifests, or removes one, and leaves every other byte unchanged.
//!
//! The outline of the text locates metadata and annotations. The new text is read again, and must equal the old one
//! apart from the annotation. If it does not, for example because two objects share an anchor, the documents are
//! rewritten.

use std::ops::Range;

use serde_json::{Value, json};
use writgate_core::encoding::{Outline, OutlineNode, read_yaml};

/// Position of an object: the index of its document, then of the item in each enclosing list.
pub(crate) type Path = [usize];

/// The text with the annotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Edited {
    /// Everything else is unchanged.
    InPlace(String),
    /// The objects are the same, but comments and layout are lost.
    Rewritten(String),
}

/// Sets annotation `key` of the objects at `paths` to `value`.
pub(crate) fn annotate(text: &str, paths: &[&Path], key: &str, value: &str) -> Result<Edited, String> {
    let mut documents = read_yaml(text).map_err(|error| error.to_string())?;
    for path in paths {
        set(&mut documents, path, key, value).ok_or("the object has no metadata to annotate")?;
    }
    Ok(Edited::checked(in_place(text, paths, key, value), &documents))
}

/// Removes annotation `key` of the object at `path`.
pub(crate) fn remove(text: &str, path: &Path, key: &str) -> Result<Edited, String> {
    let mut documents = read_yaml(text).map_err(|error| error.to_string())?;
    let annotations = object(&mut documents, path).and_then(|object| object.pointer_mut("/metadata/annotations"));
    let removed = annotations.and_then(|annotations| annotations.as_object_mut()?.remove(key));
    removed.ok_or("the object does not have the annotation")?;
    Ok(Edited::checked(removed_in_place(text, path, key), &documents))
}

impl Edited {
    /// `text` if it holds exactly `documents`, else the documents as JSON.
    fn checked(text: Option<String>, documents: &[Value]) -> Self {
        match text {
            Some(text) if read_yaml(&text).is_ok_and(|read| read == documents) => Self::InPlace(text),
            _ => {
                let written: Vec<String> = documents.iter().map(|document| format!("{document:#}\n")).collect();
                Self::Rewritten(written.join("---\n"))
            }
        }
    }
}

fn object<'a>(documents: &'a mut [Value], path: &Path) -> Option<&'a mut Value> {
    let (&document, items) = path.split_first()?;
    let mut object = documents.get_mut(document)?;
    for &item in items {
        object = object.get_mut("items")?.get_mut(item)?;
    }
    Some(object)
}

fn removed_in_place(text: &str, path: &Path, key: &str) -> Option<String> {
    let outline = Outline::parse(text);
    let annotations = outline.object(path)?.get("metadata")?.get("annotations")?;
    let entry = annotations.entry(key)?;
    let (before, after) = (text.get(..entry.start)?, text.get(entry.end..)?);
    if text.get(annotations.range()?.start..)?.starts_with('{') {
        if let Some(rest) = after.trim_start().strip_prefix(',') {
            return Some(format!("{before}{}", rest.trim_start()));
        }
        let before = before.trim_end();
        return Some(format!("{}{after}", before.strip_suffix(',').unwrap_or(before)));
    }
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let indent = before.get(line_start..)?;
    if !indent.trim().is_empty() {
        return None;
    }
    // The range of a block scalar may end before its lines, or where the next entry begins.
    let mut rest = text.get(text.get(..entry.end)?.trim_end().len()..)?.split_once('\n').map_or("", |(_, rest)| rest);
    while let Some((line, next)) = rest.split_once('\n') {
        let is_inside = line.len() - line.trim_start().len() > indent.len() && !line.trim_start().starts_with('#');
        if !is_inside {
            break;
        }
        rest = next;
    }
    Some(format!("{}{rest}", text.get(..line_start)?))
}

fn set(documents: &mut [Value], path: &Path, key: &str, value: &str) -> Option<()> {
    let annotations =
        object(documents, path)?.get_mut("metadata")?.as_object_mut()?.entry("annotations").or_insert(Value::Null);
    if annotations.is_null() {
        *annotations = json!({});
    }
    annotations.as_object_mut()?.insert(key.to_owned(), value.into());
    Some(())
}

fn in_place(text: &str, paths: &[&Path], key: &str, value: &str) -> Option<String> {
    let outline = Outline::parse(text);
    let mut edits = Vec::new();
    for path in paths {
        edits.push(Edit::of(text, outline.object(path)?.get("metadata")?, key, value)?);
    }
    edits.sort_by_key(|edit| edit.at.start);
    let mut edited = text.to_owned();
    for edit in edits.into_iter().rev() {
        edited.get(edit.at.clone())?;
        edited.replace_range(edit.at, &edit.insert);
    }
    Some(edited)
}

/// A replacement for a range of the text.
struct Edit {
    at: Range<usize>,
    insert: String,
}

impl Edit {
    fn of(text: &str, metadata: &OutlineNode, key: &str, value: &str) -> Option<Self> {
        let (json_key, json_value) = (Value::from(key).to_string(), Value::from(value).to_string());
        let Some(annotations) = metadata.get("annotations") else {
            let at = metadata.range()?.start;
            return Some(Self::first_entry(text, at, "annotations", &Nested { json_key, json_value, key, value }));
        };
        if annotations.is_null() {
            // Empty or null: `annotations:`, `annotations: null`.
            let flow = format!("{{{json_key}: {json_value}}}");
            let at = annotations.range()?;
            return if at.is_empty() {
                let colon = at.start + text.get(at.start..)?.find(':')? + 1;
                Some(Self { at: colon..colon, insert: format!(" {flow}") })
            } else {
                Some(Self { at, insert: flow })
            };
        }
        if let Some(old) = annotations.get(key) {
            let at = old.range()?;
            let quote = |quoted: &str| if quoted.starts_with('\'') { single_quoted(value) } else { json_value };
            return Some(Self { insert: quote(text.get(at.clone())?), at });
        }
        Some(Self::first_entry(text, annotations.range()?.start, key, &Scalar { json_value, value }))
    }

    /// Inserts an entry before the first one of the mapping at `at`, in the mapping's style.
    fn first_entry(text: &str, at: usize, key: &str, entry: &dyn YamlValue) -> Self {
        if let Some(inside) = text.get(at..).and_then(|rest| rest.strip_prefix('{')) {
            let more = if inside.trim_start().starts_with('}') { "" } else { ", " };
            let insert = format!("{}: {}{more}", Value::from(key), entry.flow());
            return Self { at: at + 1..at + 1, insert };
        }
        let newline = if text.contains("\r\n") { "\r\n" } else { "\n" };
        let line = text.get(..at).and_then(|before| before.rsplit('\n').next()).unwrap_or_default();
        let indent = " ".repeat(line.chars().count());
        let insert = format!("{key}:{}{newline}{indent}", entry.block(&indent, newline));
        Self { at: at..at, insert }
    }
}

/// A value in YAML's flow style and block style.
trait YamlValue {
    fn flow(&self) -> String;
    /// The text after the colon of a key that is indented by `indent`.
    fn block(&self, indent: &str, newline: &str) -> String;
}

struct Scalar<'a> {
    json_value: String,
    value: &'a str,
}

impl YamlValue for Scalar<'_> {
    fn flow(&self) -> String {
        self.json_value.clone()
    }

    fn block(&self, _: &str, _: &str) -> String {
        format!(" {}", single_quoted(self.value))
    }
}

struct Nested<'a> {
    json_key: String,
    json_value: String,
    key: &'a str,
    value: &'a str,
}

impl YamlValue for Nested<'_> {
    fn flow(&self) -> String {
        format!("{{{}: {}}}", self.json_key, self.json_value)
    }

    fn block(&self, indent: &str, newline: &str) -> String {
        format!("{newline}{indent}  {}: {}", self.key, single_quoted(self.value))
    }
}

/// Quotes a value in the only YAML style in which JSON needs no escapes.
pub(crate) fn single_quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const VALUE: &str = r#"{"keyid":"it's"}"#;

    fn annotated(text: &str, paths: &[&Path]) -> String {
        match annotate(text, paths, "x/a", VALUE) {
            Ok(Edited::InPlace(edited)) => edited,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn adds_an_annotation_and_changes_nothing_else() {
        let cases = [
            (
                "metadata: # é\n  name: a # b\n",
                "metadata: # é\n  annotations:\n    x/a: '{\"keyid\":\"it''s\"}'\n  name: a # b\n",
            ),
            (
                "metadata:\n  name: a\n  annotations:\n    # why\n    b: c\n",
                "metadata:\n  name: a\n  annotations:\n    # why\n    x/a: '{\"keyid\":\"it''s\"}'\n    b: c\n",
            ),
            (
                "metadata:\r\n    annotations:\r\n        b: c\r\n",
                "metadata:\r\n    annotations:\r\n        x/a: '{\"keyid\":\"it''s\"}'\r\n        b: c\r\n",
            ),
            (
                "metadata: {annotations: {b: c}}\n",
                "metadata: {annotations: {\"x/a\": \"{\\\"keyid\\\":\\\"it's\\\"}\", b: c}}\n",
            ),
            ("{\"metadata\": {}}", "{\"metadata\": {\"annotations\": {\"x/a\": \"{\\\"keyid\\\":\\\"it's\\\"}\"}}}"),
            (
                "metadata:\n  annotations:\n  name: a\n",
                "metadata:\n  annotations: {\"x/a\": \"{\\\"keyid\\\":\\\"it's\\\"}\"}\n  name: a\n",
            ),
            (
                "metadata:\n  annotations: ~\n",
                "metadata:\n  annotations: {\"x/a\": \"{\\\"keyid\\\":\\\"it's\\\"}\"}\n",
            ),
            (
                "metadata:\n  annotations:\n    x/a: old\n    b: c\n",
                "metadata:\n  annotations:\n    x/a: \"{\\\"keyid\\\":\\\"it's\\\"}\"\n    b: c\n",
            ),
        ];
        for (before, after) in cases {
            assert_eq!(annotated(before, &[&[0]]), after);
            assert_eq!(annotated(after, &[&[0]]), after);
        }
    }

    #[test]
    fn removes_an_annotation_and_changes_nothing_else() {
        let cases = [
            (
                "metadata:\n  annotations:\n    # why\n    x/a: 'old' # once\n    b: c # d\n",
                "metadata:\n  annotations:\n    # why\n    b: c # d\n",
            ),
            (
                "metadata:\r\n  annotations:\r\n    b: c\r\n    x/a: old\r\n",
                "metadata:\r\n  annotations:\r\n    b: c\r\n",
            ),
            (
                "metadata:\n  annotations:\n    x/a: |\n      {\n      }\n    b: c\n",
                "metadata:\n  annotations:\n    b: c\n",
            ),
            ("metadata: {annotations: {x/a: old, b: c}}\n", "metadata: {annotations: {b: c}}\n"),
            ("metadata: {annotations: {b: c, x/a: old}}\n", "metadata: {annotations: {b: c}}\n"),
            (
                "{\"metadata\": {\"annotations\": {\n  \"b\": \"c\",\n  \"x/a\": \"old\"\n}}}",
                "{\"metadata\": {\"annotations\": {\n  \"b\": \"c\"\n}}}",
            ),
        ];
        for (before, after) in cases {
            assert_eq!(remove(before, &[0], "x/a"), Ok(Edited::InPlace(after.to_owned())), "{before}");
        }
        assert!(remove("metadata: {annotations: {b: c}}", &[0], "x/a").is_err());
    }

    #[test]
    fn finds_objects_of_lists_and_of_later_documents() {
        let text = "---\n# none\n---\nkind: List\nitems:\n- metadata:\n    name: a\n- metadata: {name: b}\n---\nmetadata:\n  name: c\n";
        let expected = "---\n# none\n---\nkind: List\nitems:\n- metadata:\n    name: a\n- metadata: {\"annotations\": {\"x/a\": \"{\\\"keyid\\\":\\\"it's\\\"}\"}, name: b}\n---\nmetadata:\n  annotations:\n    x/a: '{\"keyid\":\"it''s\"}'\n  name: c\n";
        assert_eq!(annotated(text, &[&[1], &[0, 1]]), expected);
    }

    #[test]
    fn rewrites_metadata_that_two_objects_share() {
        let text = "kind: List\nitems:\n- metadata: &m {name: a}\n- metadata: *m\n";
        let Ok(Edited::Rewritten(rewritten)) = annotate(text, &[&[0, 0]], "x/a", VALUE) else { panic!("in place") };
        let documents = read_yaml(&rewritten).unwrap();
        assert_eq!(documents[0]["items"][0]["metadata"]["annotations"]["x/a"], VALUE);
        assert_eq!(documents[0]["items"][1]["metadata"].get("annotations"), None);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(metadata|annotations|items|[-: {}\\[\\]'\"|>&*!#a\n]){0,40}", document in 0usize..2) {
            let _ = annotate(&text, &[&[document]], "x/a", VALUE);
            let _ = remove(&text, &[document], "annotations");
        }
    }
}
