//! `posture explain`: the rules of an environment in words, or the meaning of a field of the documents.

use std::{fmt::Write as _, path::PathBuf};

use writgate_core::posture::{ExplainedRow, Explanation, Posture, PostureSet};

use super::field;
use crate::{
    failure::{Answer, Failure},
    postures::PostureSourceFlags,
    terminal::{
        output::{self, columns, shown},
        style,
    },
};

/// Explain the rules of an environment, or a field of the documents
///
/// The rules are those of a folder or of the cluster. With --field, neither is read.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  kubectl writgate posture explain production
  kubectl writgate posture explain -f postures
  kubectl writgate posture explain --field actions.deploy.quorum
  kubectl writgate posture explain --field reviewers")]
pub(crate) struct Arguments {
    /// Environment [default: all]
    environment: Option<String>,
    /// Field of a document, such as actions.deploy.quorum, or kind of document, such as posture
    #[arg(long, value_name = "PATH", conflicts_with_all = ["environment", "folder", "posture_dir"])]
    field: Option<String>,
    /// Folder of posture documents; the same as --posture-dir
    #[arg(short = 'f', value_name = "DIR", conflicts_with = "posture_dir")]
    folder: Option<PathBuf>,
    #[command(flatten)]
    rules: PostureSourceFlags,
}

pub(super) fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    if let Some(path) = &arguments.field {
        output::print(&field::explain(path)?)?;
        return Ok(Answer::Yes);
    }
    let rules = arguments.rules.or_folder(arguments.folder.as_deref()).load()?;
    let texts = match &arguments.environment {
        Some(environment) => vec![explain(&rules.set, environment)?],
        None => rules
            .set
            .environments()
            .map(|(environment, _)| explain(&rules.set, environment))
            .collect::<Result<_, _>>()?,
    };
    if texts.is_empty() {
        return Err(Failure::No(format!(
            "{} contains no posture; write a first one with `kubectl writgate posture init`",
            rules.source()
        )));
    }
    output::print(&texts.join("\n"))?;
    Ok(Answer::Yes)
}

fn explain(set: &PostureSet, environment: &str) -> Result<String, Failure> {
    match set.environment(environment) {
        Ok(posture) => Ok(as_text(posture)),
        Err(error) => Err(Failure::No(format!("environment {}: every action is denied: {error}", shown(environment)))),
    }
}

/// One topic of an explanation: rows with labels, then lines.
pub(crate) struct Topic {
    pub(crate) title: &'static str,
    pub(crate) rows: Vec<ExplainedRow>,
    pub(crate) lines: Vec<String>,
}

/// Where a posture applies, and its rules by topic. A topic without rows and lines has nothing to say.
pub(crate) fn topics(posture: &Posture) -> (Vec<ExplainedRow>, [Topic; 7]) {
    let Explanation {
        scope,
        actions,
        other_requests,
        capability_rules,
        reviewers,
        separation_of_duties,
        object,
        replays,
        exceptions,
        records,
    } = posture.explain();
    let mut approvers = if reviewers.is_empty() { vec!["nobody".to_owned()] } else { reviewers };
    approvers.push(separation_of_duties);
    let of_rows = |title, rows| Topic { title, rows, lines: Vec::new() };
    let of_lines = |title, lines| Topic { title, rows: Vec::new(), lines };
    let topics = [
        of_rows("What requires an approval", actions.into_iter().chain(other_requests).collect()),
        of_lines("What requires further capabilities", capability_rules),
        of_lines("Who may approve", approvers),
        of_rows("What an object must be", object),
        of_rows("Replays", replays),
        of_rows("Exceptions", exceptions),
        of_rows("Audit", records),
    ];
    (scope, topics)
}

fn as_text(posture: &Posture) -> String {
    let (scope, topics) = topics(posture);
    let mut text = style::heading(&format!("environment {}", shown(&posture.environment))) + "\n";
    text.push_str(&columns(scope));
    for Topic { title, rows, lines } in topics {
        let lines: String = lines.iter().flat_map(|line| ["  ", line, "\n"]).collect();
        let lines = columns(rows) + &lines;
        if !lines.is_empty() {
            let _ = write!(text, "\n{}\n{lines}", style::heading(title));
        }
    }
    text
}
