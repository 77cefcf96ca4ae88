//! One decision in full: the five questions, its place in the chain, and its record.

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Html,
};
use maud::{Markup, html};
use serde_json::Value;

use super::{
    Query,
    list::{colour, required, standing},
    readings::{Reading, Seen, View},
};
use crate::{
    command::audit::history::Row,
    console::{PageError, Shared, foreign, page},
};

pub(super) async fn show(State(console): State<Shared>, request: Request) -> Result<Html<String>, PageError> {
    let query = Query::of(&request, &console)?;
    let read = query.clone();
    let view = console.blocking(move |console| View::of(console, &read)).await?;
    // A forged record may repeat the id of another one. Each of them is shown, and what is verified comes first.
    let mut found: Vec<&Seen> = view.reading.rows.iter().filter(|seen| seen.row.id == query.id).collect();
    found.sort_by_key(|seen| seen.row.verified.is_none());
    if found.is_empty() {
        return Err(PageError::new(
            StatusCode::NOT_FOUND,
            "No such decision",
            "The decision is not among those that were read. Filter the history, for example by time, or read it again.",
        ));
    }
    let body = html! {
        p { a href=(query.address("/history", &[])) { "Back to the history" } }
        @if found.len() > 1 {
            p .message role="alert" { (found.len()) " records have this id." }
        }
        @for seen in found { (decision(&view.reading, seen)) }
    };
    Ok(page(&console, "Decision", body))
}

fn decision(reading: &Reading, seen: &Seen) -> Markup {
    let row = &seen.row;
    let record: Option<Value> = serde_json::from_str(&seen.json).ok();
    html! {
        section .panel {
            h2 {
                (foreign(row.object())) " "
                span .badge .(colour(row)) { (foreign(row.outcome())) }
            }
            dl {
                dt { "Time" } dd { time { (row.time) } }
                dt { "Who started it?" } dd { (foreign(row.who())) }
                @if !row.claimed_initiators.is_empty() {
                    dt { "Flux or Argo CD object that it names, not verified" } dd { (foreign(&row.claimed_initiators)) }
                }
                dt { "Which environment and project?" } dd { (foreign(row.place())) }
                dt { "Was an approval required?" } dd { (required(row)) }
                dt { "Which approval?" } dd { (foreign(or_none(&row.approval()))) }
                dt { "Which capabilities?" } dd { (foreign(or_none(&row.capabilities.join(", ")))) }
                dt { "Action" } dd { (foreign(&row.operation)) " " (foreign(&row.action)) }
                dt { "Reasons" } dd { (foreign(or_none(&row.reasons()))) }
                dt { "Basis" } dd { (foreign(or_none(&row.basis))) }
                dt { "Enforcement" } dd { (foreign(or_none(&row.enforcement))) }
                dt { "Cluster" } dd { (foreign(or_none(&row.cluster))) }
                dt { "Spec hash" } dd .digest { (foreign(or_none(&row.spec_hash))) }
                dt { "Posture version" } dd .digest { (foreign(or_none(&row.posture_version))) }
                dt { "Id" } dd .digest { (foreign(&row.id)) }
                (place(reading, row, record.as_ref()))
            }
            details {
                summary { "The record as it was read" }
                @match &record {
                    Some(record) => { (tree(record)) }
                    None => { p .digest { (foreign(&seen.json)) } }
                }
            }
        }
    }
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "none" } else { text }
}

/// Whether the record is verified, and its place in the chain; of a record that is not verified, the place that it claims.
fn place(reading: &Reading, row: &Row, record: Option<&Value>) -> Markup {
    let (word, class) = standing(reading, row);
    let claim = record.and_then(|record| record.get("chain"));
    let claimed = |name: &str| claim.and_then(|claim| claim.get(name)).map(text).unwrap_or_default();
    html! {
        dt { "Verified?" }
        dd {
            span .badge .(class) { (word) }
            @if let Err(why) = &reading.verification { " " (foreign(why)) }
        }
        dt { "Place in the chain" }
        dd {
            @match &row.verified {
                Some(position) => {
                    "link " (position.sequence) " of " span .digest { (position.writer) }
                    ": the record is as a webhook sealed or signed it"
                }
                None if claim.is_some() => {
                    "the record claims to be link " (foreign(claimed("sequence"))) " of "
                    span .digest { (foreign(claimed("writer"))) }
                    "; this is not verified"
                }
                None => "none: the record is in no chain",
            }
        }
        @if claim.is_some() {
            dt { "Record before it" } dd .digest { (foreign(claimed("previous"))) }
        }
    }
}

/// A value as text: a string without quotes.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A JSON value as nested lists. The depth is that of the parser, 128.
fn tree(value: &Value) -> Markup {
    html! {
        @match value {
            Value::Object(members) if !members.is_empty() => {
                dl .tree { @for (name, value) in members { dt { (foreign(name)) } dd { (tree(value)) } } }
            }
            Value::Array(items) if !items.is_empty() => {
                ul .tree { @for item in items { li { (tree(item)) } } }
            }
            leaf => span .digest { (foreign(leaf.to_string())) },
        }
    }
}
