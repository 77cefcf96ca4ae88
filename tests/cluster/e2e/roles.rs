//! The chart's roles for people, `writgate-operator`, `writgate-reviewer` and `writgate-auditor`: each is enough for its
//! commands, with credentials that have no other rights.

use std::time::Duration;

use serde_json::{Value, json};
use writgate_testing::harness::{Test, tests};
use writgate_testing::{
    Governed, Installation, Ran, SYSTEM_NAMESPACE, User, detached, plugin, posted, request_file, wait_until,
};

pub(crate) fn tests() -> Vec<Test<Installation>> {
    tests![
        the_operators_role_requests_posts_and_applies,
        the_reviewers_role_reads_what_runs_and_posts_approvals,
        the_auditors_role_only_reads,
    ]
}

const GROUP: &str = "rbac.authorization.k8s.io";

/// A user who is bound to a role of the chart in the namespace, and who may read the postures.
fn bound(governed: &Governed<'_>, role: &str) -> User {
    let (plane, namespace) = (&governed.installation.plane, &governed.namespace);
    let user = plane.user(&format!("{role}-{namespace}"));
    let binding = |namespace: &str, kind: &str, role: &str| {
        json!({"apiVersion": format!("{GROUP}/v1"), "kind": "RoleBinding",
            "metadata": {"name": user.name, "namespace": namespace},
            "roleRef": {"apiGroup": GROUP, "kind": kind, "name": role},
            "subjects": [{"apiGroup": GROUP, "kind": "User", "name": user.name}]})
    };
    plane.install(&[
        binding(namespace, "ClusterRole", role),
        binding(SYSTEM_NAMESPACE, "Role", "writgate-posture-reader"),
    ]);
    wait_until("the API server knows the user's rights", Duration::from_secs(20), || {
        let reads = |resource: &str, namespace: &str| user.kubectl(&["get", resource, "-n", namespace]).ok();
        (reads("deployments", namespace) && reads("configmaps", SYSTEM_NAMESPACE)).then_some(())
    });
    user
}

fn writgate(user: &User, args: &[&str], input: &Value) -> Ran {
    Ran::of(user.command(plugin()).args(args), &input.to_string())
}

/// Asserts that RBAC does not permit these to the user.
fn may_not(user: &User, namespace: &str, rights: &[&str]) {
    for right in rights {
        let (verb, resource) = right.split_once(' ').expect("a verb and a resource");
        let ran = user.kubectl(&["auth", "can-i", verb, resource, "-n", namespace]);
        assert_eq!(ran.stdout.trim(), "no", "{}: {right}: {ran}", user.name);
    }
}

fn the_operators_role_requests_posts_and_applies(installation: &Installation) {
    let governed = installation.governed("operates");
    let namespace = &governed.namespace;
    let operator = bound(&governed, "writgate-operator");
    let orders = governed.deployment("orders");
    let denied = operator.create(&orders);
    assert!(writgate_testing::denied_for(&denied, "ApprovalRequired"), "{denied}");
    let requested = writgate(&operator, &["request", "-f", "-"], &orders);
    assert!(requested.ok(), "{requested}");
    wait_until("the denial is pending", Duration::from_secs(20), || {
        let pending = writgate(&operator, &["pending", "-n", namespace], &Value::Null);
        pending.stdout.contains("orders").then_some(())
    });
    let request = posted(namespace, &request_file(namespace, &operator.name, "orders"));
    let name = request["metadata"]["name"].as_str().expect("a name");
    for ran in [
        operator.create(&request),
        operator.kubectl(&["delete", "configmap", name, "-n", namespace]),
        operator.create(&governed.approved(&orders)),
        operator.kubectl(&["scale", "deployment/orders", "--replicas=2", "-n", namespace]),
        operator.kubectl(&["rollout", "restart", "deployment/orders", "-n", namespace]),
        writgate(&operator, &["verify", "-f", "-"], &governed.approved(&orders)),
    ] {
        assert!(ran.ok(), "{ran}");
    }
    may_not(
        &operator,
        namespace,
        &["create pods", "create pods/exec", "get secrets", "create rolebindings", "patch namespaces", "delete events"],
    );
    may_not(&operator, SYSTEM_NAMESPACE, &["create configmaps", "get deployments"]);
}

fn the_reviewers_role_reads_what_runs_and_posts_approvals(installation: &Installation) {
    let governed = installation.governed("reviews");
    let namespace = &governed.namespace;
    let reviewer = bound(&governed, "writgate-reviewer");
    let orders = governed.deployment("orders");
    assert!(installation.operator.apply(&governed.approved(&orders)).ok());
    let mut changed = orders.clone();
    changed["spec"]["template"]["spec"]["containers"][0]["image"] = "ghcr.io/acme/orders:9".into();
    installation.permit_reading_postures();
    let requested = writgate(&installation.operator, &["request", "-f", "-", "-o", "-"], &changed);
    assert!(requested.ok(), "{requested}");
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), &requested.stdout).expect("it can be written");
    let path = file.path().to_str().expect("a UTF-8 path");
    let review = writgate(&reviewer, &["review", "-f", path], &Value::Null);
    assert!(review.ok() && review.stdout.contains("ghcr.io/acme/orders:9"), "{review}");
    for ran in [
        reviewer.create(&detached(namespace, "approval", "{}")),
        reviewer.kubectl(&["annotate", "configmap", "approval", "a=b", "-n", namespace]),
        reviewer.kubectl(&["get", "configmaps", "-l", "writgate.dev/kind=request", "-n", namespace]),
    ] {
        assert!(ran.ok(), "{ran}");
    }
    may_not(
        &reviewer,
        namespace,
        &["create deployments", "patch deployments", "delete configmaps", "get secrets", "create pods/exec"],
    );
}

fn the_auditors_role_only_reads(installation: &Installation) {
    let governed = installation.governed("audits");
    let namespace = &governed.namespace;
    let auditor = bound(&governed, "writgate-auditor");
    assert!(installation.operator.apply(&governed.approved(&governed.deployment("orders"))).ok());
    wait_until("the admission is reported", Duration::from_secs(20), || {
        let audit = writgate(&auditor, &["audit", "-n", namespace], &Value::Null);
        (audit.ok() && audit.stdout.contains("orders")).then_some(())
    });
    let coverage = writgate(&auditor, &["coverage", "-n", namespace], &Value::Null);
    assert!(coverage.ok() && coverage.stdout.contains("orders"), "{coverage}");
    may_not(
        &auditor,
        namespace,
        &[
            "create configmaps",
            "patch configmaps",
            "delete configmaps",
            "create deployments",
            "get secrets",
            "delete events",
        ],
    );
}
