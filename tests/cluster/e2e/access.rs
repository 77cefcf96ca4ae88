//! The rights of the chart's service account. The other tests show that they suffice; this one that there are no others.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use writgate_testing::harness::{Test, tests};
use writgate_testing::{Installation, SYSTEM_NAMESPACE, User};

pub(crate) fn tests() -> Vec<Test<Installation>> {
    tests![the_webhook_has_the_rights_that_it_requires_and_no_others]
}

/// Rights in every namespace, as `verb group/resource`; the core group has no slash.
const EVERYWHERE: &[&str] = &[
    "get namespaces",
    "list namespaces",
    "watch namespaces",
    "create authorization.k8s.io/subjectaccessreviews",
    "create events.k8s.io/events",
    "get events.k8s.io/events",
    "patch events.k8s.io/events",
    "get apps/daemonsets",
    "list apps/daemonsets",
    "watch apps/daemonsets",
    "get apps/deployments",
    "list apps/deployments",
    "watch apps/deployments",
    "get apps/replicasets",
    "list apps/replicasets",
    "watch apps/replicasets",
    "get apps/statefulsets",
    "list apps/statefulsets",
    "watch apps/statefulsets",
    "get batch/cronjobs",
    "list batch/cronjobs",
    "watch batch/cronjobs",
    "get batch/jobs",
    "list batch/jobs",
    "watch batch/jobs",
    "get pods",
    "list pods",
    "get replicationcontrollers",
    "list replicationcontrollers",
    "watch replicationcontrollers",
    "get configmaps",
    "list configmaps",
    "watch configmaps",
    // Old posted requests; a policy permits nothing else.
    "delete configmaps",
    "get admissionregistration.k8s.io/validatingwebhookconfigurations writgate",
    "patch admissionregistration.k8s.io/validatingwebhookconfigurations writgate",
    "watch admissionregistration.k8s.io/validatingwebhookconfigurations writgate",
    // The canary tries to take the governing labels away.
    "patch namespaces writgate-canary",
];

/// Further rights in the system namespace.
const IN_ITS_NAMESPACE: &[&str] = &[
    "create configmaps",
    "delete configmaps",
    "get configmaps",
    "list configmaps",
    "update configmaps",
    "watch configmaps",
    "create secrets",
    "get secrets writgate-ledger",
    "get secrets writgate-webhook-ca",
    "update secrets writgate-webhook-ca",
    "watch secrets writgate-webhook-ca",
    "create coordination.k8s.io/leases",
    "get coordination.k8s.io/leases writgate-webhook",
    "update coordination.k8s.io/leases writgate-webhook",
];

fn the_webhook_has_the_rights_that_it_requires_and_no_others(installation: &Installation) {
    let anybody = installation.plane.service_account(SYSTEM_NAMESPACE, "default");
    let own = |namespace: &str| {
        let (own, common) = (rights(&installation.webhook.identity, namespace), rights(&anybody, namespace));
        own.difference(&common).cloned().collect::<BTreeSet<_>>()
    };
    let set = |rights: &[&str]| rights.iter().map(|&right| right.to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(own("default"), set(EVERYWHERE));
    assert_eq!(own(SYSTEM_NAMESPACE), set(&[EVERYWHERE, IN_ITS_NAMESPACE].concat()));
}

/// The rights of a user in a namespace.
fn rights(user: &User, namespace: &str) -> BTreeSet<String> {
    let question = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace}});
    let ran = user.kubectl_in(&["create", "--validate=false", "-o", "json", "-f", "-"], &question.to_string());
    assert!(ran.ok(), "{ran}");
    let review: Value = serde_json::from_str(&ran.stdout).expect("kubectl prints JSON");
    assert_eq!(review["status"]["incomplete"], false, "{review}");
    let texts = |rule: &Value, name: &str| -> Vec<String> {
        let texts = rule[name].as_array().into_iter().flatten();
        texts.map(|text| text.as_str().expect("text").to_owned()).collect()
    };
    let mut rights = BTreeSet::new();
    for rule in review["status"]["resourceRules"].as_array().expect("rules") {
        for group in texts(rule, "apiGroups") {
            for resource in texts(rule, "resources") {
                for verb in texts(rule, "verbs") {
                    let slash = if group.is_empty() { "" } else { "/" };
                    let names = texts(rule, "resourceNames").join(",");
                    rights.insert(format!("{verb} {group}{slash}{resource} {names}").trim_end().to_owned());
                }
            }
        }
    }
    rights
}
