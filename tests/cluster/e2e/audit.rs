//! `kubectl writgate audit`, which reads decisions from Events, the webhook's log and the API server's audit log, and
//! `kubectl writgate pending`, which lists denied workloads that were not admitted since.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::e2e::trail;
use writgate_testing::harness::{Test, tests};
use writgate_testing::{Governed, Installation, Ran, User, wait_until};

pub(crate) fn tests() -> Vec<Test<Installation>> {
    tests![
        every_source_gives_the_same_five_answers,
        audit_verify_finds_an_altered_record,
        audit_watch_prints_each_decision,
        a_denied_workload_is_pending_until_it_is_admitted,
        audit_and_pending_say_what_to_do_without_rights_or_without_a_cluster
    ]
}

/// The columns that must not depend on the source.
const ANSWERS: [&str; 14] = [
    "initiator",
    "requestedBy",
    "environment",
    "project",
    "approvalRequired",
    "approvals",
    "reviewers",
    "requiredCapabilities",
    "action",
    "namespace",
    "name",
    "decision",
    "reasons",
    "basis",
];

/// Runs the plugin as `user`.
fn writgate(user: &User, args: &[&str]) -> Ran {
    Ran::of(user.command(writgate_testing::plugin()).args(args), "")
}

/// The columns of the decisions about `orders` and `fire`, by id, once there are three.
fn answers(governed: &Governed<'_>, source: &[&str]) -> Option<BTreeMap<String, Vec<String>>> {
    let about = ["-o", "csv", "--object", "deployment/orders", "--object", "deployment/fire"];
    let ran = writgate(
        &governed.installation.operator,
        &[&["audit"], source, &["-n", &governed.namespace][..], &about[..]].concat(),
    );
    assert_ne!(ran.code, Some(3), "{ran}");
    let mut lines = ran.stdout.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let names = lines.next()?;
    let cell = |line: &[&str], wanted: &str| {
        let column = names.iter().position(|name| *name == wanted).expect("a column");
        line[column].to_owned()
    };
    let rows = lines.map(|line| (cell(&line, "id"), ANSWERS.iter().map(|name| cell(&line, name)).collect()));
    let rows: BTreeMap<String, Vec<String>> = rows.collect();
    (rows.len() == 3).then_some(rows)
}

fn every_source_gives_the_same_five_answers(installation: &Installation) {
    let governed = installation.governed_with("audit", |posture| {
        posture["breakGlass"] = json!({"maxLifetime": "2h", "capabilities": ["deploy"], "quorum": [{"count": 1}]});
    });
    let orders = governed.deployment("orders");
    assert!(!installation.operator.create(&orders).ok(), "expected a denial without an approval");
    assert!(installation.operator.create(&governed.approved(&orders)).ok());
    let fire = governed.approved_but(&governed.deployment("fire"), |statement| {
        statement["predicate"]["breakGlass"] = json!(true);
    });
    assert!(installation.operator.create(&fire).ok());

    let found = |what: &str, source: &[&str]| {
        wait_until(&format!("three decisions are in {what}"), trail::LIMIT, || answers(&governed, source))
    };
    let log = installation.webhook.log().display().to_string();
    let audit_log = installation.plane.folder.join("logs/audit.log").display().to_string();
    let by_records = found("the webhook's log", &["--log", &log]);
    assert_eq!(found("the cluster's Events", &[]), by_records);
    assert_eq!(found("the API server's audit log", &["--audit-log", &audit_log]), by_records);

    let records = trail::records(&governed, |record| record["dryRun"] == false && record["action"] == "deploy");
    for record in &records {
        let text = |field: &str| record[field].as_str().unwrap_or_default().to_owned();
        let row = &by_records[&text("id")];
        let expected = [
            "alice".to_owned(),
            text("requestedBy"),
            governed.environment.clone(),
            governed.project.clone(),
            "yes".to_owned(),
        ];
        assert_eq!(row[..5], expected, "{record}");
        assert_eq!(row[7], "deploy", "{record}");
        let given = record["decision"] == "admitted";
        assert_eq!(
            (row[5] == record["approvals"][0]["id"], &*row[6]),
            (given, if given { "bob@acme.example" } else { "" })
        );
    }

    let ran = writgate(
        &installation.operator,
        &["audit", "-n", &governed.namespace, "--decision", "break-glass", "-o", "json"],
    );
    let record: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran}"));
    assert!(records.contains(&trail::without_signature(record)), "expected the record itself: {ran}");
    assert!(ran.stderr.contains("Events expire after an hour"), "{ran}");
    let ran = writgate(&installation.operator, &["audit", "-n", &governed.namespace, "--who", "carol@acme.example"]);
    assert_eq!(ran.code, Some(1), "carol took part in no decision: {ran}");
}

/// How `audit --verify` remarks a record whose seal is not written yet.
const NOT_YET_SEALED: &str = "not yet sealed";

fn audit_verify_finds_an_altered_record(installation: &Installation) {
    let governed = installation.governed("sealed");
    assert!(
        !installation.operator.create(&governed.deployment("orders")).ok(),
        "expected a denial without an approval"
    );
    let [record] = &trail::records(&governed, |record| record["dryRun"] == false)[..] else { panic!("one denial") };
    let id = record["id"].as_str().expect("a record has an id");
    let verify = |log: &Path| {
        let log = log.to_str().expect("UTF-8");
        // The logs of other tests' replicas are not passed, so their records are reported as missing.
        wait_until("the webhook has written its checkpoint", trail::LIMIT, || {
            let ran =
                writgate(&installation.plane.admin, &["audit", "--log", log, "--verify", "-n", &governed.namespace]);
            (!ran.stdout.contains("forged") && !ran.stdout.contains(NOT_YET_SEALED)).then_some(ran)
        })
    };
    let ran = verify(installation.webhook.log());
    assert!(ran.stdout.contains("verified: ") && !ran.stdout.contains("altered"), "{ran}");
    let log = std::fs::read_to_string(installation.webhook.log()).expect("the log can be read");
    let lines =
        log.lines().map(|line| if line.contains(id) { line.replace("\"alice\"", "\"carol\"") } else { line.into() });
    let altered = installation.plane.folder.join("altered.log");
    std::fs::write(&altered, lines.collect::<Vec<String>>().join("\n")).expect("the plane's folder can be written");
    let ran = verify(&altered);
    assert_eq!(ran.code, Some(1), "{ran}");
    assert!(ran.stdout.contains("denied (altered)") && ran.stdout.contains(&format!("altered: record {id}")), "{ran}");
}

fn audit_watch_prints_each_decision(installation: &Installation) {
    let governed = installation.governed("watched");
    let mut child = installation
        .operator
        .command(writgate_testing::plugin())
        .args(["audit", "--watch", "-n", &governed.namespace, "-o", "json"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the plugin starts");
    let mut shown = BufReader::new(child.stdout.take().expect("piped")).lines();
    for name in ["first", "second"] {
        assert!(
            !installation.operator.create(&governed.deployment(name)).ok(),
            "expected a denial without an approval"
        );
        let line = shown.next().expect("the plugin prints another line").expect("UTF-8");
        let record: Value = serde_json::from_str(&line).expect("a record on each line");
        assert_eq!(record["object"]["name"], name, "{record}");
    }
    child.kill().expect("audit --watch runs until it is stopped");
    child.wait().expect("a child can be waited for");
}

fn a_denied_workload_is_pending_until_it_is_admitted(installation: &Installation) {
    let governed = installation.governed("pending");
    let pending = || writgate(&installation.operator, &["pending", "-n", &governed.namespace, "-o", "json"]);
    assert_eq!(pending().code, Some(1), "expected no pending workload before a denial");

    let orders = governed.deployment("orders");
    assert!(!installation.gitops.create(&orders).ok(), "expected a denial without an approval");
    let wanted = wait_until("the workload is pending", trail::LIMIT, || {
        let ran = pending();
        (ran.code == Some(0)).then(|| serde_json::from_str::<Value>(&ran.stdout).expect("JSON"))
    });
    assert_eq!(wanted.as_array().map(Vec::len), Some(1), "{wanted}");
    assert_eq!(wanted[0]["object"]["name"], "orders", "{wanted}");
    assert_eq!(wanted[0]["specHash"], format!("sha256:{}", installation.hash(&orders)), "{wanted}");
    assert_eq!(wanted[0]["reasons"], json!(["ApprovalRequired"]), "{wanted}");
    let ran = writgate(&installation.operator, &["pending", "-n", &governed.namespace]);
    for line in ["by         service account gitops/applier", "next       kubectl writgate request -f FILE -n "] {
        assert!(ran.stdout.contains(line), "{ran}");
    }

    assert!(installation.gitops.create(&governed.approved(&orders)).ok());
    assert_eq!(
        pending().code,
        Some(1),
        "expected no pending workload after the admission, even before its Event exists"
    );
}

fn audit_and_pending_say_what_to_do_without_rights_or_without_a_cluster(installation: &Installation) {
    let nobody = installation.plane.user("nobody");
    let nowhere = installation.plane.user_of("https://127.0.0.1:1", &installation.plane.authority.certificate, "lost");
    for verb in ["audit", "pending"] {
        let ran = writgate(&nobody, &[verb, "-A"]);
        assert_eq!(ran.code, Some(3), "{ran}");
        assert!(ran.stderr.contains("list Events in all namespaces"), "{ran}");
        assert!(ran.stderr.contains("ask a cluster administrator"), "{ran}");
        let ran = writgate(&nowhere, &[verb]);
        assert_eq!(ran.code, Some(3), "{ran}");
        assert!(ran.stderr.contains("cannot list Events in namespace default"), "{ran}");
    }
}
