//! The decision: a pure function of a request, the posture it falls under, facts that were looked up before, and
//! the time.
//!
//! The checks are made in the order of this table. What fails in rows 1 to 5 ends the judgement, since nothing after
//! it could be believed; of the rest every failure is told.
//!
//! | row | asks whether |
//! |---|---|
//! | 1 | the request can be judged, by a posture, in a namespace of its project, and an approval could help at all |
//! | 2 | an approval is attached, or beside it |
//! | 3 | it is an envelope |
//! | 4 | a key that the environment knows signed it |
//! | 5 | the signature is good; only then its payload is read |
//! | 6, 7 | it covers this spec, for this object |
//! | 8 | it is for this environment, cluster and project |
//! | 9 | it is for this action |
//! | 10, 11 | it and its signers' keys are valid now, for no longer than permitted, and not revoked |
//! | 12 | it names, and its signers may grant, every capability that is needed |
//! | 13 | others than those who ask signed it, and enough of them |
//! | 14, 15 | the object says what it says: pipeline version, config bundle, and what a replay reads |
//! | 16 | it was not used, where it may be used once |
//! | 17 | its record was kept, where it must be; asked by the webhook once all else is decided ([`Decision::not_recorded`]) |
//!
//! The webhook and `verify` call the same function, so they can differ only in what they were given.

use jiff::Timestamp;
use uuid::Uuid;

use crate::{
    approval::action::Action,
    approval::capability::Capability,
    decide::approvals,
    decide::candidate::{Context, Terms},
    decide::dry_run,
    decide::facts::{Facts, Known, Want},
    decide::provenance::{Provenance, unpinned},
    decide::rollback,
    kube::pod_spec::{PodPath, PodSpec},
    kube::workload::WorkloadKind,
    posture::rule::{self, CapabilityRule},
    posture::{ApprovalRule, Durability, PodRule, Posture, PostureError, WorkloadRule},
    record::connection::Connection,
    record::decision::{Basis, Decision, DecisionRecord, RuleRecord, Verdict},
    record::denial::Denial,
    request::admission_review::{MalformedReview, Object, Request},
    request::change::{Change, Hashes, Workload},
    request::record::opening_record,
    text::on_one_line,
    vocabulary::REPLAY_LABEL,
};

/// Which rules a namespace is under.
#[derive(Clone, Copy, Debug)]
pub enum Governance<'a> {
    /// It has no environment, and nothing in it is writgate's.
    Ungoverned,
    /// It is part of an environment.
    Governed {
        /// The label `writgate.dev/environment`; empty where not even that could be found out.
        environment: &'a str,
        /// The label `writgate.dev/project`; without it everything is refused.
        project: Option<&'a str>,
        /// The posture of that environment.
        posture: Result<&'a Posture, &'a PostureError>,
    },
}

/// Decides a request. What it needs to know besides, and does not, is in the decision's
/// [`wants`](Decision::wants): it is to be found out, and the same request decided again at the same time.
#[must_use]
pub fn decide(request: &Request<'_>, governance: &Governance<'_>, facts: &Facts<'_>, now: Timestamp) -> Decision {
    let mut record = opening_record(request, facts.decision_id, now);
    let Governance::Governed { environment, project, posture } = *governance else {
        return Decision::not_an_action(record);
    };
    record.environment = Some(environment).filter(|known| !known.is_empty()).map(str::to_owned);
    record.project = project.map(str::to_owned);
    let generation = request.object.as_ref().map_or(0, |object| object.metadata.generation);
    let hashes = Hashes::of(request);
    record.spec_hash = hashes.new.as_ref().and_then(|hash| hash.as_ref().ok().copied());
    record.previous_spec_hash = hashes.old.as_ref().and_then(|hash| hash.as_ref().ok().copied());
    let judged = match Change::of(request, &hashes, facts.exempt) {
        Change::Nothing => Ok(Judged::NotAnAction),
        Change::Refused(denial) => Err(denial),
        Change::Pod { object, what } => governed(request, environment, project, posture, &mut record)
            .and_then(|place| judge_pod(request, object, what, place.posture, &mut record)),
        Change::Connection(connection) => governed(request, environment, project, posture, &mut record)
            .and_then(|place| judge_connection(&connection, place.posture, &mut record)),
        Change::Workload(workload) => governed(request, environment, project, posture, &mut record)
            .and_then(|place| judge_workload(request, &workload, &place, facts, now, &mut record)),
    };
    let decision = match judged {
        Ok(Judged::NotAnAction) => Decision::not_an_action(record),
        Ok(Judged::Action(verdict)) => Decision::new(record, *verdict, generation),
        Err(denial) => Decision::new(record, Verdict::denied(vec![denial]), generation),
    };
    Decision { durability: posture.map_or_else(|_| Durability::default(), |posture| posture.durability), ..decision }
}

/// The denial of a review that could not be read.
#[must_use]
pub fn decide_malformed(malformed: &MalformedReview, decision_id: Uuid, now: Timestamp) -> Decision {
    let mut record = DecisionRecord::empty(decision_id, now);
    record.request_uid.clone_from(&malformed.uid);
    let denial = Denial::MalformedReview { why: malformed.why.clone() };
    Decision::new(record, Verdict::denied(vec![denial]), 0)
}

/// A namespace with a posture and a project that the posture accepts.
#[derive(Clone, Copy)]
struct Place<'r> {
    environment: &'r str,
    project: &'r str,
    posture: &'r Posture,
}

enum Judged {
    NotAnAction,
    Action(Box<Verdict>),
}

/// Row 1, as far as the namespace goes.
fn governed<'r>(
    request: &Request<'_>,
    environment: &'r str,
    project: Option<&'r str>,
    posture: Result<&'r Posture, &PostureError>,
    record: &mut DecisionRecord,
) -> Result<Place<'r>, Denial> {
    let posture = posture.map_err(|error| match error {
        PostureError::Missing { .. } => Denial::PostureMissing { why: error.to_string() },
        _ => Denial::PostureInvalid { why: error.to_string() },
    })?;
    record.cluster.clone_from(&posture.cluster);
    record.posture_version = Some(posture.version.clone());
    let not_listed = |why: String| Err(Denial::NamespaceNotListed { why: on_one_line(&why) });
    let namespace = &*request.namespace;
    let Some(project) = project else {
        return not_listed(format!(
            "namespace {namespace} is in environment {environment} but has no label writgate.dev/project"
        ));
    };
    match posture.namespaces.as_ref().map(|listed| listed.get(namespace)) {
        None => {}
        Some(Some(listed)) if listed == project => {}
        Some(Some(listed)) => {
            return not_listed(format!(
                "namespace {namespace} claims project {project}, but the posture lists it under project {listed}"
            ));
        }
        Some(None) => {
            return not_listed(format!(
                "namespace {namespace} claims environment {environment}, but the posture does not list it"
            ));
        }
    }
    Ok(Place { environment, project, posture })
}

fn judge_pod(
    request: &Request<'_>,
    object: &Object<'_>,
    what: &str,
    posture: &Posture,
    record: &mut DecisionRecord,
) -> Result<Judged, Denial> {
    let spec = object.spec.map_or("{}", |spec| spec.get());
    if posture.pods == PodRule::Deny {
        let why = format!("the posture denies {what} (pods: deny); it has no spec that could be approved");
        return Err(Denial::WorkloadNotAllowed { why });
    }
    if let [rule, ..] = &*matching_rules(request, posture, record)? {
        let why = format!(
            "{what} cannot be approved, but capability rule {} requires an approval: {}",
            rule.name,
            rule.reason()
        );
        return Err(Denial::WorkloadNotAllowed { why });
    }
    let pod = pod_spec(spec, PodPath::Itself)?;
    if names_replay_image(&pod, posture) {
        return Err(only_jobs_replay("a Pod"));
    }
    let rule = posture.rule(Action::Deploy);
    record.action = Some(Action::Deploy);
    record.approval_required = Some(false);
    record.enforcement = Some(rule.enforcement);
    let denials = unpinned(&pod, posture).into_iter().collect();
    Ok(Judged::Action(Box::new(Verdict { denials, ..Verdict::admitted(Basis::NotRequired) })))
}

fn judge_connection(connection: &Connection, posture: &Posture, record: &mut DecisionRecord) -> Result<Judged, Denial> {
    let Some(verdict) = connection.judge(posture.connect)? else { return Ok(Judged::NotAnAction) };
    record.approval_required = Some(false);
    Ok(Judged::Action(Box::new(verdict)))
}

fn judge_workload(
    request: &Request<'_>,
    workload: &Workload<'_>,
    place: &Place<'_>,
    facts: &Facts<'_>,
    now: Timestamp,
    record: &mut DecisionRecord,
) -> Result<Judged, Denial> {
    let posture = place.posture;
    let pod = pod_spec(workload.spec, workload.kind.into())?;
    let action = action_of(workload, &pod, posture)?;
    if workload.by_exempt_controller && action == Action::Deploy {
        return Ok(Judged::NotAnAction);
    }
    let rules = matching_rules(request, posture, record)?;
    let action = match action {
        Action::ReplayDryRun if !rules.is_empty() => Action::ReplayExecute,
        action => action,
    };
    let rule = posture.rule(action);
    let other = action == Action::Deploy && workload.kind != WorkloadKind::Deployment;
    record.action = Some(action);
    record.enforcement = Some(rule.enforcement);
    if other && posture.workloads == WorkloadRule::Deny {
        let why = format!("the posture denies a {} (workloads: deny)", workload.kind.kind());
        return Err(Denial::WorkloadNotAllowed { why });
    }
    let asked = rule.approval == ApprovalRule::Required && !(other && posture.workloads == WorkloadRule::Allow);
    // What only somebody may grant is not free because the action is.
    let required = asked || !rules.is_empty();
    let terms = Terms {
        capabilities: needed(&rule.capabilities, &rules),
        quorum: &rule.quorum,
        max_lifetime: rule.max_lifetime,
    };
    record.approval_required = Some(required);
    record.required_capabilities = terms.capabilities.iter().map(ToString::to_string).collect();
    let provenance = Provenance { workload, pod: &pod, action, environment: place.environment, posture };
    let own = Own::of(&provenance, facts.known, now);
    if !required {
        let verdict = own.unless_unread(Verdict::admitted(Basis::NotRequired));
        return Ok(Judged::Action(Box::new(own.beside(verdict))));
    }
    let break_glass = posture.break_glass.as_ref().map(|rule| Terms {
        capabilities: needed(&rule.capabilities, &rules),
        quorum: &rule.quorum,
        max_lifetime: rule.max_lifetime,
    });
    let context = Context {
        request,
        workload,
        action,
        environment: place.environment,
        project: place.project,
        posture,
        rules: &rules,
        terms: &terms,
        break_glass: break_glass.as_ref(),
        now,
    };
    Ok(Judged::Action(Box::new(judge_approvals(&context, &own, facts.known, record))))
}

/// The capability rules that match. An error in one denies, since it might have matched.
fn matching_rules<'p>(
    request: &Request<'_>,
    posture: &'p Posture,
    record: &mut DecisionRecord,
) -> Result<Vec<&'p CapabilityRule>, Denial> {
    if posture.capability_rules.is_empty() {
        return Ok(Vec::new());
    }
    let rules = rule::matching(&posture.capability_rules, &request.into())
        .map_err(|error| Denial::PostureInvalid { why: error.to_string() })?;
    let told = |rule: &&CapabilityRule| RuleRecord {
        name: rule.name.clone(),
        require: rule.require.iter().map(ToString::to_string).collect(),
        message: rule.message.clone(),
    };
    record.capability_rules = rules.iter().map(told).collect();
    Ok(rules)
}

/// What is needed in all, without repetition.
fn needed(own: &[Capability], rules: &[&CapabilityRule]) -> Vec<Capability> {
    let mut needed = own.to_vec();
    for capability in rules.iter().flat_map(|rule| &rule.require) {
        if !needed.contains(capability) {
            needed.push(capability.clone());
        }
    }
    needed
}

/// By what a workload that needs an approval is admitted, if by anything.
fn judge_approvals(context: &Context<'_>, own: &Own, known: &Known, record: &mut DecisionRecord) -> Verdict {
    let blameless = own.denials.is_empty();
    let mut verdict = match approvals::judge(context, blameless, known, record) {
        Err(mut denials) => {
            let wants = approvals::look_beside(context, blameless, known);
            let wants = wants.map_err(|unknown| denials.push(unknown)).ok().flatten();
            Verdict { wants: wants.into_iter().collect(), ..Verdict::denied(denials) }
        }
        Ok(given) => {
            let is_emergency = given.iter().any(|signed| signed.approval.break_glass);
            if let Some(terms) = context.break_glass.filter(|_| is_emergency) {
                record.required_capabilities = terms.capabilities.iter().map(ToString::to_string).collect();
            }
            let basis = if is_emergency { Basis::BreakGlass } else { Basis::Approval };
            let mut verdict = own.unless_unread(Verdict::admitted(basis));
            let once = context.posture.rule(context.action).single_use;
            if once && blameless && verdict.wants.is_empty() {
                (verdict.denials, verdict.wants) = approvals::spend(context, &given, known);
            }
            verdict
        }
    };
    if blameless && verdict.wants.is_empty() {
        if !verdict.denials.is_empty() {
            verdict = own.unless_unread(rollback::judge(context, verdict, known, record));
        } else if verdict.basis == Some(Basis::Approval) {
            verdict.note = rollback::note(context, record);
        }
    }
    own.beside(verdict)
}

/// What speaks against the object whatever was approved.
struct Own {
    denials: Vec<Denial>,
    /// What it refers to and nobody has read yet.
    unread: Vec<Want>,
}

impl Own {
    fn of(provenance: &Provenance<'_>, known: &Known, now: Timestamp) -> Self {
        let hash = provenance.workload.hash;
        let revocation = provenance.posture.revocations.specs.get(&hash).filter(|revocation| revocation.in_force(now));
        let revoked = |why| Denial::Revoked { what: format!("spec {hash}"), why };
        let mut denials: Vec<_> = revocation.map(|revocation| revoked(revocation.why.clone())).into_iter().collect();
        denials.extend(provenance.failures(known));
        let unread = if denials.is_empty() { provenance.unread(known) } else { Vec::new() };
        Self { denials, unread }
    }

    /// An admission waits until everything was read. For what is denied anyway nothing is looked up, so that nobody
    /// without an approval can keep the API server busy.
    fn unless_unread(&self, verdict: Verdict) -> Verdict {
        if !verdict.denials.is_empty() || self.unread.is_empty() {
            return verdict;
        }
        let denial = Denial::LookupFailed {
            what: "the content of the ConfigMaps that it refers to".to_owned(),
            why: "they were not looked up".to_owned(),
        };
        Verdict { wants: self.unread.clone(), ..Verdict::denied(vec![denial]) }
    }

    fn beside(&self, mut verdict: Verdict) -> Verdict {
        verdict.denials.extend(self.denials.iter().cloned());
        verdict
    }
}

/// A spec without a readable Pod is refused: it could refer to images and ConfigMaps that no check sees.
fn pod_spec(spec: &str, path: PodPath) -> Result<PodSpec<'_>, Denial> {
    PodSpec::read(spec, path).map_err(|error| Denial::MalformedReview { why: format!("object.spec: {error}") })
}

/// Which action a workload's change is.
fn action_of(workload: &Workload<'_>, pod: &PodSpec<'_>, posture: &Posture) -> Result<Action, Denial> {
    let replays = names_replay_image(pod, posture);
    if workload.kind != WorkloadKind::Job {
        let makes_replays = workload.kind == WorkloadKind::CronJob && job_template_is_labelled(workload.spec);
        return if replays || makes_replays { Err(only_jobs_replay(workload.kind.kind())) } else { Ok(Action::Deploy) };
    }
    let labels = &workload.object.metadata.labels;
    match (labels.get(REPLAY_LABEL), &posture.replay.dry_run) {
        (None, _) if !replays => Ok(Action::Deploy),
        (Some("dry-run"), Some(contract)) if dry_run::is_met(contract, posture, workload.spec) => {
            Ok(Action::ReplayDryRun)
        }
        _ => Ok(Action::ReplayExecute),
    }
}

fn only_jobs_replay(what: &str) -> Denial {
    Denial::WorkloadNotAllowed { why: format!("{what} may not run a replay image or create replays; only a Job may") }
}

fn names_replay_image(pod: &PodSpec<'_>, posture: &Posture) -> bool {
    pod.images().any(|image| posture.replay.images.matches(image.reference))
}

/// Whether the Jobs that a `CronJob` makes would carry the label of a replay.
fn job_template_is_labelled(spec: &str) -> bool {
    serde_json::from_str::<serde_json::Value>(spec).is_ok_and(|spec| {
        spec.pointer("/jobTemplate/metadata/labels").and_then(|labels| labels.get(REPLAY_LABEL)).is_some()
    })
}
