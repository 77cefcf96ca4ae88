//! A review as text: what is wrong first, then what is unusual, then the changes, then the rest.

use std::fmt::Write as _;

use serde_json::Value;

use crate::{
    approval::{origin::Origin, signatures::ExistingSignature},
    command::review::{
        Baseline, ReportFact, ReviewReport, ReviewedWorkload,
        checklist::{CheckResult, Checklist, ChecklistItem},
        diff::{Concern, FieldChange},
        unusual,
    },
    terminal::{
        output::{columns, shown},
        style,
    },
};

/// A longer value is shortened to the part that differs.
const LONG: usize = 160;
/// Equal characters that are shown before a difference.
const BEFORE: usize = 24;

/// The whole report. `full` shows every field of new objects, and complete values.
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
    for one in &review.workloads {
        workload(&mut text, one, full);
    }
    if !full {
        let cut = review.not_shown_whole().iter().cloned();
        section(&mut text, "Not shown whole: read these with --full before you sign", cut);
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

fn workload(text: &mut String, one: &ReviewedWorkload, full: bool) {
    let how = match one.against {
        Baseline::Cluster if one.changes.is_empty() => "equal to the live object",
        Baseline::Cluster => "compared with the live object",
        Baseline::Nothing => "new: no live object has this name",
        Baseline::Request => "compared with the live object that the request claims; no cluster was contacted",
        Baseline::Unknown => "all fields, since no cluster was contacted",
    };
    let subject = style::heading(&shown(&one.subject));
    let _ = writeln!(text, "\n{subject}: {how}\n  spec hash {} (computed here)", one.spec_hash);
    let compared = matches!(one.against, Baseline::Cluster | Baseline::Request);
    for (concern, title) in [
        (Concern::Images, "images"),
        (Concern::Privileges, "privileges"),
        (Concern::Unknown, "fields that Kubernetes does not have"),
        (Concern::Rest, "the rest"),
    ] {
        // A new and empty field has no effect.
        let matters = |change: &&FieldChange| full || compared || !is_empty(change.new.as_ref());
        let changes: Vec<&FieldChange> =
            one.changes.iter().filter(|change| change.concern == concern).filter(matters).collect();
        if changes.is_empty() {
            continue;
        }
        if concern == Concern::Rest && !compared && !full {
            let _ = writeln!(text, "  {title}: {} fields; --full shows them", changes.len());
            continue;
        }
        let _ = writeln!(text, "  {title}");
        for change in changes {
            let _ = writeln!(text, "    {}", line(change, full));
        }
    }
}

fn is_empty(value: Option<&Value>) -> bool {
    match value {
        Some(Value::Object(fields)) => fields.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        other => other.is_none(),
    }
}

fn line(change: &FieldChange, full: bool) -> String {
    let path = shown(short(&change.path));
    let unbound = if change.bound { String::new() } else { style::faint("  (not bound by the approval)") };
    let whole = |value: &Value| if full { shown(&value.to_string()) } else { around(value, 0) };
    match (&change.old, &change.new) {
        (Some(old), Some(new)) => {
            let from = if full { 0 } else { first_difference(old, new) };
            let show = |value: &Value| if full { shown(&value.to_string()) } else { around(value, from) };
            style::careful(&format!("~ {path}: {} -> {}", show(old), show(new))) + &unbound
        }
        (None, Some(new)) => style::good(&format!("+ {path}: {}", whole(new))) + &unbound,
        (Some(old), None) => style::bad(&format!("- {path}: {}", whole(old))) + &unbound,
        (None, None) => style::careful(&format!("~ {path}")) + &unbound,
    }
}

/// A path without its prefix up to the Pod spec, where most of what matters is.
fn short(path: &str) -> &str {
    ["spec.jobTemplate.spec.template.spec.", "spec.template.spec."]
        .into_iter()
        .find_map(|pod| path.strip_prefix(pod))
        .unwrap_or(path)
}

fn first_difference(old: &Value, new: &Value) -> usize {
    old.to_string().chars().zip(new.to_string().chars()).take_while(|(old, new)| old == new).count()
}

/// A value; of a long one, the part around the character at `from`.
fn around(value: &Value, from: usize) -> String {
    let text = value.to_string();
    let length = text.chars().count();
    if length <= LONG {
        return shown(&text);
    }
    let skipped = from.saturating_sub(BEFORE).min(length - LONG);
    let part: String = text.chars().skip(skipped).take(LONG).collect();
    let before = if skipped > 0 { "[...]" } else { "" };
    let after = if skipped + LONG < length { "[...]" } else { "" };
    format!("{before}{}{after} ({length} characters; --full shows all)", shown(&part))
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
