//! The `ValidatingAdmissionPolicies` and their bindings, compared with those that the chart renders.

use serde_json::Value;

use super::{
    cel::{Difference, difference},
    expected::title,
    report::Finding,
    scope::{self, Namespaces, RESTORE},
};

const NOT_INSTALLED: &str = "set policies.enabled to true and run `helm upgrade`; without the policy, users can forge or delete what \
                             only the webhook may write";

pub(super) fn missing(expected: &Value) -> Finding {
    Finding::failed(format!("{} is missing", title(expected)), NOT_INSTALLED)
}

pub(super) fn policy(
    expected: &Value,
    found: &Value,
    namespaces: Namespaces<'_>,
    system_namespace: &str,
) -> Vec<Finding> {
    let what = title(expected);
    let (expected, found) = (&expected["spec"], &found["spec"]);
    let mut findings = Vec::new();
    let mut fail = |text: String| findings.push(Finding::failed(format!("{what}: {text}"), RESTORE));
    if found["failurePolicy"] == "Ignore" {
        fail("failurePolicy is Ignore, expected Fail".to_owned());
    }
    if !found["paramKind"].is_null() {
        fail("it has a paramKind, which the chart does not render".to_owned());
    }
    let (expected_scope, scope) = (&expected["matchConstraints"], &found["matchConstraints"]);
    if scope["matchPolicy"] == "Exact" {
        fail("matchPolicy is Exact, expected Equivalent".to_owned());
    }
    if scope["excludeResourceRules"].as_array().is_some_and(|rules| !rules.is_empty()) {
        fail("it has excludeResourceRules, which the chart does not render".to_owned());
    }
    let missing = scope::uncovered(&expected_scope["resourceRules"], &scope["resourceRules"]);
    if !missing.is_empty() {
        fail(format!("no rule covers {}", missing.join(", ")));
    }
    let list = |value: &Value, field: &str| value[field].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut users = Vec::new();
    for condition in list(found, "matchConditions") {
        let same = list(expected, "matchConditions").into_iter().find(|one| one["name"] == condition["name"]);
        let name = text(&condition["name"]);
        match same.map(|same| difference(&text(&same["expression"]), &text(&condition["expression"]))) {
            None => fail(format!("matchCondition {name} is not one of the chart's; it can exclude requests")),
            Some(Difference::Other) => fail(format!("the expression of matchCondition {name} is not the chart's")),
            Some(Difference::Users(more)) => users.extend(more),
        }
    }
    for variable in list(expected, "variables") {
        let same = list(found, "variables").into_iter().find(|one| one["name"] == variable["name"]);
        let expression = same.map(|same| text(&same["expression"])).unwrap_or_default();
        if difference(&text(&variable["expression"]), &expression) != Difference::Users(Vec::new()) {
            fail(format!("variable {} is not the chart's", text(&variable["name"])));
        }
    }
    for validation in list(expected, "validations") {
        let differences = list(found, "validations")
            .into_iter()
            .map(|one| difference(&text(&validation["expression"]), &text(&one["expression"])));
        match differences.min_by_key(|one| if let Difference::Users(more) = one { more.len() } else { usize::MAX }) {
            Some(Difference::Users(more)) => users.extend(more),
            _ => fail(format!(
                "the validation with this message is missing or is not the chart's: {}",
                text(&validation["message"])
            )),
        }
    }
    users.sort();
    users.dedup();
    findings.extend(users.into_iter().map(|user| {
        Finding::warning(
            format!("{what}: it does not bind {user}, which the chart does not exempt by default"),
            "remove the user from policies.cleaners or exemptControllers as soon as it is no longer required",
        )
    }));
    findings.extend(scope::objects(&what, &expected_scope["objectSelector"], &scope["objectSelector"]));
    findings.extend(scope::namespaces(
        &what,
        &expected_scope["namespaceSelector"],
        &scope["namespaceSelector"],
        namespaces,
        system_namespace,
    ));
    findings
}

pub(super) fn binding(expected: &Value, found: &Value) -> Vec<Finding> {
    let what = title(expected);
    let (expected, found) = (&expected["spec"], &found["spec"]);
    let mut findings = Vec::new();
    let mut fail = |text: &str| findings.push(Finding::failed(format!("{what}: {text}"), RESTORE));
    if found["policyName"] != expected["policyName"] {
        fail("it binds another policy");
    }
    let actions: Vec<&str> =
        found["validationActions"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if !actions.contains(&"Deny") {
        fail(&format!("validationActions are {}, expected Deny; a violation is admitted", actions.join(", ")));
    }
    if found["matchResources"].as_object().is_some_and(|scope| scope.keys().any(|key| key != "matchPolicy")) {
        fail("it has matchResources, which the chart does not render; they can exclude requests");
    }
    if !found["paramRef"].is_null() {
        fail("it has a paramRef, which the chart does not render");
    }
    findings
}
