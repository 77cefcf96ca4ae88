//! `doctor` on an installation that a stand-in serves: healthy, and with one thing wrong. Each case says which check fails, with
//! what text and what remedy. `tests/cluster/doctor.rs` has such cases on a real API server; here are also those that a real one
//! cannot be made to show, such as an old version or a wrong clock.
//!
//! The file is longer than 500 lines: most of it is the table of broken installations.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use writgate_core::encoding::read_yaml;
use writgate_testing::{Authority, repository};

use crate::{
    folder::Folder,
    stand_in::{self, Answer, Request},
};

const SYSTEM: &str = "writgate-system";
const ADMISSION: &str = "/apis/admissionregistration.k8s.io/v1";
const CONFIGURATION: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/writgate";
const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/writgate-system/deployments/writgate-webhook";
const SERVICE: &str = "/api/v1/namespaces/writgate-system/services/writgate-webhook";
const PODS: &str = "/api/v1/namespaces/writgate-system/pods";
const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/writgate-system/endpointslices";
const MAPS: &str = "/api/v1/namespaces/writgate-system/configmaps";
const NAMESPACES: &str = "/api/v1/namespaces";
const REVIEWS: &str = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/writgate-system/leases/writgate-webhook";
/// A dry run of an entry of the ledger, in the same place as one of a posture.
const LEDGER: &str = "an entry of the ledger";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/payments/deployments";

/// The API server of an installation.
struct Installation {
    /// What is read at each path.
    objects: BTreeMap<String, Value>,
    /// The answers to writes, by path.
    writes: BTreeMap<String, (u16, String)>,
    /// The rights that the webhook's service account does not have, as `verb resource`.
    missing: BTreeSet<String>,
    /// The paths that RBAC refuses.
    forbidden: BTreeSet<String>,
    metrics: String,
    date: Option<String>,
}

/// The path of an object, as `kubectl get -v6` shows it.
fn path(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (version, kind) = (text(&object["apiVersion"]), text(&object["kind"]).to_lowercase());
    let root = if version == "v1" { "api" } else { "apis" };
    let plural = if kind.ends_with('y') { format!("{}ies", &kind[..kind.len() - 1]) } else { kind + "s" };
    let namespace =
        object["metadata"]["namespace"].as_str().map(|name| format!("namespaces/{name}/")).unwrap_or_default();
    format!("/{root}/{version}/{namespace}{plural}/{}", text(&object["metadata"]["name"]))
}

fn denied(entry: &str, code: &str) -> (u16, String) {
    (403, format!("admission webhook \"{entry}\" denied the request: denied x in payments\n{code}: why"))
}

fn pod(name: &str) -> Value {
    json!({"metadata": {"name": name},
        "spec": {"containers": [{"name": "webhook", "ports": [{"name": "admin", "containerPort": 8080}]}]},
        "status": {"conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"name": "webhook", "restartCount": 0, "imageID": "writgate-webhook@sha256:1"}]}})
}

impl Installation {
    fn healthy(folder: &Folder) -> Self {
        let manifests = std::fs::read_to_string(repository().join("manifests/writgate.yaml")).expect("text");
        let rendered = read_yaml(&manifests).expect("YAML");
        let mut objects: BTreeMap<String, Value> = rendered.into_iter().map(|object| (path(&object), object)).collect();
        let bundle = STANDARD.encode(Authority::new("ca").certificate);
        for entry in
            objects.get_mut(CONFIGURATION).expect("it is rendered")["webhooks"].as_array_mut().expect("entries")
        {
            entry["clientConfig"]["caBundle"] = bundle.clone().into();
            // The defaults of the API server.
            for selector in ["namespaceSelector", "objectSelector"] {
                if entry[selector].is_null() {
                    entry[selector] = json!({});
                }
            }
        }
        let namespace = |name: &str, labels: &Value| {
            let mut labels = labels.clone();
            labels["kubernetes.io/metadata.name"] = name.into();
            json!({"metadata": {"name": name, "labels": labels}})
        };
        let governed = json!({"writgate.dev/environment": "production", "writgate.dev/project": "payments"});
        let list = [("payments", &governed), (SYSTEM, &json!({})), ("kube-system", &json!({})), ("free", &json!({}))]
            .map(|(name, labels)| namespace(name, labels));
        let document = |name: &str, kind: &str| {
            let text = folder.read(&format!("postures/{kind}.yaml"));
            // Reviewers without an API user name are a warning.
            let text = text.replace("groups: [sre]\n", "identities: [bob]\n    groups: [sre]\n");
            let text = text.replace("groups: [security]", "identities: [carol]\n    groups: [security]");
            json!({"metadata": {"name": name, "namespace": SYSTEM, "labels": {"writgate.dev/kind": kind}},
                "data": {format!("{kind}.yaml"): text}})
        };
        objects.extend([
            (NAMESPACES.to_owned(), json!({"items": list})),
            (MAPS.to_owned(), json!({"apiVersion": "v1", "kind": "ConfigMapList", "metadata": {},
                "items": [document("posture", "posture"), document("prod-reviewers", "reviewers")]})),
            (PODS.to_owned(), json!({"items": [pod("one"), pod("two")]})),
            (SLICES.to_owned(), json!({"items": [{"endpoints": [
                {"addresses": ["192.0.2.1"], "conditions": {"ready": true}}, {"addresses": ["192.0.2.2"], "conditions": {}}]}]})),
            ("/version".to_owned(), json!({"major": "1", "minor": "37", "gitVersion": "v1.37.2", "gitCommit": "", "gitTreeState": "",
                "buildDate": "", "goVersion": "", "compiler": "", "platform": ""})),
        ]);
        let writes = [
            (NAMESPACES, denied("namespaces.writgate.dev", "GovernanceInvalid")),
            (MAPS, denied("documents.writgate.dev", "PostureInvalid")),
            (DEPLOYMENTS, denied("workloads.writgate.dev", "ApprovalRequired")),
        ];
        Self {
            objects,
            writes: writes.into_iter().map(|(path, answer)| (path.to_owned(), answer)).collect(),
            missing: BTreeSet::new(),
            forbidden: BTreeSet::new(),
            metrics: metrics(&[
                // 2999-01-01
                ("writgate_certificate_expiry_timestamp_seconds", 32_472_144_000),
                ("writgate_posture_age_seconds", 3),
                ("writgate_lease_holder", 1),
                ("writgate_canary_denied", 1),
                ("writgate_canary_last_denied_timestamp_seconds", ago(40)),
                ("writgate_reaudit_last_success_timestamp_seconds", ago(900)),
            ]),
            date: Some(date(0)),
        }
    }

    /// The entry of the webhook configuration.
    fn entry(&mut self, name: &str) -> &mut Value {
        let configuration = self.objects.get_mut(CONFIGURATION).expect("there is one");
        let mut entries = configuration["webhooks"].as_array_mut().expect("entries").iter_mut();
        entries.find(|entry| entry["name"] == format!("{name}.writgate.dev")).expect("the entry")
    }

    fn forbid(&mut self, prefix: &str) {
        self.forbidden.insert(prefix.to_owned());
    }

    /// Changes a metric of each Pod.
    fn report(&mut self, metric: &str, value: i64) {
        let mut lines: Vec<&str> = self.metrics.lines().filter(|line| !line.starts_with(metric)).collect();
        let line = format!("{metric} {value}");
        lines.push(&line);
        self.metrics = lines.join("\n");
    }

    /// The release of an installation whose API servers have the objects of admission in files.
    fn with_static_manifests(&mut self) {
        self.objects.retain(|path, _| !path.starts_with(ADMISSION));
        self.object(DEPLOYMENT)["metadata"]["annotations"] = json!({"writgate.dev/static-manifests": "true"});
        let why = "configmaps \"x\" is forbidden: ValidatingAdmissionPolicy 'ledger.writgate.dev.static.k8s.io' with binding \
                   'ledger.writgate.dev.static.k8s.io' denied request: only the webhook may write";
        self.writes.insert(LEDGER.to_owned(), (422, why.to_owned()));
    }

    fn object(&mut self, path: &str) -> &mut Value {
        self.objects.get_mut(path).expect("the object")
    }

    fn policy(&mut self, kind: &str, name: &str) -> &mut Value {
        self.object(&format!("{ADMISSION}/{kind}/{name}.writgate.dev"))
    }

    fn answer(&self, request: &Request) -> Answer {
        let failure = |code: u16, message: &str| {
            let status =
                json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "message": message, "code": code});
            Answer::json(code, &status)
        };
        let path = request.path();
        if self.forbidden.iter().any(|prefix| request.target.starts_with(prefix)) {
            return failure(403, "things is forbidden: User \"eve\" cannot create resource \"things\"");
        }
        if path == REVIEWS {
            let review: Value = serde_json::from_str(&request.body).expect("JSON");
            let asked = &review["spec"]["resourceAttributes"];
            let text = |field: &str| asked[field].as_str().unwrap_or_default().to_owned();
            let is_missing = self.missing.contains(&format!("{} {}", text("verb"), text("resource")));
            assert_eq!(review["spec"]["user"], format!("system:serviceaccount:{SYSTEM}:writgate-webhook"));
            return Answer::json(201, &json!({"status": {"allowed": !is_missing}}));
        }
        if path.ends_with("/proxy/metrics") {
            return Answer::text(200, self.metrics.clone());
        }
        if request.method == "POST" {
            assert!(request.target.contains("?dryRun=All"), "{}", request.target);
            let is_entry = request.body.contains("\"writgate.dev/kind\":\"ledger\"");
            let (code, message) = self.writes.get(if is_entry { LEDGER } else { path }).expect("an expected write");
            return match code {
                201 => Answer::json(201, &json!({})),
                code => failure(*code, message),
            };
        }
        match self.objects.get(path) {
            Some(object) => Answer::json(200, object).at(self.date.clone()),
            None => failure(404, "not found"),
        }
    }
}

/// The Date header, so many seconds from now.
fn date(seconds: i64) -> String {
    let now = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
    now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// A time, so many seconds ago.
fn ago(seconds: i64) -> i64 {
    jiff::Timestamp::now().as_second() - seconds
}

fn metrics(values: &[(&str, i64)]) -> String {
    values.iter().fold(String::new(), |text, (name, value)| text + &format!("{name} {value}\n"))
}

/// Runs `doctor` and returns the exit code, the report and standard error.
fn doctor(break_one: impl FnOnce(&mut Installation), arguments: &str) -> (i32, Value, String) {
    let folder = Folder::new();
    let mut installation = Installation::healthy(&folder);
    break_one(&mut installation);
    stand_in::serve(&folder, move |request| installation.answer(request));
    let (code, out, err) = folder.writgate(&format!("doctor --kubeconfig config -o json {arguments}"), "");
    (code, serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}")), err)
}

/// The findings of the report: check, status, text and remedy.
fn findings(report: &Value) -> Vec<(String, String, String, String)> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let checks = report["checks"].as_array().expect("checks").iter();
    checks
        .flat_map(|check| {
            let findings = check["findings"].as_array().expect("findings").iter();
            findings.map(move |one| {
                (text(&check["check"]), text(&one["status"]), text(&one["found"]), text(&one["remedy"]))
            })
        })
        .collect()
}

#[test]
fn a_healthy_installation_has_no_finding() {
    let (code, report, err) = doctor(|_| (), "");
    assert_eq!((code, findings(&report)), (0, Vec::new()), "{err}");
    assert_eq!(report["summary"], json!({"ok": 15, "warning": 0, "unknown": 0, "failed": 0}));
    assert_eq!(report["systemNamespace"], SYSTEM);
}

#[test]
fn only_runs_the_checks_that_are_named_in_the_order_of_the_report() {
    let (code, report, _) = doctor(|_| (), "--only policies,clock");
    let names: Vec<&Value> = report["checks"].as_array().expect("checks").iter().map(|check| &check["check"]).collect();
    assert_eq!((code, names), (0, vec![&json!("clock"), &json!("policies")]));
}

/// What is changed, the check that fails, what its finding says, and what the remedy says.
type Case = (fn(&mut Installation), &'static str, &'static str, &'static str, &'static str);

const RESTORE: &str = "restore it with `helm upgrade --reuse-values --force-conflicts`";

const CASES: &[Case] = &[
    // The webhook configuration.
    (
        |it| drop(it.objects.remove(CONFIGURATION)),
        "webhook-configuration",
        "failed",
        "is missing; no request is checked",
        RESTORE,
    ),
    (
        |it| drop(it.entry("workloads")["rules"].as_array_mut().expect("rules").remove(0)),
        "webhook-configuration",
        "failed",
        "entry workloads.writgate.dev: no rule sends CREATE of apps/v1 controllerrevisions",
        RESTORE,
    ),
    (
        |it| it.entry("workloads")["failurePolicy"] = "Ignore".into(),
        "webhook-configuration",
        "failed",
        "failurePolicy is Ignore, expected Fail",
        RESTORE,
    ),
    (
        |it| it.entry("connect")["failurePolicy"] = "Ignore".into(),
        "webhook-configuration",
        "warning",
        "entry connect.writgate.dev: failurePolicy is Ignore",
        "webhook.entries.connect.failurePolicy",
    ),
    (
        |it| it.entry("bundles")["matchPolicy"] = "Exact".into(),
        "webhook-configuration",
        "failed",
        "matchPolicy is Exact, expected Equivalent",
        RESTORE,
    ),
    (
        |it| {
            let names = &mut it.entry("workloads")["namespaceSelector"]["matchExpressions"][1]["values"];
            names.as_array_mut().expect("values").push("payments".into());
        },
        "webhook-configuration",
        "failed",
        "it excludes payments, which must be checked",
        RESTORE,
    ),
    (
        // What AKS adds.
        |it| {
            let expression = json!({"key": "control-plane", "operator": "DoesNotExist"});
            it.entry("workloads")["namespaceSelector"]["matchExpressions"]
                .as_array_mut()
                .expect("a list")
                .push(expression);
        },
        "webhook-configuration",
        "warning",
        "control-plane DoesNotExist, which the chart does not render; it excludes no namespace that exists",
        "list it in webhook.extraNamespaceSelector",
    ),
    (
        |it| it.entry("namespaces")["namespaceSelector"] = json!({"matchLabels": {"team": "a"}}),
        "webhook-configuration",
        "failed",
        "entry namespaces.writgate.dev: the namespaceSelector has team In [a]",
        RESTORE,
    ),
    (
        |it| it.entry("workloads")["objectSelector"] = json!({"matchLabels": {"checked": "yes"}}),
        "webhook-configuration",
        "failed",
        "the objectSelector has checked In [yes]",
        RESTORE,
    ),
    (
        |it| {
            let condition = json!({"name": "not-alice", "expression": "request.userInfo.username != \"alice\""});
            it.entry("workloads")["matchConditions"].as_array_mut().expect("conditions").push(condition);
        },
        "webhook-configuration",
        "failed",
        "matchCondition not-alice is not one of the chart's",
        RESTORE,
    ),
    (
        |it| {
            let expression = &mut it.entry("workloads")["matchConditions"][0]["expression"];
            *expression =
                expression.as_str().expect("text").replace("=pods\",", "=pods\", \"alice=deployments\",").into();
        },
        "webhook-configuration",
        "failed",
        "excludes alice=deployments, which the chart does not by default, and the webhook's --exempt-controller does not have it",
        RESTORE,
    ),
    (
        |it| it.entry("documents")["matchConditions"][1]["expression"] = "false".into(),
        "webhook-configuration",
        "failed",
        "the expression of matchCondition not-an-update-without-change is not the chart's",
        RESTORE,
    ),
    (
        |it| it.entry("workloads")["clientConfig"]["service"]["name"] = "other".into(),
        "webhook-configuration",
        "failed",
        "it calls Service writgate-system/other at port 443",
        RESTORE,
    ),
    (
        |it| {
            let entries = it.object(CONFIGURATION)["webhooks"].as_array_mut().expect("entries");
            entries.retain(|entry| entry["name"] != "metadata.writgate.dev");
        },
        "webhook-configuration",
        "failed",
        "entry metadata.writgate.dev is missing",
        RESTORE,
    ),
    (
        |it| {
            let entries = it.object(CONFIGURATION)["webhooks"].as_array_mut().expect("entries");
            entries.retain(|entry| entry["name"] != "connect.writgate.dev");
        },
        "webhook-configuration",
        "warning",
        "entry connect.writgate.dev is missing",
        "set webhook.connect to true",
    ),
    (
        |it| it.entry("workloads")["timeoutSeconds"] = 1.into(),
        "webhook-configuration",
        "warning",
        "entry workloads.writgate.dev is not as the chart rendered it, as --webhook-entry of the webhook's Deployment shows",
        RESTORE,
    ),
    // The CA bundle and the certificate.
    (
        |it| it.entry("bundles")["clientConfig"]["caBundle"] = "".into(),
        "ca-bundle",
        "failed",
        "entry bundles.writgate.dev: caBundle is empty",
        "write the CA that signed the serving certificate",
    ),
    (
        |it| it.metrics.push_str("writgate_ca_bundle_matches 0\n"),
        "ca-bundle",
        "failed",
        "Pod one reports writgate_ca_bundle_matches 0",
        "write the CA that signed the serving certificate",
    ),
    (
        |it| it.report("writgate_certificate_expiry_timestamp_seconds", 1_000_000_000),
        "certificate",
        "failed",
        "the serving certificate expired at 2001-09-09T01:46:40Z",
        "renew the certificate",
    ),
    (
        |it| it.forbid(&format!("{PODS}/http:")),
        "certificate",
        "unknown",
        "when the serving certificate expires is unknown",
        "pods/proxy",
    ),
    // Policies.
    (
        |it| drop(it.objects.remove(&format!("{ADMISSION}/validatingadmissionpolicybindings/ledger.writgate.dev"))),
        "policies",
        "failed",
        "ValidatingAdmissionPolicyBinding ledger.writgate.dev is missing",
        "set policies.enabled to true",
    ),
    (
        |it| it.policy("validatingadmissionpolicybindings", "events")["spec"]["validationActions"] = json!(["Warn"]),
        "policies",
        "failed",
        "validationActions are Warn, expected Deny",
        RESTORE,
    ),
    (
        |it| it.policy("validatingadmissionpolicies", "pods")["spec"]["failurePolicy"] = "Ignore".into(),
        "policies",
        "failed",
        "ValidatingAdmissionPolicy pods.writgate.dev: failurePolicy is Ignore",
        RESTORE,
    ),
    (
        |it| {
            let validations = it.policy("validatingadmissionpolicies", "ledger")["spec"]["validations"].as_array_mut();
            validations.expect("validations").remove(1);
        },
        "policies",
        "failed",
        "the validation with this message is missing",
        RESTORE,
    ),
    (
        |it| {
            let expression =
                &mut it.policy("validatingadmissionpolicies", "ledger")["spec"]["validations"][0]["expression"];
            *expression = expression.as_str().expect("text").replace("in [", "in [\"alice\", ").into();
        },
        "policies",
        "warning",
        "it does not bind alice",
        "policies.cleaners",
    ),
    // What runs.
    (
        |it| it.missing.extend(["watch configmaps".to_owned()]),
        "permissions",
        "failed",
        "may not watch configmaps in namespace writgate-system",
        "restore the roles and bindings",
    ),
    (
        |it| it.object(SLICES)["items"] = json!([{"endpoints": [{"conditions": {"ready": false}}]}]),
        "service",
        "failed",
        "Service writgate-webhook has no ready endpoint",
        "kubectl get endpointslices",
    ),
    (
        |it| it.object(SERVICE)["spec"]["selector"] = json!({"app": "other"}),
        "service",
        "failed",
        "selects other Pods",
        RESTORE,
    ),
    (
        |it| drop(it.objects.remove(DEPLOYMENT)),
        "pods",
        "failed",
        "Deployment writgate-system/writgate-webhook is missing",
        RESTORE,
    ),
    (
        |it| {
            it.object(PODS)["items"][0]["status"]["containerStatuses"][0]["imageID"] =
                "writgate-webhook@sha256:2".into();
        },
        "pods",
        "warning",
        "the ready Pods run different images: writgate-webhook@sha256:1, writgate-webhook@sha256:2",
        "kubectl rollout status",
    ),
    (
        |it| {
            let status = &mut it.object(PODS)["items"][1]["status"]["containerStatuses"][0];
            status["restartCount"] = 3.into();
            status["lastState"] = json!({"terminated": {"reason": "OOMKilled"}});
        },
        "pods",
        "warning",
        "Pod two was restarted 3 times, the last time because of OOMKilled",
        "kubectl logs --previous -n writgate-system two",
    ),
    (
        |it| {
            it.object(DEPLOYMENT)["spec"]["template"]["spec"]["containers"][0]["image"] =
                "r.example:5000/w:9.9.9".into();
        },
        "versions",
        "warning",
        "the webhook's image is r.example:5000/w:9.9.9",
        "use the image and the plugin of one version",
    ),
    (
        |it| it.object(CONFIGURATION)["metadata"]["labels"]["app.kubernetes.io/version"] = "9.9.9".into(),
        "versions",
        "warning",
        "is of version 9.9.9",
        "or use the plugin of version 9.9.9",
    ),
    // What the Pods report.
    (
        |it| it.report("writgate_posture_age_seconds", 75),
        "watches",
        "failed",
        "Pod one: its postures and namespaces were last proved current 75 s ago, expected at most 60 s; it denies everything",
        "kubectl writgate doctor --only permissions",
    ),
    (
        |it| it.report("writgate_posture_age_seconds", 55),
        "watches",
        "warning",
        "last proved current 55 s ago, expected at most 50 s",
        "grep 'cannot follow the cluster'",
    ),
    (
        |it| it.report("writgate_canary_denied", 0),
        "holder",
        "failed",
        "Pod one reports writgate_canary_denied 0",
        "--only webhook-configuration,dry-run",
    ),
    (
        |it| it.report("writgate_canary_last_denied_timestamp_seconds", ago(240)),
        "holder",
        "warning",
        "the canary was last denied at",
        "kubectl logs -n writgate-system two",
    ),
    (
        |it| it.report("writgate_reaudit_last_success_timestamp_seconds", ago(4000)),
        "holder",
        "warning",
        "the last complete re-audit ended at",
        "kubectl writgate coverage -A",
    ),
    (
        |it| it.report("writgate_lease_holder", 0),
        "holder",
        "warning",
        "no Pod holds the Lease writgate-webhook, and it does not exist",
        "kubectl logs -n writgate-system deployment/writgate-webhook",
    ),
    (
        |it| {
            it.report("writgate_lease_holder", 0);
            it.objects.insert(LEASE.to_owned(), json!({"spec": {"holderIdentity": "a-stranger"}}));
        },
        "holder",
        "warning",
        "no Pod holds the Lease writgate-webhook, and its holder is a-stranger",
        "kubectl get lease writgate-webhook -n writgate-system",
    ),
    (
        |it| it.forbid(&format!("{PODS}/http:")),
        "holder",
        "unknown",
        "whether a Pod holds the Lease writgate-webhook is unknown",
        "pods/proxy",
    ),
    // The objects of admission are in files of API servers.
    (
        |it| {
            it.with_static_manifests();
            let configuration = json!({"metadata": {"name": "writgate"}, "webhooks": []});
            it.objects.insert(CONFIGURATION.to_owned(), configuration);
        },
        "webhook-configuration",
        "failed",
        "they send each request twice",
        "delete it if every API server has the files",
    ),
    (
        |it| {
            it.with_static_manifests();
            it.object(NAMESPACES)["items"][0]["metadata"]["labels"] = json!({});
        },
        "webhook-configuration",
        "unknown",
        "no dry run was denied by workloads.writgate.dev",
        "apiserver_manifest_admission_config_controller_*",
    ),
    (
        |it| {
            it.with_static_manifests();
            let why = "Internal error occurred: failed calling webhook \"documents.writgate.dev\": failed to call webhook: Post \
                       \"https://w\": tls: failed to verify certificate: x509: certificate signed by unknown authority";
            it.writes.insert(MAPS.to_owned(), (500, why.to_owned()));
        },
        "ca-bundle",
        "failed",
        "the bundle in the API server's files does not verify the webhook",
        "staticManifests.caBundle",
    ),
    (
        |it| {
            it.with_static_manifests();
            it.writes.insert(DEPLOYMENTS.to_owned(), (201, String::new()));
        },
        "dry-run",
        "failed",
        "the API server admitted a Deployment without an approval",
        "see whether every API server has the files",
    ),
    (
        |it| {
            it.with_static_manifests();
            it.writes.insert(LEDGER.to_owned(), (201, String::new()));
        },
        "policies",
        "failed",
        "it does not have the policies",
        "see whether every API server has the files",
    ),
    (
        |it| {
            it.with_static_manifests();
            let why = "configmaps is forbidden: User \"eve\" cannot create resource \"configmaps\"";
            it.writes.insert(LEDGER.to_owned(), (403, why.to_owned()));
        },
        "policies",
        "unknown",
        "something other than ledger.writgate.dev.static.k8s.io refused a ConfigMap",
        "run doctor as a user who may send its dry runs",
    ),
    // The API server.
    (
        |it| {
            let version = it.object("/version");
            version["minor"] = "29+".into();
            version["gitVersion"] = "v1.29.4-gke".into();
        },
        "kubernetes-version",
        "failed",
        "the API server is v1.29.4-gke, expected v1.30 or later",
        "upgrade the cluster",
    ),
    (|it| it.date = Some(date(120)), "clock", "failed", "differs from the API server's by", "synchronise the clocks"),
    (|it| it.date = Some(date(-20)), "clock", "warning", "differs from the API server's by", "synchronise the clocks"),
    (|it| it.date = None, "clock", "unknown", "no Date header", "compare the clocks"),
    (
        |it| {
            it.object("/api/v1/namespaces/writgate-system")["metadata"]["deletionTimestamp"] =
                "2999-01-01T00:00:00Z".into();
        },
        "system-namespace",
        "failed",
        "namespace writgate-system is being deleted",
        "save its ConfigMaps",
    ),
    // Postures.
    (
        |it| {
            it.object(MAPS)["items"][0]["data"]["posture.yaml"] = "apiVersion: writgate.dev/v1\nkind: Posture\n".into();
        },
        "postures",
        "failed",
        "environment",
        "kubectl writgate posture check",
    ),
    (
        |it| it.object(NAMESPACES)["items"][3]["metadata"]["labels"]["writgate.dev/environment"] = "nowhere".into(),
        "postures",
        "failed",
        "namespace free belongs to environment nowhere, which has no posture",
        "write the posture of nowhere",
    ),
    // Dry runs.
    (
        |it| drop(it.writes.insert(DEPLOYMENTS.to_owned(), (201, String::new()))),
        "dry-run",
        "failed",
        "the API server admitted a Deployment without an approval in namespace payments",
        RESTORE,
    ),
    (
        |it| drop(it.writes.insert(DEPLOYMENTS.to_owned(), denied("workloads.writgate.dev", "LookupFailed"))),
        "dry-run",
        "failed",
        "with LookupFailed, expected ApprovalRequired",
        "kubectl writgate explain LookupFailed",
    ),
    (
        |it| {
            let why = "Internal error occurred: failed calling webhook \"documents.writgate.dev\": failed to call webhook: Post \
                       \"https://w\": dial tcp 192.0.2.1:443: i/o timeout";
            it.writes.insert(MAPS.to_owned(), (500, why.to_owned()));
        },
        "dry-run",
        "failed",
        "the API server could not call documents.writgate.dev",
        "make sure that the API server reaches the webhook's port",
    ),
    (
        |it| {
            let why = "deployments.apps is forbidden: User \"eve\" cannot create resource \"deployments\" in API group \"apps\"";
            it.writes.insert(DEPLOYMENTS.to_owned(), (403, why.to_owned()));
        },
        "dry-run",
        "unknown",
        "RBAC denied a Deployment without an approval",
        "pass a namespace where you may",
    ),
    (
        |it| {
            let why = "admission webhook \"kyverno.svc\" denied the request: ApprovalRequired: no";
            it.writes.insert(DEPLOYMENTS.to_owned(), (400, why.to_owned()));
        },
        "dry-run",
        "unknown",
        "something else than the webhook refused a Deployment",
        "which admission plugin refused it",
    ),
];

#[test]
fn names_the_check_that_one_change_breaks_and_what_to_do() {
    for (change, check, status, text, next) in CASES {
        let (code, report, err) = doctor(change, "");
        let expected = match *status {
            "failed" => 1,
            "unknown" => 3,
            _ => 0,
        };
        let found = findings(&report);
        assert!(
            found.iter().any(|(found_check, found_status, found, remedy)| found_check == check
                && found_status == status
                && found.contains(text)
                && remedy.contains(next)),
            "{check}: {text}: {found:#?}"
        );
        assert_eq!(code, expected, "{check}: {text}: {found:#?}{err}");
    }
}

#[test]
fn a_wrong_bundle_is_what_the_api_server_says() {
    let (code, report, _) = doctor(
        |it| {
            let why = "Internal error occurred: failed calling webhook \"ENTRY\": failed to call webhook: Post \"https://w\": tls: failed \
                       to verify certificate: x509: certificate signed by unknown authority";
            for (path, entry) in [(MAPS, "documents"), (NAMESPACES, "namespaces"), (DEPLOYMENTS, "workloads")] {
                let why = why.replace("ENTRY", &format!("{entry}.writgate.dev"));
                it.writes.insert(path.to_owned(), (500, why));
            }
        },
        "",
    );
    let found = findings(&report);
    let checks: BTreeSet<&str> = found.iter().map(|(check, ..)| check.as_str()).collect();
    assert_eq!((code, checks), (1, ["ca-bundle", "dry-run"].into()), "{found:#?}");
    assert!(found[0].2.contains("certificate signed by unknown authority"), "{found:#?}");
}

#[test]
fn admission_from_files_is_ok_as_far_as_dry_runs_show_it() {
    let (code, report, err) = doctor(Installation::with_static_manifests, "");
    assert_eq!((code, findings(&report)), (0, Vec::new()), "{err}");
    let checks = report["checks"].as_array().expect("checks").iter();
    let summaries = checks.filter_map(|check| check["summary"].as_str()).filter(|summary| summary.contains("file"));
    let summaries: Vec<&str> = summaries.collect();
    assert_eq!(summaries.len(), 3, "{summaries:#?}");
    for summary in summaries {
        assert!(summary.ends_with("compare the metrics apiserver_manifest_admission_config_controller_*"), "{summary}");
    }
}

#[test]
fn nothing_is_expected_of_a_holder_that_has_nothing_to_do() {
    let no_metrics = |it: &mut Installation| it.metrics = metrics(&[("writgate_posture_age_seconds", 3)]);
    let (code, report, _) = doctor(
        |it| {
            no_metrics(it);
            let container = &mut it.object(DEPLOYMENT)["spec"]["template"]["spec"]["containers"][0];
            let arguments = container["args"].as_array_mut().expect("arguments");
            arguments.retain(|argument| !argument.as_str().expect("a text").contains("-interval="));
        },
        "--only holder",
    );
    assert_eq!((code, findings(&report)), (0, Vec::new()));
    let (_, report, _) = doctor(no_metrics, "--only holder");
    assert!(findings(&report)[0].2.contains("no Pod holds the Lease"), "{report:#}");
    let (code, report, _) = doctor(
        |it| {
            no_metrics(it);
            it.report("writgate_lease_holder", 1);
        },
        "--only holder",
    );
    let found = findings(&report);
    assert_eq!((code, found.len()), (3, 2), "{found:#?}");
    assert!(found[0].2.contains("does not report the canary"), "{found:#?}");
}

#[test]
fn nothing_that_may_not_be_read_is_ok() {
    let (code, report, err) = doctor(|it| it.forbid("/api"), "");
    assert_eq!(code, 3, "{err}");
    assert_eq!(report["summary"], json!({"ok": 2, "warning": 0, "unknown": 13, "failed": 0}), "{report:#}");
    assert!(err.contains("13 checks are unknown"), "{err}");
}

#[test]
fn which_namespaces_a_selector_excludes_is_unknown_without_their_list() {
    let (code, report, _) = doctor(
        |it| {
            it.forbid("/api/v1/namespaces?limit");
            let expression = json!({"key": "control-plane", "operator": "DoesNotExist"});
            it.entry("workloads")["namespaceSelector"]["matchExpressions"]
                .as_array_mut()
                .expect("a list")
                .push(expression);
        },
        "-n payments --only webhook-configuration,dry-run",
    );
    let found = findings(&report);
    assert_eq!((code, found.len()), (3, 1), "{found:#?}");
    assert!(
        found[0].2.contains("the namespaces that it excludes are unknown: cannot read the list of namespaces"),
        "{found:#?}"
    );
}

#[test]
fn text_has_a_line_for_each_check_and_the_next_step() {
    let folder = Folder::new();
    let mut installation = Installation::healthy(&folder);
    installation.entry("workloads")["failurePolicy"] = "Ignore".into();
    stand_in::serve(&folder, move |request| installation.answer(request));
    let (out, err) = folder.expect(1, "doctor --kubeconfig config", "");
    assert_eq!(err, "");
    let line = |name: &str| out.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("{name}: {out}"));
    assert!(line(" kubernetes-version ").starts_with("ok       kubernetes-version"), "{out}");
    assert!(line(" webhook-configuration ").starts_with("failed "), "{out}");
    assert!(out.contains("next: restore it with `helm upgrade --reuse-values --force-conflicts`"), "{out}");
    assert!(out.ends_with("14 ok, 0 warning, 0 unknown, 1 failed\n"), "{out}");
    let (_, err) = folder.expect(2, "doctor --kubeconfig config -n a/b", "");
    assert!(err.contains("--namespace: a/b is not a valid namespace name"), "{err}");
}
