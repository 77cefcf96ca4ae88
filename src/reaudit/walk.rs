//! Reads the workloads of governed namespaces page by page, and decides about each as if it were created again.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{Api, DynamicObject};
use kube::{Client, ResourceExt as _};
use serde_json::Value;
use tokio::task::yield_now;
use tokio::time::sleep;
use writgate_cluster::bounded_request;
use writgate_cluster::client::api_resource;
use writgate_cluster::clock;
use writgate_cluster::config_map::APPROVAL_SELECTOR;
use writgate_cluster::controllers::Controllers;
use writgate_cluster::live::{ClaimedApprovals, KINDS, Standing, UNKNOWN_USER, UnsentRequest};
use writgate_cluster::namespace::NamespaceLabels;
use writgate_cluster::pages::{FIRST_OBJECTS, Pages};
use writgate_core::{
    approval::{DetachedApproval, MAX_ENVELOPE},
    decide::Coverage,
    kube::{WorkloadKind, default_forward},
    posture::{PostureError, PostureSet},
    record::{ApprovalRecord, Decision, ObjectRecord},
    vocabulary::{APPROVAL_KEY, ENVIRONMENT_LABEL},
};

use crate::lease::Holding;
use crate::reaudit::Rules;
use crate::reaudit::decider::{Decider, NamespaceRules};
use crate::state::store::Store;

/// How long one page may take.
const ANSWER: Duration = Duration::from_secs(30);
/// The pause after each page, in which the processor and the API server are free for admission.
const PAUSE: Duration = Duration::from_millis(20);
/// Detached approvals of a namespace that are kept, in bytes.
const MAX_APPROVALS: usize = 16 << 20;
/// The longest text about one workload.
const MAX_WHY: usize = 1024;

/// A workload, and what covers it.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) object: ObjectRecord,
    /// The label of the metric: an environment with a posture, else `other`.
    pub(crate) environment: Arc<str>,
    pub(crate) standing: Standing,
    /// The denials of the decision, if it is not covered.
    pub(crate) why: String,
    /// The approval that covers it, if one does. Of several, the one that lasts longest.
    pub(crate) approval: Option<CoveringApproval>,
}

/// An approval that covers a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CoveringApproval {
    pub(crate) id: String,
    pub(crate) expires_at: Timestamp,
}

/// Reads and decides.
pub(super) struct Walk {
    client: Client,
    decider: Decider,
}

/// A governed namespace.
struct Place<'a> {
    name: &'a str,
    labels: NamespaceLabels,
    postures: &'a PostureSet,
    /// The label of the metric.
    environment: Arc<str>,
    /// Since when it is governed at the latest.
    since: Option<Timestamp>,
    /// Why its detached approvals are not known. Its workloads are unreadable then, and the other namespaces are not concerned.
    claimed: Result<ClaimedApprovals, String>,
    now: Timestamp,
}

impl Walk {
    pub(super) fn new(client: Client, rules: Rules) -> Self {
        Self { decider: Decider::new(client.clone(), rules), client }
    }

    /// Passes every workload of the namespaces `governed` to `each`. The error is the first failure.
    pub(super) async fn all(
        &self,
        store: &Store,
        governed: Vec<String>,
        holding: &Holding,
        each: &mut impl FnMut(Found),
    ) -> Result<(), String> {
        for name in governed {
            // What was governed a moment ago may not be any more.
            let Some(labels) = store.namespace(&name).filter(|labels| labels.environment.is_some()) else { continue };
            let postures = store.postures();
            let environment = labels.environment.clone().unwrap_or_default();
            let is_known = !matches!(postures.environment(&environment), Err(PostureError::Missing { .. }));
            let approvals = self.approvals(&name, holding).await?;
            let place = Place {
                since: self.governed_since(&name).await?,
                environment: if is_known { environment } else { "other".into() },
                claimed: approvals.map(ClaimedApprovals::of),
                name: &name,
                labels,
                postures: &postures,
                now: clock::now(),
            };
            self.namespace(&place, holding, each).await?;
        }
        Ok(())
    }

    async fn namespace(
        &self,
        place: &Place<'_>,
        holding: &Holding,
        each: &mut impl FnMut(Found),
    ) -> Result<(), String> {
        let mut controllers = Controllers::default();
        let kinds = self.decider.rules.further.iter().chain(&KINDS).map(|kind| Some(*kind));
        for kind in kinds.chain([None]) {
            let (api_version, name, resource) =
                kind.map_or(("v1", "Pod", "pods"), |kind| (kind.api_version(), kind.kind(), kind.resource()));
            let listed = api_resource(api_version, name, resource);
            let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), place.name, &listed);
            let mut pages = Pages::of(&api, "", FIRST_OBJECTS);
            while let Some(page) = self.page(&mut pages, resource, place.name, kind, holding).await? {
                for mut object in page {
                    // Items of a list have no kind.
                    object["apiVersion"] = api_version.into();
                    object["kind"] = name.into();
                    if !controllers.include(kind, &object) {
                        each(self.found(place, kind, object).await);
                    }
                    yield_now().await;
                }
            }
        }
        Ok(())
    }

    /// The next page of a list. A further kind whose `CustomResourceDefinition` is not installed has no objects.
    async fn page(
        &self,
        pages: &mut Pages,
        resource: &str,
        namespace: &str,
        kind: Option<WorkloadKind>,
        holding: &Holding,
    ) -> Result<Option<Vec<Value>>, String> {
        still_held(holding)?;
        let page = bounded_request::send(ANSWER, pages.next::<Value>()).await;
        sleep(PAUSE).await;
        match page {
            Ok(page) => Ok(page.map(|page| page.items)),
            Err(error) if error.status_code() == Some(404) && matches!(kind, Some(WorkloadKind::Further(_))) => {
                Ok(None)
            }
            Err(error) => Err(cannot_list(resource, namespace, &error)),
        }
    }

    /// The detached approvals of a namespace; the inner error if they are too many.
    async fn approvals(
        &self,
        namespace: &str,
        holding: &Holding,
    ) -> Result<Result<Vec<DetachedApproval>, String>, String> {
        let mut found = Vec::new();
        if !self.decider.rules.detached_approvals {
            return Ok(Ok(found));
        }
        let config_maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        let mut pages = Pages::of(&config_maps, APPROVAL_SELECTOR, FIRST_OBJECTS);
        let mut bytes = 0;
        loop {
            still_held(holding)?;
            let page = bounded_request::send(ANSWER, pages.next::<ConfigMap>()).await;
            let page = page.map_err(|error| cannot_list("configmaps", namespace, &error))?;
            sleep(PAUSE).await;
            let Some(page) = page else { return Ok(Ok(found)) };
            for mut object in page.items {
                let text = object.data.as_mut().and_then(|data| data.remove(APPROVAL_KEY));
                let Some(text) = text.filter(|text| text.len() <= MAX_ENVELOPE) else { continue };
                bytes += text.len();
                if bytes > MAX_APPROVALS {
                    let most = MAX_APPROVALS >> 20;
                    return Ok(Err(format!("namespace {namespace} has more than {most} MiB of detached approvals")));
                }
                found.push(DetachedApproval { name: object.name_any(), text });
            }
        }
    }

    /// When the manager that set the governing label last changed what it manages. That is not before the namespace was labelled.
    async fn governed_since(&self, name: &str) -> Result<Option<Timestamp>, String> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let found = bounded_request::send(ANSWER, namespaces.get_metadata_opt(name)).await;
        let found = found.map_err(|error| format!("namespace {name} cannot be read: {error}"))?;
        let managers = found.and_then(|found| found.metadata.managed_fields).unwrap_or_default();
        let now = clock::now();
        let label = format!("f:{ENVIRONMENT_LABEL}");
        let sets_label = |fields: &Value| fields["f:metadata"]["f:labels"].get(&label).is_some();
        let managers =
            managers.into_iter().filter(|one| one.fields_v1.as_ref().is_some_and(|fields| sets_label(&fields.0)));
        // Whoever writes the Namespace can write a time that has not come.
        Ok(managers.filter_map(|manager| Some(manager.time?.0)).filter(|time| *time <= now).min())
    }

    async fn found(&self, place: &Place<'_>, kind: Option<WorkloadKind>, mut object: Value) -> Found {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let record = ObjectRecord {
            api_version: text("/apiVersion"),
            kind: text("/kind"),
            namespace: place.name.to_owned(),
            name: text("/metadata/name"),
            uid: Some(text("/metadata/uid")).filter(|uid| !uid.is_empty()),
        };
        let created = text("/metadata/creationTimestamp").parse::<Timestamp>().ok();
        let is_older = created.zip(place.since).is_some_and(|(created, since)| created < since);
        // A status can be large, and is no part of a request to create the object.
        if let Some(fields) = object.as_object_mut() {
            fields.remove("status");
        }
        let covered = match (&place.claimed, kind.map(|kind| default_forward(kind, &mut object))) {
            (Err(why), _) => Err(why.clone()),
            (_, Some(Err(error))) => Err(error.to_string()),
            (Ok(claimed), _) => self.coverage(place, claimed, kind, &object, &record).await,
        };
        let mut approval = None;
        let (standing, why) = match covered {
            Ok((coverage, decision)) => {
                let standing = Standing::of(coverage, is_older);
                if standing == Standing::Approved {
                    let last = decision.record.approvals.iter().max_by_key(|approval| approval.expires_at);
                    let covering =
                        |last: &ApprovalRecord| CoveringApproval { id: last.id.clone(), expires_at: last.expires_at };
                    approval = last.map(covering);
                }
                let denials: Vec<String> =
                    decision.denials.iter().map(|denial| format!("{}: {denial}", denial.code())).collect();
                (standing, denials.join("\n"))
            }
            Err(why) => (Standing::Unreadable, why),
        };
        let why = writgate_core::text::bounded(&why, MAX_WHY);
        Found { object: record, environment: place.environment.clone(), standing, why, approval }
    }

    async fn coverage(
        &self,
        place: &Place<'_>,
        claimed: &ClaimedApprovals,
        kind: Option<WorkloadKind>,
        object: &Value,
        record: &ObjectRecord,
    ) -> Result<(Coverage, Decision), String> {
        let ObjectRecord { api_version, kind: kind_name, name, .. } = record;
        let subject = format!("{api_version}/{kind_name}/{}/{name}", place.name);
        let environment = place.labels.environment.as_deref().unwrap_or_default();
        let posture = place.postures.environment(environment).ok();
        let resource = kind.map_or("pods", WorkloadKind::resource);
        let rules = NamespaceRules { labels: &place.labels, postures: place.postures };
        self.decider
            .with_config_maps(place.name, claimed, |answers| {
                claimed.coverage(place.now, posture, object, &subject, |object, at| {
                    let uid = clock::decision_id(at).to_string();
                    let request = UnsentRequest {
                        uid: &uid,
                        namespace: place.name,
                        name,
                        user: UNKNOWN_USER,
                        api_version,
                        kind: kind_name,
                        resource,
                        old_object: None,
                    };
                    Ok::<_, String>(self.decider.decide(&request.review(object), &rules, at, answers))
                })
            })
            .await
    }
}

fn still_held(holding: &Holding) -> Result<(), String> {
    if holding.is_held() { Ok(()) } else { Err("another replica holds the Lease now".to_owned()) }
}

fn cannot_list(resource: &str, namespace: &str, error: &bounded_request::RequestError) -> String {
    let hint = match error.status_code() {
        Some(403) => "; the chart grants this to the ClusterRole writgate-webhook with reaudit.enabled",
        _ => "",
    };
    format!("{resource} in namespace {namespace} cannot be listed: {error}{hint}")
}
