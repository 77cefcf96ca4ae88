//! `coverage`: what ran before a namespace was governed, and what an approval covers.

use std::fs;

use serde_json::{Value, json};
use writgate_testing::harness::{Test, tests};
use writgate_testing::{Governed, Installation, Ran, SYSTEM_NAMESPACE, User};

pub(crate) fn tests() -> Vec<Test<Installation>> {
    tests![
        names_what_ran_before_the_namespace_was_governed,
        shows_a_namespace_as_if_it_were_governed,
        names_the_right_that_is_missing,
    ]
}

fn coverage(user: &User, namespace: &str, args: &[&str]) -> Ran {
    let mut command = user.command(writgate_testing::plugin());
    command.args(["coverage", "-n", namespace, "--system-namespace", SYSTEM_NAMESPACE]);
    Ran::of(command.args(args), "")
}

/// Workloads of every kind, none of which was approved.
fn unapproved() -> Vec<Value> {
    let template = |name: &str| json!({"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": "ghcr.io/acme/old:1"}]}});
    let job = json!({"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "ghcr.io/acme/old:1"}]}}});
    let of = |api_version: &str, kind: &str, name: &str, spec: Value| json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "labels": {"app": name}}, "spec": spec});
    let with_replicas = |name: &str, replicas: u8| json!({"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template(name)});
    let mut suspended = job.clone();
    suspended["suspend"] = true.into();
    let mut controller = with_replicas("controller", 0);
    controller["selector"] = json!({"app": "controller"});
    let mut set = with_replicas("set", 0);
    set["serviceName"] = "set".into();
    vec![
        of("apps/v1", "Deployment", "old", with_replicas("old", 0)),
        of("apps/v1", "StatefulSet", "set", set),
        of("apps/v1", "ReplicaSet", "stray", with_replicas("stray", 0)),
        of("v1", "ReplicationController", "controller", controller),
        of("batch/v1", "CronJob", "nightly", json!({"schedule": "0 3 31 2 *", "jobTemplate": {"spec": job}})),
        of("batch/v1", "Job", "suspended", suspended),
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "shell"}, "spec": template("shell")["spec"]}),
    ]
}

/// Name, coverage, reason codes, and what each workload can do without a check, in the order of the report.
fn rows(ran: &Ran) -> Vec<(String, String, String, String)> {
    let report: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran}"));
    let words = |list: &Value| {
        let words = list.as_array().expect("a list").iter().map(|word| word.as_str().expect("a word"));
        words.collect::<Vec<_>>().join(" ")
    };
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let row = |row: &Value| {
        let name = format!("{}/{}", text(&row["object"]["kind"]), text(&row["object"]["name"]));
        (name, text(&row["coverage"]), words(&row["reasons"]), words(&row["unchecked"]))
    };
    report["workloads"].as_array().expect("a list").iter().map(row).collect()
}

fn expect(ran: &Ran, code: i32, expected: &[(&str, &str, &str, &str)]) {
    assert_eq!(ran.code, Some(code), "{ran}");
    let found = rows(ran);
    let found: Vec<(&str, &str, &str, &str)> = found
        .iter()
        .map(|(name, coverage, reasons, unchecked)| (&**name, &**coverage, &**reasons, &**unchecked))
        .collect();
    assert_eq!(found, expected);
}

const UNAPPROVED: [(&str, &str, &str, &str); 7] = [
    ("CronJob/nightly", "unapproved", "ApprovalRequired", "schedule"),
    ("Deployment/old", "unapproved", "ApprovalRequired", "scale-up"),
    ("Job/suspended", "unapproved", "ApprovalRequired", ""),
    ("Pod/shell", "unapproved", "WorkloadNotAllowed", "stray running"),
    ("ReplicaSet/stray", "unapproved", "ApprovalRequired", "stray"),
    ("ReplicationController/controller", "unapproved", "ApprovalRequired", ""),
    ("StatefulSet/set", "unapproved", "ApprovalRequired", "scale-up"),
];

fn names_what_ran_before_the_namespace_was_governed(installation: &Installation) {
    let audit = |posture: &mut Value| posture["enforcement"] = "audit".into();
    let governed: Governed<'_> = installation.governed_over("before", audit, &unapproved());
    let orders = governed.approved(&governed.deployment("orders"));
    let ran = installation.operator.create(&orders);
    assert!(ran.ok(), "{ran}");
    // Under `audit`, an update without an approval is admitted.
    let mut ledger = governed.deployment("ledger");
    ledger["spec"]["selector"]["matchLabels"]["app"] = "ledger".into();
    ledger["spec"]["template"]["metadata"]["labels"]["app"] = "ledger".into();
    let ledger = governed.approved(&ledger);
    assert!(installation.operator.create(&ledger).ok());
    let ran = installation.operator.kubectl(&[
        "set",
        "image",
        "deployment/ledger",
        "orders=ghcr.io/acme/orders:1.4.3",
        "-n",
        &governed.namespace,
    ]);
    assert!(ran.ok(), "{ran}");
    let admin = &installation.plane.admin;
    let mut expected = UNAPPROVED.to_vec();
    expected.push(("Deployment/ledger", "other-spec", "SpecHashMismatch", "running"));
    expected.push(("Deployment/orders", "approved", "", ""));
    expect(&coverage(admin, &governed.namespace, &["-o", "json"]), 1, &expected);

    let text = coverage(admin, &governed.namespace, &["--enforce"]);
    assert_eq!(text.code, Some(1), "{text}");
    assert!(text.stdout.contains("8 of 9 workloads in 1 namespace would be denied under enforce"), "{text}");
    assert!(!text.stdout.contains("/orders"), "{text}");

    // With postures from a folder, the workloads are still the cluster's.
    let folder = tempfile::tempdir().expect("a folder");
    for (index, object) in governed.posture_objects(&governed.usual_posture()).iter().enumerate() {
        fs::write(folder.path().join(format!("{index}.json")), object.to_string()).expect("the folder can be written");
    }
    let folder = folder.path().to_str().expect("UTF-8");
    expect(&coverage(admin, &governed.namespace, &["-o", "json", "--posture-dir", folder]), 1, &expected);

    let all = [
        "cronjob/nightly",
        "deployment/old",
        "job/suspended",
        "pod/shell",
        "replicaset/stray",
        "replicationcontroller/controller",
        "statefulset/set",
        "deployment/ledger",
    ];
    let delete = [&["delete", "-n", &governed.namespace, "--now"][..], &all].concat();
    assert!(admin.kubectl(&delete).ok());
    let rest = coverage(admin, &governed.namespace, &["-o", "json"]);
    expect(&rest, 0, &[("Deployment/orders", "approved", "", "")]);
}

fn shows_a_namespace_as_if_it_were_governed(installation: &Installation) {
    let governed = installation.governed("model");
    let admin = &installation.plane.admin;
    let namespace = installation.plane.namespace("plain");
    for object in unapproved() {
        let ran = admin.kubectl_in(&["create", "-n", &namespace, "-f", "-"], &object.to_string());
        assert!(ran.ok(), "{ran}");
    }
    let ran = coverage(admin, &namespace, &[]);
    assert_eq!(ran.code, Some(2), "{ran}");
    assert!(ran.stderr.contains("it is not governed; pass --environment and --project"), "{ran}");
    let as_if = ["--environment", &governed.environment, "--project", "payments", "-o", "json"];
    expect(&coverage(admin, &namespace, &as_if), 1, &UNAPPROVED);
    let nowhere = ["--environment", "nowhere", "--project", "payments", "-o", "json"];
    let ran = coverage(admin, &namespace, &nowhere);
    assert_eq!(ran.code, Some(3), "{ran}");
    assert!(
        rows(&ran)
            .iter()
            .all(|(_, coverage, reasons, _)| (&**coverage, &**reasons) == ("unreadable", "PostureMissing")),
        "{ran}"
    );
}

fn names_the_right_that_is_missing(installation: &Installation) {
    let governed = installation.governed("rights");
    let ran = coverage(&installation.tenant, &governed.namespace, &[]);
    assert_eq!(ran.code, Some(3), "{ran}");
    assert!(ran.stderr.contains("cannot list the postures") && ran.stderr.contains("writgate-posture-reader"), "{ran}");
    installation.permit_reading_postures();
    let ran = coverage(&installation.operator, &governed.namespace, &[]);
    assert_eq!(ran.code, Some(3), "{ran}");
    assert!(ran.stderr.contains("cannot list ") && ran.stderr.contains("is forbidden"), "{ran}");
    assert!(ran.stderr.contains("ask a cluster administrator for this permission"), "{ran}");
}
