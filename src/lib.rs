//! The webhook: an HTTPS endpoint, its state, and the trail of its decisions.
//!
//! [`http`] accepts a request on a port that serves a [`certificate`], [`review`] has core decide it with what [`state`] knows, and [`trail`] records the decision.
//! One replica holds a [`lease`], sends the [`canary`], does the [`reaudit`],
//! deletes old requests and notifies people. [`server`] builds the parts and connects them.

pub mod canary;
pub mod certificate;
pub mod http;
mod lasting_failure;
pub mod lease;
pub mod metrics;
mod notify;
pub mod reaudit;
mod request_sweep;
pub mod review;
pub mod server;
pub mod state;
pub mod telemetry;
pub mod trail;
