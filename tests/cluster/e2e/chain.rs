//! Sealed records: the webhook's records verify, verification names every later change, and a posture with required
//! durability admits nothing without a stored record.

use std::io;
use std::time::{Duration, Instant};

use axum::http::Request;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::Api;
use serde_json::{Value, json};
use writgate::metrics::Metrics;
use writgate::trail::chain::checkpoint::{self, Checkpoints};
use writgate::trail::chain::seals::Seals;
use writgate::trail::chain::{Sealer, audit_key};
use writgate::trail::ledger::Ledger;
use writgate::trail::output::{Output, Stream};
use writgate_core::{
    approval::PublicKey,
    kube::WorkloadKinds,
    record::{ChainFinding, ChainReport, ChainVerifier, Checkpoint, DecisionRecord, UnplacedRecord},
};

use crate::e2e::trail::{self, LIMIT};
use writgate_testing::harness::{Test, tests};
use writgate_testing::{Governed, Installation, Key, SYSTEM_NAMESPACE, Webhook, denied_for, wait_until};

pub(crate) fn tests() -> Vec<Test<Installation>> {
    tests![
        records_and_their_events_verify,
        a_killed_webhook_leaves_at_most_the_last_100_ms_without_a_seal,
        verification_names_every_removed_changed_or_forged_record,
        a_second_replica_writes_its_own_chain_and_names_the_first,
        a_chain_is_signed_with_the_configured_key,
        only_the_webhook_may_write_checkpoints,
        denies_an_admission_whose_record_cannot_be_stored_if_durability_is_required,
        repeated_denials_are_counted_in_one_event,
        checkpoints_and_stored_records_are_deleted_after_thirty_days,
    ]
}

/// The writer of a log, from its start link.
fn writer(log: &str) -> Option<String> {
    let start = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let start = start.into_iter().find(|line| line["version"] == "writgate.dev/chain/v1")?;
    Some(start["chain"]["writer"].as_str().expect("a writer").to_owned())
}

/// The checkpoint of a log's chain, with its key, once it exists.
fn checkpoint_of(installation: &Installation, log: impl Fn() -> String) -> (Checkpoint, PublicKey) {
    let found = wait_until("the checkpoint exists", LIMIT, || {
        let name = format!("audit-{}", writer(&log())?);
        installation.plane.admin.get(&["configmap", &name, "-n", SYSTEM_NAMESPACE])
    });
    assert_eq!(found["metadata"]["labels"]["writgate.dev/kind"], "audit", "{found}");
    Checkpoint::parse(found["data"]["chain.json"].as_str().expect("a checkpoint")).expect("a checkpoint")
}

fn verify<'l>(checkpoint: &(Checkpoint, PublicKey), lines: impl IntoIterator<Item = &'l str>) -> ChainReport {
    let mut verifier = ChainVerifier::default().with_checkpoint(&checkpoint.0, checkpoint.1.clone());
    lines.into_iter().for_each(|line| drop(verifier.add(line)));
    verifier.finish()
}

/// The webhook's log and its checkpoint, once the log contains the checkpoint's head and all of it is sealed. Other tests add
/// records all the time.
fn whole_log(installation: &Installation) -> (String, (Checkpoint, PublicKey)) {
    let checkpoint = checkpoint_of(installation, || installation.webhook.lines());
    let log = wait_until("the log reaches its checkpoint", LIMIT, || {
        let log = installation.webhook.lines();
        let report = verify(&checkpoint, log.lines());
        let is_sealed = report.chains.iter().all(|chain| chain.not_yet_sealed == 0);
        (is_sealed && report.is_clean()).then_some(log)
    });
    (log, checkpoint)
}

/// The records of one denial and one admission.
fn some_decisions(governed: &Governed<'_>) -> Vec<Value> {
    let operator = &governed.installation.operator;
    assert!(!operator.create(&governed.deployment("denied")).ok());
    let ran = operator.create(&governed.approved(&governed.deployment("admitted")));
    assert!(ran.ok(), "{ran}");
    let records = trail::records(governed, |record| record["dryRun"] == false);
    assert_eq!(records.len(), 2, "{records:?}");
    records
}

/// Sends a malformed review, which the replica denies and records.
fn send_malformed_review(installation: &Installation, replica: &Webhook) {
    installation.plane.block_on(async {
        let request = Request::post("/validate").header("content-type", "application/json");
        let request = request.body(b"{}".to_vec()).expect("a request");
        let answer = replica.client(&installation.plane).await.request_text(request).await;
        assert!(answer.is_err(), "expected an error for a malformed review: {answer:?}");
    });
}

fn records_and_their_events_verify(installation: &Installation) {
    let governed = installation.governed("sealed");
    let records = some_decisions(&governed);
    let annotations: Vec<String> = records
        .iter()
        .map(|record| {
            let event = trail::event_of(&governed, record);
            event["metadata"]["annotations"]["writgate.dev/decision"].as_str().expect("a record").to_owned()
        })
        .collect();
    let (log, checkpoint) = whole_log(installation);
    let report = verify(&checkpoint, log.lines().chain(annotations.iter().map(String::as_str)));
    assert!(report.is_clean(), "{report:#?}");
    let [chain] = report.chains.as_slice() else { panic!("expected one chain: {report:#?}") };
    assert_eq!((chain.from.map(|position| position.sequence), chain.copies), (Some(0), 2));
    let logged = log.lines().filter(|line| line.contains("writgate.dev/decision/v1")).count();
    assert_eq!(chain.links, u64::try_from(logged).expect("it fits") + 1, "links of every decision and of the start");
    assert!(installation.webhook.metric("writgate_records_sealed_total", &[]) >= 2.0);
    assert!(installation.webhook.metric("writgate_checkpoints_total", &[("outcome", "written")]) >= 1.0);
}

fn a_killed_webhook_leaves_at_most_the_last_100_ms_without_a_seal(installation: &Installation) {
    let replica = Webhook::replica_with(&installation.plane, "killed", &["--drain", "0"]);
    let log = replica.log().to_owned();
    let busy = Instant::now();
    while busy.elapsed() < Duration::from_secs(2) {
        send_malformed_review(installation, &replica);
    }
    let checkpoint = checkpoint_of(installation, || std::fs::read_to_string(&log).unwrap_or_default());
    send_malformed_review(installation, &replica);
    replica.kill();
    let text = wait_until("the process has ended", LIMIT, || {
        let text = std::fs::read_to_string(&log).ok()?;
        std::thread::sleep(Duration::from_millis(200));
        (std::fs::read_to_string(&log).ok()? == text).then_some(text)
    });
    let report = verify(&checkpoint, text.lines());
    let own = report.chains.iter().find(|chain| chain.writer == checkpoint.0.writer).expect("the replica's chain");
    let of_others = |finding: &ChainFinding| matches!(finding, ChainFinding::Missing { writer, .. } if *writer != checkpoint.0.writer);
    assert!(report.findings.iter().all(of_others), "{report:#?}");
    let sealed = own.sealed.expect("a seal");
    assert!(sealed >= 2, "records were sealed while others were written: {own:#?}");
    let records = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let time = |record: &Value| record["time"].as_str().expect("a time").parse::<Timestamp>().expect("RFC 3339");
    let records: Vec<(u64, Timestamp)> = records
        .filter(|line| line["version"] == "writgate.dev/decision/v1")
        .map(|record| (record["chain"]["sequence"].as_u64().expect("a sequence"), time(&record)))
        .collect();
    let (last, end) = *records.last().expect("records");
    assert_eq!(last, sealed + own.not_yet_sealed, "each record is sealed or not yet sealed");
    let first_unsealed = records.iter().find(|(sequence, _)| *sequence > sealed).map(|(_, time)| *time);
    let unsealed = first_unsealed.map_or(SignedDuration::ZERO, |first| end.duration_since(first));
    // A busy machine may delay the seal.
    assert!(unsealed <= SignedDuration::from_millis(100) + SLACK, "records of {unsealed:?} have no seal");
}

/// How much later than promised a busy machine may run a task.
const SLACK: SignedDuration = SignedDuration::from_millis(400);

fn verification_names_every_removed_changed_or_forged_record(installation: &Installation) {
    let governed = installation.governed("touched");
    let records = some_decisions(&governed);
    let (log, checkpoint) = whole_log(installation);
    let lines: Vec<&str> = log.lines().collect();
    let id = |record: &Value| record["id"].as_str().expect("an id").to_owned();
    let (denied, sequence) = (id(&records[0]), records[0]["chain"]["sequence"].as_u64());
    let is_denied = |line: &str| line.contains(&format!("\"id\":\"{denied}\""));

    // What is before it in its group is not covered any more.
    let without_group = |report: &ChainReport| {
        let of_group = |finding: &&ChainFinding| !matches!(finding, ChainFinding::Unsigned { .. });
        report.findings.iter().filter(of_group).cloned().collect::<Vec<_>>()
    };
    let report = verify(&checkpoint, lines.iter().copied().filter(|line| !is_denied(line)));
    let found = without_group(&report);
    let [ChainFinding::Missing { from, to, .. }] = found.as_slice() else { panic!("{report:#?}") };
    assert!(Some(*from) <= sequence && Some(*to) == sequence, "removed: {report:#?}");

    let changed =
        |line: &str| if is_denied(line) { line.replace("\"denied\"", "\"admitted\"") } else { line.to_owned() };
    let altered: Vec<String> = lines.iter().map(|line| changed(line)).collect();
    let report = verify(&checkpoint, altered.iter().map(String::as_str));
    let found = without_group(&report);
    let [ChainFinding::Altered { claims }, ChainFinding::Missing { .. }] = found.as_slice() else {
        panic!("{report:#?}")
    };
    assert_eq!((claims.id.as_ref(), claims.sequence), (Some(&denied), sequence), "changed");

    // Lines that a tenant forges: without a signature, with another key, with a copied signature, and without a link.
    let mut forged = records[1].clone();
    forged["object"]["name"] = json!("other");
    let unsigned = forged.to_string();
    let event = trail::event_of(&governed, &records[1]);
    let annotation = event["metadata"]["annotations"]["writgate.dev/decision"].as_str().expect("a record");
    forged["signature"] = serde_json::from_str::<Value>(annotation).expect("a record")["signature"].take();
    let copied = forged.to_string();
    forged["signature"]["keyid"] = json!(Key::new().id());
    let own = forged.to_string();
    forged.as_object_mut().expect("a record").remove("signature");
    forged.as_object_mut().expect("a record").remove("chain");
    let unlinked = forged.to_string();
    for (line, finding) in [(unsigned, "altered"), (own, "forged"), (copied, "altered"), (unlinked, "unsigned")] {
        let report = verify(&checkpoint, lines.iter().copied().chain([line.as_str()]));
        let found: Vec<_> = report.findings.iter().map(ChainFinding::as_str).collect();
        assert_eq!(found, [finding], "{line}");
    }
    let unchanged = verify(&checkpoint, lines);
    assert!(unchanged.is_clean(), "{unchanged:#?}");
}

fn a_second_replica_writes_its_own_chain_and_names_the_first(installation: &Installation) {
    some_decisions(&installation.governed("first"));
    let (log, first) = whole_log(installation);
    let replica = Webhook::replica_with(&installation.plane, "second", &["--drain", "0"]);
    send_malformed_review(installation, &replica);
    send_malformed_review(installation, &replica);
    let second = checkpoint_of(installation, || replica.lines());
    let second_log = replica.stop();
    let start: Value = second_log
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .find(|line: &Value| line["version"] == "writgate.dev/chain/v1")
        .expect("a start");
    let names_first = |head: &Value| head["writer"] == first.0.writer.to_string();
    assert!(start["heads"].as_array().expect("heads").iter().any(names_first), "{start}");
    assert_ne!(first.0.keyid, second.0.keyid, "each process has its own key");

    // A webhook writes its last checkpoint while it stops.
    let (ended, key) = checkpoint_of(installation, || second_log.clone());
    assert_eq!(ended.head.sequence, 2, "the head after a start and two decisions");
    let both = |lines: &[&str]| {
        let verifier = ChainVerifier::default().with_checkpoint(&ended, key.clone());
        let mut verifier = verifier.with_checkpoint(&first.0, first.1.clone());
        lines.iter().flat_map(|log| log.lines()).for_each(|line| drop(verifier.add(line)));
        // Findings about replicas of other tests are left out, since their logs are not read.
        let of = |finding: &ChainFinding| match finding {
            ChainFinding::Missing { writer, .. } => *writer == first.0.writer || *writer == ended.writer,
            _ => true,
        };
        verifier.finish().findings.into_iter().filter(of).collect::<Vec<_>>()
    };
    let later = installation.webhook.lines();
    assert_eq!(both(&[&later, &second_log]), []);
    assert_eq!(both(&[&second_log, &later]), []);
    let found = both(&[&second_log]);
    assert!(
        matches!(found.as_slice(), [ChainFinding::Missing { from: 0, .. }]),
        "expected that the first log is missing as a whole: {found:?}"
    );
    drop(log);
}

fn a_chain_is_signed_with_the_configured_key(installation: &Installation) {
    let key = Key::new();
    let file = installation.plane.folder.join("audit.pem");
    std::fs::write(&file, key.private_pem()).expect("the plane's folder can be written");
    let args = ["--drain", "0", "--audit-key-file", file.to_str().expect("a UTF-8 path")];
    let replica = Webhook::replica_with(&installation.plane, "keyed", &args);
    send_malformed_review(installation, &replica);
    let (checkpoint, _) = checkpoint_of(installation, || replica.lines());
    let log = replica.stop();
    assert_eq!(checkpoint.keyid.to_string(), key.id());
    assert!(
        log.lines().any(|line| line.contains("\"serving\"") && line.contains(&key.id())),
        "the first log line names the key"
    );
    // The key verifies the log without a checkpoint.
    let mut verifier = ChainVerifier::new([PublicKey::from_pem(&key.public_pem()).expect("a key")]);
    log.lines().for_each(|line| drop(verifier.add(line)));
    let report = verifier.finish();
    let own = report.chains.iter().find(|chain| chain.writer == checkpoint.writer).expect("the replica's chain");
    assert_eq!((own.links, own.keyid), (2, None), "{report:#?}");
    assert!(
        report.findings.iter().all(|finding| finding.as_str() == "missing"),
        "findings other than missing chains of other replicas: {report:#?}"
    );
}

fn only_the_webhook_may_write_checkpoints(installation: &Installation) {
    some_decisions(&installation.governed("noted"));
    let (checkpoint, _) = checkpoint_of(installation, || installation.webhook.lines());
    let name = format!("audit-{}", checkpoint.writer);
    let subject = json!({"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "olga"});
    installation.plane.install(&[json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": "olga", "namespace": SYSTEM_NAMESPACE}, "subjects": [subject],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"}})]);
    let olga = installation.plane.user("olga");
    let config_map = |name: &str, labels: Value| {
        json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": SYSTEM_NAMESPACE, "labels": labels}})
    };
    let in_system = |args: &[&str]| olga.kubectl(&[args, &["-n", SYSTEM_NAMESPACE]].concat());
    let ran = olga.create(&config_map("olgas", json!({})));
    assert!(ran.ok(), "olga may write ConfigMaps in the system namespace: {ran}");
    let ways = [
        olga.create(&config_map("audit-forged", json!({"writgate.dev/kind": "audit"}))),
        in_system(&["label", "configmap", "olgas", "writgate.dev/kind=audit"]),
        in_system(&["patch", "configmap", &name, "-p", r#"{"data":{"chain.json":"{}"}}"#]),
        in_system(&["label", "configmap", &name, "writgate.dev/kind-"]),
        in_system(&["delete", "configmap", &name]),
        in_system(&["delete", "configmap", "-l", "writgate.dev/kind=audit"]),
    ];
    for (index, ran) in ways.iter().enumerate() {
        let refused = ran.code == Some(1) && ran.stderr.contains("ValidatingAdmissionPolicy 'ledger.writgate.dev'");
        assert!(refused, "{index}: {ran}");
    }
    assert!(in_system(&["delete", "configmap", "olgas"]).ok(), "olga may delete her own ConfigMap");
}

fn denies_an_admission_whose_record_cannot_be_stored_if_durability_is_required(installation: &Installation) {
    let durable = |posture: &mut Value| posture["audit"] = json!({"durability": "required"});
    let governed = installation.governed_with("durable", durable);
    let ran = installation.operator.create(&governed.approved(&governed.deployment("kept")));
    assert!(ran.ok(), "{ran}");
    let record = trail::records(&governed, |record| record["decision"] == "admitted").pop().expect("a record");
    let entry = |record: &Value| {
        let name = format!("record-{}", record["id"].as_str().expect("an id"));
        installation.plane.admin.get(&["configmap", &name, "-n", SYSTEM_NAMESPACE])
    };
    let stored = entry(&record).expect("the record was stored before the response");
    assert_eq!(stored["metadata"]["labels"]["writgate.dev/kind"], "ledger", "{stored}");
    let stored: Value = serde_json::from_str(stored["data"]["record.json"].as_str().expect("a record")).expect("JSON");
    let (_, checkpoint) = whole_log(installation);
    let verified = verify(&checkpoint, [stored.to_string().as_str()]);
    assert_eq!(verified.links(), 1, "the stored record verifies by itself: {verified:#?}");
    assert_eq!(trail::without_signature(stored), record, "the stored record is the record of the log");
    let probes = trail::records(&governed, |record| record["decision"] == "denied" && record["dryRun"] == true);
    assert!(probes.iter().all(|probe| entry(probe).is_none()), "a dry run stores no record");

    refuse_records_of(installation, &governed);
    let lost = governed.approved(&governed.deployment("lost"));
    let ran = installation.operator.create(&lost);
    assert!(denied_for(&ran, "NotRecorded"), "{ran}");
    assert!(ran.stderr.contains("no room"), "expected the cause in the denial: {ran}");
    assert!(
        installation.plane.admin.get(&["deployment", "lost", "-n", &governed.namespace]).is_none(),
        "the Deployment does not exist"
    );
    let mut records =
        trail::records(&governed, |record| record["object"]["name"] == "lost" && record["dryRun"] == false);
    let (denied, admitted) = (records.pop().expect("two records"), records.pop().expect("two records"));
    assert_eq!((&admitted["decision"], &denied["decision"]), (&json!("admitted"), &json!("denied")));
    assert_eq!(denied["reasons"], json!(["NotRecorded"]));
    assert_eq!(admitted["requestUid"], denied["requestUid"], "both records are about one request");
    assert_eq!(trail::event_of(&governed, &denied)["reason"], "NotRecorded");
    assert!(installation.webhook.metric("writgate_records_kept_total", &[("outcome", "failed")]) >= 1.0);
    whole_log(installation);

    let ran = installation.operator.kubectl_in(&["create", "--dry-run=server", "-f", "-"], &lost.to_string());
    assert!(ran.ok(), "a dry run stores no record, so it is admitted: {ran}");
}

/// Makes the API server refuse to store records about one namespace, as a quota would. Other tests write to the same ledger,
/// so a quota would stop them as well.
fn refuse_records_of(installation: &Installation, governed: &Governed<'_>) {
    let name = format!("full.{}.example.com", governed.namespace);
    let about =
        format!("object.metadata.?annotations[?'writgate.dev/about'].orValue('').contains('/{}/')", governed.namespace);
    installation.plane.install(&[
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": name},
            "spec": {"failurePolicy": "Fail",
                "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"],
                    "resources": ["configmaps"], "operations": ["CREATE"]}]},
                "validations": [{"expression": format!("!object.metadata.name.startsWith('record-') || !{about}"),
                    "message": "no room"}]}}),
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": name}, "spec": {"policyName": name, "validationActions": ["Deny"]}}),
    ]);
    let probe = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "record-probe",
        "namespace": governed.namespace, "annotations": {"writgate.dev/about": format!("x/{}/y", governed.namespace)}}});
    wait_until("records are refused", LIMIT, || {
        let ran = installation.plane.admin.kubectl_in(&["create", "--dry-run=server", "-f", "-"], &probe.to_string());
        (!ran.ok()).then_some(())
    });
}

fn repeated_denials_are_counted_in_one_event(installation: &Installation) {
    let governed = installation.governed("again");
    let refused = || assert!(!installation.operator.create(&governed.deployment("orders")).ok());
    refused();
    let first = trail::records(&governed, |record| record["dryRun"] == false).pop().expect("a denial");
    let event = trail::event_of(&governed, &first);
    assert_eq!(event["series"], Value::Null, "a single denial has no series");
    for count in 2..4 {
        refused();
        let last = trail::records(&governed, |record| record["dryRun"] == false).pop().expect("a denial");
        let counted = wait_until("the denial is counted", LIMIT, || {
            let found = trail::event_of(&governed, &first);
            (found["series"]["count"] == count).then_some(found)
        });
        let at = |time: &Value| time.as_str().expect("a time").parse::<Timestamp>().expect("RFC 3339");
        assert_eq!(at(&counted["series"]["lastObservedTime"]), at(&last["time"]));
        assert_eq!(
            counted["metadata"]["annotations"], event["metadata"]["annotations"],
            "the Event keeps the record of the first denial"
        );
    }
    assert_eq!(trail::events(&governed, |_| true).len(), 1);
    let name = event["metadata"]["name"].as_str().expect("a name");
    let series = json!({"series": {"count": 7, "lastObservedTime": "2026-11-22T11:00:00.000000Z"}}).to_string();
    let args = ["patch", "events.events.k8s.io", name, "--type=merge", "-p", &series, "-n", &governed.namespace];
    let ran = installation.tenant.kubectl(&args);
    assert!(ran.stderr.contains("ValidatingAdmissionPolicy 'events.writgate.dev'"), "{ran}");
}

/// Standard output that nobody reads.
struct Discarded;

impl Stream for Discarded {
    fn is_ready(&self, _: bool) -> bool {
        true
    }

    fn write_all(&self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }
}

fn checkpoints_and_stored_records_are_deleted_after_thirty_days(installation: &Installation) {
    // A separate ledger, without the entries of other tests.
    let namespace = installation.plane.namespace("thirty-days");
    let day = |days: i64| Timestamp::now() + SignedDuration::from_hours(24 * days);
    let record: DecisionRecord = serde_json::from_value(json!({
        "version": "writgate.dev/decision/v1", "id": uuid::Uuid::now_v7(), "time": Timestamp::now(), "dryRun": false,
        "requiredCapabilities": [], "approvals": [], "decision": "admitted", "reasons": []}))
    .expect("a record");
    installation.plane.block_on(async {
        let client = installation.plane.admin.client().await;
        let metrics = Metrics::default();
        let ledger =
            Ledger::new(client.clone(), WorkloadKinds::default(), &namespace, Duration::from_secs(90), metrics.clone());
        let sealer = Sealer::new(audit_key(None).expect("a key"), Vec::new(), metrics);
        let checkpoints = Checkpoints::start(sealer.clone(), client.clone(), &namespace);
        let output = Output::start(Discarded, Metrics::default()).expect("a thread");
        let seals = Seals::start(sealer.clone(), output.clone());
        let (mut stored, unplaced) = (record.clone(), UnplacedRecord::of(&record));
        let (link, written) = output.record(|lines| sealer.place(&unplaced, lines)).await;
        written.expect("the record is written");
        stored.chain = Some(link);
        sealer.sign(&mut stored);
        ledger.store_record(&stored).await.expect("the record is stored");
        seals.finish().await;
        checkpoints.finish(LIMIT).await;
        let heads = checkpoint::heads(client.clone(), &namespace).await.expect("a list");
        assert_eq!(heads.iter().map(|head| (head.writer, head.sequence)).collect::<Vec<_>>(), [(sealer.writer(), 1)]);
        let config_maps: Api<ConfigMap> = Api::namespaced(client, &namespace);
        let name = format!("record-{}", stored.id);
        assert!(config_maps.get_opt(&name).await.expect("an answer").is_some());
        assert_eq!(ledger.sweep(day(29)).await, Ok(0));
        assert_eq!(ledger.sweep(day(31)).await, Ok(2), "the record and the checkpoint");
    });
}
