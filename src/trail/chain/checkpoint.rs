//! Checkpoints: the key of each chain and its head, in ConfigMaps of the system namespace, where no tenant can write.
//!
//! A checkpoint shows that a log was cut off at its end, or that a stranger signed a record. It is written after the first
//! seal, then every second while the chain grows, and on exit. It names a head that is sealed, so a record up to there
//! without a seal is a finding. Records after the last checkpoint can be lost unnoticed.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams, PostParams};
use kube::{Client, Error, ResourceExt as _};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use writgate_cluster::bounded_request::{self, RequestError};
use writgate_cluster::checkpoint::{SELECTOR, config_map, in_config_map, name};
use writgate_cluster::clock;
use writgate_core::record::{CHAIN_VERSION, Checkpoint, CheckpointHead, Head};

use crate::metrics::WriteOutcome;
use crate::trail::chain::Sealer;

/// The shortest time between two writes, and between two attempts to write.
const PACE: Duration = Duration::from_secs(1);
/// How long one response of the API server may take.
const ANSWER: Duration = Duration::from_secs(2);
/// The number of chains that the start of a chain names, those with the latest heads.
const MAX_OTHERS: usize = 64;
/// The number of checkpoints that are read for the start of a chain.
const MAX_READ: u32 = 1000;

/// The heads of the chains whose checkpoints are in `namespace`, latest first.
pub async fn heads(client: Client, namespace: &str) -> Result<Vec<Head>, RequestError> {
    let config_maps: Api<ConfigMap> = Api::namespaced(client, namespace);
    let params = ListParams::default().labels(SELECTOR).limit(MAX_READ);
    let found = bounded(config_maps.list(&params)).await?;
    let mut checkpoints: Vec<_> = found.items.iter().filter_map(|found| in_config_map(found).ok()).collect();
    checkpoints.sort_by_key(|checkpoint| std::cmp::Reverse(checkpoint.head.time));
    Ok(checkpoints.iter().take(MAX_OTHERS).map(Checkpoint::head).collect())
}

/// A handle on the task that writes checkpoints.
pub struct Checkpoints {
    closing: watch::Sender<bool>,
    writer: JoinHandle<()>,
}

impl Checkpoints {
    /// Starts writing checkpoints of the chain of `sealer` to `namespace`.
    #[must_use]
    pub fn start(sealer: Sealer, client: Client, namespace: &str) -> Self {
        let (closing, closed) = watch::channel(false);
        let writer = CheckpointWriter { sealer, config_maps: Api::namespaced(client, namespace), version: None };
        Self { closing, writer: tokio::spawn(writer.keep(closed)) }
    }

    /// Writes the last checkpoint, for at most `patience`.
    pub async fn finish(self, patience: Duration) {
        self.closing.send_replace(true);
        let abort = self.writer.abort_handle();
        if timeout(patience, self.writer).await.is_err() {
            abort.abort();
            tracing::warn!("the last checkpoint was not written: the API server did not answer in time");
        }
    }
}

struct CheckpointWriter {
    sealer: Sealer,
    config_maps: Api<ConfigMap>,
    /// The resource version of the last write. `None` if it is not known.
    version: Option<String>,
}

impl CheckpointWriter {
    async fn keep(mut self, mut closed: watch::Receiver<bool>) {
        let mut moved = self.sealer.0.head.subscribe();
        let mut noted: Option<Head> = None;
        let mut failing = false;
        loop {
            let closing = *closed.borrow();
            let head = *moved.borrow_and_update();
            if let Some(head) = head.filter(|head| noted.is_none_or(|noted| noted != *head)) {
                let written = self.write(head, clock::now()).await;
                match &written {
                    Ok(()) => noted = Some(head),
                    Err(why) if failing => tracing::debug!(%why, "checkpoint not written"),
                    Err(why) => tracing::warn!(%why, "checkpoint not written; retried every second"),
                }
                failing = written.is_err();
                if failing || !closing {
                    sleep(PACE).await;
                    continue;
                }
            }
            if closing {
                return;
            }
            tokio::select! {
                _ = moved.changed() => {}
                _ = closed.wait_for(|closed| *closed) => {}
            }
        }
    }

    async fn write(&mut self, head: Head, now: Timestamp) -> Result<(), RequestError> {
        let written = self.put(&self.sealer.checkpoint(head, now)).await;
        let outcome = if written.is_ok() { WriteOutcome::Written } else { WriteOutcome::Failed };
        self.sealer.0.metrics.checkpoint_counted(outcome);
        // After a failure the version is not known, so the next write reads it first.
        self.version = written.as_ref().ok().cloned().flatten();
        written.map(drop)
    }

    /// Creates or replaces the checkpoint. Returns its resource version.
    async fn put(&self, checkpoint: &Checkpoint) -> Result<Option<String>, RequestError> {
        let name = name(checkpoint);
        let version = match &self.version {
            Some(version) => Some(version.clone()),
            None => bounded(self.config_maps.get_opt(&name)).await?.and_then(|found| found.resource_version()),
        };
        let is_new = version.is_none();
        let (params, new) = (PostParams::default(), config_map(checkpoint, version));
        let written = if is_new {
            bounded(self.config_maps.create(&params, &new)).await?
        } else {
            bounded(self.config_maps.replace(&name, &params, &new)).await?
        };
        Ok(written.resource_version())
    }
}

impl Sealer {
    /// The checkpoint of the chain with this `head` at `time`.
    fn checkpoint(&self, head: Head, time: Timestamp) -> Checkpoint {
        Checkpoint {
            version: CHAIN_VERSION.to_owned(),
            writer: self.0.writer,
            public_key: self.0.key.public_pem(),
            keyid: self.keyid(),
            started: self.0.started,
            head: CheckpointHead { sequence: head.sequence, digest: head.digest, time },
        }
    }
}

async fn bounded<T>(request: impl Future<Output = Result<T, Error>>) -> Result<T, RequestError> {
    bounded_request::send(ANSWER, request).await
}
