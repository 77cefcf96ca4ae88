//! The rights of the webhook's service account: a `SubjectAccessReview` for each right that the chart grants.

use futures::future::try_join_all;
use serde_json::{Value, json};
use writgate_cluster::names::{CANARY_NAMESPACE, webhook_user};

use super::{
    expected::{CERTIFICATE_SECRET, WEBHOOK},
    reader::{Reader, request},
    report::{Examination, Finding},
};
use crate::failure::Failure;

/// One right.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Right {
    /// None: in all namespaces.
    namespace: Option<String>,
    group: String,
    resource: String,
    name: Option<String>,
    verb: String,
}

pub(super) fn examine(reader: &Reader<'_>) -> Result<Examination, Failure> {
    let mut rights = rights(reader.expected.object("ClusterRole", WEBHOOK), None);
    rights.extend(self::rights(reader.expected.object("Role", WEBHOOK), Some(reader.system())));
    // The rendering that this program contains has no receivers.
    let notifies = reader.arguments().is_some_and(|all| all.iter().any(|one| one.starts_with("--notifications=")));
    if notifies {
        rights.extend(["list", "watch"].map(Right::to_events));
    }
    rights.dedup();
    let makes_certificate = reader.makes_certificate();
    let has = |flag: &str| reader.arguments().is_none_or(|all| all.iter().any(|one| one.starts_with(flag)));
    let (sends_canary, audits_again) = (has("--canary-interval="), has("--reaudit-interval="));
    let sweeps_requests = has("--request-sweep-interval=");
    rights.retain(|right| {
        (makes_certificate || !right.is_for_making_a_certificate())
            && (sends_canary || !right.is_for_the_canary())
            && (audits_again || !right.is_for_the_reaudit())
            && (sweeps_requests || !right.is_for_the_sweep())
            && (sends_canary || audits_again || sweeps_requests || notifies || right.resource != "leases")
    });
    let system = reader.system();
    let reviews = rights.iter().map(|right| async {
        let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
        let review: Value = reader.cluster.client.request(request("POST", path, Some(&right.review(system)))).await?;
        Ok(review["status"]["allowed"] == true)
    });
    let what = "review the rights of the webhook's service account (SubjectAccessReview)";
    let allowed = reader.cluster.ask(what, try_join_all(reviews))?;
    let missing = rights.iter().zip(allowed).filter(|(_, allowed)| !allowed).map(|(right, _)| right);
    let findings = missing.filter_map(|right| finding(right, reader)).collect();
    Ok(Examination::new(format!("the service account has the {} rights that the chart grants", rights.len()), findings))
}

fn finding(right: &Right, reader: &Reader<'_>) -> Option<Finding> {
    let is_off = |flag: &str| reader.arguments().is_some_and(|all| all.iter().any(|one| one == flag));
    let is_config_maps = right.namespace.is_none() && right.resource == "configmaps";
    let found = format!("the webhook's service account may not {}", right.text());
    let remedy = "restore the roles and bindings writgate-webhook with `helm upgrade`";
    match right.verb.as_str() {
        // The chart leaves this right out with `detachedApprovals: false` and `requests.enabled: false`.
        "list" | "watch"
            if is_config_maps && is_off("--detached-approvals=false") && is_off("--posted-requests=false") =>
        {
            None
        }
        "get" if is_config_maps => Some(Finding::warning(
            format!("{found}; a posture with `configBundle: required` denies everything"),
            "set readConfigMaps to true and run `helm upgrade`, unless you left it out on purpose",
        )),
        _ => Some(Finding::failed(found, remedy)),
    }
}

/// The rights that a role grants.
fn rights(role: &Value, namespace: Option<&str>) -> Vec<Right> {
    let mut rights = Vec::new();
    for rule in role["rules"].as_array().into_iter().flatten() {
        let list = |field: &str| -> Vec<String> {
            rule[field].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let names = match list("resourceNames") {
            names if names.is_empty() => vec![None],
            names => names.into_iter().map(Some).collect(),
        };
        for group in list("apiGroups") {
            for resource in list("resources") {
                for name in &names {
                    rights.extend(list("verbs").into_iter().map(|verb| Right {
                        namespace: namespace.map(str::to_owned),
                        group: group.clone(),
                        resource: resource.clone(),
                        name: name.clone(),
                        verb,
                    }));
                }
            }
        }
    }
    rights.sort_by_key(|right| (right.group.clone(), right.resource.clone(), right.verb.clone(), right.name.clone()));
    rights
}

impl Right {
    /// The chart grants this with `notifications.receivers` only.
    fn to_events(verb: &str) -> Self {
        let (group, resource) = ("events.k8s.io".to_owned(), "events".to_owned());
        Self { namespace: None, group, resource, name: None, verb: verb.to_owned() }
    }

    fn is_for_making_a_certificate(&self) -> bool {
        self.name.as_deref() == Some(CERTIFICATE_SECRET)
            || (self.resource == "validatingwebhookconfigurations" && self.verb == "patch")
    }

    /// The chart grants this with `canary.enabled` only.
    fn is_for_the_canary(&self) -> bool {
        self.name.as_deref() == Some(CANARY_NAMESPACE)
    }

    /// The chart grants this with `reaudit.enabled` only.
    fn is_for_the_reaudit(&self) -> bool {
        self.resource == "pods" && self.verb == "list"
    }

    /// The chart grants this with `requests.enabled` and `policies.enabled` only.
    fn is_for_the_sweep(&self) -> bool {
        self.namespace.is_none() && self.resource == "configmaps" && self.verb == "delete"
    }

    fn review(&self, system_namespace: &str) -> Value {
        let Self { namespace, group, resource, name, verb } = self;
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": webhook_user(system_namespace),
                "groups": ["system:serviceaccounts", format!("system:serviceaccounts:{system_namespace}"), "system:authenticated"],
                "resourceAttributes": {"namespace": namespace, "group": group, "resource": resource,
                    "subresource": subresource, "name": name, "verb": verb},
            },
        })
    }

    /// `list configmaps in all namespaces`
    fn text(&self) -> String {
        let Self { namespace, group, resource, name, verb } = self;
        let group = if group.is_empty() { String::new() } else { format!(".{group}") };
        let name = name.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
        let place =
            namespace.as_ref().map_or("all namespaces".to_owned(), |namespace| format!("namespace {namespace}"));
        format!("{verb} {resource}{group}{name} in {place}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::doctor::expected::Expected;

    #[test]
    fn rights_are_those_of_the_rendered_roles() {
        let expected = Expected::in_namespace("elsewhere");
        let texts = |kind: &str, namespace: Option<&str>| -> Vec<String> {
            rights(expected.object(kind, WEBHOOK), namespace).iter().map(Right::text).collect()
        };
        let cluster = texts("ClusterRole", None);
        assert!(cluster.contains(&"watch deployments.apps in all namespaces".to_owned()), "{cluster:?}");
        let own = texts("Role", Some("elsewhere"));
        assert!(own.contains(&"get secrets writgate-ledger in namespace elsewhere".to_owned()), "{own:?}");
        assert!(!own.contains(&"get secrets in namespace elsewhere".to_owned()), "{own:?}");
    }
}
