//! Deliveries to a real HTTPS server on loopback, which fails, hangs, lies, or is down.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use writgate_testing::Authority;

use super::*;
use crate::notify::notification::{NotificationType, Place};

const LIMIT: Duration = Duration::from_secs(20);
/// Shorter than in production, so that an outage of many attempts takes a second.
const PACE: Pace = Pace {
    first: Duration::from_millis(5),
    longest: Duration::from_millis(40),
    longest_asked: Duration::from_millis(400),
    give_up: Duration::from_mins(1),
};

/// What the server does with one connection.
#[derive(Clone, Copy)]
enum Behaviour {
    /// It answers this head.
    Answer(&'static str),
    /// It reads the request and never answers.
    Hang,
    /// It reads the request and closes the connection.
    Close,
    /// It answers 200 and closes the socket without a TLS alert.
    Abrupt,
    /// It answers 200 and then 10 MiB.
    Flood,
    /// It answers with a head that does not end.
    EndlessHead,
}

const OK: Behaviour = Behaviour::Answer("HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\ngarbage");

/// A request that arrived: its head and its body.
#[derive(Clone, Debug)]
struct Arrived {
    head: String,
    body: Value,
}

#[derive(Default)]
struct Observed {
    script: Mutex<VecDeque<Behaviour>>,
    arrived: Mutex<Vec<Arrived>>,
    connections: AtomicUsize,
}

impl Observed {
    fn arrived(&self) -> Vec<Arrived> {
        self.arrived.lock().expect("no panic").clone()
    }
}

/// The server, and the files that a receiver's configuration names.
struct Server {
    observed: Arc<Observed>,
    address: SocketAddr,
    task: JoinHandle<()>,
    folder: TempDir,
    authority: Authority,
}

impl Server {
    /// A server whose certificate is for `name`. It follows `script`, and answers 200 after its end.
    async fn start(name: &str, script: &[Behaviour]) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let authority = Authority::new("receivers");
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("ca.crt"), &authority.certificate).expect("written");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let observed =
            Arc::new(Observed { script: Mutex::new(script.iter().copied().collect()), ..Observed::default() });
        let task = tokio::spawn(serve(listener, acceptor(&authority, name), observed.clone()));
        Self { observed, address, task, folder, authority }
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).expect("written");
        path
    }

    fn configuration(&self) -> ReceiverConfiguration {
        let json = serde_json::json!({"name": "chat", "url": format!("https://localhost:{}/hook?a=b", self.address.port()),
            "caFile": self.folder.path().join("ca.crt"), "timeoutSeconds": 1});
        serde_json::from_value(json).expect("a configuration")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn acceptor(authority: &Authority, name: &str) -> TlsAcceptor {
    let pair = authority.server(&[name]);
    let certificate = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("a key");
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key);
    TlsAcceptor::from(Arc::new(config.expect("a pair")))
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, observed: Arc<Observed>) {
    loop {
        let (socket, _) = listener.accept().await.expect("a connection");
        observed.connections.fetch_add(1, Ordering::Relaxed);
        let (acceptor, observed) = (acceptor.clone(), observed.clone());
        tokio::spawn(async move {
            let Ok(mut tls) = acceptor.accept(socket).await else { return };
            let mut text = Vec::new();
            let arrived = loop {
                let mut buffer = [0; 4096];
                let count = tls.read(&mut buffer).await.unwrap_or(0);
                if count == 0 {
                    return;
                }
                text.extend_from_slice(&buffer[..count]);
                let read = String::from_utf8_lossy(&text).into_owned();
                let Some((head, body)) = read.split_once("\r\n\r\n") else { continue };
                if let Ok(body) = serde_json::from_str(body) {
                    break Arrived { head: head.to_ascii_lowercase(), body };
                }
            };
            observed.arrived.lock().expect("no panic").push(arrived);
            let behaviour = observed.script.lock().expect("no panic").pop_front().unwrap_or(OK);
            match behaviour {
                Behaviour::Answer(head) => drop(tls.write_all(head.as_bytes()).await),
                Behaviour::Hang => sleep(LIMIT).await,
                Behaviour::Close => {}
                Behaviour::Abrupt => {
                    drop(tls.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await);
                    drop(tls.flush().await);
                    return;
                }
                Behaviour::Flood => {
                    drop(tls.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10485760\r\n\r\n").await);
                    while tls.write_all(&[b'x'; 4096]).await.is_ok() {}
                }
                Behaviour::EndlessHead => {
                    drop(tls.write_all(b"HTTP/1.1 200 OK\r\n").await);
                    while tls.write_all(b"x-more: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n").await.is_ok() {}
                }
            }
            drop(tls.shutdown().await);
        });
    }
}

fn notification(number: usize) -> Arc<Notification> {
    let place = Place { namespace: "payments", environment: "production", project: Some("payments") };
    let subject = format!("payments/request-{number}");
    let identity = number.to_string();
    Arc::new(
        Notification::new(NotificationType::Requested, &[&identity], clock::now(), &place, &subject)
            .fact("request", &subject)
            .say("An approval is requested."),
    )
}

fn receiver(configuration: ReceiverConfiguration, pace: Pace) -> (Arc<Receiver>, Metrics) {
    let metrics = Metrics::default();
    let receiver = Receiver::new(configuration, "/writgate/test", None, metrics.clone(), pace);
    (Arc::new(receiver), metrics)
}

fn start(receiver: &Arc<Receiver>) -> JoinHandle<()> {
    let receiver = receiver.clone();
    tokio::spawn(async move { receiver.deliver().await })
}

fn count(metrics: &Metrics, outcome: &str) -> u64 {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &metrics.registry()).expect("encoded");
    let wanted = format!("writgate_notifications_total{{type=\"requested\",outcome=\"{outcome}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&wanted)).expect("present from zero").parse().expect("a number")
}

async fn until(what: &str, probe: impl Fn() -> bool) {
    let waited = timeout(LIMIT, async {
        while !probe() {
            sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "{what}");
}

/// Delivers one notification to a server that follows `script`. Returns what arrived until it was delivered.
async fn delivered_after(script: &[Behaviour]) -> (Vec<Arrived>, Metrics) {
    let server = Server::start("localhost", script).await;
    let (receiver, metrics) = receiver(server.configuration(), PACE);
    receiver.offer(&notification(1));
    assert_eq!(metrics.notifications_queued.get(), 1);
    let task = start(&receiver);
    until("it is delivered", || count(&metrics, "delivered") == 1).await;
    assert_eq!(metrics.notifications_queued.get(), 0);
    until("nothing fails any more", || metrics.notification_receivers_failing.get() == 0).await;
    task.abort();
    (server.observed.arrived(), metrics)
}

#[tokio::test]
async fn a_cloud_event_arrives_with_its_content_type_and_token() {
    let server = Server::start("localhost", &[]).await;
    let token = server.file("token", "secret-1\n");
    let configuration = ReceiverConfiguration { token_file: Some(token), ..server.configuration() };
    let (receiver, metrics) = receiver(configuration, PACE);
    let task = start(&receiver);
    receiver.offer(&notification(1));
    until("it is delivered", || count(&metrics, "delivered") == 1).await;
    server.file("token", "secret-2");
    receiver.offer(&notification(2));
    until("it is delivered", || count(&metrics, "delivered") == 2).await;
    task.abort();
    let arrived = server.observed.arrived();
    assert!(arrived[0].head.starts_with("post /hook?a=b http/1.1\r\n"), "{arrived:#?}");
    assert!(arrived[0].head.contains("content-type: application/cloudevents+json; charset=utf-8"), "{arrived:#?}");
    assert!(arrived[0].head.contains("authorization: bearer secret-1"), "{arrived:#?}");
    assert!(arrived[1].head.contains("authorization: bearer secret-2"), "a changed file is used at once: {arrived:#?}");
    assert_eq!(arrived[0].body["type"], "dev.writgate.requested.v1");
    assert_eq!(arrived[0].body["source"], "/writgate/test");
    assert_eq!(arrived[0].body["data"]["request"], "payments/request-1");
}

#[tokio::test]
async fn a_chat_tool_is_sent_a_text() {
    let server = Server::start("localhost", &[]).await;
    let url = format!("https://localhost:{}/services/secret", server.address.port());
    let url_file = server.file("url", &url);
    let configuration =
        ReceiverConfiguration { format: Format::Text, url: None, url_file: Some(url_file), ..server.configuration() };
    let (receiver, metrics) = receiver(configuration, PACE);
    let task = start(&receiver);
    receiver.offer(&notification(1));
    until("it is delivered", || count(&metrics, "delivered") == 1).await;
    task.abort();
    let arrived = server.observed.arrived();
    assert!(arrived[0].head.starts_with("post /services/secret http/1.1\r\n"), "{arrived:#?}");
    assert_eq!(arrived[0].body, serde_json::json!({"text": "An approval is requested."}));
}

#[tokio::test]
async fn a_failure_is_repeated_until_the_notification_is_delivered() {
    let failures = [
        Behaviour::Answer("HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n"),
        Behaviour::Answer("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"),
        Behaviour::Answer("HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n"),
        Behaviour::Answer("HTTP/1.1 302 Found\r\nlocation: https://localhost/other\r\ncontent-length: 0\r\n\r\n"),
        Behaviour::Answer("no http\r\n\r\n"),
        Behaviour::Close,
        Behaviour::Hang,
        Behaviour::EndlessHead,
    ];
    let (arrived, metrics) = delivered_after(&failures).await;
    assert_eq!((arrived.len(), count(&metrics, "failed")), (9, 8));
    assert!(arrived.iter().all(|one| one.body["id"] == arrived[0].body["id"]), "a receiver can drop a copy");
    assert!(arrived.iter().all(|one| one.head.starts_with("post /hook")), "no redirect is followed");
}

#[tokio::test]
async fn a_response_of_any_size_delivers_and_is_not_read() {
    let begun = Instant::now();
    let (arrived, metrics) = delivered_after(&[Behaviour::Flood]).await;
    assert_eq!((arrived.len(), count(&metrics, "failed")), (1, 0));
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_receiver_that_closes_the_connection_after_its_response_has_the_notification_once() {
    for _ in 0..20 {
        let (arrived, metrics) = delivered_after(&[Behaviour::Abrupt]).await;
        assert_eq!((arrived.len(), count(&metrics, "failed")), (1, 0));
    }
}

#[tokio::test]
async fn a_receiver_that_asks_for_a_pause_has_it_up_to_a_limit() {
    for asked in ["1", "86400", "Wed, 21 Oct 2099 07:28:00 GMT"] {
        let head = format!("HTTP/1.1 429 Too Many Requests\r\nretry-after: {asked}\r\ncontent-length: 0\r\n\r\n");
        let begun = Instant::now();
        let (arrived, _) = delivered_after(&[Behaviour::Answer(head.leak())]).await;
        assert_eq!(arrived.len(), 2);
        assert!(begun.elapsed() >= PACE.longest_asked.mul_f64(0.74), "{asked}: {:?}", begun.elapsed());
    }
    let begun = Instant::now();
    delivered_after(&[Behaviour::Answer("HTTP/1.1 429 No\r\nretry-after: soon\r\ncontent-length: 0\r\n\r\n")]).await;
    assert!(begun.elapsed() < LIMIT);
}

#[tokio::test]
async fn a_notification_that_is_refused_is_dropped_and_counted_and_delays_no_other() {
    let refused = Behaviour::Answer("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
    let server = Server::start("localhost", &[refused]).await;
    let (receiver, metrics) = receiver(server.configuration(), PACE);
    receiver.offer(&notification(1));
    receiver.offer(&notification(2));
    let task = start(&receiver);
    until("the second one is delivered", || count(&metrics, "delivered") == 1).await;
    task.abort();
    assert_eq!((count(&metrics, "refused"), count(&metrics, "failed")), (1, 0));
    assert_eq!(metrics.notifications_queued.get(), 0);
}

#[tokio::test]
async fn a_receiver_with_a_wrong_certificate_is_sent_nothing() {
    let wrong_name = Server::start("other.example", &[]).await;
    let other_ca = Server::start("localhost", &[]).await;
    let stranger = other_ca.file("stranger.crt", &Authority::new("stranger").certificate);
    let no_ca = other_ca.file("none.crt", "no certificate");
    let cases = [
        (&wrong_name, wrong_name.configuration()),
        (&other_ca, ReceiverConfiguration { ca_file: Some(stranger), ..other_ca.configuration() }),
        (&other_ca, ReceiverConfiguration { ca_file: Some(no_ca), ..other_ca.configuration() }),
        (&other_ca, ReceiverConfiguration { ca_file: Some("/does/not/exist".into()), ..other_ca.configuration() }),
        (&other_ca, ReceiverConfiguration { token_file: Some("/does/not/exist".into()), ..other_ca.configuration() }),
        // No system root signs it.
        (&other_ca, ReceiverConfiguration { ca_file: None, ..other_ca.configuration() }),
    ];
    for (server, configuration) in cases {
        let (receiver, metrics) = receiver(configuration, PACE);
        receiver.offer(&notification(1));
        let task = start(&receiver);
        until("it fails several times", || count(&metrics, "failed") >= 3).await;
        task.abort();
        assert!(server.observed.arrived().is_empty());
        assert_eq!((count(&metrics, "delivered"), metrics.notification_receivers_failing.get()), (0, 1));
    }
    // The near miss: the same server with its own CA.
    let (receiver, metrics) = receiver(other_ca.configuration(), PACE);
    receiver.offer(&notification(1));
    let task = start(&receiver);
    until("it is delivered", || count(&metrics, "delivered") == 1).await;
    task.abort();
}

#[tokio::test]
async fn nothing_in_the_queue_is_lost_while_the_receiver_is_down() {
    let server = Server::start("localhost", &[]).await;
    let (address, configuration) = (server.address, server.configuration());
    server.task.abort();
    let _ = timeout(LIMIT, async {
        while !server.task.is_finished() {
            sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    let (receiver, metrics) = receiver(configuration, PACE);
    let task = start(&receiver);
    for number in 0..100 {
        receiver.offer(&notification(number));
    }
    until("many attempts fail", || count(&metrics, "failed") >= 20).await;
    assert_eq!((metrics.notifications_queued.get(), metrics.notification_receivers_failing.get()), (100, 1));
    let listener = TcpListener::bind(address).await.expect("the same port");
    let back = tokio::spawn(serve(listener, acceptor(&server.authority, "localhost"), server.observed.clone()));
    until("all are delivered", || count(&metrics, "delivered") == 100).await;
    task.abort();
    back.abort();
    let mut ids: Vec<String> = server.observed.arrived().iter().map(|one| one.body["id"].to_string()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((ids.len(), count(&metrics, "dropped"), metrics.notification_receivers_failing.get()), (100, 0, 0));
}

#[tokio::test]
async fn a_full_queue_drops_and_counts_what_does_not_fit() {
    let configuration = serde_json::json!({"name": "down", "url": "https://localhost:1/"});
    let (receiver, metrics) = receiver(serde_json::from_value(configuration).expect("a configuration"), PACE);
    for number in 0..CAPACITY + 50 {
        receiver.offer(&notification(number));
    }
    assert_eq!(count(&metrics, "dropped"), 50);
    assert_eq!(metrics.notifications_queued.get(), i64::try_from(CAPACITY).expect("small"));
}

#[tokio::test]
async fn what_cannot_be_delivered_for_too_long_is_dropped_and_counted() {
    let configuration = serde_json::json!({"name": "down", "url": "https://localhost:1/", "caFile": "/does/not/exist"});
    let pace = Pace { give_up: Duration::from_millis(50), ..PACE };
    let (receiver, metrics) = receiver(serde_json::from_value(configuration).expect("a configuration"), pace);
    receiver.offer(&notification(1));
    let task = start(&receiver);
    until("it is dropped", || count(&metrics, "dropped") == 1).await;
    task.abort();
    assert!(count(&metrics, "failed") >= 1);
    assert_eq!(metrics.notifications_queued.get(), 0);
}

#[tokio::test]
async fn a_receiver_is_sent_what_it_wants_and_each_once() {
    let server = Server::start("localhost", &[]).await;
    let wants = |types: &str, environment: &str| {
        let mut json = serde_json::json!({"name": "chat", "url": "https://localhost:1/"});
        json["types"] = serde_json::json!([types]);
        json["environments"] = serde_json::json!([environment]);
        serde_json::from_value::<ReceiverConfiguration>(json).expect("a configuration")
    };
    for (types, environment, wanted) in
        [("requested", "production", 1), ("denied", "production", 0), ("requested", "staging", 0)]
    {
        let (receiver, metrics) = receiver(wants(types, environment), PACE);
        receiver.offer(&notification(1));
        receiver.offer(&notification(1));
        assert_eq!(metrics.notifications_queued.get(), wanted, "{types} {environment}");
    }
    drop(server);
}
