use serde_json::{Value, json};

use super::*;

fn line(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut line = json!({
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "auditID": "a-1",
        "stage": "ResponseComplete", "requestURI": "/apis/apps/v1/namespaces/payments/deployments?fieldManager=kubectl",
        "verb": "create", "user": {"username": "alice", "groups": ["dev"]}, "sourceIPs": ["127.0.0.1"],
        "objectRef": {"resource": "deployments", "namespace": "payments", "name": "orders", "apiGroup": "apps",
                      "apiVersion": "v1"},
        "responseStatus": {"metadata": {}, "code": 201},
        "requestReceivedTimestamp": "2026-11-22T11:00:00.123456Z", "stageTimestamp": "2026-11-22T11:00:00.223456Z",
        "annotations": {
            "authorization.k8s.io/decision": "allow",
            "workloads.writgate.dev/decision": "admitted", "workloads.writgate.dev/decision-id": "d-1",
            "workloads.writgate.dev/action": "deploy", "workloads.writgate.dev/environment": "production",
            "workloads.writgate.dev/approval-required": "true", "workloads.writgate.dev/approvals": "1,2",
            "workloads.writgate.dev/reviewers": "bob", "workloads.writgate.dev/required-capabilities": "deploy"
        }
    });
    change(&mut line);
    line.to_string().into_bytes()
}

fn rows(lines: &[Vec<u8>]) -> Vec<Row> {
    let mut log = AuditLog::default();
    lines.iter().flat_map(|line| log.read(line).unwrap()).map(|audited| Row::from(&audited)).collect()
}

#[test]
fn the_initiator_comes_from_the_server_and_the_decision_from_the_webhook() {
    let [row] = &rows(&[line(|_| ())])[..] else { panic!("one decision") };
    assert_eq!((&*row.initiator, &*row.decision, &*row.id), ("alice", "admitted", "d-1"));
    assert_eq!((&*row.object.kind, &*row.object.name), ("deployments", "orders"));
    assert_eq!((row.required, row.approvals.len(), &row.reviewers[..]), (Required::Yes, 2, &["bob".to_owned()][..]));
    assert_eq!((&row.capabilities[..], row.remarks.len()), (&["deploy".to_owned()][..], 0));
}

#[test]
fn ignores_annotations_of_the_object() {
    let forged = json!({"workloads.writgate.dev/decision": "admitted"});
    let line = line(|line| {
        line["annotations"] = json!({});
        line["requestObject"] = json!({"metadata": {"annotations": forged}, "annotations": forged});
    });
    assert_eq!(rows(&[line]), []);
}

#[test]
fn reports_a_long_request_once() {
    let stage = |stage: &str| line(|line| line["stage"] = stage.into());
    assert_eq!(rows(&[stage("RequestReceived")]).len(), 0);
    assert_eq!(rows(&[stage("ResponseStarted"), stage("ResponseComplete")]).len(), 1);
    assert_eq!(rows(&[stage("ResponseComplete")]).len(), 1);
}

#[test]
fn a_repeated_audit_id_hides_no_decision() {
    let other = line(|line| line["annotations"]["workloads.writgate.dev/decision-id"] = "d-2".into());
    let began = line(|line| line["stage"] = "ResponseStarted".into());
    assert_eq!(rows(&[began, other]).len(), 2);
}

#[test]
fn a_decision_at_an_unknown_stage_cannot_be_read() {
    let line = line(|line| line["stage"] = "responseComplete".into());
    assert!(AuditLog::default().read(&line).is_err_and(|why| why.contains("its stage is")));
}

fn remarks(change: impl FnOnce(&mut Value)) -> Vec<String> {
    let [row] = &rows(&[line(change)])[..] else { panic!("one decision") };
    row.remarks.clone()
}

#[test]
fn a_connection_is_never_a_dry_run() {
    let uri = "/api/v1/namespaces/payments/pods/orders/exec?command=sh&dryRun=All";
    for subresource in CONNECTIONS {
        let remarks = remarks(|line| {
            line["requestURI"] = uri.into();
            line["objectRef"]["subresource"] = subresource.into();
        });
        assert_eq!(remarks, [""; 0], "{subresource}");
    }
    assert_eq!(remarks(|line| line["requestURI"] = uri.into()), ["dry run"]);
}

#[test]
fn the_body_of_a_delete_replaces_its_query() {
    let uri = "/apis/apps/v1/namespaces/payments/deployments/orders";
    let dry = json!({"kind": "DeleteOptions", "apiVersion": "apps/v1", "dryRun": ["All"]});
    let real = json!({"kind": "DeleteOptions", "apiVersion": "apps/v1", "dryRun": null});
    for (level, query, body, expected) in [
        ("Request", "", Some(&dry), &["dry run"][..]),
        ("RequestResponse", "?dryRun=All", Some(&dry), &["dry run"]),
        ("Request", "?dryRun=All", Some(&real), &[]),
        ("Request", "?dryRun=All", None, &["dry run"]),
        ("Request", "", None, &[]),
        ("Metadata", "?dryRun=All", None, &["dry run?"]),
        ("Metadata", "", None, &["dry run?"]),
    ] {
        for verb in ["delete", "deletecollection"] {
            let change = |line: &mut Value| {
                line["verb"] = verb.into();
                line["level"] = level.into();
                line["requestURI"] = format!("{uri}{query}").into();
                line["requestObject"] = json!(body);
            };
            assert_eq!(remarks(change), expected, "{level} {verb} {query} {body:?}");
        }
    }
    let truncated = remarks(|line| {
        line["verb"] = "delete".into();
        line["level"] = "Request".into();
        line["annotations"][TRUNCATED] = "true".into();
    });
    assert_eq!(truncated, ["dry run?"]);
    let of_an_object = remarks(|line| line["requestObject"] = dry.clone());
    assert_eq!(of_an_object, [""; 0], "only a DELETE has options as its body");
}

#[test]
fn the_webhooks_word_about_a_dry_run_comes_first() {
    for (word, uri, expected) in [("true", "/x", &["dry run"][..]), ("false", "/x?dryRun=All", &[])] {
        for verb in ["create", "delete"] {
            let remarks = remarks(|line| {
                line["verb"] = verb.into();
                line["requestURI"] = uri.into();
                line["annotations"]["workloads.writgate.dev/dry-run"] = word.into();
            });
            assert_eq!(remarks, expected, "{word} {verb}");
        }
    }
}

#[test]
fn reports_the_impersonator_and_a_later_refusal() {
    let impersonated = line(|line| {
        line["impersonatedUser"] = json!({"username": "carol"});
        line["responseStatus"]["code"] = 409.into();
        line["requestURI"] = "/x?dryRun=All".into();
    });
    let [row] = &rows(&[impersonated])[..] else { panic!("one decision") };
    assert_eq!((&*row.initiator, &*row.impersonator), ("carol", "alice"));
    assert_eq!(row.remarks, ["dry run", "but answered 409"]);
}

#[test]
fn finds_a_decision_and_a_dry_run_in_every_spelling() {
    let text = String::from_utf8(line(|_| ())).unwrap();
    for spelled in [".writgate.dev\\/decision\"", ".writgat\\u0065.dev\\u002Fdecision\""] {
        let line = text.replace(".writgate.dev/decision\"", spelled).into_bytes();
        assert!(line != text.as_bytes() && rows(&[line]).len() == 1, "{spelled}");
    }
    for query in
        ["dryRun=All", "a=b&dryRun=All", "dry%52un=All", "%64%72%79%52%75%6e=%41ll", "dryRun=All&dryRun=All", "dryRun"]
    {
        assert!(has_dry_run(&format!("/api/v1/x?{query}")), "{query}");
    }
    for query in [
        "",
        "a=b",
        "dryrun=All",
        "dry%2552un=All",
        "a=dryRun=All",
        "a=b%26dryRun=All",
        "dry+Run=All",
        "dryRun%20=All",
        "dryRun=%zz",
        "dryRun=All;a=b",
        "a;dryRun=All",
    ] {
        assert!(!has_dry_run(&format!("/api/v1/x?{query}")), "{query}");
    }
    assert!(!has_dry_run("/api/v1/dryRun=All") && !has_dry_run("/api/v1/x%3FdryRun=All"));
}

#[test]
fn an_old_webhook_does_not_say_whether_an_approval_was_required() {
    let line = line(|line| {
        line["annotations"].as_object_mut().unwrap().remove("workloads.writgate.dev/approval-required");
    });
    assert_eq!(rows(&[line])[0].required, Required::Unknown);
}

#[test]
fn fails_on_a_decision_that_cannot_be_read() {
    let mut torn = line(|_| ());
    torn.truncate(torn.len() - 3);
    assert!(AuditLog::default().read(&torn).is_err());
    assert!(AuditLog::default().read(&line(|line| line["apiVersion"] = "audit.k8s.io/v2".into())).is_err());
}

#[test]
fn a_claimed_initiator_is_told_apart_from_the_initiator() {
    let name = "workloads.writgate.dev/initiated-by";
    let claimed = line(|line| line["annotations"][name] = "Kustomization flux-system/orders".into());
    let row = &rows(&[claimed])[0];
    assert_eq!((&*row.initiator, &*row.claimed_initiators), ("alice", "Kustomization flux-system/orders"));
}
