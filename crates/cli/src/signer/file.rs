//! A key in a file, its owner's alone, perhaps under a passphrase.

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
            .map_err(|error| Failure::CouldNotTell(format!("{}: {error}", input::name(path))))?;
        // Last, so that what is no private key is told as that.
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
            .map_err(|error| Failure::CouldNotTell(format!("{}: {error}", input::name(self.path))))?;
        Ok(Signature { key: key.id(), bytes: key.sign(message) })
    }
}

/// A private key that others can read is nobody's alone, and a signature with it proves nothing.
#[cfg(unix)]
fn check_private(path: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::PermissionsExt as _;
    let Ok(found) = std::fs::metadata(path) else { return Ok(()) }; // reading it tells why
    let mode = found.permissions().mode() & 0o777;
    // Nothing for the group, nothing for others, as ssh has it.
    if input::is_stdin(path) || !found.is_file() || mode.trailing_zeros() >= 6 {
        return Ok(());
    }
    Err(Failure::CouldNotTell(format!(
        "others can read the private key {0} (mode {mode:04o}); run: chmod 600 {0}",
        path.display()
    )))
}

#[cfg(not(unix))]
fn check_private(_: &Path) -> Result<(), Failure> {
    Ok(())
}
