//! The clients that the TLS port accepts: the CA of their certificates, and their names.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use crate::certificate::files::TlsError;

/// The attribute `commonName` (RFC 5280, appendix A.1).
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// The clients that the TLS port accepts.
#[derive(Clone, Debug)]
pub struct ClientCertificates {
    /// The CA certificates in PEM. A client's certificate must be signed by one of them.
    pub ca: PathBuf,
    /// A client's certificate must have one of these as its common name or as a DNS name. If empty, every name is accepted.
    pub names: Vec<String>,
}

/// Accepts the clients that `clients` describes, with the CA in `pem`.
pub(crate) fn client_verifier(
    clients: &ClientCertificates,
    pem: &[u8],
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
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
