//! Feeds the store from a folder of posture documents (`--posture-dir`), in place of a cluster.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use writgate_cluster::posture_dir::{FolderError, read};
use writgate_core::posture::Document;

use crate::state::store::Store;

/// How often the folder is read again.
const INTERVAL: Duration = Duration::from_secs(2);

/// Feeds `store` from `folder` once. Returns the documents.
pub fn load(folder: &Path, store: &Store) -> Result<Vec<Document>, FolderError> {
    let begun = Instant::now();
    let documents = read(folder)?;
    store.replace(documents.clone(), begun);
    Ok(documents)
}

/// Feeds `store` from `folder` whenever its documents differ from `known`. Does not return. If the folder cannot be read,
/// the last state stays until it is stale, because an edit in progress looks the same.
pub async fn follow(folder: PathBuf, store: Arc<Store>, mut known: Vec<Document>) {
    let mut last_error = None;
    loop {
        let begun = Instant::now();
        let path = folder.clone();
        let Ok(documents) = tokio::task::spawn_blocking(move || read(&path)).await else {
            // Only when the runtime shuts down.
            return;
        };
        match documents {
            Ok(documents) => {
                last_error = None;
                if known == documents {
                    store.prove_all_fresh(begun);
                } else {
                    store.replace(documents.clone(), begun);
                    tracing::info!(folder = %folder.display(), "postures read");
                    known = documents;
                }
            }
            Err(error) => {
                let error = error.to_string();
                if last_error.as_ref() != Some(&error) {
                    tracing::error!(
                        error,
                        "the posture folder cannot be read; the postures stay unchanged until they are stale"
                    );
                }
                last_error = Some(error);
            }
        }
        tokio::time::sleep(INTERVAL).await;
    }
}
