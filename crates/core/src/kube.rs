//! What Kubernetes says about objects: kinds, pod specs, image references, quantities, and the defaults of its API server.

pub(crate) mod config_map;
pub(crate) mod defaults;
pub(crate) mod field_class;
pub(crate) mod image;
pub(crate) mod pod_spec;
pub(crate) mod quantity;
pub(crate) mod workload;

pub use config_map::{ConfigMapContent, bundle_name, check_bundle, content_digest};
pub use defaults::{DefaultError, UnknownField, default_forward, remove_dropped_fields, unknown_fields};
pub use field_class::{
    FieldClass, FieldRemark, FieldStep, Scope, Severity, UnusualField, field_class, unusual_codes, unusual_fields,
};
pub use image::ImagePatterns;
pub use quantity::QuantityError;
pub use workload::{FurtherKind, FurtherKindError, WorkloadKind, WorkloadKinds, group_and_version};
