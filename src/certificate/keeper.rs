//! Keeps the CA, the bundle and the leaf: reads the Secret and the webhook configuration each minute and after each change, and does
//! what the [plan](crate::certificate::plan) says. With a certificate from files, it only checks the bundle.
//!
//! The time is the API server's, from the `Date` of its answers. API servers check the certificates, and a wrong clock of one node
//! must not make a CA that no API server accepts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};
use rustls::pki_types::CertificateDer;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use writgate_cluster::bounded_request::{self, RequestError};
use writgate_cluster::clock;

use crate::certificate::authority::Authority;
use crate::certificate::bundle::{Bundle, accepts};
use crate::certificate::configuration::{ANSWER, Configuration, ConfigurationApi, Reading, notify_of_changes};
use crate::certificate::plan::{CertificateId, Held, Known, SecretStep, Terms, View, plan};
use crate::certificate::secret::{Authorities, DATA, SecretName};
use crate::certificate::serving::{Served, Serving};
use crate::lasting_failure::{FailureChange, LastingFailure};
use crate::metrics::{Metrics, ReloadOutcome};

/// The shortest time between two rounds: its own writes notify a replica too.
const PAUSE: Duration = Duration::from_millis(200);
/// The most steps of one round. A rotation takes three.
const STEPS: usize = 8;
/// How much the clocks of this node and of the API server may differ.
const CLOCK_TOLERANCE: Duration = Duration::from_mins(5);

/// What a webhook that makes its own certificate is given.
#[derive(Clone, Debug)]
pub struct OwnCertificate {
    /// The Secret with the CA.
    pub secret: SecretName,
    /// The DNS names and addresses of the leaf.
    pub names: Vec<String>,
    /// How long certificates are valid.
    pub terms: Terms,
}

/// Keeps the certificate of one replica.
pub struct Keeper {
    configuration: ConfigurationApi,
    own: Option<Own>,
    serving: Serving,
    metrics: Metrics,
    failure: LastingFailure,
}

struct Own {
    given: OwnCertificate,
    secrets: Api<Secret>,
    held: Option<Held>,
    /// Since when each CA was in every entry at each reading.
    shown: BTreeMap<CertificateId, Instant>,
}

/// The Secret as it was read.
struct StoredSecret {
    /// `None`: it does not exist.
    object: Option<Secret>,
    authorities: Authorities,
}

impl Keeper {
    /// A keeper for the webhook configuration `name`. If `own` is set, it makes the certificate that `serving` serves.
    #[must_use]
    pub fn new(client: Client, name: &str, own: Option<OwnCertificate>, serving: Serving, metrics: Metrics) -> Self {
        let own = own.map(|given| Own {
            secrets: Api::namespaced(client.clone(), &given.secret.namespace),
            given,
            held: None,
            shown: BTreeMap::new(),
        });
        let configuration = ConfigurationApi { client, name: name.to_owned() };
        Self { configuration, own, serving, metrics, failure: LastingFailure::default() }
    }

    /// Does a round every `interval` and after each change. Does not return.
    pub async fn keep(mut self, interval: Duration) {
        let changed = Arc::new(Notify::new());
        let configurations: Api<ValidatingWebhookConfiguration> = Api::all(self.configuration.client.clone());
        let (name, notify) = (self.configuration.name.clone(), changed.clone());
        tokio::spawn(async move { notify_of_changes(configurations, &name, notify).await });
        if let Some(own) = &self.own {
            let (secrets, name, notify) = (own.secrets.clone(), own.given.secret.name.clone(), changed.clone());
            tokio::spawn(async move { notify_of_changes(secrets, &name, notify).await });
        }
        loop {
            let failure = self.round().await.err();
            self.report(failure);
            sleep(PAUSE).await;
            let _ = timeout(interval, changed.notified()).await;
        }
    }

    fn report(&mut self, failure: Option<String>) {
        let outcome = if failure.is_some() { ReloadOutcome::Failed } else { ReloadOutcome::Ok };
        self.metrics.certificate_checked(outcome);
        match self.failure.note(failure) {
            Some(FailureChange::Failed(why)) => {
                self.serving.set_trouble(why);
                tracing::warn!(%why, "the certificate or its CA bundle cannot be kept; what is served stays");
            }
            Some(FailureChange::Recovered) => tracing::info!("the certificate and its CA bundle can be kept again"),
            None => {}
        }
    }

    /// Reads, and acts until there is nothing to do. The error is the first failure; the steps that do not depend on it are done.
    async fn round(&mut self) -> Result<(), String> {
        let mut failure = None;
        for step in 1..=STEPS {
            let Reading { configuration, time } = self.configuration.read().await;
            if let Some(time) = time {
                self.serving.set_time(time);
            }
            let configuration = configuration.map_err(|error| {
                let name = &self.configuration.name;
                failure.get_or_insert(format!("ValidatingWebhookConfiguration {name} cannot be read: {error}"));
            });
            let has_changed = match &mut self.own {
                Some(own) => {
                    own.step(&self.configuration, &configuration, time, &self.serving, &self.metrics, &mut failure)
                        .await
                }
                None => false,
            };
            if has_changed && step < STEPS {
                continue;
            }
            if has_changed {
                failure.get_or_insert(format!(
                    "the Secret or the webhook configuration still changes after {STEPS} attempts"
                ));
            }
            if let Ok(configuration) = &configuration {
                self.serving.set_bundle(configuration.as_ref().map(|configuration| self.check(configuration)));
            }
            break;
        }
        failure.map_or(Ok(()), Err)
    }

    /// Whether each entry accepts the certificate that is served.
    fn check(&self, configuration: &Configuration) -> Result<(), String> {
        let (chain, now) = (self.serving.chain(), self.serving.now());
        for entry in &configuration.entries {
            if entry.has_url && self.own.is_none() && entry.bundle == Bundle::default() {
                continue;
            }
            accepts(&entry.bundle, entry.host.as_deref(), &chain, now).map_err(|why| {
                let (entry, name) = (&entry.name, &self.configuration.name);
                format!("caBundle of {entry} in ValidatingWebhookConfiguration {name} does not accept the serving certificate: {why}")
            })?;
        }
        Ok(())
    }
}

impl Own {
    /// Plans and acts once. `found` is an error if the configuration could not be read. Returns whether to look again.
    async fn step(
        &mut self,
        api: &ConfigurationApi,
        found: &Result<Option<Configuration>, ()>,
        time: Option<Timestamp>,
        serving: &Serving,
        metrics: &Metrics,
        failure: &mut Option<String>,
    ) -> bool {
        let stored = match self.read().await {
            Ok(stored) => stored,
            Err(why) => {
                failure.get_or_insert(why);
                return false;
            }
        };
        let entries: Vec<Vec<Known>> = match found {
            Ok(Some(configuration)) => {
                configuration.entries.iter().map(|entry| entry.bundle.known().collect()).collect()
            }
            _ => Vec::new(),
        };
        let known = stored.authorities.stored();
        if let Some(current) = known.current {
            metrics.ca_expiry.set(current.not_after.as_second());
        }
        let now = serving.now();
        let ahead = time.map(|time| clock::now().duration_since(time));
        let is_clock_sure = ahead.is_some_and(|ahead| ahead.unsigned_abs() <= CLOCK_TOLERANCE);
        let settled = if found.is_ok() { self.settled(&entries) } else { Vec::new() };
        let view =
            View { now, is_clock_sure, stored: Some(&known), entries: &entries, settled: &settled, held: self.held };
        let plan = plan(&self.given.terms, &view);
        if let Some(why) = clock_trouble(ahead, found.is_ok()) {
            failure.get_or_insert(why);
        }
        let mut has_changed = false;
        if plan.issue
            && let Some(current) = &stored.authorities.current
        {
            match self.issue(current, serving, now) {
                Ok(()) => has_changed = true,
                Err(why) => {
                    metrics.certificate_reloaded(ReloadOutcome::Failed);
                    failure.get_or_insert(why);
                }
            }
        }
        if let (Ok(Some(configuration)), false) = (found, plan.bundles.is_empty()) {
            match self.write_bundles(api, configuration, &plan.bundles, &stored.authorities).await {
                Ok(()) => has_changed = true,
                // 422: a test of the patch failed.
                Err(error) if matches!(error.status_code(), Some(409 | 422)) => has_changed = true,
                Err(error) => {
                    failure.get_or_insert(format!(
                        "caBundle in ValidatingWebhookConfiguration {} cannot be written: {error}",
                        api.name
                    ));
                }
            }
        }
        if let Some(step) = plan.secret {
            match self.write(stored, step, now).await {
                Ok(()) => has_changed = true,
                Err(why) => {
                    failure.get_or_insert(why);
                }
            }
        }
        has_changed
    }

    /// The CAs that every entry has shown for long enough. Notes those that it shows now.
    fn settled(&mut self, entries: &[Vec<Known>]) -> Vec<CertificateId> {
        let first = entries.first().map(Vec::as_slice).unwrap_or_default();
        let in_all = |id: CertificateId| entries.iter().all(|entry| entry.iter().any(|known| known.id == id));
        let now = Instant::now();
        let shown = first.iter().map(|known| known.id).filter(|id| in_all(*id));
        self.shown = shown.map(|id| (id, self.shown.get(&id).copied().unwrap_or(now))).collect();
        let settled = self.shown.iter().filter(|(_, since)| now.duration_since(**since) >= self.given.terms.settle);
        settled.map(|(id, _)| *id).collect()
    }

    async fn read(&self) -> Result<StoredSecret, String> {
        let name = &self.given.secret;
        let object = bounded_request::send(ANSWER, self.secrets.get_opt(&name.name)).await;
        let object = object.map_err(|error| format!("Secret {name} cannot be read: {error}"))?;
        let authorities = object
            .as_ref()
            .map(Authorities::parse)
            .transpose()
            .map_err(|why| format!("Secret {name}: {why}; delete the Secret, and the webhook makes a new CA"))?;
        Ok(StoredSecret { object, authorities: authorities.unwrap_or_default() })
    }

    /// Changes the Secret, unless another replica has changed it since it was read.
    async fn write(&self, stored: StoredSecret, step: SecretStep, now: Timestamp) -> Result<(), String> {
        let name = &self.given.secret;
        let make = || Authority::generate(now, self.given.terms.authority);
        let authorities = stored.authorities.after(step, make)?;
        let ours = authorities.data();
        let params = PostParams { field_manager: Some("writgate-webhook".to_owned()), ..PostParams::default() };
        let written = if let Some(mut secret) = stored.object {
            let data = secret.data.get_or_insert_default();
            data.retain(|key, _| !DATA.contains(&&**key));
            data.extend(ours);
            bounded_request::send(ANSWER, self.secrets.replace(&name.name, &params, &secret)).await
        } else {
            let metadata = ObjectMeta { name: Some(name.name.clone()), ..ObjectMeta::default() };
            let secret = Secret { metadata, data: Some(ours), ..Secret::default() };
            bounded_request::send(ANSWER, self.secrets.create(&params, &secret)).await
        };
        match written {
            Ok(_) => {
                let known = authorities.stored();
                let (current, next) = (expiry(known.current), expiry(known.next));
                tracing::info!(secret = %name, ?step, current, next, "CA changed");
                Ok(())
            }
            // Another replica was faster.
            Err(error) if error.status_code() == Some(409) => Ok(()),
            Err(error) => Err(format!("Secret {name} cannot be written: {error}")),
        }
    }

    fn issue(&mut self, current: &Authority, serving: &Serving, now: Timestamp) -> Result<(), String> {
        let leaf = current.issue(&self.given.names, now, self.given.terms.leaf)?;
        let expires = leaf.held.not_after;
        let served = Served { chain: leaf.chain, key: leaf.key, not_after: expires };
        serving.renew(served).map_err(|error| format!("the new serving certificate cannot be used: {error}"))?;
        let is_of_new_ca = self.held.is_none_or(|held| held.issuer != leaf.held.issuer);
        self.held = Some(leaf.held);
        tracing::info!(%expires, is_of_new_ca, "serving certificate made");
        Ok(())
    }

    async fn write_bundles(
        &self,
        api: &ConfigurationApi,
        configuration: &Configuration,
        bundles: &[(usize, Vec<CertificateId>)],
        authorities: &Authorities,
    ) -> Result<(), RequestError> {
        let ours = Bundle::of_pem(authorities.certificates().collect::<String>().as_bytes());
        let of_entry = |(index, ids): &(usize, Vec<CertificateId>)| {
            let shown = &configuration.entries[*index].bundle;
            let certificate = |id: &CertificateId| shown.find(*id).or_else(|| ours.find(*id)).cloned();
            (*index, ids.iter().filter_map(certificate).collect::<Vec<CertificateDer<'static>>>())
        };
        let written: Vec<_> = bundles.iter().map(of_entry).collect();
        api.write(configuration, &written).await?;
        let (first, ids) = &bundles[0];
        let entry = &configuration.entries[*first];
        let others: Vec<_> = entry.bundle.subjects(|id| ours.find(id).is_none() && ids.contains(&id)).collect();
        let entries = bundles.len();
        tracing::info!(configuration = api.name, entries, certificates = ids.len(), ?others, "caBundle written");
        Ok(())
    }
}

/// Why no CA can be made because of a clock. `ahead` is the difference from the API server's clock. The text has no time, because a
/// failure is logged again when its text changes.
fn clock_trouble(ahead: Option<jiff::SignedDuration>, has_answered: bool) -> Option<String> {
    let then = "no CA is made or replaced until";
    match ahead {
        Some(ahead) if ahead.unsigned_abs() > CLOCK_TOLERANCE => {
            let side = if ahead.is_negative() { "behind" } else { "ahead of" };
            Some(format!(
                "the clock of this node is more than {CLOCK_TOLERANCE:?} {side} the API server's; {then} they agree"
            ))
        }
        None if has_answered => Some(format!("the API server's answers have no date; {then} they have one")),
        _ => None,
    }
}

fn expiry(known: Option<Known>) -> String {
    known.map_or_else(|| "none".to_owned(), |known| format!("expires {}", known.not_after))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Mutex;

    use axum::body::Body;
    use axum::http::{Request, Response, header};
    use tower::service_fn;

    use super::*;

    /// One round against an API server with neither a Secret nor a webhook configuration, whose clock differs by `offset`. Returns the
    /// failure, and the methods of the requests that would write.
    async fn round_with_clock(offset: Option<jiff::SignedDuration>) -> (Option<String>, Vec<String>) {
        let written = Arc::new(Mutex::new(Vec::new()));
        let writes = written.clone();
        let service = service_fn(move |request: Request<kube::client::Body>| {
            if request.method() != "GET" {
                writes.lock().expect("no panic").push(request.method().to_string());
            }
            let mut answer = Response::builder().status(404);
            if let Some(offset) = offset {
                let date = (clock::now() + offset).strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
                answer = answer.header(header::DATE, date);
            }
            let status = r#"{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}"#;
            std::future::ready(Ok::<_, Infallible>(answer.body(Body::from(status)).expect("an answer")))
        });
        let own = OwnCertificate {
            secret: "writgate-system/writgate-webhook-ca".parse().expect("a name"),
            names: vec!["localhost".to_owned()],
            terms: Terms::default(),
        };
        let metrics = Metrics::default();
        let client = Client::new(service, "default");
        let mut keeper = Keeper::new(client, "writgate", Some(own), Serving::new(metrics.clone()), metrics);
        let failure = keeper.round().await.err();
        let written = written.lock().expect("no panic").clone();
        (failure, written)
    }

    #[tokio::test]
    async fn a_clock_that_jumps_a_year_makes_no_ca() {
        let (_, written) = round_with_clock(Some(jiff::SignedDuration::from_secs(60))).await;
        assert_eq!(written, ["POST"], "the Secret is created");
        for hours in [365 * 24, -365 * 24, 1, -1] {
            let (failure, written) = round_with_clock(Some(jiff::SignedDuration::from_hours(hours))).await;
            let side = if hours < 0 { "ahead of" } else { "behind" };
            assert!(failure.expect("a failure").contains(&format!("more than 300s {side}")), "{hours}");
            assert_eq!(written, [""; 0], "{hours}");
        }
        let (failure, written) = round_with_clock(None).await;
        assert!(failure.expect("a failure").contains("no date"));
        assert_eq!(written, [""; 0]);
    }
}
