//! What a page has read, kept for the session, so that the page answers at once.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use maud::{Markup, html};
use writgate_cluster::clock;

use crate::{command::request::list::age, console::Console, failure::Failure};

/// What was read, and when.
pub(super) struct KeptReading<T> {
    pub(super) time: Timestamp,
    pub(super) content: T,
}

/// The last reading of the open session.
pub(super) struct Kept<T>(Mutex<Option<OfSession<T>>>);

/// The token of the session's forms, which a later session does not have, and the reading.
type OfSession<T> = (String, Arc<KeptReading<T>>);

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Kept<T> {
    /// The reading of this session, made with `read` if there is none or `again` is set. For [`Console::blocking`] only: a second
    /// page waits for the reading of the first one.
    pub(super) fn get(
        &self,
        console: &Console,
        again: bool,
        read: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<Arc<KeptReading<T>>, Failure> {
        let session = console.session.csrf();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, reading)) = &*kept
            && *of == session
            && !again
        {
            return Ok(Arc::clone(reading));
        }
        *kept = None;
        let time = clock::now();
        let reading = Arc::new(KeptReading { time, content: read()? });
        *kept = Some((session, Arc::clone(&reading)));
        Ok(reading)
    }
}

/// Says when something was read, with a link that reads it again.
pub(super) fn freshness(time: Timestamp, again: &str) -> Markup {
    html! {
        p .hint {
            "Read at " time { (time.strftime("%Y-%m-%d %H:%M:%S UTC")) } ", " (age(time)) " ago. "
            a href=(again) { "Read again" }
        }
    }
}

/// Whether the query of an address asks for another reading.
pub(super) fn is_again(query: Option<&str>) -> bool {
    form_urlencoded::parse(query.unwrap_or_default().as_bytes()).any(|(name, _)| name == "again")
}
