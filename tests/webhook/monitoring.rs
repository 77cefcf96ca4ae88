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

/// The registered names. A registry does not show a metric that has no series yet.
fn registered() -> BTreeSet<String> {
    let sources = text("src/metrics/registration.rs");
    let calls = sources.split("registry.register").skip(1);
    calls.filter_map(|call| call.split('"').nth(1)).map(|name| format!("writgate_{name}")).collect()
}

/// The registered name of a series.
fn registered_name(series: &str, registered: &BTreeSet<String>) -> Option<String> {
    // The encoder appends these.
    let ends = ["_total", "_bucket", "_sum", "_count", "_info", "_seconds"];
    let mut name = series;
    while !registered.contains(name) {
        name = ends.iter().find_map(|end| name.strip_suffix(end))?;
    }
    Some(name.to_owned())
}

#[test]
fn every_metric_that_an_alert_or_a_panel_names_is_registered() {
    let registered = registered();
    let is_registered = |metric: &str| registered_name(metric, &registered).is_some();
    assert!(is_registered("writgate_admission_duration_seconds_bucket"));
    assert!(!is_registered("writgate_no_such_metric_total"));
    let of_alerts = rules().into_iter().map(|rule| rule["expr"].as_str().expect("an expression").to_owned());
    let named: BTreeSet<String> = of_alerts.chain(dashboard()).flat_map(|expression| metrics(&expression)).collect();
    assert!(named.len() > 25, "{named:?}");
    let unknown: Vec<_> = named.iter().filter(|metric| !is_registered(metric)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn the_documentation_names_every_metric_and_no_other() {
    let registered = registered();
    for page in files("docs", "md") {
        let text = fs::read_to_string(&page).expect("UTF-8");
        // A crate is not a metric.
        let named = metrics(&text).into_iter().filter(|name| !text.contains(&format!("{name}::")));
        let unknown: Vec<_> = named.filter(|name| registered_name(name, &registered).is_none()).collect();
        assert!(unknown.is_empty(), "{}: {unknown:?}", page.display());
    }
    let listed = metrics(&text("docs/records.md"));
    let listed: BTreeSet<_> = listed.iter().filter_map(|name| registered_name(name, &registered)).collect();
    assert!(listed.len() > 50, "{listed:?}");
    let missing: Vec<_> = registered.difference(&listed).collect();
    assert!(missing.is_empty(), "docs/records.md does not list {missing:?}");
}

/// The files below a folder with this extension.
fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![path(folder)]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == extension) {
                found.push(path);
            }
        }
    }
    found
}

/// What a page quotes from the log, and what it searches for there, is in messages that the webhook writes.
#[test]
fn the_pages_quote_messages_that_the_webhook_writes() {
    let sources: String = files("src", "rs").iter().map(|file| fs::read_to_string(file).expect("UTF-8")).collect();
    for name in names(&rules()) {
        let page = text(&format!("docs/operations/alerts/{name}.md"));
        for command in page.lines().filter(|line| line.contains("$ kubectl logs ")) {
            // A Deployment stands for one of its Pods, and a selector for the last lines of each.
            let all = "-l app.kubernetes.io/name=writgate-webhook --prefix --tail=-1 | ";
            let (_, reader) = command.split_once(all).unwrap_or_else(|| panic!("{name}: {command}: expected {all}"));
            let Some(pattern) = reader.strip_prefix("grep ") else { continue };
            let pattern = pattern.trim_start_matches("-i ").trim_matches('\'');
            assert!(sources.contains(pattern), "{name}: no message of the sources contains {pattern:?}");
        }
        let message = page.lines().nth(3).expect("a message");
        // The API server's own messages, and tables of the command line.
        if message.starts_with(char::is_uppercase) || message.starts_with("admission webhook ") {
            continue;
        }
        let quoted = message.split_once("\"message\":\"").map_or(message, |(_, quoted)| quoted);
        // What follows a colon or an ellipsis is a value.
        let quoted = quoted.trim_start_matches("writgate: ").trim_start_matches("not ready: ");
        let first = quoted.split([':', '…', '"']).next().unwrap_or_default().trim_end();
        let first = first.trim_start_matches("posture document ");
        assert!(sources.contains(first), "{name}: no message of the sources contains {first:?}");
    }
}
