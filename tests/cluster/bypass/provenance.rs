//! Where what runs comes from: images, canonical builds, and the settings that it reads.

use serde_json::{Value, json};

use crate::bypass::case::{GOOD, Ground, PATIENCE, row, text};
use writgate_testing::harness::{Test, tests};
use writgate_testing::{Gate, Governed, attach, document, wait_until};

pub(crate) fn tests() -> Vec<Test<Gate>> {
    tests![images_that_can_be_moved, builds_that_nobody_made, settings_that_change]
}

const PINNED: &str = "ghcr.io/acme/orders@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn with_image(governed: &Governed<'_>, name: &str, image: &str) -> Value {
    crate::bypass::case::with_image(&governed.deployment(name), image)
}

fn images_that_can_be_moved(gate: &Gate) {
    let ground = Ground::with(gate, "images", |posture| posture["images"] = json!("digest"));
    let pinned = with_image(&ground, "pinned", PINNED);
    ground.row(46, "under `images: digest`, an approved image by digest").create(&ground.approved(&pinned)).admitted();
    let denied = |attempt: &str, object: &Value| {
        let row = ground.row(46, format!("under `images: digest`, {attempt}, approved"));
        row.create(&ground.approved(object)).denied("ImageNotPinned");
    };
    denied("an image by tag", &with_image(&ground, "orders", GOOD));
    denied("a truncated digest", &with_image(&ground, "orders", "ghcr.io/acme/orders@sha256:e3b0c442"));
    let mut init = with_image(&ground, "orders", PINNED);
    init["spec"]["template"]["spec"]["initContainers"] = json!([{"name": "i", "image": GOOD}]);
    denied("an init container by tag", &init);
    let mut volume = with_image(&ground, "orders", PINNED);
    volume["spec"]["template"]["spec"]["volumes"] = json!([{"name": "v", "image": {"reference": GOOD}}]);
    denied("an image volume by tag", &volume);
    row(46, "under `images: any`, another image pushed under the approved tag")
        .limit("A mutable image tag may refer to other bytes tomorrow");
}

/// A version is what the posture's pipelines say it is, not what an annotation claims.
fn builds_that_nobody_made(gate: &Gate) {
    let ground = Ground::new(gate, "builds");
    let name = format!("pipelines-{}", ground.environment);
    let builds = json!({"apiVersion": "writgate.dev/v1", "kind": "Pipelines",
        "pipelines": {"orders": {"1.4.2": {"images": [PINNED]}}}});
    let mut posture = ground.usual_posture();
    posture["pipelineSets"] = json!([name]);
    posture["pipelineVersion"] = json!("required");
    let mut objects = ground.posture_objects(&posture);
    objects.insert(0, document("pipelines", &name, &builds));
    gate.plane.install(&objects);
    let claiming = |name: &str, image: &str, version: &str| {
        let mut object = with_image(&ground, name, image);
        object["metadata"]["annotations"] = json!({"writgate.dev/pipeline-version": version});
        let approval = ground.signed_but(&object, |statement| {
            statement["predicate"]["pipelineVersion"] = json!(version);
        });
        object["metadata"]["annotations"][writgate_testing::APPROVAL] = json!(approval);
        object
    };
    let right = claiming("orders", PINNED, "orders@1.4.2");
    let none = ground.approved(&with_image(&ground, "other", PINNED));
    wait_until("the builds are known", PATIENCE, || {
        let ran = gate.operator.kubectl_in(&["create", "--dry-run=server", "-f", "-"], &none.to_string());
        ran.stderr.contains("PipelineVersionMismatch").then_some(())
    });
    ground.row(91, "an approved object without a pipeline version").create(&none).denied("PipelineVersionMismatch");
    let denied = |attempt, object: &Value, code| ground.row(91, attempt).create(object).denied(code);
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
    ground
        .row(91, "a pipeline version in the annotation that differs from the approval's")
        .create(&renamed)
        .denied("PipelineVersionMismatch");
    ground.applied(&right);
    let claim = json!({"metadata": {"annotations": {"writgate.dev/pipeline-version": "orders@9.9.9"}}});
    ground
        .row(91, "only the pipeline version annotation of a running Deployment changed")
        .patch("deployment/orders", "merge", &claim)
        .denied("PipelineVersionMismatch");
}

/// A ConfigMap that is named by its content.
fn bundle(ground: &Ground<'_>, settings: &str) -> Value {
    let data = json!({"settings.yaml": settings});
    let content = writgate_core::kube::ConfigMapContent {
        data: [("settings.yaml".to_owned(), settings.to_owned())].into(),
        ..Default::default()
    };
    let labels = json!({"writgate.dev/kind": "config-bundle", "writgate.dev/environment": ground.environment});
    json!({"apiVersion": "v1", "kind": "ConfigMap", "immutable": true, "data": data,
        "metadata": {"name": writgate_core::kube::bundle_name("orders", &content), "labels": labels}})
}

/// A Deployment that reads `bundle`, approved together with it.
fn reading(ground: &Ground<'_>, name: &str, bundle: &Value) -> Value {
    let content = writgate_core::kube::ConfigMapContent::of(bundle).expect("a ConfigMap");
    let digest = writgate_core::kube::content_digest(&content);
    let mut object = ground.deployment(name);
    object["metadata"]["annotations"] = json!({"writgate.dev/config-bundle": digest});
    object["spec"]["template"]["spec"]["containers"][0]["envFrom"] =
        json!([{"configMapRef": {"name": bundle["metadata"]["name"]}}]);
    let approval = ground.signed_but(&object, |statement| statement["predicate"]["configBundle"] = json!(digest));
    attach(&object, &approval)
}

fn settings_that_change(gate: &Gate) {
    let ground = Ground::with(gate, "bundles", |posture| posture["configBundle"] = json!("required"));
    let good = bundle(&ground, "workers: 4");
    ground.applied(&good);
    ground.applied(&reading(&ground, "orders", &good));
    let target = format!("configmap/{}", text(&good["metadata"]["name"]));
    let evil = json!({"settings.yaml": "workers: 400"});
    let change = json!({"data": evil});
    ground
        .row(48, "under `configBundle: required`, the content of a config bundle changed")
        .patch(&target, "merge", &change)
        .refused("Invalid");
    ground.row(48, "a config bundle deleted").kubectl(&["delete", &target]).unchanged();
    let mut other = good.clone();
    other["data"] = evil;
    ground
        .row(48, "a deleted config bundle created again with other content")
        .tries(|user| user.kubectl_in(&["create", "-n", &ground.namespace, "-f", "-"], &other.to_string()))
        .guarded("BundleInvalid");
    other["metadata"].as_object_mut().expect("metadata").remove("labels");
    ground
        .row(
            48,
            "a ConfigMap without the bundle label created under a deleted bundle's name, for Pods that start later",
        )
        .create(&other)
        .limit("A user who can delete ConfigMaps can still create another one under that name");
    ground
        .row(48, "an approved Deployment that would read such a ConfigMap")
        .create(&reading(&ground, "other", &good))
        .denied("ConfigBundleMismatch");
}
