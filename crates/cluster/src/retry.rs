//! How often, and at which intervals, a request to the API server is repeated after the response was sent.

use std::time::Duration;

/// Attempts, with pauses that double up to the longest: about 90 s in total.
const ATTEMPTS: usize = 10;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The pauses between attempts. The caller gives up when there is none left.
pub fn pauses() -> impl Iterator<Item = Duration> + Send {
    let doubled = std::iter::successors(Some(FIRST_PAUSE), |pause| Some((*pause * 2).min(LONGEST_PAUSE)));
    doubled.take(ATTEMPTS - 1)
}
