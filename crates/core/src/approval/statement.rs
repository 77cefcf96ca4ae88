//! The approval's statement: the payload of an envelope.
//!
//! It is an in-toto Statement v1 (github.com/in-toto/attestation, spec/v1) with Writgate's predicate. Parsing a
//! statement says nothing about who signed it. Only a payload whose signature was verified can be trusted.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use uuid::{Uuid, Variant};

use crate::{
    approval::action::Action,
    approval::projection::PROJECTION,
    approval::spec_hash::SpecHash,
    encoding::signed::{self, Fields, Node},
    encoding::time::parse_time,
};

/// `_type` of an in-toto Statement v1.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// `predicateType` of an approval.
pub const PREDICATE_TYPE: &str = "https://writgate.dev/approval/v1";
/// The maximum number of subjects in one approval.
pub const MAX_SUBJECTS: usize = 64;
/// The maximum number of clusters in one approval.
pub(crate) const MAX_CLUSTERS: usize = 64;
/// The maximum number of capabilities in one approval.
pub const MAX_CAPABILITIES: usize = 64;

/// What a reviewer approves: the content of the statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// The approved objects with their spec hashes.
    pub subjects: Vec<Subject>,
    /// A `UUIDv7` in lower case with hyphens.
    pub id: String,
    /// The approved action.
    pub action: Action,
    /// The cluster of the approval. Either this or `clusters` is required if the posture names a cluster.
    pub cluster: Option<String>,
    /// The clusters of an approval for several, each once. Empty if the approval is not for several.
    pub clusters: Vec<String>,
    /// The environment of the approval.
    pub environment: String,
    /// The project of the approval.
    pub project: String,
    /// The capabilities that the approval gives. Compared literally: a wildcard has no meaning.
    pub capabilities: Vec<String>,
    /// Must equal the object's annotation `writgate.dev/pipeline-version`.
    pub pipeline_version: Option<String>,
    /// Must equal the object's annotation `writgate.dev/config-bundle`.
    pub config_bundle: Option<String>,
    /// What a replay may read.
    pub replay: Option<Replay>,
    /// Whether it is an approval under the posture's `breakGlass` terms. Recorded as such.
    pub break_glass: bool,
    /// The requester: the person who requested the approval.
    pub requested_by: String,
    /// A ticket or a sentence, for people.
    pub reason: Option<String>,
    /// The first instant at which it is valid.
    pub not_before: Timestamp,
    /// The first instant at which it is no longer valid.
    pub expires_at: Timestamp,
}

/// One object with its approved spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// `<group/version>/<kind>/<namespace>/<name>`. For a generated name, `<name>` is `<generateName>*`.
    pub name: String,
    /// The hash of the approved spec.
    pub hash: SpecHash,
}

impl Subject {
    /// API version, kind, namespace and name of the object that a subject's name stands for.
    #[must_use]
    pub fn parts(name: &str) -> Option<[&str; 4]> {
        let mut parts = name.rsplitn(4, '/');
        let (name, namespace, kind) = (parts.next()?, parts.next()?, parts.next()?);
        Some([parts.next()?, kind, namespace, name])
    }
}

/// What a replay may read. Each claim must equal the object's annotation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replay {
    /// `writgate.dev/incident`
    pub incident: Option<String>,
    /// `writgate.dev/incident-spec-hash`
    pub incident_spec_hash: Option<String>,
    /// `writgate.dev/source-environment`
    pub source_environment: Option<String>,
    /// `writgate.dev/source-artifact`
    pub source_artifact: Option<String>,
}

impl Approval {
    /// Parses a payload.
    ///
    /// # Errors
    ///
    /// A field is missing, unknown, duplicated, `null` or malformed, a limit is exceeded, or `notBefore` is not before
    /// `expiresAt`. The text names the field, what was found and what was expected.
    pub fn parse(payload: &[u8]) -> Result<Self, String> {
        let (subjects, predicate) = parse(payload, PREDICATE_TYPE)?;
        Self::parse_predicate(subjects, predicate)
    }

    fn parse_predicate(subjects: Vec<Subject>, mut fields: Fields<'_>) -> Result<Self, String> {
        fields.constant("projection", PROJECTION)?;
        let approval = Self {
            subjects,
            id: uuid_v7(fields.name("id")?).map_err(|why| format!("{} {why}", fields.path("id")))?,
            action: action(&fields.name("action")?).map_err(|why| format!("{} {why}", fields.path("action")))?,
            cluster: fields.optional_name("cluster")?,
            clusters: clusters(&mut fields)?,
            environment: fields.name("environment")?,
            project: fields.name("project")?,
            capabilities: capabilities(&mut fields)?,
            pipeline_version: fields.optional_name("pipelineVersion")?,
            config_bundle: fields.optional_name("configBundle")?,
            replay: fields.optional("replay")?.map(Replay::parse).transpose()?,
            break_glass: fields.optional_flag("breakGlass")?,
            requested_by: fields.name("requestedBy")?,
            reason: fields.optional_text("reason")?,
            not_before: time(&mut fields, "notBefore")?,
            expires_at: time(&mut fields, "expiresAt")?,
        };
        fields.finish()?;
        if approval.cluster.is_some() && !approval.clusters.is_empty() {
            return Err("predicate has both cluster and clusters, expected at most one of them".to_owned());
        }
        if approval.not_before >= approval.expires_at {
            return Err("predicate.notBefore is not before predicate.expiresAt".to_owned());
        }
        Ok(approval)
    }

    /// How long the approval is valid.
    #[must_use]
    pub fn lifetime(&self) -> SignedDuration {
        self.expires_at.duration_since(self.not_before)
    }

    /// Whether the approval is for a cluster of this name; `None`: for a posture that names no cluster.
    #[must_use]
    pub fn is_for_cluster(&self, cluster: Option<&str>) -> bool {
        if self.clusters.is_empty() {
            self.cluster.as_deref() == cluster
        } else {
            cluster.is_some_and(|cluster| self.clusters.iter().any(|one| one == cluster))
        }
    }

    /// The payload to sign.
    #[must_use]
    pub fn to_payload(&self) -> Vec<u8> {
        let mut predicate = json!({
            "id": self.id,
            "projection": PROJECTION,
            "action": self.action.as_str(),
            "environment": self.environment,
            "project": self.project,
            "capabilities": self.capabilities,
            "requestedBy": self.requested_by,
            "notBefore": self.not_before.to_string(),
            "expiresAt": self.expires_at.to_string(),
        });
        let optional = [
            ("cluster", &self.cluster),
            ("pipelineVersion", &self.pipeline_version),
            ("configBundle", &self.config_bundle),
            ("reason", &self.reason),
        ];
        insert_present(&mut predicate, optional);
        if !self.clusters.is_empty() {
            insert(&mut predicate, "clusters", self.clusters.clone().into());
        }
        if self.break_glass {
            insert(&mut predicate, "breakGlass", true.into());
        }
        if let Some(replay) = &self.replay {
            let mut claims = json!({});
            insert_present(&mut claims, replay.claims());
            insert(&mut predicate, "replay", claims);
        }
        to_payload(&self.subjects, PREDICATE_TYPE, &predicate)
    }

    /// Whether two approvals are equal except for their ids, times and reasons. If so, the people who signed them
    /// agreed on the same thing, and count together towards a quorum.
    pub(crate) fn agrees_with(&self, other: &Self) -> bool {
        let sorted = |names: &[String]| {
            let mut names = names.to_vec();
            names.sort_unstable();
            names
        };
        self.action == other.action
            && self.cluster == other.cluster
            && sorted(&self.clusters) == sorted(&other.clusters)
            && self.environment == other.environment
            && self.project == other.project
            && sorted(&self.capabilities) == sorted(&other.capabilities)
            && self.pipeline_version == other.pipeline_version
            && self.config_bundle == other.config_bundle
            && self.replay == other.replay
            && self.break_glass == other.break_glass
            && self.requested_by == other.requested_by
    }
}

/// Parses an in-toto statement with this `predicateType`: its subjects, and the fields of its predicate.
pub(super) fn parse<'p>(payload: &'p [u8], predicate_type: &str) -> Result<(Vec<Subject>, Fields<'p>), String> {
    let mut statement = Fields::new(signed::parse(payload)?, "")?;
    statement.constant("_type", STATEMENT_TYPE)?;
    statement.constant("predicateType", predicate_type)?;
    let subjects = statement
        .items("subject", MAX_SUBJECTS)?
        .into_iter()
        .enumerate()
        .map(|(index, value)| Subject::parse(value, &format!("subject[{index}]")))
        .collect::<Result<_, _>>()?;
    let predicate = statement.required("predicate")?;
    statement.finish()?;
    Ok((subjects, Fields::new(predicate, "predicate")?))
}

/// The payload of an in-toto statement.
pub(super) fn to_payload(subjects: &[Subject], predicate_type: &str, predicate: &Value) -> Vec<u8> {
    let subject = |subject: &Subject| json!({"name": subject.name, "digest": {"sha256": subject.hash.hex()}});
    json!({
        "_type": STATEMENT_TYPE,
        "subject": subjects.iter().map(subject).collect::<Vec<_>>(),
        "predicateType": predicate_type,
        "predicate": predicate,
    })
    .to_string()
    .into_bytes()
}

impl Subject {
    fn parse(value: Node<'_>, path: &str) -> Result<Self, String> {
        let mut fields = Fields::new(value, path)?;
        let name = fields.name("name")?;
        let mut digest = Fields::new(fields.required("digest")?, &fields.path("digest"))?;
        fields.finish()?;
        let hex = digest.name("sha256")?;
        let hash = SpecHash::from_hex(&hex).ok_or_else(|| {
            format!("{} is {hex:?}, expected 64 lower-case hexadecimal digits", digest.path("sha256"))
        })?;
        digest.finish()?;
        Ok(Self { name, hash })
    }
}

impl Replay {
    fn parse(value: Node<'_>) -> Result<Self, String> {
        let mut fields = Fields::new(value, "predicate.replay")?;
        let replay = Self {
            incident: fields.optional_name("incident")?,
            incident_spec_hash: fields.optional_name("incidentSpecHash")?,
            source_environment: fields.optional_name("sourceEnvironment")?,
            source_artifact: fields.optional_name("sourceArtifact")?,
        };
        fields.finish()?;
        Ok(replay)
    }

    fn claims(&self) -> [(&'static str, &Option<String>); 4] {
        [
            ("incident", &self.incident),
            ("incidentSpecHash", &self.incident_spec_hash),
            ("sourceEnvironment", &self.source_environment),
            ("sourceArtifact", &self.source_artifact),
        ]
    }
}

fn insert_present<'a>(object: &mut Value, members: impl IntoIterator<Item = (&'static str, &'a Option<String>)>) {
    for (name, value) in members {
        if let Some(value) = value {
            insert(object, name, value.as_str().into());
        }
    }
}

fn insert(object: &mut Value, name: &str, value: Value) {
    if let Value::Object(members) = object {
        members.insert(name.to_owned(), value);
    }
}

/// Accepts a `UUIDv7` (RFC 9562 section 5.7) in one spelling, because revocations compare ids as text. The error
/// continues a sentence that begins with the value's path.
fn uuid_v7(text: String) -> Result<String, String> {
    let is_v7 = |id: Uuid| {
        id.get_version_num() == 7 && id.get_variant() == Variant::RFC4122 && id.hyphenated().to_string() == text
    };
    if Uuid::try_parse(&text).is_ok_and(is_v7) {
        Ok(text)
    } else {
        Err(format!("is {text:?}, expected a UUIDv7 in lower case with hyphens"))
    }
}

fn action(text: &str) -> Result<Action, String> {
    Action::ALL
        .into_iter()
        .find(|action| action.as_str() == text)
        .ok_or_else(|| format!("is {text:?}, expected one of {}", Action::ALL.map(Action::as_str).join(", ")))
}

/// Each name once, so that no list has two lengths.
fn clusters(fields: &mut Fields<'_>) -> Result<Vec<String>, String> {
    let path = fields.path("clusters");
    let names: Vec<String> = match fields.optional("clusters")? {
        None => return Ok(Vec::new()),
        Some(Node::List(items)) if (1..=MAX_CLUSTERS).contains(&items.len()) => {
            let named = |(index, item)| signed::name(item).map_err(|why| format!("{path}[{index}] {why}"));
            items.into_iter().enumerate().map(named).collect::<Result<_, _>>()?
        }
        Some(_) => return Err(format!("{path} is not an array of 1 to {MAX_CLUSTERS} strings")),
    };
    let distinct: BTreeSet<&String> = names.iter().collect();
    if distinct.len() < names.len() {
        return Err(format!("{path} has a name twice, expected each once"));
    }
    Ok(names)
}

/// Accepts any names, because they are compared literally with the required capabilities. A wildcard gives nothing.
fn capabilities(fields: &mut Fields<'_>) -> Result<Vec<String>, String> {
    let path = fields.path("capabilities");
    match fields.required("capabilities")? {
        Node::List(items) if items.len() <= MAX_CAPABILITIES => {
            let named = |(index, item)| signed::name(item).map_err(|why| format!("{path}[{index}] {why}"));
            items.into_iter().enumerate().map(named).collect()
        }
        _ => Err(format!("{path} is not an array of at most {MAX_CAPABILITIES} strings")),
    }
}

pub(super) fn time(fields: &mut Fields<'_>, name: &str) -> Result<Timestamp, String> {
    let text = fields.name(name)?;
    parse_time(&text).map_err(|error| format!("{}: {error}", fields.path(name)))
}

#[cfg(test)]
mod tests;
