//! The webhook's chain: each record gets its position and its signature once, before anything is rendered from it.
//!
//! Core defines the links and what a signature covers. This file has the process's key, and the lock under which two decisions
//! get two positions. A signature takes ten times as long as a position and is made outside the lock. [`checkpoint`] notes
//! after the response how far the chain has come.

pub mod checkpoint;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::watch;
use uuid::Uuid;
use writgate_cluster::clock;
use writgate_cluster::key_file::{KeyFile, KeyFileError, PrivateKey};
use writgate_core::{
    approval::KeyId,
    encoding::CanonicalError,
    record::{Chain, DecisionRecord, Head, Sealable, StartLink, UnsealedLine},
};

use crate::metrics::Metrics;

/// Why the audit key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuditKeyError {
    /// The file cannot be read.
    #[error("cannot read the audit key {file} (--audit-key-file): {source}")]
    Unreadable {
        /// The path of the file.
        file: PathBuf,
        /// The error.
        source: io::Error,
    },
    /// The file is not a private key.
    #[error("the audit key {file} (--audit-key-file): {source}")]
    NoKey {
        /// The path of the file.
        file: PathBuf,
        /// The error.
        source: KeyFileError,
    },
    /// The key requires a passphrase, which the webhook cannot ask for.
    #[error(
        "the audit key {0} (--audit-key-file) is encrypted; the webhook requires an unencrypted key, mounted from a Secret"
    )]
    Encrypted(PathBuf),
    /// No file is set, and a new key could not be generated.
    #[error("cannot generate an audit key: {0}")]
    NoRandomness(KeyFileError),
}

/// Reads the key in `file`. Without a file, generates a key for this process.
pub fn audit_key(file: Option<&Path>) -> Result<PrivateKey, AuditKeyError> {
    let Some(file) = file else { return PrivateKey::generate().map_err(AuditKeyError::NoRandomness) };
    let text =
        std::fs::read_to_string(file).map_err(|source| AuditKeyError::Unreadable { file: file.to_owned(), source })?;
    let text = zeroize::Zeroizing::new(text);
    match KeyFile::parse(&text).map_err(|source| AuditKeyError::NoKey { file: file.to_owned(), source })? {
        KeyFile::Plain(key) => Ok(*key),
        KeyFile::Encrypted(_) => Err(AuditKeyError::Encrypted(file.to_owned())),
    }
}

/// Seals the records of this process. Cheap to clone: all clones write one chain.
#[derive(Clone)]
pub struct Sealer(Arc<Shared>);

struct Shared {
    key: PrivateKey,
    writer: Uuid,
    started: Timestamp,
    /// The heads of the other chains when this chain started.
    others: Vec<Head>,
    chain: Mutex<Chain>,
    /// The head of the chain. `None` before the first record.
    head: watch::Sender<Option<Head>>,
    metrics: Metrics,
}

/// A sealed record, and the start of the chain if the record is the first one.
#[derive(Debug)]
pub struct SealedRecord {
    /// The chain's first line, if this is its first record.
    pub start: Option<StartLink>,
    /// The signed record.
    pub record: DecisionRecord,
}

impl SealedRecord {
    /// The lines for the log, without the last newline.
    #[must_use]
    pub fn lines(&self) -> Vec<u8> {
        let mut lines = Vec::with_capacity(2048);
        if let Some(start) = &self.start {
            write(&mut lines, start);
            lines.push(b'\n');
        }
        write(&mut lines, &self.record);
        lines
    }
}

impl Sealer {
    /// Starts a chain that `key` signs. Its first line names the heads of the `others`.
    #[must_use]
    pub fn new(key: PrivateKey, others: Vec<Head>, metrics: Metrics) -> Self {
        let started = clock::now();
        let writer = clock::decision_id(started);
        let (chain, head) = (Mutex::new(Chain::new(writer)), watch::Sender::new(None));
        Self(Arc::new(Shared { key, writer, started, others, chain, head, metrics }))
    }

    /// The id of the key, which signatures refer to.
    #[must_use]
    pub fn keyid(&self) -> KeyId {
        self.0.key.id()
    }

    /// The id of this process, which links refer to.
    #[must_use]
    pub fn writer(&self) -> Uuid {
        self.0.writer
    }

    /// Gives `record` the next position in the chain, and signs it. It fails if the record has no canonical form.
    pub fn seal(&self, record: DecisionRecord) -> Result<SealedRecord, CanonicalError> {
        let (start, record) = self.place(record)?;
        self.note_head(record.head());
        self.0.metrics.records_sealed.inc();
        Ok(SealedRecord { start: start.map(|start| self.sign(start)), record: self.sign(record) })
    }

    fn place(
        &self,
        record: DecisionRecord,
    ) -> Result<(Option<UnsealedLine<StartLink>>, UnsealedLine<DecisionRecord>), CanonicalError> {
        let mut chain = self.0.chain.lock().unwrap_or_else(PoisonError::into_inner);
        let mut start = None;
        if chain.head().is_none() {
            let (id, others) = (clock::decision_id(self.0.started), self.0.others.clone());
            start = Some(chain.start(id, self.0.started, others)?);
        }
        Ok((start, chain.link(record)?))
    }

    fn sign<T: Sealable>(&self, unsealed: UnsealedLine<T>) -> T {
        unsealed.seal(self.keyid(), |bytes| self.0.key.sign(bytes))
    }

    /// Notes the head. Two decisions may arrive here in another order than they got their positions.
    fn note_head(&self, head: Head) {
        self.0.head.send_if_modified(|known| {
            let moved = known.is_none_or(|known| known.sequence < head.sequence);
            if moved {
                *known = Some(head);
            }
            moved
        });
    }
}

fn write(lines: &mut Vec<u8>, line: &impl Serialize) {
    serde_json::to_writer(lines, line).expect("strings and numbers always serialise, into memory");
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use writgate_core::{approval::PublicKey, record::ChainVerifier};

    use super::*;

    fn record() -> DecisionRecord {
        let record = json!({
            "version": "writgate.dev/decision/v1", "id": "01935a00-0000-7000-8000-000000000001",
            "time": "2026-11-22T11:00:00Z", "dryRun": false, "requiredCapabilities": [], "approvals": [],
            "decision": "denied", "reasons": ["ApprovalRequired"]
        });
        serde_json::from_value(record).expect("a record")
    }

    fn sealer() -> (Sealer, PublicKey) {
        let key = PrivateKey::generate().expect("randomness");
        let public = PublicKey::from_pem(&key.public_pem()).expect("a key");
        (Sealer::new(key, Vec::new(), Metrics::default()), public)
    }

    #[test]
    fn the_first_record_comes_after_the_start_line_of_its_chain() {
        let (sealer, public) = sealer();
        assert_eq!(*sealer.0.head.borrow(), None, "a chain without a record has no head");
        let lines: Vec<_> = (0..3).map(|_| sealer.seal(record()).expect("sealed").lines()).collect();
        let text = lines.iter().map(|lines| String::from_utf8_lossy(lines)).collect::<Vec<_>>().join("\n");
        assert_eq!(text.lines().count(), 4);
        let mut verifier = ChainVerifier::new([public]);
        text.lines().for_each(|line| drop(verifier.add(line)));
        let report = verifier.finish();
        assert!(report.is_clean() && report.chains[0].links == 4, "{report:#?}");
        assert_eq!(sealer.0.head.borrow().expect("a head").sequence, 3);
    }

    #[test]
    fn records_sealed_at_once_are_one_chain() {
        let (sealer, public) = sealer();
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let sealer = sealer.clone();
                std::thread::spawn(move || (0..50).map(|_| sealer.seal(record()).expect("sealed")).collect::<Vec<_>>())
            })
            .collect();
        let mut verifier = ChainVerifier::new([public]);
        for sealed in threads.into_iter().flat_map(|thread| thread.join().expect("no panic")) {
            String::from_utf8_lossy(&sealed.lines()).lines().for_each(|line| drop(verifier.add(line)));
        }
        let report = verifier.finish();
        assert!(report.is_clean() && report.chains[0].links == 201, "{report:#?}");
        assert_eq!(sealer.0.head.borrow().expect("a head").sequence, 200);
    }

    #[test]
    fn an_audit_key_is_an_unencrypted_private_key() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("key.pem");
        assert!(matches!(audit_key(Some(&file)), Err(AuditKeyError::Unreadable { .. })));
        let key = PrivateKey::generate().expect("randomness");
        std::fs::write(&file, key.to_plain_pem().as_bytes()).expect("written");
        assert_eq!(audit_key(Some(&file)).expect("a key").id(), key.id());
        std::fs::write(&file, key.public_pem()).expect("written");
        assert!(matches!(audit_key(Some(&file)), Err(AuditKeyError::NoKey { .. })));
        std::fs::write(&file, key.to_encrypted_pem("passphrase").expect("a key").as_bytes()).expect("written");
        assert!(matches!(audit_key(Some(&file)), Err(AuditKeyError::Encrypted(_))));
        assert_ne!(audit_key(None).expect("a key").id(), audit_key(None).expect("a key").id());
    }
}
