//! How strictly a posture is enforced, and how durably its decisions are recorded. Records and postures share both.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a failed check does to the request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Enforcement {
    /// The request is denied.
    #[default]
    Enforce,
    /// The request is admitted, and the user gets a warning.
    Warn,
    /// The request is admitted. Only the record says that it would have been denied.
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

/// When an admission's record must be stored, in addition to the line in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Durability {
    /// After the response, as soon as possible.
    #[default]
    BestEffort,
    /// Before the response, in the ledger. If that fails, the request is denied.
    Required,
}

impl Durability {
    /// `best-effort` or `required`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BestEffort => "best-effort",
            Self::Required => "required",
        }
    }
}
