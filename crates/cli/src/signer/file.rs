//! A private key in a file that only its owner can read, possibly encrypted.

use std::{cell::OnceCell, path::Path};

use writgate_cluster::key_file::{KeyFile, PrivateKey};
use writgate_core::approval::PublicKey;
use zeroize::Zeroizing;

use crate::{failure::Failure, manifest::input, signer::Signature, terminal::passphrase::PassphraseSource};

/// A key file that was read.
pub(crate) struct KeyInFile<'a> {
    path: &'a Path,
    passphrase: &'a PassphraseSource,
    file: KeyFile,
    decrypted: OnceCell<PrivateKey>,
}

impl<'a> KeyInFile<'a> {
    pub(super) fn read(path: &'a Path, passphrase: &'a PassphraseSource) -> Result<Self, Failure> {
        let file = KeyFile::parse(&Zeroizing::new(input::small_text(path)?))
            .map_err(|error| Failure::Undetermined(format!("{}: {error}", input::name(path))))?;
        // Last, so that a file that is not a private key is reported as such.
        input::check_private(path, "private key")?;
        Ok(Self { path, passphrase, file, decrypted: OnceCell::new() })
    }

    pub(super) fn public(&self) -> Option<&PublicKey> {
        match &self.file {
            KeyFile::Plain(key) => Some(key.public()),
            KeyFile::Encrypted(_) => self.decrypted.get().map(PrivateKey::public),
        }
    }

    pub(super) fn asks_for_passphrase(&self) -> bool {
        self.public().is_none() && self.passphrase.is_asked_for()
    }

    /// The private key. Asks for the passphrase of an encrypted one, once.
    pub(super) fn unlock(&self) -> Result<&PrivateKey, Failure> {
        let encrypted = match &self.file {
            KeyFile::Plain(key) => return Ok(key),
            KeyFile::Encrypted(key) => key,
        };
        if let Some(key) = self.decrypted.get() {
            return Ok(key);
        }
        let key = encrypted
            .decrypt(&self.passphrase.of_key(self.path)?)
            .map_err(|error| Failure::Undetermined(format!("{}: {error}", input::name(self.path))))?;
        Ok(self.decrypted.get_or_init(|| key))
    }

    pub(super) fn sign(&self, message: &[u8]) -> Result<Signature, Failure> {
        let key = self.unlock()?;
        Ok(Signature { key: key.public().clone(), bytes: key.sign(message) })
    }
}
