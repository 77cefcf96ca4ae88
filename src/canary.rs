//! The canary: dry runs that the webhook must deny, sent through the API server by the holder of the [Lease](crate::lease). They show
//! within a minute that the webhook configuration was removed or weakened, which the webhook itself cannot see: a request that is
//! not sent to it leaves no trace.
//!
//! The chart renders a governed namespace without a posture. Everything in it is denied, so the canary depends on no posture and
//! requires no rule of its own in core. This module only recognises it. [`probe`] sends the dry runs and reads the answers, and
//! [`configuration`] finds what a denial cannot show: each round also compares the webhook configuration with what was rendered.

mod configuration;
pub(crate) mod probe;

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use tokio::time::sleep;
use uuid::Uuid;
use writgate_cluster::clock;
use writgate_cluster::event::CANARY_ACTION;
pub(crate) use writgate_cluster::names::CANARY_NAMESPACE as NAMESPACE;
use writgate_core::request::Request;

pub use crate::canary::configuration::Expected;
use crate::canary::configuration::Live;
use crate::canary::probe::{Answer, Probe};
use crate::lasting_failure::{FailureChange, LastingFailure};
use crate::lease::Holding;
use crate::metrics::{CanaryAnswer, Metrics};
use crate::trail::events::notice::{Notice, NoticeWriter};
use crate::trail::ledger::Ledger;

/// The annotation of a dry run. Its value is a UUID that is used once.
pub(crate) const ANNOTATION: &str = "writgate.dev/canary";
/// The reason of the cause in a denial by which the canary recognises it.
pub(crate) const CAUSE: &str = "Canary";
/// The pause before the dry runs are repeated after a first failure, which may be transient.
const AGAIN: Duration = Duration::from_secs(2);

/// The UUID of a dry run that the holder of the Lease sends; `user` is the webhook's API user. `None` for every other request.
pub(crate) fn nonce(request: &Request<'_>, user: &str) -> Option<String> {
    let object = request.object.as_ref()?;
    let is_there =
        request.namespace == NAMESPACE || (&*request.kind.kind == "Namespace" && request.object_name() == NAMESPACE);
    let nonce = object.metadata.annotations.get(ANNOTATION)?;
    (request.dry_run && is_there && request.user.username == user && Uuid::try_parse(nonce).is_ok())
        .then(|| nonce.to_owned())
}

/// What proves to the sender of a dry run that this webhook denied it: the version, and a MAC by the key that only replicas of one
/// installation have.
pub(crate) fn proof(mac: &str) -> String {
    format!("{} {mac}", env!("CARGO_PKG_VERSION"))
}

/// What an answer without the proof means.
const FORGED: &str = "it was denied by a server without the key in Secret writgate-ledger; the webhook configuration calls another server, \
                      or the Secret was replaced and the webhook must be restarted";

/// What a round of dry runs showed.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    /// The webhook denied every dry run, and the configuration is not weakened. The text is the version of the webhook.
    Denied(String),
    /// A dry run was not denied, or the configuration is weakened. The text says what was found.
    NotDenied(String),
    /// An answer is missing, so neither is known. The text says why.
    Unknown(String),
}

/// Sends the dry runs.
pub struct Canary {
    client: Client,
    expected: Expected,
    ledger: Ledger,
    notices: NoticeWriter,
    metrics: Metrics,
    /// The verdict that was reported last.
    reported: Option<Verdict>,
    /// The last failure to get an answer that was logged.
    unanswered: Option<String>,
    /// What distinguishes the live configuration from the rendered one.
    differing: LastingFailure,
}

impl Canary {
    /// A canary for the webhook configuration `expected`. `ledger` has the key of the proofs.
    #[must_use]
    pub fn new(client: Client, expected: Expected, ledger: Ledger, notices: NoticeWriter, metrics: Metrics) -> Self {
        let differing = LastingFailure::default();
        Self { client, expected, ledger, notices, metrics, reported: None, unanswered: None, differing }
    }

    /// Sends dry runs every `interval` while this replica holds the Lease. Does not return.
    pub async fn keep(mut self, interval: Duration, mut holding: Holding) {
        loop {
            if !holding.is_held() {
                // Another replica reports from now on.
                self.metrics.canary_forgotten();
                (self.reported, self.unanswered, self.differing) = (None, None, LastingFailure::default());
                holding.wait().await;
                self.metrics.canary_began(clock::now());
            }
            let mut live = self.expected.read(&self.client).await;
            let mut verdict = self.round(&live).await;
            if matches!(verdict, Verdict::NotDenied(_)) && !matches!(self.reported, Some(Verdict::NotDenied(_))) {
                sleep(AGAIN.min(interval)).await;
                live = self.expected.read(&self.client).await;
                verdict = self.round(&live).await;
            }
            if holding.is_held() {
                if let Some(differences) = live.ok().and_then(|live| live.differences) {
                    self.report_differences(&differences);
                }
                self.report(verdict, clock::now()).await;
            }
            sleep(interval).await;
        }
    }

    /// Sends the dry runs once, and reports nothing to the cluster. Returns the version of the webhook that denied them, or what was
    /// found instead.
    pub async fn once(&self) -> Result<String, String> {
        match self.round(&self.expected.read(&self.client).await).await {
            Verdict::Denied(version) => Ok(version),
            Verdict::NotDenied(why) | Verdict::Unknown(why) => Err(why),
        }
    }

    async fn round(&self, live: &Result<Live, String>) -> Verdict {
        let mut version = String::new();
        let mut unknown = None;
        for probe in Probe::ALL {
            let nonce = clock::decision_id(clock::now()).to_string();
            let mac = match self.ledger.event_mac(&mac_subject(&nonce)).await {
                Ok(mac) => mac,
                Err(why) => return Verdict::Unknown(why),
            };
            let answer = probe.send(&self.client, &nonce, &mac).await;
            self.metrics.canary_answered(match answer {
                Answer::Denied { .. } => CanaryAnswer::Denied,
                Answer::NotDenied(_) => CanaryAnswer::NotDenied,
                Answer::Forged => CanaryAnswer::Forged,
                Answer::None(_) => CanaryAnswer::None,
            });
            match answer {
                Answer::Denied { version: found } => version = found,
                Answer::NotDenied(why) => return Verdict::NotDenied(format!("{}: {why}", probe.what())),
                Answer::Forged => return Verdict::NotDenied(format!("{}: {FORGED}", probe.what())),
                Answer::None(why) => unknown = Some(format!("{}: {why}", probe.what())),
            }
        }
        match live {
            Ok(Live { weakness: None, .. }) => {}
            Ok(Live { weakness: Some(why), .. }) => return Verdict::NotDenied(why.clone()),
            Err(why) => unknown = unknown.or(Some(why.clone())),
        }
        unknown.map_or(Verdict::Denied(version), Verdict::Unknown)
    }

    /// Reports whether the webhook configuration is the rendered one, and logs each change of that.
    fn report_differences(&mut self, differences: &[String]) {
        self.metrics.note_configuration(differences.is_empty());
        let name = &self.expected.name;
        match self.differing.note((!differences.is_empty()).then(|| differences.join("; "))) {
            Some(FailureChange::Failed(why)) => {
                tracing::warn!(name, %why, "the webhook configuration differs from the one that the chart rendered");
            }
            Some(FailureChange::Recovered) => {
                tracing::warn!(name, "the webhook configuration is as the chart rendered it again");
            }
            None => {}
        }
    }

    async fn report(&mut self, verdict: Verdict, now: Timestamp) {
        match &verdict {
            Verdict::Unknown(why) => {
                if self.unanswered.as_ref() != Some(why) {
                    tracing::warn!(%why, "the canary has no answer; whether the webhook configuration is in force is not known");
                    self.unanswered = Some(why.clone());
                }
                return;
            }
            Verdict::Denied(_) => self.metrics.canary_denied(now),
            Verdict::NotDenied(_) => self.metrics.canary_not_denied(),
        }
        self.unanswered = None;
        let was = self.reported.replace(verdict.clone());
        match (&verdict, &was) {
            (Verdict::NotDenied(why), was) if !matches!(was, Some(Verdict::NotDenied(before)) if before == why) => {
                tracing::warn!(%why, "the canary was not denied: the webhook configuration does not protect the cluster");
                self.tell("CanaryNotDenied", true, why).await;
            }
            (Verdict::Denied(version), Some(Verdict::NotDenied(_))) => {
                tracing::warn!(version, "the canary is denied again");
                self.tell("CanaryDenied", false, "the webhook denies the canary again").await;
            }
            (Verdict::Denied(version), None) => tracing::info!(version, "the canary is denied"),
            _ => {}
        }
    }

    /// Writes an Event about the webhook configuration.
    async fn tell(&self, reason: &'static str, is_warning: bool, note: &str) {
        let regarding = ObjectReference {
            api_version: Some("admissionregistration.k8s.io/v1".to_owned()),
            kind: Some("ValidatingWebhookConfiguration".to_owned()),
            name: Some(self.expected.name.clone()),
            ..ObjectReference::default()
        };
        let subject = format!("canary/{}", clock::decision_id(clock::now()));
        let notice = Notice { regarding, reason, action: CANARY_ACTION, is_warning, note: note.to_owned(), subject };
        if let Err(why) = self.notices.write(&notice).await {
            tracing::warn!(%why, reason, "the Event about the canary was not written");
        }
    }
}

/// What the MAC of a dry run is about. The subject of an Event has no such form, so the MAC proves nothing else.
pub(crate) fn mac_subject(nonce: &str) -> String {
    format!("canary-denied/{nonce}")
}

#[cfg(test)]
mod tests;
