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
use jiff::Timestamp;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
};
use sha2::{Digest, Sha256};
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use crate::metrics::{Metrics, ReloadOutcome};

/// The attribute `commonName` (RFC 5280, appendix A.1).
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

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

/// The clients that the TLS port accepts.
#[derive(Clone, Debug)]
pub struct ClientCertificates {
    /// The CA certificates in PEM. A client's certificate must be signed by one of them.
    pub ca: PathBuf,
    /// A client's certificate must have one of these as its common name or as a DNS name. If empty, every name is accepted.
    pub names: Vec<String>,
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
                tracing::info!(expires = %pair.not_after, "serving certificate or client CA replaced");
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
        let config = ServerConfig::builder();
        let config = match files.clients.as_ref().zip(contents.client_ca.as_ref()) {
            Some((clients, ca)) => config.with_client_cert_verifier(client_verifier(clients, bytes(&clients.ca, ca)?)?),
            None => config.with_no_client_auth(),
        };
        // A new configuration has no sessions, so no client resumes one that an earlier CA allowed.
        let mut config = config.with_single_cert(chain, key).map_err(|source| TlsError::Pair {
            cert: files.cert.clone(),
            key: files.key.clone(),
            source,
        })?;
        // The API server uses HTTP/1.1 for webhooks, to spread its load. HTTP/2 would only add attack surface.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), not_after })
    }
}

fn client_verifier(clients: &ClientCertificates, pem: &[u8]) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let no_ca = |why: String| TlsError::NoClientCa { path: clients.ca.clone(), why };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| no_ca(error.to_string()))?;
        roots.add(certificate).map_err(|error| no_ca(error.to_string()))?;
    }
    let verifier = WebPkiClientVerifier::builder(roots.into()).build().map_err(|error| no_ca(error.to_string()))?;
    if clients.names.is_empty() {
        return Ok(verifier);
    }
    Ok(Arc::new(NamedClients { verifier, names: clients.names.clone() }))
}

/// Accepts a certificate that `verifier` accepts and that has one of `names`.
#[derive(Debug)]
struct NamedClients {
    verifier: Arc<dyn ClientCertVerifier>,
    names: Vec<String>,
}

impl ClientCertVerifier for NamedClients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.verifier.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.verifier.verify_client_cert(end_entity, intermediates, now)?;
        let certificate = Certificate::from_der(end_entity)
            .map_err(|_| rustls::Error::InvalidCertificate(CertificateError::BadEncoding))?;
        if names(&certificate).iter().any(|name| self.names.contains(name)) {
            return Ok(verified);
        }
        Err(rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, cert, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, cert, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

/// The common names and the DNS names of a certificate. A name in another encoding than UTF-8 is left out, so it is not accepted.
fn names(certificate: &Certificate) -> Vec<String> {
    let certificate = certificate.tbs_certificate();
    let subject = certificate.subject().iter().filter(|attribute| attribute.oid == COMMON_NAME);
    let mut names: Vec<_> =
        subject.filter_map(|attribute| Some(std::str::from_utf8(attribute.value.value()).ok()?.to_owned())).collect();
    if let Ok(Some((_, SubjectAltName(alternatives)))) = certificate.get_extension::<SubjectAltName>() {
        names.extend(alternatives.into_iter().filter_map(|name| match name {
            GeneralName::DnsName(name) => Some(name.to_string()),
            _ => None,
        }));
    }
    names
}

fn bytes<'a>(path: &Path, contents: &'a Result<Vec<u8>, io::ErrorKind>) -> Result<&'a [u8], TlsError> {
    match contents {
        Ok(bytes) => Ok(bytes),
        Err(kind) => Err(TlsError::Read { path: path.to_owned(), source: (*kind).into() }),
    }
}
