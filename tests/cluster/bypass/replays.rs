//! Attempts with replays: labels, the dry-run contract, suspended Jobs, and single-use approvals.

use serde_json::{Value, json};

use crate::bypass::case::{PATIENCE, TenantNamespace, text};
use crate::bypass::workloads::job;
use writgate_testing::harness::{Test, tests};
use writgate_testing::{Installation, Ran, attach, denied_for, envelope, seconds_from_now, wait_until};

pub(crate) fn tests() -> Vec<Test<Installation>> {
    tests![
        every_replay_requires_an_approval,
        denies_dry_runs_outside_the_contract,
        denies_a_changed_replay_label,
        denies_changes_of_a_suspended_job,
        denies_resuming_after_the_approval_expired,
        denies_a_replay_of_another_incident_or_source,
        denies_a_second_use,
        admits_one_of_many_simultaneous_uses,
        denies_a_second_start
    ]
}

/// The label of replays.
const REPLAY: &str = "writgate.dev/replay";

fn every_replay_requires_an_approval(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "replay");
    let labelled = |labels: Value| {
        let mut job = ns.replay_job("replay");
        job["metadata"]["labels"] = labels;
        job
    };
    let execute = |number, attempt: &str, job: &Value| {
        let attempt = ns.row(number, attempt).create(job);
        attempt.denied("ApprovalRequired");
        let last = ns.records().pop().expect("a record");
        assert_eq!(last["action"], "replay-execute", "{last}");
    };
    execute(30, "a Job with a replay image and without the replay label", &labelled(json!({})));
    execute(
        30,
        "the replay label in another case: `writgate.dev/Replay: dry-run`",
        &labelled(json!({"writgate.dev/Replay": "dry-run"})),
    );
    for value in ["Dry-Run", "DRY-RUN", "dryrun", "", "none"] {
        execute(30, &format!("the replay label with the value {value:?}"), &labelled(json!({REPLAY: value})));
    }
    let mut templated = labelled(json!({}));
    templated["spec"]["template"]["metadata"] = json!({"labels": {REPLAY: "dry-run"}});
    execute(31, "the replay label only on the Pod template", &templated);
    let mut renamed = job("replay");
    renamed["metadata"]["labels"] = json!({REPLAY: "dry-run"});
    execute(31, "the replay label on a Job that runs another image", &renamed);
    let mut init = job("replay");
    init["spec"]["template"]["spec"]["initContainers"] = json!([{"name": "i", "image": "ghcr.io/acme/replay:2.0.1"}]);
    execute(30, "the replay image in an init container", &init);
    let mut volume = job("replay");
    volume["spec"]["template"]["spec"]["volumes"] =
        json!([{"name": "v", "image": {"reference": "ghcr.io/acme/replay:2.0.1"}}]);
    execute(30, "the replay image in an image volume", &volume);
    let mut deployment = ns.deployment("replay");
    deployment["spec"]["template"]["spec"]["containers"][0]["image"] = json!("ghcr.io/acme/replay:2.0.1");
    ns.row(30, "an approved Deployment with the replay image")
        .create(&ns.approved(&deployment))
        .denied("WorkloadNotAllowed");
    let wrong = attach(&job("replay"), &ns.signed_but(&job("replay"), |_| {}));
    ns.row(30, "a Job with another image and a replay's approval").create(&wrong).denied("WrongAction");
}

fn denies_dry_runs_outside_the_contract(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "dry-run");
    ns.row(32, "a Job that meets the dry-run contract, without an approval").create(&ns.dry_run_job("free")).admitted();
    let container = [
        (32, "command", json!(["replay", "--execute"])),
        (32, "args", json!(["--incident", "INC-7", "--execute"])),
        (32, "args", json!(["--incident", "--execute"])),
        (32, "env", json!([{"name": "REPLAY_MODE", "value": "execute"}])),
        (32, "env", json!([{"name": "REPLAY_MODE", "value": "dry-run"}, {"name": "LD_PRELOAD", "value": "x"}])),
        (32, "env", json!([{"name": "REPLAY_MODE", "value": "dry-run"}, {"name": "REPLAY_MODE", "value": "execute"}])),
        (32, "image", json!("ghcr.io/acme/orders:1.4.2")),
        (32, "lifecycle", json!({"preStop": {"exec": {"command": ["evil"]}}})),
        (32, "workingDir", json!("/tmp")),
        (32, "securityContext", json!({"privileged": true})),
        (33, "envFrom", json!([{"configMapRef": {"name": "mode"}}])),
        (
            33,
            "env",
            json!([{"name": "REPLAY_MODE", "valueFrom": {"configMapKeyRef": {"name": "mode", "key": "mode"}}}]),
        ),
        (
            34,
            "env",
            json!([{"name": "REPLAY_MODE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.annotations['mode']"}}}]),
        ),
        (34, "env", json!([{"name": "REPLAY_MODE", "value": "$(OTHER)"}])),
    ];
    let second = json!([{"name": "c", "image": "ghcr.io/acme/replay:2.0.1"}]);
    let pod = [
        (32, "initContainers", second),
        (32, "volumes", json!([{"name": "v", "secret": {"secretName": "token"}}])),
        (32, "serviceAccountName", json!("default")),
        (32, "hostNetwork", json!(true)),
        (32, "nodeName", json!("control-plane")),
        (32, "enableServiceLinks", json!(true)),
    ];
    let denied = |number, attempt: String, job: &Value| ns.row(number, attempt).create(job).denied("ApprovalRequired");
    for (number, field, value) in container {
        let mut job = ns.dry_run_job("trick");
        let attempt = format!("a dry run whose container has `{field}: {value}`");
        job["spec"]["template"]["spec"]["containers"][0][field] = value;
        denied(number, attempt, &job);
    }
    for (number, field, value) in pod {
        let mut job = ns.dry_run_job("trick");
        let attempt = format!("a dry run whose Pod has `{field}: {value}`");
        job["spec"]["template"]["spec"][field] = value;
        denied(number, attempt, &job);
    }
    let mut job = ns.dry_run_job("trick");
    job["spec"]["parallelism"] = json!(5);
    denied(32, "a dry run with `parallelism: 5`".to_owned(), &job);
}

fn denies_a_changed_replay_label(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "relabel");
    ns.arrange(&["create", "serviceaccount", "replay-readonly"]);
    ns.applied(&ns.dry_run_job("look"));
    ns.runs(&ns.replay_job("replay"));
    let label = |attempt, target: &str, value: Value| {
        ns.row(34, attempt).patch(target, "merge", &json!({"metadata": {"labels": {REPLAY: value}}}))
    };
    label("a running dry run relabelled `execute`", "job/look", json!("execute")).denied("ApprovalRequired");
    label("a running dry run's label removed", "job/look", Value::Null).denied("ApprovalRequired");
    let incident = json!({"metadata": {"annotations": {"writgate.dev/incident": "INC-8"}}});
    ns.row(34, "a running replay annotated with another incident")
        .patch("job/replay", "merge", &incident)
        .denied("IncidentMismatch");
}

fn denies_changes_of_a_suspended_job(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "waiting");
    let mut waiting = ns.replay_job("replay");
    waiting["spec"]["suspend"] = json!(true);
    ns.runs(&waiting);
    let template = |more: Value| json!({"spec": {"template": more}});
    let patch = |number, attempt, patch: Value| {
        ns.row(number, attempt).patch("job/replay", "merge", &patch).denied("SpecHashMismatch");
    };
    patch(35, "a suspended Job's `nodeSelector`", template(json!({"spec": {"nodeSelector": {"pool": "other"}}})));
    patch(35, "a suspended Job's tolerations", template(json!({"spec": {"tolerations": [{"operator": "Exists"}]}})));
    patch(35, "a suspended Job's template annotations", template(json!({"metadata": {"annotations": {"mode": "x"}}})));
    patch(
        35,
        "a suspended Job's `nodeSelector`, resumed in the same request",
        json!({"spec": {"suspend": false,
        "template": {"spec": {"nodeSelector": {"pool": "other"}}}}}),
    );
    patch(36, "a suspended Job's `backoffLimit`", json!({"spec": {"backoffLimit": 9}}));
    patch(36, "a suspended Job's `parallelism`", json!({"spec": {"parallelism": 9}}));
    patch(88, "a suspended Job's `activeDeadlineSeconds`", json!({"spec": {"activeDeadlineSeconds": 9}}));
    patch(88, "a suspended Job's `ttlSecondsAfterFinished`", json!({"spec": {"ttlSecondsAfterFinished": 9}}));
    let finalizer = json!({"metadata": {"finalizers": ["example.com/wait"]}});
    ns.row(88, "a finalizer added to a suspended Job").patch("job/replay", "merge", &finalizer).unchanged();
    let remove = json!({"metadata": {"finalizers": null}});
    ns.row(88, "the finalizers of a suspended Job removed").patch("job/replay", "merge", &remove).unchanged();
}

fn denies_resuming_after_the_approval_expired(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "expired");
    let mut waiting = ns.replay_job("replay");
    waiting["spec"]["suspend"] = json!(true);
    let mut ends = String::new();
    let approval = ns.signed_but(&waiting, |statement| {
        ends = seconds_from_now(4);
        statement["predicate"]["expiresAt"] = json!(ends);
    });
    ns.applied(&attach(&waiting, &approval));
    let ends: jiff::Timestamp = ends.parse().expect("RFC 3339");
    wait_until("the approval has expired", PATIENCE, || (jiff::Timestamp::now() > ends).then_some(()));
    let release = |attempt, patch: Value| ns.row(35, attempt).patch("job/replay", "merge", &patch).denied("Expired");
    release("a suspended Job resumed after its approval expired", json!({"spec": {"suspend": false}}));
}

/// An approval binds the incident and the source environment of a replay.
fn denies_a_replay_of_another_incident_or_source(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "reads");
    let approved = ns.approved(&ns.replay_job("replay"));
    let annotated = |key: &str, value: Value| {
        let mut job = approved.clone();
        job["metadata"]["annotations"][format!("writgate.dev/{key}")] = value;
        job
    };
    let denied = |attempt, job: &Value, code| ns.row(89, attempt).create(job).denied(code);
    denied(
        "an approved replay with another incident in its annotation",
        &annotated("incident", json!("INC-8")),
        "IncidentMismatch",
    );
    denied(
        "an approved replay with another source environment in its annotation",
        &annotated("source-environment", json!("staging")),
        "SourceEnvironmentMismatch",
    );
    let bare = attach(
        &ns.replay_job("replay"),
        &ns.signed_but(&ns.replay_job("replay"), |statement| {
            statement["predicate"].as_object_mut().expect("an object").remove("replay");
        }),
    );
    denied("a replay whose approval names no incident", &bare, "IncidentMismatch");
}

/// The approval of a `replay-execute` Job is single-use.
fn denies_a_second_use(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "again");
    let replay = ns.replay_job("replay");
    let statement = ns.statement(&replay);
    let approved = attach(&replay, &envelope(&statement, &[&ns.bob]));
    let dry_run = ns.row(54, "`--dry-run=server` of a replay with a single-use approval");
    dry_run.kubectl_in(&["create", "--dry-run=server", "-f", "-"], &approved.to_string()).admitted();
    ns.row(37, "a single-use approval after a server-side dry run, which did not use it").create(&approved).admitted();
    ns.settle("job/replay");
    let args = ["delete", "job/replay", "--cascade=foreground"];
    ns.row(37, "a replay Job deleted").kubectl(&args).unchanged();
    ns.row(37, "a deleted replay Job created again under the same name with the same approval")
        .create(&approved)
        .denied("AlreadyUsed");
    let again = attach(&replay, &envelope(&statement, &[&ns.carol]));
    ns.row(62, "a used approval with another signature: its identity is the payload, not the signature")
        .create(&again)
        .denied("AlreadyUsed");

    let mut generated = ns.replay_job("x");
    let metadata = generated["metadata"].as_object_mut().expect("metadata");
    metadata.remove("name");
    metadata.insert("generateName".to_owned(), json!("replay-"));
    let approved = ns.approved(&generated);
    ns.row(38, "a Job with a generated name, whose prefix is approved").create(&approved).admitted();
    ns.settle(&format!("job/{}", text(&ns.list("jobs")[0]["metadata"]["name"])));
    ns.row(38, "a second Job with a generated name and the same approval").create(&approved).denied("AlreadyUsed");
}

fn admits_one_of_many_simultaneous_uses(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "at-once");
    let mut generated = ns.replay_job("x");
    let metadata = generated["metadata"].as_object_mut().expect("metadata");
    metadata.remove("name");
    metadata.insert("generateName".to_owned(), json!("replay-"));
    let approved = ns.approved(&generated);
    let attempt = ns.row(39, "eight simultaneous requests with one approval: one is admitted");
    let attempt = attempt.tries(|user| {
        let create = || user.create(&approved);
        let all = std::thread::scope(|scope| {
            let all: Vec<_> = (0..8).map(|_| scope.spawn(create)).collect();
            all.into_iter().map(|one| one.join().expect("the thread ends")).collect::<Vec<_>>()
        });
        let (admitted, denied): (Vec<Ran>, Vec<Ran>) = all.into_iter().partition(Ran::ok);
        assert!(denied.iter().all(|ran| denied_for(ran, "AlreadyUsed")), "{denied:?}");
        assert_eq!(admitted.len(), 1, "{admitted:?}");
        admitted.into_iter().next().expect("one")
    });
    attempt.admitted();
    assert_eq!(ns.list("jobs").len(), 1);
}

/// A Job that has run has used its approval, even if it is suspended and resumed.
fn denies_a_second_start(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "started");
    ns.runs(&ns.replay_job("replay"));
    let suspend =
        |attempt, value: bool| ns.row(36, attempt).patch("job/replay", "merge", &json!({"spec": {"suspend": value}}));
    suspend("a running replay suspended", true).unchanged();
    ns.settle("job/replay");
    suspend("a running replay suspended and resumed", false).denied("AlreadyUsed");

    let mut waiting = ns.replay_job("waiting");
    waiting["spec"]["suspend"] = json!(true);
    ns.runs(&waiting);
    let release = json!({"spec": {"suspend": false}});
    ns.row(36, "a replay that was created suspended, resumed").patch("job/waiting", "merge", &release).admitted();
    ns.settle("job/waiting");
    ns.arrange(&["patch", "job/waiting", "--type=merge", "-p", "{\"spec\": {\"suspend\": true}}"]);
    ns.settle("job/waiting");
    let again = ns.row(36, "the same replay suspended and resumed a second time");
    again.patch("job/waiting", "merge", &release).denied("AlreadyUsed");
}
