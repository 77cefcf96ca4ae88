//! Requests of an author who wants a dangerous change signed unseen. Each is one change of an honest request.
//!
//! `cases` is the table. For each case, the review must print the change before the question, without `--full`, in a
//! section where a reviewer looks for it, and must contain no line that the author wrote.

mod cases;

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Value, json};
use writgate_core::approval::manifest_hash;

use self::cases::{Case, Edit, In, cases};
use crate::{
    folder::Folder,
    reviews::{desk, edit},
    stand_in,
};

/// The honest object that an author changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Base {
    Deployment,
    StatefulSet,
    CronJob,
    Replay,
}

/// What a review is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum World {
    /// A folder with postures and no cluster. The request claims truly what runs.
    Folder,
    /// The same without the Namespace.
    Nameless,
    /// Neither postures nor a cluster.
    Nothing,
    /// A cluster that has the live object.
    Live,
    /// A cluster that does not have the object.
    New,
    /// An approval to which a second signature is added.
    Envelope,
}

const DIGEST: &str = "@sha256:1111111111111111111111111111111111111111111111111111111111111111";

fn pod() -> Value {
    json!({
        "automountServiceAccountToken": false,
        "hostUsers": false,
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "initContainers": [{"name": "migrate", "image": format!("ghcr.io/acme/migrate:1{DIGEST}"), "args": ["up"]}],
        "containers": [
            {
                "name": "orders",
                "image": format!("ghcr.io/acme/orders:1.4.2{DIGEST}"),
                "args": ["--port", "8080"],
                "env": [{"name": "LOG", "value": "info"}, {"name": "NOTES", "value": long_text()}],
                "livenessProbe": {"httpGet": {"path": "/live", "port": 8080}},
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
                "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}]
            },
            {"name": "proxy", "image": format!("ghcr.io/acme/proxy:7{DIGEST}"), "env": [{"name": "UPSTREAM", "value": "orders"}]}
        ],
        "volumes": [{"name": "tmp", "emptyDir": {}}]
    })
}

/// A script of 30 lines.
fn long_text() -> String {
    (1..=30).map(|line| format!("echo step {line}")).collect::<Vec<_>>().join("\n") + "\n"
}

impl Base {
    fn object(self) -> Value {
        let annotations = json!({"writgate.dev/pipeline-version": "orders@1.4.2"});
        let mut metadata = json!({"name": "orders", "namespace": "payments", "annotations": annotations});
        let labels = json!({"app": "orders"});
        let template = json!({"metadata": {"labels": labels, "annotations": {"team": "orders"}}, "spec": pod()});
        let mut batch = template.clone();
        batch["spec"]["restartPolicy"] = "Never".into();
        match self {
            Self::Deployment => json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata,
                "spec": {"replicas": 3, "selector": {"matchLabels": labels}, "template": template}}),
            Self::StatefulSet => json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": metadata,
                "spec": {"replicas": 3, "serviceName": "orders", "selector": {"matchLabels": labels},
                    "template": template}}),
            Self::CronJob => json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": metadata,
                "spec": {"schedule": "0 3 * * *", "suspend": true, "jobTemplate": {"spec": {"template": batch}}}}),
            Self::Replay => {
                metadata["labels"] = json!({"writgate.dev/replay": "execute"});
                metadata["annotations"] = json!({
                    "writgate.dev/incident": "INC-7",
                    "writgate.dev/source-environment": "production",
                    "writgate.dev/source-artifact": format!("sha256:{}", "ab".repeat(32)),
                    "writgate.dev/incident-spec-hash": format!("sha256:{}", "0".repeat(64)),
                    "writgate.dev/pipeline-version": "orders@1.4.1",
                });
                batch["spec"]["containers"][0]["image"] = format!("ghcr.io/acme/replay:2{DIGEST}").into();
                json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {"template": batch}})
            }
        }
    }

    fn pod(self) -> &'static str {
        match self {
            Self::CronJob => "/spec/jobTemplate/spec/template/spec",
            _ => "/spec/template/spec",
        }
    }

    /// The honest change: another log level.
    fn changed(self) -> Value {
        let mut object = self.object();
        let level = format!("{}/containers/0/env/0/value", self.pod());
        *object.pointer_mut(&level).expect("the base has it") = "debug".into();
        object
    }

    fn request(self, object: &Value) -> Value {
        let (action, capability) = match self {
            Self::Replay => ("replay-execute", "replay.execute"),
            _ => ("deploy", "deploy"),
        };
        let kind = object["kind"].as_str().expect("a kind");
        let api_version = object["apiVersion"].as_str().expect("a version");
        let name = object["metadata"]["name"].as_str().unwrap_or("orders");
        json!({
            "apiVersion": "writgate.dev/v1", "kind": "ApprovalRequest", "requestedBy": "alice@acme.example",
            "reason": "INC-7", "requestedAt": jiff::Timestamp::now().to_string(), "cluster": "prod-eu-1",
            "environment": "production", "project": "payments", "action": action,
            "capabilities": [{"capability": capability, "because": [format!("any {action} needs it")]}],
            "workloads": [{
                "namespace": "payments",
                // What has no hash of its own gets one that the review calls wrong.
                "specHash": manifest_hash(object).map_or("sha256:0".to_owned(), |(_, hash)| hash.to_string()),
                "object": object,
                "subject": format!("{api_version}/{kind}/payments/{name}"),
                "runs": self.object(),
            }],
        })
    }
}

impl World {
    fn arguments(self) -> &'static str {
        match self {
            Self::Folder | Self::Nameless => "review -f request.json --posture-dir postures",
            Self::Nothing => "review -f request.json --no-posture",
            Self::Live | Self::New => "review -f request.json --kubeconfig config",
            Self::Envelope => "review -f request.json --posture-dir postures --add-signature approval.json",
        }
    }

    fn folder(self, base: Base) -> Folder {
        let folder = desk();
        // The rule is for kinds with a template; a CronJob has none there.
        let rule = "when: object.spec.template";
        let posture = folder.read("postures/posture.yaml");
        assert!(posture.contains(rule), "{posture}");
        let guarded = posture.replace(rule, "when: has(object.spec.template) && object.spec.template");
        folder.write("postures/posture.yaml", guarded);
        match self {
            Self::Folder | Self::Nothing => {}
            Self::Nameless => std::fs::remove_file(folder.path("postures/namespaces.yaml")).expect("it exists"),
            Self::Live => cluster(&folder, Some(base.object())),
            Self::New => cluster(&folder, None),
            Self::Envelope => {
                folder.write("request.json", base.request(&base.changed()).to_string());
                let approve =
                    "approve --yes --full --posture-dir postures -f request.json --key bob.pem -o approval.json";
                folder.expect(0, approve, "");
            }
        }
        folder
    }
}

/// A stand-in for the API server: it has the postures, the namespace, and `live`.
fn cluster(folder: &Folder, live: Option<Value>) {
    stand_in::start(folder, move |path| match path {
        path if path.ends_with("/jobs") => {
            Some(json!({"apiVersion": "batch/v1", "kind": "JobList", "metadata": {}, "items": []}))
        }
        path if path.ends_with("/orders") => live.clone(),
        _ => None,
    });
}

/// Sets the value at a pointer, and makes what is missing on the way. `-` appends to a list; null removes.
fn set(object: &mut Value, pointer: &str, value: Value) {
    let (parent, last) = pointer.rsplit_once('/').expect("a pointer");
    let mut at = object;
    for step in parent.split('/').skip(1) {
        let step = step.replace("~1", "/");
        at = match at {
            Value::Array(items) => items.get_mut(step.parse::<usize>().expect("a position")).expect("an item"),
            other => {
                if other.is_null() {
                    *other = json!({});
                }
                other.as_object_mut().expect("an object").entry(step).or_insert(Value::Null)
            }
        };
    }
    let last = last.replace("~1", "/");
    match at {
        Value::Null if last == "-" => *at = json!([value]),
        Value::Array(items) if last == "-" => items.push(value),
        Value::Array(items) if value.is_null() => drop(items.remove(last.parse().expect("a position"))),
        Value::Array(items) => items[last.parse::<usize>().expect("a position")] = value,
        Value::Object(fields) if value.is_null() => drop(fields.remove(&last).expect("a field")),
        other => other[last] = value,
    }
}

/// The text that a reviewer reads, and the texts that the author wrote.
struct Read {
    text: String,
    written: BTreeSet<String>,
}

fn read(case: &Case) -> Read {
    let folder = case.world.folder(case.base);
    let mut object = case.base.changed();
    let mut request = Value::Null;
    for (pointer, value) in case.edits.iter().filter_map(Edit::of_object) {
        set(&mut object, &pointer.replace("POD", case.base.pod()), value.clone());
    }
    if case.world == World::Envelope {
        request = serde_json::from_str(&folder.read("request.json")).expect("JSON");
    } else {
        request = if request.is_null() { case.base.request(&object) } else { request };
    }
    let mut written = BTreeSet::new();
    for one in &case.edits {
        match one {
            Edit::Request(pointer, value) => set(&mut request, pointer, value.clone()),
            Edit::Object(..) | Edit::Text(..) => {}
            Edit::Envelope(change) => edit(&folder, "approval.json", change),
            Edit::Payload(from, to) => edit(&folder, "approval.json", |envelope| {
                let payload = BASE64.decode(envelope["payload"].as_str().expect("a text")).expect("base64");
                let payload = String::from_utf8(payload).expect("UTF-8");
                assert!(payload.contains(from), "{}: {payload}", case.name);
                envelope["payload"] = BASE64.encode(payload.replacen(from, to, 1)).into();
            }),
        }
    }
    texts(&request, &mut written);
    let mut json = request.to_string();
    for one in &case.edits {
        if let Edit::Text(from, to) = one {
            assert!(json.contains(from), "{}: no {from} in {json}", case.name);
            json = json.replacen(from, to, 1);
        }
    }
    folder.write("request.json", json);
    let (_, out, err) = folder.writgate(case.world.arguments(), "");
    let text = if out.is_empty() { format!("refused\n  {err}") } else { out };
    Read { text, written }
}

/// Every name and value of a text.
fn texts(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => drop(found.insert(text.clone())),
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        Value::Object(fields) => fields.iter().for_each(|(name, value)| {
            found.insert(name.clone());
            texts(value, found);
        }),
        _ => {}
    }
}

/// The section of each line.
fn sections(text: &str) -> Vec<(In, &str)> {
    let mut section = In::Facts;
    let mut found = Vec::new();
    for line in text.lines() {
        if !line.starts_with(' ') && !line.is_empty() {
            section = match line {
                "To be signed" => In::Facts,
                "WRONG: do not sign this" => In::Wrong,
                "DENIED by the posture, whoever signs" => In::Denied,
                "Look at this first" => In::First,
                "refused" => In::Refused,
                line if line.contains(": compared with the live object")
                    || line.contains(": equal to the live object")
                    || line.contains(": new: no live object has this name")
                    || line.contains(": shown as new, since no cluster was contacted") =>
                {
                    In::Diff
                }
                "Not shown whole: read these with --full before you sign" => In::Cut,
                "Signatures on the envelope" => In::Signatures,
                _ => In::Rest,
            };
        }
        if section == In::Diff && line == "  changes, claimed by the request; no cluster was contacted" {
            section = In::Claimed;
        }
        found.push((section, line));
    }
    found
}

/// The lines of a review that it never prints: the form of each section is fixed.
fn lines_of_no_form(text: &str) -> Vec<String> {
    let headings = [
        "To be signed",
        "WRONG: do not sign this",
        "DENIED by the posture, whoever signs",
        "Look at this first",
        "Not shown whole: read these with --full before you sign",
        "Required capabilities, and why",
        "Who may sign",
        "Signatures on the envelope",
        "Before approving a deployment",
        "Before approving a replay",
        "Always",
        "refused",
    ];
    let changes = ["images", "commands", "privileges", "fields that the API server drops", "other fields"];
    let mut seen = BTreeMap::new();
    let mut wrong = Vec::new();
    for (section, line) in sections(text) {
        let is_hidden = |char: char| {
            char.is_control()
                || matches!(char, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        };
        let body = line.strip_prefix("  ").unwrap_or(line);
        let is_change = || {
            body.strip_prefix("  ")
                .is_some_and(|line| ["+ ", "- ", "~ ", "= "].iter().any(|sign| line.starts_with(sign)))
        };
        let is_known = match section {
            _ if line.is_empty() => true,
            _ if !line.starts_with(' ') => {
                let heading = line.split(": ").next().unwrap_or(line);
                let count = seen.entry(heading).or_insert(0);
                *count += 1;
                *count == 1
                    && (headings.contains(&line)
                        || line.starts_with("Code of this review: ")
                        || matches!(section, In::Diff))
            }
            In::First => body.starts_with("! "),
            In::Diff => {
                is_change()
                    || changes.contains(&body)
                    || body.starts_with("spec hash sha256:")
                    || body.starts_with("defaults: ")
                    || body.ends_with("--full shows them")
            }
            In::Claimed => {
                is_change()
                    || ["  none", "changes, claimed by the request; no cluster was contacted"].contains(&body)
                    || body.ends_with("--full shows them")
            }
            _ => true,
        };
        if !is_known || line.chars().any(is_hidden) {
            wrong.push(format!("{line:?}"));
        }
    }
    wrong
}

/// The lines of `text` that an author wrote as the second or a later line of a value.
fn forged<'t>(text: &'t str, written: &BTreeSet<String>) -> Vec<&'t str> {
    let breaks = ['\n', '\r', '\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}'];
    let pieces: BTreeSet<&str> = written
        .iter()
        .flat_map(|text| text.split(breaks).skip(1))
        .map(str::trim)
        // `lines_of_no_form` finds a second one.
        .filter(|piece| !piece.is_empty() && *piece != "Always")
        .collect();
    text.lines().filter(|line| pieces.iter().any(|piece| line.trim().starts_with(piece))).collect()
}

#[test]
fn a_reviewer_sees_what_a_hostile_author_changed() {
    let cases = cases();
    assert!(cases.len() >= 60, "{}", cases.len());
    let names: BTreeSet<&str> = cases.iter().map(|case| case.name).collect();
    assert_eq!(names.len(), cases.len(), "every case has its own name");
    let mut honest: BTreeMap<(Base, World), String> = BTreeMap::new();
    let mut failures = Vec::new();
    for case in &cases {
        let seen = read(case);
        let near = honest.entry((case.base, case.world)).or_insert_with(|| {
            let honest = Case { name: "honest", edits: Vec::new(), ..*case };
            read(&honest).text
        });
        let name = case.name;
        let is_in = |text: &str| {
            sections(text).iter().any(|(section, line)| *section == case.section && line.contains(case.line))
        };
        if !is_in(&seen.text) {
            failures.push(format!("{name}: {:?} has no line with {:?}\n{}", case.section, case.line, seen.text));
        }
        if is_in(near) {
            failures.push(format!("{name}: the honest request has {:?} too", case.line));
        }
        for line in forged(&seen.text, &seen.written) {
            failures.push(format!("{name}: the author wrote the line {line:?}"));
        }
        for line in lines_of_no_form(&seen.text) {
            failures.push(format!("{name}: this line has no form of a review: {line}"));
        }
    }
    for ((base, world), text) in &honest {
        for (section, line) in sections(text) {
            if matches!(section, In::Wrong | In::Denied | In::Refused | In::Cut) {
                failures.push(format!("the honest {base:?} in {world:?}: {line}"));
            }
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n\n"));
}
