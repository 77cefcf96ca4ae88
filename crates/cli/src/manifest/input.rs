//! Files and standard input, read whole and never beyond a limit.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use writgate_core::{
    approval::{Envelope, MAX_ENVELOPE},
    kube::{WorkloadKind, WorkloadKinds},
};

use crate::{
    failure::Failure,
    manifest::{self, Manifest},
};

/// The largest manifest, in bytes; a whole cluster's `kubectl get -o yaml` fits.
const MAX_MANIFEST: u64 = 64 * 1024 * 1024;
/// Far more than any key; what is larger is another kind of file.
const MAX_SMALL_FILE: u64 = 64 * 1024;

/// What a path is called in messages.
pub(crate) fn name(path: &Path) -> String {
    if is_stdin(path) { "standard input".to_owned() } else { path.display().to_string() }
}

/// Whether a path means standard input.
pub(crate) fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Standard input can be read once: at most one of these paths may be `-`.
pub(crate) fn one_stdin<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Result<(), Failure> {
    if paths.into_iter().filter(|path| is_stdin(path)).count() > 1 {
        return Err(Failure::Misuse("`-`, standard input, is given twice; it can be read once".to_owned()));
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
        read().map_err(|error: io::Error| Failure::CouldNotTell(format!("cannot read {}: {error}", name(path))))?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limit {
        return Err(Failure::CouldNotTell(format!(
            "{} has more than {limit} bytes, the most that is read",
            name(path)
        )));
    }
    Ok(bytes)
}

/// Reads text of at most `limit` bytes; a byte order mark, as some editors write it, is skipped.
pub(crate) fn text(path: &Path, limit: u64) -> Result<String, Failure> {
    let text = String::from_utf8(bytes(path, limit)?)
        .map_err(|error| Failure::CouldNotTell(format!("{} is not UTF-8 text: {}", name(path), error.utf8_error())))?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// Reads the text of a key, or of a passphrase.
pub(crate) fn small_text(path: &Path) -> Result<String, Failure> {
    text(path, MAX_SMALL_FILE)
}

/// Reads the text of manifests.
pub(crate) fn manifest_text(path: &Path) -> Result<String, Failure> {
    text(path, MAX_MANIFEST)
}

/// How manifests are read: which kinds are workloads beside Kubernetes' own, and how deep.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct Kinds {
    /// A custom resource that is judged as a workload, as the webhook has it; may be repeated
    #[arg(long = "workload-kind", value_name = "GROUP/VERSION/KIND=RESOURCE:PATH")]
    further: Vec<WorkloadKind>,
    /// Read the folders in a folder that -f names, too
    #[arg(short = 'R', long)]
    recursive: bool,
}

impl Kinds {
    /// All that are known.
    pub(crate) fn known(&self) -> WorkloadKinds {
        self.further.iter().copied().collect()
    }
}

/// Reads every object of some files and folders.
pub(crate) fn manifests(paths: &[PathBuf], kinds: &Kinds) -> Result<Vec<Manifest>, Failure> {
    let known = kinds.known();
    let mut manifests = Vec::new();
    for path in paths {
        let files = files(path, kinds.recursive)?;
        if files.is_empty() {
            return Err(Failure::CouldNotTell(format!(
                "{} holds no manifest: no file in it ends in .yaml, .yml or .json; -R looks into its folders too",
                path.display()
            )));
        }
        for file in files {
            manifests.extend(manifest::read(&name(&file), &manifest_text(&file)?, &known)?);
        }
    }
    Ok(manifests)
}

/// The files that a path stands for: itself, or in a folder those that kubectl would read, in the order of their names.
pub(crate) fn files(path: &Path, recursive: bool) -> Result<Vec<PathBuf>, Failure> {
    if is_stdin(path) || !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let cannot = |error: io::Error| Failure::CouldNotTell(format!("cannot read {}: {error}", path.display()));
    let mut entries = Vec::new();
    for entry in fs::read_dir(path).map_err(cannot)? {
        entries.push(entry.map_err(cannot)?.path());
    }
    entries.sort();
    let mut found = Vec::new();
    for entry in entries {
        if entry.is_dir() {
            // A link to a folder is not followed, as kubectl does: it may lead in circles.
            if recursive && !entry.is_symlink() {
                found.extend(files(&entry, recursive)?);
            }
        } else if entry.extension().is_some_and(|end| ["yaml", "yml", "json"].iter().any(|known| end == *known)) {
            found.push(entry);
        }
    }
    Ok(found)
}

/// Reads an approval's envelope. Room is left for white space, which other tools may have added.
pub(crate) fn envelope(path: &Path) -> Result<Envelope, Failure> {
    let limit = u64::try_from(4 * MAX_ENVELOPE).unwrap_or(u64::MAX);
    let text = text(path, limit)?;
    let value: serde_json::Value = serde_json::from_str(&text)
        .map_err(|error| Failure::CouldNotTell(format!("{} holds no approval: not JSON: {error}", name(path))))?;
    // Parsing the text as it is keeps what only a strict reader sees, as a key that is there twice.
    let text = if text.len() > MAX_ENVELOPE { value.to_string() } else { text };
    Envelope::parse(&text).map_err(|why| Failure::CouldNotTell(format!("{} holds no approval: {why}", name(path))))
}
