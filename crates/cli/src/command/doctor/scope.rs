//! Which requests an entry of the webhook configuration or a policy covers: its rules and selectors, compared with the rendered
//! ones.

use std::collections::BTreeMap;

use serde_json::Value;
use writgate_core::vocabulary::ENVIRONMENT_LABEL;

use super::{report::Finding, selector::Selector};

/// What to do about an object that differs from the chart's. Without `--force-conflicts`, Helm stops at a field that somebody else
/// changed. It leaves what somebody else added.
pub(super) const RESTORE: &str = "restore it with `helm upgrade --reuse-values --force-conflicts`, or with `kubectl replace` if something was \
                                  added (docs/operations/doctor.md), and find out who changed it: \
                                  `kubectl get -o yaml --show-managed-fields` and the API server's audit log";

/// A namespace and its labels.
#[derive(Clone, Debug)]
pub(super) struct NamespaceEntry {
    pub(super) name: String,
    pub(super) labels: BTreeMap<String, String>,
}

impl NamespaceEntry {
    pub(super) fn environment(&self) -> Option<&str> {
        self.labels.get(ENVIRONMENT_LABEL).map(String::as_str)
    }
}

/// The namespaces of the cluster, or why they could not be listed.
pub(super) type Namespaces<'a> = Result<&'a [NamespaceEntry], &'a str>;

/// One combination of a rule, as the API server matches it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct RuleRow<'a> {
    group: &'a str,
    version: &'a str,
    resource: &'a str,
    operation: &'a str,
    scope: &'a str,
    /// Without a list of names, a rule covers every name.
    has_names: bool,
}

/// The resources and operations that `expected` covers and `found` does not, such as `CREATE of apps/v1 deployments`.
pub(super) fn uncovered(expected: &Value, found: &Value) -> Vec<String> {
    let found = rows(found);
    let missing = rows(expected).into_iter().filter(|expected| !found.iter().any(|found| found.covers(expected)));
    missing
        .map(|RuleRow { group, version, resource, operation, .. }| {
            let group = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
            format!("{operation} of {group} {resource}")
        })
        .collect()
}

fn rows(rules: &Value) -> Vec<RuleRow<'_>> {
    let mut rows = Vec::new();
    for rule in rules.as_array().into_iter().flatten() {
        let list = |field: &str| rule[field].as_array().into_iter().flatten().filter_map(Value::as_str);
        for group in list("apiGroups") {
            for version in list("apiVersions") {
                for resource in list("resources") {
                    rows.extend(list("operations").map(|operation| RuleRow {
                        group,
                        version,
                        resource,
                        operation,
                        scope: rule["scope"].as_str().unwrap_or("*"),
                        has_names: rule["resourceNames"].as_array().is_some_and(|names| !names.is_empty()),
                    }));
                }
            }
        }
    }
    rows
}

impl RuleRow<'_> {
    fn covers(&self, expected: &RuleRow<'_>) -> bool {
        let is = |found: &str, expected: &str| found == "*" || found == expected;
        let is_resource = match (self.resource.split_once('/'), expected.resource.split_once('/')) {
            (Some((found, found_part)), Some((expected, part))) => is(found, expected) && is(found_part, part),
            (Some(("*", "*")), None) => true,
            // `*` does not cover subresources.
            (None, None) => is(self.resource, expected.resource),
            _ => false,
        };
        is_resource
            && !self.has_names
            && is(self.group, expected.group)
            && is(self.version, expected.version)
            && is(self.operation, expected.operation)
            && is(self.scope, expected.scope)
    }
}

/// Findings about a namespaceSelector that excludes more than the expected one.
pub(super) fn namespaces(
    what: &str,
    expected: &Value,
    found: &Value,
    all: Namespaces<'_>,
    system_namespace: &str,
) -> Vec<Finding> {
    let (expected, found) = (Selector::of(expected), Selector::of(found));
    let narrower: Vec<String> = found.narrower_than(&expected).map(ToString::to_string).collect();
    if narrower.is_empty() {
        return Vec::new();
    }
    let expressions = narrower.join("; ");
    let all = match all {
        Ok(all) => all,
        Err(why) => {
            return vec![Finding::unknown(
                format!(
                    "{what}: the namespaceSelector has {expressions}, which the chart does not render, and the namespaces \
                     that it excludes are unknown: {why}"
                ),
                "run doctor as a user who may list namespaces",
            )];
        }
    };
    let (mut open, mut free) = (Vec::new(), Vec::new());
    for namespace in all {
        if expected.selects(&namespace.labels) && !found.selects(&namespace.labels) {
            let is_system = !expected.is_empty() && namespace.name == system_namespace;
            let list = if namespace.environment().is_some() || is_system { &mut open } else { &mut free };
            list.push(namespace.name.as_str());
        }
    }
    let has = format!("{what}: the namespaceSelector has {expressions}, which the chart does not render");
    if !open.is_empty() {
        let names = open.join(", ");
        return vec![Finding::failed(format!("{has}; it excludes {names}, which must be checked"), RESTORE)];
    }
    let excluded = if free.is_empty() {
        "; it excludes no namespace that exists".to_owned()
    } else {
        format!("; it excludes {}, none of which is governed", free.join(", "))
    };
    vec![Finding::warning(
        has + &excluded,
        "if your platform adds the expression, list it in webhook.extraNamespaceSelector, and make sure that nobody can label a \
         governed namespace so that it is excluded",
    )]
}

/// Findings about an objectSelector that excludes more than the expected one.
pub(super) fn objects(what: &str, expected: &Value, found: &Value) -> Option<Finding> {
    let (expected, found) = (Selector::of(expected), Selector::of(found));
    let narrower: Vec<String> = found.narrower_than(&expected).map(ToString::to_string).collect();
    (!narrower.is_empty()).then(|| {
        let expressions = narrower.join("; ");
        let found = format!(
            "{what}: the objectSelector has {expressions}; the author of an object chooses its labels, and can avoid the check"
        );
        Finding::failed(found, RESTORE)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rule(resources: &Value) -> Value {
        json!([{"apiGroups": ["apps"], "apiVersions": ["v1"], "resources": resources, "operations": ["CREATE", "UPDATE"],
            "scope": "Namespaced"}])
    }

    #[test]
    fn a_rule_covers_what_the_api_server_matches_with_it() {
        let expected = rule(&json!(["deployments", "deployments/scale"]));
        for (resources, missing) in [
            (json!(["deployments/scale", "deployments", "statefulsets"]), 0),
            (json!(["*/*"]), 0),
            (json!(["*", "*/scale"]), 0),
            (json!(["deployments", "deployments/*"]), 0),
            (json!(["*"]), 2),
            (json!(["deployments"]), 2),
            (json!([]), 4),
        ] {
            assert_eq!(uncovered(&expected, &rule(&resources)).len(), missing, "{resources}");
        }
        let mut wide = rule(&json!(["*/*"]));
        wide[0]["scope"] = "*".into();
        wide[0]["operations"] = json!(["*"]);
        assert_eq!(uncovered(&expected, &wide), [""; 0]);
        wide[0]["operations"] = json!(["CREATE"]);
        assert_eq!(uncovered(&expected, &wide)[0], "UPDATE of apps/v1 deployments");
        wide[0]["operations"] = json!(["*"]);
        wide[0]["scope"] = "Cluster".into();
        assert_eq!(uncovered(&expected, &wide).len(), 4);
        let mut named = rule(&json!(["deployments", "deployments/scale"]));
        named[0]["resourceNames"] = json!(["orders"]);
        assert_eq!(uncovered(&expected, &named).len(), 4);
    }
}
