//! The history: the log files of the tests of `audit` in a browser, and files that are no log.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
};

use axum::http::StatusCode;

use crate::console::{
    Settings,
    history::LogFlags,
    tests::{Answer, Served, settings},
};

fn file(name: &str) -> PathBuf {
    writgate_testing::repository().join("crates/cli/tests/cli/audit.in").join(name)
}

/// A console with the log at `path`, and the key that sealed the files.
fn console_with(path: &Path) -> Settings {
    let logs =
        LogFlags { log: vec![path.to_owned()], webhook_key: vec![file("webhook.pub.pem")], ..LogFlags::default() };
    Settings { logs, ..settings() }
}

struct Browser {
    served: Served,
    cookie: String,
}

impl Browser {
    fn of(settings: Settings) -> Self {
        let served = Served::with(settings);
        let cookie = served.open();
        Self { served, cookie }
    }

    fn log(name: &str) -> Self {
        Self::of(console_with(&file(name)))
    }

    fn get(&self, address: &str) -> Answer {
        self.served.send(self.served.get(address, &self.cookie))
    }

    fn page(&self, address: &str) -> String {
        self.get(address).expect(StatusCode::OK, "Filter").text
    }
}

fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part}: {text}");
    }
}

/// A log in a folder of its own.
fn written(content: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("webhook.log");
    fs::write(&path, content).expect("a log");
    (folder, path)
}

fn webhook_log() -> String {
    fs::read_to_string(file("webhook.log")).expect("a log")
}

#[test]
fn a_row_answers_the_five_questions_and_says_that_it_is_verified() {
    let text = Browser::log("webhook.log").page("/history");
    has(&text, &["<caption>Decisions 1 to 6 of 6 that match, the newest first</caption>", "no findings"]);
    let row = text.split("<tr>").find(|row| row.contains("orders-4")).expect("a row");
    let approval = "01a23e4d-8f04-7000-8000-00003b9aca04 by bob@acme.example";
    has(row, &["2026-11-22 10:01:04", "carol for alice@acme.example", "production/payments", "<td>yes</td>", approval]);
    has(row, &["<span class=\"badge good\">verified</span>", "<span class=\"badge good\">admitted</span>"]);
    let times: Vec<usize> = ["10:01:05", "10:01:04", "10:01:00"].map(|time| text.find(time).expect("a time")).into();
    assert!(times.is_sorted(), "the newest comes first");
}

#[test]
fn a_filter_takes_what_it_names_and_nothing_else() {
    let browser = Browser::log("webhook.log");
    for (filters, caption) in [
        ("who=CAROL", "1 to 2 of 2"),
        ("who=carol&object=deployment/orders-4", "1 to 1 of 1"),
        ("decision=denied", "1 to 2 of 2"),
        ("decision=denied&since=2026-11-22T10:01:03Z", "1 to 1 of 1"),
        ("until=2026-11-22T10:01:01Z", "1 to 1 of 1"),
        ("action=deploy&environment=production&project=payments", "1 to 6 of 6"),
        ("approval=01a23e4d-8f01-7000-8000-00003b9aca01", "1 to 1 of 1"),
        ("reason=ApprovalRequired", "1 to 2 of 2"),
        ("who=+&object=&whom=carol", "1 to 6 of 6"),
    ] {
        has(&browser.page(&format!("/history?{filters}")), &[&format!("Decisions {caption} that match")]);
    }
    for filters in ["who=caro", "object=deployment/orders", "decision=not-an-action", "project=shop"] {
        has(&browser.page(&format!("/history?{filters}")), &["No decision matches."]);
    }
}

#[test]
fn a_filter_that_is_wrong_is_named_and_stays_in_the_form() {
    let browser = Browser::log("webhook.log");
    let wrong = |query: &str, why: &str| browser.get(&format!("/history?{query}")).expect(StatusCode::BAD_REQUEST, why);
    wrong("decision=maybe", "is not a decision; expected one of admitted, denied");
    let text = wrong("since=yesterday", "is neither a duration such as 90m or 30d").text;
    has(&text, &["Since", "value=\"yesterday\""]);
    wrong("since=1h&until=2h", "Since is not before Until");
    browser.get("/history?source=audit-log").expect(StatusCode::NOT_FOUND, "started without this log");
}

#[test]
fn a_record_that_was_forged_or_altered_is_never_verified() {
    let browser = Browser::log("tampered.log");
    let text = browser.page("/history");
    has(&text, &["not clean", "altered: record 01a202b2-c50b-7000-8000-00000000000b", "missing: link 2 of"]);
    for (row, outcome) in [("mallory", "admitted (altered)"), ("orders-4", "admitted (forged)")] {
        let row = text.split("<tr>").find(|found| found.contains(row)).expect("a row");
        has(row, &[outcome, "<span class=\"badge bad\">not verified</span>"]);
    }
    let id = "01a202b2-c50b-7000-8000-00000000000b";
    let text = browser.get(&format!("/history/decision?id={id}")).expect(StatusCode::OK, "mallory").text;
    has(&text, &["the record claims to be link 2 of", "this is not verified"]);
}

#[test]
fn a_decision_says_its_place_in_the_chain() {
    let browser = Browser::log("webhook.log");
    let id = "01a202b2-c50b-7000-8000-00000000000b";
    let text = browser.get(&format!("/history/decision?id={id}")).expect(StatusCode::OK, "orders-1").text;
    has(&text, &["link 2 of ", "01a202b2-c500-7000-8000-000000000000", "as a webhook sealed or signed it"]);
    has(&text, &["Who started it?", "carol for alice@acme.example", "sha256:ebbadaf9854fff7f"]);
    let other = format!("/history/decision?id={}", id.replace("c50b", "c50c"));
    browser.get(&other).expect(StatusCode::NOT_FOUND, "not among those that were read");
}

#[test]
fn of_two_records_with_one_id_the_verified_one_comes_first() {
    let forged = webhook_log().lines().nth(2).expect("a line").replace("\"carol\"", "\"mallory\"");
    let (_folder, path) = written(&format!("{forged}\n{}", webhook_log()));
    let browser = Browser::of(console_with(&path));
    let id = "01a202b2-c50b-7000-8000-00000000000b";
    let text = browser.get(&format!("/history/decision?id={id}")).expect(StatusCode::OK, "2 records have this id").text;
    assert!(text.find("carol for") < text.find("mallory for"), "{text}");
}

#[test]
fn texts_of_a_log_are_neither_markup_nor_invisible() {
    let evil = r"<script>alert(1)</script>'><img src=x>\u202e\u200b";
    let (_folder, path) = written(&webhook_log().replace("\"carol\"", &format!("\"{evil}\"")));
    let browser = Browser::of(console_with(&path));
    let list = browser.page("/history");
    let id = "01a202b2-c50b-7000-8000-00000000000b";
    let decision = browser.get(&format!("/history/decision?id={id}")).expect(StatusCode::OK, "Decision").text;
    let form = browser.page("/history?who=%3Cscript%3Ealert(1)%3C/script%3E%22%E2%80%AE");
    for text in [&list, &decision] {
        has(text, &["&lt;script&gt;alert(1)&lt;/script&gt;", "\\u{202e}\\u{200b}"]);
    }
    has(&form, &["&lt;script&gt;alert(1)&lt;/script&gt;&quot;\\u{202e}"]);
    for text in [list, decision, form] {
        assert!(!text.contains("<script>alert") && !text.contains("<img"), "{text}");
        assert!(!text.contains(['\u{202e}', '\u{200b}']), "{text}");
    }
}

#[test]
fn a_file_that_is_no_log_is_named_as_such() {
    let no_log = |content: &str, why: &str| {
        let (_folder, path) = written(content);
        has(&Browser::of(console_with(&path)).page("/history"), &["No decision was found.", why]);
    };
    no_log("", "The log has no complete line.");
    no_log("apiVersion: v1\nkind: Pod\n", "None of the 2 lines is a decision.");
    let logs = LogFlags { audit_log: vec![file("webhook.log")], ..LogFlags::default() };
    let text = Browser::of(Settings { logs, ..settings() }).page("/history");
    has(&text, &["No decision was found.", "Expected the API server's audit log as JSON lines"]);
    let missing = Browser::of(console_with(Path::new("/no/such/webhook.log")));
    missing.get("/history").expect(StatusCode::BAD_GATEWAY, "cannot read /no/such/webhook.log");
}

#[test]
fn a_log_that_was_cut_off_is_incomplete() {
    let log = webhook_log();
    let (_folder, path) = written(&log[..log.len() - 100]);
    let text = Browser::of(console_with(&path)).page("/history");
    has(&text, &["This list is incomplete: 1 of the records cannot be read.", "webhook.log, line 7", "1 to 5 of 5"]);
}

#[test]
fn an_audit_log_is_not_signed() {
    let logs = LogFlags { audit_log: vec![file("api-server.log")], ..LogFlags::default() };
    let text = Browser::of(Settings { logs, ..settings() }).page("/history");
    has(&text, &["not verified", "the API server's audit log is not signed"]);
    has(&text, &["admitted (but answered 409)", "as alice for alice@acme.example", "not checked", "1 to 3 of 3"]);
    assert!(!text.contains(">verified<"), "{text}");
}

#[test]
fn a_file_for_export_has_the_rows_of_audit() {
    let browser = Browser::log("webhook.log");
    let answer = browser.get("/history/decisions.csv?decision=denied").expect(StatusCode::OK, "");
    assert_eq!(answer.header("content-disposition"), "attachment; filename=\"decisions.csv\"");
    let lines: Vec<&str> = answer.text.split("\r\n").filter(|line| !line.is_empty()).collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(
        lines[0].starts_with("time,decision,remarks,initiator,") && lines[1].contains(",denied,,alice,"),
        "{lines:?}"
    );
    let answer = browser.get("/history/decisions.json?who=carol").expect(StatusCode::OK, "");
    let records: Vec<serde_json::Value> =
        answer.text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(records.len(), 2);
    assert_eq!(records[0]["initiator"]["username"], "carol");
    let missing = Browser::of(console_with(Path::new("/no/such/webhook.log")));
    missing.get("/history/decisions.csv").expect(StatusCode::BAD_GATEWAY, "cannot read /no/such/webhook.log");
    browser.get("/history/decisions.csv?since=x").expect(StatusCode::BAD_REQUEST, "is neither a duration");
    let tampered = Browser::log("tampered.log");
    let csv = tampered.get("/history/decisions.csv?who=mallory").expect(StatusCode::OK, "mallory").text;
    assert!(csv.contains("admitted,altered,mallory"), "{csv}");
    assert_eq!(tampered.get("/history/decisions.json?who=mallory").expect(StatusCode::OK, "").text, "");
}

#[test]
fn a_long_log_is_turned_over_and_its_older_decisions_are_found_by_a_filter() {
    let line = fs::read_to_string(file("api-server.log")).expect("a log").lines().next().expect("a line").to_owned();
    let mut log = String::new();
    for number in 0..10_050 {
        let time = format!("2026-11-22T{:02}:{:02}:{:02}", number / 3600, number / 60 % 60, number % 60);
        log.push_str(&line.replace("2026-11-22T10:01:00", &time));
        log.push('\n');
    }
    let (_folder, path) = written(&log);
    let logs = LogFlags { audit_log: vec![path], ..LogFlags::default() };
    let browser = Browser::of(Settings { logs, ..settings() });
    let text = browser.page("/history");
    has(&text, &["Decisions 1 to 100 of 10,050 that match", "after the newest 10,000 of 10,050 decisions", "Older"]);
    assert!(!text.contains("Newer"), "{text}");
    has(&browser.page("/history?page=2"), &["Decisions 101 to 200 of 10,050", "Newer", "Older", "Page 2 of 100"]);
    has(&browser.page("/history?page=9999"), &["Decisions 9,901 to 10,000 of 10,050"]);
    has(&browser.page("/history?until=2026-11-22T00:00:03Z"), &["Decisions 1 to 3 of 3", "2026-11-22 00:00:00"]);
}

#[test]
fn a_reading_is_kept_until_it_is_repeated_or_the_session_ends() {
    let lines: Vec<String> = webhook_log().lines().map(str::to_owned).collect();
    let (_folder, path) = written(&(lines[..6].join("\n") + "\n"));
    let mut browser = Browser::of(console_with(&path));
    has(&browser.page("/history"), &["Decisions 1 to 5 of 5", "Read again"]);
    let mut log = OpenOptions::new().append(true).open(&path).expect("a log");
    log.write_all(lines[6].as_bytes()).expect("a line");
    has(&browser.page("/history"), &["Decisions 1 to 5 of 5"]);
    let answer = browser.get("/history?who=alice&again=1").expect(StatusCode::SEE_OTHER, "");
    assert_eq!(answer.header("location"), browser.served.console.at("/history?source=log&who=alice"));
    has(&browser.page("/history"), &["Decisions 1 to 6 of 6"]);
    fs::write(&path, lines[..3].join("\n")).expect("a log");
    browser.served.send(browser.served.post("/end", &browser.cookie, "")).expect(StatusCode::OK, "");
    browser.cookie = browser.served.open();
    has(&browser.page("/history"), &["Decisions 1 to 2 of 2"]);
}
