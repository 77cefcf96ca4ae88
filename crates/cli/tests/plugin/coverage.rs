//! `coverage` of files: what is left out, the order, and the exit code if several answers are mixed. With a cluster it is
//! tested in `tests/cluster/e2e/coverage.rs`.

use serde_json::{Value, json};

use crate::folder::Folder;

const COVERAGE: &str = "coverage -f - --posture-dir postures -o json";

fn deployment(name: &str, uid: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "payments", "uid": uid},
        "spec": {"replicas": 0, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
}

fn replica_set(name: &str, owner: &str) -> Value {
    let mut set = deployment(name, name);
    set["kind"] = "ReplicaSet".into();
    set["metadata"]["ownerReferences"] = json!([{"uid": owner, "controller": true}]);
    set
}

fn list(items: &[Value]) -> String {
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

/// The names and the coverage of the report, in its order.
fn rows(report: &str) -> Vec<(String, String)> {
    let report: Value = serde_json::from_str(report).expect("JSON");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let rows = report["workloads"].as_array().expect("a list");
    rows.iter().map(|row| (text(&row["object"]["name"]), text(&row["coverage"]))).collect()
}

fn expected(rows: &[(&str, &str)]) -> Vec<(String, String)> {
    rows.iter().map(|(name, coverage)| ((*name).to_owned(), (*coverage).to_owned())).collect()
}

#[test]
fn leaves_out_what_a_listed_workload_controls_and_nothing_else() {
    let folder = Folder::new();
    let sets = [replica_set("owned", "d-1"), replica_set("stray", "gone")];
    let (out, _) = folder.expect(1, COVERAGE, list(&[&sets[..], &[deployment("orders", "d-1")]].concat()));
    assert_eq!(rows(&out), expected(&[("orders", "unapproved"), ("stray", "unapproved")]));
    let (out, _) = folder.expect(1, COVERAGE, list(&[sets[0].clone()]));
    assert_eq!(rows(&out), expected(&[("owned", "unapproved")]), "its owner is not there");
}

#[test]
fn an_approval_for_exactly_this_object_covers_it() {
    let folder = Folder::new();
    let postures = folder.read("postures/posture.yaml").replace("count: 2", "count: 1");
    folder.write("postures/posture.yaml", postures);
    folder.write("approval.json", folder.approve("-f app.yaml"));
    let (attached, _) = folder.expect(0, "attach -f app.yaml --approval approval.json", "");
    let (out, _) = folder.expect(0, COVERAGE, &attached);
    assert_eq!(rows(&out), expected(&[("orders", "approved")]));
    let (out, _) = folder.expect(1, COVERAGE, attached.replace("orders:1.4.2", "orders:1.4.3"));
    assert_eq!(rows(&out), expected(&[("orders", "other-spec")]));
    let (detached, _) = folder.expect(0, "attach --detached --approval approval.json", "");
    let app = folder.read("app.yaml");
    let (out, _) = folder.expect(0, COVERAGE, format!("{app}---\n{detached}"));
    assert_eq!(rows(&out), expected(&[("orders", "approved")]));
    let (out, _) =
        folder.expect(1, COVERAGE, format!("{}---\n{detached}", app.replace("orders:1.4.2", "orders:1.4.3")));
    assert_eq!(rows(&out), expected(&[("orders", "other-spec")]));
    let (out, _) =
        folder.expect(1, COVERAGE, format!("{}---\n{detached}", app.replacen("name: orders\n", "name: other\n", 1)));
    assert_eq!(rows(&out), expected(&[("other", "other-spec")]), "the approval names another object");
}

#[test]
fn a_workload_that_is_not_covered_decides_before_one_that_is_not_known() {
    let folder = Folder::new();
    let mut broken = deployment("broken", "d-2");
    broken["spec"]["template"]["spec"]["containers"] = "none".into();
    let (out, err) = folder.expect(3, COVERAGE, list(&[broken.clone()]));
    assert_eq!(rows(&out), expected(&[("broken", "unreadable")]));
    assert!(err.contains("1 workload could not be decided"), "{err}");
    let (out, _) = folder.expect(1, COVERAGE, list(&[broken, deployment("orders", "d-1")]));
    assert_eq!(rows(&out), expected(&[("orders", "unapproved"), ("broken", "unreadable")]));
}

#[test]
fn refuses_a_command_line_that_names_no_environment() {
    let folder = Folder::new();
    let app = folder.read("app.yaml");
    folder.write("postures/namespaces.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: payments}\n");
    let (_, err) = folder.expect(2, COVERAGE, &app);
    assert!(err.contains("namespace payments has no label writgate.dev/environment"), "{err}");
    let (_, err) = folder.expect(2, &format!("{COVERAGE} --environment production"), &app);
    assert!(err.contains("namespace payments has no label writgate.dev/project; pass --project"), "{err}");
    folder.expect(1, &format!("{COVERAGE} --environment production --project payments"), &app);
    let (_, err) = folder.expect(2, "coverage -A --environment production --project payments", "");
    assert!(err.contains("--environment is about one namespace"), "{err}");
    folder.expect(3, COVERAGE, "apiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: payments}\n");
}
