//! `verify`: the webhook's decision, made here by the same function, and printed.

use std::path::PathBuf;

use clap::{ArgGroup, ValueEnum};
use writgate_core::{
    record::{Decision, Outcome},
    text::escape,
};

use crate::{
    approval::decider::{AttemptFlags, Decider, DecisionFlags},
    failure::{Answer, Failure},
    manifest::{
        Manifest,
        code_scanning::{self, LocatedDecision, SourceLocation, SourceLocations},
        input, workloads,
    },
    terminal::output::{self, columns, shown},
};

/// The webhook's size limit of an AdmissionReview.
const MAX_REVIEW: u64 = 8 * 1024 * 1024;

/// Decide as the webhook would, and print the decision
///
/// Decides about an AdmissionReview, or about each object of a manifest as if it were created now. Exits with 0 if
/// everything is admitted or not an action, with 1 if something is denied, and with 3 if there is no decision.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  kubectl writgate verify -f approved.yaml --posture-dir postures \\
      --environment production --project payments --as alice
  kubectl writgate verify --review review.json --posture-dir postures \\
      --now 2026-11-22T11:00:00Z -o json
  kubectl writgate verify -R -f deploy --posture-dir postures -o sarif > writgate.sarif")]
#[command(group(ArgGroup::new("what").required(true).args(["review", "filename"])))]
pub(crate) struct Arguments {
    /// AdmissionReview, JSON, as the API server sends it, `-` for standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["as_user", "namespace"])]
    review: Option<PathBuf>,
    /// Manifest, YAML or JSON, `-` for standard input; may be repeated
    #[arg(short, long, value_name = "FILE")]
    filename: Vec<PathBuf>,
    #[command(flatten)]
    decider: DecisionFlags,
    #[command(flatten)]
    attempt: AttemptFlags,
    /// Decide only as the cluster NAME, and fail if the posture is another cluster's
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// How decisions are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people; may change between versions
    #[default]
    Text,
    /// Decision records, for programs; stable
    Json,
    /// SARIF 2.1.0, for code scanning: each reason at the line of its object
    Sarif,
    /// Workflow commands, with which GitHub Actions annotates the lines of a change
    Github,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    input::one_stdin(arguments.filename.iter().map(PathBuf::as_path))?;
    let manifests = input::manifests(&arguments.filename, &arguments.decider.reading)?;
    let decider = arguments.decider.load(&manifests, arguments.attempt.time())?;
    let decisions = match &arguments.review {
        Some(path) => vec![(decider.decide_review(&input::bytes(path, MAX_REVIEW)?)?, None)],
        None => of_manifests(&decider, arguments)?,
    };
    if let Some(wanted) = &arguments.cluster {
        decisions.iter().try_for_each(|(decision, _)| is_of_cluster(decision, wanted))?;
    }
    print(&decisions, arguments.output)?;
    Ok(Answer::of(decisions.iter().all(|(decision, _)| decision.allowed())))
}

/// Fails if the decision was made with the posture of another cluster than `wanted`.
fn is_of_cluster(decision: &Decision, wanted: &str) -> Result<(), Failure> {
    let record = &decision.record;
    match &record.environment {
        Some(environment) if record.cluster.as_deref() != Some(wanted) => Err(Failure::Misuse(format!(
            "--cluster says {}, but the posture of {} is for {}; select the postures of that cluster with --context or \
             --posture-dir",
            shown(wanted),
            shown(environment),
            record.cluster.as_deref().map_or("no cluster".to_owned(), |cluster| format!("cluster {}", shown(cluster)))
        ))),
        _ => Ok(()),
    }
}

/// Decides about every object of the manifests that the webhook checks.
fn of_manifests<'a>(
    decider: &'a Decider<'_>,
    arguments: &Arguments,
) -> Result<Vec<(Decision, Option<&'a Manifest>)>, Failure> {
    let mut decisions = Vec::new();
    for manifest in decider.manifests {
        workloads::warn_of_outdated(manifest);
        workloads::warn_of_dropped_fields(manifest);
        workloads::warn_of_newer_fields(manifest, decider.postures.cluster.as_ref());
        if manifest.is_checked() {
            let namespace = arguments.attempt.namespace.of(manifest, decider.postures.cluster.as_ref())?;
            let decision = decider.decide_manifest(manifest, &namespace, None, arguments.attempt.as_user.as_deref())?;
            decisions.push((decision, Some(manifest)));
        }
    }
    if decisions.is_empty() {
        return Err(Failure::Undetermined(workloads::none_in(decider.manifests)));
    }
    Ok(decisions)
}

/// One decision is an object, several are an array.
fn print(decisions: &[(Decision, Option<&Manifest>)], format: Format) -> Result<(), Failure> {
    match (format, decisions) {
        (Format::Json, [(decision, _)]) => output::print_json(&decision.record),
        (Format::Json, _) => {
            output::print_json(&decisions.iter().map(|(decision, _)| &decision.record).collect::<Vec<_>>())
        }
        (Format::Text, _) => {
            output::print(&decisions.iter().map(|(decision, _)| text(decision)).collect::<Vec<_>>().join("\n"))
        }
        (Format::Sarif, _) => output::print_json(&code_scanning::sarif(&located(decisions)?)),
        (Format::Github, _) => output::print(&code_scanning::github(&located(decisions)?)),
    }
}

/// The decisions, each with the location of its object.
fn located<'a>(decisions: &'a [(Decision, Option<&Manifest>)]) -> Result<Vec<LocatedDecision<'a>>, Failure> {
    let mut locations = SourceLocations::default();
    let mut located = Vec::new();
    for (decision, manifest) in decisions {
        let location: Option<SourceLocation> = manifest.map(|manifest| locations.find(manifest)).transpose()?.flatten();
        located.push(LocatedDecision { decision, location });
    }
    Ok(located)
}

fn text(decision: &Decision) -> String {
    let record = &decision.record;
    let message = decision.message();
    let mut text = escape(if message.is_empty() { decision.summary() } else { message }.trim_end()) + "\n";
    if record.decision == Outcome::NotAnAction {
        return text;
    }
    let mut rows = Vec::new();
    if decision.denials.is_empty() {
        rows.push(("spec hash", record.spec_hash.map(|hash| hash.to_string()).unwrap_or_default()));
    }
    for approval in &record.approvals {
        let people = shown(&approval.reviewers.join(", "));
        rows.push(("signed by", format!("{people} (approval {}, until {})", shown(&approval.id), approval.expires_at)));
    }
    rows.push(("posture", record.posture_version.clone().unwrap_or_default()));
    text.push_str(&columns(rows));
    text
}
