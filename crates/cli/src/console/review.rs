//! The page of one request: its state, the review as `review` prints it, and the forms that sign and reject it.

use axum::{
    Router,
    extract::{Path, Request, State},
    response::Html,
    routing::get,
};
use maud::{Markup, html};

use crate::{
    approval::request_state::RequestState,
    command::{
        approve::precheck,
        review::{
            checklist::CheckResult,
            lines::{Line, Marker},
            view::{self, Block, CheckedItem, Marked, Tone, WorkloadView},
        },
    },
    console::{
        Console, PageError, Shared,
        desk::{ReviewDigest, Reviewed},
        foreign, layout, look, page, requests, sign,
    },
    failure::Failure,
};

pub(super) fn router() -> Router<Shared> {
    Router::new().route("/requests/{namespace}/{name}", get(show))
}

/// What the page shows of a request.
struct Shown {
    name: String,
    state: RequestState,
    blocks: Vec<Block>,
    code: String,
    digest: ReviewDigest,
    /// Why it cannot be signed, whatever the reviewer enters.
    refused: Option<String>,
    is_whole: bool,
}

async fn show(
    State(console): State<Shared>,
    Path((namespace, name)): Path<(String, String)>,
    request: Request,
) -> Result<Html<String>, PageError> {
    let full = form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes())
        .any(|(name, value)| name == "full" && value == "1");
    let place = (namespace.clone(), name);
    let shown = console.blocking(move |console| read(console, (&place.0, &place.1), full)).await?;
    let address = requests::address(&console, &namespace, &shown.name);
    let body = html! {
        p { a href=(console.at("/")) { "All requests" } " · " a href=(address) { "Read it again" } }
        p { strong { "State: " } (foreign(shown.state.text())) }
        (whole(&address, full))
        @for block in &shown.blocks { (self::block(block, &address)) }
        section .panel {
            h2 { "Code of this review" }
            p .digest { (shown.code) }
            p .hint { "A reviewer who runs kubectl writgate review sees the same code." }
        }
        @match &shown.refused {
            Some(why) => section .panel { h2 { "It cannot be signed" } (layout::lines(why)) },
            None if !shown.is_whole => section .panel {
                h2 { "Sign" }
                p { "This page does not show every field whole. " a href=(format!("{address}?full=1")) { "Show every field whole" } " to sign." }
            },
            None => (sign::form(&console, &address, shown.digest, &shown.blocks, full)),
        }
        (sign::rejection_form(&console, &address, shown.digest))
    };
    Ok(page(&console, &format!("Review of {}", shown.name), body))
}

fn read(console: &Console, place: (&str, &str), full: bool) -> Result<Shown, Failure> {
    look::at(console, place, None, |look, _| {
        let (draft, report) = (&look.draft, &look.report);
        let statement = (!draft.is_given()).then(|| draft.approval.clone());
        let name = look.posted.name.clone();
        let reviewed = Reviewed::of(place.0, &name, statement, &draft.envelope, report)?;
        let digest = reviewed.digest;
        let own = console.own_public_key();
        let refused = precheck::before(draft, own.as_ref()).err().map(|failure| failure.to_string());
        let shown = Shown {
            name,
            state: look::state(console, look.store.cluster, look.posted),
            blocks: view::of(report, full),
            code: report.code().to_string(),
            digest,
            refused,
            is_whole: precheck::shown_whole(report, full).is_ok(),
        };
        console.session.desk(|desk| desk.show(reviewed));
        Ok(shown)
    })
}

fn whole(address: &str, full: bool) -> Markup {
    html! {
        p .hint {
            @if full { "Every field is shown whole. " a href=(address) { "Show long values and defaults in short" } }
            @else { a href=(format!("{address}?full=1")) { "Show every field whole, defaults included" } }
        }
    }
}

pub(super) fn block(block: &Block, address: &str) -> Markup {
    html! {
        @match block {
            Block::Facts { title, facts } => section .panel {
                h2 { (title) }
                dl { @for (name, value) in facts { dt { (name) } dd { (marked(value)) } } }
            },
            Block::Lines { title, tone, lines } => section .panel .(tone_class(*tone)) {
                h2 { (title) }
                ul { @for line in lines { li { (marked(line)) } } }
            },
            Block::Workload(one) => (workload(one, address)),
            Block::NotWhole(named) => section .panel .careful {
                h2 { "Not shown whole" }
                p { a href=(format!("{address}?full=1")) { "Show every field whole" } " before you sign." }
                ul { @for field in named { li { (foreign(field)) } } }
            },
            // The form has the items again, to be ticked.
            Block::Checklist { title, items } => section .panel {
                h2 { (title) }
                ul { @for item in items { li { (self::item(item)) } } }
            },
        }
    }
}

fn tone_class(tone: Tone) -> &'static str {
    match tone {
        Tone::Plain => "plain",
        Tone::Wrong => "bad",
        Tone::Careful => "careful",
    }
}

fn marked(value: &Marked) -> Markup {
    html! { (foreign(&value.text)) @if !value.mark.is_empty() { " " span .said { (foreign(value.mark.trim())) } } }
}

/// An item of the checklist: the verdict in words, the guide's text, and what was found.
pub(super) fn item(item: &CheckedItem) -> Markup {
    let (word, class) = match item.verdict {
        CheckResult::Ok(_) => ("ok", "good"),
        CheckResult::No => ("no", "bad"),
        CheckResult::Look => ("look", "careful"),
    };
    html! { span .badge .(class) { (word) } " " (item.line) ": " (foreign(&item.found)) }
}

fn workload(one: &WorkloadView, address: &str) -> Markup {
    let changes = &one.changes;
    html! {
        section .panel {
            h2 { (foreign(&one.subject)) }
            p { (one.how) }
            p { "Spec hash " span .digest { (foreign(&one.spec_hash)) } " (computed here)" }
            @for (title, lines) in &changes.groups { h3 { (title) } (self::lines(lines)) }
            @if changes.left_out > 0 {
                p .careful { (changes.left_out) " more fields are not shown. " a href=(format!("{address}?full=1")) { "Show them" } }
            }
            @if !changes.defaults.is_empty() {
                p .hint { "Defaults: " (foreign(changes.defaults.join(", "))) }
            }
            @if let Some((claimed, cut)) = &one.claimed {
                h3 { "Changes that the request claims; no cluster was contacted" }
                (self::lines(claimed))
                @if *cut > 0 { p .careful { (cut) " more claimed changes are not shown whole." } }
            }
        }
    }
}

/// Lines of a difference. The sign and a word say what the colour says.
fn lines(lines: &[Line]) -> Markup {
    html! {
        ul .lines {
            @for line in lines {
                @let (word, class) = match line.marker {
                    Marker::Added => ("added", "good"),
                    Marker::Removed => ("removed", "bad"),
                    Marker::Changed => ("changed", "careful"),
                    Marker::Same => ("same", "plain"),
                };
                li .(class) {
                    span aria-hidden="true" { (line.marker.sign()) " " } span .unseen { (word) ": " }
                    (foreign(&line.text))
                    @if !line.note.is_empty() { " " span .said { (line.note) } }
                }
            }
        }
    }
}
