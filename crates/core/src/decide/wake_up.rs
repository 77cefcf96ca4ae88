//! Wake-ups: a workload that has 0 replicas gets some.
//!
//! A workload from before its namespace was governed can wait at 0 replicas. Nothing has ever been decided about its spec,
//! and scaling is not an action. A posture with `ungoverned: deny` requires that a spec was approved before it wakes up. Time
//! is forgiven, because a workload that sleeps at night outlives its approval: so are the approval's end, its lifetime, its
//! single use, and the end of a key. What was revoked is not, and neither is what the posture requires apart from time. The
//! stages apply that where they check time (`candidate`, `rollback`).
//!
//! A request to `scale` has only the number of replicas. Its caller reads the workload first, and decides about the update
//! that the request amounts to. Without that, the request is denied.

use jiff::SignedDuration;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    approval::action::Action,
    decide::{
        facts::{Governance, GovernedNamespace},
        verdict::Verdict,
    },
    kube::workload::{WorkloadKind, group_and_version},
    posture::{RollbackRule, UngovernedRule},
    record::{decision::DecisionRecord, denial::Denial, history::MAX_HISTORY},
    request::{
        admission_review::Request,
        change::{Change, Hashes},
        exempt::ExemptControllers,
    },
};

/// An earlier admission on which a wake-up may rest: any.
pub(crate) const EVER: RollbackRule = RollbackRule { within: SignedDuration::MAX, revisions: MAX_HISTORY };

/// The workload that a request to `scale` wakes up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScaledWorkload {
    /// Its kind.
    pub kind: WorkloadKind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl ScaledWorkload {
    /// The workload that must be read before `request` is decided. `None`: [`start`](crate::decide::start) decides it as it
    /// is.
    #[must_use]
    pub fn of(request: &Request<'_>, governance: &Governance<'_>, exempt: &ExemptControllers) -> Option<Self> {
        let Governance::Governed { posture: Ok(posture), .. } = governance else { return None };
        if posture.ungoverned == UngovernedRule::Allow {
            return None;
        }
        match Change::of(request, &Hashes { new: None, old: None }, exempt) {
            Change::ScaledFromZero(kind) => {
                let (namespace, name) = (request.namespace.to_string(), request.object_name().to_owned());
                Some(Self { kind, namespace, name })
            }
            _ => None,
        }
    }

    /// The AdmissionReview of the update that `request` amounts to; `live` is the workload as JSON. Decide it in place of
    /// `request`.
    ///
    /// # Errors
    ///
    /// `live` is not an object, or the request has no number of replicas. The text says what is wrong.
    pub fn as_update(&self, request: &Request<'_>, live: &str) -> Result<String, String> {
        #[derive(Deserialize)]
        struct Scale {
            replicas: i64,
        }
        let wanted = request.object.as_ref().and_then(|object| object.spec).ok_or("object.spec is missing")?;
        let Scale { replicas } = serde_json::from_str(wanted.get()).map_err(|error| format!("object.spec: {error}"))?;
        let mut old: Value = serde_json::from_str(live).map_err(|error| error.to_string())?;
        let spec = old.get_mut("spec").and_then(Value::as_object_mut).ok_or("the workload has no spec")?;
        spec.insert("replicas".to_owned(), 0.into());
        let mut new = old.clone();
        if let Some(spec) = new.get_mut("spec").and_then(Value::as_object_mut) {
            spec.insert("replicas".to_owned(), replicas.into());
        }
        // As the API server counts it: an Event is written only once this generation was seen.
        if let Some(Value::Number(generation)) = new.pointer_mut("/metadata/generation") {
            *generation = generation.as_i64().unwrap_or_default().saturating_add(1).into();
        }
        let (group, version) = group_and_version(self.kind.api_version());
        let user = &request.user;
        let review = json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {
                "uid": request.uid,
                "operation": "UPDATE",
                "kind": {"group": group, "version": version, "kind": self.kind.kind()},
                "resource": {"group": group, "version": version, "resource": self.kind.resource()},
                "namespace": self.namespace,
                "name": self.name,
                "dryRun": request.dry_run,
                "userInfo": {
                    "username": user.username,
                    "uid": user.uid,
                    "groups": user.groups.iter().map(|group| &*group.0).collect::<Vec<_>>(),
                    "extra": user.extra.and_then(|extra| serde_json::from_str::<Value>(extra.get()).ok()),
                },
                "object": new,
                "oldObject": old,
            },
        });
        Ok(review.to_string())
    }
}

/// Decides about a wake-up through `scale` whose workload was not read.
pub(crate) fn check_unread(
    namespace: &GovernedNamespace<'_>,
    why: &str,
    record: &mut DecisionRecord,
) -> Option<Verdict> {
    let posture = namespace.posture;
    if posture.ungoverned == UngovernedRule::Allow {
        return None;
    }
    record.action = Some(Action::Deploy);
    record.enforcement = Some(posture.rule(Action::Deploy).enforcement);
    let what = "what the request to scale would start".to_owned();
    let denial = Denial::LookupFailed { what, why: why.to_owned() };
    Some(Verdict::denied(vec![Denial::WakeUpNotApproved { why: Box::new(denial) }]))
}
