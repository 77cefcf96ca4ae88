//! The CA certificates of an entry's `caBundle`, and whether an API server with them accepts what the webhook serves.

use jiff::Timestamp;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, RootCertStore};
use sha2::{Digest as _, Sha256};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

use crate::certificate::plan::{CertificateId, Known};

/// The certificates of a `caBundle`, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bundle(Vec<(Known, CertificateDer<'static>)>);

impl Bundle {
    /// Reads PEM. What is not a certificate is left out, as API servers do. A certificate that cannot be read here may be one that
    /// Go reads, so it counts as valid.
    #[must_use]
    pub fn of_pem(pem: &[u8]) -> Self {
        let certificates = CertificateDer::pem_slice_iter(pem).filter_map(Result::ok);
        let unread = |der: &_| Known { id: id(der), not_before: Timestamp::MIN, not_after: Timestamp::MAX };
        Self(certificates.map(|der| (known(&der).unwrap_or_else(|_| unread(&der)), der)).collect())
    }

    /// What the plan must know about the certificates.
    pub fn known(&self) -> impl Iterator<Item = Known> {
        self.0.iter().map(|(known, _)| *known)
    }

    /// A certificate.
    #[must_use]
    pub fn find(&self, id: CertificateId) -> Option<&CertificateDer<'static>> {
        self.0.iter().find(|(known, _)| known.id == id).map(|(_, der)| der)
    }

    /// The subjects of the certificates that `is_named` accepts, for a log line.
    pub fn subjects(&self, is_named: impl Fn(CertificateId) -> bool) -> impl Iterator<Item = String> {
        let named = self.0.iter().filter(move |(known, _)| is_named(known.id));
        named.filter_map(|(_, der)| Some(Certificate::from_der(der).ok()?.tbs_certificate().subject().to_string()))
    }
}

/// The digest and the validity of a certificate.
pub fn known(der: &CertificateDer<'_>) -> Result<Known, String> {
    let certificate = Certificate::from_der(der).map_err(|error| format!("the certificate cannot be read: {error}"))?;
    let validity = certificate.tbs_certificate().validity();
    let at = |time: &x509_cert::time::Time| Timestamp::UNIX_EPOCH.checked_add(time.to_unix_duration());
    let [not_before, not_after] = [at(&validity.not_before), at(&validity.not_after)]
        .map(|time| time.map_err(|error| format!("its validity is out of range: {error}")));
    Ok(Known { id: id(der), not_before: not_before?, not_after: not_after? })
}

fn id(der: &CertificateDer<'_>) -> CertificateId {
    CertificateId(Sha256::digest(der).into())
}

/// Whether a client that trusts `bundle` and calls `name` accepts `chain` at `now`. The error says why not.
///
/// Only what is certainly wrong counts: Go accepts some certificates that rustls does not.
pub fn accepts(
    bundle: &Bundle,
    name: Option<&str>,
    chain: &[CertificateDer<'_>],
    now: Timestamp,
) -> Result<(), String> {
    let Some((leaf, intermediates)) = chain.split_first() else { return Err("no certificate is served".to_owned()) };
    let Ok(parsed) = ParsedCertificate::try_from(leaf) else { return Ok(()) };
    if let Some(Ok(server)) = name.map(ServerName::try_from)
        && let Err(rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) = rustls::client::verify_server_name(&parsed, &server)
    {
        return Err(format!("the serving certificate is not for {}", name.unwrap_or_default()));
    }
    if bundle.0.is_empty() {
        return Err("it contains no certificate".to_owned());
    }
    if bundle.0.iter().any(|(_, der)| der == leaf) {
        return Ok(());
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(
        bundle.0.iter().filter(|(known, _)| known.is_valid(now)).map(|(_, der)| der.clone()),
    );
    let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(u64::try_from(now.as_second()).unwrap_or(0)));
    match rustls::client::verify_server_cert_signed_by_trust_anchor(&parsed, &roots, intermediates, now, algorithms.all)
    {
        Err(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature)) => {
            Err("it has no valid CA that signed the serving certificate".to_owned())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::certificate::authority::Authority;

    use super::*;

    #[test]
    fn another_or_no_ca_does_not_accept_a_leaf() {
        let now: Timestamp = "2026-11-28T12:00:00Z".parse().expect("a time");
        let day = Duration::from_hours(24);
        let [ours, other] = [(); 2].map(|()| Authority::generate(now, day).expect("a CA"));
        let leaf = ours.issue(&["10.0.0.1".to_owned()], now, 2 * day).expect("a leaf");
        let check = |pem: &str, at| accepts(&Bundle::of_pem(pem.as_bytes()), Some("10.0.0.1"), &leaf.chain, at);
        let both = format!("{}text between\n{}", other.certificate, ours.certificate);
        assert_eq!(check(&ours.certificate, now), Ok(()));
        assert_eq!(check(&both, now), Ok(()));
        assert!(check(&other.certificate, now).expect_err("another CA").contains("no valid CA"));
        assert!(check("", now).expect_err("nothing").contains("no certificate"));
        assert_eq!(Bundle::of_pem(both.as_bytes()).known().count(), 2);
    }

    /// `openssl req -x509` makes such a certificate, and Go accepts it.
    #[test]
    fn a_self_signed_certificate_is_its_own_ca() {
        let now: Timestamp = "2026-11-28T12:00:00Z".parse().expect("a time");
        let own = Authority::generate(now, Duration::from_hours(24)).expect("a CA");
        let bundle = Bundle::of_pem(own.certificate.as_bytes());
        let chain = [CertificateDer::from_pem_slice(own.certificate.as_bytes()).expect("a certificate")];
        assert_eq!(accepts(&bundle, None, &chain, now), Ok(()));
    }
}
