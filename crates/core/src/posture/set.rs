//! All documents of one cluster or folder, put together: which environment has which posture, and what is wrong.
//!
//! Assembling never fails. What is broken is kept beside what is not, so that one bad document denies its own
//! environment and no other. How documents are found in texts is `posture_set/gather.rs`; what one may say is
//! `posture`. Called by the webhook's store, by the posture folder and by the command line.

mod gather;
mod reach;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt};

use serde_json::Value;

pub use self::reach::UnreachableQuorum;

pub(crate) use self::gather::is_document_kind;

use self::{gather::Gathered, reach::unreachable};
use crate::{
    approval::detached::DetachedApproval,
    decide::facts::ConfigMapContent,
    encoding::position::SourcePositions,
    posture::Posture,
    posture::Revocations,
    posture::{Found, NamedDocuments, NamedSets, build_posture, read_pipelines, read_reviewers, read_revocations},
    text::{listed, on_one_line},
};

/// A text in which documents were found, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Document {
    /// Where it was found, for messages: a path, or `configmap NAMESPACE/NAME key posture.yaml`.
    pub source: String,
    /// The name of the ConfigMap it is from, which names a set that has no name of its own.
    pub name: Option<String>,
    /// YAML or JSON, one document or several.
    pub text: String,
}

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PostureProblem {
    /// The document's source.
    pub source: String,
    /// Line and column of the field in the document's text, counted from 1, where they are known.
    pub at: Option<(u64, u64)>,
    /// The field, as `actions.deploy.quorum[0].count`; empty for the whole document.
    pub path: String,
    /// What was found and what was expected.
    pub message: String,
    /// Whether the document would be right if what it names were there.
    pub is_incomplete: bool,
}

impl PostureProblem {
    pub(crate) fn new(source: impl Into<String>, path: impl fmt::Display, message: impl fmt::Display) -> Self {
        // Both may quote what somebody wrote.
        let (path, message) = (on_one_line(&path.to_string()), on_one_line(&message.to_string()));
        Self { source: source.into(), path, at: None, message, is_incomplete: false }
    }
}

impl fmt::Display for PostureProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, at, path, message, .. } = self;
        write!(f, "{source}: ")?;
        if let Some((line, column)) = at {
            write!(f, "line {line}, column {column}: ")?;
        }
        if !path.is_empty() {
            write!(f, "{path}: ")?;
        }
        f.write_str(message)
    }
}

/// Why an environment has no posture to judge by. Every action in it is denied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PostureError {
    /// No document is for the environment.
    #[error("no posture is for this environment; {}", these(known))]
    Missing {
        /// The environments that there are documents for.
        known: Vec<String>,
    },
    /// There is one, or may be one, that cannot be used.
    #[error("the environment's posture is invalid: {}", first(problems))]
    Invalid {
        /// Everything that is wrong; never empty.
        problems: Vec<PostureProblem>,
    },
    /// Nobody can tell: what is known is too old, or could not be read. Not from documents, but from who keeps them.
    #[error("{why}")]
    Unknown {
        /// What could not be found out, and why.
        why: String,
    },
}

fn these(known: &[String]) -> String {
    if known.is_empty() {
        return "there is none at all".to_owned();
    }
    on_one_line(&format!("there is one for {}", listed(known.iter().cloned())))
}

fn first(problems: &[PostureProblem]) -> String {
    match problems {
        [] => "it cannot be read".to_owned(),
        [only] => only.to_string(),
        [first, others @ ..] => format!("{first} (and {} more)", others.len()),
    }
}

/// Every posture that the documents give.
#[derive(Clone, Debug)]
pub struct PostureSet {
    environments: BTreeMap<String, Result<Posture, PostureError>>,
    /// The answer for every other environment.
    elsewhere: PostureError,
    problems: Vec<PostureProblem>,
    unreachable: Vec<UnreachableQuorum>,
    /// What the lists revoke that an environment's documents name, be its posture valid or not.
    revoked: BTreeMap<String, Revocations>,
    namespaces: BTreeMap<String, BTreeMap<String, String>>,
    config_maps: gather::ConfigMaps,
}

impl PostureSet {
    /// Reads all documents and puts together what belongs together. Their order does not matter.
    #[must_use]
    pub fn assemble(mut documents: Vec<Document>) -> Self {
        // Messages that name two documents, and what counts first, shall not depend on who listed the folder.
        documents.sort();
        let mut gathered = Gathered::default();
        for document in documents {
            gathered.add(document);
        }
        let mut problems = gathered.harmless;
        let sets = NamedSets {
            reviewers: NamedDocuments::collect(
                gathered.reviewers,
                gathered.broken_reviewers,
                read_reviewers,
                &mut problems,
            ),
            revocations: NamedDocuments::collect(
                gathered.revocations,
                gathered.broken_revocations,
                read_revocations,
                &mut problems,
            ),
            pipelines: NamedDocuments::collect(
                gathered.pipelines,
                gathered.broken_pipelines,
                read_pipelines,
                &mut problems,
            ),
        };

        let mut candidates: BTreeMap<String, Vec<Candidate>> = BTreeMap::new();
        let mut unattributed = Vec::new();
        let mut unreachable_quorums = Vec::new();
        let mut revoked: BTreeMap<String, Revocations> = BTreeMap::new();
        for found in gathered.postures {
            let built = build_posture(&found, &sets);
            match (environment_of(&found), built) {
                (Some(environment), built) => {
                    if let Ok(posture) = &built {
                        unreachable_quorums.extend(unreachable(posture, &found.value, &found.source));
                    }
                    let lists = strings(found.value.get("revocationLists"));
                    revoked.entry(environment.clone()).or_default().extend(&sets.revoked_by(lists));
                    let candidate = Candidate { source: found.source, built };
                    candidates.entry(environment).or_default().push(candidate);
                }
                (None, built) => unattributed.extend(built.err().into_iter().flatten()),
            }
        }
        for (environments, problem) in gathered.broken_postures {
            if environments.is_empty() {
                unattributed.push(problem.clone());
            }
            for environment in environments {
                let candidate = Candidate { source: problem.source.clone(), built: Err(vec![problem.clone()]) };
                candidates.entry(environment).or_default().push(candidate);
            }
        }

        let in_postures = candidates.values_mut().flatten().filter_map(|candidate| candidate.built.as_mut().err());
        let in_rules = unreachable_quorums.iter_mut().map(|quorum| &mut quorum.problem);
        let all = problems.iter_mut().chain(&mut unattributed).chain(in_postures.flatten()).chain(in_rules);
        locate(all, &gathered.texts);
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
        // A document that may be any environment's posture is not nothing.
        let elsewhere = if unattributed.is_empty() {
            PostureError::Missing { known }
        } else {
            PostureError::Invalid { problems: unattributed }
        };
        unreachable_quorums.retain(|quorum| environments.get(&quorum.environment).is_some_and(Result::is_ok));
        Self {
            environments,
            elsewhere,
            problems,
            unreachable: unreachable_quorums,
            revoked,
            namespaces: gathered.namespaces,
            config_maps: gathered.config_maps,
        }
    }

    /// The posture of an environment, or why there is none to judge by.
    pub fn environment(&self, environment: &str) -> Result<&Posture, &PostureError> {
        self.environments.get(environment).map_or(Err(&self.elsewhere), Result::as_ref)
    }

    /// Every environment that a document is for, valid or not.
    pub fn environments(&self) -> impl Iterator<Item = (&str, Result<&Posture, &PostureError>)> {
        self.environments.iter().map(|(environment, posture)| (environment.as_str(), posture.as_ref()))
    }

    /// Everything that is wrong in any document, whether it makes a posture invalid or not.
    #[must_use]
    pub fn problems(&self) -> &[PostureProblem] {
        &self.problems
    }

    /// A v1 ConfigMap among the documents: the one of this namespace, else the one that names none. `None` where there
    /// is neither.
    #[must_use]
    pub fn config_map(&self, namespace: &str, name: &str) -> Option<Result<&ConfigMapContent, &str>> {
        let of = |namespace: &str| self.config_maps.get(&(namespace.to_owned(), name.to_owned()));
        of(namespace).or_else(|| of("")).map(|content| content.as_ref().map_err(String::as_str))
    }

    /// The approvals in ConfigMaps among the documents that are in this namespace, or name none.
    pub fn detached_approvals(&self, namespace: &str) -> impl Iterator<Item = DetachedApproval> {
        let here = self.config_maps.iter().filter(move |((own, _), _)| own.is_empty() || own == namespace);
        here.filter_map(|((_, name), content)| DetachedApproval::of(name, content.as_ref().ok()?))
    }

    /// The rules of valid postures that the named reviewers cannot satisfy.
    #[must_use]
    pub fn unreachable_quorums(&self) -> &[UnreachableQuorum] {
        &self.unreachable
    }

    /// What is revoked in each environment by the lists that its documents name, be its posture valid or not.
    pub(crate) fn revoked(&self) -> impl Iterator<Item = (&str, &Revocations)> {
        self.revoked.iter().map(|(environment, revoked)| (environment.as_str(), revoked))
    }

    /// The labels of the v1 Namespaces among the documents.
    #[must_use]
    pub fn namespaces(&self) -> &BTreeMap<String, BTreeMap<String, String>> {
        &self.namespaces
    }
}

/// Problems of one document whose place is looked for; a text that is wrong all over has no need of more.
const MAX_LOCATED: usize = 100;

/// Finds the place of each problem in the text that its source was read from.
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

fn strings(list: Option<&Value>) -> impl Iterator<Item = &str> {
    list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// A document that says it is an environment's posture.
struct Candidate {
    source: String,
    built: Result<Posture, Vec<PostureProblem>>,
}

fn environment_of(posture: &Found) -> Option<String> {
    posture.value.get("environment")?.as_str().map(str::to_owned)
}

/// One environment has one posture: of two nobody could say which one somebody meant.
fn the_only(environment: &str, mut candidates: Vec<Candidate>) -> Result<Posture, Vec<PostureProblem>> {
    if candidates.len() == 1
        && let Some(only) = candidates.pop()
    {
        return only.built;
    }
    let sources: Vec<&str> = candidates.iter().map(|candidate| candidate.source.as_str()).collect();
    // Every problem names them: all of them would be as many texts as their square.
    let few = listed(sources.iter().map(ToString::to_string));
    let message = format!("{environment:?} has {} postures, expected one: {few}", sources.len());
    let mut problems = Vec::new();
    for source in sources {
        let source = source.to_owned();
        problems.push(PostureProblem::new(source, "environment", &message));
    }
    problems.extend(candidates.into_iter().filter_map(|candidate| candidate.built.err()).flatten());
    Err(problems)
}
