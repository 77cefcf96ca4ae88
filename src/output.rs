//! Standard output: decision records and log lines, one JSON line each. Nothing else writes there.
//!
//! One thread owns the stream, so a reader that stops reading stalls that thread and not the runtime. What the
//! lines say is decided elsewhere: records by `admission`, log lines by `telemetry`.

use std::io::{self, Write};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::metrics::Metrics;

/// Lines that may wait for the writer. At about 1 KiB a record, a stalled reader costs at most some 2 MiB.
const CAPACITY: usize = 2048;
/// Log lines are dropped once the queue is this full: chatter must not take a record's place.
const RESERVED_FOR_RECORDS: usize = CAPACITY / 2;
/// Lines written with one system call, when they have piled up.
const BATCH: usize = 256;
/// How long a record waits for a reader that has stopped reading.
///
/// A blocked pipe must neither block the runtime nor hold requests until the API server gives up on them. Past
/// this bound the record counts as not written and the caller decides what that means: an admission is then
/// not answered (503, so the API server refuses it), since an admission that left no record is what an audit
/// cannot forgive; a denial is answered, since nothing will run because of it.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why a record could not be confirmed as written.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// Nobody reads standard output: the queue is full, or the line waited too long.
    #[error("standard output is blocked: no line was taken for {PATIENCE:?}; check what reads the container's log")]
    Blocked,
    /// The stream refused the line.
    #[error("standard output cannot be written: {0}")]
    Broken(io::ErrorKind),
}

enum Line {
    Record {
        json: Vec<u8>,
        written: oneshot::Sender<Result<(), io::ErrorKind>>,
    },
    Log(Vec<u8>),
    /// Asks to be told when everything before it is written.
    Mark(oneshot::Sender<Result<(), io::ErrorKind>>),
}

/// Handle on standard output. Cheap to clone.
#[derive(Clone)]
pub struct Output {
    lines: mpsc::Sender<Line>,
    metrics: Metrics,
}

impl Output {
    /// Starts the writer thread over `stream`; fails where the operating system refuses a thread.
    pub fn start(stream: impl Write + Send + 'static, metrics: Metrics) -> io::Result<Self> {
        let (lines, queue) = mpsc::channel(CAPACITY);
        std::thread::Builder::new().name("stdout".into()).spawn(move || write_lines(stream, queue))?;
        Ok(Self { lines, metrics })
    }

    /// Writes one decision record; `json` is one line without its newline. Returns once the line is flushed.
    pub async fn record(&self, json: Vec<u8>) -> Result<(), OutputError> {
        let written = tokio::time::timeout(PATIENCE, self.write(json)).await.unwrap_or(Err(OutputError::Blocked));
        if written.is_err() {
            self.metrics.records_dropped.inc();
        }
        written
    }

    async fn write(&self, json: Vec<u8>) -> Result<(), OutputError> {
        let (written, flushed) = oneshot::channel();
        self.lines
            .send(Line::Record { json, written })
            .await
            .map_err(|_| OutputError::Broken(io::ErrorKind::BrokenPipe))?;
        flushed.await.map_err(|_| OutputError::Broken(io::ErrorKind::BrokenPipe))?.map_err(OutputError::Broken)
    }

    /// Returns once everything queued so far is written, or nobody reads.
    pub async fn flush(&self) {
        let (written, flushed) = oneshot::channel();
        let flush = async {
            if self.lines.send(Line::Mark(written)).await.is_ok() {
                let _ = flushed.await;
            }
        };
        let _ = tokio::time::timeout(PATIENCE, flush).await;
    }

    /// Queues one log line; drops it, counted, when the writer is behind.
    pub fn log(&self, json: Vec<u8>) {
        if self.lines.capacity() < RESERVED_FOR_RECORDS || self.lines.try_send(Line::Log(json)).is_err() {
            self.metrics.log_lines_dropped.inc();
        }
    }
}

fn write_lines(mut stream: impl Write, mut queue: mpsc::Receiver<Line>) {
    let mut batch = Vec::new();
    let mut waiting = Vec::new();
    while let Some(first) = queue.blocking_recv() {
        batch.clear();
        let mut next = Some(first);
        let mut lines = 0;
        while let Some(line) = next {
            let json = match line {
                Line::Record { json, written } => {
                    waiting.push(written);
                    Some(json)
                }
                Line::Log(json) => Some(json),
                Line::Mark(written) => {
                    waiting.push(written);
                    None
                }
            };
            if let Some(json) = json {
                batch.extend_from_slice(&json);
                batch.push(b'\n');
            }
            lines += 1;
            next = (lines < BATCH).then(|| queue.try_recv().ok()).flatten();
        }
        let outcome = stream.write_all(&batch).and_then(|()| stream.flush()).map_err(|error| error.kind());
        for written in waiting.drain(..) {
            // The request may have given up meanwhile; its record is written all the same.
            let _ = written.send(outcome);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex, mpsc as std_mpsc};

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no test panics while writing").extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A pipe whose reader reads nothing until told.
    struct Stalled(std_mpsc::Receiver<()>);

    impl Write for Stalled {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_record_is_on_the_stream_before_the_caller_goes_on() {
        let sink = Sink::default();
        let output = Output::start(sink.clone(), Metrics::default()).expect("a thread");
        output.record(b"{\"id\":1}".to_vec()).await.expect("written");
        assert_eq!(sink.0.lock().expect("no panic").as_slice(), b"{\"id\":1}\n");
    }

    #[tokio::test]
    async fn a_blocked_stream_holds_a_record_for_a_bounded_time() {
        let (release, stalled) = std_mpsc::channel();
        let metrics = Metrics::default();
        let output = Output::start(Stalled(stalled), metrics.clone()).expect("a thread");
        let error = output.record(b"{}".to_vec()).await.expect_err("nobody reads");
        assert!(matches!(error, OutputError::Blocked));
        assert_eq!(metrics.records_dropped.get(), 1);
        drop(release);
    }

    #[tokio::test]
    async fn log_lines_leave_room_for_records() {
        let (release, stalled) = std_mpsc::channel();
        let metrics = Metrics::default();
        let output = Output::start(Stalled(stalled), metrics.clone()).expect("a thread");
        for _ in 0..CAPACITY {
            output.log(b"{}".to_vec());
        }
        assert!(metrics.log_lines_dropped.get() > 0);
        assert!(output.lines.capacity() >= RESERVED_FOR_RECORDS - 1);
        drop(release);
    }

    #[tokio::test]
    async fn a_closed_stream_is_told_from_a_blocked_one() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let output = Output::start(Closed, Metrics::default()).expect("a thread");
        let error = output.record(b"{}".to_vec()).await.expect_err("the reader is gone");
        assert!(matches!(error, OutputError::Broken(io::ErrorKind::BrokenPipe)));
    }
}
