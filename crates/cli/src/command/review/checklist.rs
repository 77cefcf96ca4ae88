//! The guidance for reviewers as a list: what a program found, and what only a person can decide.
//!
//! Each item has the wording of the workflow guide. `ok` and `NO` come from the posture's own decision or from values
//! that were recomputed. Every other result is `look`: a claim of the request or of an envelope makes nothing `ok`, which
//! requires a [`Checked`].

use jiff::SignedDuration;
use serde::Serialize;
use writgate_core::{
    approval::{Action, SpecHash},
    record::Denial,
};

use crate::{
    approval::{
        draft::ApprovalDraft,
        origin::{Checked, Origin},
    },
    command::review::dry_runs::DryRuns,
    terminal::output::shown,
};

/// One item of the guidance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct ChecklistItem {
    /// The list that contains the item.
    pub(super) list: Checklist,
    pub(super) verdict: CheckResult,
    /// The item's text in the guide.
    pub(super) line: &'static str,
    /// What was found.
    pub(super) found: String,
    /// Whether the result depends on the time of the review.
    #[serde(skip)]
    pub(super) is_timed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Checklist {
    Deployment,
    Replay,
    Operator,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum CheckResult {
    /// The item is true, by values that were checked.
    Ok(#[serde(skip)] Checked),
    /// The item is false.
    No,
    /// Only a person can decide.
    Look,
}

const SHORT: SignedDuration = SignedDuration::from_hours(1);

/// The items that apply to the action, then those for every operator.
pub(super) fn of(draft: &ApprovalDraft<'_>, dry_runs: Option<&DryRuns>) -> Vec<ChecklistItem> {
    let mut checks = match draft.approval.action {
        Action::Deploy => deployment(draft),
        Action::ReplayExecute | Action::ReplayDryRun => replay(draft),
    };
    checks.extend(operator(draft, dry_runs));
    checks
}

fn deployment(draft: &ApprovalDraft<'_>) -> Vec<ChecklistItem> {
    let check = |line, found| ChecklistItem::new(Checklist::Deployment, line, found);
    vec![
        check("the pipeline version is the expected canonical build", canonical_build(draft)),
        check("the config bundle matches the intended environment", config_bundle(draft)),
        check("the deployment target environment is correct", environment(draft)),
        check("the approval scope covers the deployment action", scope(draft)),
    ]
}

fn replay(draft: &ApprovalDraft<'_>) -> Vec<ChecklistItem> {
    let check = |line, found| ChecklistItem::new(Checklist::Replay, line, found);
    vec![
        check("the source artifact came from the expected environment", source(draft)),
        check("the resolved pipeline version matches the incident spec hash", incident(draft)),
        check("the approval scope is valid for replay execution", scope(draft)),
    ]
}

fn operator(draft: &ApprovalDraft<'_>, dry_runs: Option<&DryRuns>) -> Vec<ChecklistItem> {
    let check = |line, found| ChecklistItem::new(Checklist::Operator, line, found);
    let mut checks = vec![
        check("verify environment and project before requesting approval", project(draft)),
        check("verify the spec hash or version being approved", hashes(draft)),
        ChecklistItem {
            is_timed: true,
            ..check("prefer short-lived approvals over broad standing coverage", lifetime(draft))
        },
    ];
    checks.extend(
        dry_runs.map(|dry_runs| check("use dry-run replay first when investigating incidents", tried(dry_runs))),
    );
    checks
}

type Finding = (CheckResult, String);

impl ChecklistItem {
    fn new(list: Checklist, line: &'static str, (verdict, found): Finding) -> Self {
        Self { list, verdict, line, found, is_timed: false }
    }
}

/// The item is true if the values with these origins are; if one of them is only claimed, a person has to look.
fn holds<'o>(origins: impl IntoIterator<Item = &'o Origin> + Clone, found: String) -> Finding {
    if let Some(checked) = Checked::all(origins.clone()) {
        (CheckResult::Ok(checked), found)
    } else {
        let mark = origins.into_iter().map(Origin::mark).find(|mark| !mark.is_empty()).unwrap_or_default();
        (CheckResult::Look, found + &mark)
    }
}

/// The posture's denial with one of `codes`.
fn denied(draft: &ApprovalDraft<'_>, codes: &[&str]) -> Option<Finding> {
    let (_, assessment) = draft.decided.as_ref()?;
    let denial =
        assessment.refused(&draft.proposal).map(|(_, denial)| denial).find(|denial| codes.contains(&denial.code()))?;
    Some((CheckResult::No, shown(&Denial::to_string(denial))))
}

fn look(found: impl Into<String>) -> Finding {
    (CheckResult::Look, found.into())
}

fn unchecked() -> Finding {
    look("no posture was used")
}

fn canonical_build(draft: &ApprovalDraft<'_>) -> Finding {
    if let Some(denied) = denied(draft, &["PipelineVersionMismatch", "NotCanonicalBuild"]) {
        return denied;
    }
    let Some(posture) = draft.posture() else { return unchecked() };
    match (&draft.approval.pipeline_version, &posture.builds) {
        (None, _) => look("the approval names no pipeline version"),
        (Some(version), None) => {
            look(format!("the approval says {}; the posture lists no builds, so it cannot be checked", shown(version)))
        }
        (Some(version), Some(_)) => {
            holds([&draft.basis.posture_origin()], format!("{} is listed with these images", shown(version)))
        }
    }
}

fn config_bundle(draft: &ApprovalDraft<'_>) -> Finding {
    if let Some(denied) = denied(draft, &["ConfigBundleMismatch"]) {
        return denied;
    }
    let bundle = draft.approval.config_bundle.as_deref().map(shown);
    match (bundle, draft.posture().map(|posture| posture.config_bundle.is_some())) {
        (None, Some(true)) => look("the posture requires a config bundle, but the approval names none"),
        (None, Some(false)) => {
            look("the approval names no config bundle, and the posture requires none, so the configuration can change")
        }
        (None, None) => look("the approval names no config bundle, so the configuration can change"),
        (Some(bundle), Some(_)) => {
            look(format!("{bundle}; the webhook checks its digest; check that it is the intended bundle"))
        }
        (Some(bundle), None) => look(format!("{bundle}; no posture was used")),
    }
}

fn environment(draft: &ApprovalDraft<'_>) -> Finding {
    let environment = shown(&draft.approval.environment);
    if !draft.basis.by_posture {
        return unchecked();
    }
    if draft.contradictions.iter().any(|wrong| wrong.contains("says environment")) {
        return (CheckResult::No, format!("the target is {environment}, which is not what was requested"));
    }
    let mark = draft.origins.environment.mark();
    look(format!("the target is {environment}{mark}; check that it is the intended one"))
}

fn project(draft: &ApprovalDraft<'_>) -> Finding {
    let place = format!("{}, project {}", shown(&draft.approval.environment), shown(&draft.approval.project));
    if !draft.basis.by_posture {
        return unchecked();
    }
    let about =
        |wrong: &String| ["says environment", "says project", "says cluster"].iter().any(|what| wrong.contains(what));
    if let Some(wrong) = draft.contradictions.iter().find(|wrong| about(wrong)) {
        return (CheckResult::No, wrong.clone());
    }
    denied(draft, &["NamespaceNotListed", "PostureMissing"])
        .unwrap_or_else(|| holds([&draft.origins.environment, &draft.origins.project], place))
}

/// The approval must grant exactly what is required.
fn scope(draft: &ApprovalDraft<'_>) -> Finding {
    let given = draft.approval.capabilities.join(", ");
    if draft.posture().is_none() {
        return unchecked();
    }
    let missing = draft.basis.needed.iter().find(|needed| !draft.approval.capabilities.contains(&needed.capability));
    match missing {
        Some(missing) => (CheckResult::No, format!("the approval does not grant {}", shown(&missing.capability))),
        None if draft.approval.capabilities.len() > draft.basis.needed.len() => {
            look(format!("the approval grants {}, which is more than is required", shown(&given)))
        }
        None => holds([&draft.origins.capabilities], format!("the approval grants {}", shown(&given))),
    }
}

fn source(draft: &ApprovalDraft<'_>) -> Finding {
    if let Some(denied) = denied(draft, &["SourceEnvironmentMismatch", "SourceArtifactMismatch"]) {
        return denied;
    }
    let replay = draft.approval.replay.clone().unwrap_or_default();
    let artifact = replay.source_artifact.as_deref().map_or("the approval names no artifact".to_owned(), |digest| {
        format!("it reads artifact {}; check that the artifact comes from there", shown(digest))
    });
    let permitted = draft.posture().is_some_and(|posture| posture.replay.source_environments.is_some());
    let permitted = if permitted { ", which the posture permits" } else { "" };
    look(format!(
        "the approval says that the replay reads from {}{permitted}; {artifact}",
        replay.source_environment.as_deref().map_or("nowhere".to_owned(), shown)
    ))
}

fn incident(draft: &ApprovalDraft<'_>) -> Finding {
    if let Some(denied) = denied(draft, &["IncidentMismatch"]) {
        return denied;
    }
    let said = draft.approval.replay.as_ref().and_then(|replay| replay.incident_spec_hash.as_deref());
    let Some(said) = said else { return look("the approval names no incident spec hash") };
    let version = draft.approval.pipeline_version.as_deref();
    let builds = draft.posture().and_then(|posture| posture.builds.as_ref());
    let build = builds.zip(version).and_then(|(builds, version)| builds.get(version)?.spec_hash);
    match (build, said.parse::<SpecHash>(), version) {
        (Some(build), Ok(said), Some(version)) if build == said => {
            holds([&draft.basis.posture_origin()], format!("{} was deployed with spec {said}", shown(version)))
        }
        (Some(build), _, Some(version)) => (
            CheckResult::No,
            format!("{} was deployed with spec {build}, but the incident's is {}", shown(version), shown(said)),
        ),
        (None, _, Some(version)) => look(format!(
            "the incident's spec is {}; the posture does not say with which spec {} was deployed",
            shown(said),
            shown(version)
        )),
        (_, _, None) => look(format!("the incident's spec is {}; the approval names no pipeline version", shown(said))),
    }
}

fn hashes(draft: &ApprovalDraft<'_>) -> Finding {
    match (draft.proposal.contradictions.first(), draft.request) {
        (Some(wrong), _) => (CheckResult::No, shown(wrong)),
        (None, Some(_)) => holds([&Origin::Computed], "computed here, and equal to the request's".to_owned()),
        (None, None) => holds([&Origin::Computed], "computed here from the manifests".to_owned()),
    }
}

fn lifetime(draft: &ApprovalDraft<'_>) -> Finding {
    let lasts = draft.approval.lifetime();
    match draft.basis.max_lifetime.filter(|most| lasts > *most) {
        Some(most) => (CheckResult::No, format!("{lasts:#}, but the posture permits at most {most:#}")),
        None if lasts > SHORT => look(format!("{lasts:#}; check that the approval has to be valid for so long")),
        // The statement to sign contains the times, whoever chose them.
        None => holds([&Origin::Computed], format!("{lasts:#}")),
    }
}

fn tried(dry_runs: &DryRuns) -> Finding {
    match dry_runs {
        DryRuns::NotKnown(why) => look(format!("not known: {}", shown(why))),
        DryRuns::Found(jobs) => match jobs.iter().find(|(_, succeeded)| *succeeded).or(jobs.first()) {
            Some((name, true)) => {
                holds([&Origin::Cluster], format!("Job {} of the same incident succeeded", shown(name)))
            }
            Some((name, false)) => {
                look(format!("Job {} of the same incident exists, but has not succeeded", shown(name)))
            }
            None => look("no dry-run Job of this incident exists; one may have been deleted"),
        },
    }
}
