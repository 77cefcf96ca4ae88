//! The vectors of decision-v1.

use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;
use writgate_core::{
    approval::DetachedApproval,
    decide::{Facts, Governance, Known, UseRecord, Want, decide, decide_malformed},
    posture::{Document, PostureSet},
    record::{Decision, History},
    request::{ExemptControllers, Request},
};

use crate::case::Case;

/// Decides a review under documents; what the decision has to look up is in `facts`.
pub(crate) fn decided(review: &Value, labels: &Value, documents: &[Value], facts: &Value, now: Timestamp) -> Decision {
    let body = review.to_string();
    let request = match Request::parse(body.as_bytes()) {
        Ok(request) => request,
        Err(malformed) => return decide_malformed(&malformed, Uuid::nil(), now),
    };
    let document = |(index, document): (usize, &Value)| Document {
        source: format!("document {index}"),
        name: None,
        text: document.to_string(),
    };
    let postures = PostureSet::assemble(documents.iter().enumerate().map(document).collect());
    let label = |name: &str| labels[format!("writgate.dev/{name}")].as_str();
    let governance = label("environment").map_or(Governance::Ungoverned, |environment| Governance::Governed {
        environment,
        project: label("project"),
        posture: postures.environment(environment),
    });
    let mut known = Known::default();
    loop {
        let facts_now = Facts { decision_id: Uuid::nil(), exempt: &ExemptControllers::default(), known: &known };
        let mut decision = decide(&request, &governance, &facts_now, now);
        let wants = std::mem::take(&mut decision.wants);
        if wants.is_empty() {
            return decision;
        }
        for want in wants {
            answer(&mut known, want, facts, request.dry_run, now);
        }
    }
}

/// Finds out what is wanted.
fn answer(known: &mut Known, want: Want, facts: &Value, dry_run: bool, now: Timestamp) {
    match want {
        Want::Use(wanted) => {
            let uses = facts["uses"].as_array().into_iter().flatten();
            let mut uses = uses.map(|found| serde_json::from_value::<UseRecord>(found.clone()).expect("a use"));
            let held = uses.find(|found| found.used.entry == wanted.entry);
            let held = held.or_else(|| (!dry_run).then(|| UseRecord::new(wanted.clone(), now)));
            known.learn_use(&wanted, Ok(held));
        }
        Want::KeptApprovals(_) => known.learn_kept_approvals(detached(facts)),
        Want::LiveApprovals(_) => known.learn_live_approvals(Ok(detached(facts))),
        Want::ConfigMap(name) => {
            let content = facts["configMaps"].get(&name).filter(|content| !content.is_null()).cloned();
            let content = content.map(|content| serde_json::from_value(content).expect("a ConfigMap"));
            known.learn_config_map(&name, Ok(content));
        }
        Want::History(_) => known.learn_history(match &facts["history"] {
            Value::Null => Ok(History::default()),
            history => match history["error"].as_str() {
                Some(why) => Err(why.to_owned()),
                None => Ok(History::parse(&history.to_string()).expect("a history")),
            },
        }),
        other => panic!("{other:?}"),
    }
}

fn detached(facts: &Value) -> Vec<DetachedApproval> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let found = facts["detached"].as_array().into_iter().flatten();
    found.map(|found| DetachedApproval { name: text(&found["name"]), text: text(&found["envelope"]) }).collect()
}

#[test]
fn every_vector_of_decision_v1() {
    let mut wrong = Vec::new();
    for case in Case::all("decision-v1", 166) {
        let documents: Vec<_> = case.list("documents").iter().map(|part| case.resolve(part)).collect();
        let review = case.resolve(&case.value["review"]);
        let now = case.text("now").parse().expect("a time");
        let decision = decided(&review, &case.value["namespaceLabels"], &documents, &case.value["facts"], now);
        let record = serde_json::to_value(&decision.record).expect("JSON");
        for (member, expected) in case.expect().as_object().expect("an object") {
            let found = match member.as_str() {
                "approvals" => {
                    record["approvals"].as_array().expect("a list").iter().map(|a| a["id"].clone()).collect()
                }
                _ => record[member].clone(),
            };
            if found != *expected {
                wrong.push(format!("{}: {member} is {found}, expected {expected}", case.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
