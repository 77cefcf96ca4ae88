//! The kubeconfig, the client of the API server, the resources that it asks about, and its errors in one line. `proxy` chooses the proxy.

use std::path::Path;
use std::time::Duration;

use kube::client::AuthError;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, Config, Error};
use writgate_core::kube::group_and_version;

use crate::proxy::{NotAProxy, ProxySettings};

/// How long a connection to the API server may take to open.
const CONNECT: Duration = Duration::from_secs(5);

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
#[error(
    "no cluster: {0}; run in a Pod with a ServiceAccount, set --kubeconfig, or use --posture-dir instead of a cluster"
)]
pub struct ClusterUnavailable(String);

/// The resource of a kind, without a question to the API server.
#[must_use]
pub fn api_resource(api_version: &str, kind: &str, plural: &str) -> ApiResource {
    let (group, version) = group_and_version(api_version);
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
}

/// Connects with the credentials in `kubeconfig`, else with the Pod's own, else with those that `KUBECONFIG` names.
pub async fn client(kubeconfig: Option<&Path>) -> Result<Client, ClusterUnavailable> {
    let mut config = if kubeconfig.is_none() && std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() {
        Config::incluster().map_err(failed)?
    } else {
        let file = read_kubeconfig(kubeconfig).map_err(failed)?;
        let file = file.ok_or_else(|| ClusterUnavailable("there is no kubeconfig".to_owned()))?;
        config_of(file, None).await.map_err(failed)?
    };
    config.connect_timeout = Some(CONNECT);
    // Callers bound their time and retry themselves: kube's retries would exceed those bounds.
    config.default_retry = false;
    Client::try_from(config).map_err(failed)
}

/// Why a kubeconfig gives no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A setting of the kubeconfig cannot be used.
    #[error(transparent)]
    Kubeconfig(#[from] KubeconfigError),
    /// A proxy cannot be used.
    #[error("{0}; correct proxy-url in the kubeconfig, HTTPS_PROXY or HTTP_PROXY")]
    Proxy(#[from] NotAProxy),
    /// `NO_PROXY` cannot be read.
    #[error(
        "NO_PROXY has an entry that is not a domain, an address or a network; correct or remove it, also if it is empty"
    )]
    NoProxy,
}

/// Reads `file`, or else the files of `KUBECONFIG` that exist, merged, or else `~/.kube/config`. `None`: none exists.
pub fn read_kubeconfig(file: Option<&Path>) -> Result<Option<Kubeconfig>, KubeconfigError> {
    if let Some(file) = file {
        return Kubeconfig::read_from(file).map(Some);
    }
    let listed = std::env::var_os("KUBECONFIG").unwrap_or_default();
    let paths: Vec<_> = std::env::split_paths(&listed).filter(|path| !path.as_os_str().is_empty()).collect();
    if paths.is_empty() {
        return match Kubeconfig::read() {
            Err(KubeconfigError::FindPath) => Ok(None),
            read => existing(read),
        };
    }
    let mut merged: Option<Kubeconfig> = None;
    for path in paths {
        if let Some(next) = existing(Kubeconfig::read_from(path))? {
            merged = Some(merged.unwrap_or_default().merge(next)?);
        }
    }
    Ok(merged)
}

/// `None` for a file that does not exist. kubectl skips it too.
fn existing(read: Result<Kubeconfig, KubeconfigError>) -> Result<Option<Kubeconfig>, KubeconfigError> {
    match read {
        Err(KubeconfigError::ReadConfig(error, _)) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        read => read.map(Some),
    }
}

/// The configuration of `context`, or else of the current context, with the proxy that kubectl would use.
pub async fn config_of(mut file: Kubeconfig, context: Option<&str>) -> Result<Config, ConfigError> {
    let settings = ProxySettings::read(Some(&file), context);
    for named in &mut file.clusters {
        if let Some(cluster) = &mut named.cluster {
            cluster.proxy_url = None; // kube would apply NO_PROXY to it.
        }
    }
    let options = KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
    let mut config = Config::from_custom_kubeconfig(file, &options).await.map_err(|error| match error {
        KubeconfigError::ParseNoProxy(_) => ConfigError::NoProxy,
        error => error.into(),
    })?;
    config.proxy_url = settings.proxy(&config.cluster_url)?;
    Ok(config)
}

fn failed(error: impl std::error::Error + 'static) -> ClusterUnavailable {
    ClusterUnavailable(chain(&error))
}

/// The error as text: the API server's message if it responded, else the error and its causes.
#[must_use]
pub fn why(error: &Error) -> String {
    match error {
        Error::Api(status) => format!("{} ({})", status.message, status.code),
        _ => chain(error),
    }
}

/// The error and its causes as text, without what may be secret: the output of a credential plugin, and lines of a
/// kubeconfig.
#[must_use]
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = Some(error);
    while let Some(next) = cause {
        // The texts of outer errors contain those of inner ones.
        if let Some(why) = next.downcast_ref().and_then(exec_failure) {
            return why;
        }
        if let Some(KubeconfigError::Parse(_)) = next.downcast_ref() {
            return "the kubeconfig is not valid YAML or not a kubeconfig; `kubectl config view` says where".to_owned();
        }
        cause = next.source();
    }
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

/// What went wrong with the credential plugin of a kubeconfig, without the plugin's output, which may contain a token.
/// kube's own messages quote the output. `None`: another failure, whose message quotes none.
fn exec_failure(error: &AuthError) -> Option<String> {
    match error {
        AuthError::AuthExecRun { out, .. } => {
            Some(format!("the kubeconfig's credential plugin failed with {}; run it to see its message", out.status))
        }
        AuthError::AuthExecParse(_) => {
            Some("the output of the kubeconfig's credential plugin is not an ExecCredential".to_owned())
        }
        AuthError::AuthExec(_)
        | AuthError::InvalidBearerToken(_)
        | AuthError::MalformedTokenExpirationDate(_)
        | AuthError::ParseTokenKey(_) => {
            Some("the kubeconfig's credential plugin gave no usable credentials; run it to see its message".to_owned())
        }
        _ => None,
    }
}
