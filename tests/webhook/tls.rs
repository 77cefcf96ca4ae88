//! The serving certificate on a real socket: reload by content, broken pairs, peers that are slow or old.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use axum_server::Handle;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tempfile::TempDir;
use writgate::http::ports::{self, Connections};
use writgate::http::tls::{CertificateFiles, ServingCertificate, TlsError};
use writgate::metrics::Metrics;

const LOOK: Duration = Duration::from_millis(20);

/// A certificate for localhost, with its key.
struct Issued {
    der: CertificateDer<'static>,
    cert: String,
    key: String,
}

fn issue() -> Issued {
    let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    Issued { der: issued.cert.der().clone(), cert: issued.cert.pem(), key: issued.signing_key.serialize_pem() }
}

/// A Secret volume as the kubelet writes it: the files are links into `..data`, and an update replaces that link.
struct Volume(TempDir);

impl Volume {
    fn with(cert: &str, key: &str) -> Self {
        let volume = Self(tempfile::tempdir().expect("a folder"));
        volume.update(cert, key);
        for name in ["tls.crt", "tls.key"] {
            symlink(Path::new("..data").join(name), volume.0.path().join(name)).expect("a link");
        }
        volume
    }

    fn update(&self, cert: &str, key: &str) {
        let version = tempfile::Builder::new().prefix("..").tempdir_in(self.0.path()).expect("a folder").keep();
        fs::write(version.join("tls.crt"), cert).expect("written");
        fs::write(version.join("tls.key"), key).expect("written");
        let link = self.0.path().join("..data_tmp");
        symlink(version.file_name().expect("a name"), &link).expect("a link");
        fs::rename(link, self.0.path().join("..data")).expect("swapped");
    }

    fn files(&self) -> CertificateFiles {
        CertificateFiles { cert: self.0.path().join("tls.crt"), key: self.0.path().join("tls.key") }
    }
}

struct Server {
    address: SocketAddr,
    metrics: Metrics,
    handle: Handle<SocketAddr>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.handle.shutdown();
    }
}

/// Must be called within a runtime.
fn serve(files: CertificateFiles) -> Server {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let metrics = Metrics::default();
    let certificate = ServingCertificate::load(files, metrics.clone()).expect("a usable pair");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let handle = Handle::new();
    let routes = Router::new().route("/", get(|| async { "here" }));
    let connections = Connections::webhook(1024, metrics.clone());
    tokio::spawn(ports::serve_https(listener, routes, certificate.config(), connections, handle.clone()));
    tokio::spawn(certificate.follow(LOOK));
    Server { address, metrics, handle }
}

type Tls = StreamOwned<ClientConnection, TcpStream>;

/// Sends one request, and trusts only `root`.
fn ask(address: SocketAddr, root: &CertificateDer<'static>) -> std::io::Result<(Tls, String)> {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).expect("a root");
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let name = ServerName::try_from("localhost").expect("a name");
    let connection = ClientConnection::new(Arc::new(config), name).map_err(std::io::Error::other)?;
    let mut tls = StreamOwned::new(connection, TcpStream::connect(address)?);
    let answer = again(&mut tls)?;
    Ok((tls, answer))
}

fn again(tls: &mut Tls) -> std::io::Result<String> {
    tls.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    let mut answer = vec![0; 4096];
    let read = tls.read(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer[..read]).into_owned())
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "not within 10 s: {what}");
        std::thread::sleep(LOOK);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_volume_is_served_without_losing_a_connection() {
    let (first, second) = (issue(), issue());
    let volume = Volume::with(&first.cert, &first.key);
    let server = serve(volume.files());
    let (mut kept, answer) = ask(server.address, &first.der).expect("the first certificate");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    volume.update(&second.cert, &second.key);
    until("the second certificate", || ask(server.address, &second.der).is_ok());
    assert!(ask(server.address, &first.der).is_err());
    assert!(again(&mut kept).expect("the connection lives on").ends_with("here"));
    assert!(metric(&server.metrics, "writgate_certificate_reloads_total{outcome=\"ok\"} 1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_pair_leaves_the_old_one_in_use_and_is_counted_once() {
    let (first, second) = (issue(), issue());
    let volume = Volume::with(&first.cert, &first.key);
    let server = serve(volume.files());
    let failures = ["1", "2", "3", "4"];
    let broken = [
        (second.cert.as_str(), first.key.as_str()),           // of two pairs
        (&second.cert[..second.cert.len() / 2], &second.key), // half written
        (&second.cert, "no key"),
        ("", ""),
    ];
    for ((cert, key), count) in broken.into_iter().zip(failures) {
        volume.update(cert, key);
        let line = format!("writgate_certificate_reloads_total{{outcome=\"failed\"}} {count}");
        until(&line, || metric(&server.metrics, &line));
        ask(server.address, &first.der).expect("the old certificate is still served");
    }
    std::thread::sleep(5 * LOOK);
    assert!(metric(&server.metrics, "{outcome=\"failed\"} 4"), "the same broken pair is not reported again");
    volume.update(&second.cert, &second.key);
    until("the repaired pair", || ask(server.address, &second.der).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_http_1_1_is_offered() {
    let pair = issue();
    let volume = Volume::with(&pair.cert, &pair.key);
    let server = serve(volume.files());
    let (tls, _) = ask(server.address, &pair.der).expect("an answer");
    assert_eq!(tls.conn.alpn_protocol(), Some(b"http/1.1".as_slice()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_never_finishes_its_request_is_disconnected_and_delays_nobody() {
    let pair = issue();
    let volume = Volume::with(&pair.cert, &pair.key);
    let server = serve(volume.files());
    let silent = TcpStream::connect(server.address).expect("connected");
    let (mut slow, _) = ask(server.address, &pair.der).expect("an answer");
    let mut first = {
        let mut roots = RootCertStore::empty();
        roots.add(pair.der.clone()).expect("a root");
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let name = ServerName::try_from("localhost").expect("a name");
        let connection = ClientConnection::new(Arc::new(config), name).expect("a connection");
        StreamOwned::new(connection, TcpStream::connect(server.address).expect("connected"))
    };
    first.write_all(b"GET / HTTP/1.1\r\nHost: loc").expect("half a request");
    let begun = Instant::now();
    for peer in [&silent, &first.sock] {
        peer.set_read_timeout(Some(Duration::from_secs(15))).expect("set");
    }
    ask(server.address, &pair.der).expect("others are served meanwhile");
    assert_ended((&silent).read(&mut [0]));
    assert_ended(first.read(&mut [0]));
    assert!(begun.elapsed() < Duration::from_secs(12), "{:?}", begun.elapsed());
    // One that has been served before may be idle for longer than that.
    assert!(again(&mut slow).expect("an answer").ends_with("here"));
}

fn assert_ended(read: std::io::Result<usize>) {
    match read {
        Ok(0) => {}
        Ok(bytes) => panic!("{bytes} bytes instead of an end"),
        Err(error) => {
            assert!(
                matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset),
                "not ended: {error}"
            );
        }
    }
}

#[test]
fn a_pair_that_cannot_be_served_is_an_error_at_the_start() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (first, second) = (issue(), issue());
    let load = |cert: &str, key: &str| {
        let volume = Volume::with(cert, key);
        ServingCertificate::load(volume.files(), Metrics::default()).map(|_| ()).expect_err("unusable")
    };
    assert!(matches!(load(&first.cert, &second.key), TlsError::Pair { .. }));
    assert!(matches!(load("", &first.key), TlsError::NoCertificate { .. }));
    assert!(matches!(load(&first.key, &first.key), TlsError::NoCertificate { .. }));
    assert!(matches!(load(&first.cert, &first.cert), TlsError::NoKey { .. }));
    let nowhere = CertificateFiles { cert: "/nowhere/tls.crt".into(), key: "/nowhere/tls.key".into() };
    let error = ServingCertificate::load(nowhere, Metrics::default()).map(|_| ()).expect_err("no file");
    assert!(error.to_string().contains("/nowhere/tls.crt"), "{error}");
}

/// Whether the metrics contain `line`.
fn metric(metrics: &Metrics, line: &str) -> bool {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &metrics.registry()).expect("encodes");
    text.contains(line)
}
