//! `keygen`: a reviewer's key pair, and the lines that add it to a posture.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use writgate_cluster::key_file::PrivateKey;
use writgate_core::approval::Grant;

use crate::{
    failure::{Answer, Failure},
    terminal::{
        output::{self, Access, StagedFile},
        passphrase::PassphraseSource,
    },
};

/// Make a reviewer's key pair (Ed25519)
///
/// Writes the private key (PKCS#8 PEM, encrypted, mode 0600) and the public key in the same folder (`bob.pem`,
/// `bob.pub.pem`), and prints the lines that add the reviewer to a document of kind Reviewers. Existing files are not
/// overwritten. OpenSSL can read both files.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  kubectl writgate keygen -o bob.pem --name bob@acme.example
  kubectl writgate keygen -o bob.pem --name bob@acme.example --group sre \\
      --capability deploy --capability replay.execute --identity bob
  kubectl writgate keygen -o carol.pem --name carol@acme.example --passphrase-file carol.passphrase")]
pub(crate) struct Arguments {
    /// Write the private key to FILE
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Name of the reviewer in the printed lines
    #[arg(long, default_value = "NAME@EXAMPLE.ORG", hide_default_value = true)]
    name: String,
    /// Capability that the key may grant, in the printed lines; may be repeated
    #[arg(long, value_name = "GRANT", default_value = "deploy")]
    capability: Vec<Grant>,
    /// Group of the reviewer, in the printed lines; may be repeated
    #[arg(long)]
    group: Vec<String>,
    /// Project in which the reviewer may approve, in the printed lines; may be repeated [default: all]
    #[arg(long)]
    project: Vec<String>,
    /// API user name of the reviewer, in the printed lines; may be repeated
    #[arg(long, value_name = "USER")]
    identity: Vec<String>,
    #[command(flatten)]
    passphrase: PassphraseSource,
    /// Leave the private key unencrypted: anybody who can read the file can approve
    #[arg(long, conflicts_with = "passphrase_file")]
    no_passphrase: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    let private_path = &arguments.output;
    let public_path = public_path(private_path)?;
    // Before asking for a passphrase twice.
    for path in [private_path, &public_path] {
        if fs::symlink_metadata(path).is_ok() {
            return Err(Failure::Undetermined(format!(
                "{} exists and is not overwritten; choose another name",
                path.display()
            )));
        }
    }
    let broken = |error: writgate_cluster::key_file::KeyFileError| Failure::Undetermined(error.to_string());
    let key = PrivateKey::generate().map_err(broken)?;
    let (pem, how) = if arguments.no_passphrase {
        (key.to_plain_pem(), "NOT encrypted")
    } else {
        (key.to_encrypted_pem(&arguments.passphrase.for_new_key()?).map_err(broken)?, "encrypted")
    };
    let private = StagedFile::write(private_path, pem.as_bytes(), Access::Private)?;
    let public = StagedFile::write(&public_path, key.public_pem().as_bytes(), Access::Public)?;
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
    let no_file = || Failure::Misuse(format!("{} is not a valid file name", private.display()));
    let stem = private.file_stem().filter(|stem| *stem != "-").ok_or_else(no_file)?;
    let mut name = stem.to_owned();
    name.push(".pub.pem");
    let public = private.with_file_name(name);
    if public == private { Err(no_file()) } else { Ok(public) }
}

/// The lines for `reviewers` in a document of kind Reviewers.
fn snippet(arguments: &Arguments, key: &PrivateKey) -> String {
    let grants: Vec<String> = arguments.capability.iter().map(ToString::to_string).collect();
    let lists = [
        ("groups", &arguments.group),
        ("projects", &arguments.project),
        ("capabilities", &grants),
        ("identities", &arguments.identity),
    ];
    let lists = lists.into_iter().filter(|(_, list)| !list.is_empty());
    let lists: Vec<String> = lists.map(|(field, list)| format!("    {field}: {}\n", flow(list))).collect();
    let indent = "          ";
    let pem = key.public_pem().replace('\n', &format!("\n{indent}"));
    format!(
        "# under `reviewers:` in a document of kind Reviewers; key id {}\n  - name: {}\n{}    keys:\n      - publicKey: \
         |\n{indent}{}\n",
        key.id(),
        Value::from(&*arguments.name), // a JSON string is a YAML string
        lists.concat(),
        pem.trim_end()
    )
}

fn flow(list: &[String]) -> String {
    let items: Vec<String> = list.iter().map(|item| Value::from(&**item).to_string()).collect();
    format!("[{}]", items.join(", "))
}
