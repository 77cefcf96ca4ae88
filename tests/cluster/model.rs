//! Random histories against a model. Somebody applies, patches, labels, pauses, resumes, scales, deletes and goes back;
//! approvals expire and are revoked meanwhile. After every step the real API server must hold exactly what a model of
//! two hundred lines says it may, and at the end every decision must have exactly one record.
//!
//! `WRITGATE_MODEL_HISTORIES` is the number of histories (6), `WRITGATE_MODEL_STEPS` their length (40), and
//! `WRITGATE_MODEL_SEED` makes a failed one again, alone.

mod player;
mod verdict;
mod witness;

use writgate_testing::{Installation, harness, harness::Test};

/// Histories that are played at once, each in a namespace of its own.
const AT_ONCE: usize = 8;

/// The one test: it plays all histories.
pub(crate) fn tests() -> Vec<Test<Installation>> {
    harness::tests![random_histories_match_the_model]
}

fn random_histories_match_the_model(installation: &Installation) {
    let number = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
    };
    let steps = number("WRITGATE_MODEL_STEPS", 40);
    let histories = number("WRITGATE_MODEL_HISTORIES", 6);
    let first = u64::from(std::process::id()) << 16;
    let one = std::env::var("WRITGATE_MODEL_SEED").is_ok().then(|| vec![number("WRITGATE_MODEL_SEED", 0)]);
    let seeds = one.unwrap_or_else(|| (first..first + histories).collect());
    let mut failed = Vec::new();
    for some in seeds.chunks(AT_ONCE) {
        std::thread::scope(|scope| {
            let play = |seed: u64| scope.spawn(move || player::play(installation, seed, steps));
            let histories: Vec<_> = some.iter().map(|seed| (*seed, play(*seed))).collect();
            failed.extend(histories.into_iter().filter_map(|(seed, run)| run.join().is_err().then_some(seed)));
        });
    }
    assert!(failed.is_empty(), "histories that went otherwise: WRITGATE_MODEL_SEED={failed:?}");
}
