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
use writgate_testing::{Gate, harness::Test};

/// Two tests for each kind.
pub(crate) fn tests() -> Vec<Test<Gate>> {
    vec![
        ("offline_and_at_admission_a_deployment_has_one_hash", |gate| agreement::check(gate, Deployment)),
        ("offline_and_at_admission_a_replica_set_has_one_hash", |gate| agreement::check(gate, ReplicaSet)),
        ("offline_and_at_admission_a_daemon_set_has_one_hash", |gate| agreement::check(gate, DaemonSet)),
        ("offline_and_at_admission_a_stateful_set_has_one_hash", |gate| agreement::check(gate, StatefulSet)),
        ("offline_and_at_admission_a_replication_controller_has_one_hash", |gate| {
            agreement::check(gate, ReplicationController);
        }),
        ("offline_and_at_admission_a_job_has_one_hash", |gate| agreement::check(gate, Job)),
        ("offline_and_at_admission_a_cron_job_has_one_hash", |gate| agreement::check(gate, CronJob)),
        ("every_field_of_a_deployment_changes_its_hash", |gate| coverage::check(gate, Deployment)),
        ("every_field_of_a_replica_set_changes_its_hash", |gate| coverage::check(gate, ReplicaSet)),
        ("every_field_of_a_daemon_set_changes_its_hash", |gate| coverage::check(gate, DaemonSet)),
        ("every_field_of_a_stateful_set_changes_its_hash", |gate| coverage::check(gate, StatefulSet)),
        ("every_field_of_a_replication_controller_changes_its_hash", |gate| {
            coverage::check(gate, ReplicationController);
        }),
        ("every_field_of_a_job_changes_its_hash", |gate| coverage::check(gate, Job)),
        ("every_field_of_a_cron_job_changes_its_hash", |gate| coverage::check(gate, CronJob)),
    ]
}
