//! Seals: lines that sign the chain up to the last record, at most 100 ms after the record and off the way of responses.
//!
//! A seal is written after the lines that it covers, in the same order as they are. So a process that is killed leaves at
//! most the records of the last 100 ms without a seal.

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::trail::chain::Sealer;
use crate::trail::output::Output;

/// How long the first record after a seal waits for the next one. With the time to sign and to write, this is below 100 ms.
const PACE: Duration = Duration::from_millis(50);
/// How long the last seal may take.
const LAST: Duration = Duration::from_secs(2);

/// A handle on the task that writes seals.
pub struct Seals {
    sealer: Sealer,
    closing: watch::Sender<bool>,
    writer: JoinHandle<()>,
}

impl Seals {
    /// Starts writing the seals of `sealer` to `output`.
    #[must_use]
    pub fn start(sealer: Sealer, output: Output) -> Self {
        let (closing, closed) = watch::channel(false);
        Self { writer: tokio::spawn(keep(sealer.clone(), output, closed)), sealer, closing }
    }

    /// Ends the pause before the next seal.
    pub fn hurry(&self) {
        self.sealer.0.urgent.notify_one();
    }

    /// Seals what is not sealed, and ends the task.
    pub async fn finish(self) {
        self.closing.send_replace(true);
        let abort = self.writer.abort_handle();
        if timeout(LAST, self.writer).await.is_err() {
            abort.abort();
        }
    }
}

async fn keep(sealer: Sealer, output: Output, mut closed: watch::Receiver<bool>) {
    loop {
        let is_closing = *closed.borrow();
        if sealer.unsealed().is_some() {
            if !is_closing {
                tokio::select! {
                    () = sleep(PACE) => {}
                    () = sealer.0.urgent.notified() => {}
                    _ = closed.wait_for(|closed| *closed) => {}
                }
            }
            if write(&sealer, &output).await || !is_closing {
                continue;
            }
        }
        if is_closing {
            return;
        }
        tokio::select! {
            () = sealer.0.placed.notified() => {}
            _ = closed.wait_for(|closed| *closed) => {}
        }
    }
}

/// Writes a seal of all lines so far. Returns whether it was written. If not, a later seal covers the same lines.
async fn write(sealer: &Sealer, output: &Output) -> bool {
    // Every line up to this head is in the output's queue already, so the seal comes after it.
    let Some(head) = sealer.unsealed() else { return true };
    let line = sealer.seal(head);
    let ((), written) = output.record(|lines| lines.extend_from_slice(&line)).await;
    if let Err(error) = &written {
        tracing::error!(%error, "seal not written");
    }
    sealer.note_seal(head, written.is_ok());
    written.is_ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tokio::time::Instant;
    use writgate_core::record::{DecisionRecord, UnplacedRecord};

    use super::*;
    use crate::metrics::Metrics;
    use crate::trail::chain::{MAX_UNSEALED, audit_key};
    use crate::trail::output::tests::Sink;

    impl Sink {
        /// The sequence that each seal covers.
        fn seals(&self) -> Vec<u64> {
            let text = String::from_utf8(self.0.lock().expect("no panic").clone()).expect("UTF-8");
            let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
            let seals = lines.filter(|line| line["version"] == "writgate.dev/seal/v1");
            seals.map(|seal| seal["chain"]["sequence"].as_u64().expect("a sequence")).collect()
        }
    }

    fn started() -> (Sink, Sealer, Output, Seals) {
        let (lines, metrics) = (Sink::default(), Metrics::default());
        let output = Output::start(lines.clone(), metrics.clone()).expect("a thread");
        let sealer = Sealer::new(audit_key(None).expect("a key"), Vec::new(), metrics);
        (lines, sealer.clone(), output.clone(), Seals::start(sealer, output))
    }

    async fn record(sealer: &Sealer, output: &Output) {
        let record: DecisionRecord = serde_json::from_value(json!({
            "version": "writgate.dev/decision/v1", "id": "01935a00-0000-7000-8000-000000000001",
            "time": "2026-11-22T11:00:00Z", "dryRun": false, "requiredCapabilities": [], "approvals": [],
            "decision": "denied", "reasons": ["ApprovalRequired"]
        }))
        .expect("a record");
        let line = UnplacedRecord::of(&record);
        output.record(|lines| sealer.place(&line, lines)).await.1.expect("written");
    }

    #[tokio::test(start_paused = true)]
    async fn records_are_sealed_together_within_100_ms() {
        let (lines, sealer, output, seals) = started();
        for _ in 0..3 {
            record(&sealer, &output).await;
        }
        assert_eq!(lines.seals(), [0_u64; 0]);
        sleep(Duration::from_millis(100)).await;
        assert_eq!(lines.seals(), [3]);
        sleep(Duration::from_mins(1)).await;
        assert_eq!(lines.seals(), [3], "a chain without new records gets no seal");
        record(&sealer, &output).await;
        sleep(Duration::from_millis(100)).await;
        assert_eq!(lines.seals(), [3, 4]);
        seals.finish().await;
        assert_eq!(lines.seals(), [3, 4]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_group_a_drain_and_an_exit_are_sealed_at_once() {
        let (lines, sealer, output, seals) = started();
        let began = Instant::now();
        for _ in 0..MAX_UNSEALED {
            record(&sealer, &output).await;
        }
        let yields = || async {
            for _ in 0..8 {
                tokio::task::yield_now().await;
            }
        };
        yields().await;
        assert_eq!(lines.seals(), [MAX_UNSEALED]);
        record(&sealer, &output).await;
        seals.hurry();
        yields().await;
        assert_eq!(lines.seals(), [MAX_UNSEALED, MAX_UNSEALED + 1]);
        record(&sealer, &output).await;
        seals.finish().await;
        assert_eq!(lines.seals(), [MAX_UNSEALED, MAX_UNSEALED + 1, MAX_UNSEALED + 2]);
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
