//! Runs one random history on the API server, and compares each step with the model.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, PropagationPolicy};
use kube::core::GroupVersionKind;
use kube::discovery::ApiResource;
use serde_json::{Value, json};

use crate::model::attempts::make_strays;
use crate::model::verdict::{Answer, Approval, Attempt, Because, Name, REVISIONS, Step, WIDE, What, World};
use crate::model::witness::{self, Persisted};
use writgate_testing::random::Random;
use writgate_testing::{
    APPROVAL, Governed, Installation, SYSTEM_NAMESPACE, document, envelope, seconds_from_now, wait_until,
};

/// Lifetimes of approvals, in seconds: one that ends during the history, and one that does not.
const LIVES: [i64; 2] = [8, 3600];
/// The seconds before the expiry of an approval in which no step is made, since clocks could differ.
const BOUNDARY: i64 = 2;
const SPECS: usize = 4;

pub(super) struct Player<'g> {
    pub(super) governed: Governed<'g>,
    pub(super) random: Random,
    pub(super) world: World,
    /// The envelopes of the world's approvals.
    envelopes: Vec<(String, String)>,
    /// The name of the object and the answer to each action.
    pub(super) answers: Vec<(String, Answer)>,
    /// The specs and approvals of each Deployment, for rollbacks.
    ran: Vec<(Name, u8, Option<usize>)>,
    /// The objects that the API server returned as stored.
    pub(super) persisted: Persisted,
    client: kube::Client,
    /// RBAC refuses the administrator nothing.
    pub(super) admin: kube::Client,
    /// The attempts that were refused as expected.
    pub(super) refused: BTreeSet<Attempt>,
    pub(super) log: Vec<String>,
}

/// Runs `steps` steps of the history of `seed`. Returns the attempts that were refused.
pub(crate) fn play(installation: &Installation, seed: u64, steps: u64) -> BTreeSet<Attempt> {
    let governed = installation.governed_with("model", |posture| {
        let environment = posture["environment"].as_str().expect("text").to_owned();
        posture["rollback"] = json!({"within": "1h", "revisions": REVISIONS});
        posture["actions"] = json!({"deploy": {"maxLifetime": "24h"}});
        posture["revocationLists"] = json!([format!("revocations-{environment}")]);
        let none = json!({"apiVersion": "writgate.dev/v1", "kind": "Revocations"});
        installation.plane.install(&[document("revocations", &format!("revocations-{environment}"), &none)]);
    });
    let client = installation.plane.block_on(installation.operator.client());
    let admin = installation.plane.block_on(installation.plane.admin.client());
    make_strays(&governed);
    let watched = witness::watch(installation, &governed.namespace);
    let mut player = Player {
        governed,
        random: Random::new(seed),
        world: World::default(),
        envelopes: Vec::new(),
        answers: Vec::new(),
        ran: Vec::new(),
        persisted: Persisted::new(),
        client,
        admin,
        refused: BTreeSet::new(),
        log: vec![format!("seed {seed}")],
    };
    for _ in 0..steps {
        player.turn();
    }
    let log = player.log.join("\n");
    witness::check_trail(&player.governed, &player.answers, &log);
    // The watch saw every stored state, and not only the state after each step.
    let stored = || watched.lock().expect("no thread panics while it holds the lock").clone();
    let length = |persisted: &Persisted| persisted.values().map(Vec::len).sum::<usize>();
    wait_until("the watch has caught up", Duration::from_secs(10), || {
        (length(&stored()) >= length(&player.persisted)).then_some(())
    });
    assert_eq!(stored(), player.persisted, "{log}");
    player.refused
}

impl Player<'_> {
    fn turn(&mut self) {
        self.wait_for_clear_times();
        match self.random.below(14) {
            0 => return self.revoke(),
            1 => return self.wait_for_an_end(),
            2 | 3 => return self.attempt(),
            _ => {}
        }
        let step = self.choose();
        let answer = self.world.answer(step);
        self.log.push(format!("{step:?} => {answer:?} at {}", self.world.now));
        let before = self.admissions(step.0).len();
        let did = self.governed.installation.plane.block_on(self.act(step));
        let actual = match &did {
            Ok(_) => Answer::NotAnAction,
            Err(message) => Answer::Denied(code_of(message)),
        };
        let allowed = |answer: Answer| !matches!(answer, Answer::Denied(_));
        let log = self.log.join("\n");
        assert_eq!(allowed(actual), allowed(answer), "{log}\n{did:?}");
        if !allowed(answer) {
            assert_eq!(actual, answer, "{log}\n{did:?}");
        }
        self.world.commit(step, answer);
        if answer != Answer::NotAnAction {
            self.answers.push((text(step.0).to_owned(), answer));
        }
        if let Ok(Some(object)) = &did {
            witness::note(&mut self.persisted, object);
            let name = step.0;
            let now = self.world.objects[&name];
            assert_eq!(self.persisted[text(name)].last().map(|(_, spec)| *spec), Some(now.spec), "{log}");
            self.ran.push((name, now.spec, now.approval));
        }
        if let Answer::Admitted(because) = answer {
            self.wait_for_confirmation(step.0, before);
            if because == Because::Approved {
                self.wait_for_note(step);
            }
        }
    }

    /// A step that the API server itself does not refuse.
    fn choose(&mut self) -> Step {
        let name = self.random.pick(&Name::ALL);
        let what = match self.world.objects.get(&name).copied() {
            None if name.is_replay() => {
                let approval = self.approval_for(name, 0);
                What::Create(approval, self.random.chance(40))
            }
            None if self.random.chance(20) => {
                let spec = self.spec();
                What::Apply(WIDE + spec, self.approval_for(name, spec))
            }
            None => self.apply(name),
            Some(now) => match self.random.below(8) {
                0 if !name.is_replay() && self.random.chance(50) => What::Orphan,
                0 => What::Delete,
                1 if name.is_replay() && self.random.chance(50) => What::Relabel,
                1 => What::Bookkeeping,
                2 | 3 if now.held => What::Release,
                2 | 3 => What::Hold,
                _ if name.is_replay() && now.held => What::Release,
                _ if name.is_replay() => What::Hold,
                4 => What::SetImage(self.spec()),
                _ => self.apply(name),
            },
        };
        Step(name, what)
    }

    /// Another spec of a Deployment, or the spec before the last change.
    fn apply(&mut self, name: Name) -> What {
        let before = self.ran.iter().rev().filter(|ran| ran.0 == name).nth(1).copied();
        if let Some((_, spec, approval)) = before.filter(|_| self.random.chance(25)) {
            return What::Apply(spec, approval);
        }
        let spec = self.spec();
        What::Apply(spec, self.approval_for(name, spec))
    }

    fn spec(&mut self) -> u8 {
        u8::try_from(self.random.below(SPECS)).expect("small")
    }

    /// Usually a new valid approval, sometimes an earlier one, sometimes none.
    fn approval_for(&mut self, name: Name, spec: u8) -> Option<usize> {
        match self.random.below(10) {
            0 => None,
            1..=3 if !self.envelopes.is_empty() => Some(self.random.below(self.envelopes.len())),
            _ => {
                let life = self.random.pick(&LIVES);
                let mut statement = self.governed.statement(&self.manifest(name, spec, None, false));
                statement["predicate"]["expiresAt"] = json!(seconds_from_now(life));
                let expires: Timestamp =
                    statement["predicate"]["expiresAt"].as_str().expect("text").parse().expect("a time");
                let id = statement["predicate"]["id"].as_str().expect("text").to_owned();
                self.envelopes.push((id, envelope(&statement, &[&self.governed.bob])));
                self.world.approvals.push(Approval { name, spec, expires: expires.as_second(), revoked: false });
                Some(self.envelopes.len() - 1)
            }
        }
    }

    fn manifest(&self, name: Name, spec: u8, approval: Option<usize>, held: bool) -> Value {
        let mut manifest =
            if name.is_replay() { self.governed.replay_job(text(name)) } else { self.governed.deployment(text(name)) };
        if held {
            manifest["spec"]["suspend"] = json!(true);
        }
        let image = &mut manifest["spec"]["template"]["spec"]["containers"][0]["image"];
        *image = json!(format!("{}-{}", image.as_str().expect("text"), spec % WIDE));
        if spec >= WIDE {
            manifest["spec"]["selector"] = json!({"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]});
        }
        if let Some(index) = approval {
            manifest["metadata"]["annotations"][APPROVAL] = json!(self.envelopes[index].1);
        }
        manifest
    }

    /// Makes a step as the operator. The error is the message of the API server.
    async fn act(&self, Step(name, what): Step) -> Result<Option<DynamicObject>, String> {
        let objects = self.objects(name);
        let object = |value: Value| serde_json::from_value::<DynamicObject>(value).expect("an object");
        let merge = async |patch: Value| {
            objects.patch(text(name), &PatchParams::default(), &Patch::Merge(patch)).await.map(Some)
        };
        let held = |held: bool| {
            let field = if name.is_replay() { "suspend" } else { "paused" };
            json!({"spec": {field: held}})
        };
        let done = match what {
            What::Apply(spec, approval) => {
                let manifest = self.manifest(name, spec, approval, false);
                objects.patch(text(name), &PatchParams::apply("model").force(), &Patch::Apply(manifest)).await.map(Some)
            }
            What::Create(approval, held) => {
                let manifest = object(self.manifest(name, 0, approval, held));
                objects.create(&PostParams::default(), &manifest).await.map(Some)
            }
            What::SetImage(spec) => {
                let containers =
                    self.manifest(name, spec, None, false)["spec"]["template"]["spec"]["containers"].take();
                merge(json!({"spec": {"template": {"spec": {"containers": containers}}}})).await
            }
            What::Hold => merge(held(true)).await,
            What::Release => merge(held(false)).await,
            What::Bookkeeping if name.is_replay() => merge(json!({"metadata": {"annotations": {"seen": "yes"}}})).await,
            What::Bookkeeping => merge(json!({"metadata": {"labels": {"seen": "yes"}}, "spec": {"replicas": 2}})).await,
            What::Relabel => {
                // Two writes of the metadata by one manager in one second have one Event: `managedFields` do not tell them apart.
                tokio::time::sleep(Duration::from_millis(1100)).await;
                merge(json!({"metadata": {"labels": {"seen": self.log.len().to_string()}}})).await
            }
            What::Delete => delete(&objects, text(name), PropagationPolicy::Background).await,
            What::Orphan => delete(&objects, text(name), PropagationPolicy::Orphan).await,
        };
        done.map_err(message_of)
    }

    pub(super) fn objects(&self, name: Name) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.governed.namespace, &resource(name.is_replay()))
    }

    /// Revokes an approval, or sometimes a spec, and waits until the revocation is in force.
    fn revoke(&mut self) {
        let before = self.revocations();
        if self.random.chance(20) {
            let spec = self.spec();
            self.world.revoked_specs.insert(spec);
        } else if !self.envelopes.is_empty() {
            let index = self.random.below(self.envelopes.len());
            self.world.approvals[index].revoked = true;
        }
        let list = self.revocations();
        if list == before {
            return;
        }
        self.log.push(format!("revoked: {:?} and specs {:?}", self.revoked(), self.world.revoked_specs));
        let version = self.posture_version().expect("a posture is in force");
        let name = format!("revocations-{}", self.governed.environment);
        self.governed.installation.plane.install(&[document("revocations", &name, &list)]);
        wait_until("the revocation is in force", Duration::from_secs(20), || {
            self.posture_version().filter(|now| *now != version)
        });
    }

    fn revocations(&self) -> Value {
        let hash = |spec: &u8| {
            let manifest = self.manifest(Name::Orders, *spec, None, false);
            json!({"hash": writgate_core::approval::manifest_hash(&manifest).expect("a workload").1.to_string()})
        };
        let specs: Vec<Value> = self.world.revoked_specs.iter().map(hash).collect();
        let approvals: Vec<Value> = self.revoked().iter().map(|id| json!({"id": id})).collect();
        json!({"apiVersion": "writgate.dev/v1", "kind": "Revocations", "approvals": approvals, "specs": specs})
    }

    /// The version of the posture in force, from the record of a dry run.
    fn posture_version(&self) -> Option<String> {
        let probe = self.governed.deployment("probe").to_string();
        self.governed.installation.operator.kubectl_in(&["create", "--dry-run=server", "-f", "-"], &probe);
        let is_probe = |record: &Value| {
            record["object"]["namespace"] == self.governed.namespace.as_str() && record["object"]["name"] == "probe"
        };
        let record = self.governed.installation.webhook.records(is_probe).pop()?;
        record["postureVersion"].as_str().map(str::to_owned)
    }

    fn revoked(&self) -> Vec<String> {
        let approvals = self.world.approvals.iter().zip(&self.envelopes);
        approvals.filter(|(approval, _)| approval.revoked).map(|(_, (id, _))| id.clone()).collect()
    }

    /// Waits until the next approval has expired, if that is soon.
    fn wait_for_an_end(&mut self) {
        let ends = self.world.approvals.iter().map(|approval| approval.expires - self.world.now);
        if let Some(wait) = ends.filter(|wait| (0..=LIVES[0]).contains(wait)).min() {
            std::thread::sleep(Duration::from_secs(u64::try_from(wait).expect("not negative")));
        }
        self.wait_for_clear_times();
    }

    /// Waits until no approval is about to expire, and sets the model's time.
    fn wait_for_clear_times(&mut self) {
        loop {
            self.world.now = Timestamp::now().as_second();
            let close = |approval: &&Approval| (-1..=BOUNDARY).contains(&(approval.expires - self.world.now));
            if !self.world.approvals.iter().any(|approval| close(&approval)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// The recorded admissions of an object.
    fn admissions(&self, name: Name) -> Vec<Value> {
        self.governed.installation.webhook.records(|record| {
            record["object"]["namespace"] == self.governed.namespace.as_str()
                && record["object"]["name"] == text(name)
                && record["decision"] == "admitted"
        })
    }

    /// Waits until the webhook has seen the admitted object. An object that is replaced or deleted earlier is reported as not
    /// persisted. If a controller writes at the same time, the API server sends several reviews of one request, and the Event is
    /// about the first.
    fn wait_for_confirmation(&self, name: Name, before: usize) {
        let admissions = self.admissions(name);
        let id = admissions[before]["id"].as_str().expect("a record has an id");
        let what = format!("there is an Event of {id}:\n{}", self.log.join("\n"));
        wait_until(&what, Duration::from_secs(30), || witness::events(&self.governed, id).pop());
    }

    /// Waits until the history has the admission. The webhook writes it when it has seen the object, and a rollback requires it.
    fn wait_for_note(&self, step: Step) {
        let name = step.0;
        if name.is_replay() {
            return;
        }
        let manifest = self.manifest(name, self.world.objects[&name].spec, None, false);
        let hash = writgate_core::approval::manifest_hash(&manifest).expect("a workload").1.to_string();
        let noted = |entry: &Value| {
            let history: Value = serde_json::from_str(entry["data"]["history.json"].as_str()?).ok()?;
            let latest = &history["admissions"][0];
            let time: Timestamp = latest["time"].as_str()?.parse().ok()?;
            let is_this = latest["specHash"] == hash.as_str()
                && latest["environment"] == self.governed.environment.as_str()
                && time.as_second() >= self.world.now;
            is_this.then_some(())
        };
        wait_until("the admission is noted", Duration::from_secs(30), || {
            let ledger = ["configmaps", "-n", SYSTEM_NAMESPACE, "-l", "writgate.dev/kind=ledger"];
            self.governed.installation.plane.admin.get(&ledger)?["items"].as_array()?.iter().find_map(noted)
        });
    }
}

/// Deletes an object, and waits until it is gone.
async fn delete(
    objects: &Api<DynamicObject>,
    name: &str,
    policy: PropagationPolicy,
) -> Result<Option<DynamicObject>, kube::Error> {
    let uid = objects.get(name).await?.metadata.uid;
    objects.delete(name, &DeleteParams { propagation_policy: Some(policy), ..Default::default() }).await?;
    while objects.get_opt(name).await?.is_some_and(|left| left.metadata.uid == uid) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(None)
}

pub(super) fn message_of(error: kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message,
        error => panic!("{error}"),
    }
}

pub(crate) fn resource(replay: bool) -> ApiResource {
    let (group, kind) = if replay { ("batch", "Job") } else { ("apps", "Deployment") };
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind))
}

pub(crate) fn text(name: Name) -> &'static str {
    match name {
        Name::Orders => "orders",
        Name::Ledger => "ledger",
        Name::ReplayA => "replay-a",
        Name::ReplayB => "replay-b",
    }
}

/// The first reason of a denial, with which its second line starts.
pub(super) fn code_of(message: &str) -> &'static str {
    const CODES: [&str; 8] = [
        "WorkloadNotAllowed",
        "ApprovalRequired",
        "SpecHashMismatch",
        "WrongResource",
        "WrongAction",
        "Expired",
        "Revoked",
        "AlreadyUsed",
    ];
    let code = message.lines().nth(1).and_then(|line| line.split(':').next()).unwrap_or_default();
    CODES
        .into_iter()
        .find(|known| *known == code)
        .unwrap_or_else(|| panic!("a refusal that the model does not have: {message}"))
}
