//! The clock. No other file reads the time. Everything that decides takes the time as an argument, so a test can use a literal
//! date.

use jiff::Timestamp;
use uuid::Uuid;

/// Wall-clock time in milliseconds, for validity windows and records. Neither requires finer digits.
#[must_use]
pub fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}

/// A new `UUIDv7` for a decision made at `now`, so that ids sort by the time of the decision.
#[must_use]
pub fn decision_id(now: Timestamp) -> Uuid {
    let since_epoch = now.duration_since(Timestamp::UNIX_EPOCH);
    let seconds = u64::try_from(since_epoch.as_secs()).unwrap_or_default();
    let nanos = u32::try_from(since_epoch.subsec_nanos()).unwrap_or_default();
    Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, seconds, nanos))
}
