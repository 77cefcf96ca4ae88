//! Counts expensive work in tests: a decision that does the same work twice fails a test.

use std::cell::RefCell;

/// Work that a decision does once for each spec, request or approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    SpecHash,
    PodSpec,
    CapabilityRules,
    SignatureCheck,
    Explanation,
}

thread_local! {
    static DONE: RefCell<Vec<Work>> = const { RefCell::new(Vec::new()) };
}

pub(crate) fn count(work: Work) {
    DONE.with_borrow_mut(|done| done.push(work));
}

/// The work that `run` does on this thread, in order.
pub(crate) fn done_by<T>(run: impl FnOnce() -> T) -> (T, Vec<Work>) {
    DONE.take();
    let result = run();
    (result, DONE.take())
}
