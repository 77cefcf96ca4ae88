//! What the record of a decision says of the request.

use serde_json::{Value, json};
use writgate_core::record::Decision;

use crate::decision::case::Case;

#[test]
fn a_record_names_the_request_and_its_object() {
    let record = Case::deployment().decide().record;
    assert_eq!(record.request_uid.as_deref(), Some("86048ed0-0422-4d04-bdcd-a1cfb1b9cab6"));
    assert_eq!(record.operation.as_deref(), Some("CREATE"));
    assert!(!record.dry_run);
    assert_eq!(record.initiator.expect("an initiator").username, "alice");
    let object = record.object.expect("an object");
    assert_eq!(
        (&*object.api_version, &*object.kind, &*object.namespace, &*object.name, object.uid.as_deref()),
        ("apps/v1", "Deployment", "payments", "orders", Some("873ee009"))
    );
}

#[test]
fn a_name_that_the_api_server_has_still_to_generate_ends_in_a_star() {
    let recorded = |name: &str, generate_name: &str| {
        let case = Case::replay().with(|c| {
            c.request["name"] = "".into();
            c.object()["metadata"]["name"] = name.into();
            c.object()["metadata"]["generateName"] = generate_name.into();
        });
        case.decide().record.object.expect("an object").name
    };
    assert_eq!(recorded("", "replay-"), "replay-*");
    assert_eq!(recorded("replay-1", "replay-"), "replay-1");
    assert_eq!(recorded("", ""), "");
}

/// The claims in the record of a Deployment with these labels and Argo CD's annotation.
fn claimed(labels: &Value, tracking_id: Option<&str>) -> Vec<String> {
    let case = Case::deployment().with(|c| {
        c.object()["metadata"]["labels"] = labels.clone();
        if let Some(id) = tracking_id {
            c.annotate("argocd.argoproj.io/tracking-id", id);
        }
    });
    case.expect("admitted");
    case.decide().record.initiated_by.iter().map(ToString::to_string).collect()
}

#[test]
fn a_record_names_the_flux_or_argo_cd_object_that_the_object_claims() {
    let kustomization = json!({"kustomize.toolkit.fluxcd.io/name": "orders",
        "kustomize.toolkit.fluxcd.io/namespace": "flux-system", "helm.sh/chart": "orders-0.2.0"});
    assert_eq!(claimed(&kustomization, None), ["Kustomization flux-system/orders"]);
    let release = json!({"helm.toolkit.fluxcd.io/name": "orders", "helm.toolkit.fluxcd.io/namespace": "flux-system"});
    assert_eq!(claimed(&release, None), ["HelmRelease flux-system/orders"]);
    let mut with_chart = release;
    with_chart["helm.sh/chart"] = json!("orders-0.2.0");
    assert_eq!(claimed(&with_chart, None), ["HelmRelease flux-system/orders at orders-0.2.0"]);

    let of_application = |text: &str| claimed(&json!({}), Some(text));
    assert_eq!(of_application("orders:apps/Deployment:payments/orders"), ["Application orders"]);
    assert_eq!(of_application("teams_orders:apps/Deployment:payments/orders"), ["Application teams/orders"]);
    let label = json!({"argocd.argoproj.io/instance": "teams_orders"});
    assert_eq!(claimed(&label, None), ["Application teams/orders"]);
    assert_eq!(claimed(&label, Some("teams_orders:apps/Deployment:payments/orders")), ["Application teams/orders"]);
    assert_eq!(claimed(&label, Some("other:apps/Deployment:payments/orders")).len(), 2, "two claims are two claims");
}

#[test]
fn labels_that_name_no_object_are_no_claim() {
    for labels in [
        json!({}),
        json!({"app.kubernetes.io/instance": "orders", "helm.sh/chart": "orders-0.2.0"}),
        json!({"kustomize.toolkit.fluxcd.io/namespace": "flux-system"}),
        json!({"kustomize.toolkit.fluxcd.io/name": ""}),
        json!({"argocd.argoproj.io/instance": "teams_"}),
    ] {
        assert_eq!(claimed(&labels, None), [""; 0], "{labels}");
    }
    for id in ["", "orders", ":", "_:", "teams_:apps/Deployment:payments/orders"] {
        assert_eq!(claimed(&json!({}), Some(id)), [""; 0], "{id}");
    }
}

#[test]
fn a_deletion_is_recorded_with_the_claim_of_the_deleted_object() {
    let case = Case::deployment().with(|c| {
        c.object()["metadata"]["labels"] = json!({"kustomize.toolkit.fluxcd.io/name": "orders"});
        c.request["operation"] = "DELETE".into();
        c.request["oldObject"] = c.request["object"].take();
        c.signers.clear();
    });
    let mut body: Value = serde_json::from_str(&case.body()).expect("JSON");
    body["request"]["object"] = Value::Null;
    let record = case.decide_body(&body.to_string()).record;
    assert_eq!(record.claimed_initiators(), "Kustomization orders");
}

#[test]
fn a_hostile_claim_is_escaped_and_bounded() {
    let long = "x".repeat(200_000);
    for (hostile, recorded) in [
        ("a\n\u{1b}[31m\u{202e}b:", "Application a\\n\\u{1b}[31m\\u{202e}b"),
        (" orders  by alice:", "Application \\u{20}orders \\u{20}by alice"),
        ("a\u{e9}\u{3164}_\u{2028}:", "Application a\u{e9}\\u{3164}/\\u{2028}"),
    ] {
        assert_eq!(claimed(&json!({}), Some(hostile)), [recorded]);
    }
    for long in [format!("{long}:"), format!("{long}_{long}:"), format!("{}:", "\u{202e}".repeat(50_000))] {
        let [claim] = &claimed(&json!({}), Some(&long))[..] else { panic!("one claim") };
        assert!(claim.len() <= "Application /".len() + 2 * 253 && claim.contains('\u{2026}'), "{}", claim.len());
    }
    // No form of the annotation makes a review malformed.
    for value in [json!(["orders:"]), json!({"orders": ":"}), json!(7), Value::Null] {
        let case = Case::deployment()
            .with(|c| c.object()["metadata"]["annotations"]["argocd.argoproj.io/tracking-id"] = value);
        case.expect("admitted");
        assert_eq!(case.decide().record.initiated_by, []);
    }
}

#[test]
fn a_claim_changes_nothing_else_of_a_decision() {
    let claims = |c: &mut Case| {
        for object in ["object", "oldObject"] {
            if let Some(metadata) = c.request.pointer_mut(&format!("/{object}/metadata")) {
                metadata["labels"]["kustomize.toolkit.fluxcd.io/name"] = json!("alice");
                metadata["labels"]["helm.toolkit.fluxcd.io/name"] = json!("bob");
                metadata["annotations"]["argocd.argoproj.io/tracking-id"] = json!("carol:batch/Job:a/b");
            }
        }
    };
    let unclaimed = |mut decision: Decision| {
        decision.record.initiated_by.clear();
        decision
    };
    let next = |c: &mut Case| c.spec()["template"]["spec"]["containers"][0]["image"] = "ghcr.io/acme/orders:2".into();
    let cases = [
        Case::deployment(),
        Case::deployment().with(|c| c.signers.clear()),
        Case::deployment().with(next),
        Case::deployment().updated(),
        Case::deployment().updated().with(next),
        Case::deployment().with(|c| c.request["userInfo"]["username"] = "bob".into()),
        Case::replay(),
        Case::replay().with(|c| c.signers.truncate(1)),
        Case::dry_run(),
    ];
    for case in cases {
        let with_claims = case.clone().with(claims).decide();
        assert_eq!(with_claims.record.initiated_by.len(), 3);
        assert_eq!(unclaimed(with_claims), case.decide());
    }
}
