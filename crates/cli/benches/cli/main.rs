//! `make bench-cli`: compares the command line with the least work that such a program can do, in one run.
//!
//! Every row measures the wall-clock time of a process, in turns with its floor. The floor of a start is `true`, of a verb over
//! a chart `cat` of the chart, and of `audit` `wc -l` of the log. The run asserts no time. It fails only if a command has an
//! unexpected outcome.

mod chart;
mod log;

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use clap::Parser;
use writgate_testing::figures::{self, Column, Figure, Run, Table, Unit};

/// Records of the large log. The small log has a tenth of them.
const RECORDS: u32 = 100_000;

/// Measure the command line
#[derive(Parser)]
struct Arguments {
    /// Rounds in which each row is measured
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Measure only the rows whose names contain TEXT
    #[arg(long, default_value = "")]
    only: String,
    /// Binary to measure [default: the one that was just built]
    #[arg(long, default_value = env!("CARGO_BIN_EXE_kubectl-writgate"))]
    plugin: PathBuf,
    /// Only write a log with this many sealed records to FILE, and its key to FILE.pub.pem
    #[arg(long, value_names = ["FILE", "RECORDS"], num_args = 2)]
    write_log: Vec<String>,
    /// Flag that `cargo bench` passes
    #[arg(long, hide = true)]
    bench: bool,
}

/// A command, its floor, and the goal for their ratio.
struct Row {
    name: &'static str,
    arguments: &'static str,
    floor: &'static str,
    code: i32,
    goal: Option<Duration>,
}

impl Row {
    const fn of(
        name: &'static str,
        arguments: &'static str,
        floor: &'static str,
        code: i32,
        goal: Option<u64>,
    ) -> Self {
        let goal = match goal {
            Some(milliseconds) => Some(Duration::from_millis(milliseconds)),
            None => None,
        };
        Self { name, arguments, floor, code, goal }
    }
}

const ROWS: [Row; 15] = [
    Row::of("start", "--version", "true", 0, Some(20)),
    Row::of("help", "approve --help", "true", 0, Some(20)),
    Row::of("hash", "hash -f chart.yaml -o json", "cat chart.yaml", 0, Some(200)),
    Row::of("verify", "verify -f chart.yaml --posture-dir postures", "cat chart.yaml", 1, Some(200)),
    Row::of(
        "request",
        "request -f part.yaml --posture-dir postures --requested-by alice@acme.example",
        "cat part.yaml",
        0,
        Some(200),
    ),
    Row::of(
        "review",
        "review -f part.yaml --posture-dir postures --requested-by alice@acme.example",
        "cat part.yaml",
        0,
        Some(200),
    ),
    Row::of(
        "approve",
        "approve -f part.yaml --key bob.pem --posture-dir postures --requested-by alice@acme.example --yes --full",
        "cat part.yaml",
        0,
        Some(200),
    ),
    Row::of(
        "select",
        "select -f part.yaml --approvals approval.json --posture-dir postures",
        "cat part.yaml",
        0,
        Some(200),
    ),
    Row::of("attach", "attach -f part.yaml --approval approval.json", "cat part.yaml", 0, Some(200)),
    Row::of("posture check", "posture check --posture-dir postures", "cat chart.yaml", 0, Some(200)),
    Row::of("audit, table", "audit --log log", "wc -l log", 0, Some(2000)),
    Row::of("audit, one person", "audit --log log --who nobody", "wc -l log", 1, Some(2000)),
    Row::of("audit -o json", "audit --log log -o json", "wc -l log", 0, Some(2000)),
    Row::of("audit -o csv", "audit --log log -o csv", "wc -l log", 0, Some(2000)),
    Row::of("audit --verify", "audit --log log --verify --key log.pub.pem", "wc -l log", 0, Some(1500)),
];

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if let [file, records] = &arguments.write_log[..] {
        fs::write(format!("{file}.pub.pem"), log::public_key()?)?;
        return log::write(Path::new(file), records.parse()?);
    }
    let folder = tempfile::tempdir()?;
    let plugin = fs::canonicalize(&arguments.plugin).with_context(|| arguments.plugin.display().to_string())?;
    chart::write(folder.path(), &plugin)?;
    log::write(&folder.path().join("log"), RECORDS)?;
    log::write(&folder.path().join("small"), RECORDS / 10)?;
    fs::write(folder.path().join("log.pub.pem"), log::public_key()?)?;
    let bench = Bench { folder: folder.path(), plugin: &plugin, rounds: arguments.rounds.max(1) };
    let mut run = Run::begin(&format!("{} rounds", bench.rounds));
    let rows: Vec<&Row> = ROWS.iter().filter(|row| row.name.contains(&arguments.only)).collect();
    let commands = rows.iter().map(|row| bench.time(row)).collect::<anyhow::Result<Vec<_>>>()?;
    let columns = vec![
        Column::new("ms", Unit::Ms),
        Column::new("floor, ms", Unit::Ms),
        Column::new("command / floor", Unit::Ratio),
    ];
    run.tables.push(Table { id: "commands".to_owned(), of: "command".to_owned(), columns, rows: commands });
    println!("\n{}", run.tables[0]);
    let logs = rows.iter().filter(|row| row.arguments.contains("--log log"));
    let memory = logs.map(|row| bench.peaks(row)).collect::<anyhow::Result<Vec<_>>>()?;
    let columns = [RECORDS / 10, RECORDS].map(|records| Column::new(&format!("{records} records"), Unit::Mib));
    let of = "peak of resident memory, MiB".to_owned();
    run.tables.push(Table { id: "memory".to_owned(), of, columns: columns.into(), rows: memory });
    println!("{}", run.tables[1]);
    if arguments.only.is_empty() {
        run.write("cli")?;
    }
    Ok(())
}

struct Bench<'a> {
    folder: &'a Path,
    plugin: &'a Path,
    rounds: usize,
}

impl Bench<'_> {
    fn time(&self, row: &Row) -> anyhow::Result<figures::Row> {
        let (mut times, mut floors, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..=self.rounds {
            let floor = self.once(self.command(row.floor, None), 0)?;
            let time = self.once(self.command(row.arguments, Some(self.plugin)), row.code)?;
            // The first round fills the caches of the file system.
            if round > 0 {
                times.push(time.as_secs_f64() * 1e3);
                floors.push(floor.as_secs_f64() * 1e3);
                ratios.push(time.div_duration_f64(floor));
            }
        }
        let goal = row.goal.map(|goal| goal.as_secs_f64() * 1e3);
        Ok(figures::Row::new(row.name, [times, floors, ratios].map(Figure::of).into()).goal(0, goal))
    }

    /// The peaks of resident memory with the small and the large log.
    fn peaks(&self, row: &Row) -> anyhow::Result<figures::Row> {
        let small = self.peak(&row.arguments.replace("--log log", "--log small"))?;
        Ok(figures::Row::new(row.name, [small, self.peak(row.arguments)?].map(|peak| Figure::of([peak])).into()))
    }

    fn command(&self, line: &str, plugin: Option<&Path>) -> Command {
        let mut words = line.split_whitespace();
        let program = plugin.unwrap_or_else(|| Path::new(words.next().unwrap_or_default()));
        let mut command = Command::new(program);
        command.args(words).current_dir(self.folder).stdin(Stdio::null());
        command
    }

    fn once(&self, mut command: Command, code: i32) -> anyhow::Result<Duration> {
        let log = self.folder.join("stderr");
        command.stdout(Stdio::null()).stderr(File::create(&log)?);
        let started = Instant::now();
        let status = command.status().with_context(|| format!("{command:?}"))?;
        let time = started.elapsed();
        if status.code() != Some(code) {
            bail!("{command:?} ended with {status}, expected {code}: {}", fs::read_to_string(log)?);
        }
        Ok(time)
    }

    /// The peak of resident memory in MiB, from the kernel's `VmHWM`.
    fn peak(&self, arguments: &str) -> anyhow::Result<f64> {
        let mut command = self.command(arguments, Some(self.plugin));
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let status = PathBuf::from(format!("/proc/{}/status", child.id()));
        let mut peak = 0.0_f64;
        while child.try_wait()?.is_none() {
            let text = fs::read_to_string(&status).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
            peak = peak.max(kib.unwrap_or_default() / 1024.0);
        }
        Ok(peak)
    }
}
