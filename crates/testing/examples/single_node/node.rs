//! The node and its control plane: etcd, the API server, its controllers, the scheduler, containerd, the kubelet and kube-proxy. All
//! of them run in namespaces that `tests/single-node/enter.sh` has made, so ports and paths are fixed.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use writgate_testing::{Authority, Credential, Process, Ran, Tools, User, repository, wait_until};

/// The image of the workloads, and of the sandbox of each Pod.
pub(crate) const WORKLOAD: &str = "registry.example/workload:1";
/// The same image under another name, for replays.
pub(crate) const REPLAY: &str = "registry.example/replay:1";
/// The folder with the Pods' logs.
pub(crate) const POD_LOGS: &str = "pods";
/// The name under which the webhook's image is imported, without its tag.
pub(crate) const WEBHOOK: &str = "registry.example/writgate-webhook";

const SERVER: &str = "https://127.0.0.1:6443";
const SERVICES: &str = "10.96.0.0/16";
const PODS: &str = "10.244.0.0/24";
const CONTAINERD: &str = "/run/containerd/containerd.sock";
const LIMIT: Duration = Duration::from_mins(2);

/// A running cluster of one node.
pub(crate) struct Node {
    /// A member of `system:masters`.
    pub(crate) admin: User,
    /// Data, logs and kubeconfigs.
    pub(crate) folder: PathBuf,
    name: String,
    address: String,
    authority: Authority,
    tools: BTreeMap<String, PathBuf>,
    processes: Vec<Process>,
    runtime: tokio::runtime::Runtime,
}

impl Node {
    /// Starts the cluster and imports the images. Returns when the node is ready.
    pub(crate) fn start() -> Self {
        let variable = |name: &str| {
            env::var(name).unwrap_or_else(|_| panic!("{name} is not set; tests/single-node/enter.sh runs this program"))
        };
        let folder = PathBuf::from(variable("WRITGATE_NODE_FOLDER"));
        for name in ["logs", "kubeconfig", "cni", POD_LOGS, "pki"] {
            fs::create_dir(folder.join(name)).expect("the node's folder can be written");
        }
        // A file system of its own, so that it can be filled.
        let options = ["-t", "tmpfs", "-o", "size=256m", "tmpfs"];
        let mounted = Command::new("mount").args(options).arg(folder.join(POD_LOGS)).status().expect("mount runs");
        assert!(mounted.success(), "the file system of the Pods' logs can be mounted");
        let authority = Authority::new("cluster");
        let admin = Credential::Certificate(authority.client("admin", &["system:masters"]));
        let tools = tools();
        let admin = User::new("admin", admin, SERVER, &authority.certificate, &tools["kubectl"], &folder);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let mut node = Self {
            admin,
            folder,
            name: variable("NODE"),
            address: variable("WRITGATE_NODE_ADDRESS"),
            authority,
            tools,
            processes: Vec::new(),
            runtime: runtime.expect("threads can be started"),
        };
        node.start_control_plane();
        node.start_containerd();
        node.start_node();
        node.wait_ready();
        node
    }

    fn start_control_plane(&mut self) {
        let names = ["127.0.0.1", &*self.address, "10.96.0.1", "localhost", "kubernetes.default.svc"];
        let serving = self.authority.server(&names);
        let kubelets = self.authority.client("kube-apiserver-kubelet-client", &["system:masters"]);
        // A certificate is one of the forms of a public key here.
        let tokens = self.authority.client("tokens", &[]);
        let authority = self.write("pki/ca.crt", &self.authority.certificate);
        let token_key = self.write("pki/tokens.key", &tokens.key);
        let token_public_key = self.write("pki/tokens.crt", &tokens.certificate);

        let mut etcd = self.command("etcd");
        etcd.arg("--data-dir").arg(self.folder.join("etcd")).args(["--unsafe-no-fsync", "--log-level=warn"]);
        self.run("etcd", etcd);

        let mut server = self.command("kube-apiserver");
        server
            .args(["--etcd-servers=http://127.0.0.1:2379", "--authorization-mode=Node,RBAC", "--allow-privileged"])
            .args(["--advertise-address", &self.address, "--service-cluster-ip-range", SERVICES])
            .args(["--enable-admission-plugins=NodeRestriction", "--kubelet-preferred-address-types=InternalIP"])
            .arg("--tls-cert-file")
            .arg(self.write("pki/apiserver.crt", &serving.certificate))
            .arg("--tls-private-key-file")
            .arg(self.write("pki/apiserver.key", &serving.key))
            .arg("--kubelet-client-certificate")
            .arg(self.write("pki/kubelets.crt", &kubelets.certificate))
            .arg("--kubelet-client-key")
            .arg(self.write("pki/kubelets.key", &kubelets.key))
            .arg("--client-ca-file")
            .arg(&authority)
            .arg("--service-account-key-file")
            .arg(&token_public_key)
            .arg("--service-account-signing-key-file")
            .arg(&token_key)
            .arg("--service-account-issuer=https://kubernetes.default.svc");
        self.run("kube-apiserver", server);

        let user = self.user("system:kube-controller-manager", &[]);
        let mut controllers = self.command("kube-controller-manager");
        controllers
            .args(["--use-service-account-credentials", "--leader-elect=false"])
            .arg("--kubeconfig")
            .arg(user.kubeconfig)
            .arg("--service-account-private-key-file")
            .arg(&token_key)
            .arg("--root-ca-file")
            .arg(&authority);
        self.run("kube-controller-manager", controllers);

        let user = self.user("system:kube-scheduler", &[]);
        let mut scheduler = self.command("kube-scheduler");
        scheduler.arg("--leader-elect=false").arg("--kubeconfig").arg(user.kubeconfig);
        self.run("kube-scheduler", scheduler);
    }

    fn start_containerd(&mut self) {
        let folder = self.folder.display();
        let network = json!({"cniVersion": "1.0.0", "name": "pods", "plugins": [{
            "type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
            "ipam": {"type": "host-local", "dataDir": self.folder.join("addresses"), "ranges": [[{"subnet": PODS}]],
                "routes": [{"dst": "0.0.0.0/0"}]}}]});
        self.write("cni/pods.conflist", &network.to_string());
        // Without the right to lower oom_score_adj, which machines for builds often lack, no sandbox would start.
        let configuration = format!(
            r#"version = 2
root = "{folder}/containerd"
state = "/run/containerd"
[grpc]
address = "{CONTAINERD}"
[plugins."io.containerd.internal.v1.opt"]
path = "{folder}/opt"
[plugins."io.containerd.grpc.v1.cri"]
restrict_oom_score_adj = true
sandbox_image = "{WORKLOAD}"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{folder}/cni"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
"#
        );
        let mut containerd = Command::new("containerd");
        containerd.arg("-c").arg(self.write("containerd.toml", &configuration));
        self.run("containerd", containerd);
        wait_until("containerd answers", LIMIT, || Self::ctr(&["version"]).ok().then_some(()));

        let workload = self.tools["workload.tar"].clone();
        Self::import(&["images", "import", workload.to_str().expect("a UTF-8 path")]);
        let layout = repository().join("target/image");
        assert!(layout.join("index.json").exists(), "there is no image; run make image");
        let archive = self.folder.join("webhook.tar");
        let tar = Command::new("tar").arg("-C").arg(layout).arg("-cf").arg(&archive).arg(".").status();
        assert!(tar.expect("tar starts").success(), "the image can be read");
        Self::import(&["images", "import", "--base-name", WEBHOOK, archive.to_str().expect("a UTF-8 path")]);
    }

    fn start_node(&mut self) {
        let user = self.user(&format!("system:node:{}", self.name), &["system:nodes"]);
        // A disk that others fill must not have an effect on the tests, and the Pods have no DNS.
        let configuration = json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
            "failCgroupV1": false, "failSwapOn": false,
            "cgroupDriver": "cgroupfs", "cgroupRoot": format!("/{}", self.name),
            "containerRuntimeEndpoint": format!("unix://{CONTAINERD}"),
            "authentication": {"anonymous": {"enabled": false}, "webhook": {"enabled": false},
                "x509": {"clientCAFile": self.folder.join("pki/ca.crt")}},
            "authorization": {"mode": "AlwaysAllow"},
            "podLogsDir": self.folder.join(POD_LOGS), "resolvConf": "",
            "clusterDNS": ["10.96.0.10"], "clusterDomain": "cluster.local",
            "imageGCHighThresholdPercent": 100,
            "evictionHard": {"memory.available": "1Mi", "nodefs.available": "0%", "imagefs.available": "0%",
                "nodefs.inodesFree": "0%"}});
        let mut kubelet = self.command("kubelet");
        kubelet
            .arg("--config")
            .arg(self.write("kubelet.json", &configuration.to_string()))
            .arg("--kubeconfig")
            .arg(user.kubeconfig)
            .arg("--root-dir")
            .arg(self.folder.join("kubelet"))
            .arg("--cert-dir")
            .arg(self.folder.join("pki"))
            .args(["--hostname-override", &self.name, "--node-ip", &self.address]);
        self.run("kubelet", kubelet);

        let user = self.user("system:kube-proxy", &[]);
        let configuration = json!({
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration", "mode": "iptables",
            "hostnameOverride": self.name, "clusterCIDR": PODS, "clientConnection": {"kubeconfig": user.kubeconfig},
            "conntrack": {"maxPerCore": 0}}); // the limit of connections is the machine's
        let mut proxy = self.command("kube-proxy");
        proxy.arg("--config").arg(self.write("kube-proxy.json", &configuration.to_string()));
        self.run("kube-proxy", proxy);
    }

    fn wait_ready(&mut self) {
        let Self { processes, admin, folder, name, .. } = self;
        wait_until("the node is ready", LIMIT, || {
            for process in processes.iter_mut() {
                if let Some(status) = process.ended() {
                    panic!("{} ended with {status}, see {}", process.name(), folder.join("logs").display());
                }
            }
            let node = format!("node/{name}");
            let is_ready = admin.kubectl(&["wait", "--for=condition=Ready", &node, "--timeout=1s"]).ok();
            // Pods that are created before this account are refused.
            (is_ready && admin.kubectl(&["get", "serviceaccount", "default"]).ok()).then_some(())
        });
    }

    /// Runs ctr in the namespace of the kubelet's containers.
    pub(crate) fn ctr(args: &[&str]) -> Ran {
        Ran::of(Command::new("ctr").args(["--address", CONTAINERD, "--namespace", "k8s.io"]).args(args), "")
    }

    /// The ids of the containers, sandboxes included, that containerd has for the Pods of a namespace.
    pub(crate) fn containers(namespace: &str) -> Vec<String> {
        let filter = format!("labels.\"io.kubernetes.pod.namespace\"=={namespace}");
        let ran = Self::ctr(&["containers", "list", "--quiet", &filter]);
        assert!(ran.ok(), "{ran}");
        ran.stdout.lines().map(str::to_owned).collect()
    }

    /// The process ids of the running webhooks.
    pub(crate) fn webhooks() -> Vec<String> {
        let processes = fs::read_dir("/proc").expect("/proc can be listed").flatten();
        let is_webhook =
            |path: &Path| fs::read(path.join("cmdline")).is_ok_and(|line| line.starts_with(b"/writgate-webhook\0"));
        let webhooks = processes.filter(|entry| is_webhook(&entry.path()));
        webhooks.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    /// Runs a future of the API client to completion.
    pub(crate) fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// Runs a future in the background.
    pub(crate) fn spawn<F>(&self, future: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.runtime.spawn(future)
    }

    /// The Pods of a namespace.
    pub(crate) fn pods(&self, namespace: &str) -> Vec<Value> {
        let list = self.admin.get(&["pods", "-n", namespace]).expect("a list");
        list["items"].as_array().expect("a list").clone()
    }

    /// Copies the Pods' logs out of their file system, which ends with the namespaces.
    pub(crate) fn keep_pod_logs(&self) {
        let [logs, kept] = [POD_LOGS, "pods-kept"].map(|name| self.folder.join(name));
        drop(Command::new("cp").arg("-r").arg(logs).arg(kept).status());
    }

    /// Starts the controllers of cert-manager, with the rights that its chart gives them for namespaced issuers.
    pub(crate) fn start_cert_manager(&mut self) {
        let built = built("tests/cert-manager/build.sh");
        let crds = built["crds"].to_str().expect("a UTF-8 path");
        let ran = self.admin.kubectl(&["create", "-f", crds]);
        assert!(ran.ok(), "{ran}");
        let ran = self.admin.kubectl(&["wait", "--for=condition=Established", "-f", crds, "--timeout=30s"]);
        assert!(ran.ok(), "{ran}");
        let mut command = Command::new(&built["cert-manager"]);
        for (name, rules) in [
            (
                "cert-manager",
                json!([
                    {"apiGroups": ["cert-manager.io"], "resources": ["*"],
                     "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"]},
                    {"apiGroups": [""], "resources": ["secrets"],
                     "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"]},
                    {"apiGroups": [""], "resources": ["events"], "verbs": ["create", "patch"]},
                ]),
            ),
            (
                "cert-manager-cainjector",
                json!([
                    {"apiGroups": ["cert-manager.io"], "resources": ["certificates"], "verbs": ["get", "list", "watch"]},
                    {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list", "watch"]},
                    {"apiGroups": [""], "resources": ["events"], "verbs": ["create", "patch"]},
                    {"apiGroups": ["admissionregistration.k8s.io"], "resources": ["validatingwebhookconfigurations"],
                     "verbs": ["get", "list", "patch", "update", "watch"]},
                ]),
            ),
        ] {
            let (group, user) =
                ("rbac.authorization.k8s.io", self.user(&format!("system:serviceaccount:cert-manager:{name}"), &[]));
            for object in [
                json!({"apiVersion": format!("{group}/v1"), "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules}),
                json!({"apiVersion": format!("{group}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": name},
                    "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": name},
                    "subjects": [{"kind": "User", "apiGroup": group, "name": user.name}]}),
            ] {
                let ran = self.admin.create(&object);
                assert!(ran.ok(), "{ran}");
            }
            command.arg(user.kubeconfig);
        }
        self.run("cert-manager", command);
    }

    fn import(args: &[&str]) {
        let ran = Self::ctr(args);
        assert!(ran.ok(), "{args:?}: {ran}");
    }

    fn user(&self, name: &str, groups: &[&str]) -> User {
        let credential = Credential::Certificate(self.authority.client(name, groups));
        User::new(name, credential, SERVER, &self.authority.certificate, &self.tools["kubectl"], &self.folder)
    }

    fn command(&self, name: &str) -> Command {
        Command::new(&self.tools[name])
    }

    fn run(&mut self, name: &str, command: Command) {
        let process = Process::start(name, command, &self.folder.join("logs"), None);
        self.processes.push(process);
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.join(name);
        fs::write(&path, text).expect("the node's folder can be written");
        path
    }
}

/// The paths of the programs, by name.
fn tools() -> BTreeMap<String, PathBuf> {
    let plane = Tools::find().unwrap_or_else(|e| panic!("{e}"));
    let names = ["etcd", "kube-apiserver", "kube-controller-manager", "kubectl"];
    let mut tools: BTreeMap<_, _> = names.map(|name| (name.to_owned(), plane.path(name).to_owned())).into();
    tools.extend(built("tests/single-node/build.sh"));
    tools
}

/// What a script has built: it prints `NAME PATH` for each file.
fn built(script: &str) -> BTreeMap<String, PathBuf> {
    let output = Command::new("sh").arg(repository().join(script)).stderr(Stdio::inherit()).output();
    let output = output.expect("a POSIX shell exists");
    assert!(output.status.success(), "{script} failed, see above");
    let printed = String::from_utf8_lossy(&output.stdout);
    let lines = printed.lines().filter_map(|line| line.split_once(' '));
    lines.map(|(name, path)| (name.to_owned(), PathBuf::from(path))).collect()
}
