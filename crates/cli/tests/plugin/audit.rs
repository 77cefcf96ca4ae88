//! `audit --watch` on a log file, and `audit` of several contexts.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::{
    folder::Folder,
    stand_in::{self, Answer},
    transcripts,
};

#[test]
fn follows_a_log_as_it_grows_and_when_it_is_rotated() {
    let folder = Folder::new();
    let given = fs::read_to_string(transcripts().join("audit.in/webhook.log")).expect("a readable file");
    let lines: Vec<&str> = given.lines().skip(1).collect();
    folder.write("log", format!("{}\n", lines[0]));
    let mut child = Command::new(env!("CARGO_BIN_EXE_kubectl-writgate"))
        .args(["audit", "--log", "log", "--watch", "-o", "json"])
        .current_dir(folder.root())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut shown = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut next = || shown.next().expect("another line").expect("UTF-8");
    assert_eq!(next(), lines[0]);
    let mut log = fs::OpenOptions::new().append(true).open(folder.path("log")).expect("a writable file");
    log.write_all(format!("{}\n", lines[1]).as_bytes()).expect("a writable file");
    assert_eq!(next(), lines[1]);
    fs::rename(folder.path("log"), folder.path("log.1")).expect("the file can be changed");
    log.write_all(format!("{}\n", lines[2]).as_bytes()).expect("the last lines go to the old file");
    folder.write("log", format!("{}\n", lines[3]));
    assert_eq!([next(), next()], [lines[2], lines[3]]);
    child.kill().expect("the program runs until it is killed");
    child.wait().expect("a child can be waited for");
}

/// An API server with one Event, whose record is the line `line` of the log of the transcript.
fn with_event(line: usize, time: &str) -> String {
    let log = fs::read_to_string(transcripts().join("audit.in/webhook.log")).expect("a readable file");
    let record = log.lines().nth(line).expect("a line").to_owned();
    let event = json!({"metadata": {"name": format!("e-{line}"), "namespace": "payments", "uid": line.to_string(),
        "annotations": {"writgate.dev/decision": record}},
        "eventTime": time, "reportingController": "writgate.dev/webhook", "reason": "Denied"});
    let list = json!({"apiVersion": "events.k8s.io/v1", "kind": "EventList", "metadata": {}, "items": [event]});
    stand_in::listen(move |request| {
        assert_eq!(request.path(), "/apis/events.k8s.io/v1/namespaces/payments/events");
        Answer::json(200, &list)
    })
}

#[test]
fn shows_several_contexts_in_one_table_and_says_which_cannot_be_read() {
    let folder = Folder::new();
    let [eu, us] = [with_event(4, "2026-11-22T10:01:03.000000Z"), with_event(1, "2026-11-22T10:01:00.000000Z")];
    let config = stand_in::kubeconfig(&[("eu", &eu), ("us", &us), ("down", "http://127.0.0.1:1")]);
    folder.write("config", config);
    let audit = "audit --kubeconfig config -n payments --context eu";

    // The rows are in the order of their times, not of the contexts.
    let (out, err) = folder.expect(0, &format!("{audit} --context us"), "");
    let rows: Vec<Vec<&str>> = out.lines().map(|line| line.split_whitespace().take(3).collect()).collect();
    let expected = [
        ["CONTEXT", "TIME", "DECISION"],
        ["us", "2026-11-22T10:01:00Z", "denied"],
        ["eu", "2026-11-22T10:01:03Z", "denied"],
    ];
    assert_eq!(rows, expected, "{out}");
    assert!(!err.contains("cannot"), "{err}");
    let (out, _) = folder.expect(0, &format!("{audit} --context us -o json"), "");
    let contexts: Vec<Value> =
        out.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")["context"].clone()).collect();
    assert_eq!(contexts, ["us", "eu"]);

    // One context alone has no such column.
    let (out, _) = folder.expect(0, audit, "");
    assert!(out.starts_with("TIME"), "{out}");

    // The others are shown, and the exit code says that the table is incomplete.
    for missing in ["down", "absent"] {
        let (out, err) = folder.expect(3, &format!("{audit} --context {missing} --context us"), "");
        assert_eq!(out.lines().count(), 3, "{out}");
        assert!(err.contains(&format!("cannot read context {missing}: ")), "{err}");
        assert!(err.contains(&format!("error: context {missing} cannot be read; the output is incomplete")), "{err}");
    }
    let (_, err) = folder.expect(2, &format!("{audit} --context eu"), "");
    assert!(err.contains("is given twice"), "{err}");
    let (_, err) = folder.expect(2, &format!("{audit} --context us --log log"), "");
    assert!(err.contains("a log is of one cluster"), "{err}");
}

#[test]
fn verifies_each_context_by_its_own_keys() {
    let folder = Folder::new();
    let given = fs::read_to_string(transcripts().join("audit.in/webhook.pub.pem")).expect("a readable file");
    folder.write("webhook.pub.pem", given);
    let [eu, us] = [with_event(4, "2026-11-22T10:01:03.000000Z"), with_event(1, "2026-11-22T10:01:00.000000Z")];
    folder.write("config", stand_in::kubeconfig(&[("eu", &eu), ("us", &us)]));
    let verify = "audit --kubeconfig config -n payments --context eu --context us --verify --key webhook.pub.pem";
    let (code, out, err) = folder.writgate(verify, "");
    let reports: Vec<&str> = out.lines().filter(|line| line.starts_with("context ")).collect();
    assert_eq!(reports, ["context eu", "context us"], "{code} {out}{err}");
    assert_eq!(out.matches("verified: ").count(), 2, "{out}");
}
