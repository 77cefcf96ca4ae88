//! Generated names and long names.

use serde_json::json;

use crate::e2e::trail::{Expected, assert_admitted, assert_denied};
use writgate_testing::Installation;
use writgate_testing::harness::{Test, tests};

pub(crate) fn tests() -> Vec<Test<Installation>> {
    tests![an_approval_for_a_prefix_admits_only_generated_names, names_of_240_characters_are_recorded_in_full]
}

fn an_approval_for_a_prefix_admits_only_generated_names(installation: &Installation) {
    let governed = installation.governed("generated");
    let mut job = governed.replay_job("replay-");
    let metadata = job["metadata"].as_object_mut().expect("an object");
    metadata.remove("name");
    metadata.insert("generateName".to_owned(), json!("replay-"));
    let hash = installation.hash(&job);
    let expected =
        Expected { operation: "CREATE", action: "replay-execute", kind: "Job", name: "replay-", hash: &hash };
    assert_denied(&governed, &installation.operator.create(&job), "ApprovalRequired", &expected);
    let approved = governed.approved(&job);
    let record = assert_admitted(&governed, &installation.operator.create(&approved), &expected);
    let name = record["object"]["name"].as_str().expect("a name");
    assert_eq!(name.len(), "replay-".len() + 5, "expected the generated name: {name}");

    // The same approval with a chosen name that looks generated.
    let mut chosen = approved;
    let metadata = chosen["metadata"].as_object_mut().expect("an object");
    metadata.remove("generateName");
    metadata.insert("name".to_owned(), json!("replay-bcdfg"));
    let expected = Expected { name: "replay-bcdfg", ..expected };
    assert_denied(&governed, &installation.operator.create(&chosen), "WrongResource", &expected);
}

fn names_of_240_characters_are_recorded_in_full(installation: &Installation) {
    let governed = installation.governed("long");
    let name = "n".repeat(240);
    let object = governed.deployment(&name);
    let hash = installation.hash(&object);
    let expected = Expected { operation: "CREATE", action: "deploy", kind: "Deployment", name: &name, hash: &hash };
    let record = assert_denied(&governed, &installation.operator.apply(&object), "ApprovalRequired", &expected);
    assert_eq!(record["object"]["name"], name.as_str());
    let record = assert_admitted(&governed, &installation.operator.apply(&governed.approved(&object)), &expected);
    assert_eq!(record["object"]["name"], name.as_str());
}
