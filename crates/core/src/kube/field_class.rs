//! What each field of a workload means to a reviewer: which values are unusual, which fields change what runs, and which
//! are harmless and why.
//!
//! `table` has a row for each field that the API server knows, and a test fails for a field without a row, so that an
//! upgrade of Kubernetes adds no field that nobody has classified. `values` has the lists of values, with their sources.
//! The texts for people are elsewhere. These are hints for a reviewer: what is denied is decided by the posture.

mod table;
mod values;
mod when;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use self::when::{Pair, When};
use crate::kube::{pod_spec::PodPath, workload::WorkloadKind};

/// The class of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldClass {
    /// Some of its values give control over the node or over other workloads.
    Severe,
    /// Some of its values give access to more than the workload itself, or hide what runs.
    Notable,
    /// It changes what runs, so a reviewer must see it.
    Runs,
    /// It changes neither what runs nor what that can access, for this reason.
    Harmless(&'static str),
}

/// How serious an unusual value is, the most serious first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The baseline of the Pod Security Standards does not permit it, or it is as serious.
    Severe,
    /// It is worth a look.
    Notable,
}

/// A rule about the values of one field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldRemark {
    /// How serious it is.
    pub severity: Severity,
    /// Stable, for programs: `host-access`.
    pub code: &'static str,
    when: When,
    since: Since,
}

/// Which values are remarked, compared with the live object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Since {
    /// Every value.
    Always,
    /// A value that the live object does not have in the same place.
    New,
    /// A value that the live object does not have in any place where the code of the remark is used.
    NewInPod,
    /// A value in an object or an item that has a live counterpart with another value.
    Changed,
    /// A value in an object or an item without a live counterpart.
    Added,
    /// The same, but only if the workload runs.
    AddedToLive,
}

/// A field and its row of the table.
struct Node {
    name: &'static str,
    class: Class,
    remarks: &'static [FieldRemark],
    below: &'static [Node],
    /// The scope of what is in it, if that is another one.
    enters: Option<Scope>,
}

/// The class of a field without the remarks about it.
#[derive(Clone, Copy)]
enum Class {
    Runs,
    Harmless(&'static str),
    /// Only the fields in it have an effect.
    Parts,
    /// The class of the field that contains it.
    AsParent,
}

/// An unusual value in a workload.
#[derive(Clone, Debug)]
pub struct UnusualField<'a> {
    /// The rule that matched.
    pub remark: &'static FieldRemark,
    /// Where `path` begins.
    pub scope: Scope,
    /// The steps from the scope to the field.
    pub path: Vec<FieldStep>,
    /// The value; null if it is absent.
    pub value: &'a Value,
    /// The live value in the same place.
    pub live: Option<&'a Value>,
    /// The reason from the table of names, if the name is what is unusual.
    pub reason: Option<&'static str>,
}

/// The part of a workload in which a field is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The workload's own spec.
    Workload,
    /// The metadata of its Pods.
    PodMetadata,
    /// The spec of its Pods.
    Pod,
}

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldStep {
    /// The name of the field.
    pub field: &'static str,
    /// The name of the item in a list, or the key in a map. Items without a name have their position.
    pub item: Option<String>,
}

/// The class of the field at `path` in an object, where `path` has the names of fields without positions in lists:
/// `["spec", "template", "spec", "containers", "image"]`. The fields of a map are its keys.
///
/// `None`: the table does not contain the field, so it can do anything.
#[must_use]
pub fn field_class(kind: WorkloadKind, path: &[impl AsRef<str>]) -> Option<FieldClass> {
    let (first, path) = path.split_first()?;
    if first.as_ref() != "spec" {
        return None;
    }
    let (mut nodes, path) = match table::of(kind) {
        Some(nodes) => (nodes, path),
        None => (table::POD_SPEC, below_pod(kind, path)?),
    };
    let mut class = FieldClass::Harmless(ONLY_PARTS);
    let mut steps = path.iter().map(AsRef::as_ref);
    while let Some(name) = steps.next() {
        let node = nodes.iter().find(|node| node.name == name)?;
        let key = if node.below.is_empty() { steps.next() } else { None };
        class = node.class_under(class, key);
        if key.is_some() {
            return Some(class);
        }
        nodes = node.below;
    }
    Some(class)
}

const ONLY_PARTS: &str = "only the fields in it have an effect";

/// The rest of a path in the spec of a further kind, below the spec of its Pods.
fn below_pod<S: AsRef<str>>(kind: WorkloadKind, path: &[S]) -> Option<&[S]> {
    let members = PodPath::from(kind).members();
    let (to_pod, rest) = path.split_at_checked(members.len())?;
    to_pod.iter().map(AsRef::as_ref).eq(members.iter().copied()).then_some(rest)
}

impl Node {
    fn class_under(&self, parent: FieldClass, key: Option<&str>) -> FieldClass {
        let applies = |remark: &&FieldRemark| match (remark.when, key) {
            (When::Key(patterns) | When::KeyBut(patterns, _), Some(key)) => values::find(patterns, key).is_some(),
            (When::ExtendedResource, Some(key)) => values::is_extended_resource(key),
            // The last ones say something about an item, and not about the fields in it.
            (When::Key(_) | When::KeyBut(..) | When::ExtendedResource, None)
            | (When::Removed | When::ToleratesControlPlane | When::SelectsSpecialNodes, _) => false,
            _ => !matches!(remark.since, Since::AddedToLive),
        };
        match self.remarks.iter().filter(applies).map(|remark| remark.severity).min() {
            Some(Severity::Severe) => FieldClass::Severe,
            Some(Severity::Notable) => FieldClass::Notable,
            None => match self.class {
                Class::Runs => FieldClass::Runs,
                Class::Harmless(reason) => FieldClass::Harmless(reason),
                Class::Parts => FieldClass::Harmless(ONLY_PARTS),
                Class::AsParent => parent,
            },
        }
    }
}

/// The code of every remark about a field, each once.
#[must_use]
pub fn unusual_codes() -> BTreeSet<&'static str> {
    fn add(nodes: &[Node], codes: &mut BTreeSet<&'static str>) {
        for node in nodes {
            codes.extend(node.remarks.iter().map(|remark| remark.code));
            add(node.below, codes);
        }
    }
    let mut codes = BTreeSet::new();
    WorkloadKind::ALL.into_iter().filter_map(table::of).for_each(|nodes| add(nodes, &mut codes));
    codes
}

/// The unusual values in `new`, compared with the `live` object, in the order of the object. Both are whole objects with
/// the API server's defaults.
#[must_use]
pub fn unusual_fields<'a>(kind: WorkloadKind, live: Option<&'a Value>, new: &'a Value) -> Vec<UnusualField<'a>> {
    let spans_the_pod = |one: &UnusualField<'_>| one.remark.since == Since::NewInPod;
    let name = |one: &UnusualField<'_>| (one.remark.code, one.value.to_string());
    let before = live.map(|live| walk(kind, None, live)).unwrap_or_default();
    let mut seen: BTreeSet<(&str, String)> = before.iter().filter(|old| spans_the_pod(old)).map(name).collect();
    let mut found = walk(kind, live, new);
    found.retain(|one| !spans_the_pod(one) || seen.insert(name(one)));
    found
}

fn walk<'a>(kind: WorkloadKind, live: Option<&'a Value>, new: &'a Value) -> Vec<UnusualField<'a>> {
    let spec = |object: &'a Value| object.get("spec");
    let mut walk = Walk { found: Vec::new(), runs: live.is_some(), scope: Scope::Workload };
    let Some(new) = spec(new) else { return Vec::new() };
    let live = live.and_then(spec);
    if let Some(nodes) = table::of(kind) {
        walk.fields(nodes, &[], live, new);
        return walk.found;
    }
    let members = PodPath::from(kind).members();
    let at = |members: &[&str]| {
        let below = |spec: &'a Value| members.iter().try_fold(spec, |at, member| at.get(*member));
        Some((live.and_then(below), below(new)?))
    };
    // The metadata of the Pods is next to their spec.
    let template = members.split_last().map(|(_, template)| template).unwrap_or_default();
    if let Some((live, new)) = at(template) {
        walk.fields(table::POD_METADATA_ONLY, &[], live, new);
    }
    walk.scope = Scope::Pod;
    if let Some((live, new)) = at(members) {
        walk.fields(table::POD_SPEC, &[], live, new);
    }
    walk.found
}

struct Walk<'a> {
    found: Vec<UnusualField<'a>>,
    /// Whether the workload runs.
    runs: bool,
    scope: Scope,
}

impl<'a> Walk<'a> {
    fn fields(&mut self, nodes: &'static [Node], path: &[FieldStep], live: Option<&'a Value>, new: &'a Value) {
        let has_live_parent = live.is_some();
        for node in nodes {
            let (new, live) = (new.get(node.name), live.and_then(|live| live.get(node.name)));
            if new.is_none() && live.is_none() {
                continue;
            }
            let pair = Pair { new: new.unwrap_or(&Value::Null), live, has_live_parent };
            let outer = self.scope;
            if let Some(scope) = node.enters {
                self.scope = scope;
                self.field(node, &[], pair);
                self.scope = outer;
            } else {
                let step = FieldStep { field: node.name, item: None };
                self.field(node, &path.iter().cloned().chain([step]).collect::<Vec<_>>(), pair);
            }
        }
    }

    fn field(&mut self, node: &'static Node, path: &[FieldStep], pair: Pair<'a>) {
        let by_key =
            |remark: &FieldRemark| matches!(remark.when, When::Key(_) | When::KeyBut(..) | When::ExtendedResource);
        let items = match (pair.new, pair.live) {
            (Value::Null, Some(Value::Array(_))) => Some(&[][..]),
            (new, _) => new.as_array().map(Vec::as_slice),
        };
        match (items, pair.new) {
            (Some(items), _) if !node.below.is_empty() => {
                let live = pair.live.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
                let counterparts = Counterparts::of(live);
                for (index, item) in items.iter().enumerate() {
                    let counterpart = counterparts.find(item);
                    let name = item_name(item).unwrap_or_else(|| index.to_string());
                    let path = renamed(path, name);
                    let item = Pair { new: item, live: counterpart, has_live_parent: counterpart.is_some() };
                    self.remark(node, &path, item, |remark| remark.when != When::Removed);
                    self.fields(node.below, &path, counterpart, item.new);
                }
                if node.remarks.iter().all(|remark| remark.when != When::Removed) {
                    return;
                }
                let remaining = Counterparts::of(items);
                for gone in live.iter().filter(|old| remaining.find(old).is_none()) {
                    let path = renamed(path, item_name(gone).unwrap_or_default());
                    let pair = Pair { new: gone, live: Some(gone), has_live_parent: true };
                    self.remark(node, &path, pair, |remark| remark.when == When::Removed);
                }
            }
            (_, Value::Object(entries)) if node.below.is_empty() => {
                self.remark(node, path, pair, |remark| !by_key(remark));
                for (key, value) in entries {
                    let live = pair.live.and_then(|live| live.get(key));
                    let entry = Pair { new: value, live, has_live_parent: pair.live.is_some() };
                    self.remark(node, &renamed(path, key.clone()), entry, by_key);
                }
            }
            _ => {
                self.remark(node, path, pair, |_| true);
                self.fields(node.below, path, pair.live, pair.new);
            }
        }
    }

    /// Adds the remarks about one value. Of several with the same code, only the first counts.
    fn remark(
        &mut self,
        node: &'static Node,
        path: &[FieldStep],
        pair: Pair<'a>,
        counts: impl Fn(&FieldRemark) -> bool,
    ) {
        let mut codes = Vec::new();
        let key = path.last().and_then(|step| step.item.as_deref());
        for remark in node.remarks.iter().filter(|remark| counts(remark)) {
            if codes.contains(&remark.code) || !remark.when.holds(key, pair) || !self.is_since(remark, pair) {
                continue;
            }
            codes.push(remark.code);
            let reason = match (remark.when, key) {
                (When::Key(patterns) | When::KeyBut(patterns, _), Some(key)) => values::find(patterns, key),
                _ => None,
            };
            let path = path.to_vec();
            let Pair { new: value, live, .. } = pair;
            self.found.push(UnusualField { remark, scope: self.scope, path, value, live, reason });
        }
    }

    fn is_since(&self, remark: &FieldRemark, pair: Pair<'_>) -> bool {
        let differs = pair.live.unwrap_or(&Value::Null) != pair.new;
        match remark.since {
            Since::Always | Since::NewInPod => true,
            Since::New => differs,
            Since::Changed => pair.has_live_parent && differs,
            Since::Added => !pair.has_live_parent,
            Since::AddedToLive => !pair.has_live_parent && self.runs,
        }
    }
}

/// The path with a name for its last item.
fn renamed(path: &[FieldStep], item: String) -> Vec<FieldStep> {
    let mut path = path.to_vec();
    if let Some(last) = path.last_mut() {
        last.item = Some(item);
    }
    path
}

/// The fields that name an item of a list, as Kubernetes merges lists.
const NAMES: [&str; 6] = ["name", "mountPath", "devicePath", "ip", "conditionType", "containerPort"];

fn item_name(item: &Value) -> Option<String> {
    match NAMES.iter().find_map(|name| item.get(name))? {
        Value::String(name) => Some(name.clone()),
        other => Some(other.to_string()),
    }
}

/// The items of a list, by name and by content. A list may have many thousand items, so they are not searched.
struct Counterparts<'a> {
    by_name: BTreeMap<String, &'a Value>,
    by_content: BTreeMap<String, &'a Value>,
}

impl<'a> Counterparts<'a> {
    fn of(items: &'a [Value]) -> Self {
        let by_name = items.iter().rev().filter_map(|item| Some((item_name(item)?, item))).collect();
        let by_content = items.iter().map(|item| (item.to_string(), item)).collect();
        Self { by_name, by_content }
    }

    /// The item with the same content, or else the first with the same name.
    fn find(&self, item: &Value) -> Option<&'a Value> {
        let named = || self.by_name.get(&item_name(item)?);
        self.by_content.get(&item.to_string()).or_else(named).copied()
    }
}

#[cfg(test)]
mod tests;
