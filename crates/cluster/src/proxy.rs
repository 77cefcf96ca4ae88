//! The proxy through which the API server is reached, chosen as kubectl chooses it.
//!
//! The kube crate reads the same settings, but it compares `NO_PROXY` with the proxy instead of the API server, applies
//! `NO_PROXY` to `proxy-url` too, and ignores `HTTP_PROXY`. The rules here are those of client-go
//! (`tools/clientcmd/client_config.go`) and of Go's `golang.org/x/net/http/httpproxy`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use kube::config::{Kubeconfig, NamedCluster};

/// The settings that choose a proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxySettings {
    /// `proxy-url` of the cluster in the kubeconfig. It has precedence, and `NO_PROXY` does not apply to it.
    pub of_cluster: Option<String>,
    /// `HTTPS_PROXY`, for an API server with `https`.
    pub https: Option<String>,
    /// `HTTP_PROXY`, for an API server with `http`.
    pub http: Option<String>,
    /// `NO_PROXY`: the hosts that are reached without a proxy.
    pub none: Option<String>,
}

/// A proxy that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not the URL of a proxy, expected http://HOST:PORT, https://HOST:PORT or socks5://HOST:PORT")]
pub struct NotAProxy {
    found: String,
}

impl ProxySettings {
    /// The settings of the environment, and of the cluster that `context` selects, or else the current context.
    #[must_use]
    pub fn read(kubeconfig: Option<&Kubeconfig>, context: Option<&str>) -> Self {
        let variable = |name: &str| {
            let names = [name.to_owned(), name.to_lowercase()];
            names.iter().find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
        };
        Self {
            of_cluster: kubeconfig.and_then(|found| proxy_url(found, context)),
            https: variable("HTTPS_PROXY"),
            http: variable("HTTP_PROXY"),
            none: variable("NO_PROXY"),
        }
    }

    /// The proxy for requests to `server`.
    pub fn proxy(&self, server: &http::Uri) -> Result<Option<http::Uri>, NotAProxy> {
        if let Some(url) = &self.of_cluster {
            return parse(url).map(Some);
        }
        let is_plain = server.scheme_str() == Some("http");
        let Some(url) = (if is_plain { &self.http } else { &self.https }) else { return Ok(None) };
        let host = server.host().unwrap_or_default().trim_matches(['[', ']']).to_ascii_lowercase();
        let port = server.port_u16().unwrap_or(if is_plain { 80 } else { 443 });
        if is_loopback(&host) || self.none.as_deref().is_some_and(|none| is_listed(none, &host, port)) {
            return Ok(None);
        }
        parse(url).map(Some)
    }
}

fn proxy_url(kubeconfig: &Kubeconfig, context: Option<&str>) -> Option<String> {
    let context = context.or(kubeconfig.current_context.as_deref())?;
    let context = kubeconfig.contexts.iter().find(|one| one.name == context)?.context.as_ref()?;
    let is_selected = |one: &&NamedCluster| one.name == context.cluster;
    let cluster = kubeconfig.clusters.iter().find(is_selected)?.cluster.as_ref()?;
    cluster.proxy_url.clone().filter(|url| !url.is_empty())
}

/// A URL without a scheme is one with `http`, as in Go.
fn parse(url: &str) -> Result<http::Uri, NotAProxy> {
    let not_a_proxy = || NotAProxy { found: without_password(url).to_owned() };
    let whole = match url.split_once("://") {
        None => format!("http://{url}"),
        // For this client both mean that the proxy resolves names.
        Some(("socks5h", rest)) => format!("socks5://{rest}"),
        Some(_) => url.to_owned(),
    };
    let uri: http::Uri = whole.parse().map_err(|_| not_a_proxy())?;
    let is_known = matches!(uri.scheme_str(), Some("http" | "https" | "socks5"));
    if is_known && uri.host().is_some_and(|host| !host.is_empty()) { Ok(uri) } else { Err(not_a_proxy()) }
}

/// The part of a URL that may be printed.
fn without_password(url: &str) -> &str {
    url.rsplit_once('@').map_or(url, |(_, host)| host)
}

/// Go never uses a proxy for these, whatever the variables say.
fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether an entry of `NO_PROXY` covers the host. Entries that cannot be parsed are skipped.
fn is_listed(none: &str, host: &str, port: u16) -> bool {
    none.split(',').map(|entry| entry.trim().to_ascii_lowercase()).any(|entry| covers(&entry, host, port))
}

fn covers(entry: &str, host: &str, port: u16) -> bool {
    if entry == "*" {
        return true;
    }
    let address = host.parse::<IpAddr>().ok();
    if let Some((network, bits)) = entry.split_once('/') {
        let network = network.parse().ok().zip(bits.parse().ok());
        return address.zip(network).is_some_and(|(address, (network, bits))| is_in(address, network, bits));
    }
    let (name, of_port) = name_and_port(entry);
    if name.is_empty() || of_port.is_some_and(|of_port| of_port != port) {
        return false;
    }
    if let Ok(listed) = name.parse::<IpAddr>() {
        return address == Some(listed);
    }
    // `.example.com` and `*.example.com` cover subdomains only, `example.com` the domain itself too.
    let domain = name.strip_prefix('*').unwrap_or(name);
    match domain.strip_prefix('.') {
        Some(_) => host.ends_with(domain),
        None => host == domain || host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.')),
    }
}

/// `example.com:8443`, `[::1]:8443`, `::1`
fn name_and_port(entry: &str) -> (&str, Option<u16>) {
    if entry.parse::<IpAddr>().is_ok() {
        return (entry, None);
    }
    match entry.rsplit_once(':') {
        Some((name, port)) if port.parse::<u16>().is_ok() => (name.trim_matches(['[', ']']), port.parse().ok()),
        _ => (entry.trim_matches(['[', ']']), None),
    }
}

fn is_in(address: IpAddr, network: IpAddr, bits: u32) -> bool {
    let (address, network, width) = match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => (v4(address), v4(network), Ipv4Addr::BITS),
        (IpAddr::V6(address), IpAddr::V6(network)) => (address.to_bits(), network.to_bits(), Ipv6Addr::BITS),
        _ => return false,
    };
    bits <= width && (address ^ network).checked_shr(width - bits).unwrap_or(0) == 0
}

fn v4(address: Ipv4Addr) -> u128 {
    u128::from(address.to_bits())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROXY: &str = "http://proxy.example:3128/";

    fn proxy(settings: &ProxySettings, server: &str) -> Option<String> {
        let found = settings.proxy(&server.parse().expect("a URL")).expect("a proxy");
        found.map(|uri| uri.to_string())
    }

    fn https() -> ProxySettings {
        ProxySettings { https: Some("http://proxy.example:3128".to_owned()), ..ProxySettings::default() }
    }

    #[test]
    fn the_scheme_of_the_server_selects_the_variable() {
        assert_eq!(proxy(&https(), "https://api.example:6443").as_deref(), Some(PROXY));
        assert_eq!(proxy(&https(), "http://api.example:8080"), None);
        let plain = ProxySettings { http: https().https, ..ProxySettings::default() };
        assert_eq!(proxy(&plain, "http://api.example:8080").as_deref(), Some(PROXY));
        assert_eq!(proxy(&plain, "https://api.example:6443"), None);
    }

    #[test]
    fn no_proxy_is_compared_with_the_server() {
        let cases = [
            ("api.example", true),
            ("example", true),
            (".example", true),
            ("*.example", true),
            (" other , api.example ,", true),
            ("API.example:6443", true),
            ("*", true),
            ("", false),
            (",", false),
            ("api.example:443", false),
            (".api.example", false),
            ("pi.example", false),
            ("proxy.example", false),
            ("10.0.0.0/8", false),
        ];
        for (none, is_direct) in cases {
            let settings = ProxySettings { none: Some(none.to_owned()), ..https() };
            assert_eq!(proxy(&settings, "https://api.example:6443").is_none(), is_direct, "{none}");
        }
        let addresses = [
            ("10.1.2.3", true),
            ("10.1.2.3:6443", true),
            ("10.1.0.0/16", true),
            ("0.0.0.0/0", true),
            ("10.1.2.3/32", true),
            ("10.1.2.3:443", false),
            ("10.1.2.2/32", false),
            ("10.2.0.0/16", false),
            ("10.1.2.3/33", false),
            ("::/0", false),
        ];
        for (none, is_direct) in addresses {
            let settings = ProxySettings { none: Some(none.to_owned()), ..https() };
            assert_eq!(proxy(&settings, "https://10.1.2.3:6443").is_none(), is_direct, "{none}");
        }
        for (none, is_direct) in
            [("2001:db8::/32", true), ("2001:db8::1", true), ("[2001:db8::1]:6443", true), ("2001:db8::2", false)]
        {
            let settings = ProxySettings { none: Some(none.to_owned()), ..https() };
            assert_eq!(proxy(&settings, "https://[2001:db8::1]:6443").is_none(), is_direct, "{none}");
        }
    }

    #[test]
    fn loopback_has_no_proxy_from_the_environment() {
        for server in ["https://localhost:6443", "https://127.0.0.1:6443", "https://[::1]:6443"] {
            assert_eq!(proxy(&https(), server), None, "{server}");
        }
    }

    #[test]
    fn proxy_url_has_precedence_and_no_exceptions() {
        let settings = ProxySettings {
            of_cluster: Some("socks5h://127.0.0.1:1080".to_owned()),
            none: Some("*".to_owned()),
            ..https()
        };
        for server in ["https://api.example:6443", "https://127.0.0.1:6443", "http://api.example:8080"] {
            assert_eq!(proxy(&settings, server).as_deref(), Some("socks5://127.0.0.1:1080/"), "{server}");
        }
    }

    #[test]
    fn a_proxy_is_a_url_with_a_known_scheme() {
        assert_eq!(parse("proxy.example:3128").map(|uri| uri.to_string()).as_deref(), Ok(PROXY));
        for url in ["ftp://proxy.example", "http://", "http://a b", "://"] {
            assert!(parse(url).is_err(), "{url}");
        }
        let error = parse("ftp://alice:secret@proxy.example").expect_err("no proxy").to_string();
        assert!(error.contains("proxy.example") && !error.contains("secret"), "{error}");
    }
}
