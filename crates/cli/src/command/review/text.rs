//! A review as text: what is wrong first, then what is unusual, then the changes, then the rest.

use std::{collections::BTreeSet, fmt::Write as _};

use crate::{
    approval::{origin::Origin, signatures::ExistingSignature},
    command::review::{
        Baseline, ReportFact, ReviewReport, ReviewedWorkload,
        checklist::{CheckResult, Checklist, ChecklistItem},
        diff::{self, Concern, FieldChange},
        lines::{self, Marker, Room},
        unusual,
    },
    terminal::{
        output::{columns, shown},
        style,
    },
};

/// Fields that are not shown whole, at most, that the text names again.
const MAX_NAMED: usize = 10;

/// The whole report. `full` shows the API server's defaults of new objects, and values of any length.
pub(super) fn of(review: &ReviewReport, full: bool) -> String {
    let mut text = style::heading("To be signed") + "\n";
    text.push_str(&columns(review.asked.iter().map(|fact| (fact.name, said(fact)))));
    let wrong = review.wrong.iter().map(|wrong| style::bad(&shown(wrong)));
    section(&mut text, "WRONG: do not sign this", wrong);
    let refused =
        review.refused.iter().map(|one| format!("{}: {} ({})", one.reason, shown(&one.message), shown(&one.subject)));
    section(&mut text, "DENIED by the posture, whoever signs", refused);
    let several = review.workloads.len() > 1;
    let of_workloads = review.workloads.iter().map(|workload| {
        let whose = if several { format!("{}: ", shown(name(&workload.subject))) } else { String::new() };
        (whose, &workload.unusual[..])
    });
    let unusual = unusual::lines(std::iter::once((String::new(), &review.unusual[..])).chain(of_workloads));
    section(&mut text, "Look at this first", unusual.iter().map(|what| style::careful(&format!("! {what}"))));
    let mut room = room(full);
    for one in &review.workloads {
        workload(&mut text, one, &mut room, full);
    }
    if !full {
        let cut = review.not_shown_whole();
        let named = cut.iter().take(MAX_NAMED).cloned();
        let more = (cut.len() > MAX_NAMED).then(|| format!("and {} more", cut.len() - MAX_NAMED));
        section(&mut text, "Not shown whole: read these with --full before you sign", named.chain(more));
    }
    let capabilities = review.capabilities.iter().map(|needed| {
        let because: Vec<String> = needed.because.iter().map(|why| shown(why)).collect();
        let because = if because.is_empty() { String::new() } else { format!("  {}", because.join("; ")) };
        format!("{}{because}{}", shown(&needed.capability), mark(&needed.origin))
    });
    section(&mut text, "Required capabilities, and why", capabilities);
    if let Some(signers) = &review.signers {
        let could = if signers.could.is_empty() { "nobody".to_owned() } else { shown(&signers.could.join(", ")) };
        section(&mut text, "Who may sign", [signers.quorum.clone(), format!("could sign: {could}")]);
    }
    section(&mut text, "Signatures on the envelope", review.signatures.iter().map(ExistingSignature::text));
    checklist(&mut text, &review.checklist);
    text
}

/// Kind, namespace and name of a subject.
fn name(subject: &str) -> &str {
    subject.rmatch_indices('/').nth(2).map_or(subject, |(at, _)| subject.get(at + 1..).unwrap_or(subject))
}

fn said(fact: &ReportFact) -> String {
    shown(&fact.value) + &mark(&fact.origin)
}

/// The origin of a value that was not checked.
fn mark(origin: &Origin) -> String {
    match origin.mark() {
        mark if mark.is_empty() => mark,
        mark => style::faint(&mark),
    }
}

fn section(text: &mut String, title: &str, lines: impl IntoIterator<Item = String>) {
    let mut lines = lines.into_iter().peekable();
    if lines.peek().is_some() {
        let _ = writeln!(text, "\n{}", style::heading(title));
        lines.for_each(|line| {
            let _ = writeln!(text, "  {line}");
        });
    }
}

fn room(full: bool) -> Room {
    if full { Room::full() } else { Room::bounded() }
}

/// The fields that the text without `--full` does not show whole, each with its workload. Safe to print.
pub(super) fn not_shown_whole(workloads: &[ReviewedWorkload]) -> Vec<String> {
    let mut room = room(false);
    let mut cut = Vec::new();
    for one in workloads {
        let paths = changes(&mut String::new(), one, &mut room, false);
        cut.extend(paths.into_iter().map(|path| format!("{}: {}", shown(name(&one.subject)), shown(path))));
    }
    cut
}

fn workload(text: &mut String, one: &ReviewedWorkload, room: &mut Room, full: bool) {
    let how = match one.against {
        Baseline::Cluster if one.changes.is_empty() => "equal to the live object",
        Baseline::Cluster => "compared with the live object",
        Baseline::Nothing => "new: no live object has this name",
        Baseline::Unknown => "shown as new, since no cluster was contacted",
    };
    let subject = style::heading(&shown(&one.subject));
    let _ = writeln!(text, "\n{subject}: {how}\n  spec hash {} (computed here)", one.spec_hash);
    changes(text, one, room, full);
    let Some(claimed) = &one.claimed_changes else { return };
    let _ = writeln!(text, "  changes, claimed by the request; no cluster was contacted");
    if claimed.is_empty() {
        let _ = writeln!(text, "    none");
    }
    let mut claims = self::room(full);
    let left_out: usize = claimed.iter().filter(|change| !print(text, change, &mut claims)).count();
    if left_out > 0 {
        let _ = writeln!(text, "    {left_out} more claimed changes are not shown whole; --full shows them");
    }
}

/// Prints the changes of a workload. Returns the paths of those that are not shown whole.
fn changes<'c>(text: &mut String, one: &'c ReviewedWorkload, room: &mut Room, full: bool) -> Vec<&'c str> {
    let mut cut = Vec::new();
    let mut left_out = 0;
    for (concern, title) in [
        (Concern::Images, "images"),
        (Concern::Commands, "commands"),
        (Concern::Privileges, "privileges"),
        (Concern::Unknown, "fields that the API server drops"),
        (Concern::Rest, "other fields"),
    ] {
        let is_told = |change: &&FieldChange| change.concern == concern && (full || !change.is_default);
        let mut told = one.changes.iter().filter(is_told).peekable();
        if told.peek().is_some() && !room.is_used_up() {
            let _ = writeln!(text, "  {title}");
        }
        for change in told {
            left_out += usize::from(room.is_used_up());
            if !print(text, change, room) {
                cut.push(&*change.path);
            }
        }
    }
    if left_out > 0 {
        let _ = writeln!(text, "  {left_out} more fields are not shown; --full shows them");
    }
    let defaults: BTreeSet<String> = one
        .changes
        .iter()
        .filter(|change| change.is_default && !full)
        .map(|change| shown(short(&diff::without_items(&change.path))))
        .collect();
    if !defaults.is_empty() {
        let named: Vec<String> = defaults.into_iter().collect();
        let _ = writeln!(text, "  defaults: {}; --full shows them", named.join(", "));
    }
    cut
}

/// Prints a change as far as there is room. Returns whether it is shown whole.
fn print(text: &mut String, change: &FieldChange, room: &mut Room) -> bool {
    if room.is_used_up() {
        return false;
    }
    let unbound = if change.bound { String::new() } else { style::faint("  (not bound by the approval)") };
    let (lines, is_whole) = lines::of(change, short(&change.path), &unbound, room);
    for line in lines {
        let printed = format!("{} {}", line.marker.sign(), line.text);
        let styled = match line.marker {
            Marker::Added => style::good(&printed),
            Marker::Removed => style::bad(&printed),
            Marker::Changed => style::careful(&printed),
            Marker::Same => printed,
        };
        let _ = writeln!(text, "    {styled}");
    }
    is_whole
}

/// A path without its prefix up to the Pod spec, where most of what matters is.
fn short(path: &str) -> &str {
    ["spec.jobTemplate.spec.template.spec.", "spec.template.spec."]
        .into_iter()
        .find_map(|pod| path.strip_prefix(pod))
        .unwrap_or(path)
}

fn checklist(text: &mut String, checks: &[ChecklistItem]) {
    let titles = [
        (Checklist::Deployment, "Before approving a deployment"),
        (Checklist::Replay, "Before approving a replay"),
        (Checklist::Operator, "Always"),
    ];
    for (list, title) in titles {
        let lines = checks.iter().filter(|check| check.list == list).map(|check| {
            let verdict = match check.verdict {
                CheckResult::Ok(_) => style::good("ok  "),
                CheckResult::No => style::bad("NO  "),
                CheckResult::Look => style::careful("look"),
            };
            format!("{verdict}  {}: {}", check.line, check.found)
        });
        section(text, title, lines);
    }
}

#[cfg(test)]
mod tests;
