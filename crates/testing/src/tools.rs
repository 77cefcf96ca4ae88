//! The paths of the pinned Kubernetes programs, which `tests/controlplane/build.sh` finds or builds.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::programs::repository;

/// The paths of the programs, by name.
pub struct Tools(BTreeMap<String, PathBuf>);

impl Tools {
    /// Finds the programs. Builds missing ones, with progress on standard error.
    pub fn find() -> Result<Self, String> {
        let script = repository().join("tests/controlplane/build.sh");
        let output = Command::new("sh")
            .arg(&script)
            .stderr(Stdio::inherit())
            .output()
            .map_err(|e| format!("cannot run {}: {e}", script.display()))?;
        if !output.status.success() {
            return Err(format!("{} failed, see above", script.display()));
        }
        let lines = String::from_utf8_lossy(&output.stdout);
        let tools = lines.lines().filter_map(|line| line.split_once(' '));
        Ok(Self(tools.map(|(name, path)| (name.to_owned(), PathBuf::from(path))).collect()))
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
