//! The object of a GitOps controller that an object names. How labels and annotations name it is in
//! `request::claimed_initiator`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The Flux or Argo CD object that an object's labels or annotations name.
///
/// Whoever writes the object chooses the text, so it is a claim: nothing verifies it, and no check reads it. Fields are in
/// canonical order, as those of a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimedInitiator {
    /// `Kustomization`, `HelmRelease` or `Application`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its namespace, if the object names one.
    pub namespace: Option<String>,
    /// The revision, if the object names one: for a `HelmRelease`, the chart and its version.
    pub revision: Option<String>,
}

impl fmt::Display for ClaimedInitiator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.kind)?;
        if let Some(namespace) = &self.namespace {
            write!(f, "{namespace}/")?;
        }
        f.write_str(&self.name)?;
        if let Some(revision) = &self.revision {
            write!(f, " at {revision}")?;
        }
        Ok(())
    }
}
