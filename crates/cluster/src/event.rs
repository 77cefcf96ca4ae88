//! How an Event holds a decision: the webhook writes it, and the command line reads it.

/// Who reports: the value of `reportingController` in every Event of ours.
pub const CONTROLLER: &str = "writgate.dev/webhook";
/// Annotation that holds the decision record.
pub const RECORD_ANNOTATION: &str = "writgate.dev/decision";

/// Reason of an Event about an admission that was not seen.
pub const NOT_PERSISTED: &str = "NotPersisted";
