//! One namespace, read from the cluster at the moment of a review.
//!
//! The API server sends reviews of governed namespaces only. So where the cache does not know the namespace, or
//! calls it ungoverned, the cache is behind, and a namespace that was labelled a moment ago must not slip through.
//! Called by `admission`, for these reviews alone; the others never wait for the API server.

use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::core::PartialObjectMeta;
use kube::{Api, Client, ResourceExt};
use tokio::sync::Semaphore;
use writgate_cluster::{client, names};

use crate::metrics::Metrics;
use crate::state::store::NamespaceLabels;

/// How long a read may take, waiting included: most of the patience of an API server that waits 5 s.
const PATIENCE: Duration = Duration::from_secs(2);
/// Reads at once. Anyone who reaches the webhook can name a namespace; this is what it can cost the API server.
const MAX_READS: usize = 16;

/// Why a namespace's labels are not known.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It cannot exist.
    #[error("{0:?} is not the name of a namespace")]
    NotAName(String),
    /// It does not exist.
    #[error("namespace {0:?} does not exist")]
    NotFound(String),
    /// The API server was too slow.
    #[error("namespace {0:?} could not be read within {PATIENCE:?}")]
    Slow(String),
    /// The API server refused, or could not be reached.
    #[error("namespace {name:?} could not be read: {}", client::why(.source))]
    Failed {
        /// The namespace.
        name: String,
        /// Why not.
        source: kube::Error,
    },
}

/// Reads namespaces, a bounded number at once.
pub struct NamespaceReader {
    namespaces: Api<PartialObjectMeta<Namespace>>,
    reads: Semaphore,
    metrics: Metrics,
}

impl NamespaceReader {
    /// Through `client`.
    #[must_use]
    pub fn new(client: Client, metrics: Metrics) -> Self {
        Self { namespaces: Api::all(client), reads: Semaphore::new(MAX_READS), metrics }
    }

    /// The labels of the namespace `name` as they are now.
    pub async fn read(&self, name: &str) -> Result<NamespaceLabels, ReadError> {
        if !names::is_label(name) {
            return Err(ReadError::NotAName(name.to_owned()));
        }
        self.metrics.namespace_reads.inc();
        let read = async {
            let _turn = self.reads.acquire().await;
            self.namespaces.get_opt(name).await
        };
        let read = tokio::time::timeout(PATIENCE, read).await.map_err(|_| ReadError::Slow(name.to_owned()))?;
        match read {
            Ok(Some(namespace)) => Ok(NamespaceLabels::of(namespace.labels())),
            Ok(None) => Err(ReadError::NotFound(name.to_owned())),
            Err(source) => Err(ReadError::Failed { name: name.to_owned(), source }),
        }
    }
}
