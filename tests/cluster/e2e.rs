//! The webhook, end to end: the real kubectl, the real API server, and the real webhook with the rights that the chart grants.
//! All tests share one control plane, and each has a governed namespace with an environment of its own.
//!
//! - `flow`, `request`, `review`, `posted`: the main path, with the command line. `console`: in a page.
//! - `blockers`: the reasons that must deny in every release.
//! - `lifecycle`: workloads after their admission.
//! - `guards`, `policies`: the objects that governance depends on, the Events and the ledger.
//! - `single_use`, `races`, `rollback`: decisions that use the ledger. `revisions`: rollbacks to `ControllerRevisions`.
//! - `detached`: approvals in ConfigMaps. `helm`: those of a Helm release. `argo_cd`: the requests that Argo CD sends.
//! - `coverage`: what no approval covers.
//! - `client_certificate`: a webhook that accepts only API servers.
//! - `roles`: the chart's roles for people.
//! - `names`, `callers`, `access`, `further`, `connect`: edge cases.
//! - `trail` asserts the Event, audit annotations, record and metric of a decision; `audit` reads them, and `chain` verifies
//!   the records.

mod access;
mod argo_cd;
mod audit;
mod blockers;
mod break_glass;
mod callers;
mod chain;
mod client_certificate;
mod connect;
mod console;
mod coverage;
mod detached;
mod duties;
mod flow;
mod further;
mod guards;
mod helm;
mod lifecycle;
mod names;
mod policies;
pub(crate) mod posted;
mod posture_verbs;
mod provenance;
mod races;
mod request;
mod review;
mod revisions;
mod roles;
mod rollback;
mod rules;
mod single_use;
mod trail;

use writgate_testing::{Installation, harness::Test};

/// Every end-to-end test.
pub(crate) fn tests() -> Vec<Test<Installation>> {
    [
        access::tests(),
        argo_cd::tests(),
        audit::tests(),
        blockers::tests(),
        break_glass::tests(),
        callers::tests(),
        chain::tests(),
        client_certificate::tests(),
        connect::tests(),
        console::tests(),
        coverage::tests(),
        detached::tests(),
        duties::tests(),
        flow::tests(),
        further::tests(),
        guards::tests(),
        helm::tests(),
        lifecycle::tests(),
        names::tests(),
        policies::tests(),
        posted::tests(),
        posture_verbs::tests(),
        provenance::tests(),
        races::tests(),
        request::tests(),
        review::tests(),
        revisions::tests(),
        roles::tests(),
        rollback::tests(),
        rules::tests(),
        single_use::tests(),
    ]
    .concat()
}
