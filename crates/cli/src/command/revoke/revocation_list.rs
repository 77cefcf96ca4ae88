//! Adds an entry to the text of a list of revocations and leaves every other byte unchanged.
//!
//! The outline of the text locates the lists. The new text is read again, and must equal the old one apart from the
//! entry.

use serde_json::{Value, json};
use writgate_core::{
    encoding::{Outline, OutlineNode, read_yaml},
    vocabulary::KIND_LABEL,
};

/// The key of a ConfigMap that contains a list, and the value of its label.
pub(crate) const KEY: &str = "revocations.yaml";
pub(crate) const KIND: &str = "revocations";

/// An entry of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RevocationEntry {
    /// `approvals`, `keys` or `specs`
    pub(crate) list: &'static str,
    /// Its id or hash.
    pub(crate) id: String,
    /// RFC 3339; none means immediately.
    pub(crate) at: Option<String>,
    pub(crate) why: String,
}

impl RevocationEntry {
    /// The field that identifies the entry.
    fn field(&self) -> &'static str {
        if self.list == "specs" { "hash" } else { "id" }
    }

    fn value(&self) -> Value {
        let mut value = json!({self.field(): self.id, "why": self.why});
        if let Some(at) = &self.at {
            value["at"] = at.clone().into();
        }
        value
    }

    /// Whether `document` contains this id already, whatever its time and reason.
    pub(crate) fn is_in(&self, document: &Value) -> bool {
        let entries = document.get(self.list).and_then(Value::as_array).into_iter().flatten();
        entries.filter_map(|entry| entry.get(self.field())).any(|id| *id == *self.id)
    }

    /// A mapping on one line. Its strings are JSON strings, which YAML never takes for numbers.
    fn flow(&self, as_json: bool) -> String {
        let fields = [(self.field(), Some(&self.id)), ("at", self.at.as_ref()), ("why", Some(&self.why))];
        let quote = |name: &str| if as_json { Value::from(name).to_string() } else { name.to_owned() };
        let fields = fields.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let fields: Vec<String> =
            fields.map(|(name, value)| format!("{}: {}", quote(name), Value::from(&**value))).collect();
        format!("{{{}}}", fields.join(", "))
    }
}

/// A document of revocations in a text.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RevocationDocument {
    /// Its name; none for the text in a ConfigMap, since the ConfigMap has the name.
    pub(crate) name: Option<String>,
    /// The document itself.
    pub(crate) document: Value,
    /// Its index among the text's documents.
    index: usize,
    /// Whether it is inside a ConfigMap.
    wrapped: bool,
}

impl RevocationDocument {
    /// Whether `other` is at the same position of its text.
    pub(crate) fn is_at(&self, other: &Self) -> bool {
        self.index == other.index
    }
}

/// Every list in `text`; none if the text cannot be read.
pub(crate) fn lists(text: &str) -> Vec<RevocationDocument> {
    let documents = read_yaml(text).unwrap_or_default();
    documents.into_iter().enumerate().filter_map(|(index, document)| list(index, document)).collect()
}

fn list(index: usize, document: Value) -> Option<RevocationDocument> {
    let text = |value: &Value, pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    match document.get("kind")?.as_str()? {
        "Revocations" => Some(RevocationDocument { name: text(&document, "/name"), document, index, wrapped: false }),
        "ConfigMap" if document.pointer("/metadata/labels")?.get(KIND_LABEL)? == KIND => {
            let inner = read_yaml(document.pointer("/data")?.get(KEY)?.as_str()?).ok()?.pop()?;
            Some(RevocationDocument { name: text(&document, "/metadata/name"), document: inner, index, wrapped: true })
        }
        _ => None,
    }
}

/// Adds the entry at the end of `list`, or at the beginning of a list in brackets. The error says what to add by hand.
pub(crate) fn append(text: &str, list: &RevocationDocument, entry: &RevocationEntry) -> Result<String, String> {
    let by_hand =
        || format!("the layout of the list allows no insertion; add to {} by hand: {}", entry.list, entry.flow(false));
    let edited = if list.wrapped { in_config_map(text, list, entry) } else { in_document(text, list.index, entry) };
    let edited = edited.ok_or_else(by_hand)?;
    let (Ok(mut before), Ok(mut after)) = (read_yaml(text), read_yaml(&edited)) else { return Err(by_hand()) };
    let held = lists(&edited).into_iter().find(|other| other.index == list.index).ok_or_else(by_hand)?;
    // The list must be the old one with the entry, and nothing else may differ.
    for documents in [&mut before, &mut after] {
        match documents.get_mut(list.index) {
            Some(config_map) if list.wrapped => config_map["data"][KEY].take(),
            Some(document) => document.take(),
            None => return Err(by_hand()),
        };
    }
    if is_with(&held.document, &list.document, entry) && before == after { Ok(edited) } else { Err(by_hand()) }
}

/// Whether `after` is `before` with the entry at one end of its list.
fn is_with(after: &Value, before: &Value, entry: &RevocationEntry) -> bool {
    let with = |first: bool| {
        let mut document = before.clone();
        match document.get_mut(entry.list).and_then(Value::as_array_mut) {
            Some(entries) if first => entries.insert(0, entry.value()),
            Some(entries) => entries.push(entry.value()),
            None => document[entry.list] = json!([entry.value()]),
        }
        document
    };
    *after == with(false) || *after == with(true)
}

fn in_document(text: &str, index: usize, entry: &RevocationEntry) -> Option<String> {
    let outline = Outline::parse(text);
    let alone = outline.documents().len() == 1;
    let as_json = text.trim_start().starts_with('{');
    let newline = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let is_written = |list: &&OutlineNode| !list.is_null();
    let put = |at: std::ops::Range<usize>, insert: &str| {
        let mut edited = text.to_owned();
        edited.get(at.clone())?;
        edited.replace_range(at, insert);
        Some(edited)
    };
    let Some(list) = outline.documents().get(index)?.get(entry.list).filter(is_written) else {
        if as_json {
            let open = text.find('{')? + 1;
            return put(open..open, &format!("\"{}\": [{}], ", entry.list, entry.flow(true)));
        }
        let end = text.trim_end().len();
        let lines = format!("{newline}{}:{newline}  - {}{newline}", entry.list, entry.flow(false));
        return if alone { put(end..text.len(), &lines) } else { None };
    };
    let at = list.range()?;
    let is_flow = text.get(at.clone())?.starts_with('[');
    let Some(newest) = list.items().last() else {
        let end = at.start + text.get(at.start..)?.find(']')? + 1;
        if as_json {
            return put(at.start..end, &format!("[{}]", entry.flow(true)));
        }
        let indent: String = line_of(text, at.start).chars().take_while(|char| *char == ' ').collect();
        let start = text.get(..at.start)?.trim_end_matches(' ').len();
        return put(start..end, &format!("{newline}{indent}  - {}", entry.flow(false)));
    };
    if is_flow {
        // The reader does not say where the list ends, so the entry goes first.
        return put(at.start + 1..at.start + 1, &format!("{}, ", entry.flow(as_json)));
    }
    let (indent, _) = line_of(text, newest.range()?.start).split_once('-')?;
    let end = end_of_item(text, newest.range()?.start, indent.len());
    put(end..end, &format!("{newline}{indent}- {}", entry.flow(false)))
}

/// Where the item that begins at `start` ends: after the last line that is indented deeper than its dash.
fn end_of_item(text: &str, start: usize, depth: usize) -> usize {
    let mut end = start;
    let mut at = start;
    for line in text.get(start..).unwrap_or_default().split_inclusive('\n') {
        let content = line.trim_end();
        let own = content.len() - content.trim_start_matches(' ').len();
        if at > start && !content.is_empty() && own <= depth {
            break;
        }
        if !content.is_empty() {
            end = at + content.len();
        }
        at += line.len();
    }
    end
}

fn line_of(text: &str, at: usize) -> &str {
    text.get(..at).and_then(|before| before.rsplit('\n').next()).unwrap_or_default()
}

/// The same inside a ConfigMap's literal block (`revocations.yaml: |`), the only style that people use.
fn in_config_map(text: &str, list: &RevocationDocument, entry: &RevocationEntry) -> Option<String> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let is_key = |line: &&str| line.trim().trim_start_matches(KEY).trim_start_matches(':').trim().starts_with('|');
    let mut keys = (0..lines.len())
        .filter(|&index| lines.get(index).is_some_and(|line| line.trim().starts_with(KEY) && is_key(line)));
    // The reader does not say which of several blocks is which.
    let (key, None) = (keys.next()?, keys.next()) else { return None };
    let depth = |line: &str| line.len() - line.trim_start_matches(' ').len();
    let own = depth(lines.get(key)?);
    let inside = |line: &&&str| line.trim().is_empty() || depth(line) > own;
    let block: Vec<&str> = lines.get(key + 1..)?.iter().take_while(inside).copied().collect();
    let indent = block.iter().find(|line| !line.trim().is_empty()).map(|line| depth(line))?;
    let inner: String = block.iter().map(|line| line.get(indent..).unwrap_or("\n")).collect();
    let inner_list = RevocationDocument { name: None, document: list.document.clone(), index: 0, wrapped: false };
    let edited = append(&inner, &inner_list, entry).ok()?;
    let margin = " ".repeat(indent);
    let block_after: String = edited
        .split_inclusive('\n')
        .map(|line| if line.trim().is_empty() { line.to_owned() } else { format!("{margin}{line}") })
        .collect();
    let (before, after) = (lines.get(..=key)?.concat(), lines.get(key + 1 + block.len()..)?.concat());
    Some(before + &block_after + &after)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEAD: &str = "apiVersion: writgate.dev/v1\nkind: Revocations\n";

    fn entry() -> RevocationEntry {
        RevocationEntry { list: "keys", id: "5e10".to_owned(), at: None, why: "lost: \"laptop\"".to_owned() }
    }

    #[track_caller]
    fn appended(text: &str) -> String {
        let list = lists(text).pop().unwrap();
        append(text, &list, &entry()).unwrap()
    }

    const FLOW: &str = r#"{id: "5e10", why: "lost: \"laptop\""}"#;

    #[test]
    fn adds_an_entry_at_the_end_and_changes_nothing_else() {
        let cases = [
            ("keys: [] # none\nspecs: []\n", "keys:\n  - ENTRY # none\nspecs: []\n"),
            (
                "keys:\n  # why\n  - {id: a}\n\n# end\nspecs: []\n",
                "keys:\n  # why\n  - {id: a}\n  - ENTRY\n\n# end\nspecs: []\n",
            ),
            ("keys:\n- id: a\n  why: b # c\nspecs: []\n", "keys:\n- id: a\n  why: b # c\n- ENTRY\nspecs: []\n"),
            ("keys: [{id: a}]\n", "keys: [ENTRY, {id: a}]\n"),
            ("specs: []\n", "specs: []\nkeys:\n  - ENTRY\n"),
            ("keys:\n  - id: a\n    why: b", "keys:\n  - id: a\n    why: b\n  - ENTRY"),
        ];
        for (before, after) in cases {
            assert_eq!(
                appended(&format!("{HEAD}{before}")),
                format!("{HEAD}{}", after.replace("ENTRY", FLOW)),
                "{before}"
            );
        }
    }

    #[test]
    fn json_stays_json_and_a_config_map_keeps_its_block() {
        let json = appended(r#"{"kind": "Revocations", "specs": []}"#);
        assert!(serde_json::from_str::<Value>(&json).unwrap()["keys"][0]["id"] == "5e10", "{json}");
        let map = |list: &str| {
            format!(
                "kind: ConfigMap\nmetadata:\n  name: a # b\n  labels: {{writgate.dev/kind: revocations}}\ndata:\n  revocations.yaml: |\n    kind: Revocations\n\n    {list}\n# end\n"
            )
        };
        assert_eq!(appended(&map("keys: []")), map(&format!("keys:\n      - {FLOW}")));
    }

    #[test]
    fn edits_one_of_several_documents() {
        let text = format!("{HEAD}name: a\nkeys: []\n---\n{HEAD}name: b\nkeys: []\n");
        let second = lists(&text).pop().unwrap();
        assert_eq!(second.name.as_deref(), Some("b"));
        let edited = append(&text, &second, &entry()).unwrap();
        assert!(edited.ends_with(&format!("name: b\nkeys:\n  - {FLOW}\n")), "{edited}");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(kind: Revocations|keys|specs|\\[\\]|[-: {}\\[\\]'\"|>&*#a\n]){0,30}") {
            for list in lists(&text) {
                let _ = append(&text, &list, &entry());
            }
        }
    }
}
