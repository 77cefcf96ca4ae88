//! The control plane: its processes, namespaces and users, and the API server's audit log.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::pki::{self, Authority};
use crate::process::{Process, free_port, wait_until};
use crate::programs::scratch;
use crate::tools::Tools;
use crate::user::{Credential, User};

/// The limit is long, since the machine may be compiling on every core.
const START_LIMIT: Duration = Duration::from_secs(90);
const CONTROLLER_MANAGER: &str = "kube-controller-manager";

/// Logs every write, with the annotations of webhooks, and the webhook's own reads. Other reads are left out, except connections
/// into Pods, which are reads because they use `WebSockets`.
const AUDIT_POLICY: &str = r"
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: Metadata, resources: [{group: '', resources: [pods/attach, pods/exec, pods/portforward, pods/proxy]}]}
- {level: None, verbs: [watch]}
- {level: Metadata, users: ['system:serviceaccount:writgate-system:writgate-webhook']}
- {level: None, verbs: [get, list]}
- {level: None, resources: [{group: coordination.k8s.io}]}
- {level: Metadata}
";

/// Has the API server authenticate to webhooks with the kubeconfig `webhooks.kubeconfig` in the plane's folder. Only a webhook that
/// asks for a certificate gets one. Pods with a system priority class require a quota, as on GKE.
const ADMISSION: &str = r"
apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
- name: ValidatingAdmissionWebhook
  configuration:
    apiVersion: apiserver.config.k8s.io/v1
    kind: WebhookAdmissionConfiguration
    kubeConfigFile: webhooks.kubeconfig
    STATIC_WEBHOOKS
- name: ResourceQuota
  configuration:
    apiVersion: apiserver.config.k8s.io/v1
    kind: ResourceQuotaConfiguration
    limitedResources:
    - resource: pods
      matchScopes:
      - {scopeName: PriorityClass, operator: In, values: [system-cluster-critical, system-node-critical]}
";

/// Has the API server read policies from files.
const STATIC_POLICIES: &str = r"
- name: ValidatingAdmissionPolicy
  configuration:
    apiVersion: apiserver.config.k8s.io/v1
    kind: ValidatingAdmissionPolicyConfiguration
    staticManifestsDir: policies
";

/// Samples every trace, so that webhooks receive its identifier. Nothing listens at the endpoint.
const TRACING: &str = r"
apiVersion: apiserver.config.k8s.io/v1
kind: TracingConfiguration
endpoint: 127.0.0.1:1
samplingRatePerMillion: 1000000
";

/// The common name of the API server's client certificate.
pub const API_SERVER: &str = "kube-apiserver";

/// The controllers whose objects tests use.
const CONTROLLERS: &str = "deployment-controller,replicaset-controller,statefulset-controller,daemonset-controller,\
    replicationcontroller-controller,job-controller,cronjob-controller,garbage-collector-controller,\
    namespace-controller,serviceaccount-controller,root-ca-certificate-publisher-controller,\
    clusterrole-aggregation-controller,resourcequota-controller";

/// A running control plane.
pub struct Plane {
    /// A member of `system:masters`, for the arrangement of a test and not for the request under test.
    pub admin: User,
    /// Signs every certificate except the webhook's.
    pub authority: Authority,
    /// The folder with logs, certificates and kubeconfigs.
    pub folder: PathBuf,
    server: String,
    kubectl: PathBuf,
    runtime: tokio::runtime::Runtime,
    processes: Vec<Process>,
    namespaces: AtomicUsize,
}

impl Plane {
    /// Starts a control plane. Builds the Kubernetes programs first if they do not exist.
    pub fn start() -> Self {
        Self::start_with(None)
    }

    /// Starts a control plane whose API server reads its webhook configuration and its policies from the folders `webhooks` and
    /// `policies` in `manifests`, and traces every request.
    pub fn with_static_manifests(manifests: &Path) -> Self {
        Self::start_with(Some(manifests))
    }

    fn start_with(manifests: Option<&Path>) -> Self {
        let tools = Tools::find().unwrap_or_else(|e| panic!("{e}"));
        let folder = new_folder();
        let authority = Authority::new("plane");
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            fs::write(&path, text).expect("the plane's folder can be written");
            path
        };
        let tokens = pki::new_key();
        let serving = authority.server(&["127.0.0.1", "localhost", "kubernetes.default.svc"]);
        let client = authority.client(API_SERVER, &[]);
        // `*` is every webhook; in a cluster it is the host name of one.
        let users = json!([{"name": "*", "user": {
            "client-certificate": write("webhooks.pem", &client.certificate), "client-key": write("webhooks.key", &client.key)}}]);
        let kubeconfig =
            write("webhooks.kubeconfig", &json!({"apiVersion": "v1", "kind": "Config", "users": users}).to_string());
        let mut admission = ADMISSION.replace("webhooks.kubeconfig", kubeconfig.to_str().expect("a UTF-8 path"));
        let of = |name: &str| manifests.map(|folder| folder.join(name).display().to_string());
        let webhooks = of("webhooks").map(|folder| format!("staticManifestsDir: {folder}"));
        admission = admission.replace("STATIC_WEBHOOKS", &webhooks.unwrap_or_default());
        if let Some(folder) = of("policies") {
            admission.push_str(STATIC_POLICIES.replace("policies", &folder).trim_start());
        }
        let files = Files {
            authority: write("ca.pem", &authority.certificate),
            certificate: write("apiserver.pem", &serving.certificate),
            key: write("apiserver.key", &serving.key),
            token_key: write("tokens.key", &tokens.serialize_pem()),
            token_public_key: write("tokens.pub", &tokens.public_key_pem()),
            policy: write("audit-policy.yaml", AUDIT_POLICY),
            admission: write("admission.yaml", &admission),
            tracing: manifests.map(|_| write("tracing.yaml", TRACING)),
        };

        let etcd = format!("http://127.0.0.1:{}", free_port());
        let port = free_port();
        let server = format!("https://127.0.0.1:{port}");
        let kubectl = tools.path("kubectl").to_owned();
        let user = |name: &str, groups: &[&str]| {
            let credential = Credential::Certificate(authority.client(name, groups));
            User::new(name, credential, &server, &authority.certificate, &kubectl, &folder)
        };
        let admin = user("admin", &["system:masters"]);
        let controllers = user("system:kube-controller-manager", &[]);
        let logs = folder.join("logs");
        let data = folder.join("etcd");
        let start_controllers =
            || Process::start(CONTROLLER_MANAGER, controllers_command(&tools, &files, &controllers), &logs, None);
        // The controller manager retries until the API server answers, so all three start at once.
        let processes = vec![
            Process::start("etcd", etcd_command(&tools, &etcd, &data), &logs, Some(&data)),
            Process::start("kube-apiserver", apiserver_command(&tools, &files, &etcd, port, &logs), &logs, None),
            start_controllers(),
        ];
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("threads can be started");
        rustls::crypto::ring::default_provider().install_default().ok(); // a second plane finds it installed
        let mut plane =
            Self { admin, authority, folder, server, kubectl, runtime, processes, namespaces: AtomicUsize::new(0) };
        plane.wait_ready(&start_controllers);
        plane
    }

    /// A user with a client certificate and no rights yet.
    pub fn user(&self, name: &str) -> User {
        self.user_with(name, Credential::Certificate(self.authority.client(name, &[])))
    }

    /// A service account with a token that the API server issued.
    pub fn service_account(&self, namespace: &str, name: &str) -> User {
        let ran = self.admin.kubectl(&["create", "token", name, "-n", namespace, "--duration=24h"]);
        assert!(ran.ok(), "a token for {namespace}/{name}: {ran}");
        let full = format!("system:serviceaccount:{namespace}:{name}");
        self.user_with(&full, Credential::Token(ran.stdout.trim().to_owned()))
    }

    /// A user with a certificate, for another server whose certificate `authority` signed.
    pub fn user_of(&self, server: &str, authority: &str, name: &str) -> User {
        let credential = Credential::Certificate(self.authority.client(name, &[]));
        User::new(name, credential, server, authority, &self.kubectl, &self.folder)
    }

    /// A new namespace with a unique name that starts with `hint`.
    pub fn namespace(&self, hint: &str) -> String {
        self.labelled_namespace(hint, &json!({}))
    }

    /// A new namespace with labels.
    pub fn labelled_namespace(&self, hint: &str, labels: &Value) -> String {
        let name = format!("{hint}-{}", self.namespaces.fetch_add(1, Ordering::Relaxed));
        let ran = self.admin.create(&json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": name, "labels": labels}}));
        assert!(ran.ok(), "namespace {name}: {ran}");
        name
    }

    /// Applies objects as the administrator.
    pub fn install(&self, objects: &[Value]) {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        let ran = self.admin.kubectl_in(&["apply", "--server-side", "-f", "-"], &list.to_string());
        assert!(ran.ok(), "{ran}");
    }

    /// Runs a future of the API client to completion.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// The pinned kubectl.
    pub fn kubectl(&self) -> &Path {
        &self.kubectl
    }

    /// The API server's address.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The process id of a server of the control plane, such as `kube-apiserver`.
    pub fn process_id(&self, name: &str) -> u32 {
        let process = self.processes.iter().find(|process| process.name() == name);
        process.unwrap_or_else(|| panic!("the plane has no {name}")).id()
    }

    /// The file with the authority's certificate.
    pub fn authority_file(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// The lines of the API server's audit log so far that `wanted` accepts.
    pub fn audit_log(&self, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
        json_lines(&self.folder.join("logs/audit.log"), wanted)
    }

    fn user_with(&self, name: &str, credential: Credential) -> User {
        User::new(name, credential, &self.server, &self.authority.certificate, &self.kubectl, &self.folder)
    }

    fn wait_ready(&mut self, start_controllers: &dyn Fn() -> Process) {
        let Self { processes, admin, folder, .. } = self;
        wait_until("the API server and its controllers are ready", START_LIMIT, || {
            for process in processes.iter_mut() {
                let Some(status) = process.ended() else { continue };
                // It gives up after 30 s without a healthy API server, which takes longer on a loaded machine.
                if process.name() == CONTROLLER_MANAGER {
                    *process = start_controllers();
                } else {
                    panic!("{} ended with {status}, see {}", process.name(), folder.join("logs").display());
                }
            }
            // A controller creates the account, so it shows that the controller manager is ready as well.
            admin.kubectl(&["get", "serviceaccount", "default", "-n", "default", "-o", "name"]).ok().then_some(())
        });
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        // Clients stop before servers, so that they do not retry until they are killed.
        while let Some(process) = self.processes.pop() {
            drop(process);
        }
        // The logs say why a plane could not start.
        if std::thread::panicking() || std::env::var_os("WRITGATE_KEEP").is_some() {
            eprintln!("kept {}", self.folder.display());
        } else {
            fs::remove_dir_all(&self.folder).ok();
        }
    }
}

/// The lines of a file of JSON lines that `wanted` accepts. Incomplete lines are skipped.
pub(crate) fn json_lines(path: &Path, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).filter(wanted).collect()
}

struct Files {
    authority: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
    token_key: PathBuf,
    token_public_key: PathBuf,
    policy: PathBuf,
    admission: PathBuf,
    tracing: Option<PathBuf>,
}

fn new_folder() -> PathBuf {
    let parent = scratch();
    let folder =
        tempfile::Builder::new().prefix("plane-").tempdir_in(parent).expect("target/tmp can be written").keep();
    for name in ["logs", "kubeconfig"] {
        fs::create_dir(folder.join(name)).expect("the plane's folder can be written");
    }
    folder
}

fn etcd_command(tools: &Tools, url: &str, data: &Path) -> Command {
    let peer = format!("http://127.0.0.1:{}", free_port());
    let mut command = Command::new(tools.path("etcd"));
    command
        .arg("--data-dir")
        .arg(data)
        .args(["--listen-client-urls", url, "--advertise-client-urls", url])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("default={peer}")])
        .args(["--unsafe-no-fsync", "--log-level=warn"]); // the data need not survive a crash
    command
}

fn apiserver_command(tools: &Tools, files: &Files, etcd: &str, port: u16, logs: &Path) -> Command {
    let mut command = Command::new(tools.path("kube-apiserver"));
    command
        .args(["--etcd-servers", etcd])
        .args(["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--secure-port", &port.to_string()])
        // The default reconciler refuses a loopback address.
        .args(["--endpoint-reconciler-type=none", "--service-cluster-ip-range=10.96.0.0/16"])
        .arg("--tls-cert-file")
        .arg(&files.certificate)
        .arg("--tls-private-key-file")
        .arg(&files.key)
        .arg("--client-ca-file")
        .arg(&files.authority)
        .args(["--authorization-mode=RBAC", "--anonymous-auth=false", "--allow-privileged=true"])
        .arg("--service-account-issuer=https://kubernetes.default.svc")
        .arg("--service-account-key-file")
        .arg(&files.token_public_key)
        .arg("--service-account-signing-key-file")
        .arg(&files.token_key)
        .arg("--admission-control-config-file")
        .arg(&files.admission)
        .arg("--audit-policy-file")
        .arg(&files.policy)
        .arg("--audit-log-path")
        .arg(logs.join("audit.log"))
        .arg("--cert-dir")
        .arg(logs);
    if let Some(tracing) = &files.tracing {
        command.arg("--tracing-config-file").arg(tracing);
    }
    command
}

fn controllers_command(tools: &Tools, files: &Files, user: &User) -> Command {
    let mut command = Command::new(tools.path("kube-controller-manager"));
    command
        .arg("--kubeconfig")
        .arg(&user.kubeconfig)
        .args(["--use-service-account-credentials", "--leader-elect=false", "--secure-port=0"])
        .args(["--controllers", CONTROLLERS, "--kube-api-qps=200", "--kube-api-burst=400"])
        .arg("--service-account-private-key-file")
        .arg(&files.token_key)
        .arg("--root-ca-file")
        .arg(&files.authority);
    command
}
