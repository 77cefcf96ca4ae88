//! The text of a spec, as the API server sends it.

use serde_json::Value;
use writgate_core::{approval::spec_hash, kube::WorkloadKind};

use crate::review::is_written_back;

/// The hash of the text as a Job's spec, whose projection reads the most fields, or why it has none.
pub(crate) fn run(text: &[u8]) -> String {
    let Ok(text) = std::str::from_utf8(text) else { return "not UTF-8".to_owned() };
    for kind in WorkloadKind::ALL {
        let hash = spec_hash(kind, text);
        let value = serde_json::from_str::<Value>(text);
        if hash.is_ok() {
            let value = value.expect("what has a hash is JSON");
            assert!(
                !is_written_back(&value) || spec_hash(kind, &value.to_string()) == hash,
                "the hash depends on the order of keys"
            );
        }
    }
    spec_hash(WorkloadKind::Job, text).map_or_else(|error| error.to_string(), |hash| hash.to_string())
}
