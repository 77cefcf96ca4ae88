//! The defaults of volumes, and of the claim templates of volumes and StatefulSets.
//!
//! Source: `SetDefaults_Volume` and the generated defaults of `pkg/apis/core/v1` in Kubernetes.

use serde_json::json;

use super::{JsonObject, child, children, container::fill_field_ref, fill, image_tag, text};

/// `0644`, which JSON writes in decimal.
const FILE_MODE: i32 = 0o644;

/// Fills in one conformed volume.
pub(super) fn fill_volume(volume: &mut JsonObject) {
    // Only a volume with nothing but a name gets this source. A source that this build does not know must not get a
    // second one.
    if volume.keys().all(|field| field == "name") {
        fill(volume, "emptyDir", json!({}));
    }
    if let Some(source) = child(volume, "image") {
        let pull_policy = image_tag::pull_policy(text(source, "reference").unwrap_or_default());
        fill(source, "pullPolicy", pull_policy);
    }
    if let Some(source) = child(volume, "hostPath") {
        fill(source, "type", "");
    }
    for files in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = child(volume, files) {
            fill(source, "defaultMode", FILE_MODE);
        }
    }
    if let Some(source) = child(volume, "downwardAPI") {
        fill_downward_items(source);
    }
    if let Some(source) = child(volume, "projected") {
        for projection in children(source, "sources") {
            fill_projection(projection);
        }
    }
    if let Some(template) = child(volume, "ephemeral").and_then(|source| child(source, "volumeClaimTemplate"))
        && let Some(spec) = child(template, "spec")
    {
        fill_claim_spec(spec);
    }
    fill_driver(volume);
}

/// Fills in the spec of a claim template.
pub(super) fn fill_claim_spec(spec: &mut JsonObject) {
    fill(spec, "volumeMode", "Filesystem");
}

fn fill_downward_items(source: &mut JsonObject) {
    for item in children(source, "items") {
        if let Some(field) = child(item, "fieldRef") {
            fill_field_ref(field);
        }
    }
}

fn fill_projection(projection: &mut JsonObject) {
    if let Some(source) = child(projection, "downwardAPI") {
        fill_downward_items(source);
    }
    if let Some(source) = child(projection, "serviceAccountToken") {
        fill(source, "expirationSeconds", 3600);
    }
}

/// Fills in the drivers that are older than CSI.
fn fill_driver(volume: &mut JsonObject) {
    if let Some(source) = child(volume, "iscsi") {
        fill(source, "iscsiInterface", "default");
    }
    if let Some(source) = child(volume, "rbd") {
        fill(source, "pool", "rbd");
        fill(source, "user", "admin");
        fill(source, "keyring", "/etc/ceph/keyring");
    }
    if let Some(source) = child(volume, "azureDisk") {
        fill(source, "cachingMode", "ReadWrite");
        fill(source, "fsType", "ext4");
        fill(source, "readOnly", false);
        fill(source, "kind", "Shared");
    }
    if let Some(source) = child(volume, "scaleIO") {
        fill(source, "storageMode", "ThinProvisioned");
        fill(source, "fsType", "xfs");
    }
}
