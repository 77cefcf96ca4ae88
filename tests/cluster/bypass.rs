//! Attempts to bypass the webhook, with the real kubectl, the real API server and its controllers, and the credentials of a
//! tenant with the `edit` role. The outcomes are printed as a table and compared with `docs/bypasses.md`.
//!
//! `case` defines an attempt and the outcomes that are safe. The other files are the rows, by theme. That the webhook
//! admits what it should is shown by `e2e`.

mod adoption;
mod approvals;
mod case;
mod changes;
mod detached;
mod guards;
mod metadata;
mod namespaces;
mod operations;
mod provenance;
mod replays;
mod requests;
mod rollouts;
mod snapshot;
mod table;
mod trail;
mod workloads;

use writgate_testing::{Installation, harness::Test};

pub(crate) use table::is_right as table_is_right;

/// Every attempt.
pub(crate) fn tests() -> Vec<Test<Installation>> {
    [
        adoption::tests(),
        approvals::tests(),
        changes::tests(),
        detached::tests(),
        guards::tests(),
        metadata::tests(),
        namespaces::tests(),
        operations::tests(),
        provenance::tests(),
        replays::tests(),
        requests::tests(),
        rollouts::tests(),
        trail::tests(),
        workloads::tests(),
    ]
    .concat()
}
