//! Reviewers: keys that cannot be trusted, and names that stand for two people.

use serde_json::json;

use super::*;

#[test]
fn refuses_an_invalid_key_or_grant() {
    let key = |der: &[u8]| {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        json!(format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der)))
    };
    let ed25519 = |point: [u8; 32]| {
        let prefix = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
        key(&[prefix.as_slice(), &point].concat())
    };
    let mut identity = [0; 32];
    identity[0] = 1;
    let mut beyond_the_field = [0xff; 32]; // y = 2^255 - 19 + 1, which is 1 again
    beyond_the_field[0] = 0xee;
    beyond_the_field[31] = 0x7f;
    let x25519 =
        [&[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x6e, 0x03, 0x21, 0x00], [7; 32].as_slice()].concat();
    let bob = value(REVIEWERS)["reviewers"][0]["keys"][0]["publicKey"].as_str().unwrap().to_owned();
    for (new, message) in [
        (ed25519(identity), "weak"),
        (ed25519([0; 32]), "weak"),
        (ed25519(beyond_the_field), ""),
        (key(&x25519), "X25519"),
        (key(&[0x30, 0x00]), "SubjectPublicKeyInfo"),
        (json!(bob.replace("PUBLIC", "PRIVATE")), "PRIVATE KEY"),
        (json!(format!("{bob}{bob}")), "more than one"),
        (json!("MCowBQYDK2VwAyEA7MG1hyfz8SsxlIgansud4LKM57IHIw2Okw/hvOdeJWw="), "not a PEM block"),
        (json!(bob.replace("7MG1", "7M")), ""),
    ] {
        assert_set_problem(
            "Reviewers",
            "/reviewers/0/keys/0/publicKey",
            new,
            "reviewers[0].keys[0].publicKey",
            message,
        );
    }
    assert_set_problem("Reviewers", "/reviewers/0/keys", json!([]), "reviewers[0].keys", "is empty");
    assert_set_problem("Reviewers", "/reviewers/0/capabilities", json!([]), "reviewers[0].capabilities", "is empty");
    assert_set_problem(
        "Reviewers",
        "/reviewers/0/capabilities/0",
        json!("*"),
        "reviewers[0].capabilities[0]",
        "not a capability",
    );
    let at = "reviewers[0].keys[0].notAfter";
    assert_set_problem("Reviewers", "/reviewers/0/keys/0/notAfter", json!("2026-01-01T00:00:00Z"), at, "is not after");
    assert_set_problem("Reviewers", "/reviewers/0/keys/0/notAfter", json!("2027-01-01"), at, "not a time");
}

#[test]
fn refuses_a_name_identity_or_key_of_two_reviewers() {
    let bob = value(REVIEWERS)["reviewers"][0].clone();
    let at = "reviewerSets";
    let with = |pointer: &str, new: Value| changed("Reviewers", pointer, new);
    assert_problem(&with("/reviewers/1/name", json!("BOB@acme.example")), at, "two reviewers");
    assert_problem(&with("/reviewers/1/identities", json!(["BOB"])), at, "two reviewers");
    assert_problem(&with("/reviewers/1/identities", json!(["bob@ACME.example"])), at, "two reviewers");
    assert_problem(&with("/reviewers/1/name", json!("oidc:Bob@acme.example")), at, "two reviewers");
    assert_problem(&with("/reviewers/1/keys/0", bob["keys"][0].clone()), at, BOB);
    assert_problem(&with("/reviewers/0/keys", json!([bob["keys"][0], bob["keys"][0]])), at, BOB);
    assert!(
        with("/reviewers/0/identities", json!(["bob", "BOB", "bob@acme.example"])).environment("production").is_ok()
    );
}

#[test]
fn refuses_a_reviewer_who_appears_in_two_sets() {
    let mut other = value(REVIEWERS);
    other["name"] = json!("more");
    let mut posture = value(POSTURE);
    posture["reviewerSets"] = json!(["prod-reviewers", "more"]);
    let set = set_of(&[&posture.to_string(), REVIEWERS, REVOCATIONS, &other.to_string()]);
    assert_problem(&set, "reviewerSets", "1.yaml reviewers[0]");
    assert_problem(&set, "reviewerSets", "3.yaml reviewers[0]");
    // A set that no posture names has no influence.
    assert!(set_of(&[POSTURE, REVIEWERS, REVOCATIONS, &other.to_string()]).environment("production").is_ok());
}
