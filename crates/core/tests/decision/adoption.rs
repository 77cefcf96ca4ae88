//! Labels and owner references by which controllers adopt objects and let go of them.

use serde_json::{Value, json};
use writgate_core::{approval::spec_hash, kube::WorkloadKind};

use crate::decision::case::Case;

const KUBE: &str = "system:serviceaccount:kube-system:";

/// An update of an object that nobody approved, by alice, which changes nothing.
fn unchanged(kind: WorkloadKind) -> Case {
    let template = json!({"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let spec = match kind {
        WorkloadKind::CronJob => json!({"schedule": "@daily", "jobTemplate": {"spec": {"template": template}}}),
        WorkloadKind::ReplicationController => json!({"replicas": 2, "selector": {"app": "a"}, "template": template}),
        _ => json!({"replicas": 2, "selector": {"matchLabels": {"app": "a"}}, "template": template}),
    };
    Case::of(kind, "orders", &spec)
        .with(|c| c.object()["metadata"]["labels"] = json!({"app": "a", "team": "t"}))
        .with(|c| c.object()["metadata"]["ownerReferences"] = owner("Deployment"))
        .updated()
}

fn owner(kind: &str) -> Value {
    json!([{"apiVersion": "apps/v1", "kind": kind, "name": "orders", "uid": "u", "controller": true}])
}

fn unapproved(c: &mut Case) {
    c.signers.clear();
}

/// Each change of a label or an owner reference, one at a time.
const CHANGES: [fn(&mut Value); 8] = [
    |metadata| metadata["labels"]["app"] = "x".into(),
    |metadata| metadata["labels"]["team"] = "x".into(),
    |metadata| metadata["labels"]["adopt"] = "me".into(),
    |metadata| metadata["labels"] = json!({"app": "a"}),
    |metadata| metadata["labels"] = Value::Null,
    |metadata| metadata["ownerReferences"] = json!([]),
    |metadata| metadata["ownerReferences"] = owner("ReplicaSet"),
    |metadata| metadata["ownerReferences"][0]["controller"] = false.into(),
];

#[test]
fn a_workload_that_controllers_adopt_keeps_its_labels_and_owners_unless_it_is_approved() {
    for kind in [WorkloadKind::ReplicaSet, WorkloadKind::ReplicationController, WorkloadKind::Job] {
        unchanged(kind).with(unapproved).expect("not-an-action");
        for change in CHANGES {
            let changed = unchanged(kind).with(|c| change(&mut c.object()["metadata"]));
            changed.clone().expect("admitted");
            changed.with(unapproved).expect("ApprovalRequired");
        }
        unchanged(kind).with(unapproved).with(|c| c.annotate("note", "x")).expect("not-an-action");
    }
}

#[test]
fn a_workload_that_no_controller_adopts_may_be_labelled_freely() {
    for kind in [WorkloadKind::Deployment, WorkloadKind::StatefulSet, WorkloadKind::DaemonSet, WorkloadKind::CronJob] {
        for change in CHANGES {
            unchanged(kind).with(unapproved).with(|c| change(&mut c.object()["metadata"])).expect("not-an-action");
        }
    }
}

#[test]
fn a_label_is_not_changed_together_with_fewer_replicas() {
    let lowered = || unchanged(WorkloadKind::ReplicaSet).with(unapproved).with(|c| c.spec()["replicas"] = 0.into());
    lowered().expect("not-an-action");
    lowered().with(|c| c.object()["metadata"]["labels"]["adopt"] = "me".into()).expect("ApprovalRequired");
}

#[test]
fn controllers_change_labels_and_owners_of_what_they_own() {
    for (controller, kind) in [
        ("deployment-controller", WorkloadKind::ReplicaSet),
        ("generic-garbage-collector", WorkloadKind::ReplicaSet),
        ("generic-garbage-collector", WorkloadKind::ReplicationController),
        ("generic-garbage-collector", WorkloadKind::Job),
        ("cronjob-controller", WorkloadKind::Job),
    ] {
        for change in CHANGES {
            let by = |c: &mut Case| c.request["userInfo"]["username"] = format!("{KUBE}{controller}").into();
            let case = unchanged(kind).with(unapproved).with(|c| change(&mut c.object()["metadata"]));
            case.clone().with(by).expect("not-an-action");
            let tenant = |c: &mut Case| {
                c.request["userInfo"]["username"] = format!("system:serviceaccount:payments:{controller}").into();
            };
            case.with(tenant).expect("ApprovalRequired");
        }
    }
    // Another spec of a replay is an action, whoever writes it.
    let replay = Case::replay().updated().with(unapproved).with(|c| c.spec()["suspend"] = true.into());
    let released = replay.clone().updated().with(|c| c.spec()["suspend"] = false.into());
    let by_collector =
        |c: &mut Case| c.request["userInfo"]["username"] = format!("{KUBE}generic-garbage-collector").into();
    replay.with(|c| c.object()["metadata"]["ownerReferences"] = json!([])).with(by_collector).expect("not-an-action");
    released.with(by_collector).expect("ApprovalRequired");
}

/// A Pod whose controller has this kind. Nothing changes.
fn pod(controller: &str) -> Case {
    unchanged(WorkloadKind::ReplicaSet).with(unapproved).with(|c| {
        for place in ["object", "oldObject"] {
            let object = &mut c.request[place];
            object["apiVersion"] = "v1".into();
            object["kind"] = "Pod".into();
            object["spec"] = json!({"containers": [{"name": "c", "image": "i"}]});
            object["metadata"]["ownerReferences"] = if controller.is_empty() { Value::Null } else { owner(controller) };
        }
        c.request["kind"] = json!({"group": "", "version": "v1", "kind": "Pod"});
        c.request["resource"] = json!({"group": "", "version": "v1", "resource": "pods"});
    })
}

fn relabelled(case: Case, key: &str) -> Case {
    case.with(|c| c.object()["metadata"]["labels"][key] = "x".into())
}

#[test]
fn a_pod_of_a_set_may_label_itself_but_not_as_controllers_do() {
    for set in ["ReplicaSet", "ReplicationController", "StatefulSet", "DaemonSet"] {
        pod(set).expect("not-an-action");
        for free in ["role", "app", "team"] {
            relabelled(pod(set), free).expect("not-an-action");
        }
        for controllers in
            ["pod-template-hash", "controller-revision-hash", "controller-uid", "batch.kubernetes.io/job-name"]
        {
            relabelled(pod(set), controllers).expect("WorkloadNotAllowed");
        }
        pod(set).with(|c| c.object()["metadata"]["ownerReferences"] = Value::Null).expect("WorkloadNotAllowed");
        // An owner that is not the controller replaces nothing.
        let owned = |c: &mut Case| {
            for place in ["object", "oldObject"] {
                c.request[place]["metadata"]["ownerReferences"][0]["controller"] = false.into();
            }
        };
        relabelled(pod(set).with(owned), "role").expect("WorkloadNotAllowed");
    }
}

#[test]
fn a_pod_without_a_set_is_as_free_as_its_creation() {
    let allow = |c: &mut Case| c.posture["pods"] = "allow".into();
    for controller in ["", "Node"] {
        pod(controller).expect("not-an-action");
        relabelled(pod(controller), "role").expect("WorkloadNotAllowed");
        relabelled(pod(controller), "role").with(allow).expect("admitted");
        let adopted = |c: &mut Case| c.object()["metadata"]["ownerReferences"] = owner("Deployment");
        pod(controller).with(adopted).expect("WorkloadNotAllowed");
    }
}

#[test]
fn nobody_relabels_a_pod_of_a_job_but_its_controller() {
    let allow = |c: &mut Case| c.posture["pods"] = "allow".into();
    pod("Job").with(allow).expect("not-an-action");
    for change in CHANGES {
        let changed = || pod("Job").with(|c| change(&mut c.object()["metadata"]));
        changed().expect("WorkloadNotAllowed");
        changed().with(allow).expect("WorkloadNotAllowed");
        for controller in ["job-controller", "generic-garbage-collector"] {
            let by = |c: &mut Case| c.request["userInfo"]["username"] = format!("{KUBE}{controller}").into();
            changed().with(by).expect("not-an-action");
        }
    }
    let tracked_by = |controller: &str, before: Value, after: Value| {
        pod(controller).with(allow).with(|c| {
            c.request["oldObject"]["metadata"]["finalizers"] = before;
            c.object()["metadata"]["finalizers"] = after;
        })
    };
    let tracked = |before, after| tracked_by("Job", before, after);
    let tracking = || json!(["a/b", "batch.kubernetes.io/job-tracking"]);
    tracked(tracking(), tracking()).expect("not-an-action");
    tracked(tracking(), json!(["batch.kubernetes.io/job-tracking", "c/d"])).expect("not-an-action");
    tracked(json!(["a/b"]), Value::Null).expect("not-an-action");
    for untracked in [json!(["a/b"]), json!([]), Value::Null] {
        tracked(tracking(), untracked.clone()).expect("WorkloadNotAllowed");
        tracked_by("ReplicaSet", tracking(), untracked).expect("not-an-action");
    }
    // Owners that cannot be read may be a Job.
    let unreadable =
        |c: &mut Case| c.request["oldObject"]["metadata"]["ownerReferences"] = json!({"kind": "ReplicaSet"});
    pod("Job").with(allow).with(unreadable).expect("WorkloadNotAllowed");
}

/// The selector decides what a workload adopts, so an approval names it.
#[test]
fn another_selector_has_another_hash() {
    let selectors = [
        json!({"matchLabels": {"app": "b"}}),
        json!({"matchLabels": {"app": "a", "tier": "x"}}),
        json!({"matchLabels": {"app": "a"}, "matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}),
        json!({"matchExpressions": [{"key": "x", "operator": "DoesNotExist"}]}),
        json!({}),
        Value::Null,
    ];
    for kind in [
        WorkloadKind::Deployment,
        WorkloadKind::ReplicaSet,
        WorkloadKind::StatefulSet,
        WorkloadKind::DaemonSet,
        WorkloadKind::ReplicationController,
    ] {
        let hash = |spec: &Value| spec_hash(kind, &spec.to_string()).expect("a hash");
        let approved = unchanged(kind).with(|c| c.request["operation"] = "CREATE".into());
        let approved = approved.with(|c| c.request["oldObject"] = Value::Null);
        approved.clone().expect("admitted");
        let own = hash(&approved.clone().spec().clone());
        for selector in &selectors {
            let changed = approved.clone().with(|c| c.spec()["selector"] = selector.clone());
            assert_ne!(hash(&changed.clone().spec().clone()), own, "{kind:?} {selector}");
            changed.expect("SpecHashMismatch");
        }
    }
    // The API server generates a Job's selector, unless it is manual.
    let manual = |selector: Value| {
        let spec = json!({"manualSelector": true, "selector": selector, "template": {"spec": {"containers": []}}});
        spec_hash(WorkloadKind::Job, &spec.to_string()).expect("a hash")
    };
    assert_ne!(manual(json!({"matchLabels": {"app": "a"}})), manual(json!({"matchLabels": {"app": "b"}})));
}
