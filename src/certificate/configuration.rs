//! The webhook configuration in the API server: reading its bundles and the API server's clock, writing bundles, and noticing
//! changes.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{Method, Request, Uri, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt as _;
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::{ValidatingWebhook, ValidatingWebhookConfiguration};
use kube::api::{Api, WatchEvent, WatchParams};
use kube::core::Status;
use kube::{Client, Resource};
use rustls::pki_types::CertificateDer;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use writgate_cluster::bounded_request::{self, RequestError};

use crate::certificate::bundle::Bundle;

/// How long the API server may take.
pub(super) const ANSWER: Duration = Duration::from_secs(10);
/// How long one watch lasts.
const WATCH_SECONDS: u32 = 240;
/// The pause after a failed watch. The objects are read each minute anyway.
const PAUSE: Duration = Duration::from_secs(5);
const PATH: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";

/// A webhook configuration.
pub(super) struct Configuration {
    resource_version: String,
    pub(super) entries: Vec<Entry>,
}

/// An entry of it.
pub(super) struct Entry {
    pub(super) name: String,
    /// The name by which the API server calls the webhook.
    pub(super) host: Option<String>,
    /// Whether the API server uses its own CAs if the bundle is empty.
    pub(super) has_url: bool,
    ca_bundle: Option<Vec<u8>>,
    pub(super) bundle: Bundle,
}

impl Entry {
    fn of(webhook: ValidatingWebhook) -> Self {
        let client = webhook.client_config;
        let url = client.url.as_ref().and_then(|url| url.parse::<Uri>().ok());
        let of_url = url.and_then(|url| Some(url.host()?.trim_matches(['[', ']']).to_owned()));
        let service = client.service.map(|service| format!("{}.{}.svc", service.name, service.namespace));
        let ca_bundle = client.ca_bundle.map(|bundle| bundle.0).filter(|bundle| !bundle.is_empty());
        let bundle = Bundle::of_pem(ca_bundle.as_deref().unwrap_or_default());
        Self { name: webhook.name, host: service.or(of_url), has_url: client.url.is_some(), ca_bundle, bundle }
    }
}

/// An answer of the API server, and its clock.
pub(super) struct Reading {
    /// `None`: it does not exist.
    pub(super) configuration: Result<Option<Configuration>, RequestError>,
    /// `None`: the answer has no date, or there is no answer.
    pub(super) time: Option<Timestamp>,
}

/// The API of one webhook configuration.
pub(super) struct ConfigurationApi {
    pub(super) client: Client,
    pub(super) name: String,
}

impl ConfigurationApi {
    pub(super) async fn read(&self) -> Reading {
        match bounded_request::send(ANSWER, self.send(Method::GET, None)).await {
            Ok((answer, time)) => {
                let configuration = match answer {
                    Ok(object) => Ok(Some(configuration(object))),
                    Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
                    Err(error) => Err(error.into()),
                };
                Reading { configuration, time }
            }
            Err(error) => Reading { configuration: Err(error), time: None },
        }
    }

    /// Replaces the bundles of entries, by their index. Fails with 409 or 422 if the configuration was changed since it was read.
    pub(super) async fn write(
        &self,
        configuration: &Configuration,
        bundles: &[(usize, Vec<CertificateDer<'static>>)],
    ) -> Result<(), RequestError> {
        let mut patch =
            vec![json!({"op": "test", "path": "/metadata/resourceVersion", "value": configuration.resource_version})];
        for (index, certificates) in bundles {
            let entry = &configuration.entries[*index];
            let bundle = format!("/webhooks/{index}/clientConfig/caBundle");
            patch.push(json!({"op": "test", "path": format!("/webhooks/{index}/name"), "value": entry.name}));
            if let Some(old) = &entry.ca_bundle {
                patch.push(json!({"op": "test", "path": bundle, "value": STANDARD.encode(old)}));
            }
            patch.push(json!({"op": "add", "path": bundle, "value": STANDARD.encode(pem(certificates))}));
        }
        let (answer, _) = bounded_request::send(ANSWER, self.send(Method::PATCH, Some(&Value::from(patch)))).await?;
        Ok(answer.map(|_| ())?)
    }

    /// Sends a request. The date is in a header, which kube's API does not return.
    async fn send(
        &self,
        method: Method,
        patch: Option<&Value>,
    ) -> Result<(Result<ValidatingWebhookConfiguration, kube::Error>, Option<Timestamp>), kube::Error> {
        let request =
            Request::builder().method(method).uri(format!("{PATH}/{}?fieldManager=writgate-webhook", self.name));
        let request = match patch {
            Some(patch) => request
                .header(header::CONTENT_TYPE, "application/json-patch+json")
                .body(patch.to_string().into_bytes().into()),
            None => request.body(Vec::new().into()),
        };
        let answer = self.client.send(request.map_err(kube::Error::HttpError)?).await?;
        let (head, body) = answer.into_parts();
        let body = body.collect().await?.to_bytes();
        let date = head.headers.get(header::DATE).and_then(|date| date.to_str().ok());
        let time = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok()).map(|date| date.timestamp());
        if head.status.is_success() {
            return Ok((serde_json::from_slice(&body).map_err(kube::Error::SerdeError), time));
        }
        let mut status: Status = serde_json::from_slice(&body).unwrap_or_default();
        status.code = head.status.as_u16();
        Ok((Err(kube::Error::Api(Box::new(status))), time))
    }
}

fn configuration(object: ValidatingWebhookConfiguration) -> Configuration {
    Configuration {
        resource_version: object.metadata.resource_version.unwrap_or_default(),
        entries: object.webhooks.unwrap_or_default().into_iter().map(Entry::of).collect(),
    }
}

/// The certificates in PEM, in lines of 64 characters (RFC 7468).
fn pem(certificates: &[CertificateDer<'_>]) -> String {
    let mut text = String::new();
    for der in certificates {
        let encoded = STANDARD.encode(der);
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        let mut rest = encoded.as_str();
        while !rest.is_empty() {
            let (line, after) = rest.split_at(rest.len().min(64));
            text.push_str(line);
            text.push('\n');
            rest = after;
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text
}

/// Notifies `changed` of each change of one object. Does not return. It is only a reason to read the object: a missed change is found
/// when it is read the next time.
pub(super) async fn notify_of_changes<K>(api: Api<K>, name: &str, changed: Arc<Notify>)
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let params = WatchParams::default().fields(&format!("metadata.name={name}")).timeout(WATCH_SECONDS);
    let lasts = Duration::from_secs(u64::from(WATCH_SECONDS) + 5);
    loop {
        // From version 0, the API server first reports the object as it is, so no list is needed.
        let watched = bounded_request::send(ANSWER, api.watch_metadata(&params, "0")).await;
        let pause = match watched {
            Ok(stream) => {
                let mut stream = stream.boxed();
                let follow = async {
                    while let Some(event) = stream.next().await {
                        match event {
                            Ok(WatchEvent::Bookmark(_)) => {}
                            Ok(WatchEvent::Error(_)) | Err(_) => return,
                            Ok(_) => changed.notify_one(),
                        }
                    }
                };
                let _ = timeout(lasts, follow).await;
                Duration::from_millis(200)
            }
            Err(error) => {
                tracing::debug!(name, %error, "cannot watch; it is read each minute");
                PAUSE
            }
        };
        sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::pem::PemObject as _;

    use super::*;

    #[test]
    fn pem_is_what_a_parser_reads() {
        let certificates: Vec<_> = [0, 1, 47, 48, 49, 1000].map(|size| CertificateDer::from(vec![7_u8; size])).into();
        let text = pem(&certificates);
        assert!(text.lines().all(|line| line.len() <= 64));
        let read: Vec<_> = CertificateDer::pem_slice_iter(text.as_bytes()).map(|der| der.expect("PEM")).collect();
        assert_eq!(read, certificates);
    }

    #[test]
    fn the_name_of_a_server_is_that_of_its_service_or_its_url() {
        let host = |client: Value| {
            let webhook = json!({"name": "a.b.c", "admissionReviewVersions": ["v1"], "sideEffects": "None", "clientConfig": client});
            Entry::of(serde_json::from_value(webhook).expect("an entry")).host
        };
        let service = json!({"service": {"name": "writgate-webhook", "namespace": "writgate-system"}});
        assert_eq!(host(service).as_deref(), Some("writgate-webhook.writgate-system.svc"));
        assert_eq!(host(json!({"url": "https://127.0.0.1:8443/validate"})).as_deref(), Some("127.0.0.1"));
        assert_eq!(host(json!({"url": "https://[::1]:8443/validate"})).as_deref(), Some("::1"));
        assert_eq!(host(json!({"url": "https://webhook.example/validate"})).as_deref(), Some("webhook.example"));
    }
}
