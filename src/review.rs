//! One review, from its bytes to its answer, and the lookups that it requires.

pub mod admission;
pub mod approval_reader;
pub mod config_map_reader;
pub mod guard_reader;
pub mod lookups;
pub mod namespace_reader;

use std::time::Duration;

/// How long a lookup on the way to an answer may take, the wait for its turn included: most of the patience of an API server
/// that waits 5 s.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);
