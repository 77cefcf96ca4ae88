//! The labels that govern a namespace: only a user with the verb `govern` may change them, and nobody may set them on the
//! system's own namespaces.
//!
//! Removing the labels is guarded as well. A namespaceSelector sees only the new labels, so no other entry of the webhook
//! configuration is called when a namespace stops being governed.

use super::{GuardContext, verdict_of};
use crate::{
    decide::{
        driver::{Pending, Step},
        verdict::{DecisionDraft, Verdict},
    },
    record::denial::Denial,
    request::admission_review::{Object, Operation, Request},
    text::quoted,
    vocabulary::{ENVIRONMENT_LABEL, PROJECT_LABEL},
};

/// The two labels that govern a namespace.
#[derive(Clone, Copy, PartialEq, Eq)]
struct GoverningLabels<'a> {
    environment: Option<&'a str>,
    project: Option<&'a str>,
}

impl<'a> GoverningLabels<'a> {
    fn new(object: Option<&'a Object<'a>>) -> Self {
        let label = |key| object.and_then(|object| object.metadata.labels.get(key));
        Self { environment: label(ENVIRONMENT_LABEL), project: label(PROJECT_LABEL) }
    }
}

pub(super) fn check<'a>(request: &'a Request<'a>, context: &GuardContext<'_>, mut draft: DecisionDraft) -> Step<'a> {
    let new = GoverningLabels::new(request.object.as_ref());
    let old = GoverningLabels::new(request.old_object.as_ref());
    let name = request.object_name();
    if let Some(object) = &mut draft.record.object {
        // A Namespace is in no namespace, although the API server names its own when it changes.
        object.namespace.clear();
    }
    if request.operation == Operation::Create && new.environment.is_none() && new.project.is_none() {
        return match unlabelled(name, context) {
            None => draft.not_an_action(),
            Some(denial) => {
                draft.record.change = Some("created without the labels that govern it".to_owned());
                draft.decided(verdict_of(vec![denial]))
            }
        };
    }
    if request.operation == Operation::Delete || new == old {
        return draft.not_an_action();
    }
    draft.record.environment = new.environment.or(old.environment).map(str::to_owned);
    draft.record.project = new.project.or(old.project).map(str::to_owned);
    let change = describe_change(old, new);
    draft.record.change = Some(change.clone());
    let remark = unchecked_before(request, old, new);
    if let Some(denial) = contradiction(name, new, context) {
        return draft.decided(verdict_of(vec![denial]));
    }
    Step::ask(Pending::MayGovern, name.to_owned(), move |may_govern| {
        let denial = no_right(&request.user.username, name, &change, may_govern);
        let remarks = remark.filter(|_| denial.is_none()).into_iter().collect();
        draft.decided(Verdict { remarks, ..verdict_of(denial.into_iter().collect()) })
    })
}

/// Says that what runs in the namespace already was not checked by its new environment. Nothing runs in a namespace that is
/// created.
fn unchecked_before(request: &Request<'_>, old: GoverningLabels<'_>, new: GoverningLabels<'_>) -> Option<String> {
    let environment = new.environment.filter(|_| new.environment != old.environment)?;
    (request.operation == Operation::Update).then(|| {
        let name = quoted(request.object_name());
        // A response's warnings have lines of 120 characters, and the command must not be broken.
        format!(
            "namespace {name} is now governed by {}; what runs in it was not checked:\n\
             run kubectl writgate coverage -n {name}",
            quoted(environment)
        )
    })
}

/// Why a namespace of this name must not be created without the labels. A namespace that a posture lists would otherwise
/// be ungoverned after it was deleted and created again, and creating one does not require the verb `govern`.
fn unlabelled(name: &str, context: &GuardContext<'_>) -> Option<Denial> {
    let postures = match context.postures {
        Ok(postures) => postures,
        Err(why) => {
            let what = format!("whether a posture lists namespace {}", quoted(name));
            return Some(Denial::LookupFailed { what, why: why.to_owned() });
        }
    };
    let (environment, project) = postures.listing_of(name).next()?;
    let why = format!(
        "namespace {} is listed by the posture of environment {}; create it with the labels {ENVIRONMENT_LABEL}={environment} \
         and {PROJECT_LABEL}={project}",
        quoted(name),
        quoted(environment)
    );
    Some(Denial::GovernanceInvalid { why })
}

/// Why the user may not change the governing labels of the namespace.
fn no_right(user: &str, name: &str, change: &str, may_govern: Result<bool, String>) -> Option<Denial> {
    match may_govern {
        Ok(true) => None,
        Ok(false) => {
            let what = format!("change what governs namespace {} ({change})", quoted(name));
            Some(Denial::GovernRequired { user: quoted(user), what })
        }
        Err(why) => {
            let what = format!("whether {} may govern namespace {}", quoted(user), quoted(name));
            Some(Denial::LookupFailed { what, why })
        }
    }
}

/// Why these labels are wrong, whoever sets them.
fn contradiction(name: &str, new: GoverningLabels<'_>, context: &GuardContext<'_>) -> Option<Denial> {
    let why = match (new.environment, new.project) {
        (None, None) => return None,
        _ if name == context.system_namespace || name.starts_with("kube-") => {
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
fn describe_change(old: GoverningLabels<'_>, new: GoverningLabels<'_>) -> String {
    let value = |value: Option<&str>| value.map_or("none".to_owned(), quoted);
    [("environment", old.environment, new.environment), ("project", old.project, new.project)]
        .into_iter()
        .filter(|(_, old, new)| old != new)
        .map(|(label, old, new)| format!("{label}: {} to {}", value(old), value(new)))
        .collect::<Vec<_>>()
        .join(", ")
}
