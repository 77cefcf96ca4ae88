//! The plan as a table, and in random histories of several replicas, API servers that lag, and a clock in minutes.

use proptest::prelude::*;

use super::*;

const MINUTE: Duration = Duration::from_mins(1);
/// A rotation every 200 minutes, so that a history has several.
const TERMS: Terms =
    Terms { authority: Duration::from_hours(5), leaf: Duration::from_mins(30), settle: Duration::from_mins(5) };

fn at(minute: u32) -> Timestamp {
    let start: Timestamp = "2026-11-28T12:00:00Z".parse().expect("a time");
    start + MINUTE * minute
}

/// A CA that is made at this minute.
fn made(number: u8, minute: u32) -> Known {
    Known { id: CertificateId([number; 32]), not_before: at(minute), not_after: at(minute) + TERMS.authority }
}

fn id(number: u8) -> CertificateId {
    CertificateId([number; 32])
}

/// What a replica sees in the middle of a CA's life: nothing to do.
struct Case {
    minute: u32,
    stored: Stored,
    entries: Vec<Vec<Known>>,
    settled: Vec<CertificateId>,
    held: Option<Held>,
    is_clock_sure: bool,
}

impl Case {
    fn plan(&self) -> Plan {
        plan(
            &TERMS,
            &View {
                now: at(self.minute),
                is_clock_sure: self.is_clock_sure,
                stored: Some(&self.stored),
                entries: &self.entries,
                settled: &self.settled,
                held: self.held,
            },
        )
    }
}

fn usual(change: impl FnOnce(&mut Case)) -> Plan {
    let mut case = Case {
        minute: 100,
        stored: Stored { current: Some(made(1, 0)), ..Stored::default() },
        entries: vec![vec![made(1, 0)]; 2],
        settled: vec![id(1)],
        held: Some(Held { issuer: id(1), not_after: at(120) }),
        is_clock_sure: true,
    };
    change(&mut case);
    case.plan()
}

fn step(step: SecretStep) -> Plan {
    Plan { secret: Some(step), ..Plan::default() }
}

fn bundles(bundles: &[(usize, &[u8])]) -> Plan {
    let bundles = bundles.iter().map(|(entry, ids)| (*entry, ids.iter().map(|number| id(*number)).collect()));
    Plan { bundles: bundles.collect(), ..Plan::default() }
}

fn issue() -> Plan {
    Plan { issue: true, ..Plan::default() }
}

const PROMOTED: SecretStep = SecretStep::Promote { keep_until: None };

#[test]
fn nothing_is_done_in_the_middle_of_a_life() {
    assert_eq!(usual(|_| ()), Plan::default());
}

#[test]
fn the_first_ca_is_used_at_once() {
    let first = |case: &mut Case| (case.stored, case.held) = (Stored::default(), None);
    assert_eq!(usual(first), step(SecretStep::Create));
    let made = usual(|case| (case.entries, case.held, case.settled) = (vec![vec![]; 2], None, vec![]));
    assert_eq!(made, Plan { issue: true, ..bundles(&[(0, &[1]), (1, &[1])]) });
}

#[test]
fn a_ca_is_renewed_when_a_third_of_its_life_is_left() {
    let held = Some(Held { issuer: id(1), not_after: at(229) });
    assert_eq!(usual(|case| (case.minute, case.held) = (199, held)), Plan::default());
    assert_eq!(usual(|case| (case.minute, case.held) = (200, held)), step(SecretStep::Prepare));
    let next = Stored { current: Some(made(1, 0)), next: Some(made(2, 200)), previous: None };
    let prepared = usual(|case| (case.minute, case.held, case.stored) = (200, held, next));
    assert_eq!(prepared, bundles(&[(0, &[1, 2]), (1, &[1, 2])]));
    let both = vec![vec![made(1, 0), made(2, 200)]; 2];
    let shown = |settled: Vec<CertificateId>| {
        usual(|case| {
            (case.minute, case.held, case.stored, case.entries, case.settled) =
                (205, held, next, both.clone(), settled);
        })
    };
    assert_eq!(shown(vec![id(1)]), Plan::default());
    let keep_until = Some(at(240)); // a leaf of 30 minutes, and 5
    assert_eq!(shown(vec![id(1), id(2)]), step(SecretStep::Promote { keep_until }));
}

#[test]
fn leaves_are_made_from_a_new_ca_only_after_every_api_server_has_it() {
    let promoted = Stored { current: Some(made(2, 200)), next: None, previous: Some((made(1, 0), at(240))) };
    let both = vec![vec![made(1, 0), made(2, 200)]; 2];
    let held = Some(Held { issuer: id(1), not_after: at(230) });
    let change = |settled: Vec<CertificateId>, held: Option<Held>| {
        usual(|case| {
            (case.minute, case.held, case.stored, case.entries, case.settled) =
                (206, held, promoted, both.clone(), settled);
        })
    };
    assert_eq!(change(vec![id(1)], held), Plan::default());
    assert_eq!(change(vec![id(1), id(2)], held), issue());
    // A replica that serves nothing, or what nobody accepts, loses nothing.
    assert_eq!(change(vec![], None), issue());
    assert_eq!(change(vec![], Some(Held { issuer: id(1), not_after: at(206) })), issue());
    assert_eq!(change(vec![], Some(Held { issuer: id(9), not_after: at(230) })), issue());
}

#[test]
fn an_old_ca_leaves_the_bundle_after_its_last_leaf_and_then_the_secret() {
    let stored = Stored { current: Some(made(2, 200)), next: None, previous: Some((made(1, 0), at(240))) };
    let held = Some(Held { issuer: id(2), not_after: at(260) });
    let (both, one) = (vec![made(1, 0), made(2, 200)], vec![made(2, 200)]);
    let change = |minute, entries: [&Vec<Known>; 2]| {
        let entries = entries.map(Clone::clone).to_vec();
        usual(|case| (case.minute, case.held, case.stored, case.entries) = (minute, held, stored, entries))
    };
    assert_eq!(change(239, [&both, &both]), Plan::default());
    assert_eq!(change(240, [&both, &both]), bundles(&[(0, &[2]), (1, &[2])]));
    assert_eq!(change(240, [&one, &both]), bundles(&[(1, &[2])]));
    assert_eq!(change(240, [&one, &one]), step(SecretStep::Retire));
}

#[test]
fn a_leaf_is_renewed_when_a_third_of_its_life_is_left() {
    let until = |minute, end| {
        usual(|case| (case.minute, case.held) = (minute, Some(Held { issuer: id(1), not_after: at(end) })))
    };
    assert_eq!(until(109, 120), Plan::default());
    assert_eq!(until(110, 120), issue());
    // It cannot outlive its CA.
    assert_eq!(until(295, 300), step(SecretStep::Prepare));
}

#[test]
fn a_bundle_is_repaired_and_keeps_what_others_put_there() {
    assert_eq!(usual(|case| case.entries[1].clear()), bundles(&[(1, &[1])]));
    assert_eq!(usual(|case| case.entries[0] = vec![made(9, 90)]), bundles(&[(0, &[1, 9])]));
    assert_eq!(usual(|case| case.entries[0].push(made(9, 90))), Plan::default());
    assert_eq!(usual(|case| case.entries[0].insert(0, made(9, 90))), Plan::default());
    let expired = Known { not_after: at(100), ..made(9, 0) };
    assert_eq!(usual(|case| case.entries[0].push(expired)), bundles(&[(0, &[1])]));
    assert_eq!(usual(|case| case.entries.clear()), Plan::default());
}

/// A clock that jumps a year, of this node or of an API server.
#[test]
fn no_ca_is_made_or_removed_while_the_clocks_differ() {
    let expired = Known { not_after: at(100), ..made(9, 0) };
    let unsure = |change: &dyn Fn(&mut Case)| {
        usual(|case| {
            change(case);
            case.is_clock_sure = false;
        })
    };
    assert_eq!(unsure(&|case| (case.stored, case.held) = (Stored::default(), None)), Plan::default());
    assert_eq!(unsure(&|case| case.minute = 600_000), Plan::default());
    assert_eq!(unsure(&|case| case.entries[0].push(expired)), Plan::default());
    // What serves is still kept.
    assert_eq!(unsure(&|case| case.entries[0].clear()), bundles(&[(0, &[1])]));
    assert_eq!(unsure(&|case| case.held = None), issue());
}

#[test]
fn an_expired_ca_is_replaced_at_once() {
    let year = |next| {
        let stored = Stored { current: Some(made(1, 0)), next, previous: None };
        usual(|case| (case.minute, case.stored, case.entries) = (1000, stored, vec![]))
    };
    assert_eq!(year(None), step(SecretStep::Create));
    assert_eq!(year(Some(made(2, 800))), step(PROMOTED));
    assert_eq!(year(Some(made(2, 600))), step(SecretStep::Create));
    // A CA from the future, made while the clocks were wrong.
    assert_eq!(
        usual(|case| (case.stored.current, case.entries) = (Some(made(3, 5000)), vec![])),
        step(SecretStep::Create)
    );
}

#[test]
fn nothing_is_done_while_the_secret_cannot_be_read() {
    let view = View { now: at(0), is_clock_sure: true, stored: None, entries: &[vec![]], settled: &[], held: None };
    assert_eq!(plan(&TERMS, &view), Plan::default());
}

/// A replica between its rounds.
#[derive(Clone, Default)]
struct Replica {
    held: Option<Held>,
    shown: Vec<(CertificateId, u32)>,
}

/// What happens in a minute.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// Only these replicas do a round. The others cannot reach the API server.
    Rounds([bool; 3]),
    Restart(usize),
    /// The first replica stops after it has written the Secret or the bundle.
    Interrupted(usize),
    /// Somebody deletes the Secret.
    Deleted,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        200 => Just(Event::Rounds([true; 3])),
        40 => any::<[bool; 3]>().prop_map(Event::Rounds),
        5 => (0..3_usize).prop_map(Event::Restart),
        20 => (0..3_usize).prop_map(Event::Interrupted),
        1 => Just(Event::Deleted),
    ]
}

/// The cluster: one bundle stands for every entry.
struct World {
    minute: u32,
    stored: Stored,
    bundle: Vec<Known>,
    /// The bundles of the last minutes, any of which an API server may still use.
    seen: Vec<(u32, Vec<CertificateId>)>,
    replicas: [Replica; 3],
    made: u8,
    /// When the Secret was deleted last, or the cluster began.
    begun: u32,
    rotations: u32,
}

impl World {
    fn new() -> Self {
        Self {
            minute: 0,
            stored: Stored::default(),
            bundle: Vec::new(),
            seen: Vec::new(),
            replicas: Default::default(),
            made: 0,
            begun: 0,
            rotations: 0,
        }
    }

    fn make(&mut self) -> Known {
        self.made += 1;
        made(self.made, self.minute)
    }

    /// Does at most `steps` steps of a round.
    fn round(&mut self, replica: usize, steps: usize) {
        for _ in 0..steps {
            let minute = self.minute;
            let shown = std::mem::take(&mut self.replicas[replica].shown);
            let since = |id| shown.iter().find(|(shown, _)| *shown == id).map_or(minute, |(_, since)| *since);
            let shown: Vec<_> = self.bundle.iter().map(|known| (known.id, since(known.id))).collect();
            let settled = shown.iter().filter(|(_, since)| MINUTE * (minute - since) >= TERMS.settle);
            let settled: Vec<_> = settled.map(|(id, _)| *id).collect();
            self.replicas[replica].shown = shown;
            let entries = [self.bundle.clone()];
            let view = View {
                now: at(minute),
                is_clock_sure: true,
                stored: Some(&self.stored),
                entries: &entries,
                settled: &settled,
                held: self.replicas[replica].held,
            };
            let plan = plan(&TERMS, &view);
            if plan.issue {
                let current = self.stored.current.expect("a CA to issue from");
                let not_after = (at(minute) + TERMS.leaf).min(current.not_after);
                self.replicas[replica].held = Some(Held { issuer: current.id, not_after });
            } else if let Some((_, ids)) = plan.bundles.first() {
                let ours = [self.stored.current, self.stored.next].into_iter().flatten();
                let ours = ours.chain(self.stored.previous.map(|(known, _)| known));
                let all: Vec<_> = self.bundle.iter().copied().chain(ours).collect();
                let find = |id: &CertificateId| all.iter().copied().find(|known| known.id == *id).expect("a known CA");
                self.bundle = ids.iter().map(find).collect();
            } else if let Some(step) = plan.secret {
                self.stored = match step {
                    SecretStep::Create => Stored { current: Some(self.make()), ..Stored::default() },
                    SecretStep::Prepare => Stored { next: Some(self.make()), ..self.stored },
                    SecretStep::Promote { keep_until } => {
                        self.rotations += 1;
                        let previous = self.stored.current.zip(keep_until);
                        Stored { current: self.stored.next, next: None, previous: previous.or(self.stored.previous) }
                    }
                    SecretStep::Retire => Stored { previous: None, ..self.stored },
                };
            } else {
                return;
            }
        }
    }

    fn happens(&mut self, event: Event) {
        self.minute += 1;
        let rounds = match event {
            Event::Rounds(rounds) => rounds.map(|does| if does { 20 } else { 0 }),
            Event::Restart(replica) => {
                self.replicas[replica] = Replica::default();
                [20; 3]
            }
            Event::Interrupted(replica) => {
                let mut rounds = [20; 3];
                rounds[replica] = 1;
                rounds
            }
            Event::Deleted => {
                (self.stored, self.begun) = (Stored::default(), self.minute);
                [20; 3]
            }
        };
        for (replica, steps) in rounds.into_iter().enumerate() {
            self.round(replica, steps);
        }
        self.seen.push((self.minute, self.bundle.iter().map(|known| known.id).collect()));
        self.seen.retain(|(minute, _)| self.minute - minute < 5);
    }

    /// Every valid leaf is accepted by each API server, whichever bundle of the last five minutes it uses. A replica that starts
    /// after a CA was made without a predecessor has no other one to use.
    fn is_accepted(&self) -> Result<(), String> {
        for (number, replica) in self.replicas.iter().enumerate() {
            let Some(held) = replica.held.filter(|held| at(self.minute) < held.not_after) else { continue };
            for (minute, bundle) in &self.seen {
                if self.minute - self.begun >= 10 && !bundle.contains(&held.issuer) {
                    return Err(format!(
                        "minute {}: {number} serves {held:?}, not in {bundle:?} of {minute}",
                        self.minute
                    ));
                }
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn no_replica_serves_a_leaf_that_an_api_server_may_not_accept(events in prop::collection::vec(event(), 1500)) {
        let mut world = World::new();
        for event in events {
            world.happens(event);
            prop_assert_eq!(world.is_accepted(), Ok(()));
            if let Event::Rounds([true, true, true]) = event {
                let now = at(world.minute);
                let all_serve = world.replicas.iter().all(|replica| replica.held.is_some_and(|held| now < held.not_after));
                prop_assert!(all_serve, "minute {}: a replica serves nothing", world.minute);
            }
        }
    }
}

#[test]
fn a_quiet_cluster_renews_its_ca_before_each_expires() {
    let mut world = World::new();
    for _ in 0..1500 {
        world.happens(Event::Rounds([true; 3]));
        assert_eq!(world.is_accepted(), Ok(()));
        assert!(world.bundle.len() <= 2, "{:?}", world.bundle);
    }
    assert_eq!(world.rotations, 7, "one about every 205 minutes");
}

/// Without the wait, the property would not hold: a test of the test.
#[test]
fn the_property_notices_a_ca_that_is_used_too_early() {
    let mut world = World::new();
    for _ in 0..20 {
        world.happens(Event::Rounds([true; 3]));
    }
    let early = world.make();
    world.bundle.push(early);
    world.replicas[1].held = Some(Held { issuer: early.id, not_after: at(40) });
    world.seen.push((20, world.bundle.iter().map(|known| known.id).collect()));
    world.is_accepted().expect_err("an older bundle does not have it");
}
