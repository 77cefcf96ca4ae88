//! Lists and watches one kind in the cluster, and feeds a [`Follower`].
//!
//! kube's `watcher` does not report the quiet end of a watch. It proves that a cache in which nothing changes is still fresh,
//! so this file has a loop of its own. An event proves nothing: it may have waited in a buffer.

use std::fmt::Debug;
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _};
use kube::api::{Api, WatchEvent, WatchParams};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep, timeout};
use writgate_cluster::bounded_request::{self, RequestError};
use writgate_cluster::pages::{FIRST_OBJECTS, Pages};

use crate::metrics::{Metrics, Watched};

/// How long one watch lasts. Its end proves that the cache is fresh, well before the store counts as stale.
const WATCH_SECONDS: u32 = 20;
/// How long after [`WATCH_SECONDS`] the end of the watch may take to arrive. After that the connection counts as dead: a peer
/// that disappears without a reset sends nothing at all.
const GRACE: Duration = Duration::from_secs(5);
/// How long the API server may take for a list, or to open a watch.
const ANSWER: Duration = Duration::from_secs(15);
/// Pauses after failures, doubled up to the longest. They are short, so that a restart of the API server costs little time.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A state that a watch feeds.
pub trait Follower<K> {
    /// The objects of a list until its last page has arrived.
    type Listed: Default + Send;

    /// Adds a page to `listed`.
    fn list(&self, listed: &mut Self::Listed, page: Vec<K>);
    /// Replaces the state: the listed objects exist, and no others.
    fn reset(&self, listed: Self::Listed);
    /// Adds or changes an object.
    fn apply(&self, object: K);
    /// Removes an object.
    fn delete(&self, object: K);
    /// Puts the changes in force that were reported since the last call. Changes that arrive together may be put in force
    /// together.
    fn settle(&self) {}
    /// Notes that every change until `at` is in force.
    fn fresh(&self, at: Instant);
    /// Whether a list would now keep more than the last one did.
    fn wants_another_list(&self) -> bool {
        false
    }
    /// Notes why the objects cannot be followed. The next call of [`Follower::fresh`] ends this.
    fn failed(&self, _why: &str) {}
}

/// Why a list and its watch have to start again.
#[derive(Debug, thiserror::Error)]
enum WatchError {
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error("the watch sent nothing, not even its end")]
    Silent,
    #[error(
        "each watch is cut off before its end, so none proves that every change was reported; something between the \
             webhook and the API server closes connections within {WATCH_SECONDS} s"
    )]
    Unproved,
    #[error("the API server ended the watch: {}", .0.message)]
    Ended(Box<kube::core::Status>),
}

impl WatchError {
    /// The error as a cause of a denial: a user who reads it must know whether the API server or its rules are at fault.
    fn cause(&self) -> String {
        match self {
            Self::Request(error) if matches!(error.status_code(), Some(401 | 403)) => {
                format!("the API server refuses to show them to the webhook: {error}")
            }
            Self::Request(error) if error.status_code().is_some() => {
                format!("the API server answers the webhook with an error: {error}")
            }
            Self::Request(error) => format!("the webhook cannot reach the API server: {error}"),
            other => other.to_string(),
        }
    }
}

/// Which objects to follow.
#[derive(Clone, Copy, Debug)]
pub struct Selectors<'a> {
    /// The label selector; empty: all.
    pub labels: &'a str,
    /// The field selector.
    pub fields: Option<&'a str>,
}

/// A label selector.
impl<'a> From<&'a str> for Selectors<'a> {
    fn from(labels: &'a str) -> Self {
        Self { labels, fields: None }
    }
}

/// Follows the objects of `api` that match `selectors`. Does not return.
pub async fn follow<'s, K, F>(
    watched: Watched,
    api: Api<K>,
    selectors: impl Into<Selectors<'s>>,
    follower: &F,
    metrics: &Metrics,
) where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
    F: Follower<K>,
{
    let selectors = selectors.into();
    let what = watched.as_str();
    let mut pause = FIRST_PAUSE;
    loop {
        let begun = Instant::now();
        let Err(error) = list_and_watch(&api, selectors, follower).await;
        if begun.elapsed() > 2 * LONGEST_PAUSE {
            pause = FIRST_PAUSE;
        }
        match &error {
            // This is usual after a compaction of etcd. The new list repairs it.
            WatchError::Ended(status) if status.code == 410 => tracing::info!(what, "watch too old; listing again"),
            _ => {
                metrics.watch_failed(watched);
                tracing::warn!(what, %error, retry_in = ?pause, "cannot follow the cluster");
            }
        }
        follower.failed(&error.cause());
        sleep(pause).await;
        pause = (2 * pause).min(LONGEST_PAUSE);
    }
}

/// Time without proof after which the objects are listed again. A list is a proof.
const PROOF_AGE: Duration = Duration::from_secs(30);
/// The least time between two lists that a follower wants. Whoever writes the objects must not decide how often all are read.
const LIST_AGAIN: Duration = Duration::from_secs(10);

/// Changes that are put in force together, at most. Whoever writes many must not delay the first one for ever.
const MAX_TOGETHER: usize = 100;

/// Lists, and then watches until something fails.
async fn list_and_watch<K, F>(
    api: &Api<K>,
    selectors: Selectors<'_>,
    follower: &F,
) -> Result<std::convert::Infallible, WatchError>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
    F: Follower<K>,
{
    let mut proved = Instant::now();
    let (listed, mut version) = list(api, selectors, follower).await?;
    follower.reset(listed);
    if follower.wants_another_list() {
        let listed;
        (listed, version) = list(api, selectors, follower).await?;
        follower.reset(listed);
    }
    follower.fresh(proved);
    let mut listed_at = Instant::now();
    loop {
        let ended = watch(api, selectors, version, follower, listed_at + LIST_AGAIN).await;
        // Also after a failure: what arrived before it may be a revocation.
        follower.settle();
        let mut proof;
        (version, proof) = ended?;
        if listed_at.elapsed() >= LIST_AGAIN && follower.wants_another_list() {
            proof = Some(Instant::now());
            let listed;
            (listed, version) = list(api, selectors, follower).await?;
            follower.reset(listed);
            listed_at = Instant::now();
        }
        match proof {
            Some(at) => {
                follower.fresh(at);
                proved = at;
            }
            None if proved.elapsed() > PROOF_AGE => return Err(WatchError::Unproved),
            None => sleep(FIRST_PAUSE).await,
        }
    }
}

/// Lists all objects and their resource version.
async fn list<K, F>(api: &Api<K>, selectors: Selectors<'_>, follower: &F) -> Result<(F::Listed, String), WatchError>
where
    K: Resource + Clone + Debug + DeserializeOwned,
    F: Follower<K>,
{
    let mut listed = F::Listed::default();
    let mut version = None;
    let mut pages = Pages::of(api, selectors.labels, FIRST_OBJECTS).fields(selectors.fields);
    while let Some(page) = bounded_request::send(ANSWER, pages.next()).await? {
        follower.list(&mut listed, page.items);
        version = page.metadata.resource_version;
    }
    Ok((listed, version.unwrap_or_default()))
}

/// Watches from `version` until the watch ends. Returns the version to continue from, and the time until which the end proves
/// that every change was reported. The caller settles the last changes. From `list_again` on, the watch also ends when the
/// follower wants a list.
async fn watch<K>(
    api: &Api<K>,
    selectors: Selectors<'_>,
    mut version: String,
    follower: &impl Follower<K>,
    list_again: Instant,
) -> Result<(String, Option<Instant>), WatchError>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let mut params = WatchParams::default().labels(selectors.labels).timeout(WATCH_SECONDS);
    params.field_selector = selectors.fields.map(str::to_owned);
    let lasts = Duration::from_secs(WATCH_SECONDS.into());
    let begun = Instant::now();
    let mut stream = bounded_request::send(ANSWER, api.watch(&params, &version)).await?.boxed();
    let mut unsettled = 0;
    loop {
        let arrived = if unsettled < MAX_TOGETHER { stream.next().now_or_never() } else { None };
        let event = if let Some(event) = arrived {
            event
        } else {
            follower.settle();
            unsettled = 0;
            if Instant::now() >= list_again && follower.wants_another_list() {
                return Ok((version, None));
            }
            let left = (lasts + GRACE).saturating_sub(begun.elapsed());
            timeout(left, stream.next()).await.map_err(|_| WatchError::Silent)?
        };
        let Some(event) = event else {
            // A watch that ends early is a broken connection, and proves nothing. The API server ended any other watch at
            // `begun + lasts` or later. The end may arrive much later, behind events that were read slowly.
            let is_whole = begun.elapsed() + Duration::from_secs(1) >= lasts;
            let proof = if is_whole { Some((begun + lasts).min(Instant::now())) } else { None };
            return Ok((version, proof));
        };
        match event.map_err(RequestError::from)? {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                version = object.resource_version().unwrap_or(version);
                follower.apply(object);
            }
            WatchEvent::Deleted(object) => {
                version = object.resource_version().unwrap_or(version);
                follower.delete(object);
            }
            WatchEvent::Bookmark(bookmark) => version = bookmark.metadata.resource_version,
            WatchEvent::Error(status) => return Err(WatchError::Ended(status)),
        }
        unsettled += 1;
    }
}

#[cfg(test)]
mod tests {
    //! With an API server in memory, and a clock that advances as soon as every task waits.

    use std::collections::VecDeque;
    use std::convert::Infallible;
    use std::sync::{Arc, Mutex};

    use axum::body::{Body, Bytes};
    use axum::http::{Request, Response, StatusCode, Uri};
    use futures::stream;
    use k8s_openapi::api::core::v1::ConfigMap;
    use serde_json::{Value, json};
    use tower::service_fn;

    use super::*;

    /// One response of the API server. The lines of a watch arrive so many seconds after each other, then the end or silence.
    #[derive(Clone)]
    enum Answer {
        List(Value),
        Watch(Vec<(u64, Value)>, End),
        Refusal(u16),
    }

    #[derive(Clone, Copy, PartialEq)]
    enum End {
        After(u64),
        Never,
    }

    impl Answer {
        fn response(self) -> Response<Body> {
            match self {
                Self::List(list) => Response::new(Body::from(list.to_string())),
                Self::Refusal(code) => {
                    let mut response = Response::new(Body::from("no"));
                    *response.status_mut() = StatusCode::from_u16(code).expect("a status");
                    response
                }
                Self::Watch(lines, end) => {
                    let mut steps: VecDeque<_> =
                        lines.into_iter().map(|(after, line)| (after, Some(format!("{line}\n")))).collect();
                    steps.push_back(match end {
                        End::After(seconds) => (seconds, None),
                        End::Never => (u64::from(u32::MAX), None),
                    });
                    Response::new(Body::from_stream(stream::unfold(steps, |mut steps| async move {
                        let (after, line) = steps.pop_front()?;
                        sleep(Duration::from_secs(after)).await;
                        Some((Ok::<_, Infallible>(Bytes::from(line?)), steps))
                    })))
                }
            }
        }
    }

    /// The calls of the follower, and the requests to the API server.
    #[derive(Default)]
    struct Observed {
        calls: Mutex<Vec<String>>,
        requests: Mutex<Vec<String>>,
        fresh: Mutex<Vec<u64>>,
        failures: Mutex<Vec<String>>,
    }

    struct Recorder(Arc<Observed>, Instant);

    fn names(objects: &[ConfigMap]) -> String {
        objects.iter().map(ResourceExt::name_any).collect::<Vec<_>>().join(",")
    }

    impl Recorder {
        fn called(&self, what: String) {
            self.0.calls.lock().expect("no panic").push(what);
        }
    }

    impl Follower<ConfigMap> for Recorder {
        type Listed = Vec<ConfigMap>;

        fn list(&self, listed: &mut Vec<ConfigMap>, page: Vec<ConfigMap>) {
            listed.extend(page);
        }

        fn reset(&self, objects: Vec<ConfigMap>) {
            self.called(format!("reset {}", names(&objects)));
        }

        fn apply(&self, object: ConfigMap) {
            self.called(format!("apply {}", names(&[object])));
        }

        fn delete(&self, object: ConfigMap) {
            self.called(format!("delete {}", names(&[object])));
        }

        fn failed(&self, why: &str) {
            self.0.failures.lock().expect("no panic").push(why.to_owned());
        }

        fn fresh(&self, at: Instant) {
            self.0.fresh.lock().expect("no panic").push(at.duration_since(self.1).as_secs());
        }
    }

    /// Follows an API server with these responses for so many seconds. The last response is repeated.
    async fn follow_for(seconds: u64, answers: Vec<Answer>) -> Arc<Observed> {
        let seen = Arc::new(Observed::default());
        let (observed, answers) = (seen.clone(), Arc::new(Mutex::new(VecDeque::from(answers))));
        let service = service_fn(move |request: Request<kube::client::Body>| {
            observed.requests.lock().expect("no panic").push(request_name(request.uri()));
            let mut answers = answers.lock().expect("no panic");
            let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
            std::future::ready(Ok::<_, Infallible>(answer.expect("an answer").response()))
        });
        let api: Api<ConfigMap> = Api::namespaced(kube::Client::new(service, "default"), "writgate-system");
        let recorder = Recorder(seen.clone(), Instant::now());
        let metrics = Metrics::default();
        let _ = timeout(Duration::from_secs(seconds), follow(Watched::Postures, api, "a=b", &recorder, &metrics)).await;
        seen
    }

    /// `list`, `list <token>` or `watch <version>`.
    fn request_name(uri: &Uri) -> String {
        let parameter = |name: &str| {
            let pairs = uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
            pairs.filter(|(key, _)| *key == name).map(|(_, value)| value.to_owned()).next()
        };
        assert_eq!(parameter("labelSelector").as_deref(), Some("a%3Db"));
        match parameter("watch") {
            Some(_) => format!("watch {}", parameter("resourceVersion").expect("a version")),
            None => format!("list {}", parameter("continue").unwrap_or_default()).trim_end().to_owned(),
        }
    }

    fn object(name: &str, version: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "resourceVersion": version}})
    }

    fn list(names: &[&str], version: &str, token: &str) -> Answer {
        let items: Vec<_> = names.iter().map(|name| object(name, "1")).collect();
        Answer::List(json!({"apiVersion": "v1", "kind": "ConfigMapList",
            "metadata": {"resourceVersion": version, "continue": token}, "items": items}))
    }

    fn event(kind: &str, object: &Value) -> Value {
        json!({"type": kind, "object": object})
    }

    fn silence() -> Answer {
        Answer::Watch(vec![], End::Never)
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_of_several_pages_is_reported_once_and_the_watch_continues_from_it() {
        let changes = vec![
            (1, event("ADDED", &object("c", "8"))),
            (1, event("MODIFIED", &object("a", "9"))),
            (1, event("DELETED", &object("b", "10"))),
            (1, event("BOOKMARK", &object("", "12"))),
        ];
        let answers =
            vec![list(&["a"], "", "more"), list(&["b"], "7", ""), Answer::Watch(changes, End::After(16)), silence()];
        let seen = follow_for(24, answers).await;
        assert_eq!(*seen.calls.lock().expect("no panic"), ["reset a,b", "apply c", "apply a", "delete b"]);
        assert_eq!(*seen.requests.lock().expect("no panic"), ["list", "list more", "watch 7", "watch 12"]);
        assert_eq!(*seen.fresh.lock().expect("no panic"), [0, 20]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_and_an_outage_are_told_apart() {
        for (code, says) in
            [(403, "refuses to show them"), (401, "refuses to show them"), (503, "answers the webhook with an error")]
        {
            let seen = follow_for(1, vec![Answer::Refusal(code), list(&[], "7", ""), silence()]).await;
            let failures = seen.failures.lock().expect("no panic");
            assert!(failures.len() == 1 && failures[0].contains(says), "{code}: {failures:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_each_watch_proves_a_quiet_cache_fresh() {
        let seen = follow_for(65, vec![list(&[], "7", ""), Answer::Watch(vec![], End::After(20))]).await;
        assert_eq!(*seen.fresh.lock().expect("no panic"), [0, 20, 40, 60]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_a_watch_that_arrives_late_proves_no_more_than_its_length() {
        let seen = follow_for(50, vec![list(&[], "7", ""), Answer::Watch(vec![], End::After(23))]).await;
        assert_eq!(*seen.fresh.lock().expect("no panic"), [0, 20, 43]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_watch_proves_nothing_and_is_ended() {
        let seen = follow_for(70, vec![list(&["a"], "7", ""), silence()]).await;
        let asked = seen.requests.lock().expect("no panic").clone();
        // After the silence, the list receives the script's last response, a watch, and fails.
        assert_eq!(asked[..3], ["list", "watch 7", "list"]);
        assert_eq!(*seen.fresh.lock().expect("no panic"), [0]);
        assert_eq!(*seen.calls.lock().expect("no panic"), ["reset a"], "the state stays until it is stale");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_breaks_early_proves_nothing() {
        let seen = follow_for(15, vec![list(&[], "7", ""), Answer::Watch(vec![], End::After(2))]).await;
        assert_eq!(*seen.fresh.lock().expect("no panic"), [0]);
        assert!(seen.requests.lock().expect("no panic").iter().skip(1).all(|asked| asked == "watch 7"));
    }

    #[tokio::test(start_paused = true)]
    async fn connections_that_always_break_early_cause_a_new_list() {
        let early = || Answer::Watch(vec![], End::After(10));
        let answers = vec![list(&["a"], "7", ""), early(), early(), early(), early(), list(&["a"], "8", ""), silence()];
        let seen = follow_for(50, answers).await;
        let asked = seen.requests.lock().expect("no panic").clone();
        assert_eq!(asked[..3], ["list", "watch 7", "watch 7"]);
        assert!(asked[3..].contains(&"list".to_owned()), "{asked:?}");
        assert!(seen.fresh.lock().expect("no panic").last().is_some_and(|at| *at >= 30), "the new list is the proof");
    }

    #[tokio::test(start_paused = true)]
    async fn an_expired_version_causes_a_new_list_without_an_empty_moment() {
        let gone = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 410, "reason": "Expired",
            "message": "too old resource version"});
        let gone = Answer::Watch(vec![(0, event("ERROR", &gone))], End::Never);
        let seen = follow_for(10, vec![list(&["a"], "7", ""), gone, list(&["b"], "20", ""), silence()]).await;
        assert_eq!(*seen.calls.lock().expect("no panic"), ["reset a", "reset b"]);
        assert_eq!(*seen.requests.lock().expect("no panic"), ["list", "watch 7", "list", "watch 20"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_retried_and_changes_nothing() {
        let seen =
            follow_for(20, vec![Answer::Refusal(503), Answer::Refusal(403), list(&["a"], "7", ""), silence()]).await;
        assert_eq!(*seen.calls.lock().expect("no panic"), ["reset a"]);
        assert_eq!(seen.requests.lock().expect("no panic")[..4], ["list", "list", "list", "watch 7"]);
    }
}
