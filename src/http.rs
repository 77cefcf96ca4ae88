//! What is HTTP: bounds on requests, the answers, the admin port, and the serving certificate.

pub mod admin;
pub(crate) mod limits;
pub(crate) mod respond;
pub mod tls;
