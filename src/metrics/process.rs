//! The metrics of the process, under the names that Prometheus' client libraries share
//! (<https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics>). A value that `/proc` does not have is left out.

use std::fmt;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

/// Reads the process's metrics when they are scraped.
#[derive(Debug)]
pub(super) struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut add = |name: &str, help: &str, kind: MetricType, value: Option<f64>| -> fmt::Result {
            let Some(value) = value else { return Ok(()) };
            let encoder: MetricEncoder<'_> = encoder.encode_descriptor(name, help, None, kind)?;
            match kind {
                MetricType::Counter => ConstCounter::new(value).encode(encoder),
                _ => ConstGauge::new(value).encode(encoder),
            }
        };
        let stat = Stat::read();
        let stat = stat.as_ref();
        add("process_cpu_seconds", "User and system CPU time", MetricType::Counter, stat.map(|stat| stat.cpu_seconds))?;
        add(
            "process_resident_memory_bytes",
            "Resident memory",
            MetricType::Gauge,
            stat.map(|stat| stat.resident_bytes),
        )?;
        add("process_virtual_memory_bytes", "Virtual memory", MetricType::Gauge, stat.map(|stat| stat.virtual_bytes))?;
        add(
            "process_start_time_seconds",
            "Start of the process, in seconds since the Unix epoch",
            MetricType::Gauge,
            stat.and_then(Stat::start_time),
        )?;
        add("process_open_fds", "Open file descriptors", MetricType::Gauge, open_files())?;
        add("process_max_fds", "Limit of open file descriptors", MetricType::Gauge, max_files())
    }
}

/// Fields of `/proc/self/stat` (proc(5)).
struct Stat {
    cpu_seconds: f64,
    resident_bytes: f64,
    virtual_bytes: f64,
    /// Since the system booted.
    started_seconds: f64,
}

impl Stat {
    fn read() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        Self::parse(&stat)
    }

    fn parse(stat: &str) -> Option<Self> {
        // The second field is the program's name in parentheses, which may contain anything.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |number: usize| fields.get(number.checked_sub(3)?)?.parse::<u32>().ok().map(f64::from);
        let long_field = |number: usize| fields.get(number.checked_sub(3)?)?.parse::<u64>().ok().map(lossy);
        let ticks = lossy(clock_ticks_per_second());
        Some(Self {
            cpu_seconds: (long_field(14)? + long_field(15)?) / ticks,
            started_seconds: long_field(22)? / ticks,
            virtual_bytes: long_field(23)?,
            resident_bytes: field(24)? * lossy(page_size() as u64),
        })
    }

    fn start_time(&self) -> Option<f64> {
        let stat = fs::read_to_string("/proc/stat").ok()?;
        let booted = stat.lines().find_map(|line| line.strip_prefix("btime "))?.parse::<u32>().ok()?;
        Some(f64::from(booted) + self.started_seconds)
    }
}

fn open_files() -> Option<f64> {
    let count = fs::read_dir("/proc/self/fd").ok()?.count();
    // One of them is the folder itself, which is open while it is read.
    u32::try_from(count.saturating_sub(1)).ok().map(f64::from)
}

fn max_files() -> Option<f64> {
    getrlimit(Resource::Nofile).current.map(lossy)
}

#[expect(clippy::cast_precision_loss, reason = "a metric is a double, and 2^53 bytes are enough")]
fn lossy(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_program_whose_name_has_spaces_and_parentheses() {
        let stat =
            "7 (a) b (c) S 1 7 7 0 -1 4194560 1 2 3 4 250 150 0 0 20 0 4 0 1234 50000000 2000 18446744073709551615";
        let stat = Stat::parse(stat).expect("a stat line");
        assert!((stat.cpu_seconds - 400.0 / lossy(clock_ticks_per_second())).abs() < 1e-9);
        assert!((stat.virtual_bytes - 5e7).abs() < 1e-9);
        assert!((stat.resident_bytes - 2000.0 * lossy(page_size() as u64)).abs() < 1e-9);
        assert!(Stat::parse("7 (a) S 1").is_none());
    }

    #[test]
    fn reads_this_process() {
        let stat = Stat::read().expect("/proc");
        assert!(stat.resident_bytes > 1e6 && stat.virtual_bytes >= stat.resident_bytes);
        assert!(stat.start_time().is_some_and(|started| started > 1.7e9));
        assert!(open_files().is_some_and(|open| open >= 1.0));
    }
}
