//! Every way around the gate that we know of, tried: the real kubectl, the real API server and its controllers, the
//! credentials of a tenant with the `edit` role. What came of each is printed as a table and kept in
//! `docs/bypasses.md`.
//!
//! `case` says what an attempt is and which outcomes are safe; the other files are the rows, by theme. Whether the gate
//! does its job is e2e's; here is only whether it can be got around.

mod approvals;
mod case;
mod changes;
mod detached;
mod guards;
mod namespaces;
mod operations;
mod provenance;
mod replays;
mod rollouts;
mod snapshot;
mod table;
mod trail;
mod workloads;

use writgate_testing::{Gate, harness::Test};

pub(crate) use table::is_right as table_is_right;

/// Every attempt.
pub(crate) fn tests() -> Vec<Test<Gate>> {
    [
        approvals::tests(),
        changes::tests(),
        detached::tests(),
        guards::tests(),
        namespaces::tests(),
        operations::tests(),
        provenance::tests(),
        replays::tests(),
        rollouts::tests(),
        trail::tests(),
        workloads::tests(),
    ]
    .concat()
}
