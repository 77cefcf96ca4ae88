//! The use of an approval that may be used once.
//!
//! A use is an entry of the webhook's ledger, named from the digest of what was signed and the subject, so that of all
//! replicas and requests one atomic create decides. What an existing entry means for a request is told here; creating,
//! confirming and releasing entries is the ledger's.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    approval::spec_hash::SpecHash, approval::statement::Subject, decide::facts::Known, encoding::hex,
    record::decision::ObjectRecord,
};

/// The `version` of a use as the ledger keeps it.
pub const USE_VERSION: &str = "writgate.dev/use/v1";

/// One use of a single-use approval by one request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Use {
    /// The entry's name: `use-` and 64 hexadecimal digits, the same for every request that would use the same.
    pub entry: String,
    /// The approval's id.
    pub approval: String,
    /// When the approval expires: after that nobody can use it, and the entry may go.
    pub expires_at: Timestamp,
    /// The object that uses it.
    pub object: ObjectRecord,
    /// What would run.
    pub spec_hash: SpecHash,
    /// The object's `metadata.generation` with this request.
    pub generation: i64,
    /// Whether it would run at once, and is not a suspended Job.
    pub starts: bool,
}

/// A use as the ledger keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UseRecord {
    /// [`USE_VERSION`]
    pub version: String,
    /// Whose it is.
    #[serde(rename = "use")]
    pub used: Use,
    /// When it was reserved.
    pub time: Timestamp,
    /// When it will be free again, unless its object appears; absent where it is spent for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free_at: Option<Timestamp>,
    /// When its object was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed: Option<Timestamp>,
}

impl UseRecord {
    /// A use that is reserved now, for good.
    #[must_use]
    pub fn new(used: Use, time: Timestamp) -> Self {
        Self { version: USE_VERSION.to_owned(), used, time, free_at: None, confirmed: None }
    }

    /// Whether `other` is by the same object with the same spec: one request may come several times.
    #[must_use]
    pub fn is_by_the_same(&self, other: &Use) -> bool {
        self.used.object == other.object && self.used.spec_hash == other.spec_hash
    }
}

/// What an entry stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// That an object has the approved spec.
    Spec,
    /// That a Job which was created suspended was let go.
    Start,
}

/// The name of the entry of one subject of one signed payload.
pub(crate) fn entry(payload: &[u8], subject: &Subject, phase: Phase) -> String {
    let phase: &[u8] = match phase {
        Phase::Spec => b"spec",
        Phase::Start => b"start",
    };
    let mut digest = Sha256::new();
    // Fixed lengths first, so that no two different subjects make the same text.
    digest.update(Sha256::digest(payload));
    digest.update(Sha256::digest(subject.name.as_bytes()));
    digest.update(subject.hash.hex());
    digest.update(phase);
    format!("use-{}", hex::encode(&digest.finalize().into()))
}

/// What is known of a use.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It is the asking request's own, or nobody's.
    Free,
    /// It has yet to be reserved or looked up.
    Ask(Box<Use>),
    /// Another object has it, or the same one has run already.
    Taken(Box<UseRecord>),
    /// It could not be found out, and why.
    Unknown(String),
}

/// Whether a request may have `wanted`, the use of the spec; `start` is the entry of its start and `released` whether
/// the request lets a suspended Job go.
pub(crate) fn answer(known: &Known, wanted: &Use, start: &str, released: bool, dry_run: bool) -> Answer {
    let held = match held(known, wanted, dry_run) {
        Ok(held) => held,
        Err(answer) => return answer,
    };
    if !held.is_by_the_same(wanted) {
        return Answer::Taken(Box::new(held.clone()));
    }
    // A Job that ran, was suspended and is let go again would run twice; one request that comes twice would not.
    if !released || (held.used.starts && held.used.generation == wanted.generation) {
        return Answer::Free;
    }
    if held.used.starts {
        return Answer::Taken(Box::new(held.clone()));
    }
    let wanted = Use { entry: start.to_owned(), ..wanted.clone() };
    match self::held(known, &wanted, dry_run) {
        Ok(held) if held.used == wanted => Answer::Free,
        Ok(held) => Answer::Taken(Box::new(held.clone())),
        Err(answer) => answer,
    }
}

fn held<'k>(known: &'k Known, wanted: &Use, dry_run: bool) -> Result<&'k UseRecord, Answer> {
    match known.holder(wanted) {
        None => Err(Answer::Ask(Box::new(wanted.clone()))),
        Some(Err(why)) => Err(Answer::Unknown(why.clone())),
        Some(Ok(Some(held))) => Ok(held),
        Some(Ok(None)) if dry_run => Err(Answer::Free),
        Some(Ok(None)) => Err(Answer::Unknown("it was not reserved".to_owned())),
    }
}
