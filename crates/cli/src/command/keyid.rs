//! `keyid`: the ids by which postures, signatures and revocations name keys.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use writgate_cluster::{
    key_file::{KeyFile, KeyFileError},
    public_key_file,
};
use writgate_core::approval::KeyId;

use crate::{
    command::Format,
    failure::{Answer, Failure},
    manifest::input,
    postures::PostureSourceFlags,
    terminal::{
        output::{self, shown},
        passphrase::PassphraseSource,
    },
};

/// Print the ids of keys, from files or of all reviewers
///
/// Reads public keys (PEM, ssh-ed25519 lines) and private keys. Asks for the passphrase of a private key in PEM that is
/// encrypted, since its public half is encrypted too. The id is the SHA-256 of the public key's SPKI DER.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  kubectl writgate keyid bob.pub.pem ~/.ssh/id_ed25519.pub
  kubectl writgate keyid bob.pem --passphrase-file bob.passphrase
  kubectl writgate keyid --reviewers --posture-dir postures -o json")]
pub(crate) struct Arguments {
    /// Key file, `-` for standard input
    #[arg(value_name = "FILE", required_unless_present = "reviewers", conflicts_with = "reviewers")]
    files: Vec<PathBuf>,
    /// Print the keys of all reviewers of the postures
    #[arg(long)]
    reviewers: bool,
    #[command(flatten)]
    postures: PostureSourceFlags,
    #[command(flatten)]
    passphrase: PassphraseSource,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    let keys = if arguments.reviewers { of_reviewers(&arguments.postures)? } else { of_files(arguments)? };
    match arguments.output {
        Format::Json => output::print_json(&keys.iter().map(Key::to_json).collect::<Vec<_>>())?,
        Format::Text => output::print(&keys.iter().map(Key::to_text).collect::<String>())?,
    }
    Ok(Answer::Yes)
}

struct Key {
    id: KeyId,
    /// The file, or the environment.
    source: String,
    /// The owner's name, if it is known.
    name: String,
}

impl Key {
    fn to_text(&self) -> String {
        let name = if self.name.is_empty() { String::new() } else { format!("  {}", shown(&self.name)) };
        format!("{}  {}{name}\n", self.id, shown(&self.source))
    }

    fn to_json(&self) -> Value {
        json!({"keyId": self.id, "source": self.source, "name": Some(&self.name).filter(|name| !name.is_empty())})
    }
}

fn of_reviewers(flags: &PostureSourceFlags) -> Result<Vec<Key>, Failure> {
    let loaded = flags.load()?;
    let postures = loaded.set.environments().filter_map(|(_, posture)| posture.ok());
    let keys = postures.flat_map(|posture| {
        posture.keys().map(|(reviewer, key)| Key {
            id: key.id,
            source: posture.environment.clone(),
            name: reviewer.name.clone(),
        })
    });
    Ok(keys.collect())
}

fn of_files(arguments: &Arguments) -> Result<Vec<Key>, Failure> {
    let passphrase = arguments.passphrase.passphrase_file.as_deref();
    input::one_stdin(arguments.files.iter().map(PathBuf::as_path).chain(passphrase))?;
    let mut keys = Vec::new();
    for path in &arguments.files {
        keys.extend(of_file(path, &arguments.passphrase)?);
    }
    Ok(keys)
}

fn of_file(path: &Path, passphrase: &PassphraseSource) -> Result<Vec<Key>, Failure> {
    let text = zeroize::Zeroizing::new(input::small_text(path)?);
    let source = input::name(path);
    let failed = |error: KeyFileError| Failure::Undetermined(format!("{source}: {error}"));
    let key = |id: KeyId, name: &str| Key { id, source: source.clone(), name: name.to_owned() };
    if !text.contains("PRIVATE KEY-----") || text.contains("BEGIN OPENSSH PRIVATE KEY") {
        let named = public_key_file::read(&text).map_err(|why| Failure::Undetermined(format!("{source}: {why}")))?;
        return Ok(named.iter().map(|named| key(named.key.id(), &named.comment)).collect());
    }
    let id = match KeyFile::parse(&text).map_err(failed)? {
        KeyFile::Plain(plain) => plain.id(),
        KeyFile::Encrypted(locked) => locked.decrypt(&passphrase.of_key(path)?).map_err(failed)?.id(),
    };
    Ok(vec![key(id, "")])
}
