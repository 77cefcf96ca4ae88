//! The other clusters of an approval for several: how the live objects there differ, and what their postures say.
//!
//! A cluster that was not read is part of the review as well, since the reviewer signs for it too.

use serde::Serialize;
use writgate_core::kube::Severity;

use crate::{
    approval::{
        draft::ApprovalDraft,
        fleet::{OtherCluster, ReadCluster},
    },
    command::review::{
        Refusal, ReviewedWorkload,
        unusual::{self, Unusual},
    },
    failure::Failure,
    terminal::output::shown,
};

/// Another cluster of the approval.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ReviewedCluster {
    /// Its name by the approval, or by its posture.
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<String>,
    /// The context with which it was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<String>,
    /// Why it was not compared; absent if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_compared: Option<String>,
    /// Claims of the approval that differ from what its posture says.
    wrong: Vec<String>,
    /// Denials that no signature would change.
    refused: Vec<Refusal>,
    pub(super) workloads: Vec<ReviewedWorkload>,
}

/// The clusters that the approval names, in their order, and then the contexts that are of none of them.
pub(super) fn of(draft: &ApprovalDraft<'_>) -> Result<Vec<ReviewedCluster>, Failure> {
    let own = draft.basis.cluster.as_deref();
    let is_of = |other: &&OtherCluster, name: &str| {
        other.read.as_ref().is_ok_and(|read| read.basis.cluster.as_deref() == Some(name))
    };
    let mut reviewed = Vec::new();
    for name in draft.approval.clusters.iter().filter(|name| Some(&***name) != own) {
        reviewed.push(match draft.others.iter().find(|other| is_of(other, name)) {
            Some(other) => ReviewedCluster::of(draft, other)?,
            None => ReviewedCluster {
                cluster: Some(name.clone()),
                ..ReviewedCluster::not_compared("no context of it was read; pass one with --other-context".to_owned())
            },
        });
    }
    let named =
        |other: &&OtherCluster| draft.approval.clusters.iter().any(|name| Some(&**name) != own && is_of(other, name));
    for other in draft.others.iter().filter(|other| !named(other)) {
        reviewed.push(ReviewedCluster::of(draft, other)?);
    }
    Ok(reviewed)
}

impl ReviewedCluster {
    fn not_compared(why: String) -> Self {
        Self {
            cluster: None,
            context: None,
            not_compared: Some(why),
            wrong: Vec::new(),
            refused: Vec::new(),
            workloads: Vec::new(),
        }
    }

    fn of(draft: &ApprovalDraft<'_>, other: &OtherCluster) -> Result<Self, Failure> {
        let context = Some(other.context.clone());
        let read = match &other.read {
            Ok(read) => read,
            Err(why) => return Ok(Self { context, ..Self::not_compared(why.clone()) }),
        };
        let ReadCluster { assessment, basis } = read;
        let workloads = draft.proposal.asked.iter().zip(&assessment.seen);
        Ok(Self {
            cluster: basis.cluster.clone(),
            context,
            not_compared: None,
            wrong: draft.contradictions_of(read),
            refused: Refusal::all(assessment, &draft.proposal),
            workloads: workloads
                .map(|(asked, seen)| ReviewedWorkload::of(asked, Some(seen)))
                .collect::<Result<_, _>>()?,
        })
    }

    /// The cluster's name, and the context. Safe to print.
    pub(super) fn name(&self) -> String {
        match (&self.cluster, &self.context) {
            (Some(cluster), Some(context)) => format!("cluster {} (context {})", shown(cluster), shown(context)),
            (Some(cluster), None) => format!("cluster {}", shown(cluster)),
            (None, context) => format!("context {}", shown(context.as_deref().unwrap_or_default())),
        }
    }

    /// Why its webhook would deny the approval, whoever signs. Safe to print.
    pub(super) fn against(&self) -> impl Iterator<Item = String> {
        let wrong = self.wrong.iter().map(|wrong| shown(wrong));
        let refused =
            self.refused.iter().map(|one| format!("{}: {} ({})", one.reason, shown(&one.message), shown(&one.subject)));
        wrong.chain(refused).map(|why| format!("{}: {why}", self.name()))
    }

    /// The hint that the change in this cluster is not known.
    pub(super) fn unusual(&self) -> Option<Unusual> {
        let why = self.not_compared.as_deref()?;
        let what = format!("the change in {} is not known: {}", self.name(), shown(why));
        Some(unusual::unusual(Severity::Severe, "cluster-not-compared", what))
    }
}
