//! The guards, with users whom RBAC permits to write everything that is guarded.

use std::time::Duration;

use serde_json::{Value, json};

use crate::e2e::trail;
use writgate_testing::harness::{Test, tests};
use writgate_testing::{Governed, Installation, Ran, SYSTEM_NAMESPACE, User, denial, denied_for, document, wait_until};

pub(crate) fn tests() -> Vec<Test<Installation>> {
    tests![
        changing_governing_labels_requires_the_govern_right,
        the_govern_right_may_be_for_one_namespace,
        warns_that_what_runs_was_not_checked_by_a_new_environment,
        denies_one_governing_label_without_the_other,
        the_denial_of_an_invalid_document_names_line_and_column,
        denies_deleting_a_document_in_use,
        denies_lifting_a_revocation,
        denies_a_quorum_that_the_reviewers_cannot_meet,
        documents_may_be_applied_in_any_order_and_as_a_dry_run,
        a_posture_in_force_names_a_new_set_after_the_set_was_applied,
        denies_writgate_metadata_written_through_a_status,
        denies_adopting_a_replica_set_through_its_status,
        denies_an_invalid_config_bundle_when_it_is_written,
        denies_changes_of_controller_revisions_by_users,
    ]
}

/// A user whom RBAC permits to write everything that is guarded.
fn powerful(installation: &Installation, name: &str) -> User {
    let user = installation.plane.user(name);
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "powerful"},
        "rules": [
            {"apiGroups": [""], "verbs": ["*"],
             "resources": ["namespaces", "namespaces/status", "namespaces/finalize", "configmaps", "events"]},
            {"apiGroups": ["apps", "batch"], "resources": ["*"], "verbs": ["*"]}]});
    installation.plane.install(&[role, cluster_binding(name, "powerful", &user)]);
    user
}

fn cluster_binding(name: &str, role: &str, user: &User) -> Value {
    json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": format!("{name}-{role}")},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": user.name}]})
}

#[track_caller]
fn refused(ran: &Ran, code: &str) -> String {
    assert!(denied_for(ran, code), "expected {code}: {ran}");
    denial(ran).expect("a denial").to_owned()
}

#[track_caller]
fn done(ran: &Ran) {
    assert!(ran.ok(), "{ran}");
}

fn labels(user: &User, namespace: &str, labels: &[&str]) -> Ran {
    user.kubectl(&[&["label", "--overwrite", "namespace", namespace], labels].concat())
}

const PAIR: [&str; 2] = ["writgate.dev/environment=nowhere", "writgate.dev/project=payments"];

fn changing_governing_labels_requires_the_govern_right(installation: &Installation) {
    let governed = installation.governed("labels");
    let admin = powerful(installation, "nora");
    let namespace = governed.namespace.as_str();
    let taken = ["writgate.dev/environment-", "writgate.dev/project-"];
    let message = refused(&labels(&admin, namespace, &taken), "GovernRequired");
    assert!(message.contains(&format!("environment: {} to none", governed.environment)), "{message}");
    refused(&labels(&admin, namespace, &PAIR), "GovernRequired");
    done(&labels(&admin, namespace, &["team=orders"]));

    let patch =
        json!({"metadata": {"labels": {"writgate.dev/environment": null, "writgate.dev/project": null}}}).to_string();
    let through_status = ["patch", "namespace", namespace, "--subresource=status", "--type=merge", "-p", &patch];
    refused(&admin.kubectl(&through_status), "GovernRequired");
    let mut finalized = installation.plane.admin.get(&["namespace", namespace]).expect("it exists");
    finalized["metadata"]["labels"] = json!({});
    let finalize = format!("/api/v1/namespaces/{namespace}/finalize");
    refused(&admin.kubectl_in(&["replace", "--raw", &finalize, "-f", "-"], &finalized.to_string()), "GovernRequired");
    let created = |name: &str| {
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name,
            "labels": {"writgate.dev/environment": governed.environment, "writgate.dev/project": "payments"}}})
    };
    let name = format!("{namespace}-more");
    refused(&admin.create(&created(&name)), "GovernRequired");

    let records = installation.webhook.records(|record| {
        record["object"]["kind"] == "Namespace"
            && record["object"]["name"] == namespace
            && record["decision"] == "denied"
    });
    assert_eq!(records.len(), 4, "{records:?}");
    assert!(records.iter().all(|record| record["initiator"]["username"] == "nora"), "{records:?}");

    let platform = powerful(installation, "petra");
    installation.plane.install(&[cluster_binding("petra", "writgate-govern", &platform)]);
    wait_until("the API server knows the right", trail::LIMIT, || platform.create(&created(&name)).ok().then_some(()));
    done(&labels(&platform, namespace, &taken));
    let admitted = installation.webhook.records(|record| {
        record["object"]["name"] == namespace
            && record["object"]["kind"] == "Namespace"
            && record["decision"] == "admitted"
            && record["initiator"]["username"] == "petra"
    });
    assert_eq!(admitted.len(), 1, "{admitted:?}");
    assert_eq!(
        admitted[0]["change"],
        format!("environment: {} to none, project: payments to none", governed.environment)
    );
    done(&admin.kubectl(&["delete", "namespace", namespace, &name, "--wait=false"]));
}

fn the_govern_right_may_be_for_one_namespace(installation: &Installation) {
    let (own, other) = (installation.plane.namespace("own"), installation.plane.namespace("other"));
    let tenant = powerful(installation, "tilda");
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": format!("govern-{own}")},
        "rules": [{"apiGroups": ["writgate.dev"], "resources": ["namespaces"], "resourceNames": [own], "verbs": ["govern"]}]});
    installation.plane.install(&[role, cluster_binding("tilda", &format!("govern-{own}"), &tenant)]);
    wait_until("the API server knows the right", trail::LIMIT, || labels(&tenant, &own, &PAIR).ok().then_some(()));
    refused(&labels(&tenant, &other, &PAIR), "GovernRequired");

    // An environment without a posture denies everything, so a misspelt name permits nothing.
    let ran = tenant.kubectl(&["create", "deployment", "web", "--image=i", "-n", &own]);
    refused(&ran, "PostureMissing");
}

fn warns_that_what_runs_was_not_checked_by_a_new_environment(installation: &Installation) {
    let admin = &installation.plane.admin;
    let namespace = installation.plane.namespace("warned");
    let expected = |environment: &str| {
        format!(
            "Warning: namespace {namespace} is now governed by {environment}; what runs in it was not checked:\n\
             Warning: run kubectl writgate coverage -n {namespace}\n"
        )
    };
    let ran = labels(admin, &namespace, &PAIR);
    assert!(ran.ok() && ran.stderr == expected("nowhere"), "{ran}");
    let ran = labels(admin, &namespace, &["writgate.dev/environment=elsewhere"]);
    assert!(ran.ok() && ran.stderr == expected("elsewhere"), "{ran}");
    for change in ["writgate.dev/project=orders", "team=orders"] {
        let ran = labels(admin, &namespace, &[change]);
        assert!(ran.ok() && ran.stderr.is_empty(), "{ran}");
    }
}

fn denies_one_governing_label_without_the_other(installation: &Installation) {
    let admin = &installation.plane.admin;
    let namespace = installation.plane.namespace("whole");
    for label in PAIR {
        let message = refused(&labels(admin, &namespace, &[label]), "GovernanceInvalid");
        assert!(message.contains("expected both labels or neither"), "{message}");
    }
    for never in ["kube-system", SYSTEM_NAMESPACE] {
        let message = refused(&labels(admin, never, &PAIR), "GovernanceInvalid");
        assert!(message.contains("cannot be governed"), "{message}");
    }
    done(&labels(admin, &namespace, &PAIR));
}

/// The ConfigMap of an environment's posture with `text`.
fn posture(governed: &Governed<'_>, text: &str) -> Value {
    let mut object = document("posture", &format!("posture-{}", governed.environment), &json!({}));
    object["data"]["posture.yaml"] = text.into();
    object
}

fn server_side(user: &User, object: &Value) -> Ran {
    user.kubectl_in(&["apply", "--server-side", "--force-conflicts", "-f", "-"], &object.to_string())
}

fn the_denial_of_an_invalid_document_names_line_and_column(installation: &Installation) {
    let governed = installation.governed("wrong");
    let text = format!(
        "apiVersion: writgate.dev/v1\nkind: Posture\nenvironment: {}\nactions:\n  deploy:\n    quorum: [{{count: 0}}]\nenforcment: audit\n",
        governed.environment
    );
    let message = refused(&server_side(&installation.plane.admin, &posture(&governed, &text)), "PostureInvalid");
    assert!(message.contains("key posture.yaml: line 7, column 1: enforcment: unknown field"), "{message}");
    let text = text.replace("enforcment", "enforcement");
    let message = refused(&server_side(&installation.plane.admin, &posture(&governed, &text)), "PostureInvalid");
    assert!(message.contains("line 6, column 15: actions.deploy.quorum[0].count: is 0"), "{message}");
    let rule = text.replace("quorum: [{count: 0}]", "capabilities: [deploy]")
        + "capabilityRules:\n  - {name: broken, when: \"object.spec ==\", require: [deploy.x]}\n";
    let message = refused(&server_side(&installation.plane.admin, &posture(&governed, &rule)), "PostureInvalid");
    assert!(message.contains("line 9, column 20: capabilityRules[0].when: "), "{message}");

    // The posture that was in force still is.
    let ran = installation.operator.apply(&governed.approved(&governed.deployment("orders")));
    done(&ran);
    let records = installation.webhook.records(|record| {
        record["object"]["name"] == format!("posture-{}", governed.environment) && record["decision"] == "denied"
    });
    assert_eq!(records.len(), 3, "{records:?}");
    let event = wait_until("the Event of the denial exists", trail::LIMIT, || {
        let events = installation.plane.admin.get(&["events.events.k8s.io", "-n", SYSTEM_NAMESPACE])?;
        let events = events["items"].as_array()?.clone();
        events.into_iter().find(|event| event["regarding"]["name"] == records[0]["object"]["name"])
    });
    assert_eq!((&event["reason"], &event["type"]), (&json!("PostureInvalid"), &json!("Warning")), "{event}");
}

fn denies_deleting_a_document_in_use(installation: &Installation) {
    let governed = installation.governed("use");
    let admin = powerful(installation, "ulla");
    let (posture, reviewers) =
        (format!("posture-{}", governed.environment), format!("reviewers-{}", governed.environment));
    let of = |verb: &[&str], name: &str, rest: &[&str]| {
        admin.kubectl(&[verb, &["configmap", name, "-n", SYSTEM_NAMESPACE], rest].concat())
    };
    for name in [&posture, &reviewers] {
        refused(&of(&["delete"], name, &[]), "InUse");
        refused(&of(&["label"], name, &["writgate.dev/kind-"]), "InUse");
        refused(&of(&["label", "--overwrite"], name, &["writgate.dev/kind=other"]), "InUse");
        done(&of(&["annotate"], name, &["note=kept"]));
    }
    let selector = ["delete", "configmap", "-n", SYSTEM_NAMESPACE, "--field-selector"];
    refused(&admin.kubectl(&[&selector[..], &[&format!("metadata.name={posture}")]].concat()), "InUse");
    let owner =
        json!({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "u"}]}});
    refused(&of(&["patch"], &reviewers, &["-p", &owner.to_string()]), "PostureInvalid");

    // Once no namespace uses the documents, one command may delete all of them.
    let taken = ["writgate.dev/environment-", "writgate.dev/project-"];
    done(&labels(&installation.plane.admin, &governed.namespace, &taken));
    wait_until("the webhook knows that the namespace is not governed", trail::LIMIT, || {
        admin.kubectl(&["delete", "configmap", &posture, &reviewers, "-n", SYSTEM_NAMESPACE]).ok().then_some(())
    });
}

fn denies_lifting_a_revocation(installation: &Installation) {
    let list = |governed: &Governed<'_>| format!("revocations-{}", governed.environment);
    let governed = installation.governed("revoked");
    let entry = json!({"id": "0".repeat(64), "at": "2026-01-01T00:00:00Z", "why": "lost laptop"});
    let with = |keys: Value| {
        let document_of = json!({"apiVersion": "writgate.dev/v1", "kind": "Revocations", "keys": keys});
        document("revocations", &list(&governed), &document_of)
    };
    let admin = &installation.plane.admin;
    done(&server_side(admin, &with(json!([entry]))));
    let mut usual = governed.usual_posture();
    usual["revocationLists"] = json!([list(&governed)]);
    let objects = governed.posture_objects(&usual);
    wait_until("the webhook knows the list", trail::LIMIT, || server_side(admin, &objects[0]).ok().then_some(()));

    let later = json!([{"id": "0".repeat(64), "at": "2027-01-01T00:00:00Z"}]);
    wait_until("the webhook knows the posture", trail::LIMIT, || {
        denied_for(&server_side(admin, &with(later.clone())), "RevocationLifted").then_some(())
    });
    let message = refused(&server_side(admin, &with(json!([]))), "RevocationLifted");
    assert!(message.contains("lost laptop"), "{message}");
    refused(&admin.kubectl(&["delete", "configmap", &list(&governed), "-n", SYSTEM_NAMESPACE]), "RevocationLifted");
    refused(&server_side(admin, &governed.posture_objects(&governed.usual_posture())[0]), "RevocationLifted");
    done(&server_side(admin, &with(json!([entry, {"id": "1".repeat(64)}]))));
}

fn denies_a_quorum_that_the_reviewers_cannot_meet(installation: &Installation) {
    let governed = installation.governed("quorum");
    let with = |quorum: Value| {
        let mut posture = governed.usual_posture();
        posture["actions"] = json!({"deploy": {"quorum": quorum}});
        server_side(&installation.plane.admin, &governed.posture_objects(&posture)[0])
    };
    let message = refused(&with(json!([{"count": 3}])), "QuorumUnreachable");
    assert!(message.contains("bob@acme.example, carol@acme.example"), "{message}");
    refused(&with(json!([{"group": "sre", "count": 1}])), "QuorumUnreachable");
    done(&with(json!([{"count": 2}])));
}

fn a_posture_in_force_names_a_new_set_after_the_set_was_applied(installation: &Installation) {
    let governed = installation.governed("folder");
    let mut posture = governed.usual_posture();
    let [_, reviewers] = <[Value; 2]>::try_from(governed.posture_objects(&posture)).expect("two documents");
    let set = format!("new-reviewers-{}", governed.environment);
    posture["reviewerSets"] = json!([set]);
    let mut new = reviewers;
    new["metadata"]["name"] = set.clone().into();
    let posture = document("posture", &format!("posture-{}", governed.environment), &posture);
    let is_applied = || installation.plane.admin.get(&["configmap", "-n", SYSTEM_NAMESPACE, &set]).is_some();
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, object: &Value| {
        std::fs::write(folder.path().join(name), object.to_string()).expect("the folder can be written");
    };
    write("posture.yaml", &posture);
    write("reviewers.yaml", &new);
    let apply = || installation.plane.admin.kubectl(&["apply", "-f", folder.path().to_str().expect("UTF-8")]);
    let ran = apply();
    assert!(refused(&ran, "PostureInvalid").contains(&set), "{ran}");
    assert!(is_applied(), "kubectl continues after the denial: {ran}");
    wait_until("the webhook knows the set", Duration::from_secs(20), || apply().ok().then_some(()));
}

fn documents_may_be_applied_in_any_order_and_as_a_dry_run(installation: &Installation) {
    let environment = installation.plane.namespace("order");
    let reviewers = installation.governed("source").posture_objects(&json!({}))[1].clone();
    let (mut set, name) = (reviewers, format!("reviewers-{environment}"));
    set["metadata"]["name"] = name.clone().into();
    let posture = json!({"apiVersion": "writgate.dev/v1", "kind": "Posture", "environment": environment,
        "reviewerSets": [name], "revocationLists": [format!("revocations-{environment}")]});
    let list = json!({"apiVersion": "writgate.dev/v1", "kind": "Revocations"});
    let folder = tempfile::tempdir().expect("a folder");
    let files = [
        ("1.json", document("posture", &format!("posture-{environment}"), &posture)),
        ("2.json", set),
        ("3.json", document("revocations", &format!("revocations-{environment}"), &list)),
    ];
    for (file, object) in &files {
        std::fs::write(folder.path().join(file), object.to_string()).expect("the folder can be written");
    }
    let folder = folder.path().to_str().expect("a UTF-8 path");
    let admin = powerful(installation, "olga");
    // GitOps tools first apply each file as a dry run, when the documents that it names do not exist yet.
    let ran = admin.kubectl(&["apply", "--server-side", "--dry-run=server", "-f", folder]);
    done(&ran);
    assert!(ran.stderr.contains("nothing is admitted in"), "expected a warning about the missing documents: {ran}");
    done(&admin.kubectl(&["apply", "-f", folder]));
    done(&admin.kubectl(&["apply", "-f", folder]));
    done(&admin.kubectl(&["delete", "-f", folder]));
}

fn patch_status(user: &User, governed: &Governed<'_>, what: &str, patch: &Value) -> Ran {
    let patch = patch.to_string();
    user.kubectl(&["patch", what, "--subresource=status", "--type=merge", "-p", &patch, "-n", &governed.namespace])
}

fn denies_writgate_metadata_written_through_a_status(installation: &Installation) {
    let governed = installation.governed("status");
    done(&installation.operator.apply(&governed.approved(&governed.deployment("orders"))));
    done(&installation.operator.create(&governed.approved(&governed.replay_job("replay"))));
    let claim = json!({"metadata": {"annotations": {"writgate.dev/incident": "INC-8"}}});
    let label = json!({"metadata": {"labels": {"writgate.dev/replay": "dry-run"}}});
    for what in ["deployment/orders", "job/replay"] {
        let message = refused(&patch_status(&installation.operator, &governed, what, &claim), "StatusMetadata");
        assert!(message.contains("annotation writgate.dev/incident"), "{message}");
        done(&patch_status(
            &installation.operator,
            &governed,
            what,
            &json!({"metadata": {"annotations": {"note": "a"}}}),
        ));
    }
    refused(&patch_status(&installation.operator, &governed, "job/replay", &label), "StatusMetadata");
    // The API server itself ignores labels in a Deployment's status.
    done(&patch_status(&installation.operator, &governed, "deployment/orders", &label));
}

fn denies_adopting_a_replica_set_through_its_status(installation: &Installation) {
    let governed = installation.governed("adopt");
    done(&installation.operator.apply(&governed.approved(&governed.deployment("orders"))));
    let set = wait_until("the controller made the ReplicaSet", trail::LIMIT, || {
        let sets = installation.plane.admin.get(&["replicasets", "-n", &governed.namespace])?;
        sets["items"].as_array()?.first().cloned()
    });
    let set = format!("replicaset/{}", set["metadata"]["name"].as_str().expect("a name"));
    for patch in [
        json!({"metadata": {"ownerReferences": null}}),
        json!({"metadata": {"labels": {"app": "other"}}}),
        json!({"metadata": {"annotations": {"writgate.dev/approval": "x"}}}),
    ] {
        refused(&patch_status(&installation.operator, &governed, &set, &patch), "StatusMetadata");
    }
}

fn denies_an_invalid_config_bundle_when_it_is_written(installation: &Installation) {
    let governed = installation.governed("bundle");
    let content = writgate_core::kube::ConfigMapContent {
        data: [("app.yaml".to_owned(), "workers: 4\n".to_owned())].into(),
        ..Default::default()
    };
    let bundle = json!({"apiVersion": "v1", "kind": "ConfigMap", "immutable": true, "data": {"app.yaml": "workers: 4\n"},
        "metadata": {"name": writgate_core::kube::bundle_name("orders", &content), "namespace": governed.namespace,
            "labels": {"writgate.dev/kind": "config-bundle", "writgate.dev/environment": governed.environment}}});
    let with = |change: fn(&mut Value)| {
        let mut bundle = bundle.clone();
        change(&mut bundle);
        installation.tenant.create(&bundle)
    };
    refused(&with(|bundle| bundle["immutable"] = json!(false)), "BundleInvalid");
    refused(&with(|bundle| bundle["data"]["app.yaml"] = json!("workers: 5\n")), "BundleInvalid");
    refused(&with(|bundle| bundle["metadata"]["labels"]["writgate.dev/environment"] = json!("other")), "BundleInvalid");
    done(&with(|_| ()));
}

fn denies_changes_of_controller_revisions_by_users(installation: &Installation) {
    let governed = installation.governed("revision");
    let deployment = governed.deployment("orders");
    let set = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": deployment["metadata"],
        "spec": {"serviceName": "x", "selector": deployment["spec"]["selector"], "template": deployment["spec"]["template"]}});
    done(&installation.operator.create(&governed.approved(&set)));
    let revision = wait_until("the controller has written the revision", trail::LIMIT, || {
        let revisions = installation.plane.admin.get(&["controllerrevisions", "-n", &governed.namespace])?;
        revisions["items"].as_array()?.first().cloned()
    });
    let name = revision["metadata"]["name"].as_str().expect("a name");
    let patch = |patch: Value| {
        let args = ["patch", "controllerrevision", name, "--type=merge", "-n", &governed.namespace, "-p"];
        installation.operator.kubectl(&[&args[..], &[&patch.to_string()]].concat())
    };
    refused(&patch(json!({"revision": 7})), "WorkloadNotAllowed");
    refused(&patch(json!({"metadata": {"labels": {"app": "other"}}})), "WorkloadNotAllowed");
    refused(&patch(json!({"metadata": {"ownerReferences": null}})), "WorkloadNotAllowed");
    done(&patch(json!({"metadata": {"annotations": {"note": "a"}}})));
    let mut forged =
        json!({"apiVersion": "apps/v1", "kind": "ControllerRevision", "revision": 8, "data": revision["data"]});
    forged["metadata"] = json!({"name": "forged", "namespace": governed.namespace});
    refused(&installation.operator.create(&forged), "WorkloadNotAllowed");
}
