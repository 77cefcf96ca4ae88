//! The Lease: who takes it over, and what happens without rights to it.

use std::time::{Duration, Instant};

use super::{LIMIT, SYSTEM_NAMESPACE, Watched, is_holder, json, pod, value, wait_value};
use writgate_testing::{denied_for, wait_until};

/// The term of the Lease, two looks at it, and the first canary.
const TAKEOVER: Duration = Duration::from_secs(25);

pub(super) fn another_replica_takes_over_when_the_holder_dies(watched: &Watched) {
    let _turn = watched.turn();
    let one = watched.replica("one");
    wait_until("the first replica holds the Lease", LIMIT, || is_holder(&one).then_some(()));
    let two = watched.replica("two");
    wait_until("the second replica sees the holder", LIMIT, || {
        two.lines().contains("another replica holds the Lease").then_some(())
    });
    assert!(is_holder(&one) && !is_holder(&two));
    assert_eq!(value(&two, "writgate_canary_denied"), None, "only the holder reports it");
    let begun = Instant::now();
    one.kill();
    wait_value(&two, "writgate_canary_denied", Some(1.0));
    assert!(begun.elapsed() < TAKEOVER, "{:?}", begun.elapsed());
    let lease = watched.get(&["lease", "writgate-webhook", "-n", SYSTEM_NAMESPACE]);
    assert_eq!(lease["spec"]["leaseTransitions"], 2);
}

pub(super) fn a_stranger_that_holds_the_lease_stops_the_canary_and_no_admission(watched: &Watched) {
    let _turn = watched.turn();
    let governed = watched.installation.governed("stranger");
    let probe = pod(&governed.namespace).to_string();
    let lease = || {
        let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string();
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": "writgate-webhook", "namespace": SYSTEM_NAMESPACE},
            "spec": {"holderIdentity": "stranger", "leaseDurationSeconds": 15, "renewTime": now}})
        .to_string()
    };
    // Only the webhook may write it, so this stranger has its token.
    let webhook = format!("system:serviceaccount:{SYSTEM_NAMESPACE}:writgate-webhook");
    drop(watched.installation.plane.admin.kubectl_in(&["create", "-f", "-", "--as", &webhook], &lease()));
    let write = || watched.admin(&["replace", "-f", "-", "--as", &webhook], &lease());
    write();
    let replica = watched.replica("stranger");
    // Longer than the term, so that a holder that does not renew would have lost it.
    for _ in 0..12 {
        write();
        std::thread::sleep(Duration::from_secs(2));
        assert_eq!(value(&replica, "writgate_lease_holder"), Some(0.0));
        assert_eq!(value(&replica, "writgate_canary_denied"), None);
    }
    let lines = replica.lines();
    assert!(lines.contains("another replica holds the Lease") && lines.contains("stranger"), "{lines}");
    assert!(matches!(replica.http_get("/readyz"), Ok((200, _))), "the replica stays ready");
    let ran = watched.installation.plane.admin.kubectl_in(&["create", "--dry-run=server", "-f", "-"], &probe);
    assert!(denied_for(&ran, "WorkloadNotAllowed") || denied_for(&ran, "ApprovalRequired"), "{ran}");
    wait_value(&replica, "writgate_canary_denied", Some(1.0));
}

pub(super) fn a_holder_without_rights_stops_and_admission_goes_on(watched: &Watched) {
    let _turn = watched.turn();
    let governed = watched.installation.governed("rights");
    let replica = watched.replica("rights");
    wait_value(&replica, "writgate_canary_denied", Some(1.0));
    let role = ["role", "writgate-webhook", "-n", SYSTEM_NAMESPACE];
    let permitted = watched.remember(&role);
    let mut reduced = permitted.clone();
    let rules = reduced["rules"].as_array_mut().expect("rules");
    rules.retain(|rule| rule["resources"] != json!(["leases"]));
    watched.restore(&reduced);
    wait_value(&replica, "writgate_lease_holder", Some(0.0));
    wait_value(&replica, "writgate_canary_denied", None);
    assert!(replica.metric("writgate_lease_checks_total", &[("outcome", "failed")]) >= 1.0);
    let probe = pod(&governed.namespace).to_string();
    let ran = watched.installation.plane.admin.kubectl_in(&["create", "--dry-run=server", "-f", "-"], &probe);
    assert!(denied_for(&ran, "WorkloadNotAllowed") || denied_for(&ran, "ApprovalRequired"), "{ran}");
    assert!(matches!(replica.http_get("/readyz"), Ok((200, _))), "the replica stays ready");
    std::thread::sleep(Duration::from_secs(6));
    let lines = replica.lines();
    assert_eq!(lines.matches("the Lease cannot be kept").count(), 1, "a lasting failure is logged once: {lines}");
    watched.restore(&permitted);
    wait_value(&replica, "writgate_canary_denied", Some(1.0));
}
