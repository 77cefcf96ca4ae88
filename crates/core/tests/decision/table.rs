//! The checks of a decision: each test starts from a case that is admitted and changes one thing.
//!
//! The published vectors have one case for each reason. These tests cover the boundaries between them.
//!
//! The file is longer than 500 lines: one short test for each rule, in the order of the table.

use serde_json::{Value, json};
use writgate_core::{
    kube::{WorkloadKind, default_forward},
    record::Outcome,
};

use crate::decision::case::{Case, Person};

/// The description of a change, and the change.
type Change = (&'static str, fn(&mut Case));

const DEPLOYMENT_CONTROLLER: &str = "system:serviceaccount:kube-system:deployment-controller";

#[test]
fn the_starting_cases_are_admitted() {
    Case::deployment().expect("admitted");
    Case::replay().expect("admitted");
    Case::dry_run().expect("admitted");
    assert_eq!(
        Case::dry_run().decide().record.action.map(writgate_core::approval::Action::as_str),
        Some("replay-dry-run")
    );
}

/// A Deployment whose approved manifest was applied with kubectl, and which has a variable that the manifest lacks.
fn applied_with_another_variable() -> Case {
    let bare = Case::deployment().spec().clone();
    let mut manifest =
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "orders"}, "spec": bare});
    let text = manifest.to_string();
    default_forward(WorkloadKind::Deployment, &mut manifest).expect("a Deployment");
    let mut case = Case::deployment().with(|c| *c.spec() = manifest["spec"].clone()).reapproved();
    case.annotate("kubectl.kubernetes.io/last-applied-configuration", &text);
    case.spec()["template"]["spec"]["containers"][0]["env"] = json!([{"name": "MODE", "value": "fast"}]);
    case
}

fn first_denial(case: &Case) -> String {
    case.decide().denials.first().expect("a denial").to_string()
}

#[test]
fn names_the_field_that_kubectl_apply_keeps() {
    let updated = || {
        applied_with_another_variable().updated().with(|c| {
            c.request["oldObject"]["spec"]["template"]["spec"]["containers"][0]["image"] =
                "ghcr.io/acme/orders:1".into();
        })
    };
    let kept = updated().with(|c| {
        let annotations = &mut c.request["oldObject"]["metadata"]["annotations"];
        annotations["kubectl.kubernetes.io/last-applied-configuration"] = "another manifest".into();
    });
    kept.expect("SpecHashMismatch");
    let denial = first_denial(&kept);
    let field = "spec.template.spec.containers[0].env differs from the manifest, because kubectl apply merges";
    assert!(denial.contains(field), "{denial}");
    assert!(kept.decide().message().contains("kubectl replace -f FILE"), "{}", kept.decide().message());

    let created = applied_with_another_variable();
    created.expect("SpecHashMismatch");
    assert!(
        first_denial(&created).contains("because something in the cluster changes it"),
        "{}",
        first_denial(&created)
    );

    // Another command has changed the object: the annotation is the one of an earlier apply.
    let other_command = updated();
    assert!(!first_denial(&other_command).contains("kubectl apply"), "{}", first_denial(&other_command));
    // The manifest that was applied is not the approved one.
    let other_manifest = applied_with_another_variable().with(|c| {
        let annotation = &mut c.object()["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"];
        *annotation = annotation.as_str().expect("a text").replace("1.4.2", "1.4.3").into();
    });
    other_manifest.expect("SpecHashMismatch");
    assert!(!first_denial(&other_manifest).contains("differs from the manifest"), "{}", first_denial(&other_manifest));
}

#[test]
fn denies_every_release_blocker() {
    for case in [Case::deployment(), Case::replay()] {
        case.clone().with(|c| c.signers = vec![Person::Mallory]).expect("UnknownKey");
        let forged = case.envelope().to_json().replace(&case.envelope().to_json()[40..60], "AAAAAAAAAAAAAAAAAAAA");
        case.clone()
            .with(|c| {
                c.signers.clear();
                c.attach("", &forged);
            })
            .expect("InvalidSignature");
        case.clone().with(|c| c.spec()["template"]["spec"]["nodeName"] = "n1".into()).expect("SpecHashMismatch");
        case.clone().with(|c| c.approval.environment = "staging".into()).expect("WrongEnvironment");
        case.clone().with(|c| c.now = "2026-11-22T12:00:00Z".into()).expect("Expired");
        case.clone().with(|c| c.approval.capabilities = vec!["other".into()]).expect("InsufficientCapabilities");
    }
}

#[test]
fn an_approval_for_several_clusters_admits_in_each_of_them_and_in_no_other() {
    let several = |clusters: &[&str]| {
        Case::deployment().with(|c| {
            c.approval.cluster = None;
            c.approval.clusters = clusters.iter().map(|&name| name.to_owned()).collect();
        })
    };
    several(&["prod-us-1", "prod-eu-1"]).expect("admitted");
    several(&["prod-eu-1"]).expect("admitted");
    several(&["prod-us-1"]).expect("WrongCluster");
    several(&["prod-eu-1 prod-us-1", "prod-eu"]).expect("WrongCluster");
    let others = several(&["prod-us-1", "prod-us-2"]);
    others.expect("WrongCluster");
    let message = others.decide().message();
    assert!(
        message.contains("is for clusters prod-us-1, prod-us-2, but the posture is for cluster prod-eu-1"),
        "{message}"
    );
    several(&["prod-us-1", "prod-eu-1"])
        .with(|c| drop(c.posture.as_object_mut().expect("an object").remove("cluster")))
        .expect("WrongCluster");
}

#[test]
fn denies_a_wildcard_capability() {
    Case::deployment()
        .with(|c| c.posture["actions"]["deploy"] = json!({"capabilities": ["deploy.privileged"]}))
        .with(|c| c.approval.capabilities = vec!["deploy.*".into(), "*".into()])
        .expect("InsufficientCapabilities");
}

#[test]
fn a_prefix_covers_a_generated_name_only_on_creation() {
    let named = |name: &'static str| {
        Case::replay().with(move |c| {
            c.request["name"] = name.into();
            c.object()["metadata"]["name"] = name.into();
        })
    };
    named("replay-orders-zzzzz").expect("admitted");
    named("replay-orders-zzzza").expect("WrongResource");
    named("replay-orders-zzzzzz").expect("WrongResource");
    named("replay-orders-zzzz").expect("WrongResource");
    Case::replay().with(|c| c.object()["metadata"]["generateName"] = "replay-".into()).expect("WrongResource");
    Case::replay().with(|c| c.approval.subjects[0].name = "batch/v1/Job/payments/*".into()).expect("WrongResource");
    Case::replay()
        .with(|c| c.object()["spec"]["suspend"] = true.into())
        .updated()
        .with(|c| c.object()["spec"]["suspend"] = false.into())
        .expect("WrongResource");
    let long = "p".repeat(60);
    Case::replay()
        .with(|c| {
            let name = format!("{}zzzzz", &long[..58]);
            c.object()["metadata"]["generateName"] = long.clone().into();
            c.object()["metadata"]["name"] = name.clone().into();
            c.request["name"] = name.into();
            c.approval.subjects[0].name = format!("batch/v1/Job/payments/{long}*");
        })
        .expect("admitted");
}

#[test]
fn reports_the_approval_that_came_closest() {
    let expired = Case::deployment().with(|c| c.approval.expires_at = "2026-11-22T10:30:00Z".parse().expect("a time"));
    let expired = expired.envelope().to_json();
    Case::deployment()
        .with(|c| {
            c.attach(".old", &expired);
        })
        .expect("admitted");
    Case::deployment()
        .with(|c| {
            c.attach(".old", &expired);
            c.signers = vec![Person::Mallory];
        })
        .expect("Expired");
    Case::deployment()
        .with(|c| {
            c.attach(".old", &expired);
            c.approval.environment = "staging".into();
        })
        .expect("Expired");
    Case::deployment()
        .with(|c| {
            c.attach(".old", "{}");
            c.signers = vec![Person::Mallory];
        })
        .expect("UnknownKey");
}

#[test]
fn a_signed_malformed_approval_ranks_above_a_bad_signature() {
    let mut signed = writgate_core::approval::Envelope::new(b"{}".to_vec());
    Person::Bob.sign(&mut signed);
    let forged = signed.to_json().replace("e30=", "e31=").replace("e31=", "W10=");
    Case::deployment()
        .with(|c| {
            c.signers.clear();
            c.attach(".a", &forged);
            c.attach(".b", &signed.to_json());
        })
        .expect("MalformedApproval");
    Case::deployment()
        .with(|c| {
            c.signers.clear();
            c.attach(".a", &forged);
        })
        .expect("InvalidSignature");
}

#[test]
fn denies_nine_envelopes() {
    let with =
        |count: usize| Case::deployment().with(|c| (1..count).for_each(|index| c.attach(&format!(".{index}"), "{}")));
    with(8).expect("admitted");
    with(9).expect("MalformedApproval");
}

#[test]
fn signature_checks_are_bounded() {
    let flood = |signatures: usize| {
        let mut envelope = writgate_core::approval::Envelope::new(b"{}".to_vec());
        (0..signatures).for_each(|_| Person::Mallory.sign(&mut envelope));
        envelope.to_json()
    };
    // Unknown key ids are tried against all three keys: 30 checks leave two, 33 leave none.
    let case = |signatures| {
        Case::deployment().with(|c| {
            c.attach("", "");
            c.attach(".b", "");
            c.signers.clear();
            c.attach("", &flood(signatures));
            c.attach(".b", &Case::deployment().envelope().to_json());
        })
    };
    case(10).expect("admitted");
    case(11).expect("MalformedApproval");
}

#[test]
fn a_quorum_counts_people_over_agreeing_envelopes() {
    let two = |change: fn(&mut Case)| {
        let carols = Case::deployment().with(|c| {
            c.signers = vec![Person::Carol];
            c.approval.id = "01935a00-0000-7000-8000-000000000002".into();
            change(c);
        });
        Case::deployment()
            .with(|c| c.posture["actions"]["deploy"] = json!({"quorum": [{"count": 2}]}))
            .with(|c| c.attach(".carol", &carols.envelope().to_json()))
    };
    two(|c| c.approval.reason = Some("another".into())).expect("admitted");
    two(|c| c.approval.expires_at = "2026-11-22T11:30:00Z".parse().expect("a time")).expect("admitted");
    two(|c| c.approval.pipeline_version = Some("x@1".into())).expect("PipelineVersionMismatch");
    two(|c| c.approval.requested_by = "erin".into()).expect("QuorumNotMet");
    two(|c| c.approval.capabilities.push("more".into())).expect("QuorumNotMet");
    two(|c| c.signers = vec![Person::Bob]).expect("QuorumNotMet");
    let both = two(|_| ()).decide();
    assert_eq!(both.record.approvals.len(), 2, "approvals on the record");
}

#[test]
fn separation_of_duties() {
    let requested_by_bob = |mode: &'static str| {
        Case::deployment()
            .with(move |c| c.posture["separationOfDuties"] = mode.into())
            .with(|c| c.approval.requested_by = "BOB".into())
    };
    requested_by_bob("claimed").expect("SelfApproval");
    requested_by_bob("off").expect("admitted");
    requested_by_bob("proven").expect("SelfApproval");
    let proven = || Case::deployment().with(|c| c.posture["separationOfDuties"] = "proven".into());
    proven().expect("QuorumNotMet");
    proven().with(|c| c.signers.push(Person::Carol)).expect("admitted");
    proven().with(|c| c.request["userInfo"]["username"] = "Alice@acme.example".into()).expect("admitted");
    let by_account = |c: &mut Case| {
        c.request["userInfo"]["username"] = "system:serviceaccount:payments:default".into();
        c.approval.requested_by = "system:serviceaccount:payments:default".into();
    };
    proven().with(by_account).expect("QuorumNotMet");
    proven()
        .with(by_account)
        .with(|c| c.reviewers["reviewers"][1]["identities"] = json!(["system:serviceaccount:payments:default"]))
        .expect("admitted");
    // carol is the requester and signs as well: her signature is not eligible, but it proves who the requester is.
    proven()
        .with(|c| {
            c.approval.requested_by = "carol@acme.example".into();
            c.signers.push(Person::Carol);
        })
        .expect("admitted");
}

#[test]
fn an_approval_is_valid_from_the_second_of_its_not_before() {
    let at = |now: &str, leeway| {
        Case::deployment().with(|c| {
            c.approval.not_before = "2026-11-22T10:30:00Z".parse().expect("a time");
            c.now = now.to_owned();
            c.clock_leeway = jiff::SignedDuration::from_secs(leeway);
        })
    };
    at("2026-11-22T10:30:00Z", 0).expect("admitted");
    at("2026-11-22T10:29:59.999Z", 0).expect("NotYetValid");
    at("2026-11-22T10:29:59Z", 0).expect("NotYetValid");
    at("2026-11-22T10:29:55Z", 5).expect("admitted");
    at("2026-11-22T10:29:54.999Z", 5).expect("NotYetValid");
    at("2026-11-22T10:29:54Z", 5).expect("NotYetValid");
}

#[test]
fn clock_leeway_changes_neither_the_end_of_an_approval_nor_the_times_of_a_key() {
    let case = || Case::deployment().with(|c| c.clock_leeway = jiff::SignedDuration::from_secs(5));
    case().expect("admitted");
    let expires = case().approval.expires_at;
    let at = |seconds| case().with(|c| c.now = (expires + jiff::SignedDuration::from_secs(seconds)).to_string());
    at(-1).expect("admitted");
    at(0).expect("Expired");
    case()
        .with(|c| c.reviewers["reviewers"][0]["keys"][0]["notBefore"] = "2026-11-22T11:00:01Z".into())
        .expect("NotYetValid");
    case()
        .with(|c| c.reviewers["reviewers"][0]["keys"][0]["notAfter"] = "2026-11-22T11:00:00Z".into())
        .expect("Expired");
}

#[test]
fn says_how_to_undo_a_stateful_set_or_daemon_set() {
    let template =
        json!({"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "i:2"}]}});
    let spec = json!({"selector": {"matchLabels": {"app": "a"}}, "template": template});
    // The live spec is the approved one, and the request keeps its approval.
    let undone = |kind| {
        Case::of(kind, "db", &spec).updated().with(|c| {
            c.spec()["template"]["spec"]["containers"][0]["image"] = "i:1".into();
        })
    };
    for (kind, says_so) in
        [(WorkloadKind::StatefulSet, true), (WorkloadKind::DaemonSet, true), (WorkloadKind::ReplicaSet, false)]
    {
        let case = undone(kind);
        case.expect("SpecHashMismatch");
        let message = case.decide().message();
        assert!(message.contains("the first difference is at"), "{message}");
        assert_eq!(message.contains("kubectl writgate attach --detached"), says_so, "{message}");
    }
}

#[test]
fn an_ineligible_signer_does_not_spoil_an_eligible_one() {
    Case::deployment().with(|c| c.signers = vec![Person::Dave]).expect("InsufficientCapabilities");
    Case::deployment().with(|c| c.signers = vec![Person::Dave, Person::Bob]).expect("admitted");
    Case::deployment()
        .with(|c| c.reviewers["reviewers"][0]["keys"][0]["notBefore"] = "2026-11-22T11:00:01Z".into())
        .expect("NotYetValid");
    Case::deployment()
        .with(|c| c.reviewers["reviewers"][0]["keys"][0]["notAfter"] = "2026-11-22T11:00:00Z".into())
        .expect("Expired");
}

#[test]
fn denies_a_revoked_spec_without_an_envelope() {
    let revoke = |c: &mut Case| {
        let hash = c.decide().record.spec_hash.expect("a hash");
        c.revocations["specs"] = json!([{"hash": hash, "at": "2026-11-22T11:00:00Z", "why": "CVE"}]);
    };
    Case::deployment().with(revoke).expect("Revoked");
    Case::dry_run().with(revoke).expect("Revoked");
    Case::deployment().with(revoke).with(|c| c.now = "2026-11-22T10:59:59Z".into()).expect("admitted");
    Case::deployment().with(revoke).with(|c| c.signers.clear()).expect("ApprovalRequired Revoked");
}

#[test]
fn a_released_workload_is_checked_again() {
    Case::deployment().updated().with(|c| c.signers.clear()).expect("not-an-action");
    let paused = Case::deployment().with(|c| c.spec()["paused"] = true.into()).updated();
    paused.clone().with(|c| c.signers.clear()).expect("not-an-action");
    let resumed = paused.with(|c| {
        c.spec().as_object_mut().expect("a map").remove("paused");
    });
    resumed.clone().expect("admitted");
    resumed.with(|c| c.signers.clear()).expect("ApprovalRequired");
    let template = json!({"schedule": "* * * * *", "suspend": true,
        "jobTemplate": {"spec": {"suspend": true, "template": {"spec": {"containers": []}}}}});
    let cron = Case::of(WorkloadKind::CronJob, "nightly", &template).updated().with(|c| c.signers.clear());
    cron.clone().expect("not-an-action");
    cron.clone().with(|c| c.spec()["suspend"] = false.into()).expect("ApprovalRequired");
    cron.with(|c| c.spec()["jobTemplate"]["spec"]["suspend"] = false.into()).expect("ApprovalRequired");
}

#[test]
fn bound_annotations_and_the_replay_label_are_part_of_the_action() {
    let unchanged = Case::deployment().updated().with(|c| c.signers.clear());
    unchanged.clone().with(|c| c.annotate("writgate.dev/incident", "INC-8")).expect("ApprovalRequired");
    unchanged.clone().with(|c| c.annotate("writgate.dev/other", "x")).expect("not-an-action");
    unchanged.clone().with(|c| c.annotate("writgate.dev/approval", "broken")).expect("not-an-action");
    unchanged.with(|c| c.object()["metadata"]["labels"]["team"] = "x".into()).expect("not-an-action");
    Case::replay()
        .updated()
        .with(|c| {
            c.signers.clear();
            c.object()["metadata"]["labels"] = json!({});
        })
        .expect("ApprovalRequired");
}

fn replica_set() -> Case {
    let spec = json!({"replicas": 2, "selector": {"matchLabels": {"app": "a"}},
        "template": {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": []}}});
    Case::of(WorkloadKind::ReplicaSet, "orders-7979dcbbdc", &spec)
        .with(|c| c.object()["metadata"]["labels"] = json!({"app": "a", "team": "t"}))
        .with(|c| c.object()["metadata"]["ownerReferences"] = json!([{"name": "orders"}]))
        .updated()
        .with(|c| c.signers.clear())
}

#[test]
fn a_replica_set_is_checked_unless_it_is_scaled_down() {
    replica_set().expect("not-an-action");
    replica_set().with(|c| c.spec()["replicas"] = 0.into()).expect("not-an-action");
    replica_set().with(|c| c.spec()["replicas"] = 3.into()).expect("ApprovalRequired");
    replica_set().with(|c| c.spec()["minReadySeconds"] = 3.into()).expect("ApprovalRequired");
    replica_set()
        .with(|c| c.spec()["replicas"] = 3.into())
        .with(|c| c.request["userInfo"]["username"] = DEPLOYMENT_CONTROLLER.into())
        .expect("not-an-action");
}

fn scale(resource: &str, from: Option<i64>, to: i64) -> Case {
    let scale = |replicas: Option<i64>| {
        json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "orders", "namespace": "payments"},
            "spec": replicas.map_or(json!({}), |replicas| json!({"replicas": replicas}))})
    };
    Case::deployment().with(|c| {
        c.signers.clear();
        c.request["operation"] = "UPDATE".into();
        c.request["subResource"] = "scale".into();
        c.request["kind"] = json!({"group": "autoscaling", "version": "v1", "kind": "Scale"});
        c.request["resource"]["resource"] = resource.into();
        c.request["object"] = scale(Some(to));
        c.request["oldObject"] = scale(from);
    })
}

#[test]
fn denies_scaling_up_a_replica_set_or_replication_controller() {
    scale("deployments", Some(1), 100).expect("not-an-action");
    scale("statefulsets", None, 100).expect("not-an-action");
    scale("replicasets", Some(3), 2).expect("not-an-action");
    scale("replicasets", None, 1).expect("WorkloadNotAllowed");
    scale("replicationcontrollers", Some(1), 2).expect("WorkloadNotAllowed");
    scale("replicasets", None, 1)
        .with(|c| c.request["userInfo"]["username"] = DEPLOYMENT_CONTROLLER.into())
        .expect("not-an-action");
}

fn other(api_version: &str, kind: &str, resource: &str, mut object: Value) -> Case {
    Case::deployment().with(|c| {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        object["apiVersion"] = api_version.into();
        object["kind"] = kind.into();
        object["metadata"] = json!({"name": "orders", "namespace": "payments"});
        c.signers.clear();
        c.request["kind"] = json!({"group": group, "version": version, "kind": kind});
        c.request["resource"] = json!({"group": group, "version": version, "resource": resource});
        c.request["object"] = object;
    })
}

#[test]
fn denies_pods_unless_the_posture_allows_them() {
    let pod = || other("v1", "Pod", "pods", json!({"spec": {"containers": [{"name": "c", "image": "nginx"}]}}));
    let allow = |c: &mut Case| c.posture["pods"] = "allow".into();
    pod().expect("WorkloadNotAllowed");
    pod().with(allow).expect("admitted");
    pod()
        .with(allow)
        .with(|c| c.spec()["containers"][0]["image"] = "ghcr.io/acme/replay:1".into())
        .expect("WorkloadNotAllowed");
    pod().updated().expect("not-an-action");
    pod().updated().with(|c| c.spec()["containers"][0]["image"] = "evil".into()).expect("WorkloadNotAllowed");
    pod()
        .with(|c| c.request["userInfo"]["username"] = "system:serviceaccount:kube-system:replicaset-controller".into())
        .expect("not-an-action");
    pod().with(|c| c.request["userInfo"]["username"] = DEPLOYMENT_CONTROLLER.into()).expect("WorkloadNotAllowed");
    let debug = || pod().updated().with(|c| c.request["subResource"] = "ephemeralcontainers".into());
    debug().expect("WorkloadNotAllowed");
    debug().with(allow).expect("admitted");
}

#[test]
fn denies_changes_of_controller_revisions_by_users() {
    let revision =
        || other("apps/v1", "ControllerRevision", "controllerrevisions", json!({"data": {"spec": 1}, "revision": 1}));
    revision().expect("WorkloadNotAllowed");
    revision().updated().expect("not-an-action");
    revision().updated().with(|c| c.object()["data"] = json!({"spec": 2})).expect("WorkloadNotAllowed");
    revision().updated().with(|c| c.object()["revision"] = 2.into()).expect("WorkloadNotAllowed");
    revision().updated().with(|c| c.object()["metadata"]["labels"] = json!({"app": "x"})).expect("WorkloadNotAllowed");
    let owner = json!([{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "s", "uid": "u"}]);
    revision().updated().with(|c| c.object()["metadata"]["ownerReferences"] = owner).expect("WorkloadNotAllowed");
    let bookkeeping = json!({"a": "b", "writgate.dev/approval": "x"});
    revision().updated().with(|c| c.object()["metadata"]["annotations"] = bookkeeping).expect("not-an-action");
    revision().updated().with(|c| c.object()["metadata"]["finalizers"] = json!(["x/y"])).expect("not-an-action");
    revision()
        .with(|c| c.request["userInfo"]["username"] = "system:serviceaccount:kube-system:statefulset-controller".into())
        .expect("not-an-action");
}

#[test]
fn denies_unknown_requests_and_admits_deletions() {
    let unknown = || other("apps/v1", "Rollout", "rollouts", json!({"spec": {}}));
    unknown().expect("UnsupportedKind");
    unknown().with(|c| c.request["operation"] = "DELETE".into()).expect("not-an-action");
    unknown().with(|c| c.request["operation"] = "CONNECT".into()).expect("UnsupportedKind");
    Case::deployment().updated().with(|c| c.request["subResource"] = "rollback".into()).expect("UnsupportedKind");
    Case::deployment().updated().with(|c| c.request["subResource"] = "status".into()).expect("not-an-action");
}

#[test]
fn a_spec_without_a_hash_is_malformed() {
    Case::deployment()
        .with(|c| c.spec()["template"]["spec"]["runAsUser"] = json!(9_007_199_254_740_993_i64))
        .expect("MalformedReview");
    Case::deployment()
        .with(|c| {
            c.object().as_object_mut().expect("a map").remove("spec");
        })
        .expect("MalformedReview");
}

/// The API server stores bytes that are not UTF-8, and writes all of them as U+FFFD.
#[test]
fn a_text_that_stands_for_any_bytes_is_never_unchanged() {
    let with =
        |text: &'static str| move |c: &mut Case| c.spec()["template"]["spec"]["containers"][0]["args"] = json!([text]);
    let deployment = |text| Case::deployment().with(|c| c.signers.clear()).with(with(text)).updated();
    deployment("a").expect("not-an-action");
    deployment("a\u{fffd}").expect("MalformedReview");
    let unreadable = deployment("a\u{fffd}").body().replace('\u{fffd}', "\\ufffd");
    assert_eq!(Case::deployment().decide_body(&unreadable).record.reasons, ["MalformedReview"]);
    deployment("a").with(with("a\u{fffd}")).expect("MalformedReview");
    deployment("a\u{fffd}").with(with("a")).expect("ApprovalRequired");
    let pod = |image: &str| {
        other("v1", "Pod", "pods", json!({"spec": {"containers": [{"name": "c", "image": image}]}})).updated()
    };
    pod("nginx").expect("not-an-action");
    pod("nginx\u{fffd}").expect("WorkloadNotAllowed");
}

#[test]
fn denies_a_namespace_that_the_posture_does_not_list() {
    let pinned = |listed: Value| Case::deployment().with(|c| c.posture["namespaces"] = listed);
    pinned(json!({"payments": "payments"})).expect("admitted");
    pinned(json!({"payments": "ledger"})).expect("NamespaceNotListed");
    pinned(json!({"other": "payments"})).expect("NamespaceNotListed");
    Case::deployment().with(|c| c.project = None).expect("NamespaceNotListed");
}

#[test]
fn row_1_denies_under_every_enforcement() {
    for mode in ["warn", "audit"] {
        let soft = |case: Case| case.with(|c| c.posture["enforcement"] = mode.into());
        let softened = soft(Case::deployment().with(|c| c.signers.clear())).decide();
        assert_eq!(softened.record.decision, Outcome::Admitted);
        assert_eq!(softened.warning().is_some(), mode == "warn");
        let hard = [
            Case::deployment().with(|c| c.project = None),
            Case::of(WorkloadKind::DaemonSet, "d", &json!({"template": {"spec": {}}}))
                .with(|c| c.posture["workloads"] = "deny".into()),
            Case::deployment().with(|c| c.posture["typo"] = 1.into()),
        ];
        for case in hard {
            assert_eq!(soft(case).decide().record.decision, Outcome::Denied);
        }
    }
    Case::replay()
        .with(|c| c.posture["actions"]["replay-execute"]["enforcement"] = "warn".into())
        .with(|c| c.signers.clear())
        .expect("ApprovalRequired");
}

#[test]
fn other_workloads_are_decided_by_the_posture() {
    let daemon_set = |rule: &'static str| {
        Case::of(WorkloadKind::DaemonSet, "agent", &json!({"template": {"spec": {"containers": []}}}))
            .with(move |c| c.posture["workloads"] = rule.into())
            .with(|c| c.signers.clear())
    };
    daemon_set("approve").expect("ApprovalRequired");
    daemon_set("deny").expect("WorkloadNotAllowed");
    daemon_set("allow").expect("admitted");
    Case::deployment().with(|c| c.posture["workloads"] = "deny".into()).expect("admitted");
}

#[test]
fn denies_a_replay_image_outside_a_job() {
    let with_image =
        |c: &mut Case| c.spec()["template"]["spec"]["initContainers"] = json!([{"image": "ghcr.io/acme/replay:2"}]);
    Case::deployment().with(with_image).reapproved().expect("WorkloadNotAllowed");
    Case::deployment()
        .with(|c| c.spec()["template"]["spec"]["volumes"] = json!([{"image": {"reference": "ghcr.io/acme/replay:2"}}]))
        .reapproved()
        .expect("WorkloadNotAllowed");
    let cron = json!({"jobTemplate": {"metadata": {"labels": {"writgate.dev/replay": "dry-run"}}, "spec": {"template": {"spec": {"containers": []}}}}});
    Case::of(WorkloadKind::CronJob, "nightly", &cron).expect("WorkloadNotAllowed");
}

#[test]
fn jobs_of_a_cron_job_are_exempt_unless_they_are_replays() {
    let by_controller = |c: &mut Case| {
        c.signers.clear();
        c.request["userInfo"]["username"] = "system:serviceaccount:kube-system:cronjob-controller".into();
    };
    Case::replay().with(by_controller).expect("ApprovalRequired");
    let job = json!({"template": {"spec": {"containers": [{"image": "busybox"}]}}});
    Case::of(WorkloadKind::Job, "nightly-1", &job).with(by_controller).expect("not-an-action");
}

#[test]
fn the_dry_run_contract_is_closed() {
    let changes: [Change; 43] = [
        ("label", |c| c.object()["metadata"]["labels"] = json!({"writgate.dev/replay": "Dry-Run"})),
        ("no label", |c| c.object()["metadata"]["labels"] = json!({})),
        ("no contract", |c| {
            c.posture["replay"].as_object_mut().expect("a map").remove("dryRun");
        }),
        ("completions", |c| c.spec()["completions"] = 2.into()),
        ("parallelism", |c| c.spec()["parallelism"] = 2.into()),
        ("indexed", |c| c.spec()["completionMode"] = "Indexed".into()),
        ("manual selector", |c| c.spec()["manualSelector"] = true.into()),
        ("pod failure policy", |c| c.spec()["podFailurePolicy"] = json!({"rules": []})),
        ("template label", |c| c.spec()["template"]["metadata"]["labels"]["app"] = "x".into()),
        ("template annotation", |c| c.spec()["template"]["metadata"]["annotations"] = json!({"a": "b"})),
        ("template timestamp", |c| c.spec()["template"]["metadata"]["creationTimestamp"] = "x".into()),
        ("second container", |c| {
            let twin = pod(c)["containers"][0].clone();
            pod(c)["containers"].as_array_mut().expect("a list").push(twin);
        }),
        ("init container", |c| pod(c)["initContainers"] = json!([{"name": "i", "image": "ghcr.io/acme/replay:2.0.1"}])),
        ("volume", |c| pod(c)["volumes"] = json!([])),
        ("host network", |c| pod(c)["hostNetwork"] = true.into()),
        ("node", |c| pod(c)["nodeName"] = "n".into()),
        ("account", |c| pod(c)["serviceAccountName"] = "replayer".into()),
        ("account's other name", |c| pod(c)["serviceAccount"] = "replayer".into()),
        ("service links", |c| pod(c)["enableServiceLinks"] = true.into()),
        ("service links by default", |c| {
            pod(c).as_object_mut().expect("a map").remove("enableServiceLinks");
        }),
        ("service links of another type", |c| pod(c)["enableServiceLinks"] = "false".into()),
        ("dns", |c| pod(c)["dnsPolicy"] = "Default".into()),
        ("scheduler", |c| pod(c)["schedulerName"] = "mine".into()),
        ("root", |c| pod(c)["securityContext"] = json!({"runAsUser": 0})),
        ("other image", |c| container(c)["image"] = "ghcr.io/acme/other:1".into()),
        ("command", |c| container(c)["command"] = json!(["sh"])),
        ("working directory", |c| container(c)["workingDir"] = "/".into()),
        ("lifecycle", |c| container(c)["lifecycle"] = json!({})),
        ("privileged", |c| container(c)["securityContext"] = json!({"privileged": true})),
        ("unconfined", |c| container(c)["securityContext"] = json!({"seccompProfile": {"type": "Unconfined"}})),
        ("profile of the node", |c| {
            container(c)["securityContext"] = json!({"seccompProfile": {"type": "Localhost", "localhostProfile": "a"}});
        }),
        ("profile in another field", |c| {
            container(c)["securityContext"] = json!({"seccompProfile": {"localhostProfile": "RuntimeDefault"}});
        }),
        ("added capability", |c| container(c)["securityContext"] = json!({"capabilities": {"add": ["SYS_ADMIN"]}})),
        ("envFrom", |c| container(c)["envFrom"] = json!([])),
        ("another variable", |c| {
            container(c)["env"].as_array_mut().expect("a list").push(json!({"name": "A", "value": "b"}));
        }),
        ("variable twice", |c| {
            let twin = container(c)["env"][0].clone();
            container(c)["env"].as_array_mut().expect("a list").push(twin);
        }),
        ("other value", |c| container(c)["env"][0]["value"] = "execute".into()),
        ("value from elsewhere", |c| container(c)["env"][0] = json!({"name": "REPLAY_MODE", "valueFrom": {}})),
        ("more arguments", |c| container(c)["args"].as_array_mut().expect("a list").push("--execute".into())),
        ("an option for a word", |c| container(c)["args"][1] = "--execute".into()),
        ("two words for one", |c| container(c)["args"][1] = "INC-7 --execute".into()),
        ("a word that is expanded", |c| container(c)["args"][1] = "$(ORDERS_PORT)".into()),
        ("a word that is expanded in part", |c| container(c)["args"][1] = "INC-$(ORDERS_PORT)".into()),
    ];
    for (what, change) in changes {
        let decision = Case::dry_run().with(change).decide();
        let action = decision.record.action.map(writgate_core::approval::Action::as_str);
        assert_eq!((action, decision.allowed()), (Some("replay-execute"), false), "{what}");
    }
    let permitted: [fn(&mut Case); 6] = [
        |c| c.spec()["suspend"] = true.into(),
        |c| c.spec()["template"]["metadata"]["creationTimestamp"] = Value::Null,
        |c| c.spec()["activeDeadlineSeconds"] = 60.into(),
        |c| pod(c)["securityContext"] = json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}}),
        |c| {
            container(c)["securityContext"] =
                json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
        },
        |c| container(c)["args"][1] = "INC-8".into(),
    ];
    for change in permitted {
        Case::dry_run().with(change).expect("admitted");
    }
}

fn pod(case: &mut Case) -> &mut Value {
    &mut case.spec()["template"]["spec"]
}

fn container(case: &mut Case) -> &mut Value {
    &mut pod(case)["containers"][0]
}

#[test]
fn a_claim_of_an_approval_always_binds() {
    Case::deployment().with(|c| c.annotate("writgate.dev/pipeline-version", "orders@1")).expect("admitted");
    let claims: [Change; 2] = [
        ("PipelineVersionMismatch", |c| c.approval.pipeline_version = Some("orders@1".into())),
        ("ConfigBundleMismatch", |c| c.approval.config_bundle = Some("sha256:00".into())),
    ];
    for (code, claim) in claims {
        Case::deployment().with(claim).expect(code);
    }
    Case::deployment()
        .with(|c| c.approval.pipeline_version = Some("orders@1".into()))
        .with(|c| c.annotate("writgate.dev/pipeline-version", "orders@1"))
        .expect("admitted");
    let replay = |c: &mut Case, change: fn(&mut writgate_core::approval::Replay)| {
        change(c.approval.replay.as_mut().expect("a replay"));
    };
    Case::replay().with(|c| c.approval.replay = None).expect("IncidentMismatch");
    Case::replay().with(|c| replay(c, |r| r.incident = None)).expect("IncidentMismatch");
    Case::replay().with(|c| replay(c, |r| r.incident_spec_hash = Some("sha256:00".into()))).expect("IncidentMismatch");
    Case::replay().with(|c| replay(c, |r| r.source_environment = None)).expect("SourceEnvironmentMismatch");
    Case::replay()
        .with(|c| replay(c, |r| r.source_artifact = Some("sha256:00".into())))
        .expect("SourceArtifactMismatch");
    Case::replay()
        .with(|c| c.posture["replay"]["sourceEnvironments"] = json!(["staging"]))
        .expect("SourceEnvironmentMismatch");
}

#[test]
fn the_next_step_names_the_namespace() {
    let message = Case::deployment().with(|c| c.signers.clear()).decide().message();
    assert!(
        message.ends_with("\nnext: request an approval: kubectl writgate request -f FILE -n payments"),
        "{message}"
    );
}

#[test]
fn a_denial_names_the_difference_and_the_hash_in_six_lines() {
    let case = Case::deployment().updated().with(|c| container(c)["image"] = "ghcr.io/acme/orders:1.4.3".into());
    let message = case.decide().message();
    assert!(message.contains("the first difference is at spec.template.spec.containers[0].image"), "{message}");
    let everything = case.with(|c| {
        c.approval.environment = "staging".into();
        c.approval.project = "x".into();
        c.approval.capabilities.clear();
        c.now = "2026-11-22T12:00:00Z".into();
    });
    let decision = everything.decide();
    assert_eq!(decision.record.reasons.len(), 5);
    assert!(decision.message().lines().count() <= 6);
    assert!(decision.message().contains("spec hash: sha256:"));
}
