//! `explain`: prints the page about a reason code. The pages are `docs/reasons`; core includes them in its table of
//! reasons.

use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use serde_json::{Value, json};
use writgate_core::record::ReasonPage;

use crate::{
    command::Format,
    failure::{Answer, Failure},
    terminal::output::{self, columns, shown},
};

/// Explain a reason code, and what to do about it
///
/// Without a reason code, lists all of them.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  kubectl writgate explain SpecHashMismatch
  kubectl writgate explain
  kubectl writgate explain -o json")]
pub(crate) struct Arguments {
    /// Reason code, as in a denial or an Event
    #[arg(add = ArgValueCandidates::new(candidates))]
    reason: Option<String>,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    let asked = arguments.reason.as_deref().map(find).transpose()?;
    match (arguments.output, asked) {
        (Format::Json, Some(page)) => output::print_json(&to_json(page))?,
        (Format::Json, None) => output::print_json(&ReasonPage::all().map(to_json).collect::<Vec<_>>())?,
        (Format::Text, Some(page)) => output::print(page.text)?,
        (Format::Text, None) => {
            output::print(&columns(ReasonPage::all().map(|page| (page.code, page.summary().to_owned()))))?;
        }
    }
    Ok(Answer::Yes)
}

/// Least similarity of a suggestion (Jaro's measure, at most 1). clap uses the same value.
const ALIKE: f64 = 0.7;

/// The page about a reason code. The error suggests similar codes.
fn find(reason: &str) -> Result<ReasonPage, Failure> {
    if let Some(page) = ReasonPage::all().find(|page| page.code.eq_ignore_ascii_case(reason)) {
        return Ok(page);
    }
    let near = |page: &ReasonPage| strsim::jaro(&page.code.to_lowercase(), &reason.to_lowercase());
    let mut nearest: Vec<(f64, &str)> = ReasonPage::all().map(|page| (near(&page), page.code)).collect();
    nearest.retain(|(near, _)| *near > ALIKE);
    nearest.sort_by(|one, other| other.0.total_cmp(&one.0));
    let proposed: Vec<&str> = nearest.into_iter().take(3).map(|(_, code)| code).collect();
    let hint = if proposed.is_empty() { String::new() } else { format!("did you mean {}? ", proposed.join(" or ")) };
    Err(Failure::Misuse(format!(
        "unknown reason {}; {hint}`kubectl writgate explain` lists all reasons",
        shown(reason)
    )))
}

fn candidates() -> Vec<CompletionCandidate> {
    ReasonPage::all().map(|page| CompletionCandidate::new(page.code).help(Some(page.summary().into()))).collect()
}

/// The summary and the text of the page about a reason code.
pub(crate) fn page(code: &str) -> Option<(&'static str, &'static str)> {
    ReasonPage::all().find(|page| page.code == code).map(|page| (page.summary(), page.text))
}

fn to_json(page: ReasonPage) -> Value {
    json!({"code": page.code, "row": page.row, "summary": page.summary(), "text": page.text})
}
