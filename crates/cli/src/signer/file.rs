//! A private key in a file that only its owner can read, possibly encrypted.

use std::path::Path;

use writgate_cluster::key_file::KeyFile;
use writgate_core::approval::KeyId;
use zeroize::Zeroizing;

use crate::{failure::Failure, manifest::input, signer::Signature, terminal::passphrase::PassphraseSource};

/// A key file that was read.
pub(crate) struct KeyInFile<'a> {
    path: &'a Path,
    passphrase: &'a PassphraseSource,
    file: KeyFile,
}

impl<'a> KeyInFile<'a> {
    pub(super) fn read(path: &'a Path, passphrase: &'a PassphraseSource) -> Result<Self, Failure> {
        let file = KeyFile::parse(&Zeroizing::new(input::small_text(path)?))
            .map_err(|error| Failure::Undetermined(format!("{}: {error}", input::name(path))))?;
        // Last, so that a file that is not a private key is reported as such.
        check_private(path)?;
        Ok(Self { path, passphrase, file })
    }

    pub(super) fn id(&self) -> Option<KeyId> {
        match &self.file {
            KeyFile::Plain(key) => Some(key.id()),
            KeyFile::Encrypted(_) => None,
        }
    }

    pub(super) fn sign(&self, message: &[u8]) -> Result<Signature, Failure> {
        let key = match &self.file {
            KeyFile::Plain(key) => return Ok(Signature { key: key.id(), bytes: key.sign(message) }),
            KeyFile::Encrypted(key) => key,
        };
        let key = key
            .decrypt(&self.passphrase.of_key(self.path)?)
            .map_err(|error| Failure::Undetermined(format!("{}: {error}", input::name(self.path))))?;
        Ok(Signature { key: key.id(), bytes: key.sign(message) })
    }
}

/// If others can read a private key, a signature with it does not prove who signed.
#[cfg(unix)]
fn check_private(path: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::PermissionsExt as _;
    let Ok(found) = std::fs::metadata(path) else { return Ok(()) }; // reading the file reports the error
    let mode = found.permissions().mode() & 0o777;
    // No permissions for the group and for others, as ssh requires.
    if input::is_stdin(path) || !found.is_file() || mode.trailing_zeros() >= 6 {
        return Ok(());
    }
    Err(Failure::Undetermined(format!(
        "others can read the private key {0} (mode {mode:04o}); run: chmod 600 {0}",
        path.display()
    )))
}

#[cfg(not(unix))]
fn check_private(_: &Path) -> Result<(), Failure> {
    Ok(())
}
