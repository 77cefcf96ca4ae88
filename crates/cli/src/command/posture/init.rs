//! `posture init`: a folder to begin with: a posture, its reviewers, a list of revocations and a governed namespace.
//!
//! What is written is checked before it is, by what the cluster checks it with.

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

/// Write an environment's documents to begin with: posture, reviewers, revocations, namespace
///
/// They are ConfigMaps for `kubectl apply -f DIR`, with comments that tell what else may stand there. Nothing is
/// overwritten.
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
    /// Folder to write into, which is made if it is not there
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// The environment
    #[arg(long, value_parser = label)]
    environment: String,
    /// The project of the namespace
    #[arg(long, value_parser = label)]
    project: String,
    /// The namespace that is to be governed
    #[arg(short, long, value_parser = namespace)]
    namespace: String,
    /// The cluster's name, which approvals must then give
    #[arg(long)]
    cluster: Option<String>,
    /// Who may approve, and the file of a public key; may be repeated, also for further keys of one person
    #[arg(long, value_name = "NAME=FILE", required = true)]
    reviewer: Vec<NamedFile>,
    /// How many people must approve
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    quorum: u8,
    /// Namespace of the postures
    #[arg(long, env = "WRITGATE_SYSTEM_NAMESPACE", default_value = "writgate-system", value_name = "NAMESPACE", value_parser = namespace)]
    system_namespace: String,
    /// Write the documents alone, without ConfigMaps around them
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

/// Both are values of labels, and parts of ConfigMaps' names.
fn label(text: &str) -> Result<String, &'static str> {
    if names::is_label(text) {
        Ok(text.to_owned())
    } else {
        Err("expected lower-case letters, digits and -, 63 at most")
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
                "{} is there already, and is not overwritten",
                folder.join(name).display()
            )));
        }
    }
    fs::create_dir_all(folder)
        .map_err(|error| Failure::Undetermined(format!("cannot make {}: {error}", folder.display())))?;
    for (name, text) in &files {
        let path = folder.join(name);
        StagedFile::write(&path, text.as_bytes(), Access::Public)?.create()?;
        output::print(&format!("{}\n", path.display()))?;
    }
    let next = if arguments.bare { "kubectl writgate verify --posture-dir" } else { "kubectl apply -f" };
    output::note(&format!("read them, then: kubectl writgate posture check -f {0}\nand: {next} {0}", folder.display()));
    Ok(Answer::Yes)
}

/// Each person with all their keys in PEM, in the order in which they were given.
fn reviewers(arguments: &Arguments) -> Result<Vec<(String, Vec<String>)>, Failure> {
    let mut people: Vec<(String, Vec<String>)> = Vec::new();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for NamedFile { name, file } in &arguments.reviewer {
        let failed = |why: String| Failure::Undetermined(format!("{}: {why}", input::name(file)));
        let keys = public_key_file::read(&input::small_text(file)?).map_err(failed)?;
        let index = *seen.entry(name.clone()).or_insert_with(|| {
            people.push((name.clone(), Vec::new()));
            people.len() - 1
        });
        if let Some((_, pems)) = people.get_mut(index) {
            pems.extend(keys.iter().map(|named| public_key_file::to_pem(&named.key)));
        }
    }
    Ok(people)
}

fn files(arguments: &Arguments, reviewers: &[(String, Vec<String>)]) -> Vec<(String, String)> {
    let Arguments { environment, project, namespace, .. } = arguments;
    let namespace_text = format!(
        "# The labels govern it: changes in it are judged by the posture of the environment. Setting them needs the right to\n\
         # govern (ClusterRole writgate-govern).\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: {namespace}\n  labels:\n    \
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

/// What the cluster would refuse, or nobody could meet, is not written.
fn check(arguments: &Arguments, files: &[(String, String)]) -> Result<(), Failure> {
    let document = |(name, text): &(String, String)| Document { source: name.clone(), name: None, text: text.clone() };
    let set = PostureSet::assemble(files.iter().map(document).collect());
    if check::is_right(&set) {
        return Ok(());
    }
    let problems: Vec<String> = check::problems(&set).map(ToString::to_string).collect();
    let what = format!("{} would be no valid posture", arguments.environment);
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
        Some(name) => format!("cluster: {} # approvals must name it\n", quoted(name)),
        None => "# cluster: prod-eu-1 # approvals must name it then\n".to_owned(),
    };
    format!(
        "\
apiVersion: writgate.dev/v1
kind: Posture
environment: {named}
{cluster}\
# Who may claim this environment: namespace, and its project. Without this, any namespace may.
namespaces: {{{namespace}: {project}}}
# warn admits and tells the user, audit admits and records. To begin with, audit shows what would be denied.
enforcement: enforce
actions:
  deploy:
    # What the approval must name, and whoever signs it be allowed to grant.
    capabilities: [deploy]
    # How many people; {{group: sre, count: 1}} asks for one of a group. Each person counts for one entry.
    quorum: [{{count: {quorum}}}]
    maxLifetime: 24h
  replay-execute:
    capabilities: [replay.execute]
    quorum: [{{count: {quorum}}}]
    maxLifetime: 2h
    singleUse: true # an approval is spent by the first Job that uses it
# What needs more than that, by conditions in CEL:
# capabilityRules:
#   - name: privileged
#     when: containers.exists(c, c.?securityContext.privileged.orValue(false))
#     require: [deploy.privileged]
#     message: runs privileged
reviewerSets: [reviewers-{environment}]
revocationLists: [revocations-{environment}]
# claimed: whoever asks, or applies, does not count as a reviewer. proven: and it is certain who asked.
separationOfDuties: claimed
# images: digest # every image is named by its digest
# rollback: {{within: 720h, revisions: 3}} # what was admitted may run again after its approval expired
# breakGlass: {{maxLifetime: 1h, capabilities: [break-glass], quorum: [{{count: 1}}]}} # emergencies
# connect: audit # exec and the like: allow, audit (who and where is on the record) or deny
# More: kubectl writgate posture explain --field posture
"
    )
}

fn reviewers_text(environment: &str, reviewers: &[(String, Vec<String>)]) -> String {
    let mut text = format!(
        "apiVersion: writgate.dev/v1\nkind: Reviewers\nname: reviewers-{environment}\n# Who may approve. A person counts once, with however \
         many keys.\nreviewers:\n"
    );
    for (name, pems) in reviewers {
        let _ = write!(
            text,
            "  - name: {}\n    # groups: [sre] # for quorums that ask for somebody of a group\n    # projects: [payments] # absent: all\n    \
             # deploy.* would cover deploy.privileged and the like, not deploy itself.\n    capabilities: [deploy, replay.execute]\n    \
             # identities: [bob] # API user names that are this person, who then cannot approve what they apply\n    keys:\n",
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
        "apiVersion: writgate.dev/v1\nkind: Revocations\nname: revocations-{environment}\n# kubectl writgate revoke adds entries. They stay: the \
         cluster refuses to lift one.\napprovals: []\nkeys: []\nspecs: []\n"
    )
}
