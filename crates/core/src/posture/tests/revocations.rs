//! Revocations: entries that revoke nothing, and entries for the same thing.

use serde_json::{Value, json};

use super::*;

#[test]
fn refuses_a_revocation_that_can_match_nothing() {
    for id in [
        "",
        "x",
        "01935a00-0000-4000-8000-000000000001",
        "01935A00-0000-7000-8000-000000000001",
        "01935a0000007000800000000000000f",
    ] {
        assert_set_problem("Revocations", "/approvals/0/id", json!(id), "approvals[0].id", "UUIDv7");
    }
    assert_set_problem("Revocations", "/keys/0/id", json!(BOB.to_uppercase()), "keys[0].id", "64 lower-case hex");
    assert_set_problem("Revocations", "/specs/0/hash", json!(BOB), "specs[0].hash", "not a spec hash");
    assert_set_problem("Revocations", "/specs/0/at", json!("now"), "specs[0].at", "not a time");
}

#[test]
fn every_entry_is_counted() {
    let two = json!([{"id": "01935a00-0000-7000-8000-000000000001"}, {"id": "01935a00-0000-7000-8000-000000000002"}]);
    let set = changed("Revocations", "/approvals", two);
    let revocations = &set.environment("production").unwrap().revocations;
    assert_eq!((revocations.keys.len(), revocations.specs.len(), revocations.len()), (1, 1, 4));
}

#[test]
fn the_earlier_of_two_revocations_counts() {
    let id = "01935a00-0000-7000-8000-000000000001";
    let revoked = |entries: Value| {
        let set = changed("Revocations", "/approvals", entries);
        set.environment("production").unwrap().revocations.approvals[id].clone()
    };
    let early = json!({"id": id, "at": "2026-11-22T09:00:00Z"});
    let late = json!({"id": id, "at": "2026-11-22T10:00:00Z"});
    let always = json!({"id": id});
    let nine = "2026-11-22T09:00:00Z".parse().ok();
    assert_eq!(revoked(json!([early, late])).at, nine);
    assert_eq!(revoked(json!([late, early])).at, nine);
    assert_eq!(revoked(json!([late, always])).at, None);
    assert_eq!(revoked(json!([always, early])).at, None);
}
