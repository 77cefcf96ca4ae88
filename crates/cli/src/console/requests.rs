//! The first page: posted requests and their states, those that wait for the reviewer's own key first, and denied changes for
//! which no request is posted.

use std::time::Duration;

use axum::{
    Router,
    extract::{Request, State},
    http::header,
    response::{Html, IntoResponse as _, Response},
    routing::get,
};
use maud::{Markup, html};
use writgate_core::approval::{KeyId, REQUEST_LIFETIME};

use crate::{
    approval::request_state::{RequestState, RequestVerdict},
    command::{
        pending::{self, PendingApproval},
        request::list::age,
    },
    console::{
        Console, Shared, foreign, page,
        snapshot::{SeenRequest, Snapshot},
    },
};

/// How long a request of the script waits for a change.
const PATIENCE: Duration = Duration::from_secs(25);
/// How long the first page waits for the first reading of the cluster.
const FIRST: Duration = Duration::from_secs(2);

pub(super) fn router() -> Router<Shared> {
    Router::new().route("/", get(show)).route("/live/requests", get(changed_list))
}

async fn show(State(console): State<Shared>) -> Html<String> {
    let snapshot = console.snapshots.after(0, FIRST).await;
    let live = live(&console, &snapshot);
    let body = html! {
        p .hint {
            "The list updates by itself if your browser runs scripts. "
            a href=(console.at("/")) { "Refresh" }
        }
        div #live data-live=(live) { (list(&console, &snapshot)) }
    };
    page(&console, "Requests", body)
}

/// The list, as soon as it differs from the one that the page shows.
async fn changed_list(State(console): State<Shared>, request: Request) -> Response {
    let query = request.uri().query().unwrap_or_default();
    let after = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "after");
    let after = after.and_then(|(_, version)| version.parse().ok()).unwrap_or_default();
    let snapshot = console.snapshots.after(after, PATIENCE).await;
    let next = live(&console, &snapshot);
    let body = list(&console, &snapshot).into_string();
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], [("x-writgate-next", next)], body).into_response()
}

/// The address of the list that follows `snapshot`.
fn live(console: &Console, snapshot: &Snapshot) -> String {
    console.at(&format!("/live/requests?after={}", snapshot.version))
}

fn list(console: &Console, snapshot: &Snapshot) -> Markup {
    let own = console.own_key();
    let mut own_first: Vec<&SeenRequest> = Vec::new();
    let [mut waiting, mut refused, mut done] = [const { Vec::new() }; 3];
    for seen in &snapshot.requests {
        let state = seen.state.as_ref();
        let group = match state.map(|state| state.state) {
            _ if own.is_some_and(|own| state.is_some_and(|state| state.waits_for(own))) => &mut own_first,
            None | Some(RequestVerdict::Waiting | RequestVerdict::Unknown) => &mut waiting,
            Some(RequestVerdict::Rejected | RequestVerdict::Refused | RequestVerdict::Expired) => &mut refused,
            Some(RequestVerdict::Approved | RequestVerdict::Live) => &mut done,
        };
        group.push(seen);
    }
    html! {
        (freshness(snapshot))
        @if own.is_some() { (group(console, "Waiting for your signature", &own_first, own)) }
        (group(console, "Waiting for signatures", &waiting, own))
        (denied(snapshot))
        (group(console, "Approved or live", &done, own))
        (group(console, "Rejected, refused or expired", &refused, own))
        @if snapshot.requests.is_empty() && snapshot.denied.is_empty() && snapshot.read.is_some() {
            p { "No request is posted, and no denied change is known." }
        }
        (unreadable(snapshot))
    }
}

fn freshness(snapshot: &Snapshot) -> Markup {
    html! {
        @if let Some(why) = &snapshot.failure {
            div .message role="alert" {
                p { strong { "The cluster could not be read. " } @if snapshot.read.is_some() { "This is what was read last." } }
                @for line in why.lines() { p { (foreign(line)) } }
            }
        }
        p .hint role="status" {
            @match (snapshot.read, &snapshot.failure) {
                (Some(time), _) => { "Read from the cluster at " time { (time.strftime("%Y-%m-%d %H:%M:%S UTC")) } "." }
                (None, Some(_)) => { "The console tries again by itself." }
                (None, None) => { "Reading the cluster…" }
            }
        }
        @if snapshot.has_unread_rejections() {
            p .message role="alert" {
                "Not all rejections could be read, because a namespace has too many. A request that is rejected may be shown as waiting."
            }
        }
        @if snapshot.is_cut { p .hint { "There are more requests; start the console with -n for one namespace." } }
    }
}

fn group(console: &Console, title: &str, seen: &[&SeenRequest], own: Option<KeyId>) -> Markup {
    html! {
        @if !seen.is_empty() {
            section {
                h2 { (title) " (" (seen.len()) ")" }
                ul .cards { @for one in seen { li { (card(console, one, own)) } } }
            }
        }
    }
}

/// The word for a state, and the class that colours it.
fn verdict(state: Option<&RequestState>) -> (&'static str, &'static str) {
    match state.map(|state| state.state) {
        None => ("being checked", "quiet"),
        Some(RequestVerdict::Approved) => ("approved", "good"),
        Some(RequestVerdict::Live) => ("live", "good"),
        Some(RequestVerdict::Waiting) => ("waiting", "careful"),
        Some(RequestVerdict::Rejected) => ("rejected", "bad"),
        Some(RequestVerdict::Refused) => ("refused", "bad"),
        Some(RequestVerdict::Expired) => ("expired", "quiet"),
        Some(RequestVerdict::Unknown) => ("unknown", "careful"),
    }
}

/// The address of a request's pages. Names of ConfigMaps have no characters that an address must escape.
pub(super) fn address(console: &Console, namespace: &str, name: &str) -> String {
    console.at(&format!("/requests/{namespace}/{name}"))
}

fn card(console: &Console, seen: &SeenRequest, own: Option<KeyId>) -> Markup {
    let posted = &seen.posted;
    let file = &posted.request.file;
    let state = seen.state.as_ref();
    let (word, class) = verdict(state);
    let expires = posted.created.checked_add(REQUEST_LIFETIME).ok();
    let is_own = own.is_some_and(|own| state.is_some_and(|state| state.waits_for(own)));
    html! {
        article {
            h3 {
                a href=(address(console, &posted.namespace, &posted.name)) {
                    @for (index, workload) in file.workloads.iter().enumerate() {
                        @if index > 0 { ", " }
                        (foreign(short(&workload.subject)))
                    }
                }
                " " span .badge .(class) { (word) }
                @if is_own { " " span .badge .careful { "yours to sign" } }
            }
            dl {
                dt { "Action" } dd { (file.action) @if file.break_glass { " " span .badge .bad { "break-glass" } } }
                dt { "Where" } dd { (foreign(&file.environment)) " / " (foreign(&file.project)) }
                dt { "Requested by" } dd { (foreign(&file.requested_by)) }
                @if let Some(reason) = &file.reason { dt { "Reason" } dd { (foreign(reason)) } }
                dt { "Since" } dd { (age(posted.created)) " ago, " time { (posted.created.strftime("%Y-%m-%d %H:%M UTC")) } }
                @if let Some(state) = state { dt { "State" } dd { (foreign(state.text())) } }
                @if let Some(approval) = state.and_then(|state| state.approval.as_ref()) {
                    dt { "Approval expires" } dd { time { (approval.expires_at) } }
                } @else if let Some(expires) = expires {
                    dt { "Request expires" } dd { time { (expires.strftime("%Y-%m-%d %H:%M UTC")) } }
                }
                dt { "Name" } dd .name { (foreign(&posted.namespace)) "/" (foreign(&posted.name)) }
            }
        }
    }
}

/// Kind, namespace and name of a subject.
fn short(subject: &str) -> &str {
    subject.rmatch_indices('/').nth(2).map_or(subject, |(at, _)| subject.get(at + 1..).unwrap_or(subject))
}

fn denied(snapshot: &Snapshot) -> Markup {
    html! {
        @if let Some(why) = &snapshot.no_denials {
            div .message { p { strong { "Denials are not known. " } (foreign(why)) } }
        }
        @for why in &snapshot.left_out { p .hint { (foreign(why)) } }
        @if !snapshot.denied.is_empty() {
            section {
                h2 { "Denied, and no request is posted (" (snapshot.denied.len()) ")" }
                ul .cards { @for one in &snapshot.denied { li { (denial(one)) } } }
            }
        }
    }
}

fn denial(one: &PendingApproval) -> Markup {
    let object = &one.object;
    let place: Vec<&str> = [&one.environment, &one.project].into_iter().flatten().map(String::as_str).collect();
    html! {
        article {
            h3 {
                (foreign(format!("{}/{}/{}", object.kind, object.namespace, object.name)))
                " " span .badge .bad { "denied" }
            }
            dl {
                @if let Some(action) = &one.action { dt { "Action" } dd { (foreign(action)) } }
                dt { "Where" } dd { (foreign(place.join(" / "))) }
                @if !one.by.is_empty() { dt { "Wanted by" } dd { @for (index, name) in one.by.iter().enumerate() { @if index > 0 { ", " } (foreign(pending::person(name))) } } }
                dt { "Since" } dd { (age(one.since)) " ago" @if one.times > 0 { ", denied " (one.times) " times" } }
                @if !one.reported_by.is_empty() { dt { "Reported by" } dd { (foreign(pending::reported_by(one))) } }
                dt { "Lacks" } dd { (foreign(one.reasons.join(", "))) }
                dt { "Next" } dd { code { (foreign(&one.next)) } }
            }
        }
    }
}

fn unreadable(snapshot: &Snapshot) -> Markup {
    html! {
        @if !snapshot.unreadable.is_empty() {
            section {
                h2 { "ConfigMaps that are no request (" (snapshot.unreadable.len()) ")" }
                ul { @for one in &snapshot.unreadable {
                    li { (foreign(&one.namespace)) "/" (foreign(&one.name)) ": " (foreign(&one.why)) }
                } }
            }
        }
    }
}
