//! From a posture document to the posture: defaults, what this version does not enforce, and what is named.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::{
    ActionRule, Actions, ApprovalRule, BreakGlassRule, Builds, ConfigRule, DryRunContract, Posture, QuorumEntry,
    ReplayRule, ReviewerKey, Revocations, RollbackRule,
    document::{
        ActionDocument, BreakGlassDocument, CapabilityRuleDocument, PostureDocument, Presence, QuorumDocument,
        ReplayDocument, RollbackDocument,
    },
    faults::{Faults, read},
    pipelines::canonical_builds,
    reviewers::{ReviewerSet, together},
    sets::{Found, NamedDocument, NamedDocuments, NamedSets, Unusable},
};
use crate::{
    approval::action::Action,
    approval::capability::Capability,
    encoding::canonical::{Everything, canonical},
    encoding::hex,
    encoding::time::parse_duration,
    kube::image::ImagePatterns,
    posture::Enforcement,
    posture::rule::CapabilityRule,
    posture::rule::MAX_RULES,
    posture::set::PostureProblem,
    record::history::MAX_HISTORY,
};

/// More signatures are never checked for one request, so more people could never be counted.
const MAX_QUORUM: usize = 32;
const DEFAULT_LIFETIME: SignedDuration = SignedDuration::from_hours(24);
const BREAK_GLASS_LIFETIME: SignedDuration = SignedDuration::from_hours(1);

/// Reads a posture and puts it together with the sets and lists that it names.
pub(crate) fn build_posture(found: &Found, sets: &NamedSets) -> Result<Posture, Vec<PostureProblem>> {
    let Found { source, name, value } = found;
    let mut faults = Faults::of(source);
    let document: Option<PostureDocument> = read(value, &mut faults);
    let posture = document.and_then(|document| {
        check_names(&document, &mut faults);
        let reviewer_sets = named("reviewerSets", &document.reviewer_sets, &sets.reviewers, &mut faults);
        let reviewers = together(reviewer_sets.iter().map(|(_, set)| &set.meaning), &mut faults);
        let lists = named("revocationLists", &document.revocation_lists, &sets.revocations, &mut faults);
        let mut revocations = Revocations::default();
        for (_, list) in &lists {
            revocations.extend(&list.meaning);
        }
        let pipeline_sets = named("pipelineSets", &document.pipeline_sets, &sets.pipelines, &mut faults);
        let keys = reviewers.iter().enumerate().flat_map(|(reviewer, person)| {
            person.keys.iter().enumerate().map(move |(key, ReviewerKey { id, .. })| (*id, (reviewer, key)))
        });
        Some(Posture {
            keys: keys.collect(),
            version: version(value, &reviewer_sets, &lists, &pipeline_sets, &mut faults)?,
            actions: actions(&document, &mut faults)?,
            pipeline_version_required: pipeline_version_required(&document, &mut faults),
            capability_rules: capability_rules(document.capability_rules, &mut faults),
            replay: replay(document.replay, &mut faults)?,
            config_map: name.clone(),
            environment: document.environment,
            cluster: document.cluster,
            namespaces: document.namespaces,
            reviewers,
            revocations,
            separation_of_duties: document.separation_of_duties,
            builds: (!document.pipeline_sets.is_empty()).then(|| canonical_builds(&pipeline_sets, &mut faults)),
            config_bundle: config_bundle(document.config_bundle, document.secrets, &mut faults),
            images: document.images,
            workloads: document.workloads,
            pods: document.pods,
            rollback: rollback(document.rollback.as_ref(), &mut faults),
            break_glass: break_glass(document.break_glass.as_ref(), &mut faults),
            connect: document.connect,
            durability: document.audit.durability,
        })
    });
    faults.into_result(posture)
}

fn check_names(document: &PostureDocument, faults: &mut Faults<'_>) {
    faults.label("environment", &document.environment);
    if let Some(cluster) = &document.cluster {
        faults.name("cluster", cluster);
    }
    for (namespace, project) in document.namespaces.iter().flatten() {
        faults.name("namespaces", namespace);
        faults.label(format_args!("namespaces.{namespace}"), project);
    }
}

/// The documents of these names. What is named and missing makes the posture invalid, and so does naming one twice.
fn named<'a, T>(
    path: &str,
    names: &[String],
    documents: &'a NamedDocuments<T>,
    faults: &mut Faults<'_>,
) -> Vec<(String, &'a NamedDocument<T>)> {
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let path = format!("{path}[{index}]");
        if !seen.insert(name) {
            faults.add(path, format_args!("names {name:?} twice"));
            continue;
        }
        match documents.get(name) {
            Ok(document) => found.push((name.clone(), document)),
            Err(Unusable { is_absent: true, why }) => faults.add_incomplete(path, why),
            Err(Unusable { why, .. }) => faults.add(path, why),
        }
    }
    found
}

fn actions(document: &PostureDocument, faults: &mut Faults<'_>) -> Option<Actions> {
    let mut rule = |action, document_of_action| rule(action, document_of_action, document.enforcement, faults);
    let deploy = rule(Action::Deploy, &document.actions.deploy);
    let replay_execute = rule(Action::ReplayExecute, &document.actions.replay_execute);
    let replay_dry_run = rule(Action::ReplayDryRun, &document.actions.replay_dry_run);
    Some(Actions { deploy: deploy?, replay_execute: replay_execute?, replay_dry_run: replay_dry_run? })
}

fn rule(
    action: Action,
    document: &ActionDocument,
    enforcement: Enforcement,
    faults: &mut Faults<'_>,
) -> Option<ActionRule> {
    let path = format!("actions.{action}");
    let approval = document.approval.unwrap_or(match action {
        Action::ReplayDryRun => ApprovalRule::None,
        Action::Deploy | Action::ReplayExecute => ApprovalRule::Required,
    });
    let capabilities = match &document.capabilities {
        None => vec![Capability::of(action)],
        Some(names) => capabilities(&format!("{path}.capabilities"), names, faults),
    };
    let quorum = quorum_or_one(&path, document.quorum.as_deref(), faults);
    let max_lifetime = match &document.max_lifetime {
        None => DEFAULT_LIFETIME,
        Some(text) => faults.keep(format_args!("{path}.maxLifetime"), parse_duration(text))?,
    };
    let enforcement = document.enforcement.unwrap_or(enforcement);
    let single_use = document.single_use.unwrap_or(action == Action::ReplayExecute);
    Some(ActionRule { approval, capabilities, quorum, max_lifetime, single_use, enforcement })
}

fn pipeline_version_required(document: &PostureDocument, faults: &mut Faults<'_>) -> bool {
    let required = document.pipeline_version.is_some();
    if required && document.pipeline_sets.is_empty() {
        faults.add("pipelineVersion", "is required, but no pipelineSets say which versions there are; name one");
    }
    required
}

fn config_bundle(
    presence: Option<Presence>,
    secrets: Option<Vec<String>>,
    faults: &mut Faults<'_>,
) -> Option<ConfigRule> {
    if presence.is_none() && secrets.is_some() {
        faults.add("secrets", "counts only with configBundle: required; remove it or require bundles");
    }
    let secrets = secrets.unwrap_or_default();
    faults.names("secrets", &secrets);
    presence.map(|Presence::Required| ConfigRule { secrets: secrets.into_iter().collect() })
}

fn rollback(document: Option<&RollbackDocument>, faults: &mut Faults<'_>) -> Option<RollbackRule> {
    let RollbackDocument { within, revisions } = document?;
    let within = faults.keep("rollback.within", parse_duration(within));
    let most = MAX_HISTORY;
    let count = usize::try_from(*revisions).ok().filter(|count| (1..=most).contains(count));
    if count.is_none() {
        faults.add("rollback.revisions", format_args!("is {revisions}; expected 1 to {most}"));
    }
    Some(RollbackRule { within: within?, revisions: count? })
}

fn break_glass(document: Option<&BreakGlassDocument>, faults: &mut Faults<'_>) -> Option<BreakGlassRule> {
    let document = document?;
    let own = ["break-glass".to_owned()];
    let names = document.capabilities.as_deref().unwrap_or(&own);
    let max_lifetime = match &document.max_lifetime {
        None => Some(BREAK_GLASS_LIFETIME),
        Some(text) => faults.keep("breakGlass.maxLifetime", parse_duration(text)),
    };
    let capabilities = capabilities("breakGlass.capabilities", names, faults);
    let quorum = quorum_or_one("breakGlass", document.quorum.as_deref(), faults);
    Some(BreakGlassRule { capabilities, quorum, max_lifetime: max_lifetime? })
}

fn quorum_or_one(path: &str, entries: Option<&[QuorumDocument]>, faults: &mut Faults<'_>) -> Vec<QuorumEntry> {
    match entries {
        None => vec![QuorumEntry { group: None, count: 1 }],
        Some(entries) => quorum(&format!("{path}.quorum"), entries, faults),
    }
}

fn capabilities(path: &str, names: &[String], faults: &mut Faults<'_>) -> Vec<Capability> {
    if names.is_empty() {
        faults.add(path, "is empty; an action needs at least one (leave it out for the default)");
    }
    let mut capabilities = Vec::new();
    for (index, name) in names.iter().enumerate() {
        if let Some(capability) = faults.keep(format_args!("{path}[{index}]"), Capability::parse(name))
            && !capabilities.contains(&capability)
        {
            capabilities.push(capability);
        }
    }
    capabilities
}

fn capability_rules(documents: Vec<CapabilityRuleDocument>, faults: &mut Faults<'_>) -> Vec<CapabilityRule> {
    if documents.len() > MAX_RULES {
        faults.add("capabilityRules", format_args!("has {} rules, more than {MAX_RULES}", documents.len()));
        return Vec::new();
    }
    let mut seen = BTreeSet::new();
    let mut rules = Vec::new();
    for (index, CapabilityRuleDocument { name, when, require, message }) in documents.into_iter().enumerate() {
        let path = format!("capabilityRules[{index}]");
        faults.name(format_args!("{path}.name"), &name);
        if !seen.insert(name.clone()) {
            faults.add(format_args!("{path}.name"), format_args!("{name:?} is another rule's name already"));
        }
        if let Some(message) = &message {
            faults.name(format_args!("{path}.message"), message);
        }
        if require.is_empty() {
            faults.add(format_args!("{path}.require"), "is empty; a rule requires at least one capability");
        }
        let mut required = Vec::new();
        for (index, name) in require.iter().enumerate() {
            required.extend(faults.keep(format_args!("{path}.require[{index}]"), Capability::parse(name)));
        }
        rules.extend(faults.keep(format_args!("{path}.when"), CapabilityRule::compile(name, when, required, message)));
    }
    rules
}

fn quorum(path: &str, entries: &[QuorumDocument], faults: &mut Faults<'_>) -> Vec<QuorumEntry> {
    if entries.is_empty() {
        faults.add(path, "is empty; somebody must have signed (leave it out for one person)");
    }
    let mut people: usize = 0;
    let mut quorum = Vec::new();
    for (index, QuorumDocument { group, count }) in entries.iter().enumerate() {
        if let Some(group) = group {
            faults.name(format_args!("{path}[{index}].group"), group);
        }
        if *count < 1 {
            faults.add(format_args!("{path}[{index}].count"), format_args!("is {count}; expected at least one person"));
        }
        let count = usize::try_from(*count).unwrap_or_default();
        people = people.saturating_add(count);
        quorum.push(QuorumEntry { group: group.clone(), count });
    }
    if people > MAX_QUORUM {
        faults.add(path, format_args!("asks for {people} people; at most {MAX_QUORUM} signatures are ever checked"));
    }
    quorum
}

fn replay(document: ReplayDocument, faults: &mut Faults<'_>) -> Option<ReplayRule> {
    for (index, pattern) in document.images.iter().enumerate() {
        faults.name(format_args!("replay.images[{index}]"), pattern);
        faults.keep(format_args!("replay.images[{index}]"), ImagePatterns::check(pattern));
    }
    faults.names("replay.sourceEnvironments", document.source_environments.as_deref().unwrap_or_default());
    let dry_run = document.dry_run.map(|contract| {
        faults.names("replay.dryRun.serviceAccounts", &contract.service_accounts);
        DryRunContract { service_accounts: contract.service_accounts, env: contract.env, args: contract.args }
    });
    let images = ImagePatterns::compile(document.images.iter().map(String::as_str)).ok()?;
    Some(ReplayRule { images, source_environments: document.source_environments, dry_run })
}

/// A digest of everything that the posture was made of, wherever that was found and in whatever order.
fn version(
    posture: &Value,
    reviewers: &[(String, &NamedDocument<ReviewerSet>)],
    revocations: &[(String, &NamedDocument<Revocations>)],
    pipelines: &[(String, &NamedDocument<Builds>)],
    faults: &mut Faults<'_>,
) -> Option<String> {
    let mut documents = json!({
        "posture": posture,
        "reviewers": contents(reviewers),
        "revocations": contents(revocations),
    });
    // Left out where there are none, so that older postures keep their version.
    if !pipelines.is_empty() {
        documents["pipelines"] = contents(pipelines).into();
    }
    let text = faults.keep("", canonical(&documents.to_string(), Everything))?;
    Some(format!("sha256:{}", hex::encode(&Sha256::digest(text).into())))
}

fn contents<T>(documents: &[(String, &NamedDocument<T>)]) -> Map<String, Value> {
    documents.iter().map(|(name, document)| (name.clone(), document.content.clone())).collect()
}
