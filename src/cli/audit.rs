//! `audit`: who did what, where, by whose approval, as the records tell it.
//!
//! The same five answers from three places: Events in the cluster, the webhook's log, the API server's audit log. Rows are
//! printed as they are found, so that a log of any size takes the same memory.

mod audit_log;
mod filter;
mod lines;
mod printer;
mod record_line;
mod row;
mod wrapping;

use std::{
    io::{Stdout, stdout},
    path::{Path, PathBuf},
    thread::sleep,
    time::Duration,
};

use self::{
    audit_log::AuditLog,
    filter::{Filter, FilterFlags},
    lines::{Lines, Next},
    printer::{Format, Printer, READER_GONE},
    record_line::RecordLine,
    row::{Required, Row},
    wrapping::Wrapping,
};
use super::{
    cluster::{Cluster, ClusterFlags},
    failure::{Answer, Failure},
    input, output,
    trail::{ScopeFlags, Told, Trail},
};
use crate::{clock, names};

/// How often a log that is followed is looked at.
const GLANCE: Duration = Duration::from_millis(250);
/// Lines that cannot be read and are named one by one; the rest are counted.
const MOST_NAMED: u64 = 10;

/// Answer from the records who did what, where, by whose approval
///
/// Each row is one decision: who initiated it and on whose behalf, what environment and project were affected, whether an
/// approval was required, which one was given, which capabilities were required. From the cluster's Events, which live an
/// hour; from the webhook's log; or from the API server's audit log. Exits with 1 if nothing is found, with 3 if something
/// could not be read.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  kubectl writgate audit -A --since 30m
  kubectl logs -n writgate-system deployment/writgate-webhook | kubectl writgate audit --log -
  kubectl writgate audit --log webhook.log --who alice --decision denied -o csv
  kubectl writgate audit --audit-log /var/log/kubernetes/audit.log --object deployment/orders")]
pub(super) struct Arguments {
    /// The webhook's log, as it wrote it or as a container runtime keeps it; `-` for standard input; may be repeated
    #[arg(long, value_name = "FILE", conflicts_with_all = ["audit_log", "all_namespaces"])]
    log: Vec<PathBuf>,
    /// The API server's audit log, JSON lines; `-` for standard input; may be repeated
    #[arg(long, value_name = "FILE", conflicts_with = "all_namespaces")]
    audit_log: Vec<PathBuf>,
    #[command(flatten)]
    scope: ScopeFlags,
    #[command(flatten)]
    filters: FilterFlags,
    /// Go on with what happens from now on, until Ctrl-C
    #[arg(short, long)]
    watch: bool,
    /// How to print the decisions
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    cluster: ClusterFlags,
}

pub(super) fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    let namespace = arguments.scope.namespace.as_deref();
    if let Some(namespace) = namespace.filter(|namespace| !names::is_label(namespace)) {
        return Err(Failure::Misuse(format!("{namespace:?} is not the name of a namespace")));
    }
    let logs = || arguments.log.iter().chain(&arguments.audit_log).map(PathBuf::as_path);
    input::one_stdin(logs())?;
    let mut audit = Audit {
        filter: Filter::new(&arguments.filters, namespace, clock::now())?,
        printer: Printer::new(stdout(), arguments.output),
        shown: 0,
        untold: 0,
        not_persisted: 0,
        unreadable: 0,
    };
    let read = if logs().next().is_none() {
        audit.events(&arguments.cluster.connect()?, arguments)
    } else {
        audit.logs(arguments, logs())
    };
    match read.and_then(|()| audit.printer.flush()) {
        Err(Failure::CouldNotTell(why)) if why == READER_GONE => return Ok(Answer::of(audit.shown > 0)),
        read => read?,
    }
    audit.conclude(arguments)
}

/// Decisions on their way from where they are kept to standard output.
struct Audit<'a> {
    filter: Filter<'a>,
    printer: Printer<Stdout>,
    shown: u64,
    /// Rows in which one of the five answers is missing.
    untold: u64,
    not_persisted: u64,
    unreadable: u64,
}

impl Audit<'_> {
    fn show(&mut self, row: &Row, json: &str) -> Result<(), Failure> {
        if !self.filter.takes(row) {
            return Ok(());
        }
        self.shown += 1;
        self.untold += u64::from(row.required == Required::Untold);
        self.printer.print(row, json)
    }

    fn cannot_read(&mut self, place: &str, why: &str) {
        self.unreadable += 1;
        if self.unreadable <= MOST_NAMED {
            output::note(&format!("cannot read {place}: {why}"));
        }
    }

    fn events(&mut self, cluster: &Cluster, arguments: &Arguments) -> Result<(), Failure> {
        output::note(
            "Events live an hour and are what people see, not what convicts: for evidence read the webhook's log (--log) or \
             the API server's audit log (--audit-log)",
        );
        let mut trail = Trail::new(cluster, arguments.scope.of(cluster)?);
        loop {
            let (events, version) = trail.list()?;
            events.into_iter().try_for_each(|event| self.event(event))?;
            if !arguments.watch {
                return Ok(());
            }
            self.printer.flush()?;
            trail.watch(&version, |event| {
                self.event(event)?;
                self.printer.flush()
            })?;
        }
    }

    fn event(&mut self, event: Told) -> Result<(), Failure> {
        match event.record {
            Ok(record) => {
                let mut row = Row::from(record);
                row.times = Some(event.times);
                if event.not_persisted {
                    row.remarks.push("not persisted".to_owned());
                }
                let before = self.shown;
                self.show(&row, &event.json)?;
                self.not_persisted += u64::from(event.not_persisted && self.shown > before);
            }
            Err(why) => self.cannot_read(&event.name, &why),
        }
        Ok(())
    }

    fn logs<'p>(&mut self, arguments: &Arguments, paths: impl Iterator<Item = &'p Path>) -> Result<(), Failure> {
        let as_audit_log = arguments.log.is_empty();
        let open =
            |path| Ok(Log { name: input::name(path), lines: Lines::open(path)?, reader: Reader::new(as_audit_log) });
        let mut logs: Vec<Log> = paths.map(open).collect::<Result<_, Failure>>()?;
        loop {
            for log in &mut logs {
                log.read(self)?;
                while arguments.watch && log.lines.reopen_if_rotated()? {
                    log.read(self)?;
                }
            }
            if !arguments.watch {
                break;
            }
            self.printer.flush()?;
            sleep(GLANCE);
        }
        for log in &mut logs {
            log.rest(self)?;
        }
        Ok(())
    }

    /// Says what is missing, and answers.
    fn conclude(&self, arguments: &Arguments) -> Result<Answer, Failure> {
        if self.untold > 0 {
            output::note(&format!(
                "{} of these {}: whether an approval was required is not told there; the webhook's log tells it",
                self.untold, self.shown
            ));
        }
        if self.not_persisted > 0 && matches!(arguments.output, Format::Json | Format::Yaml) {
            output::note(&format!(
                "{} of these {}: admitted, and then not seen in the cluster (Event of reason NotPersisted)",
                self.not_persisted, self.shown
            ));
        }
        if self.unreadable > 0 {
            return Err(Failure::CouldNotTell(format!(
                "{} that should hold a record cannot be read; what is shown is not all",
                if self.unreadable == 1 { "1 place".to_owned() } else { format!("{} places", self.unreadable) }
            )));
        }
        if self.shown == 0 {
            output::note("no decision found");
        }
        Ok(Answer::of(self.shown > 0))
    }
}

/// A log, and how its lines are read.
struct Log {
    name: String,
    lines: Lines,
    reader: Reader,
}

/// How the lines of a log are read.
enum Reader {
    Records(Wrapping),
    AuditLog(AuditLog),
}

impl Log {
    /// Tells all lines that are there.
    fn read(&mut self, audit: &mut Audit<'_>) -> Result<(), Failure> {
        let Self { name, lines, reader } = self;
        loop {
            if !lines.is_at_hand() {
                audit.printer.flush()?;
            }
            let (number, next) = lines.next()?;
            let unreadable = match next {
                Next::Line(line) => reader.line(audit, line)?,
                Next::TooLong => Some("it is longer than any line of this log".to_owned()),
                Next::End => return Ok(()),
            };
            if let Some(why) = unreadable {
                audit.cannot_read(&format!("{name}, line {number}"), &why);
            }
        }
    }

    /// Tells the last line, to which nobody gave an end.
    fn rest(&mut self, audit: &mut Audit<'_>) -> Result<(), Failure> {
        let Some(line) = self.lines.rest() else { return Ok(()) };
        if let Some(why) = self.reader.line(audit, line)? {
            audit.cannot_read(&format!("{}, the last line", self.name), &why);
        }
        Ok(())
    }
}

impl Reader {
    fn new(as_audit_log: bool) -> Self {
        if as_audit_log { Self::AuditLog(AuditLog::default()) } else { Self::Records(Wrapping::default()) }
    }

    /// Shows what a line tells; or gives back why it cannot be read.
    fn line(&mut self, audit: &mut Audit<'_>, line: &[u8]) -> Result<Option<String>, Failure> {
        match self {
            Self::Records(wrapping) => {
                let Some(json) = wrapping.take_off(line) else { return Ok(None) };
                match record_line::read(&json) {
                    RecordLine::Record(record) => audit.show(&Row::from(*record), &String::from_utf8_lossy(&json))?,
                    RecordLine::Unreadable(why) => return Ok(Some(why)),
                    RecordLine::Other => {}
                }
            }
            Self::AuditLog(log) => match log.read(line) {
                Ok(decisions) => decisions.iter().try_for_each(|decision| {
                    let json = serde_json::to_string(decision)
                        .map_err(|error| Failure::CouldNotTell(format!("cannot write JSON: {error}")))?;
                    audit.show(&Row::from(decision), &json)
                })?,
                Err(why) => return Ok(Some(why)),
            },
        }
        Ok(None)
    }
}
