//! The question before a signature. Only a person at a terminal can be asked; a script says `--yes` beforehand.

use std::io::{self, IsTerminal as _};

use inquire::{Confirm, InquireError};
use writgate_core::approval::Approval;

use crate::{failure::Failure, terminal::output::shown};

/// Whether the question will have an answer; said before anything is read.
pub(crate) fn can_be_asked(yes: bool) -> Result<(), Failure> {
    if yes || (io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return Ok(());
    }
    Err(Failure::Misuse(
        "there is no terminal to ask at; look at it with `kubectl writgate review`, then sign it with --yes".to_owned(),
    ))
}

/// Asks, unless the answer was given.
pub(crate) fn ask(approval: &Approval, yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    let question = format!(
        "Sign this for {} until {}?",
        shown(&format!("{} in {}", approval.project, approval.environment)),
        approval.expires_at
    );
    match Confirm::new(&question).with_default(false).prompt() {
        Ok(true) => Ok(()),
        Ok(false) | Err(InquireError::OperationCanceled | InquireError::OperationInterrupted) => {
            Err(Failure::No("not signed, nothing is written".to_owned()))
        }
        Err(InquireError::NotTTY | InquireError::IO(_)) => can_be_asked(false)
            .and(Err(Failure::CouldNotTell("the terminal gave no answer; nothing is signed".to_owned()))),
        Err(other) => Err(Failure::CouldNotTell(format!("cannot ask: {other}"))),
    }
}
