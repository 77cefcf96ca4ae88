//! The approval: the statement, its envelope, the keys that sign it and the spec hash that it names.

pub(crate) mod action;
pub(crate) mod capability;
pub(crate) mod detached;
pub(crate) mod difference;
pub(crate) mod envelope;
pub(crate) mod key;
pub(crate) mod spec_hash;
pub(crate) mod statement;
