//! Standard output: records and log lines, one line of JSON each. Nothing else writes there.
//!
//! A line is written at once if the stream accepts it without waiting, and by a thread otherwise. So a reader that stops
//! reading blocks that thread and not the runtime.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::sync::{mpsc, oneshot};

use crate::metrics::Metrics;

/// Lines that may wait for the writer. A record has about 1 KiB, so a stalled reader costs about 2 MiB.
const CAPACITY: usize = 2048;
/// Places in the queue that only records may take. Log lines must not displace a record.
const RESERVED_FOR_RECORDS: usize = CAPACITY / 2;
/// Lines that the writer thread writes at once.
const BATCH: usize = 256;
/// The bytes that a ready pipe accepts as a whole and without waiting (`PIPE_BUF`). A record has about 1 KiB.
const ATOMIC: usize = 4096;
/// How long a record waits for a reader that has stopped reading.
///
/// A blocked pipe must neither block the runtime nor hold requests until the API server gives up on them. After this time
/// the record counts as not written. The webhook then answers an admission with 503, so the API server refuses it: an
/// admission without a record would be missing from every audit. A denial is sent, because nothing runs after it.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why a record could not be confirmed as written.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// Standard output is not read: the queue is full, or the line waited too long.
    #[error("standard output is blocked: no line was read for {PATIENCE:?}; check what reads the container's log")]
    Blocked,
    /// The stream refused the line.
    #[error("standard output cannot be written: {0}")]
    Broken(io::ErrorKind),
}

/// Where the lines go.
pub trait Stream: Send + Sync + 'static {
    /// Whether 4 KiB can be written without waiting. With `wait`, waits until they can.
    fn is_ready(&self, wait: bool) -> bool;
    /// Writes all of `bytes`, and waits if necessary.
    fn write_all(&self, bytes: &[u8]) -> io::Result<()>;
}

/// The process's standard output, unbuffered.
pub struct Stdout(File);

impl Stdout {
    /// Fails if the process was started without standard output.
    pub fn open() -> io::Result<Self> {
        Ok(Self(File::from(io::stdout().as_fd().try_clone_to_owned()?)))
    }
}

impl Stream for Stdout {
    fn is_ready(&self, wait: bool) -> bool {
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        loop {
            let mut streams = [PollFd::new(&self.0, PollFlags::OUT)];
            match poll(&mut streams, (!wait).then_some(&at_once)) {
                Ok(ready) => return ready > 0,
                Err(rustix::io::Errno::INTR) => {}
                // The write that follows returns the error.
                Err(_) => return true,
            }
        }
    }

    fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        (&self.0).write_all(bytes)
    }
}

enum Line {
    Record {
        json: Vec<u8>,
        written: oneshot::Sender<Result<(), io::ErrorKind>>,
    },
    Log(Vec<u8>),
    /// Reports when every line before it is written.
    Mark(oneshot::Sender<Result<(), io::ErrorKind>>),
}

/// Handle on standard output. Cheap to clone.
#[derive(Clone)]
pub struct Output {
    shared: Arc<Shared>,
    lines: mpsc::Sender<Line>,
    metrics: Metrics,
}

struct Shared {
    stream: Box<dyn Stream>,
    /// Whether the writer thread uses the stream. The lock is held while another thread writes.
    taken: Mutex<bool>,
}

impl Output {
    /// Starts the writer thread for `stream`. Fails if the operating system refuses a thread.
    pub fn start(stream: impl Stream, metrics: Metrics) -> io::Result<Self> {
        let shared = Arc::new(Shared { stream: Box::new(stream), taken: Mutex::new(false) });
        let (lines, queue) = mpsc::channel(CAPACITY);
        let writer = shared.clone();
        std::thread::Builder::new().name("stdout".into()).spawn(move || writer.write_queued(queue))?;
        Ok(Self { shared, lines, metrics })
    }

    /// Writes one decision record. `json` is one line without its newline. Returns when the line is on the stream.
    pub async fn record(&self, mut json: Vec<u8>) -> Result<(), OutputError> {
        json.push(b'\n');
        let written = match self.shared.write_now(&json) {
            Some(written) => written.map_err(|error| OutputError::Broken(error.kind())),
            None => tokio::time::timeout(PATIENCE, self.queue(json)).await.unwrap_or(Err(OutputError::Blocked)),
        };
        if written.is_err() {
            self.metrics.records_dropped.inc();
        }
        written
    }

    async fn queue(&self, json: Vec<u8>) -> Result<(), OutputError> {
        let gone = || OutputError::Broken(io::ErrorKind::BrokenPipe);
        let (written, flushed) = oneshot::channel();
        self.lines.send(Line::Record { json, written }).await.map_err(|_| gone())?;
        flushed.await.map_err(|_| gone())?.map_err(OutputError::Broken)
    }

    /// Waits until every queued line is written, for a bounded time.
    pub async fn flush(&self) {
        let (written, flushed) = oneshot::channel();
        let flush = async {
            if self.lines.send(Line::Mark(written)).await.is_ok() {
                let _ = flushed.await;
            }
        };
        let _ = tokio::time::timeout(PATIENCE, flush).await;
    }

    /// Writes or queues one log line, given without its newline. Drops and counts it if the writer is behind.
    pub fn log(&self, mut json: Vec<u8>) {
        json.push(b'\n');
        if self.shared.write_now(&json).is_some() {
            return;
        }
        if self.lines.capacity() < RESERVED_FOR_RECORDS || self.lines.try_send(Line::Log(json)).is_err() {
            self.metrics.log_lines_dropped.inc();
        }
    }
}

impl Shared {
    /// Writes `line` if that requires no waiting. Passing it to the writer thread and back costs ten times as much.
    fn write_now(&self, line: &[u8]) -> Option<io::Result<()>> {
        if line.len() > ATOMIC {
            return None;
        }
        // Held for one short write at most. The writer thread, which may wait for the reader, does not hold the lock meanwhile.
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        (!*taken && self.stream.is_ready(false)).then(|| self.stream.write_all(line))
    }

    fn take(&self, taken: bool) {
        *self.taken.lock().unwrap_or_else(PoisonError::into_inner) = taken;
    }

    /// Writes queued lines until the last handle is dropped.
    fn write_queued(&self, mut queue: mpsc::Receiver<Line>) {
        let mut waiting = Vec::new();
        while let Some(first) = queue.blocking_recv() {
            let mut batch = Vec::new();
            let mut next = Some(first);
            let mut lines = 0;
            while let Some(line) = next {
                match line {
                    Line::Record { json, written } => {
                        waiting.push(written);
                        batch.extend(json);
                    }
                    Line::Log(json) => batch.extend(json),
                    Line::Mark(written) => waiting.push(written),
                }
                lines += 1;
                next = (lines < BATCH).then(|| queue.try_recv().ok()).flatten();
            }
            self.take(true);
            let outcome = batch.chunks(ATOMIC).try_for_each(|chunk| {
                self.stream.is_ready(true);
                self.stream.write_all(chunk)
            });
            self.take(false);
            for written in waiting.drain(..) {
                // The request may have timed out meanwhile. Its record is written nevertheless.
                let _ = written.send(outcome.as_ref().copied().map_err(io::Error::kind));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::sync::mpsc as std_mpsc;

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Stream for Sink {
        fn is_ready(&self, _: bool) -> bool {
            true
        }

        fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
            self.0.lock().expect("no test panics while writing").extend_from_slice(bytes);
            Ok(())
        }
    }

    /// A pipe that is not read until the other end of the channel is dropped.
    struct Stalled(Mutex<std_mpsc::Receiver<()>>);

    impl Stream for Stalled {
        fn is_ready(&self, wait: bool) -> bool {
            if wait {
                let _ = self.0.lock().expect("no panic").recv();
            }
            wait
        }

        fn write_all(&self, _: &[u8]) -> io::Result<()> {
            Ok(())
        }
    }

    fn stalled(metrics: &Metrics) -> (Output, std_mpsc::Sender<()>) {
        let (release, stalled) = std_mpsc::channel();
        (Output::start(Stalled(Mutex::new(stalled)), metrics.clone()).expect("a thread"), release)
    }

    #[tokio::test]
    async fn a_record_is_on_the_stream_before_the_caller_goes_on() {
        let sink = Sink::default();
        let output = Output::start(sink.clone(), Metrics::default()).expect("a thread");
        output.record(b"{\"id\":1}".to_vec()).await.expect("written");
        assert_eq!(sink.0.lock().expect("no panic").as_slice(), b"{\"id\":1}\n");
        let long = vec![b'x'; 3 * ATOMIC];
        output.record(long.clone()).await.expect("written");
        assert!(sink.0.lock().expect("no panic").ends_with(&[&long[..], b"\n"].concat()));
    }

    #[tokio::test]
    async fn a_blocked_stream_holds_a_record_for_a_bounded_time() {
        let metrics = Metrics::default();
        let (output, _release) = stalled(&metrics);
        let error = output.record(b"{}".to_vec()).await.expect_err("nobody reads");
        assert!(matches!(error, OutputError::Blocked));
        assert_eq!(metrics.records_dropped.get(), 1);
    }

    #[tokio::test]
    async fn log_lines_leave_room_for_records() {
        let metrics = Metrics::default();
        let (output, _release) = stalled(&metrics);
        for _ in 0..CAPACITY {
            output.log(b"{}".to_vec());
        }
        assert!(metrics.log_lines_dropped.get() > 0);
        assert!(output.lines.capacity() >= RESERVED_FOR_RECORDS - 1);
    }

    #[tokio::test]
    async fn a_closed_stream_is_distinguished_from_a_blocked_one() {
        struct Closed;
        impl Stream for Closed {
            fn is_ready(&self, _: bool) -> bool {
                true
            }
            fn write_all(&self, _: &[u8]) -> io::Result<()> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
        }
        let output = Output::start(Closed, Metrics::default()).expect("a thread");
        for length in [2, 2 * ATOMIC] {
            let error = output.record(vec![b'x'; length]).await.expect_err("the reader is gone");
            assert!(matches!(error, OutputError::Broken(io::ErrorKind::BrokenPipe)), "{length}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn lines_stay_whole_in_a_pipe_whose_reader_is_slow() {
        let (mut reader, writer) = io::pipe().expect("a pipe");
        let output = Output::start(Stdout(File::from(std::os::fd::OwnedFd::from(writer))), Metrics::default());
        let output = output.expect("a thread");
        let lengths = (0..400).map(|n| if n % 40 == 0 { 20_000 } else { 700 + n });
        let records: Vec<_> = lengths
            .map(|length| {
                tokio::spawn({
                    let output = output.clone();
                    async move { output.record(vec![b'x'; length]).await }
                })
            })
            .collect();
        let read = tokio::task::spawn_blocking(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).expect("UTF-8");
            text
        });
        for record in records {
            record.await.expect("no panic").expect("written");
        }
        drop(output);
        let mut found: Vec<_> = read.await.expect("no panic").lines().map(str::len).collect();
        found.sort_unstable();
        let mut expected: Vec<_> = (0..400).map(|n| if n % 40 == 0 { 20_000 } else { 700 + n }).collect();
        expected.sort_unstable();
        assert_eq!(found, expected);
    }
}
