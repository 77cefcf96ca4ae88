//! Quorums that the named reviewers cannot fill.
//!
//! A posture with such a quorum is valid, but every approval under it fails with `QuorumNotMet`. So the guard refuses
//! the posture when it is written, and `posture check` reports it. Groups, grants and projects are considered. Key
//! validity, revocations and separation of duties are not: they differ from day to day and from request to request.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;

use super::{
    ApprovalRule, Posture, PostureProblem, QuorumEntry, Reviewer, ReviewerKey,
    quorum::{describe_quorum, is_met},
};
use crate::{approval::action::Action, approval::capability::Capability, text::quoted};

/// A quorum that the named reviewers cannot fill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreachableQuorum {
    /// The environment of the posture.
    pub environment: String,
    /// The rule, and why its quorum cannot be filled.
    pub problem: PostureProblem,
    /// Whether the document contains the rule. If not, the rule is a default, and perhaps not intended.
    pub is_written: bool,
}

impl Posture {
    /// The quorums that cannot be filled at `now`, each as the path of its rule and the reason. A reviewer without a
    /// key that is valid and not revoked at `now` does not count.
    #[must_use]
    pub fn unmet_quorums(&self, now: Timestamp) -> Vec<(String, String)> {
        let can_sign = |reviewer: &Reviewer| reviewer.keys.iter().any(|key| counts(key, self, now));
        let mut unmet = Vec::new();
        for (path, quorum, capabilities) in quorums(self) {
            if let Some(why) = why_unfilled(self, quorum, capabilities, &can_sign) {
                unmet.push((path, why));
            }
        }
        unmet
    }
}

/// Whether a signature by this key counts at `now`.
fn counts(key: &ReviewerKey, posture: &Posture, now: Timestamp) -> bool {
    let valid = key.not_before.is_none_or(|from| from <= now) && key.not_after.is_none_or(|until| now < until);
    valid && !posture.revocations.keys.get(&key.id).is_some_and(|revocation| revocation.in_force(now))
}

/// Every quorum of the posture, as the path of its rule, the entries, and the capabilities that the signers must be
/// allowed to grant.
fn quorums(posture: &Posture) -> Vec<(String, &[QuorumEntry], &[Capability])> {
    let required = Action::ALL.into_iter().filter(|action| posture.rule(*action).approval == ApprovalRule::Required);
    let mut quorums: Vec<_> = required
        .map(|action| {
            let rule = posture.rule(action);
            (format!("actions.{action}"), &*rule.quorum, &*rule.capabilities)
        })
        .collect();
    if let Some(rule) = &posture.break_glass {
        quorums.push(("breakGlass".to_owned(), &rule.quorum, &rule.capabilities));
    }
    quorums
}

/// The unreachable quorums of `posture`, which was read from `document` found at `source`.
pub(super) fn unreachable(posture: &Posture, document: &Value, source: &str) -> Vec<UnreachableQuorum> {
    let mut found = Vec::new();
    for (path, quorum, capabilities) in quorums(posture) {
        let Some(why) = why_unfilled(posture, quorum, capabilities, &|_| true) else { continue };
        let pointer = format!("/{}", path.replace('.', "/"));
        let is_written = document.pointer(&pointer).is_some();
        let path = match document.pointer(&format!("{pointer}/quorum")) {
            Some(_) => format!("{path}.quorum"),
            None => path,
        };
        let problem = PostureProblem::new(source, path, why);
        found.push(UnreachableQuorum { environment: posture.environment.clone(), problem, is_written });
    }
    found
}

/// Why the counted reviewers cannot fill `entries`. If the posture lists projects, the quorum must be reachable in each
/// of them; otherwise in at least one project.
fn why_unfilled(
    posture: &Posture,
    entries: &[QuorumEntry],
    capabilities: &[Capability],
    counts: &dyn Fn(&Reviewer) -> bool,
) -> Option<String> {
    let unmet_in = |project: Option<&str>| {
        let mut eligible: Vec<_> = posture.reviewers.iter().filter(|reviewer| counts(reviewer)).collect();
        eligible.retain(|reviewer| may_grant(reviewer, capabilities, project));
        if is_met(entries, &eligible) { None } else { Some(describe(entries, capabilities, project, &eligible)) }
    };
    if let Some(listed) = &posture.namespaces {
        let projects: BTreeSet<&str> = listed.values().map(String::as_str).collect();
        return projects.into_iter().find_map(|project| unmet_in(Some(project)));
    }
    let projects: BTreeSet<&str> =
        posture.reviewers.iter().flat_map(|reviewer| reviewer.projects.iter().flatten()).map(String::as_str).collect();
    let in_all = unmet_in(None)?;
    if projects.into_iter().all(|project| unmet_in(Some(project)).is_some()) { Some(in_all) } else { None }
}

/// Whether `reviewer` may grant the capabilities in `project`, or in every project if that is `None`.
fn may_grant(reviewer: &Reviewer, capabilities: &[Capability], project: Option<&str>) -> bool {
    let in_project = match (&reviewer.projects, project) {
        (None, _) => true,
        (Some(projects), Some(project)) => projects.iter().any(|own| own == project),
        (Some(_), None) => false,
    };
    in_project && capabilities.iter().all(|required| reviewer.capabilities.iter().any(|grant| grant.covers(required)))
}

fn describe(
    entries: &[QuorumEntry],
    capabilities: &[Capability],
    project: Option<&str>,
    eligible: &[&Reviewer],
) -> String {
    let capabilities: Vec<String> = capabilities.iter().map(ToString::to_string).collect();
    let project = project.map(|project| format!(" in project {}", quoted(project))).unwrap_or_default();
    let person = |reviewer: &&Reviewer| match reviewer.groups.as_slice() {
        [] => quoted(&reviewer.name),
        groups => format!("{} ({})", quoted(&reviewer.name), quoted(&groups.join(", "))),
    };
    let shown: Vec<String> = eligible.iter().take(5).map(person).collect();
    let eligible = match eligible.len().saturating_sub(shown.len()) {
        _ if shown.is_empty() => "no reviewer".to_owned(),
        0 => format!("only {}", shown.join(", ")),
        more => format!("only {} and {more} more", shown.join(", ")),
    };
    format!(
        "this quorum cannot be met: it requires {}, but {eligible} may grant {}{project}",
        describe_quorum(entries),
        capabilities.join(", ")
    )
}
