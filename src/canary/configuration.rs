//! What a denial cannot show about the webhook configuration: an entry that lets requests through while the webhook is down, or that
//! is missing. `kubectl writgate doctor` compares every field.

use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use kube::Client;
use kube::api::Api;
use writgate_cluster::bounded_request;

/// How long the API server may take.
const ANSWER: Duration = Duration::from_secs(10);
/// The entries that always fail closed. The chart can leave out the others, or set them to `Ignore`.
const CLOSED: [&str; 5] = [
    "workloads.writgate.dev",
    "documents.writgate.dev",
    "bundles.writgate.dev",
    "namespaces.writgate.dev",
    "metadata.writgate.dev",
];

/// Why the webhook configuration `name` protects less than the chart's, if it does.
pub(super) async fn weakness(client: &Client, name: &str) -> Result<Option<String>, String> {
    let api: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    let found = bounded_request::send(ANSWER, api.get_opt(name)).await;
    let found = found.map_err(|error| format!("ValidatingWebhookConfiguration {name} cannot be read: {error}"))?;
    Ok(match found {
        None => Some(format!("ValidatingWebhookConfiguration {name} does not exist")),
        Some(found) => weakened(&found).map(|why| format!("ValidatingWebhookConfiguration {name}: {why}")),
    })
}

fn weakened(configuration: &ValidatingWebhookConfiguration) -> Option<String> {
    let entries = configuration.webhooks.as_deref().unwrap_or_default();
    CLOSED.iter().find_map(|name| {
        let Some(entry) = entries.iter().find(|entry| entry.name == *name) else {
            return Some(format!("entry {name} is missing"));
        };
        // The API server's default is `Fail`.
        let policy = entry.failure_policy.as_deref().unwrap_or("Fail");
        if policy != "Fail" {
            return Some(format!("failurePolicy of entry {name} is {policy}, expected Fail"));
        }
        let has_rules = entry.rules.as_ref().is_some_and(|rules| !rules.is_empty());
        (!has_rules).then(|| format!("entry {name} has no rules"))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn chart() -> Value {
        let entry = |name: &&str| {
            json!({"name": name, "admissionReviewVersions": ["v1"], "sideEffects": "None", "clientConfig": {},
                "failurePolicy": "Fail", "rules": [{"operations": ["CREATE"]}]})
        };
        json!({"metadata": {"name": "writgate"}, "webhooks": CLOSED.iter().map(entry).collect::<Vec<_>>()})
    }

    fn found(change: impl FnOnce(&mut Value)) -> Option<String> {
        let mut configuration = chart();
        change(&mut configuration);
        weakened(&serde_json::from_value(configuration).expect("a configuration"))
    }

    #[test]
    fn an_entry_that_is_missing_open_or_empty_is_named() {
        assert_eq!(found(|_| {}), None);
        let why = found(|it| it["webhooks"][0]["failurePolicy"] = "Ignore".into()).expect("weaker");
        assert_eq!(why, "failurePolicy of entry workloads.writgate.dev is Ignore, expected Fail");
        let why = found(|it| it["webhooks"][3]["rules"] = json!([])).expect("weaker");
        assert_eq!(why, "entry namespaces.writgate.dev has no rules");
        let why = found(|it| drop(it["webhooks"].as_array_mut().map(Vec::pop))).expect("weaker");
        assert_eq!(why, "entry metadata.writgate.dev is missing");
        assert!(found(|it| it["webhooks"] = Value::Null).is_some());
    }
}
