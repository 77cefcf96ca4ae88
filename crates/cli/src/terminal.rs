//! Prompts, output, and files that are written.

pub(crate) mod asking;
pub(crate) mod output;
pub(crate) mod passphrase;
pub(crate) mod progress;
pub(crate) mod style;
pub(crate) mod wrapping;
