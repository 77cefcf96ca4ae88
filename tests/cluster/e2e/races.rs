//! Simultaneous uses of one single-use approval, by several replicas and through the API server: exactly one is admitted.

use std::time::Duration;

use futures::StreamExt as _;
use futures::future::join_all;
use k8s_openapi::api::batch::v1::Job;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::{Value, json};
use uuid::Uuid;

use writgate_testing::harness::{Test, tests};
use writgate_testing::{Governed, Installation, Webhook, attach, envelope};

pub(crate) fn tests() -> Vec<Test<Installation>> {
    tests![replicas_admit_one_of_many_simultaneous_uses, the_api_server_admits_one_of_many_simultaneous_uses]
}

/// Replicas of the webhook. Each race sends one request to each.
const REPLICAS: usize = 3;
/// Races in flight.
const AT_ONCE: usize = 8;
/// Races through the API server, and the requests in each.
const THROUGH_THE_API_SERVER: usize = 40;
const CONTENDERS: usize = 5;

fn replicas_admit_one_of_many_simultaneous_uses(installation: &Installation) {
    let races = std::env::var("WRITGATE_RACES").map_or(1000, |races| races.parse().expect("a number of races"));
    let governed = installation.governed("races");
    let replicas: Vec<Webhook> =
        (0..REPLICAS).map(|n| Webhook::replica(&installation.plane, &format!("replica-{n}"))).collect();
    let race = Race::new(&governed);
    let admitted: Vec<usize> = installation.plane.block_on(async {
        let clients = join_all(replicas.iter().map(|replica| replica.client(&installation.plane))).await;
        for client in &clients {
            wait_in_force(&race, client).await;
        }
        run_off(races, || race.run(&clients)).await
    });
    replicas.into_iter().for_each(Webhook::kill);
    assert_each_admits_one(&admitted, races);
}

fn the_api_server_admits_one_of_many_simultaneous_uses(installation: &Installation) {
    let governed = installation.governed("crowd");
    let race = Race::new(&governed);
    let admitted: Vec<usize> = installation.plane.block_on(async {
        let params = PostParams::default();
        let jobs: Api<Job> = Api::namespaced(installation.operator.client().await, &governed.namespace);
        let create = async || {
            let job: Job = serde_json::from_value(race.approved(&race.manifest)).expect("a Job");
            let created = join_all((0..CONTENDERS).map(|_| jobs.create(&params, &job))).await;
            let refusals = created.iter().filter_map(|created| created.as_ref().err()).map(ToString::to_string);
            Ran { admitted: created.iter().filter(|created| created.is_ok()).count(), refusals: refusals.collect() }
        };
        run_off(THROUGH_THE_API_SERVER, create).await
    });
    assert_each_admits_one(&admitted, THROUGH_THE_API_SERVER);
}

/// How a race ended.
struct Ran {
    admitted: usize,
    refusals: Vec<String>,
}

/// Runs `races` races, and returns the number of admissions in each. On a busy machine a lookup can time out, which denies the
/// request, so a race may admit nothing; such a race is run again. A race that admits two is never run again.
async fn run_off<F: Future<Output = Ran>>(races: usize, run: impl Fn() -> F) -> Vec<usize> {
    let run = futures::stream::iter(0..2 * races).map(|_| run()).buffer_unordered(AT_ONCE);
    let decided = run.filter_map(|ran| async move {
        let failed = |refusal: &&String| refusal.contains("LookupFailed");
        let failures = ran.refusals.iter().filter(failed).count();
        let other = ran.refusals.iter().find(|refusal| !failed(refusal) && !refusal.contains("AlreadyUsed"));
        assert!(other.is_none(), "{other:?}");
        (failures == 0 || ran.admitted > 1).then_some(ran.admitted)
    });
    decided.take(races).collect().await
}

fn assert_each_admits_one(admitted: &[usize], races: usize) {
    assert_eq!(admitted.len(), races, "too many races were undecided");
    let wrong: Vec<_> = admitted.iter().filter(|&&admitted| admitted != 1).collect();
    assert!(wrong.is_empty(), "of {races} races, {} did not admit exactly one: {wrong:?}", wrong.len());
}

/// The object and the approval of the races.
struct Race<'a> {
    governed: &'a Governed<'a>,
    /// A Job with a generated name, as a user writes it.
    manifest: Value,
    /// The Job as the API server sends it.
    object: Value,
    /// The statement of its approval. Each race uses it with another id.
    statement: Value,
}

impl<'a> Race<'a> {
    fn new(governed: &'a Governed<'a>) -> Self {
        let mut manifest = governed.replay_job("replay");
        manifest["metadata"].as_object_mut().expect("metadata").remove("name");
        manifest["metadata"]["generateName"] = json!("replay-");
        let mut object = governed.installation.defaulted(&manifest);
        object["metadata"]["namespace"] = json!(governed.namespace);
        let statement = governed.statement(&manifest);
        Self { governed, manifest, object, statement }
    }

    /// `object` with an approval of its own.
    fn approved(&self, object: &Value) -> Value {
        let mut statement = self.statement.clone();
        statement["predicate"]["id"] = json!(Uuid::now_v7().to_string());
        attach(object, &envelope(&statement, &[&self.governed.bob]))
    }

    /// Sends Jobs with the same approval to all replicas at the same time.
    async fn run(&self, replicas: &[Client]) -> Ran {
        let object = self.approved(&self.object);
        let verdicts = join_all(replicas.iter().map(|replica| send(replica, self.review(&object)))).await;
        let (admitted, refused): (Vec<_>, Vec<_>) =
            verdicts.into_iter().partition(|verdict| verdict["allowed"] == true);
        Ran { admitted: admitted.len(), refusals: refused.iter().map(ToString::to_string).collect() }
    }

    /// The AdmissionReview of the creation of `object`, with a new name and uid.
    fn review(&self, object: &Value) -> Value {
        let uid = Uuid::new_v7(uuid::Timestamp::now(uuid::NoContext)).to_string();
        let letters: Vec<char> = "bcdfghjklmnpqrstvwxz2456789".chars().collect();
        let random = u128::from_str_radix(&uid.replace('-', ""), 16).expect("hexadecimal");
        let suffix: String =
            (0..5).map(|index| letters[usize::try_from((random >> (5 * index)) % 27).expect("small")]).collect();
        let mut object = object.clone();
        object["metadata"]["name"] = json!(format!("replay-{suffix}"));
        object["metadata"]["uid"] = json!(uid);
        let (kind, resource) = (
            json!({"group": "batch", "version": "v1", "kind": "Job"}),
            json!({"group": "batch", "version": "v1", "resource": "jobs"}),
        );
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
            "uid": Uuid::now_v7().to_string(), "kind": kind, "resource": resource, "requestKind": kind,
            "requestResource": resource, "name": object["metadata"]["name"], "namespace": self.governed.namespace,
            "operation": "CREATE", "userInfo": {"username": "alice", "groups": ["system:authenticated"]},
            "object": object, "oldObject": null, "dryRun": false,
            "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"}}})
    }
}

async fn send(replica: &Client, review: Value) -> Value {
    let request = axum::http::Request::post("/validate?timeout=10s").header("content-type", "application/json");
    let request = request.body(review.to_string().into_bytes()).expect("a request");
    let mut answer: Value = replica.request(request).await.expect("a replica answers");
    answer["response"].take()
}

/// Waits until a replica knows the posture. Every replica watches the cluster by itself.
async fn wait_in_force(race: &Race<'_>, replica: &Client) {
    for _ in 0..200 {
        let verdict = send(replica, race.review(&race.object)).await;
        if verdict["status"]["details"]["causes"][0]["reason"] == "ApprovalRequired" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the posture is not in force on a replica");
}
