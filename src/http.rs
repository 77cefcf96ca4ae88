//! HTTP: routes, limits, responses, the admin port and the serving certificate.

pub mod admin;
pub(crate) mod limits;
pub(crate) mod respond;
pub mod router;
pub mod tls;
