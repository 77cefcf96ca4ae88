//! Addresses that take as many connections as they can, on a real socket, and what remains for the next address.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use writgate::http::ports::{self, Connections};
use writgate::metrics::Metrics;

/// Connections to the port. The files that the webhook reserves come on top.
const TOTAL: usize = 40;
/// Longer than any answer takes, and less than the webhook waits for a first request.
const PATIENCE: Duration = Duration::from_secs(4);
/// As many addresses as could hold every connection, if each got half of the rest.
const HOARDERS: u8 = 10;

struct Server {
    address: SocketAddr,
    client: Arc<ClientConfig>,
    metrics: Metrics,
    /// `/wait` answers when it gets a permit.
    permits: Arc<Semaphore>,
    handle: Handle<SocketAddr>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.handle.shutdown();
    }
}

impl Server {
    /// A webhook that asks clients for a certificate, but serves them without one as well if `authenticated` is false.
    fn start(authenticated: bool) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let certificate = vec![issued.cert.der().clone()];
        let key = || PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(issued.signing_key.serialize_der()));
        let mut roots = RootCertStore::empty();
        roots.add(certificate[0].clone()).expect("a root");
        let roots = Arc::new(roots);
        let config = ServerConfig::builder();
        let config = if authenticated {
            let verifier = WebPkiClientVerifier::builder(roots.clone()).allow_unauthenticated().build();
            config.with_client_cert_verifier(verifier.expect("a verifier"))
        } else {
            config.with_no_client_auth()
        };
        let config = config.with_single_cert(certificate.clone(), key()).expect("a pair");
        let client = ClientConfig::builder().with_root_certificates(roots);
        let client = if authenticated {
            client.with_client_auth_cert(certificate, key()).expect("a pair")
        } else {
            client.with_no_client_auth()
        };
        let permits = Arc::new(Semaphore::new(0));
        let wait = {
            let permits = permits.clone();
            move |_: Bytes| async move {
                permits.acquire().await.expect("never closed").forget();
                "waited."
            }
        };
        let routes = Router::new().route("/validate", post(|_: Bytes| async { "checked." })).route("/wait", post(wait));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (metrics, handle) = (Metrics::default(), Handle::new());
        let connections = Connections::webhook(256 + 64 + TOTAL, metrics.clone());
        let config = RustlsConfig::from_config(Arc::new(config));
        tokio::spawn(ports::serve_https(listener, routes, config, connections, handle.clone()));
        Self { address, client: Arc::new(client), metrics, permits, handle }
    }

    /// A connection from 127.0.0.`last`.
    async fn connect(&self, last: u8) -> TcpStream {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((Ipv4Addr::new(127, 0, 0, last), 0).into()).expect("an address of the loopback interface");
        timeout(PATIENCE, socket.connect(self.address)).await.expect("in time").expect("connected")
    }

    /// A connection after its handshake and `sent`. `None` if the webhook ends it.
    async fn open(&self, last: u8, sent: &str) -> Option<TlsStream<TcpStream>> {
        let socket = self.connect(last).await;
        let name = ServerName::try_from("localhost").expect("a name");
        let mut tls = TlsConnector::from(self.client.clone()).connect(name, socket).await.ok()?;
        tls.write_all(sent.as_bytes()).await.ok()?;
        Some(tls)
    }

    /// The value of the metric with this name, of the webhook's port.
    fn metric(&self, name: &str) -> usize {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.metrics.registry()).expect("encodes");
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("writgate_{name} ")));
        line.expect("the metric").parse().expect("a number")
    }

    fn reclaimed(&self) -> usize {
        self.metric("connections_refused_total{port=\"webhook\",reason=\"reclaimed\"}")
    }

    /// Every hoarder keeps opening connections until it has tried `TOTAL` times. Returns them, so that they stay open.
    async fn hoard(&self, how: Hoard) -> Vec<Held> {
        let mut held = Vec::new();
        for last in (2..).take(HOARDERS.into()) {
            for _ in 0..TOTAL {
                held.push(match how {
                    Hoard::Nothing => Held::Tcp(self.connect(last).await),
                    Hoard::Sent(bytes) => Held::Tls(self.open(last, bytes).await.map(Box::new)),
                    Hoard::Answered => {
                        let mut tls = self.open(last, VALIDATE).await;
                        if let Some(open) = &mut tls {
                            let _ = answer(open).await;
                        }
                        Held::Tls(tls.map(Box::new))
                    }
                });
            }
        }
        held
    }
}

#[derive(Clone, Copy, Debug)]
enum Hoard {
    /// No handshake.
    Nothing,
    /// These bytes after the handshake.
    Sent(&'static str),
    /// A complete request.
    Answered,
}

#[expect(dead_code, reason = "a connection is open until it is dropped")]
enum Held {
    Tcp(TcpStream),
    Tls(Option<Box<TlsStream<TcpStream>>>),
}

const VALIDATE: &str = "POST /validate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}";
const WAIT: &str = "POST /wait HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}";

/// The next response. Empty if the connection has ended.
async fn answer(tls: &mut TlsStream<TcpStream>) -> String {
    let mut bytes = vec![0; 4096];
    let read = timeout(PATIENCE, tls.read(&mut bytes)).await.expect("an answer or an end in time").unwrap_or_default();
    String::from_utf8_lossy(&bytes[..read]).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_that_hold_on_to_their_connections_leave_some_to_the_next_address() {
    for how in [
        Hoard::Nothing,
        Hoard::Sent(""),
        Hoard::Sent("POST /validate HTTP/1.1\r\nHost: loc"),
        Hoard::Sent("POST /validate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{"),
        Hoard::Answered,
    ] {
        let server = Server::start(false);
        let _held = server.hoard(how).await;
        assert!(server.metric("connections{port=\"webhook\"}") <= TOTAL, "{how:?}");
        let mut honest = Vec::new();
        for _ in 0..3 {
            let mut tls = server.open(1, VALIDATE).await.unwrap_or_else(|| panic!("{how:?}: refused"));
            assert!(answer(&mut tls).await.ends_with("checked."), "{how:?}");
            honest.push(tls);
        }
        for tls in &mut honest {
            tls.write_all(VALIDATE.as_bytes()).await.expect("sent");
            assert!(answer(tls).await.ends_with("checked."), "{how:?}: the connection of a small holder stays open");
        }
        assert!(server.reclaimed() > 0, "{how:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_gets_no_more_than_those_that_hold_on() {
    let server = Server::start(false);
    let _held = server.hoard(Hoard::Answered).await;
    let mut opened = Vec::new();
    for _ in 0..TOTAL {
        if let Some(mut tls) = server.open(1, VALIDATE).await
            && answer(&mut tls).await.ends_with("checked.")
        {
            opened.push(tls);
        }
    }
    assert!((2..=TOTAL / usize::from(HOARDERS) + 1).contains(&opened.len()), "{}", opened.len());
    assert!(server.metric("connections_refused_total{port=\"webhook\",reason=\"too-many\"}") > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_whose_review_is_decided_is_not_closed_for_another_address() {
    let server = Server::start(false);
    let mut waiting = server.open(2, WAIT).await.expect("accepted");
    let mut idle = server.open(2, VALIDATE).await.expect("accepted");
    assert!(answer(&mut idle).await.ends_with("checked."));
    let _held = server.hoard(Hoard::Answered).await;
    for last in 20..40 {
        let _ = server.open(last, VALIDATE).await;
    }
    assert_eq!(answer(&mut idle).await, "", "near miss: an idle connection of the same address is closed");
    server.permits.add_permits(1);
    assert!(answer(&mut waiting).await.ends_with("waited."));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_with_a_client_certificate_is_not_closed_for_another_address() {
    for authenticated in [true, false] {
        let server = Server::start(authenticated);
        let mut first = server.open(2, VALIDATE).await.expect("accepted");
        assert!(answer(&mut first).await.ends_with("checked."));
        let _held = server.hoard(Hoard::Answered).await;
        first.write_all(VALIDATE.as_bytes()).await.expect("sent");
        let is_open = answer(&mut first).await.ends_with("checked.");
        assert_eq!((is_open, server.reclaimed() > 0), (authenticated, !authenticated));
    }
}
