//! `pending`: changes that lack an approval and that are still wanted: those that were denied, and those for which a request
//! is posted.
//!
//! Denials come from Events, which expire after an hour, and from the status of objects of Flux and Argo CD. Requests come from
//! ConfigMaps, and `request_state` computes who must still sign.

use std::collections::BTreeMap;

use clap::ValueEnum;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;
use writgate_core::{
    approval::{SpecHash, Subject, spec_hash},
    kube::WorkloadKind,
    record::{DecisionRecord, ObjectRecord, Outcome, Reason},
};

use crate::{
    approval::request_state::{RequestState, RequestVerdict, StateReader},
    cluster::{
        Cluster, ClusterFlags,
        event_reader::{EventReader, NamespaceScope, NamespaceScopeFlags, ReportedEvent},
        gitops_denials::{self, DenialReport, ReportedDenial},
        posted::{Posted, RequestStore},
    },
    command::request::list,
    failure::{Answer, Failure},
    manifest::{self, input},
    postures::PostureSourceFlags,
    terminal::{
        output::{self, columns, shown},
        style,
    },
};

/// List denied and requested changes that still lack an approval
///
/// Reads denials from Events, which expire after an hour, and posted requests. Also reads the denials that Flux and Argo CD
/// report in the status of their objects, if you may list these. Leaves out what was admitted since or is live by now. Says
/// who wants a change, since when and how often, what it lacks, who has signed a request and who still must, and which
/// command is next. Exits with 1 if nothing is pending.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  kubectl writgate pending -n payments
  kubectl writgate pending -A -o json")]
pub(crate) struct Arguments {
    #[command(flatten)]
    scope: NamespaceScopeFlags,
    #[command(flatten)]
    kinds: input::WorkloadKindFlags,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    cluster: ClusterFlags,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people; may change between versions
    #[default]
    Text,
    /// For programs; stable
    Json,
    /// For programs, in YAML; stable
    Yaml,
}

/// A spec that somebody wants to run. Stable: other programs read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PendingApproval {
    pub(crate) object: ObjectRecord,
    pub(crate) spec_hash: SpecHash,
    pub(crate) environment: Option<String>,
    pub(crate) project: Option<String>,
    pub(crate) action: Option<String>,
    /// API users, sorted by name.
    pub(crate) by: Vec<String>,
    /// The first denial whose Event still exists; without one, when the spec was requested, or reported as denied.
    pub(crate) since: Timestamp,
    pub(crate) last: Timestamp,
    /// Denials whose Events still exist.
    pub(crate) times: i64,
    /// The reason codes of the latest denial.
    pub(crate) reasons: Vec<String>,
    pub(crate) required_capabilities: Vec<String>,
    /// The posted request for this spec; absent if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) request: Option<PendingRequest>,
    /// The objects of Flux and Argo CD whose status says that the webhook has denied this spec. Claims, which nothing verifies.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) reported_by: Vec<DenialReport>,
    pub(crate) next: String,
    /// Whether the object will be deleted and created again, so that a live object with this spec changes nothing.
    #[serde(skip)]
    pub(crate) is_recreated: bool,
}

/// A posted request and its state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PendingRequest {
    name: String,
    #[serde(flatten)]
    state: RequestState,
}

/// The Events about one spec of one object.
#[derive(Clone, Debug, Default)]
struct DenialHistory {
    denials: Vec<(Timestamp, i32, DecisionRecord)>,
    admitted: Option<Timestamp>,
}

type PendingKey = (String, String, String, SpecHash);

pub(crate) fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    let cluster = arguments.cluster.connect()?;
    let scope = arguments.scope.of(&cluster)?;
    let mut reader = EventReader::new(&cluster, scope.clone());
    let (events, _) = reader.list()?;
    let requested = requested(arguments, &cluster, &scope).unwrap_or_else(|failure| {
        output::note(&format!("posted requests are left out: {failure}"));
        Vec::new()
    });
    let reported = gitops_denials::list(&cluster, &scope);
    reported.notes.iter().for_each(|note| output::note(note));
    let pending = unmet(events, requested, reported.denials, &arguments.kinds, &cluster);
    print(&pending, arguments.output, &reader.place())?;
    Ok(Answer::of(!pending.is_empty()))
}

/// A posted request with its state.
pub(crate) type RequestedChange = (Posted, RequestState);

/// The denied and the requested changes that lack an approval, and whose specs are not live.
pub(crate) fn unmet(
    events: Vec<ReportedEvent>,
    requested: Vec<RequestedChange>,
    reported: Vec<ReportedDenial>,
    kinds: &input::WorkloadKindFlags,
    cluster: &Cluster,
) -> Vec<PendingApproval> {
    let mut wanted = pending_of(events);
    add(&mut wanted, requested);
    add_reported(&mut wanted, reported, kinds);
    wanted.sort_by_key(|wanted| wanted.since);
    wanted.retain(|wanted| wanted.is_recreated || !is_live(wanted, kinds, cluster));
    wanted
}

/// The posted requests that are neither expired nor live.
fn requested(
    arguments: &Arguments,
    cluster: &Cluster,
    scope: &NamespaceScope,
) -> Result<Vec<RequestedChange>, Failure> {
    let listed = RequestStore { cluster }.list(scope)?;
    list::note_unreadable(&listed);
    let flags = PostureSourceFlags { posture_dir: None, cluster: arguments.cluster.clone() };
    let reader = StateReader::new(cluster, &flags, arguments.kinds.clone().into());
    let states = list::states(&reader, &listed.posted);
    let is_open = |state: &RequestState| !matches!(state.state, RequestVerdict::Live | RequestVerdict::Expired);
    Ok(listed.posted.into_iter().zip(states).filter(|(_, state)| is_open(state)).collect())
}

/// Adds each requested workload: to the denial of the same spec, or as an entry of its own.
fn add(wanted: &mut Vec<PendingApproval>, requested: Vec<RequestedChange>) {
    for (posted, state) in requested {
        let file = &posted.request.file;
        for workload in &file.workloads {
            let Some(object) = object_of(&workload.subject) else { continue };
            let request = PendingRequest { name: posted.name.clone(), state: state.clone() };
            let next = match state.state {
                RequestVerdict::Approved => "kubectl apply -f FILE".to_owned(),
                _ => format!("kubectl writgate approve {} -n {} --key KEY", posted.name, posted.namespace),
            };
            let is_same =
                |known: &&mut PendingApproval| known.spec_hash == workload.spec_hash && is_same(&known.object, &object);
            // Whoever posts a request decides what it claims, so a claim must not take the place of another entry.
            let is_credible = !matches!(state.state, RequestVerdict::Refused | RequestVerdict::Unknown);
            if let Some(denied) = wanted.iter_mut().filter(|known| is_credible && known.request.is_none()).find(is_same)
            {
                (denied.request, denied.next, denied.is_recreated) = (Some(request), next, workload.recreate);
                continue;
            }
            wanted.push(PendingApproval {
                object,
                spec_hash: workload.spec_hash,
                environment: Some(file.environment.clone()),
                project: Some(file.project.clone()),
                action: Some(file.action.to_string()),
                by: vec![file.requested_by.clone()],
                since: posted.created,
                last: posted.created,
                times: 0,
                reasons: Vec::new(),
                required_capabilities: file.capabilities.iter().map(|one| one.capability.clone()).collect(),
                request: Some(request),
                reported_by: Vec::new(),
                next,
                is_recreated: workload.recreate,
            });
        }
    }
}

/// Adds each denial that Flux or Argo CD reports: to the entry of the same spec, or as an entry of its own. A report is a
/// claim, so it changes nothing else of an entry.
fn add_reported(wanted: &mut Vec<PendingApproval>, reported: Vec<ReportedDenial>, kinds: &input::WorkloadKindFlags) {
    for denial in reported {
        let ReportedDenial { kind, namespace, name, spec_hash, action, environment, report } = denial;
        let object = ObjectRecord { api_version: api_version(&kind, kinds), kind, name, namespace, uid: None };
        let mut known = wanted.iter_mut();
        if let Some(same) = known.find(|known| known.spec_hash == spec_hash && is_same(&known.object, &object)) {
            same.reported_by.push(report);
            continue;
        }
        wanted.push(PendingApproval {
            next: next(&object),
            object,
            spec_hash,
            environment,
            project: None,
            action: action.map(|action| action.to_string()),
            by: Vec::new(),
            since: report.since,
            last: report.since,
            times: 0,
            reasons: report.reasons.clone(),
            required_capabilities: Vec::new(),
            request: None,
            reported_by: vec![report],
            is_recreated: false,
        });
    }
}

/// The API version of a kind, which the text of a denial does not say; empty if the kind is not known.
fn api_version(kind: &str, kinds: &input::WorkloadKindFlags) -> String {
    let mut known = WorkloadKind::ALL.iter().chain(kinds.further());
    let found = known.find(|known| known.kind() == kind).map(|known| known.api_version());
    found.or((kind == "Pod").then_some("v1")).unwrap_or_default().to_owned()
}

/// `apps/v1/Deployment/payments/orders`
fn object_of(subject: &str) -> Option<ObjectRecord> {
    let [api_version, kind, namespace, name] = Subject::parts(subject)?.map(str::to_owned);
    Some(ObjectRecord { api_version, kind, name, namespace, uid: None })
}

fn is_same(one: &ObjectRecord, other: &ObjectRecord) -> bool {
    one.kind == other.kind && one.namespace == other.namespace && one.name == other.name
}

/// Specs that were denied because they lack an approval and not admitted since, the oldest first.
fn pending_of(events: Vec<ReportedEvent>) -> Vec<PendingApproval> {
    let mut histories: BTreeMap<PendingKey, DenialHistory> = BTreeMap::new();
    for event in events {
        let record = match event.record {
            Ok(record) => record,
            Err(why) => {
                output::note(&format!("cannot read {}: {why}", event.name));
                continue;
            }
        };
        let (Some(object), Some(hash)) = (&record.object, record.spec_hash) else { continue };
        let history =
            histories.entry((object.kind.clone(), object.namespace.clone(), object.name.clone(), hash)).or_default();
        match record.decision {
            Outcome::Denied
                if record.reasons.iter().any(|code| Reason::from_code(code).is_some_and(Reason::approval_helps)) =>
            {
                history.denials.push((event.last, event.times, record));
            }
            Outcome::Admitted if !event.not_persisted => history.admitted = history.admitted.max(Some(event.last)),
            _ => {}
        }
    }
    let mut wanted: Vec<PendingApproval> = histories.into_values().filter_map(DenialHistory::pending).collect();
    wanted.sort_by_key(|wanted| wanted.since);
    wanted
}

impl DenialHistory {
    fn pending(mut self) -> Option<PendingApproval> {
        self.denials.retain(|(last, ..)| self.admitted.is_none_or(|admitted| admitted < *last));
        self.denials.sort_by_key(|(last, ..)| *last);
        let mut by: Vec<String> = self.denials.iter().filter_map(|(_, _, record)| initiator(record)).collect();
        by.sort_unstable();
        by.dedup();
        let since = self.denials.iter().map(|(_, _, record)| record.time).min()?;
        let times = self.denials.iter().map(|(_, times, _)| i64::from(*times)).sum();
        let (last, _, record) = self.denials.pop()?;
        let action = Some(record.deed().to_owned()).filter(|action| !action.is_empty());
        let object = record.object?;
        Some(PendingApproval {
            next: next(&object),
            spec_hash: record.spec_hash?,
            object,
            environment: record.environment,
            project: record.project,
            action,
            by,
            since,
            last,
            times,
            reasons: record.reasons,
            required_capabilities: record.required_capabilities,
            request: None,
            reported_by: Vec::new(),
            is_recreated: false,
        })
    }
}

fn initiator(record: &DecisionRecord) -> Option<String> {
    record.initiator.as_ref().map(|initiator| initiator.username.clone())
}

/// The next step, as in a denial. FILE is the operator's.
fn next(object: &ObjectRecord) -> String {
    format!("kubectl writgate request -f FILE -n {}", shown(&object.namespace))
}

/// Whether the spec is live by now. What cannot be read counts as pending, with a note.
fn is_live(wanted: &PendingApproval, kinds: &input::WorkloadKindFlags, cluster: &Cluster) -> bool {
    let ObjectRecord { api_version, kind, namespace, name, .. } = &wanted.object;
    if api_version.is_empty() {
        return false;
    }
    let text = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}}).to_string();
    let live = || -> Result<bool, Failure> {
        let manifests = manifest::read("the object of a denial or a request", &text, &kinds.known())?;
        let Some((manifest, workload)) = manifests.first().and_then(|manifest| Some((manifest, manifest.workload()?)))
        else {
            return Ok(false);
        };
        let live = cluster.live(manifest, namespace)?;
        Ok(live.is_some_and(|live| {
            spec_hash(workload, &live["spec"].to_string()).is_ok_and(|hash| hash == wanted.spec_hash)
        }))
    };
    live().unwrap_or_else(|failure| {
        output::note(&format!("counted as pending: {failure}"));
        false
    })
}

fn print(pending: &[PendingApproval], format: Format, place: &str) -> Result<(), Failure> {
    match format {
        Format::Json => output::print_json(&pending),
        Format::Yaml => {
            let text = serde_saphyr::to_string(&pending)
                .map_err(|error| Failure::Undetermined(format!("cannot write YAML: {error}")))?;
            output::print(&text)
        }
        Format::Text if pending.is_empty() => {
            output::note(&format!(
                "nothing is pending in {place}, according to posted requests and Events, which expire after an hour"
            ));
            Ok(())
        }
        Format::Text => output::print(&pending.iter().map(text).collect::<Vec<_>>().join("\n")),
    }
}

fn text(wanted: &PendingApproval) -> String {
    let PendingApproval { object, environment, project, .. } = wanted;
    let place: Vec<&str> = [environment, project].into_iter().flatten().map(String::as_str).collect();
    let what = format!("{} {}/{}", object.kind, object.namespace, object.name);
    let times = if wanted.times == 1 { "once".to_owned() } else { format!("{} times", wanted.times) };
    let since = wanted.since.strftime("%Y-%m-%dT%H:%M:%SZ");
    let last = wanted.last.strftime("%Y-%m-%dT%H:%M:%SZ");
    let seen = if wanted.times <= 1 { format!("{times}, {since}") } else { format!("{times}, {since} to {last}") };
    let is_denied = wanted.times > 0;
    let request = wanted.request.as_ref();
    let by: Vec<String> = wanted.by.iter().map(|name| person(name)).collect();
    let rows = [
        ("where", shown(&place.join("/"))),
        ("denied", if is_denied { seen } else { String::new() }),
        ("requested", if is_denied || request.is_none() { String::new() } else { since.to_string() }),
        ("reported by", reported_by(wanted)),
        ("by", by.join(", ")),
        ("lacks", style::bad(&shown(&wanted.reasons.join(", ")))),
        ("requires", shown(&wanted.required_capabilities.join(", "))),
        ("spec hash", wanted.spec_hash.to_string()),
        ("request", request.map(|request| shown(&request.name)).unwrap_or_default()),
        ("state", request.map(|request| request.state.text()).unwrap_or_default()),
        ("next", wanted.next.clone()),
    ];
    format!("{}\n{}", style::heading(&shown(&what)), columns(rows))
}

/// Each object whose status reports the denial, with its reasons if they differ from those of the entry.
pub(crate) fn reported_by(wanted: &PendingApproval) -> String {
    let one = |report: &DenialReport| {
        let codes =
            if report.reasons == wanted.reasons { String::new() } else { format!(": {}", report.reasons.join(", ")) };
        format!("{} since {}{codes}", report.source(), report.since.strftime("%Y-%m-%dT%H:%M:%SZ"))
    };
    wanted.reported_by.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// A GitOps controller acts for somebody whom it does not name.
pub(crate) fn person(name: &str) -> String {
    let account = name.strip_prefix("system:serviceaccount:").and_then(|account| account.split_once(':'));
    match account {
        Some((namespace, account)) => {
            format!(
                "service account {}/{} (on behalf of somebody that it does not name)",
                shown(namespace),
                shown(account)
            )
        }
        None => shown(name),
    }
}

#[cfg(test)]
mod tests;
