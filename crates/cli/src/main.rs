//! `kubectl writgate`: the command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    writgate_cli::command::run(std::env::args_os())
}
