//! Random manifests: a seeded generator, and objects with optional fields.

use serde_json::{Map, Value};

/// `SplitMix64`, which gives the same sequence on every platform. A failure names the seed, which generates the manifest
/// again.
pub struct Random {
    state: u64,
    /// The percentage of optional fields that a manifest has.
    density: usize,
}

impl Random {
    /// A generator whose density depends on the seed.
    pub fn new(seed: u64) -> Self {
        let mut random = Self { state: seed, density: 0 };
        random.density = random.pick(&[5, 15, 35, 60, 90]);
        random
    }

    /// A generator of manifests with nearly every field.
    pub fn rich(seed: u64) -> Self {
        Self { state: seed, density: 95 }
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let limit = u64::try_from(limit).expect("usize has at most 64 bits");
        usize::try_from((mixed ^ (mixed >> 31)) % limit).expect("less than a usize")
    }

    /// True `percent` of the time.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of some values.
    pub fn pick<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())].clone()
    }

    /// One of some texts.
    pub fn text(&mut self, choices: &[&str]) -> Value {
        self.pick(choices).into()
    }

    /// A list of `least` to `most` values. `item` takes the index of each.
    pub fn list(&mut self, least: usize, most: usize, mut item: impl FnMut(&mut Self, usize) -> Value) -> Value {
        let length = least + self.below(most - least + 1);
        (0..length).map(|index| item(self, index)).collect()
    }

    /// An object, field by field.
    pub fn object(&mut self, fill: impl FnOnce(&mut Draft<'_>)) -> Value {
        let mut draft = Draft { random: self, object: Map::new() };
        fill(&mut draft);
        Value::Object(draft.object)
    }
}

/// An object under construction.
pub struct Draft<'a> {
    /// The generator of the values.
    pub random: &'a mut Random,
    object: Map<String, Value>,
}

impl Draft<'_> {
    /// Sets a field.
    pub fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.object.insert(name.to_owned(), value.into());
    }

    /// Sets a field to a random value.
    pub fn make(&mut self, name: &str, value: impl FnOnce(&mut Random) -> Value) {
        let value = value(self.random);
        self.set(name, value);
    }

    /// The value of a field, null if it is absent.
    pub fn get(&self, name: &str) -> &Value {
        self.object.get(name).unwrap_or(&Value::Null)
    }

    /// An optional field: absent, null, or a value of `value`.
    pub fn maybe(&mut self, name: &str, value: impl FnOnce(&mut Random) -> Value) {
        if self.random.chance(self.random.density) {
            let value = value(self.random);
            self.set(name, value);
        } else if self.random.chance(6) {
            self.set(name, Value::Null);
        }
    }

    /// An optional field that may also have its empty value.
    pub fn maybe_or(&mut self, name: &str, empty: impl Into<Value>, value: impl FnOnce(&mut Random) -> Value) {
        if self.random.chance(10) { self.set(name, empty) } else { self.maybe(name, value) }
    }

    /// An optional text, perhaps empty.
    pub fn maybe_text(&mut self, name: &str, choices: &[&str]) {
        self.maybe_or(name, "", |random| random.text(choices));
    }

    /// An optional boolean.
    pub fn maybe_bool(&mut self, name: &str) {
        self.maybe(name, |random| random.chance(50).into());
    }
}
