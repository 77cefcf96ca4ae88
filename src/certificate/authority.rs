//! A CA that the webhook makes, and the leaves that it signs. The keys are ECDSA P-256, which every API server supports.

use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

use crate::certificate::bundle::known;
use crate::certificate::plan::{BACKDATED, Held, Known};

/// Names in bundles and in errors of clients begin with this. The rest is the time at which the CA was made.
const NAME: &str = "Writgate webhook CA";

/// A CA with its key.
pub struct Authority {
    /// What the plan must know about it.
    pub known: Known,
    /// The certificate in PEM.
    pub certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A serving certificate with its key.
pub struct Leaf {
    /// The certificate, without the CA: API servers have it in the bundle.
    pub chain: Vec<CertificateDer<'static>>,
    /// The key.
    pub key: PrivateKeyDer<'static>,
    /// What the plan must know about it.
    pub held: Held,
}

impl Authority {
    /// Makes a CA.
    pub fn generate(now: Timestamp, lifetime: Duration) -> Result<Self, String> {
        let failed = |error: rcgen::Error| format!("cannot make a CA: {error}");
        let mut params = params_of(&format!("{NAME} {now:.0}"));
        set_validity(&mut params, now, lifetime);
        let key = KeyPair::generate().map_err(failed)?;
        let made = params.self_signed(&key).map_err(failed)?;
        Ok(Self { known: known(made.der())?, certificate: made.pem(), issuer: Issuer::new(params, key) })
    }

    /// Reads a CA. Fails if the certificate and the key do not belong together.
    pub fn parse(certificate: &str, key: &str) -> Result<Self, String> {
        let der = CertificateDer::from_pem_slice(certificate.as_bytes())
            .map_err(|error| format!("the certificate is not PEM: {error}"))?;
        let parsed = Certificate::from_der(&der).map_err(|error| format!("the certificate cannot be read: {error}"))?;
        let key = KeyPair::from_pem(key).map_err(|error| format!("the key cannot be read: {error}"))?;
        let public = parsed.tbs_certificate().subject_public_key_info().subject_public_key.raw_bytes();
        if public != key.public_key_raw() {
            return Err("the certificate and the key do not belong together".to_owned());
        }
        let name = parsed.tbs_certificate().subject().common_name();
        let name = name.ok().flatten().ok_or("the certificate has no common name")?;
        let issuer = Issuer::new(params_of(&name.value()), key);
        Ok(Self { known: known(&der)?, certificate: certificate.to_owned(), issuer })
    }

    /// The key in PEM.
    #[must_use]
    pub fn key(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// Makes a leaf for these DNS names and addresses. It ends before the CA does.
    pub fn issue(&self, names: &[String], now: Timestamp, lifetime: Duration) -> Result<Leaf, String> {
        let failed = |error: rcgen::Error| format!("cannot make a serving certificate: {error}");
        let left = Duration::try_from(self.known.not_after.duration_since(now)).unwrap_or_default();
        let lifetime = lifetime.min(left);
        let mut params = CertificateParams::new(names.to_vec()).map_err(failed)?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "writgate-webhook");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, now, lifetime);
        let key = KeyPair::generate().map_err(failed)?;
        let made = params.signed_by(&key, &self.issuer).map_err(failed)?;
        let held = Held { issuer: self.known.id, not_after: known(made.der())?.not_after };
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Ok(Leaf { chain: vec![made.der().clone()], key, held })
    }
}

/// The parameters of a CA that [`Issuer`] uses. They are the same for a CA that was read.
fn params_of(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    params
}

fn set_validity(params: &mut CertificateParams, now: Timestamp, lifetime: Duration) {
    let epoch = date_time_ymd(1970, 1, 1);
    let at = |time: Timestamp| epoch + Duration::from_secs(u64::try_from(time.as_second()).unwrap_or_default());
    params.not_before = at(now.checked_sub(BACKDATED).unwrap_or(Timestamp::MIN));
    params.not_after = at(now.checked_add(lifetime).unwrap_or(Timestamp::MAX));
}

#[cfg(test)]
mod tests {
    use crate::certificate::bundle::{Bundle, accepts};

    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    fn now() -> Timestamp {
        "2026-11-28T12:00:00Z".parse().expect("a time")
    }

    #[test]
    fn a_ca_that_was_read_signs_like_the_one_that_was_made() {
        let made = Authority::generate(now(), 24 * HOUR).expect("a CA");
        let read = Authority::parse(&made.certificate, &made.key()).expect("the same CA");
        assert_eq!(read.known, made.known);
        let names = ["writgate-webhook.writgate-system.svc".to_owned()];
        let bundle = Bundle::of_pem(made.certificate.as_bytes());
        for authority in [made, read] {
            let leaf = authority.issue(&names, now(), HOUR).expect("a leaf");
            assert_eq!(leaf.held.not_after, now() + HOUR);
            assert_eq!(accepts(&bundle, Some(&names[0]), &leaf.chain, now()), Ok(()));
            let error = accepts(&bundle, Some("writgate-webhook.other.svc"), &leaf.chain, now());
            assert!(error.expect_err("another name").contains("writgate-webhook.other.svc"));
        }
    }

    #[test]
    fn a_leaf_does_not_outlive_its_ca() {
        let authority = Authority::generate(now(), HOUR).expect("a CA");
        let leaf = authority.issue(&["a".to_owned()], now() + HOUR / 2, 24 * HOUR).expect("a leaf");
        assert_eq!(leaf.held.not_after, authority.known.not_after);
    }

    #[test]
    fn half_a_pair_is_refused() {
        let [one, other] = [(); 2].map(|()| Authority::generate(now(), HOUR).expect("a CA"));
        let error = |certificate: &str, key: &str| Authority::parse(certificate, key).err().expect("an error");
        assert!(error(&one.certificate, &other.key()).contains("do not belong together"));
        assert!(error(&one.certificate, &one.certificate).contains("key"));
        assert!(error(&one.key(), &one.key()).contains("certificate"));
        assert!(error("", "").contains("certificate"));
    }
}
