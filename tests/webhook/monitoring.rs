//! The chart's alerts and dashboard, compared with the metrics, the unit tests and the pages of the documentation. `make
//! monitoring-check` runs the unit tests, and `tests/cluster/monitoring.rs` asks a real Prometheus.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use writgate_core::encoding::read_yaml;

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn text(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn rules() -> Vec<Value> {
    let file = read_yaml(&text("charts/writgate/monitoring/alerts.yaml")).expect("YAML");
    let groups = file[0]["groups"].as_array().expect("groups").clone();
    groups.iter().flat_map(|group| group["rules"].as_array().expect("rules").clone()).collect()
}

fn names(rules: &[Value]) -> BTreeSet<String> {
    rules.iter().map(|rule| rule["alert"].as_str().expect("a name").to_owned()).collect()
}

/// The expressions of the dashboard's panels.
fn dashboard() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&text("charts/writgate/monitoring/dashboard.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels").clone();
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    targets.map(|target| target["expr"].as_str().expect("an expression").to_owned()).collect()
}

/// The names in an expression that begin with `writgate_`.
fn metrics(expression: &str) -> BTreeSet<String> {
    let is_name = |char: char| char.is_ascii_alphanumeric() || char == '_';
    let words = expression.split(|char| !is_name(char));
    words.filter(|word| word.starts_with("writgate_")).map(str::to_owned).collect()
}

#[test]
fn each_alert_has_a_severity_a_summary_a_page_and_a_unit_test() {
    let rules = rules();
    assert!(rules.len() > 20, "{}", rules.len());
    let tests = text("tests/prometheus/alerts.yaml");
    for rule in &rules {
        let name = rule["alert"].as_str().expect("a name");
        assert!(matches!(rule["labels"]["severity"].as_str(), Some("critical" | "warning")), "{name}");
        assert!(rule["annotations"]["summary"].as_str().is_some_and(|summary| summary.ends_with('.')), "{name}");
        let path = format!("docs/operations/alerts/{name}.md");
        assert_eq!(rule["annotations"]["runbook_url"], path);
        let page = text(&path);
        let head = format!("# {name}\n\n```text\n");
        let message =
            page.strip_prefix(&head).unwrap_or_else(|| panic!("{name}: the page does not begin with {head:?}"));
        assert!(message.lines().next().is_some_and(|line| line != "```"), "{name}: the page has no message");
        assert!(page.contains("\n## What to do\n"), "{name}");
        let asked = format!("count(ALERTS{{alertname=\"{name}\",alertstate=\"firing\"}})");
        assert!(tests.matches(&asked).count() >= 2, "{name}: it must fire at one time of its test and not at another");
    }
    let pages = fs::read_dir(path("docs/operations/alerts")).expect("a folder");
    let pages = pages.map(|page| page.expect("an entry").path().file_stem().expect("a name").display().to_string());
    assert_eq!(pages.collect::<BTreeSet<_>>(), names(&rules), "each page has an alert");
}

#[test]
fn every_metric_that_an_alert_or_a_panel_names_is_registered() {
    let sources = text("src/metrics/registration.rs");
    // The encoder appends these to the registered name.
    let ends = ["_total", "_bucket", "_sum", "_count", "_info", "_seconds"];
    let is_registered = |metric: &str| {
        let mut name = metric.trim_start_matches("writgate_");
        loop {
            if sources.contains(&format!("\"{name}\",")) {
                return true;
            }
            match ends.iter().find_map(|end| name.strip_suffix(end)) {
                Some(shorter) => name = shorter,
                None => return false,
            }
        }
    };
    assert!(is_registered("writgate_admission_duration_seconds_bucket"));
    assert!(!is_registered("writgate_no_such_metric_total"));
    let of_alerts = rules().into_iter().map(|rule| rule["expr"].as_str().expect("an expression").to_owned());
    let named: BTreeSet<String> = of_alerts.chain(dashboard()).flat_map(|expression| metrics(&expression)).collect();
    assert!(named.len() > 25, "{named:?}");
    let unknown: Vec<_> = named.iter().filter(|metric| !is_registered(metric)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

/// A message that a page quotes from the log is one that the webhook writes.
#[test]
fn the_pages_quote_messages_that_the_webhook_writes() {
    let mut sources = String::new();
    let mut folders = vec![path("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            match path.extension() {
                _ if path.is_dir() => folders.push(path),
                Some(end) if end == "rs" => sources.push_str(&fs::read_to_string(path).expect("UTF-8")),
                _ => {}
            }
        }
    }
    for name in names(&rules()) {
        let page = text(&format!("docs/operations/alerts/{name}.md"));
        let message = page.lines().nth(3).expect("a message");
        let Some((_, quoted)) = message.split_once("\"message\":\"") else { continue };
        // What follows a colon or an ellipsis is a value.
        let first = quoted.split([':', '…', '"']).next().unwrap_or_default().trim_end();
        assert!(sources.contains(first), "{name}: no message of the sources contains {first:?}");
    }
}
