//! The documents that postures name: reviewers, revocations and pipelines, each kind by name.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use serde_json::Value;

use super::{
    Revocations,
    gather::{FoundDocument, Gathered},
    pipelines::{Builds, read_pipelines},
    problems::{PostureProblem, Problems},
    reviewers::{ReviewerSet, read_reviewers},
    revocations::read_revocations,
};
use crate::encoding::canonical::{Everything, canonical};

/// All documents that postures can name.
#[derive(Debug)]
pub(super) struct NamedSets {
    pub(super) reviewers: NamedDocuments<ReviewerSet>,
    pub(super) revocations: NamedDocuments<Revocations>,
    pub(super) pipelines: NamedDocuments<Builds>,
}

impl NamedSets {
    /// Reads the documents in `gathered`, except those that `known` has read. All their problems are added to
    /// `problems`.
    pub(super) fn read(gathered: &Gathered, known: Option<&Self>, problems: &mut Vec<PostureProblem>) -> Self {
        let Gathered {
            reviewers,
            broken_reviewers,
            revocations,
            broken_revocations,
            pipelines,
            broken_pipelines,
            unused,
            ..
        } = gathered;
        let known_reviewers = known.map(|known| &known.reviewers);
        let known_revocations = known.map(|known| &known.revocations);
        let known_pipelines = known.map(|known| &known.pipelines);
        let mut sets = Self {
            reviewers: NamedDocuments::read(reviewers, broken_reviewers, read_reviewers, known_reviewers, problems),
            revocations: NamedDocuments::read(
                revocations,
                broken_revocations,
                read_revocations,
                known_revocations,
                problems,
            ),
            pipelines: NamedDocuments::read(pipelines, broken_pipelines, read_pipelines, known_pipelines, problems),
        };
        for unused in unused {
            match unused.kind {
                NamedKind::Reviewers => sets.reviewers.add_unused(unused, problems),
                NamedKind::Pipelines => sets.pipelines.add_unused(unused, problems),
            }
        }
        sets
    }

    /// What all lists revoke, whether or not a posture names them.
    pub(super) fn revoked_by_all(&self) -> Arc<Revocations> {
        self.revoked_by(self.revocations.documents.keys().map(String::as_str))
    }

    /// What the lists of these names revoke. A list that cannot be used revokes nothing.
    pub(super) fn revoked_by<'a>(&self, lists: impl Iterator<Item = &'a str>) -> Arc<Revocations> {
        Revocations::combined(lists.filter_map(|name| self.revocations.get(name).ok()).map(|list| &list.value))
    }
}

/// The documents of one kind.
#[derive(Debug)]
pub(super) struct NamedDocuments<T> {
    /// By name: the document, or why it cannot be used.
    documents: BTreeMap<String, Result<Arc<NamedDocument<T>>, String>>,
    /// By name: the source of a document that no posture names.
    unused: BTreeMap<String, String>,
    /// The problems of documents without a known name. Each of these documents may be any that is missing.
    nameless: Vec<PostureProblem>,
}

/// A document that can be used.
#[derive(Debug)]
pub(super) struct NamedDocument<T> {
    /// What the document says. Every posture that names this document alone shares it.
    pub(super) value: Arc<T>,
    found: Arc<FoundDocument>,
    canonical: OnceLock<Result<Vec<u8>, String>>,
}

impl<T> NamedDocument<T> {
    /// Where the document was found, for messages.
    pub(super) fn source(&self) -> &str {
        &self.found.source
    }

    /// The canonical form of the document without its `name`, which is the ConfigMap's if the document is in one. It is
    /// computed once for all postures that name the document.
    pub(super) fn canonical(&self) -> Result<&[u8], &str> {
        let content = self.canonical.get_or_init(|| {
            let mut content = self.found.value.clone();
            if let Some(fields) = content.as_object_mut() {
                fields.remove("name");
            }
            canonical(&content.to_string(), Everything).map_err(|error| error.to_string())
        });
        content.as_deref().map_err(String::as_str)
    }
}

/// A document that no posture names: it was read once, and its content was dropped. Whoever may publish builds must not
/// decide how much memory the webhook takes.
#[derive(Clone, Debug)]
pub(super) struct UnusedDocument {
    pub(super) kind: NamedKind,
    pub(super) source: String,
    /// `None` if it has none, which is one of its problems.
    pub(super) name: Option<String>,
    pub(super) problems: Vec<PostureProblem>,
}

/// The kinds of documents whose content is dropped if no posture names them. Revocations are kept: a posture that cannot be
/// read may name any list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum NamedKind {
    Reviewers,
    Pipelines,
}

/// Why a named document cannot be used.
pub(super) struct UnusableDocument {
    /// Whether no document has the name.
    pub(super) is_absent: bool,
    pub(super) why: String,
}

impl<T> NamedDocuments<T> {
    /// Reads documents of one kind. `broken` are the unreadable ones, with the names that they may have.
    fn read(
        found: &[Arc<FoundDocument>],
        broken: &[(Vec<String>, PostureProblem)],
        read: impl Fn(&str, &Value) -> Result<T, Vec<PostureProblem>>,
        known: Option<&Self>,
        problems: &mut Vec<PostureProblem>,
    ) -> Self {
        let mut all = Self { documents: BTreeMap::new(), unused: BTreeMap::new(), nameless: Vec::new() };
        for found in found {
            let (name, mut own) = name_of(found);
            let document = name.as_deref().and_then(|name| known?.read_from(name, found));
            if let (Some(name), Some(document)) = (&name, document) {
                all.add(name.clone(), document, problems);
                continue;
            }
            let value = read(&found.source, &found.value).map_err(|mut others| own.append(&mut others)).ok();
            match (name, value, own.first()) {
                (Some(name), Some(value), None) => {
                    let (value, canonical) = (Arc::new(value), OnceLock::new());
                    let document = NamedDocument { value, found: Arc::clone(found), canonical };
                    all.add(name, Arc::new(document), problems);
                }
                (Some(name), _, Some(first)) => all.set_unusable(name, first),
                (_, _, first) => all.nameless.extend(first.cloned()),
            }
            problems.append(&mut own);
        }
        for (names, problem) in broken {
            if names.is_empty() {
                all.nameless.push(problem.clone());
            }
            for name in names {
                all.set_unusable(name.clone(), problem);
            }
            problems.push(problem.clone());
        }
        all
    }

    /// Adds a document that no posture names. It can have the name of a document that is in use.
    fn add_unused(&mut self, unused: &UnusedDocument, problems: &mut Vec<PostureProblem>) {
        let UnusedDocument { source, name, problems: own, .. } = unused;
        problems.extend_from_slice(own);
        let Some(name) = name else { return self.nameless.extend(own.first().cloned()) };
        let other = match self.documents.get(name) {
            Some(Ok(other)) => Some(other.source()),
            Some(Err(_)) => return,
            None => self.unused.get(name).map(String::as_str),
        };
        if let (Some(other), None) = (other, own.first()) {
            let problem = also_named(source, name, other);
            self.set_unusable(name.clone(), &problem);
            problems.push(problem);
        } else if let Some(first) = own.first() {
            self.set_unusable(name.clone(), first);
        } else {
            self.unused.insert(name.clone(), source.clone());
        }
    }

    /// The document of this name, if it was read from `found`.
    fn read_from(&self, name: &str, found: &Arc<FoundDocument>) -> Option<Arc<NamedDocument<T>>> {
        let document = self.documents.get(name)?.as_ref().ok()?;
        if Arc::ptr_eq(&document.found, found) { Some(Arc::clone(document)) } else { None }
    }

    fn add(&mut self, name: String, new: Arc<NamedDocument<T>>, problems: &mut Vec<PostureProblem>) {
        match self.documents.get(&name) {
            Some(Ok(other)) => {
                let problem = also_named(new.source(), &name, other.source());
                self.set_unusable(name, &problem);
                problems.push(problem);
            }
            Some(Err(_)) => {}
            None => {
                self.documents.insert(name, Ok(new));
            }
        }
    }

    fn set_unusable(&mut self, name: String, problem: &PostureProblem) {
        self.documents.insert(name, Err(problem.to_string()));
    }

    /// The document of this name, or why it cannot be used.
    pub(super) fn get(&self, name: &str) -> Result<&Arc<NamedDocument<T>>, UnusableDocument> {
        match self.documents.get(name) {
            Some(Ok(document)) => Ok(document),
            Some(Err(why)) => Err(UnusableDocument { is_absent: false, why: format!("{name:?} is invalid: {why}") }),
            None => Err(UnusableDocument { is_absent: true, why: self.describe_absence(name) }),
        }
    }

    fn describe_absence(&self, name: &str) -> String {
        if self.nameless.is_empty() {
            return format!("{name:?} does not exist; no document of this kind has the name");
        }
        let perhaps: Vec<String> = self.nameless.iter().take(3).map(PostureProblem::to_string).collect();
        format!("{name:?} does not exist; it may be an invalid document without a name: {}", perhaps.join("; "))
    }
}

fn also_named(source: &str, name: &str, other: &str) -> PostureProblem {
    PostureProblem::new(source, "name", format!("{name:?} is also the name of {other}; rename one of them"))
}

/// Reads a document that no posture names, for its problems.
pub(super) fn read_unused(kind: NamedKind, found: &FoundDocument) -> UnusedDocument {
    let FoundDocument { source, value, .. } = found;
    let (name, mut problems) = name_of(found);
    let others = match kind {
        NamedKind::Reviewers => read_reviewers(source, value).err(),
        NamedKind::Pipelines => read_pipelines(source, value).err(),
    };
    problems.extend(others.into_iter().flatten());
    UnusedDocument { kind, source: source.clone(), name, problems }
}

/// The document's own name, or its ConfigMap's.
fn name_of(found: &FoundDocument) -> (Option<String>, Vec<PostureProblem>) {
    let FoundDocument { source, name: config_map, value } = found;
    let mut problems = Problems::new(source);
    let own = value.get("name").and_then(Value::as_str);
    if let Some(own) = own {
        problems.name("name", own);
    }
    let name = match (own, config_map.clone()) {
        (Some(own), Some(other)) if own != other => {
            let message = format_args!("is {own:?}, but the ConfigMap's name is {other:?}; remove the field");
            problems.add("name", message);
            Some(other)
        }
        (Some(own), _) => Some(own.to_owned()),
        (None, Some(other)) => Some(other),
        (None, None) => {
            problems.add("name", "is missing; a document outside a ConfigMap must have a name");
            None
        }
    };
    (name, problems.into_vec())
}
