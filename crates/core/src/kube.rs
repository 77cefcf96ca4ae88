//! What Kubernetes says about objects: kinds, pod specs, image references, quantities, and the defaults of its API server.

pub(crate) mod bundle;
pub(crate) mod defaults;
pub(crate) mod image;
pub(crate) mod pod_spec;
pub(crate) mod quantity;
pub(crate) mod workload;
