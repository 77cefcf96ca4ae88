//! What is HTTP: routes, bounds on requests, how an answer looks, the admin port, and the serving certificate.

pub mod admin;
pub(crate) mod limits;
pub(crate) mod respond;
pub mod router;
pub mod tls;
