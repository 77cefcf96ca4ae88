//! `make bench-e2e`: what a webhook adds to a write through a real API server.
//!
//! Each governor has a namespace of its own: no webhook, a hop that allows every review, the same hop with the match
//! conditions of the installed webhook, the floor, and the installed webhook. Each round sends every write to each of them. All writes are server-side dry runs, so neither etcd nor the
//! controllers act on them, and each can be repeated.

use std::{fs, net::SocketAddr, path::Path, process::Command, time::Duration};

use anyhow::Context;
use base64::{Engine, engine::general_purpose::STANDARD};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde_json::{Value, json};
use writgate_testing::{
    Governed, Installation, Plane, Process,
    figures::{Column, Figure, Row, Run, Table, Unit},
    free_port, wait_until,
};

use crate::{
    floor,
    load::{Bounds, Generator, Outcome, Request, Target},
    plan::USUAL_SPEC,
    process::cpu_time,
    review::Workload,
    servers::Certificate,
};

/// The goal for the p50 of the webhook above that of the hop, in microseconds.
const GOAL: f64 = 80.0;
const CONNECTIONS: [usize; 2] = [1, 64];

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Rounds in which each write is measured
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Duration of each measurement
    #[arg(long, default_value_t = 500)]
    milliseconds: u64,
    /// Compare hops with responses of different lengths, to see what a response costs in the API server
    #[arg(long)]
    responses: bool,
}

/// What decides the writes in a namespace.
struct Governor {
    name: &'static str,
    /// The process that the API server calls; none if it calls no webhook.
    process: Option<u32>,
    /// The writes in the order of [`WRITES`].
    writes: Vec<Request>,
}

const WRITES: [&str; 4] = ["CREATE, approved", "UPDATE, spec changed", "UPDATE, spec unchanged", "CREATE, denied"];

/// One governor in one round.
struct Measurement {
    p50: Duration,
    p99: Duration,
    /// Processor time per write.
    api_server: Duration,
    webhook: Duration,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let installation = Installation::start();
    let plane = &installation.plane;
    let governed = installation.governed("webhook");
    let workload = manifest()?;

    let mut processes = Vec::new();
    let mut governors = vec![governor("no webhook", &plane.namespace("none"), None, &governed, &workload)?];
    let mut start = |name: &'static str, flags: &[String], conditions: &Value| -> anyhow::Result<()> {
        let namespace = plane.namespace(&name.replace([' ', ','], "-"));
        let process = install(plane, &namespace, flags, conditions)?;
        governors.push(governor(name, &namespace, Some(process.id()), &governed, &workload)?);
        processes.push(process);
        Ok(())
    };
    let always = |response: &str| -> anyhow::Result<[String; 2]> {
        let file = plane.folder.join("response.json");
        fs::write(&file, response)?;
        Ok(["--always".to_owned(), file.display().to_string()])
    };
    for (name, response) in if arguments.responses { &RESPONSES[..] } else { &RESPONSES[..1] } {
        start(name, &always(response)?, &json!([]))?;
    }
    start("conditional hop", &always(RESPONSES[0].1)?, &match_conditions(plane)?)?;
    start("floor", &["--public-key".to_owned(), raw_key(&governed.bob.public_pem())?], &json!([]))?;
    let webhook = Some(installation.webhook.process_id());
    governors.push(governor("webhook", &governed.namespace, webhook, &governed, &workload)?);

    let client = plane.authority.client("bench", &["system:masters"]);
    let identity = (
        CertificateDer::from_pem_slice(client.certificate.as_bytes())?,
        PrivateKeyDer::from_pem_slice(client.key.as_bytes())?,
    );
    let authority = CertificateDer::from_pem_slice(plane.authority.certificate.as_bytes())?;
    let bench = Bench {
        generator: Generator::new(authority, Some(identity))?,
        address: plane.server().trim_start_matches("https://").parse()?,
        api_server: plane.process_id("kube-apiserver"),
        time: Duration::from_millis(arguments.milliseconds),
    };
    let mut run = Run::begin(&format!("{} rounds of {} ms", arguments.rounds, arguments.milliseconds));
    let compared = if arguments.responses { &WRITES[..1] } else { &WRITES[..] };
    let (mut p50, mut p99, mut costs) = (Vec::new(), Vec::new(), Vec::new());
    for (write, name) in compared.iter().enumerate() {
        for connections in CONNECTIONS {
            let plural = if connections == 1 { "" } else { "s" };
            let name = format!("{name}, {connections} connection{plural}");
            eprintln!("{name}");
            let rounds = bench.rounds(&governors, write, connections, arguments.rounds)?;
            p50.push(p50_row(&name, &governors, &rounds));
            p99.push(Row::new(&name, added(&rounds, governors.len(), |measured| measured.p99)));
            costs.push(cost_row(&name, &governors, &rounds));
        }
    }
    let columns = columns(&governors);
    let p99 = Table { id: "p99".to_owned(), of: "p99, µs".to_owned(), columns, rows: p99 };
    run.tables = vec![p50_table(&governors, p50), p99, cost_table(&governors, costs)];
    println!("{}, {}", run.conditions(), run.options);
    for table in &run.tables {
        println!("\n{table}");
    }
    Ok(run.write(if arguments.responses { "responses" } else { "e2e" })?)
}

struct Bench {
    generator: Generator,
    address: SocketAddr,
    api_server: u32,
    time: Duration,
}

impl Bench {
    /// For each round, a measurement of each governor. Every second round runs backwards.
    fn rounds(
        &self,
        governors: &[Governor],
        write: usize,
        connections: usize,
        rounds: usize,
    ) -> anyhow::Result<Vec<Vec<Measurement>>> {
        (0..rounds)
            .map(|round| {
                let latencies = self.latencies(governors, write, connections)?;
                let cost = |governor: &Governor| self.cost(governor, write, connections);
                let mut costs = if round % 2 == 0 {
                    governors.iter().map(cost).collect::<anyhow::Result<Vec<_>>>()?
                } else {
                    governors.iter().rev().map(cost).collect::<anyhow::Result<Vec<_>>>()?
                };
                if round % 2 == 1 {
                    costs.reverse();
                }
                let measurement = |((p50, p99), (api_server, webhook))| Measurement { p50, p99, api_server, webhook };
                Ok(latencies.into_iter().zip(costs).map(measurement).collect())
            })
            .collect()
    }

    /// p50 and p99 of each governor. Each connection sends to the governors in turns, so that all of them have the same load.
    fn latencies(
        &self,
        governors: &[Governor],
        write: usize,
        connections: usize,
    ) -> anyhow::Result<Vec<(Duration, Duration)>> {
        let requests = governors.iter().map(|governor| governor.writes[write].clone());
        let target = Target { address: self.address, requests: requests.collect() };
        let outcome = self.burst(&target, connections, self.time * u32::try_from(governors.len())?)?;
        let percentile = |index, percent| outcome.percentile(index, percent).context("no answer in time");
        (0..governors.len()).map(|index| Ok((percentile(index, 50)?, percentile(index, 99)?))).collect()
    }

    /// Processor time of the API server and of the governor per write.
    fn cost(&self, governor: &Governor, write: usize, connections: usize) -> anyhow::Result<(Duration, Duration)> {
        let target = Target { address: self.address, requests: vec![governor.writes[write].clone()] };
        self.burst(&target, connections, self.time / 5)?;
        let used = || -> anyhow::Result<_> {
            Ok((cpu_time(self.api_server)?, governor.process.map_or(Ok(Duration::ZERO), cpu_time)?))
        };
        let before = used()?;
        let outcome = self.burst(&target, connections, self.time)?;
        let after = used()?;
        let writes = f64::from(u32::try_from(outcome.answers())?);
        Ok((after.0.saturating_sub(before.0).div_f64(writes), after.1.saturating_sub(before.1).div_f64(writes)))
    }

    fn burst(&self, target: &Target, connections: usize, time: Duration) -> anyhow::Result<Outcome> {
        let outcome = self.generator.burst(target, connections, Bounds { time, requests: usize::MAX });
        match &outcome.first_failure {
            None => Ok(outcome),
            Some(failure) => anyhow::bail!("{failure}"),
        }
    }
}

/// Figures of each governor: the first is absolute, and the others are differences from it in the same round.
fn added(rounds: &[Vec<Measurement>], governors: usize, quantity: fn(&Measurement) -> Duration) -> Vec<Option<Figure>> {
    let us = |measured: &Measurement| quantity(measured).as_secs_f64() * 1e6;
    (0..governors)
        .map(|index| {
            Figure::of(
                rounds.iter().map(|round| if index == 0 { us(&round[0]) } else { us(&round[index]) - us(&round[0]) }),
            )
        })
        .collect()
}

fn p50_row(name: &str, governors: &[Governor], rounds: &[Vec<Measurement>]) -> Row {
    let mut figures = added(rounds, governors.len(), |measured| measured.p50);
    let (hop, webhook) = (1, governors.len() - 1);
    let p50 = |measured: &Measurement| measured.p50.as_secs_f64() * 1e6;
    figures.push(Figure::of(rounds.iter().map(|round| p50(&round[webhook]) - p50(&round[hop]))));
    figures.push(Figure::of(rounds.iter().map(|round| p50(&round[webhook]) / p50(&round[hop]))));
    // With 64 connections, the time is mostly that of waiting for the API server.
    let goal = name.ends_with("1 connection").then_some(GOAL);
    Row::new(name, figures).goal(governors.len(), goal)
}

fn p50_table(governors: &[Governor], rows: Vec<Row>) -> Table {
    let mut columns = columns(governors);
    columns.push(Column::new("webhook above hop", Unit::Us));
    columns.push(Column::new("webhook / hop", Unit::Ratio));
    Table { id: "p50".to_owned(), of: "p50, µs".to_owned(), columns, rows }
}

fn cost_row(name: &str, governors: &[Governor], rounds: &[Vec<Measurement>]) -> Row {
    let mut figures = added(rounds, governors.len(), |measured| measured.api_server);
    let us = |duration: Duration| duration.as_secs_f64() * 1e6;
    figures.extend((1..governors.len()).map(|index| Figure::of(rounds.iter().map(|round| us(round[index].webhook)))));
    Row::new(name, figures)
}

fn cost_table(governors: &[Governor], rows: Vec<Row>) -> Table {
    let mut columns = columns(governors);
    columns
        .extend(governors[1..].iter().map(|governor| Column::new(&format!("the {} itself", governor.name), Unit::Us)));
    Table { id: "cpu".to_owned(), of: "CPU of the API server per write, µs".to_owned(), columns, rows }
}

fn columns(governors: &[Governor]) -> Vec<Column> {
    let column = |(index, governor): (usize, &Governor)| {
        let plus = if index == 0 { "" } else { "+ " };
        Column::new(&format!("{plus}{}", governor.name), Unit::Us)
    };
    governors.iter().enumerate().map(column).collect()
}

/// The Deployment of the other benchmarks, as a client sends it.
fn manifest() -> anyhow::Result<Value> {
    let workload = Workload::with_spec_of(USUAL_SPEC)?;
    let spec: Value = serde_json::from_str(workload.spec()?)?;
    Ok(json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "orders", "labels": {"app": "orders"},
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": spec.to_string()}},
        "spec": spec,
    }))
}

/// The writes in `namespace`, which has a Deployment for the updates.
fn governor(
    name: &'static str,
    namespace: &str,
    process: Option<u32>,
    governed: &Governed<'_>,
    workload: &Value,
) -> anyhow::Result<Governor> {
    let plane = &governed.installation.plane;
    let is_floor = name == "floor";
    let approve = |workload: &Value| {
        let hash = floor::spec_hash(&governed.installation.defaulted(workload)["spec"].to_string());
        let mut approved = governed.approved_but(workload, |statement| {
            if is_floor {
                statement["subject"][0]["digest"]["sha256"] = json!(hash);
            }
        });
        approved["metadata"]["namespace"] = json!(namespace);
        approved
    };
    let mut other = workload.clone();
    other["spec"]["template"]["spec"]["containers"][0]["image"] = json!("ghcr.io/acme/orders:1.4.1");
    let (approved, changed) = (approve(workload), approve(&other));
    let mut relabelled = approved.clone();
    relabelled["metadata"]["labels"]["acme.example/synced"] = json!("true");
    let mut fresh = workload.clone();
    fresh["metadata"]["name"] = json!("fresh");
    let mut denied = fresh.clone();
    denied["metadata"]["namespace"] = json!(namespace);
    let fresh = approve(&fresh);

    let ran = plane.admin.create(&approved);
    anyhow::ensure!(ran.ok(), "{name}: {ran}");
    let collection = format!("/apis/apps/v1/namespaces/{namespace}/deployments");
    let create = format!("{collection}?dryRun=All");
    let update = format!("{collection}/orders?dryRun=All");
    let (code, text) = match name {
        "webhook" => (403, "ApprovalRequired"),
        "floor" => (400, "no approval"),
        _ => (201, "orders"),
    };
    let writes = vec![
        Request::api("POST", &create, &fresh.to_string(), 201, "orders"),
        Request::api("PUT", &update, &changed.to_string(), 200, "orders"),
        Request::api("PUT", &update, &relabelled.to_string(), 200, "orders"),
        Request::api("POST", &create, &denied.to_string(), code, text),
    ];
    Ok(Governor { name, process, writes })
}

/// The conditions under which the API server calls the installed webhook for a workload.
fn match_conditions(plane: &Plane) -> anyhow::Result<Value> {
    let configuration = plane.admin.get(&["validatingwebhookconfiguration", "writgate"]).context("it is installed")?;
    let mut entries = configuration["webhooks"].as_array().into_iter().flatten();
    let entry = entries.find(|entry| entry["name"] == "workloads.writgate.dev").context("no entry for workloads")?;
    Ok(entry["matchConditions"].clone())
}

/// Starts a server of `floor.rs`, has the API server call it for Deployments in `namespace`, and waits until it does.
fn install(plane: &Plane, namespace: &str, flags: &[String], conditions: &Value) -> anyhow::Result<Process> {
    let folder = plane.folder.join(namespace);
    fs::create_dir(&folder)?;
    let pair = plane.authority.server(&["127.0.0.1"]);
    let certificate = Certificate::store(&folder, &pair.certificate, &pair.key)?;
    let port = free_port();
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("floor").args(flags).args(certificate.flags(SocketAddr::from(([127, 0, 0, 1], port))));
    let process = Process::start(namespace, command, &folder, None);
    let configuration = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": namespace},
        "webhooks": [{
            "name": format!("{namespace}.example.com"), "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "timeoutSeconds": 5,
            "clientConfig": {"url": format!("https://127.0.0.1:{port}/validate"),
                "caBundle": STANDARD.encode(&plane.authority.certificate)},
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "rules": [{"apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"],
                "operations": ["CREATE", "UPDATE"]}],
            "matchConditions": conditions
        }]
    });
    plane.install(&[configuration]);
    let mut probe = manifest()?;
    probe["metadata"]["namespace"] = json!(namespace);
    wait_until("the API server calls the server", Duration::from_secs(30), || {
        plane.admin.kubectl_in(&["create", "--dry-run=server", "-f", "-"], &probe.to_string());
        is_called(&folder.join(format!("{namespace}.out"))).then_some(())
    });
    Ok(process)
}

/// The servers of `floor.rs` print a line at their first review.
fn is_called(output: &Path) -> bool {
    fs::read(output).is_ok_and(|text| !text.is_empty())
}

/// The 32 bytes of a public key in PEM, in base64.
fn raw_key(pem: &str) -> anyhow::Result<String> {
    let body: String = pem.lines().filter(|line| !line.starts_with("---")).collect();
    let der = STANDARD.decode(body)?;
    Ok(STANDARD.encode(der.last_chunk::<32>().context("a key has 32 bytes")?))
}

/// Responses of a hop by name. `UID` is the review's uid.
const RESPONSES: [(&str, &str); 5] = [
    ("hop", r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":"UID","allowed":true}}"#),
    (
        "hop, 1 annotation",
        r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":"UID","allowed":true,"auditAnnotations":{"decision-id":"019ac0de-7f3a-7c11-8a52-0c4b8f6d1e77"}}}"#,
    ),
    (
        "hop, 13 annotations in 1",
        r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":"UID","allowed":true,"auditAnnotations":{"decision":"decision=admitted decision-id=019ac0de-7f3a-7c11-8a52-0c4b8f6d1e77 dry-run=true action=deploy environment=webhook-1-env project=payments approvals=019ac0de-7f3a-7c11-8a52-0c4b8f6d1e78 reviewers=bob@acme.example required-capabilities=deploy approval-required=true requested-by=alice@acme.example basis=approval spec-hash=sha256:4f0c1a3e9d8b7a6c5e4d3c2b1a0f9e8d7c6b5a4f3e2d1c0b9a8f7e6d5c4b3a2f posture-version=sha256:4f0c1a3e9d8b7a6c5e4d3c2b1a0f9e8d7c6b5a4f3e2d1c0b9a8f7e6d5c4b3a2f"}}}"#,
    ),
    (
        "hop, 14 annotations",
        r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":"UID","allowed":true,"auditAnnotations":{"decision":"admitted","decision-id":"019ac0de-7f3a-7c11-8a52-0c4b8f6d1e77","dry-run":"true","action":"deploy","environment":"webhook-1-env","project":"payments","approvals":"019ac0de-7f3a-7c11-8a52-0c4b8f6d1e78","reviewers":"bob@acme.example","required-capabilities":"deploy","approval-required":"true","requested-by":"alice@acme.example","basis":"approval","spec-hash":"sha256:4f0c1a3e9d8b7a6c5e4d3c2b1a0f9e8d7c6b5a4f3e2d1c0b9a8f7e6d5c4b3a2f","posture-version":"sha256:4f0c1a3e9d8b7a6c5e4d3c2b1a0f9e8d7c6b5a4f3e2d1c0b9a8f7e6d5c4b3a2f"}}}"#,
    ),
    (
        "hop, a warning",
        r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":"UID","allowed":true,"warnings":["Deployment payments/orders would be denied: ApprovalRequired: no approval is attached to it or in its namespace"]}}"#,
    ),
];
