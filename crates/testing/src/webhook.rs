//! The real webhook, as the chart installs it. The rendered manifests are applied, and the binary runs on loopback with the
//! token of the chart's service account, so that it has only the rights that the chart grants. It makes its own certificate, from the
//! CA that all replicas share.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::{Deserializer, Value};

use crate::plane::{Plane, json_lines};
use crate::process::{Process, free_port, wait_until};
use crate::programs::{program, repository};
use crate::user::User;

/// The namespace that the chart installs into.
pub const SYSTEM_NAMESPACE: &str = "writgate-system";

/// The Secret with the CA of the chart's installation.
pub const CA_SECRET: &str = "writgate-webhook-ca";

/// A further kind of the webhook, in the form of `--workload-kind`. A test that uses it installs its
/// `CustomResourceDefinition`.
pub const FURTHER_KIND: &str = "example.com/v1/Rollout=rollouts:spec.template";

/// A running webhook process.
pub struct Webhook {
    process: Mutex<Process>,
    /// The chart's service account, with the chart's rights.
    pub identity: User,
    port: u16,
    admin_port: u16,
    stdout: PathBuf,
    /// The Secret with its CA.
    secret: String,
}

impl Webhook {
    /// Applies `manifests/`, starts the binary, waits until it is ready, and then installs the webhook configuration.
    pub fn install(plane: &Plane) -> Self {
        let (configurations, others): (Vec<Value>, Vec<Value>) = manifest(plane, "writgate.yaml")
            .into_iter()
            .partition(|object| object["kind"] == "ValidatingWebhookConfiguration");
        assert!(!configurations.is_empty(), "manifests/ has a webhook configuration");
        plane.install(&others);
        plane.install(&manifest(plane, "example/posture.yaml"));
        let port = free_port();
        // Requests in a test take less than a minute, so uses are released sooner than in a cluster.
        let webhook = Self::start(plane, "webhook", port, &["--release-after", "5s"]);
        webhook.wait_ready(Duration::from_secs(30));
        let local = configurations.into_iter().map(|configuration| on_loopback(configuration, port, None));
        plane.install(&local.collect::<Vec<_>>());
        let label = ["label", "namespace", "default", "writgate.dev/project=probe", "--dry-run=server"];
        wait_until("the API server trusts the webhook", Duration::from_secs(30), || {
            (!plane.admin.kubectl(&label).stderr.contains("failed calling webhook")).then_some(())
        });
        webhook
    }

    /// Starts another replica, which the API server does not call.
    pub fn replica(plane: &Plane, name: &str) -> Self {
        Self::replica_with(plane, name, &[])
    }

    /// Starts another replica with further flags.
    pub fn replica_with(plane: &Plane, name: &str, args: &[&str]) -> Self {
        let replica = Self::start(plane, name, free_port(), args);
        replica.wait_ready(Duration::from_secs(30));
        replica
    }

    /// Starts another replica, and returns the time from the start of its process until it was ready.
    pub fn timed_replica(plane: &Plane, name: &str) -> (Self, Duration) {
        let replica = Self::start(plane, name, free_port(), &[]);
        let begun = Instant::now();
        while !matches!(replica.http_get("/readyz"), Ok((200, _))) {
            assert!(begun.elapsed() < Duration::from_mins(2), "{name} is not ready after two minutes");
            std::thread::sleep(Duration::from_millis(2));
        }
        (replica, begun.elapsed())
    }

    /// The id of the process.
    pub fn id(&self) -> u32 {
        self.process.lock().expect("no thread panics while it holds the lock").id()
    }

    fn start(plane: &Plane, name: &str, port: u16, args: &[&str]) -> Self {
        let (secret, own) = (format!("{SYSTEM_NAMESPACE}/{CA_SECRET}"), ["--certificate-name", "127.0.0.1"]);
        let args = [&["--certificate-secret", &secret], &own[..], &["--workload-kind", FURTHER_KIND], args].concat();
        Self::spawn(plane, name, port, CA_SECRET, &args, &[])
    }

    /// Starts the binary with these flags for its certificate. Does not wait until it is ready.
    pub fn with_certificate(plane: &Plane, name: &str, secret: &str, args: &[&str]) -> Self {
        Self::spawn(plane, name, free_port(), secret, args, &[])
    }

    /// As [`Self::with_certificate`], with these environment variables.
    pub fn with_environment(
        plane: &Plane,
        name: &str,
        secret: &str,
        args: &[&str],
        environment: &[(&str, &Path)],
    ) -> Self {
        Self::spawn(plane, name, free_port(), secret, args, environment)
    }

    /// Starts the binary on a port that is known, for example from files of the API server. Does not wait until it is ready.
    pub fn on_port(plane: &Plane, name: &str, port: u16, args: &[&str]) -> Self {
        Self::spawn(plane, name, port, CA_SECRET, args, &[])
    }

    /// The port of /livez, /readyz and /metrics.
    pub fn admin_port(&self) -> u16 {
        self.admin_port
    }

    fn spawn(plane: &Plane, name: &str, port: u16, secret: &str, args: &[&str], environment: &[(&str, &Path)]) -> Self {
        let identity = plane.service_account(SYSTEM_NAMESPACE, "writgate-webhook");
        let admin_port = free_port();
        let mut command = Command::new(program("writgate-webhook"));
        command
            .args(["--listen", &format!("127.0.0.1:{port}"), "--admin-listen", &format!("127.0.0.1:{admin_port}")])
            .arg("--kubeconfig")
            .arg(&identity.kubeconfig)
            .args(args)
            .envs(environment.iter().copied());
        let logs = plane.folder.join("logs");
        let name = format!("writgate-{name}");
        let process = Process::start(&name, command, &logs, None);
        let stdout = logs.join(format!("{name}.out"));
        Self { process: Mutex::new(process), identity, port, admin_port, stdout, secret: secret.to_owned() }
    }

    /// The CA that signs the replica's certificate, in PEM.
    pub fn authority(&self, plane: &Plane) -> String {
        use base64::Engine as _;
        let secret = plane.admin.get(&["secret", &self.secret, "-n", SYSTEM_NAMESPACE]).expect("the Secret exists");
        let encoded = secret["data"]["ca.crt"].as_str().expect("the webhook has made a CA");
        let pem = base64::engine::general_purpose::STANDARD.decode(encoded).expect("base64");
        String::from_utf8(pem).expect("PEM")
    }

    /// The URL of a path of the webhook's port.
    pub fn url(&self, path: &str) -> String {
        format!("https://127.0.0.1:{}{path}", self.port)
    }

    /// A webhook configuration with which the API server sends the creation of Deployments in `namespace` to this replica too.
    pub fn configuration(&self, plane: &Plane, name: &str, namespace: &str) -> Value {
        let configuration = serde_json::json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": name},
            "webhooks": [{
                "name": format!("{name}.example.com"), "admissionReviewVersions": ["v1"], "sideEffects": "NoneOnDryRun",
                "clientConfig": {"service": {"path": "/validate"}},
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "rules": [{"apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"], "operations": ["CREATE"]}]
            }]
        });
        on_loopback(configuration, self.port, Some(&self.authority(plane)))
    }

    /// A client that sends requests directly to this replica.
    pub async fn client(&self, plane: &Plane) -> kube::Client {
        plane.user_of(&self.url(""), &self.authority(plane), &format!("caller-{}", self.port)).client().await
    }

    /// The process id.
    pub fn process_id(&self) -> u32 {
        self.process.lock().expect("no thread panics while it holds the lock").id()
    }

    /// Kills the process, as the failure of a node does.
    pub fn kill(self) {
        self.process.lock().expect("no thread panics while it holds the lock").signal("KILL");
    }

    /// The file with the process's standard output.
    pub fn log(&self) -> &Path {
        &self.stdout
    }

    /// The complete lines of standard output so far.
    pub fn lines(&self) -> String {
        let text = std::fs::read_to_string(&self.stdout).unwrap_or_default();
        text.rsplit_once('\n').map(|(lines, _)| lines.to_owned()).unwrap_or_default()
    }

    /// Stops the process as a rollout does, and returns its standard output.
    pub fn stop(self) -> String {
        self.process.lock().expect("no thread panics while it holds the lock").stop(Duration::from_secs(30));
        self.lines()
    }

    /// The decision records that `wanted` accepts, in the order in which they were written.
    pub fn records(&self, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
        json_lines(&self.stdout, |line| line["version"] == "writgate.dev/decision/v1" && wanted(line))
    }

    /// The sum of a counter over all series that have these labels.
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let (_, text) = self.http_get("/metrics").expect("the admin port answers");
        let has_labels =
            |line: &&str| labels.iter().all(|(label, value)| line.contains(&format!("{label}=\"{value}\"")));
        let series =
            text.lines().filter(|line| line.starts_with(&format!("{name}{{")) || line.starts_with(&format!("{name} ")));
        series.filter(has_labels).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Status and body of a GET request to the admin port.
    pub fn http_get(&self, path: &str) -> std::io::Result<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.admin_port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        // With HTTP/1.0 the body ends with the connection, so it needs no decoding.
        write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        Ok((status, body.to_owned()))
    }

    /// Waits until the replica is ready.
    pub fn wait_ready(&self, limit: Duration) {
        wait_until("the webhook is ready", limit, || {
            let mut process = self.process.lock().expect("no thread panics while it holds the lock");
            if let Some(status) = process.ended() {
                panic!(
                    "the webhook ended with {status}: {}",
                    std::fs::read_to_string(&self.stdout).unwrap_or_default()
                );
            }
            matches!(self.http_get("/readyz"), Ok((200, _))).then_some(())
        });
    }
}

/// The objects of a file in `manifests/`. kubectl parses them, since Writgate's own parser is under test.
fn manifest(plane: &Plane, file: &str) -> Vec<Value> {
    let path = repository().join("manifests").join(file);
    let path = path.to_str().expect("a UTF-8 path");
    let ran = plane.admin.kubectl(&["create", "--dry-run=client", "-o", "json", "-f", path]);
    assert!(ran.ok(), "{path}: {ran}");
    Deserializer::from_str(&ran.stdout).into_iter().map(|object| object.expect("kubectl prints JSON")).collect()
}

/// The chart's webhook configuration with the address replaced by one on loopback.
fn on_loopback(mut configuration: Value, port: u16, authority: Option<&str>) -> Value {
    use base64::Engine as _;
    let bundle = authority.map(|pem| base64::engine::general_purpose::STANDARD.encode(pem));
    for webhook in configuration["webhooks"].as_array_mut().expect("a webhook configuration has webhooks") {
        let path = webhook["clientConfig"]["service"]["path"].as_str().unwrap_or("/").to_owned();
        webhook["clientConfig"] = serde_json::json!({"url": format!("https://127.0.0.1:{port}{path}")});
        if let Some(bundle) = &bundle {
            webhook["clientConfig"]["caBundle"] = serde_json::json!(bundle);
        }
    }
    configuration
}
