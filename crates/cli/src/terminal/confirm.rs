//! The question before a signature. It requires a terminal; scripts pass `--yes`.

use std::io::{self, IsTerminal as _};

use inquire::{Confirm, InquireError};
use writgate_core::approval::Approval;

use crate::{failure::Failure, terminal::output::shown};

/// Fails early if the question could not be answered.
pub(crate) fn can_be_asked(yes: bool) -> Result<(), Failure> {
    if yes || (io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return Ok(());
    }
    Err(Failure::Misuse(
        "there is no terminal to ask on; read the request with `kubectl writgate review`, then sign it with --yes"
            .to_owned(),
    ))
}

/// Asks for confirmation to sign an approval, unless `yes` is set.
pub(crate) fn ask(approval: &Approval, yes: bool) -> Result<(), Failure> {
    let question = format!(
        "Sign this for {} until {}?",
        shown(&format!("{} in {}", approval.project, approval.environment)),
        approval.expires_at
    );
    ask_to(&question, yes)
}

/// Asks a question about a signature, unless `yes` is set.
pub(crate) fn ask_to(question: &str, yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    match Confirm::new(question).with_default(false).prompt() {
        Ok(true) => Ok(()),
        Ok(false) | Err(InquireError::OperationCanceled | InquireError::OperationInterrupted) => {
            Err(Failure::No("not signed; nothing was written".to_owned()))
        }
        Err(InquireError::NotTTY | InquireError::IO(_)) => can_be_asked(false)
            .and(Err(Failure::Undetermined("the terminal gave no answer; nothing was signed".to_owned()))),
        Err(other) => Err(Failure::Undetermined(format!("cannot ask for confirmation: {other}"))),
    }
}
