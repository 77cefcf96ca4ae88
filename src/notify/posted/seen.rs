//! What is kept of a ConfigMap with a posted request, an approval or a rejection until somebody looks at it.
//!
//! Here its form and its size are checked. The parent module checks what it says.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;
use writgate_cluster::clock;
use writgate_cluster::names;
use writgate_core::approval::{MAX_ENVELOPE, MAX_REQUEST, PostedRequest};
use writgate_core::kube::ConfigMapContent;
use writgate_core::vocabulary::{
    APPROVAL_KEY, APPROVAL_KIND, KIND_LABEL, REJECTION_KEY, REJECTION_KIND, REQUEST_ANNOTATION, REQUEST_KEY,
    REQUEST_KIND,
};

use crate::notify::inbox::Sighting;
use crate::notify::notification::NotificationType;

/// The label selector of requests, approvals and rejections.
pub(in crate::notify) const SELECTOR: &str = "writgate.dev/kind in (approval,rejection,request)";
/// More than the size of everything that is kept of a ConfigMap but its text: names have at most 253 bytes.
const FIELDS: usize = 1024;

/// Which of the three a ConfigMap claims to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::notify) enum PostedKind {
    Request,
    Approval,
    Rejection,
}

impl PostedKind {
    /// What a notification about it is.
    pub(in crate::notify) fn notification(self) -> NotificationType {
        match self {
            Self::Request => NotificationType::Requested,
            Self::Approval => NotificationType::Approved,
            Self::Rejection => NotificationType::Rejected,
        }
    }
}

/// What is kept of a ConfigMap: only what is read, because whoever writes it chooses the length of everything else.
#[derive(Debug)]
pub(in crate::notify) struct SeenConfigMap {
    pub(in crate::notify) kind: PostedKind,
    pub(in crate::notify) namespace: String,
    pub(super) name: String,
    /// When its content changed last, by the API server's clock.
    pub(in crate::notify) changed: Timestamp,
    /// The request that an approval names.
    pub(super) request: Option<String>,
    /// The only value of its data.
    pub(super) text: Box<str>,
}

impl SeenConfigMap {
    /// The request that it holds, if it keeps the rules of one.
    pub(super) fn posted(&self) -> Option<PostedRequest> {
        let content = ConfigMapContent {
            labels: [(KIND_LABEL.to_owned(), REQUEST_KIND.to_owned())].into(),
            immutable: true,
            data: [(REQUEST_KEY.to_owned(), self.text.to_string())].into(),
            ..ConfigMapContent::default()
        };
        PostedRequest::of(&self.namespace, &self.name, &content).ok()
    }
}

impl Sighting for SeenConfigMap {
    type Object = ConfigMap;

    /// The content of a request and of a rejection never changes. Whoever touches the metadata must not cause another
    /// notification. An approval changes with each signature.
    fn version(object: &ConfigMap) -> &str {
        let is_approval = object.labels().get(KIND_LABEL).is_some_and(|kind| kind == APPROVAL_KIND);
        let is_fixed = !is_approval && object.immutable == Some(true);
        object.metadata.resource_version.as_deref().filter(|_| !is_fixed).unwrap_or_default()
    }

    fn of(mut object: ConfigMap) -> Option<Self> {
        let (kind, key, most) = match object.labels().get(KIND_LABEL)?.as_str() {
            REQUEST_KIND => (PostedKind::Request, REQUEST_KEY, MAX_REQUEST),
            APPROVAL_KIND => (PostedKind::Approval, APPROVAL_KEY, MAX_ENVELOPE),
            REJECTION_KIND => (PostedKind::Rejection, REJECTION_KEY, MAX_ENVELOPE),
            _ => return None,
        };
        let mut data = object.data.take()?;
        let text = data.remove(key).filter(|text| text.len() <= most)?.into_boxed_str();
        if !data.is_empty() || object.binary_data.is_some() {
            return None;
        }
        let created = object.creation_timestamp()?.0;
        // Two reviewers sign one ConfigMap, one after the other.
        let is_approval = kind == PostedKind::Approval;
        // Otherwise its content could change, and no reader accepts it.
        if !is_approval && object.immutable != Some(true) {
            return None;
        }
        let written = object.managed_fields().iter().filter(|_| is_approval).filter_map(|by| Some(by.time.as_ref()?.0));
        // Whoever writes the object can write a time that has not come.
        let changed = written.max().unwrap_or(created).max(created).min(clock::now());
        let request = object.annotations_mut().remove(REQUEST_ANNOTATION).filter(|name| names::is_subdomain(name));
        let (namespace, name) = (object.namespace()?, object.name_any());
        let is_named = names::is_label(&namespace) && names::is_subdomain(&name);
        is_named.then_some(Self { kind, namespace, name, changed, request, text })
    }

    fn time(&self) -> Timestamp {
        self.changed
    }

    fn matters_since(&self, from: Timestamp) -> bool {
        self.changed >= from
    }

    fn size(&self) -> usize {
        FIELDS + self.text.len()
    }
}
