//! `kubectl writgate request`: the sources of a request, and its messages if the user lacks rights.

use std::process::Command;

use serde_json::{Value, json};

use crate::e2e::flow::Desk;
use writgate_testing::harness::{self, Test};
use writgate_testing::{Installation, Ran, User, denied_for, envelope, wait_until};

pub(crate) fn tests() -> Vec<Test<Installation>> {
    harness::tests![
        a_release_is_one_request_for_its_unapproved_workloads,
        request_finds_the_same_hash_with_and_without_the_server,
        the_server_is_asked_about_the_manifest_and_not_about_a_merge,
        request_names_fields_that_kubectl_apply_keeps,
        an_approval_of_a_mutated_spec_is_attached_detached,
        request_finds_the_most_recent_denial,
        a_workload_that_is_deleted_and_created_again_is_requested,
        request_names_the_missing_role,
    ]
}

/// Runs `kubectl writgate request -o -` as `user`, with `input` on its standard input. Posted requests are tested in `posted`.
fn request(user: &User, arguments: &[&str], input: &str) -> Ran {
    let mut command: Command = user.command(writgate_testing::plugin());
    Ran::of(command.args(["request", "-o", "-"]).args(arguments), input)
}

fn file(ran: &Ran) -> Value {
    assert!(ran.ok(), "{ran}");
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran}"))
}

fn list(objects: &[&Value]) -> String {
    json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string()
}

fn a_release_is_one_request_for_its_unapproved_workloads(installation: &Installation) {
    let governed = installation.governed("request");
    installation.permit_reading_postures();
    let (runs, new) = (governed.deployment("runs"), governed.deployment("new"));
    assert!(installation.operator.apply(&governed.approved(&runs)).ok());
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": governed.namespace},
        "stringData": {"password": "hunter2"}});
    let ran = request(&installation.operator, &["-f", "-"], &list(&[&runs, &new, &secret]));
    let requested = file(&ran);
    assert_eq!(requested["environment"], *governed.environment);
    assert_eq!(requested["requestedBy"], installation.operator.name, "the requester is the API user");
    assert_eq!(requested["workloads"].as_array().map(Vec::len), Some(1));
    assert_eq!(requested["workloads"][0]["specHash"], format!("sha256:{}", installation.hash(&new)));
    assert!(ran.stderr.contains("nothing changes in the live object"), "{ran}");
    assert!(!ran.stdout.contains("hunter2"), "a Secret is not part of a request");

    let mut changed = runs.clone();
    changed["spec"]["template"]["spec"]["containers"][0]["image"] = "ghcr.io/acme/orders:9".into();
    let requested = file(&request(&installation.operator, &["-f", "-"], &changed.to_string()));
    let before = &requested["workloads"][0]["runs"];
    assert_eq!(
        before["spec"]["template"]["spec"]["containers"][0]["image"],
        runs["spec"]["template"]["spec"]["containers"][0]["image"]
    );
    assert_eq!(before["metadata"].get("managedFields"), None);
}

fn request_finds_the_same_hash_with_and_without_the_server(installation: &Installation) {
    let governed = installation.governed("server");
    installation.permit_reading_postures();
    let new = governed.deployment("new");
    let offline = file(&request(&installation.operator, &["-f", "-"], &new.to_string()));
    let server = file(&request(&installation.operator, &["-f", "-", "--server"], &new.to_string()));
    assert_eq!(offline["workloads"][0]["specHash"], server["workloads"][0]["specHash"]);
}

/// `kubectl replace --force` deletes an object and creates it again.
fn a_workload_that_is_deleted_and_created_again_is_requested(installation: &Installation) {
    let governed = installation.governed("again");
    installation.permit_reading_postures();
    let desk = Desk::of(&governed);
    let job = governed.replay_job("orders");
    desk.write("job.json", &job.to_string());
    let created = installation.operator.create(&governed.approved(&job));
    assert!(created.ok(), "{created}");
    let uid = || {
        let found = installation.plane.admin.get(&["job", "orders", "-n", &governed.namespace]);
        found.map(|job| job["metadata"]["uid"].clone())
    };
    let first = uid();
    let plain = request(&installation.operator, &["-f", "-"], &job.to_string());
    assert!(plain.ok() && plain.stdout.is_empty() && plain.stderr.contains("no request"), "{plain}");

    let recreated = request(&installation.operator, &["-f", "-", "--recreate"], &job.to_string());
    assert_eq!(file(&recreated)["workloads"][0]["recreate"], true, "{recreated}");
    desk.write("request.json", &recreated.stdout);
    let approve = ["approve", "--yes", "-f", "request.json", "--key", "bob.pem", "-o", "approval.json"];
    let approved = desk.run(&approve);
    let says = "the live object, which is deleted and created again";
    assert!(approved.ok() && approved.stderr.contains(says), "{approved}");
    // Without the member, the same request is a false claim.
    desk.write("request.json", &recreated.stdout.replace("\"recreate\": true,", ""));
    let refused = desk.run(&approve);
    assert!(refused.code == Some(1) && refused.stderr.contains("already runs with this spec"), "{refused}");

    let replace = |file: &str| {
        let path = desk.path(file);
        installation.operator.kubectl(&["replace", "--force", "-f", path.to_str().expect("UTF-8")])
    };
    desk.does(&["attach", "-f", "job.json", "--approval", "approval.json", "-o", "approved.json"]);
    let replaced = replace("approved.json");
    assert!(replaced.ok(), "{replaced}");
    assert!(uid().is_some() && uid() != first, "another Job");
    // Without an approval, the Job is deleted, and its creation is denied.
    let lost = replace("job.json");
    assert!(denied_for(&lost, "ApprovalRequired"), "{lost}");
    assert_eq!(uid(), None);
}

fn with_variable(deployment: &Value) -> Value {
    let mut changed = deployment.clone();
    changed["spec"]["template"]["spec"]["containers"][0]["env"] = json!([{"name": "MODE", "value": "fast"}]);
    changed
}

fn the_server_is_asked_about_the_manifest_and_not_about_a_merge(installation: &Installation) {
    let governed = installation.governed("removal");
    installation.permit_reading_postures();
    let without = governed.deployment("orders");
    assert!(installation.operator.apply(&governed.approved(&with_variable(&without))).ok());
    let ran = request(&installation.operator, &["-f", "-", "--server"], &without.to_string());
    let requested = file(&ran);
    let hash = format!("sha256:{}", installation.hash(&without));
    assert_eq!(requested["workloads"][0]["specHash"], hash, "{ran}");
    assert!(!ran.stderr.contains("kubectl apply would keep"), "{ran}");
    let applied = installation.operator.apply(&governed.approved(&without));
    assert!(applied.ok(), "kubectl apply removes a variable that it applied: {applied}");
    let ran = request(&installation.operator, &["-f", "-", "--server"], &without.to_string());
    assert!(ran.ok() && ran.stderr.contains("nothing changes in the live object"), "{ran}");
}

fn request_names_fields_that_kubectl_apply_keeps(installation: &Installation) {
    let governed = installation.governed("kept");
    installation.permit_reading_postures();
    let without = governed.deployment("orders");
    let created = installation.operator.create(&governed.approved(&with_variable(&without)));
    assert!(created.ok(), "{created}");
    // With nothing else to change, kubectl apply would leave the spec as it is.
    let mut released = without;
    released["spec"]["template"]["spec"]["containers"][0]["image"] = "ghcr.io/acme/orders:9".into();
    let ran = request(&installation.operator, &["-f", "-"], &released.to_string());
    assert!(ran.stderr.contains("kubectl apply would keep fields of the live object"), "{ran}");
    assert!(ran.stderr.contains("env[MODE].value"), "{ran}");
    let approved = governed.approved(&released);
    let denied = installation.operator.apply(&approved);
    assert!(!denied.ok() && denied.stderr.contains("SpecHashMismatch"), "{denied}");
    assert!(denied.stderr.contains("containers[0].env differs from the manifest"), "{denied}");
    assert!(denied.stderr.contains("kubectl replace -f FILE"), "{denied}");
    let replaced = installation.operator.kubectl_in(&["replace", "-f", "-"], &approved.to_string());
    assert!(replaced.ok(), "{replaced}");
}

/// A policy that adds an annotation to the Pod templates of Deployments, in namespaces with the label `mutated`.
fn mutation() -> [Value; 2] {
    let group = "admissionregistration.k8s.io/v1";
    let rule = json!({"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["deployments"]});
    let expression =
        r#"[JSONPatch{op: "add", path: "/spec/template/metadata/annotations", value: {"injected": "yes"}}]"#;
    let policy = json!({"apiVersion": group, "kind": "MutatingAdmissionPolicy", "metadata": {"name": "inject"}, "spec": {
        "failurePolicy": "Fail", "reinvocationPolicy": "Never", "matchConstraints": {"resourceRules": [rule]},
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}]}});
    let selector = json!({"namespaceSelector": {"matchLabels": {"mutated": "yes"}}});
    let binding = json!({"apiVersion": group, "kind": "MutatingAdmissionPolicyBinding", "metadata": {"name": "inject"},
        "spec": {"policyName": "inject", "matchResources": selector}});
    [policy, binding]
}

fn an_approval_of_a_mutated_spec_is_attached_detached(installation: &Installation) {
    let governed = installation.governed("mutated");
    installation.permit_reading_postures();
    let admin = &installation.plane.admin;
    let scratch = installation.plane.labelled_namespace("scratch", &json!({"mutated": "yes"}));
    installation.give_access(&scratch);
    assert!(admin.kubectl(&["label", "namespace", &governed.namespace, "mutated=yes"]).ok());
    installation.plane.install(&mutation());
    let orders = governed.deployment("orders");
    let text = orders.to_string();
    let is_mutated =
        |ran: &Ran| (!ran.ok() && ran.stderr.contains("something in the cluster changes it")).then_some(());
    wait_until("the policy is in force", std::time::Duration::from_mins(1), || {
        is_mutated(&request(&installation.operator, &["-f", "-", "--server"], &text))
    });
    let arguments = ["-f", "-", "--server", "--scratch-namespace", &*scratch];
    let ran = request(&installation.operator, &arguments, &text);
    let requested = file(&ran);
    assert!(ran.stderr.contains("attach its approval with: kubectl writgate attach --detached"), "{ran}");
    let hash = requested["workloads"][0]["specHash"].as_str().and_then(|hash| hash.strip_prefix("sha256:"));
    let hash = hash.expect("a hash");
    assert_ne!(hash, installation.hash(&orders), "the manifest has another spec");

    let mut statement = governed.statement(&orders);
    statement["subject"][0]["digest"]["sha256"] = json!(hash);
    let signed = envelope(&statement, &[&governed.bob]);
    let folder = installation.plane.folder.join("mutated");
    std::fs::create_dir_all(&folder).expect("the plane's folder can be written");
    let path = |name: &str| folder.join(name).to_str().expect("a UTF-8 path").to_owned();
    std::fs::write(path("approval.json"), signed).expect("the plane's folder can be written");
    std::fs::write(path("app.json"), &text).expect("the plane's folder can be written");
    let attach = |arguments: &[&str]| {
        let mut command: Command = installation.operator.command(writgate_testing::plugin());
        Ran::of(command.arg("attach").args(["--approval", &path("approval.json")]).args(arguments), "")
    };
    let ran = attach(&["-f", &path("app.json")]);
    assert!(ran.code == Some(1) && ran.stderr.contains("use attach --detached"), "{ran}");
    let ran = attach(&["--detached"]);
    assert!(ran.ok(), "{ran}");
    assert!(installation.tenant.kubectl_in(&["apply", "-f", "-"], &ran.stdout).ok());
    let ran = installation.operator.apply(&orders);
    assert!(ran.ok(), "{ran}");
}

fn request_finds_the_most_recent_denial(installation: &Installation) {
    let governed = installation.governed("denial");
    installation.permit_reading_postures();
    let (denied_object, other) = (governed.deployment("wanted"), governed.deployment("other"));
    let denied = installation.operator.apply(&denied_object);
    assert!(denied.stderr.contains("next: request an approval: kubectl writgate request -f FILE -n"), "{denied}");
    let ask = |arguments: &[&str], input: &str| {
        let arguments = [&["--denial", "-n", &*governed.namespace], arguments].concat();
        wait_until("the Event of the denial exists", std::time::Duration::from_secs(20), || {
            Some(request(&installation.operator, &arguments, input)).filter(|ran| !ran.stderr.contains("no denial"))
        })
    };
    let alone = file(&ask(&[], ""));
    assert_eq!(alone["workloads"][0].get("object"), None, "a request from an Event has no object");
    let with = file(&ask(&["-f", "-"], &list(&[&denied_object, &other])));
    assert_eq!(with["workloads"].as_array().map(Vec::len), Some(1));
    assert_eq!(with["workloads"][0]["specHash"], alone["workloads"][0]["specHash"]);
    assert_eq!(with["capabilities"], alone["capabilities"]);
    let mut changed = denied_object.clone();
    changed["spec"]["template"]["spec"]["containers"][0]["image"] = "ghcr.io/acme/orders:9".into();
    let ran = ask(&["-f", "-"], &changed.to_string());
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("the manifest differs from what was denied"), "{ran}");
}

fn request_names_the_missing_role(installation: &Installation) {
    let governed = installation.governed("rights");
    let stranger = installation.plane.user("stranger");
    let new = governed.deployment("new").to_string();
    let ran = request(&stranger, &["-f", "-"], &new);
    assert_eq!(ran.code, Some(3), "{ran}");
    assert!(ran.stderr.contains("Role writgate-posture-reader"), "{ran}");
    let nobody = installation.plane.user_of("https://127.0.0.1:1", &installation.plane.authority.certificate, "nobody");
    let ran = request(&nobody, &["-f", "-", "--request-timeout", "2s"], &new);
    assert_eq!(ran.code, Some(3), "{ran}");
    assert!(ran.stderr.contains("cannot list the postures"), "{ran}");
}
