//! The report: measurements as ratios, in Markdown.

use std::time::Duration;

use crate::plan::{FOLDERS, Plan, RowId};

/// One row in one round.
pub(crate) struct Measurement {
    /// Processor time of the server per review.
    pub(crate) cpu: Duration,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
}

/// Start time and memory of a server.
pub(crate) struct Footprint {
    pub(crate) name: &'static str,
    /// From the start of the process to its first expected answer.
    pub(crate) times_to_ready: Vec<Duration>,
    /// Resident memory after the first answer, in MiB.
    pub(crate) idle_mib: f64,
    /// Resident memory after the last one, in MiB.
    pub(crate) loaded_mib: f64,
}

pub(crate) struct Report<'a> {
    pub(crate) plan: &'a Plan,
    /// In the order of the plan's rows, one measurement for each round.
    pub(crate) measured: &'a [Vec<Measurement>],
    /// The floor's, then the webhooks' in the order of the folders.
    pub(crate) footprints: &'a [Footprint],
}

impl Report<'_> {
    pub(crate) fn print(&self) {
        self.print_cases();
        if !self.plan.sizes.is_empty() {
            self.print_sizes();
        }
        if !self.plan.folders.is_empty() {
            self.print_folders();
        }
        self.print_footprints();
    }

    fn print_cases(&self) {
        head(&["webhook / floor", "CPU per review", "p50", "p99", "CPU, floor on the same review"]);
        for case in &self.plan.cases {
            row(&[
                case.name.clone(),
                self.ratio(case.webhook, case.floor, |measured| measured.cpu),
                self.ratio(case.webhook, case.floor, |measured| measured.p50),
                self.ratio(case.webhook, case.floor, |measured| measured.p99),
                case.floor_on_same
                    .map_or_else(String::new, |same| self.ratio(case.webhook, same, |measured| measured.cpu)),
            ]);
        }
        let floor = self.plan.floor_create;
        println!(
            "\nThe floor itself on CREATE: {} µs of CPU per review, p50 {} µs, p99 {} µs.",
            self.microseconds(floor, |measured| measured.cpu),
            self.microseconds(floor, |measured| measured.p50),
            self.microseconds(floor, |measured| measured.p99),
        );
    }

    fn print_sizes(&self) {
        head(&["size of the review", "CPU, webhook / floor", "CPU per added KiB, relative to the first step"]);
        let added_per_kib = |window: &[crate::plan::SizeStep]| -> Option<f64> {
            let [smaller, larger] = window else { return None };
            let added = self.median(larger.webhook, |measured| measured.cpu)?
                - self.median(smaller.webhook, |measured| measured.cpu)?;
            Some(added / kib(larger.review_length - smaller.review_length))
        };
        let first = self.plan.sizes.get(..2).and_then(added_per_kib);
        for (index, size) in self.plan.sizes.iter().enumerate() {
            let added = index.checked_sub(1).and_then(|before| added_per_kib(&self.plan.sizes[before..=index]));
            row(&[
                format!("{:.0} KiB", kib(size.review_length)),
                self.ratio(size.webhook, size.floor, |measured| measured.cpu),
                added.zip(first).map_or_else(String::new, |(added, first)| format!("{:.2}", added / first)),
            ]);
        }
    }

    fn print_folders(&self) {
        head(&["folder / one of each", "CPU per review", "p50", "p99"]);
        let Some((&one, others)) = self.plan.folders.split_first() else { return };
        for (&folder, (name, _)) in others.iter().zip(&FOLDERS[1..]) {
            row(&[
                name.to_string(),
                self.ratio(folder, one, |measured| measured.cpu),
                self.ratio(folder, one, |measured| measured.p50),
                self.ratio(folder, one, |measured| measured.p99),
            ]);
        }
    }

    fn print_footprints(&self) {
        head(&["server", "time to ready, ms", "resident idle, MiB", "resident after the run, MiB"]);
        for footprint in self.footprints {
            row(&[
                footprint.name.to_owned(),
                Spread::of(footprint.times_to_ready.iter().map(|time| time.as_secs_f64() * 1e3)).whole(),
                format!("{:.1}", footprint.idle_mib),
                format!("{:.1}", footprint.loaded_mib),
            ]);
        }
    }

    /// Ratios within each round, since other load on the machine affects both values of a round.
    fn ratio(&self, of: RowId, to: RowId, quantity: impl Fn(&Measurement) -> Duration) -> String {
        let rounds = self.measured[of].iter().zip(&self.measured[to]);
        Spread::of(rounds.map(|(of, to)| quantity(of).div_duration_f64(quantity(to)))).ratio()
    }

    fn microseconds(&self, of: RowId, quantity: impl Fn(&Measurement) -> Duration) -> String {
        Spread::of(self.measured[of].iter().map(|measured| quantity(measured).as_secs_f64() * 1e6)).whole()
    }

    fn median(&self, of: RowId, quantity: impl Fn(&Measurement) -> Duration) -> Option<f64> {
        let spread = Spread::of(self.measured[of].iter().map(|measured| quantity(measured).as_secs_f64()));
        spread.0.get(spread.0.len() / 2).copied()
    }
}

/// A quantity over the rounds, sorted.
struct Spread(Vec<f64>);

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_unstable_by(f64::total_cmp);
        Self(values)
    }

    /// `**1.21** (1.18–1.25)`: median, least, most.
    fn ratio(&self) -> String {
        match &self.0[..] {
            [] => "–".to_owned(),
            [least, .., most] => format!("**{:.2}** ({least:.2}–{most:.2})", self.0[self.0.len() / 2]),
            [only] => format!("**{only:.2}**"),
        }
    }

    /// As above, in whole units.
    fn whole(&self) -> String {
        match &self.0[..] {
            [] => "–".to_owned(),
            [least, .., most] => format!("{:.0} ({least:.0}–{most:.0})", self.0[self.0.len() / 2]),
            [only] => format!("{only:.0}"),
        }
    }
}

fn head(columns: &[&str]) {
    println!("\n| {} |\n|{}", columns.join(" | "), "---|".repeat(columns.len()));
}

fn row(cells: &[String]) {
    println!("| {} |", cells.join(" | "));
}

#[expect(clippy::cast_precision_loss, reason = "sizes of reviews are far below 2^52")]
fn kib(bytes: usize) -> f64 {
    bytes as f64 / 1024.0
}
