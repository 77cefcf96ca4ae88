//! One review, from its bytes to its answer, and the lookups that it requires.

pub mod admission;
pub mod approval_reader;
pub mod config_map_reader;
pub mod guard_reader;
mod list_turns;
pub mod lookups;
pub mod namespace_reader;
pub mod workload_reader;

use std::time::Duration;

/// How long a lookup before the response may take, including the wait for a permit. An API server usually waits 5 s for the
/// response.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);
