//! Adds a confirmed admission to the history of its object: read, change, and write with the version that was read.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::PostParams;
use tokio::time::sleep;
use writgate_cluster::bounded_request::RequestError;
use writgate_cluster::retry;
use writgate_core::record::{History, HistoryNote};

use crate::metrics::WriteOutcome;
use crate::trail::ledger::{Ledger, bounded, entry};

/// Bound on a history: a ConfigMap holds 1 MiB.
const MAX_BYTES: usize = 768 << 10;

/// How one attempt ended without a note.
struct FailedAttempt {
    why: String,
    /// Whether another attempt may fare better.
    retriable: bool,
}

impl Ledger {
    /// Notes an admission whose object was seen. What fails for good is counted and logged: the object cannot be rolled
    /// back to without an approval that is valid then.
    pub async fn note(&self, note: &HistoryNote) {
        let mut pauses = retry::pauses();
        loop {
            let Err(attempt) = self.try_note(note).await else {
                return self.0.metrics.note_counted(WriteOutcome::Written);
            };
            let Some(pause) = pauses.next().filter(|_| attempt.retriable) else {
                self.0.metrics.note_counted(WriteOutcome::Failed);
                tracing::error!(decision = %note.admission.decision, why = attempt.why, "admission not noted: no rollback to it");
                return;
            };
            sleep(pause).await;
        }
    }

    async fn try_note(&self, note: &HistoryNote) -> Result<(), FailedAttempt> {
        let failed = |failure: RequestError| FailedAttempt {
            // Changed, made or removed by somebody else in between.
            retriable: matches!(failure.status_code(), Some(404 | 409)) || failure.is_retriable(),
            why: failure.to_string(),
        };
        let entries = &self.0.entries;
        let name = entry::history_name(&note.object);
        let found = bounded(entries.get_opt(&name)).await.map_err(failed)?;
        let history = found.as_ref().map(entry::history_in).transpose();
        let mut history = history.map_err(|why| FailedAttempt { why, retriable: false })?.unwrap_or_default();
        history.note(note.admission.clone());
        let is_new = found.is_none();
        let mut entry: ConfigMap = found.unwrap_or_else(|| entry::of_history(&note.object));
        entry::put_history(&mut entry, within_bounds(&mut history));
        if is_new {
            bounded(entries.create(&PostParams::default(), &entry)).await.map_err(failed)?;
        } else {
            bounded(entries.replace(&name, &PostParams::default(), &entry)).await.map_err(failed)?;
        }
        Ok(())
    }
}

/// The history as JSON, without the oldest admissions where it would be too long.
fn within_bounds(history: &mut History) -> String {
    loop {
        let json = history.to_json();
        if json.len() <= MAX_BYTES || !history.forget_oldest() {
            return json;
        }
    }
}
