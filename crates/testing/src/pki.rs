//! The certificates of the control plane: one authority, serving certificates for loopback, and client certificates for users.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

/// A certificate authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// The authority's certificate, in PEM.
    pub certificate: String,
}

/// A certificate and its key, both in PEM.
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// The key.
    pub key: String,
}

impl Authority {
    /// Generates a key and a self-signed certificate.
    pub fn new(name: &str) -> Self {
        let key = new_key();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).expect("a certificate from valid parameters").pem();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    /// A serving certificate for these host names and addresses.
    pub fn server(&self, names: &[&str]) -> Pair {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("valid host names");
        params.distinguished_name.push(DnType::CommonName, "server");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(&params)
    }

    /// A client certificate: the API server takes the user from the common name and the groups from the organisations.
    pub fn client(&self, user: &str, groups: &[&str]) -> Pair {
        // rcgen stores one value for each attribute, and no test requires two groups.
        assert!(groups.len() <= 1, "a user has at most one group");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, user);
        for &group in groups {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(&params)
    }

    /// A client certificate with a common name and a DNS name.
    pub fn client_with_dns_name(&self, user: &str, name: &str) -> Pair {
        let mut params = CertificateParams::new([name.to_owned()]).expect("a valid host name");
        params.distinguished_name.push(DnType::CommonName, user);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(&params)
    }

    fn sign(&self, params: &CertificateParams) -> Pair {
        let key = new_key();
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate from valid parameters").pem();
        Pair { certificate, key: key.serialize_pem() }
    }
}

/// A new P-256 key.
pub(crate) fn new_key() -> KeyPair {
    KeyPair::generate().expect("the system has randomness")
}
