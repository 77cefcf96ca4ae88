//! The report: measurements as tables of ratios.

use std::{collections::HashMap, time::Duration};

use writgate_testing::figures::{Column, Figure, Row, Table, Unit};

use crate::{
    plan::{Case, FOLDERS, Plan, RowId, SizeStep},
    servers::Build,
};

/// One row in one round.
pub(crate) struct Measurement {
    /// Processor time of the server per review.
    pub(crate) cpu: Duration,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
}

/// The rounds of each row. Rows of the floor belong to [`Build::This`].
pub(crate) type Measured = HashMap<(RowId, Build), Vec<Measurement>>;

/// Start time and memory of a server.
pub(crate) struct Footprint {
    pub(crate) name: &'static str,
    pub(crate) build: Build,
    /// From the start of the process to its first expected answer.
    pub(crate) times_to_ready: Vec<Duration>,
    /// Resident memory after the first answer, in MiB.
    pub(crate) idle_mib: f64,
    /// Resident memory after the last one, in MiB.
    pub(crate) loaded_mib: f64,
}

pub(crate) struct Report<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) measured: &'a Measured,
    /// The floor's, then the webhooks' in the order of the folders.
    pub(crate) footprints: &'a [Footprint],
    /// The builds of the webhook that were measured.
    pub(crate) builds: &'a [Build],
    /// The size of each build's program, in 10^6 bytes.
    pub(crate) megabytes: &'a [f64],
}

type Quantity = (&'static str, fn(&Measurement) -> Duration);

const QUANTITIES: [Quantity; 3] =
    [("CPU per review", |measured| measured.cpu), ("p50", |measured| measured.p50), ("p99", |measured| measured.p99)];

/// Goals of the smallest folder: for resident memory when idle in MiB, for the time to ready in ms, and for the program in 10^6 bytes.
const IDLE_GOAL: f64 = 12.0;
const READY_GOAL: f64 = 300.0;
const PROGRAM_GOAL: f64 = 10.0;
/// The goal for a large folder, relative to the smallest one.
const FLAT_GOAL: f64 = 1.1;

impl Report<'_> {
    pub(crate) fn tables(&self) -> Vec<Table> {
        let mut tables = vec![self.cases()];
        if !self.plan.sizes.is_empty() {
            tables.push(self.sizes());
        }
        if !self.plan.folders.is_empty() {
            tables.push(self.folders());
        }
        tables.extend([self.floor(), self.footprints(), self.programs()]);
        tables
    }

    fn cases(&self) -> Table {
        let mut columns = self.columns(QUANTITIES.map(|(name, _)| name));
        columns.push(Column::new("CPU, floor on the same review", Unit::Ratio));
        let row = |case: &Case| {
            let mut figures = Vec::new();
            for (_, quantity) in QUANTITIES {
                for &build in self.builds {
                    // The floor's own row has no other build.
                    figures.push(self.ratio((case.webhook, build), case.floor, quantity));
                }
            }
            figures.push(
                case.floor_on_same
                    .and_then(|same| self.ratio((case.webhook, Build::This), same, |measured| measured.cpu)),
            );
            let [p50, p99] = [1, 2].map(|quantity| quantity * self.builds.len());
            Row::new(&case.name, figures).goal(0, case.goal).goal(p50, case.latency_goal).goal(p99, case.latency_goal)
        };
        table("reviews", "webhook / floor", columns, self.plan.cases.iter().map(row))
    }

    fn floor(&self) -> Table {
        let floor = self.measured.get(&(self.plan.floor_create, Build::This));
        let figures = QUANTITIES.map(|(_, quantity)| {
            Figure::of(floor.into_iter().flatten().map(|measured| quantity(measured).as_secs_f64() * 1e6))
        });
        let columns = QUANTITIES.map(|(name, _)| Column::new(&format!("{name}, µs"), Unit::Us));
        table("floor", "the floor itself", columns.into(), [Row::new("CREATE, 64 connections", figures.into())])
    }

    fn sizes(&self) -> Table {
        let added_per_kib = |window: &[SizeStep]| -> Option<f64> {
            let [smaller, larger] = window else { return None };
            let added = self.median_cpu(larger.webhook)? - self.median_cpu(smaller.webhook)?;
            Some(added / kib(larger.review_length - smaller.review_length))
        };
        let first = self.plan.sizes.get(..2).and_then(added_per_kib);
        let mut columns = self.columns(["CPU per review, webhook / floor"]);
        // It is the quotient of two differences, which is too unsteady to be compared.
        columns.push(Column::shown("CPU per added KiB, relative to the first step", Unit::Ratio));
        let rows = self.plan.sizes.iter().enumerate().map(|(index, size)| {
            let added = index.checked_sub(1).and_then(|before| added_per_kib(&self.plan.sizes[before..=index]));
            let ratios =
                self.builds.iter().map(|&build| self.ratio((size.webhook, build), size.floor, |measured| measured.cpu));
            let mut figures: Vec<_> = ratios.collect();
            figures.push(added.zip(first).and_then(|(added, first)| Figure::of([added / first])));
            Row::new(&format!("{:.0} KiB", kib(size.review_length)), figures)
        });
        table("sizes", "size of the review", columns, rows)
    }

    fn folders(&self) -> Table {
        let others = self.plan.folders.iter().zip(&FOLDERS).skip(1);
        let rows = others.map(|(&folder, (name, _))| {
            let quantities = QUANTITIES.into_iter().flat_map(|(_, quantity)| {
                self.builds
                    .iter()
                    .map(move |&build| self.ratio_of((folder, build), (self.plan.folders[0], build), quantity))
            });
            Row::new(name, quantities.collect()).goal(0, Some(FLAT_GOAL))
        });
        table("folders", "folder / one of each", self.columns(QUANTITIES.map(|(name, _)| name)), rows)
    }

    fn footprints(&self) -> Table {
        let columns = vec![
            Column::new("time to ready, ms", Unit::Ms),
            Column::new("resident idle, MiB", Unit::Mib),
            // It depends on the number of answers in the time of a run.
            Column::shown("resident after the run, MiB", Unit::Mib),
        ];
        let rows = self.footprints.iter().map(|footprint| {
            let ready = Figure::of(footprint.times_to_ready.iter().map(|time| time.as_secs_f64() * 1e3));
            let figures = vec![ready, Figure::of([footprint.idle_mib]), Figure::of([footprint.loaded_mib])];
            let row = Row::new(&footprint.build.label(footprint.name), figures);
            if footprint.name == FOLDERS[0].0 && footprint.build == Build::This {
                row.goal(0, Some(READY_GOAL)).goal(1, Some(IDLE_GOAL))
            } else {
                row
            }
        });
        table("footprints", "server", columns, rows)
    }

    fn programs(&self) -> Table {
        let figures = self.megabytes.iter().map(|&megabytes| Figure::of([megabytes]));
        let row = Row::new("writgate-webhook, stripped", figures.collect()).goal(0, Some(PROGRAM_GOAL));
        let columns = self.builds.iter().map(|build| Column::new(&build.label("size, MB"), Unit::Mb));
        table("programs", "program", columns.collect(), [row])
    }

    /// A column of ratios for each quantity and build.
    fn columns<const N: usize>(&self, names: [&str; N]) -> Vec<Column> {
        let column = |name: &str, build: &Build| match build {
            Build::This => Column::new(name, Unit::Ratio),
            Build::Before => Column::shown(&build.label(name), Unit::Ratio),
        };
        names.iter().flat_map(|name| self.builds.iter().map(move |build| column(name, build))).collect()
    }

    /// The ratio of a webhook's row to a row of the floor.
    fn ratio(&self, of: (RowId, Build), floor: RowId, quantity: fn(&Measurement) -> Duration) -> Option<Figure> {
        self.ratio_of(of, (floor, Build::This), quantity)
    }

    /// Ratios within each round, since other load on the machine affects both values of a round.
    fn ratio_of(
        &self,
        of: (RowId, Build),
        to: (RowId, Build),
        quantity: fn(&Measurement) -> Duration,
    ) -> Option<Figure> {
        let rounds = self.measured.get(&of)?.iter().zip(self.measured.get(&to)?);
        Figure::of(rounds.map(|(of, to)| quantity(of).div_duration_f64(quantity(to))))
    }

    fn median_cpu(&self, of: RowId) -> Option<f64> {
        let rounds = self.measured.get(&(of, Build::This))?;
        Figure::of(rounds.iter().map(|measured| measured.cpu.as_secs_f64() * 1e6)).map(|figure| figure.median)
    }
}

fn table(id: &str, of: &str, columns: Vec<Column>, rows: impl IntoIterator<Item = Row>) -> Table {
    Table { id: id.to_owned(), of: of.to_owned(), columns, rows: rows.into_iter().collect() }
}

#[expect(clippy::cast_precision_loss, reason = "sizes of reviews are far below 2^52")]
fn kib(bytes: usize) -> f64 {
    bytes as f64 / 1024.0
}
