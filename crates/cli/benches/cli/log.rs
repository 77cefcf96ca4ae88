//! A webhook's log: records of one chain, and a seal after each group of records. The log depends only on the number of
//! records.

use std::{
    fs::File,
    io::{BufWriter, Write as _},
    path::Path,
};

use anyhow::Context;
use ed25519_dalek::{
    Signer as _, SigningKey,
    pkcs8::{EncodePublicKey as _, spki::der::pem::LineEnding},
};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use uuid::Uuid;
use writgate_core::{
    approval::PublicKey,
    record::{Chain, DecisionRecord, Seal, UnplacedRecord},
};

/// The writer's key, which is used only for this log.
fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

/// The public key of the log.
pub(crate) fn public_key() -> anyhow::Result<String> {
    Ok(key().verifying_key().to_public_key_pem(LineEnding::LF)?)
}

/// Records that have one seal. A webhook with two thousand decisions a second has groups of this size.
const GROUP: u32 = 100;

/// Writes a start link and records: some of denials, most of admissions by an approval.
pub(crate) fn write(path: &Path, records: u32) -> anyhow::Result<()> {
    let key = key();
    let keyid = PublicKey::from_pem(&public_key()?).context("a key that was just made")?.id();
    let began: Timestamp = "2026-11-22T10:00:00Z".parse()?;
    let mut chain = Chain::new(id(0));
    let mut log = BufWriter::new(File::create(path)?);
    let sign = |bytes: &[u8]| key.sign(bytes).to_bytes();
    line(&mut log, &chain.start(id(1), began, Vec::new()).seal(keyid, sign))?;
    for number in 0..records {
        let time = began + SignedDuration::from_secs(60 + i64::from(number));
        let mut written = Vec::new();
        chain.place(&UnplacedRecord::of(&record(number, time)?), &mut written);
        log.write_all(&written)?;
        log.write_all(b"\n")?;
        if number % GROUP == GROUP - 1 || number + 1 == records {
            let head = chain.head().context("a chain with records")?;
            line(&mut log, &Seal::of(head, time, keyid, sign))?;
        }
    }
    Ok(log.flush()?)
}

fn line(log: &mut impl std::io::Write, line: &impl serde::Serialize) -> anyhow::Result<()> {
    serde_json::to_writer(&mut *log, line)?;
    Ok(log.write_all(b"\n")?)
}

fn record(number: u32, time: Timestamp) -> anyhow::Result<DecisionRecord> {
    let denied = number.is_multiple_of(3);
    let person = ["alice", "carol", "system:serviceaccount:gitops:applier"][usize::try_from(number % 3)?];
    let approval = json!({
        "id": id(1_000_000_000 + number), "reviewers": ["bob@acme.example"],
        "keyIds": ["1f0e5c1c1b0e8a3e6b0f4a9f2a0a4a8f0e5c1c1b0e8a3e6b0f4a9f2a0a4a8f0e"], "capabilities": ["deploy"],
        "expiresAt": "2026-11-24T10:00:00Z", "reason": format!("CHG-{number}")
    });
    Ok(serde_json::from_value(json!({
        "version": "writgate.dev/decision/v1", "id": id(10 + number), "time": time,
        "requestUid": format!("0b5c1d1e-0000-4000-8000-{number:012}"), "dryRun": false, "cluster": "prod-eu-1",
        "environment": "production", "project": "payments",
        "initiator": {"username": person, "uid": "", "groups": ["deployers", "system:authenticated"]},
        "requestedBy": if denied { None } else { Some("alice@acme.example") },
        "operation": if denied { "CREATE" } else { "UPDATE" }, "action": "deploy",
        "object": {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "payments",
                   "name": format!("orders-{}", number % 100), "uid": format!("7d1c2f00-0000-4000-8000-{:012}", number % 100)},
        "specHash": format!("sha256:{number:064x}"), "previousSpecHash": null, "approvalRequired": true,
        "requiredCapabilities": ["deploy"], "capabilityRules": [],
        "approvals": if denied { vec![] } else { vec![approval] },
        "decision": if denied { "denied" } else { "admitted" }, "basis": if denied { None } else { Some("approval") },
        "enforcement": "enforce", "reasons": if denied { vec!["ApprovalRequired"] } else { vec![] },
        "postureVersion": "sha256:4f0c1a3e9d8b7a6c5e4d3c2b1a0f9e8d7c6b5a4f3e2d1c0b9a8f7e6d5c4b3a2f"
    }))?)
}

/// A fixed `UUIDv7`.
fn id(number: u32) -> Uuid {
    let [a, b, c, d] = number.to_be_bytes();
    uuid::Builder::from_unix_timestamp_millis(1_795_341_600_000 + u64::from(number), &[0, 0, 0, 0, 0, 0, a, b, c, d])
        .into_uuid()
}
