//! The operators and functions of conditions.

use std::{cmp::Ordering, rc::Rc};

use super::{
    expression::{Binary, Unary},
    fuel::{Fault, Fuel},
    json::Text,
    value::Value,
};
use crate::kube::quantity::Quantity;

/// The element at an index of a list, or the value of a key of a map, if it exists.
pub(super) fn index<'v>(of: &Value<'v>, at: &Value<'v>, fuel: &Fuel) -> Result<Option<Value<'v>>, Fault> {
    match (of, at) {
        (Value::Map(map), Value::Text(key)) => map.get(key.as_str(), fuel),
        (Value::List(list), Value::Int(at)) => match usize::try_from(*at) {
            Ok(at) if at < list.len() => {
                // A parsed list is walked from its beginning.
                fuel.spend(at / 4)?;
                Ok(list.iter().nth(at))
            }
            _ => Ok(None),
        },
        _ => Err(Fault::Error(format!("{} cannot be indexed with {}", of.type_name(), at.type_name()))),
    }
}

pub(super) fn unary<'v>(function: Unary, value: &Value<'v>, fuel: &Fuel) -> Result<Value<'v>, Fault> {
    let unsuited = || Fault::Error(format!("{} cannot be applied to {}", function.name(), value.type_name()));
    Ok(match (function, value) {
        (Unary::Not, Value::Bool(value)) => Value::Bool(!value),
        (Unary::Negate, Value::Int(value)) => Value::Int(whole(value.checked_neg())?),
        (Unary::Negate, Value::Double(value)) => Value::Double(-value),
        (Unary::Size, Value::List(list)) => size(list.len())?,
        (Unary::Size, Value::Map(map)) => size(map.len())?,
        (Unary::Size, Value::Text(text)) => {
            fuel.spend_bytes(text.as_str().len())?;
            size(text.as_str().chars().count())?
        }
        (Unary::LowerAscii, Value::Text(text)) => {
            fuel.spend(text.as_str().len())?;
            shared(text.as_str().to_ascii_lowercase())
        }
        (Unary::Int, Value::Int(_)) | (Unary::Text, Value::Text(_)) => value.clone(),
        (Unary::Int, Value::Text(text)) => {
            let int = text
                .as_str()
                .parse()
                .map_err(|_| Fault::error("int() is called on a string that is not an integer"))?;
            Value::Int(int)
        }
        (Unary::Text, Value::Int(value)) => shared(value.to_string()),
        (Unary::Text, Value::Bool(value)) => Value::text(if *value { "true" } else { "false" }),
        (Unary::HasValue, Value::Optional(value)) => Value::Bool(value.is_some()),
        (Unary::Quantity, Value::Text(text)) => {
            fuel.spend(text.as_str().len())?;
            Value::Quantity(Rc::new(Quantity::parse(text.as_str()).map_err(|error| Fault::Error(error.to_string()))?))
        }
        (Unary::IsQuantity, Value::Text(text)) => {
            fuel.spend(text.as_str().len())?;
            Value::Bool(Quantity::parse(text.as_str()).is_ok())
        }
        _ => return Err(unsuited()),
    })
}

pub(super) fn binary<'v>(
    function: Binary,
    one: &Value<'v>,
    other: &Value<'v>,
    fuel: &Fuel,
) -> Result<Value<'v>, Fault> {
    Ok(match function {
        Binary::Equal => Value::Bool(one.equals(other, fuel)?),
        Binary::Unequal => Value::Bool(!one.equals(other, fuel)?),
        Binary::Less => Value::Bool(order(one, other, fuel)?.is_some_and(Ordering::is_lt)),
        Binary::LessOrEqual => Value::Bool(order(one, other, fuel)?.is_some_and(Ordering::is_le)),
        Binary::Greater => Value::Bool(order(one, other, fuel)?.is_some_and(Ordering::is_gt)),
        Binary::GreaterOrEqual => Value::Bool(order(one, other, fuel)?.is_some_and(Ordering::is_ge)),
        Binary::In => Value::Bool(is_in(one, other, fuel)?),
        Binary::Add => add(one, other, fuel)?,
        Binary::Subtract | Binary::Multiply | Binary::Divide | Binary::Remainder => compute(function, one, other)?,
        Binary::StartsWith | Binary::EndsWith | Binary::Contains => Value::Bool(search(function, one, other, fuel)?),
        Binary::IsGreaterThan => Value::Bool(quantities(one, other)?.is_gt()),
        Binary::IsLessThan => Value::Bool(quantities(one, other)?.is_lt()),
        Binary::CompareTo => Value::Int(match quantities(one, other)? {
            Ordering::Less => -1,
            Ordering::Equal => 0,
            Ordering::Greater => 1,
        }),
    })
}

fn shared<'v>(text: String) -> Value<'v> {
    Value::Text(Text::Shared(text.into()))
}

fn size<'v>(size: usize) -> Result<Value<'v>, Fault> {
    whole(i64::try_from(size).ok()).map(Value::Int)
}

fn whole(value: Option<i64>) -> Result<i64, Fault> {
    value.ok_or_else(|| Fault::error("a number exceeds 64 bits"))
}

/// The order of two values of one type; `None` if one is NaN.
fn order(one: &Value<'_>, other: &Value<'_>, fuel: &Fuel) -> Result<Option<Ordering>, Fault> {
    match (one, other) {
        (Value::Text(one), Value::Text(other)) => {
            fuel.spend_bytes(one.as_str().len().min(other.as_str().len()))?;
            Ok(Some(one.as_str().cmp(other.as_str())))
        }
        (Value::Bool(one), Value::Bool(other)) => Ok(Some(one.cmp(other))),
        (Value::Int(_) | Value::Double(_), Value::Int(_) | Value::Double(_)) => Ok(one.compare_numbers(other)),
        (Value::Quantity(_), Value::Quantity(_)) => Err(Fault::error(
            "quantities cannot be compared with operators; use isGreaterThan(), isLessThan() or compareTo()",
        )),
        _ => Err(Fault::Error(format!("{} cannot be compared with {}", one.type_name(), other.type_name()))),
    }
}

fn is_in(item: &Value<'_>, of: &Value<'_>, fuel: &Fuel) -> Result<bool, Fault> {
    match (item, of) {
        (_, Value::List(list)) => {
            for other in list.iter() {
                if item.equals(&other, fuel)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        (Value::Text(key), Value::Map(map)) => Ok(map.get(key.as_str(), fuel)?.is_some()),
        _ => Err(Fault::Error(format!(
            "in looks for {} in {}; expected a list or a map",
            item.type_name(),
            of.type_name()
        ))),
    }
}

fn add<'v>(one: &Value<'v>, other: &Value<'v>, fuel: &Fuel) -> Result<Value<'v>, Fault> {
    match (one, other) {
        (Value::Text(one), Value::Text(other)) => {
            fuel.spend(one.as_str().len().saturating_add(other.as_str().len()))?;
            Ok(shared([one.as_str(), other.as_str()].concat()))
        }
        (Value::List(one), Value::List(other)) => {
            fuel.spend(one.len().saturating_add(other.len()))?;
            Ok(Value::list(one.iter().chain(other.iter()).collect()))
        }
        _ => compute(Binary::Add, one, other),
    }
}

fn compute<'v>(function: Binary, one: &Value<'v>, other: &Value<'v>) -> Result<Value<'v>, Fault> {
    match (one, other) {
        (Value::Int(one), Value::Int(other)) => whole(match function {
            Binary::Add => one.checked_add(*other),
            Binary::Subtract => one.checked_sub(*other),
            Binary::Multiply => one.checked_mul(*other),
            _ if *other == 0 => return Err(Fault::error("division by zero")),
            Binary::Divide => one.checked_div(*other),
            _ => one.checked_rem(*other),
        })
        .map(Value::Int),
        (Value::Double(one), Value::Double(other)) if function != Binary::Remainder => {
            Ok(Value::Double(match function {
                Binary::Add => one + other,
                Binary::Subtract => one - other,
                Binary::Multiply => one * other,
                _ => one / other,
            }))
        }
        _ => Err(unsuited(function, one, other)),
    }
}

fn unsuited(function: Binary, one: &Value<'_>, other: &Value<'_>) -> Fault {
    let (one, other) = (one.type_name(), other.type_name());
    Fault::Error(format!("{} cannot be applied to {one} and {other}", function.name()))
}

fn search(function: Binary, text: &Value<'_>, part: &Value<'_>, fuel: &Fuel) -> Result<bool, Fault> {
    let (Value::Text(text), Value::Text(part)) = (text, part) else {
        return Err(unsuited(function, text, part));
    };
    let (text, part) = (text.as_str(), part.as_str());
    Ok(match function {
        Binary::StartsWith => {
            fuel.spend_bytes(part.len())?;
            text.starts_with(part)
        }
        Binary::EndsWith => {
            fuel.spend_bytes(part.len())?;
            text.ends_with(part)
        }
        _ => {
            fuel.spend_bytes(text.len().saturating_add(part.len()).saturating_mul(4))?;
            text.contains(part)
        }
    })
}

fn quantities(one: &Value<'_>, other: &Value<'_>) -> Result<Ordering, Fault> {
    match (one, other) {
        (Value::Quantity(one), Value::Quantity(other)) => Ok(one.compare(other)),
        _ => Err(Fault::Error(format!(
            "{} is compared with {}; expected quantities",
            one.type_name(),
            other.type_name()
        ))),
    }
}
