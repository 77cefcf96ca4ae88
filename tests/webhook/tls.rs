//! The serving certificate on a real socket: reload by content, broken pairs, peers that are slow or old.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use axum_server::Handle;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tempfile::TempDir;
use writgate::certificate::clients::ClientCertificates;
use writgate::certificate::files::{CertificateFiles, ServingCertificate, TlsError};
use writgate::http::ports::{self, Connections};
use writgate::metrics::Metrics;
use writgate_testing::{Authority, Pair};

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
        CertificateFiles { cert: self.0.path().join("tls.crt"), key: self.0.path().join("tls.key"), clients: None }
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
    let nowhere = CertificateFiles { cert: "/nowhere/tls.crt".into(), key: "/nowhere/tls.key".into(), clients: None };
    let error = ServingCertificate::load(nowhere, Metrics::default()).map(|_| ()).expect_err("no file");
    assert!(error.to_string().contains("/nowhere/tls.crt"), "{error}");
}

/// An API server whose `caBundle` has another CA appears as `certificate-rejected`.
#[tokio::test(flavor = "multi_thread")]
async fn failed_handshakes_are_counted_by_their_reason() {
    let (pair, other) = (issue(), issue());
    let volume = Volume::with(&pair.cert, &pair.key);
    let server = serve(volume.files());
    let is_counted = |reason: &str, count: u32| {
        let line = format!("writgate_tls_handshake_failures_total{{reason=\"{reason}\"}} {count}\n");
        until(&line, || metric(&server.metrics, &line));
    };
    ask(server.address, &pair.der).expect("an answer");
    assert!(metric(&server.metrics, "writgate_tls_handshake_failures_total{reason=\"certificate-rejected\"} 0\n"));
    ask(server.address, &other.der).expect_err("the client trusts another CA");
    is_counted("certificate-rejected", 1);
    let mut plain = TcpStream::connect(server.address).expect("connected");
    plain.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("sent");
    is_counted("not-tls", 1);
    drop(TcpStream::connect(server.address).expect("connected"));
    is_counted("closed", 1);
    is_counted("certificate-rejected", 1);
}

/// Asks once with the client certificate `client`, if any. Returns the answer.
fn ask_as(address: SocketAddr, root: &CertificateDer<'static>, client: Option<&Pair>) -> std::io::Result<String> {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).expect("a root");
    let config = ClientConfig::builder().with_root_certificates(roots);
    let config = match client {
        Some(pair) => {
            let chain = vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes()).expect("a certificate")];
            let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("a key");
            config.with_client_auth_cert(chain, key).expect("a pair")
        }
        None => config.with_no_client_auth(),
    };
    let name = ServerName::try_from("localhost").expect("a name");
    let connection = ClientConnection::new(Arc::new(config), name).map_err(std::io::Error::other)?;
    let mut tls = StreamOwned::new(connection, TcpStream::connect(address)?);
    again(&mut tls)
}

/// A server that accepts the clients of `ca` that have one of `names`, with the file of the CA.
fn serve_clients_of(pair: &Issued, volume: &Volume, ca: &Authority, names: &[&str]) -> (Server, PathBuf) {
    let file = volume.0.path().join("ca.crt");
    fs::write(&file, &ca.certificate).expect("written");
    volume.update(&pair.cert, &pair.key);
    let names = names.iter().map(ToString::to_string).collect();
    let clients = Some(ClientCertificates { ca: file.clone(), names });
    (serve(CertificateFiles { clients, ..volume.files() }), file)
}

const REFUSED: &str = "writgate_connections_refused_total{port=\"webhook\",reason=\"client-certificate\"}";

#[tokio::test(flavor = "multi_thread")]
async fn only_a_client_with_a_certificate_of_the_client_ca_is_served() {
    let pair = issue();
    let volume = Volume::with(&pair.cert, &pair.key);
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let (server, _) = serve_clients_of(&pair, &volume, &ours, &[]);
    let (client, stranger) = (ours.client("kube-apiserver", &[]), other.client("kube-apiserver", &[]));
    let serving = ours.server(&["kube-apiserver"]);
    let ask = |client| ask_as(server.address, &pair.der, client);
    assert!(ask(Some(&client)).expect("an answer").ends_with("here"));
    ask(None).expect_err("no certificate");
    ask(Some(&stranger)).expect_err("another CA with the same name of the client");
    ask(Some(&serving)).expect_err("a serving certificate is not for clients");
    until("all three are counted", || metric(&server.metrics, &format!("{REFUSED} 3")));
    assert!(ask(Some(&client)).expect("an answer").ends_with("here"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_must_have_one_of_the_names_if_some_are_given() {
    let pair = issue();
    let volume = Volume::with(&pair.cert, &pair.key);
    let ca = Authority::new("ours");
    let (server, _) = serve_clients_of(&pair, &volume, &ca, &["kube-apiserver", "apiserver.example"]);
    let ask = |client: &Pair| ask_as(server.address, &pair.der, Some(client));
    assert!(ask(&ca.client("kube-apiserver", &[])).expect("an answer").ends_with("here"));
    assert!(ask(&ca.client_with_dns_name("x", "apiserver.example")).expect("an answer").ends_with("here"));
    for other in ["kube-apiserver2", "kube", "KUBE-APISERVER", "*"] {
        ask(&ca.client(other, &[])).expect_err(other);
    }
    // An organisation is a group of the user, not a name.
    ask(&ca.client("x", &["kube-apiserver"])).expect_err("a group of that name");
    ask(&ca.client_with_dns_name("x", "other.apiserver.example")).expect_err("another DNS name");
    until("all six are counted", || metric(&server.metrics, &format!("{REFUSED} 6")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_client_ca_is_in_force_without_a_restart_and_a_broken_one_is_not() {
    let pair = issue();
    let volume = Volume::with(&pair.cert, &pair.key);
    let (first, second) = (Authority::new("first"), Authority::new("second"));
    let (server, file) = serve_clients_of(&pair, &volume, &first, &[]);
    let (old, new) = (first.client("kube-apiserver", &[]), second.client("kube-apiserver", &[]));
    let is_served = |client| ask_as(server.address, &pair.der, Some(client)).is_ok();
    assert!(is_served(&old) && !is_served(&new));
    fs::write(&file, "").expect("written");
    until("the broken file is reported", || metric(&server.metrics, "reloads_total{outcome=\"failed\"} 1"));
    assert!(is_served(&old) && !is_served(&new), "the old CA stays in force");
    fs::write(&file, format!("{}{}", first.certificate, second.certificate)).expect("written");
    until("both are served while they overlap", || is_served(&new));
    assert!(is_served(&old));
    fs::write(&file, &second.certificate).expect("written");
    until("the old one is not served any more", || !is_served(&old));
    assert!(is_served(&new));
}

#[test]
fn a_client_ca_that_cannot_be_used_is_an_error_at_the_start() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let pair = issue();
    let volume = Volume::with(&pair.cert, &pair.key);
    let file = volume.0.path().join("ca.crt");
    for content in ["", "no PEM", &pair.key] {
        fs::write(&file, content).expect("written");
        let clients = Some(ClientCertificates { ca: file.clone(), names: Vec::new() });
        let files = CertificateFiles { clients, ..volume.files() };
        let error = ServingCertificate::load(files, Metrics::default()).map(|_| ()).expect_err("unusable");
        assert!(matches!(error, TlsError::NoClientCa { .. }), "{content:?}: {error}");
    }
    let clients = Some(ClientCertificates { ca: "/nowhere/ca.crt".into(), names: Vec::new() });
    let files = CertificateFiles { clients, ..volume.files() };
    let error = ServingCertificate::load(files, Metrics::default()).map(|_| ()).expect_err("no file");
    assert!(error.to_string().contains("--client-ca-file"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_of_more_than_16_kib_are_not_kept_in_memory() {
    let pair = issue();
    let volume = Volume::with(&pair.cert, &pair.key);
    let server = serve(volume.files());
    let (mut tls, _) = ask(server.address, &pair.der).expect("an answer");
    tls.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nx: ").expect("sent");
    // Writing fails, or the answer says so, before all is sent.
    let sent = tls.write_all(&vec![b'y'; 300_000]).and_then(|()| tls.flush());
    let mut answer = Vec::new();
    let _ = tls.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    assert!(sent.is_err() || answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
}

/// Whether the metrics contain `line`.
fn metric(metrics: &Metrics, line: &str) -> bool {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &metrics.registry()).expect("encodes");
    text.contains(line)
}
