//! All documents of one cluster or folder, assembled: the posture of each environment, and all problems.
//!
//! Assembling never fails. A broken document invalidates its own environment and no other. A set that is made from an
//! earlier one reads only the documents that differ, and builds only the postures that they belong to.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    sync::Arc,
};

use serde_json::Value;

use super::{
    Posture, PostureProblem, Revocations, UnreachableQuorum,
    build::build_posture,
    document_text::Document,
    gather::{ConfigMaps, FoundDocument, Gathered, Origin},
    named_documents::{NamedDocument, NamedDocuments, NamedKind, NamedSets, UnusedDocument, read_unused},
    pipelines::Builds,
    reach::unreachable,
    remembered::Remembered,
    reviewers::ReviewerSet,
};
use crate::{
    approval::detached::DetachedApproval,
    encoding::outline::Outline,
    kube::config_map::ConfigMapContent,
    text::{listed, on_one_line},
};

/// Why an environment has no usable posture. The webhook denies every action in the environment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PostureError {
    /// No posture names the environment.
    #[error("this environment has no posture; {}", describe_known(known))]
    Missing {
        /// The environments that have a posture, valid or not.
        known: Vec<String>,
    },
    /// The environment has a posture that is invalid, or a broken document that may be its posture.
    #[error("the environment's posture is invalid: {}", first(problems))]
    Invalid {
        /// All problems; never empty.
        problems: Vec<PostureProblem>,
    },
    /// The documents are unknown: the last known ones are too old, or they could not be read. [`PostureSet`] never
    /// returns this; whoever holds the documents does.
    #[error("{why}")]
    Unknown {
        /// What is unknown, and why.
        why: String,
    },
}

fn describe_known(known: &[String]) -> String {
    if known.is_empty() {
        return "no environment has one".to_owned();
    }
    on_one_line(&format!("these have one: {}", listed(known.iter().cloned())))
}

fn first(problems: &[PostureProblem]) -> String {
    match problems {
        [] => "it cannot be read".to_owned(),
        [only] => only.to_string(),
        [first, others @ ..] => format!("{first} (and {} more)", others.len()),
    }
}

/// The postures of all environments, assembled from the documents of one cluster or folder.
#[derive(Clone, Debug)]
pub struct PostureSet {
    /// Sorted, each with what it holds.
    documents: BTreeMap<Arc<Document>, Arc<Gathered>>,
    pub(super) named: Arc<NamedSets>,
    /// The postures that are valid by themselves, by the source of their document.
    built: BTreeMap<String, Arc<BuiltPosture>>,
    pub(super) environments: BTreeMap<String, Result<Arc<BuiltPosture>, PostureError>>,
    /// The answer for every other environment.
    elsewhere: PostureError,
    problems: Vec<PostureProblem>,
    unreachable: Vec<UnreachableQuorum>,
    /// By environment: what the lists that its documents name revoke, even if its posture is invalid.
    pub(super) revoked: BTreeMap<String, Arc<Revocations>>,
    /// By environment: the namespaces that its documents list, each with its project, even if its posture is invalid.
    pub(super) listed: BTreeMap<String, BTreeMap<String, String>>,
    /// The names of reviewers, revocations and pipelines that the documents of postures have.
    named_by_postures: BTreeSet<String>,
    /// By environment: what earlier documents said and these do not.
    pub(super) remembered: BTreeMap<String, Remembered>,
    namespaces: BTreeMap<String, BTreeMap<String, String>>,
    config_maps: ConfigMaps,
}

impl PostureSet {
    /// Reads all documents and assembles the postures. The order of the documents does not matter.
    #[must_use]
    pub fn assemble(documents: Vec<Document>) -> Self {
        Self::assemble_from(None, documents.into_iter().map(Arc::new))
    }

    /// The set that [`PostureSet::assemble`] makes of `documents`. What this set has read already is not read again.
    #[must_use]
    pub fn reassemble(&self, documents: impl IntoIterator<Item = Arc<Document>>) -> Self {
        Self::assemble_from(Some(self), documents)
    }

    fn assemble_from(known: Option<&Self>, documents: impl IntoIterator<Item = Arc<Document>>) -> Self {
        // Sorted: some messages name two documents, and of two Namespaces the first counts.
        let documents = gather_all(known, documents.into_iter().collect());
        let mut gathered = Gathered::default();
        for contents in documents.values() {
            gathered.add(contents);
        }
        let namespaces = gathered.take_namespaces();
        let mut problems = std::mem::take(&mut gathered.harmless);
        let named = NamedSets::read(&gathered, known.map(|known| &*known.named), &mut problems);
        let mut postures = FoundPostures::default();
        for found in &gathered.postures {
            postures.add(found, &named, known);
        }
        for (environments, problem) in std::mem::take(&mut gathered.broken_postures) {
            postures.add_broken(environments, &problem);
        }
        locate(problems.iter_mut().chain(postures.problems_mut()), &gathered.origins);

        let FoundPostures { candidates, unattributed, mut unreachable, revoked, listed, built } = postures;
        let known = candidates.keys().cloned().collect();
        let environments: BTreeMap<_, _> = candidates
            .into_iter()
            .map(|(environment, candidates)| {
                let posture = the_only(&environment, candidates);
                (environment, posture.map_err(|problems| PostureError::Invalid { problems }))
            })
            .collect();
        for posture in environments.values() {
            if let Err(PostureError::Invalid { problems: found }) = posture {
                problems.extend(found.iter().cloned());
            }
        }
        problems.extend(unattributed.iter().cloned());
        problems.sort();
        problems.dedup();
        // A broken document that may be the posture of any environment must not be read as absent.
        let elsewhere = if unattributed.is_empty() {
            PostureError::Missing { known }
        } else {
            PostureError::Invalid { problems: unattributed }
        };
        unreachable.retain(|quorum| environments.get(&quorum.environment).is_some_and(Result::is_ok));
        let (named, config_maps) = (Arc::new(named), gathered.config_maps);
        Self {
            documents,
            named,
            built,
            environments,
            elsewhere,
            problems,
            unreachable,
            revoked,
            listed,
            named_by_postures: gathered.postures.iter().flat_map(|found| names_in(&found.value)).collect(),
            remembered: BTreeMap::new(),
            namespaces,
            config_maps,
        }
    }

    /// The documents, sorted.
    pub fn documents(&self) -> impl Iterator<Item = &Arc<Document>> {
        self.documents.keys()
    }

    /// The document that equals this one, if this set has read it.
    #[must_use]
    pub fn same_document(&self, document: &Document) -> Option<&Arc<Document>> {
        self.documents.get_key_value(document).map(|(known, _)| known)
    }

    /// The posture of an environment, or why it has no usable one.
    pub fn environment(&self, environment: &str) -> Result<&Posture, &PostureError> {
        match self.environments.get(environment) {
            Some(posture) => posture.as_ref().map(|built| &built.posture),
            None => Err(&self.elsewhere),
        }
    }

    /// Every environment that has a posture, valid or not.
    pub fn environments(&self) -> impl Iterator<Item = (&str, Result<&Posture, &PostureError>)> {
        self.environments
            .iter()
            .map(|(environment, posture)| (environment.as_str(), posture.as_ref().map(|built| &built.posture)))
    }

    /// The problems of all documents, including those that make no posture invalid.
    #[must_use]
    pub fn problems(&self) -> &[PostureProblem] {
        &self.problems
    }

    /// A v1 ConfigMap among the documents, or why it cannot be used: the one in this namespace, or else one without a
    /// namespace. `None` if neither exists.
    #[must_use]
    pub fn config_map(&self, namespace: &str, name: &str) -> Option<Result<&ConfigMapContent, &str>> {
        let find = |namespace: &str| self.config_maps.get(&(namespace.to_owned(), name.to_owned()));
        find(namespace).or_else(|| find("")).map(|content| content.as_deref().map_err(String::as_str))
    }

    /// The detached approvals among the documents, of ConfigMaps in this namespace or without a namespace.
    pub fn detached_approvals(&self, namespace: &str) -> impl Iterator<Item = DetachedApproval> {
        let here = self.config_maps.iter().filter(move |((own, _), _)| own.is_empty() || own == namespace);
        here.filter_map(|((_, name), content)| DetachedApproval::from_config_map(name, content.as_ref().ok()?))
    }

    /// The quorums of valid postures that the named reviewers cannot fill.
    #[must_use]
    pub fn unreachable_quorums(&self) -> &[UnreachableQuorum] {
        &self.unreachable
    }

    /// Whether a posture, valid or not, names a set or list of this name.
    #[must_use]
    pub fn is_named(&self, name: &str) -> bool {
        self.named_by_postures.contains(name)
    }

    /// The labels of the v1 Namespaces among the documents.
    #[must_use]
    pub fn namespaces(&self) -> &BTreeMap<String, BTreeMap<String, String>> {
        &self.namespaces
    }
}

/// Reads the documents that `known` has not read. Of a document that no posture names, only its problems are kept.
fn gather_all(
    known: Option<&PostureSet>,
    documents: BTreeSet<Arc<Document>>,
) -> BTreeMap<Arc<Document>, Arc<Gathered>> {
    let mut gathered = BTreeMap::new();
    let mut used = BTreeSet::new();
    // Documents that seem to be postures come first, so that others are read once and one after the other is dropped.
    let (first, rest): (Vec<_>, Vec<_>) = documents.into_iter().partition(|document| document.text.contains("Posture"));
    for document in first.into_iter().chain(rest) {
        let known = known.and_then(|known| known.documents.get(&document)).map(Arc::clone);
        let contents = known.unwrap_or_else(|| without_unused(Arc::new(Gathered::read(&document)), &used));
        used.extend(contents.postures.iter().flat_map(|found| names_used_by(&found.value)));
        gathered.insert(document, contents);
    }
    for (document, contents) in &mut gathered {
        let is_used = |unused: &UnusedDocument| {
            unused.name.as_ref().is_some_and(|name| used.contains(&(unused.kind, name.clone())))
        };
        if contents.unused.iter().any(is_used) {
            *contents = Arc::new(Gathered::read(document));
        } else {
            *contents = without_unused(Arc::clone(contents), &used);
        }
    }
    gathered
}

/// All names of sets and lists in a posture.
fn names_in(posture: &Value) -> impl Iterator<Item = String> {
    ["reviewerSets", "revocationLists", "pipelineSets"].into_iter().flat_map(move |field| {
        let names = posture.get(field).and_then(Value::as_array).into_iter().flatten();
        names.filter_map(|name| name.as_str().map(str::to_owned))
    })
}

/// The reviewers and pipelines that a posture names.
fn names_used_by(posture: &Value) -> impl Iterator<Item = (NamedKind, String)> {
    [("reviewerSets", NamedKind::Reviewers), ("pipelineSets", NamedKind::Pipelines)].into_iter().flat_map(
        move |(field, kind)| {
            let names = posture.get(field).and_then(Value::as_array).into_iter().flatten();
            names.filter_map(move |name| Some((kind, name.as_str()?.to_owned())))
        },
    )
}

/// The same, without the content of a document that no posture names.
fn without_unused(contents: Arc<Gathered>, used: &BTreeSet<(NamedKind, String)>) -> Arc<Gathered> {
    let Some((kind, found)) = contents.only_named() else { return contents };
    let own = found.value.get("name").and_then(Value::as_str);
    let mut names = own.into_iter().chain(found.name.as_deref());
    if names.any(|name| used.contains(&(kind, name.to_owned()))) {
        return contents;
    }
    let mut unused = read_unused(kind, found);
    locate(unused.problems.iter_mut(), &contents.origins);
    // A text that is kept anyway is kept for the positions of later problems.
    let origins = contents.origins.iter().filter(|(_, origin)| origin.is_whole());
    let origins = origins.map(|(source, origin)| (source.clone(), origin.clone())).collect();
    Arc::new(Gathered::of_unused(unused, origins))
}

/// The most problems of one document whose position is looked up: each lookup costs time.
const MAX_LOCATED: usize = 100;

/// Sets the position of each problem in the text of its document.
fn locate<'p>(problems: impl Iterator<Item = &'p mut PostureProblem>, origins: &BTreeMap<String, Origin>) {
    // A text may hold thousands of documents. It is read once.
    let mut read: BTreeMap<*const u8, Outline> = BTreeMap::new();
    let mut located: BTreeMap<String, usize> = BTreeMap::new();
    for problem in problems.filter(|problem| !problem.path.is_empty()) {
        let Some(origin) = origins.get(&problem.source) else { continue };
        let located = located.entry(problem.source.clone()).or_default();
        if *located < MAX_LOCATED {
            *located += 1;
            let text = origin.text();
            let outline = read.entry(text.as_ptr()).or_insert_with(|| Outline::parse(text));
            problem.at = outline.position(origin.index, &problem.path);
        }
    }
}

/// A valid posture, and what it was built from.
#[derive(Clone, Debug)]
pub(super) struct BuiltPosture {
    found: Arc<FoundDocument>,
    sets: Option<UsedSets>,
    pub(super) posture: Posture,
    unreachable: Vec<UnreachableQuorum>,
}

/// The documents that a posture names, in the order in which it names them.
#[derive(Clone, Debug)]
struct UsedSets {
    reviewers: Vec<Arc<NamedDocument<ReviewerSet>>>,
    revocations: Vec<Arc<NamedDocument<Revocations>>>,
    pipelines: Vec<Arc<NamedDocument<Builds>>>,
}

impl UsedSets {
    /// The documents that `posture` names; `None` if one of them cannot be used.
    fn of(posture: &Value, sets: &NamedSets) -> Option<Self> {
        Some(Self {
            reviewers: named_in(posture, "reviewerSets", &sets.reviewers)?,
            revocations: named_in(posture, "revocationLists", &sets.revocations)?,
            pipelines: named_in(posture, "pipelineSets", &sets.pipelines)?,
        })
    }

    fn is_same(&self, other: &Self) -> bool {
        fn same<T>(own: &[Arc<T>], other: &[Arc<T>]) -> bool {
            own.len() == other.len() && own.iter().zip(other).all(|(own, other)| Arc::ptr_eq(own, other))
        }
        let Self { reviewers, revocations, pipelines } = self;
        same(reviewers, &other.reviewers) && same(revocations, &other.revocations) && same(pipelines, &other.pipelines)
    }
}

fn named_in<T>(posture: &Value, field: &str, documents: &NamedDocuments<T>) -> Option<Vec<Arc<NamedDocument<T>>>> {
    let names = posture.get(field).and_then(Value::as_array).into_iter().flatten();
    names.map(|name| documents.get(name.as_str()?).ok().cloned()).collect()
}

/// What has become of the documents that are or may be postures.
#[derive(Default)]
struct FoundPostures {
    /// By environment: every document that says, or seems to say, that it is the environment's posture.
    candidates: BTreeMap<String, Vec<PostureCandidate>>,
    /// The problems of documents that may be the posture of any environment.
    unattributed: Vec<PostureProblem>,
    unreachable: Vec<UnreachableQuorum>,
    revoked: BTreeMap<String, Arc<Revocations>>,
    listed: BTreeMap<String, BTreeMap<String, String>>,
    built: BTreeMap<String, Arc<BuiltPosture>>,
}

struct PostureCandidate {
    source: String,
    posture: Result<Arc<BuiltPosture>, Vec<PostureProblem>>,
}

impl FoundPostures {
    fn add(&mut self, found: &Arc<FoundDocument>, sets: &NamedSets, known: Option<&PostureSet>) {
        let FoundDocument { source, value, .. } = &**found;
        let posture = build(found, sets, known.and_then(|known| known.built.get(source)));
        if let Ok(built) = &posture {
            self.built.insert(source.clone(), Arc::clone(built));
        }
        let Some(environment) = value.get("environment").and_then(Value::as_str) else {
            return self.unattributed.extend(posture.err().into_iter().flatten());
        };
        if let Ok(built) = &posture {
            self.unreachable.extend_from_slice(&built.unreachable);
        }
        let lists = value.get("revocationLists").and_then(Value::as_array);
        let revoked = sets.revoked_by(lists.into_iter().flatten().filter_map(Value::as_str));
        match self.revoked.entry(environment.to_owned()) {
            Entry::Vacant(entry) => drop(entry.insert(revoked)),
            Entry::Occupied(mut entry) => Arc::make_mut(entry.get_mut()).extend(&revoked),
        }
        let namespaces = value.get("namespaces").and_then(Value::as_object).into_iter().flatten();
        let listed = namespaces.filter_map(|(name, project)| Some((name.clone(), project.as_str()?.to_owned())));
        self.listed.entry(environment.to_owned()).or_default().extend(listed);
        let candidate = PostureCandidate { source: source.clone(), posture };
        self.candidates.entry(environment.to_owned()).or_default().push(candidate);
    }

    fn add_broken(&mut self, environments: Vec<String>, problem: &PostureProblem) {
        if environments.is_empty() {
            self.unattributed.push(problem.clone());
        }
        for environment in environments {
            let (source, posture) = (problem.source.clone(), Err(vec![problem.clone()]));
            self.candidates.entry(environment).or_default().push(PostureCandidate { source, posture });
        }
    }

    fn problems_mut(&mut self) -> impl Iterator<Item = &mut PostureProblem> {
        let candidates = self.candidates.values_mut().flatten();
        let in_postures = candidates.filter_map(|candidate| candidate.posture.as_mut().err()).flatten();
        let in_quorums = self.unreachable.iter_mut().map(|quorum| &mut quorum.problem);
        self.unattributed.iter_mut().chain(in_postures).chain(in_quorums)
    }
}

/// The posture of one document: the one that is known already, if it was built from the same documents.
fn build(
    found: &Arc<FoundDocument>,
    sets: &NamedSets,
    known: Option<&Arc<BuiltPosture>>,
) -> Result<Arc<BuiltPosture>, Vec<PostureProblem>> {
    let sets_of_known = known.and_then(|known| known.sets.as_ref());
    let used = UsedSets::of(&found.value, sets);
    if let (Some(known), Some(known_sets), Some(used)) = (known, sets_of_known, &used)
        && Arc::ptr_eq(&known.found, found)
        && known_sets.is_same(used)
    {
        return Ok(Arc::clone(known));
    }
    let posture = build_posture(found, sets)?;
    let unreachable = unreachable(&posture, &found.value, &found.source);
    Ok(Arc::new(BuiltPosture { found: Arc::clone(found), sets: used, posture, unreachable }))
}

/// The one posture of an environment. Of two, neither is used: which one was meant is unknown.
fn the_only(
    environment: &str,
    mut candidates: Vec<PostureCandidate>,
) -> Result<Arc<BuiltPosture>, Vec<PostureProblem>> {
    if candidates.len() == 1
        && let Some(only) = candidates.pop()
    {
        return only.posture;
    }
    let sources: Vec<String> = candidates.iter().map(|candidate| candidate.source.clone()).collect();
    // Every problem names the first few sources. Naming all of them would take the square of their number.
    let few = listed(sources.iter().cloned());
    let message = format!("{environment:?} has {} postures, expected one: {few}; remove the others", sources.len());
    let mut problems: Vec<_> =
        sources.into_iter().map(|source| PostureProblem::new(source, "environment", &message)).collect();
    problems.extend(candidates.into_iter().filter_map(|candidate| candidate.posture.err()).flatten());
    Err(problems)
}
