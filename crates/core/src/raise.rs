//! A `ReplicaSet` that its Deployment's controller raises from zero.
//!
//! The controller of a paused Deployment scales the newest `ReplicaSet` that is left, also when that is a revision whose
//! approval has expired or was revoked; to bring this about takes no more than to pause, and to delete the newest one. So
//! what begins to run must be what the Deployment says, which was judged. All else that the controller does to its
//! `ReplicaSet`s is not judged again. Called by `change`, which finds one, and by `decide`.

use serde::Deserialize;

use crate::{
    denial::Denial,
    facts::Known,
    review::Object,
    spec_hash::{SpecHash, spec_hash},
    workload::WorkloadKind,
};

/// A raise from zero.
#[derive(Debug)]
pub(crate) struct Raise {
    /// The Deployment that owns it.
    deployment: String,
    /// Of the `ReplicaSet`.
    hash: SpecHash,
}

/// What is known of a raise.
pub(crate) enum Raised {
    /// It runs what its Deployment says.
    Current,
    /// The Deployment of this name has to be read first; until then, it may not be.
    Unread(String, Denial),
    /// It may not be.
    Refused(Denial),
}

impl Raise {
    /// Of `object`, whose spec has this hash; `None` where no Deployment owns it.
    pub(crate) fn of(object: &Object<'_>, hash: SpecHash) -> Result<Option<Self>, String> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Owner {
            api_version: String,
            kind: String,
            name: String,
            #[serde(default)]
            controller: bool,
        }
        let Some(owners) = object.metadata.owner_references else { return Ok(None) };
        let owners: Vec<Owner> =
            serde_json::from_str(owners.get()).map_err(|error| format!("object.metadata.ownerReferences: {error}"))?;
        let is_deployment =
            |owner: &Owner| owner.controller && owner.api_version == "apps/v1" && owner.kind == "Deployment";
        let owner = owners.into_iter().find(is_deployment);
        Ok(owner.map(|owner| Self { deployment: owner.name, hash }))
    }

    /// Judges it by its Deployment as it is now.
    pub(crate) fn judge(&self, known: &Known) -> Raised {
        let failed = |why: &str| {
            let what = format!("whether Deployment {} says what this ReplicaSet runs", self.deployment);
            Denial::LookupFailed { what, why: why.to_owned() }
        };
        match known.deployment() {
            None => Raised::Unread(self.deployment.clone(), failed("it was not looked for")),
            Some(Err(why)) => Raised::Refused(failed(why)),
            // Both projections leave a template, and a Deployment's has no label that a ReplicaSet's would lose.
            Some(Ok(Some(spec))) if spec_hash(WorkloadKind::ReplicaSet, spec).is_ok_and(|hash| hash == self.hash) => {
                Raised::Current
            }
            Some(Ok(_)) => Raised::Refused(Denial::WorkloadNotAllowed {
                why: format!(
                    "this ReplicaSet would run what its Deployment {} does not say (any more)",
                    self.deployment
                ),
            }),
        }
    }
}
