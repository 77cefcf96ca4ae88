//! A rotation of the CA under load, with lifetimes of seconds.

use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, PostParams};
use serde_json::json;

use crate::certificates::{Installed, LIMIT, Released, certificates, matches, readiness};
use writgate_testing::wait_until;

/// A CA of 30 seconds is renewed after 20, and its leaves of 9 seconds after 6.
const TERMS: [&str; 6] = ["--ca-lifetime", "30s", "--leaf-lifetime", "9s", "--bundle-settle", "3s"];
const LOAD: Duration = Duration::from_secs(55);

pub(super) fn a_rotation_of_the_ca_loses_no_request(released: &Released) {
    let installed = Installed::new(released, "rotation");
    let [replica, other] = ["a", "b"].map(|name| installed.replica(name, &TERMS));
    installed.configure(&replica);
    replica.wait_ready(LIMIT);
    other.wait_ready(LIMIT);
    installed.wait_served();
    let first = installed.secret("ca.crt");

    let deployment: Deployment = serde_json::from_value(json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "load"}, "spec": {"selector": {"matchLabels": {"app": "x"}}, "template": {
            "metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}}))
    .expect("a Deployment");
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let (mut calls, mut failures, mut unready, mut most) = (0, Vec::new(), 0, 0);
    let begun = Instant::now();
    let api: Api<Deployment> =
        released.plane.block_on(async { Api::namespaced(released.plane.admin.client().await, &installed.namespace) });
    while begun.elapsed() < LOAD {
        for _ in 0..20 {
            calls += 1;
            if let Err(error) = released.plane.block_on(api.create(&params, &deployment)) {
                failures.push(error.to_string());
            }
        }
        unready += [&replica, &other].into_iter().filter(|replica| readiness(replica).0 != 200).count();
        if calls % 400 == 0 {
            most = most.max(certificates(&installed.bundles()[0]));
        }
    }
    assert_eq!(failures, [""; 0], "of {calls}");
    assert!(calls > 200, "{calls}");
    assert_eq!(unready, 0, "no replica was unready");
    assert_ne!(installed.secret("ca.crt"), first);
    assert!((1..=3).contains(&most), "{most} CAs in the bundle");
    assert!(!installed.bundles()[0].contains(first.trim()), "the first CA has left the bundle");
    wait_until("the bundle accepts both", LIMIT, || (matches(&replica) && matches(&other)).then_some(()));
    let made = replica.stop().matches("\"serving certificate made\"").count();
    assert!(made >= 5, "{made} leaves");
}
