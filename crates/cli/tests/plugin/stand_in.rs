//! A stand-in for the API server, for what a real one cannot be made to show: another object at each read, or an object that
//! it would not store.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    thread,
};

use serde_json::{Value, json};

use crate::folder::Folder;

/// Serves the folder's postures, the namespace `payments`, and what `other` returns for another path; if that is nothing, the
/// path does not exist. The file `config` is the kubeconfig.
pub(crate) fn start(folder: &Folder, mut other: impl FnMut(&str) -> Option<Value> + Send + 'static) {
    let document = |name: &str, kind: &str| {
        json!({"metadata": {"name": name, "namespace": "writgate-system", "labels": {"writgate.dev/kind": kind}},
               "data": {format!("{kind}.yaml"): folder.read(&format!("postures/{kind}.yaml"))}})
    };
    let postures = json!({"apiVersion": "v1", "kind": "ConfigMapList", "metadata": {},
        "items": [document("posture", "posture"), document("prod-reviewers", "reviewers")]});
    let namespace = json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": {
        "name": "payments",
        "labels": {"writgate.dev/environment": "production", "writgate.dev/project": "payments"}}});
    let missing = json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404});
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(stream);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).is_ok_and(|length| length > 0) {}
            let path = head.split([' ', '?']).nth(1).unwrap_or_default();
            let found = match path {
                path if path.ends_with("/configmaps") => Some(postures.clone()),
                path if path.ends_with("/namespaces/payments") => Some(namespace.clone()),
                path => other(path),
            };
            let status = if found.is_some() { "200 OK" } else { "404 Not Found" };
            let answer = found.as_ref().unwrap_or(&missing).to_string();
            let length = answer.len();
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
            );
            let _ = reader.into_inner().write_all((head + &answer).as_bytes());
        }
    });
    let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": format!("http://{address}")}}],
        "users": [{"name": "u", "user": {}}]});
    folder.write("config", config.to_string());
}
