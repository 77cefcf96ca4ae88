//! What the holder of the Lease does, and how current each Pod's postures are, from the metrics of the Pods.
//!
//! The thresholds are those of the alerts in `charts/writgate/monitoring/alerts.yaml`.

use jiff::{SignedDuration, Timestamp};
use writgate_core::encoding::parse_duration;

use super::{
    expected::WEBHOOK,
    metrics::{PodMetrics, times, values},
    reader::Reader,
    report::{Examination, Finding},
};

/// What happens at intervals is late after so many of them.
const INTERVALS: i32 = 6;
/// The canary is never late before.
const CANARY_AGE: SignedDuration = SignedDuration::from_mins(3);
/// The re-audit is never late before.
const REAUDIT_AGE: SignedDuration = SignedDuration::from_hours(1);
/// From this age of its postures on, the webhook denies everything.
const TOO_OLD: f64 = 60.0;
/// An age that a webhook with working watches does not reach.
const NOTICEABLE: f64 = 50.0;

const READ: &str = "run doctor as a user who may read the metrics of Pods (pods/proxy)";

/// The intervals in the webhook's arguments; none for what is off.
struct Intervals {
    canary: Option<SignedDuration>,
    reaudit: Option<SignedDuration>,
    sweep: Option<SignedDuration>,
}

impl Intervals {
    fn of(reader: &Reader<'_>) -> Self {
        let arguments = reader.arguments_or_default();
        let of = |flag: &str| parse_duration(arguments.iter().find_map(|one| one.strip_prefix(flag))?).ok();
        Self {
            canary: of("--canary-interval="),
            reaudit: of("--reaudit-interval="),
            sweep: of("--request-sweep-interval="),
        }
    }
}

pub(super) fn holder(reader: &Reader<'_>) -> Examination {
    let Intervals { canary, reaudit, sweep } = Intervals::of(reader);
    if canary.or(reaudit).or(sweep).is_none() {
        return Examination::new("the canary, the re-audit and the sweep are off, so there is no Lease", Vec::new());
    }
    let pods = match reader.metrics() {
        Ok(pods) => pods,
        Err(why) => {
            let found = format!("whether a Pod holds the Lease {WEBHOOK} is unknown: {why}");
            return Examination::new("", vec![Finding::unknown(found, READ)]);
        }
    };
    let mut holders = values(pods, "writgate_lease_holder").into_iter().filter(|(_, value)| *value > 0.5);
    let Some((holder, _)) = holders.next_back() else {
        return Examination::new("", vec![not_held(reader)]);
    };
    let mut findings = Vec::new();
    let mut summary = format!("Pod {holder} holds the Lease");
    if let Some(interval) = canary {
        let age = CANARY_AGE.max(interval.saturating_mul(INTERVALS));
        match (not_denied(reader, pods), last(pods, "writgate_canary_last_denied_timestamp_seconds")) {
            (Some(finding), _) => findings.push(finding),
            (None, Some(time)) if reader.now.duration_since(time) > age => findings.push(Finding::warning(
                format!(
                    "the canary was last denied at {time}, expected at most {age:#} ago; its dry runs have no answer"
                ),
                format!(
                    "see why: kubectl logs -n {} {holder}; the message about the canary names a missing right",
                    reader.system()
                ),
            )),
            (None, Some(time)) => summary = format!("{summary}, the canary was last denied at {time}"),
            (None, None) => findings.push(not_reported("the canary", holder)),
        }
    }
    if let Some(interval) = reaudit {
        let age = REAUDIT_AGE.max(interval.saturating_mul(INTERVALS));
        match last(pods, "writgate_reaudit_last_success_timestamp_seconds") {
            Some(time) if reader.now.duration_since(time) > age => findings.push(Finding::warning(
                format!("the last complete re-audit ended at {time}, expected at most {age:#} ago"),
                format!(
                    "see why: kubectl logs -n {} {holder}; `kubectl writgate coverage -A` does the same check once",
                    reader.system()
                ),
            )),
            Some(time) => summary = format!("{summary}, the last complete re-audit ended at {time}"),
            None => findings.push(not_reported("the re-audit", holder)),
        }
    }
    Examination::new(summary, findings)
}

fn not_held(reader: &Reader<'_>) -> Finding {
    let system = reader.system();
    let path = format!("/apis/coordination.k8s.io/v1/namespaces/{system}/leases/{WEBHOOK}");
    let lease = match reader.get(&path, &format!("Lease {system}/{WEBHOOK}")) {
        Ok(Some(lease)) => match lease["spec"]["holderIdentity"].as_str() {
            Some(holder) if !holder.is_empty() => format!("its holder is {holder}"),
            _ => "it has no holder".to_owned(),
        },
        Ok(None) => "it does not exist".to_owned(),
        Err(_) => "you may not read it".to_owned(),
    };
    Finding::warning(
        format!("no Pod holds the Lease {WEBHOOK}, and {lease}; nobody sends the canary or does the re-audit"),
        format!(
            "wait a minute after a rollout; otherwise see why: kubectl logs -n {system} deployment/{WEBHOOK}; kubectl get lease {WEBHOOK} \
             -n {system} -o yaml"
        ),
    )
}

/// The finding about a canary that was not denied.
fn not_denied(reader: &Reader<'_>, pods: &[PodMetrics]) -> Option<Finding> {
    let all = values(pods, "writgate_canary_denied");
    let (pod, _) = all.into_iter().find(|(_, value)| *value == 0.0)?;
    Some(Finding::failed(
        format!(
            "Pod {pod} reports writgate_canary_denied 0: a dry run that this installation must deny was not denied by it"
        ),
        format!(
            "its log says what was found: kubectl logs -n {} {pod}; `kubectl writgate doctor --only webhook-configuration,dry-run` names \
             the cause",
            reader.system()
        ),
    ))
}

fn not_reported(what: &str, holder: &str) -> Finding {
    Finding::unknown(
        format!("Pod {holder} holds the Lease and does not report {what}"),
        "run doctor again in a minute, and make sure that the Pod runs with the arguments of the Deployment",
    )
}

/// The latest time that a Pod reports.
fn last(pods: &[PodMetrics], metric: &str) -> Option<Timestamp> {
    times(pods, metric).into_iter().map(|(_, time)| time).max()
}

pub(super) fn watches(reader: &Reader<'_>) -> Examination {
    let pods = match reader.metrics() {
        Ok(pods) => pods,
        Err(why) => {
            let found = format!("how current the webhook's postures and namespaces are is unknown: {why}");
            return Examination::new("", vec![Finding::unknown(found, READ)]);
        }
    };
    let ages = values(pods, "writgate_posture_age_seconds");
    let mut findings = Vec::new();
    for (pod, age) in &ages {
        let found = format!("Pod {pod}: its postures and namespaces were last proved current {age:.0} s ago");
        let remedy = format!(
            "see why: kubectl logs -n {} {pod} | grep 'cannot follow the cluster'; `kubectl writgate doctor --only permissions` names a \
             missing right",
            reader.system()
        );
        if *age > TOO_OLD {
            findings.push(Finding::failed(
                format!("{found}, expected at most {TOO_OLD:.0} s; it denies everything"),
                remedy,
            ));
        } else if *age > NOTICEABLE {
            findings.push(Finding::warning(format!("{found}, expected at most {NOTICEABLE:.0} s"), remedy));
        }
    }
    let oldest = ages.iter().map(|(_, age)| *age).fold(0.0, f64::max);
    let summary =
        format!("the postures and namespaces of {} Pods were proved current in the last {oldest:.0} s", ages.len());
    if ages.is_empty() {
        let found = "no Pod reports writgate_posture_age_seconds";
        findings.push(Finding::unknown(found, "use the image and the plugin of one version"));
    }
    Examination::new(summary, findings)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_thresholds_are_those_of_the_alerts() {
        let alerts = writgate_testing::repository().join("charts/writgate/monitoring/alerts.yaml");
        let alerts = fs::read_to_string(alerts).expect("a file");
        for expression in [
            format!("time() - max(writgate_canary_last_denied_timestamp_seconds) > {}\n", CANARY_AGE.as_secs()),
            format!("time() - max(writgate_reaudit_last_success_timestamp_seconds) > {}\n", REAUDIT_AGE.as_secs()),
            format!("max by (instance) (writgate_posture_age_seconds) > {NOTICEABLE}\n"),
        ] {
            assert!(alerts.contains(&expression), "{expression}");
        }
    }
}
