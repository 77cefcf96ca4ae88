//! The table of reasons and its pages. For every reason that a workload's request can have, the example of the page is the text
//! of a decision. The reasons of guards are in `guard.rs`.

#![expect(clippy::disallowed_methods, reason = "compares files of the repository with the table")]

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::json;
use writgate_core::record::{Decision, Reason, ReasonPage};

use crate::decision::{
    case::{Case, Ledger, Person},
    pages,
};

/// Reasons that only guards give, or that both give.
const OF_GUARDS: [&str; 9] = [
    "PostureInvalid",
    "RevocationLifted",
    "InUse",
    "QuorumUnreachable",
    "BundleInvalid",
    "RequestInvalid",
    "GovernanceInvalid",
    "GovernRequired",
    "StatusMetadata",
];

fn time(text: &str) -> jiff::Timestamp {
    text.parse().expect("a time")
}

fn docs(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(path)
}

#[test]
fn every_page_has_a_decision_as_its_example() {
    let mut shown: Vec<&str> = decisions().iter().map(pages::has_as_example).collect();
    shown.extend(OF_GUARDS);
    shown.sort_unstable();
    let mut all: Vec<&str> = ReasonPage::all().filter(|page| page.row.is_some()).map(|page| page.code).collect();
    all.sort_unstable();
    assert_eq!(shown, all);
}

/// Alerts, scripts and records name the codes, so that only additions may change this list.
#[test]
fn codes_rows_and_order_are_stable() {
    let table: Vec<(Option<u8>, &str)> = ReasonPage::all().map(|page| (page.row, page.code)).collect();
    let listed = [
        (1, "MalformedReview UnsupportedKind PostureMissing PostureInvalid NamespaceNotListed WorkloadNotAllowed"),
        (1, "RevocationLifted InUse QuorumUnreachable BundleInvalid RequestInvalid GovernanceInvalid GovernRequired"),
        (1, "StatusMetadata"),
        (2, "ApprovalRequired"),
        (3, "MalformedApproval"),
        (4, "UnknownKey"),
        (5, "InvalidSignature"),
        (6, "SpecHashMismatch"),
        (7, "WrongResource"),
        (8, "WrongEnvironment WrongCluster WrongProject"),
        (9, "WrongAction"),
        (10, "NotYetValid Expired LifetimeTooLong"),
        (11, "Revoked"),
        (12, "InsufficientCapabilities"),
        (13, "SelfApproval QuorumNotMet"),
        (14, "PipelineVersionMismatch NotCanonicalBuild ConfigBundleMismatch ImageNotPinned"),
        (15, "SourceEnvironmentMismatch SourceArtifactMismatch IncidentMismatch"),
        (16, "AlreadyUsed LookupFailed"),
        (17, "NotRecorded"),
    ];
    let mut expected: Vec<(Option<u8>, &str)> =
        listed.iter().flat_map(|(row, codes)| codes.split(' ').map(|code| (Some(*row), code))).collect();
    expected.extend(["NotPersisted", "RollbackAdmitted", "BreakGlassAdmitted"].map(|code| (None, code)));
    assert_eq!(table, expected);
}

#[test]
fn every_page_has_the_same_parts() {
    for page in ReasonPage::all() {
        let lines: Vec<&str> = page.text.lines().collect();
        assert_eq!(lines[0], format!("# {}", page.code));
        assert!(page.summary().ends_with('.') && page.summary().len() <= 110, "{}", page.code);
        let row =
            page.row.map_or("Reason of an Event.".to_owned(), |row| format!("Row {row} of the table of checks: "));
        assert!(lines[4].starts_with(&row) && lines[4].contains(" For "), "{}", page.code);
        for part in ["What happened", "What to check", "What to do"] {
            assert!(page.text.contains(&format!("\n## {part}\n\n")), "{}: {part}", page.code);
        }
    }
}

#[test]
fn every_page_has_an_entry_and_the_index_lists_it() {
    let known: BTreeSet<String> = ReasonPage::all().map(|page| format!("{}.md", page.code)).collect();
    let files = fs::read_dir(docs("reasons")).expect("the folder of the pages");
    let mut files: BTreeSet<String> =
        files.map(|file| file.expect("a file").file_name().into_string().expect("a name in UTF-8")).collect();
    assert!(files.remove("README.md"));
    assert_eq!(files, known);

    let index = fs::read_to_string(docs("reasons/README.md")).expect("the index of the pages");
    for page in ReasonPage::all() {
        let row = page.row.map(|row| format!("| {row} ")).unwrap_or_default();
        let line = format!("\n{row}| [{code}]({code}.md) | {} |\n", page.summary(), code = page.code);
        assert!(index.contains(&line), "{line}");
    }
    assert_eq!(index.matches(".md) | ").count(), known.len());
    let records = fs::read_to_string(docs("records.md")).expect("the page about records");
    assert!(records.contains("(reasons/README.md)"), "docs/records.md refers to the codes that a record can have");
}

#[test]
fn the_specification_has_the_rows_and_their_order() {
    let text = fs::read_to_string(docs("spec/decision-v1.md")).expect("the specification");
    let (_, table) = text.split_once("\n## Reasons\n").expect("a table of reasons");
    for row in 2..=17 {
        let (_, line) = table.split_once(&format!("\n| {row} | ")).expect("a row");
        let listed: Vec<&str> = line.lines().next().unwrap_or_default().split('`').skip(1).step_by(2).collect();
        let reasons = Reason::ALL.iter().filter(|reason| reason.row() == row);
        let mut codes: Vec<&str> = reasons.map(|reason| reason.code()).collect();
        codes.dedup();
        assert_eq!(listed, codes, "row {row}");
    }
}

#[test]
fn a_code_finds_its_reason() {
    for reason in Reason::ALL {
        let found = Reason::from_code(reason.code()).expect("a reason");
        assert_eq!((found.code(), found.approval_helps()), (reason.code(), reason.approval_helps()));
    }
    assert_eq!(Reason::from_code("OfANewerVersion"), None);
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
