//! Log lines: JSON on standard output, through the writer of the records.

use std::io::{self, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::trail::output::Output;

/// The environment variable with the log level in `tracing`'s syntax: `info`, `debug`, `writgate=debug,kube=warn`.
const LEVEL: &str = "WRITGATE_LOG";

/// Sends this process's log lines to `output`. A second call in one process changes nothing.
pub fn start(output: Output) {
    let level = EnvFilter::try_from_env(LEVEL).unwrap_or_else(|_| EnvFilter::new("info"));
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_env_filter(level)
        .with_writer(LogLines(output))
        .finish();
    // Fails only if a subscriber is set already, as in a test that starts two webhooks.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

struct LogLines(Output);

impl<'a> MakeWriter<'a> for LogLines {
    type Writer = LogLine<'a>;

    fn make_writer(&'a self) -> LogLine<'a> {
        LogLine { output: &self.0, json: Vec::new() }
    }
}

/// Collects the bytes of one log line and passes them on as a whole.
struct LogLine<'a> {
    output: &'a Output,
    json: Vec<u8>,
}

impl Write for LogLine<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.json.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LogLine<'_> {
    fn drop(&mut self) {
        let mut json = std::mem::take(&mut self.json);
        if json.last() == Some(&b'\n') {
            json.pop();
        }
        if !json.is_empty() {
            self.output.log(json);
        }
    }
}
