//! All documents of one cluster or folder, assembled: the posture of each environment, and all problems.
//!
//! Assembling never fails. A broken document invalidates its own environment and no other.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    Posture, PostureProblem, Revocations, UnreachableQuorum,
    build::build_posture,
    gather::{ConfigMaps, Document, FoundDocument, Gathered},
    named_documents::NamedSets,
    reach::unreachable,
};
use crate::{
    approval::detached::DetachedApproval,
    encoding::position::SourcePositions,
    kube::config_map::ConfigMapContent,
    text::{listed, on_one_line},
};

/// Why an environment has no usable posture. The webhook denies every action in the environment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PostureError {
    /// No posture names the environment.
    #[error("this environment has no posture; {}", describe_known(known))]
    Missing {
        /// The environments that have a posture, valid or not.
        known: Vec<String>,
    },
    /// The environment has a posture that is invalid, or a broken document that may be its posture.
    #[error("the environment's posture is invalid: {}", first(problems))]
    Invalid {
        /// All problems; never empty.
        problems: Vec<PostureProblem>,
    },
    /// The documents are unknown: the last known ones are too old, or they could not be read. [`PostureSet`] never
    /// returns this; whoever holds the documents does.
    #[error("{why}")]
    Unknown {
        /// What is unknown, and why.
        why: String,
    },
}

fn describe_known(known: &[String]) -> String {
    if known.is_empty() {
        return "no environment has one".to_owned();
    }
    on_one_line(&format!("these have one: {}", listed(known.iter().cloned())))
}

fn first(problems: &[PostureProblem]) -> String {
    match problems {
        [] => "it cannot be read".to_owned(),
        [only] => only.to_string(),
        [first, others @ ..] => format!("{first} (and {} more)", others.len()),
    }
}

/// The postures of all environments, assembled from the documents of one cluster or folder.
#[derive(Clone, Debug)]
pub struct PostureSet {
    environments: BTreeMap<String, Result<Posture, PostureError>>,
    /// The answer for every other environment.
    elsewhere: PostureError,
    problems: Vec<PostureProblem>,
    unreachable: Vec<UnreachableQuorum>,
    /// By environment: what the lists that its documents name revoke, even if its posture is invalid.
    revoked: BTreeMap<String, Revocations>,
    namespaces: BTreeMap<String, BTreeMap<String, String>>,
    config_maps: ConfigMaps,
}

impl PostureSet {
    /// Reads all documents and assembles the postures. The order of the documents does not matter.
    #[must_use]
    pub fn assemble(mut documents: Vec<Document>) -> Self {
        // Some messages name two documents, and of two Namespaces the first counts: independent of the listing's order.
        documents.sort();
        let mut gathered = Gathered::default();
        for document in documents {
            gathered.add(document);
        }
        let mut problems = std::mem::take(&mut gathered.harmless);
        let sets = NamedSets::take_from(&mut gathered, &mut problems);
        let mut built = BuiltPostures::default();
        for found in std::mem::take(&mut gathered.postures) {
            built.add(found, &sets);
        }
        for (environments, problem) in std::mem::take(&mut gathered.broken_postures) {
            built.add_broken(environments, &problem);
        }
        locate(problems.iter_mut().chain(built.problems_mut()), &gathered.texts);

        let BuiltPostures { candidates, unattributed, mut unreachable, revoked } = built;
        let known = candidates.keys().cloned().collect();
        let environments: BTreeMap<_, _> = candidates
            .into_iter()
            .map(|(environment, candidates)| {
                let posture = the_only(&environment, candidates);
                (environment, posture.map_err(|problems| PostureError::Invalid { problems }))
            })
            .collect();
        for posture in environments.values() {
            if let Err(PostureError::Invalid { problems: found }) = posture {
                problems.extend(found.iter().cloned());
            }
        }
        problems.extend(unattributed.iter().cloned());
        problems.sort();
        problems.dedup();
        // A broken document that may be the posture of any environment must not be read as absent.
        let elsewhere = if unattributed.is_empty() {
            PostureError::Missing { known }
        } else {
            PostureError::Invalid { problems: unattributed }
        };
        unreachable.retain(|quorum| environments.get(&quorum.environment).is_some_and(Result::is_ok));
        let Gathered { namespaces, config_maps, .. } = gathered;
        Self { environments, elsewhere, problems, unreachable, revoked, namespaces, config_maps }
    }

    /// The posture of an environment, or why it has no usable one.
    pub fn environment(&self, environment: &str) -> Result<&Posture, &PostureError> {
        self.environments.get(environment).map_or(Err(&self.elsewhere), Result::as_ref)
    }

    /// Every environment that has a posture, valid or not.
    pub fn environments(&self) -> impl Iterator<Item = (&str, Result<&Posture, &PostureError>)> {
        self.environments.iter().map(|(environment, posture)| (environment.as_str(), posture.as_ref()))
    }

    /// The problems of all documents, including those that make no posture invalid.
    #[must_use]
    pub fn problems(&self) -> &[PostureProblem] {
        &self.problems
    }

    /// A v1 ConfigMap among the documents, or why it cannot be used: the one in this namespace, or else one without a
    /// namespace. `None` if neither exists.
    #[must_use]
    pub fn config_map(&self, namespace: &str, name: &str) -> Option<Result<&ConfigMapContent, &str>> {
        let find = |namespace: &str| self.config_maps.get(&(namespace.to_owned(), name.to_owned()));
        find(namespace).or_else(|| find("")).map(|content| content.as_ref().map_err(String::as_str))
    }

    /// The detached approvals among the documents, of ConfigMaps in this namespace or without a namespace.
    pub fn detached_approvals(&self, namespace: &str) -> impl Iterator<Item = DetachedApproval> {
        let here = self.config_maps.iter().filter(move |((own, _), _)| own.is_empty() || own == namespace);
        here.filter_map(|((_, name), content)| DetachedApproval::from_config_map(name, content.as_ref().ok()?))
    }

    /// The quorums of valid postures that the named reviewers cannot fill.
    #[must_use]
    pub fn unreachable_quorums(&self) -> &[UnreachableQuorum] {
        &self.unreachable
    }

    /// What is revoked in each environment by the lists that its documents name, even if its posture is invalid.
    pub(crate) fn revoked(&self) -> impl Iterator<Item = (&str, &Revocations)> {
        self.revoked.iter().map(|(environment, revoked)| (environment.as_str(), revoked))
    }

    /// The labels of the v1 Namespaces among the documents.
    #[must_use]
    pub fn namespaces(&self) -> &BTreeMap<String, BTreeMap<String, String>> {
        &self.namespaces
    }
}

/// The most problems of one document whose position is looked up: each lookup costs time.
const MAX_LOCATED: usize = 100;

/// Sets the position of each problem in the text of its document.
fn locate<'p>(problems: impl Iterator<Item = &'p mut PostureProblem>, texts: &BTreeMap<String, (String, usize)>) {
    let mut read: BTreeMap<String, (SourcePositions, usize)> = BTreeMap::new();
    for problem in problems.filter(|problem| !problem.path.is_empty()) {
        let Some((text, document)) = texts.get(&problem.source) else { continue };
        let (positions, located) =
            read.entry(problem.source.clone()).or_insert_with(|| (SourcePositions::parse(text), 0));
        if *located < MAX_LOCATED {
            *located += 1;
            problem.at = positions.find(*document, &problem.path);
        }
    }
}

/// What has become of the documents that are or may be postures.
#[derive(Default)]
struct BuiltPostures {
    /// By environment: every document that says, or seems to say, that it is the environment's posture.
    candidates: BTreeMap<String, Vec<PostureCandidate>>,
    /// The problems of documents that may be the posture of any environment.
    unattributed: Vec<PostureProblem>,
    unreachable: Vec<UnreachableQuorum>,
    revoked: BTreeMap<String, Revocations>,
}

struct PostureCandidate {
    source: String,
    posture: Result<Posture, Vec<PostureProblem>>,
}

impl BuiltPostures {
    fn add(&mut self, found: FoundDocument, sets: &NamedSets) {
        let posture = build_posture(&found, sets);
        let FoundDocument { source, value, .. } = found;
        let Some(environment) = value.get("environment").and_then(Value::as_str) else {
            return self.unattributed.extend(posture.err().into_iter().flatten());
        };
        if let Ok(posture) = &posture {
            self.unreachable.extend(unreachable(posture, &value, &source));
        }
        let lists = value.get("revocationLists").and_then(Value::as_array);
        let revoked = sets.revoked_by(lists.into_iter().flatten().filter_map(Value::as_str));
        self.revoked.entry(environment.to_owned()).or_default().extend(&revoked);
        self.candidates.entry(environment.to_owned()).or_default().push(PostureCandidate { source, posture });
    }

    fn add_broken(&mut self, environments: Vec<String>, problem: &PostureProblem) {
        if environments.is_empty() {
            self.unattributed.push(problem.clone());
        }
        for environment in environments {
            let (source, posture) = (problem.source.clone(), Err(vec![problem.clone()]));
            self.candidates.entry(environment).or_default().push(PostureCandidate { source, posture });
        }
    }

    fn problems_mut(&mut self) -> impl Iterator<Item = &mut PostureProblem> {
        let candidates = self.candidates.values_mut().flatten();
        let in_postures = candidates.filter_map(|candidate| candidate.posture.as_mut().err()).flatten();
        let in_quorums = self.unreachable.iter_mut().map(|quorum| &mut quorum.problem);
        self.unattributed.iter_mut().chain(in_postures).chain(in_quorums)
    }
}

/// The one posture of an environment. Of two, neither is used: which one was meant is unknown.
fn the_only(environment: &str, mut candidates: Vec<PostureCandidate>) -> Result<Posture, Vec<PostureProblem>> {
    if candidates.len() == 1
        && let Some(only) = candidates.pop()
    {
        return only.posture;
    }
    let sources: Vec<String> = candidates.iter().map(|candidate| candidate.source.clone()).collect();
    // Every problem names the first few sources. Naming all of them would take the square of their number.
    let few = listed(sources.iter().cloned());
    let message = format!("{environment:?} has {} postures, expected one: {few}; remove the others", sources.len());
    let mut problems: Vec<_> =
        sources.into_iter().map(|source| PostureProblem::new(source, "environment", &message)).collect();
    problems.extend(candidates.into_iter().filter_map(|candidate| candidate.posture.err()).flatten());
    Err(problems)
}
