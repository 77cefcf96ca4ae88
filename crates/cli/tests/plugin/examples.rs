//! The example postures of `examples/postures`: each is valid, and decides about its manifests as it says. `cases.yaml` says how a
//! manifest is made and signed. The manifests are in the repository so that a reader can verify them without signing.

use std::{
    env,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};
use writgate_core::encoding::read_yaml;
use writgate_testing::{APPROVAL, Key, envelope, repository};

fn folder() -> PathBuf {
    repository().join("examples/postures")
}

fn examples() -> Vec<PathBuf> {
    let entries = fs::read_dir(folder()).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut found: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    found.sort();
    assert!(found.len() >= 7, "{found:?}");
    found
}

fn yaml(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut documents = read_yaml(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(documents.len(), 1, "{}", path.display());
    documents.remove(0)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}"))
}

fn list(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().map(text).collect()
}

/// Exit code, standard output and standard error.
fn writgate(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-writgate"));
    let output = command.args(arguments).current_dir(folder).output().expect("the program runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code().expect("a code"), text(output.stdout), text(output.stderr))
}

/// One manifest of an example, with what `like` gives it.
struct Case {
    name: String,
    fields: Value,
    /// What the case changes, if it starts from another.
    change: Option<String>,
}

impl Case {
    fn all(example: &Path) -> (Value, Vec<Self>) {
        let file = yaml(&example.join("cases.yaml"));
        let written = file["cases"].as_array().expect("a list").clone();
        let mut cases: Vec<Self> = Vec::new();
        for fields in written {
            let name = text(&fields["name"]).to_owned();
            let mut own = fields.as_object().expect("a mapping").clone();
            own.retain(|field, _| !matches!(field.as_str(), "name" | "like"));
            let Some(like) = fields["like"].as_str() else {
                cases.push(Self { name, fields: own.into(), change: None });
                continue;
            };
            let first = cases.iter().find(|case| case.name == like).unwrap_or_else(|| panic!("{name}: no case {like}"));
            assert!(first.fields.get("denied").is_none(), "{name}: {like} is not admitted");
            assert!(own.contains_key("denied"), "{name} is no near miss");
            let changes: Vec<&String> = own.keys().filter(|field| *field != "denied").collect();
            assert_eq!(changes.len(), 1, "{name} must change one thing: {changes:?}");
            let change = format!("as {like}, with another value of `{}`", changes[0]);
            let mut all = first.fields.as_object().expect("a mapping").clone();
            all.extend(own);
            cases.push(Self { name, fields: all.into(), change: Some(change) });
        }
        assert!(cases.iter().any(|case| case.change.is_some()) && cases.iter().any(|case| case.change.is_none()));
        (file, cases)
    }

    fn path(&self) -> String {
        let folder = if self.fields.get("denied").is_some() { "denied" } else { "admitted" };
        format!("{folder}/{}.yaml", self.name)
    }

    /// The manifest, signed as the case says, with a first line that says what is decided.
    fn manifest(&self, example: &Path, scope: &Value, id: usize) -> String {
        let file = text(&self.fields["object"]);
        let mut object = yaml(&example.join(file));
        let signers: Vec<Key> = list(&self.fields["signers"]).into_iter().map(key).collect();
        let (code, hashes, _) = writgate(example, &["hash", "-f", file, "-o", "json"]);
        // A Pod has no spec hash, so nobody can sign it.
        if code == 0 && !signers.is_empty() {
            let hashes: Value = serde_json::from_str(&hashes).expect("JSON");
            let statement = statement(&object, text(&hashes[0]["specHash"]), scope, id, &self.fields["approval"]);
            let envelope = envelope(&statement, &signers.iter().collect::<Vec<_>>());
            merge(&mut object, &json!({"metadata": {"annotations": {APPROVAL: envelope}}}));
        }
        merge(&mut object, &self.fields["changed"]);
        let mut text = match (&self.change, self.fields.get("denied")) {
            (Some(change), Some(codes)) => format!("# denied with {}: {change}\n", list(codes).join(", ")),
            _ => "# admitted\n".to_owned(),
        };
        write_yaml(&mut text, &object, 0);
        text
    }

    fn decide(&self, example: &Path, now: &str) -> (i32, Value) {
        let (posture, path) = (self.fields["posture"].as_str().unwrap_or("posture"), self.path());
        let now = self.fields["now"].as_str().unwrap_or(now);
        let mut arguments = vec!["verify", "-f", &path, "--posture-dir", posture, "--now", now, "-o", "json"];
        if let Some(user) = self.fields["as"].as_str() {
            arguments.extend(["--as", user]);
        }
        let (code, out, err) = writgate(example, &arguments);
        (code, serde_json::from_str(&out).unwrap_or_else(|_| panic!("{path}: {out}{err}")))
    }
}

/// A key of the specification's vectors.
fn key(name: &str) -> Key {
    let path = repository().join(format!("docs/spec/keys/{name}.pem"));
    Key::from_pem(&fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

fn statement(object: &Value, hash: &str, scope: &Value, id: usize, patch: &Value) -> Value {
    let (kind, metadata) = (text(&object["kind"]), &object["metadata"]);
    let subject =
        format!("{}/{kind}/{}/{}", text(&object["apiVersion"]), text(&metadata["namespace"]), text(&metadata["name"]));
    let (action, capability) = if kind == "Job" { ("replay-execute", "replay.execute") } else { ("deploy", "deploy") };
    let mut predicate = json!({"id": format!("019aab11-7c00-7000-8000-{id:012}"), "projection": "v1", "action": action,
        "environment": scope["environment"], "project": scope["project"], "capabilities": [capability],
        "requestedBy": "alice@acme.example", "reason": "CHG-1234",
        "notBefore": "2026-11-22T10:59:00Z", "expiresAt": "2026-11-22T11:59:00Z"});
    if kind == "Job" {
        predicate["replay"] = json!({"incident": "INC-7", "sourceEnvironment": "production"});
    }
    merge(&mut predicate, patch);
    json!({"_type": "https://in-toto.io/Statement/v1", "predicateType": "https://writgate.dev/approval/v1",
        "subject": [{"name": subject, "digest": {"sha256": hash.trim_start_matches("sha256:")}}], "predicate": predicate})
}

/// RFC 7396, where no patch changes nothing.
fn merge(value: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else { return };
    for (field, new) in patch {
        match new {
            Value::Null => drop(value.as_object_mut().expect("a mapping").remove(field)),
            Value::Object(_) if value[field].is_object() => merge(&mut value[field], new),
            _ => value[field] = new.clone(),
        }
    }
}

/// Block style; texts are JSON strings, which are YAML too.
fn write_yaml(out: &mut String, value: &Value, depth: usize) {
    let pad = "  ".repeat(depth);
    let is_block = |value: &Value| match value {
        Value::Object(fields) => !fields.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    };
    match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                let end = if is_block(value) { "\n" } else { " " };
                let _ = write!(out, "{pad}{field}:{end}");
                write_yaml(out, value, depth + 1);
            }
        }
        Value::Array(items) if is_block(value) => {
            for item in items {
                let mut block = String::new();
                write_yaml(&mut block, item, depth + 1);
                let _ = write!(out, "{pad}- {}", block.trim_start());
            }
        }
        scalar => {
            let _ = writeln!(out, "{scalar}");
        }
    }
}

#[test]
fn examples_decide_as_they_say() {
    let writes = env::var_os("WRITGATE_WRITE_EXAMPLES").is_some();
    for example in examples() {
        let (file, cases) = Case::all(&example);
        let mut expected = Vec::new();
        for (id, case) in cases.iter().enumerate() {
            let (path, manifest) = (case.path(), case.manifest(&example, &file, id));
            if writes {
                let path = example.join(&path);
                fs::create_dir_all(path.parent().expect("a folder")).expect("it can be written");
                fs::write(path, &manifest).expect("it can be written");
            }
            let found = fs::read_to_string(example.join(&path)).unwrap_or_default();
            assert_eq!(found, manifest, "{}/{path}: set WRITGATE_WRITE_EXAMPLES=1 to write it", example.display());
            let (code, record) = case.decide(&example, text(&file["now"]));
            let denied = list(&case.fields["denied"]);
            let (outcome, reasons) =
                if denied.is_empty() { ("admitted", list(&case.fields["reasons"])) } else { ("denied", denied) };
            let context = format!("{}/{path}: {record}", example.display());
            assert_eq!((text(&record["decision"]), list(&record["reasons"])), (outcome, reasons), "{context}");
            assert_eq!(code, i32::from(outcome == "denied"), "{context}");
            expected.push(path);
        }
        for folder in ["admitted", "denied"] {
            for entry in fs::read_dir(example.join(folder)).expect("each example admits and denies") {
                let name = entry.expect("an entry").file_name().into_string().expect("UTF-8");
                let path = format!("{folder}/{name}");
                assert!(expected.contains(&path), "{}/{path} is not in cases.yaml", example.display());
            }
        }
    }
}

#[test]
fn examples_are_valid_without_warnings_and_are_described() {
    let page = fs::read_to_string(folder().join("README.md")).expect("a page");
    for example in examples() {
        let name = example.file_name().and_then(|name| name.to_str()).expect("UTF-8");
        assert!(page.contains(&format!("| [{name}]({name}) |")), "README.md does not list {name}");
        assert!(example.join("README.md").exists(), "{name} has no README.md");
        let entries = fs::read_dir(&example).expect("a folder").map(|entry| entry.expect("an entry").path());
        let postures: Vec<PathBuf> = entries.filter(|path| path.join("posture.yaml").exists()).collect();
        assert!(!postures.is_empty(), "{name} has no posture");
        for posture in postures {
            let (code, out, err) = writgate(&posture, &["posture", "check", "-f", "."]);
            assert_eq!(code, 0, "{}: {out}{err}", posture.display());
            // An example without replays has no reviewer for them, so nothing can be replayed.
            let expected = "  warning: actions.replay-execute: this quorum cannot be met";
            let warnings = out.lines().filter(|line| line.contains("warning") && !line.starts_with(expected));
            assert_eq!((warnings.collect::<Vec<_>>(), &*err), (vec![], ""), "{}", posture.display());
        }
    }
}

#[test]
fn examples_of_the_page_run_as_they_are_printed() {
    let page = fs::read_to_string(folder().join("README.md")).expect("a page").replace("\\\n", " ");
    let commands: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("$ kubectl writgate ")).collect();
    assert_eq!(commands.len(), 3);
    for command in commands {
        let (command, comment) = command.split_once('#').unwrap_or((command, ""));
        let (code, out, err) = writgate(repository(), &command.split_whitespace().collect::<Vec<_>>());
        assert_eq!(code, i32::from(comment.contains("exits with 1")), "{command}: {out}{err}");
    }
}

/// kustomize reads no file outside the folder of an overlay, so the overlay has a copy.
#[test]
fn examples_of_onboarding_are_in_the_overlay() {
    for file in ["posture.yaml", "reviewers.yaml", "revocations.yaml"] {
        let read = |path: String| fs::read_to_string(repository().join(path)).expect("a file");
        let example = read(format!("examples/postures/onboarding/posture/{file}"));
        assert_eq!(read(format!("kustomize/audit-only/{file}")), example, "{file}");
    }
}
