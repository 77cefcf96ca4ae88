//! What earlier documents said and the present ones do not, and that still counts.
//!
//! The guards check each change of a document alone. Two changes in the same moment, or documents that were written while
//! the webhook was not called, can leave an environment without a list of revocations that was in force. A set that
//! follows another one therefore remembers. The memory is the process's own: after a restart, the documents alone count.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{PostureError, PostureSet, Revocations};

/// What is remembered of an environment.
#[derive(Clone, Debug, Default)]
pub(super) struct Remembered {
    /// Revocations that were in force and are in no list of the environment. They stay in force.
    revoked: Revocations,
    /// The namespaces that the posture listed when it was last valid, each with its project. Empty if the posture is
    /// valid.
    namespaces: BTreeMap<String, String>,
}

impl PostureSet {
    /// This set, with what `earlier` knew of each environment and these documents do not say.
    ///
    /// Revocations stay in force. The list of namespaces counts while the posture is invalid. An environment that has no
    /// document and governs no namespace is forgotten: its removal was admitted. `governed` has the governed namespaces
    /// by environment.
    #[must_use]
    pub fn remembering(mut self, earlier: &Self, governed: &BTreeMap<String, Vec<String>>) -> Self {
        let known: BTreeSet<&String> =
            earlier.revoked.keys().chain(earlier.listed.keys()).chain(earlier.remembered.keys()).collect();
        for environment in known {
            let is_missing = matches!(self.environment(environment), Err(PostureError::Missing { .. }));
            if is_missing && !governed.contains_key(environment) {
                continue;
            }
            let remembered = self.to_remember(earlier, environment);
            if let Some(Ok(built)) = self.environments.get_mut(environment)
                && !remembered.revoked.is_empty()
            {
                Arc::make_mut(&mut Arc::make_mut(built).posture.revocations).extend(&remembered.revoked);
            }
            if !remembered.revoked.is_empty() || !remembered.namespaces.is_empty() {
                self.remembered.insert(environment.clone(), remembered);
            }
        }
        self
    }

    fn to_remember(&self, earlier: &Self, environment: &str) -> Remembered {
        let nothing = Arc::default();
        let written = self.revoked.get(environment).unwrap_or(&nothing);
        let before = earlier.revoked.get(environment).unwrap_or(&nothing);
        // Most changes leave the lists of most environments as they are.
        let mut revoked = if Arc::ptr_eq(before, written) { Revocations::default() } else { before.without(written) };
        revoked.extend(&earlier.remembered_revocations(environment).without(written));
        let mut namespaces = BTreeMap::new();
        if self.environment(environment).is_err() {
            namespaces = earlier.listing(environment).map(|(name, project)| (name.clone(), project.clone())).collect();
        }
        Remembered { revoked, namespaces }
    }

    /// The revocations of each environment that are in force although none of its lists has them.
    pub fn unlisted_revocations(&self) -> impl Iterator<Item = (&str, &Revocations)> {
        let remembered = self.remembered.iter().filter(|(_, remembered)| !remembered.revoked.is_empty());
        remembered.map(|(environment, remembered)| (environment.as_str(), &remembered.revoked))
    }

    /// The revocations of one environment that are in force although none of its lists has them.
    pub(crate) fn remembered_revocations(&self, environment: &str) -> Revocations {
        self.remembered.get(environment).map(|remembered| remembered.revoked.clone()).unwrap_or_default()
    }

    /// What the lists revoke that the documents of an environment name, even if its posture is invalid. `None`: no
    /// document can be read as its posture.
    pub(crate) fn revoked_by_posture(&self, environment: &str) -> Option<&Revocations> {
        self.revoked.get(environment).map(|revoked| &**revoked)
    }

    /// Whether the same lists are in force in an environment of both sets, and nothing else is remembered. If this is
    /// false, the revocations may still be equal.
    pub(crate) fn has_same_revocations(&self, other: &Self, environment: &str) -> bool {
        let are_same = match (self.revoked.get(environment), other.revoked.get(environment)) {
            (Some(own), Some(other)) => Arc::ptr_eq(own, other),
            _ => false,
        };
        are_same && !self.remembered.contains_key(environment)
    }

    /// What the documents revoke in an environment. If none of them can be read as its posture, it may name any list, so
    /// every list counts.
    pub(crate) fn revoked_in(&self, environment: &str) -> Revocations {
        self.revoked_by_posture(environment).cloned().unwrap_or_else(|| (*self.named.revoked_by_all()).clone())
    }

    /// The environments that have, or may have, a posture with revocations. `governed` has the governed namespaces by
    /// environment: a broken document may be the posture of any of them.
    pub(crate) fn protected_environments<'a>(
        &'a self,
        governed: &'a BTreeMap<String, Vec<String>>,
    ) -> BTreeSet<&'a str> {
        let may_be_broken =
            |environment: &&String| matches!(self.environment(environment), Err(PostureError::Invalid { .. }));
        let unread = governed.keys().filter(may_be_broken);
        let known = self.environments.keys().chain(self.remembered.keys());
        known.chain(unread).map(String::as_str).collect()
    }

    /// The environments that list this namespace, each with the namespace's project. While a posture is invalid, what its
    /// document says and what was last known both count.
    pub(crate) fn listing_of<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        let known: BTreeSet<&String> = self.listed.keys().chain(self.remembered.keys()).collect();
        known.into_iter().filter_map(move |environment| {
            let (_, project) = self.listing(environment).find(|(name, _)| *name == namespace)?;
            Some((environment.as_str(), project.as_str()))
        })
    }

    fn listing(&self, environment: &str) -> impl Iterator<Item = (&String, &String)> {
        let remembered = self.remembered.get(environment).map(|remembered| &remembered.namespaces);
        self.listed.get(environment).into_iter().chain(remembered).flatten()
    }
}
