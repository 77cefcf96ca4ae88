//! What every request passes before it reaches a page, and the headers of every response.
//!
//! A request fails at the first rule that it breaks. Host and Origin come first, so that another site learns nothing of a
//! session, and DNS rebinding reaches no page.

use axum::{
    Router,
    body::{self, Body},
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
};

use crate::{
    console::{
        Console, PageError, Shared, assets, layout,
        session::{self, Standing},
    },
    failure::Failure,
};

/// The largest form: a posture, or a log's part.
const MAX_FORM: usize = 4 * 1024 * 1024;

/// Paths that the script requests by itself. Such a request does not count as use of the session.
pub(crate) const LIVE: &str = "/live/";

/// The header in which browsers say who made a request.
pub(super) const SEC_FETCH_SITE: &str = "sec-fetch-site";

/// The header with the token of a request that the script makes. No other site can set it.
const CSRF_HEADER: &str = "x-writgate-csrf";

/// The fields of a form whose token was checked: `Extension(form): Extension<Form>`.
#[derive(Clone)]
pub(crate) struct Form(Vec<(String, String)>);

impl Form {
    /// The first field of this name; empty if there is none.
    pub(crate) fn field(&self, name: &str) -> &str {
        self.0.iter().find(|(field, _)| field == name).map_or("", |(_, value)| value)
    }

    /// Whether a field of this name has this value, such as a ticked box.
    pub(crate) fn has(&self, name: &str, value: &str) -> bool {
        self.0.iter().any(|(field, found)| field == name && found == value)
    }
}

const HEADERS: [(HeaderName, HeaderValue); 9] = [
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; \
             form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        ),
    ),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    // Not `no-referrer`: with it, browsers send `Origin: null` with a form of the same site.
    (header::REFERRER_POLICY, HeaderValue::from_static("same-origin")),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("x-dns-prefetch-control"), HeaderValue::from_static("off")),
    (
        HeaderName::from_static("permissions-policy"),
        HeaderValue::from_static("camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    ),
];

/// Puts the rules in front of `pages`.
pub(super) fn protect(pages: Router<Shared>, console: &Shared) -> Router {
    // A layer of `pages` itself runs after the page was chosen, which is too late to take the prefix from the path.
    let pages = pages.with_state(Shared::clone(console));
    Router::new().fallback_service(pages).layer(middleware::from_fn_with_state(Shared::clone(console), enter))
}

async fn enter(State(console): State<Shared>, request: Request, next: Next) -> Response {
    let mut response = match check(&console, request) {
        Ok(Entered::Public(request)) => next.run(request).await,
        Ok(Entered::Session(request)) => {
            let answer = async {
                let request = if request.method() == Method::POST { form(&console, request).await? } else { request };
                Ok::<_, PageError>(next.run(request).await)
            };
            let mut response = answer.await.unwrap_or_else(PageError::into_response);
            // axum refuses a part of an address that it cannot read with a plain text.
            if response.status().is_client_error() && is_plain(&response) {
                response = layout::not_found().await.into_response();
            }
            match response.extensions_mut().remove::<PageError>() {
                Some(error) => error.with_link(&console),
                None => response,
            }
        }
        Err(error) => error.into_response(),
    };
    for (name, value) in HEADERS {
        // A stylesheet whose address has its digest may be kept.
        response.headers_mut().entry(name).or_insert(value);
    }
    response
}

/// A request that passed the rules.
enum Entered {
    /// It requires no session. Its answer must not contain the prefix, except for the one that opens the session.
    Public(Request),
    /// It is of the session. Its path has no prefix any more.
    Session(Request),
}

fn is_plain(response: &Response) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/plain"))
}

fn check(console: &Console, mut request: Request) -> Result<Entered, PageError> {
    let host = host(console, request.headers())?;
    let is_post = request.method() == Method::POST;
    same_origin(&host, request.headers(), is_post)?;
    let path = request.uri().path();
    if path == session::OPEN || path.starts_with(assets::FOLDER) {
        return Ok(Entered::Public(request));
    }
    not_led_here(request.headers())?;
    let inside = console.session.without_prefix(path);
    let cookies = inside.map(|_| session::cookies(console, request.headers())).unwrap_or_default();
    let is_use = !inside.is_some_and(|path| path.starts_with(LIVE));
    match console.session.standing(&cookies, is_use) {
        Standing::Open => {}
        Standing::Expired => {
            console.announce();
            return Err(PageError::new(
                StatusCode::UNAUTHORIZED,
                "The session has ended",
                "Nobody used the console for some time, so its session has ended and a kept passphrase is forgotten. The \
                 terminal shows an address that opens another session.",
            ));
        }
        Standing::None => {
            return Err(PageError::new(
                StatusCode::UNAUTHORIZED,
                "The console is closed to this browser",
                "Open the console with the address that the terminal shows. The address works once, in one browser.",
            ));
        }
    }
    let inside = match (inside.unwrap_or("/"), request.uri().query()) {
        (path, Some(query)) => format!("{path}?{query}"),
        (path, None) => path.to_owned(),
    };
    *request.uri_mut() =
        inside.parse().map_err(|error| Failure::Undetermined(format!("the console has a defect: {error}")))?;
    Ok(Entered::Session(request))
}

/// A page is reached from the console itself or by an address that the user has entered. What another site, or another port of
/// this host, loads is no use of the session, and must not cause a reading of the cluster.
fn not_led_here(headers: &HeaderMap) -> Result<(), PageError> {
    let is_own = |site: &HeaderValue| site == "same-origin" || site == "none";
    if headers.get(SEC_FETCH_SITE).is_none_or(is_own) {
        return Ok(());
    }
    Err(PageError::new(
        StatusCode::FORBIDDEN,
        "Another site",
        "Another site led to this address. Go back to the page of the console, or enter the address in the browser yourself.",
    ))
}

/// The name under which the console was asked for, which must be its own. A site that lets its name lead to this machine (DNS
/// rebinding) has another one.
fn host(console: &Console, headers: &HeaderMap) -> Result<String, PageError> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let port = console.port;
    let own = [format!("127.0.0.1:{port}"), format!("[::1]:{port}"), format!("localhost:{port}")];
    match (hosts.next().and_then(|host| host.to_str().ok()), hosts.next()) {
        (Some(host), None) if own.iter().any(|own| own == host) => Ok(host.to_owned()),
        _ => Err(PageError::new(
            StatusCode::MISDIRECTED_REQUEST,
            "Another host",
            "The console answers on 127.0.0.1, [::1] and localhost with its own port only.",
        )),
    }
}

/// A POST comes from a page of the console. Browsers send `Origin` with each POST, and `Sec-Fetch-Site` with each request.
fn same_origin(host: &str, headers: &HeaderMap, is_post: bool) -> Result<(), PageError> {
    let own = format!("http://{host}");
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let is_same = match (origins.next(), origins.next()) {
        (None, _) => !is_post,
        (Some(origin), None) => origin == own.as_str(),
        (Some(_), Some(_)) => false,
    };
    let is_foreign = |site: &HeaderValue| is_post && site != "same-origin";
    if is_same && !headers.get(SEC_FETCH_SITE).is_some_and(is_foreign) {
        return Ok(());
    }
    Err(PageError::new(
        StatusCode::FORBIDDEN,
        "Another site",
        "Another site, or a program that is not a browser, sent this request. Nothing was changed.",
    ))
}

/// Checks the token of a POST, and reads its form.
async fn form(console: &Console, request: Request) -> Result<Request, PageError> {
    let no_token = || {
        PageError::new(
            StatusCode::FORBIDDEN,
            "The form has no valid token",
            "The form was made for another session, or by somebody else. Nothing was changed. Load the page again.",
        )
    };
    if let Some(token) = request.headers().get(CSRF_HEADER) {
        return if console.session.is_csrf(token.to_str().unwrap_or_default()) { Ok(request) } else { Err(no_token()) };
    }
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if kind.split(';').next().is_none_or(|kind| kind.trim() != "application/x-www-form-urlencoded") {
        return Err(PageError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "Not a form",
            "A POST to the console has a form of type application/x-www-form-urlencoded.",
        ));
    }
    let (head, body) = request.into_parts();
    let bytes = body::to_bytes(body, MAX_FORM).await.map_err(|_| {
        PageError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "The form is too large",
            "A form of the console has at most 4 MiB. Nothing was changed.",
        )
    })?;
    let form = Form(form_urlencoded::parse(&bytes).into_owned().collect());
    if !console.session.is_csrf(form.field("csrf")) {
        return Err(no_token());
    }
    let mut request = Request::from_parts(head, Body::empty());
    request.extensions_mut().insert(form);
    Ok(request)
}
