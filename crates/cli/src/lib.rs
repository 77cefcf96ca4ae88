//! `kubectl writgate`: the command line.
//!
//! [`command`] has a file or a folder for each verb, and each verb reads its input, asks core, and prints. What several verbs share:
//! `manifest` reads and edits manifests, `approval` puts together what an approval is about and what the posture says of it,
//! `cluster` and `rules` ask the API server or a folder, `signer` signs, `terminal` talks to people.

mod approval;
mod cluster;
pub mod command;
mod failure;
mod manifest;
mod rules;
mod signer;
mod terminal;
