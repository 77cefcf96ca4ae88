//! Looks up what a decision asks for, and stores the records that a posture requires to be stored.
//!
//! Only requests whose posture requires a lookup come here; an ordinary admission costs the API server nothing.

use std::collections::{BTreeMap, HashMap};
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
    decide::{ConfigMapAnswer, HolderAnswer, Pending, Step, Use, UseRecord},
    posture::PostureSet,
    record::{Decision, DecisionRecord, History, ObjectRecord},
    request::Request,
};

const NO_CLUSTER: &str = "this webhook has no cluster to ask";

/// Where approvals beside objects are.
#[derive(Default)]
pub enum DetachedSource {
    /// Among the ConfigMaps of the posture folder.
    #[default]
    Folder,
    /// In the cluster: as they were seen, and as they are.
    Cluster {
        /// What a watch has told.
        cached: ApprovalStore,
        /// What is there now.
        live: ApprovalReader,
    },
    /// Nowhere: they are not looked for.
    Nowhere,
}

impl DetachedSource {
    fn cached(&self, namespace: &str, query: &DetachedQuery, postures: &PostureSet) -> Vec<DetachedApproval> {
        match self {
            Self::Folder => postures.detached_approvals(namespace).collect(),
            Self::Cluster { cached, .. } => cached.find(namespace, query),
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
            _ => Ok(self.cached(namespace, query, postures)),
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
    approvals: DetachedSource,
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
    pub fn with_approvals(self, approvals: DetachedSource) -> Self {
        Self { approvals, ..self }
    }

    /// Looks up what the decision of `request` depends on, until it is made. `now` and `postures` are those with which it
    /// was started.
    pub async fn finish(
        &self,
        mut step: Step<'_>,
        request: &Request<'_>,
        now: Timestamp,
        postures: &PostureSet,
    ) -> Decision {
        loop {
            step = match step {
                Step::Done(decision) => return *decision,
                // Boxed: the futures that wait for the API server are large, and most requests never wait.
                Step::Ask(pending) => Box::pin(self.answer(pending, request, now, postures)).await,
            }
        }
    }

    async fn answer<'a>(
        &self,
        pending: Pending<'a>,
        request: &Request<'_>,
        now: Timestamp,
        postures: &PostureSet,
    ) -> Step<'a> {
        let namespace = &*request.namespace;
        match pending {
            Pending::CachedApprovals(lookup) => {
                let found = self.approvals.cached(namespace, lookup.asked(), postures);
                lookup.answer(found)
            }
            Pending::LiveApprovals(lookup) => {
                let found = self.approvals.live(namespace, lookup.asked(), postures).await;
                lookup.answer(found)
            }
            Pending::ConfigMaps(lookup) => {
                let found = self.config_maps(namespace, lookup.asked(), postures).await;
                lookup.answer(found)
            }
            Pending::Use(lookup) => {
                let holder = self.use_of(lookup.asked(), request.dry_run, now).await;
                lookup.answer(holder)
            }
            Pending::History(lookup) => {
                let history = self.history_of(lookup.asked()).await;
                lookup.answer(history)
            }
            Pending::MayGovern(lookup) => {
                let may_govern = match &self.guards {
                    Some(guards) => guards.may_govern(&request.user, lookup.asked()).await,
                    None => Err(NO_CLUSTER.to_owned()),
                };
                lookup.answer(may_govern)
            }
            Pending::Documents(lookup) => lookup.answer(match &self.guards {
                Some(guards) => guards.documents().await,
                None => Err(NO_CLUSTER.to_owned()),
            }),
        }
    }

    /// Keeps the sealed record of an admission in the ledger. The error says why it is not there.
    pub async fn store_record(&self, record: &DecisionRecord) -> Result<(), String> {
        match &self.ledger {
            Some(ledger) => ledger.store_record(record).await,
            None => Err("this webhook has no cluster, and so no ledger".to_owned()),
        }
    }

    /// Reads all at once, since together they have the time of one.
    async fn config_maps(
        &self,
        namespace: &str,
        names: &[String],
        postures: &PostureSet,
    ) -> BTreeMap<String, ConfigMapAnswer> {
        let found: Vec<ConfigMapAnswer> = match &self.config_maps {
            Some(reader) => reader.read(namespace, names).await,
            None => names.iter().map(|name| in_folder(postures, namespace, name)).collect(),
        };
        names.iter().cloned().zip(found).collect()
    }

    async fn history_of(&self, object: &ObjectRecord) -> Result<History, String> {
        match &self.ledger {
            Some(ledger) => ledger.history(object).await,
            // Without a cluster nothing is ever seen to be persisted.
            None => Ok(History::default()),
        }
    }

    async fn use_of(&self, wanted: &Use, dry_run: bool, now: Timestamp) -> HolderAnswer {
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

fn in_folder(postures: &PostureSet, namespace: &str, name: &str) -> ConfigMapAnswer {
    let found = postures.config_map(namespace, name).unwrap_or(Err("it is not in the posture folder"));
    found.map(|content| Some(content.clone())).map_err(str::to_owned)
}
