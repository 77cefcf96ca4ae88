//! What is recorded of a decision: the reasons, the record, its chain and the history of admissions.

pub(crate) mod chain;
pub(crate) mod connection;
pub(crate) mod decision;
pub(crate) mod denial;
pub(crate) mod enforcement;
pub(crate) mod history;
