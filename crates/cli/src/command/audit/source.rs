//! Where a record was read, and what its Event says in addition to the record.

use crate::command::audit::row::{NOT_PERSISTED, Row};

/// A line of a log, or an Event.
pub(super) struct Source<'a> {
    /// The text of the record.
    pub(super) json: &'a str,
    /// The file and line, or the name of the Event.
    pub(super) position: &'a dyn Fn() -> String,
    /// How often the same request was denied. Only Events count.
    times: Option<i32>,
    not_persisted: bool,
}

impl<'a> Source<'a> {
    pub(super) fn line(json: &'a str, position: &'a dyn Fn() -> String) -> Self {
        Self { json, position, times: None, not_persisted: false }
    }

    pub(super) fn event(json: &'a str, position: &'a dyn Fn() -> String, times: i32, not_persisted: bool) -> Self {
        Self { json, position, times: Some(times), not_persisted }
    }

    /// What is kept of a line while it waits for its seal.
    pub(super) fn hold(&self) -> HeldLine {
        let Self { json, position, times, not_persisted } = self;
        HeldLine { json: (*json).to_owned(), position: position(), times: *times, not_persisted: *not_persisted }
    }

    /// Whether an Event says that the admitted object was never seen. Its record is a copy of the admission's.
    pub(super) fn is_not_persisted(&self) -> bool {
        self.not_persisted
    }

    /// The row of a record from here.
    pub(super) fn row(&self, record: impl Into<Row>) -> Row {
        let mut row = record.into();
        row.times = self.times;
        if self.not_persisted {
            row.remarks.push(NOT_PERSISTED.to_owned());
        }
        row
    }
}

/// A line that waits for its seal.
pub(super) struct HeldLine {
    json: String,
    position: String,
    times: Option<i32>,
    not_persisted: bool,
}

impl HeldLine {
    /// Passes the line on as it was read.
    pub(super) fn as_source<T>(&self, then: impl FnOnce(&Source<'_>) -> T) -> T {
        let position = || self.position.clone();
        let (times, not_persisted) = (self.times, self.not_persisted);
        then(&Source { json: &self.json, position: &position, times, not_persisted })
    }
}
