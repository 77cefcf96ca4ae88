//! How often, and at what intervals, a request to the API server is repeated after the response was sent.

use std::time::Duration;

/// Attempts, with pauses that double from the first: some two minutes in all.
const ATTEMPTS: usize = 10;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The pauses between attempts; at its end it is time to give up.
pub fn pauses() -> impl Iterator<Item = Duration> + Send {
    let doubled = std::iter::successors(Some(FIRST_PAUSE), |pause| Some((*pause * 2).min(LONGEST_PAUSE)));
    doubled.take(ATTEMPTS - 1)
}
