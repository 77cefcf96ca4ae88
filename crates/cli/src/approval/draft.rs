//! One approval as it is reviewed and signed: the workloads, the posture's decision about them, and the statement.
//!
//! `review` prints it and `approve` signs it, so that both show the same. Nothing is asked, signed or printed here.

use std::path::Path;

use jiff::SignedDuration;
use writgate_cluster::namespace::NamespaceLabels;
use writgate_core::{
    approval::{Action, Approval, Capability, Envelope},
    decide::EligibilityTerms,
    posture::{Posture, QuorumEntry, Reviewer},
    record::Denial,
};

use crate::{
    approval::{
        assessment::{Applicant, Assessment, PostureFlags},
        decider::Decider,
        proposal::{Proposal, ProposalFiles, ProposalFlags},
        request_file::{RequestFile, RequiredCapability},
        statement::{self, StatementFlags},
    },
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
    /// Claims of the request file or the envelope that differ from what was computed.
    pub(crate) contradictions: Vec<String>,
}

/// What a statement is based on: the posture, or the claims of the request file.
#[derive(Clone, Debug, Default)]
pub(crate) struct StatementBasis {
    /// Whether the values come from the posture.
    pub(crate) by_posture: bool,
    pub(crate) place: NamespaceLabels,
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
    pub(crate) statement: &'f StatementFlags,
    /// An envelope to review, in place of a new statement.
    pub(crate) envelope: Option<&'f Path>,
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
        let given = inputs.envelope.map(|path| statement::in_envelope(path, &proposal)).transpose()?;
        let claimed = inputs.claimed(given.as_ref().map(|(_, approval)| approval), request)?;
        let assessed = match decider {
            None => None,
            Some(mut decider) => {
                let assessment = Assessment::of(&mut decider, &proposal, &claimed)?;
                Some((decider, assessment))
            }
        };
        let basis = match &assessed {
            Some((decider, assessment)) => {
                StatementBasis::of_posture(assessment, assessment.posture(decider), claimed.emergency)
            }
            None => request.map(StatementBasis::of_request).unwrap_or_default(),
        };
        let mut contradictions = proposal.contradictions.clone();
        contradictions.extend(
            request.iter().flat_map(|request| basis.contradicts("the request", &StatedClaims::of_request(request))),
        );
        let (envelope, approval) = if let Some((envelope, approval)) = given {
            contradictions.extend(basis.contradicts("the envelope", &StatedClaims::of_approval(&approval)));
            contradictions.extend(request.and_then(|request| other_requester(&approval, request)));
            (envelope, approval)
        } else {
            let approval = inputs.statement.state(&proposal, request, &basis)?;
            (Envelope::new(approval.to_payload()), approval)
        };
        Ok(Self { request, proposal, decided: assessed, basis, approval, envelope, contradictions })
    }

    /// The environment's posture, if it is used and valid.
    pub(crate) fn posture(&self) -> Option<&Posture> {
        self.decided.as_ref().and_then(|(decider, assessment)| assessment.posture(decider))
    }

    /// The quorum of this approval: how many reviewers must sign, of which groups.
    pub(crate) fn quorum<'p>(&self, posture: &'p Posture) -> &'p [QuorumEntry] {
        match &posture.break_glass {
            Some(rule) if self.approval.break_glass => &rule.quorum,
            _ => &posture.rule(self.approval.action).quorum,
        }
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
        posture.reviewers.iter().filter(|reviewer| terms.holds(reviewer)).collect()
    }

    /// The denials of a request with `envelope` as its only approval; none if no posture is used. The time of the
    /// decision is the first moment at which the approval is valid.
    pub(crate) fn decide(&mut self, envelope: &Envelope) -> Result<Option<Vec<Denial>>, Failure> {
        let Some((decider, assessment)) = &mut self.decided else { return Ok(None) };
        decider.now = decider.now.max(self.approval.not_before);
        assessment.decide(decider, &self.proposal, &self.approval.requested_by, envelope).map(Some)
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
            }),
            None => Ok(Applicant {
                requested_by: self.statement.requester(request)?,
                emergency: self.statement.emergency(request)?,
                place: self.statement.place(request),
            }),
        }
    }
}

fn other_requester(approval: &Approval, request: &RequestFile) -> Option<String> {
    (approval.requested_by != request.requested_by).then(|| {
        format!(
            "the envelope says that {} requested it, but the request says {}",
            shown(&approval.requested_by),
            shown(&request.requested_by)
        )
    })
}

/// What a request file or an envelope claims.
struct StatedClaims<'a> {
    environment: &'a str,
    project: &'a str,
    cluster: Option<&'a str>,
    action: Action,
    capabilities: Vec<&'a str>,
}

impl<'a> StatedClaims<'a> {
    fn of_request(request: &'a RequestFile) -> Self {
        Self {
            environment: &request.environment,
            project: &request.project,
            cluster: request.cluster.as_deref(),
            action: request.action,
            capabilities: request.capabilities.iter().map(|needed| &*needed.capability).collect(),
        }
    }

    fn of_approval(approval: &'a Approval) -> Self {
        Self {
            environment: &approval.environment,
            project: &approval.project,
            cluster: approval.cluster.as_deref(),
            action: approval.action,
            capabilities: approval.capabilities.iter().map(String::as_str).collect(),
        }
    }
}

impl StatementBasis {
    fn of_posture(assessment: &Assessment, posture: Option<&Posture>, emergency: bool) -> Self {
        let lifetime = |posture: &Posture| match &posture.break_glass {
            Some(rule) if emergency => Some(rule.max_lifetime),
            _ => assessment.action.map(|action| posture.rule(action).max_lifetime),
        };
        Self {
            by_posture: true,
            place: assessment.place.clone(),
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
        compare("cluster", word.cluster, self.cluster.as_deref());
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
