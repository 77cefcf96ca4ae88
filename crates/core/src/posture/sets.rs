//! Reviewers, revocations and canonical builds by name, for the postures that name them.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Builds, Revocations, faults::Faults, reviewers::ReviewerSet};
use crate::posture::set::PostureProblem;

/// A document that was found, not yet read.
#[derive(Debug)]
pub(crate) struct Found {
    /// Where, for messages.
    pub(crate) source: String,
    /// The name of its ConfigMap.
    pub(crate) name: Option<String>,
    pub(crate) value: Value,
}

/// All documents that postures name.
#[derive(Debug)]
pub(crate) struct NamedSets {
    pub(crate) reviewers: NamedDocuments<ReviewerSet>,
    pub(crate) revocations: NamedDocuments<Revocations>,
    pub(crate) pipelines: NamedDocuments<Builds>,
}

impl NamedSets {
    /// All that the readable ones of these lists revoke.
    pub(crate) fn revoked_by<'a>(&self, lists: impl Iterator<Item = &'a str>) -> Revocations {
        let mut revoked = Revocations::default();
        for list in lists.filter_map(|name| self.revocations.get(name).ok()) {
            revoked.extend(&list.meaning);
        }
        revoked
    }
}

/// The documents of one kind.
#[derive(Debug)]
pub(crate) struct NamedDocuments<T> {
    /// Each name's document, or why it cannot be used.
    documents: BTreeMap<String, Result<NamedDocument<T>, String>>,
    /// What is broken and may be any of them, for the message of one that is missing.
    nameless: Vec<PostureProblem>,
}

/// A document that can be used.
#[derive(Debug)]
pub(crate) struct NamedDocument<T> {
    /// What it says.
    pub(super) meaning: T,
    /// The document without its name, which stands outside when it is in a ConfigMap.
    pub(super) content: Value,
    pub(super) source: String,
}

/// Why a named document cannot be used.
pub(super) struct Unusable {
    /// Whether none has the name.
    pub(super) is_absent: bool,
    pub(super) why: String,
}

impl<T> NamedDocuments<T> {
    /// Reads documents of one kind; `broken` are those that are known to be unreadable, with their possible names.
    /// Everything that is wrong is added to `problems`.
    pub(crate) fn collect(
        found: Vec<Found>,
        broken: Vec<(Vec<String>, PostureProblem)>,
        read: impl Fn(&str, &Value) -> Result<T, Vec<PostureProblem>>,
        problems: &mut Vec<PostureProblem>,
    ) -> Self {
        let mut all = Self { documents: BTreeMap::new(), nameless: Vec::new() };
        for Found { source, name, value } in found {
            let (name, mut faults) = name_of(&source, name, &value);
            let meaning = read(&source, &value).map_err(|mut others| faults.append(&mut others)).ok();
            match (name, meaning, faults.first()) {
                (Some(name), Some(meaning), None) => all.add(name, source, value, meaning, problems),
                (Some(name), _, Some(first)) => all.spoil(name, first),
                (_, _, first) => all.nameless.extend(first.cloned()),
            }
            problems.append(&mut faults);
        }
        for (names, problem) in broken {
            if names.is_empty() {
                all.nameless.push(problem.clone());
            }
            for name in names {
                all.spoil(name, &problem);
            }
            problems.push(problem);
        }
        all
    }

    fn add(&mut self, name: String, source: String, value: Value, meaning: T, problems: &mut Vec<PostureProblem>) {
        match self.documents.get(&name) {
            Some(Ok(other)) => {
                let message = format!("the name {name:?} is also that of {}", other.source);
                let problem = PostureProblem::new(source, "name", message);
                self.spoil(name, &problem);
                problems.push(problem);
            }
            Some(Err(_)) => {}
            None => {
                self.documents.insert(name, Ok(NamedDocument { meaning, content: without_name(value), source }));
            }
        }
    }

    fn spoil(&mut self, name: String, problem: &PostureProblem) {
        self.documents.insert(name, Err(problem.to_string()));
    }

    /// The document of this name, or why there is none that can be used.
    pub(super) fn get(&self, name: &str) -> Result<&NamedDocument<T>, Unusable> {
        match self.documents.get(name) {
            Some(Ok(document)) => Ok(document),
            Some(Err(why)) => Err(Unusable { is_absent: false, why: format!("{name:?} is invalid: {why}") }),
            None => Err(Unusable { is_absent: true, why: self.absent(name) }),
        }
    }

    fn absent(&self, name: &str) -> String {
        if self.nameless.is_empty() {
            return format!("{name:?} is not there: no document of this kind has the name");
        }
        let perhaps: Vec<String> = self.nameless.iter().take(3).map(PostureProblem::to_string).collect();
        format!("{name:?} is not there; it may be this: {}", perhaps.join("; "))
    }
}

/// A document's own name, or its ConfigMap's.
fn name_of(source: &str, config_map: Option<String>, value: &Value) -> (Option<String>, Vec<PostureProblem>) {
    let mut faults = Faults::of(source);
    let own = value.get("name").and_then(Value::as_str);
    if let Some(own) = own {
        faults.name("name", own);
    }
    let name = match (own, config_map) {
        (Some(own), Some(other)) if own != other => {
            faults.add("name", format_args!("{own:?} is not the ConfigMap's name, {other:?}; leave one of them out"));
            Some(other)
        }
        (Some(own), _) => Some(own.to_owned()),
        (None, Some(other)) => Some(other),
        (None, None) => {
            faults.add("name", "is not there; outside a ConfigMap a document has a name of its own");
            None
        }
    };
    (name, faults.found())
}

fn without_name(mut value: Value) -> Value {
    if let Some(fields) = value.as_object_mut() {
        fields.remove("name");
    }
    value
}
