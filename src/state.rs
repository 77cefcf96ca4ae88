//! What the webhook knows before it is asked: postures, namespaces and detached approvals, and what keeps them current.

pub mod approvals;
pub mod documents;
pub mod folder;
pub mod namespaces;
pub mod store;
pub mod watch;
