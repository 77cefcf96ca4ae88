//! The texts of unusual fields. Which values are unusual, and how serious they are, is in `kube::field_class` of core.

use serde_json::Value;
use writgate_core::{kube::UnusualField, text::quoted};

/// What is said of one container, volume or Pod, and of several. `{}` is the value, `{field}` the path of the field.
pub(super) struct Text {
    pub(super) of_one: &'static str,
    pub(super) of_several: &'static str,
}

/// A code, the end of the field's path if the text depends on the field, and the texts. Of the rows with a code, the first
/// whose field fits counts.
type Row = (&'static str, &'static str, &'static str, &'static str);

const TEXTS: [Row; 69] = [
    ("privileged", "", "is privileged: it controls the node", "are privileged: they control the node"),
    (
        "host-process",
        "",
        "is a HostProcess container: it controls the node",
        "are HostProcess containers: they control the node",
    ),
    ("host-access", "hostPath.path", "mounts {} of the node", "mount paths of the node"),
    ("host-access", "ports.hostPort", "uses port {} of the node", "use ports of the node"),
    ("host-access", "securityContext.procMount", "sees all of /proc (procMount: {})", "see all of /proc (procMount)"),
    (
        "host-access",
        "volumeMounts.mountPropagation",
        "mounts for the node too ({field}: {})",
        "mount for the node too (mountPropagation: Bidirectional)",
    ),
    ("host-access", "", "has {field}: {}", "have {field}: true"),
    (
        "runtime-socket",
        "",
        "mounts {}, with which it controls the containers of the node",
        "mount sockets with which they control the containers of the node",
    ),
    ("capabilities", "", "has additional Linux capabilities {}", "have additional Linux capabilities"),
    ("unconfined", "annotations", "is not confined ({})", "are not confined"),
    ("unconfined", "", "is not confined ({field}: {})", "are not confined ({field})"),
    ("selinux", "", "chooses its SELinux context ({field}: {})", "choose their SELinux context ({field})"),
    (
        "sysctl",
        "",
        "sets the kernel parameter {}, which is not a safe one",
        "set kernel parameters that are not safe ones",
    ),
    ("probe-host", "", "makes the node contact {} ({field})", "make the node contact other hosts ({field})"),
    ("node-name", "", "runs on node {}, whatever its taints (nodeName)", "run on chosen nodes"),
    (
        "control-plane",
        "tolerations",
        "may run on nodes of the control plane (toleration {})",
        "may run on nodes of the control plane",
    ),
    ("control-plane", "", "selects special nodes ({})", "select special nodes"),
    (
        "git-repo",
        "",
        "clones {}; the node runs Git for that, with what the repository contains",
        "clone repositories on the node",
    ),
    ("flex-volume", "", "is mounted by a program on the node: {}", "are mounted by programs on the node (flexVolume)"),
    ("loads-code", "", "sets {}", "set variables that load or run other code"),
    ("redirected", "", "sets {}", "set variables that redirect traffic"),
    ("credentials", "", "sets {}", "set variables with credentials"),
    ("injector", "", "has {}", "have metadata that changes Pods"),
    ("root", "runAsGroup", "runs as group root ({field}: 0)", "run as group root ({field}: 0)"),
    ("root", "runAsNonRoot", "may run as root ({field}: false)", "may run as root ({field}: false)"),
    ("root", "fsGroup", "gives its files to group root ({field}: 0)", "give their files to group root ({field}: 0)"),
    ("root", "", "runs as root (runAsUser: 0)", "run as root (runAsUser: 0)"),
    (
        "privilege-escalation",
        "",
        "may gain privileges (allowPrivilegeEscalation: true)",
        "may gain privileges (allowPrivilegeEscalation: true)",
    ),
    ("weakened", "", "loses a protection ({field}: {})", "lose a protection ({field})"),
    (
        "local-profile",
        "",
        "is confined by a profile of the node that nobody reviews here ({field}: {})",
        "are confined by profiles of the node that nobody reviews here ({field})",
    ),
    ("windows-identity", "", "runs as another identity ({field}: {})", "run as other identities ({field})"),
    ("service-account-changed", "", "changes its service account from {}", "change their service account"),
    ("service-account-new", "", "runs as service account {}", "run as service accounts"),
    (
        "token",
        "automountServiceAccountToken",
        "gives its containers a token for the API server (automountServiceAccountToken: {})",
        "give their containers a token for the API server",
    ),
    ("token", "", "contains a token of the service account: {}", "contain a token of the service account"),
    (
        "pod-certificate",
        "",
        "contains a certificate that identifies the Pod: {}",
        "contain certificates that identify the Pod",
    ),
    ("trust-bundle", "", "contains authorities to trust: {}", "contain authorities to trust"),
    ("secret", "", "newly reads Secret {}", "newly read Secrets"),
    ("pull-secret", "", "pulls images with Secret {}", "pull images with Secrets"),
    ("env-from", "", "reads variables from {}", "read variables from objects whose contents no hash covers"),
    (
        "env-from-file",
        "",
        "reads a variable from a file that another container writes: {}",
        "read variables from files that other containers write",
    ),
    ("config-map", "", "mounts {}", "mount ConfigMaps"),
    (
        "pod-metadata",
        "",
        "reads {}, which can change after the signature",
        "read metadata of the Pod, which can change after the signature",
    ),
    (
        "claim",
        "volumeClaimTemplates.spec.volumeName",
        "claims the volume {}, with its data",
        "claim volumes with their data",
    ),
    (
        "claim",
        "persistentVolumeClaim",
        "is the claim {}, whose data no hash covers",
        "are claims, whose data no hash covers",
    ),
    ("claim", "", "starts with other data ({field}: {})", "start with other data ({field})"),
    ("data-deleted", "", "deletes its data with the workload ({field}: {})", "delete their data with the workload"),
    ("inline-volume", "", "mounts storage directly ({field}: {})", "mount storage directly ({field})"),
    ("csi-volume", "", "is mounted by a driver: {}", "are mounted by drivers (csi)"),
    ("raw-device", "", "uses a volume as a raw device: {}", "use volumes as raw devices"),
    ("mount-over", "", "mounts over {}", "mount over system paths"),
    ("device", "", "uses devices ({field}: {})", "use devices ({field})"),
    (
        "latest",
        "image.reference",
        "is the image {}: whichever image that is when it starts",
        "are images without a digest",
    ),
    (
        "latest",
        "",
        "runs {}: whichever image that is when it starts",
        "run images without a tag or with the tag latest",
    ),
    (
        "mutable-tag",
        "image.reference",
        "is the image {}, without a digest: the tag can be moved to another image",
        "are images without a digest",
    ),
    (
        "mutable-tag",
        "",
        "runs {}, without a digest: the tag can be moved to another image",
        "run images without a digest: their tags can be moved to other images",
    ),
    ("registry-changed", "", "gets its image from another registry: {}", "get their images from other registries"),
    (
        "tag-moved",
        "",
        "gets another tag for the same digest, so it runs the same image: {}",
        "get other tags for the same digest, so they run the same image",
    ),
    ("digest-moved", "", "gets another image under the same tag: {}", "get other images under the same tag"),
    (
        "image-pull",
        "",
        "decides in another way which image of the name it runs ({field}: {})",
        "decide in another way which image of the name they run ({field})",
    ),
    ("container-added", "", "is added: {}", "are added"),
    ("container-removed", "", "is removed: {}", "are removed"),
    (
        "sidecar",
        "",
        "runs as long as the Pod (restartPolicy: Always)",
        "run as long as the Pod (restartPolicy: Always)",
    ),
    ("command-changed", "", "has another {field}", "have other {field}"),
    ("command-new", "", "has {field} of its own: {}", "have {field} of their own"),
    ("working-dir", "", "starts in another folder ({field}: {})", "start in another folder"),
    ("executes", "", "executes {} ({field})", "execute commands ({field})"),
    ("shared-processes", "", "sees the processes of container {}", "see the processes of other containers"),
    (
        "termination-message",
        "",
        "copies the file {} into the Pod's status ({field})",
        "copy files into the Pod's status",
    ),
];

/// Further rows: names, scheduling, and controllers.
const FURTHER_TEXTS: [Row; 9] = [
    ("dns", "", "resolves names in another way ({field}: {})", "resolve names in another way"),
    ("host-aliases", "", "has host names of its own: {}", "have host names of their own"),
    ("node-affinity", "", "may run on other nodes than before ({field}: {})", "may run on other nodes than before"),
    (
        "file-group",
        "",
        "gets access to the files of other groups ({field}: {})",
        "get access to the files of other groups",
    ),
    ("scheduler", "", "is placed by another scheduler ({field}: {})", "are placed by another scheduler"),
    ("priority", "", "has the priority of system components ({field}: {})", "have the priority of system components"),
    ("runtime-class", "", "runs in another runtime ({field}: {})", "run in another runtime"),
    ("adopts-pods", "", "takes over Pods that it did not create ({field}: true)", "take over Pods"),
    ("managed-by", "", "is run by another controller ({field}: {})", "are run by another controller"),
];

/// The texts of a code, for a field. `fields` is the path without items.
pub(super) fn of(code: &str, fields: &str) -> Option<Text> {
    let fits = |end: &str| {
        end.is_empty()
            || fields.strip_suffix(end).is_some_and(|before| before.is_empty() || before.ends_with('.'))
            || fields.strip_prefix(end).is_some_and(|after| after.starts_with('.'))
    };
    let mut rows = TEXTS.iter().chain(&FURTHER_TEXTS);
    rows.find(|(known, end, ..)| *known == code && fits(end))
        .map(|(_, _, of_one, of_several)| Text { of_one, of_several })
}

/// The value of a field as text, in the words of its code; safe to print.
pub(super) fn value(found: &UnusualField<'_>) -> String {
    let new = found.value;
    let in_step = found.path.last().and_then(|step| step.item.as_deref()).unwrap_or_default();
    match (found.remark.code, found.reason) {
        (_, Some(reason)) => match new.get("value").unwrap_or(new) {
            Value::String(text) => format!("{}={}: {reason}", quoted(in_step), quoted(&format!("{text:?}"))),
            _ if new.get("name").is_some() => {
                let from = new.get("valueFrom").map_or_else(|| "\"\"".to_owned(), shown);
                format!("{}={from}: {reason}", quoted(in_step))
            }
            other => format!("{}={}: {reason}", quoted(in_step), shown(other)),
        },
        ("service-account-changed", _) => {
            let account = |value: Option<&Value>| match value.and_then(Value::as_str) {
                None | Some("") => "default".to_owned(),
                Some(name) => quoted(name),
            };
            format!("{} to {}", account(found.live), account(Some(new)))
        }
        ("registry-changed" | "tag-moved" | "digest-moved", _) => {
            format!("{} -> {}", found.live.map(shown).unwrap_or_default(), shown(new))
        }
        ("env-from" | "config-map", _) => source(found),
        ("container-added" | "container-removed", _) => new.get("image").map(shown).unwrap_or_default(),
        ("capabilities", _) => match new.as_array() {
            Some(added) => added.iter().map(shown).collect::<Vec<_>>().join(", "),
            None => shown(new),
        },
        ("claim", _) => new.get("claimName").map_or_else(|| shown(new), shown),
        ("git-repo", _) => new.get("repository").map_or_else(|| shown(new), shown),
        ("pull-secret", _) => new.get("name").map_or_else(|| shown(new), shown),
        ("device", _) if !in_step.is_empty() && !new.is_object() => quoted(in_step),
        _ => shown(new),
    }
}

/// A ConfigMap or a Secret, and what an approval says about its contents.
fn source(found: &UnusualField<'_>) -> String {
    let is_secret = found.path.last().is_some_and(|step| step.field.starts_with("secret"));
    let name = found.value.get("name").and_then(Value::as_str).unwrap_or_default();
    let kind = if is_secret { "Secret" } else { "ConfigMap" };
    let contents = if !is_secret && is_named_like_a_bundle(name) {
        "which is named like a config bundle"
    } else {
        "whose contents no hash covers"
    };
    format!("{kind} {}, {contents}", quoted(name))
}

/// Whether the name contains a digest. If the posture requires config bundles, the webhook checks that the digest is
/// true.
fn is_named_like_a_bundle(name: &str) -> bool {
    name.rsplit_once('-').is_some_and(|(_, end)| end.len() >= 32 && end.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => quoted(text),
        other => quoted(&other.to_string()),
    }
}
