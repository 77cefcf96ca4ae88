//! The verbs that read and change the cluster's postures, with and without the rights that they require.

use std::fs;

use serde_json::{Value, json};

use writgate_testing::harness::{Test, tests};
use writgate_testing::{Governed, Installation, Ran, SYSTEM_NAMESPACE, User, document};

pub(crate) fn tests() -> Vec<Test<Installation>> {
    tests![
        revoke_writes_the_list_and_names_the_running_workloads,
        posture_verbs_check_explain_and_compare_the_clusters_postures,
        revoke_requires_the_right_to_write_the_list,
        kubectl_completes_the_plugin,
    ]
}

fn writgate(user: &User, args: &[&str]) -> Ran {
    let mut command = user.command(writgate_testing::plugin());
    Ran::of(command.args(args).args(["--system-namespace", SYSTEM_NAMESPACE]), "")
}

/// A posture with an empty list of revocations.
fn with_list(governed: &Governed<'_>) -> (Value, String) {
    let list = format!("revocations-{}", governed.environment);
    let mut posture = governed.usual_posture();
    posture["revocationLists"] = json!([list]);
    let text = "# revoked keys\napiVersion: writgate.dev/v1\nkind: Revocations\nkeys: []\n";
    let mut map = document("revocations", &list, &Value::Null);
    map["data"]["revocations.yaml"] = text.into();
    governed.installation.plane.install(&[map]);
    governed.installation.plane.install(&governed.posture_objects(&posture));
    (posture, list)
}

fn revoke_writes_the_list_and_names_the_running_workloads(installation: &Installation) {
    let governed = installation.governed("revoke");
    let (_, list) = with_list(&governed);
    let ran = installation.operator.create(&governed.approved(&governed.deployment("orders")));
    assert!(ran.ok(), "{ran}");
    let id = governed.bob.id();
    let arguments = ["revoke", "key", &id, "--why", "lost laptop", "--list", &list];
    let ran = writgate(&installation.plane.admin, &[&arguments[..], &["--dry-run"]].concat());
    assert!(ran.ok() && ran.stdout.contains("lost laptop"), "{ran}");
    let ran = writgate(&installation.plane.admin, &arguments);
    assert!(ran.ok(), "{ran}");
    assert!(ran.stderr.contains("these workloads keep running"), "{ran}");
    assert!(ran.stderr.contains("in their annotations, which are not verified"), "{ran}");
    assert!(ran.stderr.contains(&format!("Deployment {}/orders", governed.namespace)), "{ran}");
    let map = installation.plane.admin.get(&["configmap", &list, "-n", SYSTEM_NAMESPACE]).expect("it exists");
    let text = map["data"]["revocations.yaml"].as_str().expect("text");
    assert!(text.starts_with("# revoked keys\n") && text.contains(id.as_str()), "{text}");
    let again = writgate(&installation.plane.admin, &arguments);
    assert!(again.ok() && again.stderr.contains("already revoked"), "{again}");
}

fn posture_verbs_check_explain_and_compare_the_clusters_postures(installation: &Installation) {
    let governed = installation.governed("compare");
    let (mut posture, _) = with_list(&governed);
    let admin = &installation.plane.admin;
    let explained = writgate(admin, &["posture", "explain", &governed.environment]);
    assert!(explained.ok() && explained.stdout.contains("bob@acme.example may grant"), "{explained}");
    let checked = writgate(admin, &["posture", "check", "-o", "json"]);
    let report: Value = serde_json::from_str(&checked.stdout).expect("JSON");
    let own = |found: &&Value| found["environment"] == governed.environment.as_str();
    let found = report["environments"].as_array().expect("environments").iter().find(own).expect("the environment");
    assert_eq!(found["valid"], true);

    // The folder has only this environment's documents, with one change.
    let folder = tempfile::tempdir().expect("a folder");
    posture["images"] = "digest".into();
    let objects = governed.posture_objects(&posture);
    for (index, object) in objects.iter().enumerate() {
        fs::write(folder.path().join(format!("{index}.json")), object.to_string()).expect("the folder can be written");
    }
    let list = document(
        "revocations",
        &format!("revocations-{}", governed.environment),
        &json!({"apiVersion": "writgate.dev/v1", "kind": "Revocations"}),
    );
    fs::write(folder.path().join("list.json"), list.to_string()).expect("the folder can be written");
    let compared = writgate(admin, &["posture", "diff", folder.path().to_str().expect("UTF-8"), "-o", "json"]);
    assert_eq!(compared.code, Some(1), "{compared}");
    let changes: Vec<Value> = serde_json::from_str(&compared.stdout).expect("JSON");
    let own: Vec<&Value> = changes.iter().filter(own).collect();
    assert_eq!(own.len(), 1, "{own:?}");
    assert_eq!((&own[0]["what"], &own[0]["effect"]), (&json!("images"), &json!("stricter")));
}

fn revoke_requires_the_right_to_write_the_list(installation: &Installation) {
    let governed = installation.governed("rights");
    let (_, list) = with_list(&governed);
    let id = governed.bob.id();
    let arguments = ["revoke", "key", &id, "--why", "lost laptop", "--list", &list];
    let ran = writgate(&installation.tenant, &arguments);
    assert_eq!(ran.code, Some(3), "{ran}");
    assert!(ran.stderr.contains("cannot list the postures"), "{ran}");
    // The right to read postures is not the right to write lists.
    let reader = installation.plane.user("rita");
    let name = format!("reader-{}", governed.namespace);
    installation.plane.install(&[
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
            "metadata": {"name": name, "namespace": SYSTEM_NAMESPACE},
            "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]}]}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": name, "namespace": SYSTEM_NAMESPACE},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": reader.name}]}),
    ]);
    let ran = writgate(&reader, &arguments);
    assert_eq!(ran.code, Some(3), "{ran}");
    assert!(ran.stderr.contains(&format!("cannot write ConfigMap {list}")), "{ran}");
    let map = installation.plane.admin.get(&["configmap", &list, "-n", SYSTEM_NAMESPACE]).expect("it exists");
    assert!(!map["data"]["revocations.yaml"].as_str().expect("text").contains(id.as_str()));
}

/// kubectl itself requests the completions, since it defines their protocol.
fn kubectl_completes_the_plugin(installation: &Installation) {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    let script = folder.path().join("kubectl_complete-writgate");
    let printed = writgate_alone(&["completion", "kubectl"]);
    fs::write(&script, printed.stdout).expect("the folder can be written");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("the test owns the file");
    let plugin = writgate_testing::plugin().parent().expect("a folder");
    let path = format!("{}:{}:/usr/bin:/bin", folder.path().display(), plugin.display());
    let complete = |words: &[&str]| {
        installation.plane.admin.kubectl_by_path(&[&["__complete", "writgate"], words].concat(), &path)
    };
    let ran = complete(&["ver"]);
    assert!(ran.stdout.starts_with("verify\t") && ran.stdout.ends_with(":4\n"), "{ran}");
    let ran = complete(&["explain", "SelfA"]);
    assert!(ran.stdout.starts_with("SelfApproval\t"), "{ran}");
    let ran = complete(&["verify", "--posture-d"]);
    assert!(ran.stdout.starts_with("--posture-dir\t"), "{ran}");
}

fn writgate_alone(args: &[&str]) -> Ran {
    Ran::of(std::process::Command::new(writgate_testing::plugin()).args(args), "")
}
