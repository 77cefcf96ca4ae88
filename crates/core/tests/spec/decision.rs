//! The vectors of decision-v1.

use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;
use writgate_core::{
    approval::{DetachedApproval, DetachedQuery},
    decide::{
        Answers, ConfigMapAnswer, Facts, Governance, HolderAnswer, ScaledWorkload, Use, UseRecord, decide,
        decide_malformed,
    },
    posture::{Document, PostureSet},
    record::{Decision, History, ObjectRecord},
    request::{ExemptControllers, Request},
};

use crate::spec::case::Case;

/// Decides a request under documents; `facts` has the answers to lookups.
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
    let known = Facts {
        decision_id: Uuid::nil(),
        exempt: &ExemptControllers::default(),
        clock_leeway: jiff::SignedDuration::ZERO,
    };
    let mut answers = VectorAnswers { facts, dry_run: request.dry_run, now };
    if let Some(workload) = ScaledWorkload::of(&request, &governance, known.exempt)
        && let Some(live) = facts.get("scaled")
    {
        let review = workload.as_update(&request, &live.to_string()).expect("a workload");
        let update = Request::parse(review.as_bytes()).expect("a review");
        return decide(&update, &governance, &known, now, &mut answers);
    }
    decide(&request, &governance, &known, now, &mut answers)
}

/// Answers from the facts of a vector.
struct VectorAnswers<'v> {
    facts: &'v Value,
    dry_run: bool,
    now: Timestamp,
}

impl Answers for VectorAnswers<'_> {
    fn cached_approvals(&mut self, _: &DetachedQuery) -> Vec<DetachedApproval> {
        detached(self.facts)
    }

    fn live_approvals(&mut self, _: &DetachedQuery) -> Result<Vec<DetachedApproval>, String> {
        Ok(detached(self.facts))
    }

    fn config_map(&mut self, name: &str) -> ConfigMapAnswer {
        let content = self.facts["configMaps"].get(name).filter(|content| !content.is_null()).cloned();
        Ok(content.map(|content| serde_json::from_value(content).expect("a ConfigMap")))
    }

    fn holder(&mut self, wanted: &Use) -> HolderAnswer {
        let uses = self.facts["uses"].as_array().into_iter().flatten();
        let mut uses = uses.map(|found| serde_json::from_value::<UseRecord>(found.clone()).expect("a use"));
        let held = uses.find(|found| found.used.entry == wanted.entry);
        Ok(held.or_else(|| (!self.dry_run).then(|| UseRecord::new(wanted.clone(), self.now))))
    }

    fn history(&mut self, _: &ObjectRecord) -> Result<History, String> {
        match &self.facts["history"] {
            Value::Null => Ok(History::default()),
            history => match history["error"].as_str() {
                Some(why) => Err(why.to_owned()),
                None => Ok(History::parse(&history.to_string()).expect("a history")),
            },
        }
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
    for case in Case::all("decision-v1", 204) {
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
