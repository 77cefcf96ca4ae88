//! What Writgate decides, and why.
//!
//! Pure: no I/O, no clock, no async. Everything that can change an answer is an argument.
//!
//! Read the modules in this order; a module imports only from those before it: [`vocabulary`], [`text`], [`encoding`],
//! [`kube`], [`approval`], [`record`], [`posture`], [`request`], [`decide`], [`guard`].

pub mod approval;
pub mod decide;
pub mod encoding;
pub mod guard;
pub mod kube;
pub mod posture;
pub mod record;
pub mod request;
pub mod text;
pub mod vocabulary;
#[cfg(test)]
mod work;
