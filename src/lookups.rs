//! What decisions ask to be looked up, and where it is found.
//!
//! Called by `admission`, between two rounds of one decision, and only for requests whose posture asks for what
//! costs a lookup.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::namespace_reader::NamespaceReader;
use jiff::Timestamp;
use writgate_core::{History, Known, Request, Use, UseRecord, Want};

/// Where to look.
#[derive(Default)]
pub struct Lookups {
    /// Namespaces that the cache does not know; none without a cluster.
    pub namespaces: Option<NamespaceReader>,
    /// Uses that this process knows of.
    uses: Mutex<HashMap<String, UseRecord>>,
}

impl Lookups {
    /// Where namespaces are read by `namespaces`.
    #[must_use]
    pub fn new(namespaces: Option<NamespaceReader>) -> Self {
        Self { namespaces, ..Self::default() }
    }

    /// Finds out what `wants` ask for, for a request that is decided at `now`.
    pub async fn answer(&self, wants: Vec<Want>, request: &Request<'_>, now: Timestamp, known: &mut Known) {
        for want in wants {
            match want {
                Want::Use(wanted) => known.learn_use(&wanted, Ok(self.use_of(&wanted, request.dry_run, now))),
                Want::History(_) => known.learn_history(Ok(History::default())),
                Want::ConfigMap(name) => {
                    known.learn_config_map(&name, Err("this webhook has no cluster to read it from".to_owned()));
                }
            }
        }
    }

    fn use_of(&self, wanted: &Use, dry_run: bool, now: Timestamp) -> Option<UseRecord> {
        let mut uses = self.uses.lock().unwrap_or_else(PoisonError::into_inner);
        if dry_run {
            return uses.get(&wanted.entry).cloned();
        }
        Some(uses.entry(wanted.entry.clone()).or_insert_with(|| UseRecord::new(wanted.clone(), now)).clone())
    }
}
