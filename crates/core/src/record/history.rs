//! The earlier admissions of one object: the evidence for a rollback.
//!
//! The webhook keeps it in the system namespace, where tenants cannot write, and adds to it only after the admitted
//! object was read back through the API. Which admission permits a rollback is decided in `decide`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    approval::spec_hash::SpecHash,
    record::decision::{ApprovalRecord, ObjectRecord},
};

/// The maximum number of admissions that the history of one object contains. More than any sensible
/// `rollback.revisions`.
pub const MAX_HISTORY: usize = 64;

/// The `version` of a history.
pub const HISTORY_VERSION: &str = "writgate.dev/history/v1";

/// The admissions of one object that rest on valid approvals, latest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct History {
    version: String,
    admissions: Vec<PastAdmission>,
}

/// One spec with one set of claims, and its latest admission.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PastAdmission {
    /// The time of the latest decision that admitted it.
    pub time: Timestamp,
    /// The id of that decision.
    pub decision: Uuid,
    /// The hash of the admitted spec.
    pub spec_hash: SpecHash,
    /// The object's bound annotations at that time.
    pub claims: BTreeMap<String, String>,
    /// The posture's cluster at that time.
    pub cluster: Option<String>,
    /// The namespace's environment at that time.
    pub environment: String,
    /// The namespace's project at that time.
    pub project: String,
    /// The requester of the approvals.
    pub requested_by: Option<String>,
    /// The approvals that were provided. They were verified at that time.
    pub approvals: Vec<ApprovalRecord>,
    /// The reviewers whose signatures counted. Without them, as in histories of earlier versions, nobody's did.
    #[serde(default)]
    pub counted: Vec<String>,
    /// Whether the request or a signature showed who the requester is, as `separationOfDuties: proven` requires.
    #[serde(default)]
    pub requester_proven: bool,
}

impl Default for History {
    fn default() -> Self {
        Self { version: HISTORY_VERSION.to_owned(), admissions: Vec::new() }
    }
}

impl History {
    /// Parses the output of [`History::to_json`].
    ///
    /// # Errors
    ///
    /// It is not a history of this version. The text says why.
    pub fn parse(text: &str) -> Result<Self, String> {
        let history: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if history.version != HISTORY_VERSION {
            return Err(format!("its version is {:?}, expected {HISTORY_VERSION:?}", history.version));
        }
        Ok(history)
    }

    /// The JSON text that the ledger stores.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::json!({"version": self.version, "admissions": self.admissions}).to_string()
    }

    /// The admissions, latest first.
    #[must_use]
    pub fn admissions(&self) -> &[PastAdmission] {
        &self.admissions
    }

    /// Adds an admission. It replaces an earlier admission of the same spec with the same claims.
    pub fn note(&mut self, admission: PastAdmission) {
        self.admissions.retain(|known| !known.is_again(&admission));
        self.admissions.push(admission);
        // Two replicas may note admissions in another order than they decided them.
        self.admissions.sort_by_key(|known| std::cmp::Reverse(known.time));
        self.admissions.truncate(MAX_HISTORY);
    }

    /// Drops the oldest admission. Returns `false`, and drops nothing, if only one is left.
    pub fn forget_oldest(&mut self) -> bool {
        self.admissions.len() > 1 && self.admissions.pop().is_some()
    }
}

impl PastAdmission {
    fn is_again(&self, other: &Self) -> bool {
        self.spec_hash == other.spec_hash
            && self.claims == other.claims
            && (&self.cluster, &self.environment, &self.project) == (&other.cluster, &other.environment, &other.project)
    }
}

/// An admission to add to an object's history once the object was seen in the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryNote {
    /// The object, identified by kind, namespace and name.
    pub object: ObjectRecord,
    /// The admission.
    pub admission: PastAdmission,
}
