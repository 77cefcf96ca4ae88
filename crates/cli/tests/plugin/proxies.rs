//! The ways to the API server: proxies and kubeconfigs, as kubectl uses them.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::Command,
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use crate::folder::Folder;

/// What the stand-in for the API server answers, and the command line prints.
const ANSWER: &str = r#"{"apiVersion":"v1","kind":"Status","status":"Failure","message":"answered behind the proxy","reason":"Forbidden","code":403}"#;

/// A proxy that leads to one API server, whatever it is asked for. It reports where each connection wanted to go.
struct Proxy {
    address: String,
    wanted: Receiver<String>,
}

impl Proxy {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let (sender, wanted) = channel();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if let Some(target) = serve(stream)
                    && sender.send(target).is_err()
                {
                    return;
                }
            }
        });
        Self { address, wanted }
    }
}

/// Opens the tunnel by HTTP CONNECT or SOCKS5, and answers one request in it.
fn serve(stream: TcpStream) -> Option<String> {
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    let (mut reader, mut writer) = (BufReader::new(stream.try_clone().ok()?), stream);
    let target = if reader.fill_buf().ok()?.first() == Some(&5) {
        let mut greeting = [0; 2];
        reader.read_exact(&mut greeting).ok()?;
        reader.read_exact(&mut vec![0; greeting[1].into()]).ok()?;
        writer.write_all(&[5, 0]).ok()?;
        let mut connect = [0; 5];
        reader.read_exact(&mut connect).ok()?;
        assert_eq!(connect[3], 3, "the proxy resolves the name");
        let mut name = vec![0; connect[4].into()];
        reader.read_exact(&mut name).ok()?;
        let mut port = [0; 2];
        reader.read_exact(&mut port).ok()?;
        writer.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).ok()?;
        format!("{}:{}", String::from_utf8(name).ok()?, u16::from_be_bytes(port))
    } else {
        let head = head(&mut reader)?;
        writer.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").ok()?;
        head.strip_prefix("CONNECT ")?.split(' ').next()?.to_owned()
    };
    head(&mut reader)?;
    let length = ANSWER.len();
    write!(
        writer,
        "HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{ANSWER}"
    )
    .ok()?;
    Some(target)
}

/// The lines of a request up to the empty one.
fn head(reader: &mut impl std::io::BufRead) -> Option<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    Some(head)
}

fn kubeconfig(cluster: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n\
         clusters: [{{name: c, cluster: {{server: 'http://api.writgate.invalid:8080'{cluster}}}}}]\nusers: [{{name: u, user: {{}}}}]\n"
    )
}

/// Asks the cluster with these variables, and returns what is printed.
fn ask(folder: &Folder, variables: &[(&str, &str)]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-writgate"));
    for name in
        ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy", "KUBERNETES_SERVICE_HOST"]
    {
        command.env_remove(name);
    }
    let kubeconfig = folder.path("missing").display().to_string() + ":" + &folder.path("config").display().to_string();
    let output = command
        .args(["pending", "-n", "payments"])
        .current_dir(folder.root())
        .env("KUBECONFIG", kubeconfig)
        .envs(variables.iter().copied())
        .output()
        .expect("the program runs");
    assert_eq!(output.status.code(), Some(3));
    String::from_utf8(output.stderr).expect("UTF-8")
}

#[test]
fn reaches_the_api_server_through_the_proxy_of_the_environment() {
    let (folder, proxy) = (Folder::new(), Proxy::start());
    folder.write("config", kubeconfig(""));
    for url in [format!("http://{}", proxy.address), proxy.address.clone(), format!("socks5://{}", proxy.address)] {
        let printed = ask(&folder, &[("HTTP_PROXY", &url)]);
        assert!(printed.contains("answered behind the proxy"), "{url}: {printed}");
        let wanted = proxy.wanted.recv_timeout(Duration::from_secs(10));
        assert_eq!(wanted.as_deref(), Ok("api.writgate.invalid:8080"), "{url}");
        let direct = ask(&folder, &[("HTTP_PROXY", &url), ("NO_PROXY", "writgate.invalid")]);
        assert!(!direct.contains("answered behind the proxy"), "{url}: {direct}");
        assert!(proxy.wanted.try_recv().is_err(), "{url}");
    }
    let other = ask(&folder, &[("HTTPS_PROXY", &proxy.address)]);
    assert!(!other.contains("answered behind the proxy"), "the server has http: {other}");
}

#[test]
fn proxy_url_of_the_kubeconfig_has_precedence_over_the_environment() {
    let (folder, proxy) = (Folder::new(), Proxy::start());
    folder.write("config", kubeconfig(&format!(", proxy-url: 'http://{}'", proxy.address)));
    let printed = ask(&folder, &[("HTTP_PROXY", "http://127.0.0.1:9"), ("NO_PROXY", "*")]);
    assert!(printed.contains("answered behind the proxy"), "{printed}");
    folder.write("config", kubeconfig(", proxy-url: 'ftp://127.0.0.1'"));
    let printed = ask(&folder, &[]);
    assert!(printed.contains("is not the URL of a proxy"), "{printed}");
}

#[test]
fn names_the_variable_with_an_entry_that_cannot_be_read() {
    let folder = Folder::new();
    folder.write("config", kubeconfig(""));
    let printed = ask(&folder, &[("HTTPS_PROXY", "http://127.0.0.1:9"), ("NO_PROXY", "localhost,")]);
    assert!(printed.contains("NO_PROXY has an entry that is not a domain, an address or a network"), "{printed}");
}

#[test]
fn names_the_places_if_no_kubeconfig_exists() {
    let printed = ask(&Folder::new(), &[]);
    assert!(printed.contains("no kubeconfig found in --kubeconfig, $KUBECONFIG or ~/.kube/config"), "{printed}");
}
