//! One HTTPS request to a receiver.
//!
//! Each request has a connection of its own. Only the head of the response is read, and a redirect is not followed: the
//! receiver must not choose who is sent the token and the notification.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use axum::http::{HeaderValue, Method, Request, StatusCode, Uri};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use writgate_core::text::quoted;

use crate::notify::configuration::{Format, ReceiverConfiguration, parse_url};

/// The largest file with a URL, a token or CAs.
const MAX_FILE: u64 = 1 << 20;
/// The most bytes of a response's head.
const MAX_HEAD: usize = 16 << 10;

/// How an attempt ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Delivered,
    /// The receiver refuses this notification, and would refuse it again.
    Refused(String),
    /// Another attempt may succeed, not before this time has passed.
    Failed(String, Option<Duration>),
}

/// Sends `body` to `receiver`.
pub(super) async fn send(receiver: &ReceiverConfiguration, body: Vec<u8>, now: Timestamp) -> Answer {
    let limit = Duration::from_secs(receiver.timeout_seconds);
    match timeout(limit, attempt(receiver, body, now)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(why)) => Answer::Failed(why, None),
        Err(_) => Answer::Failed(format!("it did not answer within {limit:?}"), None),
    }
}

async fn attempt(receiver: &ReceiverConfiguration, body: Vec<u8>, now: Timestamp) -> Result<Answer, String> {
    let url = url(receiver).await?;
    let request = request(receiver, &url, body).await?;
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let name = ServerName::try_from(host.clone()).map_err(|_| "its URL has an invalid host".to_owned())?;
    let tls = tls(receiver.ca_file.as_deref()).await?;
    let socket = TcpStream::connect((host.as_str(), url.port_u16().unwrap_or(443))).await;
    let socket = socket.map_err(|error| format!("it cannot be reached: {error}"))?;
    let stream = TlsConnector::from(Arc::new(tls)).connect(name, socket).await;
    let stream = stream.map_err(|error| format!("the TLS handshake failed: {error}"))?;
    let closed = |error: hyper::Error| format!("the connection ended before the response: {error}");
    let handshake = http1::Builder::new().max_buf_size(MAX_HEAD).handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(closed)?;
    let mut response = Box::pin(sender.send_request(request));
    // A receiver may close the connection right after its response, so the end of the connection does not say that there is none.
    let response = tokio::select! {
        response = &mut response => response,
        _ = connection => response.await,
    };
    let response = response.map_err(closed)?;
    Ok(answer(response.status(), response.headers().get(RETRY_AFTER), now))
}

async fn request(receiver: &ReceiverConfiguration, url: &Uri, body: Vec<u8>) -> Result<Request<Body>, String> {
    let content_type = match receiver.format {
        Format::CloudEvents => "application/cloudevents+json; charset=UTF-8",
        Format::Text => "application/json; charset=UTF-8",
    };
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let authority = url.authority().map_or("", |authority| authority.as_str());
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(HOST, authority)
        .header(CONTENT_TYPE, content_type)
        .header(USER_AGENT, concat!("writgate-webhook/", env!("CARGO_PKG_VERSION")));
    if let Some(path) = &receiver.token_file {
        let token = read(path).await?;
        let mut value = HeaderValue::try_from(format!("Bearer {}", token.trim()))
            .map_err(|_| format!("{} is not a token: it contains control characters", path.display()))?;
        value.set_sensitive(true);
        request = request.header(AUTHORIZATION, value);
    }
    request.body(Body::from(body)).map_err(|error| error.to_string())
}

fn answer(status: StatusCode, retry_after: Option<&HeaderValue>, now: Timestamp) -> Answer {
    if status.is_success() {
        return Answer::Delivered;
    }
    let found = format!("it answers {}", status.as_u16());
    match status.as_u16() {
        400 | 413 | 415 | 422 => Answer::Refused(found),
        300..400 => {
            Answer::Failed(format!("{found}, and redirects are not followed; set the URL that it redirects to"), None)
        }
        401 | 403 => Answer::Failed(format!("{found}; check its token"), None),
        429 | 503 => Answer::Failed(found, retry_after.and_then(|value| wait(value, now))),
        _ => Answer::Failed(found, None),
    }
}

/// Reads `Retry-After`: seconds, or a date.
fn wait(value: &HeaderValue, now: Timestamp) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Duration::try_from(until.duration_since(now)).ok()
}

async fn url(receiver: &ReceiverConfiguration) -> Result<Uri, String> {
    let text = match (&receiver.url, &receiver.url_file) {
        (Some(url), _) => url.clone(),
        (None, Some(path)) => read(path).await?,
        (None, None) => return Err("it has no URL".to_owned()),
    };
    parse_url(&text)
}

async fn tls(ca_file: Option<&Path>) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = ca_file {
        let text = read(path).await?;
        for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
            let added = certificate.map_err(|error| error.to_string());
            let added = added.and_then(|certificate| roots.add(certificate).map_err(|error| error.to_string()));
            added.map_err(|why| format!("{} contains no usable CA: {why}", path.display()))?;
        }
        if roots.is_empty() {
            return Err(format!("{} contains no CA, expected PEM", path.display()));
        }
    } else {
        let found = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await;
        roots.add_parsable_certificates(found.map_err(|error| error.to_string())?.certs);
        if roots.is_empty() {
            return Err("there are no system roots, as in the webhook's image; set caFile".to_owned());
        }
    }
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Reads a small text file.
async fn read(path: &Path) -> Result<String, String> {
    let path: PathBuf = path.to_owned();
    let read = tokio::task::spawn_blocking(move || {
        let failed = |why: &str| format!("{} cannot be read: {why}", quoted(&path.display().to_string()));
        let size = std::fs::metadata(&path).map_err(|error| failed(&error.to_string()))?.len();
        if size > MAX_FILE {
            return Err(failed(&format!("it has {size} bytes, expected at most {MAX_FILE}")));
        }
        std::fs::read_to_string(&path).map_err(|error| failed(&error.to_string()))
    });
    read.await.map_err(|error| error.to_string())?
}
