//! The decision, from cases that are admitted and one thing changed.

mod case;
mod properties;
mod table;
