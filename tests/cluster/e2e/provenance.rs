//! Canonical builds, config bundles and images by digest: each test starts from a workload that is admitted, and changes one
//! property at a time.

use std::process::Command;

use serde_json::{Value, json};

use writgate_testing::harness::{Test, tests};
use writgate_testing::{Governed, Installation, Ran, attach, denial, denied_for, document, envelope};

pub(crate) fn tests() -> Vec<Test<Installation>> {
    tests![
        denies_a_workload_that_is_not_its_canonical_build,
        denies_a_workload_that_does_not_read_the_approved_bundle,
        denies_an_invalid_bundle_when_it_is_written_or_read,
        a_replay_is_of_the_spec_that_the_incident_ran
    ]
}

const ORDERS: &str = "ghcr.io/acme/orders@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const OTHER: &str = "ghcr.io/acme/orders@sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
const REPLAY: &str = "ghcr.io/acme/replay@sha256:84f522c40a2df55aa12ecba9233cec2e5175f62b40afd195879c36f95a80d32b";

/// A governed namespace whose posture names a set of pipelines with these builds.
fn with_builds<'g>(
    installation: &'g Installation,
    hint: &str,
    builds: &Value,
    edit: impl FnOnce(&mut Value),
) -> Governed<'g> {
    let set = format!("pipelines-{hint}");
    let pipelines = json!({"apiVersion": "writgate.dev/v1", "kind": "Pipelines", "pipelines": {"orders": builds}});
    installation.plane.install(&[document("pipelines", &set, &pipelines)]);
    installation.governed_with(hint, |posture| {
        posture["pipelineSets"] = json!([set]);
        edit(posture);
    })
}

fn pod(object: &mut Value) -> &mut Value {
    &mut object["spec"]["template"]["spec"]
}

fn annotate(object: &mut Value, name: &str, value: &str) {
    object["metadata"]["annotations"][format!("writgate.dev/{name}")] = json!(value);
}

/// `object` with Bob's approval, which has the claims of the object's annotations.
fn approved(governed: &Governed<'_>, object: &Value) -> Value {
    let mut statement = governed.statement(object);
    let claim = |name: &str| object["metadata"]["annotations"][format!("writgate.dev/{name}")].clone();
    for (field, annotation) in [("pipelineVersion", "pipeline-version"), ("configBundle", "config-bundle")] {
        if let Value::String(text) = claim(annotation) {
            statement["predicate"][field] = json!(text);
        }
    }
    if let Value::String(text) = claim("incident-spec-hash") {
        statement["predicate"]["replay"]["incidentSpecHash"] = json!(text);
    }
    attach(object, &envelope(&statement, &[&governed.bob]))
}

fn apply(governed: &Governed<'_>, object: &Value) -> Ran {
    governed.installation.operator.apply(&approved(governed, object))
}

fn denies_a_workload_that_is_not_its_canonical_build(installation: &Installation) {
    let builds = json!({"1.4.2": {"images": [ORDERS]}, "1.4.3": {"images": [OTHER]}});
    let governed = with_builds(installation, "canonical", &builds, |posture| {
        posture["pipelineVersion"] = json!("required");
        posture["images"] = json!("digest");
        posture["workloads"] = json!("allow");
    });
    let build = |name: &str, version: &str, image: &str| {
        let mut object = governed.deployment(name);
        annotate(&mut object, "pipeline-version", version);
        pod(&mut object)["containers"][0]["image"] = json!(image);
        object
    };
    let ran = apply(&governed, &build("orders", "orders@1.4.2", ORDERS));
    assert!(ran.ok(), "{ran}");
    let ran = apply(&governed, &build("other-image", "orders@1.4.2", OTHER));
    assert!(denied_for(&ran, "NotCanonicalBuild"), "{ran}");
    let ran = apply(&governed, &build("other-version", "orders@1.4.3", ORDERS));
    assert!(denied_for(&ran, "NotCanonicalBuild"), "{ran}");
    let ran = apply(&governed, &build("unlisted", "orders@1.4.4", ORDERS));
    assert!(denied_for(&ran, "NotCanonicalBuild"), "{ran}");
    let ran = apply(&governed, &build("tag", "orders@1.4.2", "ghcr.io/acme/orders:1.4.2"));
    assert!(
        denial(&ran).is_some_and(|message| message.contains("for every image: ghcr.io/acme/orders:1.4.2 ")),
        "{ran}"
    );
    let mut unnamed = build("unnamed", "", ORDERS);
    unnamed["metadata"].as_object_mut().expect("metadata").remove("annotations");
    let ran = apply(&governed, &unnamed);
    assert!(denied_for(&ran, "PipelineVersionMismatch"), "{ran}");

    // The build of a workload that requires no approval is checked as well.
    let set = |name: &str, image: &str| {
        let mut object = build(name, "orders@1.4.2", image);
        object["kind"] = json!("DaemonSet");
        object["spec"].as_object_mut().expect("a spec").remove("replicas");
        object
    };
    let ran = installation.operator.apply(&set("agent", ORDERS));
    assert!(ran.ok(), "{ran}");
    let ran = installation.operator.apply(&set("agent-other", OTHER));
    assert!(denied_for(&ran, "NotCanonicalBuild"), "{ran}");
}

/// The bundle that `kubectl writgate bundle` prints for these settings.
fn bundle(governed: &Governed<'_>, settings: &str) -> Value {
    let mut command = Command::new(writgate_testing::plugin());
    command.args(["bundle", "orders-config", "--from-file=settings.yaml=-"]);
    command.args(["--environment", &governed.environment, "--namespace", &governed.namespace]);
    let ran = Ran::of(&mut command, settings);
    assert!(ran.ok(), "{ran}");
    writgate_core::encoding::read_yaml(&ran.stdout).expect("YAML").remove(0)
}

/// A Deployment that reads `bundle` and names its digest.
fn reading(governed: &Governed<'_>, name: &str, bundle: &Value) -> Value {
    let mut object = governed.deployment(name);
    let content = writgate_core::kube::ConfigMapContent::of(bundle).expect("a ConfigMap");
    annotate(&mut object, "config-bundle", &writgate_core::kube::content_digest(&content));
    pod(&mut object)["volumes"] = json!([{"name": "config", "configMap": {"name": bundle["metadata"]["name"]}}]);
    object
}

fn denies_a_workload_that_does_not_read_the_approved_bundle(installation: &Installation) {
    let governed = installation.governed_with("bundles", |posture| {
        posture["configBundle"] = json!("required");
        posture["secrets"] = json!(["orders-db"]);
    });
    let (slow, fast) = (bundle(&governed, "workers: 4\n"), bundle(&governed, "workers: 8\n"));
    let ran = apply(&governed, &reading(&governed, "orders", &slow));
    assert!(denied_for(&ran, "ConfigBundleMismatch"), "the bundle does not exist yet: {ran}");
    assert!(denial(&ran).is_some_and(|message| message.contains("does not exist")), "{ran}");
    for bundle in [&slow, &fast] {
        let ran = installation.tenant.apply(bundle);
        assert!(ran.ok(), "{ran}");
    }
    let ran = apply(&governed, &reading(&governed, "orders", &slow));
    assert!(ran.ok(), "{ran}");

    let mut other = reading(&governed, "other", &slow);
    annotate(
        &mut other,
        "config-bundle",
        reading(&governed, "other", &fast)["metadata"]["annotations"]["writgate.dev/config-bundle"]
            .as_str()
            .expect("a digest"),
    );
    let ran = apply(&governed, &other);
    assert!(denied_for(&ran, "ConfigBundleMismatch"), "the annotation names another bundle: {ran}");

    let reads = |secret: &str| {
        let mut object = reading(&governed, "secret", &slow);
        pod(&mut object)["containers"][0]["envFrom"] = json!([{"secretRef": {"name": secret}}]);
        object
    };
    let ran = apply(&governed, &reads("orders-db"));
    assert!(ran.ok(), "{ran}");
    let ran = apply(&governed, &reads("payroll-db"));
    assert!(denied_for(&ran, "ConfigBundleMismatch"), "{ran}");
    assert!(denial(&ran).is_some_and(|message| message.contains("Secret payroll-db")), "{ran}");

    let mut plain = reading(&governed, "plain", &slow);
    pod(&mut plain)["containers"][0]["envFrom"] = json!([{"configMapRef": {"name": "flags", "optional": true}}]);
    let ran = apply(&governed, &plain);
    assert!(denied_for(&ran, "ConfigBundleMismatch"), "{ran}");

    // The same name with other content, and without the label for which the guard would check it.
    let name = slow["metadata"]["name"].as_str().expect("a name");
    assert!(installation.tenant.kubectl(&["delete", "configmap", name, "-n", &governed.namespace]).ok());
    let mut again = slow.clone();
    again["metadata"].as_object_mut().expect("metadata").remove("labels");
    again["data"]["settings.yaml"] = json!("workers: 400\n");
    installation.tenant.apply(&again);
    let ran = apply(&governed, &reading(&governed, "again", &slow));
    assert!(denied_for(&ran, "ConfigBundleMismatch"), "{ran}");
}

/// Makes a bundle invalid.
type Wrong = fn(&mut Value);

fn denies_an_invalid_bundle_when_it_is_written_or_read(installation: &Installation) {
    let governed = installation.governed_with("no-bundles", |posture| posture["configBundle"] = json!("required"));
    let wrongs: [(&str, Wrong, &str); 3] = [
        ("mutable", |bundle| bundle["immutable"] = json!(false), "it is not immutable"),
        (
            "elsewhere",
            |bundle| bundle["metadata"]["labels"]["writgate.dev/environment"] = json!("qa"),
            "environment qa",
        ),
        ("misnamed", |bundle| bundle["data"]["more"] = json!("x"), "does not end in the digest of its content"),
    ];
    for (name, wrong, why) in wrongs {
        let whole = bundle(&governed, &format!("for: {name}\n"));
        let mut bundle = whole.clone();
        wrong(&mut bundle);
        let written = installation.tenant.apply(&bundle);
        let ran = apply(&governed, &reading(&governed, name, &whole));
        assert!(denied_for(&ran, "ConfigBundleMismatch"), "{name}: {ran}");
        let message = if written.ok() { &ran.stderr } else { &written.stderr };
        assert!(message.contains(why), "{name}: {message}");
    }
}

fn a_replay_is_of_the_spec_that_the_incident_ran(installation: &Installation) {
    let spec = format!("sha256:{}", "ab".repeat(32));
    let builds = json!({"1.4.2": {"specHash": spec, "images": [REPLAY]}});
    let governed = with_builds(installation, "incident", &builds, |posture| posture["images"] = json!("digest"));
    let replay = |mut job: Value, incident: &str| {
        annotate(&mut job, "pipeline-version", "orders@1.4.2");
        annotate(&mut job, "incident-spec-hash", incident);
        pod(&mut job)["containers"][0]["image"] = json!(REPLAY);
        job
    };
    let other = format!("sha256:{}", "ac".repeat(32));
    let ran = apply(&governed, &replay(governed.replay_job("replay-other"), &other));
    assert!(denied_for(&ran, "IncidentMismatch"), "{ran}");
    let ran = apply(&governed, &replay(governed.replay_job("replay"), &spec));
    assert!(ran.ok(), "{ran}");
    let ran = installation.operator.apply(&replay(governed.dry_run_job("dry-other"), &other));
    assert!(denied_for(&ran, "IncidentMismatch"), "{ran}");
    let ran = installation.operator.apply(&replay(governed.dry_run_job("dry"), &spec));
    assert!(ran.ok(), "{ran}");
    let mut tag = replay(governed.dry_run_job("dry-tag"), &spec);
    pod(&mut tag)["containers"][0]["image"] = json!("ghcr.io/acme/replay:2.0.1");
    let ran = installation.operator.apply(&tag);
    assert!(denied_for(&ran, "ApprovalRequired"), "a dry run requires an image by digest: {ran}");
}
