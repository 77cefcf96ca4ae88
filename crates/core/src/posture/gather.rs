//! Finds documents in texts: in multi-document YAML, in Lists and in ConfigMaps.
//!
//! Only the wrapping is checked here. A text that cannot be read is searched for the environment or the name that it
//! mentions. So a broken document invalidates its own environment, not all of them and not none.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt::Display,
    sync::Arc,
};

use serde_json::Value;

use super::{
    document_text::{Document, LEFT_OUT},
    named_documents::{NamedKind, UnusedDocument},
    problems::PostureProblem,
};
use crate::{
    encoding::yaml::read_yaml,
    kube::config_map::ConfigMapContent,
    text::{listed, on_one_line},
    vocabulary::{APPROVAL_KIND, BUNDLE_KIND, KIND_LABEL},
};

/// A document, parsed but not read.
#[derive(Debug)]
pub(super) struct FoundDocument {
    /// Where it was found, for messages.
    pub(super) source: String,
    /// The name of its ConfigMap.
    pub(super) name: Option<String>,
    pub(super) value: Value,
}

/// By namespace (empty if the ConfigMap has none) and name: the ConfigMap, or why it cannot be used.
pub(super) type ConfigMaps = BTreeMap<(String, String), Result<Arc<ConfigMapContent>, String>>;

/// The text that a document was read from, and its index in the text.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    text: OriginText,
    pub(super) index: usize,
}

#[derive(Clone, Debug)]
enum OriginText {
    /// A whole text.
    Whole(Arc<Document>),
    /// The value of one key of a ConfigMap.
    Key(Arc<str>),
}

impl Origin {
    /// Whether the text is the document's own, and not a copy of a part of it.
    pub(super) fn is_whole(&self) -> bool {
        matches!(self.text, OriginText::Whole(_))
    }

    pub(super) fn text(&self) -> &str {
        match &self.text {
            OriginText::Whole(document) => &document.text,
            OriginText::Key(text) => text,
        }
    }
}

/// What one text, or all texts together, hold, by kind.
#[derive(Clone, Debug, Default)]
pub(super) struct Gathered {
    pub(super) postures: Vec<Arc<FoundDocument>>,
    pub(super) reviewers: Vec<Arc<FoundDocument>>,
    pub(super) revocations: Vec<Arc<FoundDocument>>,
    pub(super) pipelines: Vec<Arc<FoundDocument>>,
    /// Unreadable texts that may be postures, with the environments that they mention.
    pub(super) broken_postures: Vec<(Vec<String>, PostureProblem)>,
    /// Unreadable reviewers, with the names that they may have.
    pub(super) broken_reviewers: Vec<(Vec<String>, PostureProblem)>,
    /// Unreadable revocations, with the names that they may have.
    pub(super) broken_revocations: Vec<(Vec<String>, PostureProblem)>,
    /// Unreadable pipelines, with the names that they may have.
    pub(super) broken_pipelines: Vec<(Vec<String>, PostureProblem)>,
    /// The v1 Namespaces, in the order in which they were found.
    namespaces: Vec<FoundNamespace>,
    /// All ConfigMaps: workloads may refer to them.
    pub(super) config_maps: ConfigMaps,
    /// By the source of a document: where it was read.
    pub(super) origins: BTreeMap<String, Origin>,
    /// Problems that make no posture invalid.
    pub(super) harmless: Vec<PostureProblem>,
    /// Documents that no posture names. Only this is kept of them.
    pub(super) unused: Vec<UnusedDocument>,
}

/// A v1 Namespace among the documents.
#[derive(Clone, Debug)]
struct FoundNamespace {
    source: String,
    name: String,
    labels: BTreeMap<String, String>,
}

/// The kinds of documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DocumentKind {
    Posture,
    Reviewers,
    Revocations,
    Pipelines,
}

impl DocumentKind {
    const ALL: [Self; 4] = [Self::Posture, Self::Reviewers, Self::Revocations, Self::Pipelines];

    /// The value of the document's `kind`.
    fn as_str(self) -> &'static str {
        match self {
            Self::Posture => "Posture",
            Self::Reviewers => "Reviewers",
            Self::Revocations => "Revocations",
            Self::Pipelines => "Pipelines",
        }
    }

    /// The value of the label [`KIND_LABEL`] of the document's ConfigMap.
    fn label(self) -> &'static str {
        match self {
            Self::Posture => "posture",
            Self::Reviewers => "reviewers",
            Self::Revocations => "revocations",
            Self::Pipelines => "pipelines",
        }
    }

    /// The key in the ConfigMap's `data`.
    fn key(self) -> &'static str {
        match self {
            Self::Posture => "posture.yaml",
            Self::Reviewers => "reviewers.yaml",
            Self::Revocations => "revocations.yaml",
            Self::Pipelines => "pipelines.yaml",
        }
    }
}

/// Whether a ConfigMap with this value of the label [`KIND_LABEL`] holds a posture document.
pub(crate) fn is_document_kind(label: &str) -> bool {
    DocumentKind::ALL.into_iter().any(|kind| kind.label() == label)
}

/// A text that cannot be used.
struct BrokenDocument<'a> {
    /// The kind that it should have.
    kind: Option<DocumentKind>,
    /// The name of its ConfigMap.
    name: Option<&'a str>,
    text: &'a str,
}

impl Gathered {
    /// What one text holds.
    pub(super) fn read(document: &Arc<Document>) -> Self {
        let mut gathered = Self::default();
        let Document { source, name, text } = &**document;
        match read_yaml(text) {
            Err(error) => {
                let broken = BrokenDocument { kind: None, name: name.as_deref(), text };
                gathered.add_broken(&broken, problem(source.clone(), error));
            }
            Ok(values) => {
                let several = values.len() > 1;
                for (index, value) in values.into_iter().enumerate() {
                    let source = if several { format!("{source} document {}", index + 1) } else { source.clone() };
                    let origin = Origin { text: OriginText::Whole(Arc::clone(document)), index };
                    gathered.origins.insert(source.clone(), origin);
                    gathered.sort(source, name.clone(), value);
                }
            }
        }
        gathered
    }

    /// What is kept of a document that no posture names.
    pub(super) fn of_unused(unused: UnusedDocument, origins: BTreeMap<String, Origin>) -> Self {
        Self { unused: vec![unused], origins, ..Self::default() }
    }

    /// Adds what another text holds.
    pub(super) fn add(&mut self, other: &Self) {
        let Self {
            postures,
            reviewers,
            revocations,
            pipelines,
            broken_postures,
            broken_reviewers,
            broken_revocations,
            broken_pipelines,
            namespaces,
            config_maps,
            origins,
            harmless,
            unused,
        } = other;
        self.postures.extend_from_slice(postures);
        self.reviewers.extend_from_slice(reviewers);
        self.revocations.extend_from_slice(revocations);
        self.pipelines.extend_from_slice(pipelines);
        self.broken_postures.extend_from_slice(broken_postures);
        self.broken_reviewers.extend_from_slice(broken_reviewers);
        self.broken_revocations.extend_from_slice(broken_revocations);
        self.broken_pipelines.extend_from_slice(broken_pipelines);
        self.namespaces.extend_from_slice(namespaces);
        for (name, content) in config_maps {
            self.keep_config_map(name.clone(), content.clone());
        }
        self.origins.extend(origins.iter().map(|(source, origin)| (source.clone(), origin.clone())));
        self.harmless.extend_from_slice(harmless);
        self.unused.extend_from_slice(unused);
    }

    /// The one document that this text holds, if it is of a kind that postures name, and nothing else is in the text.
    pub(super) fn only_named(&self) -> Option<(NamedKind, &Arc<FoundDocument>)> {
        let Self {
            postures,
            reviewers,
            revocations,
            pipelines,
            broken_postures,
            broken_reviewers,
            broken_revocations,
            broken_pipelines,
            namespaces,
            config_maps,
            origins: _,
            harmless,
            unused,
        } = self;
        let broken = [broken_postures, broken_reviewers, broken_revocations, broken_pipelines];
        let has_others = !postures.is_empty()
            || !revocations.is_empty()
            || broken.into_iter().any(|broken| !broken.is_empty())
            || !namespaces.is_empty()
            || !config_maps.is_empty()
            || !harmless.is_empty()
            || !unused.is_empty();
        match (&**reviewers, &**pipelines) {
            ([only], []) if !has_others => Some((NamedKind::Reviewers, only)),
            ([], [only]) if !has_others => Some((NamedKind::Pipelines, only)),
            _ => None,
        }
    }

    /// The labels of each v1 Namespace. Of two Namespaces with one name, the first counts.
    pub(super) fn take_namespaces(&mut self) -> BTreeMap<String, BTreeMap<String, String>> {
        let mut labels_of = BTreeMap::new();
        for FoundNamespace { source, name, labels } in std::mem::take(&mut self.namespaces) {
            match labels_of.entry(name) {
                Entry::Vacant(entry) => drop(entry.insert(labels)),
                Entry::Occupied(entry) => {
                    let message = format!("Namespace {} appears twice; only the first one is read", entry.key());
                    self.harmless.push(problem(source, message));
                }
            }
        }
        labels_of
    }

    /// Adds one document by its kind.
    fn sort(&mut self, source: String, name: Option<String>, value: Value) {
        let api_version = value.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
        let kind = value.get("kind").and_then(Value::as_str).unwrap_or_default();
        match (api_version, kind) {
            ("v1", "List") => self.add_list(&source, value),
            ("v1", "ConfigMap") => self.add_config_map(source, &value, name.is_none()),
            ("v1", "Namespace") => self.add_namespace(source, &value),
            _ => match DocumentKind::ALL.into_iter().find(|known| known.as_str() == kind) {
                Some(kind) => self.add_document(kind, Arc::new(FoundDocument { source, name, value })),
                None if kind.is_empty() || api_version.starts_with("writgate.dev/") => {
                    let message =
                        format!("kind {kind:?} is unknown; expected Posture, Reviewers, Revocations or Pipelines");
                    let environments = value.get("environment").and_then(Value::as_str).map(str::to_owned);
                    self.broken_postures.push((environments.into_iter().collect(), problem(source, message)));
                }
                None => {
                    let message = format!("is {api_version} {kind}, which is not a posture document; it is ignored");
                    self.harmless.push(problem(source, message));
                }
            },
        }
    }

    fn add_document(&mut self, kind: DocumentKind, found: Arc<FoundDocument>) {
        match kind {
            DocumentKind::Posture => self.postures.push(found),
            DocumentKind::Reviewers => self.reviewers.push(found),
            DocumentKind::Revocations => self.revocations.push(found),
            DocumentKind::Pipelines => self.pipelines.push(found),
        }
    }

    fn add_list(&mut self, source: &str, mut list: Value) {
        let items = match list.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => items,
            _ => Vec::new(),
        };
        for (index, item) in items.into_iter().enumerate() {
            self.sort(format!("{source} items[{index}]"), None, item);
        }
    }

    /// Adds the document in a ConfigMap.
    ///
    /// The label, the key and the document's kind must agree. RBAC, a watch and a reader each rely on one of them, so a
    /// difference is a mistake that must not be ignored. Workloads can refer to the ConfigMap itself only if it is from a
    /// file: in the cluster, it is in the system namespace.
    fn add_config_map(&mut self, source: String, value: &Value, is_from_file: bool) {
        let metadata = |field| value.pointer("/metadata").and_then(|metadata| metadata.get(field));
        let (name, namespace) =
            (metadata("name").and_then(Value::as_str), metadata("namespace").and_then(Value::as_str));
        if let Some(name) = name.filter(|_| is_from_file) {
            let name = (namespace.unwrap_or_default().to_owned(), name.to_owned());
            self.keep_config_map(name, ConfigMapContent::of(value).map(Arc::new));
        }
        let source = match (namespace, name) {
            (Some(namespace), Some(name)) => on_one_line(&format!("configmap {namespace}/{name}")),
            (None, Some(name)) => on_one_line(&format!("configmap {name}")),
            (_, None) => source,
        };
        let label = metadata("labels").and_then(|labels| labels.get(KIND_LABEL)).and_then(Value::as_str);
        if label == Some(BUNDLE_KIND) || label == Some(APPROVAL_KIND) {
            return;
        }
        let text = |kind: DocumentKind| value.get("data")?.get(kind.key())?.as_str();
        match DocumentKind::ALL.into_iter().find(|kind| Some(kind.label()) == label) {
            Some(kind) => self.add_labelled(kind, format!("{source} key {}", kind.key()), name, value),
            None if DocumentKind::ALL.into_iter().all(|kind| text(kind).is_none()) => {
                let message = format!("has no label {KIND_LABEL} of a posture document; it is ignored");
                self.harmless.push(problem(source, message));
            }
            None => {
                for (kind, text) in DocumentKind::ALL.into_iter().filter_map(|kind| Some((kind, text(kind)?))) {
                    let found = label.map_or("is missing".to_owned(), |label| format!("is {label:?}"));
                    let message = format!("the label {KIND_LABEL} {found}; expected {}", kind.label());
                    let problem = problem(format!("{source} key {}", kind.key()), message);
                    self.add_broken(&BrokenDocument { kind: Some(kind), name, text }, problem);
                }
            }
        }
    }

    /// Adds the document in a ConfigMap whose label says that it holds a document of this kind.
    fn add_labelled(&mut self, kind: DocumentKind, source: String, name: Option<&str>, config_map: &Value) {
        let text = config_map.get("data").and_then(|data| data.get(kind.key())).and_then(Value::as_str);
        if let Some(why) = config_map.get(LEFT_OUT).and_then(Value::as_str) {
            let broken = BrokenDocument { kind: Some(kind), name, text: "" };
            return self.add_broken(&broken, problem(source, why));
        }
        if let Some(text) = text {
            self.origins.insert(source.clone(), Origin { text: OriginText::Key(text.into()), index: 0 });
        }
        match document_in(kind, text, config_map) {
            Ok(value) => {
                let name = name.map(str::to_owned);
                self.add_document(kind, Arc::new(FoundDocument { source, name, value }));
            }
            Err(why) => {
                let whole = config_map.to_string();
                let broken = BrokenDocument { kind: Some(kind), name, text: text.unwrap_or(&whole) };
                self.add_broken(&broken, problem(source, why));
            }
        }
    }

    fn keep_config_map(&mut self, name: (String, String), content: Result<Arc<ConfigMapContent>, String>) {
        match self.config_maps.entry(name) {
            Entry::Vacant(entry) => drop(entry.insert(content)),
            Entry::Occupied(mut entry) => {
                drop(entry.insert(Err("it appears twice in the files; remove one".to_owned())));
            }
        }
    }

    fn add_namespace(&mut self, source: String, value: &Value) {
        let Some(name) = value.pointer("/metadata/name").and_then(Value::as_str) else {
            return self.harmless.push(problem(source, "is a Namespace without a name; it is ignored"));
        };
        let labels = value.pointer("/metadata/labels").and_then(Value::as_object);
        let texts = labels.into_iter().flatten().map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
        // A label that is not a string must not be read as absent: the namespace would not be governed.
        let Some(labels) = texts.collect::<Option<BTreeMap<_, _>>>() else {
            let message = format!("a label of Namespace {name} is not a string; the Namespace is ignored");
            return self.harmless.push(problem(source, message));
        };
        self.namespaces.push(FoundNamespace { source, name: name.to_owned(), labels });
    }

    /// Keeps a text that cannot be used, as the kind that it most likely has.
    fn add_broken(&mut self, broken: &BrokenDocument<'_>, problem: PostureProblem) {
        let environments = mentioned(broken.text, "environment");
        let mut kinds = mentioned(broken.text, "kind");
        kinds.extend(broken.kind.map(|kind| kind.as_str().to_owned()));
        let may_be = |kind: DocumentKind| kinds.iter().any(|mentioned| mentioned == kind.as_str());
        let mut names = mentioned(broken.text, "name");
        names.extend(broken.name.map(str::to_owned));
        if may_be(DocumentKind::Reviewers) {
            self.broken_reviewers.push((names.clone(), problem.clone()));
        }
        if may_be(DocumentKind::Revocations) {
            self.broken_revocations.push((names.clone(), problem.clone()));
        }
        if may_be(DocumentKind::Pipelines) {
            self.broken_pipelines.push((names, problem.clone()));
        }
        let mentions_a_kind = DocumentKind::ALL.into_iter().any(may_be);
        let may_be_wrapped = kinds.is_empty() || kinds.iter().any(|kind| kind == "ConfigMap" || kind == "List");
        if may_be(DocumentKind::Posture)
            || (mentions_a_kind && !environments.is_empty())
            || (!mentions_a_kind && may_be_wrapped)
        {
            self.broken_postures.push((environments, problem));
        } else if !mentions_a_kind {
            self.harmless.push(problem);
        }
    }
}

/// The document of this kind in a ConfigMap's text, or why there is none.
fn document_in(kind: DocumentKind, text: Option<&str>, config_map: &Value) -> Result<Value, String> {
    let values = read_yaml(text.ok_or("is missing or not a string")?);
    let keys = ["data", "binaryData"].into_iter().filter_map(|field| config_map.get(field)?.as_object());
    let others: Vec<&String> = keys.flat_map(|data| data.keys()).filter(|key| *key != kind.key()).collect();
    if !others.is_empty() {
        let others = listed(others.iter().map(ToString::to_string));
        return Err(format!("must be the only key of its ConfigMap; remove {others}"));
    }
    let mut values = values.map_err(|error| error.to_string())?;
    match (values.pop(), values.is_empty()) {
        (Some(value), true) if value.get("kind").and_then(Value::as_str) == Some(kind.as_str()) => Ok(value),
        (Some(_), true) => Err(format!("is not a document of kind {}", kind.as_str())),
        (None, _) => Err("holds no document; expected one".to_owned()),
        (Some(_), false) => Err(format!("holds {} documents; expected one", values.len() + 1)),
    }
}

fn problem(source: String, message: impl Display) -> PostureProblem {
    PostureProblem::new(source, "", message)
}

/// The longest name in Kubernetes, in bytes. A longer text is no name. Without this limit, the names found in a text
/// without spaces could take the square of its size.
const MAX_NAME: usize = 253;

/// The values that a text seems to give to a field. The text may be broken YAML or JSON. Comments are skipped.
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
