//! Separation of duties where a GitOps tool applies what somebody else asked for: the API user is a service account, so
//! who asked is proved by signatures or not at all.

use serde_json::{Value, json};

use crate::e2e::trail;
use writgate_testing::harness::{Test, tests};
use writgate_testing::{Gate, Governed, Key, attach, denied_for, envelope};

pub(crate) fn tests() -> Vec<Test<Gate>> {
    tests![
        a_gitops_tool_carries_what_two_people_signed,
        what_one_person_signed_is_not_proved_by_a_gitops_tool,
        a_requester_who_signs_too_is_proved,
        a_requester_who_applies_is_proved,
        a_reviewer_does_not_apply_what_they_signed,
    ]
}

fn proven<'g>(gate: &'g Gate, hint: &str) -> Governed<'g> {
    gate.governed_with(hint, |posture| posture["separationOfDuties"] = json!("proven"))
}

/// A Deployment that `keys` approved for `requester`.
fn signed(governed: &Governed<'_>, requester: &str, keys: &[&Key]) -> Value {
    let object = governed.deployment("orders");
    let mut statement = governed.statement(&object);
    statement["predicate"]["requestedBy"] = json!(requester);
    attach(&object, &envelope(&statement, keys))
}

fn a_gitops_tool_carries_what_two_people_signed(gate: &Gate) {
    let governed = proven(gate, "gitops-two");
    let ran = gate.gitops.apply(&signed(&governed, "alice@acme.example", &[&governed.bob, &governed.carol]));
    assert!(ran.ok(), "{ran}");
    let records = trail::records(&governed, |record| record["decision"] == "admitted");
    let [record] = &*records else { panic!("one record: {records:?}") };
    assert_eq!(record["initiator"]["username"], "system:serviceaccount:gitops:applier", "{record}");
    assert_eq!(record["requestedBy"], "alice@acme.example", "the person behind the tool: {record}");
    assert_eq!(record["approvals"][0]["reviewers"], json!(["bob@acme.example", "carol@acme.example"]), "{record}");
}

fn what_one_person_signed_is_not_proved_by_a_gitops_tool(gate: &Gate) {
    let governed = proven(gate, "gitops-one");
    let ran = gate.gitops.apply(&signed(&governed, "alice@acme.example", &[&governed.bob]));
    assert!(denied_for(&ran, "QuorumNotMet"), "{ran}");
    // The tool's own name proves nobody: whoever may edit its namespace may act as it.
    let ran = gate.gitops.apply(&signed(&governed, "system:serviceaccount:gitops:applier", &[&governed.bob]));
    assert!(denied_for(&ran, "QuorumNotMet"), "{ran}");
}

fn a_requester_who_signs_too_is_proved(gate: &Gate) {
    let governed = proven(gate, "gitops-signed");
    let asked_by_lenny = |keys: &[&Key]| signed(&governed, "lenny@acme.example", keys);
    let ran = gate.gitops.apply(&asked_by_lenny(&[&governed.limited]));
    assert!(!ran.ok(), "the requester alone approves nothing: {ran}");
    let ran = gate.gitops.apply(&asked_by_lenny(&[&governed.limited, &governed.bob]));
    assert!(ran.ok(), "{ran}");
}

fn a_requester_who_applies_is_proved(gate: &Gate) {
    let governed = proven(gate, "gitops-applied");
    let ran = gate.operator.apply(&signed(&governed, "mallory", &[&governed.bob]));
    assert!(denied_for(&ran, "QuorumNotMet"), "alice applies what mallory is said to have asked for: {ran}");
    let ran = gate.operator.apply(&signed(&governed, "alice", &[&governed.bob]));
    assert!(ran.ok(), "{ran}");
}

fn a_reviewer_does_not_apply_what_they_signed(gate: &Gate) {
    let governed = gate.governed("self");
    let ran = gate.operator.apply(&signed(&governed, "bob@acme.example", &[&governed.bob]));
    assert!(denied_for(&ran, "SelfApproval"), "asked for by bob, signed by bob: {ran}");
    let ran = gate.operator.apply(&signed(&governed, "BOB@ACME.EXAMPLE", &[&governed.bob]));
    assert!(denied_for(&ran, "SelfApproval"), "in capitals too: {ran}");
    let ran = gate.operator.apply(&signed(&governed, "bob@acme.example", &[&governed.bob, &governed.carol]));
    assert!(ran.ok(), "carol signed as well, and counts: {ran}");
}
