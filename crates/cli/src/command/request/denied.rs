//! A request from a recent denial, as the webhook's Events say.
//!
//! One `kubectl apply` of a release is denied once for each workload, so the denials of the same minute belong
//! together. An Event contains no spec. With manifests, the denied workloads are taken from them. Without manifests,
//! the request contains only hashes, and the reviewer needs the manifests from elsewhere.

use jiff::{SignedDuration, Timestamp};
use writgate_cluster::names;
use writgate_core::{
    approval::{Action, RequestFile, RequestedWorkload},
    record::{DecisionRecord, ObjectRecord, Outcome},
};

use crate::{
    approval::decider::Decider,
    cluster::{
        Cluster,
        event_reader::{EventReader, NamespaceScope},
    },
    command::request::{
        Arguments, Requester,
        collect::{ApprovalScope, Split, from_manifests, request_file},
    },
    failure::Failure,
    terminal::output::shown,
};

/// Denials within this time belong to one attempt.
const ATTEMPT: SignedDuration = SignedDuration::from_mins(1);

/// Requests approval for the most recent denial: of the object `KIND/NAME`, or, if that is empty, of the requester.
pub(super) fn request(
    arguments: &Arguments,
    object: &str,
    cluster: &Cluster,
    decider: &Decider<'_>,
    requester: &Requester,
) -> Result<Vec<RequestFile>, Failure> {
    let namespace = arguments.namespace.namespace.as_ref().unwrap_or(&cluster.namespace);
    if !names::is_label(namespace) {
        return Err(Failure::Misuse(format!("{} is not a valid namespace name", shown(namespace))));
    }
    let denied = last_denied(cluster, namespace, object, requester)?;
    if arguments.filename.is_empty() {
        return of_records(arguments, &denied, decider, requester).map(|file| vec![file]);
    }
    // The denials are of one namespace.
    let files = from_manifests(arguments, decider, requester, Split::No)?;
    files.into_iter().map(|file| only_denied(file, &denied)).collect()
}

/// The denials of the last attempt, one for each object.
fn last_denied(
    cluster: &Cluster,
    namespace: &str,
    object: &str,
    requester: &Requester,
) -> Result<Vec<DecisionRecord>, Failure> {
    let (events, _) = EventReader::new(cluster, NamespaceScope::Namespace(namespace.to_owned())).list()?;
    let mut denied: Vec<(Timestamp, DecisionRecord)> = events
        .into_iter()
        .filter_map(|events| Some((events.last, events.record.ok()?)))
        .filter(|(_, record)| {
            record.decision == Outcome::Denied && record.action.is_some() && record.spec_hash.is_some()
        })
        .filter(|(_, record)| if object.is_empty() { is_by(record, &requester.user) } else { is_about(record, object) })
        .collect();
    denied.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    let Some((newest, _)) = denied.first() else {
        let whose =
            if object.is_empty() { format!("of {}", shown(&requester.user)) } else { format!("of {}", shown(object)) };
        return Err(Failure::Undetermined(format!(
            "no denial {whose} found in namespace {namespace}; Events expire after an hour, and -n selects another namespace"
        )));
    };
    let since = newest.checked_sub(ATTEMPT).unwrap_or(Timestamp::MIN);
    let mut last: Vec<DecisionRecord> = Vec::new();
    for (_, record) in denied.into_iter().filter(|(at, _)| *at >= since) {
        if last.iter().all(|other| subject(other) != subject(&record)) {
            last.push(record);
        }
    }
    Ok(last)
}

fn is_by(record: &DecisionRecord, user: &str) -> bool {
    record.initiator.as_ref().is_some_and(|initiator| initiator.username == user)
}

fn is_about(record: &DecisionRecord, object: &str) -> bool {
    let found = record.object.as_ref().map(|found| format!("{}/{}", found.kind, found.name));
    found.is_some_and(|found| found.eq_ignore_ascii_case(object))
}

fn subject(record: &DecisionRecord) -> String {
    record.object.as_ref().map(ObjectRecord::subject).unwrap_or_default()
}

/// Reduces `file` to what was denied. Fails if a denied workload is missing or differs.
fn only_denied(mut file: RequestFile, denied: &[DecisionRecord]) -> Result<RequestFile, Failure> {
    for record in denied {
        let name = subject(record);
        let Some(found) = file.workloads.iter().find(|workload| workload.subject == name) else {
            return Err(Failure::No(format!("{} was denied, but is not in the manifests", shown(&name))));
        };
        if Some(found.spec_hash) != record.spec_hash {
            let hash = record.spec_hash.map(|hash| hash.to_string()).unwrap_or_default();
            return Err(Failure::No(format!(
                "{}: the manifest differs from what was denied\n  denied    {hash}\n  manifest  {}\nomit --denial to request \
                 approval for the manifest",
                shown(&name),
                found.spec_hash
            )));
        }
    }
    file.workloads.retain(|workload| denied.iter().any(|record| subject(record) == workload.subject));
    Ok(file)
}

fn of_records(
    arguments: &Arguments,
    denied: &[DecisionRecord],
    decider: &Decider<'_>,
    requester: &Requester,
) -> Result<RequestFile, Failure> {
    let scope_of = |record: &DecisionRecord| (record.environment.clone(), record.project.clone(), record.action);
    let (environment, project, action) = denied.first().map(scope_of).unwrap_or_default();
    if let Some(other) = denied.iter().find(|record| scope_of(record) != (environment.clone(), project.clone(), action))
    {
        return Err(Failure::Misuse(format!(
            "{} was denied too, for another environment, project or action; select one with --denial=KIND/NAME",
            shown(&subject(other))
        )));
    }
    let scope = ApprovalScope {
        environment: environment.unwrap_or_default(),
        project: project.unwrap_or_default(),
        action: action.unwrap_or(Action::Deploy),
        claims: Vec::new(), // An Event contains no annotations.
    };
    let records: Vec<&DecisionRecord> = denied.iter().collect();
    let workload = |record: &DecisionRecord| {
        Some(RequestedWorkload {
            namespace: record.object.as_ref()?.namespace.clone(),
            spec_hash: record.spec_hash?,
            object: None,
            recreate: false,
            subject: subject(record),
            runs: None,
        })
    };
    let workloads = denied.iter().filter_map(workload).collect();
    request_file(arguments, decider, requester, scope, &records, workloads)
}
