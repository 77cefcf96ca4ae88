//! The entries of a webhook configuration, compared with those that the chart rendered.
//!
//! The chart passes a digest of each entry to the webhook in the arguments of its Deployment. Whoever changes only the webhook
//! configuration therefore does not change what is expected. `caBundle` is not part of a digest, because the webhook, cert-manager
//! and others write it.

use std::str::FromStr;

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use writgate_core::encoding::hex;

/// The argument of the webhook with a [`RenderedEntry`].
pub const FLAG: &str = "--webhook-entry";

/// An entry that the chart rendered: `NAME=sha256:DIGEST`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenderedEntry {
    name: String,
    digest: [u8; 32],
}

impl RenderedEntry {
    /// The rendered entry that a live `entry` is equal to.
    #[must_use]
    pub fn of(entry: &Value) -> Self {
        Self { name: name(entry).to_owned(), digest: digest(entry) }
    }
}

impl FromStr for RenderedEntry {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once("=sha256:").filter(|(name, _)| !name.is_empty());
        let entry = parts.and_then(|(name, digest)| Some(Self { name: name.to_owned(), digest: hex::decode(digest)? }));
        entry.ok_or_else(|| "expected NAME=sha256: and 64 lower-case hexadecimal digits".to_owned())
    }
}

impl std::fmt::Display for RenderedEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}=sha256:{}", self.name, hex::encode(&self.digest))
    }
}

/// What distinguishes the entries of `configuration` from `rendered`, one text for each entry.
#[must_use]
pub fn differences(rendered: &[RenderedEntry], configuration: &Value) -> Vec<String> {
    let found: Vec<&Value> = configuration["webhooks"].as_array().into_iter().flatten().collect();
    let mut differences = Vec::new();
    for expected in rendered {
        match found.iter().find(|entry| name(entry) == expected.name) {
            None => differences.push(format!("entry {} is missing", expected.name)),
            Some(entry) if digest(entry) != expected.digest => {
                differences.push(format!("entry {} is not as the chart rendered it", expected.name));
            }
            Some(_) => {}
        }
    }
    for entry in found {
        if !rendered.iter().any(|expected| expected.name == name(entry)) {
            differences.push(format!("entry {} is not one of the chart's", name(entry)));
        }
    }
    differences
}

fn name(entry: &Value) -> &str {
    entry["name"].as_str().unwrap_or_default()
}

/// The digest of an entry as Helm computes it: of its JSON with sorted names, as Go writes it. The chart renders every field that
/// the API server would fill in, except for the selectors that select everything.
fn digest(entry: &Value) -> [u8; 32] {
    let mut entry = entry.clone();
    if let Some(client) = entry.get_mut("clientConfig").and_then(Value::as_object_mut) {
        client.remove("caBundle");
    }
    if let Some(fields) = entry.as_object_mut() {
        fields.retain(|field, value| {
            !(field.ends_with("Selector") && value.as_object().is_some_and(serde_json::Map::is_empty))
        });
    }
    let mut text = entry.to_string();
    // Outside of strings, JSON has none of these characters.
    for (character, escaped) in
        [('<', "\\u003c"), ('>', "\\u003e"), ('&', "\\u0026"), ('\u{2028}', "\\u2028"), ('\u{2029}', "\\u2029")]
    {
        text = text.replace(character, escaped);
    }
    Sha256::digest(text).into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use writgate_core::encoding::read_yaml;

    use super::*;

    /// The configuration and the arguments that the chart renders with its default values.
    fn rendered() -> (Value, Vec<RenderedEntry>) {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../manifests/writgate.yaml");
        let objects = read_yaml(&std::fs::read_to_string(path).expect("text")).expect("YAML");
        let of = |kind: &str| objects.iter().find(|object| object["kind"] == kind).expect("it is rendered").clone();
        let container = &of("Deployment")["spec"]["template"]["spec"]["containers"][0];
        let arguments = container["args"].as_array().expect("arguments").iter().filter_map(Value::as_str);
        let entries = arguments.filter_map(|argument| argument.strip_prefix(FLAG)?.strip_prefix('='));
        (of("ValidatingWebhookConfiguration"), entries.map(|entry| entry.parse().expect("an entry")).collect())
    }

    #[test]
    fn the_digests_that_helm_computes_are_those_of_the_live_entries() {
        let (mut configuration, entries) = rendered();
        assert!(entries.len() > 6, "{entries:?}");
        assert_eq!(differences(&entries, &configuration), [""; 0]);
        // What the API server fills in, and what the webhook writes.
        for entry in configuration["webhooks"].as_array_mut().expect("entries") {
            entry["clientConfig"]["caBundle"] = "QQ==".into();
            for selector in ["namespaceSelector", "objectSelector"] {
                if entry[selector].is_null() {
                    entry[selector] = json!({});
                }
            }
        }
        assert_eq!(differences(&entries, &configuration), [""; 0]);
    }

    #[test]
    fn every_change_of_an_entry_is_a_difference() {
        type Change = fn(&mut Value);
        let changes: [Change; 10] = [
            |entry| entry["failurePolicy"] = "Ignore".into(),
            |entry| entry["matchPolicy"] = "Exact".into(),
            |entry| entry["timeoutSeconds"] = 1.into(),
            |entry| entry["objectSelector"] = json!({"matchLabels": {"a": "b"}}),
            |entry| {
                let expressions = entry["namespaceSelector"]["matchExpressions"].as_array_mut().expect("a list");
                expressions.push(json!({"key": "a", "operator": "DoesNotExist"}));
            },
            |entry| entry["rules"][0]["resources"] = json!(["deployments"]),
            |entry| entry["matchConditions"] = Value::Null,
            |entry| entry["matchConditions"][0]["expression"] = "false".into(),
            |entry| entry["clientConfig"]["service"]["name"] = "relay".into(),
            |entry| entry["clientConfig"] = json!({"url": "https://relay.example/validate"}),
        ];
        let (configuration, entries) = rendered();
        for (number, change) in changes.into_iter().enumerate() {
            let mut other = configuration.clone();
            change(&mut other["webhooks"][0]);
            let expected = ["entry workloads.writgate.dev is not as the chart rendered it"];
            assert_eq!(differences(&entries, &other), expected, "change {number}");
        }
        let mut renamed = configuration.clone();
        renamed["webhooks"][0]["name"] = "other.example".into();
        let expected = ["entry workloads.writgate.dev is missing", "entry other.example is not one of the chart's"];
        assert_eq!(differences(&entries, &renamed), expected);
        assert_eq!(differences(&entries, &Value::Null).len(), entries.len());
    }

    #[test]
    fn an_entry_is_written_as_it_is_read() {
        let entry = RenderedEntry::of(&json!({"name": "a<b", "rules": []}));
        assert_eq!(entry.to_string().parse(), Ok(entry));
        for wrong in ["", "a", "=sha256:00", "a=sha256:00", "a=md5:00", &format!("a=sha256:{}", "A0".repeat(32))] {
            assert!(wrong.parse::<RenderedEntry>().is_err(), "{wrong}");
        }
    }
}
