//! One approval: who signed it, what it says, and which checks it fails (rows 3 to 15). Whether enough people signed is
//! decided over all approvals, in `approvals`.
//!
//! The order of the checks is the order of trust: no field of a payload is read before a known key has signed it. Every
//! failure after that is reported, not only the first.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

use crate::{
    approval::action::Action,
    approval::capability::Capability,
    approval::envelope::Envelope,
    approval::spec_difference,
    approval::spec_hash::{SpecHash, spec_hash},
    approval::statement::{Approval, Subject},
    decide::eligibility::EligibilityTerms,
    decide::facts::GovernedNamespace,
    decide::single_use::WantedUse,
    kube::defaults::default_forward,
    kube::workload::WorkloadKind,
    posture::rule::CapabilityRule,
    posture::{QuorumEntry, Reviewer, SignatureBudget, UnverifiedEnvelope, VerifiedSigner},
    record::decision::ApprovalRecord,
    record::denial::{ClaimMismatch, Denial},
    request::admission_review::{Operation, Request},
    request::change::Workload,
    vocabulary::{CONFIG_BUNDLE, INCIDENT, INCIDENT_SPEC_HASH, PIPELINE_VERSION, SOURCE_ARTIFACT, SOURCE_ENVIRONMENT},
};

/// What approvals are checked against.
pub(crate) struct CheckContext<'a> {
    pub(crate) request: &'a Request<'a>,
    pub(crate) workload: Workload<'a>,
    pub(crate) action: Action,
    pub(crate) namespace: GovernedNamespace<'a>,
    /// The capability rules that match.
    pub(crate) rules: Vec<&'a CapabilityRule>,
    pub(crate) requirements: Requirements<'a>,
    /// The requirements for a break-glass approval; absent if the posture has no break-glass rule.
    pub(crate) break_glass: Option<Requirements<'a>>,
    pub(crate) now: Timestamp,
    /// How long before its `notBefore` an approval is valid already.
    pub(crate) clock_leeway: SignedDuration,
}

/// What an action requires of an approval.
pub(crate) struct Requirements<'a> {
    pub(crate) capabilities: Vec<Capability>,
    pub(crate) quorum: &'a [QuorumEntry],
    pub(crate) max_lifetime: SignedDuration,
}

/// An approval that was checked.
pub(crate) struct Candidate<'a> {
    /// Every check that it fails, in no order.
    pub(crate) denials: Vec<Denial>,
    /// What it says; absent if no known key has signed it.
    pub(crate) signed: Option<SignedApproval<'a>>,
}

/// An approval that known reviewers have signed.
pub(crate) struct SignedApproval<'a> {
    pub(crate) approval: Approval,
    /// Everyone whose signature verified.
    pub(crate) signers: Vec<VerifiedSigner<'a>>,
    /// The reviewers whose signatures count.
    pub(crate) eligible: Vec<&'a Reviewer>,
    /// Its use; absent if the action's approvals are not single-use, or if it fails a check.
    pub(crate) wanted_use: Option<WantedUse>,
}

impl<'a> Candidate<'a> {
    /// Checks the envelope `text` from `source`, as denials name it.
    pub(crate) fn check(context: &CheckContext<'a>, source: &str, text: &str, budget: &mut SignatureBudget) -> Self {
        let (approval, payload, signers) = match verified(context, source, text, budget) {
            Ok(verified) => verified,
            Err(denial) => return Self { denials: vec![denial], signed: None },
        };
        let mut denials = Vec::new();
        let subject = context.subject(&approval).map_err(|denial| denials.push(denial)).ok();
        context.check_claims(&approval, &mut denials);
        let eligible = context.eligible(&approval, &signers, &mut denials);
        let is_single_use = context.namespace.posture.rule(context.action).single_use && !context.workload.wakes_up;
        let wanted_use = match subject {
            Some(subject) if is_single_use && denials.is_empty() => {
                Some(WantedUse::new(context, &approval, subject, &payload))
            }
            _ => None,
        };
        Self { denials, signed: Some(SignedApproval { approval, signers, eligible, wanted_use }) }
    }

    /// The approval, if it passes every check.
    pub(crate) fn passing(&self) -> Option<&SignedApproval<'a>> {
        if self.denials.is_empty() { self.signed.as_ref() } else { None }
    }
}

impl SignedApproval<'_> {
    pub(crate) fn record(&self) -> ApprovalRecord {
        let mut reviewers: Vec<String> = Vec::new();
        for signer in &self.signers {
            if !reviewers.contains(&signer.reviewer.name) {
                reviewers.push(signer.reviewer.name.clone());
            }
        }
        ApprovalRecord {
            id: self.approval.id.clone(),
            reviewers,
            key_ids: self.signers.iter().map(|signer| signer.key.id.to_string()).collect(),
            capabilities: self.approval.capabilities.clone(),
            expires_at: self.approval.expires_at,
            reason: self.approval.reason.clone(),
        }
    }
}

/// Rows 3 to 5: the envelope, then its signatures, and only then its payload.
fn verified<'a>(
    context: &CheckContext<'a>,
    source: &str,
    text: &str,
    budget: &mut SignatureBudget,
) -> Result<(Approval, Vec<u8>, Vec<VerifiedSigner<'a>>), Denial> {
    let malformed = |why, signed| Denial::MalformedApproval { annotation: source.to_owned(), why, signed };
    let envelope = Envelope::parse(text).map_err(|why| malformed(why, false))?;
    let environment = context.namespace.environment.to_owned();
    let signers = context.namespace.posture.verify(&envelope, budget).map_err(|unverified| match unverified {
        UnverifiedEnvelope::UnknownKey => Denial::UnknownKey {
            annotation: source.to_owned(),
            environment,
            claimed: envelope.keyids().map(str::to_owned).collect(),
        },
        UnverifiedEnvelope::InvalidSignature => Denial::InvalidSignature { annotation: source.to_owned(), environment },
        UnverifiedEnvelope::BudgetSpent => {
            let why = format!(
                "the approvals of this object require more than {} signature checks, which is the limit for one object",
                SignatureBudget::CHECKS
            );
            malformed(why, false)
        }
    })?;
    let approval = Approval::parse(envelope.payload()).map_err(|why| malformed(why, true))?;
    Ok((approval, envelope.into_payload(), signers))
}

impl<'a> CheckContext<'a> {
    /// What an approval must meet. A break-glass approval has requirements of its own. Without a break-glass rule it is
    /// denied for that, and is otherwise checked against the requirements of the action.
    pub(crate) fn requirements_of(&self, approval: &Approval) -> &Requirements<'a> {
        match &self.break_glass {
            Some(requirements) if approval.break_glass => requirements,
            _ => &self.requirements,
        }
    }

    /// Whether `requester` is the user of the request.
    pub(crate) fn is_initiator(&self, requester: &str) -> bool {
        let initiator = &*self.request.user.username;
        // Anyone who can edit a namespace can act as its service accounts, so such a name is a person's only if a
        // reviewer lists it.
        (requester.eq_ignore_ascii_case(initiator) && !initiator.starts_with("system:"))
            || self.namespace.posture.reviewers.iter().any(|known| known.is(requester) && known.is(initiator))
    }

    /// Rows 8 to 15, without the people.
    fn check_claims(&self, approval: &Approval, denials: &mut Vec<Denial>) {
        self.check_namespace(approval, denials);
        if approval.action != self.action {
            denials.push(Denial::WrongAction { approved: approval.action, required: self.action });
        }
        if approval.break_glass && self.break_glass.is_none() {
            denials.push(Denial::NoBreakGlass);
        }
        self.check_validity(approval, denials);
        let required = &self.requirements_of(approval).capabilities;
        denials.extend(self.missing_capabilities(required, &approval.capabilities));
        self.check_annotations(approval, denials);
    }

    /// Row 12, for what an approval names: it must name every required capability, letter by letter.
    pub(crate) fn missing_capabilities(&self, required: &[Capability], named: &[String]) -> Option<Denial> {
        let is_missing = |required: &&Capability| named.iter().all(|given| given != required.as_str());
        let missing: Vec<Capability> = required.iter().filter(is_missing).cloned().collect();
        if missing.is_empty() {
            return None;
        }
        let because = self.reasons_for(&missing);
        Some(Denial::InsufficientCapabilities { reviewer: None, project: None, missing, because })
    }

    /// Rows 6 and 7: the subject that is this object with this spec.
    fn subject<'s>(&self, approval: &'s Approval) -> Result<&'s Subject, Denial> {
        let hash = self.workload.hash;
        let with_this_hash: Vec<&Subject> = approval.subjects.iter().filter(|subject| subject.hash == hash).collect();
        if with_this_hash.is_empty() {
            let approved = approval.subjects.iter().map(|subject| subject.hash).collect();
            return Err(Denial::SpecHashMismatch { approved, found: hash, differs_at: None });
        }
        with_this_hash.iter().find(|subject| self.is_named(&subject.name)).copied().ok_or_else(|| {
            let approved: Vec<&str> = with_this_hash.iter().map(|subject| &*subject.name).collect();
            Denial::WrongResource { approved: approved.join(", "), found: self.subject_name() }
        })
    }

    /// A denial with an explanation that takes about as long as the decision: where another spec differs from the approved
    /// one, and why. Only the denial that is reported gets one. Its code and its row stay the same.
    pub(crate) fn explained(&self, denial: Denial) -> Denial {
        let Denial::SpecHashMismatch { approved, found, differs_at: None } = denial else { return denial };
        #[cfg(test)]
        crate::work::count(crate::work::Work::Explanation);
        let differs_at = self
            .workload
            .previous
            .filter(|previous| previous.hash.is_some_and(|old| approved.contains(&old)))
            .and_then(|previous| spec_difference::first(self.workload.kind, previous.spec, self.workload.spec));
        match differs_at {
            Some(differs_at) if self.may_be_undone_without_its_approval() => {
                Denial::LiveSpecApproved { approved, found, differs_at }
            }
            Some(differs_at) => Denial::SpecHashMismatch { approved, found, differs_at: Some(differs_at) },
            None => {
                self.not_as_applied(&approved).unwrap_or(Denial::SpecHashMismatch { approved, found, differs_at: None })
            }
        }
    }

    /// Whether the request may be a `kubectl rollout undo` that leaves the approval of the live spec in its place. For a
    /// Deployment, kubectl restores the annotations of the earlier revision as well.
    fn may_be_undone_without_its_approval(&self) -> bool {
        let annotations = &self.workload.object.metadata.annotations;
        let before = self.request.old_object.as_ref().map(|old| &old.metadata.annotations);
        matches!(self.workload.kind, WorkloadKind::StatefulSet | WorkloadKind::DaemonSet)
            && before.is_some_and(|before| annotations.is_same_last_applied(before))
    }

    /// The denial if this request is the `kubectl apply` of a manifest that has one of the `approved` specs. The client
    /// wrote the annotation that says so, and it decides nothing.
    fn not_as_applied(&self, approved: &[SpecHash]) -> Option<Denial> {
        let annotations = &self.workload.object.metadata.annotations;
        let before = self.request.old_object.as_ref().map(|old| &old.metadata.annotations);
        if before.is_some_and(|before| annotations.is_same_last_applied(before)) {
            return None;
        }
        // `json!` would copy the tree.
        let mut manifest = Value::Object(Map::from_iter([("spec".to_owned(), annotations.last_applied_spec()?)]));
        default_forward(self.workload.kind, &mut manifest).ok()?;
        let spec = manifest.get("spec")?.to_string();
        let applied = spec_hash(self.workload.kind, &spec).ok().filter(|hash| approved.contains(hash))?;
        Some(Denial::NotAsApplied {
            approved: applied,
            found: self.workload.hash,
            at: spec_difference::first(self.workload.kind, &spec, self.workload.spec),
            is_update: before.is_some(),
        })
    }

    fn subject_prefix(&self) -> String {
        let kind = self.workload.kind;
        format!("{}/{}/{}/", kind.api_version(), kind.kind(), self.request.namespace)
    }

    fn subject_name(&self) -> String {
        let name = match self.request.object_name() {
            "" => format!("{}*", self.workload.object.metadata.generate_name),
            name => name.to_owned(),
        };
        self.subject_prefix() + &name
    }

    /// Whether the name of a subject is the name of this object.
    fn is_named(&self, subject: &str) -> bool {
        let Some(name) = subject.strip_prefix(&self.subject_prefix()) else { return false };
        match name.strip_suffix('*') {
            None => !name.is_empty() && name == self.request.object_name(),
            Some(prefix) => {
                self.request.operation == Operation::Create
                    && !prefix.is_empty()
                    && prefix == self.workload.object.metadata.generate_name
                    && is_generated(prefix, self.request.object_name())
            }
        }
    }

    /// Row 8.
    fn check_namespace(&self, approval: &Approval, denials: &mut Vec<Denial>) {
        let GovernedNamespace { environment, project, posture } = self.namespace;
        if approval.environment != environment {
            let approved = approval.environment.clone();
            denials.push(Denial::WrongEnvironment { approved, required: environment.to_owned() });
        }
        if !approval.is_for_cluster(posture.cluster.as_deref()) {
            let approved = approval.cluster.iter().chain(&approval.clusters).cloned().collect();
            denials.push(Denial::WrongCluster { approved, required: posture.cluster.clone() });
        }
        if approval.project != project {
            let approved = approval.project.clone();
            denials.push(Denial::WrongProject { approved, required: project.to_owned() });
        }
    }

    /// Rows 10 and 11, for the approval itself.
    fn check_validity(&self, approval: &Approval, denials: &mut Vec<Denial>) {
        let what = || "the approval".to_owned();
        // Only the beginning has leeway: an approval that has expired stays so by every clock.
        if approval.not_before.duration_since(self.now) > self.clock_leeway {
            denials.push(Denial::NotYetValid { what: what(), from: approval.not_before, now: self.now });
        }
        let is_over_forgiven = self.workload.wakes_up;
        if self.now >= approval.expires_at && !is_over_forgiven {
            denials.push(Denial::Expired { what: what(), at: approval.expires_at });
        }
        let most = self.requirements_of(approval).max_lifetime;
        if approval.lifetime() > most && !is_over_forgiven {
            denials.push(Denial::LifetimeTooLong { found: approval.lifetime(), most });
        }
        if let Some(revocation) = self.namespace.posture.revocations.approvals.get(&approval.id)
            && revocation.in_force(self.now)
        {
            denials.push(Denial::Revoked { what: format!("approval {}", approval.id), why: revocation.why.clone() });
        }
    }

    /// Rows 14 and 15: a claim that is present always binds.
    fn check_annotations(&self, approval: &Approval, denials: &mut Vec<Denial>) {
        let posture = self.namespace.posture;
        let version = &approval.pipeline_version;
        let mismatch = self.mismatch(PIPELINE_VERSION, version.as_deref(), posture.pipeline_version_required);
        denials.extend(mismatch.map(Denial::PipelineVersionMismatch));
        let is_required = posture.bundle_required(self.action);
        let mismatch = self.mismatch(CONFIG_BUNDLE, approval.config_bundle.as_deref(), is_required);
        denials.extend(mismatch.map(Denial::ConfigBundleMismatch));
        self.check_replay(approval, denials);
    }

    /// Row 15.
    fn check_replay(&self, approval: &Approval, denials: &mut Vec<Denial>) {
        let executes = self.action == Action::ReplayExecute;
        let Some(replay) = &approval.replay else {
            denials.extend(self.mismatch(INCIDENT, None, executes).map(Denial::IncidentMismatch));
            return;
        };
        let source = self.mismatch(SOURCE_ENVIRONMENT, replay.source_environment.as_deref(), executes);
        denials.extend(source.map(Denial::SourceEnvironmentMismatch));
        let artifact = self.mismatch(SOURCE_ARTIFACT, replay.source_artifact.as_deref(), false);
        denials.extend(artifact.map(Denial::SourceArtifactMismatch));
        let incident = self
            .mismatch(INCIDENT, replay.incident.as_deref(), executes)
            .or_else(|| self.mismatch(INCIDENT_SPEC_HASH, replay.incident_spec_hash.as_deref(), false));
        denials.extend(incident.map(Denial::IncidentMismatch));
    }

    /// Whether the claim about the annotation `name` differs from the object, or is absent although it `is_required`.
    fn mismatch(&self, name: &'static str, approved: Option<&str>, is_required: bool) -> Option<ClaimMismatch> {
        let found = self.workload.object.metadata.annotations.get(name);
        let is_wrong = match approved {
            Some(approved) => found != Some(approved),
            None => is_required,
        };
        is_wrong.then(|| ClaimMismatch { name, approved: approved.map(str::to_owned), found: found.map(str::to_owned) })
    }

    /// The reviewers whose signatures count. If there is none, the approval fails for the reasons of every signer.
    fn eligible(
        &self,
        approval: &Approval,
        signers: &[VerifiedSigner<'a>],
        denials: &mut Vec<Denial>,
    ) -> Vec<&'a Reviewer> {
        let mut eligible: Vec<&'a Reviewer> = Vec::new();
        let mut set_aside = Vec::new();
        for signer in signers {
            let failures = self.check_signer(approval, signer);
            if !failures.is_empty() {
                set_aside.extend(failures);
            } else if eligible.iter().all(|other| other.name != signer.reviewer.name) {
                eligible.push(signer.reviewer);
            }
        }
        if eligible.is_empty() {
            denials.extend(set_aside);
        }
        eligible
    }

    /// Rows 10 to 13, for one signer.
    fn check_signer(&self, approval: &Approval, signer: &VerifiedSigner<'_>) -> Vec<Denial> {
        let terms = EligibilityTerms {
            posture: self.namespace.posture,
            project: self.namespace.project,
            required: &self.requirements_of(approval).capabilities,
            requested_by: &approval.requested_by,
            initiator: &self.request.user.username,
            now: self.now,
        };
        let mut failures = terms.failures(signer.reviewer, signer.key);
        if self.workload.wakes_up {
            failures.retain(|denial| !matches!(denial, Denial::Expired { .. }));
        }
        self.with_reasons(failures)
    }

    /// Says of each capability that is missing which rules require it.
    pub(crate) fn with_reasons(&self, mut denials: Vec<Denial>) -> Vec<Denial> {
        for denial in &mut denials {
            if let Denial::InsufficientCapabilities { missing, because, .. } = denial {
                *because = self.reasons_for(missing);
            }
        }
        denials
    }

    /// What the capability rules that require one of `missing` say about it.
    pub(crate) fn reasons_for(&self, missing: &[Capability]) -> Vec<String> {
        let requires = |rule: &&&CapabilityRule| rule.require.iter().any(|required| missing.contains(required));
        self.rules.iter().filter(requires).map(|rule| rule.reason().to_owned()).collect()
    }
}

/// Whether the API server may generate `name` from `prefix`: the prefix, cut to 58 characters, and five characters of
/// an alphabet without vowels (k8s.io/apiserver, pkg/storage/names). A manifest has no name yet, and may get one.
fn is_generated(prefix: &str, name: &str) -> bool {
    const MAX_STEM: usize = 58;
    const RANDOM: usize = 5;
    let stem = prefix.get(..MAX_STEM).unwrap_or(prefix);
    name.is_empty()
        || name.strip_prefix(stem).is_some_and(|random| {
            random.len() == RANDOM && random.bytes().all(|byte| b"bcdfghjklmnpqrstvwxz2456789".contains(&byte))
        })
}
