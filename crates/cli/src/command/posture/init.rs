//! `posture init`: the first documents of an environment: posture, reviewers, revocations and a governed namespace.
//!
//! The documents are checked before they are written, with the checks of the cluster.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::PathBuf, str::FromStr};

use serde_json::Value;
use writgate_cluster::{names, public_key_file};
use writgate_core::{
    posture::{Document, PostureSet},
    vocabulary::{ENVIRONMENT_LABEL, PROJECT_LABEL},
};

use crate::{
    command::posture::check,
    failure::{Answer, Failure},
    manifest::input,
    terminal::output::{self, Access, StagedFile},
};

/// Write the first documents of an environment: posture, reviewers, revocations, namespace
///
/// The documents are ConfigMaps for `kubectl apply -f DIR`. Their comments show further fields. No file is overwritten.
#[derive(clap::Args, Debug)]
#[command(override_usage = "\
kubectl writgate posture init <DIR> --environment <NAME> --project <NAME>
           --namespace <NAME> --reviewer <NAME=FILE>... [OPTIONS]")]
#[command(after_help = "\
Examples:
  kubectl writgate posture init postures --environment production --project payments \\
      --namespace payments --reviewer bob@acme.example=bob.pub.pem
  kubectl writgate posture init postures --environment staging --project payments \\
      --namespace payments-staging --reviewer bob@acme.example=~/.ssh/id_ed25519.pub --bare")]
pub(crate) struct Arguments {
    /// Folder to write to; created if it does not exist
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Name of the environment
    #[arg(long, value_parser = label)]
    environment: String,
    /// Project of the namespace
    #[arg(long, value_parser = label)]
    project: String,
    /// Namespace that the posture will govern
    #[arg(short, long, value_parser = namespace)]
    namespace: String,
    /// Name of the cluster, which every approval must then name
    #[arg(long)]
    cluster: Option<String>,
    /// Reviewer, and the file of a public key; may be repeated, also for further keys of one reviewer
    #[arg(long, value_name = "NAME=FILE", required = true)]
    reviewer: Vec<NamedFile>,
    /// Number of reviewers who must sign
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    quorum: u8,
    /// Namespace of the posture documents
    #[arg(long, env = "WRITGATE_SYSTEM_NAMESPACE", default_value = "writgate-system", value_name = "NAMESPACE", value_parser = namespace)]
    system_namespace: String,
    /// Write bare documents instead of ConfigMaps
    #[arg(long)]
    bare: bool,
}

/// `NAME=FILE`
#[derive(Clone, Debug)]
struct NamedFile {
    name: String,
    file: PathBuf,
}

impl FromStr for NamedFile {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((name, file)) if !name.trim().is_empty() && !file.is_empty() => {
                Ok(Self { name: name.to_owned(), file: file.into() })
            }
            _ => Err("expected NAME=FILE, as bob@acme.example=bob.pub.pem"),
        }
    }
}

/// Environment and project are label values, and the environment is part of ConfigMap names.
fn label(text: &str) -> Result<String, &'static str> {
    if names::is_label(text) {
        Ok(text.to_owned())
    } else {
        Err("expected at most 63 lower-case letters, digits and -")
    }
}

fn namespace(text: &str) -> Result<String, &'static str> {
    label(text)
}

pub(super) fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    let reviewers = reviewers(arguments)?;
    let files = files(arguments, &reviewers);
    check(arguments, &files)?;
    let folder = &arguments.folder;
    for (name, _) in &files {
        if fs::symlink_metadata(folder.join(name)).is_ok() {
            return Err(Failure::Undetermined(format!(
                "{} already exists; choose another folder or remove the file",
                folder.join(name).display()
            )));
        }
    }
    fs::create_dir_all(folder)
        .map_err(|error| Failure::Undetermined(format!("cannot create {}: {error}", folder.display())))?;
    for (name, text) in &files {
        let path = folder.join(name);
        StagedFile::write(&path, text.as_bytes(), Access::Public)?.create()?;
        output::print(&format!("{}\n", path.display()))?;
    }
    let next = if arguments.bare { "kubectl writgate verify --posture-dir" } else { "kubectl apply -f" };
    output::note(&format!(
        "next: read the files, then run kubectl writgate posture check -f {0}\nand: {next} {0}",
        folder.display()
    ));
    Ok(Answer::Yes)
}

/// Each reviewer with all their keys in PEM, in the order of the flags.
fn reviewers(arguments: &Arguments) -> Result<Vec<(String, Vec<String>)>, Failure> {
    let mut reviewers: Vec<(String, Vec<String>)> = Vec::new();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for NamedFile { name, file } in &arguments.reviewer {
        let failed = |why: String| Failure::Undetermined(format!("{}: {why}", input::name(file)));
        let keys = public_key_file::read(&input::small_text(file)?).map_err(failed)?;
        let index = *seen.entry(name.clone()).or_insert_with(|| {
            reviewers.push((name.clone(), Vec::new()));
            reviewers.len() - 1
        });
        if let Some((_, pems)) = reviewers.get_mut(index) {
            pems.extend(keys.iter().map(|named| public_key_file::to_pem(&named.key)));
        }
    }
    Ok(reviewers)
}

fn files(arguments: &Arguments, reviewers: &[(String, Vec<String>)]) -> Vec<(String, String)> {
    let Arguments { environment, project, namespace, .. } = arguments;
    let namespace_text = format!(
        "# The labels make the posture of the environment govern this namespace. Setting them requires the verb govern\n\
         # (ClusterRole writgate-govern).\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: {namespace}\n  labels:\n    \
         {ENVIRONMENT_LABEL}: {}\n    {PROJECT_LABEL}: {}\n",
        quoted(environment),
        quoted(project),
        namespace = quoted(namespace),
    );
    let file = |kind: &str, text: &str| {
        let name = format!("{kind}-{environment}");
        let text = if arguments.bare { text.to_owned() } else { config_map(arguments, kind, &name, text) };
        (format!("{name}.yaml"), text)
    };
    vec![
        file("reviewers", &reviewers_text(environment, reviewers)),
        file("revocations", &revocations_text(environment)),
        file("posture", &posture_text(arguments)),
        (format!("namespace-{namespace}.yaml"), namespace_text),
    ]
}

/// Fails if the cluster would refuse one of the documents.
fn check(arguments: &Arguments, files: &[(String, String)]) -> Result<(), Failure> {
    let document = |(name, text): &(String, String)| Document { source: name.clone(), name: None, text: text.clone() };
    let set = PostureSet::assemble(files.iter().map(document).collect());
    if check::is_valid(&set) {
        return Ok(());
    }
    let problems: Vec<String> = check::problems(&set).map(ToString::to_string).collect();
    let what = format!("the posture of {} would be invalid", arguments.environment);
    Err(Failure::Misuse(format!("{what}: {}", problems.join("; "))))
}

fn config_map(arguments: &Arguments, kind: &str, name: &str, text: &str) -> String {
    let mut indented = String::new();
    for line in text.lines() {
        let _ = if line.is_empty() { writeln!(indented) } else { writeln!(indented, "    {line}") };
    }
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n  namespace: {}\n  labels:\n    writgate.dev/kind: {kind}\ndata:\n  \
         {kind}.yaml: |\n{indented}",
        arguments.system_namespace
    )
}

/// A JSON string is a YAML string.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

fn posture_text(arguments: &Arguments) -> String {
    let Arguments { environment, quorum, .. } = arguments;
    let [named, namespace, project] = [environment, &arguments.namespace, &arguments.project].map(|text| quoted(text));
    let cluster = match &arguments.cluster {
        Some(name) => format!("cluster: {} # every approval must name it\n", quoted(name)),
        None => "# cluster: prod-eu-1 # every approval must then name it\n".to_owned(),
    };
    format!(
        "\
apiVersion: writgate.dev/v1
kind: Posture
environment: {named}
{cluster}\
# The namespaces that may claim this environment, each with its project. Without this field, any namespace may.
namespaces: {{{namespace}: {project}}}
# enforce denies, warn admits and warns the user, audit admits and records what would have been denied.
enforcement: enforce
actions:
  deploy:
    # The capabilities that the approval must name and each signer must be allowed to grant.
    capabilities: [deploy]
    # How many reviewers must sign. {{group: sre, count: 1}} requires one of a group. A reviewer fills one entry only.
    quorum: [{{count: {quorum}}}]
    maxLifetime: 24h
  replay-execute:
    capabilities: [replay.execute]
    quorum: [{{count: {quorum}}}]
    maxLifetime: 2h
    singleUse: true # an approval admits one Job only
# Conditions in CEL that require further capabilities:
# capabilityRules:
#   - name: privileged
#     when: containers.exists(c, c.?securityContext.privileged.orValue(false))
#     require: [deploy.privileged]
#     message: runs privileged
reviewerSets: [reviewers-{environment}]
revocationLists: [revocations-{environment}]
# claimed: requester and initiator do not count as reviewers. proven: in addition, the requester must be proven.
separationOfDuties: claimed
# images: digest # every image must be named by digest
# rollback: {{within: 720h, revisions: 3}} # admitted specs may run again after their approval has expired
# breakGlass: {{maxLifetime: 1h, capabilities: [break-glass], quorum: [{{count: 1}}]}} # approvals for emergencies
# ungoverned: deny # what was never approved as it is cannot be scaled up from 0 replicas
# connect: audit # exec, attach, port-forward and proxy: allow, audit (admit and record) or deny
# audit: {{durability: required}} # no admission without a record in the ledger
# All fields: kubectl writgate posture explain --field posture
"
    )
}

fn reviewers_text(environment: &str, reviewers: &[(String, Vec<String>)]) -> String {
    let mut text = format!(
        "apiVersion: writgate.dev/v1\nkind: Reviewers\nname: reviewers-{environment}\n# The people who may approve. A person counts once, with any number of keys.\n\
         reviewers:\n"
    );
    for (name, pems) in reviewers {
        let _ = write!(
            text,
            "  - name: {}\n    # groups: [sre] # for quorums that require a group\n    # projects: [payments] # if absent, all\n    \
             # deploy.* covers deploy.privileged, but not deploy.\n    capabilities: [deploy, replay.execute]\n    \
             # identities: [bob] # the API user names of this person, who cannot approve what these users apply\n    keys:\n",
            quoted(name)
        );
        for pem in pems {
            let _ = writeln!(text, "      - publicKey: |\n          {}", pem.trim_end().replace('\n', "\n          "));
        }
    }
    text
}

fn revocations_text(environment: &str) -> String {
    format!(
        "apiVersion: writgate.dev/v1\nkind: Revocations\nname: revocations-{environment}\n# kubectl writgate revoke adds entries. The cluster refuses \
         to remove one.\napprovals: []\nkeys: []\nspecs: []\n"
    )
}
