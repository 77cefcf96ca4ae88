//! What reviewers are shown of the signatures of an envelope.

use writgate_core::approval::{Envelope, PublicKey};
use writgate_core::posture::SignatureState;

use crate::decision::case::{Case, Person};

#[test]
fn the_state_of_a_signature_is_that_of_the_key_it_claims() {
    let case = Case::deployment().with(|c| c.signers = vec![Person::Bob, Person::Mallory]);
    let set = case.postures();
    let posture = set.environment("production").expect("a posture");
    let bob = PublicKey::from_pem(&Person::Bob.public_pem()).expect("a key").id();
    let mut envelope = case.envelope();
    envelope.add_signature(bob, [7; 64]);
    let name = |state: &SignatureState<'_>| match state {
        SignatureState::Valid(reviewer, _) => format!("valid: {}", reviewer.name),
        SignatureState::Invalid(reviewer, _) => format!("invalid: {}", reviewer.name),
        SignatureState::UnknownKey => "unknown".to_owned(),
    };
    let states: Vec<_> = posture.signature_states(&envelope).iter().map(|(_, state)| name(state)).collect();
    assert_eq!(states, ["valid: bob@acme.example", "unknown", "invalid: bob@acme.example"]);
}

#[test]
fn only_one_valid_signature_of_each_key_is_kept() {
    let case = Case::deployment().with(|c| c.signers = vec![Person::Mallory, Person::Bob, Person::Bob, Person::Carol]);
    let set = case.postures();
    let posture = set.environment("production").expect("a posture");
    let [bob, carol] =
        [Person::Bob, Person::Carol].map(|person| PublicKey::from_pem(&person.public_pem()).expect("a key").id());
    let mut envelope = case.envelope();
    envelope.add_signature(bob, [7; 64]);
    assert_eq!(envelope.keyids().count(), 5);
    let kept = posture.with_valid_signatures(&envelope);
    assert_eq!(kept.keyids().collect::<Vec<_>>(), [bob.to_string(), carol.to_string()]);
    assert_eq!(kept.payload(), envelope.payload());
    let states = posture.signature_states(&kept);
    assert!(states.iter().all(|(_, state)| matches!(state, SignatureState::Valid(..))));
}

#[test]
fn whether_an_envelope_is_signed_costs_no_more_checks_than_one_request_may() {
    let case = Case::deployment().with(|c| c.signers = vec![Person::Bob]);
    let set = case.postures();
    let posture = set.environment("production").expect("a posture");
    // A signature without a known key id is tried against all keys.
    let with_unknown = |number: usize| {
        let mut value: serde_json::Value = serde_json::from_str(&case.envelope().to_json()).expect("JSON");
        let signatures = value["signatures"].as_array_mut().expect("a list");
        let mut unknown = signatures[0].clone();
        unknown["keyid"] = "".into();
        unknown["sig"] = format!("{}==", "A".repeat(86)).into();
        signatures.splice(0..0, vec![unknown; number]);
        posture.is_signed(&Envelope::parse(&value.to_string()).expect("an envelope"))
    };
    assert!(with_unknown(0) && with_unknown(1));
    assert!(!with_unknown(15));
}
