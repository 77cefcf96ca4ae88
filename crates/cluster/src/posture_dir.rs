//! A folder of posture documents in place of a cluster (`--posture-dir`).
//!
//! It holds YAML and JSON files: bare documents, ConfigMaps that hold documents, and Namespaces for their labels. The webhook
//! and the command line read it with this code, so both see the same postures.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use writgate_core::posture::Document;

/// Why a posture folder could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The folder or a file in it cannot be read.
    #[error("cannot read {path}: {source}; --posture-dir must be a folder of YAML or JSON files")]
    Read {
        /// The folder or file.
        path: PathBuf,
        /// The error.
        source: io::Error,
    },
    /// A FIFO, a device or a folder has the name of a document. Reading it may never end.
    #[error("{0} is not a regular file; remove it from the folder of postures")]
    NotRegular(PathBuf),
}

/// Reads every document in `folder`, in the order of the file names.
///
/// Hidden entries are skipped: a mounted ConfigMap has its files in a hidden folder, and links to them. A file that is not
/// UTF-8, or not a regular file, is an error: without it, the postures would be incomplete.
pub fn read(folder: &Path) -> Result<Vec<Document>, FolderError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| FolderError::Read { path, source }
    };
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed(folder))? {
        let path = entry.map_err(failed(folder))?.path();
        let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        let document =
            path.extension().is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension == *known));
        if !hidden && document {
            paths.push(path);
        }
    }
    paths.sort();
    let document = |path: PathBuf| {
        if !fs::metadata(&path).map_err(failed(&path))?.is_file() {
            return Err(FolderError::NotRegular(path));
        }
        let text = fs::read_to_string(&path).map_err(failed(&path))?;
        Ok(Document { source: path.display().to_string(), name: None, text })
    };
    paths.into_iter().map(document).collect()
}
