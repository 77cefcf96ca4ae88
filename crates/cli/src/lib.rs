//! `kubectl writgate`: the command line.
//!
//! [`command`] has a file or a folder for each verb. A verb reads its input, asks core, and prints. The other modules
//! are shared by verbs: `manifest` reads and edits manifests; `approval` collects what an approval is for and checks it
//! against the posture; `cluster` and `postures` read from the API server or from a folder; `signer` signs; `terminal`
//! handles prompts and output. `console` serves web pages on loopback.

mod approval;
mod cluster;
pub mod command;
mod console;
mod failure;
mod manifest;
mod platform;
mod postures;
mod signer;
mod terminal;
