//! The parts of a row: the namespace in which a tenant makes the attempt, the attempt, and the outcomes that are safe. Each
//! outcome is asserted before it is noted for the table. The attempts are in the other files.

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
use writgate_testing::{Governed, Installation, Ran, User, attach, envelope, wait_until};

/// Controllers act within a second or two, but the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// A governed namespace in which a tenant with the `edit` role makes attempts.
pub(crate) struct TenantNamespace<'g> {
    governed: Governed<'g>,
    admin: kube::Client,
    location: &'static Location<'static>,
    /// Statements by manifest, since the hash of a manifest costs one call of kubectl.
    statements: Mutex<HashMap<String, Value>>,
}

impl<'g> Deref for TenantNamespace<'g> {
    type Target = Governed<'g>;

    fn deref(&self) -> &Self::Target {
        &self.governed
    }
}

impl<'g> TenantNamespace<'g> {
    /// A namespace under the usual posture.
    #[track_caller]
    pub(crate) fn new(installation: &'g Installation, hint: &str) -> Self {
        Self::with(installation, hint, |_| {})
    }

    /// A namespace under the usual posture, changed by `edit`.
    #[track_caller]
    pub(crate) fn with(installation: &'g Installation, hint: &str, edit: impl FnOnce(&mut Value)) -> Self {
        Self::of(installation, installation.governed_with(hint, edit))
    }

    /// A namespace under the usual posture, with objects from before it was governed.
    #[track_caller]
    pub(crate) fn over(
        installation: &'g Installation,
        hint: &str,
        edit: impl FnOnce(&mut Value),
        before: &[Value],
    ) -> Self {
        Self::of(installation, installation.governed_over(hint, edit, before))
    }

    #[track_caller]
    fn of(installation: &'g Installation, governed: Governed<'g>) -> Self {
        let admin = installation.plane.block_on(installation.plane.admin.client());
        Self { governed, admin, location: Location::caller(), statements: Mutex::default() }
    }

    /// Applies `object` with a valid approval, and waits until the controllers have acted on it.
    pub(crate) fn runs(&self, object: &Value) {
        self.applied(&self.approved(object));
    }

    /// Applies `object` unchanged, asserts that it is admitted, and waits until the controllers have acted on it.
    pub(crate) fn applied(&self, object: &Value) {
        let mut object = object.clone();
        object["metadata"]["namespace"] = json!(self.namespace);
        let ran = self.installation.plane.admin.apply(&object);
        assert!(ran.ok(), "{ran}");
        self.settle(&format!("{}/{}", text(&object["kind"]), text(&object["metadata"]["name"])));
    }

    /// Waits until the controllers have acted on `target` (`kind/name`).
    pub(crate) fn settle(&self, target: &str) {
        wait_until(&format!("the controllers have acted on {target}"), PATIENCE, || {
            is_settled(&self.live(target)?).then_some(())
        });
    }

    /// The live object `kind/name`.
    pub(crate) fn live(&self, target: &str) -> Option<Value> {
        self.installation.plane.admin.get(&[target, "-n", &self.namespace])
    }

    /// The live objects of a kind.
    pub(crate) fn list(&self, resource: &str) -> Vec<Value> {
        let list = self.installation.plane.admin.get(&[resource, "-n", &self.namespace]).expect("a list always exists");
        list["items"].as_array().cloned().unwrap_or_default()
    }

    /// Runs kubectl as the administrator in the namespace, and asserts that it succeeds.
    pub(crate) fn arrange(&self, args: &[&str]) {
        let ran = self.installation.plane.admin.kubectl(&[args, &["-n", &self.namespace]].concat());
        assert!(ran.ok(), "{args:?}: {ran}");
    }

    /// Creates `object` in the namespace as the tenant, and asserts that it is created.
    pub(crate) fn arrange_as_tenant(&self, object: &Value) {
        let args = ["create", "-n", &self.namespace, "-f", "-"];
        let ran = self.installation.tenant.kubectl_in(&args, &object.to_string());
        assert!(ran.ok(), "{ran}");
    }

    /// The name of the only `ReplicaSet` with this image.
    pub(crate) fn replica_set(&self, image: &str) -> String {
        let mut sets = self.list("replicasets");
        sets.retain(|set| set["spec"]["template"]["spec"]["containers"][0]["image"] == image);
        assert_eq!(sets.len(), 1, "ReplicaSets with {image}: {sets:?}");
        text(&sets[0]["metadata"]["name"])
    }

    /// The state that an attempt could change.
    pub(crate) fn snapshot(&self) -> Snapshot {
        self.installation.plane.block_on(Snapshot::take(&self.admin, &self.namespace))
    }

    /// The records about the namespace so far.
    pub(crate) fn records(&self) -> Vec<Value> {
        self.installation.webhook.records(|record| record["object"]["namespace"] == self.namespace.as_str())
    }

    /// A correct statement about `object`, with a new id.
    pub(crate) fn statement(&self, object: &Value) -> Value {
        let key = object.to_string();
        let known = self.statements.lock().expect("no thread panics while it holds the lock").get(&key).cloned();
        let mut statement = known.unwrap_or_else(|| self.governed.statement(object));
        statement["predicate"]["id"] = json!(uuid::Uuid::now_v7().to_string());
        self.statements.lock().expect("no thread panics while it holds the lock").insert(key, statement.clone());
        statement
    }

    /// `object` with a valid approval by Bob.
    pub(crate) fn approved(&self, object: &Value) -> Value {
        attach(object, &self.signed_but(object, |_| {}))
    }

    /// A correct statement about `object`, changed by `wrong` and signed by Bob.
    pub(crate) fn signed_but(&self, object: &Value, wrong: impl FnOnce(&mut Value)) -> String {
        let mut statement = self.statement(object);
        wrong(&mut statement);
        envelope(&statement, &[&self.bob])
    }

    /// Starts an attempt for a row of the catalogue.
    pub(crate) fn row(&self, number: u32, attempt: impl Into<String>) -> Row<'_, 'g> {
        Row { ns: self, by: self.installation.tenant.clone(), note: Note::new(number, attempt.into(), self.location) }
    }
}

/// A row without an attempt here: a documented limit, or one that another test shows.
#[track_caller]
pub(crate) fn row(number: u32, attempt: impl Into<String>) -> Note {
    Note::new(number, attempt.into(), Location::caller())
}

/// A line of the table whose outcome is not known yet.
#[must_use]
pub(crate) struct Note {
    number: u32,
    attempt: String,
    location: &'static Location<'static>,
}

impl Note {
    fn new(number: u32, attempt: String, location: &'static Location<'static>) -> Self {
        Self { number, attempt, location }
    }

    fn keep(self, outcome: &str, code: &str) {
        let shown = format!("`{}`", self.location.file());
        self.keep_shown(outcome, code, shown);
    }

    fn keep_shown(self, outcome: &str, code: &str, shown: String) {
        let code = if code.is_empty() { String::new() } else { format!("`{code}`") };
        let position = (self.location.file(), self.location.line(), table::next_in_order());
        let attempt = self.attempt;
        table::note(Line { number: self.number, position, attempt, outcome: outcome.to_owned(), code, shown });
    }

    /// Notes a documented limit. `sentence` is the sentence of the threat model that says so.
    pub(crate) fn limit(self, sentence: &str) {
        const MODEL: &str = include_str!("../../../docs/threat-model.md");
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words(MODEL).contains(&words(sentence)), "docs/threat-model.md lacks: {sentence}");
        self.keep_shown("documented limit", "", "[threat model](threat-model.md#where-it-ends)".to_owned());
    }

    /// Notes an outcome that the test `test` in `file` shows.
    pub(crate) fn shown_by(self, outcome: &str, file: &str, test: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let source = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{file}: {e}"));
        assert!(source.contains(&format!("fn {test}(")), "{file} has no test {test}");
        self.keep_shown(outcome, "", format!("`{file}`: `{test}`"));
    }
}

/// An attempt before it is made, and who makes it.
#[must_use]
pub(crate) struct Row<'r, 'g> {
    ns: &'r TenantNamespace<'g>,
    by: User,
    note: Note,
}

impl<'r, 'g> Row<'r, 'g> {
    /// Replaces the tenant with another user.
    pub(crate) fn by(mut self, user: &User) -> Self {
        self.by = user.clone();
        self
    }

    /// Runs kubectl in the namespace.
    pub(crate) fn kubectl(self, args: &[&str]) -> Attempt<'r, 'g> {
        self.kubectl_in(args, "")
    }

    /// Runs kubectl in the namespace, with `input` on its standard input.
    pub(crate) fn kubectl_in(self, args: &[&str], input: &str) -> Attempt<'r, 'g> {
        let namespace = self.ns.namespace.clone();
        // kubectl accepts `--raw`, whose path has the namespace, only without `-n`.
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

    /// Makes the attempt with any function.
    pub(crate) fn tries(self, act: impl FnOnce(&User) -> Ran) -> Attempt<'r, 'g> {
        let before = self.ns.snapshot();
        let known = self.ns.records().len();
        let ran = act(&self.by);
        Attempt { ns: self.ns, by: self.by, note: self.note, ran, before, known }
    }
}

/// An attempt that was made, before its outcome is asserted.
#[must_use]
pub(crate) struct Attempt<'r, 'g> {
    ns: &'r TenantNamespace<'g>,
    by: User,
    note: Note,
    pub(crate) ran: Ran,
    before: Snapshot,
    known: usize,
}

impl Attempt<'_, '_> {
    /// Asserts that the webhook denied the request with `code` as the first reason and recorded that, and that nothing in the
    /// namespace changed.
    pub(crate) fn denied(self, code: &str) {
        self.nothing_changed();
        self.denied_but(code);
    }

    /// As `denied`, for a command of which the webhook decides only a part. The test asserts the state.
    pub(crate) fn denied_but(self, code: &str) {
        let (webhook, message) = self.denial();
        assert!(
            ["workloads.writgate.dev", "connect.writgate.dev", "wake-ups.writgate.dev"].contains(&webhook),
            "{self}"
        );
        let first = message.lines().nth(1).and_then(|line| line.split(':').next());
        assert_eq!(first, Some(code), "{self}");
        let records = self.records();
        let recorded = records.iter().any(|record| record["decision"] == "denied" && record["reasons"][0] == code);
        assert!(recorded, "{self}\nno record of the denial: {records:?}");
        self.note.keep("denied", code);
    }

    /// Asserts that the API server performed the request, that it was not an action, and that what runs is unchanged.
    pub(crate) fn unchanged(self) {
        assert!(self.ran.ok(), "{self}");
        let recorded: Vec<Value> = self.records();
        assert_eq!(recorded, Vec::<Value>::new(), "{self}\nexpected no record, since the request is not an action");
        self.runs_as_before();
        self.note.keep("unchanged", "");
    }

    /// Asserts that the API server performed the request, and that the webhook then denied `controller` with `code`.
    pub(crate) fn denied_to(self, controller: &str, code: &str) {
        assert!(self.ran.ok(), "{self}");
        wait_until(&format!("{self}\n{controller} is denied with {code}"), PATIENCE, || {
            let records = self.ns.records();
            let denied = |record: &Value| record["initiator"]["username"] == controller && record["reasons"][0] == code;
            records.iter().any(denied).then_some(())
        });
        self.nothing_changed();
        self.note.keep("denied", code);
    }

    /// Asserts that the request was admitted, with or without an approval, and that one record says so. Returns the record.
    pub(crate) fn admitted(self) -> Value {
        assert!(self.ran.ok(), "{self}");
        let records = self.records();
        let admitted: Vec<&Value> = records.iter().filter(|record| record["decision"] == "admitted").collect();
        assert_eq!(admitted.len(), 1, "{self}\nexpected one record of the admission: {records:?}");
        let record = admitted[0].clone();
        assert_eq!(record["initiator"]["username"], self.by.name.as_str(), "{record}");
        assert!(record["approvals"][0]["id"].is_string() || record["approvalRequired"] == false, "{record}");
        self.note.keep("admitted and recorded", "");
        record
    }

    /// Asserts that the API server itself refused the request with `reason`, and that nothing changed.
    pub(crate) fn refused(self, reason: &str) {
        assert!(!self.ran.ok(), "{self}");
        let text = if reason == "Invalid" { " is invalid: ".to_owned() } else { format!("({reason})") };
        assert!(self.ran.stderr.contains(&text), "expected {reason}: {self}");
        assert!(!self.ran.stderr.contains("denied the request"), "a webhook denied the request: {self}");
        self.nothing_changed();
        self.note.keep("refused by the API server", reason);
    }

    /// Asserts that the API server refused the request because the webhook did not answer; `why` is the cause that it names.
    pub(crate) fn unanswered(self, why: &str) {
        assert!(self.ran.stderr.contains("failed calling webhook \"workloads.writgate.dev\""), "{self}");
        assert!(self.ran.stderr.contains(why), "expected {why}: {self}");
        self.nothing_changed();
        self.note.keep("refused by the API server", "failed calling webhook");
    }

    /// Asserts that a call without the API server stored nothing.
    pub(crate) fn unpersisted(self) {
        self.nothing_changed();
        self.note.keep("unchanged", "NotPersisted");
    }

    /// Asserts that the attempt succeeded, and that the threat model says so in `sentence`.
    pub(crate) fn limit(self, sentence: &str) {
        assert!(self.ran.ok(), "{self}");
        self.note.limit(sentence);
    }

    /// Asserts that a guard denied the request with `code` and recorded that, and that nothing changed.
    pub(crate) fn guarded(self, code: &str) {
        let (webhook, message) = self.denial();
        assert!(webhook != "workloads.writgate.dev" && webhook.ends_with(".writgate.dev"), "{self}");
        assert_eq!(message.lines().nth(1).and_then(|line| line.split(':').next()), Some(code), "{self}");
        let by = self.by.name.as_str();
        let denied = |record: &Value| record["initiator"]["username"] == by && record["reasons"][0] == code;
        assert!(!self.ns.installation.webhook.records(denied).is_empty(), "{self}\nno record of the denial");
        self.nothing_changed();
        self.note.keep("guarded", code);
    }

    /// Asserts that the admission policy `policy` denied the request, and that nothing changed.
    pub(crate) fn guarded_by_policy(self, policy: &str) {
        let by = format!("ValidatingAdmissionPolicy '{policy}'");
        assert!(!self.ran.ok() && self.ran.stderr.contains(&by), "expected {by}: {self}");
        self.nothing_changed();
        self.note.keep("guarded", policy);
    }

    /// The records of this attempt, without those of controllers that act at the same time.
    fn records(&self) -> Vec<Value> {
        let mut records = self.ns.records().split_off(self.known);
        records.retain(|record| record["initiator"]["username"] == self.by.name.as_str());
        records
    }

    fn denial(&self) -> (&str, &str) {
        let denial = self.ran.stderr.split_once("admission webhook \"").filter(|_| !self.ran.ok());
        denial
            .and_then(|(_, rest)| rest.split_once("\" denied the request: "))
            .unwrap_or_else(|| panic!("no webhook denied the request: {self}"))
    }

    fn nothing_changed(&self) {
        let after = self.ns.snapshot();
        assert!(self.before == after, "{self}\nthe namespace changed\nbefore {}\nafter  {after}", self.before);
    }

    fn runs_as_before(&self) {
        let after = self.ns.snapshot();
        let new: Vec<&str> = after.live().difference(&self.before.live()).copied().collect();
        assert!(new.is_empty(), "{self}\nother content runs: {new:?}");
    }
}

impl fmt::Display for Attempt<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "row {}, {} by {}: {}", self.note.number, self.note.attempt, self.by.name, self.ran)
    }
}

/// The image that a tenant tries to run without an approval.
pub(crate) const EVIL: &str = "ghcr.io/acme/orders:6.6.6";
/// The image of `Governed::deployment`.
pub(crate) const GOOD: &str = "ghcr.io/acme/orders:1.4.2";

/// `object` with its container's image replaced.
pub(crate) fn with_image(object: &Value, image: &str) -> Value {
    let mut object = object.clone();
    object["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
    object
}

/// An object of another kind with the pod template of a Deployment.
pub(crate) fn as_kind(deployment: &Value, api_version: &str, kind: &str, more: Value) -> Value {
    let mut spec = json!({"selector": deployment["spec"]["selector"], "template": deployment["spec"]["template"]});
    if let (Value::Object(spec), Value::Object(more)) = (&mut spec, more) {
        spec.extend(more);
    }
    json!({"apiVersion": api_version, "kind": kind, "metadata": deployment["metadata"], "spec": spec})
}

/// The text of a value that must be text.
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is not text")).to_owned()
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
