//! Tables in Markdown, and the page that has the recorded ones between markers.

use std::fmt::{self, Write as _};

use super::{Run, Runs, Table};

/// The page with the recorded figures, relative to the repository.
pub const PAGE: &str = "docs/benchmarks.md";

/// The start of a marker. `NAME` is the run's description, and `NAME/TABLE` is a table.
const START: &str = "<!-- figures: ";
const END: &str = "<!-- end of figures -->";

/// `page` with the text between its markers replaced by the recorded figures. Fails if a marker has no end or no figures.
pub fn fill(page: &str, runs: &Runs) -> Result<String, String> {
    let mut filled = String::new();
    let mut rest = page;
    while let Some((before, after)) = rest.split_once(START) {
        let (name, after) = after.split_once(" -->\n").ok_or("a marker of figures does not end its line")?;
        let (_, after) = after.split_once(END).ok_or_else(|| format!("the figures {name:?} have no {END}"))?;
        let content = content(name, runs).ok_or_else(|| format!("the baseline has no figures {name:?}"))?;
        let _ = write!(filled, "{before}{START}{name} -->\n{content}{END}");
        rest = after;
    }
    Ok(filled + rest)
}

fn content(name: &str, runs: &Runs) -> Option<String> {
    match name.split_once('/') {
        None => runs.get(name).map(|run| format!("{}\n", run.describe())),
        Some((run, table)) => runs.get(run)?.table(table).map(|table| format!("\n{table}\n")),
    }
}

impl Run {
    /// Where and when the run was made, as a paragraph.
    fn describe(&self) -> String {
        let load = self.load.map(|load| format!(" The load average was {load:.1} when the run began."));
        format!(
            "Recorded on {}, profile `{}`, {}, {}.{}",
            self.date,
            self.profile,
            self.processors,
            self.options,
            load.unwrap_or_default()
        )
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has_goal = |column: &usize| self.rows.iter().any(|row| row.goals.contains_key(column));
        let mut heads = vec![self.of.as_str()];
        for (index, column) in self.columns.iter().enumerate() {
            heads.push(&column.name);
            heads.extend(has_goal(&index).then_some("goal"));
        }
        writeln!(f, "| {} |\n|{}", heads.join(" | "), "---|".repeat(heads.len()))?;
        for row in &self.rows {
            let mut cells = vec![row.name.clone()];
            for (index, column) in self.columns.iter().enumerate() {
                let figure = row.figures.get(index).copied().flatten();
                cells.push(figure.map_or_else(String::new, |figure| figure.format(column.unit)));
                if has_goal(&index) {
                    let goal = row.goals.get(&index).map_or_else(String::new, |goal| match figure {
                        Some(figure) if figure.median > *goal => format!("{goal}, missed"),
                        Some(_) => format!("{goal}, met"),
                        None => goal.to_string(),
                    });
                    cells.push(goal);
                }
            }
            writeln!(f, "| {} |", cells.join(" | "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::{Column, Figure, Row, Unit};

    fn runs() -> Runs {
        let figure = Figure::of([1.5, 1.25, 1.0]);
        let table = Table {
            id: "reviews".to_owned(),
            of: "webhook / floor".to_owned(),
            columns: vec![Column::new("CPU", Unit::Ratio), Column::new("p50", Unit::Ratio)],
            rows: vec![
                Row::new("CREATE", vec![figure, figure]).goal(0, Some(1.2)),
                Row::new("UPDATE", vec![Figure::of([1.1]), None]).goal(0, Some(1.2)),
            ],
        };
        Runs::from([("admission".to_owned(), Run { tables: vec![table], ..Run::begin("3 rounds") })])
    }

    #[test]
    fn text_between_markers_is_replaced_and_the_rest_is_kept() {
        let page = "# A\n<!-- figures: admission/reviews -->\nold\n<!-- end of figures -->\nB\n";
        let filled = fill(page, &runs()).expect("the table exists");
        let expected = "# A\n<!-- figures: admission/reviews -->\n\n\
            | webhook / floor | CPU | goal | p50 |\n|---|---|---|---|\n\
            | CREATE | **1.25** (1.00–1.50) | 1.2, missed | **1.25** (1.00–1.50) |\n\
            | UPDATE | **1.10** | 1.2, met |  |\n\n<!-- end of figures -->\nB\n";
        assert_eq!(filled, expected);
        assert_eq!(fill(&filled, &runs()).as_deref(), Ok(expected));
    }

    #[test]
    fn a_marker_without_figures_or_end_is_an_error() {
        assert!(fill("<!-- figures: admission/sizes -->\n<!-- end of figures -->", &runs()).is_err());
        assert!(fill("<!-- figures: cli -->\n<!-- end of figures -->", &runs()).is_err());
        assert!(fill("<!-- figures: admission -->\n", &runs()).is_err());
    }

    #[test]
    fn runs_are_the_same_after_they_were_written_and_read() {
        let text = crate::figures::to_json(&runs());
        let read = crate::figures::parse(&text).expect("it is JSON");
        assert_eq!(crate::figures::to_json(&read), text);
        assert_eq!(text.matches("\n        {").count(), 2, "one line for each row");
    }
}
