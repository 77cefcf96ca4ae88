//! A notification, and how it is written: as a `CloudEvent`, or as a text for chat tools.
//!
//! A fact is a value that this replica has verified or computed. Everything else is a claim: it is in `claims` of the
//! `CloudEvent`, and the text calls it a claim. All text of others is escaped, and in a chat it is code, so that it can neither
//! look like a sentence of Writgate nor be a link or mention somebody.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use writgate_core::{
    encoding::hex,
    text::{listed, on_one_line, quoted},
};

/// Digits of an id: 128 bits.
const ID_DIGITS: usize = 32;

/// What people are notified of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum NotificationType {
    /// A request was posted.
    Requested,
    /// A reviewer has signed the approval of a posted request.
    Approved,
    /// A reviewer has rejected a posted request.
    Rejected,
    /// A request was denied, for the first time for this object and reason.
    Denied,
    /// A break-glass approval admitted a workload.
    BreakGlass,
    /// The approval of a workload expires soon.
    ExpiresSoon,
    /// The approval of a workload was revoked, and the workload exists.
    Revoked,
}

impl NotificationType {
    pub(crate) const ALL: [Self; 7] = [
        Self::Requested,
        Self::Approved,
        Self::Rejected,
        Self::Denied,
        Self::BreakGlass,
        Self::ExpiresSoon,
        Self::Revoked,
    ];

    /// The word in the configuration, in the metric and in the type of the `CloudEvent`.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Denied => "denied",
            Self::BreakGlass => "break-glass",
            Self::ExpiresSoon => "expires-soon",
            Self::Revoked => "revoked",
        }
    }
}

/// One notification.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Notification {
    pub(crate) kind: NotificationType,
    /// The same for each replica that finds the same, so that a receiver can drop a copy.
    pub(crate) id: String,
    /// When it happened.
    pub(crate) time: Timestamp,
    /// Until when it must be known that it was sent. Later, nobody finds it again.
    pub(crate) known_until: Timestamp,
    pub(crate) namespace: String,
    /// Empty if the namespace is not governed.
    pub(crate) environment: String,
    /// The object that it is about: `apps/v1/Deployment/payments/orders`.
    pub(crate) subject: String,
    facts: Map<String, Value>,
    claims: Map<String, Value>,
    /// Sentences in which text of others is marked as code.
    text: String,
}

impl Notification {
    /// A notification about `subject` in `place`. `identity` distinguishes it from every other one of its type.
    pub(crate) fn new(
        kind: NotificationType,
        identity: &[&str],
        time: Timestamp,
        place: &Place<'_>,
        subject: &str,
    ) -> Self {
        let mut digest = Sha256::new();
        for part in [&[kind.as_str()], identity].concat() {
            // The length first, so that no two lists of parts are the same text.
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        let id: String = hex::encode(&digest.finalize().into()).chars().take(ID_DIGITS).collect();
        let Place { namespace, environment, project } = *place;
        let notification = Self {
            kind,
            id,
            time,
            known_until: time,
            namespace: namespace.to_owned(),
            environment: environment.to_owned(),
            subject: on_one_line(subject),
            facts: Map::new(),
            claims: Map::new(),
            text: String::new(),
        };
        let notification = notification.fact("namespace", namespace);
        let notification =
            if environment.is_empty() { notification } else { notification.fact("environment", environment) };
        match project {
            Some(project) => notification.fact("project", project),
            None => notification,
        }
    }

    /// Adds a text that was verified or computed.
    pub(crate) fn fact(self, name: &str, value: &str) -> Self {
        self.fact_json(name, on_one_line(value).into())
    }

    /// Adds texts that were verified or computed.
    pub(crate) fn facts<'v>(self, name: &str, values: impl IntoIterator<Item = &'v str>) -> Self {
        let values: Vec<String> = values.into_iter().map(on_one_line).collect();
        self.fact_json(name, values.into())
    }

    /// Adds a value without text of others.
    pub(crate) fn fact_json(mut self, name: &str, value: Value) -> Self {
        self.facts.insert(name.to_owned(), value);
        self
    }

    /// Adds a text that nobody has verified.
    pub(crate) fn claim(mut self, name: &str, value: &str) -> Self {
        self.claims.insert(name.to_owned(), on_one_line(value).into());
        self
    }

    /// Says that the next holder finds it again until `end`.
    pub(crate) fn found_until(mut self, end: Timestamp) -> Self {
        self.known_until = end;
        self
    }

    /// Adds a sentence. [`code`] marks text of others in it.
    pub(crate) fn say(mut self, sentence: &str) -> Self {
        if !self.text.is_empty() {
            self.text.push(' ');
        }
        self.text.push_str(sentence);
        self
    }

    /// The `CloudEvent` in structured mode (`CloudEvents` 1.0, JSON event format).
    pub(crate) fn cloud_event(&self, source: &str) -> Value {
        let mut data = self.facts.clone();
        if !self.claims.is_empty() {
            data.insert("claims".to_owned(), self.claims.clone().into());
        }
        json!({
            "specversion": "1.0",
            "id": self.id,
            "source": source,
            "type": format!("dev.writgate.{}.v1", self.kind.as_str()),
            "subject": self.subject,
            "time": self.time.to_string(),
            "datacontenttype": "application/json",
            "data": data,
        })
    }

    /// The first reason of a denial.
    pub(crate) fn headline(&self) -> &str {
        self.facts.get("reasons").and_then(|reasons| reasons.get(0)?.as_str()).unwrap_or_default()
    }

    /// The message for chat tools.
    pub(crate) fn message(&self) -> Value {
        json!({"text": self.text})
    }
}

/// The namespace of a notification, and what governs it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) environment: &'a str,
    pub(crate) project: Option<&'a str>,
}

impl Place<'_> {
    /// The end of a sentence about the place: " in environment production, project payments", each name as code.
    pub(crate) fn sentence_part(&self) -> String {
        let environment = match self.environment {
            "" => String::new(),
            environment => format!(" in environment {}", code(environment)),
        };
        let project = self.project.map(|project| format!(", project {}", code(project)));
        format!("{environment}{}", project.unwrap_or_default())
    }
}

/// Text of others in a chat: escaped, cut, and marked as code. In code, chat tools show neither links nor markup, and mention
/// nobody. Slack reads `&`, `<` and `>` even there.
pub(crate) fn code(text: &str) -> String {
    let escaped = quoted(text).replace('`', "'").replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    format!("`{escaped}`")
}

/// The first few of several texts of others.
pub(crate) fn codes<'t>(texts: impl IntoIterator<Item = &'t str>) -> String {
    let texts: Vec<String> = texts.into_iter().map(code).collect();
    listed(texts.into_iter())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place<'static> = Place { namespace: "payments", environment: "production", project: Some("payments") };

    fn notification(identity: &[&str]) -> Notification {
        let time = "2026-11-22T10:00:00Z".parse().expect("a time");
        Notification::new(NotificationType::Denied, identity, time, &PLACE, "apps/v1/Deployment/payments/orders")
    }

    #[test]
    fn the_id_is_that_of_the_identity_and_nothing_else() {
        assert_eq!(notification(&["a", "b"]).id, notification(&["a", "b"]).fact("more", "x").id);
        for other in [&["ab"][..], &["a", "c"], &["a", "b", ""]] {
            assert_ne!(notification(&["a", "b"]).id, notification(other).id);
        }
        assert_eq!(notification(&[]).id.len(), ID_DIGITS);
    }

    #[test]
    fn a_claim_is_marked_as_one() {
        let event =
            notification(&[]).fact("reason", "ApprovalRequired").claim("user", "alice").cloud_event("/writgate");
        assert_eq!(event["data"]["claims"], json!({"user": "alice"}));
        assert_eq!(event["data"]["user"], Value::Null);
        assert!(notification(&[]).cloud_event("/writgate")["data"].get("claims").is_none());
    }

    #[test]
    fn text_of_others_can_neither_leave_its_code_nor_reorder_a_message() {
        let hostile = [
            "`*bold*` @channel <!here> <https://evil.example|approved> [link](https://evil.example)",
            "alice\u{202e}evil\u{200b}",
            "a\nApproved by bob",
            "<users/all> & <@U123>",
        ];
        for text in hostile {
            let shown = code(text);
            let inner = shown.strip_prefix('`').and_then(|text| text.strip_suffix('`')).expect("code");
            assert!(!inner.contains(['`', '<', '>', '\n', '\u{202e}', '\u{200b}']), "{shown}");
            let event = notification(&[]).claim("reason", text).cloud_event("/writgate");
            let claimed = event["data"]["claims"]["reason"].as_str().expect("a claim");
            assert!(!claimed.contains(['\n', '\u{202e}', '\u{200b}']), "{claimed}");
        }
        assert!(code(&"x".repeat(1 << 20)).len() < 200);
        assert!(notification(&[]).claim("reason", &"x".repeat(1 << 20)).cloud_event("/").to_string().len() < 2000);
    }
}
