//! What the webhook should answer, in the fewest words: no JSON, no keys, no hashes, no API server. Specs and approvals are
//! numbers, time is what the player says it is. It shares no code with what it is held against.

use std::collections::{BTreeMap, BTreeSet};

/// How many of the specs that were admitted last may be rolled back to; the posture of the histories says the same.
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

    /// A replay is a Job, whose approval is used once; the others are Deployments.
    pub(crate) fn is_replay(self) -> bool {
        matches!(self, Self::ReplayA | Self::ReplayB)
    }
}

/// What somebody does to an object.
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
    /// Labels, or scales: nobody's business.
    Bookkeeping,
    Delete,
}

/// What the webhook says to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Nothing that an approval is about.
    NotAnAction,
    Admitted(Because),
    /// With the code that is told first.
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
    /// In seconds; at this time it is no longer valid.
    pub(crate) expires: i64,
    pub(crate) revoked: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Object {
    pub(crate) spec: u8,
    pub(crate) held: bool,
    pub(crate) approval: Option<usize>,
    /// The how-manieth object of all.
    incarnation: usize,
}

/// All that answers depend on.
#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) now: i64,
    pub(crate) approvals: Vec<Approval>,
    pub(crate) objects: BTreeMap<Name, Object>,
    /// Specs of Deployments that were revoked.
    pub(crate) revoked_specs: BTreeSet<u8>,
    /// Deployments that an approval carried, latest last.
    past: Vec<(Name, u8, usize)>,
    /// By approval: who used it, and whether that ran.
    uses: BTreeMap<usize, (usize, bool)>,
    incarnations: usize,
}

impl World {
    pub(crate) fn answer(&self, Step(name, what): Step) -> Answer {
        match (what, self.objects.get(&name)) {
            (What::Create(approval, _), _) => self.judge(name, 0, approval, None),
            (What::Apply(spec, approval), None) => self.judge(name, spec, approval, None),
            (What::Apply(spec, approval), Some(now)) if now.spec != spec => self.judge(name, spec, approval, None),
            (What::SetImage(spec), Some(now)) if now.spec != spec => self.judge(name, spec, now.approval, None),
            (What::Release, Some(now)) if now.held => self.judge(name, now.spec, now.approval, Some(now)),
            _ => Answer::NotAnAction,
        }
    }

    /// `released` is the object that is let go, if that is what happens.
    fn judge(&self, name: Name, spec: u8, approval: Option<usize>, released: Option<&Object>) -> Answer {
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
            let free = match (self.uses.get(&index), released) {
                (None, _) => true,
                (Some((user, ran)), Some(object)) => *user == object.incarnation && !ran,
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

    /// What is wrong with an approval, by its row in the table.
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

    /// Whether an approval that was not revoked carried this spec, among the last ones.
    fn ran_before(&self, name: Name, spec: u8) -> bool {
        let of_this = self.past.iter().rev().filter(|(whose, ..)| *whose == name);
        of_this.take(REVISIONS).any(|&(_, ran, approval)| ran == spec && !self.approvals[approval].revoked)
    }

    /// What the world is after `step` was answered so.
    pub(crate) fn commit(&mut self, Step(name, what): Step, answer: Answer) {
        let admitted = !matches!(answer, Answer::Denied(_));
        match what {
            _ if !admitted => return,
            What::Delete => drop(self.objects.remove(&name)),
            What::Apply(spec, approval) => *self.object(name) = Object { spec, approval, ..*self.object(name) },
            What::Create(approval, held) => *self.object(name) = Object { held, approval, ..*self.object(name) },
            What::SetImage(spec) => self.object(name).spec = spec,
            What::Hold | What::Release => self.object(name).held = matches!(what, What::Hold),
            What::Bookkeeping => {}
        }
        if answer == Answer::Admitted(Because::Approved) {
            let Object { spec, held, approval, incarnation } = *self.object(name);
            let approval = approval.expect("an approval carried it");
            if name.is_replay() {
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
