//! What a denial cannot show about the webhook configuration. An entry that is missing, or that lets requests through while the
//! webhook is down, counts as an undenied canary. Every other difference from the rendered entries is reported by itself. `kubectl
//! writgate doctor` names the field.

use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject};
use serde_json::Value;
use writgate_cluster::bounded_request;
use writgate_cluster::webhook_configuration::{RenderedEntry, differences};

/// How long the API server may take.
const ANSWER: Duration = Duration::from_secs(10);
/// The entries that always fail closed. The chart can leave out the others, or set them to `Ignore`.
const CLOSED: [&str; 6] = [
    "workloads.writgate.dev",
    "documents.writgate.dev",
    "bundles.writgate.dev",
    "namespaces.writgate.dev",
    "requests.writgate.dev",
    "metadata.writgate.dev",
];

/// The webhook configuration that the chart rendered.
pub struct Expected {
    /// Its name.
    pub name: String,
    /// Its entries. Without any, they are not compared.
    pub entries: Vec<RenderedEntry>,
}

/// What the live webhook configuration is like.
pub(super) struct Live {
    /// Why it protects less than the chart's, whatever was rendered.
    pub(super) weakness: Option<String>,
    /// What distinguishes it from what was rendered. `None`: that is not known.
    pub(super) differences: Option<Vec<String>>,
}

impl Expected {
    /// Reads and compares the live configuration.
    pub(super) async fn read(&self, client: &Client) -> Result<Live, String> {
        let name = &self.name;
        let kind = ApiResource::erase::<ValidatingWebhookConfiguration>(&());
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &kind);
        let found = bounded_request::send(ANSWER, api.get_opt(name)).await;
        let found = found.map_err(|error| format!("ValidatingWebhookConfiguration {name} cannot be read: {error}"))?;
        Ok(self.compare(found.map(|found| found.data).as_ref()))
    }

    fn compare(&self, found: Option<&Value>) -> Live {
        let weakness = match found {
            None => Some("it does not exist".to_owned()),
            Some(found) => weakened(found),
        };
        let differences = (!self.entries.is_empty()).then(|| differences(&self.entries, found.unwrap_or(&Value::Null)));
        let weakness = weakness.map(|why| format!("ValidatingWebhookConfiguration {}: {why}", self.name));
        Live { weakness, differences }
    }
}

fn weakened(configuration: &Value) -> Option<String> {
    let entries = || configuration["webhooks"].as_array().into_iter().flatten();
    CLOSED.iter().find_map(|name| {
        let Some(entry) = entries().find(|entry| entry["name"] == *name) else {
            return Some(format!("entry {name} is missing"));
        };
        // The API server's default is `Fail`.
        let policy = entry["failurePolicy"].as_str().unwrap_or("Fail");
        if policy != "Fail" {
            return Some(format!("failurePolicy of entry {name} is {policy}, expected Fail"));
        }
        let has_rules = entry["rules"].as_array().is_some_and(|rules| !rules.is_empty());
        (!has_rules).then(|| format!("entry {name} has no rules"))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

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
        weakened(&configuration)
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

    #[test]
    fn what_was_not_rendered_is_not_compared() {
        let rendered = chart();
        let entries = rendered["webhooks"].as_array().expect("entries").iter().map(RenderedEntry::of).collect();
        let of = |entries: Vec<RenderedEntry>| Expected { name: "writgate".to_owned(), entries };
        let mut wider = chart();
        wider["webhooks"][0]["rules"] = json!([{"operations": ["CREATE", "UPDATE"]}]);
        let expected = of(entries);
        assert_eq!(expected.compare(Some(&rendered)).differences, Some(Vec::new()));
        let live = expected.compare(Some(&wider));
        assert_eq!((live.weakness, live.differences.map(|found| found.len())), (None, Some(1)));
        let gone = expected.compare(None);
        assert_eq!(gone.weakness.as_deref(), Some("ValidatingWebhookConfiguration writgate: it does not exist"));
        assert_eq!(gone.differences.map(|found| found.len()), Some(CLOSED.len()));
        assert_eq!(of(Vec::new()).compare(Some(&wider)).differences, None);
    }
}
