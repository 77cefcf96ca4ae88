//! Single-use approvals: which requests are the same use, which are another, and when an approval becomes usable again.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use writgate::metrics::Metrics;
use writgate::trail::ledger::Ledger;
use writgate_core::{decide::Use, kube::WorkloadKinds, record::HistoryNote};

use writgate_testing::harness::{Test, tests};
use writgate_testing::{Governed, Installation, Ran, SYSTEM_NAMESPACE, denial, denied_for, free_port, wait_until};

/// Longer than `--release-after` of the tests' webhook plus the watch that proves that an object was never created.
const LIMIT: Duration = Duration::from_secs(40);

pub(crate) fn tests() -> Vec<Test<Installation>> {
    tests![
        an_approval_for_a_prefix_admits_one_generated_job,
        denies_a_job_that_is_created_again_with_a_used_approval,
        a_dry_run_gets_the_real_decision_and_uses_no_approval,
        a_suspended_job_is_let_go_once,
        a_job_that_ran_is_not_let_go_again,
        a_use_is_confirmed_when_its_object_is_seen,
        an_approval_is_usable_again_after_a_quota_refused_its_job,
        an_approval_is_usable_again_after_another_webhook_denied_the_release,
        an_admission_sends_no_request_before_its_answer_and_a_use_sends_one_write,
        uses_are_deleted_a_day_after_expiry_and_histories_after_a_year,
    ]
}

/// An approved replay Job. No kubelet runs it, so it does not end.
fn approved_job(governed: &Governed<'_>) -> Value {
    governed.approved(&governed.replay_job("replay"))
}

fn an_approval_for_a_prefix_admits_one_generated_job(installation: &Installation) {
    let governed = installation.governed("once");
    let mut job = governed.replay_job("replay");
    job["metadata"].as_object_mut().expect("metadata").remove("name");
    job["metadata"]["generateName"] = json!("replay-");
    let job = governed.approved(&job);
    let ran = installation.operator.create(&job);
    assert!(ran.ok(), "{ran}");
    let ran = installation.operator.create(&job);
    assert!(denied_for(&ran, "AlreadyUsed"), "{ran}");
    let jobs = installation.plane.admin.get(&["jobs", "-n", &governed.namespace]).expect("a list");
    assert_eq!(jobs["items"].as_array().map(Vec::len), Some(1), "{jobs}");
}

fn denies_a_job_that_is_created_again_with_a_used_approval(installation: &Installation) {
    let governed = installation.governed("again");
    let job = approved_job(&governed);
    assert!(installation.operator.create(&job).ok());
    let ran = installation.operator.apply(&job);
    assert!(ran.ok(), "the same object applied again: {ran}");
    let ran = installation.operator.kubectl(&["delete", "job", "replay", "-n", &governed.namespace]);
    assert!(ran.ok(), "{ran}");
    let ran = installation.operator.create(&job);
    assert!(denied_for(&ran, "AlreadyUsed"), "{ran}");
}

fn a_dry_run_gets_the_real_decision_and_uses_no_approval(installation: &Installation) {
    let governed = installation.governed("look");
    let job = approved_job(&governed);
    let dry = || installation.operator.kubectl_in(&["create", "--dry-run=server", "-f", "-"], &job.to_string());
    assert!(dry().ok() && dry().ok(), "expected an admission before the use");
    assert!(entries(installation, &governed).is_empty(), "a dry run writes no use");
    assert!(installation.operator.create(&job).ok());
    let ran = installation.operator.kubectl(&["delete", "job", "replay", "-n", &governed.namespace]);
    assert!(ran.ok(), "{ran}");
    let ran = dry();
    assert!(denied_for(&ran, "AlreadyUsed"), "{ran}");
}

fn a_suspended_job_is_let_go_once(installation: &Installation) {
    let governed = installation.governed("suspended");
    let mut job = governed.replay_job("replay");
    job["spec"]["suspend"] = json!(true);
    let ran = installation.operator.create(&governed.approved(&job));
    assert!(ran.ok(), "{ran}");
    assert!(suspend(&governed, false).ok(), "the first release");
    assert!(suspend(&governed, true).ok(), "suspending is not an action");
    let ran = suspend(&governed, false);
    assert!(denied_for(&ran, "AlreadyUsed"), "a second release: {ran}");
}

fn a_job_that_ran_is_not_let_go_again(installation: &Installation) {
    let governed = installation.governed("ran");
    let ran = installation.operator.create(&approved_job(&governed));
    assert!(ran.ok(), "{ran}");
    assert!(suspend(&governed, true).ok());
    let ran = suspend(&governed, false);
    assert!(denied_for(&ran, "AlreadyUsed"), "{ran}");
}

fn a_use_is_confirmed_when_its_object_is_seen(installation: &Installation) {
    let governed = installation.governed("seen");
    assert!(installation.operator.create(&approved_job(&governed)).ok());
    // The Job is deleted at once. Polling would miss it, although it ran.
    let ran = installation.operator.kubectl(&["delete", "job", "replay", "-n", &governed.namespace]);
    assert!(ran.ok(), "{ran}");
    wait_until("the use is confirmed", LIMIT, || {
        let uses = entries(installation, &governed);
        assert_eq!(uses.len(), 1, "{uses:?}");
        (uses[0]["confirmed"].is_string() && uses[0]["freeAt"].is_null()).then_some(())
    });
}

fn an_approval_is_usable_again_after_a_quota_refused_its_job(installation: &Installation) {
    let governed = installation.governed("quota");
    installation.plane.install(&[json!({"apiVersion": "v1", "kind": "ResourceQuota",
        "metadata": {"name": "none", "namespace": governed.namespace}, "spec": {"hard": {"count/jobs.batch": "0"}}})]);
    // The quota's status, which the API server uses, is written by a controller that does not run here.
    let status = json!({"status": {"hard": {"count/jobs.batch": "0"}, "used": {"count/jobs.batch": "0"}}}).to_string();
    let patch = ["patch", "resourcequota", "none", "--subresource=status", "--type=merge", "-p", &status];
    let ran = installation.plane.admin.kubectl(&[&patch[..], &["-n", &governed.namespace]].concat());
    assert!(ran.ok(), "{ran}");
    let job = approved_job(&governed);
    wait_until("the API server knows the quota", LIMIT, || {
        let ran = installation.operator.kubectl_in(&["create", "--dry-run=server", "-f", "-"], &job.to_string());
        ran.stderr.contains("quota").then_some(())
    });
    let ran = installation.operator.create(&job);
    assert!(ran.stderr.contains("quota"), "{ran}");
    let ran = installation.operator.create(&job);
    assert!(denied_for(&ran, "AlreadyUsed"), "before the release time: {ran}");
    assert!(denial(&ran).is_some_and(|message| message.contains("becomes usable again at")), "{ran}");

    let ran = installation.plane.admin.kubectl(&["delete", "resourcequota", "none", "-n", &governed.namespace]);
    assert!(ran.ok(), "{ran}");
    wait_until("the approval is usable again", LIMIT, || installation.operator.create(&job).ok().then_some(()));
    let ran = installation.operator.kubectl(&["delete", "job", "replay", "-n", &governed.namespace]);
    assert!(ran.ok(), "{ran}");
    let ran = installation.operator.create(&job);
    assert!(denied_for(&ran, "AlreadyUsed"), "after the second use: {ran}");
}

fn an_approval_is_usable_again_after_another_webhook_denied_the_release(installation: &Installation) {
    let governed = installation.governed("stopped");
    let mut job = governed.replay_job("replay");
    job["spec"]["suspend"] = json!(true);
    assert!(installation.operator.create(&governed.approved(&job)).ok());
    let name = format!("silent-{}", governed.namespace);
    installation.plane.install(&[json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": name}, "webhooks": [{
            "name": "silent.acme.example", "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "clientConfig": {"url": format!("https://127.0.0.1:{}/", free_port())},
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": governed.namespace}},
            "rules": [{"apiGroups": ["batch"], "apiVersions": ["v1"], "resources": ["jobs"], "operations": ["UPDATE"]}]}]})]);
    wait_until("the other webhook denies updates", LIMIT, || {
        let ran = installation.operator.kubectl(&[
            "annotate",
            "--overwrite",
            "job",
            "replay",
            "-n",
            &governed.namespace,
            "a=b",
        ]);
        ran.stderr.contains("silent.acme.example").then_some(())
    });
    let ran = suspend(&governed, false);
    assert!(ran.stderr.contains("silent.acme.example"), "{ran}");
    let starts = || entries(installation, &governed).iter().filter(|record| record["confirmed"].is_null()).count();
    assert_eq!(starts(), 1, "one reserved start");
    wait_until("the start is usable again", LIMIT, || (starts() == 0).then_some(()));
    assert_eq!(entries(installation, &governed).len(), 1, "the creation stays used");

    assert!(installation.plane.admin.kubectl(&["delete", "validatingwebhookconfiguration", &name]).ok());
    wait_until("the Job is released", LIMIT, || suspend(&governed, false).ok().then_some(()));
    assert!(suspend(&governed, true).ok());
    let ran = suspend(&governed, false);
    assert!(denied_for(&ran, "AlreadyUsed"), "{ran}");
}

fn an_admission_sends_no_request_before_its_answer_and_a_use_sends_one_write(installation: &Installation) {
    let governed = installation.governed("cost");
    let costs = |name: &str, expected: &[(&str, usize)]| {
        let expected: BTreeMap<String, usize> =
            expected.iter().map(|(what, count)| ((*what).to_owned(), *count)).collect();
        let mut requests = BTreeMap::new();
        wait_until("every request that follows the response was sent", LIMIT, || {
            requests = requests_about(&governed, name);
            requests.keys().eq(expected.keys()).then_some(())
        });
        // The webhook reads an object until it exists, so the number of reads varies.
        requests.retain(|what, _| !what.starts_with("get "));
        assert!(requests.iter().all(|(what, count)| expected[what] == *count), "{requests:?}, expected {expected:?}");
    };
    let ran = installation.operator.create(&governed.approved(&governed.deployment("orders")));
    assert!(ran.ok(), "{ran}");
    costs("orders", &[("create events", 1), ("get deployments", 1)]);
    let ran = installation.operator.create(&approved_job(&governed));
    assert!(ran.ok(), "{ran}");
    let before = ("create configmaps", 1);
    let after = [("list jobs", 1), ("update configmaps", 1), ("create events", 1), ("get jobs", 1)];
    costs("replay", &[&[before][..], &after].concat());
}

fn uses_are_deleted_a_day_after_expiry_and_histories_after_a_year(installation: &Installation) {
    // A separate ledger, without the entries of other tests.
    let namespace = installation.plane.namespace("swept");
    let object =
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "payments", "name": "orders", "uid": "u"});
    let hash = format!("sha256:{}", "0".repeat(64));
    let wanted: Use = from_value(json!({"entry": format!("use-{}", "0".repeat(64)), "approval": "a", "generation": 1,
        "expiresAt": "2026-11-22T12:00:00Z", "object": object, "specHash": hash, "starts": true}));
    let admission = from_value(json!({"time": "2026-11-22T11:00:00Z", "decision": uuid::Uuid::nil(), "specHash": hash,
        "claims": {}, "cluster": null, "environment": "e", "project": "p", "requestedBy": null, "approvals": []}));
    let note = HistoryNote { object: wanted.object.clone(), admission };
    let at = |time: &str| time.parse::<jiff::Timestamp>().expect("RFC 3339");
    installation.plane.block_on(async {
        let client = installation.plane.admin.client().await;
        let ledger =
            Ledger::new(client, WorkloadKinds::default(), &namespace, Duration::from_secs(90), Metrics::default());
        ledger.use_of(&wanted, false, at("2026-11-22T11:00:00Z")).await.expect("the use is reserved");
        ledger.note(&note).await;
        assert_eq!(ledger.sweep(at("2026-11-23T12:00:00Z")).await, Ok(0), "exactly a day after expiry");
        assert_eq!(ledger.sweep(at("2026-11-23T12:00:01Z")).await, Ok(1), "the use is deleted");
        assert_eq!(ledger.use_of(&wanted, true, at("2026-11-22T11:00:00Z")).await, Ok(None), "the use is free");
        assert_eq!(ledger.history(&note.object).await.map(|history| history.admissions().len()), Ok(1));
        assert_eq!(ledger.sweep(at("2027-12-28T00:00:00Z")).await, Ok(1), "the history is deleted");
        assert_eq!(ledger.history(&note.object).await.map(|history| history.admissions().len()), Ok(0));
    });
}

fn from_value<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("the form of the ledger")
}

/// The webhook's requests about an object, its Event and its use, with their numbers. The audit log has no watches.
fn requests_about(governed: &Governed<'_>, name: &str) -> BTreeMap<String, usize> {
    let installation = governed.installation;
    let uses = entries(installation, governed);
    let is_entry =
        |of: &str| uses.iter().any(|record| record["use"]["object"]["name"] == name && record["use"]["entry"] == of);
    let lines = installation.plane.audit_log(|line| {
        let (namespace, of) = (&line["objectRef"]["namespace"], line["objectRef"]["name"].as_str().unwrap_or_default());
        let about = *namespace == governed.namespace.as_str() && of.split('.').next() == Some(name);
        line["user"]["username"] == installation.webhook.identity.name.as_str() && (about || is_entry(of))
    });
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let mut requests = BTreeMap::new();
    for line in lines {
        *requests.entry(format!("{} {}", text(&line["verb"]), text(&line["objectRef"]["resource"]))).or_insert(0) += 1;
    }
    requests
}

fn suspend(governed: &Governed<'_>, suspend: bool) -> Ran {
    let patch = json!({"spec": {"suspend": suspend}}).to_string();
    let args = ["patch", "job", "replay", "-n", &governed.namespace, "--type=merge", "-p", &patch];
    governed.installation.operator.kubectl(&args)
}

/// The ledger's uses by objects of this namespace.
fn entries(installation: &Installation, governed: &Governed<'_>) -> Vec<Value> {
    let list = installation.plane.admin.get(&["configmaps", "-n", SYSTEM_NAMESPACE, "-l", "writgate.dev/kind=ledger"]);
    let list = list.expect("a list always exists");
    let records = list["items"].as_array().expect("items").iter().filter_map(|entry| {
        let text = entry["data"]["use.json"].as_str()?;
        Some(serde_json::from_str::<Value>(text).expect("JSON"))
    });
    records.filter(|record| record["use"]["object"]["namespace"] == governed.namespace.as_str()).collect()
}
