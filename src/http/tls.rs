//! The serving certificate, read from two PEM files and read again when their contents change.
//!
//! The files are compared by content. A Secret volume is updated by replacing a symlink two levels up, and a watch on the
//! file does not see that.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum_server::tls_rustls::RustlsConfig;
use jiff::Timestamp;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use x509_cert::Certificate;
use x509_cert::der::Decode;

use crate::metrics::{Metrics, ReloadOutcome};

/// Why a certificate and its key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}; set the PEM files with --tls-cert-file and --tls-private-key-file")]
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
}

/// The files with the serving certificate and its key.
#[derive(Clone, Debug)]
pub struct CertificateFiles {
    /// The certificate chain in PEM, with the server's certificate first.
    pub cert: PathBuf,
    /// PEM private key.
    pub key: PathBuf,
}

/// The certificate in use, and the files that it is read from.
pub struct ServingCertificate {
    files: CertificateFiles,
    /// The digest of the files that were read last, valid or not, so that a broken pair is reported only once.
    seen: [u8; 32],
    config: RustlsConfig,
    metrics: Metrics,
}

impl ServingCertificate {
    /// Reads the pair for the first time.
    pub fn load(files: CertificateFiles, metrics: Metrics) -> Result<Self, TlsError> {
        let contents = Contents::read(&files);
        let pair = Pair::parse(&files, &contents)?;
        metrics.certificate_expiry.set(pair.not_after.as_second());
        let config = RustlsConfig::from_config(pair.config);
        Ok(Self { files, seen: contents.digest(), config, metrics })
    }

    /// The configuration of the TLS listener. Later changes of the files take effect in it.
    #[must_use]
    pub fn config(&self) -> RustlsConfig {
        self.config.clone()
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
        match Pair::parse(&self.files, &contents) {
            Ok(pair) => {
                self.config.reload_from_config(pair.config);
                self.metrics.certificate_expiry.set(pair.not_after.as_second());
                self.metrics.certificate_reloaded(ReloadOutcome::Ok);
                tracing::info!(expires = %pair.not_after, "serving certificate replaced");
            }
            Err(error) => {
                self.metrics.certificate_reloaded(ReloadOutcome::Failed);
                tracing::error!(%error, "the new serving certificate cannot be used; the old one stays in use");
            }
        }
        self
    }
}

/// The bytes of the two files, or the errors of reading them.
struct Contents {
    cert: Result<Vec<u8>, io::ErrorKind>,
    key: Result<Vec<u8>, io::ErrorKind>,
}

impl Contents {
    fn read(files: &CertificateFiles) -> Self {
        let read = |path: &Path| fs::read(path).map_err(|error| error.kind());
        Self { cert: read(&files.cert), key: read(&files.key) }
    }

    fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        for file in [&self.cert, &self.key] {
            let digested = match file {
                Ok(bytes) => Sha256::digest(bytes),
                Err(kind) => Sha256::digest(format!("{kind:?}")),
            };
            digest.update(digested);
        }
        digest.finalize().into()
    }
}

/// A certificate and a key that belong together.
struct Pair {
    config: Arc<ServerConfig>,
    not_after: Timestamp,
}

impl Pair {
    fn parse(files: &CertificateFiles, contents: &Contents) -> Result<Self, TlsError> {
        let (cert, key) = (bytes(&files.cert, &contents.cert)?, bytes(&files.key, &contents.key)?);
        let no_certificate = |why: String| TlsError::NoCertificate { path: files.cert.clone(), why };
        let chain = CertificateDer::pem_slice_iter(cert)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| no_certificate(error.to_string()))?;
        let leaf = chain.first().ok_or_else(|| no_certificate("no CERTIFICATE section".into()))?;
        let leaf = Certificate::from_der(leaf).map_err(|error| no_certificate(error.to_string()))?;
        let not_after = leaf.tbs_certificate().validity().not_after.to_unix_duration();
        let not_after = Timestamp::UNIX_EPOCH
            .checked_add(not_after)
            .map_err(|error| no_certificate(format!("its expiry is out of range: {error}")))?;
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|error| TlsError::NoKey { path: files.key.clone(), why: error.to_string() })?;
        // rustls's defaults: TLS 1.2 and 1.3 with their safe suites.
        let mut config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|source| TlsError::Pair { cert: files.cert.clone(), key: files.key.clone(), source })?;
        // The API server uses HTTP/1.1 for webhooks, to spread its load. HTTP/2 would only add attack surface.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), not_after })
    }
}

fn bytes<'a>(path: &Path, contents: &'a Result<Vec<u8>, io::ErrorKind>) -> Result<&'a [u8], TlsError> {
    match contents {
        Ok(bytes) => Ok(bytes),
        Err(kind) => Err(TlsError::Read { path: path.to_owned(), source: (*kind).into() }),
    }
}
