//! Finding the documents in texts: several in one, in Lists, in ConfigMaps; and guessing what a broken one was.
//!
//! Nothing is judged here but the wrapping. A text that cannot be read is looked at leniently for the environment
//! or the name it is about, so that it denies there, and not nowhere and not everywhere.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt::Display,
};

use serde_json::Value;

use super::{Document, PostureProblem};
use crate::{
    decide::facts::ConfigMapContent,
    encoding::yaml::read_yaml,
    posture::Found,
    text::{listed, on_one_line},
    vocabulary::{APPROVAL_KIND, BUNDLE_KIND, KIND_LABEL},
};

/// ConfigMaps by namespace, empty where none is given, and name; or why one cannot be used.
pub(super) type ConfigMaps = BTreeMap<(String, String), Result<ConfigMapContent, String>>;

/// What the texts hold, by kind.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) postures: Vec<Found>,
    pub(super) reviewers: Vec<Found>,
    pub(super) revocations: Vec<Found>,
    pub(super) pipelines: Vec<Found>,
    /// What may be a posture and cannot be read, with the environments it seems to be for.
    pub(super) broken_postures: Vec<(Vec<String>, PostureProblem)>,
    /// Reviewers that cannot be read, with the names they may have.
    pub(super) broken_reviewers: Vec<(Vec<String>, PostureProblem)>,
    /// Revocations that cannot be read, with the names they may have.
    pub(super) broken_revocations: Vec<(Vec<String>, PostureProblem)>,
    /// Canonical builds that cannot be read, with the names they may have.
    pub(super) broken_pipelines: Vec<(Vec<String>, PostureProblem)>,
    /// The labels of Namespaces.
    pub(super) namespaces: BTreeMap<String, BTreeMap<String, String>>,
    /// All ConfigMaps: workloads may refer to them.
    pub(super) config_maps: ConfigMaps,
    /// The text that each document was read from, and its number in it, by the document's source.
    pub(super) texts: BTreeMap<String, (String, usize)>,
    /// What is wrong and denies nothing.
    pub(super) harmless: Vec<PostureProblem>,
}

/// The kinds of documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Posture,
    Reviewers,
    Revocations,
    Pipelines,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Posture, Self::Reviewers, Self::Revocations, Self::Pipelines];

    /// The word in a document's `kind`.
    fn word(self) -> &'static str {
        match self {
            Self::Posture => "Posture",
            Self::Reviewers => "Reviewers",
            Self::Revocations => "Revocations",
            Self::Pipelines => "Pipelines",
        }
    }

    /// The value of a ConfigMap's label.
    fn label(self) -> &'static str {
        match self {
            Self::Posture => "posture",
            Self::Reviewers => "reviewers",
            Self::Revocations => "revocations",
            Self::Pipelines => "pipelines",
        }
    }

    /// The key in a ConfigMap's data.
    fn key(self) -> &'static str {
        match self {
            Self::Posture => "posture.yaml",
            Self::Reviewers => "reviewers.yaml",
            Self::Revocations => "revocations.yaml",
            Self::Pipelines => "pipelines.yaml",
        }
    }
}

/// Whether a ConfigMap with this value of [`KIND_LABEL`] holds a document of postures.
pub(crate) fn is_document_kind(label: &str) -> bool {
    Kind::ALL.into_iter().any(|kind| kind.label() == label)
}

/// A text that cannot be used, and what is known of it.
struct Broken<'a> {
    /// The kind it should be of.
    kind: Option<Kind>,
    /// The name of its ConfigMap.
    name: Option<&'a str>,
    text: &'a str,
}

impl Gathered {
    /// Adds what is in one text.
    pub(super) fn add(&mut self, document: Document) {
        let Document { source, name, text } = document;
        match read_yaml(&text) {
            Err(error) => {
                self.broken(&Broken { kind: None, name: name.as_deref(), text: &text }, problem(source, error));
            }
            Ok(values) => {
                let several = values.len() > 1;
                for (index, value) in values.into_iter().enumerate() {
                    let source = if several { format!("{source} document {}", index + 1) } else { source.clone() };
                    self.texts.insert(source.clone(), (text.clone(), index));
                    self.sort(source, name.clone(), value);
                }
            }
        }
    }

    /// Adds one document by its kind.
    fn sort(&mut self, source: String, name: Option<String>, value: Value) {
        let api_version = value.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
        let kind = value.get("kind").and_then(Value::as_str).unwrap_or_default();
        match (api_version, kind) {
            ("v1", "List") => self.list(&source, value),
            ("v1", "ConfigMap") => self.config_map(source, &value),
            ("v1", "Namespace") => self.namespace(source, &value),
            _ => match Kind::ALL.into_iter().find(|known| known.word() == kind) {
                Some(kind) => self.found(kind, Found { source, name, value }),
                None if kind.is_empty() || api_version.starts_with("writgate.dev/") => {
                    let message =
                        format!("kind {kind:?} is unknown; expected Posture, Reviewers, Revocations or Pipelines");
                    let environments = value.get("environment").and_then(Value::as_str).map(str::to_owned);
                    self.broken_postures.push((environments.into_iter().collect(), problem(source, message)));
                }
                None => {
                    let message = format!("{api_version} {kind} has no place among postures; it is not read");
                    self.harmless.push(problem(source, message));
                }
            },
        }
    }

    fn found(&mut self, kind: Kind, found: Found) {
        match kind {
            Kind::Posture => self.postures.push(found),
            Kind::Reviewers => self.reviewers.push(found),
            Kind::Revocations => self.revocations.push(found),
            Kind::Pipelines => self.pipelines.push(found),
        }
    }

    fn list(&mut self, source: &str, mut list: Value) {
        let items = list.get_mut("items").map(Value::take);
        for (index, item) in items.into_iter().flat_map(into_items).enumerate() {
            self.sort(format!("{source} items[{index}]"), None, item);
        }
    }

    /// Unwraps a ConfigMap. Label, key and kind say one thing three times, so that RBAC, a watch and a reader agree;
    /// where they do not, somebody made a mistake that must not stay silent.
    fn config_map(&mut self, source: String, value: &Value) {
        let metadata = |field| value.pointer("/metadata").and_then(|metadata| metadata.get(field));
        let name = metadata("name").and_then(Value::as_str);
        if let Some(name) = name {
            let namespace = metadata("namespace").and_then(Value::as_str).unwrap_or_default();
            self.keep_config_map(namespace, name, value);
        }
        let place = match (metadata("namespace").and_then(Value::as_str), name) {
            (Some(namespace), Some(name)) => on_one_line(&format!("configmap {namespace}/{name}")),
            (None, Some(name)) => on_one_line(&format!("configmap {name}")),
            (_, None) => source,
        };
        let label = metadata("labels").and_then(|labels| labels.get(KIND_LABEL)).and_then(Value::as_str);
        let data = value.get("data").and_then(Value::as_object);
        let text = |kind: Kind| data.and_then(|data| data.get(kind.key())).and_then(Value::as_str);
        if label == Some(BUNDLE_KIND) || label == Some(APPROVAL_KIND) {
            return;
        }
        let Some(kind) = Kind::ALL.into_iter().find(|kind| Some(kind.label()) == label) else {
            let mut held = Kind::ALL.into_iter().filter_map(|kind| Some((kind, text(kind)?))).peekable();
            if held.peek().is_none() {
                self.harmless.push(problem(place, format!("has no label {KIND_LABEL} of a posture; it is not read")));
                return;
            }
            for (kind, text) in held {
                let message =
                    format!("needs the label {KIND_LABEL}: {}; found {}", kind.label(), label.unwrap_or("none"));
                let place = format!("{place} key {}", kind.key());
                self.broken(&Broken { kind: Some(kind), name, text }, problem(place, message));
            }
            return;
        };
        let place = format!("{place} key {}", kind.key());
        let whole = value.to_string();
        let broken = Broken { kind: Some(kind), name, text: text(kind).unwrap_or(&whole) };
        let others = ["data", "binaryData"].into_iter().filter_map(|field| value.get(field)?.as_object());
        let others: Vec<&str> =
            others.flat_map(|data| data.keys()).map(String::as_str).filter(|&k| k != kind.key()).collect();
        if let Some(text) = text(kind) {
            self.texts.insert(place.clone(), (text.to_owned(), 0));
        }
        match text(kind).map(read_yaml) {
            None => self.broken(&broken, problem(place, "is not there, or not a text")),
            Some(_) if !others.is_empty() => {
                self.broken(
                    &broken,
                    problem(
                        place,
                        format!(
                            "must be alone in its ConfigMap; found {}",
                            listed(others.iter().map(ToString::to_string))
                        ),
                    ),
                );
            }
            Some(Err(error)) => self.broken(&broken, problem(place, error)),
            Some(Ok(mut values)) => match (values.pop(), values.is_empty()) {
                (Some(value), true) if value.get("kind").and_then(Value::as_str) == Some(kind.word()) => {
                    self.found(kind, Found { source: place, name: name.map(str::to_owned), value });
                }
                (Some(_), true) => self.broken(&broken, problem(place, format!("is not of kind {}", kind.word()))),
                (_, _) => self.broken(&broken, problem(place, "holds no document or several; expected one")),
            },
        }
    }

    fn keep_config_map(&mut self, namespace: &str, name: &str, value: &Value) {
        match self.config_maps.entry((namespace.to_owned(), name.to_owned())) {
            Entry::Vacant(entry) => drop(entry.insert(ConfigMapContent::of(value))),
            Entry::Occupied(mut entry) => drop(entry.insert(Err("it is there twice among the files".to_owned()))),
        }
    }

    fn namespace(&mut self, source: String, value: &Value) {
        let Some(name) = value.pointer("/metadata/name").and_then(Value::as_str) else {
            return self.harmless.push(problem(source, "a Namespace without a name; it is not read"));
        };
        let labels = value.pointer("/metadata/labels").and_then(Value::as_object);
        let texts = labels.into_iter().flatten().map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
        // A label that is no text must not look like one that is not there: that would be a namespace without rules.
        let Some(labels) = texts.collect::<Option<BTreeMap<_, _>>>() else {
            return self
                .harmless
                .push(problem(source, format!("a label of Namespace {name} is not a text; it is not read")));
        };
        match self.namespaces.entry(name.to_owned()) {
            Entry::Vacant(entry) => {
                entry.insert(labels);
            }
            Entry::Occupied(_) => {
                self.harmless.push(problem(source, format!("Namespace {name} is there twice; the first one counts")));
            }
        }
    }

    /// Keeps a text that cannot be used, as what it most likely was.
    fn broken(&mut self, broken: &Broken<'_>, problem: PostureProblem) {
        let environments = mentioned(broken.text, "environment");
        let mut words = mentioned(broken.text, "kind");
        words.extend(broken.kind.map(|kind| kind.word().to_owned()));
        let says = |kind: Kind| words.iter().any(|word| word == kind.word());
        let mut names = mentioned(broken.text, "name");
        names.extend(broken.name.map(str::to_owned));
        if says(Kind::Reviewers) {
            self.broken_reviewers.push((names.clone(), problem.clone()));
        }
        if says(Kind::Revocations) {
            self.broken_revocations.push((names.clone(), problem.clone()));
        }
        if says(Kind::Pipelines) {
            self.broken_pipelines.push((names, problem.clone()));
        }
        let ours = Kind::ALL.into_iter().any(says);
        let wrapped = words.is_empty() || words.iter().any(|word| word == "ConfigMap" || word == "List");
        if says(Kind::Posture) || (ours && !environments.is_empty()) || (!ours && wrapped) {
            self.broken_postures.push((environments, problem));
        } else if ![Kind::Reviewers, Kind::Revocations, Kind::Pipelines].into_iter().any(says) {
            self.harmless.push(problem);
        }
    }
}

fn problem(source: String, message: impl Display) -> PostureProblem {
    PostureProblem::new(source, "", message)
}

fn into_items(items: Value) -> Vec<Value> {
    match items {
        Value::Array(items) => items,
        _ => Vec::new(),
    }
}

/// The longest name in Kubernetes. What is longer names nothing, and in a text without spaces each would be the rest
/// of it.
const MAX_NAME: usize = 253;

/// The values that a text, YAML or JSON, readable or not, seems to give a field. Comments do not count.
fn mentioned(text: &str, field: &str) -> Vec<String> {
    let mut values = Vec::new();
    // A text inside JSON has its line breaks escaped.
    for line in text.replace("\\n", "\n").lines() {
        let line = line.split_once(" #").map_or(line, |(line, _comment)| line);
        if line.trim_start().starts_with('#') {
            continue;
        }
        let mut rest = line;
        while let Some((before, after)) = rest.split_once(field) {
            rest = after;
            let is_word = !before.ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/'));
            let after = after.trim_start_matches(['"', '\'', '\\']).trim_start();
            let (true, Some(value)) = (is_word, after.strip_prefix(':')) else { continue };
            let value = value.trim_start_matches([' ', '\t', '"', '\'', '\\']);
            let is_part = |c: &char| !c.is_whitespace() && !"\"'\\,[]{}".contains(*c);
            let value: String = value.chars().take_while(is_part).take(MAX_NAME + 1).collect();
            if !value.is_empty() && value.len() <= MAX_NAME {
                values.push(value);
            }
        }
    }
    values.sort();
    values.dedup();
    values
}
