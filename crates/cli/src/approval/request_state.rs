//! The state of a posted request: who has signed, who still must, whether the webhook would admit its workloads now.
//!
//! Everything is computed from the request's objects, the live objects and the posture, by the decision of core. The
//! request and the ConfigMaps with its approval and its rejections are not trusted.

use std::{cell::RefCell, collections::HashMap, rc::Rc};

use jiff::Timestamp;
use serde::Serialize;
use writgate_cluster::clock;
use writgate_core::{
    approval::{Approval, Envelope, KeyId, REQUEST_LIFETIME, Rejection},
    decide::VerifiedRejection,
    posture::describe_quorum,
    record::Denial,
};

use crate::{
    approval::{
        assessment::PostureFlags,
        draft::{ApprovalDraft, DraftInputs},
        proposal::{ProposalFiles, ProposalFlags},
        signatures::SignatureVerdict,
        statement::{GivenEnvelope, StatementFlags},
    },
    cluster::{
        Cluster, OtherClusterFlags,
        posted::{ListedRejections, MAX_BYTES, Posted, RequestStore, StoredApproval, StoredRejection},
    },
    failure::Failure,
    manifest::input::ManifestFlags,
    postures::PostureSourceFlags,
    terminal::output::shown,
};

/// Signatures of rejections of one request that are checked, at most. Each of 200 rejections has one.
const MAX_REJECTION_CHECKS: usize = 200;

/// What is known of a posted request at one moment. Stable as JSON: other programs read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RequestState {
    pub(crate) state: RequestVerdict,
    /// Why the state is unknown, or why no approval could admit the workloads.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) because: Vec<String>,
    /// The reviewers whose signature counts.
    pub(crate) signed: Vec<String>,
    /// `2 reviewers`; absent if the posture is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) quorum: Option<String>,
    /// The reviewers who could sign, and have not.
    pub(crate) could_sign: Vec<String>,
    /// The rejections that a reviewer's key verifies.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) rejections: Vec<VerifiedRejection>,
    /// The ConfigMaps that claim to be rejections, and that no reviewer's key verifies.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) unverified_rejections: Vec<String>,
    /// Whether the namespace has more rejections than were read, so that one of this request may be missing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) has_unread_rejections: bool,
    /// The approval under the request's name, if a reviewer's key verifies it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) approval: Option<SignedApproval>,
    /// The keys of `could_sign`.
    #[serde(skip)]
    keys: Vec<KeyId>,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RequestVerdict {
    /// The webhook would admit all workloads now.
    Approved,
    /// The live objects have the requested specs.
    Live,
    /// A reviewer has rejected it, and it is not approved.
    Rejected,
    /// Signatures are missing.
    Waiting,
    /// It is older than a week.
    Expired,
    /// No approval could admit the workloads, or the request makes a false claim.
    Refused,
    /// The state could not be computed.
    Unknown,
}

/// An approval that a reviewer's key verifies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SignedApproval {
    pub(crate) id: String,
    pub(crate) expires_at: Timestamp,
}

/// Computes states with the postures of one cluster.
pub(crate) struct StateReader<'c> {
    store: RequestStore<'c>,
    posture: PostureFlags,
    proposal: ProposalFlags,
    statement: StatementFlags,
    others: OtherClusterFlags,
    /// The rejections of each namespace that was needed.
    rejections: RefCell<HashMap<String, Rc<ListedRejections>>>,
}

impl<'c> StateReader<'c> {
    /// Reads with `flags`, which select `cluster`.
    pub(crate) fn new(cluster: &'c Cluster, flags: &PostureSourceFlags, reading: ManifestFlags) -> Self {
        Self {
            store: RequestStore { cluster },
            posture: PostureFlags { postures: flags.clone(), no_posture: false },
            proposal: ProposalFlags { reading, ..ProposalFlags::default() },
            statement: StatementFlags::default(),
            others: OtherClusterFlags::default(),
            rejections: RefCell::default(),
        }
    }

    /// The state of a request. A failure that concerns this request alone is a state as well.
    pub(crate) fn state(&self, posted: &Posted) -> RequestState {
        match self.read(posted) {
            Ok(state) => state,
            Err(Failure::No(why)) => RequestState::of(RequestVerdict::Refused, vec![why]),
            Err(Failure::Misuse(why) | Failure::Undetermined(why)) => {
                RequestState::of(RequestVerdict::Unknown, vec![why])
            }
        }
    }

    fn read(&self, posted: &Posted) -> Result<RequestState, Failure> {
        let files = ProposalFiles::of_posted(posted);
        let stored = self.store.approval(posted)?;
        let given = stored.as_ref().and_then(given);
        let mut inputs = DraftInputs {
            files: &files,
            proposal: &self.proposal,
            posture: &self.posture,
            others: &self.others,
            statement: &self.statement,
            envelope: given.as_ref(),
        };
        let mut draft = open(&mut inputs)?;
        let denials = draft.decide_with_found()?.unwrap_or_default();
        let rejections = self.rejections(&posted.namespace)?;
        Ok(RequestState::of_draft(posted, &draft, &denials, &rejections))
    }

    /// The rejections of a namespace. Each namespace has its own limit, so that what one namespace contains hides no rejection in
    /// another one.
    fn rejections(&self, namespace: &str) -> Result<Rc<ListedRejections>, Failure> {
        if let Some(known) = self.rejections.borrow().get(namespace) {
            return Ok(Rc::clone(known));
        }
        let read = Rc::new(self.store.rejections(namespace)?);
        let mut kept = self.rejections.borrow_mut();
        // Many namespaces must not fill the memory.
        if kept.values().map(|one| one.bytes()).sum::<usize>() + read.bytes() > MAX_BYTES {
            kept.clear();
        }
        kept.insert(namespace.to_owned(), Rc::clone(&read));
        Ok(read)
    }
}

/// The envelope in a ConfigMap; none if the text is not an approval.
pub(crate) fn given(stored: &StoredApproval) -> Option<GivenEnvelope> {
    let envelope = Envelope::parse(&stored.text).ok()?;
    Approval::parse(envelope.payload()).ok()?;
    Some(GivenEnvelope { envelope, name: stored.location() })
}

/// Opens the draft with the envelope that is given, if it is worth a signature: it is for exactly these workloads, has not
/// expired, says what was computed here, and lacks nothing but further signatures. Otherwise `inputs` loses the envelope, and the draft
/// is about a new statement.
pub(crate) fn open<'f>(inputs: &mut DraftInputs<'f>) -> Result<ApprovalDraft<'f>, Failure> {
    if inputs.envelope.is_some() {
        match ApprovalDraft::open(inputs) {
            Ok(mut draft) => {
                if draft.keep_valid_signatures(inputs.statement)
                    && draft.contradictions.is_empty()
                    && draft.lacks_only_signatures()?
                {
                    return Ok(draft);
                }
            }
            // It is for other workloads, or has expired.
            Err(Failure::No(_)) => {}
            Err(failure) => return Err(failure),
        }
        inputs.envelope = None;
    }
    ApprovalDraft::open(inputs)
}

impl RequestState {
    /// A state that was not computed.
    pub(crate) fn unknown(why: &str) -> Self {
        Self::of(RequestVerdict::Unknown, vec![why.to_owned()])
    }

    fn of(state: RequestVerdict, because: Vec<String>) -> Self {
        Self {
            state,
            because,
            signed: Vec::new(),
            quorum: None,
            could_sign: Vec::new(),
            rejections: Vec::new(),
            unverified_rejections: Vec::new(),
            has_unread_rejections: false,
            approval: None,
            keys: Vec::new(),
        }
    }

    fn of_draft(posted: &Posted, draft: &ApprovalDraft<'_>, denials: &[Denial], rejections: &ListedRejections) -> Self {
        let counts = |verdict| matches!(verdict, SignatureVerdict::Valid);
        let signed: Vec<String> =
            draft.signatures.iter().filter(|one| counts(one.state)).filter_map(|one| one.reviewer.clone()).collect();
        let could: Vec<_> =
            draft.could_sign().into_iter().filter(|reviewer| !signed.contains(&reviewer.name)).collect();
        let (verified, unverified) = verified(posted, draft, &rejections.stored);
        let mut because: Vec<String> = draft.contradictions.clone();
        if let Some((_, assessment)) = &draft.decided {
            let refused = assessment.refused(&draft.proposal);
            because.extend(
                refused.map(|(asked, denial)| format!("{}: {denial} ({})", denial.code(), asked.workload.subject.name)),
            );
        }
        let age = clock::now().duration_since(posted.created);
        let state = if draft.is_live() {
            RequestVerdict::Live
        } else if !because.is_empty() {
            RequestVerdict::Refused
        } else if denials.is_empty() {
            RequestVerdict::Approved
        } else if !verified.is_empty() {
            RequestVerdict::Rejected
        } else if age >= REQUEST_LIFETIME {
            RequestVerdict::Expired
        } else {
            RequestVerdict::Waiting
        };
        let is_signed = draft.is_given() && !signed.is_empty();
        Self {
            state,
            because,
            quorum: draft.posture().map(|posture| describe_quorum(posture.quorum_of(&draft.approval))),
            keys: could.iter().flat_map(|reviewer| reviewer.keys.iter().map(|key| key.id)).collect(),
            could_sign: could.iter().map(|reviewer| with_groups(&reviewer.name, &reviewer.groups)).collect(),
            rejections: verified,
            unverified_rejections: unverified,
            has_unread_rejections: rejections.is_cut,
            approval: is_signed
                .then(|| SignedApproval { id: draft.approval.id.clone(), expires_at: draft.approval.expires_at }),
            signed,
        }
    }

    /// Whether the owner of `key` could sign the request, and has not.
    pub(crate) fn waits_for(&self, key: KeyId) -> bool {
        matches!(self.state, RequestVerdict::Waiting | RequestVerdict::Rejected) && self.keys.contains(&key)
    }

    /// One line, safe to print: `waits for 2 reviewers: signed by bob; could sign: carol, dave`.
    pub(crate) fn text(&self) -> String {
        let names = |names: &[String]| names.iter().map(|name| shown(name)).collect::<Vec<_>>().join(", ");
        match self.state {
            RequestVerdict::Approved => {
                let until = self.approval.as_ref().map(|approval| format!(" until {}", approval.expires_at));
                let by = if self.signed.is_empty() { String::new() } else { format!(" by {}", names(&self.signed)) };
                format!("approved{by}{}", until.unwrap_or_default())
            }
            RequestVerdict::Live => "the live objects have the requested specs".to_owned(),
            RequestVerdict::Rejected => {
                let by = |one: &VerifiedRejection| format!("{}: {}", shown(&one.by), shown(&one.reason));
                format!("rejected by {}", self.rejections.iter().map(by).collect::<Vec<_>>().join("; "))
            }
            RequestVerdict::Waiting => {
                let quorum = self.quorum.as_deref().map_or("reviewers".to_owned(), shown);
                let signed = match &*self.signed {
                    [] => "signed by nobody".to_owned(),
                    signed => format!("signed by {}", names(signed)),
                };
                let could = match &*self.could_sign {
                    [] => "no other reviewer of the posture could sign".to_owned(),
                    could => format!("could sign: {}", names(could)),
                };
                let unread =
                    if self.has_unread_rejections { "; not all rejections in the namespace could be read" } else { "" };
                format!("waits for {quorum}: {signed}; {could}{unread}")
            }
            RequestVerdict::Expired => "expired: it is older than a week".to_owned(),
            RequestVerdict::Refused => format!("cannot be approved: {}", names(&self.because)),
            RequestVerdict::Unknown => format!("unknown: {}", names(&self.because)),
        }
    }
}

/// `bob@acme.example (sre)`
fn with_groups(name: &str, groups: &[String]) -> String {
    if groups.is_empty() { name.to_owned() } else { format!("{name} ({})", groups.join(", ")) }
}

/// The rejections of a request that a reviewer's key verifies, and the ConfigMaps of those that none does.
fn verified(
    posted: &Posted,
    draft: &ApprovalDraft<'_>,
    rejections: &[StoredRejection],
) -> (Vec<VerifiedRejection>, Vec<String>) {
    let (mut verified, mut unverified) = (Vec::new(), Vec::new());
    let prefix = posted.request.digest.rejection_prefix();
    let own = |stored: &&StoredRejection| stored.namespace == posted.namespace && stored.name.starts_with(&prefix);
    let mut checks = 0;
    for stored in rejections.iter().filter(own) {
        // Whoever may create ConfigMaps can post junk. The guard permits as many rejections in a namespace as are checked here.
        let read = Rejection::read(&stored.text).ok().filter(|_| checks < MAX_REJECTION_CHECKS);
        checks += usize::from(read.is_some());
        match read.and_then(|read| verify(posted, draft, &read)) {
            Some(rejection) => verified.push(rejection),
            None => unverified.push(stored.name.clone()),
        }
    }
    (verified, unverified)
}

fn verify(posted: &Posted, draft: &ApprovalDraft<'_>, read: &(Envelope, Rejection)) -> Option<VerifiedRejection> {
    let project = draft.basis.place.project.as_deref().unwrap_or_default();
    let subjects = draft.proposal.workloads().map(|workload| &workload.subject);
    VerifiedRejection::of(read, draft.posture()?, project, &posted.request.digest, subjects, draft.now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting() -> RequestState {
        RequestState {
            quorum: Some("2 reviewers".into()),
            signed: vec!["bob".into()],
            could_sign: vec!["carol (sre)".into(), "dave".into()],
            ..RequestState::of(RequestVerdict::Waiting, Vec::new())
        }
    }

    #[test]
    fn the_text_says_who_has_signed_and_who_still_could() {
        let text = waiting().text();
        assert_eq!(text, "waits for 2 reviewers: signed by bob; could sign: carol (sre), dave");
        let nobody = RequestState { signed: Vec::new(), could_sign: Vec::new(), ..waiting() };
        assert_eq!(
            nobody.text(),
            "waits for 2 reviewers: signed by nobody; no other reviewer of the posture could sign"
        );
    }

    #[test]
    fn the_text_escapes_what_others_wrote() {
        let rejection = VerifiedRejection {
            by: "bob".into(),
            reason: "no\u{1b}[2J\napproved by carol".into(),
            at: Timestamp::UNIX_EPOCH,
        };
        let state =
            RequestState { rejections: vec![rejection], ..RequestState::of(RequestVerdict::Rejected, Vec::new()) };
        assert!(!state.text().contains(['\u{1b}', '\n']), "{:?}", state.text());
    }
}
