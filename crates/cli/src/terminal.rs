//! Prompts, output, and files that are written.

pub(crate) mod confirm;
pub(crate) mod output;
pub(crate) mod pager;
pub(crate) mod passphrase;
pub(crate) mod progress;
pub(crate) mod style;
