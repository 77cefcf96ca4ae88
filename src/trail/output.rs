//! Standard output: records and log lines, one line of JSON each. Nothing else writes there.
//!
//! Who finds the stream free writes at once. Lines that arrive meanwhile are written together by the same caller, so they
//! have the order in which they arrived. If the stream does not accept more without waiting, a thread writes the rest. So a
//! reader that stops reading blocks that thread and not the runtime.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::sync::oneshot;

use crate::metrics::Metrics;

/// Lines that may wait for the writer. A record has about 1 KiB, so a stalled reader costs about 2 MiB.
const CAPACITY: usize = 2048;
/// Places in the queue that only records may take. Log lines must not displace a record.
const RESERVED_FOR_RECORDS: usize = CAPACITY / 2;
/// How often a caller writes what has arrived meanwhile, before the thread does.
const ROUNDS: usize = 8;
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

type Written = Result<(), io::ErrorKind>;

/// Lines that are written together, and who waits for them.
#[derive(Default)]
struct Batch {
    lines: Vec<u8>,
    count: usize,
    waiting: Vec<oneshot::Sender<Written>>,
}

#[derive(Default)]
struct Queue {
    next: Batch,
    /// Whether somebody writes. They then write `next` too.
    is_busy: bool,
}

/// What a caller does after their line was added to the queue.
enum Turn {
    /// Nobody writes, so the caller does.
    Write(Batch),
    Wait(oneshot::Receiver<Written>),
    /// The queue is full, so the line was not added.
    Full,
}

/// Handle on standard output. Cheap to clone.
#[derive(Clone)]
pub struct Output {
    shared: Arc<Shared>,
    /// To the writer thread: a batch that requires waiting.
    slow: mpsc::Sender<Batch>,
    metrics: Metrics,
}

struct Shared {
    stream: Box<dyn Stream>,
    /// Held while lines are added, and never while they are written.
    queue: Mutex<Queue>,
}

impl Output {
    /// Starts the writer thread for `stream`. Fails if the operating system refuses a thread.
    pub fn start(stream: impl Stream, metrics: Metrics) -> io::Result<Self> {
        let shared = Arc::new(Shared { stream: Box::new(stream), queue: Mutex::default() });
        let (slow, batches) = mpsc::channel();
        let writer = shared.clone();
        std::thread::Builder::new().name("stdout".into()).spawn(move || writer.write_slowly(&batches))?;
        Ok(Self { shared, slow, metrics })
    }

    /// Writes a line of the chain of records. `add` adds it, without a line break, and is called exactly once and under
    /// a lock: lines are written in the order of these calls. Returns when the line is on the stream.
    ///
    /// `add` must not log, since a log line would wait for the same lock.
    pub async fn record<T>(&self, add: impl FnOnce(&mut Vec<u8>) -> T) -> (T, Result<(), OutputError>) {
        let (added, turn) = self.shared.add(add);
        let written = match turn {
            Turn::Write(batch) => match self.write(batch) {
                Ok(written) => written.map_err(OutputError::Broken),
                Err(later) => wait(later).await,
            },
            Turn::Wait(later) => wait(later).await,
            Turn::Full => Err(OutputError::Blocked),
        };
        if written.is_err() {
            self.metrics.records_dropped.inc();
        }
        (added, written)
    }

    /// Waits until every queued line is written, for a bounded time.
    pub async fn flush(&self) {
        let (written, flushed) = oneshot::channel();
        {
            let mut queue = self.shared.queue();
            if !queue.is_busy {
                return;
            }
            queue.next.waiting.push(written);
        }
        let _ = wait(flushed).await;
    }

    /// Writes or queues one log line, given without its newline. Drops and counts it if the writer is behind.
    pub fn log(&self, json: &[u8]) {
        match self.shared.add_log_line(json) {
            Turn::Write(batch) => drop(self.write(batch)),
            Turn::Wait(_) => {}
            Turn::Full => _ = self.metrics.log_lines_dropped.inc(),
        }
    }

    /// Writes `batch`, and what arrives meanwhile. Returns the outcome for `batch`, or where the writer thread will send it.
    fn write(&self, batch: Batch) -> Result<Written, oneshot::Receiver<Written>> {
        let mut outcome = None;
        let mut batch = batch;
        for _ in 0..ROUNDS {
            let Some(written) = self.shared.write_now(&mut batch) else { break };
            outcome.get_or_insert(written);
            match self.shared.finish(batch, written) {
                Some(next) => batch = next,
                None => return Ok(outcome.unwrap_or(written)),
            }
        }
        let (sender, later) = oneshot::channel();
        if outcome.is_none() {
            batch.waiting.push(sender);
        }
        // The thread ends after the last handle.
        let _ = self.slow.send(batch);
        outcome.ok_or(later)
    }
}

async fn wait(later: oneshot::Receiver<Written>) -> Result<(), OutputError> {
    match tokio::time::timeout(PATIENCE, later).await {
        Ok(Ok(written)) => written.map_err(OutputError::Broken),
        Ok(Err(_)) => Err(OutputError::Broken(io::ErrorKind::BrokenPipe)),
        Err(_) => Err(OutputError::Blocked),
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add<T>(&self, add: impl FnOnce(&mut Vec<u8>) -> T) -> (T, Turn) {
        let mut queue = self.queue();
        if queue.next.count >= CAPACITY {
            // The line has its place in the chain, so that its loss shows.
            return (add(&mut Vec::new()), Turn::Full);
        }
        let added = add(&mut queue.next.lines);
        queue.next.lines.push(b'\n');
        queue.next.count += 1;
        if queue.is_busy {
            let (sender, later) = oneshot::channel();
            queue.next.waiting.push(sender);
            return (added, Turn::Wait(later));
        }
        queue.is_busy = true;
        (added, Turn::Write(std::mem::take(&mut queue.next)))
    }

    fn add_log_line(&self, json: &[u8]) -> Turn {
        let mut queue = self.queue();
        if queue.next.count >= CAPACITY - RESERVED_FOR_RECORDS {
            return Turn::Full;
        }
        queue.next.lines.extend_from_slice(json);
        queue.next.lines.push(b'\n');
        queue.next.count += 1;
        if queue.is_busy {
            return Turn::Wait(oneshot::channel().1);
        }
        queue.is_busy = true;
        Turn::Write(std::mem::take(&mut queue.next))
    }

    /// Writes as much of `batch` as the stream accepts without waiting, and removes it. `None`: something is left.
    ///
    /// Nobody else writes meanwhile. So a ready stream stays ready for one chunk, and a line may be split.
    fn write_now(&self, batch: &mut Batch) -> Option<Written> {
        let mut done = 0;
        for chunk in batch.lines.chunks(ATOMIC) {
            if !self.stream.is_ready(false) {
                batch.lines.drain(..done);
                return None;
            }
            if let Err(error) = self.stream.write_all(chunk) {
                return Some(Err(error.kind()));
            }
            done += chunk.len();
        }
        Some(Ok(()))
    }

    /// Reports the outcome for `batch`, and returns what has arrived meanwhile. `None`: nothing has, and nobody writes now.
    fn finish(&self, batch: Batch, written: Written) -> Option<Batch> {
        for waiting in batch.waiting {
            // The request may have timed out meanwhile. Its record is written nevertheless.
            let _ = waiting.send(written);
        }
        let mut queue = self.queue();
        if queue.next.lines.is_empty() && queue.next.waiting.is_empty() {
            queue.is_busy = false;
            return None;
        }
        Some(std::mem::take(&mut queue.next))
    }

    /// Writes batches that require waiting, until the last handle is dropped.
    fn write_slowly(&self, batches: &mpsc::Receiver<Batch>) {
        while let Ok(mut batch) = batches.recv() {
            loop {
                let written = batch.lines.chunks(ATOMIC).try_for_each(|chunk| {
                    self.stream.is_ready(true);
                    self.stream.write_all(chunk).map_err(|error| error.kind())
                });
                match self.finish(batch, written) {
                    Some(next) => batch = next,
                    None => break,
                }
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Read as _;
    use std::sync::mpsc as std_mpsc;

    use super::*;

    /// A stream that keeps what is written.
    #[derive(Clone, Default)]
    pub(crate) struct Sink(pub(crate) Arc<Mutex<Vec<u8>>>);

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

    impl Output {
        async fn record_line(&self, line: &[u8]) -> Result<(), OutputError> {
            self.record(|lines| lines.extend_from_slice(line)).await.1
        }
    }

    #[tokio::test]
    async fn a_record_is_on_the_stream_before_the_caller_goes_on() {
        let sink = Sink::default();
        let output = Output::start(sink.clone(), Metrics::default()).expect("a thread");
        output.record_line(b"{\"id\":1}").await.expect("written");
        assert_eq!(sink.0.lock().expect("no panic").as_slice(), b"{\"id\":1}\n");
        let long = vec![b'x'; 3 * ATOMIC];
        output.record_line(&long).await.expect("written");
        assert!(sink.0.lock().expect("no panic").ends_with(&[&long[..], b"\n"].concat()));
    }

    #[tokio::test]
    async fn a_blocked_stream_holds_a_record_for_a_bounded_time() {
        let metrics = Metrics::default();
        let (output, _release) = stalled(&metrics);
        let error = output.record_line(b"{}").await.expect_err("nobody reads");
        assert!(matches!(error, OutputError::Blocked));
        assert_eq!(metrics.records_dropped.get(), 1);
    }

    #[tokio::test]
    async fn log_lines_leave_room_for_records() {
        let metrics = Metrics::default();
        let (output, _release) = stalled(&metrics);
        for _ in 0..CAPACITY {
            output.log(b"{}");
        }
        assert!(metrics.log_lines_dropped.get() > 0);
        assert!(output.shared.queue().next.count <= CAPACITY - RESERVED_FOR_RECORDS);
        let (sequence, turn) = output.shared.add(|lines| lines.len());
        assert!(sequence > 0 && matches!(turn, Turn::Wait(_)), "a record waits for its turn");
    }

    #[tokio::test]
    async fn a_record_for_which_the_queue_has_no_room_still_gets_its_place() {
        let metrics = Metrics::default();
        let (output, _release) = stalled(&metrics);
        let waiting: Vec<_> = (0..=CAPACITY).map(|_| output.shared.add(|_| ())).collect();
        drop(waiting);
        let mut placed = false;
        let (placed_at, written) = output.record(|_| std::mem::replace(&mut placed, true)).await;
        assert!(!placed_at && placed && matches!(written, Err(OutputError::Blocked)));
        assert_eq!(metrics.records_dropped.get(), 1);
    }

    #[tokio::test]
    async fn lines_that_arrive_while_another_is_written_are_written_together() {
        let sink = Sink::default();
        let output = Output::start(sink.clone(), Metrics::default()).expect("a thread");
        let ((), Turn::Write(first)) = output.shared.add(|lines| lines.push(b'1')) else { panic!("nobody writes") };
        let ((), Turn::Wait(mut second)) = output.shared.add(|lines| lines.push(b'2')) else {
            panic!("somebody writes")
        };
        let ((), Turn::Wait(mut third)) = output.shared.add(|lines| lines.push(b'3')) else {
            panic!("somebody writes")
        };
        assert!(second.try_recv().is_err());
        assert!(matches!(output.write(first), Ok(Ok(()))));
        assert_eq!((second.try_recv(), third.try_recv()), (Ok(Ok(())), Ok(Ok(()))));
        assert_eq!(sink.0.lock().expect("no panic").as_slice(), b"1\n2\n3\n");
        assert!(!output.shared.queue().is_busy);
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
            let error = output.record_line(&vec![b'x'; length]).await.expect_err("the reader is gone");
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
                    async move { output.record_line(&vec![b'x'; length]).await }
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
