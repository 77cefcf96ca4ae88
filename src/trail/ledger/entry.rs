//! How the ledger's entries look as ConfigMaps: names, labels and data.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::core::ObjectMeta;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use writgate_core::{
    decide::{USE_VERSION, UseRecord},
    encoding::hex,
    record::{DecisionRecord, History, ObjectRecord},
    vocabulary::KIND_LABEL,
};

use crate::trail::ledger::key::LedgerKey;

/// The label selector of the ledger's entries. Postures have other values of the same label.
pub(super) const SELECTOR: &str = "writgate.dev/kind=ledger";
/// The annotation with the entry's object, for people.
const ABOUT: &str = "writgate.dev/about";
const USE: &str = "use.json";
/// The key of the resource version at which a renewed use was first reserved.
const SINCE: &str = "since";
const HISTORY: &str = "history.json";
const RECORD: &str = "record.json";
/// The message authentication code over the name and the other fields.
const MAC: &str = "mac";

/// A new entry for a use.
pub(super) fn of_use(record: &UseRecord, key: &LedgerKey) -> ConfigMap {
    let mut entry = empty(&record.used.entry, &record.used.object);
    put_use(&mut entry, record, key);
    entry
}

/// Replaces the use in `entry`.
pub(super) fn put_use(entry: &mut ConfigMap, record: &UseRecord, key: &LedgerKey) {
    let json = serde_json::to_string(record).expect("strings and numbers always serialise");
    put(entry, USE, json, key);
}

/// Reads the use in `entry`.
pub(super) fn use_in(entry: &ConfigMap) -> Result<UseRecord, String> {
    let record: UseRecord = read(entry, USE, |text| serde_json::from_str(text).map_err(|error| error.to_string()))?;
    let name = entry.name_any();
    if record.version != USE_VERSION {
        return Err(format!("ledger entry {name} has version {:?}, expected {USE_VERSION:?}", record.version));
    }
    if record.used.entry != name {
        return Err(format!("ledger entry {name} is a copy of {}", record.used.entry));
    }
    Ok(record)
}

/// The resource version at which the use in `entry` was first reserved.
pub(super) fn since(entry: &ConfigMap) -> Option<&str> {
    let kept = entry.data.as_ref().and_then(|data| data.get(SINCE)).map(String::as_str);
    kept.or(entry.metadata.resource_version.as_deref())
}

/// Stores the resource version at which the use was first reserved, before `entry` gets another one.
pub(super) fn keep_since(entry: &mut ConfigMap) {
    if let Some(version) = since(entry).map(str::to_owned) {
        entry.data.get_or_insert_default().insert(SINCE.to_owned(), version);
    }
}

/// A new entry for the signed record of an admission.
pub(super) fn of_record(record: &DecisionRecord) -> ConfigMap {
    let name = format!("record-{}", record.id);
    let mut entry = match &record.object {
        Some(object) => empty(&name, object),
        None => ConfigMap { metadata: metadata(&name), ..ConfigMap::default() },
    };
    let json = serde_json::to_string(record).expect("strings and numbers always serialise");
    entry.data.get_or_insert_default().insert(RECORD.to_owned(), json);
    entry
}

/// Reads the time of the record in `entry`.
pub(super) fn record_time_in(entry: &ConfigMap) -> Result<Timestamp, String> {
    #[derive(Deserialize)]
    struct Record {
        time: Timestamp,
    }
    read(entry, RECORD, |text| serde_json::from_str::<Record>(text).map_err(|error| error.to_string()))
        .map(|record| record.time)
}

/// The name of an object's history. Kind, namespace and name identify the object, not its uid.
pub(super) fn history_name(object: &ObjectRecord) -> String {
    // As JSON, so that two different objects never have the same text.
    let what = serde_json::json!([object.api_version, object.kind, object.namespace, object.name]).to_string();
    format!("history-{}", hex::encode(&Sha256::digest(what).into()))
}

/// A new entry for a history.
pub(super) fn of_history(object: &ObjectRecord) -> ConfigMap {
    empty(&history_name(object), object)
}

/// Replaces the history in `entry`. `json` is [`History::to_json`].
pub(super) fn put_history(entry: &mut ConfigMap, json: String, key: &LedgerKey) {
    put(entry, HISTORY, json, key);
}

/// Reads the history in `entry`.
pub(super) fn history_in(entry: &ConfigMap) -> Result<History, String> {
    read(entry, HISTORY, History::parse)
}

/// Sets one field of `entry`, and authenticates the entry as it is then.
fn put(entry: &mut ConfigMap, field: &str, text: String, key: &LedgerKey) {
    let name = entry.name_any();
    let data = entry.data.get_or_insert_default();
    data.remove(MAC);
    data.insert(field.to_owned(), text);
    let mac = key.mac(&name, data);
    data.insert(MAC.to_owned(), mac);
}

/// Whether the webhook wrote `entry` as it is.
pub(super) fn is_authentic(entry: &ConfigMap, key: &LedgerKey) -> bool {
    let mut data = entry.data.clone().unwrap_or_default();
    let mac = data.remove(MAC);
    // The webhook writes no binary data, and reads none.
    mac.is_some_and(|mac| key.verifies(&entry.name_any(), &data, &mac))
}

fn read<T>(entry: &ConfigMap, key: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Result<T, String> {
    let text = entry.data.as_ref().and_then(|data| data.get(key));
    let text = text.ok_or_else(|| format!("ledger entry {} has no {key}", entry.name_any()))?;
    parse(text).map_err(|why| format!("ledger entry {}: {key}: {why}", entry.name_any()))
}

fn empty(name: &str, object: &ObjectRecord) -> ConfigMap {
    let annotations = Some(BTreeMap::from([(ABOUT.to_owned(), object.subject())]));
    ConfigMap { metadata: ObjectMeta { annotations, ..metadata(name) }, ..ConfigMap::default() }
}

fn metadata(name: &str) -> ObjectMeta {
    let labels = Some(BTreeMap::from([(KIND_LABEL.to_owned(), "ledger".to_owned())]));
    ObjectMeta { name: Some(name.to_owned()), labels, ..ObjectMeta::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(namespace: &str, name: &str) -> ObjectRecord {
        ObjectRecord {
            api_version: "apps/v1".into(),
            kind: "Deployment".into(),
            namespace: namespace.into(),
            name: name.into(),
            uid: None,
        }
    }

    #[test]
    fn each_object_has_a_history_of_its_own_whatever_its_uid() {
        let one = history_name(&object("payments", "orders"));
        assert!(writgate_cluster::names::is_subdomain(&one), "{one}");
        let again = ObjectRecord { uid: Some("u-2".into()), ..object("payments", "orders") };
        assert_eq!(history_name(&again), one);
        for other in [object("payments", "orders2"), object("paymentso", "rders"), object("payments\",\"orders", "")] {
            assert_ne!(history_name(&other), one);
        }
        let other = ObjectRecord { kind: "StatefulSet".into(), ..object("payments", "orders") };
        assert_ne!(history_name(&other), one);
    }

    #[test]
    fn other_content_is_not_read_as_an_empty_entry() {
        let mut entry = of_history(&object("payments", "orders"));
        assert!(history_in(&entry).is_err(), "no history");
        let key = LedgerKey::of_test();
        put_history(&mut entry, "{}".to_owned(), &key);
        assert!(history_in(&entry).is_err(), "not a history");
        put_history(&mut entry, History::default().to_json(), &key);
        assert_eq!(history_in(&entry), Ok(History::default()));
        assert!(use_in(&entry).is_err(), "not a use");
    }

    #[test]
    fn an_entry_that_the_webhook_did_not_write_is_not_authentic() {
        let key = LedgerKey::of_test();
        let mut entry = of_history(&object("payments", "orders"));
        assert!(!is_authentic(&entry, &key), "nothing in it");
        put_history(&mut entry, History::default().to_json(), &key);
        assert!(is_authentic(&entry, &key));
        put_history(&mut entry, "{}".to_owned(), &key);
        assert!(is_authentic(&entry, &key), "written again");
        let data = |entry: &ConfigMap| entry.data.clone().unwrap_or_default();
        let (mut no_mac, mut other_text, mut one_more, mut renamed) =
            (entry.clone(), entry.clone(), entry.clone(), entry.clone());
        let text = |field: &str, text: &str| (field.to_owned(), text.to_owned());
        no_mac.data = Some(data(&entry).into_iter().filter(|(field, _)| field != MAC).collect());
        other_text.data = Some(data(&entry).into_iter().chain([text(HISTORY, "[]")]).collect());
        one_more.data = Some(data(&entry).into_iter().chain([text(SINCE, "1")]).collect());
        renamed.metadata.name = Some(history_name(&object("payments", "other")));
        for (what, forged) in
            [("no MAC", no_mac), ("another text", other_text), ("one more field", one_more), ("another name", renamed)]
        {
            assert!(!is_authentic(&forged, &key), "{what}");
        }
    }
}
