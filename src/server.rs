//! The webhook's process: its flags, and how its parts start, connect and stop.
//!
//! The file is longer than 500 lines, because the help of each flag is in it.

mod holder;

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum_server::Handle;
use clap::{ArgAction, Parser};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::Api;
use rustix::io::Errno;
use tokio::signal::unix::{SignalKind, signal};
use writgate_cluster::client;
use writgate_cluster::client::ClusterUnavailable;
use writgate_cluster::config_map::{APPROVAL_SELECTOR, POSTED_SELECTOR, POSTURE_SELECTOR};
use writgate_cluster::posture_dir::FolderError;
use writgate_cluster::webhook_configuration::RenderedEntry;
use writgate_core::{
    kube::{WorkloadKind, WorkloadKinds},
    record::Head,
    request::{ExemptController, ExemptControllers},
};

use self::holder::Holder;
use crate::certificate::clients::ClientCertificates;
use crate::certificate::files::{self, CertificateFiles, ServingCertificate, TlsError};
use crate::certificate::keeper::{Keeper, OwnCertificate};
use crate::certificate::plan::Terms;
use crate::certificate::secret::SecretName;
use crate::certificate::serving::Serving;
use crate::http::admin::{self, Status};
use crate::http::ports::{Connections, open_files, serve_http, serve_https};
use crate::http::router;
use crate::metrics::{Metrics, Watched};
use crate::review::admission::Admission;
use crate::review::approval_reader::ApprovalReader;
use crate::review::config_map_reader::ConfigMapReader;
use crate::review::guard_reader::GuardReader;
use crate::review::lookups::{DetachedSource, Lookups};
use crate::review::namespace_reader::NamespaceReader;
use crate::review::workload_reader::WorkloadReader;
use crate::state::approvals::ApprovalStore;
use crate::state::namespaces::WatchedNamespace;
use crate::state::requests::{PostedObject, PostedSource, PostedStore};
use crate::state::store::{NamespaceFollower, PostureFollower, Store};
use crate::state::{folder, watch};
use crate::telemetry::{self, LogControl, LogFilter};
use crate::trail::chain::checkpoint::{self, Checkpoints};
use crate::trail::chain::seals::Seals;
use crate::trail::chain::{self, AuditKeyError, Sealer};
use crate::trail::events::Events;
use crate::trail::events::event::Reporter;
use crate::trail::ledger::Ledger;
use crate::trail::output::{Output, Stdout};

/// How long requests in progress may take after the listener is closed. The usual `timeoutSeconds` is 5 s.
const LAST_REQUESTS: Duration = Duration::from_secs(6);
/// The longest leeway of an approval's `notBefore`.
const MAX_CLOCK_LEEWAY: Duration = Duration::from_secs(10);
/// How long queued Events may take at exit.
const LAST_EVENTS: Duration = Duration::from_secs(5);
/// How long the last checkpoint may take at exit, at the same time.
const LAST_CHECKPOINT: Duration = Duration::from_secs(5);

/// Admit workloads only with a signed approval of exactly what would run
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
#[derive(Debug, Parser)]
#[command(name = "writgate-webhook", version, about)]
pub struct Args {
    /// Address of the webhook (HTTPS, POST /validate and /guard). `[::]` accepts IPv6 and IPv4
    #[arg(long, env = "WRITGATE_LISTEN", default_value = "[::]:8443")]
    pub listen: SocketAddr,
    /// Address of /livez, /readyz, /metrics and, for clients on loopback, /log (HTTP)
    #[arg(long, env = "WRITGATE_ADMIN_LISTEN", default_value = "[::]:8080")]
    pub admin_listen: SocketAddr,
    /// Make the serving certificate, with a CA that all replicas share in this Secret, and write the CA into the webhook
    /// configuration
    #[arg(
        long,
        env = "WRITGATE_CERTIFICATE_SECRET",
        value_name = "NAMESPACE/NAME",
        conflicts_with_all = ["tls_cert_file", "posture_dir"],
        required_unless_present_any = ["tls_cert_file", "canary_test"]
    )]
    pub certificate_secret: Option<SecretName>,
    /// DNS name or address for which the serving certificate is made. Repeatable [default:
    /// writgate-webhook.SYSTEM-NAMESPACE.svc]
    #[arg(
        long,
        env = "WRITGATE_CERTIFICATE_NAME",
        value_name = "NAME",
        value_delimiter = ',',
        conflicts_with = "tls_cert_file"
    )]
    pub certificate_name: Vec<String>,
    /// Webhook configuration whose `caBundle` must accept the serving certificate
    #[arg(long, env = "WRITGATE_WEBHOOK_CONFIGURATION", default_value = "writgate", value_name = "NAME")]
    pub webhook_configuration: String,
    /// Serving certificate in PEM, read again when it changes, instead of --certificate-secret
    #[arg(long, env = "WRITGATE_TLS_CERT_FILE", value_name = "FILE", requires = "tls_private_key_file")]
    pub tls_cert_file: Option<PathBuf>,
    /// Private key of the serving certificate, in PEM
    #[arg(long, env = "WRITGATE_TLS_PRIVATE_KEY_FILE", value_name = "FILE", requires = "tls_cert_file")]
    pub tls_private_key_file: Option<PathBuf>,
    /// CA in PEM, read again when it changes: accept only clients with a certificate that it signed [default: accept every
    /// client]
    #[arg(long, env = "WRITGATE_CLIENT_CA_FILE", value_name = "FILE")]
    pub client_ca_file: Option<PathBuf>,
    /// Common name or DNS name that a client's certificate must have. Repeatable [default: any]
    #[arg(long, env = "WRITGATE_CLIENT_NAME", value_name = "NAME", value_delimiter = ',', requires = "client_ca_file")]
    pub client_name: Vec<String>,
    /// Private key that signs the records: Ed25519 in PKCS#8 PEM, not encrypted [default: a new key for each start]
    #[arg(long, env = "WRITGATE_AUDIT_KEY_FILE", value_name = "FILE")]
    pub audit_key_file: Option<PathBuf>,
    /// Read postures and namespaces from the YAML and JSON files in this folder instead of a cluster
    #[arg(long, env = "WRITGATE_POSTURE_DIR", value_name = "DIR", conflicts_with = "kubeconfig")]
    pub posture_dir: Option<PathBuf>,
    /// Credentials of the cluster [default: the Pod's own, else $KUBECONFIG]
    #[arg(long, env = "WRITGATE_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Namespace of the postures and the ledger
    #[arg(long, env = "WRITGATE_SYSTEM_NAMESPACE", default_value = "writgate-system", value_name = "NAMESPACE")]
    pub system_namespace: String,
    /// How long to continue serving after the signal to stop, while endpoints are updated
    #[arg(long, env = "WRITGATE_DRAIN", default_value = "10s", value_name = "DURATION", value_parser = duration)]
    pub drain: Duration,
    /// Worker threads
    #[arg(long, env = "WRITGATE_WORKERS", default_value_t = 2, value_name = "N")]
    pub workers: usize,
    /// Controller whose writes to one resource are not actions. Repeatable; replaces the list of Kubernetes' own
    /// controllers
    #[arg(long, env = "WRITGATE_EXEMPT_CONTROLLER", value_name = "USER=RESOURCE", value_delimiter = ',')]
    pub exempt_controller: Vec<ExemptController>,
    /// Exempt no controllers. Every write of a controller in a governed namespace is then an action
    #[arg(long, env = "WRITGATE_NO_EXEMPT_CONTROLLERS", conflicts_with = "exempt_controller")]
    pub no_exempt_controllers: bool,
    /// Custom resource that is a workload: its plural resource, and the path of its pod template. Repeatable
    #[arg(
        long,
        env = "WRITGATE_WORKLOAD_KIND",
        value_name = "GROUP/VERSION/KIND=RESOURCE:PATH",
        value_delimiter = ','
    )]
    pub workload_kind: Vec<WorkloadKind>,
    /// Look for approvals in ConfigMaps in the workload's namespace, as well as in its annotations
    #[arg(
        long,
        env = "WRITGATE_DETACHED_APPROVALS",
        default_value_t = true,
        action = ArgAction::Set,
        value_name = "BOOL"
    )]
    pub detached_approvals: bool,
    /// Log filter: error, warn, info, debug, or directives such as `writgate=debug,kube=warn`. Decision records are always
    /// written. PUT /log on the admin port replaces it for 30 minutes
    #[arg(long, env = "WRITGATE_LOG", default_value = "info", value_name = "FILTER")]
    pub log: LogFilter,
    /// How long before its `notBefore` an approval is admitted already, because clocks differ; at most 10s. Expiry has no
    /// such leeway
    #[arg(long, env = "WRITGATE_CLOCK_LEEWAY", default_value = "0s", value_name = "DURATION", value_parser = clock_leeway)]
    pub clock_leeway: Duration,
    /// How often to look for changed certificate files
    #[arg(long, env = "WRITGATE_CERTIFICATE_INTERVAL", default_value = "10s", value_parser = duration, hide = true)]
    pub certificate_interval: Duration,
    /// How often to check the certificate, its CA and the CA bundle
    #[arg(long, default_value = "1m", value_parser = duration, hide = true)]
    pub certificate_check_interval: Duration,
    /// How long a CA is valid
    #[arg(long, default_value = "8760h", value_parser = duration, hide = true)]
    pub ca_lifetime: Duration,
    /// How long a serving certificate is valid
    #[arg(long, default_value = "168h", value_parser = duration, hide = true)]
    pub leaf_lifetime: Duration,
    /// How long until every API server uses a changed bundle
    #[arg(long, default_value = "5m", value_parser = duration, hide = true)]
    pub bundle_settle: Duration,
    /// How long a single-use approval stays reserved for an object that does not appear; must be longer than the API
    /// server's --request-timeout
    #[arg(long, env = "WRITGATE_RELEASE_AFTER", default_value = "90s", value_name = "DURATION", value_parser = duration)]
    pub release_after: Duration,
    /// How often one replica sends the canary: dry runs in namespace writgate-canary that the webhook must deny. 0 sends none
    #[arg(long, env = "WRITGATE_CANARY_INTERVAL", default_value = "0", value_name = "DURATION", value_parser = duration)]
    pub canary_interval: Duration,
    /// Entry of the webhook configuration as it was rendered, with its digest. Repeatable. The replica that sends the canary
    /// reports whether the live entries are the same
    #[arg(long, env = "WRITGATE_WEBHOOK_ENTRY", value_name = "NAME=sha256:DIGEST", value_delimiter = ',')]
    pub webhook_entry: Vec<RenderedEntry>,
    /// How often one replica decides again about the workloads that exist. 0 never does
    #[arg(long, env = "WRITGATE_REAUDIT_INTERVAL", default_value = "0", value_name = "DURATION", value_parser = duration)]
    pub reaudit_interval: Duration,
    /// Write the result of the re-audit as Report objects too (openreports.io/v1alpha1), if the cluster has this kind
    #[arg(long, env = "WRITGATE_OPEN_REPORTS")]
    pub open_reports: bool,
    /// Accept requests for approval that are posted as ConfigMaps in governed namespaces
    #[arg(long, env = "WRITGATE_POSTED_REQUESTS", default_value_t = true, action = ArgAction::Set, value_name = "BOOL")]
    pub posted_requests: bool,
    /// How often one replica deletes posted requests and rejections that are older than a week. 0 never does
    #[arg(long, env = "WRITGATE_REQUEST_SWEEP_INTERVAL", default_value = "0", value_name = "DURATION", value_parser = duration)]
    pub request_sweep_interval: Duration,
    /// How long a posted request or a rejection is kept
    #[arg(long, default_value = "168h", value_parser = duration, hide = true)]
    pub request_lifetime: Duration,
    /// Configuration of notifications: who is sent what happens in governed namespaces, over HTTPS. One replica sends them
    #[arg(long, env = "WRITGATE_NOTIFICATIONS", value_name = "FILE", conflicts_with = "posture_dir")]
    pub notifications: Option<PathBuf>,
    /// Send the canary once and exit, instead of serving: with 0 if the webhook in the cluster denies it. While it does not, repeat
    /// for about 10 seconds, then exit with 1
    #[arg(long, conflicts_with_all = ["posture_dir", "canary_interval", "reaudit_interval"])]
    pub canary_test: bool,
}

/// Why the webhook cannot run. Each message says what to do.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages document the variants")]
pub enum ServeError {
    #[error("cannot listen on {address} ({flag}): {source}")]
    Listen { address: SocketAddr, flag: &'static str, source: io::Error },
    #[error(transparent)]
    Certificate(#[from] TlsError),
    #[error(transparent)]
    AuditKey(#[from] AuditKeyError),
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(transparent)]
    Cluster(#[from] ClusterUnavailable),
    #[error("the canary was not denied: {0}")]
    Canary(String),
    #[error("{what}: {source}")]
    System { what: &'static str, source: io::Error },
}

/// Runs the webhook until a signal ends it, with standard output as its log.
pub fn run(args: Args) -> Result<(), ServeError> {
    let system = |what| move |source| ServeError::System { what, source };
    if args.canary_test {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let version = runtime.map_err(system("cannot start the runtime"))?.block_on(holder::test_canary(&args))?;
        let found = format!("the webhook, version {version}, denied each dry run of the canary\n");
        return io::stdout().write_all(found.as_bytes()).map_err(system("cannot use standard output"));
    }
    let metrics = Metrics::default();
    let stdout = Stdout::open().map_err(system("cannot use standard output"))?;
    let output = Output::start(stdout, metrics.clone()).map_err(system("cannot start a thread"))?;
    let log = telemetry::start(args.log.clone(), output.clone());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(args.workers.max(1))
        .enable_all()
        .build()
        .map_err(system("cannot start the runtime"))?;
    let served = runtime.block_on(async {
        let served = serve(args, metrics, output.clone(), log).await;
        output.flush().await;
        served
    });
    // Watches never end by themselves.
    runtime.shutdown_background();
    served
}

async fn serve(args: Args, metrics: Metrics, output: Output, log: LogControl) -> Result<(), ServeError> {
    let (serving, certificate_files) = certificate(&args, &metrics)?;
    let audit_key = chain::audit_key(args.audit_key_file.as_deref())?;
    let listener = listen(args.listen, "--listen")?;
    let admin_listener = listen(args.admin_listen, "--admin-listen")?;

    let store = Arc::new(Store::default());
    let status = Status::new(store.clone(), metrics.clone()).with_certificate(serving.clone()).with_log(log);
    let status = Arc::new(status);
    let cluster = follow(&args, &store, &metrics).await?;
    if let Some(client) = cluster.clone() {
        let configuration = &args.webhook_configuration;
        let keeper = Keeper::new(client, configuration, own_certificate(&args), serving.clone(), metrics.clone());
        tokio::spawn(keeper.keep(args.certificate_check_interval));
    }
    let exempt = match args.exempt_controller.as_slice() {
        [] if !args.no_exempt_controllers => ExemptControllers::default(),
        given => given.iter().cloned().collect(),
    };
    let reporter = Reporter::new(&std::env::var("HOSTNAME").unwrap_or_default(), &args.system_namespace);
    let kinds: WorkloadKinds = args.workload_kind.iter().copied().collect();
    let ledger =
        |client| Ledger::new(client, kinds.clone(), &args.system_namespace, args.release_after, metrics.clone());
    let ledger = cluster.clone().map(ledger);
    if let Some(ledger) = ledger.clone() {
        tokio::spawn(ledger.keep_swept());
    }
    let sealer = Sealer::new(audit_key, heads(cluster.as_ref(), &args.system_namespace).await, metrics.clone());
    let seals = Seals::start(sealer.clone(), output.clone());
    let holder = cluster.clone().zip(ledger.clone());
    let holder = holder.map(|(client, ledger)| Holder {
        client,
        ledger,
        store: store.clone(),
        reporter: reporter.clone(),
        metrics: metrics.clone(),
        exempt: exempt.clone(),
    });
    let events = cluster.clone().zip(ledger.clone());
    let events =
        events.map(|(client, ledger)| Events::start(client, reporter, ledger, sealer.clone(), metrics.clone()));
    let write = |client| Checkpoints::start(sealer.clone(), client, &args.system_namespace);
    let checkpoints = cluster.clone().map(write);
    let posted = posted_source(&args, cluster.clone(), &metrics);
    let lookups = lookups(&args, cluster, ledger, &metrics);
    let (keyid, writer) = (sealer.keyid(), sealer.writer());
    let lease = holder.map(|holder| holder.start(&args, &writer.to_string()));
    let admission = Admission::new(store, lookups, sealer, output, events.clone(), metrics.clone())
        .with_exempt(exempt)
        .with_clock_leeway(args.clock_leeway)
        .with_system_namespace(&args.system_namespace)
        .with_posted(posted)
        .with_kinds(kinds);

    let webhook = Handle::new();
    let admin = Handle::new();
    let tls = serving.config();
    tokio::spawn(certificate_files);
    let connections = Connections::admin(metrics.clone());
    let admin_served =
        tokio::spawn(serve_http(admin_listener, admin::router(status.clone()), connections, admin.clone()));
    tokio::spawn(admin::log_readiness(status.clone()));
    let routes = router::router(admission, status.clone());
    let connections = Connections::webhook(open_files(), metrics);
    let served = tokio::spawn(serve_https(listener, routes, tls, connections, webhook.clone()));
    let (listen, admin_listen, version) = (args.listen, args.admin_listen, env!("CARGO_PKG_VERSION"));
    tracing::info!(%listen, admin = %admin_listen, version, %keyid, %writer, "serving");

    stopped().await.map_err(|source| ServeError::System { what: "cannot wait for signals", source })?;
    tracing::info!(drain = ?args.drain, "stopping");
    status.drain();
    seals.hurry();
    tokio::select! {
        () = tokio::time::sleep(args.drain) => {}
        // A second signal ends the drain.
        _ = stopped() => {}
    }
    webhook.graceful_shutdown(Some(LAST_REQUESTS));
    let _ = served.await;
    seals.finish().await;
    let events = async {
        if let Some(events) = events {
            events.finish(LAST_EVENTS).await;
        }
    };
    let checkpoints = async {
        if let Some(checkpoints) = checkpoints {
            checkpoints.finish(LAST_CHECKPOINT).await;
        }
    };
    let lease = async {
        if let Some(lease) = lease.flatten() {
            lease.release(LAST_CHECKPOINT).await;
        }
    };
    tokio::join!(events, checkpoints, lease);
    admin.shutdown();
    let _ = admin_served.await;
    tracing::info!("stopped");
    Ok(())
}

/// What a decision may ask the API server.
fn lookups(args: &Args, cluster: Option<Client>, ledger: Option<Ledger>, metrics: &Metrics) -> Lookups {
    let config_maps = cluster.clone().map(ConfigMapReader::new);
    let workloads = cluster.clone().map(WorkloadReader::new);
    let guards = cluster.clone().map(|client| GuardReader::new(client, &args.system_namespace));
    let approvals = detached_source(args, cluster.clone(), metrics);
    Lookups::new(cluster.map(|client| NamespaceReader::new(client, metrics.clone())))
        .with_ledger(ledger)
        .with_config_maps(config_maps)
        .with_workloads(workloads)
        .with_guards(guards)
        .with_approvals(approvals)
}

/// What the TLS port serves, and the task that reads the files of certificates.
fn certificate(args: &Args, metrics: &Metrics) -> Result<(Serving, BoxFuture<'static, ()>), ServeError> {
    let clients = args.client_ca_file.clone().map(|ca| ClientCertificates { ca, names: args.client_name.clone() });
    let interval = args.certificate_interval;
    if let (Some(cert), Some(key)) = (args.tls_cert_file.clone(), args.tls_private_key_file.clone()) {
        let certificate = ServingCertificate::load(CertificateFiles { cert, key, clients }, metrics.clone())?;
        return Ok((certificate.serving(), certificate.follow(interval).boxed()));
    }
    let serving = Serving::new(metrics.clone());
    let files = match clients {
        Some(clients) => files::follow_client_ca(clients, serving.clone(), metrics.clone(), interval)?.boxed(),
        None => std::future::ready(()).boxed(),
    };
    Ok((serving, files))
}

/// What a webhook that makes its own certificate is given, if it does.
fn own_certificate(args: &Args) -> Option<OwnCertificate> {
    let secret = args.certificate_secret.clone()?;
    let names = match args.certificate_name.as_slice() {
        [] => vec![format!("writgate-webhook.{}.svc", args.system_namespace)],
        names => names.to_vec(),
    };
    let terms = Terms { authority: args.ca_lifetime, leaf: args.leaf_lifetime, settle: args.bundle_settle };
    Some(OwnCertificate { secret, names, terms })
}

/// The heads of the other chains, for the first line of this chain. If they cannot be read, this is logged, and the line
/// names none.
async fn heads(cluster: Option<&Client>, system_namespace: &str) -> Vec<Head> {
    let Some(client) = cluster else { return Vec::new() };
    checkpoint::heads(client.clone(), system_namespace).await.unwrap_or_else(|why| {
        tracing::warn!(%why, "the checkpoints of other chains could not be read; the first line of this chain does not name them");
        Vec::new()
    })
}

/// Starts feeding `store` from the folder or the cluster. Returns the client of the cluster.
async fn follow(args: &Args, store: &Arc<Store>, metrics: &Metrics) -> Result<Option<Client>, ServeError> {
    if let Some(path) = &args.posture_dir {
        let known = folder::load(path, store)?;
        tokio::spawn(folder::follow(path.clone(), store.clone(), known));
        return Ok(None);
    }
    let client = client::client(args.kubeconfig.as_deref()).await?;
    let postures: Api<ConfigMap> = Api::namespaced(client.clone(), &args.system_namespace);
    let namespaces: Api<WatchedNamespace> = Api::all(client.clone());
    let (to_postures, to_namespaces) = (PostureFollower(store.clone()), NamespaceFollower(store.clone()));
    let (counted, counted_too) = (metrics.clone(), metrics.clone());
    tokio::spawn(async move {
        watch::follow(Watched::Postures, postures, POSTURE_SELECTOR, &to_postures, &counted).await;
    });
    tokio::spawn(async move {
        watch::follow(Watched::Namespaces, namespaces, "", &to_namespaces, &counted_too).await;
    });
    Ok(Some(client))
}

/// Where detached approvals are read. With a cluster, starts a watch over them. If the watch fails, for example because a
/// permission is missing, nothing is cached and approvals are read live.
fn detached_source(args: &Args, cluster: Option<Client>, metrics: &Metrics) -> DetachedSource {
    if !args.detached_approvals {
        return DetachedSource::Nowhere;
    }
    let Some(client) = cluster else { return DetachedSource::Folder };
    let cached = ApprovalStore::new(metrics.clone());
    let (config_maps, follower, counted) = (Api::<ConfigMap>::all(client.clone()), cached.clone(), metrics.clone());
    tokio::spawn(async move {
        watch::follow(Watched::Approvals, config_maps, APPROVAL_SELECTOR, &follower, &counted).await;
    });
    DetachedSource::Cluster { cached, live: Box::new(ApprovalReader::new(client, metrics.clone())) }
}

/// Where the number of posted requests is known from. With a cluster, starts a watch over them.
fn posted_source(args: &Args, cluster: Option<Client>, metrics: &Metrics) -> PostedSource {
    if !args.posted_requests {
        return PostedSource::NotAccepted;
    }
    let Some(client) = cluster else { return PostedSource::Folder };
    let store = PostedStore::new(metrics.clone());
    let (objects, follower, counted) = (Api::<PostedObject>::all(client), store.clone(), metrics.clone());
    tokio::spawn(async move {
        watch::follow(Watched::Requests, objects, POSTED_SELECTOR, &follower, &counted).await;
    });
    PostedSource::Cluster(store)
}

/// Listens on `address`. A node without IPv6 cannot listen on `[::]`, which stands for all of its addresses, so there it listens on
/// `0.0.0.0`.
fn listen(address: SocketAddr, flag: &'static str) -> Result<TcpListener, ServeError> {
    let listener = match TcpListener::bind(address) {
        Err(error) if address.ip() == Ipv6Addr::UNSPECIFIED && is_without_ipv6(&error) => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port()))
        }
        other => other,
    };
    listener.map_err(|source| ServeError::Listen { address, flag, source })
}

fn is_without_ipv6(error: &io::Error) -> bool {
    let without = [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL];
    error.raw_os_error().is_some_and(|code| without.iter().any(|errno| errno.raw_os_error() == code))
}

/// Returns at SIGTERM or SIGINT.
async fn stopped() -> io::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// A wrong clock must not move the beginning of an approval by more than clocks usually differ.
fn clock_leeway(text: &str) -> Result<Duration, String> {
    let leeway = duration(text)?;
    if leeway > MAX_CLOCK_LEEWAY {
        return Err("expected at most 10s; correct the clocks instead".to_owned());
    }
    Ok(leeway)
}

/// Reads `10s`, `1m30s`, `500ms`, `0`.
fn duration(text: &str) -> Result<Duration, String> {
    let parsed = if text == "0" { Ok(jiff::SignedDuration::ZERO) } else { text.parse::<jiff::SignedDuration>() };
    let parsed = parsed.map_err(|error| format!("{error}; expected a duration such as 10s or 1m30s"))?;
    Duration::try_from(parsed).map_err(|_| "found a negative duration, expected a duration such as 10s".to_owned())
}
