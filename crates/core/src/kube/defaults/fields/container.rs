//! Containers of all three sorts, and what hangs on one.

use super::pod::{
    APP_ARMOR_PROFILE, RESOURCE_REQUIREMENTS, SE_LINUX_OPTIONS, SECCOMP_PROFILE, WINDOWS_SECURITY_CONTEXT_OPTIONS,
};
use crate::kube::defaults::shape::{
    Field,
    Kind::{Bool, Int32, Int64, IntOrString, List, Object, Quantity, Text},
    always, gated, non_zero, nullable, pointer,
};

/// `core/v1.ObjectFieldSelector`
pub(super) const OBJECT_FIELD_SELECTOR: &[Field] = &[non_zero("apiVersion", Text), always("fieldPath", Text)];

/// `core/v1.ResourceFieldSelector`
pub(super) const RESOURCE_FIELD_SELECTOR: &[Field] =
    &[non_zero("containerName", Text), always("resource", Text), always("divisor", Quantity)];

/// `core/v1.Container`
pub(super) const CONTAINER: &[Field] = &[
    always("name", Text),
    non_zero("image", Text),
    non_zero("command", List(&Text)),
    non_zero("args", List(&Text)),
    non_zero("workingDir", Text),
    non_zero("ports", List(&Object(CONTAINER_PORT))),
    non_zero("envFrom", List(&Object(ENV_FROM_SOURCE))),
    non_zero("env", List(&Object(ENV_VAR))),
    always("resources", Object(RESOURCE_REQUIREMENTS)),
    non_zero("resizePolicy", List(&Object(CONTAINER_RESIZE_POLICY))),
    pointer("restartPolicy", Text),
    non_zero("restartPolicyRules", List(&Object(CONTAINER_RESTART_RULE))),
    non_zero("volumeMounts", List(&Object(VOLUME_MOUNT))),
    non_zero("volumeDevices", List(&Object(VOLUME_DEVICE))),
    pointer("livenessProbe", Object(PROBE)),
    pointer("readinessProbe", Object(PROBE)),
    pointer("startupProbe", Object(PROBE)),
    pointer("lifecycle", Object(LIFECYCLE)),
    non_zero("terminationMessagePath", Text),
    non_zero("terminationMessagePolicy", Text),
    non_zero("imagePullPolicy", Text),
    pointer("securityContext", Object(SECURITY_CONTEXT)),
    non_zero("stdin", Bool),
    non_zero("stdinOnce", Bool),
    non_zero("tty", Bool),
];

/// `core/v1.ContainerPort`
const CONTAINER_PORT: &[Field] = &[
    non_zero("name", Text),
    non_zero("hostPort", Int32),
    always("containerPort", Int32),
    non_zero("protocol", Text),
    non_zero("hostIP", Text),
];

/// `core/v1.EnvFromSource`
const ENV_FROM_SOURCE: &[Field] = &[
    non_zero("prefix", Text),
    pointer("configMapRef", Object(CONFIG_MAP_ENV_SOURCE)),
    pointer("secretRef", Object(SECRET_ENV_SOURCE)),
];

/// `core/v1.ConfigMapEnvSource`
const CONFIG_MAP_ENV_SOURCE: &[Field] = &[non_zero("name", Text), pointer("optional", Bool)];

/// `core/v1.SecretEnvSource`
const SECRET_ENV_SOURCE: &[Field] = &[non_zero("name", Text), pointer("optional", Bool)];

/// `core/v1.EnvVar`
const ENV_VAR: &[Field] =
    &[always("name", Text), non_zero("value", Text), pointer("valueFrom", Object(ENV_VAR_SOURCE))];

/// `core/v1.EnvVarSource`
const ENV_VAR_SOURCE: &[Field] = &[
    pointer("fieldRef", Object(OBJECT_FIELD_SELECTOR)),
    pointer("resourceFieldRef", Object(RESOURCE_FIELD_SELECTOR)),
    pointer("configMapKeyRef", Object(CONFIG_MAP_KEY_SELECTOR)),
    pointer("secretKeyRef", Object(SECRET_KEY_SELECTOR)),
    pointer("fileKeyRef", Object(FILE_KEY_SELECTOR)),
];

/// `core/v1.ConfigMapKeySelector`
const CONFIG_MAP_KEY_SELECTOR: &[Field] = &[non_zero("name", Text), always("key", Text), pointer("optional", Bool)];

/// `core/v1.SecretKeySelector`
const SECRET_KEY_SELECTOR: &[Field] = &[non_zero("name", Text), always("key", Text), pointer("optional", Bool)];

/// `core/v1.FileKeySelector`
const FILE_KEY_SELECTOR: &[Field] =
    &[always("volumeName", Text), always("path", Text), always("key", Text), pointer("optional", Bool)];

/// `core/v1.ContainerResizePolicy`
const CONTAINER_RESIZE_POLICY: &[Field] = &[always("resourceName", Text), always("restartPolicy", Text)];

/// `core/v1.ContainerRestartRule`
const CONTAINER_RESTART_RULE: &[Field] =
    &[non_zero("action", Text), pointer("exitCodes", Object(CONTAINER_RESTART_RULE_ON_EXIT_CODES))];

/// `core/v1.ContainerRestartRuleOnExitCodes`
const CONTAINER_RESTART_RULE_ON_EXIT_CODES: &[Field] = &[non_zero("operator", Text), non_zero("values", List(&Int32))];

/// `core/v1.VolumeMount`
const VOLUME_MOUNT: &[Field] = &[
    always("name", Text),
    non_zero("readOnly", Bool),
    pointer("recursiveReadOnly", Text),
    always("mountPath", Text),
    non_zero("subPath", Text),
    pointer("mountPropagation", Text),
    non_zero("subPathExpr", Text),
    gated("bindMountOptions"),
];

/// `core/v1.VolumeDevice`
const VOLUME_DEVICE: &[Field] = &[always("name", Text), always("devicePath", Text)];

/// `core/v1.Probe`
const PROBE: &[Field] = &[
    pointer("exec", Object(EXEC_ACTION)),
    pointer("httpGet", Object(HTTP_GET_ACTION)),
    pointer("tcpSocket", Object(TCP_SOCKET_ACTION)),
    pointer("grpc", Object(GRPC_ACTION)),
    non_zero("initialDelaySeconds", Int32),
    non_zero("timeoutSeconds", Int32),
    non_zero("periodSeconds", Int32),
    non_zero("successThreshold", Int32),
    non_zero("failureThreshold", Int32),
    pointer("terminationGracePeriodSeconds", Int64),
];

/// `core/v1.ExecAction`
const EXEC_ACTION: &[Field] = &[non_zero("command", List(&Text))];

/// `core/v1.HTTPGetAction`
const HTTP_GET_ACTION: &[Field] = &[
    non_zero("path", Text),
    always("port", IntOrString),
    non_zero("host", Text),
    non_zero("scheme", Text),
    non_zero("httpHeaders", List(&Object(HTTP_HEADER))),
    gated("protocol"),
];

/// `core/v1.HTTPHeader`
const HTTP_HEADER: &[Field] = &[always("name", Text), always("value", Text)];

/// `core/v1.TCPSocketAction`
const TCP_SOCKET_ACTION: &[Field] = &[always("port", IntOrString), non_zero("host", Text)];

/// `core/v1.GRPCAction`
const GRPC_ACTION: &[Field] = &[always("port", Int32), nullable("service", Text), gated("mode")];

/// `core/v1.Lifecycle`
const LIFECYCLE: &[Field] = &[
    pointer("postStart", Object(LIFECYCLE_HANDLER)),
    pointer("preStop", Object(LIFECYCLE_HANDLER)),
    pointer("stopSignal", Text),
];

/// `core/v1.LifecycleHandler`
const LIFECYCLE_HANDLER: &[Field] = &[
    pointer("exec", Object(EXEC_ACTION)),
    pointer("httpGet", Object(HTTP_GET_ACTION)),
    pointer("tcpSocket", Object(TCP_SOCKET_ACTION)),
    pointer("sleep", Object(SLEEP_ACTION)),
];

/// `core/v1.SleepAction`
const SLEEP_ACTION: &[Field] = &[always("seconds", Int64)];

/// `core/v1.SecurityContext`
const SECURITY_CONTEXT: &[Field] = &[
    pointer("capabilities", Object(CAPABILITIES)),
    pointer("privileged", Bool),
    pointer("seLinuxOptions", Object(SE_LINUX_OPTIONS)),
    pointer("windowsOptions", Object(WINDOWS_SECURITY_CONTEXT_OPTIONS)),
    pointer("runAsUser", Int64),
    pointer("runAsGroup", Int64),
    pointer("runAsNonRoot", Bool),
    pointer("readOnlyRootFilesystem", Bool),
    pointer("allowPrivilegeEscalation", Bool),
    pointer("procMount", Text),
    pointer("seccompProfile", Object(SECCOMP_PROFILE)),
    pointer("appArmorProfile", Object(APP_ARMOR_PROFILE)),
];

/// `core/v1.Capabilities`
const CAPABILITIES: &[Field] = &[non_zero("add", List(&Text)), non_zero("drop", List(&Text))];

/// `core/v1.EphemeralContainer`
pub(super) const EPHEMERAL_CONTAINER: &[Field] = &[
    always("name", Text),
    non_zero("image", Text),
    non_zero("command", List(&Text)),
    non_zero("args", List(&Text)),
    non_zero("workingDir", Text),
    non_zero("ports", List(&Object(CONTAINER_PORT))),
    non_zero("envFrom", List(&Object(ENV_FROM_SOURCE))),
    non_zero("env", List(&Object(ENV_VAR))),
    always("resources", Object(RESOURCE_REQUIREMENTS)),
    non_zero("resizePolicy", List(&Object(CONTAINER_RESIZE_POLICY))),
    pointer("restartPolicy", Text),
    non_zero("restartPolicyRules", List(&Object(CONTAINER_RESTART_RULE))),
    non_zero("volumeMounts", List(&Object(VOLUME_MOUNT))),
    non_zero("volumeDevices", List(&Object(VOLUME_DEVICE))),
    pointer("livenessProbe", Object(PROBE)),
    pointer("readinessProbe", Object(PROBE)),
    pointer("startupProbe", Object(PROBE)),
    pointer("lifecycle", Object(LIFECYCLE)),
    non_zero("terminationMessagePath", Text),
    non_zero("terminationMessagePolicy", Text),
    non_zero("imagePullPolicy", Text),
    pointer("securityContext", Object(SECURITY_CONTEXT)),
    non_zero("stdin", Bool),
    non_zero("stdinOnce", Bool),
    non_zero("tty", Bool),
    non_zero("targetContainerName", Text),
];
