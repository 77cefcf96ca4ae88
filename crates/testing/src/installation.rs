//! A control plane with the webhook installed, the people around it, and governed namespaces. End-to-end tests start from it.
//! Every namespace has an environment of its own, so no test sees another's posture or metrics.

use std::time::Duration;

use serde_json::{Value, json};
use writgate_core::{approval::spec_hash, kube::WorkloadKind};

use crate::plane::Plane;
use crate::process::wait_until;
use crate::signing::{Key, envelope, seconds_from_now};
use crate::user::{Ran, User};
use crate::webhook::{SYSTEM_NAMESPACE, Webhook};

/// The annotation that carries an approval.
pub const APPROVAL: &str = "writgate.dev/approval";

/// The webhook, installed.
pub struct Installation {
    // Declared, and so stopped, before the plane.
    /// The webhook.
    pub webhook: Webhook,
    /// The control plane that asks it.
    pub plane: Plane,
    /// Deploys and replays in governed namespaces.
    pub operator: User,
    /// Reads there. Signs with keys that no API server knows of.
    pub reviewer: User,
    /// Has the `edit` role there: everything that a namespace's own people usually may.
    pub tenant: User,
    /// A GitOps controller's service account, by token.
    pub gitops: User,
    /// Where the API server's defaulting can be had without the webhook.
    ungoverned: String,
}

impl Installation {
    /// Starts a plane and installs the webhook on it.
    pub fn start() -> Self {
        let plane = Plane::start();
        let webhook = Webhook::install(&plane);
        wait_until("the edit role is put together from its parts", Duration::from_secs(20), || {
            let role = plane.admin.get(&["clusterrole", "edit"])?;
            (!role["rules"].as_array()?.is_empty()).then_some(())
        });
        plane.install(&[
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "gitops"}}),
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "applier", "namespace": "gitops"}}),
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "operator"},
                "rules": [
                    {"apiGroups": ["apps", "batch"], "resources": ["*"], "verbs": ["*"]},
                    {"apiGroups": ["", "events.k8s.io"], "resources": ["events", "pods", "configmaps"],
                     "verbs": ["get", "list", "watch"]}]}),
        ]);
        Self {
            operator: plane.user("alice"),
            reviewer: plane.user("bob"),
            tenant: plane.user("tina"),
            gitops: plane.service_account("gitops", "applier"),
            ungoverned: plane.namespace("ungoverned"),
            webhook,
            plane,
        }
    }

    /// A governed namespace under the usual posture.
    pub fn governed(&self, hint: &str) -> Governed<'_> {
        self.governed_with(hint, |_| {})
    }

    /// A governed namespace under the usual posture, edited.
    pub fn governed_with(&self, hint: &str, edit: impl FnOnce(&mut Value)) -> Governed<'_> {
        let namespace = self.plane.labelled_namespace(hint, &json!({}));
        let governed = Governed {
            installation: self,
            environment: format!("{namespace}-env"),
            project: "payments".to_owned(),
            namespace,
            bob: Key::new(),
            carol: Key::new(),
            limited: Key::new(),
        };
        let mut posture = governed.usual_posture();
        edit(&mut posture);
        self.give_access(&governed.namespace);
        self.plane.install(&governed.posture_objects(&posture));
        let labels = [
            format!("writgate.dev/environment={}", governed.environment),
            format!("writgate.dev/project={}", governed.project),
        ];
        let ran = self.plane.admin.kubectl(&["label", "namespace", &governed.namespace, &labels[0], &labels[1]]);
        assert!(ran.ok(), "{ran}");
        governed.wait_in_force();
        governed
    }

    /// Lets everybody into a namespace, each with their role.
    pub fn give_access(&self, namespace: &str) {
        let binding = |name: &str, role: &str, subject: Value| {
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
                "metadata": {"name": name, "namespace": namespace},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
                "subjects": [subject]})
        };
        let user = |user: &User| json!({"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": user.name});
        self.plane.install(&[
            binding("operator", "operator", user(&self.operator)),
            binding("reviewer", "view", user(&self.reviewer)),
            binding("tenant", "edit", user(&self.tenant)),
            binding("gitops", "operator", json!({"kind": "ServiceAccount", "name": "applier", "namespace": "gitops"})),
        ]);
    }

    /// Lets the operator and the reviewer read the postures, as the chart's `readers` does.
    pub fn let_read_postures(&self) {
        let group = "rbac.authorization.k8s.io";
        let subjects =
            [&self.operator, &self.reviewer].map(|user| json!({"kind": "User", "apiGroup": group, "name": user.name}));
        let binding = |kind: &str, metadata: Value, role: Value| {
            json!({"apiVersion": format!("{group}/v1"), "kind": kind, "metadata": metadata, "roleRef": role,
                "subjects": subjects})
        };
        let role = |kind: &str, name: &str| json!({"apiGroup": group, "kind": kind, "name": name});
        let here = json!({"name": "readers", "namespace": SYSTEM_NAMESPACE});
        self.plane.install(&[
            binding("RoleBinding", here, role("Role", "writgate-posture-reader")),
            binding("ClusterRoleBinding", json!({"name": "readers"}), role("ClusterRole", "writgate-namespace-reader")),
        ]);
    }

    /// The hex spec hash of what the API server makes of `manifest`, taken from the API server itself.
    pub fn hash(&self, manifest: &Value) -> String {
        let object = self.defaulted(manifest);
        let word = |name: &str| object[name].as_str().expect("an object says what it is").to_owned();
        let kind = WorkloadKind::from_gvk(&word("apiVersion"), &word("kind")).expect("a workload");
        spec_hash(kind, &object["spec"].to_string()).expect("what the API server sends can be hashed").hex()
    }

    /// What the API server makes of `manifest`: in a namespace that nobody governs, by a dry run.
    pub fn defaulted(&self, manifest: &Value) -> Value {
        let mut manifest = manifest.clone();
        manifest["metadata"]["namespace"] = json!(self.ungoverned);
        let args = ["create", "--dry-run=server", "-o", "json", "-f", "-"];
        let ran = self.plane.admin.kubectl_in(&args, &manifest.to_string());
        assert!(ran.ok(), "{ran}");
        serde_json::from_str(&ran.stdout).expect("kubectl prints JSON")
    }
}

/// A governed namespace, its environment, and its reviewers' keys.
pub struct Governed<'a> {
    /// Where it is.
    pub installation: &'a Installation,
    /// Its name.
    pub namespace: String,
    /// Its environment, which no other namespace has.
    pub environment: String,
    /// Its project.
    pub project: String,
    /// May grant everything.
    pub bob: Key,
    /// May grant the actions, and nothing that a rule asks for.
    pub carol: Key,
    /// Known, and may grant only `view`, which no action needs.
    pub limited: Key,
}

impl Governed<'_> {
    /// The in-toto statement of a right approval: this object as it is, deploy or replay as it would be judged.
    pub fn statement(&self, manifest: &Value) -> Value {
        let metadata = &manifest["metadata"];
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let name = text(&metadata["name"]).or_else(|| text(&metadata["generateName"]).map(|prefix| prefix + "*"));
        let kind =
            format!("{}/{}", text(&manifest["apiVersion"]).expect("text"), text(&manifest["kind"]).expect("text"));
        let replay = manifest["kind"] == "Job";
        let (action, capability) = if replay { ("replay-execute", "replay.execute") } else { ("deploy", "deploy") };
        let mut statement = json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": format!("{kind}/{}/{}", self.namespace, name.expect("a name")),
                         "digest": {"sha256": self.installation.hash(manifest)}}],
            "predicateType": "https://writgate.dev/approval/v1",
            "predicate": {
                "id": uuid::Uuid::now_v7().to_string(), "projection": "v1", "action": action,
                "environment": self.environment, "project": self.project, "capabilities": [capability],
                "requestedBy": "alice@acme.example", "reason": "CHG-1234",
                "notBefore": seconds_from_now(-60), "expiresAt": seconds_from_now(3600)}});
        if replay {
            statement["predicate"]["replay"] = json!({"incident": "INC-7", "sourceEnvironment": "production"});
        }
        statement
    }

    /// `manifest` with a right approval by Bob.
    pub fn approved(&self, manifest: &Value) -> Value {
        attach(manifest, &envelope(&self.statement(manifest), &[&self.bob]))
    }

    /// `manifest` with an approval by Bob that was wrong before he signed.
    pub fn approved_but(&self, manifest: &Value, wrong: impl FnOnce(&mut Value)) -> Value {
        let mut statement = self.statement(manifest);
        wrong(&mut statement);
        attach(manifest, &envelope(&statement, &[&self.bob]))
    }

    /// A Deployment that nobody approved yet.
    pub fn deployment(&self, name: &str) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": name, "namespace": self.namespace, "labels": {"app": "orders"}},
            "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "orders"}},
                "template": {"metadata": {"labels": {"app": "orders"}}, "spec": {"containers": [
                    {"name": "orders", "image": "ghcr.io/acme/orders:1.4.2", "ports": [{"containerPort": 8080}],
                     "resources": {"requests": {"cpu": "0.5"}}}]}}}})
    }

    /// A replay Job in execute mode that nobody approved yet.
    pub fn replay_job(&self, name: &str) -> Value {
        json!({"apiVersion": "batch/v1", "kind": "Job",
            "metadata": {"name": name, "namespace": self.namespace, "labels": {"writgate.dev/replay": "execute"},
                "annotations": {"writgate.dev/incident": "INC-7", "writgate.dev/source-environment": "production"}},
            "spec": {"backoffLimit": 0, "template": {"spec": {"restartPolicy": "Never", "containers": [
                {"name": "replay", "image": "ghcr.io/acme/replay:2.0.1", "args": ["--incident", "INC-7"],
                 "env": [{"name": "REPLAY_MODE", "value": "execute"}]}]}}}})
    }

    /// A replay Job that meets the posture's dry-run contract.
    pub fn dry_run_job(&self, name: &str) -> Value {
        let mut job = self.replay_job(name);
        job["metadata"]["labels"]["writgate.dev/replay"] = json!("dry-run");
        let pod = &mut job["spec"]["template"]["spec"];
        pod["serviceAccountName"] = json!("replay-readonly");
        pod["containers"][0]["env"][0]["value"] = json!("dry-run");
        job
    }

    /// The posture's ConfigMaps. Applying them again with another posture changes it.
    pub fn posture_objects(&self, posture: &Value) -> Vec<Value> {
        let reviewer = |name: &str, capabilities: &[&str], key: &Key| {
            json!({"name": format!("{name}@acme.example"), "capabilities": capabilities, "identities": [name],
                "keys": [{"publicKey": key.public_pem()}]})
        };
        let reviewers = json!({"apiVersion": "writgate.dev/v1", "kind": "Reviewers", "reviewers": [
            reviewer("bob", &["deploy", "deploy.*", "replay.execute"], &self.bob),
            reviewer("carol", &["deploy", "replay.execute"], &self.carol),
            reviewer("lenny", &["view"], &self.limited)]});
        vec![
            document("posture", &format!("posture-{}", self.environment), posture),
            document("reviewers", &format!("reviewers-{}", self.environment), &reviewers),
        ]
    }

    /// The posture that `Installation::governed` puts in force.
    pub fn usual_posture(&self) -> Value {
        json!({"apiVersion": "writgate.dev/v1", "kind": "Posture", "environment": self.environment,
            "reviewerSets": [format!("reviewers-{}", self.environment)],
            "replay": {"images": ["ghcr.io/acme/replay*"], "sourceEnvironments": ["production"],
                "dryRun": {"serviceAccounts": ["replay-readonly"], "env": {"REPLAY_MODE": "dry-run"},
                    "args": [["--incident", "*"]]}}})
    }

    /// The webhook learns of a new posture, and the API server of a new label, some milliseconds later.
    fn wait_in_force(&self) {
        let probe = self.deployment("probe").to_string();
        wait_until("the posture is in force", Duration::from_secs(20), || {
            self.installation.operator.kubectl_in(&["create", "--dry-run=server", "-f", "-"], &probe);
            // Whatever the posture makes of it: only a posture asks for an approval.
            let judged = |record: &Value| {
                record["environment"] == self.environment.as_str() && record["reasons"][0] == "ApprovalRequired"
            };
            (!self.installation.webhook.records(judged).is_empty()).then_some(())
        });
    }
}

/// What the webhook said to the user, without what kubectl says around it (which is all of the patch, when it patches).
pub fn denial(ran: &Ran) -> Option<&str> {
    let refused = ".writgate.dev\" denied the request: "; // whichever of the installation's webhooks it was
    ran.stderr.split_once(refused).filter(|_| ran.code == Some(1)).map(|(_, message)| message.trim_end())
}

/// Whether the webhook denied it, for this reason first of all.
pub fn denied_for(ran: &Ran, code: &str) -> bool {
    let reason = denial(ran).and_then(|message| message.lines().nth(1)); // the first line says of what
    reason.is_some_and(|line| line.split(':').next() == Some(code))
}

/// `manifest` with this envelope attached.
pub fn attach(manifest: &Value, envelope: &str) -> Value {
    let mut manifest = manifest.clone();
    manifest["metadata"]["annotations"][APPROVAL] = json!(envelope);
    manifest
}

/// A ConfigMap beside the workload that holds this envelope.
pub fn detached(namespace: &str, name: &str, envelope: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace, "labels": {"writgate.dev/kind": "approval"}},
        "data": {"approval.json": envelope}})
}

/// A ConfigMap of the system namespace that holds one document of the posture.
pub fn document(kind: &str, name: &str, document: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": SYSTEM_NAMESPACE, "labels": {"writgate.dev/kind": kind}},
        "data": {format!("{kind}.yaml"): document.to_string()}})
}
