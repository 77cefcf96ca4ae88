//! A measured server: a child process on a loopback port, with its CPU time and memory from `/proc`.

use std::{
    fs,
    io::Read,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

use crate::load::{Generator, Target};

/// A running server; dropping it kills it.
pub(crate) struct Process {
    pub(crate) address: SocketAddr,
    child: Child,
    records: Option<JoinHandle<usize>>,
}

impl Process {
    /// Starts a server, and waits for its first expected answer. Returns the time that this took. Standard error goes to `log`.
    pub(crate) fn start(
        generator: &Generator,
        first: impl FnOnce(SocketAddr) -> Target,
        log: &Path,
        command: impl FnOnce(SocketAddr) -> Command,
    ) -> anyhow::Result<(Self, Duration)> {
        let address = free_address()?;
        let first = first(address);
        let mut command = command(address);
        let started = Instant::now();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(log)?)
            .spawn()
            .with_context(|| format!("{command:?}"))?;
        let records = child.stdout.take().map(|stdout| std::thread::spawn(move || count_records(stdout)));
        let mut process = Self { address, child, records };
        while let Err(error) = generator.once(&first) {
            if process.child.try_wait()?.is_some() || started.elapsed() > Duration::from_mins(1) {
                bail!("{command:?} does not answer: {error:#}\n{}", fs::read_to_string(log)?);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok((process, started.elapsed()))
    }

    /// The time that all its threads spent on a processor.
    pub(crate) fn cpu_time(&self) -> anyhow::Result<Duration> {
        cpu_time(self.child.id())
    }

    /// Memory that is resident now, in MiB.
    pub(crate) fn resident_mib(&self) -> anyhow::Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let kib: f64 = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.split_whitespace().next())
            .context("no VmRSS")?
            .parse()?;
        Ok(kib / 1024.0)
    }

    /// Stops the server as a kubelet does, and returns the number of decision records that it wrote.
    pub(crate) fn stop(mut self) -> usize {
        let asked = Command::new("kill").arg(self.child.id().to_string()).status();
        let patience = Instant::now() + Duration::from_secs(15);
        while asked.is_ok() && Instant::now() < patience && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.end();
        self.records.take().and_then(|records| records.join().ok()).unwrap_or(0)
    }

    fn end(&mut self) {
        // Both calls fail only if the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// The time that all threads of a process spent on a processor.
pub(crate) fn cpu_time(process: u32) -> anyhow::Result<Duration> {
    let mut nanoseconds = 0;
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        // A thread may have ended since it was listed.
        let Ok(statistics) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        nanoseconds += statistics
            .split_whitespace()
            .next()
            .context("an empty schedstat")?
            .parse::<u64>()
            .context("schedstat counts in nanoseconds")?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// A port that was free a moment ago. The servers do not accept port 0, since a cluster could not find them.
fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// Reads standard output to its end, as a container runtime would, and counts the decision records in it.
fn count_records(mut stdout: ChildStdout) -> usize {
    const MARK: &[u8] = br#""version":"writgate.dev/decision/v1""#;
    let mut buffer = vec![0; 1 << 18];
    let (mut kept, mut count) = (0, 0);
    while let Ok(read @ 1..) = stdout.read(&mut buffer[kept..]) {
        let filled = kept + read;
        count += memchr::memmem::find_iter(&buffer[..filled], MARK).count();
        // The kept end is shorter than the mark, so it contains no counted mark, and long enough for the start of a split one.
        let tail = filled.saturating_sub(MARK.len() - 1);
        let tail = match memchr::memmem::rfind(&buffer[..filled], MARK) {
            Some(last) => tail.max(last + MARK.len()),
            None => tail,
        };
        buffer.copy_within(tail..filled, 0);
        kept = filled - tail;
    }
    count
}
