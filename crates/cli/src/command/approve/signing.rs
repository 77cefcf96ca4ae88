//! The signature of a reviewed approval, and its place in the cluster. Nothing is shown or asked here, so that the terminal and
//! the console sign in the same way.
//!
//! Two reviewers may sign at the same second. The API server refuses the second write, because the ConfigMap has changed
//! since it was read. If the other reviewer signed the same statement, both signatures are kept. If they signed another
//! statement for the same request, it has to be reviewed, so that the signatures count together.

use writgate_core::{
    approval::{Envelope, KeyId, MAX_SIGNATURES, PAYLOAD_TYPE},
    posture::Posture,
};

use crate::{
    approval::{draft::ApprovalDraft, request_state},
    cluster::posted::{Posted, RequestStore, StoredApproval, Written},
    command::approve::precheck,
    failure::Failure,
    signer::Signer,
};

/// How often others may write the approval while it is written.
pub(super) const ATTEMPTS: usize = 8;

/// An envelope with the reviewer's signature, which the posture accepts.
pub(crate) struct SignedEnvelope {
    pub(crate) envelope: Envelope,
    pub(crate) key: KeyId,
    /// Whether the signature replaces an invalid one under its key id.
    pub(crate) is_replaced: bool,
    /// What is still missing; empty if the quorum is met.
    pub(crate) missing: Vec<String>,
    /// The posture that verifies the signatures of others, if one was used.
    posture: Option<Posture>,
}

/// Has the draft signed, and decides about the result. `next` is the command of the next reviewer.
pub(crate) fn complete(
    draft: &mut ApprovalDraft<'_>,
    signer: &Signer<'_>,
    next: &str,
) -> Result<SignedEnvelope, Failure> {
    let signature = signer.sign(PAYLOAD_TYPE, &draft.envelope.signed_bytes())?;
    precheck::not_signed_yet(&draft.envelope, &signature.key)?;
    let key = signature.key.id();
    let mut alone = Envelope::new(draft.envelope.payload().to_vec());
    alone.add_signature(key, signature.bytes);
    let mut envelope = draft.envelope.clone();
    let is_replaced = envelope.remove_signatures(key);
    envelope.add_signature(key, signature.bytes);
    let missing = precheck::after(draft, key, &alone, &envelope, next)?;
    Envelope::parse(&envelope.to_json())
        .map_err(|why| Failure::Misuse(format!("this is not a valid approval: {why}")))?;
    Ok(SignedEnvelope { envelope, key, is_replaced, missing, posture: draft.posture().cloned() })
}

/// The command of the next reviewer of a posted request.
pub(crate) fn next(posted: &Posted) -> String {
    format!("kubectl writgate approve {} -n {} --key KEY", posted.name, posted.namespace)
}

/// Fails if no approval can be written over the one that was `read`.
pub(crate) fn can_be_written(read: Option<&StoredApproval>) -> Result<(), Failure> {
    match read.filter(|read| read.is_immutable()) {
        Some(read) => Err(Failure::No(format!(
            "{} is immutable, so no approval can be written there; delete it, or write the approval to a file with -o FILE",
            read.location()
        ))),
        None => Ok(()),
    }
}

/// Writes the envelope. `None`: another reviewer has written another statement since `read`, which must be reviewed.
pub(crate) fn write(
    store: &RequestStore<'_>,
    posted: &Posted,
    mut completed: SignedEnvelope,
    mut read: Option<StoredApproval>,
) -> Result<Option<SignedEnvelope>, Failure> {
    for _ in 0..ATTEMPTS {
        if store.write_approval(posted, &completed.envelope, read.as_ref())? == Written::Done {
            return Ok(Some(completed));
        }
        read = store.approval(posted)?;
        // It was deleted, or holds no envelope.
        let Some(theirs) = read.as_ref().and_then(request_state::given) else { continue };
        // Whoever may write the ConfigMap can write any statement and add signatures, so only what a reviewer's key verifies
        // is kept.
        let Some(posture) = completed.posture.as_ref() else { return Ok(None) };
        let verified = posture.with_valid_signatures(&theirs.envelope);
        let signatures = verified.keyids().count();
        if signatures == 0 {
            continue;
        }
        if verified.payload() != completed.envelope.payload() || signatures >= MAX_SIGNATURES {
            return Ok(None);
        }
        completed.envelope = completed.envelope.with_signatures_of(&verified);
    }
    Ok(None)
}
