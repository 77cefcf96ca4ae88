//! `--verify`: which records a webhook has sealed, and what is forged, altered or missing. Core verifies. This file has
//! the keys, the positions of findings, and the report.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fmt::Write as _,
    path::PathBuf,
};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{ListParams, ObjectList},
};
use uuid::Uuid;
use writgate_cluster::checkpoint::{SELECTOR, in_config_map};
use writgate_core::{
    approval::PublicKey,
    record::{
        ChainFinding, ChainPosition, ChainReport, ChainSummary, ChainVerifier, CheckedLine, Checkpoint, Fork,
        LineOutcome, LogLine, Settlement, UnverifiedClaims, VerifiedLine,
    },
};

use crate::{
    cluster::Cluster,
    command::audit::source::{HeldLine, Source},
    failure::Failure,
    manifest::input,
    terminal::output::shown,
};

/// ConfigMaps per page of a list.
const PAGE: u32 = 500;
/// Findings whose positions are remembered. Core has the same limit.
const MAX_POSITIONS: usize = 10_000;
/// Records that appear more than once, and links that are not shown, that are named one by one; the rest are counted.
const MAX_NAMED: usize = 10;
/// Repeated records whose copies are counted one by one.
const MAX_REPEATED: usize = 1_000;
/// The verdict on a log without links.
const UNPROVED: &str = "nothing is verified, because no line is a link of a chain";

/// The state of a verification.
pub(crate) struct Verification {
    verifier: ChainVerifier,
    /// The position of each finding, in order.
    positions: VecDeque<(String, ChainFinding)>,
    /// Problems with checkpoints.
    remarks: Vec<String>,
    /// The copies of repeated records, by writer and sequence, with the record's id. At most [`MAX_REPEATED`].
    repeated: BTreeMap<(Uuid, u64), (Uuid, u64)>,
    /// Links that no row shows, because they are not records of this version. At most [`MAX_NAMED`].
    not_shown: Vec<String>,
    /// Lines that wait for their seal, by their number. Core bounds them.
    held: HashMap<u64, HeldLine>,
}

/// A line that no longer waits for its seal.
pub(super) struct SettledLine {
    pub(super) line: HeldLine,
    pub(super) copies: u64,
    pub(super) settlement: Settlement,
}

impl Verification {
    /// Verifies with `verifier`.
    pub(super) fn with(verifier: ChainVerifier) -> Self {
        Self {
            verifier,
            positions: VecDeque::new(),
            remarks: Vec::new(),
            repeated: BTreeMap::new(),
            not_shown: Vec::new(),
            held: HashMap::new(),
        }
    }

    /// Verifies with the keys in these files, or, if there are none, with the cluster's checkpoints.
    pub(crate) fn by(paths: &[PathBuf], cluster: Option<&Cluster>) -> Result<Self, Failure> {
        match cluster {
            Some(cluster) if paths.is_empty() => Self::by_cluster(cluster),
            _ => Self::by_files(paths),
        }
    }

    /// Verifies with the keys in these files only.
    fn by_files(paths: &[PathBuf]) -> Result<Self, Failure> {
        let key = |path: &PathBuf| {
            PublicKey::from_pem(&input::small_text(path)?).map_err(|error| {
                Failure::Undetermined(format!("{} contains no public key: {error}", input::name(path)))
            })
        };
        let keys = paths.iter().map(key).collect::<Result<Vec<_>, Failure>>()?;
        Ok(Self::with(ChainVerifier::new(keys)))
    }

    /// Verifies with the checkpoints in the system namespace: the key of each chain, and its latest head.
    fn by_cluster(cluster: &Cluster) -> Result<Self, Failure> {
        let mut verification = Self::by_files(&[])?;
        let mut known = false;
        for page in pages(cluster)? {
            for config_map in &page.items {
                match in_config_map(config_map).and_then(with_key) {
                    Ok((checkpoint, key)) => {
                        known = true;
                        verification.verifier = verification.verifier.with_checkpoint(&checkpoint, key);
                    }
                    Err(why) => verification.remarks.push(why),
                }
            }
        }
        if !known {
            return Err(Failure::Undetermined(format!(
                "no key to verify with: namespace {} contains no checkpoint of a chain (ConfigMaps with the label \
                 {SELECTOR}); pass the webhook's public key with --key, or another namespace with --system-namespace",
                shown(&cluster.system_namespace)
            )));
        }
        Ok(verification)
    }

    /// Checks a line by itself. Threads may call it in parallel.
    pub(super) fn check(&self, line: LogLine<'_>) -> CheckedLine {
        self.verifier.check(line)
    }

    /// Adds a line. Returns its outcome, and the lines that no longer wait for their seal.
    pub(super) fn take(&mut self, checked: CheckedLine, source: &Source<'_>) -> (LineOutcome, Vec<SettledLine>) {
        let outcome = self.verifier.take(checked);
        // The report has their findings first.
        let settled = self.settled();
        match &outcome {
            LineOutcome::Found(finding) => self.place(finding, || (source.position)()),
            LineOutcome::Verified(line) => self.place_other(line, || (source.position)()),
            LineOutcome::Waiting(number) => {
                self.held.entry(*number).or_insert_with(|| source.hold());
            }
            _ => {}
        }
        (outcome, settled)
    }

    /// The lines that still wait, after the last line.
    pub(super) fn close(&mut self) -> Vec<SettledLine> {
        self.verifier.close();
        self.settled()
    }

    fn settled(&mut self) -> Vec<SettledLine> {
        let mut lines = Vec::new();
        for settled in self.verifier.settled() {
            let Some(line) = self.held.remove(&settled.number) else { continue };
            let position = || line.as_source(|source| (source.position)());
            match &settled.settlement {
                Settlement::Found(finding) => self.place(finding, position),
                Settlement::Verified(other) => self.place_other(other, position),
                Settlement::Again(_) | Settlement::NotYetSealed => {}
            }
            lines.push(SettledLine { line, copies: settled.copies, settlement: settled.settlement });
        }
        lines
    }

    /// Remembers where a finding is.
    fn place(&mut self, finding: &ChainFinding, position: impl FnOnce() -> String) {
        if self.positions.len() < MAX_POSITIONS {
            self.positions.push_back((position(), finding.clone()));
        }
    }

    /// Remembers a link that no row shows.
    fn place_other(&mut self, line: &VerifiedLine, position: impl FnOnce() -> String) {
        if let VerifiedLine::Other { position: link, why } = line
            && self.not_shown.len() < MAX_NAMED
        {
            let ChainPosition { writer, sequence, id } = link;
            self.not_shown.push(format!("not shown: link {sequence} of {writer}, record {id}: {why} ({})", position()));
        }
    }

    /// Counts copies of a record, which have no rows of their own.
    pub(super) fn repeats(&mut self, position: ChainPosition, copies: u64) {
        let ChainPosition { writer, sequence, id } = position;
        if copies == 0 {
            return;
        }
        if let Some((_, known)) = self.repeated.get_mut(&(writer, sequence)) {
            *known += copies;
        } else if self.repeated.len() < MAX_REPEATED {
            self.repeated.insert((writer, sequence), (id, copies));
        }
    }

    /// Ends the verification. If the lines are known to be only `some` of the records, missing ones are not reported.
    /// `unreadable` is the number of lines that could not be read.
    pub(super) fn finish(self, some: bool, unreadable: u64) -> VerificationReport {
        let Self { verifier, mut positions, remarks, repeated, not_shown, held: _ } = self;
        let mut report = verifier.finish();
        if some {
            report.findings.retain(|finding| !matches!(finding, ChainFinding::Missing { .. }));
            report.counts.remove("missing");
        }
        let placed = report.findings.iter().map(|finding| {
            // Findings are in one order. Those without a line are only in the report.
            let position =
                positions.front().is_some_and(|(_, found)| found == finding).then(|| positions.pop_front()).flatten();
            position.map_or_else(|| text(finding), |(position, _)| format!("{} ({position})", text(finding)))
        });
        let mut findings: Vec<String> = placed.collect();
        findings.extend(not_shown);
        let notes = copies(&repeated, &report).into_iter().chain(report.chains.iter().filter_map(order));
        let notes = notes.chain(report.chains.iter().filter_map(not_yet_sealed)).collect();
        VerificationReport { findings, remarks, notes, report, unreadable }
    }
}

/// The result of a verification.
pub(crate) struct VerificationReport {
    findings: Vec<String>,
    remarks: Vec<String>,
    /// Facts that are no fault of the log: copies, and the order of the lines.
    notes: Vec<String>,
    pub(super) report: ChainReport,
    /// Lines that could not be read, and so were not verified.
    pub(super) unreadable: u64,
}

impl VerificationReport {
    pub(crate) fn is_clean(&self) -> bool {
        self.report.is_clean() && self.remarks.is_empty()
    }

    /// Records that could not be read, so that the rows are incomplete.
    pub(crate) fn unreadable_records(&self) -> u64 {
        self.unreadable + self.report.counts.get(ChainFinding::Unreadable.as_str()).copied().unwrap_or_default()
    }

    /// Each writer with its links, each finding, and the sum.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for chain in &self.report.chains {
            let _ = writeln!(text, "{}", summary(chain));
        }
        for line in self.findings.iter().chain(&self.remarks).chain(&self.notes) {
            let _ = writeln!(text, "  {}", shown(line));
        }
        let links = self.report.links();
        let counts = self.report.counts.iter().map(|(kind, count)| format!("{count} {kind}"));
        let others = Some(self.report.others).filter(|others| *others > 0).map(|others| format!("{others} not shown"));
        let counts: Vec<String> = counts.chain(others).collect();
        let unsealed: u64 = self.report.chains.iter().map(|chain| chain.not_yet_sealed).sum();
        let unsealed = if unsealed > 0 { format!("; {unsealed} not yet sealed") } else { String::new() };
        let found = match (counts.join(", "), links) {
            (counts, 0) if counts.is_empty() => UNPROVED.to_owned(),
            (counts, 0) => format!("{counts}; {UNPROVED}"),
            (counts, _) if counts.is_empty() && self.unreadable > 0 => "no findings in what was read".to_owned(),
            (counts, _) if counts.is_empty() => "no findings".to_owned(),
            (counts, _) => counts,
        };
        let unread = match self.unreadable {
            0 => String::new(),
            1 => "; 1 record could not be read and is not verified".to_owned(),
            more => format!("; {more} records could not be read and are not verified"),
        };
        let chains = self.report.chains.len();
        let _ = writeln!(text, "verified: {links} links of {chains} chains; {found}{unsealed}{unread}");
        text
    }
}

/// One writer: which part of its chain was read, and how far the chain is known to reach.
fn summary(chain: &ChainSummary) -> String {
    let mut line = format!("writer {}: {} links", chain.writer, chain.links);
    if let (Some(from), Some(to)) = (chain.from, chain.to) {
        let _ = write!(line, ", {} to {}", from.sequence, to.sequence);
    }
    if let Some(started) = chain.started {
        let _ = write!(line, ", since {}", started.strftime("%Y-%m-%dT%H:%M:%SZ"));
    }
    if let Some(sealed) = chain.sealed {
        let _ = write!(line, ", sealed to {sealed}");
    }
    match chain.head {
        Some(head) => {
            let _ = write!(line, "; known to reach {}", head.sequence);
        }
        None => line.push_str("; without the cluster's checkpoints it is not known whether the chain continues"),
    }
    line
}

/// The records that appear more than once.
fn copies(repeated: &BTreeMap<(Uuid, u64), (Uuid, u64)>, report: &ChainReport) -> Vec<String> {
    let mut notes: Vec<String> = repeated
        .values()
        .take(MAX_NAMED)
        .map(|(id, copies)| format!("repeated: record {id} appears {} times and is shown once", copies + 1))
        .collect();
    let named: u64 = repeated.values().take(MAX_NAMED).map(|(_, copies)| copies).sum();
    let all: u64 = report.chains.iter().map(|chain| chain.copies).sum();
    let rest = all.saturating_sub(named);
    if repeated.len() > MAX_NAMED && rest > 0 {
        notes.push(format!("repeated: {rest} more lines repeat a record that was shown"));
    }
    let uncompared: u64 = report.chains.iter().map(|chain| chain.uncompared).sum();
    if uncompared > 0 {
        notes.push(format!(
            "repeated: {uncompared} of these lines came more than 4096 links later, so they were not compared with the first line"
        ));
    }
    notes
}

/// Lines whose order is not the chain's.
fn order(chain: &ChainSummary) -> Option<String> {
    let ChainSummary { writer, late, .. } = chain;
    let links = if *late == 1 { "1 link".to_owned() } else { format!("{late} links") };
    (*late > 0).then(|| format!("order: {links} of {writer} came after a later link of the chain"))
}

/// Records after the last seal.
fn not_yet_sealed(chain: &ChainSummary) -> Option<String> {
    let ChainSummary { writer, not_yet_sealed, .. } = chain;
    let records = if *not_yet_sealed == 1 { "1 record".to_owned() } else { format!("{not_yet_sealed} records") };
    (*not_yet_sealed > 0).then(|| {
        format!(
            "not yet sealed: {records} after the last seal of {writer}, which nothing verifies: the writer was killed, or it \
             still runs"
        )
    })
}

/// A finding as text. What a line says about itself is marked as a claim.
fn text(finding: &ChainFinding) -> String {
    let what = |claims: &UnverifiedClaims| {
        let mut what = claims.id.as_ref().map_or("a line without an id".to_owned(), |id| format!("record {id}"));
        if let (Some(writer), Some(sequence)) = (&claims.writer, claims.sequence) {
            let _ = write!(what, ", which claims to be link {sequence} of {writer}");
        }
        what
    };
    match finding {
        ChainFinding::Forged { claims } => format!(
            "forged: {}: signed with key {}, which is not a known key of the writer",
            what(claims),
            claims.keyid.as_deref().unwrap_or("(none)")
        ),
        ChainFinding::Altered { claims } if claims.keyid.is_none() => {
            format!("altered: {}: another text was sealed at this position", what(claims))
        }
        ChainFinding::Altered { claims } => format!("altered: {}: the signature is for another text", what(claims)),
        ChainFinding::Unsigned { claims } if claims.writer.is_some() => {
            format!("unsigned: {}: it has no signature, and no seal covers it", what(claims))
        }
        ChainFinding::Unsigned { claims } => format!("unsigned: {}: it has no signature", what(claims)),
        ChainFinding::Unreadable => "unreadable: the line looks like a record but is not strict JSON".to_owned(),
        ChainFinding::Missing { writer, from, to, after, before } => {
            let links = if from == to { format!("link {from}") } else { format!("links {from} to {to}") };
            let id = |word: &str, id: &Option<Uuid>| id.map(|id| format!(", {word} record {id}")).unwrap_or_default();
            format!("missing: {links} of {writer}{}{}", id("after", after), id("before", before))
        }
        ChainFinding::Forked { position: Fork { writer, sequence, id: Some(id) } } => {
            format!("forked: link {sequence} of {writer}, record {id}: another record has the same position")
        }
        ChainFinding::Forked { position: Fork { writer, sequence, id: None } } => {
            format!("forked: a seal of link {sequence} of {writer}: another link or seal has the same position")
        }
        other => other.as_str().to_owned(),
    }
}

fn pages(cluster: &Cluster) -> Result<Vec<ObjectList<ConfigMap>>, Failure> {
    let config_maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), &cluster.system_namespace);
    let what = format!("list the chains' checkpoints (ConfigMaps in {})", cluster.system_namespace);
    let mut params = ListParams::default().labels(SELECTOR).limit(PAGE);
    let mut pages = Vec::new();
    loop {
        let page = cluster.ask(&what, config_maps.list(&params))?;
        params.continue_token = page.metadata.continue_.clone().filter(|token| !token.is_empty());
        pages.push(page);
        if params.continue_token.is_none() {
            return Ok(pages);
        }
    }
}

fn with_key(checkpoint: Checkpoint) -> Result<(Checkpoint, PublicKey), String> {
    let key = PublicKey::from_pem(&checkpoint.public_key).map_err(|error| error.to_string())?;
    Ok((checkpoint, key))
}
