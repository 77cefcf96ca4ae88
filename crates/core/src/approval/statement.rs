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
        let mut statement = Fields::new(signed::parse(payload)?, "")?;
        statement.constant("_type", STATEMENT_TYPE)?;
        statement.constant("predicateType", PREDICATE_TYPE)?;
        let subjects = statement
            .items("subject", MAX_SUBJECTS)?
            .into_iter()
            .enumerate()
            .map(|(index, value)| Subject::parse(value, &format!("subject[{index}]")))
            .collect::<Result<_, _>>()?;
        let predicate = statement.required("predicate")?;
        statement.finish()?;
        Self::parse_predicate(subjects, Fields::new(predicate, "predicate")?)
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
        let subjects: Vec<Value> = self
            .subjects
            .iter()
            .map(|subject| json!({"name": subject.name, "digest": {"sha256": subject.hash.hex()}}))
            .collect();
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
        json!({
            "_type": STATEMENT_TYPE,
            "subject": subjects,
            "predicateType": PREDICATE_TYPE,
            "predicate": predicate,
        })
        .to_string()
        .into_bytes()
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

impl Subject {
    pub(super) fn parse(value: Node<'_>, path: &str) -> Result<Self, String> {
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
mod tests {
    use super::*;

    /// A change and its description.
    type Change = (&'static str, fn(&mut Value));

    fn payload() -> Value {
        json!({
            "_type": STATEMENT_TYPE,
            "subject": [{"name": "apps/v1/Deployment/payments/orders", "digest": {"sha256": "0".repeat(64)}}],
            "predicateType": PREDICATE_TYPE,
            "predicate": {
                "id": "01935a00-0000-7000-8000-000000000001", "projection": "v1", "action": "deploy",
                "cluster": "prod-eu-1", "environment": "production", "project": "payments",
                "capabilities": ["deploy"], "pipelineVersion": "orders@1.4.2", "configBundle": "sha256:00",
                "replay": {"incident": "INC-7", "incidentSpecHash": "sha256:00",
                    "sourceEnvironment": "production", "sourceArtifact": "sha256:00"},
                "requestedBy": "alice@acme.example", "reason": "CHG-1234",
                "notBefore": "2026-11-22T10:00:00Z", "expiresAt": "2026-11-22T12:00:00Z"
            }
        })
    }

    fn parse(value: &Value) -> Result<Approval, String> {
        Approval::parse(value.to_string().as_bytes())
    }

    #[test]
    fn parses_what_it_writes() {
        let approval = parse(&payload()).expect("an approval");
        assert_eq!(serde_json::from_slice::<Value>(&approval.to_payload()).expect("JSON"), payload());
        assert_eq!(approval.lifetime(), SignedDuration::from_hours(2));
    }

    #[test]
    fn refuses_unknown_and_null_fields_and_requires_all_but_the_optional_ones() {
        let optional = ["cluster", "pipelineVersion", "configBundle", "replay", "reason"];
        let predicate = payload()["predicate"].as_object().expect("an object").clone();
        for name in predicate.keys() {
            let mut without = payload();
            without["predicate"].as_object_mut().expect("an object").remove(name);
            assert_eq!(parse(&without).is_ok(), optional.contains(&&**name), "{name}");
            let mut null = payload();
            null["predicate"][name] = Value::Null;
            assert!(parse(&null).is_err(), "{name}: null is not the same as absent");
        }
        for path in ["", "/subject/0", "/subject/0/digest", "/predicate", "/predicate/replay"] {
            let mut unknown = payload();
            unknown.pointer_mut(path).expect("there")["unlimited"] = true.into();
            assert!(parse(&unknown).is_err_and(|why| why.contains("unlimited")), "{path}");
        }
    }

    #[test]
    fn refuses_a_statement_with_one_thing_wrong() {
        let changes: [Change; 22] = [
            ("type", |v| v["_type"] = "https://in-toto.io/Statement/v0.1".into()),
            ("predicate type", |v| v["predicateType"] = "https://writgate.dev/approval/v2".into()),
            ("no subject", |v| v["subject"] = json!([])),
            ("65 subjects", |v| v["subject"] = vec![v["subject"][0].clone(); 65].into()),
            ("upper-case hash", |v| v["subject"][0]["digest"]["sha256"] = "A".repeat(64).into()),
            ("short hash", |v| v["subject"][0]["digest"]["sha256"] = "0".repeat(63).into()),
            ("other algorithm", |v| v["subject"][0]["digest"] = json!({"sha512": "0".repeat(64)})),
            ("projection", |v| v["predicate"]["projection"] = "v2".into()),
            ("UUIDv4", |v| v["predicate"]["id"] = "01935a00-0000-4000-8000-000000000001".into()),
            ("upper-case id", |v| v["predicate"]["id"] = "01935A00-0000-7000-8000-000000000001".into()),
            ("id without hyphens", |v| v["predicate"]["id"] = "01935a00000070008000000000000001".into()),
            ("action", |v| v["predicate"]["action"] = "Deploy".into()),
            ("environment with space", |v| v["predicate"]["environment"] = "production ".into()),
            ("empty project", |v| v["predicate"]["project"] = "".into()),
            ("long reason", |v| v["predicate"]["reason"] = "r".repeat(513).into()),
            ("65 capabilities", |v| v["predicate"]["capabilities"] = vec!["a"; 65].into()),
            ("capability number", |v| v["predicate"]["capabilities"] = json!([1])),
            ("offset", |v| v["predicate"]["notBefore"] = "2026-11-22T10:00:00+00:00".into()),
            ("fraction", |v| v["predicate"]["notBefore"] = "2026-11-22T10:00:00.0Z".into()),
            ("backwards", |v| v["predicate"]["expiresAt"] = "2026-11-22T10:00:00Z".into()),
            ("array for an object", |v| v["predicate"]["replay"] = json!(["INC-7"])),
            ("number", |v| v["predicate"]["requestedBy"] = 7.into()),
        ];
        for (what, change) in changes {
            let mut value = payload();
            change(&mut value);
            assert!(parse(&value).is_err(), "{what}");
        }
        let text = payload().to_string();
        assert!(Approval::parse(text.replace("\"id\":", "\"id\":\"x\",\"id\":").as_bytes()).is_err());
        assert!(Approval::parse(format!("{text}{text}").as_bytes()).is_err());
    }

    fn of_clusters(clusters: &Value) -> Value {
        let mut value = payload();
        let predicate = value["predicate"].as_object_mut().expect("an object");
        predicate.remove("cluster");
        predicate.insert("clusters".to_owned(), clusters.clone());
        value
    }

    #[test]
    fn an_approval_may_be_for_several_clusters() {
        let written = of_clusters(&json!(["prod-eu-1", "prod-us-1"]));
        let approval = parse(&written).expect("an approval");
        assert_eq!(serde_json::from_slice::<Value>(&approval.to_payload()).expect("JSON"), written);
        for (cluster, expected) in [
            (Some("prod-eu-1"), true),
            (Some("prod-us-1"), true),
            (Some("prod-us-2"), false),
            (Some("prod-us-"), false),
            (Some("prod-eu-1,prod-us-1"), false),
            (None, false),
        ] {
            assert_eq!(approval.is_for_cluster(cluster), expected, "{cluster:?}");
        }
        let one = parse(&payload()).expect("an approval");
        assert!(one.is_for_cluster(Some("prod-eu-1")) && !one.is_for_cluster(Some("prod-us-1")));
        assert!(!one.is_for_cluster(None));
        // One name in the list is not the same statement as that name alone, although both are for the same cluster.
        let listed = parse(&of_clusters(&json!(["prod-eu-1"]))).expect("an approval");
        assert!(listed.is_for_cluster(Some("prod-eu-1")) && !listed.agrees_with(&one));
        let turned = parse(&of_clusters(&json!(["prod-us-1", "prod-eu-1"]))).expect("an approval");
        assert!(approval.agrees_with(&turned) && !approval.agrees_with(&listed));
    }

    #[test]
    fn refuses_a_list_of_clusters_with_one_thing_wrong() {
        let many = |count: usize| json!((0..count).map(|number| format!("c{number}")).collect::<Vec<_>>());
        assert!(parse(&of_clusters(&many(64))).is_ok());
        for wrong in [
            many(65),
            json!([]),
            json!(["a", "a"]),
            json!(["a", ""]),
            json!(["a", " b"]),
            json!(["a", 7]),
            json!("a"),
            json!({"a": true}),
            Value::Null,
        ] {
            assert!(parse(&of_clusters(&wrong)).is_err(), "{wrong}");
        }
        let mut both = of_clusters(&json!(["prod-eu-1"]));
        both["predicate"]["cluster"] = "prod-eu-1".into();
        assert!(parse(&both).is_err_and(|why| why.contains("both cluster and clusters")));
    }

    #[test]
    fn approvals_agree_if_they_differ_only_in_ids_times_and_reasons() {
        let same: [Change; 6] = [
            ("id", |v| v["predicate"]["id"] = "01935a00-0000-7000-8000-000000000002".into()),
            ("beginning", |v| v["predicate"]["notBefore"] = "2026-11-22T10:30:00Z".into()),
            ("end", |v| v["predicate"]["expiresAt"] = "2026-11-22T11:30:00Z".into()),
            ("reason", |v| v["predicate"]["reason"] = "CHG-5678".into()),
            ("order of capabilities", |v| v["predicate"]["capabilities"] = json!(["deploy", "a"])),
            ("nothing", |_| ()),
        ];
        let other: [Change; 14] = [
            ("action", |v| v["predicate"]["action"] = "replay-execute".into()),
            ("cluster", |v| v["predicate"]["cluster"] = "prod-eu-2".into()),
            ("no cluster", |v| drop(v["predicate"].as_object_mut().expect("an object").remove("cluster"))),
            ("environment", |v| v["predicate"]["environment"] = "staging".into()),
            ("project", |v| v["predicate"]["project"] = "search".into()),
            ("one capability", |v| v["predicate"]["capabilities"] = json!(["a"])),
            ("other capability", |v| v["predicate"]["capabilities"] = json!(["a", "deploy.privileged"])),
            ("capability twice", |v| v["predicate"]["capabilities"] = json!(["a", "deploy", "deploy"])),
            ("pipeline version", |v| v["predicate"]["pipelineVersion"] = "orders@1.4.3".into()),
            ("bundle", |v| v["predicate"]["configBundle"] = "sha256:01".into()),
            ("incident", |v| v["predicate"]["replay"]["incident"] = "INC-8".into()),
            ("no replay", |v| drop(v["predicate"].as_object_mut().expect("an object").remove("replay"))),
            ("break-glass", |v| v["predicate"]["breakGlass"] = true.into()),
            ("requester", |v| v["predicate"]["requestedBy"] = "bob@acme.example".into()),
        ];
        let mut original = payload();
        original["predicate"]["capabilities"] = json!(["a", "deploy"]);
        let approval = parse(&original).expect("an approval");
        let agrees = |change: fn(&mut Value)| {
            let mut changed = original.clone();
            change(&mut changed);
            let changed = parse(&changed).expect("an approval");
            assert_eq!(approval.agrees_with(&changed), changed.agrees_with(&approval));
            approval.agrees_with(&changed)
        };
        for (what, change) in same {
            assert!(agrees(change), "{what}");
        }
        for (what, change) in other {
            assert!(!agrees(change), "{what}");
        }
    }
}
