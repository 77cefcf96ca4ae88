//! Ed25519 public keys, and the key ids by which signatures refer to them.
//!
//! A [`PublicKey`] is always usable: parsing refuses other algorithms, weak points, and encodings that would give one
//! key two ids. Core does not read private keys.

use std::{fmt, str::FromStr};

use ed25519_dalek::{
    Signature, Verifier as _, VerifyingKey,
    pkcs8::spki::{
        SubjectPublicKeyInfoRef,
        der::{Decode as _, pem},
    },
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest as _, Sha256};

use crate::encoding::hex;

/// The bytes before the 32 bytes of the key in the `SubjectPublicKeyInfo` of an Ed25519 key (RFC 8410, section 4).
pub(super) const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// The SHA-256 digest of a key's SPKI DER. Its text is 64 lower-case hexadecimal digits.
///
/// In a signature, a key id is only a hint for choosing a key. It is not evidence.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 32]);

impl KeyId {
    /// The digest.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&hex::encode(&self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// The text is not a key id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key id is 64 lower-case hex digits, the SHA-256 of the public key's SPKI DER")]
pub struct KeyIdError;

impl FromStr for KeyId {
    type Err = KeyIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        hex::decode(text).map(Self).ok_or(KeyIdError)
    }
}

impl Serialize for KeyId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeyId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// An Ed25519 public key that is not weak and has one key id.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    key: VerifyingKey,
    id: KeyId,
}

impl PublicKey {
    /// Parses one `PUBLIC KEY` PEM block, as OpenSSL writes it.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        if text.matches("-----BEGIN ").count() > 1 {
            return Err(KeyError::SeveralKeys);
        }
        let (label, der) = pem::decode_vec(text.as_bytes()).map_err(|error| KeyError::NotPem(error.to_string()))?;
        if label != "PUBLIC KEY" {
            return Err(KeyError::WrongLabel(label.to_owned()));
        }
        Self::from_spki_der(&der)
    }

    /// Parses the DER form of a `SubjectPublicKeyInfo`.
    pub fn from_spki_der(der: &[u8]) -> Result<Self, KeyError> {
        match der.strip_prefix(&SPKI_PREFIX).map(<[u8; 32]>::try_from) {
            Some(Ok(point)) => Self::from_point(&point),
            _ => Err(not_ed25519(der)),
        }
    }

    fn from_point(point: &[u8; 32]) -> Result<Self, KeyError> {
        let key = VerifyingKey::from_bytes(point).map_err(|_| KeyError::NotAPoint)?;
        if key.is_weak() {
            return Err(KeyError::Weak);
        }
        // A point has encodings besides its canonical one. A second encoding would have a second key id, which a
        // revocation of the first would miss.
        if key.to_edwards().compress().to_bytes() != *point {
            return Err(KeyError::NotAPoint);
        }
        let id = Sha256::new().chain_update(SPKI_PREFIX).chain_update(point).finalize();
        Ok(Self { key, id: KeyId(id.into()) })
    }

    /// The id by which signatures and revocations refer to this key.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The DER form of the key's `SubjectPublicKeyInfo`. Its SHA-256 digest is the id.
    #[must_use]
    pub fn to_spki_der(&self) -> Vec<u8> {
        [SPKI_PREFIX.as_slice(), self.key.as_bytes()].concat()
    }

    /// Whether `signature` is this key's signature of `message`. The check is strict: it refuses malleable signatures
    /// and components of small order, so that nobody but the signer can make a second valid signature.
    ///
    /// This accepts what `VerifyingKey::verify_strict` accepts. That function decodes R to see whether its order is small,
    /// and checks the key again, which is an eighth of its work. `verify` compares the bytes of R with the canonical
    /// encoding of the computed point, so the canonical encodings of points of small order are the only ones to refuse.
    #[must_use]
    pub fn verify_strict(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        let signature = Signature::from_bytes(signature);
        !is_of_small_order(signature.r_bytes()) && self.key.verify(message, &signature).is_ok()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.id)
    }
}

/// Whether this is the canonical encoding of a point of small order. Points with the same y differ only in the sign bit.
fn is_of_small_order(encoding: &[u8; 32]) -> bool {
    const Y: [&[u8; 32]; 5] = [
        b"\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        b"\xec\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        b"\x26\xe8\x95\x8f\xc2\xb2\x27\xb0\x45\xc3\xf4\x89\xf2\xef\x98\xf0\xd5\xdf\xac\x05\xd3\xc6\x33\x39\xb1\x38\x02\x88\x6d\x53\xfc\x05",
        b"\xc7\x17\x6a\x70\x3d\x4d\xd8\x4f\xba\x3c\x0b\x76\x0d\x10\x67\x0f\x2a\x20\x53\xfa\x2c\x39\xcc\xc6\x4e\xc7\xfd\x77\x92\xac\x03\x7a",
    ];
    let mut y = *encoding;
    y[31] &= 0x7f;
    Y.contains(&&y)
}

/// The text or the bytes are not a usable public key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The text is not one PEM block.
    #[error("not a PEM block: {0}; expected -----BEGIN PUBLIC KEY-----")]
    NotPem(String),
    /// The text has more than one PEM block.
    #[error("more than one PEM block; a key entry holds exactly one public key")]
    SeveralKeys,
    /// The PEM block has another label, such as that of a private key.
    #[error("found a PEM block labelled {0}, expected PUBLIC KEY (a private key never belongs here)")]
    WrongLabel(String),
    /// The key is of another algorithm.
    #[error("found a public key of algorithm {0}, expected Ed25519")]
    OtherAlgorithm(String),
    /// The bytes are not the `SubjectPublicKeyInfo` of an Ed25519 key.
    #[error("not the SubjectPublicKeyInfo of an Ed25519 key")]
    NotSpki,
    /// The 32 bytes are not the canonical encoding of a point on the curve.
    #[error("the key is not a canonical point of the curve")]
    NotAPoint,
    /// The point has low order, so anyone can make signatures that verify.
    #[error("the key is weak: a low-order point, for which signatures can be forged")]
    Weak,
}

/// The error for a key that is not Ed25519. It names the key's algorithm if that is known.
fn not_ed25519(der: &[u8]) -> KeyError {
    const ED25519: &str = "1.3.101.112";
    let Ok(spki) = SubjectPublicKeyInfoRef::from_der(der) else {
        return KeyError::NotSpki;
    };
    let oid = spki.algorithm.oid.to_string();
    let name = match oid.as_str() {
        ED25519 => return KeyError::NotSpki, // Ed25519, with parameters or of another length
        "1.2.840.113549.1.1.1" => "RSA",
        "1.2.840.10045.2.1" => "ECDSA",
        "1.2.840.10040.4.1" => "DSA",
        "1.3.101.110" => "X25519",
        "1.3.101.111" => "X448",
        "1.3.101.113" => "Ed448",
        "2.16.840.1.101.3.4.3.17" => "ML-DSA-44",
        "2.16.840.1.101.3.4.3.18" => "ML-DSA-65",
        "2.16.840.1.101.3.4.3.19" => "ML-DSA-87",
        other => other,
    };
    KeyError::OtherAlgorithm(name.to_owned())
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signer as _, SigningKey};
    use proptest::prelude::*;

    use super::*;

    /// Made by OpenSSL. Its id is the output of `openssl pkey -pubin -outform DER | sha256sum`.
    const PEM: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEA7MG1hyfz8SsxlIgansud4LKM57IHIw2Okw/hvOdeJWw=
-----END PUBLIC KEY-----
";
    const ID: &str = "84f522c40a2df55aa12ecba9233cec2e5175f62b40afd195879c36f95a80d32b";

    #[test]
    fn a_key_id_is_the_digest_of_the_der() {
        let key = PublicKey::from_pem(PEM).unwrap();
        assert_eq!(key.id().to_string(), ID);
        assert_eq!(hex::encode(key.id().as_bytes()), ID);
        assert_eq!(ID.parse(), Ok(key.id()));
        assert_eq!(PublicKey::from_spki_der(&key.to_spki_der()), Ok(key));
    }

    #[test]
    fn a_key_id_has_one_spelling() {
        for text in [&ID.to_uppercase(), &ID[1..], &format!("{ID}0"), &format!("sha256:{ID}"), &format!(" {ID}")] {
            assert_eq!(text.parse::<KeyId>(), Err(KeyIdError), "{text}");
        }
    }

    #[test]
    fn accepts_one_public_key_block_with_any_line_ends() {
        assert!(PublicKey::from_pem(&PEM.replace('\n', "\r\n")).is_ok());
        assert!(PublicKey::from_pem(PEM.trim_end()).is_ok());
        assert_eq!(PublicKey::from_pem(&format!("{PEM}{PEM}")), Err(KeyError::SeveralKeys));
        assert!(matches!(PublicKey::from_pem(&PEM.replace("MCow", "MCo")), Err(KeyError::NotPem(_))));
        assert_eq!(
            PublicKey::from_pem(&PEM.replace("PUBLIC KEY", "PRIVATE KEY")),
            Err(KeyError::WrongLabel("PRIVATE KEY".to_owned()))
        );
    }

    #[test]
    fn knows_the_encodings_of_points_of_small_order() {
        use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION};
        for point in EIGHT_TORSION {
            assert!(is_of_small_order(point.compress().as_bytes()));
            assert!(!is_of_small_order((point + ED25519_BASEPOINT_POINT).compress().as_bytes()));
        }
    }

    proptest! {
        /// Most of these R are no encodings, or not those of the computed point.
        #[test]
        fn accepts_what_the_library_accepts_as_strict(secret: [u8; 32], message: Vec<u8>, at in 0..64_usize, xor: u8) {
            let signing = SigningKey::from_bytes(&secret);
            let key = PublicKey::from_point(signing.verifying_key().as_bytes()).unwrap();
            let mut bytes = signing.sign(&message).to_bytes();
            bytes[at] ^= xor;
            let strict = key.key.verify_strict(&message, &Signature::from_bytes(&bytes)).is_ok();
            prop_assert_eq!(key.verify_strict(&message, &bytes), strict);
            prop_assert_eq!(strict, xor == 0);
        }
    }

    #[test]
    fn refuses_a_malleable_signature() {
        let signing = SigningKey::from_bytes(&[7; 32]);
        let der = [SPKI_PREFIX.as_slice(), signing.verifying_key().as_bytes()].concat();
        let key = PublicKey::from_spki_der(&der).unwrap();
        let mut signature = signing.sign(b"message").to_bytes();
        assert!(key.verify_strict(b"message", &signature));
        assert!(!key.verify_strict(b"massage", &signature));
        // Adding the order of the group to S gives other bytes that satisfy the same equation.
        let order = hex::decode("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010").unwrap();
        let mut carry = 0;
        for (byte, add) in signature[32..].iter_mut().zip(order) {
            let sum = u16::from(*byte) + u16::from(add) + carry;
            *byte = u8::try_from(sum & 0xff).unwrap();
            carry = sum >> 8;
        }
        assert!(!key.verify_strict(b"message", &signature));
    }

    proptest! {
        #[test]
        fn never_panics_and_keeps_the_bytes_of_a_key_that_it_accepts(text in "\\PC{0,200}", bytes in any::<Vec<u8>>(), at in 0..44_usize, new in any::<u8>()) {
            let _ = PublicKey::from_pem(&text);
            let _ = PublicKey::from_spki_der(&bytes);
            let mut der = PublicKey::from_pem(PEM).unwrap().to_spki_der();
            der[at] = new;
            if let Ok(key) = PublicKey::from_spki_der(&der) {
                prop_assert_eq!(key.to_spki_der(), der);
            }
        }
    }
}
