//! A control plane with the webhook installed, its users, and governed namespaces: the start of every end-to-end test. Each
//! governed namespace has an environment of its own, so a test does not see another test's posture or metrics.

use std::time::Duration;

use serde_json::{Value, json};
use writgate_core::{
    approval::{RequestDigest, spec_hash},
    kube::WorkloadKind,
};

use crate::plane::Plane;
use crate::process::wait_until;
use crate::signing::{Key, envelope, seconds_from_now};
use crate::user::{Ran, User};
use crate::webhook::{SYSTEM_NAMESPACE, Webhook};

/// The annotation that carries an approval.
pub const APPROVAL: &str = "writgate.dev/approval";

/// A control plane with the webhook installed.
pub struct Installation {
    // Declared, and so stopped, before the plane.
    /// The webhook.
    pub webhook: Webhook,
    /// The control plane whose API server calls the webhook.
    pub plane: Plane,
    /// The user who deploys and replays in governed namespaces.
    pub operator: User,
    /// The user who may only read there. Reviewers sign with keys of which the API server knows nothing.
    pub reviewer: User,
    /// The user with the `edit` role there, which the members of a namespace's team usually have.
    pub tenant: User,
    /// A GitOps controller's service account, with a token.
    pub gitops: User,
    /// An ungoverned namespace, where the API server fills in defaults without the webhook.
    ungoverned: String,
}

impl Installation {
    /// Starts a control plane and installs the webhook on it.
    pub fn start() -> Self {
        let plane = Plane::start();
        let webhook = Webhook::install(&plane);
        Self::of(plane, webhook)
    }

    /// The users and governed namespaces of a control plane on which a webhook is installed.
    pub fn of(plane: Plane, webhook: Webhook) -> Self {
        wait_until("the edit role is aggregated", Duration::from_secs(20), || {
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

    /// A governed namespace under the usual posture, changed by `edit`.
    pub fn governed_with(&self, hint: &str, edit: impl FnOnce(&mut Value)) -> Governed<'_> {
        self.governed_over(hint, edit, &[])
    }

    /// A governed namespace under the usual posture, changed by `edit`, with objects from before it was governed.
    pub fn governed_over(&self, hint: &str, edit: impl FnOnce(&mut Value), before: &[Value]) -> Governed<'_> {
        let namespace = self.plane.labelled_namespace(hint, &json!({}));
        for object in before {
            let ran = self.plane.admin.kubectl_in(&["create", "-n", &namespace, "-f", "-"], &object.to_string());
            assert!(ran.ok(), "{ran}");
        }
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

    /// Gives every user their role in a namespace.
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

    /// Permits the operator and the reviewer to read the postures, as the chart's `readers` does.
    pub fn permit_reading_postures(&self) {
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

    /// Lets the Pods of all Jobs in a namespace succeed, since no node runs them.
    pub fn complete_jobs(&self, namespace: &str) {
        let admin = &self.plane.admin;
        let pods = admin.get(&["pods", "-n", namespace, "-l", "batch.kubernetes.io/job-name"]).expect("a list");
        for pod in pods["items"].as_array().expect("a list") {
            if pod["status"]["phase"] == "Pending" {
                let name = pod["metadata"]["name"].as_str().expect("a name");
                let status = r#"{"status":{"phase":"Succeeded"}}"#;
                let args =
                    ["patch", "pod", name, "-n", namespace, "--subresource=status", "--type=merge", "-p", status];
                drop(admin.kubectl(&args)); // it may be gone
            }
        }
    }

    /// The spec hash, in hexadecimal, of `manifest` after the API server has filled in defaults.
    pub fn hash(&self, manifest: &Value) -> String {
        hash_of(&self.defaulted(manifest))
    }

    /// `manifest` after the API server has filled in defaults, by a dry run in an ungoverned namespace.
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
    /// The installation in which the namespace is.
    pub installation: &'a Installation,
    /// The name of the namespace.
    pub namespace: String,
    /// The environment, which no other namespace has.
    pub environment: String,
    /// The project.
    pub project: String,
    /// The key of a reviewer who may grant every capability.
    pub bob: Key,
    /// The key of a reviewer who may grant the actions, and no capability that a rule requires.
    pub carol: Key,
    /// The key of a known reviewer who may grant only `view`, which no action requires.
    pub limited: Key,
}

impl Governed<'_> {
    /// The in-toto statement of a valid approval for `manifest`, with the action that the webhook finds in it.
    pub fn statement(&self, manifest: &Value) -> Value {
        let scope = Scope { namespace: &self.namespace, environment: &self.environment, project: &self.project };
        scope.statement(manifest, &self.installation.hash(manifest))
    }

    /// The in-toto statement of a valid approval for a Job that is not a replay.
    pub fn statement_of_job(&self, job: &Value) -> Value {
        let mut statement = self.statement(job);
        let predicate = &mut statement["predicate"];
        (predicate["action"], predicate["capabilities"]) = (json!("deploy"), json!(["deploy"]));
        predicate.as_object_mut().expect("fields").remove("replay");
        statement
    }

    /// `manifest` with a valid approval by Bob.
    pub fn approved(&self, manifest: &Value) -> Value {
        attach(manifest, &envelope(&self.statement(manifest), &[&self.bob]))
    }

    /// `manifest` with an approval by Bob whose statement `wrong` changed before he signed it.
    pub fn approved_but(&self, manifest: &Value, wrong: impl FnOnce(&mut Value)) -> Value {
        let mut statement = self.statement(manifest);
        wrong(&mut statement);
        attach(manifest, &envelope(&statement, &[&self.bob]))
    }

    /// A Deployment without an approval.
    pub fn deployment(&self, name: &str) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": name, "namespace": self.namespace, "labels": {"app": "orders"}},
            "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "orders"}},
                "template": {"metadata": {"labels": {"app": "orders"}}, "spec": {"containers": [
                    {"name": "orders", "image": "ghcr.io/acme/orders:1.4.2", "ports": [{"containerPort": 8080}],
                     "resources": {"requests": {"cpu": "0.5"}}}]}}}})
    }

    /// A replay Job in execute mode without an approval.
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
        pod["enableServiceLinks"] = json!(false);
        pod["containers"][0]["env"][0]["value"] = json!("dry-run");
        job
    }

    /// The ConfigMaps of `posture` and its reviewers, to be applied in the system namespace.
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

    /// Waits until the webhook knows the posture and the API server knows the label, which takes some milliseconds.
    fn wait_in_force(&self) {
        let probe = self.deployment("probe").to_string();
        wait_until("the posture is in force", Duration::from_secs(20), || {
            self.installation.operator.kubectl_in(&["create", "--dry-run=server", "-f", "-"], &probe);
            // Without the posture the reason would be `PostureMissing`.
            let decided = |record: &Value| {
                record["environment"] == self.environment.as_str() && record["reasons"][0] == "ApprovalRequired"
            };
            (!self.installation.webhook.records(decided).is_empty()).then_some(())
        });
    }
}

/// Where an approval holds.
pub struct Scope<'a> {
    /// The namespace of the workload.
    pub namespace: &'a str,
    /// The environment of the namespace.
    pub environment: &'a str,
    /// The project of the namespace.
    pub project: &'a str,
}

impl Scope<'_> {
    /// The in-toto statement of a valid approval for `manifest`, whose spec has this hash, with the action that the webhook finds
    /// in it.
    pub fn statement(&self, manifest: &Value, hash: &str) -> Value {
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
                         "digest": {"sha256": hash}}],
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
}

/// The spec hash, in hexadecimal, of an object from the API server.
pub fn hash_of(object: &Value) -> String {
    let text = |name: &str| object[name].as_str().expect("an object has a kind").to_owned();
    let kind = WorkloadKind::from_gvk(&text("apiVersion"), &text("kind")).expect("a workload");
    spec_hash(kind, &object["spec"].to_string()).expect("a spec from the API server has a hash").hex()
}

/// The webhook's message to the user, without the text that kubectl prints before it.
pub fn denial(ran: &Ran) -> Option<&str> {
    let refused = ".writgate.dev\" denied the request: "; // whichever of the installation's webhooks it was
    ran.stderr.split_once(refused).filter(|_| ran.code == Some(1)).map(|(_, message)| message.trim_end())
}

/// Whether the webhook denied the request with `code` as the first reason.
pub fn denied_for(ran: &Ran, code: &str) -> bool {
    let reason = denial(ran).and_then(|message| message.lines().nth(1)); // the first line names the object
    reason.is_some_and(|line| line.split(':').next() == Some(code))
}

/// `manifest` with `envelope` attached.
pub fn attach(manifest: &Value, envelope: &str) -> Value {
    let mut manifest = manifest.clone();
    manifest["metadata"]["annotations"][APPROVAL] = json!(envelope);
    manifest
}

/// A detached approval: a ConfigMap that contains `envelope`.
pub fn detached(namespace: &str, name: &str, envelope: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace, "labels": {"writgate.dev/kind": "approval"}},
        "data": {"approval.json": envelope}})
}

/// A request file of `requester` for one Deployment of a namespace.
pub fn request_file(namespace: &str, requester: &str, deployment: &str) -> Value {
    json!({
        "apiVersion": "writgate.dev/v1", "kind": "ApprovalRequest", "requestedBy": requester,
        "requestedAt": "2026-11-22T10:00:00Z", "environment": "production", "project": "payments", "action": "deploy",
        "capabilities": [{"capability": "deploy", "because": ["required by every deploy"]}],
        "workloads": [{"namespace": namespace, "specHash": format!("sha256:{}", "0".repeat(64)),
            "object": {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": deployment}, "spec": {}},
            "subject": format!("apps/v1/Deployment/{namespace}/{deployment}")}],
    })
}

/// A posted request: an immutable ConfigMap that contains `file`, with the name of its content.
pub fn posted(namespace: &str, file: &Value) -> Value {
    let text = file.to_string();
    let name = RequestDigest::of(&text).request_name();
    json!({"apiVersion": "v1", "kind": "ConfigMap", "immutable": true,
        "metadata": {"name": name, "namespace": namespace, "labels": {"writgate.dev/kind": "request"}},
        "data": {"request.json": text}})
}

/// A ConfigMap in the system namespace that contains one document.
pub fn document(kind: &str, name: &str, document: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": SYSTEM_NAMESPACE, "labels": {"writgate.dev/kind": kind}},
        "data": {format!("{kind}.yaml"): document.to_string()}})
}
