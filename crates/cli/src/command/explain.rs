//! `explain`: the page of a reason, as docs/reasons has it.
//!
//! The pages are what people read at three in the morning, on a screen or in the repository; both are the same text.
//! Core's tests hold each page's example against a decision.

use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use serde_json::{Value, json};
use writgate_core::record::REASONS;

use crate::{
    command::Format,
    failure::{Answer, Failure},
    terminal::output::{self, columns, shown},
};

/// Tell what a reason means, and what to do about it
///
/// Without a reason it lists all of them.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  kubectl writgate explain SpecHashMismatch
  kubectl writgate explain
  kubectl writgate explain -o json")]
pub(crate) struct Arguments {
    /// The reason, as a denial or an Event names it
    #[arg(add = ArgValueCandidates::new(candidates))]
    reason: Option<String>,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    let asked = arguments.reason.as_deref().map(find).transpose()?;
    match (arguments.output, asked) {
        (Format::Json, Some(page)) => output::print_json(&page.to_json())?,
        (Format::Json, None) => output::print_json(&PAGES.iter().map(Page::to_json).collect::<Vec<_>>())?,
        (Format::Text, Some(page)) => output::print(page.text)?,
        (Format::Text, None) => {
            output::print(&columns(PAGES.iter().map(|page| (page.code, page.summary().to_owned()))))?;
        }
    }
    Ok(Answer::Yes)
}

/// How like a word must be to be proposed, of 1 (Jaro's measure); clap has the same for its own words.
const ALIKE: f64 = 0.7;

/// The page of a reason, or the names that come near.
fn find(reason: &str) -> Result<&'static Page, Failure> {
    if let Some(page) = PAGES.iter().find(|page| page.code.eq_ignore_ascii_case(reason)) {
        return Ok(page);
    }
    let near = |page: &Page| strsim::jaro(&page.code.to_lowercase(), &reason.to_lowercase());
    let mut nearest: Vec<(f64, &str)> = PAGES.iter().map(|page| (near(page), page.code)).collect();
    nearest.retain(|(near, _)| *near > ALIKE);
    nearest.sort_by(|one, other| other.0.total_cmp(&one.0));
    let proposed: Vec<&str> = nearest.into_iter().take(3).map(|(_, code)| code).collect();
    let hint = if proposed.is_empty() { String::new() } else { format!("did you mean {}? ", proposed.join(" or ")) };
    Err(Failure::Misuse(format!("there is no reason {}; {hint}`kubectl writgate explain` lists all", shown(reason))))
}

fn candidates() -> Vec<CompletionCandidate> {
    PAGES.iter().map(|page| CompletionCandidate::new(page.code).help(Some(page.summary().into()))).collect()
}

/// What is written about one reason.
struct Page {
    code: &'static str,
    text: &'static str,
}

impl Page {
    /// What it means in a line: the page's first, after its title.
    fn summary(&self) -> &'static str {
        self.text.lines().nth(2).unwrap_or_default()
    }

    /// The row of the table of checks; none for an Event's reason that is no denial's.
    fn row(&self) -> Option<u8> {
        REASONS.iter().find(|(_, code)| *code == self.code).map(|(row, _)| *row)
    }

    fn to_json(&self) -> Value {
        json!({"code": self.code, "row": self.row(), "summary": self.summary(), "text": self.text})
    }
}

/// What a reason means, in a line and on its page, for other renderings.
pub(crate) fn page(code: &str) -> Option<(&'static str, &'static str)> {
    PAGES.iter().find(|page| page.code == code).map(|page| (page.summary(), page.text))
}

macro_rules! pages {
    ($($code:literal)*) => {
        &[$(Page { code: $code, text: include_str!(concat!("../../../../docs/reasons/", $code, ".md")) }),*]
    };
}

/// In the order of the table of checks; reasons that only Events have come last.
const PAGES: &[Page] = pages! {
    "MalformedReview"
    "UnsupportedKind"
    "PostureMissing"
    "PostureInvalid"
    "NamespaceNotListed"
    "WorkloadNotAllowed"
    "RevocationLifted"
    "InUse"
    "QuorumUnreachable"
    "BundleInvalid"
    "GovernanceInvalid"
    "GovernRequired"
    "StatusMetadata"
    "ApprovalRequired"
    "MalformedApproval"
    "UnknownKey"
    "InvalidSignature"
    "SpecHashMismatch"
    "WrongResource"
    "WrongEnvironment"
    "WrongCluster"
    "WrongProject"
    "WrongAction"
    "NotYetValid"
    "Expired"
    "LifetimeTooLong"
    "Revoked"
    "InsufficientCapabilities"
    "SelfApproval"
    "QuorumNotMet"
    "PipelineVersionMismatch"
    "NotCanonicalBuild"
    "ConfigBundleMismatch"
    "ImageNotPinned"
    "SourceEnvironmentMismatch"
    "SourceArtifactMismatch"
    "IncidentMismatch"
    "AlreadyUsed"
    "LookupFailed"
    "NotRecorded"
    "NotPersisted"
    "RollbackAdmitted"
    "BreakGlassAdmitted"
};

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs};

    use super::*;

    #[test]
    fn every_reason_has_a_page_in_the_order_of_the_table() {
        let told: Vec<_> = PAGES.iter().filter_map(|page| Some((page.row()?, page.code))).collect();
        assert_eq!(told, REASONS);
        let known: BTreeSet<String> = PAGES.iter().map(|page| format!("{}.md", page.code)).collect();
        let mut files: BTreeSet<String> = fs::read_dir(writgate_testing::repository().join("docs/reasons"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert!(files.remove("README.md"));
        assert_eq!(files, known);
    }

    #[test]
    fn every_page_is_made_alike() {
        for page in PAGES {
            let lines: Vec<&str> = page.text.lines().collect();
            assert_eq!(lines[0], format!("# {}", page.code));
            assert!(page.summary().ends_with('.') && page.summary().len() <= 110, "{}", page.code);
            let place =
                page.row().map_or("Reason of an Event.".to_owned(), |row| format!("Row {row} of the table of checks"));
            assert!(lines[4].starts_with(&place) && lines[4].contains(" For "), "{}", page.code);
            for part in ["What happened", "Look at", "Do"] {
                assert!(page.text.contains(&format!("\n## {part}\n\n")), "{}: {part}", page.code);
            }
        }
    }

    #[test]
    fn the_index_lists_every_page() {
        let index = fs::read_to_string(writgate_testing::repository().join("docs/reasons/README.md")).unwrap();
        for page in PAGES {
            let row = page.row().map(|row| format!("| {row} ")).unwrap_or_default();
            let line = format!("\n{row}| [{code}]({code}.md) | {} |\n", page.summary(), code = page.code);
            assert!(index.contains(&line), "{line}");
        }
        assert_eq!(index.matches("](").count(), PAGES.len());
    }
}
