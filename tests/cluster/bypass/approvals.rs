//! Approvals that are somebody else's, out of date, forged, too many or misshapen.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde_json::{Value, json};

use crate::bypass::case::{EVIL, Ground, with_image};
use writgate_testing::harness::{Test, tests};
use writgate_testing::{APPROVAL, Gate, Key, attach, document, envelope, seconds_from_now, wait_until};

pub(crate) fn tests() -> Vec<Test<Gate>> {
    tests![
        carried_from_another_object,
        for_another_place,
        for_another_time,
        for_more_than_one_may_grant,
        one_person_as_two,
        many_signatures,
        misshapen_envelopes,
        forged_signatures,
        several_approvals,
        too_large,
        generated_names,
    ]
}

fn carried_from_another_object(gate: &Gate) {
    let ground = Ground::new(gate, "carried");
    ground.runs(&ground.deployment("orders"));
    let mut other = ground.deployment("other");
    other["spec"]["template"]["spec"]["containers"][0]["image"] = json!(EVIL);
    let patch = |approval: &str| {
        json!([{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": EVIL},
            {"op": "add", "path": "/metadata/annotations/writgate.dev~1approval", "value": approval}])
    };
    let copied = ground.signed_but(&other, |_| {});
    ground
        .row(5, "JSON patch of image and approval together; the approval is another object's, for the same spec")
        .patch("deployment/orders", "json", &patch(&copied))
        .denied("WrongResource");
    let copied = ground.signed_but(&ground.deployment("other"), |_| {});
    ground
        .row(5, "JSON patch of image and approval together; the approval is for another spec")
        .patch("deployment/orders", "json", &patch(&copied))
        .denied("SpecHashMismatch");
}

fn for_another_place(gate: &Gate) {
    let ground = Ground::with(gate, "place", |posture| posture["cluster"] = json!("prod-eu-1"));
    let orders = ground.deployment("orders");
    let try_it = |attempt: &str, code: &str, wrong: &dyn Fn(&mut Value)| {
        let approval = ground.signed_but(&orders, |statement| {
            statement["predicate"]["cluster"] = json!("prod-eu-1");
            wrong(statement);
        });
        ground.row(55, format!("an approval {attempt}")).apply(&attach(&orders, &approval)).denied(code);
    };
    let subject = |name: &str| {
        let name = name.replace("NAMESPACE", &ground.namespace);
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

fn for_another_time(gate: &Gate) {
    let ground = Ground::new(gate, "time");
    let orders = ground.deployment("orders");
    let try_it = |attempt: &str, code: &str, not_before: Value, expires_at: Value| {
        let approval = ground.signed_but(&orders, |statement| {
            statement["predicate"]["notBefore"] = not_before;
            statement["predicate"]["expiresAt"] = expires_at;
        });
        ground.row(56, format!("an approval {attempt}")).apply(&attach(&orders, &approval)).denied(code);
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

fn for_more_than_one_may_grant(gate: &Gate) {
    let ground = Ground::new(gate, "capabilities");
    let orders = ground.deployment("orders");
    let by_lenny = |capabilities: Value| {
        let mut statement = ground.statement(&orders);
        statement["predicate"]["capabilities"] = capabilities;
        attach(&orders, &envelope(&statement, &[&ground.limited]))
    };
    let by_bob = |capabilities: Value| {
        let wrong = |statement: &mut Value| statement["predicate"]["capabilities"] = capabilities;
        attach(&orders, &ground.signed_but(&orders, wrong))
    };
    let denied = |attempt, object: &Value, code| ground.row(57, attempt).apply(object).denied(code);
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

fn one_person_as_two(gate: &Gate) {
    let ground = Ground::with(gate, "quorum", |posture| {
        posture["actions"] = json!({"deploy": {"quorum": [{"count": 2}]}});
    });
    // Carol gets a second key of her own.
    let second = Key::new();
    let reviewers = json!({"apiVersion": "writgate.dev/v1", "kind": "Reviewers", "reviewers": [
        {"name": "bob@acme.example", "capabilities": ["deploy"], "identities": ["bob"],
         "keys": [{"publicKey": ground.bob.public_pem()}]},
        {"name": "carol@acme.example", "capabilities": ["deploy"], "identities": ["carol"],
         "keys": [{"publicKey": ground.carol.public_pem()}, {"publicKey": second.public_pem()}]}]});
    let name = format!("reviewers-{}", ground.environment);
    gate.plane.install(&[document("reviewers", &name, &reviewers)]);
    let orders = ground.deployment("orders");
    let statement = ground.statement(&orders);
    let signed = |keys: &[&Key]| attach(&orders, &envelope(&statement, keys));
    let both = signed(&[&ground.bob, &second]).to_string();
    wait_until("Carol's second key is known", crate::bypass::case::PATIENCE, || {
        gate.operator.kubectl_in(&["apply", "--dry-run=server", "-f", "-"], &both).ok().then_some(())
    });
    let denied = |attempt, object: &Value| ground.row(58, attempt).apply(object).denied("QuorumNotMet");
    denied("one signature if the quorum is two people", &signed(&[&ground.bob]));
    denied("two signatures by one key", &signed(&[&ground.bob, &ground.bob]));
    denied("two signatures by two keys of one person", &signed(&[&ground.carol, &second]));
    let mut renamed: Value = serde_json::from_str(&envelope(&statement, &[&ground.bob, &ground.bob])).expect("JSON");
    renamed["signatures"][1]["keyid"] = json!("another-name");
    denied("two signatures by one key under two key ids", &attach(&orders, &renamed.to_string()));
    let mut twice = signed(&[&ground.bob]);
    twice["metadata"]["annotations"][format!("{APPROVAL}.again")] = twice["metadata"]["annotations"][APPROVAL].clone();
    denied("one person's approval attached twice", &twice);
    ground.row(58, "signatures by two people").apply(&signed(&[&ground.bob, &ground.carol])).admitted();
}

fn many_signatures(gate: &Gate) {
    let ground = Ground::new(gate, "many");
    let orders = ground.deployment("orders");
    let statement = ground.statement(&orders);
    let strangers: Vec<Key> = (0..16).map(|_| Key::new()).collect();
    let with = |count: usize| {
        let keys: Vec<&Key> = strangers[..count].iter().chain([&ground.bob]).collect();
        attach(&orders, &envelope(&statement, &keys))
    };
    ground.row(59, "a valid signature after sixteen by unknown keys").apply(&with(16)).denied("MalformedApproval");
    // Each is tried against every key of the environment, as long as the request's budget of checks lasts.
    ground.row(59, "a valid signature after fifteen by unknown keys").apply(&with(15)).denied("MalformedApproval");
    ground.row(59, "a valid signature after eight by unknown keys").apply(&with(8)).admitted();
}

fn misshapen_envelopes(gate: &Gate) {
    let ground = Ground::new(gate, "shape");
    let orders = ground.deployment("orders");
    let good = ground.signed_but(&orders, |_| {});
    let parsed: Value = serde_json::from_str(&good).expect("JSON");
    let edited = |edit: &dyn Fn(&mut Value)| {
        let mut envelope = parsed.clone();
        edit(&mut envelope);
        envelope.to_string()
    };
    let denied = |attempt, envelope: &str, code| ground.row(60, attempt).apply(&attach(&orders, envelope)).denied(code);
    let twice = |key: &str| good.replacen('{', &format!("{{\"{key}\": {}, ", parsed[key]), 1);
    denied("an envelope with two `payload` keys", &twice("payload"), "MalformedApproval");
    denied("an envelope with two `signatures` keys", &twice("signatures"), "MalformedApproval");
    let url_safe = edited(&|envelope| {
        let bytes = STANDARD.decode(envelope["payload"].as_str().expect("text")).expect("base64");
        // Something in it must be written otherwise in the other alphabet.
        let bytes = [&bytes[..], b"  \xef\xbf\xbf"].concat();
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
    let again = ground.signed_but(&orders, |statement| statement["predicate"]["critical"] = json!(true));
    denied("an unknown field in the signed payload", &again, "MalformedApproval");
    let unknown = edited(&|envelope| envelope["comment"] = json!("unsigned"));
    ground.row(60, "an unknown field in the envelope, which DSSE ignores").apply(&attach(&orders, &unknown)).admitted();
}

fn forged_signatures(gate: &Gate) {
    let ground = Ground::new(gate, "forged");
    let orders = ground.deployment("orders");
    let good: Value = serde_json::from_str(&ground.signed_but(&orders, |_| {})).expect("JSON");
    let bytes = STANDARD.decode(good["signatures"][0]["sig"].as_str().expect("text")).expect("base64");
    let denied = |attempt, signature: &[u8], code| {
        let mut forged = good.clone();
        forged["signatures"][0]["sig"] = json!(STANDARD.encode(signature));
        ground.row(61, attempt).apply(&attach(&orders, &forged.to_string())).denied(code);
    };
    denied("a malleated signature (S + L)", &malleated(&bytes), "InvalidSignature");
    denied("a signature of zeros", &[0; 64], "InvalidSignature");
    denied("a signature that is one byte short", &bytes[..63], "InvalidSignature");
    let stranger = envelope(&ground.statement(&orders), &[&Key::new()]);
    ground.row(61, "a signature by an unknown key").apply(&attach(&orders, &stranger)).denied("UnknownKey");
    let mut named: Value = serde_json::from_str(&stranger).expect("JSON");
    named["signatures"][0]["keyid"] = json!(ground.bob.id());
    ground
        .row(61, "a signature by an unknown key under a reviewer's key id")
        .apply(&attach(&orders, &named.to_string()))
        .denied("InvalidSignature");
}

/// The same signature with the group's order added to its scalar: lax verification takes both.
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

fn several_approvals(gate: &Gate) {
    let ground = Ground::new(gate, "several");
    let bad = envelope(&ground.statement(&ground.deployment("other")), &[&Key::new()]);
    for (name, attempt, first, second) in
        [("one", "a valid approval and a bad one", true, false), ("two", "a bad approval and a valid one", false, true)]
    {
        let object = ground.deployment(name);
        let good = ground.signed_but(&object, |_| {});
        let text = |is_good: bool| if is_good { good.clone() } else { bad.clone() };
        let mut object = attach(&object, &text(first));
        object["metadata"]["annotations"][format!("{APPROVAL}.second")] = json!(text(second));
        ground.row(63, attempt).apply(&object).admitted();
    }
    let orders = ground.deployment("orders");
    let mut object = attach(&orders, &ground.signed_but(&orders, |_| {}));
    for suffix in 2..=9 {
        object["metadata"]["annotations"][format!("{APPROVAL}.{suffix}")] = json!(bad);
    }
    ground.row(63, "a valid approval and eight bad ones").apply(&object).denied("MalformedApproval");
}

fn too_large(gate: &Gate) {
    let ground = Ground::new(gate, "large");
    let orders = ground.deployment("orders");
    let padded = |bytes: usize| {
        let good = ground.signed_but(&orders, |_| {});
        attach(&orders, &good.replacen('{', &format!("{{\"padding\": \"{}\", ", "x".repeat(bytes)), 1))
    };
    ground.row(64, "an approval of more than 32 KiB").create(&padded(33_000)).denied("MalformedApproval");
    ground.row(64, "annotations of more than 256 KiB").create(&padded(270_000)).refused("Invalid");
}

fn generated_names(gate: &Gate) {
    let ground = Ground::new(gate, "generated");
    let mut generated = ground.deployment("orders-");
    let metadata = generated["metadata"].as_object_mut().expect("an object");
    metadata.remove("name");
    metadata.insert("generateName".to_owned(), json!("orders-"));
    let approval = ground.signed_but(&generated, |_| {});
    let named = |name: &str| attach(&ground.deployment(name), &approval);
    let denied = |attempt, object: &Value| ground.row(90, attempt).create(object).denied("WrongResource");
    denied("an approval for a generated name, used for a chosen name that looks generated", &named("orders-bcdfg"));
    denied("an approval for a generated name, used for a longer prefix", &named("orders-evil-bcdfg"));
    let mut longer = attach(&generated, &approval);
    longer["metadata"]["generateName"] = json!("orders-evil-");
    denied("an approval for a generated name, used for a longer `generateName`", &longer);
    ground.runs(&with_image(&ground.deployment("orders-bcdfg"), EVIL));
    ground
        .row(90, "an approval for a generated name, used for an update")
        .apply(&named("orders-bcdfg"))
        .denied("WrongResource");
}
