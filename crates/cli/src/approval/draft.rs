//! One approval as it is reviewed and signed: the workloads, the posture's decision about them, and the statement.
//!
//! `review` prints it and `approve` signs it, so that both show the same. Nothing is asked, signed or printed here.

use std::{borrow::Cow, path::Path};

use jiff::{SignedDuration, Timestamp};
use writgate_cluster::{clock, namespace::NamespaceLabels};
use writgate_core::{
    approval::{Action, Approval, Capability, Envelope, PublicKey, RequestFile, RequiredCapability},
    decide::EligibilityTerms,
    posture::{Posture, Reviewer},
    record::Denial,
};

use crate::{
    approval::{
        assessment::{Applicant, Assessment, PostureFlags},
        decider::Decider,
        fleet::{self, OtherCluster, ReadCluster},
        origin::{Claimant, Origin, StatementOrigins},
        proposal::{Proposal, ProposalFiles, ProposalFlags},
        signatures::{self, ExistingSignature},
        statement::{self, GivenEnvelope, StatementFlags},
    },
    cluster::OtherClusterFlags,
    failure::Failure,
    manifest::input,
    terminal::output::shown,
};

/// Everything that is known of one approval before it is signed.
pub(crate) struct ApprovalDraft<'f> {
    pub(crate) request: Option<&'f RequestFile>,
    pub(crate) proposal: Proposal,
    /// How the posture decides; none if no posture is used.
    pub(crate) decided: Option<(Decider<'f>, Assessment)>,
    pub(crate) basis: StatementBasis,
    /// The statement to sign.
    pub(crate) approval: Approval,
    /// The statement with the signatures that it has already.
    pub(crate) envelope: Envelope,
    /// Those signatures, verified as far as their keys are known.
    pub(crate) signatures: Vec<ExistingSignature>,
    /// Where the fields of the statement come from.
    pub(crate) origins: StatementOrigins,
    /// Claims of the request file or the envelope that differ from what was computed.
    pub(crate) contradictions: Vec<String>,
    /// The other clusters of the approval that were read.
    pub(crate) others: Vec<OtherCluster>,
    /// The time of the review.
    pub(crate) now: Timestamp,
    claimed: Applicant,
    /// Whether the statement is that of a given envelope.
    is_given: bool,
    /// The key that will sign, as soon as it is known.
    own: Option<PublicKey>,
}

/// What a statement is based on: the posture, or the claims of the request file.
#[derive(Clone, Debug, Default)]
pub(crate) struct StatementBasis {
    /// Whether the values come from the posture.
    pub(crate) by_posture: bool,
    pub(crate) place: NamespaceLabels,
    /// The origins of the environment and of the project.
    pub(crate) place_origins: [Option<Origin>; 2],
    pub(crate) cluster: Option<String>,
    pub(crate) action: Option<Action>,
    pub(crate) needed: Vec<RequiredCapability>,
    /// The longest validity that the posture permits.
    pub(crate) max_lifetime: Option<SignedDuration>,
}

/// The inputs from the command line.
pub(crate) struct DraftInputs<'f> {
    pub(crate) files: &'f ProposalFiles,
    pub(crate) proposal: &'f ProposalFlags,
    pub(crate) posture: &'f PostureFlags,
    pub(crate) others: &'f OtherClusterFlags,
    pub(crate) statement: &'f StatementFlags,
    /// An envelope to review, in place of a new statement.
    pub(crate) envelope: Option<&'f GivenEnvelope>,
}

impl<'f> ApprovalDraft<'f> {
    /// Collects everything, and decides by the posture if it is used.
    pub(crate) fn open(inputs: &DraftInputs<'f>) -> Result<Self, Failure> {
        let kinds = &inputs.proposal.reading.kinds;
        let decider = inputs.posture.load(&inputs.files.manifests, kinds)?;
        let cluster = decider.as_ref().and_then(|decider| decider.postures.cluster.as_ref());
        let namespace = inputs.proposal.namespace.namespace.as_deref().or(cluster.map(|cluster| &*cluster.namespace));
        let proposal = inputs.files.proposal(kinds, namespace)?;
        let request = inputs.files.request.as_ref().map(|(request, _)| request);
        let given = inputs.envelope.map(|given| statement::in_envelope(given, &proposal)).transpose()?;
        let claimed = inputs.claimed(given.as_ref().map(|(_, approval)| approval), request)?;
        let assessed = match decider {
            None => None,
            Some(mut decider) => {
                let assessment = Assessment::of(&mut decider, &proposal, &claimed)?;
                Some((decider, assessment))
            }
        };
        let basis = StatementBasis::of(assessed.as_ref(), request, &claimed);
        let is_given = given.is_some();
        let (envelope, approval) = if let Some(given) = given {
            given
        } else {
            let approval = inputs.statement.state(&proposal, request, &basis)?;
            (Envelope::new(approval.to_payload()), approval)
        };
        let others = fleet::read(inputs, &proposal, &claimed);
        if approval.clusters.is_empty() && !others.is_empty() {
            return Err(Failure::Misuse(
                "--other-context is for an approval for several clusters, but this one is for one cluster; omit the flag, or \
                 name each cluster with --cluster"
                    .to_owned(),
            ));
        }
        let mut draft = Self {
            request,
            proposal,
            decided: assessed,
            basis,
            approval,
            envelope,
            signatures: Vec::new(),
            origins: StatementOrigins::default(),
            contradictions: Vec::new(),
            others,
            now: clock::now(),
            claimed,
            is_given,
            own: None,
        };
        draft.compare(inputs.statement);
        Ok(draft)
    }

    /// Verifies the signatures, and compares what the request file and the envelope claim with what was computed.
    fn compare(&mut self, flags: &StatementFlags) {
        let eligible: Vec<&str> = self.could_sign().into_iter().map(|reviewer| &*reviewer.name).collect();
        let signatures = signatures::of(&self.envelope, self.posture(), &eligible, self.own.as_ref());
        let mut found = self.proposal.contradictions.clone();
        if let Some(request) = self.request {
            let stated = StatedClaims::of_request(request, self.basis.cluster.as_deref());
            found.extend(self.basis.contradicts("the request", &stated));
        }
        if self.is_given {
            let stated = StatedClaims::of_approval(&self.approval, self.basis.cluster.as_deref());
            found.extend(self.basis.contradicts("the envelope", &stated));
            found.extend(self.request.iter().flat_map(|request| differences(&self.approval, request)));
            found.extend(too_long(&self.approval, self.basis.max_lifetime));
            found.extend(signatures.iter().filter_map(ExistingSignature::contradiction));
        }
        self.origins = if self.is_given {
            let is_signed = signatures.iter().any(ExistingSignature::is_verified);
            let claimant = if is_signed { Claimant::SignedEnvelope } else { Claimant::Envelope };
            StatementOrigins::of_envelope(&self.approval, &self.basis, claimant)
        } else {
            flags.origins(self.request, &self.basis)
        };
        self.signatures = signatures;
        self.contradictions = found;
    }

    /// Removes the signatures that no key of the posture verifies. Anybody who may write the ConfigMap can add them.
    /// Returns whether any signature remains.
    pub(crate) fn keep_valid_signatures(&mut self, flags: &StatementFlags) -> bool {
        if let Some(posture) = self.posture() {
            self.envelope = posture.with_valid_signatures(&self.envelope);
            self.compare(flags);
        }
        self.envelope.keyids().next().is_some()
    }

    /// Takes note of the key that will sign. An invalid signature under its key id is replaced, and does not count
    /// against the envelope.
    pub(crate) fn set_own_key(&mut self, key: &PublicKey, flags: &StatementFlags) {
        self.own = Some(key.clone());
        self.compare(flags);
    }

    /// Reads the postures and the live objects again, and decides again. The statement stays as it is.
    pub(crate) fn look_again(&mut self, inputs: &DraftInputs<'f>) -> Result<(), Failure> {
        if self.decided.is_none() {
            return Ok(());
        }
        let decider = inputs.posture.load(&inputs.files.manifests, &inputs.proposal.reading.kinds)?;
        if let Some(mut decider) = decider {
            let assessment = Assessment::of(&mut decider, &self.proposal, &self.claimed)?;
            self.decided = Some((decider, assessment));
        }
        self.basis = StatementBasis::of(self.decided.as_ref(), self.request, &self.claimed);
        self.others = fleet::read(inputs, &self.proposal, &self.claimed);
        self.compare(inputs.statement);
        Ok(())
    }

    /// What the approval claims that the posture of another cluster does not say.
    pub(crate) fn contradictions_of(&self, other: &ReadCluster) -> Vec<String> {
        let stated = StatedClaims::of_approval(&self.approval, other.basis.cluster.as_deref());
        other.basis.contradicts("the approval", &stated)
    }

    /// Whether the statement is that of an envelope, and not a new one.
    pub(crate) fn is_given(&self) -> bool {
        self.is_given
    }

    /// The environment's posture, if it is used and valid.
    pub(crate) fn posture(&self) -> Option<&Posture> {
        self.decided.as_ref().and_then(|(decider, assessment)| assessment.posture(decider))
    }

    /// The reviewers whose signature would count; none if no posture is used.
    pub(crate) fn could_sign(&self) -> Vec<&Reviewer> {
        let (Some((decider, _)), Some(posture)) = (&self.decided, self.posture()) else { return Vec::new() };
        let needed: Vec<Capability> =
            self.basis.needed.iter().filter_map(|needed| needed.capability.parse().ok()).collect();
        let requested_by = &self.approval.requested_by;
        let now = decider.now.max(self.approval.not_before);
        let project = &self.approval.project;
        let terms =
            EligibilityTerms { posture, project, required: &needed, requested_by, initiator: requested_by, now };
        let counts = |reviewer: &&Reviewer| reviewer.keys.iter().any(|key| terms.failures(reviewer, key).is_empty());
        posture.reviewers.iter().filter(counts).collect()
    }

    /// The denials of a request with `envelope` as its only approval; none if no posture is used. The time of the
    /// decision is the first moment at which the approval is valid.
    pub(crate) fn decide(&mut self, envelope: &Envelope) -> Result<Option<Vec<Denial>>, Failure> {
        let Some((decider, assessment)) = &mut self.decided else { return Ok(None) };
        decider.now = decider.now.max(self.approval.not_before);
        assessment.decide(decider, &self.proposal, &self.approval.requested_by, envelope).map(Some)
    }

    /// Whether the webhook would admit the workloads with this envelope, or would as soon as further reviewers have signed it.
    pub(crate) fn lacks_only_signatures(&mut self) -> Result<bool, Failure> {
        let envelope = self.envelope.clone();
        let denials = self.decide(&envelope)?.unwrap_or_default();
        Ok(denials.iter().all(|denial| matches!(denial, Denial::QuorumNotMet { .. })))
    }
}

impl ApprovalDraft<'_> {
    /// Who may reject. A rejection requires no capability, and the requester may reject too: nothing is admitted by it.
    pub(crate) fn rejection_terms<'p>(&'p self, posture: &'p Posture) -> EligibilityTerms<'p> {
        EligibilityTerms {
            posture,
            project: self.basis.place.project.as_deref().unwrap_or_default(),
            required: &[],
            requested_by: "",
            initiator: "",
            now: self.now,
        }
    }

    /// The denials of a request now, with every detached approval of the namespaces; none if no posture is used.
    pub(crate) fn decide_with_found(&mut self) -> Result<Option<Vec<Denial>>, Failure> {
        let Some((decider, assessment)) = &mut self.decided else { return Ok(None) };
        assessment.decide_with_found(decider, &self.proposal, &self.claimed.requested_by).map(Some)
    }

    /// Whether every live object has its requested spec already.
    pub(crate) fn is_live(&self) -> bool {
        self.decided.as_ref().is_some_and(|(_, assessment)| assessment.seen.iter().all(|seen| seen.unchanged))
    }
}

/// Reads the files of `flags`. Fails if `others` read standard input too.
pub(crate) fn read<'p>(
    flags: &'p ProposalFlags,
    others: impl IntoIterator<Item = &'p Path>,
) -> Result<ProposalFiles, Failure> {
    input::one_stdin(flags.filename.iter().map(|path| &**path).chain(others))?;
    flags.read()
}

impl DraftInputs<'_> {
    /// What is claimed before any check: by the envelope if there is one, else by the flags and the request file.
    fn claimed(&self, given: Option<&Approval>, request: Option<&RequestFile>) -> Result<Applicant, Failure> {
        match given {
            Some(Approval { requested_by, break_glass, environment, project, .. }) => Ok(Applicant {
                requested_by: requested_by.clone(),
                emergency: *break_glass,
                place: NamespaceLabels {
                    environment: Some(environment.as_str().into()),
                    project: Some(project.as_str().into()),
                },
                place_origins: [(); 2].map(|()| Some(Origin::Claimed(Claimant::Envelope))),
            }),
            None => Ok(Applicant {
                requested_by: self.statement.requester(request)?,
                emergency: self.statement.emergency(request)?,
                place: self.statement.place(request),
                place_origins: self.statement.place_origins(request),
            }),
        }
    }
}

/// What an envelope says that differs from the request for which it was signed.
fn differences(approval: &Approval, request: &RequestFile) -> Vec<String> {
    let mut found = Vec::new();
    if approval.requested_by != request.requested_by {
        found.push(format!(
            "the envelope says that {} requested it, but the request says {}",
            shown(&approval.requested_by),
            shown(&request.requested_by)
        ));
    }
    // The first reviewer may give a reason to a request without one.
    if request.reason.is_some() && approval.reason != request.reason {
        let said = |reason: &Option<String>| reason.as_deref().map_or("none".to_owned(), shown);
        found.push(format!(
            "the envelope says reason {}, but the request says {}",
            said(&approval.reason),
            said(&request.reason)
        ));
    }
    if !request.clusters.is_empty() && fleet::sorted(&approval.clusters) != fleet::sorted(&request.clusters) {
        found.push(format!(
            "the envelope is for clusters {}, but the request is for clusters {}",
            shown(&approval.clusters.join(", ")),
            shown(&request.clusters.join(", "))
        ));
    }
    if approval.break_glass != request.break_glass {
        let said = |emergency: bool| if emergency { "is a break-glass approval" } else { "is no break-glass approval" };
        found.push(format!(
            "the envelope says that it {}, but the request says that it {}",
            said(approval.break_glass),
            said(request.break_glass)
        ));
    }
    found
}

fn too_long(approval: &Approval, most: Option<SignedDuration>) -> Option<String> {
    let (lasts, most) = (approval.lifetime(), most?);
    (lasts > most).then(|| {
        format!(
            "the envelope is valid for {lasts:#}, until {}, but the posture permits at most {most:#}",
            approval.expires_at
        )
    })
}

/// What a request file or an envelope claims.
struct StatedClaims<'a> {
    environment: &'a str,
    project: &'a str,
    cluster: Option<Cow<'a, str>>,
    action: Action,
    capabilities: Vec<&'a str>,
}

impl<'a> StatedClaims<'a> {
    /// Of a request for several clusters that names `cluster`, only that one.
    fn of_request(request: &'a RequestFile, cluster: Option<&'a str>) -> Self {
        Self {
            environment: &request.environment,
            project: &request.project,
            cluster: one_of(request.cluster.as_deref(), &request.clusters, cluster),
            action: request.action,
            capabilities: request.capabilities.iter().map(|needed| &*needed.capability).collect(),
        }
    }

    /// Of an approval for several clusters that names `cluster`, only that one.
    fn of_approval(approval: &'a Approval, cluster: Option<&'a str>) -> Self {
        Self {
            environment: &approval.environment,
            project: &approval.project,
            cluster: one_of(approval.cluster.as_deref(), &approval.clusters, cluster),
            action: approval.action,
            capabilities: approval.capabilities.iter().map(String::as_str).collect(),
        }
    }
}

/// The one cluster that is named, or `cluster` if it is among several, or all of them.
fn one_of<'a>(named: Option<&'a str>, several: &'a [String], cluster: Option<&'a str>) -> Option<Cow<'a, str>> {
    if several.is_empty() {
        return named.map(Cow::Borrowed);
    }
    let own = cluster.filter(|cluster| several.iter().any(|one| one == cluster));
    Some(own.map_or_else(|| Cow::Owned(several.join(", ")), Cow::Borrowed))
}

impl StatementBasis {
    fn of(decided: Option<&(Decider<'_>, Assessment)>, request: Option<&RequestFile>, claimed: &Applicant) -> Self {
        match decided {
            Some((by, assessment)) => Self::of_posture(assessment, assessment.posture(by), claimed.emergency),
            None => request.map(Self::of_request).unwrap_or_default(),
        }
    }

    /// The origin of what the posture says: the environment selects the posture.
    pub(crate) fn posture_origin(&self) -> Origin {
        let [environment, _] = &self.place_origins;
        environment.as_ref().map_or(Origin::Posture, Origin::of_posture)
    }

    pub(crate) fn of_posture(assessment: &Assessment, posture: Option<&Posture>, emergency: bool) -> Self {
        let lifetime = |posture: &Posture| match &posture.break_glass {
            Some(rule) if emergency => Some(rule.max_lifetime),
            _ => assessment.action.map(|action| posture.rule(action).max_lifetime),
        };
        Self {
            by_posture: true,
            place: assessment.place.clone(),
            place_origins: assessment.place_origins.clone(),
            cluster: posture.and_then(|posture| posture.cluster.clone()),
            action: assessment.action,
            needed: posture.map(|posture| assessment.needed(posture, emergency)).unwrap_or_default(),
            max_lifetime: posture.and_then(lifetime),
        }
    }

    fn of_request(request: &RequestFile) -> Self {
        Self {
            by_posture: false,
            place: NamespaceLabels {
                environment: Some(request.environment.as_str().into()),
                project: Some(request.project.as_str().into()),
            },
            place_origins: [(); 2].map(|()| Some(Origin::Claimed(Claimant::Request))),
            cluster: request.cluster.clone(),
            action: Some(request.action),
            needed: request.capabilities.clone(),
            max_lifetime: None,
        }
    }

    /// Claims that differ from the posture; none if no posture is used.
    fn contradicts(&self, whose: &str, word: &StatedClaims<'_>) -> Vec<String> {
        let Some(action) = self.action else { return Vec::new() };
        if !self.by_posture {
            return Vec::new();
        }
        let mut contradictions = Vec::new();
        let mut compare = |what: &str, said: Option<&str>, is: Option<&str>| {
            let named = |value: Option<&str>| value.map_or("none".to_owned(), shown);
            if said != is {
                contradictions.push(format!("{whose} says {what} {}, expected {}", named(said), named(is)));
            }
        };
        compare("environment", Some(word.environment), self.place.environment.as_deref());
        compare("project", Some(word.project), self.place.project.as_deref());
        compare("cluster", word.cluster.as_deref(), self.cluster.as_deref());
        compare("action", Some(word.action.as_str()), Some(action.as_str()));
        let sorted = |mut names: Vec<&str>| {
            names.sort_unstable();
            names.dedup();
            names.join(", ")
        };
        let needed = sorted(self.needed.iter().map(|needed| &*needed.capability).collect());
        compare("capabilities", Some(&sorted(word.capabilities.clone())), Some(&needed));
        contradictions
    }
}
