//! The surroundings of a target's input: a posture that requires no approval, one that requires a signature, a reviewer with a
//! key, and a Deployment that the reviewer approved.

use std::sync::LazyLock;

use ed25519_dalek::{Signer as _, SigningKey, pkcs8::EncodePublicKey as _, pkcs8::spki::der::pem::LineEnding};
use serde_json::{Value, json};
use writgate_core::{
    approval::{Envelope, KeyId, PublicKey, spec_hash},
    decide::{EmptyCluster, Facts, Governance, decide, decide_malformed},
    kube::WorkloadKind,
    posture::{Document, PostureSet},
    record::{Decision, DecisionRecord, Outcome},
    request::{ExemptControllers, Request},
};

/// 2026-11-22T11:00:00Z, an hour after the approval begins and an hour before it ends.
pub(crate) const NOW: &str = "2026-11-22T11:00:00Z";

static WORLD: LazyLock<World> = LazyLock::new(World::new);

/// Postures of `staging` (free) and `production` (strict), and a Deployment that bob approved.
#[derive(Debug)]
pub struct World {
    bob: SigningKey,
    /// The key id of bob's key.
    keyid: KeyId,
    postures: PostureSet,
    exempt: ExemptControllers,
    /// The review of the Deployment, without an approval.
    review: Value,
    /// The approval of the Deployment that bob signed.
    payload: String,
}

impl World {
    /// The value that all targets share.
    #[must_use]
    pub fn shared() -> &'static Self {
        &WORLD
    }

    fn new() -> Self {
        let bob = SigningKey::from_bytes(&[1; 32]);
        // The Deployment has no selector, although the API server requires one: the seeds are signed for the hash of this spec.
        let spec = json!({"replicas": 1,
            "template": {"metadata": {"labels": {"app": "orders"}},
                "spec": {"containers": [{"name": "orders", "image": "ghcr.io/acme/orders:1.4.2"}]}}});
        let hash = spec_hash(WorkloadKind::Deployment, &spec.to_string()).expect("a hash").hex();
        let postures = PostureSet::assemble([staging(), production(), reviewers(&bob)].each_ref().map(document).into());
        assert_eq!(postures.problems(), []);
        Self {
            keyid: PublicKey::from_pem(&pem(&bob)).expect("a key").id(),
            postures,
            bob,
            exempt: ExemptControllers::default(),
            review: json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
                "uid": "86048ed0-0422-4d04-bdcd-a1cfb1b9cab6", "operation": "CREATE",
                "kind": {"group": "apps", "version": "v1", "kind": "Deployment"},
                "resource": {"group": "apps", "version": "v1", "resource": "deployments"},
                "namespace": "payments", "name": "orders", "userInfo": {"username": "alice"},
                "object": {"apiVersion": "apps/v1", "kind": "Deployment", "spec": spec,
                    "metadata": {"name": "orders", "namespace": "payments", "annotations": {}}}}}),
            payload: json!({"_type": "https://in-toto.io/Statement/v1",
                "subject": [{"name": "apps/v1/Deployment/payments/orders", "digest": {"sha256": hash}}],
                "predicateType": "https://writgate.dev/approval/v1",
                "predicate": {"id": "01935a00-0000-7000-8000-000000000001", "projection": "v1", "action": "deploy",
                    "cluster": "prod-eu-1", "environment": "production", "project": "payments",
                    "capabilities": ["deploy"], "requestedBy": "alice@acme.example", "reason": "CHG-1234",
                    "notBefore": "2026-11-22T10:00:00Z", "expiresAt": "2026-11-22T12:00:00Z"}})
            .to_string(),
        }
    }

    /// The payload that bob signed.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.payload.as_bytes()
    }

    /// An envelope of any payload with bob's signature.
    #[must_use]
    pub fn signed(&self, payload: &[u8]) -> Envelope {
        let mut envelope = Envelope::new(payload.to_vec());
        envelope.add_signature(self.keyid, self.bob.sign(&envelope.signed_bytes()).to_bytes());
        envelope
    }

    /// The review of the Deployment with `text` as its approval.
    #[must_use]
    pub fn approved_by(&self, text: &str) -> Vec<u8> {
        let mut review = self.review.clone();
        review["request"]["object"]["metadata"]["annotations"]["writgate.dev/approval"] = text.into();
        review.to_string().into_bytes()
    }

    /// Decides a body in an environment, and asserts the properties of every decision.
    ///
    /// # Panics
    ///
    /// If a property does not hold.
    #[must_use]
    pub fn decide(&self, body: &[u8], environment: &str) -> Decision {
        self.decide_under(&self.postures, body, environment)
    }

    /// As [`World::decide`], under other postures.
    ///
    /// # Panics
    ///
    /// If a property does not hold.
    #[must_use]
    pub fn decide_under(&self, postures: &PostureSet, body: &[u8], environment: &str) -> Decision {
        let facts =
            Facts { decision_id: uuid::Uuid::nil(), exempt: &self.exempt, clock_leeway: jiff::SignedDuration::ZERO };
        let now = NOW.parse().expect("a time");
        let posture = postures.environment(environment);
        let governance = Governance::Governed { environment, project: Some("payments"), posture };
        let decision = match Request::parse(body) {
            Ok(request) => decide(&request, &governance, &facts, now, &mut EmptyCluster { now }),
            Err(malformed) => decide_malformed(&malformed, facts.decision_id, now),
        };
        check(&decision);
        decision
    }

    /// The posture of production with a capability rule, and the reviewers that it names.
    #[must_use]
    pub fn with_rule(&self, when: &str) -> PostureSet {
        let mut posture = production();
        posture["capabilityRules"] = json!([{"name": "fuzz", "when": when, "require": ["deploy.fuzz"]}]);
        PostureSet::assemble([posture, reviewers(&self.bob)].each_ref().map(document).into())
    }
}

/// Asserts that a decision is consistent, and that all its renderings can be produced.
fn check(decision: &Decision) {
    let record = &decision.record;
    // Both postures enforce.
    assert_eq!(record.decision == Outcome::Denied, !decision.denials.is_empty());
    assert_eq!(record.reasons.is_empty(), decision.denials.is_empty());
    let lines = decision.message().lines().count();
    assert!(lines <= 6 && (lines == 0) == decision.denials.is_empty(), "{}", decision.message());
    assert!(decision.message().chars().all(|char| char == '\n' || !char.is_control()), "{:?}", decision.message());
    let json = serde_json::to_string(record).expect("JSON");
    assert_eq!(&serde_json::from_str::<DecisionRecord>(&json).expect("a record"), record);
}

/// `admitted`, `not-an-action`, or the codes of a denial.
pub(crate) fn outcome(decision: &Decision) -> String {
    let record = &decision.record;
    if record.reasons.is_empty() { record.decision.as_str().to_owned() } else { record.reasons.join(" ") }
}

fn document(value: &Value) -> Document {
    Document { source: "world".to_owned(), name: None, text: value.to_string() }
}

fn pem(key: &SigningKey) -> String {
    key.verifying_key().to_public_key_pem(LineEnding::LF).expect("a key")
}

fn staging() -> Value {
    json!({"apiVersion": "writgate.dev/v1", "kind": "Posture", "environment": "staging",
        "actions": {"deploy": {"approval": "none"}, "replay-execute": {"approval": "none"}},
        "workloads": "allow", "pods": "allow"})
}

fn production() -> Value {
    json!({"apiVersion": "writgate.dev/v1", "kind": "Posture", "environment": "production", "cluster": "prod-eu-1",
        "reviewerSets": ["people"],
        "replay": {"images": ["ghcr.io/acme/replay*"],
            "dryRun": {"serviceAccounts": ["replay"], "env": {"MODE": "dry-run"}, "args": [["--incident", "*"]]}}})
}

fn reviewers(bob: &SigningKey) -> Value {
    json!({"apiVersion": "writgate.dev/v1", "kind": "Reviewers", "name": "people", "reviewers": [
        {"name": "bob@acme.example", "groups": ["sre"], "capabilities": ["deploy", "deploy.*"],
            "keys": [{"publicKey": pem(bob)}]}]})
}
