//! Postures: the rules in words, the keys and their validity, and what a change of the documents would permit or forbid.
//!
//! The words are those of `posture explain`, and the comparison is that of `posture diff`. Nothing is applied.

use std::sync::Arc;

use axum::{
    Extension, Router,
    extract::{Request, State},
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use jiff::Timestamp;
use maud::{Markup, html};
use writgate_cluster::clock;
use writgate_core::posture::{ChangeEffect, Posture, PostureChange, PostureSet, ReviewerKey};

use crate::{
    command::posture::{self, Topic},
    console::{
        Console, PageError, Shared, foreign,
        kept::{KeptReading, freshness, is_again},
        layout::{csrf, lines},
        page,
        security::Form,
    },
    failure::Failure,
};

/// The address of the page.
const PATH: &str = "/postures";

pub(super) fn router() -> Router<Shared> {
    Router::new().route(PATH, get(show).post(compare))
}

/// The address that reads again.
fn again_at(console: &Console) -> String {
    console.at("/postures?again=1")
}

async fn show(State(console): State<Shared>, request: Request) -> Response {
    let again = is_again(request.uri().query());
    let read = console.blocking(move |console| {
        let reading = read(console, again)?;
        Ok(html! {
            (freshness(reading.time, &again_at(console)))
            (set(&reading.content))
        })
    });
    match read.await {
        Ok(_) if again => (StatusCode::SEE_OTHER, [(header::LOCATION, console.at(PATH))]).into_response(),
        Ok(content) => respond(&console, StatusCode::OK, &content),
        Err(failure) => failed(&console, failure),
    }
}

/// Compares the documents of the form with those that the page shows. The page says when they were read.
async fn compare(State(console): State<Shared>, Extension(form): Extension<Form>) -> Response {
    let text = form.field("documents").to_owned();
    let read = console.blocking(move |console| {
        let before = read(console, false)?;
        let after = posture::replaced(&before.content, &text)?;
        Ok(html! {
            (freshness(before.time, &again_at(console)))
            (difference(&before.content, &after))
            p { a href=(console.at(PATH)) { "Back to the postures" } }
        })
    });
    match read.await {
        Ok(content) => respond(&console, StatusCode::OK, &content),
        Err(failure) => failed(&console, failure),
    }
}

fn read(console: &Console, again: bool) -> Result<Arc<KeptReading<PostureSet>>, Failure> {
    console.posture_set.get(console, again, || Ok(console.postures().load()?.set))
}

fn failed(console: &Console, failure: Failure) -> Response {
    let content = html! {
        (lines(&failure.to_string()))
        p { a href=(again_at(console)) { "Read again" } }
    };
    respond(console, PageError::from(failure).status(), &content)
}

fn respond(console: &Console, status: StatusCode, content: &Markup) -> Response {
    let body = html! {
        (content)
        (form(console))
    };
    (status, page(console, "Postures", body)).into_response()
}

/// The form for a change. The text is not shown again: the page would have to change characters that are not visible.
fn form(console: &Console) -> Markup {
    html! {
        section .panel {
            h2 { "What would a change permit or forbid?" }
            p {
                "Paste documents, as files or as ConfigMaps. Each replaces the document of the cluster with the same kind and name, "
                "and the other documents stay. Nothing is applied."
            }
            form method="post" action=(console.at(PATH)) {
                (csrf(console))
                label for="documents" { "Documents, YAML or JSON, with --- between them" }
                textarea #documents name="documents" rows="12" required spellcheck="false" autocomplete="off" {}
                // The script puts the text of a file that is chosen or dropped into the field.
                p #file hidden {
                    label for="choose" { "Or choose files, or drop them here" }
                    input #choose type="file" multiple data-into="documents" accept=".yaml,.yml,.json";
                }
                p { button .primary { "Compare with the cluster" } }
            }
        }
    }
}

/// Every environment of the set.
pub(super) fn set(set: &PostureSet) -> Markup {
    let now = clock::now();
    html! {
        @if set.environments().next().is_none() {
            p { "The cluster contains no posture. Write a first one with " code { "kubectl writgate posture init" } "." }
        }
        @for (environment, posture) in set.environments() {
            section {
                h2 { "Environment " (foreign(environment)) }
                @match posture {
                    Ok(posture) => (rules(set, posture, now)),
                    Err(error) => {
                        p { span .badge .bad { "invalid" } " Every action is denied." }
                        (lines(&error.to_string()))
                    }
                }
            }
        }
        (problems(set))
    }
}

fn rules(set: &PostureSet, posture: &Posture, now: Timestamp) -> Markup {
    let (scope, topics) = posture::topics(posture);
    let warnings = set.warnings(posture, now);
    html! {
        @if !warnings.is_empty() {
            div .message {
                p { strong { "Warnings" } }
                @for warning in &warnings { p { (foreign(warning)) } }
            }
        }
        dl { @for (label, text) in &scope { dt { (label) } dd { (foreign(text)) } } }
        @for Topic { title, rows, lines } in &topics {
            @if !rows.is_empty() || !lines.is_empty() {
                h3 { (title) }
                @if !rows.is_empty() { dl { @for (label, text) in rows { dt { (label) } dd { (foreign(text)) } } } }
                @if !lines.is_empty() { ul .lines { @for line in lines { (indented(line)) } } }
            }
        }
        (keys(posture, now))
    }
}

/// A line whose indentation says that it belongs to the line above.
fn indented(line: &str) -> Markup {
    let text = line.trim_start();
    html! { li { @if text.len() < line.len() { "  " } (foreign(text)) } }
}

fn keys(posture: &Posture, now: Timestamp) -> Markup {
    let keys: Vec<(&str, &ReviewerKey)> = posture
        .reviewers
        .iter()
        .flat_map(|reviewer| reviewer.keys.iter().map(|key| (reviewer.name.as_str(), key)))
        .collect();
    html! {
        @if !keys.is_empty() {
            div .scroll tabindex="0" role="region" aria-label="Keys" {
                table {
                    caption { "The keys of the reviewers" }
                    thead { tr { @for column in ["Reviewer", "Key", "Valid from", "Valid until", "Today"] {
                        th scope="col" { (column) }
                    } } }
                    tbody { @for (reviewer, key) in keys {
                        tr {
                            th scope="row" { (foreign(reviewer)) }
                            td .digest { (key.id) }
                            td { (bound(key.not_before)) }
                            td { (bound(key.not_after)) }
                            td { (validity(posture, key, now)) }
                        }
                    } }
                }
            }
        }
    }
}

fn bound(time: Option<Timestamp>) -> Markup {
    html! { @if let Some(time) = time { time { (time) } } @else { span .quiet { "no limit" } } }
}

fn validity(posture: &Posture, key: &ReviewerKey, now: Timestamp) -> Markup {
    let revocation = posture.revocations.keys.get(&key.id).filter(|revocation| revocation.in_force(now));
    let (word, class) = match revocation {
        Some(_) => ("revoked", "bad"),
        None if key.not_before.is_some_and(|from| now < from) => ("not yet valid", "careful"),
        None if key.not_after.is_some_and(|until| until <= now) => ("expired", "bad"),
        None => ("valid", "good"),
    };
    html! {
        span .badge .(class) { (word) }
        @if let Some(why) = revocation.and_then(|revocation| revocation.why.as_ref()) { " " (foreign(why)) }
    }
}

fn problems(set: &PostureSet) -> Markup {
    let found: Vec<String> = posture::problems(set).map(ToString::to_string).collect();
    html! {
        @if !found.is_empty() {
            section {
                h2 { "Problems of the documents (" (found.len()) ")" }
                ul { @for problem in &found { li { (foreign(problem)) } } }
            }
        }
    }
}

/// What the documents of `after` permit and forbid that those of `before` do not.
pub(super) fn difference(before: &PostureSet, after: &PostureSet) -> Markup {
    let changes = after.changes_since(before);
    let known: Vec<String> = posture::problems(before).map(ToString::to_string).collect();
    let new: Vec<String> =
        posture::problems(after).map(ToString::to_string).filter(|problem| !known.contains(problem)).collect();
    let looser = changes.iter().filter(|change| change.effect == ChangeEffect::Looser).count();
    html! {
        section .panel {
            h2 { "The change" }
            @if !new.is_empty() {
                div .message role="alert" {
                    p { strong { "The cluster would refuse these documents." } }
                    @for problem in &new { p { (foreign(problem)) } }
                }
            }
            @if changes.is_empty() {
                p { "The rules stay the same." }
            } @else {
                p { (changes.len()) " changes, of which " (looser) " are looser. Nothing was applied." }
                div .scroll tabindex="0" role="region" aria-label="Changes" {
                    table {
                        caption { "What the change permits and forbids" }
                        thead { tr { @for column in ["Effect", "Environment", "Change"] { th scope="col" { (column) } } } }
                        tbody { @for change in &changes { (line(change)) } }
                    }
                }
            }
        }
    }
}

fn line(change: &PostureChange) -> Markup {
    let (word, class) = match change.effect {
        ChangeEffect::Looser => ("looser", "careful"),
        ChangeEffect::Stricter => ("stricter", "good"),
        ChangeEffect::Differs => ("differs", "quiet"),
    };
    html! {
        tr {
            td { span .badge .(class) { (word) } }
            td { (foreign(&change.environment)) }
            td { (foreign(posture::describe(change))) }
        }
    }
}
