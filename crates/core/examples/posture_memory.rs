//! How much time and memory documents take: `cargo run -p writgate-core --example posture_memory CASE`.
//!
//! CASE is `unreferenced` (14 documents of kind Pipelines, 1 MiB each, that no posture names), `referenced` (the same, and
//! a posture that names one of them) or `one-file` (1,000 postures, each with reviewers of its own, in one file). Linux only: it reads `/proc`.

#![expect(clippy::disallowed_methods, reason = "the ban is for the library: this program measures time and memory")]

use std::{fmt::Write as _, fs, time::Instant};

use serde_json::json;
use writgate_core::posture::{Document, PostureSet};

fn main() {
    let case = std::env::args().nth(1).unwrap_or_default();
    let documents = match &*case {
        "unreferenced" => pipelines().collect(),
        "referenced" => pipelines().chain([posture_of_a_config_map()]).collect(),
        "one-file" => vec![one_file()],
        _ => panic!("expected unreferenced, referenced or one-file; found {case:?}"),
    };
    let before = kib("VmRSS:");
    let begun = Instant::now();
    let set = PostureSet::assemble(documents);
    let took = begun.elapsed();
    let (after, peak) = (kib("VmRSS:"), kib("VmHWM:"));
    println!(
        "{case}: {took:?}, {} MiB more than the texts, peak {} MiB, {} environments, {} problems",
        after.saturating_sub(before) >> 10,
        peak >> 10,
        set.environments().count(),
        set.problems().len()
    );
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
