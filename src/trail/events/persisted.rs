//! Whether an admitted object was stored: it is read back through the API until it is seen or the time is up.
//!
//! Another webhook, a quota or a conflict can still stop an admitted request, and anyone who reaches the webhook can replay a
//! captured review. So an Event says "admitted" only after the object was seen.

use std::time::Duration;

use axum::http::Request;
use kube::{Client, Error};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep, timeout_at};
use writgate_cluster::{client, names};
use writgate_core::{
    approval::{SpecHash, spec_hash},
    kube::WorkloadKind,
};

use crate::trail::events::event::DecidedRequest;

/// How long an object may take to appear.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pauses between reads, doubled up to the longest. The object usually appears some milliseconds after the response.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Whether an admitted object was found in the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// The object exists as it was admitted.
    Confirmed,
    /// The object did not appear in time. The text says what was found instead.
    Unconfirmed(String),
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
}

/// The fields of an object that are read back.
#[derive(Deserialize)]
struct LiveObject<'a> {
    metadata: LiveMetadata,
    #[serde(borrow)]
    spec: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct LiveMetadata {
    uid: String,
    #[serde(default)]
    generation: i64,
}

/// Reads the object of `decided` until it is found as admitted, for at most ten seconds.
pub async fn wait_for(client: &Client, decided: &DecidedRequest) -> Persistence {
    let Some(admitted) = AdmittedObject::of(decided) else {
        return Persistence::Unconfirmed("the object has no valid name or no uid".to_owned());
    };
    let deadline = Instant::now() + PATIENCE;
    let mut pause = FIRST_PAUSE;
    let mut last = "the API server sent no response".to_owned();
    loop {
        sleep(pause).await;
        match timeout_at(deadline, admitted.read_back(client)).await {
            Ok(Ok(())) => return Persistence::Confirmed,
            Ok(Err(why)) => last = why,
            Err(_) => return Persistence::Unconfirmed(last),
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
        if Instant::now() + pause >= deadline {
            return Persistence::Unconfirmed(last);
        }
    }
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
        })
    }

    async fn read_back(&self, client: &Client) -> Result<(), String> {
        let request = Request::get(&self.path).body(Vec::new()).map_err(|error| error.to_string())?;
        match client.request_text(request).await {
            Ok(text) => self.matches(&text),
            Err(Error::Api(status)) if status.is_not_found() => Err("it does not exist".to_owned()),
            Err(error) => Err(format!("it could not be read: {}", client::why(&error))),
        }
    }

    /// Checks that `object` is the admitted one. A later change that keeps the spec hash is accepted. The error says what
    /// differs.
    fn matches(&self, object: &str) -> Result<(), String> {
        let found: LiveObject<'_> =
            serde_json::from_str(object).map_err(|error| format!("it could not be read: {error}"))?;
        if found.metadata.uid != self.uid {
            return Err("another object of this name exists".to_owned());
        }
        if found.metadata.generation < self.generation {
            return Err("the object has an earlier generation".to_owned());
        }
        let (Some(kind), Some(expected)) = (self.kind, self.spec_hash) else { return Ok(()) };
        let spec = found.spec.map_or("{}", RawValue::get);
        match spec_hash(kind, spec) {
            Ok(hash) if hash == expected => Ok(()),
            Ok(hash) => Err(format!("its spec has the hash {hash}")),
            Err(error) => Err(format!("its spec cannot be hashed: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: &str = r#"{"replicas":1,"template":{"spec":{"containers":[{"name":"c","image":"i"}]}}}"#;

    fn admitted() -> AdmittedObject {
        AdmittedObject {
            path: "/apis/apps/v1/namespaces/payments/deployments/orders".into(),
            kind: Some(WorkloadKind::Deployment),
            uid: "u-1".into(),
            generation: 2,
            spec_hash: Some(spec_hash(WorkloadKind::Deployment, SPEC).expect("a spec")),
        }
    }

    fn object(uid: &str, generation: i64, spec: &str) -> String {
        format!(r#"{{"kind":"Deployment","metadata":{{"uid":"{uid}","generation":{generation}}},"spec":{spec}}}"#)
    }

    #[test]
    fn an_admitted_object_is_recognised_after_it_was_scaled() {
        assert_eq!(admitted().matches(&object("u-1", 2, SPEC)), Ok(()));
        assert_eq!(admitted().matches(&object("u-1", 3, &SPEC.replace(":1", ":5"))), Ok(()));
    }

    #[test]
    fn another_object_an_older_or_another_spec_is_not_the_admitted_one() {
        assert!(admitted().matches(&object("u-2", 2, SPEC)).is_err());
        assert!(admitted().matches(&object("u-1", 1, SPEC)).is_err());
        assert!(admitted().matches(&object("u-1", 2, &SPEC.replace("\"i\"", "\"j\""))).is_err());
        assert!(admitted().matches("{}").is_err());
    }
}
