//! What an approval is for, what it states, and what the posture decides about it.

pub(crate) mod assessment;
pub(crate) mod decider;
pub(crate) mod draft;
pub(crate) mod fleet;
pub(crate) mod origin;
pub(crate) mod proposal;
pub(crate) mod request_state;
pub(crate) mod required_capabilities;
pub(crate) mod search;
pub(crate) mod signatures;
pub(crate) mod statement;
