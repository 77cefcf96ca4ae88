//! Signatures on which implementations of Ed25519 differ: core accepts only those that a strict verifier accepts.
//!
//! The kinds are those of Chalkias, Garillot and Nikolaenko, `Taming the many EdDSAs` (2020), and of the CCTV vectors
//! (C2SP): components of small and of mixed order, non-canonical encodings, and scalars that are not less than the group's
//! order. The tests build them from their definitions. Wycheproof's vectors are checked as well.

use curve25519_dalek::{
    EdwardsPoint, Scalar,
    constants::{ED25519_BASEPOINT_POINT as BASE, EIGHT_TORSION},
    edwards::CompressedEdwardsY,
};
use sha2::{Digest as _, Sha512};
use writgate_core::approval::PublicKey;

/// The group's order, L, in little-endian bytes.
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// Whether core accepts a signature. It accepts none for a key that it cannot read.
fn accepts(key: [u8; 32], message: &[u8], r: [u8; 32], s: [u8; 32]) -> bool {
    const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    let signature: [u8; 64] = [r, s].concat().try_into().expect("64 bytes");
    PublicKey::from_spki_der(&[&SPKI[..], &key].concat()).is_ok_and(|key| key.verify_strict(message, &signature))
}

/// RFC 8032's h, over the bytes as they are encoded.
fn hash(r: [u8; 32], key: [u8; 32], message: &[u8]) -> Scalar {
    let digest = Sha512::new().chain_update(r).chain_update(key).chain_update(message).finalize();
    Scalar::from_bytes_mod_order_wide(&digest.into())
}

/// A secret scalar.
fn scalar(seed: u8) -> Scalar {
    Scalar::from_bytes_mod_order_wide(&Sha512::digest([seed]).into())
}

fn point(bytes: [u8; 32]) -> EdwardsPoint {
    CompressedEdwardsY(bytes).decompress().expect("an encoding of a point")
}

/// The encodings of points of small order, canonical ones first. The others encode a coordinate of at least 2^255-19, which
/// stands for a small number, or a zero with a sign.
fn small_order() -> Vec<[u8; 32]> {
    let mut all: Vec<[u8; 32]> = EIGHT_TORSION.iter().map(|point| point.compress().to_bytes()).collect();
    let prime = |above: u8, sign: u8| {
        let mut bytes = [0xff; 32];
        bytes[0] = 0xed + above;
        bytes[31] = 0x7f | sign;
        bytes
    };
    let with_sign = |mut bytes: [u8; 32]| {
        bytes[31] |= 0x80;
        bytes
    };
    let one = EIGHT_TORSION[0].compress().to_bytes();
    let minus_one = EIGHT_TORSION[4].compress().to_bytes();
    all.extend([prime(0, 0), prime(0, 0x80), prime(1, 0), prime(1, 0x80), with_sign(one), with_sign(minus_one)]);
    all
}

/// Adds L to a scalar `times` times.
fn plus_order(s: Scalar, times: u8) -> [u8; 32] {
    let mut bytes = s.to_bytes();
    for _ in 0..times {
        let mut carry = 0;
        for (byte, add) in bytes.iter_mut().zip(ORDER) {
            let sum = u16::from(*byte) + u16::from(add) + carry;
            *byte = u8::try_from(sum & 0xff).expect("masked");
            carry = sum >> 8;
        }
        assert_eq!(carry, 0, "the sum has 256 bits");
    }
    bytes
}

/// Finds a message for which a condition holds. The hash modulo eight is random, so one of about eight messages fits.
fn message(holds: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    (0_u32..10_000).map(|number| number.to_le_bytes().to_vec()).find(|message| holds(message)).expect("one in eight")
}

/// The twelve cases of `Taming the many EdDSAs`. A strict verifier accepts only the fourth, whose components of small order
/// cancel each other.
#[test]
fn accepts_one_of_the_cases_on_which_verifiers_differ() {
    let (secret, nonce, torsion) = (scalar(1), scalar(2), EIGHT_TORSION[1]);
    let bytes = |point: EdwardsPoint| point.compress().to_bytes();
    let holds = |key, r, s: Scalar, m: &[u8]| point(r) + hash(r, key, m) * point(key) == s * BASE;
    let signed = |key, r, m: &[u8]| nonce + hash(r, key, m) * secret;
    let (small, mixed, proper) = (bytes(torsion), bytes(secret * BASE + torsion), bytes(secret * BASE));
    let (mixed_r, proper_r) = (bytes(nonce * BASE + torsion), bytes(nonce * BASE));
    let odd = small_order()[10]; // the neutral element as 2^255-18
    let mut found = Vec::new();
    let mut case = |key, r, s: [u8; 32], m: &[u8]| found.push(accepts(key, m, r, s));

    let m = message(|m| holds(small, small, Scalar::ZERO, m)); // 0: everything small
    case(small, small, [0; 32], &m);
    let m = message(|m| holds(small, mixed_r, nonce, m)); // 1: A small
    case(small, mixed_r, nonce.to_bytes(), &m);
    let m = message(|m| holds(mixed, small, hash(small, mixed, m) * secret, m)); // 2: R small
    case(mixed, small, (hash(small, mixed, &m) * secret).to_bytes(), &m);
    let m = message(|m| holds(mixed, mixed_r, signed(mixed, mixed_r, m), m)); // 3: both mixed, and they cancel
    case(mixed, mixed_r, signed(mixed, mixed_r, &m).to_bytes(), &m);
    let m = message(|m| !holds(mixed, mixed_r, signed(mixed, mixed_r, m), m)); // 4: valid only with the cofactor
    case(mixed, mixed_r, signed(mixed, mixed_r, &m).to_bytes(), &m);
    let m = message(|m| !holds(mixed, proper_r, signed(mixed, proper_r, m), m)); // 5: as 4, with a proper R
    case(mixed, proper_r, signed(mixed, proper_r, &m).to_bytes(), &m);
    let s = signed(proper, proper_r, b"6"); // 6, 7: a proper signature with another encoding of its scalar
    assert!(accepts(proper, b"6", proper_r, s.to_bytes()), "the signature that the cases change");
    case(proper, proper_r, plus_order(s, 1), b"6");
    case(proper, proper_r, plus_order(s, 14), b"6");
    for key_of_hash in [odd, bytes(EIGHT_TORSION[0])] {
        // 8, 9: R small, in another encoding; verifiers hash it as it is encoded, or in its canonical encoding
        let s = |m: &[u8]| hash(key_of_hash, mixed, m) * secret;
        let m = message(|m| hash(key_of_hash, mixed, m) * point(mixed) == s(m) * BASE);
        case(mixed, odd, s(&m).to_bytes(), &m);
    }
    for odd in [odd, small_order()[8]] {
        // 10, 11: A small, in another encoding, of order one and of order four
        let m = message(|m| holds(odd, proper_r, nonce, m));
        case(odd, proper_r, nonce.to_bytes(), &m);
    }
    assert_eq!(
        found.iter().map(|accepted| u8::from(*accepted)).collect::<Vec<_>>(),
        [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]
    );
}

#[test]
fn rejects_components_of_small_order_in_every_encoding() {
    let (secret, nonce) = (scalar(3), scalar(4));
    let (proper, proper_r) = ((secret * BASE).compress().to_bytes(), (nonce * BASE).compress().to_bytes());
    for small in small_order() {
        for number in 0_u8..16 {
            let message = [number];
            for other in small_order() {
                assert!(!accepts(small, &message, other, [0; 32]), "A {small:x?}, R {other:x?}");
            }
            assert!(!accepts(small, &message, proper_r, nonce.to_bytes()), "A {small:x?}");
            let s = hash(small, proper, &message) * secret;
            assert!(!accepts(proper, &message, small, s.to_bytes()), "R {small:x?}");
        }
    }
}

/// A strict verifier requires canonical points that are not of small order, a reduced scalar, and the exact equation.
#[test]
fn accepts_components_of_mixed_order_only_if_the_equation_is_exact() {
    let (secret, nonce) = (scalar(5), scalar(6));
    let mut counted = 0;
    for (a, b) in EIGHT_TORSION.iter().flat_map(|a| EIGHT_TORSION.iter().map(move |b| (a, b))) {
        let (key, r) = ((secret * BASE + a).compress().to_bytes(), (nonce * BASE + b).compress().to_bytes());
        for number in 0_u8..8 {
            let h = hash(r, key, &[number]);
            let s = nonce + h * secret;
            let exact = point(r) + h * point(key) == s * BASE;
            assert_eq!(accepts(key, &[number], r, s.to_bytes()), exact);
            assert!(!accepts(key, &[number], r, plus_order(s, 1)));
            counted += usize::from(exact);
        }
    }
    assert!((8..512).contains(&counted), "{counted} of 512");
}

#[test]
fn agrees_with_the_wycheproof_vectors() {
    use wycheproof::{TestResult, eddsa};
    let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).expect("its vectors");
    let mut checked = 0;
    for group in &set.test_groups {
        let key: [u8; 32] = group.key.pk.as_ref().try_into().expect("32 bytes");
        for test in &group.tests {
            let halves = test.sig.split_at_checked(32).filter(|(_, s)| s.len() == 32);
            let found = halves.is_some_and(|(r, s)| {
                accepts(key, &test.msg, r.try_into().expect("32 bytes"), s.try_into().expect("32 bytes"))
            });
            assert_eq!(found, test.result == TestResult::Valid, "{}: {}", test.tc_id, test.comment);
            checked += 1;
        }
    }
    assert!(checked >= 150, "{checked} vectors");
}
