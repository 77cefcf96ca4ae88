//! Private keys, in memory and in files: those of reviewers, and the key with which a webhook signs its records.
//!
//! Files are PKCS#8 PEM as OpenSSL reads and writes it, encrypted (PBES2) or not. Nothing here prints a key or prompts for a
//! passphrase. Public keys are in core.

use std::fmt;

use ed25519_dalek::{Signer as _, SigningKey};
use pkcs8::{
    EncryptedPrivateKeyInfoRef, LineEnding, PrivateKeyInfoRef, SecretDocument,
    der::{Decode as _, asn1::OctetStringRef, pem::PemLabel as _},
    pkcs5::{pbes2, scrypt},
};
use writgate_core::{
    approval::{KeyError, KeyId, PublicKey},
    text::quoted,
};
use zeroize::Zeroizing;

/// PKCS#8 version 1 around an Ed25519 seed (RFC 8410, section 7); the seed follows. OpenSSL writes the same 48 bytes.
const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// `SubjectPublicKeyInfo` around an Ed25519 public key (RFC 8410, section 4); the key follows.
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

const PRIVATE: &str = "PRIVATE KEY";
const ED25519: &str = "1.3.101.112";

/// scrypt's log2(N), r and p: 16 MiB, five times. More memory would be better than more work, but OpenSSL refuses to open a
/// key that requires 32 MiB.
const SCRYPT: (u8, u32, u32) = (14, 8, 5);

/// An Ed25519 private key. Its seed is wiped from memory when the key is dropped.
pub struct PrivateKey {
    key: SigningKey,
    public: PublicKey,
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({})", self.id())
    }
}

/// Why a text is not a usable private key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// The text is not one PEM block.
    #[error(
        "not a private key in PEM: {0}; expected -----BEGIN PRIVATE KEY----- or -----BEGIN ENCRYPTED PRIVATE KEY-----"
    )]
    NotPem(String),
    /// The PEM block has another label.
    #[error(
        "found a PEM block labelled {0}, expected PRIVATE KEY or ENCRYPTED PRIVATE KEY (PKCS#8; `openssl pkcs8 -topk8` \
         converts older forms)"
    )]
    WrongLabel(String),
    /// A private key of another algorithm.
    #[error("found a private key of algorithm {0}, expected Ed25519 ({ED25519})")]
    OtherAlgorithm(String),
    /// The structure inside the PEM block is not a key.
    #[error("the PEM block is not a PKCS#8 private key: {0}")]
    NotPkcs8(String),
    /// The encryption is one that this build does not open.
    #[error("the key is encrypted in an unsupported way: {0}; expected PBES2 with scrypt or PBKDF2 and AES")]
    OtherEncryption(String),
    /// Decryption failed. The likely cause is the passphrase.
    #[error("the passphrase does not open this key")]
    WrongPassphrase,
    /// The operating system returned no randomness.
    #[error("the operating system returned no randomness: {0}")]
    NoRandomness(String),
}

/// The content of a key file, before it is decrypted.
#[derive(Debug)]
pub enum KeyFile {
    /// A key that anyone who reads the file can use.
    Plain(Box<PrivateKey>),
    /// A key that requires a passphrase.
    Encrypted(EncryptedKey),
}

/// A key that requires a passphrase.
#[derive(Debug)]
pub struct EncryptedKey(Vec<u8>);

impl KeyFile {
    /// Reads one PEM block. Text around it is skipped, because some tools write such text.
    pub fn parse(text: &str) -> Result<Self, KeyFileError> {
        let (label, document) =
            SecretDocument::from_pem(text).map_err(|error| KeyFileError::NotPem(error.to_string()))?;
        if label == PRIVATE {
            PrivateKey::from_der(document.as_bytes()).map(|key| Self::Plain(Box::new(key)))
        } else if label == EncryptedPrivateKeyInfoRef::PEM_LABEL {
            EncryptedPrivateKeyInfoRef::from_der(document.as_bytes())
                .map_err(|error| KeyFileError::OtherEncryption(error.to_string()))?;
            Ok(Self::Encrypted(EncryptedKey(document.as_bytes().to_vec())))
        } else {
            Err(KeyFileError::WrongLabel(quoted(label)))
        }
    }
}

impl EncryptedKey {
    /// Decrypts the key.
    pub fn decrypt(&self, passphrase: &str) -> Result<PrivateKey, KeyFileError> {
        let key = EncryptedPrivateKeyInfoRef::from_der(&self.0)
            .map_err(|error| KeyFileError::OtherEncryption(error.to_string()))?;
        match key.decrypt(passphrase) {
            Ok(document) => PrivateKey::from_der(document.as_bytes()),
            Err(pkcs8::Error::EncryptedPrivateKey(error @ pkcs8::pkcs5::Error::UnsupportedAlgorithm { .. })) => {
                Err(KeyFileError::OtherEncryption(error.to_string()))
            }
            // A wrong passphrase leads to bad padding, or to bytes that are not a key.
            Err(_) => Err(KeyFileError::WrongPassphrase),
        }
    }
}

/// The public key with these 32 bytes, the form that Ed25519 and SSH use.
pub fn public_key(bytes: &[u8; 32]) -> Result<PublicKey, KeyError> {
    PublicKey::from_spki_der(&[SPKI_PREFIX.as_slice(), bytes].concat())
}

impl PrivateKey {
    /// Generates a key from the operating system's randomness.
    pub fn generate() -> Result<Self, KeyFileError> {
        let mut seed = Zeroizing::new([0; 32]);
        random(&mut *seed)?;
        Self::from_seed(&seed)
    }

    fn from_seed(seed: &[u8; 32]) -> Result<Self, KeyFileError> {
        let key = SigningKey::from_bytes(seed);
        let public =
            public_key(key.verifying_key().as_bytes()).map_err(|error| KeyFileError::NotPkcs8(error.to_string()))?;
        Ok(Self { key, public })
    }

    fn from_der(der: &[u8]) -> Result<Self, KeyFileError> {
        let malformed = |error: pkcs8::der::Error| KeyFileError::NotPkcs8(error.to_string());
        let info = PrivateKeyInfoRef::from_der(der).map_err(malformed)?;
        let oid = info.algorithm.oid.to_string();
        if oid != ED25519 {
            return Err(KeyFileError::OtherAlgorithm(algorithm_name(&oid)));
        }
        let seed = <&OctetStringRef>::from_der(info.private_key.as_bytes()).map_err(malformed)?;
        let seed: Zeroizing<[u8; 32]> = seed
            .as_bytes()
            .try_into()
            .map(Zeroizing::new)
            .map_err(|_| KeyFileError::NotPkcs8("an Ed25519 private key has 32 bytes".to_owned()))?;
        let key = Self::from_seed(&seed)?;
        match info.public_key {
            Some(public) if public.raw_bytes() != key.key.verifying_key().as_bytes() => {
                Err(KeyFileError::NotPkcs8("it contains a public key that does not belong to it".to_owned()))
            }
            _ => Ok(key),
        }
    }

    /// The id of the public key. Signatures refer to the key by this id.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.public.id()
    }

    /// The public key.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// An Ed25519 signature over `message`.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message).to_bytes()
    }

    /// The public key as `PUBLIC KEY` PEM, for a posture.
    #[must_use]
    pub fn public_pem(&self) -> String {
        pem("PUBLIC KEY", &self.public.to_spki_der())
    }

    /// The private key as unencrypted PEM.
    #[must_use]
    pub fn to_plain_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(pem(PRIVATE, &self.to_der()))
    }

    /// The private key as PEM, encrypted with `passphrase`.
    pub fn to_encrypted_pem(&self, passphrase: &str) -> Result<Zeroizing<String>, KeyFileError> {
        let (mut salt, mut iv) = ([0; 16], [0; 16]);
        random(&mut salt)?;
        random(&mut iv)?;
        let (log_n, r, p) = SCRYPT;
        let encrypt = || {
            let parameters = scrypt::Params::new(log_n, r, p).map_err(|_| pkcs8::Error::ParametersMalformed)?;
            let parameters = pbes2::Parameters::generate_scrypt_aes256cbc(parameters, &salt, iv)?;
            PrivateKeyInfoRef::from_der(&self.to_der())?.encrypt_with_params(parameters, passphrase)
        };
        let encrypted = encrypt().map_err(|error: pkcs8::Error| KeyFileError::OtherEncryption(error.to_string()))?;
        Ok(Zeroizing::new(pem(EncryptedPrivateKeyInfoRef::PEM_LABEL, encrypted.as_bytes())))
    }

    fn to_der(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new([PKCS8_PREFIX.as_slice(), self.key.as_bytes()].concat())
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    pkcs8::der::pem::encode_string(label, LineEnding::LF, der).expect("a constant label and a short document")
}

fn random(bytes: &mut [u8]) -> Result<(), KeyFileError> {
    getrandom::fill(bytes).map_err(|error| KeyFileError::NoRandomness(error.to_string()))
}

fn algorithm_name(oid: &str) -> String {
    match oid {
        "1.2.840.113549.1.1.1" => "RSA".to_owned(),
        "1.2.840.10045.2.1" => "ECDSA".to_owned(),
        "1.3.101.110" => "X25519".to_owned(),
        "1.3.101.113" => "Ed448".to_owned(),
        other => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> Result<PrivateKey, KeyFileError> {
        match KeyFile::parse(text)? {
            KeyFile::Plain(key) => Ok(*key),
            KeyFile::Encrypted(_) => panic!("expected a plain key"),
        }
    }

    #[test]
    fn a_plain_key_is_48_bytes_of_der_as_openssl_writes_it() {
        let key = PrivateKey::generate().unwrap();
        let pem = key.to_plain_pem();
        let (_, der) = SecretDocument::from_pem(&pem).unwrap();
        assert_eq!(der.as_bytes().len(), 48);
        assert_eq!(plain(&pem).unwrap().id(), key.id());
    }

    #[test]
    fn an_encrypted_key_opens_with_its_passphrase_alone() {
        let key = PrivateKey::generate().unwrap();
        let KeyFile::Encrypted(file) = KeyFile::parse(&key.to_encrypted_pem("correct horse").unwrap()).unwrap() else {
            panic!("expected an encrypted key");
        };
        assert_eq!(file.decrypt("correct horse").unwrap().id(), key.id());
        assert_eq!(file.decrypt("correct horsf").unwrap_err(), KeyFileError::WrongPassphrase);
        assert_eq!(file.decrypt("").unwrap_err(), KeyFileError::WrongPassphrase);
    }

    #[test]
    fn refuses_a_file_that_is_not_an_ed25519_private_key_and_says_what_it_is() {
        let key = PrivateKey::generate().unwrap();
        assert_eq!(plain(&key.public_pem()).unwrap_err(), KeyFileError::WrongLabel("PUBLIC KEY".to_owned()));
        assert!(matches!(plain(""), Err(KeyFileError::NotPem(_))));
        assert!(matches!(plain("-----BEGIN PRIVATE KEY-----\nMA==\n"), Err(KeyFileError::NotPem(_))));
        // RFC 8410 keys differ in the last byte of the algorithm: 0x6e is X25519.
        let mut der = key.to_der().to_vec();
        der[11] = 0x6e;
        assert_eq!(plain(&pem(PRIVATE, &der)).unwrap_err(), KeyFileError::OtherAlgorithm("X25519".to_owned()));
        der[11] = 0x70;
        der[14] = 0x05; // the seed is no longer an OCTET STRING
        assert!(matches!(plain(&pem(PRIVATE, &der)), Err(KeyFileError::NotPkcs8(_))));
    }

    #[test]
    fn a_key_file_is_never_printed_with_its_seed() {
        let key = PrivateKey::generate().unwrap();
        assert_eq!(format!("{key:?}"), format!("PrivateKey({})", key.id()));
    }
}
