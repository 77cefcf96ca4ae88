//! `console`: serves a web page on loopback. `console` has the pages; this file reads the flags and starts it.

use std::time::Duration;

use crate::{
    cluster::{ClusterFlags, event_reader::NamespaceScopeFlags, timeout},
    console::{self, LogFlags, Settings},
    failure::{Answer, Failure},
    manifest::input,
    signer::SignerFlags,
};

/// Show requests and decisions in a browser, and review, sign and reject requests there
///
/// Serves a web page on 127.0.0.1 and `[::1]`, with your kubeconfig and your permissions, until you end it. Prints an address
/// that opens the page once, in one browser. Whoever opens the address first gets the page; afterwards it opens nothing. The
/// signer signs in this program, so the key never reaches the browser. Without a signer, the page shows everything and signs nothing.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  kubectl writgate console --open -n payments
  kubectl writgate console -A --key bob.pem
  kubectl writgate console -A --ssh-agent --port 8123 --idle-timeout 1h
  kubectl writgate console -A --log webhook.log")]
pub(crate) struct Arguments {
    #[command(flatten)]
    scope: NamespaceScopeFlags,
    /// Open the page in your browser
    #[arg(long)]
    open: bool,
    /// Port on 127.0.0.1 and `[::1]` [default: a free one]
    #[arg(long, value_name = "PORT", default_value_t = 0, hide_default_value = true)]
    port: u16,
    /// Time without a click after which the session ends, and a kept passphrase is forgotten
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = timeout)]
    idle_timeout: Duration,
    #[command(flatten)]
    signer: SignerFlags,
    #[command(flatten)]
    logs: LogFlags,
    #[command(flatten)]
    kinds: input::WorkloadKindFlags,
    #[command(flatten)]
    cluster: ClusterFlags,
}

pub(crate) fn run(arguments: Arguments) -> Result<Answer, Failure> {
    let Arguments { scope, open, port, idle_timeout, signer, logs, kinds, cluster } = arguments;
    logs.check()?;
    // A kubeconfig that cannot be read is reported in the terminal, before there is a page.
    let connected = cluster.connect()?;
    let settings = Settings {
        scope: scope.of(&connected)?,
        server: connected.server_host.clone().unwrap_or_default(),
        signer: signer.is_given().is_ok().then_some(signer),
        idle_timeout,
        logs,
        kinds,
        cluster,
    };
    drop(connected);
    console::run(settings, port, open)
}
