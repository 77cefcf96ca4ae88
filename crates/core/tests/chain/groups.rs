//! Records that are sealed in groups: what a seal covers, what waits for one, and what is never verified.

use writgate_core::record::{Fork, SEAL_PAYLOAD_TYPE, Settled, Settlement};

use super::*;

#[test]
fn a_log_in_groups_verifies_as_each_seal_arrives() {
    let mut writer = Writer::new(1);
    let lines = writer.groups(&[2, 1]);
    let mut verifier = ChainVerifier::new([writer.public()]);
    assert!(matches!(verifier.add(&lines[0]), LineOutcome::Verified(VerifiedLine::Start(_))));
    let LineOutcome::Waiting(first) = verifier.add(&lines[1]) else { panic!("not verified before its seal") };
    let LineOutcome::Waiting(second) = verifier.add(&lines[2]) else { panic!("not verified before its seal") };
    assert_eq!(verifier.settled(), []);
    assert!(matches!(verifier.add(&lines[3]), LineOutcome::Seal(head) if head.sequence == 2));
    let settled = verifier.settled();
    assert_eq!(settled.len(), 2);
    for (settled, (number, n)) in settled.into_iter().zip([(first, 100), (second, 101)]) {
        let Settled { number: found, settlement: Settlement::Verified(VerifiedLine::Record(sealed)), .. } = settled
        else {
            panic!("a verified record")
        };
        assert_eq!((found, DecisionRecord { chain: None, ..sealed.into_record() }), (number, record(n)));
    }
    verifier.add(&lines[4]);
    verifier.add(&lines[5]);
    let report = verifier.finish();
    assert!(report.is_clean(), "{report:#?}");
    let [chain] = &report.chains[..] else { panic!("{report:#?}") };
    assert_eq!((chain.links, chain.late, chain.sealed, chain.not_yet_sealed), (4, 0, Some(3), 0));
    assert!(writer.verify_to_head(&lines).is_clean());
}

#[test]
fn a_line_is_its_own_canonical_form_and_a_seal_signs_its_digest() {
    let mut writer = Writer::new(1);
    let lines = writer.groups(&[1]);
    let head = writer.head();
    let seal = format!(
        r#"{{"chain":{{"digest":"{}","sequence":1,"writer":"{}"}},"time":"2026-11-22T11:00:00Z","version":"writgate.dev/seal/v1"}}"#,
        head.digest, writer.id
    );
    let message = format!("DSSEv1 {} {SEAL_PAYLOAD_TYPE} {} {seal}", SEAL_PAYLOAD_TYPE.len(), seal.len());
    let value: Value = serde_json::from_str(&lines[2]).expect("JSON");
    let signature = BASE64.decode(value["signature"]["sig"].as_str().expect("text")).expect("base64");
    assert!(writer.public().verify_strict(message.as_bytes(), &signature.try_into().expect("64 bytes")));
    // `Value` sorts members by bytes, which is the canonical order of ASCII keys.
    let sorted = serde_json::from_str::<Value>(&lines[1]).expect("JSON").to_string();
    assert_eq!(sorted, lines[1]);
    let digest = <sha2::Sha256 as sha2::Digest>::digest(&lines[1]);
    let digits = digest.iter().fold(String::new(), |digits, byte| digits + &format!("{byte:02x}"));
    assert_eq!(head.digest.to_string(), format!("sha256:{digits}"));
}

#[test]
fn order_and_copies_do_not_matter_in_groups() {
    let (mut one, mut two) = (Writer::new(1), Writer::new(2));
    let lines = [one.groups(&[3, 1, 2]), two.groups(&[2, 2])].concat();
    let both = || ChainVerifier::new([one.public(), two.public()]);
    let reversed: Vec<String> = lines.iter().rev().cloned().collect();
    let merged: Vec<String> = lines.iter().flat_map(|line| [line.clone(), line.clone()]).collect();
    for (what, lines, copies) in [
        ("as written", lines.clone(), [0, 0]),
        ("reversed", reversed.clone(), [0, 0]),
        ("each line twice", merged, [7, 5]),
        ("the log twice", [lines.clone(), lines.clone()].concat(), [7, 5]),
        ("backwards and forwards", [reversed, lines.clone()].concat(), [7, 5]),
    ] {
        let report = verify_with(both(), &lines);
        assert!(report.is_clean(), "{what}: {report:#?}");
        let found: Vec<_> = report.chains.iter().map(|chain| (chain.links, chain.copies)).collect();
        assert_eq!(found, [(7, copies[0]), (5, copies[1])], "{what}");
    }
}

#[test]
fn records_after_the_last_seal_are_not_verified_and_not_a_finding() {
    let mut writer = Writer::new(1);
    let mut lines = writer.groups(&[2]);
    let checkpoint = writer.checkpoint();
    lines.extend([writer.place(7), writer.place(8)]);
    let report = writer.verify(&lines);
    assert!(report.is_clean(), "{report:#?}");
    assert_eq!((report.chains[0].links, report.chains[0].not_yet_sealed), (3, 2));
    let with = |checkpoint: &Checkpoint| ChainVerifier::default().with_checkpoint(checkpoint, writer.public());
    assert!(verify_with(with(&checkpoint), &lines).is_clean(), "the checkpoint is not later");
    // A checkpoint is written after the seal of its head.
    let report = verify_with(with(&writer.checkpoint()), &lines);
    assert_eq!(kinds(&report), ["unsigned", "unsigned", "missing"]);
    assert_eq!(report.chains[0].not_yet_sealed, 0);
    // Without a start link or a head, nothing says that the writer exists.
    assert_eq!(kinds(&writer.verify(&lines[4..])), ["unsigned", "unsigned"]);
}

#[test]
fn only_records_that_follow_each_other_wait_for_a_seal() {
    let mut writer = Writer::new(1);
    let lines = writer.groups(&[1]);
    let before = writer.chain.clone();
    let tail = [writer.place(7), writer.place(8), writer.place(9)];
    let verified = |tail: &[&String]| writer.verify(lines.iter().chain(tail.iter().copied()));
    let found = |tail: &[&String]| (kinds(&verified(tail)), verified(tail).chains[0].not_yet_sealed);
    assert_eq!(found(&[&tail[0], &tail[1], &tail[2]]), (vec![], 3));
    assert_eq!(found(&[&tail[2], &tail[0], &tail[1]]), (vec![], 3));
    assert_eq!(found(&[&tail[1], &tail[2]]), (vec!["unsigned", "unsigned"], 0));
    assert_eq!(found(&[&tail[0], &tail[2]]), (vec!["unsigned"], 1));
    let other = changed(&tail[0], |value| value["chain"]["previous"] = json!(format!("sha256:{}", "00".repeat(32))));
    assert_eq!(found(&[&other]), (vec!["unsigned"], 0));
    // Two records at one position cannot both be the writer's.
    let mut fork = Writer { key: writer.key.clone(), chain: before, id: writer.id };
    let rival = fork.place(10);
    assert_eq!(found(&[&tail[0], &rival, &tail[1]]), (vec!["unsigned", "unsigned", "unsigned"], 0));
}

#[test]
fn a_forged_record_after_the_last_seal_is_never_verified() {
    let mut writer = Writer::new(1);
    let lines = writer.groups(&[2]);
    let mut mallory = Writer { key: Writer::new(2).key, chain: writer.chain.clone(), id: writer.id };
    let forged = mallory.place(7);
    let mut verifier = ChainVerifier::new([writer.public()]);
    for line in &lines {
        drop(verifier.add(line));
    }
    verifier.settled();
    assert!(matches!(verifier.add(&forged), LineOutcome::Waiting(_)));
    assert_eq!(verifier.settled(), []);
    verifier.close();
    assert!(matches!(&verifier.settled()[..], [Settled { settlement: Settlement::NotYetSealed, .. }]));
    assert_eq!(verifier.finish().links(), 3);
    // A seal by another key is forged, whatever it covers.
    let sealed = [&lines[..], &[forged.clone(), mallory.seal_line()]].concat();
    let report = writer.verify(&sealed);
    assert_eq!((kinds(&report), report.links()), (vec!["forged"], 3));
    // The writer's own next seal shows that the record is not the writer's.
    let real = [writer.place(8), writer.seal_line()];
    for lines in [
        [&lines[..], std::slice::from_ref(&forged), &real[..]].concat(),
        [&lines[..], &real[..], std::slice::from_ref(&forged)].concat(),
    ] {
        let report = writer.verify(&lines);
        assert_eq!((kinds(&report), report.links()), (vec!["altered"], 4));
    }
}

#[test]
fn a_line_that_was_changed_or_removed_under_a_seal_hides_what_is_before_it_in_its_group() {
    let mut writer = Writer::new(1);
    let lines = writer.groups(&[1, 4, 1]);
    // Position 4 is the third of the second group, from 2 to 5.
    let at = lines.iter().position(|line| line.contains("\"sequence\":4,")).expect("a line");
    let mut altered = lines.clone();
    altered[at] = changed(&lines[at], |value| value["decision"] = "admitted".into());
    let mut removed = lines.clone();
    removed.remove(at);
    let gap = ChainFinding::Missing { writer: writer.id, from: 2, to: 4, after: Some(id(100)), before: Some(id(203)) };
    for (lines, kind) in [(altered, "altered"), (removed, "")] {
        let report = writer.verify(&lines);
        let mut expected = vec!["unsigned", "unsigned", "missing"];
        expected.splice(0..0, (!kind.is_empty()).then_some(kind));
        assert_eq!(kinds(&report), expected, "{report:#?}");
        assert_eq!(report.findings.last(), Some(&gap), "the other groups are verified");
        assert_eq!(report.links(), 4);
    }
}

#[test]
fn a_record_of_another_position_or_chain_does_not_pass_under_a_seal() {
    let (mut one, mut two) = (Writer::new(1), Writer::new(2));
    let (lines, twos) = (one.groups(&[3]), two.groups(&[3]));
    let mut swapped = lines.clone();
    swapped[2] = changed(&lines[3], |value| {
        value["chain"] = serde_json::from_str::<Value>(&lines[2]).expect("JSON")["chain"].clone();
    });
    assert_eq!(kinds(&one.verify(&swapped)), ["altered", "unsigned", "missing"]);
    // Another chain's seal and records, with the writer of this one.
    let replayed = changed(&twos[4], |value| value["chain"]["writer"] = json!(one.id));
    let both = || ChainVerifier::new([one.public(), two.public()]);
    let report = verify_with(both(), lines[..4].iter().chain([&replayed]));
    assert_eq!((kinds(&report), report.links()), (vec!["altered"], 1));
    let report = verify_with(both(), lines[..4].iter().chain([&twos[4]]));
    assert_eq!((kinds(&report), report.chains[0].links), (vec!["missing"], 1));
    assert_eq!(report.chains[0].not_yet_sealed, 3);
}

#[test]
fn a_seal_is_signed_by_the_key_of_its_chain_under_its_own_type() {
    let (mut one, mut two) = (Writer::new(1), Writer::new(2));
    let (lines, _) = (one.groups(&[2]), two.groups(&[1]));
    let unsealed = &lines[..3];
    let both = || {
        let verifier = ChainVerifier::default().with_checkpoint(&one.checkpoint(), one.public());
        verifier.with_checkpoint(&two.checkpoint(), two.public())
    };
    let thief = Writer { key: two.key.clone(), chain: one.chain.clone(), id: one.id };
    let of_ones = |report: ChainReport| {
        let ones = report
            .findings
            .iter()
            .filter(|finding| !matches!(finding, ChainFinding::Missing { writer, .. } if *writer == two.id));
        ones.map(ChainFinding::as_str).collect::<Vec<_>>()
    };
    let unproved = ["forged", "unsigned", "unsigned", "missing"];
    assert_eq!(of_ones(verify_with(both(), unsealed.iter().chain([&thief.seal_line()]))), unproved);
    let unproved = ["altered", "unsigned", "unsigned", "missing"];
    let changes: [fn(&mut Value); 5] = [
        |v| v["chain"]["sequence"] = 1.into(),
        |v| v["time"] = "2026-11-22T11:00:01Z".into(),
        |v| v["added"] = Value::Null,
        |v| v["version"] = CHAIN_VERSION.into(),
        |v| v["signature"]["note"] = 1.into(),
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let seal = changed(&lines[3], change);
        assert_eq!(of_ones(verify_with(both(), unsealed.iter().chain([&seal]))), unproved, "{index}");
    }
    // The same bytes, signed as a record.
    let text = {
        let mut value: Value = serde_json::from_str(&lines[3]).expect("JSON");
        value.as_object_mut().expect("an object").remove("signature");
        value.to_string()
    };
    let as_record = format!("DSSEv1 {} {RECORD_PAYLOAD_TYPE} {} {text}", RECORD_PAYLOAD_TYPE.len(), text.len());
    let sig = BASE64.encode(one.key.sign(as_record.as_bytes()).to_bytes());
    let seal = changed(&lines[3], |value| value["signature"]["sig"] = sig.into());
    assert_eq!(of_ones(verify_with(both(), unsealed.iter().chain([&seal]))), unproved);
    // Without a time, or with a link instead of a head.
    for text in [
        format!(r#"{{"chain":{},"version":"writgate.dev/seal/v1"}}"#, json(&one.head())),
        format!(
            r#"{{"chain":{{"previous":"{}","sequence":2,"writer":"{}"}},"time":"2026-11-22T11:00:00Z","version":"writgate.dev/seal/v1"}}"#,
            one.head().digest,
            one.id
        ),
    ] {
        let message = format!("DSSEv1 {} {SEAL_PAYLOAD_TYPE} {} {text}", SEAL_PAYLOAD_TYPE.len(), text.len());
        let sig = BASE64.encode(one.key.sign(message.as_bytes()).to_bytes());
        let seal = changed(&text, |value| value["signature"] = json!({"keyid": one.public().id(), "sig": sig}));
        assert_eq!(of_ones(verify_with(both(), unsealed.iter().chain([&seal]))), unproved, "{text}");
    }
    let unsigned = changed(&lines[3], |value| _ = value.as_object_mut().expect("an object").remove("signature"));
    assert_eq!(kinds(&one.verify(unsealed.iter().chain([&unsigned]))), ["unsigned"]);
}

#[test]
fn two_seals_of_one_position_are_a_fork() {
    let mut writer = Writer::new(1);
    let lines = writer.groups(&[1]);
    let mut fork = Writer { key: writer.key.clone(), chain: writer.chain.clone(), id: writer.id };
    let mine = [writer.place(7), writer.seal_line()];
    let other = [fork.place(8), fork.seal_line()];
    let place = ChainFinding::Forked { position: Fork { writer: writer.id, sequence: 2, id: None } };
    let report = writer.verify(lines.iter().chain(&mine).chain(&other));
    assert_eq!(report.findings.last(), Some(&place), "{report:#?}");
    assert_eq!((kinds(&report), report.links()), (vec!["altered", "forked"], 3));
    // The seals alone, in either order, and with the record of the second one.
    let report = writer.verify(lines.iter().chain([&mine[1], &other[1]]));
    assert_eq!(kinds(&report), ["forked", "missing"]);
    let report = writer.verify(lines.iter().chain([&mine[1], &other[1], &other[0]]));
    assert_eq!(kinds(&report), ["forked", "altered", "missing"]);
    // A checkpoint names another head than the seal.
    assert_eq!(kinds(&fork.verify_to_head(lines.iter().chain(&mine))), ["forked", "unsigned", "missing"]);
}

#[test]
fn a_lost_seal_is_made_good_by_the_next_one() {
    let mut writer = Writer::new(1);
    let mut lines = writer.groups(&[2, 2]);
    lines.remove(3);
    assert!(writer.verify_to_head(&lines).is_clean());
    // An older seal, repeated later.
    let mut lines = writer.groups(&[2, 2]);
    let old = lines[3].clone();
    lines.push(old);
    assert!(writer.verify_to_head(&lines).is_clean());
}

#[test]
fn a_record_that_is_signed_by_itself_is_a_copy_of_its_line() {
    let mut writer = Writer::new(1);
    let lines = writer.groups(&[2]);
    let mut copy: DecisionRecord = serde_json::from_str(&lines[1]).expect("a record");
    copy.sign(writer.public().id(), |bytes| writer.key.sign(bytes).to_bytes());
    let copy = json(&copy);
    for at in 0..=lines.len() {
        let mut with = lines.clone();
        with.insert(at, copy.clone());
        let report = writer.verify_to_head(&with);
        assert!(report.is_clean(), "{at}: {report:#?}");
        assert_eq!((report.chains[0].links, report.chains[0].copies), (3, 1), "{at}");
    }
    // By itself it verifies without a seal, and covers no other record.
    assert!(writer.verify([&lines[0], &copy]).is_clean());
    let second: DecisionRecord = serde_json::from_str(&lines[2]).expect("a record");
    let mut second = second;
    second.sign(writer.public().id(), |bytes| writer.key.sign(bytes).to_bytes());
    assert_eq!(kinds(&writer.verify([&lines[0], &lines[1], &json(&second)])), ["unsigned", "missing"]);
}

#[test]
fn waiting_lines_are_bounded_and_the_first_are_given_up() {
    let mut writer = Writer::new(1);
    let lines = writer.groups(&[2]);
    let mut verifier = ChainVerifier::new([writer.public()]);
    lines[..3].iter().for_each(|line| drop(verifier.add(line)));
    // A stranger's records, each in a chain of its own.
    let stranger = Writer::new(2);
    for n in 0..8191 {
        let mut other = Writer { key: stranger.key.clone(), chain: Chain::new(id(n)), id: id(n) };
        other.start(Vec::new());
        assert!(matches!(verifier.add(&other.place(1)), LineOutcome::Waiting(_)));
    }
    let dropped = verifier.settled();
    assert!(matches!(&dropped[..], [Settled { number: 0, settlement: Settlement::Found(_), .. }]), "{dropped:?}");
    verifier.add(&lines[3]);
    assert_eq!(verifier.settled().len(), 1, "the second record is verified");
    let report = verifier.finish();
    assert_eq!(report.counts, [("unsigned", 8192), ("missing", 1)].into());
}

/// A record with any text in each field, and with or without each optional one.
fn any_record() -> impl Strategy<Value = DecisionRecord> {
    let text = "[a-c\"\\\\/\u{0}-\u{1f}\u{7f}\u{e9}\u{2028}\u{fffd}\u{1f600},:{}]{0,12}";
    let lists = prop::collection::vec(text, 0..3);
    (prop::collection::vec(prop::option::of(text), 10), lists, any::<[bool; 4]>(), 0..2_000_000_000_i64, 0..1_000_000_000_i32)
        .prop_map(|(texts, list, flags, second, nanosecond)| {
            let some = |at: usize| texts[at].clone();
            let owned = |at: usize| some(at).unwrap_or_default();
            let time = Timestamp::new(second, nanosecond).expect("a time");
            let digest = flags[1].then(|| format!("sha256:{}", "0f".repeat(32)));
            let approval = json!({"id": owned(0), "reviewers": list, "keyIds": list, "capabilities": list,
                "expiresAt": time, "reason": some(1)});
            let object = json!({"apiVersion": owned(2), "kind": owned(3), "namespace": owned(4), "name": owned(5), "uid": some(6)});
            let user = json!({"username": owned(7), "uid": owned(8), "groups": list});
            let value = json!({
                "version": "writgate.dev/decision/v1", "id": id(7), "time": time, "requestUid": some(0), "dryRun": flags[0],
                "cluster": some(1), "environment": some(2), "project": some(3), "initiator": flags[2].then_some(user),
                "requestedBy": some(4), "operation": some(5), "action": flags[3].then_some("deploy"),
                "object": flags[1].then_some(object), "connection": flags[3].then(|| json!({"subresource": owned(6), "container": some(7)})),
                "change": some(8), "specHash": digest, "previousSpecHash": digest, "approvalRequired": some(9).map(|_| flags[0]),
                "requiredCapabilities": list, "capabilityRules": [{"name": owned(1), "require": list, "message": some(2)}],
                "approvals": [approval], "decision": if flags[0] { "admitted" } else { "denied" },
                "basis": flags[0].then_some("approval"), "enforcement": flags[2].then_some("enforce"),
                "reasons": list, "postureVersion": some(3)
            });
            serde_json::from_value(value).expect("a record")
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_line_of_any_record_is_its_canonical_form(record in any_record()) {
        let mut writer = Writer::new(1);
        let start = writer.start(Vec::new());
        let mut line = Vec::new();
        let link = writer.chain.place(&UnplacedRecord::of(&record), &mut line);
        let line = String::from_utf8(line).expect("UTF-8");
        let value: Value = serde_json::from_str(&line).expect("JSON");
        let read: DecisionRecord = serde_json::from_str(&line).expect("a record");
        prop_assert_eq!(&read, &DecisionRecord { chain: Some(link), ..record.clone() });
        // The digest of another spelling is that of its canonical form, which the seal has only if the line is that form.
        let pretty = serde_json::to_string_pretty(&value).expect("JSON");
        for spelled in [&line, &pretty] {
            let mut verifier = ChainVerifier::new([writer.public()]);
            verifier.add(&start);
            verifier.add(spelled);
            verifier.add(&writer.seal_line());
            let settled = verifier.settled();
            let [Settled { settlement: Settlement::Verified(VerifiedLine::Record(sealed)), .. }] = &settled[..] else {
                panic!("{settled:?}")
            };
            prop_assert_eq!(sealed.record(), &read);
        }
    }

    #[test]
    fn finds_any_change_of_one_byte_under_a_seal(at in any::<prop::sample::Index>(), line in 0..6_usize, byte in any::<u8>()) {
        let mut writer = Writer::new(1);
        let mut lines = writer.groups(&[2, 1]);
        let at = at.index(lines[line].len());
        let change = with_byte(&lines[line], at, byte);
        prop_assume!(change.is_some());
        lines[line] = change.expect("assumed");
        // Without the first seal, the second one covers its records.
        let is_first_seal = line == 3;
        let report = writer.verify_to_head(&lines);
        prop_assert!(!report.is_clean() || (is_first_seal && report.links() == 4), "byte {}: {:?}", at, report);
    }
}
