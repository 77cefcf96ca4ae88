//! One envelope judged alone: who signed it, what it says, and in what it fails. Whether enough people signed is
//! `approvals`', over all envelopes.
//!
//! The order of checks is the order of trust: nothing of a payload is read before somebody known has signed it, and
//! every failure after that is told, not the first alone.

use jiff::{SignedDuration, Timestamp};

use crate::{
    approval::action::Action,
    approval::capability::Capability,
    approval::envelope::{Envelope, MAX_ENVELOPE},
    approval::spec_difference,
    approval::statement::{Approval, Subject},
    decide::eligibility::Eligibility,
    posture::rule::CapabilityRule,
    posture::{Posture, QuorumEntry, Reviewer},
    posture::{SignatureBudget, UnverifiedEnvelope, VerifiedSigner},
    record::decision::ApprovalRecord,
    record::denial::{ClaimMismatch, Denial},
    record::reasons::Reason,
    request::admission_review::{Operation, Request},
    request::change::Workload,
    vocabulary::{
        CONFIG_BUNDLE, INCIDENT, INCIDENT_SPEC_HASH, PIPELINE_VERSION, SOURCE_ARTIFACT, SOURCE_ENVIRONMENT, is_approval,
    },
};

/// What an envelope is judged against.
#[derive(Clone, Copy)]
pub(crate) struct Context<'r> {
    pub(crate) request: &'r Request<'r>,
    pub(crate) workload: &'r Workload<'r>,
    pub(crate) action: Action,
    pub(crate) environment: &'r str,
    pub(crate) project: &'r str,
    pub(crate) posture: &'r Posture,
    /// The capability rules that match.
    pub(crate) rules: &'r [&'r CapabilityRule],
    /// What the action needs.
    pub(crate) terms: &'r Terms<'r>,
    /// What it needs of an approval for an emergency; none where the posture knows no such thing.
    pub(crate) break_glass: Option<&'r Terms<'r>>,
    pub(crate) now: Timestamp,
}

/// What an action needs of an approval.
pub(crate) struct Terms<'r> {
    pub(crate) capabilities: Vec<Capability>,
    pub(crate) quorum: &'r [QuorumEntry],
    pub(crate) max_lifetime: SignedDuration,
}

/// An envelope with everything that is known of it.
pub(crate) struct Candidate<'r> {
    /// Everything in which it fails, in no order.
    pub(crate) denials: Vec<Denial>,
    /// What it says, once somebody known has signed it.
    pub(crate) signed: Option<Signed<'r>>,
}

/// What known reviewers have signed.
pub(crate) struct Signed<'r> {
    pub(crate) approval: Approval,
    /// The bytes that were signed.
    pub(crate) payload: Vec<u8>,
    /// Everyone whose signature is good.
    pub(crate) signers: Vec<VerifiedSigner<'r>>,
    /// Those whose signature counts.
    pub(crate) counting: Vec<&'r Reviewer>,
}

impl<'r> Candidate<'r> {
    pub(crate) fn judge(context: &Context<'r>, annotation: &str, text: &str, budget: &mut SignatureBudget) -> Self {
        match verified(context, annotation, text, budget) {
            Err(denial) => Self { denials: vec![denial], signed: None },
            Ok((approval, payload, signers)) => {
                let mut denials = context.failures(&approval);
                let counting = context.counting(&approval, &signers, &mut denials);
                Self { denials, signed: Some(Signed { approval, payload, signers, counting }) }
            }
        }
    }

    /// How far the envelope came in the table: the row of its first failure. Within row 5, one whose payload was read
    /// came further than one whose signature failed.
    pub(crate) fn closeness(&self) -> (u8, bool) {
        let first = self.denials.iter().map(Denial::reason).min();
        first.map_or((u8::MAX, false), |reason| (reason.row(), reason == Reason::MalformedPayload))
    }

    /// In how many different ways it fails.
    pub(crate) fn failures(&self) -> usize {
        let mut codes: Vec<_> = self.denials.iter().map(Denial::code).collect();
        codes.sort_unstable();
        codes.dedup();
        codes.len()
    }
}

impl Signed<'_> {
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

/// Rows 3 to 5: the envelope, its signatures, and only then its payload.
fn verified<'r>(
    context: &Context<'r>,
    annotation: &str,
    text: &str,
    budget: &mut SignatureBudget,
) -> Result<(Approval, Vec<u8>, Vec<VerifiedSigner<'r>>), Denial> {
    let malformed = |why, signed| Denial::MalformedApproval { annotation: annotation.to_owned(), why, signed };
    let envelope = Envelope::parse(text).map_err(|why| malformed(why, false))?;
    let environment = context.environment.to_owned();
    let signers = context.posture.verify(&envelope, budget).map_err(|unverified| match unverified {
        UnverifiedEnvelope::UnknownKey => Denial::UnknownKey {
            annotation: annotation.to_owned(),
            environment,
            claimed: envelope.keyids().map(str::to_owned).collect(),
        },
        UnverifiedEnvelope::InvalidSignature => {
            Denial::InvalidSignature { annotation: annotation.to_owned(), environment }
        }
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

impl<'r> Context<'r> {
    /// What an approval must give: one for an emergency has terms of its own. Where the posture knows no emergencies
    /// such an approval fails by that, and is judged by the action's terms otherwise.
    pub(crate) fn terms_of(&self, approval: &Approval) -> &'r Terms<'r> {
        self.break_glass.filter(|_| approval.break_glass).unwrap_or(self.terms)
    }

    /// Rows 6 to 15, but for the people.
    fn failures(&self, approval: &Approval) -> Vec<Denial> {
        let mut denials = Vec::new();
        denials.extend(self.subject(approval));
        self.place(approval, &mut denials);
        if approval.action != self.action {
            denials.push(Denial::WrongAction { approved: approval.action, required: self.action });
        }
        if approval.break_glass && self.break_glass.is_none() {
            denials.push(Denial::NoBreakGlass);
        }
        self.validity(approval, &mut denials);
        let missing: Vec<Capability> = self
            .terms_of(approval)
            .capabilities
            .iter()
            .filter(|needed| approval.capabilities.iter().all(|given| given != needed.as_str()))
            .cloned()
            .collect();
        if !missing.is_empty() {
            denials.push(Denial::InsufficientCapabilities {
                reviewer: None,
                project: None,
                because: self.told(&missing),
                missing,
            });
        }
        self.claims(approval, &mut denials);
        denials
    }

    /// Rows 6 and 7.
    fn subject(&self, approval: &Approval) -> Option<Denial> {
        let hash = self.workload.hash;
        let with_this_hash: Vec<&str> =
            approval.subjects.iter().filter(|subject| subject.hash == hash).map(|subject| &*subject.name).collect();
        if with_this_hash.is_empty() {
            let approved: Vec<_> = approval.subjects.iter().map(|subject| subject.hash).collect();
            let differs_at = self
                .workload
                .previous
                .filter(|previous| previous.hash.is_some_and(|old| approved.contains(&old)))
                .and_then(|previous| spec_difference::first(self.workload.kind, previous.spec, self.workload.spec));
            return Some(Denial::SpecHashMismatch { approved, found: hash, differs_at });
        }
        if self.covering(approval).is_some() {
            return None;
        }
        Some(Denial::WrongResource { approved: with_this_hash.join(", "), found: self.subject_name() })
    }

    /// The subject that is this object with this spec.
    pub(crate) fn covering<'a>(&self, approval: &'a Approval) -> Option<&'a Subject> {
        let hash = self.workload.hash;
        approval.subjects.iter().find(|subject| subject.hash == hash && self.is_named(&subject.name))
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

    /// Whether a subject's name is this object's.
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
    fn place(&self, approval: &Approval, denials: &mut Vec<Denial>) {
        if approval.environment != self.environment {
            denials.push(Denial::WrongEnvironment {
                approved: approval.environment.clone(),
                required: self.environment.to_owned(),
            });
        }
        if approval.cluster != self.posture.cluster {
            denials.push(Denial::WrongCluster {
                approved: approval.cluster.clone(),
                required: self.posture.cluster.clone(),
            });
        }
        if approval.project != self.project {
            denials
                .push(Denial::WrongProject { approved: approval.project.clone(), required: self.project.to_owned() });
        }
    }

    /// Rows 10 and 11, of the approval itself.
    fn validity(&self, approval: &Approval, denials: &mut Vec<Denial>) {
        let what = || "the approval".to_owned();
        if self.now < approval.not_before {
            denials.push(Denial::NotYetValid { what: what(), from: approval.not_before });
        }
        if self.now >= approval.expires_at {
            denials.push(Denial::Expired { what: what(), at: approval.expires_at });
        }
        let most = self.terms_of(approval).max_lifetime;
        if approval.lifetime() > most {
            denials.push(Denial::LifetimeTooLong { found: approval.lifetime(), most });
        }
        let revocation = self.posture.revocations.approvals.get(&approval.id);
        if let Some(revocation) = revocation.filter(|revocation| revocation.in_force(self.now)) {
            denials.push(Denial::Revoked { what: format!("approval {}", approval.id), why: revocation.why.clone() });
        }
    }

    /// Rows 14 and 15: a claim that is there always binds.
    fn claims(&self, approval: &Approval, denials: &mut Vec<Denial>) {
        let differs = |name: &'static str, approved: &Option<String>| {
            let found = self.workload.object.metadata.annotations.get(name);
            let differs = approved.is_some() && approved.as_deref() != found;
            differs.then(|| ClaimMismatch { name, approved: approved.clone(), found: found.map(str::to_owned) })
        };
        let required = |name: &'static str, approved: &Option<String>, required: bool| {
            let found = || self.workload.object.metadata.annotations.get(name).map(str::to_owned);
            let absent = required && approved.is_none();
            differs(name, approved).or_else(|| absent.then(|| ClaimMismatch { name, approved: None, found: found() }))
        };
        let versioned = self.posture.pipeline_version_required;
        let version = required(PIPELINE_VERSION, &approval.pipeline_version, versioned);
        denials.extend(version.map(Denial::PipelineVersionMismatch));
        let bundled = self.posture.bundle_required(self.action);
        let bundle = required(CONFIG_BUNDLE, &approval.config_bundle, bundled);
        denials.extend(bundle.map(Denial::ConfigBundleMismatch));
        let executes = self.action == Action::ReplayExecute;
        let Some(replay) = &approval.replay else {
            if executes {
                let found = self.workload.object.metadata.annotations.get(INCIDENT).map(str::to_owned);
                let claim = ClaimMismatch { name: INCIDENT, approved: None, found };
                denials.push(Denial::IncidentMismatch(claim));
            }
            return;
        };
        let source = required(SOURCE_ENVIRONMENT, &replay.source_environment, executes);
        denials.extend(source.map(Denial::SourceEnvironmentMismatch));
        denials.extend(differs(SOURCE_ARTIFACT, &replay.source_artifact).map(Denial::SourceArtifactMismatch));
        let incident = required(INCIDENT, &replay.incident, executes)
            .or_else(|| differs(INCIDENT_SPEC_HASH, &replay.incident_spec_hash));
        denials.extend(incident.map(Denial::IncidentMismatch));
    }

    /// The reviewers whose signatures count. If there is none, each signer's own failures are the envelope's.
    fn counting(
        &self,
        approval: &Approval,
        signers: &[VerifiedSigner<'r>],
        denials: &mut Vec<Denial>,
    ) -> Vec<&'r Reviewer> {
        let mut counting: Vec<&'r Reviewer> = Vec::new();
        let mut set_aside = Vec::new();
        for signer in signers {
            let failures = self.signer_failures(approval, signer);
            if !failures.is_empty() {
                set_aside.extend(failures);
            } else if counting.iter().all(|other| other.name != signer.reviewer.name) {
                counting.push(signer.reviewer);
            }
        }
        if counting.is_empty() {
            denials.extend(set_aside);
        }
        counting
    }

    /// Rows 10 to 13, of one signer.
    fn signer_failures(&self, approval: &Approval, signer: &VerifiedSigner<'_>) -> Vec<Denial> {
        let eligibility = Eligibility {
            posture: self.posture,
            project: self.project,
            needed: &self.terms_of(approval).capabilities,
            requested_by: &approval.requested_by,
            initiator: &self.request.user.username,
            now: self.now,
        };
        let mut denials = eligibility.failures(signer.reviewer, signer.key);
        for denial in &mut denials {
            if let Denial::InsufficientCapabilities { missing, because, .. } = denial {
                *because = self.told(missing);
            }
        }
        denials
    }

    /// What the rules say that need one of `missing`.
    fn told(&self, missing: &[Capability]) -> Vec<String> {
        let rules = self.rules.iter().filter(|rule| rule.require.iter().any(|needed| missing.contains(needed)));
        rules.map(|rule| rule.reason().to_owned()).collect()
    }
}

/// Whether `name` is what the API server generates from `prefix`: cut to 58 characters, and five of an alphabet
/// without vowels (k8s.io/apiserver, pkg/storage/names). No name yet, as in a manifest, is one to come.
fn is_generated(prefix: &str, name: &str) -> bool {
    const MAX_STEM: usize = 58;
    const RANDOM: usize = 5;
    let stem = prefix.get(..MAX_STEM).unwrap_or(prefix);
    name.is_empty()
        || name.strip_prefix(stem).is_some_and(|random| {
            random.len() == RANDOM && random.bytes().all(|byte| b"bcdfghjklmnpqrstvwxz2456789".contains(&byte))
        })
}

/// The annotations that hold approvals, in the order of their names' bytes.
pub(crate) fn attached<'r>(workload: &Workload<'r>) -> Vec<(&'r str, &'r str)> {
    workload.object.metadata.annotations.iter().filter(|(name, _)| is_approval(name)).collect()
}

/// The most envelopes on one object, and so the most bytes that are ever decoded for one.
pub(crate) const MAX_ENVELOPES: usize = 8;
const _: () = assert!(MAX_ENVELOPES * MAX_ENVELOPE <= 262_144, "all annotations of an object hold 256 KiB at most");
