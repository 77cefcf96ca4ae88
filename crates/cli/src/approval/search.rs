//! Finds approvals in named files, in the Git working tree and in the cluster's ConfigMaps. Nothing is checked here. An
//! envelope that is found in several locations is one entry.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use writgate_core::{
    approval::{Approval, DetachedApproval, Envelope},
    encoding::read_yaml,
    kube::WorkloadKinds,
};

use crate::{
    approval::decider::detached_approvals,
    cluster::Cluster,
    failure::Failure,
    manifest::{self, Manifest, input},
    terminal::output,
};

/// Files of a working tree that are read, at most; a note says if there are more.
const MAX_FILES: usize = 20_000;
/// Largest file that is read. A ConfigMap is not larger.
const MAX_FILE: u64 = 1 << 20;
/// A field of every envelope. A text without it is not parsed.
const MARK: &str = "payloadType";

/// An envelope that may be for a workload.
pub(crate) struct FoundApproval {
    pub(crate) envelope: String,
    /// Its statement, not verified.
    pub(crate) claims: Approval,
    /// Where it was found.
    pub(crate) locations: Vec<String>,
}

/// All approvals that were found.
#[derive(Default)]
pub(crate) struct FoundApprovals(pub(crate) Vec<FoundApproval>);

impl FoundApprovals {
    /// Adds the approvals in files, and in folders and their subfolders.
    pub(crate) fn add_paths(&mut self, paths: &[PathBuf]) -> Result<(), Failure> {
        for path in paths {
            if path.is_dir() {
                for file in input::files(path, true)? {
                    self.add_file(&file, &file.display().to_string());
                }
            } else {
                let text = input::text(path, MAX_FILE)?;
                if self.add_text(&text, &input::name(path)) == 0 {
                    return Err(Failure::Undetermined(format!("{} contains no approval", input::name(path))));
                }
            }
        }
        Ok(())
    }

    /// Adds the approvals in the Git working tree of the current folder, except for ignored files. Without Git or a
    /// working tree, nothing is added.
    pub(crate) fn add_working_tree(&mut self) {
        let Some(root) = git(Path::new("."), &["rev-parse", "--show-toplevel"]) else { return };
        let root = PathBuf::from(root.trim_end_matches(['\r', '\n']));
        let listed =
            ["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", "*.json", "*.yaml", "*.yml"];
        let Some(files) = git(&root, &listed) else { return };
        let mut files: Vec<&str> = files.split('\0').filter(|name| !name.is_empty()).collect();
        files.sort_unstable();
        files.dedup();
        if files.len() > MAX_FILES {
            output::note(&format!(
                "note: the working tree has more than {MAX_FILES} files; select some with --approvals"
            ));
        }
        for name in files.into_iter().take(MAX_FILES) {
            self.add_file(&root.join(name), name);
        }
    }

    /// Adds the detached approvals of a namespace.
    pub(crate) fn add_namespace(&mut self, cluster: &Cluster, namespace: &str) -> Result<(), Failure> {
        for found in detached_approvals(cluster, namespace)? {
            self.add_detached(&found, namespace);
        }
        Ok(())
    }

    /// Adds the detached approvals among the manifests.
    pub(crate) fn add_manifests(&mut self, manifests: &[Manifest]) {
        for manifest in manifests {
            if let Some(found) = manifest.detached_approval() {
                self.add(&found.text, &manifest.to_string());
            }
        }
    }

    /// Adds a detached approval of a namespace.
    pub(crate) fn add_detached(&mut self, found: &DetachedApproval, namespace: &str) {
        self.add(&found.text, &format!("configmap {namespace}/{}", found.name));
    }

    /// Adds the approvals of a file. A file that cannot be read or parsed has none.
    fn add_file(&mut self, path: &Path, name: &str) {
        let is_file = fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() <= MAX_FILE);
        if let Some(text) = is_file.then(|| fs::read_to_string(path).ok()).flatten() {
            self.add_text(&text, name);
        }
    }

    /// Adds the approvals of a text: an envelope, or ConfigMaps with envelopes. Returns their number.
    fn add_text(&mut self, text: &str, name: &str) -> usize {
        if !text.contains(MARK) {
            return 0;
        }
        if self.add(text, name) {
            return 1;
        }
        // Another tool may have added white space, with which the text exceeds the limit of an annotation.
        if let Ok(documents) = read_yaml(text)
            && let [document] = &documents[..]
            && document.get(MARK).is_some()
        {
            return usize::from(self.add(&document.to_string(), name));
        }
        let manifests = manifest::read(name, text, &WorkloadKinds::default()).unwrap_or_default();
        let held: Vec<_> =
            manifests.iter().filter_map(|one| Some((one.detached_approval()?, one.to_string()))).collect();
        held.iter().filter(|(found, location)| self.add(&found.text, location)).count()
    }

    /// Adds a text, if it is an envelope with a statement.
    fn add(&mut self, text: &str, location: &str) -> bool {
        let Ok(envelope) = Envelope::parse(text) else { return false };
        let Ok(claims) = Approval::parse(envelope.payload()) else { return false };
        let envelope = envelope.to_json();
        let location = location.to_owned();
        match self.0.iter_mut().find(|known| known.envelope == envelope) {
            Some(known) if known.locations.contains(&location) => {}
            Some(known) => known.locations.push(location),
            None => self.0.push(FoundApproval { envelope, claims, locations: vec![location] }),
        }
        true
    }
}

/// Git's output; none if the command fails.
fn git(folder: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").arg("-C").arg(folder).args(arguments).stdin(Stdio::null()).output().ok()?;
    if output.status.success() { String::from_utf8(output.stdout).ok() } else { None }
}
