//! What differs between two postures of one environment, and whether more is permitted after it or less.
//!
//! Compared is what the documents come to, defaults included, never their text. Called by `posture diff`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
};

use serde::Serialize;
use writgate_core::{
    approval::Action,
    posture::{
        ActionRule, ApprovalRule, ConnectRule, Enforcement, ImageRule, PodRule, Posture, QuorumEntry, Reviewer,
        Revocation, SeparationOfDuties, WorkloadRule,
    },
};

use crate::command::posture::check::quorum_as_text;

/// What a change does to what is permitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Effect {
    /// Something is permitted that was not.
    Looser,
    /// Something is no longer permitted.
    Stricter,
    /// Neither follows from it alone.
    Differs,
}

impl Effect {
    fn reverse(self) -> Self {
        match self {
            Self::Looser => Self::Stricter,
            Self::Stricter => Self::Looser,
            Self::Differs => Self::Differs,
        }
    }
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Change {
    pub(super) environment: String,
    /// The field, or what it is about: `reviewer bob@acme.example key 84f5…`.
    pub(super) what: String,
    /// None where it was not there.
    pub(super) before: Option<String>,
    /// None where it is no longer there.
    pub(super) after: Option<String>,
    pub(super) effect: Effect,
}

/// Everything that differs.
pub(super) fn between(before: &Posture, after: &Posture) -> Vec<Change> {
    let mut found = Found { environment: after.environment.clone(), changes: Vec::new() };
    found.place(before, after);
    for action in Action::ALL {
        found.action(action, before.rule(action), after.rule(action));
    }
    found.rules(before, after);
    found.provenance(before, after);
    found.replay(before, after);
    found.exceptions(before, after);
    found.reviewers(&before.reviewers, &after.reviewers);
    found.revocations(before, after);
    found.changes
}

struct Found {
    environment: String,
    changes: Vec<Change>,
}

impl Found {
    fn add(&mut self, what: impl Display, before: Option<String>, after: Option<String>, effect: Effect) {
        let (environment, what) = (self.environment.clone(), what.to_string());
        self.changes.push(Change { environment, what, before, after, effect });
    }

    /// A value of which more permits more; `order` says how much.
    fn ordered<T: Copy + PartialEq>(
        &mut self,
        what: &str,
        values: [T; 2],
        order: impl Fn(T) -> i64,
        word: impl Fn(T) -> String,
    ) {
        let [before, after] = values;
        if before != after {
            let effect = if order(after) > order(before) { Effect::Looser } else { Effect::Stricter };
            self.add(what, Some(word(before)), Some(word(after)), effect);
        }
    }

    /// Things by name; `added` is what one more does.
    fn named(
        &mut self,
        what: &str,
        before: &BTreeMap<String, String>,
        after: &BTreeMap<String, String>,
        added: Effect,
    ) {
        let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        for name in names {
            let (old, new) = (before.get(name), after.get(name));
            if old != new {
                let effect = match (old, new) {
                    (None, _) => added,
                    (_, None) => added.reverse(),
                    _ => Effect::Differs,
                };
                self.add(format!("{what} {name}"), old.cloned(), new.cloned(), effect);
            }
        }
    }

    /// Words; `added` is what one more does.
    fn words<T: Display>(&mut self, what: &str, before: &[T], after: &[T], added: Effect) {
        let words = |list: &[T]| list.iter().map(|word| (word.to_string(), word.to_string())).collect();
        self.named(what, &words(before), &words(after), added);
    }

    /// A rule that is there or not; `added` is what it does to be there. Within it others compare.
    fn presence(&mut self, what: &str, values: [bool; 2], added: Effect) {
        let word = |there: bool| Some(if there { "there" } else { "none" }.to_owned());
        if values[0] != values[1] {
            self.add(what, word(values[0]), word(values[1]), if values[1] { added } else { added.reverse() });
        }
    }

    fn text(&mut self, what: &str, before: String, after: String) {
        if before != after {
            self.add(what, Some(before), Some(after), Effect::Differs);
        }
    }

    fn place(&mut self, before: &Posture, after: &Posture) {
        let name = |posture: &Posture| posture.cluster.clone().unwrap_or_else(|| "none".to_owned());
        self.text("cluster", name(before), name(after));
        self.presence("namespaces", [before, after].map(|posture| posture.namespaces.is_some()), Effect::Stricter);
        if let (Some(before), Some(after)) = (&before.namespaces, &after.namespaces) {
            self.named("namespace", before, after, Effect::Looser);
        }
    }

    fn action(&mut self, action: Action, before: &ActionRule, after: &ActionRule) {
        let at = |field: &str| format!("actions.{action}.{field}");
        let required = |rule: &ActionRule| rule.approval == ApprovalRule::Required;
        self.ordered(
            &at("approval"),
            [required(before), required(after)],
            |required| i64::from(!required),
            |required| if required { "required" } else { "none" }.to_owned(),
        );
        self.ordered(&at("enforcement"), [before.enforcement, after.enforcement], laxity, |word| {
            word.as_str().to_owned()
        });
        if !required(before) && !required(after) {
            return;
        }
        self.words(&at("capabilities"), &before.capabilities, &after.capabilities, Effect::Stricter);
        self.quorum(&at("quorum"), &before.quorum, &after.quorum);
        let lifetimes = [before.max_lifetime, after.max_lifetime];
        self.ordered(&at("maxLifetime"), lifetimes, |lifetime| lifetime.as_secs(), |lifetime| format!("{lifetime:#}"));
        let once = [before.single_use, after.single_use];
        self.ordered(&at("singleUse"), once, |once| i64::from(!once), |once| once.to_string());
    }

    fn quorum(&mut self, what: &str, before: &[QuorumEntry], after: &[QuorumEntry]) {
        if before != after {
            let effect = match (asks(before, after), asks(after, before)) {
                (true, false) => Effect::Looser,
                (false, true) => Effect::Stricter,
                _ => Effect::Differs,
            };
            self.add(what, Some(quorum_as_text(before)), Some(quorum_as_text(after)), effect);
        }
    }

    fn rules(&mut self, before: &Posture, after: &Posture) {
        let duties = [before.separation_of_duties, after.separation_of_duties];
        let word = |duties| match duties {
            SeparationOfDuties::Off => "off",
            SeparationOfDuties::Claimed => "claimed",
            SeparationOfDuties::Proven => "proven",
        };
        let order = |duties| match duties {
            SeparationOfDuties::Off => 2,
            SeparationOfDuties::Claimed => 1,
            SeparationOfDuties::Proven => 0,
        };
        self.ordered("separationOfDuties", duties, order, |duties| word(duties).to_owned());
        let rules = |posture: &Posture| -> BTreeMap<String, String> {
            let rule = |rule: &writgate_core::posture::CapabilityRule| {
                let require: Vec<String> = rule.require.iter().map(ToString::to_string).collect();
                (rule.name.clone(), format!("{} when {}", require.join(", "), rule.when))
            };
            posture.capability_rules.iter().map(rule).collect()
        };
        self.named("capability rule", &rules(before), &rules(after), Effect::Stricter);
        let workloads = |rule| match rule {
            WorkloadRule::Deny => (0, "deny"),
            WorkloadRule::Approve => (1, "approve"),
            WorkloadRule::Allow => (2, "allow"),
        };
        self.ordered(
            "workloads",
            [before.workloads, after.workloads],
            move |rule| workloads(rule).0,
            |rule| workloads(rule).1.to_owned(),
        );
        let pods = |rule| match rule {
            PodRule::Deny => (0, "deny"),
            PodRule::Allow => (1, "allow"),
        };
        self.ordered("pods", [before.pods, after.pods], move |rule| pods(rule).0, |rule| pods(rule).1.to_owned());
        let connect = |rule| match rule {
            ConnectRule::Deny => (0, "deny"),
            ConnectRule::Audit => (1, "audit"),
            ConnectRule::Allow => (2, "allow"),
        };
        self.ordered(
            "connect",
            [before.connect, after.connect],
            move |rule| connect(rule).0,
            |rule| connect(rule).1.to_owned(),
        );
    }

    fn provenance(&mut self, before: &Posture, after: &Posture) {
        let required = [before, after].map(|posture| posture.pipeline_version_required);
        self.presence("pipelineVersion", required, Effect::Stricter);
        self.presence("pipelineSets", [before, after].map(|posture| posture.builds.is_some()), Effect::Stricter);
        if let (Some(before), Some(after)) = (&before.builds, &after.builds) {
            let builds = |builds: &BTreeMap<String, writgate_core::posture::Build>| -> BTreeMap<String, String> {
                let one = |build: &writgate_core::posture::Build| {
                    let hash = build.spec_hash.map(|hash| hash.to_string());
                    let images: Vec<String> = build.images.iter().cloned().collect();
                    format!("spec {}, images {}", hash.as_deref().unwrap_or("any"), images.join(", "))
                };
                builds.iter().map(|(version, build)| (version.clone(), one(build))).collect()
            };
            self.named("build", &builds(before), &builds(after), Effect::Looser);
        }
        self.presence("configBundle", [before, after].map(|posture| posture.config_bundle.is_some()), Effect::Stricter);
        if let (Some(before), Some(after)) = (&before.config_bundle, &after.config_bundle) {
            let secrets = |rule: &writgate_core::posture::ConfigRule| rule.secrets.iter().cloned().collect::<Vec<_>>();
            self.words("secret", &secrets(before), &secrets(after), Effect::Looser);
        }
        let word = |rule| if rule == ImageRule::Any { "any" } else { "digest" }.to_owned();
        self.ordered("images", [before.images, after.images], |rule| i64::from(rule == ImageRule::Any), word);
    }

    fn replay(&mut self, before: &Posture, after: &Posture) {
        let (before, after) = (&before.replay, &after.replay);
        self.words("replay.images", before.images.written(), after.images.written(), Effect::Stricter);
        let limited = [before, after].map(|rule| rule.source_environments.is_some());
        self.presence("replay.sourceEnvironments", limited, Effect::Stricter);
        if let (Some(before), Some(after)) = (&before.source_environments, &after.source_environments) {
            self.words("replay.sourceEnvironments", before, after, Effect::Looser);
        }
        self.presence("replay.dryRun", [before, after].map(|rule| rule.dry_run.is_some()), Effect::Looser);
        if let (Some(before), Some(after)) = (&before.dry_run, &after.dry_run) {
            self.words(
                "replay.dryRun.serviceAccounts",
                &before.service_accounts,
                &after.service_accounts,
                Effect::Looser,
            );
            self.named("replay.dryRun.env", &before.env, &after.env, Effect::Differs);
            let args = |args: &[Vec<String>]| args.iter().map(|words| words.join(" ")).collect::<Vec<_>>();
            self.words("replay.dryRun.args", &args(&before.args), &args(&after.args), Effect::Looser);
        }
    }

    fn exceptions(&mut self, before: &Posture, after: &Posture) {
        self.presence("rollback", [before, after].map(|posture| posture.rollback.is_some()), Effect::Looser);
        if let (Some(before), Some(after)) = (before.rollback, after.rollback) {
            let within = [before.within, after.within];
            self.ordered("rollback.within", within, |within| within.as_secs(), |within| format!("{within:#}"));
            let revisions = [before.revisions, after.revisions];
            let order = |revisions| i64::try_from(revisions).unwrap_or(i64::MAX);
            self.ordered("rollback.revisions", revisions, order, |revisions| revisions.to_string());
        }
        self.presence("breakGlass", [before, after].map(|posture| posture.break_glass.is_some()), Effect::Looser);
        if let (Some(before), Some(after)) = (&before.break_glass, &after.break_glass) {
            self.words("breakGlass.capabilities", &before.capabilities, &after.capabilities, Effect::Stricter);
            self.quorum("breakGlass.quorum", &before.quorum, &after.quorum);
            let lifetimes = [before.max_lifetime, after.max_lifetime];
            self.ordered(
                "breakGlass.maxLifetime",
                lifetimes,
                |lifetime| lifetime.as_secs(),
                |lifetime| format!("{lifetime:#}"),
            );
        }
    }

    fn reviewers(&mut self, before: &[Reviewer], after: &[Reviewer]) {
        let by_name = |people: &[Reviewer]| -> BTreeMap<String, Reviewer> {
            people.iter().map(|person| (person.name.to_ascii_lowercase(), person.clone())).collect()
        };
        let (before, after) = (by_name(before), by_name(after));
        let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        for name in names {
            match (before.get(name), after.get(name)) {
                (None, Some(new)) => {
                    self.add(format!("reviewer {}", new.name), None, Some("added".to_owned()), Effect::Looser);
                    self.keys(name, &[], &new.keys);
                }
                (Some(old), None) => {
                    self.add(format!("reviewer {}", old.name), Some("removed".to_owned()), None, Effect::Stricter);
                }
                (Some(old), Some(new)) => self.reviewer(old, new),
                (None, None) => {}
            }
        }
    }

    fn reviewer(&mut self, before: &Reviewer, after: &Reviewer) {
        let of = |field: &str| format!("reviewer {} {field}", after.name);
        self.words(&of("may grant"), &before.capabilities, &after.capabilities, Effect::Looser);
        self.words(&of("in group"), &before.groups, &after.groups, Effect::Looser);
        // Who is known by more names is kept from approving more.
        self.words(&of("identity"), &before.identities, &after.identities, Effect::Stricter);
        self.presence(&of("only some projects"), [before, after].map(|one| one.projects.is_some()), Effect::Stricter);
        if let (Some(before), Some(after)) = (&before.projects, &after.projects) {
            self.words(&of("in project"), before, after, Effect::Looser);
        }
        self.keys(&after.name, &before.keys, &after.keys);
    }

    fn keys(
        &mut self,
        name: &str,
        before: &[writgate_core::posture::ReviewerKey],
        after: &[writgate_core::posture::ReviewerKey],
    ) {
        let time = |time: Option<jiff::Timestamp>| time.map_or("ever".to_owned(), |time| time.to_string());
        let keys = |keys: &[writgate_core::posture::ReviewerKey]| -> BTreeMap<String, String> {
            let validity = |key: &writgate_core::posture::ReviewerKey| {
                format!("valid from {} until {}", time(key.not_before), time(key.not_after))
            };
            keys.iter().map(|key| (key.id.to_string(), validity(key))).collect()
        };
        self.named(&format!("reviewer {name} key"), &keys(before), &keys(after), Effect::Looser);
    }

    fn revocations(&mut self, before: &Posture, after: &Posture) {
        fn told<K: Display>(entries: &BTreeMap<K, Revocation>) -> BTreeMap<String, String> {
            let one = |revocation: &Revocation| {
                let at = revocation.at.map_or("at once".to_owned(), |at| format!("from {at}"));
                format!("{at}: {}", revocation.why.as_deref().unwrap_or("no reason given"))
            };
            entries.iter().map(|(key, revocation)| (key.to_string(), one(revocation))).collect()
        }
        let (before, after) = (&before.revocations, &after.revocations);
        self.named("revoked approval", &told(&before.approvals), &told(&after.approvals), Effect::Stricter);
        self.named("revoked key", &told(&before.keys), &told(&after.keys), Effect::Stricter);
        self.named("revoked spec", &told(&before.specs), &told(&after.specs), Effect::Stricter);
    }
}

/// How much a failed check lets pass.
fn laxity(enforcement: Enforcement) -> i64 {
    match enforcement {
        Enforcement::Enforce => 0,
        Enforcement::Warn => 1,
        Enforcement::Audit => 2,
    }
}

/// Whether `one` asks for all that `other` asks for: for at least as many people of each group, and of all together.
fn asks(one: &[QuorumEntry], other: &[QuorumEntry]) -> bool {
    let of = |entries: &[QuorumEntry], group: &Option<String>| -> usize {
        entries.iter().filter(|entry| &entry.group == group).fold(0, |sum, entry| sum.saturating_add(entry.count))
    };
    let all = |entries: &[QuorumEntry]| entries.iter().fold(0_usize, |sum, entry| sum.saturating_add(entry.count));
    all(one) >= all(other)
        && other
            .iter()
            .filter(|entry| entry.group.is_some())
            .all(|entry| of(one, &entry.group) >= of(other, &entry.group))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quorum_is_looser_where_it_asks_for_less_in_every_way() {
        let entries = |list: &[(&str, usize)]| -> Vec<QuorumEntry> {
            let entry = |(group, count): &(&str, usize)| QuorumEntry {
                group: Some((*group).to_owned()).filter(|group| !group.is_empty()),
                count: *count,
            };
            list.iter().map(entry).collect()
        };
        let asks = |one: &[(&str, usize)], other: &[(&str, usize)]| asks(&entries(one), &entries(other));
        assert!(asks(&[("", 2)], &[("", 1)]) && !asks(&[("", 1)], &[("", 2)]));
        assert!(asks(&[("sre", 1)], &[("", 1)]) && !asks(&[("", 1)], &[("sre", 1)]));
        assert!(asks(&[("sre", 1), ("security", 1)], &[("sre", 1)]));
        assert!(!asks(&[("sre", 2)], &[("security", 1)]) && !asks(&[("security", 1)], &[("sre", 2)]));
    }
}
