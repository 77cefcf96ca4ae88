//! Flux's own controllers on a control plane with the webhook. `writgate_testing::flux` starts them and makes their sources.

mod helm_releases;
mod kustomizations;
mod postures;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use writgate_core::encoding::read_yaml;
use writgate_testing::flux::{Chart, FileServer, Repository, SYSTEM, controller, install, unique};
use writgate_testing::harness::{Test, tests};
use writgate_testing::{Governed, Installation, Process, Ran, helm, repository, wait_until};

/// The label of Kustomizations for the controller that applies ConfigMaps before other objects.
const STAGED: &str = "sharding.fluxcd.io/key";
/// Long enough for some retries on a busy machine.
const LIMIT: Duration = Duration::from_mins(2);

/// Every test of this file and of its folder.
pub(crate) fn tests() -> Vec<Test<Flux>> {
    tests![
        kustomizations::an_approval_in_a_component_of_the_same_source_is_admitted,
        kustomizations::an_unchanged_object_stays_ready_after_its_approval_has_expired,
        kustomizations::flux_corrects_drift_and_prunes_without_another_approval,
        kustomizations::a_suspended_kustomization_applies_nothing_until_it_is_resumed,
        kustomizations::flux_retries_until_an_approval_is_there,
        kustomizations::a_health_check_begins_when_the_workload_is_admitted,
        kustomizations::a_config_map_admits_nothing_of_its_own_kustomization,
        kustomizations::a_config_map_of_the_same_kustomization_counts_if_flux_applies_config_maps_first,
        helm_releases::helm_controller_installs_upgrades_and_rolls_back_with_approvals_in_post_renderers,
        helm_releases::helm_controller_creates_a_hook_again_with_its_approval,
        postures::a_posture_and_a_new_reviewer_set_can_come_in_one_commit,
        the_example_that_installs_writgate_is_valid,
    ]
}

/// Flux's controllers and what they use.
pub(crate) struct Flux {
    // Stopped before the control plane.
    _controllers: Vec<Process>,
    server: FileServer,
    installation: Installation,
}

impl Flux {
    pub(crate) fn start() -> Self {
        let installation = Installation::start();
        let plane = &installation.plane;
        install(plane);
        let kustomize = |name: &str, args: &[&str]| {
            controller(plane, "kustomize-controller", name, &[&["--requeue-dependency=1s"], args].concat())
        };
        let staged = format!("--watch-label-selector={STAGED}");
        let controllers = vec![
            kustomize("kustomize-controller", &[&format!("--watch-label-selector=!{STAGED}")]),
            kustomize("kustomize-controller-staged", &["--custom-apply-stage-kinds=ConfigMap", &staged]),
            controller(plane, "helm-controller", "helm-controller", &[]),
        ];
        let server = FileServer::start(plane.folder.join("artifacts"));
        Self { _controllers: controllers, server, installation }
    }

    fn repository(&self, name: &str) -> Repository<'_> {
        Repository::new(&self.installation.plane, &self.server, name)
    }

    fn chart(&self, name: &str) -> Chart<'_> {
        Chart::new(&self.installation.plane, &self.server, name)
    }

    /// Creates a Kustomization of a repository's root, with further fields.
    fn kustomize(&self, name: &str, repository: &Repository<'_>, fields: &Value) {
        self.kustomize_with_labels(name, repository, fields, &json!({}));
    }

    fn kustomize_with_labels(&self, name: &str, repository: &Repository<'_>, fields: &Value, labels: &Value) {
        let mut spec = json!({"interval": "10s", "retryInterval": "2s", "timeout": "20s", "path": "./", "prune": true,
            "sourceRef": {"kind": "GitRepository", "name": repository.name}});
        for (field, value) in fields.as_object().expect("fields") {
            spec[field] = value.clone();
        }
        self.installation.plane.install(&[json!({"apiVersion": "kustomize.toolkit.fluxcd.io/v1",
            "kind": "Kustomization", "metadata": {"name": name, "namespace": SYSTEM, "labels": labels}, "spec": spec})]);
    }

    fn get(&self, kind: &str, name: &str) -> Value {
        let found = self.installation.plane.admin.get(&[kind, name, "-n", SYSTEM]);
        found.unwrap_or_else(|| panic!("there is no {kind} {name}"))
    }

    fn patch(&self, kind: &str, name: &str, patch: &Value) {
        let args = ["patch", kind, name, "-n", SYSTEM, "--type=merge", "-p", &patch.to_string()];
        let ran = self.installation.plane.admin.kubectl(&args);
        assert!(ran.ok(), "{ran}");
    }

    /// Waits until `pending` shows that one object of `kind` reports a denial of the only pending workload of the namespace, and
    /// returns the codes of the denial.
    fn reported(&self, governed: &Governed<'_>, kind: &str) -> Value {
        let admin = &self.installation.plane.admin;
        let args = ["pending", "-n", &governed.namespace, "-o", "json"];
        wait_until("pending shows who reports the denial", LIMIT, || {
            let ran = Ran::of(admin.command(writgate_testing::plugin()).args(args), "");
            let pending: Value = serde_json::from_str(&ran.stdout).ok()?;
            let [entry] = &pending.as_array()?[..] else { return None };
            let [reporter] = &entry["reportedBy"].as_array()?[..] else { return None };
            (reporter["kind"] == kind && reporter["name"] == *governed.namespace).then(|| reporter["reasons"].clone())
        })
    }

    /// Waits until a Kustomization has applied a revision.
    fn applied(&self, name: &str, revision: &str) {
        let mut found = Value::Null;
        let mut probe = || {
            found = self.get("kustomization", name);
            let is_applied = found["status"]["lastAppliedRevision"] == revision;
            (is_applied && ready(&found)["status"] == "True").then_some(())
        };
        let end = std::time::Instant::now() + LIMIT;
        while probe().is_none() {
            assert!(std::time::Instant::now() < end, "{name} did not apply {revision}: {:#}", found["status"]);
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until a Kustomization has failed to apply a revision, and returns why.
    fn failed(&self, name: &str, revision: &str) -> String {
        wait_until(&format!("{name} fails at {revision}"), LIMIT, || {
            let found = self.get("kustomization", name);
            let (condition, status) = (ready(&found), &found["status"]);
            let is_attempted = status["lastAttemptedRevision"] == revision;
            let is_settled = condition["reason"] == "ReconciliationFailed" && condition["status"] == "False";
            (is_attempted && is_settled).then(|| condition["message"].as_str().expect("a message").to_owned())
        })
    }

    /// Has Flux reconcile a Kustomization now, as `flux reconcile kustomization` does, and waits until it has.
    fn reconcile(&self, name: &str) -> Value {
        let request = unique();
        let annotations = json!({"reconcile.fluxcd.io/requestedAt": request});
        self.patch("kustomization", name, &json!({"metadata": {"annotations": annotations}}));
        wait_until(&format!("{name} was reconciled"), LIMIT, || {
            let found = self.get("kustomization", name);
            (found["status"]["lastHandledReconcileAt"] == *request).then_some(found)
        })
    }

    /// What the admitted objects of a governed namespace claim, in order. The initiator of all of them is `controller`.
    fn claims(&self, governed: &Governed<'_>, controller: &str) -> Vec<Value> {
        let is_admitted = |record: &Value| {
            record["environment"] == *governed.environment
                && record["action"] == "deploy"
                && record["decision"] == "admitted"
                && record["dryRun"] == false
        };
        let account = format!("system:serviceaccount:{SYSTEM}:{controller}");
        let records = self.installation.webhook.records(is_admitted);
        assert!(records.iter().all(|record| record["initiator"]["username"] == *account), "{records:#?}");
        records.iter().map(|record| record["initiatedBy"].clone()).collect()
    }

    /// The Deployment of this name in a governed namespace.
    fn deployment(&self, namespace: &str, name: &str) -> Option<Value> {
        self.installation.plane.admin.get(&["deployment", name, "-n", namespace])
    }
}

/// The API server checks the example against the schemas of Flux, and Helm renders the chart with its values.
fn the_example_that_installs_writgate_is_valid(flux: &Flux) {
    let example = repository().join("examples/gitops/flux.yaml");
    let admin = &flux.installation.plane.admin;
    let path = example.to_str().expect("a UTF-8 path");
    let ran = admin.kubectl(&["create", "--dry-run=server", "--validate=strict", "-f", path]);
    assert!(ran.ok(), "{ran}");
    let objects = read_yaml(&std::fs::read_to_string(&example).expect("the example")).expect("YAML");
    let release = objects.iter().find(|object| object["kind"] == "HelmRelease").expect("a HelmRelease");
    let chart = repository().join(release["spec"]["chart"]["spec"]["chart"].as_str().expect("a folder"));
    let mut command = admin.command(&helm());
    command.arg("template").arg("writgate").arg(chart).args(["--namespace", "writgate-system", "--values", "-"]);
    let ran = Ran::of(&mut command, &release["spec"]["values"].to_string());
    assert!(ran.ok() && ran.stdout.contains("registry.example/"), "{ran}");
}

/// The condition `Ready` of one of Flux's objects.
fn ready(object: &Value) -> Value {
    condition(object, "Ready")
}

fn condition(object: &Value, name: &str) -> Value {
    let conditions = object["status"]["conditions"].as_array();
    conditions.into_iter().flatten().find(|one| one["type"] == name).cloned().unwrap_or_default()
}

/// Runs the plugin in a folder, which it does not require a cluster for.
fn plugin(folder: &Path, args: &[&str]) -> Ran {
    let ran = Ran::of(Command::new(writgate_testing::plugin()).args(args).current_dir(folder), "");
    assert!(ran.ok(), "kubectl writgate {args:?}: {ran}");
    ran
}
