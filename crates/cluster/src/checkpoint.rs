//! How a ConfigMap of the system namespace holds a checkpoint of a chain of records.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;
use kube::core::ObjectMeta;
use writgate_core::record::Checkpoint;
use writgate_core::vocabulary::KIND_LABEL;

/// The label selector of checkpoints.
pub const SELECTOR: &str = "writgate.dev/kind=audit";
/// The key of a checkpoint in its ConfigMap.
const CHECKPOINT: &str = "chain.json";

/// Reads the checkpoint in a ConfigMap. It fails if the ConfigMap has no valid checkpoint, or has the name of another one.
pub fn in_config_map(found: &ConfigMap) -> Result<Checkpoint, String> {
    let text = found.data.as_ref().and_then(|data| data.get(CHECKPOINT));
    let text = text.ok_or_else(|| format!("ConfigMap {} has no {CHECKPOINT}", found.name_any()))?;
    let (checkpoint, _) =
        Checkpoint::parse(text).map_err(|why| format!("ConfigMap {}: {CHECKPOINT}: {why}", found.name_any()))?;
    let expected = name(&checkpoint);
    if found.name_any() == expected {
        Ok(checkpoint)
    } else {
        Err(format!("ConfigMap {} is a copy of {expected}", found.name_any()))
    }
}

/// The name of the ConfigMap of a checkpoint.
#[must_use]
pub fn name(checkpoint: &Checkpoint) -> String {
    format!("audit-{}", checkpoint.writer)
}

/// The ConfigMap of `checkpoint`. With a resource version it replaces the ConfigMap of that version.
///
/// # Panics
/// Never: strings and numbers always serialise.
#[must_use]
pub fn config_map(checkpoint: &Checkpoint, version: Option<String>) -> ConfigMap {
    let json = serde_json::to_string(checkpoint).expect("strings and numbers always serialise");
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name(checkpoint)),
            labels: Some(BTreeMap::from([(KIND_LABEL.to_owned(), "audit".to_owned())])),
            resource_version: version,
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([(CHECKPOINT.to_owned(), json)])),
        ..ConfigMap::default()
    }
}
