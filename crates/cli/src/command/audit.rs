//! `audit`: who did what, where, and by whose approval, from the records.
//!
//! The same five answers come from Events in the cluster, from the webhook's log, or from the API server's audit log.
//! Rows are printed as they are read, so memory does not grow with the log.

mod audit_log;
mod contexts;
mod filter;
pub(crate) mod history;
mod lines;
mod log;
mod log_prefix;
mod printer;
mod row;
mod source;
mod verification;

#[cfg(test)]
mod tests;

use std::{
    io::{IsTerminal as _, stdout},
    path::{Path, PathBuf},
    thread::sleep,
    time::Duration,
};

use anstream::{AutoStream, ColorChoice};
use writgate_cluster::{clock, names};
use writgate_core::record::{ChainFinding, CheckedLine, LineOutcome, LogLine, Settlement, VerifiedLine};

use crate::{
    cluster::{
        Cluster, FleetFlags,
        event_reader::{EventReader, NamespaceScopeFlags, ReportedEvent},
    },
    command::audit::{
        contexts::{ContextEvents, Contexts},
        filter::{Filter, FilterFlags},
        log::Log,
        printer::{Format, Printer, READER_GONE},
        row::{NOT_YET_SEALED, Required, Row},
        source::Source,
        verification::{SettledLine, Verification, VerificationReport},
    },
    failure::{Answer, Failure},
    manifest::input,
    terminal::{output, progress::Progress},
};

/// How often a followed log is checked for new lines.
const GLANCE: Duration = Duration::from_millis(250);
const NOT_EVIDENCE: &str = "Events expire after an hour and are not evidence; for evidence use the webhook's log (--log) or \
    the API server's audit log (--audit-log)";
/// Unreadable lines that are named one by one; the rest are counted.
const MOST_NAMED: u64 = 10;

/// Show who did what, where, and by whose approval
///
/// Each row is one decision: who initiated it and on whose behalf, the environment and project, whether an approval was
/// required, which approval was given, and which capabilities were required. Decisions are read from the cluster's
/// Events, which expire after an hour, from the webhook's log, or from the API server's audit log. With several --context,
/// the Events of all these clusters are in one table. Exits with 1 if nothing is found, or if --verify finds
/// something wrong, a link that it cannot show, or no link. Exits with 3 if something cannot be read.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  kubectl writgate audit -A --since 30m
  kubectl writgate audit -A --context prod-eu-1 --context prod-us-1
  kubectl logs -n writgate-system deployment/writgate-webhook | kubectl writgate audit --log -
  kubectl writgate audit --log webhook.log --who alice --decision denied -o csv
  kubectl writgate audit --log webhook.log --verify --key webhook.pub.pem
  kubectl writgate audit --audit-log /var/log/kubernetes/audit.log --object deployment/orders")]
pub(crate) struct Arguments {
    /// Read the webhook's log, as it was written or as a container runtime stores it, `-` for standard input; may be
    /// repeated
    #[arg(long, value_name = "FILE", conflicts_with_all = ["audit_log", "all_namespaces"])]
    log: Vec<PathBuf>,
    /// Read the API server's audit log, JSON lines, `-` for standard input; may be repeated
    #[arg(long, value_name = "FILE", conflicts_with = "all_namespaces")]
    audit_log: Vec<PathBuf>,
    #[command(flatten)]
    scope: NamespaceScopeFlags,
    #[command(flatten)]
    filters: FilterFlags,
    /// Continue with new decisions until Ctrl-C
    #[arg(short, long)]
    watch: bool,
    /// Verify signatures and chains of all records, whatever the filters show, and report what is forged, altered or
    /// missing
    #[arg(long, conflicts_with = "watch")]
    verify: bool,
    /// Public key of a webhook, PEM; may be repeated [default: the keys of the cluster's checkpoints]
    #[arg(long, value_name = "FILE", requires = "verify")]
    key: Vec<PathBuf>,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    cluster: FleetFlags,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    let namespace = arguments.scope.namespace.as_deref();
    if let Some(namespace) = namespace.filter(|namespace| !names::is_label(namespace)) {
        return Err(Failure::Misuse(format!("{namespace:?} is not a valid namespace name")));
    }
    let logs = || arguments.log.iter().chain(&arguments.audit_log).map(PathBuf::as_path);
    input::one_stdin(logs())?;
    if arguments.verify && !arguments.audit_log.is_empty() {
        return Err(Failure::Misuse(
            "--verify: the API server's audit log is not signed, so it cannot be verified; verify the webhook's log (--log)"
                .to_owned(),
        ));
    }
    let of_events = logs().next().is_none();
    let asks = of_events || (arguments.verify && arguments.key.is_empty());
    let each = arguments.cluster.each()?;
    let (first, is_fleet) = match &*each {
        [(_, first), rest @ ..] => (first, !rest.is_empty()),
        [] => return Err(Failure::Misuse("name a context with --context".to_owned())),
    };
    if is_fleet && !of_events {
        return Err(Failure::Misuse(
            "a log is of one cluster; pass --context once with --log or --audit-log".to_owned(),
        ));
    }
    let cluster = (asks && !is_fleet).then(|| first.connect()).transpose()?;
    let printer = Printer::new(stdout(), arguments.output, AutoStream::choice(&stdout()) != ColorChoice::Never);
    let mut audit = Audit {
        filter: Filter::new(&arguments.filters, namespace, clock::now())?,
        printer: if is_fleet { printer.with_contexts() } else { printer },
        progress: Some(Progress::of("reading decisions", None)),
        verification: if is_fleet { None } else { arguments.verification(cluster.as_ref())? },
        context: String::new(),
        format: arguments.output,
        tally: Tally::default(),
    };
    let mut reports = Vec::new();
    let read = match &cluster {
        _ if is_fleet => audit.contexts(&Contexts::of(&each, arguments), &mut reports),
        Some(cluster) if of_events => audit.events(cluster, arguments),
        _ => audit.logs(logs(), arguments.log.is_empty(), arguments.watch),
    };
    match read.and_then(|()| audit.end_verification(of_events, &mut reports)).and_then(|()| audit.printer.flush()) {
        Err(Failure::Undetermined(why)) if why == READER_GONE && !arguments.verify => {
            return Ok(Answer::of(audit.tally.shown > 0));
        }
        read => read?,
    }
    audit.conclude(&reports, of_events)
}

impl Arguments {
    fn verification(&self, cluster: Option<&Cluster>) -> Result<Option<Verification>, Failure> {
        self.verify.then(|| Verification::by(&self.key, cluster)).transpose()
    }
}

/// Where the rows of an audit go.
pub(crate) trait RowSink {
    /// Takes a row. `json` is the text of its record.
    fn row(&mut self, row: Row, json: &str) -> Result<(), Failure>;

    /// Shows everything that is buffered: before a wait, and at the end.
    fn flush(&mut self) -> Result<(), Failure>;

    /// Reports a record that cannot be read. Only the first of them are reported.
    fn unreadable(&mut self, place: &str, why: &str);
}

/// Moves decisions from their source to a sink: standard output, or a page.
struct Audit<'a, S: RowSink = Printer> {
    filter: Filter<'a>,
    printer: S,
    /// None once rows appear on the same terminal.
    progress: Option<Progress>,
    verification: Option<Verification>,
    /// The context that is read. Empty if there is only one.
    context: String,
    format: Format,
    tally: Tally,
}

/// Counts for the final notes.
#[derive(Debug, Default)]
struct Tally {
    /// Decisions that were read, whether a filter selects them or not.
    seen: u64,
    /// Rows that were printed.
    shown: u64,
    /// Of these, rows whose source does not say whether an approval was required.
    unknown: u64,
    /// Of these, admissions whose object was never seen.
    not_persisted: u64,
    /// Records that cannot be read.
    unreadable: u64,
    /// Of these, records of contexts whose verification has ended.
    unreadable_before: u64,
    /// Lines of the logs.
    lines: u64,
    /// Contexts that cannot be read.
    failed: Vec<String>,
}

impl<S: RowSink> Audit<'_, S> {
    fn show(&mut self, mut row: Row, json: &str) -> Result<(), Failure> {
        self.progress.as_mut().map(Progress::step);
        self.tally.seen += 1;
        if !self.filter.takes(&row) {
            return Ok(());
        }
        if self.progress.is_some() && stdout().is_terminal() {
            self.progress = None;
        }
        self.tally.shown += 1;
        self.tally.unknown += u64::from(row.required == Required::Unknown);
        self.tally.not_persisted += u64::from(row.is_not_persisted());
        row.context.clone_from(&self.context);
        self.printer.row(row, json)
    }

    /// Adds a line to the verification, and shows what was verified. A line that is a finding is shown as one. A line that
    /// waits for its seal is shown once the seal was seen.
    fn verified(&mut self, checked: CheckedLine, source: &Source<'_>) -> Result<(), Failure> {
        let Some(verification) = &mut self.verification else { return Ok(()) };
        let (outcome, settled) = verification.take(checked, source);
        settled.into_iter().try_for_each(|line| self.settle(line))?;
        match outcome {
            LineOutcome::Verified(line) => self.show_verified(line, source),
            LineOutcome::Again(line) => self.show_again(line, 1, source),
            LineOutcome::Seal(_) | LineOutcome::Waiting(_) => Ok(()),
            LineOutcome::NotARecord => self.found(None, source),
            LineOutcome::Found(finding) => self.found(Some(&finding), source),
        }
    }

    /// Shows the lines that still wait for their seal, after the last line.
    fn settle_rest(&mut self) -> Result<(), Failure> {
        let rest = self.verification.as_mut().map(Verification::close).unwrap_or_default();
        rest.into_iter().try_for_each(|line| self.settle(line))
    }

    /// Shows a line that no longer waits for its seal.
    fn settle(&mut self, settled: SettledLine) -> Result<(), Failure> {
        let SettledLine { line, copies, settlement } = settled;
        line.as_source(|source| match settlement {
            Settlement::Verified(line) => {
                self.repeats(&line, copies);
                self.show_verified(line, source)
            }
            Settlement::Again(line) => self.show_again(line, copies + 1, source),
            Settlement::Found(finding) => self.found(Some(&finding), source),
            Settlement::NotYetSealed => self.show_unverified(NOT_YET_SEALED, source),
        })
    }

    fn show_verified(&mut self, line: VerifiedLine, source: &Source<'_>) -> Result<(), Failure> {
        match line {
            VerifiedLine::Record(record) => self.show(source.row(*record), source.json),
            VerifiedLine::Start(_) | VerifiedLine::Other { .. } => Ok(()),
        }
    }

    /// Counts `copies` of a record. An Event of an object that was never seen has a row.
    fn show_again(&mut self, line: VerifiedLine, copies: u64, source: &Source<'_>) -> Result<(), Failure> {
        if source.is_not_persisted() {
            return self.show_verified(line, source);
        }
        self.repeats(&line, copies);
        Ok(())
    }

    fn repeats(&mut self, line: &VerifiedLine, copies: u64) {
        if let (Some(verification), VerifiedLine::Record(record)) = (&mut self.verification, line) {
            verification.repeats(record.position(), copies);
        }
    }

    /// Shows a record that was not verified, with a remark. Formats that have no place for a remark leave the record out.
    fn show_unverified(&mut self, remark: &str, source: &Source<'_>) -> Result<(), Failure> {
        let LogLine::Claimed(line) = LogLine::read(source.json.as_bytes()) else { return Ok(()) };
        match line.record() {
            Ok(Some(record)) if !matches!(self.format, Format::Json | Format::Yaml) => {
                let mut row = source.row(record);
                row.remarks.push(remark.to_owned());
                self.show(row, source.json)
            }
            _ => Ok(()),
        }
    }

    /// Shows a record that was not verified, with the finding about it.
    fn found(&mut self, finding: Option<&ChainFinding>, source: &Source<'_>) -> Result<(), Failure> {
        if finding == Some(&ChainFinding::Unreadable) {
            return Ok(()); // `json` may be readable, since invalid UTF-8 is replaced in it
        }
        // The report of the verification names its findings.
        if let Some(finding) = finding {
            return self.show_unverified(finding.as_str(), source);
        }
        let record = match LogLine::read(source.json.as_bytes()) {
            LogLine::Claimed(line) => line.record(),
            LogLine::Unreadable(why) => Err(why),
            LogLine::NotARecord => Err("there is no record".to_owned()),
        };
        if let Err(why) = record {
            self.cannot_read(&(source.position)(), &why);
        }
        Ok(())
    }

    fn cannot_read(&mut self, place: &str, why: &str) {
        self.tally.unreadable += 1;
        if self.tally.unreadable <= MOST_NAMED {
            self.printer.unreadable(place, why);
        }
    }

    fn events(&mut self, cluster: &Cluster, arguments: &Arguments) -> Result<(), Failure> {
        output::note(NOT_EVIDENCE);
        let mut reader = EventReader::new(cluster, arguments.scope.of(cluster)?);
        loop {
            let (events, version) = reader.list()?;
            events.into_iter().try_for_each(|event| self.event(event))?;
            if !arguments.watch {
                return Ok(());
            }
            self.printer.flush()?;
            reader.watch(&version, |event| {
                self.event(event)?;
                self.printer.flush()
            })?;
        }
    }

    /// Shows the Events of several contexts, the oldest first. With `--verify`, one context after the other, because each has
    /// its own keys. A context that cannot be read is reported, and the others are shown.
    fn contexts(
        &mut self,
        contexts: &Contexts,
        reports: &mut Vec<(String, VerificationReport)>,
    ) -> Result<(), Failure> {
        output::note(NOT_EVIDENCE);
        contexts.read(|read| {
            let mut events = Vec::new();
            for (context, read) in read {
                match read {
                    Ok(ContextEvents { events: of_context, verification: None }) => {
                        events.extend(of_context.into_iter().map(|event| (context.clone(), event)));
                    }
                    Ok(ContextEvents { events: of_context, verification }) => {
                        self.verification = verification;
                        self.context = context;
                        of_context.into_iter().try_for_each(|event| self.event(event))?;
                        self.end_verification(true, reports)?;
                    }
                    Err(failure) => {
                        output::note(&format!("cannot read context {context}: {failure}"));
                        self.tally.failed.push(context);
                    }
                }
            }
            events.sort_by_key(|(_, event)| event.last);
            for (context, event) in events {
                self.context = context;
                self.event(event)?;
            }
            self.printer.flush()
        })
    }

    fn event(&mut self, event: ReportedEvent) -> Result<(), Failure> {
        let ReportedEvent { mut name, record, json, not_persisted, times, .. } = event;
        if !self.context.is_empty() {
            name = format!("{name} in context {}", self.context);
        }
        let position = || name.clone();
        let source = Source::event(&json, &position, times, not_persisted);
        if let Some(verification) = &self.verification {
            let checked = verification.check(LogLine::read(json.as_bytes()));
            return self.verified(checked, &source);
        }
        match record {
            Ok(record) => self.show(source.row(record), &json),
            Err(why) => {
                self.cannot_read(&name, &why);
                Ok(())
            }
        }
    }

    fn logs<'p>(
        &mut self,
        paths: impl Iterator<Item = &'p Path>,
        as_audit_log: bool,
        watch: bool,
    ) -> Result<(), Failure> {
        let mut logs = paths.map(|path| Log::open(path, as_audit_log)).collect::<Result<Vec<_>, Failure>>()?;
        if watch {
            loop {
                logs.iter_mut().try_for_each(|log| log.follow(self))?;
                self.printer.flush()?;
                sleep(GLANCE);
            }
        }
        logs.iter_mut().try_for_each(|log| log.read(self))?;
        logs.iter_mut().try_for_each(|log| log.rest(self).and_then(|()| log.unfinished(self)))?;
        self.tally.lines = logs.iter().map(Log::lines).sum();
        Ok(())
    }

    /// Shows the lines that still wait for their seal, and adds the report to `reports`.
    fn end_verification(
        &mut self,
        of_events: bool,
        reports: &mut Vec<(String, VerificationReport)>,
    ) -> Result<(), Failure> {
        self.settle_rest()?;
        if let Some(verification) = self.verification.take() {
            let unreadable = self.tally.unreadable - self.tally.unreadable_before;
            self.tally.unreadable_before = self.tally.unreadable;
            reports.push((self.context.clone(), verification.finish(of_events, unreadable)));
        }
        Ok(())
    }

    /// Prints the final notes, and returns the answer.
    fn conclude(self, reports: &[(String, VerificationReport)], of_events: bool) -> Result<Answer, Failure> {
        let Self { format, tally, progress, .. } = self;
        let Tally { shown, unknown, not_persisted, unreadable, failed, .. } = tally;
        drop(progress);
        if unknown > 0 {
            output::note(&format!(
                "{unknown} of these {shown}: the source does not say whether an approval was required; the webhook's log does"
            ));
        }
        if not_persisted > 0 && matches!(format, Format::Json | Format::Yaml) {
            output::note(&format!(
                "{not_persisted} of these {shown}: admitted, but not seen in the cluster afterwards (Event of reason NotPersisted)"
            ));
        }
        if shown == 0 {
            output::note("no decision found");
        }
        if of_events && !reports.is_empty() {
            output::note(
                "Events are not all of the records, so missing records are not reported; for these, verify the webhook's log",
            );
        }
        reports.iter().try_for_each(|(context, verified)| report(context, verified, format))?;
        if reports.iter().any(|(_, verified)| !verified.is_clean()) {
            return Ok(Answer::No);
        }
        if !failed.is_empty() {
            let contexts = if failed.len() == 1 { "context" } else { "contexts" };
            return Err(Failure::Undetermined(format!(
                "{contexts} {} cannot be read; the output is incomplete",
                failed.iter().map(|context| output::shown(context)).collect::<Vec<_>>().join(", ")
            )));
        }
        if unreadable > 0 {
            let records = if unreadable == 1 { "1 record".to_owned() } else { format!("{unreadable} records") };
            return Err(Failure::Undetermined(format!("{records} cannot be read; the output is incomplete")));
        }
        Ok(Answer::of(shown > 0))
    }
}

/// Prints the report after a table. If programs read the output, the report goes to standard error.
fn report(context: &str, verified: &VerificationReport, format: Format) -> Result<(), Failure> {
    let heading = if context.is_empty() { String::new() } else { format!("context {}\n", output::shown(context)) };
    let text = heading + &verified.text();
    if matches!(format, Format::Table | Format::Wide) {
        return output::print(&format!("\n{text}"));
    }
    output::note(text.trim_end());
    Ok(())
}
