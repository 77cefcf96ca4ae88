//! Changes of a Deployment, by every way in which the API takes one.

use serde_json::{Value, json};

use crate::bypass::case::{EVIL, GOOD, Ground, row, text, with_image};
use writgate_testing::harness::{Test, tests};
use writgate_testing::{APPROVAL, Gate};

pub(crate) fn tests() -> Vec<Test<Gate>> {
    tests![
        a_deployment_that_nobody_approved,
        an_approved_deployment_changed,
        every_field_that_a_container_notices,
        the_annotation_by_itself,
        other_ways_to_write,
        replaced_by_force,
        while_it_is_going_away,
        old_versions_of_the_api,
        probing_by_dry_run,
        changed_on_the_way,
    ]
}

fn a_deployment_that_nobody_approved(gate: &Gate) {
    let ground = Ground::new(gate, "unapproved");
    let row = |attempt| ground.row(1, attempt);
    row("`kubectl create deployment`")
        .kubectl(&["create", "deployment", "x", "--image=evil"])
        .denied("ApprovalRequired");
    row("`kubectl apply`").apply(&ground.deployment("orders")).denied("ApprovalRequired");
    let mut named = ground.deployment("orders");
    named["metadata"].as_object_mut().expect("metadata").remove("name");
    named["metadata"]["generateName"] = json!("orders-");
    row("`kubectl create` with `generateName`").create(&named).denied("ApprovalRequired");
}

fn an_approved_deployment_changed(gate: &Gate) {
    let ground = Ground::new(gate, "changed");
    let orders = ground.deployment("orders");
    ground.runs(&orders);
    let image = format!("orders={EVIL}");
    ground
        .row(2, "`kubectl set image`")
        .kubectl(&["set", "image", "deployment/orders", &image])
        .denied("SpecHashMismatch");
    ground
        .row(3, "`kubectl edit`, which changes the image")
        .tries(|user| {
            let mut command = user.command(gate.plane.kubectl());
            command.args(["edit", "deployment/orders", "-n", &ground.namespace]);
            command.env("KUBE_EDITOR", format!("sed -i s,{GOOD},{EVIL},"));
            writgate_testing::Ran::of(&mut command, "")
        })
        .denied("SpecHashMismatch");
    let kubectl = |attempt: &str, args: &[&str]| ground.row(3, attempt).kubectl(args).denied("SpecHashMismatch");
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
        ground.row(4, attempt).patch("deployment/orders", "strategic", &patch).denied("SpecHashMismatch");
    }
    ground
        .row(16, "patch of `spec.replicas` and the template together")
        .patch(
            "deployment/orders",
            "strategic",
            &json!({"spec": {"replicas": 3,
            "template": {"spec": {"containers": [{"name": "orders", "image": EVIL}]}}}}),
        )
        .denied("SpecHashMismatch");
}

/// `kubectl apply` of the approved file, approval and all, with one field of the Pod changed.
fn every_field_that_a_container_notices(gate: &Gate) {
    let ground = Ground::new(gate, "fields");
    let orders = ground.deployment("orders");
    let approved = ground.approved(&orders);
    ground.applied(&approved);
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
        ground.row(number, format!("`{field}` changed")).apply(changed).denied("SpecHashMismatch");
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

fn the_annotation_by_itself(gate: &Gate) {
    let ground = Ground::new(gate, "annotation");
    ground.runs(&ground.deployment("orders"));
    let annotation = |value: Value| json!({"metadata": {"annotations": {APPROVAL: value}}});
    let patch = |attempt, value| {
        ground.row(6, attempt).patch("deployment/orders", "merge", &annotation(value)).unchanged();
    };
    patch("merge patch that replaces a running Deployment's approval with junk", json!("junk"));
    patch("merge patch that removes a running Deployment's approval", Value::Null);
    ground
        .row(7, "the image changed after the approval was removed")
        .kubectl(&["set", "image", "deployment/orders", &format!("orders={EVIL}")])
        .denied("ApprovalRequired");
}

fn other_ways_to_write(gate: &Gate) {
    let ground = Ground::new(gate, "writes");
    let orders = ground.deployment("orders");
    let approved = ground.approved(&orders);
    ground.applied(&approved);
    let server_side = ["apply", "--server-side", "--force-conflicts", "--field-manager=other", "-f", "-"];
    let changed = with_image(&approved, EVIL).to_string();
    ground
        .row(8, "server-side apply by another field manager with `--force-conflicts`")
        .kubectl_in(&server_side, &changed)
        .denied("SpecHashMismatch");
    ground
        .row(8, "JSON patch")
        .patch(
            "deployment/orders",
            "json",
            &json!([{"op": "replace",
            "path": "/spec/template/spec/containers/0/image", "value": EVIL}]),
        )
        .denied("SpecHashMismatch");
    ground.row(8, "`kubectl replace` (PUT)").kubectl_in(&["replace", "-f", "-"], &changed).denied("SpecHashMismatch");
    let other = ground.deployment("other").to_string();
    ground
        .row(9, "server-side apply that creates the object")
        .kubectl_in(&server_side, &other)
        .denied("ApprovalRequired");
    let path = format!("/apis/apps/v1/namespaces/{}/deployments/other", ground.namespace);
    ground
        .row(9, "PUT that creates the object")
        .kubectl_in(&["replace", "--raw", &path, "-f", "-"], &other)
        .refused("NotFound");
    status_subresource(&ground, &approved);
}

fn status_subresource(ground: &Ground<'_>, approved: &Value) {
    let patch = json!({"spec": {"template": {"spec": {"containers": [{"name": "orders", "image": EVIL}]}}},
        "status": {"observedGeneration": 1}});
    let args = ["patch", "deployment/orders", "--subresource=status", "-p", &patch.to_string()];
    ground.row(17, "PATCH of `deployments/status` with another spec").kubectl(&args).refused("Forbidden");
    ground
        .row(17, "PATCH of `deployments/status` with another spec, by a user with access to it: the API server drops the spec")
        .by(&ground.gate.operator)
        .kubectl(&args)
        .unchanged();
    assert_eq!(text(&approved["spec"]["template"]["spec"]["containers"][0]["image"]), GOOD);
}

fn replaced_by_force(gate: &Gate) {
    let ground = Ground::new(gate, "force");
    let orders = ground.deployment("orders");
    let approved = ground.approved(&orders);
    ground.applied(&approved);
    let replace = ["replace", "--force", "--grace-period=0", "-f", "-"];
    ground
        .row(10, "`kubectl replace --force` (deletes, then creates) with a valid approval")
        .kubectl_in(&replace, &approved.to_string())
        .admitted();
    ground
        .row(10, "`kubectl replace --force` with another image: deleted, but not created again")
        .kubectl_in(&replace, &with_image(&approved, EVIL).to_string())
        .denied_but("SpecHashMismatch");
    assert!(ground.live("deployment/orders").is_none());
}

fn while_it_is_going_away(gate: &Gate) {
    let ground = Ground::new(gate, "finalizer");
    let mut orders = ground.approved(&ground.deployment("orders"));
    orders["metadata"]["finalizers"] = json!(["example.com/wait"]);
    ground.applied(&orders);
    ground
        .row(40, "`kubectl delete` of a Deployment with a finalizer")
        .kubectl(&["delete", "deployment/orders", "--wait=false"])
        .unchanged();
    ground
        .row(40, "the image of a terminating Deployment changed")
        .kubectl(&["set", "image", "deployment/orders", &format!("orders={EVIL}")])
        .denied("SpecHashMismatch");
    ground
        .row(40, "the finalizer of a terminating Deployment removed")
        .patch("deployment/orders", "merge", &json!({"metadata": {"finalizers": null}}))
        .unchanged();
}

fn old_versions_of_the_api(gate: &Gate) {
    let ground = Ground::new(gate, "versions");
    for version in ["apps/v1beta1", "apps/v1beta2", "extensions/v1beta1"] {
        let path = format!("/apis/{version}/namespaces/{}/deployments", ground.namespace);
        let mut orders = ground.deployment("orders");
        orders["apiVersion"] = json!(version);
        ground
            .row(19, format!("POST of a Deployment as `{version}`"))
            .kubectl_in(&["create", "--raw", &path, "-f", "-"], &orders.to_string())
            .refused("NotFound");
    }
    ground.runs(&ground.deployment("orders"));
    let path = format!("/apis/apps/v1/namespaces/{}/deployments/orders/rollback", ground.namespace);
    let rollback = json!({"apiVersion": "apps/v1", "kind": "DeploymentRollback", "name": "orders",
        "rollbackTo": {"revision": 0}});
    ground
        .row(18, "POST to `deployments/rollback`")
        .kubectl_in(&["create", "--raw", &path, "-f", "-"], &rollback.to_string())
        .refused("NotFound");
}

fn probing_by_dry_run(gate: &Gate) {
    let ground = Ground::new(gate, "probe");
    let orders = ground.deployment("orders");
    let dry_run = ["apply", "--dry-run=server", "-f", "-"];
    let refused = ground.row(54, "`--dry-run=server` without an approval").kubectl_in(&dry_run, &orders.to_string());
    refused.denied("ApprovalRequired");
    let record = ground
        .row(54, "`--dry-run=server` with an approval: the same decision, and nothing is created")
        .kubectl_in(&dry_run, &ground.approved(&orders).to_string())
        .admitted();
    assert_eq!(record["dryRun"], true, "{record}");
    assert!(ground.live("deployment/orders").is_none());
    let events = ground.list("events.events.k8s.io");
    assert_eq!(events, Vec::<Value>::new(), "dry runs leave no Event");
}

/// What a mutating admission plugin makes of an object is what is judged; what it makes of Pods is not.
fn changed_on_the_way(gate: &Gate) {
    let ground = Ground::new(gate, "mutated");
    let env = r#"Object{spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{containers:
        object.spec.template.spec.containers.map(c, Object.spec.template.spec.containers{name: c.name,
        env: [Object.spec.template.spec.containers.env{name: "INJECTED", value: "1"}]})}}}}"#;
    let sidecar = r#"Object{spec: Object.spec{containers:
        [Object.spec.containers{name: "injected", image: "ghcr.io/other/sidecar:1"}]}}"#;
    ground.runs(&ground.deployment("before"));
    for (resource, group, expression) in [("deployments", "apps", env), ("pods", "", sidecar)] {
        let name = format!("{}-{resource}", ground.namespace);
        let rule =
            json!({"apiGroups": [group], "apiVersions": ["v1"], "resources": [resource], "operations": ["CREATE"]});
        let here = json!({"matchLabels": {"kubernetes.io/metadata.name": ground.namespace}});
        let kind = |kind: &str, spec: Value| json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "spec": spec});
        gate.plane.install(&[
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
        let probe = ground.deployment("probe").to_string();
        let ran = gate.operator.kubectl_in(&["create", "--dry-run=server", "-f", "-"], &probe);
        let hash = gate.hash(&ground.deployment("probe"));
        (!ran.stderr.contains(&hash)).then_some(())
    });
    // One policy may be in force before the other is: a Pod that the controller makes anew shows the second.
    let injected = || {
        let with_sidecar = |pod: &&Value| pod["spec"]["containers"].as_array().map_or(0, Vec::len) == 2;
        ground.list("pods").iter().filter(with_sidecar).count()
    };
    writgate_testing::wait_until("Pods are injected into", crate::bypass::case::PATIENCE, || {
        gate.plane.admin.kubectl(&["delete", "pods", "--all", "-n", &ground.namespace]);
        ground.settle("deployment/before");
        (injected() > 0).then_some(())
    });
    ground
        .row(
            53,
            "a mutating policy adds an environment variable to an approved Deployment: the object that would be stored is checked",
        )
        .apply(&ground.approved(&ground.deployment("orders")))
        .denied("SpecHashMismatch");
    let scaled = ground.row(52, "a mutating policy adds a container to the Pods of an approved Deployment");
    let scaled = scaled.kubectl(&["scale", "deployment/before", "--replicas=2"]);
    ground.settle("deployment/before");
    assert_eq!(injected(), 2, "the policy injects");
    scaled.limit("What another admission plugin changes in Pods is not checked");
}
