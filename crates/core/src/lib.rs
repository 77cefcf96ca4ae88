//! What writgate decides, and why.
//!
//! Pure: no I/O, no clock, no async. Everything that can change an answer is an argument.

mod action;
mod approval;
mod approvals;
mod bundle;
mod candidate;
mod canonical;
mod capability;
mod chain;
mod change;
mod connect;
mod decide;
mod decision;
mod defaults;
mod denial;
mod detached;
mod difference;
mod dry_run;
mod eligibility;
mod envelope;
mod exempt;
mod facts;
mod guard;
mod hex;
mod history;
mod image;
mod key;
mod pod_spec;
mod position;
mod posture;
mod posture_set;
mod provenance;
mod quantity;
mod quorum;
mod review;
mod rollback;
mod rule;
mod single_use;
mod spec_hash;
mod strict;
mod time;
mod workload;
mod yaml;

pub use action::Action;
pub use approval::{Approval, MAX_CAPABILITIES, MAX_SUBJECTS, PREDICATE_TYPE, Replay, STATEMENT_TYPE, Subject};
pub use bundle::{BUNDLE_KIND, KIND_LABEL, bundle_name, check_bundle, content_digest};
pub use canonical::CanonicalError;
pub use capability::{Capability, CapabilityError, Grant};
pub use chain::{
    CHAIN_VERSION, Chain, ChainFinding, ChainReport, ChainSummary, ChainVerifier, Checked, Checkpoint, CheckpointHead,
    Claims, Fed, Head, Link, Linked, Place, RECORD_PAYLOAD_TYPE, RecordDigest, RecordSignature, Sealable, StartLink,
};
pub use connect::Connection;
pub use decide::{Governance, decide, decide_malformed};
pub use decision::{
    ApprovalRecord, Basis, Decision, DecisionRecord, Initiator, ObjectRecord, Outcome, RECORD_VERSION, RuleRecord,
};
pub use defaults::{DefaultError, default_forward};
pub use denial::{Claim, Denial, REASONS, is_about_approval};
pub use detached::{APPROVAL_KEY, APPROVAL_KIND, APPROVAL_REF, DetachedApproval, DetachedQuery, claims_to_cover};
pub use eligibility::Eligibility;
pub use envelope::{Envelope, MAX_ENVELOPE, MAX_SIGNATURES, PAYLOAD_TYPE};
pub use exempt::{ExemptController, ExemptControllerError, ExemptControllers};
pub use facts::{ConfigMapContent, Facts, Known, MAX_ROUNDS, Want};
pub use guard::{Ground, guard};
pub use history::{HISTORY_VERSION, History, HistoryNote, MAX_HISTORY, PastAdmission};
pub use image::ImagePatterns;
pub use key::{KeyError, KeyId, KeyIdError, PublicKey};
pub use posture::{
    ActionRule, ApprovalRule, BreakGlassRule, Build, ConfigRule, ConnectRule, DryRunContract, Durability, Enforcement,
    ImageRule, PodRule, Posture, QuorumEntry, ReplayRule, Reviewer, ReviewerKey, Revocation, Revocations, RollbackRule,
    SeparationOfDuties, WorkloadRule, document_schemas,
};
pub use posture_set::{Document, PostureError, PostureProblem, PostureSet, UnreachableQuorum};
pub use quantity::QuantityError;
pub use quorum::in_words as quorum_in_words;
pub use review::{
    Entries, GroupVersionKind, MalformedReview, Metadata, Object, Operation, OwnEntries, Request, Review, Text, User,
};
pub use rule::CapabilityRule;
pub use single_use::{USE_VERSION, Use, UseRecord};
pub use spec_hash::{
    ManifestHashError, PROJECTION, SpecHash, SpecHashError, manifest_hash, manifest_hash_as, projected, spec_hash,
};
pub use time::{DurationError, TimeError, parse_duration, parse_time};
pub use workload::{FurtherKind, FurtherKindError, WorkloadKind, WorkloadKinds};
pub use yaml::{YamlError, read_yaml};
