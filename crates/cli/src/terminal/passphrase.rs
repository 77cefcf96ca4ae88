//! Passphrases, from a file, from standard input or from a terminal, but never from a flag.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use inquire::{InquireError, Password, PasswordDisplayMode};
use zeroize::Zeroizing;

use crate::{failure::Failure, manifest::input};

/// Where a passphrase comes from.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct PassphraseSource {
    /// Read the key's passphrase from the first line of FILE, `-` for standard input [default: ask on the terminal]
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// A passphrase that was typed elsewhere than on the terminal.
    #[arg(skip)]
    pub(crate) typed: Option<TypedPassphrase>,
}

/// A passphrase that was typed elsewhere than on the terminal. Its debug text does not contain it.
#[derive(Clone)]
pub(crate) struct TypedPassphrase(pub(crate) Zeroizing<String>);

impl fmt::Debug for TypedPassphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TypedPassphrase")
    }
}

impl PassphraseSource {
    /// Whether the terminal is asked for a passphrase.
    pub(crate) fn is_asked_for(&self) -> bool {
        self.passphrase_file.is_none() && self.typed.is_none()
    }

    /// The passphrase of an existing key.
    pub(crate) fn of_key(&self, key: &Path) -> Result<Zeroizing<String>, Failure> {
        match (&self.passphrase_file, &self.typed) {
            (Some(path), _) => first_line(path),
            (None, Some(typed)) => Ok(typed.0.clone()),
            (None, None) => ask(Password::new(&format!("Passphrase of {}:", key.display())).without_confirmation()),
        }
    }

    /// The passphrase of a new key. A terminal asks for it twice.
    pub(crate) fn for_new_key(&self) -> Result<Zeroizing<String>, Failure> {
        let passphrase =
            match &self.passphrase_file {
                Some(path) => first_line(path)?,
                None => ask(Password::new("Passphrase for the new key:")
                    .with_custom_confirmation_message("Repeat the passphrase:"))?,
            };
        if passphrase.is_empty() {
            return Err(Failure::Misuse(
                "the passphrase is empty; pass --no-passphrase for an unencrypted key".to_owned(),
            ));
        }
        Ok(passphrase)
    }
}

/// Reads the file as OpenSSL's `-passin file:` does.
fn first_line(path: &Path) -> Result<Zeroizing<String>, Failure> {
    let text = Zeroizing::new(input::small_text(path)?);
    input::check_private(path, "passphrase")?;
    Ok(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned()))
}

fn ask(prompt: Password<'_>) -> Result<Zeroizing<String>, Failure> {
    prompt.with_display_mode(PasswordDisplayMode::Hidden).prompt().map(Zeroizing::new).map_err(|error| match error {
        InquireError::NotTTY | InquireError::IO(_) => {
            Failure::Misuse("there is no terminal to ask for a passphrase; pass --passphrase-file".to_owned())
        }
        InquireError::OperationCanceled | InquireError::OperationInterrupted => {
            Failure::Undetermined("no passphrase was given".to_owned())
        }
        other => Failure::Undetermined(format!("cannot ask for a passphrase: {other}")),
    })
}
