//! The comparison of a run with the recorded one. A figure is worse if it grew by more than the noise of both runs.

use super::{Figure, Run, Table, Unit};

/// Rows whose names start like this measure the same thing twice. Their distance from 1 is the noise of the run.
const NOISE_ROW: &str = "(the floor again";
/// The least relative difference that counts, since medians of quiet runs also differ.
const LEAST: f64 = 0.03;

/// A figure of a run and the recorded figure of the same row and column.
pub struct Change {
    /// The id of the table.
    pub table: String,
    /// The name of the row.
    pub row: String,
    /// The name of the column.
    pub column: String,
    unit: Unit,
    /// The figure of the run.
    pub now: Figure,
    /// The recorded figure; none if the row or the column is new.
    pub recorded: Option<Figure>,
    /// The relative difference that noise explains.
    pub noise: f64,
    /// Whether the difference exceeds the noise.
    pub verdict: Verdict,
}

/// The outcome of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No figure was recorded.
    New,
    /// Less than recorded, by more than the noise.
    Better,
    /// The difference is within the noise.
    Same,
    /// More than recorded, by more than the noise.
    Worse,
}

/// The figures of `now` that are compared, in the order of its tables.
#[must_use]
pub fn compare(now: &Run, recorded: &Run) -> Vec<Change> {
    let mut changes = Vec::new();
    for table in &now.tables {
        for row in table.rows.iter().filter(|row| !row.name.starts_with(NOISE_ROW)) {
            let columns = table.columns.iter().zip(&row.figures).filter(|(column, _)| column.compared);
            for (column, figure) in columns.filter_map(|(column, figure)| figure.map(|figure| (column, figure))) {
                let recorded = recorded.table(&table.id).and_then(|table| find(table, &row.name, &column.name));
                let noise = noise_of(now, &column.name)
                    .max(figure.spread())
                    .max(recorded.map_or(0.0, Figure::spread))
                    .max(LEAST);
                changes.push(Change {
                    table: table.id.clone(),
                    row: row.name.clone(),
                    column: column.name.clone(),
                    unit: column.unit,
                    now: figure,
                    recorded,
                    noise,
                    verdict: recorded.map_or(Verdict::New, |recorded| verdict(figure, recorded, noise)),
                });
            }
        }
    }
    changes
}

fn verdict(now: Figure, recorded: Figure, noise: f64) -> Verdict {
    if now.median > recorded.median * (1.0 + noise) {
        Verdict::Worse
    } else if now.median < recorded.median / (1.0 + noise) {
        Verdict::Better
    } else {
        Verdict::Same
    }
}

fn find(table: &Table, row: &str, column: &str) -> Option<Figure> {
    let index = table.columns.iter().position(|other| other.name == column)?;
    let row = table.rows.iter().find(|other| other.name == row)?;
    row.figures.get(index).copied().flatten()
}

/// The distance from 1 of a ratio that would be 1 without noise.
fn noise_of(run: &Run, column: &str) -> f64 {
    let rows = run.tables.iter().flat_map(|table| table.rows.iter().map(move |row| (table, row)));
    let noise =
        rows.filter(|(_, row)| row.name.starts_with(NOISE_ROW)).find_map(|(table, row)| find(table, &row.name, column));
    noise.map_or(0.0, |figure| (figure.most - 1.0).max(1.0 - figure.least))
}

impl Change {
    /// The change as a row of a table in Markdown.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let verdict = match self.verdict {
            Verdict::New => "not recorded yet",
            Verdict::Better => "better",
            Verdict::Same => "",
            Verdict::Worse => "WORSE",
        };
        format!(
            "| {} | {} | {} | {} | {:.0} % | {verdict} |",
            self.row,
            self.column,
            self.now.format(self.unit),
            self.recorded.map_or_else(|| "–".to_owned(), |recorded| recorded.format(self.unit)),
            self.noise * 100.0
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::{Column, Row};

    fn run(noise: Figure, figure: Figure) -> Run {
        let rows = vec![Row::new("(the floor again)", vec![Some(noise)]), Row::new("CREATE", vec![Some(figure)])];
        let columns = vec![Column::new("CPU", Unit::Ratio)];
        let table = Table { id: "reviews".to_owned(), of: "case".to_owned(), columns, rows };
        Run { tables: vec![table], ..Run::begin("") }
    }

    fn figure(least: f64, median: f64, most: f64) -> Figure {
        Figure { least, median, most }
    }

    fn verdict_of(now: &Run, recorded: &Run) -> Verdict {
        let changes = compare(now, recorded);
        assert_eq!(changes.len(), 1, "the row of the noise is not compared with itself");
        changes[0].verdict
    }

    #[test]
    fn a_figure_is_worse_only_beyond_the_noise_of_both_runs() {
        let quiet = figure(0.99, 1.0, 1.01);
        let recorded = run(quiet, figure(1.19, 1.2, 1.21));
        assert_eq!(verdict_of(&run(quiet, figure(1.23, 1.24, 1.25)), &recorded), Verdict::Worse);
        assert_eq!(verdict_of(&run(quiet, figure(1.22, 1.23, 1.24)), &recorded), Verdict::Same);
        assert_eq!(verdict_of(&run(quiet, figure(1.15, 1.16, 1.17)), &recorded), Verdict::Better);
        // The floor differs from itself by a tenth.
        assert_eq!(verdict_of(&run(figure(0.9, 1.0, 1.1), figure(1.23, 1.24, 1.25)), &recorded), Verdict::Same);
        // The rounds of one run differ by a tenth.
        assert_eq!(verdict_of(&run(quiet, figure(1.1, 1.24, 1.3)), &recorded), Verdict::Same);
        let unsteady = run(quiet, figure(1.0, 1.2, 1.21));
        assert_eq!(verdict_of(&run(quiet, figure(1.23, 1.24, 1.25)), &unsteady), Verdict::Same);
    }

    #[test]
    fn a_row_without_a_recorded_figure_is_new() {
        let now = run(figure(1.0, 1.0, 1.0), figure(9.0, 9.0, 9.0));
        let mut recorded = now.clone();
        recorded.tables[0].rows.truncate(1);
        assert_eq!(verdict_of(&now, &recorded), Verdict::New);
    }
}
