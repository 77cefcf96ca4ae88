//! One case without a server and without TLS, for `valgrind --tool=callgrind`: instruction counts do not depend on the load
//! of the machine.
//!
//! The difference between two numbers of times leaves out what the start costs.

use std::{io, sync::Arc};

use anyhow::Context;
use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, header::CONTENT_TYPE},
};
use tower::ServiceExt as _;
use writgate::{
    http::{admin::Status, router},
    metrics::Metrics,
    review::{admission::Admission, lookups::Lookups},
    state::{folder, store::Store},
    trail::{
        chain::Sealer,
        output::{Output, Stream},
    },
};
use writgate_cluster::key_file::PrivateKey;

use crate::{
    approval::key,
    floor,
    folder::{self as folders, Size},
    load::Verdict,
    plan::{Plan, Server},
};

/// Standard output that nobody reads.
struct Nowhere;

impl Stream for Nowhere {
    fn is_ready(&self, _: bool) -> bool {
        true
    }

    fn write_all(&self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }
}

/// Sends the review of the case `name` to a router `times` times. Without such a case, lists the cases.
pub(crate) fn run(name: &str, times: usize) -> anyhow::Result<()> {
    let plan = Plan::new()?;
    let floor = ("the floor", plan.floor_create);
    let cases = plan.cases.iter().map(|case| (&*case.name, case.webhook));
    let sizes = plan.sizes.iter().flat_map(|size| [("size", size.webhook), ("size, the floor", size.floor)]);
    let mut cases = std::iter::once(floor).chain(cases).chain(sizes);
    let Some((_, row)) = cases.by_ref().find(|(case, _)| *case == name) else {
        let names = plan.cases.iter().map(|case| &*case.name).collect::<Vec<_>>().join("\n");
        anyhow::bail!("no such case; the cases are:\nthe floor\n{names}");
    };
    let row = &plan.rows[row];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let router = if row.server == Server::Floor {
            floor::router(floor::Behaviour::Floor(key(0).verifying_key()))
        } else {
            webhook()?
        };
        let mut answer = Vec::new();
        for _ in 0..times {
            answer = send(&router, &row.review).await?;
        }
        check(&answer, row.verdict)?;
        println!("{} bytes of review, {} bytes of response", row.review.len(), answer.len());
        Ok(())
    })
}

fn webhook() -> anyhow::Result<Router> {
    let scratch = tempfile::tempdir()?;
    folders::write(scratch.path(), Size::SMALLEST)?;
    let (store, metrics) = (Arc::new(Store::default()), Metrics::default());
    folder::load(scratch.path(), &store).context("the folder")?;
    let output = Output::start(Nowhere, metrics.clone())?;
    let sealer = Sealer::new(PrivateKey::generate()?, Vec::new(), metrics.clone());
    let status = Arc::new(Status::new(store.clone(), metrics.clone()));
    Ok(router::router(Admission::new(store, Lookups::new(None), sealer, output, None, metrics), status))
}

async fn send(router: &Router, review: &str) -> anyhow::Result<Vec<u8>> {
    let request = Request::post("/validate?timeout=10s").header(CONTENT_TYPE, "application/json");
    let request = request.body(Body::from(review.to_owned()))?;
    let response = router.clone().oneshot(request).await?;
    Ok(to_bytes(response.into_body(), usize::MAX).await?.to_vec())
}

fn check(answer: &[u8], verdict: Verdict) -> anyhow::Result<()> {
    let answer = std::str::from_utf8(answer)?;
    let expected = match verdict {
        Verdict::Admitted | Verdict::NotAnAction => r#""allowed":true"#.to_owned(),
        Verdict::Denied(reason) => format!(r#""reasons":"{reason}""#),
    };
    anyhow::ensure!(answer.contains(&expected), "expected {expected}: {answer}");
    Ok(())
}
