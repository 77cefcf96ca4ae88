//! The vectors of record-v1.

use serde_json::{Value, json};
use writgate_core::{
    approval::PublicKey,
    record::{ChainVerifier, Checkpoint},
};

use crate::spec::case::Case;

/// Findings in a fixed order.
fn sorted(findings: &Value) -> Vec<String> {
    let mut findings: Vec<_> = findings.as_array().expect("a list").iter().map(Value::to_string).collect();
    findings.sort();
    findings
}

#[test]
fn every_vector_of_record_v1() {
    for case in Case::all("record-v1", 61) {
        let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{}: {value}", case.name)).to_owned();
        let keys = case.list("keys").iter().map(|pem| PublicKey::from_pem(&text(pem)).expect("a key"));
        let mut verifier = ChainVerifier::new(keys);
        for checkpoint in case.list("checkpoints") {
            let (checkpoint, key) = Checkpoint::parse(&checkpoint.to_string()).expect("a checkpoint");
            verifier = verifier.with_checkpoint(&checkpoint, key);
        }
        for line in case.list("lines") {
            verifier.add(&text(line));
        }
        let report = serde_json::to_value(verifier.finish()).expect("JSON");
        let expect = case.expect();
        assert_eq!(sorted(&report["findings"]), sorted(&expect["findings"]), "{}", case.name);
        let chains = report["chains"].as_array().expect("a list").iter();
        let chains = chains.map(|chain| {
            let mut found = json!({"writer": chain["writer"], "links": chain["links"], "copies": chain["copies"]});
            if chain["notYetSealed"] != 0 {
                found["notYetSealed"] = chain["notYetSealed"].clone();
            }
            found
        });
        assert_eq!(chains.collect::<Value>(), expect["chains"], "{}", case.name);
    }
}
