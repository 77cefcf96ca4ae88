//! Approvals of a Helm release: Helm 4 applies with server-side apply, which reports a conflict if another field manager owns a
//! value that it changes.

use std::fs;

use serde_json::{Value, json};

use crate::e2e::flow::Desk;
use writgate_testing::harness::{Test, tests};
use writgate_testing::{APPROVAL, Governed, Installation, Ran, envelope, helm};

pub(crate) fn tests() -> Vec<Test<Installation>> {
    tests![helm_upgrades_a_release_after_attach_live, request_asks_for_a_hook_that_exists_with_the_same_spec,]
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
        let ran = run(&["verify"], "hook.json");
        assert!(ran.code == Some(1) && ran.stdout.contains("ApprovalRequired"), "{annotation}: {ran}");
        let ran = approve("hook.json");
        assert!(ran.ok(), "{annotation}: {ran}");
        let ran = run(&["select", "--approvals", "approval.json"], "hook.json");
        assert!(ran.ok() && ran.stdout.contains("eligible:"), "{annotation}: {ran}");
    }
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
