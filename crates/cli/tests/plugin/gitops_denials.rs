//! Denials that Flux and Argo CD report, on a stand-in for the API server: kinds that are absent, forbidden, or present.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::{
    folder::Folder,
    posted::{posted, status},
    stand_in::{self, Answer, Request},
};

const PENDING: &str = "pending -n payments --kubeconfig config";
const KUSTOMIZATIONS: &str = "/apis/kustomize.toolkit.fluxcd.io/v1/kustomizations";
const HASH: &str = "sha256:48547757bcfe1ffefadbfce2c8b692436c9d9403b8c53c5210624dfd1bce3f80";

fn list(kind: &str, items: &[Value]) -> Answer {
    Answer::json(200, &json!({"apiVersion": "v1", "kind": kind, "metadata": {}, "items": items}))
}

fn groups(names: &[&str]) -> Answer {
    let group = |name: &&str| {
        let version = json!({"groupVersion": format!("{name}/v1"), "version": "v1"});
        json!({"name": name, "versions": [version], "preferredVersion": version})
    };
    Answer::json(200, &json!({"kind": "APIGroupList", "groups": names.iter().map(group).collect::<Vec<_>>()}))
}

/// A Kustomization that reports a denial of `object`.
fn kustomization(object: &str, hash: &str) -> Value {
    let message = format!(
        "Deployment/{object} dry-run failed (Forbidden): admission webhook \"workloads.writgate.dev\" denied the request: denied \
         (deploy) Deployment {object} in production: ApprovalRequired\nApprovalRequired: none\nspec hash: {hash}\nnext: request"
    );
    json!({"apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization",
        "metadata": {"name": "apps", "namespace": "flux-system"},
        "status": {"conditions": [{"type": "Ready", "status": "False", "message": message,
            "lastTransitionTime": "2026-11-28T10:00:00Z"}]}})
}

/// Serves the posted requests, no Events, and what `other` returns. Returns the paths that were requested.
fn serve(
    folder: &Folder,
    requests: Vec<Value>,
    mut other: impl FnMut(&Request) -> Option<Answer> + Send + 'static,
) -> Arc<Mutex<Vec<String>>> {
    let paths = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&paths);
    let document = |name: &str, kind: &str| {
        json!({"metadata": {"name": name, "namespace": "writgate-system", "labels": {"writgate.dev/kind": kind}},
               "data": {format!("{kind}.yaml"): folder.read(&format!("postures/{kind}.yaml"))}})
    };
    let postures = [document("posture", "posture"), document("prod-reviewers", "reviewers")];
    let namespace = json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": {
        "name": "payments", "labels": {"writgate.dev/environment": "production", "writgate.dev/project": "payments"}}});
    stand_in::serve(folder, move |request| {
        seen.lock().expect("no panic").push(request.path().to_owned());
        match request.path() {
            path if path.ends_with("/payments/events") => list("EventList", &[]),
            path if path.ends_with("/writgate-system/configmaps") => list("ConfigMapList", &postures),
            path if path.ends_with("/payments/configmaps") && request.target.contains("request") => {
                list("ConfigMapList", &requests)
            }
            path if path.ends_with("/payments/configmaps") => list("ConfigMapList", &[]),
            path if path.ends_with("/namespaces/payments") => Answer::json(200, &namespace),
            _ => other(request).unwrap_or_else(|| status(404, "NotFound")),
        }
    });
    paths
}

#[test]
fn a_tool_that_the_cluster_does_not_have_costs_no_request() {
    let folder = Folder::new();
    let paths = serve(&folder, Vec::new(), |request| (request.path() == "/apis").then(|| groups(&["apps"])));
    let (out, err) = folder.expect(1, PENDING, "");
    assert!(out.is_empty() && err.starts_with("nothing is pending") && err.lines().count() == 1, "{err}");
    let paths = paths.lock().expect("no panic");
    assert_eq!(paths.iter().filter(|path| *path == "/apis").count(), 1);
    assert!(!paths.iter().any(|path| path.contains("fluxcd") || path.contains("argoproj")), "{paths:?}");
}

#[test]
fn a_group_without_the_kind_says_nothing() {
    let folder = Folder::new();
    let paths = serve(&folder, Vec::new(), |request| (request.path() == "/apis").then(|| groups(&["argoproj.io"])));
    let (_, err) = folder.expect(1, PENDING, "");
    assert_eq!(err.lines().count(), 1, "{err}");
    assert!(paths.lock().expect("no panic").iter().any(|path| path == "/apis/argoproj.io/v1/applications"));
}

#[test]
fn kinds_that_may_not_be_listed_are_one_note() {
    let folder = Folder::new();
    serve(&folder, Vec::new(), |request| match request.path() {
        "/apis" => Some(groups(&["kustomize.toolkit.fluxcd.io", "helm.toolkit.fluxcd.io"])),
        path if path.contains("fluxcd") => Some(status(403, "Forbidden")),
        _ => None,
    });
    let (_, err) = folder.expect(1, PENDING, "");
    let note = "denials in the status of Kustomization, HelmRelease are left out: you have no permission to list these";
    assert_eq!(err.lines().next(), Some(note), "{err}");
    assert_eq!(err.lines().count(), 2, "{err}");
}

#[test]
fn those_of_the_namespace_are_read_if_only_they_may_be_listed() {
    let folder = Folder::new();
    serve(&folder, Vec::new(), |request| match request.path() {
        "/apis" => Some(groups(&["kustomize.toolkit.fluxcd.io"])),
        KUSTOMIZATIONS => Some(status(403, "Forbidden")),
        "/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/payments/kustomizations" => {
            Some(list("KustomizationList", &[kustomization("payments/orders", HASH)]))
        }
        _ => None,
    });
    let (out, err) = folder.expect(0, PENDING, "");
    assert!(out.starts_with("Deployment payments/orders\n"), "{out}");
    assert!(
        err.contains("are left out, except in namespace payments: you have no permission to list these in all"),
        "{err}"
    );
}

#[test]
fn a_denial_that_flux_reports_is_pending() {
    let folder = Folder::new();
    serve(&folder, Vec::new(), |request| match request.path() {
        "/apis" => Some(groups(&["kustomize.toolkit.fluxcd.io"])),
        KUSTOMIZATIONS => {
            let items = [kustomization("payments/orders", HASH), kustomization("billing/orders", HASH)];
            let metadata = json!({"continue": "token", "remainingItemCount": 7});
            Some(Answer::json(
                200,
                &json!({"apiVersion": "v1", "kind": "KustomizationList", "metadata": metadata, "items": items}),
            ))
        }
        _ => None,
    });
    let (out, err) = folder.expect(0, PENDING, "");
    assert_eq!(err, "only the first 500 objects of kind Kustomization are read: 7 are left out\n");
    let lines: Vec<&str> = out.lines().map(str::trim).collect();
    assert_eq!(lines[0], "Deployment payments/orders", "{out}");
    assert!(out.contains("Kustomization flux-system/apps since 2026-11-28T10:00:00Z\n"), "{out}");
    assert!(out.contains("ApprovalRequired") && out.contains(HASH), "{out}");
    assert!(!out.contains("billing"), "another namespace: {out}");
    let (out, _) = folder.expect(0, &format!("{PENDING} -o json"), "");
    let found: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(
        found[0]["reportedBy"],
        json!([{"kind": "Kustomization", "namespace": "flux-system", "name": "apps", "since": "2026-11-28T10:00:00Z",
            "reasons": ["ApprovalRequired"]}])
    );
    assert_eq!((&found[0]["object"]["apiVersion"], &found[0]["times"]), (&json!("apps/v1"), &json!(0)));
}

#[test]
fn a_reported_denial_and_the_request_for_the_same_spec_are_one_entry() {
    let folder = Folder::new();
    let (request, _) = posted(&folder);
    let text = request["data"]["request.json"].as_str().expect("text");
    let file: Value = serde_json::from_str(text).expect("JSON");
    let (subject, hash) = (&file["workloads"][0]["subject"], &file["workloads"][0]["specHash"]);
    let object = subject.as_str().expect("a subject").strip_prefix("apps/v1/Deployment/").expect("a Deployment");
    let item = kustomization(object, hash.as_str().expect("a hash"));
    serve(&folder, vec![request.clone()], move |request| match request.path() {
        "/apis" => Some(groups(&["kustomize.toolkit.fluxcd.io"])),
        KUSTOMIZATIONS => Some(list("KustomizationList", std::slice::from_ref(&item))),
        _ => None,
    });
    let (out, err) = folder.expect(0, &format!("{PENDING} -o json"), "");
    let found: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(found.as_array().map(Vec::len), Some(1), "{out}{err}");
    assert_eq!(found[0]["request"]["name"], request["metadata"]["name"]);
    assert_eq!(found[0]["reportedBy"][0]["name"], "apps");
    let (out, _) = folder.expect(0, PENDING, "");
    assert!(out.contains("Kustomization flux-system/apps since 2026-11-28T10:00:00Z: ApprovalRequired\n"), "{out}");
}
