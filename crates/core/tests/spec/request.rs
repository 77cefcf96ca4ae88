//! The vectors of request-v1.

use serde_json::{Value, json};
use writgate_core::{
    approval::{Approval, PostedRequest, Rejection},
    kube::ConfigMapContent,
};

use crate::spec::case::Case;

#[test]
fn every_vector_of_request_v1() {
    for case in Case::all("request-v1", 21) {
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
    let payload = case.text("payload").as_bytes();
    assert!(Approval::parse(payload).is_err(), "{}: a rejection is never an approval", case.name);
    let written: Value = serde_json::from_slice(&Rejection::parse(payload)?.to_payload()).expect("JSON");
    Ok(json!({"predicate": written["predicate"]}))
}
