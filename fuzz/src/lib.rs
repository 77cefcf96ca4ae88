//! What strangers may write, thrown at every parser that reads it: the targets of `make fuzz`.
//!
//! A target takes bytes, reads them as the product would, asserts what must hold of any bytes at all, and says in a
//! word what came of them. `seeds/` has inputs for each, by the class of bad input (docs/bad-input.md) in their
//! names, and `seeds/TARGET.txt` the word that is expected of each; `tests/seeds.rs` replays them.

mod approval;
mod envelope;
mod key;
mod manifest;
mod posture;
mod review;
mod rule;
mod spec;
mod world;

pub use world::World;

/// A parser with what must hold of it.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and that of its folder of seeds.
    pub name: &'static str,
    /// Reads any bytes; panics where a property does not hold. The answer is for `seeds/TARGET.txt`.
    pub run: fn(&[u8]) -> String,
}

/// Every target.
pub const TARGETS: [Target; 8] = [
    Target { name: "review", run: review::run },
    Target { name: "envelope", run: envelope::run },
    Target { name: "approval", run: approval::run },
    Target { name: "posture", run: posture::run },
    Target { name: "manifest", run: manifest::run },
    Target { name: "spec", run: spec::run },
    Target { name: "key", run: key::run },
    Target { name: "rule", run: rule::run },
];

/// The target of this name.
///
/// # Panics
///
/// When there is none.
#[must_use]
pub fn target(name: &str) -> Target {
    let names = TARGETS.map(|target| target.name).join(", ");
    TARGETS.into_iter().find(|target| target.name == name).unwrap_or_else(|| panic!("{name:?} is none of {names}"))
}
