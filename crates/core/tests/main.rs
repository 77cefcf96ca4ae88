//! The integration tests of core, in one binary: decisions by near misses, the vectors of the specifications, the chain of
//! records, signatures on which verifiers differ, and the JSON Schemas of posture documents.

mod chain;
mod decision;
mod schema;
mod signatures;
mod spec;
