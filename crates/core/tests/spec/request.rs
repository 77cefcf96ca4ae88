//! The vectors of request-v1.

use serde_json::{Value, json};
use writgate_core::{
    approval::{Approval, Envelope, PostedRequest, Rejection},
    kube::ConfigMapContent,
};

use crate::spec::case::Case;

#[test]
fn every_vector_of_request_v1() {
    for case in Case::all("request-v1", 27) {
        let found = if case.name.starts_with("posted-") { posted(&case) } else { rejection(&case) };
        assert_eq!(found.unwrap_or_else(|_| json!({"refused": true})), *case.expect(), "{}", case.name);
    }
}

fn posted(case: &Case) -> Result<Value, String> {
    let content = ConfigMapContent::of(&case.value["configMap"])?;
    let posted = PostedRequest::of(case.text("namespace"), case.text("name"), &content)?;
    Ok(json!({"digest": posted.digest.to_string(), "approvalName": posted.digest.approval_name()}))
}

fn rejection(case: &Case) -> Result<Value, String> {
    let envelope = case.value["envelope"].as_str();
    let read = envelope.map(|text| Envelope::parse(text).expect("an envelope"));
    let payload = read.as_ref().map_or_else(|| case.text("payload").as_bytes(), Envelope::payload);
    assert!(Approval::parse(payload).is_err(), "{}: a rejection is never an approval", case.name);
    let rejection = Rejection::parse(payload)?;
    let written: Value = serde_json::from_slice(&rejection.to_payload()).expect("JSON");
    let mut found = json!({"predicate": written["predicate"]});
    if let Some(text) = envelope {
        found["name"] = rejection.request.rejection_name(text).into();
    }
    Ok(found)
}
