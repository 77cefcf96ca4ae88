//! Claims: a StatefulSet's templates and ephemeral volumes.

use super::metadata::{LABEL_SELECTOR, OBJECT_META};
use crate::kube::defaults::shape::{
    Field,
    Kind::{List, Map, Object, Resources, Text, Time},
    always, non_zero, nullable, pointer,
};

/// `core/v1.PersistentVolumeClaimSpec`
pub(super) const PERSISTENT_VOLUME_CLAIM_SPEC: &[Field] = &[
    non_zero("accessModes", List(&Text)),
    pointer("selector", Object(LABEL_SELECTOR)),
    always("resources", Object(VOLUME_RESOURCE_REQUIREMENTS)),
    non_zero("volumeName", Text),
    pointer("storageClassName", Text),
    pointer("volumeMode", Text),
    pointer("dataSource", Object(TYPED_LOCAL_OBJECT_REFERENCE)),
    pointer("dataSourceRef", Object(TYPED_OBJECT_REFERENCE)),
    pointer("volumeAttributesClassName", Text),
];

/// `core/v1.VolumeResourceRequirements`
const VOLUME_RESOURCE_REQUIREMENTS: &[Field] = &[non_zero("limits", Resources), non_zero("requests", Resources)];

/// `core/v1.TypedLocalObjectReference`
const TYPED_LOCAL_OBJECT_REFERENCE: &[Field] =
    &[nullable("apiGroup", Text), always("kind", Text), always("name", Text)];

/// `core/v1.TypedObjectReference`
const TYPED_OBJECT_REFERENCE: &[Field] =
    &[nullable("apiGroup", Text), always("kind", Text), always("name", Text), pointer("namespace", Text)];

/// `core/v1.PersistentVolumeClaim`
pub(super) const PERSISTENT_VOLUME_CLAIM: &[Field] = &[
    non_zero("kind", Text),
    non_zero("apiVersion", Text),
    always("metadata", Object(OBJECT_META)),
    always("spec", Object(PERSISTENT_VOLUME_CLAIM_SPEC)),
    always("status", Object(PERSISTENT_VOLUME_CLAIM_STATUS)),
];

/// `core/v1.PersistentVolumeClaimStatus`
const PERSISTENT_VOLUME_CLAIM_STATUS: &[Field] = &[
    non_zero("phase", Text),
    non_zero("accessModes", List(&Text)),
    non_zero("capacity", Resources),
    non_zero("conditions", List(&Object(PERSISTENT_VOLUME_CLAIM_CONDITION))),
    non_zero("allocatedResources", Resources),
    non_zero("allocatedResourceStatuses", Map(&Text)),
    pointer("currentVolumeAttributesClassName", Text),
    pointer("modifyVolumeStatus", Object(MODIFY_VOLUME_STATUS)),
    pointer("healthStatus", Object(VOLUME_HEALTH_STATUS)),
];

/// `core/v1.PersistentVolumeClaimCondition`
const PERSISTENT_VOLUME_CLAIM_CONDITION: &[Field] = &[
    always("type", Text),
    always("status", Text),
    always("lastProbeTime", Time),
    always("lastTransitionTime", Time),
    non_zero("reason", Text),
    non_zero("message", Text),
];

/// `core/v1.ModifyVolumeStatus`
const MODIFY_VOLUME_STATUS: &[Field] = &[non_zero("targetVolumeAttributesClassName", Text), always("status", Text)];

/// `core/v1.VolumeHealthStatus`
const VOLUME_HEALTH_STATUS: &[Field] =
    &[non_zero("healthConditions", List(&Object(VOLUME_HEALTH_CONDITION))), always("lastTransitionTime", Time)];

/// `core/v1.VolumeHealthCondition`
const VOLUME_HEALTH_CONDITION: &[Field] = &[always("status", Text), always("reason", Text), non_zero("message", Text)];
