//! Adds a confirmed admission to the history of its object: read, change, and write with the version that was read.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::PostParams;
use tokio::time::sleep;
use writgate_cluster::question::Unanswered;
use writgate_cluster::retry;
use writgate_core::record::{History, HistoryNote};

use crate::metrics::WriteOutcome;
use crate::trail::ledger::{Ledger, bounded, entry};

/// Bound on a history: a ConfigMap holds 1 MiB.
const MAX_BYTES: usize = 768 << 10;

/// How one attempt ended without a note.
struct Miss {
    why: String,
    /// Whether another attempt may fare better.
    may_pass: bool,
}

impl Ledger {
    /// Notes an admission whose object was seen. What fails for good is counted and logged: the object cannot be rolled
    /// back to without an approval that is valid then.
    pub async fn note(&self, note: &HistoryNote) {
        let mut pauses = retry::pauses();
        loop {
            let Err(miss) = self.try_note(note).await else {
                return self.0.metrics.note_counted(WriteOutcome::Written);
            };
            let Some(pause) = pauses.next().filter(|_| miss.may_pass) else {
                self.0.metrics.note_counted(WriteOutcome::Failed);
                tracing::error!(decision = %note.admission.decision, why = miss.why, "admission not noted: no rollback to it");
                return;
            };
            sleep(pause).await;
        }
    }

    async fn try_note(&self, note: &HistoryNote) -> Result<(), Miss> {
        let failed = |failure: Unanswered| Miss {
            // Changed, made or removed by somebody else in between.
            may_pass: matches!(failure.code(), Some(404 | 409)) || failure.may_pass(),
            why: failure.to_string(),
        };
        let entries = &self.0.entries;
        let name = entry::history_name(&note.object);
        let found = bounded(entries.get_opt(&name)).await.map_err(failed)?;
        let history = found.as_ref().map(entry::history_in).transpose();
        let mut history = history.map_err(|why| Miss { why, may_pass: false })?.unwrap_or_default();
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
