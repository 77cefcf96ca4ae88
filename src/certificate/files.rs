//! The serving certificate and the CA of client certificates, read from PEM files and read again when their contents change.
//!
//! The files are compared by content. A Secret volume is updated by replacing a symlink two levels up, and a watch on the
//! file does not see that.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum_server::tls_rustls::RustlsConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use sha2::{Digest, Sha256};

use crate::certificate::bundle::known;
use crate::certificate::clients::{ClientCertificates, client_verifier};
use crate::certificate::serving::{Served, Serving};
use crate::metrics::{Metrics, ReloadOutcome};

/// Why a certificate and its key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error(
        "cannot read {path}: {source}; set the PEM files with --tls-cert-file, --tls-private-key-file and --client-ca-file"
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// The error.
        source: io::Error,
    },
    /// The certificate file contains no usable certificate.
    #[error("{path} contains no usable certificate ({why}); expected PEM, with the server's certificate first")]
    NoCertificate {
        /// The file.
        path: PathBuf,
        /// The parser's message.
        why: String,
    },
    /// The key file contains no usable key.
    #[error("{path} contains no usable private key ({why}); expected an unencrypted PEM key")]
    NoKey {
        /// The file.
        path: PathBuf,
        /// The parser's message.
        why: String,
    },
    /// The certificate and the key do not belong together, or the kind of the key is not supported.
    #[error("the certificate in {cert} and the key in {key} cannot be used together: {source}")]
    Pair {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// The TLS library's error.
        source: rustls::Error,
    },
    /// The CA file contains no usable CA certificate.
    #[error(
        "{path} contains no usable CA certificate ({why}); expected PEM with the CA of the API servers' certificates"
    )]
    NoClientCa {
        /// The file.
        path: PathBuf,
        /// The error.
        why: String,
    },
}

/// The files with the serving certificate and its key.
#[derive(Clone, Debug)]
pub struct CertificateFiles {
    /// The certificate chain in PEM, with the server's certificate first.
    pub cert: PathBuf,
    /// PEM private key.
    pub key: PathBuf,
    /// Which clients are accepted. `None`: all, without a certificate.
    pub clients: Option<ClientCertificates>,
}

/// The certificate in use, and the files that it is read from.
pub struct ServingCertificate {
    files: CertificateFiles,
    /// The digest of the files that were read last, valid or not, so that a broken pair is reported only once.
    seen: [u8; 32],
    serving: Serving,
    metrics: Metrics,
}

impl ServingCertificate {
    /// Reads the pair for the first time.
    pub fn load(files: CertificateFiles, metrics: Metrics) -> Result<Self, TlsError> {
        let contents = Contents::read(&files);
        let serving = Serving::new(metrics.clone());
        Pair::parse(&files, &contents)?.serve(&files, &serving)?;
        Ok(Self { files, seen: contents.digest(), serving, metrics })
    }

    /// The configuration of the TLS listener. Later changes of the files take effect in it.
    #[must_use]
    pub fn config(&self) -> RustlsConfig {
        self.serving.config()
    }

    /// What is served.
    #[must_use]
    pub fn serving(&self) -> Serving {
        self.serving.clone()
    }

    /// Reads the files every `interval`. Does not return.
    pub async fn follow(mut self, interval: Duration) {
        loop {
            tokio::time::sleep(interval).await;
            self = match tokio::task::spawn_blocking(move || self.refreshed()).await {
                Ok(certificate) => certificate,
                // Only when the runtime shuts down.
                Err(_) => return,
            };
        }
    }

    /// Reads the files, and serves a changed pair. If the pair cannot be used, the old one stays in use: clients still trust
    /// it, and a half-written update is complete at the next read.
    fn refreshed(mut self) -> Self {
        let contents = Contents::read(&self.files);
        let digest = contents.digest();
        if digest == self.seen {
            return self;
        }
        self.seen = digest;
        let served = Pair::parse(&self.files, &contents).and_then(|pair| {
            let expires = pair.served.not_after;
            pair.serve(&self.files, &self.serving).map(|()| expires)
        });
        match served {
            Ok(expires) => {
                self.metrics.certificate_reloaded(ReloadOutcome::Ok);
                tracing::info!(%expires, "serving certificate or client CA replaced");
            }
            Err(error) => {
                self.metrics.certificate_reloaded(ReloadOutcome::Failed);
                tracing::error!(%error, "the new serving certificate or client CA cannot be used; the old ones stay in use");
            }
        }
        self
    }
}

/// The bytes of the files, or the errors of reading them.
struct Contents {
    cert: Result<Vec<u8>, io::ErrorKind>,
    key: Result<Vec<u8>, io::ErrorKind>,
    client_ca: Option<Result<Vec<u8>, io::ErrorKind>>,
}

impl Contents {
    fn read(files: &CertificateFiles) -> Self {
        let read = |path: &Path| fs::read(path).map_err(|error| error.kind());
        let client_ca = files.clients.as_ref().map(|clients| read(&clients.ca));
        Self { cert: read(&files.cert), key: read(&files.key), client_ca }
    }

    fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        for file in [&self.cert, &self.key].into_iter().chain(&self.client_ca) {
            let digested = match file {
                Ok(bytes) => Sha256::digest(bytes),
                Err(kind) => Sha256::digest(format!("{kind:?}")),
            };
            digest.update(digested);
        }
        digest.finalize().into()
    }
}

/// A certificate and its key, and the clients that are accepted.
struct Pair {
    served: Served,
    clients: Option<Arc<dyn ClientCertVerifier>>,
}

impl Pair {
    fn parse(files: &CertificateFiles, contents: &Contents) -> Result<Self, TlsError> {
        let (cert, key) = (bytes(&files.cert, &contents.cert)?, bytes(&files.key, &contents.key)?);
        let no_certificate = |why: String| TlsError::NoCertificate { path: files.cert.clone(), why };
        let chain = CertificateDer::pem_slice_iter(cert)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| no_certificate(error.to_string()))?;
        let leaf = chain.first().ok_or_else(|| no_certificate("no CERTIFICATE section".into()))?;
        let not_after = known(leaf).map_err(no_certificate)?.not_after;
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|error| TlsError::NoKey { path: files.key.clone(), why: error.to_string() })?;
        let clients = match files.clients.as_ref().zip(contents.client_ca.as_ref()) {
            Some((clients, ca)) => Some(client_verifier(clients, bytes(&clients.ca, ca)?)?),
            None => None,
        };
        Ok(Self { served: Served { chain, key, not_after }, clients })
    }

    /// Fails if the certificate and the key do not belong together.
    fn serve(self, files: &CertificateFiles, serving: &Serving) -> Result<(), TlsError> {
        let not_a_pair = |source| TlsError::Pair { cert: files.cert.clone(), key: files.key.clone(), source };
        serving.serve(self.served, self.clients).map_err(not_a_pair)
    }
}

/// Reads the client CA for the first time, and then every `interval`, for a webhook that makes its certificate itself. The returned
/// future does not end.
pub fn follow_client_ca(
    clients: ClientCertificates,
    serving: Serving,
    metrics: Metrics,
    interval: Duration,
) -> Result<impl Future<Output = ()> + Send, TlsError> {
    let read = |clients: &ClientCertificates| fs::read(&clients.ca).map_err(|error| error.kind());
    let apply = |clients: &ClientCertificates, serving: &Serving, content: &Result<Vec<u8>, io::ErrorKind>| {
        let verifier = client_verifier(clients, bytes(&clients.ca, content)?)?;
        let no_ca = |error: rustls::Error| TlsError::NoClientCa { path: clients.ca.clone(), why: error.to_string() };
        serving.set_clients(verifier).map_err(no_ca)
    };
    let mut seen = read(&clients);
    apply(&clients, &serving, &seen)?;
    Ok(async move {
        loop {
            tokio::time::sleep(interval).await;
            // A small file of a volume in memory.
            let content = read(&clients);
            if content == seen {
                continue;
            }
            match apply(&clients, &serving, &content) {
                Ok(()) => {
                    metrics.certificate_reloaded(ReloadOutcome::Ok);
                    tracing::info!("client CA replaced");
                }
                Err(error) => {
                    metrics.certificate_reloaded(ReloadOutcome::Failed);
                    tracing::error!(%error, "the new client CA cannot be used; the old one stays in use");
                }
            }
            seen = content;
        }
    })
}

fn bytes<'a>(path: &Path, contents: &'a Result<Vec<u8>, io::ErrorKind>) -> Result<&'a [u8], TlsError> {
    match contents {
        Ok(bytes) => Ok(bytes),
        Err(kind) => Err(TlsError::Read { path: path.to_owned(), source: (*kind).into() }),
    }
}
