//! Sets of reviewers: what one says, and who they are together.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    Reviewer, ReviewerKey,
    document::{KeyDocument, ReviewerDocument, ReviewersDocument},
    faults::{Faults, read},
};
use crate::{approval::capability::Grant, approval::key::PublicKey, posture::set::PostureProblem};

/// The people of one document, ready to be put together with those of others.
#[derive(Clone, Debug)]
pub(crate) struct ReviewerSet {
    source: String,
    reviewers: Vec<Reviewer>,
}

impl ReviewerSet {
    /// Each person, and where they are written.
    fn people(&self) -> impl Iterator<Item = (String, &Reviewer)> {
        let Self { source, reviewers } = self;
        let place = move |(index, person)| (format!("{source} reviewers[{index}]"), person);
        reviewers.iter().enumerate().map(place)
    }
}

/// Reads a document of reviewers.
pub(crate) fn read_reviewers(source: &str, value: &Value) -> Result<ReviewerSet, Vec<PostureProblem>> {
    let mut faults = Faults::of(source);
    let document: Option<ReviewersDocument> = read(value, &mut faults);
    let set = document.map(|document| {
        let reviewers = document.reviewers.into_iter().enumerate();
        let reviewers =
            reviewers.map(|(index, person)| reviewer(&format!("reviewers[{index}]"), person, &mut faults)).collect();
        ReviewerSet { source: source.to_owned(), reviewers }
    });
    faults.into_result(set)
}

fn reviewer(path: &str, document: ReviewerDocument, faults: &mut Faults<'_>) -> Reviewer {
    let ReviewerDocument { name, groups, projects, capabilities, identities, keys } = document;
    faults.name(format_args!("{path}.name"), &name);
    faults.names(&format!("{path}.groups"), &groups);
    faults.names(&format!("{path}.projects"), projects.as_deref().unwrap_or_default());
    faults.names(&format!("{path}.identities"), &identities);
    if capabilities.is_empty() {
        faults.add(format_args!("{path}.capabilities"), "is empty; a reviewer grants at least one");
    }
    if keys.is_empty() {
        faults.add(format_args!("{path}.keys"), "is empty; a reviewer has at least one key");
    }
    let capabilities = capabilities
        .iter()
        .enumerate()
        .filter_map(|(index, text)| faults.keep(format_args!("{path}.capabilities[{index}]"), Grant::parse(text)))
        .collect();
    let keys = keys
        .iter()
        .enumerate()
        .filter_map(|(index, document)| reviewer_key(&format!("{path}.keys[{index}]"), document, faults))
        .collect();
    Reviewer { name, groups, projects, capabilities, identities, keys }
}

fn reviewer_key(path: &str, document: &KeyDocument, faults: &mut Faults<'_>) -> Option<ReviewerKey> {
    let not_before = faults.time(format_args!("{path}.notBefore"), document.not_before.as_deref());
    let not_after = faults.time(format_args!("{path}.notAfter"), document.not_after.as_deref());
    if let (Some(before), Some(after)) = (not_before, not_after)
        && before >= after
    {
        faults.add(format_args!("{path}.notAfter"), format_args!("{after} is not after notBefore, {before}"));
    }
    let key = faults.keep(format_args!("{path}.publicKey"), PublicKey::from_pem(&document.public_key))?;
    Some(ReviewerKey { id: key.id(), key, not_before, not_after })
}

/// Puts sets together. Whatever stands for a person stands for one: a key, name or identity of two people would let
/// one of them count as both, or approve what is their own.
pub(super) fn together<'a>(sets: impl Iterator<Item = &'a ReviewerSet>, faults: &mut Faults<'_>) -> Vec<Reviewer> {
    let people: Vec<(String, &Reviewer)> = sets.flat_map(ReviewerSet::people).collect();
    let mut handles = BTreeMap::new();
    let mut keys = BTreeMap::new();
    for (place, person) in &people {
        for handle in std::iter::once(&person.name).chain(&person.identities) {
            let first = *handles.entry(handle.to_ascii_lowercase()).or_insert(place);
            if first != place {
                faults.add("reviewerSets", format_args!("{handle:?} stands for two reviewers: {first} and {place}"));
            }
        }
        for ReviewerKey { id, .. } in &person.keys {
            if let Some(first) = keys.insert(id, place) {
                faults.add("reviewerSets", format_args!("the key {id} is there twice: for {first} and for {place}"));
            }
        }
    }
    people.into_iter().map(|(_, person)| person.clone()).collect()
}
