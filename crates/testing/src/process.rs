//! Processes that do not outlive the test. Each runs in its own process group, and a watcher process stops it if the test
//! process dies first.

use std::fs::File;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use std::os::unix::process::CommandExt as _;

/// Blocks until the pipe from the test process closes, which happens however that process ends. Then kills `$1` and removes the
/// folder `$2`. It waits in `read`, since a `cat` would be a process of its own that could remain. It ignores signals from the
/// terminal, because it must outlive the test process.
const WATCHER: &str =
    r#"trap '' INT TERM HUP; while read -r _; do :; done; kill -KILL "$1" 2>/dev/null; [ -z "$2" ] || rm -rf -- "$2""#;

/// A running server.
pub struct Process {
    name: String,
    child: Child,
    watcher: Child,
}

impl Process {
    /// Starts `command` with standard output in `<logs>/<name>.out` and standard error in `<logs>/<name>.log`.
    /// `scratch` is a folder that is removed if the test process is killed.
    pub fn start(name: &str, mut command: Command, logs: &Path, scratch: Option<&Path>) -> Self {
        let create = |end: &str| {
            File::create(logs.join(format!("{name}.{end}"))).unwrap_or_else(|e| panic!("log of {name}: {e}"))
        };
        let child = command
            .stdin(Stdio::null())
            .stdout(create("out"))
            .stderr(create("log"))
            .process_group(0) // Ctrl-C reaches only the test process, which then stops this one in order
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start {name}: {e}"));
        let watcher = Command::new("sh")
            .args(["-c", WATCHER, "watcher", &child.id().to_string()])
            .arg(scratch.unwrap_or_else(|| Path::new("")))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("a POSIX shell exists");
        Self { name: name.to_owned(), child, watcher }
    }

    /// The exit status, if the process has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// Sends SIGTERM, kills the process after `grace`, and waits for it and its watcher.
    pub fn stop(&mut self, grace: Duration) -> ExitStatus {
        let end = Instant::now() + grace;
        if self.ended().is_none() {
            self.signal("TERM");
            while self.ended().is_none() && Instant::now() < end {
                sleep(Duration::from_millis(20));
            }
        }
        // Until `wait` returns, the process id cannot be reused, so `kill` cannot reach another process.
        self.child.kill().ok();
        let status = self.child.wait().expect("a child can be waited for");
        self.watcher.kill().ok();
        self.watcher.wait().ok();
        status
    }

    /// Sends a signal by its name.
    pub fn signal(&self, signal: &str) {
        // The standard library sends only SIGKILL, and libc would require unsafe code.
        Command::new("kill").args([&format!("-{signal}"), &self.child.id().to_string()]).status().ok();
    }

    /// The name that was passed to `start`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop(Duration::from_secs(5));
    }
}

/// A free loopback port, below the range of outgoing connections, so that no client takes it before the server does.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let seed = u16::try_from(std::process::id() % 10_000).expect("below 10,000");
    for _ in 0..10_000 {
        let port = 20_000 + (seed.wrapping_mul(7) + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port between 20000 and 30000");
}

/// Polls until `probe` returns a value.
///
/// Panics with `what` if that takes longer than `limit`.
pub fn wait_until<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(Instant::now() < end, "waited {limit:?} until {what}");
        sleep(Duration::from_millis(50));
    }
}
