//! What conditions mean, and the messages for conditions that are invalid or have no result.

mod cost;
mod library;

use serde_json::{Value, json};

use super::{CapabilityRule, RuleInput, RuleObject, RuleUser, matching};
use crate::{
    approval::capability::Capability,
    kube::{pod_spec::PodPath, workload::WorkloadKind},
};

fn rule(when: &str) -> Result<CapabilityRule, String> {
    CapabilityRule::compile("r".to_owned(), when.to_owned(), vec![Capability::parse("deploy.r").unwrap()], None)
}

/// An update of a Deployment with every kind of container.
fn review() -> Value {
    let object = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "orders", "namespace": "payments", "labels": {"team": "orders"},
            "annotations": {"acme.example/x": "y", "writgate.dev/incident": "INC-7"}},
        "spec": {"replicas": 3, "template": {"metadata": {"labels": {"app": "orders"}}, "spec": {
            "serviceAccountName": "orders",
            "initContainers": [{"name": "init", "image": "a:1"}],
            "containers": [
                {"name": "app", "image": "b:1", "securityContext": {"privileged": false},
                    "resources": {"limits": {"cpu": "1500m", "memory": "2Gi"}}},
                {"name": "sidecar", "image": "c\u{e9}:1", "command": ["a\n\"b"], "weight": 0.5}],
            "ephemeralContainers": [{"name": "debug", "image": "d:1"}]}}}
    });
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "u", "operation": "UPDATE", "name": "orders", "namespace": "payments",
            "kind": {"group": "apps", "version": "v1", "kind": "Deployment"},
            "resource": {"group": "apps", "version": "v1", "resource": "deployments"},
            "userInfo": {"username": "alice", "groups": ["dev", "ops"]},
            "object": object, "oldObject": object, "dryRun": true
        }
    })
}

/// Runs `test` with what a request gives to conditions. `request` has the shape of an AdmissionReview's.
fn with_input<T>(request: &Value, test: impl FnOnce(&RuleInput<'_>) -> T) -> T {
    fn text(value: &Value) -> &str {
        value.as_str().unwrap_or_default()
    }
    fn entries(map: &Value) -> Vec<(&str, &str)> {
        map.as_object().into_iter().flatten().map(|(key, value)| (&**key, text(value))).collect()
    }
    fn object<'a>(object: &'a Value, spec: &'a str) -> Option<RuleObject<'a>> {
        let metadata = &object["metadata"];
        object.is_object().then(|| RuleObject {
            api_version: text(&object["apiVersion"]),
            kind: text(&object["kind"]),
            name: text(&metadata["name"]),
            generate_name: text(&metadata["generateName"]),
            namespace: text(&metadata["namespace"]),
            labels: entries(&metadata["labels"]),
            annotations: entries(&metadata["annotations"]),
            spec: Some(spec),
        })
    }
    let specs = ["object", "oldObject"].map(|field| request[field]["spec"].to_string());
    let [spec, old_spec] = &specs;
    let (group, kind) = (text(&request["kind"]["group"]), text(&request["kind"]["kind"]));
    let api_version = if group.is_empty() { "v1".to_owned() } else { format!("{group}/v1") };
    let user = &request["userInfo"];
    test(&RuleInput {
        operation: text(&request["operation"]),
        user: RuleUser {
            username: text(&user["username"]),
            uid: text(&user["uid"]),
            groups: user["groups"].as_array().into_iter().flatten().map(text).collect(),
        },
        namespace: text(&request["namespace"]),
        name: text(&request["name"]),
        dry_run: request["dryRun"] == true,
        group,
        version: text(&request["kind"]["version"]),
        kind,
        resource: text(&request["resource"]["resource"]),
        sub_resource: text(&request["subResource"]),
        object: object(&request["object"], spec),
        old_object: object(&request["oldObject"], old_spec),
        pod: match WorkloadKind::from_gvk(&api_version, kind) {
            None if kind == "Pod" => Some(PodPath::Itself),
            workload => workload.map(PodPath::from),
        },
    })
}

fn answer(review: &Value, when: &str) -> Result<bool, String> {
    let rules = [rule(when).unwrap_or_else(|error| panic!("{when}: {error}"))];
    let matching = with_input(&review["request"], |input| matching(&rules, input).map(|matching| !matching.is_empty()));
    matching.map_err(|error| error.to_string())
}

fn holds(when: &str) -> bool {
    answer(&review(), when).unwrap_or_else(|error| panic!("{when}: {error}"))
}

fn error(when: &str) -> String {
    match answer(&review(), when) {
        Ok(answer) => panic!("{when}: {answer}"),
        Err(error) => error,
    }
}

#[test]
fn conditions_refer_to_the_request_and_its_objects() {
    for when in [
        "object.apiVersion == 'apps/v1' && object.kind == 'Deployment'",
        "object.metadata.name == 'orders' && object.metadata.namespace == 'payments'",
        "object.metadata.labels.team == 'orders' && object.metadata.labels == {'team': 'orders'}",
        "object.metadata.annotations['writgate.dev/incident'] == 'INC-7'",
        "'writgate.dev/incident' in object.metadata.annotations && !('writgate.dev/x' in object.metadata.annotations)",
        "object.spec.replicas == 3 && oldObject.spec.replicas == 3",
        "pod.serviceAccountName == 'orders' && pod == object.spec.template.spec && pod == oldPod",
        "containers.map(c, c.name) == ['init', 'app', 'sidecar', 'debug']",
        "request.operation == 'UPDATE' && request.userInfo.username == 'alice' && request.userInfo.uid == ''",
        "'ops' in request.userInfo.groups && !('root' in request.userInfo.groups)",
        "request.namespace == 'payments' && request.name == 'orders' && request.dryRun",
        "request.kind == {'group': 'apps', 'version': 'v1', 'kind': 'Deployment'}",
        "request.resource == 'deployments' && request.subResource == ''",
    ] {
        assert!(holds(when), "{when}");
    }
}

#[test]
fn an_empty_field_of_the_metadata_is_absent() {
    assert!(!holds("has(object.metadata.generateName)"));
    let mut review = review();
    review["request"]["object"]["metadata"]["labels"] = json!({});
    assert_eq!(answer(&review, "has(object.metadata.labels)"), Ok(false));
}

#[test]
fn operators_have_the_meaning_that_cel_gives_them() {
    for when in [
        "1 + 2 * 3 - 4 / 2 == 5 && 7 % 4 == 3 && -7 / 2 == -3",
        "1 == 1.0 && 1 < 1.5 && 2.5 >= 2 && 1.5 + 1.5 == 3",
        "'a' < 'b' && 'a' + 'b' == 'ab' && !('a' == 1) && 'a' != null",
        "[1, 'x'] + [true] == [1, 'x', true] && [1, 2][1] == 2",
        "{'a': [1, {'b': null}]} == {'a': [1, {'b': null}]} && {'a': 1}['a'] == 1",
        "false ? 1 / 0 == 0 : true",
        "size('c\u{e9}') == 2 && 'ab'.size() == 2 && size([1]) == 1 && size({'a': 1}) == 1",
        "'registry/x:1'.startsWith('registry/') && 'x:latest'.endsWith(':latest') && 'a@b'.contains('@')",
        "'sha256:00ff'.matches('^sha256:[0-9a-f]{4}$') && matches('ab', 'b') && !'ab'.matches('^b')",
        "'ABC'.lowerAscii() == 'abc' && string(8080) == '8080' && string('x') == 'x' && int('-8') == -8",
        "dyn(1) == 1 && null == null",
        "[1, 2, 3].exists(x, x > 2) && [1, 2, 3].all(x, x > 0) && [1, 2, 3].exists_one(x, x == 2)",
        "[1, 2, 3].filter(x, x > 1) == [2, 3] && [1, 2].map(x, x * x) == [1, 4] && [1, 2].map(x, x > 1, -x) == [-2]",
        "[[1], [2]].exists(x, x.exists(y, y == 2 && size(x) == 1))",
        "{'b': 1, 'a': 2}.map(k, k) == ['b', 'a'] && {'b': 1, 'a': 2} == {'a': 2, 'b': 1} && 'a' in {'a': 1}",
        "quantity('1500m').isGreaterThan(quantity('1')) && quantity('1Gi').compareTo(quantity('1024Mi')) == 0",
        "quantity('1G').isLessThan(quantity('1Gi')) && isQuantity('5Gi') && !isQuantity('5 apples')",
        "object.spec.template.spec.containers[1].weight == 0.5",
        "object.spec.template.spec.containers[1].command[0] == 'a\\n\"b'",
    ] {
        assert!(holds(when), "{when}");
    }
}

#[test]
fn an_optional_path_has_an_optional_value() {
    for when in [
        "pod.?hostNetwork.orValue(false) == false",
        "containers.exists(c, c.?securityContext.privileged.orValue(true) == false)",
        "object.spec.?template.spec.nothing.orValue('none') == 'none'",
        "object.spec.?replicas.hasValue() && !object.spec.?paused.hasValue()",
        "object.metadata.labels[?'team'].orValue('') == 'orders' && [1][?7].orValue(0) == 0",
        "null.?spec.replicas.orValue(-1) == -1",
        "has(object.spec.?template.spec) && !has(object.spec.?templates.spec)",
    ] {
        assert!(holds(when), "{when}");
    }
}

#[test]
fn an_error_counts_unless_the_other_operand_decides() {
    for (when, expected) in [
        ("pod.hostNetwork == true || pod.serviceAccountName == 'orders'", true),
        ("pod.serviceAccountName == 'orders' || pod.hostNetwork == true", true),
        ("pod.hostNetwork == true && pod.serviceAccountName == 'x'", false),
        ("containers.exists(c, c.securityContext.privileged == false)", true),
        ("containers.all(c, c.securityContext.privileged == true)", false),
    ] {
        assert_eq!(answer(&review(), when), Ok(expected), "{when}");
    }
    for when in [
        "pod.hostNetwork == true",
        "pod.hostNetwork == true || pod.serviceAccountName == 'x'",
        "pod.serviceAccountName == 'orders' && pod.hostNetwork == true",
        "containers.exists(c, c.securityContext.privileged)",
        "containers.exists_one(c, c.securityContext.privileged)",
    ] {
        assert!(error(when).starts_with("capability rule r: field \""), "{when}: {}", error(when));
    }
}

#[test]
fn a_condition_without_a_result_says_why() {
    for (when, why) in [
        (
            "pod.hostNetwork",
            "field \"hostNetwork\" is absent; check it with has() first, or write .?hostNetwork and orValue()",
        ),
        ("object.spec.replicas", "the condition is an int; expected a bool"),
        ("object.spec.replicas.x == 1", "field \"x\" is read from an int; expected a map"),
        ("object.metadata.labels['tier'] == ''", "key \"tier\" is absent; check it with in first"),
        (
            "object.metadata.labels[containers[0].name] == ''",
            "the index is outside the list, or the key is not in the map",
        ),
        ("[1][1] == 1", "the index is outside the list, or the key is not in the map"),
        ("[1][-1] == 1", "the index is outside the list, or the key is not in the map"),
        ("object.spec[0] == 1", "a map cannot be indexed with an int"),
        ("has(object.spec.replicas.x)", "has() looks for \"x\" in an int; expected a map"),
        ("object.spec.replicas < '4'", "an int cannot be compared with a string"),
        ("object.spec.replicas.startsWith('3')", "startsWith() cannot be applied to an int and a string"),
        ("object.spec.replicas.matches('3')", "matches() is called on an int; expected a string"),
        ("object.spec.replicas.exists(x, x == 3)", "a macro iterates over an int; expected a list or a map"),
        ("object.spec.replicas.orValue(3) == 3", "orValue() is called on an int; expected an optional value (a.?b)"),
        ("1 / (object.spec.replicas - 3) == 0", "division by zero"),
        ("9223372036854775807 + object.spec.replicas > 0", "a number exceeds 64 bits"),
        ("-(-9223372036854775807 - 1) > 0", "a number exceeds 64 bits"),
        ("quantity(pod.serviceAccountName).isGreaterThan(quantity('1'))", "a quantity is a number with a suffix"),
        (
            "quantity('1') > quantity('2')",
            "quantities cannot be compared with operators; use isGreaterThan(), isLessThan() or compareTo()",
        ),
        ("int(pod.serviceAccountName) == 1", "int() is called on a string that is not an integer"),
        ("{'a': 1, 'a': 2} == {}", "a key of the map appears twice"),
    ] {
        let error = error(when);
        assert!(error.starts_with(&format!("capability rule r: {why}")), "{when}: {error}");
    }
}

#[test]
fn refuses_a_condition_that_cannot_be_right_with_its_position() {
    for (when, told) in [
        ("object.spec.", "line 1, column 13: "),
        ("true &&\n  (false", "line 2, column 9: "),
        ("", "line 1, column 1: "),
        ("objct.spec == 1", "line 1, column 1: objct is unknown; expected one of object, oldObject, pod"),
        ("'\u{e9}' == 'x' ||\n  foo()", "line 2, column 6: foo() is unknown or does not take these arguments"),
        (
            "request.object.kind == 'x'",
            "line 1, column 8: request has no field object; expected one of operation, userInfo",
        ),
        (
            "has(object.status)",
            "line 1, column 11: object has no field status; expected one of apiVersion, kind, metadata, spec",
        ),
        ("object.?status.hasValue()", "object has no field status"),
        ("object.metadata.annotations.x == 'y'", "only annotations that begin with writgate.dev/ are read"),
        ("object.metadata.annotations['acme.example/x'] == 'y'", "only annotations that begin with"),
        ("'acme.example/x' in object.metadata.annotations", "only annotations that begin with"),
        ("object.metadata.?annotations[?'x'].hasValue()", "only annotations that begin with"),
        ("1", "line 1, column 1: this expression is never a bool; expected a condition"),
        ("containers", "this expression is never a bool"),
        ("true && size(containers)", "this expression is never a bool"),
        ("containers.map(c, c.name)", "this expression is never a bool"),
        ("!'x'", "this expression is never a bool"),
        ("1 ? true : false", "this expression is never a bool"),
        ("containers.exists(c, 'x')", "this expression is never a bool"),
        ("containers.exists('c', true)", "the first argument of exists must be a name for the element"),
        ("containers.exists(pod, true)", "pod is the name of a variable; use another name"),
        ("containers.exists(c)", "exists takes a name and a condition: exists(x, \u{2026})"),
        ("c.name == 'x' || containers.exists(c, true)", "c is unknown"),
        ("has(object)", "has() takes a field: has(a.b); for a key, write 'b' in a"),
        ("'a'.matches('(')", "unclosed group"),
        ("'a'.matches('[a-z]{1000}{1000}')", "size limit"),
        ("'a'.matches(object.kind)", "the pattern must be a literal"),
        ("quantity('1 apple').compareTo(quantity('1')) == 0", "line 1, column 10: a quantity is a number"),
        ("b'a' == 'a'", "JSON has no unsigned numbers and no bytes"),
        ("Foo{a: 1} == 1", "a rule does not support messages"),
        ("[?1] == []", "a rule does not support optional elements"),
        ("timestamp('2026-11-22T10:00:00Z') == 1", "timestamp() is unknown"),
        (&format!("{}true", "!(".repeat(200)), "is nested too deeply"),
        (&format!("{}0 == 0", "1+".repeat(200)), "nested deeper than 64 levels"),
        (&format!("'{}' == ''", "x".repeat(2048)), "has 2056 bytes; expected at most 2048"),
    ] {
        let error = rule(when).expect_err(when);
        assert!(error.contains(told), "{when}: {error}");
        assert!(!told.starts_with("line") || error.starts_with(told), "{when}: {error}");
    }
}

#[test]
fn a_workload_without_a_pod_is_an_error() {
    let mut review = review();
    review["request"]["object"]["spec"] = json!({"template": {}});
    let error = answer(&review, "pod == null").expect_err("no Pod");
    assert!(error.ends_with("object has no Pod spec at spec.template.spec, where every Deployment has one"), "{error}");
    review["request"]["kind"]["kind"] = "ControllerRevision".into();
    assert_eq!(answer(&review, "pod == null && oldPod == null && containers == []"), Ok(true));
}

#[test]
fn an_absent_object_is_null() {
    let mut review = review();
    review["request"]["operation"] = "CREATE".into();
    review["request"]["oldObject"] = Value::Null;
    for when in ["oldObject == null && oldPod == null", "oldObject.?spec.replicas.orValue(0) < object.spec.replicas"] {
        assert_eq!(answer(&review, when), Ok(true), "{when}");
    }
    answer(&review, "oldObject.spec.replicas == 3").expect_err("null has no fields");
    review["request"]["operation"] = "DELETE".into();
    review["request"]["oldObject"] = review["request"]["object"].take();
    assert_eq!(answer(&review, "object == null && pod == null && size(containers) == 0 && oldPod != null"), Ok(true));
}
