//! Decisions by initiator: a GitOps controller, a tenant with the `edit` role, a reviewer, and Kubernetes controllers.

use std::time::Duration;

use serde_json::{Value, json};

use crate::e2e::trail;
use writgate_testing::harness::{Test, tests};
use writgate_testing::{Installation, Ran, denied_for, wait_until};

pub(crate) fn tests() -> Vec<Test<Installation>> {
    tests![
        a_gitops_controller_requires_an_approval_and_is_recorded_as_the_initiator,
        denies_every_way_in_which_a_tenant_starts_an_unapproved_workload,
        denies_a_reviewer_who_applies_their_own_approval,
        objects_of_controllers_require_no_approval,
    ]
}

fn a_gitops_controller_requires_an_approval_and_is_recorded_as_the_initiator(installation: &Installation) {
    let governed = installation.governed("gitops");
    let apply = |object: &Value| {
        let args = ["apply", "--server-side", "--field-manager=gitops", "-f", "-"];
        installation.gitops.kubectl_in(&args, &object.to_string())
    };
    let object = governed.deployment("orders");
    let ran = apply(&object);
    assert!(denied_for(&ran, "ApprovalRequired"), "{ran}");
    let approved = governed.approved(&object);
    for _ in 0..2 {
        let ran = apply(&approved);
        assert!(ran.ok(), "applied, and applied again: {ran}");
    }
    let records = trail::records(&governed, |record| record["decision"] == "admitted");
    assert_eq!(records.len(), 1, "the second apply changes nothing, so it is not an action");
    assert_eq!(records[0]["initiator"]["username"], "system:serviceaccount:gitops:applier");
    assert_eq!(trail::event_of(&governed, &records[0])["reason"], "Admitted");
}

fn denies_every_way_in_which_a_tenant_starts_an_unapproved_workload(installation: &Installation) {
    let governed = installation.governed("tenant");
    let ran = installation.operator.apply(&governed.approved(&governed.deployment("orders")));
    assert!(ran.ok(), "{ran}");
    let set = wait_until("the controller made the ReplicaSet", Duration::from_secs(20), || {
        let sets = installation.plane.admin.get(&["replicasets", "-n", &governed.namespace])?;
        sets["items"].as_array()?.first().cloned()
    });
    let set_name = set["metadata"]["name"].as_str().expect("a name").to_owned();

    let deployment = governed.deployment("other");
    let pod_spec = &deployment["spec"]["template"]["spec"];
    let bare = json!({"apiVersion": "v1", "kind": "Pod", "spec": pod_spec,
        "metadata": {"name": "bare", "namespace": governed.namespace,
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "controller": true,
                "name": set_name, "uid": set["metadata"]["uid"]}]}});
    let mut own_set = deployment.clone();
    own_set["kind"] = json!("ReplicaSet");
    let stateful = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": deployment["metadata"],
        "spec": {"serviceName": "x", "selector": deployment["spec"]["selector"], "template": deployment["spec"]["template"]}});
    let cron = json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": deployment["metadata"],
        "spec": {"schedule": "* * * * *", "jobTemplate": {"spec": governed.dry_run_job("x")["spec"]}}});
    let mut unlabelled = governed.replay_job("plain");
    unlabelled["metadata"]["labels"] = json!({});

    let set_image = |target: &str| {
        let args = ["set", "image", target, "orders=ghcr.io/acme/orders:6.6.6", "-n", &governed.namespace];
        installation.tenant.kubectl(&args)
    };
    let raise = ["scale", "replicaset", &set_name, "--replicas=3", "-n", &governed.namespace];
    let ways: [(&str, Ran, &str); 9] = [
        ("a ReplicaSet scaled up", installation.tenant.kubectl(&raise), "WorkloadNotAllowed"),
        ("a Deployment", installation.tenant.apply(&deployment), "ApprovalRequired"),
        ("another image", set_image("deployment/orders"), "SpecHashMismatch"),
        ("another image in a ReplicaSet", set_image(&format!("replicaset/{set_name}")), "SpecHashMismatch"),
        ("a ReplicaSet", installation.tenant.apply(&own_set), "ApprovalRequired"),
        ("a StatefulSet", installation.tenant.apply(&stateful), "ApprovalRequired"),
        ("a Pod that claims an owner", installation.tenant.apply(&bare), "WorkloadNotAllowed"),
        ("a CronJob that replays", installation.tenant.apply(&cron), "WorkloadNotAllowed"),
        ("a replay without its label", installation.tenant.apply(&unlabelled), "ApprovalRequired"),
    ];
    for (way, ran, code) in ways {
        assert!(denied_for(&ran, code), "{way}: expected {code}: {ran}");
    }
}

fn denies_a_reviewer_who_applies_their_own_approval(installation: &Installation) {
    let governed = installation.governed("own");
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": "reviewer-operates", "namespace": governed.namespace},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "operator"},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": installation.reviewer.name}]});
    installation.plane.install(&[binding]);
    let approved = governed.approved(&governed.deployment("orders"));
    let ran = installation.reviewer.apply(&approved);
    assert!(denied_for(&ran, "SelfApproval"), "{ran}");
    let ran = installation.operator.apply(&approved);
    assert!(ran.ok(), "{ran}");
}

fn objects_of_controllers_require_no_approval(installation: &Installation) {
    let governed = installation.governed("children");
    let ran = installation.operator.apply(&governed.approved(&governed.deployment("orders")));
    assert!(ran.ok(), "{ran}");
    let ran = installation.operator.create(&governed.approved(&governed.replay_job("replay")));
    assert!(ran.ok(), "{ran}");
    for selector in ["app=orders", "batch.kubernetes.io/job-name=replay"] {
        wait_until(&format!("a Pod with {selector} exists"), Duration::from_secs(20), || {
            let pods = installation.plane.admin.get(&["pods", "-n", &governed.namespace, "-l", selector])?;
            (!pods["items"].as_array()?.is_empty()).then_some(())
        });
    }
    let denied = trail::records(&governed, |record| {
        record["decision"] == "denied" && record["initiator"]["username"] != installation.operator.name.as_str()
    });
    assert_eq!(denied, Vec::<Value>::new(), "denials of controllers");
}
