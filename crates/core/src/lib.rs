//! What writgate decides, and why.
//!
//! Pure: no I/O, no clock, no async. Everything that can change an answer is an argument.

mod approval;
mod decide;
mod encoding;
mod guard;
mod kube;
mod posture;
mod record;
mod request;
pub mod vocabulary;

pub use approval::action::Action;
pub use approval::capability::{Capability, CapabilityError, Grant};
pub use approval::detached::{DetachedApproval, DetachedQuery, claims_to_cover};
pub use approval::envelope::{Envelope, MAX_ENVELOPE, MAX_SIGNATURES, PAYLOAD_TYPE};
pub use approval::key::{KeyError, KeyId, KeyIdError, PublicKey};
pub use approval::spec_hash::{
    ManifestHashError, PROJECTION, SpecHash, SpecHashError, manifest_hash, manifest_hash_as, projected, spec_hash,
};
pub use approval::statement::{
    Approval, MAX_CAPABILITIES, MAX_SUBJECTS, PREDICATE_TYPE, Replay, STATEMENT_TYPE, Subject,
};
pub use decide::driver::{Governance, decide, decide_malformed};
pub use decide::eligibility::Eligibility;
pub use decide::facts::{ConfigMapContent, Facts, Known, MAX_ROUNDS, Want};
pub use decide::single_use::{USE_VERSION, Use, UseRecord};
pub use encoding::borrowed::BorrowedText;
pub use encoding::canonical::CanonicalError;
pub use encoding::time::{DurationError, TimeError, parse_duration, parse_time};
pub use encoding::yaml::{YamlError, read_yaml};
pub use guard::{Ground, guard};
pub use kube::bundle::{bundle_name, check_bundle, content_digest};
pub use kube::defaults::{DefaultError, default_forward};
pub use kube::image::ImagePatterns;
pub use kube::quantity::QuantityError;
pub use kube::workload::{FurtherKind, FurtherKindError, WorkloadKind, WorkloadKinds};
pub use posture::quorum::in_words as quorum_in_words;
pub use posture::rule::CapabilityRule;
pub use posture::set::{Document, PostureError, PostureProblem, PostureSet, UnreachableQuorum};
pub use posture::{
    ActionRule, ApprovalRule, BreakGlassRule, Build, ConfigRule, ConnectRule, DryRunContract, Durability, Enforcement,
    ImageRule, PodRule, Posture, QuorumEntry, ReplayRule, Reviewer, ReviewerKey, Revocation, Revocations, RollbackRule,
    SeparationOfDuties, WorkloadRule, document_schemas,
};
pub use record::chain::{
    CHAIN_VERSION, Chain, ChainFinding, ChainReport, ChainSummary, ChainVerifier, Checked, Checkpoint, CheckpointHead,
    Claims, Fed, Head, Link, Linked, Place, RECORD_PAYLOAD_TYPE, RecordDigest, RecordSignature, Sealable, StartLink,
};
pub use record::connection::Connection;
pub use record::decision::{
    ApprovalRecord, Basis, Decision, DecisionRecord, Initiator, ObjectRecord, Outcome, RECORD_VERSION, RuleRecord,
};
pub use record::denial::{Claim, Denial, REASONS, is_about_approval};
pub use record::history::{HISTORY_VERSION, History, HistoryNote, MAX_HISTORY, PastAdmission};
pub use request::exempt::{ExemptController, ExemptControllerError, ExemptControllers};
pub use request::review::{
    Entries, GroupVersionKind, MalformedReview, Metadata, Object, Operation, OwnEntries, Request, Review, User,
};
pub use vocabulary::{APPROVAL_KEY, APPROVAL_KIND, APPROVAL_REF, BUNDLE_KIND, KIND_LABEL};
