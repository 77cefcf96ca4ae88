//! What runs: the workloads of governed namespaces, with the approval that covers each of them. The data of `coverage`.

use axum::{
    Router,
    extract::{Request, State},
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};
use writgate_core::{decide::Coverage, record::ApprovalRecord};

use crate::{
    command::coverage::{self, CoverageReport, WorkloadCoverage},
    console::{
        Console, PageError, Shared, foreign,
        kept::{freshness, is_again},
        layout::lines,
        page,
    },
};

/// The address of the page.
const PATH: &str = "/running";
/// An approval that expires earlier than this is marked.
const SOON: SignedDuration = SignedDuration::from_hours(24);

pub(super) fn router() -> Router<Shared> {
    Router::new().route(PATH, get(show))
}

/// The address that reads again.
fn again_at(console: &Console) -> String {
    console.at("/running?again=1")
}

async fn show(State(console): State<Shared>, request: Request) -> Response {
    let again = is_again(request.uri().query());
    let read = console.blocking(move |console| {
        let settings = &console.settings;
        console.coverage.get(console, again, || coverage::of_scope(&settings.scope, &settings.kinds, &settings.cluster))
    });
    let (status, content) = match read.await {
        // So that a browser that loads the page again does not read the cluster again.
        Ok(_) if again => return (StatusCode::SEE_OTHER, [(header::LOCATION, console.at(PATH))]).into_response(),
        Ok(reading) => {
            let body = html! {
                (freshness(reading.time, &again_at(&console)))
                (report(&reading.content, reading.time))
            };
            (StatusCode::OK, body)
        }
        Err(failure) => {
            let why = failure.to_string();
            let body = html! {
                (lines(&why))
                p { a href=(again_at(&console)) { "Read again" } }
            };
            (PageError::from(failure).status(), body)
        }
    };
    (status, page(&console, "What runs", content)).into_response()
}

/// The report as `coverage` has it: the worst first.
pub(super) fn report(report: &CoverageReport, now: Timestamp) -> Markup {
    let of = |covered: Option<bool>| -> Vec<&WorkloadCoverage> {
        report.workloads.iter().filter(|row| row.coverage.is_covered() == covered).collect()
    };
    html! {
        p { (foreign(report.counts())) }
        @if report.workloads.is_empty() { p { "No workload was found." } }
        (uncovered("No approval covers them", &of(Some(false))))
        (uncovered("Not known", &of(None)))
        (covered(&of(Some(true)), now))
    }
}

fn uncovered(title: &str, rows: &[&WorkloadCoverage]) -> Markup {
    html! {
        @if !rows.is_empty() {
            section {
                h2 { (title) " (" (rows.len()) ")" }
                div .scroll tabindex="0" role="region" aria-label=(title) {
                    table {
                        caption { "Workloads that were not approved as they are, the worst first" }
                        (head(&["Workload", "Coverage", "Environment / project", "Why", "What it can do without a check"]))
                        tbody { @for row in rows {
                            tr {
                                (name(row))
                                td { (badge(row.coverage)) }
                                td { (place(row)) }
                                td { (foreign(row.cause())) }
                                td { @for (index, one) in row.unchecked.iter().enumerate() {
                                    @if index > 0 { "; " } (one.to_string())
                                } }
                            }
                        } }
                    }
                }
            }
        }
    }
}

fn covered(rows: &[&WorkloadCoverage], now: Timestamp) -> Markup {
    html! {
        @if !rows.is_empty() {
            section {
                h2 { "Covered (" (rows.len()) ")" }
                p .hint { "An expired approval counts: the workload was approved as it is while the approval was valid." }
                div .scroll tabindex="0" role="region" aria-label="Covered" {
                    table {
                        caption { "Workloads that run under an approval, or require none" }
                        (head(&["Workload", "Coverage", "Environment / project", "Approval", "Signed by", "Expires"]))
                        tbody { @for row in rows {
                            @match &*row.approvals {
                                [] => {
                                    tr {
                                        (name(row))
                                        td { (badge(row.coverage)) }
                                        td { (place(row)) }
                                        td colspan="3" { span .quiet { "none required" } }
                                    }
                                }
                                approvals => {
                                    @for approval in approvals {
                                        tr {
                                            (name(row))
                                            td { (badge(row.coverage)) }
                                            td { (place(row)) }
                                            td .digest { (foreign(&approval.id)) }
                                            td { (foreign(approval.reviewers.join(", "))) }
                                            td { (expiry(approval, now)) }
                                        }
                                    }
                                }
                            }
                        } }
                    }
                }
            }
        }
    }
}

fn head(columns: &[&str]) -> Markup {
    html! { thead { tr { @for column in columns { th scope="col" { (column) } } } } }
}

fn name(row: &WorkloadCoverage) -> Markup {
    let object = &row.object;
    html! { th scope="row" { (foreign(format!("{} {}/{}", object.kind, object.namespace, object.name))) } }
}

fn place(row: &WorkloadCoverage) -> Markup {
    let parts: Vec<&str> = [&row.environment, &row.project].into_iter().flatten().map(String::as_str).collect();
    html! { (foreign(parts.join(" / "))) }
}

fn badge(coverage: Coverage) -> Markup {
    let class = match coverage.is_covered() {
        Some(false) => "bad",
        None => "careful",
        Some(true) if coverage == Coverage::Expired => "careful",
        Some(true) => "good",
    };
    html! { span .badge .(class) { (coverage.as_str()) } }
}

/// When an approval expires, with a word for what has passed or is near.
fn expiry(approval: &ApprovalRecord, now: Timestamp) -> Markup {
    let left = approval.expires_at.duration_since(now);
    html! {
        time { (approval.expires_at) }
        @if left <= SignedDuration::ZERO { " " span .badge .careful { "expired" } }
        @else if left < SOON { " " span .badge .careful { "within a day" } }
    }
}
