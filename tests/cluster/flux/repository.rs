//! Sources without source-controller: archives on a server on loopback, and the statuses that name them.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::flux::{Flux, SYSTEM};

/// Serves the files of a folder until the test process ends.
pub(crate) struct FileServer {
    folder: PathBuf,
    address: SocketAddr,
}

impl FileServer {
    pub(crate) fn start(folder: PathBuf) -> Self {
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
            "lastUpdateTime": writgate_testing::seconds_from_now(0)})
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
pub(crate) struct Repository<'f> {
    flux: &'f Flux,
    pub(crate) name: String,
    pub(crate) folder: PathBuf,
}

impl<'f> Repository<'f> {
    pub(crate) fn new(flux: &'f Flux, name: &str) -> Self {
        flux.installation.plane.install(&[
            json!({"apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "GitRepository",
            "metadata": {"name": name, "namespace": SYSTEM},
            "spec": {"interval": "1h", "url": format!("https://git.example/{name}")}}),
        ]);
        let folder = flux.installation.plane.folder.join("repositories").join(name);
        fs::create_dir_all(&folder).expect("the plane's folder can be written");
        Self { flux, name: name.to_owned(), folder }
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.folder.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("the plane's folder can be written");
        fs::write(path, text).expect("the plane's folder can be written");
    }

    /// Publishes the folder as a new commit, and returns its revision.
    pub(crate) fn push(&self) -> String {
        let commit = hex(super::unique().as_bytes())[..40].to_owned();
        let revision = format!("main@sha1:{commit}");
        let archive = format!("{}-{commit}.tar.gz", self.name);
        let artifact = self.flux.server.publish(&self.folder, ".", &archive, &revision);
        set_artifact(self.flux, "gitrepository", &self.name, &artifact);
        revision
    }
}

/// Writes the status with which source-controller says that a source has an artifact.
fn set_artifact(flux: &Flux, kind: &str, name: &str, artifact: &Value) {
    let generation = flux.get(kind, name)["metadata"]["generation"].clone();
    let patch = json!({"status": {"observedGeneration": generation, "artifact": artifact,
        "conditions": [{"type": "Ready", "status": "True", "reason": "Succeeded", "message": "stored artifact",
            "observedGeneration": generation, "lastTransitionTime": writgate_testing::seconds_from_now(0)}]}});
    let patch = patch.to_string();
    let args = ["patch", kind, name, "-n", SYSTEM, "--subresource=status", "--type=merge", "-p", &patch];
    let ran = flux.installation.plane.admin.kubectl(&args);
    assert!(ran.ok(), "{ran}");
}

/// A HelmChart with a folder in place of its repository.
pub(crate) struct Chart<'f> {
    flux: &'f Flux,
    pub(crate) name: String,
    pub(crate) folder: PathBuf,
}

impl<'f> Chart<'f> {
    pub(crate) fn new(flux: &'f Flux, name: &str) -> Self {
        flux.installation.plane.install(&[json!({"apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "HelmChart",
            "metadata": {"name": name, "namespace": SYSTEM},
            "spec": {"interval": "1h", "chart": name, "sourceRef": {"kind": "HelmRepository", "name": "charts"}}})]);
        let folder = flux.installation.plane.folder.join("charts").join(name);
        fs::create_dir_all(&folder).expect("the plane's folder can be written");
        Self { flux, name: name.to_owned(), folder }
    }

    /// Publishes a version of the chart with these objects as its templates.
    pub(crate) fn push(&self, version: &str, objects: &[&Value]) {
        let root = self.folder.join(&self.name);
        drop(fs::remove_dir_all(&root)); // the last version
        fs::create_dir_all(root.join("templates")).expect("the plane's folder can be written");
        let write = |name: &str, text: &str| fs::write(root.join(name), text).expect("the folder can be written");
        write("Chart.yaml", &format!("apiVersion: v2\nname: {}\nversion: {version}\n", self.name));
        for (index, object) in objects.iter().enumerate() {
            write(&format!("templates/{index}.yaml"), &object.to_string());
        }
        let archive = format!("{}-{version}.tgz", self.name);
        let artifact = self.flux.server.publish(&self.folder, &self.name, &archive, version);
        set_artifact(self.flux, "helmchart", &self.name, &artifact);
    }
}
