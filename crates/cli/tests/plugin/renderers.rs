//! `attach` as a filter of Helm and kustomize, run with the real programs as users run them.

use std::env;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use writgate_testing::Ran;

const DEPLOYMENT: &str = "# The order service.
apiVersion: apps/v1
kind: Deployment
metadata:
  name: orders
spec:
  selector: {matchLabels: {app: orders}}
  template:
    metadata: {labels: {app: orders}}
    spec: {containers: [{name: orders, image: ghcr.io/acme/orders:1.4.2}]}
";

fn root() -> &'static Path {
    writgate_testing::repository()
}

/// A folder with a chart, a kustomization, and an approval by Bob of what they render.
struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        let desk = Self(tempfile::tempdir().expect("a folder"));
        let configuration = "apiVersion: v2\nname: orders\nversion: 0.1.0\n";
        desk.write("chart/Chart.yaml", configuration);
        desk.write("chart/templates/deployment.yaml", DEPLOYMENT);
        desk.write("deployment.yaml", DEPLOYMENT);
        desk.write(
            "kustomization.yaml",
            "namespace: payments\nresources: [deployment.yaml]\ntransformers: [attach.yaml]\n",
        );
        desk.write(
            "bob.pem",
            &fs::read_to_string(root().join("crates/cli/tests/cli/tour.in/bob.pem")).expect("it exists"),
        );
        fs::set_permissions(desk.path("bob.pem"), Permissions::from_mode(0o600)).expect("it is ours");
        desk.approve("deployment.yaml");
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("it can be made");
        fs::write(path, text).expect("it can be written");
    }

    fn approve(&self, file: &str) {
        let mut command = self.command(Path::new(env!("CARGO_BIN_EXE_kubectl-writgate")));
        command.args(["approve", "--yes", "--no-posture", "-f", file, "-n", "payments", "--key", "bob.pem"]);
        command.args(["--environment", "production", "--project", "payments", "--requested-by", "alice@acme.example"]);
        let ran = Ran::of(command.args(["-o", "approval.json"]), "");
        assert!(ran.ok(), "{ran}");
    }

    /// A command in the folder, that finds the plugin on its PATH.
    fn command(&self, program: &Path) -> Command {
        let plugin = Path::new(env!("CARGO_BIN_EXE_kubectl-writgate")).parent().expect("a file has a folder");
        let others = env::var_os("PATH").unwrap_or_default();
        let path =
            env::join_paths(std::iter::once(plugin.to_owned()).chain(env::split_paths(&others))).expect("a path");
        let mut command = Command::new(program);
        command.current_dir(self.0.path()).env("PATH", path).env("HOME", self.0.path());
        command
    }

    fn helm(&self) -> Ran {
        let mut command = self.command(&writgate_testing::helm());
        // A folder that contains only the plugin in packaging/.
        let plugins = self.path("plugins");
        fs::create_dir_all(&plugins).expect("it can be made");
        let _ =
            std::os::unix::fs::symlink(root().join("packaging/helm-post-renderer"), plugins.join("writgate-attach"));
        command.env("HELM_PLUGINS", plugins).args(["template", "orders", "chart", "-n", "payments"]);
        command.args(["--post-renderer", "writgate-attach"]);
        Ran::of(command.args(["--post-renderer-args=--approval", "--post-renderer-args=approval.json"]), "")
    }

    fn kustomize(&self) -> Ran {
        let tools = writgate_testing::Tools::find().expect("the control plane's tools");
        let mut command = self.command(tools.path("kubectl"));
        command.env("KUSTOMIZE_PLUGIN_HOME", root().join("packaging/kustomize"));
        Ran::of(command.args(["kustomize", "--enable-alpha-plugins", "."]), "")
    }
}

/// The approval that is attached to a rendered Deployment.
fn approval(ran: &Ran) -> Value {
    assert!(ran.ok(), "{ran}");
    let objects = writgate_core::encoding::read_yaml(&ran.stdout).expect("YAML");
    assert_eq!(objects.len(), 1, "{ran}");
    let annotations = &objects[0]["metadata"]["annotations"];
    assert_eq!(annotations.as_object().map(serde_json::Map::len), Some(1), "{ran}");
    serde_json::from_str(annotations[writgate_testing::APPROVAL].as_str().expect("an approval")).expect("JSON")
}

fn signed(desk: &Desk) -> Value {
    serde_json::from_str(&fs::read_to_string(desk.path("approval.json")).expect("it exists")).expect("JSON")
}

#[test]
fn helm_attaches_an_approval_to_what_a_chart_renders() {
    let desk = Desk::new();
    let ran = desk.helm();
    assert_eq!(approval(&ran), signed(&desk));
    assert!(ran.stdout.contains("# The order service.\n"), "comments stay: {ran}");
    // Another image makes another spec, and Helm fails.
    desk.write("chart/templates/deployment.yaml", &DEPLOYMENT.replace("1.4.2", "1.4.3"));
    let ran = desk.helm();
    assert!(!ran.ok() && ran.stdout.is_empty(), "{ran}");
}

#[test]
fn kustomize_attaches_an_approval_to_what_it_renders() {
    let desk = Desk::new();
    let transformer = "apiVersion: writgate.dev/v1\nkind: Attach\nmetadata: {name: attach}\n\
                       argsOneLiner: --approval approval.json\n";
    desk.write("attach.yaml", transformer);
    let ran = desk.kustomize();
    assert_eq!(approval(&ran), signed(&desk));
    desk.write("deployment.yaml", &DEPLOYMENT.replace("1.4.2", "1.4.3"));
    let ran = desk.kustomize();
    assert!(!ran.ok() && ran.stderr.contains("this spec is not approved"), "{ran}");
}
