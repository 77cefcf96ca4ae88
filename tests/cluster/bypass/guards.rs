//! Changes of the objects that governance depends on, by users whom RBAC permits them: namespace labels, documents, metadata
//! through a status, revisions. A tenant has none of these rights, and having them does not bypass the guards.

use serde_json::{Value, json};

use crate::bypass::case::{PATIENCE, TenantNamespace, as_kind, row, text};
use writgate_testing::harness::{Test, tests};
use writgate_testing::{Installation, SYSTEM_NAMESPACE, User, document, wait_until};

pub(crate) fn tests() -> Vec<Test<Installation>> {
    tests![
        guards_the_governing_labels,
        guards_documents_in_use,
        guards_revocations,
        guards_the_name_of_a_listed_namespace,
        guards_the_ledger_by_name,
        guards_the_lease,
        guards_metadata_written_through_a_status,
        denies_changed_metadata_of_revisions,
    ]
}

/// A user whom RBAC permits to write everything that is guarded, without the right to govern.
fn powerful(installation: &Installation, ns: &TenantNamespace<'_>) -> User {
    let user = installation.plane.user(&format!("nora-{}", ns.namespace));
    let group = "rbac.authorization.k8s.io";
    installation.plane.install(&[
        json!({"apiVersion": format!("{group}/v1"), "kind": "ClusterRole", "metadata": {"name": user.name}, "rules": [
            {"apiGroups": [""], "resources": ["namespaces", "namespaces/status", "namespaces/finalize", "configmaps"], "verbs": ["*"]},
            {"apiGroups": ["apps", "batch"], "resources": ["*"], "verbs": ["*"]}]}),
        json!({"apiVersion": format!("{group}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": user.name},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": user.name},
            "subjects": [{"kind": "User", "apiGroup": group, "name": user.name}]}),
    ]);
    wait_until("the API server knows the user's rights", PATIENCE, || {
        user.kubectl(&["auth", "can-i", "update", "namespaces"]).ok().then_some(())
    });
    user
}

fn guards_the_governing_labels(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "labels");
    let nora = powerful(installation, &ns);
    let name = &ns.namespace;
    let path = format!("/api/v1/namespaces/{name}/finalize");
    let mut bare = installation.plane.admin.get(&["namespace", name]).expect("it is there");
    bare["metadata"]["labels"] = json!({});
    let bare = bare.to_string();
    let none =
        json!({"metadata": {"labels": {"writgate.dev/environment": null, "writgate.dev/project": null}}}).to_string();
    let label = |labels: &[&'static str]| [&["label", "--overwrite", "namespace", name], labels].concat();
    let ways: [(u32, &str, Vec<&str>, &str); 5] = [
        (42, "the governing labels removed", label(&["writgate.dev/environment-", "writgate.dev/project-"]), ""),
        (
            42,
            "the governing labels removed through `namespaces/status`",
            vec!["patch", "namespace", name, "--subresource=status", "--type=merge", "-p", &none],
            "",
        ),
        (
            42,
            "the governing labels removed through `namespaces/finalize`",
            vec!["replace", "--raw", &path, "-f", "-"],
            &bare,
        ),
        (43, "a namespace's environment changed", label(&["writgate.dev/environment=dev"]), ""),
        (43, "a namespace's project changed", label(&["writgate.dev/project=billing"]), ""),
    ];
    for (number, attempt, args, input) in ways {
        let attempt = format!("{attempt}, by a user who may write Namespaces");
        ns.row(number, attempt).by(&nora).tries(|user| user.kubectl_in(&args, input)).guarded("GovernRequired");
    }
    let new = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": format!("{name}-more"), "labels":
        {"writgate.dev/environment": ns.environment, "writgate.dev/project": ns.project}}});
    for (number, attempt) in [
        (41, "a new namespace with another namespace's governing labels, by a user who may write Namespaces"),
        (45, "a governed namespace created again, by a user who may write Namespaces"),
    ] {
        ns.row(number, attempt).by(&nora).tries(|user| user.create(&new)).guarded("GovernRequired");
    }
    ns.row(42, "only the environment label removed, by a user who may govern")
        .by(&installation.plane.admin)
        .tries(|user| user.kubectl(&label(&["writgate.dev/environment-"])))
        .guarded("GovernanceInvalid");
}

fn guards_documents_in_use(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "documents");
    let nora = powerful(installation, &ns);
    let posture = format!("posture-{}", ns.environment);
    let reviewers = format!("reviewers-{}", ns.environment);
    let by = |number, attempt: &str| ns.row(number, format!("{attempt}, by a user who may write it")).by(&nora);
    let kubectl = |user: &User, verb: &[&str], name: &str, rest: &[&str]| {
        user.kubectl(&[verb, &["configmap", name, "-n", SYSTEM_NAMESPACE], rest].concat())
    };
    for (what, name) in [("posture", &posture), ("list of reviewers", &reviewers)] {
        by(68, &format!("a {what} in use deleted"))
            .tries(|user| kubectl(user, &["delete"], name, &[]))
            .guarded("InUse");
        by(68, &format!("the kind label of a {what} in use removed"))
            .tries(|user| kubectl(user, &["label"], name, &["writgate.dev/kind-"]))
            .guarded("InUse");
    }
    let apply = |number, attempt: &str, object: &Value, code| {
        by(number, attempt).tries(|user| server_side(user, object)).guarded(code);
    };
    let mut unknown = ns.usual_posture();
    unknown["enforcment"] = json!("audit");
    apply(68, "a posture with a misspelt field", &ns.posture_objects(&unknown)[0], "PostureInvalid");
    let mut empty = ns.usual_posture();
    empty["actions"] = json!({"deploy": {"quorum": [{"count": 0}]}});
    apply(68, "a posture with an empty quorum", &ns.posture_objects(&empty)[0], "PostureInvalid");
    let weak = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n-----END PUBLIC KEY-----\n";
    let with_keys = |keys: Value| {
        document(
            "reviewers",
            &reviewers,
            &json!({"apiVersion": "writgate.dev/v1", "kind": "Reviewers", "reviewers": keys}),
        )
    };
    let reviewer =
        |name: &str, key: &str| json!({"name": name, "capabilities": ["deploy"], "keys": [{"publicKey": key}]});
    apply(
        61,
        "a key of small order among the reviewers'",
        &with_keys(json!([reviewer("bob", weak)])),
        "PostureInvalid",
    );
    let one = ns.bob.public_pem();
    let twice = with_keys(json!([reviewer("bob", &one), reviewer("carol", &one)]));
    apply(58, "one key under two reviewers' names", &twice, "PostureInvalid");
}

fn server_side(user: &User, object: &Value) -> writgate_testing::Ran {
    user.kubectl_in(&["apply", "--server-side", "--force-conflicts", "-f", "-"], &object.to_string())
}

/// A posture lists the namespace. Whoever may delete and create Namespaces must not get an ungoverned one of that name.
fn guards_the_name_of_a_listed_namespace(installation: &Installation) {
    let listed = format!("listed-{}", uuid::Uuid::now_v7());
    let ns = TenantNamespace::new(installation, "listing");
    let nora = powerful(installation, &ns);
    let mut posture = ns.usual_posture();
    posture["namespaces"] = json!({&ns.namespace: ns.project, &listed: ns.project});
    installation.plane.install(&ns.posture_objects(&posture));
    let bare = |name: &str| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    let create = ["create", "--dry-run=server", "-f", "-"];
    wait_until("the posture is in force", PATIENCE, || {
        (!nora.kubectl_in(&create, &bare(&listed).to_string()).ok()).then_some(())
    });
    ns.row(97, "a namespace that a posture lists, created without its labels, by a user who may write Namespaces")
        .by(&nora)
        .tries(|user| user.create(&bare(&listed)))
        .guarded("GovernanceInvalid");
    let ran = nora.kubectl_in(&create, &bare(&format!("{listed}-not")).to_string());
    assert!(ran.ok(), "no posture lists it: {ran}");
}

/// The webhook reads entries of the ledger by name. Whoever may publish builds can create ConfigMaps next to them.
fn guards_the_ledger_by_name(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "entries");
    let nora = powerful(installation, &ns);
    for (what, prefix) in [("an earlier admission", "history"), ("a use", "use")] {
        let name = format!("{prefix}-{}", "a1".repeat(32));
        let entry = json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": SYSTEM_NAMESPACE}, "data": {"history.json": "{}", "use.json": "{}"}});
        let attempt = format!("an unlabelled ConfigMap with the name of {what} in the ledger");
        ns.row(98, attempt + ", by a user who may write ConfigMaps there")
            .by(&nora)
            .tries(|user| user.create(&entry))
            .guarded_by_policy("ledger.writgate.dev");
    }
    row(98, "an entry of the ledger that the webhook did not write, where the policy is absent: it does not count")
        .shown_by(
            "guarded",
            "tests/cluster/e2e/rollback.rs",
            "denies_a_rollback_to_an_admission_that_the_webhook_did_not_note",
        );
}

/// The holder of the Lease sends the canary and does the re-audit.
fn guards_the_lease(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "lease");
    let user = installation.plane.user(&format!("edna-{}", ns.namespace));
    let group = "rbac.authorization.k8s.io";
    installation.plane.install(&[json!({"apiVersion": format!("{group}/v1"), "kind": "RoleBinding",
        "metadata": {"name": user.name, "namespace": SYSTEM_NAMESPACE},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "edit"},
        "subjects": [{"kind": "User", "apiGroup": group, "name": user.name}]})]);
    wait_until("the API server knows the user's rights", PATIENCE, || {
        user.kubectl(&["auth", "can-i", "update", "leases.coordination.k8s.io", "-n", SYSTEM_NAMESPACE])
            .ok()
            .then_some(())
    });
    let lease = |name: &str, holder: &str| {
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": name, "namespace": SYSTEM_NAMESPACE},
            "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15}})
    };
    let (ours, others) = (lease("writgate-webhook", "nobody"), lease("writgate-other", "nobody"));
    let by = |attempt: &str| ns.row(107, format!("{attempt}, by a user with `edit` in the system namespace")).by(&user);
    by("the webhook's Lease created with a holder that does not exist")
        .tries(|user| user.create(&ours))
        .guarded_by_policy("lease.writgate.dev");
    let ran = user.create(&others);
    assert!(ran.ok(), "near miss: another name: {ran}");
    let webhook = format!("system:serviceaccount:{SYSTEM_NAMESPACE}:writgate-webhook");
    let ran = installation.plane.admin.kubectl_in(&["create", "-f", "-", "--as", &webhook], &ours.to_string());
    assert!(ran.ok(), "{ran}");
    let kubectl = |user: &User, verb: &str, rest: &[&str]| {
        user.kubectl(&[&[verb, "lease/writgate-webhook", "-n", SYSTEM_NAMESPACE], rest].concat())
    };
    let patch = json!({"spec": {"holderIdentity": "nobody-else"}}).to_string();
    by("the holder of the webhook's Lease replaced")
        .tries(|user| kubectl(user, "patch", &["--type=merge", "-p", &patch]))
        .guarded_by_policy("lease.writgate.dev");
    by("the webhook's Lease deleted")
        .tries(|user| kubectl(user, "delete", &[]))
        .guarded_by_policy("lease.writgate.dev");
    by("every Lease of the namespace deleted")
        .tries(|user| user.kubectl(&["delete", "leases", "--all", "-n", SYSTEM_NAMESPACE]))
        .guarded_by_policy("lease.writgate.dev");
}

fn guards_revocations(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "lifted");
    let nora = powerful(installation, &ns);
    let name = format!("revocations-{}", ns.environment);
    let list = |keys: Value| {
        document("revocations", &name, &json!({"apiVersion": "writgate.dev/v1", "kind": "Revocations", "keys": keys}))
    };
    let admin = &installation.plane.admin;
    installation.plane.install(&[list(json!([{"id": "0".repeat(64), "at": "2026-01-01T00:00:00Z"}]))]);
    let mut posture = ns.usual_posture();
    posture["revocationLists"] = json!([name]);
    wait_until("the list is known", PATIENCE, || {
        server_side(admin, &ns.posture_objects(&posture)[0]).ok().then_some(())
    });
    let lifted = list(json!([]));
    wait_until("the posture is known", PATIENCE, || {
        let ran = admin.kubectl_in(
            &["apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", "-"],
            &lifted.to_string(),
        );
        (!ran.ok()).then_some(())
    });
    ns.row(69, "a revocation lifted, by a user who may write it")
        .by(&nora)
        .tries(|user| server_side(user, &lifted))
        .guarded("RevocationLifted");
    ns.row(99, "the list of revocations made immutable, by a user who may write it")
        .by(&nora)
        .tries(|user| {
            user.kubectl(&["patch", "configmap", &name, "-n", SYSTEM_NAMESPACE, "-p", r#"{"immutable": true}"#])
        })
        .guarded("PostureInvalid");
    // The webhook is not called for this user's deletions. Two changes in one moment may lose a list in the same way.
    let collector = "system:serviceaccount:kube-system:generic-garbage-collector";
    let ran = admin.kubectl(&["delete", "configmap", &name, "-n", SYSTEM_NAMESPACE, "--as", collector]);
    assert!(ran.ok(), "{ran}");
    ns.row(104, "a list that was lost created again without its revocation, by a user who may write it")
        .by(&nora)
        .tries(|user| user.create(&lifted))
        .guarded("RevocationLifted");
}

fn guards_metadata_written_through_a_status(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "status");
    ns.runs(&ns.deployment("orders"));
    ns.runs(&ns.replay_job("replay"));
    let set = ns.list("replicasets").remove(0);
    let set = format!("replicaset/{}", text(&set["metadata"]["name"]));
    let patch = |attempt: &str, target: &str, metadata: Value| {
        let patch = json!({"metadata": metadata}).to_string();
        ns.row(17, format!("{attempt} changed through its status, by a user who may write it"))
            .by(&installation.operator)
            .kubectl(&["patch", target, "--subresource=status", "--type=merge", "-p", &patch])
            .guarded("StatusMetadata");
    };
    patch("a Job's replay label", "job/replay", json!({"labels": {"writgate.dev/replay": "dry-run"}}));
    patch("a Job's incident", "job/replay", json!({"annotations": {"writgate.dev/incident": "INC-8"}}));
    patch(
        "a Deployment's pipeline version",
        "deployment/orders",
        json!({"annotations": {"writgate.dev/pipeline-version": "orders@9"}}),
    );
    patch("a ReplicaSet's owner", &set, json!({"ownerReferences": null}));
    patch("a ReplicaSet's label that its selector uses", &set, json!({"labels": {"app": "other"}}));
}

fn denies_changed_metadata_of_revisions(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "revision");
    ns.runs(&as_kind(&ns.deployment("orders"), "apps/v1", "StatefulSet", json!({"serviceName": "x"})));
    let revision = ns.list("controllerrevisions").remove(0);
    let target = format!("controllerrevision/{}", text(&revision["metadata"]["name"]));
    let patch = |attempt: &str, patch: Value| {
        let row = ns.row(81, format!("a ControllerRevision's {attempt}, by a user who may write it"));
        row.by(&installation.operator).patch(&target, "merge", &patch)
    };
    patch("number", json!({"revision": 9})).denied("WorkloadNotAllowed");
    patch("labels", json!({"metadata": {"labels": {"app": "other"}}})).denied("WorkloadNotAllowed");
    patch("owner", json!({"metadata": {"ownerReferences": null}})).denied("WorkloadNotAllowed");
    patch("note", json!({"metadata": {"annotations": {"note": "x"}}})).unchanged();
}
