//! Detached approvals, listed live.
//!
//! Git applies an approval and its workload in the same second, so a watch may not have seen the approval yet. A list costs
//! the API server something, so it is made only before a denial that an approval could change.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::Api;
use kube::{Client, ResourceExt};
use tokio::time::timeout;
use writgate_cluster::bounded_request::{RequestError, RequestLimiter};
use writgate_cluster::config_map::{APPROVAL_SELECTOR, MAX_APPROVALS};
use writgate_cluster::names;
use writgate_cluster::pages::Pages;
use writgate_core::{
    approval::{DetachedApproval, DetachedQuery, MAX_ENVELOPE, SpecHash, claims_to_cover},
    vocabulary::{APPROVAL_KEY, APPROVAL_KIND, APPROVAL_REF, KIND_LABEL},
};

use crate::metrics::Metrics;
use crate::review::PATIENCE;
use crate::review::list_turns::{Found, ListTurns};

/// Pages that are read at once, each of another namespace. The permit is for a page and not for a list, so that a namespace
/// with many large approvals delays the others by one page only.
const MAX_READS: usize = 2;
/// ConfigMaps in the first page of a namespace that was not listed yet: as many approvals as most namespaces have.
const FIRST_PAGE: u32 = 64;

/// Reads approvals: one list at once in each namespace, and a bounded number of pages at once.
pub struct ApprovalReader {
    client: Client,
    pages: RequestLimiter,
    turns: ListTurns,
    metrics: Metrics,
}

impl ApprovalReader {
    /// A reader through `client`.
    #[must_use]
    pub fn new(client: Client, metrics: Metrics) -> Self {
        Self { client, pages: RequestLimiter::new(MAX_READS, PATIENCE), turns: ListTurns::default(), metrics }
    }

    /// The approvals in `namespace` that match `query`, as they are now. The error says why they could not be read.
    pub async fn read(&self, namespace: &str, query: &DetachedQuery) -> Result<Vec<DetachedApproval>, String> {
        if !names::is_label(namespace) {
            return Ok(Vec::new());
        }
        let config_maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        let read = async {
            match query {
                DetachedQuery::Name(name) => self.named(&config_maps, name).await,
                DetachedQuery::Hash(hash) => {
                    let list = async |hashes: Vec<SpecHash>, objects: Option<u32>| {
                        let mut pages = Pages::of(&config_maps, APPROVAL_SELECTOR, objects.unwrap_or(FIRST_PAGE));
                        let found = self.covering(&mut pages, &hashes).await;
                        (found, pages.objects())
                    };
                    self.turns.find(namespace, *hash, list).await
                }
            }
        };
        timeout(PATIENCE, read).await.unwrap_or_else(|_| Err(RequestError::Timeout(PATIENCE).to_string()))
    }

    async fn named(&self, config_maps: &Api<ConfigMap>, name: &str) -> Result<Vec<DetachedApproval>, String> {
        if !names::is_subdomain(name) {
            return Ok(Vec::new());
        }
        self.metrics.approval_lists.inc();
        let found = self.pages.send(config_maps.get_opt(name)).await.map_err(|error| error.to_string())?;
        let labelled = |found: &ConfigMap| found.labels().get(KIND_LABEL).is_some_and(|kind| kind == APPROVAL_KIND);
        // The object names this approval, so its error is reported: without an envelope, the text is empty.
        Ok(found.filter(labelled).map(detached).into_iter().collect())
    }

    async fn covering(&self, pages: &mut Pages, wanted: &[SpecHash]) -> Found {
        self.metrics.approval_lists.inc();
        let (mut found, mut read) = (HashMap::<SpecHash, Vec<DetachedApproval>>::new(), 0);
        // After the last page, nothing waits for a permit.
        while !pages.is_finished() {
            let page = self.pages.send(pages.next()).await.map_err(|error| error.to_string())?;
            let Some(page) = page else { break };
            read += page.items.len();
            for approval in page.items.into_iter().map(detached) {
                for hash in covered(&approval, wanted) {
                    found.entry(hash).or_default().push(approval.clone());
                }
            }
            let most = MAX_APPROVALS as usize;
            if read > most || (read == most && !pages.is_finished()) {
                return Err(format!(
                    "the namespace has more than {MAX_APPROVALS} approvals, the most that are read; delete old approvals, or \
                     name the approval in annotation {APPROVAL_REF}"
                ));
            }
        }
        Ok(found)
    }
}

/// The specs in `wanted` that an approval may cover.
fn covered(found: &DetachedApproval, wanted: &[SpecHash]) -> Vec<SpecHash> {
    let claims = Some(&found.text).filter(|text| text.len() <= MAX_ENVELOPE).and_then(|text| claims_to_cover(text));
    let (hashes, _) = claims.unwrap_or_default();
    wanted.iter().copied().filter(|hash| hashes.contains(hash)).collect()
}

fn detached(mut found: ConfigMap) -> DetachedApproval {
    let text = found.data.as_mut().and_then(|data| data.remove(APPROVAL_KEY)).unwrap_or_default();
    DetachedApproval { name: found.name_any(), text }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::{Arc, Mutex};

    use axum::body::Body;
    use axum::http::{Request, Response};
    use serde_json::{Value, json};
    use tower::service_fn;

    use super::*;

    /// A reader of an API server that gives these answers, the last one again and again; and the paths of its requests.
    fn reader(answers: Vec<(u16, Value)>) -> (ApprovalReader, Arc<Mutex<Vec<String>>>) {
        let requests = Arc::new(Mutex::new(Vec::<String>::new()));
        let paths = requests.clone();
        let service = service_fn(move |request: Request<kube::client::Body>| {
            let mut paths = paths.lock().expect("no panic");
            let (status, body) = &answers[paths.len().min(answers.len() - 1)];
            paths.push(request.uri().to_string());
            let response = Response::builder().status(*status).body(Body::from(body.to_string())).expect("a response");
            std::future::ready(Ok::<_, Infallible>(response))
        });
        (ApprovalReader::new(Client::new(service, "default"), Metrics::default()), requests)
    }

    fn config_map(kind: &str, data: &Value) -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "a", "labels": {"writgate.dev/kind": kind}}, "data": data})
    }

    fn list(items: &[Value], token: &str) -> (u16, Value) {
        (200, json!({"apiVersion": "v1", "kind": "ConfigMapList", "metadata": {"continue": token}, "items": items}))
    }

    fn refusal(code: u16) -> (u16, Value) {
        let reason = if code == 404 { "NotFound" } else { "Whatever" };
        let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
            "reason": reason, "message": "no"});
        (code, status)
    }

    fn by_name() -> DetachedQuery {
        DetachedQuery::Name("a".to_owned())
    }

    fn by_hash() -> DetachedQuery {
        DetachedQuery::Hash(format!("sha256:{}", "0".repeat(64)).parse().expect("a hash"))
    }

    #[tokio::test]
    async fn a_named_approval_is_returned_unchanged_if_it_has_the_label() {
        let one = |text: &str| Ok(vec![DetachedApproval { name: "a".to_owned(), text: text.to_owned() }]);
        let (named, requests) = reader(vec![(200, config_map("approval", &json!({"approval.json": "junk"})))]);
        assert_eq!(named.read("payments", &by_name()).await, one("junk"));
        assert_eq!(*requests.lock().expect("no panic"), ["/api/v1/namespaces/payments/configmaps/a"]);
        let (empty, _) = reader(vec![(200, config_map("approval", &json!({"other": "x"})))]);
        assert_eq!(empty.read("payments", &by_name()).await, one(""));
        let (other, _) = reader(vec![(200, config_map("config-bundle", &json!({"approval.json": "junk"})))]);
        assert_eq!(other.read("payments", &by_name()).await, Ok(vec![]));
    }

    #[tokio::test]
    async fn every_page_is_read_and_only_approvals_that_may_cover_the_spec_are_returned() {
        let junk = config_map("approval", &json!({"approval.json": "junk"}));
        let (reader, requests) = reader(vec![list(std::slice::from_ref(&junk), "more"), list(&[junk], "")]);
        assert_eq!(reader.read("payments", &by_hash()).await, Ok(vec![]));
        let requests = requests.lock().expect("no panic");
        assert_eq!(requests.len(), 2);
        assert!(
            requests[0].contains("labelSelector=writgate.dev%2Fkind%3Dapproval") && requests[0].contains("limit=64")
        );
        assert!(requests[1].contains("continue=more"), "{requests:?}");
    }

    #[tokio::test]
    async fn too_many_approvals_are_an_error_that_says_what_to_do() {
        let page = vec![config_map("approval", &json!({"approval.json": "junk"})); 256];
        let (most, _) = reader(vec![list(&page, "more"), list(&page, "")]);
        assert_eq!(most.read("payments", &by_hash()).await, Ok(vec![]));
        for last in [list(&page, "more"), list(&[page.clone(), page[..1].to_vec()].concat(), "")] {
            let (reader, requests) = reader(vec![list(&page, "more"), last]);
            let why = reader.read("payments", &by_hash()).await.expect_err("too many");
            assert!(why.contains("512") && why.contains(APPROVAL_REF), "{why}");
            assert_eq!(requests.lock().expect("no panic").len(), 2);
        }
    }

    #[tokio::test]
    async fn an_object_that_cannot_be_read_does_not_count_as_absent() {
        assert_eq!(reader(vec![refusal(404)]).0.read("payments", &by_name()).await, Ok(vec![]));
        for code in [403, 429, 500] {
            for query in [by_name(), by_hash()] {
                let why = reader(vec![refusal(code)]).0.read("payments", &query).await;
                assert_eq!(why, Err(format!("no ({code})")));
            }
        }
    }

    #[tokio::test]
    async fn a_text_that_is_not_a_name_never_becomes_part_of_a_request() {
        let (reader, requests) = reader(vec![refusal(500)]);
        assert_eq!(reader.read("payments", &DetachedQuery::Name("../secrets/a".to_owned())).await, Ok(vec![]));
        assert_eq!(reader.read("../default", &by_hash()).await, Ok(vec![]));
        assert!(requests.lock().expect("no panic").is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_namespace_full_of_junk_delays_another_by_one_page() {
        // Each page of `junk` takes half a second, and there is always another one.
        let service = service_fn(|request: Request<kube::client::Body>| async move {
            let is_junk = request.uri().path().contains("/junk");
            if is_junk {
                tokio::time::sleep(PATIENCE / 4).await;
            }
            let (_, body) = list(&[], if is_junk { "more" } else { "" });
            Ok::<_, Infallible>(Response::new(Body::from(body.to_string())))
        });
        let reader = ApprovalReader::new(Client::new(service, "default"), Metrics::default());
        let query = by_hash();
        let honest = async {
            tokio::time::sleep(PATIENCE / 8).await;
            let begun = tokio::time::Instant::now();
            (reader.read("payments", &query).await, begun.elapsed())
        };
        let namespaces: Vec<_> = (0..32).map(|number| format!("junk-{}", number % 2)).collect();
        let junk = futures::future::join_all(namespaces.iter().map(|namespace| reader.read(namespace, &query)));
        let ((found, waited), junk) = tokio::join!(honest, junk);
        assert_eq!(found, Ok(vec![]));
        assert!(waited <= PATIENCE / 4, "{waited:?}");
        assert!(junk.iter().all(Result::is_err), "the junk is read in vain");
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_that_waits_for_others_has_the_same_deadline() {
        let service =
            service_fn(|_: Request<kube::client::Body>| std::future::pending::<Result<Response<Body>, Infallible>>());
        let reader = ApprovalReader::new(Client::new(service, "default"), Metrics::default());
        let (query, begun) = (by_hash(), tokio::time::Instant::now());
        let reads = futures::future::join_all((0..8).map(|_| reader.read("payments", &query))).await;
        assert!(reads.iter().all(|read| read.as_ref().is_err_and(|why| why.contains("within 2s"))));
        assert!(begun.elapsed() < 2 * PATIENCE);
    }
}
