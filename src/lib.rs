//! The webhook: an HTTPS endpoint, its state and its trail around the decisions of `writgate_core`.
//!
//! A review's way through it: [`http`] takes the bytes, [`review`] has core decide by what [`state`] knows, and the
//! decision is rendered as the response, a line on standard output, a metric and an Event ([`trail`]). [`server`] wires the
//! parts together.

pub mod http;
pub mod metrics;
pub mod review;
pub mod server;
pub mod state;
pub mod telemetry;
pub mod trail;
