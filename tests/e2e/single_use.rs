//! An approval that may be used once: what is the same use, what is another, and when it is free again.

use serde_json::{Value, json};

use crate::support::harness::{Test, tests};
use crate::support::{Gate, Governed, SYSTEM_NAMESPACE, denied_for};

pub(crate) fn tests() -> Vec<Test<Gate>> {
    tests![
        one_approval_admits_one_of_the_jobs_that_a_prefix_generates,
        a_job_that_is_deleted_and_made_again_is_another,
        a_dry_run_spends_nothing_and_tells_the_true_verdict,
        a_suspended_job_is_let_go_once,
        a_job_that_ran_is_not_let_go_again,
    ]
}

/// A replay Job that goes on for as long as a test may take: nothing runs it.
fn approved_job(governed: &Governed<'_>) -> Value {
    governed.approved(&governed.replay_job("replay"))
}

fn one_approval_admits_one_of_the_jobs_that_a_prefix_generates(gate: &Gate) {
    let governed = gate.governed("once");
    let mut job = governed.replay_job("replay");
    job["metadata"].as_object_mut().expect("metadata").remove("name");
    job["metadata"]["generateName"] = json!("replay-");
    let job = governed.approved(&job);
    let ran = gate.operator.create(&job);
    assert!(ran.ok(), "{ran}");
    let ran = gate.operator.create(&job);
    assert!(denied_for(&ran, "AlreadyUsed"), "{ran}");
    let jobs = gate.plane.admin.get(&["jobs", "-n", &governed.namespace]).expect("a list");
    assert_eq!(jobs["items"].as_array().map(Vec::len), Some(1), "{jobs}");
}

fn a_job_that_is_deleted_and_made_again_is_another(gate: &Gate) {
    let governed = gate.governed("again");
    let job = approved_job(&governed);
    assert!(gate.operator.create(&job).ok());
    let ran = gate.operator.apply(&job);
    assert!(ran.ok(), "the same object, applied again: {ran}");
    let ran = gate.operator.kubectl(&["delete", "job", "replay", "-n", &governed.namespace]);
    assert!(ran.ok(), "{ran}");
    let ran = gate.operator.create(&job);
    assert!(denied_for(&ran, "AlreadyUsed"), "{ran}");
}

fn a_dry_run_spends_nothing_and_tells_the_true_verdict(gate: &Gate) {
    let governed = gate.governed("look");
    let job = approved_job(&governed);
    let dry = || gate.operator.kubectl_in(&["create", "--dry-run=server", "-f", "-"], &job.to_string());
    assert!(dry().ok() && dry().ok(), "nobody has used it");
    assert!(entries(gate, &governed).is_empty(), "nothing is written");
    assert!(gate.operator.create(&job).ok());
    let ran = gate.operator.kubectl(&["delete", "job", "replay", "-n", &governed.namespace]);
    assert!(ran.ok(), "{ran}");
    let ran = dry();
    assert!(denied_for(&ran, "AlreadyUsed"), "{ran}");
}

fn a_suspended_job_is_let_go_once(gate: &Gate) {
    let governed = gate.governed("suspended");
    let mut job = governed.replay_job("replay");
    job["spec"]["suspend"] = json!(true);
    let ran = gate.operator.create(&governed.approved(&job));
    assert!(ran.ok(), "{ran}");
    assert!(suspend(&governed, false).ok(), "let go");
    assert!(suspend(&governed, true).ok(), "suspending is nobody's business");
    let ran = suspend(&governed, false);
    assert!(denied_for(&ran, "AlreadyUsed"), "let go again: {ran}");
}

fn a_job_that_ran_is_not_let_go_again(gate: &Gate) {
    let governed = gate.governed("ran");
    let ran = gate.operator.create(&approved_job(&governed));
    assert!(ran.ok(), "{ran}");
    assert!(suspend(&governed, true).ok());
    let ran = suspend(&governed, false);
    assert!(denied_for(&ran, "AlreadyUsed"), "{ran}");
}

fn suspend(governed: &Governed<'_>, suspend: bool) -> crate::support::Ran {
    let patch = json!({"spec": {"suspend": suspend}}).to_string();
    let args = ["patch", "job", "replay", "-n", &governed.namespace, "--type=merge", "-p", &patch];
    governed.gate.operator.kubectl(&args)
}

/// The uses in the ledger by objects of this namespace.
fn entries(gate: &Gate, governed: &Governed<'_>) -> Vec<Value> {
    let list = gate.plane.admin.get(&["configmaps", "-n", SYSTEM_NAMESPACE, "-l", "writgate.dev/kind=ledger"]);
    let list = list.expect("a list is always there");
    let records = list["items"].as_array().expect("items").iter().filter_map(|entry| {
        let text = entry["data"]["use.json"].as_str()?;
        Some(serde_json::from_str::<Value>(text).expect("JSON"))
    });
    records.filter(|record| record["use"]["object"]["namespace"] == governed.namespace.as_str()).collect()
}
