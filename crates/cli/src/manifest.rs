//! Kubernetes objects of a file, as kubectl would send them: their kinds, names and spec hashes.
//!
//! No file is opened and nothing is decided here. Core reads YAML (`read_yaml`) and applies the API server's defaults
//! (`default_forward`).

pub(crate) mod code_scanning;
pub(crate) mod edit;
pub(crate) mod input;
pub(crate) mod namespace;
pub(crate) mod workloads;

use std::{fmt, io};

use serde_json::Value;
pub(crate) use writgate_cluster::live::{UNKNOWN_USER, is_of_an_approval};
use writgate_cluster::live::{UnsentRequest, attached};
use writgate_core::{
    approval::{DetachedApproval, ManifestHashError, SpecHash, manifest_hash_as},
    encoding::{YamlError, read_yaml},
    kube::{ConfigMapContent, DefaultError, WorkloadKind, WorkloadKinds, default_forward},
    text::escape_line,
    vocabulary::{APPROVAL_KEY, APPROVAL_KIND, KIND_LABEL, is_approval},
};

/// The most bytes of an object's JSON: `MaxRequestBodyBytes` of k8s.io/apiserver. What is larger can never run, and would only
/// cost a reviewer time and memory.
const MAX_OBJECT: usize = 3 << 20;

/// The annotations of Helm's and Argo CD's hooks. Both create a hook at each release, after they have deleted the last one.
const HOOKS: [&str; 2] = ["helm.sh/hook", ARGO_CD_HOOK];
const ARGO_CD_HOOK: &str = "argocd.argoproj.io/hook";
/// The annotation of Argo CD with which an object is replaced like `kubectl replace --force` does it.
const SYNC_OPTIONS: &str = "argocd.argoproj.io/sync-options";

/// One object of a file. Items of a list are separate objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    file: String,
    source: String,
    path: Vec<usize>,
    api_version: String,
    kind: String,
    workload: Option<WorkloadKind>,
    object: Value,
}

/// Why a text could not be read as manifests.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ManifestError {
    /// The text is not valid YAML or JSON, or readers could interpret it differently.
    #[error("{at}: {error}")]
    Unreadable {
        /// The file.
        at: String,
        /// Where in it, and what is wrong.
        error: YamlError,
    },
    /// A document is not a Kubernetes object.
    #[error("{at}: {found}, expected a Kubernetes object with apiVersion and kind")]
    NotAnObject {
        /// The document.
        at: String,
        /// What was found instead.
        found: String,
    },
    /// The API server would not accept the request that creates the object.
    #[error(
        "{at}: the object has more than {} MiB of JSON, which is the most that an API server accepts in a request; \
         move data to ConfigMaps or an image",
        MAX_OBJECT >> 20
    )]
    TooLarge {
        /// The object.
        at: String,
    },
    /// The API server would reject the object.
    #[error("{at}: {error}")]
    NotDefaultable {
        /// The object.
        at: String,
        /// The field and what is wrong with it.
        error: DefaultError,
    },
    /// The object has no spec hash.
    #[error("{at}: {error}")]
    NoHash {
        /// The object.
        at: String,
        /// What is wrong with it.
        error: ManifestHashError,
    },
}

/// Reads every object of `text`. `source` is its name in messages.
///
/// Lists are split into their items as kubectl does, nested lists too. An object is a workload if its kind is in
/// `kinds`.
pub(crate) fn read(source: &str, text: &str, kinds: &WorkloadKinds) -> Result<Vec<Manifest>, ManifestError> {
    let documents = read_yaml(text).map_err(|error| ManifestError::Unreadable { at: source.to_owned(), error })?;
    let several = documents.len() > 1;
    let mut manifests = Vec::new();
    for (index, document) in documents.into_iter().enumerate() {
        let at = if several { format!("{source}, document {}", index + 1) } else { source.to_owned() };
        flatten(at, vec![index], document, kinds, &mut manifests)?;
    }
    for manifest in &mut manifests {
        source.clone_into(&mut manifest.file);
    }
    Ok(manifests)
}

/// A live object, of which the API server's list says the kind.
pub(crate) fn live(source: &str, object: Value, kinds: &WorkloadKinds) -> Result<Option<Manifest>, ManifestError> {
    let mut manifests = Vec::new();
    flatten(source.to_owned(), Vec::new(), object, kinds, &mut manifests)?;
    Ok(manifests.pop())
}

fn flatten(
    source: String,
    path: Vec<usize>,
    mut object: Value,
    kinds: &WorkloadKinds,
    into: &mut Vec<Manifest>,
) -> Result<(), ManifestError> {
    let field = |name| object.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (api_version, kind) = (field("apiVersion"), field("kind"));
    if api_version.is_empty() || kind.is_empty() {
        let found = match &object {
            Value::Object(_) if kind.is_empty() => "no kind".to_owned(),
            Value::Object(_) => "no apiVersion".to_owned(),
            other => format!("found {}", type_of(other)),
        };
        return Err(ManifestError::NotAnObject { at: source, found });
    }
    if let (Some(item_kind), Some(Value::Array(items))) = (kind.strip_suffix("List"), object.get_mut("items")) {
        for (index, mut item) in items.drain(..).enumerate() {
            type_item(&mut item, &api_version, item_kind);
            let path = path.iter().copied().chain([index]).collect();
            flatten(format!("{source}, item {}", index + 1), path, item, kinds, into)?;
        }
        return Ok(());
    }
    let workload = kinds.find(&api_version, &kind);
    if workload.is_some() && is_too_large(&object) {
        return Err(ManifestError::TooLarge { at: source });
    }
    into.push(Manifest { file: String::new(), source, path, api_version, kind, workload, object });
    Ok(())
}

/// Whether the JSON of an object is longer than [`MAX_OBJECT`]. Nothing is kept of it.
fn is_too_large(object: &Value) -> bool {
    serde_json::to_writer(Room(MAX_OBJECT), object).is_err()
}

/// Accepts this many bytes more, and keeps none.
struct Room(usize);

impl io::Write for Room {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::FileTooLarge)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Items of a typed list may omit apiVersion and kind (k8s.io/apimachinery, `UnstructuredJSONScheme`).
fn type_item(item: &mut Value, api_version: &str, kind: &str) {
    if let Value::Object(fields) = item
        && !kind.is_empty()
        && !fields.contains_key("apiVersion")
        && !fields.contains_key("kind")
    {
        fields.insert("apiVersion".to_owned(), api_version.into());
        fields.insert("kind".to_owned(), kind.into());
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

/// The file and the object, as in messages: `app.yaml: Deployment orders`.
impl fmt::Display for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.source, escape_line(&self.kind))?;
        match self.subject_name() {
            Some(name) => write!(f, " {}", escape_line(&name)),
            None => Ok(()),
        }
    }
}

impl Manifest {
    /// The text's name in messages, usually a path.
    #[must_use]
    pub(crate) fn file(&self) -> &str {
        &self.file
    }

    /// Position in the text: the index of the document, not counting empty ones, then of the item in each enclosing
    /// list.
    #[must_use]
    pub(crate) fn path(&self) -> &[usize] {
        &self.path
    }

    /// `apps/v1`
    #[must_use]
    pub(crate) fn api_version(&self) -> &str {
        &self.api_version
    }

    /// `Deployment`
    #[must_use]
    pub(crate) fn kind(&self) -> &str {
        &self.kind
    }

    /// The workload kind, if the object has a spec hash.
    #[must_use]
    pub(crate) fn workload(&self) -> Option<WorkloadKind> {
        self.workload
    }

    /// Whether the webhook checks objects of this kind.
    #[must_use]
    pub(crate) fn is_checked(&self) -> bool {
        let others = [("v1", "Pod"), ("apps/v1", "ControllerRevision")];
        self.workload().is_some() || others.contains(&(&self.api_version, &self.kind))
    }

    /// Whether the object looks like a workload, of a version that no supported API server serves.
    #[must_use]
    pub(crate) fn is_outdated_workload(&self) -> bool {
        let groups = ["apps/", "batch/", "extensions/"];
        self.workload().is_none()
            && groups.iter().any(|group| self.api_version.starts_with(group))
            && WorkloadKind::ALL.iter().any(|kind| kind.kind() == self.kind)
    }

    /// `metadata.namespace`, if the file sets it.
    #[must_use]
    pub(crate) fn namespace(&self) -> Option<&str> {
        self.metadata("namespace")
    }

    /// Whether it is a v1 ConfigMap.
    #[must_use]
    pub(crate) fn is_config_map(&self) -> bool {
        (&*self.api_version, &*self.kind) == ("v1", "ConfigMap")
    }

    /// The content of a ConfigMap, or why the API server would reject it.
    pub(crate) fn config_map(&self) -> Result<ConfigMapContent, String> {
        ConfigMapContent::of(&self.object)
    }

    /// The detached approval in a ConfigMap, if it is one.
    #[must_use]
    pub(crate) fn detached_approval(&self) -> Option<DetachedApproval> {
        if !self.is_config_map() || self.label(KIND_LABEL) != Some(APPROVAL_KIND) {
            return None;
        }
        let text = self.object.pointer("/data")?.get(APPROVAL_KEY)?.as_str()?.to_owned();
        Some(DetachedApproval { name: self.name()?.to_owned(), text })
    }

    /// The object without attached approvals and references to detached ones.
    #[must_use]
    pub(crate) fn without_approvals(&self) -> Self {
        let mut bare = self.clone();
        if let Some(Value::Object(annotations)) = bare.object.pointer_mut("/metadata/annotations") {
            annotations.retain(|name, _| !is_of_an_approval(name));
        }
        bare
    }

    /// The object as the file contains it.
    #[must_use]
    pub(crate) fn object(&self) -> &Value {
        &self.object
    }

    /// The same object in another namespace.
    #[must_use]
    pub(crate) fn in_namespace(&self, namespace: &str) -> Self {
        let mut moved = self.clone();
        if let Some(Value::Object(metadata)) = moved.object.get_mut("metadata") {
            metadata.insert("namespace".to_owned(), namespace.into());
        }
        moved
    }

    /// The same manifest, with the object that the API server made of it.
    #[must_use]
    pub(crate) fn with_object(&self, object: Value) -> Self {
        Self { object, ..self.clone() }
    }

    /// The plural resource, for kinds that the webhook checks.
    #[must_use]
    pub(crate) fn resource(&self) -> Option<String> {
        if !self.is_checked() {
            return None;
        }
        Some(self.workload().map_or_else(|| format!("{}s", self.kind.to_lowercase()), |kind| kind.resource().into()))
    }

    /// `metadata.name`, if the file sets it.
    #[must_use]
    pub(crate) fn name(&self) -> Option<&str> {
        self.metadata("name")
    }

    /// The name in an approval's subject: `<generateName>*` if the API server generates the name.
    #[must_use]
    pub(crate) fn subject_name(&self) -> Option<String> {
        let generated = || self.metadata("generateName").map(|prefix| format!("{prefix}*"));
        self.metadata("name").map(str::to_owned).or_else(generated)
    }

    /// `metadata.name`, or `generateName`, or an empty text.
    #[must_use]
    pub(crate) fn stem(&self) -> &str {
        self.metadata("name").or_else(|| self.metadata("generateName")).unwrap_or_default()
    }

    /// The value of an annotation.
    #[must_use]
    pub(crate) fn annotation(&self, key: &str) -> Option<&str> {
        self.object.pointer("/metadata/annotations")?.get(key)?.as_str()
    }

    /// Whether Helm or Argo CD deletes the object and creates it again each time, so that its creation requires an
    /// approval although the live object has the same spec.
    #[must_use]
    pub(crate) fn is_recreated(&self) -> bool {
        let options = self.annotation(SYNC_OPTIONS).unwrap_or_default();
        HOOKS.iter().any(|hook| self.annotation(hook).is_some())
            || options.split(',').any(|option| option.trim() == "Force=true")
    }

    /// Whether Argo CD would generate a name from the prefix, the revision, the phase and the time.
    #[must_use]
    pub(crate) fn is_hook_with_generated_name(&self) -> bool {
        self.annotation(ARGO_CD_HOOK).is_some() && self.name().is_none() && self.metadata("generateName").is_some()
    }

    /// The annotations that contain approvals, with their values.
    pub(crate) fn attached_approvals(&self) -> impl Iterator<Item = (&str, &str)> {
        let annotations = self.object.pointer("/metadata/annotations").and_then(Value::as_object);
        let texts =
            annotations.into_iter().flatten().filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)));
        texts.filter(|(name, _)| is_approval(name))
    }

    /// The object with these envelopes as its only approvals.
    #[must_use]
    pub(crate) fn with_approvals(&self, envelopes: &[&str]) -> Self {
        self.with_object(attached(&self.object, envelopes))
    }

    /// The value of a label.
    #[must_use]
    pub(crate) fn label(&self, key: &str) -> Option<&str> {
        self.object.pointer("/metadata/labels")?.get(key)?.as_str()
    }

    fn metadata(&self, field: &str) -> Option<&str> {
        self.object.get("metadata")?.get(field)?.as_str().filter(|text| !text.is_empty())
    }

    /// The spec hash that admission would compute; none for kinds without one.
    #[must_use]
    pub(crate) fn spec_hash(&self) -> Option<Result<SpecHash, ManifestError>> {
        let hash = manifest_hash_as(self.workload()?, &self.object);
        Some(hash.map_err(|error| ManifestError::NoHash { at: self.to_string(), error }))
    }

    /// The object with the API server's defaults.
    pub(crate) fn as_admitted(&self) -> Result<Value, ManifestError> {
        let mut object = self.object.clone();
        if let Some(kind) = self.workload() {
            default_forward(kind, &mut object)
                .map_err(|error| ManifestError::NotDefaultable { at: self.to_string(), error })?;
        }
        Ok(object)
    }

    /// The `AdmissionReview` that the API server would send if `user` created this object in `namespace`, or updated
    /// `runs` to it.
    pub(crate) fn to_review(
        &self,
        uid: &str,
        namespace: &str,
        user: &str,
        runs: Option<&Value>,
    ) -> Result<Vec<u8>, ManifestError> {
        let mut object = self.as_admitted()?;
        if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
            metadata.insert("namespace".to_owned(), namespace.into());
            // The API server copies these from the live object.
            for field in ["uid", "generation"] {
                if let Some(copied) = runs.and_then(|runs| runs.get("metadata")?.get(field)) {
                    metadata.insert(field.to_owned(), copied.clone());
                }
            }
        }
        let resource = self.resource().unwrap_or_else(|| format!("{}s", self.kind.to_lowercase()));
        let request = UnsentRequest {
            uid,
            namespace,
            name: self.metadata("name").unwrap_or_default(),
            user,
            api_version: &self.api_version,
            kind: &self.kind,
            resource: &resource,
            old_object: runs,
        };
        Ok(request.review(&object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        read("f", text, &WorkloadKinds::default()).unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn splits_lists_and_skips_empty_documents() {
        let text = "---\n# nothing\n---\napiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Pod, metadata: {name: a}}\n\
                    - apiVersion: apps/v1\n  kind: DeploymentList\n  items: [{metadata: {generateName: b-}}]\n---\n\
                    {apiVersion: v1, kind: ConfigMap, metadata: {name: c}}\n";
        assert_eq!(
            names(text),
            [
                "f, document 1, item 1: Pod a",
                "f, document 1, item 2, item 1: Deployment b-*",
                "f, document 2: ConfigMap c"
            ]
        );
    }

    #[test]
    fn rejects_a_document_that_is_not_an_object() {
        for (text, found) in [("- 1", "found a list"), ("kind: Pod", "no apiVersion"), ("apiVersion: v1", "no kind")] {
            let expected = ManifestError::NotAnObject { at: "f".to_owned(), found: found.to_owned() };
            assert_eq!(read("f", text, &WorkloadKinds::default()), Err(expected), "{text}");
        }
        assert!(matches!(read("f", "a: 1\na: 2", &WorkloadKinds::default()), Err(ManifestError::Unreadable { .. })));
    }

    #[test]
    fn recognises_a_workload_of_an_outdated_version() {
        let only = |text: &str| read("f", text, &WorkloadKinds::default()).unwrap().remove(0);
        let old = only("{apiVersion: apps/v1beta1, kind: Deployment}");
        assert!(old.workload().is_none() && old.is_outdated_workload());
        let other = only("{apiVersion: example.com/v1, kind: Deployment}");
        assert!(other.workload().is_none() && !other.is_outdated_workload());
        assert!(only("{apiVersion: v1, kind: Pod}").is_checked());
        assert!(!only("{apiVersion: v1, kind: Secret}").is_checked());
    }
}
