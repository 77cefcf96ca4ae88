//! `--verify`: which records a webhook has sealed, and what is forged, altered or missing. Core verifies. This file has
//! the keys, the positions of findings, and the report.

use std::{collections::VecDeque, fmt::Write as _, path::PathBuf};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{ListParams, ObjectList},
};
use writgate_cluster::checkpoint::{SELECTOR, in_config_map};
use writgate_core::{
    approval::PublicKey,
    record::{
        ChainFinding, ChainReport, ChainSummary, ChainVerifier, CheckedLine, Checkpoint, LineOutcome, UnverifiedClaims,
    },
};

use crate::{cluster::Cluster, failure::Failure, manifest::input, terminal::output::shown};

/// ConfigMaps per page of a list.
const PAGE: u32 = 500;
/// Findings whose positions are remembered. Core has the same limit.
const MAX_POSITIONS: usize = 10_000;

/// The state of a verification.
pub(super) struct Verification {
    verifier: ChainVerifier,
    /// The position of each finding, in order.
    positions: VecDeque<(String, ChainFinding)>,
    /// Problems with checkpoints.
    remarks: Vec<String>,
}

impl Verification {
    /// Verifies with the keys in these files only.
    pub(super) fn by_files(paths: &[PathBuf]) -> Result<Self, Failure> {
        let key = |path: &PathBuf| {
            PublicKey::from_pem(&input::small_text(path)?).map_err(|error| {
                Failure::Undetermined(format!("{} contains no public key: {error}", input::name(path)))
            })
        };
        let keys = paths.iter().map(key).collect::<Result<Vec<_>, Failure>>()?;
        Ok(Self { verifier: ChainVerifier::new(keys), positions: VecDeque::new(), remarks: Vec::new() })
    }

    /// Verifies with the checkpoints in the system namespace: the key of each chain, and its latest head.
    pub(super) fn by_cluster(cluster: &Cluster) -> Result<Self, Failure> {
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
    pub(super) fn check(&self, line: &str) -> CheckedLine {
        self.verifier.check(line)
    }

    /// Adds a line from `position`. Returns the finding about it, as one word.
    pub(super) fn take(&mut self, checked: CheckedLine, position: impl FnOnce() -> String) -> Option<&'static str> {
        let LineOutcome::Found(finding) = self.verifier.take(checked) else { return None };
        let word = finding.as_str();
        if self.positions.len() < MAX_POSITIONS {
            self.positions.push_back((position(), finding));
        }
        Some(word)
    }

    /// Ends the verification. If the lines are known to be only `some` of the records, missing ones are not reported.
    pub(super) fn finish(self, some: bool) -> VerificationReport {
        let Self { verifier, mut positions, remarks } = self;
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
        let findings = placed.collect();
        VerificationReport { findings, remarks, report }
    }
}

/// The result of a verification.
pub(super) struct VerificationReport {
    findings: Vec<String>,
    remarks: Vec<String>,
    report: ChainReport,
}

impl VerificationReport {
    pub(super) fn is_clean(&self) -> bool {
        self.report.is_clean() && self.remarks.is_empty()
    }

    /// Each writer with its links, each finding, and the sum.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for chain in &self.report.chains {
            let _ = writeln!(text, "{}", summary(chain));
        }
        for line in self.findings.iter().chain(&self.remarks) {
            let _ = writeln!(text, "  {}", shown(line));
        }
        let links: u64 = self.report.chains.iter().map(|chain| chain.links).sum();
        let counts: Vec<String> = self.report.counts.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        let found = if counts.is_empty() { "no findings".to_owned() } else { counts.join(", ") };
        let _ = writeln!(text, "verified: {links} links of {} chains; {found}", self.report.chains.len());
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
    match chain.head {
        Some(head) => {
            let _ = write!(line, "; known to reach {}", head.sequence);
        }
        None => line.push_str("; without the cluster's checkpoints it is not known whether the chain continues"),
    }
    line
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
        ChainFinding::Altered { claims } => format!("altered: {}: the signature is for another text", what(claims)),
        ChainFinding::Unsigned { claims } => format!("unsigned: {}: it has no signature", what(claims)),
        ChainFinding::Unreadable => "unreadable: the line names a record's format but is not complete JSON".to_owned(),
        ChainFinding::Missing { writer, from, to, after, before } => {
            let links = if from == to { format!("link {from}") } else { format!("links {from} to {to}") };
            let id =
                |word: &str, id: &Option<uuid::Uuid>| id.map(|id| format!(", {word} record {id}")).unwrap_or_default();
            format!("missing: {links} of {writer}{}{}", id("after", after), id("before", before))
        }
        ChainFinding::Forked { position } => {
            format!(
                "forked: link {} of {}, record {}: another record has the same position",
                position.sequence, position.writer, position.id
            )
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
