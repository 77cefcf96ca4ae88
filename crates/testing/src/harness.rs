//! Runs a binary's tests with one plane for all, and stops it before the process ends. The standard harness cannot:
//! it leaves through `exit`, which drops nothing.

use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use libtest_mimic::{Arguments, Failed, Trial};

/// What the tests of one binary share: made by the first that runs, kept until the last has ended.
struct Shared<P> {
    start: fn() -> P,
    value: OnceLock<Option<P>>,
}

/// A named test that is given the shared fixture.
pub type Test<P> = (&'static str, fn(&P));

/// Runs those of `tests` that the command line asks for, in parallel, each given what `start` made.
pub fn run<P: Send + Sync + 'static>(start: fn() -> P, tests: Vec<Test<P>>) -> ExitCode {
    let shared = Arc::new(Shared { start, value: OnceLock::new() });
    let trials = tests.into_iter().map(|(name, test)| {
        let shared = Arc::clone(&shared);
        Trial::test(name, move || {
            test(shared.get().ok_or_else(|| Failed::from("the control plane did not start"))?);
            Ok(())
        })
    });
    let conclusion = libtest_mimic::run(&Arguments::from_args(), trials.collect());
    drop(shared); // the last reference: stops everything, in order
    conclusion.exit_code()
}

impl<P> Shared<P> {
    /// A start that failed has failed for every test: trying again per test would only take longer to say so.
    fn get(&self) -> Option<&P> {
        let start = || std::panic::catch_unwind(self.start).ok(); // the panic's own message was printed already
        self.value.get_or_init(start).as_ref()
    }
}

/// The tests by their function names.
#[macro_export]
macro_rules! tests {
    ($($test:path),* $(,)?) => { vec![$((stringify!($test), $test as fn(&_))),*] };
}
pub use crate::tests;
