//! HTTP: ports and connections, routes, limits, responses, the admin port and the serving certificate.

pub mod admin;
mod exposition;
pub(crate) mod limits;
pub mod ports;
pub(crate) mod respond;
pub mod router;
pub(crate) mod shares;
pub mod tls;
