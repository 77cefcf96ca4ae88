//! Requests that travel through the cluster: posted, listed, approved by one or two reviewers, rejected, cancelled and applied.

use std::{fs::Permissions, os::unix::fs::PermissionsExt as _, path::PathBuf, time::Duration};

use serde_json::{Value, json};
use writgate_core::approval::RequestDigest;

use crate::e2e::flow::Desk;
use writgate_testing::harness::{Test, tests};
use writgate_testing::{Governed, Installation, Key, Ran, User, envelope, wait_until};

pub(crate) fn tests() -> Vec<Test<Installation>> {
    tests![
        a_posted_request_takes_two_commands_of_the_operator_and_one_of_the_reviewer,
        a_posted_request_keeps_the_signatures_of_two_reviewers_at_the_same_second,
        a_posted_request_that_is_repeated_is_one_object,
        a_posted_request_names_the_fields_that_differ_from_the_last_one,
        the_rejection_of_a_posted_request_is_shown_and_ends_the_wait,
        the_rejection_of_a_posted_request_by_an_unknown_key_is_not_a_fact,
        a_posted_request_that_was_cancelled_cannot_be_approved,
        a_posted_request_is_compared_with_the_present_live_object,
        a_posted_request_that_is_too_large_or_forbidden_says_that_files_work,
        what_others_write_into_a_posted_request_is_escaped_and_never_trusted,
        a_posted_request_is_pending_with_those_who_must_sign,
        a_posted_request_for_two_clusters_admits_in_both_and_not_in_a_third,
    ]
}

/// A namespace in which the operator and the reviewers have the chart's roles, and a folder with the reviewers' keys.
pub(crate) struct Team<'a> {
    governed: &'a Governed<'a>,
    desk: Desk<'a>,
}

impl<'a> Team<'a> {
    pub(crate) fn of(governed: &'a Governed<'a>) -> Self {
        let installation = governed.installation;
        installation.permit_reading_postures();
        let group = "rbac.authorization.k8s.io";
        let users = [&installation.operator, &installation.reviewer];
        let bindings = users.into_iter().zip(["writgate-operator", "writgate-reviewer"]).map(|(user, role)| {
            json!({"apiVersion": format!("{group}/v1"), "kind": "RoleBinding",
                "metadata": {"name": role, "namespace": governed.namespace},
                "subjects": [{"kind": "User", "apiGroup": group, "name": user.name}],
                "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role}})
        });
        installation.plane.install(&bindings.collect::<Vec<_>>());
        for user in users {
            wait_until("the role is in force", Duration::from_secs(20), || {
                let asked = user.kubectl(&["auth", "can-i", "create", "configmaps", "-n", &governed.namespace]);
                asked.ok().then_some(())
            });
        }
        let team = Self { governed, desk: Desk::of(governed) };
        team.write_key("bob.pem", &governed.bob);
        team.write_key("carol.pem", &governed.carol);
        team
    }

    pub(super) fn installation(&self) -> &'a Installation {
        self.governed.installation
    }

    pub(super) fn namespace(&self) -> &str {
        &self.governed.namespace
    }

    /// The folder in which the commands run.
    pub(super) fn folder(&self) -> PathBuf {
        self.desk.path("")
    }

    pub(super) fn write_key(&self, name: &str, key: &Key) {
        self.write_private(name, &key.private_pem());
    }

    /// Writes a file that only its owner can read.
    pub(super) fn write_private(&self, name: &str, text: &str) {
        self.desk.write(name, text);
        std::fs::set_permissions(self.desk.path(name), Permissions::from_mode(0o600)).expect("the test owns the file");
    }

    pub(super) fn run(&self, user: &User, args: &[&str]) -> Ran {
        let folder = self.governed.installation.plane.kubectl().parent().expect("a folder").display();
        let mut command = user.command(writgate_testing::plugin());
        command.args(args).args(["-n", &*self.governed.namespace]).current_dir(self.desk.path(""));
        Ran::of(command.env("PATH", format!("{folder}:/usr/bin:/bin")), "")
    }

    pub(super) fn operator(&self, args: &[&str]) -> Ran {
        self.run(&self.governed.installation.operator, args)
    }

    pub(crate) fn reviewer(&self, args: &[&str]) -> Ran {
        self.run(&self.governed.installation.reviewer, args)
    }

    /// Posts a request for `manifest`, and returns its name.
    pub(crate) fn post(&self, manifest: &Value) -> String {
        self.desk.write("app.json", &manifest.to_string());
        let ran = self.operator(&["request", "-f", "app.json", "--reason", "CHG-1234"]);
        assert!(ran.ok(), "{ran}");
        ran.stdout.trim().to_owned()
    }

    pub(crate) fn approve(&self, name: &str, key: &str) -> Ran {
        self.reviewer(&["approve", name, "--key", key, "--yes"])
    }

    /// The state of a request, as JSON.
    pub(super) fn state(&self, name: &str) -> Value {
        let ran = self.operator(&["request", "show", name, "-o", "json"]);
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran}"))
    }

    pub(super) fn config_map(&self, name: &str) -> Option<Value> {
        self.governed.installation.plane.admin.get(&["configmap", name, "-n", &self.governed.namespace])
    }

    /// The posted approval of a request.
    pub(super) fn approval(&self, name: &str) -> Value {
        let found = self.config_map(&name.replace("request-", "approval-")).expect("an approval");
        serde_json::from_str(found["data"]["approval.json"].as_str().expect("text")).expect("JSON")
    }
}

fn a_posted_request_takes_two_commands_of_the_operator_and_one_of_the_reviewer(installation: &Installation) {
    let governed = installation.governed("posted");
    let team = Team::of(&governed);
    let name = team.post(&governed.deployment("orders"));
    let stored = team.config_map(&name).expect("the request");
    assert_eq!(stored["immutable"], true, "{stored}");
    assert_eq!(stored["metadata"]["labels"]["writgate.dev/kind"], "request", "{stored}");

    let listed = team.reviewer(&["approve", "--key", "bob.pem"]);
    assert!(listed.ok() && listed.stdout.contains(&name), "{listed}");
    assert!(listed.stdout.contains("could sign: bob@acme.example"), "{listed}");

    let (waited, approved) = std::thread::scope(|scope| {
        let waiting = scope
            .spawn(|| team.operator(&["request", "-f", "app.json", "--reason", "CHG-1234", "--wait=2m", "--apply"]));
        let approved = team.approve(&name, "bob.pem");
        (waiting.join().expect("no panic"), approved)
    });
    assert!(approved.ok() && approved.stderr.contains("approved by bob@acme.example"), "{approved}");
    assert!(waited.ok() && waited.stdout.contains("deployment.apps/orders created"), "{waited}");
    let stored = team.config_map(&name.replace("request-", "approval-")).expect("an approval");
    assert_eq!(stored["metadata"]["annotations"]["writgate.dev/request"], *name, "{stored}");
    assert_eq!(team.state(&name)["state"], "live");
    let again = team.reviewer(&["approve", "--key", "bob.pem"]);
    assert_eq!(again.code, Some(1), "nothing waits for a signature: {again}");
}

fn a_posted_request_keeps_the_signatures_of_two_reviewers_at_the_same_second(installation: &Installation) {
    let quorum = |posture: &mut Value| posture["actions"] = json!({"deploy": {"quorum": [{"count": 2}]}});
    let governed = installation.governed_with("together", quorum);
    let team = Team::of(&governed);
    for round in 0..3 {
        let name = team.post(&governed.deployment(&format!("orders-{round}")));
        let (bob, carol) = std::thread::scope(|scope| {
            let bob = scope.spawn(|| team.approve(&name, "bob.pem"));
            let carol = scope.spawn(|| team.approve(&name, "carol.pem"));
            (bob.join().expect("no panic"), carol.join().expect("no panic"))
        });
        assert!(bob.ok() && carol.ok(), "{bob}\n{carol}");
        assert_eq!(team.approval(&name)["signatures"].as_array().map(Vec::len), Some(2), "{bob}\n{carol}");
        assert_eq!(team.state(&name)["state"], "approved", "{bob}\n{carol}");
        let applied =
            installation.operator.kubectl(&["apply", "-f", team.desk.path("app.json").to_str().expect("UTF-8")]);
        assert!(applied.ok(), "{applied}");
    }
    // One after the other, the first reviewer is told who is missing, and cannot sign twice.
    let name = team.post(&governed.deployment("later"));
    let first = team.approve(&name, "bob.pem");
    let missing = "waits for 2 reviewers: signed by bob@acme.example; could sign: carol@acme.example";
    assert!(first.ok() && first.stderr.contains(missing), "{first}");
    let twice = team.approve(&name, "bob.pem");
    assert!(twice.code == Some(1) && twice.stderr.contains("has already signed this"), "{twice}");
    assert!(team.approve(&name, "carol.pem").ok());
    assert_eq!(team.state(&name)["state"], "approved");
}

fn a_posted_request_that_is_repeated_is_one_object(installation: &Installation) {
    let governed = installation.governed("twice");
    let team = Team::of(&governed);
    let orders = governed.deployment("orders");
    let (first, second) = (team.post(&orders), team.post(&orders));
    assert_eq!(first, second);
    let mut other = orders.clone();
    other["spec"]["template"]["spec"]["containers"][0]["image"] = json!("ghcr.io/acme/orders:9");
    assert_ne!(team.post(&other), first);
    let listed = team.operator(&["request", "list", "-o", "json"]);
    let listed: Value = serde_json::from_str(&listed.stdout).expect("JSON");
    assert_eq!(listed.as_array().map(Vec::len), Some(2), "{listed}");
    let other = team.operator(&["request", "-f", "app.json", "--requested-by", "mallory"]);
    assert!(other.code == Some(2) && other.stderr.contains("names the user who posts it"), "{other}");
}

fn the_rejection_of_a_posted_request_is_shown_and_ends_the_wait(installation: &Installation) {
    let governed = installation.governed("rejected");
    let team = Team::of(&governed);
    let name = team.post(&governed.deployment("orders"));
    let (waited, rejected) = std::thread::scope(|scope| {
        let waiting =
            scope.spawn(|| team.operator(&["request", "-f", "app.json", "--reason", "CHG-1234", "--wait=2m"]));
        let reject = ["reject", &name, "--reason", "not in office hours", "--key", "bob.pem", "--yes"];
        let rejected = team.reviewer(&reject);
        (waiting.join().expect("no panic"), rejected)
    });
    assert!(rejected.ok(), "{rejected}");
    assert_eq!(waited.code, Some(1), "{waited}");
    for ran in [waited, team.operator(&["request", "list"]), team.operator(&["pending"])] {
        let text = format!("{}{}", ran.stdout, ran.stderr);
        assert!(text.contains("rejected by bob@acme.example: not in office hours"), "{ran}");
    }
    let again = team.reviewer(&["reject", &name, "--reason", "still not", "--key", "bob.pem", "--yes"]);
    assert!(again.code == Some(1) && again.stderr.contains("exists already"), "{again}");
    // A rejection is not an approval, wherever it is put.
    let stored = rejected.stderr.lines().find_map(|line| line.strip_prefix("written: configmap ")?.split('/').nth(1));
    let stored = team.config_map(stored.expect("a name"));
    let text = stored.expect("a rejection")["data"]["rejection.json"].as_str().expect("text").to_owned();
    let denied = installation.operator.apply(&writgate_testing::attach(&governed.deployment("orders"), &text));
    assert!(!denied.ok() && denied.stderr.contains("MalformedApproval"), "{denied}");
    // Another reviewer may still approve.
    assert!(team.approve(&name, "carol.pem").ok());
    assert_eq!(team.state(&name)["state"], "approved");
}

fn the_rejection_of_a_posted_request_by_an_unknown_key_is_not_a_fact(installation: &Installation) {
    let governed = installation.governed("unverified");
    let team = Team::of(&governed);
    team.write_key("mallory.pem", &Key::new());
    let name = team.post(&governed.deployment("orders"));
    let refused = team.reviewer(&["reject", &name, "--reason", "no", "--key", "mallory.pem", "--yes"]);
    assert!(refused.code == Some(1) && refused.stderr.contains("the posture does not contain this key"), "{refused}");

    let stored = team.config_map(&name).expect("the request");
    let digest = RequestDigest::of(stored["data"]["request.json"].as_str().expect("text"));
    let mut statement = governed.statement(&governed.deployment("orders"));
    statement["predicateType"] = json!("https://writgate.dev/rejection/v1");
    statement["predicate"] = json!({"projection": "v1", "request": digest.to_string(), "reason": "no",
        "rejectedBy": "bob@acme.example", "rejectedAt": "2026-11-22T10:00:00Z"});
    let other = Key::new();
    let unknown: Value = serde_json::from_str(&envelope(&statement, &[&other])).expect("JSON");
    let mut forged = unknown.clone();
    forged["signatures"][0]["keyid"] = json!(governed.bob.id());
    for rejection in [unknown, forged] {
        let text = rejection.to_string();
        installation.plane.install(&[json!({"apiVersion": "v1", "kind": "ConfigMap", "immutable": true, "metadata": {
            "name": digest.rejection_name(&text), "namespace": governed.namespace,
            "labels": {"writgate.dev/kind": "rejection"}}, "data": {"rejection.json": text}})]);
    }
    let state = team.state(&name);
    assert_eq!(state["state"], "waiting", "{state}");
    assert_eq!(state["unverifiedRejections"].as_array().map(Vec::len), Some(2), "{state}");
    // A forgery under his key id does not keep Bob from rejecting.
    let rejected = team.reviewer(&["reject", &name, "--reason", "no", "--key", "bob.pem", "--yes"]);
    assert!(rejected.ok() && team.state(&name)["state"] == "rejected", "{rejected}");
}

fn a_posted_request_that_was_cancelled_cannot_be_approved(installation: &Installation) {
    let governed = installation.governed("cancelled");
    let team = Team::of(&governed);
    let name = team.post(&governed.deployment("orders"));
    let (waited, cancelled) = std::thread::scope(|scope| {
        let waiting =
            scope.spawn(|| team.operator(&["request", "-f", "app.json", "--reason", "CHG-1234", "--wait=2m"]));
        std::thread::sleep(Duration::from_secs(1));
        let cancelled = team.operator(&["request", "cancel", &name]);
        (waiting.join().expect("no panic"), cancelled)
    });
    assert!(cancelled.ok() && !cancelled.stderr.contains("remains valid"), "{cancelled}");
    assert!(waited.code == Some(1) && waited.stderr.contains("is gone"), "{waited}");
    let late = team.approve(&name, "bob.pem");
    assert!(late.code == Some(1) && late.stderr.contains("contains no request"), "{late}");

    let name = team.post(&governed.deployment("ledger"));
    assert!(team.approve(&name, "bob.pem").ok());
    let cancelled = team.operator(&["request", "cancel", &name]);
    assert!(cancelled.ok() && cancelled.stderr.contains("remains valid until"), "{cancelled}");
    assert!(cancelled.stderr.contains("kubectl writgate revoke approval"), "{cancelled}");
}

fn a_posted_request_is_compared_with_the_present_live_object(installation: &Installation) {
    let governed = installation.governed("since");
    let team = Team::of(&governed);
    let image = |tag: &str| {
        let mut orders = governed.deployment("orders");
        orders["spec"]["template"]["spec"]["containers"][0]["image"] = json!(format!("ghcr.io/acme/orders:{tag}"));
        orders
    };
    assert!(installation.operator.apply(&governed.approved(&image("1"))).ok());
    let name = team.post(&image("3"));
    assert!(installation.operator.apply(&governed.approved(&image("2"))).ok());
    let review = team.reviewer(&["review", &name]);
    let change = r#"~ containers[orders].image: "ghcr.io/acme/orders:2" -> "ghcr.io/acme/orders:3""#;
    assert!(review.ok() && review.stdout.contains(change), "{review}");
    assert!(installation.operator.apply(&governed.approved(&image("3"))).ok());
    let late = team.approve(&name, "bob.pem");
    assert!(late.code == Some(1) && late.stderr.contains("the live objects have these specs already"), "{late}");
}

fn a_posted_request_that_is_too_large_or_forbidden_says_that_files_work(installation: &Installation) {
    let governed = installation.governed("files");
    let team = Team::of(&governed);
    let mut large = governed.deployment("large");
    let env: Vec<Value> =
        (0..16).map(|number| json!({"name": format!("V{number}"), "value": "x".repeat(64 * 1024)})).collect();
    large["spec"]["template"]["spec"]["containers"][0]["env"] = json!(env);
    team.desk.write("large.json", &large.to_string());
    let ran = team.operator(&["request", "-f", "large.json"]);
    assert!(ran.code == Some(1) && ran.stderr.contains("expected at most 262144"), "{ran}");
    assert!(ran.stderr.contains("-o FILE"), "{ran}");
    let ran = team.operator(&["request", "-f", "large.json", "-o", "large-request.json"]);
    assert!(ran.ok() && team.desk.path("large-request.json").exists(), "{ran}");

    // Another namespace, in which the operator may not write ConfigMaps.
    let reading = installation.governed("reading");
    let desk = Desk::of(&reading);
    desk.write("app.json", &reading.deployment("orders").to_string());
    let request = |args: &[&str]| {
        let mut command = installation.operator.command(writgate_testing::plugin());
        command.args(["request", "-f", "app.json", "-n", &reading.namespace]).args(args).current_dir(desk.path(""));
        Ran::of(&mut command, "")
    };
    let ran = request(&[]);
    assert_eq!(ran.code, Some(3), "{ran}");
    for text in ["create ConfigMap request-", "forbidden", "write the request to a file with -o FILE"] {
        assert!(ran.stderr.contains(text), "{text}: {ran}");
    }
    assert!(request(&["-o", "request.json"]).ok());
    assert!(desk.path("request.json").exists());
}

fn what_others_write_into_a_posted_request_is_escaped_and_never_trusted(installation: &Installation) {
    let governed = installation.governed("hostile");
    let team = Team::of(&governed);
    team.desk.write("app.json", &governed.deployment("orders").to_string());
    let hostile = "\u{1b}[2J\u{202e}approved\nstate approved by bob";
    let ran = team.operator(&["request", "-f", "app.json", "--reason", hostile]);
    assert!(ran.ok(), "{ran}");
    let name = ran.stdout.trim().to_owned();
    for args in [&["request", "list"][..], &["request", "show", &name], &["pending"], &["review", &name]] {
        let ran = team.operator(args);
        let text = format!("{}{}", ran.stdout, ran.stderr);
        assert!(!text.contains(['\u{1b}', '\u{202e}']) && !text.contains("\nstate approved"), "{args:?}: {ran}");
    }

    // Junk under the name of the approval: other text, an envelope of an unknown key, a signature that does not verify.
    let approval = name.replace("request-", "approval-");
    let mut statement = governed.statement(&governed.deployment("orders"));
    statement["predicate"]["requestedBy"] = json!("alice");
    let mut forged: Value = serde_json::from_str(&envelope(&statement, &[&Key::new()])).expect("JSON");
    forged["signatures"][0]["keyid"] = json!(governed.bob.id());
    for junk in ["junk".to_owned(), envelope(&statement, &[&Key::new()]), forged.to_string()] {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
            "name": approval, "namespace": governed.namespace, "labels": {"writgate.dev/kind": "approval"}},
            "data": {"approval.json": junk}});
        let apply = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
        let written = installation.plane.admin.kubectl_in(&apply, &object.to_string());
        assert!(written.ok(), "{written}");
        assert_eq!(team.state(&name)["state"], "waiting");
        let ran = team.approve(&name, "bob.pem");
        assert!(ran.ok() && ran.stderr.contains("a new one replaces its content"), "{ran}");
        assert_eq!(team.approval(&name)["signatures"].as_array().map(Vec::len), Some(1), "{ran}");
        assert_eq!(team.state(&name)["state"], "approved");
    }

    // Nobody can write into an immutable one, so nothing is signed for it.
    let name = team.post(&governed.deployment("invoices"));
    let taken = json!({"apiVersion": "v1", "kind": "ConfigMap", "immutable": true, "metadata": {
        "name": name.replace("request-", "approval-"), "namespace": governed.namespace}});
    installation.plane.install(&[taken]);
    let ran = team.approve(&name, "bob.pem");
    assert!(ran.code == Some(1) && ran.stderr.contains("is immutable"), "{ran}");
    let file = ["approve", &name, "--key", "bob.pem", "--yes", "-o", "approval.json"];
    assert!(team.reviewer(&file).ok());
}

fn a_posted_request_names_the_fields_that_differ_from_the_last_one(installation: &Installation) {
    let governed = installation.governed("renders");
    let team = Team::of(&governed);
    let rendered = |token: &str| {
        let mut orders = governed.deployment("orders");
        orders["spec"]["template"]["spec"]["containers"][0]["env"] = json!([{"name": "TOKEN", "value": token}]);
        team.desk.write("app.json", &orders.to_string());
        team.operator(&["request", "-f", "app.json"])
    };
    let first = rendered("a");
    assert!(first.ok() && !first.stderr.contains("differs in"), "{first}");
    let second = rendered("b");
    let name = first.stdout.trim();
    let says = format!("spec.template.spec.containers[orders].env[TOKEN].value from request {name}");
    assert!(second.ok() && second.stderr.contains(&says), "{second}");
}

fn a_posted_request_is_pending_with_those_who_must_sign(installation: &Installation) {
    let governed = installation.governed("wanted");
    let team = Team::of(&governed);
    let name = team.post(&governed.deployment("orders"));
    let pending = || -> Value {
        let ran = team.operator(&["pending", "-o", "json"]);
        assert!(ran.ok(), "{ran}");
        serde_json::from_str(&ran.stdout).expect("JSON")
    };
    let wanted = pending();
    assert_eq!(wanted.as_array().map(Vec::len), Some(1), "{wanted}");
    assert_eq!(wanted[0]["times"], 0, "nothing was denied: {wanted}");
    assert_eq!(wanted[0]["request"]["name"], *name, "{wanted}");
    assert_eq!(wanted[0]["request"]["couldSign"], json!(["bob@acme.example", "carol@acme.example"]), "{wanted}");
    // A denial of the same spec is the same entry.
    assert!(!installation.operator.apply(&governed.deployment("orders")).ok());
    let wanted = wait_until("the denial is pending", Duration::from_secs(20), || {
        Some(pending()).filter(|wanted| wanted[0]["times"] == 1)
    });
    assert_eq!(wanted.as_array().map(Vec::len), Some(1), "{wanted}");
    assert_eq!(wanted[0]["request"]["name"], *name, "{wanted}");
    assert!(wanted[0]["next"].as_str().is_some_and(|next| next.contains(&name)), "{wanted}");
}

fn a_posted_request_for_two_clusters_admits_in_both_and_not_in_a_third(installation: &Installation) {
    let governed = installation.governed_with("fleet", |posture| posture["cluster"] = json!("prod-eu-1"));
    let team = Team::of(&governed);
    let orders = governed.deployment("orders");
    team.desk.write("app.json", &orders.to_string());
    let request = ["request", "-f", "app.json", "--cluster", "prod-us-1", "--cluster", "prod-eu-1"];
    let posted = team.operator(&request);
    assert!(posted.ok(), "{posted}");
    let shown = team.operator(&["request", "show", posted.stdout.trim()]);
    assert!(shown.stdout.contains("clusters      prod-eu-1, prod-us-1"), "{shown}");
    let approved = team.approve(posted.stdout.trim(), "bob.pem");
    assert!(approved.ok(), "{approved}");
    assert!(approved.stderr.contains("the change in cluster prod-us-1 is not known"), "{approved}");

    let operator = &installation.operator;
    let manifest = orders.to_string();
    for (cluster, is_admitted) in [("prod-eu-1", true), ("prod-us-1", true), ("prod-ap-1", false)] {
        // The webhook becomes that of another cluster.
        let mut posture = governed.usual_posture();
        posture["cluster"] = json!(cluster);
        installation.plane.install(&governed.posture_objects(&posture));
        wait_until("the posture is in force", Duration::from_secs(20), || {
            operator.kubectl_in(&["create", "--dry-run=server", "-f", "-"], &manifest);
            let is_made_with_it =
                |record: &Value| record["environment"] == governed.environment.as_str() && record["cluster"] == cluster;
            (!installation.webhook.records(is_made_with_it).is_empty()).then_some(())
        });
        let created = operator.kubectl_in(&["create", "-f", "-"], &manifest);
        assert_eq!(created.ok(), is_admitted, "{cluster}: {created}");
        if is_admitted {
            assert!(operator.kubectl(&["delete", "deployment", "orders", "-n", &governed.namespace]).ok());
        } else {
            assert!(writgate_testing::denied_for(&created, "WrongCluster"), "{created}");
        }
    }
}
