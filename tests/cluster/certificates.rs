//! The webhook's own certificate: a release that Helm installs, the CA in its Secret, and the bundle in webhook configurations, on a
//! real API server. Each test has a Secret and a webhook configuration of its own, except those of the release itself.

mod clock;
mod release;
mod rotation;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use writgate_testing::harness::{Test, tests};
use writgate_testing::{Authority, Plane, Ran, SYSTEM_NAMESPACE, Webhook, helm, wait_until};

const LIMIT: Duration = Duration::from_mins(1);
const USER: &str = "system:serviceaccount:writgate-system:writgate-webhook";

/// Every test of this file.
pub(crate) fn tests() -> Vec<Test<Released>> {
    tests![
        the_api_server_calls_a_fresh_webhook_with_the_bundle_that_it_wrote,
        replicas_that_start_together_make_one_ca,
        an_emptied_bundle_is_repaired_and_another_ca_is_kept,
        a_replica_that_no_api_server_accepts_is_not_ready,
        a_replica_that_loses_its_rights_continues_to_serve,
        half_a_pair_in_the_secret_says_what_to_do_and_nothing_stops,
        clock::a_clock_that_jumps_a_year_stops_nothing,
        rotation::a_rotation_of_the_ca_loses_no_request,
        release::helm_upgrades_and_rolls_back_without_a_conflict_and_the_bundle_stays,
        release::the_webhook_may_change_only_the_bundle,
        release::the_policy_names_every_field_of_an_entry,
    ]
}

/// A control plane with the release, without Pods.
pub(crate) struct Released {
    plane: Plane,
}

impl Released {
    pub(crate) fn start() -> Self {
        let released = Self { plane: Plane::start() };
        let ran = released.helm(&["upgrade", "--install", "writgate", "CHART", "--create-namespace"]);
        assert!(ran.ok(), "{ran}");
        released
    }

    /// Runs Helm in the release's namespace.
    fn helm(&self, args: &[&str]) -> Ran {
        let chart: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/writgate");
        let mut command = self.plane.admin.command(&helm());
        for arg in args {
            if *arg == "CHART" {
                command.arg(&chart)
            } else {
                command.arg(arg)
            };
        }
        Ran::of(command.args(["--namespace", SYSTEM_NAMESPACE]), "")
    }

    fn admin(&self, args: &[&str]) -> Ran {
        let ran = self.plane.admin.kubectl(args);
        assert!(ran.ok(), "{args:?}: {ran}");
        ran
    }
}

/// A Secret, a webhook configuration and the webhook's rights to both.
struct Installed<'a> {
    released: &'a Released,
    name: String,
    namespace: String,
}

impl<'a> Installed<'a> {
    fn new(released: &'a Released, name: &str) -> Self {
        let namespace = released.plane.namespace(name);
        let installed = Self { released, name: name.to_owned(), namespace };
        let secret =
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": SYSTEM_NAMESPACE}});
        released.plane.install(&[secret]);
        installed.permit(&["get", "patch", "watch"]);
        installed
    }

    /// Gives the webhook these rights to the webhook configuration, and the chart's rights to the Secret.
    fn permit(&self, verbs: &[&str]) {
        let (group, name) = ("rbac.authorization.k8s.io", &self.name);
        let subjects = json!([{"kind": "User", "apiGroup": group, "name": USER}]);
        let here = json!({"name": name, "namespace": SYSTEM_NAMESPACE});
        self.released.plane.install(&[
            json!({"apiVersion": format!("{group}/v1"), "kind": "ClusterRole", "metadata": {"name": name}, "rules": [
                {"apiGroups": ["admissionregistration.k8s.io"], "resources": ["validatingwebhookconfigurations"],
                 "resourceNames": [name], "verbs": verbs}]}),
            json!({"apiVersion": format!("{group}/v1"), "kind": "Role", "metadata": here, "rules": [
                {"apiGroups": [""], "resources": ["secrets"], "resourceNames": [name],
                 "verbs": ["get", "update", "watch"]}]}),
            json!({"apiVersion": format!("{group}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": name},
                "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": name}, "subjects": subjects}),
            json!({"apiVersion": format!("{group}/v1"), "kind": "RoleBinding", "metadata": here,
                "roleRef": {"apiGroup": group, "kind": "Role", "name": name}, "subjects": subjects}),
        ]);
    }

    /// Takes all of these rights away.
    fn forbid(&self) {
        self.released.admin(&["delete", "clusterrolebinding", &self.name]);
        self.released.admin(&["delete", "rolebinding", &self.name, "-n", SYSTEM_NAMESPACE]);
    }

    fn replica(&self, name: &str, args: &[&str]) -> Webhook {
        self.replica_with(name, args, &[])
    }

    fn replica_with(&self, name: &str, args: &[&str], environment: &[(&str, &Path)]) -> Webhook {
        let secret = format!("{SYSTEM_NAMESPACE}/{}", self.name);
        let own = ["--certificate-secret", &secret, "--certificate-name", "127.0.0.1"];
        let check = ["--webhook-configuration", &self.name, "--certificate-check-interval", "1s"];
        let name = format!("{}-{name}", self.name);
        let args = [&own, &check, args].concat();
        Webhook::with_environment(&self.released.plane, &name, &self.name, &args, environment)
    }

    /// Has the API server send the Deployments of the namespace to this replica, in two entries without a bundle.
    fn configure(&self, replica: &Webhook) {
        let entry = |name: &str| {
            json!({"name": format!("{name}.example.com"), "admissionReviewVersions": ["v1"], "sideEffects": "NoneOnDryRun",
                "clientConfig": {"url": replica.url("/validate")},
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": self.namespace}},
                "rules": [{"apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"], "operations": ["CREATE"]}]})
        };
        let configuration = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": self.name}, "webhooks": [entry("one"), entry("other")]});
        self.released.plane.install(&[configuration]);
    }

    /// Whether the API server's calls of the webhook succeed.
    fn is_served(&self) -> bool {
        let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "probe", "namespace": self.namespace},
            "spec": {"selector": {"matchLabels": {"app": "probe"}}, "template": {
                "metadata": {"labels": {"app": "probe"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
        let args = ["create", "--dry-run=server", "-f", "-"];
        self.released.plane.admin.kubectl_in(&args, &deployment.to_string()).ok()
    }

    fn wait_served(&self) {
        wait_until("the API server accepts the certificate", LIMIT, || self.is_served().then_some(()));
    }

    /// The bundles of both entries, in PEM.
    fn bundles(&self) -> [String; 2] {
        let found = self.released.plane.admin.get(&["validatingwebhookconfiguration", &self.name]).expect("it exists");
        [0, 1].map(|index| text(&found["webhooks"][index]["clientConfig"]["caBundle"]))
    }

    /// Replaces the bundles of both entries.
    fn set_bundles(&self, pem: &str) {
        let patch = [0, 1].map(|index| {
            json!({"op": "add", "path": format!("/webhooks/{index}/clientConfig/caBundle"), "value": base64(pem)})
        });
        let patch = json!(patch).to_string();
        self.released.admin(&["patch", "validatingwebhookconfiguration", &self.name, "--type=json", "-p", &patch]);
    }

    fn secret(&self, key: &str) -> String {
        let found = self.released.plane.admin.get(&["secret", &self.name, "-n", SYSTEM_NAMESPACE]);
        text(&found.expect("it exists")["data"][key])
    }
}

/// Base64 as text. Empty if there is none.
fn text(value: &Value) -> String {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::STANDARD.decode(value.as_str().unwrap_or_default()).expect("base64");
    String::from_utf8(bytes).expect("PEM")
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

fn certificates(pem: &str) -> usize {
    pem.matches("BEGIN CERTIFICATE").count()
}

fn readiness(replica: &Webhook) -> (u16, String) {
    replica.http_get("/readyz").unwrap_or_default()
}

fn matches(replica: &Webhook) -> bool {
    replica.metric("writgate_ca_bundle_matches", &[]) > 0.5
}

/// The WARN lines of a replica that contain `part`.
fn warnings(replica: &Webhook, part: &str) -> usize {
    replica.lines().lines().filter(|line| line.contains("\"WARN\"") && line.contains(part)).count()
}

fn the_api_server_calls_a_fresh_webhook_with_the_bundle_that_it_wrote(released: &Released) {
    let installed = Installed::new(released, "fresh");
    let replica = installed.replica("a", &[]);
    installed.configure(&replica);
    replica.wait_ready(LIMIT);
    installed.wait_served();
    assert!(replica.metric("writgate_admission_requests_total", &[]) > 0.0);
    let [one, other] = installed.bundles();
    assert_eq!((certificates(&one), &one), (1, &other));
    assert_eq!(one.trim(), installed.secret("ca.crt").trim());
    assert!(matches(&replica));
    let day = 24.0 * 3600.0;
    let left = |name| replica.metric(name, &[]) - jiff::Timestamp::now().as_duration().as_secs_f64();
    assert!((6.9 * day..7.1 * day).contains(&left("writgate_certificate_expiry_timestamp_seconds")));
    assert!((364.0 * day..366.0 * day).contains(&left("writgate_ca_expiry_timestamp_seconds")));
}

fn replicas_that_start_together_make_one_ca(released: &Released) {
    let installed = Installed::new(released, "together");
    let replicas: Vec<Webhook> = (0..4).map(|number| installed.replica(&number.to_string(), &[])).collect();
    installed.configure(&replicas[0]);
    for replica in &replicas {
        replica.wait_ready(LIMIT);
        wait_until("the bundle accepts each replica", LIMIT, || matches(replica).then_some(()));
    }
    let bundles = installed.bundles();
    assert!(bundles.iter().all(|bundle| bundle.trim() == installed.secret("ca.crt").trim()), "{bundles:?}");
    installed.wait_served();
}

fn an_emptied_bundle_is_repaired_and_another_ca_is_kept(released: &Released) {
    let installed = Installed::new(released, "emptied");
    let replica = installed.replica("a", &[]);
    installed.configure(&replica);
    installed.wait_served();
    let whole = installed.bundles();
    let remove = json!([{"op": "remove", "path": "/webhooks/1/clientConfig/caBundle"}]).to_string();
    released.admin(&["patch", "validatingwebhookconfiguration", "emptied", "--type=json", "-p", &remove]);
    wait_until("the bundle is repaired", LIMIT, || (installed.bundles() == whole).then_some(()));
    let other = Authority::new("other").certificate;
    installed.set_bundles(&other);
    wait_until("ours is added", LIMIT, || (certificates(&installed.bundles()[0]) == 2).then_some(()));
    let [one, _] = installed.bundles();
    assert!(one.contains(installed.secret("ca.crt").trim()), "{one}");
    installed.wait_served();
    wait_until("it is ready", LIMIT, || (readiness(&replica).0 == 200 && matches(&replica)).then_some(()));
    assert_eq!(replica.stop().matches("caBundle written").count(), 3);
}

fn a_replica_that_no_api_server_accepts_is_not_ready(released: &Released) {
    let installed = Installed::new(released, "refused");
    let replica = installed.replica("a", &[]);
    installed.configure(&replica);
    replica.wait_ready(LIMIT);
    installed.wait_served();
    let whole = installed.bundles()[0].clone();

    installed.permit(&["get", "watch"]);
    installed.set_bundles(&Authority::new("other").certificate);
    let cause =
        "caBundle of one.example.com in ValidatingWebhookConfiguration refused does not accept the serving certificate";
    wait_until("it is not ready", LIMIT, || (readiness(&replica).0 == 503).then_some(()));
    let (_, why) = readiness(&replica);
    assert!(why.contains(cause), "{why}");
    assert!(!matches(&replica));
    wait_until("the log says why", LIMIT, || (warnings(&replica, cause) == 1).then_some(()));

    // The same for a certificate from files.
    let pair = released.plane.authority.server(&["127.0.0.1"]);
    let file = |name: &str, text: &str| {
        let path = released.plane.folder.join(name);
        std::fs::write(&path, text).expect("the plane's folder can be written");
        path.into_os_string().into_string().expect("a UTF-8 path")
    };
    let (certificate, key) = (file("refused.pem", &pair.certificate), file("refused.key", &pair.key));
    let files = ["--tls-cert-file", &certificate, "--tls-private-key-file", &key];
    let args = [&files[..], &["--webhook-configuration", "refused", "--certificate-check-interval", "1s"]].concat();
    let brought = Webhook::with_certificate(&released.plane, "refused-brought", "refused", &args);
    wait_until("it says why it is not ready", LIMIT, || readiness(&brought).1.contains(cause).then_some(()));
    installed.set_bundles(&released.plane.authority.certificate);
    brought.wait_ready(LIMIT);
    assert!(matches(&brought));

    installed.permit(&["get", "patch", "watch"]);
    replica.wait_ready(LIMIT);
    assert!(installed.bundles()[0].contains(whole.trim()));
    assert!(warnings(&replica, cause) <= 2, "{}", replica.lines());
}

fn a_replica_that_loses_its_rights_continues_to_serve(released: &Released) {
    let installed = Installed::new(released, "rights");
    let replica = installed.replica("a", &[]);
    installed.configure(&replica);
    replica.wait_ready(LIMIT);
    installed.wait_served();
    installed.forbid();
    wait_until("the log says so", LIMIT, || (warnings(&replica, "rights cannot be read") > 0).then_some(()));
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(readiness(&replica).0, 200);
    assert!(installed.is_served());
    assert_eq!(warnings(&replica, "cannot be kept"), 1, "{}", replica.lines());
    assert!(replica.metric("writgate_certificate_checks_total", &[("outcome", "failed")]) > 1.0);
    installed.permit(&["get", "patch", "watch"]);
    wait_until("it can be kept again", LIMIT, || replica.lines().contains("can be kept again").then_some(()));
}

fn half_a_pair_in_the_secret_says_what_to_do_and_nothing_stops(released: &Released) {
    let installed = Installed::new(released, "half");
    let replica = installed.replica("a", &["--bundle-settle", "2s"]);
    installed.configure(&replica);
    replica.wait_ready(LIMIT);
    installed.wait_served();
    let first = installed.secret("ca.crt");
    let remove = json!([{"op": "remove", "path": "/data/ca.key"}]).to_string();
    released.admin(&["patch", "secret", "half", "-n", SYSTEM_NAMESPACE, "--type=json", "-p", &remove]);
    let cause = "Secret writgate-system/half: data.ca.crt is set and data.ca.key is not; delete the Secret";
    wait_until("the log says what to do", LIMIT, || (warnings(&replica, cause) == 1).then_some(()));
    assert_eq!(readiness(&replica).0, 200);
    assert!(installed.is_served());
    let second = installed.replica("b", &["--bundle-settle", "2s"]);
    wait_until("a new replica is not ready", LIMIT, || readiness(&second).1.contains(cause).then_some(()));

    released.admin(&["delete", "secret", "half", "-n", SYSTEM_NAMESPACE]);
    second.wait_ready(LIMIT);
    assert_ne!(installed.secret("ca.crt"), first);
    assert!(installed.is_served(), "the leaf of the old CA is accepted until there is a new one");
    wait_until("the first replica has a leaf of the new CA", LIMIT, || {
        (replica.lines().matches("serving certificate made").count() == 2).then_some(())
    });
    assert!(installed.is_served());
    assert_eq!(readiness(&replica).0, 200);
}
