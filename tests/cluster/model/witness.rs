//! The observed side of a history: every state that the API server stored, and the webhook's records and Events.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use futures::TryStreamExt as _;
use kube::api::{Api, DynamicObject, ListParams, WatchEvent, WatchParams};
use serde_json::{Value, json};

use crate::model::player::resource;
use crate::model::verdict::{Answer, Because};
use writgate_testing::{Governed, Installation};

/// The stored states by the object's name: each uid and number of a spec, in order.
pub(crate) type Persisted = BTreeMap<String, Vec<(String, u8)>>;

/// Watches the objects in `namespace`, and collects their states.
pub(crate) fn watch(installation: &Installation, namespace: &str) -> Arc<Mutex<Persisted>> {
    let seen = Arc::new(Mutex::new(Persisted::new()));
    for resource in [resource(false), resource(true)] {
        let (seen, namespace) = (seen.clone(), namespace.to_owned());
        installation.plane.block_on(async {
            let objects: Api<DynamicObject> =
                Api::namespaced_with(installation.plane.admin.client().await, &namespace, &resource);
            let version = objects.list(&ListParams::default()).await.expect("a list").metadata.resource_version;
            tokio::spawn(async move {
                let events = objects.watch(&WatchParams::default().timeout(290), &version.expect("a version")).await;
                let events = events.expect("a watch");
                let mut events = std::pin::pin!(events);
                while let Ok(Some(event)) = events.try_next().await {
                    if let WatchEvent::Added(object) | WatchEvent::Modified(object) = event {
                        note(&mut seen.lock().expect("no thread panics while it holds the lock"), &object);
                    }
                }
            });
        });
    }
    seen
}

/// Adds the uid and the spec of `object`, if they differ from the state before.
pub(crate) fn note(seen: &mut Persisted, object: &DynamicObject) {
    let image = object.data["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap_or_default();
    let spec = image.rsplit('-').next().and_then(|number| number.parse().ok()).unwrap_or(u8::MAX);
    let persisted = (object.metadata.uid.clone().unwrap_or_default(), spec);
    let of_this = seen.entry(object.metadata.name.clone().unwrap_or_default()).or_default();
    if of_this.last() != Some(&persisted) {
        of_this.push(persisted);
    }
}

/// Asserts that the decisions in the API server's audit log are those of the model, that each has one record, and that each
/// admission has one Event.
pub(crate) fn check_trail(governed: &Governed<'_>, answers: &[(String, Answer)], log: &str) {
    const PREFIX: &str = "workloads.writgate.dev/";
    let installation = governed.installation;
    let decided = installation.plane.audit_log(|line| {
        let annotation = |key: &str| line["annotations"][format!("{PREFIX}{key}")].as_str().unwrap_or_default();
        line["objectRef"]["namespace"] == governed.namespace.as_str()
            && line["objectRef"]["name"] != "probe"
            && !annotation("decision-id").is_empty()
            && annotation("decision") != "not-an-action"
            // The API server decides about an object from its cache first, and then finds out that the object is gone. The
            // attempt then has no answer to compare.
            && line["responseStatus"]["code"] != 404
    });
    let annotation =
        |line: &Value, key: &str| line["annotations"][format!("{PREFIX}{key}")].as_str().unwrap_or_default().to_owned();
    let decisions: Vec<_> =
        decided.iter().map(|line| (annotation(line, "decision"), annotation(line, "reasons"))).collect();
    assert_eq!(decisions.len(), answers.len(), "{log}\n{decisions:?}");
    for (line, (name, answer)) in decided.iter().zip(answers) {
        assert_eq!(line["objectRef"]["name"], name.as_str(), "{log}");
        let id = annotation(line, "decision-id");
        let records = installation.webhook.records(|record| record["id"] == id.as_str());
        let [record] = &*records else { panic!("{} records of {id}\n{log}", records.len()) };
        let (decision, reason, basis, event) = match answer {
            Answer::Admitted(Because::Approved) => ("admitted", Value::Null, "approval", Some("Admitted")),
            Answer::Admitted(Because::RanBefore) => ("admitted", Value::Null, "rollback", Some("RollbackAdmitted")),
            Answer::Denied(code) => ("denied", json!(code), "", None),
            Answer::NotAnAction => unreachable!("only actions are compared"),
        };
        assert_eq!(record["decision"], decision, "{log}\n{record}");
        assert_eq!(record["reasons"][0], reason, "{log}\n{record}");
        assert_eq!(record["basis"].as_str().unwrap_or_default(), basis, "{log}\n{record}");
        if let Some(reason) = event {
            let [event] = &*events(governed, &id) else { panic!("not one Event of {id}\n{log}") };
            assert_eq!(event["reason"], reason, "{log}");
        }
    }
}

/// The Events of a decision.
pub(crate) fn events(governed: &Governed<'_>, decision: &str) -> Vec<Value> {
    let list = governed.installation.plane.admin.get(&["events.events.k8s.io", "-n", &governed.namespace]);
    let Some(Value::Array(events)) = list.map(|mut list| list["items"].take()) else { return Vec::new() };
    let about = |event: &Value| {
        let record = event["metadata"]["annotations"]["writgate.dev/decision"].as_str().unwrap_or_default();
        serde_json::from_str::<Value>(record).is_ok_and(|record| record["id"] == decision)
    };
    events.into_iter().filter(about).collect()
}
