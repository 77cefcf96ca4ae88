//! The model: the expected answer of the webhook, without JSON, keys, hashes or an API server. Specs and approvals are numbers,
//! and the player sets the time. It shares no code with Writgate.

use std::collections::{BTreeMap, BTreeSet};

/// Added to the number of a spec of a Deployment: the same spec with a selector that matches every `ReplicaSet`. No approval names it.
pub(crate) const WIDE: u8 = 100;
/// The number of the latest admitted specs that permit a rollback, as in the posture of the histories.
pub(crate) const REVISIONS: usize = 2;

/// The objects of a history, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Name {
    Orders,
    Ledger,
    ReplayA,
    ReplayB,
}

impl Name {
    pub(crate) const ALL: [Self; 4] = [Self::Orders, Self::Ledger, Self::ReplayA, Self::ReplayB];

    /// Whether the object is a replay Job, whose approval is single-use. The others are Deployments.
    pub(crate) fn is_replay(self) -> bool {
        matches!(self, Self::ReplayA | Self::ReplayB)
    }
}

/// A write to an object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step(pub(crate) Name, pub(crate) What);

#[derive(Clone, Copy, Debug)]
pub(crate) enum What {
    /// Applies a Deployment as a whole: the spec, and the approval if there is one.
    Apply(u8, Option<usize>),
    /// Creates a replay, suspended or not.
    Create(Option<usize>, bool),
    /// Patches the image of a Deployment, and nothing else.
    SetImage(u8),
    /// Pauses or suspends.
    Hold,
    /// Resumes.
    Release,
    /// Labels or scales, which is not an action.
    Bookkeeping,
    /// Labels a Job, by which a controller could adopt it.
    Relabel,
    Delete,
    /// Deletes a Deployment and leaves its `ReplicaSets`, which other Deployments with the same selector adopt.
    Orphan,
}

/// A write that is for controllers or the webhook. Whatever was approved, it is refused and changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Attempt {
    /// Gives a `ReplicaSet` that nobody approved the labels that the Deployments select.
    LabelStray,
    OwnStray,
    ScaleStray,
    /// Labels a `ReplicaSet` that a Deployment made.
    LabelReplicaSet,
    LabelRevision,
    /// Changes a Pod of a running Job, which would start another one.
    LabelPod,
    UntrackPod,
    DisownPod,
    /// Creates an entry of the ledger, which would permit a rollback.
    ForgeHistory,
}

impl Attempt {
    pub(crate) const ALL: [Self; 9] = [
        Self::LabelStray,
        Self::OwnStray,
        Self::ScaleStray,
        Self::LabelReplicaSet,
        Self::LabelRevision,
        Self::LabelPod,
        Self::UntrackPod,
        Self::DisownPod,
        Self::ForgeHistory,
    ];

    /// The possible first reasons of the webhook, or the API server's policy.
    pub(crate) fn refusal(self) -> &'static [&'static str] {
        match self {
            Self::LabelStray | Self::OwnStray => &["ApprovalRequired"],
            Self::ScaleStray | Self::LabelRevision => &["WorkloadNotAllowed"],
            // The controller copied the Deployment's approval, if it had one, and that names another spec.
            Self::LabelReplicaSet => &["SpecHashMismatch", "ApprovalRequired"],
            Self::LabelPod | Self::UntrackPod | Self::DisownPod => &["pods.writgate.dev"],
            Self::ForgeHistory => &["ledger.writgate.dev"],
        }
    }
}

/// The answer of the webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The request is not an action.
    NotAnAction,
    Admitted(Because),
    /// With the first reason code.
    Denied(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Because {
    Approved,
    RanBefore,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Approval {
    pub(crate) name: Name,
    pub(crate) spec: u8,
    /// In seconds. At this time the approval is no longer valid.
    pub(crate) expires: i64,
    pub(crate) revoked: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Object {
    pub(crate) spec: u8,
    pub(crate) held: bool,
    pub(crate) approval: Option<usize>,
    /// The number of the object in the order of creation.
    incarnation: usize,
}

/// Everything on which answers depend.
#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) now: i64,
    pub(crate) approvals: Vec<Approval>,
    pub(crate) objects: BTreeMap<Name, Object>,
    /// Revoked specs of Deployments.
    pub(crate) revoked_specs: BTreeSet<u8>,
    /// Deployments that an approval admitted, latest last.
    past: Vec<(Name, u8, usize)>,
    /// By approval: the object that used it, and whether the object has started.
    uses: BTreeMap<usize, (usize, bool)>,
    incarnations: usize,
}

impl World {
    pub(crate) fn answer(&self, Step(name, what): Step) -> Answer {
        match (what, self.objects.get(&name)) {
            (What::Create(approval, _), _) => self.check(name, 0, approval, None),
            (What::Apply(spec, approval), None) => self.check(name, spec, approval, None),
            (What::Apply(spec, approval), Some(now)) if now.spec != spec => self.check(name, spec, approval, None),
            (What::SetImage(spec), Some(now)) if now.spec != spec => self.check(name, spec, now.approval, None),
            (What::Release, Some(now)) if now.held => self.check(name, now.spec, now.approval, Some((now, true))),
            (What::Relabel, Some(now)) => self.check(name, now.spec, now.approval, Some((now, false))),
            _ => Answer::NotAnAction,
        }
    }

    /// `same` is the object, if the step does not replace its spec, and whether the step starts it.
    fn check(&self, name: Name, spec: u8, approval: Option<usize>, same: Option<(&Object, bool)>) -> Answer {
        let spec_revoked = !name.is_replay() && self.revoked_specs.contains(&spec);
        let mut faults = BTreeMap::new();
        if spec_revoked {
            faults.insert(11, "Revoked");
        }
        match approval {
            None => drop(faults.insert(2, "ApprovalRequired")),
            Some(index) => self.faults(index, name, spec, &mut faults),
        }
        if let Some(index) = approval.filter(|_| name.is_replay() && faults.is_empty()) {
            let free = match (self.uses.get(&index), same) {
                (None, _) => true,
                (Some((user, ran)), Some((object, starts))) => *user == object.incarnation && !(starts && *ran),
                (Some(_), None) => false,
            };
            if !free {
                faults.insert(16, "AlreadyUsed");
            }
        }
        let Some(first) = faults.values().next() else { return Answer::Admitted(Because::Approved) };
        let withdrawn = spec_revoked || approval.is_some_and(|index| self.approvals[index].revoked);
        let may_return = !name.is_replay() && !withdrawn && self.ran_before(name, spec);
        if may_return { Answer::Admitted(Because::RanBefore) } else { Answer::Denied(first) }
    }

    /// The failed checks of an approval, by row of the table.
    fn faults(&self, index: usize, name: Name, spec: u8, faults: &mut BTreeMap<u8, &'static str>) {
        let approval = &self.approvals[index];
        let same_spec = approval.spec == spec && approval.name.is_replay() == name.is_replay();
        if !same_spec {
            faults.insert(6, "SpecHashMismatch");
        } else if approval.name != name {
            faults.insert(7, "WrongResource");
        }
        if approval.name.is_replay() != name.is_replay() {
            faults.insert(9, "WrongAction");
        }
        if self.now >= approval.expires {
            faults.insert(10, "Expired");
        }
        if approval.revoked {
            faults.insert(11, "Revoked");
        }
    }

    /// Whether an approval that is not revoked admitted this spec as one of the latest.
    fn ran_before(&self, name: Name, spec: u8) -> bool {
        let of_this = self.past.iter().rev().filter(|(whose, ..)| *whose == name);
        of_this.take(REVISIONS).any(|&(_, ran, approval)| ran == spec && !self.approvals[approval].revoked)
    }

    /// Applies a step with its answer.
    pub(crate) fn commit(&mut self, Step(name, what): Step, answer: Answer) {
        let admitted = !matches!(answer, Answer::Denied(_));
        match what {
            _ if !admitted => return,
            What::Delete | What::Orphan => drop(self.objects.remove(&name)),
            What::Apply(spec, approval) => *self.object(name) = Object { spec, approval, ..*self.object(name) },
            What::Create(approval, held) => *self.object(name) = Object { held, approval, ..*self.object(name) },
            What::SetImage(spec) => self.object(name).spec = spec,
            What::Hold | What::Release => self.object(name).held = matches!(what, What::Hold),
            What::Bookkeeping | What::Relabel => {}
        }
        if answer == Answer::Admitted(Because::Approved) {
            let Object { spec, held, approval, incarnation } = *self.object(name);
            let approval = approval.expect("an approval admitted the step");
            if matches!(what, What::Relabel) {
                // The object keeps its use.
            } else if name.is_replay() {
                self.uses.insert(approval, (incarnation, !held));
            } else {
                self.past.retain(|&(whose, ran, _)| (whose, ran) != (name, spec));
                self.past.push((name, spec, approval));
            }
        }
    }

    fn object(&mut self, name: Name) -> &mut Object {
        self.objects.entry(name).or_insert_with(|| {
            self.incarnations += 1;
            Object { spec: 0, held: false, approval: None, incarnation: self.incarnations }
        })
    }
}
