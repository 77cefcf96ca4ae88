//! Separation of duties if a GitOps tool applies another person's request. The API user is a service account, so only a
//! signature proves who the requester is.

use serde_json::{Value, json};

use crate::e2e::trail;
use writgate_testing::harness::{Test, tests};
use writgate_testing::{Governed, Installation, Key, attach, denied_for, envelope};

pub(crate) fn tests() -> Vec<Test<Installation>> {
    tests![
        a_gitops_tool_may_apply_what_two_people_signed,
        denies_a_gitops_tool_that_applies_what_one_person_signed,
        a_requester_is_proven_by_a_signature,
        a_requester_is_proven_by_applying,
        denies_an_approval_that_only_its_requester_signed,
    ]
}

fn proven<'g>(installation: &'g Installation, hint: &str) -> Governed<'g> {
    installation.governed_with(hint, |posture| posture["separationOfDuties"] = json!("proven"))
}

/// A Deployment with an approval for `requester`, signed with `keys`.
fn signed(governed: &Governed<'_>, requester: &str, keys: &[&Key]) -> Value {
    let object = governed.deployment("orders");
    let mut statement = governed.statement(&object);
    statement["predicate"]["requestedBy"] = json!(requester);
    attach(&object, &envelope(&statement, keys))
}

fn a_gitops_tool_may_apply_what_two_people_signed(installation: &Installation) {
    let governed = proven(installation, "gitops-two");
    let ran = installation.gitops.apply(&signed(&governed, "alice@acme.example", &[&governed.bob, &governed.carol]));
    assert!(ran.ok(), "{ran}");
    let records = trail::records(&governed, |record| record["decision"] == "admitted");
    let [record] = &*records else { panic!("one record: {records:?}") };
    assert_eq!(record["initiator"]["username"], "system:serviceaccount:gitops:applier", "{record}");
    assert_eq!(record["requestedBy"], "alice@acme.example", "the requester is the person, not the tool: {record}");
    assert_eq!(record["approvals"][0]["reviewers"], json!(["bob@acme.example", "carol@acme.example"]), "{record}");
}

fn denies_a_gitops_tool_that_applies_what_one_person_signed(installation: &Installation) {
    let governed = proven(installation, "gitops-one");
    let ran = installation.gitops.apply(&signed(&governed, "alice@acme.example", &[&governed.bob]));
    assert!(denied_for(&ran, "QuorumNotMet"), "{ran}");
    // The tool's own name proves no person: every user who may edit its namespace can act as the tool.
    let ran = installation.gitops.apply(&signed(&governed, "system:serviceaccount:gitops:applier", &[&governed.bob]));
    assert!(denied_for(&ran, "QuorumNotMet"), "{ran}");
}

fn a_requester_is_proven_by_a_signature(installation: &Installation) {
    let governed = proven(installation, "gitops-signed");
    let requested_by_lenny = |keys: &[&Key]| signed(&governed, "lenny@acme.example", keys);
    let ran = installation.gitops.apply(&requested_by_lenny(&[&governed.limited]));
    assert!(!ran.ok(), "only the requester signed: {ran}");
    let ran = installation.gitops.apply(&requested_by_lenny(&[&governed.limited, &governed.bob]));
    assert!(ran.ok(), "{ran}");
}

fn a_requester_is_proven_by_applying(installation: &Installation) {
    let governed = proven(installation, "gitops-applied");
    let ran = installation.operator.apply(&signed(&governed, "mallory", &[&governed.bob]));
    assert!(denied_for(&ran, "QuorumNotMet"), "alice applies a request in mallory's name: {ran}");
    let ran = installation.operator.apply(&signed(&governed, "alice", &[&governed.bob]));
    assert!(ran.ok(), "{ran}");
}

fn denies_an_approval_that_only_its_requester_signed(installation: &Installation) {
    let governed = installation.governed("self");
    let ran = installation.operator.apply(&signed(&governed, "bob@acme.example", &[&governed.bob]));
    assert!(denied_for(&ran, "SelfApproval"), "requested and signed by bob: {ran}");
    let ran = installation.operator.apply(&signed(&governed, "BOB@ACME.EXAMPLE", &[&governed.bob]));
    assert!(denied_for(&ran, "SelfApproval"), "requested by bob, in capitals: {ran}");
    let ran = installation.operator.apply(&signed(&governed, "bob@acme.example", &[&governed.bob, &governed.carol]));
    assert!(ran.ok(), "carol signed as well: {ran}");
}
