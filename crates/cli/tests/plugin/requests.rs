//! Request files: their limits, and texts in them that a reviewer must not be misled by.

use std::fs;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::{folder::Folder, transcripts};

#[test]
fn refuses_a_release_that_one_approval_cannot_cover() {
    let folder = Folder::new();
    let app = folder.read("app.yaml");
    let release = |count: usize| {
        let named = |n| app.replace("name: orders\n", &format!("name: orders-{n}\n"));
        (0..count).map(named).collect::<Vec<_>>().join("---\n")
    };
    let request = "request -f - --posture-dir postures --requested-by alice@acme.example";
    let (asked, _) = folder.expect(0, request, release(64));
    assert_eq!(serde_json::from_str::<Value>(&asked).expect("JSON")["workloads"].as_array().map(Vec::len), Some(64));
    let (_, err) = folder.expect(2, request, release(65));
    assert!(err.contains("65 workloads require an approval, but one approval covers at most 64"), "{err}");
}

const REQUEST: &str = "request --posture-dir postures --requested-by alice@acme.example -f -";

#[test]
fn a_request_says_that_a_workload_is_deleted_and_created_again() {
    let folder = Folder::new();
    let app = folder.read("app.yaml");
    let hook = app.replace("  annotations:\n", "  annotations:\n    helm.sh/hook: pre-upgrade\n");
    for (flag, manifest, expected) in [("", &app, None), (" --recreate", &app, Some(true)), ("", &hook, Some(true))] {
        let (asked, _) = folder.expect(0, &format!("{REQUEST}{flag}"), manifest);
        let request: Value = serde_json::from_str(&asked).expect("JSON");
        assert_eq!(request["workloads"][0].get("recreate").and_then(Value::as_bool), expected, "{flag}: {asked}");
    }
    folder.expect(2, &format!("{REQUEST} --recreate --denial"), &app);
}

#[test]
fn a_claimed_live_object_with_the_same_spec_is_false_unless_it_is_created_again() {
    let folder = Folder::new();
    let (asked, _) = folder.expect(0, &format!("{REQUEST} --recreate"), folder.read("app.yaml"));
    let mut request: Value = serde_json::from_str(&asked).expect("JSON");
    request["workloads"][0]["runs"] = request["workloads"][0]["object"].clone();
    let review = "review -f - --posture-dir postures";
    let (_, out, err) = folder.writgate(review, request.to_string());
    assert!(!out.contains("already runs with this spec"), "{out}{err}");
    request["workloads"][0].as_object_mut().expect("a workload").remove("recreate");
    let (_, out, err) = folder.writgate(review, request.to_string());
    assert!(out.contains("already runs with this spec"), "{out}{err}");
}

#[test]
fn two_renders_of_one_workload_show_the_field_that_differs() {
    let folder = Folder::new();
    let app = folder.read("app.yaml");
    let (_, err) = folder.expect(2, REQUEST, format!("{app}---\n{}", app.replace("orders:1.4.2", "orders:1.4.3")));
    assert!(err.contains("differ in spec.template.spec.containers[orders].image; remove one"), "{err}");
    let (_, err) = folder.expect(2, REQUEST, format!("{app}---\n{app}"));
    assert!(err.contains("appears twice; remove one"), "{err}");
}

#[test]
fn request_warns_about_a_hook_whose_name_argo_cd_generates() {
    let folder = Folder::new();
    let app = folder.read("app.yaml");
    let hook = app.replace("  annotations:\n", "  annotations:\n    argocd.argoproj.io/hook: PreSync\n");
    let generated = |text: &str| text.replacen("  name: orders\n", "  generateName: orders-\n", 1);
    for (manifest, warns) in [(generated(&hook), true), (hook.clone(), false), (generated(&app), false)] {
        let (_, err) = folder.expect(0, REQUEST, &manifest);
        assert_eq!(err.contains("Argo CD generates the name of this hook"), warns, "{manifest}: {err}");
    }
}

#[test]
fn refuses_to_review_an_invalid_request() {
    let folder = Folder::new();
    let request = fs::read_to_string(transcripts().join("review.in/request.json")).expect("a request");
    let review = "review -f - --posture-dir postures";
    let with = |edit: &dyn Fn(&mut Value)| {
        let mut request: Value = serde_json::from_str(&request).expect("JSON");
        edit(&mut request);
        request.to_string()
    };
    let cases = [
        (3, with(&|request| request["apiVersion"] = "writgate.dev/v2".into()), "its apiVersion is"),
        (3, with(&|request| request["more"] = true.into()), "unknown field `more`"),
        (3, with(&|request| request["action"] = "rm".into()), "unknown variant `rm`"),
        (3, with(&|request| request["workloads"] = Value::Array(Vec::new())), "contains no workload"),
        (3, with(&|request| request["workloads"][0]["object"]["kind"] = "Secret".into()), "contains no workload"),
        (3, with(&|request| request["workloads"][0]["object"] = Value::Array(Vec::new())), "found a list"),
        (2, format!("{request}---\n{request}"), "two request files are given"),
    ];
    for (code, text, why) in cases {
        let (_, err) = folder.expect(code, review, text);
        assert!(err.contains(why), "{why}: {err}");
    }
    folder.expect(3, review, b"\xff\xfe");
    folder.expect(3, "review -f /dev/zero --posture-dir postures", "");
}

#[test]
fn texts_of_a_requester_cannot_control_the_terminal() {
    let folder = Folder::new();
    let request = fs::read_to_string(transcripts().join("review.in/request.json")).expect("a request");
    let mut request: Value = serde_json::from_str(&request).expect("JSON");
    let evil = "a\u{1b}[2J\u{202e}\nWRONG";
    for field in ["requestedBy", "reason", "environment", "project", "cluster"] {
        request[field] = evil.into();
    }
    let workload = &mut request["workloads"][0];
    for place in ["object", "runs"] {
        let pod = &mut workload[place]["spec"]["template"]["spec"];
        pod["serviceAccountName"] = format!("{place}{evil}").into();
        pod["containers"][0]["name"] = evil.into();
        pod["volumes"] =
            serde_json::json!([{"name": evil, "hostPath": {"path": evil}, "secret": {"secretName": evil}}]);
    }
    workload["subject"] = evil.into();
    let (code, out, err) = folder.writgate("review -f - --posture-dir postures", request.to_string());
    assert_eq!(code, 1, "{out}{err}");
    assert!(out.lines().filter(|line| line.starts_with("WRONG")).count() == 1, "{out}");
    for text in [&out, &err] {
        assert!(text.chars().all(|char| char == '\n' || !char.is_control() && char != '\u{202e}'), "{text:?}");
    }
}

/// The time from `notBefore` of a new approval to now, and its lifetime.
fn age_and_lifetime(folder: &Folder, arguments: &str) -> (SignedDuration, SignedDuration) {
    let now = Timestamp::now();
    let envelope: Value = serde_json::from_str(&folder.approve(&format!("-f app.yaml {arguments}"))).expect("JSON");
    let payload = BASE64.decode(envelope["payload"].as_str().expect("a text")).expect("base64");
    let statement: Value = serde_json::from_slice(&payload).expect("JSON");
    let time =
        |name: &str| -> Timestamp { statement["predicate"][name].as_str().expect("a text").parse().expect("a time") };
    (now.duration_since(time("notBefore")), time("expiresAt").duration_since(time("notBefore")))
}

#[test]
fn an_approval_is_valid_from_one_minute_before_its_signature() {
    let folder = Folder::new();
    let seconds = SignedDuration::from_secs;
    for (arguments, age, lifetime) in [("", 60, 3600), ("--expires-in 2h", 60, 7200), ("--expires-in 1m", 30, 60)] {
        let (found, lasts) = age_and_lifetime(&folder, arguments);
        // The command takes some time to start.
        assert!(found > seconds(age - 20) && found <= seconds(age + 1), "{arguments}: {found:#}");
        assert_eq!(lasts, seconds(lifetime), "{arguments}");
    }
    let (found, _) = age_and_lifetime(&folder, "--not-before 2026-11-22T10:00:00Z --expires-at 2999-01-01T00:00:00Z");
    let from = "2026-11-22T10:00:00Z".parse::<Timestamp>().expect("a time");
    assert!(Timestamp::now().duration_since(from) - found < seconds(20), "--not-before has precedence");
}

#[test]
fn the_minute_before_the_signature_does_not_exceed_the_posture() {
    let folder = Folder::new();
    let approve = |offset: i64| {
        let at = Timestamp::from_second(Timestamp::now().as_second() + 24 * 3600 + offset).expect("a time");
        format!(
            "approve --yes -f app.yaml --key bob.pem --posture-dir postures --requested-by alice@acme.example \
             --expires-at {at} -o approval.json"
        )
    };
    folder.expect(0, &approve(-5), "");
    let (_, err) = folder.expect(1, &approve(60), "");
    assert!(err.contains("the posture permits at most 24h"), "{err}");
}
