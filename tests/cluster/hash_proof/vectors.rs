//! The manifests of the vectors of spec-hash-v1, with the hash that the vector names, at admission.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use writgate_core::{
    encoding::read_yaml,
    kube::{WorkloadKind, unknown_fields},
};
use writgate_testing::{Installation, other_kubernetes};

use crate::hash_proof::agreement::{api, audited_namespace, dry_run, hashes_at_admission, without_dropped};

/// Vectors that no API server admits: a manifest without what only validation requires, or with the letters `y` and `n`, which
/// the API server does not read as booleans.
const MAX_REFUSED: usize = 12;

struct Vector {
    name: String,
    manifest: Value,
    kind: WorkloadKind,
    expected: String,
}

pub(crate) fn manifests_have_the_hash_of_their_vector(installation: &Installation) {
    let namespace = audited_namespace(installation, "vectors");
    let vectors = vectors();
    let refused: Vec<String> = installation.plane.block_on(async {
        let client = installation.plane.admin.client().await;
        let mut refused = Vec::new();
        for vector in &vectors {
            let api = api(client.clone(), &namespace, vector.kind);
            if let Err(error) = dry_run(&api, vector.manifest.clone()).await {
                refused.push(format!("{}: {error}", vector.name));
            }
        }
        refused
    });
    let hashes = hashes_at_admission(installation, &namespace);
    let (mut alike, mut dropping, mut differing) = (0, Vec::new(), Vec::new());
    for vector in &vectors {
        let Some(found) = hashes.get(&vector.name) else { continue };
        let without = other_kubernetes().and_then(|minor| without_dropped(vector.kind, &vector.manifest, minor));
        match without {
            _ if *found == vector.expected => alike += 1,
            Some((hash, fields)) if hash == *found => dropping.push(format!("{} ({})", vector.name, fields.join(", "))),
            _ => differing.push(&vector.name),
        }
    }
    eprintln!(
        "vectors: {} manifests, {} refused, {alike} with the vector's hash, {} without what this version drops: {dropping:?}",
        vectors.len(),
        refused.len(),
        dropping.len()
    );
    assert!(differing.is_empty(), "another hash at admission: {differing:?}");
    assert!(refused.len() <= MAX_REFUSED, "{refused:#?}");
}

/// The vectors with a manifest that has a hash, each under a name of its own.
fn vectors() -> Vec<Vector> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/spec/spec-hash-v1");
    let mut vectors = Vec::new();
    for entry in fs::read_dir(&folder).expect("the folder of vectors") {
        let path = entry.expect("an entry").path();
        let text = fs::read_to_string(&path).expect("a vector");
        let vector: Value = serde_json::from_str(&text).expect("a vector is JSON");
        let (Some(manifest), Some(expected)) = (vector["manifest"].as_str(), vector["expect"]["specHash"].as_str())
        else {
            continue;
        };
        let mut manifest = read_yaml(manifest).expect("a manifest with a hash is readable").remove(0);
        let name = path.file_stem().and_then(|stem| stem.to_str()).expect("a name").to_owned();
        manifest["metadata"] = json!({"name": name});
        let gvk = |member: &str| manifest[member].as_str().unwrap_or_default();
        let kind = WorkloadKind::from_gvk(gvk("apiVersion"), gvk("kind")).expect("a workload");
        // The API server drops an unknown field, and the vector shows that the offline hash covers it.
        if !unknown_fields(kind, &manifest).is_empty() {
            continue;
        }
        vectors.push(Vector { name, manifest, kind, expected: expected.to_owned() });
    }
    assert!(vectors.len() > 40, "only {} vectors have a manifest", vectors.len());
    vectors
}
