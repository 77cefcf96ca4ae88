//! Progress of long work: one line on standard error, on a terminal only, after the first second.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

use writgate_core::text::escape;

/// Shorter work shows no progress.
const SILENCE: Duration = Duration::from_secs(1);
/// How often the line is rewritten.
const INTERVAL: Duration = Duration::from_millis(100);

/// A progress line. It is cleared on drop.
pub(crate) struct Progress {
    what: String,
    total: Option<usize>,
    done: usize,
    next: Instant,
    is_shown: bool,
    on_terminal: bool,
}

impl Progress {
    /// Progress of work called `what`, such as "checking", with `total` steps if that is known.
    pub(crate) fn of(what: &str, total: Option<usize>) -> Self {
        let on_terminal = io::stderr().is_terminal();
        Self { what: escape(what), total, done: 0, next: Instant::now() + SILENCE, is_shown: false, on_terminal }
    }

    /// Counts one completed step.
    pub(crate) fn step(&mut self) {
        self.done += 1;
        let now = Instant::now();
        if self.on_terminal && now >= self.next {
            self.next = now + INTERVAL;
            self.is_shown = true;
            let of = self.total.map(|total| format!(" of {total}")).unwrap_or_default();
            let _ = write!(io::stderr().lock(), "\r{}: {}{of} …", self.what, self.done);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_shown {
            // Back to the first column, and clear the line (ECMA-48, EL).
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
    }
}
