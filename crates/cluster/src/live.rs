//! What covers a workload that exists: the one classification that `kubectl writgate coverage` and the webhook's re-audit render.
//!
//! Core decides and classifies ([`coverage`]). Here are the objects that are asked about, and the requests about them.

use jiff::Timestamp;
use serde_json::{Value, json};
use writgate_core::{
    approval::{Approval, DetachedApproval, DetachedQuery, Envelope},
    decide::{Coverage, coverage},
    kube::{WorkloadKind, group_and_version},
    posture::Posture,
    record::Decision,
    vocabulary::{APPROVAL_ANNOTATION, APPROVAL_REF, is_approval},
};

/// The user of a request that nobody sent.
pub const UNKNOWN_USER: &str = "system:anonymous";

/// Kubernetes' own kinds. A kind comes after the kinds that control it.
pub const KINDS: [WorkloadKind; 7] = [
    WorkloadKind::Deployment,
    WorkloadKind::CronJob,
    WorkloadKind::StatefulSet,
    WorkloadKind::DaemonSet,
    WorkloadKind::ReplicationController,
    WorkloadKind::Job,
    WorkloadKind::ReplicaSet,
];

/// The approvals of another spec or object that are tried for one workload. Anybody who writes ConfigMaps can write any number.
const MAX_NEAR: usize = 8;
/// The approvals with one spec hash that are passed to one decision, which tries fewer.
const MAX_OF_A_HASH: usize = 64;

/// The detached approvals of a namespace, with the claims of their statements. No claim is verified: it only says which approvals
/// to try. They are read once, however many workloads there are.
#[derive(Default)]
pub struct ClaimedApprovals(Vec<(DetachedApproval, Approval)>);

impl ClaimedApprovals {
    /// Those that can be read, the ones that last longest first.
    #[must_use]
    pub fn of(approvals: Vec<DetachedApproval>) -> Self {
        let claimed = |approval: DetachedApproval| {
            let claims = Approval::parse(Envelope::parse(&approval.text).ok()?.payload()).ok()?;
            Some((approval, claims))
        };
        let mut found: Vec<(DetachedApproval, Approval)> = approvals.into_iter().filter_map(claimed).collect();
        found.sort_by_key(|(_, claims)| std::cmp::Reverse(claims.expires_at));
        Self(found)
    }

    /// The approvals that answer `query`; of a spec hash, the ones that last longest.
    #[must_use]
    pub fn matching(&self, query: &DetachedQuery) -> Vec<DetachedApproval> {
        let matches = |(approval, claims): &&(DetachedApproval, Approval)| match query {
            DetachedQuery::Name(name) => approval.name == *name,
            DetachedQuery::Hash(hash) => claims.subjects.iter().any(|subject| subject.hash == *hash),
        };
        self.0.iter().filter(matches).take(MAX_OF_A_HASH).map(|(approval, _)| approval.clone()).collect()
    }

    /// The approvals that name the object `subject`, whatever its spec.
    fn near(&self, subject: &str) -> impl Iterator<Item = &DetachedApproval> {
        let is_near = move |claims: &Approval| claims.subjects.iter().any(|near| near.name == subject);
        self.0.iter().filter(move |(_, claims)| is_near(claims)).map(|(approval, _)| approval).take(MAX_NEAR)
    }

    /// What covers `object`, and the decision that shows it. `decide` decides about creating the object that it is given.
    ///
    /// A decision looks for detached approvals by the spec hash, so it does not consider those of another spec. They are tried here,
    /// as if they were attached: `subject` is the name of the object in an approval.
    ///
    /// # Errors
    ///
    /// Fails as `decide` fails.
    pub fn coverage<E>(
        &self,
        now: Timestamp,
        posture: Option<&Posture>,
        object: &Value,
        subject: &str,
        mut decide: impl FnMut(&Value, Timestamp) -> Result<Decision, E>,
    ) -> Result<(Coverage, Decision), E> {
        let found = coverage(now, posture, |at| decide(object, at))?;
        if found.0 != Coverage::Unapproved {
            return Ok(found);
        }
        for approval in self.near(subject) {
            let attached = attached(object, &[&approval.text]);
            let other = coverage(now, posture, |at| decide(&attached, at))?;
            if other.0 == Coverage::OtherSpec {
                return Ok(other);
            }
        }
        Ok(found)
    }
}

/// What the re-audit reports about a workload, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// Its approval, a key that signed it, or its spec is revoked.
    Revoked,
    /// It is not what was approved: approvals exist, but for another spec or another object.
    Drifted,
    /// No reviewer has approved it.
    Unapproved,
    /// An approval for it exists, but it fails another check today.
    Insufficient,
    /// It could not be decided.
    Unreadable,
    /// No reviewer has approved it, and it is older than the governance of its namespace.
    PreGovernance,
    /// It was approved, and the approval has expired since.
    Expired,
    /// It is approved.
    Approved,
    /// It requires no approval.
    NotRequired,
}

impl Standing {
    /// Every value, the worst first.
    pub const ALL: [Self; 9] = [
        Self::Revoked,
        Self::Drifted,
        Self::Unapproved,
        Self::Insufficient,
        Self::Unreadable,
        Self::PreGovernance,
        Self::Expired,
        Self::Approved,
        Self::NotRequired,
    ];

    /// `is_older` is whether the workload is older than the governance of its namespace.
    #[must_use]
    pub const fn of(coverage: Coverage, is_older: bool) -> Self {
        match coverage {
            Coverage::Revoked => Self::Revoked,
            Coverage::OtherSpec => Self::Drifted,
            Coverage::Unapproved if is_older => Self::PreGovernance,
            Coverage::Unapproved => Self::Unapproved,
            Coverage::Insufficient => Self::Insufficient,
            Coverage::Unreadable => Self::Unreadable,
            Coverage::Expired => Self::Expired,
            Coverage::Approved => Self::Approved,
            Coverage::NotRequired => Self::NotRequired,
        }
    }

    /// The stable word in metrics, logs and reports: `pre-governance`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::Drifted => "drifted",
            Self::Unapproved => "unapproved",
            Self::Insufficient => "insufficient",
            Self::Unreadable => "unreadable",
            Self::PreGovernance => "pre-governance",
            Self::Expired => "expired",
            Self::Approved => "approved",
            Self::NotRequired => "not-required",
        }
    }

    /// Whether somebody should look at it. Workloads from before governance are known since the namespace was labelled.
    #[must_use]
    pub const fn is_alarming(self) -> bool {
        matches!(self, Self::Revoked | Self::Drifted | Self::Unapproved | Self::Insufficient | Self::Unreadable)
    }
}

/// Whether an annotation holds an approval or refers to one.
#[must_use]
pub fn is_of_an_approval(annotation: &str) -> bool {
    annotation == APPROVAL_REF || is_approval(annotation)
}

/// The object with these approvals, and no others.
#[must_use]
pub fn attached(object: &Value, envelopes: &[&str]) -> Value {
    let mut object = object.clone();
    if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
        let annotations = metadata.entry("annotations").or_insert(Value::Null);
        if annotations.is_null() {
            *annotations = json!({});
        }
        if let Some(annotations) = annotations.as_object_mut() {
            annotations.retain(|name, _| !is_of_an_approval(name));
            for (number, envelope) in envelopes.iter().enumerate() {
                annotations.insert(format!("{APPROVAL_ANNOTATION}.{}", number + 1), (*envelope).into());
            }
        }
    }
    object
}

/// A request that nobody sent.
pub struct UnsentRequest<'a> {
    /// The uid of the AdmissionReview.
    pub uid: &'a str,
    /// The namespace.
    pub namespace: &'a str,
    /// The name; empty if the API server would generate it.
    pub name: &'a str,
    /// The user.
    pub user: &'a str,
    /// `group/version`, or the version alone.
    pub api_version: &'a str,
    /// The kind.
    pub kind: &'a str,
    /// The plural resource.
    pub resource: &'a str,
    /// The object that is replaced; without one, the request creates the object.
    pub old_object: Option<&'a Value>,
}

impl UnsentRequest<'_> {
    /// The AdmissionReview that the API server would send about `object`, as JSON.
    #[must_use]
    pub fn review(&self, object: &Value) -> Vec<u8> {
        let Self { uid, namespace, name, user, api_version, kind, resource, old_object } = self;
        let (operation, options) =
            if old_object.is_some() { ("UPDATE", "UpdateOptions") } else { ("CREATE", "CreateOptions") };
        let (group, version) = group_and_version(api_version);
        let review = json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {
                "uid": uid,
                "kind": {"group": group, "version": version, "kind": kind},
                "resource": {"group": group, "version": version, "resource": resource},
                "namespace": namespace,
                "name": name,
                "operation": operation,
                "userInfo": {"username": user},
                "object": object,
                "oldObject": old_object,
                "dryRun": false,
                "options": {"apiVersion": "meta.k8s.io/v1", "kind": options},
            },
        });
        review.to_string().into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An approval that expires at this minute after 10:00.
    fn detached(minute: usize, subject: &str, digit: &str) -> DetachedApproval {
        let payload = json!({
            "_type": "https://in-toto.io/Statement/v1", "predicateType": "https://writgate.dev/approval/v1",
            "subject": [{"name": subject, "digest": {"sha256": digit.repeat(64)}}],
            "predicate": {"id": "01935a00-0000-7000-8000-000000000001", "projection": "v1", "action": "deploy",
                "environment": "production", "project": "payments", "capabilities": ["deploy"], "requestedBy": "alice",
                "notBefore": "2026-11-22T09:00:00Z",
                "expiresAt": format!("2026-11-22T{}:{:02}:00Z", 10 + minute / 60, minute % 60)}
        });
        let mut envelope = Envelope::new(payload.to_string().into_bytes());
        envelope.add_signature("0".repeat(64).parse().expect("a key id"), [7; 64]);
        DetachedApproval { name: format!("approval-{minute}"), text: envelope.to_json() }
    }

    #[test]
    fn a_crowd_of_approvals_costs_a_bounded_number_of_decisions() {
        let mut crowd: Vec<DetachedApproval> = (0..70).map(|minute| detached(minute, "orders", "1")).collect();
        crowd.push(DetachedApproval { name: "junk".to_owned(), text: "{}".to_owned() });
        crowd.push(detached(5, "billing", "2"));
        let claimed = ClaimedApprovals::of(crowd);
        let names = |approvals: Vec<DetachedApproval>| -> Vec<String> {
            approvals.into_iter().map(|approval| approval.name).collect()
        };
        let near = names(claimed.near("orders").cloned().collect());
        assert_eq!((near.len(), &*near[0]), (MAX_NEAR, "approval-69"), "the ones that last longest");
        assert_eq!(names(claimed.near("billing").cloned().collect()), ["approval-5"]);
        assert_eq!(claimed.near("other").count(), 0);
        let of_hash = |digit: &str| {
            claimed.matching(&DetachedQuery::Hash(format!("sha256:{}", digit.repeat(64)).parse().expect("a hash")))
        };
        assert_eq!(of_hash("1").len(), MAX_OF_A_HASH);
        assert_eq!(names(of_hash("2")), ["approval-5"]);
        assert_eq!(names(claimed.matching(&DetachedQuery::Name("approval-3".to_owned()))), ["approval-3"]);
        assert!(claimed.matching(&DetachedQuery::Name("junk".to_owned())).is_empty());
    }

    #[test]
    fn only_an_unapproved_workload_can_be_older_than_governance() {
        for coverage in Coverage::ALL {
            let (older, newer) = (Standing::of(coverage, true), Standing::of(coverage, false));
            assert_eq!(older != newer, coverage == Coverage::Unapproved, "{coverage}");
        }
        assert_eq!(Standing::of(Coverage::Unapproved, true), Standing::PreGovernance);
        let words: std::collections::BTreeSet<&str> = Standing::ALL.map(Standing::as_str).into();
        assert_eq!(words.len(), Standing::ALL.len());
    }
}
