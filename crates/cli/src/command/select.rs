//! `select`: the approvals with which the webhook would admit a change, and why it would not accept the others.
//!
//! The webhook's decision is made for each approval as if it alone were attached. Approvals that only lack signatures
//! are then decided together. `search` finds the approvals.

use std::{fmt::Write as _, path::PathBuf};

use serde::Serialize;
use writgate_core::{
    approval::SpecHash,
    record::{ApprovalRecord, Decision},
};

use crate::{
    approval::{
        decider::{AttemptFlags, Decider, DecisionFlags},
        search::{FoundApproval, FoundApprovals},
    },
    command::Format,
    failure::{Answer, Failure},
    manifest::{Manifest, input, workloads},
    terminal::{
        output::{self, shown, table},
        style,
    },
};

/// Envelopes that are decided together, at most.
const MAX_TOGETHER: usize = 8;

/// Find approvals with which a change would be admitted
///
/// Looks in the Git working tree around the current folder (except for ignored files) or in --approvals, among the
/// manifests, and, if a cluster is used, in ConfigMaps of the workload's namespace. Says why other approvals are not
/// eligible. Exits with 1 if a workload has neither an eligible approval nor several that are sufficient together.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  kubectl writgate select -f app.yaml
  kubectl writgate select -f app.yaml --approvals approvals/ --posture-dir postures -o json")]
pub(crate) struct Arguments {
    /// Manifest, YAML or JSON, `-` for standard input; may be repeated
    #[arg(short, long, value_name = "FILE", required = true)]
    filename: Vec<PathBuf>,
    /// Approvals, bare or in ConfigMaps: file, or folder with its subfolders; may be repeated [default: the Git working
    /// tree]
    #[arg(long, value_name = "PATH")]
    approvals: Vec<PathBuf>,
    #[command(flatten)]
    decider: DecisionFlags,
    #[command(flatten)]
    attempt: AttemptFlags,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// The result for one workload.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Selection {
    /// `apps/v1/Deployment/payments/orders`
    object: String,
    spec_hash: Option<SpecHash>,
    /// Set if no approval is required: the reason.
    #[serde(rename = "notNeeded")]
    not_required: Option<String>,
    /// The approvals that are each sufficient.
    eligible: Vec<Eligible>,
    /// The approvals that are sufficient together, if no single one is.
    together: Vec<Eligible>,
    others: Vec<Ineligible>,
}

/// An approval that the webhook would accept.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Eligible {
    #[serde(flatten)]
    approval: ApprovalRecord,
    from: Vec<String>,
}

/// An approval that the webhook would not accept.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Ineligible {
    /// Absent if no known key has signed it.
    id: Option<String>,
    reasons: Vec<&'static str>,
    /// The decision's own message for each reason.
    messages: Vec<String>,
    from: Vec<String>,
    /// Whether the approval claims to be for this object or spec. The claim is not verified.
    #[serde(skip)]
    is_near: bool,
}

impl Selection {
    fn is_served(&self) -> bool {
        self.not_required.is_some() || !self.eligible.is_empty() || !self.together.is_empty()
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    input::one_stdin(arguments.filename.iter().chain(&arguments.approvals).map(PathBuf::as_path))?;
    let manifests = input::manifests(&arguments.filename, &arguments.decider.reading)?;
    let mut decider = arguments.decider.load(&manifests, arguments.attempt.time())?;
    decider.supplied_alone = true;
    let mut found = FoundApprovals::default();
    if arguments.approvals.is_empty() {
        found.add_working_tree();
    } else {
        found.add_paths(&arguments.approvals)?;
    }
    found.add_manifests(&manifests);
    let selections = select(arguments, &decider, found)?;
    match arguments.output {
        Format::Json => output::print_json(&selections)?,
        Format::Text => output::print(&selections.iter().map(text).collect::<Vec<_>>().join("\n"))?,
    }
    Ok(Answer::of(selections.iter().all(Selection::is_served)))
}

fn select(arguments: &Arguments, decider: &Decider<'_>, mut found: FoundApprovals) -> Result<Vec<Selection>, Failure> {
    let mut workloads = Vec::new();
    for manifest in decider.manifests.iter().filter(|manifest| manifest.workload().is_some()) {
        workloads::warn_of_outdated(manifest);
        let namespace = arguments.attempt.namespace.of(manifest, decider.postures.cluster.as_ref())?;
        workloads.push((manifest, namespace));
    }
    if workloads.is_empty() {
        return Err(Failure::Undetermined(workloads::none_in(decider.manifests)));
    }
    if let Some(cluster) = &decider.postures.cluster {
        let mut namespaces: Vec<&String> = workloads.iter().map(|(_, namespace)| namespace).collect();
        namespaces.sort_unstable();
        namespaces.dedup();
        for namespace in namespaces {
            found.add_namespace(cluster, namespace)?;
        }
    }
    let for_one = |(manifest, namespace): (&Manifest, String)| {
        WorkloadDecider::of(decider, manifest, &namespace, arguments.attempt.as_user.as_deref())?.selection(&found.0)
    };
    workloads.into_iter().map(for_one).collect()
}

/// Decides about one workload.
struct WorkloadDecider<'a> {
    decider: &'a Decider<'a>,
    manifest: &'a Manifest,
    namespace: &'a str,
    /// The live object of its name, unless it is deleted first.
    live: Option<serde_json::Value>,
    user: Option<&'a str>,
}

impl<'a> WorkloadDecider<'a> {
    fn of(
        decider: &'a Decider<'a>,
        manifest: &'a Manifest,
        namespace: &'a str,
        user: Option<&'a str>,
    ) -> Result<Self, Failure> {
        let live = match &decider.postures.cluster {
            Some(cluster) if !manifest.is_recreated() => cluster.live(manifest, namespace)?,
            _ => None,
        };
        Ok(Self { decider, manifest, namespace, live, user })
    }

    /// The decision with these approvals and no others.
    fn decide(&self, envelopes: &[&str]) -> Result<Decision, Failure> {
        self.decider.decide_manifest(
            &self.manifest.with_approvals(envelopes),
            self.namespace,
            self.live.as_ref(),
            self.user,
        )
    }

    fn selection(&self, candidates: &[FoundApproval]) -> Result<Selection, Failure> {
        let bare = self.decide(&[])?;
        let name = self.manifest.subject_name().unwrap_or_default();
        let object = format!("{}/{}/{}/{name}", self.manifest.api_version(), self.manifest.kind(), self.namespace);
        let mut selection = Selection {
            not_required: is_admitted(&bare).then(|| bare.summary()),
            spec_hash: bare.record.spec_hash,
            eligible: Vec::new(),
            together: Vec::new(),
            others: Vec::new(),
            object,
        };
        if selection.not_required.is_some() {
            return Ok(selection);
        }
        let mut lacking_signatures = Vec::new();
        for candidate in candidates {
            let decision = self.decide(&[&candidate.envelope])?;
            if is_admitted(&decision) {
                selection.eligible.extend(eligible(&decision, &[candidate]));
                continue;
            }
            let other = other(&decision, candidate, &selection);
            if other.reasons == ["QuorumNotMet"] {
                lacking_signatures.push(candidate);
            }
            selection.others.push(other);
        }
        selection.eligible.sort_by_key(|eligible| std::cmp::Reverse(eligible.approval.expires_at));
        if selection.eligible.is_empty() && lacking_signatures.len() > 1 {
            lacking_signatures.sort_by_key(|candidate| std::cmp::Reverse(candidate.claims.expires_at));
            lacking_signatures.truncate(MAX_TOGETHER);
            let envelopes: Vec<&str> = lacking_signatures.iter().map(|candidate| &*candidate.envelope).collect();
            let decision = self.decide(&envelopes)?;
            if is_admitted(&decision) {
                selection.together = eligible(&decision, &lacking_signatures);
            }
        }
        Ok(selection)
    }
}

/// Whether the decision has no denials. A posture that only warns admits a request despite its denials.
fn is_admitted(decision: &Decision) -> bool {
    decision.allowed() && decision.denials.is_empty()
}

/// The approvals that an admission rests on, and where they were found.
fn eligible(decision: &Decision, candidates: &[&FoundApproval]) -> Vec<Eligible> {
    let found = |approval: &ApprovalRecord| {
        let places = candidates.iter().filter(|candidate| candidate.claims.id == approval.id);
        let from = places.flat_map(|candidate| candidate.locations.clone()).collect();
        Eligible { approval: approval.clone(), from }
    };
    decision.record.approvals.iter().map(found).collect()
}

fn other(decision: &Decision, candidate: &FoundApproval, selection: &Selection) -> Ineligible {
    let is_near = |subject: &writgate_core::approval::Subject| {
        subject.name == selection.object || Some(subject.hash) == selection.spec_hash
    };
    Ineligible {
        id: decision.record.approvals.first().map(|approval| approval.id.clone()),
        reasons: decision.denials.iter().map(writgate_core::record::Denial::code).collect(),
        messages: decision.denials.iter().map(ToString::to_string).collect(),
        from: candidate.locations.clone(),
        is_near: candidate.claims.subjects.iter().any(is_near),
    }
}

fn text(selection: &Selection) -> String {
    let hash = selection.spec_hash.map(|hash| hash.to_string()).unwrap_or_default();
    let mut text = format!("{}  {hash}\n", style::heading(&shown(&selection.object)));
    if let Some(why) = &selection.not_required {
        return text + &format!("no approval is required: {}\n", shown(why));
    }
    for (title, approvals) in [("eligible", &selection.eligible), ("eligible together", &selection.together)] {
        if !approvals.is_empty() {
            text.push_str(&style::good(title));
            text.push_str(":\n");
            text.push_str(&table_of(approvals));
        }
    }
    if !selection.is_served() {
        text.push_str(&style::bad("no approval is eligible"));
        text.push_str("; request one: kubectl writgate request -f FILE\n");
    }
    let together =
        |other: &&Ineligible| !selection.together.iter().any(|one| Some(&one.approval.id) == other.id.as_ref());
    let (near, far): (Vec<&Ineligible>, Vec<&Ineligible>) =
        selection.others.iter().filter(together).partition(|one| one.is_near);
    if !near.is_empty() {
        text.push_str("not eligible:\n");
        text.extend(near.into_iter().map(reasons_of));
    }
    match far.len() {
        0 => {}
        1 => text.push_str("1 other approval claims to be for another object\n"),
        many => {
            let _ = writeln!(text, "{many} other approvals claim to be for other objects");
        }
    }
    text
}

fn table_of(approvals: &[Eligible]) -> String {
    let row = |one: &Eligible| {
        let people = shown(&one.approval.reviewers.join(", "));
        [shown(&one.approval.id), people, one.approval.expires_at.to_string(), shown(&one.from.join(", "))]
    };
    table(["APPROVAL", "BY", "UNTIL", "FROM"], &approvals.iter().map(row).collect::<Vec<_>>())
}

fn reasons_of(other: &Ineligible) -> String {
    let id = other.id.as_deref().map(|id| format!(" (approval {})", shown(id))).unwrap_or_default();
    let mut text = format!("{}{id}\n", shown(&other.from.join(", ")));
    for (code, message) in other.reasons.iter().zip(&other.messages) {
        let _ = writeln!(text, "  {}: {}", style::bad(code), shown(message));
    }
    text
}
