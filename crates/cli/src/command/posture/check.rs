//! `posture check`: the problems of posture documents, and the rules that they give.

use std::path::PathBuf;

use serde_json::{Value, json};
use writgate_cluster::clock;
use writgate_core::{
    approval::Action,
    posture::{ActionRule, ApprovalRule, Explanation, Posture, PostureProblem, PostureSet, Reviewer},
    text::escape,
};

use crate::{
    command::Format,
    failure::{Answer, Failure},
    postures::PostureSourceFlags,
    terminal::output::{self, columns, shown},
};

/// Check posture documents and list their rules
///
/// The documents are those of a folder, which shows a change before it is applied, or those of the cluster. Exits with
/// 1 if a document has a problem or an environment has no valid posture. Warnings do not change the exit code.
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
    /// Output format
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
        output::note(&format!(
            "{} contains no posture; write a first one with `kubectl writgate posture init`",
            rules.source()
        ));
    }
    Ok(Answer::of(found && is_valid(set)))
}

/// Whether every posture is valid and no document has a problem.
pub(super) fn is_valid(set: &PostureSet) -> bool {
    set.environments().all(|(_, posture)| posture.is_ok()) && problems(set).next().is_none()
}

/// Everything that the cluster refuses when it is written: invalid documents, and quorums that cannot be met.
pub(crate) fn problems(set: &PostureSet) -> impl Iterator<Item = &PostureProblem> {
    let unmet = set.unreachable_quorums().iter().filter(|quorum| quorum.is_written);
    set.problems().iter().chain(unmet.map(|quorum| &quorum.problem))
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
        let PostureProblem { source, path, at, message, is_incomplete: _ } = problem;
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
        "audit": {"durability": posture.durability.as_str()},
        "warnings": set.warnings(posture, clock::now()),
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
        "identities": reviewer.identities,
        "keys": keys,
    })
}

fn as_text(set: &PostureSet) -> String {
    let mut lines = Vec::new();
    for (environment, posture) in set.environments() {
        match posture {
            Ok(posture) => lines.extend(valid_as_text(set, environment, posture)),
            Err(_) => lines.push(format!("environment {}: INVALID, every action is denied", shown(environment))),
        }
    }
    lines.extend(problems(set).map(|problem| format!("problem: {}", escape(&problem.to_string()))));
    lines.into_iter().map(|line| line + "\n").collect()
}

/// A summary. `posture explain` has everything.
fn valid_as_text(set: &PostureSet, environment: &str, posture: &Posture) -> Vec<String> {
    let cluster = posture.cluster.as_ref().map(|cluster| format!(" (cluster {})", shown(cluster))).unwrap_or_default();
    let mut lines = vec![format!("environment {}{cluster}: valid", shown(environment))];
    let Explanation { actions, reviewers, records, .. } = posture.explain();
    lines.extend(columns(actions.into_iter().chain(records)).lines().map(str::to_owned));
    lines.extend(reviewers.into_iter().map(|line| format!("  {line}")));
    lines.push(format!("  version {}", posture.version));
    let warnings = set.warnings(posture, clock::now());
    lines.extend(warnings.into_iter().map(|warning| format!("  warning: {}", shown(&warning))));
    lines
}
