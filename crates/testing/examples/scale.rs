//! Measures the webhook in a large cluster, on a real API server: `make bench-scale`.
//!
//! It prints the memory and the time to ready, the delay from a posture's change to its enforcement, and how many lists a
//! storm of denials costs the API server. `docs/scale.md` has the figures. Linux only: it reads `/proc`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, Error};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use writgate_core::{approval::spec_hash, kube::WorkloadKind};
use writgate_testing::{Key, Plane, SYSTEM_NAMESPACE, Webhook, detached, document, envelope, seconds_from_now};

/// Requests at once while the cluster is filled, and in the storm.
const AT_ONCE: usize = 64;
/// Workloads in the storm.
const WORKLOADS: usize = 1000;
/// Large documents, and the labels of large Namespaces.
const LARGE_DOCUMENTS: usize = 14;
const LARGE_NAMESPACES: usize = 42;
const LABELS: usize = 55_000;

/// The sizes, from the command line.
struct Size {
    namespaces: usize,
    postures: usize,
    approvals: usize,
    changes: usize,
    seconds: u64,
}

impl Size {
    fn from_args() -> Self {
        let mut size = Self { namespaces: 10_000, postures: 1000, approvals: 10_000, changes: 100, seconds: 20 };
        let args: Vec<String> = std::env::args().skip(1).collect();
        for pair in args.chunks(2) {
            let value: usize = pair.get(1).and_then(|value| value.parse().ok()).expect("each option has a number");
            match &*pair[0] {
                "--namespaces" => size.namespaces = value,
                "--postures" => size.postures = value,
                "--approvals" => size.approvals = value,
                "--changes" => size.changes = value,
                "--seconds" => size.seconds = u64::try_from(value).expect("64 bits"),
                other => panic!("unknown option {other}"),
            }
        }
        assert!(size.postures > 2 && size.namespaces >= size.postures, "each posture governs a namespace");
        size
    }
}

fn main() {
    let size = Size::from_args();
    let plane = Plane::start();
    let keys = Arc::new(Keys::default());
    fill(&plane, &size, &keys);
    println!(
        "{} governed namespaces, {} postures with reviewers of their own, {} approvals in ConfigMaps",
        size.namespaces, size.postures, size.approvals
    );
    let webhook = Webhook::install(&plane);
    started(&plane, "start");
    report_memory("the webhook that the API server calls, after its start", &webhook);

    plane.block_on(delays(&plane, &size, "a posture's change to its enforcement"));
    report_memory("after the changes", &webhook);

    let lists = lists(&plane);
    let waited = Instant::now();
    plane.block_on(storm(&plane, &size));
    println!(
        "| storm: lists of ConfigMaps in one namespace, as apiserver_request_total counts them | {} in {:.0} s |",
        self::lists(&plane) - lists,
        waited.elapsed().as_secs_f64()
    );
    report_memory("after the storm", &webhook);
    plane.block_on(beside_the_storm(&plane, &size, &keys));

    plane.block_on(large_documents(&plane));
    report_memory("after 14 documents of 1 MiB that no posture names", &webhook);
    started(&plane, "start-documents");
    plane.block_on(async {
        let stop = Arc::new(AtomicBool::new(false));
        let touching = tokio::spawn(touch(plane.admin.client().await, stop.clone()));
        let few = Size { changes: size.changes.div_ceil(5), ..size };
        delays(&plane, &few, "the same, while six documents of 1 MiB are annotated 7 times a second").await;
        stop.store(true, Ordering::Relaxed);
        let touched = touching.await.expect("no panic");
        println!("| annotations written meanwhile | {touched} |");
    });
    report_memory("after the annotations", &webhook);
    plane.block_on(large_namespaces(&plane));
    report_memory("after 42 Namespaces with 55,000 labels each", &webhook);
    started(&plane, "start-namespaces");
}

/// The reviewers' keys of the first environments. All others have keys that sign nothing.
struct Keys {
    storm: Key,
}

impl Default for Keys {
    fn default() -> Self {
        Self { storm: Key::new() }
    }
}

/// The environment of the storm.
const STORM: usize = 1;

fn namespace_of(environment: usize) -> String {
    format!("n-{environment:05}")
}

/// Runs `how` for each number, some at once.
async fn each<F: Future<Output = ()> + Send + 'static>(
    number: usize,
    how: impl Fn(usize) -> F + Clone + Send + 'static,
) {
    let next = Arc::new(AtomicUsize::new(0));
    let mut workers = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (next, how) = (next.clone(), how.clone());
        workers.spawn(async move {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= number {
                    return;
                }
                how(index).await;
            }
        });
    }
    while let Some(worker) = workers.join_next().await {
        worker.expect("no panic");
    }
}

fn read<T: k8s_openapi::serde::de::DeserializeOwned>(object: Value) -> T {
    serde_json::from_value(object).expect("an object of the kind")
}

/// The posture of an environment.
fn posture(number: usize) -> ConfigMap {
    let posture = json!({"apiVersion": "writgate.dev/v1", "kind": "Posture", "environment": format!("env-{number}"),
        "reviewerSets": [format!("reviewers-{number}")]});
    read(document("posture", &format!("posture-{number}"), &posture))
}

/// Creates everything, before there is a webhook.
fn fill(plane: &Plane, size: &Size, keys: &Arc<Keys>) {
    let begun = Instant::now();
    plane.block_on(async {
        let client = plane.admin.client().await;
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let create = PostParams::default();
        let system = json!({"metadata": {"name": SYSTEM_NAMESPACE}});
        namespaces.create(&create, &read(system)).await.expect("a namespace");
        let (system, keys): (Api<ConfigMap>, _) = (Api::namespaced(client.clone(), SYSTEM_NAMESPACE), keys.clone());
        each(size.postures, move |number| {
            let (system, keys) = (system.clone(), keys.clone());
            async move {
                let own = Key::new();
                let pem = if number == STORM { keys.storm.public_pem() } else { own.public_pem() };
                let reviewer = |name: &str, pem: &str| {
                    json!({"name": format!("{name}-{number}@acme.example"), "identities": [name],
                        "capabilities": ["deploy"], "keys": [{"publicKey": pem}]})
                };
                let reviewers = json!({"apiVersion": "writgate.dev/v1", "kind": "Reviewers", "reviewers": [
                    reviewer("bob", &pem), reviewer("carol", &Key::new().public_pem())]});
                let reviewers = document("reviewers", &format!("reviewers-{number}"), &reviewers);
                system.create(&PostParams::default(), &read(reviewers)).await.expect("reviewers");
                system.create(&PostParams::default(), &posture(number)).await.expect("a posture");
            }
        })
        .await;
        let (postures, approvals) = (size.postures, size.approvals);
        let namespaces_number = size.namespaces;
        each(size.namespaces, move |number| {
            let (namespaces, client) = (namespaces.clone(), client.clone());
            async move {
                let name = namespace_of(number);
                let environment = format!("env-{}", number % postures);
                let object = json!({"metadata": {"name": name, "labels": {
                    "writgate.dev/environment": environment, "writgate.dev/project": "payments"}}});
                namespaces.create(&PostParams::default(), &read(object)).await.expect("a namespace");
                let config_maps: Api<ConfigMap> = Api::namespaced(client, &name);
                for number in (number..approvals).step_by(namespaces_number) {
                    let hash = format!("{number:064x}");
                    let statement = statement(&environment, &name, "orders", &hash);
                    let object = detached(&name, &format!("approval-{number}"), &envelope(&statement, &[&Key::new()]));
                    config_maps.create(&PostParams::default(), &read(object)).await.expect("an approval");
                }
            }
        })
        .await;
    });
    println!("the cluster was filled in {:.0} s", begun.elapsed().as_secs_f64());
}

fn statement(environment: &str, namespace: &str, name: &str, hash: &str) -> Value {
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": format!("apps/v1/Deployment/{namespace}/{name}"), "digest": {"sha256": hash}}],
        "predicateType": "https://writgate.dev/approval/v1",
        "predicate": {
            "id": uuid::Uuid::now_v7().to_string(), "projection": "v1", "action": "deploy", "environment": environment,
            "project": "payments", "capabilities": ["deploy"], "requestedBy": "alice@acme.example",
            "notBefore": seconds_from_now(-60), "expiresAt": seconds_from_now(36_000)}})
}

fn deployment(name: &str, image: &str) -> Deployment {
    read(json!({"metadata": {"name": name}, "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "orders"}},
        "template": {"metadata": {"labels": {"app": "orders"}}, "spec": {"containers": [{"name": "orders", "image": image}]}}}}))
}

/// Starts a replica, and prints its time to ready and its memory.
fn started(plane: &Plane, name: &str) {
    let (replica, ready) = Webhook::timed_replica(plane, name);
    println!("| {name}: time to ready | {} ms |", ready.as_millis());
    // The index of approvals is read after the replica is ready.
    std::thread::sleep(Duration::from_secs(15));
    report_memory(name, &replica);
    println!("| {name}: approvals in the index | {} |", replica.metric("writgate_approvals_kept", &[]));
    println!("| {name}: documents left out | {} |", replica.metric("writgate_documents_left_out", &[]));
    drop(replica.stop());
}

fn report_memory(when: &str, webhook: &Webhook) {
    let status = std::fs::read_to_string(format!("/proc/{}/status", webhook.id())).expect("/proc");
    let mib = |field: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or_default() / 1024
    };
    println!("| {when}: resident memory, peak | {} MiB, {} MiB |", mib("VmRSS:"), mib("VmHWM:"));
}

/// Changes postures from "no approval" to "approval required", and measures the time from the API server's answer until a
/// dry run is denied.
async fn delays(plane: &Plane, size: &Size, what: &str) {
    let client = plane.admin.client().await;
    let system: Api<ConfigMap> = Api::namespaced(client.clone(), SYSTEM_NAMESPACE);
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    let (mut delays, mut writes) = (Vec::new(), Vec::new());
    for change in 0..size.changes {
        let number = 2 + change % (size.postures - 2);
        let deployments: Api<Deployment> = Api::namespaced(client.clone(), &namespace_of(number));
        let workload = deployment("orders", "ghcr.io/acme/orders:1");
        let set = async |rule: &str| {
            let posture = json!({"apiVersion": "writgate.dev/v1", "kind": "Posture",
                "environment": format!("env-{number}"), "reviewerSets": [format!("reviewers-{number}")],
                "actions": {"deploy": {"approval": rule}}});
            let patch = json!({"data": {"posture.yaml": posture.to_string()}});
            let begun = Instant::now();
            system
                .patch(&format!("posture-{number}"), &PatchParams::default(), &Patch::Merge(patch))
                .await
                .expect("the guard admits the posture");
            begun.elapsed()
        };
        set("none").await;
        let begun = Instant::now();
        while let Err(error) = deployments.create(&dry_run, &workload).await {
            assert!(begun.elapsed() < Duration::from_mins(1), "the posture is not in force after a minute: {error}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        writes.push(set("required").await);
        let begun = Instant::now();
        let delay = loop {
            // The time is that of the request: it was decided with the posture that was in force when it arrived.
            let asked = begun.elapsed();
            if deployments.create(&dry_run, &workload).await.is_err() {
                break asked;
            }
            assert!(begun.elapsed() < Duration::from_mins(1), "the posture is not enforced after a minute");
        };
        delays.push(delay);
    }
    println!("| write of a posture, with its guard: {} |", percentiles(&mut writes));
    println!("| {what}: {} |", percentiles(&mut delays));
}

fn percentiles(times: &mut [Duration]) -> String {
    times.sort_unstable();
    let at = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)].as_millis();
    format!("p50 {} ms, p99 {} ms, longest {} ms, of {} | ", at(50), at(99), at(100), times.len())
}

/// Creates workloads without an approval, again and again, until the time is over.
async fn storm(plane: &Plane, size: &Size) {
    let client = plane.admin.client().await;
    let deployments: Api<Deployment> = Api::namespaced(client, &namespace_of(STORM));
    let (until, times) =
        (Instant::now() + Duration::from_secs(size.seconds), Arc::new(std::sync::Mutex::new(Vec::new())));
    let reasons = Arc::new(std::sync::Mutex::new(BTreeMap::<String, usize>::new()));
    let (all_times, all_reasons) = (times.clone(), reasons.clone());
    each(1_000_000, move |number| {
        let (deployments, times, reasons) = (deployments.clone(), times.clone(), reasons.clone());
        async move {
            if Instant::now() > until {
                return;
            }
            let name = format!("app-{}", number % WORKLOADS);
            let workload = deployment(&name, &format!("ghcr.io/acme/{name}:1"));
            let begun = Instant::now();
            let reason = reason(deployments.create(&PostParams::default(), &workload).await);
            times.lock().expect("no panic").push(begun.elapsed());
            *reasons.lock().expect("no panic").entry(reason).or_default() += 1;
        }
    })
    .await;
    println!(
        "| storm: {} workloads, {AT_ONCE} at once: {} |",
        WORKLOADS,
        percentiles(&mut all_times.lock().expect("no panic"))
    );
    println!("| storm: outcomes | {:?} |", all_reasons.lock().expect("no panic"));
}

/// `admitted`, or the code of the denial.
fn reason<T>(answer: Result<T, Error>) -> String {
    match answer {
        Ok(_) => "admitted".to_owned(),
        Err(Error::Api(status)) => {
            let code = status.message.lines().nth(1).and_then(|line| line.split(':').next());
            code.unwrap_or(&status.message).to_owned()
        }
        Err(error) => error.to_string(),
    }
}

/// During a storm, creates approvals and, at once, the workloads that they approve. Each must be admitted.
async fn beside_the_storm(plane: &Plane, size: &Size, keys: &Keys) {
    const APPROVED: usize = 30;
    let client = plane.admin.client().await;
    let namespace = namespace_of(STORM);
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), &namespace);
    let elsewhere: Api<Deployment> = Api::namespaced(client.clone(), "default");
    let config_maps: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    let mut approved = Vec::new();
    for number in 0..APPROVED {
        let name = format!("approved-{number}");
        let workload = deployment(&name, &format!("ghcr.io/acme/{name}:1"));
        let object = elsewhere.create(&dry_run, &workload).await.expect("an ungoverned namespace");
        let spec = serde_json::to_string(&object.spec).expect("JSON");
        let kind = WorkloadKind::from_gvk("apps/v1", "Deployment").expect("a workload");
        let hash = spec_hash(kind, &spec).expect("a hash").hex();
        let statement = statement(&format!("env-{STORM}"), &namespace, &name, &hash);
        let approval: ConfigMap = read(detached(&namespace, &name, &envelope(&statement, &[&keys.storm])));
        approved.push((workload, approval));
    }
    let stop = Arc::new(AtomicBool::new(false));
    let mut storm = JoinSet::new();
    for worker in 0..AT_ONCE / 2 {
        let (deployments, stop) = (deployments.clone(), stop.clone());
        storm.spawn(async move {
            let name = format!("denied-{worker}");
            let workload = deployment(&name, &format!("ghcr.io/acme/{name}:1"));
            while !stop.load(Ordering::Relaxed) {
                drop(deployments.create(&PostParams::default(), &workload).await);
            }
        });
    }
    let (mut times, mut reasons) = (Vec::new(), BTreeMap::<String, usize>::new());
    for (workload, approval) in &approved {
        config_maps.create(&PostParams::default(), approval).await.expect("an approval");
        let begun = Instant::now();
        *reasons.entry(reason(deployments.create(&PostParams::default(), workload).await)).or_default() += 1;
        times.push(begun.elapsed());
    }
    stop.store(true, Ordering::Relaxed);
    while storm.join_next().await.is_some() {}
    println!("| workloads right after their approvals, in a storm: {} |", percentiles(&mut times));
    println!("| their outcomes | {reasons:?} |");
    // A person who applies a few workloads without an approval, one after the other, in a quiet namespace.
    let quiet: Api<Deployment> = Api::namespaced(client, &namespace_of(size.postures - 1));
    let mut times = Vec::new();
    for number in 0..20 {
        let name = format!("app-{number}");
        let begun = Instant::now();
        drop(quiet.create(&dry_run, &deployment(&name, &format!("ghcr.io/acme/{name}:1"))).await);
        times.push(begun.elapsed());
    }
    println!("| denials one after the other in a quiet namespace: {} |", percentiles(&mut times));
}

/// The lists of ConfigMaps in one namespace that the API server has answered.
fn lists(plane: &Plane) -> u64 {
    let ran = plane.admin.kubectl(&["get", "--raw", "/metrics"]);
    assert!(ran.ok(), "{ran}");
    let wanted = |line: &&str| {
        line.starts_with("apiserver_request_total{")
            && [r#"verb="LIST""#, r#"resource="configmaps""#, r#"scope="namespace""#]
                .iter()
                .all(|label| line.contains(label))
    };
    let counts = ran.stdout.lines().filter(wanted).filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
    counts.sum()
}

/// Documents of kind Pipelines that no posture names.
async fn large_documents(plane: &Plane) {
    let system: Api<ConfigMap> = Api::namespaced(plane.admin.client().await, SYSTEM_NAMESPACE);
    let mut times = Vec::new();
    for number in 0..LARGE_DOCUMENTS {
        let mut text = "apiVersion: writgate.dev/v1\nkind: Pipelines\npipelines:\n  orders:\n".to_owned();
        for version in 0.. {
            if text.len() > 1_000_000 {
                break;
            }
            writeln!(text, "    v{version}: {{images: [\"a/b@sha256:{version:064x}\"]}}").expect("memory");
        }
        let object = json!({"metadata": {"name": format!("large-{number}"), "labels": {"writgate.dev/kind": "pipelines"}},
            "data": {"pipelines.yaml": text}});
        let (object, begun) = (read(object), Instant::now());
        while let Err(error) = system.create(&PostParams::default(), &object).await {
            assert!(begun.elapsed() < Duration::from_mins(1), "the guard does not admit a document: {error}");
        }
        times.push(begun.elapsed());
    }
    println!("| write of a document of 1 MiB, with its guard: {} |", percentiles(&mut times));
}

/// Annotates six large documents seven times a second, until `stop`. Returns how often.
async fn touch(client: Client, stop: Arc<AtomicBool>) -> usize {
    let system: Api<ConfigMap> = Api::namespaced(client, SYSTEM_NAMESPACE);
    let mut writers = JoinSet::new();
    for number in 0..6 {
        let (system, stop) = (system.clone(), stop.clone());
        writers.spawn(async move {
            let mut written = 0;
            while !stop.load(Ordering::Relaxed) {
                let patch = json!({"metadata": {"annotations": {"touched": written.to_string()}}});
                let name = format!("large-{number}");
                if system.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await.is_ok() {
                    written += 1;
                }
                tokio::time::sleep(Duration::from_millis(143)).await;
            }
            written
        });
    }
    let mut written = 0;
    while let Some(by_one) = writers.join_next().await {
        written += by_one.expect("no panic");
    }
    written
}

/// Namespaces with as many labels as the API server accepts.
async fn large_namespaces(plane: &Plane) {
    let namespaces: Api<Namespace> = Api::all(plane.admin.client().await);
    let labels: BTreeMap<String, &str> = (0..LABELS).map(|number| (format!("l{number}"), "")).collect();
    for number in 0..LARGE_NAMESPACES {
        let object = json!({"metadata": {"name": format!("large-{number}"), "labels": labels}});
        namespaces.create(&PostParams::default(), &read(object)).await.expect("a namespace");
    }
}
