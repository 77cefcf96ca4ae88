//! The console without a browser: its rules, and what it shows. `crates/cli/tests` has the tests with a cluster.

mod history;
mod postures;
mod requests;
mod review;
mod running;
mod security;

use axum::{
    Router,
    body::{self, Body},
    http::{Method, Request, StatusCode, header},
};
use tower::ServiceExt as _;

use crate::{
    cluster::event_reader::NamespaceScope,
    console::{Console, Settings, Shared, router},
};

/// The port that the requests of the tests name.
const PORT: u16 = 4321;

/// A console without a socket, and without a reader of the cluster.
struct Served {
    console: Shared,
    router: Router,
}

/// An answer as a browser sees it.
struct Answer {
    status: StatusCode,
    headers: axum::http::HeaderMap,
    text: String,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("ASCII"))
    }

    fn expect(self, status: StatusCode, text: &str) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        assert!(self.text.contains(text), "{text}: {}", self.text);
        self
    }
}

fn settings() -> Settings {
    Settings {
        scope: NamespaceScope::Namespace("payments".to_owned()),
        cluster: crate::cluster::ClusterFlags::default(),
        server: "cluster.example".to_owned(),
        kinds: crate::manifest::input::WorkloadKindFlags::default(),
        logs: crate::console::LogFlags::default(),
        signer: None,
        idle_timeout: std::time::Duration::from_mins(15),
    }
}

impl Served {
    fn new() -> Self {
        Self::with(settings())
    }

    fn with(settings: Settings) -> Self {
        let console = Console::new(settings, PORT).expect("a console");
        // The first page waits for the first reading of the cluster.
        let read = Some(writgate_cluster::clock::now());
        console.snapshots.publish(crate::console::snapshot::Snapshot { read, ..Default::default() });
        Self { router: router(&console), console }
    }

    fn send(&self, request: Request<Body>) -> Answer {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let response = self.router.clone().oneshot(request).await.expect("an answer");
            let (head, body) = response.into_parts();
            let bytes = body::to_bytes(body, usize::MAX).await.expect("a body");
            let text = String::from_utf8(bytes.to_vec()).expect("UTF-8");
            Answer { status: head.status, headers: head.headers, text }
        })
    }

    /// Opens the session, and returns the cookie.
    fn open(&self) -> String {
        let secret = self.console.session.secret().expect("an address");
        let answer = self.send(get(&format!("/open?secret={secret}"), ""));
        let answer = answer.expect(StatusCode::SEE_OTHER, "");
        answer.header("set-cookie").split(';').next().expect("a cookie").to_owned()
    }

    /// A GET of the page at `path`, with the prefix of the session.
    fn get(&self, path: &str, cookie: &str) -> Request<Body> {
        get(&self.console.at(path), cookie)
    }

    /// A POST as a form of the open session sends it.
    fn post(&self, path: &str, cookie: &str, fields: &str) -> Request<Body> {
        let body = format!("csrf={}&{fields}", self.console.session.csrf());
        let request = Request::builder().method(Method::POST).uri(self.console.at(path));
        request
            .header(header::HOST, format!("127.0.0.1:{PORT}"))
            .header(header::ORIGIN, format!("http://127.0.0.1:{PORT}"))
            .header("sec-fetch-site", "same-origin")
            .header(header::COOKIE, cookie)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Body::from(body))
            .expect("a request")
    }
}

/// A GET as a browser sends it.
fn get(path: &str, cookie: &str) -> Request<Body> {
    let request = Request::builder().uri(path).header(header::HOST, format!("127.0.0.1:{PORT}"));
    request.header(header::COOKIE, cookie).body(Body::empty()).expect("a request")
}
