//! The payload of an envelope that a reviewer's key signed: a reviewer's tool may be wrong or malicious.

use jiff::SignedDuration;
use writgate_core::approval::{Action, Approval};

use crate::world::{NOW, World, outcome};

/// The decision on a Deployment with this approval.
pub(crate) fn run(payload: &[u8]) -> String {
    let world = World::shared();
    let decision = world.decide(&world.approved_by(&world.signed(payload).to_json()), "production");
    let approval = Approval::parse(payload);
    if let Ok(approval) = &approval {
        assert_eq!(
            Approval::parse(&approval.to_payload()).as_ref(),
            Ok(approval),
            "the written approval differs from the parsed one"
        );
    }
    if decision.allowed() {
        check_admitted(&approval.expect("no approval was admitted"), decision.record.spec_hash.expect("a hash"));
    }
    outcome(&decision)
}

/// The conditions for an admission of the Deployment, implemented again without core's code.
fn check_admitted(approval: &Approval, hash: writgate_core::approval::SpecHash) {
    let now = NOW.parse().expect("a time");
    let name = "apps/v1/Deployment/payments/orders";
    assert!(approval.subjects.iter().any(|subject| subject.name == name && subject.hash == hash));
    assert_eq!((approval.cluster.as_deref(), &*approval.environment), (Some("prod-eu-1"), "production"));
    assert_eq!((&*approval.project, approval.action), ("payments", Action::Deploy));
    assert!(approval.not_before <= now && now < approval.expires_at);
    assert!(approval.expires_at.duration_since(approval.not_before) <= SignedDuration::from_hours(24));
    assert!(approval.capabilities.iter().any(|capability| capability == "deploy"));
    assert!(!approval.requested_by.eq_ignore_ascii_case("bob@acme.example"));
    assert_eq!((&approval.pipeline_version, &approval.config_bundle), (&None, &None));
}
