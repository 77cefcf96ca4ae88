//! Changes and faults that an installation meets, one at a time, while the API server calls the webhook.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use writgate_testing::{Authority, CA_SECRET, SYSTEM_NAMESPACE, wait_until};

use crate::cluster::{Cluster, NAMESPACE, deployment, is_ready};
use crate::node::{Node, POD_LOGS};

const LIMIT: Duration = Duration::from_mins(3);
const DEPLOYMENT: &str = "deployment/writgate-webhook";
const CONFIGURATION: &str = "validatingwebhookconfiguration/writgate";

/// Something that happens.
pub(crate) struct Fault {
    /// Selects it on the command line.
    pub(crate) name: &'static str,
    /// What the table says.
    pub(crate) what: &'static str,
    /// Whether Writgate is gone afterwards, so that the API server admits everything.
    pub(crate) removes: bool,
    /// The most calls that may fail.
    pub(crate) allowed: usize,
    pub(crate) happen: fn(&Cluster),
}

const NONE: Fault = Fault { name: "", what: "", removes: false, allowed: 0, happen: |_| {} };

/// In the order in which they happen.
pub(crate) const FAULTS: [Fault; 14] = [
    Fault { name: "nothing", what: "nothing happens, for comparison", ..NONE },
    Fault {
        name: "restart",
        what: "`kubectl rollout restart`",
        happen: |cluster| {
            cluster.kubectl(&["rollout", "restart", DEPLOYMENT, "-n", SYSTEM_NAMESPACE]);
            cluster.kubectl(&["rollout", "status", DEPLOYMENT, "-n", SYSTEM_NAMESPACE, "--timeout=180s"]);
            cluster.wait_settled();
        },
        ..NONE
    },
    Fault {
        name: "upgrade",
        what: "`helm upgrade` with a changed value, then `helm rollback`",
        happen: |cluster| {
            cluster.upgrade(&["--set", "workers=3"]);
            let ran = cluster.helm(&["rollback", "writgate", "--wait", "--timeout=180s"]);
            assert!(ran.ok(), "{ran}");
            cluster.wait_settled();
        },
        ..NONE
    },
    Fault {
        name: "drain",
        what: "`kubectl drain` of the node, which evicts one Pod; `uncordon` 20 s later",
        happen: drain,
        ..NONE
    },
    Fault { name: "evict", what: "eviction of both Pods, each as soon as it is permitted", happen: evict, ..NONE },
    Fault { name: "kill", what: "`kill -9` of one webhook process", allowed: 50, happen: kill, ..NONE },
    Fault {
        name: "rotation",
        what: "the CA's Secret is deleted, then two rotations of the CA and eight of the leaves",
        happen: rotate,
        ..NONE
    },
    Fault { name: "bundle", what: "`caBundle` of each entry is removed", allowed: 250, happen: empty_bundle, ..NONE },
    Fault {
        name: "secret",
        what: "the key is removed from the Secret of the CA; the Secret is deleted 10 s later",
        happen: halve_secret,
        ..NONE
    },
    Fault { name: "disk", what: "the file system of the containers' logs is full for 20 s", happen: fill_disk, ..NONE },
    Fault {
        name: "rights",
        what: "the bindings of the webhook's service account are deleted; `helm upgrade` 90 s later",
        allowed: usize::MAX,
        happen: take_rights,
        ..NONE
    },
    Fault {
        name: "mode",
        what: "`certificates.mode`: self to brought and back, in the documented steps",
        happen: change_mode,
        ..NONE
    },
    Fault {
        name: "mode-at-once",
        what: "the same in one step each, which the documentation advises against",
        allowed: usize::MAX,
        happen: change_mode_at_once,
        ..NONE
    },
    Fault {
        name: "uninstall",
        what: "`helm uninstall`",
        removes: true,
        happen: |cluster| {
            let ran = cluster.helm(&["uninstall", "writgate", "--wait"]);
            assert!(ran.ok(), "{ran}");
        },
        ..NONE
    },
];

fn drain(cluster: &Cluster) {
    let nodes = cluster.kubectl(&["get", "nodes", "-o", "name"]);
    let node = nodes.trim();
    // The replacement of the first Pod has no node, so the disruption budget keeps the second one, and the drain ends at its limit.
    let ran = cluster.node.admin.kubectl(&[
        "drain",
        node,
        "--pod-selector=app.kubernetes.io/name=writgate-webhook",
        "--timeout=20s",
    ]);
    assert!(!ran.ok() && ran.stderr.contains("disruption budget"), "{ran}");
    let pods = cluster.node.pods(SYSTEM_NAMESPACE);
    assert_eq!(pods.iter().filter(|pod| is_ready(pod)).count(), 1, "{}", cluster.state());
    cluster.kubectl(&["uncordon", node]);
    cluster.wait_settled();
}

fn evict(cluster: &Cluster) {
    let pods = cluster.webhook_pods();
    assert_eq!(pods.len(), 2);
    for pod in &pods {
        let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction",
            "metadata": {"name": pod, "namespace": SYSTEM_NAMESPACE}});
        let path = format!("/api/v1/namespaces/{SYSTEM_NAMESPACE}/pods/{pod}/eviction");
        wait_until("the eviction is permitted", LIMIT, || {
            let ran = cluster.node.admin.kubectl_in(&["create", "--raw", &path, "-f", "-"], &eviction.to_string());
            assert!(ran.ok() || ran.stderr.contains("disruption budget"), "{ran}");
            ran.ok().then_some(())
        });
    }
    wait_until("the evicted Pods are gone", LIMIT, || {
        let left = cluster.webhook_pods();
        (!pods.iter().any(|pod| left.contains(pod))).then_some(())
    });
    cluster.wait_settled();
}

fn kill(cluster: &Cluster) {
    let processes = Node::webhooks();
    assert_eq!(processes.len(), 2, "{processes:?}");
    let killed = Command::new("kill").args(["-KILL", &processes[0]]).status().expect("kill runs");
    assert!(killed.success());
    wait_until("another process runs", LIMIT, || {
        let now = Node::webhooks();
        (now.len() == 2 && !now.contains(&processes[0])).then_some(())
    });
    cluster.wait_settled();
}

fn empty_bundle(cluster: &Cluster) {
    let bundles = || -> Vec<Value> {
        let configuration = cluster.node.admin.get(&[CONFIGURATION]).expect("it exists");
        let entries = configuration["webhooks"].as_array().expect("a list").iter();
        entries.map(|entry| entry["clientConfig"]["caBundle"].clone()).collect()
    };
    let whole = bundles();
    assert!(!whole.contains(&Value::Null), "{whole:?}");
    let path = |index| format!("/webhooks/{index}/clientConfig/caBundle");
    let removed: Vec<_> = (0..whole.len()).map(|index| json!({"op": "remove", "path": path(index)})).collect();
    cluster.kubectl(&["patch", CONFIGURATION, "--type=json", "-p", &json!(removed).to_string()]);
    // CAs that were retired do not come back.
    wait_until("the webhook has repaired the bundles", LIMIT, || (!bundles().contains(&Value::Null)).then_some(()));
}

fn halve_secret(cluster: &Cluster) {
    let first = ca(cluster);
    let removed = json!([{"op": "remove", "path": "/data/ca.key"}]).to_string();
    cluster.kubectl(&["patch", "secret", CA_SECRET, "-n", SYSTEM_NAMESPACE, "--type=json", "-p", &removed]);
    wait_until("each replica says what to do", LIMIT, || {
        let logs = cluster.logs();
        (logs.matches("data.ca.crt is set and data.ca.key is not; delete the Secret").count() >= 2).then_some(())
    });
    sleep(Duration::from_secs(10));
    assert_eq!(ca(cluster), first, "nobody has changed it");
    cluster.kubectl(&["delete", "secret", CA_SECRET, "-n", SYSTEM_NAMESPACE]);
    wait_until("a new CA", LIMIT, || {
        let now = ca(cluster);
        (!now.is_empty() && now != first).then_some(())
    });
}

fn fill_disk(cluster: &Cluster) {
    let path = cluster.node.folder.join(POD_LOGS).join("filler");
    let mut filler = File::create(&path).expect("there is room for a file");
    // The kubelet removes files that it does not know. This one has no name, and is there until it is closed.
    std::fs::remove_file(&path).expect("it can be removed");
    let chunk = vec![0; 1 << 20];
    let mut length = chunk.len();
    let full = Instant::now();
    while full.elapsed() < Duration::from_secs(20) {
        match filler.write(&chunk[..length]) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::StorageFull => {
                length = (length / 2).max(1);
                sleep(Duration::from_millis(5)); // a rotated log makes room, which is filled too
            }
            Err(error) => panic!("{}: {error}", path.display()),
        }
    }
    assert_eq!(length, 1, "the file system was full");
    drop(filler);
    wait_until("the records are kept again", LIMIT, || {
        let last = cluster.kubectl(&["logs", "-n", SYSTEM_NAMESPACE, DEPLOYMENT, "--all-pods", "--since=2s"]);
        last.contains("writgate.dev/decision/v1").then_some(())
    });
}

fn take_rights(cluster: &Cluster) {
    let name = "steady";
    let pod = || {
        let mut pods = cluster.node.pods(NAMESPACE);
        pods.retain(|pod| pod["metadata"]["labels"]["app"] == name && is_ready(pod));
        pods.pop()
    };
    cluster.create(&cluster.approved(&deployment(name)));
    let first = wait_until("the workload runs", LIMIT, pod);
    cluster.kubectl(&["delete", "clusterrolebinding", "writgate-webhook"]);
    cluster.kubectl(&["delete", "rolebinding", "writgate-webhook", "-n", SYSTEM_NAMESPACE]);
    let taken = Instant::now();
    sleep(Duration::from_secs(5));
    let life = |pod: &Value| json!([pod["metadata"]["uid"], pod["status"]["containerStatuses"][0]["restartCount"]]);
    assert_eq!(pod().as_ref().map(life), Some(life(&first)), "what runs does not change");
    cluster.kubectl(&["delete", "pod", "-n", NAMESPACE, first["metadata"]["name"].as_str().expect("a name")]);
    wait_until("a Pod that ends is replaced", LIMIT, pod);
    sleep(Duration::from_secs(90).saturating_sub(taken.elapsed()));
    cluster.upgrade(&[]);
    cluster.kubectl(&["delete", "deployment", name, "-n", NAMESPACE]);
}

/// A CA of 45 seconds is renewed after 30, and its leaves of 15 seconds after 10.
const TERMS: &str =
    "extraArgs={--ca-lifetime=45s,--leaf-lifetime=15s,--bundle-settle=5s,--certificate-check-interval=1s}";
/// Lifetimes as usual. The bundle is not given time to reach several API servers, so that a CA that is about to expire is replaced
/// in time.
const USUAL_TERMS: &str = "extraArgs={--bundle-settle=5s,--certificate-check-interval=1s}";

fn rotate(cluster: &Cluster) {
    cluster.upgrade(&["--set", TERMS]);
    let first = ca(cluster);
    cluster.kubectl(&["delete", "secret", CA_SECRET, "-n", SYSTEM_NAMESPACE]);
    let mut seen = vec![first];
    wait_until("a new CA, and two more after it", LIMIT, || {
        let current = ca(cluster);
        if !current.is_empty() && !seen.contains(&current) {
            seen.push(current);
        }
        (seen.len() == 4).then_some(())
    });
    let leaves = cluster.logs().matches("\"serving certificate made\"").count();
    assert!(leaves >= 8, "{leaves} leaves");
    cluster.upgrade(&["--set", USUAL_TERMS]);
    let now = Instant::now();
    wait_until("a CA of one year", LIMIT, || {
        (!seen.contains(&ca(cluster)) && now.elapsed() > Duration::from_secs(10)).then_some(())
    });
    cluster.upgrade(&[]);
}

/// The certificate of the current CA, or nothing while there is none.
fn ca(cluster: &Cluster) -> String {
    let secret = cluster.node.admin.get(&["secret", CA_SECRET, "-n", SYSTEM_NAMESPACE]);
    secret.and_then(|secret| secret["data"]["ca.crt"].as_str().map(str::to_owned)).unwrap_or_default()
}

fn change_mode(cluster: &Cluster) {
    let brought = bring(cluster);
    let configuration = cluster.node.admin.get(&[CONFIGURATION]).expect("it exists");
    let bundle_so_far = configuration["webhooks"][0]["clientConfig"]["caBundle"].as_str().expect("a bundle");
    let both = base64(&format!("{}{brought}", unbase64(bundle_so_far)));
    cluster.upgrade(&[&BROUGHT[..], &["--set", &bundle(&both), "--force-conflicts"]].concat());
    cluster.upgrade(&[&BROUGHT[..], &["--set", &bundle(&base64(&brought))]].concat());

    // A second manager of `caBundle` keeps it when Helm gives it up.
    let mut configuration = cluster.node.admin.get(&[CONFIGURATION]).expect("it exists");
    let entries = configuration["webhooks"].as_array_mut().expect("a list").iter_mut();
    let kept: Vec<_> = entries
        .map(|entry| json!({"name": entry["name"], "clientConfig": {"caBundle": entry["clientConfig"]["caBundle"]}}))
        .collect();
    let kept = json!({"apiVersion": configuration["apiVersion"], "kind": configuration["kind"],
        "metadata": {"name": configuration["metadata"]["name"]}, "webhooks": kept});
    let ran = cluster
        .node
        .admin
        .kubectl_in(&["apply", "--server-side", "--field-manager=keep-ca-bundle", "-f", "-"], &kept.to_string());
    assert!(ran.ok(), "{ran}");
    cluster.upgrade(&[]);
    cluster.kubectl(&["delete", "secret", "writgate-webhook-tls", "-n", SYSTEM_NAMESPACE]);
}

fn change_mode_at_once(cluster: &Cluster) {
    let brought = bring(cluster);
    cluster.upgrade(&[&BROUGHT[..], &["--set", &bundle(&base64(&brought)), "--force-conflicts"]].concat());
    cluster.upgrade(&[]);
}

/// cert-manager renews the certificate, as `cmctl renew` asks it to.
pub(crate) const RENEWAL: Fault = Fault {
    name: "renewal",
    what: "cert-manager renews the certificate",
    happen: |cluster| {
        let certificate = || {
            let secret = cluster.node.admin.get(&["secret", "writgate-webhook-tls", "-n", SYSTEM_NAMESPACE]);
            secret.expect("it exists")["data"]["tls.crt"].clone()
        };
        let first = certificate();
        let issuing = json!([{"op": "add", "path": "/status/conditions/-", "value": {
            "type": "Issuing", "status": "True", "reason": "ManuallyTriggered", "message": "renewed by a person"}}]);
        let target = ["patch", "certificate", "writgate-webhook", "-n", SYSTEM_NAMESPACE, "--subresource=status"];
        cluster.kubectl(&[&target[..], &["--type=json", "-p", &issuing.to_string()]].concat());
        wait_until("cert-manager has made another certificate", LIMIT, || (certificate() != first).then_some(()));
        wait_until("each replica serves it", LIMIT, || {
            let replaced = cluster.logs().matches("serving certificate or client CA replaced").count();
            (replaced == 2).then_some(())
        });
    },
    ..NONE
};

const BROUGHT: [&str; 2] = ["--set", "certificates.mode=brought"];

fn bundle(encoded: &str) -> String {
    format!("certificates.caBundle={encoded}")
}

/// Makes a certificate and its Secret. Returns the CA.
fn bring(cluster: &Cluster) -> String {
    let authority = Authority::new("brought");
    let pair = authority.server(&[&format!("writgate-webhook.{SYSTEM_NAMESPACE}.svc")]);
    cluster.create(&json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"name": "writgate-webhook-tls", "namespace": SYSTEM_NAMESPACE},
        "stringData": {"tls.crt": pair.certificate, "tls.key": pair.key}}));
    authority.certificate
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

fn unbase64(text: &str) -> String {
    use base64::Engine as _;
    let decoded = base64::engine::general_purpose::STANDARD.decode(text).expect("base64");
    String::from_utf8(decoded).expect("PEM")
}
