//! The webhook configuration, compared with the one that the chart renders: it must send at least the same requests.

use std::collections::BTreeSet;

use serde_json::Value;
use writgate_cluster::webhook_configuration::{FLAG, RenderedEntry, differences};

use super::{
    cel::{Difference, difference},
    expected::OPTIONAL_ENTRY,
    report::Finding,
    scope::{self, Namespaces, RESTORE},
};

/// What the comparison takes from the cluster.
pub(super) struct Surroundings<'a> {
    pub(super) namespaces: Namespaces<'a>,
    pub(super) system_namespace: &'a str,
    /// The exempt controllers in the webhook's own arguments, as USER=RESOURCE; none if the Deployment could not be read.
    pub(super) exempt: Option<BTreeSet<String>>,
}

/// The entries of a webhook configuration.
pub(super) fn entries(configuration: &Value) -> impl Iterator<Item = &Value> {
    configuration["webhooks"].as_array().into_iter().flatten()
}

pub(super) fn compare(expected: &Value, found: &Value, around: &Surroundings<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for entry in entries(expected) {
        let name = entry["name"].as_str().unwrap_or_default();
        match entries(found).find(|found| found["name"] == entry["name"]) {
            Some(found) => findings.extend(compare_entry(name, entry, found, around)),
            None if name == OPTIONAL_ENTRY => findings.push(Finding::warning(
                format!(
                    "entry {name} is missing; requests into Pods are not checked, whatever a posture's `connect` says"
                ),
                "set webhook.connect to true and run `helm upgrade`, unless you left it out on purpose",
            )),
            None => findings
                .push(Finding::failed(format!("entry {name} is missing; its requests are not checked"), RESTORE)),
        }
    }
    findings
}

/// The entries that are not those whose digests are in the webhook's own `arguments`, as `entry NAME`, each with its finding. Such
/// an entry differs from the one with the values of this installation, and may still be as strict as the default one.
pub(super) fn as_rendered(arguments: &[String], found: &Value) -> Vec<(String, Finding)> {
    let entry = |argument: &String| argument.strip_prefix(FLAG)?.strip_prefix('=')?.parse().ok();
    let rendered: Vec<RenderedEntry> = arguments.iter().filter_map(entry).collect();
    if rendered.is_empty() {
        return Vec::new();
    }
    let warning = |text: String| {
        let entry = text.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
        (entry, Finding::warning(format!("{text}, as {FLAG} of the webhook's Deployment shows"), RESTORE))
    };
    differences(&rendered, found).into_iter().map(warning).collect()
}

fn compare_entry(name: &str, expected: &Value, found: &Value, around: &Surroundings<'_>) -> Vec<Finding> {
    let what = format!("entry {name}");
    let mut findings: Vec<Finding> = [
        failure_policy(name, expected, found),
        match_policy(&what, found),
        dry_runs(&what, found),
        scope::objects(&what, &expected["objectSelector"], &found["objectSelector"]),
    ]
    .into_iter()
    .flatten()
    .collect();
    let missing = scope::uncovered(&expected["rules"], &found["rules"]);
    if !missing.is_empty() {
        findings.push(Finding::failed(format!("{what}: no rule sends {}", missing.join(", ")), RESTORE));
    }
    findings.extend(scope::namespaces(
        &what,
        &expected["namespaceSelector"],
        &found["namespaceSelector"],
        around.namespaces,
        around.system_namespace,
    ));
    findings.extend(client(&what, expected, found));
    findings.extend(conditions(&what, expected, found, around));
    findings
}

fn failure_policy(name: &str, expected: &Value, found: &Value) -> Option<Finding> {
    if expected["failurePolicy"] != "Fail" || found["failurePolicy"] == "Fail" {
        return None;
    }
    let text = format!(
        "entry {name}: failurePolicy is Ignore, expected Fail; its requests are admitted while the webhook is down"
    );
    if name == OPTIONAL_ENTRY {
        return Some(Finding::warning(
            text,
            "set webhook.entries.connect.failurePolicy to Fail, unless you chose Ignore",
        ));
    }
    Some(Finding::failed(text, RESTORE))
}

fn match_policy(what: &str, found: &Value) -> Option<Finding> {
    // The API server's default.
    let policy = found["matchPolicy"].as_str().unwrap_or("Equivalent");
    (policy != "Equivalent").then(|| {
        let found = format!(
            "{what}: matchPolicy is {policy}, expected Equivalent; a request in another version of the API is not sent"
        );
        Finding::failed(found, RESTORE)
    })
}

fn dry_runs(what: &str, found: &Value) -> Option<Finding> {
    let effects = found["sideEffects"].as_str().unwrap_or_default();
    (!matches!(effects, "None" | "NoneOnDryRun")).then(|| {
        let found = format!("{what}: sideEffects is {effects}, expected NoneOnDryRun; the API server refuses dry runs");
        Finding::failed(found, RESTORE)
    })
}

fn client(what: &str, expected: &Value, found: &Value) -> Option<Finding> {
    let (expected, found) = (&expected["clientConfig"]["service"], &found["clientConfig"]);
    let path = expected["path"].as_str().unwrap_or_default();
    if let Some(url) = found["url"].as_str() {
        let known =
            format!("{what}: it calls {url} in place of Service {}", expected["name"].as_str().unwrap_or_default());
        if !url.ends_with(path) {
            return Some(Finding::failed(format!("{known}, and the path is not {path}"), RESTORE));
        }
        return Some(Finding::warning(
            known,
            "make sure that the URL is that of your webhook: the server that answers there decides every request",
        ));
    }
    let service = &found["service"];
    // The API server's default.
    let port = service["port"].as_u64().unwrap_or(443);
    let differs = ["namespace", "name", "path"].iter().any(|field| service[field] != expected[field]);
    (differs || expected["port"] != port).then(|| {
        let text = |field: &str| service[field].as_str().unwrap_or("none").to_owned();
        let found = format!(
            "{what}: it calls Service {}/{} at port {port} and path {}, expected {}/{} at port {} and path {path}",
            text("namespace"),
            text("name"),
            text("path"),
            expected["namespace"].as_str().unwrap_or_default(),
            expected["name"].as_str().unwrap_or_default(),
            expected["port"]
        );
        Finding::failed(found, RESTORE)
    })
}

/// A condition can only exclude requests, so one that is missing sends more.
fn conditions(what: &str, expected: &Value, found: &Value, around: &Surroundings<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for condition in found["matchConditions"].as_array().into_iter().flatten() {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let name = text(&condition["name"]);
        let same =
            expected["matchConditions"].as_array().into_iter().flatten().find(|one| one["name"] == condition["name"]);
        let Some(same) = same else {
            findings.push(Finding::failed(
                format!(
                    "{what}: matchCondition {name} is not one of the chart's; it can exclude requests from every check"
                ),
                RESTORE,
            ));
            continue;
        };
        match difference(&text(&same["expression"]), &text(&condition["expression"])) {
            Difference::Other => findings.push(Finding::failed(
                format!("{what}: the expression of matchCondition {name} is not the chart's"),
                RESTORE,
            )),
            Difference::Users(users) => {
                findings.extend(users.iter().map(|user| exempt_user(what, &name, user, around.exempt.as_ref())));
            }
        }
    }
    findings
}

fn exempt_user(what: &str, condition: &str, user: &str, exempt: Option<&BTreeSet<String>>) -> Finding {
    let found = format!("{what}: matchCondition {condition} excludes {user}, which the chart does not by default");
    match exempt {
        Some(exempt) if !exempt.contains(user) => {
            Finding::failed(format!("{found}, and the webhook's --exempt-controller does not have it"), RESTORE)
        }
        Some(_) => {
            Finding::warning(found, "make sure that you listed it in exemptControllers: its objects are not checked")
        }
        None => Finding::warning(
            format!("{found}; the webhook's arguments could not be read"),
            "make sure that you listed it in exemptControllers: its objects are not checked",
        ),
    }
}
