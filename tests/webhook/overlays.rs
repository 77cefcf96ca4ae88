//! `manifests/` and its overlays in `kustomize/`, compared with what Helm renders.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use writgate_testing::Tools;

use crate::chart::{container, find, objects, rendered, repository};

fn kustomized(folder: &Path) -> Vec<Value> {
    let tools = Tools::find().expect("make controlplane has built kubectl");
    let output = Command::new(tools.path("kubectl")).arg("kustomize").arg(folder).output().expect("kubectl runs");
    assert!(output.status.success(), "{}: {}", folder.display(), String::from_utf8_lossy(&output.stderr));
    objects(output.stdout)
}

/// What Helm renders, without the label that is false for objects that kubectl applies.
fn without_helm(mut objects: Vec<Value>) -> Vec<Value> {
    for object in &mut objects {
        for labels in ["/metadata/labels", "/spec/template/metadata/labels"] {
            if let Some(labels) = object.pointer_mut(labels).and_then(Value::as_object_mut) {
                assert_eq!(labels.remove("app.kubernetes.io/managed-by"), Some(json!("Helm")));
            }
        }
    }
    objects
}

fn overlay(name: &str) -> Vec<Value> {
    kustomized(&repository().join("kustomize").join(name))
}

/// Objects by kind, namespace and name, without those that are equal in both.
fn differences(left: Vec<Value>, right: Vec<Value>) -> BTreeMap<String, [Option<Value>; 2]> {
    let mut all: BTreeMap<String, [Option<Value>; 2]> = BTreeMap::new();
    for (side, objects) in [left, right].into_iter().enumerate() {
        for object in objects {
            let metadata = &object["metadata"];
            let key = format!("{} {}/{}", object["kind"], metadata["namespace"], metadata["name"]).replace('"', "");
            all.entry(key).or_default()[side] = Some(object);
        }
    }
    all.retain(|_, [left, right]| left != right);
    all
}

#[test]
fn the_overlay_for_cert_manager_is_the_chart_in_that_mode() {
    let chart = rendered(&["--skip-tests", "--set", "createNamespace=true", "--set", "certificates.mode=cert-manager"]);
    let differ = differences(overlay("cert-manager"), without_helm(chart));
    assert!(differ.is_empty(), "{differ:#?}");
}

/// An overlay changes nothing else, so that no rule of admission is lost on the way.
#[test]
fn the_other_overlays_add_annotations_and_a_posture_only() {
    let base = || kustomized(&repository().join("manifests"));
    let chart = rendered(&["--skip-tests", "--set", "createNamespace=true"]);
    let differ = differences(base(), without_helm(chart));
    assert!(differ.is_empty(), "{differ:#?}");
    for (name, changed) in [
        ("argocd", vec!["Namespace null/writgate-system", "ValidatingWebhookConfiguration null/writgate"]),
        ("flux", vec!["Namespace null/writgate-system"]),
    ] {
        let differ = differences(base(), overlay(name));
        assert_eq!(differ.keys().collect::<Vec<_>>(), changed, "{name}");
        for [before, after] in differ.into_values() {
            let mut after = after.expect("it is in the overlay");
            let annotations = after["metadata"].as_object_mut().expect("metadata").remove("annotations");
            assert!(annotations.is_some_and(|annotations| annotations.is_object()), "{name}: {after}");
            assert_eq!(before, Some(after), "{name}");
        }
    }
    let differ = differences(base(), overlay("audit-only"));
    let added: Vec<&String> = differ.keys().collect();
    let names =
        ["posture", "reviewers", "revocations"].map(|kind| format!("ConfigMap writgate-system/{kind}-production"));
    assert_eq!(added, names.iter().collect::<Vec<_>>());
    assert!(differ["ConfigMap writgate-system/posture-production"][1].as_ref().is_some_and(|posture| {
        posture["data"]["posture.yaml"].as_str().is_some_and(|text| text.contains("\nenforcement: audit\n"))
    }));
}

/// The posture would be denied if it came after the webhook configuration, while no Pod answers.
#[test]
fn the_overlay_for_onboarding_ends_with_the_webhook_configuration() {
    let kinds: Vec<String> = overlay("audit-only").iter().map(|object| object["kind"].to_string()).collect();
    assert_eq!(kinds.last().map(String::as_str), Some("\"ValidatingWebhookConfiguration\""), "{kinds:?}");
}

/// As docs/operations/install.md describes it.
#[test]
fn a_folder_on_top_of_an_overlay_sets_the_image() {
    let page = std::fs::read_to_string(repository().join("docs/operations/install.md")).expect("a page");
    let begin = "apiVersion: kustomize.config.k8s.io/v1beta1\n";
    let (_, rest) = page.split_once(begin).expect("the page has a kustomization");
    let (body, _) = rest.split_once("```").expect("it ends");
    // kustomize refuses absolute paths.
    std::fs::create_dir_all(repository().join("target")).expect("it can be written");
    let folder = tempfile::tempdir_in(repository().join("target")).expect("a folder");
    let path: PathBuf = folder.path().join("kustomization.yaml");
    std::fs::write(path, format!("{begin}{body}").replace("../writgate/", "../../")).expect("it can be written");
    let objects = kustomized(folder.path());
    let image = find(&objects, "Deployment").and_then(|object| object.pointer(&container("image"))).expect("an image");
    assert!(
        image.as_str().is_some_and(|image| image.starts_with("registry.example/writgate-webhook@sha256:")),
        "{image}"
    );
}
