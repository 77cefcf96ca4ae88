//! All documents of one cluster or folder, put together: which environment has which posture, and what is wrong.
//!
//! Assembling never fails. What is broken is kept beside what is not, so that one bad document denies its own
//! environment and no other. Called by the webhook's store, by the posture folder and by the command line.

use std::{collections::BTreeMap, fmt};

use crate::Posture;

/// A text in which documents were found, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Where it was found, for messages: a path, or `configmap NAMESPACE/NAME key posture.yaml`.
    pub source: String,
    /// The name of the ConfigMap it is from, which names a set that has no name of its own.
    pub name: Option<String>,
    /// YAML or JSON, one document or several.
    pub text: String,
}

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostureProblem {
    /// The document's source.
    pub source: String,
    /// The field, as `actions.deploy.quorum[0].count`; empty for the whole document.
    pub path: String,
    /// What was found and what was expected.
    pub message: String,
}

impl fmt::Display for PostureProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, path, message } = self;
        if path.is_empty() { write!(f, "{source}: {message}") } else { write!(f, "{source}: {path}: {message}") }
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
}

fn these(known: &[String]) -> String {
    if known.is_empty() { "there is none at all".to_owned() } else { format!("there is one for {}", known.join(", ")) }
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
    namespaces: BTreeMap<String, BTreeMap<String, String>>,
}

impl PostureSet {
    /// Reads all documents and puts together what belongs together. Their order does not matter.
    #[must_use]
    pub fn assemble(_documents: Vec<Document>) -> Self {
        let (environments, problems, namespaces) = Default::default();
        Self { environments, elsewhere: PostureError::Missing { known: vec![] }, problems, namespaces }
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

    /// The labels of the v1 Namespaces among the documents.
    #[must_use]
    pub fn namespaces(&self) -> &BTreeMap<String, BTreeMap<String, String>> {
        &self.namespaces
    }
}
