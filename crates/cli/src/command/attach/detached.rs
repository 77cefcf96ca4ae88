//! `attach --detached`: ConfigMaps with the approvals, one for each namespace that an approval names.

use std::{collections::BTreeSet, fmt::Write as _, path::PathBuf};

use writgate_cluster::names::is_label;
use writgate_core::vocabulary::{APPROVAL_KEY, APPROVAL_KIND, KIND_LABEL};

use crate::{
    command::attach::{Arguments, Attachment, names_of, short_id},
    failure::{Answer, Failure},
    manifest::edit::single_quoted,
    terminal::output::{self, Access, shown},
};

pub(super) fn run(arguments: &Arguments, attachments: &[Attachment]) -> Result<Answer, Failure> {
    let mut documents = Vec::new();
    for attachment in attachments {
        for namespace in namespaces(attachment, arguments.namespace.as_deref())? {
            documents.push(config_map(attachment, namespace));
        }
    }
    output::check_target(arguments.output.as_deref(), arguments.approvals.iter().map(PathBuf::as_path))?;
    output::write(arguments.output.as_deref(), &documents.join("---\n"), Access::Public)?;
    Ok(Answer::Yes)
}

/// The namespaces that an approval names, or `only` that one.
fn namespaces<'a>(attachment: &'a Attachment, only: Option<&str>) -> Result<BTreeSet<&'a str>, Failure> {
    let subjects = attachment.approval.subjects.iter();
    let named = subjects.filter_map(|subject| subject.name.rsplit('/').nth(1));
    let namespaces: BTreeSet<&str> = named.filter(|name| only.is_none_or(|only| only == *name)).collect();
    if let Some(bad) = namespaces.iter().find(|namespace| !is_label(namespace)) {
        return Err(Failure::Undetermined(format!(
            "{}: {} is not a valid namespace name",
            attachment.source,
            shown(bad)
        )));
    }
    match only {
        Some(only) if namespaces.is_empty() => Err(Failure::No(format!(
            "the approval is for {}; none of them is in namespace {}",
            names_of(&attachment.approval),
            shown(only)
        ))),
        _ => Ok(namespaces),
    }
}

fn config_map(attachment: &Attachment, namespace: &str) -> String {
    let mut text = String::from("apiVersion: v1\nkind: ConfigMap\nmetadata:\n");
    let _ = writeln!(text, "  name: writgate-approval-{}", short_id(&attachment.approval));
    let _ = writeln!(text, "  namespace: {}", single_quoted(namespace));
    let _ = writeln!(text, "  labels:\n    {KIND_LABEL}: {APPROVAL_KIND}");
    let _ = writeln!(text, "data:\n  {APPROVAL_KEY}: {}", single_quoted(&attachment.envelope.to_json()));
    text
}
