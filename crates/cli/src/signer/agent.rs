//! An Ed25519 key of the SSH agent (draft-ietf-sshm-ssh-agent, formerly OpenSSH's PROTOCOL.agent).
//!
//! The agent signs the bytes that it is given, with a plain Ed25519 signature (RFC 8709, section 6). Writgate's message
//! begins with `DSSEv1 `. A login signature begins with the length of a session id, and a file signature with `SSHSIG`,
//! so one cannot be taken for another (docs/adr/0014-signers.md).

use std::{
    fs,
    io::{self, Read as _, Write as _},
    path::Path,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD as BASE64};
use sha2::{Digest as _, Sha256};
use writgate_cluster::key_file::public_key;
use writgate_core::approval::PublicKey;

use crate::{
    failure::Failure,
    platform,
    terminal::output::{self, shown},
};

const ED25519: &[u8] = b"ssh-ed25519";
const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;
/// The limit of OpenSSH's agent.
const MAX_MESSAGE: u32 = 256 * 1024;

/// A key that the agent holds.
pub(crate) struct Identity {
    /// The public key in SSH's wire format.
    blob: Vec<u8>,
    comment: String,
    patience: Duration,
    pub(super) public: PublicKey,
}

impl Identity {
    /// Finds the key that `wanted` refers to, or the only key if `wanted` is empty.
    pub(super) fn find(wanted: &str, patience: Duration) -> Result<Self, Failure> {
        let answer = exchange(&[REQUEST_IDENTITIES], patience)?;
        let listed = identities(&answer, patience).ok_or_else(|| odd("its list of keys cannot be read"))?;
        let blob = public_key_file(wanted)?;
        let is_wanted = |identity: &Self| match &blob {
            Some(blob) => identity.blob == *blob,
            None => wanted.is_empty() || wanted == identity.comment || wanted == identity.fingerprint(),
        };
        let mut found: Vec<Self> = listed.into_iter().filter(is_wanted).collect();
        match (found.pop(), found.len()) {
            (Some(only), 0) => Ok(only),
            (None, _) if wanted.is_empty() => {
                Err(Failure::Undetermined("the SSH agent has no Ed25519 key; add one with ssh-add".to_owned()))
            }
            (None, _) => Err(Failure::Undetermined(format!(
                "the SSH agent has no Ed25519 key {}; run `ssh-add -l` to list its keys",
                shown(wanted)
            ))),
            (Some(last), _) => {
                let names: Vec<String> = found.iter().chain([&last]).map(Self::name).collect();
                Err(Failure::Misuse(format!(
                    "the SSH agent has several such keys; select one with --ssh-agent FINGERPRINT: {}",
                    names.join(", ")
                )))
            }
        }
    }

    /// As `ssh-add -l` prints it.
    fn fingerprint(&self) -> String {
        format!("SHA256:{}", BASE64.encode(Sha256::digest(&self.blob)))
    }

    fn name(&self) -> String {
        format!("{} {}", self.fingerprint(), shown(&self.comment))
    }

    /// Asks the agent to sign. The signature is not verified yet.
    pub(super) fn sign(&self, message: &[u8]) -> Result<[u8; 64], Failure> {
        output::note(&format!("waiting for the SSH agent to sign with {}; it may ask for confirmation", self.name()));
        let mut request = vec![SIGN_REQUEST];
        put(&mut request, &self.blob);
        put(&mut request, message);
        request.extend([0; 4]); // no flags: they are for RSA keys
        let answer = exchange(&request, self.patience)?;
        signature(&answer).ok_or_else(|| {
            Failure::Undetermined(
                "the SSH agent did not sign: the key may have been removed, or the request was declined".to_owned(),
            )
        })
    }
}

fn odd(why: &str) -> Failure {
    Failure::Undetermined(format!("unexpected answer from the SSH agent: {why}"))
}

/// The Ed25519 keys of an answer; none if the answer is malformed.
fn identities(answer: &[u8], patience: Duration) -> Option<Vec<Identity>> {
    let mut rest = answer.strip_prefix(&[IDENTITIES_ANSWER])?;
    let count = u32::from_be_bytes(*rest.first_chunk()?);
    rest = rest.get(4..)?;
    let mut found = Vec::new();
    for _ in 0..count {
        let (blob, comment) = (take(&mut rest)?, take(&mut rest)?);
        if let Some(public) = ed25519_key(blob) {
            let comment = String::from_utf8_lossy(comment).into_owned();
            found.push(Identity { blob: blob.to_vec(), comment, patience, public });
        }
    }
    Some(found)
}

/// The key of `string "ssh-ed25519", string key`. None for other kinds, including those of hardware tokens
/// (`sk-ssh-ed25519@openssh.com`), which sign more than the message.
fn ed25519_key(mut blob: &[u8]) -> Option<PublicKey> {
    (take(&mut blob)? == ED25519).then_some(())?;
    let key = <&[u8; 32]>::try_from(take(&mut blob)?).ok()?;
    if blob.is_empty() { public_key(key).ok() } else { None }
}

/// The 64 bytes of `string (string "ssh-ed25519", string signature)`.
fn signature(answer: &[u8]) -> Option<[u8; 64]> {
    let mut rest = answer.strip_prefix(&[SIGN_RESPONSE])?;
    let mut inner = take(&mut rest)?;
    (take(&mut inner)? == ED25519).then_some(())?;
    take(&mut inner)?.try_into().ok()
}

/// Takes a four-byte length and as many bytes.
fn take<'a>(from: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(u32::from_be_bytes(*from.first_chunk()?)).ok()?;
    let taken = from.get(4..)?.get(..length)?;
    *from = from.get(4 + length..)?;
    Some(taken)
}

fn put(into: &mut Vec<u8>, bytes: &[u8]) {
    into.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    into.extend(bytes);
}

/// The key of a public key file: `ssh-ed25519 <base64> <comment>`; none if `wanted` is not the name of a file.
fn public_key_file(wanted: &str) -> Result<Option<Vec<u8>>, Failure> {
    let path = Path::new(wanted);
    if wanted.is_empty() || !path.is_file() {
        return Ok(None);
    }
    let text = fs::read_to_string(path)
        .map_err(|error| Failure::Undetermined(format!("cannot read {}: {error}", path.display())))?;
    let blob = text.split_whitespace().nth(1).and_then(|blob| BASE64.decode(blob.trim_end_matches('=')).ok());
    match blob.filter(|blob| ed25519_key(blob).is_some()) {
        Some(blob) => Ok(Some(blob)),
        None => Err(Failure::Undetermined(format!(
            "{} contains no Ed25519 public key in ssh-keygen's format; expected `ssh-ed25519 AAAA… comment`",
            path.display()
        ))),
    }
}

/// Sends one request to the agent.
fn exchange(request: &[u8], patience: Duration) -> Result<Vec<u8>, Failure> {
    if !platform::HAS_AGENT_SOCKET {
        return Err(Failure::Misuse("the SSH agent is supported on Unix only; use --signer".to_owned()));
    }
    let socket = std::env::var_os("SSH_AUTH_SOCK").filter(|socket| !socket.is_empty()).ok_or_else(|| {
        Failure::Undetermined("no SSH agent found: SSH_AUTH_SOCK is not set; start an agent with ssh-agent".to_owned())
    })?;
    let exchanged = || -> io::Result<Option<Vec<u8>>> {
        let mut stream = platform::connect_to_agent(&socket, Some(patience).filter(|patience| !patience.is_zero()))?;
        let mut framed = Vec::new();
        put(&mut framed, request);
        stream.write_all(&framed)?;
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length);
        if length > MAX_MESSAGE {
            return Ok(None);
        }
        let mut answer = Vec::new();
        stream.take(length.into()).read_to_end(&mut answer)?;
        Ok(Some(answer).filter(|answer| u32::try_from(answer.len()) == Ok(length)))
    };
    match exchanged() {
        Ok(Some(answer)) => Ok(answer),
        Ok(None) => Err(odd("its length differs from the announced one")),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            Err(Failure::Undetermined(format!(
                "the SSH agent did not answer within {patience:?}; --signer-timeout changes the limit"
            )))
        }
        Err(error) => Err(Failure::Undetermined(format!(
            "cannot contact the SSH agent at {}: {error}",
            shown(&socket.to_string_lossy())
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(parts: &[&[u8]]) -> Vec<u8> {
        let mut all = Vec::new();
        for part in parts {
            put(&mut all, part);
        }
        all
    }

    /// The base point: a valid key that nobody holds.
    fn key() -> [u8; 32] {
        let mut key = [0x66; 32];
        key[0] = 0x58;
        key
    }

    #[test]
    fn skips_keys_of_other_kinds() {
        let blob = framed(&[ED25519, &key()]);
        let hardware = framed(&[b"sk-ssh-ed25519@openssh.com", &key(), b"ssh:"]);
        let mut answer = vec![IDENTITIES_ANSWER, 0, 0, 0, 3];
        answer.extend(framed(&[b"junk", b"one", &hardware, b"two", &blob, b"three"]));
        let found = identities(&answer, Duration::ZERO).unwrap();
        assert_eq!(found.iter().map(|identity| &*identity.comment).collect::<Vec<_>>(), ["three"]);
    }

    #[test]
    fn rejects_a_damaged_answer() {
        let blob = framed(&[ED25519, &key()]);
        let mut answer = vec![IDENTITIES_ANSWER, 0, 0, 0, 1];
        answer.extend(framed(&[&blob, b"comment"]));
        let mut signed = vec![SIGN_RESPONSE];
        signed.extend(framed(&[&framed(&[ED25519, &[7; 64]])]));
        assert!(identities(&answer, Duration::ZERO).is_some() && signature(&signed) == Some([7; 64]));
        for length in 0..answer.len() {
            assert!(identities(&answer[..length], Duration::ZERO).is_none(), "{length}");
        }
        for length in 0..signed.len() {
            assert_eq!(signature(&signed[..length]), None, "{length}");
        }
        assert_eq!(signature(&[5]), None);
    }
}
