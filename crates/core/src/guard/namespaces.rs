//! The labels that govern a namespace: changed only by who has the right to, and never on the system's own.
//!
//! Taking them away is guarded as much as setting them. A namespaceSelector looks at the new labels alone, so no
//! other webhook entry sees that a namespace stops being governed.

use super::Ground;
use crate::{
    decide::facts::{Known, Want},
    record::decision::{Basis, DecisionRecord, Verdict},
    record::denial::Denial,
    request::admission_review::{Object, Operation, Request},
    text::quoted,
    vocabulary::{ENVIRONMENT_LABEL, PROJECT_LABEL},
};

/// The two labels of a namespace.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Labels<'a> {
    environment: Option<&'a str>,
    project: Option<&'a str>,
}

impl<'a> Labels<'a> {
    fn of(object: Option<&'a Object<'a>>) -> Self {
        let label = |key| object.and_then(|object| object.metadata.labels.get(key));
        Self { environment: label(ENVIRONMENT_LABEL), project: label(PROJECT_LABEL) }
    }
}

pub(super) fn judge(
    request: &Request<'_>,
    ground: &Ground<'_>,
    known: &Known,
    record: &mut DecisionRecord,
) -> Option<Verdict> {
    let (new, old) = (Labels::of(request.object.as_ref()), Labels::of(request.old_object.as_ref()));
    if request.operation == Operation::Delete || new == old {
        return None;
    }
    let name = request.object_name();
    if let Some(object) = &mut record.object {
        // A namespace is in none, though the API server calls it its own when it changes.
        object.namespace.clear();
    }
    record.environment = new.environment.or(old.environment).map(str::to_owned);
    record.project = new.project.or(old.project).map(str::to_owned);
    let change = in_words(old, new);
    record.change = Some(change.clone());
    let denial = match contradiction(name, new, ground) {
        Some(denial) => Some(denial),
        None => no_right(&request.user.username, name, &change, known),
    };
    let wants = match known.may_govern() {
        None if matches!(denial, Some(Denial::LookupFailed { .. })) => vec![Want::Govern(name.to_owned())],
        _ => Vec::new(),
    };
    Some(Verdict { denials: denial.into_iter().collect(), wants, ..Verdict::admitted(Basis::Guard) })
}

/// That the user may not change what governs the namespace, as far as that is known.
fn no_right(user: &str, name: &str, change: &str, known: &Known) -> Option<Denial> {
    let unknown = |why: &str| {
        let what = format!("whether {} may govern namespace {}", quoted(user), quoted(name));
        Some(Denial::LookupFailed { what, why: why.to_owned() })
    };
    match known.may_govern() {
        Some(Ok(true)) => None,
        Some(Ok(false)) => {
            let what = format!("change what governs namespace {} ({change})", quoted(name));
            Some(Denial::GovernRequired { user: quoted(user), what })
        }
        Some(Err(why)) => unknown(why),
        None => unknown("it was not looked up"),
    }
}

/// What no right allows.
fn contradiction(name: &str, new: Labels<'_>, ground: &Ground<'_>) -> Option<Denial> {
    let why = match (new.environment, new.project) {
        (None, None) => return None,
        _ if name == ground.system_namespace || name.starts_with("kube-") => {
            format!(
                "namespace {} cannot be governed: the cluster or the webhook itself would then depend on the webhook",
                quoted(name)
            )
        }
        (Some(_), None) => {
            format!("{ENVIRONMENT_LABEL} is set without {PROJECT_LABEL}; expected both labels or neither")
        }
        (None, Some(_)) => {
            format!("{PROJECT_LABEL} is set without {ENVIRONMENT_LABEL}; expected both labels or neither")
        }
        (Some(""), _) => format!("{ENVIRONMENT_LABEL} is empty; expected the environment of a posture"),
        (_, Some("")) => format!("{PROJECT_LABEL} is empty; expected a project"),
        _ => return None,
    };
    Some(Denial::GovernanceInvalid { why })
}

/// `environment: none to production, project: none to payments`
fn in_words(old: Labels<'_>, new: Labels<'_>) -> String {
    let value = |value: Option<&str>| value.map_or("none".to_owned(), quoted);
    [("environment", old.environment, new.environment), ("project", old.project, new.project)]
        .into_iter()
        .filter(|(_, old, new)| old != new)
        .map(|(label, old, new)| format!("{label}: {} to {}", value(old), value(new)))
        .collect::<Vec<_>>()
        .join(", ")
}
