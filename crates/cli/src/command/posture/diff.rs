//! `posture diff`: what a change of the rules comes to, before it is applied.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use writgate_core::posture::{Posture, PostureSet};

use crate::{
    command::{
        Format,
        posture::effect::{self, Change, Effect},
    },
    failure::{Answer, Failure},
    postures::PostureSourceFlags,
    terminal::{
        output::{self, shown},
        style,
    },
};

/// Compare rules: of a folder with the cluster's, or of two folders
///
/// Tells what is permitted after the change that was not before (looser), what is no longer (stricter), and which
/// reviewers, keys, grants and revocations come and go. Compared is what the documents come to, not their text. Exits
/// with 0 if nothing differs and with 1 if something does, as diff and kubectl diff do.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  kubectl writgate posture diff postures
  kubectl writgate posture diff postures postures.new
  kubectl writgate posture diff postures -o json")]
pub(crate) struct Arguments {
    /// Folder with the rules after the change; with a second folder, those before it
    #[arg(value_name = "DIR")]
    first: PathBuf,
    /// Folder with the rules after the change [default: the first is compared with the cluster's]
    #[arg(value_name = "AFTER")]
    second: Option<PathBuf>,
    #[command(flatten)]
    cluster: crate::cluster::ClusterFlags,
    /// How to print the differences
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
    let changes = between(&before.set, &after.set);
    match arguments.output {
        Format::Json => output::print_json(&changes)?,
        Format::Text => output::print(&as_text(&changes))?,
    }
    Ok(Answer::of(changes.is_empty()))
}

fn between(before: &PostureSet, after: &PostureSet) -> Vec<Change> {
    let environments = |set: &PostureSet| -> BTreeMap<String, Option<Posture>> {
        set.environments().map(|(name, posture)| (name.to_owned(), posture.ok().cloned())).collect()
    };
    let (before, after) = (environments(before), environments(after));
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    names.into_iter().flat_map(|name| of_environment(name, before.get(name), after.get(name))).collect()
}

/// An environment without rules, or with invalid ones, admits nothing.
fn of_environment(name: &str, before: Option<&Option<Posture>>, after: Option<&Option<Posture>>) -> Vec<Change> {
    if let (Some(Some(before)), Some(Some(after))) = (before, after) {
        return effect::between(before, after);
    }
    let word = |posture: Option<&Option<Posture>>| {
        posture.map(|posture| if posture.is_some() { "valid" } else { "INVALID, every action denied" }.to_owned())
    };
    let (old, new) = (word(before), word(after));
    if old == new {
        return Vec::new();
    }
    let effect = match (before.flatten(), after.flatten()) {
        (None, Some(_)) => Effect::Looser,
        (Some(_), None) => Effect::Stricter,
        _ => Effect::Differs,
    };
    vec![Change { environment: name.to_owned(), what: "posture".to_owned(), before: old, after: new, effect }]
}

trait Flatten<'a> {
    fn flatten(self) -> Option<&'a Posture>;
}

impl<'a> Flatten<'a> for Option<&'a Option<Posture>> {
    fn flatten(self) -> Option<&'a Posture> {
        self.and_then(Option::as_ref)
    }
}

fn as_text(changes: &[Change]) -> String {
    let mut lines = Vec::new();
    let mut environment = None;
    for change in changes {
        if environment != Some(&change.environment) {
            environment = Some(&change.environment);
            lines.push(style::heading(&format!("environment {}", shown(&change.environment))));
        }
        lines.push(format!("  {}  {}", word(change.effect), shown(&in_words(change))));
    }
    let looser = changes.iter().filter(|change| change.effect == Effect::Looser).count();
    if looser > 0 {
        let are = if looser == 1 { "1 change permits" } else { &format!("{looser} changes permit") };
        lines.push(style::careful(&format!("{are} what was not permitted before")));
    }
    lines.into_iter().map(|line| line + "\n").collect()
}

fn word(effect: Effect) -> String {
    match effect {
        Effect::Looser => style::careful("looser  "),
        Effect::Stricter => "stricter".to_owned(),
        Effect::Differs => "differs ".to_owned(),
    }
}

fn in_words(change: &Change) -> String {
    let Change { what, before, after, .. } = change;
    let beside = |value: &str| if what.ends_with(value) { String::new() } else { format!(" ({value})") };
    match (before, after) {
        (Some(before), Some(after)) => format!("{what}: {before} → {after}"),
        (None, Some(after)) => format!("{what} added{}", beside(after).replace(" (added)", "")),
        (Some(before), None) => format!("{what} removed{}", beside(before).replace(" (removed)", "")),
        (None, None) => what.clone(),
    }
}
