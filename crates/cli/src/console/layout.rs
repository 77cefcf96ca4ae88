//! The frame of every page, and pages that say what went wrong.

use axum::{
    extract::State,
    http::StatusCode,
    response::{Html, IntoResponse, Response},
};
use maud::{DOCTYPE, Markup, html};

use crate::{
    cluster::event_reader::NamespaceScope,
    console::{
        Console, Shared,
        assets::{ICON, SCRIPT, STYLE},
        foreign,
    },
    failure::Failure,
};

/// The pages in the navigation: path and title.
const TABS: [(&str, &str); 4] =
    [("/", "Requests"), ("/history", "History"), ("/running", "What runs"), ("/postures", "Postures")];

/// A page that says why there is no other one.
#[derive(Clone, Debug)]
pub(crate) struct PageError {
    status: StatusCode,
    title: &'static str,
    /// What was found, what was expected, what to do next. Escaped when it is shown.
    why: String,
    /// The address to which to go back, if it is not that of the first page.
    back: Option<String>,
}

impl PageError {
    pub(crate) fn new(status: StatusCode, title: &'static str, why: impl Into<String>) -> Self {
        Self { status, title, why: why.into(), back: None }
    }

    /// The same, with a link to another page than the first one.
    pub(crate) fn back_to(self, address: &str) -> Self {
        Self { back: Some(address.to_owned()), ..self }
    }

    /// The page for a browser that has the session: its link contains the session's prefix.
    pub(super) fn with_link(self, console: &Console) -> Response {
        let back = self.back.clone().unwrap_or_else(|| console.at("/"));
        self.respond(&html! { p { a href=(back) { "Go back" } } })
    }

    fn respond(&self, more: &Markup) -> Response {
        let body = html! { (lines(&self.why)) (more) };
        (self.status, bare(self.title, None, body)).into_response()
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }
}

impl From<Failure> for PageError {
    fn from(failure: Failure) -> Self {
        let why = failure.to_string();
        match failure {
            Failure::No(_) => Self::new(StatusCode::CONFLICT, "Not possible", why),
            Failure::Misuse(_) => Self::new(StatusCode::BAD_REQUEST, "The input is incomplete or wrong", why),
            Failure::Undetermined(_) => Self::new(StatusCode::BAD_GATEWAY, "It did not work", why),
        }
    }
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        let mut response = self.respond(&html! {});
        // `security` shows the link, if the browser has the session.
        response.extensions_mut().insert(self);
        response
    }
}

/// A message of several lines, each escaped.
pub(crate) fn lines(text: &str) -> Markup {
    html! { div .message role="alert" { @for line in text.lines() { p { (foreign(line)) } } } }
}

/// A page of the console: the title, which is its heading as well, and its content.
pub(crate) fn page(console: &Console, title: &str, body: Markup) -> Html<String> {
    let settings = &console.settings;
    let place = match &settings.scope {
        NamespaceScope::All => "all namespaces".to_owned(),
        NamespaceScope::Namespace(namespace) => format!("namespace {namespace}"),
    };
    let top = html! {
        nav aria-label="Pages" {
            ul {
                @for (path, name) in TABS {
                    li { a href=(console.at(path)) aria-current=[(name == title).then_some("page")] { (name) } }
                }
            }
        }
        p .place { "Cluster " b { (foreign(&settings.server)) } ", " (foreign(place)) }
        form .end method="post" action=(console.at("/end")) { (csrf(console)) button { "End the session" } }
    };
    frame(title, None, Some(top), body)
}

/// A page without navigation, for a browser that has no session. `next` is the address to which it leads by itself.
pub(super) fn bare(title: &str, next: Option<&str>, body: Markup) -> Html<String> {
    frame(title, next, None, body)
}

#[expect(clippy::needless_pass_by_value, reason = "the markup of a page has no other use")]
fn frame(title: &str, next: Option<&str>, top: Option<Markup>, body: Markup) -> Html<String> {
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                @if let Some(next) = next { meta http-equiv="refresh" content=(format!("0;url={next}")); }
                title { (foreign(title)) " – Writgate" }
                link rel="icon" href=(ICON.address());
                link rel="stylesheet" href=(STYLE.address()) integrity=(STYLE.integrity);
                script src=(SCRIPT.address()) integrity=(SCRIPT.integrity) defer {}
            }
            body {
                a .skip href="#main" { "Skip to the content" }
                header { p .brand { "Writgate" } @if let Some(top) = top { (top) } }
                main #main tabindex="-1" { h1 { (foreign(title)) } (body) }
            }
        }
    };
    Html(markup.into_string())
}

/// The token that every form with `method="post"` contains.
pub(crate) fn csrf(console: &Console) -> Markup {
    html! { input type="hidden" name="csrf" value=(console.session.csrf()); }
}

pub(super) async fn not_found() -> PageError {
    PageError::new(StatusCode::NOT_FOUND, "Not found", "The console has no page at this address.")
}

pub(super) async fn wrong_method(State(_): State<Shared>) -> Response {
    PageError::new(StatusCode::METHOD_NOT_ALLOWED, "Another method", "This address takes another kind of request.")
        .into_response()
}
