//! The number of webhook calls that a running cluster causes, from the API server's metrics, which count calls by webhook.
//!
//! The counted entry has the rules and conditions of the chart, another name, and a namespace of its own. Its failure policy is
//! `Ignore`, so requests succeed although nothing listens at its address.

use std::time::Duration;

use serde_json::json;

use crate::manifests::{PATIENCE, Unreachable, names, rendered};
use writgate_testing::{User, wait_until};

const COUNTED: &str = "counted.writgate.dev";
const REPLICAS: usize = 5;

/// Calls of the counted entry so far.
fn calls(admin: &User) -> u64 {
    let ran = admin.kubectl(&["get", "--raw", "/metrics"]);
    assert!(ran.ok(), "{ran}");
    let series = ran.stdout.lines().filter(|line| {
        line.starts_with("apiserver_admission_webhook_admission_duration_seconds_count{")
            && line.contains(&format!("name=\"{COUNTED}\""))
    });
    series.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

fn install(unreachable: &Unreachable) -> String {
    let namespace = unreachable.plane.labelled_namespace("counted", &json!({"counted": "yes"}));
    let mut configuration = rendered(&unreachable.plane)
        .into_iter()
        .find(|object| object["webhooks"][0]["name"] == "workloads.writgate.dev")
        .expect("an entry for workloads");
    let mut entry = configuration["webhooks"][0].take();
    entry["name"] = json!(COUNTED);
    entry["failurePolicy"] = json!("Ignore");
    entry["namespaceSelector"] = json!({"matchLabels": {"counted": "yes"}});
    configuration["metadata"] = json!({"name": "counted"});
    configuration["webhooks"] = json!([entry]);
    let admin = &unreachable.plane.admin;
    let ran = admin.create(&configuration);
    assert!(ran.ok(), "{ran}");
    wait_until("the counted entry is in force", PATIENCE, || {
        let ran = admin.kubectl(&["create", "deployment", "probe", "--image=i", "--dry-run=server", "-n", &namespace]);
        assert!(ran.ok(), "{ran}");
        (calls(admin) > 0).then_some(())
    });
    namespace
}

pub(crate) fn writes_of_controllers_cause_no_call(unreachable: &Unreachable) {
    let namespace = install(unreachable);
    let admin = &unreachable.plane.admin;
    let run = |args: &[&str]| {
        let ran = admin.kubectl(&[args, &["-n", &namespace]].concat());
        assert!(ran.ok(), "{ran}");
    };
    let wait_for = |how_many: usize| {
        wait_until(&format!("there are {how_many} Pods"), PATIENCE, || {
            let pods = admin.get(&["pods", "-n", &namespace]).expect("a list");
            (names(&pods).len() == how_many).then_some(())
        });
        let unavailable = json!(how_many);
        wait_until("the controller wrote the Deployment's status", PATIENCE, || {
            let deployment = admin.get(&["deployment", "web", "-n", &namespace])?;
            (deployment["status"]["unavailableReplicas"] == unavailable).then_some(())
        });
    };
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": namespace},
        "spec": {"replicas": REPLICAS, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});

    let before = calls(admin);
    let ran = admin.apply(&deployment);
    assert!(ran.ok(), "{ran}");
    assert_eq!(calls(admin), before + 1, "calls after creating the Deployment");
    wait_for(REPLICAS);
    let ran = admin.apply(&deployment);
    assert!(ran.ok(), "applied again: {ran}");
    run(&["scale", "deployment", "web", "--replicas=7"]);
    wait_for(REPLICAS + 2);
    run(&["delete", "pod", "--all", "--now"]);
    wait_for(REPLICAS + 2);
    run(&["label", "deployment", "web", "team=a"]);
    run(&["patch", "deployment", "web", "--subresource=status", "-p", r#"{"status":{"collisionCount":1}}"#]);
    assert_eq!(calls(admin), before + 1, "calls after writes that are not actions");

    run(&["set", "image", "deployment/web", "c=other"]);
    wait_until("the controller made the second ReplicaSet", PATIENCE, || {
        let sets = admin.get(&["replicasets", "-n", &namespace]).expect("a list");
        (names(&sets).len() == 2).then_some(())
    });
    std::thread::sleep(Duration::from_secs(1)); // the rollout's further writes
    assert_eq!(calls(admin), before + 2, "calls after another image");
}
