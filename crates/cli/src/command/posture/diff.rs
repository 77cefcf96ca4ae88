//! `posture diff`: what a change of posture documents permits and forbids, before it is applied.

use std::path::{Path, PathBuf};

use writgate_core::posture::{ChangeEffect, PostureChange};

use crate::{
    command::Format,
    failure::{Answer, Failure},
    postures::PostureSourceFlags,
    terminal::{
        output::{self, shown},
        style,
    },
};

/// Compare the postures of a folder with those of the cluster or of another folder
///
/// Each change is looser (it permits more, or records less), stricter (it permits less, or records more) or neither.
/// The meaning of the documents is compared, with all defaults, and not their text. Exits with 0 if nothing differs and
/// with 1 if something does, as diff and kubectl diff do.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  kubectl writgate posture diff postures
  kubectl writgate posture diff postures postures.new
  kubectl writgate posture diff postures -o json")]
pub(crate) struct Arguments {
    /// Folder with the documents after the change; with AFTER, the documents before the change
    #[arg(value_name = "DIR")]
    first: PathBuf,
    /// Folder with the documents after the change [default: compare DIR with the cluster]
    #[arg(value_name = "AFTER")]
    second: Option<PathBuf>,
    #[command(flatten)]
    cluster: crate::cluster::ClusterFlags,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub(super) fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    let load = |folder: Option<&Path>| {
        let flags = PostureSourceFlags { posture_dir: None, cluster: arguments.cluster.clone() };
        flags.or_folder(folder).load()
    };
    let (before, after) = match &arguments.second {
        Some(second) => (load(Some(&arguments.first))?, load(Some(second))?),
        None => (load(None)?, load(Some(&arguments.first))?),
    };
    let changes = after.set.changes_since(&before.set);
    match arguments.output {
        Format::Json => output::print_json(&changes)?,
        Format::Text => output::print(&as_text(&changes))?,
    }
    Ok(Answer::of(changes.is_empty()))
}

fn as_text(changes: &[PostureChange]) -> String {
    let mut lines = Vec::new();
    let mut environment = None;
    for change in changes {
        if environment != Some(&change.environment) {
            environment = Some(&change.environment);
            lines.push(style::heading(&format!("environment {}", shown(&change.environment))));
        }
        lines.push(format!("  {}  {}", effect(change.effect), shown(&describe(change))));
    }
    match changes.iter().filter(|change| change.effect == ChangeEffect::Looser).count() {
        0 => {}
        1 => lines.push(style::careful("1 change is looser")),
        looser => lines.push(style::careful(&format!("{looser} changes are looser"))),
    }
    lines.into_iter().map(|line| line + "\n").collect()
}

fn effect(effect: ChangeEffect) -> String {
    match effect {
        ChangeEffect::Looser => style::careful("looser  "),
        ChangeEffect::Stricter => "stricter".to_owned(),
        ChangeEffect::Differs => "differs ".to_owned(),
    }
}

/// The change in words, without its effect.
pub(crate) fn describe(change: &PostureChange) -> String {
    let PostureChange { environment: _, what, before, after, effect: _ } = change;
    match (before, after) {
        (Some(before), Some(after)) => format!("{what}: {before} → {after}"),
        (None, Some(value)) => format!("{what} added{}", in_parentheses(what, value, "added")),
        (Some(value), None) => format!("{what} removed{}", in_parentheses(what, value, "removed")),
        (None, None) => what.clone(),
    }
}

/// The value, unless it repeats what is before it.
fn in_parentheses(what: &str, value: &str, verb: &str) -> String {
    if value == verb || what.ends_with(value) { String::new() } else { format!(" ({value})") }
}
