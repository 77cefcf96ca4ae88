//! `revoke`: adds an approval, a key or a spec to a list of revocations, in a folder or in the cluster.
//!
//! `revocation_list` edits the text. Core assembles the posture before and after, and says what has changed.

mod revocation_list;
mod running;

use std::{fs, path::PathBuf};

use clap::{ValueEnum, builder::NonEmptyStringValueParser};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, PostParams};
use serde_json::Value;
use writgate_cluster::{clock, config_map, posture_dir, public_key_file};
use writgate_core::{
    approval::{Approval, KeyId, SpecHash},
    posture::{Document, Posture, PostureSet},
    text::escape,
};

use crate::{
    cluster::Cluster,
    command::revoke::{
        revocation_list::{KEY, KIND, RevocationDocument, RevocationEntry},
        running::WorkloadSelector,
    },
    failure::{Answer, Failure},
    manifest::input,
    postures::{self, LoadedPostures, PostureSourceFlags},
    terminal::{
        output::{self, Access, shown},
        style,
    },
};

/// Attempts to write a list that somebody else changes at the same time.
const ATTEMPTS: usize = 5;

/// Revoke an approval, a key or a spec
///
/// Adds an entry to a list of revocations, in a folder (-f) or in the cluster, and reports what it affects. Live
/// workloads are not stopped. A revocation is permanent: the cluster denies lifting it.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  kubectl writgate revoke approval approval.json --why \"signed by mistake\"
  kubectl writgate revoke key bob@acme.example --why \"lost laptop\" -f postures
  kubectl writgate revoke spec app.yaml --why CVE-2026-0001 --dry-run")]
pub(crate) struct Arguments {
    /// What to revoke
    #[arg(value_enum)]
    what: RevocationTarget,
    /// Id, or file: an approval, a public key or a manifest; for a key also the reviewer's name
    #[arg(value_name = "ID|FILE|NAME", value_parser = NonEmptyStringValueParser::new())]
    which: String,
    /// Reason, for those whom the revocation affects
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    why: String,
    /// Time from which the revocation counts, RFC 3339 [default: immediately]
    #[arg(long, value_name = "TIME", value_parser = input::time)]
    at: Option<Timestamp>,
    /// Name of the list [default: the only one]
    #[arg(long, value_name = "NAME")]
    list: Option<String>,
    /// Folder of posture documents; the same as --posture-dir
    #[arg(short = 'f', value_name = "DIR", conflicts_with = "posture_dir")]
    folder: Option<PathBuf>,
    #[command(flatten)]
    postures: PostureSourceFlags,
    #[command(flatten)]
    reading: input::ManifestFlags,
    /// Print the change without making it
    #[arg(long)]
    dry_run: bool,
}

/// What can be revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum RevocationTarget {
    /// An approval, by its id
    Approval,
    /// A reviewer's key, by its id
    Key,
    /// A spec, by its hash
    Spec,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    let flags = arguments.postures.or_folder(arguments.folder.as_deref());
    let loaded = flags.load()?;
    let mut entries = entries(arguments, &loaded.set)?;
    let (source, list) = choose(&flags, &loaded, arguments.list.as_deref())?;
    entries.retain(|entry| {
        let known = entry.is_in(&list.document);
        if known {
            output::note(&format!("{} is already revoked in {}", entry.id, source.label));
        }
        !known
    });
    if entries.is_empty() {
        return Ok(Answer::Yes);
    }
    let edited = add(&source.text, &list, &entries)?;
    let after = PostureSet::assemble(source.documents(&edited));
    if arguments.dry_run {
        output::print(&change(&source, &edited))?;
    } else {
        match &loaded.cluster {
            None => output::write(Some(&source.path), &edited, Access::Public)?,
            Some(cluster) => write(cluster, &source.name, &entries)?,
        }
    }
    report(arguments, &loaded, &after, &source, &entries);
    Ok(Answer::Yes)
}

/// A text that contains lists, and all documents of which it is one.
struct ListSource {
    /// Its name in messages.
    label: String,
    text: String,
    /// The file, if it is one.
    path: PathBuf,
    /// The ConfigMap's name, if it is one.
    name: String,
    /// The index of its document among all.
    index: usize,
    all: Vec<Document>,
}

impl ListSource {
    /// All documents, with this text replaced.
    fn documents(&self, edited: &str) -> Vec<Document> {
        let mut all = self.all.clone();
        if let Some(document) = all.get_mut(self.index) {
            edited.clone_into(&mut document.text);
            if self.path.as_os_str().is_empty() {
                document.text = in_config_map(&self.name, edited);
            }
        }
        all
    }
}

/// A list of the cluster, as the webhook reads it.
fn in_config_map(name: &str, text: &str) -> String {
    let mut config_map = ConfigMap::default();
    config_map.metadata.name = Some(name.to_owned());
    config_map.metadata.labels = Some([(writgate_core::vocabulary::KIND_LABEL.to_owned(), KIND.to_owned())].into());
    config_map.data = Some([(KEY.to_owned(), text.to_owned())].into());
    config_map::document(&config_map).text
}

/// The list of this name, or the only one.
fn choose(
    flags: &PostureSourceFlags,
    loaded: &LoadedPostures,
    name: Option<&str>,
) -> Result<(ListSource, RevocationDocument), Failure> {
    let all = match (&flags.posture_dir, &loaded.cluster) {
        (Some(folder), _) => posture_dir::read(folder).map_err(|error| Failure::Undetermined(error.to_string()))?,
        (None, Some(cluster)) => postures::documents(cluster)?,
        (None, None) => Vec::new(),
    };
    let is_file = flags.posture_dir.is_some();
    let mut found: Vec<(usize, RevocationDocument)> = Vec::new();
    for (index, document) in all.iter().enumerate() {
        found.extend(revocation_list::lists(&document.text).into_iter().map(|list| (index, list)));
    }
    let names: Vec<String> = found.iter().map(|(_, list)| shown(list.name.as_deref().unwrap_or("(no name)"))).collect();
    found.retain(|(_, list)| name.is_none_or(|name| list.name.as_deref() == Some(name)));
    let (Some((index, list)), true) = (found.pop(), found.is_empty()) else {
        let from = loaded.source();
        return Err(Failure::Misuse(match (names.len(), name) {
            (0, _) => {
                format!("{from} contains no list of revocations; `kubectl writgate posture init` shows an example")
            }
            (_, Some(name)) => {
                format!("{from} does not contain exactly one list {}; found {}", shown(name), names.join(", "))
            }
            (_, None) => format!("{from} contains several lists; select one with --list: {}", names.join(", ")),
        }));
    };
    let label = all.get(index).map(|document| document.source.clone()).unwrap_or_default();
    let text = all.get(index).map(|document| document.text.clone()).unwrap_or_default();
    if is_file {
        let (path, name) = (PathBuf::from(&label), String::new());
        return Ok((ListSource { label, text, path, name, index, all }, list));
    }
    // The text inside the ConfigMap, not the whole ConfigMap that `PostureSet` reads.
    let name = list.name.clone().unwrap_or_default();
    let held: Value = serde_json::from_str(&text).unwrap_or_default();
    let text =
        held.pointer("/data").and_then(|data| data.get(KEY)).and_then(Value::as_str).unwrap_or_default().to_owned();
    let list = own_list(&text)?;
    Ok((ListSource { label, text, path: PathBuf::new(), name, index, all }, list))
}

/// The list that a text consists of.
fn own_list(text: &str) -> Result<RevocationDocument, Failure> {
    revocation_list::lists(text)
        .pop()
        .ok_or_else(|| Failure::Undetermined("the list of revocations cannot be read".to_owned()))
}

fn add(text: &str, list: &RevocationDocument, entries: &[RevocationEntry]) -> Result<String, Failure> {
    let (mut text, mut list) = (text.to_owned(), list.clone());
    for entry in entries {
        text = revocation_list::append(&text, &list, entry).map_err(Failure::Undetermined)?;
        list = revocation_list::lists(&text)
            .into_iter()
            .find(|other| other.is_at(&list))
            .ok_or_else(|| Failure::Undetermined("the edited list of revocations cannot be read".to_owned()))?;
    }
    Ok(text)
}

/// Adds to the cluster's current list, and tries again after a concurrent change.
fn write(cluster: &Cluster, name: &str, entries: &[RevocationEntry]) -> Result<(), Failure> {
    let config_maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), &cluster.system_namespace);
    let what = format!("write ConfigMap {name} in {}", cluster.system_namespace);
    for _ in 0..ATTEMPTS {
        let mut config_map = cluster.ask(&format!("read ConfigMap {name}"), config_maps.get(name))?;
        let Some(text) = config_map.data.as_mut().and_then(|data| data.get_mut(KEY)) else {
            return Err(Failure::Undetermined(format!("ConfigMap {name} no longer contains {KEY}")));
        };
        let list = own_list(text)?;
        let new: Vec<RevocationEntry> = entries.iter().filter(|entry| !entry.is_in(&list.document)).cloned().collect();
        *text = add(text, &list, &new)?;
        // With its resourceVersion, a concurrent change is a conflict and is not overwritten.
        let written = cluster.run(config_maps.replace(name, &PostParams::default(), &config_map));
        match written {
            Ok(_) => return Ok(()),
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(kube::Error::Api(status)) if status.message.contains("denied the request: ") => {
                return Err(Failure::No(escape(&status.message)));
            }
            Err(error) => return cluster.ask(&what, async { Err(error) }),
        }
    }
    Err(Failure::Undetermined(format!(
        "cannot {what}: somebody else changed it {ATTEMPTS} times at the same time; try again"
    )))
}

/// The lines that differ, for a dry run.
fn change(source: &ListSource, edited: &str) -> String {
    let (before, after): (Vec<&str>, Vec<&str>) = (source.text.lines().collect(), edited.lines().collect());
    let head = before.iter().zip(&after).take_while(|(old, new)| old == new).count();
    let room = before.len().min(after.len()) - head;
    let tail = before.iter().rev().zip(after.iter().rev()).take(room).take_while(|(old, new)| old == new).count();
    let lines = |mark: char, lines: &[&str]| -> Vec<String> {
        lines.iter().take(lines.len() - tail).skip(head).map(|line| format!("{mark} {}", escape(line))).collect()
    };
    let mut text = vec![style::heading(&format!("would change {}", shown(&source.label)))];
    text.extend(lines('-', &before).iter().map(|line| style::bad(line)));
    text.extend(lines('+', &after).iter().map(|line| style::good(line)));
    text.join("\n") + "\n"
}

/// The entries to add.
fn entries(arguments: &Arguments, set: &PostureSet) -> Result<Vec<RevocationEntry>, Failure> {
    let (list, ids) = match arguments.what {
        RevocationTarget::Approval => ("approvals", vec![approval(&arguments.which)?]),
        RevocationTarget::Key => ("keys", keys(&arguments.which, set)?),
        RevocationTarget::Spec => ("specs", specs(arguments)?),
    };
    let at = arguments.at.map(|at| at.to_string());
    Ok(ids.into_iter().map(|id| RevocationEntry { list, id, at: at.clone(), why: arguments.why.clone() }).collect())
}

fn is_file(which: &str) -> bool {
    which == "-" || fs::metadata(which).is_ok()
}

fn approval(which: &str) -> Result<String, Failure> {
    if let Ok(id) = uuid::Uuid::try_parse(which) {
        return Ok(id.hyphenated().to_string());
    }
    if !is_file(which) {
        return Err(Failure::Misuse(format!("{} is neither the id of an approval nor a file", shown(which))));
    }
    let envelope = input::envelope(which.as_ref())?;
    let approval = Approval::parse(envelope.payload())
        .map_err(|why| Failure::Undetermined(format!("{which} contains no approval: {why}")))?;
    Ok(approval.id)
}

fn keys(which: &str, set: &PostureSet) -> Result<Vec<String>, Failure> {
    if let Ok(id) = which.parse::<KeyId>() {
        return Ok(vec![id.to_string()]);
    }
    let mut ids: Vec<String> = postures(set)
        .flat_map(Posture::keys)
        .filter(|(reviewer, _)| reviewer.name.eq_ignore_ascii_case(which))
        .map(|(_, key)| key.id.to_string())
        .collect();
    if ids.is_empty() && is_file(which) {
        let named = public_key_file::read(&input::small_text(which.as_ref())?)
            .map_err(|why| Failure::Undetermined(format!("{which}: {why}")))?;
        ids = named.iter().map(|named| named.key.id().to_string()).collect();
    }
    ids.sort();
    ids.dedup();
    if ids.is_empty() {
        return Err(Failure::Misuse(format!(
            "{} is neither a key id, nor a reviewer, nor a file; list the reviewers and their keys with `kubectl writgate keyid --reviewers`",
            shown(which)
        )));
    }
    Ok(ids)
}

fn specs(arguments: &Arguments) -> Result<Vec<String>, Failure> {
    let which = &arguments.which;
    if let Ok(hash) = which.parse::<SpecHash>() {
        return Ok(vec![hash.to_string()]);
    }
    if !is_file(which) {
        return Err(Failure::Misuse(format!("{} is neither a spec hash (sha256:…) nor a file", shown(which))));
    }
    let manifests = input::manifests(&[PathBuf::from(which)], &arguments.reading)?;
    let mut hashes = Vec::new();
    for hash in manifests.iter().filter_map(crate::manifest::Manifest::spec_hash) {
        hashes.push(hash?.to_string());
    }
    hashes.sort();
    hashes.dedup();
    if hashes.is_empty() {
        return Err(Failure::Undetermined(format!("{} contains no workload", shown(which))));
    }
    Ok(hashes)
}

fn postures(set: &PostureSet) -> impl Iterator<Item = &Posture> {
    set.environments().filter_map(|(_, posture)| posture.ok())
}

/// Reports what was revoked, what that changes in each environment, and what keeps running.
fn report(
    arguments: &Arguments,
    loaded: &LoadedPostures,
    after: &PostureSet,
    source: &ListSource,
    entries: &[RevocationEntry],
) {
    let done = if arguments.dry_run { "would revoke" } else { "revoked" };
    for entry in entries {
        let whose = whose(entry, after);
        output::note(&format!("{done} {}{whose} in {}", entry.id, source.label));
    }
    let moment = arguments.at.unwrap_or_else(clock::now);
    let mut counts = false;
    for posture in postures(after) {
        let before = loaded.set.environment(&posture.environment).ok();
        counts |= before.is_none_or(|before| before.revocations != posture.revocations);
        let known = before.map(|before| before.unmet_quorums(moment)).unwrap_or_default();
        for (path, why) in posture.unmet_quorums(moment) {
            if !known.iter().any(|(other, _)| *other == path) {
                output::note(&format!("from then on, in environment {}: {path}: {why}", posture.environment));
            }
        }
    }
    if !counts {
        output::note("no valid posture names this list (revocationLists), so it revokes nothing yet");
    }
    if let Some(cluster) = &loaded.cluster {
        running(cluster, entries);
    }
}

/// ` (bob@acme.example)`
fn whose(entry: &RevocationEntry, set: &PostureSet) -> String {
    let id = if entry.list == "keys" { entry.id.parse::<KeyId>().ok() } else { None };
    let person =
        id.and_then(|id| postures(set).find_map(|posture| posture.key(&id).map(|(person, _)| person.name.clone())));
    person.map(|name| format!(" ({})", shown(&name))).unwrap_or_default()
}

/// Which workloads run on, and how far that is known.
fn still_running(names: &[String], entries: &[RevocationEntry]) -> String {
    let is_claimed = entries.iter().any(|entry| matches!(entry.list, "approvals" | "keys"));
    let claimed = if is_claimed {
        "; this list follows the ids in their annotations, which are not verified and which tenants can change"
    } else {
        ""
    };
    let names = names.iter().map(|name| shown(name)).collect::<Vec<_>>().join("\n  ");
    format!("these workloads keep running, since a revocation affects only later requests{claimed}:\n  {names}")
}

fn running(cluster: &Cluster, entries: &[RevocationEntry]) {
    let sought: Vec<WorkloadSelector<'_>> = entries
        .iter()
        .map(|entry| match entry.list {
            "approvals" => WorkloadSelector::Approval(&entry.id),
            "keys" => WorkloadSelector::Key(&entry.id),
            _ => WorkloadSelector::Spec(&entry.id),
        })
        .collect();
    match running::workloads(cluster, &sought) {
        Err(failure) => output::note(&format!("affected live workloads are not known: {failure}")),
        Ok(names) if names.is_empty() => {}
        Ok(names) => output::note(&still_running(&names, entries)),
    }
}
