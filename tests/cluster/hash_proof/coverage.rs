//! The check that a change of any field changes the hash, except for the fields that projection v1 leaves out.

use serde_json::{Value, json};
use writgate_core::{
    approval::{SpecHash, spec_hash},
    kube::WorkloadKind,
};

use writgate_testing::{Installation, manifests, other_kubernetes, random::Random};

use crate::hash_proof::agreement::{api, dry_run};

/// Manifests for each kind. Each has nearly every field, but only some of the types of volumes and probes.
const MANIFESTS: u64 = 4;

/// Changes each value in specs from the API server, one at a time.
pub(crate) fn check(installation: &Installation, kind: WorkloadKind) {
    let namespace = installation.plane.namespace("coverage");
    let specs: Vec<Value> = installation.plane.block_on(async {
        let api = api(installation.plane.admin.client().await, &namespace, kind);
        let mut specs = Vec::new();
        for seed in 0..MANIFESTS {
            let manifest = manifests::manifest(&mut Random::rich(seed), kind, "rich");
            specs.extend(dry_run(&api, manifest).await);
        }
        specs
    });
    // An older API server refuses a volume whose only source it drops.
    let expected = if other_kubernetes().is_some() { 1 } else { 3 };
    assert!(specs.len() >= expected, "only {} of {MANIFESTS} manifests were accepted", specs.len());
    for spec in &specs {
        check_spec(kind, spec);
    }
}

/// JSON pointers to the values that the hash of an admitted spec does not cover.
pub(crate) fn left_out(kind: WorkloadKind, spec: &Value) -> Vec<String> {
    const ROLLOUT: [&str; 7] = [
        "/replicas",
        "/paused",
        "/strategy",
        "/updateStrategy",
        "/minReadySeconds",
        "/progressDeadlineSeconds",
        "/revisionHistoryLimit",
    ];
    const UNAVAILABLE: &str = "/updateStrategy/rollingUpdate/maxUnavailable";
    const RESTARTED: &str = "template/metadata/annotations/kubectl.kubernetes.io~1restartedAt";
    let (job, mut pointers) = match kind {
        // The hash covers a StatefulSet's updateStrategy, since its partition decides which revision runs.
        WorkloadKind::StatefulSet => ("/", ROLLOUT.iter().filter(|field| **field != "/updateStrategy").collect()),
        WorkloadKind::CronJob => {
            ("/jobTemplate/spec/", vec![&"/suspend", &"/successfulJobsHistoryLimit", &"/failedJobsHistoryLimit"])
        }
        WorkloadKind::Job => ("/", vec![]),
        _ => ("/", ROLLOUT.iter().collect::<Vec<_>>()),
    };
    let mut pointers: Vec<String> = pointers.drain(..).map(ToString::to_string).collect();
    if matches!(kind, WorkloadKind::Job | WorkloadKind::CronJob) {
        pointers.push(format!("{job}suspend"));
        if spec.pointer(&format!("{job}manualSelector")) != Some(&json!(true)) {
            let labels = "template/metadata/labels";
            for field in ["manualSelector", "selector"] {
                pointers.push(format!("{job}{field}"));
            }
            for label in ["controller-uid", "job-name"] {
                pointers.push(format!("{job}{labels}/{label}"));
                pointers.push(format!("{job}{labels}/batch.kubernetes.io~1{label}"));
            }
        }
    }
    if kind == WorkloadKind::StatefulSet && spec.pointer(UNAVAILABLE) == Some(&json!(1)) {
        pointers.push(UNAVAILABLE.to_owned());
    }
    let restarted = format!("{job}{RESTARTED}");
    if spec.pointer(&restarted).and_then(Value::as_str).is_some_and(|time| time.ends_with('Z')) {
        pointers.push(restarted);
    }
    pointers
}

fn check_spec(kind: WorkloadKind, spec: &Value) {
    let hash = |spec: &Value| -> SpecHash { spec_hash(kind, &spec.to_string()).expect("a spec that can be hashed") };
    let before = hash(spec);
    let left_out = left_out(kind, spec);
    let is_left_out = |pointer: &str| {
        left_out.iter().any(|left| {
            pointer == left || pointer.strip_prefix(left.as_str()).is_some_and(|rest| rest.starts_with('/'))
        })
    };

    for pointer in &left_out {
        let mut without = spec.clone();
        remove(&mut without, pointer);
        // The API server itself drops an empty map of labels or annotations.
        if let Some((parent, _)) = pointer.rsplit_once('/')
            && without.pointer(parent) == Some(&json!({}))
        {
            remove(&mut without, parent);
        }
        assert_eq!(before, hash(&without), "{} without {pointer}", kind.kind());
    }
    let mut pointers = Vec::new();
    collect("", spec, &mut pointers);
    assert!(pointers.len() > 100, "a rich manifest has more than {} values", pointers.len());
    for pointer in pointers.iter().filter(|pointer| !is_left_out(pointer)) {
        for changed in changes(spec, pointer) {
            assert_ne!(before, hash(&changed), "{} {pointer} changed to {:?}", kind.kind(), changed.pointer(pointer));
        }
        // An object with only left-out members is left out as well.
        let members = spec.pointer(pointer).and_then(Value::as_object);
        let only_left_out = members.is_some_and(|members| {
            !members.is_empty()
                && members.keys().all(|key| is_left_out(&format!("{pointer}/{}", key.replace('/', "~1"))))
        });
        if !only_left_out && !pointer.is_empty() {
            let mut without = spec.clone();
            remove(&mut without, pointer);
            assert_ne!(before, hash(&without), "{} without {pointer}", kind.kind());
        }
    }
}

/// The spec with the value at `pointer` changed, once for each kind of change of its type.
fn changes(spec: &Value, pointer: &str) -> Vec<Value> {
    let with = |value: Value| {
        let mut spec = spec.clone();
        *spec.pointer_mut(pointer).expect("a pointer from this spec") = value;
        spec
    };
    match spec.pointer(pointer).expect("a pointer from this spec") {
        Value::Null => vec![with("x".into())],
        Value::Bool(bool) => vec![with((!bool).into())],
        Value::Number(number) => vec![with(json!(number.as_i64().expect("specs hold integers") + 1))],
        Value::String(text) => vec![with(format!("{text}x").into()), with(Value::Null)],
        Value::Array(items) => {
            let mut reversed = items.clone();
            reversed.reverse();
            let longer = [items.as_slice(), &["x".into()]].concat();
            let mut changed = vec![with(longer.into())];
            if reversed != *items {
                changed.push(with(reversed.into()));
            }
            changed
        }
        Value::Object(members) => {
            let mut larger = members.clone();
            larger.insert("someday".to_owned(), json!({}));
            vec![with(larger.into())]
        }
    }
}

fn collect(pointer: &str, value: &Value, pointers: &mut Vec<String>) {
    pointers.push(pointer.to_owned());
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                collect(&format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1")), value, pointers);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                collect(&format!("{pointer}/{index}"), value, pointers);
            }
        }
        _ => {}
    }
}

fn remove(spec: &mut Value, pointer: &str) {
    let (parent, last) = pointer.rsplit_once('/').expect("a pointer to something inside");
    match spec.pointer_mut(parent) {
        Some(Value::Object(members)) => {
            members.remove(&last.replace("~1", "/").replace("~0", "~"));
        }
        Some(Value::Array(items)) => {
            items.remove(last.parse().expect("an index"));
        }
        _ => {}
    }
}
