//! Decisions about requests that nobody sent, by the rules of the webhook. No approval counts as used, and nothing counts as
//! admitted before.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use kube::Client;
use writgate_cluster::clock;
use writgate_cluster::live::ClaimedApprovals;
use writgate_cluster::namespace::NamespaceLabels;
use writgate_core::{
    approval::{DetachedApproval, DetachedQuery},
    decide::{Answers, ConfigMapAnswer, EmptyCluster, Facts, Governance, HolderAnswer, Use, decide, decide_malformed},
    kube::WorkloadKinds,
    posture::PostureSet,
    record::{Decision, History, ObjectRecord},
    request::{ExemptControllers, Request},
};

use crate::reaudit::Rules;
use crate::review::config_map_reader::ConfigMapReader;

/// How often a decision asks for further ConfigMaps.
const MAX_ROUNDS: usize = 4;

/// What governs a namespace.
#[derive(Clone, Copy)]
pub(crate) struct NamespaceRules<'a> {
    pub(crate) labels: &'a NamespaceLabels,
    pub(crate) postures: &'a PostureSet,
}

/// Decides.
pub(crate) struct Decider {
    pub(crate) rules: Rules,
    kinds: WorkloadKinds,
    config_maps: ConfigMapReader,
}

impl Decider {
    pub(crate) fn new(client: Client, rules: Rules) -> Self {
        let kinds = rules.further.iter().copied().collect();
        // The reader has a limiter of its own.
        Self { config_maps: ConfigMapReader::new(client), kinds, rules }
    }

    /// Decides about a review in a namespace at one time.
    pub(crate) fn decide(
        &self,
        review: &[u8],
        namespace: &NamespaceRules<'_>,
        at: Timestamp,
        answers: &mut ReadAnswers<'_>,
    ) -> Decision {
        let decision_id = clock::decision_id(at);
        let request = match Request::parse_with(review, &self.kinds) {
            Ok(request) => request,
            Err(malformed) => return decide_malformed(&malformed, decision_id, at),
        };
        let environment = namespace.labels.environment.as_deref().unwrap_or_default();
        let governance = Governance::Governed {
            environment,
            project: namespace.labels.project.as_deref(),
            posture: namespace.postures.environment(environment),
        };
        let exempt: &ExemptControllers = &self.rules.exempt;
        let facts = Facts { decision_id, exempt, clock_leeway: SignedDuration::ZERO };
        answers.empty = EmptyCluster { now: at };
        decide(&request, &governance, &facts, at, answers)
    }

    /// Makes an attempt, reads the ConfigMaps that its decisions asked for, and makes it again, until they ask for no more.
    pub(crate) async fn with_config_maps<T>(
        &self,
        namespace: &str,
        claimed: &ClaimedApprovals,
        mut attempt: impl FnMut(&mut ReadAnswers<'_>) -> Result<T, String>,
    ) -> Result<T, String> {
        let mut maps: BTreeMap<String, ConfigMapAnswer> = BTreeMap::new();
        for _ in 0..MAX_ROUNDS {
            let mut wanted = BTreeSet::new();
            let empty = EmptyCluster { now: clock::now() };
            let decided = attempt(&mut ReadAnswers { claimed, maps: &maps, wanted: &mut wanted, empty })?;
            if wanted.is_empty() {
                return Ok(decided);
            }
            let names: Vec<String> = wanted.into_iter().collect();
            let read = self.config_maps.read(namespace, &names).await;
            maps.extend(names.into_iter().zip(read));
        }
        Err("the workload refers to ConfigMaps that refer to others without an end".to_owned())
    }
}

/// Answers what a decision asks from what was read before.
pub(crate) struct ReadAnswers<'a> {
    claimed: &'a ClaimedApprovals,
    maps: &'a BTreeMap<String, ConfigMapAnswer>,
    /// The ConfigMaps that must be read before the decision counts.
    wanted: &'a mut BTreeSet<String>,
    empty: EmptyCluster,
}

impl Answers for ReadAnswers<'_> {
    fn cached_approvals(&mut self, query: &DetachedQuery) -> Vec<DetachedApproval> {
        self.claimed.matching(query)
    }

    /// They would be the same as the cached ones.
    fn live_approvals(&mut self, _: &DetachedQuery) -> Result<Vec<DetachedApproval>, String> {
        Ok(Vec::new())
    }

    fn config_map(&mut self, name: &str) -> ConfigMapAnswer {
        self.maps.get(name).cloned().unwrap_or_else(|| {
            self.wanted.insert(name.to_owned());
            Err("it is not read yet".to_owned())
        })
    }

    fn holder(&mut self, wanted: &Use) -> HolderAnswer {
        self.empty.holder(wanted)
    }

    fn history(&mut self, object: &ObjectRecord) -> Result<History, String> {
        self.empty.history(object)
    }
}
