//! The guards: who may change what the gate itself rests on.
//!
//! Postures and what they name, the labels that govern a namespace, config bundles, and metadata that is written
//! through a status, past the gate. Each has a webhook entry of its own and a file beside this one. No approval is
//! asked for and no posture softens it: what is refused here would make the gate lie, or open it unseen.
//!
//! Like `decide`, pure: what it needs to know beside [`Ground`] it names in the decision's `wants`. Called by the
//! webhook for what arrives on `/guard`.

mod bundles;
mod documents;
mod metadata;
mod namespaces;

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{
    decide::driver::Governance,
    decide::facts::Facts,
    posture::Document,
    record::decision::{Basis, Decision, Verdict},
    record::denial::Denial,
    request::admission_review::{Operation, Request},
    request::change::unsupported_kind,
    request::record::opening_record,
};

/// What is known of the cluster when a guard is asked.
#[derive(Clone, Copy, Debug)]
pub struct Ground<'a> {
    /// Where postures and what they name are kept.
    pub system_namespace: &'a str,
    /// The documents there, each with its ConfigMap's name; `Err` says why nobody can tell.
    pub documents: Result<&'a [Document], &'a str>,
    /// The namespaces that are governed, by environment.
    pub governed: &'a BTreeMap<String, Vec<String>>,
    /// What the request's namespace is under; looked at for objects in namespaces other than the system's.
    pub governance: Governance<'a>,
}

/// What a guard makes of a request that changes what is guarded: admitted if nothing speaks against it.
fn judged_by(denials: Vec<Denial>) -> Verdict {
    Verdict { denials, ..Verdict::admitted(Basis::Guard) }
}

/// Decides a request that changes, or may change, what the gate rests on.
#[must_use]
pub fn guard(request: &Request<'_>, ground: &Ground<'_>, facts: &Facts<'_>, now: Timestamp) -> Decision {
    let mut record = opening_record(request, facts.decision_id, now);
    let generation = request.object.as_ref().map_or(0, |object| object.metadata.generation);
    let api_version = request.kind.api_version();
    // Of what changes nothing that is guarded, nothing.
    let judged: Option<Verdict> = match (&*api_version, &*request.kind.kind, &*request.sub_resource) {
        _ if request.operation == Operation::Connect => Some(unsupported(request)),
        ("v1", "Namespace", "" | "status" | "finalize") => namespaces::judge(request, ground, facts.known, &mut record),
        ("v1", "ConfigMap", "") if request.namespace == ground.system_namespace => {
            documents::judge(request, ground, facts.known, &mut record)
        }
        ("v1", "ConfigMap", "") => bundles::judge(request, ground, &mut record),
        (_, _, "status") => metadata::judge(request, ground, &mut record),
        _ => Some(unsupported(request)),
    };
    match judged {
        None => Decision::not_an_action(record),
        Some(verdict) => Decision::new(record, verdict, generation),
    }
}

fn unsupported(request: &Request<'_>) -> Verdict {
    judged_by(vec![unsupported_kind(request)])
}
