//! Flux's own controllers on a control plane. A server on loopback and written statuses stand in for source-controller, which
//! cannot be built from modules.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::plane::Plane;
use crate::process::{Process, free_port};
use crate::signing::seconds_from_now;
use crate::tools;

/// The namespace of Flux and of its objects.
pub const SYSTEM: &str = "flux-system";

/// Creates Flux's CRDs and its namespace.
pub fn install(plane: &Plane) {
    let definitions = tools::flux().join("crds");
    let definitions = definitions.to_str().expect("a UTF-8 path");
    let ran = plane.admin.kubectl(&["apply", "--server-side", "-f", definitions]);
    assert!(ran.ok(), "{ran}");
    let ran = plane.admin.kubectl(&["wait", "--for=condition=established", "-f", definitions]);
    assert!(ran.ok(), "{ran}");
    plane.install(&[json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}})]);
}

/// Starts a controller with the rights that Flux gives it. `name` is that of its account.
pub fn controller(plane: &Plane, program: &str, name: &str, args: &[&str]) -> Process {
    let group = "rbac.authorization.k8s.io";
    plane.install(&[
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": SYSTEM}}),
        json!({"apiVersion": format!("{group}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": name},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": SYSTEM}]}),
    ]);
    let user = plane.service_account(SYSTEM, name);
    let temporary = plane.folder.join(name);
    fs::create_dir_all(&temporary).expect("the plane's folder can be written");
    let mut command = user.command(&tools::flux().join(program));
    command
        .env("RUNTIME_NAMESPACE", SYSTEM)
        .env("TMPDIR", &temporary)
        .args(["--watch-all-namespaces", "--enable-leader-election=false", "--events-addr="])
        .arg(format!("--metrics-addr=127.0.0.1:{}", free_port()))
        .arg(format!("--health-addr=127.0.0.1:{}", free_port()))
        .args(args);
    Process::start(name, command, &plane.folder.join("logs"), None)
}

/// A text that no other call returns.
pub fn unique() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("request-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Serves the files of a folder until the test process ends.
pub struct FileServer {
    folder: PathBuf,
    address: SocketAddr,
}

impl FileServer {
    /// Serves the folder, which is created if it does not exist.
    pub fn start(folder: PathBuf) -> Self {
        fs::create_dir_all(&folder).expect("the plane's folder can be written");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("a port");
        let served = folder.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that goes away in the middle is not served.
                drop(answer(&stream, &served));
            }
        });
        Self { folder, address }
    }

    /// Packs an entry of a folder into an archive, and returns its description for a status.
    fn publish(&self, folder: &Path, entry: &str, name: &str, revision: &str) -> Value {
        let archive = self.folder.join(name);
        let status = Command::new("tar").arg("-czf").arg(&archive).arg("-C").arg(folder).arg(entry).status();
        assert!(status.expect("tar starts").success());
        let bytes = fs::read(&archive).expect("tar has written it");
        json!({"path": name, "url": format!("http://{}/{name}", self.address), "revision": revision,
            "digest": format!("sha256:{}", hex(&bytes)), "size": bytes.len(),
            "lastUpdateTime": seconds_from_now(0)})
    }
}

fn answer(stream: &TcpStream, folder: &Path) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut header = String::new();
    while reader.read_line(&mut header)? > 2 {
        header.clear();
    }
    let name = request.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
    let file = Some(name).filter(|name| !name.contains('/')).and_then(|name| File::open(folder.join(name)).ok());
    let mut stream = stream;
    let Some(mut file) = file else {
        return stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    };
    let length = file.metadata()?.len();
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")?;
    std::io::copy(&mut file, &mut stream).map(drop)
}

fn hex(bytes: &[u8]) -> String {
    writgate_core::encoding::hex::encode(&Sha256::digest(bytes).into())
}

/// A GitRepository with a folder in place of its working tree.
pub struct Repository<'a> {
    plane: &'a Plane,
    server: &'a FileServer,
    /// The name of the GitRepository.
    pub name: String,
    /// The content of the next commit.
    pub folder: PathBuf,
}

impl<'a> Repository<'a> {
    /// The repository of an existing GitRepository.
    pub fn of(plane: &'a Plane, server: &'a FileServer, name: &str) -> Self {
        let folder = plane.folder.join("repositories").join(name);
        fs::create_dir_all(&folder).expect("the plane's folder can be written");
        Self { plane, server, name: name.to_owned(), folder }
    }

    /// Creates a GitRepository.
    pub fn new(plane: &'a Plane, server: &'a FileServer, name: &str) -> Self {
        plane.install(&[json!({"apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "GitRepository",
            "metadata": {"name": name, "namespace": SYSTEM},
            "spec": {"interval": "1h", "url": format!("https://git.example/{name}")}})]);
        Self::of(plane, server, name)
    }

    /// Writes a file into the folder.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.folder.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("the plane's folder can be written");
        fs::write(path, text).expect("the plane's folder can be written");
    }

    /// Publishes the folder as a new commit, and returns its revision.
    pub fn push(&self) -> String {
        self.push_commit(&hex(unique().as_bytes())[..40])
    }

    /// Publishes the folder as this commit, and returns its revision.
    pub fn push_commit(&self, commit: &str) -> String {
        let revision = format!("main@sha1:{commit}");
        let archive = format!("{}-{commit}.tar.gz", self.name);
        let artifact = self.server.publish(&self.folder, ".", &archive, &revision);
        set_artifact(self.plane, "gitrepository", &self.name, &artifact);
        revision
    }
}

/// Writes the status with which source-controller says that a source has an artifact.
fn set_artifact(plane: &Plane, kind: &str, name: &str, artifact: &Value) {
    let found = plane.admin.get(&[kind, name, "-n", SYSTEM]).unwrap_or_else(|| panic!("there is no {kind} {name}"));
    let generation = &found["metadata"]["generation"];
    let patch = json!({"status": {"observedGeneration": generation, "artifact": artifact,
        "conditions": [{"type": "Ready", "status": "True", "reason": "Succeeded", "message": "stored artifact",
            "observedGeneration": generation, "lastTransitionTime": seconds_from_now(0)}]}});
    let patch = patch.to_string();
    let args = ["patch", kind, name, "-n", SYSTEM, "--subresource=status", "--type=merge", "-p", &patch];
    let ran = plane.admin.kubectl(&args);
    assert!(ran.ok(), "{ran}");
}

/// A HelmChart with a folder in place of its repository.
pub struct Chart<'a> {
    plane: &'a Plane,
    server: &'a FileServer,
    /// The name of the chart and of the HelmChart.
    pub name: String,
    /// The folder that contains the chart's folder.
    pub folder: PathBuf,
}

impl<'a> Chart<'a> {
    /// Creates a HelmChart.
    pub fn new(plane: &'a Plane, server: &'a FileServer, name: &str) -> Self {
        plane.install(&[json!({"apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "HelmChart",
            "metadata": {"name": name, "namespace": SYSTEM},
            "spec": {"interval": "1h", "chart": name, "sourceRef": {"kind": "HelmRepository", "name": "charts"}}})]);
        let folder = plane.folder.join("charts").join(name);
        fs::create_dir_all(&folder).expect("the plane's folder can be written");
        Self { plane, server, name: name.to_owned(), folder }
    }

    /// Publishes a version of the chart with these objects as its templates.
    pub fn push(&self, version: &str, objects: &[&Value]) {
        let root = self.folder.join(&self.name);
        drop(fs::remove_dir_all(&root)); // the last version
        fs::create_dir_all(root.join("templates")).expect("the plane's folder can be written");
        let write = |name: &str, text: &str| fs::write(root.join(name), text).expect("the folder can be written");
        write("Chart.yaml", &format!("apiVersion: v2\nname: {}\nversion: {version}\n", self.name));
        for (index, object) in objects.iter().enumerate() {
            write(&format!("templates/{index}.yaml"), &object.to_string());
        }
        let archive = format!("{}-{version}.tgz", self.name);
        let artifact = self.server.publish(&self.folder, &self.name, &archive, version);
        set_artifact(self.plane, "helmchart", &self.name, &artifact);
    }
}
