//! The ConfigMaps of posted requests, of their approvals and of their rejections: read, created, replaced and deleted.
//!
//! Nothing is verified here. Whoever may write ConfigMaps in the namespace can write any of them.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    ResourceExt as _,
    api::{Api, DeleteParams, ListParams, PostParams},
};
use writgate_cluster::{config_map, names};
use writgate_core::{
    approval::{Envelope, PostedRequest},
    vocabulary::{
        APPROVAL_KEY, APPROVAL_KIND, KIND_LABEL, REJECTION_KEY, REJECTION_KIND, REQUEST_ANNOTATION, REQUEST_KEY,
        REQUEST_KIND,
    },
};

use crate::{
    cluster::{Cluster, event_reader::NamespaceScope},
    failure::Failure,
    terminal::output::shown,
};

/// Field manager of the ConfigMaps.
const FIELD_MANAGER: &str = "writgate";
/// ConfigMaps per page of a list. Each may have 1 MiB.
const PAGE: u32 = 20;
/// Bytes of the ConfigMaps of one kind that are read, at most, except for the rest of a page.
pub(crate) const MAX_BYTES: usize = 64 << 20;
/// ConfigMaps of one kind that are read, at most. Anybody who may write ConfigMaps can write any number.
const MAX_LISTED: usize = 1_000;

/// A posted request in its namespace.
#[derive(Clone, Debug)]
pub(crate) struct Posted {
    pub(crate) namespace: String,
    /// `request-` and 20 digits of the digest.
    pub(crate) name: String,
    /// The time at which the ConfigMap was created, by the API server's clock.
    pub(crate) created: Timestamp,
    pub(crate) request: PostedRequest,
}

/// A ConfigMap with the label of a request that is none.
#[derive(Clone, Debug)]
pub(crate) struct Unreadable {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) why: String,
}

/// The posted requests of one namespace or of all.
#[derive(Default)]
pub(crate) struct ListedRequests {
    /// The oldest first.
    pub(crate) posted: Vec<Posted>,
    pub(crate) unreadable: Vec<Unreadable>,
    /// Whether there are more.
    pub(crate) cut: bool,
}

/// The ConfigMap under the name of a request's approval.
pub(crate) struct StoredApproval {
    object: ConfigMap,
    /// The text of the envelope; empty if there is none.
    pub(crate) text: String,
}

/// A ConfigMap with the label of a rejection.
#[derive(Clone, Debug)]
pub(crate) struct StoredRejection {
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// The text of the envelope; empty if there is none.
    pub(crate) text: String,
}

/// The rejections of a namespace.
pub(crate) struct ListedRejections {
    pub(crate) stored: Vec<StoredRejection>,
    /// Whether there are more.
    pub(crate) is_cut: bool,
}

/// The result of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    Done,
    /// Somebody else has written the ConfigMap since it was read.
    Conflict,
}

/// Posted requests of a cluster.
pub(crate) struct RequestStore<'c> {
    pub(crate) cluster: &'c Cluster,
}

impl Posted {
    fn of(object: &ConfigMap) -> Result<Self, Unreadable> {
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        let read = config_map::content(object).and_then(|content| PostedRequest::of(&namespace, &name, &content));
        match read {
            Ok(request) => {
                let created = object.metadata.creation_timestamp.as_ref();
                let created = created.map_or(request.file.requested_at, |time| time.0);
                Ok(Self { namespace, name, created, request })
            }
            Err(why) => Err(Unreadable { namespace, name, why }),
        }
    }
}

impl ListedRejections {
    /// The bytes of the texts.
    pub(crate) fn bytes(&self) -> usize {
        self.stored.iter().map(|stored| stored.text.len()).sum()
    }
}

impl StoredApproval {
    /// Whether the API server refuses every write to its content.
    pub(crate) fn is_immutable(&self) -> bool {
        self.object.immutable == Some(true)
    }

    /// The approval's ConfigMap, for messages.
    pub(crate) fn location(&self) -> String {
        location(&self.object.namespace().unwrap_or_default(), &self.object.name_any())
    }
}

/// A ConfigMap's name in messages.
pub(crate) fn location(namespace: &str, name: &str) -> String {
    format!("configmap {namespace}/{name}")
}

/// The name of a request, from its name or its digits alone.
pub(crate) fn request_name(text: &str) -> Result<String, Failure> {
    let name = if text.starts_with(REQUEST_KIND) { text.to_owned() } else { format!("{REQUEST_KIND}-{text}") };
    if names::is_subdomain(&name) {
        return Ok(name);
    }
    Err(Failure::Misuse(format!(
        "{} is not the name of a posted request; `kubectl writgate request list` prints the names",
        shown(text)
    )))
}

impl RequestStore<'_> {
    fn config_maps(&self, namespace: &str) -> Result<Api<ConfigMap>, Failure> {
        if !names::is_label(namespace) {
            return Err(Failure::Misuse(format!("{} is not a valid namespace name", shown(namespace))));
        }
        Ok(Api::namespaced(self.cluster.client.clone(), namespace))
    }

    /// The ConfigMaps of one kind, and whether there are more.
    fn of_kind(&self, scope: &NamespaceScope, kind: &str) -> Result<(Vec<ConfigMap>, bool), Failure> {
        let (api, place) = match scope {
            NamespaceScope::All => (Api::all(self.cluster.client.clone()), "all namespaces".to_owned()),
            NamespaceScope::Namespace(namespace) => (self.config_maps(namespace)?, format!("namespace {namespace}")),
        };
        let what = format!("list ConfigMaps with {KIND_LABEL}={kind} in {place}");
        let (mut found, mut bytes) = (Vec::new(), 0);
        let mut params = ListParams::default().labels(&format!("{KIND_LABEL}={kind}")).limit(PAGE);
        loop {
            let page = self.cluster.ask(&what, api.list(&params))?;
            bytes += page.items.iter().map(size).sum::<usize>();
            found.extend(page.items);
            params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if params.continue_token.is_none() || found.len() >= MAX_LISTED || bytes >= MAX_BYTES {
                let cut = params.continue_token.is_some() || found.len() > MAX_LISTED;
                found.truncate(MAX_LISTED);
                return Ok((found, cut));
            }
        }
    }

    /// The posted requests, the oldest first.
    pub(crate) fn list(&self, scope: &NamespaceScope) -> Result<ListedRequests, Failure> {
        let (objects, cut) = self.of_kind(scope, REQUEST_KIND)?;
        let mut listed = ListedRequests { cut, ..ListedRequests::default() };
        for object in &objects {
            match Posted::of(object) {
                Ok(posted) => listed.posted.push(posted),
                Err(unreadable) => listed.unreadable.push(unreadable),
            }
        }
        listed.posted.sort_by(|one, other| one.created.cmp(&other.created).then_with(|| one.name.cmp(&other.name)));
        Ok(listed)
    }

    /// The posted request of this name; none if it does not exist.
    pub(crate) fn find(&self, namespace: &str, name: &str) -> Result<Option<Posted>, Failure> {
        let what = format!("read request {name} in namespace {namespace}");
        let found = self.cluster.ask(&what, self.config_maps(namespace)?.get_opt(name))?;
        let found = found.as_ref().map(Posted::of).transpose();
        found.map_err(|Unreadable { namespace, name, why }| {
            Failure::No(format!("{} is not a request that this version reads: {why}", location(&namespace, &name)))
        })
    }

    /// The posted request of this name. Fails if it does not exist.
    pub(crate) fn get(&self, namespace: &str, name: &str) -> Result<Posted, Failure> {
        self.find(namespace, name)?.ok_or_else(|| {
            Failure::No(format!(
                "namespace {} contains no request {}: it was cancelled or has expired, or it is in another namespace (-n); \
                 list the requests with: kubectl writgate request list",
                shown(namespace),
                shown(name)
            ))
        })
    }

    /// Creates the ConfigMap of a request, or returns the one that exists with the same content.
    pub(crate) fn post(&self, namespace: &str, text: &str) -> Result<Posted, Failure> {
        let instead = "write the request to a file with -o FILE, and send it to a reviewer";
        let request = PostedRequest::parse(namespace, text)
            .map_err(|why| Failure::No(format!("the request cannot be posted: {why}; {instead}")))?;
        let name = request.digest.request_name();
        let mut object = labelled(namespace, &name, REQUEST_KIND, REQUEST_KEY, text);
        object.immutable = Some(true);
        let what = format!("create ConfigMap {name} in namespace {namespace}");
        let api = self.config_maps(namespace)?;
        let created = self.cluster.ask(&what, async {
            match api.create(&post_params(), &object).await {
                Ok(created) => Ok(Ok(created)),
                Err(kube::Error::Api(status)) if status.code == 409 && status.reason == "AlreadyExists" => {
                    api.get(&name).await.map(Ok)
                }
                Err(kube::Error::Api(status)) if (400..500).contains(&status.code) => Ok(Err(status.message)),
                Err(error) => Err(error),
            }
        })?;
        let created = created.map_err(|why| {
            Failure::Undetermined(format!("cannot {what}, which would post the request: {}\n{instead}", shown(&why)))
        })?;
        let other = |why: &str| {
            Failure::Undetermined(format!(
                "{} exists and is not this request: {why}; {instead}",
                location(namespace, &name)
            ))
        };
        let posted = Posted::of(&created).map_err(|unreadable| other(&shown(&unreadable.why)))?;
        // The name has only the first digits of the digest.
        if posted.request.digest != request.digest {
            return Err(other(&format!(
                "it has digest {} and was requested by {}, expected digest {}",
                posted.request.digest,
                shown(&posted.request.file.requested_by),
                request.digest
            )));
        }
        Ok(posted)
    }

    /// Deletes a request.
    pub(crate) fn delete(&self, posted: &Posted) -> Result<(), Failure> {
        let Posted { namespace, name, .. } = posted;
        let what = format!("delete request {name} in namespace {namespace}");
        let api = self.config_maps(namespace)?;
        self.cluster.ask(&what, async {
            match api.delete(name, &DeleteParams::default()).await {
                Ok(_) => Ok(()),
                Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
                Err(error) => Err(error),
            }
        })
    }

    /// The ConfigMap under the name of the request's approval; none if it does not exist.
    pub(crate) fn approval(&self, posted: &Posted) -> Result<Option<StoredApproval>, Failure> {
        let (namespace, name) = (&posted.namespace, posted.request.digest.approval_name());
        let what = format!("read ConfigMap {name} in namespace {namespace}");
        let found = self.cluster.ask(&what, self.config_maps(namespace)?.get_opt(&name))?;
        Ok(found.map(|object| {
            let text = object.data.as_ref().and_then(|data| data.get(APPROVAL_KEY)).cloned().unwrap_or_default();
            StoredApproval { object, text }
        }))
    }

    /// Writes the approval of a request: a new ConfigMap, or the one that was `read`, unless it has changed since.
    pub(crate) fn write_approval(
        &self,
        posted: &Posted,
        envelope: &Envelope,
        read: Option<&StoredApproval>,
    ) -> Result<Written, Failure> {
        let (namespace, name) = (&posted.namespace, posted.request.digest.approval_name());
        let mut object = labelled(namespace, &name, APPROVAL_KIND, APPROVAL_KEY, &envelope.to_json());
        object.annotations_mut().insert(REQUEST_ANNOTATION.to_owned(), posted.name.clone());
        self.write(object, read.map(|read| &read.object))
    }

    /// The ConfigMaps of a namespace with the label of a rejection.
    pub(crate) fn rejections(&self, namespace: &str) -> Result<ListedRejections, Failure> {
        let (objects, is_cut) = self.of_kind(&NamespaceScope::Namespace(namespace.to_owned()), REJECTION_KIND)?;
        let stored = |object: ConfigMap| StoredRejection {
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            text: object.data.and_then(|mut data| data.remove(REJECTION_KEY)).unwrap_or_default(),
        };
        Ok(ListedRejections { stored: objects.into_iter().map(stored).collect(), is_cut })
    }

    /// Creates a rejection, and returns the name of its ConfigMap. One that exists has the same content, because the name
    /// contains its digest.
    pub(crate) fn write_rejection(&self, posted: &Posted, envelope: &Envelope) -> Result<String, Failure> {
        let text = envelope.to_json();
        let name = posted.request.digest.rejection_name(&text);
        let mut object = labelled(&posted.namespace, &name, REJECTION_KIND, REJECTION_KEY, &text);
        object.immutable = Some(true);
        self.write(object, None)?;
        Ok(name)
    }

    /// Creates `object`, or replaces the one that was `read`. The resource version makes the API server refuse a write
    /// over another one.
    fn write(&self, object: ConfigMap, read: Option<&ConfigMap>) -> Result<Written, Failure> {
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        let api = self.config_maps(&namespace)?;
        let verb = if read.is_some() { "update" } else { "create" };
        let object = match read {
            Some(read) => over(read, object),
            None => object,
        };
        self.cluster.ask(&format!("{verb} ConfigMap {name} in namespace {namespace}"), async {
            let written = match read {
                Some(_) => api.replace(&name, &post_params(), &object).await,
                None => api.create(&post_params(), &object).await,
            };
            match written {
                Ok(_) => Ok(Written::Done),
                Err(kube::Error::Api(status)) if status.code == 409 => Ok(Written::Conflict),
                // Somebody has deleted it since.
                Err(kube::Error::Api(status)) if status.code == 404 && read.is_some() => Ok(Written::Conflict),
                Err(error) => Err(error),
            }
        })
    }
}

/// The bytes of the content.
fn size(object: &ConfigMap) -> usize {
    let data = object.data.iter().flatten().map(|(key, text)| key.len() + text.len());
    let binary = object.binary_data.iter().flatten().map(|(key, bytes)| key.len() + bytes.0.len());
    data.chain(binary).sum()
}

/// `new` in place of `read`, with the labels and annotations that others have set.
fn over(read: &ConfigMap, new: ConfigMap) -> ConfigMap {
    let mut object = read.clone();
    object.metadata.managed_fields = None;
    // Whoever made the ConfigMap must not have a signed approval collected as garbage.
    object.metadata.owner_references = None;
    object.metadata.finalizers = None;
    object.labels_mut().extend(new.metadata.labels.unwrap_or_default());
    object.annotations_mut().extend(new.metadata.annotations.unwrap_or_default());
    ConfigMap { data: new.data, binary_data: None, ..object }
}

fn labelled(namespace: &str, name: &str, kind: &str, key: &str, text: &str) -> ConfigMap {
    let mut object = ConfigMap { data: Some([(key.to_owned(), text.to_owned())].into()), ..ConfigMap::default() };
    object.metadata.namespace = Some(namespace.to_owned());
    object.metadata.name = Some(name.to_owned());
    object.labels_mut().insert(KIND_LABEL.to_owned(), kind.to_owned());
    object
}

fn post_params() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_named_by_its_name_or_its_digits() {
        for text in ["request-4f0c1a3e9d8b7a6c5e4d", "4f0c1a3e9d8b7a6c5e4d"] {
            assert_eq!(request_name(text).unwrap(), "request-4f0c1a3e9d8b7a6c5e4d");
        }
        for text in ["../secrets", "", "request-\u{202e}", "A"] {
            assert!(matches!(request_name(text), Err(Failure::Misuse(_))), "{text:?}");
        }
    }

    #[test]
    fn a_replaced_config_map_keeps_the_labels_of_others_and_the_version_that_was_read() {
        let mut read = labelled("payments", "approval-0", APPROVAL_KIND, "other", "junk");
        read.metadata.resource_version = Some("7".into());
        read.labels_mut().insert("team".into(), "payments".into());
        let written = over(&read, labelled("payments", "approval-0", APPROVAL_KIND, APPROVAL_KEY, "{}"));
        assert_eq!(written.metadata.resource_version.as_deref(), Some("7"));
        assert_eq!(written.labels().len(), 2);
        assert_eq!(written.data, Some([(APPROVAL_KEY.to_owned(), "{}".to_owned())].into()));
    }
}
