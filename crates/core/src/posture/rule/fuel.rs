//! The limit of steps for the rules of one decision, and why a condition has no result.

use std::{cell::Cell, fmt};

/// The most steps that all rules of one decision may take: a few milliseconds, and far more than any real object needs.
const MAX_STEPS: usize = 1_000_000;

/// The steps that are left.
#[derive(Debug)]
pub(super) struct Fuel(Cell<usize>);

impl Fuel {
    pub(super) fn full() -> Self {
        Self(Cell::new(MAX_STEPS))
    }

    /// Takes steps before they are done. Once the fuel is spent, it stays spent.
    pub(super) fn spend(&self, steps: usize) -> Result<(), Fault> {
        self.0.set(self.0.get().saturating_sub(steps));
        if self.is_spent() { Err(Fault::TooCostly) } else { Ok(()) }
    }

    pub(super) fn is_spent(&self) -> bool {
        self.0.get() == 0
    }

    /// Takes the steps for reading this many bytes.
    pub(super) fn spend_bytes(&self, bytes: usize) -> Result<(), Fault> {
        self.spend(1 + bytes / 16)
    }
}

/// Why an expression has no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The fuel is spent. Unlike an error, this is final: neither `||` nor `&&` can absorb it.
    TooCostly,
    /// An error in the sense of CEL.
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
                "the capability rules of this posture take more than {MAX_STEPS} steps on this object; simplify the \
                 rules or make the object smaller"
            ),
            Self::Error(what) => f.write_str(what),
        }
    }
}
