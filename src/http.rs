//! HTTP: ports and connections, routes, limits, responses and the admin port.

pub mod admin;
mod exposition;
pub(crate) mod limits;
pub mod ports;
pub(crate) mod reclaim;
pub(crate) mod respond;
pub mod router;
pub(crate) mod shares;
pub(crate) mod trace_parent;
