//! Starts the image that `make image` wrote, with no other file of this machine: the layer is unpacked into an empty folder,
//! which becomes the root folder. It requires `unshare` and either root or user namespaces.

use std::fs::{self, File, Permissions};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};
use tempfile::TempDir;
use writgate_testing::{Authority, Process, deployment_review, free_port, repository, wait_until};

/// Makes `$1` the root folder, without a way to write to it, and runs the rest as the user of the image. `$2` is whether
/// there is a `/dev/urandom`.
const ENTER: &str = r#"
set -eu
root=$1 urandom=$2; shift 2
mount --bind "$root" "$root"
[ "$urandom" = no ] || mount --bind /dev/urandom "$root/dev/urandom"
mount -o remount,bind,ro "$root"
exec chroot $CHROOT_USER "$root" "$@"
"#;
const LIMIT: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Urandom {
    Present,
    Absent,
}

/// The unpacked image.
struct Image {
    scratch: TempDir,
    config: Value,
    authority: Authority,
}

impl Image {
    /// Unpacks the image, and adds a folder with a certificate and postures, as a volume would be.
    fn unpack() -> Self {
        let layout = repository().join("target/image");
        let json = |path: &str| -> Value {
            let text = fs::read(layout.join(path)).expect("make image wrote the layout");
            serde_json::from_slice(&text).expect("JSON")
        };
        let blob = |descriptor: &Value| format!("blobs/{}", text(&descriptor["digest"]).replace(':', "/"));
        let manifest = json(&blob(&json("index.json")["manifests"][0]));
        let layers = manifest["layers"].as_array().expect("layers");
        assert_eq!(layers.len(), 1);
        let scratch = tempfile::tempdir().expect("a folder");
        let root = scratch.path().join("root");
        let layer = File::open(layout.join(blob(&layers[0]))).expect("the layer");
        assert!(layer.metadata().expect("a size").len() <= 8 << 20, "at most 8 MiB compressed");
        tar::Archive::new(flate2::read::GzDecoder::new(layer)).unpack(&root).expect("the layer can be unpacked");
        let names: Vec<_> =
            fs::read_dir(&root).expect("a folder").map(|entry| entry.expect("a name").file_name()).collect();
        assert_eq!(names, ["writgate-webhook"], "the image has one file");

        let authority = Authority::new("test");
        let image = Self { scratch, config: json(&blob(&manifest["config"]))["config"].clone(), authority };
        let pair = image.authority.server(&["localhost"]);
        for (name, text) in [
            ("tls.crt", &*pair.certificate),
            ("tls.key", &*pair.key),
            (
                "postures/namespace.yaml",
                "{apiVersion: v1, kind: Namespace, metadata: {name: payments, labels: {writgate.dev/environment: production, \
                 writgate.dev/project: payments}}}",
            ),
            (
                "postures/posture.yaml",
                "{apiVersion: writgate.dev/v1, kind: Posture, environment: production, actions: {deploy: {approval: none}}}",
            ),
            ("../dev/urandom", ""),
        ] {
            let path = root.join("config").join(name);
            fs::create_dir_all(root.join("config")).expect("a folder");
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(&path, text).expect("written");
            fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("readable");
        }
        image
    }

    /// A command that runs the entry point of the image.
    fn command(&self, urandom: Urandom, arguments: &[String]) -> Command {
        assert_eq!(self.config["User"], "65532:65532");
        let entry_point: Vec<&str> = self.config["Entrypoint"].as_array().expect("a list").iter().map(text).collect();
        let root = self.scratch.path().join("root");
        if urandom == Urandom::Absent {
            fs::remove_dir_all(root.join("dev")).ok();
        }
        let mut command = Command::new("unshare");
        if is_root() {
            command.env("CHROOT_USER", format!("--userspec={}", text(&self.config["User"])));
        } else {
            // A user namespace has no second user.
            command.args(["--user", "--map-root-user"]).env("CHROOT_USER", "");
        }
        command.args(["--mount", "sh", "-c", ENTER, "enter"]).arg(root);
        command.arg(if urandom == Urandom::Present { "yes" } else { "no" }).args(entry_point).args(arguments);
        command
    }

    fn starts(&self, urandom: Urandom) {
        let version = self.command(urandom, &["--version".to_owned()]).output().expect("unshare starts");
        let printed = String::from_utf8_lossy(&version.stdout).into_owned();
        let errors = String::from_utf8_lossy(&version.stderr).into_owned();
        assert_eq!(printed, format!("writgate-webhook {}\n", env!("CARGO_PKG_VERSION")), "{urandom:?}: {errors}");

        let (listen, admin) = (free_port(), free_port());
        let mut arguments: Vec<String> = [
            "--tls-cert-file=/config/tls.crt",
            "--tls-private-key-file=/config/tls.key",
            "--posture-dir=/config/postures",
            "--drain=0s",
        ]
        .map(str::to_owned)
        .into();
        arguments.push(format!("--listen=127.0.0.1:{listen}"));
        arguments.push(format!("--admin-listen=127.0.0.1:{admin}"));
        let logs = self.scratch.path();
        let mut webhook = Process::start("webhook", self.command(urandom, &arguments), logs, None);
        wait_until("the webhook is ready", LIMIT, || {
            let ended = webhook.ended();
            let log = || {
                ["log", "out"].map(|end| fs::read_to_string(logs.join(format!("webhook.{end}"))).unwrap_or_default())
            };
            assert_eq!(ended, None, "{urandom:?}: {:?}", log());
            page(admin, "/readyz").filter(|page| page.starts_with("HTTP/1.1 200"))
        });
        if is_root() {
            let status = fs::read_to_string(format!("/proc/{}/status", webhook.id())).expect("the process runs");
            assert!(status.contains("\nUid:\t65532\t65532\t65532\t65532\n"), "{status}");
        }
        let metrics = page(admin, "/metrics").expect("metrics");
        assert!(metrics.starts_with("HTTP/1.1 200") && metrics.contains("writgate_"), "{urandom:?}: {metrics}");
        let response = self.review(listen);
        assert_eq!((&response["uid"], &response["allowed"]), (&json!("r-1"), &json!(true)), "{urandom:?}: {response}");
        assert!(webhook.stop(LIMIT).success(), "{urandom:?}");
    }

    /// The response to the creation of a Deployment.
    fn review(&self, port: u16) -> Value {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let root = CertificateDer::from_pem_slice(self.authority.certificate.as_bytes()).expect("a certificate");
        let mut roots = RootCertStore::empty();
        roots.add(root).expect("a root");
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let name = ServerName::try_from("localhost").expect("a name");
        let connection = ClientConnection::new(Arc::new(config), name).expect("a connection");
        let mut stream = StreamOwned::new(connection, TcpStream::connect(("127.0.0.1", port)).expect("connected"));
        let review = deployment_review().to_string();
        let head = "POST /validate?timeout=5s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json";
        write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{review}", review.len()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
        serde_json::from_str::<Value>(body).expect("JSON")["response"].clone()
    }
}

fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().expect("id runs");
    id.stdout == b"0\n"
}

fn page(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    let mut page = String::new();
    stream.read_to_string(&mut page).ok()?;
    Some(page)
}

#[test]
#[ignore = "it requires the image, which takes minutes to build; make image-check runs it"]
fn the_image_starts_without_any_file_of_the_machine() {
    assert!(Path::new("/dev/urandom").exists(), "the comparison requires the device");
    let image = Image::unpack();
    image.starts(Urandom::Present);
    image.starts(Urandom::Absent);
}
