//! The two ports: how many connections each may have, and how long a connection may take until it sends a request.
//!
//! What a connection can hold is bounded: one open file, the headers of one request, and a body within the
//! [limits](super::limits). Files are divided so that the webhook's own watches and the probes have theirs, however many
//! connections other peers open.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Bytes, HttpBody};
use axum::extract::ConnectInfo;
use axum::http::Request;
use axum::response::Response;
use axum::routing::future::RouteFuture;
use axum_server::accept::{Accept, NoDelayAcceptor};
use axum_server::service::SendService;
use axum_server::tls::TlsService;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use axum_server::{Handle, Server};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::AlertDescription;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tower::{Service, service_fn};

use crate::http::shares::{Share, Shares};
use crate::metrics::{ConnectionRefusal, HandshakeFailure, Metrics, Port};

/// How long a peer may take for the TLS handshake, and then for the headers of its first request.
const FIRST_REQUEST: Duration = Duration::from_secs(5);
/// How long a connection may be idle and take for the headers of its next request, together. The API server's Go client keeps
/// connections for 90 s. If the webhook closed one earlier, a request could arrive meanwhile and fail, and the user would see a
/// denial.
const IDLE: Duration = Duration::from_secs(150);
/// How long a peer may leave a response unread.
const UNREAD: Duration = Duration::from_secs(10);
/// The largest headers of a request. API servers send a few hundred bytes.
const MAX_HEADERS: usize = 16 << 10;
/// Connections to the webhook's port. An API server opens as many as it has requests at the same time.
const MAX_WEBHOOK: usize = 1024;
/// Connections to the admin port. The kubelet and Prometheus open a few.
const MAX_ADMIN: usize = 64;
/// Open files that no connection to a port may use: for the watches, lookups, Events, the certificate and standard output.
const RESERVED_FILES: usize = 256;
/// The shortest time between two log lines about refused connections.
const LOG_INTERVAL: Duration = Duration::from_mins(1);

/// The open files that this process may have, after it has raised its soft limit to the hard one. Container runtimes often set a
/// soft limit of 1,024, for programs that use `select`.
#[must_use]
pub fn open_files() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let limit = if setrlimit(Resource::Nofile, raised).is_ok() { raised } else { limit };
    limit.current.map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX))
}

/// The connections of one port.
#[derive(Clone)]
pub struct Connections {
    port: Port,
    shares: Arc<Shares>,
    metrics: Metrics,
    log: Arc<LogInterval>,
}

impl Connections {
    /// The connections to the webhook's port, in a process that may have this many open files.
    #[must_use]
    pub fn webhook(open_files: usize, metrics: Metrics) -> Self {
        Self::new(Port::Webhook, open_files.saturating_sub(RESERVED_FILES + MAX_ADMIN).clamp(2, MAX_WEBHOOK), metrics)
    }

    /// The connections to the admin port.
    #[must_use]
    pub fn admin(metrics: Metrics) -> Self {
        Self::new(Port::Admin, MAX_ADMIN, metrics)
    }

    fn new(port: Port, max: usize, metrics: Metrics) -> Self {
        Self { port, shares: Shares::new(max), metrics, log: Arc::default() }
    }

    /// A new connection from `address`, unless there are too many.
    fn accept(&self, address: SocketAddr) -> io::Result<Connection> {
        let Some(share) = self.shares.try_take(address.into(), 1) else {
            self.refuse(ConnectionRefusal::TooMany, address, &"this address has too many connections");
            return Err(io::ErrorKind::QuotaExceeded.into());
        };
        self.metrics.connection_counted(self.port, 1);
        let (accepted, served) = (AtomicBool::new(self.port == Port::Admin), AtomicBool::default());
        Ok(Connection { of: self.clone(), address, accepted, served, _share: share })
    }

    fn refuse(&self, reason: ConnectionRefusal, address: SocketAddr, why: &dyn std::fmt::Display) {
        self.metrics.connection_refused(self.port, reason);
        if let Some(others) = self.log.due() {
            let (port, reason) = (self.port.as_str(), reason.as_str());
            tracing::warn!(port, reason, peer = %address.ip().to_canonical(), others, "connection refused: {why}");
        }
    }
}

/// Lets one log line through in [`LOG_INTERVAL`], and counts the others.
#[derive(Default)]
struct LogInterval {
    last: std::sync::Mutex<Option<Instant>>,
    others: AtomicU64,
}

impl LogInterval {
    /// How many were not logged since the last one that was, if one is due.
    fn due(&self) -> Option<u64> {
        let mut last = self.last.lock().expect("no thread panics while it holds the lock");
        if last.is_some_and(|last| last.elapsed() < LOG_INTERVAL) {
            self.others.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        *last = Some(Instant::now());
        Some(self.others.swap(0, Ordering::Relaxed))
    }
}

/// An open connection, counted until it is dropped.
struct Connection {
    of: Connections,
    address: SocketAddr,
    /// Its TLS handshake has succeeded.
    accepted: AtomicBool,
    /// It has sent a request.
    served: AtomicBool,
    _share: Share,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.of.metrics.connection_counted(self.of.port, -1);
        if *self.accepted.get_mut() && !*self.served.get_mut() {
            self.of.metrics.connection_refused(self.of.port, ConnectionRefusal::NoRequest);
        }
    }
}

/// The routes, for the requests of one connection.
#[derive(Clone)]
struct ConnectionRoutes {
    routes: Router,
    connection: Arc<Connection>,
}

impl<B> Service<Request<B>> for ConnectionRoutes
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = RouteFuture<Infallible>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request<B>>::poll_ready(&mut self.routes, context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        self.connection.served.store(true, Ordering::Relaxed);
        request.extensions_mut().insert(ConnectInfo(self.connection.address));
        self.routes.call(request)
    }
}

/// Accepts TLS, and counts failed handshakes.
#[derive(Clone)]
struct TlsAcceptor(RustlsAcceptor<NoDelayAcceptor>);

type Accepted<S> = <RustlsAcceptor<NoDelayAcceptor> as Accept<TcpStream, S>>::Stream;

impl Accept<TcpStream, ConnectionRoutes> for TlsAcceptor {
    type Stream = Accepted<ConnectionRoutes>;
    type Service = TlsService<ConnectionRoutes>;
    type Future = Pin<Box<dyn Future<Output = io::Result<(Self::Stream, Self::Service)>> + Send>>;

    fn accept(&self, stream: TcpStream, service: ConnectionRoutes) -> Self::Future {
        let connection = service.connection.clone();
        let handshake = self.0.accept(stream, service);
        Box::pin(async move {
            let accepted = handshake.await;
            match &accepted {
                Ok(_) => connection.accepted.store(true, Ordering::Relaxed),
                Err(error) => {
                    let why = failure(error);
                    connection.of.metrics.handshake_failed(why);
                    let refusal = match why {
                        HandshakeFailure::ClientCertificate => ConnectionRefusal::ClientCertificate,
                        _ => ConnectionRefusal::Handshake,
                    };
                    connection.of.refuse(refusal, connection.address, error);
                }
            }
            accepted
        })
    }
}

/// Why the handshake failed.
fn failure(error: &io::Error) -> HandshakeFailure {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        // A server gets no other certificates.
        Some(rustls::Error::NoCertificatesPresented | rustls::Error::InvalidCertificate(_)) => {
            HandshakeFailure::ClientCertificate
        }
        Some(rustls::Error::AlertReceived(
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            // The signature of a CA with the same name, but another key.
            | AlertDescription::DecryptError,
        )) => HandshakeFailure::CertificateRejected,
        // The resolver has no certificate. rustls has no variant for it.
        Some(rustls::Error::General(_)) => HandshakeFailure::NoCertificate,
        Some(rustls::Error::PeerIncompatible(_)) => HandshakeFailure::Incompatible,
        Some(rustls::Error::InvalidMessage(_)) => HandshakeFailure::NotTls,
        Some(_) => HandshakeFailure::Other,
        None => match error.kind() {
            io::ErrorKind::TimedOut => HandshakeFailure::Timeout,
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                HandshakeFailure::Closed
            }
            _ => HandshakeFailure::Other,
        },
    }
}

/// Serves `routes` in plain HTTP on `listener` until `handle` ends it.
pub async fn serve_http(
    listener: TcpListener,
    routes: Router,
    connections: Connections,
    handle: Handle<SocketAddr>,
) -> io::Result<()> {
    serve(from_tcp(listener)?.handle(handle), routes, connections).await
}

/// Serves `routes` over TLS on `listener` until `handle` ends it.
pub async fn serve_https(
    listener: TcpListener,
    routes: Router,
    certificate: RustlsConfig,
    connections: Connections,
    handle: Handle<SocketAddr>,
) -> io::Result<()> {
    let acceptor = RustlsAcceptor::new(certificate).handshake_timeout(FIRST_REQUEST).acceptor(NoDelayAcceptor);
    serve(from_tcp(listener)?.acceptor(TlsAcceptor(acceptor)).handle(handle), routes, connections).await
}

/// Accepted sockets inherit the listener's timeout.
fn from_tcp(listener: TcpListener) -> io::Result<Server<SocketAddr>> {
    let unread = u32::try_from(UNREAD.as_millis()).expect("a few seconds");
    rustix::net::sockopt::set_tcp_user_timeout(&listener, unread)?;
    axum_server::from_tcp(listener)
}

async fn serve<A>(server: Server<SocketAddr, A>, routes: Router, connections: Connections) -> io::Result<()>
where
    A: Accept<TcpStream, ConnectionRoutes> + Clone + Send + Sync + 'static,
    A::Stream: AsyncRead + AsyncWrite + Unpin + Send,
    A::Service: SendService<hyper::Request<hyper::body::Incoming>> + Send,
    A::Future: Send,
{
    let mut server = server.http1_only().first_request_timeout(FIRST_REQUEST);
    // hyper reads headers, and then at most as many bytes of a body at once, into this buffer.
    server.http_builder().http1().max_buf_size(MAX_HEADERS).header_read_timeout(IDLE);
    // In the loop that accepts: a connection above the limit is closed before the next one is accepted, and takes no task.
    let accept = service_fn(move |address: SocketAddr| {
        let connection = connections.accept(address).map(Arc::new);
        let routes = connection.map(|connection| ConnectionRoutes { routes: routes.clone(), connection });
        std::future::ready(routes)
    });
    server.serve(accept).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_webhooks_own_files_are_not_given_to_connections() {
        let most = |open_files| {
            let connections = &Connections::webhook(open_files, Metrics::default());
            let peers = (0..=u16::MAX).map(|port| {
                let [high, low] = port.to_be_bytes();
                SocketAddr::from(([10, 0, high, low], port))
            });
            peers.flat_map(|peer| std::iter::from_fn(move || connections.accept(peer).ok())).collect::<Vec<_>>().len()
        };
        assert!(most(1024) + RESERVED_FILES + MAX_ADMIN <= 1024);
        assert!(most(usize::MAX) <= MAX_WEBHOOK);
        assert!(most(0) > 0, "a webhook that cannot have files fails elsewhere, with a message");
    }

    #[tokio::test(start_paused = true)]
    async fn refused_connections_are_logged_once_in_an_interval() {
        let log = LogInterval::default();
        assert_eq!((log.due(), log.due(), log.due()), (Some(0), None, None));
        tokio::time::advance(LOG_INTERVAL).await;
        assert_eq!(log.due(), Some(2));
    }
}
