//! `coverage`: which workloads of governed namespaces no approval covers, and what they can do without a check.
//!
//! Each answer is the webhook's decision about creating the live object again. Core classifies it (`coverage`). `live`
//! lists the workloads of a cluster.

mod live;

use std::{collections::BTreeMap, path::PathBuf};

use jiff::Timestamp;
use serde::Serialize;
use writgate_cluster::{clock, controllers::Controllers, live::ClaimedApprovals};
use writgate_core::{
    approval::SpecHash,
    decide::{Coverage, Unchecked},
    posture::Enforcement,
    record::{ApprovalRecord, Decision, ObjectRecord},
    vocabulary::{ENVIRONMENT_LABEL, PROJECT_LABEL},
};

use crate::{
    approval::decider::{Decider, DecisionFlags, detached_approvals},
    cluster::{
        Cluster, ClusterFlags,
        event_reader::{NamespaceScope, NamespaceScopeFlags},
    },
    command::{Format, coverage::live::governed_namespaces},
    failure::{Answer, Failure},
    manifest::{Manifest, input, input::WorkloadKindFlags, namespace::NamespaceFlag, workloads},
    postures::PostureSourceFlags,
    terminal::{
        output::{self, shown, table},
        progress::Progress,
        style,
    },
};

/// List the workloads that no approval covers
///
/// Decides about each workload of a governed namespace as if it were created again as it is, with the approvals that are
/// attached to it or detached in its namespace. Says what a workload without an approval can do although nobody checks it
/// again: a Deployment at 0 replicas can be scaled up, and a CronJob runs on its schedule.
///
/// An expired approval counts: the spec was approved while the approval was valid. With --enforce, a workload counts only if
/// the webhook would admit its creation now, under the enforcement `enforce`. Exits with 0 if every workload counts, with 1
/// if one does not, and with 3 if one could not be decided.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  kubectl writgate coverage -n payments
  kubectl writgate coverage -n payments --environment production --project payments
  kubectl writgate coverage -A --enforce
  kubectl get deployments,cronjobs -o yaml | kubectl writgate coverage -f - --posture-dir postures")]
pub(crate) struct Arguments {
    #[command(flatten)]
    scope: NamespaceScopeFlags,
    /// Check the objects in FILE in place of the cluster's, `-` for standard input; may be repeated
    #[arg(short, long, value_name = "FILE", conflicts_with = "all_namespaces")]
    filename: Vec<PathBuf>,
    /// Treat the posture as if its enforcement were `enforce`, and list what it would deny
    #[arg(long)]
    enforce: bool,
    #[command(flatten)]
    decider: DecisionFlags,
    /// Time of the decision, RFC 3339 [default: now]
    #[arg(long, value_name = "TIME", value_parser = input::time)]
    now: Option<Timestamp>,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// The result for one workload. Stable: other programs read it (docs/onboarding.md).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WorkloadCoverage {
    pub(crate) object: ObjectRecord,
    pub(crate) environment: Option<String>,
    pub(crate) project: Option<String>,
    pub(crate) spec_hash: Option<SpecHash>,
    pub(crate) coverage: Coverage,
    /// Whether the webhook would deny its creation under the enforcement `enforce`.
    pub(crate) denied_under_enforce: bool,
    /// What the posture's own enforcement is.
    pub(crate) enforcement: Option<Enforcement>,
    /// What it can do without a check; empty if it is covered.
    pub(crate) unchecked: Vec<Unchecked>,
    /// The reason codes of the decision.
    pub(crate) reasons: Vec<String>,
    /// The decision's own message for each denial.
    pub(crate) messages: Vec<String>,
    /// The approvals that the decision is about.
    pub(crate) approvals: Vec<ApprovalRecord>,
}

/// The results for all workloads. Stable, as [`WorkloadCoverage`] is.
#[derive(Debug, Serialize)]
pub(crate) struct CoverageReport {
    /// The worst first.
    pub(crate) workloads: Vec<WorkloadCoverage>,
    summary: Summary,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    namespaces: usize,
    workloads: usize,
    denied_under_enforce: usize,
    /// The number of workloads with each coverage, also if it is 0.
    coverage: BTreeMap<Coverage, usize>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    input::one_stdin(arguments.filename.iter().map(PathBuf::as_path))?;
    if arguments.scope.all_namespaces && arguments.decider.environment.is_some() {
        return Err(Failure::Misuse(
            "--environment is about one namespace, but -A is about all governed ones; pass -n".to_owned(),
        ));
    }
    let manifests = input::manifests(&arguments.filename, &arguments.decider.reading)?;
    let decider = arguments.decider.load(&manifests, arguments.now.unwrap_or_else(clock::now))?;
    let report =
        if arguments.filename.is_empty() { of_cluster(arguments, decider)? } else { of_files(arguments, &decider)? };
    match arguments.output {
        Format::Json => output::print_json(&report)?,
        Format::Text => output::print(&text(&report, arguments.enforce))?,
    }
    report.answer(arguments.enforce)
}

/// The coverage of the workloads of a cluster, by the cluster's postures.
pub(crate) fn of_scope(
    scope: &NamespaceScope,
    kinds: &WorkloadKindFlags,
    cluster: &ClusterFlags,
) -> Result<CoverageReport, Failure> {
    let postures = PostureSourceFlags { posture_dir: None, cluster: cluster.clone() };
    let flags = DecisionFlags { postures, reading: kinds.clone().into(), ..DecisionFlags::default() };
    let decider = flags.load(&[], clock::now())?;
    let namespaces = match scope {
        NamespaceScope::Namespace(namespace) if decider.labels(namespace)?.environment.is_none() => {
            return Err(Failure::No(format!(
                "namespace {} has no label {ENVIRONMENT_LABEL}, so it is not governed; choose a governed namespace with -n, or \
                 all of them with -A",
                shown(namespace)
            )));
        }
        NamespaceScope::Namespace(namespace) => vec![namespace.clone()],
        NamespaceScope::All => governed_namespaces(cluster_of(&decider)?)?,
    };
    of_namespaces(&namespaces, &flags, decider)
}

fn of_cluster(arguments: &Arguments, mut decider: Decider<'_>) -> Result<CoverageReport, Failure> {
    // With a folder of postures, the workloads are still those of the cluster.
    if decider.postures.cluster.is_none() {
        decider.postures.cluster = Some(arguments.decider.postures.cluster.connect()?);
    }
    let cluster = cluster_of(&decider)?;
    let namespaces = match arguments.scope.of(cluster)? {
        NamespaceScope::Namespace(namespace) => vec![namespace],
        NamespaceScope::All => governed_namespaces(cluster)?,
    };
    of_namespaces(&namespaces, &arguments.decider, decider)
}

fn of_namespaces(
    namespaces: &[String],
    flags: &DecisionFlags,
    mut decider: Decider<'_>,
) -> Result<CoverageReport, Failure> {
    decider.supplied_alone = true;
    let as_if = flags.environment.is_some();
    let mut found = Vec::new();
    let mut progress = Progress::of("reading namespaces", Some(namespaces.len()));
    for namespace in namespaces {
        let mut approvals = detached_approvals(cluster_of(&decider)?, namespace)?;
        approvals.extend(decider.postures.set.detached_approvals(namespace));
        decider.supplied = approvals;
        let checked = NamespaceDecider::of(&decider, namespace, as_if)?;
        live::workloads(cluster_of(&decider)?, namespace, flags.reading.kinds.further(), |manifest| {
            found.push(checked.workload(manifest));
            Ok(())
        })?;
        progress.step();
    }
    drop(progress);
    Ok(CoverageReport::new(found, namespaces.len()))
}

fn cluster_of<'d>(decider: &'d Decider<'_>) -> Result<&'d Cluster, Failure> {
    let none = || Failure::Misuse("no cluster is used; pass the workloads with -f".to_owned());
    decider.postures.cluster.as_ref().ok_or_else(none)
}

fn of_files(arguments: &Arguments, decider: &Decider<'_>) -> Result<CoverageReport, Failure> {
    let as_if = arguments.decider.environment.is_some();
    let flag = NamespaceFlag { namespace: arguments.scope.namespace.clone() };
    let mut controllers = Controllers::default();
    let checked: Vec<&Manifest> =
        decider.manifests.iter().filter(|manifest| manifest.workload().is_some() || is_pod(manifest)).collect();
    // A file may list an object before its controller.
    for manifest in &checked {
        controllers.include(manifest.workload(), manifest.object());
    }
    let mut namespaces: BTreeMap<String, NamespaceDecider<'_>> = BTreeMap::new();
    let mut found = Vec::new();
    for manifest in checked {
        workloads::warn_of_outdated(manifest);
        if controllers.include(manifest.workload(), manifest.object()) {
            continue;
        }
        let namespace = flag.of(manifest, decider.postures.cluster.as_ref())?;
        if !namespaces.contains_key(&namespace) {
            namespaces.insert(namespace.clone(), NamespaceDecider::of(decider, &namespace, as_if)?);
        }
        found.extend(namespaces.get(&namespace).map(|checked| checked.workload(manifest)));
    }
    if found.is_empty() {
        return Err(Failure::Undetermined(workloads::none_in(decider.manifests)));
    }
    Ok(CoverageReport::new(found, namespaces.len()))
}

fn is_pod(manifest: &Manifest) -> bool {
    (manifest.api_version(), manifest.kind()) == ("v1", "Pod")
}

/// Decides about the workloads of one namespace.
struct NamespaceDecider<'a> {
    decider: &'a Decider<'a>,
    namespace: String,
    environment: String,
    /// Without one, everything is denied.
    project: Option<String>,
    approvals: ClaimedApprovals,
}

impl<'a> NamespaceDecider<'a> {
    /// `as_if` is whether a flag names the environment.
    fn of(decider: &'a Decider<'a>, namespace: &str, as_if: bool) -> Result<Self, Failure> {
        let labels = decider.labels(namespace)?;
        let Some(environment) = &labels.environment else {
            return Err(Failure::Misuse(format!(
                "namespace {} has no label {ENVIRONMENT_LABEL}, so it is not governed; pass --environment and --project to \
                 see what no approval would cover if it were",
                shown(namespace)
            )));
        };
        if labels.project.is_none() && as_if {
            return Err(Failure::Misuse(format!(
                "namespace {} has no label {PROJECT_LABEL}; pass --project",
                shown(namespace)
            )));
        }
        let approvals = ClaimedApprovals::of(decider.detached(namespace));
        let (environment, project) = (environment.to_string(), labels.project.as_deref().map(str::to_owned));
        Ok(Self { decider, namespace: namespace.to_owned(), environment, project, approvals })
    }

    fn workload(&self, manifest: &Manifest) -> WorkloadCoverage {
        match self.coverage(manifest) {
            Ok((coverage, decision)) => self.row(manifest, coverage, decision),
            Err(failure) => WorkloadCoverage {
                object: self.object(manifest),
                environment: Some(self.environment.clone()),
                project: self.project.clone(),
                spec_hash: None,
                coverage: Coverage::Unreadable,
                denied_under_enforce: true,
                enforcement: None,
                unchecked: self.unchecked(Coverage::Unreadable, manifest),
                reasons: Vec::new(),
                messages: vec![failure.to_string()],
                approvals: Vec::new(),
            },
        }
    }

    fn coverage(&self, manifest: &Manifest) -> Result<(Coverage, Decision), Failure> {
        let posture = self.decider.postures.set.environment(&self.environment).ok();
        let subject = self.object(manifest).subject();
        self.approvals.coverage(self.decider.now, posture, manifest.object(), &subject, |object, at| {
            self.decider.decide_again(&manifest.with_object(object.clone()), &self.namespace, at)
        })
    }

    fn row(&self, manifest: &Manifest, coverage: Coverage, decision: Decision) -> WorkloadCoverage {
        let messages = decision.denials.iter().map(ToString::to_string).collect();
        let denied_under_enforce = !decision.denials.is_empty();
        let record = decision.record;
        WorkloadCoverage {
            object: record.object.unwrap_or_else(|| self.object(manifest)),
            environment: Some(self.environment.clone()),
            project: self.project.clone(),
            spec_hash: record.spec_hash,
            coverage,
            denied_under_enforce,
            enforcement: record.enforcement,
            unchecked: self.unchecked(coverage, manifest),
            reasons: record.reasons,
            messages,
            approvals: record.approvals,
        }
    }

    fn unchecked(&self, coverage: Coverage, manifest: &Manifest) -> Vec<Unchecked> {
        if coverage.is_covered() == Some(true) {
            return Vec::new();
        }
        let posture = self.decider.postures.set.environment(&self.environment).ok();
        Unchecked::of(manifest.workload(), manifest.object(), posture)
    }

    fn object(&self, manifest: &Manifest) -> ObjectRecord {
        let uid = manifest.object().pointer("/metadata/uid").and_then(serde_json::Value::as_str);
        ObjectRecord {
            api_version: manifest.api_version().to_owned(),
            kind: manifest.kind().to_owned(),
            namespace: self.namespace.clone(),
            name: manifest.subject_name().unwrap_or_default(),
            uid: uid.map(str::to_owned),
        }
    }
}

impl WorkloadCoverage {
    /// The reason codes; of a workload that could not be decided, why.
    pub(crate) fn cause(&self) -> String {
        if self.coverage == Coverage::Unreadable {
            return self.messages.first().cloned().unwrap_or_default();
        }
        self.reasons.join(", ")
    }
}

impl CoverageReport {
    /// The report about `workloads`, in `namespaces` namespaces.
    pub(crate) fn new(mut workloads: Vec<WorkloadCoverage>, namespaces: usize) -> Self {
        workloads.sort_by(|one, other| {
            let key = |row: &WorkloadCoverage| (row.coverage, !row.denied_under_enforce);
            let object = |row: &WorkloadCoverage| {
                let ObjectRecord { namespace, kind, name, api_version, .. } = row.object.clone();
                (namespace, kind, name, api_version)
            };
            key(one).cmp(&key(other)).then_with(|| object(one).cmp(&object(other)))
        });
        let mut coverage: BTreeMap<Coverage, usize> = Coverage::ALL.into_iter().map(|one| (one, 0)).collect();
        for row in &workloads {
            *coverage.entry(row.coverage).or_default() += 1;
        }
        let denied_under_enforce = workloads.iter().filter(|row| row.denied_under_enforce).count();
        let summary = Summary { namespaces, workloads: workloads.len(), denied_under_enforce, coverage };
        Self { workloads, summary }
    }

    /// How many workloads were found, and in how many namespaces.
    fn place(&self) -> String {
        let Summary { namespaces, workloads, .. } = self.summary;
        format!("{} in {}", counted(workloads, "workload"), counted(namespaces, "namespace"))
    }

    /// The same, with the number of workloads with each coverage.
    pub(crate) fn counts(&self) -> String {
        let counts = self.summary.coverage.iter().filter(|(_, count)| **count > 0);
        let counts: Vec<String> = counts.map(|(coverage, count)| format!("{count} {coverage}")).collect();
        let place = self.place();
        if counts.is_empty() { place } else { format!("{place}: {}", counts.join(", ")) }
    }

    /// A workload that certainly does not count decides before one that is not known.
    fn answer(&self, enforce: bool) -> Result<Answer, Failure> {
        let known = |row: &WorkloadCoverage| match row.coverage.is_covered() {
            Some(_) if enforce => Some(!row.denied_under_enforce),
            known => known,
        };
        if self.workloads.iter().any(|row| known(row) == Some(false)) {
            return Ok(Answer::No);
        }
        match self.workloads.iter().filter(|row| known(row).is_none()).count() {
            0 => Ok(Answer::Yes),
            count => Err(Failure::Undetermined(format!("{} could not be decided", counted(count, "workload")))),
        }
    }
}

fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

fn text(report: &CoverageReport, enforce: bool) -> String {
    let listed = report.workloads.iter().filter(|row| !enforce || row.denied_under_enforce);
    let rows: Vec<_> = listed.map(|row| [in_style(row.coverage), name(&row.object), shown(&why(row))]).collect();
    let denied_under_enforce = report.summary.denied_under_enforce;
    let mut summary = if enforce {
        format!("{denied_under_enforce} of {} would be denied under enforce\n", report.place())
    } else {
        report.counts() + "\n"
    };
    let uncovered = report.workloads.iter().filter(|row| row.coverage.is_covered() == Some(false));
    let (pods, others): (Vec<_>, Vec<_>) = uncovered.partition(|row| row.object.kind == "Pod");
    if !others.is_empty() {
        summary.push_str(
            "next: delete what is not used, and request an approval for the rest: kubectl writgate request --recreate -f FILE\n",
        );
    }
    if !pods.is_empty() {
        summary.push_str(
            "next: delete each Pod, or replace it with a workload such as a Deployment or a Job, since a Pod cannot be approved\n",
        );
    }
    if rows.is_empty() { summary } else { table(["COVERAGE", "WORKLOAD", "WHY"], &rows) + &summary }
}

fn in_style(coverage: Coverage) -> String {
    let word = coverage.as_str();
    match coverage.is_covered() {
        Some(true) => style::good(word),
        Some(false) => style::bad(word),
        None => style::careful(word),
    }
}

fn name(object: &ObjectRecord) -> String {
    shown(&format!("{} {}/{}", object.kind, object.namespace, object.name))
}

/// The approval of a workload that is covered; otherwise what is missing, and what the workload can do.
fn why(row: &WorkloadCoverage) -> String {
    let cause = row.cause();
    if row.coverage == Coverage::Unreadable {
        return cause;
    }
    let mut parts = if cause.is_empty() { Vec::new() } else { vec![cause] };
    parts.extend(row.unchecked.iter().map(ToString::to_string));
    if row.coverage.is_covered() == Some(true) {
        let signed = |approval: &ApprovalRecord| {
            format!("signed by {}, until {}", approval.reviewers.join(", "), approval.expires_at)
        };
        parts.extend(row.approvals.iter().map(signed));
    }
    parts.join("; ")
}
