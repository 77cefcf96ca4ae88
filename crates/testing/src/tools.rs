//! The paths of the pinned Kubernetes programs, which `tests/controlplane/build.sh` finds or builds. If `WRITGATE_KUBERNETES`
//! is another version, kube-apiserver is of that version, from `tests/controlplane/apiserver.sh`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::programs::repository;

/// The minor version of the API server, if `WRITGATE_KUBERNETES` selects another version than the pinned one.
#[must_use]
pub fn other_kubernetes() -> Option<u32> {
    let version = other_version()?;
    let minor = version.split('.').nth(1).and_then(|minor| minor.parse().ok());
    Some(minor.unwrap_or_else(|| panic!("WRITGATE_KUBERNETES is {version:?}, expected for example 1.34.2")))
}

/// Such as `1.34.2`, if it is not the pinned version.
fn other_version() -> Option<String> {
    let version = std::env::var("WRITGATE_KUBERNETES").ok().filter(|version| !version.is_empty())?;
    let version = version.trim_start_matches('v').to_owned();
    let modules = std::fs::read_to_string(repository().join("tests/controlplane/go.mod")).expect("the module exists");
    (!modules.contains(&format!("k8s.io/kubernetes v{version} "))).then_some(version)
}

/// The paths of the programs, by name.
pub struct Tools(BTreeMap<String, PathBuf>);

impl Tools {
    /// Finds the programs. Builds missing ones, with progress on standard error.
    pub fn find() -> Result<Self, String> {
        let printed = run("build.sh", &[])?;
        let tools = printed.lines().filter_map(|line| line.split_once(' '));
        let mut tools: BTreeMap<_, _> = tools.map(|(name, path)| (name.to_owned(), PathBuf::from(path))).collect();
        if let Some(version) = other_version() {
            let path = run("apiserver.sh", &[&version])?;
            tools.insert("kube-apiserver".to_owned(), PathBuf::from(path.trim_end()));
        }
        Ok(Self(tools))
    }

    /// The path of a program.
    pub fn path(&self, name: &str) -> &Path {
        self.0.get(name).unwrap_or_else(|| panic!("build.sh builds no {name}"))
    }
}

/// Helm, as `make tools` builds it.
#[must_use]
pub fn helm() -> PathBuf {
    let module = std::fs::read_to_string(repository().join("tests/helm/go.mod")).expect("it exists");
    let version = module.split_whitespace().skip_while(|word| *word != "helm.sh/helm/v4").nth(1).expect("it is pinned");
    let path = repository().join(format!(".tools/helm-{version}"));
    assert!(path.exists(), "{} does not exist: run make tools", path.display());
    path
}

/// The folder with Prometheus and promtool, as `make tools` builds them.
#[must_use]
pub fn prometheus() -> PathBuf {
    let module = std::fs::read_to_string(repository().join("tests/prometheus/go.mod")).expect("it exists");
    let version = module.split_whitespace().skip_while(|word| *word != "github.com/prometheus/prometheus").nth(1);
    let path = repository().join(format!(".tools/prometheus-{}", version.expect("it is pinned")));
    assert!(path.exists(), "{} does not exist: run make tools", path.display());
    path
}

/// The folder with Flux's controllers and their CRDs, as `make tools` builds them.
pub(crate) fn flux() -> PathBuf {
    let module = std::fs::read_to_string(repository().join("tests/flux/go.mod")).expect("it exists");
    let (_, rest) = module.split_once("github.com/fluxcd/kustomize-controller v").expect("it is pinned");
    let version = rest.split_whitespace().next().expect("it is pinned");
    let path = repository().join(format!(".tools/flux-v{version}"));
    assert!(path.exists(), "{} does not exist: run make tools", path.display());
    path
}

/// The output of a script in `tests/controlplane`.
fn run(script: &str, arguments: &[&str]) -> Result<String, String> {
    let script = repository().join("tests/controlplane").join(script);
    let output = Command::new("sh")
        .arg(&script)
        .args(arguments)
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| format!("cannot run {}: {e}", script.display()))?;
    if !output.status.success() {
        return Err(format!("{} failed, see above", script.display()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
