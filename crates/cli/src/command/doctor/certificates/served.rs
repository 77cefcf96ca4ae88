//! The certificate at the URL of an entry, verified with the entry's bundle as the API server verifies it.

use std::{
    fmt, io,
    net::{TcpStream, ToSocketAddrs as _},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, Error, RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier as _},
    crypto::ring,
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use serde_json::Value;

use crate::command::doctor::reader::Reader;

const PATIENCE: Duration = Duration::from_secs(5);
/// 9999-12-31, after which no certificate is valid (RFC 5280, section 4.1.2.5).
const NEVER: Duration = Duration::from_secs(253_402_300_799);

/// A server that an entry names by URL.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Target {
    host: String,
    port: u16,
}

/// What a connection showed.
pub(super) enum Served {
    /// The bundle verifies the chain, which expires then.
    Trusted(Option<Timestamp>),
    Refused(String),
    Unreachable(String),
}

impl Target {
    /// `None`: the entry calls a Service, or a loopback address of another machine.
    pub(super) fn of(reader: &Reader<'_>, entry: &Value) -> Option<Self> {
        let url: http::Uri = entry["clientConfig"]["url"].as_str()?.parse().ok()?;
        let host = url.host()?.trim_matches(['[', ']']).to_owned();
        // A loopback address is the API server's own, and there may be another server at it here.
        let is_here = || reader.cluster.server_host.as_deref().is_some_and(is_loopback);
        (!is_loopback(&host) || is_here()).then(|| Self { host, port: url.port_u16().unwrap_or(443) })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

pub(super) fn connect(target: &Target, bundle: &[CertificateDer<'static>], now: Timestamp) -> Served {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(bundle.iter().cloned());
    let provider = Arc::new(ring::default_provider());
    let Ok(name) = ServerName::try_from(target.host.clone()) else {
        return Served::Unreachable(format!("{target} is not a host name or an address"));
    };
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let Ok(config) = config else { return Served::Unreachable("TLS is not available".to_owned()) };
    let roots = Arc::new(roots);
    let config = config.with_root_certificates(Arc::clone(&roots)).with_no_client_auth();
    match handshake(target, config, name.clone()) {
        Ok(chain) => Served::Trusted(expiry(&chain, roots, provider, &name)),
        Err(error) => match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(Error::InvalidCertificate(why)) => Served::Refused(explain(target, why, now)),
            _ => Served::Unreachable(format!("cannot connect to {target}: {error}")),
        },
    }
}

/// The chain of a server whose certificate is valid.
fn handshake(
    target: &Target,
    config: ClientConfig,
    name: ServerName<'static>,
) -> io::Result<Vec<CertificateDer<'static>>> {
    let address = (target.host.as_str(), target.port).to_socket_addrs()?.next();
    let address = address.ok_or_else(|| io::Error::other("the name has no address"))?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    while connection.is_handshaking() {
        connection.complete_io(&mut stream)?;
    }
    Ok(connection.peer_certificates().unwrap_or_default().iter().map(|one| one.clone().into_owned()).collect())
}

/// When the chain expires: the verifier says so if it is asked about a time at which no certificate is valid.
fn expiry(
    chain: &[CertificateDer<'static>],
    roots: Arc<RootCertStore>,
    provider: Arc<rustls::crypto::CryptoProvider>,
    name: &ServerName<'_>,
) -> Option<Timestamp> {
    let (leaf, rest) = chain.split_first()?;
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider).build().ok()?;
    match verifier.verify_server_cert(leaf, rest, name, &[], UnixTime::since_unix_epoch(NEVER)) {
        Err(Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => timestamp(not_after),
        _ => None,
    }
}

fn timestamp(time: UnixTime) -> Option<Timestamp> {
    Timestamp::from_second(i64::try_from(time.as_secs()).ok()?).ok()
}

fn explain(target: &Target, why: &CertificateError, now: Timestamp) -> String {
    let text = match why {
        CertificateError::UnknownIssuer => "its certificate is not signed by a CA of the bundle".to_owned(),
        CertificateError::ExpiredContext { not_after, .. } => {
            let at = timestamp(*not_after).map(|time| time.to_string()).unwrap_or_default();
            format!("its certificate expired at {at}, and it is {now}")
        }
        why => why.to_string(),
    };
    format!("{target}: {text}")
}
