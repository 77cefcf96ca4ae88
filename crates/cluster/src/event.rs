//! The names in an Event that the webhook writes and the command line reads.

/// The `reportingController` of Writgate's Events.
pub const CONTROLLER: &str = "writgate.dev/webhook";
/// The annotation with the decision record.
pub const RECORD_ANNOTATION: &str = "writgate.dev/decision";

/// The `action` of an Event about the canary, which has no record.
pub const CANARY_ACTION: &str = "canary";
/// The `action` of an Event about a workload that was decided again, which has no record.
pub const REAUDIT_ACTION: &str = "re-audit";

/// The reason of an Event about an admitted object that did not appear in the cluster.
pub const NOT_PERSISTED: &str = "NotPersisted";
