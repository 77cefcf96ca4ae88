//! The decision itself: from a request, a posture and a time to a verdict.

pub(crate) mod approvals;
pub(crate) mod candidate;
pub(crate) mod driver;
pub(crate) mod dry_run;
pub(crate) mod eligibility;
pub(crate) mod evidence;
pub(crate) mod facts;
pub(crate) mod provenance;
pub(crate) mod rollback;
pub(crate) mod single_use;

pub use driver::{Governance, decide, decide_malformed};
pub use eligibility::Eligibility;
pub use facts::{Facts, Known, MAX_ROUNDS, Want};
pub use single_use::{USE_VERSION, Use, UseRecord};
