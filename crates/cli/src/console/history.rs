//! Decisions, from Events or from logs: a list with filters, one decision in full, and files for other programs.
//!
//! Rows, filters and verification are those of `audit` (`command/audit/history.rs`). `readings` keeps what was read.

mod decision;
mod export;
mod list;
pub(super) mod readings;

use std::path::PathBuf;

use axum::{
    Router,
    extract::{Request, State},
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use maud::{Markup, html};
use writgate_cluster::clock;

use crate::{
    command::audit::history::{DECISIONS, Filter, FilterFlags},
    console::{Console, PageError, Shared, foreign, history::readings::View, layout::lines, page, session::Prefix},
    failure::Failure,
    manifest::input,
};

/// The fields of the filters: name, label, and an example.
const FIELDS: [(&str, &str, &str); 7] = [
    ("who", "Person", "alice@acme.example"),
    ("object", "Object", "deployment/orders"),
    ("action", "Action", "deploy"),
    ("environment", "Environment", "production"),
    ("project", "Project", "payments"),
    ("since", "Since", "90m, 30d or 2026-11-22T10:00:00Z"),
    ("until", "Until", "90m, 30d or 2026-11-22T10:00:00Z"),
];

/// Filters with a field only if an address has them.
const FURTHER: [(&str, &str); 2] = [("reason", "Reason code"), ("approval", "Approval")];

fn is_filter(name: &str) -> bool {
    name == "decision"
        || FIELDS.iter().any(|(field, ..)| *field == name)
        || FURTHER.iter().any(|(field, _)| *field == name)
}

/// Logs to show in the history.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct LogFlags {
    /// Show the webhook's log FILE in the history; may be repeated
    #[arg(long, value_name = "FILE", help_heading = "History")]
    pub(crate) log: Vec<PathBuf>,
    /// Show the API server's audit log FILE, JSON lines, in the history; may be repeated
    #[arg(long, value_name = "FILE", help_heading = "History")]
    pub(crate) audit_log: Vec<PathBuf>,
    /// Public key of a webhook, PEM, to verify its log; may be repeated [default: the keys of the cluster's checkpoints]
    #[arg(long, value_name = "FILE", requires = "log", help_heading = "History")]
    pub(crate) webhook_key: Vec<PathBuf>,
}

impl LogFlags {
    /// Standard input can be read once only, and a page can be read again.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let mut files = self.log.iter().chain(&self.audit_log).chain(&self.webhook_key);
        match files.find(|file| input::is_stdin(file)) {
            Some(_) => {
                Err(Failure::Misuse("the console cannot read a log from standard input; pass a file".to_owned()))
            }
            None => Ok(()),
        }
    }
}

/// Where decisions are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Events,
    Log,
    AuditLog,
}

impl Source {
    const ALL: [Self; 3] = [Self::Events, Self::Log, Self::AuditLog];

    /// Its name in an address.
    fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Log => "log",
            Self::AuditLog => "audit-log",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Events => "Events of the cluster",
            Self::Log => "the webhook's log",
            Self::AuditLog => "the API server's audit log",
        }
    }

    fn is_given(self, console: &Console) -> bool {
        let logs = &console.settings.logs;
        match self {
            Self::Events => true,
            Self::Log => !logs.log.is_empty(),
            Self::AuditLog => !logs.audit_log.is_empty(),
        }
    }
}

/// What a page shows, as its address says.
#[derive(Clone, Debug)]
struct Query {
    prefix: Prefix,
    source: Source,
    /// The filters that are not empty.
    filters: Vec<(String, String)>,
    /// The page of the list, from 1.
    page: usize,
    /// The id of one decision.
    id: String,
    /// Whether the source is to be read again.
    again: bool,
}

impl Query {
    fn of(request: &Request, console: &Console) -> Result<Self, PageError> {
        // A log that was opened is what one wants to see.
        let source = [Source::Log, Source::AuditLog].into_iter().find(|source| source.is_given(console));
        let source = source.unwrap_or(Source::Events);
        let prefix = console.session.prefix();
        let mut query = Self { prefix, source, filters: Vec::new(), page: 1, id: String::new(), again: false };
        for (name, value) in form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes()) {
            match &*name {
                "source" => {
                    let named = Source::ALL.into_iter().find(|source| source.name() == value);
                    query.source = named.filter(|source| source.is_given(console)).ok_or_else(|| {
                        PageError::new(
                            StatusCode::NOT_FOUND,
                            "No such log",
                            "The console was started without this log; start it with --log FILE or --audit-log FILE.",
                        )
                    })?;
                }
                "page" => query.page = value.parse().unwrap_or(1).max(1),
                "id" => query.id = value.into_owned(),
                "again" => query.again = true,
                name if is_filter(name) && !value.trim().is_empty() => {
                    query.filters.push((name.to_owned(), value.trim().to_owned()));
                }
                _ => {}
            }
        }
        Ok(query)
    }

    fn flags(&self) -> Result<FilterFlags, Failure> {
        let flags = FilterFlags::from_fields(self.filters.iter().map(|(name, value)| (&**name, &**value)))?;
        Filter::of_fields(&flags, clock::now())?;
        Ok(flags)
    }

    /// The value of a filter.
    fn filter(&self, name: &str) -> &str {
        self.filters.iter().find(|(field, _)| field == name).map_or("", |(_, value)| value)
    }

    /// An address with the same source and filters.
    fn address(&self, path: &str, more: &[(&str, &str)]) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("source", self.source.name());
        query.extend_pairs(&self.filters).extend_pairs(more);
        self.prefix.at(&format!("{path}?{}", query.finish()))
    }
}

pub(super) fn router() -> Router<Shared> {
    Router::new()
        .route("/history", get(show))
        .route("/history/decision", get(decision::show))
        .route("/history/decisions.csv", get(export::csv))
        .route("/history/decisions.json", get(export::json))
}

async fn show(State(console): State<Shared>, request: Request) -> Result<Response, PageError> {
    let query = Query::of(&request, &console)?;
    if query.again {
        let source = query.source;
        // Waits for a reading that goes on.
        let forget = move |console: &Console| {
            console.readings.forget(source);
            Ok(())
        };
        console.blocking(forget).await?;
        return Ok((StatusCode::SEE_OTHER, [(header::LOCATION, query.address("/history", &[]))]).into_response());
    }
    let read = query.clone();
    let view = console.blocking(move |console| View::of(console, &read)).await;
    let (status, content) = match &view {
        Ok(view) => (StatusCode::OK, list::list(&query, view)),
        Err(failure) => (PageError::from(failure.clone()).status(), lines(&failure.to_string())),
    };
    let body = html! {
        (sources(&console, &query))
        (form(&query))
        (content)
    };
    Ok((status, page(&console, "History", body)).into_response())
}

fn sources(console: &Console, query: &Query) -> Markup {
    html! {
        p {
            "Decisions from "
            strong { (query.source.title()) }
            @for source in Source::ALL.into_iter().filter(|source| *source != query.source && source.is_given(console)) {
                " · "
                a href=(Query { source, ..query.clone() }.address("/history", &[])) { "Show " (source.title()) }
            }
        }
        p .hint { (hint(query.source)) }
    }
}

fn hint(source: Source) -> &'static str {
    match source {
        Source::Events => {
            "Events expire after an hour and are not evidence. For evidence, start the console with --log FILE, the webhook's log."
        }
        Source::Log => "All decisions in the log, in every namespace.",
        Source::AuditLog => {
            "All decisions in the audit log, in every namespace. The audit log is not signed, so it cannot be verified."
        }
    }
}

fn form(query: &Query) -> Markup {
    html! {
        form .filters method="get" action=(query.prefix.at("/history")) role="search" aria-label="Filter decisions" {
            input type="hidden" name="source" value=(query.source.name());
            @for (name, label, example) in FIELDS {
                div {
                    label for=(name) { (label) }
                    input #(name) type="text" name=(name) value=(foreign(query.filter(name))) placeholder=(example)
                        autocomplete="off" spellcheck="false";
                }
            }
            div {
                label for="decision" { "Decision" }
                select #decision name="decision" {
                    option value="" { "all but not-an-action" }
                    @for decision in DECISIONS {
                        option value=(decision) selected[query.filter("decision") == decision] { (decision) }
                    }
                }
            }
            @for (name, label) in FURTHER.into_iter().filter(|(name, _)| !query.filter(name).is_empty()) {
                div {
                    label for=(name) { (label) }
                    input #(name) type="text" name=(name) value=(foreign(query.filter(name)));
                }
            }
            div .actions {
                button .primary { "Filter" }
                " "
                a href=(Query { filters: Vec::new(), ..query.clone() }.address("/history", &[])) { "Clear the filters" }
            }
        }
    }
}
