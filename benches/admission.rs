//! `make bench`: compares the webhook with its floor in one run, as ratios.
//!
//! Both are processes with TLS on loopback. Each round measures every row once, so that other load on the machine affects all
//! rows, and ratios are computed within a round. The run asserts no time. It fails only on a wrong decision, a failed request,
//! or a decision without its record.

mod approval;
mod floor;
mod folder;
mod load;
mod plan;
mod process;
mod report;
mod review;
mod stages;

use std::{
    ffi::OsString,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Duration,
};

use anyhow::Context;
use base64::{Engine, engine::general_purpose::STANDARD};
use clap::Parser;
use rustls::pki_types::{CertificateDer, pem::PemObject};

use crate::{
    load::{Bounds, Generator, Target, Verdict},
    plan::{FOLDERS, Plan, Row, RowId, Server},
    process::Process,
    report::{Footprint, Measurement, Report},
};

/// Threads of each server, as many as the webhook has by default.
const WORKERS: usize = 2;
/// Starts of a server to measure the time until it is ready. The last process stays.
const STARTS: usize = 5;
const FLOOR: &str = "the floor";
/// The limit of a burst on every machine.
const MOST_REQUESTS: usize = 200_000;

/// Compare the webhook with its floor
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    subcommand: Option<Subcommand>,
    /// Rounds in which each row is measured
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Duration of each measurement
    #[arg(long, default_value_t = 500)]
    milliseconds: u64,
    /// Measure only the cases whose names contain TEXT
    #[arg(long)]
    only: Option<String>,
    /// Binary to measure [default: the one that was just built]
    #[arg(long, default_value = env!("CARGO_BIN_EXE_writgate-webhook"))]
    webhook: PathBuf,
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
}

fn main() -> anyhow::Result<ExitCode> {
    rustls::crypto::ring::default_provider().install_default().ok().context("a provider is installed once")?;
    let arguments = Arguments::parse();
    match &arguments.subcommand {
        Some(Subcommand::Floor(arguments)) => return floor::serve(arguments).map(|()| ExitCode::SUCCESS),
        Some(Subcommand::Stages) => return stages::print().map(|()| ExitCode::SUCCESS),
        None => {}
    }
    let scratch = tempfile::tempdir()?;
    let certificate = Certificate::write(scratch.path())?;
    let mut plan = Plan::new()?;
    if let Some(name) = &arguments.only {
        plan.keep_only(name);
    }
    let mut bench = Bench {
        generator: Generator::new(CertificateDer::from_pem_file(&certificate.certificate)?)?,
        plan,
        footprints: Vec::new(),
        failures: Vec::new(),
    };
    bench.run(&arguments, &certificate, scratch.path())
}

struct Bench {
    generator: Generator,
    plan: Plan,
    footprints: Vec<Footprint>,
    failures: Vec<String>,
}

impl Bench {
    fn run(&mut self, arguments: &Arguments, certificate: &Certificate, scratch: &Path) -> anyhow::Result<ExitCode> {
        let mut floor = self.start_floor(certificate, scratch)?;
        let mut webhooks = Vec::new();
        for (index, (name, size)) in FOLDERS.into_iter().take(self.plan.folders.len().max(1)).enumerate() {
            let folder = scratch.join(index.to_string());
            folder::write(&folder, size)?;
            webhooks.push(self.start_webhook(name, &arguments.webhook, &folder, certificate)?);
        }

        let mut measured: Vec<Vec<Measurement>> = self.plan.rows.iter().map(|_| Vec::new()).collect();
        for round in 0..arguments.rounds {
            eprintln!("round {} of {}", round + 1, arguments.rounds);
            // Every second round runs backwards, so that a row does not always follow the same heavy row.
            let mut order: Vec<_> = self.plan.wanted().into_iter().collect();
            if round % 2 == 1 {
                order.reverse();
            }
            for id in order {
                let row = &self.plan.rows[id];
                let started = match row.server {
                    Server::Floor => &mut floor,
                    Server::Webhook(index) => &mut webhooks[index],
                };
                let time = Duration::from_millis(arguments.milliseconds);
                match self.measure(row, started, time)? {
                    Ok(measurement) => measured[id].push(measurement),
                    Err(failure) => self.failures.push(failure),
                }
            }
        }

        for started in std::iter::once(floor).chain(webhooks) {
            let Started { process, mut footprint, decisions } = started;
            footprint.loaded_mib = process.resident_mib()?;
            let records = process.stop();
            if footprint.name != FLOOR && records != decisions {
                self.failures.push(format!("{}: {decisions} decisions left {records} records", footprint.name));
            }
            self.footprints.push(footprint);
        }
        Report { plan: &self.plan, measured: &measured, footprints: &self.footprints }.print();
        for failure in &self.failures {
            eprintln!("FAILED: {failure}");
        }
        Ok(if self.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Warms up for a fifth of the time, and then measures a burst.
    fn measure(&self, row: &Row, started: &mut Started, time: Duration) -> anyhow::Result<Result<Measurement, String>> {
        let target = Target { address: started.process.address, review: row.review.clone(), verdict: row.verdict };
        let mut failure = None;
        let mut burst = |time| {
            let outcome = self.generator.burst(&target, row.connections, Bounds { time, requests: MOST_REQUESTS });
            if row.verdict != Verdict::NotAnAction {
                started.decisions += outcome.answers();
            }
            if let Some(first) = &outcome.first_failure {
                failure.get_or_insert(format!("{} of {:?}: {first}", outcome.failures, row.server));
            }
            outcome
        };
        burst(time / 5);
        let before = started.process.cpu_time()?;
        let outcome = burst(time);
        let cpu = started.process.cpu_time()?.saturating_sub(before);
        let (Some(p50), Some(p99)) = (outcome.percentile(50), outcome.percentile(99)) else {
            return Ok(Err(failure.unwrap_or_else(|| format!("{:?}: no answer in time", row.server))));
        };
        let cpu = cpu.div_f64(f64::from(u32::try_from(outcome.answers())?));
        Ok(failure.map_or(Ok(Measurement { cpu, p50, p99 }), Err))
    }

    fn start_floor(&self, certificate: &Certificate, scratch: &Path) -> anyhow::Result<Started> {
        let public_key = STANDARD.encode(approval::key(0).verifying_key().as_bytes());
        let this = std::env::current_exe()?;
        self.start(FLOOR, self.plan.floor_create, &scratch.join("floor.log"), |address| {
            let mut command = Command::new(&this);
            command.args(["floor", "--public-key", &public_key]).args(certificate.flags(address));
            command
        })
    }

    fn start_webhook(
        &self,
        name: &'static str,
        webhook: &Path,
        folder: &Path,
        certificate: &Certificate,
    ) -> anyhow::Result<Started> {
        self.start(name, self.plan.create, &folder.with_extension("log"), |address| {
            let mut command = Command::new(webhook);
            command.arg("--posture-dir").arg(folder).args(certificate.flags(address));
            // The metrics are not read, but counting them is part of the work.
            command.args(["--admin-listen", "127.0.0.1:0", "--drain", "0s"]);
            command
        })
    }

    /// Starts a server several times to measure the time until it is ready. The last process stays.
    fn start(
        &self,
        name: &'static str,
        first: RowId,
        log: &Path,
        command: impl Fn(SocketAddr) -> Command,
    ) -> anyhow::Result<Started> {
        let first = &self.plan.rows[first];
        let first = |address| Target { address, review: first.review.clone(), verdict: first.verdict };
        let mut times_to_ready = Vec::new();
        loop {
            let (process, time) = Process::start(&self.generator, first, log, &command)?;
            times_to_ready.push(time);
            if times_to_ready.len() == STARTS {
                let footprint = Footprint { name, times_to_ready, idle_mib: process.resident_mib()?, loaded_mib: 0.0 };
                return Ok(Started { process, footprint, decisions: 1 });
            }
            process.stop();
        }
    }
}

/// A running server and its measurements.
struct Started {
    process: Process,
    footprint: Footprint,
    /// The number of admissions and denials in its answers.
    decisions: usize,
}

/// A certificate for `localhost`, and its key, in files.
struct Certificate {
    certificate: PathBuf,
    key: PathBuf,
}

impl Certificate {
    fn write(folder: &Path) -> anyhow::Result<Self> {
        let rcgen::CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let written = Self { certificate: folder.join("tls.crt"), key: folder.join("tls.key") };
        fs::write(&written.certificate, cert.pem())?;
        fs::write(&written.key, signing_key.serialize_pem())?;
        Ok(written)
    }

    /// The flags that both servers have.
    fn flags(&self, listen: SocketAddr) -> Vec<OsString> {
        vec![
            "--listen".into(),
            listen.to_string().into(),
            "--tls-cert-file".into(),
            self.certificate.clone().into(),
            "--tls-private-key-file".into(),
            self.key.clone().into(),
            "--workers".into(),
            WORKERS.to_string().into(),
        ]
    }
}
