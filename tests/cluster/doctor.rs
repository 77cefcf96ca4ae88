//! `doctor` on a real API server: a healthy installation, and the same one with one thing changed. Each case names the checks
//! that fail, with what was found and the remedy. `crates/cli/tests/plugin/doctor.rs` has the cases that a real API server cannot
//! be made to show.
//!
//! The control plane has no kubelet and no controller for `EndpointSlices`, so the test writes the status of the webhook's Pods and
//! their `EndpointSlice` itself. Nothing answers at the Pods' addresses, so the checks that read only metrics are unknown.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use writgate_testing::harness::{Test, tests};
use writgate_testing::{Authority, Installation, Ran, SYSTEM_NAMESPACE, User, document, wait_until};

const PATIENCE: Duration = Duration::from_mins(1);
const CONFIGURATION: &str = "validatingwebhookconfiguration/writgate";
/// The checks that read only metrics of Pods.
const METRICS: [&str; 2] = ["holder", "watches"];
const RESTORE: &str = "restore it with `helm upgrade --reuse-values --force-conflicts`";

pub(crate) fn tests() -> Vec<Test<Installation>> {
    tests![names_what_is_broken_and_what_to_do]
}

/// The installation, and what restores it.
struct Ward<'a> {
    installation: &'a Installation,
    /// A governed namespace.
    namespace: String,
    /// The healthy objects.
    healthy: Vec<Value>,
}

/// One broken installation.
struct Case {
    change: fn(&Ward<'_>),
    /// Every check that fails. The first has the finding.
    fails: &'static [&'static str],
    found: &'static str,
    remedy: &'static str,
}

const CASES: &[Case] = &[
    Case {
        change: |ward| ward.patch_entry("workloads", "remove", "/rules/0", &Value::Null),
        fails: &["webhook-configuration", "dry-run"],
        found: "entry workloads.writgate.dev: no rule sends",
        remedy: RESTORE,
    },
    Case {
        change: |ward| ward.patch_entry("workloads", "replace", "/failurePolicy", &json!("Ignore")),
        fails: &["webhook-configuration"],
        found: "entry workloads.writgate.dev: failurePolicy is Ignore, expected Fail",
        remedy: RESTORE,
    },
    Case {
        change: |ward| {
            let expression =
                json!({"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": [ward.namespace]});
            ward.patch_entry("workloads", "add", "/namespaceSelector/matchExpressions/-", &expression);
        },
        fails: &["webhook-configuration", "dry-run"],
        found: "which must be checked",
        remedy: RESTORE,
    },
    Case {
        change: |ward| {
            let condition = json!({"name": "not-eve", "expression": "request.userInfo.username != 'eve'"});
            ward.patch_entry("workloads", "add", "/matchConditions/-", &condition);
        },
        fails: &["webhook-configuration"],
        found: "entry workloads.writgate.dev: matchCondition not-eve is not one of the chart's",
        remedy: RESTORE,
    },
    Case {
        change: |ward| ward.patch_entry("metadata", "remove", "", &Value::Null),
        fails: &["webhook-configuration"],
        found: "entry metadata.writgate.dev is missing",
        remedy: RESTORE,
    },
    Case {
        change: |ward| {
            ward.patch_entry("workloads", "replace", "/objectSelector", &json!({"matchLabels": {"checked": "yes"}}));
        },
        fails: &["webhook-configuration", "dry-run"],
        found: "entry workloads.writgate.dev: the objectSelector has checked In [yes]",
        remedy: RESTORE,
    },
    Case {
        change: |ward| ward.admin(&["delete", "validatingadmissionpolicybinding", "ledger.writgate.dev"]),
        fails: &["policies"],
        found: "ValidatingAdmissionPolicyBinding ledger.writgate.dev is missing",
        remedy: "set policies.enabled to true",
    },
    Case {
        change: |ward| {
            ward.merge(
                "validatingadmissionpolicybinding/events.writgate.dev",
                &json!({"spec": {"validationActions": ["Warn"]}}),
            );
        },
        fails: &["policies"],
        found: "ValidatingAdmissionPolicyBinding events.writgate.dev: validationActions are Warn, expected Deny",
        remedy: RESTORE,
    },
    Case {
        change: |ward| {
            let path = "/spec/validations/0/expression";
            ward.json_patch("validatingadmissionpolicy/pods.writgate.dev", "replace", path, &json!("true"));
        },
        fails: &["policies"],
        found: "ValidatingAdmissionPolicy pods.writgate.dev: the validation with this message is missing",
        remedy: RESTORE,
    },
    Case {
        change: |ward| ward.write_an_invalid_posture(),
        fails: &["postures"],
        found: "reviewerSets",
        remedy: "kubectl writgate posture check",
    },
    Case {
        change: |ward| ward.replace_the_bundles(),
        fails: &["ca-bundle", "dry-run", "permissions"],
        found: "x509: certificate signed by unknown authority",
        remedy: "write the CA that signed the serving certificate into caBundle",
    },
    Case {
        change: |ward| ward.admin(&["delete", "endpointslice", "webhook", "-n", SYSTEM_NAMESPACE]),
        fails: &["service"],
        found: "Service writgate-webhook has no ready endpoint",
        remedy: "kubectl get endpointslices",
    },
    Case {
        change: |ward| ward.set_ready("False"),
        fails: &["pods"],
        found: "no Pod is ready, expected 2",
        remedy: "kubectl describe pods",
    },
    Case {
        change: |ward| ward.admin(&["delete", "clusterrolebinding", "writgate-webhook"]),
        fails: &["permissions"],
        found: "the webhook's service account may not watch namespaces in all namespaces",
        remedy: "restore the roles and bindings writgate-webhook",
    },
];

fn doctor(user: &User, args: &[&str]) -> Ran {
    let mut command = user.command(writgate_testing::plugin());
    Ran::of(command.arg("doctor").args(args).args(["--system-namespace", SYSTEM_NAMESPACE, "-o", "json"]), "")
}

fn report(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran}"))
}

/// The checks with a status.
fn with_status<'a>(report: &'a Value, status: &str) -> BTreeSet<&'a str> {
    let checks = report["checks"].as_array().expect("checks").iter();
    checks.filter(|check| check["status"] == status).filter_map(|check| check["check"].as_str()).collect()
}

fn names_what_is_broken_and_what_to_do(installation: &Installation) {
    let governed = installation.governed("doctor");
    let mut ward = Ward { installation, namespace: governed.namespace.clone(), healthy: Vec::new() };
    ward.start_pods();
    ward.remember();
    ward.wait_healthy();
    let text = Ran::of(ward.admin_command().args(["doctor", "-n", &ward.namespace]), "");
    assert!(text.code == Some(3) && text.stdout.contains("ok        dry-run"), "{text}");
    assert!(
        text.stdout.contains(&format!("a Deployment without an approval in namespace {}", ward.namespace)),
        "{text}"
    );

    for Case { change, fails, found, remedy } in CASES {
        change(&ward);
        let expected: BTreeSet<&str> = fails.iter().copied().collect();
        // The API server uses a changed configuration a moment later.
        let (_, report) =
            ward.examine_until(|ran, report| ran.code == Some(1) && with_status(report, "failed") == expected);
        let mut checks = report["checks"].as_array().expect("checks").iter();
        let check = checks.find(|check| check["check"] == fails[0]).expect("the check");
        let says =
            |finding: &Value, field: &str, text: &str| finding[field].as_str().is_some_and(|all| all.contains(text));
        let mut findings = check["findings"].as_array().expect("findings").iter();
        assert!(
            findings.any(|one| one["status"] == "failed" && says(one, "found", found) && says(one, "remedy", remedy)),
            "{check:#}"
        );
        ward.restore();
        ward.wait_healthy();
    }

    // Without rights, nothing of the installation is ok.
    let ran = doctor(&installation.tenant, &[]);
    assert_eq!(ran.code, Some(3), "{ran}");
    let all = report(&ran);
    assert_eq!(with_status(&all, "ok"), ["clock", "kubernetes-version"].into(), "{all:#}");
    assert_eq!(with_status(&all, "failed"), BTreeSet::new(), "{all:#}");
    // The `edit` role is enough for the dry run of a Deployment.
    let ran = doctor(&installation.tenant, &["-n", &ward.namespace, "--only", "dry-run"]);
    let all = report(&ran);
    let finding = all["checks"][0]["findings"].to_string();
    assert!(finding.contains("RBAC denied a Namespace") && !finding.contains("Deployment"), "{all:#}");
}

impl Ward<'_> {
    fn admin(&self, args: &[&str]) {
        self.admin_in(args, "");
    }

    fn admin_in(&self, args: &[&str], input: &str) {
        let ran = self.installation.plane.admin.kubectl_in(args, input);
        assert!(ran.ok(), "{args:?}: {ran}");
    }

    fn admin_command(&self) -> std::process::Command {
        self.installation.plane.admin.command(writgate_testing::plugin())
    }

    fn get(&self, args: &[&str]) -> Value {
        self.installation.plane.admin.get(args).expect("it exists")
    }

    fn merge(&self, what: &str, patch: &Value) {
        self.admin(&["patch", what, "--type=merge", "-p", &patch.to_string()]);
    }

    fn json_patch(&self, what: &str, operation: &str, path: &str, value: &Value) {
        let operations = json!([{"op": operation, "path": path, "value": value}]);
        self.admin(&["patch", what, "--type=json", "-p", &operations.to_string()]);
    }

    /// Patches an entry of the webhook configuration.
    fn patch_entry(&self, entry: &str, operation: &str, path: &str, value: &Value) {
        let configuration = self.get(&[CONFIGURATION]);
        let entries = configuration["webhooks"].as_array().expect("entries");
        let index = entries.iter().position(|one| one["name"] == format!("{entry}.writgate.dev")).expect("the entry");
        self.json_patch(CONFIGURATION, operation, &format!("/webhooks/{index}{path}"), value);
    }

    /// The webhook would write its own CA again, so it loses its rights first.
    fn replace_the_bundles(&self) {
        use base64::Engine as _;
        self.admin(&["delete", "clusterrolebinding", "writgate-webhook"]);
        let other = base64::engine::general_purpose::STANDARD.encode(Authority::new("other").certificate);
        let mut configuration = self.get(&[CONFIGURATION]);
        for entry in configuration["webhooks"].as_array_mut().expect("entries") {
            entry["clientConfig"]["caBundle"] = other.clone().into();
        }
        self.admin_in(&["replace", "-f", "-"], &configuration.to_string());
    }

    /// The webhook denies an invalid posture, so nobody asks it.
    fn write_an_invalid_posture(&self) {
        self.admin(&["delete", CONFIGURATION]);
        let posture =
            json!({"apiVersion": "writgate.dev/v1", "kind": "Posture", "environment": "broken", "reviewerSets": 7});
        let map = document("posture", "doctor-broken", &posture).to_string();
        wait_until("the invalid posture is stored", PATIENCE, || {
            self.installation.plane.admin.kubectl_in(&["create", "-f", "-"], &map).ok().then_some(())
        });
        self.restore_objects();
    }

    fn start_pods(&self) {
        let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "webhook", "namespace": SYSTEM_NAMESPACE,
                "labels": {"kubernetes.io/service-name": "writgate-webhook"}},
            "ports": [{"name": "https", "port": 8443, "protocol": "TCP"}],
            "endpoints": [{"addresses": ["192.0.2.1"], "conditions": {"ready": true}}]});
        self.admin_in(&["create", "-f", "-"], &slice.to_string());
        wait_until("the Deployment has its Pods", PATIENCE, || (self.pods().len() == 2).then_some(()));
        self.set_ready("True");
    }

    fn pods(&self) -> Vec<String> {
        let selector = "app.kubernetes.io/name=writgate-webhook";
        let list = self.get(&["pods", "-n", SYSTEM_NAMESPACE, "-l", selector]);
        let items = list["items"].as_array().expect("a list").iter();
        items.filter_map(|pod| pod["metadata"]["name"].as_str().map(str::to_owned)).collect()
    }

    fn set_ready(&self, ready: &str) {
        let is_ready = ready == "True";
        for pod in self.pods() {
            let status = json!({"status": {"phase": "Running",
                "conditions": [{"type": "Ready", "status": ready}],
                "containerStatuses": [{"name": "webhook", "ready": is_ready, "restartCount": 0, "image": "writgate-webhook:0.1.0",
                    "imageID": "writgate-webhook@sha256:1", "state": {"running": {"startedAt": "2026-11-22T11:00:00Z"}}}]}});
            let patch = status.to_string();
            self.admin(&[
                "patch",
                "pod",
                &pod,
                "-n",
                SYSTEM_NAMESPACE,
                "--subresource=status",
                "--type=merge",
                "-p",
                &patch,
            ]);
        }
    }

    /// Keeps the objects that a case changes.
    fn remember(&mut self) {
        let label = "app.kubernetes.io/part-of=writgate";
        let kinds = "validatingwebhookconfigurations,validatingadmissionpolicies,validatingadmissionpolicybindings,clusterrolebindings";
        let mut healthy = self.get(&[kinds, "-l", label])["items"].as_array().expect("a list").clone();
        healthy.push(self.get(&["endpointslice", "webhook", "-n", SYSTEM_NAMESPACE]));
        assert!(healthy.len() > 6, "{}", healthy.len());
        for object in &mut healthy {
            let metadata = object["metadata"].as_object_mut().expect("metadata");
            metadata.retain(|field, _| matches!(field.as_str(), "name" | "namespace" | "labels"));
            object.as_object_mut().expect("an object").remove("status");
        }
        self.healthy = healthy;
    }

    fn restore_objects(&self) {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": self.healthy}).to_string();
        // Those that exist are replaced afterwards.
        drop(self.installation.plane.admin.kubectl_in(&["create", "-f", "-"], &list));
        self.admin_in(&["replace", "-f", "-"], &list);
    }

    fn restore(&self) {
        self.restore_objects();
        wait_until("the invalid posture is deleted", PATIENCE, || {
            let args = ["delete", "configmap", "doctor-broken", "-n", SYSTEM_NAMESPACE, "--ignore-not-found"];
            self.installation.plane.admin.kubectl(&args).ok().then_some(())
        });
        self.set_ready("True");
    }

    /// Runs `doctor` until its report is as `expected` says, and fails with the last report.
    fn examine_until(&self, expected: impl Fn(&Ran, &Value) -> bool) -> (Ran, Value) {
        let end = Instant::now() + PATIENCE;
        loop {
            let ran = doctor(&self.installation.plane.admin, &[]);
            let report = report(&ran);
            if expected(&ran, &report) {
                return (ran, report);
            }
            assert!(Instant::now() < end, "{ran}");
        }
    }

    /// The tests' webhook is at a URL, which is the only thing to warn about.
    fn wait_healthy(&self) {
        let (_, report) = self.examine_until(|_, report| {
            with_status(report, "failed").is_empty() && with_status(report, "unknown") == METRICS.into()
        });
        let warnings = with_status(&report, "warning");
        assert!(warnings.is_subset(&["webhook-configuration", "postures"].into()), "{report:#}");
        let checks = report["checks"].as_array().expect("checks").iter();
        let findings = checks.filter(|check| check["check"] == "webhook-configuration");
        let texts: Vec<&str> = findings
            .flat_map(|check| check["findings"].as_array().expect("findings"))
            .filter_map(|finding| finding["found"].as_str())
            .collect();
        assert!(!texts.is_empty() && texts.iter().all(|text| text.contains("in place of Service")), "{texts:#?}");
    }
}
