//! The webhook, end to end: the real kubectl, the real API server, the real webhook with the chart's own rights. One
//! control plane for all tests, and for each a governed namespace with an environment of its own.
//!
//! `flow` and `review` are the main job with the product's own command line; `blockers` are the reasons that must never be lost;
//! `lifecycle` is what must keep working; `guards` is what the webhook rests on; `single_use`, `races` and `rollback` rest
//! on the ledger; `detached` is approvals beside the workload; `names`, `callers`, `access`, `further` and `connect` are
//! the edges; `policies` is what the API server guards by itself. What every decision leaves behind is asserted by `trail`,
//! everywhere the same; `audit` reads it back, and `chain` is what shows that none of it was touched. `request` is the
//! operator's command line.

mod access;
mod audit;
mod blockers;
mod break_glass;
mod callers;
mod chain;
mod connect;
mod detached;
mod duties;
mod flow;
mod further;
mod guards;
mod lifecycle;
mod names;
mod policies;
mod posture_verbs;
mod provenance;
mod races;
mod request;
mod review;
mod rollback;
mod rules;
mod single_use;
mod trail;

use writgate_testing::{Installation, harness::Test};

/// Every end-to-end test.
pub(crate) fn tests() -> Vec<Test<Installation>> {
    [
        access::tests(),
        audit::tests(),
        blockers::tests(),
        break_glass::tests(),
        callers::tests(),
        chain::tests(),
        connect::tests(),
        detached::tests(),
        duties::tests(),
        flow::tests(),
        further::tests(),
        guards::tests(),
        lifecycle::tests(),
        names::tests(),
        policies::tests(),
        posture_verbs::tests(),
        provenance::tests(),
        races::tests(),
        request::tests(),
        review::tests(),
        rollback::tests(),
        rules::tests(),
        single_use::tests(),
    ]
    .concat()
}
