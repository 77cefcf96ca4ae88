//! Malformed HTTP framing and malformed TLS on a real socket. After each attempt, the webhook still serves the next peer.

use std::io::{Error, ErrorKind, Read as _, Result, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned};
use writgate::http::ports::{self, Connections};
use writgate::metrics::Metrics;

/// Less than what the webhook itself waits for a first request.
const PATIENCE: Duration = Duration::from_secs(4);

struct Server {
    address: SocketAddr,
    root: CertificateDer<'static>,
    handle: Handle<SocketAddr>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.handle.shutdown();
    }
}

impl Server {
    /// Starts a server that responds with the number of bytes of the body. Must be called within a runtime.
    fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let root = issued.cert.der().clone();
        let key = PrivateKeyDer::try_from(issued.signing_key.serialize_der()).expect("a key");
        let mut config =
            ServerConfig::builder().with_no_client_auth().with_single_cert(vec![root.clone()], key).expect("a pair");
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let handle = Handle::new();
        let routes = Router::new().route("/validate", post(|body: Bytes| async move { format!("{}.", body.len()) }));
        let connections = Connections::webhook(1024, Metrics::default());
        tokio::spawn(ports::serve_https(
            listener,
            routes,
            RustlsConfig::from_config(Arc::new(config)),
            connections,
            handle.clone(),
        ));
        Self { address, root, handle }
    }

    fn connect(&self) -> TcpStream {
        let socket = TcpStream::connect(self.address).expect("connected");
        socket.set_read_timeout(Some(PATIENCE)).expect("set");
        socket
    }

    fn client(&self, name: &str, protocols: &[&str]) -> ClientConnection {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).expect("a root");
        let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        ClientConnection::new(Arc::new(config), ServerName::try_from(name.to_owned()).expect("a name"))
            .expect("a client")
    }

    /// Sends bytes over TLS, and reads until the webhook ends the connection, which it does at once.
    fn send(&self, bytes: &[u8]) -> String {
        let mut tls = StreamOwned::new(self.client("localhost", &["http/1.1"]), self.connect());
        // The webhook may have answered, and closed, before it has read everything.
        let _ = tls.write_all(bytes).and_then(|()| tls.flush());
        let mut answer = Vec::new();
        let read = tls.read_to_end(&mut answer);
        assert!(!read.is_err_and(|error| error.kind() == ErrorKind::WouldBlock), "it still waits for more");
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Sends bytes without TLS, and reads until the webhook ends the connection.
    fn send_plain(&self, bytes: &[u8]) -> Vec<u8> {
        let mut socket = self.connect();
        let _ = socket.write_all(bytes);
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).map(|_| ()).or_else(reset_is_an_end).expect("the webhook ends the connection");
        answer
    }

    fn assert_serves(&self) {
        let answer = self.send(&request("Content-Length: 2\r\nConnection: close\r\n", "{}"));
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("2."), "{answer}");
    }
}

fn reset_is_an_end(error: Error) -> Result<()> {
    if error.kind() == ErrorKind::ConnectionReset { Ok(()) } else { Err(error) }
}

fn request(headers: &str, body: &str) -> Vec<u8> {
    format!("POST /validate HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n{body}").into_bytes()
}

/// The status of each answer on the connection.
fn statuses(answer: &str) -> Vec<&str> {
    answer.split("HTTP/1.1 ").skip(1).map(|rest| rest.split(' ').next().expect("a status")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn refuses_a_body_with_two_lengths_or_an_invalid_one() {
    let server = Server::start();
    let smuggled = "0\r\n\r\nPOST /validate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
    for headers in [
        "Content-Length: 4\r\nContent-Length: 5\r\n",
        "Content-Length: 4, 5\r\n",
        "Content-Length: +4\r\n",
        "Content-Length: 0x4\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 18446744073709551616\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: identity\r\nContent-Length: 4\r\n",
    ] {
        assert_eq!(statuses(&server.send(&request(headers, smuggled))), ["400"], "{headers}");
    }
    server.assert_serves();
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_take_precedence_over_a_content_length() {
    let server = Server::start();
    let both = "Content-Length: 60\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n";
    let answer = server.send(&request(both, "2\r\n{}\r\n0\r\n\r\nPOST /validate HTTP/1.1\r\nHost: x\r\n\r\n"));
    assert!(statuses(&answer).len() == 1, "what follows the body is no request: {answer}");
    server.assert_serves();
}

#[tokio::test(flavor = "multi_thread")]
async fn refuses_chunks_with_false_lengths() {
    let server = Server::start();
    let chunked = "Transfer-Encoding: chunked\r\nConnection: close\r\n";
    for lie in ["1\r\n{}\r\n0\r\n\r\n", "fffffffffffffffff\r\n{}", "-1\r\n{}\r\n", "zz\r\n{}\r\n", "2\r\n{}0\r\n\r\n"] {
        let answer = server.send(&request(chunked, lie));
        assert!(statuses(&answer).iter().all(|status| *status == "400"), "{lie:?}: {answer}");
    }
    server.assert_serves();
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_are_bounded_in_number_and_size() {
    let server = Server::start();
    let many = "x: y\r\n".repeat(10_000);
    let long = format!("x: {}\r\n", "y".repeat(1 << 20));
    for headers in [many, long] {
        // The answer may be lost, since the connection is closed before all is read.
        let answer = server.send(&request(&headers, ""));
        assert!(statuses(&answer).iter().all(|status| *status == "431"), "{answer}");
    }
    server.assert_serves();
}

#[tokio::test(flavor = "multi_thread")]
async fn refuses_a_request_that_is_not_http_1() {
    let server = Server::start();
    for broken in [
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "POST /validate HTTP/9.9\r\nHost: x\r\n\r\n",
        "POST /validate\r\n\r\n",
        "POST  /validate HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /vali date HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /validate HTTP/1.1\r\nHo st: x\r\n\r\n",
        "POST /validate HTTP/1.1\r\n Host: x\r\n\r\n",
        "POST /validate HTTP/1.1\r\nHost : x\r\n\r\n",
        "POST /validate HTTP/1.1\r\nHost: x\0y\r\n\r\n",
        "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\r\n\r\n",
    ] {
        let answer = server.send(broken.as_bytes());
        assert!(statuses(&answer).iter().all(|status| *status == "400"), "{broken:?}: {answer}");
    }
    server.assert_serves();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_form_of_the_target_reaches_no_other_route() {
    let server = Server::start();
    let close = "Host: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    for (target, status) in [
        ("POST http://elsewhere.example/validate", "200"),
        ("POST http://elsewhere.example/", "404"),
        ("POST /%2e/validate", "404"),
        ("POST /x/../validate", "404"),
        ("POST /validate/..", "404"),
        ("OPTIONS *", "404"),
    ] {
        let answer = server.send(format!("{target} HTTP/1.1\r\n{close}").as_bytes());
        assert_eq!(statuses(&answer), [status], "{target}");
    }
    server.assert_serves();
}

#[tokio::test(flavor = "multi_thread")]
async fn refuses_old_tls_and_other_bytes() {
    const ALERT: u8 = 21;
    let server = Server::start();
    // A ClientHello of TLS 1.0 that offers TLS_RSA_WITH_AES_128_CBC_SHA.
    let mut old = vec![0x16, 3, 1, 0, 45, 1, 0, 0, 41, 3, 1];
    old.extend([7; 32]);
    old.extend([0, 0, 2, 0, 0x2f, 1, 0]);
    assert_eq!(server.send_plain(&old).first(), Some(&ALERT));
    for broken in [
        b"POST /validate HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        vec![0x16, 3, 1, 0xff, 0xff],
        vec![0x17, 3, 3, 0, 1, 0],
        vec![0xff; 1 << 16],
        // An empty handshake record, again and again.
        [0x16, 3, 1, 0, 0].repeat(100),
    ] {
        let answer = server.send_plain(&broken);
        assert!(answer.is_empty() || answer[0] == ALERT, "{answer:x?}");
    }
    server.assert_serves();
}

#[tokio::test(flavor = "multi_thread")]
async fn accepts_a_client_hello_in_single_bytes() {
    let server = Server::start();
    let mut client = server.client("localhost", &["http/1.1"]);
    let mut hello = Vec::new();
    client.write_tls(&mut hello).expect("a hello");
    let mut socket = server.connect();
    socket.set_nodelay(true).expect("set");
    for byte in hello {
        socket.write_all(&[byte]).expect("sent");
    }
    let mut tls = StreamOwned::new(client, socket);
    tls.write_all(&request("Content-Length: 2\r\nConnection: close\r\n", "{}")).expect("sent");
    let mut answer = String::new();
    let _ = tls.read_to_string(&mut answer);
    assert!(answer.ends_with("2."), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn refuses_a_client_without_a_common_protocol_and_leaves_the_name_to_the_client() {
    let server = Server::start();
    let handshake = |name: &str, protocols: &[&str]| {
        let mut client = server.client(name, protocols);
        client.complete_io(&mut server.connect()).map(|_| ())
    };
    handshake("localhost", &[]).expect("the API server may offer none");
    assert!(handshake("localhost", &["h2"]).is_err());
    for name in ["elsewhere.example", "127.0.0.1"] {
        let error = handshake(name, &["http/1.1"]).expect_err("another name").to_string();
        assert!(error.contains("certificate not valid for name"), "{error}");
    }
    server.assert_serves();
}
