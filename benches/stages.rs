//! The cost of each stage of a decision on one thread, without a server. It shows which stage causes a high ratio.

mod rules;

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use anyhow::Context;
use jiff::Timestamp;
use uuid::Uuid;
use writgate::{metrics::Metrics, trail::chain::Sealer};
use writgate_cluster::key_file::PrivateKey;
use writgate_core::{
    approval::{Approval, Envelope, spec_hash},
    decide::{EmptyCluster, Facts, Governance, decide},
    kube::WorkloadKind,
    posture::{Document, PostureSet},
    record::{Chain, Decision, Outcome, UnplacedRecord},
    request::{ExemptControllers, Request},
};
use writgate_testing::figures::{Column, Figure, Row, Run, Table, Unit};

use crate::{
    approval::{Claims, key},
    floor, folder,
    plan::{USUAL_SPEC, approve, approve_for_floor, claims_for},
    review::Workload,
};

/// Prints the median of each stage, and its ratio to the floor's whole work.
pub(crate) fn print() -> anyhow::Result<()> {
    let usual = Workload::with_spec_of(USUAL_SPEC)?;
    let spec = usual.spec()?;
    let bob = key(0).verifying_key();
    let for_floor = approve_for_floor(&usual)?.create();
    let whole = median(|| floor::answer(&bob, for_floor.as_bytes()));
    let mut run = Run::begin("one thread");
    let mut rows = Vec::new();
    let mut stage = |name: &str, cost: Duration| {
        println!("{name:<40} {:>8.2} µs  {:>5.2}", cost.as_secs_f64() * 1e6, cost.div_duration_f64(whole));
        let figures = [cost.as_secs_f64() * 1e6, cost.div_duration_f64(whole)];
        rows.push(Row::new(name.trim_start(), figures.map(|figure| Figure::of([figure])).into()));
    };
    stage("the floor's whole work", whole);
    stage("  its spec hash", median(|| floor::spec_hash(spec)));

    let approved = approve(&usual)?;
    let create = approved.create();
    let request = Request::parse(create.as_bytes())?;
    let envelope = request.object.as_ref().and_then(|object| object.metadata.annotations.get("writgate.dev/approval"));
    let envelope = envelope.context("an approval is attached")?;
    let payload = Envelope::parse(envelope).map_err(anyhow::Error::msg)?.payload().to_vec();
    stage("read the review", median(|| Request::parse(create.as_bytes())));
    stage("spec hash", median(|| spec_hash(WorkloadKind::Deployment, spec)));
    stage("read the envelope", median(|| Envelope::parse(envelope)));
    stage("read the statement", median(|| Approval::parse(&payload)));

    let postures = postures("")?;
    let decided = |body: &str, outcome| decided(body, &postures, outcome);
    stage("CREATE, approved: read and decide", decided(&create, Outcome::Admitted)?);
    let record = decision(&create, &postures).record;
    stage("its record as a line", median(|| UnplacedRecord::of(&record)));
    let (mut chain, line) = (Chain::new(Uuid::now_v7()), UnplacedRecord::of(&record));
    stage("its place in the chain, under the lock", median(|| chain.place(&line, &mut Vec::with_capacity(2048))));
    let sealer = Sealer::new(PrivateKey::generate()?, Vec::new(), Metrics::default());
    stage("a signature of its own, for an Event", median(|| sealer.sign(&mut record.clone())));

    let relabelled = approved.with_label("acme.example/synced", "true")?;
    let unchanged = relabelled.update_from(&approved);
    stage("UPDATE, unchanged: read and decide", decided(&unchanged, Outcome::NotAnAction)?);
    let scaled = approved.replaced(r#""replicas":1"#, r#""replicas":3"#)?.update_from(&approved);
    stage("UPDATE, scaled: read and decide", decided(&scaled, Outcome::NotAnAction)?);
    let before = approve(&usual.with_image("ghcr.io/acme/orders:1.4.1")?)?;
    let update = approved.update_from(&before);
    stage("UPDATE, changed: read and decide", decided(&update, Outcome::Admitted)?);
    stage("CREATE, no approval: read and decide", decided(&usual.create(), Outcome::Denied)?);
    let staging = Claims { environment: "staging", ..claims_for(&usual)? }.signed_by(&key(0))?;
    let elsewhere = usual.with_approval(&staging)?.create();
    stage("CREATE, another environment: read and decide", decided(&elsewhere, Outcome::Denied)?);
    let columns = vec![Column::new("µs", Unit::Us), Column::new("of the floor's whole work", Unit::Ratio)];
    run.tables.push(Table { id: "stages".to_owned(), of: "stage".to_owned(), columns, rows });
    run.tables.push(rules::measure([("CREATE, approved", &create), ("UPDATE, changed", &update)])?);
    println!("\n{}", run.tables[1]);
    Ok(run.write("stages")?)
}

/// The smallest folder, with these capability rules in its posture.
fn postures(rules: &str) -> anyhow::Result<PostureSet> {
    let documents = folder::files(folder::Size::SMALLEST)?.into_iter().map(|(source, mut text)| {
        if source == "postures.yaml" {
            text.push_str(rules);
        }
        Document { source, name: None, text }
    });
    let postures = PostureSet::assemble(documents.collect());
    anyhow::ensure!(postures.problems().is_empty(), "{:?}", postures.problems());
    Ok(postures)
}

/// Reads and decides a review.
fn decision(body: &str, postures: &PostureSet) -> Decision {
    let request = Request::parse(body.as_bytes()).expect("the API server's own review");
    let governance = Governance::Governed {
        environment: "production",
        project: Some("payments"),
        posture: postures.environment("production"),
    };
    let exempt = ExemptControllers::default();
    let facts = Facts { decision_id: Uuid::now_v7(), exempt: &exempt, clock_leeway: jiff::SignedDuration::ZERO };
    let now = Timestamp::now();
    decide(&request, &governance, &facts, now, &mut EmptyCluster { now })
}

/// Asserts the outcome, and measures the cost.
fn decided(body: &str, postures: &PostureSet, outcome: Outcome) -> anyhow::Result<Duration> {
    check(body, postures, outcome)?;
    Ok(median(|| decision(body, postures)))
}

fn check(body: &str, postures: &PostureSet, outcome: Outcome) -> anyhow::Result<()> {
    let decision = decision(body, postures);
    anyhow::ensure!(decision.record.decision == outcome, "{}", decision.message());
    Ok(())
}

/// The median of 25 batches of about four milliseconds.
fn median<T>(mut work: impl FnMut() -> T) -> Duration {
    let once = batch(50, &mut work);
    let count = u32::try_from(4_000_000 / once.as_nanos().max(1)).unwrap_or(u32::MAX).max(1);
    let mut batches: Vec<Duration> = (0..25).map(|_| batch(count, &mut work)).collect();
    batches.sort_unstable();
    batches[batches.len() / 2]
}

/// The mean cost of `work` over `times` runs.
fn batch<T>(count: u32, mut work: impl FnMut() -> T) -> Duration {
    let start = Instant::now();
    for _ in 0..count {
        black_box(work());
    }
    start.elapsed() / count
}
