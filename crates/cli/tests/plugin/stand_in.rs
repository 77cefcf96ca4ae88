//! A stand-in for the API server, for what a real one cannot be made to show: another object at each read, or an object that
//! it would not store.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    thread,
};

use serde_json::{Value, json};

use crate::folder::Folder;

/// Serves the folder's postures, the namespace `payments`, and what `other` returns for another path; if that is nothing, the
/// path does not exist. The file `config` is the kubeconfig.
pub(crate) fn start(folder: &Folder, other: impl FnMut(&str) -> Option<Value> + Send + 'static) {
    folder.write("config", kubeconfig(&[("c", &cluster(folder, "", other))]));
}

/// The same, with `more` appended to the posture. Returns the URL.
pub(crate) fn cluster(
    folder: &Folder,
    more: &str,
    mut other: impl FnMut(&str) -> Option<Value> + Send + 'static,
) -> String {
    let document = |name: &str, kind: &str| {
        let more = if kind == "posture" { more } else { "" };
        let text = folder.read(&format!("postures/{kind}.yaml")) + more;
        json!({"metadata": {"name": name, "namespace": "writgate-system", "labels": {"writgate.dev/kind": kind}},
               "data": {format!("{kind}.yaml"): text}})
    };
    let postures = json!({"apiVersion": "v1", "kind": "ConfigMapList", "metadata": {},
        "items": [document("posture", "posture"), document("prod-reviewers", "reviewers")]});
    let namespace = json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": {
        "name": "payments",
        "labels": {"writgate.dev/environment": "production", "writgate.dev/project": "payments"}}});
    let missing = json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404});
    listen(move |request| {
        let found = match request.path() {
            path if path.ends_with("/configmaps") => Some(postures.clone()),
            path if path.ends_with("/namespaces/payments") => Some(namespace.clone()),
            path => other(path),
        };
        match found {
            Some(found) => Answer::json(200, &found),
            None => Answer::json(404, &missing),
        }
    })
}

/// A request to the stand-in.
pub(crate) struct Request {
    pub(crate) method: String,
    /// The path and the query.
    pub(crate) target: String,
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

/// An answer of the stand-in.
pub(crate) struct Answer {
    status: u16,
    date: Option<String>,
    body: String,
}

impl Answer {
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::text(status, body.to_string())
    }

    pub(crate) fn text(status: u16, body: String) -> Self {
        Self { status, date: None, body }
    }

    /// With a Date header.
    pub(crate) fn at(self, date: Option<String>) -> Self {
        Self { date, ..self }
    }
}

/// Serves what `answer` returns. The file `config` in the folder is the kubeconfig.
pub(crate) fn serve(folder: &Folder, answer: impl FnMut(&Request) -> Answer + Send + 'static) {
    folder.write("config", kubeconfig(&[("c", &listen(answer))]));
}

/// A kubeconfig with these contexts, each with its API server's URL. The first is the current one.
pub(crate) fn kubeconfig(contexts: &[(&str, &str)]) -> String {
    let each =
        |of: fn(&str, &str) -> Value| -> Vec<Value> { contexts.iter().map(|(name, url)| of(name, url)).collect() };
    json!({"apiVersion": "v1", "kind": "Config", "current-context": contexts[0].0,
        "contexts": each(|name, _| json!({"name": name, "context": {"cluster": name, "user": "u"}})),
        "clusters": each(|name, url| json!({"name": name, "cluster": {"server": url}})),
        "users": [{"name": "u", "user": {}}]})
    .to_string()
}

/// Serves what `answer` returns. Returns the URL.
pub(crate) fn listen(mut answer: impl FnMut(&Request) -> Answer + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(stream);
            let Some(request) = read(&mut reader) else { continue };
            let Answer { status, date, body } = answer(&request);
            let date = date.map(|date| format!("Date: {date}\r\n")).unwrap_or_default();
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{date}Content-Length: {length}\r\nConnection: close\r\n\r\n"
            );
            let _ = reader.into_inner().write_all((head + &body).as_bytes());
        }
    });
    format!("http://{address}")
}

/// Reads a request; none if the client closed the connection without one.
fn read(reader: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).is_ok_and(|length| length > 0) {}
    let mut words = head.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let length = head.to_ascii_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    Some(Request { method, target, body: String::from_utf8(body).ok()? })
}
