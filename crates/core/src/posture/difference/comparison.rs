//! The kinds of comparison: a value, a setting, a list, named entries, a quorum.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
};

use jiff::SignedDuration;

use super::{ChangeEffect, PostureChange};
use crate::posture::{QuorumEntry, describe_quorum, setting::Setting};

impl ChangeEffect {
    pub(super) fn reverse(self) -> Self {
        match self {
            Self::Looser => Self::Stricter,
            Self::Stricter => Self::Looser,
            Self::Differs => Self::Differs,
        }
    }

    /// The effect of several changes together.
    pub(super) fn of_all(effects: impl IntoIterator<Item = Self>) -> Self {
        let mut effects = effects.into_iter();
        match effects.next() {
            Some(first) if effects.all(|other| other == first) => first,
            _ => Self::Differs,
        }
    }

    /// The effect of a value that permits more if it is greater; `None` if both are equal.
    pub(super) fn of_greater<T: Ord>(before: &T, after: &T) -> Option<Self> {
        match after.cmp(before) {
            Ordering::Greater => Some(Self::Looser),
            Ordering::Less => Some(Self::Stricter),
            Ordering::Equal => None,
        }
    }

    /// The effect of a set that permits more if it has more items; `None` if both are equal.
    pub(super) fn of_more<T: Ord>(before: &BTreeSet<T>, after: &BTreeSet<T>) -> Option<Self> {
        match (before.is_subset(after), after.is_subset(before)) {
            (true, true) => None,
            (true, false) => Some(Self::Looser),
            (false, true) => Some(Self::Stricter),
            (false, false) => Some(Self::Differs),
        }
    }
}

/// The changes that were found in one environment.
pub(super) struct Changes {
    pub(super) environment: String,
    pub(super) found: Vec<PostureChange>,
}

impl Changes {
    pub(super) fn add(
        &mut self,
        what: impl Display,
        before: Option<String>,
        after: Option<String>,
        effect: ChangeEffect,
    ) {
        let (environment, what) = (self.environment.clone(), what.to_string());
        self.found.push(PostureChange { environment, what, before, after, effect });
    }

    /// A value that is neither more nor less than another.
    pub(super) fn value<T: PartialEq>(&mut self, what: &str, before: &T, after: &T, describe: impl Fn(&T) -> String) {
        if before != after {
            self.add(what, Some(describe(before)), Some(describe(after)), ChangeEffect::Differs);
        }
    }

    /// A value that permits more if it is greater.
    pub(super) fn greater<T: Ord>(&mut self, what: &str, before: &T, after: &T, describe: impl Fn(&T) -> String) {
        if let Some(effect) = ChangeEffect::of_greater(before, after) {
            self.add(what, Some(describe(before)), Some(describe(after)), effect);
        }
    }

    /// A setting with a few values, each of which permits more than another.
    pub(super) fn setting<T: Setting>(&mut self, what: &str, before: T, after: T) {
        let ((laxity_before, before), (laxity_after, after)) = (before.describe(), after.describe());
        if let Some(effect) = ChangeEffect::of_greater(&laxity_before, &laxity_after) {
            self.add(what, Some(before.to_owned()), Some(after.to_owned()), effect);
        }
    }

    /// A rule that exists or not. `present` is the word for its presence, and `added` the effect of adding it.
    pub(super) fn presence(
        &mut self,
        what: &str,
        before: bool,
        after: bool,
        [absent, present]: [&str; 2],
        added: ChangeEffect,
    ) {
        let word = |is_present: bool| Some(if is_present { present } else { absent }.to_owned());
        if before != after {
            self.add(what, word(before), word(after), if after { added } else { added.reverse() });
        }
    }

    /// Named things. `added` is the effect of one more, and `changed` that of another value under the same name.
    pub(super) fn entries<K: Ord + Display, V: PartialEq>(
        &mut self,
        what: &str,
        (before, after): (&BTreeMap<K, V>, &BTreeMap<K, V>),
        describe: impl Fn(&V) -> String,
        added: ChangeEffect,
        changed: impl Fn(&V, &V) -> ChangeEffect,
    ) {
        let names: BTreeSet<&K> = before.keys().chain(after.keys()).collect();
        for name in names {
            let (old, new) = (before.get(name), after.get(name));
            let effect = match (old, new) {
                (Some(old), Some(new)) if old == new => continue,
                (Some(old), Some(new)) => changed(old, new),
                (None, _) => added,
                (_, None) => added.reverse(),
            };
            self.add(format_args!("{what} {name}"), old.map(&describe), new.map(&describe), effect);
        }
    }

    /// A list in which neither order nor repetition matters. `added` is the effect of one more item.
    pub(super) fn list<T: Display>(&mut self, what: &str, before: &[T], after: &[T], added: ChangeEffect) {
        let items = |list: &[T]| list.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
        let (before, after) = (items(before), items(after));
        for item in before.symmetric_difference(&after) {
            let what = format_args!("{what} {item}");
            if after.contains(item) {
                self.add(what, None, Some(item.clone()), added);
            } else {
                self.add(what, Some(item.clone()), None, added.reverse());
            }
        }
    }

    pub(super) fn lifetime(&mut self, what: &str, before: SignedDuration, after: SignedDuration) {
        self.greater(what, &before, &after, |lifetime| format!("{lifetime:#}"));
    }

    pub(super) fn quorum(&mut self, what: &str, before: &[QuorumEntry], after: &[QuorumEntry]) {
        if before != after {
            let effect = match (requires_all_of(before, after), requires_all_of(after, before)) {
                (true, false) => ChangeEffect::Looser,
                (false, true) => ChangeEffect::Stricter,
                _ => ChangeEffect::Differs,
            };
            self.add(what, Some(describe_quorum(before)), Some(describe_quorum(after)), effect);
        }
    }
}

/// Whether `one` requires at least as many reviewers as `other`, of each group and in total.
fn requires_all_of(one: &[QuorumEntry], other: &[QuorumEntry]) -> bool {
    let sum = |entries: &mut dyn Iterator<Item = &QuorumEntry>| {
        entries.fold(0_usize, |sum, QuorumEntry { group: _, count }| sum.saturating_add(*count))
    };
    let of_group = |entries: &[QuorumEntry], group: &Option<String>| {
        sum(&mut entries.iter().filter(|entry| &entry.group == group))
    };
    let mut groups = other.iter().map(|entry| &entry.group).filter(|group| group.is_some());
    sum(&mut one.iter()) >= sum(&mut other.iter()) && groups.all(|group| of_group(one, group) >= of_group(other, group))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quorum_requires_another_one_if_it_requires_as_many_of_each_group_and_in_total() {
        let entries = |list: &[(&str, usize)]| -> Vec<QuorumEntry> {
            let group = |group: &str| if group.is_empty() { None } else { Some(group.to_owned()) };
            list.iter().map(|(name, count)| QuorumEntry { group: group(name), count: *count }).collect()
        };
        let requires = |one: &[(&str, usize)], other: &[(&str, usize)]| requires_all_of(&entries(one), &entries(other));
        assert!(requires(&[("", 2)], &[("", 1)]) && !requires(&[("", 1)], &[("", 2)]));
        assert!(requires(&[("sre", 1)], &[("", 1)]) && !requires(&[("", 1)], &[("sre", 1)]));
        assert!(requires(&[("sre", 1), ("security", 1)], &[("sre", 1)]));
        assert!(!requires(&[("sre", 2)], &[("security", 1)]) && !requires(&[("security", 1)], &[("sre", 2)]));
    }
}
