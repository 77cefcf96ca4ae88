//! The figures of benchmarks: tables that a run prints and writes as JSON, the committed baseline, the comparison of both, and
//! the tables of `docs/benchmarks.md`.
//!
//! A run is written to `target/figures/NAME.json`. `benches/baseline.json` has the runs that were recorded, by name. The example
//! `figures` records, compares and writes the page.

mod compare;
mod page;

use std::{collections::BTreeMap, fs, io, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::programs::{profile_folder, repository};

pub use compare::{Change, Verdict, compare};
pub use page::{PAGE, fill};

/// One run of a benchmark program.
#[derive(Clone, Serialize, Deserialize)]
pub struct Run {
    /// The day of the run.
    pub date: String,
    /// Number and model of the processors.
    pub processors: String,
    /// The load average of one minute when the run began; none if it was not measured.
    pub load: Option<f64>,
    /// Cargo's profile of the measured programs.
    pub profile: String,
    /// The options of the run, such as the number of rounds.
    pub options: String,
    /// The tables, in the order in which they are printed.
    pub tables: Vec<Table>,
}

/// A table of figures.
#[derive(Clone, Serialize, Deserialize)]
pub struct Table {
    /// The name of the table in the page's markers.
    pub id: String,
    /// The head of the first column, which has the rows' names.
    pub of: String,
    /// The other columns, without the columns of goals.
    pub columns: Vec<Column>,
    /// The rows.
    pub rows: Vec<Row>,
}

/// A column of figures.
#[derive(Clone, Serialize, Deserialize)]
pub struct Column {
    /// The head.
    pub name: String,
    /// The unit of its figures.
    pub unit: Unit,
    /// Whether its figures are compared with the baseline. Figures that depend on the speed of the machine are not.
    pub compared: bool,
}

/// The unit of a column. In every unit, less is better.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// A quotient of two figures of the same run.
    Ratio,
    /// A number of occurrences.
    Count,
    /// Microseconds.
    Us,
    /// Milliseconds.
    Ms,
    /// 2^20 bytes.
    Mib,
    /// 10^6 bytes.
    Mb,
}

/// A row of a table.
#[derive(Clone, Serialize, Deserialize)]
pub struct Row {
    /// What was measured.
    pub name: String,
    /// A figure for each column; none if it was not measured.
    pub figures: Vec<Option<Figure>>,
    /// Goals by the index of their column.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub goals: BTreeMap<usize, f64>,
}

/// A quantity over the rounds of a run: the least, the median and the greatest value.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "(f64, f64, f64)", into = "(f64, f64, f64)")]
pub struct Figure {
    /// The lowest round.
    pub least: f64,
    /// The median of the rounds.
    pub median: f64,
    /// The highest round.
    pub most: f64,
}

impl From<(f64, f64, f64)> for Figure {
    fn from((least, median, most): (f64, f64, f64)) -> Self {
        Self { least, median, most }
    }
}

impl From<Figure> for (f64, f64, f64) {
    fn from(Figure { least, median, most }: Figure) -> Self {
        (least, median, most)
    }
}

impl Figure {
    /// The figure over `rounds`, or none if there is no round.
    #[must_use]
    pub fn of(rounds: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut rounds: Vec<f64> = rounds.into_iter().map(|value| (value * 1000.0).round() / 1000.0).collect();
        rounds.sort_unstable_by(f64::total_cmp);
        Some(Self { least: *rounds.first()?, median: *rounds.get(rounds.len() / 2)?, most: *rounds.last()? })
    }

    /// The distance of the rounds from the median, relative to the median.
    pub(crate) fn spread(self) -> f64 {
        if self.median > 0.0 { (self.most / self.median - 1.0).max(1.0 - self.least / self.median) } else { 0.0 }
    }

    /// The median, and in brackets the lowest and the highest round.
    fn format(self, unit: Unit) -> String {
        let places = match unit {
            Unit::Ratio => 2,
            Unit::Count => 0,
            Unit::Us | Unit::Ms | Unit::Mib | Unit::Mb => 1,
        };
        let format = |value: f64| format!("{value:.places$}");
        let median = if unit == Unit::Ratio { format!("**{}**", format(self.median)) } else { format(self.median) };
        if self.least < self.most {
            format!("{median} ({}–{})", format(self.least), format(self.most))
        } else {
            median
        }
    }
}

impl Column {
    /// A column that is compared with the baseline, which is every ratio and size.
    #[must_use]
    pub fn new(name: &str, unit: Unit) -> Self {
        let compared = matches!(unit, Unit::Ratio | Unit::Count | Unit::Mib | Unit::Mb);
        Self { name: name.to_owned(), unit, compared }
    }

    /// A column that is only shown.
    #[must_use]
    pub fn shown(name: &str, unit: Unit) -> Self {
        Self { compared: false, ..Self::new(name, unit) }
    }
}

impl Row {
    /// A row without goals.
    #[must_use]
    pub fn new(name: &str, figures: Vec<Option<Figure>>) -> Self {
        Self { name: name.to_owned(), figures, goals: BTreeMap::new() }
    }

    /// The row with a goal for the column with this index.
    #[must_use]
    pub fn goal(mut self, column: usize, goal: Option<f64>) -> Self {
        self.goals.extend(goal.map(|goal| (column, goal)));
        self
    }
}

impl Run {
    /// Such as `profile release, load average 0.3`.
    #[must_use]
    pub fn conditions(&self) -> String {
        let load = self.load.map_or_else(|| "unknown".to_owned(), |load| format!("{load:.1}"));
        format!("profile {}, load average {load}", self.profile)
    }

    /// Describes this machine and the running program. The time is that of the call, so call it when a run begins.
    #[must_use]
    pub fn begin(options: &str) -> Self {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let processors = text("/proc/cpuinfo");
        let model = processors.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown");
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        let load = text("/proc/loadavg").split(' ').next().and_then(|load| load.parse().ok());
        let profile = profile_folder().file_name().unwrap_or_default().to_string_lossy().replace("debug", "dev");
        Self {
            date: jiff::Zoned::now().strftime("%-d %B %Y").to_string(),
            processors: format!("{count} × {}", model.trim_start_matches(['\t', ' ', ':'])),
            load,
            profile,
            options: options.to_owned(),
            tables: Vec::new(),
        }
    }

    /// The table with this id.
    #[must_use]
    pub fn table(&self, id: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.id == id)
    }

    /// Writes the run to `target/figures/NAME.json`.
    pub fn write(&self, name: &str) -> io::Result<()> {
        let path = path(name);
        fs::create_dir_all(path.parent().expect("it is in a folder"))?;
        fs::write(path, to_json(&BTreeMap::from([(name.to_owned(), self.clone())])))
    }

    /// Reads what [`Run::write`] wrote.
    pub fn read(name: &str) -> io::Result<Self> {
        let mut runs = parse(&fs::read_to_string(path(name))?)?;
        runs.remove(name).ok_or_else(|| io::Error::other(format!("{name}.json has no run of that name")))
    }
}

/// The recorded runs by name.
pub type Runs = BTreeMap<String, Run>;

/// The committed runs.
#[must_use]
pub fn baseline() -> PathBuf {
    repository().join("benches/baseline.json")
}

/// Reads the committed runs. There are none if the file does not exist.
pub fn read_baseline() -> io::Result<Runs> {
    match fs::read_to_string(baseline()) {
        Ok(text) => parse(&text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Runs::new()),
        Err(error) => Err(error),
    }
}

/// The runs as JSON, with a line for each row, so that a difference between two files is readable.
#[must_use]
pub fn to_json(runs: &Runs) -> String {
    let runs = runs.iter().map(|(name, run)| {
        let tables = run.tables.iter().map(|table| {
            let rows: Vec<_> = table.rows.iter().map(|row| format!("        {}", json(row))).collect();
            format!(
                "      {{\"id\": {}, \"of\": {}, \"columns\": {},\n       \"rows\": [\n{}\n      ]}}",
                json(&table.id),
                json(&table.of),
                json(&table.columns),
                rows.join(",\n")
            )
        });
        format!(
            "  {}: {{\n    \"date\": {}, \"processors\": {}, \"load\": {},\n    \"profile\": {}, \"options\": {},\n    \
             \"tables\": [\n{}\n    ]\n  }}",
            json(name),
            json(&run.date),
            json(&run.processors),
            json(&run.load),
            json(&run.profile),
            json(&run.options),
            tables.collect::<Vec<_>>().join(",\n")
        )
    });
    format!("{{\n{}\n}}\n", runs.collect::<Vec<_>>().join(",\n"))
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("figures and their names are always JSON")
}

fn parse(text: &str) -> io::Result<Runs> {
    Ok(serde_json::from_str(text)?)
}

fn path(name: &str) -> PathBuf {
    profile_folder().with_file_name("figures").join(format!("{name}.json"))
}
