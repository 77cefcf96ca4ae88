//! The certificate that the TLS port serves, and why it is not accepted, for readiness and the metrics.

use std::sync::{Arc, Mutex};

use axum_server::tls_rustls::RustlsConfig;
use jiff::Timestamp;
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::time::Instant;
use writgate_cluster::clock;

use crate::metrics::Metrics;

/// A certificate chain, its key, and when the first certificate expires.
pub struct Served {
    /// The chain, with the server's certificate first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The key.
    pub key: PrivateKeyDer<'static>,
    /// When the server's certificate has expired.
    pub not_after: Timestamp,
}

/// What the TLS port serves. Clones share it.
#[derive(Clone)]
pub struct Serving(Arc<Shared>);

struct Shared {
    config: RustlsConfig,
    metrics: Metrics,
    state: Mutex<State>,
}

struct State {
    served: Option<Served>,
    clients: Option<Arc<dyn ClientCertVerifier>>,
    /// Why there is no certificate, or why API servers do not accept it, or why it is not known whether they do.
    trouble: Option<String>,
    /// The webhook configuration was read once. From then on, a failure to read it changes nothing.
    is_checked: bool,
    /// A time of the API server's clock, and when it was read.
    time: Option<(Timestamp, Instant)>,
}

impl Serving {
    /// Serves no certificate yet: every handshake fails.
    ///
    /// # Panics
    ///
    /// Never: a configuration without a certificate is valid.
    #[must_use]
    pub fn new(metrics: Metrics) -> Self {
        let trouble = Some("the webhook has no serving certificate yet".to_owned());
        let state = State { served: None, clients: None, trouble, is_checked: false, time: None };
        let config = server_config(None, None).expect("a configuration without a certificate is valid");
        Self(Arc::new(Shared { config: RustlsConfig::from_config(config), metrics, state: Mutex::new(state) }))
    }

    /// The configuration of the TLS listener. Later changes take effect in it.
    #[must_use]
    pub fn config(&self) -> RustlsConfig {
        self.0.config.clone()
    }

    /// Serves a certificate that somebody else made, to all clients that have a certificate accepted by `clients`, if that is set.
    /// If the pair cannot be used, the old one stays in use.
    pub fn serve(&self, served: Served, clients: Option<Arc<dyn ClientCertVerifier>>) -> Result<(), rustls::Error> {
        let mut state = self.state();
        self.0.config.reload_from_config(server_config(Some(&served), clients.clone())?);
        self.0.metrics.certificate_expiry.set(served.not_after.as_second());
        if state.served.replace(served).is_none() {
            state.trouble = None;
        }
        state.clients = clients;
        Ok(())
    }

    /// Serves a certificate that the webhook made, to the same clients. The first one is not accepted before
    /// [`Serving::set_bundle`] says so.
    pub fn renew(&self, served: Served) -> Result<(), rustls::Error> {
        let mut state = self.state();
        self.0.config.reload_from_config(server_config(Some(&served), state.clients.clone())?);
        self.0.metrics.certificate_expiry.set(served.not_after.as_second());
        state.served = Some(served);
        Ok(())
    }

    /// Accepts these clients from now on.
    pub fn set_clients(&self, clients: Arc<dyn ClientCertVerifier>) -> Result<(), rustls::Error> {
        let mut state = self.state();
        self.0.config.reload_from_config(server_config(state.served.as_ref(), Some(clients.clone()))?);
        state.clients = Some(clients);
        Ok(())
    }

    /// Notes why there is still no certificate that API servers accept.
    pub fn set_trouble(&self, why: &str) {
        let mut state = self.state();
        if state.trouble.is_some() && !state.is_checked {
            state.trouble = Some(format!("the webhook has no serving certificate that API servers accept: {why}"));
        }
    }

    /// Notes whether the webhook configuration accepts the certificate, or that there is no configuration.
    pub fn set_bundle(&self, accepted: Option<Result<(), String>>) {
        self.0.metrics.note_bundle(accepted.as_ref().map(Result::is_ok));
        let mut state = self.state();
        if state.served.is_some() {
            state.is_checked = true;
            state.trouble = accepted.and_then(Result::err);
        }
    }

    /// Notes the time of the API server's clock.
    pub fn set_time(&self, time: Timestamp) {
        self.state().time = Some((time, Instant::now()));
    }

    /// The time by the API server's clock, because API servers check the certificate; before it is known, by this node's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let time = self.state().time;
        time.and_then(|(time, at)| time.checked_add(at.elapsed()).ok()).unwrap_or_else(clock::now)
    }

    /// The certificate chain.
    #[must_use]
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.state().served.as_ref().map(|served| served.chain.clone()).unwrap_or_default()
    }

    /// Why API servers do not accept this replica. `None` if they do, as far as is known.
    #[must_use]
    pub fn missing(&self) -> Option<String> {
        let now = self.now();
        let state = self.state();
        match &state.served {
            Some(served) if served.not_after <= now => {
                Some(format!("the serving certificate expired at {}", served.not_after))
            }
            _ => state.trouble.clone(),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.state.lock().expect("no thread panics while it holds the lock")
    }
}

/// Has no certificate, so every handshake fails.
#[derive(Debug)]
struct NoCertificate;

impl ResolvesServerCert for NoCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }
}

/// rustls's defaults: TLS 1.2 and 1.3 with their safe suites. A new configuration has no sessions, so no client resumes one that
/// an earlier CA allowed.
fn server_config(
    served: Option<&Served>,
    clients: Option<Arc<dyn ClientCertVerifier>>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let config = ServerConfig::builder();
    let config = match clients {
        Some(clients) => config.with_client_cert_verifier(clients),
        None => config.with_no_client_auth(),
    };
    let mut config = match served {
        Some(served) => config.with_single_cert(served.chain.clone(), served.key.clone_key())?,
        None => config.with_cert_resolver(Arc::new(NoCertificate)),
    };
    // The API server uses HTTP/1.1 for webhooks, to spread its load. HTTP/2 would only add attack surface.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
