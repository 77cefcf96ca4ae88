//! The webhook: an HTTPS endpoint, its state, and the trail of its decisions.
//!
//! [`http`] accepts a request on a port that serves a [`certificate`], [`review`] has core decide it with what [`state`] knows, and [`trail`] records the decision.
//! [`server`] builds the parts and connects them.

pub mod certificate;
pub mod http;
pub mod metrics;
pub mod review;
pub mod server;
pub mod state;
pub mod telemetry;
pub mod trail;
