//! What the guards ask the API server at the moment of a review: whether a user has a right, and what the documents
//! of the postures say now.
//!
//! Called by `lookups`, for changes of what governs alone, which are rare; no workload ever waits for these.

use std::time::Duration;

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams, PostParams};
use kube::{Client, Error};
use tokio::sync::Semaphore;
use writgate_core::{Document, User};

use crate::cluster;
use crate::store::{self, POSTURE_SELECTOR};

/// How long an answer may take, waiting included: most of the patience of an API server that waits 5 s.
const PATIENCE: Duration = Duration::from_secs(2);
/// Questions at once. Anyone who reaches the webhook can cause them; this is what it can cost the API server.
const MAX_QUESTIONS: usize = 16;
/// The verb, and the resource that exists for this question alone.
const VERB: &str = "govern";
const GROUP: &str = "writgate.dev";
const RESOURCE: &str = "namespaces";

/// Asks the API server, a bounded number of questions at once.
pub struct GuardReader {
    reviews: Api<SubjectAccessReview>,
    config_maps: Api<ConfigMap>,
    turns: Semaphore,
}

impl GuardReader {
    /// Through `client`, with the documents in `system_namespace`.
    #[must_use]
    pub fn new(client: Client, system_namespace: &str) -> Self {
        let reviews = Api::all(client.clone());
        let config_maps = Api::namespaced(client, system_namespace);
        Self { reviews, config_maps, turns: Semaphore::new(MAX_QUESTIONS) }
    }

    /// Whether `user` has the verb `govern` on `namespaces.writgate.dev` of this name; `Err` says why it is not known.
    pub async fn may_govern(&self, user: &User<'_>, name: &str) -> Result<bool, String> {
        let extra = match user.extra.map(|extra| serde_json::from_str(extra.get())).transpose() {
            Ok(extra) => extra,
            Err(error) => return Err(format!("request.userInfo.extra: {error}")),
        };
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(user.username.to_string()),
                uid: Some(user.uid.to_string()).filter(|uid| !uid.is_empty()),
                groups: Some(user.groups.iter().map(|group| group.0.to_string()).collect()),
                extra,
                resource_attributes: Some(ResourceAttributes {
                    verb: Some(VERB.to_owned()),
                    group: Some(GROUP.to_owned()),
                    version: Some("v1".to_owned()),
                    resource: Some(RESOURCE.to_owned()),
                    name: Some(name.to_owned()),
                    ..ResourceAttributes::default()
                }),
                non_resource_attributes: None,
            },
            ..SubjectAccessReview::default()
        };
        let review = self.ask(async { self.reviews.create(&PostParams::default(), &review).await }).await?;
        let status = review.status.ok_or("the API server left the question open")?;
        // An authorizer that failed may still have said no; only a yes without doubt is one.
        match status.evaluation_error.filter(|error| !status.allowed && !error.is_empty()) {
            Some(error) => Err(error),
            None => Ok(status.allowed && !status.denied.unwrap_or(false)),
        }
    }

    /// The documents of all postures as they are now.
    pub async fn documents(&self) -> Result<Vec<Document>, String> {
        let params = ListParams::default().labels(POSTURE_SELECTOR);
        let list = self.ask(async { self.config_maps.list(&params).await }).await?;
        Ok(list.items.iter().map(store::document).collect())
    }

    async fn ask<T>(&self, question: impl Future<Output = Result<T, Error>>) -> Result<T, String> {
        let answer = async {
            let _turn = self.turns.acquire().await;
            question.await
        };
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(answer) => answer.map_err(|error| cluster::why(&error)),
            Err(_) => Err(format!("the API server did not answer within {PATIENCE:?}")),
        }
    }
}
