//! The comparison of the offline hash with the hash at admission.
//!
//! With an older API server (`WRITGATE_KUBERNETES`), the hash at admission must be the offline hash of the manifest without
//! the fields that this version drops. A line on standard error says how many manifests have such fields, and which.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use futures::StreamExt as _;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use writgate_core::{
    approval::manifest_hash,
    encoding::read_yaml,
    kube::{WorkloadKind, default_forward, remove_dropped_fields},
};

use writgate_testing::{Installation, manifests, other_kubernetes, random::Random, wait_until};

use crate::hash_proof::coverage;

/// Requests in flight, few enough for the other tests that use the API server.
const AT_ONCE: usize = 8;
/// Manifests in the message of a failure.
const SHOWN: usize = 5;

/// One random manifest, what the API server answered, and what was computed from its text.
struct Case {
    seed: u64,
    name: String,
    text: String,
    offline: Result<String, String>,
    /// The offline hash without the fields that the API server's version drops, and these fields.
    without_dropped: Option<(String, Vec<String>)>,
    answer: Result<Value, kube::Error>,
}

/// Creates random manifests of one kind as dry runs, and compares the hashes.
pub(crate) fn check(installation: &Installation, kind: WorkloadKind) {
    let cases: u64 = setting("WRITGATE_PROOF_CASES").unwrap_or(100);
    let seed = setting("WRITGATE_PROOF_SEED").unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("the time is after 1970");
        u64::try_from(now.as_micros()).expect("the time is before the year 586912")
    });
    let namespace = audited_namespace(installation, &format!("proof-{}", kind.resource()));
    let api = installation.plane.block_on(async { api(installation.plane.admin.client().await, &namespace, kind) });
    let cases: Vec<Case> = installation.plane.block_on(
        futures::stream::iter(0..cases)
            .map(|index| case(api.clone(), kind, seed.wrapping_add(index)))
            .buffer_unordered(AT_ONCE)
            .collect(),
    );
    let hashes = hashes_at_admission(installation, &namespace);

    let refused: Vec<&Case> = cases.iter().filter(|case| case.answer.is_err()).collect();
    let report = |cases: &[&Case], describe: &dyn Fn(&Case) -> String| {
        let shown = cases.iter().take(SHOWN);
        shown.map(|case| format!("seed {}: {}", case.seed, describe(case))).collect::<Vec<_>>().join("\n")
    };
    let mut dropped: BTreeMap<String, usize> = BTreeMap::new();
    let (mut alike, mut without_dropped, mut differing) = (0, 0, Vec::new());
    for case in cases.iter().filter(|case| case.answer.is_ok()) {
        let at_admission = hashes.get(&case.name);
        if case.offline.as_ref().ok() == at_admission {
            alike += 1;
        } else if let Some((hash, fields)) = &case.without_dropped
            && Some(hash) == at_admission
        {
            without_dropped += 1;
            for field in fields.iter().map(|path| last_names(path)).collect::<BTreeSet<_>>() {
                *dropped.entry(field).or_default() += 1;
            }
        } else {
            differing.push(case);
        }
    }
    eprintln!(
        "{}: {} manifests, {} refused, {alike} with the offline hash, {without_dropped} without what this version drops, {} other: {dropped:?}",
        kind.kind(),
        cases.len(),
        refused.len(),
        differing.len(),
    );
    // Refused manifests prove nothing, so the generator may make only a few. An older server refuses many: fields that server-side
    // apply does not know, and objects without a field that it drops, such as a volume's only source.
    assert!(
        other_kubernetes().is_some() || refused.len() * 20 < cases.len(),
        "{} of {} manifests of kind {} were refused\n{}",
        refused.len(),
        cases.len(),
        kind.kind(),
        report(&refused, &|case| format!("{:?}", case.answer)),
    );
    assert!(
        differing.is_empty(),
        "of {} {}s, {} have another hash at admission (repeat with WRITGATE_PROOF_SEED)\n{}",
        cases.len(),
        kind.kind(),
        differing.len(),
        report(&differing, &|case| explain(kind, case, hashes.get(&case.name))),
    );
}

/// The last two names of a path, without indices: `resources.claims`.
fn last_names(path: &str) -> String {
    let names: Vec<&str> = path.split('.').map(|name| name.split('[').next().unwrap_or(name)).collect();
    names[names.len().saturating_sub(2)..].join(".")
}

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}, expected a number")))
}

/// A governed namespace where every request is admitted and recorded.
pub(crate) fn audited_namespace(installation: &Installation, hint: &str) -> String {
    let governed = installation.governed(hint);
    let mut posture = governed.usual_posture();
    posture["enforcement"] = json!("audit");
    installation.plane.install(&governed.posture_objects(&posture));
    let probe = governed.deployment("probe").to_string();
    wait_until("the posture only audits", Duration::from_secs(20), || {
        installation.operator.kubectl_in(&["create", "--dry-run=server", "-f", "-"], &probe).ok().then_some(())
    });
    governed.namespace
}

/// Workloads of one kind in one namespace, without a Rust type that could change them.
pub(crate) fn api(client: kube::Client, namespace: &str, kind: WorkloadKind) -> Api<DynamicObject> {
    let (group, version) = kind.api_version().split_once('/').unwrap_or(("", kind.api_version()));
    let resource =
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind.kind()), kind.resource());
    Api::namespaced_with(client, namespace, &resource)
}

/// Creates an object as a dry run, and returns its spec.
pub(crate) async fn dry_run(api: &Api<DynamicObject>, manifest: Value) -> Result<Value, kube::Error> {
    let object: DynamicObject = serde_json::from_value(manifest).expect("a manifest has the shape of an object");
    let params = PostParams { dry_run: true, ..PostParams::default() };
    Ok(api.create(&params, &object).await?.data["spec"].take())
}

/// Applies an object as a dry run of server-side apply, which merges before it decodes.
async fn apply(api: &Api<DynamicObject>, name: &str, manifest: Value) -> Result<Value, kube::Error> {
    let params = PatchParams { dry_run: true, ..PatchParams::apply("proof") };
    Ok(api.patch(name, &params, &Patch::Apply(manifest)).await?.data["spec"].take())
}

async fn case(api: Api<DynamicObject>, kind: WorkloadKind, seed: u64) -> Case {
    let mut random = Random::new(seed);
    let name = format!("case-{seed}");
    let manifest = manifests::manifest(&mut random, kind, &name);
    let text = as_written(&mut random, &manifest);
    let offline = read_yaml(&text).map_err(|error| error.to_string()).and_then(|documents| {
        let [document] = documents.as_slice() else { return Err(format!("{} documents", documents.len())) };
        manifest_hash(document).map(|(_, hash)| hash.to_string()).map_err(|error| error.to_string())
    });
    let without_dropped = other_kubernetes().and_then(|minor| without_dropped(kind, &manifest, minor));
    let answer = if random.chance(30) { apply(&api, &name, manifest).await } else { dry_run(&api, manifest).await };
    Case { seed, name, text, offline, without_dropped, answer }
}

/// The offline hash without the fields that Kubernetes v1.`minor` drops, and these fields.
pub(crate) fn without_dropped(kind: WorkloadKind, manifest: &Value, minor: u32) -> Option<(String, Vec<String>)> {
    let mut object = manifest.clone();
    let dropped = remove_dropped_fields(kind, &mut object, minor);
    let (_, hash) = manifest_hash(&object).ok()?;
    Some((hash.to_string(), dropped))
}

/// The manifest as JSON, or as YAML with file modes in octal.
fn as_written(random: &mut Random, manifest: &Value) -> String {
    let mut text = manifest.to_string();
    // A line separator is a line break in YAML, so a text with one stays JSON.
    if random.chance(50) && !text.contains('\u{2028}') {
        for name in ["mode", "defaultMode"] {
            for mode in [0o644, 0o400, 0o777] {
                text = text.replace(&format!("\"{name}\":{mode}"), &format!("\"{name}\": 0{mode:o}"));
            }
        }
    }
    text
}

/// The hashes in the webhook's records, by the objects' names.
pub(crate) fn hashes_at_admission(installation: &Installation, namespace: &str) -> HashMap<String, String> {
    let records = installation.webhook.records(|record| record["object"]["namespace"] == namespace);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    records.iter().map(|record| (text(&record["object"]["name"]), text(&record["specHash"]))).collect()
}

fn explain(kind: WorkloadKind, case: &Case, at_admission: Option<&String>) -> String {
    let mut text = format!("offline {:?}, at admission {at_admission:?}", case.offline);
    let mut offline = read_yaml(&case.text).ok().and_then(|mut documents| documents.pop()).unwrap_or_default();
    if let Some(minor) = other_kubernetes() {
        remove_dropped_fields(kind, &mut offline, minor);
    }
    if let (Ok(()), Ok(admitted)) = (default_forward(kind, &mut offline), &case.answer) {
        let mut paths = Vec::new();
        differences("", &offline["spec"], admitted, &mut paths);
        let left_out = coverage::left_out(kind, admitted);
        for (path, difference) in paths {
            if !left_out.iter().any(|prefix| path.starts_with(prefix)) {
                write!(text, "\n  {path}: {difference}").expect("writing to a String succeeds");
            }
        }
    }
    write!(text, "\n  {}", case.text).expect("writing to a String succeeds");
    text
}

/// The differences of two values, with their JSON pointers.
fn differences(path: &str, offline: &Value, admitted: &Value, found: &mut Vec<(String, String)>) {
    match (offline, admitted) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys().filter(|key| !a.contains_key(*key))) {
                let path = format!("{path}/{}", key.replace('~', "~0").replace('/', "~1"));
                match (a.get(key), b.get(key)) {
                    (Some(a), Some(b)) => differences(&path, a, b, found),
                    (Some(a), None) => found.push((path, format!("only offline: {a}"))),
                    (_, b) => found.push((path, format!("only at admission: {}", b.unwrap_or(&Value::Null)))),
                }
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                differences(&format!("{path}/{index}"), a, b, found);
            }
        }
        (a, b) if a != b => found.push((path.to_owned(), format!("offline {a}, at admission {b}"))),
        _ => {}
    }
}
