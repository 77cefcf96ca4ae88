//! `make e2e-cluster`: installs Writgate on a real cluster of one node, with the image and the chart of a release. Shows which
//! workloads start, and counts the calls that fail while Pods, certificates and versions change. `docs/operations/availability.md` has the
//! results.
//!
//! It runs as root in namespaces of its own (`tests/single-node/enter.sh`). Arguments select faults by name. `WRITGATE_CALLS` is
//! the least number of calls during each of them. The argument `cert-manager` alone installs the chart with that mode instead.

mod cluster;
mod faults;
mod load;
mod node;
mod workloads;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::exit;
use std::sync::atomic::Ordering;
use std::time::Instant;

use cluster::Cluster;
use faults::{FAULTS, Fault, RENEWAL};
use load::Load;

fn main() {
    let selected: Vec<String> = std::env::args().skip(1).collect();
    let is_cert_manager = selected == ["cert-manager"];
    for name in selected.iter().filter(|_| !is_cert_manager) {
        let known: Vec<_> = ["workloads"].into_iter().chain(FAULTS.iter().map(|fault| fault.name)).collect();
        assert!(
            known.contains(&&**name),
            "unknown: {name}; expected `cert-manager` alone, or some of {}",
            known.join(", ")
        );
    }
    let is_selected = |name: &str| selected.is_empty() || selected.iter().any(|selected| selected == name);
    let calls =
        std::env::var("WRITGATE_CALLS").map_or(10_000, |calls| calls.parse().expect("WRITGATE_CALLS is a number"));

    let begun = Instant::now();
    rustls::crypto::ring::default_provider().install_default().ok();
    let mut cluster = Cluster::start();
    say(begun, "the node is ready");
    let mut rows = Vec::new();
    // A panic has printed its message. The rows so far are printed all the same.
    let done = catch_unwind(AssertUnwindSafe(|| {
        let mode: &[&str] = if is_cert_manager {
            cluster.node.start_cert_manager();
            &["--set", "certificates.mode=cert-manager"]
        } else {
            &[]
        };
        let (ready, denied) = cluster.install(mode);
        let installed = format!(
            "`helm install`: Pods ready after {:.1} s, first denial after {:.1} s",
            ready.as_secs_f64(),
            denied.as_secs_f64()
        );
        say(begun, &installed);
        cluster.wait_settled();
        cluster.wait_watched();
        say(begun, "one replica holds the Lease; its canary is denied, and it has ended a re-audit");
        if is_cert_manager || is_selected("workloads") {
            workloads::prove(&cluster, |line| say(begun, line));
        }
        let mut is_good = true;
        let faults: Vec<&Fault> = if is_cert_manager {
            vec![&RENEWAL]
        } else {
            FAULTS.iter().filter(|fault| is_selected(fault.name)).collect()
        };
        for fault in faults {
            is_good &= during(&cluster, fault, calls, begun, &mut rows);
            if !fault.removes {
                cluster.wait_watched();
            }
        }
        is_good
    }));
    if !matches!(done, Ok(true)) {
        cluster.node.keep_pod_logs();
    }
    println!("\n| what was tried | calls | failed calls | slowest call |\n|---|---:|---:|---:|");
    for row in &rows {
        println!("{row}");
    }
    println!("\n{:.0} s in all", begun.elapsed().as_secs_f64());
    // The namespaces end with this process, so nothing is stopped in order.
    exit(i32::from(!done.unwrap_or(false)));
}

/// Counts the calls during a fault. Returns whether few enough failed.
fn during(cluster: &Cluster, fault: &Fault, calls: usize, begun: Instant, rows: &mut Vec<String>) -> bool {
    say(begun, &format!("{} …", fault.name));
    let load = Load::start(cluster);
    let happened = catch_unwind(AssertUnwindSafe(|| (fault.happen)(cluster)));
    let tally = load.finish(cluster, if happened.is_ok() { calls } else { 0 });
    say(begun, &format!("{}: {tally}", fault.name));
    let [made, failed, admitted] =
        [&tally.calls, &tally.failed, &tally.admitted].map(|count| count.load(Ordering::Relaxed));
    rows.push(format!("| {} | {made} | {failed} | {:.1} s |", fault.what, tally.slowest().as_secs_f64()));
    if let Err(panic) = happened {
        std::panic::resume_unwind(panic);
    }
    assert!(fault.removes || admitted == 0, "{admitted} objects without an approval were admitted");
    failed <= fault.allowed
}

fn say(begun: Instant, what: &str) {
    println!("{:6.1} s  {what}", begun.elapsed().as_secs_f64());
    // A reader waits for minutes.
    std::io::Write::flush(&mut std::io::stdout()).ok();
}
