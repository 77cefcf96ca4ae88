//! The page of requests shows what others wrote as text.

use axum::http::StatusCode;
use writgate_core::approval::{PostedRequest, RequestFile};

use crate::{
    approval::request_state::RequestState,
    cluster::posted::Posted,
    console::{
        snapshot::{SeenRequest, Snapshot},
        tests::Served,
    },
};

/// A request as it is posted, with `edit`.
pub(super) fn posted(edit: impl FnOnce(&mut RequestFile)) -> Posted {
    let path = writgate_testing::repository().join("crates/cli/tests/cli/review.in/request.json");
    let text = std::fs::read_to_string(path).expect("a request");
    let mut file = RequestFile::read(serde_json::from_str(&text).expect("JSON")).expect("a request");
    edit(&mut file);
    let text = serde_json::to_string(&file).expect("JSON");
    let request = PostedRequest::parse("payments", &text).expect("a posted request");
    let name = request.digest.request_name();
    Posted { namespace: "payments".to_owned(), name, created: file.requested_at, request }
}

fn shown(served: &Served, posted: Posted, state: Option<RequestState>) -> String {
    let requests = vec![SeenRequest { posted, state }];
    let read = Some(writgate_cluster::clock::now());
    served.console.snapshots.publish(Snapshot { read, requests, ..Snapshot::default() });
    served.send(served.get("/", &served.open())).expect(StatusCode::OK, "Requests").text
}

#[test]
fn a_request_leads_to_its_page() {
    let served = Served::new();
    let posted = posted(|_| {});
    let link = format!("/requests/payments/{}\"", posted.name);
    let text = shown(&served, posted, None);
    assert!(text.contains(&link), "{text}");
    assert!(text.contains("being checked"), "{text}");
}

#[test]
fn texts_of_a_requester_are_neither_markup_nor_invisible() {
    let served = Served::new();
    let evil = "<script>alert(1)</script>\"'><img src=x onerror=a>\u{202e}\u{200b}";
    let posted = posted(|file| {
        file.reason = Some(evil.to_owned());
        file.requested_by = evil.to_owned();
        file.environment = evil.to_owned();
    });
    let text = shown(&served, posted, Some(RequestState::unknown(evil)));
    assert!(!text.contains("<script>alert") && !text.contains("<img"), "{text}");
    assert!(text.contains("&lt;script&gt;alert(1)&lt;/script&gt;&quot;"), "{text}");
    assert!(!text.contains(['\u{202e}', '\u{200b}']) && text.contains("\\u{202e}\\u{200b}"), "{text}");
}

#[test]
fn a_cluster_that_went_away_is_said_above_what_was_read_last() {
    let served = Served::new();
    let last = Snapshot::clone(&served.console.snapshots.current());
    let requests = vec![SeenRequest { posted: posted(|_| {}), state: None }];
    let failure = Some("cannot connect: <refused>".to_owned());
    served.console.snapshots.publish(Snapshot { failure, requests, ..last });
    let text = served.send(served.get("/", &served.open())).text;
    assert!(
        text.contains("The cluster could not be read.") && text.contains("cannot connect: &lt;refused&gt;"),
        "{text}"
    );
    assert!(text.contains("what was read last") && text.contains("/requests/payments/request-"), "{text}");
}

#[test]
fn rejections_that_were_not_read_are_said_above_the_list() {
    let said = "Not all rejections could be read";
    let read = RequestState::unknown("not computed");
    let mut unread = read.clone();
    unread.has_unread_rejections = true;
    let text = shown(&Served::new(), posted(|_| {}), Some(unread));
    assert!(text.find(said).is_some_and(|at| Some(at) < text.find("<article>")), "{text}");
    let text = shown(&Served::new(), posted(|_| {}), Some(read));
    assert!(!text.contains(said), "{text}");
}

#[test]
fn the_script_gets_the_list_as_soon_as_it_changes() {
    let served = Served::new();
    let cookie = served.open();
    let version = served.console.snapshots.current().version;
    let path = format!("/live/requests?after={}", version - 1);
    let answer = served.send(served.get(&path, &cookie)).expect(StatusCode::OK, "No request is posted");
    assert_eq!(answer.header("x-writgate-next"), served.console.at(&format!("/live/requests?after={version}")));
    served.console.snapshots.publish(Snapshot::clone(&served.console.snapshots.current()));
    assert_eq!(served.console.snapshots.current().version, version, "nothing has changed");
}

#[test]
fn a_thousand_requests_are_on_one_page() {
    let served = Served::new();
    let one = posted(|_| {});
    let requests = (0..1000).map(|n| SeenRequest {
        posted: Posted { name: format!("request-{n:020}"), ..one.clone() },
        state: Some(RequestState::unknown("not computed")),
    });
    let read = Some(writgate_cluster::clock::now());
    served.console.snapshots.publish(Snapshot { read, requests: requests.collect(), ..Snapshot::default() });
    let answer = served.send(served.get("/", &served.open()));
    let text = answer.expect(StatusCode::OK, "Waiting for signatures (1000)").text;
    assert_eq!(text.matches("<article>").count(), 1000);
}
