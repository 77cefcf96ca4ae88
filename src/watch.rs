//! Lists and watches one kind in the cluster, and feeds what it sees to a [`Follower`]. The only file that does.
//!
//! A loop of our own rather than kube's `watcher`, for one reason: that one swallows bookmarks and quiet ends of a
//! watch, and these are the only proof that a cache in which nothing happens is still fresh. What is done with
//! the objects belongs to `store`.

use std::fmt::Debug;
use std::time::Duration;

use futures::StreamExt;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep, timeout};

/// How long one watch lasts. The API server sends a bookmark shortly before its end, so a cache in which nothing
/// happens is proved fresh about this often, well within the age at which the store refuses to judge.
const WATCH_SECONDS: u32 = 20;
/// Grace beyond [`WATCH_SECONDS`] for the end to arrive. Past it the connection is taken for dead: a peer that
/// vanished without a reset sends nothing at all.
const GRACE: Duration = Duration::from_secs(5);
/// Longest wait for the API server to answer a list or to open a watch.
const ANSWER: Duration = Duration::from_secs(15);
/// Objects a list asks for at once.
const PAGE: u32 = 500;
/// Pauses after failures: short, so that a restart of the API server costs little; doubled up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Whoever keeps what a watch sees.
pub trait Follower<K> {
    /// These objects, and no others, exist.
    fn reset(&self, objects: Vec<K>);
    /// This object was added or changed.
    fn apply(&self, object: K);
    /// This object is gone.
    fn delete(&self, object: K);
    /// All that happened until `at` has been told.
    fn fresh(&self, at: Instant);
}

/// Why a watch has to begin anew.
#[derive(Debug, thiserror::Error)]
enum WatchError {
    #[error("the API server did not answer within {ANSWER:?}")]
    NoAnswer,
    #[error("the watch went silent")]
    Silent,
    #[error("{0}")]
    Refused(#[source] kube::Error),
    #[error("the API server ended the watch: {0}")]
    Ended(Box<kube::core::Status>),
}

/// Follows the objects behind `api` that match `labels`, for ever.
pub async fn follow<K>(what: &'static str, api: Api<K>, labels: &str, follower: &impl Follower<K>)
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let mut pause = FIRST_PAUSE;
    loop {
        let begun = Instant::now();
        let Err(error) = list_and_watch(&api, labels, follower).await;
        if begun.elapsed() > 2 * LONGEST_PAUSE {
            pause = FIRST_PAUSE;
        }
        match &error {
            // Usual after a compaction, and cured by the new list.
            WatchError::Ended(status) if status.code == 410 => tracing::info!(what, "watch too old; listing again"),
            _ => tracing::warn!(what, %error, retry_in = ?pause, "cannot follow the cluster"),
        }
        sleep(pause).await;
        pause = (2 * pause).min(LONGEST_PAUSE);
    }
}

/// One list and the watches that continue it, until something fails.
async fn list_and_watch<K>(
    api: &Api<K>,
    labels: &str,
    follower: &impl Follower<K>,
) -> Result<std::convert::Infallible, WatchError>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let asked = Instant::now();
    let (objects, mut version) = list(api, labels).await?;
    follower.reset(objects);
    follower.fresh(asked);
    loop {
        version = watch(api, labels, version, follower).await?;
    }
}

/// Everything there is, and the version at which it was so. Not from the API server's cache, which may be old.
async fn list<K>(api: &Api<K>, labels: &str) -> Result<(Vec<K>, String), WatchError>
where
    K: Clone + Debug + DeserializeOwned,
{
    let mut objects = Vec::new();
    let mut params = ListParams::default().labels(labels).limit(PAGE);
    loop {
        let page = timeout(ANSWER, api.list(&params)).await.map_err(|_| WatchError::NoAnswer)?;
        let page = page.map_err(WatchError::Refused)?;
        objects.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok((objects, page.metadata.resource_version.unwrap_or_default())),
        }
    }
}

/// One watch from `version` to its end; returns the version to go on from.
async fn watch<K>(
    api: &Api<K>,
    labels: &str,
    mut version: String,
    follower: &impl Follower<K>,
) -> Result<String, WatchError>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let params = WatchParams::default().labels(labels).timeout(WATCH_SECONDS);
    let lasts = Duration::from_secs(WATCH_SECONDS.into());
    let begun = Instant::now();
    let stream = timeout(ANSWER, api.watch(&params, &version)).await.map_err(|_| WatchError::NoAnswer)?;
    let mut stream = stream.map_err(WatchError::Refused)?.boxed();
    loop {
        let left = (lasts + GRACE).saturating_sub(begun.elapsed());
        let event = timeout(left, stream.next()).await.map_err(|_| WatchError::Silent)?;
        let Some(event) = event else {
            // An end before its time is a broken connection and proves nothing.
            if begun.elapsed() + Duration::from_secs(1) >= lasts {
                follower.fresh(Instant::now());
            } else {
                sleep(FIRST_PAUSE).await;
            }
            return Ok(version);
        };
        match event.map_err(WatchError::Refused)? {
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
        follower.fresh(Instant::now());
    }
}
