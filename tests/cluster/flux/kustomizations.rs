//! Workloads in a Kustomization: with an approval in the same source, and without one.

use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::flux::{Flux, LIMIT, STAGED, condition, plugin, ready};
use writgate_testing::flux::{Repository, SYSTEM};
use writgate_testing::{Governed, denied_for, detached, envelope, seconds_from_now, wait_until};

const IMAGE: &str = "ghcr.io/acme/orders:1.4.2";
const NEXT_IMAGE: &str = "ghcr.io/acme/orders:1.5.0";

/// A repository whose kustomization contains a Deployment, and a Kustomization that applies it.
struct Release<'f> {
    flux: &'f Flux,
    governed: &'f Governed<'f>,
    repository: Repository<'f>,
}

impl<'f> Release<'f> {
    fn new(flux: &'f Flux, governed: &'f Governed<'f>) -> Self {
        Self::with(flux, governed, &json!({}))
    }

    /// The same, with further fields of the Kustomization.
    fn with(flux: &'f Flux, governed: &'f Governed<'f>, fields: &Value) -> Self {
        let repository = flux.repository(&governed.namespace);
        flux.kustomize(&governed.namespace, &repository, fields);
        Self { flux, governed, repository }
    }

    fn name(&self) -> &str {
        &self.governed.namespace
    }

    /// Pushes the Deployment with a kustomization that sets the namespace and includes `more`.
    fn push(&self, deployment: &Value, more: &Value) -> String {
        let mut base = deployment.clone();
        base["metadata"].as_object_mut().expect("metadata").remove("namespace");
        self.repository.write("orders.yaml", &base.to_string());
        let mut kustomization = json!({"namespace": self.governed.namespace, "resources": ["orders.yaml"]});
        for (field, value) in more.as_object().expect("fields") {
            kustomization[field] = value.clone();
        }
        self.repository.write("kustomization.yaml", &kustomization.to_string());
        self.repository.push()
    }

    /// Attaches an approval of `deployment` with the command line, and pushes both.
    fn push_approved(&self, deployment: &Value, change: impl FnOnce(&mut Value)) -> String {
        let mut statement = self.governed.statement(deployment);
        change(&mut statement);
        self.repository.write("approval.json", &envelope(&statement, &[&self.governed.bob]));
        plugin(&self.repository.folder, &["attach", "--kustomize", "approvals", "--approval", "approval.json"]);
        self.push(deployment, &json!({"components": ["approvals"]}))
    }

    fn live(&self) -> Option<Value> {
        self.flux.deployment(&self.governed.namespace, "orders")
    }
}

fn image(deployment: &Value) -> &str {
    deployment["spec"]["template"]["spec"]["containers"][0]["image"].as_str().expect("an image")
}

fn next(deployment: &Value) -> Value {
    let mut next = deployment.clone();
    next["spec"]["template"]["spec"]["containers"][0]["image"] = json!(NEXT_IMAGE);
    next
}

fn is_denied_for(message: &str, code: &str) -> bool {
    message.contains("denied the request") && message.contains(&format!("{code}: "))
}

pub(crate) fn an_approval_in_a_component_of_the_same_source_is_admitted(flux: &Flux) {
    let governed = flux.installation.governed("component");
    let release = Release::new(flux, &governed);
    let orders = governed.deployment("orders");
    let revision = release.push(&orders, &json!({}));
    let message = flux.failed(release.name(), &revision);
    assert!(message.contains("dry-run failed") && is_denied_for(&message, "ApprovalRequired"), "{message}");
    assert_eq!(release.live(), None);
    assert_eq!(flux.reported(&governed, "Kustomization"), json!(["ApprovalRequired"]));

    let revision = release.push_approved(&orders, |_| {});
    flux.applied(release.name(), &revision);
    assert_eq!(image(&release.live().expect("it exists")), IMAGE);

    // Another spec with the approval of the first, and then with its own.
    let revision = release.push(&next(&orders), &json!({"components": ["approvals"]}));
    let message = flux.failed(release.name(), &revision);
    assert!(is_denied_for(&message, "SpecHashMismatch"), "{message}");
    let revision = release.push_approved(&next(&orders), |_| {});
    flux.applied(release.name(), &revision);
    let live = release.live().expect("it exists");
    assert_eq!(image(&live), NEXT_IMAGE);
    let annotations = live["metadata"]["annotations"].as_object().expect("annotations");
    let approvals = annotations.keys().filter(|name| name.starts_with("writgate.dev/approval"));
    assert_eq!(approvals.count(), 1, "Flux removes the approval of the old spec: {annotations:?}");
    let claim = json!([{"kind": "Kustomization", "name": release.name(), "namespace": SYSTEM, "revision": null}]);
    assert_eq!(flux.claims(&governed, "kustomize-controller"), [claim.clone(), claim]);
}

pub(crate) fn an_unchanged_object_stays_ready_after_its_approval_has_expired(flux: &Flux) {
    let governed = flux.installation.governed("expired");
    let release = Release::new(flux, &governed);
    let orders = governed.deployment("orders");
    let lifetime = Duration::from_secs(20);
    let end = Instant::now() + lifetime + Duration::from_secs(1); // the statement has whole seconds
    let revision = release.push_approved(&orders, |statement| {
        statement["predicate"]["expiresAt"] =
            json!(seconds_from_now(i64::try_from(lifetime.as_secs()).expect("small")));
    });
    flux.applied(release.name(), &revision);
    sleep(end.saturating_duration_since(Instant::now()));

    let found = flux.reconcile(release.name());
    assert_eq!((&ready(&found)["status"], &found["status"]["lastAppliedRevision"]), (&json!("True"), &json!(revision)));
    // Another commit that leaves the Deployment alone.
    let other = json!({"components": ["approvals"], "configMapGenerator": [{"name": "other", "literals": ["a=b"]}]});
    let revision = release.push(&orders, &other);
    flux.applied(release.name(), &revision);

    // Creating the object again is another matter.
    let args = ["delete", "deployment", "orders", "-n", &governed.namespace];
    assert!(flux.installation.plane.admin.kubectl(&args).ok());
    let message = wait_until("Flux does not create the Deployment again", LIMIT, || {
        let found = flux.reconcile(release.name());
        (ready(&found)["status"] == "False").then(|| ready(&found)["message"].as_str().expect("a message").to_owned())
    });
    assert!(is_denied_for(&message, "Expired"), "{message}");
}

pub(crate) fn flux_corrects_drift_and_prunes_without_another_approval(flux: &Flux) {
    let governed = flux.installation.governed("drift");
    let release = Release::new(flux, &governed);
    let orders = governed.deployment("orders");
    let revision = release.push_approved(&orders, |_| {});
    flux.applied(release.name(), &revision);

    let namespace = &governed.namespace;
    let ran = flux.installation.operator.kubectl(&["scale", "deployment/orders", "--replicas=3", "-n", namespace]);
    assert!(ran.ok(), "{ran}");
    flux.reconcile(release.name());
    assert_eq!(release.live().expect("it exists")["spec"]["replicas"], 1);

    // The webhook denies other changes of the spec. The object still names its Kustomization, which did not cause them.
    let image_flag = format!("orders={NEXT_IMAGE}");
    let set_image = ["set", "image", "deployment/orders", &image_flag, "-n", namespace];
    let ran = flux.installation.operator.kubectl(&set_image);
    assert!(denied_for(&ran, "SpecHashMismatch"), "{ran}");
    let is_denied =
        |record: &Value| record["environment"] == *governed.environment && record["reasons"][0] == "SpecHashMismatch";
    let denied = flux.installation.webhook.records(is_denied).pop().expect("a record");
    assert_eq!(denied["initiator"]["username"], flux.installation.operator.name);
    assert_eq!(denied["initiatedBy"][0]["name"], release.name());

    // This change happens while nothing governs the namespace.
    let admin = &flux.installation.plane.admin;
    let labels = |environment: &str, project: &str| {
        let args = ["label", "namespace", namespace, "--overwrite", environment, project];
        let ran = admin.kubectl(&args);
        assert!(ran.ok(), "{ran}");
    };
    labels("writgate.dev/environment-", "writgate.dev/project-");
    wait_until("the image can be changed", LIMIT, || admin.kubectl(&set_image).ok().then_some(()));
    labels(
        &format!("writgate.dev/environment={}", governed.environment),
        &format!("writgate.dev/project={}", governed.project),
    );
    wait_until("Flux restores the image", LIMIT, || {
        flux.reconcile(release.name());
        (image(&release.live()?) == IMAGE).then_some(())
    });

    let other = json!({"namespace": namespace, "configMapGenerator": [{"name": "other", "literals": ["a=b"]}]});
    release.repository.write("kustomization.yaml", &other.to_string());
    let revision = release.repository.push();
    flux.applied(release.name(), &revision);
    assert_eq!(release.live(), None, "Flux prunes the Deployment");
}

pub(crate) fn a_suspended_kustomization_applies_nothing_until_it_is_resumed(flux: &Flux) {
    let governed = flux.installation.governed("suspended");
    let release = Release::new(flux, &governed);
    let orders = governed.deployment("orders");
    let first = release.push_approved(&orders, |_| {});
    flux.applied(release.name(), &first);

    flux.patch("kustomization", release.name(), &json!({"spec": {"suspend": true}}));
    let second = release.push_approved(&next(&orders), |_| {});
    sleep(Duration::from_secs(3));
    assert_eq!(flux.get("kustomization", release.name())["status"]["lastAttemptedRevision"], *first);
    assert_eq!(image(&release.live().expect("it exists")), IMAGE);
    flux.patch("kustomization", release.name(), &json!({"spec": {"suspend": false}}));
    flux.applied(release.name(), &second);
    assert_eq!(image(&release.live().expect("it exists")), NEXT_IMAGE);
}

pub(crate) fn flux_retries_until_an_approval_is_there(flux: &Flux) {
    let governed = flux.installation.governed("retry");
    let release = Release::new(flux, &governed);
    let orders = governed.deployment("orders");
    let revision = release.push(&orders, &json!({}));
    let message = flux.failed(release.name(), &revision);
    assert!(is_denied_for(&message, "ApprovalRequired"), "{message}");

    let signed = envelope(&governed.statement(&orders), &[&governed.bob]);
    let approval = detached(&governed.namespace, "orders-approval", &signed);
    let started = Instant::now();
    flux.installation.plane.install(&[approval]);
    wait_until("the Deployment exists", LIMIT, || release.live());
    println!("{} ms from the approval to the admission, with a retry interval of 2 s", started.elapsed().as_millis());
    flux.applied(release.name(), &revision);
}

/// `wait: true` is a health check of every object.
pub(crate) fn a_health_check_begins_when_the_workload_is_admitted(flux: &Flux) {
    let governed = flux.installation.governed("health");
    let release = Release::with(flux, &governed, &json!({"wait": true}));
    let orders = governed.deployment("orders");
    let revision = release.push(&orders, &json!({}));
    let message = flux.failed(release.name(), &revision);
    assert!(is_denied_for(&message, "ApprovalRequired"), "{message}");

    let revision = release.push_approved(&orders, |_| {});
    let admin = &flux.installation.plane.admin;
    // No node runs the Pods, so their status says whatever is written into it.
    let status = r#"{"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}"#;
    wait_until("a Pod is ready", LIMIT, || {
        let pods = admin.get(&["pods", "-n", &governed.namespace, "-l", "app=orders"])?;
        let name = pods["items"][0]["metadata"]["name"].as_str()?;
        let args =
            ["patch", "pod", name, "-n", &governed.namespace, "--subresource=status", "--type=merge", "-p", status];
        admin.kubectl(&args).ok().then_some(())
    });
    flux.applied(release.name(), &revision);
    let found = flux.get("kustomization", release.name());
    assert_eq!(condition(&found, "Healthy")["status"], "True", "{:#}", found["status"]);
}

/// Flux dry-runs a whole Kustomization before it applies any of it.
pub(crate) fn a_config_map_admits_nothing_of_its_own_kustomization(flux: &Flux) {
    let governed = flux.installation.governed("together");
    let release = Release::new(flux, &governed);
    let orders = governed.deployment("orders");
    let signed = envelope(&governed.statement(&orders), &[&governed.bob]);
    let approval = detached(&governed.namespace, "orders-approval", &signed);
    release.repository.write("approval.yaml", &approval.to_string());
    let revision = release.push(&orders, &json!({"resources": ["orders.yaml", "approval.yaml"]}));
    let message = flux.failed(release.name(), &revision);
    assert!(is_denied_for(&message, "ApprovalRequired"), "{message}");
    let again = flux.reconcile(release.name());
    assert_eq!(ready(&again)["status"], "False", "{again:#}");
    let found = flux.installation.plane.admin.get(&["configmap", "orders-approval", "-n", &governed.namespace]);
    assert_eq!(found, None, "Flux has applied nothing");

    // The same with the approval in a Kustomization of its own, on which the first one depends.
    let approvals = flux.repository(&format!("{}-approvals", governed.namespace));
    approvals.write("approval.yaml", &approval.to_string());
    let own_revision = approvals.push();
    flux.patch("kustomization", release.name(), &json!({"spec": {"dependsOn": [{"name": approvals.name}]}}));
    let revision = release.push(&orders, &json!({}));
    flux.kustomize(&approvals.name, &approvals, &json!({}));
    flux.applied(&approvals.name, &own_revision);
    flux.applied(release.name(), &revision);
    assert!(release.live().is_some());
}

/// `--custom-apply-stage-kinds=ConfigMap` of kustomize-controller.
pub(crate) fn a_config_map_of_the_same_kustomization_counts_if_flux_applies_config_maps_first(flux: &Flux) {
    let governed = flux.installation.governed("staged");
    let repository = flux.repository(&governed.namespace);
    flux.kustomize_with_labels(&repository.name, &repository, &json!({}), &json!({STAGED: "staged"}));
    let orders = governed.deployment("orders");
    repository.write("orders.yaml", &orders.to_string());
    let revision = repository.push();
    let message = flux.failed(&repository.name, &revision);
    assert!(is_denied_for(&message, "ApprovalRequired"), "{message}");

    let signed = envelope(&governed.statement(&orders), &[&governed.bob]);
    repository.write("approval.yaml", &detached(&governed.namespace, "orders-approval", &signed).to_string());
    let revision = repository.push();
    flux.applied(&repository.name, &revision);
    assert!(flux.deployment(&governed.namespace, "orders").is_some());
}
