//! `kubectl writgate review` and `approve` with a cluster: they read live objects and the cluster's postures.

use std::net::TcpListener;

use serde_json::{Value, json};

use crate::e2e::flow::Desk;
use writgate_testing::harness::{Test, tests};
use writgate_testing::{Governed, Installation, Ran};

pub(crate) fn tests() -> Vec<Test<Installation>> {
    tests![
        a_request_is_reviewed_signed_attached_and_admitted,
        approve_refuses_a_request_with_false_claims,
        review_finds_dry_runs_of_the_same_incident,
        review_names_the_missing_rights,
        approve_stops_if_the_api_server_does_not_answer,
    ]
}

/// A request file for `manifest`, changed by `edit`.
fn request(governed: &Governed<'_>, manifest: &Value, edit: impl FnOnce(&mut Value)) -> Value {
    let statement = governed.statement(manifest);
    let predicate = &statement["predicate"];
    let capability = &predicate["capabilities"][0];
    let mut request = json!({
        "apiVersion": "writgate.dev/v1", "kind": "ApprovalRequest",
        "requestedBy": "alice@acme.example", "reason": "CHG-1234", "requestedAt": "2026-11-22T10:00:00Z",
        "environment": governed.environment, "project": governed.project, "action": predicate["action"],
        "capabilities": [{"capability": capability, "because": []}],
        "workloads": [{"namespace": governed.namespace, "subject": statement["subject"][0]["name"],
            "specHash": format!("sha256:{}", governed.installation.hash(manifest)), "object": manifest}],
    });
    edit(&mut request);
    request
}

type Edit = fn(&mut Value);

/// The lines of a review that show a change.
fn changes(review: &str) -> Vec<&str> {
    let is_change = |line: &&str| ["    ~ ", "    + ", "    - "].iter().any(|mark| line.starts_with(mark));
    review.lines().filter(is_change).map(str::trim).collect()
}

fn a_request_is_reviewed_signed_attached_and_admitted(installation: &Installation) {
    installation.permit_reading_postures();
    let governed = installation.governed("review");
    let desk = Desk::of(&governed);
    let runs = governed.deployment("orders");
    assert!(installation.operator.create(&governed.approved(&runs)).ok());
    let mut wanted = runs.clone();
    wanted["spec"]["template"]["spec"]["containers"][0]["image"] = json!("ghcr.io/acme/orders:1.4.3");
    desk.write("app.json", &wanted.to_string());
    let app = desk.path("app.json");
    let app = app.to_str().expect("UTF-8");
    let mut request = installation.operator.command(writgate_testing::plugin());
    let ran = Ran::of(request.args(["request", "-f", app, "--reason", "CHG-1234", "-o", "-"]), "");
    assert!(ran.ok(), "{ran}");
    desk.write("request.json", &ran.stdout);

    let review = desk.does(&["review", "-f", "request.json"]).stdout;
    assert!(review.contains("compared with the live object"), "{review}");
    let image = r#"~ containers[orders].image: "ghcr.io/acme/orders:1.4.2" -> "ghcr.io/acme/orders:1.4.3""#;
    assert_eq!(changes(&review), [image], "defaults of the API server are not changes");

    let approve = ["approve", "-f", "request.json", "--key", "bob.pem", "--yes", "-o", "approval.json"];
    let notes = desk.does(&approve).stderr;
    assert!(notes.contains(image) && notes.contains("signed with key"), "{notes}");
    desk.does(&["attach", "-i", "-f", "app.json", "--approval", "approval.json"]);
    let ran = installation.operator.kubectl(&["apply", "-f", app]);
    assert!(ran.ok(), "{ran}");

    let again = desk.run(&approve);
    assert_eq!(again.code, Some(1), "{again}");
    assert!(again.stderr.contains("the live objects have these specs already"), "{again}");
}

fn approve_refuses_a_request_with_false_claims(installation: &Installation) {
    installation.permit_reading_postures();
    let governed = installation.governed("false");
    let desk = Desk::of(&governed);
    let wanted = governed.deployment("orders");
    let cases: [(Edit, &str); 4] = [
        (|request| request["environment"] = json!("staging"), "the request says environment staging"),
        (|request| request["project"] = json!("ledger"), "the request says project ledger"),
        (|request| request["cluster"] = json!("prod-us-1"), "the request says cluster prod-us-1, expected none"),
        (|request| request["workloads"][0]["object"]["spec"]["template"]["spec"]["hostPID"] = json!(true), "has spec"),
    ];
    for (edit, why) in cases {
        desk.write("request.json", &request(&governed, &wanted, edit).to_string());
        for verb in [vec!["review"], vec!["approve", "--key", "bob.pem", "--yes", "-o", "approval.json"]] {
            let ran = desk.run(&[&verb[..], &["-f", "request.json"]].concat());
            assert_eq!(ran.code, Some(1), "{ran}");
            assert!(format!("{}{}", ran.stdout, ran.stderr).contains(why), "{why}: {ran}");
        }
        assert!(!desk.path("approval.json").exists());
    }
}

fn review_finds_dry_runs_of_the_same_incident(installation: &Installation) {
    installation.permit_reading_postures();
    let governed = installation.governed("tried");
    let desk = Desk::of(&governed);
    desk.write("request.json", &request(&governed, &governed.replay_job("act"), |_| {}).to_string());
    let review = desk.does(&["review", "-f", "request.json"]).stdout;
    assert!(review.contains("no dry-run Job of this incident exists"), "{review}");
    assert!(review.contains("new: no live object has this name"), "{review}");

    let mut other = governed.dry_run_job("other");
    other["metadata"]["annotations"]["writgate.dev/incident"] = json!("INC-8");
    for job in [other, governed.dry_run_job("look")] {
        let ran = installation.operator.create(&job);
        assert!(ran.ok(), "{ran}");
    }
    let review = desk.does(&["review", "-f", "request.json"]).stdout;
    assert!(review.contains("Job look of the same incident exists, but has not succeeded"), "{review}");
}

fn review_names_the_missing_rights(installation: &Installation) {
    let governed = installation.governed("rights");
    let desk = Desk::of(&governed);
    desk.write("request.json", &request(&governed, &governed.deployment("orders"), |_| {}).to_string());
    let tina = installation.tenant.kubeconfig.to_str().expect("UTF-8");
    let ran = desk.run(&["review", "-f", "request.json", "--kubeconfig", tina]);
    assert_eq!(ran.code, Some(3), "{ran}");
    assert!(ran.stderr.contains("cannot list the postures"), "{ran}");
    assert!(ran.stderr.contains("ask a cluster administrator"), "{ran}");
}

fn approve_stops_if_the_api_server_does_not_answer(installation: &Installation) {
    let governed = installation.governed("silent");
    let desk = Desk::of(&governed);
    desk.write("request.json", &request(&governed, &governed.deployment("orders"), |_| {}).to_string());
    // The kernel accepts connections into the backlog, and no server answers.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let server = format!("http://{}", silent.local_addr().expect("an address"));
    desk.write(
        "silent",
        &json!({"apiVersion": "v1", "kind": "Config", "current-context": "a",
            "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
            "clusters": [{"name": "a", "cluster": {"server": server}}], "users": [{"name": "a", "user": {}}]})
        .to_string(),
    );
    let approve = ["approve", "-f", "request.json", "--key", "bob.pem", "--yes", "-o", "approval.json"];
    let ran = desk.run(&[&approve[..], &["--kubeconfig", "silent", "--request-timeout", "1s"]].concat());
    assert_eq!(ran.code, Some(3), "{ran}");
    assert!(ran.stderr.contains("the API server did not answer within 1s"), "{ran}");
    assert!(!desk.path("approval.json").exists());
}
