//! The posture documents of the cluster, within a bound on their memory.
//!
//! A document for which there is no room is replaced by a stand-in that says so. Whoever may publish builds can therefore take
//! no room from postures and revocations, and a posture that names such a document is invalid.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use writgate_cluster::config_map::document;
use writgate_core::posture::{Document, PostureSet};
use writgate_core::vocabulary::KIND_LABEL;

/// Memory for the texts of all documents together.
const MAX_TEXT: usize = 64 << 20;
/// The part of it that large documents may take that no posture names. Whoever may publish builds cannot take the rest.
const MAX_UNNAMED: usize = 32 << 20;
/// A document of up to this length counts as small.
const SMALL: usize = 64 << 10;

/// The documents by the name of their ConfigMap.
#[derive(Debug, Default)]
pub struct Documents {
    by_name: BTreeMap<String, Arc<Document>>,
    /// The length of all texts.
    bytes: usize,
    left_out: BTreeMap<String, LeftOut>,
}

/// A document that is not kept.
#[derive(Debug)]
struct LeftOut {
    bytes: usize,
    label: String,
}

/// The memory that all documents together may take if one with this label and of this length is added.
fn limit(name: &str, label: &str, bytes: usize, postures: &PostureSet) -> usize {
    let is_needed = label == "posture" || label == "revocations" || postures.is_named(name);
    if is_needed || bytes <= SMALL { MAX_TEXT } else { MAX_UNNAMED }
}

impl Documents {
    /// Adds or changes the document in `object`. `postures` are those in force: they say which documents are named, and a
    /// document that they have read already is shared with them. Returns whether anything changed. Many may write
    /// annotations, and such a write must not cost anything.
    pub fn insert(&mut self, object: &ConfigMap, postures: &PostureSet) -> bool {
        let (name, read) = (object.name_any(), document(object));
        if self.by_name.get(&name).is_some_and(|known| **known == read) {
            return false;
        }
        let label = object.labels().get(KIND_LABEL).map_or("", String::as_str);
        let bytes = read.text.len();
        let limit = limit(&name, label, bytes, postures);
        let taken = self.bytes - self.by_name.get(&name).map_or(0, |known| known.text.len());
        let document = if taken + bytes <= limit {
            self.left_out.remove(&name);
            postures.same_document(&read).cloned().unwrap_or_else(|| Arc::new(read))
        } else {
            let why = format!(
                "is left out: with it, the documents would have more than {} MiB; delete documents that no posture names",
                limit >> 20
            );
            if self.left_out.insert(name.clone(), LeftOut { bytes, label: label.to_owned() }).is_none() {
                tracing::error!(document = name, bytes, "posture document {why}");
            }
            Arc::new(Document::left_out(&object.namespace().unwrap_or_default(), &name, label, &why))
        };
        self.bytes = taken + document.text.len();
        let known = self.by_name.insert(name, document.clone());
        known.is_none_or(|known| known != document)
    }

    /// Removes a document. Returns whether it existed.
    pub fn remove(&mut self, name: &str) -> bool {
        self.left_out.remove(name);
        let removed = self.by_name.remove(name);
        self.bytes -= removed.as_ref().map_or(0, |removed| removed.text.len());
        removed.is_some()
    }

    /// Replaces all documents. Returns whether anything changed.
    pub fn replace(&mut self, with: Self) -> bool {
        let is_changed = self.by_name != with.by_name;
        *self = with;
        is_changed
    }

    /// Whether there is room by now for a document that was left out: others were deleted, or a posture names it.
    ///
    /// It follows the same rule as [`Documents::insert`], so a list after which this is still true cannot be repeated for
    /// ever: a document is left out only if those before it leave no room, and later ones take none away from `self.bytes`.
    #[must_use]
    pub fn has_room_for_left_out(&self, postures: &PostureSet) -> bool {
        self.left_out.iter().any(|(name, LeftOut { bytes, label })| {
            let own = self.by_name.get(name).map_or(0, |stand_in| stand_in.text.len());
            self.bytes - own + bytes <= limit(name, label, *bytes, postures)
        })
    }

    /// The documents, by the names of their ConfigMaps.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Document>> {
        self.by_name.values()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config_map(name: &str, kind: &str, bytes: usize) -> ConfigMap {
        let text = format!("apiVersion: writgate.dev/v1\nkind: Pipelines\n#{}", "x".repeat(bytes));
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "writgate-system", "labels": {"writgate.dev/kind": kind}},
            "data": {format!("{kind}.yaml"): text},
        }))
        .expect("a ConfigMap")
    }

    fn postures(text: &str) -> PostureSet {
        PostureSet::assemble(vec![Document { source: "a.yaml".into(), name: None, text: text.into() }])
    }

    fn left_out(documents: &Documents) -> Vec<String> {
        documents
            .iter()
            .filter(|document| document.is_left_out())
            .filter_map(|document| document.name.clone())
            .collect()
    }

    #[test]
    fn a_left_out_document_has_room_when_others_are_deleted_or_a_posture_names_it() {
        let nothing = postures("");
        let mut documents = Documents::default();
        for number in 0..33 {
            assert!(documents.insert(&config_map(&format!("p{number:02}"), "pipelines", 1 << 20), &nothing));
        }
        assert_eq!(left_out(&documents), ["p31", "p32"]);
        assert!(!documents.has_room_for_left_out(&nothing));
        // A small document that no posture names may have the rest, and does not make room.
        assert!(documents.insert(&config_map("small", "pipelines", 100), &nothing));
        assert!(!documents.has_room_for_left_out(&nothing));
        let named = postures("apiVersion: writgate.dev/v1\nkind: Posture\nenvironment: a\npipelineSets: [p31]\n");
        assert!(documents.has_room_for_left_out(&named));
        let another = postures("apiVersion: writgate.dev/v1\nkind: Posture\nenvironment: a\npipelineSets: [p30]\n");
        assert!(!documents.has_room_for_left_out(&another));
        assert!(documents.remove("p00"));
        assert!(documents.has_room_for_left_out(&nothing));
        assert!(documents.insert(&config_map("p31", "pipelines", 1 << 20), &nothing));
        assert_eq!(left_out(&documents), ["p32"]);
        assert!(!documents.has_room_for_left_out(&nothing));
    }

    #[test]
    fn an_unchanged_document_is_no_change_and_a_known_one_is_shared() {
        let object = config_map("p", "pipelines", 10);
        let known = Arc::new(document(&object));
        let postures = postures("").reassemble([known.clone()]);
        let mut documents = Documents::default();
        assert!(documents.insert(&object, &postures));
        assert!(Arc::ptr_eq(documents.iter().next().expect("a document"), &known));
        assert!(!documents.insert(&object, &postures));
        let mut changed = object.clone();
        changed.labels_mut().insert("team".to_owned(), "x".to_owned());
        assert!(documents.insert(&changed, &postures));
        assert!(documents.remove("p") && !documents.remove("p"));
        assert_eq!(documents.bytes, 0);
    }
}
