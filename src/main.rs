//! The webhook's binary. Its image contains no code that can sign an approval.

use std::process::ExitCode;

use clap::Parser;
use writgate::server::{self, Args};

fn main() -> ExitCode {
    // Before any use of TLS. Without a default, rustls panics if two providers are compiled in.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match server::run(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("writgate-webhook: {error}");
            ExitCode::FAILURE
        }
    }
}
