//! Attempts against the webhook itself: its configuration, its posture, its records, its address, and its callers.

use std::time::Duration;

use axum::http::Request;
use serde_json::{Value, json};

use crate::bypass::case::{PATIENCE, TenantNamespace, row, text};
use writgate_testing::harness::{Test, tests};
use writgate_testing::{Installation, Ran, SYSTEM_NAMESPACE, document, free_port, wait_until};

pub(crate) fn tests() -> Vec<Test<Installation>> {
    tests![
        a_tenant_may_not_write_the_webhook_or_its_posture,
        refuses_a_server_with_another_certificate,
        refuses_changes_while_the_webhook_is_unreachable,
        denies_under_an_incomplete_posture,
        an_admission_is_reported_despite_many_denials,
        escapes_names_and_texts,
        a_deleted_object_leaves_its_records,
        a_forged_review_is_reported_as_not_persisted,
        refuses_impersonation,
        content_that_is_read_later_is_a_documented_limit,
        nodes_and_administrators_are_a_documented_limit,
    ]
}

fn a_tenant_may_not_write_the_webhook_or_its_posture(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "configuration");
    let ignore = json!([{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}]).to_string();
    let system = ["-n", SYSTEM_NAMESPACE];
    let refused = |number, attempt: &str, args: &[&str]| {
        ns.row(number, attempt.to_owned()).tries(|user| user.kubectl(args)).refused("Forbidden");
    };
    let configuration = "validatingwebhookconfiguration/writgate";
    refused(65, "the webhook configuration deleted", &["delete", configuration]);
    refused(
        65,
        "the webhook configuration's `failurePolicy` set to `Ignore`",
        &["patch", configuration, "--type=json", "-p", &ignore],
    );
    row(65, "the webhook configuration changed by a cluster administrator")
        .limit("or remove the webhook configuration");
    let in_system = |args: &[&'static str]| [&system, args].concat();
    refused(66, "the webhook scaled to zero", &in_system(&["scale", "deployment/writgate-webhook", "--replicas=0"]));
    refused(66, "the webhook's certificate deleted", &in_system(&["delete", "secret/writgate-webhook-ca"]));
    refused(
        66,
        "the webhook's Service changed to another target",
        &in_system(&["patch", "service/writgate-webhook", "-p", "{}"]),
    );
    let posture = format!("configmap/posture-{}", ns.environment);
    let delete = [&system[..], &["delete", &posture]].concat();
    refused(68, "the posture deleted", &delete);
    let edit =
        [&system[..], &["patch", &posture, "--type=merge", "-p", "{\"data\": {\"posture.yaml\": \"\"}}"]].concat();
    refused(68, "the posture emptied", &edit);
}

/// Installs a copy of the webhook configuration for one namespace, with another address.
fn redirect(ns: &TenantNamespace<'_>, client: &Value) {
    let mut copy =
        ns.installation.plane.admin.get(&["validatingwebhookconfiguration", "writgate"]).expect("it is installed");
    copy["metadata"] = json!({"name": ns.namespace});
    let webhooks = copy["webhooks"].as_array_mut().expect("webhooks");
    webhooks.retain(|webhook| webhook["name"] == "workloads.writgate.dev");
    webhooks[0]["clientConfig"] = client.clone();
    webhooks[0]["timeoutSeconds"] = json!(2);
    webhooks[0]["namespaceSelector"] = json!({"matchLabels": {"kubernetes.io/metadata.name": ns.namespace}});
    ns.installation.plane.install(&[copy]);
    let probe = ns.approved(&ns.deployment("probe")).to_string();
    wait_until("the API server sends requests to the other address", PATIENCE, || {
        let ran = ns.installation.operator.kubectl_in(&["create", "--dry-run=server", "-f", "-"], &probe);
        (!ran.ok()).then_some(())
    });
}

fn call(installation: &Installation) -> (String, Value) {
    let configuration =
        installation.plane.admin.get(&["validatingwebhookconfiguration", "writgate"]).expect("it is installed");
    let client = configuration["webhooks"][0]["clientConfig"].clone();
    (text(&client["url"]), client)
}

fn refuses_a_server_with_another_certificate(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "impostor");
    let approved = ns.approved(&ns.deployment("orders"));
    let (_, mut client) = call(installation);
    client["caBundle"] = json!(base64_of(&writgate_testing::Authority::new("another").certificate));
    redirect(&ns, &client);
    ns.row(67, "a server at the webhook's address with a certificate of another CA")
        .create(&approved)
        .unanswered("x509");
}

fn refuses_changes_while_the_webhook_is_unreachable(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "nobody");
    let approved = ns.approved(&ns.deployment("orders"));
    redirect(&ns, &json!({"url": format!("https://127.0.0.1:{}/validate", free_port())}));
    ns.row(66, "a change with a correct approval while the webhook is down")
        .create(&approved)
        .unanswered("connection refused");

    let ns = TenantNamespace::new(installation, "silent");
    let approved = ns.approved(&ns.deployment("orders"));
    // The kernel accepts the connection, and no server answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("an address");
    redirect(&ns, &json!({"url": format!("https://{address}/validate")}));
    ns.row(70, "a change with a correct approval while the webhook is too slow")
        .create(&approved)
        .unanswered("failed calling webhook");
    row(66, "controllers and deletions while the webhook is down").shown_by(
        "unchanged",
        "tests/cluster/manifests.rs",
        "a_governed_namespace_can_be_deleted_without_the_webhook",
    );
    row(71, "endless bodies that occupy the webhook, and an ordinary request").shown_by(
        "admitted and recorded",
        "tests/webhook/http.rs",
        "slow_bodies_take_neither_turns_nor_the_memory_of_other_peers",
    );
}

/// A posture in use cannot be deleted, but a namespace can be labelled with the environment of an incomplete posture.
fn denies_under_an_incomplete_posture(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "rules");
    let approved = ns.approved(&ns.deployment("orders"));
    let mut posture = ns.usual_posture();
    posture["environment"] = json!("half");
    posture["reviewerSets"] = json!(["missing"]);
    installation.plane.install(&[document("posture", "posture-half", &posture)]);
    let name = &ns.namespace;
    let ran =
        installation.plane.admin.kubectl(&["label", "--overwrite", "namespace", name, "writgate.dev/environment=half"]);
    assert!(ran.ok(), "{ran}");
    wait_until("the label is known", PATIENCE, || {
        let ran = installation.operator.kubectl_in(&["create", "--dry-run=server", "-f", "-"], &approved.to_string());
        ran.stderr.contains("PostureInvalid").then_some(())
    });
    ns.row(68, "a change while the reviewers that the posture names do not exist")
        .create(&approved)
        .denied("PostureInvalid");
    row(69, "a revoked spec applied before a replica has learned of the revocation")
        .limit("A revocation is in force once a replica has learned of it");
}

fn an_admission_is_reported_despite_many_denials(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "flood");
    let orders = ns.deployment("orders");
    let flood = ns.row(74, "an admission after a hundred simultaneous denials: its Event does not wait for theirs");
    let list = json!({"apiVersion": "v1", "kind": "List", "items": (0..100).map(|n| ns.deployment(&format!("x{n}"))).collect::<Vec<_>>()});
    let approved = ns.approved(&orders);
    let admitted = flood.tries(|user| {
        let ran = user.create(&list);
        assert!(!ran.ok(), "{ran}");
        user.create(&approved)
    });
    admitted.admitted();
    wait_until("the Event of the admission", Duration::from_secs(10), || {
        ns.list("events.events.k8s.io").iter().any(|event| event["reason"] == "Admitted").then_some(())
    });
}

fn escapes_names_and_texts(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "texts");
    let name = "n".repeat(240);
    ns.row(75, "a name of 240 characters").create(&ns.approved(&ns.deployment(&name))).admitted();
    wait_until("the Event exists", PATIENCE, || {
        let events = ns.list("events.events.k8s.io");
        events.iter().any(|event| event["regarding"]["name"] == name.as_str()).then_some(())
    });
    let mut orders = ns.deployment("orders");
    orders["metadata"]["annotations"] = json!({writgate_testing::APPROVAL: "\u{1b}[2Jnothing to see\u{202e}"});
    let attempt = ns.row(75, "terminal escapes in an approval").create(&orders);
    assert!(!attempt.ran.stderr.contains(['\u{1b}', '\u{202e}']), "{:?}", attempt.ran.stderr);
    attempt.denied("MalformedApproval");
}

fn a_deleted_object_leaves_its_records(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "gone");
    let approved = ns.approved(&ns.deployment("orders"));
    let attempt = ns.row(76, "an object created and deleted at once: the records remain").tries(|user| {
        let ran = user.create(&approved);
        user.kubectl(&["delete", "deployment/orders", "-n", &ns.namespace]);
        ran
    });
    let record = attempt.admitted();
    let key = "workloads.writgate.dev/decision-id";
    wait_until("the API server's audit log has it", PATIENCE, || {
        (!installation.plane.audit_log(|line| line["annotations"][key] == record["id"]).is_empty()).then_some(())
    });
}

/// Everyone who reaches the webhook's port can send a review. An Event says *admitted* only if the object exists in the API.
fn a_forged_review_is_reported_as_not_persisted(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "forged");
    let mut object = ns.approved(&ns.deployment("orders"));
    object["metadata"]["uid"] = json!("0b0c1d6a-0000-4000-8000-000000000000");
    let live: Value = serde_json::from_str(
        &installation
            .plane
            .admin
            .kubectl_in(&["create", "--dry-run=server", "-o", "json", "-f", "-"], &object.to_string())
            .stdout,
    )
    .expect("kubectl prints JSON");
    let kind = json!({"group": "apps", "version": "v1", "kind": "Deployment"});
    let resource = json!({"group": "apps", "version": "v1", "resource": "deployments"});
    let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "0b0c1d6a-0000-4000-8000-000000000001", "kind": kind, "requestKind": kind, "resource": resource,
        "requestResource": resource, "name": "orders", "namespace": ns.namespace, "operation": "CREATE",
        "userInfo": {"username": "alice", "groups": []}, "object": live, "oldObject": null, "dryRun": false,
        "options": {"apiVersion": "meta.k8s.io/v1", "kind": "CreateOptions"}}});
    let (url, client) = call(installation);
    let authorities = authorities(&client);
    let attempt =
        ns.row(77, "an AdmissionReview sent directly to the webhook, as Alice: no Event says that it was admitted");
    let attempt = attempt.by(&installation.operator).tries(|_| {
        let answer: Value = installation.plane.block_on(async {
            let uri: axum::http::Uri = url.parse().expect("a URL");
            let mut config =
                kube::Config::new(format!("https://{}", uri.authority().expect("a host")).parse().expect("a URL"));
            config.root_cert = Some(authorities.clone());
            let client = kube::Client::try_from(config).expect("a client");
            let request = Request::post(uri.path()).header("content-type", "application/json");
            client.request(request.body(review.to_string().into_bytes()).expect("a request")).await.expect("an answer")
        });
        Ran { code: Some(0), stdout: answer.to_string(), stderr: String::new() }
    });
    let event = wait_until("the Event exists", PATIENCE, || ns.list("events.events.k8s.io").pop());
    assert_eq!(event["reason"], "NotPersisted", "{event}");
    assert!(ns.live("deployment/orders").is_none());
    attempt.unpersisted();
}

fn refuses_impersonation(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "name");
    let orders = ns.deployment("orders");
    let as_user = |user: &str| format!("--as={user}");
    let own = format!("system:serviceaccount:{}:default", ns.namespace);
    ns.row(78, "impersonating a service account of the namespace, which `edit` permits, without an approval")
        .kubectl_in(&["create", "--validate=false", "-f", "-", &as_user(&own)], &orders.to_string())
        .refused("Forbidden");
    for (attempt, user) in [
        ("impersonating the GitOps controller's service account", "system:serviceaccount:gitops:applier"),
        ("impersonating the Deployment controller", "system:serviceaccount:kube-system:deployment-controller"),
        ("impersonating the webhook", "system:serviceaccount:writgate-system:writgate-webhook"),
        ("impersonating the requester, Alice", "alice"),
    ] {
        ns.row(78, attempt)
            .kubectl_in(&["create", "--validate=false", "-f", "-", &as_user(user)], &orders.to_string())
            .refused("Forbidden");
    }
    // A service account with the `edit` role is decided and recorded under its own name.
    let account = format!("--serviceaccount={}:default", ns.namespace);
    ns.arrange(&["create", "rolebinding", "deployer", "--clusterrole=edit", &account]);
    let account = installation.plane.service_account(&ns.namespace, "default");
    wait_until("the API server knows the account's rights", PATIENCE, || {
        account.kubectl(&["auth", "can-i", "create", "deployments", "-n", &ns.namespace]).ok().then_some(())
    });
    ns.row(78, "impersonating a service account with `edit`, with an approval: recorded under the account's name")
        .by(&account)
        .tries(|_| {
            installation.tenant.kubectl_in(&["apply", "-f", "-", &as_user(&own)], &ns.approved(&orders).to_string())
        })
        .admitted();
    row(78, "which person impersonated the service account").limit("An API user name is not a person");
}

fn content_that_is_read_later_is_a_documented_limit(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "content");
    ns.arrange(&["create", "configmap", "settings", "--from-literal=mode=good"]);
    let mut orders = ns.deployment("orders");
    orders["spec"]["template"]["spec"]["containers"][0]["envFrom"] = json!([{"configMapRef": {"name": "settings"}}]);
    ns.runs(&orders);
    let content = "Content that a Pod reads at run time (ConfigMaps, Secrets, volumes, the network) is not in the hash";
    ns.row(48, "content changed in a ConfigMap that an approved Deployment reads")
        .patch("configmap/settings", "merge", &json!({"data": {"mode": "evil"}}))
        .limit(content);
    row(49, "content of a volume, or behind a Service").limit(content);
    row(50, "the permissions of the service account, or another account created under its name").limit(content);
}

fn nodes_and_administrators_are_a_documented_limit(_: &Installation) {
    for attempt in ["a static Pod on a node", "a write to etcd", "root on a node", "a cluster administrator"] {
        row(79, attempt).limit("Node root, etcd and cluster administrators are outside the model");
    }
}

fn base64_of(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

/// The certificates of an entry's `caBundle`, in DER.
fn authorities(client: &Value) -> Vec<Vec<u8>> {
    use base64::Engine as _;
    use rustls::pki_types::{CertificateDer, pem::PemObject as _};
    let bundle = base64::engine::general_purpose::STANDARD.decode(text(&client["caBundle"])).expect("base64");
    CertificateDer::pem_slice_iter(&bundle).map(|certificate| certificate.expect("PEM").to_vec()).collect()
}
