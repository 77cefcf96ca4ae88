//! `audit --log --verify`, from the bytes of a log to the printed rows.

mod property;

use std::{collections::BTreeMap, fs, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use ed25519_dalek::{Signer as _, SigningKey};
use serde_json::{Value, json};
use uuid::Uuid;
use writgate_core::{
    approval::PublicKey,
    record::{
        CHAIN_VERSION, Chain, ChainVerifier, Checkpoint, CheckpointHead, DecisionRecord, Head, Seal, UnplacedRecord,
    },
};

use super::{
    Audit, RowSink as _, Tally,
    filter::{Filter, FilterFlags},
    log::Log,
    printer::{Format, Printer},
    row::Row,
    verification::{Verification, VerificationReport},
};

fn id(number: usize) -> Uuid {
    Uuid::from_u128(0x0193_5a00_0000_7000_8000_0000_0000_0000 + u128::try_from(number).unwrap())
}

/// An admission or a denial.
fn record(number: usize, admitted: bool, name: &str) -> DecisionRecord {
    let approval = json!({
        "id": id(9_000 + number), "reviewers": ["bob@acme.example"], "keyIds": ["k"], "capabilities": ["deploy"],
        "expiresAt": "2026-11-24T10:00:00Z", "reason": name
    });
    let record = json!({
        "version": "writgate.dev/decision/v1", "id": id(number), "time": "2026-11-22T11:00:00Z", "requestUid": "r-1",
        "dryRun": false, "cluster": "prod-eu-1", "environment": "production", "project": "payments",
        "initiator": {"username": name, "uid": "", "groups": ["dev/ops", "\u{1b}\""]}, "requestedBy": null,
        "operation": "CREATE", "action": "deploy",
        "object": {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "payments", "name": "orders", "uid": null},
        "connection": null, "change": null, "specHash": format!("sha256:{}", "ab".repeat(32)),
        "previousSpecHash": null, "approvalRequired": true, "requiredCapabilities": ["deploy"], "capabilityRules": [],
        "approvals": if admitted { vec![approval] } else { vec![] },
        "decision": if admitted { "admitted" } else { "denied" }, "basis": if admitted { "approval".into() } else { Value::Null },
        "enforcement": "enforce", "reasons": if admitted { vec![] } else { vec!["ApprovalRequired"] }, "postureVersion": "p"
    });
    serde_json::from_value(record).unwrap()
}

fn public(key: &SigningKey) -> PublicKey {
    let prefix = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    PublicKey::from_spki_der(&[prefix.as_slice(), key.verifying_key().as_bytes()].concat()).unwrap()
}

/// What the writers wrote.
#[derive(Clone, Debug, Default)]
struct Written {
    lines: Vec<Value>,
    /// The seals that a later seal makes good.
    spare: Vec<Value>,
    records: Vec<DecisionRecord>,
    checkpoints: Vec<Checkpoint>,
    keys: Vec<SigningKey>,
}

impl Written {
    /// The chain of one more writer, each record with a signature of its own.
    fn write(&mut self, records: &[(bool, String)]) {
        self.write_in_groups(records, 0);
    }

    /// The chain of one more writer, with a seal after each `group` of records and in the end. Its start link names the heads
    /// of the chains before. 0: each record has a signature of its own.
    fn write_in_groups(&mut self, records: &[(bool, String)], group: usize) {
        let number = self.keys.len();
        let key = SigningKey::from_bytes(&[u8::try_from(number).unwrap() + 1; 32]);
        let (keyid, writer, time) = (public(&key).id(), id(0xff00 + number), "2026-11-22T11:00:00Z".parse().unwrap());
        let sign = |bytes: &[u8]| key.sign(bytes).to_bytes();
        let heads: Vec<Head> = self.checkpoints.iter().map(Checkpoint::head).collect();
        let mut chain = Chain::new(writer);
        let start = chain.start(id(0xee00 + number), time, heads).seal(keyid, sign);
        self.lines.push(serde_json::to_value(start).unwrap());
        for (number, (admitted, name)) in records.iter().enumerate() {
            let record = record(100 + self.records.len(), *admitted, name);
            self.records.push(record.clone());
            if group == 0 {
                self.lines.push(serde_json::to_value(chain.link(record).seal(keyid, sign)).unwrap());
                continue;
            }
            let mut line = Vec::new();
            chain.place(&UnplacedRecord::of(&record), &mut line);
            self.lines.push(serde_json::from_slice(&line).unwrap());
            let is_last = number + 1 == records.len();
            if is_last || number % group == group - 1 {
                let seal = Seal::of(chain.head().unwrap(), time, keyid, sign);
                let seal = serde_json::to_value(seal).unwrap();
                self.spare.extend((!is_last).then(|| seal.clone()));
                self.lines.push(seal);
            }
        }
        let Head { sequence, digest, .. } = chain.head().unwrap();
        let public_key = BASE64.encode(public(&key).to_spki_der());
        self.checkpoints.push(Checkpoint {
            version: CHAIN_VERSION.to_owned(),
            writer,
            public_key: format!("-----BEGIN PUBLIC KEY-----\n{public_key}\n-----END PUBLIC KEY-----\n"),
            keyid,
            started: time,
            head: CheckpointHead { sequence, digest, time },
        });
        self.keys.push(key);
    }

    fn of(chains: &[Vec<(bool, String)>]) -> Self {
        let mut written = Self::default();
        for records in chains {
            written.write(records);
        }
        written
    }

    /// One writer with four records, in groups of two.
    fn four_in_groups() -> Self {
        let mut written = Self::default();
        written.write_in_groups(&["alice", "bob", "carol", "dave"].map(|name| (true, name.to_owned())), 2);
        written
    }

    /// A record that nobody signed, and that follows the last one of the first writer.
    fn forged_tail(&self) -> Value {
        let Head { writer, sequence, digest } = self.checkpoints[0].head();
        let mut forged = serde_json::to_value(record(1, true, "mallory")).unwrap();
        forged["chain"] = json!({"writer": writer, "sequence": sequence + 1, "previous": digest});
        forged
    }

    /// One writer with four records.
    fn four() -> Self {
        Self::of(&[["alice", "b/ob", "\u{e4}/\u{1f600}", "dave"]
            .map(|name| (name != "b/ob", name.to_owned()))
            .to_vec()])
    }

    fn texts(&self) -> Vec<String> {
        self.lines.iter().map(Value::to_string).collect()
    }

    fn verifier(&self) -> ChainVerifier {
        let pairs = self.checkpoints.iter().zip(&self.keys);
        pairs.fold(ChainVerifier::default(), |verifier, (checkpoint, key)| {
            verifier.with_checkpoint(checkpoint, public(key))
        })
    }

    /// The rows of the records, sorted.
    fn rows(&self) -> Vec<String> {
        let mut out = Vec::new();
        let mut printer = Printer::new(&mut out, Format::Csv, false);
        for record in &self.records {
            printer.row(Row::from(record.clone()), "").unwrap();
        }
        printer.flush().unwrap();
        drop(printer);
        sorted_rows(out)
    }

    fn links(&self) -> BTreeMap<Uuid, u64> {
        self.checkpoints.iter().map(|checkpoint| (checkpoint.writer, checkpoint.head.sequence + 1)).collect()
    }
}

fn sorted_rows(csv: Vec<u8>) -> Vec<String> {
    let mut rows: Vec<String> = String::from_utf8(csv).unwrap().split("\r\n").skip(1).map(str::to_owned).collect();
    rows.retain(|row| !row.is_empty());
    rows.sort_unstable();
    rows
}

/// What `audit --log --verify -o csv` prints.
#[derive(Debug)]
struct Audited {
    rows: Vec<String>,
    links: BTreeMap<Uuid, u64>,
    is_clean: bool,
    report: String,
}

impl Audited {
    fn kinds(&self) -> Vec<&str> {
        let words = self.report.lines().filter_map(|line| line.strip_prefix("  ")?.split_once(':'));
        words.map(|(word, _)| word).collect()
    }
}

fn audit(verifier: ChainVerifier, lines: &[String]) -> Audited {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    fs::write(&path, lines.join("\n")).unwrap();
    let mut out = Vec::new();
    let (report, unreadable) = read(&path, verifier, &mut out);
    Audited {
        rows: sorted_rows(out),
        links: report.report.chains.iter().map(|chain| (chain.writer, chain.links)).collect(),
        is_clean: report.is_clean() && unreadable == 0,
        report: report.text(),
    }
}

/// Prints the rows of a log to `out`. Returns the report, and the number of records that cannot be read.
fn read(path: &Path, verifier: ChainVerifier, out: &mut Vec<u8>) -> (VerificationReport, u64) {
    let flags = FilterFlags::default();
    let mut audit = Audit {
        filter: Filter::new(&flags, None, "2026-11-22T12:00:00Z".parse().unwrap()).unwrap(),
        printer: Printer::new(out, Format::Csv, false),
        progress: None,
        verification: Some(Verification::with(verifier)),
        context: String::new(),
        format: Format::Csv,
        tally: Tally::default(),
    };
    let mut log = Log::open(path, false).unwrap();
    log.read(&mut audit).unwrap();
    log.rest(&mut audit).unwrap();
    log.unfinished(&mut audit).unwrap();
    audit.settle_rest().unwrap();
    audit.printer.flush().unwrap();
    (audit.verification.take().unwrap().finish(false, audit.tally.unreadable), audit.tally.unreadable)
}

#[test]
fn an_unchanged_log_is_clean_and_its_rows_are_the_records() {
    let written = Written::four();
    let audited = audit(written.verifier(), &written.texts());
    assert!(audited.is_clean, "{audited:#?}");
    assert_eq!((audited.rows.len(), audited.rows), (4, written.rows()));
}

#[test]
fn a_log_in_groups_is_clean_and_its_rows_are_the_records() {
    let written = Written::four_in_groups();
    let texts = written.texts();
    assert_eq!(texts.len(), 7);
    let reversed: Vec<String> = texts.iter().rev().cloned().collect();
    for lines in [&texts, &reversed] {
        let audited = audit(written.verifier(), lines);
        assert!(audited.is_clean && audited.rows == written.rows(), "{audited:#?}");
    }
    let audited = audit(written.verifier(), &texts);
    assert!(audited.report.contains("5 links, 0 to 4, since 2026-11-22T11:00:00Z, sealed to 4; known"), "{audited:#?}");
    let audited = audit(written.verifier(), &[&texts[..], &texts[..]].concat());
    assert!(audited.is_clean && audited.rows == written.rows(), "{audited:#?}");
    assert_eq!(audited.kinds(), ["repeated"; 4]);
}

#[test]
fn a_record_after_the_last_seal_is_a_row_with_a_remark_and_never_verified() {
    let written = Written::four_in_groups();
    let lines = [written.texts(), vec![written.forged_tail().to_string()]].concat();
    let audited = audit(written.verifier(), &lines);
    assert!(audited.is_clean, "{audited:#?}");
    let (unverified, verified): (Vec<&String>, Vec<&String>) =
        audited.rows.iter().partition(|row| row.contains("mallory"));
    assert!(verified.into_iter().eq(&written.rows()), "{audited:#?}");
    assert!(matches!(&unverified[..], [row] if row.contains("admitted,not yet sealed,mallory")), "{audited:#?}");
    assert_eq!(audited.kinds(), ["not yet sealed"]);
    assert!(audited.report.contains("5 links of 1 chains; no findings; 1 not yet sealed"), "{audited:#?}");
}

#[test]
fn records_that_nothing_covers_are_rows_with_their_findings() {
    let written = Written::four_in_groups();
    let texts = written.texts();
    // Lines: start, 1, 2, seal of 2, 3, 4, seal of 4.
    for (what, lines, kinds) in [
        ("the last seal", texts[..6].to_vec(), vec!["unsigned", "unsigned", "missing"]),
        ("a record in a group", [&texts[..2], &texts[3..]].concat(), vec!["unsigned", "missing"]),
    ] {
        let audited = audit(written.verifier(), &lines);
        assert!(!audited.is_clean, "{what}: {audited:#?}");
        assert_eq!(audited.kinds(), kinds, "{what}: {audited:#?}");
        assert_eq!(audited.rows.iter().filter(|row| row.contains("admitted,unsigned,")).count(), kinds.len() - 1);
    }
    let lines = [&texts[..3], &texts[4..]].concat();
    assert!(audit(written.verifier(), &lines).is_clean, "a later seal covers the records of a lost one");
}

#[test]
fn no_spelling_hides_a_record() {
    let written = Written::four();
    for (plain, spelled) in [
        ("writgate.dev/decision/v1", r"writgate.dev\/decision\/v1"),
        ("writgate.dev/decision/v1", r"writgate.dev/decision/\u0076\u0031"),
        ("\"version\"", r#""\u0076ersion""#),
        ("\"chain\"", "\t\"chain\" "),
        ("\"signature\"", r#""s\u0069gnature""#),
    ] {
        let lines: Vec<String> = written.texts().iter().map(|line| line.replace(plain, spelled)).collect();
        assert_ne!(lines, written.texts(), "{spelled}");
        let audited = audit(written.verifier(), &lines);
        assert!(audited.is_clean && audited.rows == written.rows(), "{spelled}: {audited:#?}");
    }
}

#[test]
fn what_cannot_be_read_strictly_is_a_finding_and_not_a_row() {
    let written = Written::four();
    let forged = serde_json::to_string(&record(1, true, "mallory")).unwrap();
    for version in ["writgate.dev/decision/v1", r"writgate.dev\/decision\/v1", r"writgate.dev/decision/\u00761"] {
        for end in [
            r#","dryRun":false}"#,
            r#","x":1e999}"#,
            r#","x":9007199254740993}"#,
            r#","x":"\ud800"}"#,
            r#","version":"x"}"#,
            "} {}",
            "",
        ] {
            let line = forged.replace("writgate.dev/decision/v1", version);
            let line = format!("{}{end}", line.trim_end_matches('}'));
            let with = audit(written.verifier(), &[written.texts(), vec![line.clone()]].concat());
            assert!(!with.is_clean && with.rows == written.rows(), "{line}: {with:#?}");
            assert_eq!(with.kinds(), ["unreadable"], "{line}");
            let alone = audit(ChainVerifier::default(), &[line]);
            assert!(!alone.is_clean && alone.rows.is_empty(), "{alone:#?}");
        }
    }
}

#[test]
fn a_line_that_a_runtime_did_not_complete_is_a_finding() {
    let written = Written::four();
    let mut lines: Vec<String> =
        written.texts().iter().map(|line| format!("2026-11-22T11:00:00.1Z stdout F {line}")).collect();
    assert!(audit(written.verifier(), &lines).is_clean);
    let last = lines.pop().unwrap().replace(" stdout F ", " stdout P ");
    // Without a checkpoint, nothing else says that the record was there.
    let verifier = || ChainVerifier::new(written.keys.iter().map(public));
    let whole = audit(verifier(), &[&lines[..], std::slice::from_ref(&last)].concat());
    assert!(whole.is_clean && whole.rows == written.rows(), "{whole:#?}");
    let part = audit(verifier(), &[&lines[..], &[last[..last.len() - 5].to_owned()]].concat());
    assert!(!part.is_clean && part.rows.len() == 3, "{part:#?}");
    assert_eq!(part.kinds(), ["unreadable"]);
}

#[test]
fn what_is_not_utf_8_is_a_finding_and_not_a_row() {
    let written = Written::four();
    let forged = serde_json::to_string(&record(1, true, "mallory")).unwrap().into_bytes();
    let forged: Vec<u8> =
        forged.into_iter().flat_map(|byte| if byte == b'y' { vec![0xff, byte] } else { vec![byte] }).collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    fs::write(&path, [written.texts().join("\n").into_bytes(), b"\n".to_vec(), forged].concat()).unwrap();
    let mut out = Vec::new();
    let (verified, _) = read(&path, written.verifier(), &mut out);
    assert!(!verified.is_clean());
    assert_eq!(sorted_rows(out), written.rows());
}

#[test]
fn an_unsigned_record_is_a_row_with_its_finding() {
    let written = Written::four();
    for version in ["writgate.dev/decision/v1", r"writgate.dev/decision/\u00761"] {
        let forged = serde_json::to_string(&record(1, true, "mallory")).unwrap();
        let audited = audit(written.verifier(), &[forged.replace("writgate.dev/decision/v1", version)]);
        assert!(audited.rows.iter().any(|row| row.contains("admitted,unsigned,mallory")), "{audited:#?}");
        assert!(audited.kinds().contains(&"unsigned") && !audited.is_clean, "{audited:#?}");
    }
}

#[test]
fn a_line_that_is_too_long_is_in_the_report() {
    let written = Written::four();
    let mut lines = written.texts();
    assert!(audit(written.verifier(), &lines).report.ends_with("; no findings\n"));
    lines.push("x".repeat(9 << 20));
    let audited = audit(written.verifier(), &lines);
    let end = "; no findings in what was read; 1 record could not be read and is not verified\n";
    assert!(audited.report.ends_with(end), "{}", audited.report);
}

#[test]
fn a_log_without_links_is_not_clean() {
    for lines in [vec![], vec!["{\"message\":\"ready\"}".to_owned()]] {
        let audited = audit(ChainVerifier::default(), &lines);
        assert!(!audited.is_clean && audited.rows.is_empty());
        assert_eq!(
            audited.report,
            "verified: 0 links of 0 chains; nothing is verified, because no line is a link of a chain\n"
        );
    }
}

#[test]
fn a_link_that_is_not_a_record_is_not_clean() {
    let mut written = Written::default();
    written.write(&[]);
    let mut chain = Chain::new(id(0xff00));
    let (key, time) = (written.keys[0].clone(), "2026-11-22T11:00:00Z".parse().unwrap());
    let sign = |bytes: &[u8]| key.sign(bytes).to_bytes();
    let _ = chain.start(id(0xee00), time, Vec::new());
    for version in ["writgate.dev/decision/v2", "writgate.dev/chain/v1"] {
        let mut chain = chain.clone();
        let mut later = record(1, true, "alice");
        version.clone_into(&mut later.version);
        let later = chain.link(later).seal(public(&key).id(), sign);
        let lines = [written.texts(), vec![serde_json::to_string(&later).unwrap()]].concat();
        let audited = audit(written.verifier(), &lines);
        assert!(!audited.is_clean && audited.rows.is_empty(), "{audited:#?}");
        assert_eq!(audited.kinds(), ["not shown"]);
        assert!(audited.report.contains("2 links of 1 chains; 1 not shown"), "{audited:#?}");
    }
}

#[test]
fn a_repeated_line_is_one_row_and_a_remark() {
    let written = Written::four();
    let texts = written.texts();
    let lines = [&texts[..], &texts[2..3], &texts[2..3], &texts[..1]].concat();
    let audited = audit(written.verifier(), &lines);
    assert!(audited.is_clean && audited.rows == written.rows(), "{audited:#?}");
    assert_eq!(audited.kinds(), ["repeated"]);
    let note = format!("  repeated: record {} appears 3 times and is shown once\n", id(101));
    assert!(audited.report.contains(&note), "{audited:#?}");
}

#[test]
fn another_order_than_the_chains_is_remarked() {
    let written = Written::four();
    let mut texts = written.texts();
    texts.swap(2, 4);
    let audited = audit(written.verifier(), &texts);
    assert!(audited.is_clean && audited.rows == written.rows(), "{audited:#?}");
    assert_eq!(audited.kinds(), ["order"]);
    assert!(audited.report.contains("order: 2 links of "), "{audited:#?}");
}
