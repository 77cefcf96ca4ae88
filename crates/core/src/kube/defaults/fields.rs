//! What the API server's Go types say of each field: one line per field, one constant per type.
//!
//! Made from the struct tags of `k8s.io/api` v0.37.2. A field that is missing here is kept as it is found, so a type
//! that grows a field needs a new line only if the server drops the field when it is empty, or rewrites it.
//! `shape` says what the words mean. What the server fills in is code, in `pod`, `container`, `volume` and `workload`.

mod claim;
mod container;
mod metadata;
mod pod;
mod volume;
mod workload;

use super::shape::Field;
use crate::kube::workload::WorkloadKind;

/// The fields of a kind's `.spec`, without those that the hash leaves out.
pub(super) fn of_spec(kind: WorkloadKind) -> &'static [Field] {
    match kind {
        WorkloadKind::Deployment => workload::DEPLOYMENT_SPEC,
        WorkloadKind::ReplicaSet => workload::REPLICA_SET_SPEC,
        WorkloadKind::DaemonSet => workload::DAEMON_SET_SPEC,
        WorkloadKind::StatefulSet => workload::STATEFUL_SET_SPEC,
        WorkloadKind::ReplicationController => workload::REPLICATION_CONTROLLER_SPEC,
        WorkloadKind::Job => workload::JOB_SPEC,
        WorkloadKind::CronJob => workload::CRON_JOB_SPEC,
        WorkloadKind::Further(_) => &[],
    }
}
