//! The key that authenticates the ledger's entries, from a Secret that the webhook creates.
//!
//! The webhook reads entries by name, and a policy of the API server lets only the webhook write them. The key protects an
//! entry even where the policy is absent: whoever may write ConfigMaps in the system namespace cannot read the Secret.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ObjectMeta, PostParams};
use sha2::Sha256;
use tokio::sync::Mutex;
use tokio::time::Instant;
use writgate_core::encoding::hex;
use zeroize::Zeroizing;

use crate::trail::ledger::bounded;

/// The name of the Secret. The chart's Role permits reading this Secret and no other.
const SECRET: &str = "writgate-ledger";
/// The key in the Secret's `data`.
const KEY: &str = "key";
/// What the MAC is for, so that the key has no other meaning.
const DOMAIN: &str = "writgate.dev/ledger/v1";
const BYTES: usize = 32;
/// Another replica may create the Secret first.
const ATTEMPTS: u32 = 2;

/// The shortest time between two reads of the Secret. Whoever writes forged entries must not make the webhook read all the
/// time.
const READ_INTERVAL: Duration = Duration::from_secs(10);

/// The key that the webhook uses, and when the Secret was last read.
#[derive(Default)]
pub(super) struct KeptKey(Mutex<Option<(Arc<LedgerKey>, Instant)>>);

impl KeptKey {
    /// The key. It is read once, or created if there is none.
    pub(super) async fn get(&self, secrets: &Api<Secret>) -> Result<Arc<LedgerKey>, String> {
        let mut kept = self.0.lock().await;
        if let Some((key, _)) = &*kept {
            return Ok(key.clone());
        }
        let key = Arc::new(LedgerKey::load(secrets).await?);
        *kept = Some((key.clone(), Instant::now()));
        Ok(key)
    }

    /// The key that replaces `rejecting`, with which an entry does not verify. `None` if the Secret has not changed, was
    /// read a moment ago, or cannot be read.
    pub(super) async fn replacement(&self, rejecting: &LedgerKey, secrets: &Api<Secret>) -> Option<Arc<LedgerKey>> {
        let mut kept = self.0.lock().await;
        let (key, read) = kept.as_mut()?;
        if *key.0 != *rejecting.0 {
            return Some(key.clone());
        }
        if read.elapsed() < READ_INTERVAL {
            return None;
        }
        *read = Instant::now();
        // A Secret that was deleted is not created again here: the key in memory still verifies what it wrote.
        let secret = bounded(secrets.get_opt(SECRET)).await.ok()??;
        let new = LedgerKey::from_secret(&secret).ok().filter(|new| *new.0 != *rejecting.0)?;
        tracing::warn!("the key in Secret {SECRET} was replaced; entries of the ledger with the old key are rejected");
        *key = Arc::new(new);
        Some(key.clone())
    }

    #[cfg(test)]
    pub(super) fn of_test(key: LedgerKey) -> Self {
        Self(Mutex::new(Some((Arc::new(key), Instant::now()))))
    }
}

/// A key of HMAC-SHA256.
pub(super) struct LedgerKey(Zeroizing<[u8; BYTES]>);

impl LedgerKey {
    /// Reads the key, and creates it if there is none.
    pub(super) async fn load(secrets: &Api<Secret>) -> Result<Self, String> {
        for _ in 0..ATTEMPTS {
            let found = bounded(secrets.get_opt(SECRET)).await.map_err(|error| format!("Secret {SECRET}: {error}"))?;
            if let Some(secret) = found {
                return Self::from_secret(&secret);
            }
            let mut key = Zeroizing::new([0; BYTES]);
            getrandom::fill(&mut *key).map_err(|error| format!("the system gives no randomness: {error}"))?;
            match bounded(secrets.create(&PostParams::default(), &secret_with(&*key))).await {
                Ok(_) => return Ok(Self(key)),
                Err(error) if error.status_code() == Some(409) => {}
                Err(error) => return Err(format!("Secret {SECRET}: {error}")),
            }
        }
        Err(format!("Secret {SECRET} was created and deleted in between; try again"))
    }

    fn from_secret(secret: &Secret) -> Result<Self, String> {
        let found = secret.data.as_ref().and_then(|data| data.get(KEY)).map(|value| value.0.as_slice());
        let bytes = found.and_then(|bytes| <[u8; BYTES]>::try_from(bytes).ok()).ok_or_else(|| {
            format!(
                "Secret {SECRET}: data.{KEY} has {} bytes, expected {BYTES}; delete the Secret, and the webhook creates another",
                found.map_or(0, <[u8]>::len)
            )
        })?;
        Ok(Self(Zeroizing::new(bytes)))
    }

    /// The MAC of an entry, in hexadecimal digits.
    pub(super) fn mac(&self, name: &str, data: &BTreeMap<String, String>) -> String {
        hex::encode(&self.keyed(name, data).finalize().into_bytes().into())
    }

    /// Whether `mac` is the MAC of an entry.
    pub(super) fn verifies(&self, name: &str, data: &BTreeMap<String, String>, mac: &str) -> bool {
        // The name and the data are no secret, so the time that the comparison takes must not say how much of it is right.
        hex::decode(mac).is_some_and(|mac| self.keyed(name, data).verify_slice(&mac).is_ok())
    }

    fn keyed(&self, name: &str, data: &BTreeMap<String, String>) -> Hmac<Sha256> {
        let mut keyed = Hmac::<Sha256>::new_from_slice(&*self.0).expect("HMAC takes a key of any length");
        let fields = data.iter().flat_map(|(key, value)| [key.as_str(), value.as_str()]);
        for field in [DOMAIN, name].into_iter().chain(fields) {
            // With its length, so that no two different entries are one sequence of bytes.
            keyed.update(&(field.len() as u64).to_be_bytes());
            keyed.update(field.as_bytes());
        }
        keyed
    }

    #[cfg(test)]
    pub(super) fn of_test() -> Self {
        Self(Zeroizing::new([7; BYTES]))
    }

    #[cfg(test)]
    pub(super) fn other_of_test() -> Self {
        Self(Zeroizing::new([8; BYTES]))
    }
}

pub(super) fn secret_with(key: &[u8]) -> Secret {
    Secret {
        metadata: ObjectMeta { name: Some(SECRET.to_owned()), ..ObjectMeta::default() },
        immutable: Some(true),
        data: Some(BTreeMap::from([(KEY.to_owned(), ByteString(key.to_vec()))])),
        ..Secret::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_mac_binds_the_name_every_key_and_every_value() {
        let key = LedgerKey::of_test();
        let entry = data(&[("use.json", "{}"), ("since", "12")]);
        let mac = key.mac("use-1", &entry);
        assert!(key.verifies("use-1", &entry, &mac));
        assert!(!key.verifies("use-2", &entry, &mac));
        for other in [
            data(&[("use.json", "{}"), ("since", "13")]),
            data(&[("use.json", "{}")]),
            data(&[("use.json", "{}"), ("sinc", "e12")]),
            data(&[("use.json", "{}"), ("since", "12"), ("more", "")]),
        ] {
            assert!(!key.verifies("use-1", &other, &mac), "{other:?}");
        }
        for wrong in ["", "00", &mac[1..], &mac.replace(|_| true, "0"), &format!("{mac}0"), &mac.to_uppercase()] {
            assert!(!key.verifies("use-1", &entry, wrong), "{wrong:?}");
        }
        assert!(!LedgerKey(Zeroizing::new([8; BYTES])).verifies("use-1", &entry, &mac));
    }

    #[test]
    fn a_secret_without_a_whole_key_is_an_error() {
        assert!(LedgerKey::from_secret(&secret_with(&[7; BYTES])).is_ok());
        for wrong in [secret_with(&[]), secret_with(&[7; BYTES - 1]), secret_with(&[7; BYTES + 1]), Secret::default()] {
            assert!(LedgerKey::from_secret(&wrong).is_err_and(|why| why.contains("expected 32")));
        }
    }
}
