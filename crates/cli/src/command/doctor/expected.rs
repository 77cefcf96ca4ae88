//! The objects of an installation as this version's chart renders them with its default values.
//!
//! They come from `manifests/writgate.yaml`, which `make manifests` renders from the chart and CI compares with it. So the
//! plugin and the chart cannot disagree.

use serde_json::Value;
use writgate_core::encoding::read_yaml;

const MANIFESTS: &str = include_str!("../../../../../manifests/writgate.yaml");
/// The namespace that the manifests are rendered for.
const NAMESPACE: &str = "writgate-system";

/// The label with the version of the chart that rendered an object.
pub(super) const VERSION_LABEL: &str = "app.kubernetes.io/version";
/// The name of the webhook's Deployment, Service, service account and roles.
pub(super) const WEBHOOK: &str = "writgate-webhook";
/// The name of the webhook configuration.
pub(super) const CONFIGURATION: &str = "writgate";
/// The entry that the chart leaves out with `webhook.connect: false`, and whose failurePolicy it can set to Ignore.
pub(super) const OPTIONAL_ENTRY: &str = "connect.writgate.dev";
/// The policy that the chart renders only if the webhook makes its certificate.
pub(super) const CERTIFICATE_POLICY: &str = "configuration.writgate.dev";
/// The Secret with the CA of that certificate.
pub(super) const CERTIFICATE_SECRET: &str = "writgate-webhook-ca";
/// The annotation of the Deployment with which the chart says that API servers have the objects of admission in files.
pub(super) const STATIC_MANIFESTS_ANNOTATION: &str = "writgate.dev/static-manifests";
/// The oldest minor version of Kubernetes that the chart accepts (`kubeVersion`).
pub(super) const OLDEST_MINOR: u32 = 30;

/// The objects of an installation in one namespace.
#[derive(Debug)]
pub(super) struct Expected {
    objects: Vec<Value>,
}

impl Expected {
    /// `namespace` is the name of a namespace, so it cannot change the structure of the YAML.
    pub(super) fn in_namespace(namespace: &str) -> Self {
        let text = MANIFESTS.replace(NAMESPACE, namespace);
        Self { objects: read_yaml(&text).expect("the manifests are valid YAML, as a test shows") }
    }

    pub(super) fn of_kind(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.objects.iter().filter(move |object| object["kind"] == kind)
    }

    /// The rendered object; `Null` if there is none.
    pub(super) fn object(&self, kind: &str, name: &str) -> &Value {
        self.of_kind(kind).find(|object| object["metadata"]["name"] == name).unwrap_or(&Value::Null)
    }
}

/// The path of an object in the API, which is the same for the rendered and the live object.
pub(super) fn path(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (api_version, kind) = (text(&object["apiVersion"]), text(&object["kind"]).to_lowercase());
    let root = if api_version.contains('/') { "apis" } else { "api" };
    let plural = kind.strip_suffix('y').map_or_else(|| format!("{kind}s"), |stem| format!("{stem}ies"));
    let namespace = match object["metadata"]["namespace"].as_str() {
        Some(namespace) => format!("namespaces/{namespace}/"),
        None => String::new(),
    };
    format!("/{root}/{api_version}/{namespace}{plural}/{}", text(&object["metadata"]["name"]))
}

/// `ValidatingAdmissionPolicy ledger.writgate.dev`
pub(super) fn title(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (kind, name) = (text(&object["kind"]), text(&object["metadata"]["name"]));
    match object["metadata"]["namespace"].as_str() {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_manifests_are_of_this_version_and_have_what_the_checks_look_for() {
        let expected = Expected::in_namespace("elsewhere");
        let configuration = expected.object("ValidatingWebhookConfiguration", CONFIGURATION);
        assert_eq!(configuration["metadata"]["labels"][VERSION_LABEL], env!("CARGO_PKG_VERSION"));
        assert!(configuration.to_string().contains(OPTIONAL_ENTRY));
        assert!(expected.object("ValidatingAdmissionPolicy", CERTIFICATE_POLICY).is_object());
        assert!(expected.object("Secret", CERTIFICATE_SECRET).is_object());
        for kind in ["Deployment", "Service", "ServiceAccount", "Role", "ClusterRole"] {
            assert!(expected.object(kind, WEBHOOK).is_object(), "{kind}");
        }
        let (policies, bindings) = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding");
        assert!(expected.of_kind(policies).count() > 2);
        assert_eq!(expected.of_kind(policies).count(), expected.of_kind(bindings).count());
        assert!(!expected.objects.iter().any(|object| object.to_string().contains(NAMESPACE)));
    }

    #[test]
    fn the_oldest_version_is_that_of_the_chart() {
        let chart =
            fs::read_to_string(writgate_testing::repository().join("charts/writgate/Chart.yaml")).expect("text");
        assert!(chart.contains(&format!("kubeVersion: \">=1.{OLDEST_MINOR}.0-0\"")), "{chart}");
    }

    #[test]
    fn paths_are_those_of_the_api() {
        let expected = Expected::in_namespace("elsewhere");
        let path = |kind: &str, name: &str| path(expected.object(kind, name));
        let group = "/apis/admissionregistration.k8s.io/v1";
        assert_eq!(
            path("ValidatingWebhookConfiguration", CONFIGURATION),
            format!("{group}/validatingwebhookconfigurations/writgate")
        );
        assert_eq!(
            path("ValidatingAdmissionPolicy", "ledger.writgate.dev"),
            format!("{group}/validatingadmissionpolicies/ledger.writgate.dev")
        );
        assert_eq!(path("Service", WEBHOOK), "/api/v1/namespaces/elsewhere/services/writgate-webhook");
        assert_eq!(path("Namespace", "elsewhere"), "/api/v1/namespaces/elsewhere");
    }
}
