//! Each reason's page gives as its example what a decision says, for every reason that a workload's request can meet.
//! Those of guards are `guard.rs`'s.

use serde_json::json;
use writgate_core::record::{Decision, REASONS};

use crate::{
    case::{Case, Ledger, Person},
    pages,
};

/// What a guard says, most of it alone.
const OF_GUARDS: [&str; 8] = [
    "PostureInvalid",
    "RevocationLifted",
    "InUse",
    "QuorumUnreachable",
    "BundleInvalid",
    "GovernanceInvalid",
    "GovernRequired",
    "StatusMetadata",
];

fn time(text: &str) -> jiff::Timestamp {
    text.parse().expect("a time")
}

#[test]
fn every_reason_has_a_page_with_a_true_example() {
    let mut told: Vec<&str> = decisions().iter().map(pages::tells).collect();
    told.extend(OF_GUARDS);
    told.sort_unstable();
    let mut all = REASONS.map(|(_, code)| code);
    all.sort_unstable();
    assert_eq!(told, all);
}

fn digest(digits: &str) -> String {
    format!("sha256:{}", digits.repeat(8))
}

/// One for each reason.
fn decisions() -> Vec<Decision> {
    let mut decisions: Vec<Decision> = [request(), approval(), object()].concat().iter().map(Case::decide).collect();
    decisions.push(Case::deployment().decide_body(r#"{"request": {"uid": "42"}}"#));
    let ledger = Ledger::default();
    Case::replay().decide_knowing(&Case::replay().body(), &ledger);
    let again = Case::replay().with(|c| {
        c.request["name"] = "replay-orders-zzzzz".into();
        c.object()["metadata"]["name"] = "replay-orders-zzzzz".into();
        c.object()["metadata"]["uid"] = "another".into();
    });
    decisions.push(again.decide_knowing(&again.body(), &ledger));
    let unknown = Ledger { fault: Some("the API server did not answer within 2s".to_owned()), ..Ledger::default() };
    decisions.push(Case::replay().decide_knowing(&Case::replay().body(), &unknown));
    let admitted = Case::deployment().decide();
    let (id, time, why) = (admitted.record.id, admitted.record.time, "the ledger did not answer within 2s");
    decisions.push(admitted.not_recorded(id, time, why));
    decisions
}

/// Rows 1 and 2.
fn request() -> Vec<Case> {
    let deployment = Case::deployment;
    vec![
        deployment().with(|c| {
            c.request["kind"] = json!({"group": "", "version": "v1", "kind": "Secret"});
            c.request["resource"] = json!({"group": "", "version": "v1", "resource": "secrets"});
            (c.object()["apiVersion"], c.object()["kind"]) = ("v1".into(), "Secret".into());
        }),
        deployment().with(|c| c.posture["environment"] = "staging".into()),
        deployment().with(|c| c.posture["namespaces"] = json!({"ledger": "ledger"})),
        deployment().with(|c| {
            c.request["kind"] = json!({"group": "", "version": "v1", "kind": "Pod"});
            c.request["resource"] = json!({"group": "", "version": "v1", "resource": "pods"});
            (c.object()["apiVersion"], c.object()["kind"]) = ("v1".into(), "Pod".into());
        }),
        deployment().with(|c| c.signers.clear()),
    ]
}

/// Rows 3 to 13.
fn approval() -> Vec<Case> {
    let deployment = Case::deployment;
    let forged = || {
        let mut envelope = writgate_core::approval::Envelope::new(b"{}".to_vec());
        Person::Bob.sign(&mut envelope);
        envelope.to_json().replace("e30=", "W10=")
    };
    let attached = |text: &str| {
        deployment().with(|c| {
            c.signers.clear();
            c.attach("", text);
        })
    };
    vec![
        attached("approved by bob"),
        deployment().with(|c| c.signers = vec![Person::Mallory]),
        attached(&forged()),
        deployment().with(|c| c.spec()["template"]["spec"]["nodeName"] = "n1".into()),
        deployment().with(|c| c.approval.subjects[0].name = "apps/v1/Deployment/payments/ledger".into()),
        deployment().with(|c| c.approval.environment = "staging".into()),
        deployment().with(|c| c.approval.cluster = None),
        deployment().with(|c| c.approval.project = "ledger".into()),
        Case::replay().with(|c| c.approval.action = writgate_core::approval::Action::Deploy),
        deployment().with(|c| c.now = "2026-11-22T09:00:00Z".into()),
        deployment().with(|c| c.now = "2026-11-22T12:00:00Z".into()),
        deployment().with(|c| c.approval.expires_at = time("2026-11-24T10:00:00Z")),
        deployment().with(|c| c.revocations["approvals"] = json!([{"id": c.approval.id, "why": "signed by mistake"}])),
        deployment().with(|c| {
            c.posture["capabilityRules"] =
                json!([{"name": "all", "when": "true", "require": ["deploy.privileged"], "message": "runs privileged"}]);
        }),
        deployment().with(|c| c.approval.requested_by = "bob@acme.example".into()),
        deployment().with(|c| c.posture["actions"]["deploy"] = json!({"quorum": [{"count": 2}]})),
    ]
}

/// Rows 14 and 15.
fn object() -> Vec<Case> {
    vec![
        Case::deployment().with(|c| {
            c.annotate("writgate.dev/pipeline-version", "orders@1.4.3");
            c.approval.pipeline_version = Some("orders@1.4.2".to_owned());
        }),
        Case::deployment().with(|c| {
            c.posture["pipelineSets"] = json!(["builds"]);
            c.pipelines =
                json!({"apiVersion": "writgate.dev/v1", "kind": "Pipelines", "name": "builds", "pipelines": {}});
            c.annotate("writgate.dev/pipeline-version", "orders@1.4.2");
            c.approval.pipeline_version = Some("orders@1.4.2".to_owned());
        }),
        Case::deployment().with(|c| {
            c.annotate("writgate.dev/config-bundle", &digest("0d8360f1"));
            c.approval.config_bundle = Some(digest("5f0c5a2b"));
        }),
        Case::deployment().with(|c| c.posture["images"] = "digest".into()),
        Case::replay().with(|c| c.annotate("writgate.dev/source-environment", "staging")),
        Case::replay().with(|c| {
            if let Some(replay) = &mut c.approval.replay {
                replay.source_artifact = Some(digest("5f0c5a2b"));
            }
        }),
        Case::replay().with(|c| c.annotate("writgate.dev/incident", "INC-8")),
    ]
}
