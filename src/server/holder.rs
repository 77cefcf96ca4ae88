//! What only the replica that holds the Lease does: the canary, the re-audit, the sweep of posted requests, and notifications.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::time::sleep;
use writgate_cluster::client;
use writgate_core::request::ExemptControllers;

use super::{Args, ServeError};
use crate::canary::{Canary, Expected};
use crate::lease::LeaseKeeper;
use crate::metrics::Metrics;
use crate::notify::Notifier;
use crate::reaudit::{Reaudit, Rules};
use crate::request_sweep::RequestSweep;
use crate::state::store::Store;
use crate::trail::events::event::Reporter;
use crate::trail::events::notice::NoticeWriter;
use crate::trail::ledger::Ledger;

/// The Lease in the system namespace. The chart's Role grants the right to this name only.
const LEASE: &str = "writgate-webhook";
/// How often the test of the canary sends it. A new webhook configuration is in force within a few seconds.
const TEST_ROUNDS: usize = 10;
/// The pause between two of these rounds.
const TEST_PAUSE: Duration = Duration::from_secs(1);

/// What the holder of the Lease works with.
pub(super) struct Holder {
    pub client: Client,
    pub ledger: Ledger,
    pub store: Arc<Store>,
    pub reporter: Reporter,
    pub metrics: Metrics,
    pub exempt: ExemptControllers,
}

impl Holder {
    /// Starts to compete for the Lease, and starts the canary, the re-audit, the sweep of posted requests, and notifications. `None`
    /// if all are off: there is no Lease then.
    pub(super) fn start(self, args: &Args, writer: &str) -> Option<LeaseKeeper> {
        let Self { client, ledger, store, reporter, metrics, exempt } = self;
        let intervals = [args.canary_interval, args.reaudit_interval, args.request_sweep_interval];
        if intervals.iter().all(Duration::is_zero) && args.notifications.is_none() {
            return None;
        }
        // A Pod keeps its name when its container is restarted, and the writer differs between processes.
        let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "writgate-webhook".to_owned());
        let identity = format!("{host}_{writer}");
        let lease = LeaseKeeper::start(client.clone(), &args.system_namespace, LEASE, identity, metrics.clone());
        let notices = NoticeWriter::new(client.clone(), reporter, ledger.clone());
        if !args.canary_interval.is_zero() {
            let (client, metrics) = (client.clone(), metrics.clone());
            let expected = Expected { name: args.webhook_configuration.clone(), entries: args.webhook_entry.clone() };
            let canary = Canary::new(client, expected, ledger, notices.clone(), metrics);
            tokio::spawn(canary.keep(args.canary_interval, lease.holding()));
        }
        if !args.request_sweep_interval.is_zero() {
            let sweep = RequestSweep::new(client.clone(), store.clone(), args.request_lifetime, metrics.clone());
            tokio::spawn(sweep.keep(args.request_sweep_interval, lease.holding()));
        }
        let further = args.workload_kind.clone();
        let rules = Rules { exempt, further, detached_approvals: args.detached_approvals };
        let open = |file: &PathBuf| {
            let (store, rules, metrics) = (store.clone(), rules.clone(), metrics.clone());
            Notifier::open(file, client.clone(), &args.system_namespace, store, rules, metrics)
        };
        let (notifier, people) = args.notifications.as_ref().and_then(open).unzip();
        if let Some(notifier) = notifier {
            tokio::spawn(notifier.keep(lease.holding()));
        }
        if !args.reaudit_interval.is_zero() {
            let mut reaudit = Reaudit::new(client.clone(), store, rules, notices, metrics).with_notifications(people);
            if args.open_reports {
                reaudit = reaudit.with_reports(client);
            }
            tokio::spawn(reaudit.keep(args.reaudit_interval, lease.holding()));
        }
        Some(lease)
    }
}

/// Sends the canary without the Lease, until it is denied or the rounds are over. Returns the version of the webhook that denied it.
pub(super) async fn test_canary(args: &Args) -> Result<String, ServeError> {
    let client = client::client(args.kubeconfig.as_deref()).await?;
    let metrics = Metrics::default();
    let kinds = args.workload_kind.iter().copied().collect();
    let ledger = Ledger::new(client.clone(), kinds, &args.system_namespace, args.release_after, metrics.clone());
    let reporter = Reporter::new("canary-test", &args.system_namespace);
    let notices = NoticeWriter::new(client.clone(), reporter, ledger.clone());
    let expected = Expected { name: args.webhook_configuration.clone(), entries: args.webhook_entry.clone() };
    let canary = Canary::new(client, expected, ledger, notices, metrics);
    let mut found = canary.once().await;
    for _ in 1..TEST_ROUNDS {
        if found.is_ok() {
            break;
        }
        sleep(TEST_PAUSE).await;
        found = canary.once().await;
    }
    found.map_err(ServeError::Canary)
}
