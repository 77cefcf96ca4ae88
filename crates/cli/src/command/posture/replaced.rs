//! The postures of the cluster after some of its documents are replaced, before anything is applied.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::Value;
use writgate_core::{
    encoding::read_yaml,
    posture::{Document, PostureSet},
    vocabulary::KIND_LABEL,
};

use crate::failure::Failure;

/// Where the documents of a change are, for messages.
const SOURCE: &str = "the change";

/// A document's kind and name. A posture is known by its environment, and a ConfigMap by its own name as well.
type Identity = (String, String);

/// `set` with the documents in `text`, bare or inside ConfigMaps. Each replaces the document of the same kind and name, or the
/// document in the ConfigMap of the same name.
pub(crate) fn replaced(set: &PostureSet, text: &str) -> Result<PostureSet, Failure> {
    let values = read_yaml(text).map_err(|error| Failure::Misuse(format!("{SOURCE} cannot be read: {error}")))?;
    let new = identities(None, &values);
    if new.is_empty() {
        return Err(Failure::Misuse(format!(
            "{SOURCE} contains no posture document; expected a Posture, Reviewers, Revocations or Pipelines of \
             writgate.dev/v1, bare or in a ConfigMap with the label writgate.dev/kind"
        )));
    }
    let stays = |document: &&Arc<Document>| {
        let known = read_yaml(&document.text).unwrap_or_default();
        identities(document.name.as_deref(), &known).is_disjoint(&new)
    };
    let added = Document { source: SOURCE.to_owned(), name: None, text: text.to_owned() };
    Ok(set.reassemble(set.documents().filter(stays).map(Arc::clone).chain([Arc::new(added)])))
}

/// The identities of all documents among `values`. `config_map` is the name of the ConfigMap that holds them.
fn identities(config_map: Option<&str>, values: &[Value]) -> BTreeSet<Identity> {
    let mut found = BTreeSet::new();
    for value in values {
        let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str);
        match (text("/apiVersion"), text("/kind")) {
            (Some("v1"), Some("ConfigMap")) => {
                let name = text("/metadata/name").or(config_map);
                let held: BTreeSet<Identity> = value["data"]
                    .as_object()
                    .into_iter()
                    .flatten()
                    .filter_map(|(_, held)| read_yaml(held.as_str()?).ok())
                    .flat_map(|held| identities(name, &held))
                    .collect();
                if value.pointer("/metadata/labels").is_some_and(|labels| !labels[KIND_LABEL].is_null()) {
                    found.extend(name.map(|name| ("ConfigMap".to_owned(), name.to_owned())));
                    found.extend(held);
                }
            }
            (Some("v1"), Some("List")) => {
                found.extend(identities(config_map, value["items"].as_array().map_or(&[][..], Vec::as_slice)));
            }
            (Some(version), Some(kind)) if version.starts_with("writgate.dev/") => {
                let name = if kind == "Posture" { text("/environment") } else { text("/name").or(config_map) };
                found.extend(name.map(|name| (kind.to_owned(), name.to_owned())));
            }
            _ => {}
        }
    }
    found
}
