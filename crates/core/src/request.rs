//! The request that the API server asks about: parsing it, and finding what it would change.

pub(crate) mod change;
pub(crate) mod connection;
pub(crate) mod exempt;
pub(crate) mod record;
pub(crate) mod review;

pub use exempt::{ExemptController, ExemptControllerError, ExemptControllers};
pub use review::{
    GroupVersionKind, MalformedReview, Metadata, Object, Operation, Request, StringMap, User, WritgateEntries,
};
