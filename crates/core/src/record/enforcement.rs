//! How strictly a posture is enforced, and how durably its decisions are recorded. Records and postures share both.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a failed check does to the request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Enforcement {
    /// It is denied.
    #[default]
    Enforce,
    /// It is admitted, and the user is warned.
    Warn,
    /// It is admitted, and only the record says that it would have been denied.
    Audit,
}

impl Enforcement {
    /// `enforce`, `warn` or `audit`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Warn => "warn",
            Self::Audit => "audit",
        }
    }
}

/// What an admission owes to its record, beside the log's line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Durability {
    /// Nothing: Events and checkpoints follow when they can.
    #[default]
    BestEffort,
    /// The ledger keeps it before the answer: no record, no admission.
    Required,
}
