//! Changes of a Deployment through every write that the API offers.

use serde_json::{Value, json};

use crate::bypass::case::{EVIL, GOOD, TenantNamespace, row, text, with_image};
use writgate_testing::harness::{Test, tests};
use writgate_testing::{APPROVAL, Installation};

pub(crate) fn tests() -> Vec<Test<Installation>> {
    tests![
        denies_an_unapproved_deployment,
        denies_changes_of_an_approved_deployment,
        denies_a_change_of_any_field_of_the_pod,
        an_approval_alone_may_be_replaced_or_removed,
        denies_changes_by_every_kind_of_write,
        denies_a_forced_replacement,
        denies_changes_of_a_terminating_deployment,
        refuses_old_versions_of_the_api,
        decides_a_server_side_dry_run,
        denies_an_object_that_a_mutating_policy_changed,
    ]
}

fn denies_an_unapproved_deployment(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "unapproved");
    let row = |attempt| ns.row(1, attempt);
    row("`kubectl create deployment`")
        .kubectl(&["create", "deployment", "x", "--image=evil"])
        .denied("ApprovalRequired");
    row("`kubectl apply`").apply(&ns.deployment("orders")).denied("ApprovalRequired");
    let mut named = ns.deployment("orders");
    named["metadata"].as_object_mut().expect("metadata").remove("name");
    named["metadata"]["generateName"] = json!("orders-");
    row("`kubectl create` with `generateName`").create(&named).denied("ApprovalRequired");
}

fn denies_changes_of_an_approved_deployment(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "changed");
    let orders = ns.deployment("orders");
    ns.runs(&orders);
    let image = format!("orders={EVIL}");
    ns.row(2, "`kubectl set image`").kubectl(&["set", "image", "deployment/orders", &image]).denied("SpecHashMismatch");
    ns.row(3, "`kubectl edit`, which changes the image")
        .tries(|user| {
            let mut command = user.command(installation.plane.kubectl());
            command.args(["edit", "deployment/orders", "-n", &ns.namespace]);
            command.env("KUBE_EDITOR", format!("sed -i s,{GOOD},{EVIL},"));
            writgate_testing::Ran::of(&mut command, "")
        })
        .denied("SpecHashMismatch");
    let kubectl = |attempt: &str, args: &[&str]| ns.row(3, attempt).kubectl(args).denied("SpecHashMismatch");
    kubectl("`kubectl set env`", &["set", "env", "deployment/orders", "MODE=evil"]);
    kubectl("`kubectl set resources`", &["set", "resources", "deployment/orders", "--limits=cpu=8"]);
    kubectl("`kubectl set serviceaccount`", &["set", "serviceaccount", "deployment/orders", "other"]);
    let pod = |more: Value| json!({"spec": {"template": {"spec": more}}});
    let init = pod(json!({"initContainers": [{"name": "i", "image": EVIL}]}));
    let sidecar = pod(json!({"initContainers": [{"name": "i", "image": EVIL, "restartPolicy": "Always"}]}));
    let second = pod(json!({"containers": [{"name": "second", "image": EVIL}]}));
    for (attempt, patch) in [
        ("strategic merge patch that adds an init container", init),
        ("strategic merge patch that adds a sidecar (`restartPolicy: Always`)", sidecar),
        ("strategic merge patch that adds a container", second),
    ] {
        ns.row(4, attempt).patch("deployment/orders", "strategic", &patch).denied("SpecHashMismatch");
    }
    ns.row(16, "patch of `spec.replicas` and the template together")
        .patch(
            "deployment/orders",
            "strategic",
            &json!({"spec": {"replicas": 3,
            "template": {"spec": {"containers": [{"name": "orders", "image": EVIL}]}}}}),
        )
        .denied("SpecHashMismatch");
}

/// `kubectl apply` of the approved file, with its approval and one field of the Pod changed.
fn denies_a_change_of_any_field_of_the_pod(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "fields");
    let orders = ns.deployment("orders");
    let approved = ns.approved(&orders);
    ns.applied(&approved);
    let probe = json!({"exec": {"command": ["sh", "-c", "evil"]}});
    let container = [
        (3, "env", json!([{"name": "MODE", "value": "evil"}])),
        (3, "envFrom", json!([{"configMapRef": {"name": "other"}}])),
        (3, "args", json!(["--evil"])),
        (3, "command", json!(["evil"])),
        (3, "workingDir", json!("/tmp")),
        (3, "livenessProbe", probe.clone()),
        (3, "startupProbe", probe.clone()),
        (3, "lifecycle", json!({"postStart": probe})),
        (47, "imagePullPolicy", json!("Always")),
        (51, "securityContext", json!({"privileged": true})),
    ];
    let pod = [
        (3, "volumes", json!([{"name": "host", "hostPath": {"path": "/"}}])),
        (3, "shareProcessNamespace", json!(true)),
        (47, "imagePullSecrets", json!([{"name": "other"}])),
        (50, "serviceAccountName", json!("other")),
        (50, "automountServiceAccountToken", json!(true)),
        (51, "nodeName", json!("control-plane")),
        (51, "nodeSelector", json!({"pool": "other"})),
        (51, "tolerations", json!([{"operator": "Exists"}])),
        (51, "priorityClassName", json!("system-node-critical")),
        (51, "schedulerName", json!("other")),
        (51, "runtimeClassName", json!("other")),
        (51, "hostNetwork", json!(true)),
        (51, "hostPID", json!(true)),
        (51, "securityContext", json!({"runAsUser": 0})),
    ];
    let apply = |number, field: &str, changed: &Value| {
        ns.row(number, format!("`{field}` changed")).apply(changed).denied("SpecHashMismatch");
    };
    for (number, field, value) in container {
        let mut changed = approved.clone();
        changed["spec"]["template"]["spec"]["containers"][0][field] = value;
        apply(number, &format!("container: {field}"), &changed);
    }
    for (number, field, value) in pod {
        let mut changed = approved.clone();
        changed["spec"]["template"]["spec"][field] = value;
        apply(number, &format!("Pod: {field}"), &changed);
    }
    let mut changed = approved.clone();
    changed["spec"]["template"]["metadata"]["annotations"] = json!({"container.seccomp": "off"});
    apply(3, "Pod: an annotation", &changed);
    row(47, "a registry mirror on the node serves other bytes")
        .limit("Node root, etcd and cluster administrators are outside the model");
}

fn an_approval_alone_may_be_replaced_or_removed(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "annotation");
    ns.runs(&ns.deployment("orders"));
    let annotation = |value: Value| json!({"metadata": {"annotations": {APPROVAL: value}}});
    let patch = |attempt, value| {
        ns.row(6, attempt).patch("deployment/orders", "merge", &annotation(value)).unchanged();
    };
    patch("merge patch that replaces a running Deployment's approval with junk", json!("junk"));
    patch("merge patch that removes a running Deployment's approval", Value::Null);
    ns.row(7, "the image changed after the approval was removed")
        .kubectl(&["set", "image", "deployment/orders", &format!("orders={EVIL}")])
        .denied("ApprovalRequired");
}

fn denies_changes_by_every_kind_of_write(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "writes");
    let orders = ns.deployment("orders");
    let approved = ns.approved(&orders);
    ns.applied(&approved);
    let server_side = ["apply", "--server-side", "--force-conflicts", "--field-manager=other", "-f", "-"];
    let changed = with_image(&approved, EVIL).to_string();
    ns.row(8, "server-side apply by another field manager with `--force-conflicts`")
        .kubectl_in(&server_side, &changed)
        .denied("SpecHashMismatch");
    ns.row(8, "JSON patch")
        .patch(
            "deployment/orders",
            "json",
            &json!([{"op": "replace",
            "path": "/spec/template/spec/containers/0/image", "value": EVIL}]),
        )
        .denied("SpecHashMismatch");
    ns.row(8, "`kubectl replace` (PUT)").kubectl_in(&["replace", "-f", "-"], &changed).denied("SpecHashMismatch");
    let other = ns.deployment("other").to_string();
    ns.row(9, "server-side apply that creates the object").kubectl_in(&server_side, &other).denied("ApprovalRequired");
    let path = format!("/apis/apps/v1/namespaces/{}/deployments/other", ns.namespace);
    ns.row(9, "PUT that creates the object")
        .kubectl_in(&["replace", "--raw", &path, "-f", "-"], &other)
        .refused("NotFound");
    status_subresource(&ns, &approved);
}

fn status_subresource(ns: &TenantNamespace<'_>, approved: &Value) {
    let patch = json!({"spec": {"template": {"spec": {"containers": [{"name": "orders", "image": EVIL}]}}},
        "status": {"observedGeneration": 1}});
    let args = ["patch", "deployment/orders", "--subresource=status", "-p", &patch.to_string()];
    ns.row(17, "PATCH of `deployments/status` with another spec").kubectl(&args).refused("Forbidden");
    ns.row(
        17,
        "PATCH of `deployments/status` with another spec, by a user with access to it: the API server drops the spec",
    )
    .by(&ns.installation.operator)
    .kubectl(&args)
    .unchanged();
    assert_eq!(text(&approved["spec"]["template"]["spec"]["containers"][0]["image"]), GOOD);
}

fn denies_a_forced_replacement(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "force");
    let orders = ns.deployment("orders");
    let approved = ns.approved(&orders);
    ns.applied(&approved);
    let replace = ["replace", "--force", "--grace-period=0", "-f", "-"];
    ns.row(10, "`kubectl replace --force` (deletes, then creates) with a valid approval")
        .kubectl_in(&replace, &approved.to_string())
        .admitted();
    ns.row(10, "`kubectl replace --force` with another image: deleted, but not created again")
        .kubectl_in(&replace, &with_image(&approved, EVIL).to_string())
        .denied_but("SpecHashMismatch");
    assert!(ns.live("deployment/orders").is_none());
}

fn denies_changes_of_a_terminating_deployment(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "finalizer");
    let mut orders = ns.approved(&ns.deployment("orders"));
    orders["metadata"]["finalizers"] = json!(["example.com/wait"]);
    ns.applied(&orders);
    ns.row(40, "`kubectl delete` of a Deployment with a finalizer")
        .kubectl(&["delete", "deployment/orders", "--wait=false"])
        .unchanged();
    ns.row(40, "the image of a terminating Deployment changed")
        .kubectl(&["set", "image", "deployment/orders", &format!("orders={EVIL}")])
        .denied("SpecHashMismatch");
    ns.row(40, "the finalizer of a terminating Deployment removed")
        .patch("deployment/orders", "merge", &json!({"metadata": {"finalizers": null}}))
        .unchanged();
}

fn refuses_old_versions_of_the_api(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "versions");
    for version in ["apps/v1beta1", "apps/v1beta2", "extensions/v1beta1"] {
        let path = format!("/apis/{version}/namespaces/{}/deployments", ns.namespace);
        let mut orders = ns.deployment("orders");
        orders["apiVersion"] = json!(version);
        ns.row(19, format!("POST of a Deployment as `{version}`"))
            .kubectl_in(&["create", "--raw", &path, "-f", "-"], &orders.to_string())
            .refused("NotFound");
    }
    ns.runs(&ns.deployment("orders"));
    let path = format!("/apis/apps/v1/namespaces/{}/deployments/orders/rollback", ns.namespace);
    let rollback = json!({"apiVersion": "apps/v1", "kind": "DeploymentRollback", "name": "orders",
        "rollbackTo": {"revision": 0}});
    ns.row(18, "POST to `deployments/rollback`")
        .kubectl_in(&["create", "--raw", &path, "-f", "-"], &rollback.to_string())
        .refused("NotFound");
}

fn decides_a_server_side_dry_run(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "probe");
    let orders = ns.deployment("orders");
    let dry_run = ["apply", "--dry-run=server", "-f", "-"];
    let refused = ns.row(54, "`--dry-run=server` without an approval").kubectl_in(&dry_run, &orders.to_string());
    refused.denied("ApprovalRequired");
    let record = ns
        .row(54, "`--dry-run=server` with an approval: the same decision, and nothing is created")
        .kubectl_in(&dry_run, &ns.approved(&orders).to_string())
        .admitted();
    assert_eq!(record["dryRun"], true, "{record}");
    assert!(ns.live("deployment/orders").is_none());
    let events = ns.list("events.events.k8s.io");
    assert_eq!(events, Vec::<Value>::new(), "a dry run writes no Event");
}

/// The webhook checks an object after mutating admission. Pods of exempt controllers are not checked.
fn denies_an_object_that_a_mutating_policy_changed(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "mutated");
    let env = r#"Object{spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{containers:
        object.spec.template.spec.containers.map(c, Object.spec.template.spec.containers{name: c.name,
        env: [Object.spec.template.spec.containers.env{name: "INJECTED", value: "1"}]})}}}}"#;
    let sidecar = r#"Object{spec: Object.spec{containers:
        [Object.spec.containers{name: "injected", image: "ghcr.io/other/sidecar:1"}]}}"#;
    ns.runs(&ns.deployment("before"));
    for (resource, group, expression) in [("deployments", "apps", env), ("pods", "", sidecar)] {
        let name = format!("{}-{resource}", ns.namespace);
        let rule =
            json!({"apiGroups": [group], "apiVersions": ["v1"], "resources": [resource], "operations": ["CREATE"]});
        let here = json!({"matchLabels": {"kubernetes.io/metadata.name": ns.namespace}});
        let kind = |kind: &str, spec: Value| json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "spec": spec});
        installation.plane.install(&[
            kind(
                "MutatingAdmissionPolicy",
                json!({"failurePolicy": "Fail", "reinvocationPolicy": "Never",
                "matchConstraints": {"resourceRules": [rule], "namespaceSelector": here},
                "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}]}),
            ),
            kind("MutatingAdmissionPolicyBinding", json!({"policyName": name})),
        ]);
    }
    writgate_testing::wait_until("the policies are in force", crate::bypass::case::PATIENCE, || {
        let probe = ns.deployment("probe").to_string();
        let ran = installation.operator.kubectl_in(&["create", "--dry-run=server", "-f", "-"], &probe);
        let hash = installation.hash(&ns.deployment("probe"));
        (!ran.stderr.contains(&hash)).then_some(())
    });
    // The policies take effect at different times. A Pod that the controller creates again shows that the second one has.
    let injected = || {
        let with_sidecar = |pod: &&Value| pod["spec"]["containers"].as_array().map_or(0, Vec::len) == 2;
        ns.list("pods").iter().filter(with_sidecar).count()
    };
    writgate_testing::wait_until("the policy adds its container to Pods", crate::bypass::case::PATIENCE, || {
        installation.plane.admin.kubectl(&["delete", "pods", "--all", "-n", &ns.namespace]);
        ns.settle("deployment/before");
        (injected() > 0).then_some(())
    });
    ns
        .row(
            53,
            "a mutating policy adds an environment variable to an approved Deployment: the object that would be stored is checked",
        )
        .apply(&ns.approved(&ns.deployment("orders")))
        .denied("SpecHashMismatch");
    let scaled = ns.row(52, "a mutating policy adds a container to the Pods of an approved Deployment");
    let scaled = scaled.kubectl(&["scale", "deployment/before", "--replicas=2"]);
    ns.settle("deployment/before");
    assert_eq!(injected(), 2, "Pods with the added container");
    scaled.limit("What another admission plugin changes in Pods is not checked");
}
