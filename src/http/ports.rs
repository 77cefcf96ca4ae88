//! The two ports: how many connections each may have, and how long a connection may take until it sends a request.
//!
//! What a connection can hold is bounded: one open file, the headers of one request, and a body within the
//! [limits](super::limits). Files are divided so that the webhook's own watches and the probes have theirs, however many
//! connections other peers open. [Reclaiming](super::reclaim) divides the connections among peers that hold on to them.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Bytes, HttpBody};
use axum::extract::ConnectInfo;
use axum::http::Request;
use axum::response::Response;
use axum::routing::future::RouteFuture;
use axum_server::accept::Accept;
use axum_server::service::SendService;
use axum_server::tls::TlsService;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use axum_server::{Handle, Server};
use hyper::body::{Frame, SizeHint};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::AlertDescription;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tower::{Service, service_fn};

use crate::http::reclaim::{OpenConnections, Slot};
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
/// How long a connection that is closed for another peer may take to end. Its task only has to be woken.
const RECLAIM: Duration = Duration::from_secs(1);
/// The largest headers of a request. API servers send a few hundred bytes.
const MAX_HEADERS: usize = 16 << 10;
/// Connections to the webhook's port. An API server opens as many as it has requests at the same time.
const MAX_WEBHOOK: usize = 1024;
/// Connections to the admin port. The kubelet and Prometheus open a few.
const MAX_ADMIN: usize = 64;
/// Open files that no connection to a port may use: for the watches, lookups, Events, the certificate and standard output. Up to
/// [`MAX_CLAIMS`](super::reclaim::MAX_CLAIMS) newcomers for each port wait on files of these.
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
    open: Arc<OpenConnections>,
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
        Self { port, shares: Shares::new(max), open: Arc::default(), metrics, log: Arc::default() }
    }

    /// A new connection from `address`, unless there are too many. If another connection is closed for it, its share follows with
    /// [`Connection::claim`]. This function never waits, because the next connection is accepted only after it returns.
    fn accept(&self, address: SocketAddr) -> io::Result<Connection> {
        let (share, claims) = match self.shares.try_take(address.into(), 1) {
            Some(share) => (OnceLock::from(share), false),
            None if self.reclaim(address) => (OnceLock::new(), true),
            None => return Err(self.too_many(address)),
        };
        if !claims {
            self.metrics.connection_counted(self.port, 1);
        }
        let (key, slot) = self.open.add(address.into(), claims);
        let (accepted, served) = (AtomicBool::new(self.port == Port::Admin), AtomicBool::default());
        Ok(Connection { of: self.clone(), address, key, slot, accepted, served, share })
    }

    /// Has a connection of another peer closed for `newcomer`, if that is fair.
    fn reclaim(&self, newcomer: SocketAddr) -> bool {
        let Some(from) = self.open.reclaim(newcomer.into()) else { return false };
        let why = format!("closed for {}, which has fewer connections", newcomer.ip().to_canonical());
        self.refuse(ConnectionRefusal::Reclaimed, from.address(), &why);
        true
    }

    fn too_many(&self, address: SocketAddr) -> io::Error {
        self.refuse(ConnectionRefusal::TooMany, address.ip(), &"this address has too many connections");
        io::ErrorKind::QuotaExceeded.into()
    }

    fn refuse(&self, reason: ConnectionRefusal, address: IpAddr, why: &dyn std::fmt::Display) {
        self.metrics.connection_refused(self.port, reason);
        if let Some(others) = self.log.due() {
            let (port, reason) = (self.port.as_str(), reason.as_str());
            tracing::warn!(port, reason, peer = %address.to_canonical(), others, "connection refused: {why}");
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
    key: u64,
    slot: Arc<Slot>,
    /// Its TLS handshake has succeeded.
    accepted: AtomicBool,
    /// It has sent a request.
    served: AtomicBool,
    /// Empty until the connection that is closed for this one has ended.
    share: OnceLock<Share>,
}

impl Connection {
    /// Waits for the share of the connection that is closed for this one.
    async fn claim(&self) -> io::Result<()> {
        if self.share.get().is_some() {
            return Ok(());
        }
        let free = self.of.shares.take_free(self.address.into(), 1);
        let share = timeout(RECLAIM, free).await.map_err(|_| self.of.too_many(self.address))?;
        self.of.metrics.connection_counted(self.of.port, 1);
        self.share.get_or_init(|| share);
        self.slot.claimed();
        Ok(())
    }

    /// Whether the webhook closes it for want of connections. Its end is no failure of the handshake.
    fn is_closed_here(&self) -> bool {
        self.slot.is_reclaimed() || self.share.get().is_none()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.of.open.remove(self.key);
        if self.share.get().is_none() {
            return;
        }
        self.of.metrics.connection_counted(self.of.port, -1);
        if *self.accepted.get_mut() && !*self.served.get_mut() && !self.slot.is_reclaimed() {
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
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<axum::BoxError>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request<B>>::poll_ready(&mut self.routes, context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let connection = self.connection.clone();
        connection.served.store(true, Ordering::Relaxed);
        request.extensions_mut().insert(ConnectInfo(connection.address));
        let request = request.map(|body| RequestBody { body, slot: connection.slot.clone() });
        Answer { response: self.routes.call(request), connection }
    }
}

/// The body of a request. When it is complete, the connection is not reclaimed until the response is known.
struct RequestBody<B> {
    body: B,
    slot: Arc<Slot>,
}

impl<B> HttpBody for RequestBody<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<axum::BoxError>,
{
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(None) if !self.slot.begin() => {
                Poll::Ready(Some(Err("the connection is closed for another peer".into())))
            }
            frame => frame.map(|frame| frame.map(|frame| frame.map_err(Into::into))),
        }
    }

    // `is_end_stream` stays false: the end must be seen by `poll_frame`.

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The response to one request.
struct Answer {
    response: RouteFuture<Infallible>,
    connection: Arc<Connection>,
}

impl Future for Answer {
    type Output = Result<Response, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let response = Pin::new(&mut self.response).poll(context);
        if response.is_ready() {
            self.connection.slot.end(&self.connection.of.open);
        }
        response
    }
}

/// The socket of a connection. It ends for its reader when the connection is reclaimed.
struct Socket {
    stream: TcpStream,
    slot: Arc<Slot>,
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.slot.poll_reclaimed(context).is_ready() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// Accepts TCP, in the task of the connection.
#[derive(Clone)]
struct SocketAcceptor;

impl Accept<TcpStream, ConnectionRoutes> for SocketAcceptor {
    type Stream = Socket;
    type Service = ConnectionRoutes;
    type Future = Pin<Box<dyn Future<Output = io::Result<(Socket, ConnectionRoutes)>> + Send>>;

    fn accept(&self, stream: TcpStream, service: ConnectionRoutes) -> Self::Future {
        Box::pin(async move {
            service.connection.claim().await?;
            stream.set_nodelay(true)?;
            let slot = service.connection.slot.clone();
            Ok((Socket { stream, slot }, service))
        })
    }
}

/// Accepts TLS, and counts failed handshakes.
#[derive(Clone)]
struct TlsAcceptor(RustlsAcceptor<SocketAcceptor>);

type Accepted = <RustlsAcceptor<SocketAcceptor> as Accept<TcpStream, ConnectionRoutes>>::Stream;

impl Accept<TcpStream, ConnectionRoutes> for TlsAcceptor {
    type Stream = Accepted;
    type Service = TlsService<ConnectionRoutes>;
    type Future = Pin<Box<dyn Future<Output = io::Result<(Self::Stream, Self::Service)>> + Send>>;

    fn accept(&self, stream: TcpStream, service: ConnectionRoutes) -> Self::Future {
        let connection = service.connection.clone();
        let handshake = self.0.accept(stream, service);
        Box::pin(async move {
            let accepted = handshake.await;
            match &accepted {
                Ok((stream, _)) => {
                    connection.accepted.store(true, Ordering::Relaxed);
                    if stream.get_ref().1.peer_certificates().is_some() {
                        connection.slot.authenticated();
                    }
                }
                Err(_) if connection.is_closed_here() => {}
                Err(error) => {
                    let why = failure(error);
                    connection.of.metrics.handshake_failed(why);
                    let refusal = match why {
                        HandshakeFailure::ClientCertificate => ConnectionRefusal::ClientCertificate,
                        _ => ConnectionRefusal::Handshake,
                    };
                    connection.of.refuse(refusal, connection.address.ip(), error);
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
    serve(from_tcp(listener)?.acceptor(SocketAcceptor).handle(handle), routes, connections).await
}

/// Serves `routes` over TLS on `listener` until `handle` ends it.
pub async fn serve_https(
    listener: TcpListener,
    routes: Router,
    certificate: RustlsConfig,
    connections: Connections,
    handle: Handle<SocketAddr>,
) -> io::Result<()> {
    let acceptor = RustlsAcceptor::new(certificate).handshake_timeout(FIRST_REQUEST).acceptor(SocketAcceptor);
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
        let (connections, routes) = (connections.clone(), routes.clone());
        let connection = connections.accept(address);
        async move { connection.map(|of| ConnectionRoutes { routes, connection: Arc::new(of) }) }
    });
    server.serve(accept).await
}

#[cfg(test)]
mod tests;
