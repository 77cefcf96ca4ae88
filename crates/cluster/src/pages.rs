//! Lists of objects, page by page, with a bound on the bytes of a page.
//!
//! The API server bounds a page by its number of objects only, and whoever writes the objects decides how large they are. With
//! few objects in each page, a list of many small objects takes many requests. So the number follows the size of the objects.
//! A response that exceeds the bound is not read to its end. The page is requested again with fewer objects.

use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use kube::api::{Api, ListParams, ObjectList};
use kube::client::Body;
use kube::core::{Request, Status};
use kube::{Client, Error, Resource};
use serde::de::DeserializeOwned;

/// The largest page in bytes. A larger response is dropped and requested again with fewer objects.
const MAX_BYTES: usize = 8 << 20;
/// The largest single object: 1.5 MiB in etcd, which take up to six times as much in JSON, and its managed fields.
const MAX_OBJECT: usize = 32 << 20;
/// The size that the next page should have. It is less than the limit, since objects differ.
const WANTED_BYTES: usize = 2 << 20;
/// The most objects in a page. It is what client-go asks for.
const MAX_OBJECTS: u32 = 500;
/// The factor by which the number of objects grows or shrinks at most from one request to the next.
const STEP: u32 = 8;

/// The objects of a page of a first list. With the largest possible objects, the API server encodes some 100 MiB for it.
pub const FIRST_OBJECTS: u32 = 16;

/// A list that is read page by page.
pub struct Pages {
    client: Client,
    request: Request,
    params: ListParams,
    is_metadata: bool,
    is_finished: bool,
}

impl Pages {
    /// A list of the objects of `api` that match `labels`, whose first page has `objects` objects.
    #[must_use]
    pub fn of<K: Resource + Clone>(api: &Api<K>, labels: &str, objects: u32) -> Self {
        Self {
            client: api.clone().into_client(),
            request: Request::new(api.resource_url()),
            // Without a `resourceVersion`, the list does not come from an old cache of the API server.
            params: ListParams::default().labels(labels).limit(objects.clamp(1, MAX_OBJECTS)),
            is_metadata: K::metadata_api(),
            is_finished: false,
        }
    }

    /// The same list with only the objects that match the field selector `fields`.
    #[must_use]
    pub fn fields(mut self, fields: Option<&str>) -> Self {
        self.params.field_selector = fields.map(str::to_owned);
        self
    }

    /// The next page; `None` after the last one.
    pub async fn next<K: Clone + DeserializeOwned>(&mut self) -> Result<Option<ObjectList<K>>, Error> {
        if self.is_finished {
            return Ok(None);
        }
        let text = self.text().await?;
        let page: ObjectList<K> = serde_json::from_slice(&text).map_err(Error::SerdeError)?;
        self.fit(text.len(), page.items.len());
        match page.metadata.continue_.as_deref().filter(|token| !token.is_empty()) {
            Some(token) => self.params.continue_token = Some(token.to_owned()),
            None => self.is_finished = true,
        }
        Ok(Some(page))
    }

    /// Whether the last page has been read.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.is_finished
    }

    /// The number of objects that the next page would have.
    #[must_use]
    pub fn objects(&self) -> u32 {
        self.params.limit.unwrap_or(FIRST_OBJECTS)
    }

    /// The text of the next page, with fewer objects if they are too large.
    async fn text(&mut self) -> Result<Vec<u8>, Error> {
        loop {
            let objects = self.objects();
            let limit = if objects == 1 { MAX_OBJECT } else { MAX_BYTES };
            match self.request_text(limit).await? {
                Some(text) => return Ok(text),
                None if objects == 1 => {
                    return Err(Error::Service(format!("an object has more than {} MiB", limit >> 20).into()));
                }
                None => self.params.limit = Some((objects / STEP).max(1)),
            }
        }
    }

    /// One response; `None` if it has more than `limit` bytes.
    async fn request_text(&self, limit: usize) -> Result<Option<Vec<u8>>, Error> {
        let params = &self.params;
        let request = if self.is_metadata { self.request.list_metadata(params) } else { self.request.list(params) };
        let response = self.client.send(request.map_err(Error::BuildRequest)?.map(Body::from)).await?;
        let status = response.status();
        let text = match Limited::new(response.into_body(), limit).collect().await {
            Ok(text) => text.to_bytes().to_vec(),
            Err(error) if error.is::<LengthLimitError>() => return Ok(None),
            Err(error) => return Err(error.downcast::<Error>().map_or_else(Error::Service, |error| *error)),
        };
        if status.is_success() {
            return Ok(Some(text));
        }
        let failed = serde_json::from_slice::<Status>(&text).unwrap_or_else(|_| {
            let text = String::from_utf8_lossy(&text);
            Status::failure(text.trim(), "not a Status").with_code(status.as_u16())
        });
        Err(Error::Api(failed.boxed()))
    }

    /// Sets the number of objects of the next page, after one of `bytes` with `objects` objects.
    fn fit(&mut self, bytes: usize, objects: usize) {
        let wanted = WANTED_BYTES * objects.max(1) / bytes.max(1);
        let most = self.objects().saturating_mul(STEP).min(MAX_OBJECTS);
        self.params.limit = Some(u32::try_from(wanted).unwrap_or(u32::MAX).clamp(1, most));
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::{Arc, Mutex};

    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::ResourceExt as _;
    use serde_json::{Value, json};
    use tower::service_fn;

    use super::*;

    /// Lists an API server that holds ConfigMaps of these sizes. Returns the names, and the `limit` of each request.
    async fn list(sizes: Vec<usize>, first: u32) -> (Result<Vec<String>, Error>, Vec<u32>) {
        let limits = Arc::new(Mutex::new(Vec::new()));
        let asked = limits.clone();
        let service = service_fn(move |request: http::Request<Body>| {
            let query = request.uri().query().unwrap_or_default();
            let parameter = |name: &str| {
                let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
                pairs.find(|(key, _)| *key == name).map(|(_, value)| value.parse::<usize>().expect("a number"))
            };
            let (from, limit) = (parameter("continue").unwrap_or(0), parameter("limit").expect("a limit"));
            asked.lock().expect("no panic").push(u32::try_from(limit).expect("small"));
            let until = (from + limit).min(sizes.len());
            let items: Vec<Value> = (from..until)
                .map(|number| {
                    json!({"metadata": {"name": format!("c{number}")}, "data": {"a": "x".repeat(sizes[number])}})
                })
                .collect();
            let token = if until < sizes.len() { until.to_string() } else { String::new() };
            let body = json!({"apiVersion": "v1", "kind": "ConfigMapList", "items": items,
                "metadata": {"continue": token, "resourceVersion": "7"}});
            let response = http::Response::new(Body::from(body.to_string().into_bytes()));
            std::future::ready(Ok::<_, Infallible>(response))
        });
        let api: Api<ConfigMap> = Api::namespaced(Client::new(service, "default"), "writgate-system");
        let mut pages = Pages::of(&api, "", first);
        let mut names = Vec::new();
        let listed = loop {
            match pages.next::<ConfigMap>().await {
                Ok(Some(page)) => names.extend(page.items.iter().map(ConfigMap::name_any)),
                Ok(None) => break Ok(names),
                Err(error) => break Err(error),
            }
        };
        let limits = limits.lock().expect("no panic").clone();
        (listed, limits)
    }

    #[tokio::test]
    async fn many_small_objects_take_few_requests() {
        let (listed, limits) = list(vec![100; 3000], FIRST_OBJECTS).await;
        let names: Vec<String> = (0..3000).map(|number| format!("c{number}")).collect();
        assert_eq!(listed.expect("a list"), names);
        assert_eq!(limits, [16, 128, 500, 500, 500, 500, 500, 500]);
    }

    #[tokio::test]
    async fn large_objects_are_read_few_at_once_and_none_is_lost() {
        let mut sizes = vec![100; 1000];
        sizes.splice(300..340, vec![2 << 20; 40]);
        let (listed, limits) = list(sizes, FIRST_OBJECTS).await;
        let names: Vec<String> = (0..1000).map(|number| format!("c{number}")).collect();
        assert_eq!(listed.expect("a list"), names);
        assert!(limits.len() < 80, "{limits:?}");
        assert_eq!(limits[..4], [16, 128, 500, 62], "{limits:?}");
    }

    #[tokio::test]
    async fn an_object_without_a_limit_of_size_is_an_error() {
        let (listed, _) = list(vec![100, MAX_OBJECT - 1000, 100], FIRST_OBJECTS).await;
        assert_eq!(listed.map(|names| names.len()).map_err(|error| error.to_string()), Ok(3));
        let (listed, limits) = list(vec![100, MAX_OBJECT, 100], FIRST_OBJECTS).await;
        let why = listed.expect_err("too large").to_string();
        assert!(why.contains("an object has more than 32 MiB"), "{why}");
        assert_eq!(limits.last(), Some(&1));
    }
}
