//! The proof of the spec hash, with random manifests of every kind and a real API server. The hash that the webhook computes at
//! admission must equal the hash that is computed offline from the file. A change of any field of an admitted spec must change
//! the hash, except for the fields that projection v1 leaves out.
//!
//! `WRITGATE_KUBERNETES` selects another version of the API server. `WRITGATE_PROOF_CASES` is the number of manifests for each kind [default: 100]. `WRITGATE_PROOF_SEED` repeats a failed run.

mod agreement;
mod coverage;
mod vectors;

use writgate_core::kube::WorkloadKind::{
    CronJob, DaemonSet, Deployment, Job, ReplicaSet, ReplicationController, StatefulSet,
};
use writgate_testing::{Installation, harness::Test};

/// Two tests for each kind, and one for the vectors.
pub(crate) fn tests() -> Vec<Test<Installation>> {
    vec![
        ("the_offline_hash_of_a_deployment_is_its_hash_at_admission", |installation| {
            agreement::check(installation, Deployment);
        }),
        ("the_offline_hash_of_a_replica_set_is_its_hash_at_admission", |installation| {
            agreement::check(installation, ReplicaSet);
        }),
        ("the_offline_hash_of_a_daemon_set_is_its_hash_at_admission", |installation| {
            agreement::check(installation, DaemonSet);
        }),
        ("the_offline_hash_of_a_stateful_set_is_its_hash_at_admission", |installation| {
            agreement::check(installation, StatefulSet);
        }),
        ("the_offline_hash_of_a_replication_controller_is_its_hash_at_admission", |installation| {
            agreement::check(installation, ReplicationController);
        }),
        ("the_offline_hash_of_a_job_is_its_hash_at_admission", |installation| agreement::check(installation, Job)),
        ("the_offline_hash_of_a_cron_job_is_its_hash_at_admission", |installation| {
            agreement::check(installation, CronJob);
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
        ("manifests_have_the_hash_of_their_vector", vectors::manifests_have_the_hash_of_their_vector),
    ]
}
