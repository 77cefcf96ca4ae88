//! The specifications in `docs/spec`: every test vector there, one case in each file, is run here.

#![expect(clippy::disallowed_methods, reason = "tests of files; core itself has none")]

mod approval;
mod case;
mod decision;
mod record;
mod spec_hash;
