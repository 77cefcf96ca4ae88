//! Who signs: a key in a file, a program that has one, or the SSH agent. Whatever it is, what it gives is checked
//! before it is used.
//!
//! What is signed is `approve`'s business; nothing here knows what the bytes mean.

mod agent;
mod exec;
mod file;

use std::{path::PathBuf, time::Duration};

use writgate_core::approval::{KeyId, PublicKey};

use crate::{
    failure::Failure,
    terminal::{output::shown, passphrase::PassphraseSource},
};

/// Where the key is.
#[derive(clap::Args, Debug)]
pub(crate) struct SignerFlags {
    /// Your private key, Ed25519 in PKCS#8 PEM; readable by you alone
    #[arg(short, long, value_name = "FILE", required_unless_present_any = ["signer", "ssh_agent"], help_heading = "Signer")]
    pub(crate) key: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) passphrase: PassphraseSource,
    /// A program that signs, for a KMS or a hardware token (docs/signers.md), and its arguments
    #[arg(long, value_name = "COMMAND", num_args = 1.., conflicts_with_all = ["key", "ssh_agent"], help_heading = "Signer")]
    signer: Vec<String>,
    /// An Ed25519 key of the SSH agent: its fingerprint, comment or public key file [default: the only one]
    #[arg(long, value_name = "KEY", num_args = 0..=1, default_missing_value = "", conflicts_with = "key", help_heading = "Signer")]
    ssh_agent: Option<String>,
    /// How long the program or the agent may take; somebody may have to touch something
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = patience, help_heading = "Signer")]
    signer_timeout: Duration,
}

fn patience(text: &str) -> Result<Duration, String> {
    let duration = writgate_core::encoding::parse_duration(text).map_err(|error| error.to_string())?;
    Duration::try_from(duration).map_err(|_| "a duration cannot be negative".to_owned())
}

/// Something that has a private key.
pub(crate) enum Signer<'a> {
    File(file::KeyInFile<'a>),
    Program(exec::Program<'a>),
    Agent(agent::Identity),
}

/// A signature that was checked, and the key that made it.
pub(crate) struct Signature {
    pub(crate) key: KeyId,
    pub(crate) bytes: [u8; 64],
}

impl SignerFlags {
    /// Finds the key. A passphrase is not asked for yet, and nothing is signed.
    pub(crate) fn find(&self) -> Result<Signer<'_>, Failure> {
        if let Some(key) = &self.key {
            return file::KeyInFile::read(key, &self.passphrase).map(Signer::File);
        }
        if let Some(wanted) = &self.ssh_agent {
            return agent::Identity::find(wanted, self.signer_timeout).map(Signer::Agent);
        }
        exec::Program::find(&self.signer, self.signer_timeout).map(Signer::Program)
    }
}

impl Signer<'_> {
    /// The key's id, where it is known before anything is signed: an encrypted file keeps it to itself.
    pub(crate) fn id(&self) -> Option<KeyId> {
        match self {
            Self::File(key) => key.id(),
            Self::Program(program) => Some(program.public.id()),
            Self::Agent(identity) => Some(identity.public.id()),
        }
    }

    /// Signs `message`, which is DSSE's encoding of a payload of type `payload_type`.
    pub(crate) fn sign(&self, payload_type: &str, message: &[u8]) -> Result<Signature, Failure> {
        match self {
            Self::File(key) => key.sign(message),
            Self::Program(program) => {
                checked(&program.public, message, program.sign(payload_type, message)?, &program.name())
            }
            Self::Agent(identity) => checked(&identity.public, message, identity.sign(message)?, "the SSH agent"),
        }
    }
}

/// A signature is used only if the gate would find it good.
fn checked(key: &PublicKey, message: &[u8], bytes: [u8; 64], whose: &str) -> Result<Signature, Failure> {
    if key.verify_strict(message, &bytes) {
        return Ok(Signature { key: key.id(), bytes });
    }
    Err(Failure::CouldNotTell(format!(
        "the signature of {} is not one by key {}, which it named, over what it was given; nothing is written",
        shown(whose),
        key.id()
    )))
}
