//! Notifications of what the re-audit finds. It passes them on without waiting.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::SignedDuration;
use tokio::sync::mpsc;
use writgate_cluster::clock;
use writgate_cluster::live::Standing;

use crate::metrics::{Metrics, NotificationOutcome};
use crate::notify::notification::{Notification, NotificationType, Place, code};
use crate::reaudit::walk::Found;
use crate::state::store::Store;

/// Expiries that are remembered.
const MAX_EXPIRIES: usize = 100_000;

/// Passes notifications of the re-audit to the notifier. Cheap to clone.
#[derive(Clone)]
pub(crate) struct NotificationSender {
    pub(super) sender: mpsc::Sender<Notification>,
    pub(super) expires_within: SignedDuration,
    /// The ids of the expiries that were passed on since this replica holds the Lease.
    pub(super) expiries: Arc<Mutex<HashSet<String>>>,
    pub(super) store: Arc<Store>,
    pub(super) metrics: Metrics,
}

impl NotificationSender {
    /// One whose notifications arrive at the second part.
    #[cfg(test)]
    pub(crate) fn for_tests() -> (Self, mpsc::Receiver<Notification>) {
        let (sender, arrived) = mpsc::channel(super::MAX_OF_REAUDIT);
        let (expiries, store, metrics) = Default::default();
        (Self { sender, expires_within: SignedDuration::ZERO, expiries, store, metrics }, arrived)
    }

    /// Notifies of an approval that expires soon.
    pub(crate) fn notify_of_expiry(&self, found: &Found) {
        let (Some(approval), now) = (&found.approval, clock::now()) else { return };
        let Ok(from) = approval.expires_at.checked_sub(self.expires_within) else { return };
        if now < from || now >= approval.expires_at {
            return;
        }
        let subject = found.object.subject();
        let identity = [found.object.uid.as_deref().unwrap_or_default(), &*approval.id];
        let end = approval.expires_at.to_string();
        let namespace = self.store.namespace(&found.object.namespace).unwrap_or_default();
        let place = place(found, namespace.project.as_deref());
        let made = Notification::new(NotificationType::ExpiresSoon, &identity, now, &place, &subject)
            .found_until(approval.expires_at)
            .fact("object", &subject)
            .fact("approval", &approval.id)
            .fact("expiresAt", &end)
            .say(&format!(
                "The approval {} of {}{} expires at {end}. What runs stays; a change of it requires a new approval.",
                code(&approval.id),
                code(&subject),
                place.sentence_part()
            ));
        // Each round finds it again. One that did not fit is passed on in the next round.
        let mut expiries = self.expiries.lock().unwrap_or_else(PoisonError::into_inner);
        if expiries.len() >= MAX_EXPIRIES {
            expiries.clear();
        }
        if !expiries.contains(&made.id) {
            let id = made.id.clone();
            if self.sender.try_send(made).is_ok() {
                expiries.insert(id);
            }
        }
    }

    /// Notifies of a workload whose approval was revoked.
    pub(crate) fn notify_of_revocation(&self, found: &Found) {
        if found.standing != Standing::Revoked {
            return;
        }
        let (subject, now) = (found.object.subject(), clock::now());
        let namespace = self.store.namespace(&found.object.namespace).unwrap_or_default();
        let place = place(found, namespace.project.as_deref());
        let identity = [found.object.uid.as_deref().unwrap_or_default(), &*found.why];
        let made = Notification::new(NotificationType::Revoked, &identity, now, &place, &subject)
            .fact("object", &subject)
            .fact("why", &found.why)
            .say(&format!(
                "{}{} exists, and its approval is revoked: {}",
                code(&subject),
                place.sentence_part(),
                code(&found.why)
            ));
        if self.sender.try_send(made).is_err() {
            self.metrics.notification(NotificationType::Revoked, NotificationOutcome::Dropped);
        }
    }
}

fn place<'a>(found: &'a Found, project: Option<&'a str>) -> Place<'a> {
    Place { namespace: &found.object.namespace, environment: &found.environment, project }
}
