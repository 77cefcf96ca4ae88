//! What decisions ask to be looked up, and where it is found; and where a record is kept that must be.
//!
//! Called by `admission`, between two rounds of one decision or behind the last, and only for requests whose posture asks
//! for what costs the API server something.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::review::approval_reader::ApprovalReader;
use crate::review::config_map_reader::ConfigMapReader;
use crate::review::guard_reader::GuardReader;
use crate::review::namespace_reader::NamespaceReader;
use crate::state::approvals::ApprovalStore;
use crate::trail::ledger::Ledger;
use jiff::Timestamp;
use writgate_core::{
    approval::{DetachedApproval, DetachedQuery},
    decide::{Known, Use, UseRecord, Want},
    posture::PostureSet,
    record::{DecisionRecord, History, ObjectRecord},
    request::Request,
};

const NO_CLUSTER: &str = "this webhook has no cluster to ask";

/// Where approvals beside objects are.
#[derive(Default)]
pub enum Beside {
    /// Among the ConfigMaps of the posture folder.
    #[default]
    Folder,
    /// In the cluster: as they were seen, and as they are.
    Cluster {
        /// What a watch has told.
        kept: ApprovalStore,
        /// What is there now.
        live: ApprovalReader,
    },
    /// Nowhere: they are not looked for.
    Nowhere,
}

impl Beside {
    fn kept(&self, namespace: &str, query: &DetachedQuery, postures: &PostureSet) -> Vec<DetachedApproval> {
        match self {
            Self::Folder => postures.detached_approvals(namespace).collect(),
            Self::Cluster { kept, .. } => kept.find(namespace, query),
            Self::Nowhere => Vec::new(),
        }
    }

    async fn live(
        &self,
        namespace: &str,
        query: &DetachedQuery,
        postures: &PostureSet,
    ) -> Result<Vec<DetachedApproval>, String> {
        match self {
            Self::Cluster { live, .. } => live.read(namespace, query).await,
            _ => Ok(self.kept(namespace, query, postures)),
        }
    }
}

/// Where to look.
#[derive(Default)]
pub struct Lookups {
    /// Namespaces that the cache does not know; none without a cluster.
    pub namespaces: Option<NamespaceReader>,
    ledger: Option<Ledger>,
    config_maps: Option<ConfigMapReader>,
    /// What guards ask; none without a cluster.
    guards: Option<GuardReader>,
    approvals: Beside,
    /// Without a cluster: uses that this process knows of, for as long as it runs.
    uses: Mutex<HashMap<String, UseRecord>>,
}

impl Lookups {
    /// Where namespaces are read by `namespaces`.
    #[must_use]
    pub fn new(namespaces: Option<NamespaceReader>) -> Self {
        Self { namespaces, ..Self::default() }
    }

    /// With uses and histories in `ledger`, if there is one.
    #[must_use]
    pub fn with_ledger(self, ledger: Option<Ledger>) -> Self {
        Self { ledger, ..self }
    }

    /// With the ConfigMaps of workloads read by `reader`, if there is one.
    #[must_use]
    pub fn with_config_maps(self, reader: Option<ConfigMapReader>) -> Self {
        Self { config_maps: reader, ..self }
    }

    /// With answers for guards.
    #[must_use]
    pub fn with_guards(self, guards: Option<GuardReader>) -> Self {
        Self { guards, ..self }
    }

    /// With approvals beside objects looked for there.
    #[must_use]
    pub fn with_approvals(self, approvals: Beside) -> Self {
        Self { approvals, ..self }
    }

    /// Finds out what `wants` ask for, for a request that is decided at `now` by `postures`.
    pub async fn answer(
        &self,
        wants: Vec<Want>,
        request: &Request<'_>,
        now: Timestamp,
        postures: &PostureSet,
        known: &mut Known,
    ) {
        let mut config_maps = Vec::new();
        for want in wants {
            match want {
                Want::Use(wanted) => known.learn_use(&wanted, self.use_of(&wanted, request.dry_run, now).await),
                Want::History(object) => known.learn_history(self.history_of(&object).await),
                Want::ConfigMap(name) => config_maps.push(name),
                Want::KeptApprovals(query) => {
                    known.learn_kept_approvals(self.approvals.kept(&request.namespace, &query, postures));
                }
                Want::LiveApprovals(query) => {
                    known.learn_live_approvals(self.approvals.live(&request.namespace, &query, postures).await);
                }
                Want::Govern(name) => known.learn_may_govern(match &self.guards {
                    Some(guards) => guards.may_govern(&request.user, &name).await,
                    None => Err(NO_CLUSTER.to_owned()),
                }),
                Want::Documents => known.learn_documents(match &self.guards {
                    Some(guards) => guards.documents().await,
                    None => Err(NO_CLUSTER.to_owned()),
                }),
            }
        }
        if !config_maps.is_empty() {
            self.read_config_maps(&request.namespace, &config_maps, postures, known).await;
        }
    }

    /// Keeps the sealed record of an admission in the ledger. The error says why it is not there.
    pub async fn keep(&self, record: &DecisionRecord) -> Result<(), String> {
        match &self.ledger {
            Some(ledger) => ledger.keep(record).await,
            None => Err("this webhook has no cluster, and so no ledger".to_owned()),
        }
    }

    /// All at once, since together they have the time of one.
    async fn read_config_maps(&self, namespace: &str, names: &[String], postures: &PostureSet, known: &mut Known) {
        if let Some(reader) = &self.config_maps {
            for (name, read) in names.iter().zip(reader.read(namespace, names).await) {
                known.learn_config_map(name, read);
            }
            return;
        }
        for name in names {
            let found = postures.config_map(namespace, name).unwrap_or(Err("it is not in the posture folder"));
            known.learn_config_map(name, found.map(|content| Some(content.clone())).map_err(str::to_owned));
        }
    }

    async fn history_of(&self, object: &ObjectRecord) -> Result<History, String> {
        match &self.ledger {
            Some(ledger) => ledger.history(object).await,
            // Without a cluster nothing is ever seen to be persisted.
            None => Ok(History::default()),
        }
    }

    async fn use_of(&self, wanted: &Use, dry_run: bool, now: Timestamp) -> Result<Option<UseRecord>, String> {
        if let Some(ledger) = &self.ledger {
            return ledger.use_of(wanted, dry_run, now).await;
        }
        let mut uses = self.uses.lock().unwrap_or_else(PoisonError::into_inner);
        if dry_run {
            return Ok(uses.get(&wanted.entry).cloned());
        }
        Ok(Some(uses.entry(wanted.entry.clone()).or_insert_with(|| UseRecord::new(wanted.clone(), now)).clone()))
    }
}
