//! What conditions mean, what is told of those that mean nothing, and that none costs more than it may.

mod cost;
mod library;

use serde_json::{Value, json};

use super::{CapabilityRule, matching};
use crate::{approval::capability::Capability, request::admission_review::Request};

fn rule(when: &str) -> Result<CapabilityRule, String> {
    CapabilityRule::compile("r".to_owned(), when.to_owned(), vec![Capability::parse("deploy.r").unwrap()], None)
}

/// An update of a Deployment, with every sort of container.
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

fn answer(review: &Value, when: &str) -> Result<bool, String> {
    let body = review.to_string();
    let request = Request::parse(body.as_bytes()).unwrap();
    let rules = [rule(when).unwrap_or_else(|error| panic!("{when}: {error}"))];
    matching(&rules, &request).map(|matching| !matching.is_empty()).map_err(|error| error.to_string())
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
fn conditions_speak_of_the_request_and_its_objects() {
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
fn what_is_empty_in_the_metadata_is_absent() {
    assert!(!holds("has(object.metadata.generateName)"));
    let mut review = review();
    review["request"]["object"]["metadata"]["labels"] = json!({});
    assert_eq!(answer(&review, "has(object.metadata.labels)"), Ok(false));
}

#[test]
fn operators_mean_what_they_mean_in_cel() {
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
fn a_path_that_may_not_be_there_has_an_optional_value() {
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
fn an_error_counts_unless_the_other_side_decides() {
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
        assert!(error(when).starts_with("capability rule r: there is no \""), "{when}: {}", error(when));
    }
}

#[test]
fn what_has_no_answer_says_why() {
    for (when, why) in [
        ("pod.hostNetwork", "there is no \"hostNetwork\"; ask has() first, or write .?hostNetwork with orValue()"),
        ("object.spec.replicas", "a condition is an int, expected a bool"),
        ("object.spec.replicas.x == 1", "\"x\" is asked of an int, expected a map"),
        ("object.metadata.labels['tier'] == ''", "there is no \"tier\"; ask with in first"),
        (
            "object.metadata.labels[containers[0].name] == ''",
            "the index is outside the list, or the key not in the map",
        ),
        ("[1][1] == 1", "the index is outside the list, or the key not in the map"),
        ("[1][-1] == 1", "the index is outside the list, or the key not in the map"),
        ("object.spec[0] == 1", "a map has no place for an int"),
        ("has(object.spec.replicas.x)", "has() asks an int for \"x\", expected a map"),
        ("object.spec.replicas < '4'", "an int is compared with a string"),
        ("object.spec.replicas.startsWith('3')", "StartsWith of an int and a string"),
        ("object.spec.replicas.matches('3')", "matches is asked of an int, expected a string"),
        ("object.spec.replicas.exists(x, x == 3)", "a macro goes through an int, expected a list or a map"),
        ("object.spec.replicas.orValue(3) == 3", "orValue is asked of an int, expected an optional value (a.?b)"),
        ("1 / (object.spec.replicas - 3) == 0", "a division by zero"),
        ("9223372036854775807 + object.spec.replicas > 0", "a number beyond 64 bits"),
        ("-(-9223372036854775807 - 1) > 0", "a number beyond 64 bits"),
        ("quantity(pod.serviceAccountName).isGreaterThan(quantity('1'))", "a quantity is a number with a suffix"),
        ("quantity('1') > quantity('2')", "quantities are compared by isGreaterThan, isLessThan and compareTo"),
        ("int(pod.serviceAccountName) == 1", "int() of a string that is none"),
        ("{'a': 1, 'a': 2} == {}", "a key of a map is there twice"),
    ] {
        let told = error(when);
        assert!(told.starts_with(&format!("capability rule r: {why}")), "{when}: {told}");
    }
}

#[test]
fn refuses_a_condition_that_cannot_be_right_with_its_position() {
    for (when, told) in [
        ("object.spec.", "line 1, column 13: "),
        ("true &&\n  (false", "line 2, column 9: "),
        ("", "line 1, column 1: "),
        ("objct.spec == 1", "line 1, column 1: objct is not known; there are object, oldObject, pod"),
        ("'\u{e9}' == 'x' ||\n  foo()", "line 2, column 6: foo() is not known here with these arguments"),
        ("request.object.kind == 'x'", "line 1, column 8: request has no object; there are operation, userInfo"),
        ("has(object.status)", "line 1, column 11: object has no status; there are apiVersion, kind, metadata, spec"),
        ("object.?status.hasValue()", "object has no status"),
        ("object.metadata.annotations.x == 'y'", "of the object's annotations only those of writgate.dev/ are read"),
        ("object.metadata.annotations['acme.example/x'] == 'y'", "of the object's annotations only those"),
        ("'acme.example/x' in object.metadata.annotations", "of the object's annotations only those"),
        ("object.metadata.?annotations[?'x'].hasValue()", "of the object's annotations only those"),
        ("1", "line 1, column 1: this is never a bool; expected a condition"),
        ("containers", "this is never a bool"),
        ("true && size(containers)", "this is never a bool"),
        ("containers.map(c, c.name)", "this is never a bool"),
        ("!'x'", "this is never a bool"),
        ("1 ? true : false", "this is never a bool"),
        ("containers.exists(c, 'x')", "this is never a bool"),
        ("containers.exists('c', true)", "the first argument of exists is a name for the element"),
        ("containers.exists(pod, true)", "pod is a variable already; take another name"),
        ("containers.exists(c)", "exists takes a name and a condition: exists(x, \u{2026})"),
        ("c.name == 'x' || containers.exists(c, true)", "c is not known"),
        ("has(object)", "has() asks for a field: has(a.b); for a key, write 'b' in a"),
        ("'a'.matches('(')", "unclosed group"),
        ("'a'.matches('[a-z]{1000}{1000}')", "size limit"),
        ("'a'.matches(object.kind)", "a pattern must be a literal, so that it is compiled once"),
        ("quantity('1 apple').compareTo(quantity('1')) == 0", "line 1, column 10: a quantity is a number"),
        ("b'a' == 'a'", "JSON has no unsigned numbers and no bytes"),
        ("Foo{a: 1} == 1", "messages are not supported in a rule"),
        ("[?1] == []", "optional elements are not supported"),
        ("timestamp('2026-11-22T10:00:00Z') == 1", "timestamp() is not known here"),
        (&format!("{}true", "!(".repeat(200)), "is nested too deep"),
        (&format!("{}0 == 0", "1+".repeat(200)), "nested deeper than 64 levels"),
        (&format!("'{}' == ''", "x".repeat(2048)), "has 2056 bytes, more than 2048"),
    ] {
        let error = rule(when).expect_err(when);
        assert!(error.contains(told), "{when}: {error}");
        assert!(!told.starts_with("line") || error.starts_with(told), "{when}: {error}");
    }
}

#[test]
fn a_pod_is_found_where_its_kind_keeps_it() {
    let pod = json!({"hostNetwork": true, "containers": [{"name": "a"}]});
    let template = json!({"template": {"spec": pod}});
    for (group, kind, resource, spec) in [
        ("", "Pod", "pods", pod.clone()),
        ("", "ReplicationController", "replicationcontrollers", template.clone()),
        ("apps", "Deployment", "deployments", template.clone()),
        ("apps", "ReplicaSet", "replicasets", template.clone()),
        ("apps", "DaemonSet", "daemonsets", template.clone()),
        ("apps", "StatefulSet", "statefulsets", template.clone()),
        ("batch", "Job", "jobs", template.clone()),
        ("batch", "CronJob", "cronjobs", json!({"jobTemplate": {"spec": template}})),
    ] {
        let mut review = review();
        let request = &mut review["request"];
        request["kind"] = json!({"group": group, "version": "v1", "kind": kind});
        request["resource"] = json!({"group": group, "version": "v1", "resource": resource});
        let api_version = if group.is_empty() { "v1".to_owned() } else { format!("{group}/v1") };
        request["object"] = json!({"apiVersion": api_version, "kind": kind, "metadata": {}, "spec": spec});
        request["oldObject"] = Value::Null;
        request["operation"] = "CREATE".into();
        assert_eq!(answer(&review, "pod.hostNetwork && size(containers) == 1 && oldPod == null"), Ok(true), "{kind}");
        review["request"]["object"]["spec"] = json!({"jobTemplate": {"template": {}}});
        if kind != "Pod" {
            let error = answer(&review, "pod == null").expect_err(kind);
            assert!(error.contains("object has no Pod spec at spec."), "{error}");
        }
    }
}

#[test]
fn an_object_that_is_not_there_is_null() {
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
