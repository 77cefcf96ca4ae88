//! A test harness for tests that share a fixture. It drops the fixture before the process ends; the standard harness calls
//! `exit`, which drops nothing.

use std::sync::{Arc, OnceLock};

use libtest_mimic::{Arguments, Failed, Trial};

/// The shared fixture: the first test creates it, and it lives until the last test has ended.
struct Shared<P> {
    start: fn() -> P,
    value: OnceLock<Option<P>>,
}

/// A named test that takes the shared fixture.
pub type Test<P> = (&'static str, fn(&P));

/// The outcome of the tests of one fixture.
pub struct Outcome {
    is_success: bool,
    is_whole: bool,
}

impl Outcome {
    /// Whether no test failed.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.is_success
    }

    /// Whether every test of `suite` ran: no argument selected or skipped some of them.
    #[must_use]
    pub fn is_whole(&self, suite: &str) -> bool {
        let arguments = Arguments::from_args();
        let selects_suite = arguments.filter.as_deref().is_none_or(|filter| filter.trim_end_matches(':') == suite);
        self.is_whole && selects_suite
    }
}

/// Runs the tests of `suites` that the command line selects, in parallel. Each test takes the fixture that `start` creates,
/// and its name starts with the name of its suite.
pub fn run<P: Send + Sync + 'static>(start: fn() -> P, suites: Vec<(&'static str, Vec<Test<P>>)>) -> Outcome {
    let arguments = Arguments::from_args();
    let shared = Arc::new(Shared { start, value: OnceLock::new() });
    let trials = suites.into_iter().flat_map(|(suite, tests)| tests.into_iter().map(move |test| (suite, test)));
    let trials = trials.map(|(suite, (name, test))| {
        let shared = Arc::clone(&shared);
        Trial::test(format!("{suite}::{name}"), move || {
            test(shared.get().ok_or_else(|| Failed::from("the control plane did not start"))?);
            Ok(())
        })
    });
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    drop(shared); // the last reference: stops everything, in order
    Outcome {
        is_success: !conclusion.has_failed(),
        is_whole: arguments.skip.is_empty() && !arguments.list && !arguments.exact,
    }
}

impl<P> Shared<P> {
    /// The fixture, or `None` if it could not start. A failed start is not repeated for every test, since it would fail again.
    fn get(&self) -> Option<&P> {
        let start = || std::panic::catch_unwind(self.start).ok(); // the panic has printed its message
        self.value.get_or_init(start).as_ref()
    }
}

/// A list of tests, named after their functions.
#[macro_export]
macro_rules! tests {
    ($($test:path),* $(,)?) => { vec![$((stringify!($test), $test as fn(&_))),*] };
}
pub use crate::tests;
