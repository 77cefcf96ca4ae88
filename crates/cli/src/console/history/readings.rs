//! What was read of a source, kept for the session that read it, so that pages and filters answer at once.
//!
//! A log may have millions of lines. They are read one by one, and at most [`MAX_ROWS`] decisions, or [`MAX_BYTES`] of them, are
//! kept: the newest. If a source has more, a filter reads it again.

use std::{
    mem,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use jiff::Timestamp;
use writgate_cluster::clock;

use super::{Query, Source};
use crate::{
    command::audit::history::{
        self, Filter, FilterFlags, Format, ReadCounts, RecordSource, Row, RowSink, Verification, VerificationReport,
    },
    console::Console,
    failure::Failure,
};

/// Decisions that are kept of one reading.
pub(super) const MAX_ROWS: usize = 10_000;
/// Bytes of the texts of their records. A line may have 8 MiB.
const MAX_BYTES: usize = 32 << 20;
/// Readings that are kept.
const MAX_READINGS: usize = 3;

/// A decision and the text of its record.
pub(super) struct Seen {
    pub(super) row: Row,
    pub(super) json: String,
}

/// What was read of a source, and when.
pub(super) struct Reading {
    pub(super) time: Timestamp,
    /// The newest decisions, the newest first.
    pub(super) rows: Vec<Seen>,
    pub(super) counts: ReadCounts,
    /// The first records that cannot be read, and why.
    pub(super) unreadable: Vec<String>,
    /// The result of the verification, or why there was none.
    pub(super) verification: Result<VerificationReport, String>,
}

/// The readings of the open session.
#[derive(Default)]
pub(in crate::console) struct Readings(Mutex<Vec<Kept>>);

struct Kept {
    /// The token of the session's forms. A later session has another one.
    session: String,
    source: Source,
    filters: Vec<(String, String)>,
    reading: Arc<Reading>,
}

/// A reading as a page shows it: with filters.
pub(super) struct View {
    pub(super) reading: Arc<Reading>,
    flags: FilterFlags,
    /// Whether the filters were applied when the source was read.
    is_exact: bool,
}

impl Readings {
    /// Forgets what was read of `source`.
    pub(super) fn forget(&self, source: Source) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|kept| kept.source != source);
    }
}

impl View {
    /// Reads the source, unless what was read of it is kept. A second page waits for the reading of the first one.
    pub(super) fn of(console: &Console, query: &Query) -> Result<Self, Failure> {
        let flags = query.flags()?;
        let session = console.session.csrf();
        let mut kept = console.readings.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|kept| kept.session == session);
        let mut reading_with = |filters: &[(String, String)], flags: &FilterFlags| -> Result<Arc<Reading>, Failure> {
            let known = kept.iter().find(|kept| kept.source == query.source && kept.filters == filters);
            if let Some(known) = known {
                return Ok(Arc::clone(&known.reading));
            }
            let reading = Arc::new(Reading::of(console, query.source, flags)?);
            // The reading without filters stays, because it answers most filters.
            if kept.len() >= MAX_READINGS
                && let Some(oldest) = kept.iter().position(|kept| !kept.filters.is_empty())
            {
                kept.remove(oldest);
            }
            let (session, filters, reading) = (session.clone(), filters.to_vec(), Arc::clone(&reading));
            kept.push(Kept { session, source: query.source, filters, reading: Arc::clone(&reading) });
            Ok(reading)
        };
        let reading = reading_with(&[], &FilterFlags::default())?;
        if query.filters.is_empty() || (flags.is_narrowing() && reading.is_complete()) {
            let is_exact = query.filters.is_empty();
            return Ok(Self { reading, flags, is_exact });
        }
        let reading = reading_with(&query.filters, &flags)?;
        Ok(Self { reading, flags, is_exact: true })
    }

    /// The decisions that the filters select, the newest first.
    pub(super) fn rows(&self) -> Result<Vec<&Seen>, Failure> {
        let filter = Filter::of_fields(&self.flags, self.reading.time)?;
        Ok(self.reading.rows.iter().filter(|seen| self.is_exact || filter.takes(&seen.row)).collect())
    }

    /// How many decisions the source has that the filters select; at least as many as are kept.
    pub(super) fn selected(&self, rows: usize) -> u64 {
        if self.is_exact { self.reading.counts.selected } else { u64::try_from(rows).unwrap_or(u64::MAX) }
    }
}

impl Reading {
    fn of(console: &Console, source: Source, flags: &FilterFlags) -> Result<Self, Failure> {
        let time = clock::now();
        let filter = Filter::of_fields(flags, time)?;
        let ReadResult { mut sink, counts, verification } =
            read(console, source, filter, Format::Table, Newest::default())?;
        let unreadable = mem::take(&mut sink.unreadable);
        Ok(Self { time, rows: sink.into_rows(), counts, unreadable, verification })
    }

    fn is_complete(&self) -> bool {
        u64::try_from(self.rows.len()) == Ok(self.counts.selected)
    }
}

/// What [`read`] returns.
pub(super) struct ReadResult<S> {
    pub(super) sink: S,
    counts: ReadCounts,
    verification: Result<VerificationReport, String>,
}

/// Reads `source` once into `sink`. Verifies what is signed, if there are keys.
pub(super) fn read<S: RowSink>(
    console: &Console,
    source: Source,
    filter: Filter<'_>,
    format: Format,
    sink: S,
) -> Result<ReadResult<S>, Failure> {
    let logs = &console.settings.logs;
    let keys = &*logs.webhook_key;
    let needs_cluster = source == Source::Events || (source == Source::Log && keys.is_empty());
    let cluster = needs_cluster.then(|| console.connect()).transpose();
    let cluster = match cluster {
        Err(failure) if source == Source::Events => return Err(failure),
        cluster => cluster,
    };
    let verification = match (&cluster, source) {
        (_, Source::AuditLog) => Err("the API server's audit log is not signed".to_owned()),
        (Err(failure), _) => Err(failure.to_string()),
        (Ok(cluster), _) => {
            let keys: &[PathBuf] = if source == Source::Log { keys } else { &[] };
            Verification::by(keys, cluster.as_ref()).map_err(|failure| failure.to_string())
        }
    };
    let records = match (source, &cluster) {
        (Source::Events, Ok(Some(cluster))) => RecordSource::Events(cluster, &console.settings.scope),
        (Source::Events, _) => return Err(Failure::Undetermined("there is no cluster to read Events of".to_owned())),
        (Source::Log, _) => RecordSource::Logs(&logs.log),
        (Source::AuditLog, _) => RecordSource::AuditLogs(&logs.audit_log),
    };
    let (verification, why) = match verification {
        Ok(verification) => (Some(verification), String::new()),
        Err(why) => (None, why),
    };
    let (sink, counts, report) = history::read(records, filter, verification, format, sink)?;
    Ok(ReadResult { sink, counts, verification: report.ok_or(why) })
}

/// Keeps the newest decisions.
#[derive(Default)]
struct Newest {
    rows: Vec<Seen>,
    bytes: usize,
    unreadable: Vec<String>,
}

impl Newest {
    /// Sorts the decisions, the newest last, and drops the oldest.
    fn trim(&mut self) {
        // A stable sort: of two decisions at one time, the one that was read later is the newer one.
        self.rows.sort_by_key(|seen| seen.row.time);
        let mut bytes = 0;
        let kept = self.rows.iter().rev().take(MAX_ROWS).take_while(|seen| {
            bytes += seen.json.len();
            bytes <= MAX_BYTES
        });
        let dropped = self.rows.len() - kept.count();
        self.rows.drain(..dropped);
        self.bytes = self.rows.iter().map(|seen| seen.json.len()).sum();
    }

    /// The newest decisions, the newest first.
    fn into_rows(mut self) -> Vec<Seen> {
        self.trim();
        self.rows.reverse();
        self.rows
    }
}

impl RowSink for Newest {
    fn row(&mut self, row: Row, json: &str) -> Result<(), Failure> {
        self.bytes += json.len();
        self.rows.push(Seen { row, json: json.to_owned() });
        if self.rows.len() >= 2 * MAX_ROWS || self.bytes >= 2 * MAX_BYTES {
            self.trim();
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    fn unreadable(&mut self, place: &str, why: &str) {
        self.unreadable.push(format!("{place}: {why}"));
    }
}
