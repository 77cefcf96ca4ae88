//! What a request would do.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a request would do, as an approval, a posture and a record name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Something new would run in the environment.
    Deploy,
    /// A Job would run a pipeline over incident data, with effects.
    ReplayExecute,
    /// A Job would run a pipeline over incident data under the closed dry-run contract.
    ReplayDryRun,
}

impl Action {
    /// Every action, in the order of this enum.
    pub const ALL: [Self; 3] = [Self::Deploy, Self::ReplayExecute, Self::ReplayDryRun];

    /// `deploy`, `replay-execute` or `replay-dry-run`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deploy => "deploy",
            Self::ReplayExecute => "replay-execute",
            Self::ReplayDryRun => "replay-dry-run",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
