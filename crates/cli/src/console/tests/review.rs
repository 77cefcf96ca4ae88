//! The page of a request shows what others wrote as text, and signs nothing that it has not shown.

use axum::http::StatusCode;
use clap::{Args as _, FromArgMatches as _};
use serde_json::{Value, json};
use writgate_core::approval::RequestFile;

use crate::{
    approval::{
        assessment::PostureFlags,
        draft::{ApprovalDraft, DraftInputs},
        proposal::{ProposalFiles, ProposalFlags},
        statement::StatementFlags,
    },
    cluster::ClusterFlags,
    cluster::OtherClusterFlags,
    command::review::{
        ReviewReport,
        view::{self, Block},
    },
    console::{
        review,
        tests::{Served, settings},
    },
};

/// The review of the transcripts' request with `edit`, without a cluster.
fn reviewed<T>(edit: impl FnOnce(&mut Value), work: impl FnOnce(&ReviewReport) -> T) -> T {
    let path = writgate_testing::repository().join("crates/cli/tests/cli/review.in/request.json");
    let text = std::fs::read_to_string(path).expect("a request");
    let mut value: Value = serde_json::from_str(&text).expect("JSON");
    edit(&mut value["workloads"][0]["object"]);
    let mut file = RequestFile::read(value).expect("a request");
    // The review says that the hash is another one; what the object has is shown all the same.
    for workload in &mut file.workloads {
        workload.runs = None;
    }
    let files = ProposalFiles { manifests: Vec::new(), request: Some((file, "request".to_owned())) };
    let (proposal, statement) = (ProposalFlags::default(), StatementFlags::default());
    let posture = PostureFlags { no_posture: true, ..PostureFlags::default() };
    let others = OtherClusterFlags::default();
    let inputs = DraftInputs {
        files: &files,
        proposal: &proposal,
        posture: &posture,
        others: &others,
        statement: &statement,
        envelope: None,
    };
    work(&ReviewReport::of(&ApprovalDraft::open(&inputs).expect("a draft")).expect("a review"))
}

fn html(report: &ReviewReport, full: bool) -> String {
    view::of(report, full).iter().map(|block: &Block| review::block(block, "/requests/a/b").into_string()).collect()
}

fn container(object: &mut Value) -> &mut Value {
    &mut object["spec"]["template"]["spec"]["containers"][0]
}

#[test]
fn the_page_has_every_line_of_the_text() {
    reviewed(
        |_| {},
        |report| {
            let page = html(report, true);
            let words: String = page.split('<').filter_map(|part| part.split_once('>')).map(|(_, text)| text).collect();
            let words = words.replace("&quot;", "\"").replace("&gt;", ">").replace("&lt;", "<").replace("&amp;", "&");
            let words = words.to_lowercase();
            let text = anstream::adapter::strip_str(&report.full_text()).to_string().to_lowercase();
            let (text, _) = text.split_once("\ncode of this review").expect("the end");
            let mut found = 0;
            for word in text.split_whitespace().map(|word| word.trim_end_matches(':')).filter(|word| word.len() > 1) {
                assert!(words.contains(word), "{word} is missing: {words}");
                found += 1;
            }
            assert!(found > 50, "{text}");
        },
    );
}

#[test]
fn values_of_a_hostile_manifest_are_neither_markup_nor_invisible() {
    let evil = "</li></ul><script>alert(1)</script>\"'\u{202e}\u{200b}";
    reviewed(
        |object| {
            container(object)["args"] = json!([evil, format!("{evil}\n{evil}")]);
            container(object)["env"] = json!([{"name": evil, "value": evil}]);
        },
        |report| {
            let page = html(report, false);
            assert!(!page.contains("<script") && page.contains("&lt;script&gt;"), "{page}");
            assert!(!page.contains(['\u{202e}', '\u{200b}']) && page.contains("u{202e}"), "{page}");
            assert_eq!(page.matches("<ul").count(), page.matches("</ul>").count(), "{page}");
        },
    );
}

#[test]
fn a_value_of_a_mebibyte_is_named_as_cut_and_shown_whole_on_demand() {
    let end = "THE-END";
    let long = format!("{}{end}", "x".repeat(1024 * 1024));
    reviewed(
        |object| container(object)["args"] = json!([long]),
        |report| {
            let page = html(report, false);
            assert!(page.contains("Not shown whole") && page.contains("/requests/a/b?full=1"), "{page}");
            assert!(!page.contains(end) && page.contains("more lines of this value"));
            assert!(html(report, true).contains(end));
        },
    );
}

#[test]
fn five_thousand_fields_are_shown_whole_on_demand() {
    reviewed(
        |object| {
            let env: Vec<Value> = (0..5000).map(|n| json!({"name": format!("V{n}"), "value": "x"})).collect();
            container(object)["env"] = env.into();
        },
        |report| {
            assert!(html(report, false).contains("more fields are not shown"));
            assert!(html(report, true).contains("env[V4999].value"));
        },
    );
}

#[test]
fn signs_only_a_review_that_the_session_has_shown() {
    let served = Served::new();
    let cookie = served.open();
    let sign = "/requests/payments/request-4f0c1a3e9d8b7a6c5e4d/sign";
    let unknown = format!("digest=sha256:{}", "0".repeat(64));
    for (fields, status, why) in [
        (&*unknown, StatusCode::CONFLICT, "this session did not show this review"),
        ("digest=sha256:0", StatusCode::BAD_REQUEST, "the form names no digest of a review"),
        ("digest=sha256:%2b0", StatusCode::BAD_REQUEST, "the form names no digest of a review"),
        ("", StatusCode::BAD_REQUEST, "the form names no digest of a review"),
    ] {
        served.send(served.post(sign, &cookie, fields)).expect(status, why);
        served.send(served.post(&sign.replace("/sign", "/reject"), &cookie, fields)).expect(status, why);
    }
    for path in [sign, "/requests/payments/a/reject", "/forget-passphrase"] {
        served.send(served.get(path, &cookie)).expect(StatusCode::METHOD_NOT_ALLOWED, "Another method");
    }
    let nothing = format!("/results/sha256:{}", "0".repeat(64));
    served.send(served.get(&nothing, &cookie)).expect(StatusCode::NOT_FOUND, "no page at this address");
    served.send(served.get(&format!("{nothing}/approval.json"), &cookie)).expect(StatusCode::NOT_FOUND, "no page");
    for path in ["/results/sha256:0", "/results/0/approval.json", "/requests/payments/%ff"] {
        let answer = served.send(served.get(path, &cookie)).expect(StatusCode::NOT_FOUND, "no page at this address");
        assert!(answer.header("content-type").starts_with("text/html"), "{path}");
    }
}

#[test]
fn a_kubeconfig_that_went_away_is_said_in_the_page() {
    let mut settings = settings();
    let command = ClusterFlags::augment_args(clap::Command::new("test"));
    let matches = command.get_matches_from(["test", "--kubeconfig", "/nonexistent/config"]);
    settings.cluster = ClusterFlags::from_arg_matches(&matches).expect("flags");
    let served = Served::with(settings);
    let answer = served.send(served.get("/requests/payments/request-4f0c1a3e9d8b7a6c5e4d", &served.open()));
    answer.expect(StatusCode::BAD_GATEWAY, "cannot connect to a cluster");
}
