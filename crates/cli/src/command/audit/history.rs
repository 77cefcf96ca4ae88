//! The decisions of one source, for a reader other than the terminal: a page of the console, or a file that it offers.
//!
//! Records are read, filtered and verified with the code of `audit`, and passed on one by one.

use std::path::PathBuf;

use super::{Audit, Tally};
pub(crate) use super::{
    RowSink,
    filter::{DECISIONS, Filter, FilterFlags},
    printer::{Format, Printer},
    row::{NOT_YET_SEALED, Required, Row},
    verification::{Verification, VerificationReport},
};
use crate::{
    cluster::{
        Cluster,
        event_reader::{EventReader, NamespaceScope},
    },
    failure::Failure,
};

/// Where the records are.
#[derive(Clone, Copy)]
pub(crate) enum RecordSource<'a> {
    /// The Events of a cluster.
    Events(&'a Cluster, &'a NamespaceScope),
    /// Logs of webhooks.
    Logs(&'a [PathBuf]),
    /// Audit logs of API servers.
    AuditLogs(&'a [PathBuf]),
}

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReadCounts {
    /// Decisions, whether a filter selects them or not.
    pub(crate) seen: u64,
    /// Decisions that the filter selects.
    pub(crate) selected: u64,
    /// Records that cannot be read.
    pub(crate) unreadable: u64,
    /// Lines of the logs.
    pub(crate) lines: u64,
}

/// Reads everything once, and passes each decision that the filter selects to `sink`. With a verification, returns its report
/// too. `format` says whether a record that is not verified has a row.
pub(crate) fn read<S: RowSink>(
    source: RecordSource<'_>,
    filter: Filter<'_>,
    verification: Option<Verification>,
    format: Format,
    sink: S,
) -> Result<(S, ReadCounts, Option<VerificationReport>), Failure> {
    let mut audit = Audit {
        filter,
        printer: sink,
        progress: None,
        verification,
        context: String::new(),
        format,
        tally: Tally::default(),
    };
    match source {
        RecordSource::Events(cluster, scope) => {
            let (events, _) = EventReader::new(cluster, scope.clone()).list()?;
            events.into_iter().try_for_each(|event| audit.event(event))?;
        }
        RecordSource::Logs(logs) => audit.logs(logs.iter().map(PathBuf::as_path), false, false)?,
        RecordSource::AuditLogs(logs) => audit.logs(logs.iter().map(PathBuf::as_path), true, false)?,
    }
    let mut reports = Vec::new();
    audit.end_verification(matches!(source, RecordSource::Events(..)), &mut reports)?;
    audit.printer.flush()?;
    let Tally { seen, shown: selected, unreadable, lines, .. } = audit.tally;
    let counts = ReadCounts { seen, selected, unreadable, lines };
    Ok((audit.printer, counts, reports.pop().map(|(_, report)| report)))
}
