//! Break-glass approvals: admitted under the posture's emergency terms, with a warning, a metric and an Event of their own.

use serde_json::{Value, json};

use crate::e2e::trail;
use writgate_testing::harness::{Test, tests};
use writgate_testing::{Governed, Installation, denied_for, seconds_from_now};

pub(crate) fn tests() -> Vec<Test<Installation>> {
    tests![a_break_glass_approval_admits_with_a_warning, denies_a_break_glass_approval_beyond_the_terms_of_the_posture]
}

/// A namespace whose posture requires two reviewers for a deploy, and `people` under break-glass.
fn governed(installation: &Installation, people: u32) -> Governed<'_> {
    installation.governed_with("fire", |posture| {
        posture["actions"] = json!({"deploy": {"quorum": [{"count": 2}]}});
        posture["breakGlass"] = json!({"maxLifetime": "2h", "capabilities": ["deploy"], "quorum": [{"count": people}]});
    })
}

/// A Deployment with a break-glass approval by Bob.
fn emergency(governed: &Governed<'_>, change: impl FnOnce(&mut Value)) -> Value {
    governed.approved_but(&governed.deployment("orders"), |statement| {
        statement["predicate"]["breakGlass"] = json!(true);
        change(&mut statement["predicate"]);
    })
}

fn a_break_glass_approval_admits_with_a_warning(installation: &Installation) {
    let governed = governed(installation, 1);
    let ran = installation.operator.create(&governed.approved(&governed.deployment("orders")));
    assert!(denied_for(&ran, "QuorumNotMet"), "the same approval without breakGlass: {ran}");
    let counted = || installation.webhook.metric("writgate_break_glass_admissions_total", &[]);
    let before = counted();

    let ran = installation.operator.create(&emergency(&governed, |_| ()));
    assert!(ran.ok() && ran.stderr.contains("Warning: ") && ran.stderr.contains("under break-glass"), "{ran}");
    let records = trail::records(&governed, |record| record["decision"] == "admitted" && record["dryRun"] == false);
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(records[0]["basis"], "break-glass", "{records:?}");
    let event = trail::event_of(&governed, &records[0]);
    assert_eq!((&event["reason"], &event["type"]), (&json!("BreakGlassAdmitted"), &json!("Warning")), "{event}");
    assert!(counted() > before, "the break-glass metric grows");
}

fn denies_a_break_glass_approval_beyond_the_terms_of_the_posture(installation: &Installation) {
    let one = governed(installation, 1);
    let ran = installation
        .operator
        .create(&emergency(&one, |predicate| predicate["expiresAt"] = json!(seconds_from_now(9000))));
    assert!(denied_for(&ran, "LifetimeTooLong"), "{ran}");
    let two = governed(installation, 2);
    let ran = installation.operator.create(&emergency(&two, |_| ()));
    assert!(denied_for(&ran, "QuorumNotMet"), "{ran}");
    let none = installation.governed("fire");
    let ran = installation.operator.create(&emergency(&none, |_| ()));
    assert!(denied_for(&ran, "WrongAction"), "a posture without breakGlass: {ran}");
}
