//! The chart as Helm renders it, without a cluster: where each value appears, and which values it refuses. `overlays` has the
//! manifests that are rendered from it. `tests/cluster/manifests/chart.rs` applies what is rendered to an API server.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use writgate_core::encoding::read_yaml;
use writgate_testing::helm;

pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn template(args: &[&str]) -> Output {
    let mut command = Command::new(helm());
    command.args(["template", "writgate", "charts/writgate", "--namespace", "writgate-system"]).args(args);
    command.current_dir(repository()).output().expect("make tools has built Helm")
}

/// The objects that Helm renders.
pub(crate) fn rendered(args: &[&str]) -> Vec<Value> {
    let output = template(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    objects(output.stdout)
}

pub(crate) fn objects(yaml: Vec<u8>) -> Vec<Value> {
    let objects = read_yaml(&String::from_utf8(yaml).expect("UTF-8")).expect("YAML");
    objects.into_iter().filter(|object| !object.is_null()).collect()
}

/// The first object of a kind, for example `Deployment`, or of a kind and name, for example `Role/writgate-webhook`.
pub(crate) fn find<'a>(objects: &'a [Value], what: &str) -> Option<&'a Value> {
    let (kind, name) = what.split_once('/').unwrap_or((what, ""));
    objects.iter().find(|object| object["kind"] == kind && (name.is_empty() || object["metadata"]["name"] == name))
}

/// Values, an object, a pointer into it, and what is there. `Value::Null` stands for nothing.
type Expected<'a> = (&'a [&'a str], &'a str, &'a str, Value);

fn assert_rendered(expected: &[Expected<'_>]) {
    // Helm takes a quarter of a second.
    let mut known: BTreeMap<&[&str], Vec<Value>> = BTreeMap::new();
    for (set, what, pointer, wanted) in expected {
        let objects = known.entry(set).or_insert_with(|| {
            let args: Vec<&str> = set.iter().flat_map(|value| ["--set-json", value]).collect();
            rendered(&args)
        });
        let found = find(objects, what).and_then(|object| object.pointer(pointer)).unwrap_or(&Value::Null);
        assert_eq!(found, wanted, "{set:?}: {what} {pointer}");
    }
}

const POD: &str = "/spec/template/spec";
const CONTAINER: &str = "/spec/template/spec/containers/0";

pub(crate) fn pod(field: &str) -> String {
    format!("{POD}/{field}")
}

pub(crate) fn container(field: &str) -> String {
    format!("{CONTAINER}/{field}")
}

#[test]
fn the_image_is_named_by_registry_repository_tag_and_digest() {
    let digest = format!("sha256:{}", "a".repeat(64));
    let of = |image: &str| (image.to_owned(), container("image"));
    let version = env!("CARGO_PKG_VERSION");
    for (set, (image, pointer)) in [
        (vec![], of(&format!("writgate-webhook:{version}"))),
        (
            vec![r#"image.registry="r.example:5000""#.to_owned()],
            of(&format!("r.example:5000/writgate-webhook:{version}")),
        ),
        (vec![r#"image.repository="team/gate""#.to_owned(), r#"image.tag="2""#.to_owned()], of("team/gate:2")),
        (
            vec![r#"image.registry="r.example""#.to_owned(), r#"global.imageRegistry="mirror.example/all""#.to_owned()],
            of(&format!("mirror.example/all/writgate-webhook:{version}")),
        ),
        (vec![format!(r#"image.digest="{digest}""#)], of(&format!("writgate-webhook:{version}@{digest}"))),
    ] {
        let set: Vec<&str> = set.iter().map(String::as_str).collect();
        let [deployment, test] = ["Deployment", "Pod/writgate-test"];
        assert_rendered(&[
            (&set, deployment, &pointer, json!(image)),
            (&set, test, "/spec/containers/0/image", json!(image)),
        ]);
    }
}

#[test]
fn each_value_of_the_pods_appears_in_the_deployment() {
    let deployment = "Deployment";
    assert_rendered(&[
        (&[], deployment, "/spec/replicas", json!(2)),
        (&[], deployment, "/metadata/annotations", Value::Null),
        (
            &["staticManifests.enabled=true", r#"certificates.mode="brought""#],
            deployment,
            "/metadata/annotations",
            json!({"writgate.dev/static-manifests": "true"}),
        ),
        (&["replicas=null"], deployment, "/spec/replicas", Value::Null),
        (&[], deployment, &pod("topologySpreadConstraints/1/topologyKey"), json!("topology.kubernetes.io/zone")),
        (
            &[],
            deployment,
            &pod("topologySpreadConstraints/0/labelSelector"),
            json!({"matchLabels": {"app.kubernetes.io/name": "writgate-webhook"}}),
        ),
        (&["topologySpreadConstraints=null"], deployment, &pod("topologySpreadConstraints"), Value::Null),
        (&[], deployment, &pod("securityContext/runAsUser"), json!(65532)),
        (&["podSecurityContext.runAsUser=null"], deployment, &pod("securityContext/runAsUser"), Value::Null),
        (&["podSecurityContext.fsGroup=null"], deployment, &pod("securityContext/fsGroup"), Value::Null),
        (&["podSecurityContext.fsGroup=null"], deployment, &pod("securityContext/runAsNonRoot"), json!(true)),
        (&[], deployment, &container("securityContext/readOnlyRootFilesystem"), json!(true)),
        (&[], deployment, &pod("hostUsers"), Value::Null),
        (&["hostUsers=false"], deployment, &pod("hostUsers"), json!(false)),
        (&[], deployment, &pod("hostNetwork"), Value::Null),
        (&["hostNetwork=true"], deployment, &pod("hostNetwork"), json!(true)),
        (&["hostNetwork=true"], deployment, &pod("dnsPolicy"), json!("ClusterFirstWithHostNet")),
        (&["hostNetwork=true", r#"dnsPolicy="Default""#], deployment, &pod("dnsPolicy"), json!("Default")),
        (&["ports.https=10250"], deployment, &container("ports/0/containerPort"), json!(10250)),
        (&["ports.https=10250"], deployment, &container("args/0"), json!("--listen=[::]:10250")),
        (&["ports.admin=18080"], deployment, &container("args/1"), json!("--admin-listen=[::]:18080")),
        (&[r#"nodeSelector={"a":"b"}"#], deployment, &pod("nodeSelector"), json!({"a": "b"})),
        (&[r#"tolerations=[{"key":"k"}]"#], deployment, &pod("tolerations/0/key"), json!("k")),
        (&[r#"priorityClassName="mine""#], deployment, &pod("priorityClassName"), json!("mine")),
        (&[r#"podLabels={"a":"b"}"#], deployment, "/spec/template/metadata/labels/a", json!("b")),
        (&[r#"podAnnotations={"a":"b"}"#], deployment, "/spec/template/metadata/annotations/a", json!("b")),
        (&[r#"extraEnv=[{"name":"A","value":"b"}]"#], deployment, &container("env/1/name"), json!("A")),
        (&[r#"extraVolumes=[{"name":"v","emptyDir":{}}]"#], deployment, &pod("volumes/0/name"), json!("v")),
        (
            &[r#"extraVolumeMounts=[{"name":"v","mountPath":"/v"}]"#],
            deployment,
            &container("volumeMounts/0/mountPath"),
            json!("/v"),
        ),
        (&[r#"imagePullSecrets=[{"name":"pull"}]"#], deployment, &pod("imagePullSecrets/0/name"), json!("pull")),
        (&[r#"clientCA.configMapName="ca""#], deployment, &pod("volumes/0/configMap/name"), json!("ca")),
        (&[r#"clientCA.secretName="ca""#], deployment, &pod("volumes/0/secret/secretName"), json!("ca")),
    ]);
    for (set, flag) in [
        (r#"extraArgs=["--release-after=120s"]"#, "--release-after=120s"),
        ("exemptControllers=[]", "--no-exempt-controllers"),
        (r#"clientCA={"configMapName":"ca","names":["kube-apiserver"]}"#, "--client-name=kube-apiserver"),
        (r#"canary.interval="1m""#, "--canary-interval=1m"),
        (r#"reaudit.interval="1h""#, "--reaudit-interval=1h"),
    ] {
        let objects = rendered(&["--set-json", set]);
        let args = find(&objects, deployment).and_then(|object| object.pointer(&container("args"))).expect("arguments");
        assert!(args.as_array().expect("a list").contains(&json!(flag)), "{set}: {args}");
    }
}

#[test]
fn each_value_of_other_objects_appears_in_them() {
    let webhooks = "ValidatingWebhookConfiguration";
    let selector = r#"webhook.extraNamespaceSelector=[{"key":"tier","operator":"NotIn","values":["system"]}]"#;
    let entry = |index: usize, field: &str| format!("/webhooks/{index}/{field}");
    assert_rendered(&[
        (&[], "PodDisruptionBudget", "/spec/maxUnavailable", json!(1)),
        (&[], "PodDisruptionBudget", "/spec/unhealthyPodEvictionPolicy", json!("AlwaysAllow")),
        (&["podDisruptionBudget.enabled=false"], "PodDisruptionBudget", "", Value::Null),
        (&[], "ResourceQuota/writgate-webhook", "/spec/hard/pods", json!("100")),
        (&[r#"priorityClassName="mine""#], "ResourceQuota/writgate-webhook", "", Value::Null),
        (&[r#"service.ipFamilyPolicy="PreferDualStack""#], "Service", "/spec/ipFamilyPolicy", json!("PreferDualStack")),
        (&[r#"service.ipFamilies=["IPv6"]"#], "Service", "/spec/ipFamilies", json!(["IPv6"])),
        (&[r#"service.annotations={"a":"b"}"#], "Service", "/metadata/annotations/a", json!("b")),
        (&[r#"webhook.annotations={"a":"b"}"#], webhooks, "/metadata/annotations/a", json!("b")),
        (&["webhook.timeoutSeconds=7"], webhooks, &entry(0, "timeoutSeconds"), json!(7)),
        (&["webhook.entries.connect.timeoutSeconds=3"], webhooks, &entry(0, "timeoutSeconds"), json!(5)),
        (&["webhook.entries.connect.timeoutSeconds=3"], webhooks, &entry(1, "timeoutSeconds"), json!(3)),
        (&[r#"webhook.entries.connect.failurePolicy="Ignore""#], webhooks, &entry(1, "failurePolicy"), json!("Ignore")),
        (&[r#"webhook.entries.connect.failurePolicy="Ignore""#], webhooks, &entry(0, "failurePolicy"), json!("Fail")),
        (&[selector], webhooks, &entry(0, "namespaceSelector/matchExpressions/2/key"), json!("tier")),
        (
            &[selector],
            "ValidatingAdmissionPolicy/pods.writgate.dev",
            "/spec/matchConstraints/namespaceSelector/matchExpressions/2/key",
            json!("tier"),
        ),
        (&[], "NetworkPolicy", "", Value::Null),
        (
            &[r#"flowSchema.priorityLevel="system""#],
            "FlowSchema",
            "/spec/priorityLevelConfiguration/name",
            json!("system"),
        ),
        (&["flowSchema.enabled=false"], "FlowSchema", "", Value::Null),
        (&["monitoring.serviceMonitor.enabled=true"], "ServiceMonitor", "/spec/endpoints/0/port", json!("metrics")),
        (&["monitoring.podMonitor.enabled=true"], "PodMonitor", "/spec/podMetricsEndpoints/0/port", json!("admin")),
        (
            &["monitoring.dashboard.enabled=true", r#"monitoring.dashboard.namespace="grafana""#],
            "ConfigMap/writgate-dashboard",
            "/metadata/namespace",
            json!("grafana"),
        ),
        (
            &[
                r#"extraObjects=[{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"n","namespace":"{{ .Release.Namespace }}"}}]"#,
            ],
            "ConfigMap/n",
            "/metadata/namespace",
            json!("writgate-system"),
        ),
    ]);
    // API servers send from a platform's own namespaces nothing that the other entries would send.
    let objects = rendered(&["--set-json", selector]);
    let entries = find(&objects, webhooks).expect("one")["webhooks"].as_array().expect("a list").clone();
    let governed = entries.iter().map(|entry| entry["namespaceSelector"].to_string());
    let governed: Vec<String> = governed.filter(|text| text.contains("writgate.dev/environment")).collect();
    assert!(governed.len() >= 5 && governed.iter().all(|text| text.contains("tier")), "{governed:?}");
}

/// The Lease has one name, in the Role and in the binary.
#[test]
fn the_role_permits_the_lease_that_the_webhook_uses() {
    let source = std::fs::read_to_string(repository().join("src/server/holder.rs")).expect("a file");
    let objects = rendered(&[]);
    let role = find(&objects, "Role/writgate-webhook").expect("a Role");
    let mut rules = role["rules"].as_array().expect("rules").iter();
    let of_lease =
        rules.find(|rule| rule["resources"] == json!(["leases"]) && rule["verbs"] == json!(["get", "update"]));
    let name = of_lease.expect("a rule for the Lease")["resourceNames"][0].as_str().expect("a name");
    assert!(source.contains(&format!("const LEASE: &str = {name:?};")), "{name}");
}

#[test]
fn every_object_has_the_recommended_and_the_common_labels() {
    let full = repository().join("charts/writgate/ci/full-values.yaml");
    let objects = rendered(&["--values", full.to_str().expect("UTF-8"), "--set", "monitoring.dashboard.enabled=true"]);
    let own = objects.iter().filter(|object| object["metadata"]["name"] != "notes");
    for object in own {
        let labels = &object["metadata"]["labels"];
        for name in ["name", "instance", "version", "component", "part-of", "managed-by"] {
            assert!(labels[format!("app.kubernetes.io/{name}")].is_string(), "{name}: {}", object["metadata"]);
        }
        assert!(labels["helm.sh/chart"].is_string(), "{}", object["metadata"]);
        assert_eq!(labels["example.com/team"], "platform", "{}", object["metadata"]);
    }
}

/// A hook that is a Job stops an upgrade if it cannot run. The only hook is the Pod of `helm test`, which nothing must select.
#[test]
fn the_only_hook_is_the_test_which_is_no_pod_of_the_service() {
    let objects = rendered(&[]);
    let hooks: Vec<&Value> = objects.iter().filter(|object| object.to_string().contains("helm.sh/hook\"")).collect();
    assert_eq!(hooks.len(), 1);
    let (test, deployment) = (hooks[0], find(&objects, "Deployment").expect("one"));
    assert_eq!((&test["kind"], &test["metadata"]["annotations"]["helm.sh/hook"]), (&json!("Pod"), &json!("test")));
    let selector = &find(&objects, "Service").expect("one")["spec"]["selector"]["app.kubernetes.io/name"];
    assert_ne!(&test["metadata"]["labels"]["app.kubernetes.io/name"], selector);
    let webhook = deployment.pointer(CONTAINER).expect("a container");
    let container = &test["spec"]["containers"][0];
    for field in ["image", "securityContext"] {
        assert_eq!(container[field], webhook[field], "{field}");
    }
    assert!(container["args"].to_string().contains("--canary-test"), "{container}");
    assert!(find(&rendered(&["--set", "canary.enabled=false"]), "Pod").is_none());
}

/// `posture init` names its ConfigMaps KIND-ENVIRONMENT, and an environment has one posture.
#[test]
fn the_example_posture_shares_no_name_with_posture_init() {
    let objects = rendered(&["--set", "examplePosture.enabled=true"]);
    let documents: Vec<&Value> =
        objects.iter().filter(|object| object["metadata"]["labels"]["writgate.dev/kind"].is_string()).collect();
    assert_eq!(documents.len(), 3);
    for document in documents {
        let name = document["metadata"]["name"].as_str().expect("a name");
        assert!(name.starts_with("example-"), "{name}");
        assert!(!document["data"].to_string().contains("environment: production"), "{document}");
    }
}

#[test]
fn the_thresholds_of_alerts_follow_the_intervals() {
    let thresholds = |set: &str| {
        let objects = rendered(&["--set", "monitoring.prometheusRule.enabled=true", "--set", set]);
        let rule = find(&objects, "PrometheusRule").expect("one")["spec"]["groups"].clone();
        let rules = rule.as_array().expect("groups").iter().flat_map(|group| group["rules"].as_array().expect("rules"));
        let of = |name: &str| {
            let rule = rules.clone().find(|rule| rule["alert"] == name).expect("the alert");
            rule["expr"].as_str().expect("text").rsplit(' ').next().expect("a number").to_owned()
        };
        (of("WritgateCanaryStale"), of("WritgateReauditStale"))
    };
    let of = |canary: &str, reaudit: &str| (canary.to_owned(), reaudit.to_owned());
    assert_eq!(thresholds("canary.interval=30s"), of("180", "3600"));
    assert_eq!(thresholds("canary.interval=31s"), of("186", "3600"));
    assert_eq!(thresholds("canary.interval=10s"), of("180", "3600"));
    assert_eq!(thresholds("canary.interval=5m"), of("1800", "3600"));
    assert_eq!(thresholds("reaudit.interval=2h"), of("180", "43200"));
    assert_eq!(thresholds("reaudit.interval=10m"), of("180", "3600"));
}

#[test]
fn runbooks_are_where_they_are_published() {
    let url = |set: &str| {
        let objects = rendered(&["--set", "monitoring.prometheusRule.enabled=true", "--set", set]);
        let rule = &find(&objects, "PrometheusRule").expect("one")["spec"]["groups"][0]["rules"][0];
        rule["annotations"]["runbook_url"].as_str().expect("a text").to_owned()
    };
    let page = "docs/operations/alerts/WritgateWebhookUnreachable.md";
    assert_eq!(url("monitoring.prometheusRule.runbookUrl="), page);
    assert!(repository().join(page).exists());
    for given in ["https://r.example/w", "https://r.example/w/"] {
        let url = url(&format!("monitoring.prometheusRule.runbookUrl={given}"));
        assert_eq!(url, "https://r.example/w/WritgateWebhookUnreachable.md");
    }
}

/// Each message says which value, why, and what to set. The values next to it are accepted.
#[test]
fn values_that_make_no_sense_are_refused_with_the_reason() {
    for (refused, message, accepted) in [
        ("replicas=0", "replicas is 0: no Pod would answer API servers", "replicas=1"),
        ("resourceQuota.pods=2", "a rolling update starts one Pod more", "resourceQuota.pods=3"),
        (
            "podDisruptionBudget.maxUnavailable=2",
            "all Pods could be evicted at once",
            "podDisruptionBudget.maxUnavailable=1",
        ),
        (
            r#"notifications.receivers=[{"name":"a","url":"https://a.example/"},{"name":"a","url":"https://b.example/"}]"#,
            "notifications.receivers has a twice",
            r#"notifications.receivers=[{"name":"a","url":"https://a.example/"},{"name":"b","url":"https://b.example/"}]"#,
        ),
        ("ports.admin=8443", "ports.https and ports.admin are both 8443", "ports.admin=8444"),
        (
            r#"service.ipFamilies=["IPv4","IPv6"]"#,
            "set PreferDualStack or RequireDualStack",
            r#"service.ipFamilies=["IPv4"]"#,
        ),
        (
            "webhook.timeoutSeconds=31",
            "webhook.timeoutSeconds is 31: API servers accept 1 to 30",
            "webhook.timeoutSeconds=30",
        ),
        ("webhook.timeoutSeconds=0", "webhook.timeoutSeconds is 0", "webhook.timeoutSeconds=1"),
        (
            "webhook.entries.documents.timeoutSeconds=0",
            "webhook.entries.documents.timeoutSeconds is 0",
            "webhook.entries.documents.timeoutSeconds=1",
        ),
        (
            r#"webhook.entries.workloads.failurePolicy="Ignore""#,
            "API servers would admit these requests without a check; only connect and wake-ups may be Ignore",
            r#"webhook.entries.wake-ups.failurePolicy="Ignore""#,
        ),
        (
            r#"webhook={"connect":false,"entries":{"connect":{"timeoutSeconds":3}}}"#,
            "there is no such entry then",
            r#"webhook={"connect":true,"entries":{"connect":{"timeoutSeconds":3}}}"#,
        ),
        (
            r#"webhook={"wakeUps":false,"entries":{"wake-ups":{"timeoutSeconds":3}}}"#,
            "there is no such entry then",
            r#"webhook={"wakeUps":false,"entries":{"connect":{"timeoutSeconds":3}}}"#,
        ),
        (
            r#"webhook.extraNamespaceSelector=[{"key":"a","operator":"In"}]"#,
            "the operator In of key a must have values",
            r#"webhook.extraNamespaceSelector=[{"key":"a","operator":"In","values":["b"]}]"#,
        ),
        (
            r#"webhook.extraNamespaceSelector=[{"key":"a","operator":"Exists","values":["b"]}]"#,
            "the operator Exists of key a must have no values",
            r#"webhook.extraNamespaceSelector=[{"key":"a","operator":"Exists"}]"#,
        ),
        (
            r#"reaudit={"enabled":false,"openReports":true}"#,
            "nothing would be reported",
            r#"reaudit={"enabled":true,"openReports":true}"#,
        ),
        ("detachedApprovals=false", "set requests.enabled to false as well", r#"requests={"enabled":false}"#),
        (
            r#"commonLabels={"app.kubernetes.io/name":"x"}"#,
            "commonLabels has app.kubernetes.io/name, which the chart sets itself",
            r#"commonLabels={"example.com/name":"x"}"#,
        ),
        (
            r#"canary.namespaceLabels={"writgate.dev/environment":"x"}"#,
            "canary.namespaceLabels has writgate.dev/environment",
            r#"canary.namespaceLabels={"example.com/environment":"x"}"#,
        ),
        (
            r#"extraArgs=["--drain=3s"]"#,
            "extraArgs has --drain, which the chart sets itself",
            r#"extraArgs=["--release-after=3m"]"#,
        ),
        ("networkPolicy.enabled=true", "requires networkPolicy.apiServers", "networkPolicy.enabled=false"),
        (r#"clientCA={"configMapName":"a","secretName":"b"}"#, "set one of them", r#"clientCA={"configMapName":"a"}"#),
        // The schema says what it found and what it expects.
        (r#"image.digest="sha256:1""#, "at '/image/digest': 'sha256:1' does not match pattern", r#"image.digest="""#),
        (r#"drain="10""#, "at '/drain': '10' does not match pattern", r#"drain="10s""#),
        (r#"dnsPolicy="None""#, "at '/dnsPolicy': value must be one of '', 'ClusterFirst'", r#"dnsPolicy="Default""#),
        ("workers=0", "at '/workers': minimum: got 0, want 1", "workers=1"),
        ("worker=1", "additional properties 'worker' not allowed", "workers=2"),
        (
            r#"monitoring.prometheusRule.runbookUrl="runbooks""#,
            "at '/monitoring/prometheusRule/runbookUrl'",
            r#"monitoring.prometheusRule.runbookUrl="https://r.example""#,
        ),
        (
            r#"exemptControllers=[{"user":"u","resources":["secrets"]}]"#,
            "value must be one of 'controllerrevisions'",
            r#"exemptControllers=[{"user":"u","resources":["jobs"]}]"#,
        ),
    ] {
        let output = template(&["--set-json", refused]);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains(message), "{refused}: {error}");
        rendered(&["--set-json", accepted]);
    }
}
