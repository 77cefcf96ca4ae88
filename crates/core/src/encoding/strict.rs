//! Strict reading of values: a duplicate key is refused, and so is a number that a double does not hold exactly.
//!
//! `encoding::signed` reads signed JSON with these rules.

use std::{borrow::Cow, fmt, marker::PhantomData};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::{Map, Number, Value, map::Entry};

use crate::text::on_one_line;

/// 2^53. Beyond it, several integers share one double, and the canonical form would make them equal.
const MAX_EXACT: i64 = 1 << 53;

/// Reads a JSON document. A duplicate key at any depth is an error.
pub(crate) fn parse(text: &[u8]) -> Result<Value, String> {
    serde_json::from_slice::<Strict>(text)
        .map(|value| value.0)
        .map_err(|error| on_one_line(&format!("not strict JSON: {error}")))
}

/// Reads a JSON document as [`parse`] does, and returns the members of the object that `names` names. Nothing else is
/// stored. `None`: the document is not an object.
pub(crate) fn members<const N: usize>(text: &str, names: [&str; N]) -> Result<Option<[Option<Value>; N]>, String> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let found = reader.deserialize_any(MembersVisitor { names });
    found
        .and_then(|found| reader.end().map(|()| found))
        .map_err(|error| on_one_line(&format!("not strict JSON: {error}")))
}

/// A value without duplicate keys, in which every number has exactly the value that was written.
pub(crate) struct Strict(pub(crate) Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor).map(Self)
    }
}

/// A struct that is read from an object only.
///
/// Derived readers also accept a list of the members' values. Nobody could review such a text, a new member would
/// change its meaning, and other readers refuse it.
#[derive(Clone, Debug)]
pub(crate) struct ByFieldName<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for ByFieldName<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = ByFieldName<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Self::Value, M::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(ByFieldName)
            }
        }

        deserializer.deserialize_map(Members(PhantomData))
    }
}

/// The schema of the struct itself.
impl<T: JsonSchema> JsonSchema for ByFieldName<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// For `#[serde(deserialize_with)]` of a member: see [`ByFieldName`].
pub(crate) fn by_field_name<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    ByFieldName::deserialize(deserializer).map(|ByFieldName(value)| value)
}

/// Has the rules for each type of value.
pub(super) struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value that JSON knows")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        if value.unsigned_abs() > MAX_EXACT.unsigned_abs() { Err(inexact(value)) } else { Ok(value.into()) }
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        i64::try_from(value).map_err(|_| inexact(value)).and_then(|value| self.visit_i64(value))
    }

    fn visit_i128<E: de::Error>(self, value: i128) -> Result<Value, E> {
        i64::try_from(value).map_err(|_| inexact(value)).and_then(|value| self.visit_i64(value))
    }

    fn visit_u128<E: de::Error>(self, value: u128) -> Result<Value, E> {
        i64::try_from(value).map_err(|_| inexact(value)).and_then(|value| self.visit_i64(value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        number(value).map(Value::Number).ok_or_else(|| inexact(format_args!("{value:?}")))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(Key(key)) = entries.next_key()? {
            match map.entry(key) {
                Entry::Occupied(first) => {
                    return Err(appears_twice(first.key()));
                }
                Entry::Vacant(vacant) => {
                    vacant.insert(entries.next_value::<Strict>()?.0);
                }
            }
        }
        Ok(Value::Object(map))
    }
}

/// A value that is read as [`Strict`] reads it, and not stored.
struct Unstored;

impl<'de> Deserialize<'de> for Unstored {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MembersVisitor { names: [] }).map(|_| Self)
    }
}

/// Stores the members with these names, and reads everything else as [`Unstored`].
struct MembersVisitor<'n, const N: usize> {
    names: [&'n str; N],
}

impl<'de, const N: usize> Visitor<'de> for MembersVisitor<'_, N> {
    type Value = Option<[Option<Value>; N]>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        ValueVisitor.expecting(f)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Self::Value, E> {
        ValueVisitor.visit_i64(value).map(|_| None)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Self::Value, E> {
        ValueVisitor.visit_u64(value).map(|_| None)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Self::Value, E> {
        ValueVisitor.visit_f64(value).map(|_| None)
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        while items.next_element::<Unstored>()?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut found = [const { None }; N];
        let mut keys: Vec<Cow<'de, str>> = Vec::new();
        while let Some(BorrowedKey(key)) = entries.next_key()? {
            let wanted = self.names.iter().position(|name| *name == key).and_then(|at| found.get_mut(at));
            match wanted {
                Some(wanted) => *wanted = Some(entries.next_value::<Strict>()?.0),
                None => {
                    entries.next_value::<Unstored>()?;
                }
            }
            keys.push(key);
        }
        match duplicate(&mut keys) {
            Some(key) => Err(appears_twice(key)),
            None => Ok(Some(found)),
        }
    }
}

/// A key that appears twice.
fn duplicate<'k>(keys: &'k mut [Cow<'_, str>]) -> Option<&'k str> {
    /// Up to here, comparing all pairs takes less time than sorting.
    const FEW: usize = 8;
    if keys.len() > FEW {
        keys.sort_unstable();
        return keys.iter().zip(keys.iter().skip(1)).find(|(one, next)| one == next).map(|(one, _)| &**one);
    }
    let mut earlier = keys.iter().enumerate();
    earlier.find(|(at, key)| keys.iter().take(*at).any(|other| other == *key)).map(|(_, key)| &**key)
}

/// A key of a JSON object.
pub(super) struct BorrowedKey<'de>(pub(super) Cow<'de, str>);

impl<'de> Deserialize<'de> for BorrowedKey<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(BorrowedKeyVisitor).map(Self)
    }
}

struct BorrowedKeyVisitor;

impl<'de> Visitor<'de> for BorrowedKeyVisitor {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E: de::Error>(self, key: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(key))
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(key.to_owned()))
    }
}

/// A mapping's key. JSON's keys are strings, so kubectl converts `y: …` to `"true": …` and `1: …` to `"1": …`.
struct Key(String);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KeyVisitor).map(Self)
    }
}

/// Has no method for fractions and null, so they are refused: kubectl converts them to surprising texts.
struct KeyVisitor;

impl Visitor<'_> for KeyVisitor {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key that is a text (put it in quotes)")
    }

    fn visit_bool<E: de::Error>(self, key: bool) -> Result<String, E> {
        Ok(key.to_string())
    }

    fn visit_i64<E: de::Error>(self, key: i64) -> Result<String, E> {
        Ok(key.to_string())
    }

    fn visit_u64<E: de::Error>(self, key: u64) -> Result<String, E> {
        Ok(key.to_string())
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<String, E> {
        Ok(key.to_owned())
    }

    fn visit_string<E: de::Error>(self, key: String) -> Result<String, E> {
        Ok(key)
    }
}

/// `value` as a JSON number, and as an integer if it is one, as Go writes `1.0` and `1e3`. `None`: beyond 2^53, where a
/// double stands for several numbers.
fn number(value: f64) -> Option<Number> {
    #[expect(clippy::cast_precision_loss, reason = "2^53 is exact")]
    let limit = MAX_EXACT as f64;
    if value.abs() > limit || value.is_nan() {
        return None;
    }
    if value.fract() == 0.0 {
        #[expect(clippy::cast_possible_truncation, reason = "integral and within 2^53")]
        return Some(Number::from(value as i64));
    }
    Number::from_f64(value)
}

pub(super) fn appears_twice<E: de::Error>(key: &str) -> E {
    E::custom(format_args!("the key `{key}` appears twice"))
}

fn inexact<E: de::Error>(number: impl fmt::Display) -> E {
    E::custom(format_args!("the number {number} is too large: a double does not hold it exactly beyond 2^53"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn returns_the_named_members_of_a_strict_object() {
        let found = members(r#"{"a":[1],"b":{"c":"x"},"\u0064":null}"#, ["b", "d", "e"]);
        assert_eq!(found, Ok(Some([Some(json!({"c": "x"})), Some(Value::Null), None])));
        assert_eq!(members::<0>("[1]", []), Ok(None));
        for broken in
            [r#"{"a":1,"\u0061":2}"#, r#"{"x":[{"a":1,"a":2}]}"#, r#"{"x":1e999}"#, r#"{"x":"\ud800"}"#, "{} {}"]
        {
            assert!(members(broken, ["a"]).is_err(), "{broken}");
        }
        let many = |last: &str| (0..20).map(|key| format!("\"{key}\":0")).collect::<Vec<_>>().join(",") + last;
        assert!(members::<0>(&format!("{{{}}}", many("")), []).is_ok());
        assert!(members::<0>(&format!("{{{}}}", many(r#","7":0"#)), []).is_err());
    }

    proptest! {
        #[test]
        fn accepts_the_texts_that_the_reader_of_values_accepts(text in r#"[\[{,:}\]"\\u0deflrstna19.e-]{0,24}|\{"a":(1|1\.0|9007199254740993|1e999|0\.1),"(a|b|\\u0061)":(\[\]|"\\ud800"|"\\/"|null|\{"x":1,"x":2\})\}"#) {
            prop_assert_eq!(members(&text, ["a"]).is_ok(), parse(text.as_bytes()).is_ok(), "{}", text);
        }
    }
}
