//! Where the pinned binaries are. `tests/controlplane/build.sh` finds or builds them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::programs::repository;

/// The pinned binaries, by name.
pub struct Tools(BTreeMap<String, PathBuf>);

impl Tools {
    /// Finds them, building what is missing with progress on standard error.
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

    /// The path of one.
    pub fn path(&self, name: &str) -> &Path {
        self.0.get(name).unwrap_or_else(|| panic!("build.sh knows no {name}"))
    }
}
