//! `request`: one file that requests one approval for all workloads of a release that require it.
//!
//! The webhook's decision says which workloads require an approval, and which capabilities; this file collects and
//! prints them. [`denied`] starts from a denial instead. [`server`] asks the API server what it would make of the
//! manifests. [`kept`] finds what `kubectl apply` would keep of a live object.

mod denied;
mod kept;
mod server;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use clap::builder::NonEmptyStringValueParser;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::api::{Api, PostParams};
use serde_json::Value;
use writgate_cluster::clock;
use writgate_core::{
    approval::{Action, MAX_SUBJECTS, REQUEST_FILE_API_VERSION, REQUEST_FILE_KIND, RequestFile, RequestedWorkload},
    record::{Basis, Decision, DecisionRecord, Outcome},
    text::escape,
    vocabulary::{BOUND_ANNOTATIONS, INCIDENT, SOURCE_ENVIRONMENT},
};

use crate::{
    approval::{
        decider::{Decider, DecisionFlags},
        required_capabilities::required_capabilities,
    },
    cluster::Cluster,
    failure::{Answer, Failure},
    manifest::{Manifest, input, is_of_an_approval, namespace::NamespaceFlag, workloads},
    terminal::{
        output::{self, Access, columns, shown, table},
        progress::Progress,
        style,
    },
};

/// Length of a shortened spec hash, enough for people to tell it from another.
const SHORT_HASH: usize = "sha256:".len() + 12;

/// Request an approval for the workloads in manifests
///
/// Checks every workload as the webhook would, against the live object, and writes those that require an approval to
/// one request file, for one approval of the whole release. Says why the others require none. Fails if the webhook
/// would deny a workload with any approval. The file contains only workloads, never Secrets.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  kubectl writgate request -f app.yaml --reason CHG-1234 -o request.json
  helm template orders ./chart | kubectl writgate request -f - -n payments -o request.json
  kubectl writgate request --denial -f app.yaml -o request.json
  kubectl writgate request -f app.yaml --posture-dir postures --environment production \\
      --project payments --requested-by alice@acme.example

Then a reviewer runs:
  kubectl writgate approve -f request.json --key KEY -o approval.json")]
pub(crate) struct Arguments {
    /// Manifest, YAML or JSON, or folder of manifests, `-` for standard input; may be repeated
    #[arg(short, long, value_name = "FILE", required_unless_present = "denial")]
    filename: Vec<PathBuf>,
    #[command(flatten)]
    namespace: NamespaceFlag,
    #[command(flatten)]
    decider: DecisionFlags,
    /// Request approval for your most recent denial, or for KIND/NAME's; with -f, take what was denied from the
    /// manifests
    #[arg(long, value_name = "KIND/NAME", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    #[arg(conflicts_with_all = ["posture_dir", "environment"])]
    denial: Option<String>,
    #[command(flatten)]
    server: server::ServerFlags,
    /// Person who requests the approval [default: your user name in the cluster]
    #[arg(long, value_name = "PERSON", value_parser = NonEmptyStringValueParser::new())]
    requested_by: Option<String>,
    /// Reason for the request, such as a ticket
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    reason: Option<String>,
    /// Include only workloads whose change is this action: `deploy`, `replay-execute` or `replay-dry-run`
    #[arg(long, value_parser = crate::approval::statement::action)]
    action: Option<Action>,
    /// Request a break-glass approval, if the posture permits it
    #[arg(long)]
    break_glass: bool,
    /// Write the request to FILE [default: standard output]
    #[arg(short, long, value_name = "FILE", value_parser = super::approve::output_file)]
    output: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    input::one_stdin(arguments.filename.iter().map(PathBuf::as_path))?;
    let manifests = input::manifests(&arguments.filename, &arguments.decider.reading)?;
    let decider = arguments.decider.load(&manifests, clock::now())?;
    let requester = arguments.requester(decider.postures.cluster.as_ref())?;
    let file = match (&arguments.denial, decider.postures.cluster.as_ref()) {
        (Some(object), Some(cluster)) => denied::request(arguments, object, cluster, &decider, &requester)?,
        _ => from_manifests(arguments, &decider, &requester)?,
    };
    let Some(file) = file else {
        output::note_styled(&format!("{}: no workload requires an approval", style::good("no request")));
        return Ok(Answer::Yes);
    };
    let folder = arguments.decider.postures.posture_dir.iter();
    output::check_target(arguments.output.as_deref(), arguments.filename.iter().chain(folder).map(PathBuf::as_path))?;
    output::write(arguments.output.as_deref(), &file.to_json(), Access::Public)?;
    report(&file, arguments);
    Ok(Answer::Yes)
}

/// The requester: the name in the approval, and the user that the webhook will see.
struct Requester {
    person: String,
    user: String,
}

impl Arguments {
    fn requester(&self, cluster: Option<&Cluster>) -> Result<Requester, Failure> {
        let user = cluster.map(who_am_i).transpose()?;
        match (&self.requested_by, user) {
            (Some(person), user) => {
                Ok(Requester { user: user.unwrap_or_else(|| person.clone()), person: person.clone() })
            }
            (None, Some(user)) => Ok(Requester { person: user.clone(), user }),
            (None, None) => Err(Failure::Misuse(
                "the requester is not known without a cluster; pass --requested-by PERSON".to_owned(),
            )),
        }
    }
}

/// The user name by which the API server knows the caller (KEP-3325).
fn who_am_i(cluster: &Cluster) -> Result<String, Failure> {
    let reviews: Api<SelfSubjectReview> = Api::all(cluster.client.clone());
    let review = cluster.ask(
        "ask for your user name (selfsubjectreviews.authentication.k8s.io)",
        reviews.create(&PostParams::default(), &SelfSubjectReview::default()),
    )?;
    let user = review.status.and_then(|status| status.user_info).and_then(|user| user.username);
    user.ok_or_else(|| {
        Failure::Undetermined("the cluster does not say who you are; pass --requested-by PERSON".to_owned())
    })
}

/// A workload that requires an approval.
struct UnapprovedWorkload<'m> {
    manifest: &'m Manifest,
    namespace: String,
    runs: Option<Value>,
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

fn from_manifests(
    arguments: &Arguments,
    decider: &Decider<'_>,
    requester: &Requester,
) -> Result<Option<RequestFile>, Failure> {
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
        return Ok(None);
    }
    let group = only_group(required, arguments.action)?;
    Ok(Some(group.request(arguments, decider, requester, not_needed)?))
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
    let replaced = runs.as_ref().filter(|_| !manifest.is_recreated());
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
    Ok(ApprovalNeed::Required(Box::new(UnapprovedWorkload { manifest, namespace, runs, decision: unapproved })))
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
struct ApprovalScope {
    environment: String,
    project: String,
    action: Action,
    /// The bound annotations: an approval binds one value of each.
    claims: Vec<(&'static str, Option<String>)>,
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
        let mut subjects = BTreeSet::new();
        for one in &required {
            let workload = one.requested()?;
            if !subjects.insert(workload.subject.clone()) {
                return Err(Failure::Misuse(format!("{} appears twice; remove one", one.manifest)));
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
fn request_file(
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
    Ok(RequestFile {
        api_version: REQUEST_FILE_API_VERSION.to_owned(),
        kind: REQUEST_FILE_KIND.to_owned(),
        requested_by: requester.person.clone(),
        reason: arguments.reason.clone(),
        requested_at: clock::now(),
        cluster: posture.cluster.clone(),
        capabilities: required_capabilities(posture, Some(action), break_glass, records.iter().copied()),
        environment,
        project,
        action,
        break_glass,
        workloads,
        not_needed: Vec::new(),
    })
}

/// Prints the request in short, and the next step.
fn report(file: &RequestFile, arguments: &Arguments) {
    let rows: Vec<[String; 3]> = file
        .workloads
        .iter()
        .map(|workload| {
            let hash = workload.spec_hash.to_string();
            let runs = match (&workload.object, &workload.runs) {
                (None, _) => "not in the file: the reviewer adds the manifest",
                (_, Some(_)) => "update",
                (_, None) if arguments.decider.postures.posture_dir.is_some() => "not known: no cluster was contacted",
                (_, None) => "new",
            };
            [shown(&workload.subject), hash.get(..SHORT_HASH).unwrap_or(&hash).to_owned(), runs.to_owned()]
        })
        .collect();
    let cluster = file.cluster.as_ref().map(|cluster| format!(" (cluster {})", shown(cluster))).unwrap_or_default();
    let needed = file.capabilities.iter().map(|one| format!("{} ({})", one.capability, one.because.join("; ")));
    let facts = columns([
        ("requested by", shown(&file.requested_by)),
        ("reason", file.reason.as_deref().map(shown).unwrap_or_default()),
        ("action", if file.break_glass { format!("{} (break-glass)", file.action) } else { file.action.to_string() }),
        ("environment", format!("{}{cluster}", shown(&file.environment))),
        ("project", shown(&file.project)),
        ("capabilities", shown(&needed.collect::<Vec<_>>().join(", "))),
    ]);
    let request = arguments.output.as_ref().map_or("REQUEST".to_owned(), |path| shown(&path.display().to_string()));
    output::note_styled(&format!(
        "{}\n{facts}{}\nnext: a reviewer runs: kubectl writgate approve -f {request} --key KEY -o approval.json",
        style::heading("Request for one approval"),
        table(["WORKLOAD", "SPEC HASH", "CHANGE"], &rows)
    ));
}
