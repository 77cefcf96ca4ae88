//! The first field in which two specs differ, to explain why their hashes differ.
//!
//! `posture::difference` compares postures.

use serde_json::Value;

use crate::{approval::spec_hash::projected, kube::workload::WorkloadKind};

/// The path of the first field, in canonical order, in which the hashed parts of two specs differ. `None`: they do not
/// differ, or one of them has no hash.
pub(crate) fn first(kind: WorkloadKind, old: &str, new: &str) -> Option<String> {
    let tree = |spec| serde_json::from_slice::<Value>(&projected(kind, spec).ok()?).ok();
    walk(&tree(old)?, &tree(new)?, "spec".to_owned())
}

fn walk(old: &Value, new: &Value, path: String) -> Option<String> {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
            keys.sort_unstable();
            keys.dedup();
            keys.into_iter().find_map(|key| {
                let path = format!("{path}.{key}");
                match (old.get(key), new.get(key)) {
                    (Some(old), Some(new)) => walk(old, new, path),
                    _ => Some(path),
                }
            })
        }
        (Value::Array(old), Value::Array(new)) => {
            let mut pairs = old.iter().zip(new).enumerate();
            let differing = pairs.find_map(|(index, (old, new))| walk(old, new, format!("{path}[{index}]")));
            differing.or_else(|| (old.len() != new.len()).then(|| format!("{path}[{}]", old.len().min(new.len()))))
        }
        _ => (old != new).then_some(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_first_hashed_field_that_differs() {
        let old = r#"{"replicas":1,"template":{"spec":{"containers":[{"image":"a"}]}}}"#;
        let cases = [
            (old.replace("\"image\":\"a\"", "\"image\":\"b\""), Some("spec.template.spec.containers[0].image")),
            (old.replace("}]", "},{}]"), Some("spec.template.spec.containers[1]")),
            (old.replace("\"spec\":{\"c", "\"metadata\":{},\"spec\":{\"c"), Some("spec.template.metadata")),
            (old.replace("\"replicas\":1", "\"replicas\":2"), None),
        ];
        for (new, expected) in cases {
            assert_eq!(first(WorkloadKind::Deployment, old, &new).as_deref(), expected, "{new}");
        }
    }
}
