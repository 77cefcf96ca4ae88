//! What a review says of claims and of signatures, and that what was reviewed is what is signed.

use std::fs;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Value, json};

use crate::{folder::Folder, stand_in, transcripts};

const BOB: &str = "84f522c40a2df55aa12ecba9233cec2e5175f62b40afd195879c36f95a80d32b";
pub(crate) const CAROL: &str = "8256d31bb08ddc6c5bc996da8de1b0f8ab2c50de48bf76e4c5d56eb70d8bff44";
const REVIEW: &str = "review -f request.json --posture-dir postures";
const APPROVE: &str = "approve --yes --posture-dir postures";

/// A folder with the files of `approve.md`.
pub(crate) fn desk() -> Folder {
    let folder = Folder::new();
    let given = transcripts().join("approve.in");
    for name in ["request.json", "replay.json", "bob.pem", "carol.pem"] {
        fs::copy(given.join(name), folder.path(name)).expect("a copy");
    }
    for name in ["posture.yaml", "reviewers.yaml", "namespaces.yaml"] {
        fs::copy(given.join("postures").join(name), folder.path(&format!("postures/{name}"))).expect("a copy");
    }
    for name in ["bob.pem", "carol.pem"] {
        folder.chmod(name, 0o600);
    }
    folder
}

pub(crate) fn edit(folder: &Folder, name: &str, edit: impl FnOnce(&mut Value)) {
    let mut value: Value = serde_json::from_str(&folder.read(name)).expect("JSON");
    edit(&mut value);
    folder.write(name, value.to_string());
}

/// The line of `text` that contains `what`.
fn line<'t>(text: &'t str, what: &str) -> &'t str {
    text.lines().find(|line| line.contains(what)).unwrap_or_else(|| panic!("no {what:?} in {text}"))
}

#[test]
fn a_claimed_environment_or_project_is_marked_and_never_ok() {
    let folder = desk();
    let (out, _) = folder.expect(0, REVIEW, "");
    assert!(line(&out, "verify environment and project").starts_with("  ok"), "{out}");
    assert!(line(&out, "covers the deployment action").starts_with("  ok"), "{out}");
    assert!(!line(&out, "  project ").contains("claimed"), "{out}");

    fs::remove_file(folder.path("postures/namespaces.yaml")).expect("it exists");
    edit(&folder, "request.json", |request| request["project"] = "ledger".into());
    let (out, _) = folder.expect(0, REVIEW, "");
    for fact in ["  environment ", "  project "] {
        assert!(line(&out, fact).ends_with("(claimed by the request)"), "{out}");
    }
    let derived = "(by the posture of the environment that the request claims)";
    assert!(line(&out, "  cluster ").ends_with(derived) && line(&out, "required by every deploy").ends_with(derived));
    let item = line(&out, "verify environment and project");
    assert!(item.starts_with("  look") && item.ends_with("project ledger  (claimed by the request)"), "{item}");
    assert!(line(&out, "covers the deployment action").starts_with("  look"), "{out}");

    let (json, _) = folder.expect(0, &format!("{REVIEW} -o json"), "");
    let report: Value = serde_json::from_str(&json).expect("JSON");
    let fact = |name: &str| report["asked"].as_array().and_then(|all| all.iter().find(|one| one["name"] == name));
    assert_eq!(fact("project").map(|fact| &fact["origin"]), Some(&json!("claimed-by-request")));
}

#[test]
fn without_a_posture_nothing_that_the_request_says_is_ok() {
    let folder = desk();
    let lie = "image scanned, no findings";
    edit(&folder, "request.json", |request| request["capabilities"][0]["because"] = json!([lie]));
    for (flags, marked) in [("--posture-dir postures", false), ("--no-posture", true)] {
        for output in ["text", "json"] {
            let (out, _) = folder.expect(0, &format!("review -f request.json {flags} -o {output}"), "");
            assert!(!out.contains(lie), "{out}");
            assert_eq!(
                out.contains("claimed-by-request") || out.contains("deploy  (claimed by the request)"),
                marked || output == "json",
                "{out}"
            );
        }
    }
    let (out, _) = folder.expect(0, "review -f request.json --no-posture", "");
    let ok: Vec<&str> = out.lines().filter(|line| line.starts_with("  ok")).collect();
    assert_eq!(ok.len(), 2, "the hash and the lifetime, which are computed here: {ok:?}");
    for fact in ["  action ", "  environment ", "  project ", "  cluster ", "  requested by ", "  reason "] {
        assert!(line(&out, fact).ends_with("(claimed by the request)"), "{fact}: {out}");
    }
}

/// The replay's approval, signed by bob.
fn signed_by_bob(folder: &Folder) {
    folder.expect(0, &format!("{APPROVE} --full -f replay.json --key bob.pem -o approval.json"), "");
}

const ADD: &str = "--full -f replay.json --key carol.pem --add-signature approval.json -o approval.json";

fn signature(keyid: &str, bytes: &[u8]) -> Value {
    json!({"keyid": keyid, "sig": BASE64.encode(bytes)})
}

#[test]
fn an_envelope_that_was_altered_after_a_signature_is_wrong() {
    let folder = desk();
    signed_by_bob(&folder);
    let review = "review -f replay.json --posture-dir postures --add-signature approval.json";
    let (out, _) = folder.expect(0, review, "");
    assert!(line(&out, "signed by bob").contains("the signature is valid"), "{out}");
    assert!(line(&out, "  valid ").ends_with("(claimed by the envelope, which a reviewer has signed)"), "{out}");

    edit(&folder, "approval.json", |envelope| {
        let payload = BASE64.decode(envelope["payload"].as_str().expect("a text")).expect("base64");
        let payload = String::from_utf8(payload).expect("UTF-8");
        let altered = payload.replacen("INC-7\"", "INC-7 \"", 1);
        envelope["payload"] = BASE64.encode(altered).into();
    });
    edit(&folder, "replay.json", |request| request["reason"] = "INC-7 ".into());
    let (out, _) = folder.expect(1, review, "");
    assert!(out.contains("WRONG: do not sign this"), "{out}");
    assert!(line(&out, "envelope's signature of bob@acme.example does not verify").contains(BOB), "{out}");
    assert!(!out.contains("  signed by bob") && out.contains("NOT signed by bob@acme.example"), "{out}");
    assert!(line(&out, "  valid ").ends_with("(claimed by the envelope, which no known key has signed)"), "{out}");
    let before = folder.read("approval.json");
    let (_, err) = folder.expect(1, &format!("{APPROVE} {ADD}"), "");
    assert!(err.contains("not signed: claims differ from what was computed"), "{err}");
    assert_eq!(folder.read("approval.json"), before);
}

#[test]
fn a_reviewer_whose_key_id_somebody_else_used_can_sign() {
    let folder = desk();
    signed_by_bob(&folder);
    let good: Value = serde_json::from_str(&folder.read("approval.json")).expect("JSON");
    edit(&folder, "approval.json", |envelope| {
        envelope["signatures"].as_array_mut().expect("a list").push(signature(CAROL, &[0; 64]));
    });
    let (_, err) = folder.expect(0, &format!("{APPROVE} {ADD}"), "");
    assert!(
        err.contains(&format!("the signature that names your key {CAROL} is not valid; yours replaces it")),
        "{err}"
    );
    assert!(err.contains(&format!("replaced an invalid signature that named key {CAROL}")), "{err}");
    let signed: Value = serde_json::from_str(&folder.read("approval.json")).expect("JSON");
    let signatures = signed["signatures"].as_array().expect("a list");
    assert_eq!((signatures.len(), &signatures[0]), (2, &good["signatures"][0]));
    assert_eq!(signatures[1]["keyid"], CAROL);

    // Signed now, under whatever key id.
    for keyid in [CAROL, "another"] {
        edit(&folder, "approval.json", |envelope| envelope["signatures"][1]["keyid"] = keyid.into());
        for posture in ["--posture-dir postures", "--no-posture"] {
            let (_, err) = folder.expect(1, &format!("approve --yes {posture} {ADD}"), "");
            assert!(err.contains(&format!("key {CAROL} has already signed this")), "{err}");
        }
    }
    // Another reviewer's key id is not the signer's to replace.
    edit(&folder, "approval.json", |envelope| envelope["signatures"] = json!([signature(BOB, &[0; 64])]));
    let (_, err) = folder.expect(1, &format!("{APPROVE} {ADD}"), "");
    assert!(err.contains("envelope's signature of bob@acme.example does not verify"), "{err}");
    // An unknown key is named as such.
    edit(&folder, "approval.json", |envelope| {
        envelope["signatures"] = json!([good["signatures"][0], signature(&"0".repeat(64), &[0; 64])]);
    });
    let (_, err) = folder.expect(0, &format!("{APPROVE} {ADD}"), "");
    assert!(err.contains("a signature of an unknown key"), "{err}");
}

#[test]
fn an_envelope_with_another_reason_or_kind_than_the_request_is_wrong() {
    let folder = desk();
    signed_by_bob(&folder);
    let request = folder.read("replay.json");
    for (field, value, why) in [
        ("reason", json!("INC-8"), "the envelope says reason INC-7, but the request says INC-8"),
        (
            "breakGlass",
            json!(true),
            "the envelope says that it is no break-glass approval, but the request says that it is",
        ),
        ("requestedBy", json!("dave@acme.example"), "the envelope says that alice@acme.example requested it"),
    ] {
        folder.write("replay.json", &request);
        edit(&folder, "replay.json", |request| request[field] = value);
        let (_, err) = folder.expect(1, &format!("{APPROVE} {ADD}"), "");
        assert!(err.contains(why), "{field}: {err}");
    }
    folder.write("replay.json", &request);
    folder.expect(0, &format!("{APPROVE} {ADD}"), "");
}

fn code(report: &str) -> String {
    line(report, "Code of this review: ").rsplit(' ').next().expect("a code").to_owned()
}

#[test]
fn the_code_of_a_review_changes_with_anything_that_it_shows() {
    let folder = desk();
    let review = || code(&folder.expect(0, REVIEW, "").0);
    let first = review();
    assert_eq!(first, review(), "other times and another id are the same review");
    let (full, _) = folder.expect(0, &format!("{REVIEW} --full"), "");
    assert_eq!(first, code(&full));
    let (json, _) = folder.expect(0, &format!("{REVIEW} -o json"), "");
    assert_eq!(serde_json::from_str::<Value>(&json).expect("JSON")["code"], first.as_str());

    let request = folder.read("request.json");
    let mut codes = vec![first];
    for (pointer, value) in [
        ("/reason", json!("CHG-1234: orders 1.4.3")),
        ("/requestedBy", json!("dave@acme.example")),
        ("/requestedAt", json!("2026-11-22T10:00:01Z")),
        ("/workloads/0/object/spec/replicas", json!(4)),
        ("/workloads/0/runs/spec/replicas", json!(6)),
    ] {
        folder.write("request.json", &request);
        edit(&folder, "request.json", |request| *request.pointer_mut(pointer).expect(pointer) = value);
        codes.push(review());
    }
    folder.write("request.json", &request);
    for flags in ["--expires-in 20m", "--expires-at 2999-01-01T00:00:00Z --no-posture"] {
        let flags = if flags.contains("no-posture") {
            format!("review -f request.json {flags}")
        } else {
            format!("{REVIEW} {flags}")
        };
        let (out, _) = folder.expect(0, &flags, "");
        assert_eq!(code(&out), code(&folder.expect(0, &flags, "").0), "{flags}");
        codes.push(code(&out));
    }
    let posture = folder.read("postures/posture.yaml");
    folder.write("postures/posture.yaml", posture.replace("quorum: [{count: 1}]", "quorum: [{count: 2}]"));
    codes.push(review());
    let count = codes.len();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), count);
}

#[test]
fn approve_signs_only_what_has_the_expected_code() {
    let folder = desk();
    let expected = code(&folder.expect(0, REVIEW, "").0);
    let approve = format!("{APPROVE} -f request.json --key bob.pem -o approval.json");
    let (_, err) = folder.expect(0, &format!("{approve} --expect {expected}"), "");
    assert_eq!(code(&err), expected);
    folder.expect(0, &format!("{approve} --expect {}", expected.to_lowercase().replace('-', "")), "");
    fs::remove_file(folder.path("approval.json")).expect("it was written");

    edit(&folder, "request.json", |request| request["reason"] = "another".into());
    let (_, err) = folder.expect(1, &format!("{approve} --expect {expected}"), "");
    assert!(err.contains(&format!("this review has code {}, but --expect says {expected}", code(&err))), "{err}");
    let (_, err) = folder.expect(2, &format!("{approve} --expect 7K3QX"), "");
    assert!(err.contains("expected the code of a review"), "{err}");
    assert!(!folder.path("approval.json").exists());
}

#[test]
fn an_old_request_and_one_from_the_future_are_remarked() {
    let folder = desk();
    let now = jiff::Timestamp::now();
    for (hours, remark) in [(-23, None), (-25, Some("the request is 1 day old")), (1, Some("was made in the future"))] {
        let at = now + jiff::SignedDuration::from_hours(hours);
        edit(&folder, "request.json", |request| request["requestedAt"] = at.to_string().into());
        let (out, _) = folder.expect(0, REVIEW, "");
        match remark {
            Some(remark) => assert!(out.contains(remark), "{out}"),
            None => assert!(!out.contains("the request is ") && !out.contains("in the future"), "{out}"),
        }
    }
}

/// A stand-in for the API server: it has the postures, the namespace, and a live object that is another one at each
/// read.
fn api_server(folder: &Folder, live: Vec<Value>) {
    let mut live = live.into_iter();
    stand_in::start(folder, move |path| match path {
        path if path.ends_with("/deployments/orders") => Some(live.next().expect("an object")),
        other => panic!("{other}"),
    });
}

#[test]
fn a_live_object_that_changes_between_the_review_and_the_signature_is_not_signed() {
    let folder = desk();
    let request: Value = serde_json::from_str(&folder.read("request.json")).expect("JSON");
    let live = |image: &str, replicas: u32| {
        let mut object = request["workloads"][0]["object"].clone();
        object["spec"]["template"]["spec"]["containers"][0]["image"] = image.into();
        object["status"] = json!({"replicas": replicas});
        object["metadata"]["creationTimestamp"] = "2026-11-01T00:00:00Z".into();
        object
    };
    let approve = "approve --yes -f request.json --key bob.pem --kubeconfig config -o approval.json";
    let image = "ghcr.io/acme/orders:1.4.0";
    api_server(&folder, vec![live(image, 1), live("ghcr.io/evil/orders:1", 1)]);
    let (_, err) = folder.expect(1, approve, "");
    assert!(err.contains("what was reviewed has changed since"), "{err}");
    assert!(line(&err, "ghcr.io/evil/orders:1").contains(image), "{err}");
    assert!(!folder.path("approval.json").exists());

    api_server(&folder, vec![live(image, 1), live(image, 2)]);
    folder.expect(0, approve, "");
    // A change after the request was made is remarked.
    let mut later = live(image, 1);
    later["metadata"]["managedFields"] = json!([{"manager": "kubectl", "time": "2026-11-22T10:00:01Z"}]);
    api_server(&folder, vec![later]);
    let (out, _) = folder.expect(0, "review -f request.json --kubeconfig config", "");
    assert!(out.contains("was changed at 2026-11-22T10:00:01Z, after the request was made"), "{out}");
}

/// A Deployment whose container has one argument of this length.
fn with_an_argument(folder: &Folder, length: usize) {
    let request: Value = serde_json::from_str(&folder.read("request.json")).expect("JSON");
    let mut object = request["workloads"][0]["object"].clone();
    object["spec"]["template"]["spec"]["containers"][0]["args"] = json!(["x".repeat(length)]);
    folder.write("app.json", object.to_string());
}

#[test]
fn what_is_not_shown_whole_is_signed_with_full_only() {
    let folder = desk();
    let approve = format!("{APPROVE} -f app.json --requested-by alice@acme.example --key bob.pem -o approval.json");
    with_an_argument(&folder, 1 << 10);
    folder.expect(0, &approve, "");

    with_an_argument(&folder, 100 << 10);
    let (_, err) = folder.expect(1, &approve, "");
    assert!(err.contains("not signed: the review does not show these fields whole"), "{err}");
    assert!(err.contains("containers[orders].args"), "{err}");
    folder.expect(0, &format!("{approve} --full"), "");
}

#[test]
fn an_object_that_no_api_server_accepts_is_refused_by_its_length() {
    let folder = desk();
    let review = "review -f app.json --posture-dir postures --requested-by alice@acme.example -o json";
    with_an_argument(&folder, (3 << 20) - 1000);
    folder.expect(0, review, "");
    with_an_argument(&folder, 3 << 20);
    let (_, err) = folder.expect(3, review, "");
    assert!(err.contains("app.json: the object has more than 3 MiB of JSON"), "{err}");
}
