//! `posture explain`: an environment's rules in words, or what a field of the documents means.

use std::{fmt::Write as _, path::PathBuf};

use writgate_core::{
    approval::Action,
    posture::{ConnectRule, ImageRule, PodRule, Posture, PostureSet, SeparationOfDuties, WorkloadRule},
};

use crate::{
    command::posture::{check, field},
    failure::{Answer, Failure},
    postures::PostureSourceFlags,
    terminal::{
        output::{self, columns, shown},
        style,
    },
};

/// Tell an environment's rules in words, or what a field means
///
/// Of a folder or of the cluster, which needs the right to read the postures. With --field nothing is read: it tells
/// what may stand in the documents.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  kubectl writgate posture explain production
  kubectl writgate posture explain -f postures
  kubectl writgate posture explain --field actions.deploy.quorum
  kubectl writgate posture explain --field reviewers")]
pub(crate) struct Arguments {
    /// The environment [default: all]
    environment: Option<String>,
    /// A field of the documents: `actions.deploy.quorum`, or a kind of document: `posture`
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
        Some(environment) => vec![of_environment(&rules.set, environment)?],
        None => rules
            .set
            .environments()
            .map(|(environment, _)| of_environment(&rules.set, environment))
            .collect::<Result<_, _>>()?,
    };
    if texts.is_empty() {
        return Err(Failure::No(format!("{} holds no posture", rules.source())));
    }
    output::print(&texts.join("\n"))?;
    Ok(Answer::Yes)
}

fn of_environment(set: &PostureSet, environment: &str) -> Result<String, Failure> {
    match set.environment(environment) {
        Ok(posture) => Ok(in_words(posture)),
        Err(error) => Err(Failure::No(format!("environment {}: every action is denied: {error}", shown(environment)))),
    }
}

fn in_words(posture: &Posture) -> String {
    let mut text = style::heading(&format!("environment {}", shown(&posture.environment))) + "\n";
    text.push_str(&columns(place(posture)));
    let paragraphs = [
        ("What needs an approval", actions(posture)),
        ("What needs more than that", rules(posture)),
        ("Who may approve", people(posture)),
        ("What the object itself must be", object(posture)),
        ("Replays", replay(posture)),
        ("Exceptions", exceptions(posture)),
    ];
    for (title, lines) in paragraphs.into_iter().filter(|(_, lines)| !lines.is_empty()) {
        let _ = write!(text, "\n{}\n{lines}", style::heading(title));
    }
    text
}

fn place(posture: &Posture) -> Vec<(&'static str, String)> {
    let namespaces = match &posture.namespaces {
        None => "any that claims it, by the label writgate.dev/environment".to_owned(),
        Some(listed) => {
            let one =
                |(namespace, project): (&String, &String)| format!("{} (project {})", shown(namespace), shown(project));
            listed.iter().map(one).collect::<Vec<_>>().join(", ") + " and no other"
        }
    };
    let cluster = posture.cluster.as_deref().map(|name| format!("{}, which approvals must name", shown(name)));
    let revoked = &posture.revocations;
    let revoked =
        [("approvals", revoked.approvals.len()), ("keys", revoked.keys.len()), ("specs", revoked.specs.len())];
    let revoked: Vec<String> =
        revoked.iter().filter(|(_, count)| *count > 0).map(|(what, count)| format!("{what} {count}")).collect();
    vec![
        ("cluster", cluster.unwrap_or_else(|| "any; approvals may name none".to_owned())),
        ("namespaces", namespaces),
        ("revoked", revoked.join(", ")),
        ("version", posture.version.clone()),
    ]
}

fn actions(posture: &Posture) -> String {
    let mut rows: Vec<(&str, String)> =
        Action::ALL.into_iter().map(|action| (action.as_str(), check::rule_as_text(posture.rule(action)))).collect();
    let others = match posture.workloads {
        WorkloadRule::Approve => "as a deploy",
        WorkloadRule::Deny => "refused",
        WorkloadRule::Allow => "admitted without",
    };
    rows.push(("other workloads", others.to_owned()));
    let pods =
        if posture.pods == PodRule::Deny { "refused: they have no spec that could be approved" } else { "admitted" };
    rows.push(("bare Pods", pods.to_owned()));
    let connect = match posture.connect {
        ConnectRule::Allow => "left alone",
        ConnectRule::Audit => "admitted, and on the record with who and where",
        ConnectRule::Deny => "refused",
    };
    rows.push(("exec and the like", connect.to_owned()));
    columns(rows)
}

fn rules(posture: &Posture) -> String {
    let rule = |rule: &writgate_core::posture::CapabilityRule| {
        let require: Vec<String> = rule.require.iter().map(ToString::to_string).collect();
        let why = rule.message.as_deref().map(|why| format!(": {}", shown(why))).unwrap_or_default();
        format!("  {} needs {}{why}\n    when {}\n", shown(&rule.name), require.join(", "), shown(&rule.when))
    };
    posture.capability_rules.iter().map(rule).collect::<Vec<_>>().concat()
}

fn people(posture: &Posture) -> String {
    let mut lines: Vec<String> = posture.reviewers.iter().flat_map(check::reviewer_as_text).collect();
    if lines.is_empty() {
        lines.push("  nobody".to_owned());
    }
    lines.push(match posture.separation_of_duties {
        SeparationOfDuties::Off => "  also what they asked for themselves".to_owned(),
        // People are told apart by nothing else: who applies under a name that is not listed, counts as somebody else.
        SeparationOfDuties::Claimed => {
            "  but never what they asked for, or apply, under this name or one of their identities".to_owned()
        }
        SeparationOfDuties::Proven => {
            "  but never what they asked for, or apply, under this name or one of their identities; and who asked is \
             proven: it is who applies, or signed too, or two people approve"
                .to_owned()
        }
    });
    lines.into_iter().map(|line| line + "\n").collect()
}

fn object(posture: &Posture) -> String {
    let mut rows = Vec::new();
    if posture.images == ImageRule::Digest {
        rows.push(("images", "each by its digest".to_owned()));
    }
    let listed = posture
        .builds
        .as_ref()
        .map(|builds| format!(", one of {} that are listed with what they were built into", builds.len()));
    if posture.pipeline_version_required || listed.is_some() {
        let named = if posture.pipeline_version_required { "named" } else { "where one is named" };
        rows.push(("pipeline version", format!("{named}{}", listed.unwrap_or_default())));
    }
    if let Some(rule) = &posture.config_bundle {
        let secrets: Vec<String> = rule.secrets.iter().map(|name| shown(name)).collect();
        let secrets = if secrets.is_empty() { "none".to_owned() } else { secrets.join(", ") };
        rows.push(("configuration", format!("config bundles only; Secrets: {secrets}")));
    }
    columns(rows)
}

fn replay(posture: &Posture) -> String {
    let rule = &posture.replay;
    let listed = |list: &[String]| list.iter().map(|text| shown(text)).collect::<Vec<_>>().join(", ");
    let mut rows = vec![(
        "what is one",
        format!(
            "a Job with the label writgate.dev/replay{}",
            match rule.images.written() {
                [] => String::new(),
                images => format!(", or one that runs {}", listed(images)),
            }
        ),
    )];
    if let Some(sources) = &rule.source_environments {
        rows.push(("may read from", listed(sources)));
    }
    rows.push((
        "dry run",
        match &rule.dry_run {
            None => "there is none; every replay is executed".to_owned(),
            Some(contract) => {
                let env: Vec<String> =
                    contract.env.iter().map(|(name, value)| format!("{}={}", shown(name), shown(value))).collect();
                let args: Vec<String> = contract.args.iter().map(|words| shown(&words.join(" "))).collect();
                format!(
                    "as {}, with exactly {} and the arguments {}",
                    listed(&contract.service_accounts),
                    if env.is_empty() { "no variables".to_owned() } else { env.join(", ") },
                    if args.is_empty() { "none".to_owned() } else { args.join(" or ") }
                )
            }
        },
    ));
    columns(rows)
}

fn exceptions(posture: &Posture) -> String {
    let rollback = posture.rollback.map_or_else(
        || "none: what ran before needs an approval like everything else".to_owned(),
        |rule| {
            format!(
                "what was admitted with an approval less than {:#} ago, and is among the last {}, may run again",
                rule.within, rule.revisions
            )
        },
    );
    let emergency = posture.break_glass.as_ref().map_or_else(
        || "none".to_owned(),
        |rule| {
            let capabilities: Vec<String> = rule.capabilities.iter().map(ToString::to_string).collect();
            format!(
                "an approval for an emergency needs {}, {}, for at most {:#}; everybody is told",
                capabilities.join(", "),
                check::quorum_as_text(&rule.quorum),
                rule.max_lifetime
            )
        },
    );
    columns([("rollback", rollback), ("break-glass", emergency)])
}
