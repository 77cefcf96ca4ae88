//! The signatures that an envelope has already, verified with the posture's keys.

use serde::Serialize;
use writgate_core::{
    approval::{Envelope, PublicKey},
    posture::{Posture, SignatureState},
};

use crate::terminal::output::shown;

/// A signature on an envelope, and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ExistingSignature {
    /// The id of the key that verified it; otherwise the key id that it claims.
    pub(crate) keyid: String,
    /// The owner of that key; absent if the posture does not contain the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reviewer: Option<String>,
    pub(crate) state: SignatureVerdict,
}

/// The result of verifying one signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SignatureVerdict {
    /// It verifies with the reviewer's key.
    Valid,
    /// It verifies with the reviewer's key, but the reviewer may not sign this, or not any more.
    NotEligible,
    /// It claims the reviewer's key, and does not verify with it.
    Invalid,
    /// It claims the key of the person who signs now, does not verify with it, and will be replaced.
    Replaced,
    /// The posture does not contain its key.
    UnknownKey,
    /// No posture was used.
    NotChecked,
}

/// The signatures of an envelope. `eligible` holds the reviewers whose signature counts, and `own` is the key that will
/// sign.
pub(crate) fn of(
    envelope: &Envelope,
    posture: Option<&Posture>,
    eligible: &[&str],
    own: Option<&PublicKey>,
) -> Vec<ExistingSignature> {
    let own_id = own.map(|key| key.id().to_string());
    let Some(posture) = posture else {
        let state = |keyid: &str| match &own_id {
            Some(own_id) if own_id == keyid && own.is_some_and(|own| !envelope.is_signed_by(own)) => {
                SignatureVerdict::Replaced
            }
            _ => SignatureVerdict::NotChecked,
        };
        let signature =
            |keyid: &str| ExistingSignature { keyid: keyid.to_owned(), reviewer: None, state: state(keyid) };
        return envelope.keyids().map(signature).collect();
    };
    let signature = |(claimed, state): (&str, SignatureState<'_>)| {
        let (keyid, reviewer, state) = match state {
            SignatureState::Valid(reviewer, key) => {
                let counts = eligible.contains(&&*reviewer.name);
                let state = if counts { SignatureVerdict::Valid } else { SignatureVerdict::NotEligible };
                (key.id.to_string(), Some(reviewer.name.clone()), state)
            }
            SignatureState::Invalid(reviewer, key) => {
                let keyid = key.id.to_string();
                let is_own = own_id.as_ref() == Some(&keyid);
                let state = if is_own { SignatureVerdict::Replaced } else { SignatureVerdict::Invalid };
                (keyid, Some(reviewer.name.clone()), state)
            }
            SignatureState::UnknownKey => (claimed.to_owned(), None, SignatureVerdict::UnknownKey),
        };
        ExistingSignature { keyid, reviewer, state }
    };
    posture.signature_states(envelope).into_iter().map(signature).collect()
}

impl ExistingSignature {
    /// Whether a reviewer's key verified it.
    pub(crate) fn is_verified(&self) -> bool {
        matches!(self.state, SignatureVerdict::Valid | SignatureVerdict::NotEligible)
    }

    /// One line: `signed by bob@acme.example (key 84f5…)`.
    pub(crate) fn text(&self) -> String {
        let who = self.reviewer.as_deref().map(shown).unwrap_or_default();
        let key = shown(&self.keyid);
        match self.state {
            SignatureVerdict::Valid => format!("signed by {who} (key {key}; the signature is valid)"),
            SignatureVerdict::NotEligible => {
                format!("signed by {who} (key {key}; the signature is valid, but does not count for this approval)")
            }
            SignatureVerdict::Invalid => {
                format!("NOT signed by {who}: the signature that names key {key} is not valid")
            }
            SignatureVerdict::Replaced => {
                format!("the signature that names your key {key} is not valid; yours replaces it")
            }
            SignatureVerdict::UnknownKey => {
                format!("a signature of an unknown key, which the posture does not contain ({key})")
            }
            SignatureVerdict::NotChecked => {
                format!("a signature that names key {key}; not checked, since no posture was used")
            }
        }
    }

    /// Why the envelope must not be signed because of this signature.
    pub(crate) fn contradiction(&self) -> Option<String> {
        (self.state == SignatureVerdict::Invalid).then(|| {
            format!(
                "the envelope's signature of {} does not verify with key {}: the statement was changed after it was \
                 signed, or somebody else wrote the signature",
                shown(self.reviewer.as_deref().unwrap_or_default()),
                self.keyid
            )
        })
    }
}
