//! Tests on a real control plane: etcd, kube-apiserver, its controllers and kubectl.
//!
//! All suites are one binary, so that they are linked once. They run on ten control planes, one after the other: a guard reads
//! all documents of a cluster, and every test adds some. `e2e` shows that the webhook admits and denies as specified, `bypass`
//! that a tenant cannot avoid it, `model` that random histories match a model, and `hash_proof` that the offline hash is the
//! hash at admission. `manifests` shows which requests the API server sends to the webhook, which is unreachable there.
//! `certificates` is about the certificate that the webhook makes. `doctor` breaks its installation, and
//! `reaudit` is about what one replica does for all. `monitoring` has a real
//! Prometheus, and `flux` Flux's own controllers. The API server of `static_manifests` reads its admission configuration from
//! files. `restore` deletes the system namespace.
//!
//! A test's name is `SUITE::FUNCTION`, without the module below the suite. `cargo test --test cluster TEXT` runs the tests whose
//! names contain TEXT.

mod bypass;
mod certificates;
mod doctor;
mod e2e;
mod flux;
mod hash_proof;
mod manifests;
mod model;
mod monitoring;
mod reaudit;
mod restore;
mod static_manifests;

use std::process::ExitCode;

use writgate_testing::{Installation, harness};

fn main() -> ExitCode {
    let e2e = harness::run(Installation::start, vec![("e2e", e2e::tests())]);
    let suites = vec![("bypass", bypass::tests()), ("hash_proof", hash_proof::tests()), ("model", model::tests())];
    let shared = bypass::table_is_right(&harness::run(Installation::start, suites));
    let unreachable = harness::run(manifests::Unreachable::start, vec![("manifests", manifests::tests())]);
    let certificates = harness::run(certificates::Released::start, vec![("certificates", certificates::tests())]);
    let doctor = harness::run(Installation::start, vec![("doctor", doctor::tests())]);
    let reaudit = harness::run(reaudit::Watched::start, vec![("reaudit", reaudit::tests())]);
    let monitoring = harness::run(Installation::start, vec![("monitoring", monitoring::tests())]);
    let flux = harness::run(flux::Flux::start, vec![("flux", flux::tests())]);
    let restore = harness::run(Installation::start, vec![("restore", restore::tests())]);
    let files = harness::run(static_manifests::Static::start, vec![("static_manifests", static_manifests::tests())]);
    let outcomes = [e2e, unreachable, certificates, doctor, reaudit, monitoring, flux, restore, files];
    if shared && outcomes.iter().all(harness::Outcome::is_success) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
