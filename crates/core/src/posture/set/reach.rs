//! Rules that nobody can satisfy: a quorum that the reviewers of the named sets cannot fill.
//!
//! Such a posture is valid, and decides `QuorumNotMet` for ever; so it is refused when it is written, and told by
//! `posture check`. Looked at are groups, grants and projects. Validity, revocations and the separation of duties
//! change from day to day and from request to request, so they are not.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;

use super::PostureProblem;
use crate::{
    approval::action::Action,
    approval::capability::Capability,
    posture::ApprovalRule,
    posture::Posture,
    posture::QuorumEntry,
    posture::Reviewer,
    posture::ReviewerKey,
    posture::Revocation,
    posture::quorum::{self, is_met},
    text::quoted,
};

/// A rule whose quorum the named reviewers cannot fill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreachableQuorum {
    /// The posture's environment.
    pub environment: String,
    /// Which rule it is, and what it lacks.
    pub problem: PostureProblem,
    /// Whether the document spells the rule out; else it is a default that nobody may have meant.
    pub is_written: bool,
}

impl Posture {
    /// The rules that nobody can satisfy at `now`: whoever has no key that is valid and not revoked then does not
    /// count. Each is the rule's path and why, for people.
    #[must_use]
    pub fn unmet_quorums(&self, now: Timestamp) -> Vec<(String, String)> {
        let signs = |reviewer: &Reviewer| reviewer.keys.iter().any(|key| counts(key, self, now));
        let mut unmet = Vec::new();
        for (path, quorum, capabilities) in quorums(self) {
            if let Some(why) = lacking(self, quorum, capabilities, &signs) {
                unmet.push((path, why));
            }
        }
        unmet
    }
}

/// Whether a signature by this key counts at `now`.
fn counts(key: &ReviewerKey, posture: &Posture, now: Timestamp) -> bool {
    let valid = key.not_before.is_none_or(|from| from <= now) && key.not_after.is_none_or(|until| now < until);
    valid && !posture.revocations.keys.get(&key.id).is_some_and(|revocation: &Revocation| revocation.in_force(now))
}

/// Every quorum of the posture: the rule's path, who must sign, and what they must be allowed to grant.
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

/// What nobody can satisfy in `posture`, which was read from `document` found at `source`.
pub(super) fn unreachable(posture: &Posture, document: &Value, source: &str) -> Vec<UnreachableQuorum> {
    let mut found = Vec::new();
    for (path, quorum, capabilities) in quorums(posture) {
        let Some(why) = lacking(posture, quorum, capabilities, &|_| true) else { continue };
        let pointer = format!("/{}", path.replace('.', "/"));
        let is_written = document.pointer(&pointer).is_some();
        let written = document.pointer(&format!("{pointer}/quorum")).map_or(path.clone(), |_| format!("{path}.quorum"));
        let problem = PostureProblem::new(source, written, why);
        found.push(UnreachableQuorum { environment: posture.environment.clone(), problem, is_written });
    }
    found
}

/// Why no reviewers that count fill `entries` in some project of the environment: in one that the posture lists, or else in any.
fn lacking(
    posture: &Posture,
    entries: &[QuorumEntry],
    capabilities: &[Capability],
    counts: &dyn Fn(&Reviewer) -> bool,
) -> Option<String> {
    let who = |project: Option<&str>| -> Vec<&Reviewer> {
        let mut who: Vec<_> = posture.reviewers.iter().filter(|reviewer| counts(reviewer)).collect();
        who.retain(|reviewer| may_grant(reviewer, capabilities, project));
        who
    };
    let unmet = |project: Option<&str>| {
        let who = who(project);
        (!is_met(entries, &who)).then(|| in_words(entries, capabilities, project, &who))
    };
    if let Some(listed) = &posture.namespaces {
        let listed: BTreeSet<&str> = listed.values().map(String::as_str).collect();
        return listed.into_iter().find_map(|project| unmet(Some(project)));
    }
    let somewhere: BTreeSet<&str> =
        posture.reviewers.iter().flat_map(|reviewer| reviewer.projects.iter().flatten()).map(String::as_str).collect();
    let anywhere = unmet(None)?;
    somewhere.into_iter().all(|project| unmet(Some(project)).is_some()).then_some(anywhere)
}

/// Whether a signature of `reviewer` counts in `project`; without one, in every project.
fn may_grant(reviewer: &Reviewer, capabilities: &[Capability], project: Option<&str>) -> bool {
    let there = match (&reviewer.projects, project) {
        (None, _) => true,
        (Some(projects), Some(project)) => projects.iter().any(|own| own == project),
        (Some(_), None) => false,
    };
    there && capabilities.iter().all(|needed| reviewer.capabilities.iter().any(|grant| grant.covers(needed)))
}

fn in_words(entries: &[QuorumEntry], capabilities: &[Capability], project: Option<&str>, who: &[&Reviewer]) -> String {
    let capabilities: Vec<String> = capabilities.iter().map(ToString::to_string).collect();
    let project = project.map(|project| format!(" in project {}", quoted(project))).unwrap_or_default();
    let person = |reviewer: &&Reviewer| match reviewer.groups.as_slice() {
        [] => quoted(&reviewer.name),
        groups => format!("{} ({})", quoted(&reviewer.name), quoted(&groups.join(", "))),
    };
    let shown: Vec<String> = who.iter().take(5).map(person).collect();
    let who = match who.len().saturating_sub(shown.len()) {
        _ if shown.is_empty() => "nobody".to_owned(),
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    };
    format!(
        "nobody can meet this: {}; in the named sets {} may be granted{project} by {who}",
        quorum::in_words(entries),
        capabilities.join(", ")
    )
}
