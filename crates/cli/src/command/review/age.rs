//! When a request was made, compared with the present and with the last change of the live objects.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use writgate_core::kube::Severity;

use crate::{
    approval::draft::ApprovalDraft,
    command::review::unusual::{Unusual, unusual},
    terminal::output::shown,
};

/// A request that is older may be about a situation that has passed.
const OLD: SignedDuration = SignedDuration::from_hours(24);
/// Clocks differ by this much.
const LEEWAY: SignedDuration = SignedDuration::from_mins(5);

/// What is unusual about the time of the request. The request claims the time.
pub(super) fn of(draft: &ApprovalDraft<'_>) -> Vec<Unusual> {
    let Some(request) = draft.request else { return Vec::new() };
    let at = request.requested_at;
    let mut found = Vec::new();
    let age = draft.now.duration_since(at);
    if age > OLD {
        let days = age.as_hours() / 24;
        let days = if days == 1 { "1 day".to_owned() } else { format!("{days} days") };
        found.push(unusual(
            Severity::Notable,
            "old-request",
            format!("the request is {days} old: it was made at {at}"),
        ));
    } else if age < -LEEWAY {
        found.push(unusual(
            Severity::Notable,
            "future-request",
            format!("the request says that it was made in the future, at {at}"),
        ));
    }
    let seen = draft.decided.iter().flat_map(|(_, assessment)| &assessment.seen);
    for (asked, seen) in draft.proposal.asked.iter().zip(seen) {
        let changed = seen.runs.read().and_then(last_change).filter(|changed| *changed > at);
        if let Some(changed) = changed {
            found.push(unusual(
                Severity::Notable,
                "changed-since-request",
                format!(
                    "the live {} was changed at {changed}, after the request was made at {at}",
                    shown(&asked.workload.manifest.to_string())
                ),
            ));
        }
    }
    found
}

/// The last change of an object other than of its status.
fn last_change(object: &Value) -> Option<Timestamp> {
    let time = |value: &Value| value.as_str()?.parse().ok();
    let metadata = &object["metadata"];
    let managers = metadata["managedFields"].as_array().into_iter().flatten();
    let changes = managers.filter(|manager| manager["subresource"] != "status").filter_map(|one| time(&one["time"]));
    changes.chain(time(&metadata["creationTimestamp"])).max()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_new_status_is_not_a_change() {
        let mut object = json!({"metadata": {"creationTimestamp": "2026-11-22T10:00:00Z", "managedFields": [
            {"manager": "kubectl", "time": "2026-11-22T11:00:00Z"},
            {"manager": "controller", "subresource": "status", "time": "2026-11-22T12:00:00Z"},
        ]}});
        let change = |object: &Value| last_change(object).expect("a time").to_string();
        assert_eq!(change(&object), "2026-11-22T11:00:00Z");
        object["metadata"]["managedFields"][1]["subresource"] = "scale".into();
        assert_eq!(change(&object), "2026-11-22T12:00:00Z");
        object["metadata"]["managedFields"] = Value::Null;
        assert_eq!(change(&object), "2026-11-22T10:00:00Z");
    }
}
