//! A real control plane for tests and the demo: etcd, kube-apiserver, kube-controller-manager and kubectl, each at the
//! pinned version, on loopback, started once per test binary. Nothing here knows what a test asserts.
//!
//! Use it from a test binary of its own, with its own `main` (`harness = false` in Cargo.toml), so that everything is
//! stopped and reaped before the process ends:
//!
//! ```ignore
//! use writgate_testing::{Plane, harness};
//!
//! fn main() -> std::process::ExitCode {
//!     harness::run(Plane::start, harness::tests![a_rule])
//! }
//!
//! fn a_rule(plane: &Plane) {
//!     let namespace = plane.namespace("a-rule"); // ungoverned; unique in this plane
//!     let ran = plane.admin.apply(&serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap",
//!         "metadata": {"name": "x", "namespace": namespace}}));
//!     assert!(ran.ok(), "{ran}");
//!     let list = plane.block_on(async { // the API client, for what kubectl is too slow for
//!         let client = plane.admin.client().await;
//!         kube::Api::<k8s_openapi::api::core::v1::ConfigMap>::namespaced(client, &namespace).list(&kube::api::ListParams::default()).await
//!     });
//!     assert!(list.is_ok());
//! }
//! ```
//!
//! With the webhook installed it is a `Installation`: `harness::run(Installation::start, …)`, `installation.governed("hint")`, and so on.
//!
//! The plane starts with the first test that asks for it, and tests run in parallel in namespaces of their own. If the
//! process is killed, a watcher per server sees its standard input close and stops that server (see `process`).
//! The tools come from `tests/controlplane/build.sh`, which builds them once. `WRITGATE_KEEP=1` keeps the folder
//! with every log, certificate and kubeconfig, and prints where it is.

#![allow(
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    clippy::new_without_default,
    reason = "a test that panics has failed, which is the point"
)]

pub mod harness;
mod installation;
mod pki;
mod plane;
mod process;
mod programs;
pub mod random;
mod signing;
mod tools;
mod user;
mod webhook;

pub use installation::{APPROVAL, Governed, Installation, attach, denial, denied_for, detached, document};
pub use pki::{Authority, Pair};
pub use plane::Plane;
pub use process::{Process, free_port, wait_until};
pub use programs::{plugin, program, repository, scratch};
pub use signing::{Key, envelope, seconds_from_now};
pub use tools::Tools;
pub use user::{Ran, User};
pub use webhook::{FURTHER_KIND, SYSTEM_NAMESPACE, Webhook};
