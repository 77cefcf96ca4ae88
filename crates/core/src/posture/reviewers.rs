//! Reviewers: the people who may approve, their keys and what they may grant.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use serde_json::Value;

use super::{
    document::{KeyDocument, ReviewerDocument, ReviewersDocument},
    problems::{PostureProblem, Problems, read},
};
use crate::{
    approval::capability::Grant,
    approval::key::{KeyId, PublicKey},
    encoding::strict::ByFieldName,
};

/// A person who may approve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reviewer {
    /// The person's name, as approvals name them in `requestedBy`. Compared without ASCII case.
    pub name: String,
    /// The groups for which the person counts in a quorum.
    pub groups: Vec<String>,
    /// The projects in which the person's signature counts; `None`: all.
    pub projects: Option<Vec<String>>,
    /// The capabilities that the person may grant.
    pub capabilities: Vec<Grant>,
    /// The API user names of the person. Compared without ASCII case.
    pub identities: Vec<String>,
    /// The person's keys, at least one.
    pub keys: Vec<ReviewerKey>,
}

impl Reviewer {
    /// Whether `user`, a name or an API user name, is this person.
    #[must_use]
    pub fn is(&self, user: &str) -> bool {
        self.name.eq_ignore_ascii_case(user) || self.identities.iter().any(|own| own.eq_ignore_ascii_case(user))
    }
}

/// A reviewer's key, valid in the half-open interval `[not_before, not_after)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReviewerKey {
    /// The key id, computed from the key.
    pub id: KeyId,
    /// The Ed25519 public key.
    pub key: PublicKey,
    /// The first second at which the key is valid; `None`: no lower bound.
    pub not_before: Option<Timestamp>,
    /// The first second at which the key is no longer valid; `None`: no upper bound.
    pub not_after: Option<Timestamp>,
}

/// The reviewers of one document.
#[derive(Clone, Debug)]
pub(super) struct ReviewerSet {
    source: String,
    reviewers: Arc<[Reviewer]>,
}

impl ReviewerSet {
    /// Each reviewer, with the place in the document.
    fn located(&self) -> impl Iterator<Item = (String, &Reviewer)> {
        let Self { source, reviewers } = self;
        let locate = move |(index, reviewer)| (format!("{source} reviewers[{index}]"), reviewer);
        reviewers.iter().enumerate().map(locate)
    }
}

/// Reads a document of kind `Reviewers`.
pub(super) fn read_reviewers(source: &str, value: &Value) -> Result<ReviewerSet, Vec<PostureProblem>> {
    let mut problems = Problems::new(source);
    let document: Option<ReviewersDocument> = read(value, &mut problems);
    let set = document.map(|document| {
        let reviewers = document.reviewers.into_iter().enumerate();
        let reviewers = reviewers
            .map(|(index, ByFieldName(document))| reviewer(&format!("reviewers[{index}]"), document, &mut problems))
            .collect();
        ReviewerSet { source: source.to_owned(), reviewers }
    });
    problems.into_result(set)
}

fn reviewer(path: &str, document: ReviewerDocument, problems: &mut Problems<'_>) -> Reviewer {
    let ReviewerDocument { name, groups, projects, capabilities, identities, keys } = document;
    problems.name(format_args!("{path}.name"), &name);
    problems.names(&format!("{path}.groups"), &groups);
    problems.names(&format!("{path}.projects"), projects.as_deref().unwrap_or_default());
    problems.names(&format!("{path}.identities"), &identities);
    if capabilities.is_empty() {
        problems.add(format_args!("{path}.capabilities"), "is empty; expected at least one capability");
    }
    if keys.is_empty() {
        problems.add(format_args!("{path}.keys"), "is empty; expected at least one key");
    }
    let capabilities = capabilities
        .iter()
        .enumerate()
        .filter_map(|(index, text)| problems.keep(format_args!("{path}.capabilities[{index}]"), Grant::parse(text)))
        .collect();
    let mut keys: Vec<_> = keys
        .iter()
        .enumerate()
        .filter_map(|(index, ByFieldName(document))| reviewer_key(&format!("{path}.keys[{index}]"), document, problems))
        .collect();
    // A key has about 300 bytes, most people have one, and a vector begins with room for four.
    keys.shrink_to_fit();
    Reviewer { name, groups, projects, capabilities, identities, keys }
}

fn reviewer_key(path: &str, document: &KeyDocument, problems: &mut Problems<'_>) -> Option<ReviewerKey> {
    let KeyDocument { public_key, not_before, not_after } = document;
    let not_before = problems.time(format_args!("{path}.notBefore"), not_before.as_deref());
    let not_after = problems.time(format_args!("{path}.notAfter"), not_after.as_deref());
    if let (Some(before), Some(after)) = (not_before, not_after)
        && before >= after
    {
        problems.add(
            format_args!("{path}.notAfter"),
            format_args!("{after} is not after notBefore, {before}; the key would never be valid"),
        );
    }
    let key = problems.keep(format_args!("{path}.publicKey"), PublicKey::from_pem(public_key))?;
    Some(ReviewerKey { id: key.id(), key, not_before, not_after })
}

/// The reviewers of several sets. A key, name or identity that two of them share is a problem: one person would count
/// as two, or could approve their own change. The reviewers of a single set are shared.
pub(super) fn combined(sets: &[&ReviewerSet], problems: &mut Problems<'_>) -> Arc<[Reviewer]> {
    let reviewers: Vec<(String, &Reviewer)> = sets.iter().flat_map(|set| set.located()).collect();
    let mut names = BTreeMap::new();
    let mut keys = BTreeMap::new();
    for (location, reviewer) in &reviewers {
        for name in std::iter::once(&reviewer.name).chain(&reviewer.identities) {
            let first = *names.entry(name.to_ascii_lowercase()).or_insert(location);
            if first != location {
                let message = format_args!(
                    "{name:?} is a name or identity of two reviewers, {first} and {location}; remove one of them"
                );
                problems.add("reviewerSets", message);
            }
        }
        for ReviewerKey { id, .. } in &reviewer.keys {
            if let Some(first) = keys.insert(id, location) {
                let message =
                    format_args!("the key {id} appears twice, in {first} and in {location}; remove one of them");
                problems.add("reviewerSets", message);
            }
        }
    }
    match sets {
        [only] => Arc::clone(&only.reviewers),
        _ => reviewers.into_iter().map(|(_, reviewer)| reviewer.clone()).collect(),
    }
}
