//! The adapters around `writgate_core`: an HTTPS webhook, its watches and records, and a command line.
//!
//! A review's way through the server: [`admission`] takes the bytes, [`store`] knows the posture, core decides, and
//! the decision is rendered as the response, a line on [`output`], a metric and an Event ([`events`]). [`watch`] or
//! [`posture_dir`] feed the store; [`server`] wires the parts together.

pub mod admin;
pub mod admission;
pub mod approval_reader;
pub mod approval_store;
pub mod chain;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod config_map_reader;
pub mod events;
pub mod guard_reader;
pub mod key_file;
pub mod ledger;
pub mod lookups;
pub mod manifest;
pub mod metrics;
pub mod names;
pub mod namespace_reader;
pub mod output;
pub mod posture_dir;
pub mod public_key_file;
pub mod retry;
pub mod server;
pub mod store;
pub mod telemetry;
pub mod text;
pub mod tls;
pub mod watch;
