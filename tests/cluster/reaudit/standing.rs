//! The re-audit: the standing of workloads on a real API server, and what the holder reports when it changes.

use super::{LIMIT, Watched, is_holder, json, value};
use serde_json::Value;
use writgate_testing::{Governed, Ran, Webhook, attach, document, envelope, seconds_from_now, wait_until};

/// The number of workloads of the namespace's environment with this standing.
fn count(replica: &Webhook, governed: &Governed<'_>, standing: &str) -> f64 {
    replica.metric("writgate_reaudit_workloads", &[("environment", &governed.environment), ("state", standing)])
}

fn wait_counts(replica: &Webhook, governed: &Governed<'_>, wanted: &[(&str, f64)]) {
    let end = std::time::Instant::now() + LIMIT;
    let differ = |(standing, wanted): &&(&str, f64)| (count(replica, governed, standing) - wanted).abs() > 0.1;
    while let Some((standing, wanted)) = wanted.iter().find(differ) {
        let (_, metrics) = replica.http_get("/metrics").expect("the admin port answers");
        let found: Vec<&str> = metrics.lines().filter(|line| line.starts_with("writgate_reaudit_workloads{")).collect();
        assert!(std::time::Instant::now() < end, "{standing} is not {wanted}: {found:#?} {}", replica.lines());
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
}

fn wait_event(watched: &Watched, governed: &Governed<'_>, reason: &str, name: &str) -> Value {
    wait_until(&format!("Event {reason} about {name}"), LIMIT, || {
        let events = watched.get(&["events.events.k8s.io", "-n", &governed.namespace]);
        let about = |event: &&Value| event["reason"] == reason && event["regarding"]["name"] == name;
        let found: Vec<Value> = events["items"].as_array()?.iter().filter(about).cloned().collect();
        assert!(found.len() < 2, "one Event for a transition: {found:#?}");
        found.into_iter().next()
    })
}

fn revoke(watched: &Watched, governed: &Governed<'_>, list: &Value) {
    let name = format!("revocations-{}", governed.environment);
    watched.installation.plane.install(&[document("revocations", &name, list)]);
}

pub(super) fn reports_the_standing_of_each_workload_and_each_transition_once(watched: &Watched) {
    let _turn = watched.turn();
    let installation = &watched.installation;
    let none = json!({"apiVersion": "writgate.dev/v1", "kind": "Revocations"});
    // An object that exists before its namespace is governed, which no approval names.
    let old = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "old"}, "spec": {
        "replicas": 0, "selector": {"matchLabels": {"app": "old"}}, "template": {
            "metadata": {"labels": {"app": "old"}}, "spec": {"containers": [{"name": "old", "image": "old:1"}]}}}});
    let governed = installation.governed_over("standing", |posture| posture["enforcement"] = json!("audit"), &[old]);
    revoke(watched, &governed, &none);
    let mut posture = governed.usual_posture();
    posture["enforcement"] = json!("audit");
    posture["revocationLists"] = json!([format!("revocations-{}", governed.environment)]);
    installation.plane.install(&governed.posture_objects(&posture));
    // Times have whole seconds. The manager of the governing labels changes another label later than the object was created.
    std::thread::sleep(std::time::Duration::from_secs(2));
    watched.admin(&["label", "namespace", &governed.namespace, "example.com/later=yes"], "");
    std::thread::sleep(std::time::Duration::from_secs(1));

    let apply = |object: &Value| {
        let ran: Ran = installation.operator.kubectl_in(&["apply", "-f", "-"], &object.to_string());
        assert!(ran.ok(), "{ran}");
    };
    let deployment = |name: &str| {
        let mut object = governed.deployment(name);
        object["spec"]["replicas"] = json!(0);
        object
    };
    let signed = |name: &str, expires: i64| {
        let object = deployment(name);
        let mut statement = governed.statement(&object);
        statement["predicate"]["expiresAt"] = json!(seconds_from_now(expires));
        let id = statement["predicate"]["id"].as_str().expect("an id").to_owned();
        (attach(&object, &envelope(&statement, &[&governed.bob])), id)
    };
    apply(&deployment("unapproved"));
    let (kept, _) = signed("kept", 3600);
    let (drifting, _) = signed("drifting", 3600);
    let (doomed, doomed_id) = signed("doomed", 3600);
    let (ageing, _) = signed("ageing", 45);
    for object in [&kept, &drifting, &doomed, &ageing] {
        apply(object);
    }

    let replica = watched.replica_with("standing", &["--reaudit-interval", "1s"]);
    wait_until("it holds the Lease", LIMIT, || is_holder(&replica).then_some(()));
    wait_counts(
        &replica,
        &governed,
        &[
            ("approved", 4.0),
            ("unapproved", 1.0),
            ("pre-governance", 1.0),
            ("expired", 0.0),
            ("revoked", 0.0),
            ("drifted", 0.0),
        ],
    );
    assert!(value(&replica, "writgate_reaudit_last_success_timestamp_seconds").is_some_and(|at| at > 0.0));

    // What runs differs from what was approved.
    let mut changed = drifting.clone();
    changed["spec"]["template"]["spec"]["containers"][0]["image"] = json!("ghcr.io/acme/orders:9.9.9");
    apply(&changed);
    let event = wait_event(watched, &governed, "ReauditDrifted", "drifting");
    assert_eq!(event["type"], "Warning");
    assert!(event["note"].as_str().is_some_and(|note| note.contains("drifted (before: approved)")), "{event:#}");

    let mut revocations = none.clone();
    revocations["approvals"] = json!([{"id": doomed_id}]);
    revoke(watched, &governed, &revocations);
    wait_event(watched, &governed, "ReauditRevoked", "doomed");

    let event = wait_event(watched, &governed, "ReauditExpired", "ageing");
    assert_eq!(event["type"], "Normal", "it was admitted rightly");
    wait_counts(&replica, &governed, &[("approved", 1.0), ("drifted", 1.0), ("revoked", 1.0), ("expired", 1.0)]);

    apply(&drifting);
    wait_event(watched, &governed, "ReauditApproved", "drifting");
    let lines = replica.lines();
    let told = |name: &str| lines.matches(&format!("Deployment {}/{name}", governed.namespace)).count();
    assert_eq!(
        (told("kept"), told("old"), told("doomed"), told("ageing"), told("drifting")),
        (0, 0, 1, 1, 2),
        "{lines}"
    );
    // A reader of decisions does not take them for decisions.
    let mut command = installation.plane.admin.command(writgate_testing::plugin());
    let ran = Ran::of(command.args(["audit", "-n", &governed.namespace]), "");
    assert!(ran.ok(), "{ran}");
    let stopped = replica.stop();
    assert!(!stopped.contains("the re-audit failed"), "{stopped}");
}

pub(super) fn without_the_right_to_list_pods_the_last_result_stays_and_the_log_says_why(watched: &Watched) {
    let _turn = watched.turn();
    let governed = watched.installation.governed("listing");
    let replica = watched.replica_with("listing", &["--reaudit-interval", "1s"]);
    let runs = |outcome: &str| replica.metric("writgate_reaudit_runs_total", &[("outcome", outcome)]);
    wait_until("a re-audit is complete", LIMIT, || (runs("ok") > 0.0).then_some(()));
    let role = ["clusterrole", "writgate-webhook"];
    let permitted = watched.remember(&role);
    let mut reduced = permitted.clone();
    for rule in reduced["rules"].as_array_mut().expect("rules") {
        if rule["resources"] == json!(["pods"]) {
            rule["verbs"] = json!(["get"]);
        }
    }
    watched.restore(&reduced);
    wait_until("two re-audits failed", LIMIT, || (runs("failed") > 1.0).then_some(()));
    let lines = replica.lines();
    assert_eq!(lines.matches("the re-audit failed").count(), 1, "a lasting failure is logged once: {lines}");
    assert!(lines.contains("pods in namespace") && lines.contains("reaudit.enabled"), "{lines}");
    let probe = super::pod(&governed.namespace).to_string();
    let ran = watched.installation.plane.admin.kubectl_in(&["create", "--dry-run=server", "-f", "-"], &probe);
    assert!(ran.stderr.contains("denied the request"), "{ran}");
    watched.restore(&permitted);
    let before = runs("ok");
    wait_until("a re-audit is complete again", LIMIT, || (runs("ok") > before).then_some(()));
}
