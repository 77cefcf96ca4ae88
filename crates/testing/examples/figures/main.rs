//! Records runs of benchmarks as the baseline, compares runs with it, and writes the tables of `docs/benchmarks.md`.
//!
//! ```text
//! figures record RUN…                          put runs of target/figures into benches/baseline.json, and write the page
//! figures compare [--all] [--report-only] RUN… print what differs from the baseline by more than the noise
//! figures page                                 write the page from the baseline
//! ```
//!
//! `RUN` is a name, or `NAME=RECORDED` if the run was recorded under another name.

use std::{error::Error, fs, process::ExitCode};

use writgate_testing::{
    figures::{PAGE, Run, Verdict, baseline, compare, fill, read_baseline, to_json},
    repository,
};

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (options, names): (Vec<&str>, Vec<&str>) =
        arguments.iter().skip(1).map(String::as_str).partition(|argument| argument.starts_with("--"));
    match arguments.first().map(String::as_str) {
        Some("record") => record(&names)?,
        Some("compare") => return report(&names, &options),
        Some("page") => write_page()?,
        _ => return Err("expected one of: record, compare, page".into()),
    }
    Ok(ExitCode::SUCCESS)
}

fn record(names: &[&str]) -> Result<(), Box<dyn Error>> {
    let mut runs = read_baseline()?;
    for name in names {
        runs.insert((*name).to_owned(), Run::read(name).map_err(|error| format!("no run {name}: {error}"))?);
    }
    fs::write(baseline(), to_json(&runs))?;
    println!("recorded {} in {}", names.join(", "), baseline().display());
    write_page()
}

fn write_page() -> Result<(), Box<dyn Error>> {
    let path = repository().join(PAGE);
    fs::write(&path, fill(&fs::read_to_string(&path)?, &read_baseline()?)?)?;
    println!("wrote {PAGE}");
    Ok(())
}

/// Fails if a figure is worse, unless the comparison is only reported.
fn report(names: &[&str], options: &[&str]) -> Result<ExitCode, Box<dyn Error>> {
    let runs = read_baseline()?;
    let all = options.contains(&"--all");
    let mut worse = 0;
    for name in names {
        let (name, recorded) = name.split_once('=').unwrap_or((name, name));
        let now = Run::read(name).map_err(|error| format!("no run {name}: {error}"))?;
        let Some(recorded) = runs.get(recorded) else {
            println!("{name}: nothing was recorded");
            continue;
        };
        let changes = compare(&now, recorded);
        println!("\n{name}: {}; recorded on {}: {}\n", now.conditions(), recorded.date, recorded.conditions());
        println!("| | figure | now | recorded | noise | |\n|---|---|---|---|---|---|");
        for change in changes.iter().filter(|change| all || change.verdict != Verdict::Same) {
            println!("{}", change.to_markdown());
        }
        let count = |verdict| changes.iter().filter(|change| change.verdict == verdict).count();
        println!(
            "\n{} worse, {} better, {} within the noise, {} not recorded yet",
            count(Verdict::Worse),
            count(Verdict::Better),
            count(Verdict::Same),
            count(Verdict::New)
        );
        worse += count(Verdict::Worse);
    }
    let fails = worse > 0 && !options.contains(&"--report-only");
    Ok(if fails { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
