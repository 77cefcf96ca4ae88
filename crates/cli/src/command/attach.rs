//! `attach`: puts signed approvals where the webhook finds them: into manifests, into a kustomize Component, onto live
//! objects, or into ConfigMaps in their namespaces.
//!
//! This file has the flags and the first form. It is a filter like Helm's post-renderers and kustomize's functions: it
//! reads a text and writes the same text with annotations.

mod detached;
mod kustomize;
mod live;

use std::{
    fmt,
    path::{Path, PathBuf},
};

use clap::{ArgGroup, builder::NonEmptyStringValueParser};
use writgate_core::{
    approval::{Approval, Envelope, SpecHash},
    vocabulary::APPROVAL_ANNOTATION,
};

use crate::{
    approval::statement,
    cluster::ClusterFlags,
    failure::{Answer, Failure},
    manifest::{
        self, Manifest,
        edit::{self, Edited},
        input,
    },
    terminal::output::{self, Access, shown},
};

/// The longest name of an annotation after the slash.
const MAX_NAME: usize = 63;

/// Attach signed approvals to the manifests that they are for
///
/// Sets the annotation `writgate.dev/approval` on every workload whose name and spec an approval covers, and leaves the
/// rest of the text unchanged. Fails if an approval covers another spec of a workload, since the webhook would deny it.
/// Further approvals get annotations of their own, named by the end of their ids. Approvals for another spec of the same
/// object are removed, since a decision considers at most 8.
///
/// --detached prints ConfigMaps with the approvals instead. --kustomize writes a kustomize Component, for GitOps. --live
/// annotates live objects instead.
#[derive(clap::Args, Debug)]
#[command(override_usage = "\
kubectl writgate attach <-f FILE|--detached|--kustomize DIR|--live> --approval FILE [OPTIONS]")]
#[command(after_help = "\
Examples:
  kubectl writgate attach -f app.yaml --approval approval.json | kubectl apply -f -
  kubectl writgate attach -i -f app.yaml --approval first.json --approval second.json
  helm template orders ./chart \\
      | kubectl writgate attach -f - -n payments --approval approval.json | kubectl apply -f -
  kubectl writgate attach --detached --approval approval.json -o orders-approval.yaml
  kubectl writgate attach --kustomize overlays/production/approvals --approval approval.json
  kubectl writgate attach --live --approval approval.json")]
#[command(group(ArgGroup::new("where").required(true).args(["filename", "detached", "kustomize", "live"])))]
pub(crate) struct Arguments {
    /// Manifest, YAML or JSON, `-` for standard input
    #[arg(short, long, value_name = "FILE")]
    filename: Option<PathBuf>,
    /// Print ConfigMaps with the approvals, to be applied in the workloads' namespaces
    #[arg(long, conflicts_with = "suffix")]
    detached: bool,
    /// Write the approvals into the kustomize Component in DIR, to be listed in `components` of a kustomization
    #[arg(long, value_name = "DIR", conflicts_with_all = ["suffix", "output"])]
    kustomize: Option<PathBuf>,
    /// Annotate objects of the cluster that have the approved spec already
    #[arg(long, conflicts_with = "output")]
    live: bool,
    /// Approval, as `approve` writes it, `-` for standard input; may be repeated
    #[arg(long = "approval", value_name = "FILE", required = true)]
    approvals: Vec<PathBuf>,
    /// Namespace of objects that set none; with --detached, --kustomize and --live, the only namespace to use [default:
    /// those that the approval names]
    #[arg(short, long, value_parser = NonEmptyStringValueParser::new())]
    namespace: Option<String>,
    #[command(flatten)]
    kinds: input::WorkloadKindFlags,
    /// Attach the first approval in addition to others, as annotation `writgate.dev/approval.NAME`
    #[arg(long, value_name = "NAME", value_parser = suffix)]
    suffix: Option<String>,
    /// Change the file in place
    #[arg(short, long, requires = "filename", conflicts_with = "output")]
    in_place: bool,
    /// Write to FILE [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    cluster: ClusterFlags,
}

/// An approval to attach.
struct Attachment {
    envelope: Envelope,
    approval: Approval,
    /// Its annotation.
    annotation: String,
    /// Its file.
    source: String,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    let files = arguments.filename.iter().chain(&arguments.approvals);
    input::one_stdin(files.map(PathBuf::as_path))?;
    let attachments = attachments(arguments)?;
    match (&arguments.filename, &arguments.kustomize) {
        (Some(filename), _) => to_file(arguments, filename, &attachments),
        (None, Some(folder)) => kustomize::run(arguments, folder, &attachments),
        (None, None) if arguments.detached => detached::run(arguments, &attachments),
        (None, None) => live::run(arguments, &attachments),
    }
}

fn attachments(arguments: &Arguments) -> Result<Vec<Attachment>, Failure> {
    let mut attachments: Vec<Attachment> = Vec::new();
    for path in &arguments.approvals {
        let (envelope, source) = (input::envelope(path)?, input::name(path));
        let approval = statement::approval_in(&envelope, &source)?;
        let first = attachments.is_empty();
        let suffix = if first { arguments.suffix.as_deref() } else { Some(short_id(&approval)) };
        let suffix = suffix.map(|suffix| format!(".{suffix}")).unwrap_or_default();
        let annotation = format!("{APPROVAL_ANNOTATION}{suffix}");
        if attachments.iter().any(|other| other.annotation == annotation || other.approval.id == approval.id) {
            return Err(Failure::Misuse(format!(
                "{source}: approval {} is given twice; pass each approval once",
                shown(&approval.id)
            )));
        }
        attachments.push(Attachment { envelope, approval, annotation, source });
    }
    Ok(attachments)
}

/// The random part of an approval's id. Ids begin with the time.
fn short_id(approval: &Approval) -> &str {
    approval.id.rsplit('-').next().unwrap_or(&approval.id)
}

fn to_file(arguments: &Arguments, filename: &Path, attachments: &[Attachment]) -> Result<Answer, Failure> {
    if arguments.in_place && input::is_stdin(filename) {
        return Err(Failure::Misuse("standard input cannot be changed in place; omit -i".to_owned()));
    }
    let mut text = input::manifest_text(filename)?;
    let manifests = manifest::read(&input::name(filename), &text, &arguments.kinds.known())?;
    let namespace = arguments.namespace.as_deref();
    let (mut notes, mut removals) = (Vec::new(), Vec::new());
    for attachment in attachments {
        let targets = targets(&manifests, attachment, namespace)?;
        if targets.is_empty() {
            return Err(Failure::No(format!(
                "the approval is for {}; {} contains none of them",
                names_of(&attachment.approval),
                input::name(filename)
            )));
        }
        let further = if attachments.len() > 1 { format!(", {}", attachment.source) } else { String::new() };
        for target in &targets {
            let json = attachment.envelope.to_json();
            let old = target.annotation(&attachment.annotation).filter(|old| *old != json);
            let instead = match old.map(|old| OutdatedApproval::of(target, &attachment.annotation, old, namespace)) {
                Some(Some(outdated)) => format!(", replacing {outdated}"),
                Some(None) => ", replacing another approval (--suffix keeps both)".to_owned(),
                None => String::new(),
            };
            notes.push(format!("attached: {target}{further}{instead}"));
            for (annotation, envelope) in target.attached_approvals() {
                let is_new = attachments.iter().any(|attachment| attachment.annotation == annotation);
                let outdated = OutdatedApproval::of(target, annotation, envelope, namespace);
                let is_known = |known: &OutdatedApproval<'_>| known.target == *target && known.annotation == annotation;
                if !is_new && !removals.iter().any(is_known) {
                    removals.extend(outdated);
                }
            }
        }
        let paths: Vec<&edit::Path> = targets.into_iter().map(Manifest::path).collect();
        let edited = edit::annotate(&text, &paths, &attachment.annotation, &attachment.envelope.to_json());
        text = text_of(edited, filename)?;
    }
    for removal in &removals {
        text = text_of(edit::remove(&text, removal.target.path(), removal.annotation), filename)?;
        notes.push(format!("removed: {}, {removal}", removal.target));
    }
    let in_place = arguments.in_place.then_some(filename);
    let inputs = arguments.approvals.iter().map(PathBuf::as_path).chain((!arguments.in_place).then_some(filename));
    let target = arguments.output.as_deref().or(in_place);
    output::check_target(target, inputs)?;
    output::write(target, &text, Access::Public)?;
    for note in &notes {
        output::note(note);
    }
    Ok(Answer::Yes)
}

/// The text after an edit. Says if its layout is lost.
fn text_of(edited: Result<Edited, String>, filename: &Path) -> Result<String, Failure> {
    match edited.map_err(|why| Failure::Undetermined(format!("{}: {why}", input::name(filename))))? {
        Edited::InPlace(text) => Ok(text),
        Edited::Rewritten(text) => {
            output::note("note: the layout allows no such edit, so the file is rewritten as JSON, without comments");
            Ok(text)
        }
    }
}

/// An attached approval for another spec of its object. Nothing can be admitted with it any more.
struct OutdatedApproval<'m> {
    target: &'m Manifest,
    annotation: &'m str,
    id: String,
    specs: Vec<SpecHash>,
}

impl<'m> OutdatedApproval<'m> {
    /// `None`: the text is no approval, or one for this spec, or for other objects only.
    fn of(target: &'m Manifest, annotation: &'m str, envelope: &str, namespace: Option<&str>) -> Option<Self> {
        let approval = Approval::parse(Envelope::parse(envelope).ok()?.payload()).ok()?;
        let specs = specs_of(target, &approval, namespace);
        let hash = target.spec_hash()?.ok()?;
        let is_outdated = !specs.is_empty() && !specs.contains(&hash);
        is_outdated.then_some(Self { target, annotation, id: approval.id, specs })
    }
}

impl fmt::Display for OutdatedApproval<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let specs: Vec<String> = self.specs.iter().map(ToString::to_string).collect();
        write!(f, "approval {} of another spec, {}", shown(&self.id), specs.join(", "))
    }
}

/// The names of an approval's subjects.
fn names_of(approval: &Approval) -> String {
    let subjects: Vec<String> = approval.subjects.iter().map(|subject| shown(&subject.name)).collect();
    subjects.join(", ")
}

/// The objects that an approval covers.
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

/// Whether the approval covers this object. An error if it covers another spec of it.
fn is_subject(manifest: &Manifest, approval: &Approval, namespace: Option<&str>) -> Result<bool, Failure> {
    let Some(hash) = manifest.spec_hash() else { return Ok(false) };
    let named = specs_of(manifest, approval, namespace);
    if named.is_empty() {
        return Ok(false);
    }
    let hash = hash?;
    if named.contains(&hash) {
        return Ok(true);
    }
    Err(Failure::No(format!(
        "{manifest}: this spec is not approved\n{}\nrequest it with: kubectl writgate request -f FILE\nif the \
         approval is for what a mutating webhook makes of it (request --server), use attach --detached",
        difference(hash, &named)
    )))
}

/// The specs of this object that the approval covers.
fn specs_of(manifest: &Manifest, approval: &Approval, namespace: Option<&str>) -> Vec<SpecHash> {
    let named = approval.subjects.iter().filter(|subject| names(&subject.name, manifest, namespace));
    named.map(|subject| subject.hash).collect()
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

/// Parses the part of an annotation's name after `approval.`.
fn suffix(text: &str) -> Result<String, String> {
    let longest = MAX_NAME - "approval.".len();
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if text.len() <= longest && text.bytes().all(inner) && text.ends_with(|last: char| last.is_ascii_alphanumeric()) {
        Ok(text.to_owned())
    } else {
        Err(format!("expected 1 to {longest} letters, digits, `-`, `_` or `.`, the last a letter or digit"))
    }
}
