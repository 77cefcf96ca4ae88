//! What the cluster has: requests with their states, and denials. A thread reads it again and again while a session is open, so
//! that a page answers at once, and only one reader loads the API server however many pages are open.

use std::{
    collections::HashMap,
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::sync::watch;
use writgate_cluster::clock;

use crate::{
    approval::request_state::{RequestState, StateReader},
    cluster::{
        event_reader::EventReader,
        gitops_denials,
        posted::{Posted, RequestStore, Unreadable},
    },
    command::{
        pending::{self, PendingApproval},
        request::list::MAX_STATES,
    },
    console::{Console, Shared},
    failure::Failure,
};

/// The shortest time between two readings.
const PAUSE: Duration = Duration::from_secs(5);
/// The pause after a reading is at least this many times as long as the reading, so that a slow cluster is not read all the time.
const SHARE: u32 = 4;
/// States after which the first reading is shown as far as it has come.
const STEP: usize = 20;

/// What was read, and when.
#[derive(Clone, Default)]
pub(crate) struct Snapshot {
    /// Grows with each change.
    pub(super) version: u64,
    /// When the cluster was read; absent before the first reading.
    pub(super) read: Option<Timestamp>,
    /// Why the last reading failed. Everything else is of the reading before.
    pub(super) failure: Option<String>,
    /// The newest first.
    pub(super) requests: Vec<SeenRequest>,
    /// Denied changes for which no request is posted.
    pub(super) denied: Vec<PendingApproval>,
    /// Why denials are not known.
    pub(super) no_denials: Option<String>,
    /// Which denials that Flux and Argo CD report are not known.
    pub(super) left_out: Vec<String>,
    pub(super) unreadable: Vec<Unreadable>,
    /// Whether there are more requests.
    pub(super) is_cut: bool,
}

/// A request and its state; absent until it was computed.
#[derive(Clone)]
pub(super) struct SeenRequest {
    pub(super) posted: Posted,
    pub(super) state: Option<RequestState>,
}

/// The newest snapshot, and the means to wait for the next.
#[derive(Default)]
pub(super) struct Snapshots {
    current: watch::Sender<Arc<Snapshot>>,
    is_wanted: Mutex<bool>,
    wanted: Condvar,
}

impl Snapshots {
    pub(super) fn current(&self) -> Arc<Snapshot> {
        Arc::clone(&self.current.borrow())
    }

    /// Waits for a version after `version`, for at most `patience`.
    pub(super) async fn after(&self, version: u64, patience: Duration) -> Arc<Snapshot> {
        let mut receiver = self.current.subscribe();
        // The time-out and a console that ends leave the current version.
        let _ = tokio::time::timeout(patience, receiver.wait_for(|snapshot| snapshot.version > version)).await;
        self.current()
    }

    /// Has the cluster read again at once.
    pub(super) fn wake(&self) {
        *self.is_wanted.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.wanted.notify_all();
    }

    /// Waits until somebody calls [`Snapshots::wake`], for at most `most`.
    fn pause(&self, most: Option<Duration>) {
        let guard = self.is_wanted.lock().unwrap_or_else(PoisonError::into_inner);
        let mut guard = match most {
            Some(most) => {
                self.wanted
                    .wait_timeout_while(guard, most, |is_wanted| !*is_wanted)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
            }
            None => self.wanted.wait_while(guard, |is_wanted| !*is_wanted).unwrap_or_else(PoisonError::into_inner),
        };
        *guard = false;
    }

    /// Shows `next`, if it differs from the current snapshot.
    pub(super) fn publish(&self, mut next: Snapshot) {
        self.current.send_modify(|current| {
            next.version = if next.same(current) { current.version } else { current.version + 1 };
            *current = Arc::new(next);
        });
    }
}

impl Snapshot {
    /// Whether a request may have a rejection that its state leaves out.
    pub(super) fn has_unread_rejections(&self) -> bool {
        self.requests.iter().filter_map(|seen| seen.state.as_ref()).any(|state| state.has_unread_rejections)
    }

    /// Whether both show the same, except for the time.
    fn same(&self, other: &Self) -> bool {
        let states = |snapshot: &Self| -> Vec<(String, String, Option<RequestState>)> {
            let one =
                |seen: &SeenRequest| (seen.posted.namespace.clone(), seen.posted.name.clone(), seen.state.clone());
            snapshot.requests.iter().map(one).collect()
        };
        self.read.is_some() == other.read.is_some()
            && self.failure == other.failure
            && self.denied == other.denied
            && self.no_denials == other.no_denials
            && self.left_out == other.left_out
            && self.is_cut == other.is_cut
            && self.unreadable.len() == other.unreadable.len()
            && states(self) == states(other)
    }
}

/// Starts the thread. It ends with the program.
pub(super) fn start(console: &Shared) {
    let console = Shared::clone(console);
    thread::spawn(move || {
        loop {
            if !console.session.is_open() {
                console.snapshots.pause(None);
                continue;
            }
            let started = Instant::now();
            if let Err(failure) = read(&console) {
                let last = Snapshot::clone(&console.snapshots.current());
                console.snapshots.publish(Snapshot { failure: Some(failure.to_string()), ..last });
            }
            console.snapshots.pause(Some(PAUSE.max(started.elapsed() * SHARE)));
        }
    });
}

/// Reads everything once. The first reading is shown as far as it has come.
fn read(console: &Console) -> Result<(), Failure> {
    let last = console.snapshots.current();
    let cluster = console.connect()?;
    let scope = &console.settings.scope;
    let listed = RequestStore { cluster: &cluster }.list(scope)?;
    let known: HashMap<_, _> =
        last.requests.iter().map(|seen| ((&*seen.posted.namespace, &*seen.posted.name), &seen.state)).collect();
    let seen = |posted: Posted| {
        let state = known.get(&(&*posted.namespace, &*posted.name)).and_then(|state| (*state).clone());
        SeenRequest { posted, state }
    };
    let mut next = Snapshot {
        version: last.version,
        read: Some(clock::now()),
        failure: None,
        requests: listed.posted.into_iter().rev().map(seen).collect(),
        denied: last.denied.clone(),
        no_denials: last.no_denials.clone(),
        left_out: last.left_out.clone(),
        unreadable: listed.unreadable,
        is_cut: listed.cut,
    };
    let kinds = &console.settings.kinds;
    let reader = StateReader::new(&cluster, &console.postures(), kinds.clone().into());
    for index in 0..next.requests.len() {
        if index % STEP == 0 {
            console.snapshots.publish(next.clone());
        }
        let Some(seen) = next.requests.get_mut(index) else { break };
        seen.state = Some(if index < MAX_STATES {
            reader.state(&seen.posted)
        } else {
            RequestState::unknown("not computed, because there are too many requests")
        });
    }
    match EventReader::new(&cluster, scope.clone()).list() {
        Ok((events, _)) => {
            let requested = next.requests.iter().rev();
            let requested = requested.filter_map(|seen| Some((seen.posted.clone(), seen.state.clone()?))).collect();
            let reported = gitops_denials::list(&cluster, scope);
            next.left_out = reported.notes;
            let pending = pending::unmet(events, requested, reported.denials, kinds, &cluster);
            next.denied = pending.into_iter().filter(|one| one.request.is_none()).collect();
            next.no_denials = None;
        }
        // The requests are of use without the denials.
        Err(failure) => next.no_denials = Some(failure.to_string()),
    }
    next.read = Some(clock::now());
    console.snapshots.publish(next);
    Ok(())
}
