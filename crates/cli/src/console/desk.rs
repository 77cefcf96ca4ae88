//! The reviews that a session has shown, and what became of them. A form names a review by its digest, so that only what was
//! shown is signed, and once.

use std::{collections::VecDeque, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use writgate_core::{
    approval::{Approval, Envelope},
    encoding::hex,
};

use crate::{command::review::ReviewReport, failure::Failure};

/// Separates these digests from all others.
const DOMAIN: &[u8] = b"writgate.dev/console-review/v1\0";
/// Reviews and results that are kept, at most. The oldest is forgotten.
const MOST: usize = 32;

/// The digest of the bytes that would be signed, and of the review that was shown with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReviewDigest([u8; 32]);

/// A review that a page has shown.
pub(super) struct Reviewed {
    pub(super) digest: ReviewDigest,
    /// The posted request.
    pub(super) namespace: String,
    pub(super) name: String,
    /// A new statement; none if the statement is that of an envelope in the cluster.
    pub(super) statement: Option<Approval>,
    /// The bytes that would be signed.
    pub(super) message: Vec<u8>,
    /// The review, without what depends on its time.
    pub(super) report: Value,
}

/// What became of a review.
#[derive(Clone)]
pub(super) struct Outcome {
    pub(super) digest: ReviewDigest,
    pub(super) title: &'static str,
    pub(super) facts: Vec<(&'static str, String)>,
    /// The approval, if it was to be a file.
    pub(super) file: Option<(String, String)>,
}

/// What a session has shown and done.
#[derive(Default)]
pub(super) struct Desk {
    reviews: VecDeque<Arc<Reviewed>>,
    outcomes: VecDeque<Outcome>,
}

impl ReviewDigest {
    /// The digest of the envelope's signed bytes and of the report.
    pub(super) fn of(envelope: &Envelope, report: &Value) -> Self {
        let message = envelope.signed_bytes();
        let digest = Sha256::new()
            .chain_update(DOMAIN)
            .chain_update((message.len() as u64).to_be_bytes())
            .chain_update(message)
            // Canonical for this purpose: serde_json's maps are sorted, and all numbers come from JSON texts.
            .chain_update(report.to_string());
        Self(digest.finalize().into())
    }
}

impl fmt::Display for ReviewDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", hex::encode(&self.0))
    }
}

impl FromStr for ReviewDigest {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let digest = text.strip_prefix("sha256:").and_then(hex::decode);
        digest
            .map(Self)
            .ok_or_else(|| Failure::Misuse("the form names no digest of a review; read the review again".to_owned()))
    }
}

impl<'de> Deserialize<'de> for ReviewDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl Reviewed {
    pub(super) fn of(
        namespace: &str,
        name: &str,
        statement: Option<Approval>,
        envelope: &Envelope,
        report: &ReviewReport,
    ) -> Result<Self, Failure> {
        let report = report.timeless()?;
        let digest = ReviewDigest::of(envelope, &report);
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        Ok(Self { digest, namespace, name, statement, message: envelope.signed_bytes(), report })
    }
}

impl Desk {
    pub(super) fn show(&mut self, reviewed: Reviewed) {
        self.reviews.truncate(MOST - 1);
        self.reviews.push_front(Arc::new(reviewed));
    }

    pub(super) fn review(&self, digest: ReviewDigest) -> Option<Arc<Reviewed>> {
        self.reviews.iter().find(|reviewed| reviewed.digest == digest).cloned()
    }

    /// Notes what became of a review. The review cannot be used again.
    pub(super) fn finish(&mut self, outcome: Outcome) {
        self.reviews.retain(|reviewed| reviewed.digest != outcome.digest);
        self.outcomes.truncate(MOST - 1);
        self.outcomes.push_front(outcome);
    }

    pub(super) fn outcome(&self, digest: ReviewDigest) -> Option<Outcome> {
        self.outcomes.iter().find(|outcome| outcome.digest == digest).cloned()
    }
}
