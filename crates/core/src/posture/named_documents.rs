//! The documents that postures name: reviewers, revocations and pipelines, each kind by name.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    Revocations,
    gather::{FoundDocument, Gathered},
    pipelines::{Builds, read_pipelines},
    problems::{PostureProblem, Problems},
    reviewers::{ReviewerSet, read_reviewers},
    revocations::read_revocations,
};

/// All documents that postures can name.
#[derive(Debug)]
pub(super) struct NamedSets {
    pub(super) reviewers: NamedDocuments<ReviewerSet>,
    pub(super) revocations: NamedDocuments<Revocations>,
    pub(super) pipelines: NamedDocuments<Builds>,
}

impl NamedSets {
    /// Takes the documents out of `gathered` and reads them. All their problems are added to `problems`.
    pub(super) fn take_from(gathered: &mut Gathered, problems: &mut Vec<PostureProblem>) -> Self {
        use std::mem::take;
        let Gathered {
            reviewers, broken_reviewers, revocations, broken_revocations, pipelines, broken_pipelines, ..
        } = gathered;
        Self {
            reviewers: NamedDocuments::read(take(reviewers), take(broken_reviewers), read_reviewers, problems),
            revocations: NamedDocuments::read(take(revocations), take(broken_revocations), read_revocations, problems),
            pipelines: NamedDocuments::read(take(pipelines), take(broken_pipelines), read_pipelines, problems),
        }
    }

    /// What the lists of these names revoke. A list that cannot be used revokes nothing.
    pub(super) fn revoked_by<'a>(&self, lists: impl Iterator<Item = &'a str>) -> Revocations {
        let mut revoked = Revocations::default();
        for list in lists.filter_map(|name| self.revocations.get(name).ok()) {
            revoked.extend(&list.value);
        }
        revoked
    }
}

/// The documents of one kind.
#[derive(Debug)]
pub(super) struct NamedDocuments<T> {
    /// By name: the document, or why it cannot be used.
    documents: BTreeMap<String, Result<NamedDocument<T>, String>>,
    /// The problems of documents without a known name. Each of these documents may be any that is missing.
    nameless: Vec<PostureProblem>,
}

/// A document that can be used.
#[derive(Debug)]
pub(super) struct NamedDocument<T> {
    /// What the document says.
    pub(super) value: T,
    /// The document without its `name`, which is the ConfigMap's if the document is in one.
    pub(super) document: Value,
    pub(super) source: String,
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
        found: Vec<FoundDocument>,
        broken: Vec<(Vec<String>, PostureProblem)>,
        read: impl Fn(&str, &Value) -> Result<T, Vec<PostureProblem>>,
        problems: &mut Vec<PostureProblem>,
    ) -> Self {
        let mut all = Self { documents: BTreeMap::new(), nameless: Vec::new() };
        for FoundDocument { source, name, value: document } in found {
            let (name, mut own) = name_of(&source, name, &document);
            let value = read(&source, &document).map_err(|mut others| own.append(&mut others)).ok();
            match (name, value, own.first()) {
                (Some(name), Some(value), None) => all.add(name, NamedDocument { value, document, source }, problems),
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
                all.set_unusable(name, &problem);
            }
            problems.push(problem);
        }
        all
    }

    fn add(&mut self, name: String, mut new: NamedDocument<T>, problems: &mut Vec<PostureProblem>) {
        match self.documents.get(&name) {
            Some(Ok(other)) => {
                let message = format!("{name:?} is also the name of {}; rename one of them", other.source);
                let problem = PostureProblem::new(new.source, "name", message);
                self.set_unusable(name, &problem);
                problems.push(problem);
            }
            Some(Err(_)) => {}
            None => {
                if let Some(fields) = new.document.as_object_mut() {
                    fields.remove("name");
                }
                self.documents.insert(name, Ok(new));
            }
        }
    }

    fn set_unusable(&mut self, name: String, problem: &PostureProblem) {
        self.documents.insert(name, Err(problem.to_string()));
    }

    /// The document of this name, or why it cannot be used.
    pub(super) fn get(&self, name: &str) -> Result<&NamedDocument<T>, UnusableDocument> {
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

/// The document's own name, or its ConfigMap's.
fn name_of(source: &str, config_map: Option<String>, value: &Value) -> (Option<String>, Vec<PostureProblem>) {
    let mut problems = Problems::new(source);
    let own = value.get("name").and_then(Value::as_str);
    if let Some(own) = own {
        problems.name("name", own);
    }
    let name = match (own, config_map) {
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
