//! The specs of the seven kinds, without what the hash leaves out.

use super::claim::PERSISTENT_VOLUME_CLAIM;
use super::metadata::{LABEL_SELECTOR, OBJECT_META};
use super::pod::POD_TEMPLATE_SPEC;
use crate::kube::defaults::shape::{
    Field,
    Kind::{Bool, Int32, Int64, IntOrString, List, Map, Object, Text},
    always, gated, non_zero, nullable, pointer,
};

/// `apps/v1.DeploymentSpec`
pub(super) const DEPLOYMENT_SPEC: &[Field] =
    &[nullable("selector", Object(LABEL_SELECTOR)), always("template", Object(POD_TEMPLATE_SPEC))];

/// `apps/v1.ReplicaSetSpec`
pub(super) const REPLICA_SET_SPEC: &[Field] =
    &[nullable("selector", Object(LABEL_SELECTOR)), always("template", Object(POD_TEMPLATE_SPEC))];

/// `apps/v1.DaemonSetSpec`
pub(super) const DAEMON_SET_SPEC: &[Field] =
    &[nullable("selector", Object(LABEL_SELECTOR)), always("template", Object(POD_TEMPLATE_SPEC))];

/// `apps/v1.StatefulSetSpec`
pub(super) const STATEFUL_SET_SPEC: &[Field] = &[
    nullable("selector", Object(LABEL_SELECTOR)),
    always("template", Object(POD_TEMPLATE_SPEC)),
    non_zero("volumeClaimTemplates", List(&Object(PERSISTENT_VOLUME_CLAIM))),
    always("serviceName", Text),
    non_zero("podManagementPolicy", Text),
    always("updateStrategy", Object(STATEFUL_SET_UPDATE_STRATEGY)),
    pointer("persistentVolumeClaimRetentionPolicy", Object(STATEFUL_SET_PERSISTENT_VOLUME_CLAIM_RETENTION_POLICY)),
    pointer("ordinals", Object(STATEFUL_SET_ORDINALS)),
];

/// `apps/v1.StatefulSetUpdateStrategy`
const STATEFUL_SET_UPDATE_STRATEGY: &[Field] =
    &[non_zero("type", Text), pointer("rollingUpdate", Object(ROLLING_UPDATE_STATEFUL_SET_STRATEGY))];

/// `apps/v1.RollingUpdateStatefulSetStrategy`
const ROLLING_UPDATE_STATEFUL_SET_STRATEGY: &[Field] =
    &[pointer("partition", Int32), pointer("maxUnavailable", IntOrString)];

/// `apps/v1.StatefulSetPersistentVolumeClaimRetentionPolicy`
const STATEFUL_SET_PERSISTENT_VOLUME_CLAIM_RETENTION_POLICY: &[Field] =
    &[non_zero("whenDeleted", Text), non_zero("whenScaled", Text)];

/// `apps/v1.StatefulSetOrdinals`
const STATEFUL_SET_ORDINALS: &[Field] = &[always("start", Int32)];

/// `core/v1.ReplicationControllerSpec`
pub(super) const REPLICATION_CONTROLLER_SPEC: &[Field] =
    &[non_zero("selector", Map(&Text)), pointer("template", Object(POD_TEMPLATE_SPEC))];

/// `batch/v1.JobSpec`
pub(super) const JOB_SPEC: &[Field] = &[
    pointer("parallelism", Int32),
    pointer("completions", Int32),
    pointer("activeDeadlineSeconds", Int64),
    pointer("podFailurePolicy", Object(POD_FAILURE_POLICY)),
    pointer("successPolicy", Object(SUCCESS_POLICY)),
    pointer("backoffLimit", Int32),
    pointer("backoffLimitPerIndex", Int32),
    pointer("maxFailedIndexes", Int32),
    pointer("selector", Object(LABEL_SELECTOR)),
    pointer("manualSelector", Bool),
    always("template", Object(POD_TEMPLATE_SPEC)),
    pointer("ttlSecondsAfterFinished", Int32),
    pointer("completionMode", Text),
    pointer("podReplacementPolicy", Text),
    pointer("managedBy", Text),
    gated("scheduling"),
];

/// `batch/v1.PodFailurePolicy`
const POD_FAILURE_POLICY: &[Field] = &[always("rules", List(&Object(POD_FAILURE_POLICY_RULE)))];

/// `batch/v1.PodFailurePolicyRule`
const POD_FAILURE_POLICY_RULE: &[Field] = &[
    always("action", Text),
    pointer("onExitCodes", Object(POD_FAILURE_POLICY_ON_EXIT_CODES_REQUIREMENT)),
    non_zero("onPodConditions", List(&Object(POD_FAILURE_POLICY_ON_POD_CONDITIONS_PATTERN))),
];

/// `batch/v1.PodFailurePolicyOnExitCodesRequirement`
const POD_FAILURE_POLICY_ON_EXIT_CODES_REQUIREMENT: &[Field] =
    &[pointer("containerName", Text), always("operator", Text), always("values", List(&Int32))];

/// `batch/v1.PodFailurePolicyOnPodConditionsPattern`
const POD_FAILURE_POLICY_ON_POD_CONDITIONS_PATTERN: &[Field] = &[always("type", Text), always("status", Text)];

/// `batch/v1.SuccessPolicy`
const SUCCESS_POLICY: &[Field] = &[always("rules", List(&Object(SUCCESS_POLICY_RULE)))];

/// `batch/v1.SuccessPolicyRule`
const SUCCESS_POLICY_RULE: &[Field] = &[pointer("succeededIndexes", Text), pointer("succeededCount", Int32)];

/// `batch/v1.CronJobSpec`
pub(super) const CRON_JOB_SPEC: &[Field] = &[
    always("schedule", Text),
    pointer("timeZone", Text),
    pointer("startingDeadlineSeconds", Int64),
    non_zero("concurrencyPolicy", Text),
    always("jobTemplate", Object(JOB_TEMPLATE_SPEC)),
];

/// `batch/v1.JobTemplateSpec`
const JOB_TEMPLATE_SPEC: &[Field] = &[always("metadata", Object(OBJECT_META)), always("spec", Object(JOB_SPEC))];
