//! Notifications: what the holder of the Lease sends to a real HTTPS receiver, and what the next holder does not send again.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{LIMIT, Value, Watched, is_holder, json};
use crate::e2e::posted::Team;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use writgate_testing::{
    Authority, Governed, SYSTEM_NAMESPACE, attach, denied_for, document, envelope, repository, seconds_from_now,
    wait_until,
};

/// A receiver on loopback that answers 204, and the configuration that names it.
struct Receiver {
    arrived: Arc<Mutex<Vec<Value>>>,
    configuration: PathBuf,
}

impl Receiver {
    fn start(watched: &Watched, environment: &str) -> Self {
        let authority = Authority::new("receivers");
        let pair = authority.server(&["localhost"]);
        let certificate = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).expect("a certificate");
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("a key");
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key);
        let config = Arc::new(config.expect("a pair"));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("https://localhost:{}/hook", listener.local_addr().expect("an address").port());
        let arrived = Arc::new(Mutex::new(Vec::new()));
        let all = arrived.clone();
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let tls = ServerConnection::new(config.clone()).expect("a connection");
                let mut stream = BufReader::new(StreamOwned::new(tls, socket.expect("a socket")));
                let mut length = 0;
                let mut line = String::new();
                while stream.read_line(&mut line).is_ok_and(|_| !line.trim().is_empty()) {
                    if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                        length = value.trim().parse().expect("a number");
                    }
                    line.clear();
                }
                let mut body = vec![0; length];
                if stream.read_exact(&mut body).is_err() {
                    continue;
                }
                all.lock().expect("no panic").push(serde_json::from_slice(&body).expect("JSON"));
                drop(stream.get_mut().write_all(b"HTTP/1.1 204 No Content\r\n\r\n"));
            }
        });
        let folder = &watched.installation.plane.folder;
        let ca = folder.join("receivers.crt");
        std::fs::write(&ca, authority.certificate).expect("written");
        let configuration = folder.join("notifications.yaml");
        let content = json!({"source": "/writgate/test", "expiresWithin": "24h", "receivers": [
            {"name": "test", "url": url, "caFile": ca, "environments": [environment]}]});
        std::fs::write(&configuration, content.to_string()).expect("written");
        Self { arrived, configuration }
    }

    /// The notifications of this type.
    fn of(&self, kind: &str) -> Vec<Value> {
        let kind = format!("dev.writgate.{kind}.v1");
        self.arrived.lock().expect("no panic").iter().filter(|event| event["type"] == kind).cloned().collect()
    }

    fn wait(&self, kind: &str, number: usize) -> Value {
        wait_until(&format!("{number} notifications of type {kind}, found {:#?}", self.of(kind)), LIMIT, || {
            let found = self.of(kind);
            (found.len() >= number).then(|| found[number - 1].clone())
        })
    }
}

/// The example of each type in the documentation.
fn documented(kind: &str) -> Value {
    let text = std::fs::read_to_string(repository().join("docs/operations/notifications.md")).expect("the page");
    let examples = text.split("```json\n").skip(1).filter_map(|rest| rest.split("```").next());
    let mut events = examples.map(|text| serde_json::from_str::<Value>(text).expect("JSON"));
    events.find(|event| event["type"] == format!("dev.writgate.{kind}.v1")).expect("an example")
}

/// The names of all members, and the types of all values.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(members) => members.iter().map(|(name, value)| (name.clone(), shape(value))).collect(),
        Value::Array(items) => items.first().map_or(json!([]), |first| json!([shape(first)])),
        Value::String(_) => json!("text"),
        Value::Number(_) => json!("number"),
        other => other.clone(),
    }
}

fn assert_as_documented(kind: &str, event: &Value) {
    assert_eq!(shape(event), shape(&documented(kind)), "{kind}: {event:#}");
}

pub(super) fn of_each_type_arrive_once_and_the_next_holder_repeats_none(watched: &Watched) {
    let _turn = watched.turn();
    let installation = &watched.installation;
    let group = "rbac.authorization.k8s.io";
    // The chart grants this with notifications.receivers.
    installation.plane.install(&[
        json!({"apiVersion": format!("{group}/v1"), "kind": "ClusterRole", "metadata": {"name": "notifications"}, "rules": [
            {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["list", "watch"]}]}),
        json!({"apiVersion": format!("{group}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": "notifications"},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "notifications"},
            "subjects": [{"kind": "ServiceAccount", "name": "writgate-webhook", "namespace": SYSTEM_NAMESPACE}]}),
    ]);
    let governed = installation.governed("notified");
    let mut posture = governed.usual_posture();
    posture["actions"] = json!({"deploy": {"quorum": [{"count": 2}]}});
    posture["revocationLists"] = json!([format!("revocations-{}", governed.environment)]);
    revoke(watched, &governed, &json!([]));
    installation.plane.install(&governed.posture_objects(&posture));
    let team = Team::of(&governed);
    let receiver = Receiver::start(watched, &governed.environment);
    let flags = ["--reaudit-interval", "1s", "--notifications", receiver.configuration.to_str().expect("UTF-8")];
    let holder = watched.replica_with("notifies", &flags);
    wait_until("it holds the Lease", LIMIT, || is_holder(&holder).then_some(()));
    assert_eq!(super::value(&holder, "writgate_notifications_configured"), Some(1.0));
    wait_until("its progress is stored", LIMIT, || {
        installation.plane.admin.get(&["configmap", "notifications", "-n", SYSTEM_NAMESPACE])
    });

    // A denial, and its repetition.
    let denied = governed.deployment("denied");
    for _ in 0..3 {
        assert!(denied_for(&installation.operator.create(&denied), "ApprovalRequired"));
    }
    let event = receiver.wait("denied", 1);
    assert_as_documented("denied", &event);
    let subject = format!("apps/v1/Deployment/{}/denied", governed.namespace);
    assert_eq!((&event["subject"], &event["source"]), (&json!(subject), &json!("/writgate/test")));
    assert_eq!(event["data"]["claims"]["initiator"], installation.operator.name.as_str());

    // A request, the signatures of two reviewers, and the rejection of another request.
    let name = team.post(&governed.deployment("orders"));
    let event = receiver.wait("requested", 1);
    assert_as_documented("requested", &event);
    assert_eq!(event["data"]["request"], name.as_str());
    assert_eq!(event["data"]["claims"]["requestedBy"], installation.operator.name.as_str());
    let bob = team.approve(&name, "bob.pem");
    assert!(bob.ok(), "{bob}");
    let event = receiver.wait("approved", 1);
    assert_as_documented("approved", &event);
    assert_eq!((&event["data"]["missing"], &event["data"]["signedBy"]), (&json!(1), &json!(["bob@acme.example"])));
    assert!(team.approve(&name, "carol.pem").ok());
    let event = receiver.wait("approved", 2);
    assert_eq!(event["data"]["missing"], 0, "{event:#}");
    assert_eq!(event["data"]["signedBy"].as_array().map(Vec::len), Some(2), "{event:#}");
    let other = team.post(&governed.deployment("rejected"));
    let rejected = team.reviewer(&["reject", &other, "--reason", "not on a Friday", "--key", "bob.pem", "--yes"]);
    assert!(rejected.ok(), "{rejected}");
    let event = receiver.wait("rejected", 1);
    assert_as_documented("rejected", &event);
    assert_eq!(event["data"]["rejectedBy"], "bob@acme.example");
    assert_eq!(event["data"]["reason"], "not on a Friday");

    // An approval that is no reviewer's, and a rejection that is no reviewer's: junk that must not be news.
    let junk = |kind: &str, name: &str, key: &str| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "immutable": kind == "rejection", "metadata": {
            "name": name, "namespace": governed.namespace, "labels": {"writgate.dev/kind": kind},
            "annotations": {"writgate.dev/request": other}}, "data": {key: "{}"}})
    };
    installation.plane.install(&[junk("approval", &other.replace("request-", "approval-"), "approval.json")]);

    // A workload whose approval expires within a day and is then revoked.
    let object = governed.deployment("doomed");
    let mut statement = governed.statement(&object);
    statement["predicate"]["expiresAt"] = json!(seconds_from_now(3600));
    let id = statement["predicate"]["id"].as_str().expect("an id").to_owned();
    let approved = attach(&object, &envelope(&statement, &[&governed.bob, &governed.carol]));
    let ran = installation.operator.create(&approved);
    assert!(ran.ok(), "{ran}");
    let event = receiver.wait("expires-soon", 1);
    assert_as_documented("expires-soon", &event);
    assert_eq!(event["data"]["approval"], id.as_str());
    revoke(watched, &governed, &json!([{"id": id}]));
    let event = receiver.wait("revoked", 1);
    assert_as_documented("revoked", &event);
    assert!(event["subject"].as_str().is_some_and(|subject| subject.ends_with("/doomed")), "{event:#}");

    let counts = |receiver: &Receiver| {
        ["denied", "requested", "approved", "rejected", "expires-soon", "revoked"].map(|kind| receiver.of(kind).len())
    };
    let expected = [1, 2, 2, 1, 1, 1];
    assert_eq!(counts(&receiver), expected);
    // Time for the last progress to be stored.
    std::thread::sleep(Duration::from_secs(5));
    let lines = holder.stop();
    assert!(!lines.contains("secret") && !lines.contains("notifications cannot be delivered"), "{lines}");

    // What happens while nobody holds the Lease is sent by the next holder, and nothing else is.
    let mut meanwhile = governed.deployment("meanwhile");
    // The approval of another object with the same spec would be another reason.
    meanwhile["spec"]["template"]["spec"]["containers"][0]["image"] = json!("ghcr.io/acme/orders:9");
    assert!(denied_for(&installation.operator.create(&meanwhile), "ApprovalRequired"));
    let next = watched.replica_with("notifies-next", &flags);
    wait_until("it holds the Lease", LIMIT, || is_holder(&next).then_some(()));
    receiver.wait("denied", 2);
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(counts(&receiver), [2, 2, 2, 1, 1, 1], "{:#?}", receiver.arrived.lock().expect("no panic"));
    next.stop();
}

fn revoke(watched: &Watched, governed: &Governed<'_>, approvals: &Value) {
    let list = json!({"apiVersion": "writgate.dev/v1", "kind": "Revocations", "approvals": approvals});
    watched.installation.plane.install(&[document(
        "revocations",
        &format!("revocations-{}", governed.environment),
        &list,
    )]);
}
