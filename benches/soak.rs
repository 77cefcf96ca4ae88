//! `make bench-soak`: sends many mixed reviews, compares every verdict, and watches the webhook's resident memory.

use std::{
    path::Path,
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustls::pki_types::{CertificateDer, pem::PemObject};
use writgate_testing::figures::{Column, Figure, Row, Run, Table, Unit};

use crate::{
    folder::{self, Size},
    load::{Bounds, Generator, Request, Target},
    plan::Plan,
    servers::{Build, Certificate, Starter},
};

/// The approvals are valid for an hour.
const TIME_LIMIT: Duration = Duration::from_mins(50);
/// A larger growth between the first and the last quarter fails the run.
const MOST_GROWTH: f64 = 1.1;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Reviews to send
    #[arg(long, default_value_t = 1_000_000)]
    reviews: usize,
    /// Connections
    #[arg(long, default_value_t = 64)]
    connections: usize,
}

pub(crate) fn run(arguments: &Arguments, webhook: &Path) -> anyhow::Result<ExitCode> {
    let plan = Plan::new()?;
    let scratch = tempfile::tempdir()?;
    let certificate = Certificate::write(scratch.path())?;
    let generator = Generator::new(CertificateDer::from_pem_file(&certificate.certificate)?, None)?;
    let servers = Starter { generator: &generator, certificate: &certificate, scratch: scratch.path(), starts: 1 };
    let folder = scratch.path().join("folder");
    folder::write(&folder, Size::SMALLEST)?;
    let mut run = Run::begin(&format!("{} connections", arguments.connections));
    let started = servers.webhook(("soak", Build::This), webhook, &folder, &plan.rows[plan.create])?;

    let reviews = plan.reviews();
    let requests: Vec<_> = reviews.iter().map(|(review, verdict)| Request::review(review, *verdict)).collect();
    let target = Target { address: started.process.address, requests };
    let bounds = Bounds { time: TIME_LIMIT, requests: arguments.reviews };
    let is_over = AtomicBool::new(false);
    let began = Instant::now();
    let (outcome, resident) = thread::scope(|scope| {
        let sampler = scope.spawn(|| {
            let mut samples = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                samples.extend(started.process.resident_mib().ok());
                thread::sleep(Duration::from_millis(50));
            }
            samples
        });
        let outcome = generator.burst(&target, arguments.connections, bounds);
        is_over.store(true, Ordering::Relaxed);
        (outcome, sampler.join().unwrap_or_default())
    });
    let seconds = began.elapsed().as_secs_f64();
    let (decisions, records) = (started.decisions + outcome.decisions, started.process.stop());

    let quarter = resident.len() / 4;
    let first = Figure::of(resident[..quarter].iter().copied());
    let last = Figure::of(resident[resident.len() - quarter..].iter().copied());
    let growth = first.zip(last).map(|(first, last)| last.median / first.median);
    let count = |number: usize| Figure::of(u32::try_from(number).map(f64::from));
    run.tables = vec![Table {
        id: "soak".to_owned(),
        of: "mixed reviews".to_owned(),
        columns: vec![
            Column::shown("reviews", Unit::Count),
            Column::new("wrong answers", Unit::Count),
            Column::shown("resident in the first quarter, MiB", Unit::Mib),
            Column::shown("in the last quarter, MiB", Unit::Mib),
            Column::new("last / first", Unit::Ratio),
        ],
        rows: vec![
            Row::new(
                &format!("{} kinds in turns", reviews.len()),
                vec![
                    count(outcome.answers()),
                    count(outcome.failures),
                    first,
                    last,
                    growth.and_then(|growth| Figure::of([growth])),
                ],
            )
            .goal(1, Some(0.0))
            .goal(4, Some(MOST_GROWTH)),
        ],
    }];
    println!("{}, {}, {seconds:.0} s\n\n{}", run.conditions(), run.options, run.tables[0]);
    run.write("soak")?;

    let mut failures: Vec<String> =
        outcome.first_failure.iter().map(|first| format!("{} answers: {first}", outcome.failures)).collect();
    if outcome.answers() < arguments.reviews {
        failures.push(format!("{} of {} reviews were answered", outcome.answers(), arguments.reviews));
    }
    if growth.is_none_or(|growth| growth > MOST_GROWTH) {
        failures.push(format!("resident memory grew by {growth:?} from the first quarter to the last"));
    }
    if records != decisions {
        failures.push(format!("{decisions} decisions left {records} records"));
    }
    for failure in &failures {
        eprintln!("FAILED: {failure}");
    }
    Ok(if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
