//! A text that may hold documents, and what stands for a text that is not kept.

use serde_json::{Value, json};

use crate::vocabulary::KIND_LABEL;

/// A text that may hold documents: a file, or one key of a ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Document {
    /// Where the text was found, for messages: a path, or `configmap NAMESPACE/NAME key posture.yaml`.
    pub source: String,
    /// The name of the ConfigMap that holds the text, which is the name of the document in it; `None` for a file.
    pub name: Option<String>,
    /// YAML or JSON, with any number of documents.
    pub text: String,
}

/// The field of a ConfigMap that stands for a document that is not kept. Its value says why.
pub(super) const LEFT_OUT: &str = "leftOut";
/// How the text of such a ConfigMap begins. In no other ConfigMap is this field the first one.
const BEGINS: &str = r#"{"leftOut":"#;

impl Document {
    /// Stands for the document of the ConfigMap `namespace`/`name` with this value of the label [`KIND_LABEL`], which is not
    /// kept. A posture that names it is invalid, and `why` is the reason.
    #[must_use]
    pub fn left_out(namespace: &str, name: &str, label: &str, why: &str) -> Self {
        let metadata = json!({"namespace": namespace, "name": name, "labels": {KIND_LABEL: label}});
        let why = Value::from(why);
        let text = format!(r#"{BEGINS}{why},"apiVersion":"v1","kind":"ConfigMap","metadata":{metadata}}}"#);
        Self { source: format!("configmap {namespace}/{name}"), name: Some(name.to_owned()), text }
    }

    /// Whether this is made by [`Document::left_out`].
    #[must_use]
    pub fn is_left_out(&self) -> bool {
        self.text.starts_with(BEGINS)
    }
}
