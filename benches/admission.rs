//! `make bench`: compares the webhook with its floor in one run, as ratios.
//!
//! Both are processes with TLS on loopback. Each round measures every row once, so that other load on the machine affects all
//! rows, and ratios are computed within a round. The run asserts no time. It fails only on a wrong decision, a failed request,
//! or a decision without its record. The figures are written to `target/figures/` as well; `make bench-check` compares them
//! with `benches/baseline.json`.

mod approval;
mod e2e;
mod floor;
mod folder;
mod instructions;
mod load;
mod plan;
mod process;
mod report;
mod review;
mod servers;
mod soak;
mod stages;

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context;
use clap::Parser;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use writgate_testing::figures::Run;

use crate::{
    load::{Bounds, Generator, Target},
    plan::{FOLDERS, Plan, Row, Server},
    report::{Footprint, Measured, Measurement, Report},
    servers::{Build, Certificate, FLOOR, Started, Starter},
};

/// The limit of a burst on every machine.
const MOST_REQUESTS: usize = 200_000;

/// Compare the webhook with its floor
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    subcommand: Option<Subcommand>,
    /// Rounds in which each row is measured [default: 7, or 5 with --short]
    #[arg(long)]
    rounds: Option<usize>,
    /// Duration of each measurement [default: 500, or 200 with --short]
    #[arg(long)]
    milliseconds: Option<u64>,
    /// Measure only the cases whose names contain TEXT
    #[arg(long, value_name = "TEXT", conflicts_with = "short")]
    only: Option<String>,
    /// Measure only creations and the posture folders, in less than a minute
    #[arg(long)]
    short: bool,
    /// Binary to measure [default: the one that was just built]
    #[arg(long, global = true, default_value = env!("CARGO_BIN_EXE_writgate-webhook"))]
    webhook: PathBuf,
    /// Another binary of the webhook to measure in the same rounds; its columns are named "before"
    #[arg(long, value_name = "WEBHOOK")]
    compare: Option<PathBuf>,
    /// Flag that `cargo bench` passes
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

#[derive(clap::Subcommand)]
enum Subcommand {
    /// Serve the floor
    Floor(floor::Arguments),
    /// Measure the stages of a decision on one thread, without a server
    Stages,
    /// Measure what a webhook adds to writes through a real API server
    E2e(e2e::Arguments),
    /// Send a number of mixed reviews, compare every verdict, and watch the resident memory
    Soak(soak::Arguments),
    /// Answer the review of a case again and again, without a server, for a count of instructions
    Instructions {
        /// Name of the case, as the table of a run prints it
        case: String,
        /// Number of answers
        times: usize,
    },
}

fn main() -> anyhow::Result<ExitCode> {
    rustls::crypto::ring::default_provider().install_default().ok().context("a provider is installed once")?;
    let arguments = Arguments::parse();
    match &arguments.subcommand {
        Some(Subcommand::Floor(arguments)) => return floor::serve(arguments).map(|()| ExitCode::SUCCESS),
        Some(Subcommand::Stages) => return stages::print().map(|()| ExitCode::SUCCESS),
        Some(Subcommand::E2e(options)) => return e2e::run(options).map(|()| ExitCode::SUCCESS),
        Some(Subcommand::Soak(options)) => return soak::run(options, &arguments.webhook),
        Some(Subcommand::Instructions { case, times }) => {
            return instructions::run(case, *times).map(|()| ExitCode::SUCCESS);
        }
        None => {}
    }
    let scratch = tempfile::tempdir()?;
    let certificate = Certificate::write(scratch.path())?;
    let mut plan = Plan::new()?;
    if let Some(name) = &arguments.only {
        plan.keep_only(name);
    } else if arguments.short {
        plan.keep_short();
    }
    let bench = Bench {
        rounds: arguments.rounds.unwrap_or(if arguments.short { 5 } else { 7 }).max(1),
        time: Duration::from_millis(arguments.milliseconds.unwrap_or(if arguments.short { 200 } else { 500 })),
        builds: [(Build::This, Some(arguments.webhook)), (Build::Before, arguments.compare)]
            .into_iter()
            .filter_map(|(build, program)| program.map(|program| (build, program)))
            .collect(),
        generator: Generator::new(CertificateDer::from_pem_file(&certificate.certificate)?, None)?,
        plan,
        failures: Vec::new(),
        measured: Measured::new(),
        footprints: Vec::new(),
    };
    let starts = if arguments.short { 2 } else { 5 };
    // The figures of selected rows are not those of a run.
    let name = match (&arguments.only, arguments.short) {
        (Some(_), _) => None,
        (None, true) => Some("short"),
        (None, false) => Some("admission"),
    };
    bench.run(&certificate, scratch.path(), starts, name)
}

/// The webhooks by folder and build.
type Webhooks = HashMap<(usize, Build), Started>;

struct Bench {
    rounds: usize,
    time: Duration,
    builds: Vec<(Build, PathBuf)>,
    generator: Generator,
    plan: Plan,
    failures: Vec<String>,
    measured: Measured,
    footprints: Vec<Footprint>,
}

impl Bench {
    /// Starts the servers, measures every row in each round, and reports. `name` is the name under which the run is written.
    fn run(
        mut self,
        certificate: &Certificate,
        scratch: &Path,
        starts: usize,
        name: Option<&str>,
    ) -> anyhow::Result<ExitCode> {
        let mut run = Run::begin(&format!("{} rounds of {} ms", self.rounds, self.time.as_millis()));
        let (mut floor, mut webhooks) = self.start(certificate, scratch, starts)?;
        for round in 0..self.rounds {
            eprintln!("round {} of {}", round + 1, self.rounds);
            // Every second round runs backwards, so that a row does not always follow the same heavy row.
            let mut order: Vec<_> = self.plan.wanted().into_iter().collect();
            if round % 2 == 1 {
                order.reverse();
            }
            for id in order {
                match self.plan.rows[id].server {
                    Server::Floor => self.measure((id, Build::This), &mut floor)?,
                    Server::Webhook(folder) => {
                        for index in 0..self.builds.len() {
                            let build = self.builds[index].0;
                            let started = webhooks.get_mut(&(folder, build)).context("every webhook was started")?;
                            self.measure((id, build), started)?;
                        }
                    }
                }
            }
        }
        self.stop(floor, webhooks)?;
        let builds: Vec<_> = self.builds.iter().map(|(build, _)| *build).collect();
        let megabytes = self.builds.iter().map(|(_, program)| megabytes(program));
        run.tables = Report {
            plan: &self.plan,
            measured: &self.measured,
            footprints: &self.footprints,
            builds: &builds,
            megabytes: &megabytes.collect::<anyhow::Result<Vec<_>>>()?,
        }
        .tables();
        println!("\n{}, {}", run.conditions(), run.options);
        for table in &run.tables {
            println!("\n{table}");
        }
        if let Some(name) = name {
            run.write(name)?;
        }
        for failure in &self.failures {
            eprintln!("FAILED: {failure}");
        }
        Ok(if self.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn start(&self, certificate: &Certificate, scratch: &Path, starts: usize) -> anyhow::Result<(Started, Webhooks)> {
        let servers = Starter { generator: &self.generator, certificate, scratch, starts };
        let floor = servers.floor(&self.plan.rows[self.plan.floor_create])?;
        let mut webhooks = HashMap::new();
        for (index, (name, size)) in FOLDERS.into_iter().take(self.plan.folders.len().max(1)).enumerate() {
            let folder = scratch.join(index.to_string());
            folder::write(&folder, size)?;
            for (build, program) in &self.builds {
                let started = servers.webhook((name, *build), program, &folder, &self.plan.rows[self.plan.create])?;
                webhooks.insert((index, *build), started);
            }
        }
        Ok((floor, webhooks))
    }

    /// Stops the servers in the order of the folders, and compares the numbers of decisions and records.
    fn stop(&mut self, floor: Started, mut webhooks: Webhooks) -> anyhow::Result<()> {
        let mut order: Vec<_> = webhooks.keys().copied().collect();
        order.sort_unstable_by_key(|(folder, build)| (*folder, *build != Build::This));
        let webhooks = order.iter().filter_map(|key| webhooks.remove(key));
        for started in std::iter::once(floor).chain(webhooks) {
            let Started { process, mut footprint, decisions } = started;
            footprint.loaded_mib = process.resident_mib()?;
            let records = process.stop();
            if footprint.name != FLOOR && records != decisions {
                let name = footprint.build.label(footprint.name);
                self.failures.push(format!("{name}: {decisions} decisions left {records} records"));
            }
            self.footprints.push(footprint);
        }
        Ok(())
    }

    /// Warms up for a fifth of the time, and then measures a burst.
    fn measure(&mut self, id: (usize, Build), started: &mut Started) -> anyhow::Result<()> {
        let row: &Row = &self.plan.rows[id.0];
        let target = Target::review(started.process.address, &row.review, row.verdict);
        let mut failure = None;
        let mut burst = |time| {
            let outcome = self.generator.burst(&target, row.connections, Bounds { time, requests: MOST_REQUESTS });
            started.decisions += outcome.decisions;
            if let Some(first) = &outcome.first_failure {
                failure.get_or_insert(format!("{} of {:?}, {:?}: {first}", outcome.failures, row.server, id.1));
            }
            outcome
        };
        burst(self.time / 5);
        let before = started.process.cpu_time()?;
        let outcome = burst(self.time);
        let cpu = started.process.cpu_time()?.saturating_sub(before);
        if let (Some(p50), Some(p99)) = (outcome.percentile(0, 50), outcome.percentile(0, 99)) {
            let cpu = cpu.div_f64(f64::from(u32::try_from(outcome.answers())?));
            self.measured.entry(id).or_default().push(Measurement { cpu, p50, p99 });
        } else {
            failure.get_or_insert(format!("{:?}: no answer in time", row.server));
        }
        self.failures.extend(failure);
        Ok(())
    }
}

/// The size of a program, in 10^6 bytes. The release profile strips it.
fn megabytes(program: &Path) -> anyhow::Result<f64> {
    let bytes = fs::metadata(program).with_context(|| program.display().to_string())?.len();
    Ok(f64::from(u32::try_from(bytes)?) / 1e6)
}
