use super::*;

/// A change and its description.
type Change = (&'static str, fn(&mut Value));

fn payload() -> Value {
    json!({
        "_type": STATEMENT_TYPE,
        "subject": [{"name": "apps/v1/Deployment/payments/orders", "digest": {"sha256": "0".repeat(64)}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "id": "01935a00-0000-7000-8000-000000000001", "projection": "v1", "action": "deploy",
            "cluster": "prod-eu-1", "environment": "production", "project": "payments",
            "capabilities": ["deploy"], "pipelineVersion": "orders@1.4.2", "configBundle": "sha256:00",
            "replay": {"incident": "INC-7", "incidentSpecHash": "sha256:00",
                "sourceEnvironment": "production", "sourceArtifact": "sha256:00"},
            "requestedBy": "alice@acme.example", "reason": "CHG-1234",
            "notBefore": "2026-11-22T10:00:00Z", "expiresAt": "2026-11-22T12:00:00Z"
        }
    })
}

fn parse(value: &Value) -> Result<Approval, String> {
    Approval::parse(value.to_string().as_bytes())
}

#[test]
fn parses_what_it_writes() {
    let approval = parse(&payload()).expect("an approval");
    assert_eq!(serde_json::from_slice::<Value>(&approval.to_payload()).expect("JSON"), payload());
    assert_eq!(approval.lifetime(), SignedDuration::from_hours(2));
}

#[test]
fn refuses_unknown_and_null_fields_and_requires_all_but_the_optional_ones() {
    let optional = ["cluster", "pipelineVersion", "configBundle", "replay", "reason"];
    let predicate = payload()["predicate"].as_object().expect("an object").clone();
    for name in predicate.keys() {
        let mut without = payload();
        without["predicate"].as_object_mut().expect("an object").remove(name);
        assert_eq!(parse(&without).is_ok(), optional.contains(&&**name), "{name}");
        let mut null = payload();
        null["predicate"][name] = Value::Null;
        assert!(parse(&null).is_err(), "{name}: null is not the same as absent");
    }
    for path in ["", "/subject/0", "/subject/0/digest", "/predicate", "/predicate/replay"] {
        let mut unknown = payload();
        unknown.pointer_mut(path).expect("there")["unlimited"] = true.into();
        assert!(parse(&unknown).is_err_and(|why| why.contains("unlimited")), "{path}");
    }
}

#[test]
fn refuses_a_statement_with_one_thing_wrong() {
    let changes: [Change; 22] = [
        ("type", |v| v["_type"] = "https://in-toto.io/Statement/v0.1".into()),
        ("predicate type", |v| v["predicateType"] = "https://writgate.dev/approval/v2".into()),
        ("no subject", |v| v["subject"] = json!([])),
        ("65 subjects", |v| v["subject"] = vec![v["subject"][0].clone(); 65].into()),
        ("upper-case hash", |v| v["subject"][0]["digest"]["sha256"] = "A".repeat(64).into()),
        ("short hash", |v| v["subject"][0]["digest"]["sha256"] = "0".repeat(63).into()),
        ("other algorithm", |v| v["subject"][0]["digest"] = json!({"sha512": "0".repeat(64)})),
        ("projection", |v| v["predicate"]["projection"] = "v2".into()),
        ("UUIDv4", |v| v["predicate"]["id"] = "01935a00-0000-4000-8000-000000000001".into()),
        ("upper-case id", |v| v["predicate"]["id"] = "01935A00-0000-7000-8000-000000000001".into()),
        ("id without hyphens", |v| v["predicate"]["id"] = "01935a00000070008000000000000001".into()),
        ("action", |v| v["predicate"]["action"] = "Deploy".into()),
        ("environment with space", |v| v["predicate"]["environment"] = "production ".into()),
        ("empty project", |v| v["predicate"]["project"] = "".into()),
        ("long reason", |v| v["predicate"]["reason"] = "r".repeat(513).into()),
        ("65 capabilities", |v| v["predicate"]["capabilities"] = vec!["a"; 65].into()),
        ("capability number", |v| v["predicate"]["capabilities"] = json!([1])),
        ("offset", |v| v["predicate"]["notBefore"] = "2026-11-22T10:00:00+00:00".into()),
        ("fraction", |v| v["predicate"]["notBefore"] = "2026-11-22T10:00:00.0Z".into()),
        ("backwards", |v| v["predicate"]["expiresAt"] = "2026-11-22T10:00:00Z".into()),
        ("array for an object", |v| v["predicate"]["replay"] = json!(["INC-7"])),
        ("number", |v| v["predicate"]["requestedBy"] = 7.into()),
    ];
    for (what, change) in changes {
        let mut value = payload();
        change(&mut value);
        assert!(parse(&value).is_err(), "{what}");
    }
    let text = payload().to_string();
    assert!(Approval::parse(text.replace("\"id\":", "\"id\":\"x\",\"id\":").as_bytes()).is_err());
    assert!(Approval::parse(format!("{text}{text}").as_bytes()).is_err());
}

fn of_clusters(clusters: &Value) -> Value {
    let mut value = payload();
    let predicate = value["predicate"].as_object_mut().expect("an object");
    predicate.remove("cluster");
    predicate.insert("clusters".to_owned(), clusters.clone());
    value
}

#[test]
fn an_approval_may_be_for_several_clusters() {
    let written = of_clusters(&json!(["prod-eu-1", "prod-us-1"]));
    let approval = parse(&written).expect("an approval");
    assert_eq!(serde_json::from_slice::<Value>(&approval.to_payload()).expect("JSON"), written);
    for (cluster, expected) in [
        (Some("prod-eu-1"), true),
        (Some("prod-us-1"), true),
        (Some("prod-us-2"), false),
        (Some("prod-us-"), false),
        (Some("prod-eu-1,prod-us-1"), false),
        (None, false),
    ] {
        assert_eq!(approval.is_for_cluster(cluster), expected, "{cluster:?}");
    }
    let one = parse(&payload()).expect("an approval");
    assert!(one.is_for_cluster(Some("prod-eu-1")) && !one.is_for_cluster(Some("prod-us-1")));
    assert!(!one.is_for_cluster(None));
    // One name in the list is not the same statement as that name alone, although both are for the same cluster.
    let listed = parse(&of_clusters(&json!(["prod-eu-1"]))).expect("an approval");
    assert!(listed.is_for_cluster(Some("prod-eu-1")) && !listed.agrees_with(&one));
    let turned = parse(&of_clusters(&json!(["prod-us-1", "prod-eu-1"]))).expect("an approval");
    assert!(approval.agrees_with(&turned) && !approval.agrees_with(&listed));
}

#[test]
fn refuses_a_list_of_clusters_with_one_thing_wrong() {
    let many = |count: usize| json!((0..count).map(|number| format!("c{number}")).collect::<Vec<_>>());
    assert!(parse(&of_clusters(&many(64))).is_ok());
    for wrong in [
        many(65),
        json!([]),
        json!(["a", "a"]),
        json!(["a", ""]),
        json!(["a", " b"]),
        json!(["a", 7]),
        json!("a"),
        json!({"a": true}),
        Value::Null,
    ] {
        assert!(parse(&of_clusters(&wrong)).is_err(), "{wrong}");
    }
    let mut both = of_clusters(&json!(["prod-eu-1"]));
    both["predicate"]["cluster"] = "prod-eu-1".into();
    assert!(parse(&both).is_err_and(|why| why.contains("both cluster and clusters")));
}

#[test]
fn approvals_agree_if_they_differ_only_in_ids_times_and_reasons() {
    let same: [Change; 6] = [
        ("id", |v| v["predicate"]["id"] = "01935a00-0000-7000-8000-000000000002".into()),
        ("beginning", |v| v["predicate"]["notBefore"] = "2026-11-22T10:30:00Z".into()),
        ("end", |v| v["predicate"]["expiresAt"] = "2026-11-22T11:30:00Z".into()),
        ("reason", |v| v["predicate"]["reason"] = "CHG-5678".into()),
        ("order of capabilities", |v| v["predicate"]["capabilities"] = json!(["deploy", "a"])),
        ("nothing", |_| ()),
    ];
    let other: [Change; 14] = [
        ("action", |v| v["predicate"]["action"] = "replay-execute".into()),
        ("cluster", |v| v["predicate"]["cluster"] = "prod-eu-2".into()),
        ("no cluster", |v| drop(v["predicate"].as_object_mut().expect("an object").remove("cluster"))),
        ("environment", |v| v["predicate"]["environment"] = "staging".into()),
        ("project", |v| v["predicate"]["project"] = "search".into()),
        ("one capability", |v| v["predicate"]["capabilities"] = json!(["a"])),
        ("other capability", |v| v["predicate"]["capabilities"] = json!(["a", "deploy.privileged"])),
        ("capability twice", |v| v["predicate"]["capabilities"] = json!(["a", "deploy", "deploy"])),
        ("pipeline version", |v| v["predicate"]["pipelineVersion"] = "orders@1.4.3".into()),
        ("bundle", |v| v["predicate"]["configBundle"] = "sha256:01".into()),
        ("incident", |v| v["predicate"]["replay"]["incident"] = "INC-8".into()),
        ("no replay", |v| drop(v["predicate"].as_object_mut().expect("an object").remove("replay"))),
        ("break-glass", |v| v["predicate"]["breakGlass"] = true.into()),
        ("requester", |v| v["predicate"]["requestedBy"] = "bob@acme.example".into()),
    ];
    let mut original = payload();
    original["predicate"]["capabilities"] = json!(["a", "deploy"]);
    let approval = parse(&original).expect("an approval");
    let agrees = |change: fn(&mut Value)| {
        let mut changed = original.clone();
        change(&mut changed);
        let changed = parse(&changed).expect("an approval");
        assert_eq!(approval.agrees_with(&changed), changed.agrees_with(&approval));
        approval.agrees_with(&changed)
    };
    for (what, change) in same {
        assert!(agrees(change), "{what}");
    }
    for (what, change) in other {
        assert!(!agrees(change), "{what}");
    }
}

#[test]
fn a_subjects_name_has_four_parts_and_a_group_with_a_slash() {
    assert_eq!(
        Subject::parts("apps/v1/Deployment/payments/orders"),
        Some(["apps/v1", "Deployment", "payments", "orders"])
    );
    assert_eq!(Subject::parts("v1/Pod/payments/orders"), Some(["v1", "Pod", "payments", "orders"]));
    assert_eq!(Subject::parts("Pod/payments/orders"), None);
}
