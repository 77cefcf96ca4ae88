//! An AdmissionReview, which everyone in the Pod network can send.

use serde_json::Value;

use crate::world::{World, outcome};

/// The decision under a posture that requires no approval.
pub(crate) fn run(body: &[u8]) -> String {
    let free = World::shared().decide(body, "staging");
    let strict = World::shared().decide(body, "production");
    assert!(free.allowed() || !strict.allowed(), "a stricter posture admits more: {}", free.message());
    assert!(
        !strict.allowed() || strict.record.approval_required != Some(true) || !strict.record.approvals.is_empty(),
        "admitted without the approval that is required"
    );
    if let (Some(hash), Ok(value)) = (free.record.spec_hash, serde_json::from_slice::<Value>(body))
        && is_written_back(&value)
    {
        let again = World::shared().decide(value.to_string().as_bytes(), "staging");
        assert_eq!(again.record.spec_hash, Some(hash), "the hash depends on the order of keys");
    }
    outcome(&free)
}

/// Whether `serde_json` writes the numbers that it read: it is a digit off with some fractions.
pub(crate) fn is_written_back(value: &Value) -> bool {
    match value {
        Value::Number(number) => !number.is_f64(),
        Value::Array(items) => items.iter().all(is_written_back),
        Value::Object(members) => members.values().all(is_written_back),
        _ => true,
    }
}
