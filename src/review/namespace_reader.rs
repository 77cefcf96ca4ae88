//! The labels of one namespace, read live.
//!
//! The API server sends reviews of governed namespaces only. If the cache does not know the namespace, or says that it is
//! not governed, then the cache is behind. Without a live read, a namespace that was labelled a moment ago would slip
//! through. No other review waits for this.

use k8s_openapi::api::core::v1::Namespace;
use kube::core::PartialObjectMeta;
use kube::{Api, Client, ResourceExt};
use writgate_cluster::bounded_request::{RequestError, RequestLimiter};
use writgate_cluster::names;
use writgate_cluster::namespace::NamespaceLabels;

use crate::metrics::Metrics;
use crate::review::PATIENCE;

/// Reads at once. Anyone who reaches the webhook can name a namespace, so this bounds what that costs the API server.
const MAX_READS: usize = 16;

/// Why a namespace's labels are not known.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    /// No namespace can have this name.
    #[error("{0:?} is not the name of a namespace")]
    NotAName(String),
    /// The namespace does not exist.
    #[error("namespace {0:?} does not exist")]
    NotFound(String),
    /// The API server refused the read, was too slow, or could not be reached.
    #[error("namespace {name:?} could not be read: {source}")]
    Unanswered {
        /// The namespace.
        name: String,
        /// The error.
        source: RequestError,
    },
}

/// Reads namespaces, a bounded number at once.
pub struct NamespaceReader {
    namespaces: Api<PartialObjectMeta<Namespace>>,
    limiter: RequestLimiter,
    metrics: Metrics,
}

impl NamespaceReader {
    /// A reader through `client`.
    #[must_use]
    pub fn new(client: Client, metrics: Metrics) -> Self {
        Self { namespaces: Api::all(client), limiter: RequestLimiter::new(MAX_READS, PATIENCE), metrics }
    }

    /// The labels of the namespace `name` as they are now.
    pub async fn read(&self, name: &str) -> Result<NamespaceLabels, NamespaceError> {
        if !names::is_label(name) {
            return Err(NamespaceError::NotAName(name.to_owned()));
        }
        self.metrics.namespace_reads.inc();
        match self.limiter.send(self.namespaces.get_opt(name)).await {
            Ok(Some(namespace)) => Ok(NamespaceLabels::of(namespace.labels())),
            Ok(None) => Err(NamespaceError::NotFound(name.to_owned())),
            Err(source) => Err(NamespaceError::Unanswered { name: name.to_owned(), source }),
        }
    }
}
