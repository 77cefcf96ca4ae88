//! What a row is made of: the ground on which a tenant tries, the attempt, and the outcomes that count as safe. Each
//! outcome asserts what it says before it is noted for the table; what a row tries is the other files'.

use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;
use std::panic::Location;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};

use crate::bypass::snapshot::Snapshot;
use crate::bypass::table::{self, Line};
use writgate_testing::{Gate, Governed, Ran, User, attach, envelope, wait_until};

/// Controllers answer within a second or two; the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// A governed namespace in which a tenant with the `edit` role tries.
pub(crate) struct Ground<'g> {
    governed: Governed<'g>,
    admin: kube::Client,
    place: &'static Location<'static>,
    /// By manifest: what the API server makes of one costs a kubectl to know.
    statements: Mutex<HashMap<String, Value>>,
}

impl<'g> Deref for Ground<'g> {
    type Target = Governed<'g>;

    fn deref(&self) -> &Self::Target {
        &self.governed
    }
}

impl<'g> Ground<'g> {
    /// One under the usual posture.
    #[track_caller]
    pub(crate) fn new(gate: &'g Gate, hint: &str) -> Self {
        Self::with(gate, hint, |_| {})
    }

    /// One under the usual posture, edited.
    #[track_caller]
    pub(crate) fn with(gate: &'g Gate, hint: &str, edit: impl FnOnce(&mut Value)) -> Self {
        let governed = gate.governed_with(hint, edit);
        let admin = gate.plane.block_on(gate.plane.admin.client());
        Self { governed, admin, place: Location::caller(), statements: Mutex::default() }
    }

    /// Applies `object` with a right approval, and waits until the controllers have done what it asks for.
    pub(crate) fn runs(&self, object: &Value) {
        self.applied(&self.approved(object));
    }

    /// Applies `object` as it is, which must be admitted, and waits likewise.
    pub(crate) fn applied(&self, object: &Value) {
        let mut object = object.clone();
        object["metadata"]["namespace"] = json!(self.namespace);
        let ran = self.gate.plane.admin.apply(&object);
        assert!(ran.ok(), "{ran}");
        self.settle(&format!("{}/{}", text(&object["kind"]), text(&object["metadata"]["name"])));
    }

    /// Waits until the controllers have done what `target` (`kind/name`) asks for.
    pub(crate) fn settle(&self, target: &str) {
        wait_until(&format!("{target} is carried out"), PATIENCE, || is_settled(&self.live(target)?).then_some(()));
    }

    /// `kind/name` as it is now.
    pub(crate) fn live(&self, target: &str) -> Option<Value> {
        self.gate.plane.admin.get(&[target, "-n", &self.namespace])
    }

    /// The objects of a kind, as they are now.
    pub(crate) fn list(&self, resource: &str) -> Vec<Value> {
        let list = self.gate.plane.admin.get(&[resource, "-n", &self.namespace]).expect("a list is always there");
        list["items"].as_array().cloned().unwrap_or_default()
    }

    /// kubectl as the administrator, in the namespace; for arranging, and it must work.
    pub(crate) fn arrange(&self, args: &[&str]) {
        let ran = self.gate.plane.admin.kubectl(&[args, &["-n", &self.namespace]].concat());
        assert!(ran.ok(), "{args:?}: {ran}");
    }

    /// The name of the one `ReplicaSet` that runs this image.
    pub(crate) fn replica_set(&self, image: &str) -> String {
        let mut sets = self.list("replicasets");
        sets.retain(|set| set["spec"]["template"]["spec"]["containers"][0]["image"] == image);
        assert_eq!(sets.len(), 1, "one ReplicaSet runs {image}: {sets:?}");
        text(&sets[0]["metadata"]["name"])
    }

    /// What of the namespace an attempt could have changed.
    pub(crate) fn snapshot(&self) -> Snapshot {
        self.gate.plane.block_on(Snapshot::take(&self.admin, &self.namespace))
    }

    /// The namespace's records so far.
    pub(crate) fn records(&self) -> Vec<Value> {
        self.gate.webhook.records(|record| record["object"]["namespace"] == self.namespace.as_str())
    }

    /// A right statement about `object`, with an id of its own.
    pub(crate) fn statement(&self, object: &Value) -> Value {
        let key = object.to_string();
        let known = self.statements.lock().expect("nobody panics while holding it").get(&key).cloned();
        let mut statement = known.unwrap_or_else(|| self.governed.statement(object));
        statement["predicate"]["id"] = json!(uuid::Uuid::now_v7().to_string());
        self.statements.lock().expect("nobody panics while holding it").insert(key, statement.clone());
        statement
    }

    /// `object` with a right approval by Bob.
    pub(crate) fn approved(&self, object: &Value) -> Value {
        attach(object, &self.signed_but(object, |_| {}))
    }

    /// A right statement about `object`, made wrong, and signed by Bob.
    pub(crate) fn signed_but(&self, object: &Value, wrong: impl FnOnce(&mut Value)) -> String {
        let mut statement = self.statement(object);
        wrong(&mut statement);
        envelope(&statement, &[&self.bob])
    }

    /// Begins an attempt at a row of the catalogue.
    pub(crate) fn row(&self, number: u32, attempt: impl Into<String>) -> Row<'_, 'g> {
        Row { ground: self, by: self.gate.tenant.clone(), note: Note::new(number, attempt.into(), self.place) }
    }
}

/// A row that is not an attempt: where it ends, or which other test shows it.
#[track_caller]
pub(crate) fn row(number: u32, attempt: impl Into<String>) -> Note {
    Note::new(number, attempt.into(), Location::caller())
}

/// A line of the table without its outcome.
#[must_use]
pub(crate) struct Note {
    number: u32,
    attempt: String,
    place: &'static Location<'static>,
}

impl Note {
    fn new(number: u32, attempt: String, place: &'static Location<'static>) -> Self {
        Self { number, attempt, place }
    }

    fn keep(self, outcome: &str, code: &str) {
        let shown = format!("`{}`", self.place.file());
        self.keep_shown(outcome, code, shown);
    }

    fn keep_shown(self, outcome: &str, code: &str, shown: String) {
        let code = if code.is_empty() { String::new() } else { format!("`{code}`") };
        let place = (self.place.file(), self.place.line(), table::next_in_order());
        let attempt = self.attempt;
        table::note(Line { number: self.number, place, attempt, outcome: outcome.to_owned(), code, shown });
    }

    /// Out of the gate's reach. `sentence` is how the threat model says so.
    pub(crate) fn limit(self, sentence: &str) {
        const MODEL: &str = include_str!("../../../docs/threat-model.md");
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words(MODEL).contains(&words(sentence)), "docs/threat-model.md says: {sentence}");
        self.keep_shown("documented limit", "", "[threat model](threat-model.md#where-it-ends)".to_owned());
    }

    /// Shown by a test elsewhere, which is there under this name.
    pub(crate) fn shown_by(self, outcome: &str, file: &str, test: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let source = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{file}: {e}"));
        assert!(source.contains(&format!("fn {test}(")), "{file} has a test {test}");
        self.keep_shown(outcome, "", format!("`{file}`: `{test}`"));
    }
}

/// What is about to be tried, and by whom.
#[must_use]
pub(crate) struct Row<'r, 'g> {
    ground: &'r Ground<'g>,
    by: User,
    note: Note,
}

impl<'r, 'g> Row<'r, 'g> {
    /// By another than the tenant.
    pub(crate) fn by(mut self, user: &User) -> Self {
        self.by = user.clone();
        self
    }

    /// kubectl in the namespace.
    pub(crate) fn kubectl(self, args: &[&str]) -> Attempt<'r, 'g> {
        self.kubectl_in(args, "")
    }

    /// The same, with `input` on its standard input.
    pub(crate) fn kubectl_in(self, args: &[&str], input: &str) -> Attempt<'r, 'g> {
        let namespace = self.ground.namespace.clone();
        // A raw request names its namespace in its path, and kubectl refuses both.
        let raw = args.contains(&"--raw");
        let args = if raw { args.to_vec() } else { [&["-n", &namespace], args].concat() };
        self.tries(|user| user.kubectl_in(&args, input))
    }

    /// `kubectl create -f` of one object.
    pub(crate) fn create(self, object: &Value) -> Attempt<'r, 'g> {
        self.kubectl_in(&["create", "-f", "-"], &object.to_string())
    }

    /// `kubectl apply -f` of one object.
    pub(crate) fn apply(self, object: &Value) -> Attempt<'r, 'g> {
        self.kubectl_in(&["apply", "-f", "-"], &object.to_string())
    }

    /// `kubectl patch`; `form` is `json`, `merge` or `strategic`.
    pub(crate) fn patch(self, target: &str, form: &str, patch: &Value) -> Attempt<'r, 'g> {
        self.kubectl(&["patch", target, &format!("--type={form}"), "-p", &patch.to_string()])
    }

    /// Whatever else the user can do.
    pub(crate) fn tries(self, act: impl FnOnce(&User) -> Ran) -> Attempt<'r, 'g> {
        let before = self.ground.snapshot();
        let known = self.ground.records().len();
        let ran = act(&self.by);
        Attempt { ground: self.ground, by: self.by, note: self.note, ran, before, known }
    }
}

/// What was tried, before anybody says whether that was safe.
#[must_use]
pub(crate) struct Attempt<'r, 'g> {
    ground: &'r Ground<'g>,
    by: User,
    note: Note,
    pub(crate) ran: Ran,
    before: Snapshot,
    known: usize,
}

impl Attempt<'_, '_> {
    /// The gate denied it for `code` first of all, left a record, and nothing in the namespace is other than before.
    pub(crate) fn denied(self, code: &str) {
        self.nothing_changed();
        self.denied_but(code);
    }

    /// The same, where a part of what was tried was not the gate's to stop; the case asserts what is left.
    pub(crate) fn denied_but(self, code: &str) {
        let (webhook, message) = self.denial();
        assert!(["workloads.writgate.dev", "connect.writgate.dev"].contains(&webhook), "{self}");
        let told = message.lines().nth(1).and_then(|line| line.split(':').next());
        assert_eq!(told, Some(code), "{self}");
        let records = self.records();
        let recorded = records.iter().any(|record| record["decision"] == "denied" && record["reasons"][0] == code);
        assert!(recorded, "{self}\na record of the denial: {records:?}");
        self.note.keep("denied", code);
    }

    /// The API server did it, nobody had to be asked, and what runs is what ran before.
    pub(crate) fn unchanged(self) {
        assert!(self.ran.ok(), "{self}");
        let recorded: Vec<Value> = self.records();
        assert_eq!(recorded, Vec::<Value>::new(), "{self}\nno action, so no record");
        self.runs_as_before();
        self.note.keep("unchanged", "");
    }

    /// The API server did it, and what `controller` then did about it was denied for `code`.
    pub(crate) fn denied_to(self, controller: &str, code: &str) {
        assert!(self.ran.ok(), "{self}");
        wait_until(&format!("{self}\n{controller} is denied for {code}"), PATIENCE, || {
            let records = self.ground.records();
            let denied = |record: &Value| record["initiator"]["username"] == controller && record["reasons"][0] == code;
            records.iter().any(denied).then_some(())
        });
        self.nothing_changed();
        self.note.keep("denied", code);
    }

    /// It was admitted by an approval, and there is a record of who, what and by which one. Returns the record.
    pub(crate) fn admitted(self) -> Value {
        assert!(self.ran.ok(), "{self}");
        let records = self.records();
        let admitted: Vec<&Value> = records.iter().filter(|record| record["decision"] == "admitted").collect();
        assert_eq!(admitted.len(), 1, "{self}\none record of the admission: {records:?}");
        let record = admitted[0].clone();
        assert_eq!(record["initiator"]["username"], self.by.name.as_str(), "{record}");
        assert!(record["approvals"][0]["id"].is_string() || record["approvalRequired"] == false, "{record}");
        self.note.keep("admitted and recorded", "");
        record
    }

    /// The API server itself refused it, with this `reason` of its own, and nothing is other than before.
    pub(crate) fn refused(self, reason: &str) {
        assert!(!self.ran.ok(), "{self}");
        let told = if reason == "Invalid" { " is invalid: ".to_owned() } else { format!("({reason})") };
        assert!(self.ran.stderr.contains(&told), "{reason} expected: {self}");
        assert!(!self.ran.stderr.contains("denied the request"), "not by the gate: {self}");
        self.nothing_changed();
        self.note.keep("refused by the API server", reason);
    }

    /// The API server refused it because nobody answered whom it had to ask; `why` is what it says.
    pub(crate) fn unanswered(self, why: &str) {
        assert!(self.ran.stderr.contains("failed calling webhook \"workloads.writgate.dev\""), "{self}");
        assert!(self.ran.stderr.contains(why), "{why} expected: {self}");
        self.nothing_changed();
        self.note.keep("refused by the API server", "failed calling webhook");
    }

    /// A call past the API server: whatever was answered, nothing is there.
    pub(crate) fn unpersisted(self) {
        self.nothing_changed();
        self.note.keep("unchanged", "NotPersisted");
    }

    /// It went through, and the threat model says so in this `sentence`.
    pub(crate) fn limit(self, sentence: &str) {
        assert!(self.ran.ok(), "{self}");
        self.note.limit(sentence);
    }

    /// One of the gate's other entries denied it for `code`, left a record, and nothing is other than before.
    pub(crate) fn guarded(self, code: &str) {
        let (webhook, message) = self.denial();
        assert!(webhook != "workloads.writgate.dev" && webhook.ends_with(".writgate.dev"), "{self}");
        assert_eq!(message.lines().nth(1).and_then(|line| line.split(':').next()), Some(code), "{self}");
        let by = self.by.name.as_str();
        let denied = |record: &Value| record["initiator"]["username"] == by && record["reasons"][0] == code;
        assert!(!self.ground.gate.webhook.records(denied).is_empty(), "{self}\na record of the denial");
        self.nothing_changed();
        self.note.keep("guarded", code);
    }

    /// The API server itself denied it by the gate's admission policy `policy`; nothing is other than before.
    pub(crate) fn guarded_by_policy(self, policy: &str) {
        let by = format!("ValidatingAdmissionPolicy '{policy}'");
        assert!(!self.ran.ok() && self.ran.stderr.contains(&by), "{by} expected: {self}");
        self.nothing_changed();
        self.note.keep("guarded", policy);
    }

    /// Records of this attempt: controllers may go on meanwhile.
    fn records(&self) -> Vec<Value> {
        let mut records = self.ground.records().split_off(self.known);
        records.retain(|record| record["initiator"]["username"] == self.by.name.as_str());
        records
    }

    fn denial(&self) -> (&str, &str) {
        let told = self.ran.stderr.split_once("admission webhook \"").filter(|_| !self.ran.ok());
        told.and_then(|(_, rest)| rest.split_once("\" denied the request: "))
            .unwrap_or_else(|| panic!("not denied by a webhook: {self}"))
    }

    fn nothing_changed(&self) {
        let after = self.ground.snapshot();
        assert!(self.before == after, "{self}\nnothing may change\nbefore {}\nafter  {after}", self.before);
    }

    fn runs_as_before(&self) {
        let after = self.ground.snapshot();
        let new: Vec<&str> = after.runs().difference(&self.before.runs()).copied().collect();
        assert!(new.is_empty(), "{self}\nnothing else may run: {new:?}");
    }
}

impl fmt::Display for Attempt<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "row {}, {} by {}: {}", self.note.number, self.note.attempt, self.by.name, self.ran)
    }
}

/// The image of what a tenant would rather run.
pub(crate) const EVIL: &str = "ghcr.io/acme/orders:6.6.6";
/// The image of `Governed::deployment`.
pub(crate) const GOOD: &str = "ghcr.io/acme/orders:1.4.2";

/// `object` with its container's image replaced.
pub(crate) fn with_image(object: &Value, image: &str) -> Value {
    let mut object = object.clone();
    object["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
    object
}

/// Another kind around the pod template of a Deployment.
pub(crate) fn as_kind(deployment: &Value, api_version: &str, kind: &str, more: Value) -> Value {
    let mut spec = json!({"selector": deployment["spec"]["selector"], "template": deployment["spec"]["template"]});
    if let (Value::Object(spec), Value::Object(more)) = (&mut spec, more) {
        spec.extend(more);
    }
    json!({"apiVersion": api_version, "kind": kind, "metadata": deployment["metadata"], "spec": spec})
}

/// What must be text.
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is text")).to_owned()
}

fn is_settled(live: &Value) -> bool {
    let (spec, status) = (&live["spec"], &live["status"]);
    let observed = status["observedGeneration"] == live["metadata"]["generation"];
    let count = |value: &Value| value.as_i64().unwrap_or(0);
    match live["kind"].as_str() {
        Some("CronJob" | "ConfigMap") => true,
        Some("Job") if spec["suspend"] == true => status["conditions"].as_array().is_some_and(|all| !all.is_empty()),
        Some("Job") => count(&status["active"]) > 0,
        Some("DaemonSet") => observed,
        Some("StatefulSet") => observed && (count(&spec["replicas"]) == 0 || count(&status["replicas"]) > 0),
        _ => observed && (spec["paused"] == true || count(&status["replicas"]) == count(&spec["replicas"])),
    }
}
