//! The client of the API server, and its errors in one line.

use std::path::Path;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, Error};

/// How long a connection to the API server may take to open.
const CONNECT: Duration = Duration::from_secs(5);

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
#[error("no cluster: {0}; run in a Pod with a ServiceAccount, give --kubeconfig, or use --posture-dir without one")]
pub struct ClusterUnavailable(String);

/// A client with the credentials in `kubeconfig`, else the Pod's own, else those that `KUBECONFIG` names.
pub async fn client(kubeconfig: Option<&Path>) -> Result<Client, ClusterUnavailable> {
    let mut config = match kubeconfig {
        Some(file) => {
            let file = Kubeconfig::read_from(file).map_err(failed)?;
            Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.map_err(failed)?
        }
        None if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() => Config::incluster().map_err(failed)?,
        None => Config::from_kubeconfig(&KubeConfigOptions::default()).await.map_err(failed)?,
    };
    config.connect_timeout = Some(CONNECT);
    // Every caller bounds its own time and, where it wants them, makes its own retries.
    config.default_retry = false;
    Client::try_from(config).map_err(failed)
}

fn failed(error: impl std::error::Error) -> ClusterUnavailable {
    ClusterUnavailable(chain(&error))
}

/// What went wrong, for a person: the API server's own words where it answered, else every cause.
#[must_use]
pub fn why(error: &Error) -> String {
    match error {
        Error::Api(status) => format!("{} ({})", status.message, status.code),
        _ => chain(error),
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}
