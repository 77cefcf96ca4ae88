use std::collections::BTreeSet;

use serde_json::json;
use writgate_core::kube::{WorkloadKinds, unusual_codes};

use super::*;
use crate::manifest;

fn deployment(pod: &Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"},
        "spec": {"template": {"metadata": {}, "spec": pod}}})
}

fn found_in(old: Option<&Value>, new: &Value) -> Vec<Unusual> {
    let manifest = manifest::read("f", &new.to_string(), &WorkloadKinds::default()).unwrap().remove(0);
    of_workload(&manifest, old, new)
}

fn found(old: Option<&Value>, new: &Value) -> Vec<Unusual> {
    found_in(old.map(deployment).as_ref(), &deployment(new))
}

fn codes(old: Option<&Value>, new: &Value) -> Vec<&'static str> {
    found(old, new).into_iter().map(|unusual| unusual.code).collect()
}

const DIGEST: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
const OTHER: &str = "sha256:1111111111111111111111111111111111111111111111111111111111111111";

fn plain() -> Value {
    json!({
        "containers": [{"name": "a", "image": format!("r.example/a:1@{DIGEST}"), "imagePullPolicy": "IfNotPresent",
            "securityContext": {"capabilities": {"drop": ["ALL"]}, "allowPrivilegeEscalation": false}}],
        "initContainers": [{"name": "i", "image": format!("r.example/i@{DIGEST}")}],
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "automountServiceAccountToken": false,
        "hostUsers": false,
        "volumes": [{"name": "d", "emptyDir": {}}],
    })
}

/// The value with one change. The last step of the pointer is a field, or `-` to append to a list; null removes it.
fn with(object: &Value, pointer: &str, value: &Value) -> Value {
    let mut object = object.clone();
    let mut at = &mut object;
    let mut steps = pointer.split('/').skip(1).peekable();
    while let Some(step) = steps.next() {
        let is_list = matches!(steps.peek(), Some(&("-" | "0")));
        at = match step {
            "-" => {
                let items = at.as_array_mut().unwrap();
                items.push(Value::Null);
                items.last_mut().unwrap()
            }
            "0" => at.get_mut(0).unwrap(),
            name => {
                let name = name.replace("~1", "/");
                let empty = if is_list { json!([]) } else { json!({}) };
                at.as_object_mut().unwrap().entry(name).or_insert(empty)
            }
        };
    }
    *at = value.clone();
    object
}

#[test]
fn a_plain_pod_with_a_digest_is_not_unusual() {
    assert_eq!(codes(None, &plain()), [""; 0]);
    assert_eq!(codes(Some(&plain()), &plain()), [""; 0]);
}

/// One change of a plain Pod, and the code that it must have.
type Case = (&'static str, Value, &'static str);

/// Changes that are unusual in a new workload and in one that runs.
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn additions() -> Vec<Case> {
    let driver = |name: &str, source: Value| json!({"name": "v", name: source});
    let volume = |source: Value| ("/volumes/-", source);
    let mut cases = vec![
        ("/hostNetwork", json!(true), "host-access"),
        ("/hostPID", json!(true), "host-access"),
        ("/hostIPC", json!(true), "host-access"),
        ("/shareProcessNamespace", json!(true), "host-access"),
        ("/containers/0/ports/-", json!({"containerPort": 1, "hostPort": 80}), "host-access"),
        (
            "/containers/0/volumeMounts/-",
            json!({"mountPath": "/x", "mountPropagation": "Bidirectional"}),
            "host-access",
        ),
        ("/automountServiceAccountToken", json!(true), "token"),
        ("/nodeName", json!("n"), "node-name"),
        ("/tolerations/-", json!({"key": "node-role.kubernetes.io/control-plane"}), "control-plane"),
        ("/tolerations/-", json!({"operator": "Exists"}), "control-plane"),
        ("/nodeSelector", json!({"node-role.kubernetes.io/control-plane": ""}), "control-plane"),
        ("/securityContext/runAsUser", json!(0), "root"),
        ("/securityContext/runAsGroup", json!(0), "root"),
        ("/securityContext/fsGroup", json!(0), "root"),
        ("/securityContext/sysctls/-", json!({"name": "kernel.msgmax", "value": "1"}), "sysctl"),
        ("/imagePullSecrets/-", json!({"name": "s"}), "pull-secret"),
        ("/schedulerName", json!("mine"), "scheduler"),
        ("/hostAliases/-", json!({"ip": "10.0.0.1", "hostnames": ["api"]}), "host-aliases"),
        ("/priorityClassName", json!("system-node-critical"), "priority"),
        ("/dnsPolicy", json!("None"), "dns"),
        ("/dnsConfig", json!({"nameservers": ["10.0.0.1"]}), "dns"),
        ("/setHostnameAsFQDN", json!(true), "dns"),
        ("/runtimeClassName", json!("c"), "runtime-class"),
        ("/resourceClaims/-", json!({"name": "gpu", "resourceClaimName": "c"}), "device"),
        ("/containers/0/resources", json!({"limits": {"example.com/gpu": "1"}}), "device"),
        ("/containers/0/resources", json!({"claims": [{"name": "gpu"}]}), "device"),
        ("/containers/0/envFrom/-", json!({"configMapRef": {"name": "c"}}), "env-from"),
        (
            "/containers/0/env/-",
            json!({"name": "X", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}}),
            "env-from",
        ),
        (
            "/containers/0/env/-",
            json!({"name": "X", "valueFrom": {"fileKeyRef": {"volumeName": "v", "path": "p", "key": "k"}}}),
            "env-from-file",
        ),
        (
            "/containers/0/env/-",
            json!({"name": "X", "valueFrom": {"fieldRef": {"fieldPath": "metadata.annotations['a']"}}}),
            "pod-metadata",
        ),
        ("/containers/0/volumeMounts/-", json!({"name": "d", "mountPath": "/usr/bin/x"}), "mount-over"),
        ("/containers/0/volumeMounts/-", json!({"name": "d", "mountPath": "/"}), "mount-over"),
        ("/containers/0/volumeDevices/-", json!({"name": "d", "devicePath": "/dev/x"}), "raw-device"),
        ("/containers/0/terminationMessagePath", json!("/etc/shadow"), "termination-message"),
        ("/containers/0/workingDir", json!("/tmp"), "working-dir"),
        ("/containers/0/imagePullPolicy", json!("Never"), "image-pull"),
        ("/initContainers/0/restartPolicy", json!("Always"), "sidecar"),
        (
            "/ephemeralContainers",
            json!([{"name": "e", "image": format!("e@{DIGEST}"), "targetContainerName": "a"}]),
            "shared-processes",
        ),
        ("/containers/0/image", json!("r.example/a:1"), "mutable-tag"),
        ("/containers/0/image", json!("r.example/a"), "latest"),
        ("/containers/0/image", json!("r.example:5000/a:latest"), "latest"),
        ("/containers/0/image", json!("r.example/a@sha256:0"), "latest"),
    ];
    // Fields of every kind of container.
    for at in ["/containers/0", "/initContainers/0"] {
        for (path, value, code) in [
            ("securityContext/privileged", json!(true), "privileged"),
            ("securityContext/allowPrivilegeEscalation", json!(true), "privilege-escalation"),
            ("securityContext/capabilities/add", json!(["SYS_ADMIN"]), "capabilities"),
            ("securityContext/capabilities/add", json!(["CHOWN"]), "capabilities"),
            ("securityContext/procMount", json!("Unmasked"), "host-access"),
            ("securityContext/runAsNonRoot", json!(false), "root"),
            ("securityContext/runAsUser", json!(0), "root"),
            ("livenessProbe/exec/command", json!(["sh"]), "executes"),
            ("readinessProbe/exec/command", json!(["sh"]), "executes"),
            ("startupProbe/exec/command", json!(["sh"]), "executes"),
            ("lifecycle/postStart/exec/command", json!(["sh"]), "executes"),
            ("lifecycle/preStop/exec/command", json!(["sh"]), "executes"),
            ("livenessProbe/httpGet/host", json!("10.0.0.1"), "probe-host"),
            ("readinessProbe/tcpSocket/host", json!("10.0.0.1"), "probe-host"),
            ("lifecycle/preStop/httpGet/host", json!("10.0.0.1"), "probe-host"),
            ("lifecycle/postStart/tcpSocket/host", json!("10.0.0.1"), "probe-host"),
            ("env/-", json!({"name": "LD_PRELOAD", "value": "/x.so"}), "loads-code"),
            ("env/-", json!({"name": "NODE_OPTIONS", "value": "-r /x"}), "loads-code"),
            ("env/-", json!({"name": "BASH_ENV", "value": "/x"}), "loads-code"),
            ("env/-", json!({"name": "https_proxy", "value": "x"}), "redirected"),
            ("env/-", json!({"name": "AWS_ROLE_ARN", "value": "x"}), "credentials"),
        ] {
            cases.push((format!("{at}/{path}").leak(), value, code));
        }
    }
    for at in ["/securityContext", "/containers/0/securityContext", "/initContainers/0/securityContext"] {
        for (path, value, code) in [
            ("seLinuxOptions/type", json!("spc_t"), "selinux"),
            ("seLinuxOptions/user", json!("u"), "selinux"),
            ("seLinuxOptions/role", json!("r"), "selinux"),
            ("windowsOptions/hostProcess", json!(true), "host-process"),
            ("windowsOptions/runAsUserName", json!("ContainerAdministrator"), "windows-identity"),
            ("appArmorProfile", json!({"type": "Unconfined"}), "unconfined"),
            ("appArmorProfile/localhostProfile", json!("p"), "local-profile"),
            ("seccompProfile/localhostProfile", json!("p"), "local-profile"),
        ] {
            cases.push((format!("{at}/{path}").leak(), value, code));
        }
    }
    for (name, source, code) in [
        ("hostPath", json!({"path": "/"}), "host-access"),
        ("gitRepo", json!({"repository": "https://g.example/x"}), "git-repo"),
        ("flexVolume", json!({"driver": "d"}), "flex-volume"),
        ("configMap", json!({"name": "c"}), "config-map"),
        ("secret", json!({"secretName": "s"}), "secret"),
        ("csi", json!({"driver": "d"}), "csi-volume"),
        ("persistentVolumeClaim", json!({"claimName": "c"}), "claim"),
        ("image", json!({"reference": "r.example/v:1"}), "mutable-tag"),
        ("projected", json!({"sources": [{"secret": {"name": "s"}}]}), "secret"),
        ("projected", json!({"sources": [{"configMap": {"name": "c"}}]}), "config-map"),
        ("projected", json!({"sources": [{"serviceAccountToken": {"audience": "x", "path": "t"}}]}), "token"),
        ("projected", json!({"sources": [{"clusterTrustBundle": {"name": "x", "path": "t"}}]}), "trust-bundle"),
        ("projected", json!({"sources": [{"podCertificate": {"signerName": "x"}}]}), "pod-certificate"),
        (
            "ephemeral",
            json!({"volumeClaimTemplate": {"spec": {"dataSource": {"kind": "VolumeSnapshot", "name": "s"}}}}),
            "claim",
        ),
    ] {
        let (path, value) = volume(driver(name, source));
        cases.push((path, value, code));
    }
    // `check_restrictedVolumes.go`, without hostPath, gitRepo and flexVolume.
    for name in [
        "gcePersistentDisk",
        "awsElasticBlockStore",
        "nfs",
        "iscsi",
        "glusterfs",
        "rbd",
        "cinder",
        "cephfs",
        "flocker",
        "fc",
        "azureFile",
        "vsphereVolume",
        "quobyte",
        "azureDisk",
        "portworxVolume",
        "photonPersistentDisk",
        "scaleIO",
        "storageos",
    ] {
        cases.push(("/volumes/-", driver(name, json!({})), "inline-volume"));
    }
    cases
}

#[test]
fn reports_each_way_to_more_access() {
    let mut wrong = Vec::new();
    for (path, value, code) in additions() {
        let new = with(&plain(), path, &value);
        let alone = codes(None, &new);
        if alone.iter().any(|found| *found != code) || alone.is_empty() {
            wrong.push(format!("{path} {value}: {alone:?} in a new workload, not {code}"));
        }
        let compared = codes(Some(&plain()), &new);
        if !compared.contains(&code) {
            wrong.push(format!("{path} {value}: {compared:?} compared with a plain Pod, not {code}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Changes that are unusual only compared with what runs.
fn changes() -> Vec<Case> {
    vec![
        ("/serviceAccountName", json!("admin"), "service-account-changed"),
        ("/nodeSelector", json!({"zone": "a"}), "node-affinity"),
        ("/securityContext/supplementalGroups", json!([6]), "file-group"),
        ("/securityContext/fsGroup", json!(1001), "file-group"),
        ("/containers/0/command", json!(["sh"]), "command-changed"),
        ("/containers/0/args", json!(["x"]), "command-changed"),
        ("/containers/-", json!({"name": "b", "image": format!("b@{DIGEST}")}), "container-added"),
        ("/initContainers/-", json!({"name": "b", "image": format!("b@{DIGEST}")}), "container-added"),
        ("/containers/-", json!({"name": "b", "image": format!("b@{DIGEST}"), "command": ["x"]}), "command-new"),
        ("/initContainers", json!([]), "container-removed"),
        ("/initContainers", Value::Null, "container-removed"),
        ("/containers/0/image", json!(format!("evil.example/a:1@{DIGEST}")), "registry-changed"),
        ("/containers/0/image", json!(format!("r.example/a:2@{DIGEST}")), "tag-moved"),
        ("/containers/0/image", json!(format!("r.example/a:1@{OTHER}")), "digest-moved"),
        ("/containers/0/imagePullPolicy", json!("Always"), "image-pull"),
        ("/containers/0/securityContext/capabilities/drop", json!([]), "weakened"),
        ("/containers/0/securityContext/allowPrivilegeEscalation", Value::Null, "weakened"),
        ("/securityContext/runAsNonRoot", Value::Null, "weakened"),
        ("/securityContext/seccompProfile", Value::Null, "weakened"),
        ("/hostUsers", Value::Null, "weakened"),
        ("/automountServiceAccountToken", Value::Null, "token"),
        ("/securityContext/seccompProfile/type", json!("Unconfined"), "unconfined"),
        ("/volumes/-", json!({"name": "v", "hostPath": {"path": "/run/containerd/containerd.sock"}}), "runtime-socket"),
        ("/volumes/-", json!({"name": "v", "csi": {"driver": "d", "nodePublishSecretRef": {"name": "s"}}}), "secret"),
        ("/volumes/-", json!({"name": "v", "azureFile": {"secretName": "s"}}), "secret"),
        ("/containers/0/envFrom/-", json!({"secretRef": {"name": "s"}}), "secret"),
        (
            "/containers/0/env/-",
            json!({"name": "X", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}),
            "secret",
        ),
    ]
}

#[test]
fn reports_what_changes_compared_with_the_live_object() {
    let mut wrong = Vec::new();
    for (path, value, code) in changes() {
        let found = codes(Some(&plain()), &with(&plain(), path, &value));
        if !found.contains(&code) {
            wrong.push(format!("{path} {value}: {found:?}, not {code}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Changes outside the Pod's spec: kind, pointer, value, code.
fn around() -> Vec<(&'static str, &'static str, Value, &'static str)> {
    let template = "/spec/template/metadata/annotations";
    vec![
        (
            "Deployment",
            template,
            json!({"container.apparmor.security.beta.kubernetes.io/a": "unconfined"}),
            "unconfined",
        ),
        ("Deployment", template, json!({"seccomp.security.alpha.kubernetes.io/pod": "unconfined"}), "unconfined"),
        ("Deployment", template, json!({"container.seccomp.security.alpha.kubernetes.io/a": "x"}), "unconfined"),
        ("Deployment", template, json!({"vault.hashicorp.com/role": "r"}), "injector"),
        ("Deployment", template, json!({"k8s.v1.cni.cncf.io/networks": "r"}), "injector"),
        ("Deployment", "/spec/template/metadata/labels", json!({"sidecar.istio.io/inject": "true"}), "injector"),
        ("Job", "/spec/manualSelector", json!(true), "adopts-pods"),
        ("Job", "/spec/managedBy", json!("example.com/mine"), "managed-by"),
        ("StatefulSet", "/spec/persistentVolumeClaimRetentionPolicy/whenDeleted", json!("Delete"), "data-deleted"),
        ("StatefulSet", "/spec/volumeClaimTemplates/-", json!({"spec": {"volumeName": "v"}}), "claim"),
    ]
}

#[test]
fn reports_what_is_unusual_outside_the_spec_of_the_pods() {
    for (kind, path, value, code) in around() {
        let mut object = deployment(&plain());
        object["kind"] = kind.into();
        object["apiVersion"] = if kind == "Job" { "batch/v1".into() } else { "apps/v1".into() };
        assert_eq!(found_in(None, &object), [], "{kind}");
        let found: Vec<&str> = found_in(None, &with(&object, path, &value)).iter().map(|one| one.code).collect();
        assert_eq!(found, [code], "{kind} {path} {value}");
    }
    let confined = json!({"container.apparmor.security.beta.kubernetes.io/a": "runtime/default"});
    let object = with(&deployment(&plain()), "/spec/template/metadata/annotations", &confined);
    assert_eq!(found_in(None, &object), []);
}

#[test]
fn every_code_has_a_case_a_text_and_a_line_in_the_documentation() {
    let mut shown: BTreeSet<&str> = additions().iter().chain(&changes()).map(|(.., code)| *code).collect();
    shown.extend(around().iter().map(|(.., code)| *code));
    shown.insert("service-account-new");
    assert_eq!(shown, unusual_codes());
    let page = include_str!("../../../../../../docs/review.md");
    for code in unusual_codes() {
        assert!(texts::of(code, "").is_some() || code == "host-access", "{code} has no text");
        assert!(page.contains(&format!("`{code}`")), "docs/review.md does not explain {code}");
    }
}

#[test]
fn every_remark_has_a_text() {
    let cases = additions().into_iter().chain(changes());
    for (path, value, _) in cases {
        for one in found(Some(&plain()), &with(&plain(), path, &value)) {
            let is_text = !one.what.starts_with(one.code) && !one.what.contains("{field}");
            assert!(is_text, "{path} {value}: {}", one.what);
        }
    }
}

#[test]
fn reports_deceptive_text_in_names_and_values() {
    for (text, code) in [("p\u{430}yments", "mixed-scripts"), ("pay\u{3164}ments", "hidden-characters")] {
        for (path, value) in [("/containers/0/env/-", json!({"name": "X", "value": text})), ("/hostname", json!(text))]
        {
            assert_eq!(codes(None, &with(&plain(), path, &value)), [code], "{path} {text}");
        }
    }
    assert_eq!(codes(None, &with(&plain(), "/hostname", &json!("платежи"))), [""; 0]);
}

#[test]
fn reports_fields_that_the_api_server_drops() {
    let pod = with(&plain(), "/securityContext/runAsNonroot", &json!(true));
    assert_eq!(codes(None, &pod), ["unknown-field"]);
}

#[test]
fn a_service_account_of_a_new_workload_is_reported_unless_it_is_the_default() {
    assert_eq!(codes(None, &with(&plain(), "/serviceAccountName", &json!("admin"))), ["service-account-new"]);
    assert_eq!(codes(None, &with(&plain(), "/serviceAccountName", &json!("default"))), [""; 0]);
}

#[test]
fn the_most_serious_comes_first_and_many_containers_become_one_line() {
    let containers: Vec<Value> = (0..300)
        .map(|i| json!({"name": format!("c{i}"), "image": format!("r.example/c{i}:1"), "securityContext": {"runAsUser": 0}}))
        .collect();
    let mut pod = json!({"containers": containers});
    pod["containers"][299]["securityContext"]["privileged"] = json!(true);
    let found = found(None, &pod);
    assert_eq!(found.len(), 601);
    let expected = [
        "container c299 is privileged: it controls the node",
        "300 containers run images without a digest: their tags can be moved to other images: c0 (r.example/c0:1), \
         c1 (r.example/c1:1), c2 (r.example/c2:1) and 297 more; -o json lists them",
        "300 containers run as root (runAsUser: 0): c0, c1, c2 and 297 more; -o json lists them",
    ];
    assert_eq!(lines([(String::new(), &found[..])]), expected);
}

#[test]
fn texts_name_the_place_and_the_value() {
    let text = |path: &str, value: Value| found(Some(&plain()), &with(&plain(), path, &value)).remove(0).what;
    let cases = [
        (
            "/containers/0/env/-",
            json!({"name": "LD_PRELOAD", "value": "/x.so"}),
            "container a sets LD_PRELOAD=\"/x.so\": the dynamic loader obeys it in every program",
        ),
        (
            "/containers/0/image",
            json!(format!("evil.example/a@{DIGEST}")),
            &format!(
                "container a gets its image from another registry: r.example/a:1@{DIGEST} -> evil.example/a@{DIGEST}"
            ),
        ),
        (
            "/volumes/-",
            json!({"name": "v", "nfs": {"server": "s", "path": "/"}}),
            "volume v mounts storage directly (nfs: {\"path\":\"/\",\"server\":\"s\"})",
        ),
        ("/serviceAccountName", json!("admin"), "the Pod changes its service account from default to admin"),
        (
            "/containers/0/lifecycle/preStop/exec/command",
            json!(["sh", "-c", "x"]),
            "container a executes [\"sh\",\"-c\",\"x\"] (lifecycle.preStop.exec.command)",
        ),
    ];
    for (path, value, expected) in cases {
        assert_eq!(text(path, value), expected);
    }
}
