//! A failure that may last for many attempts, and is logged only when it changes.

/// The failure of the last attempt, if it failed.
#[derive(Default)]
pub(crate) struct LastingFailure(Option<String>);

/// What an attempt changed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum FailureChange<'a> {
    /// It failed, and the attempt before did not fail for the same reason.
    Failed(&'a str),
    /// It succeeded after a failure.
    Recovered,
}

impl LastingFailure {
    /// Whether the last attempt failed.
    pub(crate) fn is_failing(&self) -> bool {
        self.0.is_some()
    }

    /// Notes the outcome of an attempt. `None`: nothing has changed.
    pub(crate) fn note(&mut self, failure: Option<String>) -> Option<FailureChange<'_>> {
        if self.0 == failure {
            return None;
        }
        self.0 = failure;
        Some(self.0.as_deref().map_or(FailureChange::Recovered, FailureChange::Failed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_reported_when_it_begins_changes_and_ends() {
        let mut failure = LastingFailure::default();
        assert_eq!(failure.note(None), None);
        assert_eq!(failure.note(Some("a".to_owned())), Some(FailureChange::Failed("a")));
        assert_eq!(failure.note(Some("a".to_owned())), None);
        assert_eq!(failure.note(Some("b".to_owned())), Some(FailureChange::Failed("b")));
        assert_eq!(failure.note(None), Some(FailureChange::Recovered));
        assert_eq!(failure.note(None), None);
    }
}
