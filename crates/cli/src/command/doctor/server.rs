//! The API server itself: its version and its clock; and the system namespace.

use jiff::{SignedDuration, Timestamp, fmt::rfc2822::DateTimeParser};
use writgate_cluster::clock as own;
use writgate_core::vocabulary::ENVIRONMENT_LABEL;

use super::{
    expected::OLDEST_MINOR,
    reader::{Reader, request},
    report::{Examination, Finding},
};
use crate::failure::Failure;

/// The largest difference that nobody notices.
const NOTICEABLE: SignedDuration = SignedDuration::from_secs(5);
/// `approve` dates an approval one minute back.
const TOLERATED: SignedDuration = SignedDuration::from_secs(60);

pub(super) fn version(reader: &Reader<'_>) -> Result<Examination, Failure> {
    let Some(version) = reader.cluster.version() else {
        // Asked again for the reason, if there is one.
        reader.get("/version", "the API server's version")?;
        return Err(Failure::Undetermined("the API server's version has an unknown form; expected 1.MINOR".to_owned()));
    };
    let mut findings = Vec::new();
    if version.minor < OLDEST_MINOR {
        findings.push(Finding::failed(
            format!("the API server is {}, expected v1.{OLDEST_MINOR} or later; it ignores matchConditions or lacks policies", version.name),
            format!("upgrade the cluster to Kubernetes 1.{OLDEST_MINOR} or later"),
        ));
    }
    Ok(Examination::new(version.name.clone(), findings))
}

pub(super) fn clock(reader: &Reader<'_>) -> Result<Examination, Failure> {
    let before = own::now();
    let date = reader.cluster.ask("read the API server's clock", async {
        let request = request("GET", "/version", None).map(kube::client::Body::from);
        let response = reader.cluster.client.send(request).await?;
        Ok(response.headers().get("date").and_then(|date| date.to_str().ok()).map(str::to_owned))
    })?;
    let after = own::now();
    let date = date.as_deref().and_then(|date| DateTimeParser::new().parse_timestamp(date).ok());
    let Some(date) = date else {
        return Err(Failure::Undetermined(
            "the API server's response has no Date header; compare the clocks by hand".to_owned(),
        ));
    };
    let difference = difference(before, after, date);
    let text = format!("this machine's clock differs from the API server's by {difference:#}");
    let mut findings = Vec::new();
    if difference.abs() > TOLERATED {
        findings.push(Finding::failed(
            format!("{text}, expected at most {NOTICEABLE:#}; approvals that are signed here begin and end at the wrong time"),
            "synchronise the clocks of this machine and of the control plane (NTP)",
        ));
    } else if difference.abs() > NOTICEABLE {
        findings.push(Finding::warning(
            format!("{text}, expected at most {NOTICEABLE:#}"),
            "synchronise the clocks of this machine and of the control plane (NTP)",
        ));
    }
    let summary = format!("this machine's clock and the API server's differ by at most {NOTICEABLE:#}");
    Ok(Examination::new(summary, findings))
}

/// How far the own clock is ahead of the other, at least. The date has no fractions of a second.
fn difference(before: Timestamp, after: Timestamp, date: Timestamp) -> SignedDuration {
    let ahead = before.duration_since(date) - SignedDuration::from_secs(1);
    let behind = date.duration_since(after);
    if ahead.is_positive() {
        SignedDuration::from_secs(ahead.as_secs())
    } else if behind.is_positive() {
        SignedDuration::from_secs(-behind.as_secs())
    } else {
        SignedDuration::ZERO
    }
}

pub(super) fn system_namespace(reader: &Reader<'_>) -> Result<Examination, Failure> {
    let system = reader.system();
    let Some(found) = reader.get(&format!("/api/v1/namespaces/{system}"), &format!("namespace {system}"))? else {
        return Ok(Examination::new(
            "",
            vec![Finding::failed(
                format!("namespace {system} does not exist; without it, the webhook and the postures are gone"),
                "install Writgate with `helm install`, or pass --system-namespace",
            )],
        ));
    };
    let mut findings = Vec::new();
    if !found["metadata"]["deletionTimestamp"].is_null() {
        findings.push(Finding::failed(
            format!("namespace {system} is being deleted, and with it the postures, the revocations and the ledger"),
            "save its ConfigMaps and Secret writgate-ledger, and install Writgate again",
        ));
    }
    if !found["metadata"]["labels"][ENVIRONMENT_LABEL].is_null() {
        findings.push(Finding::warning(
            format!("namespace {system} has the label {ENVIRONMENT_LABEL}, which has no effect there"),
            format!("remove it: kubectl label namespace {system} {ENVIRONMENT_LABEL}- writgate.dev/project-"),
        ));
    }
    Ok(Examination::new(format!("namespace {system} exists"), findings))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_below_the_date_headers_precision_is_none() {
        let time = |text: &str| text.parse::<Timestamp>().expect("a time");
        let at = |date: &str| {
            difference(time("2026-11-22T11:00:00.2Z"), time("2026-11-22T11:00:00.9Z"), time(date)).as_secs()
        };
        assert_eq!(at("2026-11-22T11:00:00Z"), 0);
        assert_eq!(at("2026-11-22T10:59:59Z"), 0);
        assert_eq!(at("2026-11-22T11:00:01Z"), 0);
        assert_eq!(at("2026-11-22T10:58:50Z"), 69);
        assert_eq!(at("2026-11-22T11:01:10Z"), -69);
    }
}
