//! A manifest in a file, as `approve`, `hash` and `verify` read it.

use serde_json::Value;
use writgate_core::{
    approval::manifest_hash,
    encoding::read_yaml,
    kube::{WorkloadKind, default_forward},
};

/// The hash of each document, or why it has none.
pub(crate) fn run(text: &[u8]) -> String {
    let Ok(text) = std::str::from_utf8(text) else { return "not UTF-8".to_owned() };
    match read_yaml(text) {
        Ok(documents) => documents.iter().map(hash).collect::<Vec<_>>().join("\n"),
        Err(error) => error.to_string(),
    }
}

fn hash(document: &Value) -> String {
    let (kind, hash) = match manifest_hash(document) {
        Ok(found) => found,
        Err(error) => return error.to_string(),
    };
    let mut defaulted = document.clone();
    default_forward(kind, &mut defaulted).expect("what has a hash has defaults");
    assert_eq!(manifest_hash(&defaulted), Ok((kind, hash)), "the hash differs after defaults were filled in");
    assert_eq!(WorkloadKind::from_gvk(kind.api_version(), kind.kind()), Some(kind));
    hash.to_string()
}
