//! Posted requests: request files in ConfigMaps of the workloads' namespace.
//!
//! The name of the ConfigMap contains the digest of the file, so the name fixes what is requested. The webhook refuses a
//! ConfigMap that breaks a rule of this file or names another requester than its creator, where the namespace is
//! governed. A reader applies the same rules again, and trusts nothing else: the file is a claim like any request file.

use std::fmt;

use jiff::SignedDuration;
use sha2::{Digest as _, Sha256};

use crate::{
    approval::{request_file::RequestFile, statement::MAX_SUBJECTS},
    encoding::hex,
    kube::config_map::ConfigMapContent,
    text::quoted,
    vocabulary::{KIND_LABEL, REJECTION_KIND, REQUEST_KEY, REQUEST_KIND},
};

/// The largest posted request, in bytes of JSON text.
pub const MAX_REQUEST: usize = 256 * 1024;
/// How long a posted request stays, from its creation. Then it is deleted.
pub const REQUEST_LIFETIME: SignedDuration = SignedDuration::from_hours(7 * 24);
/// The number of hexadecimal digits of the digest in names.
const DIGITS: usize = 20;

/// The SHA-256 digest of the text of a posted request. Its text is `sha256:` and 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestDigest([u8; 32]);

impl RequestDigest {
    /// The digest of a text.
    #[must_use]
    pub fn of(text: &str) -> Self {
        Self(Sha256::digest(text).into())
    }

    /// Parses `sha256:` and 64 lower-case hexadecimal digits. `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        text.strip_prefix("sha256:").and_then(hex::decode).map(Self)
    }

    fn digits(&self) -> String {
        hex::encode(&self.0).chars().take(DIGITS).collect()
    }

    /// The name of the request's ConfigMap.
    #[must_use]
    pub fn request_name(&self) -> String {
        format!("{REQUEST_KIND}-{}", self.digits())
    }

    /// The name of the ConfigMap that holds the approval of the request.
    #[must_use]
    pub fn approval_name(&self) -> String {
        format!("approval-{}", self.digits())
    }

    /// The prefix of the names of the ConfigMaps that hold rejections of the request.
    #[must_use]
    pub fn rejection_prefix(&self) -> String {
        format!("{REJECTION_KIND}-{}-", self.digits())
    }

    /// The name of the ConfigMap that holds the rejection of the request with this envelope. Nobody can take the name before the
    /// rejection is known, because the name contains the digest of the envelope.
    #[must_use]
    pub fn rejection_name(&self, envelope: &str) -> String {
        self.rejection_prefix() + &Self::of(envelope).digits()
    }
}

impl fmt::Display for RequestDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", hex::encode(&self.0))
    }
}

impl fmt::Debug for RequestDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A request file that a ConfigMap holds. Its claims are not verified.
#[derive(Clone, Debug, PartialEq)]
pub struct PostedRequest {
    /// The digest of the file's text.
    pub digest: RequestDigest,
    /// The request file.
    pub file: RequestFile,
}

impl PostedRequest {
    /// Reads the ConfigMap `name` of `namespace`.
    ///
    /// # Errors
    ///
    /// The ConfigMap is not labelled as a request or not immutable, holds anything else, or is too large; its name is
    /// not that of its digest; the file is none that this version reads, or it is for no workload, too many, one of another
    /// namespace, or one without its object. The text says what was found and what was expected.
    pub fn of(namespace: &str, name: &str, content: &ConfigMapContent) -> Result<Self, String> {
        let kind = content.labels.get(KIND_LABEL).map(String::as_str);
        if kind != Some(REQUEST_KIND) {
            let found = kind.map_or("not set".to_owned(), quoted);
            return Err(format!("its label {KIND_LABEL} is {found}, expected {REQUEST_KIND}"));
        }
        let posted = Self::parse(namespace, content.only_text(REQUEST_KEY)?)?;
        let expected = posted.digest.request_name();
        if name != expected {
            return Err(format!("its name does not contain the digest of its {REQUEST_KEY}; expected {expected}"));
        }
        Ok(posted)
    }

    /// Reads the text of a request that is posted in `namespace`.
    ///
    /// # Errors
    ///
    /// The text is too long or no request file that this version reads, or it is for no workload, too many, one of another
    /// namespace, or one without its object.
    pub fn parse(namespace: &str, text: &str) -> Result<Self, String> {
        if text.len() > MAX_REQUEST {
            return Err(format!("the request has {} bytes, expected at most {MAX_REQUEST}", text.len()));
        }
        let file = RequestFile::parse(text).map_err(|why| format!("its {REQUEST_KEY} is not a request file: {why}"))?;
        if file.workloads.is_empty() || file.workloads.len() > MAX_SUBJECTS {
            return Err(format!("it is for {} workloads, expected 1 to {MAX_SUBJECTS}", file.workloads.len()));
        }
        for workload in &file.workloads {
            if workload.object.is_none() {
                return Err(format!("its workload {} has no object, expected the manifest", quoted(&workload.subject)));
            }
            if !is_subject(&workload.subject) {
                return Err(format!(
                    "its subject {} is not <group/version>/<kind>/<namespace>/<name>",
                    quoted(&workload.subject)
                ));
            }
            let of_subject = workload.subject.rsplit('/').nth(1).unwrap_or_default();
            if let Some(other) = [&*workload.namespace, of_subject].into_iter().find(|other| *other != namespace) {
                return Err(format!(
                    "it is for a workload in namespace {}, expected only workloads in {}",
                    quoted(other),
                    quoted(namespace)
                ));
            }
        }
        Ok(Self { digest: RequestDigest::of(text), file })
    }
}

/// Whether `text` has the parts of a subject: `apps/v1/Deployment/payments/orders`, `v1/Pod/payments/orders`.
fn is_subject(text: &str) -> bool {
    let parts: Vec<&str> = text.split('/').collect();
    matches!(parts.len(), 4 | 5) && parts.iter().all(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::approval::request_file::tests::file;

    /// A change and its description.
    type Change = (&'static str, fn(&mut ConfigMapContent));

    fn content(file: &RequestFile) -> (String, ConfigMapContent) {
        let text = file.to_compact_json();
        let name = RequestDigest::of(&text).request_name();
        let content = ConfigMapContent {
            labels: [(KIND_LABEL.to_owned(), REQUEST_KIND.to_owned())].into(),
            immutable: true,
            data: [(REQUEST_KEY.to_owned(), text)].into(),
            ..ConfigMapContent::default()
        };
        (name, content)
    }

    #[test]
    fn names_contain_the_first_digits_of_the_digest() {
        let digest = RequestDigest::of("");
        // SHA-256 of the empty text.
        assert_eq!(digest.request_name(), "request-e3b0c44298fc1c149afb");
        assert_eq!(digest.approval_name(), "approval-e3b0c44298fc1c149afb");
        assert_eq!(digest.rejection_name(""), "rejection-e3b0c44298fc1c149afb-e3b0c44298fc1c149afb");
        assert_eq!(RequestDigest::parse(&digest.to_string()), Some(digest));
    }

    #[test]
    fn reads_a_posted_request() {
        let (name, content) = content(&file());
        let posted = PostedRequest::of("payments", &name, &content).expect("a posted request");
        assert_eq!(posted.file, file());
    }

    #[test]
    fn reads_a_request_of_the_largest_size_and_for_the_most_workloads() {
        let read = |file: &RequestFile| {
            let (name, content) = content(file);
            PostedRequest::of("payments", &name, &content)
        };
        let most = RequestFile { workloads: vec![file().workloads[0].clone(); MAX_SUBJECTS], ..file() };
        assert_eq!(read(&most).expect("a posted request").file, most);
        let with_reason = |length| RequestFile { reason: Some("x".repeat(length)), ..file() };
        let others = with_reason(0).to_compact_json().len();
        let largest = with_reason(MAX_REQUEST - others);
        assert_eq!(read(&largest).expect("a posted request").file, largest);
        assert!(read(&with_reason(MAX_REQUEST - others + 1)).is_err_and(|why| why.contains("bytes")));
    }

    #[test]
    fn refuses_a_config_map_with_one_thing_wrong() {
        let changes: [Change; 6] = [
            ("no label", |c| c.labels.clear()),
            ("another label", |c| drop(c.labels.insert(KIND_LABEL.into(), "approval".into()))),
            ("mutable", |c| c.immutable = false),
            ("another key", |c| drop(c.data.insert("more".into(), String::new()))),
            ("binary", |c| drop(c.binary_data.insert("more".into(), String::new()))),
            ("another text", |c| c.data.values_mut().for_each(|text| text.push(' '))),
        ];
        let (name, good) = content(&file());
        for (what, change) in changes {
            let mut content = good.clone();
            change(&mut content);
            assert!(PostedRequest::of("payments", &name, &content).is_err(), "{what}");
        }
        assert!(PostedRequest::of("payments", "request-0", &good).is_err_and(|why| why.contains("its name")));
        assert!(PostedRequest::of("other", &name, &good).is_err_and(|why| why.contains("namespace")));
    }

    #[test]
    fn refuses_a_request_that_is_too_large_or_for_other_workloads() {
        let refused = |file: &RequestFile| {
            let (name, content) = content(file);
            PostedRequest::of("payments", &name, &content).expect_err("a refusal")
        };
        let large = RequestFile { reason: Some("x".repeat(MAX_REQUEST)), ..file() };
        assert!(refused(&large).contains("bytes"));
        assert!(refused(&RequestFile { workloads: Vec::new(), ..file() }).contains("0 workloads"));
        let many = vec![file().workloads[0].clone(); MAX_SUBJECTS + 1];
        assert!(refused(&RequestFile { workloads: many, ..file() }).contains("65 workloads"));
        let mut elsewhere = file();
        elsewhere.workloads[0].namespace = "other".into();
        assert!(refused(&elsewhere).contains("in namespace"));
        let mut elsewhere = file();
        elsewhere.workloads[0].subject = "apps/v1/Deployment/other/orders".into();
        assert!(refused(&elsewhere).contains("in namespace"));
        let mut without = file();
        without.workloads[0].object = None;
        assert!(refused(&without).contains("has no object"));
        for subject in
            ["apps/v1//payments/orders", "apps/v1/Deployment/payments/", "/payments/orders", "a/b/v1/Pod/payments/x"]
        {
            let mut incomplete = file();
            incomplete.workloads[0].subject = subject.into();
            assert!(refused(&incomplete).contains("its subject"), "{subject}");
        }
    }
}
