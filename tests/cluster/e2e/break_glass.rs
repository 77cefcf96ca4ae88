//! An approval for an emergency: admitted by the posture's rule for emergencies, and told to everybody.

use serde_json::{Value, json};

use crate::e2e::trail;
use writgate_testing::harness::{Test, tests};
use writgate_testing::{Gate, Governed, denied_for, seconds_from_now};

pub(crate) fn tests() -> Vec<Test<Gate>> {
    tests![
        an_emergency_is_admitted_and_told,
        an_emergency_lasts_no_longer_and_takes_no_fewer_people_than_the_posture_says
    ]
}

/// Two people for a deploy, and in an emergency so many.
fn governed(gate: &Gate, people: u32) -> Governed<'_> {
    gate.governed_with("fire", |posture| {
        posture["actions"] = json!({"deploy": {"quorum": [{"count": 2}]}});
        posture["breakGlass"] = json!({"maxLifetime": "2h", "capabilities": ["deploy"], "quorum": [{"count": people}]});
    })
}

fn emergency(governed: &Governed<'_>, change: impl FnOnce(&mut Value)) -> Value {
    governed.approved_but(&governed.deployment("orders"), |statement| {
        statement["predicate"]["breakGlass"] = json!(true);
        change(&mut statement["predicate"]);
    })
}

fn an_emergency_is_admitted_and_told(gate: &Gate) {
    let governed = governed(gate, 1);
    let ran = gate.operator.create(&governed.approved(&governed.deployment("orders")));
    assert!(denied_for(&ran, "QuorumNotMet"), "the same approval, but for no emergency: {ran}");
    let counted = || gate.webhook.metric("writgate_break_glass_admissions_total", &[]);
    let before = counted();

    let ran = gate.operator.create(&emergency(&governed, |_| ()));
    assert!(ran.ok() && ran.stderr.contains("Warning: ") && ran.stderr.contains("under break-glass"), "{ran}");
    let records = trail::records(&governed, |record| record["decision"] == "admitted" && record["dryRun"] == false);
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(records[0]["basis"], "break-glass", "{records:?}");
    let event = trail::event_of(&governed, &records[0]);
    assert_eq!((&event["reason"], &event["type"]), (&json!("BreakGlassAdmitted"), &json!("Warning")), "{event}");
    assert!(counted() > before, "it is counted apart");
}

fn an_emergency_lasts_no_longer_and_takes_no_fewer_people_than_the_posture_says(gate: &Gate) {
    let one = governed(gate, 1);
    let ran =
        gate.operator.create(&emergency(&one, |predicate| predicate["expiresAt"] = json!(seconds_from_now(9000))));
    assert!(denied_for(&ran, "LifetimeTooLong"), "{ran}");
    let two = governed(gate, 2);
    let ran = gate.operator.create(&emergency(&two, |_| ()));
    assert!(denied_for(&ran, "QuorumNotMet"), "{ran}");
    let none = gate.governed("fire");
    let ran = gate.operator.create(&emergency(&none, |_| ()));
    assert!(denied_for(&ran, "WrongAction"), "the posture knows no emergencies: {ran}");
}
