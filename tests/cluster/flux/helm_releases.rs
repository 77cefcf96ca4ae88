//! Workloads and hooks of a HelmRelease, with their approvals in `postRenderers`.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use writgate_core::encoding::read_yaml;

use crate::flux::{Flux, LIMIT, condition, plugin, ready};
use writgate_testing::flux::{Chart, SYSTEM};
use writgate_testing::{Governed, envelope};

/// A chart, and the HelmRelease that installs it.
struct Release<'f> {
    flux: &'f Flux,
    governed: &'f Governed<'f>,
    chart: Chart<'f>,
}

impl<'f> Release<'f> {
    fn new(flux: &'f Flux, governed: &'f Governed<'f>) -> Self {
        let chart = flux.chart(&governed.namespace);
        let retry = json!({"name": "RetryOnFailure", "retryInterval": "2s"});
        // Nothing runs the Pods, so no Deployment becomes ready.
        let spec = json!({"interval": "10s", "timeout": "30s", "releaseName": "orders",
            "targetNamespace": governed.namespace, "storageNamespace": governed.namespace,
            "chartRef": {"kind": "HelmChart", "name": chart.name},
            "install": {"disableWait": true, "strategy": retry}, "upgrade": {"disableWait": true, "strategy": retry},
            "rollback": {"disableWait": true}});
        flux.installation.plane.install(&[json!({"apiVersion": "helm.toolkit.fluxcd.io/v2", "kind": "HelmRelease",
            "metadata": {"name": chart.name, "namespace": SYSTEM}, "spec": spec})]);
        Self { flux, governed, chart }
    }

    fn name(&self) -> &str {
        &self.governed.namespace
    }

    /// Attaches approvals of these statements with the command line, and passes all patches to the HelmRelease.
    fn approve(&self, statements: &[&Value]) {
        for statement in statements {
            let path = self.chart.folder.join("approval.json");
            fs::write(path, envelope(statement, &[&self.governed.bob])).expect("the folder can be written");
            plugin(&self.chart.folder, &["attach", "--kustomize", "approvals", "--approval", "approval.json"]);
        }
        let text = fs::read_to_string(self.chart.folder.join("approvals/kustomization.yaml")).expect("it exists");
        let component = read_yaml(&text).expect("YAML").remove(0);
        self.render(&json!([{"kustomize": {"patches": component["patches"]}}]));
    }

    fn render(&self, post_renderers: &Value) {
        self.flux.patch("helmrelease", self.name(), &json!({"spec": {"postRenderers": post_renderers}}));
    }

    fn get(&self) -> Value {
        self.flux.get("helmrelease", self.name())
    }

    /// Waits until a version is released.
    fn released(&self, version: &str) {
        self.wait(&format!("it releases {version}"), |found| {
            let latest = &found["status"]["history"][0];
            ready(found)["status"] == "True" && latest["chartVersion"] == version && latest["status"] == "deployed"
        });
    }

    /// Waits until the webhook has denied something of a version, and returns the message.
    fn denied(&self, version: &str) -> String {
        let found = self.wait(&format!("{version} is denied"), |found| {
            let (condition, status) = (condition(found, "Released"), &found["status"]);
            let message = condition["message"].as_str().unwrap_or_default();
            condition["status"] == "False"
                && status["lastAttemptedRevision"] == version
                && message.contains("denied the request")
        });
        condition(&found, "Released")["message"].as_str().expect("a message").to_owned()
    }

    /// Waits until the HelmRelease is as wanted. Meanwhile, Pods of hooks succeed.
    fn wait(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + LIMIT;
        loop {
            let found = self.get();
            if wanted(&found) {
                return found;
            }
            assert!(Instant::now() < end, "waited for {what}: {:#}", found["status"]);
            self.flux.installation.complete_jobs(&self.governed.namespace);
            sleep(Duration::from_millis(200));
        }
    }

    fn image(&self) -> Option<String> {
        let live = self.flux.deployment(&self.governed.namespace, "orders")?;
        live["spec"]["template"]["spec"]["containers"][0]["image"].as_str().map(str::to_owned)
    }
}

fn with_image(deployment: &Value, tag: &str) -> Value {
    let mut changed = deployment.clone();
    changed["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image(tag));
    changed
}

fn image(tag: &str) -> String {
    format!("ghcr.io/acme/orders:{tag}")
}

pub(crate) fn helm_controller_installs_upgrades_and_rolls_back_with_approvals_in_post_renderers(flux: &Flux) {
    let governed = flux.installation.governed("release");
    let release = Release::new(flux, &governed);
    let mut orders = governed.deployment("orders");
    orders["metadata"]["labels"]["helm.sh/chart"] = json!("orders-0");
    let (first, second, third) = (with_image(&orders, "1"), with_image(&orders, "2"), with_image(&orders, "3"));
    release.chart.push("0.1.0", &[&first]);
    let message = release.denied("0.1.0");
    assert!(message.contains("ApprovalRequired"), "{message}");
    assert_eq!(flux.reported(&governed, "HelmRelease"), json!(["ApprovalRequired"]));
    release.approve(&[&governed.statement(&first)]);
    release.released("0.1.0");

    release.chart.push("0.2.0", &[&second]);
    let message = release.denied("0.2.0");
    assert!(message.contains("SpecHashMismatch"), "{message}");
    assert_eq!(release.image(), Some(image("1")));
    release.approve(&[&governed.statement(&second)]);
    release.released("0.2.0");
    assert_eq!(release.image(), Some(image("2")));
    let claim = json!([{"kind": "HelmRelease", "name": release.name(), "namespace": SYSTEM, "revision": "orders-0"}]);
    assert_eq!(flux.claims(&governed, "helm-controller"), [claim.clone(), claim]);

    // The third version changes the approved Deployment, and then adds one without an approval. Meanwhile the HelmRelease
    // is suspended, since it would release the second version with the approval of the third.
    let remediation = json!({"retries": 0, "remediateLastFailure": true, "strategy": "rollback"});
    let upgrade = json!({"disableWait": true, "strategy": null, "remediation": remediation});
    flux.patch("helmrelease", release.name(), &json!({"spec": {"suspend": true, "upgrade": upgrade}}));
    release.approve(&[&governed.statement(&third)]);
    release.chart.push("0.3.0", &[&third, &governed.deployment("unapproved")]);
    flux.patch("helmrelease", release.name(), &json!({"spec": {"suspend": false}}));
    let found = release.wait("a rollback", |found| condition(found, "Remediated")["reason"] == "RollbackSucceeded");
    let message = condition(&found, "Released")["message"].as_str().expect("a message").to_owned();
    assert!(message.contains("unapproved") && message.contains("ApprovalRequired"), "{message}");
    assert_eq!(release.image(), Some(image("2")));
    assert_eq!(flux.claims(&governed, "helm-controller").len(), 4, "the third version, and the second again");
}

pub(crate) fn helm_controller_creates_a_hook_again_with_its_approval(flux: &Flux) {
    let governed = flux.installation.governed("hook");
    let release = Release::new(flux, &governed);
    let orders = governed.deployment("orders");
    let job = json!({"apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": "migrate", "annotations": {"helm.sh/hook": "pre-install,pre-upgrade"}},
        "spec": {"backoffLimit": 0, "template": {"spec": {"restartPolicy": "Never",
            "containers": [{"name": "migrate", "image": "ghcr.io/acme/migrate:1"}]}}}});
    let of_job = governed.statement_of_job(&job);

    release.chart.push("0.1.0", &[&orders, &job]);
    let message = release.denied("0.1.0");
    assert!(message.contains("ApprovalRequired") && message.contains("Job"), "{message}");
    release.approve(&[&governed.statement(&orders), &of_job]);
    release.released("0.1.0");
    let uid = || {
        let found = flux.installation.plane.admin.get(&["job", "migrate", "-n", &governed.namespace]);
        found.expect("the hook stays")["metadata"]["uid"].clone()
    };
    let first = uid();

    release.chart.push("0.2.0", &[&orders, &job]);
    release.released("0.2.0");
    assert_ne!(uid(), first, "the same Job was created again");
    // Without its approval, the creation of the same Job is denied, and the release fails.
    release.render(&json!([]));
    release.chart.push("0.3.0", &[&orders, &job]);
    let message = release.denied("0.3.0");
    assert!(message.contains("ApprovalRequired") && message.contains("Job"), "{message}");
}
