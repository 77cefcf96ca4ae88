//! The pod template, the pod's spec and what belongs to the pod as a whole.

use super::container::{CONTAINER, EPHEMERAL_CONTAINER};
use super::metadata::{LABEL_SELECTOR, OBJECT_META};
use super::volume::VOLUME;
use crate::kube::defaults::shape::{
    Field,
    Kind::{Bool, Int32, Int64, List, Map, Object, Resources, Text},
    always, gated, non_zero, pointer,
};

/// `core/v1.PodTemplateSpec`
pub(super) const POD_TEMPLATE_SPEC: &[Field] =
    &[always("metadata", Object(OBJECT_META)), always("spec", Object(POD_SPEC))];

/// `core/v1.PodSpec`
const POD_SPEC: &[Field] = &[
    non_zero("volumes", List(&Object(VOLUME))),
    non_zero("initContainers", List(&Object(CONTAINER))),
    always("containers", List(&Object(CONTAINER))),
    non_zero("ephemeralContainers", List(&Object(EPHEMERAL_CONTAINER))),
    non_zero("restartPolicy", Text),
    pointer("terminationGracePeriodSeconds", Int64),
    pointer("activeDeadlineSeconds", Int64),
    non_zero("dnsPolicy", Text),
    non_zero("nodeSelector", Map(&Text)),
    non_zero("serviceAccountName", Text),
    non_zero("serviceAccount", Text),
    pointer("automountServiceAccountToken", Bool),
    non_zero("nodeName", Text),
    non_zero("hostNetwork", Bool),
    non_zero("hostPID", Bool),
    non_zero("hostIPC", Bool),
    pointer("shareProcessNamespace", Bool),
    pointer("securityContext", Object(POD_SECURITY_CONTEXT)),
    non_zero("imagePullSecrets", List(&Object(LOCAL_OBJECT_REFERENCE))),
    non_zero("hostname", Text),
    non_zero("subdomain", Text),
    pointer("affinity", Object(AFFINITY)),
    non_zero("schedulerName", Text),
    non_zero("tolerations", List(&Object(TOLERATION))),
    non_zero("hostAliases", List(&Object(HOST_ALIAS))),
    non_zero("priorityClassName", Text),
    pointer("priority", Int32),
    pointer("dnsConfig", Object(POD_DNS_CONFIG)),
    non_zero("readinessGates", List(&Object(POD_READINESS_GATE))),
    pointer("runtimeClassName", Text),
    pointer("enableServiceLinks", Bool),
    pointer("preemptionPolicy", Text),
    non_zero("overhead", Resources),
    non_zero("topologySpreadConstraints", List(&Object(TOPOLOGY_SPREAD_CONSTRAINT))),
    pointer("setHostnameAsFQDN", Bool),
    pointer("os", Object(POD_OS)),
    pointer("hostUsers", Bool),
    non_zero("schedulingGates", List(&Object(POD_SCHEDULING_GATE))),
    non_zero("resourceClaims", List(&Object(POD_RESOURCE_CLAIM))),
    pointer("resources", Object(RESOURCE_REQUIREMENTS)),
    pointer("hostnameOverride", Text),
    gated("schedulingGroup"),
    gated("evictionResponders"),
];

/// `core/v1.LocalObjectReference`
pub(super) const LOCAL_OBJECT_REFERENCE: &[Field] = &[non_zero("name", Text)];

/// `core/v1.ResourceRequirements`
pub(super) const RESOURCE_REQUIREMENTS: &[Field] = &[
    non_zero("limits", Resources),
    non_zero("requests", Resources),
    non_zero("claims", List(&Object(RESOURCE_CLAIM))),
];

/// `core/v1.ResourceClaim`
const RESOURCE_CLAIM: &[Field] = &[always("name", Text), non_zero("request", Text)];

/// `core/v1.SELinuxOptions`
pub(super) const SE_LINUX_OPTIONS: &[Field] =
    &[non_zero("user", Text), non_zero("role", Text), non_zero("type", Text), non_zero("level", Text)];

/// `core/v1.WindowsSecurityContextOptions`
pub(super) const WINDOWS_SECURITY_CONTEXT_OPTIONS: &[Field] = &[
    pointer("gmsaCredentialSpecName", Text),
    pointer("gmsaCredentialSpec", Text),
    pointer("runAsUserName", Text),
    pointer("hostProcess", Bool),
];

/// `core/v1.SeccompProfile`
pub(super) const SECCOMP_PROFILE: &[Field] = &[always("type", Text), pointer("localhostProfile", Text)];

/// `core/v1.AppArmorProfile`
pub(super) const APP_ARMOR_PROFILE: &[Field] = &[always("type", Text), pointer("localhostProfile", Text)];

/// `core/v1.PodSecurityContext`
const POD_SECURITY_CONTEXT: &[Field] = &[
    pointer("seLinuxOptions", Object(SE_LINUX_OPTIONS)),
    pointer("windowsOptions", Object(WINDOWS_SECURITY_CONTEXT_OPTIONS)),
    pointer("runAsUser", Int64),
    pointer("runAsGroup", Int64),
    pointer("runAsNonRoot", Bool),
    non_zero("supplementalGroups", List(&Int64)),
    pointer("supplementalGroupsPolicy", Text),
    pointer("fsGroup", Int64),
    non_zero("sysctls", List(&Object(SYSCTL))),
    pointer("fsGroupChangePolicy", Text),
    pointer("seccompProfile", Object(SECCOMP_PROFILE)),
    pointer("appArmorProfile", Object(APP_ARMOR_PROFILE)),
    pointer("seLinuxChangePolicy", Text),
];

/// `core/v1.Sysctl`
const SYSCTL: &[Field] = &[always("name", Text), always("value", Text)];

/// `core/v1.Affinity`
const AFFINITY: &[Field] = &[
    pointer("nodeAffinity", Object(NODE_AFFINITY)),
    pointer("podAffinity", Object(POD_AFFINITY)),
    pointer("podAntiAffinity", Object(POD_ANTI_AFFINITY)),
];

/// `core/v1.NodeAffinity`
const NODE_AFFINITY: &[Field] = &[
    pointer("requiredDuringSchedulingIgnoredDuringExecution", Object(NODE_SELECTOR)),
    non_zero("preferredDuringSchedulingIgnoredDuringExecution", List(&Object(PREFERRED_SCHEDULING_TERM))),
];

/// `core/v1.NodeSelector`
const NODE_SELECTOR: &[Field] = &[always("nodeSelectorTerms", List(&Object(NODE_SELECTOR_TERM)))];

/// `core/v1.NodeSelectorTerm`
const NODE_SELECTOR_TERM: &[Field] = &[
    non_zero("matchExpressions", List(&Object(NODE_SELECTOR_REQUIREMENT))),
    non_zero("matchFields", List(&Object(NODE_SELECTOR_REQUIREMENT))),
];

/// `core/v1.NodeSelectorRequirement`
const NODE_SELECTOR_REQUIREMENT: &[Field] =
    &[always("key", Text), always("operator", Text), non_zero("values", List(&Text))];

/// `core/v1.PreferredSchedulingTerm`
const PREFERRED_SCHEDULING_TERM: &[Field] =
    &[always("weight", Int32), always("preference", Object(NODE_SELECTOR_TERM))];

/// `core/v1.PodAffinity`
const POD_AFFINITY: &[Field] = &[
    non_zero("requiredDuringSchedulingIgnoredDuringExecution", List(&Object(POD_AFFINITY_TERM))),
    non_zero("preferredDuringSchedulingIgnoredDuringExecution", List(&Object(WEIGHTED_POD_AFFINITY_TERM))),
];

/// `core/v1.PodAffinityTerm`
const POD_AFFINITY_TERM: &[Field] = &[
    pointer("labelSelector", Object(LABEL_SELECTOR)),
    non_zero("namespaces", List(&Text)),
    always("topologyKey", Text),
    pointer("namespaceSelector", Object(LABEL_SELECTOR)),
    non_zero("matchLabelKeys", List(&Text)),
    non_zero("mismatchLabelKeys", List(&Text)),
];

/// `core/v1.WeightedPodAffinityTerm`
const WEIGHTED_POD_AFFINITY_TERM: &[Field] =
    &[always("weight", Int32), always("podAffinityTerm", Object(POD_AFFINITY_TERM))];

/// `core/v1.PodAntiAffinity`
const POD_ANTI_AFFINITY: &[Field] = &[
    non_zero("requiredDuringSchedulingIgnoredDuringExecution", List(&Object(POD_AFFINITY_TERM))),
    non_zero("preferredDuringSchedulingIgnoredDuringExecution", List(&Object(WEIGHTED_POD_AFFINITY_TERM))),
];

/// `core/v1.Toleration`
const TOLERATION: &[Field] = &[
    non_zero("key", Text),
    non_zero("operator", Text),
    non_zero("value", Text),
    non_zero("effect", Text),
    pointer("tolerationSeconds", Int64),
];

/// `core/v1.HostAlias`
const HOST_ALIAS: &[Field] = &[always("ip", Text), non_zero("hostnames", List(&Text))];

/// `core/v1.PodDNSConfig`
const POD_DNS_CONFIG: &[Field] = &[
    non_zero("nameservers", List(&Text)),
    non_zero("searches", List(&Text)),
    non_zero("options", List(&Object(POD_DNS_CONFIG_OPTION))),
];

/// `core/v1.PodDNSConfigOption`
const POD_DNS_CONFIG_OPTION: &[Field] = &[non_zero("name", Text), pointer("value", Text)];

/// `core/v1.PodReadinessGate`
const POD_READINESS_GATE: &[Field] = &[always("conditionType", Text)];

/// `core/v1.TopologySpreadConstraint`
const TOPOLOGY_SPREAD_CONSTRAINT: &[Field] = &[
    always("maxSkew", Int32),
    always("topologyKey", Text),
    always("whenUnsatisfiable", Text),
    pointer("labelSelector", Object(LABEL_SELECTOR)),
    pointer("minDomains", Int32),
    pointer("nodeAffinityPolicy", Text),
    pointer("nodeTaintsPolicy", Text),
    non_zero("matchLabelKeys", List(&Text)),
];

/// `core/v1.PodOS`
const POD_OS: &[Field] = &[always("name", Text)];

/// `core/v1.PodSchedulingGate`
const POD_SCHEDULING_GATE: &[Field] = &[always("name", Text)];

/// `core/v1.PodResourceClaim`
const POD_RESOURCE_CLAIM: &[Field] =
    &[always("name", Text), pointer("resourceClaimName", Text), pointer("resourceClaimTemplateName", Text)];
