//! Postures, reviewers, revocations and pipelines, checked when they are written: each document alone, and together with
//! all others.
//!
//! A document that is wrong is denied. One that is only incomplete is admitted with a warning: files are applied in any
//! order, and many tools try each file on its own before they apply the first. Of a valid posture, only a dry run admits
//! an incomplete change, since a write would deny every action of its environment.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::Serialize;
use serde_json::value::RawValue;

use super::GuardContext;
use crate::{
    decide::{
        driver::{Pending, Step},
        verdict::{DecisionDraft, Verdict},
    },
    posture::{Document, PostureError, PostureProblem, PostureSet, Revocations, is_document_kind},
    record::{decision::Basis, denial::Denial},
    request::{
        admission_review::{Object, Operation, Request},
        adoption::has_same_owners,
    },
    text::{listed, quoted},
    vocabulary::KIND_LABEL,
};

/// The most denials that are reported for one document.
const MAX_DENIALS: usize = 100;

pub(super) fn check<'a>(request: &'a Request<'a>, context: GuardContext<'a>, mut draft: DecisionDraft) -> Step<'a> {
    let change = DocumentChange::new(request);
    if change.is_nothing() {
        return draft.not_an_action();
    }
    draft.record.change = Some(change.describe());
    let (of_new, of_old) = (alone(change.new.as_ref()), alone(change.old.as_ref()));
    let environment = of_new.environments().chain(of_old.environments()).next().map(|(name, _)| name.to_owned());
    draft.record.environment = environment;
    let problems = change.problems(&of_new);
    if !problems.is_empty() {
        return draft.decided(denied(problems));
    }
    let postures = match context.postures {
        Ok(postures) => postures,
        Err(why) => {
            let what = "what the other documents say".to_owned();
            return draft.decided(denied(vec![Denial::LookupFailed { what, why: why.to_owned() }]));
        }
    };
    let verdict = change.check_among(postures, &of_new, context.governed, &mut draft);
    if verdict.denials.is_empty() {
        return draft.decided(verdict);
    }
    // The cached documents may be older than the last change, which this change may depend on.
    Step::ask(Pending::Documents, (), move |live| match live {
        Ok(documents) => {
            let live = postures.reassemble(documents).remembering(postures, context.governed);
            let verdict = change.check_among(&live, &of_new, context.governed, &mut draft);
            draft.decided(verdict)
        }
        Err(_) => draft.decided(verdict),
    })
}

fn denied(mut denials: Vec<Denial>) -> Verdict {
    denials.truncate(MAX_DENIALS);
    Verdict::denied(denials)
}

/// What a request changes of one document.
struct DocumentChange<'r> {
    /// The name of its ConfigMap.
    name: &'r str,
    new: Option<LabelledDocument<'r>>,
    old: Option<LabelledDocument<'r>>,
    gains_an_owner: bool,
    is_frozen: bool,
    is_dry_run: bool,
}

/// A ConfigMap whose label says that it is a document.
struct LabelledDocument<'r> {
    kind: &'r str,
    document: Arc<Document>,
}

impl<'r> DocumentChange<'r> {
    fn new(request: &'r Request<'r>) -> Self {
        let name = match request.object_name() {
            "" => request.old_object.as_ref().map_or("", |old| &*old.metadata.name),
            name => name,
        };
        let new = request.object.as_ref().filter(|_| request.operation != Operation::Delete);
        let old = request.old_object.as_ref();
        let owned = |object: &Object<'_>| {
            object.metadata.owner_references.is_some_and(|owners| !matches!(owners.get(), "null" | "[]"))
        };
        // An object that becomes a document with its label was not guarded before.
        let old_document = old.filter(|old| old.metadata.labels.get(KIND_LABEL).is_some_and(is_document_kind));
        let gains_an_owner = new
            .is_some_and(|new| owned(new) && old_document.is_none_or(|old| !owned(old) || !has_same_owners(new, old)));
        let immutable = |object: &Object<'_>| object.immutable.is_some_and(|immutable| immutable.get() == "true");
        let is_frozen = new.is_some_and(immutable) && !old_document.is_some_and(immutable);
        let labelled = |object: &'r Object<'r>| LabelledDocument::new(object, &request.namespace, name);
        let (new, old) = (new.and_then(labelled), old.and_then(labelled));
        Self { name, new, old, gains_an_owner, is_frozen, is_dry_run: request.dry_run }
    }

    fn is_nothing(&self) -> bool {
        match (&self.new, &self.old) {
            (None, None) => true,
            (Some(new), Some(old)) => new.document.text == old.document.text && !self.gains_an_owner && !self.is_frozen,
            _ => false,
        }
    }

    fn describe(&self) -> String {
        match (&self.old, &self.new) {
            (None, Some(new)) => format!("{} added", new.kind),
            (Some(old), None) => format!("{} removed", old.kind),
            (Some(old), Some(new)) if old.kind != new.kind => format!("{} made {}", old.kind, new.kind),
            (Some(old), Some(_)) => format!("{} changed", old.kind),
            (None, None) => String::new(),
        }
    }

    /// What is wrong with the new document, whatever the other documents say.
    fn problems(&self, alone: &PostureSet) -> Vec<Denial> {
        let own = alone.problems().iter().filter(|problem| !problem.is_incomplete);
        let mut problems: Vec<Denial> = own.map(invalid).collect();
        if self.gains_an_owner {
            let why = format!(
                "configmap {}: metadata.ownerReferences: must be absent; the garbage collector would delete the document \
                 together with its owner",
                quoted(self.name)
            );
            problems.push(Denial::PostureInvalid { why });
        }
        if self.is_frozen {
            let why = format!(
                "configmap {}: immutable: is true; remove it, since nobody could add a revocation or repair the document",
                quoted(self.name)
            );
            problems.push(Denial::PostureInvalid { why });
        }
        problems
    }

    /// Checks the change together with the documents of `postures`. `of_new` is the new document alone.
    fn check_among(
        &self,
        postures: &PostureSet,
        of_new: &PostureSet,
        governed: &BTreeMap<String, Vec<String>>,
        draft: &mut DecisionDraft,
    ) -> Verdict {
        let before = self.among(postures, self.old.as_ref()).remembering(postures, governed);
        let after = self.among(postures, self.new.as_ref());
        let mut denials = lifted(&before, &after, governed);
        denials.extend(broken(self, of_new, &before, &after, governed));
        denials.extend(unreachable(&before, &after));
        let environment = draft.record.environment.as_deref();
        let posture = environment.and_then(|environment| after.environment(environment).ok());
        draft.record.posture_version = posture.map(|posture| posture.version.clone());
        if denials.is_empty() {
            return Verdict { remarks: remarks(of_new, &before, &after), ..Verdict::admitted(Basis::Guard) };
        }
        denied(denials)
    }

    /// The same postures, with `own` in place of this document.
    fn among(&self, postures: &PostureSet, own: Option<&LabelledDocument<'_>>) -> PostureSet {
        let others = postures.documents().filter(|document| document.name.as_deref() != Some(self.name));
        postures.reassemble(others.chain(own.map(|own| &own.document)).cloned())
    }

    /// The ConfigMap of the document, for messages.
    fn name_for_messages(&self) -> String {
        let kind = self.old.as_ref().or(self.new.as_ref()).map_or("", |labelled| labelled.kind);
        format!("ConfigMap {} ({kind})", quoted(self.name))
    }
}

/// A document without all others.
fn alone(labelled: Option<&LabelledDocument<'_>>) -> PostureSet {
    PostureSet::assemble(labelled.map(|labelled| (*labelled.document).clone()).into_iter().collect())
}

impl<'r> LabelledDocument<'r> {
    fn new(object: &'r Object<'r>, namespace: &str, name: &str) -> Option<Self> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct ConfigMap<'a> {
            api_version: &'static str,
            kind: &'static str,
            metadata: Metadata<'a>,
            data: Option<&'a RawValue>,
            binary_data: Option<&'a RawValue>,
        }
        #[derive(Serialize)]
        struct Metadata<'a> {
            namespace: &'a str,
            name: &'a str,
            labels: BTreeMap<&'static str, &'a str>,
        }
        let kind = object.metadata.labels.get(KIND_LABEL).filter(|kind| is_document_kind(kind))?;
        let config_map = ConfigMap {
            api_version: "v1",
            kind: "ConfigMap",
            metadata: Metadata { namespace, name, labels: BTreeMap::from([(KIND_LABEL, kind)]) },
            data: object.data,
            binary_data: object.binary_data,
        };
        // Strings and raw JSON can always be serialized. If that ever failed, the empty document would be denied.
        let text = serde_json::to_string(&config_map).unwrap_or_default();
        let source = format!("configmap {namespace}/{name}");
        Some(Self { kind, document: Arc::new(Document { source, name: Some(name.to_owned()), text }) })
    }
}

fn invalid(problem: &PostureProblem) -> Denial {
    Denial::PostureInvalid { why: problem.to_string() }
}

/// What is revoked in an environment before the change, and afterwards is not, or only from a later time on.
///
/// A remembered revocation that no list has stays in force, so a change need not add it, except the change that makes the
/// posture valid again: a replica that restarts knows only the documents.
fn lifted(before: &PostureSet, after: &PostureSet, governed: &BTreeMap<String, Vec<String>>) -> Vec<Denial> {
    let mut lifted = Vec::new();
    for environment in before.protected_environments(governed) {
        let is_missing = |set: &PostureSet| matches!(set.environment(environment), Err(PostureError::Missing { .. }));
        // An environment that loses its posture is `InUse`, if it governs a namespace.
        if is_missing(after) && !governed.contains_key(environment) {
            continue;
        }
        if before.has_same_revocations(after, environment) {
            continue;
        }
        let remembered = before.remembered_revocations(environment);
        let mut lost = match (before.revoked_by_posture(environment), after.revoked_by_posture(environment)) {
            (Some(named), _) => named.clone(),
            // No list was in force. What is remembered must not leave the lists.
            (None, _) if is_missing(before) => remembered.without(&remembered.without(&before.revoked_in(environment))),
            // The posture could not be read. It may have named any list.
            (None, None) => before.revoked_in(environment),
            (None, Some(_)) => Revocations::default(),
        };
        if before.environment(environment).is_err() && after.environment(environment).is_ok() {
            lost.extend(&remembered);
        }
        let new = after.revoked_in(environment);
        lifted.extend(lost.without(&new).described().map(|(what, revocation)| Denial::RevocationLifted {
            what: format!("{what} in {}", quoted(environment)),
            why: revocation.why.clone(),
        }));
    }
    lifted
}

/// Postures that were valid and would not be any longer, and new problems other than incompleteness.
fn broken(
    change: &DocumentChange<'_>,
    of_new: &PostureSet,
    before: &PostureSet,
    after: &PostureSet,
    governed: &BTreeMap<String, Vec<String>>,
) -> Vec<Denial> {
    let known: BTreeSet<(&str, &str)> =
        before.problems().iter().map(|problem| (&*problem.source, &*problem.path)).collect();
    let is_new = |problem: &&PostureProblem| !known.contains(&(&*problem.source, &*problem.path));
    let mut problems: BTreeSet<&PostureProblem> =
        after.problems().iter().filter(is_new).filter(|problem| !problem.is_incomplete).collect();
    let mut denials = Vec::new();
    let is_removed = change.new.as_ref().map(|new| new.kind) != change.old.as_ref().map(|old| old.kind);
    for (environment, _) in before.environments().filter(|(_, posture)| posture.is_ok()) {
        match after.environment(environment) {
            Ok(_) => {}
            Err(PostureError::Invalid { problems }) if is_removed && change.old.is_some() => {
                let first = problems.first().map(ToString::to_string).unwrap_or_default();
                let by = format!("without it environment {} has no valid posture: {first}", quoted(environment));
                denials.push(Denial::InUse { what: change.name_for_messages(), by });
            }
            Err(PostureError::Invalid { problems: found }) => {
                let is_of_new = of_new.environments().any(|(new, _)| new == environment);
                let is_incomplete = found.iter().all(|problem| problem.is_incomplete);
                if !(change.is_dry_run && is_of_new && is_incomplete) {
                    problems.extend(found);
                }
            }
            Err(_) => denials.extend(in_use(change, environment, governed)),
        }
    }
    problems.into_iter().map(invalid).chain(denials).collect()
}

/// The environment would lose its posture.
fn in_use(change: &DocumentChange<'_>, environment: &str, governed: &BTreeMap<String, Vec<String>>) -> Option<Denial> {
    const SHOWN: usize = 3;
    let namespaces = governed.get(environment).filter(|namespaces| !namespaces.is_empty())?;
    let shown: Vec<String> = namespaces.iter().take(SHOWN).map(quoted).collect();
    let more = match namespaces.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let by = format!("environment {} governs namespaces {}{more}", quoted(environment), shown.join(", "));
    Some(Denial::InUse { what: change.name_for_messages(), by })
}

/// Quorums that a document requires and that, with the change, no set of reviewers can meet.
fn unreachable(before: &PostureSet, after: &PostureSet) -> Vec<Denial> {
    let known: BTreeSet<(&str, &str)> =
        before.unreachable_quorums().iter().map(|quorum| (&*quorum.environment, &*quorum.problem.path)).collect();
    let quorums = after.unreachable_quorums().iter().filter(|quorum| quorum.is_written);
    quorums
        .filter(|quorum| !known.contains(&(&*quorum.environment, &*quorum.problem.path)))
        .map(|quorum| Denial::QuorumUnreachable { why: quorum.problem.to_string() })
        .collect()
}

/// What an admitted document lacks before anything can be admitted by it, and the default quorums that no set of reviewers
/// can meet.
fn remarks(alone: &PostureSet, before: &PostureSet, after: &PostureSet) -> Vec<String> {
    let mut remarks = Vec::new();
    for (environment, revoked) in before.unlisted_revocations() {
        let unlisted = revoked.without(&after.revoked_in(environment));
        let described: Vec<String> = unlisted.described().map(|(what, _)| what).collect();
        if !described.is_empty() {
            let (entries, environment) = (listed(described.into_iter()), quoted(environment));
            remarks.push(format!("{entries} stays revoked in {environment}, but is in no list; add it to a list"));
        }
    }
    for (environment, _) in alone.environments() {
        let Err(error) = after.environment(environment) else { continue };
        let environment_name = quoted(environment);
        remarks.push(if before.environment(environment).is_ok() {
            format!(
                "a write of the posture of {environment_name} would be denied now; write first what it names: {error}"
            )
        } else {
            format!("nothing is admitted in {environment_name} yet: {error}")
        });
    }
    let known = before.unreachable_quorums();
    let quorums = after.unreachable_quorums().iter().filter(|quorum| !quorum.is_written && !known.contains(quorum));
    remarks.extend(quorums.map(|quorum| quorum.problem.to_string()));
    remarks
}
