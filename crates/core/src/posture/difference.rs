//! The difference between two states of the postures, and whether each change permits more or less.
//!
//! The meaning of the documents is compared, defaults included, and not their text. Every struct of a posture is
//! destructured in full: a new field does not compile until its difference has a meaning here.

mod comparison;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use self::comparison::Changes;
use super::{
    ActionRule, Actions, ApprovalRule, BreakGlassRule, Build, CapabilityRule, ConfigRule, DryRunContract, Posture,
    PostureError, PostureSet, ReplayRule, Reviewer, ReviewerKey, Revocation, Revocations, RollbackRule,
    SeparationOfDuties,
};
use crate::approval::action::Action;

/// What a change does to the requests that are admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeEffect {
    /// Some requests are admitted that were denied before, or less is recorded.
    Looser,
    /// Some requests are denied that were admitted before, or more is recorded.
    Stricter,
    /// Neither follows from this change alone.
    Differs,
}

/// One difference between two postures of an environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PostureChange {
    /// The environment.
    pub environment: String,
    /// The field or thing that changed: `audit.durability`, `reviewer bob@acme.example key 84f5…`.
    pub what: String,
    /// The value before the change; `None` if the thing was added.
    pub before: Option<String>,
    /// The value after the change; `None` if the thing was removed.
    pub after: Option<String>,
    /// Whether more or less is permitted after the change.
    pub effect: ChangeEffect,
}

impl PostureSet {
    /// The changes from the postures of `before` to those of this set, by environment.
    ///
    /// Documents that no posture names have no influence. An environment without a valid posture admits nothing.
    #[must_use]
    pub fn changes_since(&self, before: &Self) -> Vec<PostureChange> {
        let environments = |set: &Self| set.environments().map(|(name, _)| name.to_owned()).collect::<BTreeSet<_>>();
        let mut changes = Vec::new();
        for environment in environments(before).union(&environments(self)) {
            let mut within = Changes { environment: environment.clone(), found: Vec::new() };
            within.environment(before.find(environment), self.find(environment));
            changes.append(&mut within.found);
        }
        changes
    }

    fn find(&self, environment: &str) -> Option<Result<&Posture, &PostureError>> {
        self.environments().find(|(name, _)| *name == environment).map(|(_, posture)| posture)
    }
}

impl Changes {
    fn environment(
        &mut self,
        before: Option<Result<&Posture, &PostureError>>,
        after: Option<Result<&Posture, &PostureError>>,
    ) {
        if let (Some(Ok(before)), Some(Ok(after))) = (before, after) {
            return self.posture(before, after);
        }
        let describe = |posture: Result<&Posture, &PostureError>| {
            posture.map_or("invalid, every action is denied", |_| "valid").to_owned()
        };
        let (old, new) = (before.map(describe), after.map(describe));
        if old != new {
            let effect = match (before, after) {
                (_, Some(Ok(_))) => ChangeEffect::Looser,
                (Some(Ok(_)), _) => ChangeEffect::Stricter,
                _ => ChangeEffect::Differs,
            };
            self.add("posture", old, new, effect);
        }
    }

    fn posture(&mut self, before: &Posture, after: &Posture) {
        let Posture {
            environment: _, // the same in both
            config_map: _,  // where the posture is stored is not a rule
            cluster,
            namespaces,
            reviewers,
            revocations,
            separation_of_duties,
            capability_rules,
            pipeline_version_required,
            builds,
            config_bundle,
            images,
            replay,
            workloads,
            pods,
            ungoverned,
            rollback,
            break_glass,
            connect,
            durability,
            version: _, // the digest of everything else
            actions,
            keys: _, // an index of `reviewers`
        } = before;
        self.value("cluster", cluster, &after.cluster, |cluster| cluster.clone().unwrap_or_else(|| "none".to_owned()));
        self.namespaces(namespaces.as_ref(), after.namespaces.as_ref());
        self.actions(actions, &after.actions);
        self.setting("separationOfDuties", *separation_of_duties, after.separation_of_duties);
        self.capability_rules(capability_rules, &after.capability_rules);
        self.setting("workloads", *workloads, after.workloads);
        self.setting("pods", *pods, after.pods);
        self.setting("ungoverned", *ungoverned, after.ungoverned);
        self.setting("connect", *connect, after.connect);
        self.setting("audit.durability", *durability, after.durability);
        let words = ["not required", "required"];
        let (required, stricter) = (after.pipeline_version_required, ChangeEffect::Stricter);
        self.presence("pipelineVersion", *pipeline_version_required, required, words, stricter);
        self.builds(builds.as_deref(), after.builds.as_deref());
        self.config_bundle(config_bundle.as_ref(), after.config_bundle.as_ref());
        self.setting("images", *images, after.images);
        self.replay(replay, &after.replay);
        self.rollback(rollback.as_ref(), after.rollback.as_ref());
        self.break_glass(break_glass.as_ref(), after.break_glass.as_ref());
        self.reviewers(reviewers, &after.reviewers, after.separation_of_duties);
        self.revocations(revocations, &after.revocations);
    }

    fn namespaces(&mut self, before: Option<&BTreeMap<String, String>>, after: Option<&BTreeMap<String, String>>) {
        let words = ["any", "listed"];
        self.presence("namespaces", before.is_some(), after.is_some(), words, ChangeEffect::Stricter);
        if let (Some(before), Some(after)) = (before, after) {
            let changed = |_: &String, _: &String| ChangeEffect::Differs;
            self.entries("namespace", (before, after), String::clone, ChangeEffect::Looser, changed);
        }
    }

    fn actions(&mut self, before: &Actions, after: &Actions) {
        let Actions { deploy, replay_execute, replay_dry_run } = before;
        self.action(Action::Deploy, deploy, &after.deploy);
        self.action(Action::ReplayExecute, replay_execute, &after.replay_execute);
        self.action(Action::ReplayDryRun, replay_dry_run, &after.replay_dry_run);
    }

    fn action(&mut self, action: Action, before: &ActionRule, after: &ActionRule) {
        let ActionRule { approval, capabilities, quorum, max_lifetime, single_use, enforcement } = before;
        let path = |field: &str| format!("actions.{action}.{field}");
        self.setting(&path("approval"), *approval, after.approval);
        self.setting(&path("enforcement"), *enforcement, after.enforcement);
        // Without an approval, the other fields have no effect.
        if *approval == ApprovalRule::None && after.approval == ApprovalRule::None {
            return;
        }
        self.list(&path("capabilities"), capabilities, &after.capabilities, ChangeEffect::Stricter);
        self.quorum(&path("quorum"), quorum, &after.quorum);
        self.lifetime(&path("maxLifetime"), *max_lifetime, after.max_lifetime);
        let words = ["false", "true"];
        self.presence(&path("singleUse"), *single_use, after.single_use, words, ChangeEffect::Stricter);
    }

    fn capability_rules(&mut self, before: &[CapabilityRule], after: &[CapabilityRule]) {
        let rules = |rules: &[CapabilityRule]| -> BTreeMap<String, (BTreeSet<String>, String)> {
            let rule = |rule: &CapabilityRule| {
                let (name, when, require, _) = rule.as_written();
                (name.to_owned(), (require.iter().map(ToString::to_string).collect(), when.to_owned()))
            };
            rules.iter().map(rule).collect()
        };
        let messages = |rules: &[CapabilityRule]| -> BTreeMap<String, String> {
            let message = |rule: &CapabilityRule| {
                let (name, _, _, message) = rule.as_written();
                (name.to_owned(), message.unwrap_or("none").to_owned())
            };
            rules.iter().map(message).collect()
        };
        let describe = |(require, when): &(BTreeSet<String>, String)| {
            format!("{} when {when}", require.iter().cloned().collect::<Vec<_>>().join(", "))
        };
        self.entries(
            "capability rule",
            (&rules(before), &rules(after)),
            describe,
            ChangeEffect::Stricter,
            |(require_before, when_before), (require_after, when_after)| {
                let required = ChangeEffect::of_more(require_before, require_after).map(ChangeEffect::reverse);
                if when_before == when_after {
                    required.unwrap_or(ChangeEffect::Differs)
                } else {
                    ChangeEffect::Differs
                }
            },
        );
        let (before, after) = (messages(before), messages(after));
        for (name, message) in &before {
            if let Some(after) = after.get(name) {
                self.value(&format!("capability rule {name} message"), message, after, String::clone);
            }
        }
    }

    fn builds(&mut self, before: Option<&BTreeMap<String, Build>>, after: Option<&BTreeMap<String, Build>>) {
        let words = ["none", "named"];
        self.presence("pipelineSets", before.is_some(), after.is_some(), words, ChangeEffect::Stricter);
        if let (Some(before), Some(after)) = (before, after) {
            let describe = |Build { spec_hash, images }: &Build| {
                let hash = spec_hash.map_or("any".to_owned(), |hash| hash.to_string());
                format!("spec {hash}, images {}", images.iter().cloned().collect::<Vec<_>>().join(", "))
            };
            let changed = |Build { spec_hash, images }: &Build, after: &Build| {
                let hash = match (spec_hash, &after.spec_hash) {
                    (None, Some(_)) => Some(ChangeEffect::Stricter),
                    (Some(_), None) => Some(ChangeEffect::Looser),
                    (one, other) if one == other => None,
                    _ => Some(ChangeEffect::Differs),
                };
                ChangeEffect::of_all(hash.into_iter().chain(ChangeEffect::of_more(images, &after.images)))
            };
            self.entries("build", (before, after), describe, ChangeEffect::Looser, changed);
        }
    }

    fn config_bundle(&mut self, before: Option<&ConfigRule>, after: Option<&ConfigRule>) {
        let words = ["not required", "required"];
        self.presence("configBundle", before.is_some(), after.is_some(), words, ChangeEffect::Stricter);
        if let (Some(ConfigRule { secrets }), Some(after)) = (before, after) {
            let list = |secrets: &BTreeSet<String>| secrets.iter().cloned().collect::<Vec<_>>();
            self.list("secret", &list(secrets), &list(&after.secrets), ChangeEffect::Looser);
        }
    }

    fn replay(&mut self, before: &ReplayRule, after: &ReplayRule) {
        let ReplayRule { images, source_environments, dry_run } = before;
        self.list("replay.images", images.written(), after.images.written(), ChangeEffect::Stricter);
        let what = "replay.sourceEnvironments";
        let (limited, limited_after) = (source_environments.is_some(), after.source_environments.is_some());
        self.presence(what, limited, limited_after, ["any", "listed"], ChangeEffect::Stricter);
        if let (Some(before), Some(after)) = (source_environments, &after.source_environments) {
            self.list(what, before, after, ChangeEffect::Looser);
        }
        let words = ["none", "permitted"];
        self.presence("replay.dryRun", dry_run.is_some(), after.dry_run.is_some(), words, ChangeEffect::Looser);
        if let (Some(before), Some(after)) = (dry_run, &after.dry_run) {
            let DryRunContract { service_accounts, env, args } = before;
            let what = "replay.dryRun.serviceAccounts";
            self.list(what, service_accounts, &after.service_accounts, ChangeEffect::Looser);
            let changed = |_: &String, _: &String| ChangeEffect::Differs;
            self.entries("replay.dryRun.env", (env, &after.env), String::clone, ChangeEffect::Differs, changed);
            // As JSON: `["a b"]` and `["a", "b"]` differ.
            let lines = |args: &[Vec<String>]| args.iter().map(|words| json!(words).to_string()).collect::<Vec<_>>();
            self.list("replay.dryRun.args", &lines(args), &lines(&after.args), ChangeEffect::Looser);
        }
    }

    fn rollback(&mut self, before: Option<&RollbackRule>, after: Option<&RollbackRule>) {
        let words = ["none", "permitted"];
        self.presence("rollback", before.is_some(), after.is_some(), words, ChangeEffect::Looser);
        if let (Some(RollbackRule { within, revisions }), Some(after)) = (before, after) {
            self.lifetime("rollback.within", *within, after.within);
            self.greater("rollback.revisions", revisions, &after.revisions, ToString::to_string);
        }
    }

    fn break_glass(&mut self, before: Option<&BreakGlassRule>, after: Option<&BreakGlassRule>) {
        let words = ["none", "permitted"];
        self.presence("breakGlass", before.is_some(), after.is_some(), words, ChangeEffect::Looser);
        if let (Some(BreakGlassRule { capabilities, quorum, max_lifetime }), Some(after)) = (before, after) {
            self.list("breakGlass.capabilities", capabilities, &after.capabilities, ChangeEffect::Stricter);
            self.quorum("breakGlass.quorum", quorum, &after.quorum);
            self.lifetime("breakGlass.maxLifetime", *max_lifetime, after.max_lifetime);
        }
    }

    fn reviewers(&mut self, before: &[Reviewer], after: &[Reviewer], duties: SeparationOfDuties) {
        let by_name = |reviewers: &[Reviewer]| -> BTreeMap<String, Reviewer> {
            reviewers.iter().map(|reviewer| (reviewer.name.to_ascii_lowercase(), reviewer.clone())).collect()
        };
        let (before, after) = (by_name(before), by_name(after));
        for name in before.keys().chain(after.keys()).collect::<BTreeSet<_>>() {
            match (before.get(name), after.get(name)) {
                (None, Some(new)) => {
                    let what = format!("reviewer {}", new.name);
                    self.add(&what, None, Some("added".to_owned()), ChangeEffect::Looser);
                    self.keys(&what, &[], &new.keys);
                }
                (Some(old), None) => {
                    let what = format!("reviewer {}", old.name);
                    self.add(what, Some("removed".to_owned()), None, ChangeEffect::Stricter);
                }
                (Some(old), Some(new)) => self.reviewer(old, new, duties),
                (None, None) => {}
            }
        }
    }

    fn reviewer(&mut self, before: &Reviewer, after: &Reviewer, duties: SeparationOfDuties) {
        let Reviewer { name, groups, projects, capabilities, identities, keys } = before;
        let what = format!("reviewer {}", after.name);
        self.value(&format!("{what} name"), name, &after.name, String::clone);
        self.list(&format!("{what} may grant"), capabilities, &after.capabilities, ChangeEffect::Looser);
        self.list(&format!("{what} in group"), groups, &after.groups, ChangeEffect::Looser);
        // An identity more excludes the reviewer from more requests. Under `proven` it also proves more requesters.
        let identity = match duties {
            SeparationOfDuties::Claimed => ChangeEffect::Stricter,
            SeparationOfDuties::Off | SeparationOfDuties::Proven => ChangeEffect::Differs,
        };
        self.list(&format!("{what} identity"), identities, &after.identities, identity);
        let (limited, limited_after) = (projects.is_some(), after.projects.is_some());
        let words = ["all", "listed"];
        self.presence(&format!("{what} projects"), limited, limited_after, words, ChangeEffect::Stricter);
        if let (Some(before), Some(after)) = (projects, &after.projects) {
            self.list(&format!("{what} in project"), before, after, ChangeEffect::Looser);
        }
        self.keys(&what, keys, &after.keys);
    }

    fn keys(&mut self, reviewer: &str, before: &[ReviewerKey], after: &[ReviewerKey]) {
        type Validity = (Option<Timestamp>, Option<Timestamp>);
        let by_id = |keys: &[ReviewerKey]| -> BTreeMap<String, Validity> {
            // The id is the digest of the key.
            let key = |ReviewerKey { id, key: _, not_before, not_after }: &ReviewerKey| {
                (id.to_string(), (*not_before, *not_after))
            };
            keys.iter().map(key).collect()
        };
        let time = |time: Option<Timestamp>| time.map_or("ever".to_owned(), |time| time.to_string());
        let describe = |(from, until): &Validity| format!("valid from {} until {}", time(*from), time(*until));
        let changed = |(from, until): &Validity, (from_after, until_after): &Validity| {
            // No lower bound is before every time, and no upper bound is after every time.
            let earlier = ChangeEffect::of_greater(from_after, from);
            let bound = |until: &Option<Timestamp>| (until.is_none(), *until);
            ChangeEffect::of_all(
                earlier.into_iter().chain(ChangeEffect::of_greater(&bound(until), &bound(until_after))),
            )
        };
        let what = format!("{reviewer} key");
        self.entries(&what, (&by_id(before), &by_id(after)), describe, ChangeEffect::Looser, changed);
    }

    fn revocations(&mut self, before: &Revocations, after: &Revocations) {
        let Revocations { approvals, keys, specs } = before;
        self.revoked("revoked approval", approvals, &after.approvals);
        self.revoked("revoked key", keys, &after.keys);
        self.revoked("revoked spec", specs, &after.specs);
    }

    fn revoked<K: Ord + Display>(
        &mut self,
        what: &str,
        before: &BTreeMap<K, Revocation>,
        after: &BTreeMap<K, Revocation>,
    ) {
        let describe = |Revocation { at, why }: &Revocation| {
            let at = at.map_or("at once".to_owned(), |at| format!("from {at}"));
            format!("{at}: {}", why.as_deref().unwrap_or("no reason given"))
        };
        let changed = |before: &Revocation, after: &Revocation| {
            ChangeEffect::of_greater(&before.at, &after.at).unwrap_or(ChangeEffect::Differs)
        };
        self.entries(what, (before, after), describe, ChangeEffect::Stricter, changed);
    }
}
