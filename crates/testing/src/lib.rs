//! A real control plane for tests and the demo: etcd, kube-apiserver, kube-controller-manager and kubectl, each at the
//! pinned version, on loopback. Tests share one per suite. Assertions belong to the tests.
//!
//! A test binary that uses it has its own `main` (`harness = false` in Cargo.toml), so that every process is stopped before
//! the binary ends:
//!
//! ```ignore
//! use writgate_testing::{Plane, harness};
//!
//! fn main() {
//!     harness::run(Plane::start, vec![("suite", harness::tests![creates_a_config_map])]);
//! }
//!
//! fn creates_a_config_map(plane: &Plane) {
//!     let namespace = plane.namespace("example"); // ungoverned; unique in this plane
//!     let ran = plane.admin.apply(&serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap",
//!         "metadata": {"name": "x", "namespace": namespace}}));
//!     assert!(ran.ok(), "{ran}");
//!     let list = plane.block_on(async { // the API client is faster than kubectl
//!         let client = plane.admin.client().await;
//!         kube::Api::<k8s_openapi::api::core::v1::ConfigMap>::namespaced(client, &namespace).list(&kube::api::ListParams::default()).await
//!     });
//!     assert!(list.is_ok());
//! }
//! ```
//!
//! `Installation` is a control plane with the webhook installed; `installation.governed("hint")` is a governed namespace.
//!
//! The first test starts the plane, and tests run in parallel in namespaces of their own. If the test process is killed, a
//! watcher process stops each server (see `process`). `tests/controlplane/build.sh` builds the Kubernetes programs once.
//! `WRITGATE_KEEP=1` keeps the folder with logs, certificates and kubeconfigs, and prints its path.

#![allow(
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    clippy::new_without_default,
    reason = "a panic is how a test fails"
)]

pub mod figures;
pub mod flux;
pub mod harness;
mod installation;
pub mod manifests;
mod pki;
mod plane;
mod process;
mod programs;
pub mod random;
mod review;
mod signing;
mod tools;
mod user;
mod webhook;

pub use installation::{
    APPROVAL, Governed, Installation, Scope, attach, denial, denied_for, detached, document, hash_of, posted,
    request_file,
};
pub use pki::{Authority, Pair};
pub use plane::{API_SERVER, Plane};
pub use process::{Process, free_port, wait_until};
pub use programs::{plugin, program, repository, scratch};
pub use review::deployment_review;
pub use signing::{Key, envelope, seconds_from_now};
pub use tools::{Tools, helm, other_kubernetes, prometheus};
pub use user::{Credential, Ran, User};
pub use webhook::{CA_SECRET, FURTHER_KIND, SYSTEM_NAMESPACE, Webhook};
