//! Decisions: each test starts from a case that is admitted and changes one thing.

mod adoption;
mod boundaries;
mod break_glass;
mod case;
mod connect;
mod coverage;
mod detached;
mod durability;
mod further;
mod guard;
mod pages;
mod posted;
mod properties;
mod provenance;
mod reasons;
mod record;
mod rollback;
mod rules;
mod signatures;
mod single_use;
mod table;
mod wake_up;
