use futures::FutureExt as _;
use serde_json::{Value, json};

use super::*;
use crate::notify::inbox::Sighting as _;
use crate::notify::notification::Place;
use crate::state::watch::Follower as _;

fn denial(subject: &str, reason: &str, time: &str) -> Notification {
    let place = Place { namespace: "payments", environment: "production", project: None };
    let time = time.parse().expect("a time");
    Notification::new(NotificationType::Denied, &[subject, reason], time, &place, subject).facts("reasons", [reason])
}

#[test]
fn a_denial_is_repeated_if_object_and_reason_were_denied_in_the_last_hour() {
    let mut denials = FirstDenials::default();
    let mut is_first = |subject, reason, minute: u32| {
        denials.is_first(&denial(subject, reason, &format!("2026-11-22T1{}:{:02}:00Z", minute / 60, minute % 60)))
    };
    assert!(is_first("orders", "ApprovalRequired", 0));
    assert!(!is_first("orders", "ApprovalRequired", 40));
    assert!(!is_first("orders", "ApprovalRequired", 80), "a repetition prolongs the hour");
    assert!(is_first("orders", "Expired", 80), "another reason");
    assert!(is_first("ledger", "ApprovalRequired", 80), "another object");
    assert!(is_first("orders", "ApprovalRequired", 140));
}

#[test]
fn a_crowd_of_denials_takes_a_bounded_amount_of_memory() {
    let mut denials = FirstDenials::default();
    for number in 0..MAX_DENIALS * 2 {
        assert!(denials.is_first(&denial(&number.to_string(), "ApprovalRequired", "2026-11-22T10:00:00Z")));
    }
    assert!(denials.0.len() <= MAX_DENIALS);
}

#[tokio::test(start_paused = true)]
async fn what_anybody_can_cause_is_limited_in_each_namespace_and_counted() {
    let people = People::new(Vec::new(), Metrics::default());
    let permitted = |namespace: &str, times: u32| {
        (0..times).filter(|_| people.permits(NotificationType::Requested, namespace)).count()
    };
    assert_eq!((permitted("payments", 100), permitted("ledger", 10)), (60, 10));
    assert!(people.permits(NotificationType::Denied, "payments"), "another type");
    tokio::time::advance(Duration::from_hours(1)).await;
    assert_eq!(permitted("payments", 1), 1);
}

fn config_map(name: &str, version: &str) -> ConfigMap {
    let object = json!({"metadata": {"namespace": "payments", "name": name, "uid": name, "resourceVersion": version,
            "creationTimestamp": "2026-11-22T10:00:00Z", "labels": {"writgate.dev/kind": "approval"}},
        "data": {"approval.json": "{}"}});
    serde_json::from_value(object).expect("a ConfigMap")
}

fn request(version: &str) -> ConfigMap {
    let object = json!({"immutable": true, "metadata": {"namespace": "payments", "name": "request-1", "uid": "r",
            "resourceVersion": version, "creationTimestamp": "2026-11-22T10:00:00Z",
            "labels": {"writgate.dev/kind": "request"}},
        "data": {"request.json": "{}"}});
    serde_json::from_value(object).expect("a ConfigMap")
}

#[test]
fn an_inbox_offers_each_version_once_and_what_did_not_fit_again() {
    let room = SeenConfigMap::of(config_map("a", "1")).expect("an approval").size();
    let (inbox, mut seen) = Inbox::<SeenConfigMap>::new(room, Timestamp::UNIX_EPOCH);
    let mut next = || seen.recv().now_or_never().flatten().is_some();
    inbox.apply(config_map("a", "1"));
    inbox.apply(config_map("a", "1"));
    assert!(next() && !next() && !inbox.wants_another_list());
    inbox.apply(config_map("a", "2"));
    inbox.apply(config_map("b", "1"));
    assert!(inbox.wants_another_list(), "one did not fit");
    assert!(next() && !next());
    let list = || {
        let mut listed = inbox::Listed::default();
        inbox.list(&mut listed, vec![config_map("a", "2"), config_map("b", "1")]);
        inbox.reset(listed);
    };
    list();
    assert!(next() && !next() && !inbox.wants_another_list());
    list();
    assert!(!next(), "nothing is offered twice");
    let (inbox, mut seen) = Inbox::<SeenConfigMap>::new(room, Timestamp::now());
    inbox.apply(config_map("a", "1"));
    assert!(seen.try_recv().is_err() && !inbox.wants_another_list(), "nobody requires what is old");
}

#[test]
fn touching_a_request_is_no_other_request() {
    let (inbox, mut seen) = Inbox::<SeenConfigMap>::new(ROOM, Timestamp::UNIX_EPOCH);
    for version in 1..=61 {
        inbox.apply(request(&version.to_string()));
    }
    assert!(seen.try_recv().is_ok());
    assert!(seen.try_recv().is_err(), "only the first version is looked at");
}

#[test]
fn one_object_that_changes_again_and_again_is_remembered_once() {
    let (inbox, mut seen) = Inbox::<SeenConfigMap>::new(ROOM, Timestamp::UNIX_EPOCH);
    for version in 1..=100 {
        inbox.apply(config_map("a", &version.to_string()));
        assert!(seen.try_recv().is_ok(), "version {version} is looked at");
    }
    assert_eq!(inbox.remembered(), 1);
    inbox.delete(config_map("a", "101"));
    assert_eq!(inbox.remembered(), 0);
}

#[test]
fn what_is_not_read_of_a_config_map_is_not_kept() {
    let large = "x".repeat(1 << 20);
    let kept = |more: Value| {
        let mut object = serde_json::to_value(request("1")).expect("JSON");
        object["metadata"].as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        SeenConfigMap::of(serde_json::from_value(object).expect("a ConfigMap")).expect("it is looked at")
    };
    let plain = kept(json!({})).size();
    for more in [
        json!({"labels": {"writgate.dev/kind": "request", "more": large}}),
        json!({"annotations": {"more": large}}),
        json!({"annotations": {"writgate.dev/request": large}}),
        json!({"managedFields": [{"manager": large}]}),
        json!({"finalizers": [large]}),
    ] {
        let kept = kept(more);
        assert_eq!(kept.size(), plain);
        assert!(format!("{kept:?}").len() < plain, "no other field is kept");
    }
}

#[test]
fn a_config_map_that_holds_something_else_or_too_much_is_not_looked_at() {
    let changed = |change: fn(&mut Value)| {
        let mut object = serde_json::to_value(request("1")).expect("JSON");
        change(&mut object);
        SeenConfigMap::of(serde_json::from_value(object).expect("a ConfigMap")).is_some()
    };
    assert!(changed(|_| {}));
    assert!(!changed(|object| object["metadata"]["labels"]["writgate.dev/kind"] = "posture".into()));
    assert!(!changed(|object| object["immutable"] = false.into()));
    assert!(!changed(|object| object["data"] = json!({"other": "{}"})));
    assert!(!changed(|object| object["data"]["other"] = "".into()));
    assert!(!changed(|object| object["data"]["request.json"] = "x".repeat(1 << 20).into()));
    assert!(!changed(|object| object["binaryData"] = json!({"more": "eA=="})));
}
