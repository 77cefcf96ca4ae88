//! `posture`: write, check, explain and compare the rules of environments. One file for each verb.
//!
//! What a posture means, and whether a change is looser or stricter, is decided in core.

mod check;
mod diff;
mod explain;
mod field;
mod init;
mod replaced;

use clap::Subcommand;

pub(crate) use self::{
    check::problems,
    diff::describe,
    explain::{Topic, topics},
    replaced::replaced,
};

use crate::failure::{Answer, Failure};

/// The verbs.
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
