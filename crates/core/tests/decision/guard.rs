//! Near misses of the guards: a change that is admitted, with one thing changed. Those of posted requests are in `requests`.
//!
//! The file is longer than 500 lines: one short test for each rule, all from the same case.

mod requests;

use std::collections::BTreeMap;

use ed25519_dalek::{SigningKey, pkcs8::EncodePublicKey, pkcs8::spki::der::pem::LineEnding};
use serde_json::{Value, json};
use writgate_core::{
    decide::{Facts, Governance, Pending, Step},
    guard::{GuardContext, PostedCounts, PostedRequests, start},
    posture::{Document, PostureSet},
    record::Decision,
    request::{ExemptControllers, Request},
};

use crate::decision::pages;

const SYSTEM: &str = "writgate-system";
const KEY: &str = "0000000000000000000000000000000000000000000000000000000000000001";

/// A cluster, and a request for a change in it.
struct Case {
    documents: Vec<Value>,
    /// Cached documents, if they are older than those.
    stale_documents: Option<Vec<Value>>,
    /// The documents that the webhook knew before.
    earlier: Option<Vec<Value>>,
    governed: BTreeMap<String, Vec<String>>,
    unknown: Option<&'static str>,
    may_govern: Result<bool, &'static str>,
    environment: Option<&'static str>,
    posted: PostedRequests<'static>,
    request: Value,
}

impl Case {
    fn of(kind: &str, resource: &str, namespace: &str, name: &str, new: Option<&Value>, old: Option<&Value>) -> Self {
        let operation = match (&new, &old) {
            (Some(_), None) => "CREATE",
            (None, _) => "DELETE",
            _ => "UPDATE",
        };
        let (group, version) = if kind == "Namespace" || kind == "ConfigMap" { ("", "v1") } else { ("apps", "v1") };
        Self {
            documents: documents(),
            stale_documents: None,
            earlier: None,
            governed: BTreeMap::from([("production".to_owned(), vec!["payments".to_owned()])]),
            unknown: None,
            may_govern: Ok(false),
            environment: Some("production"),
            posted: PostedRequests::Counted(PostedCounts::default()),
            request: json!({"uid": "u", "operation": operation, "namespace": namespace, "name": name,
                "kind": {"group": group, "version": version, "kind": kind},
                "resource": {"group": group, "version": version, "resource": resource},
                "userInfo": {"username": "alice", "groups": ["dev"]}, "object": new, "oldObject": old}),
        }
    }

    /// Writes a document, which replaces the one of this name.
    fn write(new: &Value) -> Self {
        let name = new["metadata"]["name"].as_str().expect("a name").to_owned();
        let old = documents().into_iter().find(|document| document["metadata"]["name"] == *name);
        Self::of("ConfigMap", "configmaps", SYSTEM, &name, Some(new), old.as_ref())
    }

    /// Changes the document of this name.
    fn change(name: &str, change: impl FnOnce(&mut Value)) -> Self {
        let mut case = Self::write(&document_named(name));
        change(&mut case.request["object"]);
        case
    }

    fn delete(name: &str) -> Self {
        let mut case = Self::write(&document_named(name));
        case.request["operation"] = "DELETE".into();
        case.request["object"] = Value::Null;
        case
    }

    /// Changes the labels of namespace `payments` from production's.
    fn relabel(labels: Value) -> Self {
        let object = |labels: Value| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "payments", "labels": labels}});
        let old = json!({"writgate.dev/environment": "production", "writgate.dev/project": "payments"});
        Self::of("Namespace", "namespaces", "payments", "payments", Some(&object(labels)), Some(&object(old)))
    }

    /// Writes through the status of a workload.
    fn status(kind: &str, resource: &str, change: impl FnOnce(&mut Value)) -> Self {
        let old = json!({"apiVersion": "apps/v1", "kind": kind,
            "metadata": {"name": "orders", "namespace": "payments", "labels": {"app": "orders", "writgate.dev/replay": "x"},
                "annotations": {"writgate.dev/approval": "{}", "note": "a"}, "ownerReferences": [{"uid": "u-1"}]},
            "spec": {}, "status": {"replicas": 1}});
        let mut new = old.clone();
        new["status"]["replicas"] = 2.into();
        change(&mut new);
        let mut case = Self::of(kind, resource, "payments", "orders", Some(&new), Some(&old));
        case.request["subResource"] = "status".into();
        case
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn decide(&self) -> Decision {
        let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": self.request})
            .to_string();
        let request = Request::parse(review.as_bytes()).expect("a review");
        let kept = as_documents(self.stale_documents.as_ref().unwrap_or(&self.documents));
        let earlier = PostureSet::assemble(as_documents(self.earlier.as_deref().unwrap_or_default()));
        let postures = PostureSet::assemble(kept).remembering(&earlier, &self.governed);
        let governance = self.environment.map_or(Governance::Ungoverned, |environment| Governance::Governed {
            environment,
            project: Some("payments"),
            posture: postures.environment(environment),
        });
        let context = GuardContext {
            system_namespace: SYSTEM,
            postures: self.unknown.map_or(Ok(&postures), Err),
            governed: &self.governed,
            governance,
            posted: self.posted,
        };
        let facts = Facts {
            decision_id: uuid::Uuid::nil(),
            exempt: &ExemptControllers::default(),
            clock_leeway: jiff::SignedDuration::ZERO,
        };
        let now = "2026-11-22T11:00:00Z".parse().expect("a time");
        let mut step = start(&request, &context, &facts, now);
        // A guard makes at most one lookup.
        if let Step::Ask(pending) = step {
            step = match pending {
                Pending::MayGovern(question) => question.answer(self.may_govern.map_err(str::to_owned)),
                Pending::Documents(question) => {
                    question.answer(Ok(as_documents(&self.documents).into_iter().map(std::sync::Arc::new).collect()))
                }
                other => panic!("a guard looks up {other:?}"),
            };
        }
        match step {
            Step::Done(decision) => *decision,
            Step::Ask(pending) => panic!("a guard makes a second lookup: {pending:?}"),
        }
    }

    /// Asserts the first reason's code, or the decision where there is no reason; returns its message or warning.
    #[track_caller]
    fn expect(&self, expected: &str) -> String {
        let decision = self.decide();
        let found = decision.headline().map_or(decision.record.decision.as_str(), |denial| denial.code());
        assert_eq!(found, expected, "{}", decision.message());
        if decision.allowed() { decision.warning().unwrap_or_default() } else { decision.message() }
    }
}

fn as_documents(config_maps: &[Value]) -> Vec<Document> {
    let document = |config_map: &Value| {
        let name = config_map["metadata"]["name"].as_str().expect("a name");
        Document {
            source: format!("configmap {SYSTEM}/{name}"),
            name: Some(name.to_owned()),
            text: config_map.to_string(),
        }
    };
    config_maps.iter().map(document).collect()
}

fn config_map(kind: &str, name: &str, text: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": SYSTEM, "labels": {"writgate.dev/kind": kind, "team": "sre"}},
        "data": {format!("{kind}.yaml"): text}})
}

fn public_pem(number: u8) -> String {
    SigningKey::from_bytes(&[number; 32]).verifying_key().to_public_key_pem(LineEnding::LF).expect("a key")
}

fn reviewers(name: &str, people: &[(&str, u8)]) -> Value {
    let person = |(person, key): &(&str, u8)| json!({"name": person, "groups": ["sre"], "capabilities": ["deploy"], "keys": [{"publicKey": public_pem(*key)}]});
    let people: Vec<_> = people.iter().map(person).collect();
    let document = json!({"apiVersion": "writgate.dev/v1", "kind": "Reviewers", "reviewers": people});
    config_map("reviewers", name, &document.to_string())
}

const POSTURE: &str = "\
apiVersion: writgate.dev/v1
kind: Posture
environment: production
actions:
  deploy:
    quorum: [{group: sre, count: 2}]
reviewerSets: [prod-reviewers]
revocationLists: [prod-revocations]
";

fn posture(text: &str) -> Value {
    config_map("posture", "posture-production", text)
}

fn revocations(entries: &Value) -> Value {
    let mut document = json!({"apiVersion": "writgate.dev/v1", "kind": "Revocations"});
    document["keys"] = entries.clone();
    config_map("revocations", "prod-revocations", &document.to_string())
}

fn documents() -> Vec<Value> {
    vec![
        posture(POSTURE),
        reviewers("prod-reviewers", &[("bob", 1), ("carol", 2)]),
        revocations(&json!([{"id": KEY, "at": "2026-01-01T00:00:00Z", "why": "lost laptop"}])),
    ]
}

fn document_named(name: &str) -> Value {
    documents().into_iter().find(|document| document["metadata"]["name"] == name).expect("a document")
}

#[test]
fn a_valid_change_is_admitted_and_recorded() {
    let case = Case::write(&posture(&POSTURE.replace("count: 2", "count: 1")));
    let decision = case.decide();
    assert_eq!(decision.message(), "");
    let record = decision.record;
    assert_eq!(
        (record.environment.as_deref(), record.change.as_deref()),
        (Some("production"), Some("posture changed"))
    );
    let other_kind = |document: &mut Value| document["metadata"]["labels"]["writgate.dev/kind"] = "pipelines".into();
    let record_of_kind = Case::change("posture-production", other_kind).decide().record;
    assert_eq!(record_of_kind.change.as_deref(), Some("posture made pipelines"));
    assert_eq!(record.initiator.expect("an initiator").username, "alice");
    assert_eq!(serde_json::to_value(record.basis).expect("JSON"), "guard");
    assert!(record.posture_version.is_some_and(|version| version.starts_with("sha256:")));
}

#[test]
fn a_change_outside_a_document_is_not_an_action() {
    Case::change("posture-production", |object| object["metadata"]["labels"]["team"] = "other".into())
        .expect("not-an-action");
    Case::change("posture-production", |object| object["metadata"]["annotations"] = json!({"a": "b"}))
        .expect("not-an-action");
    // An invalid document may still be annotated.
    let broken = posture("kind: [");
    Case::write(&broken).with(|case| case.request["oldObject"] = broken).expect("not-an-action");
    // Another ConfigMap of the namespace.
    Case::change("posture-production", |object| object["metadata"]["labels"] = json!({}))
        .with(|case| {
            case.request["operation"] = "CREATE".into();
            case.request["oldObject"] = Value::Null;
        })
        .expect("not-an-action");
}

#[test]
fn denies_an_invalid_document_with_every_problem_and_its_position() {
    let message = Case::write(&posture(
        &POSTURE.replace("count: 2", "count: 0").replace("environment: production", "environment: pro duction"),
    ))
    .expect("PostureInvalid");
    assert!(message.contains("key posture.yaml: line 6, column 27: actions.deploy.quorum[0].count: "), "{message}");
    assert!(message.contains("key posture.yaml: line 3, column 1: environment: "), "{message}");
    for (from, to, place) in [
        ("kind: Posture", "kind: Posture\nenforcment: audit", "line 3, column 1: enforcment: unknown field"),
        ("count: 2", "count: many", "line 6, column 27: actions.deploy.quorum[0].count: invalid type"),
        ("[{group: sre, count: 2}]", "[]", "line 6, column 5: actions.deploy.quorum: is empty"),
        ("count: 2}]", "count: 2", "line "),
    ] {
        let message = Case::write(&posture(&POSTURE.replace(from, to))).expect("PostureInvalid");
        assert!(message.contains(place), "{place}: {message}");
    }
    // A key of small order, under which everyone can sign.
    let weak = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n-----END PUBLIC KEY-----\n";
    let weaken = |object: &mut Value| {
        let text = object["data"]["reviewers.yaml"].as_str().expect("text");
        let (good, weak) = (Value::from(public_pem(2)).to_string(), Value::from(weak).to_string());
        object["data"]["reviewers.yaml"] = text.replace(&good, &weak).into();
    };
    Case::change("prod-reviewers", weaken).expect("PostureInvalid");
    // An invalid document is denied even if there are no other documents.
    Case::write(&posture("kind: [")).with(|case| case.documents.clear()).expect("PostureInvalid");
}

#[test]
fn denies_a_document_with_an_owner() {
    let owned = |object: &mut Value| object["metadata"]["ownerReferences"] = json!([{"uid": "u"}]);
    Case::change("prod-revocations", owned).expect("PostureInvalid");
    Case::change("prod-revocations", owned).with(|case| owned(&mut case.request["oldObject"])).expect("not-an-action");
}

#[test]
fn denies_a_change_that_invalidates_a_posture_in_force() {
    // Two postures of one environment.
    let mut second = posture(POSTURE);
    second["metadata"]["name"] = "another".into();
    let message = Case::write(&second).expect("PostureInvalid");
    assert!(message.contains("2 postures, expected one"), "{message}");
    // One key of two reviewers.
    Case::write(&reviewers("prod-reviewers", &[("bob", 1), ("carol", 1)])).expect("PostureInvalid");
    // A reviewer set that does not exist.
    Case::write(&posture(&POSTURE.replace("prod-reviewers", "prod-reviewers, more"))).expect("PostureInvalid");
    // The second posture may be deleted, whatever it contains.
    Case::delete("posture-production")
        .with(|case| {
            case.documents.push(second.clone());
            case.request["oldObject"] = second;
            case.request["name"] = "another".into();
        })
        .expect("admitted");
}

#[test]
fn denies_deleting_or_relabelling_a_document_in_use() {
    let relabelled = |name: &str| Case::change(name, |object| object["metadata"]["labels"] = json!({}));
    let other =
        |name: &str| Case::change(name, |object| object["metadata"]["labels"]["writgate.dev/kind"] = "none".into());
    for way in [Case::delete, relabelled, other] {
        let message = way("posture-production").expect("InUse");
        assert!(message.contains("governs namespaces payments"), "{message}");
        let message = way("prod-reviewers").expect("InUse");
        assert!(message.contains("without it environment production has no valid posture"), "{message}");
    }
    // Documents that are not in use any more.
    Case::delete("posture-production").with(|case| case.governed.clear()).expect("admitted");
    Case::delete("prod-reviewers").with(|case| drop(case.documents.remove(0))).expect("admitted");
    // A posture that changes its environment leaves the old one without a posture.
    Case::write(&posture(&POSTURE.replace("environment: production", "environment: staging"))).expect("InUse");
}

#[test]
fn a_denial_from_cached_documents_reads_them_again() {
    let case = Case::delete("prod-reviewers").with(|case| {
        case.stale_documents = Some(documents());
        case.documents.remove(0);
    });
    case.expect("admitted");
}

#[test]
fn denies_lifting_a_revocation() {
    let later = json!([{"id": KEY, "at": "2026-01-01T00:00:01Z"}]);
    for entries in [json!([]), later, json!([{"id": KEY.replace('1', "2")}])] {
        let message = Case::write(&revocations(&entries)).expect("RevocationLifted");
        assert!(message.contains("lost laptop"), "{message}");
    }
    Case::delete("prod-revocations").expect("RevocationLifted");
    Case::change("prod-revocations", |object| object["metadata"]["labels"] = json!({})).expect("RevocationLifted");
    let message =
        Case::write(&posture(&POSTURE.replace("revocationLists: [prod-revocations]", ""))).expect("RevocationLifted");
    assert!(message.contains(KEY), "{message}");
    // The next namespace may be of an environment that governs none yet.
    Case::write(&revocations(&json!([]))).with(|case| case.governed.clear()).expect("RevocationLifted");
    // Without a posture, no list is in force.
    Case::write(&revocations(&json!([]))).with(|case| drop(case.documents.remove(0))).expect("admitted");
    // A revocation is protected even while the posture is invalid.
    Case::write(&revocations(&json!([]))).with(|case| drop(case.documents.remove(1))).expect("RevocationLifted");
}

/// Creates a document that does not exist.
fn created(document: &Value) -> Case {
    Case::write(document).with(|case| {
        let name = document["metadata"]["name"].clone();
        case.request["operation"] = "CREATE".into();
        case.request["oldObject"] = Value::Null;
        case.documents.retain(|document| document["metadata"]["name"] != name);
    })
}

/// The webhook has known the usual documents.
fn after_the_usual(case: &mut Case) {
    case.earlier = Some(documents());
}

#[test]
fn a_revocation_that_was_in_force_must_be_in_the_list_that_makes_the_posture_valid() {
    let lost = |entries: Value| created(&revocations(&entries)).with(after_the_usual);
    let message = lost(json!([])).expect("RevocationLifted");
    assert!(message.contains("lost laptop"), "{message}");
    lost(json!([{"id": KEY, "at": "2026-01-01T00:00:01Z"}])).expect("RevocationLifted");
    lost(json!([{"id": KEY, "at": "2026-01-01T00:00:00Z"}])).expect("admitted");
    lost(json!([{"id": KEY}, {"id": KEY.replace('1', "2")}])).expect("admitted");
    // A replica that has restarted knows only the documents.
    lost(json!([])).with(|case| case.earlier = None).expect("admitted");
    // The cache does not yet know that the list is gone.
    lost(json!([])).with(|case| case.stale_documents = Some(documents())).expect("RevocationLifted");
    // An environment that was given up is forgotten.
    let given_up = |case: &mut Case| {
        case.documents.remove(0);
        case.governed.clear();
    };
    lost(json!([])).with(given_up).expect("admitted");
    // The posture stays invalid with the change, and the list that names the revocation is created later.
    lost(json!([])).with(|case| drop(case.documents.remove(1))).expect("admitted");
    // Another environment's documents may change meanwhile.
    created(&reviewers("others", &[("dan", 4)]))
        .with(after_the_usual)
        .with(|case| drop(case.documents.remove(2)))
        .expect("admitted");
}

#[test]
fn a_revocation_stays_in_the_lists_while_no_posture_can_be_read() {
    let unreadable = |case: &mut Case| case.documents[0] = posture("kind: Posture\nenvironment: production\nquorum: [");
    for earlier in [None, Some(documents())] {
        let with = |case: Case| case.with(unreadable).with(|case| case.earlier = earlier.clone());
        with(Case::delete("prod-revocations")).expect("RevocationLifted");
        with(Case::write(&revocations(&json!([])))).expect("RevocationLifted");
        with(Case::write(&revocations(&json!([{"id": KEY}])))).expect("admitted");
        let mut copy = revocations(&json!([{"id": KEY}]));
        copy["metadata"]["name"] = "copy".into();
        with(Case::delete("prod-revocations")).with(|case| case.documents.push(copy)).expect("admitted");
    }
    // The posture that is written again must name the list.
    let unnamed = POSTURE.replace("revocationLists: [prod-revocations]", "");
    let repaired = |text: &str| {
        Case::write(&posture(text)).with(unreadable).with(after_the_usual).with(|case| {
            case.request["oldObject"] = case.documents[0].clone();
        })
    };
    repaired(&unnamed).expect("RevocationLifted");
    repaired(POSTURE).expect("admitted");
}

#[test]
fn a_revocation_that_was_in_force_stays_in_the_lists_while_the_posture_is_missing() {
    let other = KEY.replace('1', "2");
    let missing = |case: Case| case.with(after_the_usual).with(|case| drop(case.documents.remove(0)));
    missing(Case::delete("prod-revocations")).expect("RevocationLifted");
    missing(Case::write(&revocations(&json!([{"id": other}])))).expect("RevocationLifted");
    missing(Case::write(&revocations(&json!([{"id": KEY}])))).expect("admitted");
    // The environment governs no namespace any more.
    missing(Case::delete("prod-revocations")).with(|case| case.governed.clear()).expect("admitted");
    // An entry that was never in force.
    let both = revocations(&json!([{"id": KEY}, {"id": other}]));
    missing(Case::write(&revocations(&json!([{"id": KEY}]))))
        .with(|case| {
            case.request["oldObject"] = both.clone();
            case.documents[1] = both;
        })
        .expect("admitted");
    // A posture that does not name the list, and that is invalid until its reviewers exist.
    let unnamed = POSTURE.replace("prod-reviewers", "others").replace("revocationLists: [prod-revocations]", "");
    created(&posture(&unnamed)).with(after_the_usual).expect("RevocationLifted");
    created(&posture(&POSTURE.replace("prod-reviewers", "others"))).with(after_the_usual).expect("admitted");
}

#[test]
fn a_revocation_that_no_list_has_any_more_stays_in_force() {
    let documents_without = || {
        let mut now = documents();
        now[2] = revocations(&json!([]));
        now
    };
    let unrelated = || {
        let mut case = Case::write(&posture(&POSTURE.replace("count: 2", "count: 1"))).with(after_the_usual);
        case.documents = documents_without();
        case
    };
    let warning = unrelated().expect("admitted");
    assert!(warning.contains(&format!("key {KEY} stays revoked in production, but is in no list")), "{warning}");
    let restored = |case: &mut Case| case.documents = documents();
    assert!(!unrelated().with(restored).expect("admitted").contains("stays revoked"));
    let governed = BTreeMap::new();
    let revoked = |set: &PostureSet| set.environment("production").expect("a posture").revocations.keys.len();
    let before = PostureSet::assemble(as_documents(&documents()));
    let without = || PostureSet::assemble(as_documents(&documents_without()));
    assert_eq!((revoked(&before), revoked(&without())), (1, 0));
    let after = without().remembering(&before, &governed);
    assert_eq!(revoked(&after), 1);
    assert_eq!(after.unlisted_revocations().map(|(_, revoked)| revoked.len()).sum::<usize>(), 1);
    let invalid = PostureSet::assemble(as_documents(&documents_without()[..1])).remembering(&before, &governed);
    assert!(invalid.environment("production").is_err());
    assert_eq!(revoked(&without().remembering(&invalid, &governed)), 1, "across an invalid posture");
    let removed = PostureSet::assemble(Vec::new()).remembering(&before, &governed);
    assert_eq!(revoked(&without().remembering(&removed, &governed)), 0, "the environment was given up");
    let again = PostureSet::assemble(as_documents(&documents())).remembering(&after, &governed);
    assert_eq!((revoked(&again), again.unlisted_revocations().count()), (1, 0));
}

#[test]
fn a_listed_namespace_stays_listed_while_the_posture_is_invalid() {
    let listing = || posture(&format!("{POSTURE}namespaces: {{payments: orders}}\n"));
    let created = |posture: Value| {
        Case::relabel(json!({})).with(|case| {
            case.request["operation"] = "CREATE".into();
            case.request["oldObject"] = Value::Null;
            case.documents[0] = posture;
        })
    };
    let known = |case: &mut Case| {
        let mut earlier = documents();
        earlier[0] = listing();
        case.earlier = Some(earlier);
    };
    created(listing()).expect("GovernanceInvalid");
    created(posture(POSTURE)).with(known).expect("not-an-action");
    let unreadable = || posture("kind: Posture\nenvironment: production\nquorum: [");
    let message = created(unreadable()).with(known).expect("GovernanceInvalid");
    assert!(message.contains("writgate.dev/project=orders"), "{message}");
    created(unreadable()).expect("not-an-action");
    // The document can be read, but names reviewers who do not exist.
    created(listing()).with(|case| drop(case.documents.remove(1))).expect("GovernanceInvalid");
    created(posture(POSTURE)).with(|case| drop(case.documents.remove(1))).expect("not-an-action");
}

#[test]
fn a_revocation_may_take_effect_earlier_and_move_to_another_list() {
    Case::write(&revocations(&json!([{"id": KEY}]))).expect("admitted");
    Case::write(&revocations(&json!([{"id": KEY, "at": "2025-01-01T00:00:00Z"}, {"id": KEY.replace('1', "2")}])))
        .expect("admitted");
    let moved = |case: &mut Case| {
        let mut list = revocations(&json!([{"id": KEY}]));
        list["metadata"]["name"] = "more".into();
        case.documents.push(list);
        case.documents[0] = posture(&POSTURE.replace("prod-revocations", "prod-revocations, more"));
    };
    Case::write(&revocations(&json!([]))).with(moved).expect("admitted");
    // A list that no posture names revokes nothing.
    Case::delete("prod-revocations").with(|case| drop(case.documents.remove(0))).expect("admitted");
}

#[test]
fn denies_a_quorum_that_the_reviewers_cannot_meet() {
    for quorum in ["{group: sre, count: 3}", "{group: security, count: 1}", "{group: sre, count: 2}, {count: 1}"] {
        let message =
            Case::write(&posture(&POSTURE.replace("{group: sre, count: 2}", quorum))).expect("QuorumUnreachable");
        assert!(message.contains("line 6, column 5: actions.deploy.quorum: this quorum cannot be met"), "{message}");
        assert!(message.contains("only bob (sre), carol (sre) may grant deploy"), "{message}");
    }
    let grants = POSTURE.replace("  deploy:\n", "  deploy:\n    capabilities: [deploy.privileged]\n");
    Case::write(&posture(&grants)).expect("QuorumUnreachable");
    // One of two people leaves.
    Case::write(&reviewers("prod-reviewers", &[("bob", 1)])).expect("QuorumUnreachable");
    // Reviewers who may not grant the capability in the listed project.
    let elsewhere = POSTURE.replace("actions:", "namespaces: {payments: payments, ledger: ledger}\nactions:");
    let pinned = || posture(&elsewhere);
    Case::write(&pinned()).expect("admitted");
    let mut limited = document_named("prod-reviewers");
    let text = limited["data"]["reviewers.yaml"].as_str().expect("text");
    limited["data"]["reviewers.yaml"] = text.replacen("\"groups\"", "\"projects\":[\"payments\"],\"groups\"", 1).into();
    Case::write(&limited).expect("admitted");
    let message = Case::write(&limited).with(|case| case.documents[0] = pinned()).expect("QuorumUnreachable");
    assert!(message.contains("only carol (sre) may grant deploy in project ledger"), "{message}");
    // An unrelated change is admitted although the quorum cannot be met.
    let unmet = |case: &mut Case| (case.documents[0], case.documents[1]) = (pinned(), limited);
    Case::write(&revocations(&json!([{"id": KEY}]))).with(unmet).expect("admitted");
}

#[test]
fn warns_of_a_default_that_no_reviewer_can_meet() {
    let warning = Case::write(&posture(POSTURE)).with(|case| {
        case.request["operation"] = "CREATE".into();
        case.request["oldObject"] = Value::Null;
        case.documents.remove(0);
    });
    assert!(warning.expect("admitted").contains("no reviewer may grant replay.execute"));
    // A change that neither brings the default about nor meets it.
    assert_eq!(Case::write(&posture(&POSTURE.replace("count: 2", "count: 1"))).expect("admitted"), "");
}

#[test]
fn documents_may_be_applied_in_any_order_before_a_posture_is_in_force() {
    let new = |document: &Value, others: Vec<Value>| {
        Case::write(document).with(|case| {
            case.request["operation"] = "CREATE".into();
            case.request["oldObject"] = Value::Null;
            case.documents = others;
        })
    };
    let all = documents();
    for first in 0..3 {
        let document = &all[first];
        new(document, Vec::new()).expect("admitted");
        for other in (0..3).filter(|other| *other != first) {
            new(document, vec![all[other].clone()]).expect("admitted");
        }
    }
    let warning = new(&all[0], Vec::new()).expect("admitted");
    assert!(warning.contains("nothing is admitted in production yet"), "{warning}");
    assert!(warning.contains("\"prod-reviewers\" does not exist"), "{warning}");
    // Documents that are incomplete and also invalid.
    let doubled = reviewers("prod-reviewers", &[("bob", 1), ("bob", 2)]);
    new(&doubled, vec![all[0].clone()]).expect("PostureInvalid");
}

#[test]
fn warns_in_a_dry_run_of_a_posture_that_names_documents_that_do_not_exist_yet() {
    let dry_run = |case: &mut Case| case.request["dryRun"] = true.into();
    let next = |more: &str| posture(&POSTURE.replace("prod-reviewers", "next-reviewers").replace("count: 2", more));
    let warning = Case::write(&next("count: 2")).with(dry_run).expect("admitted");
    assert!(warning.contains("a write of the posture of production would be denied now"), "{warning}");
    assert!(warning.contains("\"next-reviewers\" does not exist"), "{warning}");

    Case::write(&next("count: 2")).expect("PostureInvalid");
    Case::write(&next("count: 0")).with(dry_run).expect("PostureInvalid");
    Case::delete("prod-reviewers").with(dry_run).expect("InUse");
    Case::delete("posture-production").with(dry_run).expect("InUse");
    // A second posture of the environment, and one that loses a revocation.
    let second = |case: &mut Case| {
        dry_run(case);
        case.request["operation"] = "CREATE".into();
        case.request["oldObject"] = Value::Null;
        case.request["name"] = "second".into();
        case.request["object"]["metadata"]["name"] = "second".into();
    };
    Case::write(&next("count: 2")).with(second).expect("PostureInvalid");
    let unlisted = posture(&POSTURE.replace("prod-revocations", "next-revocations"));
    Case::write(&unlisted).with(dry_run).expect("RevocationLifted");
}

#[test]
fn denies_while_the_documents_are_unknown() {
    let case = Case::write(&posture(&POSTURE.replace("count: 2", "count: 1")));
    case.with(|case| case.unknown = Some("the postures have not been read yet")).expect("LookupFailed");
}

#[test]
fn changing_governing_labels_requires_the_govern_right() {
    let staging = || json!({"writgate.dev/environment": "staging", "writgate.dev/project": "payments"});
    for labels in [staging(), json!({}), Value::Null] {
        let message = Case::relabel(labels.clone()).expect("GovernRequired");
        assert!(message.contains("alice") && message.contains("environment: production to "), "{message}");
        Case::relabel(labels.clone()).with(|case| case.may_govern = Err("no answer")).expect("LookupFailed");
        let decision = Case::relabel(labels).with(|case| case.may_govern = Ok(true)).decide();
        assert_eq!((decision.record.decision.as_str(), decision.message()), ("admitted", String::new()));
        let change = decision.record.change.expect("a change");
        assert!(change.starts_with("environment: production to "), "{change}");
        assert_eq!(decision.record.object.expect("an object").namespace, "");
    }
    let same = || json!({"writgate.dev/environment": "production", "writgate.dev/project": "payments", "a": "b"});
    Case::relabel(same()).expect("not-an-action");
    for subresource in ["status", "finalize"] {
        let through = |case: &mut Case| case.request["subResource"] = subresource.into();
        Case::relabel(staging()).with(through).expect("GovernRequired");
        Case::relabel(same()).with(through).expect("not-an-action");
    }
}

#[test]
fn says_that_what_runs_in_a_namespace_was_not_checked_by_its_new_environment() {
    let pair = |environment: &str, project: &str| json!({"writgate.dev/environment": environment, "writgate.dev/project": project});
    let permitted = |case: &mut Case| case.may_govern = Ok(true);
    let warning = |case: Case| case.with(permitted).expect("admitted");
    let governed_by = |environment: &str| {
        format!(
            "namespace payments is now governed by {environment}; what runs in it was not checked:\n\
             run kubectl writgate coverage -n payments"
        )
    };
    assert_eq!(warning(Case::relabel(pair("staging", "payments"))), governed_by("staging"));
    let unlabelled = |case: &mut Case| case.request["oldObject"]["metadata"]["labels"] = Value::Null;
    assert_eq!(warning(Case::relabel(pair("production", "payments")).with(unlabelled)), governed_by("production"));

    assert_eq!(warning(Case::relabel(pair("production", "orders"))), "", "the environment is the same");
    assert_eq!(warning(Case::relabel(Value::Null)), "", "nothing governs it any more");
    let created = |case: &mut Case| {
        case.request["operation"] = "CREATE".into();
        case.request["oldObject"] = Value::Null;
    };
    assert_eq!(warning(Case::relabel(pair("production", "payments")).with(created)), "", "nothing runs in it");
    let denied = Case::relabel(pair("staging", "payments")).decide();
    assert_eq!((denied.record.reasons, denied.remarks), (vec!["GovernRequired".to_owned()], Vec::new()));
}

#[test]
fn a_namespace_that_a_posture_lists_is_not_created_without_its_labels() {
    let create = |name: &str, labels: Value| {
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
        let mut case = Case::of("Namespace", "namespaces", name, name, Some(&object), None);
        case.documents[0] = posture(&format!("{POSTURE}namespaces: {{payments: orders}}\n"));
        case
    };
    let message = create("payments", Value::Null).expect("GovernanceInvalid");
    assert!(message.contains("writgate.dev/environment=production and writgate.dev/project=orders"), "{message}");
    create("payments", json!({"team": "payments"})).expect("GovernanceInvalid");
    create("payments2", Value::Null).expect("not-an-action");
    create("payments", Value::Null).with(|case| case.documents = documents()).expect("not-an-action");
    let unknown = |case: &mut Case| case.unknown = Some("the postures have not been read yet");
    create("payments", Value::Null).with(unknown).expect("LookupFailed");
    let labels = json!({"writgate.dev/environment": "production", "writgate.dev/project": "orders"});
    create("payments", labels.clone()).expect("GovernRequired");
    create("payments", labels).with(|case| case.may_govern = Ok(true)).expect("admitted");
}

#[test]
fn a_document_must_not_be_made_immutable() {
    let frozen = |case: &mut Case| case.request["object"]["immutable"] = true.into();
    let unchanged = |name: &str| Case::write(&document_named(name));
    for name in ["prod-revocations", "prod-reviewers"] {
        unchanged(name).expect("not-an-action");
        let message = unchanged(name).with(frozen).expect("PostureInvalid");
        assert!(message.contains("immutable: is true; remove it"), "{message}");
        let was = |case: &mut Case| case.request["oldObject"]["immutable"] = true.into();
        unchanged(name).with(frozen).with(was).expect("not-an-action");
    }
    unchanged("prod-reviewers").with(|case| case.request["object"]["immutable"] = false.into()).expect("not-an-action");
}

#[test]
fn an_immutable_list_is_replaced_by_one_that_keeps_its_entries() {
    const OTHER_KEY: &str = "2222222222222222222222222222222222222222222222222222222222222222";
    let named = |lists: &str| posture(&POSTURE.replace("prod-revocations", lists));
    let list = |name: &str, entries: &Value| {
        let mut list = revocations(entries);
        list["metadata"]["name"] = name.into();
        list
    };
    let both = json!([{"id": KEY}, {"id": OTHER_KEY}]);
    let replacement = || list("more", &both);
    let frozen = |case: &mut Case| case.documents[2]["immutable"] = true.into();
    let deleted = || {
        Case::delete("prod-revocations").with(frozen).with(|case| case.request["oldObject"]["immutable"] = true.into())
    };
    // The list is in use, and its entries are nowhere else.
    deleted().expect("RevocationLifted");
    // 1. Another list keeps the entries and adds one. 2. The posture names it instead.
    Case::write(&replacement()).with(frozen).expect("admitted");
    let renamed = || {
        Case::write(&named("more")).with(frozen).with(|case| {
            case.documents.push(replacement());
        })
    };
    renamed().expect("admitted");
    renamed().with(|case| case.documents[3] = list("more", &json!([{"id": OTHER_KEY}]))).expect("RevocationLifted");
    // 3. The immutable list is deleted. 4. It may be created again, but must not become immutable again.
    let moved = |case: &mut Case| {
        case.documents[0] = named("more");
        case.documents.push(replacement());
    };
    deleted().with(moved).expect("admitted");
    let created = |entries: &Value| {
        Case::write(&revocations(entries)).with(moved).with(|case| {
            case.documents.remove(2);
            case.request["operation"] = "CREATE".into();
            case.request["oldObject"] = Value::Null;
        })
    };
    created(&both).expect("admitted");
    created(&both).with(|case| case.request["object"]["immutable"] = true.into()).expect("PostureInvalid");
}

#[test]
fn denies_one_governing_label_and_governing_a_system_namespace() {
    let govern = |labels: Value, name: &str| {
        Case::relabel(labels).with(|case| {
            case.may_govern = Ok(true);
            for object in ["object", "oldObject"] {
                case.request[object]["metadata"]["name"] = name.into();
            }
            case.request["namespace"] = name.into();
            case.request["name"] = name.into();
        })
    };
    let both = || json!({"writgate.dev/environment": "staging", "writgate.dev/project": "payments"});
    govern(both(), "payments").expect("admitted");
    govern(both(), "default").expect("admitted");
    for name in ["kube-system", "kube-anything", SYSTEM] {
        govern(both(), name).expect("GovernanceInvalid");
        govern(json!({}), name).expect("admitted");
    }
    govern(json!({"writgate.dev/environment": "staging"}), "payments").expect("GovernanceInvalid");
    govern(json!({"writgate.dev/project": "payments"}), "payments").expect("GovernanceInvalid");
    govern(json!({"writgate.dev/environment": "", "writgate.dev/project": "p"}), "payments")
        .expect("GovernanceInvalid");
    govern(json!({"writgate.dev/environment": "e", "writgate.dev/project": ""}), "payments")
        .expect("GovernanceInvalid");
}

#[test]
fn creating_a_governed_namespace_requires_the_govern_right() {
    let create = |labels: Value| {
        Case::relabel(labels).with(|case| {
            case.request["operation"] = "CREATE".into();
            case.request["oldObject"] = Value::Null;
            case.request["namespace"] = "".into();
        })
    };
    create(json!({"team": "a"})).expect("not-an-action");
    let both = json!({"writgate.dev/environment": "staging", "writgate.dev/project": "payments"});
    create(both.clone()).expect("GovernRequired");
    create(both).with(|case| case.may_govern = Ok(true)).expect("admitted");
    Case::relabel(Value::Null).with(|case| case.request["operation"] = "DELETE".into()).expect("not-an-action");
}

#[test]
fn denies_writgate_metadata_written_through_a_status() {
    Case::status("Deployment", "deployments", |_| ()).expect("not-an-action");
    let annotate = |key: &'static str| move |object: &mut Value| object["metadata"]["annotations"][key] = "x".into();
    let label = |key: &'static str| move |object: &mut Value| object["metadata"]["labels"][key] = "y".into();
    for kind in [("Deployment", "deployments"), ("ReplicaSet", "replicasets"), ("StatefulSet", "statefulsets")] {
        let status = |change: fn(&mut Value)| Case::status(kind.0, kind.1, change);
        Case::status(kind.0, kind.1, annotate("note")).expect("not-an-action");
        Case::status(kind.0, kind.1, annotate("writgate.dev/approval")).expect("StatusMetadata");
        Case::status(kind.0, kind.1, annotate("writgate.dev/incident")).expect("StatusMetadata");
        Case::status(kind.0, kind.1, label("writgate.dev/replay")).expect("StatusMetadata");
        status(|object| object["metadata"]["annotations"] = json!({})).expect("StatusMetadata");
        status(|object| object["metadata"]["labels"] = json!({"app": "orders"})).expect("StatusMetadata");
    }
    // Controllers find a ReplicaSet by its labels and its owner.
    let owner = |object: &mut Value| object["metadata"]["ownerReferences"] = json!([{"uid": "u-2"}]);
    Case::status("ReplicaSet", "replicasets", label("app")).expect("StatusMetadata");
    Case::status("ReplicaSet", "replicasets", owner).expect("StatusMetadata");
    Case::status("ReplicaSet", "replicasets", label("adopt")).expect("StatusMetadata");
    Case::status("Job", "jobs", label("adopt")).expect("StatusMetadata");
    Case::status("Job", "jobs", owner).expect("StatusMetadata");
    Case::status("Pod", "pods", label("job-name")).expect("StatusMetadata");
    let record = Case::status("Job", "jobs", owner).decide().record;
    assert_eq!(record.environment.as_deref(), Some("production"));
    Case::status("Pod", "pods", |_| ()).expect("not-an-action");
    Case::status("StatefulSet", "statefulsets", label("app")).expect("not-an-action");
    Case::status("StatefulSet", "statefulsets", owner).expect("not-an-action");
    let ungoverned = |case: &mut Case| case.environment = None;
    Case::status("ReplicaSet", "replicasets", owner).with(ungoverned).expect("not-an-action");
}

#[test]
fn denies_a_config_bundle_that_differs_from_its_name() {
    // printf '{"data":{"app.yaml":"workers: 4\\n"}}' | sha256sum
    const DIGEST: &str = "sha256:";
    let content = writgate_core::kube::ConfigMapContent {
        data: BTreeMap::from([("app.yaml".to_owned(), "workers: 4\n".to_owned())]),
        ..Default::default()
    };
    assert!(writgate_core::kube::content_digest(&content).starts_with(DIGEST));
    let name = writgate_core::kube::bundle_name("orders", &content);
    let bundle = || {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "immutable": true, "data": {"app.yaml": "workers: 4\n"},
            "metadata": {"name": name, "namespace": "payments",
                "labels": {"writgate.dev/kind": "config-bundle", "writgate.dev/environment": "production"}}})
    };
    let write = |change: fn(&mut Value)| {
        let mut object = bundle();
        change(&mut object);
        Case::of("ConfigMap", "configmaps", "payments", &name, Some(&object), None)
    };
    write(|_| ()).expect("admitted");
    write(|object| object["immutable"] = false.into()).expect("BundleInvalid");
    write(|object| object["data"]["app.yaml"] = "workers: 5\n".into()).expect("BundleInvalid");
    write(|object| object["binaryData"] = json!({"a": "AAEC"})).expect("BundleInvalid");
    write(|object| object["data"] = json!({"a": 5})).expect("BundleInvalid");
    write(|object| object["metadata"]["labels"]["writgate.dev/environment"] = "staging".into()).expect("BundleInvalid");
    write(|object| object["metadata"]["labels"]["writgate.dev/kind"] = "other".into()).expect("not-an-action");
    write(|object| object["immutable"] = false.into()).with(|case| case.environment = None).expect("not-an-action");
    // An existing invalid bundle may be labelled.
    let mut wrong = bundle();
    wrong["immutable"] = false.into();
    let mut labelled = wrong.clone();
    labelled["metadata"]["labels"]["team"] = "a".into();
    Case::of("ConfigMap", "configmaps", "payments", &name, Some(&labelled), Some(&wrong)).expect("not-an-action");
    // A bundle is checked again when it becomes one, and when a part of it changes that is checked.
    let update = |old: fn(&mut Value), new: fn(&mut Value)| {
        let (mut before, mut after) = (bundle(), bundle());
        old(&mut before);
        new(&mut after);
        Case::of("ConfigMap", "configmaps", "payments", &name, Some(&after), Some(&before))
    };
    let other_kind = |object: &mut Value| {
        object["metadata"]["labels"]["writgate.dev/kind"] = "other".into();
        object["immutable"] = false.into();
    };
    let other_environment = |object: &mut Value| {
        object["metadata"]["labels"]["writgate.dev/environment"] = "staging".into();
    };
    let mutable = |object: &mut Value| object["immutable"] = false.into();
    let other_data = |object: &mut Value| object["data"]["app.yaml"] = "workers: 5\n".into();
    let more_data = |object: &mut Value| object["binaryData"] = json!({"a": "AAEC"});
    update(|_| (), |_| ()).expect("not-an-action");
    for change in [mutable, other_data, more_data, other_environment] as [fn(&mut Value); 4] {
        update(|_| (), change).expect("BundleInvalid");
        update(change, |_| ()).expect("admitted");
    }
    update(other_kind, mutable).expect("BundleInvalid");
    update(other_kind, |_| ()).expect("admitted");
}

#[test]
fn denies_a_request_that_no_guard_knows() {
    let other = |kind: &str, resource: &str| {
        Case::of(
            kind,
            resource,
            "payments",
            "x",
            Some(&json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {}})),
            None,
        )
    };
    other("Deployment", "deployments").expect("UnsupportedKind");
    other("Deployment", "deployments")
        .with(|case| case.request["subResource"] = "scale".into())
        .expect("UnsupportedKind");
    Case::delete("posture-production")
        .with(|case| case.request["operation"] = "CONNECT".into())
        .expect("UnsupportedKind");
}

#[test]
fn every_page_of_a_guards_reason_has_a_decision_as_its_example() {
    let label = |object: &mut Value| object["metadata"]["labels"]["writgate.dev/replay"] = "y".into();
    let bundle = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"app.yaml": "workers: 4\n"},
        "metadata": {"name": "orders-config", "namespace": "payments",
            "labels": {"writgate.dev/kind": "config-bundle", "writgate.dev/environment": "production"}}});
    let cases = [
        Case::write(&posture(&POSTURE.replace("count: 2", "count: 0"))),
        Case::write(&revocations(&json!([]))),
        Case::delete("posture-production"),
        Case::write(&posture(&POSTURE.replace("count: 2", "count: 3"))),
        Case::of("ConfigMap", "configmaps", "payments", "orders-config", Some(&bundle), None),
        requests::of_another_user(),
        Case::relabel(json!({"writgate.dev/environment": "staging"})),
        Case::relabel(json!({})),
        Case::status("Deployment", "deployments", label),
    ];
    let shown: Vec<_> = cases.iter().map(|case| pages::has_as_example(&case.decide())).collect();
    let expected = [
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
    assert_eq!(shown, expected);
}
