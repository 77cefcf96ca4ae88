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
