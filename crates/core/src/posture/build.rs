//! From a posture document to a [`Posture`]: defaults, checks and the named documents.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{
    ActionRule, Actions, ApprovalRule, BreakGlassRule, CapabilityRule, ConfigRule, DryRunContract, Enforcement,
    Posture, PostureProblem, QuorumEntry, ReplayRule, ReviewerKey, Revocations, RollbackRule,
    document::{
        ActionDocument, BreakGlassDocument, CapabilityRuleDocument, PostureDocument, Presence, QuorumDocument,
        ReplayDocument, RollbackDocument,
    },
    gather::FoundDocument,
    named_documents::{NamedDocument, NamedDocuments, NamedSets, UnusableDocument},
    pipelines::{self, Builds},
    problems::{Problems, read},
    reviewers::{self, ReviewerSet},
    rule::MAX_RULES,
};
use crate::{
    approval::action::Action,
    approval::capability::Capability,
    encoding::canonical::{Everything, canonical},
    encoding::hex,
    encoding::strict::ByFieldName,
    encoding::time::parse_duration,
    kube::image::ImagePatterns,
    record::history::MAX_HISTORY,
};

/// At most this many signatures are checked for one request, so no larger quorum could be met.
const MAX_QUORUM: usize = 32;
const DEFAULT_LIFETIME: SignedDuration = SignedDuration::from_hours(24);
const BREAK_GLASS_LIFETIME: SignedDuration = SignedDuration::from_hours(1);

/// Reads a posture document and combines it with the documents that it names.
pub(super) fn build_posture(found: &FoundDocument, sets: &NamedSets) -> Result<Posture, Vec<PostureProblem>> {
    let FoundDocument { source, name, value } = found;
    let mut problems = Problems::new(source);
    let document: Option<PostureDocument> = read(value, &mut problems);
    let posture = document.and_then(|document| {
        check_names(&document, &mut problems);
        let reviewer_sets = named("reviewerSets", &document.reviewer_sets, &sets.reviewers, &mut problems);
        let sets_of_reviewers: Vec<&ReviewerSet> = reviewer_sets.iter().map(|(_, set)| &*set.value).collect();
        let reviewers = reviewers::combined(&sets_of_reviewers, &mut problems);
        let lists = named("revocationLists", &document.revocation_lists, &sets.revocations, &mut problems);
        let revocations = Revocations::combined(lists.iter().map(|(_, list)| &list.value));
        let pipeline_sets = named("pipelineSets", &document.pipeline_sets, &sets.pipelines, &mut problems);
        let keys = reviewers.iter().enumerate().flat_map(|(reviewer, person)| {
            person.keys.iter().enumerate().map(move |(key, ReviewerKey { id, .. })| (*id, (reviewer, key)))
        });
        Some(Posture {
            keys: keys.collect(),
            version: version(value, &reviewer_sets, &lists, &pipeline_sets, &mut problems)?,
            actions: actions(&document, &mut problems)?,
            pipeline_version_required: pipeline_version_required(&document, &mut problems),
            capability_rules: capability_rules(document.capability_rules, &mut problems),
            replay: replay(document.replay, &mut problems)?,
            config_map: name.clone(),
            environment: document.environment,
            cluster: document.cluster,
            namespaces: document.namespaces,
            reviewers,
            revocations,
            separation_of_duties: document.separation_of_duties,
            builds: (!document.pipeline_sets.is_empty()).then(|| pipelines::combined(&pipeline_sets, &mut problems)),
            config_bundle: config_bundle(document.config_bundle, document.secrets, &mut problems),
            images: document.images,
            workloads: document.workloads,
            pods: document.pods,
            ungoverned: document.ungoverned,
            rollback: rollback(document.rollback.as_ref(), &mut problems),
            break_glass: break_glass(document.break_glass.as_ref(), &mut problems),
            connect: document.connect,
            durability: document.audit.durability,
        })
    });
    problems.into_result(posture)
}

fn check_names(document: &PostureDocument, problems: &mut Problems<'_>) {
    problems.label("environment", &document.environment);
    if let Some(cluster) = &document.cluster {
        problems.name("cluster", cluster);
    }
    for (namespace, project) in document.namespaces.iter().flatten() {
        problems.name("namespaces", namespace);
        problems.label(format_args!("namespaces.{namespace}"), project);
    }
}

/// The documents of these names. A missing document makes the posture invalid, and so does a name that appears twice.
fn named<'a, T>(
    path: &str,
    names: &[String],
    documents: &'a NamedDocuments<T>,
    problems: &mut Problems<'_>,
) -> Vec<(String, &'a NamedDocument<T>)> {
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let path = format!("{path}[{index}]");
        if !seen.insert(name) {
            problems.add(path, format_args!("{name:?} appears twice; remove one"));
            continue;
        }
        match documents.get(name) {
            Ok(document) => found.push((name.clone(), &**document)),
            Err(UnusableDocument { is_absent: true, why }) => problems.add_incomplete(path, why),
            Err(UnusableDocument { why, .. }) => problems.add(path, why),
        }
    }
    found
}

fn actions(document: &PostureDocument, problems: &mut Problems<'_>) -> Option<Actions> {
    let mut rule = |action, document_of_action| rule(action, document_of_action, document.enforcement, problems);
    let deploy = rule(Action::Deploy, &document.actions.deploy);
    let replay_execute = rule(Action::ReplayExecute, &document.actions.replay_execute);
    let replay_dry_run = rule(Action::ReplayDryRun, &document.actions.replay_dry_run);
    Some(Actions { deploy: deploy?, replay_execute: replay_execute?, replay_dry_run: replay_dry_run? })
}

fn rule(
    action: Action,
    document: &ActionDocument,
    enforcement: Enforcement,
    problems: &mut Problems<'_>,
) -> Option<ActionRule> {
    let path = format!("actions.{action}");
    let approval = document.approval.unwrap_or(match action {
        Action::ReplayDryRun => ApprovalRule::None,
        Action::Deploy | Action::ReplayExecute => ApprovalRule::Required,
    });
    let capabilities = match &document.capabilities {
        None => vec![Capability::of(action)],
        Some(names) => capabilities(&format!("{path}.capabilities"), names, problems),
    };
    let quorum = quorum_or_one(&path, document.quorum.as_deref(), problems);
    let max_lifetime = match &document.max_lifetime {
        None => DEFAULT_LIFETIME,
        Some(text) => problems.keep(format_args!("{path}.maxLifetime"), parse_duration(text))?,
    };
    let enforcement = document.enforcement.unwrap_or(enforcement);
    let single_use = document.single_use.unwrap_or(action == Action::ReplayExecute);
    Some(ActionRule { approval, capabilities, quorum, max_lifetime, single_use, enforcement })
}

fn pipeline_version_required(document: &PostureDocument, problems: &mut Problems<'_>) -> bool {
    let required = document.pipeline_version.is_some();
    if required && document.pipeline_sets.is_empty() {
        problems.add("pipelineVersion", "is required, but the posture names no pipelineSets; name at least one");
    }
    required
}

fn config_bundle(
    presence: Option<Presence>,
    secrets: Option<Vec<String>>,
    problems: &mut Problems<'_>,
) -> Option<ConfigRule> {
    if presence.is_none() && secrets.is_some() {
        problems.add("secrets", "has an effect only with configBundle: required; remove it or require config bundles");
    }
    let secrets = secrets.unwrap_or_default();
    problems.names("secrets", &secrets);
    presence.map(|Presence::Required| ConfigRule { secrets: secrets.into_iter().collect() })
}

fn rollback(document: Option<&ByFieldName<RollbackDocument>>, problems: &mut Problems<'_>) -> Option<RollbackRule> {
    let ByFieldName(RollbackDocument { within, revisions }) = document?;
    let within = problems.keep("rollback.within", parse_duration(within));
    let most = MAX_HISTORY;
    let count = usize::try_from(*revisions).ok().filter(|count| (1..=most).contains(count));
    if count.is_none() {
        problems.add("rollback.revisions", format_args!("is {revisions}; expected 1 to {most}"));
    }
    Some(RollbackRule { within: within?, revisions: count? })
}

fn break_glass(
    document: Option<&ByFieldName<BreakGlassDocument>>,
    problems: &mut Problems<'_>,
) -> Option<BreakGlassRule> {
    let ByFieldName(document) = document?;
    let own = ["break-glass".to_owned()];
    let names = document.capabilities.as_deref().unwrap_or(&own);
    let max_lifetime = match &document.max_lifetime {
        None => Some(BREAK_GLASS_LIFETIME),
        Some(text) => problems.keep("breakGlass.maxLifetime", parse_duration(text)),
    };
    let capabilities = capabilities("breakGlass.capabilities", names, problems);
    let quorum = quorum_or_one("breakGlass", document.quorum.as_deref(), problems);
    Some(BreakGlassRule { capabilities, quorum, max_lifetime: max_lifetime? })
}

fn quorum_or_one(
    path: &str,
    entries: Option<&[ByFieldName<QuorumDocument>]>,
    problems: &mut Problems<'_>,
) -> Vec<QuorumEntry> {
    match entries {
        None => vec![QuorumEntry { group: None, count: 1 }],
        Some(entries) => quorum(&format!("{path}.quorum"), entries, problems),
    }
}

fn capabilities(path: &str, names: &[String], problems: &mut Problems<'_>) -> Vec<Capability> {
    if names.is_empty() {
        problems.add(path, "is empty; expected at least one capability, or remove the field for the default");
    }
    let mut capabilities = Vec::new();
    for (index, name) in names.iter().enumerate() {
        if let Some(capability) = problems.keep(format_args!("{path}[{index}]"), Capability::parse(name))
            && !capabilities.contains(&capability)
        {
            capabilities.push(capability);
        }
    }
    capabilities
}

fn capability_rules(
    documents: Vec<ByFieldName<CapabilityRuleDocument>>,
    problems: &mut Problems<'_>,
) -> Vec<CapabilityRule> {
    if documents.len() > MAX_RULES {
        problems.add("capabilityRules", format_args!("has {} rules; expected at most {MAX_RULES}", documents.len()));
        return Vec::new();
    }
    let mut seen = BTreeSet::new();
    let mut rules = Vec::new();
    for (index, ByFieldName(document)) in documents.into_iter().enumerate() {
        let CapabilityRuleDocument { name, when, require, message } = document;
        let path = format!("capabilityRules[{index}]");
        problems.name(format_args!("{path}.name"), &name);
        if !seen.insert(name.clone()) {
            problems.add(
                format_args!("{path}.name"),
                format_args!("{name:?} is also the name of an earlier rule; rename one of them"),
            );
        }
        if let Some(message) = &message {
            problems.name(format_args!("{path}.message"), message);
        }
        if require.is_empty() {
            problems.add(format_args!("{path}.require"), "is empty; expected at least one capability");
        }
        let mut required = Vec::new();
        for (index, name) in require.iter().enumerate() {
            required.extend(problems.keep(format_args!("{path}.require[{index}]"), Capability::parse(name)));
        }
        rules
            .extend(problems.keep(format_args!("{path}.when"), CapabilityRule::compile(name, when, required, message)));
    }
    rules
}

fn quorum(path: &str, entries: &[ByFieldName<QuorumDocument>], problems: &mut Problems<'_>) -> Vec<QuorumEntry> {
    if entries.is_empty() {
        problems.add(path, "is empty; expected at least one entry, or remove the field for one reviewer");
    }
    let mut people: usize = 0;
    let mut quorum = Vec::new();
    for (index, ByFieldName(QuorumDocument { group, count })) in entries.iter().enumerate() {
        if let Some(group) = group {
            problems.name(format_args!("{path}[{index}].group"), group);
        }
        if *count < 1 {
            problems.add(format_args!("{path}[{index}].count"), format_args!("is {count}; expected at least 1"));
        }
        let count = usize::try_from(*count).unwrap_or_default();
        people = people.saturating_add(count);
        quorum.push(QuorumEntry { group: group.clone(), count });
    }
    if people > MAX_QUORUM {
        problems.add(
            path,
            format_args!("requires {people} reviewers; expected at most {MAX_QUORUM}, the signatures that are checked"),
        );
    }
    quorum
}

fn replay(document: ReplayDocument, problems: &mut Problems<'_>) -> Option<ReplayRule> {
    for (index, pattern) in document.images.iter().enumerate() {
        problems.name(format_args!("replay.images[{index}]"), pattern);
        problems.keep(format_args!("replay.images[{index}]"), ImagePatterns::check(pattern));
    }
    problems.names("replay.sourceEnvironments", document.source_environments.as_deref().unwrap_or_default());
    let dry_run = document.dry_run.map(|ByFieldName(contract)| {
        problems.names("replay.dryRun.serviceAccounts", &contract.service_accounts);
        DryRunContract { service_accounts: contract.service_accounts, env: contract.env, args: contract.args }
    });
    let images = ImagePatterns::compile(document.images.iter().map(String::as_str)).ok()?;
    Some(ReplayRule { images, source_environments: document.source_environments, dry_run })
}

/// The digest of the posture and of the documents that it names. Sources and order have no influence.
fn version(
    posture: &Value,
    reviewers: &[(String, &NamedDocument<ReviewerSet>)],
    revocations: &[(String, &NamedDocument<Revocations>)],
    pipelines: &[(String, &NamedDocument<Builds>)],
    problems: &mut Problems<'_>,
) -> Option<String> {
    // The members in the order of RFC 8785. Their canonical forms are those of the whole, so each document is read once, and
    // not once for each posture that names it.
    let mut digest = Sha256::new();
    digest.update("{");
    // Absent if there are none, so that the versions of postures without pipelines stay the same.
    if !pipelines.is_empty() {
        digest.update("\"pipelines\":");
        problems.keep("", hash_contents(&mut digest, pipelines))?;
        digest.update(",");
    }
    digest.update("\"posture\":");
    digest.update(problems.keep("", canonical(&posture.to_string(), Everything))?);
    digest.update(",\"reviewers\":");
    problems.keep("", hash_contents(&mut digest, reviewers))?;
    digest.update(",\"revocations\":");
    problems.keep("", hash_contents(&mut digest, revocations))?;
    digest.update("}");
    Some(format!("sha256:{}", hex::encode(&digest.finalize().into())))
}

/// Adds the canonical form of an object with the documents by their names.
fn hash_contents<T>(digest: &mut Sha256, documents: &[(String, &NamedDocument<T>)]) -> Result<(), String> {
    let mut sorted: Vec<_> = documents.iter().collect();
    // RFC 8785 sorts by UTF-16 code units.
    sorted.sort_by(|(one, _), (other, _)| one.encode_utf16().cmp(other.encode_utf16()));
    digest.update("{");
    for (index, (name, document)) in sorted.into_iter().enumerate() {
        if index > 0 {
            digest.update(",");
        }
        let name = canonical(&Value::from(&**name).to_string(), Everything).map_err(|error| error.to_string())?;
        digest.update(name);
        digest.update(":");
        digest.update(document.canonical()?);
    }
    digest.update("}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::{
        encoding::canonical::{Everything, canonical},
        encoding::hex,
        posture::{Document, PostureSet},
    };
    use sha2::{Digest as _, Sha256};

    #[test]
    fn the_version_is_the_digest_of_the_canonical_form_of_all_documents() {
        // In UTF-8, the last name sorts before the other one. In UTF-16, it sorts after it.
        let names = ["a", "\u{1f600}", "\u{fb01}"];
        let mut posture = json!({"apiVersion": "writgate.dev/v1", "kind": "Posture", "environment": "production"});
        posture["reviewerSets"] = json!(names);
        posture["revocationLists"] = json!(["r"]);
        let reviewers = json!({"apiVersion": "writgate.dev/v1", "kind": "Reviewers", "reviewers": []});
        let revocations = json!({"apiVersion": "writgate.dev/v1", "kind": "Revocations",
            "specs": [{"hash": format!("sha256:{:064}", 0), "why": "é \u{2028}"}]});
        let pipelines = json!({"kind": "Pipelines", "apiVersion": "writgate.dev/v1", "pipelines": {}});
        for with_pipelines in [false, true] {
            let mut expected = json!({"revocations": {"r": revocations},
                "reviewers": {names[1]: reviewers, names[2]: reviewers, "a": reviewers}});
            let mut documents = vec![("r", revocations.clone())];
            documents.extend(names.map(|name| (name, reviewers.clone())));
            if with_pipelines {
                posture["pipelineSets"] = json!(["p", "o"]);
                expected["pipelines"] = json!({"o": pipelines, "p": pipelines});
                documents.extend(["o", "p"].map(|name| (name, pipelines.clone())));
            }
            expected["posture"] = posture.clone();
            let referenced = documents.into_iter().map(|(name, mut document)| {
                document["name"] = name.into();
                document
            });
            let texts = referenced.chain([posture.clone()]).map(|document| document.to_string());
            let document = |text| Document { source: String::new(), name: None, text };
            let set = PostureSet::assemble(texts.map(document).collect());
            let text = canonical(&expected.to_string(), Everything).expect("canonical");
            let version = format!("sha256:{}", hex::encode(&Sha256::digest(text).into()));
            assert_eq!(set.environment("production").expect("valid").version, version);
        }
    }
}
