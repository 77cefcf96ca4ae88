//! The Deployment that owns a `ReplicaSet`, read from the cluster at the moment of a review.
//!
//! Only when its controller raises one from zero. What is read is judged by core. Called by `lookups`.

use std::time::Duration;

use axum::http::Request;
use kube::{Client, Error};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::cluster;
use crate::names;

/// How long a read may take, waiting included: most of the patience of an API server that waits 5 s.
const PATIENCE: Duration = Duration::from_secs(2);
/// Reads at once: what callers can cost the API server.
const MAX_READS: usize = 16;

/// Reads Deployments, a bounded number at once.
pub struct DeploymentReader {
    client: Client,
    reads: Semaphore,
}

impl DeploymentReader {
    /// Through `client`.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client, reads: Semaphore::new(MAX_READS) }
    }

    /// The spec as the API server sends it, `None` where there is no such Deployment, or why nobody can tell.
    pub async fn read(&self, namespace: &str, name: &str) -> Result<Option<String>, String> {
        if !names::is_label(namespace) || !names::is_subdomain(name) {
            return Ok(None);
        }
        let path = format!("/apis/apps/v1/namespaces/{namespace}/deployments/{name}");
        let request = Request::get(path).body(Vec::new()).map_err(|error| error.to_string())?;
        let read = async {
            let _turn = self.reads.acquire().await;
            self.client.request_text(request).await
        };
        match timeout(PATIENCE, read).await {
            Err(_) => Err(format!("the API server did not answer within {PATIENCE:?}")),
            Ok(Err(Error::Api(status))) if status.is_not_found() => Ok(None),
            Ok(Err(error)) => Err(cluster::why(&error)),
            Ok(Ok(text)) => spec_of(&text).map(Some),
        }
    }
}

/// As text: a typed Deployment would forget the fields that this build does not know.
fn spec_of(text: &str) -> Result<String, String> {
    #[derive(Deserialize)]
    struct Deployment<'a> {
        #[serde(borrow)]
        spec: &'a RawValue,
    }
    let deployment: Deployment<'_> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    Ok(deployment.spec.get().to_owned())
}
