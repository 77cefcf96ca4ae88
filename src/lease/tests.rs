use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use axum::http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use kube::client::Body;
use serde_json::{Value, json};
use tower::service_fn;

use super::*;

/// An API server with one Lease, which refuses everything if a status is set.
#[derive(Clone, Default)]
struct Server {
    lease: Arc<Mutex<Option<Value>>>,
    refuses: Arc<Mutex<Option<u16>>>,
}

impl Server {
    fn client(&self) -> Client {
        let server = self.clone();
        let service = service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.expect("a body").to_bytes();
                Ok::<_, Infallible>(server.answer(&head.method, &body))
            }
        });
        Client::new(service, "default")
    }

    fn answer(&self, method: &Method, body: &[u8]) -> Response<Body> {
        let status = |code: u16| {
            let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": "no",
                "reason": if code == 404 { "NotFound" } else { "Other" }});
            Response::builder().status(code).body(Body::from(body.to_string().into_bytes())).expect("a response")
        };
        if let Some(code) = *self.refuses.lock().expect("no panic") {
            return status(code);
        }
        let mut lease = self.lease.lock().expect("no panic");
        let version =
            |lease: &Value| lease["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse::<u64>().ok());
        if *method != Method::GET {
            let mut written: Value = serde_json::from_slice(body).expect("JSON");
            let stored = lease.as_ref().and_then(version);
            if *method == Method::POST && stored.is_some() || *method == Method::PUT && version(&written) != stored {
                return status(409);
            }
            written["metadata"]["resourceVersion"] = (stored.unwrap_or(0) + 1).to_string().into();
            *lease = Some(written);
        }
        match &*lease {
            Some(lease) => Response::new(Body::from(lease.to_string().into_bytes())),
            None => status(404),
        }
    }

    fn refuse(&self, code: Option<u16>) {
        *self.refuses.lock().expect("no panic") = code;
    }

    fn set(&self, spec: &Value) {
        let mut lease = self.lease.lock().expect("no panic");
        let version = lease.as_ref().map_or(7, |lease| {
            lease["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse::<u64>().ok()).unwrap_or(7) + 1
        });
        let metadata = json!({"name": "writgate-webhook", "namespace": "s", "resourceVersion": version.to_string()});
        *lease =
            Some(json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}));
    }

    fn spec(&self) -> Value {
        self.lease.lock().expect("no panic").as_ref().expect("a Lease")["spec"].clone()
    }

    fn competitor(&self, identity: &str) -> (Competitor, Holding) {
        let (held_until, holding) = watch::channel(None);
        let competitor = Competitor {
            leases: Api::namespaced(self.client(), "s"),
            name: "writgate-webhook".to_owned(),
            identity: identity.to_owned(),
            metrics: Metrics::default(),
            held_until,
            seen: None,
            failure: LastingFailure::default(),
            holder: None,
        };
        (competitor, Holding(holding))
    }
}

fn just_before(end: Duration) -> Duration {
    end.saturating_sub(Duration::from_secs(1))
}

async fn round(competitor: &mut Competitor) -> Option<String> {
    let failure = competitor.round().await.err();
    competitor.report(failure.clone());
    failure
}

#[tokio::test(start_paused = true)]
async fn the_first_replica_creates_the_lease_and_the_second_waits_for_its_end() {
    let server = Server::default();
    let ((mut one, held_by_one), (mut two, held_by_two)) = (server.competitor("one"), server.competitor("two"));
    assert_eq!(round(&mut one).await, None);
    assert_eq!(round(&mut two).await, None);
    assert!(held_by_one.is_held() && !held_by_two.is_held());
    // A holder that renews it keeps it.
    for _ in 0..20 {
        sleep(PAUSE).await;
        assert_eq!((round(&mut one).await, round(&mut two).await), (None, None));
        assert!(held_by_one.is_held() && !held_by_two.is_held());
    }
    assert_eq!(server.spec()["leaseTransitions"], 1);
    // The holder is gone.
    sleep(just_before(TERM)).await;
    round(&mut two).await;
    assert!(!held_by_one.is_held(), "it stops before another replica begins");
    assert!(!held_by_two.is_held());
    sleep(Duration::from_secs(1)).await;
    round(&mut two).await;
    assert!(held_by_two.is_held());
    assert_eq!(
        (server.spec()["holderIdentity"].clone(), server.spec()["leaseTransitions"].clone()),
        ("two".into(), 2.into())
    );
    // The old holder comes back.
    round(&mut one).await;
    assert!(!held_by_one.is_held() && held_by_two.is_held());
}

/// The wall clock of the holder may be years off, and may jump.
#[tokio::test(start_paused = true)]
async fn the_times_in_the_lease_do_not_matter() {
    for time in ["1971-01-01T00:00:00.000000Z", "2999-01-01T00:00:00.000000Z"] {
        let server = Server::default();
        let (mut two, held) = server.competitor("two");
        let spec = |renewals: u32| json!({"holderIdentity": "one", "leaseDurationSeconds": 15, "renewTime": time, "leaseTransitions": renewals});
        for renewals in 0..5 {
            server.set(&spec(renewals));
            round(&mut two).await;
            assert!(!held.is_held(), "the holder of {time} renews it");
            sleep(just_before(TERM)).await;
        }
        sleep(Duration::from_secs(1)).await;
        round(&mut two).await;
        assert!(held.is_held(), "the holder of {time} stopped");
    }
}

#[tokio::test(start_paused = true)]
async fn a_duration_of_years_is_cut() {
    let server = Server::default();
    let (mut two, held) = server.competitor("two");
    server.set(&json!({"holderIdentity": "one", "leaseDurationSeconds": i32::MAX}));
    round(&mut two).await;
    sleep(just_before(LONGEST_TERM)).await;
    round(&mut two).await;
    assert!(!held.is_held());
    sleep(Duration::from_secs(1)).await;
    round(&mut two).await;
    assert!(held.is_held());
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_loses_its_rights_stops_and_says_so() {
    let server = Server::default();
    let (mut one, held) = server.competitor("one");
    round(&mut one).await;
    server.refuse(Some(403));
    sleep(PAUSE).await;
    let why = round(&mut one).await.expect("a failure");
    assert!(why.contains("Lease writgate-webhook cannot be read") && why.contains("Role writgate-webhook"), "{why}");
    assert!(held.is_held(), "its last renewal still counts");
    sleep(HELD.saturating_sub(PAUSE)).await;
    assert!(!held.is_held());
    server.refuse(None);
    assert_eq!(round(&mut one).await, None);
    assert!(held.is_held());
}

#[tokio::test(start_paused = true)]
async fn of_two_replicas_that_take_it_together_one_holds_it() {
    let server = Server::default();
    let ((mut one, held_by_one), (mut two, held_by_two)) = (server.competitor("one"), server.competitor("two"));
    let (first, second) = tokio::join!(one.round(), two.round());
    assert_eq!((first, second), (Ok(()), Ok(())));
    assert!(held_by_one.is_held() ^ held_by_two.is_held());
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_stops_gives_it_up_and_another_takes_it_at_once() {
    let server = Server::default();
    let ((mut one, held_by_one), (mut two, held_by_two)) = (server.competitor("one"), server.competitor("two"));
    round(&mut one).await;
    round(&mut two).await;
    two.give_up().await;
    assert_eq!(server.spec()["holderIdentity"], "one", "only the holder empties it");
    one.give_up().await;
    assert!(!held_by_one.is_held());
    round(&mut two).await;
    assert!(held_by_two.is_held());
}
