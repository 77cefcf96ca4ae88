//! The projection: which fields of a workload the spec hash covers (docs/spec/spec-hash-v1.md).
//!
//! Fields that say how many Pods run, or how fast a rollout goes, are left out. Fields that the projection does not
//! know are kept, so an unknown field can never change unapproved.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{encoding::canonical::Scope, kube::workload::WorkloadKind};

/// The version of the projection that this build computes. An approval names the version that it was signed for.
pub const PROJECTION: &str = "v1";

/// Where in a workload the writer is, and so what the projection leaves out there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Projection {
    /// Only `creationTimestamp: null` is left out, wherever it stands.
    Whole,
    /// As `Whole`, and without the `replicas` of this object.
    WithoutReplicas,
    /// The spec of a workload.
    Spec(WorkloadKind),
    /// The spec of a Job, in itself or in a CronJob; whether its selector is the user's own.
    JobSpec {
        manual_selector: bool,
    },
    /// A CronJob's `jobTemplate`.
    JobTemplate,
    /// A `StatefulSet`'s `updateStrategy`, and its `rollingUpdate`.
    UpdateStrategy,
    RollingUpdate,
    /// A `ReplicaSet`'s `selector`.
    Selector,
    /// A pod template, its metadata and its annotations; the labels that a controller writes there.
    Template(ControllerLabels),
    TemplateMetadata(ControllerLabels),
    TemplateAnnotations,
    /// A pod template's labels, or a `ReplicaSet`'s `selector.matchLabels`.
    Labels(ControllerLabels),
}

/// Labels that a controller writes, not the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ControllerLabels {
    None,
    ReplicaSet,
    Job,
}

impl Projection {
    /// The projection of a kind's spec. Nothing is known about a custom resource, so nothing of it is left out.
    pub(crate) fn of(kind: WorkloadKind) -> Self {
        match kind {
            WorkloadKind::Further(_) => Self::Whole,
            kind => Self::Spec(kind),
        }
    }
}

impl Scope for Projection {
    /// A Job's spec is projected by its own `manualSelector`, which may stand after the members that depend on it.
    fn of_object(self, rest: &str) -> Self {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Selection {
            manual_selector: Option<bool>,
        }
        if self != Self::Spec(WorkloadKind::Job) {
            return self;
        }
        let mut ahead = serde_json::Deserializer::from_str(rest);
        // A spec that cannot be read as a Job's keeps everything: the hash then covers more, never less.
        let selection = Selection::deserialize(&mut ahead).unwrap_or(Selection { manual_selector: Some(true) });
        Self::JobSpec { manual_selector: selection.manual_selector == Some(true) }
    }

    fn of_member(self, key: &str) -> Self {
        match (self, key) {
            (Self::Spec(WorkloadKind::CronJob), "jobTemplate") => Self::JobTemplate,
            (Self::JobTemplate, "spec") => Self::Spec(WorkloadKind::Job),
            (Self::Spec(WorkloadKind::StatefulSet), "updateStrategy") => Self::UpdateStrategy,
            (Self::UpdateStrategy, "rollingUpdate") => Self::RollingUpdate,
            (Self::Spec(WorkloadKind::ReplicaSet), "selector") => Self::Selector,
            (Self::Selector, "matchLabels") => Self::Labels(ControllerLabels::ReplicaSet),
            (Self::Spec(WorkloadKind::ReplicaSet), "template") => Self::Template(ControllerLabels::ReplicaSet),
            (Self::Spec(_) | Self::JobSpec { manual_selector: true }, "template") => {
                Self::Template(ControllerLabels::None)
            }
            (Self::JobSpec { manual_selector: false }, "template") => Self::Template(ControllerLabels::Job),
            (Self::Template(labels), "metadata") => Self::TemplateMetadata(labels),
            (Self::TemplateMetadata(labels), "labels") => Self::Labels(labels),
            (Self::TemplateMetadata(_), "annotations") => Self::TemplateAnnotations,
            _ => self.of_item(),
        }
    }

    fn of_item(self) -> Self {
        Self::Whole
    }

    fn leaves_out(self, key: &str, value: &[u8]) -> bool {
        if key == "creationTimestamp" && value == b"null" {
            return true;
        }
        match self {
            Self::WithoutReplicas => key == "replicas",
            Self::Spec(WorkloadKind::CronJob) => {
                matches!(key, "suspend" | "successfulJobsHistoryLimit" | "failedJobsHistoryLimit")
            }
            Self::Spec(WorkloadKind::StatefulSet) if key == "updateStrategy" => false,
            Self::Spec(_) => matches!(
                key,
                "replicas"
                    | "paused"
                    | "strategy"
                    | "updateStrategy"
                    | "minReadySeconds"
                    | "progressDeadlineSeconds"
                    | "revisionHistoryLimit"
            ),
            Self::JobSpec { manual_selector } => match key {
                "suspend" => true,
                "manualSelector" => value == b"false",
                "selector" => !manual_selector,
                _ => false,
            },
            Self::Labels(ControllerLabels::ReplicaSet) => key == "pod-template-hash" && is_template_hash(value),
            Self::Labels(ControllerLabels::Job) => matches!(
                key,
                "controller-uid" | "job-name" | "batch.kubernetes.io/controller-uid" | "batch.kubernetes.io/job-name"
            ),
            Self::TemplateAnnotations => key == "kubectl.kubernetes.io/restartedAt" && is_restart_time(value),
            // Servers default it since Kubernetes 1.35, and older ones leave it absent.
            Self::RollingUpdate => key == "maxUnavailable" && value == b"1",
            Self::Whole
            | Self::JobTemplate
            | Self::UpdateStrategy
            | Self::Selector
            | Self::Template(_)
            | Self::TemplateMetadata(_)
            | Self::Labels(ControllerLabels::None) => false,
        }
    }

    fn refuses_replacement_characters(self) -> bool {
        true
    }

    fn leaves_out_emptied(self, key: &str) -> bool {
        match self {
            Self::TemplateMetadata(_) => matches!(key, "labels" | "annotations"),
            Self::Selector => key == "matchLabels",
            _ => false,
        }
    }
}

/// Which members of a spec the hash covers, for a walk through its values from the spec down. A walk copies nothing,
/// unlike [`projected`](crate::approval::projected).
#[derive(Clone, Copy, Debug)]
pub struct Coverage(Projection);

impl Coverage {
    /// The coverage of a kind's spec.
    #[must_use]
    pub fn of(kind: WorkloadKind) -> Self {
        Self(Projection::of(kind))
    }

    /// The coverage of the value under `key` of `object`. `None`: the hash leaves the member out.
    #[must_use]
    pub fn member(self, object: &Map<String, Value>, key: &str) -> Option<Self> {
        let scope = match self.0 {
            Projection::Spec(WorkloadKind::Job) => Projection::JobSpec { manual_selector: has_own_selector(object) },
            scope => scope,
        };
        // Only short values are left out for what they are. Both spellings of them are the same.
        let value = match object.get(key) {
            Some(Value::Object(_) | Value::Array(_)) | None => Vec::new(),
            Some(value) => value.to_string().into_bytes(),
        };
        (!scope.leaves_out(key, &value)).then(|| Self(scope.of_member(key)))
    }

    /// The coverage of an array's items.
    #[must_use]
    pub fn item(self) -> Self {
        Self(self.0.of_item())
    }
}

/// Whether a Job's `manualSelector` keeps its selector. A value of a wrong type keeps everything, as in the hash.
fn has_own_selector(job: &Map<String, Value>) -> bool {
    !matches!(job.get("manualSelector"), None | Some(Value::Null | Value::Bool(false)))
}

/// `"[a-z0-9]{1,10}"`, the form that the deployment controller writes.
fn is_template_hash(value: &[u8]) -> bool {
    unquoted(value).is_some_and(|hash| {
        (1..=10).contains(&hash.len()) && hash.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    })
}

/// An RFC 3339 time with at most millisecond precision: `kubectl rollout restart` writes seconds, and consoles write
/// milliseconds. Anything else could carry a message into the container through the downward API.
fn is_restart_time(value: &[u8]) -> bool {
    unquoted(value).and_then(restart_time).is_some()
}

/// The rules are spelled out rather than left to a library, since every implementation has to draw the same line.
fn restart_time(text: &[u8]) -> Option<()> {
    let (date_time, rest) = text.split_at_checked("0000-00-00T00:00:00".len())?;
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, b'T', h1, h2, b':', n1, n2, b':', s1, s2] = *date_time else {
        return None;
    };
    let (year, month) = (two_digits(y1, y2)? * 100 + two_digits(y3, y4)?, two_digits(m1, m2)?);
    let is_leap_year = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 if is_leap_year => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        _ => return None,
    };
    let is_date = (1..=days).contains(&two_digits(d1, d2)?);
    let is_time = two_digits(h1, h2)? < 24 && two_digits(n1, n2)? < 60 && two_digits(s1, s2)? < 60;
    let zone = match rest {
        [b'.', zone @ ..] => {
            let digits = zone.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if !(1..=3).contains(&digits) {
                return None;
            }
            zone.get(digits..)?
        }
        zone => zone,
    };
    let is_zone = match *zone {
        [b'Z'] => true,
        [b'+' | b'-', h1, h2, b':', n1, n2] => two_digits(h1, h2)? < 24 && two_digits(n1, n2)? < 60,
        _ => false,
    };
    (is_date && is_time && is_zone).then_some(())
}

fn two_digits(tens: u8, units: u8) -> Option<u16> {
    let digit = |byte: u8| byte.is_ascii_digit().then(|| u16::from(byte - b'0'));
    Some(digit(tens)? * 10 + digit(units)?)
}

fn unquoted(value: &[u8]) -> Option<&[u8]> {
    value.strip_prefix(b"\"")?.strip_suffix(b"\"")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::approval::spec_hash::projected;

    /// The covered part of a value. `None`: everything in an object was left out.
    fn covered(coverage: Coverage, value: &Value) -> Option<Value> {
        match value {
            Value::Object(object) => {
                let member = |(key, value): (&String, &Value)| {
                    let inner = coverage.member(object, key)?;
                    let written = covered(inner, value);
                    let emptied = written.is_none() && coverage.0.leaves_out_emptied(key);
                    (!emptied).then(|| (key.clone(), written.unwrap_or_else(|| json!({}))))
                };
                let kept: Map<String, Value> = object.iter().filter_map(member).collect();
                (object.is_empty() || !kept.is_empty()).then_some(Value::Object(kept))
            }
            Value::Array(items) => {
                let item = |item| covered(coverage.item(), item).unwrap_or_else(|| json!({}));
                Some(items.iter().map(item).collect())
            }
            other => Some(other.clone()),
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            Just(json!("abc123")),
            Just(json!("2026-11-22T10:00:00Z")),
            Just(json!(1)),
            any::<bool>().prop_map(Value::from),
        ];
        let names = prop::sample::select(vec![
            "replicas",
            "paused",
            "suspend",
            "strategy",
            "updateStrategy",
            "rollingUpdate",
            "maxUnavailable",
            "manualSelector",
            "selector",
            "matchLabels",
            "jobTemplate",
            "spec",
            "template",
            "metadata",
            "creationTimestamp",
            "labels",
            "annotations",
            "pod-template-hash",
            "job-name",
            "kubectl.kubernetes.io/restartedAt",
        ]);
        leaf.prop_recursive(6, 48, 5, move |inner| {
            prop_oneof![
                4 => prop::collection::btree_map(names.clone().prop_map(str::to_owned), inner.clone(), 0..6)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
                1 => prop::collection::vec(inner, 0..3).prop_map(Value::from),
            ]
        })
    }

    #[test]
    fn a_restart_time_is_a_time_of_the_calendar() {
        let times = [
            "2026-11-22T10:00:00Z",
            "2026-11-22T23:59:59Z",
            "2026-11-22T00:00:00.1Z",
            "2026-11-22T00:00:00.123Z",
            "2026-11-22T10:00:00+00:00",
            "2026-11-22T10:00:00-23:59",
            "2026-01-31T10:00:00Z",
            "2026-04-30T10:00:00Z",
            "2026-12-31T10:00:00Z",
            "2026-02-28T10:00:00Z",
            "2024-02-29T10:00:00Z",
            "2000-02-29T10:00:00Z",
            "2400-02-29T10:00:00Z",
            "1904-02-29T10:00:00Z",
            "0004-02-29T10:00:00Z",
        ];
        for time in times {
            assert!(is_restart_time(format!("\"{time}\"").as_bytes()), "{time}");
        }
        let others = [
            "",
            "2026-11-22",
            "2026-11-22T10:00:00",
            "2026-11-22t10:00:00Z",
            "2026-11-22T10:00:00z",
            "2026-11-22T24:00:00Z",
            "2026-11-22T10:60:00Z",
            "2026-11-22T10:00:60Z",
            "2026-11-22T10:00:00.Z",
            "2026-11-22T10:00:00.1234Z",
            "2026-11-22T10:00:00+24:00",
            "2026-11-22T10:00:00+00:60",
            "2026-11-22T10:00:00+0000",
            "2026-00-22T10:00:00Z",
            "2026-13-22T10:00:00Z",
            "2026-11-00T10:00:00Z",
            "2026-01-32T10:00:00Z",
            "2026-04-31T10:00:00Z",
            "2026-12-32T10:00:00Z",
            "2026-02-29T10:00:00Z",
            "2024-02-30T10:00:00Z",
            "1900-02-29T10:00:00Z",
            "2100-02-29T10:00:00Z",
            "2023-02-29T10:00:00Z",
            "2026-11-22T10:00:00Z ",
            "2026-11-2aT10:00:00Z",
        ];
        for other in others {
            assert!(!is_restart_time(format!("\"{other}\"").as_bytes()), "{other}");
        }
    }

    #[test]
    fn the_selector_of_a_job_is_covered_only_if_the_job_has_its_own() {
        let selector = json!({"matchLabels": {"app": "orders"}});
        for (manual, is_covered) in [(json!(true), true), (json!(1), true), (json!(false), false), (json!(null), false)]
        {
            let job = json!({"manualSelector": manual, "selector": selector});
            let walked = covered(Coverage::of(WorkloadKind::Job), &job).unwrap_or_else(|| json!({}));
            assert_eq!(walked.get("selector").is_some(), is_covered, "{job}");
        }
    }

    proptest! {
        #[test]
        fn coverage_and_the_hash_leave_out_the_same_members(spec in value(), kind in 0_usize..7) {
            let kind = WorkloadKind::ALL[kind];
            let written: Value = serde_json::from_slice(&projected(kind, &spec.to_string()).unwrap()).unwrap();
            let walked = covered(Coverage::of(kind), &spec).unwrap_or_else(|| json!({}));
            prop_assert_eq!(walked, written, "{}", spec);
        }
    }
}
