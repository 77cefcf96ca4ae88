//! One row per field of the API server's types, in the order of `kube::defaults::fields`. The file is
//! longer than 500 lines because it has a line per field.
//!
//! Severe is what the baseline of the Pod Security Standards does not permit; notable is what only their restricted
//! profile does not permit. Rows that follow from no standard say why. The checks are those of
//! `k8s.io/pod-security-admission/policy` for Kubernetes v1.37.

use super::{
    Class, FieldRemark, Node, Scope, Severity, Since, values,
    when::When::{self, Any, Is, Key, Lost, Not, Removed, Set, True, Zero},
};
use crate::kube::workload::WorkloadKind;

/// The rows of a kind's spec. A further kind has none.
pub(super) fn of(kind: WorkloadKind) -> Option<&'static [Node]> {
    Some(match kind {
        WorkloadKind::Deployment => DEPLOYMENT_SPEC,
        WorkloadKind::ReplicaSet => REPLICA_SET_SPEC,
        WorkloadKind::DaemonSet => DAEMON_SET_SPEC,
        WorkloadKind::StatefulSet => STATEFUL_SET_SPEC,
        WorkloadKind::ReplicationController => REPLICATION_CONTROLLER_SPEC,
        WorkloadKind::Job => JOB_SPEC,
        WorkloadKind::CronJob => CRON_JOB_SPEC,
        WorkloadKind::Further(_) => return None,
    })
}

const fn node(name: &'static str, class: Class) -> Node {
    Node { name, class, remarks: &[], below: &[], enters: None }
}

/// A field that changes what runs.
const fn runs(name: &'static str) -> Node {
    node(name, Class::Runs)
}

/// A field that changes neither what runs nor what that can access.
const fn harmless(name: &'static str, reason: &'static str) -> Node {
    node(name, Class::Harmless(reason))
}

/// A field with the class of the field that contains it.
const fn same(name: &'static str) -> Node {
    node(name, Class::AsParent)
}

/// A field of which only the fields in it have an effect.
const fn parts(name: &'static str, below: &'static [Node]) -> Node {
    node(name, Class::Parts).of(below)
}

impl Node {
    const fn of(self, below: &'static [Node]) -> Self {
        Self { below, ..self }
    }

    const fn remarked(self, remarks: &'static [FieldRemark]) -> Self {
        Self { remarks, ..self }
    }

    const fn enters(self, scope: Scope) -> Self {
        Self { enters: Some(scope), ..self }
    }
}

const fn severe(code: &'static str, when: When) -> FieldRemark {
    FieldRemark { severity: Severity::Severe, code, when, since: Since::Always }
}

const fn notable(code: &'static str, when: When) -> FieldRemark {
    FieldRemark { severity: Severity::Notable, code, when, since: Since::Always }
}

impl FieldRemark {
    /// Remarks the values only if `since` holds.
    const fn since(self, since: Since) -> Self {
        Self { since, ..self }
    }
}

/// A value that the live object does not have in the same place.
const fn new(code: &'static str, when: When) -> FieldRemark {
    notable(code, when).since(Since::New)
}

const HOW_MANY: &str = "how many Pods run the same spec";
const HOW_FAST: &str = "how fast Pods are replaced, and what is kept of earlier versions";
const WHEN_IT_ENDS: &str = "when the Pod ends, not what it runs";
const WHERE: &str = "where the Pod runs among nodes that it may use";
const HOW_LARGE: &str = "how much of a resource the containers get";
const DISCARDED: &str = "the API server or a controller sets it";
const TIMING: &str = "when the probe runs, not what it does";
const HEALTH: &str = "how the state of a Job is decided";

const DAEMON_SET_SPEC: &[Node] = &[
    runs("selector").of(LABEL_SELECTOR),
    parts("template", POD_TEMPLATE_SPEC),
    harmless("updateStrategy", HOW_FAST).of(&[same("type"), same("rollingUpdate").of(ROLLING_UPDATE)]),
    harmless("minReadySeconds", HOW_FAST),
    harmless("revisionHistoryLimit", HOW_FAST),
];

const ROLLING_UPDATE: &[Node] = &[same("maxUnavailable"), same("maxSurge")];

const DEPLOYMENT_SPEC: &[Node] = &[
    harmless("replicas", HOW_MANY),
    runs("selector").of(LABEL_SELECTOR),
    parts("template", POD_TEMPLATE_SPEC),
    harmless("strategy", HOW_FAST).of(&[same("type"), same("rollingUpdate").of(ROLLING_UPDATE)]),
    harmless("minReadySeconds", HOW_FAST),
    harmless("revisionHistoryLimit", HOW_FAST),
    harmless("paused", HOW_FAST),
    harmless("progressDeadlineSeconds", HOW_FAST),
];

const REPLICA_SET_SPEC: &[Node] = &[
    harmless("replicas", HOW_MANY),
    harmless("minReadySeconds", HOW_FAST),
    runs("selector").of(LABEL_SELECTOR),
    parts("template", POD_TEMPLATE_SPEC),
];

const REPLICATION_CONTROLLER_SPEC: &[Node] = &[
    harmless("replicas", HOW_MANY),
    harmless("minReadySeconds", HOW_FAST),
    runs("selector"),
    parts("template", POD_TEMPLATE_SPEC),
];

const STATEFUL_SET_SPEC: &[Node] = &[
    harmless("replicas", HOW_MANY),
    runs("selector").of(LABEL_SELECTOR),
    parts("template", POD_TEMPLATE_SPEC),
    parts("volumeClaimTemplates", PERSISTENT_VOLUME_CLAIM),
    runs("serviceName"),
    harmless("podManagementPolicy", HOW_FAST),
    harmless("updateStrategy", HOW_FAST)
        .of(&[same("type"), same("rollingUpdate").of(&[same("partition"), same("maxUnavailable")])]),
    harmless("revisionHistoryLimit", HOW_FAST),
    harmless("minReadySeconds", HOW_FAST),
    parts(
        "persistentVolumeClaimRetentionPolicy",
        &[
            runs("whenDeleted").remarked(&[new("data-deleted", Is(&["Delete"]))]),
            runs("whenScaled").remarked(&[new("data-deleted", Is(&["Delete"]))]),
        ],
    ),
    // The number of a Pod selects its volumes.
    parts("ordinals", &[runs("start")]),
];

const CRON_JOB_SPEC: &[Node] = &[
    runs("schedule"),
    runs("timeZone"),
    harmless("startingDeadlineSeconds", HEALTH),
    runs("concurrencyPolicy"),
    parts("jobTemplate", &[parts("metadata", OTHER_METADATA), parts("spec", JOB_SPEC)]),
    runs("suspend"),
    harmless("successfulJobsHistoryLimit", HOW_FAST),
    harmless("failedJobsHistoryLimit", HOW_FAST),
];

const JOB_SPEC: &[Node] = &[
    // A Job has effects each time it runs, so how often matters.
    runs("parallelism"),
    runs("completions"),
    harmless("activeDeadlineSeconds", WHEN_IT_ENDS),
    harmless("podFailurePolicy", HEALTH).of(&[same("rules").of(&[
        same("action"),
        same("onExitCodes").of(&[same("containerName"), same("operator"), same("values")]),
        same("onPodConditions").of(&[same("type"), same("status")]),
    ])]),
    harmless("successPolicy", HEALTH).of(&[same("rules").of(&[same("succeededIndexes"), same("succeededCount")])]),
    runs("backoffLimit"),
    runs("backoffLimitPerIndex"),
    runs("maxFailedIndexes"),
    runs("selector").of(LABEL_SELECTOR),
    // The Job then takes over Pods that it did not create.
    runs("manualSelector").remarked(&[new("adopts-pods", True)]),
    parts("template", POD_TEMPLATE_SPEC),
    harmless("ttlSecondsAfterFinished", WHEN_IT_ENDS),
    runs("completionMode"),
    runs("suspend"),
    harmless("podReplacementPolicy", HOW_FAST),
    // Another controller than Kubernetes' own then creates the Pods.
    runs("managedBy").remarked(&[new("managed-by", Not(&["kubernetes.io/job-controller"]))]),
    harmless("scheduling", WHERE).of(&[
        same("schedulingPolicy").of(&[same("basic"), same("gang").of(&[same("minCount")])]),
        same("schedulingConstraints").of(&[same("topology").of(&[same("key")])]),
        same("disruptionMode").of(&[same("single"), same("all")]),
        runs("resourceClaims").remarked(&[new("device", Set)]).of(RESOURCE_CLAIM_SOURCE),
    ]),
];

const RESOURCE_CLAIM_SOURCE: &[Node] = &[same("name"), same("resourceClaimName"), same("resourceClaimTemplateName")];

const LABEL_SELECTOR: &[Node] =
    &[same("matchLabels"), same("matchExpressions").of(&[same("key"), same("operator"), same("values")])];

const POD_TEMPLATE_SPEC: &[Node] =
    &[parts("metadata", POD_METADATA).enters(Scope::PodMetadata), parts("spec", POD_SPEC).enters(Scope::Pod)];

/// The metadata of a template, without the spec.
pub(super) const POD_METADATA_ONLY: &[Node] = &[parts("metadata", POD_METADATA).enters(Scope::PodMetadata)];

const POD_METADATA: &[Node] = &[
    harmless("name", DISCARDED),
    harmless("generateName", DISCARDED),
    harmless("namespace", DISCARDED),
    harmless("selfLink", DISCARDED),
    harmless("uid", DISCARDED),
    harmless("resourceVersion", DISCARDED),
    harmless("generation", DISCARDED),
    harmless("creationTimestamp", DISCARDED),
    harmless("deletionTimestamp", DISCARDED),
    harmless("deletionGracePeriodSeconds", DISCARDED),
    // Services, network policies and controllers select Pods by their labels, and anything can read an annotation.
    runs("labels").remarked(&[new("injector", Key(values::INJECTORS))]),
    runs("annotations").remarked(&[
        severe("unconfined", When::KeyBut(values::PROFILE_ANNOTATIONS, values::PROFILES_OF_ANNOTATIONS)),
        new("injector", Key(values::INJECTORS)),
    ]),
    harmless("ownerReferences", DISCARDED).of(OWNER_REFERENCE),
    runs("finalizers"),
    harmless("managedFields", DISCARDED).of(MANAGED_FIELDS_ENTRY),
];

/// The metadata of Jobs and volume claims that a controller creates.
const OTHER_METADATA: &[Node] = &[
    harmless("name", DISCARDED),
    harmless("generateName", DISCARDED),
    harmless("namespace", DISCARDED),
    harmless("selfLink", DISCARDED),
    harmless("uid", DISCARDED),
    harmless("resourceVersion", DISCARDED),
    harmless("generation", DISCARDED),
    harmless("creationTimestamp", DISCARDED),
    harmless("deletionTimestamp", DISCARDED),
    harmless("deletionGracePeriodSeconds", DISCARDED),
    runs("labels"),
    runs("annotations"),
    harmless("ownerReferences", DISCARDED).of(OWNER_REFERENCE),
    runs("finalizers"),
    harmless("managedFields", DISCARDED).of(MANAGED_FIELDS_ENTRY),
];

const OWNER_REFERENCE: &[Node] =
    &[same("apiVersion"), same("kind"), same("name"), same("uid"), same("controller"), same("blockOwnerDeletion")];

const MANAGED_FIELDS_ENTRY: &[Node] = &[
    same("manager"),
    same("operation"),
    same("apiVersion"),
    same("time"),
    same("fieldsType"),
    same("fieldsV1"),
    same("subresource"),
];

const PERSISTENT_VOLUME_CLAIM: &[Node] = &[
    harmless("kind", DISCARDED),
    harmless("apiVersion", DISCARDED),
    // The name is a part of the names of the claims.
    runs("metadata").of(OTHER_METADATA),
    parts("spec", PERSISTENT_VOLUME_CLAIM_SPEC),
    harmless("status", DISCARDED).of(&[
        same("phase"),
        same("accessModes"),
        same("capacity"),
        same("conditions").of(&[
            same("type"),
            same("status"),
            same("lastProbeTime"),
            same("lastTransitionTime"),
            same("reason"),
            same("message"),
        ]),
        same("allocatedResources"),
        same("allocatedResourceStatuses"),
        same("currentVolumeAttributesClassName"),
        same("modifyVolumeStatus").of(&[same("targetVolumeAttributesClassName"), same("status")]),
        same("healthStatus").of(&[
            same("healthConditions").of(&[same("status"), same("reason"), same("message")]),
            same("lastTransitionTime"),
        ]),
    ]),
];

const PERSISTENT_VOLUME_CLAIM_SPEC: &[Node] = &[
    runs("accessModes"),
    runs("selector").of(LABEL_SELECTOR),
    harmless("resources", HOW_LARGE).of(&[same("limits"), same("requests")]),
    // The claim then gets a volume that exists, with its data.
    runs("volumeName").remarked(&[new("claim", Set)]),
    runs("storageClassName"),
    runs("volumeMode"),
    // The claim then starts with a copy of other data, which may be in another namespace.
    runs("dataSource").remarked(&[new("claim", Set)]).of(&[same("apiGroup"), same("kind"), same("name")]),
    runs("dataSourceRef").remarked(&[new("claim", Set)]).of(&[
        same("apiGroup"),
        same("kind"),
        same("name"),
        same("namespace"),
    ]),
    runs("volumeAttributesClassName"),
];

pub(super) const POD_SPEC: &[Node] = &[
    parts("volumes", VOLUME),
    runs("initContainers").remarked(ADDED).of(INIT_CONTAINER),
    runs("containers").remarked(ADDED).of(CONTAINER),
    runs("ephemeralContainers").remarked(ADDED).of(EPHEMERAL_CONTAINER),
    runs("restartPolicy"),
    harmless("terminationGracePeriodSeconds", WHEN_IT_ENDS),
    harmless("activeDeadlineSeconds", WHEN_IT_ENDS),
    runs("dnsPolicy").remarked(&[new("dns", Is(&["None", "Default"]))]),
    runs("nodeSelector").remarked(&[
        new("control-plane", Key(values::CONTROL_PLANE_LABELS)),
        notable("node-affinity", Any).since(Since::Changed),
    ]),
    runs("serviceAccountName").remarked(&[
        notable("service-account-changed", Any).since(Since::Changed),
        notable("service-account-new", Not(&["default"])).since(Since::Added),
    ]),
    // The older name of `serviceAccountName`. The API server gives both the same value.
    runs("serviceAccount"),
    runs("automountServiceAccountToken").remarked(&[notable("token", True), notable("token", Lost(&When::False))]),
    // The Pod passes the scheduler, and so the taints that keep it off a node.
    runs("nodeName").remarked(&[severe("node-name", Set)]),
    runs("hostNetwork").remarked(HOST),
    runs("hostPID").remarked(HOST),
    runs("hostIPC").remarked(HOST),
    runs("shareProcessNamespace").remarked(&[notable("host-access", True)]),
    parts("securityContext", POD_SECURITY_CONTEXT),
    runs("imagePullSecrets").remarked(&[new("pull-secret", Set)]).of(&[same("name")]),
    runs("hostname"),
    runs("subdomain"),
    parts("affinity", AFFINITY),
    runs("schedulerName").remarked(&[new("scheduler", Not(&["default-scheduler"]))]),
    runs("tolerations").remarked(&[severe("control-plane", When::ToleratesControlPlane)]).of(&[
        same("key"),
        same("operator"),
        same("value"),
        same("effect"),
        same("tolerationSeconds"),
    ]),
    runs("hostAliases").remarked(&[new("host-aliases", Set)]).of(&[same("ip"), same("hostnames")]),
    // The scheduler removes other Pods for these classes.
    runs("priorityClassName").remarked(&[new("priority", When::Begins(&["system-"]))]),
    runs("priority"),
    runs("dnsConfig").remarked(&[new("dns", Set)]).of(&[
        same("nameservers"),
        same("searches"),
        same("options").of(&[same("name"), same("value")]),
    ]),
    harmless("readinessGates", "when traffic reaches the Pod").of(&[same("conditionType")]),
    runs("runtimeClassName").remarked(&[new("runtime-class", Any)]),
    runs("enableServiceLinks"),
    harmless("preemptionPolicy", WHERE),
    harmless("overhead", HOW_LARGE),
    harmless("topologySpreadConstraints", WHERE).of(&[
        same("maxSkew"),
        same("topologyKey"),
        same("whenUnsatisfiable"),
        same("labelSelector").of(LABEL_SELECTOR),
        same("minDomains"),
        same("nodeAffinityPolicy"),
        same("nodeTaintsPolicy"),
        same("matchLabelKeys"),
    ]),
    runs("setHostnameAsFQDN").remarked(&[new("dns", True)]),
    runs("os").of(&[same("name")]),
    runs("hostUsers").remarked(&[notable("weakened", Lost(&When::False))]),
    harmless("schedulingGates", "when the Pod is scheduled").of(&[same("name")]),
    runs("resourceClaims").remarked(&[new("device", Set)]).of(RESOURCE_CLAIM_SOURCE),
    parts("resources", RESOURCE_REQUIREMENTS),
    runs("hostnameOverride"),
    harmless("schedulingGroup", WHERE).of(&[same("podGroupName")]),
    harmless("evictionResponders", WHEN_IT_ENDS).of(&[same("name"), same("priority")]),
];

/// `check_hostNamespaces.go`
const HOST: &[FieldRemark] = &[severe("host-access", True)];

const ADDED: &[FieldRemark] =
    &[notable("container-added", Set).since(Since::AddedToLive), notable("container-removed", Removed)];

const AFFINITY: &[Node] = &[
    runs("nodeAffinity").remarked(NODE_AFFINITY).of(&[
        same("requiredDuringSchedulingIgnoredDuringExecution").of(&[same("nodeSelectorTerms").of(NODE_SELECTOR_TERM)]),
        same("preferredDuringSchedulingIgnoredDuringExecution")
            .of(&[same("weight"), same("preference").of(NODE_SELECTOR_TERM)]),
    ]),
    harmless("podAffinity", WHERE).of(POD_AFFINITY),
    harmless("podAntiAffinity", WHERE).of(POD_AFFINITY),
];

/// The nodes on which a workload that runs may run from now on.
const NODE_AFFINITY: &[FieldRemark] =
    &[notable("node-affinity", Any).since(Since::Changed), notable("node-affinity", Any).since(Since::AddedToLive)];

const NODE_SELECTOR_TERM: &[Node] = &[
    same("matchExpressions").remarked(SPECIAL_NODES).of(&[same("key"), same("operator"), same("values")]),
    same("matchFields").remarked(SPECIAL_NODES).of(&[same("key"), same("operator"), same("values")]),
];

const SPECIAL_NODES: &[FieldRemark] = &[new("control-plane", When::SelectsSpecialNodes)];

const POD_AFFINITY: &[Node] = &[
    same("requiredDuringSchedulingIgnoredDuringExecution").of(POD_AFFINITY_TERM),
    same("preferredDuringSchedulingIgnoredDuringExecution")
        .of(&[same("weight"), same("podAffinityTerm").of(POD_AFFINITY_TERM)]),
];

const POD_AFFINITY_TERM: &[Node] = &[
    same("labelSelector").of(LABEL_SELECTOR),
    same("namespaces"),
    same("topologyKey"),
    same("namespaceSelector").of(LABEL_SELECTOR),
    same("matchLabelKeys"),
    same("mismatchLabelKeys"),
];

const POD_SECURITY_CONTEXT: &[Node] = &[
    parts("seLinuxOptions", SE_LINUX_OPTIONS),
    parts("windowsOptions", WINDOWS_OPTIONS),
    RUN_AS_USER,
    RUN_AS_GROUP,
    RUN_AS_NON_ROOT,
    runs("supplementalGroups").remarked(&[notable("file-group", Any).since(Since::Changed)]),
    runs("supplementalGroupsPolicy"),
    runs("fsGroup").remarked(&[new("root", Zero), notable("file-group", Any).since(Since::Changed)]),
    // `check_sysctls.go`
    runs("sysctls").of(&[same("name").remarked(&[severe("sysctl", Not(values::SAFE_SYSCTLS))]), same("value")]),
    harmless("fsGroupChangePolicy", "when the owner of files is changed"),
    parts("seccompProfile", PROFILE),
    parts("appArmorProfile", PROFILE),
    runs("seLinuxChangePolicy"),
];

const SECURITY_CONTEXT: &[Node] = &[
    parts(
        "capabilities",
        &[
            // `check_capabilities_baseline.go` and `check_capabilities_restricted.go`
            runs("add")
                .remarked(&[severe("capabilities", Not(values::BASELINE_CAPABILITIES)), notable("capabilities", Set)]),
            runs("drop").remarked(&[notable("weakened", Lost(&Is(&["ALL"])))]),
        ],
    ),
    // `check_privileged.go`
    runs("privileged").remarked(&[severe("privileged", True)]),
    parts("seLinuxOptions", SE_LINUX_OPTIONS),
    parts("windowsOptions", WINDOWS_OPTIONS),
    RUN_AS_USER,
    RUN_AS_GROUP,
    RUN_AS_NON_ROOT,
    runs("readOnlyRootFilesystem").remarked(&[notable("weakened", Lost(&True))]),
    // `check_allowPrivilegeEscalation.go`
    runs("allowPrivilegeEscalation")
        .remarked(&[notable("privilege-escalation", True), notable("weakened", Lost(&When::False))]),
    // `check_procMount_baseline.go`
    runs("procMount").remarked(&[severe("host-access", Not(&["Default"]))]),
    parts("seccompProfile", PROFILE),
    parts("appArmorProfile", PROFILE),
];

/// `check_runAsUser.go`
const RUN_AS_USER: Node = runs("runAsUser").remarked(&[notable("root", Zero)]);
const RUN_AS_GROUP: Node = runs("runAsGroup").remarked(&[new("root", Zero)]);
/// `check_runAsNonRoot.go`
const RUN_AS_NON_ROOT: Node =
    runs("runAsNonRoot").remarked(&[new("root", When::False), notable("weakened", Lost(&True))]);

/// `check_seccompProfile_baseline.go`, `check_seccompProfile_restricted.go` and `check_appArmorProfile.go`
const PROFILE: &[Node] = &[
    runs("type")
        .remarked(&[severe("unconfined", Not(values::PROFILES)), notable("weakened", Lost(&Is(values::PROFILES)))]),
    // A profile on the node, which can permit everything.
    runs("localhostProfile").remarked(&[new("local-profile", Set)]),
];

/// `check_seLinuxOptions.go`
const SE_LINUX_OPTIONS: &[Node] = &[
    runs("user").remarked(&[severe("selinux", Set)]),
    runs("role").remarked(&[severe("selinux", Set)]),
    runs("type").remarked(&[severe("selinux", Not(values::SELINUX_TYPES))]),
    runs("level"),
];

const WINDOWS_OPTIONS: &[Node] = &[
    runs("gmsaCredentialSpecName").remarked(WINDOWS_IDENTITY),
    runs("gmsaCredentialSpec").remarked(WINDOWS_IDENTITY),
    runs("runAsUserName").remarked(WINDOWS_IDENTITY),
    // `check_windowsHostProcess.go`
    runs("hostProcess").remarked(&[severe("host-process", True)]),
];

const WINDOWS_IDENTITY: &[FieldRemark] = &[new("windows-identity", Set)];

/// The rows of all containers, with one row that differs.
macro_rules! container {
    ($restart:expr $(, $further:expr)*) => {
        &[
            runs("name"),
            runs("image").remarked(IMAGE),
            runs("command").remarked(COMMAND),
            runs("args").remarked(COMMAND),
            // Relative names of programs and files begin there.
            runs("workingDir").remarked(&[new("working-dir", Any)]),
            parts("ports", PORT),
            parts("envFrom", ENV_FROM_SOURCE),
            runs("env")
                .remarked(&[
                    severe("loads-code", Key(values::LOADING_VARIABLES)),
                    new("redirected", Key(values::REDIRECTING_VARIABLES)),
                    new("credentials", Key(values::CREDENTIAL_VARIABLES)),
                ])
                .of(ENV_VAR),
            parts("resources", RESOURCE_REQUIREMENTS),
            harmless("resizePolicy", HOW_LARGE).of(&[same("resourceName"), same("restartPolicy")]),
            $restart,
            runs("restartPolicyRules")
                .of(&[same("action"), same("exitCodes").of(&[same("operator"), same("values")])]),
            parts("volumeMounts", VOLUME_MOUNT),
            runs("volumeDevices").remarked(&[new("raw-device", Set)]).of(&[same("name"), same("devicePath")]),
            parts("livenessProbe", PROBE),
            parts("readinessProbe", PROBE),
            parts("startupProbe", PROBE),
            parts("lifecycle", &[
                parts("postStart", LIFECYCLE_HANDLER),
                parts("preStop", LIFECYCLE_HANDLER),
                harmless("stopSignal", WHEN_IT_ENDS),
            ]),
            // The kubelet reads the file and copies it into the Pod's status.
            runs("terminationMessagePath").remarked(&[new("termination-message", Not(&["/dev/termination-log"]))]),
            runs("terminationMessagePolicy"),
            runs("imagePullPolicy").remarked(&[
                notable("image-pull", Any).since(Since::Changed),
                notable("image-pull", Is(&["Never"])),
            ]),
            parts("securityContext", SECURITY_CONTEXT),
            runs("stdin"),
            runs("stdinOnce"),
            runs("tty"),
            $($further,)*
        ]
    };
}

const CONTAINER: &[Node] = container!(runs("restartPolicy"));
/// An init container that is restarted runs as long as the Pod.
const INIT_CONTAINER: &[Node] = container!(runs("restartPolicy").remarked(&[new("sidecar", Is(&["Always"]))]));
/// An ephemeral container can share the processes of another one.
const EPHEMERAL_CONTAINER: &[Node] =
    container!(runs("restartPolicy"), runs("targetContainerName").remarked(&[new("shared-processes", Set)]));

const IMAGE: &[FieldRemark] = &[
    notable("latest", When::LatestImage),
    notable("mutable-tag", When::TaggedImage),
    notable("registry-changed", When::OtherRegistry),
    notable("tag-moved", When::OtherTag),
    notable("digest-moved", When::OtherDigest),
];

const COMMAND: &[FieldRemark] =
    &[notable("command-changed", Any).since(Since::Changed), notable("command-new", Set).since(Since::Added)];

const PORT: &[Node] = &[
    harmless("name", "a name for the port"),
    // `check_hostPorts.go`
    runs("hostPort").remarked(&[severe("host-access", When::NonZero)]),
    runs("containerPort"),
    runs("protocol"),
    runs("hostIP"),
];

const ENV_FROM_SOURCE: &[Node] = &[
    runs("prefix"),
    runs("configMapRef").remarked(ENV_FROM).of(OPTIONAL),
    runs("secretRef").remarked(ENV_FROM).of(OPTIONAL_SECRET),
];

const ENV_FROM: &[FieldRemark] = &[new("env-from", Set)];
const OPTIONAL: &[Node] = &[same("name"), same("optional")];
const OPTIONAL_SECRET: &[Node] = &[SECRET_NAME, same("optional")];
const SECRET: &[FieldRemark] = &[notable("secret", Set).since(Since::NewInPod)];
const SECRET_NAME: Node = runs("name").remarked(SECRET);

const ENV_VAR: &[Node] = &[
    runs("name"),
    runs("value"),
    parts(
        "valueFrom",
        &[
            runs("fieldRef").of(FIELD_REF),
            runs("resourceFieldRef").of(RESOURCE_FIELD_REF),
            runs("configMapKeyRef").remarked(ENV_FROM).of(&[same("name"), same("key"), same("optional")]),
            runs("secretKeyRef").remarked(ENV_FROM).of(&[SECRET_NAME, same("key"), same("optional")]),
            // Another container writes the file.
            runs("fileKeyRef").remarked(&[new("env-from-file", Set)]).of(&[
                same("volumeName"),
                same("path"),
                same("key"),
                same("optional"),
            ]),
        ],
    ),
];

const FIELD_REF: &[Node] = &[
    same("apiVersion"),
    // Labels and annotations of a Pod can change after the signature.
    same("fieldPath").remarked(&[new("pod-metadata", Not(values::FIXED_FIELDS))]),
];

const RESOURCE_FIELD_REF: &[Node] = &[same("containerName"), same("resource"), same("divisor")];

const RESOURCE_REQUIREMENTS: &[Node] = &[
    harmless("limits", HOW_LARGE).remarked(&[new("device", When::ExtendedResource)]),
    harmless("requests", HOW_LARGE).remarked(&[new("device", When::ExtendedResource)]),
    runs("claims").remarked(&[new("device", Set)]).of(&[same("name"), same("request")]),
];

const VOLUME_MOUNT: &[Node] = &[
    runs("name"),
    runs("readOnly").remarked(&[notable("weakened", Lost(&True))]),
    runs("recursiveReadOnly"),
    runs("mountPath").remarked(&[new("mount-over", When::Below(values::SYSTEM_PATHS, values::SYSTEM_FOLDERS))]),
    runs("subPath"),
    // Mounts in the container then appear on the node.
    runs("mountPropagation").remarked(&[severe("host-access", Is(&["Bidirectional"]))]),
    runs("subPathExpr"),
    runs("bindMountOptions"),
];

const PROBE: &[Node] = &[
    EXEC,
    HTTP_GET,
    TCP_SOCKET,
    runs("grpc").of(&[same("port"), same("service"), same("mode")]),
    harmless("initialDelaySeconds", TIMING),
    harmless("timeoutSeconds", TIMING),
    harmless("periodSeconds", TIMING),
    harmless("successThreshold", TIMING),
    harmless("failureThreshold", TIMING),
    harmless("terminationGracePeriodSeconds", WHEN_IT_ENDS),
];

const LIFECYCLE_HANDLER: &[Node] =
    &[EXEC, HTTP_GET, TCP_SOCKET, harmless("sleep", WHEN_IT_ENDS).of(&[same("seconds")])];

const EXEC: Node = parts("exec", &[runs("command").remarked(&[new("executes", Set)])]);

/// `check_hostProbesAndhostLifecycle.go`
const HOST_FIELD: Node = runs("host").remarked(&[severe("probe-host", Set)]);

const HTTP_GET: Node = runs("httpGet").of(&[
    runs("path"),
    runs("port"),
    HOST_FIELD,
    runs("scheme"),
    runs("httpHeaders").of(&[same("name"), same("value")]),
    runs("protocol"),
]);

const TCP_SOCKET: Node = runs("tcpSocket").of(&[runs("port"), HOST_FIELD]);

/// A source that `check_restrictedVolumes.go` does not permit.
const fn driver(name: &'static str, below: &'static [Node]) -> Node {
    runs(name).remarked(INLINE_VOLUME).of(below)
}

const INLINE_VOLUME: &[FieldRemark] = &[new("inline-volume", Set)];

const SECRET_REF: Node = runs("secretRef").of(&[SECRET_NAME]);
const FS_TYPE: Node = same("fsType");
const READ_ONLY: Node = same("readOnly");

const VOLUME: &[Node] = &[
    runs("name"),
    // `check_hostPathVolumes.go`
    runs("hostPath").of(&[
        runs("path")
            .remarked(&[severe("host-access", Any), severe("runtime-socket", When::Ends(values::RUNTIME_SOCKETS))]),
        same("type"),
    ]),
    runs("emptyDir").of(&[same("medium"), harmless("sizeLimit", HOW_LARGE), same("mode")]),
    driver("gcePersistentDisk", &[same("pdName"), FS_TYPE, same("partition"), READ_ONLY]),
    driver("awsElasticBlockStore", &[same("volumeID"), FS_TYPE, same("partition"), READ_ONLY]),
    // The kubelet runs Git on the node, with what the repository contains (CVE-2024-10220).
    runs("gitRepo").remarked(&[severe("git-repo", Set)]).of(&[same("repository"), same("revision"), same("directory")]),
    runs("secret").of(&[
        runs("secretName").remarked(SECRET),
        KEYS_TO_PATHS,
        runs("defaultMode"),
        runs("optional"),
        runs("defaultUser"),
    ]),
    driver("nfs", &[same("server"), same("path"), READ_ONLY]),
    driver(
        "iscsi",
        &[
            same("targetPortal"),
            same("iqn"),
            same("lun"),
            same("iscsiInterface"),
            FS_TYPE,
            READ_ONLY,
            same("portals"),
            same("chapAuthDiscovery"),
            same("chapAuthSession"),
            SECRET_REF,
            same("initiatorName"),
        ],
    ),
    driver("glusterfs", &[same("endpoints"), same("path"), READ_ONLY]),
    runs("persistentVolumeClaim").remarked(&[new("claim", Set)]).of(&[same("claimName"), READ_ONLY]),
    driver(
        "rbd",
        &[same("monitors"), same("image"), FS_TYPE, same("pool"), same("user"), same("keyring"), SECRET_REF, READ_ONLY],
    ),
    // The kubelet runs the driver's program on the node.
    runs("flexVolume").remarked(&[severe("flex-volume", Set)]).of(&[
        same("driver"),
        FS_TYPE,
        SECRET_REF,
        READ_ONLY,
        same("options"),
    ]),
    driver("cinder", &[same("volumeID"), FS_TYPE, READ_ONLY, SECRET_REF]),
    driver("cephfs", &[same("monitors"), same("path"), same("user"), same("secretFile"), SECRET_REF, READ_ONLY]),
    driver("flocker", &[same("datasetName"), same("datasetUUID")]),
    runs("downwardAPI").of(&[DOWNWARD_ITEMS, runs("defaultMode"), runs("defaultUser")]),
    driver("fc", &[same("targetWWNs"), same("lun"), FS_TYPE, READ_ONLY, same("wwids")]),
    driver("azureFile", &[runs("secretName").remarked(SECRET), same("shareName"), READ_ONLY]),
    runs("configMap").remarked(CONFIG_MAP).of(&[
        same("name"),
        KEYS_TO_PATHS,
        runs("defaultMode"),
        same("optional"),
        runs("defaultUser"),
    ]),
    driver("vsphereVolume", &[same("volumePath"), FS_TYPE, same("storagePolicyName"), same("storagePolicyID")]),
    driver("quobyte", &[same("registry"), same("volume"), READ_ONLY, same("user"), same("group"), same("tenant")]),
    driver("azureDisk", &[same("diskName"), same("diskURI"), same("cachingMode"), FS_TYPE, READ_ONLY, same("kind")]),
    driver("photonPersistentDisk", &[same("pdID"), FS_TYPE]),
    runs("projected").of(&[parts("sources", PROJECTION), runs("defaultMode"), runs("defaultUser")]),
    driver("portworxVolume", &[same("volumeID"), FS_TYPE, READ_ONLY]),
    driver(
        "scaleIO",
        &[
            same("gateway"),
            same("system"),
            SECRET_REF,
            same("sslEnabled"),
            same("protectionDomain"),
            same("storagePool"),
            same("storageMode"),
            same("volumeName"),
            FS_TYPE,
            READ_ONLY,
        ],
    ),
    driver("storageos", &[same("volumeName"), same("volumeNamespace"), FS_TYPE, READ_ONLY, SECRET_REF]),
    // A driver can mount anything, also Secrets of other systems.
    runs("csi").remarked(&[new("csi-volume", Set)]).of(&[
        same("driver"),
        READ_ONLY,
        FS_TYPE,
        same("volumeAttributes"),
        runs("nodePublishSecretRef").of(&[SECRET_NAME]),
    ]),
    runs("ephemeral").of(&[parts(
        "volumeClaimTemplate",
        &[parts("metadata", OTHER_METADATA), parts("spec", PERSISTENT_VOLUME_CLAIM_SPEC)],
    )]),
    parts(
        "image",
        &[
            runs("reference").remarked(IMAGE),
            runs("pullPolicy")
                .remarked(&[notable("image-pull", Any).since(Since::Changed), notable("image-pull", Is(&["Never"]))]),
        ],
    ),
];

const CONFIG_MAP: &[FieldRemark] = &[new("config-map", Set)];

const KEYS_TO_PATHS: Node = runs("items").of(&[same("key"), same("path"), same("mode"), same("user")]);

const DOWNWARD_ITEMS: Node = runs("items").of(&[
    same("path"),
    same("fieldRef").of(FIELD_REF),
    same("resourceFieldRef").of(RESOURCE_FIELD_REF),
    same("mode"),
    same("user"),
]);

const PROJECTION: &[Node] = &[
    runs("secret").of(&[SECRET_NAME, KEYS_TO_PATHS, same("optional")]),
    runs("downwardAPI").of(&[DOWNWARD_ITEMS]),
    runs("configMap").remarked(CONFIG_MAP).of(&[same("name"), KEYS_TO_PATHS, same("optional")]),
    // A token for another audience identifies the Pod to other systems.
    runs("serviceAccountToken").remarked(&[new("token", Set)]).of(&[
        same("audience"),
        same("expirationSeconds"),
        same("path"),
        same("user"),
    ]),
    runs("clusterTrustBundle").remarked(&[new("trust-bundle", Set)]).of(&[
        same("name"),
        same("signerName"),
        same("labelSelector").of(LABEL_SELECTOR),
        same("optional"),
        same("path"),
        same("user"),
    ]),
    runs("podCertificate").remarked(&[new("pod-certificate", Set)]).of(&[
        same("signerName"),
        same("keyType"),
        same("maxExpirationSeconds"),
        same("credentialBundlePath"),
        same("keyPath"),
        same("certificateChainPath"),
        same("userAnnotations"),
        same("user"),
    ]),
];
