//! Posted requests: a tenant may write any ConfigMap in the namespace, and so may post junk.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams, PostParams};
use serde_json::{Value, json};

use crate::bypass::case::TenantNamespace;
use writgate_testing::harness::{Test, tests};
use writgate_testing::{Installation, detached, posted, request_file};

pub(crate) fn tests() -> Vec<Test<Installation>> {
    tests![
        guards_what_is_posted,
        a_thousand_requests_are_bounded_and_delay_no_workload,
        the_webhooks_account_deletes_no_other_config_map
    ]
}

/// The most requests in a namespace, as the documentation says it.
const MOST: usize = 200;
/// The largest data of a ConfigMap that the API server accepts.
const LARGEST_CONFIG_MAP: usize = 1 << 20;

fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().expect("a name").to_owned()
}

fn guards_what_is_posted(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "posted");
    let tenant = installation.tenant.name.clone();
    let file = |requester: &str| request_file(&ns.namespace, requester, "orders");
    let guarded = |number, attempt: &str, object: &Value| {
        ns.row(number, attempt).create(object).guarded("RequestInvalid");
        assert_eq!(ns.live(&format!("configmap/{}", name(object))), None, "{attempt}");
    };

    guarded(108, "a posted request that names another requester", &posted(&ns.namespace, &file("alice")));
    let good = posted(&ns.namespace, &file(&tenant));
    let mut renamed = good.clone();
    renamed["metadata"]["name"] = json!("request-00000000000000000000");
    guarded(108, "a posted request whose name is not that of its content", &renamed);
    let mut mutable = good.clone();
    mutable["immutable"] = json!(false);
    guarded(108, "a posted request that could be changed", &mutable);
    let mut unlabelled = good.clone();
    unlabelled["metadata"]["labels"] = json!({});
    ns.arrange_as_tenant(&unlabelled);
    let target = format!("configmap/{}", name(&good));
    ns.row(108, "the label of a request added to a ConfigMap that exists")
        .kubectl(&["label", &target, "writgate.dev/kind=request"])
        .guarded("RequestInvalid");
    ns.arrange(&["delete", &target]);
    ns.arrange_as_tenant(&good);
    let records = installation
        .webhook
        .records(|record| record["object"]["name"] == name(&good).as_str() && record["decision"] == "admitted");
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(records[0]["initiator"]["username"], tenant.as_str(), "the record names who posted it");
    ns.row(108, "the content of a posted request changed")
        .patch(&target, "merge", &json!({"data": {"request.json": "{}"}}))
        .refused("Invalid");

    let mut large = file(&tenant);
    let others = large.to_string().len() + r#","notNeeded":[""]"#.len();
    large["notNeeded"] = json!(["x".repeat(LARGEST_CONFIG_MAP - others)]);
    assert_eq!(large.to_string().len(), LARGEST_CONFIG_MAP);
    guarded(109, "a posted request of 1 MiB", &posted(&ns.namespace, &large));
}

/// The number of posted requests that the API server has.
async fn number(config_maps: &Api<ConfigMap>) -> usize {
    let requests = ListParams::default().labels("writgate.dev/kind=request");
    config_maps.list_metadata(&requests).await.expect("a tenant may list ConfigMaps").items.len()
}

fn a_thousand_requests_are_bounded_and_delay_no_workload(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "thousand");
    let tenant = &installation.tenant;
    let one = |index: usize| {
        let mut file = request_file(&ns.namespace, &tenant.name, "orders");
        file["reason"] = json!(format!("CHG-{index}"));
        posted(&ns.namespace, &file)
    };
    // The API client, since kubectl takes about a hundred milliseconds for each.
    let (accepted, stored) = ns.installation.plane.block_on(async {
        let config_maps: Api<ConfigMap> = Api::namespaced(tenant.client().await, &ns.namespace);
        let mut accepted = 0;
        for index in 0..1000 {
            let object = serde_json::from_value(one(index)).expect("a ConfigMap");
            match config_maps.create(&PostParams::default(), &object).await {
                Ok(_) => accepted += 1,
                Err(kube::Error::Api(status)) if status.message.contains("RequestInvalid") => {}
                Err(other) => panic!("{other}"),
            }
        }
        (accepted, number(&config_maps).await)
    });
    // The webhook counts by a watch, which is some milliseconds late.
    assert_eq!(accepted, stored);
    assert!((MOST..MOST + 20).contains(&stored), "{stored}");
    ns.row(110, "another posted request after the 200 that a namespace may have")
        .create(&one(1000))
        .guarded("RequestInvalid");

    let orders = ns.deployment("orders");
    ns.row(110, "a workload without an approval, in a namespace full of posted requests")
        .create(&orders)
        .denied("ApprovalRequired");
    ns.arrange_as_tenant(&detached(&ns.namespace, "orders", &ns.signed_but(&orders, |_| {})));
    ns.row(110, "a workload with an approval, in a namespace full of posted requests").create(&orders).admitted();
}

/// RBAC cannot select by label, so the account has the right to delete every ConfigMap.
fn the_webhooks_account_deletes_no_other_config_map(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "confined");
    let account = &installation.webhook.identity;
    let plain = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "plain"}, "data": {"a": "b"}});
    ns.arrange_as_tenant(&plain);
    ns.arrange_as_tenant(&detached(&ns.namespace, "approval", "{}"));
    for (what, target) in [("a ConfigMap", "configmap/plain"), ("a detached approval", "configmap/approval")] {
        ns.row(111, format!("{what} deleted, with the token of the webhook's service account"))
            .by(account)
            .kubectl(&["delete", target])
            .guarded_by_policy("requests.writgate.dev");
        assert!(ns.live(target).is_some(), "{target}");
    }
    let elsewhere = installation.plane.namespace("elsewhere");
    let request = posted(&elsewhere, &request_file(&elsewhere, "admin", "orders"));
    assert!(installation.plane.admin.create(&request).ok());
    ns.row(111, "a posted request in an ungoverned namespace deleted, with the token of the webhook's service account")
        .by(account)
        .tries(|user| user.kubectl(&["delete", "configmap", &name(&request), "-n", &elsewhere]))
        .guarded_by_policy("requests.writgate.dev");
    let request = posted(&ns.namespace, &request_file(&ns.namespace, &installation.tenant.name, "orders"));
    ns.arrange_as_tenant(&request);
    let ran = account.kubectl(&["delete", "configmap", &name(&request), "-n", &ns.namespace]);
    assert!(ran.ok(), "a sweep can delete a request: {ran}");
}
