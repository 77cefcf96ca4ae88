//! `audit`: who did what, where, by whose approval, as the records tell it.
//!
//! The same five answers from three places: Events in the cluster, the webhook's log, the API server's audit log. Rows are
//! printed as they are found, so that a log of any size takes the same memory.

mod audit_log;
mod filter;
mod lines;
mod log;
mod printer;
mod record_line;
mod row;
mod verification;

use std::{
    io::{IsTerminal as _, Stdout, stdout},
    path::{Path, PathBuf},
    thread::sleep,
    time::Duration,
};

use anstream::{AutoStream, ColorChoice};
use writgate_cluster::{clock, names};

use crate::{
    cluster::{
        Cluster, ClusterFlags,
        trail::{ScopeFlags, Told, Trail},
    },
    command::audit::{
        filter::{Filter, FilterFlags},
        log::Log,
        printer::{Format, Printer, READER_GONE},
        row::{NOT_PERSISTED, Required, Row},
        verification::{Verification, Verified},
    },
    failure::{Answer, Failure},
    manifest::input,
    terminal::{output, progress::Progress},
};

/// How often a log that is followed is looked at.
const GLANCE: Duration = Duration::from_millis(250);
/// Lines that cannot be read and are named one by one; the rest are counted.
const MOST_NAMED: u64 = 10;

/// Answer from the records who did what, where, by whose approval
///
/// Each row is one decision: who initiated it and on whose behalf, what environment and project were affected, whether an
/// approval was required, which one was given, which capabilities were required. From the cluster's Events, which live an
/// hour; from the webhook's log; or from the API server's audit log. Exits with 1 if nothing is found or --verify finds
/// something wrong, with 3 if something could not be read.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  kubectl writgate audit -A --since 30m
  kubectl logs -n writgate-system deployment/writgate-webhook | kubectl writgate audit --log -
  kubectl writgate audit --log webhook.log --who alice --decision denied -o csv
  kubectl writgate audit --log webhook.log --verify --key webhook.pub.pem
  kubectl writgate audit --audit-log /var/log/kubernetes/audit.log --object deployment/orders")]
pub(crate) struct Arguments {
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
    /// Check signatures and chains of all records, whatever the filters show, and name what is forged, altered or missing
    #[arg(long, conflicts_with = "watch")]
    verify: bool,
    /// Public key of a webhook, PEM, in place of the cluster's checkpoints; may be repeated
    #[arg(long, value_name = "FILE", requires = "verify")]
    key: Vec<PathBuf>,
    /// How to print the decisions
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    cluster: ClusterFlags,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    let namespace = arguments.scope.namespace.as_deref();
    if let Some(namespace) = namespace.filter(|namespace| !names::is_label(namespace)) {
        return Err(Failure::Misuse(format!("{namespace:?} is not the name of a namespace")));
    }
    let logs = || arguments.log.iter().chain(&arguments.audit_log).map(PathBuf::as_path);
    input::one_stdin(logs())?;
    if arguments.verify && !arguments.audit_log.is_empty() {
        return Err(Failure::Misuse(
            "--verify: nobody signs the API server's audit log, so there is nothing to check in it; verify the webhook's \
             log (--log)"
                .to_owned(),
        ));
    }
    let of_events = logs().next().is_none();
    let asks = of_events || (arguments.verify && arguments.key.is_empty());
    let cluster = asks.then(|| arguments.cluster.connect()).transpose()?;
    let mut audit = Audit {
        filter: Filter::new(&arguments.filters, namespace, clock::now())?,
        printer: Printer::new(stdout(), arguments.output, AutoStream::choice(&stdout()) != ColorChoice::Never),
        progress: Some(Progress::of("reading decisions", None)),
        verification: arguments.verification(cluster.as_ref())?,
        format: arguments.output,
        tally: Tally::default(),
    };
    let read = match &cluster {
        Some(cluster) if of_events => audit.events(cluster, arguments),
        _ => audit.logs(arguments, logs()),
    };
    match read.and_then(|()| audit.printer.flush()) {
        Err(Failure::CouldNotTell(why)) if why == READER_GONE && !arguments.verify => {
            return Ok(Answer::of(audit.tally.shown > 0));
        }
        read => read?,
    }
    audit.conclude(of_events)
}

impl Arguments {
    fn verification(&self, cluster: Option<&Cluster>) -> Result<Option<Verification>, Failure> {
        if !self.verify {
            return Ok(None);
        }
        match cluster.filter(|_| self.key.is_empty()) {
            Some(cluster) => Verification::by_cluster(cluster).map(Some),
            None => Verification::by_files(&self.key).map(Some),
        }
    }
}

/// Decisions on their way from where they are kept to standard output.
struct Audit<'a> {
    filter: Filter<'a>,
    printer: Printer<Stdout>,
    /// Until rows show on the same terminal that the work goes on.
    progress: Option<Progress>,
    verification: Option<Verification>,
    format: Format,
    tally: Tally,
}

/// What was seen on the way.
#[derive(Debug, Default)]
struct Tally {
    /// Rows that were printed.
    shown: u64,
    /// Of these, how many lack one of the five answers.
    untold: u64,
    /// Of these, how many were admitted and never seen.
    not_persisted: u64,
    /// Records that cannot be read.
    unreadable: u64,
}

impl Audit<'_> {
    fn show(&mut self, row: &Row, json: &str) -> Result<(), Failure> {
        self.progress.as_mut().map(Progress::step);
        if !self.filter.takes(row) {
            return Ok(());
        }
        if self.progress.is_some() && stdout().is_terminal() {
            self.progress = None;
        }
        self.tally.shown += 1;
        self.tally.untold += u64::from(row.required == Required::Untold);
        self.tally.not_persisted += u64::from(row.is_not_persisted());
        self.printer.print(row, json)
    }

    /// Shows a record, unless something speaks against it and nobody would see that beside it.
    fn record(&mut self, mut row: Row, json: &str, against: Option<&'static str>) -> Result<(), Failure> {
        if let Some(word) = against {
            if matches!(self.format, Format::Json | Format::Yaml) {
                return Ok(());
            }
            row.remarks.push(word.to_owned());
        }
        self.show(&row, json)
    }

    fn cannot_read(&mut self, place: &str, why: &str) {
        self.tally.unreadable += 1;
        if self.tally.unreadable <= MOST_NAMED {
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
        let against = self.verification.as_mut().and_then(|verification| {
            let checked = verification.check(&event.json);
            verification.take(checked, || event.name.clone())
        });
        match event.record {
            Ok(record) => {
                let mut row = Row::from(record);
                row.times = Some(event.times);
                if event.not_persisted {
                    row.remarks.push(NOT_PERSISTED.to_owned());
                }
                self.record(row, &event.json, against)?;
            }
            Err(why) => self.cannot_read(&event.name, &why),
        }
        Ok(())
    }

    fn logs<'p>(&mut self, arguments: &Arguments, paths: impl Iterator<Item = &'p Path>) -> Result<(), Failure> {
        let as_audit_log = arguments.log.is_empty();
        let mut logs = paths.map(|path| Log::open(path, as_audit_log)).collect::<Result<Vec<_>, Failure>>()?;
        if arguments.watch {
            loop {
                logs.iter_mut().try_for_each(|log| log.follow(self))?;
                self.printer.flush()?;
                sleep(GLANCE);
            }
        }
        logs.iter_mut().try_for_each(|log| log.read(self))?;
        logs.iter_mut().try_for_each(|log| log.rest(self))
    }

    /// Says what is missing, and answers.
    fn conclude(self, of_events: bool) -> Result<Answer, Failure> {
        let Self { verification, format, tally, progress, .. } = self;
        let Tally { shown, untold, not_persisted, unreadable } = tally;
        drop(progress);
        if untold > 0 {
            output::note(&format!(
                "{untold} of these {shown}: whether an approval was required is not told there; the webhook's log tells it"
            ));
        }
        if not_persisted > 0 && matches!(format, Format::Json | Format::Yaml) {
            output::note(&format!(
                "{not_persisted} of these {shown}: admitted, and then not seen in the cluster (Event of reason NotPersisted)"
            ));
        }
        if shown == 0 {
            output::note("no decision found");
        }
        let verified = verification.map(|verification| verification.finish(of_events));
        if let Some(verified) = &verified {
            tell(verified, format, of_events)?;
        }
        if verified.is_some_and(|verified| !verified.is_clean()) {
            return Ok(Answer::No);
        }
        if unreadable > 0 {
            let places = if unreadable == 1 { "1 place".to_owned() } else { format!("{unreadable} places") };
            return Err(Failure::CouldNotTell(format!(
                "{places} that should hold a record cannot be read; what is shown is not all"
            )));
        }
        Ok(Answer::of(shown > 0))
    }
}

/// The report stands under a table; of what programs read it is kept apart.
fn tell(verified: &Verified, format: Format, of_events: bool) -> Result<(), Failure> {
    if of_events {
        output::note(
            "Events are not all the records, so nothing is said of missing ones; verify the webhook's log for that",
        );
    }
    if matches!(format, Format::Table | Format::Wide) {
        return output::print(&format!("\n{}", verified.text()));
    }
    output::note(verified.text().trim_end());
    Ok(())
}
