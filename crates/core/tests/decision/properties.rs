//! Properties of decisions under any change of the bytes of a request.

use proptest::prelude::*;

use crate::decision::case::Case;

/// The body with one bit flipped in the `length` bytes after `marker`.
fn flipped(body: &str, marker: &str, length: usize, at: prop::sample::Index, bit: u8) -> Vec<u8> {
    let start = body.find(marker).expect("there") + marker.len();
    let mut bytes = body.as_bytes().to_vec();
    bytes[start + at.index(length)] ^= 1 << bit;
    bytes
}

proptest! {
    #[test]
    fn any_flipped_bit_of_the_payload_denies(at: prop::sample::Index, bit in 0_u8..8) {
        let case = Case::deployment();
        let body = case.body();
        let marker = "\\\"payload\\\":\\\"";
        let length = body.split(marker).nth(1).and_then(|rest| rest.find('\\')).expect("there");
        if let Ok(body) = String::from_utf8(flipped(&body, marker, length, at, bit)) {
            prop_assert!(!case.decide_body(&body).allowed());
        }
    }

    #[test]
    fn any_flipped_bit_of_the_signature_denies(at: prop::sample::Index, bit in 0_u8..8) {
        let case = Case::deployment();
        let body = case.body();
        let marker = "\\\"sig\\\":\\\"";
        let length = body.split(marker).nth(1).and_then(|rest| rest.find('\\')).expect("there");
        if let Ok(body) = String::from_utf8(flipped(&body, marker, length, at, bit)) {
            prop_assert!(!case.decide_body(&body).allowed());
        }
    }

    #[test]
    fn any_flipped_bit_of_the_spec_denies(at: prop::sample::Index, bit in 0_u8..8) {
        let case = Case::deployment();
        let body = case.body();
        let template = case.request["object"]["spec"]["template"].to_string();
        let length = template.len();
        let start = body.find(&template).expect("there");
        let mut bytes = body.clone().into_bytes();
        bytes[start + at.index(length)] ^= 1 << bit;
        if let Ok(body) = String::from_utf8(bytes) {
            prop_assert!(!case.decide_body(&body).allowed(), "{body}");
        }
    }

    #[test]
    fn no_change_of_a_body_panics(at: prop::sample::Index, byte: u8, cut: bool) {
        let case = Case::replay();
        let mut bytes = case.body().into_bytes();
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] = byte }
        if let Ok(body) = String::from_utf8(bytes) {
            let _ = case.decide_body(&body);
        }
    }

    #[test]
    fn no_text_in_an_annotation_panics_or_admits(text in any::<String>()) {
        let case = Case::deployment().with(|c| { c.signers.clear(); c.attach("", &text); });
        prop_assert!(!case.decide().allowed());
    }
}

#[test]
fn white_space_and_order_of_keys_never_matter() {
    let case = Case::deployment();
    let value: serde_json::Value = serde_json::from_str(&case.body()).expect("JSON");
    let pretty = serde_json::to_string_pretty(&value).expect("JSON");
    assert!(case.decide_body(&pretty).allowed());
}
