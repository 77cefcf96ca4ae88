//! Random manifests of the kinds of Kubernetes, with all their fields, as in a user's file.

mod container;
mod pod;
mod volume;
mod workload;

pub use workload::manifest;
