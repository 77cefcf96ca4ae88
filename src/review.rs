//! One review, from its bytes to its answer, and what has to be looked up for it.

pub mod admission;
pub mod approval_reader;
pub mod config_map_reader;
pub mod guard_reader;
pub mod lookups;
pub mod namespace_reader;
