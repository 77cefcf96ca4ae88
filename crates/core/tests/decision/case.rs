//! The starting point of near-miss tests: a request that is admitted, of which a test changes one thing. The statement and the
//! posture are values of core's types here; `writgate-testing` has them as JSON for tests with a cluster.

use std::{cell::RefCell, collections::BTreeMap};

use ed25519_dalek::{Signer, SigningKey, pkcs8::EncodePublicKey, pkcs8::spki::der::pem::LineEnding};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use writgate_core::{
    approval::{Action, Approval, DetachedApproval, DetachedQuery, Envelope, PublicKey, Subject, spec_hash},
    decide::{
        Answers, ConfigMapAnswer, Facts, Governance, HolderAnswer, ScaledWorkload, Use, UseRecord, decide,
        decide_malformed, start_unread,
    },
    kube::{ConfigMapContent, WorkloadKind, WorkloadKinds},
    posture::{Document, PostureSet},
    record::{Decision, History, ObjectRecord},
    request::{ExemptControllers, Request},
};

/// 2026-11-22T11:00:00Z, an hour after the approval begins and an hour before it ends.
pub(crate) const NOW: &str = "2026-11-22T11:00:00Z";

/// People with one key each, which is derived from the number.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Person {
    Bob = 1,
    Carol = 2,
    Dave = 3,
    Mallory = 9,
}

impl Person {
    pub(crate) fn key(self) -> SigningKey {
        SigningKey::from_bytes(&[self as u8; 32])
    }

    pub(crate) fn public_pem(self) -> String {
        self.key().verifying_key().to_public_key_pem(LineEnding::LF).expect("a key")
    }

    pub(crate) fn sign(self, envelope: &mut Envelope) {
        let id = PublicKey::from_pem(&self.public_pem()).expect("a key").id();
        let signature = self.key().sign(&envelope.signed_bytes()).to_bytes();
        envelope.add_signature(id, signature);
    }
}

/// Everything that a decision depends on.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) request: Value,
    pub(crate) kinds: WorkloadKinds,
    pub(crate) posture: Value,
    pub(crate) reviewers: Value,
    pub(crate) revocations: Value,
    /// Canonical builds; null if the document does not exist.
    pub(crate) pipelines: Value,
    pub(crate) project: Option<&'static str>,
    pub(crate) approval: Approval,
    pub(crate) signers: Vec<Person>,
    pub(crate) now: String,
    pub(crate) clock_leeway: SignedDuration,
}

impl Case {
    /// A Deployment that bob approved.
    pub(crate) fn deployment() -> Self {
        let spec = json!({"replicas": 1, "selector": {"matchLabels": {"app": "orders"}},
            "template": {"metadata": {"labels": {"app": "orders"}},
                "spec": {"containers": [{"name": "orders", "image": "ghcr.io/acme/orders:1.4.2"}]}}});
        Self::of(WorkloadKind::Deployment, "orders", &spec)
    }

    /// A replay that bob and carol approved.
    pub(crate) fn replay() -> Self {
        let mut case = Self::of(WorkloadKind::Job, "replay-orders-ml45t", &Self::replay_spec());
        case.object()["metadata"]["generateName"] = "replay-orders-".into();
        case.object()["metadata"]["labels"] = json!({"writgate.dev/replay": "execute"});
        case.annotate("writgate.dev/incident", "INC-7");
        case.annotate("writgate.dev/source-environment", "production");
        case.approval.subjects[0].name = "batch/v1/Job/payments/replay-orders-*".into();
        case.approval.action = Action::ReplayExecute;
        case.approval.capabilities = vec!["replay.execute".to_owned()];
        case.approval.replay = Some(writgate_core::approval::Replay {
            incident: Some("INC-7".to_owned()),
            source_environment: Some("production".to_owned()),
            ..Default::default()
        });
        case.signers = vec![Person::Bob, Person::Carol];
        case
    }

    /// A replay that meets the dry-run contract and needs no approval.
    pub(crate) fn dry_run() -> Self {
        let mut case = Self::replay();
        case.object()["metadata"]["labels"] = json!({"writgate.dev/replay": "dry-run"});
        case.signers.clear();
        case
    }

    fn replay_spec() -> Value {
        json!({"backoffLimit": 0, "completionMode": "NonIndexed", "completions": 1, "manualSelector": false,
            "parallelism": 1, "podReplacementPolicy": "TerminatingOrFailed", "suspend": false,
            "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}},
            "template": {
                "metadata": {"labels": {"batch.kubernetes.io/controller-uid": "u", "job-name": "n"}},
                "spec": {
                    "containers": [{
                        "name": "replay", "image": "ghcr.io/acme/replay:2.0.1", "args": ["--incident", "INC-7"],
                        "env": [{"name": "REPLAY_MODE", "value": "dry-run"}], "imagePullPolicy": "IfNotPresent",
                        "resources": {}, "terminationMessagePath": "/dev/termination-log",
                        "terminationMessagePolicy": "File"}],
                    "dnsPolicy": "ClusterFirst", "enableServiceLinks": false, "restartPolicy": "Never", "schedulerName": "default-scheduler",
                    "securityContext": {}, "serviceAccount": "replay-readonly",
                    "serviceAccountName": "replay-readonly", "terminationGracePeriodSeconds": 30}}})
    }

    /// Any workload, created by alice and approved by bob.
    pub(crate) fn of(kind: WorkloadKind, name: &str, spec: &Value) -> Self {
        let (group, version) = kind.api_version().split_once('/').unwrap_or(("", kind.api_version()));
        let hash = spec_hash(kind, &spec.to_string()).expect("a hash");
        Self {
            kinds: WorkloadKinds::default(),
            request: json!({
                "uid": "86048ed0-0422-4d04-bdcd-a1cfb1b9cab6", "operation": "CREATE",
                "kind": {"group": group, "version": version, "kind": kind.kind()},
                "resource": {"group": group, "version": version, "resource": kind.resource()},
                "namespace": "payments", "name": name, "dryRun": false, "oldObject": null,
                "userInfo": {"username": "alice", "groups": ["dev"]},
                "object": {"apiVersion": kind.api_version(), "kind": kind.kind(), "spec": spec,
                    "metadata": {"name": name, "namespace": "payments", "uid": "873ee009", "generation": 1,
                        "labels": {}, "annotations": {}}}}),
            posture: json!({"apiVersion": "writgate.dev/v1", "kind": "Posture", "environment": "production",
                "cluster": "prod-eu-1",
                "actions": {"replay-execute": {"approval": "required", "capabilities": ["replay.execute"],
                    "quorum": [{"group": "sre", "count": 1}, {"group": "security", "count": 1}], "maxLifetime": "2h"}},
                "reviewerSets": ["people"], "revocationLists": ["withdrawn"],
                "replay": {"images": ["ghcr.io/acme/replay*"], "sourceEnvironments": ["production"],
                    "dryRun": {"serviceAccounts": ["replay-readonly"], "env": {"REPLAY_MODE": "dry-run"},
                        "args": [["--incident", "*"]]}}}),
            reviewers: json!({"apiVersion": "writgate.dev/v1", "kind": "Reviewers", "name": "people", "reviewers": [
                {"name": "bob@acme.example", "groups": ["sre"], "identities": ["bob"],
                    "capabilities": ["deploy", "deploy.*", "replay.execute"],
                    "keys": [{"publicKey": Person::Bob.public_pem()}]},
                {"name": "carol@acme.example", "groups": ["security"], "identities": ["carol"],
                    "capabilities": ["deploy", "replay.*"], "keys": [{"publicKey": Person::Carol.public_pem()}]},
                {"name": "dave@acme.example", "groups": ["sre"], "projects": ["ledger"], "capabilities": ["deploy"],
                    "keys": [{"publicKey": Person::Dave.public_pem()}]}]}),
            revocations: json!({"apiVersion": "writgate.dev/v1", "kind": "Revocations", "name": "withdrawn"}),
            pipelines: Value::Null,
            project: Some("payments"),
            approval: Approval {
                subjects: vec![Subject {
                    name: format!("{}/{}/payments/{name}", kind.api_version(), kind.kind()),
                    hash,
                }],
                id: "01935a00-0000-7000-8000-000000000001".to_owned(),
                action: Action::Deploy,
                cluster: Some("prod-eu-1".to_owned()),
                clusters: Vec::new(),
                environment: "production".to_owned(),
                project: "payments".to_owned(),
                capabilities: vec!["deploy".to_owned()],
                pipeline_version: None,
                config_bundle: None,
                replay: None,
                break_glass: false,
                requested_by: "alice@acme.example".to_owned(),
                reason: Some("CHG-1234".to_owned()),
                not_before: "2026-11-22T10:00:00Z".parse().expect("a time"),
                expires_at: "2026-11-22T12:00:00Z".parse().expect("a time"),
            },
            signers: vec![Person::Bob],
            now: NOW.to_owned(),
            clock_leeway: SignedDuration::ZERO,
        }
    }

    pub(crate) fn object(&mut self) -> &mut Value {
        &mut self.request["object"]
    }

    pub(crate) fn spec(&mut self) -> &mut Value {
        &mut self.request["object"]["spec"]
    }

    pub(crate) fn annotate(&mut self, name: &str, value: &str) {
        self.object()["metadata"]["annotations"][name] = value.into();
    }

    /// Changes one thing.
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// The request as an UPDATE of a live object with the same spec.
    pub(crate) fn updated(mut self) -> Self {
        self.request["operation"] = "UPDATE".into();
        self.request["oldObject"] = self.request["object"].clone();
        self
    }

    /// Approves the spec as it is now.
    pub(crate) fn reapproved(mut self) -> Self {
        let kind = WorkloadKind::from_gvk(
            self.request["object"]["apiVersion"].as_str().expect("text"),
            self.request["object"]["kind"].as_str().expect("text"),
        );
        let spec = self.spec().to_string();
        self.approval.subjects[0].hash = spec_hash(kind.expect("a workload"), &spec).expect("a hash");
        self
    }

    /// The case's approval, signed by its signers.
    pub(crate) fn envelope(&self) -> Envelope {
        let mut envelope = Envelope::new(self.approval.to_payload());
        self.signers.iter().for_each(|person| person.sign(&mut envelope));
        envelope
    }

    /// Attaches a further envelope.
    pub(crate) fn attach(&mut self, suffix: &str, envelope: &str) {
        self.annotate(&format!("writgate.dev/approval{suffix}"), envelope);
    }

    /// The review as the API server would send it; without signers there is no approval.
    pub(crate) fn body(&self) -> String {
        let mut request = self.request.clone();
        if !self.signers.is_empty() {
            request["object"]["metadata"]["annotations"]["writgate.dev/approval"] = self.envelope().to_json().into();
        }
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}).to_string()
    }

    pub(crate) fn decide(&self) -> Decision {
        self.decide_body(&self.body())
    }

    pub(crate) fn decide_body(&self, body: &str) -> Decision {
        self.decide_knowing(body, &Ledger::default())
    }

    /// The documents of the case.
    pub(crate) fn postures(&self) -> PostureSet {
        let documents = [&self.posture, &self.reviewers, &self.revocations, &self.pipelines];
        let documents = documents.into_iter().filter(|document| !document.is_null()).map(|document| Document {
            source: document["kind"].to_string(),
            name: None,
            text: document.to_string(),
        });
        PostureSet::assemble(documents.collect())
    }

    /// Decides with the answers of `ledger`.
    pub(crate) fn decide_knowing(&self, body: &str, ledger: &Ledger) -> Decision {
        let exempt = ExemptControllers::default();
        let now = self.now.parse().expect("a time");
        let set = self.postures();
        match Request::parse_with(body.as_bytes(), &self.kinds) {
            Err(malformed) => decide_malformed(&malformed, uuid::Uuid::nil(), now),
            Ok(request) => {
                let posture = set.environment("production");
                let governance = Governance::Governed { environment: "production", project: self.project, posture };
                let facts = Facts { decision_id: uuid::Uuid::nil(), exempt: &exempt, clock_leeway: self.clock_leeway };
                let mut answers = LedgerAnswers { ledger, dry_run: request.dry_run, now };
                if let Some(workload) = ScaledWorkload::of(&request, &governance, facts.exempt) {
                    answers.log(format!("{} {}/{}", workload.kind.kind(), workload.namespace, workload.name));
                    let live = answers.unless_faulty(|ledger| ledger.scaled.clone());
                    return match live.and_then(|live| workload.as_update(&request, &live)) {
                        Ok(review) => {
                            let update = Request::parse_with(review.as_bytes(), &self.kinds).expect("a review");
                            decide(&update, &governance, &facts, now, &mut answers)
                        }
                        Err(why) => start_unread(&request, &governance, &facts, now, &why).finish(&mut answers),
                    };
                }
                decide(&request, &governance, &facts, now, &mut answers)
            }
        }
    }

    /// `admitted`, `not-an-action`, or the codes of a denial.
    #[track_caller]
    pub(crate) fn expect(&self, expected: &str) {
        let decision = self.decide();
        let found = match decision.record.reasons.join(" ") {
            reasons if reasons.is_empty() => decision.record.decision.as_str().to_owned(),
            reasons => reasons,
        };
        assert_eq!(found, expected, "{}", decision.message());
    }
}

/// Earlier uses and admissions, and the ConfigMaps of the namespace.
#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) uses: RefCell<BTreeMap<String, UseRecord>>,
    pub(crate) history: RefCell<History>,
    /// The ConfigMaps of the namespace.
    pub(crate) config_maps: RefCell<BTreeMap<String, ConfigMapContent>>,
    /// The detached approvals of the namespace.
    pub(crate) detached: RefCell<Vec<DetachedApproval>>,
    /// The detached approvals that a watch has reported.
    pub(crate) cached: RefCell<Vec<DetachedApproval>>,
    /// Every lookup, in order.
    pub(crate) lookups: RefCell<Vec<String>>,
    /// Which detached approvals were searched for.
    pub(crate) queries: RefCell<Vec<DetachedQuery>>,
    /// The workload that a request to `scale` is about, as JSON.
    pub(crate) scaled: String,
    /// Why every lookup fails.
    pub(crate) fault: Option<String>,
}

impl Ledger {
    /// How many ConfigMaps were read.
    pub(crate) fn config_maps_read(&self) -> usize {
        self.lookups.borrow().iter().filter(|lookup| lookup.starts_with("configmap ")).count()
    }
}

/// The answers of a [`Ledger`] to one request.
struct LedgerAnswers<'l> {
    ledger: &'l Ledger,
    dry_run: bool,
    now: Timestamp,
}

impl LedgerAnswers<'_> {
    fn unless_faulty<T>(&self, answer: impl FnOnce(&Ledger) -> T) -> Result<T, String> {
        match &self.ledger.fault {
            Some(fault) => Err(fault.clone()),
            None => Ok(answer(self.ledger)),
        }
    }

    fn log(&self, lookup: impl Into<String>) {
        self.ledger.lookups.borrow_mut().push(lookup.into());
    }
}

impl Answers for LedgerAnswers<'_> {
    fn cached_approvals(&mut self, query: &DetachedQuery) -> Vec<DetachedApproval> {
        self.log("cached approvals");
        self.ledger.queries.borrow_mut().push(query.clone());
        self.ledger.cached.borrow().clone()
    }

    fn live_approvals(&mut self, query: &DetachedQuery) -> Result<Vec<DetachedApproval>, String> {
        self.log("live approvals");
        self.ledger.queries.borrow_mut().push(query.clone());
        self.unless_faulty(|ledger| ledger.detached.borrow().clone())
    }

    fn config_map(&mut self, name: &str) -> ConfigMapAnswer {
        self.log(format!("configmap {name}"));
        self.unless_faulty(|ledger| ledger.config_maps.borrow().get(name).cloned())
    }

    fn holder(&mut self, wanted: &Use) -> HolderAnswer {
        self.log(format!("use of {}", wanted.approval));
        self.unless_faulty(|ledger| {
            let mut uses = ledger.uses.borrow_mut();
            if !self.dry_run {
                uses.entry(wanted.entry.clone()).or_insert_with(|| UseRecord::new(wanted.clone(), self.now));
            }
            uses.get(&wanted.entry).cloned()
        })
    }

    fn history(&mut self, _: &ObjectRecord) -> Result<History, String> {
        self.log("history");
        self.unless_faulty(|ledger| ledger.history.borrow().clone())
    }

    fn may_govern(&mut self, namespace: &str) -> Result<bool, String> {
        panic!("the decision on a workload looks up who may govern {namespace}")
    }

    fn documents(&mut self) -> Result<Vec<std::sync::Arc<Document>>, String> {
        panic!("the decision on a workload looks up documents")
    }
}
