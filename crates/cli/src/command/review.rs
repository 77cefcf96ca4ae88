//! `review`: what a reviewer must see before signing, from one file, in two minutes.
//!
//! This file collects the report; `text` prints it. Whatever can be recomputed is recomputed, and claims are marked as
//! claims.

mod checklist;
pub(super) mod diff;
mod dry_runs;
mod text;
mod unusual;

use serde::Serialize;
use serde_json::Value;
use writgate_core::{
    approval::KeyId,
    kube::{WorkloadKind, default_forward},
    posture::{Posture, describe_quorum},
};

use crate::{
    approval::{
        assessment::{AssessedWorkload, LiveObject, PostureFlags},
        draft::{self, ApprovalDraft, DraftInputs},
        proposal::{ProposalFlags, ProposedWorkload},
        request_file::RequiredCapability,
        statement::{self, StatementFlags},
    },
    command::{
        Format,
        review::{
            checklist::{CheckResult, ChecklistItem},
            diff::FieldChange,
            dry_runs::DryRuns,
            unusual::Unusual,
        },
    },
    failure::{Answer, Failure},
    terminal::output,
};

/// Review a request before it is signed
///
/// Shows who requests the approval and why, the environment, the changes to live objects, the required capabilities and
/// why, what is unusual, and the guidance's checklist as far as a program can answer it. Every hash is computed again.
/// Exits with 1 if the request makes a false claim, or if the posture denies it whoever signs.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  kubectl writgate review -f request.json
  kubectl writgate review -f request.json --posture-dir postures -o json
  kubectl writgate review -f app.yaml --requested-by alice@acme.example --full")]
pub(crate) struct Arguments {
    #[command(flatten)]
    proposal: ProposalFlags,
    #[command(flatten)]
    posture: PostureFlags,
    /// Show every field of new objects, not only the important ones
    #[arg(long)]
    full: bool,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    statement: StatementFlags,
}

/// The complete report.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReviewReport {
    /// The requester, the environment, the validity.
    asked: Vec<ReportFact>,
    /// Claims of the request file or the envelope that are false.
    wrong: Vec<String>,
    /// Denials that no signature would change.
    refused: Vec<Refusal>,
    /// What is unusual about the statement. For a workload, this is with the workload.
    unusual: Vec<Unusual>,
    workloads: Vec<ReviewedWorkload>,
    /// The fields that the text without `--full` does not show whole, because they exceed its bounds.
    not_shown_whole: Vec<String>,
    capabilities: Vec<RequiredCapability>,
    /// Who may sign; absent if no posture is used.
    #[serde(skip_serializing_if = "Option::is_none")]
    signers: Option<Signers>,
    checklist: Vec<ChecklistItem>,
}

/// A fact about an approval, and whose claim it is, if it was not checked.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReportFact {
    name: &'static str,
    value: String,
    /// Who claims it; absent if it was checked, or is the reviewer's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    word_of: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Refusal {
    subject: String,
    reason: &'static str,
    message: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReviewedWorkload {
    subject: String,
    /// Computed here.
    spec_hash: String,
    /// What it was compared with.
    against: Baseline,
    unusual: Vec<Unusual>,
    changes: Vec<FieldChange>,
}

/// What a workload was compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Baseline {
    /// The live object in the cluster.
    Cluster,
    /// Nothing: the cluster has no object of this name.
    Nothing,
    /// The live object that the request file claims.
    Request,
    /// Nothing: the live object is not known.
    Unknown,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Signers {
    /// `the posture requires 2 reviewers`
    quorum: String,
    /// The reviewers whose signature would count.
    could: Vec<String>,
    /// The keys that the envelope names as signers, and their owners.
    signed: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    let files = draft::read(&arguments.proposal, [])?;
    let draft = ApprovalDraft::open(&DraftInputs {
        files: &files,
        proposal: &arguments.proposal,
        posture: &arguments.posture,
        statement: &arguments.statement,
        envelope: None,
    })?;
    let review = ReviewReport::of(&draft)?;
    match arguments.output {
        Format::Json => output::print_json(&review)?,
        Format::Text if arguments.full => output::print(&review.full_text())?,
        Format::Text => output::print(&review.text())?,
    }
    Ok(Answer::of(review.is_clear()))
}

impl ReviewReport {
    /// Collects the report.
    pub(crate) fn of(draft: &ApprovalDraft<'_>) -> Result<Self, Failure> {
        let seen = draft.decided.as_ref().map(|(_, assessment)| &*assessment.seen).unwrap_or_default();
        let mut workloads = Vec::new();
        for (index, asked) in draft.proposal.asked.iter().enumerate() {
            workloads.push(ReviewedWorkload::of(asked, seen.get(index))?);
        }
        let refused = draft.decided.iter().flat_map(|(_, assessment)| assessment.refused(&draft.proposal));
        let refused = refused.map(|(asked, denial)| Refusal {
            subject: asked.workload.subject.name.clone(),
            reason: denial.code(),
            message: denial.to_string(),
        });
        let dry_runs = DryRuns::of(draft);
        Ok(Self {
            asked: facts(draft),
            wrong: draft.contradictions.clone(),
            refused: refused.collect(),
            unusual: unusual::of_approval(&draft.approval, draft.posture()),
            workloads,
            not_shown_whole: Vec::new(),
            capabilities: needed(draft),
            signers: signers(draft),
            checklist: checklist::of(draft, dry_runs.as_ref()),
        })
    }

    /// Whether no check fails. Items that only a person can decide do not count.
    pub(crate) fn is_clear(&self) -> bool {
        let failed = self.checklist.iter().any(|check| check.verdict == CheckResult::No);
        self.wrong.is_empty() && self.refused.is_empty() && !failed
    }

    /// The report as text. Fields of [`Self::not_shown_whole`] are cut or left out, and the text says how much.
    pub(crate) fn text(&self) -> String {
        text::of(self, false)
    }

    /// The report as text, with every field whole, API server defaults included.
    pub(crate) fn full_text(&self) -> String {
        text::of(self, true)
    }

    /// The fields that [`Self::text`] does not show whole, because they exceed its bounds: `Deployment/payments/orders:
    /// spec.template.spec.containers[orders].args`. Safe to print. Nobody may sign after reading that text alone, so
    /// `approve` requires [`Self::full_text`] if the list is not empty.
    pub(crate) fn not_shown_whole(&self) -> &[String] {
        &self.not_shown_whole
    }
}

impl ReviewedWorkload {
    fn of(asked: &ProposedWorkload, seen: Option<&AssessedWorkload>) -> Result<Self, Failure> {
        let manifest = &asked.workload.manifest;
        let said = asked.claimed_live.clone().map_or(LiveObject::Unknown, LiveObject::Claimed);
        let runs = seen.map_or(&said, |seen| &seen.runs);
        let against = match runs {
            LiveObject::Live(Some(_)) => Baseline::Cluster,
            LiveObject::Live(None) => Baseline::Nothing,
            LiveObject::Claimed(_) => Baseline::Request,
            LiveObject::Unknown => Baseline::Unknown,
        };
        let new = manifest.as_admitted()?;
        let old = runs.object().map(|old| defaulted(manifest.workload(), old));
        let changes = manifest.workload().map(|kind| diff::of(kind, old.as_ref(), &new)).unwrap_or_default();
        Ok(Self {
            subject: asked.workload.subject.name.clone(),
            spec_hash: asked.workload.subject.hash.to_string(),
            against,
            unusual: unusual::of_workload(manifest, old.as_ref(), &new),
            changes,
        })
    }
}

/// The live object with defaults. The cluster has set them, but a request file may have left them out.
fn defaulted(kind: Option<WorkloadKind>, object: &Value) -> Value {
    let mut whole = object.clone();
    match kind.map(|kind| default_forward(kind, &mut whole)) {
        Some(Ok(())) => whole,
        Some(Err(_)) | None => object.clone(),
    }
}

/// The requester, the environment, the validity.
fn facts(draft: &ApprovalDraft<'_>) -> Vec<ReportFact> {
    let approval = &draft.approval;
    let by_posture = draft.basis.by_posture;
    let request = draft.request.map(|_| "request");
    let envelope = draft.envelope.keyids().next().map(|_| "envelope");
    let mut facts = Vec::new();
    let mut add = |name, value: Option<String>, word_of: Option<&'static str>| {
        facts.extend(value.map(|value| ReportFact { name, value, word_of }));
    };
    let word = envelope.or(request);
    let unchecked = if by_posture { None } else { word };
    add("action", Some(approval.action.to_string()), unchecked);
    add("environment", Some(approval.environment.clone()), unchecked);
    add("project", Some(approval.project.clone()), unchecked);
    add("cluster", approval.cluster.clone(), unchecked);
    add("asked by", Some(approval.requested_by.clone()), word);
    add("reason", approval.reason.clone(), word);
    add("asked at", draft.request.map(|request| request.requested_at.to_string()), request);
    let validity = format!("{} to {} ({:#})", approval.not_before, approval.expires_at, approval.lifetime());
    add("valid", Some(validity), None);
    for (name, value) in statement::claims(approval) {
        add(name, Some(value.to_owned()), None);
    }
    add("id", Some(approval.id.clone()), None);
    add("posture", draft.posture().map(|posture| posture.version.clone()), None);
    facts
}

fn needed(draft: &ApprovalDraft<'_>) -> Vec<RequiredCapability> {
    if !draft.basis.needed.is_empty() {
        return draft.basis.needed.clone();
    }
    let named = draft.approval.capabilities.iter();
    named.map(|name| RequiredCapability { capability: name.clone(), because: Vec::new() }).collect()
}

fn signers(draft: &ApprovalDraft<'_>) -> Option<Signers> {
    let posture = draft.posture()?;
    let could = draft.could_sign().into_iter().map(|reviewer| match &*reviewer.groups {
        [] => reviewer.name.clone(),
        groups => format!("{} ({})", reviewer.name, groups.join(", ")),
    });
    Some(Signers {
        quorum: format!("the posture requires {}", describe_quorum(draft.quorum(posture))),
        could: could.collect(),
        signed: draft.envelope.keyids().map(|id| key_of(posture, id)).collect(),
    })
}

/// A key that an envelope names, and its owner. The signature is not verified here.
fn key_of(posture: &Posture, id: &str) -> String {
    match id.parse().ok().and_then(|id: KeyId| posture.key(&id)) {
        Some((reviewer, _)) => format!("{} (key {id})", reviewer.name),
        None => format!("a key that is not in the posture ({id})"),
    }
}
