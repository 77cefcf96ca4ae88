//! Whether an admitted object was stored: it is read back through the API.
//!
//! Another webhook, a quota or a conflict can still stop an admitted request, and anyone who reaches the webhook can replay a
//! captured review. So an Event says "admitted" only after the object was seen, with the write that the review shows: who wrote it
//! and when, according to `managedFields`. These do not name a user, and neither does the API server, so nothing here confirms the
//! user of a review.

use std::collections::BTreeMap;
use std::fmt;

use axum::http::Request;
use jiff::{SignedDuration, Timestamp};
use kube::{Client, Error};
use serde::Deserialize;
use serde_json::value::RawValue;
use writgate_cluster::bounded_request::{self, RequestError};
use writgate_cluster::{client, names};
use writgate_core::{
    approval::{SpecHash, spec_hash},
    kube::WorkloadKind,
    text::quoted,
    vocabulary::REPLAY_LABEL,
};

use crate::trail::events::ANSWER;
use crate::trail::events::event::DecidedRequest;

/// How far the time of a write and the time of its decision may be apart. Other webhooks take time in between, and clocks differ.
/// A review that is replayed later is not the write that it shows.
const APART: SignedDuration = SignedDuration::from_mins(5);

/// A write of an object, as an entry of its `managedFields` says.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Write {
    #[serde(default)]
    manager: String,
    #[serde(default)]
    operation: String,
    #[serde(default)]
    subresource: String,
    time: Timestamp,
}

impl Write {
    /// The latest write in `managed_fields`, which is JSON.
    #[must_use]
    pub fn of(managed_fields: Option<&RawValue>) -> Option<Self> {
        latest(serde_json::from_str::<Vec<Self>>(managed_fields?.get()).ok()?)
    }

    #[cfg(test)]
    pub(in crate::trail::events) fn of_test(time: &str) -> Self {
        let time = time.parse().expect("a time");
        Self { manager: "kubectl".into(), operation: "Update".into(), subresource: String::new(), time }
    }
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}", quoted(&self.manager), quoted(&self.operation))?;
        if !self.subresource.is_empty() {
            write!(f, " of {}", quoted(&self.subresource))?;
        }
        write!(f, ") at {}", self.time)
    }
}

/// Controllers report the status all the time, and admission of a workload is not about it.
fn latest(writes: Vec<Write>) -> Option<Write> {
    writes.into_iter().filter(|write| write.subresource != "status").max_by_key(|write| write.time)
}

/// What the API server confirms about an admitted object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredObject {
    /// Its `metadata.generation`.
    pub generation: i64,
    /// The write that was admitted; absent if its `managedFields` are absent.
    pub write: Option<Write>,
}

impl fmt::Display for StoredObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stored as generation {}", self.generation)?;
        self.write.as_ref().map_or(Ok(()), |write| write!(f, ", written by {write}"))
    }
}

/// The properties by which an admitted object is recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdmittedObject {
    /// The URL path of the object.
    path: String,
    kind: Option<WorkloadKind>,
    uid: String,
    generation: i64,
    spec_hash: Option<SpecHash>,
    replay: Option<String>,
    write: Option<Write>,
    decided: Timestamp,
}

/// The fields of an object that are read back.
#[derive(Deserialize)]
struct LiveObject<'a> {
    metadata: LiveMetadata,
    #[serde(borrow)]
    spec: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LiveMetadata {
    uid: String,
    #[serde(default)]
    generation: i64,
    labels: Option<BTreeMap<String, String>>,
    managed_fields: Option<Vec<Write>>,
}

/// Reads the object of `decided` once. The error says what was found instead.
pub async fn look(client: &Client, decided: &DecidedRequest) -> Result<StoredObject, String> {
    let admitted = AdmittedObject::of(decided).ok_or("the object has no valid name or no uid")?;
    admitted.read_back(client).await
}

impl AdmittedObject {
    fn of(decided: &DecidedRequest) -> Option<Self> {
        let object = decided.decision.record.object.as_ref()?;
        let (namespace, name) = (&object.namespace, &object.name);
        let is_addressable =
            names::is_label(namespace) && names::is_subdomain(name) && names::is_label(&decided.resource);
        if !is_addressable {
            return None;
        }
        let api_version = &object.api_version;
        let root = if api_version.contains('/') { "apis" } else { "api" };
        if !api_version.split('/').all(names::is_subdomain) {
            return None;
        }
        Some(Self {
            path: format!("/{root}/{api_version}/namespaces/{namespace}/{}/{name}", decided.resource),
            kind: decided.workload,
            uid: object.uid.clone()?,
            generation: decided.decision.generation,
            spec_hash: decided.decision.record.spec_hash,
            replay: decided.replay.clone(),
            write: decided.write.clone(),
            decided: decided.decision.record.time,
        })
    }

    async fn read_back(&self, client: &Client) -> Result<StoredObject, String> {
        let request = Request::get(&self.path).body(Vec::new()).map_err(|error| error.to_string())?;
        match bounded_request::send(ANSWER, client.request_text(request)).await {
            Ok(text) => self.matches(&text),
            Err(RequestError::Failed(Error::Api(status))) if status.is_not_found() => {
                Err("it does not exist".to_owned())
            }
            Err(RequestError::Failed(error)) => Err(format!("it could not be read: {}", client::why(&error))),
            Err(error) => Err(format!("it could not be read: {error}")),
        }
    }

    /// Checks that `object` is the admitted one. A later change that keeps the spec hash is accepted. The error says what
    /// differs.
    fn matches(&self, object: &str) -> Result<StoredObject, String> {
        let found: LiveObject<'_> =
            serde_json::from_str(object).map_err(|error| format!("it could not be read: {error}"))?;
        let LiveMetadata { uid, generation, labels, managed_fields } = found.metadata;
        if uid != self.uid {
            return Err("another object of this name exists".to_owned());
        }
        if generation < self.generation {
            return Err("the object has an earlier generation".to_owned());
        }
        if labels.as_ref().and_then(|labels| labels.get(REPLAY_LABEL)) != self.replay.as_ref() {
            return Err(format!("it has another label {REPLAY_LABEL}"));
        }
        let write = self.written(generation, managed_fields.unwrap_or_default())?;
        let stored = StoredObject { generation, write };
        let (Some(kind), Some(expected)) = (self.kind, self.spec_hash) else { return Ok(stored) };
        let spec = found.spec.map_or("{}", RawValue::get);
        match spec_hash(kind, spec) {
            Ok(hash) if hash == expected => Ok(stored),
            Ok(hash) => Err(format!("its spec has the hash {hash}")),
            Err(error) => Err(format!("its spec cannot be hashed: {error}")),
        }
    }

    /// The write among `writes` that was admitted. Without it, another user or a replay may have written what was admitted.
    fn written(&self, generation: i64, writes: Vec<Write>) -> Result<Option<Write>, String> {
        let is_admitted = |write: &&Write| {
            let Some(admitted) = &self.write else { return false };
            let is_later = generation > self.generation && write.time > admitted.time;
            (&write.manager, &write.operation, &write.subresource)
                == (&admitted.manager, &admitted.operation, &admitted.subresource)
                && (write.time == admitted.time || is_later)
        };
        let Some(write) = writes.iter().find(is_admitted).cloned() else {
            return match latest(writes) {
                Some(other) => Err(format!("it was written by {other}")),
                // Nothing in the cluster says who wrote it.
                None if self.write.is_none() => Ok(None),
                None => Err("nothing says who wrote it".to_owned()),
            };
        };
        let admitted = self.write.as_ref().unwrap_or(&write).time;
        if self.decided.duration_since(admitted).abs() > APART {
            return Err(format!("it was written by {write}, and decided at {}", self.decided));
        }
        Ok(Some(write))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: &str = r#"{"replicas":1,"template":{"spec":{"containers":[{"name":"c","image":"i"}]}}}"#;
    const TIME: &str = "2026-11-22T11:00:00Z";
    const LATER: &str = "2026-11-22T11:00:09Z";

    fn admitted() -> AdmittedObject {
        AdmittedObject {
            path: "/apis/apps/v1/namespaces/payments/deployments/orders".into(),
            kind: Some(WorkloadKind::Deployment),
            uid: "u-1".into(),
            generation: 2,
            spec_hash: Some(spec_hash(WorkloadKind::Deployment, SPEC).expect("a spec")),
            replay: None,
            write: Some(Write::of_test(TIME)),
            decided: LATER.parse().expect("a time"),
        }
    }

    fn object(uid: &str, generation: i64, spec: &str) -> String {
        written("kubectl", TIME, uid, generation, spec)
    }

    fn written(manager: &str, time: &str, uid: &str, generation: i64, spec: &str) -> String {
        let writes = serde_json::json!([
            {"manager": manager, "operation": "Update", "time": time, "apiVersion": "apps/v1", "fieldsV1": {"f:spec": {}}},
            {"manager": "kube-controller-manager", "operation": "Update", "subresource": "status", "time": LATER},
        ]);
        format!(
            r#"{{"kind":"Deployment","metadata":{{"uid":"{uid}","generation":{generation},"managedFields":{writes}}},"spec":{spec}}}"#
        )
    }

    #[test]
    fn an_admitted_object_is_recognised_after_it_was_scaled() {
        let stored = admitted().matches(&object("u-1", 2, SPEC)).expect("it was stored");
        assert_eq!(stored.to_string(), "stored as generation 2, written by kubectl (Update) at 2026-11-22T11:00:00Z");
        assert!(admitted().matches(&object("u-1", 3, &SPEC.replace(":1", ":5"))).is_ok());
        assert!(admitted().matches(&written("kubectl", LATER, "u-1", 3, SPEC)).is_ok());
    }

    #[test]
    fn another_object_an_older_or_another_spec_is_not_the_admitted_one() {
        assert!(admitted().matches(&object("u-2", 2, SPEC)).is_err());
        assert!(admitted().matches(&object("u-1", 1, SPEC)).is_err());
        assert!(admitted().matches(&object("u-1", 2, &SPEC.replace("\"i\"", "\"j\""))).is_err());
        assert!(admitted().matches("{}").is_err());
    }

    #[test]
    fn an_object_that_somebody_else_wrote_is_not_the_admitted_one() {
        let why = |found: &str| admitted().matches(found).expect_err("another write");
        assert!(why(&written("helm", TIME, "u-1", 2, SPEC)).contains("written by helm"));
        assert!(why(&written("kubectl", LATER, "u-1", 2, SPEC)).contains("written by kubectl"));
        let unknown = AdmittedObject { write: None, ..admitted() };
        assert!(unknown.matches(&object("u-1", 2, SPEC)).is_err(), "the review shows no write");
    }

    #[test]
    fn a_review_that_is_replayed_minutes_later_is_not_the_write_that_it_shows() {
        let decided = |time: &str| AdmittedObject { decided: time.parse().expect("a time"), ..admitted() };
        assert!(decided("2026-11-22T11:05:00Z").matches(&object("u-1", 2, SPEC)).is_ok());
        assert!(decided("2026-11-22T11:05:01Z").matches(&object("u-1", 2, SPEC)).is_err());
        assert!(decided("2026-11-22T10:54:59Z").matches(&object("u-1", 2, SPEC)).is_err());
    }

    #[test]
    fn a_job_with_another_replay_label_is_not_the_admitted_one() {
        let execute = AdmittedObject { replay: Some("execute".into()), ..admitted() };
        let labelled = |label: &str| {
            let labels = format!(r#""uid":"u-1","labels":{{"writgate.dev/replay":"{label}"}}"#);
            object("u-1", 2, SPEC).replace(r#""uid":"u-1""#, &labels)
        };
        assert!(execute.matches(&labelled("execute")).is_ok());
        assert!(execute.matches(&labelled("dry-run")).is_err());
        assert!(execute.matches(&object("u-1", 2, SPEC)).is_err());
        assert!(admitted().matches(&labelled("execute")).is_err());
    }

    #[test]
    fn the_latest_write_is_that_of_the_request_and_never_one_of_the_status() {
        let text = r#"[{"manager":"a","time":"2026-11-22T10:00:00Z"},{"manager":"b","time":"2026-11-22T11:00:00Z"},
            {"manager":"c","subresource":"status","time":"2026-11-22T12:00:00Z"}]"#;
        let fields: Box<RawValue> = serde_json::from_str(text).expect("JSON");
        assert_eq!(Write::of(Some(&fields)).map(|write| write.manager), Some("b".to_owned()));
        assert_eq!(Write::of(None), None);
    }
}
