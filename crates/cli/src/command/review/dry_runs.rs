//! Dry-run replays of the same incident, as far as the cluster still has their Jobs.

use k8s_openapi::api::batch::v1::Job;
use kube::api::{Api, ListParams};
use writgate_core::{
    approval::Action,
    vocabulary::{INCIDENT, REPLAY_LABEL},
};

use crate::approval::draft::ApprovalDraft;

/// The value of the replay label on a dry run.
const DRY_RUN: &str = "dry-run";
/// Jobs that are listed in a namespace, at most. Jobs are deleted over time, so the first page says enough.
const MOST: u32 = 500;

/// What is known about the dry runs of an incident.
pub(super) enum DryRuns {
    /// The Jobs of the same namespace and incident: name, and whether the Job succeeded.
    Found(Vec<(String, bool)>),
    /// Why the dry runs are not known.
    NotKnown(String),
}

impl DryRuns {
    /// Looks for dry runs; none unless the action is replay-execute.
    pub(super) fn of(draft: &ApprovalDraft<'_>) -> Option<Self> {
        if draft.approval.action != Action::ReplayExecute {
            return None;
        }
        let incident = draft.approval.replay.as_ref().and_then(|replay| replay.incident.as_deref());
        let cluster = draft.decided.as_ref().and_then(|(decider, _)| decider.postures.cluster.as_ref());
        let (Some(incident), Some(cluster)) = (incident, cluster) else {
            return Some(Self::NotKnown("no cluster was contacted".to_owned()));
        };
        let mut namespaces: Vec<&str> = draft.proposal.asked.iter().map(|asked| &*asked.namespace).collect();
        namespaces.sort_unstable();
        namespaces.dedup();
        let mut found = Vec::new();
        for namespace in namespaces {
            let jobs: Api<Job> = Api::namespaced(cluster.client.clone(), namespace);
            let labelled = ListParams::default().labels(&format!("{REPLAY_LABEL}={DRY_RUN}")).limit(MOST);
            match cluster.ask(&format!("list Jobs in {namespace}"), jobs.list(&labelled)) {
                Err(failure) => return Some(Self::NotKnown(failure.to_string())),
                Ok(list) => found.extend(list.items.into_iter().filter_map(|job| {
                    let of_this = job.metadata.annotations?.get(INCIDENT).is_some_and(|of| of == incident);
                    let succeeded = job.status.and_then(|status| status.succeeded).is_some_and(|count| count > 0);
                    of_this.then_some((job.metadata.name?, succeeded))
                })),
            }
        }
        Some(Self::Found(found))
    }
}
