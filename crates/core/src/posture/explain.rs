//! A posture in words.
//!
//! Every struct of a posture is destructured in full: a new field does not compile until its explanation is written.

use super::{
    ActionRule, Actions, ApprovalRule, BreakGlassRule, Build, CapabilityRule, ConfigRule, ConnectRule, DryRunContract,
    Durability, ImageRule, PodRule, Posture, ReplayRule, Reviewer, ReviewerKey, Revocations, RollbackRule,
    SeparationOfDuties, UngovernedRule, WorkloadRule, describe_quorum,
};
use crate::{approval::action::Action, approval::capability::Capability, text::escape_line, vocabulary::REPLAY_LABEL};

/// A label and what applies to it. Both are on one line and safe for a terminal.
pub type ExplainedRow = (&'static str, String);

/// What a posture means, by topic. All texts are on one line and safe for a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Where the posture applies, and its version.
    pub scope: Vec<ExplainedRow>,
    /// What each action requires.
    pub actions: Vec<ExplainedRow>,
    /// What happens to requests that are no action of their own: other workloads, bare Pods, connections.
    pub other_requests: Vec<ExplainedRow>,
    /// The capability rules.
    pub capability_rules: Vec<String>,
    /// The reviewers, their grants and their keys.
    pub reviewers: Vec<String>,
    /// Which requests a reviewer may not approve.
    pub separation_of_duties: String,
    /// What an object must be, whatever was approved. Empty if nothing is required.
    pub object: Vec<ExplainedRow>,
    /// Replays and dry runs.
    pub replays: Vec<ExplainedRow>,
    /// What is admitted without an approval under the action's rule.
    pub exceptions: Vec<ExplainedRow>,
    /// How the records of admissions are kept.
    pub records: Vec<ExplainedRow>,
}

impl Posture {
    /// The posture in words.
    #[must_use]
    pub fn explain(&self) -> Explanation {
        let Self {
            environment,
            config_map: _, // where the posture is stored is not a rule
            cluster,
            namespaces,
            reviewers,
            revocations,
            separation_of_duties,
            capability_rules,
            pipeline_version_required,
            builds,
            config_bundle,
            images,
            replay,
            workloads,
            pods,
            ungoverned,
            rollback,
            break_glass,
            connect,
            durability,
            version,
            actions: Actions { deploy, replay_execute, replay_dry_run },
            keys: _, // an index of `reviewers`
        } = self;
        let cluster = cluster.as_ref().map_or("not set; an approval must name no cluster".to_owned(), |cluster| {
            format!("{cluster}; every approval must name it")
        });
        let namespaces = namespaces.as_ref().map_or_else(
            || format!("any with the label writgate.dev/environment: {environment}"),
            |listed| {
                let pairs = listed.iter().map(|(namespace, project)| format!("{namespace} (project {project})"));
                format!("{} and no other", joined(pairs, ", "))
            },
        );
        let scope = vec![
            ("cluster", cluster),
            ("namespaces", namespaces),
            ("revoked", revoked(revocations)),
            ("version", version.clone()),
        ];
        Explanation {
            scope: escaped(scope),
            actions: escaped(vec![
                (Action::Deploy.as_str(), deploy.describe()),
                (Action::ReplayExecute.as_str(), replay_execute.describe()),
                (Action::ReplayDryRun.as_str(), replay_dry_run.describe()),
            ]),
            other_requests: escaped(other_requests(*workloads, *pods, *ungoverned, *connect)),
            capability_rules: capability_rules.iter().flat_map(capability_rule).collect(),
            reviewers: reviewers.iter().flat_map(Reviewer::describe).collect(),
            separation_of_duties: describe_duties(*separation_of_duties).to_owned(),
            object: escaped(object(*images, *pipeline_version_required, builds.as_deref(), config_bundle.as_ref())),
            replays: escaped(replays(replay)),
            exceptions: escaped(vec![
                ("rollback", describe_rollback(rollback.as_ref())),
                ("break-glass", describe_break_glass(break_glass.as_ref())),
            ]),
            records: escaped(vec![("records", describe_durability(*durability))]),
        }
    }
}

impl ActionRule {
    /// The rule in words: `approval with deploy, signed by 2 reviewers, for at most 24h (enforce)`.
    #[must_use]
    pub fn describe(&self) -> String {
        let Self { approval, capabilities, quorum, max_lifetime, single_use, enforcement } = self;
        let enforcement = enforcement.as_str();
        match approval {
            ApprovalRule::None => format!("no approval ({enforcement})"),
            ApprovalRule::Required => format!(
                "approval with {}, signed by {}, for at most {max_lifetime:#}{} ({enforcement})",
                names(capabilities),
                describe_quorum(quorum),
                if *single_use { ", single-use" } else { "" }
            ),
        }
    }
}

impl Reviewer {
    /// The reviewer in words: a line about the person, and a line for each key. Safe for a terminal.
    #[must_use]
    pub fn describe(&self) -> Vec<String> {
        let Self { name, groups, projects, capabilities, identities, keys } = self;
        let groups = if groups.is_empty() { String::new() } else { format!(" ({})", groups.join(", ")) };
        let projects = projects.as_ref().map_or(String::new(), |projects| format!(" in {}", projects.join(", ")));
        let capabilities = joined(capabilities.iter().map(ToString::to_string), ", ");
        let person = format!("reviewer {name}{groups} may grant {capabilities}{projects}");
        let mut details = Vec::new();
        if !identities.is_empty() {
            details.push(format!("API user {}", identities.join(", ")));
        }
        for ReviewerKey { id, key: _, not_before, not_after } in keys {
            let from = not_before.map_or(String::new(), |time| format!(" from {time}"));
            let until = not_after.map_or(String::new(), |time| format!(" until {time}"));
            details.push(format!("key {id}{from}{until}"));
        }
        with_details(&person, &details)
    }
}

fn revoked(Revocations { approvals, keys, specs }: &Revocations) -> String {
    let counts = [("approvals", approvals.len()), ("keys", keys.len()), ("specs", specs.len())];
    let counts = counts.into_iter().filter(|(_, count)| *count > 0);
    let counts = joined(counts.map(|(what, count)| format!("{what} {count}")), ", ");
    if counts.is_empty() { "nothing".to_owned() } else { counts }
}

fn other_requests(
    workloads: WorkloadRule,
    pods: PodRule,
    ungoverned: UngovernedRule,
    connect: ConnectRule,
) -> Vec<ExplainedRow> {
    let workloads = match workloads {
        WorkloadRule::Approve => "as a deploy",
        WorkloadRule::Deny => "denied",
        WorkloadRule::Allow => "admitted without an approval",
    };
    let pods = match pods {
        PodRule::Deny => "denied; no approval can name a Pod's spec",
        PodRule::Allow => "admitted",
    };
    let ungoverned = match ungoverned {
        UngovernedRule::Allow => "not checked",
        UngovernedRule::Deny => "denied if the workload was never approved as it is",
    };
    let connect = match connect {
        ConnectRule::Allow => "admitted and not recorded",
        ConnectRule::Audit => "admitted and recorded, with user and Pod",
        ConnectRule::Deny => "denied",
    };
    vec![
        ("other workloads", workloads.to_owned()),
        ("bare Pods", pods.to_owned()),
        ("scaling from 0 replicas", ungoverned.to_owned()),
        ("exec and other connections", connect.to_owned()),
    ]
}

fn capability_rule(rule: &CapabilityRule) -> Vec<String> {
    let (name, when, require, message) = rule.as_written();
    let message = message.map_or(String::new(), |message| format!(": {message}"));
    with_details(&format!("{name} requires {}{message}", names(require)), &[format!("when {when}")])
}

/// A line, and indented lines below it. Escaping comes before the indentation, because it spells out leading spaces.
fn with_details(line: &str, details: &[String]) -> Vec<String> {
    let details = details.iter().map(|detail| format!("  {}", escape_line(detail)));
    [escape_line(line)].into_iter().chain(details).collect()
}

fn describe_duties(duties: SeparationOfDuties) -> &'static str {
    match duties {
        SeparationOfDuties::Off => "a reviewer may approve their own request",
        // A user name that is in no `identities` counts as somebody else.
        SeparationOfDuties::Claimed => {
            "a reviewer does not count for what they request or apply under their name or one of their identities"
        }
        SeparationOfDuties::Proven => {
            "a reviewer does not count for what they request or apply under their name or one of their identities; the \
             requester must apply it, or sign it too, or two reviewers must sign"
        }
    }
}

fn object(
    images: ImageRule,
    version_required: bool,
    builds: Option<&std::collections::BTreeMap<String, Build>>,
    config_bundle: Option<&ConfigRule>,
) -> Vec<ExplainedRow> {
    let mut rows = Vec::new();
    if images == ImageRule::Digest {
        rows.push(("images", "each by digest".to_owned()));
    }
    let listed = builds.map(|builds| format!("one of the {} listed versions, with its build", builds.len()));
    match (version_required, listed) {
        (true, listed) => {
            let listed = listed.map_or(String::new(), |listed| format!(": {listed}"));
            rows.push(("pipeline version", format!("required{listed}")));
        }
        (false, Some(listed)) => rows.push(("pipeline version", format!("optional; if present, {listed}"))),
        (false, None) => {}
    }
    if let Some(ConfigRule { secrets }) = config_bundle {
        let secrets = joined(secrets.iter().cloned(), ", ");
        let secrets = if secrets.is_empty() { "none" } else { &secrets };
        rows.push(("configuration", format!("config bundles only; Secrets: {secrets}")));
    }
    rows
}

fn replays(ReplayRule { images, source_environments, dry_run }: &ReplayRule) -> Vec<ExplainedRow> {
    let images = match images.written() {
        [] => String::new(),
        images => format!(", or a Job that runs {}", images.join(", ")),
    };
    let sources = source_environments.as_ref().map_or("any environment".to_owned(), |sources| sources.join(", "));
    let dry_run = dry_run.as_ref().map_or(
        "none; every replay counts as replay-execute".to_owned(),
        |DryRunContract { service_accounts, env, args }| {
            let env = joined(env.iter().map(|(name, value)| format!("{name}={value}")), ", ");
            let args = joined(args.iter().map(|words| words.join(" ")), " or ");
            format!(
                "as {}, with exactly {} and the arguments {}",
                service_accounts.join(", "),
                if env.is_empty() { "no variables" } else { &env },
                if args.is_empty() { "none" } else { &args }
            )
        },
    );
    vec![
        ("replay", format!("a Job with the label {REPLAY_LABEL}{images}")),
        ("may read from", sources),
        ("dry run", dry_run),
    ]
}

fn describe_rollback(rule: Option<&RollbackRule>) -> String {
    rule.map_or(
        "none; what ran before requires an approval, like everything else".to_owned(),
        |RollbackRule { within, revisions }| {
            format!(
                "a spec may run again that was admitted with an approval less than {within:#} ago and is among the last \
                 {revisions} specs; admissions before this rule was added do not count"
            )
        },
    )
}

fn describe_break_glass(rule: Option<&BreakGlassRule>) -> String {
    rule.map_or("none".to_owned(), |BreakGlassRule { capabilities, quorum, max_lifetime }| {
        format!(
            "a break-glass approval with {}, signed by {}, for at most {max_lifetime:#}; its admission warns everybody",
            names(capabilities),
            describe_quorum(quorum)
        )
    })
}

fn describe_durability(durability: Durability) -> String {
    let text = match durability {
        Durability::BestEffort => "stored after the response",
        Durability::Required => "stored in the ledger before the response, or the request is denied",
    };
    format!("{text} ({})", durability.as_str())
}

fn names(capabilities: &[Capability]) -> String {
    joined(capabilities.iter().map(ToString::to_string), ", ")
}

fn joined(items: impl Iterator<Item = String>, separator: &str) -> String {
    items.collect::<Vec<_>>().join(separator)
}

fn escaped(rows: Vec<ExplainedRow>) -> Vec<ExplainedRow> {
    rows.into_iter().map(|(label, text)| (label, escape_line(&text))).collect()
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn says_that_a_rollback_rests_on_admissions_under_its_rule() {
        let rule = RollbackRule { within: SignedDuration::from_hours(720), revisions: 3 };
        assert_eq!(
            describe_rollback(Some(&rule)),
            "a spec may run again that was admitted with an approval less than 720h ago and is among the last 3 specs; \
             admissions before this rule was added do not count"
        );
    }
}
