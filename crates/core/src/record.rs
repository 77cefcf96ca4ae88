//! What is recorded of a decision: the reasons, the record, its chain and the history of admissions.

pub(crate) mod chain;
pub(crate) mod claimed_initiator;
pub(crate) mod connection;
pub(crate) mod decision;
pub(crate) mod denial;
pub(crate) mod enforcement;
pub(crate) mod history;
pub(crate) mod line;
pub(crate) mod reasons;

pub use chain::{
    CHAIN_VERSION, Chain, ChainFinding, ChainPosition, ChainReport, ChainSummary, ChainVerifier, CheckedLine,
    Checkpoint, CheckpointHead, Fork, Head, LineOutcome, Link, RECORD_PAYLOAD_TYPE, RecordDigest, RecordSignature,
    SEAL_PAYLOAD_TYPE, SEAL_VERSION, Seal, Sealable, Settled, Settlement, StartLink, UnplacedRecord, UnsealedLine,
    VerifiedLine, VerifiedRecord,
};
pub use claimed_initiator::ClaimedInitiator;
pub use connection::Connection;
pub use decision::{
    ApprovalRecord, Basis, Decision, DecisionRecord, Initiator, ObjectRecord, Outcome, RECORD_VERSION, RuleRecord,
};
pub use denial::{ClaimMismatch, Denial};
pub use history::{HISTORY_VERSION, History, HistoryNote, MAX_HISTORY, PastAdmission};
pub use line::{ClaimedLine, LogLine, UnverifiedClaims};
pub use reasons::{Reason, ReasonPage};
