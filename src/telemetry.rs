//! Log lines: JSON on standard output, through the writer of the records; and the filter of log lines, which can be replaced for a
//! while.

use std::io::{self, Write};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::trail::output::Output;

/// Which log lines are written, in the syntax of [`EnvFilter`].
#[derive(Clone, Debug)]
pub struct LogFilter(String);

impl FromStr for LogFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match parsed(text) {
            // An empty filter would hide errors.
            Ok(_) if !text.trim().is_empty() => Ok(Self(text.to_owned())),
            Ok(_) => Err("the filter is empty; expected a level such as info, or directives".to_owned()),
            Err(error) => {
                Err(format!("{error}; expected a level such as info, or directives such as writgate=debug,kube=warn"))
            }
        }
    }
}

impl LogFilter {
    fn parsed(&self) -> EnvFilter {
        parsed(&self.0).unwrap_or_default()
    }
}

/// Values of fields are compared literally: the compilation of a regular expression of a few bytes can take minutes.
fn parsed(text: &str) -> Result<EnvFilter, tracing_subscriber::filter::ParseError> {
    EnvFilter::builder().with_regex(false).parse(text)
}

/// How long a replaced filter is in force. A forgotten `debug` would fill disks, and a forgotten `error` would hide warnings.
const REPLACED: Duration = Duration::from_mins(30);

/// Replaces the filter of log lines while the process runs. Clones share it.
#[derive(Clone)]
pub struct LogControl(Arc<Control>);

struct Control {
    configured: LogFilter,
    apply: Box<dyn Fn(&LogFilter) + Send + Sync>,
    replaced: Mutex<Option<(LogFilter, JoinHandle<()>)>>,
}

impl LogControl {
    fn new(configured: LogFilter, apply: impl Fn(&LogFilter) + Send + Sync + 'static) -> Self {
        Self(Arc::new(Control { configured, apply: Box::new(apply), replaced: Mutex::default() }))
    }

    /// The filter that is in force.
    #[must_use]
    pub fn current(&self) -> String {
        let replaced = self.0.replaced.lock().unwrap_or_else(PoisonError::into_inner);
        replaced.as_ref().map_or(&self.0.configured, |(filter, _)| filter).0.clone()
    }

    /// Replaces the filter for 30 minutes. Returns what is in force, as a sentence. Must be called within a runtime.
    pub fn change(&self, filter: LogFilter) -> String {
        let (from, to) = (self.current(), filter.0.clone());
        let text =
            format!("the log filter is {to} for {} minutes, then {}", REPLACED.as_secs() / 60, self.0.configured.0);
        let restored = self.clone();
        let restore = tokio::spawn(async move {
            tokio::time::sleep(REPLACED).await;
            restored.restore();
        });
        let mut replaced = self.0.replaced.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, restore)) = replaced.take() {
            restore.abort();
        }
        // The change is logged whatever the old and the new filter are.
        (self.0.apply)(&LogFilter("info".to_owned()));
        tracing::warn!(from, to, minutes = REPLACED.as_secs() / 60, "log filter replaced");
        (self.0.apply)(&filter);
        *replaced = Some((filter, restore));
        text
    }

    fn restore(&self) {
        let mut replaced = self.0.replaced.lock().unwrap_or_else(PoisonError::into_inner);
        (self.0.apply)(&self.0.configured);
        *replaced = None;
        tracing::info!(to = self.0.configured.0, "log filter restored");
    }
}

/// Sends this process's log lines to `output`. A second call in one process changes nothing.
#[must_use]
pub fn start(filter: LogFilter, output: Output) -> LogControl {
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_env_filter(filter.parsed())
        .with_writer(LogLines(output))
        .with_filter_reloading();
    let handle = subscriber.reload_handle();
    // Fails only if a subscriber is set already, as in a test that starts two webhooks.
    let _ = tracing::subscriber::set_global_default(subscriber.finish());
    LogControl::new(filter, move |filter| {
        // Fails only if the subscriber is gone.
        let _ = handle.reload(filter.parsed());
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_of_a_field_is_no_regular_expression() {
        assert!("[{a=*}]=info".parse::<LogFilter>().is_ok(), "as an expression, it has nothing to repeat");
        assert!("[{a=*}]=information".parse::<LogFilter>().is_err());
        assert!(" ".parse::<LogFilter>().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_replaced_filter_is_restored_30_minutes_after_the_last_change() {
        let applied = Arc::new(Mutex::new(Vec::new()));
        let seen = applied.clone();
        let control = LogControl::new("info".parse().expect("a filter"), move |filter| {
            seen.lock().expect("no panic").push(filter.0.clone());
        });
        let text = control.change("writgate=debug".parse().expect("a filter"));
        assert_eq!(text, "the log filter is writgate=debug for 30 minutes, then info");
        tokio::time::sleep(Duration::from_mins(20)).await;
        control.change("error".parse().expect("a filter"));
        tokio::time::sleep(Duration::from_mins(29)).await;
        assert_eq!(control.current(), "error", "the first change does not end the second one");
        tokio::time::sleep(Duration::from_mins(2)).await;
        assert_eq!(control.current(), "info");
        let applied = applied.lock().expect("no panic").clone();
        assert_eq!(applied, ["info", "writgate=debug", "info", "error", "info"], "each change is logged with info");
    }
}
