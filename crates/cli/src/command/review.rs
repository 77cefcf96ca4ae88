//! `review`: what a reviewer must see before signing, from one file, in two minutes.
//!
//! This file collects the report. `view` turns it into titles and lines, `text` prints these, and `code` reduces the report to a
//! short code. Whatever can be recomputed is
//! recomputed, and claims are marked as claims.

mod age;
pub(crate) mod checklist;
mod clusters;
pub(crate) mod code;
pub(super) mod diff;
mod dry_runs;
pub(crate) mod lines;
mod text;
mod unusual;
pub(crate) mod view;

use std::path::PathBuf;

use clap::ArgGroup;
use serde::Serialize;
use serde_json::Value;
use writgate_core::{
    kube::{WorkloadKind, default_forward},
    posture::describe_quorum,
    vocabulary::DOMAIN,
};

use crate::{
    approval::{
        assessment::{AssessedWorkload, Assessment, LiveObject, PostureFlags},
        draft::{self, ApprovalDraft, DraftInputs},
        origin::{Claimant, Origin, ValidityChoice},
        proposal::{Proposal, ProposalFiles, ProposalFlags, ProposedWorkload},
        signatures::ExistingSignature,
        statement::{self, GivenEnvelope, StatementFlags},
    },
    cluster::OtherClusterFlags,
    command::{
        Format,
        review::{
            checklist::{CheckResult, ChecklistItem},
            clusters::ReviewedCluster,
            code::ReviewCode,
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
  kubectl writgate review request-4f0c1a3e9d8b7a6c5e4d -n payments
  kubectl writgate review -f request.json
  kubectl writgate review -f request.json --posture-dir postures -o json
  kubectl writgate review -f app.yaml --requested-by alice@acme.example --full")]
#[command(group(ArgGroup::new("what").required(true).args(["filename", "request"])))]
pub(crate) struct Arguments {
    #[command(flatten)]
    proposal: ProposalFlags,
    #[command(flatten)]
    posture: PostureFlags,
    #[command(flatten)]
    others: OtherClusterFlags,
    /// Show values of any length, and the defaults of new objects
    #[arg(long)]
    full: bool,
    /// Review the approval in FILE, to which `approve --add-signature` would add a signature, instead of a new one
    #[arg(long, value_name = "FILE", conflicts_with = "Statement")]
    add_signature: Option<PathBuf>,
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
    /// The cluster that the workloads were compared with, if the approval is for several.
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<String>,
    /// The other clusters of the approval.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    other_clusters: Vec<ReviewedCluster>,
    /// The fields that the text without `--full` does not show whole, because they exceed its bounds.
    not_shown_whole: Vec<String>,
    capabilities: Vec<ReportedCapability>,
    /// Who may sign; absent if no posture is used.
    #[serde(skip_serializing_if = "Option::is_none")]
    signers: Option<Signers>,
    /// The signatures that the envelope has already.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    signatures: Vec<ExistingSignature>,
    checklist: Vec<ChecklistItem>,
    /// The code of all of the above, except for times.
    code: ReviewCode,
}

/// A fact about an approval, and where it comes from.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReportFact {
    name: &'static str,
    value: String,
    origin: Origin,
    /// What of the value does not depend on the time of the review, if that is not all of it.
    #[serde(skip)]
    timeless: Option<String>,
}

/// A required capability.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReportedCapability {
    capability: String,
    /// The action or the rules of the posture that require it. A request's reasons are left out.
    because: Vec<String>,
    origin: Origin,
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
    /// Whether the object is created even if the cluster has it, because it is deleted first.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    recreated: bool,
    unusual: Vec<Unusual>,
    /// Every field, if there is no live object or it is not known.
    changes: Vec<FieldChange>,
    /// The changes of the live object that the request claims; absent if it claims none, or if a cluster was contacted.
    #[serde(skip_serializing_if = "Option::is_none")]
    claimed_changes: Option<Vec<FieldChange>>,
}

/// What a workload was compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Baseline {
    /// The live object in the cluster.
    Cluster,
    /// Nothing: the cluster has no object of this name.
    Nothing,
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
}

pub(crate) fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    let files = arguments.read()?;
    let given = arguments.add_signature.as_deref().map(GivenEnvelope::read).transpose()?;
    let draft = ApprovalDraft::open(&DraftInputs {
        files: &files,
        proposal: &arguments.proposal,
        posture: &arguments.posture,
        others: &arguments.others,
        statement: &arguments.statement,
        envelope: given.as_ref(),
    })?;
    let review = ReviewReport::of(&draft)?;
    match arguments.output {
        Format::Json => output::print_json(&review)?,
        Format::Text if arguments.full => output::print(&review.full_text())?,
        Format::Text => output::print(&review.text())?,
    }
    Ok(Answer::of(review.is_clear()))
}

impl Arguments {
    /// The files, or the posted request.
    fn read(&self) -> Result<ProposalFiles, Failure> {
        let Some(name) = &self.proposal.request else {
            return draft::read(&self.proposal, self.add_signature.iter().map(PathBuf::as_path));
        };
        let cluster = self.posture.cluster_of_requests()?;
        let posted = self.proposal.posted(&cluster, name)?;
        Ok(ProposalFiles::of_posted(&posted))
    }
}

impl ReviewReport {
    /// Collects the report.
    pub(crate) fn of(draft: &ApprovalDraft<'_>) -> Result<Self, Failure> {
        let seen = draft.decided.as_ref().map(|(_, assessment)| &*assessment.seen).unwrap_or_default();
        let mut workloads = Vec::new();
        for (index, asked) in draft.proposal.asked.iter().enumerate() {
            workloads.push(ReviewedWorkload::of(asked, seen.get(index))?);
        }
        let refused = draft.decided.iter().flat_map(|(_, assessment)| Refusal::all(assessment, &draft.proposal));
        let other_clusters = clusters::of(draft)?;
        let dry_runs = DryRuns::of(draft);
        let mut unusual = age::of(draft);
        unusual.extend(unusual::of_approval(&draft.approval, draft.posture()));
        unusual.extend(other_clusters.iter().filter_map(ReviewedCluster::unusual));
        let mut report = Self {
            asked: facts(draft),
            wrong: draft.contradictions.clone(),
            refused: refused.collect(),
            unusual,
            not_shown_whole: view::not_shown_whole(&workloads, &other_clusters),
            workloads,
            cluster: draft.basis.cluster.clone().filter(|_| !draft.approval.clusters.is_empty()),
            other_clusters,
            capabilities: needed(draft),
            signers: signers(draft),
            signatures: draft.signatures.clone(),
            checklist: checklist::of(draft, dry_runs.as_ref()),
            code: ReviewCode::default(),
        };
        report.code = code::of(&report)?;
        Ok(report)
    }

    /// The code of everything that the report shows, except for times.
    pub(crate) fn code(&self) -> ReviewCode {
        self.code
    }

    /// The report without what depends on the time of the review. Two reports with the same value show the same.
    pub(crate) fn timeless(&self) -> Result<Value, Failure> {
        code::timeless(self)
    }

    /// What a later report of the same statement says that this one does not, and the other way about. Safe to print.
    pub(crate) fn changes_to(&self, later: &Self) -> Result<Vec<String>, Failure> {
        Ok(code::differences(&code::timeless(self)?, &code::timeless(later)?))
    }

    /// The items of the checklist, in the guide's words.
    pub(crate) fn checklist_lines(&self) -> impl Iterator<Item = &'static str> {
        self.checklist.iter().map(|item| item.line)
    }

    /// Whether no check fails. Items that only a person can decide do not count.
    pub(crate) fn is_clear(&self) -> bool {
        let failed = self.checklist.iter().any(|check| check.verdict == CheckResult::No);
        self.wrong.is_empty() && self.refused.is_empty() && !failed && self.denied_elsewhere().next().is_none()
    }

    /// Why other clusters of the approval would deny it, whoever signs. Safe to print.
    pub(crate) fn denied_elsewhere(&self) -> impl Iterator<Item = String> {
        self.other_clusters.iter().flat_map(ReviewedCluster::against)
    }

    /// The report as text. Fields of [`Self::not_shown_whole`] are cut or left out, and the text says how much.
    pub(crate) fn text(&self) -> String {
        text::of(self, false) + &self.code.text()
    }

    /// The report as text, with every field whole, API server defaults included.
    pub(crate) fn full_text(&self) -> String {
        text::of(self, true) + &self.code.text()
    }

    /// The fields that [`Self::text`] does not show whole, because they exceed its bounds: `Deployment/payments/orders:
    /// spec.template.spec.containers[orders].args`. Safe to print. Nobody may sign after reading that text alone, so
    /// `approve` requires [`Self::full_text`] if the list is not empty.
    pub(crate) fn not_shown_whole(&self) -> &[String] {
        &self.not_shown_whole
    }
}

impl Refusal {
    fn all(assessment: &Assessment, proposal: &Proposal) -> Vec<Self> {
        let refused = assessment.refused(proposal).map(|(asked, denial)| Self {
            subject: asked.workload.subject.name.clone(),
            reason: denial.code(),
            message: denial.to_string(),
        });
        refused.collect()
    }
}

impl ReviewedWorkload {
    fn of(asked: &ProposedWorkload, seen: Option<&AssessedWorkload>) -> Result<Self, Failure> {
        let manifest = &asked.workload.manifest;
        let runs = seen.map_or(&LiveObject::Unknown, |seen| &seen.runs);
        let (against, live, claimed) = match runs {
            LiveObject::Live(Some(live)) => (Baseline::Cluster, Some(live), None),
            LiveObject::Live(None) => (Baseline::Nothing, None, None),
            // A claimed object could hide a change, so it is compared in addition.
            LiveObject::Unknown => (Baseline::Unknown, None, asked.claimed_live.as_ref()),
        };
        let whole = |object| defaulted(manifest.workload(), object);
        let (old, claimed) = (live.map(whole), claimed.map(whole));
        let new = manifest.as_admitted()?;
        let changes = |old: Option<&Value>| {
            manifest.workload().map(|kind| diff::of(kind, old, &new, manifest.object())).unwrap_or_default()
        };
        Ok(Self {
            subject: asked.workload.subject.name.clone(),
            spec_hash: asked.workload.subject.hash.to_string(),
            against,
            recreated: asked.is_recreated,
            unusual: unusual::of_workload(manifest, old.as_ref(), &new),
            changes: changes(old.as_ref()),
            claimed_changes: claimed.as_ref().map(|claimed| changes(Some(claimed))),
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
    let (approval, origins) = (&draft.approval, &draft.origins);
    let mut facts = Vec::new();
    let mut add = |name, value: Option<String>, origin: &Origin| {
        facts.extend(value.map(|value| ReportFact { name, value, origin: origin.clone(), timeless: None }));
    };
    add("action", Some(approval.action.to_string()), &origins.action);
    add("environment", Some(approval.environment.clone()), &origins.environment);
    add("project", Some(approval.project.clone()), &origins.project);
    add("cluster", approval.cluster.clone(), &origins.cluster);
    let clusters = Some(approval.clusters.join(", ")).filter(|clusters| !clusters.is_empty());
    add("clusters", clusters, &origins.cluster);
    add("requested by", Some(approval.requested_by.clone()), &origins.requested_by);
    add("reason", approval.reason.clone(), &origins.reason);
    let requested_at = draft.request.map(|request| request.requested_at.to_string());
    add("requested at", requested_at, &Origin::Claimed(Claimant::Request));
    let validity = format!("{} to {} ({:#})", approval.not_before, approval.expires_at, approval.lifetime());
    add("valid", Some(validity), &origins.validity);
    for (name, value) in statement::claims(approval) {
        add(name, Some(value.to_owned()), annotated(draft, name, value));
    }
    add("id", Some(approval.id.clone()), &origins.validity);
    let posture = draft.posture().map(|posture| posture.version.clone());
    add("posture", posture, &draft.basis.posture_origin());
    for fact in &mut facts {
        fact.timeless = match (fact.name, origins.timeless) {
            _ if draft.is_given() => None,
            ("valid", ValidityChoice::Lifetime) => Some(format!("{:#}", approval.lifetime())),
            ("valid", ValidityChoice::Times { from, until }) => Some(format!(
                "{} to {}",
                if from { approval.not_before.to_string() } else { "now".to_owned() },
                if until { approval.expires_at.to_string() } else { format!("{:#}", approval.lifetime()) }
            )),
            ("id", _) => Some(String::new()),
            _ => None,
        };
    }
    facts
}

/// The origin of a bound value: the objects' annotation, or else the reviewer's flag.
fn annotated<'o>(draft: &ApprovalDraft<'_>, name: &str, value: &str) -> &'o Origin {
    let annotation = format!("{DOMAIN}{name}");
    let has_it = |asked: &ProposedWorkload| asked.workload.manifest.annotation(&annotation) == Some(value);
    if draft.proposal.asked.iter().all(has_it) { &Origin::Computed } else { &Origin::Flag }
}

fn needed(draft: &ApprovalDraft<'_>) -> Vec<ReportedCapability> {
    let origin = &draft.origins.capabilities;
    let reported = |capability: &String, because: &[String]| ReportedCapability {
        capability: capability.clone(),
        because: because.to_vec(),
        origin: origin.clone(),
    };
    if draft.basis.by_posture && !draft.basis.needed.is_empty() {
        let origin = draft.basis.posture_origin();
        let needed = draft.basis.needed.iter();
        return needed
            .map(|needed| ReportedCapability {
                origin: origin.clone(),
                ..reported(&needed.capability, &needed.because)
            })
            .collect();
    }
    // Without a posture, nothing is known of why a capability is required. A request could give any reason.
    draft.approval.capabilities.iter().map(|name| reported(name, &[])).collect()
}

fn signers(draft: &ApprovalDraft<'_>) -> Option<Signers> {
    let posture = draft.posture()?;
    let could = draft.could_sign().into_iter().map(|reviewer| match &*reviewer.groups {
        [] => reviewer.name.clone(),
        groups => format!("{} ({})", reviewer.name, groups.join(", ")),
    });
    Some(Signers {
        quorum: format!("the posture requires {}", describe_quorum(posture.quorum_of(&draft.approval))),
        could: could.collect(),
    })
}
