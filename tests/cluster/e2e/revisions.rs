//! `kubectl rollout undo` of `StatefulSets` and `DaemonSets`. kubectl restores only the Pod template of the `ControllerRevision`, and no
//! annotation.

use std::time::Duration;

use serde_json::{Value, json};

use crate::e2e::trail;
use writgate_testing::harness::{Test, tests};
use writgate_testing::{Governed, Installation, Ran, denied_for, detached, envelope, wait_until};

pub(crate) fn tests() -> Vec<Test<Installation>> {
    tests![
        undo_finds_the_detached_approval_of_the_earlier_spec,
        undo_keeps_an_attached_approval_of_the_live_spec_and_the_denial_says_what_to_do,
    ]
}

const LIMIT: Duration = Duration::from_mins(1);
const KINDS: [&str; 2] = ["StatefulSet", "DaemonSet"];

fn undo_finds_the_detached_approval_of_the_earlier_spec(installation: &Installation) {
    for kind in KINDS {
        let governed = installation.governed("undo-detached");
        let mut ids = Vec::new();
        for (number, object) in revisions(&governed, kind).iter().enumerate() {
            let statement = governed.statement(object);
            ids.push(statement["predicate"]["id"].clone());
            let name = format!("approval-{number}");
            let approval = detached(&governed.namespace, &name, &envelope(&statement, &[&governed.bob]));
            assert!(installation.tenant.apply(&approval).ok());
            apply(&governed, object, number + 1);
        }
        let ran = undo(&governed, kind);
        assert!(ran.ok(), "{kind}: {ran}");
        let records = trail::records(&governed, |record| record["decision"] == "admitted");
        let admitted: Vec<&Value> = records.iter().map(|record| &record["approvals"][0]["id"]).collect();
        assert_eq!(admitted, [&ids[0], &ids[1], &ids[0]], "{kind}");
    }
}

fn undo_keeps_an_attached_approval_of_the_live_spec_and_the_denial_says_what_to_do(installation: &Installation) {
    for kind in KINDS {
        let governed = installation.governed("undo-attached");
        let [first, second] = revisions(&governed, kind).map(|object| governed.approved(&object));
        apply(&governed, &first, 1);
        apply(&governed, &second, 2);
        let ran = undo(&governed, kind);
        assert!(denied_for(&ran, "SpecHashMismatch"), "{kind}: {ran}");
        for said in ["kubectl rollout undo restores only the Pod template", "kubectl writgate attach --detached"] {
            assert!(ran.stderr.contains(said), "{kind}: {ran}");
        }
        let ran = installation.operator.apply(&first);
        assert!(ran.ok(), "the earlier manifest with its approval: {ran}");
    }
}

/// Two specs of one object.
fn revisions(governed: &Governed<'_>, kind: &str) -> [Value; 2] {
    ["ghcr.io/acme/orders:1.4.2", "ghcr.io/acme/orders:1.5.0"].map(|image| {
        let mut object = governed.deployment("orders");
        object["kind"] = json!(kind);
        let spec = object["spec"].as_object_mut().expect("an object");
        spec.remove("replicas");
        if kind == "StatefulSet" {
            spec.insert("serviceName".to_owned(), json!("orders"));
        }
        object["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
        object
    })
}

/// Applies an object, and waits until its controller has written the revision.
fn apply(governed: &Governed<'_>, object: &Value, revisions: usize) {
    let ran = governed.installation.operator.apply(object);
    assert!(ran.ok(), "{ran}");
    wait_until("the controller wrote the revision", LIMIT, || {
        let found = governed.installation.plane.admin.get(&["controllerrevisions", "-n", &governed.namespace])?;
        (found["items"].as_array()?.len() == revisions).then_some(())
    });
}

fn undo(governed: &Governed<'_>, kind: &str) -> Ran {
    let what = format!("{}/orders", kind.to_lowercase());
    governed.installation.operator.kubectl(&["rollout", "undo", &what, "-n", &governed.namespace])
}
