//! How much time and memory documents take: `cargo run -p writgate-core --example posture_memory CASE`.
//!
//! CASE is `unreferenced` (14 documents of kind Pipelines, 1 MiB each, that no posture names), `referenced` (the same, and
//! a posture that names one of them), `one-file` (1,000 postures, each with reviewers of its own, in one file), `cluster` (the
//! same in a ConfigMap for each document) or `one-list` (1,000 postures in ConfigMaps that all name the same reviewers,
//! pipelines and revocations). Linux only: it reads `/proc`.

#![expect(clippy::disallowed_methods, reason = "the ban is for the library: this program measures time and memory")]

use std::{collections::BTreeMap, fmt::Write as _, fs, sync::Arc, time::Instant};

use ed25519_dalek::pkcs8::EncodePublicKey as _;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use serde_json::json;
use writgate_core::posture::{Document, PostureSet};

fn main() {
    let case = std::env::args().nth(1).unwrap_or_default();
    let documents = match &*case {
        "unreferenced" => pipelines().collect(),
        "referenced" => pipelines().chain([posture_of_a_config_map()]).collect(),
        "one-file" => vec![one_file()],
        "cluster" => (0..1000).flat_map(|number| [posture(number, ""), reviewers(number, 2)]).collect(),
        "one-list" => one_list().collect(),
        _ => panic!("expected unreferenced, referenced, one-file, cluster or one-list; found {case:?}"),
    };
    let before = kib("VmRSS:");
    let begun = Instant::now();
    let set = PostureSet::assemble(documents);
    let took = begun.elapsed();
    let (after, peak) = (kib("VmRSS:"), kib("VmHWM:"));
    change_one(&set);
    println!(
        "{case}: {took:?}, {} MiB more than the texts, peak {} MiB, {} environments, {} problems",
        after.saturating_sub(before) >> 10,
        peak >> 10,
        set.environments().count(),
        set.problems().len()
    );
}

/// Prints how long it takes to put the change of one document in force, as the webhook does.
fn change_one(set: &PostureSet) {
    let wanted = |document: &&Arc<Document>| document.name.as_deref() == Some("posture-7");
    let Some(old) = set.documents().find(wanted) else { return };
    let text = old.text.replace("env-7", "env-7\\ncluster: other");
    let new = Arc::new(Document { text, ..(**old).clone() });
    let begun = Instant::now();
    let documents = set.documents().filter(|document| !Arc::ptr_eq(document, old)).cloned().chain([new]);
    let changed = set.reassemble(documents);
    let reassembled = begun.elapsed();
    let changed = changed.remembering(set, &BTreeMap::new());
    let dropped = Instant::now();
    let took = begun.elapsed();
    assert_eq!(changed.environment("env-7").expect("valid").cluster.as_deref(), Some("other"));
    drop(changed);
    println!("a change: assembled in {reassembled:?}, in force in {took:?}, dropped in {:?}", dropped.elapsed());
}

fn posture(number: usize, more: &str) -> Document {
    let sets = if more.is_empty() { format!("reviewerSets: [reviewers-{number}]\n") } else { more.to_owned() };
    let text = format!("apiVersion: writgate.dev/v1\nkind: Posture\nenvironment: env-{number}\n{sets}");
    config_map("posture", &format!("posture-{number}"), &text)
}

/// Reviewers with this number of keys each.
fn reviewers(number: usize, people: usize) -> Document {
    let mut text = "apiVersion: writgate.dev/v1\nkind: Reviewers\nreviewers:\n".to_owned();
    for person in 0..people {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&(number as u64).to_le_bytes());
        bytes[8..16].copy_from_slice(&(person as u64).to_le_bytes());
        let key = ed25519_dalek::SigningKey::from_bytes(&bytes).verifying_key().to_public_key_pem(LineEnding::LF);
        let pem = key.expect("a key").trim_end().replace('\n', "\n          ");
        write!(
            text,
            "  - name: bob-{number}-{person}@acme.example\n    identities: [bob-{number}-{person}]\n    groups: [sre]\n    capabilities: [deploy]\n    \
             keys:\n      - publicKey: |\n          {pem}\n"
        )
        .expect("memory");
    }
    config_map("reviewers", &format!("reviewers-{number}"), &text)
}

fn one_list() -> impl Iterator<Item = Document> {
    let names = "reviewerSets: [reviewers-0]\npipelineSets: [pipelines-0]\nrevocationLists: [all]\n";
    let mut text = "apiVersion: writgate.dev/v1\nkind: Revocations\nspecs:\n".to_owned();
    for number in 0..5000 {
        writeln!(text, "  - {{hash: \"sha256:{number:064x}\", why: CVE-2026-{number}}}").expect("memory");
    }
    let shared = [reviewers(0, 200), pipelines().next().expect("a document"), config_map("revocations", "all", &text)];
    (0..1000).map(move |number| posture(number, names)).chain(shared)
}

fn config_map(kind: &str, name: &str, text: &str) -> Document {
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"namespace": "writgate-system", "name": name, "labels": {"writgate.dev/kind": kind}},
        "data": {format!("{kind}.yaml"): text}});
    let source = format!("configmap writgate-system/{name}");
    Document { source, name: Some(name.to_owned()), text: object.to_string() }
}

fn pipelines() -> impl Iterator<Item = Document> {
    (0..14).map(|number| {
        let mut text = "apiVersion: writgate.dev/v1\nkind: Pipelines\npipelines:\n  orders:\n".to_owned();
        for version in 0.. {
            if text.len() > 1_040_000 {
                break;
            }
            let digest = format!("{version:064x}");
            writeln!(text, "    v{version}: {{images: [\"a/b@sha256:{digest}\"]}}").expect("memory");
        }
        config_map("pipelines", &format!("pipelines-{number}"), &text)
    })
}

fn posture_of_a_config_map() -> Document {
    let text = "apiVersion: writgate.dev/v1\nkind: Posture\nenvironment: production\npipelineSets: [pipelines-3]\n";
    config_map("posture", "posture-production", text)
}

fn one_file() -> Document {
    let mut text = String::new();
    for number in 0..1000 {
        write!(
            text,
            "---\napiVersion: writgate.dev/v1\nkind: Posture\nenvironment: env-{number}\nreviewerSets: [reviewers-{number}]\n\
             capabilityRules:\n  - {{name: privileged, when: 'containers.exists(c, has(c.securityContext))', require: [deploy.p]}}\n\
             ---\napiVersion: writgate.dev/v1\nkind: Reviewers\nname: reviewers-{number}\nreviewers:\n\
             \x20 - {{name: bob, groups: [sre], capabilities: [deploy], keys: []}}\n"
        )
        .expect("memory");
    }
    Document { source: "all.yaml".to_owned(), name: None, text }
}

fn kib(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or_default()
}
