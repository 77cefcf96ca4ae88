//! Looks up what a decision asks for, and stores the records that a posture requires to be stored.
//!
//! Only requests whose posture requires a lookup come here; an ordinary admission costs the API server nothing.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use crate::canary;
use crate::review::approval_reader::ApprovalReader;
use crate::review::config_map_reader::ConfigMapReader;
use crate::review::guard_reader::GuardReader;
use crate::review::namespace_reader::NamespaceReader;
use crate::review::workload_reader::WorkloadReader;
use crate::state::approvals::ApprovalStore;
use crate::trail::ledger::Ledger;
use jiff::Timestamp;
use writgate_core::{
    approval::{DetachedApproval, DetachedQuery},
    decide::{ConfigMapAnswer, HolderAnswer, Pending, ScaledWorkload, Step, Use, UseRecord},
    posture::PostureSet,
    record::{Decision, DecisionRecord, History, ObjectRecord},
    request::Request,
};

const NO_CLUSTER: &str = "this webhook has no cluster";

/// Where detached approvals are read.
#[derive(Default)]
pub enum DetachedSource {
    /// From the ConfigMaps in the posture folder.
    #[default]
    Folder,
    /// From the cluster: first cached, then live.
    Cluster {
        /// The approvals that a watch has reported.
        cached: ApprovalStore,
        /// The reader of approvals as they are now.
        live: Box<ApprovalReader>,
    },
    /// Nowhere: detached approvals are turned off.
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

/// The sources of all lookups. Without a cluster, most of them are absent.
#[derive(Default)]
pub struct Lookups {
    /// Reads namespaces that are not cached as governed.
    pub namespaces: Option<NamespaceReader>,
    ledger: Option<Ledger>,
    config_maps: Option<ConfigMapReader>,
    workloads: Option<WorkloadReader>,
    /// Answers the lookups of guards.
    guards: Option<GuardReader>,
    approvals: DetachedSource,
    /// Without a cluster, the uses of single-use approvals since the process started.
    uses: Mutex<HashMap<String, UseRecord>>,
}

impl Lookups {
    /// Lookups that read namespaces with `namespaces`.
    #[must_use]
    pub fn new(namespaces: Option<NamespaceReader>) -> Self {
        Self { namespaces, ..Self::default() }
    }

    /// Adds the ledger of uses and histories.
    #[must_use]
    pub fn with_ledger(self, ledger: Option<Ledger>) -> Self {
        Self { ledger, ..self }
    }

    /// Adds the reader of the ConfigMaps that workloads refer to.
    #[must_use]
    pub fn with_config_maps(self, reader: Option<ConfigMapReader>) -> Self {
        Self { config_maps: reader, ..self }
    }

    /// Adds the reader of the workloads that requests to `scale` would wake up.
    #[must_use]
    pub fn with_workloads(self, reader: Option<WorkloadReader>) -> Self {
        Self { workloads: reader, ..self }
    }

    /// Adds the reader for guards.
    #[must_use]
    pub fn with_guards(self, guards: Option<GuardReader>) -> Self {
        Self { guards, ..self }
    }

    /// Adds the source of detached approvals.
    #[must_use]
    pub fn with_approvals(self, approvals: DetachedSource) -> Self {
        Self { approvals, ..self }
    }

    /// Answers the lookups of a decision until it is made. `now` and `postures` must be those with which it was started.
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
                Some(guards) => guards.documents(postures).await,
                None => Err(NO_CLUSTER.to_owned()),
            }),
        }
    }

    /// The workload as it is now, as JSON. The error says why it could not be read.
    pub async fn scaled_workload(&self, workload: &ScaledWorkload) -> Result<String, String> {
        match &self.workloads {
            Some(reader) => reader.read(workload).await,
            None => Err(NO_CLUSTER.to_owned()),
        }
    }

    /// Stores the signed record of an admission in the ledger. The error says why it may not be there.
    pub async fn store_record(&self, record: &DecisionRecord) -> Result<(), String> {
        match &self.ledger {
            Some(ledger) => ledger.store_record(record).await,
            None => Err("this webhook has no cluster, and therefore no ledger".to_owned()),
        }
    }

    /// What proves to the canary that this installation denied it, if there is a ledger with a key.
    pub(crate) async fn canary_mac(&self, nonce: &str) -> Option<String> {
        self.ledger.as_ref()?.event_mac(&canary::mac_subject(nonce)).await.ok()
    }

    /// Reads all ConfigMaps concurrently, because together they have the time of one lookup.
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
            // Without a cluster, no admission is ever confirmed, so there is no history.
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
