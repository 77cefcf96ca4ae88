//! Reads public keys as `PUBLIC KEY` PEM, as `ssh-ed25519` lines, and from OpenSSH private keys, which contain their public
//! key unencrypted. Core parses them further and refuses weak keys.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use writgate_core::{approval::PublicKey, text::quoted};

/// An Ed25519 `SubjectPublicKeyInfo` without the key's 32 bytes (RFC 8410, section 4).
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

const SSH: &str = "ssh-ed25519";

/// A public key and the comment in its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedKey {
    /// The key.
    pub key: PublicKey,
    /// The comment of an SSH key, usually its owner. Empty if there is none.
    pub comment: String,
}

/// Reads every public key in `text`. The error says what was found and what was expected.
pub fn read(text: &str) -> Result<Vec<NamedKey>, String> {
    if text.contains("-----BEGIN OPENSSH PRIVATE KEY-----") {
        return open_half(text).map(|key| vec![NamedKey { key, comment: String::new() }]);
    }
    if text.contains("-----BEGIN ") {
        let key = PublicKey::from_pem(text).map_err(|error| error.to_string())?;
        return Ok(vec![NamedKey { key, comment: String::new() }]);
    }
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let keys: Vec<NamedKey> = lines.map(ssh_line).collect::<Result<_, _>>()?;
    if keys.is_empty() {
        Err(format!(
            "the file contains no key; expected PEM that begins -----BEGIN PUBLIC KEY-----, or lines {SSH} AAAA…"
        ))
    } else {
        Ok(keys)
    }
}

/// `PUBLIC KEY` PEM, as OpenSSL writes it (RFC 7468).
#[must_use]
pub fn to_pem(key: &PublicKey) -> String {
    // 44 bytes fit on one line: RFC 7468 has lines of 64 characters.
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(key.to_spki_der()))
}

/// Reads `ssh-ed25519 AAAA… comment`. Options before it, as in an `authorized_keys` file, are skipped.
fn ssh_line(line: &str) -> Result<NamedKey, String> {
    let mut words = line.split_whitespace().skip_while(|word| *word != SSH).skip(1);
    let Some(encoded) = words.next() else {
        return Err(format!(
            "the text is not a public key; expected PEM that begins -----BEGIN PUBLIC KEY-----, or a line {SSH} AAAA…"
        ));
    };
    let blob = STANDARD.decode(encoded).map_err(|error| format!("the key after {SSH} is not base64: {error}"))?;
    Ok(NamedKey { key: of_blob(&blob)?, comment: words.collect::<Vec<_>>().join(" ") })
}

/// The public key in an OpenSSH private key, which precedes the encrypted part (PROTOCOL.key of OpenSSH).
fn open_half(text: &str) -> Result<PublicKey, String> {
    let body: String = text.lines().map(str::trim).filter(|line| !line.starts_with("-----")).collect();
    let bytes = STANDARD.decode(body).map_err(|error| format!("the OpenSSH private key is not base64: {error}"))?;
    let blob = bytes.strip_prefix(b"openssh-key-v1\0").and_then(|rest| {
        let (_cipher, rest) = string(rest)?;
        let (_kdf, rest) = string(rest)?;
        let (_options, rest) = string(rest)?;
        let keys = rest.strip_prefix(&1_u32.to_be_bytes())?;
        string(keys).map(|(blob, _)| blob)
    });
    of_blob(blob.ok_or("the OpenSSH private key is cut short or contains several keys")?)
}

/// Reads the algorithm's name and the key's 32 bytes (RFC 8709, section 4).
fn of_blob(blob: &[u8]) -> Result<PublicKey, String> {
    let parts = string(blob).and_then(|(algorithm, rest)| Some((algorithm, string(rest)?)));
    match parts {
        Some((algorithm, (key, []))) if algorithm == SSH.as_bytes() && key.len() == 32 => {
            PublicKey::from_spki_der(&[&SPKI_PREFIX, key].concat()).map_err(|error| error.to_string())
        }
        Some((algorithm, _)) if algorithm != SSH.as_bytes() => Err(format!(
            "found an SSH key of algorithm {}, expected {SSH}",
            quoted(&String::from_utf8_lossy(algorithm))
        )),
        _ => Err(format!("the SSH key is not an {SSH} key of 32 bytes")),
    }
}

/// Splits off a string: its length and its bytes (RFC 4251, section 5). Also returns the rest.
fn string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PEM: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA7MG1hyfz8SsxlIgansud4LKM57IHIw2Okw/hvOdeJWw=\n-----END PUBLIC KEY-----\n";

    fn ssh() -> String {
        let key = PublicKey::from_pem(PEM).unwrap();
        let blob = [&[0, 0, 0, 11], SSH.as_bytes(), &[0, 0, 0, 32], &key.to_spki_der()[12..]].concat();
        format!("{SSH} {} bob@acme.example", STANDARD.encode(blob))
    }

    #[test]
    fn a_key_is_the_same_in_every_form() {
        let pem = read(PEM).unwrap();
        let ssh = read(&format!("# keys\n\nrestrict {}\n", ssh())).unwrap();
        assert_eq!((&pem[0].key, &*pem[0].comment), (&ssh[0].key, ""));
        assert_eq!(ssh[0].comment, "bob@acme.example");
        assert_eq!(to_pem(&pem[0].key), PEM);
    }

    #[test]
    fn refuses_a_text_that_is_not_an_ed25519_key_and_says_what_it_is() {
        let line = ssh().replace("AAAAC3NzaC1lZDI1NTE5", "AAAAC3NzaC1lZDI1NTE4");
        assert!(read(&line).unwrap_err().contains("algorithm ssh-ed25518"));
        assert!(read("ssh-rsa AAAA bob").unwrap_err().contains("expected PEM"));
        assert!(read("\n# nothing\n").unwrap_err().contains("no key"));
    }

    proptest! {
        #[test]
        fn no_text_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let encoded = STANDARD.encode(&bytes);
            let _ = read(&format!("{SSH} {encoded}"));
            let _ = read(&format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{encoded}\n-----END OPENSSH PRIVATE KEY-----\n"));
        }
    }
}
