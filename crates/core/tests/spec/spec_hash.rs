//! The vectors of spec-hash-v1.

use serde_json::Value;
use writgate_core::{
    approval::{manifest_hash, projected, spec_hash},
    encoding::read_yaml,
    kube::{WorkloadKind, default_forward},
};

use crate::spec::case::Case;

/// Canonical text and hash of an object with this spec, as at admission.
fn admitted(api_version: &str, kind: &str, spec: &str) -> Option<(String, String)> {
    let workload = WorkloadKind::from_gvk(api_version, kind)?;
    let hash = spec_hash(workload, spec).ok()?;
    let canonical = String::from_utf8(projected(workload, spec).ok()?).ok()?;
    Some((format!(r#"{{"apiVersion":"{api_version}","kind":"{kind}","spec":{canonical}}}"#), hash.to_string()))
}

/// Canonical text and hash of a manifest.
fn sent(manifest: &str) -> Option<(String, String)> {
    let mut documents = read_yaml(manifest).ok()?;
    let mut object = documents.pop().filter(|_| documents.is_empty())?;
    let (kind, hash) = manifest_hash(&object).ok()?;
    default_forward(kind, &mut object).ok()?;
    let (canonical, of_the_result) = admitted(kind.api_version(), kind.kind(), &object["spec"].to_string())?;
    assert_eq!(hash.to_string(), of_the_result);
    Some((canonical, hash.to_string()))
}

#[test]
fn every_vector_of_spec_hash_v1() {
    for case in Case::all("spec-hash-v1", 167) {
        let expect = case.expect();
        let expected = expect["specHash"].as_str().map(|hash| {
            let canonical = expect["canonical"].as_str().unwrap_or_else(|| panic!("{}: canonical", case.name));
            (canonical.to_owned(), hash.to_owned())
        });
        assert_eq!(expected.is_none(), expect["refused"] == true, "{}", case.name);
        let object = case.value.get("admitted");
        let text = |member: &str| case.value.get(member).and_then(Value::as_str);
        let results = [
            text("manifest").map(sent),
            text("text").map(|spec| admitted("apps/v1", "Deployment", spec)),
            object.map(|object| {
                let text = |member: &str| object[member].as_str().unwrap_or_default();
                admitted(text("apiVersion"), text("kind"), &object["spec"].to_string())
            }),
        ];
        assert!(results.iter().any(Option::is_some), "{}", case.name);
        for result in results.into_iter().flatten() {
            assert_eq!(result, expected, "{}", case.name);
        }
    }
}
