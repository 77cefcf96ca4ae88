//! The approval: the request for it, the statement, its envelope, the keys that sign it and the spec hash that it names.
//! The rejection: the statement of a reviewer who refuses a request.

pub(crate) mod action;
pub(crate) mod capability;
pub(crate) mod detached;
pub(crate) mod envelope;
pub(crate) mod key;
pub(crate) mod posted_request;
pub(crate) mod projection;
pub(crate) mod rejection;
pub(crate) mod request_file;
pub(crate) mod spec_difference;
pub(crate) mod spec_hash;
pub(crate) mod statement;

pub use action::Action;
pub use capability::{Capability, CapabilityError, Grant};
pub use detached::{DetachedApproval, DetachedQuery, claims_to_cover};
pub use envelope::{Envelope, MAX_ENVELOPE, MAX_SIGNATURES, PAYLOAD_TYPE};
pub use key::{KeyError, KeyId, KeyIdError, PublicKey};
pub use posted_request::{MAX_REQUEST, PostedRequest, REQUEST_LIFETIME, RequestDigest};
pub use projection::{Coverage, PROJECTION};
pub use rejection::{REJECTION_PREDICATE_TYPE, Rejection};
pub use request_file::{
    REQUEST_FILE_API_VERSION, REQUEST_FILE_KIND, RequestFile, RequestFileError, RequestedWorkload, RequiredCapability,
};
pub use spec_hash::{
    ManifestHashError, SpecHash, SpecHashError, manifest_hash, manifest_hash_as, projected, spec_hash,
};
pub use statement::{Approval, MAX_CAPABILITIES, MAX_SUBJECTS, PREDICATE_TYPE, Replay, STATEMENT_TYPE, Subject};
