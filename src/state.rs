//! What the webhook knows before it is asked: postures, namespaces, detached approvals and the number of posted
//! requests, and what keeps them current.

pub mod approvals;
pub mod documents;
pub mod folder;
pub mod metadata_only;
pub mod namespaces;
pub mod requests;
pub mod store;
pub mod watch;
