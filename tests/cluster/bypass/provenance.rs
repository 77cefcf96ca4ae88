//! Attempts with images, canonical builds and config bundles.

use serde_json::{Value, json};

use crate::bypass::case::{GOOD, PATIENCE, TenantNamespace, row, text};
use writgate_testing::harness::{Test, tests};
use writgate_testing::{Governed, Installation, attach, document, wait_until};

pub(crate) fn tests() -> Vec<Test<Installation>> {
    tests![denies_images_without_a_digest, denies_what_is_not_a_canonical_build, denies_changed_config_bundles]
}

const PINNED: &str = "ghcr.io/acme/orders@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn with_image(governed: &Governed<'_>, name: &str, image: &str) -> Value {
    crate::bypass::case::with_image(&governed.deployment(name), image)
}

fn denies_images_without_a_digest(installation: &Installation) {
    let ns = TenantNamespace::with(installation, "images", |posture| posture["images"] = json!("digest"));
    let pinned = with_image(&ns, "pinned", PINNED);
    ns.row(46, "under `images: digest`, an approved image by digest").create(&ns.approved(&pinned)).admitted();
    let denied = |attempt: &str, object: &Value| {
        let row = ns.row(46, format!("under `images: digest`, {attempt}, approved"));
        row.create(&ns.approved(object)).denied("ImageNotPinned");
    };
    denied("an image by tag", &with_image(&ns, "orders", GOOD));
    denied("a truncated digest", &with_image(&ns, "orders", "ghcr.io/acme/orders@sha256:e3b0c442"));
    let mut init = with_image(&ns, "orders", PINNED);
    init["spec"]["template"]["spec"]["initContainers"] = json!([{"name": "i", "image": GOOD}]);
    denied("an init container by tag", &init);
    let mut volume = with_image(&ns, "orders", PINNED);
    volume["spec"]["template"]["spec"]["volumes"] = json!([{"name": "v", "image": {"reference": GOOD}}]);
    denied("an image volume by tag", &volume);
    row(46, "under `images: any`, another image pushed under the approved tag")
        .limit("A mutable image tag may refer to other bytes tomorrow");
}

/// The posture's pipelines define a version; the annotation only names one.
fn denies_what_is_not_a_canonical_build(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "builds");
    let name = format!("pipelines-{}", ns.environment);
    let builds = json!({"apiVersion": "writgate.dev/v1", "kind": "Pipelines",
        "pipelines": {"orders": {"1.4.2": {"images": [PINNED]}}}});
    let mut posture = ns.usual_posture();
    posture["pipelineSets"] = json!([name]);
    posture["pipelineVersion"] = json!("required");
    let mut objects = ns.posture_objects(&posture);
    objects.insert(0, document("pipelines", &name, &builds));
    installation.plane.install(&objects);
    let claiming = |name: &str, image: &str, version: &str| {
        let mut object = with_image(&ns, name, image);
        object["metadata"]["annotations"] = json!({"writgate.dev/pipeline-version": version});
        let approval = ns.signed_but(&object, |statement| {
            statement["predicate"]["pipelineVersion"] = json!(version);
        });
        object["metadata"]["annotations"][writgate_testing::APPROVAL] = json!(approval);
        object
    };
    let right = claiming("orders", PINNED, "orders@1.4.2");
    let none = ns.approved(&with_image(&ns, "other", PINNED));
    wait_until("the builds are known", PATIENCE, || {
        let ran = installation.operator.kubectl_in(&["create", "--dry-run=server", "-f", "-"], &none.to_string());
        ran.stderr.contains("PipelineVersionMismatch").then_some(())
    });
    ns.row(91, "an approved object without a pipeline version").create(&none).denied("PipelineVersionMismatch");
    let denied = |attempt, object: &Value, code| ns.row(91, attempt).create(object).denied(code);
    denied(
        "a pipeline version that is not a canonical build",
        &claiming("other", PINNED, "orders@9.9.9"),
        "NotCanonicalBuild",
    );
    let other = PINNED.replace("e3b0", "e3b1");
    denied(
        "an image that does not belong to the pipeline version",
        &claiming("other", &other, "orders@1.4.2"),
        "NotCanonicalBuild",
    );
    let mut renamed = claiming("other", PINNED, "orders@1.4.2");
    renamed["metadata"]["annotations"]["writgate.dev/pipeline-version"] = json!("orders@1.4.3");
    ns.row(91, "a pipeline version in the annotation that differs from the approval's")
        .create(&renamed)
        .denied("PipelineVersionMismatch");
    ns.applied(&right);
    let claim = json!({"metadata": {"annotations": {"writgate.dev/pipeline-version": "orders@9.9.9"}}});
    ns.row(91, "only the pipeline version annotation of a running Deployment changed")
        .patch("deployment/orders", "merge", &claim)
        .denied("PipelineVersionMismatch");
}

/// A config bundle with these settings.
fn bundle(ns: &TenantNamespace<'_>, settings: &str) -> Value {
    let data = json!({"settings.yaml": settings});
    let content = writgate_core::kube::ConfigMapContent {
        data: [("settings.yaml".to_owned(), settings.to_owned())].into(),
        ..Default::default()
    };
    let labels = json!({"writgate.dev/kind": "config-bundle", "writgate.dev/environment": ns.environment});
    json!({"apiVersion": "v1", "kind": "ConfigMap", "immutable": true, "data": data,
        "metadata": {"name": writgate_core::kube::bundle_name("orders", &content), "labels": labels}})
}

/// A Deployment that reads `bundle`, with an approval that names the bundle.
fn reading(ns: &TenantNamespace<'_>, name: &str, bundle: &Value) -> Value {
    let content = writgate_core::kube::ConfigMapContent::of(bundle).expect("a ConfigMap");
    let digest = writgate_core::kube::content_digest(&content);
    let mut object = ns.deployment(name);
    object["metadata"]["annotations"] = json!({"writgate.dev/config-bundle": digest});
    object["spec"]["template"]["spec"]["containers"][0]["envFrom"] =
        json!([{"configMapRef": {"name": bundle["metadata"]["name"]}}]);
    let approval = ns.signed_but(&object, |statement| statement["predicate"]["configBundle"] = json!(digest));
    attach(&object, &approval)
}

fn denies_changed_config_bundles(installation: &Installation) {
    let ns = TenantNamespace::with(installation, "bundles", |posture| posture["configBundle"] = json!("required"));
    let good = bundle(&ns, "workers: 4");
    ns.applied(&good);
    ns.applied(&reading(&ns, "orders", &good));
    let target = format!("configmap/{}", text(&good["metadata"]["name"]));
    let evil = json!({"settings.yaml": "workers: 400"});
    let change = json!({"data": evil});
    ns.row(48, "under `configBundle: required`, the content of a config bundle changed")
        .patch(&target, "merge", &change)
        .refused("Invalid");
    ns.row(48, "a config bundle deleted").kubectl(&["delete", &target]).unchanged();
    let mut other = good.clone();
    other["data"] = evil;
    ns.row(48, "a deleted config bundle created again with other content")
        .tries(|user| user.kubectl_in(&["create", "-n", &ns.namespace, "-f", "-"], &other.to_string()))
        .guarded("BundleInvalid");
    other["metadata"].as_object_mut().expect("metadata").remove("labels");
    ns.row(48, "a ConfigMap without the bundle label created under a deleted bundle's name, for Pods that start later")
        .create(&other)
        .limit("A user who can delete ConfigMaps can still create another one under that name");
    ns.row(48, "an approved Deployment that would read such a ConfigMap")
        .create(&reading(&ns, "other", &good))
        .denied("ConfigBundleMismatch");
}
