//! The actions that require an approval.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a request would do. Approvals, postures and records use the same names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// The environment would run something that it does not run yet.
    Deploy,
    /// A Job would run a pipeline again with the data of an incident, with effects.
    ReplayExecute,
    /// A Job would run a pipeline again with the data of an incident, within the posture's dry-run contract.
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
