//! The statement to sign, from the flags, the request file, the objects and the posture. Values that differ are an
//! error.
//!
//! Nothing is signed or asked here.

use std::{collections::BTreeMap, path::Path};

use jiff::{SignedDuration, Timestamp, Unit};
use writgate_cluster::{clock, namespace::NamespaceLabels};
use writgate_core::{
    approval::{Action, Approval, Capability, Envelope, Replay, RequestFile},
    encoding::{parse_duration, parse_time},
    vocabulary::{DOMAIN, REPLAY_LABEL},
};

use crate::{
    approval::{
        draft::StatementBasis,
        fleet,
        origin::{Claimant, Origin, StatementOrigins, ValidityChoice},
        proposal::Proposal,
    },
    failure::Failure,
    manifest::{Manifest, input, workloads::Workload},
    terminal::output::{self, shown},
};

/// Lifetime of an approval if nothing else sets it.
const SHORT: SignedDuration = SignedDuration::from_hours(1);

/// How long before the signature an approval becomes valid. The webhook's clock may be behind the signer's by as much.
const LEEWAY: SignedDuration = SignedDuration::from_mins(1);

/// How messages introduce a claim of the request file.
pub(super) const SAID: &str = "the request says";

/// The fields of a new statement, except for its subjects.
#[derive(clap::Args, Debug, Default, PartialEq)]
#[group(id = "Statement", multiple = true)]
pub(crate) struct StatementFlags {
    /// Environment that the approval is for [default: the namespaces', or the request's]
    #[arg(long, help_heading = "Statement")]
    environment: Option<String>,
    /// Project that the approval is for [default: the namespaces', or the request's]
    #[arg(long, help_heading = "Statement")]
    project: Option<String>,
    /// Cluster that the approval is for; may be repeated [default: the request's, or the posture's]
    #[arg(long, help_heading = "Statement")]
    cluster: Vec<String>,
    /// Person who requested the approval [default: the request's]
    #[arg(long, value_name = "PERSON", help_heading = "Statement")]
    requested_by: Option<String>,
    /// Reason for the approval, such as a ticket [default: the request's]
    #[arg(long, help_heading = "Statement")]
    reason: Option<String>,
    /// Action to approve: `deploy`, `replay-execute` or `replay-dry-run` [default: by the posture, the request, or the
    /// objects' labels]
    #[arg(long, value_parser = action, help_heading = "Statement")]
    action: Option<Action>,
    /// Capability to grant; may be repeated [default: those that the posture or the request requires, or the action's
    /// own]
    #[arg(long, help_heading = "Statement")]
    capability: Vec<Capability>,
    /// Sign a break-glass approval, under the posture's `breakGlass` terms; its use is reported as an emergency
    #[arg(long, help_heading = "Statement")]
    break_glass: bool,
    /// Lifetime of the approval, such as 90m, 2h or 1d [default: 1h, or less if the posture requires it]
    #[arg(long, value_name = "DURATION", value_parser = duration, conflicts_with = "expires_at", help_heading = "Statement")]
    expires_in: Option<SignedDuration>,
    /// Time at which the approval expires, such as 2026-11-22T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time, help_heading = "Statement")]
    expires_at: Option<Timestamp>,
    /// Time from which the approval is valid [default: one minute ago, since clocks differ]
    #[arg(long, value_name = "TIME", value_parser = time, help_heading = "Statement")]
    not_before: Option<Timestamp>,
    /// Pipeline version to bind [default: the objects' annotation]
    #[arg(long, value_name = "PIPELINE@VERSION", help_heading = "Statement")]
    pipeline_version: Option<String>,
    /// Config bundle to bind [default: the objects' annotation]
    #[arg(long, value_name = "DIGEST", help_heading = "Statement")]
    config_bundle: Option<String>,
    /// Replays only: incident to bind [default: the objects' annotation]
    #[arg(long, help_heading = "Statement")]
    incident: Option<String>,
    /// Replays only: spec hash that ran in the incident [default: the objects' annotation]
    #[arg(long, value_name = "DIGEST", help_heading = "Statement")]
    incident_spec_hash: Option<String>,
    /// Replays only: environment that the input comes from [default: the objects' annotation]
    #[arg(long, value_name = "ENVIRONMENT", help_heading = "Statement")]
    source_environment: Option<String>,
    /// Replays only: artifact that the replay reads [default: the objects' annotation]
    #[arg(long, value_name = "DIGEST", help_heading = "Statement")]
    source_artifact: Option<String>,
    /// A new statement that was reviewed before, to which everything else is compared.
    #[arg(skip)]
    reviewed: Option<Approval>,
}

impl StatementFlags {
    /// No flags. A statement that was `reviewed` before takes the place of a new one.
    pub(crate) fn of_reviewed(reviewed: Option<Approval>) -> Self {
        Self { reviewed, ..Self::default() }
    }

    /// The requester, from the flags or the request file.
    pub(crate) fn requester(&self, request: Option<&RequestFile>) -> Result<String, Failure> {
        let said = request.map(|request| &*request.requested_by);
        agreed("requested-by", self.requested_by.as_deref(), said, SAID)?.ok_or_else(|| {
            Failure::Misuse(
                "the requester is not known; pass --requested-by PERSON, such as alice@acme.example".to_owned(),
            )
        })
    }

    /// The environment and project that the flags or the request file claim, for namespaces whose labels are not known.
    pub(crate) fn place(&self, request: Option<&RequestFile>) -> NamespaceLabels {
        let environment = request.map(|request| request.environment.as_str());
        let project = request.map(|request| request.project.as_str());
        NamespaceLabels {
            environment: self.environment.as_deref().or(environment).map(Into::into),
            project: self.project.as_deref().or(project).map(Into::into),
        }
    }

    /// The origins of the environment and of the project of [`StatementFlags::place`].
    pub(crate) fn place_origins(&self, request: Option<&RequestFile>) -> [Option<Origin>; 2] {
        let said = request.map(|_| Origin::Claimed(Claimant::Request));
        let origin = |flag: &Option<String>| flag.as_ref().map(|_| Origin::Flag).or_else(|| said.clone());
        [origin(&self.environment), origin(&self.project)]
    }

    /// Where the fields of a new statement come from. A flag has to agree with the posture, and with the request.
    pub(crate) fn origins(&self, request: Option<&RequestFile>, basis: &StatementBasis) -> StatementOrigins {
        let given = |is_given: bool| match request {
            _ if is_given => Origin::Flag,
            Some(_) => Origin::Claimed(Claimant::Request),
            None => Origin::Computed,
        };
        let decided = |is_given: bool| if basis.by_posture { basis.posture_origin() } else { given(is_given) };
        let [environment, project] =
            if basis.by_posture { basis.place_origins.clone() } else { self.place_origins(request) };
        StatementOrigins {
            environment: environment.unwrap_or(Origin::Flag),
            project: project.unwrap_or(Origin::Flag),
            cluster: match request {
                _ if self.cluster.len() > 1 => Origin::Flag,
                Some(request) if !request.clusters.is_empty() => Origin::Claimed(Claimant::Request),
                _ => decided(!self.cluster.is_empty()),
            },
            action: decided(self.action.is_some()),
            capabilities: decided(!self.capability.is_empty()),
            requested_by: given(self.requested_by.is_some()),
            reason: given(self.reason.is_some()),
            validity: Origin::Computed,
            timeless: match (self.not_before, self.expires_at) {
                (None, None) => ValidityChoice::Lifetime,
                (from, until) => ValidityChoice::Times { from: from.is_some(), until: until.is_some() },
            },
        }
    }

    /// Whether this is a break-glass approval.
    pub(crate) fn emergency(&self, request: Option<&RequestFile>) -> Result<bool, Failure> {
        match request {
            Some(request) if self.break_glass && !request.break_glass => Err(Failure::No(
                "--break-glass: the request is not for a break-glass approval; omit the flag".to_owned(),
            )),
            Some(request) => Ok(request.break_glass),
            None => Ok(self.break_glass),
        }
    }

    /// The statement about `proposal`, based on the posture if it is used, else on the request file and the flags.
    pub(crate) fn state(
        &self,
        proposal: &Proposal,
        request: Option<&RequestFile>,
        basis: &StatementBasis,
    ) -> Result<Approval, Failure> {
        if let Some(reviewed) = &self.reviewed {
            return Ok(reviewed.clone());
        }
        let now = clock::now();
        let (not_before, expires_at) = self.validity(now, basis.max_lifetime)?;
        let whose = if basis.by_posture { "the posture says" } else { SAID };
        let by_labels = action_of(proposal).map(|action| action.to_string());
        let found = basis.action.map(|action| action.to_string());
        let asked = self.action.map(|action| action.to_string());
        let action = agreed("action", asked.as_deref(), found.as_deref(), whose)?.map_or(by_labels, Ok)?;
        let action = self::action(&action).map_err(Failure::Misuse)?;
        let place = |name: &str, asked: &Option<String>, found: Option<&str>| {
            agreed(name, asked.as_deref(), found, whose)?.ok_or_else(|| {
                Failure::Misuse(format!("the {name} is not known without a posture or a request; pass --{name}"))
            })
        };
        let (cluster, clusters) = fleet::clusters(&self.cluster, request, basis, whose)?;
        let approval = Approval {
            subjects: proposal.workloads().map(|workload| workload.subject.clone()).collect(),
            id: clock::decision_id(now).to_string(),
            action,
            cluster,
            clusters,
            environment: place("environment", &self.environment, basis.place.environment.as_deref())?,
            project: place("project", &self.project, basis.place.project.as_deref())?,
            capabilities: self.capabilities(action, self.emergency(request)?, basis)?,
            pipeline_version: claim(proposal.workloads(), "pipeline-version", self.pipeline_version.as_deref())?,
            config_bundle: claim(proposal.workloads(), "config-bundle", self.config_bundle.as_deref())?,
            replay: self.replay(action, proposal)?,
            break_glass: self.emergency(request)?,
            requested_by: self.requester(request)?,
            reason: {
                let said = request.and_then(|request| request.reason.as_deref());
                agreed("reason", self.reason.as_deref(), said, SAID)?
            },
            not_before,
            expires_at,
        };
        // Sign only what the webhook would read as the same statement.
        match Approval::parse(&approval.to_payload()) {
            Ok(read) if read == approval => Ok(approval),
            Ok(_) => Err(Failure::Misuse("this is not a valid approval: it would be read back differently".to_owned())),
            Err(why) => Err(Failure::Misuse(format!("this is not a valid approval: {why}"))),
        }
    }

    fn validity(&self, now: Timestamp, most: Option<SignedDuration>) -> Result<(Timestamp, Timestamp), Failure> {
        let whole = now.round(jiff::TimestampRound::new().smallest(Unit::Second).mode(jiff::RoundMode::Floor));
        let whole = whole.unwrap_or(now);
        let lifetime = self.expires_in.unwrap_or(most.map_or(SHORT, |most| SHORT.min(most)));
        let not_before = self.not_before.unwrap_or_else(|| {
            // Not so early that the approval has expired by now, or exceeds the posture's limit only for that reason.
            let spare = match self.expires_at {
                Some(time) => most.map_or(LEEWAY, |most| most - time.duration_since(whole)),
                None => lifetime / 2,
            };
            let seconds = LEEWAY.min(spare).as_secs().max(0);
            whole.checked_sub(SignedDuration::from_secs(seconds)).unwrap_or(whole)
        });
        let expires_at = match self.expires_at {
            Some(time) => time,
            None => not_before.checked_add(lifetime).map_err(|_| {
                Failure::Misuse("the approval would expire after the year 9999; pass a shorter --expires-in".to_owned())
            })?,
        };
        if expires_at <= now {
            return Err(Failure::Misuse(format!(
                "the approval would have expired already, at {expires_at}; pass a later --expires-at or --not-before"
            )));
        }
        let lasts = expires_at.duration_since(not_before);
        match most.filter(|most| lasts > *most) {
            None => Ok((not_before, expires_at)),
            Some(most) => Err(Failure::No(format!(
                "the approval would be valid for {lasts:#}, but the posture permits at most {most:#}; pass a shorter --expires-in"
            ))),
        }
    }

    fn capabilities(&self, action: Action, emergency: bool, basis: &StatementBasis) -> Result<Vec<String>, Failure> {
        let asked: Vec<String> = self.capability.iter().map(ToString::to_string).collect();
        let found: Vec<String> = basis.needed.iter().map(|needed| needed.capability.clone()).collect();
        let sorted = |names: &[String]| {
            let mut names = names.to_vec();
            names.sort_unstable();
            names.dedup();
            names
        };
        match (asked.is_empty(), found.is_empty()) {
            (false, false) if sorted(&asked) != sorted(&found) => Err(Failure::No(format!(
                "--capability says {}, but exactly {} is required; omit the flag",
                asked.join(", "),
                shown(&found.join(", "))
            ))),
            (true, false) => Ok(found),
            (true, true) => Ok(vec![own_capability(action, emergency).to_owned()]),
            (false, _) => Ok(asked),
        }
    }

    fn replay(&self, action: Action, proposal: &Proposal) -> Result<Option<Replay>, Failure> {
        let asked = [
            ("incident", &self.incident),
            ("incident-spec-hash", &self.incident_spec_hash),
            ("source-environment", &self.source_environment),
            ("source-artifact", &self.source_artifact),
        ];
        if action == Action::Deploy {
            return match asked.into_iter().find(|(_, value)| value.is_some()) {
                Some((flag, _)) => {
                    Err(Failure::Misuse(format!("--{flag} is for replays, but the action is deploy; omit the flag")))
                }
                None => Ok(None),
            };
        }
        let [incident, incident_spec_hash, source_environment, source_artifact] =
            asked.map(|(name, value)| claim(proposal.workloads(), name, value.as_deref()));
        let replay = Replay {
            incident: incident?,
            incident_spec_hash: incident_spec_hash?,
            source_environment: source_environment?,
            source_artifact: source_artifact?,
        };
        for (missing, name) in [(&replay.incident, "incident"), (&replay.source_environment, "source-environment")] {
            if missing.is_none() && action == Action::ReplayExecute {
                return Err(Failure::Misuse(format!(
                    "a replay requires its {name}; annotate the objects with {DOMAIN}{name}, or pass --{name}"
                )));
            }
        }
        Ok((replay != Replay::default()).then_some(replay))
    }
}

/// The value on which a flag and another source agree. `whose` introduces the other source's value in messages.
pub(super) fn agreed(
    flag: &str,
    asked: Option<&str>,
    found: Option<&str>,
    whose: &str,
) -> Result<Option<String>, Failure> {
    match (asked, found) {
        (Some(asked), Some(found)) if asked != found => Err(Failure::No(format!(
            "--{flag} says {}, but {whose} {}; omit the flag, or correct the wrong value",
            shown(asked),
            shown(found)
        ))),
        (asked, found) => Ok(asked.or(found).map(str::to_owned)),
    }
}

/// The capability of an action if no posture says otherwise.
fn own_capability(action: Action, emergency: bool) -> &'static str {
    match action {
        _ if emergency => "break-glass",
        Action::Deploy => "deploy",
        Action::ReplayExecute => "replay.execute",
        Action::ReplayDryRun => "replay.dry-run",
    }
}

/// The action by the workloads' labels.
fn action_of(proposal: &Proposal) -> Result<Action, Failure> {
    let action = |workload: &Workload| match workload.manifest.label(REPLAY_LABEL) {
        Some(_) => Action::ReplayExecute,
        None => Action::Deploy,
    };
    let first = proposal.workloads().next().map_or(Action::Deploy, action);
    match proposal.workloads().find(|workload| action(workload) != first) {
        None => Ok(first),
        Some(other) => Err(Failure::Misuse(format!(
            "{} is {}, but another workload is {first}; an approval covers one action: use a separate file for each",
            other.manifest,
            action(other)
        ))),
    }
}

/// The value of annotation `writgate.dev/<name>`. It must be the same on all workloads, because an approval binds one
/// value.
fn claim<'a>(
    workloads: impl Iterator<Item = &'a Workload> + Clone,
    name: &str,
    asked: Option<&str>,
) -> Result<Option<String>, Failure> {
    let annotation = format!("{DOMAIN}{name}");
    let mut said: BTreeMap<Option<&str>, &Manifest> = BTreeMap::new();
    for workload in workloads {
        said.entry(workload.manifest.annotation(&annotation)).or_insert(&workload.manifest);
    }
    let show = |value: Option<&str>| value.map_or("missing".to_owned(), shown);
    let mut different = said.iter();
    if let (Some((one, first)), Some((other, second))) = (different.next(), different.next()) {
        return Err(Failure::Misuse(format!(
            "annotation {annotation} is {} in {first} and {} in {second}; an approval binds one value: use a separate \
             file for each",
            show(*one),
            show(*other)
        )));
    }
    let found = said.keys().next().copied().flatten();
    match (asked, found) {
        (Some(asked), Some(found)) if asked != found => Err(Failure::No(format!(
            "--{name} says {}, but annotation {annotation} says {}; omit the flag, or correct the annotation",
            shown(asked),
            shown(found)
        ))),
        (Some(asked), None) => {
            output::note(&format!(
                "note: the objects have no annotation {annotation} yet; they will be denied until they have {annotation}: {}",
                shown(asked)
            ));
            Ok(Some(asked.to_owned()))
        }
        (asked, found) => Ok(asked.or(found).map(str::to_owned)),
    }
}

/// The statement in an envelope, whoever signed it.
pub(crate) fn approval_in(envelope: &Envelope, name: &str) -> Result<Approval, Failure> {
    Approval::parse(envelope.payload())
        .map_err(|why| Failure::Undetermined(format!("{name} contains no approval: {why}")))
}

/// An envelope to which a signature is added, and its name in messages.
#[derive(Clone, Debug)]
pub(crate) struct GivenEnvelope {
    pub(crate) envelope: Envelope,
    pub(crate) name: String,
}

impl GivenEnvelope {
    /// Reads a file.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        Ok(Self { envelope: input::envelope(path)?, name: input::name(path) })
    }
}

/// The statement of another reviewer's envelope, if it is for exactly these workloads.
pub(crate) fn in_envelope(given: &GivenEnvelope, proposal: &Proposal) -> Result<(Envelope, Approval), Failure> {
    let GivenEnvelope { envelope, name } = given;
    let approval = approval_in(envelope, name)?;
    let refuse = |why: String| Err(Failure::No(format!("{name} is not for this file: {why}")));
    for subject in &approval.subjects {
        if proposal.workloads().all(|workload| workload.subject.name != subject.name) {
            return refuse(format!("the approval covers {}, which is not in the file", shown(&subject.name)));
        }
    }
    for Workload { manifest, subject } in proposal.workloads() {
        let approved = approval.subjects.iter().find(|approved| approved.name == subject.name);
        match approved {
            None => return refuse(format!("the approval does not cover {manifest}")),
            Some(approved) if approved.hash != subject.hash => {
                return refuse(format!(
                    "{manifest} has spec hash {}, but the approval covers {}",
                    subject.hash, approved.hash
                ));
            }
            Some(_) => {}
        }
    }
    for (name, approved) in claims(&approval) {
        let found = claim(proposal.workloads(), name, None)?;
        if found.as_deref() != Some(approved) {
            let found = found.as_deref().map_or("missing".to_owned(), shown);
            return refuse(format!(
                "the approval says {name} {}, but the objects' annotation is {found}",
                shown(approved)
            ));
        }
    }
    if approval.expires_at <= clock::now() {
        return refuse(format!("the approval expired at {}", approval.expires_at));
    }
    Ok((envelope.clone(), approval))
}

/// The claims of an approval that must equal the objects' annotations, by name.
pub(crate) fn claims(approval: &Approval) -> impl Iterator<Item = (&'static str, &str)> {
    let replay = approval.replay.as_ref();
    [
        ("pipeline-version", approval.pipeline_version.as_deref()),
        ("config-bundle", approval.config_bundle.as_deref()),
        ("incident", replay.and_then(|replay| replay.incident.as_deref())),
        ("incident-spec-hash", replay.and_then(|replay| replay.incident_spec_hash.as_deref())),
        ("source-environment", replay.and_then(|replay| replay.source_environment.as_deref())),
        ("source-artifact", replay.and_then(|replay| replay.source_artifact.as_deref())),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
}

pub(crate) fn action(text: &str) -> Result<Action, String> {
    let names = Action::ALL.map(Action::as_str).join(", ");
    Action::ALL.into_iter().find(|action| action.as_str() == text).ok_or_else(|| format!("expected one of {names}"))
}

fn duration(text: &str) -> Result<SignedDuration, String> {
    let duration = parse_duration(text).map_err(|error| error.to_string())?;
    if duration.subsec_nanos() == 0 { Ok(duration) } else { Err("expected whole seconds".to_owned()) }
}

fn time(text: &str) -> Result<Timestamp, String> {
    parse_time(text).map_err(|error| error.to_string())
}
