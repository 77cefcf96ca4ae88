//! The cluster, found as kubectl finds it. Each request has a time limit.
//!
//! A verb that does not use a cluster starts no runtime and reads no kubeconfig.

pub(crate) mod event_reader;
pub(crate) mod gitops_denials;
pub(crate) mod posted;

use std::{cell::OnceCell, ffi::OsString, future::Future, path::PathBuf, time::Duration};

use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use kube::{
    Client, Config,
    api::{Api, ApiResource, DynamicObject},
};
use serde_json::Value;
use tokio::runtime::Runtime;
use writgate_cluster::{
    bounded_request::{self, RequestError},
    client::{self, ConfigError, chain, why},
};

use crate::{failure::Failure, manifest::Manifest, terminal::output::shown};

/// How long a connection to the API server may take to open.
const CONNECT: Duration = Duration::from_secs(5);

/// The cluster to use, selected with kubectl's own flags.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct ClusterFlags {
    /// Context of the kubeconfig [default: the current context]
    #[arg(long, value_name = "NAME", help_heading = "Cluster", add = ArgValueCandidates::new(contexts))]
    context: Option<String>,
    #[command(flatten)]
    pub(crate) connection: ConnectionFlags,
}

/// One cluster or several, selected with kubectl's own flags.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct FleetFlags {
    /// Context of the kubeconfig; may be repeated [default: the current context]
    #[arg(long, value_name = "NAME", help_heading = "Cluster", add = ArgValueCandidates::new(contexts))]
    context: Vec<String>,
    #[command(flatten)]
    connection: ConnectionFlags,
}

/// The other clusters of an approval for several.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct OtherClusterFlags {
    /// Context of another cluster of the approval, which is read as well; may be repeated
    #[arg(
        long,
        value_name = "NAME",
        conflicts_with = "posture_dir",
        help_heading = "Cluster",
        add = ArgValueCandidates::new(contexts)
    )]
    pub(crate) other_context: Vec<String>,
}

/// How a cluster is reached, whatever its context.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct ConnectionFlags {
    /// Kubeconfig file [default: $KUBECONFIG, or ~/.kube/config]
    #[arg(long, value_name = "FILE", help_heading = "Cluster")]
    kubeconfig: Option<PathBuf>,
    /// Namespace that contains the postures
    #[arg(
        long,
        env = "WRITGATE_SYSTEM_NAMESPACE",
        default_value = "writgate-system",
        value_name = "NAMESPACE",
        help_heading = "Cluster"
    )]
    pub(crate) system_namespace: String,
    /// Time limit of one request to the API server
    #[arg(long, default_value = "10s", value_name = "DURATION", value_parser = timeout, help_heading = "Cluster")]
    request_timeout: Option<Duration>,
}

/// Completion candidates: the contexts of the kubeconfig that is used without flags.
fn contexts() -> Vec<CompletionCandidate> {
    let found = client::read_kubeconfig(None).ok().flatten().unwrap_or_default();
    found.contexts.into_iter().map(|context| CompletionCandidate::new(context.name)).collect()
}

/// Parses a duration that is not negative.
pub(crate) fn timeout(text: &str) -> Result<Duration, String> {
    let duration = writgate_core::encoding::parse_duration(text).map_err(|error| error.to_string())?;
    Duration::try_from(duration).map_err(|_| "a duration cannot be negative".to_owned())
}

/// A connection to the cluster.
pub(crate) struct Cluster {
    /// For requests with more than one answer, such as a watch.
    pub(crate) client: Client,
    /// The namespace of the context, or `default`.
    pub(crate) namespace: String,
    /// Namespace that contains the postures.
    pub(crate) system_namespace: String,
    /// The host of the API server's URL.
    pub(crate) server_host: Option<String>,
    runtime: Runtime,
    patience: Duration,
    version: OnceCell<Option<ServerVersion>>,
}

/// The version of an API server.
pub(crate) struct ServerVersion {
    /// The 30 of v1.30.14.
    pub(crate) minor: u32,
    /// As the API server writes it.
    pub(crate) name: String,
}

impl FleetFlags {
    /// The flags of each context that is named, with its name. Without one, the current context, whose name is `None`.
    ///
    /// # Errors
    ///
    /// A context is named twice.
    pub(crate) fn each(&self) -> Result<Vec<(Option<&str>, ClusterFlags)>, Failure> {
        let current = ClusterFlags { context: None, connection: self.connection.clone() };
        if self.context.is_empty() {
            return Ok(vec![(None, current)]);
        }
        let mut each: Vec<(Option<&str>, ClusterFlags)> = Vec::with_capacity(self.context.len());
        for context in &self.context {
            if each.iter().any(|(named, _)| *named == Some(context)) {
                return Err(Failure::Misuse(format!("--context {context:?} is given twice; name each context once")));
            }
            each.push((Some(context), current.in_context(context)));
        }
        Ok(each)
    }
}

impl ClusterFlags {
    /// The same flags with another context.
    pub(crate) fn in_context(&self, context: &str) -> Self {
        Self { context: Some(context.to_owned()), connection: self.connection.clone() }
    }

    /// The flags with which kubectl uses the same cluster.
    pub(crate) fn kubectl_flags(&self) -> Vec<OsString> {
        let kubeconfig =
            self.connection.kubeconfig.iter().flat_map(|path| ["--kubeconfig".into(), path.clone().into_os_string()]);
        let context = self.context.iter().flat_map(|name| ["--context".into(), name.into()]);
        kubeconfig.chain(context).collect()
    }

    /// Reads the kubeconfig and creates a client. Sends no request.
    pub(crate) fn connect(&self) -> Result<Cluster, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::Undetermined(format!("cannot start the async runtime: {error}")))?;
        let mut config = runtime.block_on(self.config())?;
        config.connect_timeout = Some(CONNECT);
        let namespace = config.default_namespace.clone();
        let server_host = config.cluster_url.host().map(|host| host.trim_matches(['[', ']']).to_owned());
        // Tasks of the runtime drive the client's connections.
        let client = runtime.block_on(async { Client::try_from(config) }).map_err(|error| no_cluster(&why(&error)))?;
        let patience = self.connection.request_timeout.unwrap_or(Duration::from_secs(10));
        let system_namespace = self.connection.system_namespace.clone();
        Ok(Cluster { client, namespace, system_namespace, server_host, runtime, patience, version: OnceCell::new() })
    }

    /// As in kubectl, a kubeconfig has precedence over a Pod's own credentials.
    async fn config(&self) -> Result<Config, Failure> {
        let file = client::read_kubeconfig(self.connection.kubeconfig.as_deref())
            .map_err(|error| no_cluster(&chain(&error)))?;
        let none = || no_cluster("no kubeconfig found in --kubeconfig, $KUBECONFIG or ~/.kube/config");
        match file {
            Some(file) => client::config_of(file, self.context.as_deref()).await.map_err(|error| match error {
                ConfigError::Kubeconfig(error) => no_cluster(&chain(&error)),
                error => Failure::Undetermined(format!("cannot connect to a cluster: {}", shown(&error.to_string()))),
            }),
            None if self.context.is_none() => Config::incluster().map_err(|_| none()),
            None => Err(none()),
        }
    }
}

fn no_cluster(why: &str) -> Failure {
    Failure::Undetermined(format!(
        "cannot connect to a cluster: {}; select one with --kubeconfig and --context",
        shown(why)
    ))
}

impl Cluster {
    /// Sends one request. `what` completes "cannot …", as in `list ConfigMaps in writgate-system`.
    pub(crate) fn ask<T>(
        &self,
        what: &str,
        question: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, Failure> {
        match self.runtime.block_on(bounded_request::send(self.patience, question)) {
            Ok(answer) => Ok(answer),
            Err(RequestError::Failed(kube::Error::Api(status))) if status.code == 403 => Err(Failure::Undetermined(
                format!("cannot {what}: {}; ask a cluster administrator for this permission", shown(&status.message)),
            )),
            Err(slow @ RequestError::Timeout(_)) => {
                Err(Failure::Undetermined(format!("cannot {what}: {slow}; --request-timeout changes the limit")))
            }
            Err(failed) => Err(Failure::Undetermined(format!("cannot {what}: {}", shown(&failed.to_string())))),
        }
    }

    /// The API server's version. `None`: it does not say, or its version has another form.
    pub(crate) fn version(&self) -> Option<&ServerVersion> {
        let read = || {
            let info = self.ask("ask for the API server's version", self.client.apiserver_version()).ok()?;
            // Managed clusters add a plus sign to the minor version.
            let minor = info.minor.trim_end_matches('+').parse().ok()?;
            (info.major == "1").then_some(ServerVersion { minor, name: info.git_version })
        };
        self.version.get_or_init(read).as_ref()
    }

    /// Runs work of unlimited duration, such as a watch.
    pub(crate) fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// The live object with this manifest's name in `namespace`; none if it does not exist or the manifest has no fixed
    /// name.
    pub(crate) fn live(&self, manifest: &Manifest, namespace: &str) -> Result<Option<Value>, Failure> {
        let (Some(name), Some(resource)) = (manifest.name(), resource(manifest)) else { return Ok(None) };
        if !writgate_cluster::names::is_label(namespace) || !writgate_cluster::names::is_subdomain(name) {
            return Ok(None);
        }
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &resource);
        let what = format!("read {} {name} in {namespace}", manifest.kind());
        let found = self.ask(&what, api.get_opt(name))?;
        found
            .map(serde_json::to_value)
            .transpose()
            .map_err(|error| Failure::Undetermined(format!("cannot {what}: {error}")))
    }
}

/// The API resource of objects like this one; none for kinds that the webhook does not check.
pub(crate) fn resource(manifest: &Manifest) -> Option<ApiResource> {
    Some(client::api_resource(manifest.api_version(), manifest.kind(), &manifest.resource()?))
}
