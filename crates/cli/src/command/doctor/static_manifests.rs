//! An installation whose API servers read the webhook configuration and the policies from files (KEP-5793). The API does not show
//! files, so these checks rely on dry runs. A dry run shows the files of the one API server that answers it.

use serde_json::json;
use writgate_core::vocabulary::KIND_LABEL;

use super::{
    certificates::{Verdict, verdict_of_dry_runs},
    expected::{CONFIGURATION, title},
    probe::{self, Answer, ENTRIES},
    reader::Reader,
    report::{Examination, Finding},
};
use crate::failure::Failure;

/// The policy that denies the dry run.
const POLICY: &str = "ledger.writgate.dev";

/// What to do about a dry run that was not denied.
pub(super) const RESTORE: &str = "see whether every API server has the files: compare their metrics \
                                  apiserver_manifest_admission_config_controller_*, and see --admission-control-config-file";
/// What a dry run cannot show.
const OTHERS: &str = "for the other API servers, compare the metrics apiserver_manifest_admission_config_controller_*";
const SEND: &str = "run doctor as a user who may send its dry runs, and compare the metrics \
                    apiserver_manifest_admission_config_controller_* of all API servers";

/// Whether the files have the entries, and the API has no second webhook configuration.
pub(super) fn configuration(reader: &Reader<'_>) -> Result<Examination, Failure> {
    let expected = reader.expected.object("ValidatingWebhookConfiguration", CONFIGURATION);
    let mut findings = Vec::new();
    if reader.configuration()?.is_some() {
        findings.push(Finding::failed(
            format!(
                "{} exists, although API servers have its entries in files; they send each request twice, and a single-use approval \
                 admits only one of the two",
                title(expected)
            ),
            "delete it if every API server has the files; otherwise set staticManifests.enabled to false, run `helm upgrade`, and remove \
             the files",
        ));
    }
    let sent = &reader.probes().sent;
    let is_denied = |entry: &&str| sent.iter().any(|it| it.entry == *entry && matches!(it.answer, Answer::Denied(_)));
    let (shown, other): (Vec<&str>, Vec<&str>) = ENTRIES.into_iter().partition(is_denied);
    if !other.is_empty() {
        let found = format!(
            "API servers read the webhook configuration from files, which the API does not show, and no dry run was denied by {}",
            other.join(", ")
        );
        findings.push(Finding::unknown(found, SEND));
    }
    let summary = format!("the files of this API server have {}, as dry runs show; {OTHERS}", shown.join(", "));
    Ok(Examination::new(summary, findings))
}

/// Whether the API server trusts the webhook's certificate with the bundle in the files.
pub(super) fn bundle(reader: &Reader<'_>) -> Examination {
    let findings = match verdict_of_dry_runs(reader, |_| true) {
        Verdict::Trusted => Vec::new(),
        Verdict::Refused(why) => vec![Finding::failed(
            format!("the bundle in the API server's files does not verify the webhook: {why}"),
            "render the files again, with the CA that signed the serving certificate in staticManifests.caBundle",
        )],
        Verdict::Unknown(why) => vec![Finding::unknown(
            format!(
                "whether the API server trusts the served certificate with the bundle in its files is unknown: {why}"
            ),
            SEND,
        )],
    };
    let summary =
        format!("the bundle in this API server's files verifies the certificate that the webhook serves; {OTHERS}");
    Examination::new(summary, findings)
}

/// Whether the API server denies what a policy in the files denies.
pub(super) fn policies(reader: &Reader<'_>) -> Examination {
    let system = reader.system();
    let body = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"generateName": "writgate-doctor-", "namespace": system, "labels": {KIND_LABEL: "ledger"}}});
    let what = format!("a ConfigMap with the label {KIND_LABEL}: ledger in namespace {system}");
    let mut findings = Vec::new();
    match probe::ask(reader, POLICY, &format!("/api/v1/namespaces/{system}/configmaps"), &body) {
        Answer::Refused(why) if why.contains(&format!("ValidatingAdmissionPolicy '{POLICY}.static.k8s.io'")) => {}
        Answer::Admitted => findings.push(Finding::failed(
            format!("the API server admitted {what}; it does not have the policies, neither in files nor in its API"),
            RESTORE,
        )),
        Answer::None(failure) => findings.push(failure.into()),
        Answer::Denied(why) | Answer::NotCalled(why) | Answer::Forbidden(why) | Answer::Refused(why) => {
            findings.push(Finding::unknown(
                format!(
                    "API servers read the policies from files, which the API does not show, and something other than \
                     {POLICY}.static.k8s.io refused {what}: {why}"
                ),
                SEND,
            ));
        }
    }
    let summary = format!("the files of this API server have the policy {POLICY}, as a dry run shows; {OTHERS}");
    Examination::new(summary, findings)
}
