//! The vectors of `docs/spec`, run with the binary: decisions with `verify`, spec hashes with `hash`. Core's own test
//! runs every vector.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::{Value, json};

fn json_in(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}"))
}

/// Every case of a specification, by its name.
fn cases(specification: &str) -> Vec<(String, Value)> {
    let folder = folder(specification);
    let entries = fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut paths: Vec<PathBuf> = entries.filter(|path| path.is_file()).collect();
    paths.sort();
    let name = |path: &Path| path.file_stem().expect("a name").to_str().expect("UTF-8").to_owned();
    let cases = paths.iter().map(|path| (name(path), json_in(path)));
    cases.filter(|(_, case)| case.get("expect").is_some()).collect()
}

fn folder(specification: &str) -> PathBuf {
    writgate_testing::repository().join("docs/spec").join(specification)
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
    (output.status.code().expect("it exits"), String::from_utf8(output.stdout).expect("UTF-8"))
}

/// What `{"value": …}` or `{"file": …, "patch": …}` stands for, as the specification says.
fn resolve(part: &Value) -> Value {
    let Some(file) = part["file"].as_str() else { return part["value"].clone() };
    let mut value = json_in(&folder("decision-v1").join(file));
    merge(&mut value, &part["patch"]);
    value
}

/// RFC 7396, where no patch changes nothing.
fn merge(value: &mut Value, patch: &Value) {
    for (name, patch) in patch.as_object().into_iter().flatten() {
        match patch {
            Value::Null => drop(value.as_object_mut().expect("an object").remove(name)),
            Value::Object(_) => {
                let member = &mut value[name];
                if !member.is_object() {
                    *member = json!({});
                }
                merge(member, patch);
            }
            other => value[name] = other.clone(),
        }
    }
}

/// ConfigMaps that hold what a decision looks up, if that is all that it looks up.
fn config_maps(facts: &Value) -> Option<Vec<Value>> {
    let members = facts.as_object().into_iter().flatten();
    let mut found = Vec::new();
    for (name, fact) in members {
        match name.as_str() {
            "detached" => found.extend(fact.as_array()?.iter().map(|approval| {
                json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"approval.json": approval["envelope"]},
                    "metadata": {"name": approval["name"], "labels": {"writgate.dev/kind": "approval"}}})
            })),
            // In a folder, a ConfigMap that is not there is unknown, not absent.
            "configMaps" if fact.as_object()?.values().any(Value::is_null) => return None,
            "configMaps" => found.extend(fact.as_object()?.iter().map(|(name, content)| {
                json!({"apiVersion": "v1", "kind": "ConfigMap", "data": content["data"],
                    "immutable": content["immutable"], "metadata": {"name": name, "labels": content["labels"]}})
            })),
            _ => return None,
        }
    }
    Some(found)
}

#[test]
fn the_binary_agrees_with_the_decision_vectors() {
    let mut checked = 0;
    for (name, case) in cases("decision-v1") {
        let label = |label: &str| case["namespaceLabels"][format!("writgate.dev/{label}")].as_str();
        // Uses and histories are in a ledger, which only a cluster has. Without labels there is nothing to verify.
        let (Some(config_maps), Some(environment), Some(project)) =
            (config_maps(&case["facts"]), label("environment"), label("project"))
        else {
            continue;
        };
        let postures = tempfile::tempdir().expect("a folder");
        let documents = case["documents"].as_array().expect("documents").iter().map(resolve);
        for (index, document) in documents.chain(config_maps).enumerate() {
            let file = postures.path().join(format!("{index}.yaml"));
            fs::write(file, document.to_string()).expect("a file");
        }
        let folder = postures.path().to_str().expect("UTF-8");
        let review = resolve(&case["review"]).to_string();
        let arguments =
            ["verify", "--review", "-", "--posture-dir", folder, "--environment", environment, "--project", project];
        let arguments = [&arguments[..], &["--now", text(&case["now"]), "-o", "json"]].concat();
        let (code, output) = writgate(&arguments, &review);
        let record: Value = serde_json::from_str(&output).unwrap_or_else(|error| panic!("{name}: {error}: {output}"));
        for (member, expected) in case["expect"].as_object().expect("an object") {
            let found = match member.as_str() {
                "approvals" => {
                    record["approvals"].as_array().expect("a list").iter().map(|a| a["id"].clone()).collect()
                }
                _ => record[member].clone(),
            };
            assert_eq!(found, *expected, "{name}: {member}");
        }
        assert_eq!(record["version"], "writgate.dev/decision/v1");
        assert_eq!(code, i32::from(record["decision"] == "denied"), "{name}");
        checked += 1;
    }
    assert!(checked > 140, "{checked}");
}

/// The hashes that the binary finds in a manifest.
fn hashes(manifest: &str) -> Vec<String> {
    let (code, output) = writgate(&["hash", "-f", "-", "-o", "json"], manifest);
    assert_eq!(code, 0);
    let listed: Vec<Value> = serde_json::from_str(&output).expect("a list");
    listed.iter().map(|entry| text(&entry["specHash"]).to_owned()).collect()
}

#[test]
fn a_manifest_has_the_hash_of_what_the_api_server_makes_of_it() {
    for (name, case) in cases("spec-hash-v1") {
        let manifest = case["manifest"].as_str();
        match case["expect"]["specHash"].as_str() {
            Some(expected) => {
                // The object at admission has its defaults already. Setting them again changes nothing.
                let admitted = case.get("admitted").filter(|_| manifest.is_some()).map(Value::to_string);
                for manifest in manifest.into_iter().chain(admitted.as_deref()) {
                    assert_eq!(hashes(manifest), [expected], "{name}");
                }
            }
            None => {
                if let Some(manifest) = manifest {
                    let (code, output) = writgate(&["hash", "-f", "-", "-o", "json"], manifest);
                    assert!(code > 0 || output.trim() == "[]", "{name}: {output}");
                }
            }
        }
    }
}

#[test]
fn the_order_of_keys_and_white_space_never_matter() {
    let object = &json_in(&folder("spec-hash-v1/probes.json"))["admitted"];
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
