//! The chart as Helm renders it for different platforms, applied to a real API server.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;

use serde_json::json;
use writgate_testing::{helm, wait_until};

use crate::manifests::{PATIENCE, Unreachable, names};

/// The namespace of the release. Another test deletes the namespace `writgate-system`.
pub(super) const NAMESPACE: &str = "writgate-release";

fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/writgate")
}

/// What `helm template` renders with these arguments.
fn helm_template(args: &[&str]) -> String {
    let mut command = Command::new(helm());
    command.args(["template", "writgate"]).arg(chart()).args(["--namespace", NAMESPACE]).args(args);
    let output = command.output().expect("make tools has built Helm");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("YAML")
}

fn paths(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut paths: Vec<PathBuf> = entries.collect();
    paths.sort();
    paths
}

/// A field that a chart misspells is an error only with strict validation.
pub(super) fn the_api_server_accepts_the_chart_on_each_platform(unreachable: &Unreachable) {
    let files = paths(&chart().join("ci"));
    assert!(files.len() >= 9, "{files:?}");
    install_foreign_kinds(unreachable);
    for file in files {
        let rendered = helm_template(&["--skip-tests", "--values", file.to_str().expect("a UTF-8 path")]);
        accepts(unreachable, &rendered, &file);
    }
}

/// The overlays of kustomize/, and what Argo CD and Flux read. Another test deletes the namespace `writgate-system`.
pub(super) fn the_api_server_accepts_each_overlay(unreachable: &Unreachable) {
    install_foreign_kinds(unreachable);
    let mut overlays = paths(&Path::new(env!("CARGO_MANIFEST_DIR")).join("kustomize"));
    overlays.retain(|path| path.is_dir());
    assert_eq!(overlays.len(), 4, "{overlays:?}");
    for overlay in overlays {
        let ran = unreachable.plane.admin.kubectl(&["kustomize", overlay.to_str().expect("a UTF-8 path")]);
        assert!(ran.ok(), "{ran}");
        accepts(unreachable, &ran.stdout.replace("writgate-system", NAMESPACE), &overlay);
    }
    for file in ["argocd/application.yaml", "flux/sync.yaml"] {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("kustomize").join(file);
        let text = std::fs::read_to_string(&file).expect("a file");
        let here = format!("  namespace: {NAMESPACE}\n");
        let text = text.replace("  namespace: argocd\n", &here).replace("  namespace: flux-system\n", &here);
        accepts(unreachable, &text, &file);
    }
}

/// The API server would create the objects, apart from those that exist.
fn accepts(unreachable: &Unreachable, rendered: &str, source: &Path) {
    let args = ["create", "--dry-run=server", "--validate=strict", "-f", "-"];
    let ran = unreachable.plane.admin.kubectl_in(&args, rendered);
    // The API server checks an object before it finds that the name is taken.
    // The webhook is down here, so nobody can create the canary's namespace, which is governed.
    let expected = ["(AlreadyExists)", "failed calling webhook \"namespaces.writgate.dev\""];
    let failures = ran.stderr.lines().filter(|line| !expected.iter().any(|part| line.contains(part)));
    assert_eq!(failures.collect::<Vec<_>>(), [""; 0], "{}", source.display());
    assert!(ran.stdout.contains("created (server dry run)"), "{}: {ran}", source.display());
}

/// The kinds of cert-manager, of the Prometheus Operator, of Argo CD and of Flux, without a schema of their specs.
fn install_foreign_kinds(unreachable: &Unreachable) {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| install_kinds(unreachable));
}

fn install_kinds(unreachable: &Unreachable) {
    let kind = |group: &str, version: &str, kind: &str| {
        let singular = kind.to_lowercase();
        let plural = if kind == "GitRepository" { "gitrepositories".to_owned() } else { format!("{singular}s") };
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.{group}")},
            "spec": {"group": group, "scope": "Namespaced",
                "names": {"kind": kind, "singular": singular, "plural": plural},
                "versions": [{"name": version, "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                    "type": "object", "properties": {
                        "spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}}]}})
    };
    let operator = "monitoring.coreos.com";
    unreachable.plane.install(&[
        kind("cert-manager.io", "v1", "Issuer"),
        kind("cert-manager.io", "v1", "Certificate"),
        kind(operator, "v1", "ServiceMonitor"),
        kind(operator, "v1", "PodMonitor"),
        kind(operator, "v1", "PrometheusRule"),
        kind("argoproj.io", "v1alpha1", "Application"),
        kind("source.toolkit.fluxcd.io", "v1", "GitRepository"),
        kind("kustomize.toolkit.fluxcd.io", "v1", "Kustomization"),
    ]);
    wait_until("the kinds are served", PATIENCE, || {
        let kinds = "issuers.cert-manager.io,certificates.cert-manager.io,servicemonitors.monitoring.coreos.com,\
                     podmonitors.monitoring.coreos.com,prometheusrules.monitoring.coreos.com,applications.argoproj.io,\
                     gitrepositories.source.toolkit.fluxcd.io,kustomizations.kustomize.toolkit.fluxcd.io";
        unreachable.plane.admin.kubectl(&["get", kinds]).ok().then_some(())
    });
}

/// Values that have no effect together are refused with a message that says what to do.
pub(super) fn helm_refuses_values_of_another_certificate_mode(_: &Unreachable) {
    let refused = |values: &str| {
        let mut command = Command::new(helm());
        let args = ["template", "writgate"];
        let output =
            command.args(args).arg(chart()).args(["--set", values]).output().expect("make tools has built Helm");
        assert!(!output.status.success(), "{values}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    for values in ["certificates.caBundle=QQ==", "certificates.mode=cert-manager,certificates.caBundle=QQ=="] {
        assert!(refused(values).contains("leave it empty, or set the mode to brought"), "{values}");
    }
    assert!(
        refused("certificates.secretName=mine")
            .contains("certificates.secretName is set, and certificates.mode is self")
    );
    assert!(
        refused("monitoring.podMonitor.enabled=true,monitoring.serviceMonitor.enabled=true")
            .contains("each Pod would be scraped twice; set one of them")
    );
    assert!(
        refused("staticManifests.enabled=true").contains("the webhook cannot write its CA into files of API servers")
    );
    assert!(refused("staticManifests.render=true").contains("requires staticManifests.url"));
    assert!(refused("certificates.mode=none").contains("'self', 'cert-manager', 'brought'"));
    assert!(refused("tls.caBundle=QQ==").contains("'tls' not allowed"));
}

/// Each mode has one source of the certificate and one of the bundle.
pub(super) fn each_certificate_mode_renders_its_own_parts(_: &Unreachable) {
    let values =
        |mode: &str| chart().join(format!("ci/{mode}-values.yaml")).into_os_string().into_string().expect("UTF-8");
    let own = helm_template(&[]);
    let (with_manager, brought) =
        (helm_template(&["--values", &values("cert-manager")]), helm_template(&["--values", &values("brought")]));
    let counts = |part: &str| [&own, &with_manager, &brought].map(|rendered| rendered.matches(part).count());
    let entries = own.matches("admissionReviewVersions: [v1]").count();
    assert_eq!(counts("caBundle: "), [0, 0, entries]);
    // A cluster without the Prometheus Operator does not know its kinds.
    assert_eq!(counts("monitoring.coreos.com"), [0, 0, 0]);
    assert_eq!(counts("--certificate-secret="), [1, 0, 0]);
    assert_eq!(counts("--tls-cert-file="), [0, 1, 1]);
    assert_eq!(counts("kind: Secret\n"), [1, 0, 0]);
    assert_eq!(counts("kind: Certificate\n"), [0, 2, 0]);
    assert_eq!(counts("cert-manager.io/inject-ca-from: writgate-release/writgate-webhook"), [0, 1, 0]);
    assert_eq!(counts("resourceNames: [writgate-webhook-ca]"), [1, 0, 0]);
    assert_eq!(counts("verbs: [get, patch, watch]"), [1, 0, 0]);
    assert_eq!(counts("name: configuration.writgate.dev"), [2, 0, 0]);
    assert_eq!(counts("secretName: webhook-certificate"), [0, 0, 1]);
}

/// The API server limits system priority classes outside kube-system, as GKE does.
pub(super) fn the_pods_start_although_their_priority_class_is_limited(unreachable: &Unreachable) {
    let admin = &unreachable.plane.admin;
    let parts = ["rbac.yaml", "resourcequota.yaml", "deployment.yaml"].map(|name| format!("templates/{name}"));
    let shown: Vec<&str> = parts.iter().flat_map(|part| ["--show-only", part]).collect();
    let without = [&shown[..2], &shown[4..], &["--set", "resourceQuota.enabled=false"]].concat();
    let apply = |rendered: &str| {
        let ran = admin.kubectl_in(&["apply", "-f", "-"], rendered);
        assert!(ran.ok(), "{ran}");
    };
    let pods = || names(&admin.get(&["pods", "-n", NAMESPACE]).expect("a list")).len();

    apply(&helm_template(&without));
    wait_until("the Pods are refused", PATIENCE, || {
        let sets = admin.get(&["replicasets", "-n", NAMESPACE]).expect("a list");
        sets.to_string().contains("insufficient quota to match these scopes").then_some(())
    });
    assert_eq!(pods(), 0);

    apply(&helm_template(&shown));
    wait_until("both Pods exist", PATIENCE, || (pods() == 2).then_some(()));
    // The Pod of `helm test` requires the service account, and has no place in the quota.
    accepts(unreachable, &helm_template(&["--show-only", "templates/tests/canary.yaml"]), &chart());
    let ran = admin.kubectl(&["delete", "deployment", "--all", "-n", NAMESPACE]);
    assert!(ran.ok(), "{ran}");
}
