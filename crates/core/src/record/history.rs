//! The earlier admissions of one object: the evidence on which a rollback rests.
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

/// The most admissions that are kept of one object; beyond any sensible `rollback.revisions`.
pub const MAX_HISTORY: usize = 64;

/// The `version` of a history.
pub const HISTORY_VERSION: &str = "writgate.dev/history/v1";

/// What was admitted of one object by valid approvals, latest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct History {
    version: String,
    admissions: Vec<PastAdmission>,
}

/// One spec under one set of claims, and when it was admitted last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PastAdmission {
    /// When it was decided.
    pub time: Timestamp,
    /// The id of that decision.
    pub decision: Uuid,
    /// What ran.
    pub spec_hash: SpecHash,
    /// The annotations that approvals bind, as they were.
    pub claims: BTreeMap<String, String>,
    /// The posture's cluster then.
    pub cluster: Option<String>,
    /// The namespace's environment then.
    pub environment: String,
    /// The namespace's project then.
    pub project: String,
    /// On whose behalf.
    pub requested_by: Option<String>,
    /// The approvals that were given, verified then.
    pub approvals: Vec<ApprovalRecord>,
}

impl Default for History {
    fn default() -> Self {
        Self { version: HISTORY_VERSION.to_owned(), admissions: Vec::new() }
    }
}

impl History {
    /// Reads what [`History::to_json`] wrote; the error says why it is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let history: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if history.version != HISTORY_VERSION {
            return Err(format!("its version is {:?}, expected {HISTORY_VERSION:?}", history.version));
        }
        Ok(history)
    }

    /// As it is kept.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::json!({"version": self.version, "admissions": self.admissions}).to_string()
    }

    /// The admissions, latest first.
    #[must_use]
    pub fn admissions(&self) -> &[PastAdmission] {
        &self.admissions
    }

    /// Adds an admission. The same spec under the same claims takes the place of its earlier one.
    pub fn note(&mut self, admission: PastAdmission) {
        self.admissions.retain(|known| !known.is_again(&admission));
        self.admissions.push(admission);
        // Two replicas may note in another order than they decided.
        self.admissions.sort_by_key(|known| std::cmp::Reverse(known.time));
        self.admissions.truncate(MAX_HISTORY);
    }

    /// Drops the oldest admission; `false` where only one is left.
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

/// What is to be noted of an admission, once its object was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryNote {
    /// The object, known by kind, namespace and name.
    pub object: ObjectRecord,
    /// The admission.
    pub admission: PastAdmission,
}
