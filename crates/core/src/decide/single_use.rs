//! The use of a single-use approval, and what the holder of a use means for a request (row 16).
//!
//! A use is an entry of the webhook's ledger. Its name is computed from the digest of what was signed and the subject,
//! so one atomic create decides between all replicas and requests. The ledger creates, confirms and releases entries.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    approval::{spec_hash::SpecHash, statement::Approval, statement::Subject},
    decide::{candidate::CheckContext, driver::HolderAnswer},
    encoding::hex,
    kube::workload::WorkloadKind,
    record::{decision::ObjectRecord, denial::Denial},
    request::{
        change::{is_held, is_released},
        record::object_record,
    },
    vocabulary::REPLAY_LABEL,
};

/// The `version` of a use in the ledger.
pub const USE_VERSION: &str = "writgate.dev/use/v1";

/// One use of a single-use approval by one request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Use {
    /// The name of the entry: `use-` and 64 hexadecimal digits, the same for every request that would use the same
    /// approval for the same subject.
    pub entry: String,
    /// The id of the approval.
    pub approval: String,
    /// When the approval expires. After that nobody can use it, and the entry may be deleted.
    pub expires_at: Timestamp,
    /// The object that uses it.
    pub object: ObjectRecord,
    /// The hash of what would run.
    pub spec_hash: SpecHash,
    /// The object's `metadata.generation` with this request.
    pub generation: i64,
    /// Whether it would run at once; false for a suspended Job.
    pub starts: bool,
    /// The label that makes its object a replay. Only the follow-up of the use reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<String>,
}

impl Use {
    /// Whether `other` is the same use. The label decides nothing: the webhook that entered the use may not have known it.
    fn is_again(&self, other: &Self) -> bool {
        Self { replay: other.replay.clone(), ..self.clone() } == *other
    }
}

/// A use in the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UseRecord {
    /// [`USE_VERSION`]
    pub version: String,
    /// The use that holds the entry.
    #[serde(rename = "use")]
    pub used: Use,
    /// When it was reserved.
    pub time: Timestamp,
    /// When it will be free again, unless its object appears; absent if it is used for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free_at: Option<Timestamp>,
    /// When its object was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed: Option<Timestamp>,
}

impl UseRecord {
    /// A use that is reserved at `time`, for good.
    #[must_use]
    pub fn new(used: Use, time: Timestamp) -> Self {
        Self { version: USE_VERSION.to_owned(), used, time, free_at: None, confirmed: None }
    }

    /// Whether `other` is by the same object with the same spec: the API server may send one request several times.
    #[must_use]
    pub fn is_by_the_same(&self, other: &Use) -> bool {
        self.used.object == other.object && self.used.spec_hash == other.spec_hash
    }
}

/// The uses that a request would make of one approval.
#[derive(Clone)]
pub(crate) struct WantedUse {
    /// That an object has the approved spec.
    spec: Use,
    /// That a Job which was created suspended starts; absent if this request does not start it.
    start: Option<Use>,
    dry_run: bool,
}

/// The holders that were looked up, by entry.
#[derive(Default)]
pub(crate) struct Holders(BTreeMap<String, HolderAnswer>);

/// What the holders mean for a request.
pub(crate) enum UseState<'h> {
    /// The request may use the approval.
    Free,
    /// This use must be reserved first.
    Unanswered(&'h Use),
    /// Another object has used the approval, or the same Job has run already.
    Taken(&'h UseRecord),
    /// The lookup failed.
    Unknown(&'h str),
}

impl Holders {
    pub(crate) fn insert(&mut self, wanted: &Use, holder: HolderAnswer) {
        self.0.insert(wanted.entry.clone(), holder);
    }

    fn holder<'h>(&'h self, wanted: &'h Use, dry_run: bool) -> Result<&'h UseRecord, UseState<'h>> {
        match self.0.get(&wanted.entry) {
            None => Err(UseState::Unanswered(wanted)),
            Some(Err(why)) => Err(UseState::Unknown(why)),
            Some(Ok(Some(held))) => Ok(held),
            Some(Ok(None)) if dry_run => Err(UseState::Free),
            Some(Ok(None)) => Err(UseState::Unknown("it was not reserved")),
        }
    }
}

impl WantedUse {
    pub(crate) fn new(context: &CheckContext<'_>, approval: &Approval, subject: &Subject, payload: &[u8]) -> Self {
        let workload = &context.workload;
        let is_job = workload.kind == WorkloadKind::Job;
        let spec = Use {
            entry: entry(payload, subject, UsePhase::Spec),
            approval: approval.id.clone(),
            expires_at: approval.expires_at,
            object: object_record(context.request),
            spec_hash: workload.hash,
            generation: workload.object.metadata.generation,
            starts: !(is_job && is_held(workload.spec)),
            replay: workload.object.metadata.labels.get(REPLAY_LABEL).map(str::to_owned),
        };
        let is_released = is_job && workload.previous.is_some_and(|previous| is_released(workload.spec, previous.spec));
        let start = is_released.then(|| Use { entry: entry(payload, subject, UsePhase::Start), ..spec.clone() });
        Self { spec, start, dry_run: context.request.dry_run }
    }

    pub(crate) fn state<'h>(&'h self, holders: &'h Holders) -> UseState<'h> {
        let held = match holders.holder(&self.spec, self.dry_run) {
            Ok(held) => held,
            Err(state) => return state,
        };
        if !held.is_by_the_same(&self.spec) {
            return UseState::Taken(held);
        }
        let Some(start) = &self.start else { return UseState::Free };
        match (held.used.starts, held.used.generation == self.spec.generation) {
            // One request that is sent twice starts the Job once.
            (true, true) => UseState::Free,
            // A Job that ran, was suspended and is released again would run twice.
            (true, false) => UseState::Taken(held),
            (false, _) => match holders.holder(start, self.dry_run) {
                Ok(held) if held.used.is_again(start) => UseState::Free,
                Ok(held) => UseState::Taken(held),
                Err(state) => state,
            },
        }
    }

    pub(crate) fn already_used(&self, held: &UseRecord, now: Timestamp) -> Denial {
        let object = &held.used.object;
        Denial::AlreadyUsed {
            approval: self.spec.approval.clone(),
            by: format!("{} {}/{}", object.kind, object.namespace, object.name),
            at: held.time,
            free_at: held.free_at.filter(|at| *at > now),
        }
    }

    pub(crate) fn unknown(&self, why: &str) -> Denial {
        Denial::LookupFailed { what: format!("whether approval {} was used", self.spec.approval), why: why.to_owned() }
    }
}

/// What an entry stands for.
#[derive(Clone, Copy)]
enum UsePhase {
    Spec,
    Start,
}

/// The name of the entry for one subject of one signed payload.
fn entry(payload: &[u8], subject: &Subject, phase: UsePhase) -> String {
    let phase: &[u8] = match phase {
        UsePhase::Spec => b"spec",
        UsePhase::Start => b"start",
    };
    let mut digest = Sha256::new();
    // Parts of fixed length come first, so that two different subjects cannot have the same text.
    digest.update(Sha256::digest(payload));
    digest.update(Sha256::digest(subject.name.as_bytes()));
    digest.update(subject.hash.hex());
    digest.update(phase);
    format!("use-{}", hex::encode(&digest.finalize().into()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_dry_run_is_permitted_without_a_reservation() {
        let wanted: Use = serde_json::from_value(json!({
            "entry": "use-0", "approval": "01935a00-0000-7000-8000-000000000001", "expiresAt": "2026-11-22T12:00:00Z",
            "object": {"apiVersion": "batch/v1", "kind": "Job", "name": "replay", "namespace": "payments", "uid": null},
            "specHash": format!("sha256:{}", "0".repeat(64)), "generation": 1, "starts": true
        }))
        .expect("a use");
        let mut holders = Holders::default();
        for dry_run in [true, false] {
            assert!(matches!(holders.holder(&wanted, dry_run), Err(UseState::Unanswered(_))), "not looked up");
        }
        holders.insert(&wanted, Ok(None));
        assert!(matches!(holders.holder(&wanted, true), Err(UseState::Free)));
        assert!(matches!(holders.holder(&wanted, false), Err(UseState::Unknown(_))));
    }
}
