//! How a verb ends: with an answer, or with the reason why there is no answer.

use std::fmt;

use crate::manifest::ManifestError;

/// The answer of a verb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Yes,
    No,
}

impl Answer {
    pub(crate) fn of(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }
}

/// Why a verb ended early. The text says what was found, what was expected and what to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The input gives a reason to refuse. Exit code 1.
    No(String),
    /// The command line is incomplete or contradicts itself. Exit code 2.
    Misuse(String),
    /// Something that is required could not be read, written or understood. Exit code 3.
    Undetermined(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::No(why) | Self::Misuse(why) | Self::Undetermined(why)) = self;
        f.write_str(why)
    }
}

impl From<ManifestError> for Failure {
    fn from(error: ManifestError) -> Self {
        Self::Undetermined(error.to_string())
    }
}
