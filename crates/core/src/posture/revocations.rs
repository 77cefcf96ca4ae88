//! Lists of revocations: what one says, and what several say together.

use std::{collections::BTreeMap, fmt::Display};

use serde_json::Value;
use uuid::{Uuid, Variant};

use super::{
    Revocation, Revocations,
    document::RevocationsDocument,
    faults::{Faults, read},
};
use crate::posture::set::PostureProblem;

impl Revocations {
    /// Adds another list; of two revocations of one thing the earlier counts.
    pub(crate) fn extend(&mut self, other: &Self) {
        extend(&mut self.approvals, &other.approvals);
        extend(&mut self.keys, &other.keys);
        extend(&mut self.specs, &other.specs);
    }
}

fn extend<K: Ord + Clone>(all: &mut BTreeMap<K, Revocation>, others: &BTreeMap<K, Revocation>) {
    for (key, revocation) in others {
        add(all, key.clone(), revocation.clone());
    }
}

fn add<K: Ord>(all: &mut BTreeMap<K, Revocation>, key: K, revocation: Revocation) {
    let earlier = match all.remove(&key) {
        Some(other) => other.earlier(revocation),
        None => revocation,
    };
    all.insert(key, earlier);
}

/// Reads a document of revocations.
pub(crate) fn read_revocations(source: &str, value: &Value) -> Result<Revocations, Vec<PostureProblem>> {
    let mut faults = Faults::of(source);
    let document: Option<RevocationsDocument> = read(value, &mut faults);
    let revocations = document.map(|document| {
        let RevocationsDocument { approvals, keys, specs, .. } = document;
        let approvals = approvals.into_iter().map(|entry| (entry.id, entry.at, entry.why));
        let keys = keys.into_iter().map(|entry| (entry.id, entry.at, entry.why));
        let specs = specs.into_iter().map(|entry| (entry.hash, entry.at, entry.why));
        Revocations {
            approvals: entries(approvals, "approvals", "id", approval_id, &mut faults),
            keys: entries(keys, "keys", "id", str::parse, &mut faults),
            specs: entries(specs, "specs", "hash", str::parse, &mut faults),
        }
    });
    faults.into_result(revocations)
}

/// Reads one list: each entry is what is revoked, from when, and why.
fn entries<K: Ord, E: Display>(
    list: impl Iterator<Item = (String, Option<String>, Option<String>)>,
    path: &str,
    field: &str,
    parse: impl Fn(&str) -> Result<K, E>,
    faults: &mut Faults<'_>,
) -> BTreeMap<K, Revocation> {
    let mut entries = BTreeMap::new();
    for (index, (text, at, why)) in list.enumerate() {
        let at = faults.time(format_args!("{path}[{index}].at"), at.as_deref());
        if let Some(key) = faults.keep(format_args!("{path}[{index}].{field}"), parse(&text)) {
            add(&mut entries, key, Revocation { at, why });
        }
    }
    entries
}

/// An id that no approval can have would revoke nothing, in silence.
fn approval_id(text: &str) -> Result<String, String> {
    Uuid::try_parse(text)
        .ok()
        .filter(|id| id.get_version_num() == 7 && id.get_variant() == Variant::RFC4122)
        .map(|id| id.hyphenated().to_string())
        .filter(|id| id == text)
        .ok_or_else(|| format!("{text:?} is not an approval's id: expected a UUIDv7 in lower case, with hyphens"))
}
