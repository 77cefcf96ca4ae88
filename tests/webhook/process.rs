//! The webhook as a process with postures from a folder: errors at the start, a changed folder, and the drain.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};
use tempfile::TempDir;
use writgate_testing::deployment_review;

const NAMESPACE: &str = "{apiVersion: v1, kind: Namespace, metadata: {name: payments, labels: \
    {writgate.dev/environment: production, writgate.dev/project: payments}}}";

/// A folder with a certificate and postures.
struct Folder {
    path: TempDir,
    root: CertificateDer<'static>,
}

impl Folder {
    fn new() -> Self {
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let folder = Self { path: tempfile::tempdir().expect("a folder"), root: pair.cert.der().clone() };
        fs::create_dir(folder.path.path().join("postures")).expect("made");
        folder.write("tls.crt", &pair.cert.pem());
        folder.write("tls.key", &pair.signing_key.serialize_pem());
        folder.write("postures/namespaces.yaml", NAMESPACE);
        folder.posture("none");
        folder
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path.path().join(name), text).expect("written");
    }

    fn posture(&self, approval: &str) {
        let text = format!(
            "{{apiVersion: writgate.dev/v1, kind: Posture, environment: production, actions: {{deploy: {{approval: {approval}}}}}}}"
        );
        self.write("postures/posture.yaml", &text);
    }

    fn command(&self, listen: u16, admin: u16) -> Command {
        let file = |name: &str| self.path.path().join(name);
        let mut command = Command::new(env!("CARGO_BIN_EXE_writgate-webhook"));
        command
            .env_clear()
            .args(["--listen", &format!("127.0.0.1:{listen}"), "--admin-listen", &format!("127.0.0.1:{admin}")])
            .args([
                Path::new("--tls-cert-file"),
                &file("tls.crt"),
                Path::new("--tls-private-key-file"),
                &file("tls.key"),
            ])
            .stdin(Stdio::null());
        command
    }

    fn with_postures(&self, listen: u16, admin: u16) -> Command {
        let mut command = self.command(listen, admin);
        command.arg("--posture-dir").arg(self.path.path().join("postures"));
        command
    }
}

/// A running webhook, killed when the test ends.
struct Webhook {
    child: Child,
    listen: u16,
    admin: u16,
    root: CertificateDer<'static>,
}

impl Drop for Webhook {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Webhook {
    fn start(folder: &Folder, drain: &str, stdout: Stdio) -> Self {
        let (listen, admin) = (free_port(), free_port());
        let mut command = folder.with_postures(listen, admin);
        let child = command.args(["--drain", drain]).stdout(stdout).spawn().expect("it starts");
        let webhook = Self { child, listen, admin, root: folder.root.clone() };
        until("it is ready", || webhook.page("/readyz").is_some_and(|page| page.starts_with("HTTP/1.1 200")));
        webhook
    }

    fn page(&self, path: &str) -> Option<String> {
        self.admin(&format!("GET {path}"), "")
    }

    /// The answer of the admin port to a request.
    fn admin(&self, request: &str, body: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.admin)).ok()?;
        let headers = format!("Host: localhost\r\nConnection: close\r\nContent-Length: {}", body.len());
        write!(stream, "{request} HTTP/1.1\r\n{headers}\r\n\r\n{body}").ok()?;
        let mut page = String::new();
        stream.read_to_string(&mut page).ok()?;
        Some(page)
    }

    fn connect(&self) -> StreamOwned<ClientConnection, TcpStream> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).expect("a root");
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let name = ServerName::try_from("localhost").expect("a name");
        let connection = ClientConnection::new(Arc::new(config), name).expect("a connection");
        StreamOwned::new(connection, TcpStream::connect(("127.0.0.1", self.listen)).expect("connected"))
    }

    /// The whole answer to the creation of a Deployment, which may be an error.
    fn answer(&self) -> String {
        let (mut stream, review) = (self.connect(), deployment_review().to_string());
        let head = "POST /validate?timeout=5s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
            Content-Type: application/json\r\nContent-Length: ";
        stream.write_all(format!("{head}{}\r\n\r\n{review}", review.len()).as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    }

    fn allows(&self) -> bool {
        ask(&mut self.connect()).1["response"]["allowed"].as_bool().expect("a verdict")
    }

    fn stop(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs").success());
    }
}

/// Head and body of the answer to the creation of a Deployment.
fn ask(stream: &mut StreamOwned<ClientConnection, TcpStream>) -> (String, Value) {
    ask_with(stream, "")
}

/// As [`ask`], with further headers.
fn ask_with(stream: &mut StreamOwned<ClientConnection, TcpStream>, headers: &str) -> (String, Value) {
    let review = deployment_review().to_string();
    let length = review.len();
    let head = "POST /validate?timeout=5s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    stream.write_all(format!("{head}{headers}Content-Length: {length}\r\n\r\n{review}").as_bytes()).expect("sent");
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let read = stream.read(&mut chunk).expect("an answer");
        answer.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&answer);
        if let Some((head, body)) = text.split_once("\r\n\r\n")
            && let Ok(body) = serde_json::from_str(body)
        {
            return (head.to_lowercase(), body);
        }
        assert_ne!(read, 0, "cut off: {text}");
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port()
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "not within 20 s: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_changed_folder_changes_the_decision_and_a_broken_one_denies() {
    let folder = Folder::new();
    let webhook = Webhook::start(&folder, "0", Stdio::null());
    assert!(webhook.allows());
    folder.posture("required");
    until("the stricter posture is in force", || !webhook.allows());
    folder.posture("none");
    until("the first one is in force again", || webhook.allows());
    folder.write(
        "postures/posture.yaml",
        "{apiVersion: writgate.dev/v1, kind: Posture, environment: production, quorum: [",
    );
    until("a broken posture denies", || !webhook.allows());
}

#[test]
fn a_full_disk_admits_nothing_and_stops_no_denial() {
    let folder = Folder::new();
    // Each write to it fails as on a full disk.
    let full = fs::File::options().write(true).open("/dev/full").expect("Linux has it");
    let webhook = Webhook::start(&folder, "0s", full.into());
    let answer = webhook.answer();
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("not recorded: standard output cannot be written: no storage space"), "{answer}");
    folder.posture("required");
    until("a denial requires no record", || {
        let answer = webhook.answer();
        answer.starts_with("HTTP/1.1 200") && answer.contains("ApprovalRequired")
    });
    let metrics = webhook.page("/metrics").expect("metrics");
    let dropped = metrics.lines().find_map(|line| line.strip_prefix("writgate_records_dropped_total "));
    assert!(dropped.is_some_and(|dropped| dropped.parse::<u32>().is_ok_and(|dropped| dropped >= 2)), "{metrics}");
    assert!(webhook.page("/readyz").is_some_and(|page| page.starts_with("HTTP/1.1 200")));
}

#[test]
fn a_stopping_webhook_drains_before_it_ends() {
    let folder = Folder::new();
    let mut webhook = Webhook::start(&folder, "2s", Stdio::piped());
    let mut kept = webhook.connect();
    assert!(!ask(&mut kept).0.contains("connection: close"));
    webhook.stop();
    until("it is not ready", || webhook.page("/readyz").is_some_and(|page| page.contains("shutting down")));
    let (head, body) = ask(&mut kept);
    assert_eq!(body["response"]["allowed"], true, "reviews are answered while it drains");
    assert!(head.contains("connection: close"), "{head}");
    assert!(webhook.allows(), "so are those on new connections");
    let lines = BufReader::new(webhook.child.stdout.take().expect("piped")).lines();
    assert!(webhook.child.wait().expect("it ends").success());
    let lines: Vec<String> = lines.map(|line| line.expect("UTF-8")).collect();
    let of_readiness = lines.iter().filter(|line| line.contains("ready\""));
    let expected = [r#""message":"ready""#, r#""message":"not ready","why":"shutting down""#];
    assert!(of_readiness.zip(expected).all(|(line, part)| line.contains(part)), "{lines:#?}");
    assert!(lines.iter().any(|line| line.contains("WARN") && line.contains(expected[1])), "{lines:#?}");
    let last = lines.last().expect("a line");
    assert!(last.contains("\"stopped\""), "{last}");
    assert!(TcpStream::connect(("127.0.0.1", webhook.listen)).is_err());
}

const TRACE: &str = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n";

#[test]
fn the_log_joins_a_decision_with_the_callers_trace_and_its_filter_changes_at_run_time() {
    let folder = Folder::new();
    let mut webhook = Webhook::start(&folder, "0s", Stdio::piped());
    let refused = webhook.admin("PUT /log", "writgate=loud").expect("an answer");
    assert!(refused.starts_with("HTTP/1.1 400") && refused.contains("expected a level"), "{refused}");
    assert!(webhook.page("/log").expect("an answer").ends_with("\r\n\r\ninfo\n"));
    ask_with(&mut webhook.connect(), TRACE);
    ask_with(&mut webhook.connect(), &TRACE.replace("-01\r", "-00\r"));
    ask_with(&mut webhook.connect(), &TRACE.replace("4bf9", "4BF9"));
    let changed = webhook.admin("PUT /log", "error").expect("an answer");
    assert!(changed.ends_with("the log filter is error for 30 minutes, then info\n"), "{changed}");
    ask_with(&mut webhook.connect(), TRACE);
    webhook.admin("PUT /log", "debug").expect("an answer");
    ask_with(&mut webhook.connect(), &TRACE.replace("-01\r", "-00\r"));
    webhook.stop();
    let lines = BufReader::new(webhook.child.stdout.take().expect("piped")).lines();
    assert!(webhook.child.wait().expect("it ends").success());
    let lines = lines.map(|line| serde_json::from_str::<Value>(&line.expect("UTF-8")).expect("JSON"));
    let lines: Vec<Value> = lines.collect();
    let traced: Vec<_> = lines.iter().filter(|line| line["message"] == "decided in a trace").collect();
    assert_eq!(traced.len(), 2, "sampled with info, and unsampled with debug: {traced:#?}");
    assert_eq!(traced[0]["traceparent"], "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    assert_eq!((&traced[0]["level"], &traced[1]["level"]), (&json!("INFO"), &json!("DEBUG")));
    let records: Vec<_> = lines.iter().filter(|line| line["version"] == "writgate.dev/decision/v1").collect();
    assert_eq!(records.len(), 5, "records are written whatever the filter says");
    assert_eq!(traced[0]["decision"], records[0]["id"]);
    assert!(!records[0].to_string().contains("traceparent"), "the record is signed, and the header is a claim");
    let replacements: Vec<_> = lines.iter().filter(|line| line["message"] == "log filter replaced").collect();
    assert_eq!(replacements.len(), 2, "a change is logged also from and to error");
    assert_eq!((&replacements[0]["from"], &replacements[0]["to"]), (&json!("info"), &json!("error")));
}

/// Opens connections from an address of loopback, and keeps them open.
fn idle_connections(from: [u8; 4], port: u16, count: usize) -> Vec<TcpStream> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let open = || async {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind((from, 0).into()).expect("an address of loopback");
        socket.connect(([127, 0, 0, 1], port).into()).await
    };
    let streams = (0..count).map(|_| runtime.block_on(open()).and_then(tokio::net::TcpStream::into_std));
    streams.collect::<Result<_, _>>().expect("the kernel accepts connections before the webhook does")
}

#[test]
fn a_flood_of_connections_leaves_room_for_other_addresses_and_for_probes() {
    let folder = Folder::new();
    let (listen, admin) = (free_port(), free_port());
    let webhook = folder.with_postures(listen, admin);
    // 400 open files: 80 connections to the webhook's port. The soft limit is raised to that.
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -Sn 100 && ulimit -Hn 400 && exec \"$0\" \"$@\""]);
    limited.arg(webhook.get_program()).args(webhook.get_args()).stdout(Stdio::null());
    let child = limited.env_clear().spawn().expect("it starts");
    let webhook = Webhook { child, listen, admin, root: folder.root.clone() };
    until("it is ready", || webhook.page("/readyz").is_some_and(|page| page.starts_with("HTTP/1.1 200")));
    let held = [
        idle_connections([127, 0, 0, 2], listen, 300),
        idle_connections([127, 0, 0, 2], admin, 100),
        idle_connections([127, 0, 0, 3], listen, 300),
    ];
    let refused = |port| {
        let metrics = webhook.page("/metrics").expect("the admin port answers other addresses");
        let name = format!("writgate_connections_refused_total{{port=\"{port}\",reason=\"too-many\"}} ");
        let count = metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok());
        count.unwrap_or(0_u32)
    };
    // The webhook's port has room for 40 and 20 of them, the admin port for 32.
    until("the floods are refused", || refused("webhook") >= 500 && refused("admin") >= 60);
    assert!(webhook.allows(), "another address is served");
    assert!(webhook.page("/livez").is_some_and(|page| page.starts_with("HTTP/1.1 200")));
    drop(held);
}

#[test]
fn a_webhook_that_cannot_start_says_why_and_what_to_do() {
    let folder = Folder::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let run = |command: &mut Command| -> (i32, String) {
        let Output { status, stderr, .. } = command.output().expect("it runs");
        (status.code().expect("a code"), String::from_utf8(stderr).expect("UTF-8"))
    };
    let cases: [(Command, i32, &[&str]); 10] = [
        (folder.with_postures(port, free_port()), 1, &["--listen", &port.to_string(), "in use"]),
        (folder.with_postures(free_port(), port), 1, &["--admin-listen", &port.to_string(), "in use"]),
        (folder.command(free_port(), free_port()), 1, &["no cluster", "--kubeconfig", "--posture-dir"]),
        (
            {
                let mut c = folder.command(0, 0);
                c.args(["--posture-dir", "/nowhere"]);
                c
            },
            1,
            &["/nowhere", "--posture-dir"],
        ),
        (
            {
                let mut c = folder.with_postures(0, 0);
                c.args(["--tls-cert-file", "/nowhere.pem"]);
                c
            },
            2,
            &["--tls-cert-file"],
        ),
        // A certificate has one source.
        (
            {
                let mut c = folder.command(0, 0);
                c.args(["--certificate-secret", "a/b"]);
                c
            },
            2,
            &["--certificate-secret", "cannot be used with", "--tls-cert-file"],
        ),
        (Command::new(env!("CARGO_BIN_EXE_writgate-webhook")), 2, &["--certificate-secret <NAMESPACE/NAME>"]),
        (
            {
                let mut c = Command::new(env!("CARGO_BIN_EXE_writgate-webhook"));
                c.args(["--certificate-secret", "writgate-webhook-ca"]);
                c
            },
            2,
            &["--certificate-secret", "expected NAMESPACE/NAME"],
        ),
        (
            {
                let mut c = folder.with_postures(free_port(), free_port());
                c.args(["--log", "writgate=loud"]);
                c
            },
            2,
            &["--log", "writgate=debug"],
        ),
        (
            {
                let mut c = folder.with_postures(0, 0);
                c.args(["--exempt-controller", "nobody"]);
                c
            },
            2,
            &["--exempt-controller", "USER=RESOURCE"],
        ),
    ];
    for (mut command, code, says) in cases {
        let (found, stderr) = run(&mut command);
        assert_eq!(found, code, "{command:?}: {stderr}");
        for what in says {
            assert!(stderr.contains(what), "{command:?}: no {what} in {stderr}");
        }
    }
    let mut unreadable = folder.with_postures(0, 0);
    fs::remove_file(folder.path.path().join("tls.key")).expect("removed");
    let (code, stderr) = run(&mut unreadable);
    assert!(code == 1 && stderr.contains("tls.key") && stderr.contains("--tls-private-key-file"), "{stderr}");
}
