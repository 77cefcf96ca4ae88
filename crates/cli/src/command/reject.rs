//! `reject`: signs a rejection of a posted request, for the requester to see. It changes no decision of the webhook.

use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use jiff::Unit;
use writgate_cluster::clock;
use writgate_core::approval::{Envelope, KeyId, PAYLOAD_TYPE, PublicKey, Rejection};

use crate::{
    approval::{
        assessment::PostureFlags,
        draft::{ApprovalDraft, DraftInputs},
        proposal::{ProposalFiles, ProposalFlags},
        statement::StatementFlags,
    },
    cluster::{
        OtherClusterFlags,
        posted::{Posted, RequestStore, location},
    },
    command::review::ReviewReport,
    failure::{Answer, Failure},
    manifest::{
        input,
        namespace::{NamespaceFlag, RequestNamespaceFlag},
    },
    postures::PostureSourceFlags,
    signer::{Signer, SignerFlags},
    terminal::{
        confirm,
        output::{self, shown},
        pager,
    },
};

/// Reject a posted request
///
/// Prints the review on standard error, asks for confirmation, and signs a rejection with the reason. `request show`,
/// `request list`, `request --wait` and `pending` show it to the requester. A rejection changes no decision of the webhook:
/// other reviewers can still approve the request, and an approval that exists stays valid.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  kubectl writgate reject request-4f0c1a3e9d8b7a6c5e4d -n payments --key bob.pem \\
      --reason \"the image is not ours\"")]
pub(crate) struct Arguments {
    /// Posted request, as `request list` prints it
    #[arg(value_name = "NAME")]
    request: String,
    #[command(flatten)]
    namespace: RequestNamespaceFlag,
    /// Reason, for the requester
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    reason: String,
    #[command(flatten)]
    signer: SignerFlags,
    /// Sign without asking, for use without a terminal
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    kinds: input::WorkloadKindFlags,
    #[command(flatten)]
    cluster: crate::cluster::ClusterFlags,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    arguments.signer.is_given()?;
    confirm::can_be_asked(arguments.yes)?;
    let source = PostureSourceFlags { posture_dir: None, cluster: arguments.cluster.clone() };
    let posture = PostureFlags { postures: source, no_posture: false };
    let proposal = ProposalFlags {
        filename: Vec::<PathBuf>::new(),
        request: Some(arguments.request.clone()),
        namespace: NamespaceFlag { namespace: arguments.namespace.namespace.clone() },
        reading: arguments.kinds.clone().into(),
    };
    let cluster = posture.cluster_of_requests()?;
    let posted = proposal.posted(&cluster, &arguments.request)?;
    let signer = arguments.signer.find()?;
    let files = ProposalFiles::of_posted(&posted);
    let statement = StatementFlags::default();
    let others = OtherClusterFlags::default();
    let draft = ApprovalDraft::open(&DraftInputs {
        files: &files,
        proposal: &proposal,
        posture: &posture,
        others: &others,
        statement: &statement,
        envelope: None,
    })?;
    show(&ReviewReport::of(&draft)?, arguments)?;
    let key = signer.unlock()?;
    let store = RequestStore { cluster: &cluster };
    let prepared = prepare(&store, &posted, &draft, key, &arguments.reason)?;
    confirm::ask_to(&format!("Reject {} with the reason {}?", posted.name, shown(&arguments.reason)), arguments.yes)?;
    let (key, envelope) = sign(&prepared, &signer)?;
    let name = store.write_rejection(&posted, &envelope)?;
    output::note(&format!("signed with key {key}"));
    output::note(&format!("written: {}", location(&posted.namespace, &name)));
    if store.approval(&posted)?.is_some() {
        output::note(&format!(
            "note: {} exists already; an approval in it stays valid until it expires or is revoked (kubectl writgate revoke)",
            location(&posted.namespace, &posted.request.digest.approval_name())
        ));
    }
    Ok(Answer::Yes)
}

/// The rejection that `key` would sign. Fails if it would not be shown, or if the key has rejected the request already.
pub(crate) fn prepare(
    store: &RequestStore<'_>,
    posted: &Posted,
    draft: &ApprovalDraft<'_>,
    key: &PublicKey,
    reason: &str,
) -> Result<Rejection, Failure> {
    not_rejected_yet(store, posted, key)?;
    rejection(reason, posted, draft, reviewer(draft, key)?)
}

/// The rejection in a signed envelope, and the key that signed.
pub(crate) fn sign(rejection: &Rejection, signer: &Signer<'_>) -> Result<(KeyId, Envelope), Failure> {
    let mut envelope = Envelope::new(rejection.to_payload());
    let signature = signer.sign(PAYLOAD_TYPE, &envelope.signed_bytes())?;
    let key = signature.key.id();
    envelope.add_signature(key, signature.bytes);
    Ok((key, envelope))
}

/// Fails if the request has a rejection that this key has signed.
fn not_rejected_yet(store: &RequestStore<'_>, posted: &Posted, key: &PublicKey) -> Result<(), Failure> {
    let prefix = posted.request.digest.rejection_prefix();
    let rejections = store.rejections(&posted.namespace)?;
    let own = rejections
        .stored
        .iter()
        .filter(|stored| stored.name.starts_with(&prefix))
        .find(|stored| Envelope::parse(&stored.text).is_ok_and(|envelope| envelope.is_signed_by(key)));
    match own {
        Some(stored) => Err(Failure::No(format!(
            "{} exists already: the request is rejected with key {}; delete the ConfigMap to reject the request again",
            location(&stored.namespace, &stored.name),
            key.id()
        ))),
        None => Ok(()),
    }
}

/// Prints the review, on a terminal page by page.
fn show(review: &ReviewReport, arguments: &Arguments) -> Result<(), Failure> {
    if arguments.yes {
        output::note_styled(&review.text());
        return Ok(());
    }
    pager::show(&review.text())
}

/// The owner of the key, if a rejection with it would be shown.
fn reviewer<'d>(draft: &'d ApprovalDraft<'_>, key: &PublicKey) -> Result<&'d str, Failure> {
    let refused = |why: &str| Failure::No(format!("not signed: key {}: {why}", key.id()));
    let posture = draft.posture().ok_or_else(|| refused("the posture is not valid"))?;
    let (reviewer, own) = posture.key(&key.id()).ok_or_else(|| refused("the posture does not contain this key"))?;
    match draft.rejection_terms(posture).failures(reviewer, own).first() {
        Some(denial) => Err(refused(&shown(&format!("{}: {denial}", denial.code())))),
        None => Ok(&reviewer.name),
    }
}

/// The statement, if it is read back as it was written.
fn rejection(reason: &str, posted: &Posted, draft: &ApprovalDraft<'_>, reviewer: &str) -> Result<Rejection, Failure> {
    let now = clock::now();
    let whole = now.round(jiff::TimestampRound::new().smallest(Unit::Second).mode(jiff::RoundMode::Floor));
    let rejection = Rejection {
        subjects: draft.proposal.workloads().map(|workload| workload.subject.clone()).collect(),
        request: posted.request.digest,
        reason: reason.trim().to_owned(),
        rejected_by: reviewer.to_owned(),
        rejected_at: whole.unwrap_or(now),
    };
    match Rejection::parse(&rejection.to_payload()) {
        Ok(read) if read == rejection => Ok(rejection),
        Ok(_) => Err(Failure::Misuse("this is not a valid rejection: it would be read back differently".to_owned())),
        Err(why) => Err(Failure::Misuse(format!("this is not a valid rejection: {why}"))),
    }
}
