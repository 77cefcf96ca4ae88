//! What Writgate decides, and why.
//!
//! Pure: no I/O, no clock, no async. Everything that can change an answer is an argument.
//!
//! Read the modules in this order; a module imports only from those before it: [`vocabulary`], [`text`], [`encoding`],
//! [`kube`], [`approval`], [`record`], [`posture`], [`request`], [`decide`], [`guard`].

pub mod approval;
pub mod decide;
pub mod encoding;
pub mod guard;
pub mod kube;
pub mod posture;
pub mod record;
pub mod request;
pub mod text;
pub mod vocabulary;

pub use approval::{
    Action, Approval, Capability, CapabilityError, DetachedApproval, DetachedQuery, Envelope, Grant, KeyError, KeyId,
    KeyIdError, MAX_CAPABILITIES, MAX_ENVELOPE, MAX_SIGNATURES, MAX_SUBJECTS, ManifestHashError, PAYLOAD_TYPE,
    PREDICATE_TYPE, PROJECTION, PublicKey, Replay, STATEMENT_TYPE, SpecHash, SpecHashError, Subject, claims_to_cover,
    manifest_hash, manifest_hash_as, projected, spec_hash,
};
pub use decide::{
    ConfigMapContent, Eligibility, Facts, Governance, Known, MAX_ROUNDS, USE_VERSION, Use, UseRecord, Want, decide,
    decide_malformed,
};
pub use encoding::{
    BorrowedText, CanonicalError, DurationError, TimeError, YamlError, parse_duration, parse_time, read_yaml,
};
pub use guard::{Ground, guard};
pub use kube::{
    DefaultError, FurtherKind, FurtherKindError, ImagePatterns, QuantityError, WorkloadKind, WorkloadKinds,
    bundle_name, check_bundle, content_digest, default_forward,
};
pub use posture::{
    ActionRule, ApprovalRule, BreakGlassRule, Build, CapabilityRule, ConfigRule, ConnectRule, Document, DryRunContract,
    Durability, Enforcement, ImageRule, PodRule, Posture, PostureError, PostureProblem, PostureSet, QuorumEntry,
    ReplayRule, Reviewer, ReviewerKey, Revocation, Revocations, RollbackRule, SeparationOfDuties, UnreachableQuorum,
    WorkloadRule, document_schemas, quorum_in_words,
};
pub use record::{
    ApprovalRecord, Basis, CHAIN_VERSION, Chain, ChainFinding, ChainReport, ChainSummary, ChainVerifier, Checked,
    Checkpoint, CheckpointHead, Claim, Claims, Connection, Decision, DecisionRecord, Denial, Fed, HISTORY_VERSION,
    Head, History, HistoryNote, Initiator, Link, Linked, MAX_HISTORY, ObjectRecord, Outcome, PastAdmission, Place,
    REASONS, RECORD_PAYLOAD_TYPE, RECORD_VERSION, RecordDigest, RecordSignature, RuleRecord, Sealable, StartLink,
    is_about_approval,
};
pub use request::{
    Entries, ExemptController, ExemptControllerError, ExemptControllers, GroupVersionKind, MalformedReview, Metadata,
    Object, Operation, OwnEntries, Request, Review, User,
};
pub use vocabulary::{APPROVAL_KEY, APPROVAL_KIND, APPROVAL_REF, BUNDLE_KIND, KIND_LABEL};
