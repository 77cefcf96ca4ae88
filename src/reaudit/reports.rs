//! The result of the re-audit as `Report` objects (openreports.io/v1alpha1), one for each governed namespace, so that viewers such
//! as Policy Reporter show it. Without the `CustomResourceDefinition`, none is written.
//!
//! The fields are those of `config/install.yaml` in github.com/openreports/reports-api.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};
use writgate_cluster::bounded_request::{self, RequestError};
use writgate_cluster::client::api_resource;
use writgate_cluster::live::Standing;
use writgate_core::text::{bounded, escape};

use crate::reaudit::walk::Found;

/// How long the API server may take.
const ANSWER: Duration = Duration::from_secs(10);
/// The name of the report in each namespace.
const NAME: &str = "writgate";
/// Results in a report, the worst first. The summary counts all workloads.
const MAX_RESULTS: usize = 500;
/// Results that are kept of one namespace, before the worst are chosen.
const MAX_KEPT: usize = 4 * MAX_RESULTS;
/// The longest message of a result: with all of them, a report stays below 1 MiB.
const MAX_MESSAGE: usize = 1024;

/// The results of one round.
#[derive(Debug, Default)]
pub(super) struct Reports(BTreeMap<String, Report>);

#[derive(Debug, Default)]
struct Report {
    counts: BTreeMap<Standing, u64>,
    results: Vec<Found>,
}

impl Reports {
    /// Reports of these namespaces, so that one without workloads loses its old results.
    pub(super) fn of(namespaces: impl Iterator<Item = String>) -> Self {
        Self(namespaces.map(|namespace| (namespace, Report::default())).collect())
    }

    /// Adds a workload.
    pub(super) fn add(&mut self, found: &Found) {
        let report = self.0.entry(found.object.namespace.clone()).or_default();
        *report.counts.entry(found.standing).or_default() += 1;
        if report.results.len() >= MAX_KEPT {
            report.worst_first();
            report.results.truncate(MAX_RESULTS);
        }
        report.results.push(found.clone());
    }

    /// Writes the reports; none if the kind does not exist. The error is the first failure, after all were tried.
    pub(super) async fn write(self, client: &Client, now: Timestamp) -> Result<(), String> {
        let kind = api_resource("openreports.io/v1alpha1", "Report", "reports");
        let mut failure = None;
        for (namespace, report) in self.0 {
            let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &kind);
            let object = report.object(&namespace, now);
            let params = PatchParams::apply("writgate-webhook").force();
            match bounded_request::send(ANSWER, api.patch(NAME, &params, &Patch::Apply(&object))).await {
                Ok(_) => {}
                // The kind does not exist. A namespace that was deleted meanwhile has the same status.
                Err(error) if error.status_code() == Some(404) => {}
                // One namespace, such as one that is being deleted, does not concern the others.
                Err(error) => failure = failure.or(Some(failed(&namespace, &error))),
            }
        }
        failure.map_or(Ok(()), Err)
    }
}

fn failed(namespace: &str, error: &RequestError) -> String {
    let hint = match error.status_code() {
        Some(403) => "; the chart grants this with reaudit.openReports",
        _ => "",
    };
    format!("Report {NAME} in namespace {namespace} cannot be written: {error}{hint}")
}

impl Report {
    fn worst_first(&mut self) {
        let key = |found: &Found| (found.standing, found.object.kind.clone(), found.object.name.clone());
        self.results.sort_by_cached_key(key);
    }

    fn object(mut self, namespace: &str, now: Timestamp) -> Value {
        self.worst_first();
        let left_out = self.results.len().saturating_sub(MAX_RESULTS);
        let mut summary: BTreeMap<&str, u64> =
            ["pass", "fail", "warn", "error", "skip"].into_iter().map(|result| (result, 0)).collect();
        for (standing, count) in &self.counts {
            *summary.entry(result(*standing)).or_default() += count;
        }
        let results: Vec<Value> = self.results.iter().take(MAX_RESULTS).map(|found| one(found, now)).collect();
        if left_out > 0 {
            tracing::debug!(namespace, left_out, "the Report does not have all workloads");
        }
        json!({
            "apiVersion": "openreports.io/v1alpha1",
            "kind": "Report",
            "metadata": {"name": NAME, "namespace": namespace, "labels": {"app.kubernetes.io/managed-by": "writgate"}},
            "source": "writgate",
            "scope": {"apiVersion": "v1", "kind": "Namespace", "name": namespace},
            "configuration": {"limits": {"maxResults": MAX_RESULTS}},
            "summary": summary,
            "results": results,
        })
    }
}

fn one(found: &Found, now: Timestamp) -> Value {
    let object = &found.object;
    let message = if found.why.is_empty() { found.standing.as_str() } else { &found.why };
    json!({
        "source": "writgate",
        "category": "Supply chain",
        "policy": "approved-workloads",
        "rule": found.standing.as_str(),
        "result": result(found.standing),
        "severity": severity(found.standing),
        "message": bounded(&escape(message), MAX_MESSAGE),
        "timestamp": {"seconds": now.as_second(), "nanos": 0},
        "resources": [{"apiVersion": object.api_version, "kind": object.kind, "namespace": object.namespace,
            "name": object.name, "uid": object.uid.as_deref().unwrap_or_default()}],
        "properties": {"environment": &*found.environment},
    })
}

/// The result of a workload, as an enumeration of the kind has it.
const fn result(standing: Standing) -> &'static str {
    match standing {
        Standing::Revoked | Standing::Drifted | Standing::Unapproved | Standing::Insufficient => "fail",
        Standing::Unreadable => "error",
        Standing::PreGovernance | Standing::Expired => "warn",
        Standing::Approved => "pass",
        Standing::NotRequired => "skip",
    }
}

const fn severity(standing: Standing) -> &'static str {
    match standing {
        Standing::Revoked => "critical",
        Standing::Drifted | Standing::Unapproved => "high",
        Standing::Insufficient | Standing::Unreadable | Standing::PreGovernance => "medium",
        Standing::Expired => "low",
        Standing::Approved | Standing::NotRequired => "info",
    }
}

#[cfg(test)]
mod tests {
    use writgate_core::record::ObjectRecord;

    use super::*;

    fn found(name: &str, standing: Standing) -> Found {
        let object = ObjectRecord {
            api_version: "apps/v1".to_owned(),
            kind: "Deployment".to_owned(),
            namespace: "payments".to_owned(),
            name: name.to_owned(),
            uid: Some("7".to_owned()),
        };
        Found { object, environment: "production".into(), standing, why: "x".repeat(5000), approval: None }
    }

    #[test]
    fn a_report_has_the_worst_workloads_and_counts_all() {
        let mut reports = Reports::default();
        for number in 0..5000 {
            reports.add(&found(&format!("ok-{number}"), Standing::Approved));
            if number % 1000 == 0 {
                reports.add(&found(&format!("bad-{number}"), Standing::Revoked));
            }
        }
        let report = reports.0.remove("payments").expect("a report").object("payments", Timestamp::UNIX_EPOCH);
        assert_eq!(report["summary"], json!({"pass": 5000, "fail": 5, "warn": 0, "error": 0, "skip": 0}));
        let results = report["results"].as_array().expect("results");
        assert_eq!(results.len(), MAX_RESULTS);
        assert!(results[..5].iter().all(|result| result["rule"] == "revoked") && results[5]["rule"] == "approved");
        assert!(report.to_string().len() < 1 << 20, "{}", report.to_string().len());
    }
}
