//! What a reviewer should look at in a workload: what can change after the signature, what gives access to more than
//! the workload itself, and what of that is new.
//!
//! These are hints and not rules: the posture says what is denied.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use serde::Serialize;
use serde_json::Value;
use writgate_core::{
    approval::Approval,
    posture::{Posture, SeparationOfDuties},
};

use crate::{
    manifest::{Manifest, workloads},
    terminal::output::shown,
};

/// A longer lifetime is standing coverage, of which the guidance warns.
const SHORT: SignedDuration = SignedDuration::from_hours(1);

/// Something to look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Unusual {
    /// Stable, for programs: `mutable-tag`.
    pub(super) code: &'static str,
    /// Where it is, and what it is; safe to print.
    pub(super) what: String,
}

fn unusual(code: &'static str, what: impl Into<String>) -> Unusual {
    Unusual { code, what: what.into() }
}

/// What is unusual in a Pod spec, compared with the live object `old`.
pub(super) fn of_workload(manifest: &Manifest, old: Option<&Value>, new: &Value) -> Vec<Unusual> {
    let dropped = workloads::dropped_fields(manifest);
    let mut found: Vec<Unusual> =
        dropped.iter().map(|field| unusual("unknown-field", workloads::describe_dropped(field))).collect();
    let Some(pod) = manifest.pod_of(new) else { return found };
    let old = old.and_then(|old| manifest.pod_of(old));
    found.extend(of_pod(pod, old));
    for (list, word) in CONTAINERS {
        for container in items(pod, list) {
            let name = text(container, "name");
            let before = old.and_then(|old| items(old, list).iter().find(|other| text(other, "name") == name));
            found.extend(of_container(&format!("{word} {}", shown(name)), container, before));
        }
    }
    found
}

const CONTAINERS: [(&str, &str); 3] =
    [("containers", "container"), ("initContainers", "init container"), ("ephemeralContainers", "ephemeral container")];

/// What is unusual in a statement, by the posture of its environment if it is known.
pub(super) fn of_approval(approval: &Approval, posture: Option<&Posture>) -> Vec<Unusual> {
    let mut found = Vec::new();
    if approval.break_glass {
        found.push(unusual("break-glass", "a break-glass approval is requested (breakGlass)"));
    }
    if approval.requested_by.starts_with("system:") {
        found.push(unusual(
            "service-account",
            format!(
                "the requester {} is not a person: find out on whose behalf it acts",
                shown(&approval.requested_by)
            ),
        ));
    }
    let requester = posture.filter(|posture| posture.separation_of_duties == SeparationOfDuties::Off);
    let requester = requester.and_then(|posture| posture.reviewers.iter().find(|one| one.is(&approval.requested_by)));
    if let Some(reviewer) = requester {
        let who = shown(&reviewer.name);
        found.push(unusual(
            "self-approval",
            format!("{who} requests the approval and could sign it too: the posture says separationOfDuties: off"),
        ));
    }
    if approval.lifetime() > SHORT {
        found.push(unusual("long-lived", format!("the approval would be valid for {:#}", approval.lifetime())));
    }
    found
}

fn of_pod(pod: &Value, old: Option<&Value>) -> Vec<Unusual> {
    let mut found = Vec::new();
    for field in ["hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"] {
        if flag(pod, field) {
            found.push(unusual("host-access", format!("the Pod has {field}: true")));
        }
    }
    let account = |pod: &Value| text(pod, "serviceAccountName").to_owned();
    match old.map(account) {
        Some(before) if before != account(pod) => found.push(unusual(
            "service-account-changed",
            format!("the service account changes from {} to {}", named(&before), named(&account(pod))),
        )),
        None if !["", "default"].contains(&&*account(pod)) => {
            found.push(unusual(
                "service-account-new",
                format!("the Pod runs as service account {}", named(&account(pod))),
            ));
        }
        _ => {}
    }
    if flag(pod, "automountServiceAccountToken") {
        found.push(unusual(
            "token",
            "the containers get a token for the API server (automountServiceAccountToken: true)",
        ));
    }
    found.extend(of_security("the Pod", pod.get("securityContext").unwrap_or(&Value::Null)));
    for volume in items(pod, "volumes") {
        found.extend(of_volume(volume));
    }
    let (now, before) = (secrets(pod), old.map(secrets).unwrap_or_default());
    found.extend(
        now.difference(&before).map(|name| unusual("secret", format!("the Pod newly reads Secret {}", named(name)))),
    );
    found
}

fn of_volume(volume: &Value) -> Option<Unusual> {
    let name = shown(text(volume, "name"));
    if let Some(path) = volume.pointer("/hostPath/path") {
        return Some(unusual("host-access", format!("volume {name} mounts {} of the node", shown_value(path))));
    }
    let reference = volume.pointer("/image/reference")?.as_str()?;
    mutable(&format!("volume {name}"), reference)
}

fn of_container(at: &str, container: &Value, old: Option<&Value>) -> Vec<Unusual> {
    let mut found: Vec<Unusual> = mutable(at, text(container, "image")).into_iter().collect();
    found.extend(of_security(at, container.get("securityContext").unwrap_or(&Value::Null)));
    for port in items(container, "ports") {
        if let Some(number) = port.get("hostPort").and_then(Value::as_u64).filter(|port| *port != 0) {
            found.push(unusual("host-access", format!("{at} uses port {number} of the node")));
        }
    }
    for field in ["command", "args"] {
        let (before, now) = (old.and_then(|old| old.get(field)), container.get(field));
        if old.is_some() && before != now {
            found.push(unusual("command-changed", format!("{at} has another {field}")));
        }
    }
    let (now, before) = (sources(container), old.map(sources).unwrap_or_default());
    for source in now.difference(&before) {
        let contents = if is_named_like_a_bundle(source) {
            "which is named like a config bundle"
        } else {
            "whose contents no hash covers"
        };
        found.push(unusual("env-from", format!("{at} reads variables from {source}, {contents}")));
    }
    found
}

/// What a security context permits, of a Pod or of a container.
fn of_security(at: &str, context: &Value) -> Vec<Unusual> {
    let mut found = Vec::new();
    if flag(context, "privileged") {
        found.push(unusual("privileged", format!("{at} is privileged: it controls the node")));
    }
    if flag(context, "allowPrivilegeEscalation") {
        found.push(unusual(
            "privilege-escalation",
            format!("{at} may gain privileges (allowPrivilegeEscalation: true)"),
        ));
    }
    if context.get("runAsUser").and_then(Value::as_i64) == Some(0) {
        found.push(unusual("root", format!("{at} runs as root (runAsUser: 0)")));
    }
    if context.get("procMount").and_then(Value::as_str) == Some("Unmasked") {
        found.push(unusual("host-access", format!("{at} sees all of /proc (procMount: Unmasked)")));
    }
    let added = context.pointer("/capabilities/add").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if !added.is_empty() {
        let added: Vec<String> = added.iter().map(shown_value).collect();
        found.push(unusual("capabilities", format!("{at} has additional Linux capabilities {}", added.join(", "))));
    }
    for profile in ["seccompProfile", "appArmorProfile"] {
        if context.pointer(&format!("/{profile}/type")).and_then(Value::as_str) == Some("Unconfined") {
            found.push(unusual("unconfined", format!("{at} is not confined ({profile}: Unconfined)")));
        }
    }
    found
}

/// An image whose name may refer to another image tomorrow.
fn mutable(at: &str, image: &str) -> Option<Unusual> {
    if image.contains("@sha256:") {
        return None;
    }
    let last = image.rsplit('/').next().unwrap_or_default();
    let what = format!("{at} runs {}", shown(image));
    Some(match last.rsplit_once(':') {
        None => unusual("latest", format!("{what}, without a tag: whichever image is latest when it starts")),
        Some((_, "latest")) => unusual("latest", format!("{what}: whichever image that is when it starts")),
        Some(_) => unusual("mutable-tag", format!("{what}, without a digest: the tag can be moved to another image")),
    })
}

/// The Secrets that a Pod reads, in any of its fields.
fn secrets(pod: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for volume in items(pod, "volumes") {
        found.extend(volume.pointer("/secret/secretName").and_then(Value::as_str).map(str::to_owned));
        let projected = volume.pointer("/projected/sources").and_then(Value::as_array);
        for source in projected.into_iter().flatten() {
            found.extend(source.pointer("/secret/name").and_then(Value::as_str).map(str::to_owned));
        }
    }
    for container in CONTAINERS.into_iter().flat_map(|(list, _)| items(pod, list)) {
        let variables = items(container, "env").iter().filter_map(|one| one.pointer("/valueFrom/secretKeyRef/name"));
        let whole = items(container, "envFrom").iter().filter_map(|one| one.pointer("/secretRef/name"));
        found.extend(variables.chain(whole).filter_map(Value::as_str).map(str::to_owned));
    }
    found
}

/// The ConfigMaps and Secrets that set variables of a container.
fn sources(container: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (list, at, word) in [
        ("envFrom", "/configMapRef/name", "ConfigMap"),
        ("envFrom", "/secretRef/name", "Secret"),
        ("env", "/valueFrom/configMapKeyRef/name", "ConfigMap"),
        ("env", "/valueFrom/secretKeyRef/name", "Secret"),
    ] {
        let names = items(container, list).iter().filter_map(|one| one.pointer(at)?.as_str());
        found.extend(names.map(|name| format!("{word} {}", shown(name))));
    }
    found
}

/// Whether the name contains a digest. If the posture requires config bundles, the webhook checks that the digest is
/// true.
fn is_named_like_a_bundle(source: &str) -> bool {
    source.starts_with("ConfigMap ")
        && source.rsplit_once('-').is_some_and(|(_, end)| end.len() >= 32 && end.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn items<'a>(value: &'a Value, list: &str) -> &'a [Value] {
    value.get(list).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn flag(value: &Value, field: &str) -> bool {
    value.get(field).and_then(Value::as_bool) == Some(true)
}

fn named(name: &str) -> String {
    if name.is_empty() { "default".to_owned() } else { shown(name) }
}

fn shown_value(value: &Value) -> String {
    value.as_str().map_or_else(|| shown(&value.to_string()), shown)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use writgate_core::kube::WorkloadKinds;

    use super::*;
    use crate::manifest;

    fn codes(old: Option<&Value>, new: &Value) -> Vec<&'static str> {
        let object = |pod: &Value| {
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"},
            "spec": {"template": {"spec": pod}}})
        };
        let text = object(new).to_string();
        let manifest = manifest::read("f", &text, &WorkloadKinds::default()).unwrap().remove(0);
        let old = old.map(object);
        of_workload(&manifest, old.as_ref(), &object(new)).into_iter().map(|unusual| unusual.code).collect()
    }

    fn plain() -> Value {
        json!({"containers": [{"name": "a", "image": format!("a@sha256:{}", "0".repeat(64))}]})
    }

    #[test]
    fn a_plain_pod_with_a_digest_is_not_unusual() {
        assert_eq!(codes(None, &plain()), [""; 0]);
        assert_eq!(codes(Some(&plain()), &plain()), [""; 0]);
    }

    #[test]
    fn reports_each_way_to_more_access() {
        let cases: [(&str, Value, &str); 14] = [
            ("/hostNetwork", json!(true), "host-access"),
            ("/hostPID", json!(true), "host-access"),
            ("/hostIPC", json!(true), "host-access"),
            ("/automountServiceAccountToken", json!(true), "token"),
            ("/serviceAccountName", json!("admin"), "service-account-new"),
            ("/securityContext", json!({"runAsUser": 0}), "root"),
            ("/volumes", json!([{"name": "v", "hostPath": {"path": "/"}}]), "host-access"),
            ("/volumes", json!([{"name": "v", "secret": {"secretName": "s"}}]), "secret"),
            ("/containers/0/image", json!("a:1"), "mutable-tag"),
            ("/containers/0/image", json!("localhost:5000/a"), "latest"),
            ("/containers/0/securityContext", json!({"privileged": true}), "privileged"),
            ("/containers/0/securityContext", json!({"allowPrivilegeEscalation": true}), "privilege-escalation"),
            ("/containers/0/securityContext", json!({"capabilities": {"add": ["SYS_ADMIN"]}}), "capabilities"),
            ("/containers/0/ports", json!([{"containerPort": 1, "hostPort": 80}]), "host-access"),
        ];
        for (path, value, code) in cases {
            let mut pod = plain();
            let (parent, field) = path.rsplit_once('/').unwrap();
            pod.pointer_mut(parent).unwrap()[field] = value;
            assert_eq!(codes(None, &pod), [code], "{path}");
        }
    }

    #[test]
    fn reports_fields_that_the_api_server_drops() {
        let mut pod = plain();
        pod["securityContext"] = json!({"runAsNonRoot": true});
        assert_eq!(codes(None, &pod), [""; 0]);
        pod["securityContext"] = json!({"runAsNonroot": true});
        assert_eq!(codes(None, &pod), ["unknown-field"]);
    }

    #[test]
    fn reports_what_is_new_compared_with_the_live_object() {
        let mut new = plain();
        new["containers"][0]["command"] = json!(["sh"]);
        new["containers"][0]["envFrom"] = json!([{"secretRef": {"name": "s"}}]);
        new["serviceAccountName"] = json!("other");
        let expected = ["service-account-changed", "secret", "command-changed", "env-from"];
        assert_eq!(codes(Some(&plain()), &new), expected);
        assert_eq!(codes(Some(&new), &new), [""; 0]);
    }
}
