//! What the posture decides about the workloads of an approval: whether each is an action, what it requires and why,
//! and which denials no signature would change.
//!
//! Every answer is the webhook's own decision, made without an approval or with exactly one.

use serde_json::Value;
use writgate_cluster::{clock, namespace::NamespaceLabels};
use writgate_core::{
    approval::{Action, DetachedApproval, Envelope, RequiredCapability},
    posture::Posture,
    record::{Decision, Denial, Outcome},
    vocabulary::ENVIRONMENT_LABEL,
};

use crate::{
    approval::{
        decider::{Decider, DecisionFlags},
        origin::Origin,
        proposal::{Proposal, ProposedWorkload},
        required_capabilities::required_capabilities,
    },
    cluster::Cluster,
    failure::Failure,
    manifest::{Manifest, input},
    postures::PostureSourceFlags,
    terminal::output::shown,
};

/// Whether to use a posture, and where it is.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct PostureFlags {
    #[command(flatten)]
    pub(crate) postures: PostureSourceFlags,
    /// Skip the posture: nothing is checked, and no cluster is contacted
    #[arg(long, conflicts_with = "posture_dir")]
    pub(crate) no_posture: bool,
}

impl PostureFlags {
    /// The cluster that holds posted requests, and the postures for them.
    pub(crate) fn cluster_of_requests(&self) -> Result<Cluster, Failure> {
        if self.no_posture || self.postures.posture_dir.is_some() {
            return Err(Failure::Misuse(
                "a posted request is checked with the postures of its cluster; omit --posture-dir and --no-posture, or pass a \
                 request file with -f"
                    .to_owned(),
            ));
        }
        self.postures.cluster.connect()
    }

    /// Loads the posture, unless it is skipped.
    pub(crate) fn load<'a>(
        &self,
        manifests: &'a [Manifest],
        kinds: &input::WorkloadKindFlags,
    ) -> Result<Option<Decider<'a>>, Failure> {
        if self.no_posture {
            return Ok(None);
        }
        let flags = DecisionFlags {
            postures: self.postures.clone(),
            reading: kinds.clone().into(),
            ..DecisionFlags::default()
        };
        let mut decider = flags.load(manifests, clock::now()).map_err(|failure| match failure {
            Failure::Undetermined(why) => {
                Failure::Undetermined(format!("{why}; or pass a folder of posture documents with --posture-dir"))
            }
            other => other,
        })?;
        decider.supplied_alone = true;
        Ok(Some(decider))
    }
}

/// The live object under a workload's name.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum LiveObject {
    /// Read from the cluster; none if it does not exist.
    Live(Option<Value>),
    /// No cluster was contacted. A claim of the request file is not used: it could hide a change.
    Unknown,
}

impl LiveObject {
    /// The object that was read from the cluster.
    pub(crate) fn read(&self) -> Option<&Value> {
        match self {
            Self::Live(object) => object.as_ref(),
            Self::Unknown => None,
        }
    }
}

/// The decision about one workload, without an approval.
pub(crate) struct AssessedWorkload {
    pub(crate) runs: LiveObject,
    /// Whether the live object has this spec already, and is not deleted and created again.
    pub(crate) unchanged: bool,
    /// Whether the live object is deleted first.
    is_recreated: bool,
    /// The decision without an approval.
    pub(crate) decision: Decision,
}

/// The decisions about all workloads of one approval.
pub(crate) struct Assessment {
    /// In the order of the workloads.
    pub(crate) seen: Vec<AssessedWorkload>,
    /// The environment and project of all of them.
    pub(crate) place: NamespaceLabels,
    /// The origins of the environment and of the project.
    pub(crate) place_origins: [Option<Origin>; 2],
    /// The action of all of them; absent if the posture cannot be used.
    pub(crate) action: Option<Action>,
}

/// The requester, and claims about namespaces whose labels are not known.
pub(crate) struct Applicant {
    /// The requester, who is assumed to apply the change as well.
    pub(crate) requested_by: String,
    /// Whether a break-glass approval is requested.
    pub(crate) emergency: bool,
    /// Environment and project of the namespaces, if nothing else says.
    pub(crate) place: NamespaceLabels,
    /// The origins of both.
    pub(crate) place_origins: [Option<Origin>; 2],
}

impl Assessment {
    /// Decides about every workload.
    pub(crate) fn of(decider: &mut Decider<'_>, proposal: &Proposal, claimed: &Applicant) -> Result<Self, Failure> {
        let mut labelled = false;
        for asked in &proposal.asked {
            labelled |= decider.postures.labels(&asked.namespace)?.is_some();
        }
        let is_assumed = !labelled && claimed.place.environment.is_some();
        if is_assumed {
            decider.assume(claimed.place.clone());
        }
        let mut places = Vec::new();
        for asked in &proposal.asked {
            let place = decider.labels(&asked.namespace)?;
            if place.environment.is_none() {
                return Err(ungoverned(&asked.namespace));
            }
            places.push(place);
        }
        let place = same(proposal, places, |place| {
            let said = |label: Option<&str>| label.map_or("none".to_owned(), shown);
            format!(
                "belongs to environment {} and project {}",
                said(place.environment.as_deref()),
                said(place.project.as_deref())
            )
        })?;
        let mut seen = Vec::new();
        for asked in &proposal.asked {
            seen.push(AssessedWorkload::of(decider, asked, &claimed.requested_by)?);
        }
        let actions = seen.iter().map(|seen| seen.decision.record.action).collect();
        let action = same(proposal, actions, |action| match action {
            Some(action) => format!("is {action}"),
            None => "cannot be checked".to_owned(),
        })?;
        let found = if decider.postures.cluster.is_some() { Origin::Cluster } else { Origin::Posture };
        let place_origins =
            if is_assumed { claimed.place_origins.clone() } else { [(); 2].map(|()| Some(found.clone())) };
        Ok(Self { seen, place, place_origins, action })
    }

    /// The environment's posture, if it is valid.
    pub(crate) fn posture<'j>(&self, decider: &'j Decider<'_>) -> Option<&'j Posture> {
        decider.postures.set.environment(self.place.environment.as_deref()?).ok()
    }

    /// The denials that no signature would change, each with its workload.
    pub(crate) fn refused<'s>(
        &'s self,
        proposal: &'s Proposal,
    ) -> impl Iterator<Item = (&'s ProposedWorkload, &'s Denial)> {
        let lacks_more = |denial: &&Denial| !matches!(denial, Denial::ApprovalRequired { .. });
        let pairs = proposal.asked.iter().zip(&self.seen);
        pairs
            .flat_map(move |(asked, seen)| seen.decision.denials.iter().filter(lacks_more).map(move |why| (asked, why)))
    }

    /// Whether any workload requires an approval.
    pub(crate) fn needs_approval(&self) -> bool {
        self.seen.iter().any(|seen| seen.decision.record.approval_required != Some(false))
    }

    /// The capabilities that the workloads require, and why.
    pub(crate) fn needed(&self, posture: &Posture, emergency: bool) -> Vec<RequiredCapability> {
        let records = self.seen.iter().map(|seen| &seen.decision.record);
        required_capabilities(posture, self.action, emergency, records)
    }

    /// The denials of all workloads with this approval alone; empty if it is accepted.
    pub(crate) fn decide(
        &self,
        decider: &mut Decider<'_>,
        proposal: &Proposal,
        requested_by: &str,
        envelope: &Envelope,
    ) -> Result<Vec<Denial>, Failure> {
        decider.supplied = vec![DetachedApproval { name: "of this approval".to_owned(), text: envelope.to_json() }];
        let mut denials: Vec<Denial> = Vec::new();
        for (asked, seen) in proposal.asked.iter().zip(&self.seen) {
            let manifest = asked.workload.manifest.without_approvals();
            let decision =
                decider.decide_manifest(&manifest, &asked.namespace, seen.judged_against(), Some(requested_by))?;
            for denial in decision.denials {
                if !denials.contains(&denial) {
                    denials.push(denial);
                }
            }
        }
        decider.supplied.clear();
        Ok(denials)
    }

    /// The denials of the workloads that do not run yet, with every detached approval of their namespaces; empty if the
    /// webhook would admit them.
    pub(crate) fn decide_with_found(
        &self,
        decider: &mut Decider<'_>,
        proposal: &Proposal,
        requested_by: &str,
    ) -> Result<Vec<Denial>, Failure> {
        decider.supplied_alone = false;
        let mut denials: Vec<Denial> = Vec::new();
        for (asked, seen) in proposal.asked.iter().zip(&self.seen).filter(|(_, seen)| !seen.unchanged) {
            let manifest = asked.workload.manifest.without_approvals();
            let live = seen.judged_against();
            for denial in decider.decide_manifest(&manifest, &asked.namespace, live, Some(requested_by))?.denials {
                if !denials.contains(&denial) {
                    denials.push(denial);
                }
            }
        }
        decider.supplied_alone = true;
        Ok(denials)
    }
}

impl AssessedWorkload {
    fn of(decider: &Decider<'_>, asked: &ProposedWorkload, requested_by: &str) -> Result<Self, Failure> {
        let manifest = &asked.workload.manifest;
        let runs = match &decider.postures.cluster {
            Some(cluster) => LiveObject::Live(cluster.live(manifest, &asked.namespace)?),
            None => LiveObject::Unknown,
        };
        let decide = |runs| decider.decide_unapproved(manifest, &asked.namespace, runs, requested_by);
        let is_recreated = asked.is_recreated;
        let live = match &runs {
            LiveObject::Live(live) if !is_recreated => live.as_ref(),
            _ => None,
        };
        let decision = decide(live)?;
        let unchanged = live.is_some() && decision.record.decision == Outcome::NotAnAction;
        let decision = if unchanged { decide(None)? } else { decision };
        Ok(Self { runs, unchanged, is_recreated, decision })
    }

    /// The live object that the decision compares with, if the cluster has it.
    fn judged_against(&self) -> Option<&Value> {
        match &self.runs {
            LiveObject::Live(live) if !self.unchanged && !self.is_recreated => live.as_ref(),
            _ => None,
        }
    }
}

fn ungoverned(namespace: &str) -> Failure {
    Failure::No(format!(
        "namespace {} has no label {ENVIRONMENT_LABEL}, so it is not governed and requires no approval",
        shown(namespace)
    ))
}

/// The value that all workloads share, since an approval states it once.
fn same<T: PartialEq>(proposal: &Proposal, all: Vec<T>, words: impl Fn(&T) -> String) -> Result<T, Failure> {
    let name = |index: usize| proposal.asked.get(index).map(|asked| asked.workload.manifest.to_string());
    if let Some(other) = all.iter().position(|one| Some(one) != all.first()) {
        let [first, second] = [0, other].map(|index| (name(index).unwrap_or_default(), all.get(index).map(&words)));
        return Err(Failure::Misuse(format!(
            "{} {}, but {} {}; an approval covers one: use a separate file for each",
            first.0,
            first.1.unwrap_or_default(),
            second.0,
            second.1.unwrap_or_default()
        )));
    }
    all.into_iter().next().ok_or_else(|| Failure::Misuse("no workload found".to_owned()))
}
