//! Object metadata and label selectors.

use crate::kube::defaults::shape::{
    Field,
    Kind::{Any, Bool, Int64, List, Map, Object, Text, Time},
    always, non_zero, pointer,
};

/// `meta/v1.ObjectMeta`
pub(super) const OBJECT_META: &[Field] = &[
    non_zero("name", Text),
    non_zero("generateName", Text),
    non_zero("namespace", Text),
    non_zero("selfLink", Text),
    non_zero("uid", Text),
    non_zero("resourceVersion", Text),
    non_zero("generation", Int64),
    non_zero("creationTimestamp", Time),
    pointer("deletionTimestamp", Time),
    pointer("deletionGracePeriodSeconds", Int64),
    non_zero("labels", Map(&Text)),
    non_zero("annotations", Map(&Text)),
    non_zero("ownerReferences", List(&Object(OWNER_REFERENCE))),
    non_zero("finalizers", List(&Text)),
    non_zero("managedFields", List(&Object(MANAGED_FIELDS_ENTRY))),
];

/// `meta/v1.OwnerReference`
const OWNER_REFERENCE: &[Field] = &[
    always("apiVersion", Text),
    always("kind", Text),
    always("name", Text),
    always("uid", Text),
    pointer("controller", Bool),
    pointer("blockOwnerDeletion", Bool),
];

/// `meta/v1.ManagedFieldsEntry`
const MANAGED_FIELDS_ENTRY: &[Field] = &[
    non_zero("manager", Text),
    non_zero("operation", Text),
    non_zero("apiVersion", Text),
    pointer("time", Time),
    non_zero("fieldsType", Text),
    pointer("fieldsV1", Any),
    non_zero("subresource", Text),
];

/// `meta/v1.LabelSelector`
pub(super) const LABEL_SELECTOR: &[Field] =
    &[non_zero("matchLabels", Map(&Text)), non_zero("matchExpressions", List(&Object(LABEL_SELECTOR_REQUIREMENT)))];

/// `meta/v1.LabelSelectorRequirement`
const LABEL_SELECTOR_REQUIREMENT: &[Field] =
    &[always("key", Text), always("operator", Text), non_zero("values", List(&Text))];
