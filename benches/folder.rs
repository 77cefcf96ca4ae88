//! Posture folders for `--posture-dir`: the smallest one, and folders with many documents of one kind.

use std::{fmt::Write as _, fs, path::Path};

use crate::approval::{key, public_pem};

/// The sizes of a folder. The requests use the first item of each kind.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    pub(crate) namespaces: u32,
    pub(crate) postures: u32,
    pub(crate) reviewers: u32,
}

impl Size {
    pub(crate) const SMALLEST: Self = Self { namespaces: 1, postures: 1, reviewers: 1 };
}

/// Writes the folder.
pub(crate) fn write(folder: &Path, size: Size) -> anyhow::Result<()> {
    fs::create_dir_all(folder)?;
    for (name, text) in files(size)? {
        fs::write(folder.join(name), text)?;
    }
    Ok(())
}

/// The folder's files by name. `key(0)` is the first reviewer's key.
pub(crate) fn files(size: Size) -> anyhow::Result<Vec<(String, String)>> {
    let mut pins = String::new();
    let mut namespaces = String::new();
    for number in 0..size.namespaces {
        let name = numbered("payments", number);
        writeln!(pins, "  {name}: payments")?;
        write!(
            namespaces,
            "---\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n  labels:\n    \
             writgate.dev/environment: production\n    writgate.dev/project: payments\n"
        )?;
    }
    let mut files = vec![("namespaces.yaml".to_owned(), namespaces)];

    let mut postures = String::new();
    for number in 0..size.postures {
        let environment = numbered("production", number);
        write!(
            postures,
            "---\napiVersion: writgate.dev/v1\nkind: Posture\nenvironment: {environment}\ncluster: prod-eu-1\n\
             reviewerSets: [reviewers]\nrevocationLists: [revocations]\nactions:\n  deploy:\n    \
             capabilities: [deploy]\n    quorum: [{{count: 1}}]\n    maxLifetime: 24h\n\
             replay:\n  images: [\"ghcr.io/acme/replay*\"]\n"
        )?;
        if number == 0 {
            write!(postures, "namespaces:\n{pins}")?;
        }
    }
    files.push(("postures.yaml".to_owned(), postures));

    let mut reviewers = "apiVersion: writgate.dev/v1\nkind: Reviewers\nname: reviewers\nreviewers:\n".to_owned();
    for number in 0..size.reviewers {
        let pem = public_pem(&key(number).verifying_key())?.trim_end().replace('\n', "\n          ");
        write!(
            reviewers,
            "  - name: {name}@acme.example\n    capabilities: [deploy]\n    identities: [{name}]\n    keys:\n      \
             - publicKey: |\n          {pem}\n",
            name = numbered("bob", number)
        )?;
    }
    files.push(("reviewers.yaml".to_owned(), reviewers));

    let revocations = format!(
        "apiVersion: writgate.dev/v1\nkind: Revocations\nname: revocations\nspecs:\n  - hash: sha256:{}\n    why: CVE\n",
        "0".repeat(64)
    );
    files.push(("revocations.yaml".to_owned(), revocations));
    Ok(files)
}

fn numbered(name: &str, number: u32) -> String {
    if number == 0 { name.to_owned() } else { format!("{name}-{number}") }
}
