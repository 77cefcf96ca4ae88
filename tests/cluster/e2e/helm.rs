//! Approvals of a Helm release: Helm 4 applies with server-side apply, which reports a conflict if another field manager owns a
//! value that it changes.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::e2e::flow::Desk;
use writgate_testing::harness::{Test, tests};
use writgate_testing::{APPROVAL, Governed, Installation, Ran, detached, envelope, helm, seconds_from_now};

pub(crate) fn tests() -> Vec<Test<Installation>> {
    tests![
        helm_upgrades_a_release_after_attach_live,
        request_asks_for_a_hook_that_exists_with_the_same_spec,
        rollback_on_failure_restores_the_last_release_with_its_approval,
        helm_rollback_requires_a_valid_approval_of_the_earlier_spec,
        an_umbrella_chart_is_one_request_and_one_approval,
        request_names_the_field_in_which_two_renders_differ,
        a_hook_requires_an_approval_of_a_lower_weight,
    ]
}

fn helm_upgrades_a_release_after_attach_live(installation: &Installation) {
    let governed = installation.governed("release");
    let desk = Desk::of(&governed);
    let orders = governed.deployment("orders");
    fs::create_dir_all(desk.path("chart/templates")).expect("the plane's folder can be written");
    desk.write("chart/Chart.yaml", "apiVersion: v2\nname: orders\nversion: 0.1.0\n");
    let mut template = orders.clone();
    template["metadata"]["annotations"] = json!({APPROVAL: "APPROVAL"});
    desk.write(
        "chart/templates/orders.yaml",
        &template.to_string().replace("\"APPROVAL\"", "{{ .Values.approval | quote }}"),
    );

    let ran = upgrade(&governed, &desk, "first.json", &orders);
    assert!(ran.ok(), "helm upgrade --install: {ran}");
    desk.write("app.json", &orders.to_string());
    desk.approve("app.json", "live.json");
    let live = ["attach", "--live", "--approval", "live.json"];
    let program = writgate_testing::plugin();
    let ran = Ran::of(installation.plane.admin.command(program).args(live).current_dir(desk.path(".")), "");
    assert!(ran.ok(), "{ran}");
    assert_eq!(attached(&governed), fs::read_to_string(desk.path("live.json")).expect("a file").trim_end());

    let mut next = orders;
    next["spec"]["template"]["spec"]["containers"][0]["image"] = json!("ghcr.io/acme/orders:1.5.0");
    let text = fs::read_to_string(desk.path("chart/templates/orders.yaml")).expect("a file");
    desk.write("chart/templates/orders.yaml", &text.replace("orders:1.4.2", "orders:1.5.0"));
    let ran = upgrade(&governed, &desk, "next.json", &next);
    assert!(ran.ok(), "helm upgrade after attach --live: {ran}");
    assert_eq!(attached(&governed), fs::read_to_string(desk.path("next.json")).expect("a file"));
}

/// Helm and Argo CD delete the last release's hook and create it again, so its creation requires an approval.
fn request_asks_for_a_hook_that_exists_with_the_same_spec(installation: &Installation) {
    let governed = installation.governed("hooks");
    installation.permit_reading_postures();
    let desk = Desk::of(&governed);
    let job = governed.replay_job("migrate");
    let ran = installation.operator.create(&governed.approved(&job));
    assert!(ran.ok(), "{ran}");
    let run = |verb: &[&str], file: &str| {
        let mut command = installation.operator.command(writgate_testing::plugin());
        Ran::of(command.args(verb).args(["-f", file]).current_dir(desk.path(".")), "")
    };
    let annotated = |annotation: &str, value: &str| {
        let mut annotated = job.clone();
        annotated["metadata"]["annotations"][annotation] = json!(value);
        annotated.to_string()
    };
    let approve = |file: &str| {
        let requester = ["--requested-by", "alice@acme.example"];
        desk.run(
            &[&["approve", "--yes", "-f", file, "--key", "bob.pem", "-o", "approval.json"], &requester[..]].concat(),
        )
    };

    desk.write("plain.json", &annotated("argocd.argoproj.io/sync-options", "Prune=false,Replace=true"));
    let ran = run(&["request", "-o", "-"], "plain.json");
    assert!(ran.ok() && ran.stdout.is_empty() && ran.stderr.contains("no request"), "{ran}");
    let ran = approve("plain.json");
    assert!(ran.code == Some(1) && ran.stderr.contains("have these specs already"), "{ran}");

    for (annotation, value) in [
        ("helm.sh/hook", "pre-upgrade"),
        ("argocd.argoproj.io/hook", "PreSync"),
        ("argocd.argoproj.io/sync-options", "Replace=true, Force=true"),
    ] {
        desk.write("hook.json", &annotated(annotation, value));
        let ran = run(&["request", "-o", "-"], "hook.json");
        let request: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{annotation}: {ran}"));
        assert_eq!(request["workloads"].as_array().map(Vec::len), Some(1), "{annotation}: {ran}");
        desk.write("request.json", &ran.stdout);
        let ran = desk.run(&["approve", "--yes", "-f", "request.json", "--key", "bob.pem", "-o", "approval.json"]);
        assert!(ran.ok() && ran.stderr.contains("which is deleted and created again"), "{annotation}: {ran}");
        let ran = run(&["verify"], "hook.json");
        assert!(ran.code == Some(1) && ran.stdout.contains("ApprovalRequired"), "{annotation}: {ran}");
        let ran = approve("hook.json");
        assert!(ran.ok(), "{annotation}: {ran}");
        let ran = run(&["select", "--approvals", "approval.json"], "hook.json");
        assert!(ran.ok() && ran.stdout.contains("eligible:"), "{annotation}: {ran}");
    }
}

/// A chart that Helm releases as `orders`.
struct Chart<'a> {
    governed: &'a Governed<'a>,
    desk: Desk<'a>,
}

impl<'a> Chart<'a> {
    fn of(governed: &'a Governed<'a>) -> Self {
        let chart = Self { governed, desk: Desk::of(governed) };
        chart.write("chart", &[]);
        chart
    }

    /// Writes the chart in `folder` with these templates and no others.
    fn write(&self, folder: &str, templates: &[&str]) {
        let name = folder.rsplit('/').next().expect("a name");
        drop(fs::remove_dir_all(self.desk.path(&format!("{folder}/templates"))));
        fs::create_dir_all(self.desk.path(&format!("{folder}/templates"))).expect("the plane's folder can be written");
        self.desk.write(&format!("{folder}/Chart.yaml"), &format!("apiVersion: v2\nname: {name}\nversion: 0.1.0\n"));
        for (index, template) in templates.iter().enumerate() {
            self.desk.write(&format!("{folder}/templates/{index}.yaml"), template);
        }
    }

    fn helm(&self, args: &[&str]) -> Ran {
        let mut command = self.governed.installation.plane.admin.command(&helm());
        command.args(args).args(["-n", &self.governed.namespace]);
        Ran::of(command.current_dir(self.desk.path(".")), "")
    }

    fn upgrade(&self, more: &[&str]) -> Ran {
        self.helm(&[&["upgrade", "--install", "orders", "chart"], more].concat())
    }

    /// What the chart renders now.
    fn render(&self) -> String {
        let ran = self.helm(&["template", "orders", "chart"]);
        assert!(ran.ok(), "{ran}");
        ran.stdout
    }

    /// Runs the plugin as the operator, in the folder of the chart.
    fn operator(&self, args: &[&str]) -> Ran {
        let mut command = self.governed.installation.operator.command(writgate_testing::plugin());
        command.args(args).args(["-n", &self.governed.namespace]);
        Ran::of(command.current_dir(self.desk.path(".")), "")
    }

    /// The image tag of the live CronJob.
    fn live_tag(&self) -> Option<String> {
        let found =
            self.governed.installation.plane.admin.get(&["cronjob", "report", "-n", &self.governed.namespace])?;
        let image = &found["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["image"];
        image.as_str().and_then(|image| image.rsplit(':').next()).map(str::to_owned)
    }
}

/// A workload that Helm does not wait for.
fn cron_job(name: &str, tag: &str) -> Value {
    json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": name},
        "spec": {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": {"spec": {"restartPolicy": "Never",
            "containers": [{"name": "report", "image": format!("ghcr.io/acme/report:{tag}")}]}}}}}})
}

/// Helm has written the changed object before the next one is denied, and restores it with its approval.
fn rollback_on_failure_restores_the_last_release_with_its_approval(installation: &Installation) {
    let governed = installation.governed("on-failure");
    let chart = Chart::of(&governed);
    let [first, second] = ["1", "2"].map(|tag| governed.approved(&cron_job("report", tag)).to_string());
    chart.write("chart", &[&first]);
    let ran = chart.upgrade(&[]);
    assert!(ran.ok(), "{ran}");

    chart.write("chart", &[&second, &cron_job("unapproved", "1").to_string()]);
    let ran = chart.upgrade(&["--rollback-on-failure", "--timeout", "60s"]);
    assert!(!ran.ok() && ran.stderr.contains("ApprovalRequired"), "{ran}");
    assert_eq!(chart.live_tag().as_deref(), Some("1"));
    let is_admitted = |record: &Value| {
        record["environment"] == *governed.environment
            && record["action"] == "deploy"
            && record["decision"] == "admitted"
    };
    let hashes: Vec<Value> =
        installation.webhook.records(is_admitted).into_iter().map(|record| record["specHash"].clone()).collect();
    assert!(matches!(&hashes[..], [first, second, third] if first != second && first == third), "{hashes:?}");
}

fn helm_rollback_requires_a_valid_approval_of_the_earlier_spec(installation: &Installation) {
    let governed = installation.governed("back");
    let chart = Chart::of(&governed);
    let lifetime = Duration::from_secs(10);
    let end = Instant::now() + lifetime + Duration::from_secs(1); // the statement has whole seconds
    let first = cron_job("report", "1");
    let brief = governed.approved_but(&first, |statement| {
        statement["predicate"]["expiresAt"] =
            json!(seconds_from_now(i64::try_from(lifetime.as_secs()).expect("small")));
    });
    for approved in [brief, governed.approved(&cron_job("report", "2"))] {
        chart.write("chart", &[&approved.to_string()]);
        let ran = chart.upgrade(&[]);
        assert!(ran.ok(), "{ran}");
    }
    sleep(end.saturating_duration_since(Instant::now()));
    let ran = chart.helm(&["rollback", "orders", "1"]);
    assert!(!ran.ok() && ran.stderr.contains("Expired: "), "{ran}");
    assert_eq!(chart.live_tag().as_deref(), Some("2"));

    let signed = envelope(&governed.statement(&first), &[&governed.bob]);
    installation.plane.install(&[detached(&governed.namespace, "for-the-rollback", &signed)]);
    let ran = chart.helm(&["rollback", "orders", "1"]);
    assert!(ran.ok(), "{ran}");
    assert_eq!(chart.live_tag().as_deref(), Some("1"));
}

fn an_umbrella_chart_is_one_request_and_one_approval(installation: &Installation) {
    let governed = installation.governed("umbrella");
    installation.permit_reading_postures();
    let chart = Chart::of(&governed);
    for name in ["web", "worker"] {
        chart.write(&format!("chart/charts/{name}"), &[&cron_job(name, "1").to_string()]);
    }
    chart.desk.write("rendered.yaml", &chart.render());
    let ran = chart.operator(&["request", "-f", "rendered.yaml", "-o", "request.json"]);
    assert!(ran.ok(), "{ran}");
    let ran = chart.desk.run(&["approve", "--yes", "-f", "request.json", "--key", "bob.pem", "-o", "approval.json"]);
    assert!(ran.ok(), "{ran}");
    let approval = fs::read_to_string(chart.desk.path("approval.json")).expect("a file");
    installation.plane.install(&[detached(&governed.namespace, "orders-approval", approval.trim_end())]);
    let ran = chart.upgrade(&[]);
    assert!(ran.ok(), "{ran}");
    for name in ["web", "worker"] {
        assert!(installation.plane.admin.get(&["cronjob", name, "-n", &governed.namespace]).is_some(), "{name}");
    }
}

fn request_names_the_field_in_which_two_renders_differ(installation: &Installation) {
    let governed = installation.governed("random");
    installation.permit_reading_postures();
    let chart = Chart::of(&governed);
    let with_value = |value: &str| {
        let mut job = cron_job("report", "1");
        job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["env"] =
            json!([{"name": "TOKEN", "value": value}]);
        job.to_string()
    };
    chart.write("chart", &[&with_value("{{ randAlphaNum 12 }}")]);
    for name in ["first.yaml", "second.yaml"] {
        chart.desk.write(name, &chart.render());
    }
    let ran = chart.operator(&["request", "-f", "first.yaml", "-f", "second.yaml", "-o", "-"]);
    let field = "containers[report].env[TOKEN].value";
    assert!(ran.code == Some(2) && ran.stderr.contains(field) && ran.stderr.contains("appears twice"), "{ran}");

    // The same object in two templates.
    chart.write("chart", &[&with_value("a"), &with_value("a")]);
    chart.desk.write("twice.yaml", &chart.render());
    let ran = chart.operator(&["request", "-f", "twice.yaml", "-o", "-"]);
    assert!(ran.code == Some(2) && ran.stderr.contains("appears twice; remove one"), "{ran}");
}

/// Helm creates hooks in the order of their weights, and before the other objects of a release.
fn a_hook_requires_an_approval_of_a_lower_weight(installation: &Installation) {
    let governed = installation.governed("weights");
    let chart = Chart::of(&governed);
    let mut job = json!({"apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": "migrate", "annotations": {"helm.sh/hook": "pre-install", "helm.sh/hook-weight": "0"}},
        "spec": {"backoffLimit": 0, "template": {"spec": {"restartPolicy": "Never",
            "containers": [{"name": "migrate", "image": "ghcr.io/acme/migrate:1"}]}}}});
    job["metadata"]["namespace"] = json!(governed.namespace);
    let signed = envelope(&governed.statement_of_job(&job), &[&governed.bob]);
    let approval = |annotations: Value| {
        let mut config_map = detached(&governed.namespace, "migrate-approval", &signed);
        config_map["metadata"]["annotations"] = annotations;
        config_map.to_string()
    };
    let install = |name: &str, annotations: Value| {
        chart.write("chart", &[&job.to_string(), &approval(annotations)]);
        let is_done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !is_done.load(Ordering::Relaxed) {
                    installation.complete_jobs(&governed.namespace);
                    sleep(Duration::from_millis(200));
                }
            });
            let ran = chart.helm(&["install", name, "chart", "--timeout", "60s"]);
            is_done.store(true, Ordering::Relaxed);
            ran
        })
    };
    let weight = |weight: &str| json!({"helm.sh/hook": "pre-install", "helm.sh/hook-weight": weight});
    for (name, annotations) in [("ordinary", json!({})), ("heavier", weight("5"))] {
        let ran = install(name, annotations);
        assert!(!ran.ok() && ran.stderr.contains("ApprovalRequired"), "{name}: {ran}");
        assert_eq!(installation.plane.admin.get(&["job", "migrate", "-n", &governed.namespace]), None, "{name}");
    }
    let ran = install("lighter", weight("-5"));
    assert!(ran.ok(), "{ran}");
}

/// Upgrades the release with an approval of `object`.
fn upgrade(governed: &Governed<'_>, desk: &Desk<'_>, approval: &str, object: &Value) -> Ran {
    desk.write(approval, &envelope(&governed.statement(object), &[&governed.bob]));
    let mut command = governed.installation.plane.admin.command(&helm());
    let value = format!("approval={approval}");
    command.args(["upgrade", "--install", "orders", "chart", "-n", &governed.namespace, "--set-file", &value]);
    Ran::of(command.current_dir(desk.path(".")), "")
}

fn attached(governed: &Governed<'_>) -> String {
    let found = governed.installation.plane.admin.get(&["deployment", "orders", "-n", &governed.namespace]);
    found.expect("it exists")["metadata"]["annotations"][APPROVAL].as_str().expect("an approval").to_owned()
}
