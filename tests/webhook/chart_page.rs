//! The table of values in the chart's README, which is made from the comments of `values.yaml`. `make chart-readme` writes it.

use std::path::{Path, PathBuf};
use std::{env, fs};

use serde_json::Value;
use writgate_core::encoding::read_yaml;

/// The line of the README from which on everything is generated.
const BEGIN: &str = "<!-- Generated from values.yaml by `make chart-readme`. -->\n";
/// A default that is longer is not repeated.
const LONGEST_DEFAULT: usize = 80;

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/writgate").join(name)
}

fn text(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A value of the chart.
struct Row {
    /// As `--set` takes it, for example `image.tag`.
    path: Vec<String>,
    indent: usize,
    comment: Vec<String>,
    /// Lines of YAML in the comment.
    examples: Vec<String>,
}

impl Row {
    fn print(&self, values: &Value) -> String {
        let pointer = format!("/{}", self.path.join("/"));
        let default = values.pointer(&pointer).unwrap_or_else(|| panic!("values.yaml has no {pointer}"));
        let has_rows = default.as_object().is_some_and(|fields| !fields.is_empty()) && self.has_lines_below();
        let default = match default.to_string() {
            _ if has_rows => String::new(),
            long if long.len() > LONGEST_DEFAULT => "see `values.yaml`".to_owned(),
            short => format!("`{short}`"),
        };
        let mut description = self.comment.join(" ");
        if !self.examples.is_empty() {
            description = format!("{description} Example: `{}`", self.examples.join("`, `"));
        }
        let cell = |text: &str| text.trim().replace('|', "\\|").replace('<', "\\<");
        format!("| `{}` | {} | {} |\n", self.path.join("."), cell(&default), cell(&description))
    }

    /// Whether the keys of the mapping are on lines of their own, and so in rows of their own.
    fn has_lines_below(&self) -> bool {
        let line = format!("{}{}:", " ".repeat(self.indent), self.path.last().expect("a key"));
        text("values.yaml").lines().any(|found| found == line)
    }
}

/// A line of a comment that is YAML: an item of a list, or a mapping in one line.
fn is_example(comment: &str) -> bool {
    let word = comment.split(':').next().unwrap_or_default();
    comment.starts_with("- ") || (comment.contains(": {") && !word.contains(' '))
}

fn rows(file: &str) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let mut comment = Vec::new();
    for line in file.lines() {
        let (indent, line) = (line.len() - line.trim_start().len(), line.trim_start());
        if let Some(said) = line.strip_prefix("# ") {
            match rows.last_mut() {
                // Below a value, and further right.
                Some(last) if is_example(said) && indent > last.indent => last.examples.push(said.to_owned()),
                _ => comment.push(said.to_owned()),
            }
            continue;
        }
        let key = line.split(':').next().unwrap_or_default();
        if line.is_empty() || line.starts_with("- ") {
            comment.clear();
            continue;
        }
        let mut path: Vec<String> = Vec::new();
        if let Some(parent) = rows.iter().rev().find(|row| row.indent < indent) {
            path.clone_from(&parent.path);
        }
        // The lines of an item of a list have no rows.
        let is_key = path.len() * 2 == indent;
        if is_key {
            path.push(key.to_owned());
            let (examples, said) = std::mem::take(&mut comment).into_iter().partition(|said| is_example(said));
            rows.push(Row { path, indent, comment: said, examples });
        }
        comment.clear();
    }
    rows
}

#[test]
fn the_charts_readme_has_each_value_with_its_default_and_its_comment() {
    let file = text("values.yaml");
    let values = read_yaml(&file).expect("YAML").remove(0);
    let rows = rows(&file);
    let mut table = String::from("\n| Value | Default | Description |\n|---|---|---|\n");
    table.extend(rows.iter().map(|row| row.print(&values)));
    for key in values.as_object().expect("a mapping").keys() {
        let of_key: Vec<&Row> = rows.iter().filter(|row| row.path[0] == *key).collect();
        assert!(!of_key.is_empty(), "{key} has no row");
    }
    let page = text("README.md");
    let (head, _) = page.split_once(BEGIN).expect("the README has a generated part");
    let expected = format!("{head}{BEGIN}{table}");
    if env::var_os("WRITGATE_WRITE_CHART_README").is_some() {
        fs::write(path("README.md"), &expected).expect("it can be written");
    }
    assert!(
        text("README.md") == expected,
        "charts/writgate/README.md is not what values.yaml says: run make chart-readme"
    );
}
