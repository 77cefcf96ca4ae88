//! What writgate decides, and why.
//!
//! Pure: no I/O, no clock, no async. Everything that can change an answer is an argument.

mod action;
mod canonical;
mod review;
mod spec_hash;
mod workload;

pub use action::Action;
pub use canonical::CanonicalError;
pub use review::{
    Entries, GroupVersionKind, MalformedReview, Metadata, Object, Operation, OwnEntries, Request, Review, Text, User,
};
pub use spec_hash::{PROJECTION, SpecHash, SpecHashError, spec_hash};
pub use workload::WorkloadKind;
