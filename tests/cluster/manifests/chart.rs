//! The chart as Helm renders it for different platforms, applied to a real API server.

use std::path::{Path, PathBuf};
use std::process::Command;

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

/// A field that a chart misspells is an error only with strict validation.
pub(super) fn the_api_server_accepts_the_chart_on_each_platform(unreachable: &Unreachable) {
    let files = std::fs::read_dir(chart().join("ci")).expect("a folder").map(|file| file.expect("an entry").path());
    let files: Vec<PathBuf> = files.collect();
    assert!(files.len() >= 6, "{files:?}");
    for file in files {
        let rendered = helm_template(&["--values", file.to_str().expect("a UTF-8 path")]);
        let args = ["create", "--dry-run=server", "--validate=strict", "-f", "-"];
        let ran = unreachable.plane.admin.kubectl_in(&args, &rendered);
        // The API server checks an object before it finds that the name is taken.
        let failures = ran.stderr.lines().filter(|line| !line.contains("(AlreadyExists)"));
        assert_eq!(failures.collect::<Vec<_>>(), [""; 0], "{}", file.display());
        assert!(ran.stdout.contains("created (server dry run)"), "{}: {ran}", file.display());
    }
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
    let ran = admin.kubectl(&["delete", "deployment", "--all", "-n", NAMESPACE]);
    assert!(ran.ok(), "{ran}");
}
