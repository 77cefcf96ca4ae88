//! The session: the address that opens the console once, the cookie and the path prefix that it becomes, the token of forms, and
//! the idle time-out.
//!
//! There is one session at a time. Only its digests are kept, so comparing them takes the same time wherever they differ.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use maud::html;
use sha2::{Digest as _, Sha256};
use writgate_core::encoding::hex;
use zeroize::Zeroizing;

use crate::{
    console::{Console, PageError, Shared, desk::Desk, layout},
    failure::Failure,
    terminal::output::note,
};

/// Where the address that opens the console leads.
pub(super) const OPEN: &str = "/open";

/// The shortest time between two notes in the terminal about a wrong address, so that the right one does not scroll away.
const NOTE_PAUSE: Duration = Duration::from_mins(1);

/// A random text, and the digest by which it is recognised.
struct Secret {
    text: Zeroizing<String>,
    digest: [u8; 32],
}

/// The session and what it keeps.
pub(crate) struct Session {
    idle_timeout: Duration,
    state: Mutex<SessionState>,
}

struct SessionState {
    /// The address that was not used yet.
    address: Option<Secret>,
    /// The address that was used last, to say so.
    used: Option<[u8; 32]>,
    /// The cookie of the open session.
    cookie: Option<[u8; 32]>,
    /// The token that each form of the session contains.
    csrf: Secret,
    /// The first segment of the path of each page. Browsers send the cookie to no other path.
    prefix: Secret,
    refusals: Refusals,
    last_used: Instant,
    /// Whether the last session ended because nobody used it.
    is_expired: bool,
    passphrase: Option<Zeroizing<String>>,
    desk: Desk,
}

/// Whether a request belongs to the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Open,
    /// The session ended because nobody used it.
    Expired,
    /// There is no cookie, or another one.
    None,
}

/// The part of an address that only the browser of the session knows.
#[derive(Clone, Debug)]
pub(super) struct Prefix(String);

impl Prefix {
    /// The address of the page at `path`. Every address of a page is made here.
    pub(super) fn at(&self, path: &str) -> String {
        format!("/{}{path}", self.0)
    }
}

/// Openings with a wrong address.
#[derive(Default)]
struct Refusals {
    noted: Option<Instant>,
    since: u64,
}

impl Refusals {
    /// Counts an opening at `now`. Returns how many there were since the last note, if another note is due.
    fn count(&mut self, now: Instant) -> Option<u64> {
        self.since += 1;
        if self.noted.is_some_and(|noted| now.duration_since(noted) < NOTE_PAUSE) {
            return None;
        }
        self.noted = Some(now);
        Some(std::mem::take(&mut self.since))
    }
}

impl Secret {
    fn new() -> Result<Self, Failure> {
        let mut bytes = Zeroizing::new([0_u8; 32]);
        getrandom::fill(&mut *bytes)
            .map_err(|error| Failure::Undetermined(format!("the system gives no randomness: {error}")))?;
        let text = Zeroizing::new(hex::encode(&bytes));
        let digest = digest(&text);
        Ok(Self { text, digest })
    }
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}

impl Session {
    pub(super) fn new(idle_timeout: Duration) -> Result<Self, Failure> {
        let state = SessionState {
            address: Some(Secret::new()?),
            used: None,
            cookie: None,
            csrf: Secret::new()?,
            prefix: Secret::new()?,
            refusals: Refusals::default(),
            last_used: Instant::now(),
            is_expired: false,
            passphrase: None,
            desk: Desk::default(),
        };
        Ok(Self { idle_timeout, state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, SessionState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The secret of the address that opens the console, unless it was used.
    pub(super) fn secret(&self) -> Option<String> {
        self.state().address.as_ref().map(|secret| secret.text.to_string())
    }

    /// Whether one of `cookies` is the session's. `is_use`: the user did something, and the time without use begins again.
    pub(super) fn standing(&self, cookies: &[&str], is_use: bool) -> Standing {
        let mut state = self.state();
        if state.cookie.is_some() && state.last_used.elapsed() >= self.idle_timeout {
            state.end();
            state.is_expired = true;
        }
        match state.cookie {
            Some(own) if cookies.iter().any(|cookie| digest(cookie) == own) => {
                if is_use {
                    state.last_used = Instant::now();
                }
                Standing::Open
            }
            None if state.is_expired => Standing::Expired,
            _ => Standing::None,
        }
    }

    /// Whether somebody uses the console. Ends a session that nobody has used for too long.
    pub(super) fn is_open(&self) -> bool {
        let _ = self.standing(&[], false);
        self.state().cookie.is_some()
    }

    /// Opens the session with the secret of the address, and returns its cookie.
    fn open(&self, secret: &str) -> Result<Zeroizing<String>, &'static str> {
        let mut state = self.state();
        let digest = digest(secret);
        if state.used == Some(digest) {
            return Err("This address was used already, and it works once. Use the browser in which you opened it.");
        }
        if state.address.as_ref().is_none_or(|address| address.digest != digest) {
            return Err("This is not the address that the terminal shows.");
        }
        let (Ok(cookie), Ok(csrf), Ok(prefix)) = (Secret::new(), Secret::new(), Secret::new()) else {
            return Err("The system gives no randomness, so no session can be opened.");
        };
        state.address = None;
        state.used = Some(digest);
        state.cookie = Some(cookie.digest);
        state.csrf = csrf;
        state.prefix = prefix;
        state.last_used = Instant::now();
        state.is_expired = false;
        Ok(cookie.text)
    }

    /// The prefix of the addresses of the open session.
    pub(super) fn prefix(&self) -> Prefix {
        Prefix(self.state().prefix.text.to_string())
    }

    /// The path without the prefix of the session; none if it has another one.
    pub(super) fn without_prefix<'p>(&self, path: &'p str) -> Option<&'p str> {
        let path = path.strip_prefix('/')?;
        let (prefix, rest) = path.split_at_checked(path.find('/')?)?;
        (digest(prefix) == self.state().prefix.digest).then_some(rest)
    }

    /// The token that a form of the open session contains.
    pub(super) fn csrf(&self) -> String {
        self.state().csrf.text.to_string()
    }

    pub(super) fn is_csrf(&self, token: &str) -> bool {
        let state = self.state();
        state.cookie.is_some() && state.csrf.digest == digest(token)
    }

    /// Creates another address after a session has ended. None: the last one was not used yet, or there is a session.
    pub(super) fn renew(&self) -> Result<Option<String>, Failure> {
        let mut state = self.state();
        if state.address.is_some() || state.cookie.is_some() {
            return Ok(None);
        }
        let secret = Secret::new()?;
        let text = secret.text.to_string();
        state.address = Some(secret);
        Ok(Some(text))
    }

    /// Reads or changes what the session has shown and done.
    pub(super) fn desk<T>(&self, work: impl FnOnce(&mut Desk) -> T) -> T {
        work(&mut self.state().desk)
    }

    /// Keeps a passphrase until the session ends.
    pub(super) fn keep_passphrase(&self, passphrase: Zeroizing<String>) {
        let mut state = self.state();
        if state.cookie.is_some() {
            state.passphrase = Some(passphrase);
        }
    }

    pub(super) fn forget_passphrase(&self) {
        self.state().passphrase = None;
    }

    pub(super) fn passphrase(&self) -> Option<Zeroizing<String>> {
        self.state().passphrase.clone()
    }
}

impl SessionState {
    fn end(&mut self) {
        self.cookie = None;
        self.passphrase = None;
        self.desk = Desk::default();
    }
}

/// The name of the cookie. Browsers send the cookies of one port to all ports of a host.
fn cookie_name(console: &Console) -> String {
    format!("writgate-console-{}", console.port)
}

/// The values of the session's cookie in a request. Another port of this host can set further ones, with other paths.
pub(super) fn cookies<'h>(console: &Console, headers: &'h HeaderMap) -> Vec<&'h str> {
    let name = cookie_name(console);
    let pairs = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let values = pairs.flat_map(|pairs| pairs.split(';')).filter_map(|pair| {
        let (found, value) = pair.trim().split_once('=')?;
        (found == name).then_some(value)
    });
    values.collect()
}

pub(super) fn router() -> Router<Shared> {
    Router::new().route(OPEN, get(open)).route("/end", post(end))
}

/// Exchanges the secret of the address for a cookie, and leads to the first page, so that the secret leaves the address bar.
async fn open(State(console): State<Shared>, request: Request) -> Result<Response, PageError> {
    if request.method() != Method::GET {
        return Ok(layout::wrong_method(State(console)).await);
    }
    let query = request.uri().query().unwrap_or_default();
    let secret = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "secret");
    let secret = secret.map(|(_, value)| value.into_owned()).unwrap_or_default();
    let cookie = console.session.open(&secret).map_err(|why| {
        let refusals = console.session.state().refusals.count(Instant::now());
        if let Some(count) = refusals {
            note(&format!(
                "note: somebody opened the console with an address that was used already, or that is wrong ({count} since \
                 the last note)"
            ));
        }
        PageError::new(StatusCode::FORBIDDEN, "The console stays closed", why)
    })?;
    console.snapshots.wake();
    let first = console.at("/");
    // Ports share cookies and count as the same site. Other ports do not know the path.
    let cookie = format!("{}={}; HttpOnly; SameSite=Strict; Path={first}", cookie_name(&console), *cookie);
    let cookie = HeaderValue::from_str(&cookie)
        .map_err(|error| Failure::Undetermined(format!("the console has a defect: {error}")))?;
    // A redirect of a navigation that another site or a file has started does not carry a strict cookie. A page of this
    // site that leads on does.
    let is_direct = request.headers().get("sec-fetch-site").is_none_or(|site| site == "none");
    let mut response = if is_direct {
        (StatusCode::SEE_OTHER, [(header::LOCATION, first)]).into_response()
    } else {
        layout::bare("Opening the console", Some(&first), html! { p { a href=(first) { "Continue to the console" } } })
            .into_response()
    };
    response.headers_mut().insert(header::SET_COOKIE, cookie);
    Ok(response)
}

/// Ends the session. The terminal shows another address.
async fn end(State(console): State<Shared>) -> Response {
    console.session.state().end();
    console.announce();
    let body = html! { p { "The session has ended. The terminal shows an address that opens another one." } };
    layout::bare("The session has ended", None, body).into_response()
}

impl Console {
    /// Prints another address if the last session has ended.
    pub(super) fn announce(&self) {
        match self.session.renew() {
            Ok(Some(secret)) => {
                note("the session has ended; this address opens another one, once:");
                let _ = crate::terminal::output::print(&format!("{}\n", self.address(&secret)));
            }
            Ok(None) => {}
            Err(failure) => note(&format!("error: {failure}")),
        }
    }

    /// The address of the page at `path`, for links, forms and redirects.
    pub(super) fn at(&self, path: &str) -> String {
        self.session.prefix().at(path)
    }

    /// The address that opens the console.
    pub(super) fn address(&self, secret: &str) -> String {
        format!("http://127.0.0.1:{}{OPEN}?secret={secret}", self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_addresses_are_noted_once_a_minute_with_their_number() {
        let (mut refusals, start) = (Refusals::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(refusals.count(after(0)), Some(1));
        assert_eq!(refusals.count(after(1)), None);
        assert_eq!(refusals.count(after(59)), None);
        assert_eq!(refusals.count(after(60)), Some(3));
        assert_eq!(refusals.count(after(119)), None);
    }
}
