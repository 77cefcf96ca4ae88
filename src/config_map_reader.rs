//! ConfigMaps that a workload refers to, read from the cluster at the moment of a review.
//!
//! Only where a posture asks for config bundles, and only for a request that nothing else speaks against. What is read
//! is judged by core. Called by `lookups`.

use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use writgate_core::ConfigMapContent;

use crate::cluster;
use crate::names;

/// How long all reads of one request may take, waiting included: most of the patience of an API server that waits 5 s.
const PATIENCE: Duration = Duration::from_secs(2);
/// Reads at once, of all requests: what callers can cost the API server, and 16 MiB of answers at most.
const MAX_READS: usize = 16;

/// What is known of a ConfigMap: its content, that there is none of the name, or why nobody can tell.
pub type Read = Result<Option<ConfigMapContent>, String>;

/// Reads ConfigMaps, a bounded number at once.
pub struct ConfigMapReader {
    client: Client,
    reads: Semaphore,
}

impl ConfigMapReader {
    /// Through `client`.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client, reads: Semaphore::new(MAX_READS) }
    }

    /// The ConfigMaps of these names as they are now, in the same order.
    pub async fn read(&self, namespace: &str, names: &[String]) -> Vec<Read> {
        let config_maps = Api::namespaced(self.client.clone(), namespace);
        join_all(names.iter().map(|name| self.read_one(&config_maps, namespace, name))).await
    }

    async fn read_one(&self, config_maps: &Api<ConfigMap>, namespace: &str, name: &str) -> Read {
        if !names::is_label(namespace) || !names::is_subdomain(name) {
            return Ok(None);
        }
        let read = async {
            let _turn = self.reads.acquire().await;
            config_maps.get_opt(name).await
        };
        match timeout(PATIENCE, read).await {
            Err(_) => Err(format!("the API server did not answer within {PATIENCE:?}")),
            Ok(Err(error)) => Err(cluster::why(&error)),
            Ok(Ok(None)) => Ok(None),
            Ok(Ok(Some(found))) => {
                let value = serde_json::to_value(&found).map_err(|error| error.to_string())?;
                ConfigMapContent::of(&value).map(Some)
            }
        }
    }
}
