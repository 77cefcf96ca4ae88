//! A review as blocks of titles and lines: what the text and the console's page show, in this order: what is wrong, then what
//! is unusual, then the changes, then the rest. Only styles and markup are left to them.

use std::collections::BTreeSet;

use crate::{
    approval::signatures::ExistingSignature,
    command::review::{
        Baseline, ReviewReport, ReviewedWorkload,
        checklist::{CheckResult, Checklist},
        clusters::ReviewedCluster,
        diff::{self, Concern, FieldChange},
        lines::{self, Line, Room},
        unusual,
    },
    terminal::output::shown,
};

/// Fields that are not shown whole, at most, that the end of a review names again.
const MAX_NAMED: usize = 10;

/// A part of a review. Every text in it is safe to print.
pub(crate) enum Block {
    /// Names and values.
    Facts { title: &'static str, facts: Vec<(&'static str, Marked)> },
    /// A title and lines.
    Lines { title: &'static str, tone: Tone, lines: Vec<Marked> },
    /// A workload and its changes.
    Workload(WorkloadView),
    /// The fields that are not shown whole.
    NotWhole(Vec<String>),
    /// A part of the guidance's checklist.
    Checklist { title: &'static str, items: Vec<CheckedItem> },
}

/// How serious the lines of a block are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    /// A reason not to sign.
    Wrong,
    /// Something to look at first.
    Careful,
}

/// A text, and a note about where it comes from, if nobody checked it.
pub(crate) struct Marked {
    pub(crate) text: String,
    pub(crate) mark: String,
}

/// An item of the checklist.
pub(crate) struct CheckedItem {
    pub(crate) verdict: CheckResult,
    /// The item's text in the guide.
    pub(crate) line: &'static str,
    /// What was found.
    pub(crate) found: String,
}

/// A workload and its changes.
pub(crate) struct WorkloadView {
    pub(crate) subject: String,
    /// What it was compared with.
    pub(crate) how: &'static str,
    pub(crate) spec_hash: String,
    pub(crate) changes: ShownChanges,
    /// The changes that the request claims, and how many of them are not shown whole.
    pub(crate) claimed: Option<(Vec<Line>, usize)>,
}

/// The changes of a workload as far as there is room.
#[derive(Default)]
pub(crate) struct ShownChanges {
    /// What the changes are about, the most important first, with their lines.
    pub(crate) groups: Vec<(&'static str, Vec<Line>)>,
    /// How many further fields are not shown.
    pub(crate) left_out: usize,
    /// The API server's defaults that are named only.
    pub(crate) defaults: Vec<String>,
    /// The paths of the fields that are not shown whole.
    cut: Vec<String>,
}

/// The whole report. `full` shows the API server's defaults of new objects, and values of any length.
pub(crate) fn of(review: &ReviewReport, full: bool) -> Vec<Block> {
    let asked = review.asked.iter();
    let facts = asked.map(|fact| (fact.name, Marked { text: shown(&fact.value), mark: fact.origin.mark() }));
    let mut blocks = vec![Block::Facts { title: "To be signed", facts: facts.collect() }];
    let mut lines = |title, tone, lines: Vec<Marked>| {
        if !lines.is_empty() {
            blocks.push(Block::Lines { title, tone, lines });
        }
    };
    let wrong = review.wrong.iter().map(|wrong| shown(wrong).into());
    lines("WRONG: do not sign this", Tone::Wrong, wrong.collect());
    let refused = review.refused.iter();
    let refused =
        refused.map(|one| format!("{}: {} ({})", one.reason, shown(&one.message), shown(&one.subject)).into());
    lines("DENIED by the posture, whoever signs", Tone::Plain, refused.collect());
    lines(
        "DENIED in another cluster, whoever signs",
        Tone::Plain,
        review.denied_elsewhere().map(Marked::from).collect(),
    );
    let several = review.workloads.len() > 1;
    let of_workloads = review.workloads.iter().map(|workload| {
        let whose = if several { format!("{}: ", shown(name(&workload.subject))) } else { String::new() };
        (whose, &workload.unusual[..])
    });
    let unusual = unusual::lines(std::iter::once((String::new(), &review.unusual[..])).chain(of_workloads));
    lines("Look at this first", Tone::Careful, unusual.into_iter().map(Marked::from).collect());
    let mut room = room(full);
    let own = review.cluster.as_ref().map(|cluster| format!(" in cluster {}", shown(cluster))).unwrap_or_default();
    blocks.extend(review.workloads.iter().map(|one| Block::Workload(workload(one, &own, &mut room, full))));
    for other in &review.other_clusters {
        let place = format!(" in {}", other.name());
        blocks.extend(other.workloads.iter().map(|one| Block::Workload(workload(one, &place, &mut room, full))));
    }
    let cut = review.not_shown_whole();
    if !full && !cut.is_empty() {
        let more = (cut.len() > MAX_NAMED).then(|| format!("and {} more", cut.len() - MAX_NAMED));
        blocks.push(Block::NotWhole(cut.iter().take(MAX_NAMED).cloned().chain(more).collect()));
    }
    let mut lines = |title, lines: Vec<Marked>| {
        if !lines.is_empty() {
            blocks.push(Block::Lines { title, tone: Tone::Plain, lines });
        }
    };
    let capabilities = review.capabilities.iter().map(|needed| {
        let because: Vec<String> = needed.because.iter().map(|why| shown(why)).collect();
        let because = if because.is_empty() { String::new() } else { format!("  {}", because.join("; ")) };
        Marked { text: format!("{}{because}", shown(&needed.capability)), mark: needed.origin.mark() }
    });
    lines("Required capabilities, and why", capabilities.collect());
    if let Some(signers) = &review.signers {
        let could = if signers.could.is_empty() { "nobody".to_owned() } else { shown(&signers.could.join(", ")) };
        lines("Who may sign", vec![signers.quorum.clone().into(), format!("could sign: {could}").into()]);
    }
    lines(
        "Signatures on the envelope",
        review.signatures.iter().map(ExistingSignature::text).map(Marked::from).collect(),
    );
    blocks.extend(checklists(review));
    blocks
}

impl From<String> for Marked {
    fn from(text: String) -> Self {
        Self { text, mark: String::new() }
    }
}

/// Kind, namespace and name of a subject.
fn name(subject: &str) -> &str {
    subject.rmatch_indices('/').nth(2).map_or(subject, |(at, _)| subject.get(at + 1..).unwrap_or(subject))
}

fn room(full: bool) -> Room {
    if full { Room::full() } else { Room::bounded() }
}

/// The fields that the review without `full` does not show whole, each with its workload. Safe to print.
pub(super) fn not_shown_whole(workloads: &[ReviewedWorkload], others: &[ReviewedCluster]) -> Vec<String> {
    let mut room = room(false);
    let mut cut = Vec::new();
    let own = workloads.iter().map(|one| (shown(name(&one.subject)), one));
    let elsewhere = others.iter().flat_map(|other| {
        other.workloads.iter().map(|one| (format!("{} in {}", shown(name(&one.subject)), other.name()), one))
    });
    for (whose, one) in own.chain(elsewhere) {
        let changes = changes(one, &mut room, false);
        cut.extend(changes.cut.iter().map(|path| format!("{whose}: {}", shown(path))));
    }
    cut
}

/// `place` follows the subject, if the approval is for several clusters.
fn workload(one: &ReviewedWorkload, place: &str, room: &mut Room, full: bool) -> WorkloadView {
    let how = match one.against {
        Baseline::Cluster if one.recreated && one.changes.is_empty() => {
            "equal to the live object, which is deleted and created again"
        }
        Baseline::Cluster if one.recreated => "compared with the live object, which is deleted and created again",
        Baseline::Cluster if one.changes.is_empty() => "equal to the live object",
        Baseline::Cluster => "compared with the live object",
        Baseline::Nothing => "new: no live object has this name",
        Baseline::Unknown => "shown as new, since no cluster was contacted",
    };
    let claimed = one.claimed_changes.as_ref().map(|claimed| {
        let mut room = self::room(full);
        let mut lines = Vec::new();
        let cut = claimed.iter().filter(|change| !add(&mut lines, change, &mut room)).count();
        (lines, cut)
    });
    WorkloadView {
        subject: shown(&one.subject) + place,
        how,
        spec_hash: one.spec_hash.clone(),
        changes: changes(one, room, full),
        claimed,
    }
}

fn changes(one: &ReviewedWorkload, room: &mut Room, full: bool) -> ShownChanges {
    let mut all = ShownChanges::default();
    for (concern, title) in [
        (Concern::Images, "images"),
        (Concern::Commands, "commands"),
        (Concern::Privileges, "privileges"),
        (Concern::Unknown, "fields that the API server drops"),
        (Concern::Rest, "other fields"),
    ] {
        let is_told = |change: &&FieldChange| change.concern == concern && (full || !change.is_default);
        let mut told = one.changes.iter().filter(is_told).peekable();
        let has_group = told.peek().is_some() && !room.is_used_up();
        let mut lines = Vec::new();
        for change in told {
            all.left_out += usize::from(room.is_used_up());
            if !add(&mut lines, change, room) {
                all.cut.push(change.path.clone());
            }
        }
        if has_group {
            all.groups.push((title, lines));
        }
    }
    let defaults = one.changes.iter().filter(|change| change.is_default && !full);
    let defaults: BTreeSet<String> = defaults.map(|change| shown(short(&diff::without_items(&change.path)))).collect();
    all.defaults = defaults.into_iter().collect();
    all
}

/// Adds the lines of a change as far as there is room. Returns whether it is shown whole.
fn add(all: &mut Vec<Line>, change: &FieldChange, room: &mut Room) -> bool {
    if room.is_used_up() {
        return false;
    }
    let unbound = if change.bound { "" } else { "(not bound by the approval)" };
    let (lines, is_whole) = lines::of(change, short(&change.path), unbound, room);
    all.extend(lines);
    is_whole
}

/// A path without its prefix up to the Pod spec, where most of what matters is.
fn short(path: &str) -> &str {
    ["spec.jobTemplate.spec.template.spec.", "spec.template.spec."]
        .into_iter()
        .find_map(|pod| path.strip_prefix(pod))
        .unwrap_or(path)
}

fn checklists(review: &ReviewReport) -> impl Iterator<Item = Block> {
    let titles = [
        (Checklist::Deployment, "Before approving a deployment"),
        (Checklist::Replay, "Before approving a replay"),
        (Checklist::Operator, "Always"),
    ];
    titles.into_iter().filter_map(|(list, title)| {
        let items = review.checklist.iter().filter(|check| check.list == list);
        let items: Vec<CheckedItem> = items
            .map(|check| CheckedItem { verdict: check.verdict, line: check.line, found: check.found.clone() })
            .collect();
        (!items.is_empty()).then_some(Block::Checklist { title, items })
    })
}

#[cfg(test)]
mod tests;
