//! The changes from one object to another, field by field. Items of lists are matched as Kubernetes matches them.
//!
//! Both objects have the API server's defaults, so a default is not a change. `unusual` says what a change means, and
//! `lines` prints it. The cost is linear in the size of the objects.

mod binding;
mod path;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde::Serialize;
use serde_json::{Map, Value};
use writgate_core::kube::{FieldClass, WorkloadKind, field_class, unknown_fields};

use self::binding::Binding;
pub(super) use self::path::without_items;
use self::path::{FieldPath, Item};

/// Lists whose items have names, and the fields that form the name: the merge keys of `k8s.io/api/core/v1`. The items
/// of other lists, and items without a unique name, are matched by position.
const KEYS: [(&str, &[&str]); 14] = [
    ("containers", &["name"]),
    ("initContainers", &["name"]),
    ("ephemeralContainers", &["name"]),
    ("env", &["name"]),
    ("volumes", &["name"]),
    ("volumeMounts", &["mountPath"]),
    ("volumeDevices", &["devicePath"]),
    ("ports", &["containerPort", "protocol"]),
    ("imagePullSecrets", &["name"]),
    ("hostAliases", &["ip"]),
    ("topologySpreadConstraints", &["topologyKey", "whenUnsatisfiable"]),
    ("resourceClaims", &["name"]),
    ("readinessGates", &["conditionType"]),
    ("sysctls", &["name"]),
];

/// Fields that say what a container executes.
const COMMANDS: [&str; 4] = ["command", "args", "exec", "lifecycle"];

/// Fields whose default is a copy of another field. It is shown like a field of the manifest.
const COPIED: [&str; 3] = ["selector", "serviceAccount", "serviceAccountName"];

/// One field that differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::command) struct FieldChange {
    /// `spec.template.spec.containers[orders].image`. A name that is not plain is a quoted string:
    /// `…env["A: x"].value`.
    pub(in crate::command) path: String,
    /// What the field is about.
    pub(in crate::command) concern: Concern,
    /// Whether the approval binds this value. If not, anybody may change it again.
    pub(in crate::command) bound: bool,
    /// Whether the field is new and the manifest does not have it: the API server's default.
    #[serde(rename = "default", skip_serializing_if = "std::ops::Not::not")]
    pub(in crate::command) is_default: bool,
    /// The old value; absent if the field is new.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::command) old: Option<Value>,
    /// The new value; absent if the field is removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::command) new: Option<Value>,
}

/// What a change is about, the most important to a reviewer first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::command) enum Concern {
    /// The program that runs.
    Images,
    /// The commands that run.
    Commands,
    /// What the workload can access.
    Privileges,
    /// Fields that the API server drops, most often because Kubernetes does not have them.
    Unknown,
    /// Everything else.
    Rest,
}

/// Every field in which `new` differs from `old`, or all of its fields if there is no `old`. `manifest` is `new` without
/// the API server's defaults.
pub(in crate::command) fn of(
    kind: WorkloadKind,
    old: Option<&Value>,
    new: &Value,
    manifest: &Value,
) -> Vec<FieldChange> {
    let unknown = unknown_fields(kind, new).iter().map(|field| without_items(&field.path)).collect();
    let mut differences = Differences::of(kind, unknown);
    let top = |object| Side { value: object, binding: Binding::Object(kind) };
    let place =
        Place { old: old.map(top), new: Some(top(new)), manifest: Some(manifest), field: "", concern: Concern::Rest };
    // The spec first: it is what runs.
    differences.walk_field(place, "spec");
    differences.walk_field(place, "metadata");
    let known = ["spec", "metadata", "status", "apiVersion", "kind"];
    for name in place.field_names().filter(|name| !known.contains(name)) {
        let concern = if matches!(kind, WorkloadKind::Further(_)) { Concern::Rest } else { Concern::Unknown };
        differences.walk_field(Place { concern, ..place }, name);
    }
    let mut changes = differences.found;
    // What a manifest leaves out and no approval binds keeps its value, or gets the API server's default again. Of these
    // defaults, only that of `suspend` makes something run.
    changes.retain(|change| change.bound || change.new.is_some() || change.path == "spec.suspend");
    changes.sort_by_key(|change| change.concern); // stable: within one concern, in the object's order
    changes
}

/// The lists of an object's spec that have two items with the same merge key. Their items are matched by position.
pub(in crate::command) fn doubled(object: &Value) -> Vec<String> {
    let mut doubled = Vec::new();
    if let Some(spec) = object.get("spec") {
        let mut path = FieldPath::default();
        path.enter_field("spec");
        add_doubled(&mut path, "spec", spec, &mut doubled);
    }
    doubled
}

fn add_doubled(path: &mut FieldPath, field: &str, value: &Value, doubled: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let mark = path.enter_field(name);
                add_doubled(path, name, value, doubled);
                path.leave(mark);
            }
        }
        Value::Array(items) => {
            let named = by_key(field, items);
            if named.is_none() && keys_of(field).is_some() {
                doubled.push(path.text().to_owned());
            }
            for (index, item) in items.iter().enumerate() {
                let name = named.as_ref().and_then(|named| named.get(index));
                let mark = path.enter_item(name.map_or(Item::At(index), |name| Item::Named(name)));
                add_doubled(path, field, item, doubled);
                path.leave(mark);
            }
        }
        _ => {}
    }
}

/// A value of one of the objects.
#[derive(Clone, Copy)]
struct Side<'a> {
    value: &'a Value,
    binding: Binding,
}

impl<'a> Side<'a> {
    fn field(self, name: &str) -> Option<Self> {
        let object = self.value.as_object()?;
        Some(Self { value: object.get(name)?, binding: self.binding.of_field(object, name) })
    }

    fn item(self, index: usize) -> Option<Self> {
        Some(Self { value: self.value.as_array()?.get(index)?, binding: self.binding.of_item() })
    }

    fn fields(self) -> Option<&'a Map<String, Value>> {
        self.value.as_object()
    }

    fn items(self) -> &'a [Value] {
        self.value.as_array().map(Vec::as_slice).unwrap_or_default()
    }
}

/// The same place in both objects and in the manifest.
#[derive(Clone, Copy)]
struct Place<'a> {
    old: Option<Side<'a>>,
    new: Option<Side<'a>>,
    manifest: Option<&'a Value>,
    /// The last field name of the path.
    field: &'a str,
    concern: Concern,
}

impl<'a> Place<'a> {
    fn field(self, name: &'a str) -> Self {
        let new = self.new.and_then(|new| new.field(name));
        let copied = |manifest: &Value| manifest.is_object() && COPIED.contains(&name);
        let stated = self.manifest.and_then(|manifest| match manifest.get(name) {
            None if copied(manifest) => new.map(|new| new.value),
            stated => stated,
        });
        Self {
            old: self.old.and_then(|old| old.field(name)),
            new,
            manifest: stated,
            field: name,
            concern: self.concern.min(concern_of(name)),
        }
    }

    /// `new` is the position in the manifest as well: defaults neither add nor move items.
    fn item(self, old: Option<usize>, new: Option<usize>) -> Self {
        Self {
            old: old.and_then(|index| self.old?.item(index)),
            new: new.and_then(|index| self.new?.item(index)),
            manifest: new.and_then(|index| self.manifest?.get(index)),
            ..self
        }
    }

    fn sides(self) -> impl Iterator<Item = Side<'a>> {
        [self.old, self.new].into_iter().flatten()
    }

    fn field_names(self) -> impl Iterator<Item = &'a str> {
        let names: BTreeSet<&str> =
            self.sides().filter_map(Side::fields).flat_map(Map::keys).map(String::as_str).collect();
        names.into_iter()
    }

    fn is_bound(self) -> bool {
        self.sides().any(|side| side.binding.is_bound())
    }

    /// Whether the API server has added the field.
    fn is_default(self) -> bool {
        self.old.is_none() && self.new.is_some() && self.manifest.is_none()
    }
}

/// The concern of a field by its name. Whether another field is about privileges depends on its whole path.
fn concern_of(field: &str) -> Concern {
    if field == "image" {
        Concern::Images
    } else if COMMANDS.contains(&field) {
        Concern::Commands
    } else {
        Concern::Rest
    }
}

struct Differences {
    kind: WorkloadKind,
    found: Vec<FieldChange>,
    /// How many of them are no defaults.
    told: usize,
    path: FieldPath,
    /// Paths without the names of items.
    unknown: HashSet<String>,
    /// How many fields of the path are unknown.
    unknown_fields: usize,
}

impl Differences {
    fn of(kind: WorkloadKind, unknown: HashSet<String>) -> Self {
        Self { kind, found: Vec::new(), told: 0, path: FieldPath::default(), unknown, unknown_fields: 0 }
    }

    /// What a change at `at` is about, where `at` is the current path.
    fn concern(&self, at: Place<'_>) -> Concern {
        if self.unknown_fields > 0 {
            return Concern::Unknown;
        }
        if at.concern != Concern::Rest {
            return at.concern;
        }
        let names: Vec<&str> = self.path.names().collect();
        let is_notable = || matches!(field_class(self.kind, &names), Some(FieldClass::Severe | FieldClass::Notable));
        if names.contains(&"securityContext") || is_notable() { Concern::Privileges } else { Concern::Rest }
    }

    fn walk(&mut self, at: Place<'_>) {
        let (old, new) = (at.old.map(|old| old.value), at.new.map(|new| new.value));
        match (old, new) {
            (Some(old), Some(new)) if old == new => {}
            (None, None) => {}
            (Some(Value::Object(_)), Some(Value::Object(_))) => self.walk_fields(at, &[]),
            (Some(Value::Array(_)), Some(Value::Array(_))) => self.walk_items(at),
            // An added or removed value is reported field by field too: a privilege may be deep inside.
            (None, Some(Value::Object(fields))) | (Some(Value::Object(fields)), None) if !fields.is_empty() => {
                self.walk_whole(at, &[]);
            }
            (None, Some(Value::Array(items))) | (Some(Value::Array(items)), None) if !items.is_empty() => {
                self.walk_items(at);
            }
            _ => self.push(at),
        }
    }

    /// Walks an object that only one side has. If nothing of it is told, the object itself is: `{}` in a list counts.
    fn walk_whole(&mut self, at: Place<'_>, keys: &[&str]) {
        let (found, told) = (self.found.len(), self.told);
        self.walk_fields(at, keys);
        if self.told == told && !at.is_default() {
            self.found.truncate(found);
            self.push(at);
        }
    }

    /// Walks the fields but for `keys`, which the path contains.
    fn walk_fields(&mut self, at: Place<'_>, keys: &[&str]) {
        for name in at.field_names().filter(|name| !keys.contains(name)) {
            self.walk_field(at, name);
        }
        self.walk_dropped(at);
    }

    fn walk_field<'a>(&mut self, at: Place<'a>, name: &'a str) {
        if at.sides().any(|side| side.binding.passes_over(name)) {
            return;
        }
        self.in_field(name, |differences| differences.walk(at.field(name)));
    }

    /// Reports the fields of the manifest that its form with defaults does not have.
    fn walk_dropped(&mut self, at: Place<'_>) {
        let (Some(Value::Object(manifest)), Some(new)) = (at.manifest, at.new.and_then(Side::fields)) else { return };
        for (name, value) in manifest.iter().filter(|(name, value)| !new.contains_key(&**name) && !is_blank(value)) {
            let side = Side { value, binding: Binding::Nothing };
            let dropped =
                Place { old: None, new: Some(side), manifest: Some(value), field: name, concern: Concern::Unknown };
            self.in_field(name, |differences| differences.push(dropped));
        }
    }

    fn in_field(&mut self, name: &str, walk: impl FnOnce(&mut Self)) {
        let mark = self.path.enter_field(name);
        let unknown = !self.unknown.is_empty() && self.unknown.contains(self.path.fields());
        self.unknown_fields += usize::from(unknown);
        walk(self);
        self.unknown_fields -= usize::from(unknown);
        self.path.leave(mark);
    }

    fn in_item(&mut self, item: Item<'_>, walk: impl FnOnce(&mut Self)) {
        let mark = self.path.enter_item(item);
        walk(self);
        self.path.leave(mark);
    }

    fn walk_items(&mut self, at: Place<'_>) {
        let scalar = |item: &Value| !item.is_object() && !item.is_array();
        let [old, new] = [at.old, at.new].map(|side| side.map(Side::items).unwrap_or_default());
        if let (Some(old), Some(new)) = (by_key(at.field, old), by_key(at.field, new)) {
            self.walk_named(at, &old, &new);
        } else if old.iter().chain(new).all(scalar) {
            self.push(at);
        } else {
            for index in 0..old.len().max(new.len()) {
                self.in_item(Item::At(index), |differences| differences.walk(at.item(Some(index), Some(index))));
            }
        }
    }

    fn walk_named(&mut self, at: Place<'_>, old: &[String], new: &[String]) {
        let keys = keys_of(at.field).unwrap_or_default();
        let (before, after) = (positions(old), positions(new));
        let gone = old.iter().filter(|name| !after.contains_key(&***name));
        for name in new.iter().chain(gone) {
            let item = at.item(before.get(&**name).copied(), after.get(&**name).copied());
            self.in_item(Item::Named(name), |differences| match (item.old, item.new) {
                (Some(only), None) | (None, Some(only)) if only.fields().is_some_and(|fields| !fields.is_empty()) => {
                    differences.walk_whole(item, keys);
                }
                _ => differences.walk(item),
            });
        }
        // The order matters: init containers run in it, and variables refer to earlier ones.
        let common = |names: &[String], others: &BTreeMap<&str, usize>| -> Vec<String> {
            names.iter().filter(|name| others.contains_key(&***name)).cloned().collect()
        };
        let mut from_the_first_new = new.iter().skip_while(|name| before.contains_key(&***name));
        let inserted = from_the_first_new.any(|name| before.contains_key(&**name));
        if inserted || common(old, &after) != common(new, &before) {
            self.found.push(FieldChange {
                path: format!("{} (order)", self.path.text()),
                concern: self.concern(at),
                bound: at.is_bound(),
                is_default: false,
                old: Some(old.into()),
                new: Some(new.into()),
            });
            self.told += 1;
        }
    }

    fn push(&mut self, at: Place<'_>) {
        let is_default = at.is_default();
        self.found.push(FieldChange {
            path: self.path.text().to_owned(),
            concern: self.concern(at),
            bound: at.is_bound(),
            is_default,
            old: at.old.map(|old| old.value.clone()),
            new: at.new.map(|new| new.value.clone()),
        });
        self.told += usize::from(!is_default);
    }
}

/// Whether a value contains nothing that the API server keeps.
fn is_blank(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_blank),
    }
}

fn positions(names: &[String]) -> BTreeMap<&str, usize> {
    names.iter().enumerate().map(|(index, name)| (&**name, index)).collect()
}

fn keys_of(field: &str) -> Option<&'static [&'static str]> {
    KEYS.iter().find(|(name, _)| *name == field).map(|(_, keys)| *keys)
}

/// The names of the items, if every item has a name and the names are unique.
fn by_key(field: &str, items: &[Value]) -> Option<Vec<String>> {
    let keys = keys_of(field)?;
    let part = |item: &Value, key: &str| match item.get(key)? {
        Value::String(text) if key != "containerPort" => Some(text.clone()),
        Value::Number(number) if key == "containerPort" => Some(number.to_string()),
        _ => None,
    };
    let mut seen = HashSet::new();
    let mut names = Vec::with_capacity(items.len());
    for item in items {
        let name = keys.iter().map(|key| part(item, key)).collect::<Option<Vec<_>>>()?.join("/");
        if !seen.insert(name.clone()) {
            return None;
        }
        names.push(name);
    }
    Some(names)
}

#[cfg(test)]
mod tests;
