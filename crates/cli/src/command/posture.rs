//! `posture`: the rules of environments, written, checked, told in words and compared. One file for each verb.

mod check;
mod diff;
mod effect;
mod explain;
mod field;
mod init;

use clap::Subcommand;

use crate::failure::{Answer, Failure};

/// What to do with postures.
#[derive(Subcommand)]
pub(crate) enum Verb {
    Init(init::Arguments),
    Check(check::Arguments),
    Explain(explain::Arguments),
    Diff(diff::Arguments),
}

pub(crate) fn run(verb: &Verb) -> Result<Answer, Failure> {
    match verb {
        Verb::Init(arguments) => init::run(arguments),
        Verb::Check(arguments) => check::run(arguments),
        Verb::Explain(arguments) => explain::run(arguments),
        Verb::Diff(arguments) => diff::run(arguments),
    }
}
