//! Approvals for other objects, places or times, and forged, malformed, oversized or repeated approvals.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde_json::{Value, json};

use crate::bypass::case::{EVIL, TenantNamespace, with_image};
use writgate_testing::harness::{Test, tests};
use writgate_testing::{APPROVAL, Installation, Key, attach, document, envelope, seconds_from_now, wait_until};

pub(crate) fn tests() -> Vec<Test<Installation>> {
    tests![
        denies_another_objects_approval,
        denies_an_approval_for_another_cluster_environment_or_object,
        denies_an_approval_outside_its_validity,
        denies_capabilities_that_the_reviewer_may_not_grant,
        denies_a_quorum_met_by_one_person,
        limits_the_signatures_that_are_checked,
        denies_malformed_envelopes,
        denies_forged_signatures,
        one_valid_approval_of_several_admits,
        denies_oversized_approvals,
        denies_an_approval_for_a_prefix_on_other_names,
    ]
}

fn denies_another_objects_approval(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "carried");
    ns.runs(&ns.deployment("orders"));
    let mut other = ns.deployment("other");
    other["spec"]["template"]["spec"]["containers"][0]["image"] = json!(EVIL);
    let patch = |approval: &str| {
        json!([{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": EVIL},
            {"op": "add", "path": "/metadata/annotations/writgate.dev~1approval", "value": approval}])
    };
    let copied = ns.signed_but(&other, |_| {});
    ns.row(5, "JSON patch of image and approval together; the approval is another object's, for the same spec")
        .patch("deployment/orders", "json", &patch(&copied))
        .denied("WrongResource");
    let copied = ns.signed_but(&ns.deployment("other"), |_| {});
    ns.row(5, "JSON patch of image and approval together; the approval is for another spec")
        .patch("deployment/orders", "json", &patch(&copied))
        .denied("SpecHashMismatch");
}

fn denies_an_approval_for_another_cluster_environment_or_object(installation: &Installation) {
    let ns = TenantNamespace::with(installation, "place", |posture| posture["cluster"] = json!("prod-eu-1"));
    let orders = ns.deployment("orders");
    let try_it = |attempt: &str, code: &str, wrong: &dyn Fn(&mut Value)| {
        let approval = ns.signed_but(&orders, |statement| {
            statement["predicate"]["cluster"] = json!("prod-eu-1");
            wrong(statement);
        });
        ns.row(55, format!("an approval {attempt}")).apply(&attach(&orders, &approval)).denied(code);
    };
    let subject = |name: &str| {
        let name = name.replace("NAMESPACE", &ns.namespace);
        move |statement: &mut Value| statement["subject"][0]["name"] = json!(name)
    };
    let claim = |key: &'static str, value: &'static str| {
        move |statement: &mut Value| statement["predicate"][key] = json!(value)
    };
    try_it("for another cluster", "WrongCluster", &claim("cluster", "prod-us-1"));
    try_it("for no cluster", "WrongCluster", &|statement| {
        statement["predicate"].as_object_mut().expect("an object").remove("cluster");
    });
    try_it("for another environment", "WrongEnvironment", &claim("environment", "staging"));
    try_it("for another project", "WrongProject", &claim("project", "billing"));
    try_it("for another namespace", "WrongResource", &subject("apps/v1/Deployment/elsewhere/orders"));
    try_it("for another name", "WrongResource", &subject("apps/v1/Deployment/NAMESPACE/other"));
    try_it("for another kind", "WrongResource", &subject("apps/v1/StatefulSet/NAMESPACE/orders"));
    try_it("for another action", "WrongAction", &claim("action", "replay-dry-run"));
}

fn denies_an_approval_outside_its_validity(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "time");
    let orders = ns.deployment("orders");
    let try_it = |attempt: &str, code: &str, not_before: Value, expires_at: Value| {
        let approval = ns.signed_but(&orders, |statement| {
            statement["predicate"]["notBefore"] = not_before;
            statement["predicate"]["expiresAt"] = expires_at;
        });
        ns.row(56, format!("an approval {attempt}")).apply(&attach(&orders, &approval)).denied(code);
    };
    let at = |seconds| json!(seconds_from_now(seconds));
    try_it("that has expired", "Expired", at(-3600), at(-1));
    try_it("that is not valid yet", "NotYetValid", at(60), at(3600));
    try_it("that is valid for longer than the posture permits", "LifetimeTooLong", at(-60), at(86_401));
    try_it("that is valid until the year 9998", "LifetimeTooLong", at(-60), json!("9998-12-31T23:59:59Z"));
    try_it(
        "that is valid until the last second of the year 9999",
        "MalformedApproval",
        at(-60),
        json!("9999-12-31T23:59:59Z"),
    );
    try_it("without `notBefore`", "MalformedApproval", Value::Null, at(3600));
    try_it("that ends before it begins", "MalformedApproval", at(3600), at(-60));
    try_it("with an offset instead of `Z`", "MalformedApproval", at(-60), json!("2099-01-01T00:00:00+00:00"));
}

fn denies_capabilities_that_the_reviewer_may_not_grant(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "capabilities");
    let orders = ns.deployment("orders");
    let by_lenny = |capabilities: Value| {
        let mut statement = ns.statement(&orders);
        statement["predicate"]["capabilities"] = capabilities;
        attach(&orders, &envelope(&statement, &[&ns.limited]))
    };
    let by_bob = |capabilities: Value| {
        let wrong = |statement: &mut Value| statement["predicate"]["capabilities"] = capabilities;
        attach(&orders, &ns.signed_but(&orders, wrong))
    };
    let denied = |attempt, object: &Value, code| ns.row(57, attempt).apply(object).denied(code);
    denied(
        "an approval with capabilities that the reviewer may not grant",
        &by_lenny(json!(["deploy"])),
        "InsufficientCapabilities",
    );
    denied(
        "an approval with more capabilities than the reviewer may grant",
        &by_lenny(json!(["view", "deploy"])),
        "InsufficientCapabilities",
    );
    denied("an approval with an unknown capability", &by_bob(json!(["everything"])), "InsufficientCapabilities");
    denied("an approval with the wildcard `deploy.*`", &by_bob(json!(["deploy.*"])), "InsufficientCapabilities");
    denied("an approval with the wildcard `*`", &by_bob(json!(["*"])), "InsufficientCapabilities");
    denied("an approval without capabilities", &by_bob(json!([])), "InsufficientCapabilities");
}

fn denies_a_quorum_met_by_one_person(installation: &Installation) {
    let ns = TenantNamespace::with(installation, "quorum", |posture| {
        posture["actions"] = json!({"deploy": {"quorum": [{"count": 2}]}});
    });
    // Carol has two keys.
    let second = Key::new();
    let reviewers = json!({"apiVersion": "writgate.dev/v1", "kind": "Reviewers", "reviewers": [
        {"name": "bob@acme.example", "capabilities": ["deploy"], "identities": ["bob"],
         "keys": [{"publicKey": ns.bob.public_pem()}]},
        {"name": "carol@acme.example", "capabilities": ["deploy"], "identities": ["carol"],
         "keys": [{"publicKey": ns.carol.public_pem()}, {"publicKey": second.public_pem()}]}]});
    let name = format!("reviewers-{}", ns.environment);
    installation.plane.install(&[document("reviewers", &name, &reviewers)]);
    let orders = ns.deployment("orders");
    let statement = ns.statement(&orders);
    let signed = |keys: &[&Key]| attach(&orders, &envelope(&statement, keys));
    let both = signed(&[&ns.bob, &second]).to_string();
    wait_until("Carol's second key is known", crate::bypass::case::PATIENCE, || {
        installation.operator.kubectl_in(&["apply", "--dry-run=server", "-f", "-"], &both).ok().then_some(())
    });
    let denied = |attempt, object: &Value| ns.row(58, attempt).apply(object).denied("QuorumNotMet");
    denied("one signature if the quorum is two people", &signed(&[&ns.bob]));
    denied("two signatures by one key", &signed(&[&ns.bob, &ns.bob]));
    denied("two signatures by two keys of one person", &signed(&[&ns.carol, &second]));
    let mut renamed: Value = serde_json::from_str(&envelope(&statement, &[&ns.bob, &ns.bob])).expect("JSON");
    renamed["signatures"][1]["keyid"] = json!("another-name");
    denied("two signatures by one key under two key ids", &attach(&orders, &renamed.to_string()));
    let mut twice = signed(&[&ns.bob]);
    twice["metadata"]["annotations"][format!("{APPROVAL}.again")] = twice["metadata"]["annotations"][APPROVAL].clone();
    denied("one person's approval attached twice", &twice);
    ns.row(58, "signatures by two people").apply(&signed(&[&ns.bob, &ns.carol])).admitted();
}

fn limits_the_signatures_that_are_checked(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "many");
    let orders = ns.deployment("orders");
    let statement = ns.statement(&orders);
    let strangers: Vec<Key> = (0..16).map(|_| Key::new()).collect();
    let with = |count: usize| {
        let keys: Vec<&Key> = strangers[..count].iter().chain([&ns.bob]).collect();
        attach(&orders, &envelope(&statement, &keys))
    };
    ns.row(59, "a valid signature after sixteen by unknown keys").apply(&with(16)).denied("MalformedApproval");
    // A signature by an unknown key is tried with every key of the environment, within the request's budget of checks.
    ns.row(59, "a valid signature after fifteen by unknown keys").apply(&with(15)).denied("MalformedApproval");
    ns.row(59, "a valid signature after eight by unknown keys").apply(&with(8)).admitted();
}

fn denies_malformed_envelopes(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "shape");
    let orders = ns.deployment("orders");
    let good = ns.signed_but(&orders, |_| {});
    let parsed: Value = serde_json::from_str(&good).expect("JSON");
    let edited = |edit: &dyn Fn(&mut Value)| {
        let mut envelope = parsed.clone();
        edit(&mut envelope);
        envelope.to_string()
    };
    let denied = |attempt, envelope: &str, code| ns.row(60, attempt).apply(&attach(&orders, envelope)).denied(code);
    let twice = |key: &str| good.replacen('{', &format!("{{\"{key}\": {}, ", parsed[key]), 1);
    denied("an envelope with two `payload` keys", &twice("payload"), "MalformedApproval");
    denied("an envelope with two `signatures` keys", &twice("signatures"), "MalformedApproval");
    let url_safe = edited(&|envelope| {
        let bytes = STANDARD.decode(envelope["payload"].as_str().expect("text")).expect("base64");
        // The two alphabets encode six ones differently, and three bytes of ones contain them wherever they begin.
        let bytes = [&bytes[..], &[0xff; 3]].concat();
        envelope["payload"] = json!(URL_SAFE.encode(bytes));
    });
    denied("an envelope with URL-safe base64", &url_safe, "MalformedApproval");
    denied(
        "an envelope with another payload type",
        &edited(&|envelope| envelope["payloadType"] = json!("text/plain")),
        "MalformedApproval",
    );
    denied("two envelopes in one annotation", &format!("{good}{good}"), "MalformedApproval");
    denied(
        "an envelope without signatures",
        &edited(&|envelope| envelope["signatures"] = json!([])),
        "MalformedApproval",
    );
    denied("an annotation that is not JSON", "approved", "MalformedApproval");
    let again = ns.signed_but(&orders, |statement| statement["predicate"]["critical"] = json!(true));
    denied("an unknown field in the signed payload", &again, "MalformedApproval");
    let unknown = edited(&|envelope| envelope["comment"] = json!("unsigned"));
    ns.row(60, "an unknown field in the envelope, which DSSE ignores").apply(&attach(&orders, &unknown)).admitted();
}

fn denies_forged_signatures(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "forged");
    let orders = ns.deployment("orders");
    let good: Value = serde_json::from_str(&ns.signed_but(&orders, |_| {})).expect("JSON");
    let bytes = STANDARD.decode(good["signatures"][0]["sig"].as_str().expect("text")).expect("base64");
    let denied = |attempt, signature: &[u8], code| {
        let mut forged = good.clone();
        forged["signatures"][0]["sig"] = json!(STANDARD.encode(signature));
        ns.row(61, attempt).apply(&attach(&orders, &forged.to_string())).denied(code);
    };
    denied("a malleated signature (S + L)", &malleated(&bytes), "InvalidSignature");
    denied("a signature of zeros", &[0; 64], "InvalidSignature");
    denied("a signature that is one byte short", &bytes[..63], "InvalidSignature");
    let stranger = envelope(&ns.statement(&orders), &[&Key::new()]);
    ns.row(61, "a signature by an unknown key").apply(&attach(&orders, &stranger)).denied("UnknownKey");
    let mut named: Value = serde_json::from_str(&stranger).expect("JSON");
    named["signatures"][0]["keyid"] = json!(ns.bob.id());
    ns.row(61, "a signature by an unknown key under a reviewer's key id")
        .apply(&attach(&orders, &named.to_string()))
        .denied("InvalidSignature");
}

/// The signature with the group's order added to its scalar. A lax verifier accepts both.
fn malleated(signature: &[u8]) -> Vec<u8> {
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let (point, scalar) = signature.split_at(32);
    let mut carry = 0;
    let added = scalar.iter().zip(ORDER).map(|(&byte, order)| {
        let sum = u16::from(byte) + u16::from(order) + carry;
        carry = sum >> 8;
        sum.to_le_bytes()[0]
    });
    point.iter().copied().chain(added.collect::<Vec<_>>()).collect()
}

fn one_valid_approval_of_several_admits(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "several");
    let bad = envelope(&ns.statement(&ns.deployment("other")), &[&Key::new()]);
    for (name, attempt, first, second) in
        [("one", "a valid approval and a bad one", true, false), ("two", "a bad approval and a valid one", false, true)]
    {
        let object = ns.deployment(name);
        let good = ns.signed_but(&object, |_| {});
        let text = |is_good: bool| if is_good { good.clone() } else { bad.clone() };
        let mut object = attach(&object, &text(first));
        object["metadata"]["annotations"][format!("{APPROVAL}.second")] = json!(text(second));
        ns.row(63, attempt).apply(&object).admitted();
    }
    let orders = ns.deployment("orders");
    let mut object = attach(&orders, &ns.signed_but(&orders, |_| {}));
    for suffix in 2..=9 {
        object["metadata"]["annotations"][format!("{APPROVAL}.{suffix}")] = json!(bad);
    }
    ns.row(63, "a valid approval and eight bad ones").apply(&object).denied("MalformedApproval");
}

fn denies_oversized_approvals(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "large");
    let orders = ns.deployment("orders");
    let padded = |bytes: usize| {
        let good = ns.signed_but(&orders, |_| {});
        attach(&orders, &good.replacen('{', &format!("{{\"padding\": \"{}\", ", "x".repeat(bytes)), 1))
    };
    ns.row(64, "an approval of more than 32 KiB").create(&padded(33_000)).denied("MalformedApproval");
    ns.row(64, "annotations of more than 256 KiB").create(&padded(270_000)).refused("Invalid");
}

fn denies_an_approval_for_a_prefix_on_other_names(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "generated");
    let mut generated = ns.deployment("orders-");
    let metadata = generated["metadata"].as_object_mut().expect("an object");
    metadata.remove("name");
    metadata.insert("generateName".to_owned(), json!("orders-"));
    let approval = ns.signed_but(&generated, |_| {});
    let named = |name: &str| attach(&ns.deployment(name), &approval);
    let denied = |attempt, object: &Value| ns.row(90, attempt).create(object).denied("WrongResource");
    denied("an approval for a generated name, used for a chosen name that looks generated", &named("orders-bcdfg"));
    denied("an approval for a generated name, used for a longer prefix", &named("orders-evil-bcdfg"));
    let mut longer = attach(&generated, &approval);
    longer["metadata"]["generateName"] = json!("orders-evil-");
    denied("an approval for a generated name, used for a longer `generateName`", &longer);
    ns.runs(&with_image(&ns.deployment("orders-bcdfg"), EVIL));
    ns.row(90, "an approval for a generated name, used for an update")
        .apply(&named("orders-bcdfg"))
        .denied("WrongResource");
}
