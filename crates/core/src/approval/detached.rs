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

/// An envelope in a ConfigMap. Nobody has checked it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DetachedApproval {
    /// The ConfigMap's name.
    pub name: String,
    /// The envelope, JSON.
    pub text: String,
}

impl DetachedApproval {
    /// What a ConfigMap of this name holds, if it is one for that.
    #[must_use]
    pub fn of(name: &str, content: &ConfigMapContent) -> Option<Self> {
        let labelled = content.labels.get(KIND_LABEL).is_some_and(|kind| kind == APPROVAL_KIND);
        let text = content.data.get(APPROVAL_KEY).filter(|_| labelled)?;
        Some(Self { name: name.to_owned(), text: text.clone() })
    }
}

/// Which approvals beside an object are asked for, all of its namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DetachedQuery {
    /// The one in the ConfigMap that the object names.
    Name(String),
    /// Those that say, signed or not, that they cover this spec. More may be given: they are passed over.
    Hash(SpecHash),
}

/// The spec hashes that an envelope says it covers, and until when; by nobody's word, so for choosing alone. `None`
/// where it cannot be read as an approval.
#[must_use]
pub fn claims_to_cover(text: &str) -> Option<(Vec<SpecHash>, Timestamp)> {
    let approval = Approval::parse(Envelope::parse(text).ok()?.payload()).ok()?;
    Some((approval.subjects.iter().map(|subject| subject.hash).collect(), approval.expires_at))
}

/// Of `found` those that may be about a spec with this hash, the best first, at most `most`: a namespace keeps its old
/// approvals, and these shall not stand in the way of the new one.
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
