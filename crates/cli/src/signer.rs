//! Signers: a key file, a program, or the SSH agent. A signature is verified before it is used.
//!
//! Signers see bytes only. The statement is built in `approval`.

mod agent;
mod exec;
mod file;

use std::{path::PathBuf, time::Duration};

use writgate_cluster::key_file::PrivateKey;
use writgate_core::approval::PublicKey;

use crate::{
    failure::Failure,
    terminal::{output::shown, passphrase::PassphraseSource},
};

/// The key, program or agent that signs.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct SignerFlags {
    /// Your private key: Ed25519, PKCS#8 PEM, readable by you alone
    #[arg(short, long, value_name = "FILE", help_heading = "Signer")]
    pub(crate) key: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) passphrase: PassphraseSource,
    /// Program that signs, with its arguments, for a KMS or a hardware token (docs/signers.md)
    #[arg(long, value_name = "COMMAND", num_args = 1.., conflicts_with_all = ["key", "ssh_agent"], help_heading = "Signer")]
    signer: Vec<String>,
    /// Sign with an Ed25519 key of the SSH agent, given by fingerprint, comment or public key file [default: the only
    /// one]
    #[arg(long, value_name = "KEY", num_args = 0..=1, default_missing_value = "", conflicts_with = "key", help_heading = "Signer")]
    ssh_agent: Option<String>,
    /// Time limit for the program or the agent, which may wait for a touch or a PIN
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = patience, help_heading = "Signer")]
    signer_timeout: Duration,
}

fn patience(text: &str) -> Result<Duration, String> {
    let duration = writgate_core::encoding::parse_duration(text).map_err(|error| error.to_string())?;
    Duration::try_from(duration).map_err(|_| "a duration cannot be negative".to_owned())
}

/// A signer that was found.
#[expect(clippy::large_enum_variant, reason = "one signer exists for each run of the program")]
pub(crate) enum Signer<'a> {
    File(file::KeyInFile<'a>),
    Program(exec::Program<'a>),
    Agent(agent::Identity),
}

/// A verified signature and the key that made it.
pub(crate) struct Signature {
    pub(crate) key: PublicKey,
    pub(crate) bytes: [u8; 64],
}

impl SignerFlags {
    /// Fails if no flag says who signs. A required flag of the parser would name `--key` only.
    pub(crate) fn is_given(&self) -> Result<(), Failure> {
        if self.key.is_some() || self.ssh_agent.is_some() || !self.signer.is_empty() {
            return Ok(());
        }
        Err(Failure::Misuse("no signer is given; pass --key FILE, --signer COMMAND or --ssh-agent [KEY]".to_owned()))
    }

    /// Finds the key. Does not ask for a passphrase, and does not sign.
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
    /// The public key; none for an encrypted key file until it is decrypted.
    pub(crate) fn public(&self) -> Option<&PublicKey> {
        match self {
            Self::File(key) => key.public(),
            Self::Program(program) => Some(&program.public),
            Self::Agent(identity) => Some(&identity.public),
        }
    }

    /// Whether a passphrase would be asked for on the terminal.
    pub(crate) fn asks_for_passphrase(&self) -> bool {
        match self {
            Self::File(key) => key.asks_for_passphrase(),
            Self::Program(_) | Self::Agent(_) => false,
        }
    }

    /// The public key. Decrypts a key file, and asks for its passphrase if necessary.
    pub(crate) fn unlock(&self) -> Result<&PublicKey, Failure> {
        match self {
            Self::File(key) => key.unlock().map(PrivateKey::public),
            Self::Program(program) => Ok(&program.public),
            Self::Agent(identity) => Ok(&identity.public),
        }
    }

    /// Signs `message`, the DSSE encoding of a payload of type `payload_type`.
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

/// Verifies a signature as strictly as the webhook does.
fn checked(key: &PublicKey, message: &[u8], bytes: [u8; 64], whose: &str) -> Result<Signature, Failure> {
    if key.verify_strict(message, &bytes) {
        return Ok(Signature { key: key.clone(), bytes });
    }
    Err(Failure::Undetermined(format!(
        "the signature of {} does not verify with key {}, which it named; nothing was written",
        shown(whose),
        key.id()
    )))
}
