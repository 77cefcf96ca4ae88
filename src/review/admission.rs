//! One AdmissionReview from its bytes to its response: parse, let core decide, record, and render.
//!
//! Nothing here is HTTP; the [router](crate::http::router) passes the bytes in and sends the response. A workload waits for
//! the API server only if its posture requires a lookup, or if its namespace is not cached as governed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;
use writgate_cluster::clock;
use writgate_cluster::names::webhook_user;
use writgate_cluster::namespace::NamespaceLabels;
use writgate_core::{
    decide::{self, Facts, Governance, ScaledWorkload, decide_malformed},
    guard::{self, GuardContext},
    kube::{WorkloadKind, WorkloadKinds},
    posture::{PostureError, PostureSet},
    record::{Basis, Decision, Outcome, UnplacedRecord},
    request::{ExemptControllers, Request},
    vocabulary::REPLAY_LABEL,
};

use crate::canary;
use crate::http::respond;
use crate::http::trace_parent::TraceParent;
use crate::metrics::{Metrics, Refusal, RequestLabels};
use crate::review::lookups::Lookups;
use crate::state::requests::{PostedSource, as_guard_reads};
use crate::state::store::Store;
use crate::trail::chain::Sealer;
use crate::trail::events::Events;
use crate::trail::events::event::DecidedRequest;
use crate::trail::events::persisted::Write;
use crate::trail::output::Output;

/// The default namespace of the postures.
const SYSTEM_NAMESPACE: &str = "writgate-system";

/// What it takes to decide and record a review.
pub struct Admission {
    store: Arc<Store>,
    lookups: Lookups,
    exempt: ExemptControllers,
    clock_leeway: SignedDuration,
    kinds: WorkloadKinds,
    posted: PostedSource,
    sealer: Sealer,
    output: Output,
    events: Option<Events>,
    metrics: Metrics,
    system_namespace: String,
    /// The API user of the webhook.
    user: String,
}

/// The endpoint that an AdmissionReview was sent to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Endpoint {
    /// `/validate`: may this workload run?
    Workload,
    /// `/guard`: may this object change that governance depends on?
    Guard,
}

/// A response without a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) reason: Refusal,
    pub(crate) why: String,
}

/// A decision, and the values that only its rendering requires.
struct DecidedReview {
    decision: Decision,
    /// The metric's label. Only an environment with a posture is a value of it, so the values are bounded.
    environment: Arc<str>,
    resource: String,
    workload: Option<WorkloadKind>,
    posture: Option<String>,
    write: Option<Write>,
    replay: Option<String>,
    /// The UUID of the canary, if the request is the canary and was denied.
    canary: Option<String>,
}

impl DecidedReview {
    /// `has_events` says whether the webhook writes Events.
    fn of(
        decision: Decision,
        request: &Request<'_>,
        postures: &PostureSet,
        environment: Arc<str>,
        has_events: bool,
    ) -> Self {
        let is_known = environment.is_empty() || postures.environment(&environment).is_ok();
        // Only the Event of an admission is compared with the stored object.
        let is_compared = has_events && decision.record.decision == Outcome::Admitted;
        let object = request.object.as_ref().filter(|_| is_compared);
        Self {
            write: object.and_then(|object| Write::of(object.metadata.managed_fields)),
            replay: object.and_then(|object| object.metadata.labels.get(REPLAY_LABEL)).map(str::to_owned),
            decision,
            posture: source_of(postures, &environment),
            environment: if is_known { environment } else { "other".into() },
            resource: request.resource.to_string(),
            workload: request.workload,
            canary: None,
        }
    }
}

impl Admission {
    /// Decides with `store`. Without a cluster there are no `events`, and `lookups` reads nothing live.
    #[must_use]
    pub fn new(
        store: Arc<Store>,
        lookups: Lookups,
        sealer: Sealer,
        output: Output,
        events: Option<Events>,
        metrics: Metrics,
    ) -> Self {
        let system_namespace = SYSTEM_NAMESPACE.to_owned();
        let (exempt, kinds, posted) = Default::default();
        let clock_leeway = SignedDuration::ZERO;
        let user = webhook_user(&system_namespace);
        Self {
            store,
            lookups,
            exempt,
            clock_leeway,
            kinds,
            posted,
            sealer,
            output,
            events,
            metrics,
            system_namespace,
            user,
        }
    }

    /// Replaces the exempt controllers, which are Kubernetes' own by default.
    #[must_use]
    pub fn with_exempt(self, exempt: ExemptControllers) -> Self {
        Self { exempt, ..self }
    }

    /// Admits an approval up to `leeway` before its `notBefore`. Without this, not a second before.
    #[must_use]
    pub fn with_clock_leeway(self, leeway: Duration) -> Self {
        Self { clock_leeway: SignedDuration::try_from(leeway).unwrap_or_default(), ..self }
    }

    /// Adds further kinds of workload.
    #[must_use]
    pub fn with_kinds(self, kinds: WorkloadKinds) -> Self {
        Self { kinds, ..self }
    }

    /// Replaces the source of the number of posted requests. Without this, none exist.
    #[must_use]
    pub fn with_posted(self, posted: PostedSource) -> Self {
        Self { posted, ..self }
    }

    /// Replaces the namespace of the postures.
    #[must_use]
    pub fn with_system_namespace(self, system_namespace: &str) -> Self {
        Self { system_namespace: system_namespace.to_owned(), user: webhook_user(system_namespace), ..self }
    }

    /// The metrics that it counts in.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The response to an AdmissionReview, as JSON. `trace` is what the caller says about its trace.
    pub(crate) async fn answer(
        &self,
        endpoint: Endpoint,
        body: &[u8],
        trace: Option<TraceParent>,
    ) -> Result<Vec<u8>, Refused> {
        let begun = Instant::now();
        let now = clock::now();
        let id = clock::decision_id(now);
        let (uid, mut decided) = match Request::parse_with(body, &self.kinds) {
            Ok(request) => {
                let mut decided = match endpoint {
                    Endpoint::Workload => self.decide_workload(&request, id, now).await,
                    Endpoint::Guard => self.decide_guarded(&request, id, now).await,
                };
                if !decided.decision.allowed() {
                    decided.canary = canary::nonce(&request, &self.user);
                }
                (Some(request.uid.to_string()), decided)
            }
            Err(malformed) => {
                let decision = decide_malformed(&malformed, id, now);
                let decided = DecidedReview {
                    decision,
                    environment: "".into(),
                    resource: String::new(),
                    workload: None,
                    posture: None,
                    write: None,
                    replay: None,
                    canary: None,
                };
                (malformed.uid, decided)
            }
        };
        if let (Some(nonce), Some(uid)) = (&decided.canary, &uid) {
            return Ok(self.answer_canary(uid, &decided.decision, nonce).await);
        }
        self.write_records(&mut decided.decision).await?;
        let decision = &decided.decision;
        if let Some(trace) = trace {
            log_trace(&trace, decision);
        }
        self.metrics.requests.get_or_create(&labels(&decided)).inc();
        if decision.record.basis == Some(Basis::BreakGlass) && !decision.record.dry_run {
            self.metrics.break_glass.inc();
        }
        let Some(uid) = uid else {
            return Err(Refused { reason: Refusal::Unreadable, why: format!("writgate: {}", decision.message()) });
        };
        let json = respond::response(&uid, decision);
        if let Some(events) = &self.events
            && DecidedRequest::has_event(decision)
        {
            let DecidedReview { decision, resource, workload, posture, write, replay, .. } = decided;
            events.submit(DecidedRequest { decision, resource, workload, posture, write, replay });
        }
        self.metrics.duration.observe(begun.elapsed().as_secs_f64());
        Ok(json)
    }

    /// The response to a canary that was denied. It leaves no record and is not counted, because there would be 11,520 a day
    /// at the default interval. The holder of the Lease reports it. If it is admitted, it is an ordinary request.
    async fn answer_canary(&self, uid: &str, decision: &Decision, nonce: &str) -> Vec<u8> {
        tracing::debug!(nonce, "{}", decision.summary());
        let proof = self.lookups.canary_mac(nonce).await.map(|mac| canary::proof(&mac));
        respond::response_to_canary(uid, decision, proof)
    }

    /// Writes the decision's record before the response, and stores it in the ledger if the posture requires that. If the
    /// ledger fails, a second decision denies, since the record of the admission is written already.
    async fn write_records(&self, decision: &mut Decision) -> Result<(), Refused> {
        if decision.record.decision == Outcome::NotAnAction {
            tracing::debug!(request = decision.record.request_uid, "{}", decision.summary());
            return Ok(());
        }
        self.record(decision).await?;
        if !decision.must_be_kept() {
            return Ok(());
        }
        let mut stored = decision.record.clone();
        self.sealer.sign(&mut stored);
        let Err(why) = Box::pin(self.lookups.store_record(&stored)).await else { return Ok(()) };
        tracing::error!(decision = %decision.record.id, why, "record not stored in the ledger");
        let now = clock::now();
        *decision = decision.clone().not_recorded(clock::decision_id(now), now, &why);
        self.record(decision).await
    }

    /// Gives the decision's record its place in the chain and writes its line. If that fails, an admission is not sent.
    async fn record(&self, decision: &mut Decision) -> Result<(), Refused> {
        let record = UnplacedRecord::of(&decision.record);
        let (link, written) = self.output.record(|lines| self.sealer.place(&record, lines)).await;
        decision.record.chain = Some(link);
        let Err(error) = written else { return Ok(()) };
        tracing::error!(decision = %decision.record.id, %error, "decision not recorded");
        if decision.allowed() {
            return Err(Refused {
                reason: Refusal::Unrecorded,
                why: format!("writgate: not admitted, because the decision was not recorded: {error}"),
            });
        }
        Ok(())
    }

    async fn decide_workload(&self, request: &Request<'_>, id: Uuid, now: Timestamp) -> DecidedReview {
        let labels = self.labels(&request.namespace).await;
        let postures = self.store.postures();
        let unusable;
        let (governance, environment) = match &labels {
            Ok(NamespaceLabels { environment: Some(environment), project }) => {
                let posture = match self.store.staleness(tokio::time::Instant::now()) {
                    None => postures.environment(environment),
                    Some(why) => {
                        unusable = PostureError::Unknown { why };
                        Err(&unusable)
                    }
                };
                let governance = Governance::Governed { environment, project: project.as_deref(), posture };
                (governance, environment.clone())
            }
            Ok(NamespaceLabels { environment: None, .. }) => (Governance::Ungoverned, "".into()),
            Err(why) => {
                unusable = PostureError::Unknown { why: why.clone() };
                (Governance::Governed { environment: "", project: None, posture: Err(&unusable) }, "".into())
            }
        };
        let facts = Facts { decision_id: id, exempt: &self.exempt, clock_leeway: self.clock_leeway };
        let (review, update);
        let (step, request) = match ScaledWorkload::of(request, &governance, &self.exempt) {
            None => (decide::start(request, &governance, &facts, now), request),
            Some(workload) => {
                review = Box::pin(self.as_update(&workload, request)).await;
                update = review.as_ref().map_err(Clone::clone).and_then(|review| self.parse(review));
                match &update {
                    Ok(update) => (decide::start(update, &governance, &facts, now), update),
                    Err(why) => (decide::start_unread(request, &governance, &facts, now, why), request),
                }
            }
        };
        let decision = self.lookups.finish(step, request, now, &postures).await;
        DecidedReview::of(decision, request, &postures, environment, self.events.is_some())
    }

    /// The AdmissionReview of the update that a request to `scale` amounts to.
    async fn as_update(&self, workload: &ScaledWorkload, request: &Request<'_>) -> Result<String, String> {
        workload.as_update(request, &self.lookups.scaled_workload(workload).await?)
    }

    fn parse<'r>(&self, review: &'r str) -> Result<Request<'r>, String> {
        Request::parse_with(review.as_bytes(), &self.kinds).map_err(|malformed| malformed.why)
    }

    async fn decide_guarded(&self, request: &Request<'_>, id: Uuid, now: Timestamp) -> DecidedReview {
        let postures = self.store.postures();
        // Objects in the system namespace and Namespaces are not in a governed namespace.
        let is_in_tenant_namespace = &*request.kind.kind != "Namespace" && request.namespace != self.system_namespace;
        let labels =
            if is_in_tenant_namespace { self.labels(&request.namespace).await } else { Ok(NamespaceLabels::default()) };
        let unusable;
        let governance = match &labels {
            Ok(NamespaceLabels { environment: Some(environment), project }) => {
                let posture = postures.environment(environment);
                Governance::Governed { environment, project: project.as_deref(), posture }
            }
            Ok(NamespaceLabels { environment: None, .. }) => Governance::Ungoverned,
            Err(why) => {
                unusable = PostureError::Unknown { why: why.clone() };
                Governance::Governed { environment: "", project: None, posture: Err(&unusable) }
            }
        };
        let posted = self.posted.counts(&request.namespace);
        let governed = self.store.governed();
        let stale = self.store.staleness(tokio::time::Instant::now());
        let context = GuardContext {
            system_namespace: &self.system_namespace,
            postures: stale.as_deref().map_or(Ok(&postures), Err),
            governed: &governed,
            governance,
            posted: as_guard_reads(&posted),
        };
        let facts = Facts { decision_id: id, exempt: &self.exempt, clock_leeway: self.clock_leeway };
        let step = guard::start(request, &context, &facts, now);
        let decision = self.lookups.finish(step, request, now, &postures).await;
        let environment = decision.record.environment.as_deref().unwrap_or_default().into();
        DecidedReview::of(decision, request, &postures, environment, self.events.is_some())
    }

    /// The governing labels of `namespace`. The error says why they are not known.
    async fn labels(&self, namespace: &str) -> Result<NamespaceLabels, String> {
        let cached = self.store.namespace(namespace);
        match (&cached, &self.lookups.namespaces) {
            (Some(labels), _) if labels.environment.is_some() => Ok(labels.clone()),
            // The object is cluster-scoped.
            _ if namespace.is_empty() => Ok(NamespaceLabels::default()),
            (_, Some(reader)) => Box::pin(reader.read(namespace)).await.map_err(|error| error.to_string()),
            // A folder has every governed namespace. A request for any other was sent by mistake, and is denied.
            (None, None) => {
                Err(format!("namespace {namespace} is not in the posture folder; add its Namespace object"))
            }
            (Some(labels), None) => Ok(labels.clone()),
        }
    }
}

/// Joins a decision with the caller's trace. A decision without a record is logged only with `debug`, and so is a trace that nobody
/// records, so a caller causes no more lines than records.
fn log_trace(trace: &TraceParent, decision: &Decision) {
    let record = &decision.record;
    let (id, request, outcome) =
        (record.id, record.request_uid.as_deref().unwrap_or_default(), record.decision.as_str());
    if trace.is_sampled() && record.decision != Outcome::NotAnAction {
        tracing::info!(traceparent = %trace, decision = %id, request, outcome, "decided in a trace");
    } else {
        tracing::debug!(traceparent = %trace, decision = %id, request, outcome, "decided in a trace");
    }
}

/// The ConfigMap with the posture of an environment.
fn source_of(postures: &PostureSet, environment: &str) -> Option<String> {
    postures.environment(environment).ok()?.config_map.clone()
}

fn labels(decided: &DecidedReview) -> RequestLabels {
    const OTHERS: [&str; 5] = ["Pod", "ControllerRevision", "Scale", "ConfigMap", "Namespace"];
    const OPERATIONS: [&str; 4] = ["CREATE", "UPDATE", "DELETE", "CONNECT"];
    let known = |value: Option<&str>, among: &[&'static str]| {
        among.iter().find(|known| Some(**known) == value).copied().unwrap_or("other")
    };
    let record = &decided.decision.record;
    let other = || known(record.object.as_ref().map(|object| object.kind.as_str()), &OTHERS);
    RequestLabels {
        environment: decided.environment.clone(),
        kind: decided.workload.map_or_else(other, WorkloadKind::kind),
        operation: known(record.operation.as_deref(), &OPERATIONS),
        action: record.action.map_or("", |action| action.as_str()),
        decision: record.decision.as_str(),
        reason: decided.decision.headline().map_or("", |denial| denial.code()),
        enforcement: record.enforcement.map_or("", |enforcement| enforcement.as_str()),
        dry_run: if record.dry_run { "true" } else { "false" },
    }
}
