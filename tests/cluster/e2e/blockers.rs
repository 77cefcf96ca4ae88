//! The six release blockers, each with a Deployment and a replay Job, on creation and on update.
//!
//! Every case is a near miss: one property of the approval is wrong, and with a correct approval the same object is admitted.

use serde_json::{Value, json};

use crate::e2e::trail::{Expected, assert_admitted, assert_denied};
use writgate_testing::harness::{Test, tests};
use writgate_testing::{Governed, Installation, Key, attach, envelope, seconds_from_now};

pub(crate) fn tests() -> Vec<Test<Installation>> {
    tests![
        denies_when_no_signature_is_by_a_known_key,
        denies_when_the_signature_is_over_something_else,
        denies_when_the_spec_changed_after_signing,
        denies_when_the_approval_names_another_environment,
        denies_when_the_approval_has_expired,
        denies_when_the_approval_lacks_the_capability,
        denies_when_the_reviewer_may_not_grant_the_capability,
    ]
}

/// Attaches an approval with one wrong property.
type Wrong = fn(&Governed<'_>, &Value) -> Value;

fn denies_when_no_signature_is_by_a_known_key(installation: &Installation) {
    everywhere(installation, "UnknownKey", |governed, object| {
        attach(object, &envelope(&governed.statement(object), &[&Key::new()]))
    });
}

fn denies_when_the_signature_is_over_something_else(installation: &Installation) {
    everywhere(installation, "InvalidSignature", |governed, object| {
        let right = governed.statement(object);
        let mut other = right.clone();
        other["predicate"]["reason"] = json!("CHG-1235");
        let mut signed: Value = serde_json::from_str(&envelope(&right, &[&governed.bob])).expect("JSON");
        let unsigned: Value = serde_json::from_str(&envelope(&other, &[])).expect("JSON");
        signed["payload"] = unsigned["payload"].clone();
        attach(object, &signed.to_string())
    });
}

fn denies_when_the_spec_changed_after_signing(installation: &Installation) {
    everywhere(installation, "SpecHashMismatch", |governed, object| {
        let mut approved = governed.approved(object);
        // The node selector can also be changed in a suspended Job.
        approved["spec"]["template"]["spec"]["nodeSelector"] = json!({"pool": "elsewhere"});
        approved
    });
}

fn denies_when_the_approval_names_another_environment(installation: &Installation) {
    everywhere(installation, "WrongEnvironment", |governed, object| {
        governed.approved_but(object, |statement| statement["predicate"]["environment"] = json!("staging"))
    });
}

fn denies_when_the_approval_has_expired(installation: &Installation) {
    everywhere(installation, "Expired", |governed, object| {
        governed.approved_but(object, |statement| statement["predicate"]["expiresAt"] = json!(seconds_from_now(-1)))
    });
}

fn denies_when_the_approval_lacks_the_capability(installation: &Installation) {
    everywhere(installation, "InsufficientCapabilities", |governed, object| {
        governed.approved_but(object, |statement| statement["predicate"]["capabilities"] = json!(["view"]))
    });
}

fn denies_when_the_reviewer_may_not_grant_the_capability(installation: &Installation) {
    everywhere(installation, "InsufficientCapabilities", |governed, object| {
        attach(object, &envelope(&governed.statement(object), &[&governed.limited]))
    });
}

fn everywhere(installation: &Installation, code: &str, wrong: Wrong) {
    let governed = installation.governed("blocker");
    let hint = code.to_lowercase();

    let name = format!("{hint}-created");
    near_miss(&governed, code, wrong, ("CREATE", "deploy"), &governed.deployment(&name));

    let name = format!("{hint}-changed");
    let mut changed = governed.deployment(&name);
    assert!(installation.operator.apply(&governed.approved(&changed)).ok());
    changed["spec"]["template"]["spec"]["containers"][0]["image"] = json!("ghcr.io/acme/orders:1.5.0");
    near_miss(&governed, code, wrong, ("UPDATE", "deploy"), &changed);

    let name = format!("{hint}-job");
    near_miss(&governed, code, wrong, ("CREATE", "replay-execute"), &governed.replay_job(&name));

    // The template of a running Job cannot change, so the update is the resumption of a suspended Job.
    let name = format!("{hint}-held");
    let mut started = governed.replay_job(&name);
    started["spec"]["suspend"] = json!(true);
    let ran = installation.operator.apply(&governed.approved(&started));
    assert!(ran.ok(), "{ran}");
    started["spec"]["suspend"] = json!(false);
    near_miss(&governed, code, wrong, ("UPDATE", "replay-execute"), &started);
}

fn near_miss(governed: &Governed<'_>, code: &str, wrong: Wrong, (operation, action): (&str, &str), object: &Value) {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let (kind, name) = (text(&object["kind"]), text(&object["metadata"]["name"]));
    let operator = &governed.installation.operator;

    let denied = wrong(governed, object);
    let hash = governed.installation.hash(&denied);
    let expected = Expected { operation, action, kind: &kind, name: &name, hash: &hash };
    assert_denied(governed, &operator.apply(&denied), code, &expected);

    let right = governed.approved(object);
    let hash = governed.installation.hash(&right);
    let expected = Expected { hash: &hash, ..expected };
    assert_admitted(governed, &operator.apply(&right), &expected);
}
