//! `request --wait` and `--apply`: waits until posted requests are approved, and applies their manifests.

use std::{
    collections::BTreeMap,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{
    approval::request_state::{RequestState, RequestVerdict, StateReader},
    cluster::{
        Cluster,
        posted::{Posted, RequestStore},
    },
    command::request::Arguments,
    failure::{Answer, Failure},
    terminal::output::{self, shown},
};

/// How often the cluster is asked.
const INTERVAL: Duration = Duration::from_secs(2);
/// How many failures in a row end the wait. An API server that restarts is unavailable for less than a minute.
const MAX_FAILURES: usize = 30;

/// Waits until every request is approved. Fails as soon as one is rejected, expired or gone.
pub(super) fn run(arguments: &Arguments, cluster: &Cluster, posted: &[Posted]) -> Result<Answer, Failure> {
    let limit = arguments.wait.flatten().map(|limit| (Instant::now() + limit, limit));
    let mut said: BTreeMap<&str, String> = BTreeMap::new();
    let mut waiting: Vec<&Posted> = posted.iter().collect();
    let mut failures = 0;
    loop {
        let mut still_waiting = Vec::new();
        for one in waiting {
            let state = state(arguments, cluster, one)?;
            let text = state.text();
            if said.get(&*one.name) != Some(&text) {
                output::note(&format!("{}: {text}", one.name));
                said.insert(&one.name, text);
            }
            failures = if state.state == RequestVerdict::Unknown { failures + 1 } else { 0 };
            if !is_admissible(one, &state, failures)? {
                still_waiting.push(one);
            }
        }
        waiting = still_waiting;
        if waiting.is_empty() {
            return if arguments.apply { apply(arguments) } else { Ok(Answer::Yes) };
        }
        if let Some((end, limit)) = limit
            && Instant::now() + INTERVAL > end
        {
            let names: Vec<&str> = waiting.iter().map(|one| &*one.name).collect();
            return Err(Failure::Undetermined(format!(
                "not approved within {limit:?}: {}; the request stays posted, and the same command waits again",
                names.join(", ")
            )));
        }
        thread::sleep(INTERVAL);
    }
}

/// Whether the webhook would admit the workloads of the request. Fails if it never will.
fn is_admissible(posted: &Posted, state: &RequestState, failures: usize) -> Result<bool, Failure> {
    let refused = |why: &str| Err(Failure::No(format!("request {} {why}", posted.name)));
    match state.state {
        RequestVerdict::Approved | RequestVerdict::Live => Ok(true),
        RequestVerdict::Unknown if failures >= MAX_FAILURES => Err(Failure::Undetermined(format!(
            "cannot determine the state of request {}: {}",
            posted.name,
            state.text()
        ))),
        RequestVerdict::Waiting | RequestVerdict::Unknown => Ok(false),
        RequestVerdict::Rejected => refused(&format!("was {}", state.text())),
        RequestVerdict::Expired => refused("has expired; request it again"),
        RequestVerdict::Refused => refused(&state.text()),
    }
}

/// The state of a request. Fails if the request is gone before it was approved.
fn state(arguments: &Arguments, cluster: &Cluster, posted: &Posted) -> Result<RequestState, Failure> {
    let state = StateReader::new(cluster, &arguments.decider.postures, arguments.decider.reading.clone()).state(posted);
    if matches!(state.state, RequestVerdict::Approved | RequestVerdict::Live | RequestVerdict::Unknown) {
        return Ok(state);
    }
    let found = RequestStore { cluster }.find(&posted.namespace, &posted.name);
    match found {
        Ok(Some(_)) => Ok(state),
        Ok(None) => Err(Failure::No(format!(
            "request {} is gone: it was cancelled or has expired; request it again",
            posted.name
        ))),
        Err(Failure::Undetermined(why)) => Ok(RequestState::unknown(&why)),
        Err(failure) => Err(failure),
    }
}

/// Runs `kubectl apply` with the files of the command line.
pub(super) fn apply(arguments: &Arguments) -> Result<Answer, Failure> {
    let mut command = Command::new("kubectl");
    command.arg("apply").args(arguments.decider.postures.cluster.kubectl_flags());
    for path in &arguments.filename {
        command.arg("-f").arg(path);
    }
    if let Some(namespace) = &arguments.namespace.namespace {
        command.arg("-n").arg(namespace);
    }
    if arguments.decider.reading.is_recursive() {
        command.arg("-R");
    }
    let status = command.stdin(Stdio::null()).status().map_err(|error| {
        Failure::Undetermined(format!(
            "cannot run kubectl: {error}; put it on the PATH, or apply the manifests without --apply"
        ))
    })?;
    match status.code() {
        Some(0) => Ok(Answer::Yes),
        Some(code) => Err(Failure::No(format!("kubectl apply failed with exit code {}", shown(&code.to_string())))),
        None => Err(Failure::Undetermined("kubectl apply was stopped by a signal".to_owned())),
    }
}
