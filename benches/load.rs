//! The load generator: bounded bursts of reviews over persistent HTTP/1.1 connections with TLS, as from the API server.
//!
//! Every request has a new uid, and every answer is read completely and checked. It connects only to loopback.

use std::{
    net::SocketAddr,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use memchr::memmem;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
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

/// Requests that each connection sends in turns, and where they go.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) requests: Vec<Request>,
}

/// A request and its expected answer.
#[derive(Clone)]
pub(crate) struct Request {
    bytes: Vec<u8>,
    /// The review's uid, whose last group is replaced for each exchange.
    uid: Option<Range<usize>>,
    expected: Expected,
}

#[derive(Clone, Debug)]
enum Expected {
    Review(Verdict),
    /// A status code, and a text within the body.
    Status(u16, String),
}

impl Target {
    /// An AdmissionReview that is sent repeatedly.
    pub(crate) fn review(address: SocketAddr, review: &str, verdict: Verdict) -> Self {
        Self { address, requests: vec![Request::review(review, verdict)] }
    }
}

impl Request {
    /// An AdmissionReview as the API server sends it.
    ///
    /// # Panics
    /// If the review has no uid where the API server writes it.
    pub(crate) fn review(review: &str, verdict: Verdict) -> Self {
        let bytes = format!(
            "POST /validate?timeout=10s HTTP/1.1\r\nHost: localhost\r\nUser-Agent: kube-apiserver-admission\r\n\
             Content-Length: {}\r\nAccept: application/json, */*\r\nContent-Type: application/json\r\n\r\n{review}",
            review.len()
        )
        .into_bytes();
        let start = memmem::find(&bytes, UID).expect("the review has a uid where the API server writes it") + UID.len();
        let uid = Some(start..start + uuid::fmt::Hyphenated::LENGTH);
        Self { bytes, uid, expected: Expected::Review(verdict) }
    }

    fn is_decided(&self) -> bool {
        matches!(self.expected, Expected::Review(verdict) if verdict != Verdict::NotAnAction)
    }

    /// A request to the API server. The answer must have this status code, and contain `text`.
    pub(crate) fn api(method: &str, path: &str, body: &str, code: u16, text: &str) -> Self {
        let bytes = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bench\r\nContent-Length: {}\r\n\
             Accept: application/json\r\nContent-Type: application/json\r\n\r\n{body}",
            body.len()
        );
        Self { bytes: bytes.into_bytes(), uid: None, expected: Expected::Status(code, text.to_owned()) }
    }
}

/// What precedes the uid of a review.
pub(crate) const UID: &[u8] = br#""request":{"uid":""#;

/// The limits of a burst. It ends at the first.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) time: Duration,
    pub(crate) requests: usize,
}

/// The result of a burst.
#[derive(Default)]
pub(crate) struct Outcome {
    /// The index of the request, and the time from the first byte written to the last byte read. Sorted by both.
    latencies: Vec<(usize, Duration)>,
    /// Expected answers that a webhook records: admissions and denials.
    pub(crate) decisions: usize,
    /// Requests that failed or had an unexpected answer.
    pub(crate) failures: usize,
    pub(crate) first_failure: Option<String>,
}

impl Outcome {
    /// The number of expected answers.
    pub(crate) fn answers(&self) -> usize {
        self.latencies.len()
    }

    /// The percentile over the answers to the request with this index.
    pub(crate) fn percentile(&self, request: usize, percent: usize) -> Option<Duration> {
        let start = self.latencies.partition_point(|(index, _)| *index < request);
        let end = self.latencies.partition_point(|(index, _)| *index <= request);
        let of_request = &self.latencies[start..end];
        let last = of_request.len().checked_sub(1)?;
        of_request.get(last * percent / 100).map(|(_, latency)| *latency)
    }

    fn add(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        self.decisions += other.decisions;
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
    /// Trusts `certificate` alone, for `localhost`. Authenticates with `identity`, if there is one.
    pub(crate) fn new(
        certificate: CertificateDer<'static>,
        identity: Option<(CertificateDer<'static>, PrivateKeyDer<'static>)>,
    ) -> anyhow::Result<Self> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate)?;
        let tls = rustls::ClientConfig::builder().with_root_certificates(roots);
        let mut tls = match identity {
            Some((certificate, key)) => tls.with_client_auth_cert(vec![certificate], key)?,
            None => tls.with_no_client_auth(),
        };
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        Ok(Self { runtime, tls: TlsConnector::from(Arc::new(tls)) })
    }

    /// Sends `target`'s requests over `connections` connections, which are opened before the measurement starts.
    pub(crate) fn burst(&self, target: &Target, connections: usize, bounds: Bounds) -> Outcome {
        self.runtime.block_on(async {
            let mut opened = Vec::with_capacity(connections);
            for number in 0..connections {
                match Connection::open(&self.tls, target, number).await {
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

    /// Sends the first request over a new connection.
    pub(crate) fn once(&self, target: &Target) -> anyhow::Result<()> {
        self.runtime.block_on(async {
            let mut connection = Connection::open(&self.tls, target, 0).await?;
            connection.exchange().await?;
            connection.check()
        })
    }
}

/// A connection, its requests, and its last answer.
struct Connection {
    stream: TlsStream<TcpStream>,
    requests: Vec<Request>,
    /// The number of the request that is sent next, or whose answer was read last.
    current: usize,
    answer: Vec<u8>,
    status: u16,
    body_at: usize,
}

impl Connection {
    /// Opens a connection whose first request is the one with the index `first`, counted in a circle.
    async fn open(tls: &TlsConnector, target: &Target, first: usize) -> anyhow::Result<Self> {
        ensure!(target.address.ip().is_loopback(), "{} is not a loopback address", target.address);
        let stream = TcpStream::connect(target.address).await.context("connect")?;
        stream.set_nodelay(true)?;
        let stream = tls.connect(ServerName::try_from("localhost")?, stream).await.context("TLS handshake")?;
        let current = first % target.requests.len();
        let answer = Vec::with_capacity(8 << 10);
        Ok(Self { stream, requests: target.requests.clone(), current, answer, status: 0, body_at: 0 })
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
                Ok(()) => {
                    outcome.latencies.push((self.current, latency));
                    outcome.decisions += usize::from(self.requests[self.current].is_decided());
                }
                Err(error) => outcome.add(Outcome::failed(&error)),
            }
            if broken {
                break;
            }
            self.current = (self.current + 1) % self.requests.len();
        }
        outcome
    }

    async fn exchange(&mut self) -> anyhow::Result<()> {
        static SENT: AtomicU64 = AtomicU64::new(1);
        let Request { bytes, uid, .. } = &mut self.requests[self.current];
        if let Some(uid) = uid {
            // A UUID's last group, with the first four left as they were captured.
            let number = SENT.fetch_add(1, Ordering::Relaxed);
            bytes[uid.end - 12..uid.end].copy_from_slice(format!("{number:012x}").as_bytes());
        }
        self.stream.write_all(bytes).await.context("write the request")?;
        self.stream.flush().await.context("write the request")?;
        self.read().await
    }

    /// Reads one response, whose body has a Content-Length or is chunked.
    async fn read(&mut self) -> anyhow::Result<()> {
        self.answer.clear();
        let mut length = None;
        loop {
            if self.stream.read_buf(&mut self.answer).await.context("read the answer")? == 0 {
                bail!("the connection was closed within an answer");
            }
            if length.is_none()
                && let Some(blank) = memmem::find(&self.answer, b"\r\n\r\n")
            {
                let head = std::str::from_utf8(&self.answer[..blank])?;
                let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
                self.status = status.context("an answer without a status")?.parse()?;
                self.body_at = blank + 4;
                length = Some(body_length(head)?);
            }
            let body = self.answer.get(self.body_at..).unwrap_or_default();
            match length {
                Some(Some(length)) if body.len() >= length => return Ok(()),
                Some(None) if is_last_chunk_there(body)? => return Ok(()),
                _ => {}
            }
        }
    }

    fn check(&self) -> anyhow::Result<()> {
        let body = &self.answer[self.body_at..];
        let Request { bytes, uid, expected } = &self.requests[self.current];
        let right = match expected {
            Expected::Status(code, text) => self.status == *code && memmem::find(body, text.as_bytes()).is_some(),
            Expected::Review(verdict) => {
                let AdmissionReview { response } =
                    serde_json::from_slice(body).with_context(|| String::from_utf8_lossy(&self.answer).into_owned())?;
                self.status == 200
                    && verdict.is_in(&response)
                    && uid.clone().is_some_and(|uid| response.uid.as_bytes() == &bytes[uid])
            }
        };
        ensure!(right, "expected {expected:?}, got {}", String::from_utf8_lossy(&self.answer));
        Ok(())
    }
}

/// The value of Content-Length, or none if the body is chunked.
fn body_length(head: &str) -> anyhow::Result<Option<usize>> {
    let mut headers = head.lines().filter_map(|line| line.split_once(": "));
    let (name, value) = headers
        .find(|(name, _)| ["content-length", "transfer-encoding"].iter().any(|known| name.eq_ignore_ascii_case(known)))
        .context("an answer without the length of its body")?;
    Ok(if name.eq_ignore_ascii_case("content-length") { Some(value.parse()?) } else { None })
}

/// Whether a chunked body is complete (RFC 9112, section 7.1). Neither server sends trailers.
fn is_last_chunk_there(mut body: &[u8]) -> anyhow::Result<bool> {
    while let Some(end) = memmem::find(body, b"\r\n") {
        let length = usize::from_str_radix(std::str::from_utf8(&body[..end])?, 16).context("a chunk's length")?;
        if length == 0 {
            return Ok(body.len() >= end + 4);
        }
        match body.get(end + 2 + length + 2..) {
            Some(rest) => body = rest,
            None => return Ok(false),
        }
    }
    Ok(false)
}

impl Verdict {
    fn is_in(self, response: &Response<'_>) -> bool {
        match self {
            Self::Admitted | Self::NotAnAction => response.allowed,
            Self::Denied(reason) => {
                let details = response.status.as_ref().and_then(|status| status.details.as_ref());
                !response.allowed
                    && details.is_some_and(|details| matches!(&details.causes[..], [only] if only.reason == reason))
            }
        }
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
