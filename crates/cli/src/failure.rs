//! How a verb ends: with an answer, or with the reason why there is none.

use std::fmt;

use crate::manifest::ManifestError;

/// What a verb was asked, answered.
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

/// Why a verb ended early. The text says what was found, what was expected and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It was refused for a reason that the input gives.
    No(String),
    /// The command line asks for what makes no sense.
    Misuse(String),
    /// Something that was needed could not be read, written or understood.
    CouldNotTell(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::No(why) | Self::Misuse(why) | Self::CouldNotTell(why)) = self;
        f.write_str(why)
    }
}

impl From<ManifestError> for Failure {
    fn from(error: ManifestError) -> Self {
        Self::CouldNotTell(error.to_string())
    }
}
