//! Reads a log for `audit`: lines in batches, parsed and verified in parallel, and reported in order.
//!
//! A batch ends when the next line is not available yet, so that a growing log is shown as it grows. It also ends at a
//! size limit, so that memory does not grow with the log.

use std::{borrow::Cow, num::NonZero, path::Path, thread};

use writgate_core::record::{CheckedLine, DecisionRecord, LogLine};

use crate::{
    command::audit::{
        Audit, RowSink, Source,
        audit_log::AuditLog,
        lines::{Lines, Next},
        log_prefix::LogPrefix,
        row::Row,
        verification::Verification,
    },
    failure::Failure,
    manifest::input,
};

/// Bytes after which a batch ends.
const BATCH: usize = 2 << 20;
/// Lines per thread, at least.
const FEW: usize = 64;

/// A log, and how its lines are read.
pub(super) struct Log {
    name: String,
    lines: Lines,
    reader: Reader,
}

enum Reader {
    /// The webhook's log.
    Records(LogPrefix),
    /// The API server's audit log.
    AuditLog(AuditLog),
}

/// A line's number and JSON, or why there is no JSON.
struct NumberedLine {
    number: u64,
    json: Result<Vec<u8>, &'static str>,
}

/// A line of the webhook's log, read once.
enum ParsedLine {
    NotARecord,
    /// The line was checked, to be verified with the lines before it.
    Checked(CheckedLine),
    /// The record, without `--verify`.
    Record(Box<DecisionRecord>),
    Unreadable(String),
}

impl Log {
    pub(super) fn open(path: &Path, as_audit_log: bool) -> Result<Self, Failure> {
        let reader =
            if as_audit_log { Reader::AuditLog(AuditLog::default()) } else { Reader::Records(LogPrefix::default()) };
        Ok(Self { name: input::name(path), lines: Lines::open(path)?, reader })
    }

    /// How many lines of the file were read.
    pub(super) fn lines(&self) -> u64 {
        self.lines.number()
    }

    /// Reports all available lines, including those of files that have replaced the log meanwhile.
    pub(super) fn follow<S: RowSink>(&mut self, audit: &mut Audit<'_, S>) -> Result<(), Failure> {
        self.read(audit)?;
        while self.lines.is_rotated()? {
            self.read(audit)?; // the last lines of the old file
            self.rest(audit)?;
            self.lines.reopen()?;
            self.read(audit)?;
        }
        Ok(())
    }

    /// Reports all available lines.
    pub(super) fn read<S: RowSink>(&mut self, audit: &mut Audit<'_, S>) -> Result<(), Failure> {
        loop {
            if !self.lines.is_at_hand() {
                audit.printer.flush()?; // the next line may take long to arrive
            }
            let (batch, ended) = self.batch()?;
            self.report(&batch, audit)?;
            if ended {
                return Ok(());
            }
        }
    }

    /// Reports the last line, which has no line break.
    pub(super) fn rest<S: RowSink>(&mut self, audit: &mut Audit<'_, S>) -> Result<(), Failure> {
        let number = self.lines.number() + 1;
        let Some(line) = self.lines.rest() else { return Ok(()) };
        let Some(json) = self.reader.json(line) else { return Ok(()) };
        self.report(&[NumberedLine { number, json: Ok(json) }], audit)
    }

    /// Reports lines that a container runtime has split and not completed.
    pub(super) fn unfinished<S: RowSink>(&mut self, audit: &mut Audit<'_, S>) -> Result<(), Failure> {
        let Reader::Records(prefix) = &mut self.reader else { return Ok(()) };
        let number = self.lines.number();
        let batch: Vec<_> =
            prefix.unfinished().into_iter().map(|json| NumberedLine { number, json: Ok(json) }).collect();
        self.report(&batch, audit)
    }

    /// The next lines, and whether no more are available for now.
    fn batch(&mut self) -> Result<(Vec<NumberedLine>, bool), Failure> {
        let (mut batch, mut size) = (Vec::new(), 0);
        loop {
            let (number, next) = self.lines.next()?;
            let json = match next {
                Next::Line(line) => self.reader.json(line).map(Ok),
                Next::TooLong => Some(Err("the line is too long")),
                Next::End => return Ok((batch, true)),
            };
            if let Some(json) = json {
                size += json.as_ref().map_or(0, Vec::len);
                batch.push(NumberedLine { number, json });
            }
            if size >= BATCH || !self.lines.is_at_hand() {
                return Ok((batch, false));
            }
        }
    }

    fn report<S: RowSink>(&mut self, batch: &[NumberedLine], audit: &mut Audit<'_, S>) -> Result<(), Failure> {
        let Self { name, reader, .. } = self;
        let position = |number: u64| format!("{name}, line {number}");
        match reader {
            Reader::Records(_) => {
                for (line, parsed) in batch.iter().zip(parse(batch, audit.verification.as_ref())) {
                    report_record(line, parsed, audit, &|| position(line.number))?;
                }
            }
            Reader::AuditLog(log) => {
                for NumberedLine { number, json } in batch {
                    match json.as_ref().map_err(|why| (*why).to_owned()).and_then(|json| log.read(json)) {
                        Ok(decisions) => decisions.iter().try_for_each(|decision| {
                            let json = serde_json::to_string(decision)
                                .map_err(|error| Failure::Undetermined(format!("cannot write JSON: {error}")))?;
                            audit.show(Row::from(decision), &json)
                        })?,
                        Err(why) => audit.cannot_read(&position(*number), &why),
                    }
                }
            }
        }
        Ok(())
    }
}

impl Reader {
    /// The JSON of a line, if there is any.
    fn json(&mut self, line: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Records(prefix) => prefix.remove(line).map(Cow::into_owned),
            Self::AuditLog(_) => AuditLog::may_tell(line).then(|| line.to_vec()),
        }
    }
}

/// The result for each line, in order. Verifying signatures is worth a thread for each processor. Parsing alone is not:
/// the threads would wait for each other longer than they save.
fn parse(batch: &[NumberedLine], verification: Option<&Verification>) -> Vec<ParsedLine> {
    let one = |line: &NumberedLine| match &line.json {
        Ok(json) => match (LogLine::read(json), verification) {
            (LogLine::NotARecord, _) => ParsedLine::NotARecord,
            (line, Some(verification)) => ParsedLine::Checked(verification.check(line)),
            (LogLine::Unreadable(why), None) => ParsedLine::Unreadable(why),
            (LogLine::Claimed(line), None) => match line.record() {
                Ok(Some(record)) => ParsedLine::Record(Box::new(record)),
                Ok(None) => ParsedLine::NotARecord,
                Err(why) => ParsedLine::Unreadable(why),
            },
        },
        Err(why) => ParsedLine::Unreadable((*why).to_owned()),
    };
    let threads = verification.and_then(|_| thread::available_parallelism().ok()).map_or(1, NonZero::get);
    let share = batch.len().div_ceil(threads).max(FEW);
    if batch.len() <= share {
        return batch.iter().map(one).collect();
    }
    thread::scope(|scope| {
        let shares: Vec<_> =
            batch.chunks(share).map(|share| scope.spawn(move || share.iter().map(one).collect::<Vec<_>>())).collect();
        shares.into_iter().flat_map(|share| share.join().expect("reading a line does not panic")).collect()
    })
}

fn report_record<S: RowSink>(
    line: &NumberedLine,
    parsed: ParsedLine,
    audit: &mut Audit<'_, S>,
    position: &dyn Fn() -> String,
) -> Result<(), Failure> {
    let json = || line.json.as_ref().map_or(Cow::Borrowed(""), |json| String::from_utf8_lossy(json));
    match parsed {
        ParsedLine::NotARecord => Ok(()),
        ParsedLine::Record(record) => audit.show(Row::from(*record), &json()),
        ParsedLine::Checked(checked) => audit.verified(checked, &Source::line(&json(), position)),
        ParsedLine::Unreadable(why) => {
            audit.cannot_read(&position(), &why);
            Ok(())
        }
    }
}
