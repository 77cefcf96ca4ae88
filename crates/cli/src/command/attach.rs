//! `attach`: signed approvals put where the gate finds them: into the manifests that they are for, onto the objects that
//! run, or into ConfigMaps beside them.
//!
//! Here are the flags and the first of the three, which is a filter as Helm's post-renderers and kustomize's functions
//! are: text in, the same text with annotations out.

mod detached;
mod live;

use std::path::PathBuf;

use clap::{ArgGroup, builder::NonEmptyStringValueParser};
use writgate_core::approval::{Approval, Envelope, SpecHash};

use crate::{
    approval::statement,
    cluster::ClusterFlags,
    failure::{Answer, Failure},
    manifest::{
        self, Manifest,
        edit::{self, Edited},
        input,
    },
    terminal::output::{self, shown},
};

/// The longest name of an annotation after the slash.
const MAX_NAME: usize = 63;

/// Put signed approvals into the manifests that they are for
///
/// Writes the annotation `writgate.dev/approval` on every workload whose name and spec an approval covers; the rest of
/// the text stays as it is. A workload that it names with another spec is refused, since the cluster would deny it.
/// Further approvals get annotations of their own, named by the end of their ids.
///
/// --detached prints ConfigMaps to apply beside the workloads in place of that; --live annotates what runs.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  kubectl writgate attach -f app.yaml --approval approval.json | kubectl apply -f -
  kubectl writgate attach -i -f app.yaml --approval first.json --approval second.json
  helm template orders ./chart \\
      | kubectl writgate attach -f - -n payments --approval approval.json | kubectl apply -f -
  kubectl writgate attach --detached --approval approval.json -o orders-approval.yaml
  kubectl writgate attach --live --approval approval.json")]
#[command(group(ArgGroup::new("where").required(true).args(["filename", "detached", "live"])))]
pub(crate) struct Arguments {
    /// Manifest, YAML or JSON; `-` for standard input
    #[arg(short, long, value_name = "FILE")]
    filename: Option<PathBuf>,
    /// Print ConfigMaps that hold the approvals, to be applied beside the workloads
    #[arg(long, conflicts_with = "suffix")]
    detached: bool,
    /// Annotate the objects of the cluster that have the approved spec already
    #[arg(long, conflicts_with = "output")]
    live: bool,
    /// An approval, as `approve` wrote it; `-` for standard input; may be repeated
    #[arg(long = "approval", value_name = "FILE", required = true)]
    approvals: Vec<PathBuf>,
    /// The namespace of objects that name none, without it any that the approval names; with --detached and --live the only
    /// namespace of those that it names
    #[arg(short, long, value_parser = NonEmptyStringValueParser::new())]
    namespace: Option<String>,
    #[command(flatten)]
    kinds: input::Kinds,
    /// Attach the first as a further approval: annotation `writgate.dev/approval.NAME`
    #[arg(long, value_name = "NAME", value_parser = suffix)]
    suffix: Option<String>,
    /// Change the file itself
    #[arg(short, long, requires = "filename", conflicts_with = "output")]
    in_place: bool,
    /// File to write to; without it standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    cluster: ClusterFlags,
}

/// An approval to attach.
struct Attachment {
    envelope: Envelope,
    approval: Approval,
    /// The annotation that it goes into.
    annotation: String,
    /// The file that it is from.
    source: String,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    let files = arguments.filename.iter().chain(&arguments.approvals);
    input::one_stdin(files.map(PathBuf::as_path))?;
    let attachments = attachments(arguments)?;
    match &arguments.filename {
        Some(filename) => to_file(arguments, filename, &attachments),
        None if arguments.detached => detached::run(arguments, &attachments),
        None => live::run(arguments, &attachments),
    }
}

fn attachments(arguments: &Arguments) -> Result<Vec<Attachment>, Failure> {
    let mut attachments: Vec<Attachment> = Vec::new();
    for path in &arguments.approvals {
        let (envelope, source) = (input::envelope(path)?, input::name(path));
        let approval = statement::approval_in(&envelope, &source)?;
        let first = attachments.is_empty();
        let suffix = arguments.suffix.as_deref().filter(|_| first);
        let suffix = suffix.or_else(|| (!first).then(|| short_id(&approval)));
        let suffix = suffix.map(|suffix| format!(".{suffix}")).unwrap_or_default();
        let annotation = format!("writgate.dev/approval{suffix}");
        if attachments.iter().any(|other| other.annotation == annotation || other.approval.id == approval.id) {
            return Err(Failure::Misuse(format!(
                "{source}: approval {} is given twice; give each once",
                shown(&approval.id)
            )));
        }
        attachments.push(Attachment { envelope, approval, annotation, source });
    }
    Ok(attachments)
}

/// The end of an approval's id: the part that is random, since ids begin with the time.
fn short_id(approval: &Approval) -> &str {
    approval.id.rsplit('-').next().unwrap_or(&approval.id)
}

fn to_file(arguments: &Arguments, filename: &PathBuf, attachments: &[Attachment]) -> Result<Answer, Failure> {
    if arguments.in_place && input::is_stdin(filename) {
        return Err(Failure::Misuse("standard input cannot be changed in place; leave out -i".to_owned()));
    }
    let mut text = input::manifest_text(filename)?;
    let manifests = manifest::read(&input::name(filename), &text, &arguments.kinds.known())?;
    let mut notes = Vec::new();
    for attachment in attachments {
        let targets = targets(&manifests, attachment, arguments.namespace.as_deref())?;
        if targets.is_empty() {
            return Err(Failure::No(format!(
                "the approval is for {}; {} has none of them",
                names_of(&attachment.approval),
                input::name(filename)
            )));
        }
        let further = if attachments.len() > 1 { format!(", {}", attachment.source) } else { String::new() };
        notes.extend(targets.iter().map(|target| {
            let json = attachment.envelope.to_json();
            let replaces = target.annotation(&attachment.annotation).is_some_and(|old| old != json);
            let instead = if replaces { ", in place of another (--suffix keeps both)" } else { "" };
            format!("attached: {target}{further}{instead}")
        }));
        let paths: Vec<&edit::Path> = targets.into_iter().map(Manifest::path).collect();
        let edited = edit::annotate(&text, &paths, &attachment.annotation, &attachment.envelope.to_json())
            .map_err(|why| Failure::CouldNotTell(format!("{}: {why}", input::name(filename))))?;
        text = match edited {
            Edited::InPlace(text) => text,
            Edited::Rewritten(text) => {
                output::note(
                    "note: the layout allows no insertion, so the file is written anew, without comments, as JSON",
                );
                text
            }
        };
    }
    let in_place = arguments.in_place.then_some(filename);
    output::write(arguments.output.as_ref().or(in_place).map(PathBuf::as_path), &text)?;
    for note in &notes {
        output::note(note);
    }
    Ok(Answer::Yes)
}

/// The names of an approval's subjects.
fn names_of(approval: &Approval) -> String {
    let subjects: Vec<String> = approval.subjects.iter().map(|subject| shown(&subject.name)).collect();
    subjects.join(", ")
}

/// The objects that an approval is for.
fn targets<'m>(
    manifests: &'m [Manifest],
    attachment: &Attachment,
    namespace: Option<&str>,
) -> Result<Vec<&'m Manifest>, Failure> {
    let mut targets = Vec::new();
    for manifest in manifests {
        if is_subject(manifest, &attachment.approval, namespace)? {
            targets.push(manifest);
        }
    }
    Ok(targets)
}

/// Whether the approval is for this object; an error where it is for another spec of it.
fn is_subject(manifest: &Manifest, approval: &Approval, namespace: Option<&str>) -> Result<bool, Failure> {
    let Some(hash) = manifest.spec_hash() else { return Ok(false) };
    let named: Vec<SpecHash> = approval
        .subjects
        .iter()
        .filter(|subject| names(&subject.name, manifest, namespace))
        .map(|subject| subject.hash)
        .collect();
    if named.is_empty() {
        return Ok(false);
    }
    let hash = hash?;
    if named.contains(&hash) {
        return Ok(true);
    }
    Err(Failure::No(format!(
        "{manifest}: this spec was not approved\n{}\nask for this spec: kubectl writgate request -f FILE -o REQUEST",
        difference(hash, &named)
    )))
}

fn difference(found: SpecHash, approved: &[SpecHash]) -> String {
    let approved: Vec<String> = approved.iter().map(ToString::to_string).collect();
    format!("  found     {found}\n  approved  {}", approved.join(", "))
}
fn names(subject: &str, manifest: &Manifest, namespace: Option<&str>) -> bool {
    let Some(name) = manifest.subject_name() else { return false };
    let kind = format!("{}/{}/", manifest.api_version(), manifest.kind());
    let place = subject.strip_prefix(&kind).and_then(|rest| rest.strip_suffix(&format!("/{name}")));
    match manifest.namespace().or(namespace) {
        Some(namespace) => place == Some(namespace),
        None => place.is_some_and(|place| !place.contains('/')),
    }
}

/// Reads what may follow `approval.` in the name of an annotation.
fn suffix(text: &str) -> Result<String, String> {
    let longest = MAX_NAME - "approval.".len();
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if text.len() <= longest && text.bytes().all(inner) && text.ends_with(|last: char| last.is_ascii_alphanumeric()) {
        Ok(text.to_owned())
    } else {
        Err(format!("expected 1 to {longest} letters, digits, `-`, `_` or `.`, the last a letter or digit"))
    }
}
