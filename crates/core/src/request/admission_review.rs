//! Parsing an `AdmissionReview` (admission.k8s.io/v1) into the [`Request`] that a decision reads.
//!
//! Everything borrows from the body, and a spec stays the text that the API server sent. If the body is malformed, the
//! error contains the request's uid if the body has one, because the response must echo it.
//!
//! The file is longer than 500 lines, because the types and the reader that fills them share one lifetime and one test kit.

use std::{borrow::Cow, cell::RefCell, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, Visitor},
};
use serde_json::{Value, value::RawValue};

use crate::{
    encoding::borrowed::BorrowedText,
    encoding::strict::{ByFieldName, by_field_name},
    kube::workload::{WorkloadKind, WorkloadKinds},
    text::on_one_line,
    vocabulary::DOMAIN,
};

/// The body is not a well-formed `AdmissionReview`. Such a request is denied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct MalformedReview {
    /// The request's uid, if it was readable. The response must echo it.
    pub uid: Option<String>,
    /// What was found and what was expected.
    pub why: String,
}

/// The request that the API server asks about.
#[derive(Debug)]
pub struct Request<'a> {
    /// The uid, which the response must echo.
    pub uid: Cow<'a, str>,
    /// The operation.
    pub operation: Operation,
    /// The kind of `object`.
    pub kind: GroupVersionKind<'a>,
    /// The kind as a workload. `None`: it is not one.
    pub workload: Option<WorkloadKind>,
    /// The kind of the workload that a request to `scale` is about. `None`: it is about none.
    pub scaled: Option<WorkloadKind>,
    /// The plural resource in the request's path, without its group.
    pub resource: Cow<'a, str>,
    /// The subresource, such as `status`, `scale` or `ephemeralcontainers`. Empty for the object itself.
    pub sub_resource: Cow<'a, str>,
    /// The namespace. Empty for cluster-scoped objects.
    pub namespace: Cow<'a, str>,
    /// The name. Empty if the API server has not generated it yet.
    pub name: Cow<'a, str>,
    /// Whether the request is a dry run, which persists nothing.
    pub dry_run: bool,
    /// The API user who sends the request.
    pub user: User<'a>,
    /// The object after the request. Absent for DELETE.
    pub object: Option<Object<'a>>,
    /// The object before the request. Absent for CREATE.
    pub old_object: Option<Object<'a>>,
}

/// The operations of admission.k8s.io/v1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Operation {
    /// Creates an object.
    Create,
    /// Changes an object.
    Update,
    /// Deletes an object.
    Delete,
    /// Opens a connection: `exec`, `attach`, `port-forward` or `proxy`.
    Connect,
}

impl Operation {
    /// The API server's spelling: `CREATE`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

/// A group, version and kind. The group of the core API is empty.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct GroupVersionKind<'a> {
    /// `apps`
    #[serde(borrow, default)]
    pub group: Cow<'a, str>,
    /// `v1`
    #[serde(borrow)]
    pub version: Cow<'a, str>,
    /// `Deployment`
    #[serde(borrow)]
    pub kind: Cow<'a, str>,
}

impl GroupVersionKind<'_> {
    /// The API version: `apps/v1`, or `v1` in the core API.
    #[must_use]
    pub fn api_version(&self) -> Cow<'_, str> {
        if self.group.is_empty() {
            Cow::Borrowed(&*self.version)
        } else {
            format!("{}/{}", self.group, self.version).into()
        }
    }
}

/// The authenticated user, as the API server reports it.
#[derive(Debug, Deserialize)]
pub struct User<'a> {
    /// The user name.
    #[serde(borrow)]
    pub username: Cow<'a, str>,
    /// The user's uid. Empty for most users.
    #[serde(borrow, default)]
    pub uid: Cow<'a, str>,
    /// The user's groups.
    #[serde(borrow, default)]
    pub groups: Vec<BorrowedText<'a>>,
    /// Further attributes as JSON text. They are only passed on.
    #[serde(borrow)]
    pub extra: Option<&'a RawValue>,
}

/// The parts of an object that a decision reads.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Object<'a> {
    /// `apps/v1`
    #[serde(borrow, default)]
    pub api_version: Cow<'a, str>,
    /// `Deployment`
    #[serde(borrow, default)]
    pub kind: Cow<'a, str>,
    /// The metadata. The options of a CONNECT have none.
    #[serde(borrow, default = "Metadata::absent", deserialize_with = "by_field_name")]
    pub metadata: Metadata<'a>,
    /// `.spec` as JSON text.
    #[serde(borrow)]
    pub spec: Option<&'a RawValue>,
    /// `.data` as JSON text: the content of a `ControllerRevision` or a ConfigMap.
    #[serde(borrow)]
    pub data: Option<&'a RawValue>,
    /// `.container` as JSON text: in the options of a CONNECT, the container to connect to.
    #[serde(borrow)]
    pub container: Option<&'a RawValue>,
    /// `.binaryData` of a ConfigMap as JSON text.
    #[serde(borrow)]
    pub binary_data: Option<&'a RawValue>,
    /// `.immutable` of a ConfigMap as JSON text.
    #[serde(borrow)]
    pub immutable: Option<&'a RawValue>,
    /// `.revision` of a `ControllerRevision` as JSON text: its number.
    #[serde(borrow)]
    pub revision: Option<&'a RawValue>,
}

/// The parts of an object's metadata that a decision reads.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata<'a> {
    /// The name. Empty if the API server has not generated it yet.
    #[serde(borrow, default)]
    pub name: Cow<'a, str>,
    /// The prefix from which the API server generates the name.
    #[serde(borrow, default)]
    pub generate_name: Cow<'a, str>,
    /// The namespace. Empty for cluster-scoped objects.
    #[serde(borrow, default)]
    pub namespace: Cow<'a, str>,
    /// The uid. The API server sets it before validating admission, for CREATE as well.
    #[serde(borrow, default)]
    pub uid: Cow<'a, str>,
    /// The number of changes to the spec.
    #[serde(default)]
    pub generation: i64,
    /// The labels.
    #[serde(borrow, default)]
    pub labels: StringMap<'a>,
    /// The annotations whose names begin with `writgate.dev/`.
    #[serde(borrow, default)]
    pub annotations: WritgateEntries<'a>,
    /// The owner references as JSON text. They are only compared.
    #[serde(borrow)]
    pub owner_references: Option<&'a RawValue>,
    /// The finalizers as JSON text.
    #[serde(borrow)]
    pub finalizers: Option<&'a RawValue>,
    /// Who wrote which fields when, as JSON text. No decision reads it.
    #[serde(borrow)]
    pub managed_fields: Option<&'a RawValue>,
    #[serde(skip)]
    is_absent: bool,
}

impl Metadata<'_> {
    fn absent() -> Self {
        Self { is_absent: true, ..Self::default() }
    }
}

/// The annotation in which `kubectl apply` stores the manifest that it was called with.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The annotation in which Argo CD stores its Application and the object that it tracks.
const TRACKING_ID: &str = "argocd.argoproj.io/tracking-id";

/// A map of strings, sorted by the bytes of its keys. A duplicate key is refused.
#[derive(Debug, Default)]
pub struct StringMap<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

/// The entries of a map of strings whose keys begin with `writgate.dev/`. Other entries are skipped without being read.
#[derive(Debug, Default)]
pub struct WritgateEntries<'a> {
    entries: StringMap<'a>,
    others: OtherEntries<'a>,
}

/// Annotations of other tools, as JSON text. No check reads them, so their form cannot make a review malformed.
#[derive(Debug, Default)]
struct OtherEntries<'a> {
    /// The value of [`LAST_APPLIED`]. It is a second copy of the object, so it stays unread until a denial has to be
    /// explained.
    last_applied: Option<&'a RawValue>,
    /// The value of [`TRACKING_ID`].
    tracking_id: Option<&'a RawValue>,
}

impl<'a> StringMap<'a> {
    /// The value under `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        let index = self.0.binary_search_by(|(name, _)| (**name).cmp(key)).ok()?;
        self.0.get(index).map(|(_, value)| &**value)
    }

    /// All entries, in the order of their keys' bytes.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }

    /// Whether both maps have the same entries.
    pub(crate) fn is_same(&self, other: &StringMap<'_>) -> bool {
        self.0.len() == other.0.len() && self.iter().all(|(key, value)| other.get(key) == Some(value))
    }

    /// Reads the entries whose keys are wanted.
    fn read<'de: 'a, M: MapAccess<'de>>(
        mut map: M,
        wanted: impl Fn(&str) -> bool,
        others: &mut OtherEntries<'a>,
    ) -> Result<Self, M::Error> {
        let mut entries: Vec<(Cow<'a, str>, Cow<'a, str>)> = Vec::new();
        while let Some(BorrowedText(key)) = map.next_key()? {
            if wanted(&key) {
                let BorrowedText(value) = map.next_value()?;
                entries.push((key, value));
            } else if key == LAST_APPLIED {
                others.last_applied = Some(map.next_value()?);
            } else if key == TRACKING_ID {
                others.tracking_id = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        // An object may have hundreds of thousands of labels. Looking up each one among the others would take minutes.
        entries.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        match entries.iter().zip(entries.iter().skip(1)).find(|((a, _), (b, _))| a == b) {
            Some(((key, _), _)) => Err(M::Error::custom(format_args!("the key {key:?} appears twice"))),
            None => Ok(Self(entries)),
        }
    }
}

impl WritgateEntries<'_> {
    /// The value under `key`, which must begin with `writgate.dev/`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.entries.get(key)
    }

    /// All entries, in the order of their keys' bytes.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries.iter()
    }

    /// The `spec` of the manifest that `kubectl apply` was called with, as the client claims. Only for explanations.
    pub(crate) fn last_applied_spec(&self) -> Option<Value> {
        #[derive(Deserialize)]
        struct Manifest {
            spec: Value,
        }
        let text: String = serde_json::from_str(self.others.last_applied?.get()).ok()?;
        let Manifest { spec } = serde_json::from_str(&text).ok()?;
        Some(spec)
    }

    /// Whether both have the same `kubectl.kubernetes.io/last-applied-configuration`.
    pub(crate) fn is_same_last_applied(&self, other: &Self) -> bool {
        self.others.last_applied.map(RawValue::get) == other.others.last_applied.map(RawValue::get)
    }

    /// The value of `argocd.argoproj.io/tracking-id`. Only for the record.
    pub(crate) fn tracking_id(&self) -> Option<Cow<'_, str>> {
        let BorrowedText(text) = serde_json::from_str(self.others.tracking_id?.get()).ok()?;
        Some(text)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for StringMap<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut others = OtherEntries::default();
        deserializer.deserialize_option(StringMapVisitor { wanted: |_: &str| true, others: &mut others })
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for WritgateEntries<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut others = OtherEntries::default();
        let wanted = |key: &str| key.starts_with(DOMAIN);
        let entries = deserializer.deserialize_option(StringMapVisitor { wanted, others: &mut others })?;
        Ok(Self { entries, others })
    }
}

struct StringMapVisitor<'v, 'a, F> {
    wanted: F,
    others: &'v mut OtherEntries<'a>,
}

impl<'de: 'a, 'a, F: Fn(&str) -> bool> Visitor<'de> for StringMapVisitor<'_, 'a, F> {
    type Value = StringMap<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of strings")
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(StringMap::default())
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(StringMap::default())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }

    fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Self::Value, M::Error> {
        StringMap::read(map, self.wanted, self.others)
    }
}

fn by_field_name_or_null<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    Ok(Option::deserialize(deserializer)?.map(|ByFieldName(value)| value))
}

impl<'a> Request<'a> {
    /// Parses the request in `body`, an `AdmissionReview`. Skips fields that later versions of admission.k8s.io/v1 may
    /// add.
    ///
    /// # Errors
    ///
    /// A field is missing, duplicated or of another type, the review has a response, or its parts contradict each
    /// other.
    pub fn parse(body: &'a [u8]) -> Result<Self, MalformedReview> {
        Self::parse_with(body, &WorkloadKinds::default())
    }

    /// Parses the request in `body` as [`Request::parse`] does. `kinds` has the further kinds of the configuration.
    pub fn parse_with(body: &'a [u8], kinds: &WorkloadKinds) -> Result<Self, MalformedReview> {
        let malformed = |why: String| MalformedReview { uid: uid_of(body), why: on_one_line(&why) };
        let text = std::str::from_utf8(body).map_err(|error| malformed(format!("the body is not UTF-8: {error}")))?;
        let review: ByFieldName<RawReview<'_>> = serde_json::from_str(text)
            .map_err(|error| malformed(format!("the body is not an AdmissionReview: {error}")))?;
        review.0.into_request(kinds).map_err(malformed)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawReview<'a> {
    #[serde(borrow)]
    api_version: Cow<'a, str>,
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow, deserialize_with = "by_field_name")]
    request: RawRequest<'a>,
    response: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawRequest<'a> {
    #[serde(borrow)]
    uid: Cow<'a, str>,
    #[serde(borrow, deserialize_with = "by_field_name")]
    kind: GroupVersionKind<'a>,
    #[serde(borrow, deserialize_with = "by_field_name")]
    resource: Resource<'a>,
    #[serde(borrow, default)]
    sub_resource: Cow<'a, str>,
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    namespace: Cow<'a, str>,
    operation: Operation,
    #[serde(borrow, deserialize_with = "by_field_name")]
    user_info: User<'a>,
    #[serde(borrow, default, deserialize_with = "by_field_name_or_null")]
    object: Option<Object<'a>>,
    #[serde(borrow, default, deserialize_with = "by_field_name_or_null")]
    old_object: Option<Object<'a>>,
    dry_run: Option<bool>,
}

#[derive(Deserialize)]
struct Resource<'a> {
    #[serde(borrow, default)]
    group: Cow<'a, str>,
    #[serde(borrow)]
    resource: Cow<'a, str>,
}

impl<'a> RawReview<'a> {
    fn into_request(self, kinds: &WorkloadKinds) -> Result<Request<'a>, String> {
        let expect = |what: &str, found: &str, expected: &str| {
            if found == expected { Ok(()) } else { Err(format!("{what} is {found:?}, expected {expected:?}")) }
        };
        expect("apiVersion", &self.api_version, "admission.k8s.io/v1")?;
        expect("kind", &self.kind, "AdmissionReview")?;
        if self.response.is_some() {
            return Err("the review has a response already".to_owned());
        }
        let raw = self.request;
        if raw.uid.is_empty() || raw.uid.len() > MAX_UID {
            return Err(format!("request.uid has {} bytes, expected 1 to {MAX_UID}", raw.uid.len()));
        }
        if raw.user_info.username.is_empty() {
            return Err("request.userInfo.username is empty".to_owned());
        }
        expect("request.resource.group", &raw.resource.group, &raw.resource_group())?;
        let request = Request {
            uid: raw.uid,
            operation: raw.operation,
            workload: kinds.find(&raw.kind.api_version(), &raw.kind.kind),
            scaled: if raw.sub_resource == "scale" {
                kinds.of_resource(&raw.resource.group, &raw.resource.resource)
            } else {
                None
            },
            kind: raw.kind,
            resource: raw.resource.resource,
            sub_resource: raw.sub_resource,
            namespace: raw.namespace,
            name: raw.name,
            dry_run: raw.dry_run.unwrap_or_default(),
            user: raw.user_info,
            object: raw.object,
            old_object: raw.old_object,
        };
        request.check_objects()?;
        Ok(request)
    }
}

impl RawRequest<'_> {
    /// The expected group of the resource. The kind of a subresource may have another group (`autoscaling` for a
    /// scale); the kind of an object may not.
    fn resource_group(&self) -> String {
        if self.sub_resource.is_empty() { self.kind.group.to_string() } else { self.resource.group.to_string() }
    }
}

impl Request<'_> {
    /// The objects must match the request. Otherwise the webhook would check one object, and the API server would store
    /// another.
    fn check_objects(&self) -> Result<(), String> {
        let needed = |there: bool, what: &str| {
            if there { Ok(()) } else { Err(format!("{} without {what}", self.operation.as_str())) }
        };
        if matches!(self.operation, Operation::Create | Operation::Update) {
            needed(self.object.is_some(), "object")?;
        }
        if self.operation == Operation::Update {
            needed(self.old_object.is_some(), "oldObject")?;
        }
        if let (true, Some(kind)) = (self.sub_resource.is_empty(), self.workload)
            && self.resource != kind.resource()
        {
            return Err(format!("request.resource is {:?}, but request.kind is {}", self.resource, kind.kind()));
        }
        for (place, object) in [("object", &self.object), ("oldObject", &self.old_object)] {
            if let Some(object) = object {
                self.check_object(place, object)?;
            }
        }
        Ok(())
    }

    fn check_object(&self, place: &str, object: &Object<'_>) -> Result<(), String> {
        if object.metadata.is_absent && self.operation != Operation::Connect {
            return Err(format!("{place}.metadata is missing"));
        }
        let claims = [
            ("apiVersion", &*object.api_version, &*self.kind.api_version(), false),
            ("kind", &*object.kind, &*self.kind.kind, false),
            ("metadata.name", &*object.metadata.name, &*self.name, true),
            ("metadata.namespace", &*object.metadata.namespace, &*self.namespace, true),
        ];
        for (field, found, expected, may_be_empty) in claims {
            let absent = may_be_empty && (found.is_empty() || expected.is_empty());
            if !absent && found != expected {
                return Err(format!("{place}.{field} is {found:?}, but the request is for {expected:?}"));
            }
        }
        Ok(())
    }

    /// The name of the object. Empty if the API server has not generated it yet.
    #[must_use]
    pub fn object_name(&self) -> &str {
        match &self.object {
            Some(object) if !object.metadata.name.is_empty() => &object.metadata.name,
            _ => &self.name,
        }
    }
}

/// The maximum length of a uid. An API server's uids have 36 bytes; a long one would make the response large.
const MAX_UID: usize = 128;

/// The uid of a malformed request, from the part of the body that is valid JSON.
fn uid_of(body: &[u8]) -> Option<String> {
    struct Find<'c> {
        path: &'static [&'static str],
        found: &'c RefCell<Option<String>>,
    }

    impl<'de> DeserializeSeed<'de> for Find<'_> {
        type Value = ();

        fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
            if self.path.is_empty() {
                *self.found.borrow_mut() = Some(String::deserialize(deserializer)?);
                return Ok(());
            }
            deserializer.deserialize_map(self)
        }
    }

    impl<'de> Visitor<'de> for Find<'_> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
            let Some((next, path)) = self.path.split_first() else { return Ok(()) };
            while let Some(key) = map.next_key::<String>()? {
                if key == *next {
                    map.next_value_seed(Find { path, found: self.found })?;
                } else {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            Ok(())
        }
    }

    let found = RefCell::new(None);
    // The error is reported elsewhere. Only what was read before it matters here.
    let _ =
        Find { path: &["request", "uid"], found: &found }.deserialize(&mut serde_json::Deserializer::from_slice(body));
    found.into_inner().filter(|uid| !uid.is_empty() && uid.len() <= MAX_UID)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    /// A change and its description.
    type Change = (&'static str, fn(&mut Value));

    fn review() -> Value {
        let object = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "orders", "namespace": "payments", "uid": "u-1", "generation": 1,
                "labels": {"app": "orders"},
                "annotations": {"other.example/x": "y", "writgate.dev/incident": "INC-\u{e9}\n7"}},
            "spec": {"template": {}}
        });
        json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {
                "uid": "0b5c1", "operation": "UPDATE", "name": "orders", "namespace": "payments",
                "kind": {"group": "apps", "version": "v1", "kind": "Deployment"},
                "resource": {"group": "apps", "version": "v1", "resource": "deployments"},
                "userInfo": {"username": "alice", "groups": ["dev"]},
                "object": object, "oldObject": object, "dryRun": true, "options": null
            }
        })
    }

    fn malformed(change: impl FnOnce(&mut Value)) -> MalformedReview {
        let mut review = review();
        change(&mut review);
        Request::parse(review.to_string().as_bytes()).map(|_| ()).expect_err("malformed")
    }

    #[test]
    fn reads_the_fields_that_a_decision_requires() {
        let body = review().to_string();
        let request = Request::parse(body.as_bytes()).expect("a review");
        assert_eq!(request.workload, Some(WorkloadKind::Deployment));
        assert_eq!((request.operation, request.dry_run, &*request.user.username), (Operation::Update, true, "alice"));
        let object = request.object.expect("an object");
        assert_eq!(object.spec.map(RawValue::get), Some(r#"{"template":{}}"#));
        assert_eq!(object.metadata.labels.get("app"), Some("orders"));
        assert_eq!(
            object.metadata.annotations.iter().collect::<Vec<_>>(),
            [("writgate.dev/incident", "INC-\u{e9}\n7")]
        );
    }

    #[test]
    fn refuses_a_contradiction_and_keeps_the_uid() {
        let changes: [Change; 17] = [
            ("apiVersion", |r| r["apiVersion"] = "admission.k8s.io/v1beta1".into()),
            ("kind", |r| r["kind"] = "Review".into()),
            ("response", |r| r["response"] = json!({"allowed": true})),
            ("operation", |r| r["request"]["operation"] = "PATCH".into()),
            ("no user", |r| r["request"]["userInfo"] = json!({})),
            ("empty user", |r| r["request"]["userInfo"]["username"] = "".into()),
            ("no object", |r| r["request"]["object"] = Value::Null),
            ("no old object", |r| r["request"]["oldObject"] = Value::Null),
            ("object kind", |r| r["request"]["object"]["kind"] = "Job".into()),
            ("old object version", |r| r["request"]["oldObject"]["apiVersion"] = "apps/v2".into()),
            ("object name", |r| r["request"]["object"]["metadata"]["name"] = "other".into()),
            ("object metadata", |r| {
                r["request"]["object"].as_object_mut().expect("a map").remove("metadata");
            }),
            ("object namespace", |r| r["request"]["object"]["metadata"]["namespace"] = "other".into()),
            ("resource", |r| r["request"]["resource"]["resource"] = "pods".into()),
            ("resource group", |r| r["request"]["resource"]["group"] = "batch".into()),
            ("annotation", |r| r["request"]["object"]["metadata"]["annotations"]["writgate.dev/x"] = 1.into()),
            ("dry run", |r| r["request"]["dryRun"] = "yes".into()),
        ];
        for (what, change) in changes {
            assert_eq!(malformed(change).uid.as_deref(), Some("0b5c1"), "{what}");
        }
    }

    #[test]
    fn a_generated_name_is_that_of_the_object() {
        let mut review = review();
        review["request"]["name"] = "".into();
        assert_eq!(Request::parse(review.to_string().as_bytes()).expect("a review").object_name(), "orders");
        review["request"]["object"]["metadata"]["name"] = "".into();
        assert_eq!(Request::parse(review.to_string().as_bytes()).expect("a review").object_name(), "");
    }

    #[test]
    fn refuses_a_uid_that_cannot_be_echoed() {
        assert_eq!(malformed(|r| r["request"]["uid"] = "".into()).uid, None);
        assert_eq!(malformed(|r| r["request"]["uid"] = 7.into()).uid, None);
        assert_eq!(malformed(|r| r["request"]["uid"] = "u".repeat(MAX_UID + 1).into()).uid, None);
        let mut longest = review();
        longest["request"]["uid"] = "u".repeat(MAX_UID).into();
        assert!(Request::parse(longest.to_string().as_bytes()).is_ok());
    }

    #[test]
    fn refuses_a_duplicate_key() {
        let body = review().to_string();
        for (once, twice) in [
            ("\"dryRun\":true", "\"dryRun\":true,\"dryRun\":false"),
            ("\"spec\":{", "\"spec\":{},\"spec\":{"),
            ("\"annotations\":{", "\"annotations\":{\"writgate.dev/incident\":\"x\","),
        ] {
            let body = body.replace(once, twice);
            assert!(Request::parse(body.as_bytes()).is_err(), "{twice}");
        }
    }

    #[test]
    fn keeps_the_uid_of_a_truncated_review_if_it_was_complete() {
        let body = r#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"abc","kind":{"#;
        assert_eq!(Request::parse(body.as_bytes()).expect_err("truncated").uid.as_deref(), Some("abc"));
        assert_eq!(Request::parse(b"").expect_err("empty").uid, None);
    }

    proptest! {
        #[test]
        fn never_panics_for_a_review_that_is_cut_or_overwritten(at in any::<prop::sample::Index>(), byte: u8, cut: bool) {
            let mut body = review().to_string().into_bytes();
            let at = at.index(body.len());
            if cut { body.truncate(at) } else { body[at] = byte }
            let _ = Request::parse(&body);
        }
    }
}
