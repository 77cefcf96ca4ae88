//! Random manifests of every kind: the review shows each of their fields, and each change that the spec hash covers.

use proptest::prelude::*;
use serde_json::Value;
use writgate_core::{
    approval::spec_hash,
    kube::{WorkloadKind, WorkloadKinds},
};
use writgate_testing::{manifests, random::Random};

use super::*;
use crate::manifest::{self, Manifest};

/// A random manifest, and the object with defaults; none if the API server would refuse its types.
fn drawn(kind: WorkloadKind, seed: u64) -> Option<(Manifest, Value)> {
    let object = manifests::manifest(&mut Random::new(seed), kind, "orders");
    let manifest = manifest::read("f", &object.to_string(), &WorkloadKinds::default()).ok()?.pop()?;
    let admitted = manifest.as_admitted().ok()?;
    Some((manifest, admitted))
}

fn reviewed(kind: WorkloadKind, old: Option<&Value>, new: &Value, manifest: &Value) -> ReviewedWorkload {
    ReviewedWorkload {
        subject: "apps/v1/Deployment/payments/orders".to_owned(),
        spec_hash: String::new(),
        recreated: false,
        against: Baseline::Nothing,
        unusual: Vec::new(),
        changes: diff::of(kind, old, new, manifest),
        claimed_changes: None,
    }
}

/// The pointers, the paths without the names and positions of items, and the values, apart from null.
fn leaves(pointer: &str, path: &str, value: &Value, found: &mut Vec<(String, String, Value)>) {
    match value {
        Value::Null => {}
        Value::Object(fields) => {
            for (name, value) in fields {
                // A name that is not plain is in brackets, so it is left out as well.
                let is_plain =
                    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
                let below = if is_plain { format!("{path}.{name}") } else { path.to_owned() };
                leaves(&format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1")), &below, value, found);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                leaves(&format!("{pointer}/{index}"), path, item, found);
            }
        }
        scalar => found.push((pointer.to_owned(), path.to_owned(), scalar.clone())),
    }
}

/// Whether the path of a change names the item that has this value as its key.
fn is_key_in_path(path: &str, value: &Value, changes: &[FieldChange]) -> bool {
    let keys = [
        "name",
        "mountPath",
        "devicePath",
        "containerPort",
        "protocol",
        "ip",
        "conditionType",
        "topologyKey",
        "whenUnsatisfiable",
    ];
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    path.rsplit('.').next().is_some_and(|last| keys.contains(&last))
        && changes.iter().any(|change| change.path.split('[').skip(1).any(|item| item.contains(&text)))
}

/// What the encoder may leave out.
fn is_blank(value: &Value) -> bool {
    matches!(value, Value::Bool(false)) || value == "" || value.as_f64() == Some(0.0)
}

/// Changes one random value of an object. `false` if it did not find one.
fn change(random: &mut Random, value: &mut Value, depth: usize) -> bool {
    let descend = depth < 12 && random.chance(85);
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            let name = fields.keys().nth(random.below(fields.len())).cloned().unwrap_or_default();
            if descend && fields.get_mut(&name).is_some_and(|below| change(random, below, depth + 1)) {
                return true;
            }
            if random.chance(50) {
                fields.remove(&name);
            } else {
                fields.insert("typo".to_owned(), Value::from(1));
            }
            true
        }
        Value::Array(items) if !items.is_empty() => {
            let at = random.below(items.len());
            if descend && items.get_mut(at).is_some_and(|below| change(random, below, depth + 1)) {
                return true;
            }
            let item = items.remove(at);
            match random.below(3) {
                0 => items.insert(random.below(items.len() + 1), item),
                1 => items.extend([item.clone(), item]),
                _ => {}
            }
            true
        }
        Value::String(text) => {
            text.push('x');
            true
        }
        Value::Bool(set) => {
            *set = !*set;
            true
        }
        Value::Number(_) => {
            *value = Value::from(77);
            true
        }
        _ => false,
    }
}

fn printed(changes: &ShownChanges) -> String {
    let lines = changes.groups.iter().flat_map(|(_, lines)| lines);
    lines.map(|line| line.text.clone() + "\n").collect()
}

fn kind() -> impl Strategy<Value = WorkloadKind> {
    prop::sample::select(WorkloadKind::ALL.to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn every_value_of_a_new_manifest_is_printed_or_its_field_is_named(kind in kind(), seed in any::<u64>()) {
        let Some((manifest, admitted)) = drawn(kind, seed) else { return Ok(()) };
        let one = reviewed(kind, None, &admitted, manifest.object());
        let shown_changes = changes(&one, &mut Room::bounded(), false);
        let (text, cut) = (printed(&shown_changes), &shown_changes.cut);
        let told: Vec<&FieldChange> = one.changes.iter().filter(|change| !change.is_default).collect();
        for change in &told {
            let is_named = text.contains(&shown(short(&change.path))) || cut.contains(&change.path);
            prop_assert!(is_named, "{} is not named:\n{text}", change.path);
        }
        let mut stated = Vec::new();
        leaves("/spec", "spec", &manifest.object()["spec"], &mut stated);
        let paths: Vec<String> = told.iter().map(|change| diff::without_items(&change.path)).collect();
        for (pointer, path, value) in stated {
            let is_kept = admitted.pointer(&pointer).is_some() || !is_blank(&value);
            let is_told = paths
                .iter()
                .any(|told| path == *told || path.strip_prefix(&**told).is_some_and(|rest| rest.starts_with('.')));
            prop_assert!(
                is_told || !is_kept || is_key_in_path(&path, &value, &one.changes),
                "{path}: {value} is not shown:\n{text}"
            );
        }
    }

    #[test]
    fn every_change_that_the_spec_hash_covers_is_printed(kind in kind(), seed in any::<u64>(), how in any::<u64>()) {
        let Some((_, old)) = drawn(kind, seed) else { return Ok(()) };
        let mut new = old.clone();
        change(&mut Random::new(how), &mut new["spec"], 0);
        let hash = |object: &Value| spec_hash(kind, &object["spec"].to_string()).ok();
        let one = reviewed(kind, Some(&old), &new, &new);
        let bound = one.changes.iter().any(|change| change.bound);
        // A spec without a hash cannot be approved.
        if let (Some(before), Some(after)) = (hash(&old), hash(&new)) {
            prop_assert!(bound || before == after, "{:?}", one.changes);
        }
        let text = printed(&changes(&one, &mut Room::bounded(), false));
        prop_assert!(!text.is_empty() || !bound, "{}", one.subject);
    }
}
