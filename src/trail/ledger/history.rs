//! Adds a confirmed admission to the history of its object: read, change, and write with the version that was read.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::PostParams;
use tokio::time::sleep;
use writgate_cluster::bounded_request::RequestError;
use writgate_cluster::retry;
use writgate_core::record::{History, HistoryNote};

use crate::metrics::WriteOutcome;
use crate::trail::ledger::sweep::if_unchanged;
use crate::trail::ledger::{Ledger, bounded, entry};

/// The largest history. A ConfigMap has room for 1 MiB.
const MAX_BYTES: usize = 768 << 10;

/// Why one attempt failed.
struct FailedAttempt {
    why: String,
    /// Whether another attempt may succeed.
    retriable: bool,
}

impl Ledger {
    /// Notes a confirmed admission. If that fails for good, the failure is counted and logged, and a rollback to this admission
    /// requires a valid approval.
    pub async fn note(&self, note: &HistoryNote) {
        let mut pauses = retry::pauses();
        loop {
            let Err(attempt) = self.try_note(note).await else {
                return self.0.metrics.note_counted(WriteOutcome::Written);
            };
            let pause = if attempt.retriable { pauses.next() } else { None };
            let Some(pause) = pause else {
                self.0.metrics.note_counted(WriteOutcome::Failed);
                tracing::error!(decision = %note.admission.decision, why = attempt.why, "admission not noted in the history; a rollback to it requires a valid approval");
                return;
            };
            sleep(pause).await;
        }
    }

    async fn try_note(&self, note: &HistoryNote) -> Result<(), FailedAttempt> {
        let failed = |failure: RequestError| FailedAttempt {
            // Another replica changed, created or removed the entry meanwhile.
            retriable: matches!(failure.status_code(), Some(404 | 409)) || failure.is_retriable(),
            why: failure.to_string(),
        };
        let entries = &self.0.entries;
        let name = entry::history_name(&note.object);
        let found = bounded(entries.get_opt(&name)).await.map_err(failed)?;
        let unread = |why| FailedAttempt { why, retriable: true };
        if let Some(forged) = &found
            && self.key_of(forged).await.map_err(unread)?.is_none()
        {
            // Deleted, not overwritten: it may be immutable, owned, or full of other fields.
            bounded(entries.delete(&name, &if_unchanged(forged))).await.map_err(failed)?;
            return Err(FailedAttempt {
                why: "an entry that the webhook did not write was deleted".to_owned(),
                retriable: true,
            });
        }
        let history = found.as_ref().map(entry::history_in).transpose();
        let mut history = history.map_err(|why| FailedAttempt { why, retriable: false })?.unwrap_or_default();
        history.note(note.admission.clone());
        let is_new = found.is_none();
        let mut entry: ConfigMap = found.unwrap_or_else(|| entry::of_history(&note.object));
        let key = self.key().await.map_err(unread)?;
        entry::put_history(&mut entry, within_bounds(&mut history), &key);
        if is_new {
            bounded(entries.create(&PostParams::default(), &entry)).await.map_err(failed)?;
        } else {
            bounded(entries.replace(&name, &PostParams::default(), &entry)).await.map_err(failed)?;
        }
        Ok(())
    }
}

/// The history as JSON, without the oldest admissions if it would be too large.
fn within_bounds(history: &mut History) -> String {
    loop {
        let json = history.to_json();
        if json.len() <= MAX_BYTES || !history.forget_oldest() {
            return json;
        }
    }
}
