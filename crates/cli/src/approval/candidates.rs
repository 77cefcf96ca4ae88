//! Where approvals may lie: in files that were named, in the Git working tree, in the cluster's ConfigMaps. Found and not
//! judged; the same envelope in several places is one candidate.

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
    approval::judge::detached_approvals,
    cluster::Cluster,
    failure::Failure,
    manifest::{self, Manifest, input},
    terminal::output,
};

/// Files that are looked into; what a repository has beyond them is named in a note.
const MAX_FILES: usize = 20_000;
/// The largest file with approvals: a ConfigMap holds no more.
const MAX_FILE: u64 = 1 << 20;
/// Every envelope has this field. What lacks it need not be parsed.
const MARK: &str = "payloadType";

/// An envelope that may be for a workload.
pub(crate) struct Candidate {
    pub(crate) envelope: String,
    /// What it says, by nobody's word.
    pub(crate) claims: Approval,
    /// Where it was found.
    pub(crate) places: Vec<String>,
}

/// All that were found.
#[derive(Default)]
pub(crate) struct Candidates(pub(crate) Vec<Candidate>);

impl Candidates {
    /// Adds those in files, and in folders with all their folders.
    pub(crate) fn add_paths(&mut self, paths: &[PathBuf]) -> Result<(), Failure> {
        for path in paths {
            if path.is_dir() {
                for file in input::files(path, true)? {
                    self.add_file(&file, &file.display().to_string());
                }
            } else {
                let text = input::text(path, MAX_FILE)?;
                if self.add_text(&text, &input::name(path)) == 0 {
                    return Err(Failure::CouldNotTell(format!("{} holds no approval", input::name(path))));
                }
            }
        }
        Ok(())
    }

    /// Adds those in the Git working tree around the current folder, tracked or not, but not what Git ignores. Where there
    /// is none, or no Git, there is nothing to add.
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
                "note: the working tree has more than {MAX_FILES} files; name some with --approvals"
            ));
        }
        for name in files.into_iter().take(MAX_FILES) {
            self.add_file(&root.join(name), name);
        }
    }

    /// Adds those in ConfigMaps of a namespace.
    pub(crate) fn add_namespace(&mut self, cluster: &Cluster, namespace: &str) -> Result<(), Failure> {
        for found in detached_approvals(cluster, namespace)? {
            self.add_detached(&found, namespace);
        }
        Ok(())
    }

    /// Adds those in ConfigMaps among the manifests.
    pub(crate) fn add_manifests(&mut self, manifests: &[Manifest]) {
        for manifest in manifests {
            if let Some(found) = manifest.detached_approval() {
                self.add(&found.text, &manifest.to_string());
            }
        }
    }

    fn add_detached(&mut self, found: &DetachedApproval, namespace: &str) {
        self.add(&found.text, &format!("configmap {namespace}/{}", found.name));
    }

    /// A file of a folder may be anything: what cannot be read holds no approval.
    fn add_file(&mut self, path: &Path, name: &str) {
        let is_file = fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() <= MAX_FILE);
        if let Some(text) = is_file.then(|| fs::read_to_string(path).ok()).flatten() {
            self.add_text(&text, name);
        }
    }

    /// Adds what a text holds: an envelope, or ConfigMaps with some. Returns how many these are.
    fn add_text(&mut self, text: &str, name: &str) -> usize {
        if !text.contains(MARK) {
            return 0;
        }
        if self.add(text, name) {
            return 1;
        }
        // Laid out by another tool, with more white space than an annotation has room for.
        if let Ok(documents) = read_yaml(text)
            && let [document] = &documents[..]
            && document.get(MARK).is_some()
        {
            return usize::from(self.add(&document.to_string(), name));
        }
        let manifests = manifest::read(name, text, &WorkloadKinds::default()).unwrap_or_default();
        let held: Vec<_> =
            manifests.iter().filter_map(|one| Some((one.detached_approval()?, one.to_string()))).collect();
        held.iter().filter(|(found, place)| self.add(&found.text, place)).count()
    }

    /// Adds one text, if it is an envelope around an approval.
    fn add(&mut self, text: &str, place: &str) -> bool {
        let Ok(envelope) = Envelope::parse(text) else { return false };
        let Ok(claims) = Approval::parse(envelope.payload()) else { return false };
        let envelope = envelope.to_json();
        let place = place.to_owned();
        match self.0.iter_mut().find(|known| known.envelope == envelope) {
            Some(known) if known.places.contains(&place) => {}
            Some(known) => known.places.push(place),
            None => self.0.push(Candidate { envelope, claims, places: vec![place] }),
        }
        true
    }
}

/// What Git says; none where it has no answer.
fn git(folder: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").arg("-C").arg(folder).args(arguments).stdin(Stdio::null()).output().ok()?;
    String::from_utf8(output.stdout).ok().filter(|_| output.status.success())
}
