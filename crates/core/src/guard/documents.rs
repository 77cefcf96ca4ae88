//! Postures, reviewers, revocations and pipelines, judged when they are written: both the document by itself and what
//! all documents come to with it.
//!
//! Refused is what is wrong for good. What is only incomplete is let pass, since files are applied in any order and
//! many tools try each of them on its own before they apply the first.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::value::RawValue;

use super::Ground;
use crate::{
    decide::facts::{Known, Want},
    posture::{Document, PostureError, PostureProblem, PostureSet, Revocation, Revocations, is_document_kind},
    record::decision::{Basis, DecisionRecord, Verdict},
    record::denial::Denial,
    request::admission_review::{Object, Operation, Request},
    request::change::same_owners,
    text::quoted,
    vocabulary::KIND_LABEL,
};

/// Reasons that are told of one document; more help nobody.
const MAX_DENIALS: usize = 100;

pub(super) fn judge(
    request: &Request<'_>,
    ground: &Ground<'_>,
    known: &Known,
    record: &mut DecisionRecord,
) -> Option<Verdict> {
    let change = Change::of(request);
    if change.is_nothing() {
        return None;
    }
    record.change = Some(change.in_words());
    let (of_new, of_old) = (alone(change.new.as_ref()), alone(change.old.as_ref()));
    record.environment = of_new.environments().chain(of_old.environments()).next().map(|(name, _)| name.to_owned());
    let faults = change.faults(&of_new);
    if !faults.is_empty() {
        return Some(refused(faults, Vec::new()));
    }
    let documents = match (known.documents(), ground.documents) {
        (Some(Ok(documents)), _) => documents,
        (_, Ok(documents)) => documents,
        (_, Err(why)) => {
            let what = "what the other documents say".to_owned();
            return Some(refused(vec![Denial::LookupFailed { what, why: why.to_owned() }], Vec::new()));
        }
    };
    let (before, after) = (change.before(documents), change.after(documents));
    let mut denials = lifted(&before, &after);
    denials.extend(broken(&change, &before, &after, ground.governed));
    denials.extend(unreachable(&before, &after));
    record.posture_version = record
        .environment
        .as_deref()
        .and_then(|environment| after.environment(environment).ok())
        .map(|posture| posture.version.clone());
    if denials.is_empty() {
        let remarks = remarks(&of_new, &before, &after);
        return Some(Verdict { remarks, ..Verdict::admitted(Basis::Guard) });
    }
    // What is kept may be older than the last change, which this one may well rest on.
    let wants = if known.documents().is_none() { vec![Want::Documents] } else { Vec::new() };
    Some(refused(denials, wants))
}

fn refused(mut denials: Vec<Denial>, wants: Vec<Want>) -> Verdict {
    denials.truncate(MAX_DENIALS);
    Verdict { wants, ..Verdict::denied(denials) }
}

/// What a request does to one document.
struct Change<'r> {
    /// The ConfigMap's name.
    name: &'r str,
    new: Option<Labelled<'r>>,
    old: Option<Labelled<'r>>,
    gains_an_owner: bool,
}

/// A ConfigMap that its label makes a document.
struct Labelled<'r> {
    kind: &'r str,
    document: Document,
}

impl<'r> Change<'r> {
    fn of(request: &'r Request<'r>) -> Self {
        let name = match request.object_name() {
            "" => request.old_object.as_ref().map_or("", |old| &*old.metadata.name),
            name => name,
        };
        let new = request.object.as_ref().filter(|_| request.operation != Operation::Delete);
        let old = request.old_object.as_ref();
        let owned = |object: &Object<'_>| {
            object.metadata.owner_references.is_some_and(|owners| !matches!(owners.get(), "null" | "[]"))
        };
        let gains_an_owner =
            new.is_some_and(|new| owned(new) && old.is_none_or(|old| !owned(old) || !same_owners(new, old)));
        let labelled = |object: &'r Object<'r>| Labelled::of(object, &request.namespace, name);
        Self { name, new: new.and_then(labelled), old: old.and_then(labelled), gains_an_owner }
    }

    fn is_nothing(&self) -> bool {
        match (&self.new, &self.old) {
            (None, None) => true,
            (Some(new), Some(old)) => new.document.text == old.document.text && !self.gains_an_owner,
            _ => false,
        }
    }

    fn in_words(&self) -> String {
        match (&self.old, &self.new) {
            (None, Some(new)) => format!("{} added", new.kind),
            (Some(old), None) => format!("{} removed", old.kind),
            (Some(old), Some(new)) if old.kind != new.kind => format!("{} made {}", old.kind, new.kind),
            (Some(old), Some(_)) => format!("{} changed", old.kind),
            (None, None) => String::new(),
        }
    }

    /// What is wrong with the new document whatever the others say.
    fn faults(&self, alone: &PostureSet) -> Vec<Denial> {
        let own = alone.problems().iter().filter(|problem| !problem.is_incomplete);
        let mut faults: Vec<Denial> = own.map(invalid).collect();
        if self.gains_an_owner {
            let why = format!(
                "configmap {}: metadata.ownerReferences: must be absent; the garbage collector would delete the document \
                 together with its owner",
                quoted(self.name)
            );
            faults.push(Denial::PostureInvalid { why });
        }
        faults
    }

    fn before(&self, documents: &[Document]) -> PostureSet {
        self.among(documents, self.old.as_ref())
    }

    fn after(&self, documents: &[Document]) -> PostureSet {
        self.among(documents, self.new.as_ref())
    }

    /// All documents, with this one as it is in `own`.
    fn among(&self, documents: &[Document], own: Option<&Labelled<'_>>) -> PostureSet {
        let others = documents.iter().filter(|document| document.name.as_deref() != Some(self.name));
        PostureSet::assemble(others.chain(own.map(|own| &own.document)).cloned().collect())
    }

    /// The document's ConfigMap, for messages.
    fn what(&self) -> String {
        let kind = self.old.as_ref().or(self.new.as_ref()).map_or("", |labelled| labelled.kind);
        format!("ConfigMap {} ({kind})", quoted(self.name))
    }
}

/// A document without its neighbours.
fn alone(labelled: Option<&Labelled<'_>>) -> PostureSet {
    PostureSet::assemble(labelled.map(|labelled| labelled.document.clone()).into_iter().collect())
}

impl<'r> Labelled<'r> {
    fn of(object: &'r Object<'r>, namespace: &str, name: &str) -> Option<Self> {
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
        // Texts and what was JSON already always make JSON; were they not to, an empty document is a wrong one.
        let text = serde_json::to_string(&config_map).unwrap_or_default();
        let source = format!("configmap {namespace}/{name}");
        Some(Self { kind, document: Document { source, name: Some(name.to_owned()), text } })
    }
}

fn invalid(problem: &PostureProblem) -> Denial {
    Denial::PostureInvalid { why: problem.to_string() }
}

/// What is revoked in an environment before and not after, or only from a later time on.
fn lifted(before: &PostureSet, after: &PostureSet) -> Vec<Denial> {
    let after: BTreeMap<&str, &Revocations> = after.revoked().collect();
    let mut lifted = Vec::new();
    for (environment, old) in before.revoked() {
        // An environment without any posture is `InUse`'s business.
        let Some(new) = after.get(environment) else { continue };
        lifted.extend(lifted_of("approval", environment, &old.approvals, &new.approvals));
        lifted.extend(lifted_of("key", environment, &old.keys, &new.keys));
        lifted.extend(lifted_of("spec", environment, &old.specs, &new.specs));
    }
    lifted
}

fn lifted_of<K: Ord + ToString>(
    kind: &str,
    environment: &str,
    old: &BTreeMap<K, Revocation>,
    new: &BTreeMap<K, Revocation>,
) -> Vec<Denial> {
    // None, which is ever since, is before any time.
    let stays = |key: &K, revocation: &Revocation| new.get(key).is_some_and(|new| new.at <= revocation.at);
    old.iter()
        .filter(|(key, revocation)| !stays(key, revocation))
        .map(|(key, revocation)| Denial::RevocationLifted {
            what: format!("{kind} {} in {}", quoted(&key.to_string()), quoted(environment)),
            why: revocation.why.clone(),
        })
        .collect()
}

/// What was right and would be no more, and what would newly be wrong otherwise than by being incomplete.
fn broken(
    change: &Change<'_>,
    before: &PostureSet,
    after: &PostureSet,
    governed: &BTreeMap<String, Vec<String>>,
) -> Vec<Denial> {
    let places: BTreeSet<(&str, &str)> =
        before.problems().iter().map(|problem| (&*problem.source, &*problem.path)).collect();
    let is_new = |problem: &&PostureProblem| !places.contains(&(&*problem.source, &*problem.path));
    let mut faults: BTreeSet<&PostureProblem> =
        after.problems().iter().filter(is_new).filter(|problem| !problem.is_incomplete).collect();
    let mut denials = Vec::new();
    let is_removed = change.new.as_ref().map(|new| new.kind) != change.old.as_ref().map(|old| old.kind);
    for (environment, _) in before.environments().filter(|(_, posture)| posture.is_ok()) {
        match after.environment(environment) {
            Ok(_) => {}
            Err(PostureError::Invalid { problems }) if is_removed && change.old.is_some() => {
                let first = problems.first().map(ToString::to_string).unwrap_or_default();
                let by = format!("without it environment {} has no valid posture: {first}", quoted(environment));
                denials.push(Denial::InUse { what: change.what(), by });
            }
            Err(PostureError::Invalid { problems }) => faults.extend(problems),
            Err(_) => denials.extend(in_use(change, environment, governed)),
        }
    }
    faults.into_iter().map(invalid).chain(denials).collect()
}

/// The posture of an environment would be gone.
fn in_use(change: &Change<'_>, environment: &str, governed: &BTreeMap<String, Vec<String>>) -> Option<Denial> {
    const SHOWN: usize = 3;
    let namespaces = governed.get(environment).filter(|namespaces| !namespaces.is_empty())?;
    let shown: Vec<String> = namespaces.iter().take(SHOWN).map(quoted).collect();
    let more = match namespaces.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let by = format!("environment {} governs namespaces {}{more}", quoted(environment), shown.join(", "));
    Some(Denial::InUse { what: change.what(), by })
}

/// Quorums that the document asks for and that nobody can meet any more, or ever.
fn unreachable(before: &PostureSet, after: &PostureSet) -> Vec<Denial> {
    let known: BTreeSet<(&str, &str)> =
        before.unreachable_quorums().iter().map(|quorum| (&*quorum.environment, &*quorum.problem.path)).collect();
    let quorums = after.unreachable_quorums().iter().filter(|quorum| quorum.is_written);
    quorums
        .filter(|quorum| !known.contains(&(&*quorum.environment, &*quorum.problem.path)))
        .map(|quorum| Denial::QuorumUnreachable { why: quorum.problem.to_string() })
        .collect()
}

/// What an admitted document still lacks, and what nobody can do by it.
fn remarks(alone: &PostureSet, before: &PostureSet, after: &PostureSet) -> Vec<String> {
    let mut remarks = Vec::new();
    for (environment, _) in alone.environments() {
        if let Err(error) = after.environment(environment) {
            remarks.push(format!("nothing is admitted in {} yet: {error}", quoted(environment)));
        }
    }
    let known = before.unreachable_quorums();
    let quorums = after.unreachable_quorums().iter().filter(|quorum| !quorum.is_written && !known.contains(quorum));
    remarks.extend(quorums.map(|quorum| quorum.problem.to_string()));
    remarks
}
