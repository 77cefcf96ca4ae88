//! `posture check`: what posture documents come to, and what is wrong in them.

use std::path::PathBuf;

use serde_json::{Value, json};
use writgate_cluster::clock;
use writgate_core::{
    approval::Action,
    posture::{ActionRule, ApprovalRule, Posture, PostureProblem, PostureSet, QuorumEntry, Reviewer, ReviewerKey},
    text::escape,
};

use crate::{
    command::Format,
    failure::{Answer, Failure},
    postures::PostureSourceFlags,
    terminal::output::{self, columns, shown},
};

/// Check posture documents and list the rules that are in force by them
///
/// Of a folder, so that a change can be checked before it is applied, or of the cluster. Exits with 1 if a document is
/// wrong or an environment has no valid posture.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  kubectl writgate posture check -f postures
  kubectl writgate posture check --context prod
  kubectl writgate posture check -f postures -o json")]
pub(crate) struct Arguments {
    /// Folder of posture documents; the same as --posture-dir
    #[arg(short = 'f', value_name = "DIR", conflicts_with = "posture_dir")]
    folder: Option<PathBuf>,
    #[command(flatten)]
    rules: PostureSourceFlags,
    /// How to print the findings
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub(super) fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    let rules = arguments.rules.or_folder(arguments.folder.as_deref()).load()?;
    let set = &rules.set;
    match arguments.output {
        Format::Json => output::print_json(&as_json(set))?,
        Format::Text => output::print(&as_text(set))?,
    }
    let found = set.environments().next().is_some();
    if !found {
        output::note(&format!("{} holds no posture", rules.source()));
    }
    Ok(Answer::of(found && is_right(set)))
}

/// Whether nothing is wrong.
pub(super) fn is_right(set: &PostureSet) -> bool {
    set.environments().all(|(_, posture)| posture.is_ok()) && problems(set).next().is_none()
}

/// All that a cluster refuses when it is written: what is wrong, and what is right but can never be met.
pub(super) fn problems(set: &PostureSet) -> impl Iterator<Item = &PostureProblem> {
    let unmet = set.unreachable_quorums().iter().filter(|quorum| quorum.is_written);
    set.problems().iter().chain(unmet.map(|quorum| &quorum.problem))
}

/// What nobody can do by default rules, and what nobody can do today, whose keys are expired or revoked being left out.
fn warnings(set: &PostureSet, posture: &Posture) -> Vec<String> {
    let never: Vec<_> =
        set.unreachable_quorums().iter().filter(|quorum| quorum.environment == posture.environment).collect();
    let implied = never.iter().filter(|quorum| !quorum.is_written);
    let mut warnings: Vec<String> =
        implied.map(|quorum| format!("{}: {}", quorum.problem.path, quorum.problem.message)).collect();
    for (path, why) in posture.unmet_quorums(clock::now()) {
        if !never.iter().any(|quorum| quorum.problem.path.starts_with(&path)) {
            warnings.push(format!("{path}: with the keys that are valid today {why}"));
        }
    }
    warnings
}

fn as_json(set: &PostureSet) -> Value {
    let environments: Vec<Value> = set
        .environments()
        .map(|(environment, posture)| match posture {
            Ok(posture) => valid_as_json(set, environment, posture),
            Err(error) => json!({"environment": environment, "valid": false, "error": error.to_string()}),
        })
        .collect();
    let problem = |problem: &PostureProblem| {
        let PostureProblem { source, path, at, message, .. } = problem;
        let (line, column) = at.unzip();
        json!({"source": source, "path": path, "line": line, "column": column, "message": message})
    };
    json!({"environments": environments, "problems": problems(set).map(problem).collect::<Vec<_>>()})
}

fn valid_as_json(set: &PostureSet, environment: &str, posture: &Posture) -> Value {
    let actions: serde_json::Map<String, Value> =
        Action::ALL.into_iter().map(|action| (action.to_string(), rule_as_json(posture.rule(action)))).collect();
    json!({
        "environment": environment,
        "valid": true,
        "cluster": posture.cluster,
        "version": posture.version,
        "actions": actions,
        "reviewers": posture.reviewers.iter().map(reviewer_as_json).collect::<Vec<_>>(),
        "warnings": warnings(set, posture),
    })
}

fn rule_as_json(rule: &ActionRule) -> Value {
    let quorum: Vec<Value> =
        rule.quorum.iter().map(|entry| json!({"group": entry.group, "count": entry.count})).collect();
    json!({
        "approval": match rule.approval {
            ApprovalRule::Required => "required",
            ApprovalRule::None => "none",
        },
        "capabilities": rule.capabilities.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "quorum": quorum,
        "maxLifetime": format!("{:#}", rule.max_lifetime),
        "singleUse": rule.single_use,
        "enforcement": rule.enforcement,
    })
}

fn reviewer_as_json(reviewer: &Reviewer) -> Value {
    let keys: Vec<Value> = reviewer
        .keys
        .iter()
        .map(|key| json!({"id": key.id, "notBefore": key.not_before, "notAfter": key.not_after}))
        .collect();
    json!({
        "name": reviewer.name,
        "groups": reviewer.groups,
        "projects": reviewer.projects,
        "capabilities": reviewer.capabilities.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "keys": keys,
    })
}

fn as_text(set: &PostureSet) -> String {
    let mut lines = Vec::new();
    for (environment, posture) in set.environments() {
        match posture {
            Ok(posture) => lines.extend(valid_as_text(set, environment, posture)),
            Err(_) => lines.push(format!("environment {}: INVALID, every action in it is denied", shown(environment))),
        }
    }
    lines.extend(problems(set).map(|problem| format!("problem: {}", escape(&problem.to_string()))));
    lines.into_iter().map(|line| line + "\n").collect()
}

fn valid_as_text(set: &PostureSet, environment: &str, posture: &Posture) -> Vec<String> {
    let cluster = posture.cluster.as_ref().map(|cluster| format!(" (cluster {})", shown(cluster))).unwrap_or_default();
    let mut lines = vec![format!("environment {}{cluster}: valid", shown(environment))];
    let rules = Action::ALL.map(|action| (action.as_str(), rule_as_text(posture.rule(action))));
    lines.extend(columns(rules).lines().map(str::to_owned));
    lines.extend(posture.reviewers.iter().flat_map(reviewer_as_text));
    lines.push(format!("  version {}", posture.version));
    lines.extend(warnings(set, posture).into_iter().map(|warning| format!("  warning: {warning}")));
    lines
}

pub(super) fn rule_as_text(rule: &ActionRule) -> String {
    let enforcement = rule.enforcement.as_str();
    if rule.approval == ApprovalRule::None {
        return format!("no approval ({enforcement})");
    }
    let capabilities: Vec<String> = rule.capabilities.iter().map(ToString::to_string).collect();
    format!(
        "approval with {}, signed by {}, for at most {:#}{} ({enforcement})",
        capabilities.join(", "),
        quorum_as_text(&rule.quorum),
        rule.max_lifetime,
        if rule.single_use { ", used once" } else { "" }
    )
}

pub(super) fn quorum_as_text(quorum: &[QuorumEntry]) -> String {
    let entry = |entry: &QuorumEntry| match &entry.group {
        Some(group) => format!("{} of group {}", entry.count, shown(group)),
        None => format!("{} of anybody", entry.count),
    };
    quorum.iter().map(entry).collect::<Vec<_>>().join(" and ")
}

pub(super) fn reviewer_as_text(reviewer: &Reviewer) -> Vec<String> {
    let capabilities: Vec<String> = reviewer.capabilities.iter().map(ToString::to_string).collect();
    let projects = match &reviewer.projects {
        Some(projects) => format!(" in {}", projects.join(", ")),
        None => String::new(),
    };
    let groups = if reviewer.groups.is_empty() { String::new() } else { format!(" ({})", reviewer.groups.join(", ")) };
    let grants = format!("{}{groups} may grant {}{projects}", reviewer.name, capabilities.join(", "));
    let key = |key: &ReviewerKey| {
        let from = key.not_before.map(|time| format!(" from {time}")).unwrap_or_default();
        let until = key.not_after.map(|time| format!(" until {time}")).unwrap_or_default();
        format!("    key {}{from}{until}", key.id)
    };
    let mut lines = vec![format!("  reviewer {}", shown(&grants))];
    lines.extend(reviewer.keys.iter().map(key));
    lines
}
