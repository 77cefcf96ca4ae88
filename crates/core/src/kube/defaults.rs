//! The API server's defaults, applied to a manifest from a file.
//!
//! Before a request reaches the webhook, the API server has decoded the object, filled in defaults, and encoded it
//! again. For a manifest from a file, this module takes the same steps, so that its hash is the same:
//!
//! - `shape` converts values as decoding and encoding do, with the tables in `fields`.
//! - `workload`, `pod`, `container` and `volume` fill in defaults, each under the API server's own condition.
//!
//! `make k8s-tables` generates `fields` from the API's Go types; the file names the version of Kubernetes. The rest is
//! written by hand for the same version and its default feature gates. A mistake here makes two hashes differ that
//! should be equal. So a mistake can deny a request, but it can never admit one.

mod container;
#[rustfmt::skip] // one line per field
mod fields;
mod image_tag;
mod older;
mod pod;
mod shape;
mod volume;
mod workload;

use std::fmt;

use serde_json::Value;

use crate::{kube::quantity::QuantityError, kube::workload::WorkloadKind};

type JsonObject = serde_json::Map<String, Value>;

/// The API server would refuse the manifest before admission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefaultError {
    path: String,
    problem: DefaultProblem,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum DefaultProblem {
    #[error("expected an object, and there is none")]
    Missing,
    #[error("expected {expected}, found {found}")]
    Type { expected: &'static str, found: &'static str },
    #[error("expected an integer of {bits} bits, found {found}")]
    Integer { bits: u8, found: String },
    #[error("expected a time such as 2026-11-22T10:00:00Z, found {found:?}")]
    Time { found: String },
    #[error("{error}, found {found:?}")]
    Quantity { error: QuantityError, found: String },
}

impl DefaultError {
    /// The path of the field in the manifest: `spec.template.spec.containers[0].image`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    fn under(mut self, name: &str) -> Self {
        let dot = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path = format!("{name}{dot}{}", self.path);
        self
    }

    fn at(mut self, index: usize) -> Self {
        let dot = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path = format!("[{index}]{dot}{}", self.path);
        self
    }
}

impl From<DefaultProblem> for DefaultError {
    fn from(problem: DefaultProblem) -> Self {
        Self { path: String::new(), problem }
    }
}

impl fmt::Display for DefaultError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            return self.problem.fmt(f);
        }
        write!(f, "{}: {}", self.path, self.problem)
    }
}

impl std::error::Error for DefaultError {}

/// Converts the `.spec` of a manifest to the form in which the API server would send it to the webhook, as far as the
/// hash covers it.
///
/// `object` is the whole manifest, as kubectl would send it. Fields that the hash leaves out (replicas, rollout
/// settings) get no default. A field that this build does not know stays unchanged.
///
/// # Errors
///
/// The manifest has no spec, or a field has a value that the API server would refuse.
pub fn default_forward(kind: WorkloadKind, object: &mut Value) -> Result<(), DefaultError> {
    let Some(Value::Object(spec)) = object.get_mut("spec") else {
        return Err(DefaultError::from(DefaultProblem::Missing).under("spec"));
    };
    let Some(fields) = fields_of(kind) else {
        return Ok(()); // Only the cluster has the defaults of its CustomResourceDefinition.
    };
    shape::conform(spec, fields).map_err(|error| error.under("spec"))?;
    workload::fill_spec(kind, spec);
    Ok(())
}

/// A field of a manifest that Kubernetes does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownField {
    /// The path of the field in the manifest: `spec.template.spec.securityContext.runAsNonroot`.
    pub path: String,
    /// The fields that Kubernetes has in that object.
    pub known: Vec<&'static str>,
}

/// The fields under `.spec` of a manifest that the API server drops, because its types do not have them.
///
/// This depends on the version of Kubernetes: a later one may have more fields. A further kind has no unknown fields,
/// because only the cluster has its schema.
#[must_use]
pub fn unknown_fields(kind: WorkloadKind, object: &Value) -> Vec<UnknownField> {
    let mut unknown = Vec::new();
    if let (Some(Value::Object(spec)), Some(fields)) = (object.get("spec"), fields_of(kind)) {
        shape::add_unknown(spec, fields, "spec", &mut unknown);
    }
    unknown
}

/// The paths of all fields of a kind's spec, with the names of fields only.
#[cfg(test)]
pub(super) fn field_paths(kind: WorkloadKind) -> Vec<Vec<&'static str>> {
    let mut paths = Vec::new();
    shape::add_paths(fields_of(kind).unwrap_or_default(), &[], &mut paths);
    paths
}

/// Removes the fields under `.spec` of a manifest that the API server of Kubernetes v1.`minor` drops by default, and
/// returns their paths.
///
/// It drops fields that its types do not have, fields whose feature gate is off in that version, and some values of fields
/// that it has. A further kind has no such fields, because only the cluster has its schema.
pub fn remove_dropped_fields(kind: WorkloadKind, object: &mut Value, minor: u32) -> Vec<String> {
    let mut dropped = Vec::new();
    if let (Some(Value::Object(spec)), Some(fields)) = (object.get_mut("spec"), fields_of(kind)) {
        shape::remove_dropped(spec, fields, minor, "spec", &mut dropped);
        older::remove_values(kind, spec, minor, &mut dropped);
    }
    dropped
}

fn fields_of(kind: WorkloadKind) -> Option<&'static [shape::Field]> {
    Some(match kind {
        WorkloadKind::Deployment => fields::DEPLOYMENT_SPEC,
        WorkloadKind::ReplicaSet => fields::REPLICA_SET_SPEC,
        WorkloadKind::DaemonSet => fields::DAEMON_SET_SPEC,
        WorkloadKind::StatefulSet => fields::STATEFUL_SET_SPEC,
        WorkloadKind::ReplicationController => fields::REPLICATION_CONTROLLER_SPEC,
        WorkloadKind::Job => fields::JOB_SPEC,
        WorkloadKind::CronJob => fields::CRON_JOB_SPEC,
        WorkloadKind::Further(_) => return None,
    })
}

/// Sets a field that is absent. After `shape`, a field is absent exactly if its Go value is nil, or is zero and
/// omitted.
fn fill(object: &mut JsonObject, name: &str, value: impl Into<Value>) {
    if !object.contains_key(name) {
        object.insert(name.to_owned(), value.into());
    }
}

/// Sets a field that is absent, null or empty.
fn fill_empty(object: &mut JsonObject, name: &str, value: &str) {
    if object.get(name).is_none_or(|found| found.is_null() || found == "") {
        object.insert(name.to_owned(), value.into());
    }
}

/// The field as an object. `None`: it is absent or not an object.
fn child<'a>(object: &'a mut JsonObject, name: &str) -> Option<&'a mut JsonObject> {
    object.get_mut(name).and_then(Value::as_object_mut)
}

/// The objects in a list. There are none if the list is absent.
fn children<'a>(object: &'a mut JsonObject, name: &str) -> impl Iterator<Item = &'a mut JsonObject> {
    object.get_mut(name).and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}

fn text<'a>(object: &'a JsonObject, name: &str) -> Option<&'a str> {
    object.get(name).and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::approval::spec_hash::spec_hash;

    fn pod(pod: Value) -> Result<Value, String> {
        let mut object = json!({"spec": {"template": {"metadata": {"labels": {"app": "a"}}}}});
        object["spec"]["template"]["spec"] = pod;
        default_forward(WorkloadKind::Deployment, &mut object).map_err(|error| error.to_string())?;
        Ok(object["spec"]["template"]["spec"].take())
    }

    fn container(container: &Value) -> Result<Value, String> {
        pod(json!({"containers": [container]})).map(|mut pod| pod["containers"][0].take())
    }

    #[test]
    fn a_minimal_pod_gets_the_defaults_of_the_api_server() {
        assert_eq!(
            pod(json!({"containers": [{"name": "c", "image": "app:1"}]})),
            Ok(json!({
                "containers": [{
                    "name": "c", "image": "app:1", "imagePullPolicy": "IfNotPresent", "resources": {},
                    "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                }],
                "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "schedulerName": "default-scheduler",
                "securityContext": {}, "terminationGracePeriodSeconds": 30,
            }))
        );
    }

    #[test]
    fn keeps_false_behind_a_pointer_and_drops_it_elsewhere() {
        let kept = container(&json!({"name": "c", "stdin": false, "tty": null, "env": [{"name": "A", "value": ""}],
            "securityContext": {"allowPrivilegeEscalation": false, "runAsUser": 0, "privileged": null}}))
        .expect("a container");
        assert_eq!(kept["securityContext"], json!({"allowPrivilegeEscalation": false, "runAsUser": 0}));
        assert_eq!(kept["env"], json!([{"name": "A"}]));
        assert_eq!((kept.get("stdin"), kept.get("tty")), (None, None));
    }

    #[test]
    fn finds_the_fields_that_kubernetes_does_not_have() {
        let found = |kind, spec: Value| {
            let fields = unknown_fields(kind, &json!({ "spec": spec }));
            fields.into_iter().map(|field| field.path).collect::<Vec<_>>()
        };
        let pod = json!({
            "securityContext": {"runAsNonroot": true, "runAsUser": 1},
            "affinity": {"tolerations": [], "nodeAffinity": null},
            "nodeSelector": {"any": "key"},
            "containers": [{"name": "a", "imagePullPolicy": "Always"}, {"name": "b", "imagePullPolcy": "Always"}],
        });
        let template = json!({"metadata": {"labels": {"any": "key"}}, "spec": pod});
        let expected = [
            "spec.template.spec.affinity.tolerations",
            "spec.template.spec.containers[1].imagePullPolcy",
            "spec.template.spec.securityContext.runAsNonroot",
        ];
        for kind in [WorkloadKind::Deployment, WorkloadKind::StatefulSet, WorkloadKind::Job] {
            assert_eq!(found(kind, json!({"template": template.clone()})), expected, "{kind:?}");
        }
        let cron_job = json!({"schedul": "* * * * *", "jobTemplate": {"spec": {"template": {"spec": {}}}}});
        assert_eq!(found(WorkloadKind::CronJob, cron_job), ["spec.schedul"]);
        let claims = json!({"volumeClaimTemplates": [{"apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": "data"}, "spec": {"resources": {"requests": {"storage": "1Gi"}}}}]});
        assert_eq!(found(WorkloadKind::StatefulSet, claims), [""; 0]);
    }

    #[test]
    fn removes_the_fields_that_an_older_api_server_drops() {
        let container = json!({"name": "c", "image": "i", "resources": {"claims": [{"name": "gpu"}], "limits": {"cpu": "1"}},
            "resizePolicy": null});
        let object =
            json!({"spec": {"template": {"spec": {"containers": [container], "typo": 1, "hostUsers": false}}}});
        let dropped_by = |minor| {
            let mut object = object.clone();
            let mut paths = remove_dropped_fields(WorkloadKind::Deployment, &mut object, minor);
            paths.sort();
            (paths, object["spec"]["template"]["spec"].take())
        };
        let (claims, users) = ("spec.template.spec.containers[0].resources.claims", "spec.template.spec.hostUsers");
        let (paths, left) = dropped_by(30);
        assert_eq!(paths, [claims, users, "spec.template.spec.typo"]);
        assert_eq!(left, json!({"containers": [{"name": "c", "image": "i", "resources": {"limits": {"cpu": "1"}}}]}));
        assert_eq!(dropped_by(33).0, [claims, "spec.template.spec.typo"]);
        assert_eq!(dropped_by(34).0, ["spec.template.spec.typo"]);
    }

    #[test]
    fn names_the_fields_that_kubernetes_has_instead() {
        let object = json!({"spec": {"template": {"spec": {"affinity": {"nodeaffinity": {}}}}}});
        let field = unknown_fields(WorkloadKind::Deployment, &object).remove(0);
        assert_eq!(field.known, ["nodeAffinity", "podAffinity", "podAntiAffinity"]);
    }

    #[test]
    fn null_in_a_list_or_a_map_becomes_the_zero_value() {
        let pod = pod(json!({"containers": [{"args": ["a", null], "resources": {"limits": {"cpu": null}}}],
            "nodeSelector": {"a": null}}))
        .expect("a pod");
        assert_eq!(pod["containers"][0]["args"], json!(["a", ""]));
        assert_eq!(pod["containers"][0]["resources"], json!({"limits": {"cpu": "0"}}));
        assert_eq!(pod["nodeSelector"], json!({"a": ""}));
    }

    #[test]
    fn decodes_and_drops_a_field_whose_feature_gate_is_off() {
        let source = |mode: Value| pod(json!({"volumes": [{"name": "v", "emptyDir": {"mode": mode}}]}));
        assert_eq!(source(json!(448)).map(|mut pod| pod["volumes"][0]["emptyDir"].take()), Ok(json!({})));
        let error = source(json!("0700")).expect_err("a text");
        assert!(error.starts_with("spec.template.spec.volumes[0].emptyDir.mode: expected an integer"), "{error}");
    }

    #[test]
    fn fills_in_no_default_for_a_field_that_the_hash_leaves_out() {
        for kind in [WorkloadKind::Deployment, WorkloadKind::DaemonSet] {
            let mut object = json!({"spec": {"template": {}, "minReadySeconds": 5}});
            default_forward(kind, &mut object).expect("a spec");
            let Value::Object(spec) = object["spec"].take() else { panic!("{object}") };
            for name in ["replicas", "strategy", "updateStrategy", "revisionHistoryLimit"] {
                assert_eq!(spec.get(name), None, "{kind:?}");
            }
            assert_eq!(spec.get("minReadySeconds"), Some(&json!(5)));
        }
        let mut object = json!({"spec": {"replicas": "2"}});
        let error = default_forward(WorkloadKind::Deployment, &mut object).expect_err("a text");
        assert_eq!(error.to_string(), "spec.replicas: expected an integer, found a string");
    }

    #[test]
    fn keeps_unknown_fields_unchanged() {
        let odd = json!({"name": "c", "someday": {"a": null, "b": []}});
        assert_eq!(container(&odd).expect("a container")["someday"], json!({"a": null, "b": []}));
        let volume = pod(json!({"containers": [], "volumes": [{"name": "v", "someday": {}}, {"name": "w"}]}))
            .expect("a pod")["volumes"]
            .take();
        assert_eq!(volume, json!([{"name": "v", "someday": {}}, {"name": "w", "emptyDir": {}}]));
    }

    #[test]
    fn either_field_of_the_service_account_sets_both() {
        for (given, expected) in [
            (json!({"serviceAccount": "old"}), "old"),
            (json!({"serviceAccountName": "new"}), "new"),
            (json!({"serviceAccountName": "new", "serviceAccount": "old"}), "new"),
        ] {
            let pod = pod(given).expect("a pod");
            assert_eq!((&pod["serviceAccount"], &pod["serviceAccountName"]), (&json!(expected), &json!(expected)));
        }
    }

    #[test]
    fn fills_in_the_partition_of_a_stateful_set_only_for_a_rolling_update() {
        let strategy = |strategy: Value| {
            let mut object = json!({"spec": {"updateStrategy": strategy}});
            default_forward(WorkloadKind::StatefulSet, &mut object).expect("a spec");
            object["spec"]["updateStrategy"].take()
        };
        let filled = json!({"partition": 0});
        assert_eq!(strategy(json!({})), json!({"type": "RollingUpdate", "rollingUpdate": filled}));
        assert_eq!(strategy(json!({"type": "RollingUpdate"})), json!({"type": "RollingUpdate"}));
        assert_eq!(
            strategy(json!({"type": "RollingUpdate", "rollingUpdate": {}})),
            json!({"type": "RollingUpdate", "rollingUpdate": filled})
        );
        assert_eq!(strategy(json!({"type": "OnDelete"})), json!({"type": "OnDelete"}));
    }

    #[test]
    fn a_replication_controller_without_a_selector_gets_the_labels_of_its_template() {
        let selector = |spec: Value| {
            let mut object = json!({ "spec": spec });
            default_forward(WorkloadKind::ReplicationController, &mut object).expect("a spec");
            object["spec"].get("selector").cloned()
        };
        let template = json!({"metadata": {"labels": {"app": "a"}}});
        assert_eq!(selector(json!({"template": template})), Some(json!({"app": "a"})));
        assert_eq!(selector(json!({"template": template, "selector": {}})), Some(json!({"app": "a"})));
        assert_eq!(selector(json!({"template": template, "selector": {"app": "b"}})), Some(json!({"app": "b"})));
        assert_eq!(selector(json!({"template": {"metadata": {"labels": {}}}})), None);
        assert_eq!(selector(json!({})), None);
    }

    #[test]
    fn fills_in_completions_only_without_parallelism_and_not_in_a_cron_job() {
        let job = |spec: Value| {
            let mut object = json!({ "spec": spec });
            default_forward(WorkloadKind::Job, &mut object).expect("a spec");
            object["spec"].take()
        };
        assert_eq!(job(json!({}))["completions"], 1);
        assert_eq!(job(json!({"parallelism": 2})).get("completions"), None);
        assert_eq!(job(json!({"completions": 2}))["parallelism"], 1);
        assert_eq!(job(json!({"backoffLimitPerIndex": 0}))["backoffLimit"], i32::MAX);
        assert_eq!(job(json!({"podFailurePolicy": {"rules": []}}))["podReplacementPolicy"], "Failed");

        let mut cron = json!({"spec": {"jobTemplate": {"spec": {"template": {}}}}});
        default_forward(WorkloadKind::CronJob, &mut cron).expect("a spec");
        assert_eq!(cron["spec"]["jobTemplate"]["spec"].as_object().map(JsonObject::len), Some(1));
    }

    #[test]
    fn reads_an_integral_float_as_an_integer_and_refuses_others() {
        let port = |number: Value| container(&json!({"ports": [{"containerPort": number}]}));
        assert_eq!(port(json!(8080.0)).map(|c| c["ports"][0]["containerPort"].clone()), Ok(json!(8080)));
        assert_eq!(
            port(json!(80.5)),
            Err("spec.template.spec.containers[0].ports[0].containerPort: expected an integer of 32 bits, found 80.5"
                .into())
        );
        assert!(port(json!(2_147_483_648_u64)).is_err());
        assert!(port(json!(1e300)).is_err());
    }

    #[test]
    fn refuses_a_value_of_the_wrong_type_and_names_its_path() {
        let env = container(&json!({"env": [{"name": "A"}, {"name": "B", "value": 1}]}));
        let expected = "spec.template.spec.containers[0].env[1].value: expected a string, found a number";
        assert_eq!(env, Err(expected.into()));
        let limit = container(&json!({"resources": {"limits": {"memory": "1 GB"}}})).expect_err("no quantity");
        assert!(
            limit.starts_with("spec.template.spec.containers[0].resources.limits.memory: a quantity is"),
            "{limit}"
        );
        assert!(limit.ends_with("found \"1 GB\""), "{limit}");
        assert_eq!(pod(json!([])), Err("spec.template.spec: expected an object, found a list".into()));
        let mut nothing = json!({"kind": "Deployment"});
        let error = default_forward(WorkloadKind::Deployment, &mut nothing).expect_err("no spec");
        assert_eq!(error.path(), "spec");
    }

    #[test]
    fn reads_a_number_as_the_quantity_that_kubectl_would_send() {
        for (number, expected) in [
            (json!(1), "1"),
            (json!(1.5), "1500m"),
            (json!(1000.0), "1k"),
            (json!(1e21), "1e+21"),
            (json!(1e-7), "1e-3"),
            (json!(9_007_199_254_740_993_u64), "9007199254740993"),
        ] {
            let limits = container(&json!({"resources": {"limits": {"memory": number}}})).expect("a container");
            assert_eq!(limits["resources"]["limits"]["memory"], expected, "{number}");
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[a-z0-9.:@/]{0,12}".prop_map(Value::from),
        ];
        // Names from the tables, so that wrong types occur deep inside as well.
        let name = prop_oneof![
            Just("template"),
            Just("spec"),
            Just("containers"),
            Just("volumes"),
            Just("metadata"),
            Just("resources"),
            Just("limits"),
            Just("env"),
            Just("livenessProbe"),
            Just("jobTemplate"),
            Just("updateStrategy"),
            Just("volumeClaimTemplates"),
            Just("creationTimestamp"),
            Just("image"),
            Just("projected"),
            Just("sources"),
        ];
        leaf.prop_recursive(8, 64, 4, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::hash_map(name.clone().prop_map(str::to_owned), inner, 0..5)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn never_panics_and_a_second_pass_changes_nothing(spec in any_json(), kind in 0_usize..7) {
            let kind = WorkloadKind::ALL[kind];
            let mut once = json!({ "spec": spec });
            if default_forward(kind, &mut once).is_ok() {
                let mut twice = once.clone();
                prop_assert_eq!(default_forward(kind, &mut twice), Ok(()));
                prop_assert_eq!(spec_hash(kind, &once["spec"].to_string()).ok(), spec_hash(kind, &twice["spec"].to_string()).ok());
            }
        }
    }
}
