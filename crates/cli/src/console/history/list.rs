//! The list of decisions: the five questions of an audit answered in a row each.

use maud::{Markup, html};

use super::{
    Query, Source,
    readings::{Reading, Seen, View},
};
use crate::{
    command::audit::history::{NOT_YET_SEALED, Required, Row, VerificationReport},
    console::{foreign, kept::freshness},
    failure::Failure,
};

/// Decisions of one page.
const PAGE: usize = 100;

/// The decisions that the query selects.
pub(super) fn list(query: &Query, view: &View) -> Markup {
    match view.rows() {
        Ok(rows) => found(query, view, &rows),
        Err(failure) => cannot(&failure),
    }
}

fn cannot(failure: &Failure) -> Markup {
    html! { div .message role="alert" { p { (foreign(failure.to_string())) } } }
}

fn found(query: &Query, view: &View, rows: &[&Seen]) -> Markup {
    let pages = rows.len().div_ceil(PAGE).max(1);
    let page = query.page.min(pages);
    let first = (page - 1) * PAGE;
    let shown: Vec<&Seen> = rows.iter().skip(first).take(PAGE).copied().collect();
    let selected = view.selected(rows.len());
    let caption = match shown.len() {
        0 => "No decision matches".to_owned(),
        count => format!(
            "Decisions {} to {} of {} that match, the newest first",
            grouped(first + 1),
            grouped(first + count),
            grouped(selected)
        ),
    };
    let kept = u64::try_from(rows.len()).unwrap_or(u64::MAX);
    html! {
        (freshness(view.reading.time, &query.address("/history", &[("again", "1")])))
        (troubles(query, &view.reading))
        (verification(query, &view.reading))
        @if selected > kept {
            p .hint {
                "This list ends after the newest " (grouped(kept)) " of " (grouped(selected)) " decisions. "
                "Filter the decisions, for example by time, to see older ones, or export all of them."
            }
        }
        @if shown.is_empty() {
            p { (caption) "." }
        } @else {
            div .scroll tabindex="0" role="region" aria-label="Decisions" { (table(query, &view.reading, &caption, &shown)) }
            (turn(query, page, pages))
        }
        p {
            "Export all that match: "
            a href=(query.address("/history/decisions.csv", &[])) download { "CSV" }
            " · "
            a href=(query.address("/history/decisions.json", &[])) download { "JSON lines" }
        }
        @if view.reading.verification.is_ok() {
            p .hint { "The JSON lines leave out records that are not verified. The CSV file has them, with the finding." }
        }
    }
}

/// What could not be read.
fn troubles(query: &Query, reading: &Reading) -> Markup {
    let counts = &reading.counts;
    let unreadable = reading.verification.as_ref().map_or(counts.unreadable, VerificationReport::unreadable_records);
    let is_no_log = query.source != Source::Events && counts.seen == 0 && unreadable == 0;
    html! {
        @if is_no_log {
            div .message role="alert" {
                p {
                    strong { "No decision was found. " }
                    @if counts.lines == 0 { "The log has no complete line. " }
                    @else { "None of the " (grouped(counts.lines)) " lines is a decision. " }
                    @match query.source {
                        Source::AuditLog => "Expected the API server's audit log as JSON lines, with the annotations of the webhook.",
                        _ => "Expected the webhook's standard output, as it was written or as a container runtime stores it.",
                    }
                }
            }
        }
        @if unreadable > 0 {
            div .message role="alert" {
                p { strong { "This list is incomplete: " (grouped(unreadable)) " of the records cannot be read." } }
                @for line in &reading.unreadable { p { (foreign(line)) } }
            }
        }
    }
}

fn verification(query: &Query, reading: &Reading) -> Markup {
    match &reading.verification {
        Ok(report) => html! {
            details open[!report.is_clean()] {
                summary {
                    "Verification: "
                    @if report.is_clean() && report.unreadable_records() == 0 { span .badge .good { "no findings" } }
                    @else { span .badge .bad { "not clean" } }
                }
                ul .lines { @for line in report.text().lines() { li { (foreign(line.trim_start())) } } }
                @if query.source == Source::Events {
                    p .hint { "Not every record has an Event, so missing records are not reported." }
                }
            }
        },
        Err(why) => html! {
            p { span .badge .careful { "not verified" } " " (foreign(why)) }
        },
    }
}

/// Whether a row is verified: the word, and the class that colours it.
pub(super) fn standing(reading: &Reading, row: &Row) -> (&'static str, &'static str) {
    match (&reading.verification, row.verified) {
        (Err(_), _) => ("not checked", "quiet"),
        (Ok(_), Some(_)) => ("verified", "good"),
        (Ok(_), None) if row.remarks.iter().any(|remark| remark == NOT_YET_SEALED) => ("not yet sealed", "careful"),
        (Ok(_), None) => ("not verified", "bad"),
    }
}

/// The class that colours an outcome.
pub(super) fn colour(row: &Row) -> &'static str {
    match &*row.decision {
        "admitted" if row.remarks.is_empty() => "good",
        "admitted" => "careful",
        "denied" => "bad",
        _ => "quiet",
    }
}

fn table(query: &Query, reading: &Reading, caption: &str, rows: &[&Seen]) -> Markup {
    html! {
        table {
            caption { (caption) }
            thead {
                tr {
                    th scope="col" { "Time (UTC)" }
                    th scope="col" { "Decision" }
                    th scope="col" { "Verified" }
                    th scope="col" { "Who" }
                    th scope="col" { "Action and object" }
                    th scope="col" { "Environment / project" }
                    th scope="col" { "Approval required" }
                    th scope="col" { "Approval" }
                    th scope="col" { "Capabilities" }
                    th scope="col" { "Reasons" }
                }
            }
            tbody { @for seen in rows { (line(query, reading, &seen.row)) } }
        }
    }
}

fn line(query: &Query, reading: &Reading, row: &Row) -> Markup {
    let (word, class) = standing(reading, row);
    html! {
        tr {
            th scope="row" {
                a href=(query.address("/history/decision", &[("id", &row.id)])) {
                    (row.time.strftime("%Y-%m-%d %H:%M:%S"))
                }
            }
            td { span .badge .(colour(row)) { (foreign(row.outcome())) } }
            td { span .badge .(class) { (word) } }
            td { (cell(row.who())) }
            td { (cell(&row.action)) " " (foreign(row.object())) }
            td { (cell(row.place())) }
            td { (required(row)) }
            td .digest { (cell(row.approval())) }
            td { (cell(row.capabilities.join(", "))) }
            td { (cell(row.reasons())) }
        }
    }
}

/// A cell, with a word if it is empty.
fn cell(text: impl AsRef<str>) -> Markup {
    let text = text.as_ref();
    html! { @if text.is_empty() { span .quiet { "none" } } @else { (foreign(text)) } }
}

/// Whether an approval was required.
pub(super) fn required(row: &Row) -> &'static str {
    match row.required {
        Required::Yes => "yes",
        Required::No => "no",
        Required::NotChecked => "not checked",
        Required::Unknown => "unknown",
    }
}

/// The links to the pages before and after.
fn turn(query: &Query, page: usize, pages: usize) -> Markup {
    let link = |page: usize| query.address("/history", &[("page", &page.to_string())]);
    html! {
        @if pages > 1 {
            nav aria-label="Pages of decisions" {
                p {
                    @if page > 1 { a href=(link(page - 1)) rel="prev" { "Newer" } " · " }
                    "Page " (grouped(page)) " of " (grouped(pages))
                    @if page < pages { " · " a href=(link(page + 1)) rel="next" { "Older" } }
                }
            }
        }
    }
}

/// A number with a comma after each group of three digits.
fn grouped(number: impl std::fmt::Display + Copy) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn groups_the_digits_of_a_number() {
        let numbers = [0, 999, 1_000, 12_345, 1_000_000];
        assert_eq!(numbers.map(|number: u64| grouped(number)), ["0", "999", "1,000", "12,345", "1,000,000"]);
    }
}
