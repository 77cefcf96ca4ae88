//! The webhook's chain: each record gets its place when its line is written, and [`seals`] signs the chain later.
//!
//! Core defines the lines and what a signature covers. This file has the process's key, and the chain that gives two
//! decisions two places. A seal is written after the lines that it covers, and [`checkpoint`] notes after that how far the
//! chain has come.

pub mod checkpoint;
pub mod seals;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::{Notify, watch};
use uuid::Uuid;
use writgate_cluster::clock;
use writgate_cluster::key_file::{KeyFile, KeyFileError, PrivateKey};
use writgate_core::{
    approval::KeyId,
    record::{Chain, DecisionRecord, Head, Link, Seal, UnplacedRecord},
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

/// Records that may wait for a seal before one is written at once.
const MAX_UNSEALED: u64 = 256;

/// The chain of this process and its key. Cheap to clone: all clones write one chain.
#[derive(Clone)]
pub struct Sealer(Arc<Shared>);

struct Shared {
    key: PrivateKey,
    writer: Uuid,
    started: Timestamp,
    chain: Mutex<Placed>,
    /// The sequence of the last line that a written seal covers.
    sealed: AtomicU64,
    /// Wakes the task that writes seals: a record was placed.
    placed: Notify,
    /// Ends its pause: many records wait, or the process is about to stop.
    urgent: Notify,
    /// The head after each attempt to write a seal. `None` before the first one.
    head: watch::Sender<Option<Head>>,
    metrics: Metrics,
}

/// The chain as far as lines were given a place.
struct Placed {
    chain: Chain,
    /// The start link, which is written with the first record.
    start: Option<Vec<u8>>,
}

impl Sealer {
    /// Starts a chain that `key` signs. Its first line names the heads of the `others`.
    #[must_use]
    pub fn new(key: PrivateKey, others: Vec<Head>, metrics: Metrics) -> Self {
        let started = clock::now();
        let writer = clock::decision_id(started);
        let mut chain = Chain::new(writer);
        let start = chain.start(clock::decision_id(started), started, others);
        let start = start.seal(key.id(), |bytes| key.sign(bytes));
        let mut line = Vec::new();
        write(&mut line, &start);
        Self(Arc::new(Shared {
            key,
            writer,
            started,
            chain: Mutex::new(Placed { chain, start: Some(line) }),
            sealed: AtomicU64::new(0),
            placed: Notify::new(),
            urgent: Notify::new(),
            head: watch::Sender::new(None),
            metrics,
        }))
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

    /// Gives `record` the next place in the chain, and adds its line to `lines`, after the start link if it is the first.
    /// The lines must be written in the order of these calls.
    pub fn place(&self, record: &UnplacedRecord, lines: &mut Vec<u8>) -> Link {
        let mut placed = self.0.chain.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(start) = placed.start.take() {
            lines.extend_from_slice(&start);
            lines.push(b'\n');
        }
        let link = placed.chain.place(record, lines);
        drop(placed);
        let unsealed = link.sequence.saturating_sub(self.0.sealed.load(Ordering::Relaxed));
        self.0.metrics.records_unsealed.set(i64::try_from(unsealed).unwrap_or(i64::MAX));
        if unsealed >= MAX_UNSEALED {
            self.0.urgent.notify_one();
        }
        self.0.placed.notify_one();
        link
    }

    /// Signs a record by itself, for an Event or the ledger.
    pub fn sign(&self, record: &mut DecisionRecord) {
        record.sign(self.keyid(), |bytes| self.0.key.sign(bytes));
    }

    /// The last line that has a place, if no written seal covers it.
    fn unsealed(&self) -> Option<Head> {
        let placed = self.0.chain.lock().unwrap_or_else(PoisonError::into_inner);
        placed.chain.head().filter(|head| head.sequence > self.0.sealed.load(Ordering::Relaxed))
    }

    /// The seal of the chain up to `head`, as a line.
    fn seal(&self, head: Head) -> Vec<u8> {
        let mut line = Vec::new();
        write(&mut line, &Seal::of(head, clock::now(), self.keyid(), |bytes| self.0.key.sign(bytes)));
        line
    }

    /// Notes that a seal of `head` was written, or failed to be.
    fn note_seal(&self, head: Head, is_written: bool) {
        if is_written {
            let before = self.0.sealed.swap(head.sequence, Ordering::Relaxed);
            self.0.metrics.records_sealed.inc_by(head.sequence.saturating_sub(before));
            self.0.metrics.records_unsealed.set(0);
        }
        self.0.head.send_replace(Some(head));
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
        assert_eq!(sealer.unsealed(), None, "a chain without a record needs no seal");
        let mut lines = Vec::new();
        for _ in 0..3 {
            sealer.place(&UnplacedRecord::of(&record()), &mut lines);
            lines.push(b'\n');
        }
        let head = sealer.unsealed().expect("a head");
        lines.extend(sealer.seal(head));
        let text = String::from_utf8_lossy(&lines);
        assert_eq!((head.sequence, text.lines().count()), (3, 5));
        let mut verifier = ChainVerifier::new([public]);
        text.lines().for_each(|line| drop(verifier.add(line)));
        let report = verifier.finish();
        assert!(report.is_clean() && report.chains[0].links == 4, "{report:#?}");
        sealer.note_seal(head, true);
        assert_eq!((sealer.unsealed(), sealer.0.metrics.records_sealed.get()), (None, 3));
    }

    #[test]
    fn a_record_that_is_signed_by_itself_verifies_without_a_seal() {
        let (sealer, public) = sealer();
        let mut lines = Vec::new();
        let mut signed = record();
        signed.chain = Some(sealer.place(&UnplacedRecord::of(&record()), &mut lines));
        sealer.sign(&mut signed);
        let mut verifier = ChainVerifier::new([public]);
        verifier.add(&serde_json::to_string(&signed).expect("JSON"));
        String::from_utf8_lossy(&lines).lines().for_each(|line| drop(verifier.add(line)));
        let report = verifier.finish();
        assert!(report.is_clean() && report.chains[0].copies == 1, "{report:#?}");
    }

    #[test]
    fn records_placed_at_once_are_one_chain() {
        let (sealer, public) = sealer();
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let sealer = sealer.clone();
                std::thread::spawn(move || {
                    let line = || {
                        let mut line = Vec::new();
                        sealer.place(&UnplacedRecord::of(&record()), &mut line);
                        String::from_utf8(line).expect("UTF-8")
                    };
                    (0..50).map(|_| line()).collect::<Vec<_>>()
                })
            })
            .collect();
        let mut verifier = ChainVerifier::new([public]);
        for lines in threads.into_iter().flat_map(|thread| thread.join().expect("no panic")) {
            lines.lines().for_each(|line| drop(verifier.add(line)));
        }
        verifier.add(&String::from_utf8(sealer.seal(sealer.unsealed().expect("a head"))).expect("UTF-8"));
        let report = verifier.finish();
        assert!(report.is_clean() && report.chains[0].links == 201, "{report:#?}");
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
