//! Detached approvals: ConfigMaps that are applied together with the workload, as GitOps tools do.

use std::time::Duration;

use serde_json::{Value, json};

use crate::e2e::flow::Desk;
use writgate_testing::harness::{Test, tests};
use writgate_testing::{
    APPROVAL, Governed, Installation, Key, Ran, denial, denied_for, detached, envelope, wait_until,
};

pub(crate) fn tests() -> Vec<Test<Installation>> {
    tests![
        a_detached_approval_admits_a_workload_and_is_recorded,
        an_approval_and_its_workload_may_be_applied_in_one_list,
        denies_a_workload_that_is_applied_before_its_detached_approval,
        a_detached_single_use_approval_admits_one_job,
        a_deleted_detached_approval_admits_nothing,
        a_workload_can_name_its_detached_approval,
        ignores_detached_approvals_in_other_namespaces,
        the_right_to_write_config_maps_does_not_approve,
        a_denial_that_no_approval_can_change_lists_no_config_maps,
        the_command_line_writes_and_finds_detached_approvals,
        attach_live_annotates_only_an_object_with_the_approved_spec,
    ]
}

/// The limit allows for a busy machine.
const LIMIT: Duration = Duration::from_secs(20);

/// A ConfigMap with Bob's approval of `object`, and the approval's id.
fn approval(governed: &Governed<'_>, name: &str, object: &Value) -> (Value, Value) {
    let statement = governed.statement(object);
    let id = statement["predicate"]["id"].clone();
    (detached(&governed.namespace, name, &envelope(&statement, &[&governed.bob])), id)
}

fn both(first: &Value, second: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "List", "items": [first, second]})
}

fn a_detached_approval_admits_a_workload_and_is_recorded(installation: &Installation) {
    let governed = installation.governed("detached");
    let orders = governed.deployment("orders");
    let (config_map, id) = approval(&governed, "orders-approval", &orders);
    let ran = installation.tenant.apply(&config_map);
    assert!(ran.ok(), "{ran}");
    let ran = installation.operator.apply(&orders);
    assert!(ran.ok(), "{ran}");
    let records = crate::e2e::trail::records(&governed, |record| record["decision"] == "admitted");
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!((&records[0]["approvals"][0]["id"], &records[0]["basis"]), (&id, &json!("approval")));
}

fn an_approval_and_its_workload_may_be_applied_in_one_list(installation: &Installation) {
    let governed = installation.governed("together");
    // Depending on timing, the webhook finds the approval in its cache or with a list; five tries cover both.
    for number in 0..5 {
        let orders = governed.deployment(&format!("orders-{number}"));
        let (config_map, _) = approval(&governed, &format!("approval-{number}"), &orders);
        let ran = installation.tenant.apply(&both(&config_map, &orders));
        assert!(ran.ok(), "{ran}");
    }
}

fn denies_a_workload_that_is_applied_before_its_detached_approval(installation: &Installation) {
    let governed = installation.governed("first");
    let orders = governed.deployment("orders");
    let (config_map, _) = approval(&governed, "orders-approval", &orders);
    let ran = installation.tenant.apply(&both(&orders, &config_map));
    assert!(denied_for(&ran, "ApprovalRequired"), "{ran}");
    assert!(
        denial(&ran)
            .is_some_and(|message| message.contains("no ConfigMap in the namespace contains one for this spec")),
        "{ran}"
    );
    let ran = installation.tenant.apply(&both(&orders, &config_map));
    assert!(ran.ok(), "applied again, as GitOps tools do: {ran}");
}

fn a_detached_single_use_approval_admits_one_job(installation: &Installation) {
    let governed = installation.governed("spent");
    let job = governed.replay_job("replay");
    assert!(installation.tenant.apply(&approval(&governed, "a", &job).0).ok());
    assert!(installation.operator.create(&job).ok());
    assert!(installation.operator.kubectl(&["delete", "job", "replay", "-n", &governed.namespace]).ok());
    let ran = installation.operator.create(&job);
    assert!(denied_for(&ran, "AlreadyUsed"), "{ran}");
    // The used approval still exists; a new one for the same object admits it.
    assert!(installation.tenant.apply(&approval(&governed, "b", &job).0).ok());
    let ran = installation.operator.create(&job);
    assert!(ran.ok(), "{ran}");
}

fn a_deleted_detached_approval_admits_nothing(installation: &Installation) {
    let governed = installation.governed("deleted");
    let orders = governed.deployment("orders");
    assert!(installation.tenant.apply(&approval(&governed, "a", &orders).0).ok());
    assert!(installation.operator.create(&orders).ok());
    assert!(installation.tenant.kubectl(&["delete", "configmap", "a", "-n", &governed.namespace]).ok());
    let ran =
        installation.operator.kubectl(&["scale", "deployment", "orders", "--replicas=3", "-n", &governed.namespace]);
    assert!(ran.ok(), "scaling the running Deployment: {ran}");
    assert!(installation.operator.apply(&orders).ok(), "applying the same object is not an action");
    assert!(installation.operator.kubectl(&["delete", "deployment", "orders", "-n", &governed.namespace]).ok());
    wait_until("the webhook has seen the deletion", LIMIT, || {
        let ran = installation.operator.kubectl_in(&["create", "--dry-run=server", "-f", "-"], &orders.to_string());
        denied_for(&ran, "ApprovalRequired").then_some(())
    });
}

fn a_workload_can_name_its_detached_approval(installation: &Installation) {
    let governed = installation.governed("named");
    let mut orders = governed.deployment("orders");
    let (good, _) = approval(&governed, "good", &orders);
    let mut statement = governed.statement(&orders);
    statement["predicate"]["environment"] = json!("staging");
    let staging = detached(&governed.namespace, "staging", &envelope(&statement, &[&governed.bob]));
    let junk = detached(&governed.namespace, "junk", "approved");
    assert!([&good, &staging, &junk].into_iter().all(|object| installation.tenant.apply(object).ok()));
    let mut named = |name: &str| {
        orders["metadata"]["annotations"]["writgate.dev/approval-ref"] = json!(name);
        installation.operator.create(&orders)
    };
    assert!(denied_for(&named("staging"), "WrongEnvironment"));
    let ran = named("junk");
    assert!(denied_for(&ran, "MalformedApproval"), "{ran}");
    assert!(denial(&ran).is_some_and(|message| message.contains("ConfigMap junk")), "{ran}");
    let ran = named("nowhere");
    assert!(denied_for(&ran, "ApprovalRequired"), "{ran}");
    assert!(denial(&ran).is_some_and(|message| message.contains("ConfigMap nowhere")), "{ran}");
    let ran = named("good");
    assert!(ran.ok(), "{ran}");
}

fn ignores_detached_approvals_in_other_namespaces(installation: &Installation) {
    let governed = installation.governed("mine");
    let orders = governed.deployment("orders");
    let elsewhere = installation.plane.namespace("elsewhere");
    let (mut config_map, _) = approval(&governed, "a", &orders);
    config_map["metadata"]["namespace"] = json!(elsewhere);
    assert!(installation.plane.admin.apply(&config_map).ok());
    let ran = installation.operator.create(&orders);
    assert!(denied_for(&ran, "ApprovalRequired"), "{ran}");
}

fn the_right_to_write_config_maps_does_not_approve(installation: &Installation) {
    let governed = installation.governed("gains");
    let orders = governed.deployment("orders");
    let own = envelope(&governed.statement(&orders), &[&Key::new()]);
    assert!(installation.tenant.apply(&detached(&governed.namespace, "own", &own)).ok());
    let ran = installation.tenant.create(&orders);
    assert!(denied_for(&ran, "UnknownKey"), "{ran}");
    let (mut unlabelled, _) = approval(&governed, "own", &orders);
    unlabelled["metadata"]["labels"] = json!({"writgate.dev/kind": "other"});
    assert!(installation.tenant.apply(&unlabelled).ok());
    let ran = installation.tenant.create(&orders);
    assert!(denied_for(&ran, "ApprovalRequired"), "a ConfigMap without the label is not an approval: {ran}");
}

fn a_denial_that_no_approval_can_change_lists_no_config_maps(installation: &Installation) {
    let governed = installation.governed_with("cheap", |posture| posture["images"] = json!("digest"));
    let lists = || {
        let of_approvals = |line: &Value| {
            line["user"]["username"] == installation.webhook.identity.name.as_str()
                && line["verb"] == "list"
                && line["objectRef"]["resource"] == "configmaps"
                && line["objectRef"]["namespace"] == governed.namespace.as_str()
        };
        installation.plane.audit_log(of_approvals).len()
    };
    let before = lists();
    let ran = installation.operator.create(&governed.deployment("orders"));
    assert!(denial(&ran).is_some_and(|message| message.contains("ImageNotPinned")), "{ran}");
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": governed.namespace},
        "spec": {"containers": [{"name": "a", "image": "a"}]}});
    let ran = installation.tenant.create(&pod);
    assert!(denied_for(&ran, "WorkloadNotAllowed"), "{ran}");
    assert_eq!(lists(), before);
}

/// Runs `kubectl writgate ARGS` in a desk's folder, as a user who may read the postures.
fn writgate(installation: &Installation, desk: &Desk<'_>, args: &[&str]) -> Ran {
    let program = writgate_testing::plugin();
    Ran::of(installation.plane.admin.command(program).args(args).current_dir(desk.path(".")), "")
}

fn the_command_line_writes_and_finds_detached_approvals(installation: &Installation) {
    let governed = installation.governed("laid");
    let desk = Desk::of(&governed);
    let orders = governed.deployment("orders");
    desk.write("app.json", &orders.to_string());
    desk.approve("app.json", "approval.json");
    let select = ["select", "-f", "app.json", "--approvals", "app.json", "-o", "json"];
    let ran = writgate(installation, &desk, &select);
    assert_eq!(ran.code, Some(3), "a manifest is not an approval: {ran}");

    desk.does(&["attach", "--detached", "--approval", "approval.json", "-o", "detached.yaml"]);
    let ran = installation.tenant.kubectl(&["apply", "-f", desk.path("detached.yaml").to_str().expect("UTF-8")]);
    assert!(ran.ok(), "{ran}");
    let ran = writgate(installation, &desk, &["select", "-f", "app.json", "-o", "json"]);
    assert!(ran.ok(), "{ran}");
    let found: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let from = found[0]["eligible"][0]["from"].to_string();
    assert!(from.contains(&format!("configmap {}/writgate-approval-", governed.namespace)), "{found}");
    let ran = installation.operator.create(&orders);
    assert!(ran.ok(), "{ran}");
    let ran = writgate(installation, &desk, &["select", "-f", "app.json", "-o", "json"]);
    let found: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert!(found[0]["notNeeded"].is_string(), "expected no approval to be required for a live object: {found}");
}

fn attach_live_annotates_only_an_object_with_the_approved_spec(installation: &Installation) {
    let governed = installation.governed("live");
    let desk = Desk::of(&governed);
    let orders = governed.deployment("orders");
    desk.write("app.json", &orders.to_string());
    desk.approve("app.json", "approval.json");
    let live = ["attach", "--live", "--approval", "approval.json"];
    let ran = writgate(installation, &desk, &live);
    assert!(ran.code == Some(1) && ran.stderr.contains("does not exist, so there is nothing to annotate"), "{ran}");

    let ran = installation.operator.apply(&governed.approved(&orders));
    assert!(ran.ok(), "{ran}");
    let ran = writgate(installation, &desk, &live);
    assert!(ran.ok(), "{ran}");
    let get = ["deployment", "orders", "-n", &governed.namespace, "--show-managed-fields"];
    let found = installation.plane.admin.get(&get).expect("it exists");
    let text = std::fs::read_to_string(desk.path("approval.json")).expect("it exists");
    assert_eq!(found["metadata"]["annotations"][APPROVAL], text.trim_end(), "{found}");
    let managers = found["metadata"]["managedFields"].as_array().expect("a list");
    let owners = managers.iter().filter(|entry| entry["fieldsV1"].to_string().contains(&format!("f:{APPROVAL}\"")));
    assert_eq!(owners.count(), 0, "nobody owns the annotation, so that every client can replace it: {managers:?}");

    let mut other = orders.clone();
    other["spec"]["template"]["spec"]["containers"][0]["image"] = json!("ghcr.io/acme/orders:1.4.3");
    desk.write("app.json", &other.to_string());
    desk.approve("app.json", "other.json");
    let ran = writgate(installation, &desk, &["attach", "--live", "--approval", "other.json"]);
    assert!(ran.code == Some(1) && ran.stderr.contains("the live spec is not the approved one"), "{ran}");
}
