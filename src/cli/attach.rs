//! `attach`: a signed approval put into the manifests that it is for.

use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use writgate_core::{Approval, Envelope, SpecHash};

use super::{
    edit::{self, Edited},
    failure::{Answer, Failure},
    input,
    output::{self, shown},
};
use crate::manifest::{self, Manifest};

/// The longest name of an annotation after the slash.
const MAX_NAME: usize = 63;

/// Put a signed approval into the manifests that it is for
///
/// Writes the annotation `writgate.dev/approval` on every workload whose name and spec the approval covers; the rest of
/// the text stays as it is. A workload that it names with another spec is refused, since the cluster would deny it.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  kubectl writgate attach -f app.yaml --approval approval.json | kubectl apply -f -
  helm template orders ./chart \\
      | kubectl writgate attach -f - -n payments --approval approval.json | kubectl apply -f -
  kubectl writgate attach -i -f app.yaml --approval second.json --suffix security")]
pub(super) struct Arguments {
    /// Manifest, YAML or JSON; `-` for standard input
    #[arg(short, long, value_name = "FILE")]
    filename: PathBuf,
    /// The approval, as `approve` wrote it; `-` for standard input
    #[arg(long, value_name = "FILE")]
    approval: PathBuf,
    /// The namespace of objects that name none; without it any namespace that the approval names will do
    #[arg(short, long, value_parser = NonEmptyStringValueParser::new())]
    namespace: Option<String>,
    #[command(flatten)]
    kinds: input::Kinds,
    /// Attach it as a further approval: annotation `writgate.dev/approval.NAME`
    #[arg(long, value_name = "NAME", value_parser = suffix)]
    suffix: Option<String>,
    /// Change the file itself
    #[arg(short, long, conflicts_with = "output")]
    in_place: bool,
    /// File to write to; without it standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    input::one_stdin([arguments.filename.as_path(), &arguments.approval])?;
    if arguments.in_place && input::is_stdin(&arguments.filename) {
        return Err(Failure::Misuse("standard input cannot be changed in place; leave out -i".to_owned()));
    }
    let envelope = input::envelope(&arguments.approval)?;
    let approval = approval_in(&envelope, &input::name(&arguments.approval))?;
    let text = input::manifest_text(&arguments.filename)?;
    let manifests = manifest::read(&input::name(&arguments.filename), &text, &arguments.kinds.known())?;
    let suffix = arguments.suffix.as_ref().map(|suffix| format!(".{suffix}")).unwrap_or_default();
    let annotation = format!("writgate.dev/approval{suffix}");
    let json = envelope.to_json();
    let (mut paths, mut notes) = (Vec::new(), Vec::new());
    for manifest in &manifests {
        if is_subject(manifest, &approval, arguments.namespace.as_deref())? {
            let replaces = manifest.annotation(&annotation).is_some_and(|old| old != json);
            let instead = if replaces { ", in place of another (--suffix keeps both)" } else { "" };
            notes.push(format!("attached: {manifest}{instead}"));
            paths.push(manifest.path());
        }
    }
    if paths.is_empty() {
        let subjects: Vec<String> = approval.subjects.iter().map(|subject| shown(&subject.name)).collect();
        return Err(Failure::No(format!(
            "the approval is for {}; {} has none of them",
            subjects.join(", "),
            input::name(&arguments.filename)
        )));
    }
    let edited = edit::annotate(&text, &paths, &annotation, &json)
        .map_err(|why| Failure::CouldNotTell(format!("{}: {why}", input::name(&arguments.filename))))?;
    let text = match edited {
        Edited::InPlace(text) => text,
        Edited::Rewritten(text) => {
            output::note(
                "note: the layout allows no insertion, so the file is written anew, without comments, as JSON",
            );
            text
        }
    };
    let in_place = arguments.in_place.then_some(&arguments.filename);
    output::write(arguments.output.as_ref().or(in_place).map(PathBuf::as_path), &text)?;
    for note in &notes {
        output::note(note);
    }
    Ok(Answer::Yes)
}

/// What an envelope says, whoever signed it.
pub(super) fn approval_in(envelope: &Envelope, name: &str) -> Result<Approval, Failure> {
    Approval::parse(envelope.payload()).map_err(|why| Failure::CouldNotTell(format!("{name} holds no approval: {why}")))
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
    let approved: Vec<String> = named.iter().map(ToString::to_string).collect();
    Err(Failure::No(format!(
        "{manifest}: this spec was not approved\n  found     {hash}\n  approved  {}\nget this spec approved: kubectl \
         writgate approve",
        approved.join(", ")
    )))
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
