//! The webhook's Deployment, its Pods and its Service, and the versions of the parts.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    expected::{CONFIGURATION, VERSION_LABEL, WEBHOOK, path, title},
    reader::Reader,
    report::{Examination, Finding},
    scope::RESTORE,
};
use crate::failure::Failure;

const PLUGIN: &str = env!("CARGO_PKG_VERSION");

/// The port of a Pod for metrics.
pub(super) struct MetricsPort {
    pub(super) pod: String,
    pub(super) port: u64,
    pub(super) is_ready: bool,
}

/// The ports for metrics of the Pods that are ready or run.
pub(super) fn metrics_ports(reader: &Reader<'_>) -> Result<Vec<MetricsPort>, Failure> {
    let port = |pod: Value| {
        let is_ready = is_ready(&pod);
        let ports = list(&pod["spec"], "containers").flat_map(|container| list(container, "ports"));
        let port = ports.into_iter().find(|port| port["name"] == "admin")?["containerPort"].as_u64()?;
        let pod = Some(text(&pod["metadata"]["name"]).to_owned()).filter(|name| {
            writgate_cluster::names::is_subdomain(name) && (is_ready || pod["status"]["phase"] == "Running")
        })?;
        Some(MetricsPort { pod, port, is_ready })
    };
    Ok(list_pods(reader)?.into_iter().filter_map(port).collect())
}

/// The Pods of the webhook that are not being deleted.
fn list_pods(reader: &Reader<'_>) -> Result<Vec<Value>, Failure> {
    let selector = &reader.expected.object("Deployment", WEBHOOK)["spec"]["selector"]["matchLabels"];
    let pairs = selector.as_object().into_iter().flatten().map(|(key, value)| format!("{key}={}", text(value)));
    let selector = pairs.collect::<Vec<_>>().join(",");
    let query: String =
        form_urlencoded::Serializer::new(String::new()).append_pair("labelSelector", &selector).finish();
    let path = format!("/api/v1/namespaces/{}/pods?{query}", reader.system());
    let list = reader.get(&path, &format!("the Pods in namespace {}", reader.system()))?.unwrap_or_default();
    let items = list["items"].as_array().cloned().unwrap_or_default();
    Ok(items.into_iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).collect())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    value[field].as_array().into_iter().flatten()
}

fn is_ready(pod: &Value) -> bool {
    list(&pod["status"], "conditions").any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

pub(super) fn pods(reader: &Reader<'_>) -> Result<Examination, Failure> {
    let system = reader.system();
    let expected = reader.expected.object("Deployment", WEBHOOK);
    let Some(deployment) = reader.deployment()? else {
        let missing = format!("{} is missing", title(expected));
        return Ok(Examination::new("", vec![Finding::failed(missing, RESTORE)]));
    };
    let mut findings = Vec::new();
    let wanted = deployment["spec"]["replicas"].as_u64().unwrap_or(1);
    if wanted == 1 {
        findings.push(Finding::warning(
            "the Deployment has one replica; while its Pod is replaced, the API server denies changes in governed namespaces",
            "set replicas to 2 or more",
        ));
    }
    let own = format!("--system-namespace={system}");
    if let Some(arguments) = reader.arguments()
        && !arguments.contains(&own)
    {
        findings.push(Finding::failed(
            format!("the webhook does not have the argument {own}; it reads postures elsewhere"),
            RESTORE,
        ));
    }
    let pods = list_pods(reader)?;
    let ready = pods.iter().filter(|pod| is_ready(pod)).count();
    let look = format!("see why: kubectl describe pods -n {system}; kubectl logs -n {system} deployment/{WEBHOOK}");
    if ready == 0 {
        findings.push(Finding::failed(format!("no Pod is ready, expected {wanted}{}", waiting(&pods)), look));
    } else if (ready as u64) < wanted {
        findings.push(Finding::warning(format!("{ready} of {wanted} Pods are ready{}", waiting(&pods)), look));
    }
    let mut images: BTreeSet<&str> = BTreeSet::new();
    for pod in &pods {
        for status in list(&pod["status"], "containerStatuses") {
            images.extend(Some(text(&status["imageID"])).filter(|_| is_ready(pod)));
            let restarts = status["restartCount"].as_u64().unwrap_or_default();
            if restarts > 0 {
                let last = &status["lastState"]["terminated"];
                let reason = if text(&last["reason"]).is_empty() { "unknown" } else { text(&last["reason"]) };
                findings.push(Finding::warning(
                    format!(
                        "Pod {} was restarted {restarts} times, the last time because of {reason}",
                        text(&pod["metadata"]["name"])
                    ),
                    format!("see its log: kubectl logs --previous -n {system} {}", text(&pod["metadata"]["name"])),
                ));
            }
        }
    }
    if images.len() > 1 {
        findings.push(Finding::warning(
            format!("the ready Pods run different images: {}", images.into_iter().collect::<Vec<_>>().join(", ")),
            format!(
                "wait until the rollout ends: kubectl rollout status -n {system} deployment/{WEBHOOK}; pin image.digest"
            ),
        ));
    }
    Ok(Examination::new(format!("{ready} of {wanted} Pods are ready, with one image and no restart"), findings))
}

/// Why containers wait, such as `; writgate-webhook-x: ImagePullBackOff`.
fn waiting(pods: &[Value]) -> String {
    let reasons = pods.iter().flat_map(|pod| {
        list(&pod["status"], "containerStatuses").filter_map(move |status| {
            let reason = status["state"]["waiting"]["reason"].as_str()?;
            Some(format!("; {}: {reason}", text(&pod["metadata"]["name"])))
        })
    });
    reasons.collect()
}

pub(super) fn service(reader: &Reader<'_>) -> Result<Examination, Failure> {
    let system = reader.system();
    let expected = reader.expected.object("Service", WEBHOOK);
    let Some(found) = reader.live(expected)? else {
        return Ok(Examination::new("", vec![Finding::failed(format!("{} is missing", title(expected)), RESTORE)]));
    };
    let mut findings = Vec::new();
    for port in list(&expected["spec"], "ports").filter(|port| port["name"] == "https") {
        if !list(&found["spec"], "ports")
            .any(|one| one["port"] == port["port"] && one["targetPort"] == port["targetPort"])
        {
            findings.push(Finding::failed(
                format!("Service {WEBHOOK} does not have port {} for the webhook", port["port"]),
                RESTORE,
            ));
        }
    }
    if found["spec"]["selector"] != expected["spec"]["selector"] {
        findings.push(Finding::failed(format!("Service {WEBHOOK} selects other Pods than the chart's"), RESTORE));
    }
    let label = format!("kubernetes.io/service-name={WEBHOOK}");
    let query: String = form_urlencoded::Serializer::new(String::new()).append_pair("labelSelector", &label).finish();
    let path = format!("/apis/discovery.k8s.io/v1/namespaces/{system}/endpointslices?{query}");
    let slices = reader.get(&path, &format!("the EndpointSlices of Service {WEBHOOK}"))?.unwrap_or_default();
    // An absent condition means ready.
    let is_ready = |endpoint: &&Value| endpoint["conditions"]["ready"] != false;
    let ready = list(&slices, "items").flat_map(|slice| list(slice, "endpoints")).filter(is_ready).count();
    if ready == 0 {
        findings.push(Finding::failed(
            format!(
                "Service {WEBHOOK} has no ready endpoint, so the API server cannot call the webhook and denies changes"
            ),
            format!("see why no Pod is ready: kubectl get pods -n {system}; kubectl get endpointslices -n {system}"),
        ));
    }
    Ok(Examination::new(format!("Service {WEBHOOK} has {ready} ready endpoints"), findings))
}

pub(super) fn versions(reader: &Reader<'_>) -> Result<Examination, Failure> {
    let mut findings = Vec::new();
    let mut labelled = vec![("ValidatingWebhookConfiguration", CONFIGURATION), ("Deployment", WEBHOOK)];
    if reader.has_static_manifests() {
        labelled.remove(0);
    }
    for (kind, name) in labelled {
        let expected = reader.expected.object(kind, name);
        let (what, object) = (title(expected), reader.live(expected)?);
        let Some(object) = object else {
            findings.push(Finding::unknown(
                format!("{what} is missing"),
                format!("install it; its path is {}", path(expected)),
            ));
            continue;
        };
        let version = object["metadata"]["labels"][VERSION_LABEL].as_str().unwrap_or("unknown");
        if version != PLUGIN {
            findings.push(Finding::warning(
                format!("{what} is of version {version}, and the plugin is {PLUGIN}; the other checks expect what {PLUGIN} renders"),
                format!("upgrade the chart with `helm upgrade`, or use the plugin of version {version}"),
            ));
        }
    }
    if let Some(deployment) = reader.deployment()? {
        for container in list(&deployment["spec"]["template"]["spec"], "containers") {
            let image = text(&container["image"]);
            let tagged = image.split('@').next().unwrap_or_default();
            let tag = tagged.rsplit_once(':').map(|(_, tag)| tag).filter(|tag| !tag.contains('/'));
            let is_own = text(&container["name"]) == "webhook";
            if is_own && tag.is_some_and(|tag| tag.trim_start_matches('v') != PLUGIN) {
                findings.push(Finding::warning(
                    format!("the webhook's image is {image}, and the plugin is {PLUGIN}"),
                    "use the image and the plugin of one version",
                ));
            }
        }
    }
    Ok(Examination::new(format!("plugin, chart and image are of version {PLUGIN}"), findings))
}
