//! What the rules say of what is up for approval: whether it is an action at all, what it needs and why, what no
//! signature would change, and who may sign.
//!
//! All of it is the webhook's own decision, made with no approval in view or with one alone. Called by `review` and
//! `approve`.

use serde_json::Value;
use writgate_cluster::clock;
use writgate_core::{
    approval::{Action, DetachedApproval, Envelope},
    posture::Posture,
    record::{Decision, Denial, Outcome},
};

use crate::{
    approval::{
        judge::{Judge, JudgeFlags},
        matter::{Asked, Matter},
        request_file::NeededCapability,
    },
    failure::Failure,
    manifest::{Manifest, input},
    rules::{Place, RulesFlags},
    terminal::output::shown,
};

/// Whether and where to look at a posture.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct PostureFlags {
    #[command(flatten)]
    pub(crate) rules: RulesFlags,
    /// Look at no posture: nothing tells then what the gate would refuse, and no cluster is asked
    #[arg(long, conflicts_with = "posture_dir")]
    pub(crate) no_posture: bool,
}

impl PostureFlags {
    /// Loads the posture, unless none is to be looked at.
    pub(crate) fn load<'a>(
        &self,
        manifests: &'a [Manifest],
        kinds: &input::Kinds,
    ) -> Result<Option<Judge<'a>>, Failure> {
        if self.no_posture {
            return Ok(None);
        }
        let flags = JudgeFlags { rules: self.rules.clone(), kinds: kinds.clone(), ..JudgeFlags::default() };
        let mut judge = flags.load(manifests, clock::now()).map_err(|failure| match failure {
            Failure::CouldNotTell(why) => {
                Failure::CouldNotTell(format!("{why}; or --posture-dir names a folder of posture documents"))
            }
            other => other,
        })?;
        judge.given_alone = true;
        Ok(Some(judge))
    }
}

/// What runs under a workload's name now.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Runs {
    /// As the cluster has it; none where nothing does.
    Live(Option<Value>),
    /// As the request has it, and nobody checked.
    Said(Value),
    /// No cluster was asked, and nobody says.
    Unknown,
}

impl Runs {
    /// The object, whoever's word it is.
    pub(crate) fn object(&self) -> Option<&Value> {
        match self {
            Self::Live(object) => object.as_ref(),
            Self::Said(object) => Some(object),
            Self::Unknown => None,
        }
    }
}

/// What the rules say of one workload, with no approval in view.
pub(crate) struct Seen {
    pub(crate) runs: Runs,
    /// Whether it runs as it is already.
    pub(crate) unchanged: bool,
    /// What would be decided without an approval.
    pub(crate) decision: Decision,
}

/// What the rules say of all workloads of one approval.
pub(crate) struct Standing {
    /// In the matter's order.
    pub(crate) seen: Vec<Seen>,
    /// Where all of them are to run.
    pub(crate) place: Place,
    /// What is done with all of them; absent where nothing can be judged.
    pub(crate) action: Option<Action>,
}

/// Who asks, and what is told of the namespaces beside their labels.
pub(crate) struct Claimed {
    /// The person who asks, who is taken to apply it too.
    pub(crate) requested_by: String,
    /// Whether it is asked for as an emergency.
    pub(crate) emergency: bool,
    /// Where the namespaces are, if nothing else says.
    pub(crate) place: Place,
}

impl Standing {
    /// Looks at every workload.
    pub(crate) fn of(judge: &mut Judge<'_>, matter: &Matter, claimed: &Claimed) -> Result<Self, Failure> {
        let mut labelled = false;
        for asked in &matter.asked {
            labelled |= judge.rules.place(&asked.namespace)?.is_some();
        }
        if !labelled && claimed.place.environment.is_some() {
            judge.assume(claimed.place.clone());
        }
        let mut places = Vec::new();
        for asked in &matter.asked {
            let place = judge.place(&asked.namespace)?;
            if place.environment.is_none() {
                return Err(ungoverned(&asked.namespace));
            }
            places.push(place);
        }
        let place = same(matter, places, |place| {
            let said = |label: &Option<String>| label.as_deref().map_or("none".to_owned(), shown);
            format!("is of environment {} and project {}", said(&place.environment), said(&place.project))
        })?;
        let mut seen = Vec::new();
        for asked in &matter.asked {
            seen.push(Seen::of(judge, asked, &claimed.requested_by)?);
        }
        let actions = seen.iter().map(|seen| seen.decision.record.action).collect();
        let action = same(matter, actions, |action| match action {
            Some(action) => format!("is {action}"),
            None => "cannot be judged".to_owned(),
        })?;
        Ok(Self { seen, place, action })
    }

    /// The rules of the environment, if they can be used.
    pub(crate) fn posture<'j>(&self, judge: &'j Judge<'_>) -> Option<&'j Posture> {
        judge.rules.set.environment(self.place.environment.as_deref()?).ok()
    }

    /// What no signature would change, each with the workload that it is about.
    pub(crate) fn refused<'s>(&'s self, matter: &'s Matter) -> impl Iterator<Item = (&'s Asked, &'s Denial)> {
        let lacks_more = |denial: &&Denial| !matches!(denial, Denial::ApprovalRequired { .. });
        let pairs = matter.asked.iter().zip(&self.seen);
        pairs
            .flat_map(move |(asked, seen)| seen.decision.denials.iter().filter(lacks_more).map(move |why| (asked, why)))
    }

    /// Whether any of it needs an approval.
    pub(crate) fn needs_approval(&self) -> bool {
        self.seen.iter().any(|seen| seen.decision.record.approval_required != Some(false))
    }

    /// What is needed for all of it, and why.
    pub(crate) fn needed(&self, posture: &Posture, emergency: bool) -> Vec<NeededCapability> {
        let records = self.seen.iter().map(|seen| &seen.decision.record);
        NeededCapability::of(posture, self.action, emergency, records)
    }

    /// Why the gate would refuse each workload with this approval alone; nothing where it would not.
    pub(crate) fn judge(
        &self,
        judge: &mut Judge<'_>,
        matter: &Matter,
        requested_by: &str,
        envelope: &Envelope,
    ) -> Result<Vec<Denial>, Failure> {
        judge.given = vec![DetachedApproval { name: "of this approval".to_owned(), text: envelope.to_json() }];
        let mut denials: Vec<Denial> = Vec::new();
        for (asked, seen) in matter.asked.iter().zip(&self.seen) {
            let manifest = asked.workload.manifest.without_approvals();
            let decision = judge.manifest(&manifest, &asked.namespace, seen.judged_against(), Some(requested_by))?;
            for denial in decision.denials {
                if !denials.contains(&denial) {
                    denials.push(denial);
                }
            }
        }
        judge.given.clear();
        Ok(denials)
    }
}

impl Seen {
    fn of(judge: &Judge<'_>, asked: &Asked, requested_by: &str) -> Result<Self, Failure> {
        let manifest = &asked.workload.manifest;
        let runs = match (&judge.rules.cluster, &asked.said_to_run) {
            (Some(cluster), _) => Runs::Live(cluster.live(manifest, &asked.namespace)?),
            (None, Some(said)) => Runs::Said(said.clone()),
            (None, None) => Runs::Unknown,
        };
        let judged = |runs| judge.unapproved(manifest, &asked.namespace, runs, requested_by);
        // Nothing is judged by the requester's word: what is said to run could excuse what would.
        let live = match &runs {
            Runs::Live(live) => live.as_ref(),
            Runs::Said(_) | Runs::Unknown => None,
        };
        let decision = judged(live)?;
        let unchanged = live.is_some() && decision.record.decision == Outcome::NotAnAction;
        let decision = if unchanged { judged(None)? } else { decision };
        Ok(Self { runs, unchanged, decision })
    }

    /// What the change is a change of, where the cluster says so.
    fn judged_against(&self) -> Option<&Value> {
        match &self.runs {
            Runs::Live(live) if !self.unchanged => live.as_ref(),
            _ => None,
        }
    }
}

fn ungoverned(namespace: &str) -> Failure {
    Failure::No(format!(
        "namespace {} has no label writgate.dev/environment, so nobody governs it and nothing there needs an approval",
        shown(namespace)
    ))
}

/// What is the same of all workloads, since an approval says it once.
fn same<T: PartialEq>(matter: &Matter, all: Vec<T>, words: impl Fn(&T) -> String) -> Result<T, Failure> {
    let name = |index: usize| matter.asked.get(index).map(|asked| asked.workload.manifest.to_string());
    if let Some(other) = all.iter().position(|one| Some(one) != all.first()) {
        let [first, second] = [0, other].map(|index| (name(index).unwrap_or_default(), all.get(index).map(&words)));
        return Err(Failure::Misuse(format!(
            "{} {}, but {} {}; an approval is for one: approve them in files of their own",
            first.0,
            first.1.unwrap_or_default(),
            second.0,
            second.1.unwrap_or_default()
        )));
    }
    all.into_iter().next().ok_or_else(|| Failure::Misuse("there is no workload to approve".to_owned()))
}
