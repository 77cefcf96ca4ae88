//! Which action a workload's change is, and what the posture requires for it: the rest of row 1.

use jiff::{SignedDuration, Timestamp};

use crate::{
    approval::{action::Action, capability::Capability},
    decide::{
        candidate::{CheckContext, Requirements},
        dry_run,
        facts::GovernedNamespace,
        provenance::{ObjectDenials, Provenance},
    },
    kube::{
        pod_spec::{PodPath, PodSpec},
        workload::WorkloadKind,
    },
    posture::{
        ApprovalRule, Posture, QuorumEntry, UngovernedRule, WorkloadRule,
        rule::{self, CapabilityRule},
    },
    record::{
        decision::{DecisionRecord, RuleRecord},
        denial::Denial,
    },
    request::{admission_review::Request, change::Workload},
    vocabulary::REPLAY_LABEL,
};

/// A workload's change that is an action.
pub(crate) struct WorkloadAction<'a> {
    pub(crate) context: CheckContext<'a>,
    pub(crate) object: ObjectDenials,
    pub(crate) approval_required: bool,
}

impl<'a> WorkloadAction<'a> {
    /// `None` if the change is not an action.
    pub(crate) fn new(
        request: &'a Request<'a>,
        workload: Workload<'a>,
        namespace: GovernedNamespace<'a>,
        (now, clock_leeway): (Timestamp, SignedDuration),
        record: &mut DecisionRecord,
    ) -> Result<Option<Self>, Denial> {
        let posture = namespace.posture;
        if workload.wakes_up && posture.ungoverned == UngovernedRule::Allow {
            return Ok(None);
        }
        let pod = pod_spec(workload.spec, workload.kind.into())?;
        let labelled = labelled_action(&workload, &pod, posture)?;
        if workload.by_exempt_controller && labelled == Action::Deploy {
            return Ok(None);
        }
        let rules = matching_rules(request, posture, record)?;
        let action = match labelled {
            // A rule requires a capability that only a reviewer can grant, and nobody reviews a dry run.
            Action::ReplayDryRun if !rules.is_empty() => Action::ReplayExecute,
            action => action,
        };
        let rule = posture.rule(action);
        record.action = Some(action);
        record.enforcement = Some(rule.enforcement);
        let is_other = action == Action::Deploy && workload.kind != WorkloadKind::Deployment;
        if is_other && posture.workloads == WorkloadRule::Deny {
            let why = format!("the posture denies a {} (workloads: deny)", workload.kind.kind());
            return Err(Denial::WorkloadNotAllowed { why });
        }
        let exempted = is_other && posture.workloads == WorkloadRule::Allow;
        // A matching rule requires an approval even if the action does not.
        let approval_required = (rule.approval == ApprovalRule::Required && !exempted) || !rules.is_empty();
        let requirements = Requirements::new(&rule.capabilities, &rules, &rule.quorum, rule.max_lifetime);
        record.approval_required = Some(approval_required);
        record.required_capabilities = requirements.capability_names();
        let environment = namespace.environment;
        let object = Provenance { workload: &workload, pod: &pod, action, environment, posture, now }.check();
        let break_glass = posture
            .break_glass
            .as_ref()
            .map(|rule| Requirements::new(&rule.capabilities, &rules, &rule.quorum, rule.max_lifetime));
        let context =
            CheckContext { request, workload, action, namespace, rules, requirements, break_glass, now, clock_leeway };
        Ok(Some(Self { context, object, approval_required }))
    }
}

impl<'a> Requirements<'a> {
    /// The capabilities are the action's own and those of the matching rules, each once.
    fn new(
        own: &[Capability],
        rules: &[&CapabilityRule],
        quorum: &'a [QuorumEntry],
        max_lifetime: SignedDuration,
    ) -> Self {
        let mut capabilities = own.to_vec();
        for capability in rules.iter().flat_map(|rule| &rule.require) {
            if !capabilities.contains(capability) {
                capabilities.push(capability.clone());
            }
        }
        Self { capabilities, quorum, max_lifetime }
    }

    pub(crate) fn capability_names(&self) -> Vec<String> {
        self.capabilities.iter().map(ToString::to_string).collect()
    }
}

/// The capability rules that match. An error in a rule denies, since the rule might have matched.
pub(crate) fn matching_rules<'a>(
    request: &Request<'_>,
    posture: &'a Posture,
    record: &mut DecisionRecord,
) -> Result<Vec<&'a CapabilityRule>, Denial> {
    if posture.capability_rules.is_empty() {
        return Ok(Vec::new());
    }
    let rules = rule::matching(&posture.capability_rules, &request.into())
        .map_err(|error| Denial::PostureInvalid { why: error.to_string() })?;
    let rule_record = |rule: &&CapabilityRule| RuleRecord {
        name: rule.name.clone(),
        require: rule.require.iter().map(ToString::to_string).collect(),
        message: rule.message.clone(),
    };
    record.capability_rules = rules.iter().map(rule_record).collect();
    Ok(rules)
}

/// A spec without a readable Pod is denied: it could refer to images and ConfigMaps that no check sees.
pub(crate) fn pod_spec(spec: &str, path: PodPath) -> Result<PodSpec<'_>, Denial> {
    PodSpec::read(spec, path).map_err(|error| Denial::MalformedReview { why: format!("object.spec: {error}") })
}

/// The action that a workload's labels, images and dry-run contract make of its change.
fn labelled_action(workload: &Workload<'_>, pod: &PodSpec<'_>, posture: &Posture) -> Result<Action, Denial> {
    let has_replay_image = names_replay_image(pod, posture);
    if workload.kind != WorkloadKind::Job {
        let makes_replays = workload.kind == WorkloadKind::CronJob && job_template_is_labelled(workload.spec);
        if has_replay_image || makes_replays {
            return Err(only_jobs_replay(workload.kind.kind()));
        }
        return Ok(Action::Deploy);
    }
    let labels = &workload.object.metadata.labels;
    match (labels.get(REPLAY_LABEL), &posture.replay.dry_run) {
        (None, _) if !has_replay_image => Ok(Action::Deploy),
        (Some("dry-run"), Some(contract)) if dry_run::is_met(contract, posture, workload.spec) => {
            Ok(Action::ReplayDryRun)
        }
        _ => Ok(Action::ReplayExecute),
    }
}

pub(crate) fn only_jobs_replay(what: &str) -> Denial {
    Denial::WorkloadNotAllowed { why: format!("{what} may not run a replay image or create replays; only a Job may") }
}

pub(crate) fn names_replay_image(pod: &PodSpec<'_>, posture: &Posture) -> bool {
    pod.images().any(|image| posture.replay.images.matches(image.reference))
}

/// Whether the Jobs that a `CronJob` creates would carry the label of a replay.
fn job_template_is_labelled(spec: &str) -> bool {
    serde_json::from_str::<serde_json::Value>(spec).is_ok_and(|spec| {
        spec.pointer("/jobTemplate/metadata/labels").and_then(|labels| labels.get(REPLAY_LABEL)).is_some()
    })
}
