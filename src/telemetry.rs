//! Log lines: JSON on standard output, through the writer of the records.

use std::io::{self, Write};
use std::str::FromStr;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::trail::output::Output;

/// Which log lines are written, in the syntax of [`EnvFilter`].
#[derive(Clone, Debug)]
pub struct LogFilter(String);

impl FromStr for LogFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match EnvFilter::try_new(text) {
            // An empty filter would hide errors.
            Ok(_) if !text.trim().is_empty() => Ok(Self(text.to_owned())),
            Ok(_) => Err("the filter is empty; expected a level such as info, or directives".to_owned()),
            Err(error) => {
                Err(format!("{error}; expected a level such as info, or directives such as writgate=debug,kube=warn"))
            }
        }
    }
}

/// Sends this process's log lines to `output`. A second call in one process changes nothing.
pub fn start(filter: LogFilter, output: Output) {
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_env_filter(EnvFilter::new(filter.0))
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
            self.output.log(&json);
        }
    }
}
