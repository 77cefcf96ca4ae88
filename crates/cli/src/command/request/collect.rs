//! Which workloads of the manifests require an approval, and the request for them.
//!
//! The webhook's decision says whether a workload requires an approval, and which capabilities.

use std::collections::BTreeMap;

use serde_json::Value;
use writgate_cluster::clock;
use writgate_core::{
    approval::{Action, MAX_SUBJECTS, REQUEST_FILE_API_VERSION, REQUEST_FILE_KIND, RequestFile, RequestedWorkload},
    record::{Basis, Decision, DecisionRecord, Outcome},
    text::escape,
    vocabulary::{BOUND_ANNOTATIONS, INCIDENT, SOURCE_ENVIRONMENT},
};

use crate::{
    approval::{decider::Decider, required_capabilities::required_capabilities},
    command::request::{Arguments, Requester, clusters, kept, renders},
    failure::Failure,
    manifest::{Manifest, is_of_an_approval, workloads},
    terminal::{
        output::{self, shown},
        progress::Progress,
        style,
    },
};

/// Whether workloads of several namespaces are requested together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Split {
    /// In one request, as a file can hold it.
    No,
    /// In one request for each namespace, as ConfigMaps hold them.
    ByNamespace,
}

/// A workload that requires an approval.
struct UnapprovedWorkload<'m> {
    manifest: &'m Manifest,
    namespace: String,
    runs: Option<Value>,
    is_recreated: bool,
    decision: Decision,
}

/// The result for one object of the manifests.
enum ApprovalNeed<'m> {
    /// The object requires an approval.
    Required(Box<UnapprovedWorkload<'m>>),
    /// The object requires no approval; the reason.
    NotRequired(String),
    /// No approval could allow the object; the reason.
    Impossible(String),
}

/// The requests for the workloads of the manifests that require an approval; none if none does. One request if `split` is
/// not set, otherwise one for each namespace.
pub(super) fn from_manifests(
    arguments: &Arguments,
    decider: &Decider<'_>,
    requester: &Requester,
    split: Split,
) -> Result<Vec<RequestFile>, Failure> {
    let checked: Vec<&Manifest> = decider.manifests.iter().filter(|manifest| manifest.is_checked()).collect();
    decider.manifests.iter().for_each(workloads::warn_of_outdated);
    decider.manifests.iter().for_each(workloads::warn_of_dropped_fields);
    let cluster = decider.postures.cluster.as_ref();
    decider.manifests.iter().for_each(|manifest| workloads::warn_of_newer_fields(manifest, cluster));
    if checked.is_empty() {
        return Err(Failure::Undetermined(workloads::none_in(decider.manifests)));
    }
    let from_server = arguments.server.ask(&checked, &arguments.namespace, decider)?;
    let mut progress = Progress::of("checking", Some(checked.len()));
    let (mut required, mut not_needed, mut impossible) = (Vec::new(), Vec::new(), Vec::new());
    for manifest in from_server.as_ref().map_or(checked, |made| made.iter().collect()) {
        match assess(manifest, arguments, decider, requester)? {
            ApprovalNeed::Required(found) => required.push(*found),
            ApprovalNeed::NotRequired(why) => not_needed.push(why),
            ApprovalNeed::Impossible(why) => impossible.push(why),
        }
        progress.step();
    }
    drop(progress);
    if !impossible.is_empty() {
        return Err(Failure::No(format!(
            "no approval could allow these workloads as they are:\n{}",
            impossible.join("\n")
        )));
    }
    report_not_needed(&not_needed);
    if required.is_empty() {
        return Ok(Vec::new());
    }
    let group = only_group(required, arguments.action)?;
    let groups = match split {
        Split::No => vec![group],
        Split::ByNamespace => group.by_namespace(),
    };
    groups.into_iter().map(|group| group.request(arguments, decider, requester, not_needed.clone())).collect()
}

fn assess<'m>(
    manifest: &'m Manifest,
    arguments: &Arguments,
    decider: &Decider<'_>,
    requester: &Requester,
) -> Result<ApprovalNeed<'m>, Failure> {
    let namespace = arguments.namespace.of(manifest, decider.postures.cluster.as_ref())?;
    let cluster = decider.postures.cluster.as_ref();
    let runs = cluster.map(|cluster| cluster.live(manifest, &namespace)).transpose()?.flatten();
    let user = Some(&*requester.user);
    if manifest.is_hook_with_generated_name() {
        output::note(&format!(
            "warning: {manifest}: Argo CD generates the name of this hook, and no approval covers such a name; set metadata.name"
        ));
    }
    let is_recreated = arguments.recreate || manifest.is_recreated();
    let replaced = runs.as_ref().filter(|_| !is_recreated);
    let decision = decider.decide_manifest(manifest, &namespace, replaced, user)?;
    if decision.allowed() && decision.denials.is_empty() {
        return Ok(ApprovalNeed::NotRequired(format!("{}: {}", name(manifest, &namespace), why_not_needed(&decision))));
    }
    let unapproved = decider.decide_unapproved(manifest, &namespace, replaced, &requester.user)?;
    let mut cannot: Vec<String> = unapproved
        .denials
        .iter()
        .filter(|denial| denial.code() != "ApprovalRequired")
        .map(|denial| format!("  {}: {denial}", denial.code()))
        .collect();
    cannot.extend(missing_of_replay(manifest, &unapproved));
    if !cannot.is_empty() {
        return Ok(ApprovalNeed::Impossible(format!("{}\n{}", name(manifest, &namespace), cannot.join("\n"))));
    }
    if let Some(live) = replaced {
        kept::warn(manifest, live)?;
    }
    let required = UnapprovedWorkload { manifest, namespace, runs, is_recreated, decision: unapproved };
    Ok(ApprovalNeed::Required(Box::new(required)))
}

/// The annotations that an approval of a replay takes from the object, and that are missing.
fn missing_of_replay(manifest: &Manifest, decision: &Decision) -> Vec<String> {
    if decision.record.action != Some(Action::ReplayExecute) {
        return Vec::new();
    }
    let required = [INCIDENT, SOURCE_ENVIRONMENT];
    let missing = required.into_iter().filter(|name| manifest.annotation(name).is_none());
    missing.map(|name| format!("  a replay requires the annotation {name}; add it")).collect()
}

fn name(manifest: &Manifest, namespace: &str) -> String {
    format!("{} {}/{}", manifest.kind(), shown(namespace), shown(&manifest.subject_name().unwrap_or_default()))
}

fn why_not_needed(decision: &Decision) -> String {
    let record = &decision.record;
    match (record.decision, record.basis) {
        (Outcome::NotAnAction, _) if record.environment.is_none() => "its namespace is not governed".to_owned(),
        (Outcome::NotAnAction, _) => "nothing changes in the live object".to_owned(),
        (_, Some(Basis::NotRequired)) => "the posture requires none".to_owned(),
        (_, Some(Basis::Rollback)) => "it is a rollback to a spec that was admitted before".to_owned(),
        _ => match record.approvals.as_slice() {
            [first, ..] => {
                format!("it is approved already, until {} (approval {})", first.expires_at, shown(&first.id))
            }
            [] => "it is admitted as it is".to_owned(),
        },
    }
}

fn report_not_needed(not_needed: &[String]) {
    for one in not_needed {
        output::note_styled(&style::faint(&format!("no approval required: {}", escape(one))));
    }
}

/// What one approval states once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ApprovalScope {
    pub(super) environment: String,
    pub(super) project: String,
    pub(super) action: Action,
    /// The bound annotations: an approval binds one value of each.
    pub(super) claims: Vec<(&'static str, Option<String>)>,
}

struct ScopeGroup<'m> {
    scope: ApprovalScope,
    required: Vec<UnapprovedWorkload<'m>>,
}

/// The only group. If there are several, the error says how they differ.
fn only_group(required: Vec<UnapprovedWorkload<'_>>, action: Option<Action>) -> Result<ScopeGroup<'_>, Failure> {
    let mut groups: BTreeMap<ApprovalScope, Vec<UnapprovedWorkload<'_>>> = BTreeMap::new();
    for one in required {
        let scope = one.scope();
        if action.is_none_or(|action| action == scope.action) {
            groups.entry(scope).or_default().push(one);
        }
    }
    if groups.len() > 1 {
        let listed: Vec<String> = groups.iter().map(|(scope, members)| scope.describe(members)).collect();
        return Err(Failure::Misuse(format!(
            "an approval covers one environment, project, action, pipeline version and config bundle, but the workloads \
             are {} groups:\n{}\nrequest each group in a separate file; select it with -f or --action",
            listed.len(),
            listed.join("\n")
        )));
    }
    let (scope, required) =
        groups.pop_first().ok_or_else(|| Failure::No("no workload's change is that action".to_owned()))?;
    Ok(ScopeGroup { scope, required })
}

impl UnapprovedWorkload<'_> {
    fn scope(&self) -> ApprovalScope {
        let record = &self.decision.record;
        ApprovalScope {
            environment: record.environment.clone().unwrap_or_default(),
            project: record.project.clone().unwrap_or_default(),
            action: record.action.unwrap_or(Action::Deploy),
            claims: BOUND_ANNOTATIONS.map(|claim| (claim, self.manifest.annotation(claim).map(str::to_owned))).to_vec(),
        }
    }
}

impl ApprovalScope {
    fn describe(&self, members: &[UnapprovedWorkload<'_>]) -> String {
        let names: Vec<String> = members.iter().map(|one| name(one.manifest, &one.namespace)).collect();
        let claims = self.claims.iter().filter_map(|(claim, value)| Some((claim, value.as_ref()?)));
        let claims: Vec<String> = claims.map(|(claim, value)| format!(", {claim} {}", shown(value))).collect();
        format!(
            "  {} in {}, project {}{}: {}",
            self.action,
            shown(&self.environment),
            shown(&self.project),
            claims.concat(),
            names.join(", ")
        )
    }
}

impl ScopeGroup<'_> {
    /// One group for each namespace.
    fn by_namespace(self) -> Vec<Self> {
        let mut groups: BTreeMap<String, Self> = BTreeMap::new();
        for one in self.required {
            let new = || Self { scope: self.scope.clone(), required: Vec::new() };
            groups.entry(one.namespace.clone()).or_insert_with(new).required.push(one);
        }
        groups.into_values().collect()
    }

    fn request(
        self,
        arguments: &Arguments,
        decider: &Decider<'_>,
        requester: &Requester,
        not_needed: Vec<String>,
    ) -> Result<RequestFile, Failure> {
        let Self { scope, required } = self;
        if required.len() > MAX_SUBJECTS {
            return Err(Failure::Misuse(format!(
                "{} workloads require an approval, but one approval covers at most {MAX_SUBJECTS}; request them in \
                 several files, selected with -f",
                required.len()
            )));
        }
        let mut workloads = Vec::new();
        let mut subjects = BTreeMap::new();
        for one in &required {
            let workload = one.requested()?;
            if let Some(first) = subjects.insert(workload.subject.clone(), one.manifest) {
                return Err(renders::twice(first, one.manifest)?);
            }
            workloads.push(workload);
        }
        let records: Vec<&DecisionRecord> = required.iter().map(|one| &one.decision.record).collect();
        request_file(arguments, decider, requester, scope, &records, workloads)
            .map(|file| RequestFile { not_needed, ..file })
    }
}

impl UnapprovedWorkload<'_> {
    fn requested(&self) -> Result<RequestedWorkload, Failure> {
        let hash = self.manifest.spec_hash().ok_or_else(|| {
            Failure::No(format!("{} has no spec hash, so it cannot be approved", name(self.manifest, &self.namespace)))
        })?;
        Ok(RequestedWorkload {
            namespace: self.namespace.clone(),
            spec_hash: hash?,
            object: Some(self.manifest.without_approvals().object().clone()),
            recreate: self.is_recreated,
            subject: workloads::subject_name(self.manifest, Some(&self.namespace))?,
            runs: self.runs.clone().map(bare),
        })
    }
}

/// The live object for a reviewer's comparison, without fields that the server and controllers maintain and without
/// copies of the object.
fn bare(mut runs: Value) -> Value {
    if let Value::Object(fields) = &mut runs {
        fields.remove("status");
    }
    if let Some(Value::Object(metadata)) = runs.get_mut("metadata") {
        metadata.remove("managedFields");
    }
    if let Some(Value::Object(annotations)) = runs.pointer_mut("/metadata/annotations") {
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
        annotations.retain(|name, _| !is_of_an_approval(name));
    }
    runs
}

/// The request for `workloads`, with the capabilities that their decisions require.
pub(super) fn request_file(
    arguments: &Arguments,
    decider: &Decider<'_>,
    requester: &Requester,
    scope: ApprovalScope,
    records: &[&DecisionRecord],
    workloads: Vec<RequestedWorkload>,
) -> Result<RequestFile, Failure> {
    let ApprovalScope { environment, project, action, claims: _ } = scope;
    let posture = decider.postures.set.environment(&environment);
    let posture = posture.map_err(|error| Failure::Undetermined(error.to_string()))?;
    let break_glass = arguments.break_glass;
    if break_glass && posture.break_glass.is_none() {
        return Err(Failure::No(format!(
            "the posture of {} permits no break-glass approval (breakGlass)",
            shown(&posture.environment)
        )));
    }
    let (cluster, clusters) = match clusters::of(arguments, posture)? {
        one if one.len() <= 1 => (one.into_iter().next(), Vec::new()),
        several => (None, several),
    };
    Ok(RequestFile {
        api_version: REQUEST_FILE_API_VERSION.to_owned(),
        kind: REQUEST_FILE_KIND.to_owned(),
        requested_by: requester.person.clone(),
        reason: arguments.reason.clone(),
        requested_at: clock::now(),
        cluster,
        clusters,
        capabilities: required_capabilities(posture, Some(action), break_glass, records.iter().copied()),
        environment,
        project,
        action,
        break_glass,
        workloads,
        not_needed: Vec::new(),
    })
}
