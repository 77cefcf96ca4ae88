//! The configuration of notifications: who is sent what. A file that only whoever installs the webhook can write.
//!
//! The file is read once, at the start. The files that it names, such as a token, are read for each request, so a Secret that
//! is changed is used at once.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::http::Uri;
use axum::http::uri::Authority;
use jiff::SignedDuration;
use serde::Deserialize;
use writgate_core::encoding::{parse_duration, read_yaml};
use writgate_core::text::quoted;

use crate::notify::notification::{Notification, NotificationType};

/// Receivers of one configuration, at most. Each has a queue and a task.
const MAX_RECEIVERS: usize = 16;
/// The longest time that a receiver may take for its response.
const MAX_TIMEOUT: Duration = Duration::from_mins(1);
/// The largest file.
const MAX_FILE: u64 = 256 << 10;

/// What the file contains.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Configuration {
    /// The `source` of each `CloudEvent`, which says from which cluster it is.
    #[serde(default = "default_source")]
    pub(crate) source: String,
    /// How long before the expiry of an approval people are notified.
    #[serde(default)]
    pub(crate) expires_within: ExpiresWithin,
    pub(crate) receivers: Vec<ReceiverConfiguration>,
}

/// A duration with a default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct ExpiresWithin(pub(crate) SignedDuration);

impl Default for ExpiresWithin {
    fn default() -> Self {
        Self(SignedDuration::from_mins(30))
    }
}

impl TryFrom<String> for ExpiresWithin {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        parse_duration(&text).map(Self).map_err(|why| format!("expiresWithin is {}: {why}", quoted(&text)))
    }
}

/// How a notification is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Format {
    /// A `CloudEvent` in structured mode.
    #[default]
    CloudEvents,
    /// `{"text": …}`, for chat tools.
    Text,
}

/// One receiver.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ReceiverConfiguration {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) url: Option<String>,
    /// A file with the URL, if the URL is a secret.
    #[serde(default)]
    pub(crate) url_file: Option<PathBuf>,
    #[serde(default)]
    pub(crate) format: Format,
    /// A file with the CAs that sign the receiver's certificate, in PEM.
    #[serde(default)]
    pub(crate) ca_file: Option<PathBuf>,
    /// A file with a bearer token.
    #[serde(default)]
    pub(crate) token_file: Option<PathBuf>,
    #[serde(default = "default_timeout")]
    pub(crate) timeout_seconds: u64,
    /// The types that are sent; empty: all.
    #[serde(default)]
    pub(crate) types: BTreeSet<NotificationType>,
    /// The environments whose notifications are sent; empty: all.
    #[serde(default)]
    pub(crate) environments: BTreeSet<String>,
}

fn default_source() -> String {
    "/writgate".to_owned()
}

const fn default_timeout() -> u64 {
    10
}

impl Configuration {
    /// Reads the file.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let failed = |why: String| format!("{}: {why}", path.display());
        let size = std::fs::metadata(path).map_err(|error| failed(error.to_string()))?.len();
        if size > MAX_FILE {
            return Err(failed(format!("it has {size} bytes, expected at most {MAX_FILE}")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        Self::parse(&text).map_err(failed)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut documents = read_yaml(text).map_err(|error| error.to_string())?;
        let document = match (documents.pop(), documents.is_empty()) {
            (Some(document), true) => document,
            (None, _) => return Err("it is empty, expected one YAML document with receivers".to_owned()),
            _ => return Err("it has several YAML documents, expected one".to_owned()),
        };
        let configuration: Self = serde_json::from_value(document).map_err(|error| error.to_string())?;
        configuration.check()?;
        Ok(configuration)
    }

    fn check(&self) -> Result<(), String> {
        let found = self.receivers.len();
        if found == 0 || found > MAX_RECEIVERS {
            return Err(format!("it has {found} receivers, expected 1 to {MAX_RECEIVERS}"));
        }
        if self.source.is_empty() || !self.source.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(format!(
                "source is {}, expected a URI reference such as /writgate/prod-eu-1",
                quoted(&self.source)
            ));
        }
        if self.expires_within.0 <= SignedDuration::ZERO {
            return Err("expiresWithin must be longer than 0s".to_owned());
        }
        let mut names = BTreeSet::new();
        for receiver in &self.receivers {
            receiver.check().map_err(|why| format!("receiver {}: {why}", quoted(&receiver.name)))?;
            if !names.insert(&receiver.name) {
                return Err(format!("two receivers have the name {}; rename one", quoted(&receiver.name)));
            }
        }
        Ok(())
    }
}

impl ReceiverConfiguration {
    fn check(&self) -> Result<(), String> {
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if self.name.is_empty() || self.name.len() > 63 || !self.name.bytes().all(is_name) {
            return Err("its name is not 1 to 63 lower-case letters, digits and hyphens".to_owned());
        }
        match (&self.url, &self.url_file) {
            (Some(url), None) => drop(parse_url(url)?),
            (None, Some(_)) => {}
            _ => return Err("expected either url or urlFile".to_owned()),
        }
        if self.timeout_seconds == 0 || Duration::from_secs(self.timeout_seconds) > MAX_TIMEOUT {
            let found = self.timeout_seconds;
            return Err(format!("timeoutSeconds is {found}, expected 1 to {}", MAX_TIMEOUT.as_secs()));
        }
        Ok(())
    }

    /// Whether the receiver is sent `notification`.
    pub(crate) fn wants(&self, notification: &Notification) -> bool {
        (self.types.is_empty() || self.types.contains(&notification.kind))
            && (self.environments.is_empty() || self.environments.contains(&notification.environment))
    }
}

/// Reads the URL of a receiver. An error does not contain the URL, which may be a secret.
pub(super) fn parse_url(text: &str) -> Result<Uri, String> {
    let expected = "expected https://HOST/PATH";
    let uri: Uri = text.trim().parse().map_err(|error| format!("its URL cannot be read ({error}), {expected}"))?;
    match uri.scheme_str() {
        Some("https") => {}
        Some(other) => return Err(format!("the scheme of its URL is {}, {expected}", quoted(other))),
        None => return Err(format!("its URL has no scheme, {expected}")),
    }
    let authority = uri.authority().map_or("", Authority::as_str);
    if authority.contains('@') {
        return Err("its URL contains credentials; put a token into a file and set tokenFile".to_owned());
    }
    if uri.host().is_none_or(str::is_empty) {
        return Err(format!("its URL has no host, {expected}"));
    }
    Ok(uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = "receivers: [{name: chat, url: 'https://chat.example/hook'}]";

    #[test]
    fn reads_a_configuration_and_its_defaults() {
        let read = Configuration::parse(MINIMAL).expect("a configuration");
        assert_eq!((&*read.source, read.expires_within), ("/writgate", ExpiresWithin::default()));
        let receiver = &read.receivers[0];
        assert_eq!((receiver.format, receiver.timeout_seconds), (Format::CloudEvents, 10));
        let text = "source: /writgate/prod-eu-1\nexpiresWithin: 2h\nreceivers:\n- name: chat\n  urlFile: /secret/url\n  \
            format: text\n  types: [requested, break-glass]\n  environments: [production]\n  tokenFile: /secret/token\n  \
            caFile: /ca/ca.crt\n  timeoutSeconds: 5\n";
        let read = Configuration::parse(text).expect("a configuration");
        assert_eq!(read.expires_within.0, SignedDuration::from_hours(2));
        assert_eq!(read.receivers[0].types.len(), 2);
    }

    #[test]
    fn reads_the_documented_file() {
        let page = include_str!("../../docs/operations/notifications.md");
        let example = page.split("```yaml\n").nth(2).and_then(|rest| rest.split("```").next()).expect("an example");
        let read = Configuration::parse(example).expect("a configuration");
        assert!(read.receivers[0].token_file.is_some());
    }

    #[test]
    fn refuses_a_configuration_with_one_thing_wrong_and_says_what() {
        let receiver = |more: &str| format!("receivers: [{{name: chat, url: 'https://chat.example/hook', {more}}}]");
        let url = |url: &str| format!("receivers: [{{name: chat, url: '{url}'}}]");
        let cases = [
            (String::new(), "it is empty"),
            (format!("{MINIMAL}\n---\n{MINIMAL}"), "several YAML documents"),
            ("receivers: []".to_owned(), "0 receivers"),
            (format!("{MINIMAL}\nlisteners: []"), "unknown field `listeners`"),
            (receiver("tokenfile: /x"), "unknown field `tokenfile`"),
            (receiver("types: [granted]"), "unknown variant `granted`"),
            (receiver("format: slack"), "unknown variant `slack`"),
            (receiver("timeoutSeconds: 0"), "timeoutSeconds is 0"),
            (receiver("timeoutSeconds: 61"), "timeoutSeconds is 61"),
            (receiver("urlFile: /x"), "either url or urlFile"),
            ("receivers: [{name: chat}]".to_owned(), "either url or urlFile"),
            ("receivers: [{name: Chat, url: 'https://a.example'}]".to_owned(), "its name is not"),
            (url("http://chat.example/hook"), "the scheme of its URL is http"),
            (url("file:///etc/passwd"), "its URL"),
            (url("chat.example"), "no scheme"),
            (url("https://user:secret@chat.example/hook"), "contains credentials"),
            (format!("source: ''\n{MINIMAL}"), "source is"),
            (format!("expiresWithin: soon\n{MINIMAL}"), "expiresWithin is soon"),
            (format!("expiresWithin: 0s\n{MINIMAL}"), "expiresWithin"),
            (
                "receivers: [{name: a, url: 'https://a.example'}, {name: a, url: 'https://b.example'}]".to_owned(),
                "two receivers have the name a",
            ),
        ];
        for (text, expected) in cases {
            let why = Configuration::parse(&text).expect_err(&text);
            assert!(why.contains(expected), "{text}: {why}");
            assert!(!why.contains("user:secret"), "{why}");
        }
    }
}
