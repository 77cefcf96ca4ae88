//! Runs every test vector in `docs/spec`. Each file has one case.

mod approval;
mod case;
mod decision;
mod record;
mod request;
mod spec_hash;
