//! What runs: the words for each coverage, and texts of others.

use axum::http::StatusCode;
use writgate_core::{
    decide::{Coverage, Unchecked},
    record::{ApprovalRecord, ObjectRecord},
};

use crate::{
    command::coverage::{CoverageReport, WorkloadCoverage},
    console::tests::Served,
};

fn approval(expires_at: &str) -> ApprovalRecord {
    ApprovalRecord {
        capabilities: vec!["deploy".to_owned()],
        expires_at: expires_at.parse().expect("a time"),
        id: "a-1".to_owned(),
        key_ids: Vec::new(),
        reason: None,
        reviewers: vec!["bob@acme.example".to_owned()],
    }
}

fn workload(name: &str, coverage: Coverage) -> WorkloadCoverage {
    let object = ObjectRecord {
        api_version: "apps/v1".to_owned(),
        kind: "Deployment".to_owned(),
        name: name.to_owned(),
        namespace: "payments".to_owned(),
        uid: None,
    };
    WorkloadCoverage {
        object,
        environment: Some("production".to_owned()),
        project: Some("payments".to_owned()),
        spec_hash: None,
        coverage,
        denied_under_enforce: false,
        enforcement: None,
        unchecked: Vec::new(),
        reasons: Vec::new(),
        messages: Vec::new(),
        approvals: Vec::new(),
    }
}

/// The page with these workloads.
fn shown(workloads: Vec<WorkloadCoverage>) -> String {
    let served = Served::new();
    let cookie = served.open();
    served.console.coverage.get(&served.console, false, || Ok(CoverageReport::new(workloads, 1))).expect("a report");
    served.send(served.get("/running", &cookie)).expect(StatusCode::OK, "What runs").text
}

/// The row of a workload.
fn row<'t>(text: &'t str, name: &str) -> &'t str {
    text.split("<tr>").find(|row| row.contains(&format!("Deployment payments/{name}<"))).expect(name)
}

#[test]
fn each_workload_has_its_coverage_and_its_approval() {
    let now = writgate_cluster::clock::now();
    let in_an_hour = now + jiff::SignedDuration::from_hours(1);
    let covered = |name: &str, coverage, expires_at: &str| {
        let approvals = vec![approval(expires_at)];
        WorkloadCoverage { approvals, ..workload(name, coverage) }
    };
    let text = shown(vec![
        covered("orders", Coverage::Approved, "2999-01-01T00:00:00Z"),
        covered("soon", Coverage::Approved, &in_an_hour.to_string()),
        covered("ledger", Coverage::Expired, "2026-01-01T00:00:00Z"),
        workload("free", Coverage::NotRequired),
        WorkloadCoverage {
            reasons: vec!["ApprovalRevoked".to_owned()],
            unchecked: vec![Unchecked::Running],
            ..workload("gone", Coverage::Revoked)
        },
        WorkloadCoverage { messages: vec!["cannot read it".to_owned()], ..workload("odd", Coverage::Unreadable) },
    ]);
    assert!(
        text.contains("6 workloads in 1 namespace: 1 revoked, 1 unreadable, 1 expired, 2 approved, 1 not-required"),
        "{text}"
    );
    let has = |name: &str, parts: &[&str]| {
        for part in parts {
            assert!(row(&text, name).contains(part), "{part}: {}", row(&text, name));
        }
    };
    has("orders", &["badge good\">approved", "bob@acme.example", "<time>2999-01-01T00:00:00Z</time></td>"]);
    has("soon", &["badge good\">approved", "within a day"]);
    has("ledger", &["badge careful\">expired", "2026-01-01T00:00:00Z"]);
    has("free", &["badge good\">not-required", "none required"]);
    has("gone", &["badge bad\">revoked", "ApprovalRevoked", "runs now"]);
    has("odd", &["badge careful\">unreadable", "cannot read it"]);
    assert!(text.find("No approval covers them (1)") < text.find("Covered (4)"), "the worst comes first");
}

#[test]
fn texts_of_others_are_neither_markup_nor_invisible() {
    let evil = "<script>alert(1)</script>\u{202e}\u{200b}";
    let odd = WorkloadCoverage { messages: vec![evil.to_owned()], ..workload("odd", Coverage::Unreadable) };
    let mut orders = workload("orders", Coverage::Approved);
    orders.environment = Some(evil.to_owned());
    orders.approvals = vec![ApprovalRecord { reviewers: vec![evil.to_owned()], ..approval("2999-01-01T00:00:00Z") }];
    let text = shown(vec![odd, orders]);
    assert_eq!(text.matches("&lt;script&gt;alert(1)&lt;/script&gt;\\u{202e}\\u{200b}").count(), 3, "{text}");
    assert!(!text.contains("<script>alert") && !text.contains(['\u{202e}', '\u{200b}']), "{text}");
}

#[test]
fn no_workload_is_said() {
    assert!(shown(Vec::new()).contains("No workload was found."));
}
