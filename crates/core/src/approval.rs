//! The approval: the statement, its envelope, the keys that sign it and the spec hash that it names.

pub(crate) mod action;
pub(crate) mod capability;
pub(crate) mod detached;
pub(crate) mod envelope;
pub(crate) mod key;
pub(crate) mod projection;
pub(crate) mod spec_difference;
pub(crate) mod spec_hash;
pub(crate) mod statement;

pub use action::Action;
pub use capability::{Capability, CapabilityError, Grant};
pub use detached::{DetachedApproval, DetachedQuery, claims_to_cover};
pub use envelope::{Envelope, MAX_ENVELOPE, MAX_SIGNATURES, PAYLOAD_TYPE};
pub use key::{KeyError, KeyId, KeyIdError, PublicKey};
pub use projection::{Coverage, PROJECTION};
pub use spec_hash::{
    ManifestHashError, SpecHash, SpecHashError, manifest_hash, manifest_hash_as, projected, spec_hash,
};
pub use statement::{Approval, MAX_CAPABILITIES, MAX_SUBJECTS, PREDICATE_TYPE, Replay, STATEMENT_TYPE, Subject};
