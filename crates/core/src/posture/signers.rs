//! Whose signatures on an envelope verify with a posture's keys.

use crate::{
    approval::{
        envelope::{Envelope, EnvelopeSignature},
        key::KeyId,
    },
    posture::{Posture, Reviewer, ReviewerKey},
};

/// A reviewer whose signature on an envelope was verified, and the key that verified it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct VerifiedSigner<'p> {
    pub(crate) reviewer: &'p Reviewer,
    pub(crate) key: &'p ReviewerKey,
}

/// What a posture's keys say about one signature of an envelope.
#[derive(Clone, Copy, Debug)]
pub enum SignatureState<'p> {
    /// It verifies with this key, whatever key id it claims.
    Valid(&'p Reviewer, &'p ReviewerKey),
    /// It claims this key and does not verify with it: the statement was changed after it was signed, or somebody else
    /// wrote the signature.
    Invalid(&'p Reviewer, &'p ReviewerKey),
    /// It verifies with no key of the posture, and claims none.
    UnknownKey,
}

/// Why no signature of an envelope was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UnverifiedEnvelope {
    UnknownKey,
    InvalidSignature,
    BudgetSpent,
}

/// How many signature checks a request may still cost.
#[derive(Debug)]
pub(crate) struct SignatureBudget(usize);

impl SignatureBudget {
    /// The most signature checks in one request.
    pub(crate) const CHECKS: usize = 32;

    pub(crate) fn new() -> Self {
        Self(Self::CHECKS)
    }

    fn spend(&mut self) -> Result<(), UnverifiedEnvelope> {
        #[cfg(test)]
        crate::work::count(crate::work::Work::SignatureCheck);
        self.0 = self.0.checked_sub(1).ok_or(UnverifiedEnvelope::BudgetSpent)?;
        Ok(())
    }
}

enum SignatureCheck<'p> {
    Verified(VerifiedSigner<'p>),
    FailedWithKnownKey,
    UnknownKey,
}

impl Posture {
    /// Checks every signature of `envelope` against the keys of this environment. Returns the signers whose signatures
    /// verify, in the order of the envelope, each key once.
    pub(crate) fn verify(
        &self,
        envelope: &Envelope,
        budget: &mut SignatureBudget,
    ) -> Result<Vec<VerifiedSigner<'_>>, UnverifiedEnvelope> {
        let message = envelope.signed_bytes();
        let mut signers: Vec<VerifiedSigner<'_>> = Vec::new();
        let mut known_key_failed = false;
        for signature in envelope.signatures() {
            match self.check(signature, &message, budget)? {
                SignatureCheck::Verified(signer) => {
                    if signers.iter().all(|other| other.key.id != signer.key.id) {
                        signers.push(signer);
                    }
                }
                SignatureCheck::FailedWithKnownKey => known_key_failed = true,
                SignatureCheck::UnknownKey => {}
            }
        }
        match (signers.is_empty(), known_key_failed) {
            (false, _) => Ok(signers),
            (true, true) => Err(UnverifiedEnvelope::InvalidSignature),
            (true, false) => Err(UnverifiedEnvelope::UnknownKey),
        }
    }

    /// Whether any signature of `envelope` verifies with a key of this environment. It spends the budget of one request.
    #[must_use]
    pub fn is_signed(&self, envelope: &Envelope) -> bool {
        self.verify(envelope, &mut SignatureBudget::new()).is_ok()
    }

    /// What is known of every signature of `envelope`, in its order, with the key id that the signature claims. For people:
    /// a decision uses [`Posture::verify`], which spends a budget.
    #[must_use]
    pub fn signature_states<'e>(&self, envelope: &'e Envelope) -> Vec<(&'e str, SignatureState<'_>)> {
        let message = envelope.signed_bytes();
        let mut unlimited = SignatureBudget(usize::MAX);
        let mut state = |signature: &EnvelopeSignature| match self.check(signature, &message, &mut unlimited) {
            Ok(SignatureCheck::Verified(signer)) => SignatureState::Valid(signer.reviewer, signer.key),
            Ok(SignatureCheck::FailedWithKnownKey) => {
                let claimed = signature.keyid.parse().ok().and_then(|id: KeyId| self.key(&id));
                claimed.map_or(SignatureState::UnknownKey, |(reviewer, key)| SignatureState::Invalid(reviewer, key))
            }
            Ok(SignatureCheck::UnknownKey) | Err(_) => SignatureState::UnknownKey,
        };
        envelope.signatures().iter().map(|signature| (&*signature.keyid, state(signature))).collect()
    }

    /// The envelope with only the signatures that verify with keys of this environment, one for each key. Anybody can add
    /// others, and they would fill the envelope.
    #[must_use]
    pub fn with_valid_signatures(&self, envelope: &Envelope) -> Envelope {
        let message = envelope.signed_bytes();
        let mut unlimited = SignatureBudget(usize::MAX);
        let mut valid = Envelope::new(envelope.payload().to_vec());
        for signature in envelope.signatures() {
            let Ok(SignatureCheck::Verified(signer)) = self.check(signature, &message, &mut unlimited) else {
                continue;
            };
            let Ok(bytes) = <[u8; 64]>::try_from(&*signature.bytes) else { continue };
            let keyid = signer.key.id.to_string();
            if valid.keyids().all(|known| known != keyid) {
                valid.add_signature(signer.key.id, bytes);
            }
        }
        valid
    }

    /// A key id of this environment selects that key alone. Other tools compute key ids in other ways or leave them
    /// out, so a signature with any other key id is tried against all keys while the budget lasts.
    fn check(
        &self,
        signature: &EnvelopeSignature,
        message: &[u8],
        budget: &mut SignatureBudget,
    ) -> Result<SignatureCheck<'_>, UnverifiedEnvelope> {
        let named = signature.keyid.parse().ok().and_then(|id: KeyId| self.key(&id));
        // Ed25519 signatures have 64 bytes, so another length is another algorithm.
        let Ok(bytes) = <&[u8; 64]>::try_from(&*signature.bytes) else {
            let known = named.is_some();
            return Ok(if known { SignatureCheck::FailedWithKnownKey } else { SignatureCheck::UnknownKey });
        };
        if let Some((reviewer, key)) = named {
            budget.spend()?;
            let verified = key.key.verify_strict(message, bytes);
            let signer = VerifiedSigner { reviewer, key };
            return Ok(if verified { SignatureCheck::Verified(signer) } else { SignatureCheck::FailedWithKnownKey });
        }
        for (reviewer, key) in self.keys() {
            budget.spend()?;
            if key.key.verify_strict(message, bytes) {
                return Ok(SignatureCheck::Verified(VerifiedSigner { reviewer, key }));
            }
        }
        Ok(SignatureCheck::UnknownKey)
    }
}
