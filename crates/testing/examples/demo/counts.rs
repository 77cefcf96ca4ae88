//! How many commands each person typed in each story, and how long the commands took.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

/// The rows of the table: a user, and what the user is.
const ROWS: [(&str, &str); 5] = [
    ("alice", "operator (alice)"),
    ("bob", "first reviewer (bob)"),
    ("carol", "second reviewer (carol)"),
    ("ada", "auditor (ada)"),
    ("pipeline", "pipeline, no person"),
];
/// The row of the operator's Git commands, which a person types with or without Writgate.
const GIT: &str = "operator (alice), Git";

/// The counts of a page.
#[derive(Default)]
pub(crate) struct Counts {
    stories: Vec<String>,
    is_in_story: bool,
    cells: BTreeMap<(usize, &'static str), (usize, Duration)>,
}

impl Counts {
    /// Begins a story, or none if the name is `-`.
    pub(crate) fn begin(&mut self, story: &str) {
        self.is_in_story = story != "-";
        if self.is_in_story {
            self.stories.push(story.to_owned());
        }
    }

    /// Counts a command. The commands of the platform team only show what Flux does, and are not counted.
    pub(crate) fn add(&mut self, user: &str, command: &str, took: Duration) {
        let Some((_, row)) = ROWS.iter().find(|(name, _)| self.is_in_story && *name == user) else { return };
        let row = if command.starts_with("git ") { GIT } else { row };
        let (count, time) = self.cells.entry((self.stories.len(), row)).or_default();
        *count += 1;
        *time += took;
    }

    /// The table.
    pub(crate) fn table(&self) -> String {
        let mut rows = vec![
            std::iter::once("COMMANDS".to_owned()).chain(self.stories.iter().map(|name| name.to_uppercase())).collect(),
        ];
        let (operator, others) = ROWS.split_first().expect("there are rows");
        for name in [operator.1, GIT].into_iter().chain(others.iter().map(|(_, name)| *name)) {
            let cells = (1..=self.stories.len()).map(|story| match self.cells.get(&(story, name)) {
                Some((count, time)) => format!("{count} in {:.1}s", time.as_secs_f64()),
                None => "0".to_owned(),
            });
            rows.push(std::iter::once(name.to_owned()).chain(cells).collect::<Vec<_>>());
        }
        let mut text = String::new();
        for row in rows {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let width = if column == 0 { 25 } else { 14 };
                let _ = write!(line, "{cell:<width$}");
            }
            let _ = writeln!(text, "{}", line.trim_end());
        }
        text
    }
}
