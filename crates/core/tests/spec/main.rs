//! The specifications in `docs/spec`: every test vector there, one case in each file, is run here.

mod approval;
mod case;
mod decision;
mod record;
mod spec_hash;
