//! What the webhook and the command line share outside core: the API client, names, keys, the clock, and the formats that one
//! program writes to the cluster and the other reads, and what covers a workload that exists.
//!
//! Nothing here serves requests or uses a terminal.

pub mod bounded_request;
pub mod checkpoint;
pub mod client;
pub mod clock;
pub mod config_map;
pub mod controllers;
pub mod event;
pub mod key_file;
pub mod live;
pub mod names;
pub mod namespace;
pub mod pages;
pub mod posture_dir;
pub mod proxy;
pub mod public_key_file;
pub mod retry;
pub mod webhook_configuration;
