//! The webhook as a library and as a process, without a control plane: HTTP, TLS, limits, the rendered manifests, and the
//! programs' dependencies.

mod bad_input;
mod chart;
mod chart_page;
mod connections;
mod dependencies;
mod http;
mod monitoring;
mod notifications;
mod overlays;
mod process;
mod rendered;
mod tls;
mod wire;
