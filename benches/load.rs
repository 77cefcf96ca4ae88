//! The load generator: bounded bursts of reviews over persistent HTTP/1.1 connections with TLS, as from the API server.
//!
//! Every request has a new uid, and every answer is read completely and checked. It connects only to loopback.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use memchr::memmem;
use rustls::pki_types::{CertificateDer, ServerName};
use serde::Deserialize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::Runtime,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// The expected answer to every request of a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Allowed.
    Admitted,
    /// Allowed as not an action, without a decision record.
    NotAnAction,
    /// Denied with exactly this reason.
    Denied(&'static str),
}

/// An AdmissionReview that is sent repeatedly, and its path.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) review: Arc<str>,
    pub(crate) verdict: Verdict,
}

/// The limits of a burst. It ends at the first.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) time: Duration,
    pub(crate) requests: usize,
}

/// The result of a burst.
#[derive(Default)]
pub(crate) struct Outcome {
    /// From the first byte written to the last byte read, sorted.
    latencies: Vec<Duration>,
    /// Requests that failed or had an unexpected answer.
    pub(crate) failures: usize,
    pub(crate) first_failure: Option<String>,
}

impl Outcome {
    /// The number of expected answers.
    pub(crate) fn answers(&self) -> usize {
        self.latencies.len()
    }

    pub(crate) fn percentile(&self, percent: usize) -> Option<Duration> {
        let last = self.latencies.len().checked_sub(1)?;
        self.latencies.get(last * percent / 100).copied()
    }

    fn add(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        self.failures += other.failures;
        self.first_failure = self.first_failure.take().or(other.first_failure);
    }

    fn failed(error: &anyhow::Error) -> Self {
        Self { failures: 1, first_failure: Some(format!("{error:#}")), ..Self::default() }
    }
}

/// The client. It has two threads, so that the client and the server have a core for each thread on four cores.
pub(crate) struct Generator {
    runtime: Runtime,
    tls: TlsConnector,
}

impl Generator {
    /// Trusts `certificate` alone, for `localhost`.
    pub(crate) fn new(certificate: CertificateDer<'static>) -> anyhow::Result<Self> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate)?;
        let mut tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        Ok(Self { runtime, tls: TlsConnector::from(Arc::new(tls)) })
    }

    /// Sends `target`'s review over `connections` connections, which are opened before the measurement starts.
    pub(crate) fn burst(&self, target: &Target, connections: usize, bounds: Bounds) -> Outcome {
        self.runtime.block_on(async {
            let mut opened = Vec::with_capacity(connections);
            for _ in 0..connections {
                match Connection::open(&self.tls, target).await {
                    Ok(connection) => opened.push(connection),
                    Err(error) => return Outcome::failed(&error),
                }
            }
            let until = Instant::now() + bounds.time;
            let share = bounds.requests.div_ceil(connections);
            let running: Vec<_> =
                opened.into_iter().map(|connection| tokio::spawn(connection.run(until, share))).collect();
            let mut outcome = Outcome::default();
            for connection in running {
                outcome.add(connection.await.unwrap_or_else(|panic| Outcome::failed(&panic.into())));
            }
            outcome.latencies.sort_unstable();
            outcome
        })
    }

    /// Sends one review over a new connection.
    pub(crate) fn once(&self, target: &Target) -> anyhow::Result<()> {
        self.runtime.block_on(async {
            let mut connection = Connection::open(&self.tls, target).await?;
            connection.exchange().await?;
            connection.check()
        })
    }
}

/// A connection, its request with the uid still to be written, and its last answer.
struct Connection {
    stream: TlsStream<TcpStream>,
    request: Vec<u8>,
    uid: std::ops::Range<usize>,
    verdict: Verdict,
    answer: Vec<u8>,
    body_at: usize,
}

impl Connection {
    async fn open(tls: &TlsConnector, target: &Target) -> anyhow::Result<Self> {
        ensure!(target.address.ip().is_loopback(), "{} is not a loopback address", target.address);
        let stream = TcpStream::connect(target.address).await.context("connect")?;
        stream.set_nodelay(true)?;
        let stream = tls.connect(ServerName::try_from("localhost")?, stream).await.context("TLS handshake")?;
        let mut request = format!(
            "POST /validate?timeout=10s HTTP/1.1\r\nHost: localhost:{}\r\nUser-Agent: kube-apiserver-admission\r\n\
             Content-Length: {}\r\nAccept: application/json, */*\r\nContent-Type: application/json\r\n\r\n",
            target.address.port(),
            target.review.len()
        )
        .into_bytes();
        request.extend_from_slice(target.review.as_bytes());
        let before = br#""request":{"uid":""#;
        let start = memmem::find(&request, before).context("the review has no uid where the API server writes it")?;
        let uid = start + before.len()..start + before.len() + uuid::fmt::Hyphenated::LENGTH;
        Ok(Self { stream, request, uid, verdict: target.verdict, answer: Vec::with_capacity(8 << 10), body_at: 0 })
    }

    async fn run(mut self, until: Instant, requests: usize) -> Outcome {
        let mut outcome = Outcome { latencies: Vec::with_capacity(requests.min(1 << 14)), ..Outcome::default() };
        while outcome.answers() < requests && outcome.failures < 10 {
            let start = Instant::now();
            if start >= until {
                break;
            }
            let exchanged = self.exchange().await;
            let latency = start.elapsed();
            let broken = exchanged.is_err();
            match exchanged.and_then(|()| self.check()) {
                Ok(()) => outcome.latencies.push(latency),
                Err(error) => outcome.add(Outcome::failed(&error)),
            }
            if broken {
                break;
            }
        }
        outcome
    }

    async fn exchange(&mut self) -> anyhow::Result<()> {
        static SENT: AtomicU64 = AtomicU64::new(1);
        // A UUID's last group, with the first four left as they were captured.
        let number = SENT.fetch_add(1, Ordering::Relaxed);
        let last_group = self.uid.end - 12..self.uid.end;
        self.request[last_group].copy_from_slice(format!("{number:012x}").as_bytes());
        self.stream.write_all(&self.request).await.context("write the request")?;
        self.stream.flush().await.context("write the request")?;
        self.read().await
    }

    /// Reads one response with a Content-Length, which is what both servers send.
    async fn read(&mut self) -> anyhow::Result<()> {
        self.answer.clear();
        let mut end = None;
        loop {
            if self.stream.read_buf(&mut self.answer).await.context("read the answer")? == 0 {
                bail!("the connection was closed within an answer");
            }
            if end.is_none()
                && let Some(blank) = memmem::find(&self.answer, b"\r\n\r\n")
            {
                let head = std::str::from_utf8(&self.answer[..blank])?;
                ensure!(head.starts_with("HTTP/1.1 200 "), "{head}");
                let length: usize = head
                    .lines()
                    .filter_map(|line| line.split_once(": "))
                    .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
                    .context("an answer without Content-Length")?
                    .1
                    .parse()?;
                self.body_at = blank + 4;
                end = Some(self.body_at + length);
            }
            if end.is_some_and(|end| self.answer.len() >= end) {
                return Ok(());
            }
        }
    }

    fn check(&self) -> anyhow::Result<()> {
        let body = &self.answer[self.body_at..];
        let AdmissionReview { response } =
            serde_json::from_slice(body).with_context(|| String::from_utf8_lossy(body).into_owned())?;
        let right = match self.verdict {
            Verdict::Admitted | Verdict::NotAnAction => response.allowed,
            Verdict::Denied(reason) => {
                !response.allowed
                    && response
                        .status
                        .and_then(|status| status.details)
                        .is_some_and(|details| matches!(&details.causes[..], [only] if only.reason == reason))
            }
        };
        ensure!(
            right && response.uid.as_bytes() == &self.request[self.uid.clone()],
            "expected {:?}, got {}",
            self.verdict,
            String::from_utf8_lossy(body)
        );
        Ok(())
    }
}

#[derive(Deserialize)]
struct AdmissionReview<'a> {
    #[serde(borrow)]
    response: Response<'a>,
}

#[derive(Deserialize)]
struct Response<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(borrow)]
    status: Option<Status<'a>>,
}

#[derive(Deserialize)]
struct Status<'a> {
    #[serde(borrow)]
    details: Option<Details<'a>>,
}

#[derive(Deserialize)]
struct Details<'a> {
    #[serde(borrow)]
    causes: Vec<Cause<'a>>,
}

#[derive(Deserialize)]
struct Cause<'a> {
    reason: &'a str,
}
