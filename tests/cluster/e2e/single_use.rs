//! An approval that may be used once: what is the same use, what is another, and when it is free again.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use writgate::metrics::Metrics;
use writgate::trail::ledger::Ledger;
use writgate_core::{decide::Use, kube::WorkloadKinds, record::HistoryNote};

use writgate_testing::harness::{Test, tests};
use writgate_testing::{Gate, Governed, Ran, SYSTEM_NAMESPACE, denial, denied_for, free_port, wait_until};

/// Beyond the wait of the tests' webhook (see `writgate_testing`) and what it takes to prove that nothing was missed.
const LIMIT: Duration = Duration::from_secs(40);

pub(crate) fn tests() -> Vec<Test<Gate>> {
    tests![
        one_approval_admits_one_of_the_jobs_that_a_prefix_generates,
        a_job_that_is_deleted_and_made_again_is_another,
        a_dry_run_spends_nothing_and_tells_the_true_verdict,
        a_suspended_job_is_let_go_once,
        a_job_that_ran_is_not_let_go_again,
        a_use_is_confirmed_once_its_object_was_seen,
        a_job_that_a_quota_stopped_leaves_its_approval_usable,
        letting_go_that_another_webhook_stopped_leaves_the_approval_usable,
        an_ordinary_admission_costs_no_request_and_a_use_one_write_before_the_answer,
        a_use_is_swept_a_day_after_its_approval_expired_and_a_history_after_a_year,
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

fn a_use_is_confirmed_once_its_object_was_seen(gate: &Gate) {
    let governed = gate.governed("seen");
    assert!(gate.operator.create(&approved_job(&governed)).ok());
    // Gone at once: a look now and then would miss it, though it ran.
    let ran = gate.operator.kubectl(&["delete", "job", "replay", "-n", &governed.namespace]);
    assert!(ran.ok(), "{ran}");
    wait_until("the use is confirmed", LIMIT, || {
        let uses = entries(gate, &governed);
        assert_eq!(uses.len(), 1, "{uses:?}");
        (uses[0]["confirmed"].is_string() && uses[0]["freeAt"].is_null()).then_some(())
    });
}

fn a_job_that_a_quota_stopped_leaves_its_approval_usable(gate: &Gate) {
    let governed = gate.governed("quota");
    gate.plane.install(&[json!({"apiVersion": "v1", "kind": "ResourceQuota",
        "metadata": {"name": "none", "namespace": governed.namespace}, "spec": {"hard": {"count/jobs.batch": "0"}}})]);
    // No controller here fills in what the API server goes by.
    let status = json!({"status": {"hard": {"count/jobs.batch": "0"}, "used": {"count/jobs.batch": "0"}}}).to_string();
    let patch = ["patch", "resourcequota", "none", "--subresource=status", "--type=merge", "-p", &status];
    let ran = gate.plane.admin.kubectl(&[&patch[..], &["-n", &governed.namespace]].concat());
    assert!(ran.ok(), "{ran}");
    let job = approved_job(&governed);
    wait_until("the API server knows the quota", LIMIT, || {
        let ran = gate.operator.kubectl_in(&["create", "--dry-run=server", "-f", "-"], &job.to_string());
        ran.stderr.contains("quota").then_some(())
    });
    let ran = gate.operator.create(&job);
    assert!(ran.stderr.contains("quota"), "{ran}");
    let ran = gate.operator.create(&job);
    assert!(denied_for(&ran, "AlreadyUsed"), "as long as it is not sure: {ran}");
    assert!(denial(&ran).is_some_and(|message| message.contains("becomes usable again at")), "{ran}");

    let ran = gate.plane.admin.kubectl(&["delete", "resourcequota", "none", "-n", &governed.namespace]);
    assert!(ran.ok(), "{ran}");
    wait_until("the approval is free again", LIMIT, || gate.operator.create(&job).ok().then_some(()));
    let ran = gate.operator.kubectl(&["delete", "job", "replay", "-n", &governed.namespace]);
    assert!(ran.ok(), "{ran}");
    let ran = gate.operator.create(&job);
    assert!(denied_for(&ran, "AlreadyUsed"), "and then it is spent: {ran}");
}

fn letting_go_that_another_webhook_stopped_leaves_the_approval_usable(gate: &Gate) {
    let governed = gate.governed("stopped");
    let mut job = governed.replay_job("replay");
    job["spec"]["suspend"] = json!(true);
    assert!(gate.operator.create(&governed.approved(&job)).ok());
    let name = format!("silent-{}", governed.namespace);
    gate.plane.install(&[json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": name}, "webhooks": [{
            "name": "silent.acme.example", "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "clientConfig": {"url": format!("https://127.0.0.1:{}/", free_port())},
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": governed.namespace}},
            "rules": [{"apiGroups": ["batch"], "apiVersions": ["v1"], "resources": ["jobs"], "operations": ["UPDATE"]}]}]})]);
    wait_until("another webhook stops it", LIMIT, || {
        let ran = gate.operator.kubectl(&["label", "--overwrite", "job", "replay", "-n", &governed.namespace, "a=b"]);
        ran.stderr.contains("silent.acme.example").then_some(())
    });
    let ran = suspend(&governed, false);
    assert!(ran.stderr.contains("silent.acme.example"), "{ran}");
    let starts = || entries(gate, &governed).iter().filter(|record| record["confirmed"].is_null()).count();
    assert_eq!(starts(), 1, "its start is reserved");
    wait_until("its start is free again", LIMIT, || (starts() == 0).then_some(()));
    assert_eq!(entries(gate, &governed).len(), 1, "that it exists stays used");

    assert!(gate.plane.admin.kubectl(&["delete", "validatingwebhookconfiguration", &name]).ok());
    wait_until("it is let go", LIMIT, || suspend(&governed, false).ok().then_some(()));
    assert!(suspend(&governed, true).ok());
    let ran = suspend(&governed, false);
    assert!(denied_for(&ran, "AlreadyUsed"), "{ran}");
}

fn an_ordinary_admission_costs_no_request_and_a_use_one_write_before_the_answer(gate: &Gate) {
    let governed = gate.governed("cost");
    let costs = |name: &str, expected: &[(&str, usize)]| {
        let expected: BTreeMap<String, usize> =
            expected.iter().map(|(what, count)| ((*what).to_owned(), *count)).collect();
        let mut requests = BTreeMap::new();
        wait_until("all is done behind the answer", LIMIT, || {
            requests = requests_about(&governed, name);
            requests.keys().eq(expected.keys()).then_some(())
        });
        // Objects are looked for until they are there, so often as it takes.
        requests.retain(|what, _| !what.starts_with("get "));
        assert!(requests.iter().all(|(what, count)| expected[what] == *count), "{requests:?}, expected {expected:?}");
    };
    let ran = gate.operator.create(&governed.approved(&governed.deployment("orders")));
    assert!(ran.ok(), "{ran}");
    costs("orders", &[("create events", 1), ("get deployments", 1)]);
    let ran = gate.operator.create(&approved_job(&governed));
    assert!(ran.ok(), "{ran}");
    let before = ("create configmaps", 1);
    let behind = [("list jobs", 1), ("update configmaps", 1), ("create events", 1), ("get jobs", 1)];
    costs("replay", &[&[before][..], &behind].concat());
}

fn a_use_is_swept_a_day_after_its_approval_expired_and_a_history_after_a_year(gate: &Gate) {
    // A ledger of its own, which no other test's entries are in.
    let namespace = gate.plane.namespace("swept");
    let object =
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "payments", "name": "orders", "uid": "u"});
    let hash = format!("sha256:{}", "0".repeat(64));
    let wanted: Use = from_value(json!({"entry": format!("use-{}", "0".repeat(64)), "approval": "a", "generation": 1,
        "expiresAt": "2026-11-22T12:00:00Z", "object": object, "specHash": hash, "starts": true}));
    let admission = from_value(json!({"time": "2026-11-22T11:00:00Z", "decision": uuid::Uuid::nil(), "specHash": hash,
        "claims": {}, "cluster": null, "environment": "e", "project": "p", "requestedBy": null, "approvals": []}));
    let note = HistoryNote { object: wanted.object.clone(), admission };
    let at = |time: &str| time.parse::<jiff::Timestamp>().expect("RFC 3339");
    gate.plane.block_on(async {
        let client = gate.plane.admin.client().await;
        let ledger =
            Ledger::new(client, WorkloadKinds::default(), &namespace, Duration::from_secs(90), Metrics::default());
        ledger.use_of(&wanted, false, at("2026-11-22T11:00:00Z")).await.expect("it is reserved");
        ledger.note(&note).await;
        assert_eq!(ledger.sweep(at("2026-11-23T12:00:00Z")).await, Ok(0), "a day later, to the second");
        assert_eq!(ledger.sweep(at("2026-11-23T12:00:01Z")).await, Ok(1), "the use");
        assert_eq!(ledger.use_of(&wanted, true, at("2026-11-22T11:00:00Z")).await, Ok(None), "nobody has it");
        assert_eq!(ledger.history(&note.object).await.map(|history| history.admissions().len()), Ok(1));
        assert_eq!(ledger.sweep(at("2027-12-28T00:00:00Z")).await, Ok(1), "the history");
        assert_eq!(ledger.history(&note.object).await.map(|history| history.admissions().len()), Ok(0));
    });
}

fn from_value<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("as the ledger keeps it")
}

/// What the webhook asked the API server about an object, its Event and its use, and how often; but for watches, which the
/// audit log leaves out.
fn requests_about(governed: &Governed<'_>, name: &str) -> BTreeMap<String, usize> {
    let gate = governed.gate;
    let uses = entries(gate, governed);
    let is_entry =
        |of: &str| uses.iter().any(|record| record["use"]["object"]["name"] == name && record["use"]["entry"] == of);
    let lines = gate.plane.audit_log(|line| {
        let (namespace, of) = (&line["objectRef"]["namespace"], line["objectRef"]["name"].as_str().unwrap_or_default());
        let about = *namespace == governed.namespace.as_str() && of.split('.').next() == Some(name);
        line["user"]["username"] == gate.webhook.identity.name.as_str() && (about || is_entry(of))
    });
    let word = |value: &Value| value.as_str().expect("text").to_owned();
    let mut requests = BTreeMap::new();
    for line in lines {
        *requests.entry(format!("{} {}", word(&line["verb"]), word(&line["objectRef"]["resource"]))).or_insert(0) += 1;
    }
    requests
}

fn suspend(governed: &Governed<'_>, suspend: bool) -> Ran {
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
