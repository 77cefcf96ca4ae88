//! The webhook as a library and as a process, without a control plane: HTTP, TLS, limits, and what the project publishes
//! about it.

mod bad_input;
mod dependencies;
mod http;
mod process;
mod rendered;
mod tls;
mod wire;
