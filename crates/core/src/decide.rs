//! The decision: a pure function of a request, the posture it falls under, facts that were looked up before, and
//! the time.
//!
//! The checks are made in the order of this table. What fails in rows 1 to 5 ends the judgement, since nothing after
//! it could be believed; of the rest every failure is told.
//!
//! | row | asks whether |
//! |---|---|
//! | 1 | the request can be judged, by a posture, in a namespace of its project, and an approval could help at all |
//! | 2 | an approval is attached |
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
//!
//! The webhook and `verify` call the same function, so they can differ only in what they were given.

use jiff::Timestamp;
use serde::Deserialize;
use uuid::Uuid;

use crate::{
    action::Action,
    approval::Approval,
    candidate::{self, Candidate, Context, MAX_ENVELOPES, Signed},
    change::{Change, Hashes, REPLAY_LABEL, Workload},
    decision::{Decision, DecisionRecord},
    denial::Denial,
    dry_run,
    envelope::Budget,
    exempt::ExemptControllers,
    image::ImagePatterns,
    posture::{ApprovalRule, PodRule, Posture, Reviewer, SeparationOfDuties, WorkloadRule},
    posture_set::PostureError,
    quorum,
    review::{MalformedReview, Object, Request},
    workload::WorkloadKind,
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

/// What was looked up before deciding.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The id that the decision gets, a `UUIDv7`.
    pub decision_id: Uuid,
    /// The controllers whose writes are not judged.
    pub exempt: &'a ExemptControllers,
}

/// Decides a request.
#[must_use]
pub fn decide(request: &Request<'_>, governance: &Governance<'_>, facts: &Facts<'_>, now: Timestamp) -> Decision {
    let mut record = DecisionRecord::of(request, facts.decision_id, now);
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
            .and_then(|place| judge_pod(object, what, place.posture, &mut record)),
        Change::Workload(workload) => governed(request, environment, project, posture, &mut record)
            .and_then(|place| judge_workload(request, &workload, &place, now, &mut record)),
    };
    match judged {
        Ok(Judged::NotAnAction) => Decision::not_an_action(record),
        Ok(Judged::Action(denials)) => Decision::new(record, denials, generation),
        Err(denial) => Decision::new(record, vec![denial], generation),
    }
}

/// The denial of a review that could not be read.
#[must_use]
pub fn decide_malformed(malformed: &MalformedReview, facts: &Facts<'_>, now: Timestamp) -> Decision {
    let mut record = DecisionRecord::empty(facts.decision_id, now);
    record.request_uid.clone_from(&malformed.uid);
    Decision::new(record, vec![Denial::MalformedReview { why: malformed.why.clone() }], 0)
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
    /// With everything that speaks against it.
    Action(Vec<Denial>),
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
    let not_listed = |why| Err(Denial::NamespaceNotListed { why });
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
                "namespace {namespace} claims project {project}, but the posture lists it under {listed}"
            ));
        }
        Some(None) => {
            return not_listed(format!(
                "namespace {namespace} claims environment {environment}, whose posture does not list it"
            ));
        }
    }
    Ok(Place { environment, project, posture })
}

fn judge_pod(
    object: &Object<'_>,
    what: &str,
    posture: &Posture,
    record: &mut DecisionRecord,
) -> Result<Judged, Denial> {
    let spec = object.spec.map_or("{}", |spec| spec.get());
    if posture.pods == PodRule::Deny {
        let why = format!("{what} is refused here (pods: deny): it has no spec that could be approved");
        return Err(Denial::WorkloadNotAllowed { why });
    }
    if names_replay_image(&posture.replay.images, spec, PodPath::Itself)? {
        return Err(only_jobs_replay("a Pod"));
    }
    let rule = posture.rule(Action::Deploy);
    record.action = Some(Action::Deploy);
    record.approval_required = Some(false);
    record.enforcement = Some(rule.enforcement);
    Ok(Judged::Action(Vec::new()))
}

fn judge_workload(
    request: &Request<'_>,
    workload: &Workload<'_>,
    place: &Place<'_>,
    now: Timestamp,
    record: &mut DecisionRecord,
) -> Result<Judged, Denial> {
    let posture = place.posture;
    let action = action_of(workload, posture)?;
    if workload.by_exempt_controller && action == Action::Deploy {
        return Ok(Judged::NotAnAction);
    }
    let rule = posture.rule(action);
    let other = action == Action::Deploy && workload.kind != WorkloadKind::Deployment;
    record.action = Some(action);
    record.enforcement = Some(rule.enforcement);
    if other && posture.workloads == WorkloadRule::Deny {
        let why = format!("a {} is refused here (workloads: deny)", workload.kind.kind());
        return Err(Denial::WorkloadNotAllowed { why });
    }
    let required = rule.approval == ApprovalRule::Required && !(other && posture.workloads == WorkloadRule::Allow);
    record.approval_required = Some(required);
    record.required_capabilities = rule.capabilities.iter().map(ToString::to_string).collect();
    let mut denials = own_failures(workload, posture, now);
    if required {
        let context = Context {
            request,
            workload,
            action,
            environment: place.environment,
            project: place.project,
            posture,
            rule,
            now,
        };
        judge_approvals(&context, &mut denials, record);
    }
    Ok(Judged::Action(denials))
}

/// What speaks against the object whatever was approved.
fn own_failures(workload: &Workload<'_>, posture: &Posture, now: Timestamp) -> Vec<Denial> {
    let revocation = posture.revocations.specs.get(&workload.hash);
    revocation
        .filter(|revocation| revocation.in_force(now))
        .map(|revocation| Denial::Revoked { what: format!("spec {}", workload.hash), why: revocation.why.clone() })
        .into_iter()
        .collect()
}

/// Which action a workload's change is.
fn action_of(workload: &Workload<'_>, posture: &Posture) -> Result<Action, Denial> {
    let path = match workload.kind {
        WorkloadKind::CronJob => PodPath::JobTemplate,
        _ => PodPath::Template,
    };
    let replays = names_replay_image(&posture.replay.images, workload.spec, path)?;
    if workload.kind != WorkloadKind::Job {
        let makes_replays = workload.kind == WorkloadKind::CronJob && job_template_is_labelled(workload.spec);
        return if replays || makes_replays { Err(only_jobs_replay(workload.kind.kind())) } else { Ok(Action::Deploy) };
    }
    let labels = &workload.object.metadata.labels;
    match (labels.get(REPLAY_LABEL), &posture.replay.dry_run) {
        (None, _) if !replays => Ok(Action::Deploy),
        (Some("dry-run"), Some(contract)) if dry_run::is_met(contract, &posture.replay.images, workload.spec) => {
            Ok(Action::ReplayDryRun)
        }
        _ => Ok(Action::ReplayExecute),
    }
}

fn only_jobs_replay(what: &str) -> Denial {
    Denial::WorkloadNotAllowed { why: format!("{what} may not run a replay image or make replays; only a Job may") }
}

/// Where in a spec the Pod's spec is.
#[derive(Clone, Copy)]
enum PodPath {
    Itself,
    Template,
    JobTemplate,
}

/// Whether a container, an init container, an ephemeral container or an image volume names a replay image.
fn names_replay_image(patterns: &ImagePatterns, spec: &str, path: PodPath) -> Result<bool, Denial> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Job<T> {
        job_template: Spec<T>,
    }
    #[derive(Deserialize)]
    struct Spec<T> {
        spec: T,
    }
    #[derive(Deserialize)]
    struct Templated {
        template: Spec<Pod>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Pod {
        containers: Option<Vec<Container>>,
        init_containers: Option<Vec<Container>>,
        ephemeral_containers: Option<Vec<Container>>,
        volumes: Option<Vec<Volume>>,
    }
    #[derive(Deserialize)]
    struct Container {
        image: Option<String>,
    }
    #[derive(Deserialize)]
    struct Volume {
        image: Option<ImageVolume>,
    }
    #[derive(Deserialize)]
    struct ImageVolume {
        reference: Option<String>,
    }
    if patterns.is_empty() {
        return Ok(false);
    }
    let pod: Result<Pod, serde_json::Error> = match path {
        PodPath::Itself => serde_json::from_str(spec),
        PodPath::Template => serde_json::from_str(spec).map(|spec: Templated| spec.template.spec),
        PodPath::JobTemplate => {
            serde_json::from_str(spec).map(|spec: Job<Templated>| spec.job_template.spec.template.spec)
        }
    };
    // What holds no Pod where its kind has one names images that nobody can see.
    let pod = pod.map_err(|error| Denial::MalformedReview { why: format!("object.spec: {error}") })?;
    let containers = [pod.containers, pod.init_containers, pod.ephemeral_containers];
    let images = containers.into_iter().flatten().flatten().filter_map(|container| container.image);
    let volumes = pod.volumes.into_iter().flatten().filter_map(|volume| volume.image?.reference);
    Ok(images.chain(volumes).any(|image| patterns.matches(&image)))
}

/// Whether the Jobs that a `CronJob` makes would carry the label of a replay.
fn job_template_is_labelled(spec: &str) -> bool {
    serde_json::from_str::<serde_json::Value>(spec).is_ok_and(|spec| {
        spec.pointer("/jobTemplate/metadata/labels").and_then(|labels| labels.get(REPLAY_LABEL)).is_some()
    })
}

/// Rows 2 to 13 over all envelopes; what speaks against the object itself is in `denials` already.
fn judge_approvals(context: &Context<'_>, denials: &mut Vec<Denial>, record: &mut DecisionRecord) {
    let attached = candidate::attached(context.workload);
    let Some((first, _)) = attached.first() else {
        denials.push(Denial::ApprovalRequired { action: context.action, environment: context.environment.to_owned() });
        return;
    };
    if attached.len() > MAX_ENVELOPES {
        denials.push(Denial::MalformedApproval {
            annotation: (*first).to_owned(),
            why: format!("{} approvals are attached, at most {MAX_ENVELOPES} are read", attached.len()),
            signed: false,
        });
        return;
    }
    let mut budget = Budget::new();
    let mut candidates: Vec<Candidate<'_>> =
        attached.iter().map(|(name, text)| Candidate::judge(context, name, text, &mut budget)).collect();
    if let Some(group) = quorate(context, &candidates) {
        record.requested_by = group.first().map(|signed| signed.approval.requested_by.clone());
        record.approvals = group.iter().map(|signed| signed.record()).collect();
        return;
    }
    if denials.is_empty() {
        for index in 0..candidates.len() {
            let lacking = lacking_people(context, &candidates, index);
            if let Some(candidate) = candidates.get_mut(index) {
                candidate.denials.extend(lacking);
            }
        }
    }
    // Of equals the first annotation wins, since the order of names is kept.
    let closest = candidates.into_iter().reduce(|best, other| {
        let closer = |one: &Candidate<'_>| (one.closeness(), usize::MAX - one.failures());
        if closer(&other) > closer(&best) { other } else { best }
    });
    if let Some(closest) = closest {
        record.requested_by = closest.signed.as_ref().map(|signed| signed.approval.requested_by.clone());
        record.approvals = closest.signed.iter().map(Signed::record).collect();
        denials.extend(closest.denials);
    }
}

/// The envelopes that pass everything and say the same as `approval`.
fn agreeing<'c, 'r>(candidates: &'c [Candidate<'r>], approval: &Approval) -> Vec<&'c Signed<'r>> {
    candidates
        .iter()
        .filter(|candidate| candidate.denials.is_empty())
        .filter_map(|candidate| candidate.signed.as_ref())
        .filter(|signed| signed.approval.agrees_with(approval))
        .collect()
}

/// The first group of agreeing envelopes whose signers are enough; all of them were given.
fn quorate<'c, 'r>(context: &Context<'_>, candidates: &'c [Candidate<'r>]) -> Option<Vec<&'c Signed<'r>>> {
    candidates
        .iter()
        .filter(|candidate| candidate.denials.is_empty())
        .filter_map(|candidate| candidate.signed.as_ref())
        .map(|signed| agreeing(candidates, &signed.approval))
        .find(|group| {
            let people = people(group);
            quorum::is_met(&context.rule.quorum, &people) && requester_is_proven(context, group, &people)
        })
}

/// The distinct reviewers who count in a group of envelopes.
fn people<'r>(group: &[&Signed<'r>]) -> Vec<&'r Reviewer> {
    let mut people: Vec<&'r Reviewer> = Vec::new();
    for reviewer in group.iter().flat_map(|signed| &signed.counting) {
        if people.iter().all(|other| other.name != reviewer.name) {
            people.push(reviewer);
        }
    }
    people
}

/// Why an envelope that passes everything else is not enough, if that is so.
fn lacking_people(context: &Context<'_>, candidates: &[Candidate<'_>], index: usize) -> Option<Denial> {
    let candidate = candidates.get(index).filter(|candidate| candidate.denials.is_empty())?;
    let signed = candidate.signed.as_ref()?;
    let group = candidates
        .iter()
        .filter_map(|other| other.signed.as_ref().filter(|_| only_lacks_people(other)))
        .filter(|other| other.approval.agrees_with(&signed.approval))
        .collect::<Vec<_>>();
    let people = people(&group);
    let needed = if quorum::is_met(&context.rule.quorum, &people) {
        "nothing proves who asked (separationOfDuties: proven): the requester applies it or signs it too, or two \
         reviewers sign"
            .to_owned()
    } else {
        quorum::in_words(&context.rule.quorum)
    };
    let signed = people.iter().map(|reviewer| reviewer.name.clone()).collect();
    Some(Denial::QuorumNotMet { needed, signed })
}

/// Whether nothing speaks against an envelope but that too few signed it.
fn only_lacks_people(candidate: &Candidate<'_>) -> bool {
    candidate.denials.iter().all(|denial| matches!(denial, Denial::QuorumNotMet { .. }))
}

/// Whether more than the approval's own word says that its requester is not its reviewer.
fn requester_is_proven(context: &Context<'_>, group: &[&Signed<'_>], people: &[&Reviewer]) -> bool {
    if context.posture.separation_of_duties != SeparationOfDuties::Proven || people.len() >= 2 {
        return true;
    }
    group.iter().any(|signed| {
        let requester = &signed.approval.requested_by;
        let initiator = &context.request.user.username;
        // Who may edit a namespace may act as its service accounts: such a name is a person's only where it is listed.
        let is_initiator = (requester.eq_ignore_ascii_case(initiator) && !initiator.starts_with("system:"))
            || context.posture.reviewers.iter().any(|known| known.is(requester) && known.is(initiator));
        is_initiator || signed.signers.iter().any(|signer| signer.reviewer.is(requester))
    })
}
