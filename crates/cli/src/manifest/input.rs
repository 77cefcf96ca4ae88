//! Files and standard input, read completely, up to a limit, and the flags that say how to read them.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use writgate_core::{
    approval::{Envelope, MAX_ENVELOPE},
    kube::{WorkloadKind, WorkloadKinds},
};

use crate::{
    failure::Failure,
    manifest::{self, Manifest},
    platform,
};

/// Size limit of a manifest in bytes. The output of `kubectl get -o yaml` for a whole cluster fits.
const MAX_MANIFEST: u64 = 64 * 1024 * 1024;
/// Size limit of other files in bytes. Keys and passphrases are far smaller.
const MAX_SMALL_FILE: u64 = 64 * 1024;

/// A path's name in messages.
pub(crate) fn name(path: &Path) -> String {
    if is_stdin(path) { "standard input".to_owned() } else { path.display().to_string() }
}

/// Whether a path means standard input.
pub(crate) fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Fails if more than one of these paths is `-`, since standard input can be read only once.
pub(crate) fn one_stdin<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Result<(), Failure> {
    if paths.into_iter().filter(|path| is_stdin(path)).count() > 1 {
        return Err(Failure::Misuse("`-` (standard input) is given twice, but can be read only once".to_owned()));
    }
    Ok(())
}

/// Reads a file, or standard input for `-`, of at most `limit` bytes.
pub(crate) fn bytes(path: &Path, limit: u64) -> Result<Vec<u8>, Failure> {
    let read = || {
        let mut bytes = Vec::new();
        if is_stdin(path) {
            io::stdin().lock().take(limit + 1).read_to_end(&mut bytes)?;
        } else {
            File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
        }
        Ok(bytes)
    };
    let bytes =
        read().map_err(|error: io::Error| Failure::Undetermined(format!("cannot read {}: {error}", name(path))))?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limit {
        return Err(Failure::Undetermined(format!(
            "{} has more than {limit} bytes, the limit for this file",
            name(path)
        )));
    }
    Ok(bytes)
}

/// Reads text of at most `limit` bytes, without a byte order mark.
pub(crate) fn text(path: &Path, limit: u64) -> Result<String, Failure> {
    let text = String::from_utf8(bytes(path, limit)?)
        .map_err(|error| Failure::Undetermined(format!("{} is not UTF-8 text: {}", name(path), error.utf8_error())))?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// Reads the text of a key or a passphrase.
pub(crate) fn small_text(path: &Path) -> Result<String, Failure> {
    text(path, MAX_SMALL_FILE)
}

/// Fails if others can read a file with a secret: then a signature with it does not prove who signed.
pub(crate) fn check_private(path: &Path, what: &str) -> Result<(), Failure> {
    let Ok(found) = fs::metadata(path) else { return Ok(()) }; // reading the file reports the error
    let Some(mode) = platform::mode(&found) else { return Ok(()) };
    // No permissions for the group and for others, as ssh requires.
    if is_stdin(path) || !found.is_file() || mode.trailing_zeros() >= 6 {
        return Ok(());
    }
    Err(Failure::Undetermined(format!(
        "others can read the {what} {0} (mode {mode:04o}); run: chmod 600 {0}",
        path.display()
    )))
}

/// Reads the text of manifests.
pub(crate) fn manifest_text(path: &Path) -> Result<String, Failure> {
    text(path, MAX_MANIFEST)
}

/// Which kinds are workloads, in addition to Kubernetes' own.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct WorkloadKindFlags {
    /// Custom resource to check as a workload, as configured for the webhook; may be repeated
    #[arg(long = "workload-kind", value_name = "GROUP/VERSION/KIND=RESOURCE:PATH")]
    further: Vec<WorkloadKind>,
}

/// How to read manifests.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct ManifestFlags {
    #[command(flatten)]
    pub(crate) kinds: WorkloadKindFlags,
    /// Read folders with their subfolders
    #[arg(short = 'R', long)]
    recursive: bool,
}

impl ManifestFlags {
    /// Whether subfolders are read.
    pub(crate) fn is_recursive(&self) -> bool {
        self.recursive
    }
}

impl WorkloadKindFlags {
    /// The further kinds.
    pub(crate) fn further(&self) -> &[WorkloadKind] {
        &self.further
    }

    /// Kubernetes' workload kinds and the further ones.
    pub(crate) fn known(&self) -> WorkloadKinds {
        self.further.iter().copied().collect()
    }
}

impl From<WorkloadKindFlags> for ManifestFlags {
    fn from(kinds: WorkloadKindFlags) -> Self {
        Self { kinds, recursive: false }
    }
}

/// Reads every object of files and folders.
pub(crate) fn manifests(paths: &[PathBuf], flags: &ManifestFlags) -> Result<Vec<Manifest>, Failure> {
    let known = flags.kinds.known();
    let mut manifests = Vec::new();
    for path in paths {
        let files = files(path, flags.recursive)?;
        if files.is_empty() {
            return Err(Failure::Undetermined(format!(
                "{} contains no manifest: no file in it ends in .yaml, .yml or .json; pass -R to read its subfolders",
                path.display()
            )));
        }
        for file in files {
            manifests.extend(manifest::read(&name(&file), &manifest_text(&file)?, &known)?);
        }
    }
    Ok(manifests)
}

/// The files that a path stands for: itself, or the files of a folder that kubectl would read, sorted by name.
pub(crate) fn files(path: &Path, recursive: bool) -> Result<Vec<PathBuf>, Failure> {
    if is_stdin(path) || !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let cannot = |error: io::Error| Failure::Undetermined(format!("cannot read {}: {error}", path.display()));
    let mut entries = Vec::new();
    for entry in fs::read_dir(path).map_err(cannot)? {
        entries.push(entry.map_err(cannot)?.path());
    }
    entries.sort();
    let mut found = Vec::new();
    for entry in entries {
        if entry.is_dir() {
            // As in kubectl, a link to a folder is not followed, because it may form a cycle.
            if recursive && !entry.is_symlink() {
                found.extend(files(&entry, recursive)?);
            }
        } else if entry.extension().is_some_and(|end| ["yaml", "yml", "json"].iter().any(|known| end == *known)) {
            // Reading a FIFO or a device may never end. A link that leads nowhere is reported when it is read.
            if fs::metadata(&entry).is_ok_and(|found| !found.is_file()) {
                return Err(Failure::Undetermined(format!(
                    "{} is not a regular file; remove it from the folder, or pass the other files by name",
                    entry.display()
                )));
            }
            found.push(entry);
        }
    }
    Ok(found)
}

/// The time that a flag gives.
pub(crate) fn time(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_| "expected an RFC 3339 time such as 2026-11-22T11:00:00Z".to_owned())
}

/// Reads an approval's envelope. The limit leaves room for white space that other tools may have added.
pub(crate) fn envelope(path: &Path) -> Result<Envelope, Failure> {
    let limit = u64::try_from(4 * MAX_ENVELOPE).unwrap_or(u64::MAX);
    let text = text(path, limit)?;
    let value: serde_json::Value = serde_json::from_str(&text)
        .map_err(|error| Failure::Undetermined(format!("{} contains no approval: not JSON: {error}", name(path))))?;
    // Only the original text shows what a strict reader rejects, such as a duplicate key.
    let text = if text.len() > MAX_ENVELOPE { value.to_string() } else { text };
    Envelope::parse(&text).map_err(|why| Failure::Undetermined(format!("{} contains no approval: {why}", name(path))))
}
