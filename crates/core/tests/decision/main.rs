//! The decision, from cases that are admitted and one thing changed.

mod break_glass;
mod case;
mod connect;
mod detached;
mod durability;
mod further;
mod guard;
mod pages;
mod properties;
mod provenance;
mod reasons;
mod rollback;
mod rules;
mod single_use;
mod table;
