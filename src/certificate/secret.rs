//! The CAs in the Secret that all replicas share. A replica changes it by compare-and-swap on its resource version.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;

use crate::certificate::authority::Authority;
use crate::certificate::bundle::Bundle;
use crate::certificate::plan::{SecretStep, Stored};

const CURRENT: (&str, &str) = ("ca.crt", "ca.key");
const NEXT: (&str, &str) = ("next-ca.crt", "next-ca.key");
/// The key of the previous CA is not kept: nothing is signed with it any more.
const PREVIOUS: (&str, &str) = ("previous-ca.crt", "previous-ca.until");

/// The keys in the Secret's `data` that the webhook writes. Others stay as they are.
pub(super) const DATA: [&str; 6] = [CURRENT.0, CURRENT.1, NEXT.0, NEXT.1, PREVIOUS.0, PREVIOUS.1];

/// The name of a Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretName {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl std::str::FromStr for SecretName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
                Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
            }
            _ => Err("expected NAMESPACE/NAME, for example writgate-system/writgate-webhook-ca".to_owned()),
        }
    }
}

impl std::fmt::Display for SecretName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// The CAs with their keys.
#[derive(Default)]
pub struct Authorities {
    /// Signs leaves.
    pub current: Option<Authority>,
    /// Signs leaves later.
    pub next: Option<Authority>,
    /// Signed leaves before: its certificate in PEM, and when its last leaf has ended.
    pub previous: Option<(String, Timestamp)>,
}

impl Authorities {
    /// Reads the data of the Secret. Without data there are no CAs.
    pub fn parse(secret: &Secret) -> Result<Self, String> {
        let none = BTreeMap::new();
        let data = secret.data.as_ref().unwrap_or(&none);
        let previous = pair(data, PREVIOUS)?.map(|(certificate, until)| {
            let until = until.parse::<Timestamp>().map_err(|error| format!("data.{}: {error}", PREVIOUS.1))?;
            if Bundle::of_pem(certificate.as_bytes()).known().count() != 1 {
                return Err(format!("data.{} is not one certificate in PEM", PREVIOUS.0));
            }
            Ok((certificate.to_owned(), until))
        });
        Ok(Self { current: authority(data, CURRENT)?, next: authority(data, NEXT)?, previous: previous.transpose()? })
    }

    /// What the plan must know.
    #[must_use]
    pub fn stored(&self) -> Stored {
        let known = |authority: &Authority| authority.known;
        let previous = self
            .previous
            .as_ref()
            .and_then(|(certificate, until)| Some((Bundle::of_pem(certificate.as_bytes()).known().next()?, *until)));
        Stored { current: self.current.as_ref().map(known), next: self.next.as_ref().map(known), previous }
    }

    /// The certificates in PEM.
    pub fn certificates(&self) -> impl Iterator<Item = &str> {
        let authorities = [&self.current, &self.next].into_iter().flatten().map(|authority| &*authority.certificate);
        authorities.chain(self.previous.as_ref().map(|(certificate, _)| &**certificate))
    }

    /// The CAs after a step.
    pub fn after(self, step: SecretStep, make: impl FnOnce() -> Result<Authority, String>) -> Result<Self, String> {
        Ok(match step {
            SecretStep::Create => Self { current: Some(make()?), next: None, previous: None },
            SecretStep::Prepare => Self { next: Some(make()?), ..self },
            SecretStep::Promote { keep_until } => {
                let previous = self.current.zip(keep_until).map(|(old, until)| (old.certificate, until));
                Self { current: self.next, next: None, previous: previous.or(self.previous) }
            }
            SecretStep::Retire => Self { previous: None, ..self },
        })
    }

    /// The data of the Secret.
    #[must_use]
    pub fn data(&self) -> BTreeMap<String, ByteString> {
        let mut data = BTreeMap::new();
        let mut put = |name: &str, text: &str| data.insert(name.to_owned(), ByteString(text.as_bytes().to_vec()));
        for (authority, (certificate, key)) in [(&self.current, CURRENT), (&self.next, NEXT)] {
            if let Some(authority) = authority {
                put(certificate, &authority.certificate);
                put(key, &authority.key());
            }
        }
        if let Some((certificate, until)) = &self.previous {
            put(PREVIOUS.0, certificate);
            put(PREVIOUS.1, &until.to_string());
        }
        data
    }
}

type Data = BTreeMap<String, ByteString>;

fn authority(data: &Data, names: (&str, &str)) -> Result<Option<Authority>, String> {
    let Some((certificate, key)) = pair(data, names)? else { return Ok(None) };
    let authority = Authority::parse(certificate, key);
    authority.map(Some).map_err(|why| format!("data.{} and data.{} cannot be used: {why}", names.0, names.1))
}

/// Two values that belong together. An empty value counts as a missing one.
fn pair<'a>(data: &'a Data, (first, second): (&str, &str)) -> Result<Option<(&'a str, &'a str)>, String> {
    let text = |name: &str| match data.get(name).filter(|value| !value.0.is_empty()) {
        Some(value) => std::str::from_utf8(&value.0).map(Some).map_err(|_| format!("data.{name} is not text")),
        None => Ok(None),
    };
    match (text(first)?, text(second)?) {
        (Some(one), Some(other)) => Ok(Some((one, other))),
        (None, None) => Ok(None),
        (Some(_), None) => Err(format!("data.{first} is set and data.{second} is not")),
        (None, Some(_)) => Err(format!("data.{second} is set and data.{first} is not")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn now() -> Timestamp {
        "2026-11-28T12:00:00Z".parse().expect("a time")
    }

    fn make() -> Result<Authority, String> {
        Authority::generate(now(), Duration::from_hours(24))
    }

    fn secret(data: Data) -> Secret {
        Secret { data: Some(data), ..Secret::default() }
    }

    /// Reads what was written, so that every step of a rotation survives the Secret.
    fn through_the_secret(authorities: &Authorities) -> Authorities {
        let read = Authorities::parse(&secret(authorities.data())).expect("it can be read");
        assert_eq!(read.stored(), authorities.stored());
        read
    }

    #[test]
    fn a_rotation_keeps_the_keys_of_the_current_and_the_next_ca_only() {
        let empty = through_the_secret(&Authorities::default());
        let first = through_the_secret(&empty.after(SecretStep::Create, make).expect("a CA"));
        let old = first.stored().current.expect("a CA");
        let both = through_the_secret(&first.after(SecretStep::Prepare, make).expect("a CA"));
        let new = both.stored().next.expect("a CA");
        let promote = SecretStep::Promote { keep_until: Some(now()) };
        let promoted = through_the_secret(&both.after(promote, make).expect("no CA is made"));
        assert_eq!(promoted.stored(), Stored { current: Some(new), next: None, previous: Some((old, now())) });
        assert_eq!(promoted.data().keys().filter(|key| key.contains("key")).count(), 1);
        assert_eq!(promoted.certificates().count(), 2);
        let retired = through_the_secret(&promoted.after(SecretStep::Retire, make).expect("no CA is made"));
        assert_eq!(retired.stored(), Stored { current: Some(new), ..Stored::default() });
    }

    #[test]
    fn half_a_pair_says_which_half_is_missing() {
        let whole = Authorities::default().after(SecretStep::Create, make).expect("a CA").data();
        let without = |name: &str| {
            let mut data = whole.clone();
            data.remove(name);
            Authorities::parse(&secret(data)).err().expect("an error")
        };
        assert_eq!(without("ca.key"), "data.ca.crt is set and data.ca.key is not");
        assert_eq!(without("ca.crt"), "data.ca.key is set and data.ca.crt is not");
        let with = |name: &str, value: &[u8]| {
            let mut data = whole.clone();
            data.insert(name.to_owned(), ByteString(value.to_vec()));
            Authorities::parse(&secret(data)).err().expect("an error")
        };
        assert_eq!(with("ca.crt", b"\xff"), "data.ca.crt is not text");
        assert_eq!(with("ca.key", b""), "data.ca.crt is set and data.ca.key is not");
        assert!(with("ca.key", make().expect("a CA").key().as_bytes()).contains("do not belong together"));
        assert!(with("ca.crt", b"junk").starts_with("data.ca.crt and data.ca.key cannot be used: "));
        assert!(with("next-ca.crt", b"junk").contains("data.next-ca.key is not"));
        assert!(with("previous-ca.crt", b"junk").contains("data.previous-ca.until is not"));
    }

    #[test]
    fn the_name_has_a_namespace() {
        let name: SecretName = "a/b".parse().expect("a name");
        assert_eq!((name.to_string(), name.name), ("a/b".to_owned(), "b".to_owned()));
        for wrong in ["", "b", "/b", "a/", "a/b/c"] {
            wrong.parse::<SecretName>().expect_err(wrong);
        }
    }
}
