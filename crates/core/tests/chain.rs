//! Sealed records: a chain that a writer sealed verifies, and every later change to it is found and named.

mod groups;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use ed25519_dalek::{Signer as _, SigningKey};
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;
use writgate_core::{
    approval::{Envelope, PublicKey},
    record::{
        CHAIN_VERSION, Chain, ChainFinding, ChainReport, ChainVerifier, Checkpoint, CheckpointHead, DecisionRecord,
        Head, LineOutcome, RECORD_PAYLOAD_TYPE, Seal, UnplacedRecord, VerifiedLine,
    },
};

/// 2026-11-22
fn now() -> Timestamp {
    "2026-11-22T11:00:00Z".parse().expect("a time")
}

fn id(of: u128) -> Uuid {
    Uuid::from_u128(0x0193_5a00_0000_7000_8000_0000_0000_0000 + of)
}

/// The record of decision `n`, with characters whose escapes, order and length differ from those of ASCII.
fn record(n: u128) -> DecisionRecord {
    let record = json!({
        "version": "writgate.dev/decision/v1", "id": id(n), "time": "2026-11-22T11:00:00Z", "requestUid": "r-1",
        "dryRun": false, "cluster": "prod-eu-1", "environment": "production", "project": "payments",
        "initiatedBy": [{"kind": "Kustomization", "name": "orders", "namespace": "flux-system", "revision": null}],
        "initiator": {"username": "al\u{ef}ce \u{1f600}", "uid": "", "groups": ["dev\u{1b}\"", "system:authenticated"]},
        "requestedBy": null, "operation": "CREATE", "action": "deploy",
        "object": {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "payments", "name": "orders", "uid": "u-1"},
        "specHash": format!("sha256:{}", "ab".repeat(32)), "previousSpecHash": null, "approvalRequired": true,
        "requiredCapabilities": ["deploy"], "approvals": [], "decision": "denied", "enforcement": "enforce",
        "reasons": ["ApprovalRequired"], "postureVersion": null
    });
    serde_json::from_value(record).expect("a record")
}

/// A webhook's key and chain.
struct Writer {
    key: SigningKey,
    chain: Chain,
    id: Uuid,
}

impl Writer {
    fn new(n: u8) -> Self {
        let writer = id(0xff00 + u128::from(n));
        Self { key: SigningKey::from_bytes(&[n; 32]), chain: Chain::new(writer), id: writer }
    }

    fn public(&self) -> PublicKey {
        public(&self.key)
    }

    fn start(&mut self, heads: Vec<Head>) -> String {
        let unsealed = self.chain.start(id(1), now(), heads);
        json(&unsealed.seal(public(&self.key).id(), |bytes| self.key.sign(bytes).to_bytes()))
    }

    fn seal(&mut self, n: u128) -> String {
        let unsealed = self.chain.link(record(n));
        json(&unsealed.seal(public(&self.key).id(), |bytes| self.key.sign(bytes).to_bytes()))
    }

    /// The line of a record without a signature of its own.
    fn place(&mut self, n: u128) -> String {
        let mut line = Vec::new();
        self.chain.place(&UnplacedRecord::of(&record(n)), &mut line);
        String::from_utf8(line).expect("UTF-8")
    }

    /// The seal of all lines so far.
    fn seal_line(&self) -> String {
        self.seal_of(self.head())
    }

    fn seal_of(&self, head: Head) -> String {
        json(&Seal::of(head, now(), self.public().id(), |bytes| self.key.sign(bytes).to_bytes()))
    }

    /// A start link, and groups of so many records, each with a seal after it.
    fn groups(&mut self, groups: &[u128]) -> Vec<String> {
        let mut lines = vec![self.start(Vec::new())];
        for (group, records) in (0..).zip(groups) {
            lines.extend((0..*records).map(|n| self.place(100 * (group + 1) + n)));
            lines.push(self.seal_line());
        }
        lines
    }

    /// A start link and `records` records after it.
    fn lines(&mut self, records: u128) -> Vec<String> {
        let mut lines = vec![self.start(Vec::new())];
        lines.extend((0..records).map(|n| self.seal(100 + n)));
        lines
    }

    fn head(&self) -> Head {
        self.chain.head().expect("a link")
    }

    fn checkpoint(&self) -> Checkpoint {
        let Head { sequence, digest, .. } = self.head();
        Checkpoint {
            version: CHAIN_VERSION.to_owned(),
            writer: self.id,
            public_key: pem(&self.public()),
            keyid: self.public().id(),
            started: now(),
            head: CheckpointHead { sequence, digest, time: now() },
        }
    }

    /// Verifies with this writer's key.
    fn verify<'l>(&self, lines: impl IntoIterator<Item = &'l String>) -> ChainReport {
        verify_with(ChainVerifier::new([self.public()]), lines)
    }

    /// Verifies with this writer's checkpoint.
    fn verify_to_head<'l>(&self, lines: impl IntoIterator<Item = &'l String>) -> ChainReport {
        verify_with(ChainVerifier::default().with_checkpoint(&self.checkpoint(), self.public()), lines)
    }
}

fn json(line: &impl serde::Serialize) -> String {
    serde_json::to_string(line).expect("JSON")
}

fn public(key: &SigningKey) -> PublicKey {
    let prefix = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    PublicKey::from_spki_der(&[prefix.as_slice(), key.verifying_key().as_bytes()].concat()).expect("a key")
}

fn pem(key: &PublicKey) -> String {
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", BASE64.encode(key.to_spki_der()))
}

fn verify_with<'l>(mut verifier: ChainVerifier, lines: impl IntoIterator<Item = &'l String>) -> ChainReport {
    for line in lines {
        verifier.add(line);
    }
    verifier.finish()
}

fn kinds(report: &ChainReport) -> Vec<&'static str> {
    report.findings.iter().map(ChainFinding::as_str).collect()
}

/// The line with another byte at this place, or `None` if that has the same meaning.
fn with_byte(line: &str, at: usize, byte: u8) -> Option<String> {
    let mut bytes = line.as_bytes().to_vec();
    bytes[at] = byte;
    let change = String::from_utf8_lossy(&bytes).into_owned();
    // A hexadecimal digit in an escape has two spellings with the same meaning.
    let meaning = |text: &str| serde_json::from_str::<Value>(text).ok();
    (meaning(&change) != meaning(line)).then_some(change)
}

fn changed(line: &str, change: impl FnOnce(&mut Value)) -> String {
    let mut value = serde_json::from_str(line).expect("JSON");
    change(&mut value);
    value.to_string()
}

#[test]
fn a_sealed_chain_verifies_and_contains_the_same_records() {
    let mut writer = Writer::new(1);
    let lines = writer.lines(3);
    let report = writer.verify_to_head(&lines);
    assert!(report.is_clean(), "{report:#?}");
    let [chain] = report.chains.as_slice() else { panic!("{report:#?}") };
    assert_eq!((chain.links, chain.copies), (4, 0));
    assert_eq!(chain.from.map(|position| position.sequence), Some(0));
    assert_eq!(chain.to.map(|position| (position.sequence, position.id)), Some((3, id(102))));
    assert_eq!(chain.head, Some(writer.head()));
    let read: DecisionRecord = serde_json::from_str(&lines[1]).expect("a record");
    let (link, signature) = (read.chain.expect("a link"), read.signature.clone().expect("a signature"));
    assert_eq!((link.writer, link.sequence), (writer.id, 1));
    assert_eq!(signature.keyid, writer.public().id().to_string());
    assert_eq!(DecisionRecord { chain: None, signature: None, ..read }, record(100));
}

#[test]
fn the_signature_covers_the_dsse_encoding_of_the_jcs_form_without_the_signature() {
    let mut writer = Writer::new(1);
    let line = writer.start(Vec::new());
    let value: Value = serde_json::from_str(&line).expect("JSON");
    // The members of a start link without heads, sorted by hand.
    let canonical = format!(
        r#"{{"chain":{{"previous":null,"sequence":0,"writer":"{}"}},"heads":[],"id":"{}","time":"2026-11-22T11:00:00Z","version":"writgate.dev/chain/v1"}}"#,
        writer.id,
        id(1)
    );
    let message = format!("DSSEv1 {} {RECORD_PAYLOAD_TYPE} {} {canonical}", RECORD_PAYLOAD_TYPE.len(), canonical.len());
    let signature = BASE64.decode(value["signature"]["sig"].as_str().expect("text")).expect("base64");
    let signature = <[u8; 64]>::try_from(signature).expect("64 bytes");
    assert!(writer.public().verify_strict(message.as_bytes(), &signature));
}

#[test]
fn order_copies_and_other_lines_do_not_matter() {
    let (mut one, mut two) = (Writer::new(1), Writer::new(2));
    let mut lines = one.lines(5);
    lines.extend(two.lines(3));
    lines.extend(lines.clone());
    lines.reverse();
    lines.push(r#"{"timestamp":"2026-11-22T11:00:00Z","level":"INFO","message":"serving","ratio":0.1}"#.to_owned());
    lines.push("plain text".to_owned());
    let report = verify_with(ChainVerifier::new([one.public(), two.public()]), &lines);
    assert!(report.is_clean(), "{report:#?}");
    assert_eq!(report.chains.iter().map(|chain| (chain.links, chain.copies)).collect::<Vec<_>>(), [(6, 6), (4, 4)]);
    assert_eq!(report.chains.iter().map(|chain| chain.late).collect::<Vec<_>>(), [5, 3]);
}

#[test]
fn a_line_signed_with_an_unknown_key_is_forged() {
    let (writer, mut mallory) = (Writer::new(1), Writer::new(2));
    let mut verifier = ChainVerifier::new([writer.public()]);
    let LineOutcome::Found(ChainFinding::Forged { claims }) = verifier.add(&mallory.start(Vec::new())) else {
        panic!("forged");
    };
    assert_eq!(claims.keyid, Some(mallory.public().id().to_string()));
    let report = verifier.finish();
    assert!(report.chains.is_empty(), "a stranger's line is not stored: {report:#?}");
}

#[test]
fn a_line_signed_with_another_writers_key_is_forged() {
    let (mut one, mut two) = (Writer::new(1), Writer::new(2));
    let (ones, twos) = (one.lines(1), two.lines(1));
    let both = || {
        let verifier = ChainVerifier::default().with_checkpoint(&one.checkpoint(), one.public());
        verifier.with_checkpoint(&two.checkpoint(), two.public())
    };
    assert!(verify_with(both(), ones.iter().chain(&twos)).is_clean());
    // The second writer's key in the first writer's chain.
    let mut thief = Writer { key: two.key.clone(), chain: one.chain.clone(), id: one.id };
    let stolen = thief.seal(7);
    assert_eq!(kinds(&verify_with(both(), ones.iter().chain(&twos).chain([&stolen]))), ["forged"]);
    // The second writer's key in a chain without a checkpoint.
    let mut unheard = Writer { key: two.key.clone(), ..Writer::new(3) };
    assert_eq!(kinds(&verify_with(both(), ones.iter().chain(&twos).chain(&unheard.lines(0)))), ["forged"]);
}

#[test]
fn a_signature_of_an_approval_is_not_valid_for_a_record_nor_the_other_way_round() {
    let mut writer = Writer::new(1);
    let lines = writer.lines(1);
    let value: Value = serde_json::from_str(&lines[1]).expect("JSON");
    let mut unsigned = value.clone();
    unsigned.as_object_mut().expect("an object").remove("signature");
    // The record has only integers and ASCII keys, so `Value` writes its RFC 8785 form.
    let canonical = unsigned.to_string();
    let mut envelope = Envelope::new(canonical.clone().into_bytes());
    let as_approval = writer.key.sign(&envelope.signed_bytes()).to_bytes();
    let signed_as_approval = changed(&lines[1], |value| value["signature"]["sig"] = BASE64.encode(as_approval).into());
    assert_eq!(kinds(&writer.verify([&lines[0], &signed_as_approval])), ["altered"]);
    let sig = BASE64.decode(value["signature"]["sig"].as_str().expect("text")).expect("base64");
    let sig = <[u8; 64]>::try_from(sig).expect("64 bytes");
    envelope.add_signature(writer.public().id(), sig);
    assert!(!writer.public().verify_strict(&envelope.signed_bytes(), &sig));
}

#[test]
fn a_line_with_a_changed_added_or_removed_field_is_altered() {
    let mut writer = Writer::new(1);
    let lines = writer.lines(1);
    let changes: [fn(&mut Value); 9] = [
        |v| v["decision"] = "admitted".into(),
        |v| v["dryRun"] = true.into(),
        |v| v["extra"] = Value::Null,
        |v| v["creationTimestamp"] = Value::Null,
        |v| v["initiator"]["creationTimestamp"] = Value::Null,
        |v| v["approvals"] = json!([{"creationTimestamp": null}]),
        |v| _ = v.as_object_mut().expect("an object").remove("requestedBy"),
        |v| v["chain"]["sequence"] = 2.into(),
        |v| v["signature"]["note"] = "signed by the board".into(),
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let report = writer.verify_to_head([&lines[0], &changed(&lines[1], change)]);
        assert_eq!(kinds(&report), ["altered", "missing"], "{index}");
    }
    let twice = lines[1].replacen('{', r#"{"decision":"admitted","#, 1);
    assert_eq!(kinds(&writer.verify_to_head([&lines[0], &twice])), ["unreadable", "missing"]);
}

#[test]
fn a_verified_record_is_the_one_that_was_sealed() {
    let mut writer = Writer::new(1);
    let lines = writer.lines(1);
    let mut verifier = ChainVerifier::new([writer.public()]);
    let LineOutcome::Verified(VerifiedLine::Start(start)) = verifier.add(&lines[0]) else { panic!("a start link") };
    assert_eq!((start.sequence, start.id), (0, id(1)));
    let spelled = lines[1].replace("writgate.dev/", r"writgate.d\u0065v\/");
    let LineOutcome::Verified(VerifiedLine::Record(sealed)) = verifier.add(&spelled) else { panic!("a record") };
    assert_eq!(sealed.position().sequence, 1);
    assert_eq!(DecisionRecord { chain: None, ..sealed.into_record() }, record(100));
    assert!(matches!(verifier.add(&lines[1]), LineOutcome::Again(VerifiedLine::Record(_))));
    assert!(verifier.finish().is_clean());
}

#[test]
fn a_log_is_not_clean_without_links_or_with_a_link_that_is_not_a_record() {
    let mut writer = Writer::new(1);
    assert!(!writer.verify([]).is_clean());
    let mut lines = writer.lines(1);
    assert!(writer.verify(&lines).is_clean());
    let later = DecisionRecord { version: "writgate.dev/decision/v2".to_owned(), ..record(7) };
    let unsealed = writer.chain.link(later);
    lines.push(json(&unsealed.seal(writer.public().id(), |bytes| writer.key.sign(bytes).to_bytes())));
    let report = writer.verify(&lines);
    assert!(!report.is_clean() && report.findings.is_empty() && report.others == 1, "{report:#?}");
}

#[test]
fn what_looks_like_a_record_and_is_not_strict_json_is_unreadable() {
    let mut writer = Writer::new(1);
    let lines = writer.lines(1);
    let made_up = json(&record(7));
    for version in ["writgate.dev/decision/v1", r"writgate.dev\/decision\/v1", r"writgate.dev/decision/\u00761"] {
        for end in [r#","dryRun":true}"#, r#","x":1e999}"#, r#","x":"\ud800"}"#, r#","x":9007199254740993}"#, "}}", ""]
        {
            let open = made_up.replace("writgate.dev/decision/v1", version);
            let open = open.trim_end_matches('}');
            let good = format!("{open}}}");
            assert_eq!(kinds(&writer.verify(lines.iter().chain([&good]))), ["unsigned"], "{good}");
            let broken = format!("{open}{end}");
            assert_eq!(kinds(&writer.verify(lines.iter().chain([&broken]))), ["unreadable"], "{broken}");
        }
    }
}

#[test]
fn a_record_without_a_link_or_a_signature_is_unsigned() {
    let writer = Writer::new(1);
    let made_up = json(&record(7));
    let LineOutcome::Found(ChainFinding::Unsigned { claims }) = ChainVerifier::new([writer.public()]).add(&made_up)
    else {
        panic!("unsigned");
    };
    assert_eq!(claims.id, Some(id(7).to_string()));
    let mut writer = Writer::new(1);
    let lines = writer.lines(1);
    for name in ["chain", "signature"] {
        let without = changed(&lines[1], |value| _ = value.as_object_mut().expect("an object").remove(name));
        let with_checkpoint = writer.verify_to_head([&lines[0], &without]);
        assert_eq!(kinds(&with_checkpoint), ["unsigned", "missing"], "{name}");
        let null = changed(&lines[1], |value| value[name] = Value::Null);
        assert_eq!(kinds(&writer.verify([&lines[0], &null])), ["unsigned"], "{name}");
    }
}

#[test]
fn a_gap_is_reported_with_the_decisions_around_it() {
    let mut writer = Writer::new(1);
    let lines = writer.lines(5);
    let report = writer.verify(lines[..2].iter().chain(&lines[4..]));
    let gap = ChainFinding::Missing { writer: writer.id, from: 2, to: 3, after: Some(id(100)), before: Some(id(103)) };
    assert_eq!(report.findings, [gap]);
}

#[test]
fn only_a_checkpoint_shows_that_the_end_was_cut_off() {
    let mut writer = Writer::new(1);
    let lines = writer.lines(5);
    assert!(writer.verify(&lines[..4]).is_clean());
    let tail = |from, after| ChainFinding::Missing { writer: writer.id, from, to: 5, after, before: None };
    assert_eq!(writer.verify_to_head(&lines[..4]).findings, [tail(4, Some(id(102)))]);
    assert_eq!(writer.verify_to_head([]).findings, [tail(0, None)]);
    // The log may be ahead of the checkpoint.
    let checkpoint = writer.checkpoint();
    let more = writer.seal(200);
    let verifier = ChainVerifier::default().with_checkpoint(&checkpoint, writer.public());
    assert!(verify_with(verifier, lines.iter().chain([&more])).is_clean());
}

#[test]
fn the_start_link_of_another_chain_shows_that_a_chain_is_missing() {
    let (mut one, mut two) = (Writer::new(1), Writer::new(2));
    let lines = one.lines(3);
    let start = two.start(vec![one.head()]);
    let both = || ChainVerifier::new([one.public(), two.public()]);
    assert!(verify_with(both(), lines.iter().chain([&start])).is_clean());
    assert!(verify_with(both(), [&start].into_iter().chain(&lines)).is_clean());
    let gone = ChainFinding::Missing { writer: one.id, from: 0, to: 3, after: None, before: None };
    assert_eq!(verify_with(both(), [&start]).findings, [gone]);
}

#[test]
fn two_histories_signed_with_one_key_are_a_fork() {
    let mut writer = Writer::new(1);
    let lines = writer.lines(2);
    let mut fork = Writer { key: writer.key.clone(), chain: writer.chain.clone(), id: writer.id };
    let (mine, other) = (writer.seal(7), fork.seal(8));
    // Two links with one position, in either order.
    assert_eq!(kinds(&writer.verify(lines.iter().chain([&mine, &other]))), ["forked"]);
    assert_eq!(kinds(&writer.verify(lines.iter().chain([&other, &mine]))), ["forked"]);
    // Another link than the one that its successor, the checkpoint or a start link names.
    let next = writer.seal(9);
    assert_eq!(kinds(&writer.verify(lines.iter().chain([&other, &next]))), ["forked"]);
    assert_eq!(kinds(&writer.verify(lines.iter().chain([&next, &other]))), ["forked"]);
    assert_eq!(kinds(&fork.verify_to_head(lines.iter().chain([&mine]))), ["forked"]);
    let mut later = Writer::new(2);
    let start = later.start(vec![fork.head()]);
    let both = || ChainVerifier::new([writer.public(), later.public()]);
    assert_eq!(kinds(&verify_with(both(), lines.iter().chain([&mine, &start]))), ["forked"]);
    assert_eq!(kinds(&verify_with(both(), [&start].into_iter().chain(&lines).chain([&mine]))), ["forked"]);
}

#[test]
fn counts_every_gap_and_copy_of_a_long_log() {
    let mut writer = Writer::new(1);
    let lines = writer.lines(3000);
    // Every second line is missing: more gaps than are kept open.
    let report = writer.verify(lines.iter().step_by(2));
    assert_eq!(report.counts, [("missing", 1500)].into());
    // Old copies are counted apart from copies that were compared.
    let lines = writer.lines(5000);
    let report = writer.verify(lines.iter().chain(&lines[..10]).chain(&lines[4990..]));
    assert!(report.is_clean(), "{report:#?}");
    assert_eq!((report.chains[0].copies, report.chains[0].uncompared), (21, 10));
}

#[test]
fn refuses_a_checkpoint_whose_key_is_not_the_one_that_it_names() {
    let mut writer = Writer::new(1);
    writer.lines(1);
    let checkpoint = writer.checkpoint();
    assert_eq!(Checkpoint::parse(&json(&checkpoint)), Ok((checkpoint.clone(), writer.public())));
    let other = Checkpoint { keyid: Writer::new(2).public().id(), ..checkpoint.clone() };
    assert!(Checkpoint::parse(&json(&other)).is_err_and(|why| why.contains("keyid")));
    let newer = Checkpoint { version: "writgate.dev/chain/v2".to_owned(), ..checkpoint };
    assert!(Checkpoint::parse(&json(&newer)).is_err_and(|why| why.contains("version")));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn finds_any_change_of_one_byte(at in any::<prop::sample::Index>(), line in 0..4_usize, byte in any::<u8>()) {
        let mut writer = Writer::new(1);
        let mut lines = writer.lines(3);
        let at = at.index(lines[line].len());
        let change = with_byte(&lines[line], at, byte);
        prop_assume!(change.is_some());
        lines[line] = change.expect("assumed");
        prop_assert!(!writer.verify_to_head(&lines).is_clean(), "byte {}", at);
    }

    #[test]
    fn reports_exactly_the_links_that_were_removed_before_the_head(gone in prop::collection::btree_set(0..12_usize, 0..6), order in Just((0..12_usize).collect::<Vec<_>>()).prop_shuffle()) {
        let mut writer = Writer::new(1);
        let lines = writer.lines(11);
        let kept: Vec<_> = order.into_iter().filter(|index| !gone.contains(index)).map(|index| &lines[index]).collect();
        let report = writer.verify_to_head(kept);
        let mut missed = Vec::new();
        for finding in &report.findings {
            let ChainFinding::Missing { from, to, .. } = finding else { panic!("{finding:?}") };
            missed.extend((*from..=*to).map(|sequence| usize::try_from(sequence).expect("small")));
        }
        prop_assert_eq!(missed, gone.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn never_panics_for_any_line(text in "\\PC{0,200}", version in any::<bool>(), chain in ".{0,20}", sig in ".{0,100}") {
        let mut verifier = ChainVerifier::new([Writer::new(1).public()]);
        verifier.add(&text);
        let version = if version { "writgate.dev/decision/v1" } else { CHAIN_VERSION };
        let keyid = Writer::new(1).public().id();
        verifier.add(&json!({"version": version, "chain": chain, "signature": {"keyid": keyid, "sig": sig}}).to_string());
        verifier.add(&format!("{{\"version\":\"{version}\"{text}"));
    }
}
