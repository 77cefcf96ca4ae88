//! `hash`: the spec hash of every workload in a file.

use std::path::PathBuf;

use serde::Serialize;

use crate::{
    command::Format,
    failure::{Answer, Failure},
    manifest::{input, namespace::NamespaceFlag, workloads},
    terminal::output::{self, shown},
};

/// Print the spec hash of every workload in a file
///
/// The hash is the one that the webhook computes at admission, with the API server's defaults filled in. Objects that
/// are not workloads are skipped.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  kubectl writgate hash -f app.yaml
  helm template orders ./chart | kubectl writgate hash -f - -n payments -o json")]
pub(crate) struct Arguments {
    /// Manifest, YAML or JSON, `-` for standard input; may be repeated
    #[arg(short, long = "filename", value_name = "FILE", required = true)]
    filename: Vec<PathBuf>,
    #[command(flatten)]
    namespace: NamespaceFlag,
    #[command(flatten)]
    reading: input::ManifestFlags,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// One workload. Stable: other programs read it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Hashed {
    api_version: String,
    kind: String,
    namespace: Option<String>,
    name: Option<String>,
    spec_hash: String,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    input::one_stdin(arguments.filename.iter().map(PathBuf::as_path))?;
    let mut hashed = Vec::new();
    let manifests = input::manifests(&arguments.filename, &arguments.reading)?;
    for manifest in &manifests {
        workloads::warn_of_outdated(manifest);
        let Some(hash) = manifest.spec_hash() else { continue };
        hashed.push(Hashed {
            api_version: manifest.api_version().to_owned(),
            kind: manifest.kind().to_owned(),
            namespace: arguments.namespace.stated(manifest)?,
            name: manifest.subject_name(),
            spec_hash: hash?.to_string(),
        });
    }
    if hashed.is_empty() {
        return Err(Failure::Undetermined(workloads::none_in(&manifests)));
    }
    match arguments.output {
        Format::Json => output::print_json(&hashed)?,
        Format::Text => output::print(&hashed.iter().map(line).collect::<String>())?,
    }
    Ok(Answer::Yes)
}

fn line(hashed: &Hashed) -> String {
    let namespace = hashed.namespace.as_deref().unwrap_or("-");
    let name = hashed.name.as_deref().unwrap_or("-");
    let Hashed { api_version, kind, spec_hash, .. } = hashed;
    format!("{spec_hash}  {api_version}/{kind}/{}/{}\n", shown(namespace), shown(name))
}
