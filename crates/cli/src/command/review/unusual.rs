//! What a reviewer should look at first: what can change after the signature, what gives access to more than the workload
//! itself, and what of that is new.
//!
//! `kube::unusual_fields` of core says which fields are unusual; `unusual::texts` says it in words. These are hints and
//! not rules: the posture says what is denied.

mod scripts;
mod texts;

use std::collections::BTreeMap;

use jiff::SignedDuration;
use serde::Serialize;
use serde_json::Value;
use writgate_core::{
    approval::Approval,
    kube::{FieldStep, Scope, Severity, UnusualField, unusual_fields},
    posture::{Posture, SeparationOfDuties},
    text::quoted,
};

use crate::{
    approval::statement,
    manifest::{Manifest, workloads},
    terminal::output::shown,
};

/// A longer lifetime is standing coverage, of which the guidance warns.
const SHORT: SignedDuration = SignedDuration::from_hours(1);

/// Names in a line about several items.
const NAMED: usize = 3;

/// Something to look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Unusual {
    /// Stable, for programs: `mutable-tag`.
    pub(super) code: &'static str,
    pub(super) severity: Severity,
    /// Where it is, and what it is; safe to print.
    pub(super) what: String,
    #[serde(skip)]
    finding: Option<Finding>,
}

/// What several lines about containers or volumes have in common, so that they can become one line.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    /// `container`
    noun: &'static str,
    /// The name of the container or the volume; safe to print.
    name: String,
    /// What is said of several.
    of_several: String,
    /// What differs between them; safe to print.
    value: String,
}

/// A hint that is not about containers or volumes.
pub(super) fn unusual(severity: Severity, code: &'static str, what: impl Into<String>) -> Unusual {
    Unusual { code, severity, what: what.into(), finding: None }
}

/// What is unusual in a workload, compared with the live object `old`.
pub(super) fn of_workload(manifest: &Manifest, old: Option<&Value>, new: &Value) -> Vec<Unusual> {
    let dropped = workloads::dropped_fields(manifest);
    let dropped =
        dropped.iter().map(|field| unusual(Severity::Severe, "unknown-field", workloads::describe_dropped(field)));
    let fields = manifest.workload().map(|kind| unusual_fields(kind, old, new)).unwrap_or_default();
    let mut found: Vec<Unusual> = dropped.chain(fields.iter().map(of_field)).collect();
    found.extend(new.get("spec").into_iter().flat_map(|spec| scripts::of_value("the workload", spec)));
    found.sort_by_key(|one| one.severity); // stable: within one severity, in the order of the object
    found
}

/// What is unusual in a statement, by the posture of its environment if it is known.
pub(super) fn of_approval(approval: &Approval, posture: Option<&Posture>) -> Vec<Unusual> {
    let mut found = Vec::new();
    if approval.break_glass {
        found.push(unusual(Severity::Severe, "break-glass", "a break-glass approval is requested (breakGlass)"));
    }
    let requester = posture.filter(|posture| posture.separation_of_duties == SeparationOfDuties::Off);
    let requester = requester.and_then(|posture| posture.reviewers.iter().find(|one| one.is(&approval.requested_by)));
    if let Some(reviewer) = requester {
        let who = shown(&reviewer.name);
        found.push(unusual(
            Severity::Severe,
            "self-approval",
            format!("{who} requests the approval and could sign it too: the posture says separationOfDuties: off"),
        ));
    }
    if approval.requested_by.starts_with("system:") {
        found.push(unusual(
            Severity::Notable,
            "service-account",
            format!(
                "the requester {} is not a person: find out on whose behalf it acts",
                shown(&approval.requested_by)
            ),
        ));
    }
    if approval.lifetime() > SHORT {
        let what = format!("the approval would be valid for {:#}", approval.lifetime());
        found.push(unusual(Severity::Notable, "long-lived", what));
    }
    let reason = approval.reason.as_deref().map(|reason| ("the reason", reason));
    let texts = [("the name of the requester", &*approval.requested_by), ("the environment", &approval.environment)];
    let texts = texts.into_iter().chain([("the project", &*approval.project)]).chain(reason);
    let claims = statement::claims(approval);
    found.extend(texts.flat_map(|(place, text)| scripts::of_text(place, text)));
    found.extend(claims.flat_map(|(name, text)| scripts::of_text(&format!("the claim {name}"), text)));
    found
}

/// The lines of a report: the most serious first, and one line for many containers or volumes with the same finding.
/// Each list of workloads has its own prefix.
pub(super) fn lines<'a>(lists: impl IntoIterator<Item = (String, &'a [Unusual])>) -> Vec<String> {
    let mut lines: Vec<(Severity, String)> = Vec::new();
    for (prefix, list) in lists {
        let mut groups: BTreeMap<(&str, &str, &str), Vec<&Finding>> = BTreeMap::new();
        for (one, finding) in list.iter().filter_map(|one| Some((one, one.finding.as_ref()?))) {
            groups.entry((one.code, finding.noun, &finding.of_several)).or_default().push(finding);
        }
        for one in list {
            let key = one.finding.as_ref().map(|finding| (one.code, finding.noun, &*finding.of_several));
            match key.map(|key| (key, groups.get(&key).map_or(0, Vec::len))) {
                Some((key, count)) if count > NAMED => {
                    // The first of the group stands for all.
                    let group = groups.insert(key, Vec::new()).unwrap_or_default();
                    lines.push((one.severity, format!("{prefix}{}", together(&group))));
                }
                Some((key, 0)) if groups.contains_key(&key) => {}
                _ => lines.push((one.severity, format!("{prefix}{}", one.what))),
            }
        }
    }
    lines.sort_by_key(|(severity, _)| *severity);
    lines.into_iter().map(|(_, line)| line).collect()
}

/// `300 containers run as root: a, b, c and 297 more; -o json lists them`
fn together(group: &[&Finding]) -> String {
    let Some(first) = group.first() else { return String::new() };
    let same = group.iter().all(|one| one.value == first.value);
    let named = group.iter().take(NAMED).map(|one| match &*one.value {
        value if same || value.is_empty() => one.name.clone(),
        value => format!("{} ({value})", one.name),
    });
    let value = if same && !first.value.is_empty() { format!(" ({})", first.value) } else { String::new() };
    format!(
        "{} {}s {}{value}: {} and {} more; -o json lists them",
        group.len(),
        first.noun,
        first.of_several,
        named.collect::<Vec<_>>().join(", "),
        group.len() - NAMED
    )
}

fn of_field(found: &UnusualField<'_>) -> Unusual {
    let owner = owner(found);
    let steps = if owner.is_some() { found.path.get(1..).unwrap_or_default() } else { &found.path[..] };
    let path = path(steps, false);
    let Some(text) = texts::of(found.remark.code, &path) else {
        // A code without a text is still reported.
        return unusual(found.remark.severity, found.remark.code, format!("{}: {}", found.remark.code, path));
    };
    let value = texts::value(found);
    let field = self::path(steps, true);
    let of_one = text.of_one.replace("{field}", &field).replace("{}", &value);
    let at = match (found.scope, &owner) {
        (_, Some((noun, name))) => format!("{noun} {name}"),
        (Scope::Workload, None) => "the workload".to_owned(),
        (Scope::PodMetadata | Scope::Pod, None) => "the Pod".to_owned(),
    };
    let finding = owner.map(|(noun, name)| Finding {
        noun,
        name,
        of_several: text.of_several.replace("{field}", &path),
        value: if text.of_one.contains("{}") { value } else { String::new() },
    });
    Unusual { finding, ..unusual(found.remark.severity, found.remark.code, format!("{at} {of_one}")) }
}

/// The container or the volume that has the field.
fn owner(found: &UnusualField<'_>) -> Option<(&'static str, String)> {
    let first = found.path.first().filter(|_| found.scope == Scope::Pod)?;
    let (_, noun) = OWNERS.iter().find(|(list, _)| *list == first.field)?;
    Some((noun, first.item.as_deref().map(quoted).unwrap_or_default()))
}

fn path(steps: &[FieldStep], with_items: bool) -> String {
    let step = |step: &FieldStep| match &step.item {
        Some(item) if with_items => format!("{}[{}]", step.field, quoted(item)),
        _ => step.field.to_owned(),
    };
    steps.iter().map(step).collect::<Vec<_>>().join(".")
}

const OWNERS: [(&str, &str); 4] = [
    ("containers", "container"),
    ("initContainers", "init container"),
    ("ephemeralContainers", "ephemeral container"),
    ("volumes", "volume"),
];

#[cfg(test)]
mod tests;
