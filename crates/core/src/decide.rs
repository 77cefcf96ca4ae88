//! The decision: a pure function of a request, the governance of its namespace, facts, and the time.
//!
//! The checks are applied in the order of this table. A failure in rows 1 to 5 ends the checks of the request or of the
//! approval, since nothing after it could be believed. All other failures are reported.
//!
//! | row | checks that |
//! |---|---|
//! | 1 | the request can be checked, against a posture, in a namespace of its project, and an approval could help |
//! | 2 | an approval is attached, or is in a ConfigMap in the same namespace |
//! | 3 | the approval is an envelope |
//! | 4 | a key that the environment knows signed it |
//! | 5 | the signature is valid; only then its payload is read |
//! | 6, 7 | it covers this spec, for this object |
//! | 8 | it is for this environment, cluster and project |
//! | 9 | it is for this action |
//! | 10, 11 | it and its signers' keys are valid now, for no longer than permitted, and not revoked |
//! | 12 | it names every capability that is required, and its signers may grant them |
//! | 13 | people other than the requester and the initiator signed it, and enough of them |
//! | 14, 15 | the object is what it says: pipeline version, config bundle, and what a replay reads |
//! | 16 | it was not used, if it is single-use |
//! | 17 | its record was kept, if the posture requires that; the webhook checks it last ([`Decision::not_recorded`]) |
//!
//! This file is row 1: which kind of change a request is, and whether anything could permit it. `requirements` says what
//! the posture requires for a workload, and `stages` applies the other rows. A decision that depends on a lookup asks its
//! caller (`driver`), so the webhook and `verify` can differ only in their answers.

pub(crate) mod approvals;
pub(crate) mod candidate;
pub(crate) mod coverage;
pub(crate) mod driver;
pub(crate) mod dry_run;
pub(crate) mod eligibility;
pub(crate) mod facts;
mod posted;
pub(crate) mod provenance;
pub(crate) mod requirements;
pub(crate) mod rollback;
pub(crate) mod single_use;
pub(crate) mod stages;
#[cfg(test)]
mod tests;
pub(crate) mod verdict;
pub(crate) mod wake_up;

pub use approvals::MAX_ENVELOPES;
pub use coverage::{Coverage, Unchecked, coverage};
pub use driver::{Answers, ConfigMapAnswer, EmptyCluster, HolderAnswer, Pending, Question, Step};
pub use eligibility::EligibilityTerms;
pub use facts::{Facts, Governance};
pub use posted::{SignatureProgress, VerifiedRejection};
pub use single_use::{USE_VERSION, Use, UseRecord};
pub use wake_up::ScaledWorkload;

use jiff::Timestamp;
use uuid::Uuid;

use crate::{
    approval::action::Action,
    decide::{
        facts::GovernedNamespace,
        provenance::unpinned,
        requirements::{WorkloadAction, matching_rules, names_replay_image, only_jobs_replay, pod_spec},
        stages::decide_workload,
        verdict::{DecisionDraft, Verdict, decision},
    },
    kube::pod_spec::PodPath,
    posture::{ConnectRule, Durability, PodRule, Posture, PostureError},
    record::{
        connection::Connection,
        decision::{Basis, Decision, DecisionRecord},
        denial::Denial,
    },
    request::{
        admission_review::{MalformedReview, Object, Request},
        change::{Change, Hashes},
    },
};

/// Decides a request with answers that need no waiting.
///
/// ```
/// use writgate_core::decide::{EmptyCluster, Facts, Governance, decide};
/// use writgate_core::posture::{Document, PostureSet};
/// use writgate_core::request::{ExemptControllers, Request};
///
/// let review = br#"{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
///     "uid": "86048ed0-0422-4d04-bdcd-a1cfb1b9cab6", "operation": "CREATE", "userInfo": {"username": "alice"},
///     "kind": {"group": "apps", "version": "v1", "kind": "Deployment"},
///     "resource": {"group": "apps", "version": "v1", "resource": "deployments"},
///     "namespace": "payments", "name": "orders", "object": {
///         "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "orders", "namespace": "payments"},
///         "spec": {"template": {"spec": {"containers": [{"name": "orders", "image": "ghcr.io/acme/orders:1.4.2"}]}}}}}}"#;
/// let posture = "{apiVersion: writgate.dev/v1, kind: Posture, environment: production, reviewerSets: [people]}";
/// let reviewers = "\
/// apiVersion: writgate.dev/v1
/// kind: Reviewers
/// name: people
/// reviewers:
///   - name: bob@acme.example
///     capabilities: [deploy]
///     keys:
///       - publicKey: |
///           -----BEGIN PUBLIC KEY-----
///           MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=
///           -----END PUBLIC KEY-----
/// ";
/// let document = |source: &str, text: &str| Document { source: source.into(), name: None, text: text.into() };
/// let postures = PostureSet::assemble(vec![document("posture.yaml", posture), document("reviewers.yaml", reviewers)]);
/// let now = "2026-11-22T11:00:00Z".parse()?;
///
/// let request = Request::parse(review)?;
/// let governance = Governance::Governed {
///     environment: "production",
///     project: Some("payments"),
///     posture: postures.environment("production"),
/// };
/// let facts = Facts { decision_id: uuid::Uuid::nil(), exempt: &ExemptControllers::default(), clock_leeway: jiff::SignedDuration::ZERO };
/// let decision = decide(&request, &governance, &facts, now, &mut EmptyCluster { now });
///
/// assert!(!decision.allowed());
/// assert_eq!(decision.record.reasons, ["ApprovalRequired"]);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn decide(
    request: &Request<'_>,
    governance: &Governance<'_>,
    facts: &Facts<'_>,
    now: Timestamp,
    answers: &mut impl Answers,
) -> Decision {
    start(request, governance, facts, now).finish(answers)
}

/// Begins to decide a request, and stops at the first lookup that the decision depends on.
///
/// ```
/// # use writgate_core::decide::{Facts, Governance, Pending, Step, start};
/// # use writgate_core::record::Decision;
/// # use writgate_core::request::{ExemptControllers, Request};
/// # fn look_up(_: &str) -> Result<bool, String> { Ok(true) }
/// # fn example(request: &Request<'_>, governance: &Governance<'_>, now: jiff::Timestamp) -> Decision {
/// let facts = Facts { decision_id: uuid::Uuid::nil(), exempt: &ExemptControllers::default(), clock_leeway: jiff::SignedDuration::ZERO };
/// let mut step = start(request, governance, &facts, now);
/// loop {
///     step = match step {
///         Step::Done(decision) => return *decision,
///         // A question takes only its own kind of answer.
///         Step::Ask(Pending::CachedApprovals(question)) => question.answer(Vec::new()),
///         Step::Ask(Pending::LiveApprovals(question)) => question.answer(Err("no route to host".to_owned())),
///         # Step::Ask(_) => unreachable!(),
///         // … and the other lookups
///     }
/// }
/// # }
/// ```
pub fn start<'a>(request: &'a Request<'a>, governance: &Governance<'a>, facts: &Facts<'_>, now: Timestamp) -> Step<'a> {
    begin(request, governance, facts, now, "the workload was not read")
}

/// Begins to decide a request whose [`ScaledWorkload`] could not be read, for the reason `why`.
pub fn start_unread<'a>(
    request: &'a Request<'a>,
    governance: &Governance<'a>,
    facts: &Facts<'_>,
    now: Timestamp,
    why: &str,
) -> Step<'a> {
    begin(request, governance, facts, now, why)
}

fn begin<'a>(
    request: &'a Request<'a>,
    governance: &Governance<'a>,
    facts: &Facts<'_>,
    now: Timestamp,
    unread: &str,
) -> Step<'a> {
    let mut draft = DecisionDraft::new(request, facts.decision_id, now);
    let Governance::Governed { environment, project, posture } = *governance else { return draft.not_an_action() };
    draft.durability = posture.map_or_else(|_| Durability::default(), |posture| posture.durability);
    let hashes = Hashes::of(request);
    let record = &mut draft.record;
    record.environment = if environment.is_empty() { None } else { Some(environment.to_owned()) };
    record.project = project.map(str::to_owned);
    record.spec_hash = hashes.new.as_ref().and_then(|hash| hash.as_ref().ok().copied());
    record.previous_spec_hash = hashes.old.as_ref().and_then(|hash| hash.as_ref().ok().copied());
    let govern = |record: &mut DecisionRecord| {
        let posture = usable(posture, record)?;
        GovernedNamespace::new(&request.namespace, environment, project, posture)
    };
    let checked = match Change::of(request, &hashes, facts.exempt) {
        Change::Nothing => Ok(None),
        Change::Refused(denial) => Err(denial),
        Change::Pod { object, what } => {
            govern(record).and_then(|namespace| check_pod(request, object, what, namespace.posture, record))
        }
        Change::Connection(connection) => {
            govern(record).and_then(|namespace| check_connection(&connection, namespace.posture.connect, record))
        }
        Change::ScaledFromZero(_) => govern(record).map(|namespace| wake_up::check_unread(&namespace, unread, record)),
        Change::Workload(workload) => {
            let action = govern(record).and_then(|namespace| {
                WorkloadAction::new(request, workload, namespace, (now, facts.clock_leeway), record)
            });
            match action {
                Ok(Some(action)) => return decide_workload(draft, action),
                Ok(None) => Ok(None),
                Err(denial) => Err(denial),
            }
        }
    };
    match checked {
        Ok(Some(verdict)) => draft.decided(verdict),
        Ok(None) => draft.not_an_action(),
        Err(denial) => draft.decided(Verdict::denied(vec![denial])),
    }
}

/// The denial of an AdmissionReview that cannot be read.
#[must_use]
pub fn decide_malformed(malformed: &MalformedReview, decision_id: Uuid, now: Timestamp) -> Decision {
    let mut record = DecisionRecord::empty(decision_id, now);
    record.request_uid.clone_from(&malformed.uid);
    let denial = Denial::MalformedReview { why: malformed.why.clone() };
    decision(record, Verdict::denied(vec![denial]), 0)
}

fn usable<'a>(posture: Result<&'a Posture, &PostureError>, record: &mut DecisionRecord) -> Result<&'a Posture, Denial> {
    let posture = posture.map_err(|error| match error {
        PostureError::Missing { .. } => Denial::PostureMissing { why: error.to_string() },
        PostureError::Unknown { why } => Denial::LookupFailed { what: "the posture".to_owned(), why: why.clone() },
        PostureError::Invalid { .. } => Denial::PostureInvalid { why: error.to_string() },
    })?;
    record.cluster.clone_from(&posture.cluster);
    record.posture_version = Some(posture.version.clone());
    Ok(posture)
}

/// Decides about a bare Pod. It has no spec hash, so no approval can permit it.
fn check_pod(
    request: &Request<'_>,
    object: &Object<'_>,
    what: &str,
    posture: &Posture,
    record: &mut DecisionRecord,
) -> Result<Option<Verdict>, Denial> {
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
    record.action = Some(Action::Deploy);
    record.approval_required = Some(false);
    record.enforcement = Some(posture.rule(Action::Deploy).enforcement);
    let denials = unpinned(&pod, posture).into_iter().collect();
    Ok(Some(Verdict { denials, ..Verdict::admitted(Basis::NotRequired) }))
}

/// Decides about a connection. It starts nothing that has a spec hash, so no approval can permit it.
fn check_connection(
    connection: &Connection,
    rule: ConnectRule,
    record: &mut DecisionRecord,
) -> Result<Option<Verdict>, Denial> {
    match rule {
        ConnectRule::Allow => Ok(None),
        ConnectRule::Audit => {
            record.approval_required = Some(false);
            Ok(Some(Verdict::admitted(Basis::NotRequired)))
        }
        ConnectRule::Deny => Err(Denial::ConnectionNotAllowed { subresource: connection.subresource.clone() }),
    }
}
