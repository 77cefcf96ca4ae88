//! The guidance for reviewers as a list: what a program found, and what only a person can decide.
//!
//! The wording of each item is the workflow guide's. `ok` and `NO` come from the posture's own decision or from values
//! that
//! were recomputed; everything else is `look`.

use jiff::SignedDuration;
use serde::Serialize;
use writgate_core::{
    approval::{Action, SpecHash},
    record::Denial,
};

use crate::{approval::case::Case, command::review::dry_runs::DryRuns, terminal::output::shown};

/// One item of the guidance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    /// The list that it belongs to.
    pub(super) list: List,
    pub(super) verdict: Verdict,
    /// Its text in the guide.
    pub(super) line: &'static str,
    /// What was found.
    pub(super) found: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum List {
    Deployment,
    Replay,
    Operator,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Verdict {
    /// Checked, and true.
    Ok,
    /// Checked, and false.
    No,
    /// A person has to look.
    Look,
}

const SHORT: SignedDuration = SignedDuration::from_hours(1);

/// The items that apply.
pub(super) fn of(case: &Case<'_>, dry_runs: Option<&DryRuns>) -> Vec<Check> {
    let mut checks = match case.approval.action {
        Action::Deploy => deployment(case),
        Action::ReplayExecute | Action::ReplayDryRun => replay(case),
    };
    checks.extend(operator(case, dry_runs));
    checks
}

fn deployment(case: &Case<'_>) -> Vec<Check> {
    let check = |line, (verdict, found)| Check { list: List::Deployment, verdict, line, found };
    vec![
        check("the pipeline version is the expected canonical build", canonical_build(case)),
        check("the config bundle matches the intended environment", config_bundle(case)),
        check("the deployment target environment is correct", environment(case)),
        check("the approval scope covers the deployment action", scope(case)),
    ]
}

fn replay(case: &Case<'_>) -> Vec<Check> {
    let check = |line, (verdict, found)| Check { list: List::Replay, verdict, line, found };
    vec![
        check("the source artifact came from the expected environment", source(case)),
        check("the resolved pipeline version matches the incident spec hash", incident(case)),
        check("the approval scope is valid for replay execution", scope(case)),
    ]
}

fn operator(case: &Case<'_>, dry_runs: Option<&DryRuns>) -> Vec<Check> {
    let check = |line, (verdict, found)| Check { list: List::Operator, verdict, line, found };
    let mut checks = vec![
        check("verify environment and project before requesting approval", project(case)),
        check("verify the spec hash or version being approved", hashes(case)),
        check("prefer short-lived approvals over broad standing coverage", lifetime(case)),
    ];
    checks.extend(
        dry_runs.map(|dry_runs| check("use dry-run replay first when investigating incidents", tried(dry_runs))),
    );
    checks
}

type Finding = (Verdict, String);

/// The posture's denial with one of `codes`.
fn denied(case: &Case<'_>, codes: &[&str]) -> Option<Finding> {
    let (_, standing) = case.rules.as_ref()?;
    let denial =
        standing.refused(&case.matter).map(|(_, denial)| denial).find(|denial| codes.contains(&denial.code()))?;
    Some((Verdict::No, shown(&Denial::to_string(denial))))
}

fn look(found: impl Into<String>) -> Finding {
    (Verdict::Look, found.into())
}

fn unjudged() -> Finding {
    look("no posture was used")
}

fn canonical_build(case: &Case<'_>) -> Finding {
    if let Some(denied) = denied(case, &["PipelineVersionMismatch", "NotCanonicalBuild"]) {
        return denied;
    }
    let Some(posture) = case.posture() else { return unjudged() };
    match (&case.approval.pipeline_version, &posture.builds) {
        (None, _) => look("the approval names no pipeline version"),
        (Some(version), None) => {
            look(format!("the approval says {}; the posture lists no builds, so nothing proves it", shown(version)))
        }
        (Some(version), Some(_)) => (Verdict::Ok, format!("{} is listed with these images", shown(version))),
    }
}

fn config_bundle(case: &Case<'_>) -> Finding {
    if let Some(denied) = denied(case, &["ConfigBundleMismatch"]) {
        return denied;
    }
    let bundle = case.approval.config_bundle.as_deref().map(shown);
    match (bundle, case.posture().map(|posture| posture.config_bundle.is_some())) {
        (None, Some(true)) => look("the posture requires a config bundle, but the approval names none"),
        (None, Some(false)) => {
            look("the approval names no config bundle, and the posture requires none: nothing binds the configuration")
        }
        (None, None) => look("the approval names no config bundle: nothing binds the configuration"),
        (Some(bundle), Some(_)) => {
            look(format!("{bundle}; the webhook checks its digest, but whether it is the right one is your decision"))
        }
        (Some(bundle), None) => look(format!("{bundle}; no posture was used")),
    }
}

fn environment(case: &Case<'_>) -> Finding {
    let environment = shown(&case.approval.environment);
    if !case.ground.by_rules {
        return unjudged();
    }
    if case.wrong.iter().any(|wrong| wrong.contains("says environment")) {
        return (Verdict::No, format!("the target is {environment}, which is not what was requested"));
    }
    look(format!("the target is {environment}: is that the intended one?"))
}

fn project(case: &Case<'_>) -> Finding {
    let place = format!("{}, project {}", shown(&case.approval.environment), shown(&case.approval.project));
    if !case.ground.by_rules {
        return unjudged();
    }
    let about =
        |wrong: &String| ["says environment", "says project", "says cluster"].iter().any(|what| wrong.contains(what));
    if let Some(wrong) = case.wrong.iter().find(|wrong| about(wrong)) {
        return (Verdict::No, wrong.clone());
    }
    denied(case, &["NamespaceNotListed", "PostureMissing"]).unwrap_or((Verdict::Ok, place))
}

/// The approval must grant exactly what is required.
fn scope(case: &Case<'_>) -> Finding {
    let given = case.approval.capabilities.join(", ");
    if case.posture().is_none() {
        return unjudged();
    }
    let missing = case.ground.needed.iter().find(|needed| !case.approval.capabilities.contains(&needed.capability));
    match missing {
        Some(missing) => (Verdict::No, format!("the approval does not grant {}", shown(&missing.capability))),
        None if case.approval.capabilities.len() > case.ground.needed.len() => {
            look(format!("the approval grants {}, which is more than is required", shown(&given)))
        }
        None => (Verdict::Ok, format!("the approval grants {}", shown(&given))),
    }
}

fn source(case: &Case<'_>) -> Finding {
    if let Some(denied) = denied(case, &["SourceEnvironmentMismatch", "SourceArtifactMismatch"]) {
        return denied;
    }
    let replay = case.approval.replay.clone().unwrap_or_default();
    let artifact = replay.source_artifact.as_deref().map_or("the approval names no artifact".to_owned(), |digest| {
        format!("it reads artifact {}; whether that came from there is your decision", shown(digest))
    });
    let permitted = case.posture().is_some_and(|posture| posture.replay.source_environments.is_some());
    let permitted = if permitted { ", which the posture permits" } else { "" };
    look(format!(
        "the approval says that the replay reads from {}{permitted}; {artifact}",
        replay.source_environment.as_deref().map_or("nowhere".to_owned(), shown)
    ))
}

fn incident(case: &Case<'_>) -> Finding {
    if let Some(denied) = denied(case, &["IncidentMismatch"]) {
        return denied;
    }
    let said = case.approval.replay.as_ref().and_then(|replay| replay.incident_spec_hash.as_deref());
    let Some(said) = said else { return look("the approval names no incident spec hash") };
    let version = case.approval.pipeline_version.as_deref();
    let builds = case.posture().and_then(|posture| posture.builds.as_ref());
    let build = builds.zip(version).and_then(|(builds, version)| builds.get(version)?.spec_hash);
    match (build, said.parse::<SpecHash>(), version) {
        (Some(build), Ok(said), Some(version)) if build == said => {
            (Verdict::Ok, format!("{} was deployed with spec {said}", shown(version)))
        }
        (Some(build), _, Some(version)) => (
            Verdict::No,
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

fn hashes(case: &Case<'_>) -> Finding {
    match (case.matter.wrong.first(), case.request) {
        (Some(wrong), _) => (Verdict::No, shown(wrong)),
        (None, Some(_)) => (Verdict::Ok, "computed here, and equal to the request's".to_owned()),
        (None, None) => (Verdict::Ok, "computed here from the manifests".to_owned()),
    }
}

fn lifetime(case: &Case<'_>) -> Finding {
    let lasts = case.approval.lifetime();
    match case.ground.max_lifetime.filter(|most| lasts > *most) {
        Some(most) => (Verdict::No, format!("{lasts:#}, but the posture permits at most {most:#}")),
        None if lasts > SHORT => look(format!("{lasts:#}: is that long necessary?")),
        None => (Verdict::Ok, format!("{lasts:#}")),
    }
}

fn tried(dry_runs: &DryRuns) -> Finding {
    match dry_runs {
        DryRuns::NotKnown(why) => look(format!("not known: {}", shown(why))),
        DryRuns::Found(jobs) => match jobs.iter().find(|(_, succeeded)| *succeeded).or(jobs.first()) {
            Some((name, true)) => (Verdict::Ok, format!("Job {} of the same incident succeeded", shown(name))),
            Some((name, false)) => {
                look(format!("Job {} of the same incident exists, but has not succeeded", shown(name)))
            }
            None => look("no dry-run Job of this incident exists; one may have been deleted"),
        },
    }
}
