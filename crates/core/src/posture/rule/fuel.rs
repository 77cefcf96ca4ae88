//! What the rules of one decision may cost together, and why a rule came to no answer.

use std::{cell::Cell, fmt};

/// Steps that the rules of one decision may take together: some milliseconds, and far more than any object needs.
const MAX_STEPS: usize = 1_000_000;

/// What is left of the steps.
#[derive(Debug)]
pub(super) struct Fuel(Cell<usize>);

impl Fuel {
    pub(super) fn full() -> Self {
        Self(Cell::new(MAX_STEPS))
    }

    /// Pays for some steps before they are taken. Once something was too dear, everything is.
    pub(super) fn spend(&self, steps: usize) -> Result<(), Fault> {
        self.0.set(self.0.get().saturating_sub(steps));
        if self.is_spent() { Err(Fault::TooCostly) } else { Ok(()) }
    }

    pub(super) fn is_spent(&self) -> bool {
        self.0.get() == 0
    }

    /// Pays for going through so many bytes.
    pub(super) fn spend_bytes(&self, bytes: usize) -> Result<(), Fault> {
        self.spend(1 + bytes / 16)
    }
}

/// Why an expression has no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The fuel is spent. Unlike an error, no `||` or `&&` outweighs this.
    TooCostly,
    /// What CEL calls an error.
    Error(String),
}

impl Fault {
    pub(super) fn error(what: impl Into<String>) -> Self {
        Self::Error(what.into())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooCostly => write!(
                f,
                "the rules of this posture take more than {MAX_STEPS} steps on this object; make the rule simpler, or \
                 the object smaller"
            ),
            Self::Error(what) => f.write_str(what),
        }
    }
}
