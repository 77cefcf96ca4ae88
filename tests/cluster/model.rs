//! Random histories against a model. A history applies, patches, labels, pauses, resumes, scales, deletes, orphans and rolls back,
//! while approvals expire and are revoked. It also attempts what only controllers and the webhook may do: to let a Deployment adopt a
//! `ReplicaSet`, to change a Job's Pods, and to forge an entry of the ledger. After every step the API server must have the objects
//! that a model of about 250 lines predicts, and at the end every decision must have exactly one record.
//!
//! `WRITGATE_MODEL_HISTORIES` is the number of histories [default: 6], `WRITGATE_MODEL_STEPS` their length [default: 40].
//! `WRITGATE_MODEL_SEED` repeats one failed history.

mod attempts;
mod player;
mod verdict;
mod witness;

use std::collections::BTreeSet;

use crate::model::verdict::Attempt;
use writgate_testing::{Installation, harness, harness::Test};

/// Histories that run at the same time, each in a namespace of its own.
const AT_ONCE: usize = 8;
/// Histories in which each attempt is made at least once.
const MANY: u64 = 16;

/// One test, which runs all histories.
pub(crate) fn tests() -> Vec<Test<Installation>> {
    harness::tests![random_histories_match_the_model]
}

fn random_histories_match_the_model(installation: &Installation) {
    let number = |name: &str, default: u64| {
        std::env::var(name)
            .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}, expected a number")))
    };
    let steps = number("WRITGATE_MODEL_STEPS", 40);
    let histories = number("WRITGATE_MODEL_HISTORIES", 6);
    let first = u64::from(std::process::id()) << 16;
    let one = std::env::var("WRITGATE_MODEL_SEED").is_ok().then(|| vec![number("WRITGATE_MODEL_SEED", 0)]);
    let seeds = one.unwrap_or_else(|| (first..first + histories).collect());
    let (mut failed, mut refused) = (Vec::new(), BTreeSet::new());
    for some in seeds.chunks(AT_ONCE) {
        std::thread::scope(|scope| {
            let play = |seed: u64| scope.spawn(move || player::play(installation, seed, steps));
            let histories: Vec<_> = some.iter().map(|seed| (*seed, play(*seed))).collect();
            for (seed, run) in histories {
                match run.join() {
                    Ok(attempts) => refused.extend(attempts),
                    Err(_) => failed.push(seed),
                }
            }
        });
    }
    assert!(failed.is_empty(), "histories that differ from the model: WRITGATE_MODEL_SEED={failed:?}");
    if histories >= MANY {
        assert_eq!(refused, BTreeSet::from(Attempt::ALL), "in many histories, each attempt is made");
    }
}
