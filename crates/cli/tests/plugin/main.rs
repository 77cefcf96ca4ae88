//! `kubectl-writgate` as people and programs meet it, without a cluster.

mod commands;
mod interop;
mod renderers;
mod signers;
mod vectors;
