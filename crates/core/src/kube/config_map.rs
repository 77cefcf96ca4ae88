//! ConfigMaps, and config bundles: ConfigMaps that cannot change and whose names contain the digest of their content.
//!
//! An approved pod template refers to a bundle by its name, so the name fixes the content. The API server enforces
//! `immutable`, but anybody who may delete the ConfigMap can create another one with its name. Hence the digest is
//! computed again whenever a workload that refers to the bundle is checked.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::{
    encoding::canonical::{Everything, canonical},
    encoding::hex,
    text::quoted,
    vocabulary::{BUNDLE_KIND, ENVIRONMENT_LABEL, KIND_LABEL},
};

/// The number of hexadecimal digits of the digest in a bundle's name: at least 128 bits, at most 256.
const DIGITS: std::ops::RangeInclusive<usize> = 32..=64;

/// The fields of a v1 ConfigMap that Writgate reads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigMapContent {
    /// `metadata.labels`
    pub labels: BTreeMap<String, String>,
    /// `immutable`
    pub immutable: bool,
    /// `data`
    pub data: BTreeMap<String, String>,
    /// `binaryData`, in base64 as in JSON.
    pub binary_data: BTreeMap<String, String>,
}

impl ConfigMapContent {
    /// The text under `key` of an immutable ConfigMap that holds nothing else. The error says what was expected.
    pub(crate) fn only_text(&self, key: &str) -> Result<&str, String> {
        if !self.immutable {
            return Err("it is not immutable; set immutable: true".to_owned());
        }
        match (self.data.get(key), self.data.len(), self.binary_data.len()) {
            (Some(text), 1, 0) => Ok(text),
            _ => Err(format!("expected exactly one key in data, {key}, and no binaryData")),
        }
    }

    /// Reads a v1 ConfigMap from the API server or from a manifest. Fails if a field has a type that the API server
    /// would refuse.
    pub fn of(config_map: &Value) -> Result<Self, String> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct ConfigMap {
            metadata: Option<Metadata>,
            immutable: Option<bool>,
            data: Option<BTreeMap<String, String>>,
            binary_data: Option<BTreeMap<String, String>>,
        }
        #[derive(Deserialize)]
        struct Metadata {
            labels: Option<BTreeMap<String, String>>,
        }
        let read = ConfigMap::deserialize(config_map).map_err(|error| format!("not a ConfigMap: {error}"))?;
        // A manifest may fold base64. The API server removes the line breaks.
        let unfolded = |(key, value): (String, String)| (key, value.replace(['\r', '\n'], ""));
        Ok(Self {
            labels: read.metadata.and_then(|metadata| metadata.labels).unwrap_or_default(),
            immutable: read.immutable.unwrap_or_default(),
            data: read.data.unwrap_or_default(),
            binary_data: read.binary_data.unwrap_or_default().into_iter().map(unfolded).collect(),
        })
    }
}

/// The digest of a ConfigMap's content: `sha256:` and 64 lower-case hexadecimal digits.
///
/// It is the SHA-256 digest of the RFC 8785 form of `{"binaryData": {…}, "data": {…}}`. An empty map is left out.
/// Binary values are in base64, as in JSON. Labels, annotations and names are not part of the content.
#[must_use]
pub fn content_digest(content: &ConfigMapContent) -> String {
    let maps = [("binaryData", &content.binary_data), ("data", &content.data)];
    let maps = maps.into_iter().filter(|(_, map)| !map.is_empty()).map(|(field, map)| {
        let map = map.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))).collect();
        (field.to_owned(), Value::Object(map))
    });
    let text = Value::Object(maps.collect::<Map<_, _>>()).to_string();
    // An object of strings always has a canonical form. If it had none, no name could contain the digest of the text.
    let bytes = canonical(&text, Everything).unwrap_or_else(|_| text.into_bytes());
    format!("sha256:{}", hex::encode(&Sha256::digest(bytes).into()))
}

/// The name of a bundle: `stem`, a dash, and the first 32 digits of the digest of its content.
#[must_use]
pub fn bundle_name(stem: &str, content: &ConfigMapContent) -> String {
    let digest = content_digest(content);
    let digits = digest.strip_prefix("sha256:").and_then(|digits| digits.get(..*DIGITS.start())).unwrap_or_default();
    format!("{stem}-{digits}")
}

/// The digits of the digest at the end of a bundle's name. `None`: there are too few or too many.
fn digits_of(name: &str) -> Option<&str> {
    let (_, digits) = name.rsplit_once('-')?;
    let is_hex = |digit: u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
    (DIGITS.contains(&digits.len()) && digits.bytes().all(is_hex)).then_some(digits)
}

/// Whether a bundle could have this name, whatever the ConfigMap contains.
pub(crate) fn names_a_digest(name: &str) -> bool {
    digits_of(name).is_some()
}

/// Checks that the ConfigMap `name` is a config bundle for `environment`, and returns the digest of its content. Without
/// `environment`, the label may name any environment.
///
/// # Errors
///
/// A label is missing or has another value, the ConfigMap is not immutable, or its name does not contain the digest of
/// its content. The text says which.
pub fn check_bundle(name: &str, content: &ConfigMapContent, environment: Option<&str>) -> Result<String, String> {
    let label = |key: &str| content.labels.get(key).map(String::as_str);
    let shown = |value: Option<&str>| value.map_or("not set".to_owned(), quoted);
    let kind = label(KIND_LABEL);
    if kind != Some(BUNDLE_KIND) {
        return Err(format!("its label {KIND_LABEL} is {}, expected {BUNDLE_KIND}", shown(kind)));
    }
    if !content.immutable {
        return Err("it is not immutable; set immutable: true".to_owned());
    }
    // The API server writes U+FFFD for bytes that are not UTF-8, so two contents would have one digest.
    if let Some((key, _)) = content.data.iter().find(|(_, value)| value.contains('\u{fffd}')) {
        return Err(format!(
            "the value of {} contains U+FFFD, which stands for bytes that are not UTF-8; put it into binaryData",
            quoted(key)
        ));
    }
    let digest = content_digest(content);
    let is_named = digits_of(name).zip(digest.strip_prefix("sha256:"));
    if !is_named.is_some_and(|(digits, digest)| digest.starts_with(digits)) {
        return Err(format!(
            "its name does not end in the digest of its content; expected - and at least {} digits of {digest}",
            DIGITS.start()
        ));
    }
    match (label(ENVIRONMENT_LABEL), environment) {
        (None, _) => Err(format!("it has no label {ENVIRONMENT_LABEL}")),
        (Some(found), Some(expected)) if found != expected => {
            Err(format!("it is for environment {}, expected {}", quoted(found), quoted(expected)))
        }
        (Some(_), _) => Ok(digest),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn bundle() -> ConfigMapContent {
        ConfigMapContent {
            labels: map(&[(KIND_LABEL, BUNDLE_KIND), (ENVIRONMENT_LABEL, "production")]),
            immutable: true,
            data: map(&[("app.yaml", "workers: 4\n")]),
            binary_data: map(&[("seed", "AAEC")]),
        }
    }

    /// The error for the bundle after `change`, under the name from before.
    fn refused(change: impl FnOnce(&mut ConfigMapContent)) -> String {
        let mut content = bundle();
        let name = bundle_name("orders-config", &content);
        change(&mut content);
        check_bundle(&name, &content, Some("production")).unwrap_err()
    }

    #[test]
    fn the_digest_covers_only_the_canonical_content() {
        // printf '{"binaryData":{"seed":"AAEC"},"data":{"app.yaml":"workers: 4\\n"}}' | sha256sum
        let digest = "sha256:61e65d3429b8cd292b4b6119b8a644074b1ddddb8af9b195408ddb4da668ab0e";
        assert_eq!(content_digest(&bundle()), digest);
        let empty = ConfigMapContent::default();
        // printf '{}' | sha256sum
        let nothing = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
        assert_eq!(content_digest(&empty), nothing);
        assert_eq!(content_digest(&ConfigMapContent { labels: bundle().labels, immutable: true, ..empty }), nothing);
    }

    #[test]
    fn accepts_a_bundle_whose_name_contains_its_digest() {
        let digest = content_digest(&bundle());
        let name = bundle_name("orders-config", &bundle());
        assert_eq!(check_bundle(&name, &bundle(), Some("production")), Ok(digest.clone()));
        assert_eq!(check_bundle(&name, &bundle(), None), Ok(digest.clone()));
        let whole = digest.replace("sha256:", "orders-");
        assert_eq!(check_bundle(&whole, &bundle(), Some("production")), Ok(digest));
    }

    #[test]
    fn reads_a_manifest_as_the_api_server_does() {
        let manifest = json!({"apiVersion": "v1", "kind": "ConfigMap", "immutable": true,
            "metadata": {"name": "a", "labels": {KIND_LABEL: BUNDLE_KIND, ENVIRONMENT_LABEL: "production"}},
            "data": {"app.yaml": "workers: 4\n"}, "binaryData": {"seed": "AA\nEC\n"}});
        assert_eq!(ConfigMapContent::of(&manifest), Ok(bundle()));
        let with = |field: &str, value: Value| {
            let mut manifest = manifest.clone();
            manifest[field] = value;
            ConfigMapContent::of(&manifest)
        };
        assert!(with("data", json!({"workers": 4})).is_err());
        assert!(with("immutable", json!("true")).is_err());
        assert_eq!(with("data", Value::Null).map(|content| content.data.len()), Ok(0));
    }

    #[test]
    fn refuses_a_config_map_that_is_not_immutable() {
        assert!(refused(|content| content.immutable = false).contains("not immutable"));
    }

    #[test]
    fn refuses_a_config_map_without_the_label_of_a_bundle() {
        assert!(refused(|content| drop(content.labels.remove(KIND_LABEL))).contains("is not set"));
        assert!(
            refused(|content| drop(content.labels.insert(KIND_LABEL.into(), "approval".into())))
                .contains("is approval")
        );
    }

    #[test]
    fn refuses_a_bundle_of_another_environment() {
        let of = |environment: &str| {
            let environment = environment.to_owned();
            refused(|content| drop(content.labels.insert(ENVIRONMENT_LABEL.to_owned(), environment)))
        };
        assert!(of("staging").contains("is for environment staging, expected production"));
        assert!(of("Production").contains("is for environment Production"));
        assert!(refused(|content| drop(content.labels.remove(ENVIRONMENT_LABEL))).contains("no label"));
    }

    #[test]
    fn refuses_other_content_under_a_bundles_name() {
        let changes: [fn(&mut ConfigMapContent); 4] = [
            |content| drop(content.data.insert("app.yaml".into(), "workers: 5\n".into())),
            |content| drop(content.data.insert("more.yaml".into(), String::new())),
            |content| drop(content.binary_data.insert("seed".into(), "AAED".into())),
            |content| std::mem::swap(&mut content.data, &mut content.binary_data),
        ];
        for change in changes {
            assert!(refused(change).contains("does not end in the digest of its content"));
        }
    }

    #[test]
    fn refuses_a_bundle_whose_text_stands_for_any_bytes() {
        let named = |change: fn(&mut ConfigMapContent)| {
            let mut content = bundle();
            change(&mut content);
            check_bundle(&bundle_name("orders", &content), &content, Some("production"))
        };
        assert!(named(|content| drop(content.data.insert("more".into(), "a\u{fffd}".into()))).is_err());
        assert!(named(|content| drop(content.data.insert("more".into(), "a\u{fffc}".into()))).is_ok());
    }

    #[test]
    fn refuses_a_name_with_too_few_or_too_many_digits() {
        let digest = content_digest(&bundle()).replace("sha256:", "");
        let under = |name: &str| check_bundle(name, &bundle(), Some("production"));
        assert!(under(&format!("orders-{}", &digest[..31])).is_err());
        assert!(under(&digest).is_err());
        assert!(under(&format!("orders-{digest}0")).is_err());
        assert!(under("orders-").is_err());
        assert!(under(&format!("orders-{}", digest.to_uppercase())).is_err());
    }
}
