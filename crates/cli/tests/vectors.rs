//! The published vectors, asked of core and of the finished binary: decisions, spec hashes, and pairs of a manifest
//! and what an API server made of it. `fixtures/` holds reviews captured from kube-apiserver v1.37.2.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use writgate_core::{
    decide::{Facts, Governance, Known, UseRecord, Want},
    kube::WorkloadKind,
    posture::{Document, PostureSet},
    request::{ExemptControllers, Review},
};

fn tests() -> PathBuf {
    writgate_testing::repository().join("tests")
}

fn vectors(file: &str) -> Value {
    json_in(&tests().join("vectors").join(file))
}

fn json_in(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}"))
}

/// Exit code and standard output.
fn writgate(arguments: &[&str], stdin: &str) -> (i32, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_kubectl-writgate"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    child.stdin.take().expect("it is piped").write_all(stdin.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let code = output.status.code().expect("it exits");
    assert!(code < 2, "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    (code, String::from_utf8(output.stdout).expect("UTF-8"))
}

/// One published decision, put together.
struct Case<'a> {
    vector: &'a Value,
    review: String,
    documents: Vec<(&'static str, String)>,
}

impl<'a> Case<'a> {
    fn all(file: &'a Value) -> Vec<Self> {
        let cases = file["cases"].as_array().expect("cases");
        cases.iter().map(|case| Self::of(case, &file["reviewers"])).collect()
    }

    fn of(case: &'a Value, reviewers: &Value) -> Self {
        let mut review = json_in(&tests().join("fixtures").join(text(&case["request"])));
        let request = &mut review["request"];
        annotate(&mut request["object"], &case["annotations"]);
        annotate(&mut request["oldObject"], &case["oldAnnotations"]);
        if let Some(initiator) = case.get("initiator") {
            request["userInfo"]["username"] = initiator.clone();
        }
        let reviewers = case.get("reviewers").unwrap_or(reviewers);
        let documents =
            [("posture", &case["posture"]), ("reviewers", reviewers), ("revocations", &case["revocations"])];
        let documents = documents.into_iter().filter(|(_, value)| !value.is_null());
        let documents = documents.map(|(name, value)| (name, value.to_string())).collect();
        Self { vector: case, review: review.to_string(), documents }
    }

    fn name(&self) -> &str {
        text(&self.vector["name"])
    }

    fn label(&self, name: &str) -> &str {
        text(&self.vector["namespaceLabels"][format!("writgate.dev/{name}")])
    }

    fn now(&self) -> &str {
        text(&self.vector["now"])
    }

    fn check(&self, record: &Value) {
        let expect = &self.vector["expect"];
        for field in ["decision", "reasons", "action"] {
            if let Some(expected) = expect.get(field) {
                assert_eq!(&record[field], expected, "{}: {field}", self.name());
            }
        }
        assert_eq!(record["version"], "writgate.dev/decision/v1");
    }
}

fn annotate(object: &mut Value, annotations: &Value) {
    for (name, value) in annotations.as_object().into_iter().flatten() {
        object["metadata"]["annotations"][name] = value.clone();
    }
}

#[test]
fn decisions_by_core() {
    let file = vectors("decisions.json");
    let cases = Case::all(&file);
    assert_eq!(cases.len(), 77);
    for case in cases {
        let document =
            |(name, text): &(&str, String)| Document { source: (*name).to_owned(), name: None, text: text.clone() };
        let postures = PostureSet::assemble(case.documents.iter().map(document).collect());
        let governance = Governance::Governed {
            environment: case.label("environment"),
            project: Some(case.label("project")),
            posture: postures.environment(case.label("environment")),
        };
        let now = case.now().parse().expect("a time");
        let request = Review::parse(case.review.as_bytes()).expect("a review");
        let mut known = Known::default();
        let decide = |known: &Known| {
            let facts = Facts { decision_id: uuid::Uuid::nil(), exempt: &ExemptControllers::default(), known };
            writgate_core::decide::decide(&request, &governance, &facts, now)
        };
        // An approval that may be used once is used here for the first time, and none is beside the object.
        let mut decision = decide(&known);
        while !decision.wants.is_empty() {
            for want in decision.wants {
                match want {
                    Want::Use(wanted) => {
                        known.learn_use(&wanted, Ok(Some(UseRecord::new(wanted.clone(), now))));
                    }
                    Want::KeptApprovals(_) => known.learn_kept_approvals(Vec::new()),
                    Want::LiveApprovals(_) => known.learn_live_approvals(Ok(Vec::new())),
                    other => panic!("{other:?}"),
                }
            }
            decision = decide(&known);
        }
        case.check(&serde_json::to_value(&decision.record).expect("JSON"));
    }
}

#[test]
fn decisions_by_the_binary() {
    let file = vectors("decisions.json");
    for case in Case::all(&file) {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in &case.documents {
            fs::write(folder.path().join(name).with_extension("yaml"), text).expect("a file");
        }
        let postures = folder.path().to_str().expect("UTF-8");
        let (code, output) = writgate(
            &[
                "verify",
                "--review",
                "-",
                "--posture-dir",
                postures,
                "--environment",
                case.label("environment"),
                "--project",
                case.label("project"),
                "--now",
                case.now(),
                "-o",
                "json",
            ],
            &case.review,
        );
        let record: Value = serde_json::from_str(&output).expect("a record");
        case.check(&record);
        assert_eq!(code, i32::from(record["decision"] == "denied"), "{}", case.name());
    }
}

/// The hashes that the binary finds in a manifest.
fn hashes(manifest: &str) -> Vec<String> {
    let (code, output) = writgate(&["hash", "-f", "-", "-o", "json"], manifest);
    assert_eq!(code, 0);
    let listed: Vec<Value> = serde_json::from_str(&output).expect("a list");
    listed.iter().map(|entry| text(&entry["specHash"]).to_owned()).collect()
}

#[test]
fn spec_hashes() {
    let file = vectors("spec-hashes.json");
    let published = file["hashes"].as_array().expect("hashes");
    assert_eq!(published.len(), 18);
    for vector in published {
        let expected = text(&vector["specHash"]);
        if let Some(manifest) = vector.get("manifest") {
            let manifest = fs::read_to_string(tests().join("fixtures").join(text(manifest))).expect("a manifest");
            assert_eq!(hashes(&manifest), [expected], "{vector}");
        } else {
            let review = json_in(&tests().join("fixtures").join(text(&vector["request"])));
            let object = &review["request"]["object"];
            let kind = WorkloadKind::from_gvk(text(&object["apiVersion"]), text(&object["kind"])).expect("a workload");
            let hash = writgate_core::approval::spec_hash(kind, &object["spec"].to_string()).expect("a hash");
            assert_eq!(hash.to_string(), expected, "{vector}");
            // What admission sees has been defaulted; defaults again change nothing.
            assert_eq!(hashes(&object.to_string()), [expected], "{vector}");
        }
    }
}

#[test]
fn a_manifest_has_the_hash_of_what_the_api_server_makes_of_it() {
    let pairs = vectors("hash-pairs.json");
    let pairs = pairs.as_array().expect("pairs");
    assert_eq!(pairs.len(), 33);
    for pair in pairs {
        let expected = text(&pair["specHash"]);
        for side in ["manifest", "admitted"] {
            let manifest = fs::read_to_string(tests().join("vectors").join(text(&pair[side]))).expect("a manifest");
            assert_eq!(hashes(&manifest), [expected], "{side} of {pair}");
        }
    }
}

#[test]
fn the_order_of_keys_and_white_space_never_matter() {
    let review = json_in(&tests().join("fixtures/create-deployment-kubectl-apply.json"));
    let object = &review["request"]["object"];
    let expected = hashes(&object.to_string());
    let reversed = reversed(object);
    assert_eq!(hashes(&reversed), expected);
    assert_eq!(hashes(&format!("{object:#}")), expected);
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [object, object]});
    assert_eq!(hashes(&list.to_string()), [expected.clone(), expected].concat());
}

/// The JSON text with the keys of every object in descending order.
fn reversed(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<String> =
                fields.iter().map(|(name, value)| format!("{}: {}", json!(name), reversed(value))).collect();
            fields.reverse();
            format!("{{\n{}\n}}", fields.join(",\n\t"))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(reversed).collect::<Vec<_>>().join(" , ")),
        other => other.to_string(),
    }
}
