//! The fields of a live object that `kubectl apply` keeps, although the manifest does not have them.
//!
//! kubectl removes a field only if it applied the field before, which it reads in the annotation
//! `kubectl.kubernetes.io/last-applied-configuration`. An object that `kubectl create` made has no such annotation. Of
//! list items with the same merge key, such as two variables with one name, kubectl removes none. The result then
//! has another spec than the manifest. If anything else changes, the webhook denies it although the manifest was approved.

use serde_json::Value;
use writgate_core::kube::{WorkloadKind, default_forward};

use crate::{
    command::review::diff,
    failure::Failure,
    manifest::Manifest,
    terminal::output::{self, shown},
};

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Fields that a warning names, at most.
const MAX_NAMED: usize = 5;

/// Warns if `kubectl apply` would keep fields of the live object.
pub(super) fn warn(manifest: &Manifest, live: &Value) -> Result<(), Failure> {
    let Some(kind) = manifest.workload() else { return Ok(()) };
    let kept = fields(kind, &manifest.as_admitted()?, live);
    if kept.is_empty() {
        return Ok(());
    }
    let mut named: Vec<String> = kept.iter().take(MAX_NAMED).map(|path| shown(path)).collect();
    if kept.len() > MAX_NAMED {
        named.push(format!("{} more", kept.len() - MAX_NAMED));
    }
    output::note(&format!(
        "warning: {manifest}: kubectl apply would keep fields of the live object that the manifest does not have: {}; the \
         result would not have the approved spec, so remove these fields from the live object first",
        named.join(", ")
    ));
    Ok(())
}

/// The paths of the kept fields, as far as the spec hash covers them. `new` is the manifest with defaults.
fn fields(kind: WorkloadKind, new: &Value, live: &Value) -> Vec<String> {
    if is_applied_otherwise(live) {
        return Vec::new();
    }
    let missing_in = |object: &Value| -> Vec<String> {
        let changes = diff::of(kind, Some(live), object, object).into_iter();
        changes.filter(|change| change.bound && change.new.is_none()).map(|change| change.path).collect()
    };
    let missing = missing_in(new);
    let Some(mut applied) = last_applied(live) else { return missing };
    if default_forward(kind, &mut applied).is_err() {
        return missing;
    }
    let (never_applied, doubled) = (missing_in(&applied), diff::doubled(live));
    let is_kept = |path: &String| {
        never_applied.contains(path) || doubled.iter().any(|list| path.starts_with(&format!("{list}[")))
    };
    missing.into_iter().filter(is_kept).collect()
}

fn last_applied(live: &Value) -> Option<Value> {
    serde_json::from_str(live.pointer("/metadata/annotations")?.get(LAST_APPLIED)?.as_str()?).ok()
}

/// Whether Helm or a server-side apply made the object. Both know on their own which fields they set before.
fn is_applied_otherwise(live: &Value) -> bool {
    let by_helm = live.pointer("/metadata/annotations/meta.helm.sh~1release-name").is_some();
    let managers = live.pointer("/metadata/managedFields").and_then(Value::as_array);
    let by_server = managers.into_iter().flatten().any(|manager| {
        manager.get("operation").and_then(Value::as_str) == Some("Apply") && manager.get("subresource").is_none()
    });
    by_helm || by_server
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment(env: &[(&str, &str)]) -> Value {
        let env: Vec<Value> = env.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        let mut object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "orders"},
            "spec": {"template": {"spec": {"containers": [{"name": "orders", "image": "orders:1", "env": env}]}}}});
        default_forward(WorkloadKind::Deployment, &mut object).expect("a Deployment");
        object
    }

    fn applied(object: &Value) -> Value {
        let mut live = object.clone();
        live["metadata"]["annotations"] = json!({LAST_APPLIED: object.to_string()});
        live
    }

    fn kept(new: &Value, live: &Value) -> Vec<String> {
        fields(WorkloadKind::Deployment, new, live)
    }

    const ENV: &str = "spec.template.spec.containers[orders].env";

    #[test]
    fn kubectl_apply_keeps_fields_that_kubectl_create_set() {
        let (live, new) = (deployment(&[("A", "1"), ("B", "2")]), deployment(&[("A", "1")]));
        assert_eq!(kept(&new, &live), [format!("{ENV}[B].value")]);
        assert_eq!(kept(&new, &applied(&live)), [""; 0], "kubectl apply set it, and removes it");
        assert_eq!(kept(&live, &live), [""; 0]);
    }

    #[test]
    fn kubectl_apply_keeps_fields_that_another_command_set() {
        let applied_before = deployment(&[("A", "1")]);
        let mut live = applied(&applied_before);
        live["spec"]["template"]["spec"]["securityContext"] = json!({"runAsUser": 0});
        assert_eq!(kept(&applied_before, &live), ["spec.template.spec.securityContext.runAsUser"]);
    }

    #[test]
    fn kubectl_apply_keeps_one_of_two_variables_with_the_same_name() {
        let (live, new) = (applied(&deployment(&[("A", "1"), ("A", "2")])), deployment(&[("A", "1")]));
        assert_eq!(kept(&new, &live), [format!("{ENV}[1].name"), format!("{ENV}[1].value")]);
    }

    #[test]
    fn helm_and_server_side_apply_remove_what_they_set() {
        let (live, new) = (deployment(&[("A", "1"), ("B", "2")]), deployment(&[("A", "1")]));
        let mut by_helm = live.clone();
        by_helm["metadata"]["annotations"] = json!({"meta.helm.sh/release-name": "orders"});
        assert_eq!(kept(&new, &by_helm), [""; 0]);
        let mut by_server = live.clone();
        by_server["metadata"]["managedFields"] = json!([{"manager": "kubectl", "operation": "Apply"}]);
        assert_eq!(kept(&new, &by_server), [""; 0]);
        by_server["metadata"]["managedFields"] = json!([{"manager": "kubectl-create", "operation": "Update"}]);
        assert_eq!(kept(&new, &by_server).len(), 1);
    }
}
