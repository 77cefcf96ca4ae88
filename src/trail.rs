//! What a decision leaves behind: a line on standard output, its position in the chain of records, an Event, and entries in
//! the ledger.

pub mod chain;
pub mod events;
pub mod ledger;
pub mod output;
