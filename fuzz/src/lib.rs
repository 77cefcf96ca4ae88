//! The targets of `make fuzz`: every parser of untrusted input.
//!
//! A target parses bytes as Writgate does, asserts the properties that hold for all bytes, and returns a short outcome.
//! `seeds/TARGET` has inputs, whose names start with their class in docs/bad-input.md. `seeds/TARGET.txt` has the expected
//! outcome of each, and `tests/seeds.rs` compares them.

mod approval;
mod envelope;
mod key;
mod manifest;
mod posture;
mod record;
mod review;
mod rule;
mod spec;
mod world;

pub use world::World;

/// A parser and the properties that it must have.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The name of the target and of its folder of seeds.
    pub name: &'static str,
    /// Parses any bytes, and returns the outcome for `seeds/TARGET.txt`. Panics if a property does not hold.
    pub run: fn(&[u8]) -> String,
}

/// Every target.
pub const TARGETS: [Target; 9] = [
    Target { name: "review", run: review::run },
    Target { name: "envelope", run: envelope::run },
    Target { name: "approval", run: approval::run },
    Target { name: "posture", run: posture::run },
    Target { name: "manifest", run: manifest::run },
    Target { name: "spec", run: spec::run },
    Target { name: "key", run: key::run },
    Target { name: "rule", run: rule::run },
    Target { name: "record", run: record::run },
];

/// The target of this name.
///
/// # Panics
///
/// If the target does not exist.
#[must_use]
pub fn target(name: &str) -> Target {
    let names = TARGETS.map(|target| target.name).join(", ");
    TARGETS
        .into_iter()
        .find(|target| target.name == name)
        .unwrap_or_else(|| panic!("{name:?} is not a target; expected one of {names}"))
}
