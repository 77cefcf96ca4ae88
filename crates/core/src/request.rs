//! The request that the API server asks about: parsing it, and finding what it would change.

pub(crate) mod admission_review;
pub(crate) mod adoption;
pub(crate) mod change;
pub(crate) mod claimed_initiator;
pub(crate) mod connection;
pub(crate) mod equal_json;
pub(crate) mod exempt;
pub(crate) mod record;
pub(crate) mod replicas;
mod rule_input;

pub use admission_review::{
    GroupVersionKind, MalformedReview, Metadata, Object, Operation, Request, StringMap, User, WritgateEntries,
};
pub use exempt::{ExemptController, ExemptControllerError, ExemptControllers};
