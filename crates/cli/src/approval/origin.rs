//! Where a value of a review comes from, and whether it was checked here.
//!
//! A request file and an envelope can say anything. So every value carries its origin, [`Origin::mark`] is the only text
//! about it, and a checklist item is `ok` only with a [`Checked`], which no claim can give.

use serde::{Serialize, Serializer};
use writgate_core::approval::Approval;

use crate::approval::draft::StatementBasis;

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Computed here from the objects, or chosen here.
    Computed,
    /// A posture's document.
    Posture,
    /// The cluster.
    Cluster,
    /// A flag of the reviewer's own command.
    Flag,
    /// The request file or the envelope says so.
    Claimed(Claimant),
    /// A posture's document, but the environment that selects the posture has this origin, which proves nothing.
    PostureOf(Box<Self>),
}

/// Who makes a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claimant {
    Request,
    /// An envelope without a valid signature of a reviewer.
    Envelope,
    /// An envelope that a reviewer has signed. The reviewer may have been deceived.
    SignedEnvelope,
}

/// Proof that values were computed here, or read from the posture or the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Checked(());

impl Checked {
    /// The proof, if none of the values with these origins is a claim.
    pub(crate) fn all<'o>(origins: impl IntoIterator<Item = &'o Origin>) -> Option<Self> {
        origins.into_iter().all(Origin::is_checked).then_some(Self(()))
    }
}

impl Origin {
    fn is_checked(&self) -> bool {
        match self {
            Self::Computed | Self::Posture | Self::Cluster => true,
            Self::Flag | Self::Claimed(_) | Self::PostureOf(_) => false,
        }
    }

    /// The origin of what the posture says, if the environment that selects the posture has this origin.
    pub(crate) fn of_posture(environment: &Self) -> Self {
        if environment.is_checked() { Self::Posture } else { Self::PostureOf(Box::new(environment.clone())) }
    }

    /// A note after the value: who says so, if nobody checked it. Empty for other values.
    pub(crate) fn mark(&self) -> String {
        match self {
            Self::Computed | Self::Posture | Self::Cluster => String::new(),
            Self::Flag => "  (your flag)".to_owned(),
            Self::Claimed(who) => format!("  (claimed by {})", who.name()),
            Self::PostureOf(environment) => match **environment {
                Self::Claimed(who) => format!("  (by the posture of the environment that {} claims)", who.name()),
                _ => "  (by the posture of the environment in your flag)".to_owned(),
            },
        }
    }

    /// Stable, for programs.
    fn code(&self) -> &'static str {
        match self {
            Self::Computed => "computed",
            Self::Posture => "posture",
            Self::Cluster => "cluster",
            Self::Flag => "flag",
            Self::Claimed(Claimant::Request) => "claimed-by-request",
            Self::Claimed(Claimant::Envelope) => "claimed-by-envelope",
            Self::Claimed(Claimant::SignedEnvelope) => "claimed-by-signed-envelope",
            Self::PostureOf(_) => "posture-of-claimed-environment",
        }
    }
}

impl Claimant {
    fn name(self) -> &'static str {
        match self {
            Self::Request => "the request",
            Self::Envelope => "the envelope, which no known key has signed",
            Self::SignedEnvelope => "the envelope, which a reviewer has signed",
        }
    }
}

/// Where the fields of a statement come from.
#[derive(Clone, Debug)]
pub(crate) struct StatementOrigins {
    pub(crate) environment: Origin,
    pub(crate) project: Origin,
    pub(crate) cluster: Origin,
    pub(crate) action: Origin,
    pub(crate) capabilities: Origin,
    pub(crate) requested_by: Origin,
    pub(crate) reason: Origin,
    pub(crate) validity: Origin,
    /// What of the validity does not depend on the time of the review.
    pub(crate) timeless: ValidityChoice,
}

/// What was chosen of the validity. The rest follows from the time of the review.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ValidityChoice {
    /// The lifetime.
    Lifetime,
    /// One of the times, or both.
    Times { from: bool, until: bool },
}

impl Default for StatementOrigins {
    fn default() -> Self {
        Self::all(&Origin::Claimed(Claimant::Envelope))
    }
}

impl StatementOrigins {
    fn all(origin: &Origin) -> Self {
        Self {
            environment: origin.clone(),
            project: origin.clone(),
            cluster: origin.clone(),
            action: origin.clone(),
            capabilities: origin.clone(),
            requested_by: origin.clone(),
            reason: origin.clone(),
            validity: origin.clone(),
            timeless: ValidityChoice::Times { from: true, until: true },
        }
    }

    /// The origins of an envelope's statement: the posture's, if it says the same.
    pub(crate) fn of_envelope(approval: &Approval, basis: &StatementBasis, claimant: Claimant) -> Self {
        let all = Self::all(&Origin::Claimed(claimant));
        if !basis.by_posture {
            return all;
        }
        let says = |is_same: bool, origin: Option<Origin>, claim: &Origin| match origin {
            // The envelope's own claim, if no Namespace says it.
            Some(Origin::Claimed(_)) | None => claim.clone(),
            Some(origin) if is_same => origin,
            Some(_) => claim.clone(),
        };
        let [environment, project] = basis.place_origins.clone();
        let same = |approved: &str, found: Option<&str>| found == Some(approved);
        let posture = Some(basis.posture_origin());
        let mut needed: Vec<&str> = basis.needed.iter().map(|needed| &*needed.capability).collect();
        let mut given: Vec<&str> = approval.capabilities.iter().map(String::as_str).collect();
        needed.sort_unstable();
        given.sort_unstable();
        Self {
            environment: says(
                same(&approval.environment, basis.place.environment.as_deref()),
                environment,
                &all.environment,
            ),
            project: says(same(&approval.project, basis.place.project.as_deref()), project, &all.project),
            // Of several clusters, the posture says one.
            cluster: says(
                approval.cluster == basis.cluster && approval.clusters.is_empty(),
                posture.clone(),
                &all.cluster,
            ),
            action: says(Some(approval.action) == basis.action, posture.clone(), &all.action),
            capabilities: says(needed == given, posture, &all.capabilities),
            ..all
        }
    }
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_proves_nothing_and_is_marked() {
        let claims = [
            Origin::Flag,
            Origin::Claimed(Claimant::Request),
            Origin::Claimed(Claimant::Envelope),
            Origin::Claimed(Claimant::SignedEnvelope),
        ];
        for claim in claims {
            let derived = Origin::of_posture(&claim);
            assert!(derived.mark().contains("posture"), "{claim:?}");
            for origin in [claim, derived] {
                assert_eq!(Checked::all([&Origin::Computed, &origin]), None, "{origin:?}");
                assert!(!origin.mark().is_empty(), "{origin:?}");
            }
        }
        for origin in [Origin::Computed, Origin::Posture, Origin::Cluster] {
            assert!(Checked::all([&origin]).is_some() && origin.mark().is_empty(), "{origin:?}");
            assert_eq!(Origin::of_posture(&origin), Origin::Posture);
        }
    }
}
