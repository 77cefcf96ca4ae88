//! The proof of the spec hash. Random manifests of every kind go to a real API server, and what the real webhook hashes
//! at admission must be what is computed offline from the file; and of what was admitted, every field changed alone
//! gives another hash, but for those that projection v1 leaves out.
//!
//! `WRITGATE_PROOF_CASES` is the number of manifests per kind (100), `WRITGATE_PROOF_SEED` makes a failed run again.

mod agreement;
mod container;
mod coverage;
mod pod;
mod volume;
mod workload;

use writgate_core::kube::WorkloadKind::{
    CronJob, DaemonSet, Deployment, Job, ReplicaSet, ReplicationController, StatefulSet,
};
use writgate_testing::{Installation, harness::Test};

/// Two tests for each kind.
pub(crate) fn tests() -> Vec<Test<Installation>> {
    vec![
        ("the_offline_hash_of_a_deployment_is_its_hash_at_admission", |installation| {
            agreement::check(installation, Deployment)
        }),
        ("the_offline_hash_of_a_replica_set_is_its_hash_at_admission", |installation| {
            agreement::check(installation, ReplicaSet)
        }),
        ("the_offline_hash_of_a_daemon_set_is_its_hash_at_admission", |installation| {
            agreement::check(installation, DaemonSet)
        }),
        ("the_offline_hash_of_a_stateful_set_is_its_hash_at_admission", |installation| {
            agreement::check(installation, StatefulSet)
        }),
        ("the_offline_hash_of_a_replication_controller_is_its_hash_at_admission", |installation| {
            agreement::check(installation, ReplicationController);
        }),
        ("the_offline_hash_of_a_job_is_its_hash_at_admission", |installation| agreement::check(installation, Job)),
        ("the_offline_hash_of_a_cron_job_is_its_hash_at_admission", |installation| {
            agreement::check(installation, CronJob)
        }),
        ("every_field_of_a_deployment_changes_its_hash", |installation| coverage::check(installation, Deployment)),
        ("every_field_of_a_replica_set_changes_its_hash", |installation| coverage::check(installation, ReplicaSet)),
        ("every_field_of_a_daemon_set_changes_its_hash", |installation| coverage::check(installation, DaemonSet)),
        ("every_field_of_a_stateful_set_changes_its_hash", |installation| coverage::check(installation, StatefulSet)),
        ("every_field_of_a_replication_controller_changes_its_hash", |installation| {
            coverage::check(installation, ReplicationController);
        }),
        ("every_field_of_a_job_changes_its_hash", |installation| coverage::check(installation, Job)),
        ("every_field_of_a_cron_job_changes_its_hash", |installation| coverage::check(installation, CronJob)),
    ]
}
