//! `kubectl writgate`: the command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    writgate::cli::run(std::env::args_os())
}
