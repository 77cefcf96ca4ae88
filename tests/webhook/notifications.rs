//! Receivers of notifications in the chart.

use serde_json::Value;
use serde_json::json;
use writgate_core::encoding::read_yaml;

use crate::chart::{container, find, pod, rendered};

/// `src/notify/configuration.rs` reads a file with these members.
#[test]
fn receivers_of_notifications_are_rendered_with_their_rights_and_files() {
    let receivers = r#"notifications.receivers=[{"name":"a","urlSecret":{"name":"s","key":"u"},"tokenSecret":{"name":"s","key":"t"},"caConfigMap":{"name":"c","key":"ca.crt"},"types":["denied"]},{"name":"b","url":"https://b.example/"}]"#;
    let without = rendered(&[]);
    assert!(find(&without, "ConfigMap/writgate-notifications").is_none());
    let objects = rendered(&["--set-json", receivers]);
    let text = &find(&objects, "ConfigMap/writgate-notifications").expect("one")["data"]["notifications.yaml"];
    let read = read_yaml(text.as_str().expect("text")).expect("YAML");
    let folder = "/etc/writgate/receivers/a";
    let expected = json!({"source": "/writgate", "expiresWithin": "30m", "receivers": [
        {"name": "a", "types": ["denied"], "urlFile": format!("{folder}/url"), "tokenFile": format!("{folder}/token"),
            "caFile": format!("{folder}/ca.crt")},
        {"name": "b", "url": "https://b.example/"}]});
    assert_eq!(read, [expected]);
    let deployment = find(&objects, "Deployment").expect("one");
    let args = deployment.pointer(&container("args")).expect("arguments").as_array().expect("a list");
    assert!(args.contains(&json!("--notifications=/etc/writgate/notifications/notifications.yaml")), "{args:?}");
    let mounts = deployment.pointer(&container("volumeMounts")).expect("mounts").as_array().expect("a list");
    let paths: Vec<_> = mounts.iter().filter_map(|mount| mount["mountPath"].as_str()).collect();
    assert_eq!(paths, ["/etc/writgate/notifications", folder]);
    let volumes = deployment.pointer(&pod("volumes")).expect("volumes").to_string();
    assert_eq!(volumes.matches(r#""optional":true"#).count(), 4, "the webhook starts without them: {volumes}");
    let may = |objects: &[Value]| {
        let rules =
            find(objects, "ClusterRole/writgate-webhook").expect("one")["rules"].as_array().expect("rules").clone();
        rules.contains(&json!({"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["list", "watch"]}))
    };
    assert!(may(&objects) && !may(&without), "the right to list Events is granted only with receivers");
    let lease = rendered(&[
        "--set-json",
        receivers,
        "--set",
        "canary.enabled=false,reaudit.enabled=false,requests.enabled=false",
    ]);
    let role = find(&lease, "Role/writgate-webhook").expect("a Role")["rules"].to_string();
    assert!(role.contains("leases"), "only the holder of the Lease notifies: {role}");
}
