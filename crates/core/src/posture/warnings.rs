//! What a valid posture says and its author probably did not intend.

use jiff::Timestamp;

use super::{Posture, PostureSet, SeparationOfDuties, setting::Setting};
use crate::text::listed;

impl PostureSet {
    /// Warnings about a posture of this set, for people. None of them makes the posture invalid.
    ///
    /// - A quorum that is a default and that the reviewers cannot fill.
    /// - A quorum that cannot be filled at `now`, because keys are expired or revoked.
    /// - Separation of duties with reviewers who have no identities.
    #[must_use]
    pub fn warnings(&self, posture: &Posture, now: Timestamp) -> Vec<String> {
        let unreachable =
            || self.unreachable_quorums().iter().filter(|quorum| quorum.environment == posture.environment);
        let defaults = unreachable().filter(|quorum| !quorum.is_written);
        let mut warnings: Vec<String> =
            defaults.map(|quorum| format!("{}: {}", quorum.problem.path, quorum.problem.message)).collect();
        for (path, why) in posture.unmet_quorums(now) {
            // A quorum that can never be filled is reported as such already.
            if !unreachable().any(|quorum| quorum.problem.path.starts_with(&path)) {
                warnings.push(format!("{path}: with the keys that are valid today, {why}"));
            }
        }
        warnings.extend(unrecognised_reviewers(posture));
        warnings
    }
}

/// Separation of duties compares user names. Without identities, a reviewer is recognised under their own name only.
fn unrecognised_reviewers(posture: &Posture) -> Option<String> {
    if posture.separation_of_duties == SeparationOfDuties::Off {
        return None;
    }
    let without: Vec<String> = posture
        .reviewers
        .iter()
        .filter(|reviewer| reviewer.identities.is_empty())
        .map(|reviewer| reviewer.name.clone())
        .collect();
    if without.is_empty() {
        return None;
    }
    let (_, duties) = posture.separation_of_duties.describe();
    Some(format!(
        "separationOfDuties: {duties}, but these reviewers have no identities: {}; each could approve what they apply \
         under an API user name other than their name; list their API user names in identities",
        listed(without.into_iter())
    ))
}
