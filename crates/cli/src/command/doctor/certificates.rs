//! The CA bundles of the webhook configuration, and the certificate that the webhook serves.
//!
//! A plugin cannot reach the webhook's port on most clusters. What verifies the certificate there is the API server itself,
//! in the dry runs of `probe`. The metrics of each Pod, through the API server's proxy, say when the certificate expires. If an
//! entry has a URL, the plugin connects to it (`served`).

mod served;

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::{SignedDuration, Timestamp};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use serde_json::Value;

use super::{
    configuration::entries,
    metrics::{times, values},
    probe::{Answer, is_about_certificates},
    reader::Reader,
    report::{Examination, Finding},
    static_manifests,
};
use crate::failure::Failure;
use served::{Served, Target};

/// A certificate that expires sooner is not renewed in time.
const SOON: SignedDuration = SignedDuration::from_hours(48);
const EXPIRY: &str = "writgate_certificate_expiry_timestamp_seconds";
/// 1 if the webhook's certificate chains to the bundle.
const MATCHES: &str = "writgate_ca_bundle_matches";

const CORRECT: &str = "write the CA that signed the serving certificate into caBundle of every entry (tls.caBundle, cert-manager, or the \
                       webhook itself)";

pub(super) fn bundle(reader: &Reader<'_>) -> Result<Examination, Failure> {
    if reader.has_static_manifests() {
        return Ok(static_manifests::bundle(reader));
    }
    let Some(configuration) = reader.configuration()? else {
        let missing = Finding::unknown("there is no webhook configuration", "see the check webhook-configuration");
        return Ok(Examination::new("", vec![missing]));
    };
    let mut findings = Vec::new();
    // The entries by bundle. The order of certificates is part of it.
    let mut bundles: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for entry in entries(&configuration) {
        let bundle = entry["clientConfig"]["caBundle"].as_str().unwrap_or_default();
        match certificates(bundle) {
            Ok(_) => bundles.entry(bundle.to_owned()).or_default().push(entry),
            Err(why) => findings.push(Finding::failed(format!("entry {}: caBundle {why}", name(entry)), CORRECT)),
        }
    }
    if bundles.len() > 1 {
        let groups: Vec<String> = bundles.values().map(|entries| names(entries)).collect();
        findings.push(Finding::warning(format!("the entries have different bundles: {}", groups.join(" / ")), CORRECT));
    }
    let mismatches = reader.metrics().map(|pods| values(pods, MATCHES));
    for (pod, value) in mismatches.iter().flatten().filter(|(_, value)| *value == 0.0) {
        findings.push(Finding::failed(
            format!("Pod {pod} reports {MATCHES} {value}: its certificate does not chain to caBundle"),
            CORRECT,
        ));
    }
    let is_proven = |pods: &Vec<(&str, f64)>| !pods.is_empty() && pods.iter().all(|(_, value)| *value > 0.0);
    let by_metrics = bundles.len() == 1 && mismatches.as_ref().is_ok_and(is_proven);
    for (bundle, entries) in &bundles {
        match verdict(reader, bundle, entries) {
            Verdict::Trusted => {}
            Verdict::Unknown(_) if by_metrics => {}
            Verdict::Unknown(why) => findings.push(Finding::unknown(
                format!(
                    "whether the API server trusts the served certificate with the bundle of {} is unknown: {why}",
                    names(entries)
                ),
                "run doctor as a user who may send its dry runs, or read metrics of Pods (pods/proxy)",
            )),
            Verdict::Refused(why) => {
                findings.push(Finding::failed(
                    format!("the bundle of {} does not verify the webhook: {why}", names(entries)),
                    CORRECT,
                ));
            }
        }
    }
    Ok(Examination::new("the bundle of every entry verifies the certificate that the webhook serves", findings))
}

fn name(entry: &Value) -> &str {
    entry["name"].as_str().unwrap_or_default()
}

fn names(entries: &[&Value]) -> String {
    entries.iter().map(|entry| name(entry)).collect::<Vec<_>>().join(", ")
}

/// The certificates of a bundle as the API has it: PEM in base64.
fn certificates(bundle: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    if bundle.is_empty() {
        return Err("is empty; the API server trusts only its system roots".to_owned());
    }
    let pem = STANDARD.decode(bundle).map_err(|_| "is not base64".to_owned())?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err("contains no PEM certificate".to_owned()),
    }
}

pub(super) enum Verdict {
    Trusted,
    Refused(String),
    Unknown(String),
}

/// What the API server said in the dry runs about the certificate of these entries.
pub(super) fn verdict_of_dry_runs(reader: &Reader<'_>, is_chosen: impl Fn(&str) -> bool) -> Verdict {
    let mut trusted = false;
    for probe in reader.probes().sent.iter().filter(|probe| is_chosen(probe.entry)) {
        match &probe.answer {
            Answer::Denied(_) => trusted = true,
            Answer::NotCalled(why) if is_about_certificates(why) => return Verdict::Refused(why.clone()),
            _ => {}
        }
    }
    if trusted { Verdict::Trusted } else { Verdict::Unknown("no dry run reached it".to_owned()) }
}

/// What the API server said in the dry runs about entries with this bundle; otherwise what a connection to their URL says.
fn verdict(reader: &Reader<'_>, bundle: &str, entries: &[&Value]) -> Verdict {
    let known = verdict_of_dry_runs(reader, |chosen| entries.iter().any(|entry| name(entry) == chosen));
    let Verdict::Unknown(why) = known else { return known };
    let mut trusted = false;
    let mut why = format!("{why}, and its port cannot be reached from here");
    let urls: BTreeSet<Target> = entries.iter().filter_map(|entry| Target::of(reader, entry)).collect();
    for url in urls {
        match served::connect(&url, &certificates(bundle).unwrap_or_default(), reader.now) {
            Served::Trusted(_) => trusted = true,
            Served::Refused(reason) => return Verdict::Refused(reason),
            Served::Unreachable(reason) => why = reason,
        }
    }
    if trusted { Verdict::Trusted } else { Verdict::Unknown(why) }
}

pub(super) fn expiry(reader: &Reader<'_>) -> Result<Examination, Failure> {
    let mut found: Vec<(String, Timestamp)> = Vec::new();
    let mut unknown = Vec::new();
    match reader.metrics() {
        Ok(pods) => found.extend(times(pods, EXPIRY).into_iter().map(|(pod, time)| (format!("Pod {pod}"), time))),
        Err(why) => unknown.push(why.to_owned()),
    }
    if found.is_empty() {
        let configuration = reader.configuration()?.unwrap_or_default();
        let mut seen = BTreeSet::new();
        for entry in entries(&configuration) {
            let Some(target) = Target::of(reader, entry) else { continue };
            if !seen.insert(target.clone()) {
                continue;
            }
            let bundle = entry["clientConfig"]["caBundle"].as_str().unwrap_or_default();
            match served::connect(&target, &certificates(bundle).unwrap_or_default(), reader.now) {
                Served::Trusted(Some(time)) => found.push((target.to_string(), time)),
                Served::Trusted(None) => {}
                Served::Refused(why) | Served::Unreachable(why) => unknown.push(why),
            }
        }
    }
    let mut findings = Vec::new();
    if found.is_empty() {
        findings.push(Finding::unknown(
            format!("when the serving certificate expires is unknown: {}", unknown.join("; ")),
            "run doctor as a user who may read the metrics of Pods (pods/proxy)",
        ));
    }
    for (place, time) in &found {
        let remedy = "renew the certificate: see Secret writgate-webhook-tls and what renews it";
        let left = time.duration_since(reader.now);
        if left.is_negative() {
            findings.push(Finding::failed(format!("{place}: the serving certificate expired at {time}"), remedy));
        } else if left < SOON {
            findings.push(Finding::warning(format!("{place}: the serving certificate expires at {time}"), remedy));
        }
    }
    let first = found.iter().map(|(_, time)| *time).min();
    let summary = first.map(|time| format!("the serving certificate is valid until {time}"));
    Ok(Examination::new(summary.unwrap_or_default(), findings))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_has_at_least_one_certificate() {
        for (bundle, why) in [("", "empty"), ("!", "base64"), ("YQ==", "no PEM")] {
            let error = certificates(bundle).expect_err("no certificate");
            assert!(error.contains(why), "{error}");
        }
    }
}
