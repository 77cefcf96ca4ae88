//! Exec, attach, port-forward and proxy into Pods of a governed namespace.

use serde_json::json;

use crate::decision::case::Case;

/// Alice's exec into a Pod, under a posture that admits and records it.
fn exec() -> Case {
    connection("exec", "PodExecOptions").with(|c| {
        c.object()["container"] = "orders".into();
        c.object()["command"] = json!(["psql", "--password=s3cret"]);
    })
}

fn connection(subresource: &str, options: &str) -> Case {
    Case::deployment().with(|c| {
        c.signers.clear();
        c.posture["connect"] = "audit".into();
        c.request["operation"] = "CONNECT".into();
        c.request["kind"] = json!({"group": "", "version": "v1", "kind": options});
        c.request["resource"] = json!({"group": "", "version": "v1", "resource": "pods"});
        c.request["subResource"] = subresource.into();
        c.request["name"] = "orders-1".into();
        c.request["object"] = json!({"apiVersion": "v1", "kind": options, "stdout": true});
    })
}

#[test]
fn a_connection_is_decided_by_the_posture() {
    let ways = [
        exec(),
        connection("attach", "PodAttachOptions"),
        connection("portforward", "PodPortForwardOptions"),
        connection("proxy", "PodProxyOptions"),
    ];
    for way in ways {
        way.expect("admitted");
        way.clone().with(|c| c.posture["connect"] = "deny".into()).expect("WorkloadNotAllowed");
        way.clone().with(|c| c.posture["connect"] = "allow".into()).expect("not-an-action");
        way.with(|c| {
            c.posture.as_object_mut().expect("a map").remove("connect");
        })
        .expect("not-an-action");
    }
}

#[test]
fn the_record_names_pod_and_container_and_never_the_command_line() {
    let record = exec().decide().record;
    let object = record.object.as_ref().expect("an object");
    assert_eq!((&*object.api_version, &*object.kind, &*object.name), ("v1", "Pod", "orders-1"));
    let connection = record.connection.as_ref().expect("a connection");
    assert_eq!((&*connection.subresource, connection.container.as_deref()), ("exec", Some("orders")));
    assert_eq!(record.approval_required, Some(false));
    let json = serde_json::to_string(&record).expect("JSON");
    assert!(!json.contains("s3cret"), "{json}");
}

/// `enforcement` applies to approvals, and no approval permits a connection.
#[test]
fn a_denied_connection_is_denied_under_every_enforcement() {
    exec()
        .with(|c| {
            c.posture["connect"] = "deny".into();
            c.posture["enforcement"] = "audit".into();
        })
        .expect("WorkloadNotAllowed");
}

#[test]
fn an_invalid_posture_denies_connections() {
    exec().with(|c| c.posture["connect"] = "never".into()).expect("PostureInvalid");
    exec().with(|c| c.project = None).expect("NamespaceNotListed");
}

#[test]
fn denies_unknown_connections_and_options_of_another_kind() {
    exec().with(|c| c.request["subResource"] = "checkpoint".into()).expect("UnsupportedKind");
    exec().with(|c| c.request["resource"]["resource"] = "services".into()).expect("UnsupportedKind");
    exec().with(|c| c.object()["kind"] = "PodAttachOptions".into()).expect("MalformedReview");
    exec().with(|c| c.request["operation"] = "CREATE".into()).expect("MalformedReview");
}
