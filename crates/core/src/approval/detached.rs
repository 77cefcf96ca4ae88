//! Detached approvals: envelopes in ConfigMaps of the workload's namespace, which Git applies like the workload itself.
//!
//! The signature carries the trust, so an envelope is checked in the same way wherever it was found. This file says which
//! detached approvals can be about an object at all, so that a namespace full of approvals costs no signature checks.

use jiff::Timestamp;

use crate::{
    approval::envelope::Envelope,
    approval::spec_hash::SpecHash,
    approval::statement::Approval,
    kube::config_map::ConfigMapContent,
    vocabulary::{APPROVAL_KEY, APPROVAL_KIND, KIND_LABEL},
};

/// The content of a ConfigMap that should hold an envelope. It is not verified.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DetachedApproval {
    /// The ConfigMap's name.
    pub name: String,
    /// The JSON text of the envelope.
    pub text: String,
}

impl DetachedApproval {
    /// The detached approval in the ConfigMap `name`. `None`: the ConfigMap is not labelled as one, or has no envelope.
    #[must_use]
    pub fn from_config_map(name: &str, content: &ConfigMapContent) -> Option<Self> {
        let is_labelled = content.labels.get(KIND_LABEL).is_some_and(|kind| kind == APPROVAL_KIND);
        if !is_labelled {
            return None;
        }
        let text = content.data.get(APPROVAL_KEY)?;
        Some(Self { name: name.to_owned(), text: text.clone() })
    }
}

/// Which detached approvals of an object's namespace to look up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DetachedQuery {
    /// The approval in the ConfigMap with this name, which the object names.
    Name(String),
    /// The approvals that claim to cover the spec with this hash. The answer may contain others; they are ignored.
    Hash(SpecHash),
}

/// The spec hashes that the envelope `text` claims to cover, and when it claims to expire. The claims are not verified, so
/// use them only to choose between envelopes. `None`: it is not an envelope around an approval.
#[must_use]
pub fn claims_to_cover(text: &str) -> Option<(Vec<SpecHash>, Timestamp)> {
    let approval = Approval::parse(Envelope::parse(text).ok()?.payload()).ok()?;
    Some((approval.subjects.iter().map(|subject| subject.hash).collect(), approval.expires_at))
}

/// At most `most` of the approvals in `found` that match `query`.
///
/// Approvals that have not expired come first, and of these the ones that last longest. A namespace keeps its old
/// approvals, and they must not displace a new one.
pub(crate) fn choose<'a>(
    found: &'a [DetachedApproval],
    query: &DetachedQuery,
    now: Timestamp,
    most: usize,
) -> Vec<&'a DetachedApproval> {
    let hash = match query {
        DetachedQuery::Name(name) => return found.iter().filter(|found| found.name == *name).take(most).collect(),
        DetachedQuery::Hash(hash) => hash,
    };
    let mut chosen: Vec<(bool, Timestamp, &DetachedApproval)> = found
        .iter()
        .filter_map(|found| {
            let (hashes, expires_at) = claims_to_cover(&found.text)?;
            hashes.contains(hash).then_some((now >= expires_at, expires_at, found))
        })
        .collect();
    chosen.sort_by(|(expired, at, one), (other_expired, other_at, other)| {
        expired.cmp(other_expired).then(other_at.cmp(at)).then(one.cmp(other))
    });
    chosen.into_iter().map(|(_, _, found)| found).take(most).collect()
}
