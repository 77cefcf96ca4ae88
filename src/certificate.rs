//! The certificate that the webhook serves, the CA that signs it, and the CA bundle by which API servers accept it.
//!
//! The pair comes from files, or the webhook makes it: [`authority`] makes a CA and leaves, `secret` is where all replicas share the
//! CA, [`plan`] decides what to do next, and [`keeper`] does it. `configuration` reads the bundle in the webhook configuration and writes
//! it, and [`bundle`] checks it. [`serving`] is what the TLS port uses and what readiness reports.

pub mod authority;
pub mod bundle;
pub mod clients;
mod configuration;
pub mod files;
pub mod keeper;
pub mod plan;
pub mod secret;
pub mod serving;
