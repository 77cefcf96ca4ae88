//! `keygen`: a reviewer's key pair, and the lines that make a posture trust it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use writgate_core::Grant;

use super::{
    failure::{Answer, Failure},
    output::{self, Access, Staged},
    passphrase::PassphraseSource,
};
use crate::key_file::PrivateKey;

/// Make a reviewer's key pair (Ed25519) and print the lines that make a posture trust it
///
/// Writes the private key (PKCS#8 PEM, encrypted, mode 0600) and beside it the public key (`bob.pem`, `bob.pub.pem`).
/// Neither overwrites a file. OpenSSL reads both.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  kubectl writgate keygen -o bob.pem --name bob@acme.example
  kubectl writgate keygen -o ci.pem --name ci@acme.example --passphrase-file ci.passphrase")]
pub(super) struct Arguments {
    /// File for the private key
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// The reviewer's name, for the lines that are printed
    #[arg(long, default_value = "NAME@EXAMPLE.ORG", hide_default_value = true)]
    name: String,
    /// A capability that the key may grant, for the lines that are printed; may be repeated
    #[arg(long, value_name = "GRANT", default_value = "deploy")]
    capability: Vec<Grant>,
    #[command(flatten)]
    passphrase: PassphraseSource,
    /// Leave the private key unencrypted: whoever reads the file can approve
    #[arg(long, conflicts_with = "passphrase_file")]
    no_passphrase: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    let private_path = &arguments.output;
    let public_path = public_path(private_path)?;
    // Before anybody types a passphrase twice.
    for path in [private_path, &public_path] {
        if fs::symlink_metadata(path).is_ok() {
            return Err(Failure::CouldNotTell(format!("{} is there already, and is not overwritten", path.display())));
        }
    }
    let broken = |error: crate::key_file::KeyFileError| Failure::CouldNotTell(error.to_string());
    let key = PrivateKey::generate().map_err(broken)?;
    let (pem, how) = if arguments.no_passphrase {
        (key.to_plain_pem(), "NOT encrypted")
    } else {
        (key.to_encrypted_pem(&arguments.passphrase.for_new_key()?).map_err(broken)?, "encrypted")
    };
    let private = Staged::write(private_path, pem.as_bytes(), Access::Private)?;
    let public = Staged::write(&public_path, key.public_pem().as_bytes(), Access::Public)?;
    private.create()?;
    public.create().inspect_err(|_| drop(fs::remove_file(private_path)))?;
    output::note(&format!(
        "private key: {} ({how}; keep it to yourself)\npublic key:  {}\nkey id:      {}",
        private_path.display(),
        public_path.display(),
        key.id()
    ));
    output::print(&snippet(arguments, &key))?;
    Ok(Answer::Yes)
}

/// `bob.pem` → `bob.pub.pem`
fn public_path(private: &Path) -> Result<PathBuf, Failure> {
    let no_file = || Failure::Misuse(format!("{} cannot be the name of a file", private.display()));
    let stem = private.file_stem().filter(|stem| *stem != "-").ok_or_else(no_file)?;
    let mut name = stem.to_owned();
    name.push(".pub.pem");
    let public = private.with_file_name(name);
    if public == private { Err(no_file()) } else { Ok(public) }
}

/// What goes under `reviewers` in a document of kind Reviewers.
fn snippet(arguments: &Arguments, key: &PrivateKey) -> String {
    let capabilities: Vec<String> = arguments.capability.iter().map(|grant| format!("\"{grant}\"")).collect();
    let indent = "          ";
    let pem = key.public_pem().replace('\n', &format!("\n{indent}"));
    let name = serde_json::Value::from(&*arguments.name); // a JSON string is a YAML string
    format!(
        "# under `reviewers:` in a document of kind Reviewers; key id {}\n  - name: {name}\n    capabilities: [{}]\n    \
         keys:\n      - publicKey: |\n{indent}{}\n",
        key.id(),
        capabilities.join(", "),
        pem.trim_end()
    )
}
