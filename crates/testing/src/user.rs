//! A user of the API server, with credentials in a kubeconfig, for kubectl and for the API client.

use std::fmt;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

/// A user with credentials of their own.
#[derive(Clone)]
pub struct User {
    /// The API server's name of the user.
    pub name: String,
    /// A kubeconfig with one context, which has the user's credentials.
    pub kubeconfig: PathBuf,
    kubectl: PathBuf,
    home: PathBuf,
}

/// The output and the exit code of a command.
#[derive(Clone, Debug)]
pub struct Ran {
    /// The exit code, or none if a signal ended the command.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// A user's credential.
pub enum Credential {
    /// A client certificate.
    Certificate(crate::Pair),
    /// A token of a service account.
    Token(String),
}

impl User {
    /// Writes the kubeconfig into `home/kubeconfig/`.
    pub fn new(name: &str, credential: Credential, server: &str, authority: &str, kubectl: &Path, home: &Path) -> Self {
        let base64 = |text: &str| {
            use base64::Engine as _;
            base64::engine::general_purpose::STANDARD.encode(text)
        };
        let user = match credential {
            Credential::Certificate(pair) => {
                json!({"client-certificate-data": base64(&pair.certificate), "client-key-data": base64(&pair.key)})
            }
            Credential::Token(token) => json!({"token": token}),
        };
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "plane",
            "contexts": [{"name": "plane", "context": {"cluster": "plane", "user": name}}],
            "clusters": [{"name": "plane", "cluster": {"server": server, "certificate-authority-data": base64(authority)}}],
            "users": [{"name": name, "user": user}],
        });
        let kubeconfig = home.join("kubeconfig").join(name.replace([':', '/'], "_"));
        std::fs::write(&kubeconfig, config.to_string()).expect("the plane's folder can be written");
        Self { name: name.to_owned(), kubeconfig, kubectl: kubectl.to_owned(), home: home.to_owned() }
    }

    /// Runs kubectl as this user.
    pub fn kubectl(&self, args: &[&str]) -> Ran {
        self.kubectl_in(args, "")
    }

    /// Runs kubectl as this user, with `input` on its standard input.
    pub fn kubectl_in(&self, args: &[&str], input: &str) -> Ran {
        Ran::of(self.command(&self.kubectl).args(args), input)
    }

    /// Runs kubectl as this user, with `path` as its search path for plugins.
    pub fn kubectl_by_path(&self, args: &[&str], path: &str) -> Ran {
        Ran::of(self.command(&self.kubectl).args(args).env("PATH", path), "")
    }

    /// `kubectl apply -f -` of one object (or a List).
    pub fn apply(&self, object: &Value) -> Ran {
        self.kubectl_in(&["apply", "-f", "-"], &object.to_string())
    }

    /// `kubectl create -f -` of one object (or a List).
    pub fn create(&self, object: &Value) -> Ran {
        self.kubectl_in(&["create", "-f", "-"], &object.to_string())
    }

    /// The parsed output of `kubectl get ARGS -o json`, or `None` if the object does not exist.
    pub fn get(&self, args: &[&str]) -> Option<Value> {
        let ran = self.kubectl(&[&["get"], args, &["-o", "json"]].concat());
        if ran.stderr.contains("(NotFound)") {
            return None;
        }
        assert!(ran.ok(), "kubectl get {args:?}: {ran}");
        Some(serde_json::from_str(&ran.stdout).expect("kubectl prints JSON"))
    }

    /// A command with this user's credentials: kubectl or a plugin.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        // The configuration of the person who runs the tests must have no effect. The discovery cache is below HOME.
        command.env("KUBECONFIG", &self.kubeconfig).env("HOME", &self.home).env_remove("KUBECTL_EXTERNAL_DIFF");
        command
    }

    /// The API client with this user's credentials. Call it inside `Plane::block_on`.
    pub async fn client(&self) -> kube::Client {
        let kubeconfig = kube::config::Kubeconfig::read_from(&self.kubeconfig).expect("a kubeconfig");
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &kube::config::KubeConfigOptions::default())
            .await
            .expect("a complete kubeconfig");
        kube::Client::try_from(config).expect("a client from a complete configuration")
    }
}

impl Ran {
    /// Runs `command` to its end with `input` on its standard input.
    pub fn of(command: &mut Command, input: &str) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("cannot run {command:?}: {e}"));
        // Standard input first: none of these commands prints more than a pipe holds before it has read it all.
        // One that does not read it at all closes the pipe, which is its good right.
        child.stdin.take().expect("standard input is a pipe").write_all(input.as_bytes()).ok();
        let output = child.wait_with_output().expect("a child can be waited for");
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Whether it ended with exit code 0.
    pub fn ok(&self) -> bool {
        self.code == Some(0)
    }
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit {:?}\n{}{}", self.code, self.stdout, self.stderr)
    }
}
