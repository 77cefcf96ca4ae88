//! The number of replicas that a spec asks for, as far as it says whether a workload begins to run.

use serde::Deserialize;
use serde_json::{Value, value::RawValue};

/// Whether a change of `replicas` from `old` to `new` starts a workload that has none. A value that is no number counts as
/// one that starts it. Without `replicas`, a built-in kind has one, and a further kind may have any number.
pub(crate) fn wakes_up(new: &str, old: &str) -> bool {
    let is_asleep = replicas(old).is_some_and(|replicas| replicas.as_i64().is_none_or(|count| count <= 0));
    is_asleep && replicas(new).is_none_or(|replicas| replicas.as_i64() != Some(0))
}

/// `None`: the spec has none, or cannot be read.
fn replicas(spec: &str) -> Option<Value> {
    #[derive(Deserialize)]
    struct Spec<'s> {
        #[serde(borrow)]
        replicas: Option<&'s RawValue>,
    }
    let Spec { replicas } = serde_json::from_str(spec).ok()?;
    Some(serde_json::from_str(replicas?.get()).unwrap_or(Value::Null))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_with_no_replicas_wakes_up_once_it_has_some() {
        for new in
            [r#"{"replicas":1}"#, r#"{"replicas":2147483647}"#, r#"{"replicas":null}"#, "{}", r#"{"replicas":"1"}"#]
        {
            assert!(wakes_up(new, r#"{"replicas":0}"#), "{new}");
            assert!(!wakes_up(new, r#"{"replicas":1}"#), "{new}");
            assert!(!wakes_up(new, r#"{"replicas":null}"#), "{new}");
            assert!(!wakes_up(new, "{}"), "{new}");
            assert!(wakes_up(new, r#"{"replicas":"0"}"#), "{new}");
            assert!(wakes_up(new, r#"{"replicas":0.5}"#), "{new}");
        }
        assert!(!wakes_up(r#"{"replicas":0}"#, r#"{"replicas":0}"#));
        assert!(!wakes_up(r#"{"replicas":0}"#, r#"{"replicas":1}"#));
    }
}
