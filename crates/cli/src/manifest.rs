//! Kubernetes objects in a file, as kubectl would send them: which there are, what they are called, what would run.
//!
//! Nothing is judged here and no file is opened. What the text means is core's `read_yaml`; what the API server would
//! make of a spec is core's `default_forward`. Called by the verbs of the command line that take `-f`.

pub(crate) mod annotations;
pub(crate) mod edit;
pub(crate) mod input;
pub(crate) mod namespace;
pub(crate) mod workloads;

use std::fmt;

use serde_json::{Value, json};
use writgate_core::{
    approval::{DetachedApproval, ManifestHashError, SpecHash, manifest_hash_as},
    encoding::{YamlError, read_yaml},
    kube::{ConfigMapContent, DefaultError, WorkloadKind, WorkloadKinds, default_forward},
    text::escape_line,
    vocabulary::{APPROVAL_KEY, APPROVAL_KIND, APPROVAL_REF},
};

/// The annotation that holds an approval; a further one has a suffix.
const APPROVAL: &str = "writgate.dev/approval";

fn is_of_an_approval(annotation: &str) -> bool {
    annotation == APPROVAL_REF
        || annotation.strip_prefix(APPROVAL).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The user of a review that was made from a file and not by an API server.
pub(crate) const UNKNOWN_USER: &str = "system:anonymous";

/// One object of a file; the items of a list are objects of their own.
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

/// Why a file does not give what was asked of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ManifestError {
    /// The text is neither YAML nor JSON, or means different things to different readers.
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
        /// What it is instead.
        found: String,
    },
    /// The API server would refuse the object too.
    #[error("{at}: {error}")]
    NotDefaultable {
        /// The object.
        at: String,
        /// The field and what is wrong with it.
        error: DefaultError,
    },
    /// There is no hash that admission would compute.
    #[error("{at}: {error}")]
    NoHash {
        /// The object.
        at: String,
        /// What is wrong with it.
        error: ManifestHashError,
    },
}

/// Reads every object of `text`; `source` is what messages call it.
///
/// Lists are taken apart as kubectl does, nested ones too; what is a workload is one of `kinds`.
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
    into.push(Manifest { file: String::new(), source, path, api_version, kind, workload, object });
    Ok(())
}

/// The items of a typed list need not repeat what they are (k8s.io/apimachinery, `UnstructuredJSONScheme`).
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
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

/// The file and the object, as messages name it: `app.yaml: Deployment orders`.
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
    /// What messages call the text that it is from: most often a path.
    #[must_use]
    pub(crate) fn file(&self) -> &str {
        &self.file
    }

    /// Where in the text it is: the number of its document among those that are not empty, then of the item in each
    /// list around it; all from 0.
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

    /// The kind, if its spec has a hash that can be approved.
    #[must_use]
    pub(crate) fn workload(&self) -> Option<WorkloadKind> {
        self.workload
    }

    /// Whether the gate is asked about objects of this kind at all.
    #[must_use]
    pub(crate) fn is_judged(&self) -> bool {
        let others = [("v1", "Pod"), ("apps/v1", "ControllerRevision")];
        self.workload().is_some() || others.contains(&(&self.api_version, &self.kind))
    }

    /// Whether it looks like a workload but is of a version that no supported API server serves.
    #[must_use]
    pub(crate) fn is_outdated_workload(&self) -> bool {
        let groups = ["apps/", "batch/", "extensions/"];
        self.workload().is_none()
            && groups.iter().any(|group| self.api_version.starts_with(group))
            && WorkloadKind::ALL.iter().any(|kind| kind.kind() == self.kind)
    }

    /// `metadata.namespace`, where the file gives one.
    #[must_use]
    pub(crate) fn namespace(&self) -> Option<&str> {
        self.metadata("namespace")
    }

    /// Whether it is a v1 ConfigMap.
    #[must_use]
    pub(crate) fn is_config_map(&self) -> bool {
        (&*self.api_version, &*self.kind) == ("v1", "ConfigMap")
    }

    /// What a ConfigMap holds; `Err` where the API server would not take it.
    pub(crate) fn config_map(&self) -> Result<ConfigMapContent, String> {
        ConfigMapContent::of(&self.object)
    }

    /// The approval that it holds, if it is a ConfigMap for that.
    #[must_use]
    pub(crate) fn detached_approval(&self) -> Option<DetachedApproval> {
        if !self.is_config_map() || self.label("writgate.dev/kind") != Some(APPROVAL_KIND) {
            return None;
        }
        let text = self.object.pointer("/data")?.get(APPROVAL_KEY)?.as_str()?.to_owned();
        Some(DetachedApproval { name: self.name()?.to_owned(), text })
    }

    /// The same without the approvals that are attached to it, or that it names.
    #[must_use]
    pub(crate) fn without_approvals(&self) -> Self {
        let mut bare = self.clone();
        if let Some(Value::Object(annotations)) = bare.object.pointer_mut("/metadata/annotations") {
            let is_approval = |name: &str| {
                let rest = name.strip_prefix("writgate.dev/approval");
                name == APPROVAL_REF || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            };
            annotations.retain(|name, _| !is_approval(name));
        }
        bare
    }

    /// The object as the file gives it.
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

    /// The same object as the API server made it: same place in the file, another content.
    #[must_use]
    pub(crate) fn with_object(&self, object: Value) -> Self {
        Self { object, ..self.clone() }
    }

    /// The plural resource, of what the gate is asked about.
    #[must_use]
    pub(crate) fn resource(&self) -> Option<String> {
        if !self.is_judged() {
            return None;
        }
        Some(self.workload().map_or_else(|| format!("{}s", self.kind.to_lowercase()), |kind| kind.resource().into()))
    }

    /// `metadata.name`, where the file gives one.
    #[must_use]
    pub(crate) fn name(&self) -> Option<&str> {
        self.metadata("name")
    }

    /// The name as an approval's subject has it: `<generateName>*` where the API server is to make one.
    #[must_use]
    pub(crate) fn subject_name(&self) -> Option<String> {
        let generated = || self.metadata("generateName").map(|prefix| format!("{prefix}*"));
        self.metadata("name").map(str::to_owned).or_else(generated)
    }

    /// The name as far as the file gives it: `metadata.name`, else `generateName`, else nothing.
    #[must_use]
    pub(crate) fn stem(&self) -> &str {
        self.metadata("name").or_else(|| self.metadata("generateName")).unwrap_or_default()
    }

    /// The value of an annotation.
    #[must_use]
    pub(crate) fn annotation(&self, key: &str) -> Option<&str> {
        self.object.pointer("/metadata/annotations")?.get(key)?.as_str()
    }

    /// The same object with these envelopes attached and no other approval, nor the name of one.
    #[must_use]
    pub(crate) fn with_approvals(&self, envelopes: &[&str]) -> Self {
        let mut manifest = self.clone();
        if let Some(Value::Object(metadata)) = manifest.object.get_mut("metadata") {
            let annotations = metadata.entry("annotations").or_insert(Value::Null);
            if annotations.is_null() {
                *annotations = json!({});
            }
            if let Some(annotations) = annotations.as_object_mut() {
                annotations.retain(|name, _| !is_of_an_approval(name));
                for (number, envelope) in envelopes.iter().enumerate() {
                    annotations.insert(format!("{APPROVAL}.{}", number + 1), (*envelope).into());
                }
            }
        }
        manifest
    }

    /// The value of a label.
    #[must_use]
    pub(crate) fn label(&self, key: &str) -> Option<&str> {
        self.object.pointer("/metadata/labels")?.get(key)?.as_str()
    }

    fn metadata(&self, field: &str) -> Option<&str> {
        self.object.get("metadata")?.get(field)?.as_str().filter(|text| !text.is_empty())
    }

    /// The Pod's spec in an object of this one's kind.
    #[must_use]
    pub(crate) fn pod_of<'a>(&self, object: &'a Value) -> Option<&'a Value> {
        let path: &[&str] = match self.workload()? {
            WorkloadKind::CronJob => &["spec", "jobTemplate", "spec", "template", "spec"],
            WorkloadKind::Further(further) => further.pod(),
            _ => &["spec", "template", "spec"],
        };
        path.iter().try_fold(object, |at, field| at.get(field))
    }

    /// What would run, hashed as it will be at admission; none for kinds whose spec has no hash.
    #[must_use]
    pub(crate) fn spec_hash(&self) -> Option<Result<SpecHash, ManifestError>> {
        let hash = manifest_hash_as(self.workload()?, &self.object);
        Some(hash.map_err(|error| ManifestError::NoHash { at: self.to_string(), error }))
    }

    /// The object with a spec as the API server would hand it to admission.
    pub(crate) fn as_admitted(&self) -> Result<Value, ManifestError> {
        let mut object = self.object.clone();
        if let Some(kind) = self.workload() {
            default_forward(kind, &mut object)
                .map_err(|error| ManifestError::NotDefaultable { at: self.to_string(), error })?;
        }
        Ok(object)
    }

    /// The `AdmissionReview` in which the API server would ask whether `user` may create this in `namespace`, or make
    /// it of the object that `runs`.
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
            // What the API server carries over from what is there.
            for field in ["uid", "generation"] {
                if let Some(kept) = runs.and_then(|runs| runs.get("metadata")?.get(field)) {
                    metadata.insert(field.to_owned(), kept.clone());
                }
            }
        }
        let (operation, options) =
            if runs.is_some() { ("UPDATE", "UpdateOptions") } else { ("CREATE", "CreateOptions") };
        let (group, version) = self.api_version.split_once('/').unwrap_or(("", &self.api_version));
        let resource = self.resource().unwrap_or_else(|| format!("{}s", self.kind.to_lowercase()));
        let review = json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {
                "uid": uid,
                "kind": {"group": group, "version": version, "kind": self.kind},
                "resource": {"group": group, "version": version, "resource": resource},
                "namespace": namespace,
                "name": self.metadata("name").unwrap_or_default(),
                "operation": operation,
                "userInfo": {"username": user},
                "object": object,
                "oldObject": runs,
                "dryRun": false,
                "options": {"apiVersion": "meta.k8s.io/v1", "kind": options},
            },
        });
        Ok(review.to_string().into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        read("f", text, &WorkloadKinds::default()).unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn lists_are_taken_apart_and_empty_documents_skipped() {
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
    fn what_is_no_object_is_refused_and_not_skipped() {
        for (text, found) in [("- 1", "found a list"), ("kind: Pod", "no apiVersion"), ("apiVersion: v1", "no kind")] {
            let expected = ManifestError::NotAnObject { at: "f".to_owned(), found: found.to_owned() };
            assert_eq!(read("f", text, &WorkloadKinds::default()), Err(expected), "{text}");
        }
        assert!(matches!(read("f", "a: 1\na: 2", &WorkloadKinds::default()), Err(ManifestError::Unreadable { .. })));
    }

    #[test]
    fn a_workload_of_another_version_is_no_workload_but_looks_like_one() {
        let only = |text: &str| read("f", text, &WorkloadKinds::default()).unwrap().remove(0);
        let old = only("{apiVersion: apps/v1beta1, kind: Deployment}");
        assert!(old.workload().is_none() && old.is_outdated_workload());
        let other = only("{apiVersion: example.com/v1, kind: Deployment}");
        assert!(other.workload().is_none() && !other.is_outdated_workload());
        assert!(only("{apiVersion: v1, kind: Pod}").is_judged());
        assert!(!only("{apiVersion: v1, kind: Secret}").is_judged());
    }
}
