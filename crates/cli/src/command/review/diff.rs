//! The changes from one object to another, field by field. Items of lists are matched as Kubernetes matches them.
//!
//! Both objects have the API server's defaults, so a default is not a change. `unusual` says what a change means, and
//! `text` prints it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Map, Value};
use writgate_core::{
    approval::projected,
    kube::{WorkloadKind, unknown_fields},
    vocabulary::{BOUND_ANNOTATIONS, REPLAY_LABEL},
};

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

/// Fields that give a workload access to more than itself.
const PRIVILEGES: [&str; 26] = [
    "securityContext",
    "serviceAccountName",
    "serviceAccount",
    "automountServiceAccountToken",
    "hostNetwork",
    "hostPID",
    "hostIPC",
    "hostUsers",
    "hostPath",
    "hostPort",
    "hostIP",
    "hostAliases",
    "shareProcessNamespace",
    "runtimeClassName",
    "nodeName",
    "secret",
    "secretName",
    "secretKeyRef",
    "secretRef",
    "imagePullSecrets",
    "serviceAccountToken",
    "persistentVolumeClaim",
    "volumeDevices",
    "resourceClaims",
    "csi",
    "nfs",
];

/// The fields of the metadata that an approval binds: annotations, and the label that makes a Job a replay.
fn bound_metadata() -> impl Iterator<Item = (&'static str, &'static str)> {
    let annotations = BOUND_ANNOTATIONS.into_iter().map(|name| ("annotations", name));
    annotations.chain([("labels", REPLAY_LABEL)])
}

/// One field that differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::command) struct FieldChange {
    /// `spec.template.spec.containers[orders].image`
    pub(in crate::command) path: String,
    /// What the field is about.
    pub(in crate::command) concern: Concern,
    /// Whether the approval binds this value. If not, anybody may change it again.
    pub(in crate::command) bound: bool,
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
    /// What the workload can access.
    Privileges,
    /// Fields that Kubernetes does not have. The API server drops them.
    Unknown,
    /// Everything else.
    Rest,
}

/// Every field in which `new` differs from `old`, or all of its fields if there is no `old`.
pub(in crate::command) fn of(kind: WorkloadKind, old: Option<&Value>, new: &Value) -> Vec<FieldChange> {
    let mut differences = Differences::default();
    let spec = |object: &Value| object.get("spec").cloned().unwrap_or_default();
    differences.walk(FieldPath::field("spec"), old.map(spec).as_ref(), Some(&spec(new)));
    let bound = bound_paths(kind, old, new);
    let mut metadata = Differences::default();
    for (field, name) in bound_metadata() {
        let said = |object: &Value| object.get("metadata")?.get(field)?.get(name).cloned();
        let path = FieldPath::field("metadata").then_field(field).then_field(name);
        metadata.walk(path, old.and_then(said).as_ref(), said(new).as_ref());
    }
    let unknown: BTreeSet<String> = unknown_fields(kind, new).iter().map(|field| without_items(&field.path)).collect();
    let change = |found: RawDifference| found.into_change(&bound, &unknown);
    let spec = differences.found.into_iter().map(change);
    let metadata = metadata.found.into_iter().map(|found| FieldChange { bound: true, ..change(found) });
    // What a manifest leaves out and no approval binds keeps its value, or gets the API server's default again.
    let stays = |change: &FieldChange| !change.bound && change.new.is_none();
    let mut changes: Vec<FieldChange> = spec.chain(metadata).filter(|change| !stays(change)).collect();
    changes.sort_by_key(|change| change.concern); // stable: within one concern, in the object's order
    changes
}

/// The lists of an object's spec that have two items with the same merge key. Their items are matched by position.
pub(in crate::command) fn doubled(object: &Value) -> Vec<String> {
    let mut doubled = Vec::new();
    if let Some(spec) = object.get("spec") {
        add_doubled(&FieldPath::field("spec"), spec, &mut doubled);
    }
    doubled
}

fn add_doubled(path: &FieldPath, value: &Value, doubled: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| add_doubled(&path.then_field(name), value, doubled));
        }
        Value::Array(items) => {
            let field = path.fields.last().map(String::as_str).unwrap_or_default();
            let named = by_key(field, items);
            if named.is_none() && KEYS.iter().any(|(name, _)| *name == field) {
                doubled.push(path.text.clone());
            }
            for (index, item) in items.iter().enumerate() {
                let name = named.as_ref().and_then(|named| named.get(index)).map(|(name, _)| name.clone());
                add_doubled(&path.then_item(&name.unwrap_or_else(|| index.to_string())), item, doubled);
            }
        }
        _ => {}
    }
}

/// The changed paths that the spec hash covers.
fn bound_paths(kind: WorkloadKind, old: Option<&Value>, new: &Value) -> BTreeSet<String> {
    let covered = |object: &Value| {
        let spec = object.get("spec")?.to_string();
        serde_json::from_slice::<Value>(&projected(kind, &spec).ok()?).ok()
    };
    let mut differences = Differences::default();
    differences.walk(FieldPath::field("spec"), old.and_then(covered).as_ref(), covered(new).as_ref());
    differences.found.into_iter().map(|found| found.path.text).collect()
}

/// `spec.containers.image` of `spec.containers[0].image`
fn without_items(path: &str) -> String {
    path.split('[').map(|part| part.split_once(']').map_or(part, |(_, rest)| rest)).collect()
}

#[derive(Clone, Default)]
struct FieldPath {
    text: String,
    /// The field names of the path, without the names of items.
    fields: Vec<String>,
}

impl FieldPath {
    fn field(name: &str) -> Self {
        Self { text: name.to_owned(), fields: vec![name.to_owned()] }
    }

    fn then_field(&self, name: &str) -> Self {
        let plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let text = if plain { format!("{}.{name}", self.text) } else { format!("{}[{name}]", self.text) };
        let fields = self.fields.iter().cloned().chain([name.to_owned()]).collect();
        Self { text, fields }
    }

    fn then_item(&self, name: &str) -> Self {
        Self { text: format!("{}[{name}]", self.text), fields: self.fields.clone() }
    }

    /// Whether a field of the path is in `unknown`, which has paths without the names of items.
    fn is_in(&self, unknown: &BTreeSet<String>) -> bool {
        (1..=self.fields.len())
            .any(|count| self.fields.get(..count).is_some_and(|fields| unknown.contains(&fields.join("."))))
    }

    fn concern(&self, unknown: &BTreeSet<String>) -> Concern {
        if self.is_in(unknown) {
            return Concern::Unknown;
        }
        let has = |names: &[&str]| self.fields.iter().any(|field| names.contains(&&**field));
        if has(&["image"]) {
            Concern::Images
        } else if has(&PRIVILEGES) {
            Concern::Privileges
        } else {
            Concern::Rest
        }
    }
}

struct RawDifference {
    path: FieldPath,
    old: Option<Value>,
    new: Option<Value>,
}

impl RawDifference {
    fn into_change(self, bound: &BTreeSet<String>, unknown: &BTreeSet<String>) -> FieldChange {
        let Self { path, old, new } = self;
        FieldChange { concern: path.concern(unknown), bound: bound.contains(&path.text), path: path.text, old, new }
    }
}

#[derive(Default)]
struct Differences {
    found: Vec<RawDifference>,
}

impl Differences {
    fn walk(&mut self, path: FieldPath, old: Option<&Value>, new: Option<&Value>) {
        match (old, new) {
            (Some(old), Some(new)) if old == new => {}
            (None, None) => {}
            (Some(Value::Object(old)), Some(Value::Object(new))) => self.walk_fields(&path, old, new),
            (Some(Value::Array(old)), Some(Value::Array(new))) => self.walk_items(&path, old, new),
            // An added or removed object is reported field by field too: a privilege may be deep inside.
            (None, Some(Value::Object(fields))) if !fields.is_empty() => self.walk_fields(&path, &Map::new(), fields),
            (Some(Value::Object(fields)), None) if !fields.is_empty() => self.walk_fields(&path, fields, &Map::new()),
            (None, Some(Value::Array(items))) if !items.is_empty() => self.walk_items(&path, &[], items),
            (Some(Value::Array(items)), None) if !items.is_empty() => self.walk_items(&path, items, &[]),
            (old, new) => self.found.push(RawDifference { path, old: old.cloned(), new: new.cloned() }),
        }
    }

    fn walk_fields(&mut self, path: &FieldPath, old: &Map<String, Value>, new: &Map<String, Value>) {
        let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        let before = self.found.len();
        for name in names {
            self.walk(path.then_field(name), old.get(name), new.get(name));
        }
        debug_assert!(self.found.len() > before, "the objects differ, so a field differs");
    }

    fn walk_items(&mut self, path: &FieldPath, old: &[Value], new: &[Value]) {
        let scalar = |item: &Value| !item.is_object() && !item.is_array();
        let field = path.fields.last().map(String::as_str).unwrap_or_default();
        if let (Some(old), Some(new)) = (by_key(field, old), by_key(field, new)) {
            return self.walk_named(path, &old, &new);
        }
        if old.iter().chain(new).all(scalar) {
            let whole = |items: &[Value]| (!items.is_empty()).then(|| Value::Array(items.to_vec()));
            let (old, new) = (whole(old), whole(new));
            return self.found.push(RawDifference { path: path.clone(), old, new });
        }
        for index in 0..old.len().max(new.len()) {
            self.walk(path.then_item(&index.to_string()), old.get(index), new.get(index));
        }
    }

    fn walk_named(&mut self, path: &FieldPath, old: &[(String, &Value)], new: &[(String, &Value)]) {
        let (before, after) = (by_name(old), by_name(new));
        let gone = old.iter().filter(|(name, _)| !after.contains_key(&**name));
        for (name, _) in new.iter().chain(gone) {
            self.walk(path.then_item(name), before.get(&**name).copied(), after.get(&**name).copied());
        }
        // The order matters: init containers run in it, and variables refer to earlier ones.
        let common = |items: &[(String, &Value)], others: &BTreeMap<&str, &Value>| -> Vec<Value> {
            items.iter().filter(|(name, _)| others.contains_key(&**name)).map(|(name, _)| name.clone().into()).collect()
        };
        let (old_order, new_order) = (common(old, &after), common(new, &before));
        let mut from_the_first_new = new.iter().skip_while(|(name, _)| before.contains_key(&**name));
        let inserted = from_the_first_new.any(|(name, _)| before.contains_key(&**name));
        if old_order != new_order || inserted {
            let names =
                |items: &[(String, &Value)]| Some(items.iter().map(|(name, _)| name.clone()).collect::<Value>());
            let path = FieldPath { text: format!("{} (order)", path.text), fields: path.fields.clone() };
            self.found.push(RawDifference { path, old: names(old), new: names(new) });
        }
    }
}

fn by_name<'a>(items: &'a [(String, &'a Value)]) -> BTreeMap<&'a str, &'a Value> {
    items.iter().map(|(name, item)| (&**name, *item)).collect()
}

/// The items with their names, if every item has a name and the names are unique.
fn by_key<'a>(field: &str, items: &'a [Value]) -> Option<Vec<(String, &'a Value)>> {
    let (_, keys) = KEYS.iter().find(|(name, _)| *name == field)?;
    let part = |item: &Value, key: &str| match item.get(key)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let mut named = Vec::new();
    let mut seen = BTreeSet::new();
    for item in items {
        let name = keys.iter().map(|key| part(item, key)).collect::<Option<Vec<_>>>()?.join("/");
        if !seen.insert(name.clone()) {
            return None;
        }
        named.push((name, item));
    }
    Some(named)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn deployment(pod: &Value) -> Value {
        json!({"spec": {"replicas": 1, "template": {"spec": pod}}})
    }

    fn paths(old: Option<&Value>, new: &Value) -> Vec<String> {
        let short = |change: FieldChange| change.path.replace("spec.template.spec.", "");
        of(WorkloadKind::Deployment, old, new).into_iter().map(short).collect()
    }

    fn pod_paths(old: &Value, new: &Value) -> Vec<String> {
        paths(Some(&deployment(old)), &deployment(new))
    }

    #[test]
    fn images_come_first_then_privileges_then_the_rest() {
        let old = json!({"containers": [{"name": "a", "args": ["x"], "image": "a:1"}]});
        let new = json!({"containers": [
            {"name": "a", "args": ["y"], "image": "a:2", "securityContext": {"privileged": true}}]});
        let expected = ["containers[a].image", "containers[a].securityContext.privileged", "containers[a].args"];
        assert_eq!(pod_paths(&old, &new), expected);
    }

    #[test]
    fn a_field_that_kubernetes_does_not_have_is_no_privilege() {
        let concerns = |pod: &Value| -> Vec<Concern> {
            of(WorkloadKind::Deployment, None, &deployment(pod)).into_iter().map(|change| change.concern).collect()
        };
        let container = |field: &str| json!({"containers": [{"securityContext": {field: true}}]});
        assert_eq!(concerns(&container("runAsNonRoot")), [Concern::Privileges, Concern::Rest]);
        assert_eq!(concerns(&container("runAsNonroot")), [Concern::Unknown, Concern::Rest]);
    }

    #[test]
    fn matches_items_of_named_lists_by_name_whatever_their_position() {
        let port = |port: u16, protocol: &str| json!({"containerPort": port, "protocol": protocol});
        let old = json!({"containers": [
            {"name": "a", "env": [{"name": "X", "value": "1"}], "ports": [port(53, "TCP"), port(53, "UDP")]}]});
        let new = json!({"containers": [
            {"name": "new", "image": "n"},
            {"name": "a", "env": [{"name": "X", "value": "2"}], "ports": [port(53, "UDP")]}]});
        let found = pod_paths(&old, &new);
        for path in ["containers[new].image", "containers[a].env[X].value", "containers[a].ports[53/TCP].protocol"] {
            assert!(found.contains(&path.to_owned()), "{path}: {found:?}");
        }
        assert!(found.iter().all(|path| !path.starts_with("containers[a].ports[53/UDP]")), "{found:?}");
    }

    #[test]
    fn a_new_order_is_a_change() {
        let old = json!({"initContainers": [{"name": "a"}, {"name": "b"}]});
        let new = json!({"initContainers": [{"name": "b"}, {"name": "a"}]});
        assert_eq!(pod_paths(&old, &new), ["initContainers (order)"]);
    }

    #[test]
    fn marks_what_the_approval_does_not_bind() {
        let (old, mut new) = (deployment(&json!({"hostPID": false})), deployment(&json!({"hostPID": true})));
        new["spec"]["replicas"] = json!(5);
        let bound: Vec<(String, bool)> = of(WorkloadKind::Deployment, Some(&old), &new)
            .into_iter()
            .map(|change| (change.path, change.bound))
            .collect();
        let expected = [("spec.template.spec.hostPID".to_owned(), true), ("spec.replicas".to_owned(), false)];
        assert_eq!(bound, expected);
    }

    #[test]
    fn an_omitted_field_that_is_not_bound_is_not_a_change() {
        let (mut old, new) = (deployment(&json!({})), deployment(&json!({})));
        old["spec"]["progressDeadlineSeconds"] = json!(600);
        assert_eq!(paths(Some(&old), &new), [""; 0]);
        assert_eq!(paths(Some(&new), &old), ["spec.progressDeadlineSeconds"]);
    }

    #[test]
    fn reports_bound_annotations_and_no_other_metadata() {
        let old =
            json!({"metadata": {"annotations": {"writgate.dev/pipeline-version": "a@1", "other": "1"}}, "spec": {}});
        let new =
            json!({"metadata": {"annotations": {"writgate.dev/pipeline-version": "a@2", "other": "2"}}, "spec": {}});
        assert_eq!(paths(Some(&old), &new), ["metadata.annotations[writgate.dev/pipeline-version]"]);
    }

    /// Values as specs have them: small, with lists whose items have names.
    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (0..3_i64).prop_map(Value::from),
            "[a-c]{0,2}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            let name = prop_oneof![
                Just("containers"),
                Just("env"),
                Just("ports"),
                Just("name"),
                Just("containerPort"),
                Just("x.y/z"),
            ];
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(name.prop_map(str::to_owned), inner, 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_change_of_a_spec_shows(old in value(), new in value()) {
            let object = |spec: &Value| json!({"spec": spec});
            let changes = of(WorkloadKind::Deployment, Some(&object(&old)), &object(&new));
            prop_assert_eq!(changes.is_empty(), old == new);
        }

        #[test]
        fn one_item_renamed_moved_or_doubled_shows(names in prop::collection::vec("[ab]", 1..4), at in any::<prop::sample::Index>()) {
            let list = |names: &[String]| deployment(&json!({"initContainers":
                names.iter().map(|name| json!({"name": name})).collect::<Vec<_>>()}));
            let mut doubled = names.clone();
            doubled.insert(at.index(names.len()), "a".to_owned());
            prop_assert!(!of(WorkloadKind::Deployment, Some(&list(&names)), &list(&doubled)).is_empty());
            let mut turned = names.clone();
            turned.reverse();
            prop_assert_eq!(
                of(WorkloadKind::Deployment, Some(&list(&names)), &list(&turned)).is_empty(),
                turned == names
            );
        }
    }
}
