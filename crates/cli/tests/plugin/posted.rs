//! Posted requests on a stand-in for the API server: what a real one cannot be made to show, such as a write at the same moment,
//! or two requests whose names are equal.

use std::sync::{Arc, Mutex};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Value, json};
use writgate_core::approval::RequestDigest;

use crate::{
    folder::Folder,
    stand_in::{self, Answer, Request},
};

/// The ConfigMap of the request for the tour's Deployment, and its approval's name.
pub(crate) fn posted(folder: &Folder) -> (Value, String) {
    let request = "request -f app.yaml --posture-dir postures --requested-by alice@acme.example";
    let file: Value = serde_json::from_str(&folder.expect(0, request, "").0).expect("JSON");
    let text = file.to_string();
    let digest = RequestDigest::of(&text);
    (config_map("request", &digest.request_name(), &text), digest.approval_name())
}

fn config_map(kind: &str, name: &str, text: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "immutable": kind == "request",
        "metadata": {"name": name, "namespace": "payments", "resourceVersion": "7", "uid": "u",
            "creationTimestamp": "2999-01-01T00:00:00Z", "labels": {"writgate.dev/kind": kind}},
        "data": {format!("{kind}.json"): text}})
}

pub(crate) fn status(code: u16, reason: &str) -> Answer {
    let body = json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": reason, "code": code,
        "message": reason});
    Answer::json(code, &body)
}

/// Serves the tour's postures, the ConfigMaps that `config_maps` returns, and nothing else of the namespace.
fn serve(folder: &Folder, mut config_maps: impl FnMut(&Request) -> Option<Answer> + Send + 'static) {
    let document = |name: &str, kind: &str| {
        json!({"metadata": {"name": name, "namespace": "writgate-system", "labels": {"writgate.dev/kind": kind}},
               "data": {format!("{kind}.yaml"): folder.read(&format!("postures/{kind}.yaml"))}})
    };
    let list = |items: Value| json!({"apiVersion": "v1", "kind": "ConfigMapList", "metadata": {}, "items": items});
    let postures = list(json!([document("posture", "posture"), document("prod-reviewers", "reviewers")]));
    let none = list(json!([]));
    let namespace = json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": {
        "name": "payments", "labels": {"writgate.dev/environment": "production", "writgate.dev/project": "payments"}}});
    stand_in::serve(folder, move |request| match (&*request.method, request.path()) {
        ("GET", path) if path.ends_with("/writgate-system/configmaps") => Answer::json(200, &postures),
        ("GET", path) if path.ends_with("/payments/configmaps") => Answer::json(200, &none),
        ("GET", path) if path.ends_with("/namespaces/payments") => Answer::json(200, &namespace),
        ("POST", path) if path.ends_with("/selfsubjectreviews") => Answer::json(
            201,
            &json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview", "metadata": {},
                "status": {"userInfo": {"username": "alice@acme.example"}}}),
        ),
        _ => config_maps(request).unwrap_or_else(|| status(404, "NotFound")),
    });
}

/// What somebody else writes in place of an envelope.
type Theirs = fn(Value) -> Value;

/// Approves while somebody else creates the approval's ConfigMap first, with `theirs` made of the envelope that Bob signed.
/// Returns the key ids of what is written in the end.
fn keys_after_a_conflict(theirs: Theirs) -> Vec<String> {
    let folder = Folder::new();
    let (request, approval_name) = posted(&folder);
    let written = Arc::new(Mutex::new(Vec::<Value>::new()));
    let seen = Arc::clone(&written);
    let name = request["metadata"]["name"].as_str().expect("a name").to_owned();
    let path = format!("/payments/configmaps/{name}");
    let approval_path = format!("/payments/configmaps/{approval_name}");
    let mut stored: Option<Value> = None;
    serve(&folder, move |request_to| {
        if request_to.path().ends_with(&path) {
            return Some(Answer::json(200, &request));
        }
        match &*request_to.method {
            "POST" => {
                let mut object: Value = serde_json::from_str(&request_to.body).expect("JSON");
                let text = object["data"]["approval.json"].as_str().expect("text");
                let theirs = theirs(serde_json::from_str(text).expect("JSON"));
                object["data"]["approval.json"] = theirs.to_string().into();
                object["metadata"]["resourceVersion"] = "8".into();
                stored = Some(object);
                Some(status(409, "AlreadyExists"))
            }
            "PUT" => {
                let object: Value = serde_json::from_str(&request_to.body).expect("JSON");
                seen.lock().expect("no panic").push(object.clone());
                stored = Some(object.clone());
                Some(Answer::json(200, &object))
            }
            _ if request_to.path().ends_with(&approval_path) => stored.as_ref().map(|object| Answer::json(200, object)),
            _ => None,
        }
    });
    let approve = format!("approve {name} -n payments --kubeconfig config --key bob.pem --yes");
    let (_, err) = folder.expect(0, &approve, "");
    let written = written.lock().expect("no panic");
    assert_eq!(written.len(), 1, "{err}");
    let text = written[0]["data"]["approval.json"].as_str().expect("text");
    let envelope: Value = serde_json::from_str(text).expect("JSON");
    let signatures = envelope["signatures"].as_array().expect("a list").iter();
    signatures.map(|signature| signature["keyid"].as_str().expect("text").to_owned()).collect()
}

#[test]
fn a_conflict_keeps_nothing_that_no_reviewer_signed() {
    fn forged(keyid: &str) -> Value {
        json!({"keyid": keyid, "sig": BASE64.encode([7; 64])})
    }
    let theirs: [(&str, Theirs); 3] = [
        ("the same statement with forged signatures", |mut envelope| {
            let mut forgeries: Vec<Value> = (0..15).map(|number| forged(&format!("{number:x}").repeat(64))).collect();
            forgeries.push(forged(crate::reviews::CAROL));
            envelope["signatures"] = forgeries.into();
            envelope
        }),
        ("another statement that nobody signed", |mut envelope| {
            envelope["payload"] = BASE64.encode("{}").into();
            envelope
        }),
        ("no envelope", |_| json!("junk")),
    ];
    for (what, theirs) in theirs {
        let keys = keys_after_a_conflict(theirs);
        assert_eq!(keys, ["84f522c40a2df55aa12ecba9233cec2e5175f62b40afd195879c36f95a80d32b"], "{what}");
    }
}

#[test]
fn a_config_map_under_the_name_of_a_request_must_have_its_digest() {
    let folder = Folder::new();
    serve(&folder, |request| {
        if request.method == "POST" {
            return Some(status(409, "AlreadyExists"));
        }
        // What the name says, and another content.
        let name = request.path().rsplit('/').next().expect("a name");
        name.starts_with("request-").then(|| Answer::json(200, &config_map("request", name, "{}")))
    });
    let (_, err) = folder.expect(3, "request -f app.yaml -n payments --kubeconfig config", "");
    assert!(err.contains("exists and is not this request"), "{err}");
}
