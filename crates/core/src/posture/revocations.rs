//! Revocations: approvals, keys and specs that no longer count.

use std::{collections::BTreeMap, fmt::Display, sync::Arc};

use jiff::Timestamp;
use serde_json::Value;
use uuid::{Uuid, Variant};

use super::{
    document::{RevocationsDocument, RevokedId, RevokedSpec},
    problems::{PostureProblem, Problems, read},
};
use crate::{approval::key::KeyId, approval::spec_hash::SpecHash, encoding::strict::ByFieldName, text::quoted};

/// Since when something is revoked, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revocation {
    /// The first second of the revocation; `None`: always.
    pub at: Option<Timestamp>,
    /// The reason in the document, for people.
    pub why: Option<String>,
}

impl Revocation {
    /// Whether the revocation applies at `now`. When the approval was signed does not matter.
    #[must_use]
    pub fn in_force(&self, now: Timestamp) -> bool {
        self.at.is_none_or(|at| at <= now)
    }

    /// The one of the two that begins earlier. A revocation without a time begins before all others.
    fn earlier(self, other: Self) -> Self {
        if other.at < self.at { other } else { self }
    }
}

/// What the revocation lists of an environment revoke. Something in several lists is revoked from the earliest time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revocations {
    /// Approvals, by id: a version 7 UUID in lower case with hyphens.
    pub approvals: BTreeMap<String, Revocation>,
    /// Keys, by key id.
    pub keys: BTreeMap<KeyId, Revocation>,
    /// Specs, by spec hash.
    pub specs: BTreeMap<SpecHash, Revocation>,
}

impl Revocations {
    /// Whether nothing is revoked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.approvals.len() + self.keys.len() + self.specs.len()
    }

    /// The entries that `other` does not have, or has only from a later time on.
    #[must_use]
    pub(crate) fn without(&self, other: &Self) -> Self {
        Self {
            approvals: without(&self.approvals, &other.approvals),
            keys: without(&self.keys, &other.keys),
            specs: without(&self.specs, &other.specs),
        }
    }

    /// Each entry as `key 5f0c…` with its revocation.
    pub(crate) fn described(&self) -> impl Iterator<Item = (String, &Revocation)> {
        fn entries<'a, K: ToString>(
            kind: &'static str,
            entries: &'a BTreeMap<K, Revocation>,
        ) -> impl Iterator<Item = (String, &'a Revocation)> {
            entries.iter().map(move |(key, revocation)| (format!("{kind} {}", quoted(&key.to_string())), revocation))
        }
        entries("approval", &self.approvals).chain(entries("key", &self.keys)).chain(entries("spec", &self.specs))
    }

    /// The entries of all lists. A single list is shared: a thousand postures may name it.
    pub(super) fn combined<'a>(mut lists: impl Iterator<Item = &'a Arc<Self>>) -> Arc<Self> {
        let Some(mut all) = lists.next().cloned() else { return Arc::default() };
        for list in lists {
            Arc::make_mut(&mut all).extend(list);
        }
        all
    }

    /// Adds the entries of another list.
    pub(crate) fn extend(&mut self, other: &Self) {
        let Self { approvals, keys, specs } = other;
        extend(&mut self.approvals, approvals);
        extend(&mut self.keys, keys);
        extend(&mut self.specs, specs);
    }
}

fn without<K: Ord + Clone>(
    entries: &BTreeMap<K, Revocation>,
    others: &BTreeMap<K, Revocation>,
) -> BTreeMap<K, Revocation> {
    // `None`, which means always, sorts before any time.
    let stays = |key: &K, revocation: &Revocation| others.get(key).is_some_and(|other| other.at <= revocation.at);
    let missing = entries.iter().filter(|(key, revocation)| !stays(key, revocation));
    missing.map(|(key, revocation)| (key.clone(), revocation.clone())).collect()
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

/// Reads a document of kind `Revocations`.
pub(super) fn read_revocations(source: &str, value: &Value) -> Result<Revocations, Vec<PostureProblem>> {
    let mut problems = Problems::new(source);
    let document: Option<RevocationsDocument> = read(value, &mut problems);
    let revocations = document.map(|document| {
        let RevocationsDocument { approvals, keys, specs, .. } = document;
        let approvals = approvals.into_iter().map(|ByFieldName(RevokedId { id, at, why })| (id, at, why));
        let keys = keys.into_iter().map(|ByFieldName(RevokedId { id, at, why })| (id, at, why));
        let specs = specs.into_iter().map(|ByFieldName(RevokedSpec { hash, at, why })| (hash, at, why));
        Revocations {
            approvals: entries(approvals, "approvals", "id", approval_id, &mut problems),
            keys: entries(keys, "keys", "id", str::parse, &mut problems),
            specs: entries(specs, "specs", "hash", str::parse, &mut problems),
        }
    });
    problems.into_result(revocations)
}

/// Reads the entries of one list: the id or hash, `at` and `why`.
fn entries<K: Ord, E: Display>(
    list: impl Iterator<Item = (String, Option<String>, Option<String>)>,
    path: &str,
    field: &str,
    parse: impl Fn(&str) -> Result<K, E>,
    problems: &mut Problems<'_>,
) -> BTreeMap<K, Revocation> {
    let mut entries = BTreeMap::new();
    for (index, (text, at, why)) in list.enumerate() {
        let at = problems.time(format_args!("{path}[{index}].at"), at.as_deref());
        if let Some(key) = problems.keep(format_args!("{path}[{index}].{field}"), parse(&text)) {
            add(&mut entries, key, Revocation { at, why });
        }
    }
    entries
}

/// Refuses an id that no approval can have: it would revoke nothing, without notice.
fn approval_id(text: &str) -> Result<String, String> {
    match Uuid::try_parse(text) {
        Ok(id)
            if id.get_version_num() == 7
                && id.get_variant() == Variant::RFC4122
                && id.hyphenated().to_string() == text =>
        {
            Ok(text.to_owned())
        }
        _ => Err(format!("{text:?} is not the id of an approval; expected a UUIDv7 in lower case with hyphens")),
    }
}
