//! What the record of a decision says of the request.

use crate::decision::case::Case;

#[test]
fn a_record_names_the_request_and_its_object() {
    let record = Case::deployment().decide().record;
    assert_eq!(record.request_uid.as_deref(), Some("86048ed0-0422-4d04-bdcd-a1cfb1b9cab6"));
    assert_eq!(record.operation.as_deref(), Some("CREATE"));
    assert!(!record.dry_run);
    assert_eq!(record.initiator.expect("an initiator").username, "alice");
    let object = record.object.expect("an object");
    assert_eq!(
        (&*object.api_version, &*object.kind, &*object.namespace, &*object.name, object.uid.as_deref()),
        ("apps/v1", "Deployment", "payments", "orders", Some("873ee009"))
    );
}

#[test]
fn a_name_that_the_api_server_has_still_to_generate_ends_in_a_star() {
    let recorded = |name: &str, generate_name: &str| {
        let case = Case::replay().with(|c| {
            c.request["name"] = "".into();
            c.object()["metadata"]["name"] = name.into();
            c.object()["metadata"]["generateName"] = generate_name.into();
        });
        case.decide().record.object.expect("an object").name
    };
    assert_eq!(recorded("", "replay-"), "replay-*");
    assert_eq!(recorded("replay-1", "replay-"), "replay-1");
    assert_eq!(recorded("", ""), "");
}
